//! Answers printed as JSON: series with labels and points over one grid.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use narthex::http::json::{TimeTexts, push_labels};
use narthex::model::{Labels, Samples};

const SERIES: usize = 100;
const STEPS: usize = 240;

fn labels(index: usize) -> Labels {
    Labels::from_pairs([
        ("__name__", "node_cpu_seconds_total"),
        ("cpu", &index.to_string()),
        ("instance", "10.0.0.1:9100"),
        ("job", "node"),
        ("mode", "idle"),
    ])
}

/// `value` at each step of an hour at 15 s.
fn points(value: impl Fn(usize) -> f64) -> Samples {
    let mut samples = Samples::default();
    for step in 0..STEPS {
        samples.push(1_700_000_000_000 + step as i64 * 15_000, value(step));
    }
    samples
}

fn matrix(c: &mut Criterion) {
    let mut group = c.benchmark_group("json/matrix_100_series_240_steps");
    group.throughput(Throughput::Elements((SERIES * STEPS) as u64));
    for (name, samples) in [
        ("integers", points(|step| (step * 97 % 1000) as f64)),
        ("two_decimals", points(|step| (step * 7919 % 100_000) as f64 / 100.0)),
        ("rates", points(|step| (step * 7919 % 100_000) as f64 / 299.7)),
    ] {
        let mut out = Vec::new();
        group.bench_function(name, |b| {
            b.iter(|| {
                out.clear();
                let mut times = TimeTexts::default();
                (0..SERIES).for_each(|_| times.push_points(&mut out, &samples, 0..samples.len()));
                out.len()
            });
        });
    }
    group.finish();
}

fn label_sets(c: &mut Criterion) {
    let sets: Vec<Labels> = (0..1000).map(labels).collect();
    let mut group = c.benchmark_group("json/labels");
    group.throughput(Throughput::Elements(sets.len() as u64));
    let mut out = Vec::new();
    group.bench_function("1000_sets_of_5", |b| {
        b.iter(|| {
            out.clear();
            for labels in &sets {
                push_labels(&mut out, labels);
            }
            out.len()
        });
    });
    group.finish();
}

criterion_group!(benches, matrix, label_sets);
criterion_main!(benches);
