//! Reading of long series: what it may hold, when it ends, and that pieces are as good as the
//! whole.

use super::*;
use crate::model::{Matcher, Samples, is_stale, stale_nan};
use crate::promql::columns::Series;
use crate::promql::engine::{
    Engine, EngineOptions, MatrixSeries, Query, QueryOptions, QueryRange, QueryResult, Value,
};
use crate::promql::parse::{ParseOptions, parse};
use crate::promql::script::{MemoryStore, Store};
use crate::promql::tally::Tallies;
use crate::select::Cancellation;

/// Reads a subquery's only series, of so many samples and `gap`s behind them; gives how many there
/// are, and how many of them are still to be charged for.
fn read(
    steps: usize,
    gap: usize,
    samples_max: usize,
    is_canceled: bool,
) -> Result<(usize, usize), QueryError> {
    let grid = Grid { start_ms: 0, step_ms: 1, steps: steps + gap };
    let mut column = Column::dense(vec![1.0; grid.steps]);
    (steps..grid.steps).for_each(|step| column.valid.unset(step));
    let series = vec![Series { labels: Labels::empty(), drop_name: false, column }];
    let inside = Inside::new(Vector { series }, grid);
    let reader = Reader {
        source: Source::Subquery(&inside),
        reading: Reading::LookBack { lookback_ms: 1, taken: Taken::Value },
        times: SampleTimes { grid, offset_ms: 0, fixed_ms: None },
        read: None,
        wanted: Wanted::Samples,
        stats_only: false,
        scope: 0,
    };
    let cancellation = Cancellation::new();
    if is_canceled {
        cancellation.cancel();
    }
    let budget = Budget::new(samples_max, Tallies::new(&[], false), &cancellation);
    let mut windows = Windows::new(false);
    let held = reader.read(0, TimeRange::ALL, &mut windows, &budget)?;
    Ok((windows.len(), held))
}

#[test]
fn a_long_subquery_ends_with_its_query_and_is_refused_before_it_is_copied() {
    let long = 3 * WORK_PER_CHECK;
    assert_eq!(read(long, 1, long, false).unwrap(), (long, long));
    assert!(read(long, 1, long, true).is_err(), "it looks while it reads");
    let error = read(long, 1, long - 1, false).unwrap_err().to_string();
    assert!(error.contains(&format!("{long} samples are needed")), "{error}");
    assert_eq!(read(9, 1, 1, true).unwrap(), (9, 9), "a short one is left to who charges it");
    assert_eq!(read(long, 0, 1, false).unwrap(), (long, 0), "one without gaps is taken over");
    assert!(read(long, 0, 1, true).is_err());
}

fn evaluate(store: &MemoryStore, text: &str, range: QueryRange) -> QueryResult {
    let ast = parse(text, &ParseOptions::all_features()).unwrap();
    let engine = Engine::new(EngineOptions { per_step_stats: true, ..EngineOptions::default() });
    let options = QueryOptions { per_step_stats: true, ..QueryOptions::default() };
    let (source, query) = (store.queryable(), Query { text, ast: &ast });
    engine.range(source, query, range, &options, &Cancellation::new()).expect(text)
}

fn append(all: &mut Vec<MatrixSeries>, result: QueryResult) {
    let Value::Matrix(matrix) = result.value else { unreachable!() };
    for series in matrix {
        match all.iter_mut().find(|known| known.labels == series.labels) {
            Some(known) => {
                known.samples.timestamps.extend(series.samples.timestamps);
                known.samples.values.extend(series.samples.values);
            }
            None => all.push(series),
        }
    }
}

/// Bits, so that NaN is equal to itself.
fn bits(series: &MatrixSeries) -> (&Labels, &[i64], Vec<u64>) {
    let values = series.samples.values.iter().map(|value| value.to_bits()).collect();
    (&series.labels, &series.samples.timestamps, values)
}

#[test]
fn many_steps_are_computed_in_pieces_as_they_are_at_once() {
    const STEPS: i64 = 2 * WORK_PER_CHECK as i64 + 777;
    let mut store = MemoryStore::default();
    for (name, every_ms) in [("dense", 900), ("sparse", 70_000)] {
        let mut samples = Samples::default();
        for n in 0..STEPS * 1000 / every_ms {
            let t_ms = n * every_ms;
            // Gaps, resets and markers.
            if t_ms / 400_000 % 5 != 3 {
                let marks = t_ms / every_ms % 211 == 7;
                let value = (n % 173) as f64 / 4.0;
                samples.push(t_ms, if marks { stale_nan() } else { value });
            }
        }
        store.append(&Labels::from_pairs([("__name__", name)]), &samples).unwrap();
    }
    for text in [
        "{__name__=~\"dense|sparse\"}",
        "timestamp(sparse)",
        "dense smoothed",
        "rate(dense[20s])",
        "increase(sparse[20m] smoothed)",
        "delta(dense[20s] anchored)",
        "sum_over_time(dense[7m])",
        "quantile_over_time(scalar(dense) / 44, dense[20s])",
        "sum(max_over_time(dense[20s]) > 30)",
        "stddev by (le) (changes(dense[20s]))",
        "(dense + on () sparse) or -dense % 5 or timestamp(dense)",
        "max_over_time(rate(dense[20s])[30s:1s])",
        "avg(dense) > scalar(sparse) * 2 and on () dense",
    ] {
        let step_ms = 1000;
        let of = |first: i64, last: i64| {
            let range = QueryRange { start_ms: first * step_ms, end_ms: last * step_ms, step_ms };
            evaluate(&store, text, range)
        };
        let (whole, mut parts) = (of(0, STEPS - 1), Vec::new());
        let (mut looked_at, mut by_step) = (0, Vec::new());
        for first in (0..STEPS).step_by(10_000) {
            let part = of(first, (first + 9_999).min(STEPS - 1));
            looked_at += part.stats.total_queryable_samples;
            by_step.extend(part.stats.steps.iter().map(|step| step.total_queryable_samples));
            append(&mut parts, part);
        }
        parts.sort_by(|a, b| a.labels.cmp(&b.labels));
        assert_eq!(whole.stats.total_queryable_samples, looked_at, "{text}");
        let steps = whole.stats.steps.iter();
        assert!(steps.clone().map(|step| step.total_queryable_samples).eq(by_step), "{text}");
        let read: u64 = steps.map(|step| step.samples_read).sum();
        assert_eq!(whole.stats.samples_read, read, "{text}");
        if text.starts_with("sum_over_time") {
            let mut samples = Samples::default();
            let set = store.queryable();
            let matchers = [Matcher::equal("__name__", "dense")];
            let set = set.select(&matchers, TimeRange::ALL, &Cancellation::new()).unwrap();
            set.read(0, TimeRange::ALL, &mut samples).unwrap();
            let live = samples.values.iter().filter(|value| !is_stale(**value));
            assert_eq!(read, live.count() as u64, "each sample is read once");
        }
        let Value::Matrix(matrix) = &whole.value else { unreachable!() };
        assert!(matrix.iter().map(bits).eq(parts.iter().map(bits)), "{text}");
        assert!(!matrix.is_empty(), "{text}");
    }
}
