//! What is taken over from the process before, and gaps that are filled.

use super::super::{Backfill, BackfillProgress};
use super::*;

const ALERT: &str = "groups: [{name: g, interval: 15s, rules: [\
                     {alert: A, expr: 'up == 0', for: 20m, labels: {kind: '{{ \"x\" }}'}}]}]";

/// Minutes since which the alert counts as active, seen from now.
fn active_min(world: &World) -> i64 {
    let alerts = world.manager.groups()[0].rules()[0].active_alerts();
    assert_eq!(alerts.len(), 1);
    (world.clock.now_ns() - alerts[0].active_at_ns) / (60 * SECOND)
}

fn alert() -> String {
    ALERT.replace("labels: {kind: '{{ \"x\" }}'}", "labels: {kind: x}")
}

#[test]
fn the_time_that_an_alert_was_pending_counts() {
    let mut world = World::new(Options::default());
    world.load(&alert());
    world.pass_with(600, "up", 0.0);
    assert_eq!(active_min(&world), 9);
    let mut world = world.restart(300);
    world.load(&alert());
    world.pass_with(15, "up", 0.0);
    assert_eq!(active_min(&world), 0, "not before the second evaluation");
    world.pass_with(45, "up", 0.0);
    // Ten minutes pending; the five away do not count.
    assert!((9..=11).contains(&active_min(&world)), "{}", active_min(&world));
    world.pass_with(480, "up", 0.0);
    assert!(world.sent().is_empty());
    world.pass_with(120, "up", 0.0);
    assert_eq!(world.sent().len(), 1);
}

#[test]
fn an_alert_that_fired_fires_again_at_once() {
    let mut world = World::new(Options::default());
    world.load(&alert());
    world.pass_with(1500, "up", 0.0);
    assert!(!world.sent().is_empty());
    let mut world = world.restart(60);
    world.load(&alert());
    world.pass_with(60, "up", 0.0);
    assert_eq!(world.sent().len(), 1);
}

#[test]
fn an_alert_about_to_fire_waits_for_the_grace_period() {
    let mut world = World::new(Options::default());
    world.load(&alert());
    world.pass_with(1100, "up", 0.0);
    assert!(world.sent().is_empty());
    let mut world = world.restart(60);
    world.load(&alert());
    world.pass_with(540, "up", 0.0);
    assert!(world.sent().is_empty());
    world.pass_with(120, "up", 0.0);
    assert_eq!(world.sent().len(), 1);
}

#[test]
fn after_a_long_absence_alerts_begin_anew() {
    let mut world = World::new(Options::default());
    world.load(&alert());
    world.pass_with(600, "up", 0.0);
    let mut world = world.restart(2 * 3600);
    world.load(&alert());
    world.pass_with(60, "up", 0.0);
    assert_eq!(active_min(&world), 0);
}

const RECORD: &str = "groups: [{name: g, interval: 60s, rules: [\
                      {record: a, expr: 'sum(last_over_time(up[10m]))'}, \
                      {record: b, expr: 'a * 2'}]}]";

fn times(world: &World, name: &str) -> Vec<i64> {
    world.read(name)[0].1.iter().map(|(t_ms, _)| *t_ms / 60_000).collect()
}

#[test]
fn the_gap_of_an_absence_is_filled() {
    for away_s in [420, 7200] {
        let options = Options { backfill_gap_ms: 3 * 3_600_000, ..Options::default() };
        let mut world = World::new(options);
        world.load(RECORD);
        world.pass_with(600, "up", 3.0);
        let before = times(&world, "b").len() as i64;
        let mut world = world.restart(away_s);
        // Others write at once.
        world.push("other", 1.0);
        world.load(RECORD);
        world.pass_with(180, "up", 4.0);
        let minutes = times(&world, "b");
        let a = world.values("a");
        // The samples of `up` are seen for ten minutes.
        let seen = (away_s / 60).min(10);
        assert!(minutes.len() as i64 >= before + seen - 1, "{minutes:?}");
        assert!(
            minutes
                .windows(2)
                .take(before as usize + seen as usize - 2)
                .all(|pair| pair[1] - pair[0] == 1),
            "{minutes:?}"
        );
        assert_eq!(a.last(), Some(&Some(4.0)));
        let has_marker = a.contains(&None);
        assert_eq!(has_marker, away_s > 600, "a series that ends in the gap is marked: {a:?}");
    }
}

#[test]
fn gaps_stay_where_nobody_asks_for_them() {
    let mut world = World::new(Options::default());
    world.load(RECORD);
    world.pass_with(300, "up", 3.0);
    let mut world = world.restart(420);
    world.load(RECORD);
    world.pass_with(120, "up", 4.0);
    let minutes = times(&world, "a");
    assert!(minutes.windows(2).any(|pair| pair[1] - pair[0] >= 7), "{minutes:?}");
    // A rule that is new has no gap.
    let options = Options { backfill_gap_ms: 3_600_000, ..Options::default() };
    let mut world = World::new(options);
    world.push_at("up", START / 1_000_000 - 60_000, 1.0);
    world.load(RECORD);
    world.pass_with(60, "up", 4.0);
    assert_eq!(world.values("a").len(), 1);
}

#[test]
fn history_is_written_on_demand() {
    let world = World::new(Options::default());
    let start_ms = START / 1_000_000 - 6 * 3_600_000;
    for minute in 0..360 {
        let value = if (100..110).contains(&minute) { 0.0 } else { f64::from(minute) };
        world.push_at("up", start_ms + i64::from(minute) * 60_000, value);
    }
    let text = "groups: [{name: g, interval: 60s, rules: [\
                {record: a, expr: 'up > 0', labels: {k: v}}, {record: b, expr: 'a + 1'}, \
                {alert: c, expr: up}, {record: d, expr: 'up and on() up{a=\"b\"}'}]}]";
    let groups = load_text(text, "f.yml", &Source::default()).unwrap();
    let engine = Engine::default();
    let backfill = Backfill {
        database: &world.database,
        engine: &engine,
        cancellation: Cancellation::new(),
        late_window_ms: 24 * 3_600_000,
    };
    let end_ms = start_ms + 359 * 60_000;
    let mut last = None;
    let mut fill = || {
        let mut note = |progress: BackfillProgress| last = Some(progress);
        backfill.run(&groups[0], (30_000, 0), (start_ms, end_ms), &mut note).unwrap()
    };
    let written = fill();
    assert!(written.failures.is_empty() && written.refused == 0, "{written:?}");
    // Written again it is the same.
    assert_eq!(fill(), written);
    let progress = last.unwrap();
    assert_eq!((progress.done, progress.total), (359 * 3, 359 * 3));
    let a = world.values("a");
    assert_eq!(a.iter().filter(|value| value.is_none()).count(), 1, "one marker where it ends");
    assert!(world.values("b").len() >= a.len() - 1);
    assert_eq!(world.read("a")[0].0, "{k=\"v\"}");
    assert!(world.read("ALERTS").is_empty() && world.read("d").is_empty());
    assert_eq!(written.samples as usize, a.len() - 1 + world.values("b").len() - 1);
}
