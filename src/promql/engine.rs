//! The engine: evaluates a parsed query at one time or over a range.
//!
//! The tree is walked in the order of the arena, children first, without recursion. Every
//! operator takes and gives whole columns; see [`super::columns`].

use std::fmt;
use std::num::NonZero;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::ast::{Ast, ValueType};
use super::budget::{Budget, STEPS_PER_LOOK};
use super::columns::{Column, Grid, Operand, SameLabelset, Sample, Series, Vector};
use super::cores::Cores;
use super::evaluator::Evaluator;
use super::plan::Plan;
use super::spread::Helpers;
use super::tally::{Tallies, WHOLE};
use super::windows::Windows;
use crate::model::{FloatHistogram, Labels, Samples};
use crate::select::{
    Account, Cancellation, LimitReached, MemoryPool, Queryable, SAMPLE_BYTES, SelectError, Stopped,
    sort_by,
};

/// Bytes that a series of a result counts as besides its labels and samples.
pub(super) const SERIES_BYTES: usize = 128;

/// What holds for all queries.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// How far a selector looks back for a sample, in milliseconds.
    pub lookback_delta_ms: i64,
    /// Most samples that one query may hold in memory at a time.
    pub max_samples: usize,
    /// Most series that one selector of a query may select.
    pub max_series: u64,
    /// Most bytes that one query may hold in memory at a time.
    pub memory_bytes_max: u64,
    /// What all queries may hold together.
    pub memory: Arc<MemoryPool>,
    /// Longest time that one query may take.
    pub timeout: Duration,
    /// Step of a subquery without one, in milliseconds: the global evaluation interval.
    pub subquery_step_ms: i64,
    /// Drop metric names at the end of the query instead of at each operator.
    pub delayed_name_removal: bool,
    /// Let `rate`, `increase`, `irate` and `resets` look at when counters began to count, and
    /// `start_timestamp` tell it.
    pub use_start_timestamps: bool,
    /// Series carry the metric's type as a label: it, and not the name, tells whether `rate` and
    /// `increase` are given a counter.
    pub type_and_unit_labels: bool,
    /// Count samples for each step, where a query asks for it.
    pub per_step_stats: bool,
    /// Threads that all queries together may use beside those that ask them.
    pub helpers_max: usize,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            lookback_delta_ms: 5 * 60 * 1000,
            max_samples: 50_000_000,
            max_series: 10_000_000,
            memory_bytes_max: 2 << 30,
            memory: Arc::default(),
            timeout: Duration::from_mins(2),
            subquery_step_ms: 60 * 1000,
            delayed_name_removal: false,
            use_start_timestamps: false,
            type_and_unit_labels: false,
            per_step_stats: false,
            // Whoever asks is one.
            helpers_max: std::thread::available_parallelism().map_or(0, |cores| cores.get() - 1),
        }
    }
}

/// What one query asks for beyond its text.
#[derive(Debug, Clone, Default)]
pub struct QueryOptions {
    /// Instead of the engine's.
    pub lookback_delta_ms: Option<i64>,
    /// Instead of the engine's, if shorter.
    pub timeout: Option<Duration>,
    /// Count samples for each step, if the engine does so.
    pub per_step_stats: bool,
}

/// A query: the parsed tree, and the text that positions in warnings refer to.
#[derive(Debug, Clone, Copy)]
pub struct Query<'a> {
    /// The text as it was sent.
    pub text: &'a str,
    /// What the parser made of it.
    pub ast: &'a Ast,
}

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub struct QueryResult {
    /// The result.
    pub value: Value,
    /// Warnings as the API shows them.
    pub warnings: Vec<String>,
    /// Infos as the API shows them.
    pub infos: Vec<String>,
    /// What it cost.
    pub stats: QueryStats,
}

/// A query's result.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A number and the evaluation time in milliseconds.
    Scalar {
        /// Evaluation time.
        t_ms: i64,
        /// The number.
        value: f64,
    },
    /// A string literal and the evaluation time in milliseconds.
    String {
        /// Evaluation time.
        t_ms: i64,
        /// The string.
        value: String,
    },
    /// One sample for each series, all at the evaluation time; in the order that the query asks
    /// for.
    Vector(Vec<VectorSample>),
    /// Samples of each series; series in ascending order of labels.
    Matrix(Vec<MatrixSeries>),
}

impl Value {
    /// The type, as the API's `resultType` has it.
    pub fn value_type(&self) -> ValueType {
        match self {
            Self::Scalar { .. } => ValueType::Scalar,
            Self::String { .. } => ValueType::String,
            Self::Vector(_) => ValueType::Vector,
            Self::Matrix(_) => ValueType::Matrix,
        }
    }

