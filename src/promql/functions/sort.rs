//! Order of an instant result: `sort`, `sort_desc`, `sort_by_label`, `sort_by_label_desc`.
//!
//! Over a range there is no order: the result of a range query stands in order of labels.
//!
//! COMPAT: a series without the label stands first. Prometheus compares such series in neither
//! direction, so that there each parts the others into groups which are sorted by themselves.

use std::cmp::Ordering;

use super::{Call, Implementation};
use crate::promql::columns::{Operand, Series};
use crate::promql::engine::QueryError;
use crate::select::sort_by;

/// The family's implementations.
pub(super) fn lookup(name: &str) -> Option<Implementation> {
    Some(Implementation::Operands(match name {
        "sort" => |call| sort_by_value(call, |a, b| a.partial_cmp(&b)),
        "sort_desc" => |call| sort_by_value(call, |a, b| b.partial_cmp(&a)),
        "sort_by_label" => |call| sort_by_label(call, |order| order),
        "sort_by_label_desc" => |call| sort_by_label(call, Ordering::reverse),
        _ => return None,
    }))
}

/// Whether there is one time only; over several the sorting is warned about.
fn has_order(call: &mut Call<'_>) -> bool {
    if call.grid.steps > 1 {
        let message = "sort is ineffective for range queries since results are always ordered \
                       by labels";
        let span = call.span();
        call.annotations.warn(span, message);
    }
    call.grid.steps == 1
}

/// NaN stands last in either direction.
fn sort_by_value(
    call: &mut Call<'_>,
    compare: fn(f64, f64) -> Option<Ordering>,
) -> Result<Operand, QueryError> {
    let mut vector = call.take_vector(0);
    for series in &mut vector.series {
        call.check()?;
        series.column.drop_histograms();
    }
    vector.drop_empty();
    if has_order(call) {
        let check = || call.budget.look();
        sort_by(&mut vector.series, &check, |a, b| {
            let (a, b) = (a.column.values[0], b.column.values[0]);
            compare(a, b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
        })?;
    }
    Ok(Operand::Vector(vector))
}

fn sort_by_label(
    call: &mut Call<'_>,
    direct: fn(Ordering) -> Ordering,
) -> Result<Operand, QueryError> {
    let mut vector = call.take_vector(0);
    let has_order = has_order(call);
    let names: Vec<_> = (1..call.operands.len()).map(|index| call.string(index)).collect();
    if has_order {
        let check = || call.budget.look();
        sort_by(&mut vector.series, &check, |a, b| direct(compare_labels(&names, a, b)))?;
    }
    Ok(Operand::Vector(vector))
}

fn compare_labels(names: &[&str], a: &Series, b: &Series) -> Ordering {
    for name in names {
        let value = |series: &Series| series.labels.get(name).unwrap_or("").to_owned();
        let order = natural(&value(a), &value(b));
        if order.is_ne() {
            return order;
        }
    }
    a.labels.cmp(&b.labels)
}

/// Runs of digits by their value, what is between them by its bytes; equal texts only are equal.
fn natural(a: &str, b: &str) -> Ordering {
    if a == b {
        return Ordering::Equal;
    }
    let (mut left, mut right) = (runs(a), runs(b));
    loop {
        match (left.next(), right.next()) {
            // COMPAT: of texts that differ in leading zeros only, neither precedes the other in
            // Prometheus; here their bytes decide.
            (None, None) => return a.cmp(b),
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(x), Some(y)) => {
                let order = match (x.parse::<i64>(), y.parse::<i64>()) {
                    (Ok(x), Ok(y)) => x.cmp(&y),
                    _ => x.cmp(y),
                };
                if order.is_ne() {
                    return order;
                }
            }
        }
    }
}

/// Runs of digits and of others, in turn.
fn runs(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let first = rest.chars().next()?.is_ascii_digit();
        let end = rest.find(|c: char| c.is_ascii_digit() != first).unwrap_or(rest.len());
        let (run, after) = rest.split_at(end);
        rest = after;
        Some(run)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_within_texts_count_by_value() {
        let mut texts = ["a10", "a9b2", "b1", "a9", "", "a9b11", "10", "9"];
        texts.sort_by(|a, b| natural(a, b));
        assert_eq!(texts, ["", "9", "10", "a9", "a9b2", "a9b11", "a10", "b1"]);
        assert_eq!(natural("a01", "a1"), Ordering::Less);
    }
}
