//! The engine on series in memory: each operator, by what it answers.

use std::sync::Arc;

use crate::model::{FloatHistogram, Histogram, Labels, Samples, Span, stale_nan};
use crate::promql::engine::{
    Engine, EngineOptions, Query, QueryError, QueryOptions, QueryRange, QueryResult, QueryStats,
    Value,
};
use crate::promql::script::{MemoryStore, Store};
use crate::promql::{ParseOptions, parse};
use crate::select::Cancellation;

#[derive(Default)]
struct Memory(MemoryStore);

impl Memory {
    /// Adds a series with a sample every `step_ms` from time zero; `None` is a gap.
    fn add(&mut self, labels: &[(&str, &str)], step_ms: i64, values: &[Option<f64>]) {
        let mut samples = Samples::default();
        for (index, value) in values.iter().enumerate() {
            if let Some(value) = value {
                samples.push(index as i64 * step_ms, *value);
            }
        }
        let labels = Labels::from_pairs(labels.iter().copied());
        self.0.append(&labels, &samples).unwrap();
    }
}

fn options() -> ParseOptions {
    ParseOptions { experimental_functions: true, ..ParseOptions::default() }
}

fn instant(store: &Memory, text: &str, t_s: i64) -> Result<QueryResult, QueryError> {
    instant_with(&Engine::default(), store, text, t_s)
}

fn instant_with(
    engine: &Engine,
    store: &Memory,
    text: &str,
    t_s: i64,
) -> Result<QueryResult, QueryError> {
    let ast = parse(text, &options()).unwrap_or_else(|error| panic!("{text}: {error}"));
    let query = Query { text, ast: &ast };
    engine.instant(&store.0, query, t_s * 1000, &QueryOptions::default(), &Cancellation::new())
}

fn range(
    store: &Memory,
    text: &str,
    (start_s, end_s, step_s): (i64, i64, i64),
) -> Result<QueryResult, QueryError> {
    let ast = parse(text, &options()).unwrap_or_else(|error| panic!("{text}: {error}"));
    let query = Query { text, ast: &ast };
    let range =
        QueryRange { start_ms: start_s * 1000, end_ms: end_s * 1000, step_ms: step_s * 1000 };
    let engine = Engine::default();
    engine.range(&store.0, query, range, &QueryOptions::default(), &Cancellation::new())
}

/// `{labels} value` of each element, in order.
fn show(result: &QueryResult) -> Vec<String> {
    match &result.value {
        Value::Vector(vector) => {
            vector.iter().map(|sample| format!("{} {}", sample.labels, sample.value)).collect()
        }
        Value::Scalar { value, .. } => vec![value.to_string()],
        Value::String { value, .. } => vec![value.clone()],
        Value::Matrix(matrix) => matrix
            .iter()
            .map(|series| {
                let points = series.samples.timestamps.iter().zip(&series.samples.values);
                let points: Vec<String> =
                    points.map(|(t_ms, value)| format!("{value}@{}", t_ms / 1000)).collect();
                format!("{} {}", series.labels, points.join(" "))
            })
            .collect(),
    }
}

fn assert_instant(store: &Memory, text: &str, t_s: i64, expected: &[&str]) {
    assert_eq!(show(&instant(store, text, t_s).unwrap()), expected, "{text}");
}

fn assert_range(store: &Memory, text: &str, times: (i64, i64, i64), expected: &[&str]) {
    assert_eq!(show(&range(store, text, times).unwrap()), expected, "{text}");
}

fn error(result: Result<QueryResult, QueryError>) -> String {
    result.expect_err("should fail").to_string()
}

/// Two jobs of two instances each; a sample every 10 s.
fn requests() -> Memory {
    let mut store = Memory::default();
    for (job, instance, slope) in
        [("a", "0", 1.0), ("a", "1", 2.0), ("b", "0", 3.0), ("b", "1", 4.0)]
    {
        let values: Vec<_> = (0..61).map(|i| Some(f64::from(i) * slope * 10.0)).collect();
        let labels = [("__name__", "requests_total"), ("job", job), ("instance", instance)];
        store.add(&labels, 10_000, &values);
    }
    store
}

