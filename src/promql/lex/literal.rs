//! Numbers, durations and strings: how far they reach, and what they are worth.

use nom::Parser;
use nom::bytes::complete::take_till1;
use nom::character::complete::digit1;

use super::{Kind, is_name};
use crate::model::NORMAL_NAN_BITS;
use crate::promql::quote::{code_point, quote};

/// Kind and length of the number or duration at the front of `text`, which starts with a digit
/// or a dot; or, where it is neither, how much of it was looked at.
///
/// COMPAT: a number may look odd and still be one token (`.1.2`, `0xee`): its value is refused
/// then, or the token, exactly where Prometheus does.
pub(super) fn number_or_duration(text: &str) -> Result<(Kind, usize), usize> {
    let mut cursor = Cursor { text, at: 0 };
    if cursor.number() {
        return Ok((Kind::Number, cursor.at));
    }
    if cursor.units() { Ok((Kind::Duration, cursor.at)) } else { Err(cursor.at) }
}

struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl Cursor<'_> {
    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn take_if(&mut self, wanted: impl Fn(char) -> bool) -> bool {
        match self.peek() {
            Some(c) if wanted(c) => {
                self.at += c.len_utf8();
                true
            }
            _ => false,
        }
    }

    fn take_any(&mut self, wanted: &str) -> bool {
        self.take_if(|c| wanted.contains(c))
    }

    fn number(&mut self) -> bool {
        let is_hex = self.take_any("0") && self.take_any("xX");
        if is_hex {
            self.take_any("_");
        }
        let is_digit = |c: char| if is_hex { c.is_ascii_hexdigit() } else { c.is_ascii_digit() };
        self.take_any(".");
        self.take_if(is_digit);
        let mut seen_dot = false;
        let mut seen_exponent = false;
        while let Some(c) = self.peek() {
            // In a hexadecimal number `e` is an exponent to the scanner all the same, once.
            let well_formed = match c {
                '.' => {
                    self.take_any(".");
                    let repeated = std::mem::replace(&mut seen_dot, true);
                    !repeated && !self.take_any("_.") && !is_hex
                }
                'e' | 'E' => {
                    self.take_any("eE");
                    let repeated = std::mem::replace(&mut seen_exponent, true);
                    !repeated && {
                        self.take_any("+-");
                        !self.take_any("._eE") && self.peek().is_some()
                    }
                }
                '_' => {
                    self.take_any("_");
                    !self.take_any("._eE") && self.peek().is_some()
                }
                _ if is_digit(c) => {
                    while self.take_if(is_digit) {}
                    true
                }
                _ => break,
            };
            if !well_formed {
                return false;
            }
        }
        !self.peek().is_some_and(is_name)
    }

    fn units(&mut self) -> bool {
        let digit = |c: char| c.is_ascii_digit();
        if !self.take_any("smhdwy") {
            return false;
        }
        self.take_any("s");
        while self.take_if(digit) {
            while self.take_if(digit) {}
            // Years come first or not at all.
            if !self.take_any("smhdw") {
                return false;
            }
            self.take_any("s");
        }
        let ends = !self.peek().is_some_and(is_name);
        if !ends {
            self.take_if(|_| true);
        }
        ends
    }
}

/// Length of the string at the front of `text`, its quotes included.
pub fn string_length(text: &str) -> Result<usize, String> {
    let mut chars = text.char_indices();
    let Some((_, delimiter)) = chars.next() else { return Err(unterminated('"')) };
    while let Some((at, c)) = chars.next() {
        match c {
            _ if c == delimiter => return Ok(at + 1),
            char::REPLACEMENT_CHARACTER => return Err("invalid UTF-8 rune".to_owned()),
            '\\' if delimiter != '`' => check_escape(&mut chars, delimiter)?,
            '\n' if delimiter != '`' => break,
            _ => {}
        }
    }
    Err(unterminated(delimiter))
}

fn unterminated(delimiter: char) -> String {
    let kind = if delimiter == '`' { "raw" } else { "quoted" };
    format!("unterminated {kind} string")
}

fn check_escape(chars: &mut std::str::CharIndices<'_>, delimiter: char) -> Result<(), String> {
    let not_terminated = || "escape sequence not terminated".to_owned();
    let mut next = || chars.next().map(|(_, c)| c).ok_or_else(not_terminated);
    let first = next()?;
    let (digits, radix, greatest) = match first {
        'a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v' | '\\' => return Ok(()),
        _ if first == delimiter => return Ok(()),
        '0'..='7' => (3, 8, 255),
        'x' => (2, 16, 255),
        'u' => (4, 16, u32::from(char::MAX)),
        'U' => (8, 16, u32::from(char::MAX)),
        _ => return Err(format!("unknown escape sequence {}", code_point(first))),
    };
    let mut code = 0_u32;
    for index in 0..digits {
        let c = if index == 0 && radix == 8 { first } else { next()? };
        let Some(digit) = c.to_digit(radix) else {
            return Err(format!("illegal character {} in escape sequence", code_point(c)));
        };
        code = (code << radix.trailing_zeros()) | digit;
    }
    if code > greatest || (0xd800..0xe000).contains(&code) {
        return Err("escape sequence is an invalid Unicode code point".to_owned());
    }
    Ok(())
}

/// The content of a string token. Bytes that its escapes make and that are no UTF-8 become
/// U+FFFD: no label has such a value.
pub fn unquote(token: &str) -> String {
    String::from_utf8(unquote_bytes(token))
        .unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
}

