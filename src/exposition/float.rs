//! Numbers on a page.
//!
//! [`parse_value`] takes what `strconv.ParseFloat` takes, less hexadecimal floats and digit
//! separators, which the text format excludes. Up to 19 digits with a small exponent are exact in
//! one multiplication or division (Clinger's fast path: a mantissa below 2^53 and a power of ten
//! up to 22 are both exact doubles); everything else goes to the standard library, which rounds
//! correctly.

use std::fmt;

use super::quote::quote_bytes;
use crate::model::{FloatStyle, NORMAL_NAN_BITS, float_text};

/// Why a text is not a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FloatError {
    /// A hexadecimal exponent or a digit separator.
    Unsupported,
    /// Not the syntax of a number; the text.
    Syntax(String),
    /// Too large for a double; the text.
    Range(String),
}

impl fmt::Display for FloatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsupported => f.write_str("unsupported character in float"),
            Self::Syntax(text) => {
                write!(f, "strconv.ParseFloat: parsing {text}: invalid syntax")
            }
            Self::Range(text) => {
                write!(f, "strconv.ParseFloat: parsing {text}: value out of range")
            }
        }
    }
}

impl std::error::Error for FloatError {}

const POWERS_OF_TEN: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];

/// Reads the decimal digits from `at` on as if they followed those of `before`; the number, which
/// wraps, and how many they are.
#[inline]
fn read_digits(bytes: &[u8], at: usize, before: u64) -> (u64, usize) {
    const POWERS: [u64; 8] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000];
    let (mut number, mut len) = (before, 0);
    while let Some(eight) = bytes.get(at + len..).and_then(|rest| rest.first_chunk()) {
        // Digits become 0 to 9; a byte that is none gets its highest bit set in the second term.
        let values = u64::from_le_bytes(*eight) ^ 0x3030_3030_3030_3030;
        let others = (values.wrapping_add(0x7676_7676_7676_7676) | values) & 0x8080_8080_8080_8080;
        let found = others.trailing_zeros() as usize / 8;
        if found == 8 {
            number = number.wrapping_mul(100_000_000).wrapping_add(eight_digits(values));
            len += 8;
            continue;
        }
        if found == 0 {
            return (number, len);
        }
        // Zeros go before the digits that are there.
        let value = eight_digits(values << (64 - 8 * found));
        return (number.wrapping_mul(POWERS[found]).wrapping_add(value), len + found);
    }
    while let Some(digit) = bytes.get(at + len).map(|b| b.wrapping_sub(b'0')).filter(|d| *d < 10) {
        number = number.wrapping_mul(10).wrapping_add(u64::from(digit));
        len += 1;
    }
    (number, len)
}

/// The number that eight digits make, the first one in the lowest byte.
#[inline]
fn eight_digits(digits: u64) -> u64 {
    let pairs = digits.wrapping_mul(10).wrapping_add(digits >> 8) & 0x00ff_00ff_00ff_00ff;
    let fours = pairs.wrapping_mul(100).wrapping_add(pairs >> 16) & 0x0000_ffff_0000_ffff;
    fours.wrapping_mul(10_000).wrapping_add(fours >> 32) & 0xffff_ffff
}

/// A plain decimal number at the start of `bytes`, and how many bytes it takes; `None` where the
/// fast path does not apply. The caller checks what follows the number.
#[inline]
pub(super) fn parse_fast_prefix(bytes: &[u8]) -> Option<(f64, usize)> {
    let negative = bytes.first() == Some(&b'-');
    let mut at = usize::from(negative);
    let (mut mantissa, mut digits) = read_digits(bytes, at, 0);
    at += digits;
    let mut exponent = 0_i32;
    if bytes.get(at) == Some(&b'.') {
        let (all, fraction) = read_digits(bytes, at + 1, mantissa);
        (mantissa, digits) = (all, digits + fraction);
        at += 1 + fraction;
        exponent = -i32::try_from(fraction).ok()?;
    }
    if digits == 0 || digits > 19 {
        return None;
    }
    if matches!(bytes.get(at), Some(b'e' | b'E')) {
        at += 1;
        let sign = bytes.get(at).copied();
        at += usize::from(matches!(sign, Some(b'+' | b'-')));
        let start = at;
        let mut written = 0_i32;
        while let Some(digit) = bytes.get(at).map(|b| b.wrapping_sub(b'0')).filter(|d| *d < 10) {
            written = written * 10 + i32::from(digit);
            at += 1;
            if at - start > 4 {
                return None;
            }
        }
        if at == start {
            return None;
        }
        exponent += if sign == Some(b'-') { -written } else { written };
    }
    if mantissa > 1 << 53 {
        return None;
    }
    let magnitude = match exponent {
        0 => mantissa as f64,
        1..=22 => mantissa as f64 * POWERS_OF_TEN[exponent as usize],
        -22..=-1 => mantissa as f64 / POWERS_OF_TEN[-exponent as usize],
        _ => return None,
    };
    Some((if negative { -magnitude } else { magnitude }, at))
}

