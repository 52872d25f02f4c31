//! Values as text: `print`, `printf`, and what an action writes.
//!
//! COMPAT: Go's `fmt`, with its flags, verbs, argument numbers and complaints (`%!d(string=x)`).
//! Where Go prints an address, zero stands.

use super::Sample;
mod format;
mod numbers;

use std::fmt::Write as _;

use super::time::{day_name, month_name};
use super::value::{Basic, Integer, Value};

use crate::model::{FloatHistogram, format_go_duration, go_quote};
use crate::promql::quote::quote_char;
pub(super) use format::sprintf;

/// What a text may come to; more is left out, and the caller tells of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    pub(super) bytes_max: usize,
}

/// Go's `Sprint`: a space between operands of which neither is a text.
pub(super) fn sprint(values: &[Value], room: Room) -> String {
    let mut printer = Printer::new(room);
    let mut was_text = true;
    for (i, value) in values.iter().enumerate() {
        let is_text = value.as_text().is_some();
        if i > 0 && !is_text && !was_text {
            printer.out.push(' ');
        }
        printer.argument(value, 'v');
        was_text = is_text;
    }
    printer.out
}

/// Go's `Sprintln`.
pub(super) fn sprintln(values: &[Value], room: Room) -> String {
    let mut printer = Printer::new(room);
    for (i, value) in values.iter().enumerate() {
        if i > 0 {
            printer.out.push(' ');
        }
        printer.argument(value, 'v');
    }
    printer.out.push('\n');
    printer.out
}

/// What an action writes of a value.
pub(super) fn shown(value: &Value, room: Room) -> String {
    let mut printer = Printer::new(room);
    match value {
        Value::Missing => printer.out.push_str("<no value>"),
        // Pointers are followed.
        Value::Sample(Some(sample)) => printer.sample(sample, 'v'),
        _ => printer.argument(value, 'v'),
    }
    printer.out
}

#[derive(Debug, Clone, Copy, Default)]
struct Flags {
    plus: bool,
    minus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    /// `%+v` and `%#v`.
    plus_v: bool,
    sharp_v: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

struct Printer {
    out: String,
    flags: Flags,
    room: Room,
}

impl Printer {
    fn new(room: Room) -> Self {
        Self { out: String::new(), flags: Flags::default(), room }
    }

    fn is_full(&self) -> bool {
        self.out.len() > self.room.bytes_max
    }

    fn pad(&mut self, text: &str) {
        if self.is_full() {
            return;
        }
        let width = self.flags.width.unwrap_or(0);
        let missing = width.saturating_sub(text.chars().count());
        if self.flags.minus {
            self.out.push_str(text);
            self.out.extend(std::iter::repeat_n(' ', missing));
        } else {
            let filler = if self.flags.zero { '0' } else { ' ' };
            self.out.extend(std::iter::repeat_n(filler, missing));
            self.out.push_str(text);
        }
    }

    fn pad_without_zeros(&mut self, text: &str) {
        let zero = std::mem::take(&mut self.flags.zero);
        self.pad(text);
        self.flags.zero = zero;
    }

    fn argument(&mut self, value: &Value, verb: char) {
        if matches!(value, Value::Missing | Value::Nil) {
            match verb {
                'T' | 'v' => self.pad("<nil>"),
                _ => self.bad_verb(None, verb),
            }
            return;
        }
        match verb {
            'T' => self.text(value.type_name(), 's'),
            'p' => match value {
                Value::Sample(_)
                | Value::Samples(_)
                | Value::Labels(_)
                | Value::Map(_)
                | Value::Histogram(_)
                | Value::TimePointer(_)
                | Value::DurationPointer(_)
                | Value::Floats(_)
                | Value::Texts(_)
                | Value::TextLists(_) => self.address(verb),
                _ => self.bad_verb(Some(value), verb),
            },
            _ => self.value(value, verb, 0),
        }
    }

    fn bad_verb(&mut self, value: Option<&Value>, verb: char) {
        self.out.push_str("%!");
        self.out.push(verb);
        self.out.push('(');
        match value {
            None => self.out.push_str("<nil>"),
            Some(value) => {
                self.out.push_str(value.type_name());
                self.out.push('=');
                let flags = std::mem::take(&mut self.flags);
                self.value(value, 'v', 0);
                self.flags = flags;
            }
        }
        self.out.push(')');
    }

    fn address(&mut self, verb: char) {
        match verb {
            'v' if self.flags.sharp_v => self.out.push_str("(0x0)"),
            'v' | 'p' => self.pad("0x0"),
            _ => self.integer(0, false, verb),
        }
    }

