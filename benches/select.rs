//! Selecting and reading a thousand series: from the head, and from a block of two hours.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use narthex::db::{Database, Options};
use narthex::disk::{Clock, PosixDisk, SimulatedClock};
use narthex::head::GroupKey;
use narthex::model::{Labels, Matcher, Samples, TimeRange};
use narthex::select::{Cancellation, Queryable};

const START: i64 = 1_699_999_200_000;
const STEP: i64 = 15_000;
const ROWS: i64 = 479;
const TARGETS: usize = 10;
const SERIES: usize = 1000;

/// Ten targets with a thousand series each, two hours of them: counters, gauges, constants.
fn fill(db: &Database, clock: &SimulatedClock) {
    for row in 0..ROWS {
        let t = START + row * STEP;
        clock.set_now_ms(t);
        for target in 0..TARGETS {
            let mut appender = db.appender(GroupKey::Embedded(target.to_string())).expect("open");
            for i in 0..SERIES {
                let labels = Labels::from_pairs([
                    ("__name__", format!("metric_{:02}", i / 10)),
                    ("instance", format!("10.0.0.{target}:9100")),
                    ("job", "node".to_owned()),
                    ("device", format!("disk{}", i % 10)),
                ]);
                let series = appender.series(&labels).expect("open");
                let noise = (row as u64 * 31 + i as u64 * 17).wrapping_mul(0x9e37_79b9) >> 20;
                let value = match i % 4 {
                    0 | 1 => 42.0,
                    2 => (row * 150) as f64 + (noise % 200) as f64,
                    _ => (2000 + noise % 300) as f64 / 10.0,
                };
                appender.append(series, t, value);
            }
            let outcome = appender.commit().expect("the disk takes it");
            assert_eq!(outcome.rejected, []);
        }
        if row % 40 == 0 {
            db.maintain().expect("the disk takes it");
        }
    }
}

fn read(db: &Database, matchers: &[Matcher], range: TimeRange, out: &mut Samples) -> usize {
    let set = db.select(matchers, range, &Cancellation::new()).expect("readable");
    let mut count = 0;
    for i in 0..set.len() {
        set.read(i, range, out).expect("readable");
        count += out.len();
    }
    count
}

fn measure(c: &mut Criterion, db: &Database, place: &str) {
    let mut group = c.benchmark_group(format!("select/{place}"));
    group.sample_size(20).measurement_time(Duration::from_secs(3));
    let mut samples = Samples::default();
    let one_target = [Matcher::equal("instance", "10.0.0.3:9100")];
    let one_metric = [Matcher::equal("__name__", "metric_07")];
    let last = START + (ROWS - 1) * STEP;
    let ranges = [
        ("two hours", TimeRange { min_ms: START, max_ms: last }),
        ("five minutes", TimeRange { min_ms: last - 300_000, max_ms: last }),
    ];
    for (name, range) in ranges {
        for (what, matchers) in [("1k series", &one_target), ("100 series", &one_metric)] {
            let count = read(db, matchers, range, &mut samples);
            group.throughput(Throughput::Elements(count as u64));
            group.bench_function(format!("{what}, {name}"), |b| {
                b.iter(|| black_box(read(db, matchers, range, &mut samples)));
            });
        }
    }
    group.finish();
}

fn select(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a directory");
    let clock = SimulatedClock::new(START);
    let shared: Arc<dyn Clock> = Arc::new(clock.clone());
    let options = Options { background: false, ..Options::default() };
    let db = Database::open_with(Arc::new(PosixDisk), shared, dir.path(), options).expect("opens");
    fill(&db, &clock);
    measure(c, &db, "head");
    db.compact_all().expect("the disk takes it");
    for block in db.stats().blocks {
        let (samples, series) = (block.samples as f64, block.series as f64);
        eprintln!(
            "block: {:.3} B a sample of values and times, {:.1} B a series of index",
            block.chunk_bytes as f64 / samples,
            block.index_bytes as f64 / series
        );
    }
    measure(c, &db, "block");
}

criterion_group!(benches, select);
criterion_main!(benches);
