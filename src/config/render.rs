//! Records as YAML text, with defaults filled in and secrets masked.
//!
//! COMPAT: what go-yaml v2 prints for Prometheus's structs: order of fields, what is left out,
//! which texts are quoted and how.

use std::fmt::Write as _;

use super::record::{Record, Value};
use super::schema::Kind;
use super::secret::{MASK, Secret};
use super::yaml::{Node, NodeValue};
use super::{bytes, scalar, url};
use crate::model::{FloatStyle, float_text, format_duration};
use crate::relabel::Rule;

/// The text of a whole section, ending in a line feed.
pub(super) fn render(record: &Record) -> String {
    let mut printer = Printer { out: String::new() };
    printer.record(record, 0, false);
    printer.out
}

struct Printer {
    out: String,
}

impl Printer {
    /// The fields of a mapping; `is_item` where the first stands behind a `- `.
    fn record(&mut self, record: &Record, indent: usize, is_item: bool) {
        let mut is_first = is_item;
        for (field, value) in record.iter() {
            if !field.is_always_shown && is_left_out(field.kind, value) {
                continue;
            }
            self.key(field.key, indent, &mut is_first);
            self.value(value, field.kind, indent);
        }
        if is_first == is_item && (is_item || self.out.is_empty()) && is_first {
            self.out.push_str("{}\n");
        }
    }

    fn key(&mut self, key: &str, indent: usize, is_first: &mut bool) {
        if !std::mem::take(is_first) {
            self.pad(indent);
        }
        self.out.push_str(&scalar_text(key, indent, true));
        self.out.push(':');
    }

    fn pad(&mut self, indent: usize) {
        self.out.extend(std::iter::repeat_n(' ', indent));
    }

    fn plain(&mut self, text: &str) {
        self.out.push(' ');
        self.out.push_str(text);
        self.out.push('\n');
    }

    /// What stands behind a key, its line feed included.
    fn value(&mut self, value: &Value, kind: Kind, indent: usize) {
        match value {
            Value::Nothing => self.plain("null"),
            Value::Text(text) if matches!(kind, Kind::Url) => {
                self.text(&url::redacted(text), indent);
            }
            Value::Text(text) => self.text(text, indent),
            Value::Secret(secret) => self.plain(masked(secret)),
            Value::Bool(value) => self.plain(if *value { "true" } else { "false" }),
            Value::Int(value) => self.plain(&value.to_string()),
            Value::Uint(value) => self.plain(&value.to_string()),
            Value::Float(value) => self.plain(&float_text(*value, FloatStyle::General)),
            Value::DurationMs(value) => self.plain(&format_duration(*value)),
            Value::Bytes(value) => self.plain(&bytes::format(*value)),
            Value::Texts(list) => self.texts(list.as_deref().unwrap_or(&[]), indent),
            Value::Secrets(list) => self.texts(&masks(list), indent),
            Value::TextMap(pairs) => {
                self.map(pairs, indent, |printer, text, indent| printer.text(text, indent));
            }
            Value::TextLists(pairs) => {
                self.map(pairs, indent, |printer, list, indent| printer.texts(list, indent));
            }
            Value::SecretLists(pairs) => self.map(pairs, indent, |printer, list, indent| {
                printer.texts(&masks(list), indent);
            }),
            Value::Record(record) => self.nested(record, indent),
            Value::Records(records) if records.is_empty() => self.plain("[]"),
            Value::Records(records) => {
                self.out.push('\n');
                for record in records {
                    self.pad(indent);
                    self.out.push_str("- ");
                    self.record(record, indent + 2, true);
                }
            }
            Value::RecordMap(pairs) => self.map(pairs, indent, Self::nested),
            Value::Rules(rules) => {
                self.out.push('\n');
                for rule in rules {
                    self.rule(rule, indent);
                }
            }
            Value::Any(node) => self.node(node, indent),
        }
    }

