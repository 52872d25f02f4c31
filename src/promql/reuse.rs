//! Which results of range queries may be put together from parts, and how far ahead of its own
//! time a step looks at data.
//!
//! A step's value depends on that step alone in nearly all of the language. What does not, or
//! might not, is named here and left out: whatever looks at the query's own range, parameters
//! that are judged as a whole, and errors about labels that are equal at different steps.

use super::ast::{Ast, AtModifier, Expr, NodeId, Selector};
use super::functions::window::{keeps_name, window_function};
use crate::model::{METRIC_NAME, MatchOp};

/// What the steps of a query look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reach {
    /// How far beyond the step's time data matters, in milliseconds.
    pub ahead_ms: i64,
    /// The newest time that matters to all steps.
    pub pinned_ms: Option<i64>,
}

impl Reach {
    /// How far the steps of `ast` look; `None` where a result cannot be put together from parts.
    /// `lookback_ms` is that of the query.
    pub fn of(ast: &Ast, lookback_ms: i64) -> Option<Self> {
        if !ast.durations.is_empty() {
            return None;
        }
        let mut reach = Self { ahead_ms: 0, pinned_ms: None };
        for index in 0..ast.nodes.len() {
            let id = NodeId(index as u32);
            let modifiers = match ast.expr(id) {
                Expr::Selector(selector) => {
                    if selector.extension.is_some() {
                        reach.ahead_ms = reach.ahead_ms.saturating_add(lookback_ms);
                    }
                    selector.modifiers
                }
                Expr::Window { range_ms, .. } => {
                    // An extended one may look behind its end as far as it is wide.
                    reach.ahead_ms =
                        reach.ahead_ms.saturating_add(extension_ms(ast, id, *range_ms));
                    continue;
                }
                Expr::Subquery { modifiers, .. } => *modifiers,
                Expr::Call { .. } if !is_separable_call(ast, id) => return None,
                Expr::Aggregate { param: Some(param), .. } if !is_constant(ast, *param) => {
                    return None;
                }
                _ => continue,
            };
            reach.ahead_ms = reach.ahead_ms.saturating_sub(modifiers.offset_ms.min(0));
            match modifiers.at {
                Some(AtModifier::Time(t_ms)) => {
                    reach.pinned_ms = Some(reach.pinned_ms.map_or(t_ms, |ms| ms.max(t_ms)));
                }
                Some(AtModifier::Start | AtModifier::End) => return None,
                None => {}
            }
        }
        reach.pinned_ms = reach.pinned_ms.map(|ms| ms.saturating_add(reach.ahead_ms));
        Some(reach)
    }

    /// Whether the value at `t_ms` is what it was before data at `changed_ms` and later changed.
    pub fn holds_at(&self, t_ms: i64, changed_ms: i64) -> bool {
        t_ms.saturating_add(self.ahead_ms) < changed_ms
    }

    /// Whether what all steps look at is what it was.
    pub fn is_pinned_below(&self, changed_ms: i64) -> bool {
        self.pinned_ms.is_none_or(|pinned_ms| pinned_ms < changed_ms)
    }
}

fn extension_ms(ast: &Ast, window: NodeId, range_ms: i64) -> i64 {
    let Expr::Window { selector, .. } = ast.expr(window) else { return 0 };
    match ast.expr(*selector) {
        Expr::Selector(Selector { extension: Some(_), .. }) => range_ms,
        _ => 0,
    }
}

fn is_constant(ast: &Ast, id: NodeId) -> bool {
    match ast.expr(id) {
        Expr::Number { .. } | Expr::String(_) => true,
        Expr::Paren(inner) => is_constant(ast, *inner),
        _ => false,
    }
}

fn is_separable_call(ast: &Ast, id: NodeId) -> bool {
    let Expr::Call { function, args } = ast.expr(id) else { return true };
    match function.name {
        "start" | "end" | "range" | "step" | "info" | "sort" | "sort_desc" | "sort_by_label"
        | "sort_by_label_desc" => return false,
        _ => {}
    }
    if window_function(function.name).is_none() {
        return true;
    }
    // What is said about wrong parameters is said of all steps.
    let is_window = |id: NodeId| ast.node(id).value_type == super::ast::ValueType::Matrix;
    if !args.iter().all(|arg| is_window(*arg) || is_constant(ast, *arg)) {
        return false;
    }
    // Series that lose their names must not be equal, not even at different steps.
    keeps_name(function.name) || args.iter().all(|arg| !is_window(*arg) || has_one_name(ast, *arg))
}

/// Whether all series below a matrix have one metric name, or none.
fn has_one_name(ast: &Ast, id: NodeId) -> bool {
    let mut selectors = 0;
    let mut ahead = vec![id];
    while let Some(id) = ahead.pop() {
        match ast.expr(id) {
            Expr::Selector(selector) => {
                selectors += 1;
                let names = |op, name: &str| op == MatchOp::Equal && name == METRIC_NAME;
                if !selector.matchers.iter().any(|matcher| names(matcher.op, &matcher.name)) {
                    return false;
                }
            }
            Expr::Call { function, .. }
                if matches!(function.name, "label_replace" | "label_join") =>
            {
                return false;
            }
            _ => {}
        }
        ahead.extend(ast.expr(id).children());
    }
    selectors <= 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promql::parse::{ParseOptions, parse};

    fn reach(text: &str) -> Option<(i64, Option<i64>)> {
        let ast = parse(text, &ParseOptions::all_features()).unwrap();
        Reach::of(&ast, 300_000).map(|reach| (reach.ahead_ms, reach.pinned_ms))
    }

    #[test]
    fn steps_look_ahead_by_negative_offsets_only() {
        assert_eq!(reach("sum by (a) (rate(x[5m] offset 1h)) / 2"), Some((0, None)));
        assert_eq!(reach("x offset -1m"), Some((60_000, None)));
        assert_eq!(reach("sum_over_time((x offset -1m)[1h:1m] offset -2m)"), Some((180_000, None)));
        assert_eq!(reach("x @ 10 + y @ 20 offset -5s"), Some((5_000, Some(25_000))));
        assert_eq!(reach("rate(x[1m] smoothed)"), Some((360_000, None)));
        let reach = Reach { ahead_ms: 10, pinned_ms: Some(50) };
        assert!(reach.holds_at(89, 100) && !reach.holds_at(90, 100));
        assert!(reach.is_pinned_below(51) && !reach.is_pinned_below(50));
    }

    #[test]
    fn what_looks_at_the_whole_range_is_left_out() {
        for text in [
            "x @ start()",
            "sum_over_time(x[1h:1m] @ end())",
            "time() - start()",
            "sort(x)",
            "topk(scalar(y), x)",
            "quantile_over_time(scalar(y), x[5m])",
            "rate({job=\"a\"}[5m])",
            "max_over_time((x or y)[1h:1m])",
            "max_over_time(label_replace(x, \"__name__\", \"$1\", \"a\", \"(.*)\")[1h:1m])",
            "x offset (1m + step())",
            "info(x)",
        ] {
            assert_eq!(reach(text), None, "{text}");
        }
        assert!(reach("topk(3, x) or max_over_time(rate(x[5m])[1h:1m])").is_some());
        assert!(reach("last_over_time({job=\"a\"}[5m])").is_some());
    }
}
