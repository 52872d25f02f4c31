//! Tests of what the database does by itself when something is broken.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{Database, Event, Observer, Options};
use crate::disk::{Clock, Disk, Fault, SimulatedClock, SimulatedDisk};
use crate::head::GroupKey;
use crate::model::{Exemplar, Labels, Metadata, Samples, TimeRange};
use crate::select::{Cancellation, Queryable};

const HOUR: i64 = 3_600_000;
/// A multiple of two hours.
const START: i64 = 1_699_999_200_000;

/// Keeps what it hears; panics at the first flush where that is wanted.
#[derive(Debug, Default)]
struct Ears {
    heard: Mutex<Vec<String>>,
    panics_at_flush: AtomicBool,
}

impl Observer for Ears {
    fn event(&self, event: &Event<'_>) {
        self.heard.lock().unwrap().push(event.to_string());
        if matches!(event, Event::Flushed { .. }) {
            assert!(!self.panics_at_flush.swap(false, Ordering::AcqRel), "an ear that fell off");
        }
    }
}

impl Ears {
    fn count(&self, text: &str) -> usize {
        self.heard.lock().unwrap().iter().filter(|event| event.contains(text)).count()
    }

    /// Waits for the background thread; without an end only where the test has failed.
    fn wait_for(&self, text: &str, count: usize) {
        while self.count(text) < count {
            std::thread::sleep(Duration::from_millis(1));
        }
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
        let options = Options { background: false, observer, ..Options::default() };
        Self { disk: SimulatedDisk::new(5), clock: SimulatedClock::new(START), ears, options }
    }

    fn open(&self) -> Database {
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let clock: Arc<dyn Clock> = Arc::new(self.clock.clone());
        Database::open_with(disk, clock, "/data", self.options.clone()).unwrap()
    }

    /// Five series at `t`, each with the time as its value.
    fn scrape(&self, db: &Database, t: i64) {
        self.clock.set_now_ms(t);
        let mut appender = db.appender(GroupKey::Embedded("a".to_owned())).unwrap();
        for i in 0..5 {
            let labels = Labels::from_pairs([("__name__", "m"), ("i", &i.to_string())]);
            let series = appender.series(&labels).unwrap();
            appender.append(series, t, (t - START) as f64 + f64::from(i) / 7.0);
        }
        assert_eq!(appender.commit().unwrap().accepted, 5);
    }
}

/// All samples by series, and the warnings that came with them.
fn read(db: &Database) -> (BTreeMap<(String, i64), u64>, Vec<String>) {
    let set = db.select(&[], TimeRange::ALL, &Cancellation::new()).unwrap();
    let (mut found, mut samples) = (BTreeMap::new(), Samples::default());
    for index in 0..set.len() {
        set.read(index, TimeRange::ALL, &mut samples).unwrap();
        let name = set.labels(index).get("i").unwrap();
        for (&t, value) in samples.timestamps.iter().zip(&samples.values) {
            found.insert((name.to_owned(), t), value.to_bits());
        }
    }
    (found, set.warnings())
}

#[test]
fn a_damaged_chunk_of_the_head_holds_up_no_flush() {
    let mut bench = Bench::new();
    let db = bench.open();
    for minute in 0..150 {
        bench.scrape(&db, START + minute * 60_000);
        db.maintain().unwrap();
    }
    let (before, _) = read(&db);
    drop(db);
    let dir = Path::new("/data/narthex/head");
    let file: PathBuf = dir.join(&bench.disk.read_dir(dir).unwrap()[0].name);
    bench.disk = bench.disk.kill();
    let mut bytes = bench.disk.file_bytes(&file).unwrap();
    bytes[40] ^= 4;
    bench.disk.set_file_bytes(&file, bytes).unwrap();
    let db = bench.open();
    let (rest, warnings) = read(&db);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(rest.len() < before.len() && rest.iter().all(|(at, bits)| before[at] == *bits));
    bench.scrape(&db, START + 4 * HOUR);
    db.maintain().unwrap();
    assert_eq!(db.stats().blocks.len(), 1);
    assert_eq!(read(&db).0.len(), rest.len() + 5);
    assert_eq!(bench.ears.count("a flush leaves out samples"), 1);
    // The bytes are not thrown away: someone may still find something in them.
    let aside = bench.disk.read_dir(Path::new("/data/narthex/quarantine")).unwrap();
    assert_eq!(aside.len(), 1, "{aside:?}");
}

