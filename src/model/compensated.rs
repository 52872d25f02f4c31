//! Compensated summation.
//!
//! COMPAT: the order of operations is Prometheus's, so that sums agree to the last bit. Nothing
//! here may be reordered, fused or spread over lanes within one sum.

/// A running sum with Neumaier's correction. Kahan, *Further remarks on reducing truncation
/// errors*; Neumaier, *Rundungsfehleranalyse einiger Verfahren zur Summation endlicher Summen*.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Compensated {
    /// The rounded sum.
    pub sum: f64,
    /// What rounding lost.
    pub lost: f64,
}

impl Compensated {
    /// Adds one number.
    #[inline]
    #[must_use]
    pub fn plus(self, x: f64) -> Self {
        let total = self.sum + x;
        // Choices between values, not between ways: loops over independent sums take several at a
        // time then.
        let is_large = self.sum.abs() >= x.abs();
        let (large, small) = if is_large { (self.sum, x) } else { (x, self.sum) };
        let lost = self.lost + ((large - total) + small);
        Self { sum: total, lost: if total.abs() == f64::INFINITY { 0.0 } else { lost } }
    }

    /// Sum and correction together.
    pub fn total(self) -> f64 {
        self.sum + self.lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_numbers_survive_beside_large_ones() {
        let sum = [1e100, 1.0, -1e100].iter().fold(Compensated::default(), |s, x| s.plus(*x));
        assert_eq!(sum.total(), 1.0);
        let overflow = Compensated::default().plus(f64::MAX).plus(f64::MAX).plus(-f64::MAX);
        assert_eq!(overflow.total(), f64::INFINITY);
    }
}