#[test]
fn rates_over_a_counter() {
    let store = requests();
    assert_instant(
        &store,
        "sum by (job) (rate(requests_total[1m]))",
        300,
        &[r#"{job="a"} 3"#, r#"{job="b"} 7"#],
    );
    assert_instant(&store, "sum(increase(requests_total{job='a'}[1m]))", 300, &["{} 180"]);
    assert_instant(
        &store,
        "irate(requests_total{job='a',instance='1'}[1m])",
        300,
        &[r#"{instance="1", job="a"} 2"#],
    );
    assert_range(
        &store,
        "sum without (instance) (rate(requests_total[1m]))",
        (300, 420, 60),
        &[r#"{job="a"} 3@300 3@360 3@420"#, r#"{job="b"} 7@300 7@360 7@420"#],
    );
}

#[test]
fn lookback_and_staleness() {
    let mut store = Memory::default();
    store.add(&[("__name__", "m")], 10_000, &[Some(1.0), None, Some(2.0), Some(stale_nan())]);
    assert_range(&store, "m", (0, 40, 10), &[r#"{__name__="m"} 1@0 1@10 2@20"#]);
    assert_range(&store, "m @ 20", (0, 20, 10), &[r#"{__name__="m"} 2@0 2@10 2@20"#]);
    assert_range(&store, "m offset 10s", (10, 40, 10), &[r#"{__name__="m"} 1@10 1@20 2@30"#]);
    let mut store = Memory::default();
    store.add(&[("__name__", "m")], 10_000, &[Some(1.0)]);
    assert_instant(&store, "m", 299, &[r#"{__name__="m"} 1"#]);
    assert_instant(&store, "m", 300, &[]);
    assert_instant(&store, "timestamp(m)", 299, &["{} 0"]);
    assert_instant(&store, "m[1m]", 30, &[r#"{__name__="m"} 1@0"#]);
    assert_instant(&store, "m[1m]", 60, &[]);
}

#[test]
fn aggregations() {
    let store = requests();
    for (text, expected) in [
        ("sum(requests_total)", "{} 3000"),
        ("avg(requests_total)", "{} 750"),
        ("min(requests_total)", "{} 300"),
        ("max(requests_total)", "{} 1200"),
        ("count(requests_total)", "{} 4"),
        ("group(requests_total)", "{} 1"),
        ("stdvar(requests_total)", "{} 112500"),
        ("quantile(0.5, requests_total)", "{} 750"),
        ("stddev(requests_total{job='a'})", "{} 150"),
        ("sum(requests_total * 2 > 700)", "{} 5400"),
        ("sum(-requests_total)", "{} -3000"),
        ("count(1 < requests_total)", "{} 4"),
        ("scalar(sum(requests_total))", "3000"),
    ] {
        assert_instant(&store, text, 300, &[expected]);
        if !text.starts_with("scalar") {
            let column = expected.split_once(' ').map(|(_, value)| value).unwrap();
            assert_range(&store, text, (300, 300, 10), &[&format!("{{}} {column}@300")]);
        }
    }
    assert_instant(
        &store,
        "topk(1, requests_total)",
        300,
        &[r#"{__name__="requests_total", instance="1", job="b"} 1200"#],
    );
    assert_instant(
        &store,
        "bottomk by (job) (1, requests_total)",
        300,
        &[
            r#"{__name__="requests_total", instance="0", job="a"} 300"#,
            r#"{__name__="requests_total", instance="0", job="b"} 900"#,
        ],
    );
    assert_instant(
        &store,
        "count_values('v', requests_total > 600)",
        300,
        &[r#"{v="1200"} 1"#, r#"{v="900"} 1"#],
    );
    assert_instant(
        &store,
        "limitk by (job) (1, requests_total)",
        300,
        &[
            r#"{__name__="requests_total", instance="0", job="a"} 300"#,
            r#"{__name__="requests_total", instance="0", job="b"} 900"#,
        ],
    );
    assert_eq!(
        error(instant(&store, "topk(scalar(nothing), requests_total)", 300)),
        "Parameter value is NaN"
    );
}

#[test]
fn binary_operators_between_vectors() {
    let store = requests();
    assert_instant(
        &store,
        "requests_total / ignoring(instance) group_left sum by (job) (requests_total)",
        300,
        &[
            r#"{instance="0", job="a"} 0.3333333333333333"#,
            r#"{instance="0", job="b"} 0.42857142857142855"#,
            r#"{instance="1", job="a"} 0.6666666666666666"#,
            r#"{instance="1", job="b"} 0.5714285714285714"#,
        ],
    );
    assert_instant(
        &store,
        "requests_total{job='a'} > on(instance) requests_total{job='b'} - 700",
        300,
        &[r#"{instance="0"} 300"#, r#"{instance="1"} 600"#],
    );
    assert_eq!(
        error(instant(&store, "requests_total + on(job) requests_total", 300)),
        "found duplicate series for the match group {job=\"a\"} on the right hand-side of the \
         operation: [{__name__=\"requests_total\", instance=\"0\", job=\"a\"}, \
         {__name__=\"requests_total\", instance=\"1\", job=\"a\"}];many-to-many matching not \
         allowed: matching labels must be unique on one side"
    );
    assert_eq!(
        error(instant(&store, "requests_total + on(job) sum by (job) (requests_total)", 300)),
        "multiple matches for labels: many-to-one matching must be explicit \
         (group_left/group_right)"
    );
    assert_instant(
        &store,
        "requests_total{job='a'} and on(instance) requests_total{instance='1'}",
        300,
        &[r#"{__name__="requests_total", instance="1", job="a"} 600"#],
    );
    assert_instant(
        &store,
        "requests_total{job='a'} unless on(instance) requests_total{instance='1'}",
        300,
        &[r#"{__name__="requests_total", instance="0", job="a"} 300"#],
    );
    assert_instant(
        &store,
        "requests_total{job='a'} or on(instance) requests_total{job='b'}",
        300,
        &[
            r#"{__name__="requests_total", instance="0", job="a"} 300"#,
            r#"{__name__="requests_total", instance="1", job="a"} 600"#,
        ],
    );
    assert_instant(&store, "1 == bool 1", 0, &["1"]);
    assert_instant(
        &store,
        "requests_total{job='a'} == bool 300",
        300,
        &[r#"{instance="0", job="a"} 1"#, r#"{instance="1", job="a"} 0"#],
    );
}

#[test]
fn duplicates_count_only_at_steps_where_both_are_present() {
    let mut store = Memory::default();
    let (stale, gap) = (Some(stale_nan()), None);
    store.add(&[("__name__", "x"), ("v", "1")], 10_000, &[Some(1.0), stale, gap, gap]);
    store.add(&[("__name__", "x"), ("v", "2")], 10_000, &[gap, gap, Some(2.0), Some(2.0)]);
    store.add(&[("__name__", "y")], 10_000, &[Some(5.0), Some(5.0), Some(5.0), Some(5.0)]);
    assert_range(&store, "y * on() x", (0, 30, 10), &["{} 5@0 10@20 10@30"]);
    assert_range(
        &store,
        "y * on() group_left(v) x",
        (0, 30, 10),
        &[r#"{v="1"} 5@0"#, r#"{v="2"} 10@20 10@30"#],
    );
    assert_range(
        &store,
        "x or on() y",
        (0, 30, 10),
        &[
            r#"{__name__="x", v="1"} 1@0"#,
            r#"{__name__="x", v="2"} 2@20 2@30"#,
            r#"{__name__="y"} 5@10"#,
        ],
    );
    assert_range(&store, "y unless on() x", (0, 30, 10), &[r#"{__name__="y"} 5@10"#]);
}

#[test]
fn equal_labels_are_an_error_only_at_the_same_step() {
    let mut store = Memory::default();
    store.add(&[("__name__", "a")], 10_000, &[Some(1.0), Some(stale_nan())]);
    store.add(&[("__name__", "b")], 10_000, &[None, Some(2.0)]);
    let text = "-{__name__=~'a|b'}";
    assert_range(&store, text, (0, 10, 10), &["{} -1@0 -2@10"]);
    store.add(&[("__name__", "c")], 10_000, &[Some(3.0), Some(3.0)]);
    let same = "vector cannot contain metrics with the same labelset";
    assert_eq!(error(range(&store, "-{__name__=~'a|c'}", (0, 10, 10))), same);
    assert_eq!(error(range(&store, "sum(-{__name__=~'a|c'})", (0, 10, 10))), same);
    assert_eq!(error(instant(&store, "sum_over_time({__name__=~'a|c'}[1m])", 5)), same);
    assert_instant(&store, "sum(last_over_time({__name__=~'a|c'}[1m]))", 5, &["{} 4"]);
}

#[test]
fn subqueries_and_fixed_times() {
    let store = requests();
    assert_instant(
        &store,
        "max_over_time(requests_total{job='a',instance='0'}[1m:20s])",
        105,
        &[r#"{instance="0", job="a"} 100"#],
    );
    assert_instant(&store, "count_over_time(vector(1)[1m:10s])", 105, &["{} 6"]);
    assert_instant(&store, "sum_over_time(sum(requests_total @ 10)[1m:10s])", 100, &["{} 600"]);
    assert_range(&store, "sum(requests_total @ end())", (0, 20, 10), &["{} 200@0 200@10 200@20"]);
    assert_range(
        &store,
        "time() - timestamp(requests_total{job='a',instance='0'} @ 10)",
        (20, 40, 20),
        &[r#"{instance="0", job="a"} 10@20 30@40"#],
    );
    assert_instant(&store, "vector(1)[20s:10s]", 25, &["{} 1@10 1@20"]);
}

#[test]
fn too_much_is_refused_before_it_is_allocated() {
    let store = requests();
    for text in [
        "sum_over_time(vector(1)[1y:1ms])",
        "sum_over_time(vector(time())[1y:1ms])",
        "count_over_time(requests_total[100y:1ms])",
        "sum_over_time((requests_total @ 5)[100y:1ms])",
    ] {
        let found = error(instant(&store, text, 300));
        let head = "query processing would load too many samples into memory in query execution: ";
        let tail = " samples are needed, limit query.max-samples is 50000000";
        assert!(found.starts_with(head) && found.ends_with(tail), "{text}: {found}");
    }
    let engine = Engine::new(EngineOptions { max_samples: 3, ..EngineOptions::default() });
    assert!(matches!(
        instant_with(&engine, &store, "requests_total", 300),
        Err(QueryError::Limit(_))
    ));
}

#[test]
fn a_stopped_query_says_so() {
    let store = requests();
    let ast = parse("sum(requests_total)", &options()).unwrap();
    let query = Query { text: "sum(requests_total)", ast: &ast };
    let cancellation = Cancellation::new();
    cancellation.cancel();
    let result =
        Engine::default().instant(&store.0, query, 0, &QueryOptions::default(), &cancellation);
    assert_eq!(error(result), "query was canceled in expression evaluation");
    let engine = Engine::new(EngineOptions {
        timeout: std::time::Duration::ZERO,
        ..EngineOptions::default()
    });
    let result = instant_with(&engine, &store, "sum(requests_total)", 0);
    assert_eq!(error(result), "query timed out in expression evaluation");
}

#[test]
fn long_chains_need_no_stack() {
    let store = requests();
    let chain = vec!["requests_total{job='a'}"; 5000].join(" or ");
    let result = instant(&store, &chain, 300).unwrap();
    assert_eq!(show(&result).len(), 2);
    let sum = vec!["requests_total{job='a',instance='0'}"; 2000].join(" + ");
    assert_instant(&store, &sum, 300, &[r#"{instance="0", job="a"} 600000"#]);
}

#[test]
fn names_may_go_at_the_end() {
    let store = requests();
    let options = EngineOptions { delayed_name_removal: true, ..EngineOptions::default() };
    let engine = Engine::new(options);
    let text = "sum by (__name__) (rate(requests_total[1m]))";
    assert_eq!(show(&instant_with(&engine, &store, text, 300).unwrap()), ["{} 10"]);
    assert_instant(&store, text, 300, &["{} 10"]);
    let text = "max by (__name__) (requests_total)";
    let expected = [r#"{__name__="requests_total"} 1200"#];
    assert_eq!(show(&instant_with(&engine, &store, text, 300).unwrap()), expected);
}

#[test]
fn annotations_have_positions() {
    let mut store = requests();
    store.add(&[("__name__", "gauge")], 10_000, &[Some(1.0), Some(2.0)]);
    let result = instant(&store, "sum(rate(gauge[1m]))", 10).unwrap();
    assert_eq!(
        result.infos,
        ["PromQL info: metric might not be a counter, name does not end in \
         _total/_sum/_count/_bucket: \"gauge\" (1:10)"]
    );
    let options = EngineOptions { type_and_unit_labels: true, ..EngineOptions::default() };
    let result = instant_with(&Engine::new(options), &store, "rate(gauge[1m])", 10).unwrap();
    assert_eq!(
        result.infos,
        ["PromQL info: metric might not be a counter, __type__ label is not set to \
             \"counter\" or \"histogram\", got \"\": \"gauge\" (1:6)"]
    );
    let result = instant(&store, "quantile(2, requests_total)", 10).unwrap();
    assert_eq!(
        result.warnings,
        ["PromQL warning: quantile value should be between 0 and 1, got 2 (1:10)"]
    );
    assert_eq!(show(&result), ["{} inf"]);
    let result = instant(&store, "quantile_over_time(-1, gauge[1m])", 10).unwrap();
    assert_eq!(
        result.warnings,
        ["PromQL warning: quantile value should be between 0 and 1, got -1 (1:20)"]
    );
    // Parentheses around an argument are not its place.
    for (query, expected) in [
        ("quantile((2), requests_total)", "got 2 (1:11)"),
        ("quantile_over_time(((-1)), (gauge[1m]))", "got -1 (1:22)"),
        ("histogram_quantile((2), requests_total)", "got 2 (1:21)"),
    ] {
        let result = instant(&store, query, 10).unwrap();
        assert!(result.warnings.iter().any(|text| text.ends_with(expected)), "{query} {result:?}");
    }
    let result = instant(&store, "rate((gauge[1m]))", 10).unwrap();
    assert!(result.infos[0].ends_with(": \"gauge\" (1:7)"), "{:?}", result.infos);
}

#[test]
fn absence() {
    let store = requests();
    assert_instant(&store, "absent(nothing{a='1',b=~'x'})", 0, &[r#"{a="1"} 1"#]);
    assert_instant(&store, "absent(requests_total)", 0, &[]);
    assert_range(
        &store,
        "absent_over_time(requests_total{job='a'}[1m])",
        (600, 720, 60),
        &[r#"{job="a"} 1@660 1@720"#],
    );
}

#[test]
fn a_histogram_counts_as_the_samples_it_is_as_large_as() {
    let mut store = MemoryStore::default();
    let histogram = FloatHistogram {
        count: 6.0,
        positive_spans: vec![Span { offset: 0, length: 6 }],
        positive_buckets: vec![1.0; 6],
        ..FloatHistogram::default()
    };
    let mut samples = Samples::default();
    samples.push_histogram(0, Arc::new(Histogram::Float(histogram)));
    store.append(&Labels::from_pairs([("__name__", "a")]), &samples).unwrap();
    let store = Memory(store);
    let with = |max_samples| {
        let engine = Engine::new(EngineOptions { max_samples, ..EngineOptions::default() });
        instant_with(&engine, &store, "a", 0)
    };
    // 176 bytes, one span and six buckets of 8 bytes each, in units of 16.
    assert!(matches!(with(13), Err(QueryError::Limit(_))));
    assert!(with(30).is_ok());
}

#[test]
fn samples_count_as_prometheus_counts_them() {
    let store = requests();
    let engine = Engine::new(EngineOptions { per_step_stats: true, ..EngineOptions::default() });
    let stats = |text: &str, (start_s, end_s, step_s): (i64, i64, i64)| {
        let ast = parse(text, &ParseOptions::all_features()).unwrap();
        let range =
            QueryRange { start_ms: start_s * 1000, end_ms: end_s * 1000, step_ms: step_s * 1000 };
        let options = QueryOptions { per_step_stats: true, ..QueryOptions::default() };
        let query = Query { text, ast: &ast };
        let result = engine.range(&store.0, query, range, &options, &Cancellation::new()).unwrap();
        let QueryStats { total_queryable_samples, samples_read, steps, .. } = result.stats;
        let steps: Vec<_> =
            steps.iter().map(|s| (s.total_queryable_samples, s.samples_read)).collect();
        assert_eq!(steps.iter().map(|step| step.0).sum::<u64>(), total_queryable_samples);
        assert_eq!(steps.iter().map(|step| step.1).sum::<u64>(), samples_read);
        steps
    };
    let of = "requests_total{job='b'}";
    let each = stats(of, (60, 180, 60))[0].0;
    assert_eq!(stats(of, (60, 180, 60)), [(each, each); 3]);
    // Looked at once for all steps, and counted for each.
    let fixed = format!("{of} @ 60");
    assert_eq!(stats(&fixed, (60, 180, 60)), [(each, each), (each, 0), (each, 0)]);
    // Of a subquery the windows over its steps count; what is read is what lies below.
    let windows = format!("max_over_time(sum({of})[3m:1m])");
    assert_eq!(stats(&windows, (180, 300, 60))[0], (3, 3 * each));
    assert_eq!(stats(&windows, (180, 300, 60))[1..], [(3, each); 2]);
    // What no window reaches is not read.
    let apart = format!("max_over_time(sum({of})[1m:1m])");
    assert_eq!(stats(&apart, (60, 300, 120)), [(1, each); 3]);
}
