//! Classic histograms put together and turned into native ones whose bounds are listed.
//!
//! COMPAT: what is taken, how counts are rounded and error texts are Prometheus's.

use crate::model::histogram::CUSTOM_BUCKETS_SCHEMA;
use crate::model::{
    FloatHistogram, FloatStyle, Histogram, IntegerHistogram, ResetHint, Span, float_text,
};

/// Empty buckets in a row that a converted histogram keeps.
const GAP_MAX: u32 = 2;

/// The parts of one classic histogram, in any order.
#[derive(Debug, Clone, Default)]
pub(super) struct ClassicHistogram {
    /// Upper bound and cumulative count, bounds ascending.
    buckets: Vec<(f64, f64)>,
    count: Option<f64>,
    sum: f64,
    error: Option<String>,
}

fn number(value: f64) -> String {
    float_text(value, FloatStyle::General)
}

fn not_cumulative(count: f64, sign: char, other: f64) -> String {
    format!("count is not cumulative: {} {sign} {}", number(count), number(other))
}

impl ClassicHistogram {
    /// Takes a bucket; of two with one bound the first counts.
    pub(super) fn set_bucket(&mut self, bound: f64, count: f64) {
        if self.error.is_none()
            && let Err(error) = self.insert(bound, count)
        {
            self.error = Some(error);
        }
    }

    fn insert(&mut self, bound: f64, count: f64) -> Result<(), String> {
        if bound.is_nan() {
            return Err("bucket boundary must not be NaN".to_owned());
        }
        if count < 0.0 {
            let (bound, count) = (number(bound), number(count));
            return Err(format!("bucket count must be non-negative: le={bound}, count={count}"));
        }
        let at = self.buckets.partition_point(|bucket| bucket.0 < bound);
        if self.buckets.get(at).is_some_and(|bucket| bucket.0 == bound) {
            return Ok(());
        }
        if let Some(before) = at.checked_sub(1).map(|at| self.buckets[at].1)
            && count < before
        {
            return Err(not_cumulative(count, '<', before));
        }
        if let Some((_, after)) = self.buckets.get(at)
            && count > *after
        {
            return Err(not_cumulative(count, '>', *after));
        }
        self.buckets.insert(at, (bound, count));
        Ok(())
    }

    pub(super) fn set_count(&mut self, count: f64) {
        if self.error.is_none() && count < 0.0 {
            self.error = Some(format!("count must be non-negative: count={}", number(count)));
        }
        self.count = Some(count);
    }

    pub(super) fn set_sum(&mut self, sum: f64) {
        self.sum = sum;
    }

    /// The native histogram, in integers where all counts are whole.
    pub(super) fn convert(mut self, is_gauge: bool) -> Result<Histogram, String> {
        if let Some(error) = self.error {
            return Err(error);
        }
        let highest = self.buckets.last().map(|bucket| bucket.1);
        let count = self.count.or(highest).unwrap_or(0.0);
        if self.buckets.last().is_none_or(|bucket| bucket.0 != f64::INFINITY) {
            self.buckets.push((f64::INFINITY, count));
        }
        let last = self.buckets[self.buckets.len() - 1];
        if count != last.1 {
            return Err(format!(
                "count mismatch: count={} != le={} count={}",
                number(count),
                number(last.0),
                number(last.1)
            ));
        }
        let reset_hint = if is_gauge { ResetHint::Gauge } else { ResetHint::Unknown };
        let (spans, deltas) =
            (vec![Span { offset: 0, length: self.buckets.len() as u32 }], Vec::new());
        let bounds = self.buckets.iter().map(|bucket| bucket.0).filter(|b| *b != f64::INFINITY);
        let custom_bounds = bounds.collect();
        let mut before = 0.0;
        let counts = self.buckets.iter().map(|bucket| {
            let own = bucket.1 - before;
            before = bucket.1;
            own
        });
        let is_whole = |count: f64| count.round() as i64 as f64 == count;
        if self.buckets.iter().all(|bucket| is_whole(bucket.1)) && is_whole(count) {
            let mut histogram = IntegerHistogram {
                reset_hint,
                schema: CUSTOM_BUCKETS_SCHEMA,
                count: count as u64,
                sum: self.sum,
                positive_spans: spans,
                positive_deltas: deltas,
                custom_bounds,
                ..IntegerHistogram::default()
            };
            let mut last = 0_i64;
            for count in counts {
                histogram.positive_deltas.push(count as i64 - last);
                last = count as i64;
            }
            histogram.compact(GAP_MAX);
            return Ok(Histogram::Integer(histogram));
        }
        let mut histogram = FloatHistogram {
            reset_hint,
            schema: CUSTOM_BUCKETS_SCHEMA,
            count,
            sum: self.sum,
            positive_spans: spans,
            positive_buckets: counts.collect(),
            custom_bounds,
            ..FloatHistogram::default()
        };
        histogram.compact();
        Ok(Histogram::Float(histogram))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(buckets: &[(f64, f64)], count: Option<f64>) -> Result<Histogram, String> {
        let mut classic = ClassicHistogram::default();
        for (bound, count) in buckets {
            classic.set_bucket(*bound, *count);
        }
        if let Some(count) = count {
            classic.set_count(count);
        }
        classic.set_sum(7.5);
        classic.convert(false)
    }

    #[test]
    fn whole_counts_become_integers_and_others_floats() {
        let whole = histogram(&[(2.0, 3.0), (1.0, 1.0)], Some(3.0)).unwrap();
        let Histogram::Integer(h) = &whole else { panic!("all counts are whole") };
        assert_eq!(*h.custom_bounds, [1.0, 2.0]);
        assert_eq!((h.count, h.sum), (3, 7.5));
        assert_eq!(h.positive_deltas, [1, 1]);
        assert_eq!(whole.validate(), Ok(()));
        let float = histogram(&[(1.0, 0.5), (f64::INFINITY, 2.0)], None).unwrap();
        let Histogram::Float(h) = &float else { panic!("a count is not whole") };
        assert_eq!((h.count, h.positive_buckets.as_slice()), (2.0, &[0.5, 1.5][..]));
        assert_eq!(float.validate(), Ok(()));
    }

    #[test]
    fn parts_that_contradict_each_other_are_told() {
        for (buckets, count, error) in [
            (&[(1.0, 2.0), (2.0, 1.0)][..], None, "count is not cumulative: 1 < 2"),
            (&[(2.0, 1.0), (1.0, 2.0)], None, "count is not cumulative: 2 > 1"),
            (&[(1.0, -1.0)], None, "bucket count must be non-negative: le=1, count=-1"),
            (&[(f64::NAN, 1.0)], None, "bucket boundary must not be NaN"),
            (&[], Some(-1.0), "count must be non-negative: count=-1"),
            (&[(f64::INFINITY, 2.0)], Some(3.0), "count mismatch: count=3 != le=+Inf count=2"),
        ] {
            assert_eq!(histogram(buckets, count), Err(error.to_owned()));
        }
    }
}
