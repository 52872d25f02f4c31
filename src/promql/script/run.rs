//! Runs scripts and counts.
//!
//! Each query of one time is asked in several forms that must give the same: as it stands; with
//! every selector fixed to its time by `@`, at other times; as the middle of a range.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use super::nhcb::from_classic;
use super::{About, Command, Eval, Expected, Load, Script, ScriptError, SeriesValue, Times};
use crate::model::{Histogram, Labels, Samples};
use crate::promql::ast::{Ast, AtModifier, Expr};
use crate::promql::engine::{
    Engine, Query, QueryError, QueryOptions, QueryRange, QueryResult, Value, VectorSample,
};
use crate::promql::parse::{ParseOptions, parse};
use crate::select::{Cancellation, Queryable};

/// What scripts load into.
pub trait Store {
    /// Forgets all data.
    fn clear(&mut self) -> Result<(), String>;

    /// Stores samples of one series, newer than those it has.
    fn append(&mut self, labels: &Labels, samples: &Samples) -> Result<(), String>;

    /// What queries read: everything appended so far.
    fn queryable(&self) -> &dyn Queryable;
}

/// How a script went.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Queries that answered as expected, in all forms.
    pub passed: usize,
    /// Queries that did not.
    pub failures: Vec<Failure>,
    /// Queries that were not asked, by reason.
    pub out_of_scope: BTreeMap<String, usize>,
}

/// A query that did not answer as expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Line of the script, from 1.
    pub line: usize,
    /// The query.
    pub query: String,
    /// What was wrong.
    pub message: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}: {}", self.line, self.query, self.message)
    }
}

impl Report {
    /// Adds what another script gave.
    pub fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failures.extend(other.failures);
        for (reason, count) in other.out_of_scope {
            *self.out_of_scope.entry(reason).or_default() += count;
        }
    }

    /// Queries counted, asked or not.
    pub fn total(&self) -> usize {
        self.passed + self.failures.len() + self.out_of_scope.values().sum::<usize>()
    }
}

/// Runs scripts against a store and an engine.
#[derive(Debug)]
pub struct Runner<'a, S> {
    store: &'a mut S,
    engine: &'a Engine,
    options: ParseOptions,
}

/// Why a query was not answered as expected.
enum Miss {
    Wrong(String),
    OutOfScope(String),
}

impl From<String> for Miss {
    fn from(message: String) -> Self {
        Self::Wrong(message)
    }
}

impl<'a, S: Store> Runner<'a, S> {
    /// A runner on a store, which is cleared first.
    pub fn new(store: &'a mut S, engine: &'a Engine, options: ParseOptions) -> Self {
        Self { store, engine, options }
    }

    /// Runs a script from its beginning to its end. An error is one of the script or the store;
    /// wrong answers are in the report.
    pub fn run(&mut self, script: &Script) -> Result<Report, ScriptError> {
        let mut report = Report::default();
        self.clear().map_err(|message| ScriptError { line: 1, message })?;
        for command in &script.commands {
            match command {
                Command::Clear => {
                    self.clear().map_err(|message| ScriptError { line: 1, message })?;
                }
                Command::Load(load) => {
                    let line = load.line;
                    self.load(load).map_err(|message| ScriptError { line, message })?;
                }
                Command::Eval(eval) => match self.eval(eval) {
                    Ok(()) => report.passed += 1,
                    Err(Miss::OutOfScope(reason)) => {
                        *report.out_of_scope.entry(reason).or_default() += 1;
                    }
                    Err(Miss::Wrong(message)) => {
                        let (line, query) = (eval.line, eval.query.clone());
                        report.failures.push(Failure { line, query, message });
                    }
                },
            }
        }
        Ok(report)
    }

    fn clear(&mut self) -> Result<(), String> {
        self.store.clear()
    }

