//! What stands inside of a subquery is answered, and told of, as if it were evaluated by itself.
//! A plus before it does nothing but have it so. (Random queries are compared in `tests/`.)

use std::sync::Arc;

use crate::model::{FloatHistogram, Histogram, Labels, Samples};
use crate::promql::engine::{
    Engine, EngineOptions, Query, QueryError, QueryOptions, QueryResult, Value,
};
use crate::promql::parse::{ParseOptions, parse};
use crate::promql::script::{MemoryStore, Store};
use crate::select::{Cancellation, Limit};

const SERIES: usize = 30;

/// Ten minutes: `b`, many floats; `m`, floats and histograms by turns.
fn store() -> MemoryStore {
    let mut store = MemoryStore::default();
    for i in 0..SERIES {
        let mut samples = Samples::default();
        (0..60).for_each(|n| samples.push(n * 10_000, (n as usize * i) as f64));
        let i = i.to_string();
        store.append(&Labels::from_pairs([("__name__", "b"), ("i", &i)]), &samples).unwrap();
    }
    let mut samples = Samples::default();
    for n in 0..10 {
        samples.push(n * 60_000, 1.0);
        let histogram = FloatHistogram { count: n as f64, sum: 1.0, ..FloatHistogram::default() };
        samples.push_histogram(n * 60_000 + 30_000, Arc::new(Histogram::Float(histogram)));
    }
    store.append(&Labels::from_pairs([("__name__", "m")]), &samples).unwrap();
    store
}

fn evaluate(
    store: &MemoryStore,
    text: &str,
    max_samples: usize,
) -> Result<QueryResult, QueryError> {
    let ast = parse(text, &ParseOptions::default()).expect(text);
    let engine = Engine::new(EngineOptions { max_samples, ..EngineOptions::default() });
    let (query, cancellation) = (Query { text, ast: &ast }, Cancellation::new());
    engine.instant(store.queryable(), query, 600_000, &QueryOptions::default(), &cancellation)
}

/// The answer, what is told and what was counted; `§` stands before what is inside.
fn answer(text: &str, inside: &str) -> (String, Vec<String>, Vec<String>, u64, u64) {
    let result = evaluate(&store(), &text.replace('§', inside), usize::MAX).expect(text);
    let stats = &result.stats;
    let counted = (stats.total_queryable_samples, stats.samples_read);
    // As text NaN is equal to itself.
    let value = format!("{:?}", result.value);
    (value, result.warnings, result.infos, counted.0, counted.1)
}

#[test]
fn what_has_no_value_inside_is_told_of() {
    for text in
        ["count_over_time((§rate(m[5m]))[5m:1m])", "absent_over_time((§rate(m[5m]))[5m:1m])"]
    {
        let (_, warnings, ..) = answer(text, " ");
        assert!(warnings[0].contains("a mix of histograms and floats"), "{text}: {warnings:?}");
        assert_eq!(answer(text, " "), answer(text, "+"), "{text}");
    }
}

#[test]
fn of_what_is_told_twice_the_last_place_stays() {
    for (text, last) in [
        ("max_over_time((§rate(b[5m]))[5m:1m])", "b[5m]"),
        ("predict_linear((§rate(b[5m]))[5m:1m], scalar(rate(b[2m])))", "b[2m]"),
        ("quantile_over_time(scalar(rate(b[2m])), (§rate(b[5m]))[5m:1m])", "b[5m]"),
        ("sum(clamp_max(max_over_time((§rate(b[5m]))[5m:1m]), scalar(rate(b[2m]))))", "b[2m]"),
        ("sum(scalar(rate(b[2m])) * max_over_time((§rate(b[5m]))[5m:1m]))", "b[5m]"),
    ] {
        let (_, _, infos, ..) = answer(text, " ");
        let place = text.replace('§', " ").find(last).unwrap() + 1;
        assert!(infos[0].ends_with(&format!("(1:{place})")), "{text}: {infos:?}");
        assert_eq!(answer(text, " "), answer(text, "+"), "{text}");
    }
}

#[test]
fn a_query_holds_one_inner_series_and_not_all() {
    let store = store();
    for inside in ["b", "rate(b[5m])", "last_over_time(b[5m])"] {
        let text = |plus: &str| format!("max_over_time(({plus}{inside})[9m:1s])");
        // A column, its values once more, and a few series.
        let max = 3 * 540;
        let answer = evaluate(&store, &text(" "), max).expect(inside);
        let Value::Vector(vector) = answer.value else { unreachable!() };
        assert_eq!(vector.len(), SERIES, "{inside}");
        let error = evaluate(&store, &text("+"), max).unwrap_err();
        assert!(
            matches!(error, QueryError::Limit(reached) if reached.limit == Limit::Samples),
            "{inside}"
        );
        // One inner series is too much as well, and is refused before it is made.
        let error = evaluate(&store, &text(" "), 500).unwrap_err().to_string();
        assert!(error.contains("540 samples are needed"), "{inside}: {error}");
    }
}