    fn value(&mut self, value: &Value, verb: char, depth: usize) {
        if self.is_full() {
            return;
        }
        if !self.flags.sharp_v
            && matches!(verb, 'v' | 's' | 'x' | 'X' | 'q')
            && let Some(text) = described(value)
        {
            self.text(&text, verb);
            return;
        }
        match value {
            Value::Missing | Value::Nil => match verb {
                'v' => self.pad("<nil>"),
                _ => self.bad_verb(None, verb),
            },
            Value::Sample(Some(sample)) if depth == 0 => {
                self.out.push('&');
                self.sample(sample, verb);
            }
            Value::Sample(None) => match verb {
                'v' if self.flags.sharp_v => self.out.push_str("(*template.sample)(nil)"),
                'v' => self.pad("<nil>"),
                _ => self.bad_verb(Some(value), verb),
            },
            Value::Sample(Some(_))
            | Value::Histogram(_)
            | Value::TimePointer(_)
            | Value::DurationPointer(_) => self.address(verb),
            Value::Time(time) => self.text(&time.text(), 's'),
            _ if value.basic() != Basic::None => self.basic(value, verb),
            _ => self.composed(value, verb, depth),
        }
    }

    /// Numbers, truths and texts.
    fn basic(&mut self, value: &Value, verb: char) {
        match value {
            Value::Bool(value_bool) => match verb {
                't' | 'v' => self.pad(if *value_bool { "true" } else { "false" }),
                _ => self.bad_verb(Some(value), verb),
            },
            Value::Int(number, _) => self.number(value, verb, number.unsigned_abs(), *number < 0),
            Value::Byte(byte) => self.number(value, verb, u64::from(*byte), false),
            Value::Float(number) => match verb {
                'v' | 'b' | 'g' | 'G' | 'x' | 'X' | 'f' | 'e' | 'E' | 'F' => {
                    self.float(*number, verb);
                }
                _ => self.bad_verb(Some(value), verb),
            },
            Value::Complex(real, imaginary) => match verb {
                'v' | 'b' | 'g' | 'G' | 'x' | 'X' | 'f' | 'F' | 'e' | 'E' => {
                    let plus = self.flags.plus;
                    self.out.push('(');
                    self.float(*real, verb);
                    self.flags.plus = true;
                    self.float(*imaginary, verb);
                    self.out.push_str("i)");
                    self.flags.plus = plus;
                }
                _ => self.bad_verb(Some(value), verb),
            },
            Value::Text(text) | Value::Html(text) => match verb {
                'v' | 's' | 'x' | 'X' | 'q' => self.text(text, verb),
                _ => self.bad_verb(Some(value), verb),
            },
            _ => {}
        }
    }

    /// Maps, lists and records.
    fn composed(&mut self, value: &Value, verb: char, depth: usize) {
        let go = self.flags.sharp_v;
        let (open, between, close) = match value {
            _ if go => ("{", ", ", "}"),
            Value::Labels(_) | Value::Map(_) | Value::TextLists(_) => ("map[", " ", "]"),
            Value::Alert(_) | Value::Console(_) => ("{", " ", "}"),
            _ => ("[", " ", "]"),
        };
        if go {
            self.out.push_str(value.type_name());
        }
        self.out.push_str(open);
        for (i, (name, element)) in elements(value).into_iter().enumerate() {
            if i > 0 {
                self.out.push_str(between);
            }
            match value {
                Value::Labels(_) | Value::Map(_) | Value::TextLists(_) => {
                    self.value(&Value::text(name), verb, depth + 1);
                    self.out.push(':');
                }
                Value::Alert(_) | Value::Console(_) if go || self.flags.plus_v => {
                    self.out.push_str(&name);
                    self.out.push(':');
                }
                _ => {}
            }
            self.value(&element, verb, depth + 1);
            if self.is_full() {
                break;
            }
        }
        self.out.push_str(close);
    }

    fn sample(&mut self, sample: &Sample, verb: char) {
        let names = self.flags.plus_v || self.flags.sharp_v;
        if self.flags.sharp_v {
            self.out.push_str("template.sample");
        }
        self.out.push('{');
        if names {
            self.out.push_str("Labels:");
        }
        self.value(&Value::Labels(sample.labels.clone()), verb, 1);
        self.out.push_str(if self.flags.sharp_v { ", " } else { " " });
        if names {
            self.out.push_str("Value:");
        }
        self.value(&Value::of_sample(&sample.value), verb, 1);
        self.out.push('}');
    }

