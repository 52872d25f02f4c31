//! What makes a histogram one that can be stored.

use std::fmt;

use super::bounds::{COARSEST_SCHEMA, FINEST_SCHEMA, is_exponential};
use super::{CUSTOM_BUCKETS_SCHEMA, FloatHistogram, Histogram, IntegerHistogram, Span};
use crate::model::{FloatStyle, float_text};

/// Why a histogram is refused.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum HistogramError {
    /// No such schema.
    InvalidSchema(i32),
    /// Observations below zero in all.
    NegativeCount(f64),
    /// A bucket of this side, numbered from 1, has less than none.
    NegativeBucket(Side, usize, f64),
    /// The zero bucket has less than none.
    NegativeZeroBucket(f64),
    /// A span, numbered from 1, begins before the one before it ends.
    NegativeOffset(Side, usize, i32),
    /// Spans say `spans` buckets, there are `buckets`.
    BucketsMismatch {
        /// The side.
        side: Side,
        /// What spans say.
        spans: u64,
        /// What is there.
        buckets: usize,
    },
    /// Fewer observations in all than in the buckets.
    CountTooSmall {
        /// In the buckets.
        buckets: u64,
        /// In all.
        count: u64,
    },
    /// Not as many observations in all as in the buckets.
    CountMismatch {
        /// In the buckets.
        buckets: u64,
        /// In all.
        count: u64,
    },
    /// Listed bounds do not ascend.
    BoundsNotAscending(f64, f64),
    /// A listed bound is infinite.
    BoundsInfinite,
    /// A listed bound is not a number.
    BoundsNaN,
    /// Fewer listed bounds than spans reach over.
    TooFewBounds {
        /// Bounds.
        bounds: usize,
        /// Buckets reached over.
        reach: u64,
    },
    /// Listed bounds and a zero count.
    CustomZeroCount,
    /// Listed bounds and a zero threshold.
    CustomZeroThreshold,
    /// Listed bounds and negative spans.
    CustomNegativeSpans,
    /// Listed bounds and negative buckets.
    CustomNegativeBuckets,
    /// Bounds are listed although they follow from the schema.
    UnexpectedBounds,
}

/// A side of a histogram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Above zero.
    Positive,
    /// Below.
    Negative,
    /// Listed bounds.
    Custom,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Positive => "positive side",
            Self::Negative => "negative side",
            Self::Custom => "custom buckets",
        })
    }
}

/// COMPAT: texts that senders see.
impl fmt::Display for HistogramError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |value: f64| float_text(value, FloatStyle::General);
        match self {
            Self::InvalidSchema(schema) => write!(
                f,
                "histogram has an invalid schema, which must be between {COARSEST_SCHEMA} and \
                 {FINEST_SCHEMA} for exponential buckets, or {CUSTOM_BUCKETS_SCHEMA} for custom \
                 buckets, got schema {schema}"
            ),
            Self::NegativeCount(count) => write!(
                f,
                "observation count is  {}: histogram's observation count is negative",
                number(*count)
            ),
            Self::NegativeBucket(side, at, count) => write!(
                f,
                "{side}: bucket number {at} has observation count of {}: histogram has a bucket \
                 whose observation count is negative",
                number(*count)
            ),
            Self::NegativeZeroBucket(count) => write!(
                f,
                "zero bucket has observation count of {}: histogram has a bucket whose \
                 observation count is negative",
                number(*count)
            ),
            Self::NegativeOffset(side, at, offset) => write!(
                f,
                "{side}: span number {at} with offset {offset}: histogram has a span whose \
                 offset is negative"
            ),
            Self::BucketsMismatch { side, spans, buckets } => write!(
                f,
                "{side}: spans need {spans} buckets, have {buckets} buckets: histogram spans \
                 specify different number of buckets than provided"
            ),
            Self::CountTooSmall { buckets, count } => write!(
                f,
                "{buckets} observations found in buckets, but the Count field is {count}: \
                 histogram's observation count should be at least the number of observations \
                 found in the buckets"
            ),
            Self::CountMismatch { buckets, count } => write!(
                f,
                "{buckets} observations found in buckets, but the Count field is {count}: \
                 histogram's observation count should equal the number of observations found in \
                 the buckets (in absence of NaN)"
            ),
            other => f.write_str(&other.about_bounds()),
        }
    }
}

impl HistogramError {
    /// What is wrong with listed bounds, or with what may not stand beside them.
    fn about_bounds(&self) -> String {
        let text = match self {
            Self::BoundsNotAscending(before, bound) => {
                return format!(
                    "custom buckets: previous bound is {before:.6} and current is {bound:.6}: \
                     histogram custom bounds must be in strictly increasing order"
                );
            }
            Self::TooFewBounds { bounds, reach } => {
                return format!(
                    "custom buckets: only {bounds} custom bounds defined which is insufficient \
                     to cover total span length of {reach}: histogram custom bounds are too few"
                );
            }
            Self::BoundsInfinite => {
                "custom buckets: last +Inf bound must not be explicitly defined: histogram custom \
                 bounds must be finite"
            }
            Self::BoundsNaN => "custom buckets: histogram custom bounds must not be NaN",
            Self::CustomZeroCount => "custom buckets: must have zero count of 0",
            Self::CustomZeroThreshold => "custom buckets: must have zero threshold of 0",
            Self::CustomNegativeSpans => "custom buckets: must not have negative spans",
            Self::CustomNegativeBuckets => "custom buckets: must not have negative buckets",
            _ => "histogram with exponential schema must not have custom bounds",
        };
        text.to_owned()
    }
}

impl std::error::Error for HistogramError {}

