//! The syntax tree of a query, in an arena.
//!
//! INVARIANT: a node's children have lower ids than the node, and every node but the root has
//! exactly one parent. Walking `nodes` from the front therefore visits children first, without
//! recursion, and dropping a tree of any depth is flat.

use super::duration_expr::{DurationId, DurationNode};
use crate::model::Matcher;

/// Index of a node in its [`Ast`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub u32);

/// Byte positions in the query's text, `start` included, `end` not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

/// A parsed and type-checked query.
#[derive(Debug, Clone)]
pub struct Ast {
    /// All nodes, children before parents.
    pub nodes: Vec<Node>,
    /// The whole expression; the last node.
    pub root: NodeId,
    /// Parts of durations that are computed, children before parents.
    pub durations: Vec<DurationNode>,
}

impl Ast {
    /// The node with this id.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }

    /// The expression of the node with this id.
    pub fn expr(&self, id: NodeId) -> &Expr {
        &self.node(id).expr
    }
}

/// One node.
#[derive(Debug, Clone)]
pub struct Node {
    /// What it is.
    pub expr: Expr,
    /// Where it stands in the text.
    pub span: Span,
    /// The type of its result.
    pub value_type: ValueType,
}

/// The four types of the language.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ValueType {
    /// One number for each step.
    Scalar,
    /// A string literal.
    String,
    /// Series with one sample each for each step.
    Vector,
    /// Series with a window of samples each for each step.
    Matrix,
}

impl ValueType {
    /// The name in the API's `resultType` and in the parser's messages ("instant vector" there).
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::String => "string",
            Self::Vector => "vector",
            Self::Matrix => "matrix",
        }
    }

    /// The name in messages to people.
    pub fn documented(self) -> &'static str {
        match self {
            Self::Vector => "instant vector",
            Self::Matrix => "range vector",
            Self::Scalar | Self::String => self.as_str(),
        }
    }
}

/// The kinds of expression.
#[derive(Debug, Clone)]
pub enum Expr {
    /// A number.
    Number {
        /// Its value; for a duration that stands where a number does, seconds.
        value: f64,
        /// Written as a duration; printing keeps the spelling.
        is_duration: bool,
    },
    /// A string, escapes resolved.
    String(String),
    /// A string that is no UTF-8 once its escapes are resolved.
    Bytes(Vec<u8>),
    /// An instant selector.
    Selector(Selector),
    /// A range selector: the instant selector's node, and the window in milliseconds.
    Window {
        /// A [`Expr::Selector`].
        selector: NodeId,
        /// Length of the window in milliseconds; 0 where less than one was written, or where it
        /// is computed.
        range_ms: i64,
        /// What computes the length.
        range_expr: Option<DurationId>,
    },
    /// `expr[range:step]`.
    Subquery {
        /// The inner expression.
        expr: NodeId,
        /// Length of the window in milliseconds; 0 where less than one was written, or where it
        /// is computed.
        range_ms: i64,
        /// What computes the length.
        range_expr: Option<DurationId>,
        /// Distance of inner steps in milliseconds; `None` is the default step.
        step_ms: Option<i64>,
        /// What computes the distance.
        step_expr: Option<DurationId>,
        /// Shift of the whole.
        modifiers: TimeModifiers,
    },
    /// A function call.
    Call {
        /// The function.
        function: &'static Function,
        /// Arguments, in order.
        args: Vec<NodeId>,
    },
    /// An aggregation.
    Aggregate {
        /// The operator.
        op: AggregateOp,
        /// The vector aggregated.
        expr: NodeId,
        /// First argument of `topk`, `quantile`, `count_values` …
        param: Option<NodeId>,
        /// Label names of the clause.
        grouping: Vec<String>,
        /// `without` instead of `by`.
        without: bool,
    },
    /// A binary operation.
    Binary {
        /// The operator.
        op: BinaryOp,
        /// Left operand.
        lhs: NodeId,
        /// Right operand.
        rhs: NodeId,
        /// The `bool` modifier of comparisons.
        return_bool: bool,
        /// How series are paired; only where both sides are vectors.
        matching: Option<VectorMatching>,
    },
    /// Unary minus or plus.
    Unary {
        /// Minus rather than plus.
        negate: bool,
        /// The operand.
        expr: NodeId,
    },
    /// Parentheses.
    Paren(NodeId),
}

