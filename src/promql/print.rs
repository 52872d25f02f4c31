//! The canonical text of a tree, as Prometheus prints it.
//!
//! INVARIANT: parsing what was printed gives the same tree, spans aside. The one exception is a
//! window or offset below a millisecond, which has no spelling.

use std::fmt::{self, Write};

use super::ast::{
    Ast, AtModifier, BinaryOp, Cardinality, Expr, NodeId, Selector, TimeModifiers, VectorMatching,
};
use super::parse::{ParseOptions, parse};
use super::quote::quote;
use crate::model::{METRIC_NAME, MatchOp, Matcher};

impl fmt::Display for Ast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&print(self, self.root))
    }
}

/// The text of the node `id`.
pub fn print(ast: &Ast, id: NodeId) -> String {
    // What is still to be written, the last one first: chains are too long for recursion.
    let mut pieces = vec![Piece::Node(id)];
    let mut out = String::new();
    while let Some(piece) = pieces.pop() {
        match piece {
            Piece::Node(id) => {
                let first = pieces.len();
                push_pieces(ast, id, &mut pieces);
                pieces[first..].reverse();
            }
            Piece::Text(text) => out.push_str(&text),
            Piece::Static(text) => out.push_str(text),
        }
    }
    out
}

enum Piece {
    Node(NodeId),
    Text(String),
    Static(&'static str),
}

fn push_pieces(ast: &Ast, id: NodeId, pieces: &mut Vec<Piece>) {
    match ast.expr(id) {
        Expr::Number { value, is_duration: true } => pieces.push(Piece::Text(seconds(*value))),
        Expr::Number { value, .. } => pieces.push(Piece::Text(number(*value))),
        Expr::String(text) => pieces.push(Piece::Text(quote(text))),
        Expr::Selector(selector) => pieces.push(Piece::Text(instant_selector(selector))),
        Expr::Window { selector, range_ms } => {
            pieces.push(Piece::Text(window(ast, *selector, *range_ms)));
        }
        Expr::Subquery { expr, range_ms, step_ms, modifiers } => {
            let step = step_ms.map(duration_ms).unwrap_or_default();
            let mut suffix = format!("[{}:{step}]", duration_ms(*range_ms));
            push_modifiers(&mut suffix, *modifiers);
            pieces.extend([Piece::Node(*expr), Piece::Text(suffix)]);
        }
        Expr::Call { function, args } => {
            pieces.extend([Piece::Static(function.name), Piece::Static("(")]);
            push_list(args.iter().copied(), pieces);
        }
        Expr::Aggregate { op, expr, param, grouping, without } => {
            let mut head = op.as_str().to_owned();
            if *without || !grouping.is_empty() {
                head.push_str(if *without { " without " } else { " by " });
                push_labels(&mut head, grouping);
                head.push(' ');
            }
            head.push('(');
            pieces.push(Piece::Text(head));
            push_list(param.iter().chain([expr]).copied(), pieces);
        }
        Expr::Binary { op, lhs, rhs, return_bool, matching } => {
            let operator = operator(*op, *return_bool, matching.as_ref());
            pieces.extend([Piece::Node(*lhs), Piece::Text(operator), Piece::Node(*rhs)]);
        }
        Expr::Unary { negate, expr } => {
            pieces.extend([Piece::Static(if *negate { "-" } else { "+" }), Piece::Node(*expr)]);
        }
        Expr::Paren(expr) => {
            pieces.extend([Piece::Static("("), Piece::Node(*expr), Piece::Static(")")]);
        }
    }
}

fn push_list(args: impl Iterator<Item = NodeId>, pieces: &mut Vec<Piece>) {
    for (index, arg) in args.enumerate() {
        if index > 0 {
            pieces.push(Piece::Static(", "));
        }
        pieces.push(Piece::Node(arg));
    }
    pieces.push(Piece::Static(")"));
}

fn operator(op: BinaryOp, return_bool: bool, matching: Option<&VectorMatching>) -> String {
    let mut out = format!(" {}", op.as_str());
    if return_bool {
        out.push_str(" bool");
    }
    if let Some(matching) = matching {
        let side = match matching.cardinality {
            Cardinality::ManyToOne => Some("left"),
            Cardinality::OneToMany => Some("right"),
            Cardinality::OneToOne | Cardinality::ManyToMany => None,
        };
        if matching.on || !matching.labels.is_empty() || side.is_some() {
            out.push_str(if matching.on { " on " } else { " ignoring " });
            push_labels(&mut out, &matching.labels);
        }
        if let Some(side) = side {
            let _ = write!(out, " group_{side} ");
            push_labels(&mut out, &matching.include);
        }
    }
    out.push(' ');
    out
}

fn push_labels(out: &mut String, labels: &[String]) {
    out.push('(');
    for (index, label) in labels.iter().enumerate() {
        if index > 0 {
            out.push_str(", ");
        }
        push_label(out, label);
    }
    out.push(')');
}

fn push_label(out: &mut String, label: &str) {
    let is_plain = !label.starts_with(|c: char| c.is_ascii_digit())
        && label.bytes().all(|b| b == b'_' || b.is_ascii_alphanumeric())
        && !label.is_empty();
    if is_plain { out.push_str(label) } else { out.push_str(&quote(label)) }
}

fn instant_selector(selector: &Selector) -> String {
    let mut out = bare_selector(selector);
    push_modifiers(&mut out, selector.modifiers);
    out
}

fn window(ast: &Ast, id: NodeId, range_ms: i64) -> String {
    let Expr::Selector(selector) = ast.expr(id) else {
        unreachable!("BUG: a window stands on a selector");
    };
    let mut out = bare_selector(selector);
    let _ = write!(out, "[{}]", duration_ms(range_ms));
    push_modifiers(&mut out, selector.modifiers);
    out
}

fn bare_selector(selector: &Selector) -> String {
    let name = selector.name.as_deref().unwrap_or("");
    let is_name = |m: &&Matcher| {
        m.name == METRIC_NAME && m.op == MatchOp::Equal && m.value == name && !name.is_empty()
    };
    let mut conditions: Vec<_> =
        selector.matchers.iter().filter(|m| !is_name(m)).map(condition).collect();
    conditions.sort_unstable();
    let mut out = name.to_owned();
    if !conditions.is_empty() {
        let _ = write!(out, "{{{}}}", conditions.join(","));
    }
    out
}

/// A matcher as Prometheus prints it.
pub fn condition(matcher: &Matcher) -> String {
    let mut out = String::new();
    push_label(&mut out, &matcher.name);
    out.push_str(matcher.op.as_str());
    out.push_str(&quote(&matcher.value));
    out
}

fn push_modifiers(out: &mut String, modifiers: TimeModifiers) {
    let _ = match modifiers.at {
        Some(AtModifier::Time(ms)) => write!(out, " @ {:.3}", ms as f64 / 1000.0),
        Some(AtModifier::Start) => out.write_str(" @ start()"),
        Some(AtModifier::End) => out.write_str(" @ end()"),
        None => Ok(()),
    };
    if modifiers.offset_ms != 0 {
        let _ = write!(out, " offset {}", duration_ms(modifiers.offset_ms));
    }
}

/// Milliseconds in the units of the language: `1h30m`.
///
/// COMPAT: years and weeks only where they are the whole of it.
pub fn duration_ms(ms: i64) -> String {
    const UNITS: [(&str, u64, bool); 7] = [
        ("y", 365 * 86_400_000, true),
        ("w", 7 * 86_400_000, true),
        ("d", 86_400_000, false),
        ("h", 3_600_000, false),
        ("m", 60_000, false),
        ("s", 1000, false),
        ("ms", 1, false),
    ];
    if ms == 0 {
        return "0s".to_owned();
    }
    let mut out = String::new();
    if ms < 0 {
        out.push('-');
    }
    let mut rest = ms.unsigned_abs();
    for (unit, length, exactly) in UNITS {
        let count = rest / length;
        if count > 0 && (!exactly || rest.is_multiple_of(length)) {
            let _ = write!(out, "{count}{unit}");
            rest -= count * length;
        }
    }
    out
}

fn seconds(value: f64) -> String {
    let ms = ((value.abs() * 1e9) as i64) / 1_000_000;
    if value < 0.0 { format!("-{}", duration_ms(ms)) } else { duration_ms(ms) }
}

/// A float without exponent, in the fewest digits that read back as the same value.
fn number(value: f64) -> String {
    match value {
        f64::INFINITY => "+Inf".to_owned(),
        f64::NEG_INFINITY => "-Inf".to_owned(),
        _ if value.is_nan() => "NaN".to_owned(),
        _ => value.to_string(),
    }
}

/// Panics unless the text, if it is a query, prints as a query of the same size. For tests.
pub fn check_round_trip(text: &str) {
    let options = ParseOptions { experimental_functions: true, ..ParseOptions::default() };
    let Ok(ast) = parse(text, &options) else { return };
    // A window below a millisecond has no spelling.
    let has_no_spelling = |expr: &Expr| {
        matches!(expr, Expr::Window { range_ms: 0, .. } | Expr::Subquery { range_ms: 0, .. })
    };
    if ast.nodes.iter().any(|node| has_no_spelling(&node.expr)) {
        return;
    }
    let printed = ast.to_string();
    // Bytes that an escape made and that are no UTF-8 stand in strings as U+FFFD, which the
    // grammar refuses as a character.
    if printed.contains(char::REPLACEMENT_CHARACTER) {
        return;
    }
    match parse(&printed, &options) {
        Ok(again) => assert_eq!(again.nodes.len(), ast.nodes.len(), "{text} as {printed}"),
        // Canonical spelling is longer than the shortest.
        Err(error) => assert!(printed.len() > options.text_bytes_max, "{printed}: {error}"),
    }
}
