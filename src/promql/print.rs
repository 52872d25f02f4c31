//! The canonical text of a tree, as Prometheus prints it.
//!
//! INVARIANT: parsing what was printed gives the same tree, spans aside. The one exception is a
//! window or offset below a millisecond, which has no spelling.
//!
//! What differs from Prometheus, because what it prints there is another query:
//! `a offset --1m + 2` prints as `a offset (1m + 2)`, not as `a offset 1m + 2`;
//! `a offset +(1m) + 2` prints as it stands, not as `a offset (1m) + 2`.

use std::fmt::{self, Write};

use super::annotations::GoFloat;
use super::ast::{
    AggregateOp, Ast, AtModifier, BinaryOp, Cardinality, Expr, Fill, NodeId, Selector,
    TimeModifiers, VectorMatching,
};
use super::duration_expr::{DurationExpr, DurationId};
use super::parse::{ParseOptions, parse};
use super::quote::{quote, quote_bytes};
use crate::model::{METRIC_NAME, MatchOp, Matcher};

impl fmt::Display for Ast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&print(self, self.root))
    }
}

/// The text of the node `id`.
pub fn print(ast: &Ast, id: NodeId) -> String {
    Printer::new(ast).print(id)
}

/// Prints nodes of one tree.
pub(super) struct Printer<'a> {
    ast: &'a Ast,
    before_operators: Vec<NodeId>,
}

impl<'a> Printer<'a> {
    pub(super) fn new(ast: &'a Ast) -> Self {
        Self { ast, before_operators: offsets_before_operators(ast) }
    }

    /// The text of the node `id`.
    pub(super) fn print(&self, id: NodeId) -> String {
        // What is still to be written, the last one first: chains are too long for recursion.
        let mut pieces = vec![Piece::Node(id)];
        let mut out = String::new();
        while let Some(piece) = pieces.pop() {
            match piece {
                Piece::Node(id) => {
                    let first = pieces.len();
                    push_pieces(self.ast, id, &self.before_operators, &mut pieces);
                    pieces[first..].reverse();
                }
                Piece::Text(text) => out.push_str(&text),
                Piece::Static(text) => out.push_str(text),
            }
        }
        out
    }

    /// What the node `id` is made of, in order.
    pub(super) fn pieces(&self, id: NodeId) -> Vec<Piece> {
        let mut pieces = Vec::new();
        push_pieces(self.ast, id, &self.before_operators, &mut pieces);
        pieces
    }
}

/// What stands with a computed offset in front of an arithmetic operator, which must not become
/// part of the offset.
fn offsets_before_operators(ast: &Ast) -> Vec<NodeId> {
    let mut found = Vec::new();
    if ast.durations.is_empty() {
        return found;
    }
    for node in &ast.nodes {
        let Expr::Binary { op, lhs, .. } = &node.expr else { continue };
        if op.is_comparison() || op.is_set() || op.is_trim() || *op == BinaryOp::Atan2 {
            continue;
        }
        let mut last = *lhs;
        let modifiers = loop {
            match ast.expr(last) {
                Expr::Binary { rhs, .. } => last = *rhs,
                Expr::Unary { expr, .. } => last = *expr,
                Expr::Selector(selector) => break Some(selector.modifiers),
                Expr::Window { selector, .. } => match ast.expr(*selector) {
                    Expr::Selector(selector) => break Some(selector.modifiers),
                    _ => break None,
                },
                Expr::Subquery { modifiers, .. } => break Some(*modifiers),
                _ => break None,
            }
        };
        let offset = modifiers.and_then(|modifiers| modifiers.offset_expr);
        if offset.is_some() {
            found.push(last);
        }
    }
    found.sort_unstable();
    found
}

