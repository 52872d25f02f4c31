//! Floats as Go writes and reads them.
//!
//! Prometheus prints numbers with Go's `strconv`, in three layouts; clients compare the text, so
//! ours is the same to the byte. All of them print the fewest digits that read back to the same
//! float (which `zmij` finds); they differ in when they turn to an exponent.

use zmij::Buffer;

use super::NORMAL_NAN_BITS;

/// When a number is written with an exponent. NaN and the infinities are `NaN`, `+Inf`, `-Inf`
/// throughout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FloatStyle {
    /// Never: Go's `'f'`. Labels that `count_values` makes.
    Plain,
    /// Below 1e-4 and from 1e6: Go's `'g'` and `%v`. Text exposition, `le`, PromQL text.
    General,
    /// Below 1e-6 and from 1e21: sample values of the HTTP API.
    Api,
}

/// COMPAT: `value` as Go's `'e'` has it, with as many digits as are needed: `1.5e+00`.
pub fn format_go_float_exponent(value: f64) -> String {
    if !value.is_finite() {
        return float_text(value, FloatStyle::Plain);
    }
    let text = format!("{value:e}");
    match text.split_once('e') {
        Some((digits, exponent)) => {
            let (sign, exponent) = match exponent.strip_prefix('-') {
                Some(exponent) => ('-', exponent),
                None => ('+', exponent),
            };
            format!("{digits}e{sign}{exponent:0>2}")
        }
        None => text,
    }
}

/// Appends `value` as text.
pub fn push_float(out: &mut Vec<u8>, value: f64, style: FloatStyle) {
    if !value.is_finite() {
        let text = if value.is_nan() {
            "NaN"
        } else if value > 0.0 {
            "+Inf"
        } else {
            "-Inf"
        };
        out.extend_from_slice(text.as_bytes());
        return;
    }
    if value.is_sign_negative() {
        out.push(b'-');
    }
    let magnitude = value.abs();
    let with_exponent = match style {
        FloatStyle::Plain => false,
        FloatStyle::General => magnitude != 0.0 && !(1e-4..1e6).contains(&magnitude),
        FloatStyle::Api => magnitude != 0.0 && !(1e-6..1e21).contains(&magnitude),
    };
    // PERF: most samples are whole numbers; the search for digits is not needed for them.
    let whole = magnitude as u64;
    if !with_exponent && whole < 1 << 53 && whole as f64 == magnitude {
        push_integer(out, whole);
        return;
    }
    let mut buffer = Buffer::new();
    let text = buffer.format_finite(magnitude).as_bytes();
    if with_exponent {
        push_scientific(out, &Decimal::parse(text));
    } else if !(1e-4..1e15).contains(&magnitude) && text.contains(&b'e') {
        push_positional(out, &Decimal::parse(text));
    } else {
        out.extend_from_slice(text.strip_suffix(b".0").unwrap_or(text));
    }
}

/// `value` as text in a string of its own.
pub fn float_text(value: f64, style: FloatStyle) -> String {
    let mut out = Vec::with_capacity(24);
    push_float(&mut out, value, style);
    String::from_utf8(out).expect("BUG: digits, signs and letters are ASCII")
}

/// Reads a float as Go's `ParseFloat` does: decimal or hexadecimal, `inf`, `infinity` and `nan`
/// in any case, underscores between digits. `None` where Go reports an error, too large a number
/// included.
pub fn parse_float(text: &str) -> Option<f64> {
    if text.contains('_') {
        return are_underscores_between_digits(text)
            .then(|| parse_plain(&text.replace('_', "")))?;
    }
    parse_plain(text)
}

fn parse_plain(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    match unsigned.as_bytes().first()? {
        b'0' if matches!(unsigned.as_bytes().get(1), Some(b'x' | b'X')) => {
            let magnitude = parse_hexadecimal(&unsigned[2..])?;
            Some(if text.starts_with('-') { -magnitude } else { magnitude })
        }
        b'0'..=b'9' | b'.' => text.parse().ok().filter(|value: &f64| value.is_finite()),
        b'i' | b'I' => text.parse().ok(),
        b'n' | b'N' if unsigned.eq_ignore_ascii_case("nan") && unsigned.len() == text.len() => {
            Some(f64::from_bits(NORMAL_NAN_BITS))
        }
        _ => None,
    }
}

/// Each underscore stands between two digits, or between the `0x` and a digit.
fn are_underscores_between_digits(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text).as_bytes();
    let is_hexadecimal = matches!(unsigned, [b'0', b'x' | b'X', ..]);
    let is_digit = |byte: u8| byte.is_ascii_digit() || (is_hexadecimal && byte.is_ascii_hexdigit());
    let mut follows_digit = is_hexadecimal;
    let mut follows_underscore = false;
    for &byte in &unsigned[if is_hexadecimal { 2 } else { 0 }..] {
        let is_fit =
            if byte == b'_' { follows_digit } else { !follows_underscore || is_digit(byte) };
        if !is_fit {
            return false;
        }
        follows_digit = is_digit(byte);
        follows_underscore = byte == b'_';
    }
    !follows_underscore
}

/// Significant digits without zeros at either end, and where the point stands: the value is
/// `0.d₁d₂… × 10^point`.
struct Decimal {
    digits: [u8; 20],
    len: usize,
    point: i32,
}

