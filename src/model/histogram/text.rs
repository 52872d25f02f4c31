//! A histogram as text: `{count:3, sum:4.5, [-0.5,0.5]:1, (1,2]:2}`.
//!
//! COMPAT: the text that `count_values` makes a label of.

use std::fmt;

use super::FloatHistogram;
use super::buckets::Bucket;
use crate::model::{FloatStyle, float_text};

fn number(value: f64) -> String {
    float_text(value, FloatStyle::General)
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let open = if self.lower_inclusive { '[' } else { '(' };
        let close = if self.upper_inclusive { ']' } else { ')' };
        let [lower, upper, count] = [self.lower, self.upper, self.count].map(number);
        write!(f, "{open}{lower},{upper}{close}:{count}")
    }
}

/// Buckets that count nothing are left out, and none is cut at the zero bucket's bounds.
impl fmt::Display for FloatHistogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{count:{}, sum:{}", number(self.count), number(self.sum))?;
        let zero = (self.zero_count != 0.0).then(|| self.zero_bucket());
        let buckets =
            self.negative_bucket_bounds().rev().chain(zero).chain(self.positive_bucket_bounds());
        for bucket in buckets.filter(|bucket| bucket.count != 0.0) {
            write!(f, ", {bucket}")?;
        }
        f.write_str("}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Span;

    #[test]
    fn empty_buckets_are_left_out() {
        let histogram = FloatHistogram {
            count: 1e6,
            sum: -4.5,
            zero_threshold: 0.001,
            zero_count: 2.0,
            positive_spans: vec![Span { offset: 0, length: 3 }],
            positive_buckets: vec![1.0, 0.0, 2.5],
            negative_spans: vec![Span { offset: 1, length: 1 }],
            negative_buckets: vec![4.0],
            ..FloatHistogram::default()
        };
        assert_eq!(
            histogram.to_string(),
            "{count:1e+06, sum:-4.5, [-2,-1):4, [-0.001,0.001]:2, (0.5,1]:1, (2,4]:2.5}"
        );
    }
}