/// A part of a text.
pub(super) enum Piece {
    Node(NodeId),
    Text(String),
    Static(&'static str),
}

fn push_pieces(ast: &Ast, id: NodeId, before_operators: &[NodeId], pieces: &mut Vec<Piece>) {
    let before_operator = before_operators.binary_search(&id).is_ok();
    match ast.expr(id) {
        Expr::Number { value, is_duration: true } => pieces.push(Piece::Text(seconds(*value))),
        Expr::Number { value, .. } => pieces.push(Piece::Text(number(*value))),
        Expr::String(text) => pieces.push(Piece::Text(quote(text))),
        Expr::Bytes(bytes) => pieces.push(Piece::Text(quote_bytes(bytes))),
        Expr::Selector(selector) => {
            pieces.push(Piece::Text(instant_selector(ast, selector, before_operator)));
        }
        Expr::Window { selector, range_ms, range_expr } => {
            let range = length(ast, *range_ms, *range_expr);
            pieces.push(Piece::Text(window(ast, *selector, &range, before_operator)));
        }
        Expr::Subquery { expr, range_ms, range_expr, step_ms, step_expr, modifiers } => {
            let step = match (step_ms, step_expr) {
                (None, None) => String::new(),
                _ => length(ast, step_ms.unwrap_or(0), *step_expr),
            };
            let mut suffix = format!("[{}:{step}]", length(ast, *range_ms, *range_expr));
            push_at(&mut suffix, *modifiers);
            push_offset(&mut suffix, ast, *modifiers, before_operator);
            pieces.extend([Piece::Node(*expr), Piece::Text(suffix)]);
        }
        Expr::Call { function, args } => {
            pieces.extend([Piece::Static(function.name), Piece::Static("(")]);
            push_list(args.iter().copied(), pieces);
        }
        Expr::Aggregate { op, expr, param, grouping, without } => {
            let head = aggregate_head(*op, grouping, *without);
            pieces.extend([Piece::Text(head), Piece::Static("(")]);
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

/// An aggregation up to its arguments.
pub(super) fn aggregate_head(op: AggregateOp, grouping: &[String], without: bool) -> String {
    let mut head = op.as_str().to_owned();
    if without || !grouping.is_empty() {
        head.push_str(if without { " without " } else { " by " });
        push_labels(&mut head, grouping);
        head.push(' ');
    }
    head
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

/// An operator with its clauses and the blanks around it.
pub(super) fn operator(
    op: BinaryOp,
    return_bool: bool,
    matching: Option<&VectorMatching>,
) -> String {
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
        push_fill(&mut out, matching.fill);
    }
    out.push(' ');
    out
}

fn push_fill(out: &mut String, fill: Fill) {
    let _ = match (fill.left, fill.right) {
        (Some(left), Some(right)) if left == right => write!(out, " fill ({})", GoFloat(left)),
        (left, right) => {
            [(left, "left"), (right, "right")].into_iter().try_for_each(|(value, side)| match value
            {
                Some(value) => write!(out, " fill_{side} ({})", GoFloat(value)),
                None => Ok(()),
            })
        }
    };
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

fn instant_selector(ast: &Ast, selector: &Selector, before_operator: bool) -> String {
    let mut out = bare_selector(selector);
    push_at(&mut out, selector.modifiers);
    push_extension(&mut out, selector);
    push_offset(&mut out, ast, selector.modifiers, before_operator);
    out
}

fn window(ast: &Ast, id: NodeId, range: &str, before_operator: bool) -> String {
    let Expr::Selector(selector) = ast.expr(id) else {
        unreachable!("BUG: a window stands on a selector");
    };
    let mut out = bare_selector(selector);
    let _ = write!(out, "[{range}]");
    // COMPAT: the word stands in front of `@` here, and behind it where there is no window.
    push_extension(&mut out, selector);
    push_at(&mut out, selector.modifiers);
    push_offset(&mut out, ast, selector.modifiers, before_operator);
    out
}

fn length(ast: &Ast, ms: i64, expr: Option<DurationId>) -> String {
    expr.map_or_else(|| duration_ms(ms), |id| duration(ast, id))
}

/// The text of a computed duration.
fn duration(ast: &Ast, id: DurationId) -> String {
    enum Part {
        Node(DurationId),
        Static(&'static str),
    }
    let mut parts = vec![Part::Node(id)];
    let mut out = String::new();
    while let Some(part) = parts.pop() {
        let id = match part {
            Part::Node(id) => id,
            Part::Static(text) => {
                out.push_str(text);
                continue;
            }
        };
        let node = ast.duration(id);
        let first = parts.len();
        if node.wrapped {
            parts.push(Part::Static("("));
        }
        match node.expr {
            DurationExpr::Number { seconds, is_duration: true } => {
                out.push_str(&self::seconds(seconds));
            }
            DurationExpr::Number { seconds, .. } => out.push_str(&number(seconds)),
            DurationExpr::Step => parts.push(Part::Static("step()")),
            DurationExpr::Range => parts.push(Part::Static("range()")),
            DurationExpr::Unary { negate, operand } => {
                parts.extend([Part::Static(if negate { "-" } else { "" }), Part::Node(operand)]);
            }
            DurationExpr::Binary { op, lhs, rhs } if op.is_call() => parts.extend([
                Part::Static(op.as_str()),
                Part::Static("("),
                Part::Node(lhs),
                Part::Static(", "),
                Part::Node(rhs),
                Part::Static(")"),
            ]),
            DurationExpr::Binary { op, lhs, rhs } => parts.extend([
                Part::Node(lhs),
                Part::Static(" "),
                Part::Static(op.as_str()),
                Part::Static(" "),
                Part::Node(rhs),
            ]),
        }
        if node.wrapped {
            parts.push(Part::Static(")"));
        }
        parts[first..].reverse();
    }
    out
}

fn push_extension(out: &mut String, selector: &Selector) {
    if let Some(extension) = selector.extension {
        let _ = write!(out, " {}", extension.as_str());
    }
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

fn push_at(out: &mut String, modifiers: TimeModifiers) {
    let _ = match modifiers.at {
        Some(AtModifier::Time(ms)) => write!(out, " @ {:.3}", ms as f64 / 1000.0),
        Some(AtModifier::Start) => out.write_str(" @ start()"),
        Some(AtModifier::End) => out.write_str(" @ end()"),
        None => Ok(()),
    };
}

fn push_offset(out: &mut String, ast: &Ast, modifiers: TimeModifiers, before_operator: bool) {
    if !modifiers.has_offset() {
        return;
    }
    let offset = length(ast, modifiers.offset_ms, modifiers.offset_expr);
    let is_operation = modifiers.offset_expr.is_some_and(|id| {
        let mut node = ast.duration(id);
        if let DurationExpr::Unary { operand, .. } = node.expr {
            node = ast.duration(operand);
        }
        matches!(node.expr, DurationExpr::Binary { op, .. } if !op.is_call() && !node.wrapped)
    });
    let is_wrapped = modifiers.offset_expr.is_some_and(|id| ast.duration(id).wrapped);
    let goes_on = offset.starts_with('(') || offset.starts_with("--");
    let _ = match () {
        () if before_operator && is_wrapped => write!(out, " offset +{offset}"),
        () if before_operator && (goes_on || is_operation) => write!(out, " offset +({offset})"),
        () if is_operation && !goes_on => write!(out, " offset ({offset})"),
        () => write!(out, " offset {offset}"),
    };
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
pub(crate) fn number(value: f64) -> String {
    match value {
        f64::INFINITY => "+Inf".to_owned(),
        f64::NEG_INFINITY => "-Inf".to_owned(),
        _ if value.is_nan() => "NaN".to_owned(),
        _ => value.to_string(),
    }
}

/// Panics unless the text, if it is a query, prints as a query of the same size. For tests.
pub fn check_round_trip(text: &str) {
    let options = ParseOptions::all_features();
    let Ok(ast) = parse(text, &options) else { return };
    // A window below a millisecond has no spelling.
    let has_no_spelling = |expr: &Expr| {
        matches!(
            expr,
            Expr::Window { range_ms: 0, range_expr: None, .. }
                | Expr::Subquery { range_ms: 0, range_expr: None, .. }
        )
    };
    if ast.nodes.iter().any(|node| has_no_spelling(&node.expr)) {
        return;
    }
    let printed = ast.to_string();
    // Bytes that an escape made and that are no UTF-8 stand in conditions as U+FFFD, which the
    // grammar refuses as a character.
    if printed.contains(char::REPLACEMENT_CHARACTER) {
        return;
    }
    match parse(&printed, &options) {
        Ok(again) => {
            assert_eq!(again.nodes.len(), ast.nodes.len(), "{text} as {printed}");
            assert_eq!(again.to_string(), printed, "{text}");
            if let Ok(lines) = super::pretty::pretty(&ast, options.text_bytes_max) {
                let again = parse(&lines, &options).map(|again| again.to_string());
                assert_eq!(again.as_deref(), Ok(&*printed), "{text} as {lines}");
            }
        }
        // Canonical spelling is longer than the shortest.
        Err(error) => assert!(printed.len() > options.text_bytes_max, "{printed}: {error}"),
    }
}
