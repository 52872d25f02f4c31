//! The functions that every Go template has.
//!
//! COMPAT: Go's `text/template`, error texts included.

use std::cmp::Ordering;

use super::call::Param;
use super::escape::{escape_html, escape_js};
use super::functions::{Body, Function};
use super::print::{Room, shown, sprint, sprintf, sprintln};
use super::value::{Basic, Value};
use super::words::url_query_escape;

const fn two(name: &'static str, body: Body) -> Function {
    Function { name, fixed: &[Param::Reflected, Param::Reflected], rest: None, body }
}

const fn any(name: &'static str, fixed: &'static [Param], rest: Param, body: Body) -> Function {
    Function { name, fixed, rest: Some(rest), body }
}

const FIRST: &[Param] = &[Param::Reflected];

/// `and`, `or` and `call` are evaluated by the machine.
pub(super) static FUNCTIONS: &[Function] = &[
    any("and", FIRST, Param::Reflected, |_, _, _| Ok(Value::Missing)),
    any("or", FIRST, Param::Reflected, |_, _, _| Ok(Value::Missing)),
    any("call", FIRST, Param::Reflected, |_, _, _| Ok(Value::Missing)),
    Function {
        name: "not",
        fixed: FIRST,
        rest: None,
        body: |_, _, v| Ok(Value::Bool(!v[0].is_true())),
    },
    Function { name: "len", fixed: FIRST, rest: None, body: |_, _, v| length(&v[0]) },
    any("index", FIRST, Param::Reflected, |_, _, v| index(&v[0], &v[1..])),
    any("slice", FIRST, Param::Reflected, |_, _, v| slice(&v[0], &v[1..])),
    any("print", &[], Param::Any, |_, room, v| Ok(Value::text(sprint(v, room)))),
    any("println", &[], Param::Any, |_, room, v| Ok(Value::text(sprintln(v, room)))),
    any("printf", &[Param::Text], Param::Any, |_, room, v| {
        let format = v[0].as_text().cloned().unwrap_or_default();
        Ok(Value::text(sprintf(&format, &v[1..], room)))
    }),
    any("html", &[], Param::Any, |_, room, v| Ok(Value::text(escape_html(&joined(v, room))))),
    any("js", &[], Param::Any, |_, room, v| Ok(Value::text(escape_js(&joined(v, room))))),
    any("urlquery", &[], Param::Any, |_, room, v| {
        Ok(Value::text(url_query_escape(&joined(v, room))))
    }),
    any("eq", FIRST, Param::Reflected, |_, room, v| {
        if v.len() < 2 {
            return Err("missing argument for comparison".to_owned());
        }
        for other in &v[1..] {
            if is_equal(&v[0], other, room)? {
                return Ok(Value::Bool(true));
            }
        }
        Ok(Value::Bool(false))
    }),
    two("ne", |_, room, v| Ok(Value::Bool(!is_equal(&v[0], &v[1], room)?))),
    two("lt", |_, _, v| Ok(Value::Bool(is_less(&v[0], &v[1])?))),
    two("le", |_, room, v| {
        Ok(Value::Bool(is_less(&v[0], &v[1])? || is_equal(&v[0], &v[1], room)?))
    }),
    two("gt", |_, room, v| {
        Ok(Value::Bool(!(is_less(&v[0], &v[1])? || is_equal(&v[0], &v[1], room)?)))
    }),
    two("ge", |_, _, v| Ok(Value::Bool(!is_less(&v[0], &v[1])?))),
];

/// The arguments as one text.
fn joined(values: &[Value], room: Room) -> String {
    if let [Value::Text(only)] = values {
        return only.to_string();
    }
    // As an action shows each, and with the spaces of `print`.
    let as_shown = |value: &Value| match value {
        Value::Missing | Value::Nil => Value::text("<no value>"),
        Value::Sample(Some(_)) => Value::text(shown(value, room)),
        _ => value.clone(),
    };
    sprint(&values.iter().map(as_shown).collect::<Vec<_>>(), room)
}

