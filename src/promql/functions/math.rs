//! Functions of one value at a time: rounding, logarithms, trigonometry, clamping.

#![allow(clippy::unnecessary_wraps, reason = "the signature is that of all functions")]

use std::f64::consts::PI;

use super::elementary as el;
use super::{Call, Implementation, MapFunction};
use crate::model::NORMAL_NAN_BITS;
use crate::promql::columns::{Column, Operand};
use crate::promql::engine::QueryError;

/// The family's implementations.
pub(super) fn lookup(name: &str) -> Option<Implementation> {
    let map: MapFunction = match name {
        "abs" => |column, _| column.map(f64::abs),
        "ceil" => |column, _| column.map(f64::ceil),
        "floor" => |column, _| column.map(f64::floor),
        "sqrt" => |column, _| column.map(f64::sqrt),
        "exp" => |column, _| column.map(el::exp),
        "ln" => |column, _| column.map(el::ln),
        "log2" => |column, _| column.map(el::log2),
        "log10" => |column, _| column.map(el::log10),
        "sin" => |column, _| column.map(el::sin),
        "cos" => |column, _| column.map(el::cos),
        "tan" => |column, _| column.map(el::tan),
        "asin" => |column, _| column.map(el::asin),
        "acos" => |column, _| column.map(el::acos),
        "atan" => |column, _| column.map(el::atan),
        "sinh" => |column, _| column.map(el::sinh),
        "cosh" => |column, _| column.map(el::cosh),
        "tanh" => |column, _| column.map(el::tanh),
        "asinh" => |column, _| column.map(el::asinh),
        "acosh" => |column, _| column.map(el::acosh),
        "atanh" => |column, _| column.map(el::atanh),
        "deg" => |column, _| column.map(|value| value * 180.0 / PI),
        "rad" => |column, _| column.map(|value| value * PI / 180.0),
        "sgn" => |column, _| column.map(sign),
        "round" => round,
        "clamp" => |column, scalars| clamp(column, scalars.first(), scalars.get(1)),
        "clamp_min" => |column, scalars| clamp(column, scalars.first(), None),
        "clamp_max" => |column, scalars| clamp(column, None, scalars.first()),
        _ => return scalar_lookup(name),
    };
    Some(Implementation::Map(map))
}

fn scalar_lookup(name: &str) -> Option<Implementation> {
    Some(Implementation::Operands(match name {
        "pi" => |call| Ok(Operand::Scalar(call.budget.constant(call.grid.steps, PI)?)),
        "max_of" => |call| of_two(call, larger),
        "min_of" => |call| of_two(call, smaller),
        _ => return None,
    }))
}

fn of_two(call: &mut Call<'_>, pick: fn(f64, f64) -> f64) -> Result<Operand, QueryError> {
    let (a, b) = (&call.scalar(0).values, &call.scalar(1).values);
    let column = call.budget.computed(a.len(), |step| pick(a[step], b[step]))?;
    Ok(Operand::Scalar(column))
}

/// The larger number; NaN if either is.
pub(crate) fn larger(a: f64, b: f64) -> f64 {
    match () {
        () if a == f64::INFINITY || b == f64::INFINITY => f64::INFINITY,
        () if a.is_nan() || b.is_nan() => f64::from_bits(NORMAL_NAN_BITS),
        () if a == 0.0 && b == 0.0 => {
            if a.is_sign_negative() {
                b
            } else {
                a
            }
        }
        () => {
            if a > b {
                a
            } else {
                b
            }
        }
    }
}

/// The smaller number; NaN if either is.
pub(crate) fn smaller(a: f64, b: f64) -> f64 {
    -larger(-a, -b)
}

fn sign(value: f64) -> f64 {
    match value {
        _ if value < 0.0 => -1.0,
        _ if value > 0.0 => 1.0,
        // Zeros and NaN are their own sign.
        _ => value,
    }
}

/// To the nearest multiple of the scalar, ties up.
fn round(column: &mut Column, scalars: &[Column]) {
    let Some(to) = scalars.first() else {
        // The order of operations matters; the multiple is 1.
        column.map(|value| (value + 0.5).floor());
        return;
    };
    for (value, to) in column.values.iter_mut().zip(&to.values) {
        let inverse = 1.0 / to;
        *value = (*value * inverse + 0.5).floor() / inverse;
    }
}

/// Into the bounds; nothing where the lower one is above the upper one.
fn clamp(column: &mut Column, min: Option<&Column>, max: Option<&Column>) {
    for step in 0..column.steps() {
        let min = min.map_or(f64::NEG_INFINITY, |column| column.values[step]);
        let max = max.map_or(f64::INFINITY, |column| column.values[step]);
        if max < min {
            column.valid.unset(step);
        } else {
            column.values[step] = larger(min, smaller(max, column.values[step]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_of_not_a_number_make_none() {
        assert!(larger(f64::NAN, 1.0).is_nan() && smaller(1.0, f64::NAN).is_nan());
        assert_eq!(larger(-0.0, 0.0).to_bits(), 0.0_f64.to_bits());
        assert_eq!(smaller(0.0, -0.0).to_bits(), (-0.0_f64).to_bits());
        assert_eq!(larger(f64::NAN, f64::INFINITY), f64::INFINITY);
    }

    #[test]
    fn ties_are_rounded_up() {
        let mut column = Column::dense(vec![-2.5, -0.4, 0.5, 7.3]);
        round(&mut column, &[]);
        assert_eq!(column.values, [-2.0, 0.0, 1.0, 7.0]);
        let mut column = Column::dense(vec![7.0, 8.0]);
        round(&mut column, &[Column::constant(2, 5.0)]);
        assert_eq!(column.values, [5.0, 10.0]);
    }

    #[test]
    fn a_lower_bound_above_the_upper_leaves_nothing() {
        let mut column = Column::dense(vec![1.0, 9.0]);
        clamp(&mut column, Some(&Column::dense(vec![2.0, 5.0])), Some(&Column::constant(2, 4.0)));
        assert_eq!((column.get(0), column.get(1)), (Some(2.0), None));
    }
}
