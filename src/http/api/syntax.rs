//! `format_query` and `parse_query`: a query's canonical text, and its tree.
//!
//! COMPAT: keys of objects stand in order of their names.

use super::{json, success};
use crate::http::params::Params;
use crate::http::reply::ApiError;
use crate::http::service::Service;
use crate::http::stream::Sink;
use crate::model::{FloatStyle, Matcher, push_float};
use crate::promql::ast::{
    Ast, AtModifier, Cardinality, Expr, Extension, Function, NodeId, Selector, TimeModifiers,
    VectorMatching,
};
use crate::promql::duration_expr::{DurationExpr, DurationId};
use crate::promql::parse::parse;
use crate::promql::pretty::pretty;
use crate::select::Cancellation;

/// Greatest size of a formatted query.
const FORMATTED_BYTES_MAX: usize = 16 << 20;

fn parsed(service: &Service, params: &Params) -> Result<Ast, ApiError> {
    parse(params.text("query"), &service.settings.parse)
        .map_err(|error| ApiError::invalid_parameter("query", &error.to_string()))
}

/// `/api/v1/format_query`
pub(in crate::http) fn format_query(
    service: &Service,
    params: &Params,
    sink: &mut Sink,
    _: &Cancellation,
) -> Result<(), ApiError> {
    let ast = parsed(service, params)?;
    let text = pretty(&ast, FORMATTED_BYTES_MAX)
        .map_err(|error| ApiError::invalid_parameter("query", &error.to_string()))?;
    let data = |sink: &mut Sink| {
        json::push_str(sink.buffer(), &text);
        Ok(())
    };
    success(sink, data, &[], &[])
}

/// `/api/v1/parse_query`
pub(in crate::http) fn parse_query(
    service: &Service,
    params: &Params,
    sink: &mut Sink,
    _: &Cancellation,
) -> Result<(), ApiError> {
    let ast = parsed(service, params)?;
    success(sink, |sink| print_tree(sink, &ast), &[], &[])
}

