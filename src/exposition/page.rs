//! One parser for every format.

use std::hash::BuildHasher;

use super::MetricType;
use super::convert::Converter;
use super::error::ParseError;
use super::family::About;
use super::openmetrics::{OpenMetricsParser, PageExemplar};
use super::protobuf::ProtobufParser;
use super::text::{Entry, LabelText, TextParser, build_labels};
use crate::model::LabelsBuilder;

/// A format in which a page is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// The Prometheus text format, 0.0.4 or 1.0.0.
    #[default]
    Text,
    /// OpenMetrics text, 0.0.1 or 1.0.0.
    OpenMetrics,
    /// Protobuf, families behind their lengths.
    Protobuf,
}

/// How a page is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ParseOptions {
    /// Start timestamps are read; in OpenMetrics `_created` lines are no series then.
    pub reads_starts: bool,
    /// Native histograms are given; otherwise only the classic part of histograms.
    pub native_histograms: bool,
    /// Classic histograms are given beside native ones.
    pub keep_classic: bool,
    /// Classic histograms are given as native ones with their bounds listed.
    pub convert_classic: bool,
    /// Series have their type and unit as labels `__type__` and `__unit__`.
    pub type_and_unit_labels: bool,
}

/// Reads a page of any format from front to back.
#[allow(clippy::large_enum_variant, reason = "there is one for each page, on the stack")]
#[derive(Debug)]
pub enum PageParser<'a> {
    /// Text.
    Text(TextParser<'a>),
    /// OpenMetrics.
    OpenMetrics(OpenMetricsParser<'a>),
    /// Protobuf.
    Protobuf(Box<ProtobufParser<'a>>),
    /// Either text format, classic histograms converted.
    Converting(Box<Converter<'a>>),
}

impl<'a> PageParser<'a> {
    /// A parser of the whole page.
    pub fn new(page: &'a [u8], format: Format, options: ParseOptions) -> Self {
        let is_typed = options.type_and_unit_labels;
        let parser = match format {
            Format::Text => Self::Text(TextParser::new(page).typed(is_typed)),
            Format::OpenMetrics => {
                let parser = if options.reads_starts {
                    OpenMetricsParser::with_starts(page)
                } else {
                    OpenMetricsParser::new(page)
                };
                Self::OpenMetrics(parser.typed(is_typed.then(About::default)))
            }
            Format::Protobuf => {
                return Self::Protobuf(Box::new(ProtobufParser::new(page, options)));
            }
        };
        if options.convert_classic {
            Self::Converting(Box::new(Converter::new(parser, options)))
        } else {
            parser
        }
    }

    /// The next entry; `None` at the end of the page.
    pub fn next_entry(&mut self) -> Result<Option<Entry<'a>>, ParseError> {
        match self {
            Self::Text(parser) => parser.next_entry(),
            Self::OpenMetrics(parser) => parser.next_entry(),
            Self::Protobuf(parser) => parser.next_entry(),
            Self::Converting(parser) => parser.next_entry(),
        }
    }

    /// The type that was declared last.
    pub fn metric_type(&self) -> MetricType {
        match self {
            Self::Text(parser) => parser.metric_type(),
            Self::OpenMetrics(parser) => parser.metric_type(),
            Self::Protobuf(parser) => parser.metric_type(),
            Self::Converting(_) => MetricType::Unknown,
        }
    }

    /// The labels of the series or histogram that came last, its name as `__name__`, in the order
    /// of the page; values may be empty. `le` and `quantile` of histograms and summaries come in
    /// OpenMetrics style.
    pub fn labels(&mut self) -> Result<Vec<LabelText<'a>>, ParseError> {
        match self {
            Self::Text(parser) => parser.labels(),
            Self::OpenMetrics(parser) => parser.labels(),
            Self::Protobuf(parser) => parser.labels(),
            Self::Converting(parser) => match parser.histogram_labels() {
                Some(labels) => Ok(labels.to_vec()),
                None => parser.inner().labels(),
            },
        }
    }

    /// [`PageParser::labels`] as a builder; an error where a label that is not empty stands twice.
    pub fn labels_builder(&mut self) -> Result<LabelsBuilder, ParseError> {
        build_labels(self.labels()?)
    }

    /// The exemplars of the series or histogram that came last.
    pub fn exemplars(&mut self) -> Result<Vec<PageExemplar>, ParseError> {
        match self {
            Self::Text(_) => Ok(Vec::new()),
            Self::OpenMetrics(parser) => Ok(parser.exemplar().into_iter().collect()),
            Self::Protobuf(parser) => parser.exemplars(),
            Self::Converting(parser) => match parser.histogram_exemplars() {
                Some(exemplars) => Ok(exemplars.to_vec()),
                None => parser.inner().exemplars(),
            },
        }
    }

    /// Whether the series or histogram that came last has exemplars.
    pub fn has_exemplars(&self) -> bool {
        match self {
            Self::Text(_) => false,
            Self::OpenMetrics(parser) => parser.has_exemplar(),
            Self::Protobuf(parser) => parser.has_exemplars(),
            Self::Converting(parser) => parser.has_exemplars(),
        }
    }

    /// When the series or histogram that came last began to count, in milliseconds; 0: not known.
    pub fn start_ms(&mut self) -> i64 {
        match self {
            Self::Text(_) => 0,
            Self::OpenMetrics(parser) => parser.start_ms(),
            Self::Protobuf(parser) => parser.start_ms(),
            Self::Converting(parser) => match parser.histogram_start_ms() {
                Some(start_ms) => start_ms,
                None => parser.inner().start_ms(),
            },
        }
    }

    /// What knows the series or histogram `entry`, the one that came last, again on the next page:
    /// a hash, and the number of bytes hashed.
    pub(super) fn key(&mut self, entry: &Entry<'a>, hasher: &impl BuildHasher) -> (u64, usize) {
        if let Self::Protobuf(parser) = self {
            parser.hash_labels(hasher);
            return parser.key(hasher);
        }
        if let Entry::Series { text, .. } = entry {
            return (hasher.hash_one(text), text.len());
        }
        let labels = self.labels().unwrap_or_default();
        let len = labels.iter().map(|(name, value)| name.len() + value.len()).sum();
        (hasher.hash_one((labels, "histogram")), len)
    }
}
