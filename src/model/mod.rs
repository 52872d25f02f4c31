//! The nouns that every other module speaks: labels, matchers, samples, times.
//!
//! Nothing here touches a file, a socket or a clock.

mod compensated;
mod duration;
mod float_text;
pub mod histogram;
mod labels;
mod matcher;
mod name;
mod note;
mod quote;
mod sample;

pub use compensated::Compensated;
pub use duration::{
    DurationError, format_duration, format_go_duration, parse_duration, parse_go_duration,
};
pub use float_text::{FloatStyle, float_text, format_go_float_exponent, parse_float, push_float};
pub use histogram::{
    Bucket, FloatHistogram, Histogram, HistogramError, HistogramMean, HistogramSum,
    IntegerHistogram, MixedSchemas, Reconciled, ResetHint, Span,
};
pub use labels::{Labels, LabelsBuilder, LabelsBytes, LabelsIter};
pub use matcher::{MatchOp, Matcher};
pub use name::{EscapingScheme, NameScheme, is_legacy_label_name, is_legacy_metric_name};
pub use note::{
    EXEMPLAR_LABEL_CHARS_MAX, Exemplar, ExemplarError, Metadata, MetricType, SeriesExemplars,
};
pub use quote::go_quote;
pub use sample::{NORMAL_NAN_BITS, STALE_NAN_BITS, Samples, TimeRange, is_stale, stale_nan};

/// Name of the label that holds the metric name.
pub const METRIC_NAME: &str = "__name__";
