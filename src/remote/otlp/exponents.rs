//! Exponential histograms added up.
//!
//! COMPAT: which scale, which bounds of the zero bucket and which empty buckets a sum has is as
//! OpenTelemetry's delta-to-cumulative processor has it, since Prometheus uses that. Unlike it,
//! no point can make it loop or panic: work is bounded by the number of buckets that were sent.

use crate::protowire::otlp::OtlpPoint;

/// Most buckets of a sum on either side of zero; rounding may make it one more.
const BUCKETS_MAX: i64 = 160;

/// Index of the first bucket, and counts.
type Buckets = (i32, Vec<u64>);

/// Adds `point` to `total`. Where the two cannot be added `total` stays as it was: `scale_min` is
/// the coarsest scale that a sum may get.
pub(super) fn add(
    total: &mut OtlpPoint,
    point: &OtlpPoint,
    scale_min: i32,
) -> Result<(), &'static str> {
    let mut point = OtlpPoint {
        scale: point.scale,
        zero_count: point.zero_count,
        zero_threshold: point.zero_threshold,
        positive: point.positive.clone(),
        negative: point.negative.clone(),
        ..OtlpPoint::default()
    };
    let scale = total.scale.min(point.scale);
    let aligned = |one: &OtlpPoint| {
        let down = one.scale.abs_diff(scale);
        (downscaled(&one.positive, down), downscaled(&one.negative, down))
    };
    let (a, b) = (aligned(total), aligned(&point));
    let fitting = fitting_scale(scale, &a.0, &b.0).min(fitting_scale(scale, &a.1, &b.1));
    if fitting < i64::from(scale_min) {
        return Err("the buckets are too far apart for one histogram");
    }
    let down = (i64::from(scale) - fitting) as u32;
    for (one, (positive, negative)) in [(&mut *total, a), (&mut point, b)] {
        one.positive = downscaled(&positive, down);
        one.negative = downscaled(&negative, down);
        one.scale = fitting as i32;
    }
    let (mine, others) = (threshold(total), threshold(&point));
    if mine < others {
        widen_zero(total, others);
    } else if others < mine {
        widen_zero(&mut point, mine);
    }
    merge(&mut total.positive, &point.positive);
    merge(&mut total.negative, &point.negative);
    total.zero_count = total.zero_count.wrapping_add(point.zero_count);
    Ok(())
}

/// The width of the zero bucket; one that is none counts as zero.
fn threshold(point: &OtlpPoint) -> f64 {
    let width = point.zero_threshold;
    if width.is_finite() && width > 0.0 { width } else { 0.0 }
}

/// With buckets of which each takes the place of `2^down`. As many buckets as before: those that
/// are left over are empty.
fn downscaled((offset, counts): &Buckets, down: u32) -> Buckets {
    let down = down.min(31);
    let first = offset >> down;
    let mut merged = vec![0_u64; counts.len()];
    for (i, count) in counts.iter().enumerate() {
        let at = (i64::from(*offset) + i as i64) >> down;
        let slot = &mut merged[(at - i64::from(first)) as usize];
        *slot = slot.wrapping_add(*count);
    }
    (first, merged)
}

fn count_at((offset, counts): &Buckets, index: i64) -> u64 {
    let i = usize::try_from(index - i64::from(*offset)).ok();
    i.and_then(|i| counts.get(i)).copied().unwrap_or(0)
}

/// The first bucket of both that is not empty, and the one after the last.
fn occupied(a: &Buckets, b: &Buckets) -> (i64, i64) {
    let ends = [a, b].map(|(offset, counts)| {
        let at = |i: usize| i64::from(*offset) + i as i64;
        let first = counts.iter().position(|count| *count > 0);
        let last = counts.iter().rposition(|count| *count > 0);
        first.zip(last).map(|(first, last)| (at(first), at(last) + 1))
    });
    match ends {
        [Some(a), Some(b)] => (a.0.min(b.0), a.1.max(b.1)),
        [Some(one), None] | [None, Some(one)] => one,
        [None, None] => (0, 0),
    }
}

