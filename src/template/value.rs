//! What templates compute with.
//!
//! COMPAT: the kinds are the Go types that Prometheus's data and functions bring forth; names of
//! types, which error texts show, are Go's.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::time::Time;
use super::{AlertData, ConsoleData, Sample, SampleValue};
use crate::model::{FloatHistogram, Labels};

/// A value.
#[derive(Debug, Clone)]
pub(super) enum Value {
    /// None at all: a field of nothing.
    Missing,
    /// An interface that holds nothing.
    Nil,
    Bool(bool),
    Int(i64, Integer),
    Byte(u8),
    Float(f64),
    Complex(f64, f64),
    Text(Arc<str>),
    /// Text that is not escaped on HTML pages.
    Html(Arc<str>),
    Labels(Labels),
    /// What `args` makes.
    Map(Arc<Map>),
    /// A pointer, which may be nil.
    Sample(Option<Arc<Sample>>),
    /// What `query` finds.
    Samples(Arc<[Arc<Sample>]>),
    Alert(Arc<AlertData>),
    Console(Arc<ConsoleData>),
    Histogram(Arc<FloatHistogram>),
    Time(Time),
    /// As `toTime` gives it.
    TimePointer(Time),
    /// Nanoseconds, as `toDuration` gives it.
    DurationPointer(i64),
    Floats(Arc<[f64]>),
    Texts(Arc<[Arc<str>]>),
    /// Lists of texts by name, as the parameters of a URL are.
    TextLists(Arc<BTreeMap<String, Arc<[Arc<str>]>>>),
}

/// Values by name.
#[derive(Debug)]
pub(super) struct Map {
    /// How many maps stand within each other, this one included.
    pub(super) depth: usize,
    pub(super) entries: BTreeMap<String, Value>,
}

/// The signed integer types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Integer {
    Int,
    Int32,
    Int64,
    /// Nanoseconds.
    Duration,
    Month,
    /// From Sunday, 0.
    Weekday,
}

/// What a value is to comparisons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Basic {
    Bool,
    Complex,
    Int,
    Float,
    Text,
    Unsigned,
    None,
}

impl Value {
    pub(super) fn int(value: i64) -> Self {
        Self::Int(value, Integer::Int)
    }

    pub(super) fn text(value: impl Into<Arc<str>>) -> Self {
        Self::Text(value.into())
    }

    pub(super) fn of_sample(value: &SampleValue) -> Self {
        match value {
            SampleValue::Float(value) => Self::Float(*value),
            SampleValue::Histogram(histogram) => Self::Histogram(Arc::clone(histogram)),
        }
    }

