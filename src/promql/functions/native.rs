//! What one native histogram says: quantiles, fractions, moments.
//!
//! Within an exponential bucket observations are taken to be spread evenly over the logarithms,
//! within the zero bucket and buckets of listed bounds evenly.
//!
//! COMPAT: the order of operations is Prometheus's. Observations that are not numbers are counted
//! in all but in no bucket; they are above every other.

#![allow(clippy::unnecessary_wraps, reason = "the signature is that of all functions")]
#![allow(clippy::manual_midpoint, reason = "the sum may overflow where Prometheus's does")]

use super::interpolate::{exponential, share_below};
use super::{Call, Implementation};
use crate::model::{Bucket, Compensated, FloatHistogram, METRIC_NAME};
use crate::promql::columns::{Column, Operand, Sample};
use crate::promql::engine::QueryError;

/// The family's implementations: functions of one histogram each.
pub(super) fn lookup(name: &str) -> Option<Implementation> {
    Some(Implementation::Operands(match name {
        "histogram_count" => |call| each(call, |histogram| histogram.count),
        "histogram_sum" => |call| each(call, |histogram| histogram.sum),
        "histogram_avg" => |call| each(call, |histogram| histogram.sum / histogram.count),
        "histogram_stddev" => |call| each(call, |histogram| variance(histogram).sqrt()),
        "histogram_stdvar" => |call| each(call, variance),
        _ => return None,
    }))
}

/// Applies `f` to each histogram; floats have no part in the result.
///
/// COMPAT: unlike everywhere else the name alone goes, and the labels of type and unit stay.
fn each(call: &mut Call<'_>, f: fn(&FloatHistogram) -> f64) -> Result<Operand, QueryError> {
    let mut vector = call.take_vector(0);
    vector.series.retain(|series| series.column.has_histograms());
    for series in &mut vector.series {
        call.check()?;
        let mut column = Column::empty(call.grid.steps);
        for (step, sample) in series.column.samples() {
            if let Sample::Histogram(histogram) = sample {
                column.set(step, f(histogram));
            }
        }
        series.column = column;
        series.drop_name = true;
        if !call.delayed_name_removal {
            series.labels = series.labels.without(|name| name == METRIC_NAME);
        }
    }
    Ok(Operand::Vector(vector))
}

fn variance(histogram: &FloatHistogram) -> f64 {
    let mean = histogram.sum / histogram.count;
    let mut squares = Compensated::default();
    for bucket in histogram.buckets().filter(|bucket| bucket.count != 0.0) {
        let Bucket { lower, upper, count, .. } = bucket;
        let value = if histogram.has_custom_bounds() {
            (upper + lower) / 2.0
        } else if lower <= 0.0 && upper >= 0.0 {
            0.0
        } else {
            let geometric = (upper * lower).sqrt();
            if upper < 0.0 { -geometric } else { geometric }
        };
        let delta = value - mean;
        squares = squares.plus(count * delta * delta);
    }
    squares.total() / histogram.count
}

/// What is told about a histogram with observations that are not numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotNumbers {
    /// The quantile is among them.
    Result,
    /// They move the quantile up.
    Skewed,
    /// They are in no fraction.
    LeftOut,
}

/// The value below which the share `q` of the observations lies.
pub(super) fn quantile(q: f64, histogram: &FloatHistogram) -> (f64, Option<NotNumbers>) {
    if q < 0.0 {
        return (f64::NEG_INFINITY, None);
    }
    if q > 1.0 {
        return (f64::INFINITY, None);
    }
    if histogram.count == 0.0 || q.is_nan() {
        return (f64::NAN, None);
    }
    quantile_within(q, histogram)
}

