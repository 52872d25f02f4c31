//! Cost of a commit: a thousand series of one source, row after row, the log included.
//!
//! Per iteration one row of 1000 samples: half the series constant, the rest counters and gauges.
//! `memory` keeps the log on the simulated disk, `file` in a temporary directory. Bytes of log and
//! bytes resident for each series and sample are printed once.

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use narthex::disk::{Clock, Disk, PosixDisk, SimulatedClock, SimulatedDisk};
use narthex::head::{GroupKey, Head, HeadOptions, NoObserver, SeriesRef};
use narthex::model::Labels;

const SERIES: usize = 1000;
const START_MS: i64 = 1_700_000_000_000;

struct Feed {
    head: Arc<Head>,
    key: GroupKey,
    series: Vec<SeriesRef>,
    row: i64,
}

impl Feed {
    fn new(disk: Arc<dyn Disk>, dir: &Path) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SimulatedClock::new(START_MS + (1 << 40)));
        let mut options = HeadOptions::new(disk, clock, Arc::new(NoObserver), dir.to_owned());
        options.segment_bytes_max = 16 << 20;
        let head = Head::open(options).expect("the directory is empty");
        let key = GroupKey::Target { job: "node".to_owned(), labels: Vec::new() };
        let mut appender = head.appender(&key);
        let series = (0..SERIES)
            .map(|i| {
                let name = format!("node_metric_number_{}_total", i / 10);
                let labels = Labels::from_pairs([
                    ("__name__", name.as_str()),
                    ("cpu", &(i % 10).to_string()),
                    ("instance", "localhost:9100"),
                    ("job", "node"),
                ]);
                appender.series(&labels)
            })
            .collect();
        drop(appender);
        Self { head, key, series, row: 0 }
    }

    fn push_row(&mut self) {
        self.row += 1;
        let t_ms = START_MS + self.row * 15_000;
        let mut appender = self.head.appender(&self.key);
        appender.reserve(SERIES);
        for (i, &series) in self.series.iter().enumerate() {
            let value = match i % 10 {
                0..5 => i as f64,
                5..8 => (self.row * (i as i64 % 37 + 1)) as f64,
                8 => ((self.row * 7919 + i as i64 * 31) % 1000) as f64 / 10.0,
                _ => (self.row as f64 * 0.1).sin() * 100.0,
            };
            appender.append(series, t_ms, value);
        }
        black_box(appender.commit().expect("the disk has room"));
        if self.row % 120 == 0 {
            self.head.maintain(t_ms).expect("the disk has room");
        }
        if self.row % 960 == 0 {
            let border_ms = t_ms - 60_000;
            self.head.seal_window(border_ms).expect("no appender is open");
            self.head.truncate(border_ms).expect("it was sealed");
        }
    }
}

fn append(c: &mut Criterion) {
    report();
    let mut group = c.benchmark_group("append");
    group.throughput(Throughput::Elements(SERIES as u64));
    let mut feed = Feed::new(Arc::new(SimulatedDisk::new(1)), &PathBuf::from("/bench"));
    group.bench_function("memory/1k_series", |b| b.iter(|| feed.push_row()));
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut feed = Feed::new(Arc::new(PosixDisk), dir.path());
    group.bench_function("file/1k_series", |b| b.iter(|| feed.push_row()));
    group.finish();
}

/// Prints sizes after 100 rows, before anything is sealed.
fn report() {
    let mut feed = Feed::new(Arc::new(SimulatedDisk::new(1)), &PathBuf::from("/bench"));
    for _ in 0..100 {
        feed.push_row();
    }
    let stats = feed.head.stats();
    let per_sample = stats.log.bytes as f64 / stats.samples_appended as f64;
    let per_series = stats.memory_bytes as f64 / stats.series as f64;
    println!("log: {per_sample:.2} bytes a sample; memory: {per_series:.0} bytes a series");
}

criterion_group!(benches, append);
criterion_main!(benches);
