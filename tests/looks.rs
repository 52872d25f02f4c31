//! A query looks whether it is to end in whatever it spends its time on: each kind of work adds
//! its share of looks. They are counted, not timed.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use narthex::model::{Labels, Samples};
use narthex::promql::engine::{
    Engine, EngineOptions, Query, QueryError, QueryOptions, QueryRange, QueryResult,
};
use narthex::promql::parse::parse_while;
use narthex::promql::script::{MemoryStore, Store};
use narthex::promql::{ParseOptions, parse};
use narthex::select::Cancellation;

/// Steps or samples of one column.
const POINTS: u64 = 1 << 20;
/// Steps or samples that may be gone over without a look.
const POINTS_PER_LOOK: u64 = 1 << 16;
/// Series of `many`.
const SERIES: u64 = 20_000;
/// Series that may be gone over without a look.
const SERIES_PER_LOOK: u64 = 1 << 10;

/// Stops at look number `last`, the first is 1; counts them.
fn counting(last: u64) -> (Cancellation, Arc<AtomicU64>) {
    let looks = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&looks);
    let is_over = move || counted.fetch_add(1, Ordering::Relaxed) + 1 >= last;
    (Cancellation::new().asking_each_look(Arc::new(is_over)), looks)
}

/// Evaluates at one time, or over that many steps of a second before it.
fn evaluate(
    store: &MemoryStore,
    text: &str,
    steps: u64,
    last: u64,
) -> (u64, Result<QueryResult, QueryError>) {
    let ast = parse(text, &ParseOptions::all_features()).expect(text);
    let query = Query { text, ast: &ast };
    // One thread: what is counted is to be the same each time.
    let engine = Engine::new(EngineOptions { helpers_max: 0, ..EngineOptions::default() });
    let (cancellation, looks) = counting(last);
    let (options, end_ms) = (QueryOptions::default(), 2_000_000_000);
    let result = if steps == 1 {
        engine.instant(store.queryable(), query, end_ms, &options, &cancellation)
    } else {
        let start_ms = end_ms - (steps as i64 - 1) * 1000;
        let range = QueryRange { start_ms, end_ms, step_ms: 1000 };
        engine.range(store.queryable(), query, range, &options, &cancellation)
    };
    (looks.load(Ordering::Relaxed), result)
}

fn looks(store: &MemoryStore, text: &str, steps: u64) -> u64 {
    let (looks, result) = evaluate(store, text, steps, u64::MAX);
    result.expect(text);
    looks
}

/// `long` of one sample each second, `many` of one sample each.
fn store() -> MemoryStore {
    let mut store = MemoryStore::default();
    let mut long = Samples::default();
    for t in 0..POINTS as i64 {
        let t_ms = 2_000_000_000 - (POINTS as i64 - 1 - t) * 1000;
        long.push(t_ms, (t % 977) as f64 / 8.0);
    }
    store.append(&Labels::from_pairs([("__name__", "long")]), &long).unwrap();
    for i in 0..SERIES {
        let mut one = Samples::default();
        one.push(1_999_999_000, (i % 5000) as f64);
        let (i, half) = (format!("{i:06}"), (i % 2).to_string());
        let labels = [("__name__", "many"), ("half", &half), ("i", &i)];
        store.append(&Labels::from_pairs(labels), &one).unwrap();
    }
    store
}

#[test]
fn each_operator_looks_while_it_goes_over_its_steps() {
    let store = MemoryStore::default();
    let least = POINTS / POINTS_PER_LOOK;
    for text in ["1", "time()", "vector(1)"] {
        // They are made, and made into a series.
        assert!(looks(&store, text, POINTS) >= 2 * least, "{text}");
    }
    for (below, with) in [
        ("vector(time())", "abs(vector(time()))"),
        ("vector(time())", "vector(time()) % 7"),
        ("vector(time())", "vector(time()) > 7"),
        ("vector(time())", "vector(time() ^ 1.5)"),
        ("vector(time())", "-vector(time())"),
        ("vector(time())", "clamp(vector(time()), 3, 4)"),
        ("vector(time())", "hour(vector(time()))"),
        ("vector(time())", "vector(scalar(vector(time())))"),
        ("vector(time())", "timestamp(vector(time()))"),
        ("vector(time())", "sum(vector(time()))"),
        ("vector(time())", "avg(vector(time()))"),
        ("vector(time())", "stddev(vector(time()))"),
        ("vector(time())", "topk(1, vector(time()))"),
        ("vector(time())", "quantile(0.5, vector(time()))"),
        ("vector(time())", "vector(time()) + vector(time())"),
        ("vector(time())", "vector(time()) < bool vector(time())"),
        ("vector(time())", "histogram_quantile(0.5, vector(time()))"),
        ("vector(time()) > -1", "absent(vector(time()) < 0)"),
        ("vector(time())", "sum_over_time(vector(time())[2s:1s])"),
    ] {
        let (before, after) = (looks(&store, below, POINTS), looks(&store, with, POINTS));
        assert!(after >= before + least, "{with}: {before} to {after}");
    }
}

