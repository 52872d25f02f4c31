//! The way in: a text and its data become text.

use std::time::Duration;

use super::{AlertData, Data, Sample, TemplateError};
use crate::telemetry::{Counter, Registry};

/// What is put before the templates of an alert.
/// COMPAT: the columns of error texts count it.
const ALERT_VARIABLES: &str = "{{$labels := .Labels}}{{$externalLabels := .ExternalLabels}}\
                               {{$externalURL := .ExternalURL}}{{$value := .Value}}";

/// Answers the function `query`.
pub trait Queries {
    /// The vector that the expression gives at that time, or why there is none.
    fn query(&self, expr: &str, t_ms: i64) -> Result<Vec<Sample>, String>;

    /// Whether the expansion is to end.
    fn is_cancelled(&self) -> bool {
        false
    }
}

/// For templates that have nobody to ask: every query fails.
#[derive(Debug, Clone, Copy)]
pub struct NoQueries;

impl Queries for NoQueries {
    fn query(&self, _: &str, _: i64) -> Result<Vec<Sample>, String> {
        Err("queries are not answered here".to_owned())
    }
}

/// How far one expansion may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the result, and of any text on the way to it.
    pub output_bytes_max: usize,
    /// Nodes that are walked and functions that are called.
    pub steps_max: u64,
    /// For all of it, queries included.
    pub timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { output_bytes_max: 4 << 20, steps_max: 2_000_000, timeout: Duration::from_secs(10) }
    }
}

/// How often templates were expanded.
#[derive(Debug, Clone)]
pub struct Metrics {
    expansions: Counter,
    failures: Counter,
}

impl Metrics {
    /// Counters in `registry`, under Prometheus's names.
    pub fn new(registry: &Registry) -> Self {
        Self {
            expansions: registry.counter(
                "prometheus_template_text_expansions_total",
                "Templates of text that were expanded.",
            ),
            failures: registry.counter(
                "prometheus_template_text_expansion_failures_total",
                "Templates of text that could not be expanded.",
            ),
        }
    }
}

/// Expands templates that share a time, an external URL and someone to ask.
#[derive(Clone, Copy)]
pub struct Expander<'a> {
    t_ms: i64,
    external_url: &'a str,
    queries: &'a dyn Queries,
    metrics: Option<&'a Metrics>,
    limits: Limits,
}

impl std::fmt::Debug for Expander<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Expander").field("t_ms", &self.t_ms).finish_non_exhaustive()
    }
}

impl<'a> Expander<'a> {
    /// Queries are asked for at `t_ms`, which is also what `now` gives.
    pub fn new(t_ms: i64, external_url: &'a str, queries: &'a dyn Queries) -> Self {
        Self { t_ms, external_url, queries, metrics: None, limits: Limits::default() }
    }

    /// Counts expansions.
    #[must_use]
    pub fn counted(mut self, metrics: &'a Metrics) -> Self {
        self.metrics = Some(metrics);
        self
    }

    /// With other limits.
    #[must_use]
    pub fn limited(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Expands `text`; `name` is what error texts call it.
    pub fn expand(&self, name: &str, text: &str, data: &Data) -> Result<String, TemplateError> {
        let _ = (self.external_url, self.queries, self.limits, text, data);
        if let Some(metrics) = self.metrics {
            metrics.expansions.inc();
            metrics.failures.inc();
        }
        let message = "templates are not expanded yet".to_owned();
        Err(TemplateError::Executing { name: name.to_owned(), message })
    }

    /// Expands a label or an annotation of the alert of that name, with `$labels`,
    /// `$externalLabels`, `$externalURL` and `$value` set.
    pub fn expand_alert(
        &self,
        alert: &str,
        text: &str,
        data: &AlertData,
    ) -> Result<String, TemplateError> {
        let data = Data::Alert(data.clone());
        self.expand(&format!("__alert_{alert}"), &format!("{ALERT_VARIABLES}{text}"), &data)
    }
}

/// Whether `text` can be read as a label or an annotation of the alert of that name: what is
/// checked when rules are loaded. Gives [`TemplateError::Parse`].
pub fn check_alert_text(alert: &str, text: &str) -> Result<(), TemplateError> {
    let _ = (alert, text);
    Ok(())
}
