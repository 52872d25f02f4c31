//! Between scalars and vectors: `scalar`, `vector`, `time`, and `timestamp` of what is no selector.

#![allow(clippy::unnecessary_wraps, reason = "the signature is that of all functions")]

use super::{Call, Implementation};
use crate::model::Labels;
use crate::promql::budget::STEPS_PER_LOOK;
use crate::promql::columns::{Column, Operand, Series, Vector};
use crate::promql::engine::QueryError;

/// The family's implementations.
pub(super) fn lookup(name: &str) -> Option<Implementation> {
    Some(match name {
        "scalar" => Implementation::Operands(scalar),
        "time" => Implementation::Operands(time),
        "vector" => Implementation::Operands(vector),
        "timestamp" => Implementation::Operands(timestamp),
        _ => return None,
    })
}

/// The value of the only series at each step; NaN where there is none, or more than one.
fn scalar(call: &mut Call<'_>) -> Result<Operand, QueryError> {
    let mut values = call.budget.constant(call.grid.steps, f64::NAN)?.values;
    let mut seen = vec![0_u8; call.grid.steps];
    for series in call.take_vector(0).series {
        call.check()?;
        for (nth, (step, value)) in series.column.iter().enumerate() {
            if nth % STEPS_PER_LOOK == STEPS_PER_LOOK - 1 {
                call.budget.look()?;
            }
            values[step] = if seen[step] == 0 { value } else { f64::NAN };
            seen[step] = 1;
        }
    }
    Ok(Operand::Scalar(Column::dense(values)))
}

fn time(call: &mut Call<'_>) -> Result<Operand, QueryError> {
    Ok(Operand::Scalar(seconds(call)?))
}

/// The time of each step.
fn seconds(call: &Call<'_>) -> Result<Column, QueryError> {
    let grid = call.grid;
    call.budget.computed(grid.steps, |step| grid.time_ms(step) as f64 / 1000.0)
}

fn vector(call: &mut Call<'_>) -> Result<Operand, QueryError> {
    let Operand::Scalar(column) =
        std::mem::replace(&mut call.operands[0], Operand::String(String::new()))
    else {
        unreachable!("BUG: the parser checked the argument's type")
    };
    let series = Series { labels: Labels::empty(), drop_name: false, column };
    Ok(Operand::Vector(Vector { series: vec![series] }))
}

/// Values computed at a step have that step's time; the engine answers for selectors itself.
fn timestamp(call: &mut Call<'_>) -> Result<Operand, QueryError> {
    let mut vector = call.take_vector(0);
    let times = seconds(call)?.values;
    for series in &mut vector.series {
        call.check()?;
        let values = &mut series.column.values;
        call.budget.in_pieces(times.len(), |steps| {
            values[steps.clone()].copy_from_slice(&times[steps]);
        })?;
        series.column.histograms.clear();
        series.drop_name(call.delayed_name_removal);
    }
    Ok(Operand::Vector(vector))
}