#[test]
fn damage_that_a_reader_meets_is_told_once() {
    let mut bench = Bench::new();
    let db = bench.open();
    for minute in 0..120 {
        bench.scrape(&db, START + minute * 60_000);
    }
    bench.scrape(&db, START + 4 * HOUR);
    db.maintain().unwrap();
    let (before, _) = read(&db);
    assert_eq!(db.stats().blocks.len(), 1);
    let chunks = Path::new("/data/narthex/blocks").join(&db.stats().blocks[0].name).join("chunks");
    drop(db);
    bench.disk = bench.disk.kill();
    let mut bytes = bench.disk.file_bytes(&chunks).unwrap();
    bytes[40] ^= 4;
    bench.disk.set_file_bytes(&chunks, bytes).unwrap();
    let db = bench.open();
    assert_eq!((bench.ears.count("damaged"), db.stats().quarantined.len()), (0, 0));
    for _ in 0..3 {
        let (rest, warnings) = read(&db);
        assert!(rest.len() < before.len() && rest.iter().all(|(at, bits)| before[at] == *bits));
        assert!(!warnings.is_empty());
    }
    assert_eq!(bench.ears.count("is damaged"), 1);
    assert_eq!(db.stats().quarantined.len(), 1);
}

/// What was sealed stays, the loss of the rest is told, and what comes later is kept.
#[test]
fn a_log_that_is_gone_is_told_and_begins_anew() {
    for is_removed in [true, false] {
        let mut bench = Bench::new();
        let db = bench.open();
        for minute in 0..130 {
            bench.scrape(&db, START + minute * 60_000);
        }
        bench.scrape(&db, START + 4 * HOUR);
        db.maintain().unwrap();
        bench.scrape(&db, START + 4 * HOUR + 60_000);
        let (before, _) = read(&db);
        drop(db);
        bench.disk = bench.disk.kill();
        let dir = Path::new("/data/narthex/wal");
        for entry in bench.disk.read_dir(dir).unwrap() {
            let path = dir.join(entry.name);
            if is_removed {
                bench.disk.remove_file(&path).unwrap();
            } else {
                let mut bytes = bench.disk.file_bytes(&path).unwrap();
                bytes.truncate(100);
                bench.disk.set_file_bytes(&path, bytes).unwrap();
            }
        }
        let db = bench.open();
        assert_eq!(bench.ears.count("the log ends"), 1, "{:?}", bench.ears.heard);
        let (rest, _) = read(&db);
        assert!(rest.len() < before.len() && rest.iter().all(|(at, bits)| before[at] == *bits));
        bench.scrape(&db, START + 5 * HOUR);
        let (now, _) = read(&db);
        assert_eq!(now.len(), rest.len() + 5);
        drop(db);
        bench.disk = bench.disk.kill();
        assert_eq!(read(&bench.open()).0, now);
    }
}

#[test]
fn a_panic_in_maintenance_is_told_and_maintenance_goes_on() {
    let mut bench = Bench::new();
    bench.options.background = true;
    bench.options.maintenance_interval = Duration::from_millis(1);
    bench.ears.panics_at_flush.store(true, Ordering::Release);
    let db = bench.open();
    bench.scrape(&db, START);
    bench.scrape(&db, START + 4 * HOUR);
    bench.ears.wait_for("panicked: an ear that fell off", 1);
    bench.scrape(&db, START + 8 * HOUR);
    bench.ears.wait_for("written as block", 3);
    assert!(db.stats().maintenance_failures > 0);
    assert_eq!(read(&db).0.len(), 15);
    db.close().unwrap();
}

/// Tries have names of their own, so on a full disk what they leave behind would pile up.
#[test]
fn a_flush_that_fails_leaves_nothing_behind() {
    let flush = |n: Option<u64>| {
        let bench = Bench::new();
        let db = bench.open();
        bench.scrape(&db, START);
        bench.scrape(&db, START + 4 * HOUR);
        let before = bench.disk.calls();
        if let Some(n) = n {
            bench.disk.fail_nth(n, Fault::Once);
        }
        let done = db.maintain();
        let calls = bench.disk.calls() - before;
        for dir in ["blocks", "head"] {
            let dir = Path::new("/data/narthex").join(dir);
            for entry in bench.disk.read_dir(&dir).unwrap() {
                let is_left = Path::new(&entry.name).extension().is_some_and(|e| e == "tmp");
                assert!(!is_left, "call {n:?}, {done:?}: {}", entry.name);
            }
        }
        bench.disk.heal();
        db.maintain().unwrap();
        assert!(!db.stats().blocks.is_empty());
        assert_eq!(read(&db).0.len(), 10, "call {n:?}");
        calls
    };
    let calls = flush(None);
    for n in 1..=calls {
        flush(Some(n));
    }
}

