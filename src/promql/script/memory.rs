//! A store in memory, for scripts and tests.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::run::Store;
use crate::model::{
    FloatHistogram, Histogram, Labels, Matcher, ResetHint, Samples, TimeRange, is_stale,
};
use crate::select::{Cancellation, Queryable, SelectError, SeriesSet};

/// Series in order of labels.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    series: BTreeMap<Labels, Arc<Samples>>,
}

impl MemoryStore {
    fn matching<'a>(
        &'a self,
        matchers: &'a [Matcher],
        range: TimeRange,
    ) -> impl Iterator<Item = (&'a Labels, &'a Arc<Samples>)> {
        self.series.iter().filter(move |(labels, samples)| {
            let is_in_range = match (samples.timestamps.first(), samples.timestamps.last()) {
                (Some(&min_ms), Some(&max_ms)) => TimeRange { min_ms, max_ms }.overlaps(range),
                _ => false,
            };
            is_in_range && matchers.iter().all(|m| m.matches(labels.get(&m.name).unwrap_or("")))
        })
    }
}

impl Store for MemoryStore {
    fn clear(&mut self) -> Result<(), String> {
        self.series.clear();
        Ok(())
    }

    fn append(&mut self, labels: &Labels, samples: &Samples) -> Result<(), String> {
        let stored = Arc::make_mut(self.series.entry(labels.clone()).or_default());
        for (index, (&t_ms, &value)) in samples.timestamps.iter().zip(&samples.values).enumerate() {
            if stored.timestamps.last().is_some_and(|&last| last >= t_ms) {
                return Err(format!("sample of {labels} at {t_ms} ms is not newer than the last"));
            }
            let last = stored.len().checked_sub(1).and_then(|last| stored.histogram(last));
            match (samples.histogram(index), last) {
                (Some(histogram), last) => {
                    let mut histogram = histogram.to_float();
                    histogram.reset_hint = hint_of(&histogram, last.map(|last| &**last));
                    stored.push_histogram(t_ms, Arc::new(Histogram::Float(histogram)));
                }
                // A histogram ends with a marker of its kind.
                (None, Some(_)) if is_stale(value) => {
                    let end = FloatHistogram { sum: value, ..FloatHistogram::default() };
                    stored.push_histogram(t_ms, Arc::new(Histogram::Float(end)));
                }
                (None, _) => stored.push(t_ms, value),
            }
            stored.set_last_start(samples.start_ms(index));
        }
        Ok(())
    }

    fn queryable(&self) -> &dyn Queryable {
        self
    }
}

impl Queryable for MemoryStore {
    fn select(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        cancellation: &Cancellation,
    ) -> Result<Box<dyn SeriesSet>, SelectError> {
        cancellation.check()?;
        let series = self.matching(matchers, range);
        Ok(Box::new(Selected(series.map(|(l, s)| (l.clone(), Arc::clone(s))).collect())))
    }

    fn label_names(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        cancellation: &Cancellation,
    ) -> Result<Vec<String>, SelectError> {
        cancellation.check()?;
        let series = self.matching(matchers, range);
        let names: BTreeSet<_> = series.flat_map(|(l, _)| l.iter().map(|(name, _)| name)).collect();
        Ok(names.into_iter().map(str::to_owned).collect())
    }

    fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        range: TimeRange,
        cancellation: &Cancellation,
    ) -> Result<Vec<String>, SelectError> {
        cancellation.check()?;
        let series = self.matching(matchers, range);
        let values: BTreeSet<_> = series.filter_map(|(labels, _)| labels.get(name)).collect();
        Ok(values.into_iter().map(str::to_owned).collect())
    }
}

#[derive(Debug)]
struct Selected(Vec<(Labels, Arc<Samples>)>);

impl SeriesSet for Selected {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn labels(&self, index: usize) -> &Labels {
        &self.0[index].0
    }

    fn read(&self, index: usize, range: TimeRange, out: &mut Samples) -> Result<(), SelectError> {
        let samples = &self.0[index].1;
        let first = samples.timestamps.partition_point(|&t| t < range.min_ms);
        let end = samples.timestamps.partition_point(|&t| t <= range.max_ms).max(first);
        out.clear();
        out.extend_from(samples, first..end);
        Ok(())
    }
}

/// What a histogram hints at once it is stored behind `last`, the sample before it if that is a
/// histogram.
///
/// COMPAT: Prometheus keeps histograms in chunks, of gauges or of counters that do not begin anew;
/// of a chunk's first histogram nothing is known, of the others that they are no reset.
fn hint_of(histogram: &FloatHistogram, last: Option<&Histogram>) -> ResetHint {
    let unknown = ResetHint::Unknown;
    if histogram.reset_hint == ResetHint::Gauge {
        return ResetHint::Gauge;
    }
    let Some(Histogram::Float(last)) = last else { return unknown };
    let begins_chunk = histogram.reset_hint == ResetHint::Reset
        || last.reset_hint == ResetHint::Gauge
        || is_stale(last.sum)
        || histogram.schema != last.schema
        || histogram.zero_threshold != last.zero_threshold
        || histogram.custom_bounds != last.custom_bounds;
    let compared = FloatHistogram { reset_hint: unknown, ..histogram.clone() };
    if begins_chunk || compared.is_reset_since(last) { unknown } else { ResetHint::NotReset }
}
