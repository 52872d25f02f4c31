//! A directory of Prometheus under the database: served, and left as it is.

mod deletions;
mod exchange;
mod fixture;
mod log;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::block::Ulid;
use crate::db::{Database, Event, Observer, Options};
use crate::disk::{Clock, Disk, SimulatedClock, SimulatedDisk, StorageError};
use crate::head::GroupKey;
use crate::model::{Labels, Matcher, Samples, TimeRange};
use crate::prometheus::BlockWriter;
use crate::select::{Cancellation, Queryable};

const HOUR: i64 = 3_600_000;
/// A multiple of two hours.
const START: i64 = 1_699_999_200_000;
const DATA: &str = "/data";

/// Keeps what it hears.
#[derive(Debug, Default)]
struct Ears(Mutex<Vec<String>>);

impl Observer for Ears {
    fn event(&self, event: &Event<'_>) {
        self.0.lock().unwrap().push(event.to_string());
    }
}

struct Bench {
    disk: Arc<dyn Disk>,
    clock: SimulatedClock,
    ears: Arc<Ears>,
    options: Options,
}

impl Bench {
    fn new() -> Self {
        let ears = Arc::new(Ears::default());
        let observer: Arc<dyn Observer> = ears.clone();
        let options = Options {
            background: false,
            out_of_order_window_ms: 0,
            observer,
            ..Options::default()
        };
        let disk: Arc<dyn Disk> = Arc::new(SimulatedDisk::new(5));
        disk.create_dir_all(Path::new(DATA)).unwrap();
        Self { disk, clock: SimulatedClock::new(START), ears, options }
    }

    fn try_open(&self) -> Result<Database, StorageError> {
        let clock: Arc<dyn Clock> = Arc::new(self.clock.clone());
        Database::open_with(Arc::clone(&self.disk), clock, DATA, self.options.clone())
    }

    fn open(&self) -> Database {
        self.try_open().unwrap()
    }

    /// A block of two hours with three series, each with a sample a minute.
    fn block(&self, ulid: Ulid, start: i64) -> PathBuf {
        let range = TimeRange { min_ms: start, max_ms: start + 2 * HOUR - 1 };
        let mut writer = BlockWriter::create(&self.disk, Path::new(DATA), ulid, range).unwrap();
        for i in 0..3 {
            let mut samples = Samples::default();
            for minute in 0..120 {
                samples.push(start + minute * 60_000, value(start + minute * 60_000, i));
            }
            writer.add(&labels(i), &samples).unwrap();
        }
        writer.finish().unwrap().unwrap();
        Path::new(DATA).join(ulid.to_string())
    }

    fn heard(&self, text: &str) -> usize {
        self.ears.0.lock().unwrap().iter().filter(|event| event.contains(text)).count()
    }

    /// Every file of the data directory that is not ours, with its bytes.
    fn foreign_files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        let mut dirs = vec![PathBuf::from(DATA)];
        while let Some(dir) = dirs.pop() {
            for entry in self.disk.read_dir(&dir).unwrap() {
                let path = dir.join(&entry.name);
                match entry.name.as_str() {
                    "narthex" => {}
                    _ if entry.is_dir => dirs.push(path),
                    _ => {
                        let bytes = self.disk.map(&path).unwrap().bytes().to_vec();
                        files.insert(path, bytes);
                    }
                }
            }
        }
        files
    }
}

fn labels(i: u8) -> Labels {
    Labels::from_pairs([("__name__", "m"), ("i", &i.to_string())])
}

fn value(t_ms: i64, i: u8) -> f64 {
    (t_ms - START) as f64 + f64::from(i) / 7.0
}

/// Number of samples, which all have the value that they should; and the warnings.
fn count(db: &Database, range: TimeRange) -> (usize, Vec<String>) {
    let set = db.select(&[], range, &Cancellation::new()).unwrap();
    let (mut found, mut samples) = (0, Samples::default());
    for index in 0..set.len() {
        set.read(index, range, &mut samples).unwrap();
        let i = set.labels(index).get("i").unwrap().parse().unwrap();
        for (&t_ms, found) in samples.timestamps.iter().zip(&samples.values) {
            assert_eq!(*found, value(t_ms, i));
        }
        found += samples.len();
    }
    (found, set.warnings())
}

#[test]
fn blocks_are_served_beside_ours_and_stay_as_they_are() {
    let bench = Bench::new();
    bench.block(Ulid::new(1, None), START);
    bench.block(Ulid::new(2, None), START + 2 * HOUR);
    // Prometheus was ended before it could remove what it had merged.
    bench.disk.create_dir_all(&Path::new(DATA).join("snapshots")).unwrap();
    let before = bench.foreign_files();
    let db = bench.open();
    assert_eq!(count(&db, TimeRange::ALL), (720, vec![]));
    let part = TimeRange { min_ms: START + 60_000, max_ms: START + 120_000 };
    assert_eq!(count(&db, part).0, 6);
    let names = db.label_values("i", &[], TimeRange::ALL, &Cancellation::new()).unwrap();
    assert_eq!(names, ["0", "1", "2"]);
    let matcher = Matcher::equal("i", "1");
    let names = db.label_names(&[matcher], TimeRange::ALL, &Cancellation::new()).unwrap();
    assert_eq!(names, ["__name__", "i"]);
    assert_eq!(db.stats().blocks.len(), 2);

    // Samples of ours join them, and stay when the head becomes a block.
    let now = START + 4 * HOUR;
    bench.clock.set_now_ms(now);
    let mut appender = db.appender(GroupKey::Embedded("a".to_owned())).unwrap();
    for i in 0..3 {
        let series = appender.series(&labels(i)).unwrap();
        appender.append(series, now, value(now, i));
    }
    appender.commit().unwrap();
    assert_eq!(count(&db, TimeRange::ALL).0, 723);
    db.compact_all().unwrap();
    assert_eq!(count(&db, TimeRange::ALL).0, 723);
    db.close().unwrap();
    drop(db);
    assert_eq!(bench.foreign_files(), before);
    assert_eq!(count(&bench.open(), TimeRange::ALL).0, 723);
}