#[test]
fn no_block_is_planned_that_its_format_cannot_hold() {
    let days = 24 * HOUR;
    let options = Options { block_duration_max_ms: Some(100 * days), ..Options::default() };
    assert!(options.block_duration_limit_ms() <= i64::from(u32::MAX));
}

#[test]
fn a_compaction_leaves_no_log_behind() {
    let mut bench = Bench::new();
    let db = bench.open();
    for minute in 0..300 {
        bench.scrape(&db, START + minute * 60_000);
    }
    let before = db.stats().wal_bytes;
    let (all, _) = read(&db);
    db.compact_all().unwrap();
    let stats = db.stats();
    // Headers, and nothing that a block has.
    assert!(stats.wal_bytes < 200 && before > 20 * stats.wal_bytes, "{before} {}", stats.wal_bytes);
    assert_eq!((stats.head_file_bytes, stats.head.log.segments), (0, 1));
    drop(db);
    bench.disk = bench.disk.kill();
    assert_eq!(read(&bench.open()).0, all);
}

/// Acknowledged, not yet known to be synced, and damaged after a kill: it may pass for the torn
/// end of a log that lost power, but not in silence.
#[test]
fn a_damaged_end_of_the_log_is_told() {
    let mut bench = Bench::new();
    let db = bench.open();
    db.sync().unwrap();
    for minute in 0..10 {
        bench.scrape(&db, START + minute * 60_000);
    }
    let path = Path::new("/data/narthex/wal/00000001.wal");
    let mut bytes = bench.disk.file_bytes(path).unwrap();
    let at = bytes.len() - 20;
    bytes[at] ^= 1;
    bench.disk = bench.disk.kill();
    drop(db);
    bench.disk.set_file_bytes(path, bytes).unwrap();
    let db = bench.open();
    assert_eq!(bench.ears.count("torn or damaged end"), 1, "{:?}", bench.ears.heard);
    assert_eq!(read(&db).0.len(), 45);
}

#[test]
fn exemplars_and_metadata_go_with_blocks() {
    let mut bench = Bench::new();
    bench.options.exemplars_max = 4;
    let db = bench.open();
    let exemplar = |t_ms: i64| {
        let labels = Labels::empty();
        Exemplar { labels, value: 1.0, t_ms, is_timed: true }
    };
    let mut times = Vec::new();
    for hour in 0..16 {
        let t = START + hour * HOUR;
        bench.scrape(&db, t);
        let mut appender = db.appender(GroupKey::Embedded("a".to_owned())).unwrap();
        let series = appender.series(&Labels::from_pairs([("__name__", "m"), ("i", "0")])).unwrap();
        appender.append_exemplar(series, exemplar(t));
        let metadata = Metadata { help: format!("{hour}"), ..Metadata::default() };
        appender.set_metadata("m", metadata.clone());
        appender.set_metadata("nobody_has_it", metadata);
        assert_eq!(appender.commit().unwrap().exemplars.accepted, 1);
        times.push(t);
        db.maintain().unwrap();
    }
    let found = |db: &Database, range| {
        let found = db.exemplars(&[Vec::new()], range, &Cancellation::new()).unwrap();
        found.iter().flat_map(|s| &s.exemplars).map(|e| e.t_ms).collect::<Vec<_>>()
    };
    // The ring has the last four; the others are in blocks, some of them in merged ones.
    assert_eq!(found(&db, TimeRange::ALL), times);
    let range = TimeRange { min_ms: START + HOUR, max_ms: START + 2 * HOUR };
    assert_eq!(found(&db, range), times[1..3]);
    assert!(db.stats().compactions > 0, "blocks were merged");
    let blocks = db.inner.shared.blocks.list();
    let notes = blocks[0].notes(&bench.disk).unwrap();
    assert_eq!(notes.metadata.keys().collect::<Vec<_>>(), ["m"]);
    drop(db);
    bench.disk = bench.disk.kill();
    let db = bench.open();
    assert_eq!(found(&db, TimeRange::ALL), times);
    assert_eq!(db.metadata()[0].1.help, "15");
}
