//! Deletions against a model: what was deleted never shows again, and nothing else goes, whatever
//! is sealed, flushed, merged, cleaned, killed or cut off from power in between.

#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it says")]

use std::collections::BTreeMap;
use std::sync::Arc;

use narthex::db::{Database, Options};
use narthex::disk::{Clock, Crash, Disk, Fault, SimulatedClock, SimulatedDisk};
use narthex::head::GroupKey;
use narthex::model::{Labels, MatchOp, Matcher, Samples, TimeRange};
use narthex::select::{Cancellation, Queryable};

const HOUR: i64 = 3_600_000;
const MINUTE: i64 = 60_000;
/// A multiple of two hours.
const START: i64 = 1_699_999_200_000;

type Points = BTreeMap<(u64, i64), u64>;

/// A small source of chance with a seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }
}

struct World {
    chance: Chance,
    disk: SimulatedDisk,
    clock: SimulatedClock,
    model: Points,
    now: i64,
    next_value: u64,
    trail: Vec<String>,
}

fn labels(series: u64) -> Labels {
    Labels::from_pairs([("__name__", format!("m{}", series % 2)), ("i", series.to_string())])
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            chance: Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            disk: SimulatedDisk::new(seed),
            clock: SimulatedClock::new(START),
            model: Points::new(),
            now: START,
            next_value: 0,
            trail: Vec::new(),
        }
    }

    fn open(&self) -> Database {
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let clock: Arc<dyn Clock> = Arc::new(self.clock.clone());
        let options = Options {
            background: false,
            retention_ms: 0,
            sync_interval: std::time::Duration::ZERO,
            out_of_order_window_ms: 3 * HOUR,
            ..Options::default()
        };
        Database::open_with(disk, clock, "/data", options).expect("it opens")
    }

    fn append(&mut self, db: &Database, points: &[(u64, i64)]) {
        for source in 0..2 {
            let mut appender = db.appender(GroupKey::Embedded(format!("s{source}"))).unwrap();
            let mut tried = Vec::new();
            for &(series, t) in points.iter().filter(|point| point.0 % 2 == source) {
                self.next_value += 1;
                let value = self.next_value as f64;
                let reference = appender.series(&labels(series)).unwrap();
                appender.append(reference, t, value);
                tried.push(((series, t), value.to_bits()));
            }
            let outcome = appender.commit().unwrap();
            for (call, (point, bits)) in tried.into_iter().enumerate() {
                if !outcome.rejected.iter().any(|rejected| rejected.0 == call) {
                    // Of two samples at one time the one that was stored first stands.
                    self.model.entry(point).or_insert(bits);
                }
            }
        }
    }

    fn advance(&mut self, db: &Database) {
        for _ in 0..=self.chance.below(40) {
            self.now += MINUTE;
            self.clock.set_now_ms(self.now);
            let points: Vec<(u64, i64)> = (0..4).map(|series| (series, self.now)).collect();
            self.append(db, &points);
        }
    }

    fn late(&mut self, db: &Database) {
        let points: Vec<(u64, i64)> = (0..5)
            .map(|_| {
                let age = self.chance.below(3 * 60) as i64 * MINUTE;
                (self.chance.below(4), self.now - age)
            })
            .collect();
        let mut points = points;
        points.sort_unstable();
        points.dedup();
        self.append(db, &points);
    }

    fn delete(&mut self, db: &Database) {
        let (matcher, concerns): (Matcher, Box<dyn Fn(u64) -> bool>) = match self.chance.below(3) {
            0 => {
                let wanted = self.chance.below(4);
                (Matcher::equal("i", wanted.to_string()), Box::new(move |s| s == wanted))
            }
            1 => (Matcher::equal("__name__", "m0"), Box::new(|series| series % 2 == 0)),
            _ => (Matcher::new("i", MatchOp::NotEqual, "9").unwrap(), Box::new(|_| true)),
        };
        let span = (self.now - START) as u64 / 60_000 + 10;
        let (a, b) = (self.chance.below(span) as i64, self.chance.below(span) as i64);
        let range = match self.chance.below(6) {
            0 => TimeRange { min_ms: i64::MIN, max_ms: START + a * MINUTE },
            1 => TimeRange { min_ms: self.now - a * MINUTE / 4, max_ms: i64::MAX },
            _ => TimeRange { min_ms: START + a.min(b) * MINUTE, max_ms: START + a.max(b) * MINUTE },
        };
        self.trail.push(format!("delete {matcher:?} {range:?}"));
        db.delete(&[matcher], range).unwrap();
        self.model.retain(|&(series, t), _| !concerns(series) || !range.contains(t));
    }

    fn check(&self, db: &Database) {
        let found = read(db);
        let lost = self.model.iter().find(|(at, bits)| found.get(at) != Some(*bits));
        let extra = found.iter().find(|(at, _)| !self.model.contains_key(at));
        assert!(
            lost.is_none() && extra.is_none(),
            "lost {lost:?}, extra {extra:?}: {:?}",
            self.trail
        );
    }
}