/// What is still to be printed.
enum Part {
    Node(NodeId),
    Duration(Option<DurationId>),
    Text(Vec<u8>),
    Static(&'static str),
}

/// Prints the tree without recursion: chains may be long.
fn print_tree(sink: &mut Sink, ast: &Ast) -> Result<(), ApiError> {
    let mut parts = vec![Part::Node(ast.root)];
    while let Some(part) = parts.pop() {
        let first = parts.len();
        match part {
            Part::Node(id) => push_node(ast, id, &mut parts),
            Part::Duration(Some(id)) => push_duration(ast, id, &mut parts),
            Part::Duration(None) => sink.buffer().extend_from_slice(b"null"),
            Part::Text(text) => sink.buffer().extend_from_slice(&text),
            Part::Static(text) => sink.buffer().extend_from_slice(text.as_bytes()),
        }
        parts[first..].reverse();
        sink.flush_if_full()?;
    }
    Ok(())
}

fn text(print: impl FnOnce(&mut Vec<u8>)) -> Part {
    let mut out = Vec::new();
    print(&mut out);
    Part::Text(out)
}

fn string(value: &str) -> Part {
    text(|out| json::push_str(out, value))
}

fn strings(values: &[String]) -> Part {
    text(|out| json::push_strings(out, values))
}

fn integer(value: i64) -> Part {
    Part::Text(value.to_string().into_bytes())
}

fn boolean(value: bool) -> Part {
    Part::Static(if value { "true" } else { "false" })
}

fn plain_number(value: f64) -> Part {
    text(|out| {
        out.push(b'"');
        push_float(out, value, FloatStyle::Plain);
        out.push(b'"');
    })
}

fn push_node(ast: &Ast, id: NodeId, parts: &mut Vec<Part>) {
    use Part::{Node, Static};
    match ast.expr(id) {
        Expr::Aggregate { op, expr, param, grouping, without } => parts.extend([
            Static("{\"expr\":"),
            Node(*expr),
            Static(",\"grouping\":"),
            strings(grouping),
            Static(",\"op\":"),
            string(op.as_str()),
            Static(",\"param\":"),
            param.map_or(Static("null"), Node),
            Static(",\"type\":\"aggregation\",\"without\":"),
            boolean(*without),
            Static("}"),
        ]),
        Expr::Binary { op, lhs, rhs, return_bool, matching } => parts.extend([
            Static("{\"bool\":"),
            boolean(*return_bool),
            Static(",\"lhs\":"),
            Node(*lhs),
            Static(",\"matching\":"),
            matching.as_ref().map_or(Static("null"), matching_part),
            Static(",\"op\":"),
            string(op.as_str()),
            Static(",\"rhs\":"),
            Node(*rhs),
            Static(",\"type\":\"binaryExpr\"}"),
        ]),
        Expr::Call { function, args } => {
            parts.push(Static("{\"args\":["));
            for (index, arg) in args.iter().enumerate() {
                parts.extend([Static(if index > 0 { "," } else { "" }), Node(*arg)]);
            }
            let function = text(|out| print_function(out, function));
            parts.extend([Static("],\"func\":"), function, Static(",\"type\":\"call\"}")]);
        }
        Expr::Window { selector, range_ms, range_expr } => {
            let Expr::Selector(selector) = ast.expr(*selector) else {
                unreachable!("BUG: a window stands on a selector")
            };
            let length = (*range_ms, *range_expr);
            push_selector(selector, Some(length), "matrixSelector", parts);
        }
        Expr::Selector(selector) => push_selector(selector, None, "vectorSelector", parts),
        Expr::Subquery { expr, range_ms, range_expr, step_ms, step_expr, modifiers } => {
            parts.extend([Static("{\"expr\":"), Node(*expr), Static(",")]);
            push_offset(*modifiers, parts);
            push_length("range", *range_ms, *range_expr, parts);
            parts.extend([start_or_end(*modifiers), Static(",")]);
            push_length("step", step_ms.unwrap_or(0), *step_expr, parts);
            parts.extend([timestamp(*modifiers), Static(",\"type\":\"subquery\"}")]);
        }
        Expr::Number { value, .. } => push_literal("numberLiteral", plain_number(*value), parts),
        Expr::String(value) => push_literal("stringLiteral", string(value), parts),
        Expr::Bytes(value) => {
            push_literal("stringLiteral", string(&String::from_utf8_lossy(value)), parts);
        }
        Expr::Paren(expr) => {
            parts.extend([Static("{\"expr\":"), Node(*expr), Static(",\"type\":\"parenExpr\"}")]);
        }
        Expr::Unary { negate, expr } => parts.extend([
            Static("{\"expr\":"),
            Node(*expr),
            Static(",\"op\":"),
            string(if *negate { "-" } else { "+" }),
            Static(",\"type\":\"unaryExpr\"}"),
        ]),
    }
}

fn push_literal(kind: &str, value: Part, parts: &mut Vec<Part>) {
    let kind = Part::Text(format!("{{\"type\":\"{kind}\",\"val\":").into_bytes());
    parts.extend([kind, value, Part::Static("}")]);
}

fn push_selector(
    selector: &Selector,
    length: Option<(i64, Option<DurationId>)>,
    kind: &'static str,
    parts: &mut Vec<Part>,
) {
    parts.extend([
        Part::Static("{\"anchored\":"),
        boolean(selector.extension == Some(Extension::Anchored)),
        Part::Static(",\"matchers\":"),
        text(|out| print_matchers(out, &selector.matchers)),
        Part::Static(",\"name\":"),
        string(selector.name.as_deref().unwrap_or("")),
        Part::Static(","),
    ]);
    push_offset(selector.modifiers, parts);
    if let Some((ms, expr)) = length {
        push_length("range", ms, expr, parts);
    }
    parts.extend([
        Part::Static("\"smoothed\":"),
        boolean(selector.extension == Some(Extension::Smoothed)),
        Part::Static(","),
        start_or_end(selector.modifiers),
        Part::Static(","),
        timestamp(selector.modifiers),
        Part::Static(",\"type\":"),
        string(kind),
        Part::Static("}"),
    ]);
}

fn push_length(name: &str, ms: i64, expr: Option<DurationId>, parts: &mut Vec<Part>) {
    parts.extend([
        Part::Text(format!("\"{name}\":").into_bytes()),
        integer(ms),
        Part::Text(format!(",\"{name}Expr\":").into_bytes()),
        Part::Duration(expr),
        Part::Static(","),
    ]);
}

fn push_offset(modifiers: TimeModifiers, parts: &mut Vec<Part>) {
    push_length("offset", modifiers.offset_ms, modifiers.offset_expr, parts);
}

fn start_or_end(modifiers: TimeModifiers) -> Part {
    Part::Static(match modifiers.at {
        Some(AtModifier::Start) => "\"startOrEnd\":\"start\"",
        Some(AtModifier::End) => "\"startOrEnd\":\"end\"",
        Some(AtModifier::Time(_)) | None => "\"startOrEnd\":null",
    })
}

fn timestamp(modifiers: TimeModifiers) -> Part {
    match modifiers.at {
        Some(AtModifier::Time(t_ms)) => Part::Text(format!("\"timestamp\":{t_ms}").into_bytes()),
        _ => Part::Static("\"timestamp\":null"),
    }
}

fn push_duration(ast: &Ast, id: DurationId, parts: &mut Vec<Part>) {
    let node = ast.duration(id);
    let (lhs, op, rhs) = match node.expr {
        DurationExpr::Number { seconds, is_duration } => {
            parts.extend([
                Part::Static("{\"duration\":"),
                boolean(is_duration),
                Part::Static(",\"type\":\"numberLiteral\",\"val\":"),
                plain_number(seconds),
                Part::Static("}"),
            ]);
            return;
        }
        DurationExpr::Step => (None, "step", None),
        DurationExpr::Range => (None, "range", None),
        DurationExpr::Unary { negate, operand } => {
            (None, if negate { "-" } else { "+" }, Some(operand))
        }
        DurationExpr::Binary { op, lhs, rhs } => (Some(lhs), op.as_str(), Some(rhs)),
    };
    parts.extend([
        Part::Static("{\"lhs\":"),
        Part::Duration(lhs),
        Part::Static(",\"op\":"),
        string(op),
        Part::Static(",\"rhs\":"),
        Part::Duration(rhs),
        Part::Static(",\"type\":\"durationExpr\",\"wrapped\":"),
        boolean(node.wrapped),
        Part::Static("}"),
    ]);
}

fn matching_part(matching: &VectorMatching) -> Part {
    let card = match matching.cardinality {
        Cardinality::OneToOne => "one-to-one",
        Cardinality::ManyToOne => "many-to-one",
        Cardinality::OneToMany => "one-to-many",
        Cardinality::ManyToMany => "many-to-many",
    };
    text(|out| {
        out.extend_from_slice(format!("{{\"card\":\"{card}\",\"fillValues\":").as_bytes());
        for (mark, value) in [("{\"lhs\":", matching.fill.left), (",\"rhs\":", matching.fill.right)]
        {
            out.extend_from_slice(mark.as_bytes());
            match value {
                // JSON has no number for the others.
                Some(value) if value.is_finite() => push_float(out, value, FloatStyle::Api),
                _ => out.extend_from_slice(b"null"),
            }
        }
        out.extend_from_slice(b"},\"include\":");
        json::push_strings(out, &matching.include);
        out.extend_from_slice(b",\"labels\":");
        json::push_strings(out, &matching.labels);
        out.extend_from_slice(format!(",\"on\":{}}}", matching.on).as_bytes());
    })
}

fn print_function(out: &mut Vec<u8>, function: &Function) {
    let types: Vec<_> = function.args.iter().map(|t| t.as_str().to_owned()).collect();
    out.extend_from_slice(b"{\"argTypes\":");
    json::push_strings(out, &types);
    out.extend_from_slice(b",\"name\":");
    json::push_str(out, function.name);
    let (result, variadic) = (function.result.as_str(), function.variadic);
    let rest = format!(",\"returnType\":\"{result}\",\"variadic\":{variadic}}}");
    out.extend_from_slice(rest.as_bytes());
}

fn print_matchers(out: &mut Vec<u8>, matchers: &[Matcher]) {
    out.push(b'[');
    for (index, matcher) in matchers.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        let pairs =
            [("name", &*matcher.name), ("type", matcher.op.as_str()), ("value", &*matcher.value)];
        json::push_object(out, pairs);
    }
    out.push(b']');
}
