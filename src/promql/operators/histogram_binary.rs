//! Binary operators on two values of which one may be a histogram.

use std::sync::Arc;

use super::arithmetic::number;
use super::trim::trim;
use crate::model::{FloatHistogram, MixedSchemas, ResetHint};
use crate::promql::annotations::Annotations;
use crate::promql::ast::{BinaryOp, Span};
use crate::promql::columns::Sample;

/// A result.
#[derive(Debug, Clone)]
pub(crate) enum Outcome {
    /// A number.
    Float(f64),
    /// A histogram.
    Histogram(Arc<FloatHistogram>),
    /// A comparison does not hold.
    Drop,
}

/// What is told about an operation on two values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Note {
    /// The operator does not go with these kinds; there is no result.
    Incompatible(&'static str, &'static str),
    /// Exponential and listed bounds do not go together; there is no result.
    MixedSchemas,
    /// They contradict each other about resets; there is no result.
    HintsCollide,
    /// Listed bounds were reconciled.
    BoundsDiffered,
}

impl Note {
    /// Tells it.
    pub(crate) fn tell(self, op: BinaryOp, span: Span, annotations: &mut Annotations) {
        let name = op.as_str();
        let operation = if op == BinaryOp::Add { "addition" } else { "subtraction" };
        match self {
            Self::Incompatible(left, right) => {
                annotations.incompatible_types(span, name, (left, right));
            }
            Self::MixedSchemas => annotations.warn(
                span,
                format_args!("incompatible bucket layout encountered for binary operator {name}"),
            ),
            Self::HintsCollide => annotations.hints_collide(span, operation),
            Self::BoundsDiffered => annotations.bounds_differed(span, operation),
        }
    }
}

/// `left op right`. An error is a note without a result; a result may have a note too.
pub(crate) fn evaluate(
    op: BinaryOp,
    left: Sample<'_>,
    right: Sample<'_>,
) -> Result<(Outcome, Option<Note>), Note> {
    use Sample::{Float, Histogram};
    let is_comparison = op.is_comparison();
    Ok((
        match (left, right) {
            (Float(_), Float(_)) if op.is_trim() => {
                return Err(Note::Incompatible("float", "float"));
            }
            (Float(a), Float(b)) if is_comparison => {
                if number(op)(a, b) == 0.0 {
                    Outcome::Drop
                } else {
                    Outcome::Float(a)
                }
            }
            (Float(a), Float(b)) => Outcome::Float(number(op)(a, b)),
            (Float(factor), Histogram(histogram)) if op == BinaryOp::Mul => {
                changed(histogram, |histogram| histogram.multiply(factor))
            }
            (Histogram(histogram), Float(number)) => match op {
                BinaryOp::Mul => changed(histogram, |histogram| histogram.multiply(number)),
                BinaryOp::Div => changed(histogram, |histogram| histogram.divide(number)),
                BinaryOp::TrimUpper | BinaryOp::TrimLower => {
                    let mut kept = FloatHistogram::clone(histogram);
                    trim(&mut kept, number, op == BinaryOp::TrimUpper);
                    Outcome::Histogram(Arc::new(kept))
                }
                _ => return Err(Note::Incompatible("histogram", "float")),
            },
            (Float(_), Histogram(_)) => return Err(Note::Incompatible("float", "histogram")),
            (Histogram(a), Histogram(b)) => return of_histograms(op, a, b),
        },
        None,
    ))
}

fn changed(histogram: &FloatHistogram, change: impl FnOnce(&mut FloatHistogram)) -> Outcome {
    let mut histogram = histogram.clone();
    change(&mut histogram);
    histogram.compact();
    Outcome::Histogram(Arc::new(histogram))
}

fn of_histograms(
    op: BinaryOp,
    left: &Arc<FloatHistogram>,
    right: &Arc<FloatHistogram>,
) -> Result<(Outcome, Option<Note>), Note> {
    let kept = |holds: bool| {
        if holds { Outcome::Histogram(Arc::clone(left)) } else { Outcome::Drop }
    };
    let mut result = match op {
        BinaryOp::Eql => return Ok((kept(left.is_same(right)), None)),
        BinaryOp::Neq => return Ok((kept(!left.is_same(right)), None)),
        BinaryOp::Add | BinaryOp::Sub => FloatHistogram::clone(left),
        _ => return Err(Note::Incompatible("histogram", "histogram")),
    };
    let reconciled = if op == BinaryOp::Add {
        result.add(right)
    } else {
        let reconciled = result.subtract(right);
        result.reset_hint = ResetHint::Gauge;
        reconciled
    };
    let reconciled = reconciled.map_err(|MixedSchemas| Note::MixedSchemas)?;
    if reconciled.hints_collide {
        // COMPAT: what is a warning elsewhere drops the result here.
        return Err(Note::HintsCollide);
    }
    result.compact();
    let note = reconciled.bounds_differed.then_some(Note::BoundsDiffered);
    Ok((Outcome::Histogram(Arc::new(result)), note))
}