/// Reads a whole text as a number. Every NaN comes out as Prometheus's ordinary NaN.
pub fn parse_value(text: &[u8]) -> Result<f64, FloatError> {
    if let Some((value, used)) = parse_fast_prefix(text)
        && used == text.len()
    {
        return Ok(value);
    }
    if text.iter().any(|b| matches!(b, b'p' | b'P' | b'_')) {
        return Err(FloatError::Unsupported);
    }
    let syntax = || FloatError::Syntax(quote_bytes(text));
    let value: f64 =
        std::str::from_utf8(text).ok().and_then(|t| t.parse().ok()).ok_or_else(syntax)?;
    let is_signed = matches!(text.first(), Some(b'+' | b'-'));
    if value.is_nan() {
        // Go knows no signed NaN.
        return if is_signed { Err(syntax()) } else { Ok(f64::from_bits(NORMAL_NAN_BITS)) };
    }
    let leading = text.get(usize::from(is_signed)).copied().unwrap_or(b'0');
    if value.is_infinite() && !leading.eq_ignore_ascii_case(&b'i') {
        return Err(FloatError::Range(quote_bytes(text)));
    }
    Ok(value)
}

/// The OpenMetrics style that `le` and `quantile` values are brought to: never without a point or
/// an exponent, and zero without a sign.
pub fn format_openmetrics(value: f64) -> String {
    let mut text = float_text(if value == 0.0 { 0.0 } else { value }, FloatStyle::General);
    if value.is_finite() && !text.contains(['e', '.']) {
        text.push_str(".0");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bounds_have_a_point_or_an_exponent() {
        for (value, text) in [
            (1.0, "1.0"),
            (-0.0, "0.0"),
            (0.25, "0.25"),
            (1e6, "1e+06"),
            (f64::INFINITY, "+Inf"),
            (10.0, "10.0"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(format_openmetrics(value), text);
        }
    }

    #[test]
    fn reads_what_go_reads() {
        for (text, value) in [
            ("nan", f64::NAN),
            ("iNf", f64::INFINITY),
            ("+Infinity", f64::INFINITY),
            ("1.", 1.0),
            ("-inf", f64::NEG_INFINITY),
            (".5", 0.5),
            ("1e-400", 0.0),
            ("+5", 5.0),
            ("-0", -0.0),
            ("00012", 12.0),
            ("1E5", 1e5),
            ("1e+5", 1e5),
            ("123456789012345678901234567890", 123_456_789_012_345_678_901_234_567_890.0),
        ] {
            let read = parse_value(text.as_bytes()).unwrap();
            assert!(read == value || read.is_nan() && value.is_nan(), "{text}");
            assert_eq!(read.is_sign_negative(), value.is_sign_negative(), "{text}");
        }
        assert_eq!(parse_value(b"NaN").unwrap().to_bits(), NORMAL_NAN_BITS);
        for text in ["0x10", "+nan", "-NaN", "1e", ".", " 1", "infin", "--5", "", "-", "\u{661}"] {
            let syntax = FloatError::Syntax(quote_bytes(text.as_bytes()));
            assert_eq!(parse_value(text.as_bytes()), Err(syntax));
        }
        for text in ["1e400", "-1e309", &"9".repeat(400)] {
            assert!(matches!(parse_value(text.as_bytes()), Err(FloatError::Range(_))), "{text}");
        }
        for text in ["0x1p-3", "1_000", "1P2"] {
            assert_eq!(parse_value(text.as_bytes()), Err(FloatError::Unsupported));
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_standard_library(
            text in "-?[0-9]{0,22}(\\.[0-9]{0,22})?(e[+-]?[0-9]{1,3})?"
        ) {
            let ours = parse_value(text.as_bytes()).ok();
            let theirs: Option<f64> = text.parse().ok().filter(|v: &f64| v.is_finite());
            prop_assert_eq!(ours.map(f64::to_bits), theirs.map(f64::to_bits));
        }

        #[test]
        fn every_double_survives(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            let back = parse_value(float_text(value, FloatStyle::General).as_bytes()).unwrap();
            prop_assert!(back == value || back.is_nan() && value.is_nan());
        }
    }
}