/// What both kinds of histogram have in common.
struct Shape<'a> {
    schema: i32,
    positive: (&'a [Span], usize),
    negative: (&'a [Span], usize),
    has_zero_count: bool,
    zero_threshold: f64,
    custom_bounds: &'a [f64],
}

impl Shape<'_> {
    fn validate(&self) -> Result<(), HistogramError> {
        if self.schema == CUSTOM_BUCKETS_SCHEMA {
            return self.validate_custom();
        }
        if !is_exponential(self.schema) {
            return Err(HistogramError::InvalidSchema(self.schema));
        }
        check_spans(Side::Positive, self.positive.0, self.positive.1, 1)?;
        check_spans(Side::Negative, self.negative.0, self.negative.1, 1)?;
        if self.custom_bounds.is_empty() { Ok(()) } else { Err(HistogramError::UnexpectedBounds) }
    }

    fn validate_custom(&self) -> Result<(), HistogramError> {
        let bounds = self.custom_bounds;
        if bounds.iter().any(|bound| bound.is_nan()) {
            return Err(HistogramError::BoundsNaN);
        }
        if let Some(pair) = bounds.windows(2).find(|pair| pair[1] <= pair[0]) {
            return Err(HistogramError::BoundsNotAscending(pair[0], pair[1]));
        }
        if bounds.last() == Some(&f64::INFINITY) {
            return Err(HistogramError::BoundsInfinite);
        }
        check_spans(Side::Custom, self.positive.0, self.positive.1, 0)?;
        let reach = self
            .positive
            .0
            .iter()
            .map(|span| u64::from(span.length) + u64::try_from(span.offset).unwrap_or(0));
        let reach: u64 = reach.sum();
        if bounds.len() as u64 + 1 < reach {
            return Err(HistogramError::TooFewBounds { bounds: bounds.len(), reach });
        }
        if self.has_zero_count {
            return Err(HistogramError::CustomZeroCount);
        }
        if self.zero_threshold != 0.0 {
            return Err(HistogramError::CustomZeroThreshold);
        }
        if !self.negative.0.is_empty() {
            return Err(HistogramError::CustomNegativeSpans);
        }
        if self.negative.1 > 0 {
            return Err(HistogramError::CustomNegativeBuckets);
        }
        Ok(())
    }
}

/// Spans from `first_checked` on may not go back; all together they need as many buckets as there
/// are.
fn check_spans(
    side: Side,
    spans: &[Span],
    buckets: usize,
    first_checked: usize,
) -> Result<(), HistogramError> {
    let mut needed = 0_u64;
    for (at, span) in spans.iter().enumerate() {
        if at >= first_checked && span.offset < 0 {
            return Err(HistogramError::NegativeOffset(side, at + 1, span.offset));
        }
        needed += u64::from(span.length);
    }
    if needed == buckets as u64 {
        Ok(())
    } else {
        Err(HistogramError::BucketsMismatch { side, spans: needed, buckets })
    }
}

impl FloatHistogram {
    /// Whether the histogram is consistent. Its count may be less than its buckets': floats round.
    pub fn validate(&self) -> Result<(), HistogramError> {
        let shape = Shape {
            schema: self.schema,
            positive: (&self.positive_spans, self.positive_buckets.len()),
            negative: (&self.negative_spans, self.negative_buckets.len()),
            has_zero_count: self.zero_count != 0.0,
            zero_threshold: self.zero_threshold,
            custom_bounds: &self.custom_bounds,
        };
        shape.validate()?;
        check_counts(Side::Negative, &self.negative_buckets)?;
        if self.zero_count < 0.0 {
            return Err(HistogramError::NegativeZeroBucket(self.zero_count));
        }
        if self.count < 0.0 {
            return Err(HistogramError::NegativeCount(self.count));
        }
        check_counts(Side::Positive, &self.positive_buckets)
    }
}

fn check_counts(side: Side, counts: &[f64]) -> Result<(), HistogramError> {
    match counts.iter().position(|count| *count < 0.0) {
        Some(at) => Err(HistogramError::NegativeBucket(side, at + 1, counts[at])),
        None => Ok(()),
    }
}

impl IntegerHistogram {
    /// Whether the histogram is consistent, its count included.
    pub fn validate(&self) -> Result<(), HistogramError> {
        let shape = Shape {
            schema: self.schema,
            positive: (&self.positive_spans, self.positive_deltas.len()),
            negative: (&self.negative_spans, self.negative_deltas.len()),
            has_zero_count: self.zero_count != 0,
            zero_threshold: self.zero_threshold,
            custom_bounds: &self.custom_bounds,
        };
        shape.validate()?;
        let negative = added_up(Side::Negative, &self.negative_deltas)?;
        let positive = added_up(Side::Positive, &self.positive_deltas)?;
        let buckets = positive.saturating_add(negative).saturating_add(self.zero_count);
        let count = self.count;
        if self.sum.is_nan() {
            // Observations that are not numbers are in no bucket.
            if buckets > count {
                return Err(HistogramError::CountTooSmall { buckets, count });
            }
        } else if buckets != count {
            return Err(HistogramError::CountMismatch { buckets, count });
        }
        Ok(())
    }
}

fn added_up(side: Side, deltas: &[i64]) -> Result<u64, HistogramError> {
    let (mut count, mut total) = (0_i64, 0_u64);
    for (at, delta) in deltas.iter().enumerate() {
        count = count.wrapping_add(*delta);
        let Ok(positive) = u64::try_from(count) else {
            return Err(HistogramError::NegativeBucket(side, at + 1, count as f64));
        };
        total = total.saturating_add(positive);
    }
    Ok(total)
}

impl Histogram {
    /// Whether the histogram is consistent.
    pub fn validate(&self) -> Result<(), HistogramError> {
        match self {
            Self::Integer(histogram) => histogram.validate(),
            Self::Float(histogram) => histogram.validate(),
        }
    }
}
