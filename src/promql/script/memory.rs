//! A store in memory, for scripts and tests.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::run::Store;
use crate::model::{Labels, Matcher, Samples, TimeRange};
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
        for (&t_ms, &value) in samples.timestamps.iter().zip(&samples.values) {
            if stored.timestamps.last().is_some_and(|&last| last >= t_ms) {
                return Err(format!("sample of {labels} at {t_ms} ms is not newer than the last"));
            }
            stored.push(t_ms, value);
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
        out.timestamps.extend_from_slice(&samples.timestamps[first..end]);
        out.values.extend_from_slice(&samples.values[first..end]);
        Ok(())
    }
}
