//! Samples, the staleness marker, closed time ranges.

use std::ops::Range;
use std::sync::Arc;

use super::Histogram;

/// Bits of the NaN that ends a series: the target or the series is gone.
/// COMPAT: Prometheus `model/value`; written and recognised bit for bit.
pub const STALE_NAN_BITS: u64 = 0x7ff0_0000_0000_0002;

/// Bits of the NaN that Prometheus writes for an ordinary NaN.
pub const NORMAL_NAN_BITS: u64 = 0x7ff8_0000_0000_0001;

/// The staleness marker as a float.
pub fn stale_nan() -> f64 {
    f64::from_bits(STALE_NAN_BITS)
}

/// Whether `value` is the staleness marker; other NaNs are not.
pub fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_NAN_BITS
}

/// Milliseconds from `min_ms` to `max_ms`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeRange {
    /// First millisecond.
    pub min_ms: i64,
    /// Last millisecond.
    pub max_ms: i64,
}

impl TimeRange {
    /// Every time there is.
    pub const ALL: Self = Self { min_ms: i64::MIN, max_ms: i64::MAX };

    /// Whether `t_ms` lies within.
    pub fn contains(self, t_ms: i64) -> bool {
        self.min_ms <= t_ms && t_ms <= self.max_ms
    }

    /// Whether the two share a millisecond.
    pub fn overlaps(self, other: Self) -> bool {
        self.min_ms <= other.max_ms && other.min_ms <= self.max_ms
    }
}

/// Samples of one series as columns, times strictly ascending. Staleness markers are among the
/// values; the reader of the columns decides what they mean.
///
/// A sample is a float or a native histogram. `values` has an entry for either: a histogram's is
/// its sum, so that its staleness marker is seen like a float's.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Samples {
    /// Milliseconds.
    pub timestamps: Vec<i64>,
    /// One value for each timestamp.
    pub values: Vec<f64>,
    /// The samples that are histograms: index, ascending, and histogram.
    pub histograms: Vec<(u32, Arc<Histogram>)>,
    /// When the counters began to count, in milliseconds: one for each timestamp, 0 where it is
    /// not known. Empty where none is known.
    pub starts_ms: Vec<i64>,
}

impl Samples {
    /// Number of samples.
    pub fn len(&self) -> usize {
        self.timestamps.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.timestamps.is_empty()
    }

    /// Empties all columns and keeps their memory.
    pub fn clear(&mut self) {
        self.timestamps.clear();
        self.values.clear();
        self.histograms.clear();
        self.starts_ms.clear();
    }

    /// Makes room for so many more floats.
    pub fn reserve(&mut self, count: usize) {
        self.timestamps.reserve_exact(count);
        self.values.reserve_exact(count);
    }

    /// Appends one float; the caller keeps the times ascending.
    #[inline]
    pub fn push(&mut self, t_ms: i64, value: f64) {
        self.timestamps.push(t_ms);
        self.values.push(value);
        if !self.starts_ms.is_empty() {
            self.starts_ms.push(0);
        }
    }

    /// Appends one histogram; the caller keeps the times ascending.
    pub fn push_histogram(&mut self, t_ms: i64, histogram: Arc<Histogram>) {
        let index = self.len() as u32;
        self.push(t_ms, histogram.sum());
        self.histograms.push((index, histogram));
    }

    /// Puts a sample at `index`, before the ones from there on; the caller keeps the times
    /// ascending. `value` is the histogram's sum where there is one; `start_ms` 0: not known.
    pub fn insert(
        &mut self,
        index: usize,
        t_ms: i64,
        value: f64,
        histogram: Option<Arc<Histogram>>,
        start_ms: i64,
    ) {
        if start_ms != 0 && self.starts_ms.is_empty() {
            self.starts_ms.resize(self.len(), 0);
        }
        if start_ms != 0 || !self.starts_ms.is_empty() {
            self.starts_ms.insert(index, start_ms);
        }
        self.timestamps.insert(index, t_ms);
        self.values.insert(index, value);
        let at = self.histograms.partition_point(|entry| (entry.0 as usize) < index);
        for entry in &mut self.histograms[at..] {
            entry.0 += 1;
        }
        if let Some(histogram) = histogram {
            self.histograms.insert(at, (index as u32, histogram));
        }
    }

    /// Says when the sample appended last began to count; 0: not known.
    pub fn set_last_start(&mut self, start_ms: i64) {
        if start_ms != 0 && self.starts_ms.is_empty() {
            self.starts_ms.resize(self.len(), 0);
        }
        if let Some(last) = self.starts_ms.last_mut() {
            *last = start_ms;
        }
    }

    /// Whether every sample is a float.
    #[inline]
    pub fn is_float_only(&self) -> bool {
        self.histograms.is_empty()
    }

    /// The histogram that sample `index` is, if it is one.
    pub fn histogram(&self, index: usize) -> Option<&Arc<Histogram>> {
        let at = self.histograms.binary_search_by_key(&(index as u32), |entry| entry.0).ok()?;
        Some(&self.histograms[at].1)
    }

