//! Evaluation of one query: a walk over the arena, children first, that keeps each result until
//! its parent takes it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::annotations::Annotations;
use super::ast::{Ast, BinaryOp, Expr, NodeId, Selector, ValueType, VectorMatching};
use super::budget::Budget;
use super::calls::taken_by;
use super::columns::{Column, Grid, Operand, Series, Vector, without_name};
use super::engine::{EngineOptions, QueryError, SERIES_BYTES};
use super::extended::Overhang;
use super::operators::binary::VectorBinary;
use super::operators::set::{self, Union};
use super::operators::{aggregate::Aggregation, arithmetic};
use super::plan::{Plan, is_comparison};
use super::spread::{Crew, Helpers};
use super::stream::{ScalarStage, Stage};
use super::windows::SampleTimes;
use crate::model::TimeRange;
use crate::select::{Queryable, SeriesSet};

/// The state of one query's evaluation.
pub(super) struct Evaluator<'a> {
    pub ast: &'a Ast,
    pub plan: Plan,
    pub storage: &'a dyn Queryable,
    pub budget: Budget<'a>,
    pub annotations: RefCell<Annotations>,
    /// What series are computed with.
    pub crew: Crew<'a>,
    pub lookback_ms: i64,
    pub delayed_name_removal: bool,
    /// Whether functions of counters look at when counters began.
    pub use_start_timestamps: bool,
    /// Whether a metric's type is a label of its series.
    pub type_and_unit_labels: bool,
    /// What was selected so far: equal selectors over equal times share a selection.
    selections: HashMap<Vec<u8>, Arc<dyn SeriesSet>>,
    /// How long selecting took so far.
    pub prepare_time: Duration,
    results: Vec<Option<Kept>>,
    /// Charges of operands that the current node has taken: samples, and bytes besides.
    taken: (usize, u64),
}

/// A result that waits for its parent.
struct Kept {
    value: KeptValue,
    /// Samples, and bytes besides.
    charged: (usize, u64),
}

enum KeptValue {
    Operand(Operand),
    /// The result of an `or`, in the form that the next `or` of a chain goes on with.
    Union(Box<Union>),
}