    /// Bytes that it counts as where memory is bounded.
    pub fn bytes(&self) -> u64 {
        let histogram = |histogram: &Arc<FloatHistogram>| histogram.samples() as u64;
        let labels = |labels: &Labels| (labels.as_bytes().len() + SERIES_BYTES) as u64;
        match self {
            Self::Scalar { .. } => SAMPLE_BYTES,
            Self::String { value, .. } => value.len() as u64,
            Self::Vector(vector) => {
                let of = |sample: &VectorSample| {
                    let samples = 1 + sample.histogram.as_ref().map_or(0, histogram);
                    labels(&sample.labels) + samples * SAMPLE_BYTES
                };
                vector.iter().map(of).sum()
            }
            Self::Matrix(matrix) => {
                let of = |series: &MatrixSeries| {
                    let histograms = series.histograms.iter().map(|(_, h)| 1 + histogram(h));
                    let samples = series.samples.len() as u64 + histograms.sum::<u64>();
                    labels(&series.labels) + samples * SAMPLE_BYTES
                };
                matrix.iter().map(of).sum()
            }
        }
    }
}

/// One element of an instant vector.
#[derive(Debug, Clone, PartialEq)]
pub struct VectorSample {
    /// The series' labels.
    pub labels: Labels,
    /// Evaluation time in milliseconds.
    pub t_ms: i64,
    /// The value, where it is a float.
    pub value: f64,
    /// The value, where it is a native histogram.
    pub histogram: Option<Arc<FloatHistogram>>,
}

/// One series of a matrix.
#[derive(Debug, Clone, PartialEq)]
pub struct MatrixSeries {
    /// The series' labels.
    pub labels: Labels,
    /// Its floats.
    pub samples: Samples,
    /// Its native histograms with their times in milliseconds, ascending. There is one, or a
    /// float.
    pub histograms: Vec<(i64, Arc<FloatHistogram>)>,
}

impl MatrixSeries {
    /// A column's values with their times.
    pub(super) fn of_column(
        labels: Labels,
        column: Column,
        grid: Grid,
        budget: &Budget<'_>,
    ) -> Result<Self, QueryError> {
        if column.valid.is_all() && !column.has_histograms() {
            let mut timestamps = Vec::with_capacity(grid.steps);
            budget.in_pieces(grid.steps, |steps| {
                timestamps.extend(steps.map(|step| grid.time_ms(step)));
            })?;
            let samples = Samples { timestamps, values: column.values, ..Samples::default() };
            return Ok(Self { labels, samples, histograms: Vec::new() });
        }
        let histograms = column.samples().filter_map(|(step, sample)| match sample {
            Sample::Histogram(histogram) => Some((grid.time_ms(step), Arc::clone(histogram))),
            Sample::Float(_) => None,
        });
        let histograms = if column.has_histograms() { histograms.collect() } else { Vec::new() };
        let count = column.valid.count() - histograms.len();
        let mut samples = Samples {
            timestamps: Vec::with_capacity(count),
            values: Vec::with_capacity(count),
            ..Samples::default()
        };
        for (nth, (step, value)) in column.iter().enumerate() {
            if nth % STEPS_PER_LOOK == STEPS_PER_LOOK - 1 {
                budget.look()?;
            }
            samples.push(grid.time_ms(step), value);
        }
        Ok(Self { labels, samples, histograms })
    }

    /// The samples of a window as they are.
    pub(super) fn of_window(labels: Labels, mut window: Windows) -> Self {
        if !window.has_histograms() {
            let samples = std::mem::take(window.samples_mut());
            return Self { labels, samples, histograms: Vec::new() };
        }
        let histograms = window.histograms().map(|(t_ms, h)| (t_ms, Arc::clone(h))).collect();
        let samples = std::mem::take(window.floats().samples_mut());
        Self { labels, samples, histograms }
    }
}

/// What a query cost.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct QueryStats {
    /// Samples that selectors looked at, summed over the steps.
    pub total_queryable_samples: u64,
    /// Samples that selectors read: of windows that overlap each sample once.
    pub samples_read: u64,
    /// Most samples held in memory at a time.
    pub peak_samples: u64,
    /// Time, looked at and read of each step, where that was asked for.
    pub steps: Vec<StepStats>,
    /// How long it took to find the series.
    pub prepare_time: Duration,
    /// How long it took to sort the result.
    pub sort_time: Duration,
}

/// What one step of a query cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepStats {
    /// Its time in milliseconds.
    pub t_ms: i64,
    /// Samples that selectors looked at for it.
    pub total_queryable_samples: u64,
    /// Samples that they read for it and not for the steps before.
    pub samples_read: u64,
}

