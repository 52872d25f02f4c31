//! Text made safe for one kind of place in a page.
//!
//! COMPAT: the escaped texts, and `ZgotmplZ` for what cannot be made safe, are those of Go's
//! `html/template`.

use std::fmt::Write as _;

use super::Language;
use crate::model::{FloatStyle, float_text};
use crate::template::SampleValue;
use crate::template::print::{Room, shown};
use crate::template::value::Value;

/// What stands for a value that is not safe where it appears.
const UNSAFE: &str = "ZgotmplZ";

/// The value as text; nothing has none.
pub(super) fn text_of(value: &Value, room: Room) -> String {
    match value {
        Value::Missing | Value::Nil => String::new(),
        _ => shown(value, room),
    }
}

fn push_hex(out: &mut String, prefix: &str, width: usize, c: char) {
    write!(out, "{prefix}{:0width$x}", u32::from(c)).expect("BUG: a String takes all text");
}

/// For text between elements and for quoted attributes.
pub(super) fn html(text: &str) -> String {
    normal_html(&text.replace('&', "&amp;"))
}

/// The same, with what is escaped already left alone.
pub(super) fn normal_html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\0' => out.push('\u{fffd}'),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            '+' => out.push_str("&#43;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            _ => out.push(c),
        }
    }
    out
}

/// For attributes without quotes.
pub(super) fn unquoted(text: &str) -> String {
    if text.is_empty() {
        return UNSAFE.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\0' => out.push_str("&#xfffd;"),
            '\t' | '\n' | '\u{b}' | '\u{c}' | '\r' | ' ' | '"' | '\'' | '+' | '=' | '`' => {
                write!(out, "&#{};", u32::from(c)).expect("BUG: a String takes all text");
            }
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            _ => out.push(c),
        }
    }
    out
}

/// The same for HTML, whose entities stay.
pub(super) fn unquoted_html(html: &str) -> String {
    unquoted(html).replace("&amp;", "&")
}

/// HTML without its elements.
pub(super) fn without_tags(html: &str) -> String {
    let mut out = String::with_capacity(html.len());
    let mut rest = html;
    while let Some(at) = rest.find('<') {
        out.push_str(&rest[..at]);
        let behind = &rest[at + 1..];
        if !behind.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '/' | '!')) {
            out.push('<');
            rest = behind;
            continue;
        }
        rest = behind.find('>').map_or("", |end| &behind[end + 1..]);
    }
    out + rest
}

/// For names of attributes: only those whose value is plain text.
pub(super) fn name(text: &str, language: Language) -> String {
    let lower = text.to_lowercase();
    let is_plain = !lower.is_empty() && lower.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if is_plain && language == Language::Plain { lower } else { UNSAFE.to_owned() }
}

/// The URL, unless it has a scheme that can run something.
pub(super) fn safe_url(text: &str) -> String {
    let scheme = text.split_once(':').map(|(scheme, _)| scheme);
    let is_safe = scheme.is_none_or(|scheme| {
        scheme.contains('/')
            || ["http", "https", "mailto"].iter().any(|safe| scheme.eq_ignore_ascii_case(safe))
    });
    if is_safe { text.to_owned() } else { format!("#{UNSAFE}") }
}

/// Percent-encodes; `keeps_structure`: what structures a URL stays, and what is encoded already.
pub(super) fn url(text: &str, keeps_structure: bool) -> String {
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(text.len());
    for (i, byte) in bytes.iter().enumerate() {
        let is_encoded = *byte == b'%'
            && bytes.get(i + 1..i + 3).is_some_and(|d| d.iter().all(u8::is_ascii_hexdigit));
        let stays = byte.is_ascii_alphanumeric()
            || b"-._~".contains(byte)
            || (keeps_structure && (b"!#$&*+,/:;=?@[]".contains(byte) || is_encoded));
        if stays {
            out.push(char::from(*byte));
        } else {
            write!(out, "%{byte:02x}").expect("BUG: a String takes all text");
        }
    }
    out
}

/// For strings of scripts.
pub(super) fn script_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\u{c}' => out.push_str("\\f"),
            '\r' => out.push_str("\\r"),
            '/' => out.push_str("\\/"),
            '\\' => out.push_str("\\\\"),
            '\0' | '\u{b}' | '"' | '`' | '&' | '\'' | '+' | '<' | '>' | '\u{2028}' | '\u{2029}' => {
                push_hex(&mut out, "\\u", 4, c);
            }
            _ => out.push(c),
        }
    }
    out
}