    fn nested(&mut self, record: &Record, indent: usize) {
        let is_empty = record
            .iter()
            .all(|(field, value)| !field.is_always_shown && is_left_out(field.kind, value));
        if is_empty {
            self.plain("{}");
            return;
        }
        self.out.push('\n');
        self.record(record, indent + 2, false);
    }

    fn text(&mut self, text: &str, indent: usize) {
        self.plain(&scalar_text(text, indent, false));
    }

    fn texts(&mut self, list: &[String], indent: usize) {
        if list.is_empty() {
            self.plain("[]");
            return;
        }
        self.out.push('\n');
        for text in list {
            self.pad(indent);
            self.out.push('-');
            self.text(text, indent);
        }
    }

    fn map<T>(
        &mut self,
        pairs: &[(String, T)],
        indent: usize,
        value: impl Fn(&mut Self, &T, usize),
    ) {
        if pairs.is_empty() {
            self.plain("{}");
            return;
        }
        self.out.push('\n');
        for (key, inner) in pairs {
            self.key(key, indent + 2, &mut false);
            value(self, inner, indent + 2);
        }
    }

    fn rule(&mut self, rule: &Rule, indent: usize) {
        let default = Rule::default();
        self.pad(indent);
        self.out.push_str("- ");
        let mut is_first = true;
        let inner = indent + 2;
        if let Some(names) = rule.source_labels.as_ref().filter(|names| !names.is_empty()) {
            self.key("source_labels", inner, &mut is_first);
            let quoted: Vec<String> = names.iter().map(|name| flow_text(name)).collect();
            self.plain(&format!("[{}]", quoted.join(", ")));
        }
        self.key("separator", inner, &mut is_first);
        self.text(&rule.separator, inner);
        if rule.regex.pattern() != default.regex.pattern() {
            self.key("regex", inner, &mut is_first);
            self.text(rule.regex.pattern(), inner);
        }
        if rule.modulus != 0 {
            self.key("modulus", inner, &mut is_first);
            self.plain(&rule.modulus.to_string());
        }
        if !rule.target_label.is_empty() {
            self.key("target_label", inner, &mut is_first);
            self.text(&rule.target_label, inner);
        }
        self.key("replacement", inner, &mut is_first);
        self.text(&rule.replacement, inner);
        self.key("action", inner, &mut is_first);
        self.plain(rule.action.as_str());
    }

    fn node(&mut self, node: &Node, indent: usize) {
        match &node.value {
            NodeValue::Scalar { text, plain: true } => self.plain(text),
            NodeValue::Scalar { text, plain: false } => self.text(text, indent),
            NodeValue::List(items) => {
                self.out.push('\n');
                for item in items {
                    self.pad(indent);
                    self.out.push('-');
                    self.node(item, indent + 2);
                }
            }
            NodeValue::Map(pairs) => {
                self.out.push('\n');
                for (key, value) in pairs {
                    let NodeValue::Scalar { text, .. } = &key.value else { continue };
                    self.key(text, indent + 2, &mut false);
                    self.node(value, indent + 2);
                }
            }
        }
    }
}

/// Optional things are left out when they are not there, the rest when they hold nothing.
fn is_left_out(kind: Kind, value: &Value) -> bool {
    match kind {
        Kind::OptionalBool | Kind::Optional(_) => matches!(value, Value::Nothing),
        _ => value.is_zero(),
    }
}

fn masked(secret: &Secret) -> &'static str {
    if secret.is_empty() { "null" } else { MASK }
}

fn masks(secrets: &[Secret]) -> Vec<String> {
    secrets.iter().map(|secret| masked(secret).to_owned()).collect()
}

/// A text in a list on one line.
fn flow_text(text: &str) -> String {
    let has_indicator = text.contains([',', '?', '[', ']', '{', '}', ':']) || text.is_empty();
    let block = scalar_text(text, 0, true);
    if has_indicator && block == text { single_quoted(text) } else { block }
}

