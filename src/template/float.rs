//! Floats in the forms that `printf` knows.
//!
//! COMPAT: the texts are those of Go's `strconv.FormatFloat`; exact decimal digits come from the
//! standard library, which rounds as Go does.

use std::fmt::Write as _;

/// Significant digits without zeros at the end, and how many of them stand before the point.
struct Digits {
    digits: Vec<u8>,
    point: i32,
}

/// `value` in the form of `verb` (`e`, `E`, `f`, `g`, `G`, `x`, `X`, `b`); without a precision
/// the fewest digits that read back to it. Positive numbers have no sign.
pub(super) fn format_float(value: f64, verb: char, precision: Option<usize>) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let sign = if value.is_sign_negative() { "-" } else { "" };
    let magnitude = value.abs();
    let text = match verb {
        'e' | 'E' => scientific(magnitude, precision),
        'f' => match precision {
            Some(precision) => format!("{magnitude:.precision$}"),
            None => format!("{magnitude}"),
        },
        'g' | 'G' => general(magnitude, precision),
        'b' => binary(magnitude),
        _ => hexadecimal(magnitude, precision),
    };
    let text = format!("{sign}{text}");
    if verb.is_uppercase() { text.to_uppercase() } else { text }
}

fn scientific(magnitude: f64, precision: Option<usize>) -> String {
    let text = match precision {
        Some(precision) => format!("{magnitude:.precision$e}"),
        None => format!("{magnitude:e}"),
    };
    let (mantissa, exponent) = text.split_once('e').expect("BUG: an exponent was asked for");
    let exponent: i32 = exponent.parse().expect("BUG: an exponent is a number");
    with_exponent(mantissa, 'e', exponent)
}

fn with_exponent(mantissa: &str, mark: char, exponent: i32) -> String {
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}{mark}{sign}{:02}", exponent.abs())
}

fn digits(magnitude: f64, significant: Option<usize>) -> Digits {
    let text = match significant {
        Some(count) => format!("{magnitude:.*e}", count - 1),
        None => format!("{magnitude:e}"),
    };
    let (mantissa, exponent) = text.split_once('e').expect("BUG: an exponent was asked for");
    let exponent: i32 = exponent.parse().expect("BUG: an exponent is a number");
    let mut digits: Vec<u8> = mantissa.bytes().filter(u8::is_ascii_digit).collect();
    while digits.last() == Some(&b'0') {
        digits.pop();
    }
    let point = if digits.is_empty() { 0 } else { exponent + 1 };
    Digits { digits, point }
}

fn general(magnitude: f64, precision: Option<usize>) -> String {
    let significant = precision.map(|precision| precision.max(1));
    let Digits { digits, point } = digits(magnitude, significant);
    let count = digits.len() as i32;
    let bound = match significant {
        None => 6,
        Some(wanted) if wanted as i32 > count && count >= point => count,
        Some(wanted) => wanted as i32,
    };
    let exponent = point - 1;
    let digit = |at: i32| {
        let known = usize::try_from(at).ok().and_then(|at| digits.get(at));
        known.map_or('0', |byte| char::from(*byte))
    };
    let mut text = String::new();
    if exponent < -4 || exponent >= bound {
        text.push(digit(0));
        if count > 1 {
            text.push('.');
            (1..count).for_each(|at| text.push(digit(at)));
        }
        return with_exponent(&text, 'e', exponent);
    }
    if point <= 0 {
        text.push('0');
    } else {
        (0..point).for_each(|at| text.push(digit(at)));
    }
    if count > point {
        text.push('.');
        (point..count).for_each(|at| text.push(digit(at)));
    }
    text
}

/// Mantissa as an integer and a power of two.
fn binary(magnitude: f64) -> String {
    let (mantissa, exponent) = parts(magnitude);
    format!("{mantissa}p{}{}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

/// `mantissa * 2^exponent`.
fn parts(magnitude: f64) -> (u64, i32) {
    let bits = magnitude.to_bits();
    let exponent = (bits >> 52) as i32;
    let fraction = bits & ((1 << 52) - 1);
    match exponent {
        0 => (fraction, -1074),
        _ => (fraction | 1 << 52, exponent - 1075),
    }
}

fn hexadecimal(magnitude: f64, precision: Option<usize>) -> String {
    let (mut mantissa, mut exponent) = parts(magnitude);
    if mantissa == 0 {
        exponent = 0;
    } else {
        // The leading one stands at bit 60: 15 hexadecimal digits follow.
        let shift = mantissa.leading_zeros() as i32 - 3;
        mantissa <<= shift;
        exponent += 60 - shift;
    }
    if let Some(precision) = precision.filter(|precision| *precision < 15) {
        let dropped = 60 - precision as u32 * 4;
        let rest = mantissa & ((1 << dropped) - 1);
        mantissa >>= dropped;
        let half = 1 << (dropped - 1);
        if rest > half || (rest == half && mantissa & 1 == 1) {
            mantissa += 1;
        }
        mantissa <<= dropped;
        if mantissa >> 61 != 0 {
            mantissa >>= 1;
            exponent += 1;
        }
    }
    let mut text = format!("0x{}", mantissa >> 60);
    let fraction = format!("{:015x}", mantissa & ((1 << 60) - 1));
    match precision {
        None => {
            let fraction = fraction.trim_end_matches('0');
            if !fraction.is_empty() {
                let _ = write!(text, ".{fraction}");
            }
        }
        Some(0) => {}
        Some(precision) => {
            let _ = write!(text, ".{fraction:0<precision$.precision$}");
        }
    }
    with_exponent(&text, 'p', exponent)
}

#[cfg(test)]
mod tests {
    use super::format_float;

    /// Right sides printed by Go.
    #[test]
    fn floats_are_written_as_go_does() {
        let table = [
            (1_000_000.0, 'g', None, "1e+06"),
            (123_456.0, 'g', None, "123456"),
            (0.0001, 'g', None, "0.0001"),
            (0.000_01, 'g', None, "1e-05"),
            (1_234_567.0, 'g', Some(4), "1.235e+06"),
            (100.0, 'g', Some(4), "100"),
            (0.123_45, 'g', Some(4), "0.1235"),
            (-0.0, 'g', Some(4), "-0"),
            (12.0, 'e', Some(3), "1.200e+01"),
            (1.5, 'f', Some(0), "2"),
            (2.5, 'f', Some(0), "2"),
            (1e21, 'f', None, "1000000000000000000000"),
            (1.0, 'x', None, "0x1p+00"),
            (-3.75, 'x', None, "-0x1.ep+01"),
            (3.75, 'X', Some(0), "0X1P+02"),
            (1.0, 'b', None, "4503599627370496p-52"),
            (0.0, 'x', Some(2), "0x0.00p+00"),
        ];
        for (value, verb, precision, text) in table {
            assert_eq!(format_float(value, verb, precision), text, "{value} {verb} {precision:?}");
        }
    }
}
