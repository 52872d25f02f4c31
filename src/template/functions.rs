//! The functions: Prometheus's own, and the table of all.
//!
//! COMPAT: names, parameters, results and error texts are those of Prometheus's `template`.

use std::sync::Arc;

use super::builtins;
use super::call::Param;
use super::expander::World;
use super::float::format_float;
use super::print::Room;
use super::time::Time;
use super::value::{Integer, Map, Value};
use super::words::{split_host_port, title, url_path, url_query_escape};
use crate::model::{go_quote, parse_duration, parse_float};
use crate::regex::Search;

/// Maps of `args` within each other at most.
const MAP_DEPTH_MAX: usize = 50;

/// What a function does; arguments fit its parameters, and the receiver of a method is the first.
pub(super) type Body = fn(&World<'_>, Room, &[Value]) -> Result<Value, String>;

/// A function.
pub(super) struct Function {
    pub(super) name: &'static str,
    pub(super) fixed: &'static [Param],
    /// Of any number of further arguments.
    pub(super) rest: Option<Param>,
    pub(super) body: Body,
}

/// The function of that name; there is one more where the result is HTML.
pub(super) fn function_of(name: &str, is_html: bool) -> Option<&'static Function> {
    let of_html = if is_html { HTML_FUNCTIONS } else { &[] };
    let mut all = of_html.iter().chain(FUNCTIONS).chain(builtins::FUNCTIONS);
    all.find(|function| function.name == name)
}

const fn with(name: &'static str, fixed: &'static [Param], body: Body) -> Function {
    Function { name, fixed, rest: None, body }
}

/// Evaluated by the machine.
static HTML_FUNCTIONS: &[Function] =
    &[with("tmpl", &[Param::Text, Param::Any], |_, _, _| Ok(Value::Missing))];

static FUNCTIONS: &[Function] = &[
    with("query", &[Param::Text], query),
    with("first", &[Param::Samples], |_, _, v| match &v[0] {
        Value::Samples(samples) if !samples.is_empty() => {
            Ok(Value::Sample(Some(Arc::clone(&samples[0]))))
        }
        _ => Err("first() called on vector with no elements".to_owned()),
    }),
    with("label", &[Param::Text, Param::Sample], |_, _, v| label(&v[1], text(&v[0]))),
    with("value", &[Param::Sample], |_, _, v| match &v[0] {
        Value::Sample(Some(sample)) => Ok(Value::of_sample(&sample.value)),
        _ => Err(NIL_POINTER.to_owned()),
    }),
    with("strvalue", &[Param::Sample], |_, _, v| label(&v[0], "__value__")),
    Function { name: "args", fixed: &[], rest: Some(Param::Any), body: args },
    with("reReplaceAll", &[Param::Text, Param::Text, Param::Text], replace_all),
    with("safeHtml", &[Param::Text], |_, _, v| Ok(Value::Html(text(&v[0]).into()))),
    with("match", &[Param::Text, Param::Text], |_, _, v| {
        let search = Search::new(text(&v[0])).map_err(|error| error.to_string())?;
        Ok(Value::Bool(search.is_found_in(text(&v[1]))))
    }),
    with("title", &[Param::Text], |_, _, v| Ok(Value::text(title(text(&v[0]))))),
    with("toUpper", &[Param::Text], |_, _, v| Ok(Value::text(upper(text(&v[0]))))),
    with("toLower", &[Param::Text], |_, _, v| Ok(Value::text(lower(text(&v[0]))))),
    with("graphLink", &[Param::Text], |_, _, v| Ok(link(text(&v[0]), 0))),
    with("tableLink", &[Param::Text], |_, _, v| Ok(link(text(&v[0]), 1))),
    with("sortByLabel", &[Param::Text, Param::Samples], |_, _, v| Ok(sort_by_label(v))),
    with("stripPort", &[Param::Text], |_, _, v| {
        let address = text(&v[0]);
        Ok(Value::text(split_host_port(address).map_or(address, |(host, _)| host)))
    }),
    with("stripDomain", &[Param::Text], |_, _, v| Ok(Value::text(strip_domain(text(&v[0]))))),
    with("humanize", &[Param::Any], |_, _, v| Ok(Value::text(humanize(to_float(&v[0])?)))),
    with("humanize1024", &[Param::Any], |_, _, v| Ok(Value::text(humanize_1024(to_float(&v[0])?)))),
    with("humanizeDuration", &[Param::Any], |_, _, v| {
        Ok(Value::text(humanize_duration(to_float(&v[0])?)))
    }),
    with("humanizePercentage", &[Param::Any], |_, _, v| {
        Ok(Value::text(format!("{}%", short(to_float(&v[0])? * 100.0))))
    }),
    with("humanizeTimestamp", &[Param::Any], |_, _, v| {
        let seconds = to_float(&v[0])?;
        if !seconds.is_finite() {
            return Ok(Value::text(short(seconds)));
        }
        Ok(Value::text(to_time(seconds)?.text()))
    }),
    with("toTime", &[Param::Any], |_, _, v| Ok(Value::TimePointer(to_time(to_float(&v[0])?)?))),
    with("toDuration", &[Param::Any], |_, _, v| {
        Ok(Value::DurationPointer(go_integer(to_float(&v[0])? * 1e9)))
    }),
    with("now", &[], |world, _, _| Ok(Value::Float(world.t_ms as f64 / 1000.0))),
    with("pathPrefix", &[], |world, _, _| Ok(Value::text(url_path(world.external_url)))),
    with("externalURL", &[], |world, _, _| Ok(Value::text(world.external_url))),
    with("parseDuration", &[Param::Text], |_, _, v| {
        let written = text(&v[0]);
        let (sign, positive) = match written.strip_prefix('-') {
            Some(rest) => (-1.0, rest),
            None => (1.0, written),
        };
        let ms = parse_duration(positive).map_err(|error| error.to_string())?;
        Ok(Value::Float(sign * (ms as f64 / 1000.0)))
    }),
    with("urlQueryEscape", &[Param::Text], |_, _, v| {
        Ok(Value::text(url_query_escape(text(&v[0]))))
    }),
];

