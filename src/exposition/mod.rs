//! Pages of metrics as targets serve them: bytes in, samples and metadata out.
//!
//! - [`TextParser`] reads the text format, versions 0.0.4 and 1.0.0, entry by entry, borrowing
//!   from the page. What it takes and refuses, and how it says so, is Prometheus 3.14's.
//! - [`LineCache`] is what makes the next page of the same target cheap: a line that was there
//!   before costs one comparison and one number ([`lines`](LineCache)).
//! - [`Family`] and [`write_families`] are the way out: the page of `/metrics`.
//!
//! OpenMetrics and the protobuf format are not read yet.
//! Nothing here knows a socket, a clock or the head.

mod agreement;
mod float;
mod lexer;
mod lines;
mod quote;
mod shape;
mod text;
mod write;

pub use agreement::check_cache_against_parser;
pub use float::{FloatError, format_openmetrics, parse_value};
pub use lines::{Line, LineCache, Walk, WalkStep};
pub use quote::quote_bytes;
pub use shape::{FamilyMetadata, ShapePool};
pub use text::{Entry, LINE_BYTES_MAX, LabelText, ParseError, TextParser};
pub use write::{Family, SampleLine, write_families};

/// The type that a page declares for a family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum MetricType {
    /// `counter`
    Counter,
    /// `gauge`
    Gauge,
    /// `histogram`
    Histogram,
    /// `summary`
    Summary,
    /// `untyped`, or nothing said.
    #[default]
    Unknown,
}

impl MetricType {
    /// The name in the HTTP API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Summary => "summary",
            Self::Unknown => "unknown",
        }
    }

    /// The name in a `# TYPE` line of the text format.
    pub fn as_text_format(self) -> &'static str {
        match self {
            Self::Unknown => "untyped",
            known => known.as_str(),
        }
    }

    /// Reads the name of a `# TYPE` line.
    pub fn from_text_format(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"counter" => Self::Counter,
            b"gauge" => Self::Gauge,
            b"histogram" => Self::Histogram,
            b"summary" => Self::Summary,
            b"untyped" => Self::Unknown,
            _ => return None,
        })
    }
}