/// The finest scale at which the sum of both has not too many buckets.
fn fitting_scale(scale: i32, a: &Buckets, b: &Buckets) -> i64 {
    let (mut first, mut end) = occupied(a, b);
    let mut scale = i64::from(scale);
    while end - first > BUCKETS_MAX {
        first /= 2;
        end /= 2;
        scale -= 1;
    }
    scale
}

fn merge(total: &mut Buckets, more: &Buckets) {
    if more.1.is_empty() {
        return;
    }
    if total.1.is_empty() {
        total.clone_from(more);
        return;
    }
    let (first, end) = occupied(total, more);
    let counts = (first..end).map(|i| count_at(total, i).wrapping_add(count_at(more, i)));
    *total = (first as i32, counts.collect());
}

/// Has the zero bucket reach to `width` at least: to the end of the bucket that has it.
fn widen_zero(point: &mut OtlpPoint, width: f64) {
    let last = index_of(point.scale, width);
    let mut moved = 0_u64;
    for (offset, counts) in [&mut point.positive, &mut point.negative] {
        let within = last.saturating_add(1).saturating_sub(i64::from(*offset));
        let within = within.clamp(0, counts.len() as i64);
        moved = counts.drain(..within as usize).fold(moved, u64::wrapping_add);
        *offset = offset.saturating_add(within as i32);
    }
    point.zero_count = point.zero_count.wrapping_add(moved);
    let one_step = std::f64::consts::LN_2 * 2_f64.powi(-point.scale);
    point.zero_threshold = ((last.saturating_add(1)) as f64 * one_step).exp();
}

/// The index of the bucket that has `value`, which is positive.
///
/// Source: OpenTelemetry, metrics data model, "All Scales: Use the Logarithm Function".
fn index_of(scale: i32, value: f64) -> i64 {
    match power_of(value) {
        Some(power) if scale < 0 => (power - 1) >> scale.unsigned_abs().min(62),
        Some(power) => (power << scale.min(40)) - 1,
        None => (value.ln() * std::f64::consts::LOG2_E * 2_f64.powi(scale)).floor() as i64,
    }
}

