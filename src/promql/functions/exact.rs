//! Sums of neighbouring floats, exactly, from sums of all that stand before.
//!
//! A compensated sum *s + c* is the true sum, rounded once, as long as *c* is exact: *c* collects
//! the errors of the additions, each of which is a multiple of the least unit of all numbers, and
//! stays below `2^53` of those units while the numbers do not lie too far apart
//! ([`ExactSums::of`]). So the total is the true sum as a fixed-point number, rounded, whatever the
//! way to it, with the same bits as Prometheus's walk; and what the walk lost is the true sum less
//! the plain one.

use std::ops::Range;

/// Bits of a float's significand.
const SIGNIFICANT_BITS: u32 = 53;
/// What a biased exponent is above that of the lowest bit, counted from 1.
const UNIT_BIAS: i32 = 1075;
/// Least biased exponent: the unit is then a normal float.
const EXPONENT_MIN: u32 = 54;
/// Greatest biased exponent: no sum comes near to the largest float.
const EXPONENT_MAX: u32 = 1900;

/// True sums of the first numbers of a list, in units of the least bit of all.
#[derive(Debug)]
pub(super) struct ExactSums {
    /// `before[i]`: of the first *i* numbers.
    before: Vec<i128>,
    /// Biased exponent of the number whose lowest bit is the unit.
    exponent: u32,
    /// How far the greatest exponent lies above.
    spread: u32,
}

impl ExactSums {
    /// Sums of `values`, of which at most `len_max` neighbours will be added up; `None` where the
    /// exponents differ too much, and where a number is none.
    ///
    /// With *n* numbers below `2^(m+1)` each error is at most `n · 2^m · 2^-52`, and all together
    /// `n² · 2^(m-52)`; in units of `2^(l-52)`, *l* the least exponent, that is below `2^53` where
    /// `m - l ≤ 53 - 2·log2 n`.
    pub(super) fn of(values: &[f64], len_max: usize) -> Option<Self> {
        let (mut least, mut most) = (u32::MAX, 0);
        for value in values.iter().filter(|value| **value != 0.0) {
            let exponent = exponent_of(*value);
            least = least.min(exponent);
            most = most.max(exponent);
        }
        if least == u32::MAX {
            (least, most) = (EXPONENT_MIN, EXPONENT_MIN);
        }
        let spread_max = spread_max(len_max)?;
        if least < EXPONENT_MIN || most > EXPONENT_MAX || most - least > spread_max {
            return None;
        }
        // 53 bits, shifted by at most 53, added up: all neighbours stay below 2^126.
        let all_log2 = usize::BITS - values.len().leading_zeros();
        if SIGNIFICANT_BITS + (most - least) + all_log2 > 126 {
            return None;
        }
        let mut before = Vec::with_capacity(values.len() + 1);
        let mut sum = 0_i128;
        before.push(sum);
        for value in values {
            sum += in_units(*value, least);
            before.push(sum);
        }
        Some(Self { before, exponent: least, spread: most - least })
    }

    /// By how much the exponents of the numbers, zeros aside, differ.
    pub(super) fn spread(&self) -> u32 {
        self.spread
    }

    /// The greatest biased exponent.
    pub(super) fn most(&self) -> u32 {
        self.exponent + self.spread
    }

    /// The sum of the numbers in `range`, rounded once.
    #[inline]
    pub(super) fn total(&self, range: Range<usize>) -> f64 {
        rounded(self.before[range.end] - self.before[range.start], self.exponent)
    }

    /// What is lost if the numbers in `range` are added up one by one to `sum`.
    #[inline]
    pub(super) fn lost(&self, range: Range<usize>, sum: f64) -> f64 {
        let truth = self.before[range.end] - self.before[range.start];
        rounded(truth - in_units(sum, self.exponent), self.exponent)
    }
}