/// Why a query has no answer.
#[derive(Debug)]
#[non_exhaustive]
pub enum QueryError {
    /// It would take more than it may.
    Limit(LimitReached),
    /// Its time is over.
    TimedOut,
    /// Nobody waits for it.
    Canceled,
    /// Reading failed.
    Select(SelectError),
    /// The query cannot be evaluated on this data, or at all.
    Execution(String),
    /// A duration that the query computes is none.
    Duration(String),
}

impl QueryError {
    /// An error of evaluation.
    pub fn execution(text: impl Into<String>) -> Self {
        Self::Execution(text.into())
    }
}

/// COMPAT: texts that clients see.
impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limit(reached) => fmt::Display::fmt(reached, f),
            Self::TimedOut => f.write_str("query timed out in expression evaluation"),
            Self::Canceled => f.write_str("query was canceled in expression evaluation"),
            Self::Select(error) => write!(f, "expanding series: {error}"),
            Self::Execution(text) | Self::Duration(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for QueryError {}

impl From<Stopped> for QueryError {
    fn from(stopped: Stopped) -> Self {
        match stopped {
            Stopped::Canceled => Self::Canceled,
            Stopped::TimedOut => Self::TimedOut,
        }
    }
}

impl From<LimitReached> for QueryError {
    fn from(reached: LimitReached) -> Self {
        Self::Limit(reached)
    }
}

impl From<SameLabelset> for QueryError {
    fn from(SameLabelset: SameLabelset) -> Self {
        Self::execution("vector cannot contain metrics with the same labelset")
    }
}

impl From<SelectError> for QueryError {
    fn from(error: SelectError) -> Self {
        match error {
            SelectError::Stopped(stopped) => stopped.into(),
            SelectError::Limit(reached) => reached.into(),
            error @ SelectError::Storage(_) => Self::Select(error),
        }
    }
}

/// Evaluates queries. Has no state but its options and its threads.
#[derive(Debug, Clone)]
pub struct Engine {
    options: EngineOptions,
    helpers: Arc<Helpers>,
    cores: Arc<Cores>,
}

impl Default for Engine {
    fn default() -> Self {
        Self::new(EngineOptions::default())
    }
}

impl Engine {
    /// An engine.
    pub fn new(options: EngineOptions) -> Self {
        let helpers = Arc::new(Helpers::new(options.helpers_max));
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        Self { options, helpers, cores: Arc::new(Cores::new(cores)) }
    }

    /// The options it was made with.
    pub fn options(&self) -> &EngineOptions {
        &self.options
    }

    /// Evaluates `query` at `t_ms`.
    pub fn instant(
        &self,
        source: &dyn Queryable,
        query: Query<'_>,
        t_ms: i64,
        options: &QueryOptions,
        cancellation: &Cancellation,
    ) -> Result<QueryResult, QueryError> {
        let range = QueryRange { start_ms: t_ms, end_ms: t_ms, step_ms: 1 };
        // A query of one time has no step.
        let ast = query.ast.resolve(range, 0).map_err(QueryError::Duration)?;
        let query = Query { ast: &ast, ..query };
        let cancellation = self.bounded(options, cancellation);
        let mut evaluator = self.evaluator(source, query.ast, range, options, &cancellation)?;
        evaluator.run()?;
        let root = query.ast.root;
        let value = if query.ast.node(root).value_type == ValueType::Matrix {
            Value::Matrix(evaluator.matrix(root)?)
        } else {
            match evaluator.take(root, Grid::instant(t_ms))? {
                Operand::Scalar(column) => Value::Scalar { t_ms, value: column.values[0] },
                Operand::String(value) => Value::String { t_ms, value },
                Operand::Vector(vector) => {
                    Value::Vector(at_one_time(evaluator.without_names(vector)?, t_ms, &evaluator)?)
                }
            }
        };
        Ok(finish(&evaluator, query, value))
    }

    /// Evaluates `query` at `start_ms`, `start_ms + step_ms` … up to `end_ms`.
    pub fn range(
        &self,
        source: &dyn Queryable,
        query: Query<'_>,
        range: QueryRange,
        options: &QueryOptions,
        cancellation: &Cancellation,
    ) -> Result<QueryResult, QueryError> {
        let root = query.ast.root;
        let value_type = query.ast.node(root).value_type;
        if !matches!(value_type, ValueType::Vector | ValueType::Scalar) {
            let name = match value_type {
                ValueType::Matrix => "range vector",
                other => other.as_str(),
            };
            return Err(QueryError::execution(format!(
                "invalid expression type {name:?} for range query, must be Scalar or instant Vector"
            )));
        }
        if range.step_ms <= 0 {
            return Err(QueryError::execution("the step of a range query must be above zero"));
        }
        let ast = query.ast.resolve(range, range.step_ms).map_err(QueryError::Duration)?;
        let query = Query { ast: &ast, ..query };
        let cancellation = self.bounded(options, cancellation);
        let mut evaluator = self.evaluator(source, query.ast, range, options, &cancellation)?;
        evaluator.run()?;
        let grid = Grid::new(range.start_ms, range.end_ms, range.step_ms);
        let mut vector = match evaluator.take(root, grid)? {
            Operand::Scalar(column) => Vector {
                series: vec![Series { labels: Labels::empty(), drop_name: false, column }],
            },
            Operand::Vector(vector) => evaluator.without_names(vector)?,
            Operand::String(_) => unreachable!("BUG: the type was checked"),
        };
        vector.drop_empty();
        let began = Instant::now();
        sort_by(&mut vector.series, &|| cancellation.check(), |a, b| a.labels.cmp(&b.labels))?;
        let sort_time = began.elapsed();
        let mut matrix = Vec::with_capacity(vector.series.len());
        for Series { labels, column, .. } in vector.series {
            evaluator.budget.check_time()?;
            matrix.push(MatrixSeries::of_column(labels, column, grid, &evaluator.budget)?);
        }
        let value = Value::Matrix(matrix);
        let mut result = finish(&evaluator, query, value);
        result.stats.sort_time = sort_time;
        Ok(result)
    }

    /// An account for one query, or for other work that holds series.
    pub fn account(&self) -> Arc<Account> {
        let EngineOptions { memory, memory_bytes_max, max_series, .. } = &self.options;
        Arc::new(Account::new(Arc::clone(memory), *memory_bytes_max, *max_series))
    }

    /// What ends when the time of a query does, and has an account if there was none.
    fn bounded(&self, options: &QueryOptions, cancellation: &Cancellation) -> Cancellation {
        let timeout = options.timeout.unwrap_or(Duration::MAX).min(self.options.timeout);
        let bounded = cancellation.until(Instant::now().checked_add(timeout));
        if bounded.account().is_some() { bounded } else { bounded.within(self.account()) }
    }

    fn evaluator<'a>(
        &'a self,
        source: &'a dyn Queryable,
        ast: &'a Ast,
        range: QueryRange,
        options: &QueryOptions,
        cancellation: &'a Cancellation,
    ) -> Result<Evaluator<'a>, QueryError> {
        let lookback_ms = options
            .lookback_delta_ms
            .filter(|lookback_ms| *lookback_ms > 0)
            .unwrap_or(self.options.lookback_delta_ms);
        let plan = Plan::new(ast, range, self.options.subquery_step_ms);
        let by_step = self.options.per_step_stats && options.per_step_stats;
        let tallies = Tallies::charged(&plan.scopes, by_step, cancellation)?;
        Ok(Evaluator::new(
            ast,
            plan,
            source,
            Budget::new(self.options.max_samples, tallies, cancellation).taking_turns(&self.cores),
            lookback_ms,
            (&self.options, &self.helpers),
        ))
    }
}

