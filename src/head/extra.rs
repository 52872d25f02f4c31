//! What a sample has besides its value: a native histogram, and when its counter began to count.
//!
//! Nearly every sample has neither, so extras stand beside the tables of slots and streams and not
//! in them: a group of plain floats pays a bit for each slot. A histogram's value is the sum of its
//! observations, in the tables as everywhere.

use std::sync::Arc;

use crate::encoding::histogram::{Layout, is_same};
use crate::model::{Histogram, ResetHint, Span};

/// See the module's description.
#[derive(Debug, Clone, Default)]
pub(super) struct Extra {
    /// The histogram, if the sample is one.
    pub histogram: Option<Arc<Histogram>>,
    /// Milliseconds; 0: not known.
    pub start_ms: i64,
}

impl Extra {
    pub(super) const NONE: &'static Self = &Self { histogram: None, start_ms: 0 };

    /// Bytes on the heap, roughly.
    pub(super) fn heap_bytes(&self) -> usize {
        self.histogram.as_deref().map_or(0, heap_bytes)
    }

    /// Whether the sample is a plain float.
    pub(super) fn is_none(&self) -> bool {
        self.histogram.is_none() && self.start_ms == 0
    }
}

/// Bytes of a histogram, roughly.
pub(super) fn heap_bytes(histogram: &Histogram) -> usize {
    let layout = Layout::of(histogram);
    let spans = layout.positive_spans.len() + layout.negative_spans.len();
    let numbers = layout.positive + layout.negative + layout.custom_bounds.len();
    size_of::<Histogram>() + (spans + numbers) * 8
}

/// Whether two samples of one time count as equal: floats by their bits, histograms by what they
/// count. COMPAT: Prometheus's `Equals`: hints do not count, nor how spans are cut.
pub(super) fn is_equal(a: (u64, Option<&Histogram>), b: (u64, Option<&Histogram>)) -> bool {
    match (a.1, b.1) {
        (None, None) => a.0 == b.0,
        (Some(a), Some(b)) => {
            a.sum().to_bits() == b.sum().to_bits() && is_same(&plain(a), &plain(b))
        }
        _ => false,
    }
}

/// The histogram without its hint, its spans cut as rarely as can be.
fn plain(histogram: &Histogram) -> Histogram {
    let mut plain = histogram.clone();
    match &mut plain {
        Histogram::Integer(h) => {
            h.reset_hint = ResetHint::Unknown;
            join(&mut h.positive_spans);
            join(&mut h.negative_spans);
        }
        Histogram::Float(h) => {
            h.reset_hint = ResetHint::Unknown;
            join(&mut h.positive_spans);
            join(&mut h.negative_spans);
        }
    }
    plain
}

fn join(spans: &mut Vec<Span>) {
    let mut joined: Vec<Span> = Vec::with_capacity(spans.len());
    let mut skipped = 0_i32;
    for span in spans.iter() {
        let offset = skipped.wrapping_add(span.offset);
        if span.length == 0 {
            skipped = offset;
            continue;
        }
        skipped = 0;
        match joined.last_mut() {
            Some(last) if offset == 0 => last.length = last.length.wrapping_add(span.length),
            _ => joined.push(Span { offset, length: span.length }),
        }
    }
    *spans = joined;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::FloatHistogram;

    fn histogram(spans: &[(i32, u32)], reset_hint: ResetHint, sum: f64) -> Histogram {
        Histogram::Float(FloatHistogram {
            reset_hint,
            sum,
            positive_spans: spans.iter().map(|&(offset, length)| Span { offset, length }).collect(),
            positive_buckets: vec![1.0; 3],
            ..FloatHistogram::default()
        })
    }

    #[test]
    fn what_counts_is_what_was_counted() {
        let one = histogram(&[(2, 3)], ResetHint::Unknown, 7.0);
        let same = histogram(&[(1, 0), (1, 1), (0, 2), (4, 0)], ResetHint::Gauge, 7.0);
        let other = histogram(&[(2, 1), (1, 2)], ResetHint::Unknown, 7.0);
        let bits = 7_f64.to_bits();
        assert!(is_equal((bits, Some(&one)), (bits, Some(&same))));
        assert!(!is_equal((bits, Some(&one)), (bits, Some(&other))));
        assert!(!is_equal((bits, Some(&one)), (bits, None)));
        assert!(is_equal((bits, None), (bits, None)));
        let sum = histogram(&[(2, 3)], ResetHint::Unknown, 8.0);
        assert!(!is_equal((bits, Some(&one)), (bits, Some(&sum))));
    }
}