/// By how much exponents may differ, so that what the additions of so many numbers lose can be
/// collected without a loss; see [`ExactSums::of`].
#[inline]
pub(super) fn spread_max(len: usize) -> Option<u32> {
    SIGNIFICANT_BITS.checked_sub(2 * (usize::BITS - len.max(1).leading_zeros()))
}

/// So many units of the lowest bit of a number with this biased exponent, as a float.
#[inline]
pub(super) fn rounded(units: i128, exponent: u32) -> f64 {
    let unit = f64::from_bits(u64::from((exponent as i32 - UNIT_BIAS + 1023) as u32) << 52);
    // Most differences are short, and short ones convert at once.
    match i64::try_from(units) {
        Ok(units) => units as f64 * unit,
        Err(_) => units as f64 * unit,
    }
}

/// The biased exponent of a float.
#[inline]
pub(super) fn exponent_of(value: f64) -> u32 {
    (value.to_bits() >> 52) as u32 & 0x7ff
}

/// A number as units of the lowest bit of the biased exponent `least`; the number is zero or a
/// multiple of it.
#[inline]
pub(super) fn in_units(value: f64, least: u32) -> i128 {
    if value == 0.0 {
        return 0;
    }
    let bits = value.to_bits();
    let significand = bits & ((1 << 52) - 1) | 1 << 52;
    let exponent = exponent_of(value);
    let magnitude = if exponent >= least {
        i128::from(significand) << (exponent - least)
    } else {
        // A sum of multiples is a multiple, however small.
        i128::from(significand >> (least - exponent).min(63))
    };
    if value < 0.0 { -magnitude } else { magnitude }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::promql::compensated::Compensated;

    fn walk(values: &[f64]) -> Compensated {
        values.iter().fold(Compensated::default(), |sum, x| sum.plus(*x))
    }

    #[test]
    fn numbers_far_apart_and_no_numbers_are_refused() {
        assert!(ExactSums::of(&[1e30, 1.0], 2).is_none());
        assert!(ExactSums::of(&[f64::NAN, 1.0], 2).is_none());
        assert!(ExactSums::of(&[f64::INFINITY], 2).is_none());
        assert!(ExactSums::of(&[f64::MAX], 2).is_none());
        assert!(ExactSums::of(&[f64::MIN_POSITIVE / 4.0], 2).is_none());
        let zeros = ExactSums::of(&[0.0, -0.0], 2).unwrap();
        assert_eq!(zeros.total(0..2).to_bits(), 0.0_f64.to_bits());
    }

    proptest! {
        #[test]
        fn totals_and_losses_are_those_of_the_walk(
            parts in prop::collection::vec((any::<i64>(), 0_u32..24, -6_i32..4), 1..200),
            cut in any::<(prop::sample::Index, prop::sample::Index)>(),
        ) {
            let value = |&(int, shift, exponent): &(i64, u32, i32)| {
                (int >> shift >> 20) as f64 * 10_f64.powi(exponent) * 1e-7
            };
            let values: Vec<f64> = parts.iter().map(value).collect();
            let n = values.len();
            let (a, b) = (cut.0.index(n + 1), cut.1.index(n + 1));
            let range = a.min(b)..a.max(b);
            if let Some(sums) = ExactSums::of(&values, n) {
                let walked = walk(&values[range.clone()]);
                prop_assert_eq!(sums.total(range.clone()).to_bits(), walked.total().to_bits());
                let lost = sums.lost(range, walked.sum);
                prop_assert_eq!(lost + 0.0, walked.lost + 0.0);
            }
        }

        #[test]
        fn decimals_are_taken(
            ints in prop::collection::vec(0_u32..100_000, 1..240), exponent in 0_i32..4,
        ) {
            let values: Vec<f64> =
                ints.iter().map(|int| f64::from(*int) / 10_f64.powi(exponent)).collect();
            let sums = ExactSums::of(&values, values.len()).expect("they lie near each other");
            let walked = walk(&values);
            prop_assert_eq!(sums.total(0..values.len()).to_bits(), walked.total().to_bits());
        }
    }
}
