//! A disk that is full: nothing acknowledged is lost, queries go on, senders are told to come
//! again, and writing goes on by itself as soon as there is room.
#![cfg(feature = "server")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use narthex::db::{Database, Options};
use narthex::disk::{Clock, Crash, Disk, SimulatedClock, SimulatedDisk, StorageError};
use narthex::head::GroupKey;
use narthex::model::{Labels, TimeRange};
use narthex::protowire::field::{write_bytes, write_double, write_int64};
use narthex::remote::{KnownSeries, WriteRequest, receive};
use narthex::select::{Cancellation, Queryable};

const START: i64 = 1_699_999_200_000;
const SERIES: usize = 50;
const RESERVE: u64 = 64 << 10;

struct World {
    disk: SimulatedDisk,
    clock: SimulatedClock,
    now: i64,
    stored: usize,
}

impl World {
    fn new() -> Self {
        let clock = SimulatedClock::new(START);
        Self { disk: SimulatedDisk::new(1), clock, now: START, stored: 0 }
    }

    fn open(&self) -> Database {
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let clock: Arc<dyn Clock> = Arc::new(self.clock.clone());
        let options = Options {
            background: false,
            retention_ms: 0,
            disk_reserve_bytes: RESERVE,
            ..Options::default()
        };
        Database::open_with(disk, clock, "/data", options).expect("a full disk stops no start")
    }

    /// A row of the series; values that take room.
    fn commit(&mut self, db: &Database) -> Result<(), StorageError> {
        self.now += 15_000;
        self.clock.advance(Duration::from_secs(15));
        let mut appender = db.appender(GroupKey::Embedded(String::new()))?;
        for i in 0..SERIES {
            let labels = Labels::from_pairs([("__name__", "m".to_owned()), ("i", i.to_string())]);
            let series = appender.series(&labels)?;
            appender.append(series, self.now, 1.0 / (self.now as f64 + i as f64));
        }
        let outcome = appender.commit()?;
        assert_eq!(outcome.rejected, []);
        self.stored += SERIES;
        Ok(())
    }

    /// Commits until the disk refuses.
    fn fill(&mut self, db: &Database) -> StorageError {
        loop {
            if let Err(error) = self.commit(db) {
                return error;
            }
        }
    }

    /// Commits until maintenance makes no room any more. Returns how often it did.
    fn fill_for_good(&mut self, db: &Database) -> usize {
        for rooms in 0.. {
            let error = self.fill(db);
            let is_full = |why: &str| why.contains("the disk is full");
            assert!(matches!(&error, StorageError::Unwritable(why) if is_full(why)), "{error}");
            assert_eq!(count(db), self.stored);
            for _ in 0..12 {
                let _ = db.maintain();
            }
            if db.stats().unwritable.is_some() {
                return rooms;
            }
        }
        unreachable!("the disk has an end")
    }
}

fn count(db: &Database) -> usize {
    let set = db.select(&[], TimeRange::ALL, &Cancellation::new()).expect("queries go on");
    assert_eq!(set.warnings(), [""; 0]);
    let mut samples = narthex::model::Samples::default();
    let of_one = |i| {
        set.read(i, TimeRange::ALL, &mut samples).expect("the samples are readable");
        samples.timestamps.len()
    };
    (0..set.len()).map(of_one).sum()
}

