//! Forwards over restarts, on the simulated disk.

use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use super::progress::parse;
use super::*;
use crate::db::Options;
use crate::disk::{Call, Crash, Fault, SimulatedClock, SimulatedDisk};
use crate::head::{FollowSink, FollowedSample, GroupKey};
use crate::model::{Exemplar, Labels};

const NOW: i64 = 1_700_000_000_000;

#[derive(Default)]
struct Seen(Vec<(LogPoint, i64)>);

impl FollowSink for Seen {
    fn sample(&mut self, sample: FollowedSample<'_>) {
        self.0.push((sample.point, sample.t_ms));
    }

    fn exemplar(&mut self, _: LogPoint, _: &Labels, _: Exemplar) {}

    fn lost(&mut self, records: u64, why: &str) {
        panic!("{records} records lost: {why}");
    }
}

fn open(disk: &SimulatedDisk, clock: &SimulatedClock) -> Database {
    let options = Options { background: false, disk_reserve_bytes: 0, ..Options::default() };
    let (disk, clock) = (Arc::new(disk.clone()), Arc::new(clock.clone()));
    Database::open_with(disk, clock, Path::new("data"), options).unwrap()
}

fn commit(db: &Database, t_ms: i64) {
    let mut appender = db.appender(GroupKey::Embedded("a".to_owned())).unwrap();
    for name in ["x", "y"] {
        let series = appender.series(&Labels::from_pairs([("__name__", name)])).unwrap();
        appender.append(series, t_ms, t_ms as f64);
    }
    assert_eq!(appender.commit().unwrap().rejected, []);
}

fn drain(forward: &mut Forward) -> Vec<(LogPoint, i64)> {
    let mut seen = Seen::default();
    while forward.follower.read(&mut seen).unwrap() {}
    seen.0
}

/// Each sample is passed on once, over ends of the process and losses of power at any time.
#[test]
fn what_was_acknowledged_is_not_sent_again_and_nothing_is_left_out() {
    for seed in 0..12 {
        let mut disk = SimulatedDisk::new(seed);
        let clock = SimulatedClock::new(NOW);
        let mut db = open(&disk, &clock);
        db.forward("r").unwrap();
        let mut received = Vec::new();
        let mut stored = Vec::new();
        let mut t_ms = NOW;
        for round in 0..8 {
            let mut forward = db.forward("r").unwrap();
            assert_eq!(forward.told, Vec::<String>::new());
            for n in 0..30 {
                t_ms += 1_000;
                clock.advance(Duration::from_secs(1));
                commit(&db, t_ms);
                stored.extend([t_ms, t_ms]);
                if n % 5 == 0 {
                    db.maintain().unwrap();
                    let done = forward.progress.shards()[0].done;
                    let fresh = drain(&mut forward).into_iter().filter(|(p, _)| *p >= done);
                    let fresh: Vec<_> = fresh.collect();
                    if let Some((last, _)) = fresh.last() {
                        // Sent, acknowledged, noted.
                        received.extend(fresh.iter().map(|(_, t_ms)| *t_ms));
                        let done = last.next();
                        let noted = ShardProgress { done, sending: done };
                        forward.progress.note(0, noted).unwrap();
                        forward.progress.sync().unwrap();
                    }
                }
            }
            if round % 2 == 0 {
                db.inner.shared.head.shorten_log().unwrap();
            }
            drop(forward);
            if round % 3 == 1 {
                db.sync().unwrap();
                disk = disk.crash(Crash::Strict);
            } else {
                db.close().unwrap();
            }
            db = open(&disk, &clock);
        }
        let mut forward = db.forward("r").unwrap();
        let done = forward.progress.shards()[0].done;
        let rest = drain(&mut forward).into_iter().filter(|(point, _)| *point >= done);
        received.extend(rest.map(|(_, t_ms)| t_ms));
        assert_eq!(received, stored, "seed {seed}");
    }
}

