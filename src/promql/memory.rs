//! Series in memory, for tests of the engine.

use std::sync::Arc;

use crate::model::{Labels, Matcher, Samples, TimeRange};
use crate::select::{Cancellation, Queryable, SelectError, SeriesSet};

/// Series in ascending order of labels.
#[derive(Debug, Default, Clone)]
pub(super) struct Memory {
    series: Vec<(Labels, Arc<Samples>)>,
}

impl Memory {
    /// Adds a series with a sample every `step_ms` from time zero; `None` is a gap.
    pub(super) fn add(&mut self, labels: &[(&str, &str)], step_ms: i64, values: &[Option<f64>]) {
        let mut samples = Samples::default();
        for (index, value) in values.iter().enumerate() {
            if let Some(value) = value {
                samples.push(index as i64 * step_ms, *value);
            }
        }
        self.add_samples(labels, samples);
    }

    pub(super) fn add_samples(&mut self, labels: &[(&str, &str)], samples: Samples) {
        let labels = Labels::from_pairs(labels.iter().copied());
        self.series.push((labels, Arc::new(samples)));
        self.series.sort_by(|(a, _), (b, _)| a.cmp(b));
    }
}

impl Queryable for Memory {
    fn select(
        &self,
        matchers: &[Matcher],
        _range: TimeRange,
        _cancellation: &Cancellation,
    ) -> Result<Box<dyn SeriesSet>, SelectError> {
        let fits = |labels: &Labels| {
            matchers.iter().all(|matcher| matcher.matches(labels.get(&matcher.name).unwrap_or("")))
        };
        let series = self.series.iter().filter(|(labels, _)| fits(labels)).cloned().collect();
        Ok(Box::new(Self { series }))
    }

    fn label_names(
        &self,
        _matchers: &[Matcher],
        _range: TimeRange,
        _cancellation: &Cancellation,
    ) -> Result<Vec<String>, SelectError> {
        Ok(Vec::new())
    }

    fn label_values(
        &self,
        _name: &str,
        _matchers: &[Matcher],
        _range: TimeRange,
        _cancellation: &Cancellation,
    ) -> Result<Vec<String>, SelectError> {
        Ok(Vec::new())
    }
}

impl SeriesSet for Memory {
    fn len(&self) -> usize {
        self.series.len()
    }

    fn labels(&self, index: usize) -> &Labels {
        &self.series[index].0
    }

    fn read(&self, index: usize, range: TimeRange, out: &mut Samples) -> Result<(), SelectError> {
        out.clear();
        let samples = &self.series[index].1;
        for (t_ms, value) in samples.timestamps.iter().zip(&samples.values) {
            if range.contains(*t_ms) {
                out.push(*t_ms, *value);
            }
        }
        Ok(())
    }
}