/// What Go says where a pointer to nothing is followed.
const NIL_POINTER: &str = "runtime error: invalid memory address or nil pointer dereference";

fn text(value: &Value) -> &str {
    value.as_text().map_or("", |text| text)
}

fn query(world: &World<'_>, _: Room, values: &[Value]) -> Result<Value, String> {
    let samples = world.queries.query(text(&values[0]), world.t_ms)?;
    Ok(Value::Samples(samples.into_iter().map(Arc::new).collect()))
}

fn label(sample: &Value, name: &str) -> Result<Value, String> {
    match sample {
        Value::Sample(Some(sample)) => Ok(Value::text(sample.labels.get(name).unwrap_or_default())),
        _ => Err(NIL_POINTER.to_owned()),
    }
}

fn args(_: &World<'_>, _: Room, values: &[Value]) -> Result<Value, String> {
    let depth_of = |value: &Value| match value {
        Value::Map(map) => map.depth,
        _ => 0,
    };
    let depth = 1 + values.iter().map(depth_of).max().unwrap_or(0);
    if depth > MAP_DEPTH_MAX {
        return Err(format!("more than {MAP_DEPTH_MAX} args within each other"));
    }
    let named = |(i, value): (usize, &Value)| (format!("arg{i}"), value.clone());
    let entries = values.iter().enumerate().map(named).collect();
    Ok(Value::Map(Arc::new(Map { depth, entries })))
}

fn replace_all(_: &World<'_>, room: Room, values: &[Value]) -> Result<Value, String> {
    let pattern = text(&values[0]);
    let search = Search::new(pattern).map_err(|error| {
        let quoted = if pattern.chars().any(|c| c == '`' || (c.is_control() && c != '\t')) {
            go_quote(pattern)
        } else {
            format!("`{pattern}`")
        };
        format!("regexp: Compile({quoted}): {error}")
    })?;
    let replaced = search.replace_all(text(&values[2]), text(&values[1]), room.bytes_max);
    replaced
        .map(Value::text)
        .ok_or_else(|| format!("the result is longer than {} bytes", room.bytes_max))
}

fn sort_by_label(values: &[Value]) -> Value {
    let Value::Samples(samples) = &values[1] else { return values[1].clone() };
    let name = text(&values[0]);
    let mut sorted = samples.to_vec();
    sorted.sort_by(|a, b| {
        a.labels.get(name).unwrap_or_default().cmp(b.labels.get(name).unwrap_or_default())
    });
    Value::Samples(sorted.into())
}

fn link(expr: &str, tab: u8) -> Value {
    Value::text(format!("/graph?g0.expr={}&g0.tab={tab}", url_query_escape(expr)))
}

/// Every character by itself, as Go maps them.
fn upper(text: &str) -> String {
    let one = |c: char| {
        let mut mapped = c.to_uppercase();
        match (mapped.next(), mapped.next()) {
            (Some(only), None) => only,
            _ => c,
        }
    };
    text.chars().map(one).collect()
}

