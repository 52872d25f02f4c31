//! Numbers, characters and strings as Go writes them.
//!
//! COMPAT: a number is kept in every type that can hold it, as in Go's `text/template/parse`.

use crate::model::{go_quote, parse_float};

/// A number of the text.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Number {
    /// As written.
    pub(super) text: String,
    pub(super) integer: Option<i64>,
    pub(super) unsigned: Option<u64>,
    pub(super) float: Option<f64>,
    /// Real and imaginary part.
    pub(super) complex: Option<(f64, f64)>,
}

/// What kind of literal the lexer saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    Character,
    Complex,
    Plain,
}

impl Number {
    pub(super) fn parse(text: &str, written: Written) -> Result<Self, String> {
        let text_owned = text.to_owned();
        let empty =
            Self { text: text_owned, integer: None, unsigned: None, float: None, complex: None };
        match written {
            Written::Character => {
                let code = u32::from(character(text)?);
                Ok(Self {
                    integer: Some(i64::from(code)),
                    unsigned: Some(u64::from(code)),
                    float: Some(f64::from(code)),
                    ..empty
                })
            }
            Written::Complex => {
                let bad = || format!("illegal number syntax: {}", go_quote(text));
                let body = text.strip_suffix('i').ok_or_else(bad)?;
                let sign_at = complex_sign(body).ok_or_else(bad)?;
                let real = parse_float(&body[..sign_at]).ok_or_else(bad)?;
                let imaginary = parse_float(&body[sign_at..]).ok_or_else(bad)?;
                Ok(empty.complex(real, imaginary))
            }
            Written::Plain => {
                if let Some(value) = text.strip_suffix('i').and_then(parse_float) {
                    return Ok(empty.complex(0.0, value));
                }
                empty.plain()
            }
        }
    }

    fn complex(mut self, real: f64, imaginary: f64) -> Self {
        self.complex = Some((real, imaginary));
        if imaginary == 0.0 {
            self.float = Some(real);
            self.integer = whole(real);
            self.unsigned = whole_unsigned(real);
        }
        self
    }

    fn plain(mut self) -> Result<Self, String> {
        self.unsigned = parse_unsigned(&self.text);
        self.integer = parse_integer(&self.text);
        if self.integer == Some(0) {
            // -0 too.
            self.unsigned = Some(0);
        }
        if let Some(integer) = self.integer {
            self.float = Some(integer as f64);
        } else if let Some(unsigned) = self.unsigned {
            self.float = Some(unsigned as f64);
        } else if let Some(float) = parse_float(&self.text) {
            if !self.text.contains(['.', 'e', 'E', 'p', 'P']) {
                return Err(format!("integer overflow: {}", go_quote(&self.text)));
            }
            self.float = Some(float);
            self.integer = whole(float);
            self.unsigned = whole_unsigned(float);
        } else {
            return Err(format!("illegal number syntax: {}", go_quote(&self.text)));
        }
        Ok(self)
    }

    /// Whether the text has the form of a float.
    pub(super) fn looks_like_float(&self) -> bool {
        let text = &self.text;
        let is_hexadecimal = text.len() > 2
            && (text.starts_with("0x") || text.starts_with("0X"))
            && !text.contains(['p', 'P']);
        !is_hexadecimal && !text.starts_with('\'') && text.contains(['.', 'e', 'E', 'p', 'P'])
    }
}

fn whole(value: f64) -> Option<i64> {
    (value.trunc() == value && (-9.3e18..9.223_372_036_854_775e18).contains(&value))
        .then_some(value as i64)
}

fn whole_unsigned(value: f64) -> Option<u64> {
    (value.trunc() == value && (0.0..1.844_674_407_370_955e19).contains(&value))
        .then_some(value as u64)
}

/// Where the imaginary part begins.
fn complex_sign(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    (1..bytes.len()).rev().find(|&i| {
        matches!(bytes[i], b'+' | b'-') && !matches!(bytes[i - 1], b'e' | b'E' | b'p' | b'P')
    })
}

