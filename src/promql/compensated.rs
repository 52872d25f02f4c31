//! Means with compensated sums, and the quantile of a list.
//!
//! COMPAT: the order of operations is Prometheus's, so that sums agree to the last bit. Nothing
//! here may be reordered, fused or spread over lanes within one sum.

pub use crate::model::Compensated;

/// A running mean: a compensated sum divided at the end, until the sum would overflow; from there
/// on a mean that is moved by each number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mean {
    /// Sum, or mean once `moving`.
    pub acc: Compensated,
    /// Numbers so far.
    pub count: f64,
    /// Whether `acc` is a mean.
    pub moving: bool,
}

impl Mean {
    /// The mean of one number.
    pub fn of(x: f64) -> Self {
        Self { acc: Compensated { sum: x, lost: 0.0 }, count: 1.0, moving: false }
    }

    /// Takes in one number.
    #[inline]
    pub fn add(&mut self, x: f64) {
        self.count += 1.0;
        if !self.moving {
            let next = self.acc.plus(x);
            if !next.sum.is_infinite() {
                self.acc = next;
                return;
            }
            self.moving = true;
            self.acc.sum /= self.count - 1.0;
            self.acc.lost /= self.count - 1.0;
        }
        let keep = (self.count - 1.0) / self.count;
        let scaled = Compensated { sum: keep * self.acc.sum, lost: keep * self.acc.lost };
        self.acc = scaled.plus(x / self.count);
    }

    /// The mean.
    pub fn value(&self) -> f64 {
        if self.moving {
            self.acc.total()
        } else {
            self.acc.sum / self.count + self.acc.lost / self.count
        }
    }
}

/// The φ-quantile of `values`, interpolated between neighbours; NaN counts as the least number.
/// Reorders `values`.
///
/// COMPAT: zeros stay in the order they come in, as they do in Prometheus's sort of up to twelve
/// values; of more, its answer may be a zero of the other sign.
pub fn quantile(phi: f64, values: &mut [f64]) -> f64 {
    if values.is_empty() || phi.is_nan() {
        return f64::NAN;
    }
    if phi < 0.0 {
        return f64::NEG_INFINITY;
    }
    if phi > 1.0 {
        return f64::INFINITY;
    }
    let last = (values.len() - 1) as f64;
    let rank = phi * last;
    let lower = rank.floor().max(0.0);
    let upper = (lower + 1.0).min(last);
    let weight = rank - rank.floor();
    if values.iter().any(|value| value.to_bits() == (-0.0_f64).to_bits()) {
        // Of equal zeros the order shows in the result's sign.
        values.sort_by(|a, b| nan_first(*a, *b));
        return values[lower as usize] * (1.0 - weight) + values[upper as usize] * weight;
    }
    let (_, low, above) = values.select_nth_unstable_by(lower as usize, |a, b| nan_first(*a, *b));
    let low = *low;
    let high = if upper > lower {
        above.iter().copied().min_by(|a, b| nan_first(*a, *b)).unwrap_or(low)
    } else {
        low
    };
    low * (1.0 - weight) + high * weight
}

/// From so many values on [`quantile_of_many`] is used: [`quantile`] would not look in time whether
/// its query is to end, and copies.
pub const LONG: usize = 1 << 17;

/// The same as [`quantile`] of what `of` makes of the values, which stay as they are. It looks
/// through them a few times and asks `is_over` in between; once that says so, the result is any.
pub fn quantile_of_many(
    phi: f64,
    values: &[f64],
    of: &dyn Fn(f64) -> f64,
    is_over: &dyn Fn() -> bool,
) -> f64 {
    if values.is_empty() || !(0.0..=1.0).contains(&phi) {
        return quantile(phi, &mut values.first().copied().into_iter().collect::<Vec<_>>());
    }
    let last = (values.len() - 1) as f64;
    let rank = phi * last;
    let lower = rank.floor().max(0.0);
    let upper = (lower + 1.0).min(last);
    let weight = rank - rank.floor();
    let low = nth_of_many(lower as usize, values, of, is_over);
    let high = nth_of_many(upper as usize, values, of, is_over);
    low * (1.0 - weight) + high * weight
}