    /// The name of its type.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Missing | Self::Nil => "interface {}",
            Self::Bool(_) => "bool",
            Self::Int(_, Integer::Int) => "int",
            Self::Int(_, Integer::Int32) => "int32",
            Self::Int(_, Integer::Int64) => "int64",
            Self::Int(_, Integer::Duration) => "time.Duration",
            Self::Int(_, Integer::Month) => "time.Month",
            Self::Int(_, Integer::Weekday) => "time.Weekday",
            Self::Byte(_) => "uint8",
            Self::Float(_) => "float64",
            Self::Complex(..) => "complex128",
            Self::Text(_) => "string",
            Self::Html(_) => "template.HTML",
            Self::Labels(_) => "map[string]string",
            Self::Map(_) => "map[string]interface {}",
            Self::Sample(_) => "*template.sample",
            Self::Samples(_) => "template.queryResult",
            Self::Alert(_) => {
                "struct { Labels map[string]string; ExternalLabels map[string]string; \
                 ExternalURL string; Value interface {} }"
            }
            Self::Console(_) => {
                "struct { RawParams url.Values; Params map[string]string; Path string; \
                 ExternalLabels map[string]string }"
            }
            Self::Histogram(_) => "*histogram.FloatHistogram",
            Self::Time(_) => "time.Time",
            Self::TimePointer(_) => "*time.Time",
            Self::DurationPointer(_) => "*time.Duration",
            Self::Floats(_) => "[]float64",
            Self::Texts(_) => "[]string",
            Self::TextLists(_) => "url.Values",
        }
    }

    /// The first value of each parameter of a console page, as `.Params` gives them.
    pub(super) fn params_of(console: &ConsoleData) -> Self {
        let first = |(name, values): (&String, &Vec<String>)| {
            (name.clone(), values.first().cloned().unwrap_or_default())
        };
        Self::Labels(Labels::from_pairs(console.params.iter().map(first)))
    }

    /// All values of each parameter of a console page.
    pub(super) fn raw_params_of(console: &ConsoleData) -> Self {
        let all = |(name, values): (&String, &Vec<String>)| {
            (name.clone(), values.iter().map(|value| value.as_str().into()).collect())
        };
        Self::TextLists(Arc::new(console.params.iter().map(all).collect()))
    }

    /// What `if` makes of it: whether it is there and not zero or empty.
    pub(super) fn is_true(&self) -> bool {
        match self {
            Self::Missing | Self::Nil => false,
            Self::Bool(value) => *value,
            Self::Int(value, _) => *value != 0,
            Self::Byte(value) => *value != 0,
            Self::Float(value) => *value != 0.0,
            Self::Complex(real, imaginary) => *real != 0.0 || *imaginary != 0.0,
            Self::Text(text) | Self::Html(text) => !text.is_empty(),
            Self::Labels(labels) => !labels.is_empty(),
            Self::Map(map) => !map.entries.is_empty(),
            Self::Sample(sample) => sample.is_some(),
            Self::Samples(samples) => !samples.is_empty(),
            Self::Floats(items) => !items.is_empty(),
            Self::Texts(items) => !items.is_empty(),
            Self::TextLists(lists) => !lists.is_empty(),
            Self::Alert(_)
            | Self::Console(_)
            | Self::Histogram(_)
            | Self::Time(_)
            | Self::TimePointer(_)
            | Self::DurationPointer(_) => true,
        }
    }

    pub(super) fn basic(&self) -> Basic {
        match self {
            Self::Bool(_) => Basic::Bool,
            Self::Int(..) => Basic::Int,
            Self::Byte(_) => Basic::Unsigned,
            Self::Float(_) => Basic::Float,
            Self::Complex(..) => Basic::Complex,
            Self::Text(_) | Self::Html(_) => Basic::Text,
            _ => Basic::None,
        }
    }

    /// Whether it is nothing, or a pointer to nothing.
    pub(super) fn is_nil(&self) -> bool {
        matches!(self, Self::Missing | Self::Nil | Self::Sample(None))
    }

    /// Text of either kind.
    pub(super) fn as_text(&self) -> Option<&Arc<str>> {
        match self {
            Self::Text(text) | Self::Html(text) => Some(text),
            _ => None,
        }
    }

    /// How many elements it has, if it is something that has some.
    pub(super) fn length(&self) -> Option<usize> {
        Some(match self {
            Self::Text(text) | Self::Html(text) => text.len(),
            Self::Labels(labels) => labels.len(),
            Self::Map(map) => map.entries.len(),
            Self::Samples(samples) => samples.len(),
            Self::Floats(items) => items.len(),
            Self::Texts(items) => items.len(),
            Self::TextLists(lists) => lists.len(),
            _ => return None,
        })
    }

    /// The element at `at`, of something that is counted through.
    pub(super) fn element(&self, at: usize) -> Option<Self> {
        match self {
            Self::Text(text) | Self::Html(text) => text.as_bytes().get(at).map(|b| Self::Byte(*b)),
            Self::Samples(samples) => {
                samples.get(at).map(|sample| Self::Sample(Some(Arc::clone(sample))))
            }
            Self::Floats(items) => items.get(at).map(|value| Self::Float(*value)),
            Self::Texts(items) => items.get(at).map(|text| Self::Text(Arc::clone(text))),
            _ => None,
        }
    }
}
