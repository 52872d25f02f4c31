//! What the text of a scalar means. COMPAT: go-yaml v2, with which Prometheus reads its files:
//! YAML 1.1 booleans, octal numbers, underscores in numbers.

use crate::model::parse_float;

const TRUE: [&str; 11] = ["y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"];
const FALSE: [&str; 11] =
    ["n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"];
const NULL: [&str; 5] = ["", "~", "null", "Null", "NULL"];

pub(super) fn is_null(text: &str) -> bool {
    NULL.contains(&text)
}

pub(super) fn boolean(text: &str) -> Option<bool> {
    if TRUE.contains(&text) {
        return Some(true);
    }
    FALSE.contains(&text).then_some(false)
}

/// A whole number in Go's notations, which may stand as `i64` or as `u64`.
pub(super) fn integer(text: &str) -> Option<i128> {
    if !text.starts_with(|c: char| c.is_ascii_digit() || c == '+' || c == '-') {
        return None;
    }
    let plain = text.replace('_', "");
    let unsigned = plain.strip_prefix(['+', '-']).unwrap_or(&plain);
    let lower = unsigned.to_ascii_lowercase();
    let (digits, radix) = match lower.as_bytes() {
        [b'0', b'x', ..] => (&lower[2..], 16),
        [b'0', b'o', ..] => (&lower[2..], 8),
        [b'0', b'b', ..] => (&lower[2..], 2),
        [b'0', _, ..] => (&lower[1..], 8),
        _ => (lower.as_str(), 10),
    };
    if !digits.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return None;
    }
    let magnitude = i128::from(u64::from_str_radix(digits, radix).ok()?);
    let value = if plain.starts_with('-') { -magnitude } else { magnitude };
    (value >= i128::from(i64::MIN)).then_some(value)
}

pub(super) fn float(text: &str) -> Option<f64> {
    match text {
        ".nan" | ".NaN" | ".NAN" => return Some(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Some(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Some(f64::NEG_INFINITY),
        _ => {}
    }
    let plain = text.replace('_', "");
    let is_number = plain.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b))
        && plain.bytes().any(|b| b.is_ascii_digit());
    is_number.then(|| parse_float(&plain)).flatten()
}

/// Digits, `-`, `:` and the like in the form `2006-01-02…`: go-yaml reads a date.
fn is_date(text: &str) -> bool {
    let bytes = text.as_bytes();
    let is_digits = |bytes: &[u8]| !bytes.is_empty() && bytes.iter().all(u8::is_ascii_digit);
    let Some((year, rest)) = text.split_once('-') else { return false };
    let Some((month, rest)) = rest.split_once('-') else { return false };
    let day_end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    bytes.len() >= 8
        && year.len() == 4
        && is_digits(year.as_bytes())
        && is_digits(month.as_bytes())
        && month.len() <= 2
        && (1..=2).contains(&day_end)
        && matches!(rest.as_bytes().get(day_end), None | Some(b'T' | b't' | b' '))
}

/// The type that a plain scalar resolves to.
pub(super) fn tag(text: &str) -> &'static str {
    if is_null(text) {
        "!!null"
    } else if boolean(text).is_some() {
        "!!bool"
    } else if is_date(text) {
        "!!timestamp"
    } else if integer(text).is_some() {
        "!!int"
    } else if float(text).is_some() {
        "!!float"
    } else if text == "<<" {
        "!!merge"
    } else {
        "!!str"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tags that go-yaml v2 resolves these texts to.
    #[test]
    fn types_of_plain_text() {
        let table = [
            ("yes", "!!bool"),
            ("Off", "!!bool"),
            ("y", "!!bool"),
            ("~", "!!null"),
            ("", "!!null"),
            ("010", "!!int"),
            ("0x1F", "!!int"),
            ("0b11", "!!int"),
            ("1_000", "!!int"),
            ("-5", "!!int"),
            ("18446744073709551615", "!!int"),
            ("18446744073709551616", "!!float"),
            ("1.5", "!!float"),
            ("1e3", "!!float"),
            (".5", "!!float"),
            ("08", "!!float"),
            (".inf", "!!float"),
            ("2001-12-14", "!!timestamp"),
            ("15s", "!!str"),
            ("1.2.3", "!!str"),
            ("-", "!!str"),
            ("yES", "!!str"),
            ("0x", "!!str"),
        ];
        for (text, expected) in table {
            assert_eq!(tag(text), expected, "{text}");
        }
        assert_eq!(integer("010"), Some(8));
        assert_eq!(integer("-0b11"), Some(-3));
    }
}
