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

/// Ascending order with NaN in front.
pub fn nan_first(a: f64, b: f64) -> std::cmp::Ordering {
    match (a.is_nan(), b.is_nan()) {
        (false, false) => a.partial_cmp(&b).unwrap_or(std::cmp::Ordering::Equal),
        (a, b) => b.cmp(&a),
    }
}

#[cfg(test)]
mod tests {
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
}
