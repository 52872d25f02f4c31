//! Native histograms: what a sample of that kind holds.
//!
//! A histogram counts observations in buckets whose bounds follow from a schema: exponential ones
//! (schema -4 to 8: each power of two cut into `2^schema` buckets, around a zero bucket) or custom
//! ones (schema -53: the upper bounds are listed). Spans say which buckets are there.
//!
//! Senders count in integers or in floats. [`Histogram`] is what is stored, bit for bit as it came;
//! [`FloatHistogram`] is what queries work on.
//!
//! COMPAT: Prometheus `model/histogram`; field meanings and the schema numbers are its.

mod arithmetic;
pub mod bounds;
pub mod buckets;
mod reset;
mod resolution;
#[cfg(test)]
mod tests;
mod text;
mod total;
pub mod validate;
mod zero;

use std::sync::Arc;

use super::is_stale;

pub use arithmetic::{MixedSchemas, Reconciled};
pub use buckets::Bucket;
pub use total::{HistogramMean, HistogramSum};
pub use validate::HistogramError;

/// Schema of histograms whose bounds are listed.
pub const CUSTOM_BUCKETS_SCHEMA: i32 = -53;

/// What is known of a counter reset between a histogram and the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum ResetHint {
    /// Nothing: readers compare.
    #[default]
    Unknown,
    /// The counts began anew with this histogram.
    Reset,
    /// They did not.
    NotReset,
    /// The histogram is a gauge: its counts may fall.
    Gauge,
}

impl ResetHint {
    /// The hint as a number from 0 to 3, which is how Prometheus numbers them.
    pub fn to_u8(self) -> u8 {
        match self {
            Self::Unknown => 0,
            Self::Reset => 1,
            Self::NotReset => 2,
            Self::Gauge => 3,
        }
    }

    /// The hint of that number.
    pub fn from_u8(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Unknown,
            1 => Self::Reset,
            2 => Self::NotReset,
            3 => Self::Gauge,
            _ => return None,
        })
    }
}

/// A run of neighbouring buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Span {
    /// Index of the first bucket, for the first span; buckets left out since the span before, for
    /// the others.
    pub offset: i32,
    /// Number of buckets.
    pub length: u32,
}

/// A histogram that counts in integers.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct IntegerHistogram {
    /// Whether the counts began anew.
    pub reset_hint: ResetHint,
    /// Which bounds the buckets have.
    pub schema: i32,
    /// Half the width of the zero bucket.
    pub zero_threshold: f64,
    /// Observations in the zero bucket.
    pub zero_count: u64,
    /// Observations in all.
    pub count: u64,
    /// Sum of the observations; the staleness marker here ends the series.
    pub sum: f64,
    /// Which positive buckets are there.
    pub positive_spans: Vec<Span>,
    /// Which negative buckets are there.
    pub negative_spans: Vec<Span>,
    /// Positive counts: the first, then each one's difference to the one before.
    pub positive_deltas: Vec<i64>,
    /// Negative counts, likewise.
    pub negative_deltas: Vec<i64>,
    /// Upper bounds of custom buckets, the infinite one left out; empty for other schemas.
    pub custom_bounds: Arc<[f64]>,
}

/// A histogram that counts in floats.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FloatHistogram {
    /// Whether the counts began anew.
    pub reset_hint: ResetHint,
    /// Which bounds the buckets have.
    pub schema: i32,
    /// Half the width of the zero bucket.
    pub zero_threshold: f64,
    /// Observations in the zero bucket.
    pub zero_count: f64,
    /// Observations in all.
    pub count: f64,
    /// Sum of the observations; the staleness marker here ends the series.
    pub sum: f64,
    /// Which positive buckets are there.
    pub positive_spans: Vec<Span>,
    /// Which negative buckets are there.
    pub negative_spans: Vec<Span>,
    /// Count of each positive bucket.
    pub positive_buckets: Vec<f64>,
    /// Count of each negative bucket.
    pub negative_buckets: Vec<f64>,
    /// Upper bounds of custom buckets, the infinite one left out; empty for other schemas.
    pub custom_bounds: Arc<[f64]>,
}

/// A histogram as it was sent.
#[derive(Debug, Clone, PartialEq)]
pub enum Histogram {
    /// Counts in integers.
    Integer(IntegerHistogram),
    /// Counts in floats.
    Float(FloatHistogram),
}

impl Histogram {
    /// Sum of the observations, or the staleness marker.
    pub fn sum(&self) -> f64 {
        match self {
            Self::Integer(histogram) => histogram.sum,
            Self::Float(histogram) => histogram.sum,
        }
    }

    /// Whether it ends its series.
    pub fn is_stale(&self) -> bool {
        is_stale(self.sum())
    }

    /// How many float samples it counts as where a query's samples are limited.
    pub fn samples(&self) -> usize {
        let spans = |positive: &[Span], negative: &[Span]| positive.len() + negative.len();
        match self {
            Self::Float(histogram) => histogram.samples(),
            Self::Integer(histogram) => samples(
                spans(&histogram.positive_spans, &histogram.negative_spans)
                    + histogram.positive_deltas.len()
                    + histogram.negative_deltas.len()
                    + histogram.custom_bounds.len(),
            ),
        }
    }

    /// Whether the counts began anew.
    pub fn reset_hint(&self) -> ResetHint {
        match self {
            Self::Integer(histogram) => histogram.reset_hint,
            Self::Float(histogram) => histogram.reset_hint,
        }
    }

    /// The same in floats.
    pub fn to_float(&self) -> FloatHistogram {
        match self {
            Self::Integer(histogram) => histogram.to_float(),
            Self::Float(histogram) => histogram.clone(),
        }
    }
}

impl IntegerHistogram {
    /// The same in floats: counts are added up as floats, in the order of the buckets.
    pub fn to_float(&self) -> FloatHistogram {
        FloatHistogram {
            reset_hint: self.reset_hint,
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            zero_count: self.zero_count as f64,
            count: self.count as f64,
            sum: self.sum,
            positive_spans: self.positive_spans.clone(),
            negative_spans: self.negative_spans.clone(),
            positive_buckets: added_up(&self.positive_deltas),
            negative_buckets: added_up(&self.negative_deltas),
            custom_bounds: Arc::clone(&self.custom_bounds),
        }
    }
}

impl FloatHistogram {
    /// Whether its bounds are listed.
    pub fn has_custom_bounds(&self) -> bool {
        self.schema == CUSTOM_BUCKETS_SCHEMA
    }

    /// How many float samples it counts as where a query's samples are limited.
    pub fn samples(&self) -> usize {
        samples(
            self.positive_spans.len()
                + self.negative_spans.len()
                + self.positive_buckets.len()
                + self.negative_buckets.len()
                + self.custom_bounds.len(),
        )
    }
}

/// COMPAT: the bytes that a histogram of so many spans, buckets and bounds takes in Prometheus,
/// with its time, by the 16 that a float takes.
fn samples(parts: usize) -> usize {
    (168 + 8 * parts + 8) / 16
}

fn added_up(deltas: &[i64]) -> Vec<f64> {
    let mut count = 0.0;
    let counts = deltas.iter().map(|&delta| {
        count += delta as f64;
        count
    });
    counts.collect()
}
