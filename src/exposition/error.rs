//! Why pages are rejected.

use std::fmt;

use super::float::FloatError;
use super::text::LINE_BYTES_MAX;

/// Why a page is rejected. The texts are Prometheus's; outside text in them is cut at one KiB.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParseError {
    /// A token that cannot stand where it stands.
    Unexpected {
        /// What should stand there.
        expected: &'static str,
        /// Its bytes and the one after them, quoted.
        got: String,
        /// Kind of the token.
        token: &'static str,
        /// The entry so far, quoted.
        entry: String,
    },
    /// No text after the name of a metadata line: which line, and what stands there.
    MetadataText(&'static str, &'static str),
    /// The quoted type of a `# TYPE` line is none.
    MetricType(String),
    /// The quoted help text is not UTF-8.
    Help(String),
    /// Two metric names in one entry, quoted.
    NameSetTwice(String),
    /// Braces without a metric name, quoted.
    NameNotSet(String),
    /// The quoted label value is not UTF-8.
    LabelValue(String),
    /// The quoted metric or label name is not UTF-8.
    Name(String),
    /// The label, quoted, stands twice in one entry.
    DuplicateLabel(String),
    /// The value is not a number; the entry, quoted.
    Value(FloatError, String),
    /// The quoted timestamp is too large; the entry, quoted.
    Timestamp(String, String),
    /// The series text is this long.
    LineTooLong(usize),
    /// No text after the name of this metadata line of OpenMetrics.
    NoMetadataText(&'static str),
    /// The quoted unit does not end the quoted name of its metric.
    Unit(String, String),
    /// A timestamp of OpenMetrics is infinite or no number: what it is the timestamp of, and what
    /// it is.
    TimestampNotFinite(&'static str, String),
    /// An OpenMetrics page ends without its end marker.
    NoEnd,
    /// An OpenMetrics page goes on after its end marker.
    DataAfterEnd,
    /// A protobuf message that cannot be read, and why.
    Message(String),
    /// The metric's classic histogram cannot be stored as a native one, or its native one not at
    /// all, and why.
    Histogram(String),
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unexpected { expected, got, token, entry } => {
                write!(f, "{expected}, got {got} (\"{token}\") while parsing: {entry}")
            }
            Self::MetadataText(line, token) => write!(f, "expected text in {line}, got {token}"),
            Self::MetricType(text) => write!(f, "invalid metric type {text}"),
            Self::Help(text) => write!(f, "help text {text} is not a valid utf8 string"),
            Self::NameSetTwice(entry) => {
                write!(f, "metric name already set while parsing: {entry}")
            }
            Self::NameNotSet(entry) => write!(f, "metric name not set while parsing: {entry}"),
            Self::LabelValue(value) => write!(f, "invalid UTF-8 label value: {value}"),
            Self::Name(name) => write!(f, "invalid metric name or label names: {name}"),
            Self::DuplicateLabel(name) => {
                write!(f, "label name {name} is not unique: invalid sample")
            }
            Self::Value(error, entry) => write!(f, "{error} while parsing: {entry}"),
            Self::Timestamp(text, entry) => write!(
                f,
                "strconv.ParseInt: parsing {text}: value out of range while parsing: {entry}"
            ),
            Self::NoMetadataText(line) => write!(f, "expected text in {line}"),
            Self::Unit(unit, metric) => write!(f, "unit {unit} not a suffix of metric {metric}"),
            Self::TimestampNotFinite(what, value) => {
                write!(f, "invalid {what} {value}")
            }
            Self::NoEnd => f.write_str("data does not end with # EOF"),
            Self::DataAfterEnd => f.write_str("unexpected data after # EOF"),
            Self::Message(text) | Self::Histogram(text) => f.write_str(text),
            Self::LineTooLong(length) => write!(
                f,
                "series text of {length} bytes exceeds the limit of {LINE_BYTES_MAX} bytes a line"
            ),
        }
    }
}

impl std::error::Error for ParseError {}
