//! `histogram </ number` and `histogram >/ number`: what was observed below or above a number.
//!
//! Buckets on the wrong side go, the one that the number lies in is cut: exponential ones as if
//! observations were spread evenly over the logarithms, listed ones and the zero bucket linearly.
//! Count and sum are then those of the buckets, each observation taken for its bucket's middle.
//!
//! COMPAT: Prometheus's rules for buckets without an end, its middles, and its order of addition.

#![allow(clippy::manual_midpoint, reason = "the sum may overflow where Prometheus's does")]

use crate::model::{Bucket, FloatHistogram};
use crate::promql::functions::interpolate::share_below;

/// Keeps what lies below `at` (`keep_below`) or above it.
pub(crate) fn trim(histogram: &mut FloatHistogram, at: f64, keep_below: bool) {
    let mut cut = Cut {
        at,
        keep_below,
        is_linear: histogram.has_custom_bounds(),
        count: 0.0,
        sum: 0.0,
        changed: false,
    };
    let positive: Vec<Bucket> = histogram.positive_bucket_bounds().collect();
    let negative: Vec<Bucket> = histogram.negative_bucket_bounds().collect();
    let has_positive = cut.side(&positive, &mut histogram.positive_buckets, true);
    let has_negative = cut.side(&negative, &mut histogram.negative_buckets, false);
    if histogram.zero_count > 0.0 {
        let mut zero = histogram.zero_bucket();
        if has_negative && !has_positive {
            zero.upper = 0.0;
        }
        if has_positive && !has_negative {
            zero.lower = 0.0;
        }
        let (kept, middle) = cut.zero(&zero);
        if histogram.zero_count != kept {
            histogram.zero_count = kept;
            cut.changed = true;
        }
        cut.sum += middle * kept;
        cut.count += kept;
    }
    if cut.changed {
        (histogram.count, histogram.sum) = (cut.count, cut.sum);
        histogram.compact();
    }
}

struct Cut {
    at: f64,
    keep_below: bool,
    is_linear: bool,
    count: f64,
    sum: f64,
    changed: bool,
}

impl Cut {
    /// Trims one side; whether it counted anything.
    fn side(&mut self, buckets: &[Bucket], counts: &mut [f64], is_positive: bool) -> bool {
        let mut counted = false;
        for (bucket, slot) in buckets.iter().zip(counts) {
            if bucket.count == 0.0 {
                continue;
            }
            counted = true;
            let (is_inside, is_cut) = if self.keep_below {
                (bucket.upper <= self.at, bucket.lower < self.at)
            } else {
                (bucket.lower >= self.at, bucket.upper > self.at)
            };
            let (kept, middle) = if is_inside {
                (bucket.count, middle(bucket.lower, bucket.upper, is_positive, self.is_linear))
            } else if is_cut {
                self.bucket(bucket, is_positive)
            } else {
                *slot = 0.0;
                self.changed = true;
                continue;
            };
            self.count += kept;
            self.sum += middle * kept;
            if *slot != kept {
                *slot = kept;
                self.changed = true;
            }
        }
        counted
    }

    /// What is kept of a bucket that is cut, and its middle.
    fn bucket(&self, bucket: &Bucket, is_positive: bool) -> (f64, f64) {
        let at = self.at;
        if bucket.lower == f64::NEG_INFINITY || bucket.upper == f64::INFINITY {
            return self.open_bucket(bucket);
        }
        let below = if at <= bucket.lower {
            0.0
        } else if at >= bucket.upper {
            bucket.count
        } else {
            bucket.count * share_below(bucket, at, self.is_linear)
        };
        if self.keep_below {
            (below, middle(bucket.lower, at, is_positive, self.is_linear))
        } else {
            (bucket.count - below, middle(at, bucket.upper, is_positive, self.is_linear))
        }
    }

    /// The same for a bucket without an end: nobody knows where in it observations lie, so that
    /// it goes, or stays, as a whole, unless it can be taken to begin at zero.
    fn open_bucket(&self, bucket: &Bucket) -> (f64, f64) {
        let finite = |bound: f64| if bound.is_infinite() { 0.0 } else { bound };
        let (at, count, lower, upper) = (self.at, bucket.count, bucket.lower, bucket.upper);
        if lower == f64::NEG_INFINITY {
            return match self.keep_below {
                true if at >= upper => (count, 0.0),
                true if at > 0.0 && upper > 0.0 && upper != f64::INFINITY => {
                    (count * at / upper, at / 2.0)
                }
                true if upper <= 0.0 => (count, at),
                false if at <= lower => (count, 0.0),
                false if at >= 0.0 && upper > at && upper != f64::INFINITY => {
                    (count * (1.0 - at / upper), (at + upper) / 2.0)
                }
                _ => (0.0, finite(upper)),
            };
        }
        if !self.keep_below && at >= lower { (count, at) } else { (0.0, finite(lower)) }
    }

    /// The same for the zero bucket.
    fn zero(&self, zero: &Bucket) -> (f64, f64) {
        let (at, lower, upper) = (self.at, zero.lower, zero.upper);
        let width = upper - lower;
        let (share, from, to) = match self.keep_below {
            true if at <= lower => return (0.0, 0.0),
            true if at >= upper => return (zero.count, (lower + upper) / 2.0),
            true => ((at - lower) / width, lower, at),
            false if at <= lower => return (zero.count, (lower + upper) / 2.0),
            false if at >= upper => return (0.0, 0.0),
            false => ((upper - at) / width, at, upper),
        };
        (zero.count * share, (from + to) / 2.0)
    }
}

/// What an observation between two bounds is taken for.
fn middle(lower: f64, upper: f64, is_positive: bool, is_linear: bool) -> f64 {
    match (lower.is_infinite(), upper.is_infinite()) {
        (true, true) => 0.0,
        (true, false) if upper > 0.0 => upper / 2.0,
        (true, false) => upper,
        (false, true) => lower,
        (false, false) if is_linear => (lower + upper) / 2.0,
        (false, false) => {
            let mean = (lower * upper).abs().sqrt();
            if is_positive { mean } else { -mean }
        }
    }
}
