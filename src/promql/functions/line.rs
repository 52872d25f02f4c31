//! Straight lines through the samples of windows: sums over times, values and their products.
//!
//! COMPAT: Prometheus takes each sum in the order of samples, compensated, on seconds relative to a
//! time of the window. Such a sum has the bits of the true sum, rounded once, where the numbers do
//! not lie too far apart (`exact.rs`); there any order will do: [`Lines`] takes products several
//! at a time, and keeps true sums of times from window to window, since the times of neighbouring
//! windows differ from their zeros by the same, but for scrapes that were late. Where the numbers
//! do lie too far apart, it says so, and the caller walks.

use super::exact::{ExactSums, exponent_of, in_units, rounded, spread_max};

/// Biased exponent of a millisecond in seconds, the least time that is not zero.
const TIME_EXPONENT: u32 = 1013;
/// Of its square.
const SQUARE_EXPONENT: u32 = 1003;
/// Longer windows, in milliseconds or samples, are walked: sums of squares have 126 bits.
const MS_MAX: i64 = 1 << 31;
const SAMPLES_MAX: usize = 4000;
/// Products summed side by side.
const LANES: usize = 8;
/// Times looked at together.
const PART: usize = 16;

/// Sums over the samples of a window; times in seconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Totals {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) xy: f64,
    pub(super) x2: f64,
}

/// A straight line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line {
    /// Per second.
    pub(super) slope: f64,
    /// Value at the time chosen.
    pub(super) intercept: f64,
}

impl Totals {
    /// The line of least squares. COMPAT: the order of operations is Prometheus's.
    pub(super) fn line(&self, samples: usize) -> Line {
        let n = samples as f64;
        let covariance = self.xy - self.x * self.y / n;
        let variance = self.x2 - self.x * self.x / n;
        let slope = covariance / variance;
        Line { slope, intercept: self.y / n - slope * self.x / n }
    }
}

/// The sums of one series' windows, one window after the other.
#[derive(Debug)]
pub(super) struct Lines<'a> {
    timestamps: &'a [i64],
    values: &'a [f64],
    y: ExactSums,
    /// Times of the last window's samples, less its zero.
    ms: Vec<i64>,
    /// The same in seconds.
    seconds: Vec<f64>,
    /// Their true sum, and that of their squares.
    x: i128,
    x2: i128,
}

impl<'a> Lines<'a> {
    /// Sums for windows of at most `len_max` samples; `None` where the values are too far apart.
    pub(super) fn new(timestamps: &'a [i64], values: &'a [f64], len_max: usize) -> Option<Self> {
        let y = ExactSums::of(values, len_max)?;
        let (ms, seconds) = (Vec::new(), Vec::new());
        Some(Self { timestamps, values, y, ms, seconds, x: 0, x2: 0 })
    }

    /// The sums over samples `low..high`, two or more, times relative to `zero_ms`.
    pub(super) fn totals(&mut self, low: usize, high: usize, zero_ms: i64) -> Option<Totals> {
        let spread_max = spread_max(high - low)?;
        let (spread, most) = self.exponents_of_times(low, high, zero_ms)?;
        // Products and squares carry.
        if 2 * spread + 1 > spread_max || spread + self.y.spread() + 1 > spread_max {
            return None;
        }
        self.move_to(low, high, zero_ms);
        Some(Totals {
            x: rounded(self.x, TIME_EXPONENT),
            y: self.y.total(low..high),
            xy: sum_of_products(&self.seconds, &self.values[low..high], most + self.y.most()),
            x2: rounded(self.x2, SQUARE_EXPONENT),
        })
    }

    /// By how much the exponents of the times, zeros aside, differ, and the greatest; `None` where
    /// times are on both sides of zero, or too long.
    fn exponents_of_times(&self, low: usize, high: usize, zero_ms: i64) -> Option<(u32, u32)> {
        let at = |index: usize| self.timestamps[index].checked_sub(zero_ms);
        let (first, last) = (at(low)?, at(high - 1)?);
        let (least, most) = if first >= 0 {
            (if first > 0 { first } else { at(low + 1)? }, last)
        } else if last <= 0 {
            (if last < 0 { last } else { at(high - 2)? }, first)
        } else {
            return None;
        };
        if most.abs() >= MS_MAX || high - low > SAMPLES_MAX {
            return None;
        }
        let most = exponent_of(seconds(most));
        Some((most - exponent_of(seconds(least)), most))
    }

    /// Makes times and their sums those of a window.
    fn move_to(&mut self, low: usize, high: usize, zero_ms: i64) {
        let timestamps = &self.timestamps[low..high];
        if self.ms.len() != timestamps.len() {
            self.ms.clear();
            self.ms.resize(timestamps.len(), 0);
            self.seconds.clear();
            self.seconds.resize(timestamps.len(), 0.0);
            (self.x, self.x2) = (0, 0);
        }
        for (part, times) in timestamps.chunks(PART).enumerate() {
            let begin = part * PART;
            let differences = times.iter().zip(&self.ms[begin..]);
            // Without an early exit this runs several times at a time, and mostly finds none.
            let differs = |any, (t_ms, ms): (&i64, &i64)| any | (t_ms.wrapping_sub(zero_ms) ^ ms);
            if differences.fold(0, differs) != 0 {
                self.change(begin, times, zero_ms);
            }
        }
    }

    /// Makes the times from `begin` on those of `timestamps`.
    fn change(&mut self, begin: usize, timestamps: &[i64], zero_ms: i64) {
        for (index, t_ms) in (begin..).zip(timestamps) {
            let ms = t_ms - zero_ms;
            if ms != self.ms[index] {
                let (before, now) = (self.seconds[index], seconds(ms));
                self.x += in_units(now, TIME_EXPONENT) - in_units(before, TIME_EXPONENT);
                self.x2 += in_units(now * now, SQUARE_EXPONENT)
                    - in_units(before * before, SQUARE_EXPONENT);
                (self.ms[index], self.seconds[index]) = (ms, now);
            }
        }
    }
}