    fn load(&mut self, load: &Load) -> Result<(), String> {
        // Of two lines for one series the later one counts.
        let series: BTreeMap<_, _> = load.series.iter().map(|s| (&s.labels, s)).collect();
        let starts: HashMap<_, _> = load.starts_ms.iter().map(|(l, starts)| (l, starts)).collect();
        for (labels, line) in &series {
            let starts = starts.get(*labels);
            let mut samples = Samples::default();
            for (index, value) in line.values.iter().enumerate() {
                let t_ms = load.step_ms * index as i64;
                match value {
                    SeriesValue::Omitted => continue,
                    SeriesValue::Float(value) => samples.push(t_ms, *value),
                    SeriesValue::Histogram(written) => {
                        samples.push_histogram(t_ms, Arc::clone(&written.histogram));
                    }
                }
                let start = starts.and_then(|starts| starts.get(index).copied().flatten());
                if let Some(start_ms) = start {
                    samples.set_last_start(t_ms + start_ms);
                }
            }
            self.store.append(labels, &samples)?;
        }
        if load.with_nhcb {
            let lines: Vec<_> = series.into_values().collect();
            for (labels, times) in from_classic(&lines)? {
                let mut samples = Samples::default();
                for (index, histogram) in times {
                    let histogram = Arc::new(Histogram::Float(histogram));
                    samples.push_histogram(load.step_ms * index as i64, histogram);
                }
                self.store.append(&labels, &samples)?;
            }
        }
        Ok(())
    }

    fn eval(&self, eval: &Eval) -> Result<(), Miss> {
        let ast = match parse(&eval.query, &self.options) {
            Ok(ast) => ast,
            Err(error) if eval.expects(About::Fail) => {
                return eval.check_failure(&error.to_string()).map_err(Miss::Wrong);
            }
            Err(error) => return Err(Miss::Wrong(format!("is refused: {error}"))),
        };
        let t_ms = match eval.times {
            Times::Instant(t_ms) => t_ms,
            Times::Range { start_ms, end_ms, step_ms } => {
                let range = QueryRange { start_ms, end_ms, step_ms };
                let result = self.ask_range(&eval.query, &ast, range);
                return check(eval, result, |_| Ok(()));
            }
        };
        self.eval_instant(eval, &eval.query, &ast, t_ms)?;
        let Some(text) = fixed_to(&ast, t_ms) else { return Ok(()) };
        let ast = parse(&text, &self.options).map_err(|e| format!("printed as {text}: {e}"))?;
        let other_times = if t_ms == 0 {
            vec![-1000, 0, 1000]
        } else {
            vec![-10 * t_ms, 0, t_ms / 5, t_ms, 10 * t_ms]
        };
        for t_ms in other_times {
            self.eval_instant(eval, &text, &ast, t_ms)?;
        }
        Ok(())
    }

    fn eval_instant(&self, eval: &Eval, text: &str, ast: &Ast, t_ms: i64) -> Result<(), Miss> {
        let query = Query { text, ast };
        let cancellation = Cancellation::new();
        let options = QueryOptions::default();
        let source = self.store.queryable();
        let result = self.engine.instant(source, query, t_ms, &options, &cancellation);
        let form = |message: String| format!("{message} (as {text} at {t_ms} ms)");
        check(eval, result, |value| self.check_as_range(eval, text, ast, t_ms, value)).map_err(
            |miss| match miss {
                Miss::Wrong(message) => Miss::Wrong(form(message)),
                other @ Miss::OutOfScope(_) => other,
            },
        )
    }

