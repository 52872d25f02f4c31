//! Binary operators between a vector and a scalar: a map of each series' column.
//!
//! COMPAT: a native histogram times a number that is none, or infinite, or divided by zero, is the
//! one case in which an empty bucket counts: zero times NaN is NaN. Which empty buckets a histogram
//! has in Prometheus depends on the chunk it lies in, since all histograms of a chunk have the
//! buckets of any of them, and on when the chunk was cut and written out. Here a histogram has the
//! buckets that it came with, however it is stored; such answers therefore may have fewer buckets
//! that are NaN. The same holds for hints about resets: of the first histogram of a chunk nothing
//! is known in Prometheus, wherever that chunk happens to begin. It shows in one warning only,
//! about counter resets that contradict each other below `histogram_count`, `histogram_sum` and
//! `histogram_avg`.

use std::cell::RefCell;

use super::arithmetic::{combine, combine_into_right, number};
use super::histogram_binary::{Outcome, evaluate};
use crate::promql::annotations::Annotations;
use crate::promql::columns::{Column, Sample};
use crate::promql::plan::is_comparison;
use crate::promql::stream::ScalarStage;

/// Applies the operator. A comparison without `bool` keeps the vector's value where it holds,
/// whichever side the vector stands on.
///
/// `scalar` are the stage's values at the column's steps.
pub(crate) fn apply(
    stage: &ScalarStage,
    scalar: &[f64],
    column: &mut Column,
    annotations: &RefCell<Annotations>,
) {
    if column.has_histograms() || stage.op.is_trim() {
        return apply_each(stage, scalar, column, annotations);
    }
    if is_comparison(stage.op) && !stage.return_bool {
        let holds = number(stage.op);
        let kept = column.valid.clone();
        for step in kept.iter() {
            let value = column.values[step];
            let truth = if stage.scalar_left {
                holds(scalar[step], value)
            } else {
                holds(value, scalar[step])
            };
            if truth == 0.0 {
                column.valid.unset(step);
            }
        }
    } else if stage.scalar_left {
        combine_into_right(stage.op, scalar, &mut column.values);
    } else {
        combine(stage.op, &mut column.values, scalar);
    }
}

/// The same one value after the other, some of them histograms.
fn apply_each(
    stage: &ScalarStage,
    scalars: &[f64],
    column: &mut Column,
    annotations: &RefCell<Annotations>,
) {
    let mut out = Column::empty(column.steps());
    let mut told = None;
    for (step, sample) in column.samples() {
        let scalar = Sample::Float(scalars[step]);
        let (left, right) = if stage.scalar_left { (scalar, sample) } else { (sample, scalar) };
        match evaluate(stage.op, left, right) {
            Err(note) => told = Some(note),
            Ok((outcome, _)) if stage.return_bool => {
                out.set(step, if matches!(outcome, Outcome::Drop) { 0.0 } else { 1.0 });
            }
            Ok((Outcome::Drop, _)) => {}
            Ok((_, _)) if stage.op.is_comparison() => out.set(step, column.values[step]),
            Ok((Outcome::Float(value), _)) => out.set(step, value),
            Ok((Outcome::Histogram(histogram), _)) => out.set_histogram(step, histogram),
        }
    }
    // One operator with one scalar side can be wrong in one way only.
    if let Some(note) = told {
        note.tell(stage.op, stage.span, &mut annotations.borrow_mut());
    }
    *column = out;
}
