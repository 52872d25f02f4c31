//! Aggregations that keep one state for each group and step: `sum`, `avg`, `min`, `max`, `count`,
//! `group`, `stddev`, `stdvar`.
//!
//! Series come in one after the other, in the order of their labels, and are not kept.
//! COMPAT: that order and the compensated sums make the bits Prometheus's. Steps are independent
//! of each other, so a loop may run over steps in any way, never over the series of a step.

use std::ops::Range;

use super::grouping::{Grouping, Groups};
use super::histogram_totals::{HistogramTotals, Notes};
use crate::model::Labels;
use crate::promql::annotations::Annotations;
use crate::promql::ast::{AggregateOp, Span};
use crate::promql::budget::Budget;
use crate::promql::columns::{Bitmap, Column, Sample, Series, Vector};
use crate::promql::compensated::{Compensated, Mean};
use crate::promql::engine::QueryError;

/// An aggregation in progress.
#[derive(Debug)]
pub(crate) struct Aggregation {
    op: AggregateOp,
    steps: usize,
    groups: Groups,
    states: Vec<State>,
    notes: Notes,
}

/// A group's state at every step. What `a`, `b` and `count` are depends on the operator.
#[derive(Debug)]
struct State {
    /// Whether a series with a value at the last step loses its name at the end of the query.
    /// COMPAT: what earlier steps say is forgotten.
    drop_name: bool,
    /// The last step with a value.
    last: Option<usize>,
    seen: Bitmap,
    /// Sum, mean's sum, extreme, count, or sum of squares.
    a: Vec<f64>,
    /// What a sum lost to rounding, or Welford's mean.
    b: Vec<f64>,
    count: Vec<f64>,
    /// Steps at which `avg` had to change to a moving mean; empty before the first.
    moving: Vec<bool>,
    /// What came of histograms; `None` before the first. The rest counts floats only.
    histograms: Option<Box<HistogramTotals>>,
}

impl Aggregation {
    /// An aggregation over `steps` steps.
    pub(crate) fn new(op: AggregateOp, grouping: Grouping, steps: usize) -> Self {
        Self {
            op,
            steps,
            groups: Groups::new(grouping),
            states: Vec::new(),
            notes: Notes::default(),
        }
    }

    /// Whether the result depends on what the values are, not only on where they are.
    pub(crate) fn looks_at_values(&self) -> bool {
        !matches!(self.op, AggregateOp::Count | AggregateOp::Group)
    }

    /// Takes in one series. `name_dropped`: its labels count without the metric name;
    /// `drop_name`: the result loses its name at the end of the query.
    pub(crate) fn add(
        &mut self,
        labels: &Labels,
        name_dropped: bool,
        drop_name: bool,
        column: &Column,
        budget: &Budget<'_>,
    ) -> Result<(), QueryError> {
        let ordinal = self.groups.ordinal(labels, name_dropped);
        if ordinal == self.states.len() {
            budget.charge(self.steps.saturating_mul(self.vectors()))?;
            self.states.push(State::new(self.op, self.steps));
        }
        let state = &mut self.states[ordinal];
        let last = column.valid.last();
        if last >= state.last {
            state.drop_name = drop_name || (last == state.last && state.drop_name);
            state.last = last;
        }
        if column.has_histograms() || state.histograms.is_some() {
            let name = if name_dropped { "" } else { labels.metric_name() };
            return state.add_mixed(self.op, column, (name, &mut self.notes), budget);
        }
        state.add(self.op, column, budget)
    }

    /// The result, groups in the order in which they were first seen. What is told has the place
    /// of the operand, `span`.
    pub(crate) fn finish(
        mut self,
        budget: &Budget<'_>,
        span: Span,
        annotations: &mut Annotations,
    ) -> Result<Vector, QueryError> {
        budget.release(self.steps.saturating_mul(self.vectors()).saturating_mul(self.states.len()));
        let mut vector = Vector::default();
        for (ordinal, mut state) in self.states.into_iter().enumerate() {
            budget.check_time()?;
            let drop_name = state.drop_name;
            let labels = self.groups.labels(ordinal).clone();
            let histograms = state.histograms.take();
            let mut column = state.finish(self.op, budget)?;
            if let Some(histograms) = histograms {
                histograms.finish(&mut column, &mut self.notes, budget);
            }
            vector.series.push(Series { labels, drop_name, column });
        }
        self.notes.tell(self.op, span, annotations);
        Ok(vector)
    }