fn length(value: &Value) -> Result<Value, String> {
    if matches!(value, Value::Missing) {
        return Err("reflect: call of reflect.Value.Type on zero Value".to_owned());
    }
    if value.is_nil() {
        return Err("len of nil pointer".to_owned());
    }
    match value.length() {
        Some(length) => Ok(Value::int(length as i64)),
        None => Err(format!("len of type {}", pointed_at(value))),
    }
}

/// The type that a pointer points at, or the value's own.
fn pointed_at(value: &Value) -> &'static str {
    match value {
        Value::Sample(_)
        | Value::Histogram(_)
        | Value::TimePointer(_)
        | Value::DurationPointer(_) => &value.type_name()[1..],
        _ => value.type_name(),
    }
}

fn index(item: &Value, indexes: &[Value]) -> Result<Value, String> {
    if matches!(item, Value::Missing | Value::Nil) {
        return Err("index of untyped nil".to_owned());
    }
    let mut item = item.clone();
    for index in indexes {
        if item.is_nil() {
            return Err("index of nil pointer".to_owned());
        }
        item = match &item {
            Value::Text(_)
            | Value::Html(_)
            | Value::Samples(_)
            | Value::Floats(_)
            | Value::Texts(_) => {
                let length = item.length().unwrap_or(0);
                let at = position(index, length)?;
                let what = if item.as_text().is_some() { "string" } else { "slice" };
                item.element(at).ok_or_else(|| format!("reflect: {what} index out of range"))?
            }
            Value::Labels(labels) => Value::text(labels.get(key(index)?).unwrap_or_default()),
            Value::Map(map) => map.entries.get(key(index)?).cloned().unwrap_or(Value::Nil),
            Value::TextLists(lists) => {
                Value::Texts(lists.get(key(index)?).cloned().unwrap_or_else(|| [].into()))
            }
            _ => return Err(format!("can't index item of type {}", pointed_at(&item))),
        };
    }
    Ok(item)
}

fn key(value: &Value) -> Result<&str, String> {
    match value {
        Value::Text(text) => Ok(text),
        Value::Missing | Value::Nil => Err("value is nil; should be of type string".to_owned()),
        _ => Err(format!("value has type {}; should be string", value.type_name())),
    }
}

/// An index of something with room for `count`.
fn position(value: &Value, count: usize) -> Result<usize, String> {
    let at = match value {
        Value::Int(at, _) => *at,
        Value::Byte(at) => i64::from(*at),
        Value::Missing | Value::Nil => {
            return Err("cannot index slice/array with nil".to_owned());
        }
        _ => return Err(format!("cannot index slice/array with type {}", value.type_name())),
    };
    match usize::try_from(at) {
        Ok(position) if position <= count => Ok(position),
        _ => Err(format!("index out of range: {at}")),
    }
}

fn slice(item: &Value, indexes: &[Value]) -> Result<Value, String> {
    if matches!(item, Value::Missing | Value::Nil) {
        return Err("slice of untyped nil".to_owned());
    }
    if item.is_nil() {
        return Err("slice of nil pointer".to_owned());
    }
    if indexes.len() > 3 {
        return Err(format!("too many slice indexes: {}", indexes.len()));
    }
    let is_list = matches!(item, Value::Samples(_) | Value::Floats(_) | Value::Texts(_));
    match item.as_text() {
        Some(_) if indexes.len() == 3 => return Err("cannot 3-index slice a string".to_owned()),
        None if !is_list => {
            return Err(format!("can't slice item of type {}", pointed_at(item)));
        }
        _ => {}
    }
    let length = item.length().unwrap_or(0);
    let mut bounds = [0, length, length];
    for (bound, index) in bounds.iter_mut().zip(indexes) {
        *bound = position(index, length)?;
    }
    let [begin, end, capacity] = bounds;
    if begin > end {
        return Err(format!("invalid slice index: {begin} > {end}"));
    }
    if end > capacity {
        return Err(format!("invalid slice index: {end} > {capacity}"));
    }
    Ok(match item {
        Value::Text(text) => Value::text(String::from_utf8_lossy(&text.as_bytes()[begin..end])),
        Value::Html(text) => {
            Value::Html(String::from_utf8_lossy(&text.as_bytes()[begin..end]).into())
        }
        Value::Samples(samples) => Value::Samples(samples[begin..end].into()),
        Value::Floats(floats) => Value::Floats(floats[begin..end].into()),
        Value::Texts(texts) => Value::Texts(texts[begin..end].into()),
        _ => item.clone(),
    })
}

