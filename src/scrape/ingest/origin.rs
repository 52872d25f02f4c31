//! Start timestamps for series whose pages have none (`st-synthesis`).
//!
//! The first sample of a series tells nothing of when it began, so it becomes the origin: it is
//! not stored, and the samples after it are stored as what has been counted since. Where a counter
//! begins anew the start lies between two scrapes; a millisecond before the later one is taken.
//!
//! COMPAT: which series, which values and which starts are Prometheus's.

use std::sync::Arc;

use crate::exposition::{About, MetricType};
use crate::model::{FloatHistogram, Histogram, IntegerHistogram};

/// What is remembered of a series that counts; at first nothing.
#[derive(Debug, Default)]
pub(super) struct Origin(Option<State>);

#[derive(Debug)]
struct State {
    start_ms: i64,
    reference: Reference,
}

/// The sample before, and what is taken off each one.
#[derive(Debug)]
enum Reference {
    Float {
        before: f64,
        first: f64,
    },
    Histogram {
        before: Box<FloatHistogram>,
        /// `None` once the counts have begun anew.
        first: Option<Box<FloatHistogram>>,
    },
}

/// A sample with its start, to be stored.
#[derive(Debug, PartialEq)]
pub(super) struct Counted {
    pub(super) start_ms: i64,
    pub(super) value: f64,
    pub(super) histogram: Option<Arc<Histogram>>,
}

/// Whether a series of that name counts from some time on.
pub(super) fn counts(name: &str, about: Option<&About<'_>>) -> bool {
    let Some(about) = about.filter(|about| about.has_series(name)) else { return false };
    match about.metric_type {
        MetricType::Counter | MetricType::Histogram => true,
        MetricType::Summary => name.ends_with("_count") || name.ends_with("_sum"),
        _ => false,
    }
}

impl Origin {
    /// The sample as counted since the start; `None` for the first one, which is the origin.
    pub(super) fn count(
        &mut self,
        t_ms: i64,
        value: f64,
        histogram: Option<&Arc<Histogram>>,
    ) -> Option<Counted> {
        let state = match (&mut self.0, histogram) {
            (Some(state), _) => state,
            (none, histogram) => {
                *none = Some(State::at(t_ms, value, histogram));
                return None;
            }
        };
        Some(match histogram {
            None => {
                let value = state.count_float(t_ms, value);
                Counted { start_ms: state.start_ms, value, histogram: None }
            }
            Some(histogram) => {
                let histogram = Some(state.count_histogram(t_ms, histogram));
                Counted { start_ms: state.start_ms, value, histogram }
            }
        })
    }
}

impl State {
    fn at(t_ms: i64, value: f64, histogram: Option<&Arc<Histogram>>) -> Self {
        let reference = match histogram {
            None => Reference::Float { before: value, first: value },
            Some(histogram) => {
                let first = Box::new(histogram.to_float());
                Reference::Histogram { before: first.clone(), first: Some(first) }
            }
        };
        Self { start_ms: t_ms, reference }
    }

    fn count_float(&mut self, t_ms: i64, value: f64) -> f64 {
        let first = match self.reference {
            // A NaN, before or now, is no reset.
            Reference::Float { before, first } if value >= before || value.is_nan() => first,
            Reference::Float { before, first } if before.is_nan() => first,
            // It began anew, or counted in another way before.
            _ => {
                self.start_ms = t_ms - 1;
                0.0
            }
        };
        self.reference = Reference::Float { before: value, first };
        value - first
    }

    fn count_histogram(&mut self, t_ms: i64, histogram: &Arc<Histogram>) -> Arc<Histogram> {
        let current = histogram.to_float();
        let first = match &mut self.reference {
            Reference::Histogram { before, first } if !current.is_reset_since(before) => {
                first.take()
            }
            _ => {
                self.start_ms = t_ms - 1;
                None
            }
        };
        let mut since = current.clone();
        let is_counted = first.as_ref().is_some_and(|first| since.subtract(first).is_ok());
        self.reference = Reference::Histogram { before: Box::new(current), first };
        if !is_counted {
            return Arc::clone(histogram);
        }
        since.compact();
        Arc::new(match &**histogram {
            Histogram::Float(_) => Histogram::Float(since),
            Histogram::Integer(original) => {
                since.reset_hint = original.reset_hint;
                Histogram::Integer(whole(since))
            }
        })
    }
}

