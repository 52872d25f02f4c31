//! Pages of metrics as targets serve them: bytes in, samples and metadata out.
//!
//! - [`TextParser`] reads the text format, versions 0.0.4 and 1.0.0, entry by entry, borrowing
//!   from the page. What it takes and refuses, and how it says so, is Prometheus 3.14's.
//! - [`OpenMetricsParser`] and [`ProtobufParser`] do the same for the other two formats, and
//!   [`PageParser`] for any of them; classic histograms are converted on the way where asked.
//! - [`LineCache`] is what makes the next page of the same target cheap: a line that was there
//!   before costs one comparison and one number ([`lines`](LineCache)).
//! - [`Family`] and [`write_families`] are the way out: the page of `/metrics`.
//!
//! Nothing here knows a socket, a clock or the head.

mod agreement;
mod cache;
mod classic;
mod convert;
mod error;
mod family;
mod float;
mod lexer;
mod lines;
mod openmetrics;
mod page;
mod protobuf;
mod quote;
mod shape;
mod text;
mod write;

pub use agreement::check_cache_against_parser;
pub use cache::LineCache;
pub use convert::Converter;
pub use error::ParseError;
pub use family::About;
pub use float::{FloatError, format_openmetrics, parse_value};
pub use lines::{Line, Walk, WalkStep};
pub use openmetrics::{OpenMetricsParser, PageExemplar};
pub use page::{Format, PageParser, ParseOptions};
pub use protobuf::ProtobufParser;
pub use quote::quote_bytes;
pub use shape::{FamilyMetadata, ShapePool};
pub use text::{Entry, LINE_BYTES_MAX, LabelText, TextParser};
pub use write::{Family, SampleLine, write_families};

pub use crate::model::MetricType;