fn lower(text: &str) -> String {
    text.chars().map(|c| c.to_lowercase().next().unwrap_or(c)).collect()
}

fn strip_domain(address: &str) -> String {
    let (host, port) = split_host_port(address).unwrap_or((address, ""));
    if host.parse::<std::net::IpAddr>().is_ok() {
        return address.to_owned();
    }
    let host = host.split('.').next().unwrap_or_default();
    match port {
        "" => host.to_owned(),
        _ if host.contains(':') => format!("[{host}]:{port}"),
        _ => format!("{host}:{port}"),
    }
}

/// The number that a value means.
fn to_float(value: &Value) -> Result<f64, String> {
    Ok(match value {
        Value::Float(value) => *value,
        Value::Text(text) => return parse_number(text),
        Value::Int(value, Integer::Int | Integer::Int64) => *value as f64,
        Value::Int(ns, Integer::Duration) => {
            (ns / 1_000_000_000) as f64 + (ns % 1_000_000_000) as f64 / 1e9
        }
        Value::Missing | Value::Nil => return Err("can't convert <nil> to float".to_owned()),
        _ => return Err(format!("can't convert {} to float", value.type_name())),
    })
}

fn parse_number(text: &str) -> Result<f64, String> {
    parse_float(text).ok_or_else(|| {
        let plain = text.replace('_', "");
        let is_too_large = plain.parse::<f64>().is_ok_and(f64::is_infinite);
        let why = if is_too_large { "value out of range" } else { "invalid syntax" };
        format!("strconv.ParseFloat: parsing {}: {why}", go_quote(text))
    })
}

fn to_time(seconds: f64) -> Result<Time, String> {
    if !seconds.is_finite() {
        return Err("value is NaN or Inf".to_owned());
    }
    let nanoseconds = seconds * 1e9;
    // The bounds as floats, where the upper one rounds up, as in Go.
    if nanoseconds > i64::MAX as f64 || nanoseconds < i64::MIN as f64 {
        let shown = format_float(seconds, 'g', None);
        return Err(format!(
            "{shown} cannot be represented as a nanoseconds timestamp since it overflows int64"
        ));
    }
    Ok(Time::from_ms(go_integer(nanoseconds) / 1_000_000))
}

/// A float as an integer as amd64 converts it: what does not fit is the least one.
fn go_integer(value: f64) -> i64 {
    if value >= -(2_f64.powi(63)) && value < 2_f64.powi(63) { value as i64 } else { i64::MIN }
}

/// Four significant digits.
fn short(value: f64) -> String {
    format_float(value, 'g', Some(4))
}

fn humanize(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return short(value);
    }
    if value.abs() >= 1.0 {
        return scaled_down(value, 1000.0, ["k", "M", "G", "T", "P", "E", "Z", "Y"]);
    }
    let (value, prefix) = scaled_up(value);
    format!("{}{prefix}", short(value))
}

fn humanize_1024(value: f64) -> String {
    if value.abs() <= 1.0 || !value.is_finite() {
        return short(value);
    }
    scaled_down(value, 1024.0, ["ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"])
}

fn scaled_down(mut value: f64, factor: f64, prefixes: [&'static str; 8]) -> String {
    let mut prefix = "";
    for larger in prefixes {
        if value.abs() < factor {
            break;
        }
        prefix = larger;
        value /= factor;
    }
    format!("{}{prefix}", short(value))
}

fn scaled_up(mut value: f64) -> (f64, &'static str) {
    let mut prefix = "";
    for smaller in ["m", "u", "n", "p", "f", "a", "z", "y"] {
        if value.abs() >= 1.0 {
            break;
        }
        prefix = smaller;
        value *= 1000.0;
    }
    (value, prefix)
}

fn humanize_duration(value: f64) -> String {
    if !value.is_finite() {
        return short(value);
    }
    if value == 0.0 {
        return format!("{}s", short(value));
    }
    if value.abs() < 1.0 {
        let (value, prefix) = scaled_up(value);
        return format!("{}{prefix}s", short(value));
    }
    let sign = if value < 0.0 { "-" } else { "" };
    let whole = go_integer(value.abs());
    let (seconds, minutes) = (whole % 60, whole / 60 % 60);
    let (hours, days) = (whole / 3600 % 24, whole / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{sign}{}s", short(value.abs())),
        (0, 0, _) => format!("{sign}{minutes}m {seconds}s"),
        (0, ..) => format!("{sign}{hours}h {minutes}m {seconds}s"),
        _ => format!("{sign}{days}d {hours}h {minutes}m {seconds}s"),
    }
}
