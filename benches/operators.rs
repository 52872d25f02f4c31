//! Each class of operators over series in memory, as one thing grows at a time: steps, the
//! window, series. Throughput is in steps of all series, so what the design calls O(1) per step
//! shows the same figure whatever the window is.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use narthex::model::{Labels, Samples};
use narthex::promql::engine::{Engine, EngineOptions, Query, QueryOptions, QueryRange};
use narthex::promql::script::{MemoryStore, Store};
use narthex::promql::{ParseOptions, parse};
use narthex::select::Cancellation;

const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 24 * 60 * MINUTE_MS;

/// A class: its name, the query with `W` where the window goes, and whether the design promises
/// that a step costs the same whatever the window.
const CLASSES: [(&str, &str, bool); 21] = [
    ("selector", "counter_total", true),
    ("rate", "rate(counter_total[W])", true),
    ("increase", "increase(counter_total[W])", true),
    ("irate", "irate(counter_total[W])", true),
    ("changes", "changes(gauge[W])", true),
    ("resets", "resets(counter_total[W])", true),
    ("count_over_time", "count_over_time(gauge[W])", true),
    ("last_over_time", "last_over_time(gauge[W])", true),
    ("max_over_time", "max_over_time(gauge[W])", true),
    ("sum_over_time_integers", "sum_over_time(counter_total[W])", true),
    ("sum_over_time_decimals", "sum_over_time(gauge[W])", true),
    ("avg_over_time_decimals", "avg_over_time(gauge[W])", false),
    ("stddev_over_time", "stddev_over_time(gauge[W])", false),
    ("quantile_over_time", "quantile_over_time(0.9, gauge[W])", false),
    ("deriv", "deriv(gauge[W])", false),
    ("predict_linear", "predict_linear(gauge[W], 3600)", false),
    ("map", "abs(gauge) * 2", true),
    ("sum_by", "sum by (job) (gauge)", true),
    ("topk", "topk(5, gauge)", true),
    ("quantile", "quantile(0.9, gauge)", true),
    ("join", "gauge / on(job, instance) counter_total", true),
];

/// `series` counters and as many gauges of ten jobs, a sample every 15 s for two days.
fn store(series: usize) -> MemoryStore {
    let mut store = MemoryStore::default();
    let mut state = 1_u64;
    for index in 0..series {
        let (mut counter, mut counters, mut gauges) = (0.0, Samples::default(), Samples::default());
        for tick in 0..2 * DAY_MS / 15_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let random = (state >> 40) as f64;
            counter += (random / 1e4).floor();
            let t_ms = tick * 15_000 + index as i64 % 7;
            counters.push(t_ms, counter);
            gauges.push(t_ms, (random / 1e3).floor() / 100.0);
        }
        let (job, instance) = (format!("job-{}", index % 10), format!("10.0.0.{index}:9100"));
        for (name, samples) in [("counter_total", &counters), ("gauge", &gauges)] {
            let labels = [("__name__", name), ("job", &job), ("instance", &instance)];
            store.append(&Labels::from_pairs(labels), samples).expect("the samples are in order");
        }
    }
    store
}

struct Case<'a> {
    store: &'a MemoryStore,
    series: usize,
    text: &'a str,
    window_min: i64,
    steps: i64,
}

/// The last hours of the second day, a minute a step.
fn bench(c: &mut Criterion, group: &str, by: &str, figure: i64, case: &Case<'_>) {
    let text = case.text.replace('W', &format!("{}m", case.window_min));
    let ast = parse(&text, &ParseOptions::default()).expect("the query is well-formed");
    let query = Query { text: &text, ast: &ast };
    let end_ms = 2 * DAY_MS - MINUTE_MS;
    let start_ms = end_ms - (case.steps - 1) * MINUTE_MS;
    let range = QueryRange { start_ms, end_ms, step_ms: MINUTE_MS };
    // One thread: what an operator costs is to be seen, not how many cores there are.
    let engine = Engine::new(EngineOptions { helpers_max: 0, ..EngineOptions::default() });
    let mut group = c.benchmark_group(group);
    group.sample_size(10);
    group.throughput(Throughput::Elements(case.steps as u64 * case.series as u64));
    group.bench_function(BenchmarkId::new(by, figure), |b| {
        b.iter(|| {
            let (options, cancellation) = (QueryOptions::default(), Cancellation::new());
            engine.range(case.store, query, range, &options, &cancellation).expect("it evaluates")
        });
    });
    group.finish();
}

fn operators(c: &mut Criterion) {
    let stores: Vec<(usize, MemoryStore)> = [10, 100].map(|n| (n, store(n))).into();
    let (series, store) = &stores[0];
    for (name, text, is_flat) in CLASSES {
        let flat = if is_flat { "flat" } else { "walked" };
        let group = format!("operators/{flat}/{name}");
        let case = Case { store, series: *series, text, window_min: 5, steps: 360 };
        for steps in [60, 360, 1440] {
            bench(c, &group, "steps", steps, &Case { steps, ..case });
        }
        if text.contains('W') {
            for window_min in [1, 5, 60, 1440] {
                // A window of a day over few steps reads far more than it gives.
                let steps = 1440;
                bench(c, &group, "window_min", window_min, &Case { window_min, steps, ..case });
            }
        }
        for (series, store) in &stores {
            let of_many = Case { store, series: *series, ..case };
            bench(c, &group, "series", *series as i64, &of_many);
        }
    }
}

criterion_group!(benches, operators);
criterion_main!(benches);
