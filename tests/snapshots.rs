//! Snapshots: whole or not there, the same as what they were taken of, and independent of it.

#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it says")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use narthex::db::{Database, Options};
use narthex::disk::{Call, Clock, Crash, Disk, Fault, SimulatedClock, SimulatedDisk, StorageError};
use narthex::head::GroupKey;
use narthex::model::{Labels, Matcher, Samples, TimeRange};
use narthex::select::{Cancellation, Queryable};

const HOUR: i64 = 3_600_000;
const MINUTE: i64 = 60_000;
/// A multiple of two hours.
const START: i64 = 1_699_999_200_000;

type Points = BTreeMap<(String, i64), u64>;

fn open_at(disk: &SimulatedDisk, path: &Path) -> Result<Database, StorageError> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let clock: Arc<dyn Clock> = Arc::new(SimulatedClock::new(START + 20 * HOUR));
    let options = Options {
        background: false,
        retention_ms: 0,
        sync_interval: std::time::Duration::ZERO,
        ..Options::default()
    };
    Database::open_with(disk, clock, path, options)
}

fn append(db: &Database, t: i64) {
    let mut appender = db.appender(GroupKey::Embedded("a".to_owned())).unwrap();
    for i in 0..5 {
        let labels = Labels::from_pairs([("__name__", "m"), ("i", &i.to_string())]);
        let series = appender.series(&labels).unwrap();
        appender.append(series, t, (t - START) as f64 / 7.0 + f64::from(i));
    }
    assert_eq!(appender.commit().unwrap().rejected, []);
}

fn read(db: &Database) -> Points {
    let set = db.select(&[], TimeRange::ALL, &Cancellation::new()).unwrap();
    let (mut found, mut samples) = (Points::new(), Samples::default());
    for index in 0..set.len() {
        set.read(index, TimeRange::ALL, &mut samples).unwrap();
        let name = set.labels(index).get("i").unwrap();
        for (&t, value) in samples.timestamps.iter().zip(&samples.values) {
            found.insert((name.to_owned(), t), value.to_bits());
        }
    }
    found
}

/// Blocks, tombstones, sealed and unsealed samples.
fn filled(disk: &SimulatedDisk) -> Database {
    let db = open_at(disk, Path::new("/data")).unwrap();
    for minute in (0..8 * 60).step_by(4) {
        append(&db, START + minute * MINUTE);
        if minute % 40 == 0 {
            db.maintain().unwrap();
        }
    }
    assert!(db.stats().blocks.len() > 1);
    let range = TimeRange { min_ms: START + HOUR, max_ms: START + 7 * HOUR };
    db.delete(&[Matcher::equal("i", "3")], range).unwrap();
    db
}

fn snapshots(disk: &SimulatedDisk) -> Vec<String> {
    let entries = disk.read_dir(Path::new("/data/snapshots"));
    entries.into_iter().flatten().map(|entry| entry.name).collect()
}

#[test]
fn a_snapshot_has_what_the_database_had() {
    let mut disk = SimulatedDisk::new(1);
    let db = filled(&disk);
    let before = read(&db);
    let path = db.snapshot(true).unwrap();
    let blocks_only = db.snapshot(false).unwrap();
    // What happens later does not concern it.
    append(&db, START + 9 * HOUR);
    db.delete(&[], TimeRange { min_ms: START, max_ms: START + 5 * HOUR }).unwrap();
    db.compact_all().unwrap();
    db.clean_tombstones().unwrap();
    let after = read(&db);
    assert_eq!((db.stats().snapshots, snapshots(&disk).len()), (2, 2));
    assert!(db.stats().snapshot_bytes > 0);
    disk = disk.crash(Crash::Strict);
    drop(db);
    assert_eq!(read(&open_at(&disk, &path).unwrap()), before);
    let in_blocks = read(&open_at(&disk, &blocks_only).unwrap());
    assert!(!in_blocks.is_empty() && in_blocks.len() < before.len());
    assert!(in_blocks.iter().all(|(at, bits)| before.get(at) == Some(bits)));
    // One that is taken while the log may still be replayed lacks nothing.
    let db = open_at(&disk, Path::new("/data")).unwrap();
    append(&db, START + 10 * HOUR);
    disk = disk.kill();
    drop(db);
    let db = open_at(&disk, Path::new("/data")).unwrap();
    let path = db.snapshot(true).unwrap();
    let after_kill = read(&db);
    assert_eq!(after_kill.len(), after.len() + 5);
    assert!(read(&open_at(&disk, &path).unwrap()) == after_kill, "the snapshot lacks something");
}

/// Where a file system has no hard links, files are copied.
#[test]
fn copies_do_as_well() {
    let disk = SimulatedDisk::new(2);
    let db = filled(&disk);
    disk.fail_nth_of(Call::HardLink, 1, Fault::Lasting);
    let path = db.snapshot(true).unwrap();
    disk.heal();
    assert_eq!(read(&open_at(&disk, &path).unwrap()), read(&db));
}

#[test]
fn a_snapshot_is_there_whole_or_not_at_all() {
    let run = |n: Option<u64>, crashes: bool| {
        let mut disk = SimulatedDisk::new(3 + n.unwrap_or(0));
        let db = filled(&disk);
        let expected = read(&db);
        let before = disk.calls();
        if let Some(n) = n {
            disk.fail_nth(n, if crashes { Fault::Lasting } else { Fault::Once });
        }
        let taken = db.snapshot(true);
        let calls = disk.calls() - before;
        if crashes {
            disk = disk.crash(Crash::ALL[n.unwrap_or(0) as usize % 4]);
            drop(db);
            let db = open_at(&disk, Path::new("/data")).unwrap();
            assert_eq!(read(&db), expected);
        } else {
            disk.heal();
            assert_eq!(read(&db), expected);
        }
        let left = snapshots(&disk);
        assert!(taken.is_err() || left.len() == 1, "call {n:?}: {left:?}");
        for name in left {
            // A rename whose sync failed may have come true.
            let path: PathBuf = Path::new("/data/snapshots").join(&name);
            assert!(!name.contains(".tmp"), "call {n:?}: {name}");
            assert_eq!(read(&open_at(&disk, &path).unwrap()), expected, "call {n:?}");
        }
        calls
    };
    let calls = run(None, false);
    for n in 1..=calls {
        run(Some(n), false);
        run(Some(n), true);
    }
}
