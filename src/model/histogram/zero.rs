//! Zero buckets of different widths.
//!
//! COMPAT: what a widened zero bucket takes in is added with compensation, the positive buckets
//! first, outwards; when the walk begins again because a negative bucket was cut, what rounding
//! lost until then is kept, as in Prometheus.

use super::FloatHistogram;
use super::arithmetic::Lost;
use crate::model::Compensated;

impl FloatHistogram {
    /// Widens the zero bucket until it holds that of `other` and cuts no counted bucket of
    /// either; gives what the zero bucket of `other` would then count.
    pub(super) fn reconcile_zero(
        &mut self,
        other: &Self,
        mut lost: Option<&mut Lost>,
    ) -> Compensated {
        let mut count = Compensated { sum: other.zero_count, lost: 0.0 };
        let mut threshold = other.zero_threshold;
        let is_number = !threshold.is_nan() && !self.zero_threshold.is_nan();
        // Thresholds that are not numbers would never meet.
        while is_number && threshold != self.zero_threshold {
            if self.zero_threshold > threshold {
                (count, threshold) = other.widened_zero(self.zero_threshold, None);
            }
            if threshold > self.zero_threshold {
                let (own, wider) = self.widened_zero(threshold, lost.as_deref());
                self.zero_count = own.sum;
                self.zero_threshold = wider;
                if let Some(lost) = lost.as_deref_mut() {
                    lost.zero_count = own.lost;
                }
                self.drop_buckets_in_zero(lost.as_deref_mut());
            }
        }
        count
    }

    /// What the zero bucket would count with a `threshold` that is not below the present one, and
    /// the threshold moved up to where no counted bucket is cut.
    pub(super) fn widened_zero(
        &self,
        mut threshold: f64,
        lost: Option<&Lost>,
    ) -> (Compensated, f64) {
        let own_lost = lost.map_or(0.0, |lost| lost.zero_count);
        let mut total = Compensated { sum: self.zero_count, lost: own_lost };
        if threshold == self.zero_threshold {
            return (total, threshold);
        }
        let lost_at = |side: fn(&Lost) -> &Vec<f64>, at: usize| {
            lost.and_then(|lost| side(lost).get(at)).copied()
        };
        loop {
            total.sum = self.zero_count;
            for (at, bucket) in self.positive_bucket_bounds().enumerate() {
                if bucket.lower >= threshold {
                    break;
                }
                total = total.plus(bucket.count);
                if let Some(more) = lost_at(|lost| &lost.positive, at) {
                    total = total.plus(more);
                }
                if bucket.upper > threshold {
                    if bucket.count != 0.0 {
                        threshold = bucket.upper;
                    }
                    break;
                }
            }
            let mut begins_again = false;
            for (at, bucket) in self.negative_bucket_bounds().enumerate() {
                if bucket.upper <= -threshold {
                    break;
                }
                total = total.plus(bucket.count);
                if let Some(more) = lost_at(|lost| &lost.negative, at) {
                    total = total.plus(more);
                }
                if bucket.lower < -threshold {
                    if bucket.count != 0.0 {
                        threshold = -bucket.lower;
                        begins_again = true;
                    }
                    break;
                }
            }
            if !begins_again {
                return (total, threshold);
            }
        }
    }

    /// Drops the buckets that the zero bucket has taken in.
    fn drop_buckets_in_zero(&mut self, lost: Option<&mut Lost>) {
        let zero = self.zero_threshold;
        let positive = self.positive_bucket_bounds().take_while(|b| b.lower < zero).count();
        let negative = self.negative_bucket_bounds().take_while(|b| b.upper > -zero).count();
        self.positive_buckets[..positive].fill(0.0);
        self.negative_buckets[..negative].fill(0.0);
        match lost {
            Some(lost) => {
                lost.positive[..positive].fill(0.0);
                lost.negative[..negative].fill(0.0);
                self.compact_with(lost);
            }
            None => self.compact(),
        }
    }
}
