//! The canonical text over several lines, as Prometheus's `format_query` gives it: what is longer
//! than a line has its parts on lines of their own, each level two blanks further in.
//!
//! COMPAT: a subquery that fits on a line is not indented.

use super::ast::{Ast, Expr, NodeId};
use super::print::{Piece, Printer, aggregate_head, operator};

/// Greatest length of what stays on one line, in bytes and without its indent.
const LINE_BYTES_MAX: usize = 100;

/// The text would be longer than the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLong {
    /// The limit in bytes.
    pub bytes_max: usize,
}

impl std::fmt::Display for TooLong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "formatted query is longer than {} bytes", self.bytes_max)
    }
}

impl std::error::Error for TooLong {}

/// What is still to be written.
enum Part {
    Node {
        id: NodeId,
        level: usize,
        /// The line was begun already.
        inline: bool,
    },
    Indent(usize),
    Text(String),
    Static(&'static str),
}

/// The whole query on lines of a bearable length. Nested chains grow with the square of their
/// depth; what is longer than `bytes_max` is refused.
pub fn pretty(ast: &Ast, bytes_max: usize) -> Result<String, TooLong> {
    let printer = Printer::new(ast);
    let lengths = lengths(ast, &printer);
    let mut out = String::new();
    let mut parts = vec![Part::Node { id: ast.root, level: 0, inline: false }];
    while let Some(part) = parts.pop() {
        match part {
            Part::Node { id, level, inline } => {
                let first = parts.len();
                if lengths[id.0 as usize] > LINE_BYTES_MAX && is_split(ast, id) {
                    split(ast, &printer, (id, level, inline), &mut parts);
                } else {
                    let unindented = matches!(ast.expr(id), Expr::Subquery { .. });
                    let level = if inline || unindented { 0 } else { level };
                    parts.extend([Part::Indent(level), Part::Text(printer.print(id))]);
                }
                parts[first..].reverse();
            }
            Part::Indent(level) => out.extend(std::iter::repeat_n("  ", level)),
            Part::Text(text) => out.push_str(&text),
            Part::Static(text) => out.push_str(text),
        }
        if out.len() > bytes_max {
            return Err(TooLong { bytes_max });
        }
    }
    Ok(out)
}

/// Whether a node of this kind has parts to put on lines of their own.
fn is_split(ast: &Ast, id: NodeId) -> bool {
    !matches!(
        ast.expr(id),
        Expr::Number { .. }
            | Expr::String(_)
            | Expr::Bytes(_)
            | Expr::Selector(_)
            | Expr::Window { .. }
    )
}

fn split(
    ast: &Ast,
    printer: &Printer<'_>,
    (id, level, inline): (NodeId, usize, bool),
    parts: &mut Vec<Part>,
) {
    let indent = Part::Indent(if inline { 0 } else { level });
    let inner = |id: NodeId| Part::Node { id, level: level + 1, inline: false };
    let list = |args: &mut dyn Iterator<Item = NodeId>, parts: &mut Vec<Part>| {
        parts.push(Part::Static("(\n"));
        for (index, arg) in args.enumerate() {
            if index > 0 {
                parts.push(Part::Static(",\n"));
            }
            parts.push(inner(arg));
        }
        parts.extend([Part::Static("\n"), Part::Indent(level), Part::Static(")")]);
    };
    match ast.expr(id) {
        Expr::Aggregate { op, expr, param, grouping, without } => {
            parts.extend([indent, Part::Text(aggregate_head(*op, grouping, *without))]);
            list(&mut param.iter().chain([expr]).copied(), parts);
        }
        Expr::Call { function, args } => {
            parts.extend([indent, Part::Static(function.name)]);
            list(&mut args.iter().copied(), parts);
        }
        Expr::Paren(expr) => {
            parts.push(indent);
            list(&mut std::iter::once(*expr), parts);
        }
        Expr::Binary { op, lhs, rhs, return_bool, matching } => {
            let operator = operator(*op, *return_bool, matching.as_ref());
            parts.extend([
                Part::Node { id: *lhs, level: level + 1, inline },
                Part::Static("\n"),
                Part::Indent(level),
                Part::Text(operator.trim().to_owned()),
                Part::Static("\n"),
                inner(*rhs),
            ]);
        }
        Expr::Unary { negate, expr } => parts.extend([
            indent,
            Part::Static(if *negate { "-" } else { "+" }),
            Part::Node { id: *expr, level, inline: true },
        ]),
        Expr::Subquery { expr, .. } => {
            parts.push(Part::Node { id: *expr, level, inline });
            parts.extend(printer.pieces(id).into_iter().filter_map(|piece| match piece {
                Piece::Text(suffix) => Some(Part::Text(suffix)),
                Piece::Node(_) | Piece::Static(_) => None,
            }));
        }
        _ => unreachable!("BUG: the kind of node was looked at"),
    }
}

/// The length in bytes of each node's text on one line.
fn lengths(ast: &Ast, printer: &Printer<'_>) -> Vec<usize> {
    let mut lengths: Vec<usize> = Vec::with_capacity(ast.nodes.len());
    for index in 0..ast.nodes.len() {
        let pieces = printer.pieces(NodeId(index as u32)).into_iter();
        let sum = pieces.fold(0_usize, |sum, piece| {
            sum.saturating_add(match piece {
                Piece::Node(id) => lengths[id.0 as usize],
                Piece::Text(text) => text.len(),
                Piece::Static(text) => text.len(),
            })
        });
        lengths.push(sum);
    }
    lengths
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promql::parse::{ParseOptions, parse};

    fn formatted(text: &str) -> String {
        let ast = parse(text, &ParseOptions::all_features()).unwrap();
        pretty(&ast, 1 << 20).unwrap()
    }

    #[test]
    fn what_fits_stays_on_one_line() {
        assert_eq!(formatted("sum(a)by(b)"), "sum by (b) (a)");
    }

    #[test]
    fn what_is_long_has_lines_of_its_own() {
        let long = format!("metric_{}", "x".repeat(90));
        let text = format!("-topk without(a) (2, ({long}+bool_metric)) > bool on(a) {long}[5m:] ");
        let text = text.replace("[5m:]", "");
        assert_eq!(
            formatted(&text),
            format!(
                "  -topk without (a) (\n    2,\n    (\n        {long}\n      +\n        \
                 bool_metric\n    )\n  )\n> bool on (a)\n  {long}"
            )
        );
        assert_eq!(
            formatted(&format!("max_over_time(abs({long})[5m:])")),
            format!("max_over_time(\n  abs(\n    {long}\n  )[5m:]\n)")
        );
    }

    #[test]
    fn a_deep_chain_is_refused_at_once() {
        let text = format!("1{}", "+1".repeat(40_000));
        let ast = parse(&text, &ParseOptions::default()).unwrap();
        assert_eq!(pretty(&ast, 1 << 20), Err(TooLong { bytes_max: 1 << 20 }));
    }
}