/// For strings of scripts in back quotes, where `${` begins a script too.
pub(super) fn script_template(text: &str) -> String {
    let mut out = String::new();
    for c in script_text(text).chars() {
        match c {
            '$' | '{' | '}' => push_hex(&mut out, "\\u", 4, c),
            _ => out.push(c),
        }
    }
    out
}

/// For patterns of scripts: the text matches itself.
pub(super) fn pattern(text: &str) -> String {
    if text.is_empty() {
        return "(?:)".to_owned();
    }
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '$' | '(' | ')' | '*' | '-' | '.' | '/' | '?' | '[' | '\\' | ']' | '^' | '{' | '|'
            | '}' => {
                out.push('\\');
                out.push(c);
            }
            '`' => out.push(c),
            _ => out.push_str(&script_text(c.encode_utf8(&mut [0; 4]))),
        }
    }
    out
}

/// For strings of styles.
pub(super) fn style_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\0' | '\t' | '\n' | '\u{c}' | '\r' | '"' | '&' | '\'' | '(' | ')' | '+' | '/'
            | ':' | ';' | '<' | '>' | '{' | '}' => {
                push_hex(&mut out, "\\", 0, c);
                let runs_on = chars.peek().is_none_or(|next| {
                    next.is_ascii_hexdigit() || matches!(next, '\t' | '\n' | '\u{c}' | '\r' | ' ')
                });
                if runs_on {
                    out.push(' ');
                }
            }
            _ => out.push(c),
        }
    }
    out
}

/// For values of styles: words, numbers and colours.
pub(super) fn style_value(text: &str) -> String {
    let is_bad = |c: char| "\0\"'()/;@[\\]`{}<>".contains(c);
    let letters: String = text
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
        .map(|c| c.to_ascii_lowercase())
        .collect();
    let runs = ["expression", "mozbinding"].iter().any(|word| letters.contains(word));
    if text.contains(is_bad) || text.contains("--") || runs {
        return UNSAFE.to_owned();
    }
    text.to_owned()
}

/// For scripts, outside of strings: JSON, apart from words and numbers around it.
pub(super) fn script_value(value: &Value, room: Room) -> String {
    if let Value::Float(number) = value
        && !number.is_finite()
    {
        let shown = float_text(*number, FloatStyle::General);
        return format!(" /* json: unsupported value: {shown} */null ");
    }
    let json = json(value, room).to_string();
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => push_hex(&mut out, "\\u", 4, c),
            _ => out.push(c),
        }
    }
    let is_word =
        |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric() || matches!(c, '$' | '_'));
    if is_word(out.chars().next()) || is_word(out.chars().next_back()) {
        return format!(" {out} ");
    }
    out
}

fn json(value: &Value, room: Room) -> serde_json::Value {
    use serde_json::Value as Json;
    match value {
        Value::Missing | Value::Nil | Value::Sample(None) => Json::Null,
        Value::Bool(value) => Json::from(*value),
        Value::Int(value, kind) if *kind != crate::template::value::Integer::Duration => {
            Json::from(*value)
        }
        Value::Byte(value) => Json::from(*value),
        Value::Float(value) => number(*value),
        Value::Labels(labels) => {
            labels.iter().map(|(name, text)| (name.to_owned(), Json::from(text))).collect()
        }
        Value::Map(map) => {
            map.entries.iter().map(|(name, value)| (name.clone(), json(value, room))).collect()
        }
        Value::Sample(Some(sample)) => {
            let labels = json(&Value::Labels(sample.labels.clone()), room);
            let value = match &sample.value {
                SampleValue::Float(value) => number(*value),
                SampleValue::Histogram(_) => {
                    Json::from(shown(&Value::of_sample(&sample.value), room))
                }
            };
            serde_json::json!({ "Labels": labels, "Value": value })
        }
        Value::Samples(_) | Value::Floats(_) | Value::Texts(_) => {
            let count = value.length().unwrap_or(0);
            (0..count).filter_map(|at| value.element(at)).map(|item| json(&item, room)).collect()
        }
        _ => Json::from(text_of(value, room)),
    }
}

/// A number as Go's JSON has it, whole ones without a point.
fn number(value: f64) -> serde_json::Value {
    if value.trunc() == value && value.abs() < 1e15 {
        return serde_json::Value::from(value as i64);
    }
    serde_json::Value::from(value)
}
