//! Where within a bucket something lies.

#![allow(clippy::excessive_precision, reason = "coefficients stand as they were published")]

use super::elementary as el;
use crate::model::Bucket;
use crate::model::histogram::bounds::times_power_of_two;

/// The part of a bucket's observations below `value`, which lies within: linear, or as if they
/// were spread evenly over the logarithms.
pub fn share_below(bucket: &Bucket, value: f64, is_linear: bool) -> f64 {
    if is_linear {
        return (value - bucket.lower) / (bucket.upper - bucket.lower);
    }
    let [lower, upper, at] = [bucket.lower, bucket.upper, value].map(|x| el::log2(x.abs()));
    if value > 0.0 {
        (at - lower) / (upper - lower)
    } else {
        1.0 - ((at - upper) / (lower - upper))
    }
}

/// The value with the share `fraction` of a bucket's observations below it, as if they were
/// spread evenly over the logarithms; the bucket does not hold zero.
pub fn exponential(bucket: &Bucket, fraction: f64) -> f64 {
    let [lower, upper] = [bucket.lower, bucket.upper].map(|x| el::log2(x.abs()));
    if bucket.lower > 0.0 {
        exp2(lower + (upper - lower) * fraction)
    } else {
        -exp2(upper + (lower - upper) * (1.0 - fraction))
    }
}

/// Two to the power of `x`. FreeBSD's msun, `e_exp.c`, after the whole part is split off.
///
/// COMPAT: as [`el`]: the last bit is Prometheus's.
fn exp2(x: f64) -> f64 {
    const LN2_HIGH: f64 = 6.931_471_803_691_238_164_90e-1;
    const LN2_LOW: f64 = 1.908_214_929_270_587_700_02e-10;
    const COEFFICIENTS: [f64; 5] = [
        4.138_136_797_057_238_460_39e-8,
        -1.653_390_220_546_525_153_90e-6,
        6.613_756_321_437_934_361_17e-5,
        -2.777_777_777_701_559_338_42e-3,
        1.666_666_666_666_666_574_15e-1,
    ];
    if x.is_nan() || x == f64::INFINITY {
        return x;
    }
    if x > 1.023_999_999_999_999_9e3 {
        return f64::INFINITY;
    }
    if x < -1.074_0e3 {
        return 0.0;
    }
    let whole = if x > 0.0 { (x + 0.5).trunc() } else { (x - 0.5).trunc() };
    let rest = x - whole;
    let (high, low) = (rest * LN2_HIGH, -rest * LN2_LOW);
    let r = high - low;
    let t = r * r;
    let series = COEFFICIENTS.iter().fold(0.0, |sum, coefficient| coefficient + t * sum);
    let c = r - t * series;
    let y = 1.0 - ((low - (r * c) / (2.0 - c)) - high);
    times_power_of_two(y, whole as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_of_two() {
        for (x, expected) in [
            (0.0, 1.0),
            (10.0, 1024.0),
            (-3.0, 0.125),
            (-1074.0, f64::from_bits(1)),
            (1024.0, f64::INFINITY),
            (f64::NEG_INFINITY, 0.0),
        ] {
            assert_eq!(exp2(x), expected, "{x}");
        }
        // What Go gives.
        for (x, bits) in [
            (0.5, 0x3ff6_a09e_667f_3bcc),
            (0.25, 0x3ff3_06fe_0a31_b715),
            (-0.3, 0x3fe9_fdf8_bcce_533e),
            (3.7, 0x4029_fdf8_bcce_533e),
            (10.123, 0x4091_6c88_2264_f685),
            (-5.9, 0x3f91_25fb_ee25_0663),
            (1023.5, 0x7fe6_a09e_667f_3bcc),
            (-1060.3, 0x33fc),
        ] {
            assert_eq!(exp2(x).to_bits(), bits, "{x}");
        }
    }

    #[test]
    fn shares_and_values_are_inverse() {
        for (lower, upper) in [(1.0, 2.0), (-8.0, -4.0)] {
            let bucket =
                Bucket { lower, upper, lower_inclusive: false, upper_inclusive: true, count: 1.0 };
            let middle = exponential(&bucket, 0.25);
            assert!((share_below(&bucket, middle, false) - 0.25).abs() < 1e-12, "{middle}");
        }
    }
}
