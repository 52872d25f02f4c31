//! `absent`, and the labels that it and `absent_over_time` give.

#![allow(clippy::unnecessary_wraps, reason = "the signature is that of all functions")]

use super::{Call, Implementation};
use crate::model::{Labels, LabelsBuilder, METRIC_NAME, MatchOp};
use crate::promql::ast::{Ast, Expr, NodeId};
use crate::promql::columns::{Bitmap, Operand, Series, Vector};
use crate::promql::engine::QueryError;

/// The family's implementations; `absent_over_time` is the engine's.
pub(super) fn lookup(name: &str) -> Option<Implementation> {
    (name == "absent").then_some(Implementation::Operands(absent))
}

fn absent(call: &mut Call<'_>) -> Result<Operand, QueryError> {
    let vector = call.take_vector(0);
    let mut present = Bitmap::none(call.grid.steps);
    for series in &vector.series {
        call.check()?;
        present.unite(&series.column.valid);
    }
    let mut column = call.budget.constant(call.grid.steps, 1.0)?;
    column.valid.subtract(&present);
    column.valid.compact();
    let labels = labels(call.ast, call.argument(0));
    let series = vec![Series { labels, drop_name: false, column }];
    Ok(Operand::Vector(Vector { series }))
}

/// The labels that the selector in `argument` fixes; of a name matched more than once none.
/// No labels where the argument is no selector.
pub(crate) fn labels(ast: &Ast, argument: NodeId) -> Labels {
    let mut id = argument;
    let selector = loop {
        match ast.expr(id) {
            Expr::Paren(inner) => id = *inner,
            Expr::Window { selector, .. } => id = *selector,
            Expr::Selector(selector) => break selector,
            _ => return Labels::empty(),
        }
    };
    let mut builder = LabelsBuilder::new();
    let mut seen: Vec<&str> = Vec::new();
    for matcher in selector.matchers.iter().filter(|matcher| matcher.name != METRIC_NAME) {
        if matcher.op == MatchOp::Equal && !seen.contains(&matcher.name.as_str()) {
            builder.set(&matcher.name, &matcher.value);
            seen.push(&matcher.name);
        } else {
            builder.remove(&matcher.name);
        }
    }
    builder.build()
}