impl Decimal {
    /// Takes `123.45`, `0.00012` or `1.2e-7` apart; the value is above zero.
    fn parse(text: &[u8]) -> Self {
        let mut decimal = Self { digits: [0; 20], len: 0, point: 0 };
        let mut after_point = false;
        for (i, &byte) in text.iter().enumerate() {
            match byte {
                b'.' => after_point = true,
                b'e' => {
                    decimal.point += parse_exponent(&text[i + 1..]);
                    break;
                }
                b'0' if decimal.len == 0 => decimal.point -= i32::from(after_point),
                _ => {
                    // Digits behind the twentieth can only be zeros that hold the place.
                    if decimal.len < decimal.digits.len() {
                        decimal.digits[decimal.len] = byte;
                        decimal.len += 1;
                    }
                    decimal.point += i32::from(!after_point);
                }
            }
        }
        while decimal.len > 1 && decimal.digits[decimal.len - 1] == b'0' {
            decimal.len -= 1;
        }
        decimal
    }

    fn digits(&self) -> &[u8] {
        &self.digits[..self.len]
    }
}

fn parse_exponent(text: &[u8]) -> i32 {
    let digits = text.strip_prefix(b"-").or(text.strip_prefix(b"+")).unwrap_or(text);
    let magnitude = digits.iter().fold(0, |sum, digit| sum * 10 + i32::from(digit - b'0'));
    if text.first() == Some(&b'-') { -magnitude } else { magnitude }
}

fn push_integer(out: &mut Vec<u8>, value: u64) {
    let mut digits = [0; 20];
    let mut begin = digits.len();
    let mut rest = value;
    loop {
        begin -= 1;
        digits[begin] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[begin..]);
}

fn push_scientific(out: &mut Vec<u8>, decimal: &Decimal) {
    let (first, rest) = decimal.digits().split_at(1);
    out.extend_from_slice(first);
    if !rest.is_empty() {
        out.push(b'.');
        out.extend_from_slice(rest);
    }
    let exponent = decimal.point - 1;
    out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
    if exponent.abs() < 10 {
        out.push(b'0');
    }
    push_integer(out, u64::from(exponent.unsigned_abs()));
}

fn push_positional(out: &mut Vec<u8>, decimal: &Decimal) {
    let digits = decimal.digits();
    if decimal.point <= 0 {
        out.extend_from_slice(b"0.");
        out.resize(out.len() + decimal.point.unsigned_abs() as usize, b'0');
        out.extend_from_slice(digits);
        return;
    }
    let point = decimal.point as usize;
    if digits.len() <= point {
        out.extend_from_slice(digits);
        out.resize(out.len() + point - digits.len(), b'0');
    } else {
        out.extend_from_slice(&digits[..point]);
        out.push(b'.');
        out.extend_from_slice(&digits[point..]);
    }
}

/// `1.8p3` behind the `0x`: mantissa with optional point, exponent required.
fn parse_hexadecimal(text: &str) -> Option<f64> {
    let (mantissa, exponent) = text.split_once(['p', 'P'])?;
    let mut bits = 0_u64;
    let mut scale = 0_i64;
    let mut is_inexact = false;
    let mut after_point = false;
    let mut has_digit = false;
    for &byte in mantissa.as_bytes() {
        match byte {
            b'.' if !after_point => after_point = true,
            _ => {
                let digit = u64::from((byte as char).to_digit(16)?);
                has_digit = true;
                if bits >> 59 == 0 {
                    bits = bits << 4 | digit;
                    scale -= if after_point { 4 } else { 0 };
                } else {
                    is_inexact |= digit != 0;
                    scale += if after_point { 0 } else { 4 };
                }
            }
        }
    }
    let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    if !has_digit || !is_number {
        return None;
    }
    // An exponent beyond this leaves every mantissa at zero or infinity.
    let magnitude = digits.parse::<i64>().unwrap_or(i64::MAX).min(1 << 40);
    let signed = if exponent.starts_with('-') { -magnitude } else { magnitude };
    assemble(bits, scale + signed, is_inexact)
}

/// `bits × 2^scale`, rounded to even once; `None` where that is infinite.
fn assemble(bits: u64, scale: i64, is_inexact: bool) -> Option<f64> {
    if bits == 0 {
        return Some(0.0);
    }
    let shift = bits.leading_zeros();
    let exponent = scale - i64::from(shift) + 63;
    let normal = bits << shift;
    // Subnormal numbers keep fewer bits of the mantissa.
    let dropped = if exponent < -1022 { (11 - 1022 - exponent).min(65) } else { 11 };
    let wide = u128::from(normal) << 1 | u128::from(is_inexact);
    let kept = (wide >> (dropped + 1)) as u64;
    let rest = wide & ((1 << (dropped + 1)) - 1);
    let half = 1_u128 << dropped;
    let rounded = kept + u64::from(rest > half || (rest == half && kept & 1 == 1));
    // A carry out of the mantissa raises the exponent by itself.
    let biased = if exponent < -1022 { 0 } else { exponent + 1022 };
    if biased >= 2046 {
        return None;
    }
    let value = f64::from_bits(rounded + ((biased as u64) << 52));
    value.is_finite().then_some(value)
}

#[cfg(test)]
mod tests;
