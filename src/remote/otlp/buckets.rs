//! Buckets of OTLP's histograms as those of native histograms.

use crate::model::histogram::CUSTOM_BUCKETS_SCHEMA;
use crate::model::{IntegerHistogram, ResetHint, STALE_NAN_BITS, Span, stale_nan};
use crate::protowire::otlp::OtlpPoint;

/// COMPAT: what Prometheus assumes, whatever the point says.
const ZERO_THRESHOLD: f64 = 1e-128;
pub(super) const SCALE_MIN: i32 = -4;
const SCALE_MAX: i32 = 8;
/// Empty buckets that stand in a span rather than begin another.
const GAP_MAX: i64 = 2;

fn hint(is_delta: bool) -> ResetHint {
    if is_delta { ResetHint::Gauge } else { ResetHint::Unknown }
}

fn counted(point: &OtlpPoint, histogram: IntegerHistogram) -> IntegerHistogram {
    let (count, sum) = if point.is_absent {
        // COMPAT: the bits of the marker as a count.
        (STALE_NAN_BITS, stale_nan())
    } else {
        (point.count, point.sum.unwrap_or(0.0))
    };
    IntegerHistogram { count, sum, ..histogram }
}

/// A histogram whose bounds are powers; buckets finer than the finest schema are merged.
pub(super) fn exponential(point: &OtlpPoint, is_delta: bool) -> Result<IntegerHistogram, String> {
    let scale = point.scale;
    if scale < SCALE_MIN {
        return Err(format!(
            "cannot convert exponential to native histogram. Scale must be >= {SCALE_MIN}, was \
             {scale}"
        ));
    }
    let down = u32::try_from(scale.saturating_sub(SCALE_MAX)).unwrap_or(0).min(31);
    let (positive_spans, positive_deltas) =
        layout(&point.positive.1, i64::from(point.positive.0), down, true);
    let (negative_spans, negative_deltas) =
        layout(&point.negative.1, i64::from(point.negative.0), down, true);
    Ok(counted(
        point,
        IntegerHistogram {
            reset_hint: hint(is_delta),
            schema: scale.min(SCALE_MAX),
            zero_threshold: ZERO_THRESHOLD,
            zero_count: point.zero_count,
            positive_spans,
            positive_deltas,
            negative_spans,
            negative_deltas,
            ..IntegerHistogram::default()
        },
    ))
}

/// A histogram with bounds of its own.
pub(super) fn with_custom_bounds(point: &OtlpPoint, is_delta: bool) -> IntegerHistogram {
    let empty = point.bucket_counts.iter().take_while(|count| **count == 0).count();
    let (positive_spans, positive_deltas) =
        layout(&point.bucket_counts[empty..], empty as i64, 0, false);
    counted(
        point,
        IntegerHistogram {
            reset_hint: hint(is_delta),
            schema: CUSTOM_BUCKETS_SCHEMA,
            positive_spans,
            positive_deltas,
            custom_bounds: point.bounds.as_slice().into(),
            ..IntegerHistogram::default()
        },
    )
}

/// Spans and deltas as they grow.
#[derive(Default)]
struct Layout {
    spans: Vec<Span>,
    deltas: Vec<i64>,
    before: i64,
}

impl Layout {
    fn push(&mut self, count: i64) {
        if let Some(span) = self.spans.last_mut() {
            span.length += 1;
        }
        self.deltas.push(count.wrapping_sub(self.before));
        self.before = count;
    }

    fn skip(&mut self, gap: i64) {
        if gap > GAP_MAX {
            self.spans.push(Span { offset: gap as i32, length: 0 });
        } else {
            (0..gap).for_each(|_| self.push(0));
        }
    }
}

/// COMPAT: which empty buckets are kept is as Prometheus's converter has it. `down`: how many times
/// two buckets become one.
fn layout(counts: &[u64], offset: i64, down: u32, is_shifted: bool) -> (Vec<Span>, Vec<i64>) {
    if counts.is_empty() {
        return (Vec::new(), Vec::new());
    }
    let index = |i: i64| ((i + offset) >> down) + 1;
    let first = if is_shifted { index(0) } else { offset };
    let mut out = Layout::default();
    out.spans.push(Span { offset: first as i32, length: 0 });
    let (mut at, mut count) = (index(0), 0_i64);
    for (i, own) in counts.iter().enumerate() {
        let next = index(i as i64);
        if next == at {
            count = count.wrapping_add(*own as i64);
            continue;
        }
        if count == 0 {
            count = *own as i64;
            continue;
        }
        out.skip(next - at - 1);
        out.push(count);
        (count, at) = (*own as i64, next);
    }
    out.skip(index(counts.len() as i64 - 1) - at);
    out.push(count);
    (out.spans, out.deltas)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(offset: i32, length: u32) -> Span {
        Span { offset, length }
    }

    #[test]
    fn buckets_are_laid_out_as_prometheus_lays_them_out() {
        for (counts, offset, down, spans, deltas) in [
            (&[4, 3, 2, 1][..], 1, 0, vec![span(2, 4)], vec![4, -1, -1, -1]),
            (&[4, 3, 2, 1], 1, 1, vec![span(1, 3)], vec![4, 1, -4]),
            (&[4, 0, 0, 2], 0, 0, vec![span(1, 4)], vec![4, -4, 0, 2]),
            (&[4, 0, 0, 0, 2], 0, 0, vec![span(1, 1), span(3, 1)], vec![4, -2]),
            (&[0, 1], -1, 0, vec![span(0, 2)], vec![0, 1]),
        ] {
            assert_eq!(layout(counts, offset, down, true), (spans, deltas), "{counts:?} {down}");
        }
        assert_eq!(layout(&[], 5, 0, true), (Vec::new(), Vec::new()));
    }

    #[test]
    fn scales_beyond_the_schemas_are_merged_or_refused() {
        let point = |scale| OtlpPoint {
            scale,
            count: 3,
            positive: (0, vec![1, 2]),
            ..OtlpPoint::default()
        };
        let merged = exponential(&point(20), false).unwrap();
        assert_eq!((merged.schema, merged.positive_deltas), (8, vec![3]));
        assert!(exponential(&point(-5), false).unwrap_err().contains("Scale must be >= -4"));
        assert_eq!(exponential(&point(0), true).unwrap().reset_hint, ResetHint::Gauge);
        let absent = OtlpPoint { is_absent: true, ..point(0) };
        assert_eq!(exponential(&absent, false).unwrap().count, STALE_NAN_BITS);
    }
}
