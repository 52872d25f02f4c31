//! The nouns that every other module speaks: labels, matchers, samples, times.
//!
//! Nothing here touches a file, a socket or a clock.

mod labels;
mod matcher;
mod sample;

pub use labels::{Labels, LabelsBuilder, LabelsIter};
pub use matcher::{MatchOp, Matcher};
pub use sample::{NORMAL_NAN_BITS, STALE_NAN_BITS, Samples, TimeRange, is_stale, stale_nan};

/// Name of the label that holds the metric name.
pub const METRIC_NAME: &str = "__name__";
