//! Followers beside a head that seals, flushes and restarts.

use std::path::PathBuf;

use super::*;
use crate::disk::{Disk, SimulatedClock, SimulatedDisk};
use crate::head::{GroupKey, HeadOptions, NoObserver};

/// What a follower gave: labels, time, value.
type Seen = Vec<(String, i64, f64)>;

#[derive(Default)]
struct Collect {
    seen: Seen,
    points: Vec<LogPoint>,
    exemplars: usize,
    lost: Vec<String>,
}

impl FollowSink for Collect {
    fn sample(&mut self, sample: FollowedSample<'_>) {
        let name = sample.series.labels.metric_name().to_owned();
        self.seen.push((name, sample.t_ms, sample.value));
        self.points.push(sample.point);
    }

    fn exemplar(&mut self, _point: LogPoint, _series: &Labels, _exemplar: Exemplar) {
        self.exemplars += 1;
    }

    fn lost(&mut self, _records: u64, why: &str) {
        self.lost.push(why.to_owned());
    }
}

struct World {
    disk: Arc<SimulatedDisk>,
    clock: Arc<SimulatedClock>,
    head: Arc<Head>,
}

impl World {
    fn new() -> Self {
        let disk = Arc::new(SimulatedDisk::new(3));
        let clock = Arc::new(SimulatedClock::new(1_000_000_000));
        let head = open(&disk, &clock);
        Self { disk, clock, head }
    }

    fn reopen(&mut self) {
        self.head.close().unwrap();
        self.head = open(&self.disk, &self.clock);
    }

    fn commit(&self, group: &str, names: &[&str], t_ms: i64, value: f64) {
        let mut appender = self.head.appender(&GroupKey::Embedded(group.to_owned()));
        for name in names {
            let series = appender.series(&Labels::from_pairs([("__name__", *name)]));
            appender.append(series, t_ms, value);
        }
        let outcome = appender.commit().unwrap();
        assert_eq!(outcome.rejected, []);
    }
}

fn open(disk: &Arc<SimulatedDisk>, clock: &Arc<SimulatedClock>) -> Arc<Head> {
    let disk: Arc<dyn Disk> = disk.clone();
    let dir = PathBuf::from("db");
    let mut options = HeadOptions::new(disk, clock.clone(), Arc::new(NoObserver), dir);
    options.segment_bytes_max = 2_000;
    Head::open(options).unwrap()
}

fn drain(follower: &mut Follower) -> Collect {
    let mut collect = Collect::default();
    while follower.read(&mut collect).unwrap() {}
    assert_eq!(collect.lost, Vec::<String>::new());
    collect
}

const NOW: i64 = 1_000_000_000;

#[test]
fn what_is_committed_later_comes_in_order_with_its_values() {
    let world = World::new();
    world.commit("a", &["x", "y"], NOW, 1.0);
    let mut follower = world.head.follow().unwrap();
    for n in 1..100 {
        world.commit("a", &["x", "y"], NOW + n, n as f64 * 0.5);
        if n % 10 == 0 {
            world.commit("b", &["z"], NOW + n, n as f64);
        }
    }
    assert!(drain(&mut follower).seen.len() < 207, "some is not synced yet");
    world.head.sync().unwrap();
    let mut follower = world.head.follow().unwrap();
    assert_eq!(drain(&mut follower).seen, []);
    for n in 100..200 {
        world.commit("a", &["x", "new"], NOW + n, n as f64);
    }
    world.head.sync().unwrap();
    let found = drain(&mut follower);
    assert!(found.points.is_sorted() && found.points.windows(2).all(|p| p[0] < p[1]));
    let expected: Seen = (100..200)
        .flat_map(|n| ["x", "new"].map(|name| (name.to_owned(), NOW + n, n as f64)))
        .collect();
    assert_eq!(found.seen, expected);
}

#[test]
fn a_slow_follower_outlives_seals_restarts_and_series_that_leave() {
    let mut world = World::new();
    let dir = PathBuf::from("db/remote");
    let mut follower = world.head.follow().unwrap();
    follower.save(&dir).unwrap();
    let from = follower.point();
    world.head.keep_log_from(Some(from.sequence));
    let mut expected = Seen::new();
    for round in 0..6_i64 {
        let names: Vec<String> = (0..20).map(|n| format!("r{}_{n}", round / 2)).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        for n in 0..40 {
            let t_ms = NOW + round * 1_000_000 + n * 1_000;
            world.commit("a", &names, t_ms, (round * 100 + n) as f64);
            expected.extend(
                names.iter().map(|name| ((*name).to_owned(), t_ms, (round * 100 + n) as f64)),
            );
        }
        // Seals, flushes what is older, numbers slots anew, frees ids.
        world.clock.advance(Duration::from_secs(1_000));
        world.head.shorten_log().unwrap();
        let border_ms = NOW + round * 1_000_000;
        let _ = world.head.seal_window(border_ms).unwrap();
        world.head.truncate(border_ms).unwrap();
        world.head.shorten_log().unwrap();
        if round % 2 == 1 {
            world.reopen();
            world.head.keep_log_from(Some(from.sequence));
        }
    }
    world.head.sync().unwrap();
    assert!(world.head.series_count() < 60, "series have left");
    let (follower, told) = world.head.follow_from(&dir, from.sequence).unwrap();
    assert_eq!(told, Vec::<String>::new());
    let mut follower = follower.unwrap();
    // Half of it, then tables of that place, then the rest from there.
    let mut first = Collect::default();
    while first.seen.len() < expected.len() / 2 {
        assert!(follower.read(&mut first).unwrap());
    }
    follower.save(&dir).unwrap();
    let sequence = follower.point().sequence;
    drop(follower);
    let (follower, _) = world.head.follow_from(&dir, sequence).unwrap();
    let rest = drain(&mut follower.unwrap());
    first.seen.extend(rest.seen);
    assert_eq!(first.lost, Vec::<String>::new());
    assert_eq!(first.seen.len(), expected.len());
    assert_eq!(first.seen, expected);
}