impl Expr {
    /// The nodes it is made of, in the order of the text.
    pub fn children(&self) -> impl Iterator<Item = NodeId> + use<> {
        let (pair, list): ([Option<NodeId>; 2], Vec<NodeId>) = match self {
            Self::Number { .. } | Self::String(_) | Self::Bytes(_) | Self::Selector(_) => {
                ([None; 2], Vec::new())
            }
            Self::Window { selector: child, .. }
            | Self::Subquery { expr: child, .. }
            | Self::Unary { expr: child, .. }
            | Self::Paren(child) => ([Some(*child), None], Vec::new()),
            Self::Aggregate { expr, param, .. } => ([*param, Some(*expr)], Vec::new()),
            Self::Binary { lhs, rhs, .. } => ([Some(*lhs), Some(*rhs)], Vec::new()),
            Self::Call { args, .. } => ([None; 2], args.clone()),
        };
        pair.into_iter().flatten().chain(list)
    }
}

/// An instant selector.
#[derive(Debug, Clone, PartialEq)]
pub struct Selector {
    /// The metric name if it was written in front of the braces (or alone). It stands among
    /// `matchers` too.
    pub name: Option<String>,
    /// All conditions, the name's included.
    pub matchers: Vec<Matcher>,
    /// `offset` and `@`.
    pub modifiers: TimeModifiers,
    /// `anchored` or `smoothed`.
    pub extension: Option<Extension>,
}

/// How a selector goes on beyond the samples in its window (experimental).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Extension {
    /// `anchored`: the last sample before the window counts as its left edge.
    Anchored,
    /// `smoothed`: values at both edges are interpolated.
    Smoothed,
}

impl Extension {
    /// The word as PromQL writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Anchored => "anchored",
            Self::Smoothed => "smoothed",
        }
    }
}

/// `offset` and `@` of a selector or a subquery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TimeModifiers {
    /// Milliseconds into the past; negative looks forward; 0 where it is computed.
    pub offset_ms: i64,
    /// What computes the offset.
    pub offset_expr: Option<DurationId>,
    /// The fixed evaluation time.
    pub at: Option<AtModifier>,
}

impl TimeModifiers {
    /// Whether there is an offset other than zero, written or computed.
    pub fn has_offset(&self) -> bool {
        self.offset_ms != 0 || self.offset_expr.is_some()
    }
}

/// What stands behind `@`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtModifier {
    /// A time in milliseconds.
    Time(i64),
    /// `start()`
    Start,
    /// `end()`
    End,
}

/// Binary operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BinaryOp {
    /// `+`
    Add,
    /// `-`
    Sub,
    /// `*`
    Mul,
    /// `/`
    Div,
    /// `%`
    Mod,
    /// `^`
    Pow,
    /// `atan2`
    Atan2,
    /// `==`
    Eql,
    /// `!=`
    Neq,
    /// `>`
    Gtr,
    /// `<`
    Lss,
    /// `>=`
    Gte,
    /// `<=`
    Lte,
    /// `</`
    TrimUpper,
    /// `>/`
    TrimLower,
    /// `and`
    And,
    /// `or`
    Or,
    /// `unless`
    Unless,
}

impl BinaryOp {
    /// The operator as PromQL writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::Mod => "%",
            Self::Pow => "^",
            Self::Atan2 => "atan2",
            Self::Eql => "==",
            Self::Neq => "!=",
            Self::Gtr => ">",
            Self::Lss => "<",
            Self::Gte => ">=",
            Self::Lte => "<=",
            Self::TrimUpper => "</",
            Self::TrimLower => ">/",
            Self::And => "and",
            Self::Or => "or",
            Self::Unless => "unless",
        }
    }

    /// `==`, `!=`, `>`, `<`, `>=`, `<=`
    pub fn is_comparison(self) -> bool {
        use BinaryOp::{Eql, Gte, Gtr, Lss, Lte, Neq};
        matches!(self, Eql | Neq | Gtr | Lss | Gte | Lte)
    }

    /// `</`, `>/`: they cut native histograms.
    pub fn is_trim(self) -> bool {
        matches!(self, Self::TrimUpper | Self::TrimLower)
    }

    /// Whether the result is another quantity than the operands, so that their name goes.
    pub fn changes_quantity(self) -> bool {
        !self.is_comparison() && !self.is_trim() && !self.is_set()
    }

    /// `and`, `or`, `unless`
    pub fn is_set(self) -> bool {
        matches!(self, Self::And | Self::Or | Self::Unless)
    }
}