impl<'a> Evaluator<'a> {
    pub(super) fn new(
        ast: &'a Ast,
        plan: Plan,
        storage: &'a dyn Queryable,
        budget: Budget<'a>,
        lookback_ms: i64,
        (options, helpers): (&EngineOptions, &'a Helpers),
    ) -> Self {
        Self {
            ast,
            plan,
            storage,
            budget,
            annotations: RefCell::default(),
            crew: Crew::new(helpers),
            lookback_ms,
            delayed_name_removal: options.delayed_name_removal,
            use_start_timestamps: options.use_start_timestamps,
            type_and_unit_labels: options.type_and_unit_labels,
            selections: HashMap::new(),
            prepare_time: Duration::ZERO,
            results: ast.nodes.iter().map(|_| None).collect(),
            taken: (0, 0),
        }
    }

    /// Evaluates all nodes that have a result of their own.
    pub(super) fn run(&mut self) -> Result<(), QueryError> {
        for index in 0..self.ast.nodes.len() {
            let id = NodeId(index as u32);
            let is_matrix = self.ast.node(id).value_type == ValueType::Matrix;
            if self.plan.node(id).fused || is_matrix {
                continue;
            }
            self.budget.check_time()?;
            let steps = self.plan.node(id).grid.steps;
            // Whatever the node is, it needs a column; no operator has to ask for its first.
            self.budget.ensure(1, steps)?;
            let value = self.evaluate(id)?;
            let charged = (value.slots(steps), value.label_bytes());
            let (samples, bytes) = std::mem::take(&mut self.taken);
            self.budget.release(samples);
            self.budget.release_bytes(bytes);
            self.budget.charge(charged.0)?;
            self.budget.charge_bytes(charged.1)?;
            self.results[index] = Some(Kept { value, charged });
        }
        Ok(())
    }

    fn evaluate(&mut self, id: NodeId) -> Result<KeptValue, QueryError> {
        let ast = self.ast;
        let grid = self.plan.node(id).grid;
        let operand = match ast.expr(id) {
            Expr::Number { value, .. } => {
                Operand::Scalar(self.budget.constant(grid.steps, *value)?)
            }
            Expr::String(text) => Operand::String(text.clone()),
            // Nothing that is not UTF-8 is a label's name or value.
            Expr::Bytes(bytes) => Operand::String(String::from_utf8_lossy(bytes).into_owned()),
            Expr::Selector(selector) => self.select_vector(id, selector, grid)?,
            Expr::Paren(inner) => self.take(*inner, grid)?,
            Expr::Unary { negate: false, expr } => self.take(*expr, grid)?,
            Expr::Unary { negate: true, expr } => match self.take(*expr, grid)? {
                Operand::Scalar(mut column) => {
                    let values = &mut column.values;
                    self.budget.in_pieces(values.len(), |steps| {
                        values[steps].iter_mut().for_each(|value| *value = -*value);
                    })?;
                    Operand::Scalar(column)
                }
                operand => {
                    let vector = self.apply_stage(&Stage::Negate, into_vector(operand))?;
                    Operand::Vector(vector)
                }
            },
            Expr::Call { .. } => self.call(id, grid)?,
            Expr::Aggregate { .. } => Operand::Vector(self.aggregate(id, grid)?),
            Expr::Binary { op: BinaryOp::Or, lhs, rhs, matching, .. } => {
                let matching = matching.as_ref().expect("BUG: set operators have a clause");
                return self.union(*lhs, *rhs, matching, grid);
            }
            Expr::Binary { .. } => self.binary(id, grid)?,
            Expr::Window { .. } | Expr::Subquery { .. } => {
                unreachable!("BUG: matrices are taken in by their consumers")
            }
        };
        Ok(KeptValue::Operand(operand))
    }

    /// Takes the result of `id` for a parent evaluated at `grid`.
    pub(super) fn take(&mut self, id: NodeId, grid: Grid) -> Result<Operand, QueryError> {
        let kept = self.results[id.0 as usize].take().expect("BUG: a child is evaluated first");
        self.note_taken(kept.charged);
        let mut operand = match kept.value {
            KeptValue::Operand(operand) => operand,
            KeptValue::Union(union) => Operand::Vector(union.into_vector()),
        };
        if self.plan.node(id).once {
            match &mut operand {
                Operand::Scalar(column) => {
                    self.budget.charge(grid.steps)?;
                    self.note_taken((grid.steps, 0));
                    *column = self.budget.repeated(column, grid.steps)?;
                }
                Operand::Vector(vector) => {
                    let slots = vector.series.len().saturating_mul(grid.steps);
                    self.budget.charge(slots)?;
                    self.note_taken((slots, 0));
                    for series in &mut vector.series {
                        self.budget.check_time()?;
                        series.column = self.budget.repeated(&series.column, grid.steps)?;
                    }
                }
                Operand::String(_) => {}
            }
        }
        Ok(operand)
    }

    pub(super) fn note_taken(&mut self, charged: (usize, u64)) {
        self.taken.0 += charged.0;
        self.taken.1 += charged.1;
    }

    pub(super) fn take_vector(&mut self, id: NodeId, grid: Grid) -> Result<Vector, QueryError> {
        Ok(into_vector(self.take(id, grid)?))
    }

    pub(super) fn take_scalar(&mut self, id: NodeId, grid: Grid) -> Result<Column, QueryError> {
        match self.take(id, grid)? {
            Operand::Scalar(column) => Ok(column),
            _ => unreachable!("BUG: the parser checked types"),
        }
    }

    /// The series of a selector over the times it needs.
    pub(super) fn select(
        &mut self,
        selector: &Selector,
        range: TimeRange,
    ) -> Result<Arc<dyn SeriesSet>, QueryError> {
        let key = selection_key(selector, range);
        if let Some(set) = self.selections.get(&key) {
            return Ok(Arc::clone(set));
        }
        let cancellation = self.budget.cancellation();
        let began = Instant::now();
        let set: Arc<dyn SeriesSet> =
            Arc::from(self.storage.select(&selector.matchers, range, cancellation)?);
        self.prepare_time += began.elapsed();
        for warning in set.warnings() {
            self.annotations.get_mut().warn_raw(warning);
        }
        self.selections.insert(key, Arc::clone(&set));
        Ok(set)
    }

    /// When a selector looks.
    pub(super) fn sample_times(&self, selector: &Selector, grid: Grid) -> SampleTimes {
        SampleTimes {
            grid,
            offset_ms: selector.modifiers.offset_ms,
            fixed_ms: self.plan.fixed_ms(selector.modifiers),
        }
    }

    fn select_vector(
        &mut self,
        id: NodeId,
        selector: &Selector,
        grid: Grid,
    ) -> Result<Operand, QueryError> {
        let times = self.sample_times(selector, grid);
        let overhang = Overhang::of_instant(selector.extension, self.lookback_ms);
        let Some(range) = times.touched(self.lookback_ms, overhang) else {
            return Ok(Operand::Vector(Vector::default()));
        };
        let set = self.select(selector, range)?;
        let super::plan::NodePlan { stats_only, scope, .. } = self.plan.node(id);
        let mut stream = self.look_back_stream(&*set, times, (taken_by(selector), scope));
        stream.reader.stats_only = stats_only;
        let vector = stream.collect(&self.budget, self.delayed_name_removal)?;
        let notes = stream.observed.take().notes;
        self.report_notes(self.ast.node(id).span, notes);
        Ok(Operand::Vector(vector))
    }

    /// Applies one map to a whole vector.
    pub(super) fn apply_stage(
        &self,
        stage: &Stage,
        mut vector: Vector,
    ) -> Result<Vector, QueryError> {
        for series in &mut vector.series {
            self.budget.check_time()?;
            stage.apply(&mut series.column, &self.annotations, &self.budget)?;
            if stage.drops_name() {
                series.drop_name(self.delayed_name_removal);
            }
        }
        if stage.drops_name() {
            vector.finish(&self.budget)?;
        } else {
            vector.drop_empty();
        }
        Ok(vector)
    }

    /// Drops the names that were to go at the end of the query.
    pub(super) fn without_names(&self, mut vector: Vector) -> Result<Vector, QueryError> {
        if self.delayed_name_removal {
            for series in vector.series.iter_mut().filter(|series| series.drop_name) {
                self.budget.check_time()?;
                series.labels = without_name(&series.labels);
            }
            vector.finish(&self.budget)?;
        }
        Ok(vector)
    }

    fn binary(&mut self, id: NodeId, grid: Grid) -> Result<Operand, QueryError> {
        let Expr::Binary { op, lhs, rhs, return_bool, matching } = self.ast.expr(id) else {
            unreachable!("BUG: called for binary operations")
        };
        let (left, right) = (self.take(*lhs, grid)?, self.take(*rhs, grid)?);
        let (vector, scalar, scalar_left) = match (left, right) {
            (Operand::Scalar(_), Operand::Scalar(_)) if op.is_trim() => {
                let text =
                    format!("operator \"{}\" not allowed for Scalar operations", op.as_str());
                return Err(QueryError::execution(text));
            }
            (Operand::Scalar(mut left), Operand::Scalar(right)) => {
                let (values, others) = (&mut left.values, &right.values);
                self.budget.in_pieces(grid.steps, |steps| {
                    arithmetic::combine(*op, &mut values[steps.clone()], &others[steps]);
                })?;
                return Ok(Operand::Scalar(left));
            }
            (Operand::Vector(vector), Operand::Scalar(scalar)) => (vector, scalar, false),
            (Operand::Scalar(scalar), Operand::Vector(vector)) => (vector, scalar, true),
            (Operand::Vector(left), Operand::Vector(right)) => {
                let matching = matching.as_ref().expect("BUG: vectors are paired by a clause");
                return self.join(id, *return_bool, matching, (left, right), grid);
            }
            _ => unreachable!("BUG: the parser checked types"),
        };
        let span = self.ast.node(id).span;
        let stage = ScalarStage { op: *op, scalar, scalar_left, return_bool: *return_bool, span };
        Ok(Operand::Vector(self.apply_stage(&Stage::Scalar(stage), vector)?))
    }

    fn join(
        &self,
        id: NodeId,
        return_bool: bool,
        matching: &VectorMatching,
        (lhs, rhs): (Vector, Vector),
        grid: Grid,
    ) -> Result<Operand, QueryError> {
        let Expr::Binary { op, .. } = *self.ast.expr(id) else {
            unreachable!("BUG: called for binary operations")
        };
        if matches!(op, BinaryOp::And | BinaryOp::Unless) {
            let negate = op == BinaryOp::Unless;
            let how = (negate, grid.steps);
            return Ok(Operand::Vector(set::filter(lhs, &rhs, matching, how, &self.budget)?));
        }
        let join = VectorBinary {
            op,
            matching,
            return_bool: return_bool && is_comparison(op),
            steps: grid.steps,
            delayed_name_removal: self.delayed_name_removal,
            notes: RefCell::default(),
        };
        let mut vector = join.evaluate(lhs, rhs, &self.budget)?;
        join.tell(self.ast.node(id).span, &self.annotations);
        vector.finish(&self.budget)?;
        Ok(Operand::Vector(vector))
    }

    fn union(
        &mut self,
        lhs: NodeId,
        rhs: NodeId,
        matching: &VectorMatching,
        grid: Grid,
    ) -> Result<KeptValue, QueryError> {
        let continues = match self.ast.expr(lhs) {
            Expr::Binary { op: BinaryOp::Or, matching: Some(below), .. } => {
                below == matching && !self.plan.node(lhs).once
            }
            _ => false,
        };
        let kept = if continues { self.results[lhs.0 as usize].take() } else { None };
        let mut union = match kept {
            Some(Kept { value: KeptValue::Union(union), charged }) => {
                self.note_taken(charged);
                union
            }
            Some(Kept { value: KeptValue::Operand(_), .. }) => {
                unreachable!("BUG: an or's result is a union")
            }
            None => {
                let vector = self.take_vector(lhs, grid)?;
                Box::new(Union::new(vector, matching, grid.steps, &self.budget)?)
            }
        };
        let vector = self.take_vector(rhs, grid)?;
        union.add(vector, &self.budget)?;
        Ok(KeptValue::Union(union))
    }

    /// Takes in a vector that is already there.
    pub(super) fn add_all(
        &self,
        aggregation: &mut Aggregation,
        vector: Vector,
    ) -> Result<(), QueryError> {
        for series in vector.series {
            self.budget.check_time()?;
            let Series { labels, drop_name, column } = series;
            aggregation.add(&labels, false, drop_name, &column, &self.budget)?;
        }
        Ok(())
    }
}

impl KeptValue {
    fn slots(&self, steps: usize) -> usize {
        match self {
            Self::Operand(Operand::Scalar(column)) => column.steps(),
            Self::Operand(Operand::String(_)) => 0,
            Self::Operand(Operand::Vector(vector)) => vector.cost(steps),
            Self::Union(union) => union.cost(),
        }
    }

    /// What its series take besides their values.
    fn label_bytes(&self) -> u64 {
        let vector = match self {
            Self::Operand(Operand::Vector(vector)) => vector,
            Self::Operand(_) => return 0,
            Self::Union(union) => return union.label_bytes(),
        };
        let of = |series: &Series| SERIES_BYTES + series.labels.as_bytes().len();
        vector.series.iter().map(of).sum::<usize>() as u64
    }
}

/// What tells one selection from another: generated queries have thousands.
fn selection_key(selector: &Selector, range: TimeRange) -> Vec<u8> {
    let mut key = Vec::with_capacity(64);
    key.extend_from_slice(&range.min_ms.to_le_bytes());
    key.extend_from_slice(&range.max_ms.to_le_bytes());
    for matcher in &selector.matchers {
        key.push(matcher.op as u8);
        for text in [&matcher.name, &matcher.value] {
            key.extend_from_slice(&text.len().to_le_bytes());
            key.extend_from_slice(text.as_bytes());
        }
    }
    key
}

pub(super) fn into_vector(operand: Operand) -> Vector {
    match operand {
        Operand::Vector(vector) => vector,
        _ => unreachable!("BUG: the parser checked types"),
    }
}

#[cfg(test)]
mod tests;