/// The same in integers; the counts are differences of integers.
fn whole(histogram: FloatHistogram) -> IntegerHistogram {
    let deltas = |counts: &[f64]| {
        let mut before = 0_u64;
        let delta = |count: &f64| {
            let count = *count as u64;
            let delta = count.wrapping_sub(before) as i64;
            before = count;
            delta
        };
        counts.iter().map(delta).collect()
    };
    IntegerHistogram {
        reset_hint: histogram.reset_hint,
        schema: histogram.schema,
        zero_threshold: histogram.zero_threshold,
        zero_count: histogram.zero_count as u64,
        count: histogram.count as u64,
        sum: histogram.sum,
        positive_deltas: deltas(&histogram.positive_buckets),
        negative_deltas: deltas(&histogram.negative_buckets),
        positive_spans: histogram.positive_spans,
        negative_spans: histogram.negative_spans,
        custom_bounds: histogram.custom_bounds,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Span;

    fn floats(samples: &[(i64, f64)]) -> Vec<Option<(i64, f64)>> {
        let mut origin = Origin::default();
        let count = |&(t_ms, value)| {
            origin.count(t_ms, value, None).map(|counted| (counted.start_ms, counted.value))
        };
        samples.iter().map(count).collect()
    }

    #[test]
    fn counters_count_from_their_first_sample_or_their_reset() {
        let seen =
            floats(&[(1_000, 10.0), (2_000, 13.0), (3_000, 13.0), (4_000, 2.0), (5_000, 7.0)]);
        let expected =
            [None, Some((1_000, 3.0)), Some((1_000, 3.0)), Some((3_999, 2.0)), Some((3_999, 7.0))];
        assert_eq!(seen, expected);
    }

    fn histogram(count: u64, deltas: &[i64]) -> Arc<Histogram> {
        Arc::new(Histogram::Integer(IntegerHistogram {
            count,
            sum: count as f64 / 2.0,
            positive_spans: vec![Span { offset: 0, length: deltas.len() as u32 }],
            positive_deltas: deltas.to_vec(),
            ..IntegerHistogram::default()
        }))
    }

    #[test]
    fn histograms_count_from_their_first_sample_or_their_reset() {
        let mut origin = Origin::default();
        assert_eq!(origin.count(1_000, 0.0, Some(&histogram(5, &[2, 1]))), None);
        let counted = origin.count(2_000, 0.0, Some(&histogram(9, &[2, 5]))).unwrap();
        let since = counted.histogram.unwrap();
        let Histogram::Integer(since) = &*since else { panic!("a float histogram") };
        assert_eq!((counted.start_ms, since.count, since.sum), (1_000, 4, 2.0));
        assert_eq!(since.positive_spans, [Span { offset: 1, length: 1 }]);
        assert_eq!(since.positive_deltas, [4]);
        let less = histogram(3, &[1, 1]);
        let counted = origin.count(3_000, 0.0, Some(&less)).unwrap();
        assert_eq!((counted.start_ms, counted.histogram), (2_999, Some(less)));
    }

    #[test]
    fn what_counts_is_told_by_its_family() {
        let about = |metric_type| About { family: "x".into(), metric_type, ..About::default() };
        let summary = about(MetricType::Summary);
        assert!(counts("x_sum", Some(&summary)) && !counts("x", Some(&summary)));
        assert!(counts("x_total", Some(&about(MetricType::Counter))));
        assert!(!counts("y_total", Some(&about(MetricType::Counter))));
        assert!(!counts("x", Some(&about(MetricType::Gauge))) && !counts("x", None));
    }
}