/// Aggregation operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AggregateOp {
    /// `sum`
    Sum,
    /// `avg`
    Avg,
    /// `min`
    Min,
    /// `max`
    Max,
    /// `count`
    Count,
    /// `group`
    Group,
    /// `stddev`
    Stddev,
    /// `stdvar`
    Stdvar,
    /// `topk`
    Topk,
    /// `bottomk`
    Bottomk,
    /// `count_values`
    CountValues,
    /// `quantile`
    Quantile,
    /// `limitk` (experimental)
    Limitk,
    /// `limit_ratio` (experimental)
    LimitRatio,
}

impl AggregateOp {
    const ALL: [Self; 14] = [
        Self::Sum,
        Self::Avg,
        Self::Min,
        Self::Max,
        Self::Count,
        Self::Group,
        Self::Stddev,
        Self::Stdvar,
        Self::Topk,
        Self::Bottomk,
        Self::CountValues,
        Self::Quantile,
        Self::Limitk,
        Self::LimitRatio,
    ];

    /// The operator of this name in lower case.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|op| op.as_str() == name)
    }

    /// The operator as PromQL writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Avg => "avg",
            Self::Min => "min",
            Self::Max => "max",
            Self::Count => "count",
            Self::Group => "group",
            Self::Stddev => "stddev",
            Self::Stdvar => "stdvar",
            Self::Topk => "topk",
            Self::Bottomk => "bottomk",
            Self::CountValues => "count_values",
            Self::Quantile => "quantile",
            Self::Limitk => "limitk",
            Self::LimitRatio => "limit_ratio",
        }
    }

    /// Whether it takes a parameter in front of the vector.
    pub fn has_param(self) -> bool {
        matches!(
            self,
            Self::Topk
                | Self::Bottomk
                | Self::CountValues
                | Self::Quantile
                | Self::Limitk
                | Self::LimitRatio
        )
    }

    /// Whether it stands behind `promql-experimental-functions`.
    pub fn is_experimental(self) -> bool {
        matches!(self, Self::Limitk | Self::LimitRatio)
    }
}

/// How many series of each side may belong to one match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cardinality {
    /// Neither side more than one.
    OneToOne,
    /// `group_left`: the left side may have many.
    ManyToOne,
    /// `group_right`: the right side may have many.
    OneToMany,
    /// Set operators.
    ManyToMany,
}

/// The pairing clause of a binary operation between vectors.
#[derive(Debug, Clone, PartialEq)]
pub struct VectorMatching {
    /// Cardinality of the match.
    pub cardinality: Cardinality,
    /// Labels of `on` or `ignoring`.
    pub labels: Vec<String>,
    /// `on` rather than `ignoring`.
    pub on: bool,
    /// Labels that `group_left` or `group_right` copies from the one side.
    pub include: Vec<String>,
    /// What stands in for series that one side lacks.
    pub fill: Fill,
}

/// Values of `fill`, `fill_left`, `fill_right` (experimental).
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Fill {
    /// For a series that the left side lacks.
    pub left: Option<f64>,
    /// For a series that the right side lacks.
    pub right: Option<f64>,
}

impl Fill {
    /// Whether nothing is filled in.
    pub fn is_none(&self) -> bool {
        self.left.is_none() && self.right.is_none()
    }
}

/// A function's signature.
#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: &'static str,
    /// Types of the arguments; the last one repeats where `variadic` says so.
    pub args: &'static [ValueType],
    /// 0: exactly `args.len()` arguments. n > 0: up to n of the last ones may be left out.
    /// -1: the last one may stand any number of times, also not at all. COMPAT: as in
    /// Prometheus's function table.
    pub variadic: i32,
    /// Type of the result.
    pub result: ValueType,
    /// Behind `promql-experimental-functions`.
    pub experimental: bool,
}
