//! Sizes with a unit (`512MB`, `1.5GiB`), base 1024. COMPAT: the units library that Prometheus
//! reads and prints sizes with, in which `MB` is `MiB`.

use crate::model::go_quote;

const PREFIXES: [u8; 6] = *b"KMGTPE";

fn scale_of(unit: &str) -> Option<i64> {
    if unit == "B" {
        return Some(1);
    }
    let (prefix, rest) = unit.split_at_checked(1)?;
    let power = PREFIXES.iter().position(|p| *p == prefix.as_bytes()[0])?;
    matches!(rest, "B" | "iB").then(|| 1 << (10 * (power as u32 + 1)))
}

/// Bytes that `text` stands for. Several parts add up (`1GB512MB`); `0` needs no unit.
pub fn parse(text: &str) -> Result<i64, String> {
    let invalid = || format!("units: invalid {}", go_quote(text));
    let (sign, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    if unsigned == "0" {
        return Ok(0);
    }
    if unsigned.is_empty() {
        return Err(invalid());
    }
    let mut total = 0.0;
    let mut rest = unsigned;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, tail) = rest.split_at(end);
        let count: f64 = number.parse().map_err(|_| invalid())?;
        let end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        if unit.is_empty() {
            return Err(format!("units: missing unit in {}", go_quote(text)));
        }
        let scale = scale_of(unit)
            .ok_or_else(|| format!("units: unknown unit {unit} in {}", go_quote(text)))?;
        total += count * scale as f64;
        rest = tail;
    }
    let bytes = sign * total;
    if bytes.abs() >= i64::MAX as f64 {
        return Err("units: overflow parsing unit".to_owned());
    }
    Ok(bytes as i64)
}

/// The shortest exact text: each unit that is needed, the largest first (`1GiB512MiB`).
pub fn format(bytes: i64) -> String {
    if bytes == 0 {
        return "0B".to_owned();
    }
    let mut text = String::new();
    if bytes < 0 {
        text.push('-');
    }
    let mut rest = bytes.unsigned_abs();
    for (power, prefix) in PREFIXES.iter().enumerate().rev() {
        let shift = 10 * (power + 1);
        let count = rest >> shift;
        if count > 0 {
            text.push_str(&count.to_string());
            text.push(char::from(*prefix));
            text.push_str("iB");
            rest -= count << shift;
        }
    }
    if rest > 0 {
        text.push_str(&rest.to_string());
        text.push('B');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_printed() {
        let table = [
            ("0", 0, "0B"),
            ("1B", 1, "1B"),
            ("1KB", 1024, "1KiB"),
            ("1KiB", 1024, "1KiB"),
            ("1.5KB", 1536, "1KiB512B"),
            ("15MB", 15 << 20, "15MiB"),
            ("1GB512MB", (1 << 30) + (512 << 20), "1GiB512MiB"),
            ("-2KB", -2048, "-2KiB"),
        ];
        for (text, bytes, printed) in table {
            assert_eq!(parse(text), Ok(bytes), "{text}");
            assert_eq!(format(bytes), printed);
        }
        for text in ["", "5", "1kB", "1XB", "B", "-", "1..5MB", "9999EB"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