    /// When sample `index` began to count; 0: not known.
    pub fn start_ms(&self, index: usize) -> i64 {
        self.starts_ms.get(index).copied().unwrap_or(0)
    }

    /// Appends the samples `range` of `other`; the caller keeps the times ascending.
    pub fn extend_from(&mut self, other: &Self, range: Range<usize>) {
        let (start, shift) = (range.start as u32, self.len() as u32);
        if self.starts_ms.is_empty() && !other.starts_ms.is_empty() {
            self.starts_ms.resize(self.len(), 0);
        }
        if !other.starts_ms.is_empty() {
            self.starts_ms.extend_from_slice(&other.starts_ms[range.clone()]);
        } else if !self.starts_ms.is_empty() {
            self.starts_ms.resize(self.len() + range.len(), 0);
        }
        self.timestamps.extend_from_slice(&other.timestamps[range.clone()]);
        self.values.extend_from_slice(&other.values[range.clone()]);
        let first = other.histograms.partition_point(|entry| (entry.0 as usize) < range.start);
        let taken = other.histograms[first..]
            .iter()
            .take_while(|entry| (entry.0 as usize) < range.end)
            .map(|(index, histogram)| (index - start + shift, Arc::clone(histogram)));
        self.histograms.extend(taken);
    }

    /// Keeps the samples whose times `keep` says yes to.
    pub fn retain(&mut self, keep: impl Fn(i64) -> bool) {
        self.retain_from(0, keep);
    }

    /// Keeps the samples before index `begin`, and of the others those whose times `keep` says
    /// yes to.
    pub fn retain_from(&mut self, begin: usize, keep: impl Fn(i64) -> bool) {
        let mut kept = begin;
        let first = self.histograms.partition_point(|entry| (entry.0 as usize) < begin);
        let mut histograms = self.histograms.split_off(first).into_iter().peekable();
        for i in begin..self.len() {
            let histogram = histograms.next_if(|entry| entry.0 as usize == i);
            let t_ms = self.timestamps[i];
            if !keep(t_ms) {
                continue;
            }
            self.timestamps[kept] = t_ms;
            self.values[kept] = self.values[i];
            if let Some(start_ms) = self.starts_ms.get(i).copied() {
                self.starts_ms[kept] = start_ms;
            }
            if let Some((_, histogram)) = histogram {
                self.histograms.push((kept as u32, histogram));
            }
            kept += 1;
        }
        self.truncate(kept);
    }

    /// Drops all samples from index `len` on.
    pub fn truncate(&mut self, len: usize) {
        self.timestamps.truncate(len);
        self.values.truncate(len);
        self.starts_ms.truncate(len);
        let kept = self.histograms.partition_point(|entry| (entry.0 as usize) < len);
        self.histograms.truncate(kept);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::FloatHistogram;

    fn histogram(sum: f64) -> Arc<Histogram> {
        Arc::new(Histogram::Float(FloatHistogram { sum, ..FloatHistogram::default() }))
    }

    #[test]
    fn columns_stay_of_one_length() {
        let mut samples = Samples::default();
        samples.push(1, 1.5);
        samples.push_histogram(2, histogram(7.0));
        samples.set_last_start(-5);
        samples.push(3, 2.5);
        assert_eq!(samples.starts_ms, [0, -5, 0]);
        assert_eq!(samples.values, [1.5, 7.0, 2.5]);
        assert_eq!(samples.histogram(1).map(|h| h.sum()), Some(7.0));
        assert!(samples.histogram(0).is_none());

        let mut other = Samples::default();
        other.push(0, 0.5);
        other.extend_from(&samples, 1..3);
        assert_eq!(other.timestamps, [0, 2, 3]);
        assert_eq!(other.starts_ms, [0, -5, 0]);
        assert_eq!(other.histograms, [(1, histogram(7.0))]);
        let plain = Samples { timestamps: vec![9], values: vec![1.0], ..Samples::default() };
        other.extend_from(&plain, 0..1);
        assert_eq!(other.starts_ms, [0, -5, 0, 0]);
        let mut thinned = samples.clone();
        thinned.retain(|t_ms| t_ms != 1);
        assert_eq!((thinned.timestamps, thinned.starts_ms), (vec![2, 3], vec![-5, 0]));
        assert_eq!(thinned.histograms, [(0, histogram(7.0))]);
        other.insert(0, -9, 4.5, None, 0);
        other.insert(2, 1, 7.5, Some(histogram(7.5)), 3);
        assert_eq!(other.timestamps, [-9, 0, 1, 2, 3, 9]);
        assert_eq!(other.starts_ms, [0, 0, 3, -5, 0, 0]);
        assert_eq!(other.histograms, [(2, histogram(7.5)), (3, histogram(7.0))]);
        other.truncate(2);
        assert_eq!((other.len(), other.is_float_only()), (2, true));
    }
}
