//! Time to parse, check and print queries as dashboards and rules send them.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use narthex::promql::{ParseOptions, parse};

const SHORT: &str = "up{job=\"node\"}";
const DASHBOARD: &str = "sum by (instance, mode) (rate(node_cpu_seconds_total{mode!=\"idle\", \
    instance=~\"$node:[0-9]+\", job=\"node\"}[5m])) / on (instance) group_left () \
    count by (instance) (count by (cpu, instance) (node_cpu_seconds_total{job=\"node\"})) * 100";
const RULE: &str = "(histogram_quantile(0.99, sum by (le, job) \
    (rate(http_request_duration_seconds_bucket{code!~\"5..\"}[1h] offset 5m))) > 0.5 \
    and on (job) increase(http_requests_total[1h]) > 1e3) or vector(0) unless absent(up == 1)";

fn queries(c: &mut Criterion) {
    let options = ParseOptions::default();
    let chain = "a + ".repeat(1999) + "a";
    let mut group = c.benchmark_group("promql_parse");
    for (name, query) in
        [("short", SHORT), ("dashboard", DASHBOARD), ("rule", RULE), ("chain", &chain)]
    {
        group.throughput(Throughput::Bytes(query.len() as u64));
        group.bench_function(name, |b| {
            b.iter(|| parse(black_box(query), &options).expect("the query is well-formed"));
        });
    }
    let ast = parse(RULE, &options).expect("the query is well-formed");
    group.bench_function("print", |b| b.iter(|| black_box(&ast).to_string()));
    group.finish();
}

criterion_group!(benches, queries);
criterion_main!(benches);
