//! What goes by itself: blocks past their age, blocks beyond the limit of size;
//! and what does not: everything else. And merges that one bad block does not hold up.

#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it says")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use narthex::db::{Database, Event, Observer, Options, Retention};
use narthex::disk::{Call, Clock, Disk, Fault, SimulatedClock, SimulatedDisk};
use narthex::head::GroupKey;
use narthex::model::{Labels, Samples, TimeRange};
use narthex::select::{Cancellation, Queryable};

const HOUR: i64 = 3_600_000;
const MINUTE: i64 = 60_000;
/// A multiple of 18 hours.
const START: i64 = 1_700_006_400_000 / (18 * HOUR) * (18 * HOUR);

#[derive(Debug, Default)]
struct Ears(Mutex<Vec<String>>);

impl Observer for Ears {
    fn event(&self, event: &Event<'_>) {
        self.0.lock().expect("no observer panics").push(event.to_string());
    }
}

impl Ears {
    fn count(&self, text: &str) -> usize {
        let heard = self.0.lock().expect("no observer panics");
        heard.iter().filter(|event| event.contains(text)).count()
    }
}

struct Bench {
    disk: SimulatedDisk,
    clock: SimulatedClock,
    ears: Arc<Ears>,
    options: Options,
}

impl Bench {
    fn new() -> Self {
        let ears = Arc::new(Ears::default());
        let observer: Arc<dyn Observer> = ears.clone();
        let options =
            Options { background: false, retention_ms: 0, observer, ..Options::default() };
        Self { disk: SimulatedDisk::new(4), clock: SimulatedClock::new(START), ears, options }
    }

    fn open(&self) -> Database {
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let clock: Arc<dyn Clock> = Arc::new(self.clock.clone());
        Database::open_with(disk, clock, "/data", self.options.clone()).unwrap()
    }

    /// Ten series a minute with values that do not compress, from one hour to another.
    fn fill(&self, db: &Database, hours: std::ops::Range<i64>) {
        for minute in (hours.start * 60)..(hours.end * 60) {
            let t = START + minute * MINUTE;
            self.clock.set_now_ms(t);
            let mut appender = db.appender(GroupKey::Embedded("a".to_owned())).unwrap();
            for i in 0..10 {
                let labels = Labels::from_pairs([("__name__", "m"), ("i", &i.to_string())]);
                let series = appender.series(&labels).unwrap();
                appender.append(series, t, ((minute * 10 + i) as f64).sin());
            }
            assert_eq!(appender.commit().unwrap().rejected, []);
        }
    }
}

fn times(db: &Database) -> Vec<i64> {
    let set = db.select(&[], TimeRange::ALL, &Cancellation::new()).unwrap();
    let mut found = BTreeMap::new();
    let mut samples = Samples::default();
    for index in 0..set.len() {
        set.read(index, TimeRange::ALL, &mut samples).unwrap();
        samples.timestamps.iter().for_each(|&t| *found.entry(t).or_insert(0) += 1);
    }
    assert!(found.values().all(|&count| count == 10), "no series without the others");
    found.into_keys().collect()
}

