//! Queries over series in memory: what evaluation costs without storage.

use criterion::{Criterion, criterion_group, criterion_main};
use narthex::model::{Labels, Samples};
use narthex::promql::engine::{Engine, Query, QueryOptions, QueryRange};
use narthex::promql::script::{MemoryStore, Store};
use narthex::promql::{ParseOptions, parse};
use narthex::select::Cancellation;

const SECOND_MS: i64 = 1000;
const HOUR_MS: i64 = 3600 * SECOND_MS;

/// `series` counters and gauges of ten jobs, a sample every 15 s for two days.
fn store(series: usize) -> MemoryStore {
    let mut store = MemoryStore::default();
    let mut state = 1_u64;
    for index in 0..series {
        let (mut counter, mut counters, mut gauges) = (0.0, Samples::default(), Samples::default());
        for tick in 0..2 * 24 * 240 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let random = (state >> 40) as f64;
            counter += (random / 1e4).floor();
            let t_ms = tick * 15 * SECOND_MS + index as i64 % 7;
            counters.push(t_ms, counter);
            gauges.push(t_ms, random / 1e3);
        }
        let (job, instance) = (format!("job-{}", index % 10), format!("10.0.0.{index}:9100"));
        for (name, samples) in [("counter_total", &counters), ("gauge", &gauges)] {
            let labels = [("__name__", name), ("job", &job), ("instance", &instance)];
            store.append(&Labels::from_pairs(labels), samples).expect("the samples are in order");
        }
    }
    store
}

fn queries(c: &mut Criterion) {
    let store = store(100);
    let engine = Engine::default();
    let mut group = c.benchmark_group("eval/100_series");
    group.sample_size(20);
    // An hour at the sampling step, a day at a minute.
    let hour = (47 * HOUR_MS, 48 * HOUR_MS, 15 * SECOND_MS);
    let day = (24 * HOUR_MS, 48 * HOUR_MS, 60 * SECOND_MS);
    for (name, text, (start_ms, end_ms, step_ms)) in [
        ("select/hour", "gauge", hour),
        ("rate_1m/hour", "rate(counter_total[1m])", hour),
        ("rate_5m/hour", "rate(counter_total[5m])", hour),
        ("rate_5m/day", "rate(counter_total[5m])", day),
        ("rate_1d/day", "rate(counter_total[1d])", day),
        ("sum_by_rate_5m/day", "sum by (job) (rate(counter_total[5m]))", day),
        ("sum_by/day", "sum by (job) (gauge)", day),
        ("join/day", "gauge / on(job, instance) counter_total", day),
        ("ratio/day", "sum by (job) (gauge) / on(job) group_left sum by (job) (gauge)", day),
        ("avg_over_time_5m/day", "avg_over_time(gauge[5m])", day),
        ("sum_over_time_1h_integers/day", "sum_over_time(counter_total[1h])", day),
        ("max_over_time_1h/day", "max_over_time(gauge[1h])", day),
        ("quantile_over_time_1h/hour", "quantile_over_time(0.9, gauge[1h])", hour),
        ("topk_5/day", "topk(5, gauge)", day),
        ("quantile/day", "quantile(0.9, gauge)", day),
        ("subquery/hour", "max_over_time(rate(counter_total[1m])[5m:15s])", hour),
    ] {
        let ast = parse(text, &ParseOptions::default()).expect("the query is well-formed");
        let query = Query { text, ast: &ast };
        let range = QueryRange { start_ms, end_ms, step_ms };
        group.bench_function(name, |b| {
            b.iter(|| {
                let (options, cancellation) = (QueryOptions::default(), Cancellation::new());
                engine.range(&store, query, range, &options, &cancellation).expect("it evaluates")
            });
        });
    }
    group.finish();
}

criterion_group!(benches, queries);
criterion_main!(benches);
