//! What templates are given: the data of an alert, samples that queries find.

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

/// The dot of a template.
#[derive(Debug, Clone, PartialEq)]
pub enum Data {
    /// Nothing: every field is missing.
    None,
    /// An alert.
    Alert(AlertData),
}
