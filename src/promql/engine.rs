//! The engine: evaluates a parsed query at one time or over a range.
//!
//! The tree is walked in the order of the arena, children first, without recursion. Every
//! operator takes and gives whole columns; see [`super::columns`].

use std::fmt;
use std::time::Duration;

use super::ast::{Ast, ValueType};
use crate::model::{Labels, Samples};
use crate::select::{Cancellation, Queryable, SelectError, Stopped};

/// What holds for all queries.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// How far a selector looks back for a sample, in milliseconds.
    pub lookback_delta_ms: i64,
    /// Most samples that one query may hold in memory at a time.
    pub max_samples: usize,
    /// Longest time that one query may take.
    pub timeout: Duration,
    /// Step of a subquery without one, in milliseconds: the global evaluation interval.
    pub subquery_step_ms: i64,
    /// Drop metric names at the end of the query instead of at each operator.
    pub delayed_name_removal: bool,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            lookback_delta_ms: 5 * 60 * 1000,
            max_samples: 50_000_000,
            timeout: Duration::from_mins(2),
            subquery_step_ms: 60 * 1000,
            delayed_name_removal: false,
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
}

/// One element of an instant vector.
#[derive(Debug, Clone, PartialEq)]
pub struct VectorSample {
    /// The series' labels.
    pub labels: Labels,
    /// Evaluation time in milliseconds.
    pub t_ms: i64,
    /// The value.
    pub value: f64,
}

/// One series of a matrix.
#[derive(Debug, Clone, PartialEq)]
pub struct MatrixSeries {
    /// The series' labels.
    pub labels: Labels,
    /// Its samples; at least one.
    pub samples: Samples,
}

/// What a query cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QueryStats {
    /// Samples that selectors looked at, summed over the steps.
    pub total_queryable_samples: u64,
    /// Most samples held in memory at a time.
    pub peak_samples: u64,
}

/// Why a query has no answer.
#[derive(Debug)]
#[non_exhaustive]
pub enum QueryError {
    /// It would hold more samples than allowed.
    TooManySamples,
    /// Its time is over.
    TimedOut,
    /// Nobody waits for it.
    Canceled,
    /// Reading failed.
    Select(SelectError),
    /// The query cannot be evaluated on this data, or at all.
    Execution(String),
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
            Self::TooManySamples => f.write_str(
                "query processing would load too many samples into memory in query execution",
            ),
            Self::TimedOut => f.write_str("query timed out in expression evaluation"),
            Self::Canceled => f.write_str("query was canceled in expression evaluation"),
            Self::Select(error) => write!(f, "expanding series: {error}"),
            Self::Execution(text) => f.write_str(text),
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

impl From<SelectError> for QueryError {
    fn from(error: SelectError) -> Self {
        match error {
            SelectError::Stopped(stopped) => stopped.into(),
            error @ SelectError::Storage(_) => Self::Select(error),
        }
    }
}

/// Evaluates queries. Has no state but its options.
#[derive(Debug, Clone, Default)]
pub struct Engine {
    options: EngineOptions,
}

impl Engine {
    /// An engine.
    pub fn new(options: EngineOptions) -> Self {
        Self { options }
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
        let _ = (source, query, t_ms, options, cancellation);
        Err(QueryError::execution("the evaluator is not built yet"))
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
        let _ = (source, query, range, options, cancellation);
        Err(QueryError::execution("the evaluator is not built yet"))
    }
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
