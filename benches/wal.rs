//! Appends of records like those of a scrape of a thousand series, and their replay.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use narthex::disk::{Disk, PosixDisk, SystemClock};
use narthex::wal::{Log, LogOptions, Position, Replay};

const RECORD: [u8; 1024] = [0x5a; 1024];
const REPLAYED: usize = 20_000;

fn open(dir: &Path, sync_interval: Duration) -> Log {
    let disk: Arc<dyn Disk> = Arc::new(PosixDisk);
    let options = LogOptions { sync_interval, ..LogOptions::default() };
    let clock = Arc::new(SystemClock::new());
    Log::open(disk, dir, options, clock, Position::START).expect("a log opens")
}

fn append(c: &mut Criterion) {
    let mut group = c.benchmark_group("wal append");
    group.throughput(Throughput::Bytes(RECORD.len() as u64));
    for (name, sync_interval) in [("1 s", Duration::from_secs(1)), ("0", Duration::ZERO)] {
        let dir = tempfile::tempdir().expect("a directory");
        let log = open(&dir.path().join("wal"), sync_interval);
        group.bench_function(name, |b| {
            b.iter(|| log.append(&[(1, &RECORD)]).expect("an append"));
            // The file system of the benchmark is not to fill up.
            log.drop_before(u64::MAX).expect("a removal");
        });
    }
    group.finish();
}

fn replay(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a directory");
    let wal = dir.path().join("wal");
    let log = open(&wal, Duration::from_secs(1));
    for _ in 0..REPLAYED {
        log.append(&[(1, &RECORD)]).expect("an append");
    }
    log.close().expect("a sync");
    let mut group = c.benchmark_group("wal replay");
    group.throughput(Throughput::Bytes((REPLAYED * RECORD.len()) as u64));
    let start = || Replay::open(Arc::new(PosixDisk), &wal, Position::START).expect("a log");
    group.bench_function("20000 records", |b| {
        b.iter_batched(
            start,
            |mut replay| {
                let mut records = 0;
                while replay.next_item().is_some() {
                    records += 1;
                }
                assert_eq!(records, REPLAYED);
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group!(benches, append, replay);
criterion_main!(benches);