#[test]
fn selectors_look_while_they_go_over_their_steps() {
    let store = store();
    let least = POINTS / POINTS_PER_LOOK;
    for text in ["long", "timestamp(long)", "rate(long[5m])", "max_over_time(long[1m])"] {
        let found = looks(&store, text, POINTS);
        assert!(found >= 2 * least, "{text}: {found}");
    }
}

#[test]
fn each_function_looks_while_it_goes_over_one_long_window() {
    let store = store();
    let least = POINTS / POINTS_PER_LOOK / 2;
    let base = looks(&store, "last_over_time(long[30d])", 1);
    for function in [
        "sum_over_time(W)",
        "avg_over_time(W)",
        "min_over_time(W)",
        "ts_of_max_over_time(W)",
        "stddev_over_time(W)",
        "quantile_over_time(0.5, W)",
        "mad_over_time(W)",
        "changes(W)",
        "resets(W)",
        "deriv(W)",
        "double_exponential_smoothing(W, 0.5, 0.5)",
    ] {
        let found = looks(&store, &function.replace('W', "long[30d]"), 1);
        assert!(found >= base + least, "{function}: {found}, {base} without it");
    }
}

#[test]
fn each_operator_looks_while_it_goes_over_its_series() {
    let store = store();
    let least = SERIES / SERIES_PER_LOOK;
    let base = looks(&store, "many", 1);
    assert!(base >= 2 * least, "{base}");
    let few = looks(&store, "count(many)", 1);
    assert!(few >= least, "{few}");
    for text in [
        "sort(many)",
        "sort_by_label(many, \"i\")",
        "topk(7, many)",
        "topk(20000, many)",
        "limitk(7, many)",
        "limit_ratio(0.5, many)",
        "quantile by (i) (0.5, many)",
        "count_values(\"v\", many)",
        "sum by (i) (many)",
        "many * 2",
        "many + many",
        "many * on (i) group_left many",
        "many and many",
        "many unless many",
        "many or many",
        "label_replace(many, \"j\", \"$1\", \"i\", \"(.*)\")",
        "label_join(many, \"j\", \"-\", \"i\", \"half\")",
        "abs(many)",
        "histogram_quantile(0.5, label_replace(many, \"le\", \"$1\", \"i\", \"(.*)\"))",
    ] {
        let found = looks(&store, text, 1);
        let more = match text.split_once(['(', ' ']) {
            Some(("sum", _)) => 0,
            // They give a few of their series.
            Some(("topk" | "limitk", rest)) if rest.starts_with('7') => few,
            _ => base,
        };
        assert!(found >= more + least, "{text}: {found}, {base} without it");
    }
}

#[test]
fn a_query_ends_at_whatever_look_it_is_told_to() {
    let store = store();
    for (text, steps) in [
        ("sum_over_time(vector(time())[6d:1s])", 1),
        ("quantile_over_time(0.5, long[30d])", 1),
        ("stddev_over_time(long[30d])", 1),
        ("mad_over_time(long[30d])", 1),
        ("deriv(long[30d])", 1),
        ("max_over_time(rate(long[1m])[6d:1s])", 1),
        ("sort(many) or many * 2", 1),
        ("count_values(\"v\", many)", 1),
        ("rate(long[1m]) * 2", POINTS / 4),
        ("abs(vector(time())) + vector(1)", POINTS / 4),
    ] {
        let all = looks(&store, text, steps);
        assert!(all > 8, "{text}: {all}");
        for part in 1..=7 {
            let last = (all * part / 7).max(1);
            let (found, result) = evaluate(&store, text, steps, last);
            assert!(matches!(result, Err(QueryError::Canceled)), "{text} at {last} of {all}");
            assert_eq!(found, last, "{text}: it was asked no more once it was told");
        }
    }
}

#[test]
fn reading_a_long_query_looks_too() {
    let options = ParseOptions::default();
    for (part, per_look) in [("x{a=~\"b.*c|d\"} or ", 1), ("x + 1 - ", 200)] {
        let text = part.repeat(20_000) + "x";
        let asked = AtomicU64::new(0);
        let count = || asked.fetch_add(1, Ordering::Relaxed) + 1 > 0;
        parse_while(&text, &options, &count).unwrap();
        let all = asked.load(Ordering::Relaxed);
        assert!(all >= 20_000 / per_look, "{part}: {all}");
        let left = AtomicU64::new(all / 2);
        let ends = || left.fetch_sub(1, Ordering::Relaxed) > 1;
        let error = parse_while(&text, &options, &ends).unwrap_err();
        assert!(error.to_string().contains("broken off"), "{error}");
        assert_eq!(left.load(Ordering::Relaxed), 0);
    }
}