/// The content of a string token, which need not be UTF-8.
pub fn unquote_bytes(token: &str) -> Vec<u8> {
    let delimiter = token.chars().next().unwrap_or('"');
    let inner = token.get(1..token.len().saturating_sub(1)).unwrap_or("");
    if delimiter == '`' || !inner.contains('\\') {
        return inner.as_bytes().to_vec();
    }
    let mut bytes = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let Some((plain, escaped)) = rest.split_once('\\') {
        bytes.extend_from_slice(plain.as_bytes());
        let length = push_escape(&mut bytes, escaped);
        rest = &escaped[length..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}

/// Appends what the escape stands for; returns its length without the backslash.
fn push_escape(bytes: &mut Vec<u8>, escaped: &str) -> usize {
    let first = escaped.bytes().next().unwrap_or(b'\\');
    let number = |from: usize, to: usize, radix: u32| {
        escaped.get(from..to).and_then(|digits| u32::from_str_radix(digits, radix).ok())
    };
    let (code, length) = match first {
        b'0'..=b'7' => (number(0, 3, 8), 3),
        b'x' => (number(1, 3, 16), 3),
        b'u' | b'U' => {
            let length = if first == b'u' { 5 } else { 9 };
            let c = number(1, length, 16).and_then(char::from_u32).unwrap_or(' ');
            bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            return length;
        }
        b'a' => (Some(7), 1),
        b'b' => (Some(8), 1),
        b'f' => (Some(12), 1),
        b'n' => (Some(10), 1),
        b'r' => (Some(13), 1),
        b't' => (Some(9), 1),
        b'v' => (Some(11), 1),
        other => (Some(u32::from(other)), 1),
    };
    bytes.push(code.unwrap_or(0) as u8);
    length
}

/// The value of a number token.
///
/// COMPAT: as Go reads an integer of any base, so that `010` is eight, and else a float.
pub fn number(token: &str) -> Result<f64, String> {
    if token.eq_ignore_ascii_case("inf") {
        return Ok(f64::INFINITY);
    }
    if token.eq_ignore_ascii_case("nan") {
        return Ok(f64::from_bits(NORMAL_NAN_BITS));
    }
    let refused = |why: &str| format!("strconv.ParseFloat: parsing {}: {why}", quote(token));
    if !underscores_separate_digits(token) {
        return Err(refused("invalid syntax"));
    }
    let digits: String = token.chars().filter(|&c| c != '_').collect();
    if let Some(hex) = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        let parsed = i64::from_str_radix(hex, 16).ok().filter(|_| !hex.contains(['+', '-']));
        return parsed.map(|n| n as f64).ok_or_else(|| refused("invalid syntax"));
    }
    if digits.bytes().all(|b| b.is_ascii_digit()) {
        let radix = if digits.starts_with('0') { 8 } else { 10 };
        if let Ok(integer) = i64::from_str_radix(&digits, radix) {
            return Ok(integer as f64);
        }
    }
    match digits.parse::<f64>() {
        Ok(value) if value.is_infinite() => Err(refused("value out of range")),
        Ok(value) => Ok(value),
        Err(_) => Err(refused("invalid syntax")),
    }
}

fn underscores_separate_digits(token: &str) -> bool {
    let bytes = token.as_bytes();
    let is_hex = matches!(bytes, [b'0', b'x' | b'X', ..]);
    let is_digit = |index: usize| {
        bytes.get(index).is_some_and(|b| {
            b.is_ascii_digit() || (is_hex && (b.is_ascii_hexdigit() || index == 1))
        })
    };
    let separates = |at: usize| at > 0 && is_digit(at - 1) && is_digit(at + 1);
    bytes.iter().enumerate().all(|(at, &b)| b != b'_' || separates(at))
}

/// The value of a duration token in seconds.
pub fn duration(token: &str) -> Result<f64, String> {
    const NANOS: u64 = 1_000_000_000;
    let invalid = || format!("not a valid duration string: {}", quote(token));
    let out_of_range = || "duration out of range".to_owned();
    let mut rest = token;
    let mut last_rank = 0;
    let mut total = 0_u64;
    while !rest.is_empty() {
        let parsed: Result<_, nom::Err<()>> =
            (digit1, take_till1(|c: char| c.is_ascii_digit())).parse(rest);
        let Ok((after, (digits, unit))) = parsed else { return Err(invalid()) };
        let count = digits.parse::<u64>().map_err(|_| invalid())?;
        let (rank, nanos) = match unit {
            "y" => (1, 365 * 86_400 * NANOS),
            "w" => (2, 7 * 86_400 * NANOS),
            "d" => (3, 86_400 * NANOS),
            "h" => (4, 3_600 * NANOS),
            "m" => (5, 60 * NANOS),
            "s" => (6, NANOS),
            "ms" => (7, NANOS / 1000),
            _ => return Err(format!("unknown unit {} in duration {}", quote(unit), quote(token))),
        };
        if rank <= last_rank {
            return Err(invalid());
        }
        if count > (1 << 63) / nanos {
            return Err(out_of_range());
        }
        total += count * nanos;
        if total > i64::MAX as u64 {
            return Err(out_of_range());
        }
        last_rank = rank;
        rest = after;
    }
    Ok((total / NANOS) as f64 + (total % NANOS) as f64 / 1e9)
}
