//! Values of OTLP's attributes, and their texts.
//!
//! COMPAT: texts are those of OpenTelemetry's `AsString`: lists and maps are JSON as Go writes it,
//! with keys in order; bytes are base64.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::WireError;
use super::field::Fields;
use super::otlp::Items;
use crate::model::{FloatStyle, float_text};

/// Deepest nesting of lists and maps.
const DEPTH_MAX: usize = 32;
const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub enum AnyValue {
    /// None.
    Empty,
    /// A text.
    Text(String),
    /// Yes or no.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number.
    Double(f64),
    /// Bytes.
    Bytes(Vec<u8>),
    /// Values in their order.
    List(Vec<AnyValue>),
    /// Values by name.
    Map(BTreeMap<String, AnyValue>),
}

impl AnyValue {
    /// Reads a message.
    pub fn read(message: &[u8], items: &mut Items) -> Result<Self, WireError> {
        Self::read_at(message, items, 0)
    }

    fn read_at(message: &[u8], items: &mut Items, depth: usize) -> Result<Self, WireError> {
        if depth > DEPTH_MAX {
            return Err(WireError(format!("a value is nested deeper than {DEPTH_MAX}")));
        }
        let mut found = Self::Empty;
        for field in Fields::new(message) {
            found = match field? {
                (1, value) => Self::Text(String::from_utf8_lossy(value.bytes()?).into_owned()),
                (2, value) => Self::Bool(value.int64()? != 0),
                (3, value) => Self::Int(value.int64()?),
                (4, value) => Self::Double(value.double()?),
                (5, value) => {
                    let mut list = Vec::new();
                    for field in Fields::new(value.bytes()?) {
                        if let (1, value) = field? {
                            items.add(1)?;
                            list.push(Self::read_at(value.bytes()?, items, depth + 1)?);
                        }
                    }
                    Self::List(list)
                }
                (6, value) => {
                    let mut map = BTreeMap::new();
                    for field in Fields::new(value.bytes()?) {
                        if let (1, value) = field? {
                            items.add(1)?;
                            let (name, value) = pair(value.bytes()?, items, depth + 1)?;
                            map.insert(name, value);
                        }
                    }
                    Self::Map(map)
                }
                (7, value) => Self::Bytes(value.bytes()?.to_vec()),
                _ => continue,
            };
        }
        Ok(found)
    }

    /// The text that stands for the value in a label.
    pub fn into_text(self) -> String {
        match self {
            Self::Empty => String::new(),
            Self::Text(text) => text,
            Self::Bool(value) => value.to_string(),
            Self::Int(value) => value.to_string(),
            Self::Double(value) if value.is_finite() => double(value),
            Self::Double(value) => {
                format!("json: unsupported value: {}", float_text(value, FloatStyle::General))
            }
            Self::Bytes(bytes) => base64(&bytes),
            list_or_map => {
                let mut out = String::new();
                // COMPAT: what JSON cannot write leaves nothing at all.
                if list_or_map.push_json(&mut out) { out } else { String::new() }
            }
        }
    }

    fn push_json(&self, out: &mut String) -> bool {
        match self {
            Self::Empty => out.push_str("null"),
            Self::Text(text) => push_quoted(out, text),
            Self::Bool(value) => out.push_str(&value.to_string()),
            Self::Int(value) => out.push_str(&value.to_string()),
            Self::Double(value) if value.is_finite() => out.push_str(&double(*value)),
            Self::Double(_) => return false,
            Self::Bytes(bytes) => push_quoted(out, &base64(bytes)),
            Self::List(list) => {
                out.push('[');
                for (i, value) in list.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    if !value.push_json(out) {
                        return false;
                    }
                }
                out.push(']');
            }
            Self::Map(map) => {
                out.push('{');
                for (i, (name, value)) in map.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    push_quoted(out, name);
                    out.push(':');
                    if !value.push_json(out) {
                        return false;
                    }
                }
                out.push('}');
            }
        }
        true
    }
}

fn pair(message: &[u8], items: &mut Items, depth: usize) -> Result<(String, AnyValue), WireError> {
    let (mut name, mut found) = (String::new(), AnyValue::Empty);
    for field in Fields::new(message) {
        match field? {
            (1, value) => name = String::from_utf8_lossy(value.bytes()?).into_owned(),
            (2, value) => found = AnyValue::read_at(value.bytes()?, items, depth)?,
            _ => {}
        }
    }
    Ok((name, found))
}

/// COMPAT: as Go's JSON writes numbers: an exponent of one digit has no zero before it.
fn double(value: f64) -> String {
    let text = float_text(value, FloatStyle::Api);
    match text.split_once("e-0") {
        Some((digits, exponent)) => format!("{digits}e-{exponent}"),
        None => text,
    }
}

fn base64(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte));
        let word = word << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let digit = BASE64[(word >> (18 - 6 * place) & 63) as usize];
            out.push(if place <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    out
}

fn push_quoted(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            _ => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_those_of_go() {
        let text = |value: &str| AnyValue::Text(value.to_owned());
        let map = BTreeMap::from([
            ("b".to_owned(), AnyValue::Int(-3)),
            ("a<".to_owned(), AnyValue::List(vec![text("x\"&"), AnyValue::Empty])),
            ("c".to_owned(), AnyValue::Bytes(vec![1, 2])),
        ]);
        for (value, expected) in [
            (AnyValue::Empty, ""),
            (text("t"), "t"),
            (AnyValue::Bool(true), "true"),
            (AnyValue::Double(1e-7), "1e-7"),
            (AnyValue::Double(1e21), "1e+21"),
            (AnyValue::Double(2.0), "2"),
            (AnyValue::Double(f64::INFINITY), "json: unsupported value: +Inf"),
            (AnyValue::List(vec![AnyValue::Double(f64::NAN)]), ""),
            (AnyValue::Bytes(b"abcd".to_vec()), "YWJjZA=="),
            (AnyValue::Bytes(b"abc".to_vec()), "YWJj"),
            (AnyValue::Map(map), r#"{"a<":["x\"&",null],"b":-3,"c":"AQI="}"#),
        ] {
            assert_eq!(value.into_text(), expected);
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let mut message = Vec::new();
        for _ in 0..100 {
            let (mut list, mut outer) = (Vec::new(), Vec::new());
            super::super::field::write_bytes(1, &message, &mut list);
            super::super::field::write_bytes(5, &list, &mut outer);
            message = outer;
        }
        let error = AnyValue::read(&message, &mut Items::default()).unwrap_err();
        assert!(error.to_string().contains("nested deeper"));
    }
}
