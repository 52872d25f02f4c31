//! What templates are given: the data of an alert, samples that queries find.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::{FloatHistogram, Labels};

/// The value of a sample.
#[derive(Debug, Clone, PartialEq)]
pub enum SampleValue {
    /// A float.
    Float(f64),
    /// A native histogram.
    Histogram(Arc<FloatHistogram>),
}

/// An element of what a query finds.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Its labels, metric name included.
    pub labels: Labels,
    /// Its value.
    pub value: SampleValue,
}

/// What the templates of an alert are expanded with.
#[derive(Debug, Clone, PartialEq)]
pub struct AlertData {
    /// `.Labels` and `$labels`: those of the sample.
    pub labels: Labels,
    /// `.ExternalLabels` and `$externalLabels`.
    pub external_labels: Labels,
    /// `.ExternalURL` and `$externalURL`.
    pub external_url: String,
    /// `.Value` and `$value`.
    pub value: SampleValue,
}

/// What a console page is expanded with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsoleData {
    /// `.RawParams` and `$rawParams`: the parameters of the URL, each with all its values.
    pub params: BTreeMap<String, Vec<String>>,
    /// `.Path` and `$path`: the page's name.
    pub path: String,
    /// `.ExternalLabels` and `$externalLabels`.
    pub external_labels: Labels,
}

/// The dot of a template.
#[derive(Debug, Clone, PartialEq)]
pub enum Data {
    /// Nothing: every field is missing.
    None,
    /// An alert.
    Alert(AlertData),
    /// A console page.
    Console(ConsoleData),
}