/// The samples of a vector over one step.
fn at_one_time(
    vector: Vector,
    t_ms: i64,
    evaluator: &Evaluator<'_>,
) -> Result<Vec<VectorSample>, QueryError> {
    let mut samples = Vec::with_capacity(vector.series.len());
    for Series { labels, mut column, .. } in vector.series {
        evaluator.budget.check_time()?;
        // A sum of floats and histograms leaves a series without a value.
        if column.valid.get(0) {
            let (value, histogram) = (column.values[0], column.histograms.pop().flatten());
            samples.push(VectorSample { labels, t_ms, value, histogram });
        }
    }
    Ok(samples)
}

fn finish(evaluator: &Evaluator<'_>, query: Query<'_>, value: Value) -> QueryResult {
    let (warnings, infos) = evaluator.annotations.borrow().render(query.text);
    let (whole, steps) = evaluator.budget.tallies().sum_up();
    let grid = evaluator.plan.scopes[WHOLE].grid;
    let steps = steps.into_iter().enumerate().map(|(step, counted)| StepStats {
        t_ms: grid.time_ms(step),
        total_queryable_samples: counted.looked_at,
        samples_read: counted.read,
    });
    let stats = QueryStats {
        total_queryable_samples: whole.looked_at,
        samples_read: whole.read,
        peak_samples: evaluator.budget.peak() as u64,
        steps: steps.collect(),
        prepare_time: evaluator.prepare_time,
        sort_time: Duration::ZERO,
    };
    QueryResult { value, warnings, infos, stats }
}

/// The times of a range query, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueryRange {
    /// First time.
    pub start_ms: i64,
    /// No time is after this.
    pub end_ms: i64,
    /// Distance of two times, above zero.
    pub step_ms: i64,
}