#[test]
fn a_running_prometheus_keeps_its_directory() {
    let bench = Bench::new();
    bench.block(Ulid::new(1, None), START);
    let guard = bench.disk.lock(&Path::new(DATA).join("lock")).unwrap();
    assert!(matches!(bench.try_open(), Err(StorageError::Locked(_))));
    drop(guard);
    let db = bench.open();
    assert!(bench.disk.lock(&Path::new(DATA).join("lock")).is_err());
    db.close().unwrap();
    bench.disk.lock(&Path::new(DATA).join("lock")).unwrap();
}

#[test]
fn a_damaged_block_is_left_out_and_left_alone() {
    for name in ["index", "meta.json", "chunks/000001", "tombstones"] {
        let bench = Bench::new();
        let dir = bench.block(Ulid::new(1, None), START);
        bench.block(Ulid::new(2, None), START + 2 * HOUR);
        let path = dir.join(name);
        let mut bytes = bench.disk.map(&path).unwrap().bytes().to_vec();
        let at = bytes.len() * 9 / 10;
        bytes[at] ^= 0x55;
        bench.disk.remove_file(&path).unwrap();
        bench.disk.create(&path).unwrap().append(&bytes).unwrap();
        let before = bench.foreign_files();
        let db = bench.open();
        let (found, warnings) = count(&db, TimeRange::ALL);
        assert!((360..720).contains(&found), "{name}: {found}");
        assert!(bench.heard("block of Prometheus is left out") == 1, "{name}");
        // What is found at the start is told at the start, the rest with each answer.
        assert_eq!(warnings.is_empty(), name != "chunks/000001", "{name}: {warnings:?}");
        assert_eq!(db.stats().quarantined[0].0, dir);
        db.close().unwrap();
        drop(db);
        assert_eq!(bench.foreign_files(), before);
    }
}

#[test]
fn a_snapshot_has_its_blocks_too() {
    let bench = Bench::new();
    bench.block(Ulid::new(1, None), START);
    let db = bench.open();
    let range = TimeRange { min_ms: START, max_ms: START + HOUR - 1 };
    db.delete(&[Matcher::equal("i", "1")], range).unwrap();
    let path = db.snapshot(true).unwrap();
    let clock: Arc<dyn Clock> = Arc::new(bench.clock.clone());
    let disk = Arc::clone(&bench.disk);
    let copy = Database::open_with(disk, clock, path, bench.options.clone()).unwrap();
    assert_eq!(count(&copy, TimeRange::ALL).0, 300);
}

#[test]
fn blocks_past_retention_are_not_served_and_not_removed() {
    let mut bench = Bench::new();
    bench.options.retention_ms = 2 * HOUR;
    bench.block(Ulid::new(1, None), START);
    bench.block(Ulid::new(2, None), START + 4 * HOUR);
    let before = bench.foreign_files();
    let db = bench.open();
    assert_eq!(count(&db, TimeRange::ALL).0, 720);
    db.maintain().unwrap();
    assert_eq!(count(&db, TimeRange::ALL).0, 360);
    let shelved = db.stats().shelved;
    assert!(shelved.blocks == 1 && shelved.bytes > 500, "{shelved:?}");
    assert_eq!(bench.heard("drop-prometheus"), 1);
    db.close().unwrap();
    drop(db);
    assert_eq!(bench.foreign_files(), before);
}

#[test]
fn blocks_that_others_put_there_or_remove_are_noticed() {
    let bench = Bench::new();
    let db = bench.open();
    let dir = bench.block(Ulid::new(1, None), START);
    assert_eq!(count(&db, TimeRange::ALL).0, 0);
    db.maintain().unwrap();
    assert_eq!(count(&db, TimeRange::ALL).0, 360);
    db.delete(&[Matcher::equal("i", "1")], TimeRange::ALL).unwrap();
    bench.block(Ulid::new(2, None), START + 2 * HOUR);
    db.maintain().unwrap();
    assert_eq!(count(&db, TimeRange::ALL).0, 240 + 360);
    bench.disk.remove_dir_all(&dir).unwrap();
    db.maintain().unwrap();
    assert_eq!((count(&db, TimeRange::ALL).0, db.stats().quarantined.len()), (360, 0));
}

#[test]
fn what_was_merged_into_another_block_is_not_served_twice() {
    let bench = Bench::new();
    let (parent, child) = (Ulid::new(1, None), Ulid::new(2, None));
    bench.block(parent, START);
    let dir = bench.block(child, START);
    let path = dir.join("meta.json");
    let text = String::from_utf8(bench.disk.map(&path).unwrap().bytes().to_vec()).unwrap();
    let parents = format!("\"level\": 2, \"parents\": [{{\"ulid\": \"{parent}\"}}]");
    let text = text.replace("\"level\": 1", &parents);
    bench.disk.remove_file(&path).unwrap();
    bench.disk.create(&path).unwrap().append(text.as_bytes()).unwrap();
    let db = bench.open();
    assert_eq!((db.stats().blocks.len(), count(&db, TimeRange::ALL).0), (1, 360));
}