/// What stands at place `rank` once the values are sorted, [`nan_first`], equal ones in the order
/// they had. By the digits of their keys, the highest first.
fn nth_of_many(
    mut rank: usize,
    values: &[f64],
    of: &dyn Fn(f64) -> f64,
    is_over: &dyn Fn() -> bool,
) -> f64 {
    const DIGIT: u32 = 16;
    let mut counts = vec![0_usize; 1 << DIGIT];
    let mut prefix = 0_u64;
    for shift in (0..u64::BITS).step_by(DIGIT as usize).rev() {
        counts.fill(0);
        // Nothing is above the first digit.
        let above = |key: u64| key.checked_shr(shift + DIGIT).unwrap_or(0);
        for part in values.chunks(1 << 14) {
            if is_over() {
                return f64::NAN;
            }
            for key in part.iter().map(|value| key_of(of(*value))) {
                if above(key) == prefix {
                    counts[(key >> shift) as usize & ((1 << DIGIT) - 1)] += 1;
                }
            }
        }
        let mut digit = 0;
        while rank >= counts[digit] {
            rank -= counts[digit];
            digit += 1;
        }
        prefix = prefix << DIGIT | digit as u64;
    }
    // Zeros of either sign have one key.
    let mut equals = values.iter().map(|value| of(*value)).filter(|value| key_of(*value) == prefix);
    equals.nth(rank).unwrap_or(f64::NAN)
}

/// A number whose order is that of [`nan_first`].
fn key_of(value: f64) -> u64 {
    const SIGN: u64 = 1 << 63;
    if value.is_nan() {
        return 0;
    }
    let bits = (value + 0.0).to_bits();
    if bits & SIGN == 0 { bits | SIGN } else { !bits }
}

/// Ascending order with NaN in front.
pub fn nan_first(a: f64, b: f64) -> std::cmp::Ordering {
    match (a.is_nan(), b.is_nan()) {
        (false, false) => a.partial_cmp(&b).unwrap_or(std::cmp::Ordering::Equal),
        (a, b) => b.cmp(&a),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_mean_survives_an_overflowing_sum() {
        let mut mean = Mean::of(f64::MAX);
        mean.add(f64::MAX);
        mean.add(f64::MAX);
        assert!(mean.value() > f64::MAX * 0.999_999);
    }

    #[test]
    fn quantiles_interpolate() {
        assert_eq!(quantile(0.5, &mut [3.0, 1.0, 2.0, 4.0]), 2.5);
        assert_eq!(quantile(1.0, &mut [3.0, f64::NAN, 2.0]), 3.0);
        assert!(quantile(0.0, &mut [3.0, f64::NAN]).is_nan());
        assert_eq!(quantile(-0.1, &mut [1.0]), f64::NEG_INFINITY);
        assert_eq!(quantile(1.1, &mut [1.0]), f64::INFINITY);
        assert!(quantile(f64::NAN, &mut [1.0]).is_nan());
        assert!(quantile(0.5, &mut []).is_nan());
        for values in [[-0.0, 0.0, -0.0], [0.0, -0.0, -0.0]] {
            assert_eq!(quantile(1.0, &mut values.clone()).to_bits(), (-0.0_f64).to_bits());
        }
        assert_eq!(quantile(1.0, &mut [-0.0, 0.0, 0.0]).to_bits(), 0);
    }

    #[test]
    fn quantiles_of_many_end_with_their_query() {
        let values = vec![1.0; LONG];
        let left = std::cell::Cell::new(3_i32);
        let is_over = || left.replace(left.get() - 1) <= 0;
        assert!(quantile_of_many(0.5, &values, &|value| value, &is_over).is_nan());
        assert!(left.get() >= -2, "each of the two places asks once more");
    }

    proptest! {
        #[test]
        fn quantiles_of_many_are_those_of_few(
            values in prop::collection::vec(
                prop_oneof![
                    any::<f64>(),
                    Just(0.0), Just(-0.0), Just(f64::NAN), Just(f64::INFINITY),
                    (-3_i32..3).prop_map(f64::from),
                ],
                0..40,
            ),
            phi in prop_oneof![-0.1..1.1_f64, Just(0.0), Just(1.0), Just(0.5), Just(f64::NAN)],
        ) {
            let many = quantile_of_many(phi, &values, &|value| value, &|| false);
            let few = quantile(phi, &mut values.clone());
            prop_assert!(many.to_bits() == few.to_bits() || many.is_nan() && few.is_nan());
        }
    }
}
