//! The labels that a scraped series is stored under.

use std::fmt;
use std::sync::Arc;

use crate::config::ScrapeConfig;
use crate::exposition::{LabelText, ParseError};
use crate::model::{Labels, LabelsBuilder, METRIC_NAME, go_quote};
use crate::relabel;

/// Why a series makes its whole page fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SeriesError {
    /// Its text is not in order.
    Parse(ParseError),
    /// Relabelling took its name.
    NoName,
    /// A name that the validation scheme refuses; the labels.
    InvalidNames(Labels),
    /// Too many labels; metric, number, limit.
    LabelLimit(String, usize, u64),
    /// A label's name is too long; metric, name, length, limit.
    NameLength(String, String, usize, u64),
    /// A label's value is too long; metric, name, value, length, limit.
    ValueLength(String, String, String, usize, u64),
}

impl fmt::Display for SeriesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Parse(error) => error.fmt(f),
            Self::NoName => write!(f, "missing metric name ({METRIC_NAME} label)"),
            Self::InvalidNames(labels) => {
                write!(f, "invalid metric name or label names: {labels}")
            }
            Self::LabelLimit(metric, number, limit) => write!(
                f,
                "label_limit exceeded (metric: {metric:.50}, number of labels: {number}, \
                 limit: {limit})"
            ),
            Self::NameLength(metric, name, length, limit) => write!(
                f,
                "label_name_length_limit exceeded (metric: {metric:.50}, label name: {name:.50}, \
                 length: {length}, limit: {limit})"
            ),
            Self::ValueLength(metric, name, value, length, limit) => {
                let value: String = value.chars().take(50).collect();
                write!(
                    f,
                    "label_value_length_limit exceeded (metric: {metric:.50}, label name: \
                     {name:.50}, value: {}, length: {length}, limit: {limit})",
                    go_quote(&value)
                )
            }
        }
    }
}

impl std::error::Error for SeriesError {}

impl SeriesError {
    /// Whether a limit of the job was reached.
    pub fn is_limit(&self) -> bool {
        matches!(self, Self::LabelLimit(..) | Self::NameLength(..) | Self::ValueLength(..))
    }
}

impl From<ParseError> for SeriesError {
    fn from(error: ParseError) -> Self {
        Self::Parse(error)
    }
}

/// What a job does to the labels of one target's series.
#[derive(Debug, Clone)]
pub(super) struct SeriesRules {
    config: Arc<ScrapeConfig>,
    target: Labels,
}

impl SeriesRules {
    /// The rules of a job for the target with these labels.
    pub(super) fn new(config: Arc<ScrapeConfig>, target: Labels) -> Self {
        Self { config, target }
    }

    /// The labels to store a series under: `scraped` are its labels without the empty ones,
    /// `written` gives all as they stand on the page. `None` where relabelling drops it.
    pub(super) fn apply<'a>(
        &self,
        scraped: LabelsBuilder,
        written: impl FnOnce() -> Result<Vec<LabelText<'a>>, ParseError>,
    ) -> Result<Option<Labels>, SeriesError> {
        let mut labels = scraped;
        if self.config.honor_labels {
            let written = written()?;
            for (name, value) in &self.target {
                // A label that the page has with an empty value removes the target's.
                if !written.iter().any(|(other, _)| other == name) {
                    labels.set(name, value);
                }
            }
        } else {
            self.set_target_labels(&mut labels);
        }
        if !relabel::apply(&self.config.metric_relabel_configs, &mut labels) {
            return Ok(None);
        }
        let labels = labels.build();
        if labels.is_empty() {
            return Ok(None);
        }
        self.check(&labels)?;
        Ok(Some(labels))
    }

    fn set_target_labels(&self, labels: &mut LabelsBuilder) {
        let mut conflicts: Vec<(String, String)> = Vec::new();
        for (name, value) in &self.target {
            if let Some(scraped) = labels.get(name) {
                conflicts.push((name.to_owned(), scraped.to_owned()));
            }
            labels.set(name, value);
        }
        // Shorter names first: theirs are the exported names that the longer ones must avoid.
        conflicts.sort_by_key(|(name, _)| name.len());
        for (name, value) in conflicts {
            let mut exported = format!("exported_{name}");
            while labels.get(&exported).is_some_and(|taken| !taken.is_empty()) {
                exported.insert_str(0, "exported_");
            }
            labels.set(&exported, &value);
        }
    }

    fn check(&self, labels: &Labels) -> Result<(), SeriesError> {
        let config = &self.config;
        let metric = labels.metric_name();
        if metric.is_empty() {
            return Err(SeriesError::NoName);
        }
        let is_valid = config.name_scheme.is_metric_name(metric)
            && labels.iter().all(|(name, _)| config.name_scheme.is_label_name(name));
        if !is_valid {
            return Err(SeriesError::InvalidNames(labels.clone()));
        }
        let exceeds = |length: usize, limit: u64| limit > 0 && length as u64 > limit;
        if config.label_limit > 0 {
            let number = labels.len();
            if exceeds(number, config.label_limit) {
                return Err(SeriesError::LabelLimit(metric.to_owned(), number, config.label_limit));
            }
        }
        for (name, value) in labels {
            if exceeds(name.len(), config.label_name_length_limit) {
                return Err(SeriesError::NameLength(
                    metric.to_owned(),
                    name.to_owned(),
                    name.len(),
                    config.label_name_length_limit,
                ));
            }
            if exceeds(value.len(), config.label_value_length_limit) {
                return Err(SeriesError::ValueLength(
                    metric.to_owned(),
                    name.to_owned(),
                    value.to_owned(),
                    value.len(),
                    config.label_value_length_limit,
                ));
            }
        }
        Ok(())
    }

    /// The labels of a series that the scrape itself makes.
    pub(super) fn report(&self, metric: &str) -> Labels {
        let mut labels = LabelsBuilder::from_labels(&self.target);
        labels.set(METRIC_NAME, metric);
        labels.build()
    }
}