    fn text(&mut self, text: &str, verb: char) {
        let cut = |text: &str| match self.flags.precision {
            Some(chars_max) => text.chars().take(chars_max).collect::<String>(),
            None => text.to_owned(),
        };
        match verb {
            'v' if self.flags.sharp_v => self.pad(&go_quote(&cut(text))),
            'q' => {
                let text = cut(text);
                let is_raw = self.flags.sharp
                    && !text.chars().any(|c| c == '`' || (c.is_control() && c != '\t'));
                let quoted = if is_raw {
                    format!("`{text}`")
                } else if self.flags.plus {
                    ascii_quote(&text)
                } else {
                    go_quote(&text)
                };
                self.pad(&quoted);
            }
            'x' | 'X' => self.hexadecimal_text(text, verb),
            _ => {
                let text = cut(text);
                self.pad(&text);
            }
        }
    }

    fn hexadecimal_text(&mut self, text: &str, verb: char) {
        let length = self.flags.precision.map_or(text.len(), |max| max.min(text.len()));
        let prefix = match (self.flags.sharp, verb) {
            (false, _) => "",
            (true, 'X') => "0X",
            (true, _) => "0x",
        };
        let mut digits = String::with_capacity(length * 2);
        for (i, byte) in text.as_bytes()[..length].iter().enumerate() {
            if i == 0 || self.flags.space {
                if i > 0 {
                    digits.push(' ');
                }
                digits.push_str(prefix);
            }
            let _ = match verb {
                'X' => write!(digits, "{byte:02X}"),
                _ => write!(digits, "{byte:02x}"),
            };
        }
        self.pad_without_zeros(&digits);
    }
}

/// What a value with a text of its own says of itself.
fn described(value: &Value) -> Option<String> {
    Some(match value {
        Value::Time(time) | Value::TimePointer(time) => time.text(),
        Value::DurationPointer(ns) | Value::Int(ns, Integer::Duration) => format_go_duration(*ns),
        Value::Int(month, Integer::Month) => month_name(*month),
        Value::Int(day, Integer::Weekday) => day_name(*day),
        Value::Histogram(histogram) => FloatHistogram::to_string(histogram),
        _ => return None,
    })
}

/// Names and values of what a value is composed of.
fn elements(value: &Value) -> Vec<(String, Value)> {
    let unnamed = |value| (String::new(), value);
    match value {
        Value::Labels(labels) => {
            labels.iter().map(|(name, text)| (name.to_owned(), Value::text(text))).collect()
        }
        Value::Map(map) => {
            map.entries.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
        }
        Value::TextLists(lists) => {
            let list = |(name, texts): (&String, &std::sync::Arc<[_]>)| {
                (name.clone(), Value::Texts(std::sync::Arc::clone(texts)))
            };
            lists.iter().map(list).collect()
        }
        Value::Alert(alert) => vec![
            ("Labels".to_owned(), Value::Labels(alert.labels.clone())),
            ("ExternalLabels".to_owned(), Value::Labels(alert.external_labels.clone())),
            ("ExternalURL".to_owned(), Value::text(alert.external_url.as_str())),
            ("Value".to_owned(), Value::of_sample(&alert.value)),
        ],
        Value::Console(console) => vec![
            ("RawParams".to_owned(), Value::raw_params_of(console)),
            ("Params".to_owned(), Value::params_of(console)),
            ("Path".to_owned(), Value::text(console.path.as_str())),
            ("ExternalLabels".to_owned(), Value::Labels(console.external_labels.clone())),
        ],
        _ => {
            let count = value.length().unwrap_or(0);
            (0..count).filter_map(|at| value.element(at)).map(unnamed).collect()
        }
    }
}

/// Quoted with every character beyond ASCII escaped (Go's `%+q`).
fn ascii_quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        push_ascii(&mut out, c, &go_quote(c.encode_utf8(&mut [0; 4])));
    }
    out.push('"');
    out
}

fn ascii_quote_char(c: char) -> String {
    let mut out = String::from("'");
    push_ascii(&mut out, c, &quote_char(c));
    out.push('\'');
    out
}

fn push_ascii(out: &mut String, c: char, quoted: &str) {
    let code = u32::from(c);
    let _ = match code {
        0..0x80 => write!(out, "{}", &quoted[1..quoted.len() - 1]),
        0x80..0x1_0000 => write!(out, "\\u{code:04x}"),
        _ => write!(out, "\\U{code:08x}"),
    };
}
