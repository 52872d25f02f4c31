//! Integers and floats of `printf`, with its flags.

use std::fmt::Write as _;

use super::{Printer, ascii_quote_char};
use crate::promql::quote::quote_char;
use crate::template::float::format_float;
use crate::template::value::Value;

impl Printer {
    pub(super) fn number(&mut self, value: &Value, verb: char, magnitude: u64, is_negative: bool) {
        match verb {
            'v' if self.flags.sharp_v && matches!(value, Value::Byte(_)) => {
                self.flags.sharp = true;
                self.integer(magnitude, false, 'x');
                self.flags.sharp = false;
            }
            'v' | 'd' | 'b' | 'o' | 'O' | 'x' | 'X' => self.integer(magnitude, is_negative, verb),
            'c' | 'q' => {
                let code = if is_negative { None } else { u32::try_from(magnitude).ok() };
                let c = code.and_then(char::from_u32).unwrap_or('\u{fffd}');
                let text = match verb {
                    'q' if self.flags.plus => ascii_quote_char(c),
                    'q' => quote_char(c),
                    _ => c.to_string(),
                };
                self.pad(&text);
            }
            'U' => {
                let code = if is_negative { magnitude.wrapping_neg() } else { magnitude };
                let width = self.flags.precision.unwrap_or(4).max(4);
                let mut text = format!("U+{code:0width$X}");
                let c = u32::try_from(code).ok().and_then(char::from_u32);
                if let Some(c) = c.filter(|c| self.flags.sharp && !c.is_control()) {
                    let _ = write!(text, " '{c}'");
                }
                self.pad_without_zeros(&text);
            }
            _ => self.bad_verb(Some(value), verb),
        }
    }

    pub(super) fn integer(&mut self, magnitude: u64, is_negative: bool, verb: char) {
        let flags = self.flags;
        let mut digits = match verb {
            'b' => format!("{magnitude:b}"),
            'o' | 'O' => format!("{magnitude:o}"),
            'x' => format!("{magnitude:x}"),
            'X' => format!("{magnitude:X}"),
            _ => magnitude.to_string(),
        };
        let mut wanted = 0;
        if let Some(precision) = flags.precision {
            if precision == 0 && magnitude == 0 {
                self.pad_without_zeros("");
                return;
            }
            wanted = precision;
        } else if flags.zero && !flags.minus {
            let signs = usize::from(is_negative || flags.plus || flags.space);
            wanted = flags.width.unwrap_or(0).saturating_sub(signs);
        }
        if digits.len() < wanted {
            digits.insert_str(0, &"0".repeat(wanted - digits.len()));
        }
        if flags.sharp {
            let prefix = match verb {
                'b' => "0b",
                'o' | 'O' if !digits.starts_with('0') => "0",
                'x' => "0x",
                'X' => "0X",
                _ => "",
            };
            digits.insert_str(0, prefix);
        }
        if verb == 'O' {
            digits.insert_str(0, "0o");
        }
        let sign = match (is_negative, flags.plus, flags.space) {
            (true, ..) => "-",
            (false, true, _) => "+",
            (false, false, true) => " ",
            _ => "",
        };
        digits.insert_str(0, sign);
        self.pad_without_zeros(&digits);
    }

    pub(super) fn float(&mut self, value: f64, verb: char) {
        let flags = self.flags;
        let (form, default) = match verb {
            'v' => ('g', None),
            'F' => ('f', Some(6)),
            'f' | 'e' | 'E' => (verb, Some(6)),
            _ => (verb, None),
        };
        let precision = flags.precision.or(default);
        let text = format_float(value, form, precision);
        let (sign, mut digits) = match text.strip_prefix(['-', '+']) {
            Some(rest) => (text.as_bytes()[0], rest.to_owned()),
            None => (b'+', text),
        };
        let sign = if flags.space && sign == b'+' && !flags.plus { b' ' } else { sign };
        let sign = char::from(sign);
        if !value.is_finite() {
            let keeps_sign = value.is_infinite() || flags.space || flags.plus;
            let text = if keeps_sign { format!("{sign}{digits}") } else { digits };
            self.pad_without_zeros(&text);
            return;
        }
        if flags.sharp && form != 'b' {
            digits = with_point(&digits, form, precision);
        }
        if !flags.plus && sign == '+' {
            self.pad(&digits);
            return;
        }
        let width = flags.width.unwrap_or(0);
        if flags.zero && !flags.minus && width > digits.chars().count() + 1 {
            let zeros = "0".repeat(width - digits.len() - 1);
            let _ = write!(self.out, "{sign}{zeros}{digits}");
            return;
        }
        self.pad(&format!("{sign}{digits}"));
    }
}

/// The digits with a point, and with the zeros that `#` keeps.
fn with_point(text: &str, form: char, precision: Option<usize>) -> String {
    let is_hexadecimal = matches!(form, 'x' | 'X');
    let marks: &[char] = if is_hexadecimal { &['p', 'P'] } else { &['e', 'E'] };
    let (mantissa, tail) = text.split_at(text.find(marks).unwrap_or(text.len()));
    let mut wanted = match form {
        'g' | 'G' | 'x' => precision.unwrap_or(6) as i64,
        _ => 0,
    };
    let counted = mantissa.bytes().filter(|byte| *byte != b'.').skip_while(|byte| *byte == b'0');
    wanted -= counted.count() as i64;
    let mut text = mantissa.to_owned();
    if !mantissa.contains('.') {
        if mantissa == "0" {
            wanted -= 1;
        }
        text.push('.');
    }
    text.extend(std::iter::repeat_n('0', usize::try_from(wanted).unwrap_or(0)));
    text + tail
}