    /// Slots for each group and step.
    fn vectors(&self) -> usize {
        match self.op {
            AggregateOp::Sum => 2,
            AggregateOp::Avg | AggregateOp::Stddev | AggregateOp::Stdvar => 3,
            _ => 1,
        }
    }
}

impl State {
    fn new(op: AggregateOp, steps: usize) -> Self {
        let needed = |yes: bool| vec![0.0; if yes { steps } else { 0 }];
        let spread = matches!(op, AggregateOp::Stddev | AggregateOp::Stdvar);
        let counted = spread || op == AggregateOp::Avg;
        Self {
            drop_name: false,
            last: None,
            seen: Bitmap::none(steps),
            a: needed(true),
            b: needed(counted || op == AggregateOp::Sum),
            count: needed(counted),
            moving: Vec::new(),
            histograms: None,
        }
    }

    fn add(
        &mut self,
        op: AggregateOp,
        column: &Column,
        budget: &Budget<'_>,
    ) -> Result<(), QueryError> {
        budget.in_pieces(column.steps(), |over| self.add_over(op, column, over))?;
        self.seen.unite(&column.valid);
        Ok(())
    }

    /// Takes in the values at some steps, which are not noted as seen.
    fn add_over(&mut self, op: AggregateOp, column: &Column, over: Range<usize>) {
        let part = (column, over);
        match op {
            AggregateOp::Sum => self.add_sum(part),
            AggregateOp::Avg => self.add_mean(part),
            AggregateOp::Stddev | AggregateOp::Stdvar => self.add_spread(part),
            AggregateOp::Count => self.fold(part, |_| 1.0, |count, _| count + 1.0),
            AggregateOp::Group => self.fold(part, |_| 1.0, |one, _| one),
            AggregateOp::Min => {
                self.fold(part, |x| x, |min, x| if min > x || min.is_nan() { x } else { min });
            }
            AggregateOp::Max => {
                self.fold(part, |x| x, |max, x| if max < x || max.is_nan() { x } else { max });
            }
            _ => unreachable!("BUG: the plan gives other aggregations to other files"),
        }
    }

    /// Takes in a column that has histograms, or one behind such a column.
    fn add_mixed(
        &mut self,
        op: AggregateOp,
        column: &Column,
        (name, notes): (&str, &mut Notes),
        budget: &Budget<'_>,
    ) -> Result<(), QueryError> {
        let mut floats = column.clone();
        match op {
            // What a value is does not matter.
            AggregateOp::Count | AggregateOp::Group => floats.histograms.clear(),
            AggregateOp::Sum | AggregateOp::Avg => {
                floats.drop_histograms();
                if let Some(totals) = &self.histograms {
                    totals.refused().for_each(|step| floats.valid.unset(step));
                }
                let steps = column.steps();
                for (step, sample) in column.samples() {
                    let Sample::Histogram(histogram) = sample else { continue };
                    let totals = self
                        .histograms
                        .get_or_insert_with(|| Box::new(HistogramTotals::new(steps)));
                    let after_float = self.seen.get(step);
                    totals.add((op, step), histogram, after_float, (name, notes), budget)?;
                }
            }
            _ => {
                floats.drop_histograms();
                notes.ignored |= floats.valid.count() < column.valid.count();
            }
        }
        self.add(op, &floats, budget)
    }

    fn fold(
        &mut self,
        (column, over): (&Column, Range<usize>),
        first: impl Fn(f64) -> f64,
        next: impl Fn(f64, f64) -> f64,
    ) {
        for (steps, is_dense) in self.seen.stretches(&column.valid, over) {
            let states = self.a[steps.clone()].iter_mut();
            if is_dense {
                states.zip(&column.values[steps]).for_each(|(state, x)| *state = next(*state, *x));
                continue;
            }
            for (step, state) in steps.zip(states).filter(|(step, _)| column.valid.get(*step)) {
                let x = column.values[step];
                *state = if self.seen.get(step) { next(*state, x) } else { first(x) };
            }
        }
    }

