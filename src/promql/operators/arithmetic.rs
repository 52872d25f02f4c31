//! Binary operators on two numbers.

use crate::promql::ast::BinaryOp;
use crate::promql::functions::power;

/// An operator that gives a number, chosen once for a whole column.
///
/// Arithmetic gives its result, comparisons 1 or 0.
pub(crate) fn number(op: BinaryOp) -> fn(f64, f64) -> f64 {
    match op {
        BinaryOp::Add => |a, b| a + b,
        BinaryOp::Sub => |a, b| a - b,
        BinaryOp::Mul => |a, b| a * b,
        BinaryOp::Div => |a, b| a / b,
        BinaryOp::Mod => |a, b| a % b,
        BinaryOp::Pow => power::pow,
        BinaryOp::Atan2 => power::atan2,
        BinaryOp::Eql => |a, b| f64::from(u8::from(a == b)),
        BinaryOp::Neq => |a, b| f64::from(u8::from(a != b)),
        BinaryOp::Gtr => |a, b| f64::from(u8::from(a > b)),
        BinaryOp::Lss => |a, b| f64::from(u8::from(a < b)),
        BinaryOp::Gte => |a, b| f64::from(u8::from(a >= b)),
        BinaryOp::Lte => |a, b| f64::from(u8::from(a <= b)),
        BinaryOp::And | BinaryOp::Or | BinaryOp::Unless => {
            unreachable!("BUG: the parser lets set operators stand between vectors only")
        }
        BinaryOp::TrimUpper | BinaryOp::TrimLower => {
            unreachable!("BUG: trims have no result on numbers")
        }
    }
}

/// Writes `f(left, right)` over `left`, slot by slot.
///
/// Slots without a value are computed too: a straight loop is faster than a look at the bitmap.
pub(crate) fn combine(op: BinaryOp, left: &mut [f64], right: &[f64]) {
    let pairs = left.iter_mut().zip(right);
    match op {
        // The four are spelled out so that the compiler makes straight loops of them.
        BinaryOp::Add => pairs.for_each(|(a, b)| *a += b),
        BinaryOp::Sub => pairs.for_each(|(a, b)| *a -= b),
        BinaryOp::Mul => pairs.for_each(|(a, b)| *a *= b),
        BinaryOp::Div => pairs.for_each(|(a, b)| *a /= b),
        _ => {
            let f = number(op);
            pairs.for_each(|(a, b)| *a = f(*a, *b));
        }
    }
}

/// Writes `f(left, right)` over `right`, slot by slot.
pub(crate) fn combine_into_right(op: BinaryOp, left: &[f64], right: &mut [f64]) {
    let f = number(op);
    left.iter().zip(right).for_each(|(a, b)| *b = f(*a, *b));
}
