//! What stays and what goes when rules change.

use super::*;

fn group(name: &str, rules: &str) -> String {
    format!("{{name: {name}, interval: 15s, rules: [{rules}]}}")
}

fn groups(all: &[String]) -> String {
    format!("groups: [{}]", all.join(","))
}

#[test]
fn an_equal_group_goes_on_undisturbed() {
    let mut world = World::new(Options::default());
    let a = group("a", "{record: x, expr: up}");
    world.load(&groups(std::slice::from_ref(&a)));
    let before = world.manager.groups();
    world.load(&groups(&[a, group("b", "{record: y, expr: up}")]));
    let after = world.manager.groups();
    assert_eq!(after.len(), 2);
    assert!(Arc::ptr_eq(&before[0], &after[0]));
}

#[test]
fn series_of_removed_rules_end() {
    let mut world = World::new(Options::default());
    let x = "{record: x, expr: up}";
    let y = "{record: y, expr: up}";
    world.load(&groups(&[group("a", &format!("{x}, {y}"))]));
    world.pass_with(30, "up", 1.0);
    world.load(&groups(&[group("a", x)]));
    world.pass_with(30, "up", 1.0);
    assert_eq!(world.values("y"), [Some(1.0), Some(1.0), None]);
    assert_eq!(world.values("x"), [Some(1.0); 4]);
}

#[test]
fn series_of_a_removed_group_end_after_two_intervals() {
    let mut world = World::new(Options::default());
    world.load(&groups(&[group("a", "{record: x, expr: up}, {record: z, expr: up}")]));
    world.pass_with(30, "up", 1.0);
    // Another group goes on with one of them.
    world.load(&groups(&[group("b", "{record: x, expr: up}")]));
    world.pass_with(60, "up", 1.0);
    assert_eq!(world.values("z"), [Some(1.0), Some(1.0), None]);
    let x = world.values("x");
    assert!(x.len() >= 5 && x.iter().all(Option::is_some), "{x:?}");
}

#[test]
fn alerts_outlive_a_change_of_their_group() {
    let mut world = World::new(Options { for_grace_period_ms: 0, ..Options::default() });
    let alert = "{alert: A, expr: 'up == 0', for: 1m}";
    world.load(&groups(&[group("a", alert)]));
    world.pass_with(45, "up", 0.0);
    let since = world.manager.groups()[0].rules()[0].active_alerts()[0].active_at_ns;
    world.load(&groups(&[group("a", &format!("{{record: x, expr: up}}, {alert}"))]));
    let rules = world.manager.groups();
    assert_eq!(rules[0].rules()[1].active_alerts()[0].active_at_ns, since);
    world.pass_with(30, "up", 0.0);
    assert_eq!(world.sent().len(), 1);
    let after = world.manager.groups()[0].rules()[1].active_alerts();
    assert_eq!(after[0].active_at_ns, since);
    // What is gone is gone; the others are told apart by name and labels.
    world.load(&groups(&[group("a", "{alert: B, expr: 'up == 0', for: 1m}")]));
    assert!(world.manager.groups()[0].rules()[0].active_alerts().is_empty());
    world.pass_with(15, "up", 0.0);
    let ended = world.read("ALERTS").into_iter().filter(|(labels, _)| labels.contains("\"A\""));
    for (labels, values) in ended {
        assert_eq!(values.last().unwrap().1, None, "{labels}");
    }
}

#[test]
fn the_interval_of_the_configuration_counts_where_there_is_no_other() {
    let mut world = World::new(Options::default());
    world.load("groups: [{name: a, rules: [{record: x, expr: '1'}]}]");
    assert_eq!(world.manager.groups()[0].interval_ms(), 60_000);
    world.pass(600);
    assert_eq!(world.values("x").len(), 10);
}