#[test]
fn writing_stops_and_goes_on_by_itself() {
    let mut world = World::new();
    let mut db = world.open();
    assert_eq!(db.stats().disk_reserve_bytes, RESERVE);
    world.disk.set_capacity(Some(world.disk.used() + 200_000));
    // What the log held is sealed with the help of the reserve, which makes room for more.
    assert!(world.fill_for_good(&db) > 0, "sealing made no room");
    // Now it is full of what is kept. Nothing more is taken, whatever happens.
    for _ in 0..3 {
        let _ = db.maintain();
        world.commit(&db).unwrap_err();
        let stats = db.stats();
        assert_eq!(stats.disk_reserve_bytes, 0);
        assert!(stats.unwritable.is_some_and(|why| why.contains("the disk is full")));
        assert_eq!(count(&db), world.stored);
    }
    // Not even after a start on the full disk, by kill and by loss of power.
    for crash in [None, Some(Crash::Strict)] {
        db.sync().expect("what was acknowledged is on the medium");
        let disk = crash.map_or_else(|| world.disk.kill(), |mode| world.disk.crash(mode));
        world.disk = disk;
        db = world.open();
        assert_eq!(count(&db), world.stored);
        world.commit(&db).unwrap_err();
    }
    world.disk.set_capacity(None);
    db.maintain().expect("there is room");
    let stats = db.stats();
    assert_eq!((stats.unwritable, stats.disk_reserve_bytes), (None, RESERVE));
    world.commit(&db).expect("writing goes on by itself");
    assert_eq!(count(&db), world.stored);
    world.disk = world.disk.kill();
    let db = world.open();
    assert_eq!(count(&db), world.stored);
}

#[test]
fn every_amount_of_room_is_survived() {
    for room in (0..120_000).step_by(3_701) {
        let mut world = World::new();
        let db = world.open();
        for _ in 0..20 {
            world.commit(&db).expect("there is room");
        }
        world.disk.set_capacity(Some(world.disk.used() + room));
        for _ in 0..3 {
            for _ in 0..100 {
                if world.commit(&db).is_err() {
                    break;
                }
            }
            let _ = db.maintain();
            let _ = db.compact_all();
            assert_eq!(count(&db), world.stored, "{room} bytes of room");
        }
        world.disk = world.disk.kill();
        let db = world.open();
        assert_eq!(count(&db), world.stored, "{room} bytes of room");
        world.disk.set_capacity(None);
        let _ = db.maintain();
        world.commit(&db).unwrap_or_else(|error| panic!("{room} bytes of room: {error}"));
        db.compact_all().expect("there is room");
        assert_eq!(count(&db), world.stored, "{room} bytes of room");
    }
}

/// One series with one sample, as a sender of remote write 1.0 writes it.
fn request(t_ms: i64) -> Vec<u8> {
    let mut series = Vec::new();
    for (name, value) in [("__name__", "pushed"), ("job", "push")] {
        let mut label = Vec::new();
        write_bytes(1, name.as_bytes(), &mut label);
        write_bytes(2, value.as_bytes(), &mut label);
        write_bytes(1, &label, &mut series);
    }
    let mut sample = Vec::new();
    write_double(1, 1.5, &mut sample);
    write_int64(2, t_ms, &mut sample);
    write_bytes(2, &sample, &mut series);
    let mut message = Vec::new();
    write_bytes(1, &series, &mut message);
    snap::raw::Encoder::new().compress_vec(&message).expect("it is short")
}

#[test]
fn senders_are_told_to_come_again() {
    let mut world = World::new();
    let db = world.open();
    world.disk.set_capacity(Some(world.disk.used() + 100_000));
    world.fill_for_good(&db);
    let known = KnownSeries::default();
    let send = |t_ms| {
        let body = request(t_ms);
        let (content_type, content_encoding) = (Some("application/x-protobuf"), Some("snappy"));
        receive(&db, &known, WriteRequest { content_type, content_encoding, body: &body })
    };
    let reply = send(world.now);
    assert_eq!(reply.status, 503, "{}", reply.text);
    assert!(reply.text.contains("the disk is full"), "{}", reply.text);
    assert!(reply.headers.iter().any(|(name, _)| *name == "Retry-After"));
    assert_eq!(count(&db), world.stored);
    world.disk.set_capacity(None);
    let _ = db.maintain();
    assert_eq!(send(world.now).status, 204);
    assert_eq!(count(&db), world.stored + 1);
    assert!(world.disk.exists(Path::new("/data/narthex/reserve")));
}