fn quantile_within(q: f64, histogram: &FloatHistogram) -> (f64, Option<NotNumbers>) {
    let may_have_nan = histogram.sum.is_nan();
    // From below, or, where the sum vouches for the count, from the nearer end.
    let from_below = may_have_nan || q < 0.5;
    let mut rank = if from_below { q } else { 1.0 - q } * histogram.count;
    let mut bucket = Bucket {
        lower: 0.0,
        upper: 0.0,
        lower_inclusive: false,
        upper_inclusive: false,
        count: 0.0,
    };
    let mut count = 0.0;
    let mut rest = histogram.buckets();
    while let Some(next) = if from_below { rest.next() } else { rest.next_back() } {
        bucket = next;
        if next.count == 0.0 {
            continue;
        }
        count += next.count;
        if count >= rank {
            break;
        }
    }
    if histogram.has_custom_bounds() {
        if bucket.lower == f64::NEG_INFINITY {
            if bucket.upper <= 0.0 {
                return (bucket.upper, None);
            }
            bucket.lower = 0.0;
        } else if bucket.upper == f64::INFINITY {
            return (bucket.lower, None);
        }
    } else if bucket.lower < 0.0 && bucket.upper > 0.0 {
        clip_zero(histogram, &mut bucket);
    }
    // Rounding may have made the buckets' sum larger.
    count = if count > histogram.count { histogram.count } else { count };
    if count < rank {
        if may_have_nan {
            return (f64::NAN, Some(NotNumbers::Result));
        }
        return (bucket.upper, None);
    }
    if from_below {
        rank -= count - bucket.count;
    } else {
        rank = count - rank;
    }
    let mut note = None;
    if may_have_nan {
        // COMPAT: from here on the bucket is the last one, as it is in Prometheus.
        for next in rest {
            bucket = next;
            count += next.count;
        }
        if count < histogram.count {
            note = Some(NotNumbers::Skewed);
        }
    }
    let fraction = rank / bucket.count;
    let value = if histogram.has_custom_bounds() || (bucket.lower <= 0.0 && bucket.upper >= 0.0) {
        bucket.lower + (bucket.upper - bucket.lower) * fraction
    } else {
        exponential(&bucket, fraction)
    };
    (value, note)
}

/// Where a histogram has buckets on one side only, its zero bucket ends at zero.
fn clip_zero(histogram: &FloatHistogram, bucket: &mut Bucket) {
    let has_negative = !histogram.negative_buckets.is_empty();
    let has_positive = !histogram.positive_buckets.is_empty();
    if has_positive && !has_negative {
        bucket.lower = 0.0;
    } else if has_negative && !has_positive {
        bucket.upper = 0.0;
    }
}

/// The share of the observations between `lower` and `upper`.
pub(super) fn fraction(
    lower: f64,
    upper: f64,
    histogram: &FloatHistogram,
) -> (f64, Option<NotNumbers>) {
    if histogram.count == 0.0 || lower.is_nan() || upper.is_nan() {
        return (f64::NAN, None);
    }
    if lower >= upper {
        return (0.0, None);
    }
    let (mut count, mut rank) = (0.0, 0.0);
    let mut ranks: [Option<f64>; 2] = [None; 2];
    let mut rest = histogram.buckets();
    for mut bucket in rest.by_ref() {
        count += bucket.count;
        let is_zero = bucket.lower <= 0.0 && bucket.upper >= 0.0;
        if is_zero {
            clip_zero(histogram, &mut bucket);
        }
        let is_linear = histogram.has_custom_bounds() || is_zero;
        for (found, value) in ranks.iter_mut().zip([lower, upper]) {
            if found.is_none() && bucket.lower >= value {
                *found = Some(rank);
            }
        }
        if ranks[0].is_some() && ranks[1].is_some() {
            break;
        }
        for (found, value) in ranks.iter_mut().zip([lower, upper]) {
            if found.is_none() && bucket.lower < value && bucket.upper > value {
                *found = Some(if is_linear && bucket.lower == f64::NEG_INFINITY {
                    // Nothing can be interpolated in a bucket without a lower bound.
                    bucket.count
                } else {
                    rank + bucket.count * share_below(&bucket, value, is_linear)
                });
            }
        }
        if ranks[0].is_some() && ranks[1].is_some() {
            break;
        }
        rank += bucket.count;
    }
    let mut note = None;
    if histogram.sum.is_nan() {
        for bucket in rest {
            count += bucket.count;
        }
        if count < histogram.count {
            note = Some(NotNumbers::LeftOut);
        }
    } else {
        count = histogram.count;
    }
    let at_most = |rank: f64| if rank > count { count } else { rank };
    let [lower, upper] = ranks.map(|rank| rank.map_or(count, at_most));
    ((upper - lower) / histogram.count, note)
}