/// Go's `ParseInt` with base 0.
pub(super) fn parse_integer(text: &str) -> Option<i64> {
    let (is_negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let magnitude = parse_unsigned(digits)?;
    if is_negative {
        return (magnitude <= 1 << 63).then(|| (magnitude as i64).wrapping_neg());
    }
    i64::try_from(magnitude).ok()
}

/// Go's `ParseUint` with base 0.
fn parse_unsigned(text: &str) -> Option<u64> {
    let prefix = text.get(..2).unwrap_or_default().to_ascii_lowercase();
    let (radix, digits) = match prefix.as_str() {
        "0x" => (16, &text[2..]),
        "0o" => (8, &text[2..]),
        "0b" => (2, &text[2..]),
        _ if text.len() > 1 && text.starts_with('0') => (8, &text[1..]),
        _ => (10, text),
    };
    // An underscore stands between digits or behind the prefix.
    let has_prefix = radix != 10;
    if digits.ends_with('_')
        || digits.contains("__")
        || (digits.starts_with('_') && !has_prefix)
        || digits.starts_with(['+', '-'])
    {
        return None;
    }
    u64::from_str_radix(&digits.replace('_', ""), radix).ok()
}

/// The string that `written`, in double or back quotes, means.
pub(super) fn unquote(written: &str) -> Result<String, String> {
    let invalid = || "invalid syntax".to_owned();
    if let Some(raw) = written.strip_prefix('`') {
        let raw = raw.strip_suffix('`').ok_or_else(invalid)?;
        return Ok(raw.replace('\r', ""));
    }
    let inner = written.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    let mut rest = inner.ok_or_else(invalid)?;
    let mut bytes = Vec::with_capacity(rest.len());
    while !rest.is_empty() {
        let (unit, behind) = unescape(rest, '"').ok_or_else(invalid)?;
        match unit {
            Unit::Char(c) => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            Unit::Byte(byte) => bytes.push(byte),
        }
        rest = behind;
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The character that `written`, in single quotes, means.
fn character(written: &str) -> Result<char, String> {
    let malformed = || format!("malformed character constant: {written}");
    let inner = written.get(1..).unwrap_or_default();
    let (unit, behind) = unescape(inner, '\'').ok_or_else(|| "invalid syntax".to_owned())?;
    if behind != "'" {
        return Err(malformed());
    }
    Ok(match unit {
        Unit::Char(c) => c,
        Unit::Byte(byte) => char::from(byte),
    })
}

enum Unit {
    Char(char),
    Byte(u8),
}

/// One character or escape, and what follows.
fn unescape(text: &str, quote: char) -> Option<(Unit, &str)> {
    let mut chars = text.chars();
    let c = chars.next()?;
    if c == quote || c == '\n' {
        return None;
    }
    if c != '\\' {
        return Some((Unit::Char(c), chars.as_str()));
    }
    let kind = chars.next()?;
    let rest = chars.as_str();
    let plain = |c| Some((Unit::Char(c), rest));
    match kind {
        'a' => plain('\u{7}'),
        'b' => plain('\u{8}'),
        'f' => plain('\u{c}'),
        'n' => plain('\n'),
        'r' => plain('\r'),
        't' => plain('\t'),
        'v' => plain('\u{b}'),
        '\\' => plain('\\'),
        '\'' | '"' if kind == quote => plain(kind),
        'x' => {
            let code = coded(rest, 2, 16)?;
            Some((Unit::Byte(u8::try_from(code).ok()?), &rest[2..]))
        }
        'u' => Some((Unit::Char(char::from_u32(coded(rest, 4, 16)?)?), &rest[4..])),
        'U' => Some((Unit::Char(char::from_u32(coded(rest, 8, 16)?)?), &rest[8..])),
        '0'..='7' => {
            let digits = &text[1..];
            let code = coded(digits, 3, 8)?;
            Some((Unit::Byte(u8::try_from(code).ok()?), &digits[3..]))
        }
        _ => None,
    }
}

fn coded(text: &str, length: usize, radix: u32) -> Option<u32> {
    let digits = text.get(..length)?;
    if !digits.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    u32::from_str_radix(digits, radix).ok()
}