    fn add_sum(&mut self, (column, over): (&Column, Range<usize>)) {
        for (steps, is_dense) in self.seen.stretches(&column.valid, over) {
            let sums = self.a[steps.clone()].iter_mut().zip(&mut self.b[steps.clone()]);
            if is_dense {
                for ((sum, lost), x) in sums.zip(&column.values[steps]) {
                    let next = Compensated { sum: *sum, lost: *lost }.plus(*x);
                    (*sum, *lost) = (next.sum, next.lost);
                }
                continue;
            }
            for (step, (sum, lost)) in steps.zip(sums).filter(|(s, _)| column.valid.get(*s)) {
                let x = column.values[step];
                if self.seen.get(step) {
                    let next = Compensated { sum: *sum, lost: *lost }.plus(x);
                    (*sum, *lost) = (next.sum, next.lost);
                } else {
                    *sum = x;
                }
            }
        }
    }

    fn add_mean(&mut self, (column, over): (&Column, Range<usize>)) {
        let seen = std::mem::replace(&mut self.seen, Bitmap::none(0));
        for (steps, is_dense) in seen.stretches(&column.valid, over) {
            if is_dense && self.moving.is_empty() && self.add_to_sums(steps.clone(), column) {
                continue;
            }
            for step in steps.filter(|step| column.valid.get(*step)) {
                self.add_to_mean(step, column.values[step], seen.get(step));
            }
        }
        self.seen = seen;
    }

    /// Adds values to means that are sums still, all of which stay sums; else false, and nothing
    /// is done.
    fn add_to_sums(&mut self, steps: Range<usize>, column: &Column) -> bool {
        let totals = self.a[steps.clone()].iter().zip(&column.values[steps.clone()]);
        if totals.fold(false, |any, (sum, x)| any | ((sum + x).abs() == f64::INFINITY)) {
            return false;
        }
        let sums = self.a[steps.clone()].iter_mut().zip(&mut self.b[steps.clone()]);
        let sums = sums.zip(&mut self.count[steps.clone()]);
        for (((sum, lost), count), x) in sums.zip(&column.values[steps]) {
            let next = Compensated { sum: *sum, lost: *lost }.plus(*x);
            (*sum, *lost, *count) = (next.sum, next.lost, *count + 1.0);
        }
        true
    }

    fn add_to_mean(&mut self, step: usize, x: f64, is_seen: bool) {
        if !is_seen {
            (self.a[step], self.count[step]) = (x, 1.0);
            return;
        }
        let mut mean = self.mean(step);
        mean.add(x);
        (self.a[step], self.b[step]) = (mean.acc.sum, mean.acc.lost);
        self.count[step] = mean.count;
        if mean.moving {
            self.moving.resize(self.a.len(), false);
            self.moving[step] = true;
        }
    }

    fn mean(&self, step: usize) -> Mean {
        Mean {
            acc: Compensated { sum: self.a[step], lost: self.b[step] },
            count: self.count[step],
            moving: self.moving.get(step).copied().unwrap_or(false),
        }
    }

    /// Welford's update.
    fn add_spread(&mut self, (column, over): (&Column, Range<usize>)) {
        for (step, x) in over.filter_map(|step| Some((step, column.get(step)?))) {
            if !self.seen.get(step) {
                self.a[step] = if x.is_finite() { 0.0 } else { f64::NAN };
                (self.b[step], self.count[step]) = (x, 1.0);
                continue;
            }
            self.count[step] += 1.0;
            let delta = x - self.b[step];
            self.b[step] += delta / self.count[step];
            self.a[step] += delta * (x - self.b[step]);
        }
    }

    fn finish(mut self, op: AggregateOp, budget: &Budget<'_>) -> Result<Column, QueryError> {
        budget.in_pieces(self.a.len(), |over| self.finish_over(op, over))?;
        self.seen.compact();
        Ok(Column { values: self.a, valid: self.seen, histograms: Vec::new() })
    }

    fn finish_over(&mut self, op: AggregateOp, over: Range<usize>) {
        match op {
            AggregateOp::Sum => {
                let sums = self.a[over.clone()].iter_mut().zip(&self.b[over]);
                sums.for_each(|(sum, lost)| *sum += lost);
            }
            AggregateOp::Avg => {
                for step in over {
                    self.a[step] = self.mean(step).value();
                }
            }
            AggregateOp::Stdvar => {
                let spread = self.a[over.clone()].iter_mut().zip(&self.count[over]);
                spread.for_each(|(sum, count)| *sum /= count);
            }
            AggregateOp::Stddev => {
                let spread = self.a[over.clone()].iter_mut().zip(&self.count[over]);
                spread.for_each(|(sum, count)| *sum = (*sum / count).sqrt());
            }
            _ => {}
        }
    }
}
