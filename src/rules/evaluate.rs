//! What one rule gives at one time.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use super::alerts::{Found, Holds};
use super::dependencies::ALERT_NAME;
use super::file::{RuleKind, RuleSpec};
use super::manager::{RuleQuery, Settings, Shared};
use super::rule::Rule;
use crate::head::AppendError;
use crate::model::{FloatHistogram, Histogram, Labels, LabelsBuilder, METRIC_NAME};
use crate::promql::ast::Ast;
use crate::promql::engine::{Engine, Query, QueryError, QueryOptions, VectorSample};
use crate::promql::parse;
use crate::select::Cancellation;
use crate::telemetry::traces::Context;
use crate::template::{AlertData, Expander, Queries, Sample, SampleValue};

/// Why a rule gave nothing, or what it gave was not stored.
#[derive(Debug)]
pub(super) enum RuleError {
    /// Its expression cannot be evaluated.
    Query(QueryError),
    /// Its expression gives a string or a matrix.
    NotAVector,
    /// Labels make series equal.
    SameLabels(RuleName),
    /// More than the group allows.
    Limit { max: i64, found: i64, what: &'static str },
    /// The database refused a sample.
    Refused(AppendError),
}

/// Which labels made series equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RuleName {
    Recording,
    Alerting,
}

/// COMPAT: texts that the API shows.
impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Query(error) => fmt::Display::fmt(error, f),
            Self::NotAVector => f.write_str("rule result is not a vector or scalar"),
            Self::SameLabels(kind) => {
                let what = if *kind == RuleName::Recording { "rule" } else { "alert" };
                write!(f, "vector contains metrics with the same labelset after applying {what} ")?;
                f.write_str("labels")
            }
            Self::Limit { max, found, what } => {
                write!(f, "exceeded limit of {max} with {found} {what}")
            }
            Self::Refused(error) => fmt::Display::fmt(error, f),
        }
    }
}

impl std::error::Error for RuleError {}

/// A sample that a rule gives.
#[derive(Debug, Clone)]
pub(super) struct Output {
    pub(super) labels: Labels,
    pub(super) value: Value,
}

/// Its value.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Float(f64),
    Histogram(Arc<Histogram>),
}

impl Value {
    pub(super) fn of(value: f64, histogram: Option<&Arc<FloatHistogram>>) -> Self {
        match histogram {
            Some(histogram) => Self::Histogram(Arc::new(Histogram::Float((**histogram).clone()))),
            None => Self::Float(value),
        }
    }
}

/// When a rule is evaluated, and under what.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment<'a> {
    /// The time of the evaluation.
    pub(super) t_ns: i64,
    /// The time that is asked for and written: the offset is taken off.
    pub(super) data_ms: i64,
    pub(super) interval_ns: i64,
    pub(super) limit: i64,
    /// The group's file and name.
    pub(super) group: (&'a str, &'a str),
    pub(super) settings: &'a Settings,
    pub(super) engine: &'a Engine,
    /// The evaluation of the group, where it is traced.
    pub(super) part_of: Option<&'a Context>,
}

/// Whole milliseconds of a time in nanoseconds.
pub(super) fn whole_ms(t_ns: i64) -> i64 {
    t_ns.div_euclid(1_000_000)
}

/// Evaluates a rule; alerts that are due are handed on.
pub(super) fn evaluate(
    rule: &Rule,
    moment: &Moment<'_>,
    shared: &Shared,
) -> Result<Vec<Output>, RuleError> {
    let spec = rule.spec();
    let vector = ask(shared, moment, (&spec.text, &spec.ast), moment.data_ms)?;
    match &spec.kind {
        RuleKind::Recording => record(spec, vector, moment.limit),
        RuleKind::Alerting { for_ms, keep_firing_for_ms, annotations } => {
            let holds = Holds {
                for_ns: for_ms.saturating_mul(1_000_000),
                keep_firing_for_ns: keep_firing_for_ms.saturating_mul(1_000_000),
                limit: moment.limit,
            };
            let found = find_alerts(spec, annotations, vector, moment, shared)?;
            let mut alerts = rule.alerts();
            alerts.advance(found, moment.t_ns, holds)?;
            let due = alerts.take_due(
                moment.t_ns,
                shared.options.resend_delay_ms.saturating_mul(1_000_000),
                moment.interval_ns,
                &shared.generator_url(&spec.expr),
            );
            let outputs = alerts.outputs(&spec.name);
            drop(alerts);
            if !due.is_empty() {
                shared.sink.send(due);
            }
            Ok(outputs)
        }
    }
}