#[test]
fn the_log_is_kept_for_those_who_are_away_and_let_go_behind_them() {
    let disk = SimulatedDisk::new(1);
    let clock = SimulatedClock::new(NOW);
    let db = open(&disk, &clock);
    let forward = db.forward("slow").unwrap();
    let grow = |from: i64| {
        for n in 0..50 {
            commit(&db, NOW + (from + n) * 1_000);
            clock.advance(Duration::from_secs(1));
        }
        db.sync().unwrap();
        db.inner.shared.head.shorten_log().unwrap();
    };
    grow(0);
    let kept = db.stats().wal_bytes;
    grow(50);
    assert!(db.stats().wal_bytes > kept, "the log is kept");
    // Sealed and checkpointed, it is there for the forward alone.
    let held = db.stats().wal_bytes;
    drop(forward);
    assert!(db.forward("no/name").is_err());
    db.retain_forwards(&["slow".to_owned()]).unwrap();
    db.inner.shared.head.shorten_log().unwrap();
    assert!(db.stats().wal_bytes >= held);
    db.retain_forwards(&[]).unwrap();
    grow(100);
    assert!(db.stats().wal_bytes < kept, "{} {kept}", db.stats().wal_bytes);
    assert!(names(&disk, &db.inner.shared.forwards.dir).unwrap().is_empty());
}

#[test]
fn progress_comes_back_up_to_what_is_torn() {
    let disk = SimulatedDisk::new(1);
    let clock = SimulatedClock::new(NOW);
    let db = open(&disk, &clock);
    let forward = db.forward("r").unwrap();
    let point = |sequence, index| LogPoint { sequence, index };
    let shard = |n: u64| ShardProgress { done: point(n, 1), sending: point(n + 5, 0) };
    forward.progress.note_all(&[shard(1), shard(2), shard(3)]).unwrap();
    for n in 10..9_000 {
        forward.progress.note(1, shard(n)).unwrap();
    }
    let path = path_of(&db.inner.shared.forwards.dir, "r");
    let expected = vec![shard(1), shard(8_999), shard(3)];
    assert_eq!(progress::read(&disk, &path).unwrap(), Some(expected));
    let file = disk.open(&path).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_at(0, &mut bytes).unwrap();
    assert!(bytes.len() < 256 << 10);
    assert_eq!(parse(&bytes[..bytes.len() - 1]).unwrap()[1], shard(8_998));
    let at = bytes.len() - 3;
    bytes[at] ^= 1;
    assert_eq!(parse(&bytes).unwrap()[1], shard(8_998));
    assert_eq!(parse(&bytes[..11]), None);
}

/// Too many open files, a right that is missing: whatever cannot be opened is told, and what was
/// not passed on is passed on when it can.
#[test]
fn what_cannot_be_opened_for_a_while_is_not_left_out() {
    let disk = SimulatedDisk::new(2);
    let clock = SimulatedClock::new(NOW);
    let db = open(&disk, &clock);
    drop(db.forward("r").unwrap());
    let expected: Vec<i64> = (1..=5).flat_map(|n| [NOW + n, NOW + n]).collect();
    (1..=5).for_each(|n| commit(&db, NOW + n));
    db.sync().unwrap();
    let mut failures = 0;
    let mut forward = loop {
        // One more call succeeds each time.
        disk.fail_nth_of(Call::Open, failures + 1, Fault::Lasting);
        let opened = db.forward("r");
        disk.heal();
        match opened {
            Ok(forward) => break forward,
            Err(error) => assert!(error.to_string().contains("remote"), "{error}"),
        }
        failures += 1;
    };
    // Its progress, its tables twice.
    assert_eq!(failures, 3);
    assert_eq!(forward.told, Vec::<String>::new());
    let times: Vec<i64> = drain(&mut forward).iter().map(|(_, t_ms)| *t_ms).collect();
    assert_eq!(times, expected);
    drop((forward, db));
    // A start that cannot know what forwards need of the log ends, and lets go of nothing.
    let root = Path::new("data").join(super::super::ROOT);
    let disk: Arc<dyn Disk> = {
        let disk = disk.kill();
        disk.fail_nth_of(Call::Open, 1, Fault::Lasting);
        assert!(State::read(&(Arc::new(disk.clone()) as Arc<dyn Disk>), &root).is_err());
        disk.heal();
        Arc::new(disk)
    };
    let state = State::read(&disk, &root).unwrap();
    assert!(state.done.contains_key("r") && state.tables.len() == 1);
}

proptest! {
    #[test]
    fn wild_bytes_are_progress_or_none(bytes: Vec<u8>) {
        let mut framed = b"NXSENT\r\n\x01\0\0\0".to_vec();
        framed.extend_from_slice(&bytes);
        let _ = parse(&framed);
        let _ = parse(&bytes);
    }
}