/// A text as go-yaml writes it: plain where it reads back as text, else quoted, or as a block
/// where it has line feeds.
fn scalar_text(text: &str, indent: usize, is_key: bool) -> String {
    if text.is_empty() {
        return "\"\"".to_owned();
    }
    let has_special = text.chars().any(|c| !is_printable(c));
    let is_plain_type = scalar::tag(text) == "!!str" && !is_base_60(text);
    if text.contains('\n') {
        let is_block_allowed =
            !is_key && !has_special && !text.ends_with(' ') && !text.contains(" \n");
        return if is_block_allowed { literal(text, indent) } else { double_quoted(text) };
    }
    if !is_plain_type || has_special {
        return double_quoted(text);
    }
    if is_plain_allowed(text) { text.to_owned() } else { single_quoted(text) }
}

fn is_plain_allowed(text: &str) -> bool {
    let first = text.chars().next().unwrap_or(' ');
    let followed_by_blank = matches!(text.chars().nth(1), None | Some(' ' | '\t'));
    let is_indicator = "#,[]{}&*!|>'\"%@`".contains(first)
        || ("?:-".contains(first) && followed_by_blank)
        || text.starts_with("---")
        || text.starts_with("...");
    let ends_in_colon = text.ends_with(':') || text.contains(": ") || text.contains(":\t");
    let has_comment = text.contains(" #") || text.contains("\t#");
    !is_indicator && !ends_in_colon && !has_comment && text.trim_matches(' ') == text
}

fn is_printable(c: char) -> bool {
    matches!(c, '\n' | ' '..='~' | '\u{85}' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}'
        | '\u{10000}'..='\u{10ffff}')
        && c != '\u{feff}'
}

/// `12:30:45`, which YAML 1.1 takes for a number.
fn is_base_60(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let mut parts = unsigned.split(':');
    let is_digits = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_digit())
            && part.bytes().all(|b| b.is_ascii_digit() || b == b'_')
    };
    if !unsigned.contains(':') || !parts.next().is_some_and(is_digits) {
        return false;
    }
    let rest: Vec<&str> = parts.collect();
    rest.iter().enumerate().all(|(i, part)| {
        let is_last = i + 1 == rest.len();
        let whole = if is_last { part.split('.').next().unwrap_or("") } else { part };
        let is_tail_valid =
            part[whole.len()..].bytes().skip(1).all(|b| b.is_ascii_digit() || b == b'_');
        let is_sixty = match whole.as_bytes() {
            [digit] => digit.is_ascii_digit(),
            [tens, digit] => (b'0'..=b'5').contains(tens) && digit.is_ascii_digit(),
            _ => false,
        };
        is_sixty && is_tail_valid
    })
}

fn single_quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn double_quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\0' => out.push_str("\\0"),
            _ if is_printable(c) => out.push(c),
            _ if u32::from(c) <= 0xff => push_escape(&mut out, "\\x", 2, c),
            _ if u32::from(c) <= 0xffff => push_escape(&mut out, "\\u", 4, c),
            _ => push_escape(&mut out, "\\U", 8, c),
        }
    }
    out.push('"');
    out
}

fn push_escape(out: &mut String, prefix: &str, width: usize, c: char) {
    write!(out, "{prefix}{:0width$X}", u32::from(c)).expect("BUG: a String takes all text");
}

fn literal(text: &str, indent: usize) -> String {
    let mut out = String::from("|");
    if text.starts_with([' ', '\n']) {
        out.push('2');
    }
    if !text.ends_with('\n') {
        out.push('-');
    } else if text.ends_with("\n\n") || text == "\n" {
        out.push('+');
    }
    for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
        out.push('\n');
        if !line.is_empty() {
            out.extend(std::iter::repeat_n(' ', indent + 2));
            out.push_str(line);
        }
    }
    out
}