#[test]
fn the_oldest_blocks_go_when_all_takes_too_much() {
    let bench = Bench::new();
    let db = bench.open();
    bench.fill(&db, 0..17);
    db.maintain().unwrap();
    let before = db.stats();
    assert!(before.blocks.len() >= 3 && before.blocks_oversized == 0);
    assert_eq!(times(&db).len(), 17 * 60);
    let oldest = before.blocks[0].clone();
    let limit = before.stored_bytes - 1;
    db.set_retention(Retention { bytes: limit, ..Retention::default() });
    assert_eq!(db.retention().bytes, limit);
    db.maintain().unwrap();
    let after = db.stats();
    assert!(after.stored_bytes <= limit, "{} {limit}", after.stored_bytes);
    assert!(after.blocks_oversized > 0 && after.blocks_expired == 0);
    assert!(after.blocks.iter().all(|block| block.name != oldest.name));
    assert!(bench.ears.count("beyond the limit of size") > 0);
    let kept = times(&db);
    let first = (kept[0] - START) / MINUTE;
    assert_eq!(kept.len() as i64, 17 * 60 - first, "what is kept has no hole");
    // As time goes on the limit holds, each flush and each merge included.
    for hour in 17..40 {
        bench.fill(&db, hour..hour + 1);
        db.maintain().unwrap();
        let stats = db.stats();
        assert!(
            stats.stored_bytes <= limit || stats.blocks.is_empty(),
            "at hour {hour}: {} of {limit}, log {}, head files {}, blocks {:?}",
            stats.stored_bytes,
            stats.wal_bytes,
            stats.head_file_bytes,
            stats.blocks
        );
    }
    // Where nothing else is left the open window stays.
    db.set_retention(Retention { bytes: 1, ..Retention::default() });
    db.maintain().unwrap();
    assert!(db.stats().blocks.is_empty());
    let kept = times(&db);
    assert_eq!(*kept.last().unwrap(), START + 40 * HOUR - MINUTE);
    assert!(kept.len() >= 60);
}

#[test]
fn a_share_of_the_file_system_stands_for_the_bytes() {
    let bench = Bench::new();
    let db = bench.open();
    bench.fill(&db, 0..17);
    db.maintain().unwrap();
    let stored = db.stats().stored_bytes;
    bench.disk.set_capacity(Some(stored * 10));
    db.set_retention(Retention { bytes: 1, percentage: 10.5, time_ms: 0 });
    db.maintain().unwrap();
    assert_eq!(db.stats().blocks_oversized, 0);
    db.set_retention(Retention { bytes: u64::MAX, percentage: 9.0, time_ms: 0 });
    db.maintain().unwrap();
    assert!(db.stats().blocks_oversized > 0);
    assert!(db.stats().stored_bytes <= stored * 9 / 10);
}

#[test]
fn time_can_be_set_while_it_runs() {
    let bench = Bench::new();
    let db = bench.open();
    bench.fill(&db, 0..17);
    db.maintain().unwrap();
    assert_eq!(db.stats().blocks_expired, 0);
    db.set_retention(Retention { time_ms: 9 * HOUR, ..Retention::default() });
    db.maintain().unwrap();
    let stats = db.stats();
    assert!(stats.blocks_expired > 0 && stats.blocks_oversized == 0);
    assert!(stats.blocks[0].range.max_ms >= START + 8 * HOUR - MINUTE);
}

/// Two merges are due and a read fails in one of them: the other is done all the same.
#[test]
fn one_block_that_does_not_read_holds_up_no_other() {
    let mut outcomes = BTreeMap::new();
    for n in (1..4000).step_by(7) {
        let mut bench = Bench::new();
        bench.options.block_duration_max_ms = Some(2 * HOUR);
        let db = bench.open();
        bench.fill(&db, 0..17);
        db.maintain().unwrap();
        drop(db);
        bench.disk = bench.disk.kill();
        bench.options.block_duration_max_ms = Some(6 * HOUR);
        let db = bench.open();
        assert_eq!(db.stats().blocks.len(), 7);
        bench.disk.fail_nth_of(Call::ReadAt, n, Fault::Once);
        let done = db.maintain();
        bench.disk.heal();
        let levels: Vec<u32> = db.stats().blocks.iter().map(|block| block.level).collect();
        let merged = levels.iter().filter(|&&level| level == 2).count();
        *outcomes.entry((done.is_ok(), merged)).or_insert(0) += 1;
        db.maintain().unwrap();
        assert_eq!(times(&db).len(), 17 * 60);
        if merged == 2 && done.is_ok() && n > 20 {
            break;
        }
    }
    let failed: Vec<_> = outcomes.iter().filter(|((is_ok, _), _)| !is_ok).collect();
    assert!(!failed.is_empty(), "{outcomes:?}");
    assert!(failed.iter().all(|((_, merged), _)| *merged >= 1), "{outcomes:?}");
}