    /// The same query as the middle of a range of three steps.
    fn check_as_range(
        &self,
        eval: &Eval,
        text: &str,
        ast: &Ast,
        t_ms: i64,
        instant: &Value,
    ) -> Result<(), Miss> {
        const MINUTE_MS: i64 = 60_000;
        let depends_on_range =
            ["start()", "end()", "range()", "step()"].iter().any(|call| text.contains(call));
        let has_no_range =
            matches!(eval.result, Expected::String(_) | Expected::Series { range: Some(_), .. });
        if depends_on_range || has_no_range {
            return Ok(());
        }
        let (start_ms, end_ms) = (t_ms - MINUTE_MS, t_ms + MINUTE_MS);
        let range = QueryRange { start_ms, end_ms, step_ms: MINUTE_MS };
        let result = self.ask_range(text, ast, range).map_err(|e| miss(&e.to_string()))?;
        let Value::Matrix(series) = result.value else {
            return Err(Miss::Wrong(format!("a range gave {:?}", result.value)));
        };
        // Series of a range stand in order of labels.
        if eval.expects(About::Ordered) {
            return Ok(());
        }
        let middle: Vec<_> = series
            .into_iter()
            .filter_map(|series| {
                let at = series.samples.timestamps.iter().position(|&t| t == t_ms);
                let found = series.histograms.into_iter().find(|(t, _)| *t == t_ms);
                let histogram = found.map(|(_, histogram)| histogram);
                let value = match (at, &histogram) {
                    (Some(at), _) => series.samples.values[at],
                    (None, Some(_)) => 0.0,
                    (None, None) => return None,
                };
                Some(VectorSample { labels: series.labels, t_ms, value, histogram })
            })
            .collect();
        let value = match (instant, middle.as_slice()) {
            (Value::Scalar { .. }, [sample]) => Value::Scalar { t_ms, value: sample.value },
            _ => Value::Vector(middle),
        };
        eval.check_value(&value).map_err(|e| Miss::Wrong(format!("{e} in a range")))
    }

    fn ask_range(
        &self,
        text: &str,
        ast: &Ast,
        range: QueryRange,
    ) -> Result<QueryResult, QueryError> {
        let query = Query { text, ast };
        let cancellation = Cancellation::new();
        let options = QueryOptions::default();
        self.engine.range(self.store.queryable(), query, range, &options, &cancellation)
    }
}

fn check(
    eval: &Eval,
    result: Result<QueryResult, QueryError>,
    more: impl FnOnce(&Value) -> Result<(), Miss>,
) -> Result<(), Miss> {
    let result = match result {
        Ok(result) => result,
        Err(error) => {
            let error = error.to_string();
            if let found @ Miss::OutOfScope(_) = miss(&error) {
                return Err(found);
            }
            return eval.check_failure(&error).map_err(Miss::Wrong);
        }
    };
    if eval.expects(About::Fail) {
        return Err(Miss::Wrong(format!("should fail, got {:?}", result.value)));
    }
    eval.check_annotations(&result)?;
    eval.check_value(&result.value)?;
    more(&result.value)
}

/// Tells what does not exist yet from what is wrong.
fn miss(error: &str) -> Miss {
    match error.split_once(" is not supported yet") {
        Some((what, _)) => Miss::OutOfScope(what.to_owned()),
        None => Miss::Wrong(format!("failed: {error}")),
    }
}

/// The query with every selector fixed to `t_ms`, printed; those within a subquery are as the
/// subquery says. `None` where the result depends on the time all the same.
fn fixed_to(ast: &Ast, t_ms: i64) -> Option<String> {
    const DEPENDENT: [&str; 15] = [
        "days_in_month",
        "day_of_month",
        "day_of_week",
        "day_of_year",
        "end",
        "hour",
        "minute",
        "month",
        "year",
        "predict_linear",
        "range",
        "start",
        "step",
        "time",
        "timestamp",
    ];
    let mut fixed = ast.clone();
    // Parents first: what stands in a fixed subquery is left as it is.
    let mut is_within = vec![false; fixed.nodes.len()];
    for index in (0..fixed.nodes.len()).rev() {
        let node = &mut fixed.nodes[index];
        let at = match &mut node.expr {
            Expr::Call { function, .. }
                if DEPENDENT.contains(&function.name) && !is_within[index] =>
            {
                return None;
            }
            Expr::Selector(selector) => Some(&mut selector.modifiers.at),
            Expr::Subquery { modifiers, .. } => Some(&mut modifiers.at),
            _ => None,
        };
        if let Some(at) = at
            && !is_within[index]
            && !matches!(at, Some(AtModifier::Time(_)))
        {
            *at = Some(AtModifier::Time(t_ms));
        }
        let is_fixed = is_within[index] || matches!(node.expr, Expr::Subquery { .. });
        for child in node.expr.children() {
            is_within[child.0 as usize] = is_fixed;
        }
    }
    Some(fixed.to_string())
}
