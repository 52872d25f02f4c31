//! The log on the simulated disk.

mod checkpoints;
mod crashes;
mod damage;
mod log;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::disk::{Disk as _, Entry, SimulatedClock, SimulatedDisk, StorageError};

/// A record as the tests compare it.
type Record = (u8, Vec<u8>);

const DIR: &str = "/data/wal";

fn dir() -> &'static Path {
    Path::new(DIR)
}

fn options(segment_bytes_max: u64, sync_interval_ms: u64) -> LogOptions {
    LogOptions { segment_bytes_max, sync_interval: Duration::from_millis(sync_interval_ms) }
}

fn open(
    disk: &SimulatedDisk,
    clock: &SimulatedClock,
    options: LogOptions,
) -> Result<Log, StorageError> {
    let (disk, clock) = (Arc::new(disk.clone()), Arc::new(clock.clone()));
    Log::open(disk, dir(), options, clock, Position::START)
}

fn new_log(segment_bytes_max: u64, sync_interval_ms: u64) -> (SimulatedDisk, SimulatedClock, Log) {
    let disk = SimulatedDisk::new(1);
    let clock = SimulatedClock::new(0);
    let log = open(&disk, &clock, options(segment_bytes_max, sync_interval_ms)).unwrap();
    (disk, clock, log)
}

fn append(log: &Log, records: &[Record]) -> Result<Position, StorageError> {
    let payloads: Vec<(u8, &[u8])> = records.iter().map(|(kind, p)| (*kind, &p[..])).collect();
    log.append(&payloads)
}

fn record(i: u64) -> Record {
    (i as u8 % KIND_MAX + 1, format!("record {i} {}", "x".repeat(i as usize % 40)).into_bytes())
}

fn replay_from(disk: &SimulatedDisk, from: Position) -> (Vec<Record>, Vec<Damage>) {
    let mut replay = Replay::open(Arc::new(disk.clone()), dir(), from).unwrap();
    let (mut records, mut damages) = (Vec::new(), Vec::new());
    let mut least = from.sequence;
    while let Some(item) = replay.next_item() {
        match item {
            Item::Record { position, kind, payload } => {
                assert!(position.sequence >= least);
                least = position.sequence + 1;
                records.push((kind, payload.to_vec()));
            }
            Item::Damage(damage) => damages.push(damage),
        }
    }
    let (total, done) = replay.progress();
    assert_eq!(total, done);
    (records, damages)
}

fn replay(disk: &SimulatedDisk) -> (Vec<Record>, Vec<Damage>) {
    replay_from(disk, Position::START)
}

fn records(disk: &SimulatedDisk) -> Vec<Record> {
    let (records, damages) = replay(disk);
    assert_eq!(damages, []);
    records
}

/// The segments as they lie in the directory.
fn segment_files(disk: &SimulatedDisk) -> Vec<Entry> {
    let mut entries = disk.read_dir(dir()).unwrap();
    entries.retain(|entry| entry.name != "salt");
    entries
}

/// Small random numbers from a seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        let mixed = (self.0 ^ (self.0 >> 29)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> 33) % n
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}