fn incompatible(a: &Value, b: &Value) -> String {
    format!("incompatible types for comparison: {} and {}", a.type_name(), b.type_name())
}

fn is_equal(a: &Value, b: &Value, room: Room) -> Result<bool, String> {
    let is_nothing = |value: &Value| matches!(value, Value::Missing | Value::Nil);
    match (a.basic(), b.basic()) {
        (Basic::None, Basic::None) => is_same(a, b, room),
        _ if is_nothing(a) || is_nothing(b) => Ok(false),
        _ => match (a, b) {
            (Value::Bool(a), Value::Bool(b)) => Ok(a == b),
            (Value::Int(a, _), Value::Int(b, _)) => Ok(a == b),
            (Value::Byte(a), Value::Byte(b)) => Ok(a == b),
            (Value::Int(a, _), Value::Byte(b)) | (Value::Byte(b), Value::Int(a, _)) => {
                Ok(*a == i64::from(*b))
            }
            (Value::Float(a), Value::Float(b)) => Ok(a == b),
            (Value::Complex(a, b), Value::Complex(c, d)) => Ok(a == c && b == d),
            _ => match (a.as_text(), b.as_text()) {
                (Some(a), Some(b)) => Ok(a == b),
                _ => Err(incompatible(a, b)),
            },
        },
    }
}

/// Equality of what is neither number nor text.
fn is_same(a: &Value, b: &Value, room: Room) -> Result<bool, String> {
    if a.is_nil() || b.is_nil() {
        return Ok(a.is_nil() && b.is_nil());
    }
    let not_comparable = |value: &Value| {
        Err(format!("non-comparable type {}: {}", shown(value, room), value.type_name()))
    };
    match (a, b) {
        (Value::Sample(Some(a)), Value::Sample(Some(b))) => Ok(std::sync::Arc::ptr_eq(a, b)),
        (Value::Histogram(a), Value::Histogram(b)) => Ok(std::sync::Arc::ptr_eq(a, b)),
        (Value::Time(a), Value::Time(b)) => Ok(a == b),
        (
            _,
            Value::Labels(_)
            | Value::Map(_)
            | Value::TextLists(_)
            | Value::Alert(_)
            | Value::Console(_)
            | Value::Samples(_)
            | Value::Floats(_)
            | Value::Texts(_),
        ) => not_comparable(b),
        _ => Ok(false),
    }
}

fn is_less(a: &Value, b: &Value) -> Result<bool, String> {
    let bad = || Err("invalid type for comparison".to_owned());
    if a.basic() == Basic::None || b.basic() == Basic::None {
        return bad();
    }
    match (a, b) {
        (Value::Int(a, _), Value::Int(b, _)) => Ok(a < b),
        (Value::Byte(a), Value::Byte(b)) => Ok(a < b),
        (Value::Int(a, _), Value::Byte(b)) => Ok(*a < i64::from(*b)),
        (Value::Byte(a), Value::Int(b, _)) => Ok(i64::from(*a) < *b),
        (Value::Float(a), Value::Float(b)) => Ok(a.partial_cmp(b) == Some(Ordering::Less)),
        (Value::Bool(_), Value::Bool(_)) | (Value::Complex(..), Value::Complex(..)) => bad(),
        _ => match (a.as_text(), b.as_text()) {
            (Some(a), Some(b)) => Ok(a < b),
            _ => Err(incompatible(a, b)),
        },
    }
}
