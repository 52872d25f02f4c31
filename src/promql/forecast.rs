//! Refuses, before any of it is computed, what would be too much: a column for each series.
//!
//! How many series there are is known once they are selected, but not how many of them have a
//! value at some step; so as many are read as it takes to be sure that there are too many.

use super::budget::Budget;
use super::engine::QueryError;
use super::extended::Overhang;
use super::reading::{Reader, Reading, Source};
use super::windows::Windows;
use crate::model::is_stale;

/// An error where the columns of `reader` are certain not to go into `budget`.
pub(super) fn check(reader: &Reader<'_>, budget: &Budget<'_>) -> Result<(), QueryError> {
    let (len, steps) = (reader.len(), reader.times.grid.steps);
    let room = budget.room();
    if len.saturating_mul(steps) <= room || steps < 2 {
        return Ok(());
    }
    let (Source::Storage(_), Some(range)) = (&reader.source, reader.range()) else {
        return Ok(());
    };
    let mut windows = Windows::new(false).watching(budget.cancellation());
    let (mut certain, mut doubtful) = (0_usize, 0);
    for index in 0..len {
        budget.check_time()?;
        let held = reader.read(index, range, &mut windows, budget)?;
        budget.ensure(1, held)?;
        budget.note_work(held as u64);
        if has_value(reader, &mut windows) {
            certain += 1;
        } else {
            doubtful += 1;
        }
        if certain.saturating_mul(steps) > room {
            let all = (len - doubtful).saturating_mul(steps);
            return budget.ensure(1, all.max(room + 1));
        }
        if (len - doubtful).saturating_mul(steps) <= room {
            return Ok(());
        }
    }
    Ok(())
}

/// Whether the column of these samples is certain to have a value.
fn has_value(reader: &Reader<'_>, windows: &mut Windows) -> bool {
    let (width_ms, overhang) = reader.width();
    let samples_min = match reader.reading {
        Reading::LookBack { .. } => 1,
        Reading::Window { samples_min, .. } => samples_min,
    };
    if overhang != Overhang::default()
        || windows.may_have_histograms()
        || windows.len() < samples_min
    {
        return false;
    }
    let samples = windows.samples();
    let (timestamps, values) = (&samples.timestamps, &samples.values);
    let grid = reader.times.grid;
    let first_ms = reader.times.at(0);
    // The first step at or after a sample.
    let step_of = |t_ms: i64| {
        let behind_ms = t_ms.saturating_sub(first_ms).max(0) as u64;
        (behind_ms.div_ceil(grid.step_ms.unsigned_abs()) as usize).min(grid.steps - 1)
    };
    [samples_min - 1, timestamps.len() / 2, timestamps.len() - 1].into_iter().any(|index| {
        let at_ms = reader.times.at(step_of(timestamps[index]));
        let low = timestamps.partition_point(|&t_ms| t_ms <= at_ms.saturating_sub(width_ms));
        let high = timestamps.partition_point(|&t_ms| t_ms <= at_ms);
        let within = &values[low..high.max(low)];
        match reader.reading {
            Reading::LookBack { .. } => within.last().is_some_and(|value| !is_stale(*value)),
            Reading::Window { .. } => {
                within.iter().filter(|value| !is_stale(**value)).nth(samples_min - 1).is_some()
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use crate::model::{Labels, Samples, stale_nan};
    use crate::promql::engine::{Engine, EngineOptions, Query, QueryOptions, QueryRange};
    use crate::promql::parse::{ParseOptions, parse};
    use crate::promql::script::{MemoryStore, Store};
    use crate::select::Cancellation;

    /// So many series of ten minutes, one sample each minute, and as many that have nothing to
    /// show.
    fn store(count: usize) -> MemoryStore {
        let mut store = MemoryStore::default();
        for i in 0..count {
            for kind in ["full", "stale"] {
                let mut samples = Samples::default();
                for minute in 0..10 {
                    let value = if kind == "full" { 1.0 } else { stale_nan() };
                    samples.push(minute * 60_000, value);
                }
                let i = i.to_string();
                let labels = Labels::from_pairs([("__name__", "x"), ("i", &i), ("kind", kind)]);
                store.append(&labels, &samples).unwrap();
            }
        }
        store
    }

    fn evaluate(store: &MemoryStore, text: &str, max_samples: usize) -> Result<u64, String> {
        let ast = parse(text, &ParseOptions::default()).unwrap();
        let options = EngineOptions { max_samples, helpers_max: 0, ..EngineOptions::default() };
        let engine = Engine::new(options);
        let range = QueryRange { start_ms: 60_000, end_ms: 540_000, step_ms: 60_000 };
        let (query, source) = (Query { text, ast: &ast }, store.queryable());
        let (options, cancellation) = (QueryOptions::default(), Cancellation::new());
        let result = engine.range(source, query, range, &options, &cancellation);
        result.map(|result| result.stats.total_queryable_samples).map_err(|e| e.to_string())
    }

    #[test]
    fn what_is_too_much_is_refused_with_what_it_would_take_and_what_is_not_is_answered() {
        let store = store(20);
        for text in ["x", "rate(x[3m])", "max_over_time(x[2m])", "topk(1, x)"] {
            // Nine steps of twenty series; those without a value do not count.
            let enough = (180..400).find(|max| evaluate(&store, text, *max).is_ok()).unwrap();
            assert!(enough < 220, "{text}: {enough}");
            let error = evaluate(&store, text, 90).unwrap_err();
            let asked = error.split(": ").nth(1).and_then(|rest| rest.split(' ').next());
            let asked: usize = asked.and_then(|asked| asked.parse().ok()).expect(&error);
            assert!((180..=360).contains(&asked), "{text}: {error}");
            assert!(error.contains("limit query.max-samples is 90"), "{error}");
        }
    }
}