#[inline]
fn seconds(ms: i64) -> f64 {
    ms as f64 / 1e3
}

/// The true sum of the rounded products, rounded. `exponents` is the sum of the greatest biased
/// exponents of either side.
///
/// Each product is cut in two at one and the same bit, by adding a large number and taking it
/// away; both halves then add up without a loss, in any order. With *n* numbers, *b* the bits of
/// *n*, and products between `2^l` and `2^m`: the cut is at `2^(m+b-52)`, so that the upper halves
/// stay below `2^53` of it; the lower ones stay below `2^(m+2b-53)`, which is no more than `2^53`
/// of their units, `2^(l-52)`, where `m - l ≤ 54 - 2b`, as [`Lines::totals`] has seen to.
/// Source: Rump, Ogita, Oishi, *Accurate floating-point summation*, part I, section 3.
fn sum_of_products(xs: &[f64], ys: &[f64], exponents: u32) -> f64 {
    let bits = usize::BITS - xs.len().leading_zeros();
    // A number is below twice the power of its exponent; exponents are biased by 1023 each.
    let exponent = exponents + 2 + bits - 1023;
    let carrier = f64::from_bits(u64::from(exponent) << 52 | 1 << 51);
    let (mut uppers, mut lowers) = ([0.0; LANES], [0.0; LANES]);
    let ((xs, xs_rest), (ys, ys_rest)) = (xs.as_chunks::<LANES>(), ys.as_chunks::<LANES>());
    for (x, y) in xs.iter().zip(ys) {
        for lane in 0..LANES {
            let product = x[lane] * y[lane];
            let upper = (product + carrier) - carrier;
            uppers[lane] += upper;
            lowers[lane] += product - upper;
        }
    }
    for (lane, (x, y)) in xs_rest.iter().zip(ys_rest).enumerate() {
        let product = x * y;
        let upper = (product + carrier) - carrier;
        uppers[lane] += upper;
        lowers[lane] += product - upper;
    }
    let sum = |lanes: [f64; LANES]| lanes.into_iter().fold(0.0, |sum, part| sum + part);
    sum(uppers) + sum(lowers)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::promql::compensated::Compensated;

    fn walk(timestamps: &[i64], values: &[f64], zero_ms: i64) -> Totals {
        let sum = |of: &dyn Fn(f64, f64) -> f64| {
            let pairs = timestamps.iter().zip(values);
            let terms = pairs.map(|(t, y)| of((t - zero_ms) as f64 / 1e3, *y));
            terms.fold(Compensated::default(), Compensated::plus).total()
        };
        Totals {
            x: sum(&|x, _| x),
            y: sum(&|_, y| y),
            xy: sum(&|x, y| x * y),
            x2: sum(&|x, _| x * x),
        }
    }

    fn bits(totals: &Totals) -> [u64; 4] {
        [totals.x, totals.y, totals.xy, totals.x2].map(f64::to_bits)
    }

    #[test]
    fn scrapes_that_were_late_are_no_hindrance() {
        let late = |i: i64| if i % 37 == 5 { 1 + i % 900 } else { 0 };
        let timestamps: Vec<i64> = (0..600).map(|i| i * 15_000 + 7 + late(i)).collect();
        let values: Vec<f64> = (0..600).map(|i| 1e11 - f64::from(i * i % 977) * 4096.0).collect();
        let mut lines = Lines::new(&timestamps, &values, 241).unwrap();
        let mut found = 0;
        for low in (0..350).step_by(4) {
            let high = low + 240 + low % 2;
            let now_ms = timestamps[high - 1] + 41;
            for zero_ms in [timestamps[low], now_ms] {
                if let Some(totals) = lines.totals(low, high, zero_ms) {
                    let walked = walk(&timestamps[low..high], &values[low..high], zero_ms);
                    assert_eq!(bits(&totals), bits(&walked), "{low} from {zero_ms}");
                    found += 1;
                }
            }
        }
        assert!(found > 150, "{found}");
    }

    proptest! {
        #[test]
        fn totals_are_those_of_the_walk(
            samples in prop::collection::vec((1_i64..40_000, any::<i32>(), 0_u32..20), 2..300),
            exponent in -3_i32..9, ahead_ms in 0_i64..100_000,
            cuts in prop::collection::vec(
                any::<(prop::sample::Index, prop::sample::Index)>(), 1..5),
        ) {
            let (mut t_ms, mut timestamps, mut values) = (0, Vec::new(), Vec::new());
            for (gap_ms, int, shift) in samples {
                t_ms += gap_ms;
                timestamps.push(t_ms);
                values.push(f64::from(int >> shift) * 10_f64.powi(exponent));
            }
            let n = values.len();
            if let Some(mut lines) = Lines::new(&timestamps, &values, n) {
                for (a, b) in cuts {
                    let (a, b) = (a.index(n), b.index(n));
                    let (low, high) = (a.min(b), a.max(b) + 1);
                    if high - low < 2 {
                        continue;
                    }
                    for zero_ms in [timestamps[low], timestamps[high - 1] + ahead_ms, 0] {
                        if let Some(totals) = lines.totals(low, high, zero_ms) {
                            let walked = walk(&timestamps[low..high], &values[low..high], zero_ms);
                            prop_assert_eq!(bits(&totals), bits(&walked));
                        }
                    }
                }
            }
        }
    }
}
