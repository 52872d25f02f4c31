//! Whether a histogram's counts began anew since the one before it, and whether two are the same.

use super::arithmetic::{Cell, coarsen, common_bounds};
use super::bounds::exponential_bound;
use super::buckets::same_layout;
use super::{FloatHistogram, ResetHint};
use crate::model::Compensated;

impl FloatHistogram {
    /// Whether counts began anew after `previous`. A hint that says so, or not, is believed; else
    /// they did where anything counted less than before, where a counted bucket is gone, and
    /// where the resolution became finer or the zero bucket narrower. A gauge is looked at as if
    /// it were a counter.
    pub fn is_reset_since(&self, previous: &Self) -> bool {
        match self.reset_hint {
            ResetHint::Reset => return true,
            ResetHint::NotReset => return false,
            ResetHint::Unknown | ResetHint::Gauge => {}
        }
        if self.count < previous.count {
            return true;
        }
        if self.has_custom_bounds() {
            if !previous.has_custom_bounds() {
                return true;
            }
            if self.custom_bounds != previous.custom_bounds {
                return self.fell_between_common_bounds(previous);
            }
        }
        if self.schema > previous.schema || self.zero_threshold < previous.zero_threshold {
            return true;
        }
        let (zero, threshold) = previous.widened_zero(self.zero_threshold, None);
        if threshold != self.zero_threshold || self.zero_count < zero.sum {
            return true;
        }
        self.side_fell(self.positive(), previous, previous.positive())
            || self.side_fell(self.negative(), previous, previous.negative())
    }

    fn side_fell(
        &self,
        mut now: impl Iterator<Item = (i32, f64)>,
        previous: &Self,
        before: impl Iterator<Item = (i32, f64)>,
    ) -> bool {
        let cells =
            before.map(|(index, sum)| Cell { index, count: Compensated { sum, lost: 0.0 } });
        let mut cells: Vec<Cell> = cells.collect();
        if self.schema < previous.schema {
            coarsen(&mut cells, previous.schema.abs_diff(self.schema), false);
        }
        let is_within_zero = |index: i32| {
            self.zero_threshold != 0.0
                && !self.has_custom_bounds()
                && exponential_bound(index, self.schema) <= self.zero_threshold
        };
        let mut current = now.next();
        for Cell { index, count } in cells.into_iter().skip_while(|cell| is_within_zero(cell.index))
        {
            while current.is_some_and(|(at, _)| at < index) {
                current = now.next();
            }
            let fell = match current {
                Some((at, now)) if at == index => now < count.sum,
                _ => count.sum != 0.0,
            };
            if fell {
                return true;
            }
        }
        false
    }

    /// Whether a count fell, as far as the listed bounds that both have tell.
    fn fell_between_common_bounds(&self, previous: &Self) -> bool {
        let common = common_bounds(&self.custom_bounds, &previous.custom_bounds);
        let mut now = self.positive_bucket_bounds().peekable();
        let mut before = previous.positive_bucket_bounds().peekable();
        common.into_iter().chain([f64::INFINITY]).any(|bound| {
            let (mut count, mut count_before) = (0.0, 0.0);
            while let Some(bucket) = now.next_if(|bucket| bucket.upper <= bound) {
                count += bucket.count;
            }
            while let Some(bucket) = before.next_if(|bucket| bucket.upper <= bound) {
                count_before += bucket.count;
            }
            count < count_before
        })
    }

    /// Whether both say the same, bit for bit; hints aside, and however spans are cut.
    pub fn is_same(&self, other: &Self) -> bool {
        let same_bits = |a: f64, b: f64| a.to_bits() == b.to_bits();
        let same_all = |a: &[f64], b: &[f64]| {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_bits(*a, *b))
        };
        self.schema == other.schema
            && same_bits(self.count, other.count)
            && same_bits(self.sum, other.sum)
            && (!self.has_custom_bounds() || self.custom_bounds == other.custom_bounds)
            && self.zero_threshold == other.zero_threshold
            && same_bits(self.zero_count, other.zero_count)
            && same_layout(&self.negative_spans, &other.negative_spans)
            && same_all(&self.negative_buckets, &other.negative_buckets)
            && same_layout(&self.positive_spans, &other.positive_spans)
            && same_all(&self.positive_buckets, &other.positive_buckets)
    }
}
