//! Functions by name, and what an implementation is given.
//!
//! A function is one of three kinds ([`Implementation`]): a map of one series' values, which the
//! engine fuses into aggregations and applies in place; a function of whole operands; a function
//! of windows ([`window::WindowFunction`]). Each file of this folder has a `lookup` from name to
//! implementation.

pub(crate) mod absent;
mod calendar;
pub mod elementary;
mod exact;
pub(crate) mod extended;
pub(crate) mod extended_mixed;
mod histogram;
pub mod interpolate;
mod label;
mod lanes;
mod line;
mod math;
mod mixed;
mod native;
mod over_time;
pub mod power;
mod rate;
mod rate_histogram;
pub(crate) mod regression;
mod scalar;
mod sort;
pub mod window;

pub(crate) use math::{larger, smaller};

use super::annotations::Annotations;
use super::ast::{Ast, Expr, NodeId, Span};
use super::budget::Budget;
use super::columns::{Column, Grid, Operand, Vector};
use super::engine::QueryError;
use super::plan::unwrap_parens;

/// How a function is evaluated.
#[derive(Debug, Clone, Copy)]
pub enum Implementation {
    /// The first argument is a vector, all others are scalars. Each value becomes another value
    /// of the same series (or none), the metric name goes; the engine does both the walk and
    /// the dropping of the name.
    Map(MapFunction),
    /// A function of the arguments' operands. The engine joins series of equal labels in the
    /// result and drops those without values.
    Operands(OperandsFunction),
}

/// Changes one series' column in place; `scalars` are the arguments behind the vector. Slots
/// without a value may be changed freely.
pub type MapFunction = fn(column: &mut Column, scalars: &[Column]);

/// See [`Call`].
pub type OperandsFunction = fn(call: &mut Call<'_>) -> Result<Operand, QueryError>;

/// One function call, arguments evaluated.
#[derive(Debug)]
pub struct Call<'a> {
    /// The query.
    pub ast: &'a Ast,
    /// The call's node.
    pub node: NodeId,
    /// Evaluated arguments, in order; a matrix argument stands as an empty vector.
    pub operands: Vec<Operand>,
    /// The steps.
    pub grid: Grid,
    /// Whether metric names are dropped at the end of the query rather than at once.
    pub delayed_name_removal: bool,
    /// What long work looks at.
    pub(in crate::promql) budget: &'a Budget<'a>,
    /// Where warnings go.
    pub annotations: &'a mut Annotations,
}

impl Call<'_> {
    /// The node of argument `index`.
    pub fn argument(&self, index: usize) -> NodeId {
        match self.ast.expr(self.node) {
            Expr::Call { args, .. } => args[index],
            _ => unreachable!("BUG: a call's node is a call"),
        }
    }

    /// Where argument `index` stands in the text, parentheses around it left out.
    pub fn argument_span(&self, index: usize) -> Span {
        self.ast.node(unwrap_parens(self.ast, self.argument(index))).span
    }

    /// Where the call stands in the text.
    pub fn span(&self) -> Span {
        self.ast.node(self.node).span
    }

    /// An error once the query should end; cheap enough for once per series.
    pub fn check(&self) -> Result<(), QueryError> {
        self.budget.check_time()
    }

    /// Takes the vector out of argument `index`.
    pub fn take_vector(&mut self, index: usize) -> Vector {
        match &mut self.operands[index] {
            Operand::Vector(vector) => std::mem::take(vector),
            _ => unreachable!("BUG: the parser checked the argument's type"),
        }
    }

    /// The scalar at argument `index`.
    pub fn scalar(&self, index: usize) -> &Column {
        match &self.operands[index] {
            Operand::Scalar(column) => column,
            _ => unreachable!("BUG: the parser checked the argument's type"),
        }
    }

    /// The string literal at argument `index`.
    pub fn string(&self, index: usize) -> &str {
        match &self.operands[index] {
            Operand::String(text) => text,
            _ => unreachable!("BUG: the parser checked the argument's type"),
        }
    }
}

/// The implementation of function `name`; `None` for window functions, for those that the engine
/// has a path of its own for, and for those it does not know.
pub fn implementation(name: &str) -> Option<Implementation> {
    let families = [
        math::lookup,
        scalar::lookup,
        label::lookup,
        histogram::lookup,
        native::lookup,
        calendar::lookup,
        sort::lookup,
        absent::lookup,
    ];
    families.iter().find_map(|lookup| lookup(name))
}

#[cfg(test)]
mod tests;