fn read(db: &Database) -> Points {
    let set = db.select(&[], TimeRange::ALL, &Cancellation::new()).unwrap();
    let (mut found, mut samples) = (Points::new(), Samples::default());
    for index in 0..set.len() {
        set.read(index, TimeRange::ALL, &mut samples).unwrap();
        let series = set.labels(index).get("i").unwrap().parse().unwrap();
        for (&t, value) in samples.timestamps.iter().zip(&samples.values) {
            found.insert((series, t), value.to_bits());
        }
    }
    assert_eq!(set.warnings(), Vec::<String>::new());
    found
}

#[test]
fn what_was_deleted_stays_deleted_and_nothing_else_goes() {
    for seed in 0..25 {
        let mut world = World::new(seed);
        let mut db = world.open();
        for _ in 0..60 {
            let step = world.chance.below(12);
            world.trail.push(format!("step {step}"));
            match step {
                0..=3 => world.advance(&db),
                4 | 5 => world.late(&db),
                6 | 7 => world.delete(&db),
                8 => db.maintain().unwrap(),
                9 => match world.chance.below(3) {
                    0 => db.compact_all().unwrap(),
                    _ => assert!(db.clean_tombstones().unwrap().left.is_empty()),
                },
                10 => {
                    drop(db);
                    world.disk = world.disk.kill();
                    db = world.open();
                }
                _ => {
                    // Everything that was answered is durable.
                    world.disk = world.disk.crash(Crash::ALL[world.chance.below(4) as usize]);
                    drop(db);
                    db = world.open();
                }
            }
            world.check(&db);
        }
    }
}

/// A deletion of which a call fails may be done in part; tried again it is done, and what it does
/// not concern is there either way.
#[test]
fn a_deletion_that_fails_can_be_tried_again() {
    let run = |n: Option<u64>| {
        let mut world = World::new(77);
        let db = world.open();
        for _ in 0..12 {
            world.advance(&db);
            db.maintain().unwrap();
        }
        assert!(!db.stats().blocks.is_empty(), "the deletion has to concern blocks and head");
        let matchers = [Matcher::equal("i", "1")];
        let range = TimeRange { min_ms: START + HOUR, max_ms: world.now - 5 * MINUTE };
        let before = world.disk.calls();
        if let Some(n) = n {
            world.disk.fail_nth(n, Fault::Once);
        }
        let done = db.delete(&matchers, range);
        let calls = world.disk.calls() - before;
        let others: Points =
            world.model.iter().filter(|(at, _)| at.0 != 1).map(|(a, b)| (*a, *b)).collect();
        world.model.retain(|&(series, t), _| series != 1 || !range.contains(t));
        world.disk.heal();
        assert!(others.iter().all(|(at, bits)| read(&db).get(at) == Some(bits)));
        if done.is_ok() {
            world.check(&db);
        }
        db.delete(&matchers, range).unwrap();
        world.check(&db);
        world.disk = world.disk.crash(Crash::Strict);
        drop(db);
        world.check(&world.open());
        calls
    };
    let calls = run(None);
    assert!(calls > 5);
    for n in 1..=calls {
        run(Some(n));
    }
}

/// Bytes come back, blocks of which nothing is left go, and tombstones go with them.
#[test]
fn cleaning_gives_the_bytes_back() {
    let mut world = World::new(5);
    let db = world.open();
    for _ in 0..20 {
        world.advance(&db);
        db.maintain().unwrap();
    }
    let before = db.stats().blocks;
    assert!(before.len() > 1);
    let files = || world.disk.read_dir(std::path::Path::new("/data/narthex/tombstones")).unwrap();
    db.delete(&[], before[0].range).unwrap();
    db.delete(&[Matcher::equal("__name__", "m0")], before[1].range).unwrap();
    assert_eq!(files().len(), 2);
    // A series of which a block has nothing left is not among its answers.
    let range = before[0].range;
    assert!(db.select(&[], range, &Cancellation::new()).unwrap().is_empty());
    db.clean_tombstones().unwrap();
    assert_eq!(files().len(), 0);
    let after = db.stats().blocks;
    assert_eq!(after.len(), before.len() - 1);
    assert_eq!(after[0].series, 2);
    assert_eq!(after[0].level, before[1].level);
    assert_eq!(after[0].samples * 2, before[1].samples);
}

#[test]
fn damaged_tombstones_are_put_aside_and_told() {
    let mut world = World::new(6);
    let db = world.open();
    for _ in 0..20 {
        world.advance(&db);
        db.maintain().unwrap();
    }
    db.delete(&[], db.stats().blocks[0].range).unwrap();
    drop(db);
    world.disk = world.disk.kill();
    let dir = std::path::Path::new("/data/narthex/tombstones");
    let path = dir.join(&world.disk.read_dir(dir).unwrap()[0].name);
    let mut bytes = world.disk.file_bytes(&path).unwrap();
    bytes[20] ^= 1;
    world.disk.set_file_bytes(&path, bytes).unwrap();
    let db = world.open();
    assert_eq!(db.stats().quarantined.len(), 1);
    let set = db.select(&[], TimeRange::ALL, &Cancellation::new()).unwrap();
    assert!(set.warnings()[0].contains("deleted samples may show"), "{:?}", set.warnings());
    assert!(!world.disk.exists(&path));
}