fn ask(
    shared: &Shared,
    moment: &Moment<'_>,
    (text, ast): (&str, &Ast),
    t_ms: i64,
) -> Result<Vec<VectorSample>, RuleError> {
    use crate::promql::engine::Value as Answer;
    let cancellation = Cancellation::new().under(&shared.stop);
    let query = Query { text, ast };
    let options = QueryOptions::default();
    let began = Instant::now();
    let answer = moment.engine.instant(&shared.database, query, t_ms, &options, &cancellation);
    if let Some(watcher) = &shared.options.watcher {
        let outcome = answer.as_ref().map(|answer| &answer.stats);
        let (file, group) = moment.group;
        watcher.query_ran(&RuleQuery { file, group, text, t_ms, took: began.elapsed(), outcome });
    }
    match answer.map_err(RuleError::Query)?.value {
        Answer::Vector(vector) => Ok(vector),
        Answer::Scalar { t_ms, value } => {
            Ok(vec![VectorSample { labels: Labels::empty(), t_ms, value, histogram: None }])
        }
        Answer::String { .. } | Answer::Matrix(_) => Err(RuleError::NotAVector),
    }
}

/// The labels of what a recording rule records.
pub(super) fn recorded_labels(spec: &RuleSpec, labels: &Labels) -> Labels {
    let mut builder = LabelsBuilder::from_labels(labels);
    builder.set(METRIC_NAME, &spec.name);
    for (name, value) in &spec.labels {
        builder.set(name, value);
    }
    builder.build()
}

fn record(
    spec: &RuleSpec,
    vector: Vec<VectorSample>,
    limit: i64,
) -> Result<Vec<Output>, RuleError> {
    let mut seen = HashSet::with_capacity(vector.len());
    let mut outputs = Vec::with_capacity(vector.len());
    for sample in vector {
        let labels = recorded_labels(spec, &sample.labels);
        if !seen.insert(labels.clone()) {
            return Err(RuleError::SameLabels(RuleName::Recording));
        }
        outputs.push(Output { labels, value: Value::of(sample.value, sample.histogram.as_ref()) });
    }
    if limit > 0 && outputs.len() as i64 > limit {
        return Err(RuleError::Limit { max: limit, found: outputs.len() as i64, what: "series" });
    }
    Ok(outputs)
}

fn find_alerts(
    spec: &RuleSpec,
    annotations: &[(String, String)],
    vector: Vec<VectorSample>,
    moment: &Moment<'_>,
    shared: &Shared,
) -> Result<BTreeMap<Labels, Found>, RuleError> {
    let asker = Asker { shared, moment };
    let url = &shared.options.external_url;
    let expander =
        Expander::new(whole_ms(moment.t_ns), url, &asker).counted(&shared.metrics.templates);
    let mut found = BTreeMap::new();
    for sample in vector {
        let value = match &sample.histogram {
            Some(histogram) => SampleValue::Histogram(Arc::clone(histogram)),
            None => SampleValue::Float(sample.value),
        };
        let data = AlertData {
            labels: sample.labels.clone(),
            external_labels: moment.settings.external_labels.clone(),
            external_url: url.clone(),
            value,
        };
        let expand = |text: &str| {
            // Most texts have nothing to expand.
            if !text.contains("{{") {
                return text.to_owned();
            }
            expander.expand_alert(&spec.name, text, &data).unwrap_or_else(|error| {
                let labels = &data.labels;
                let alert = &spec.name;
                tracing::warn!(alert, err = %error, %labels, "Expanding alert template failed");
                format!("<error expanding template: {error}>")
            })
        };
        let mut labels = LabelsBuilder::from_labels(&sample.labels);
        labels.remove(METRIC_NAME);
        for (name, text) in &spec.labels {
            labels.set(name, &expand(text));
        }
        labels.set(ALERT_NAME, &spec.name);
        let annotations =
            annotations.iter().map(|(name, text)| (name.clone(), expand(text))).collect();
        let alert = Found { annotations, value: sample.value };
        if found.insert(labels.build(), alert).is_some() {
            return Err(RuleError::SameLabels(RuleName::Alerting));
        }
    }
    Ok(found)
}

/// Answers the queries of templates.
struct Asker<'a> {
    shared: &'a Shared,
    moment: &'a Moment<'a>,
}

impl Queries for Asker<'_> {
    fn query(&self, expr: &str, t_ms: i64) -> Result<Vec<Sample>, String> {
        let ast = parse(expr, &self.shared.options.parse).map_err(|error| error.to_string())?;
        let vector = ask(self.shared, self.moment, (expr, &ast), t_ms);
        let vector = vector.map_err(|error| error.to_string())?;
        Ok(vector
            .into_iter()
            .map(|sample| Sample {
                labels: sample.labels,
                value: match sample.histogram {
                    Some(histogram) => SampleValue::Histogram(histogram),
                    None => SampleValue::Float(sample.value),
                },
            })
            .collect())
    }

    fn is_cancelled(&self) -> bool {
        self.shared.stop.is_canceled()
    }
}
