//! The way in: a text and its data become text.

use std::sync::Arc;
use std::time::Duration;

use super::functions::function_of;
use super::parse::{Trees, parse};
use super::value::Value;
use super::walk::Machine;
use super::writer::Writer;
use super::{AlertData, ConsoleData, Data, Sample, TemplateError};
use crate::telemetry::{Counter, Registry};

/// What is put before the templates of an alert.
/// COMPAT: the columns of error texts count it.
const ALERT_VARIABLES: &str = "{{$labels := .Labels}}{{$externalLabels := .ExternalLabels}}\
                               {{$externalURL := .ExternalURL}}{{$value := .Value}}";

/// What is put before the text of a console page.
const CONSOLE_VARIABLES: &str = "{{$rawParams := .RawParams }}{{$params := .Params}}\
                                 {{$path := .Path}}{{$externalLabels := .ExternalLabels}}";

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

#[cfg(test)]
impl Metrics {
    pub(super) fn expansions(&self) -> u64 {
        self.expansions.value()
    }

    pub(super) fn failures(&self) -> u64 {
        self.failures.value()
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
        let expanded = self.expand_text(name, text, data);
        if let Some(metrics) = self.metrics {
            metrics.expansions.inc();
            if expanded.is_err() {
                metrics.failures.inc();
            }
        }
        expanded
    }

    fn expand_text(&self, name: &str, text: &str, data: &Data) -> Result<String, TemplateError> {
        self.expand_with(name, text, &[], data, false)
    }

    /// Expands `text` as a page of HTML, values escaped for where they appear. `libraries` are
    /// names and texts of further templates, of which the text may use what they define.
    pub fn expand_html(
        &self,
        name: &str,
        text: &str,
        libraries: &[(String, String)],
        data: &Data,
    ) -> Result<String, TemplateError> {
        self.expand_with(name, text, libraries, data, true)
    }

    /// Expands a console page, with `$rawParams`, `$params`, `$path` and `$externalLabels` set.
    pub fn expand_console(
        &self,
        path: &str,
        text: &str,
        libraries: &[(String, String)],
        data: &ConsoleData,
    ) -> Result<String, TemplateError> {
        let text = format!("{CONSOLE_VARIABLES}{text}");
        let data = Data::Console(data.clone());
        self.expand_html(&format!("__console_{path}"), &text, libraries, &data)
    }

    fn expand_with(
        &self,
        name: &str,
        text: &str,
        libraries: &[(String, String)],
        data: &Data,
        is_html: bool,
    ) -> Result<String, TemplateError> {
        let parsing = |message| TemplateError::Parsing { name: name.to_owned(), message };
        let is_function = |name: &str| function_of(name, is_html).is_some();
        let mut trees = Trees::new();
        parse(name, text, &is_function, &mut trees).map_err(parsing)?;
        for (library, text) in libraries {
            parse(library, text, &is_function, &mut trees).map_err(|message| {
                TemplateError::ParsingLibraries { name: name.to_owned(), message }
            })?;
        }
        let world = World {
            name: name.to_owned(),
            t_ms: self.t_ms,
            external_url: self.external_url,
            queries: self.queries,
            limits: self.limits,
            is_html,
        };
        let tree = trees.get(name).expect("BUG: the template that was read is there");
        Machine::new(&world, &trees, tree, Writer::new(is_html))
            .run(&dot_of(data))
            .map_err(|message| TemplateError::Executing { name: name.to_owned(), message })
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
    let text = format!("{ALERT_VARIABLES}{text}");
    let is_function = |name: &str| function_of(name, false).is_some();
    parse(&format!("__alert_{alert}"), &text, &is_function, &mut Trees::new())
        .map_err(TemplateError::Parse)
}

/// What functions know beside their arguments.
pub(super) struct World<'a> {
    /// Of the template that is expanded.
    pub(super) name: String,
    pub(super) t_ms: i64,
    pub(super) external_url: &'a str,
    pub(super) queries: &'a dyn Queries,
    pub(super) limits: Limits,
    pub(super) is_html: bool,
}

fn dot_of(data: &Data) -> Value {
    match data {
        Data::None => Value::Missing,
        Data::Console(console) => Value::Console(Arc::new(console.clone())),
        Data::Alert(alert) => Value::Alert(Arc::new(alert.clone())),
    }
}