/// The exponent of a power of two.
fn power_of(value: f64) -> Option<i64> {
    let bits = value.to_bits();
    let (exponent, mantissa) = ((bits >> 52) as i64 & 0x7ff, bits & ((1 << 52) - 1));
    match (exponent, mantissa) {
        (1.., 0) => Some(exponent - 1023),
        (0, mantissa) if mantissa.is_power_of_two() => {
            Some(i64::from(mantissa.trailing_zeros()) - 1074)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn point(scale: i32, offset: i32, counts: &[u64]) -> OtlpPoint {
        OtlpPoint { scale, positive: (offset, counts.to_vec()), ..OtlpPoint::default() }
    }

    #[test]
    fn buckets_of_one_scale_are_added_where_they_lie() {
        for (a, b, sum) in [
            ((0, &[][..]), (3, &[1, 2][..]), (3, vec![1, 2])),
            ((3, &[1, 2]), (0, &[]), (3, vec![1, 2])),
            ((-1, &[1, 1, 1]), (-2, &[1, 1]), (-2, vec![1, 2, 1, 1])),
            ((0, &[1]), (4, &[1]), (0, vec![1, 0, 0, 0, 1])),
            ((0, &[0, 0, 2]), (5, &[0]), (2, vec![2])),
        ] {
            let mut total = point(0, a.0, a.1);
            add(&mut total, &point(0, b.0, b.1), -4).unwrap();
            assert_eq!((total.scale, total.positive), (0, sum));
        }
    }

    #[test]
    fn the_coarser_scale_wins() {
        let mut total = point(1, -3, &[1, 2, 3]);
        add(&mut total, &point(0, -2, &[10, 20]), -4).unwrap();
        assert_eq!((total.scale, total.positive), (0, (-2, vec![11, 25])));
        let mut total = point(0, -2, &[10, 20]);
        add(&mut total, &point(1, -3, &[1, 2, 3]), -4).unwrap();
        assert_eq!((total.scale, total.positive), (0, (-2, vec![11, 25])));
    }

    #[test]
    fn buckets_far_apart_make_the_scale_coarser() {
        let mut total = point(3, 0, &[1]);
        add(&mut total, &point(3, 320, &[1]), -4).unwrap();
        // One more than the bound: where the ends lie is rounded.
        assert_eq!((total.scale, total.positive.1.len()), (2, 161));
        let before = total.clone();
        assert!(add(&mut total, &point(3, i32::MAX, &[1]), -4).is_err());
        assert_eq!(total, before);
        // Scales that no sender uses do no harm either.
        let mut total = point(i32::MAX, i32::MIN, &[1]);
        add(&mut total, &point(-4, 0, &[1]), -4).unwrap();
        assert_eq!(total.positive, (-1, vec![1, 1]));
    }

    #[test]
    fn the_zero_bucket_takes_what_it_covers() {
        // Up to 2, the end of bucket 0.
        let wide = OtlpPoint { zero_threshold: 2.0, zero_count: 5, ..point(0, 3, &[1]) };
        let mut total = OtlpPoint { zero_count: 2, ..point(0, -1, &[1, 2, 3, 4]) };
        add(&mut total, &wide, -4).unwrap();
        assert_eq!((total.zero_threshold, total.zero_count), (2.0, 10));
        assert_eq!(total.positive, (1, vec![3, 4, 1]));
        // Within a bucket: all of it.
        let wide = OtlpPoint { zero_threshold: 3.0, ..point(0, 3, &[1]) };
        let mut total = point(0, 1, &[3, 4]);
        add(&mut total, &wide, -4).unwrap();
        assert_eq!((total.zero_count, total.positive), (3, (2, vec![4, 1])));
        assert!((total.zero_threshold - 4.0).abs() < 1e-12);
    }

    #[test]
    fn values_are_found_in_their_buckets() {
        for (scale, value, index) in
            [(0, 1.0, -1), (0, 1.5, 0), (0, 2.0, 0), (1, 2.0, 1), (-1, 4.0, 0), (-1, 5.0, 1)]
        {
            assert_eq!(index_of(scale, value), index, "{scale} {value}");
        }
        assert_eq!(power_of(f64::from_bits(1)), Some(-1074));
        assert_eq!((power_of(0.5), power_of(3.0)), (Some(-1), None));
    }

    proptest! {
        #[test]
        fn nothing_is_lost(
            scales in (-4_i32..=20, -4_i32..=20),
            offsets in (-2000_i32..2000, -2000_i32..2000),
            counts in (
                proptest::collection::vec(0_u64..9, 0..200),
                proptest::collection::vec(0_u64..9, 0..200),
            ),
            widths in (0.0_f64..10.0, 0.0_f64..10.0),
        ) {
            let of = |scale, offset, counts: &Vec<u64>, width| OtlpPoint {
                negative: (offset, counts.clone()),
                zero_threshold: width,
                ..point(scale, offset, counts)
            };
            let mut total = of(scales.0, offsets.0, &counts.0, widths.0);
            let more = of(scales.1, offsets.1, &counts.1, widths.1);
            let count = |point: &OtlpPoint| {
                let sides = point.positive.1.iter().chain(&point.negative.1);
                sides.sum::<u64>() + point.zero_count
            };
            let expected = count(&total) + count(&more);
            if add(&mut total, &more, -4).is_ok() {
                prop_assert_eq!(count(&total), expected);
                prop_assert!(total.scale >= -4 && total.scale <= scales.0.min(scales.1));
            }
        }
    }
}
