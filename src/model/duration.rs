//! Durations as text: Prometheus's (`1d12h`) and Go's (`36h0m0s`).
//!
//! A Prometheus duration is a whole number of milliseconds, so it is an `i64` of them here; the
//! text goes no further than Go's `time.Duration` does (about 292 years). COMPAT: error texts of
//! `ParseDuration` in Prometheus's common library and in Go's `time`.

use std::fmt::{self, Write as _};

use super::go_quote;

/// Text that is no duration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DurationError(String);

impl fmt::Display for DurationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for DurationError {}

/// The longest duration that fits Go's nanoseconds.
const MILLISECONDS_MAX: u64 = i64::MAX as u64 / 1_000_000;

/// Units with their milliseconds, largest first.
const UNITS: [(&str, u64); 7] = [
    ("y", 365 * 86_400_000),
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Reads `1h30m`, `0`, `90s`: whole numbers with units from the largest to the smallest, each at
/// most once. Gives milliseconds.
pub fn parse_duration(text: &str) -> Result<i64, DurationError> {
    if text == "0" {
        return Ok(0);
    }
    if text.is_empty() {
        return Err(DurationError("empty duration string".to_owned()));
    }
    let invalid = || DurationError(format!("not a valid duration string: {}", go_quote(text)));
    let out_of_range = || DurationError("duration out of range".to_owned());
    let mut total_ms = 0_u64;
    let mut units = &UNITS[..];
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(invalid)?;
        let count: u64 = rest[..end].parse().map_err(|_| invalid())?;
        rest = &rest[end..];
        let end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let name = &rest[..end];
        rest = &rest[end..];
        if !UNITS.iter().any(|(unit, _)| *unit == name) {
            let (unit, whole) = (go_quote(name), go_quote(text));
            return Err(DurationError(format!("unknown unit {unit} in duration {whole}")));
        }
        let at = units.iter().position(|(unit, _)| *unit == name).ok_or_else(invalid)?;
        let part_ms = count.checked_mul(units[at].1).ok_or_else(out_of_range)?;
        total_ms = total_ms.checked_add(part_ms).ok_or_else(out_of_range)?;
        if total_ms > MILLISECONDS_MAX {
            return Err(out_of_range());
        }
        units = &units[at + 1..];
    }
    Ok(total_ms as i64)
}

/// Writes milliseconds as Prometheus does: years and weeks only where nothing is left over.
pub fn format_duration(duration_ms: i64) -> String {
    if duration_ms == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    if duration_ms < 0 {
        text.push('-');
    }
    let mut rest = duration_ms.unsigned_abs();
    for (unit, unit_ms) in UNITS {
        let may_leave_rest = !matches!(unit, "y" | "w");
        if rest >= unit_ms && (may_leave_rest || rest.is_multiple_of(unit_ms)) {
            push(&mut text, rest / unit_ms, unit);
            rest %= unit_ms;
        }
    }
    text
}

fn push(text: &mut String, count: u64, unit: &str) {
    write!(text, "{count}{unit}").expect("BUG: a String takes all text");
}

/// Writes nanoseconds as Go's `Duration.String` does: `1h0m1.5s`, `2.5ms`, `0s`.
pub fn format_go_duration(duration_ns: i64) -> String {
    let sign = if duration_ns < 0 { "-" } else { "" };
    let ns = duration_ns.unsigned_abs();
    match ns {
        0 => "0s".to_owned(),
        1..1_000 => format!("{sign}{ns}ns"),
        1_000..1_000_000 => format!("{sign}{}µs", with_fraction(ns, 1_000)),
        1_000_000..1_000_000_000 => format!("{sign}{}ms", with_fraction(ns, 1_000_000)),
        _ => {
            let seconds = with_fraction(ns % 60_000_000_000, 1_000_000_000);
            let minutes = ns / 60_000_000_000;
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{sign}{seconds}s"),
                (0, minutes) => format!("{sign}{minutes}m{seconds}s"),
                (hours, minutes) => format!("{sign}{hours}h{minutes}m{seconds}s"),
            }
        }
    }
}

/// `ns / unit_ns` in decimal, without zeros at the end.
fn with_fraction(ns: u64, unit_ns: u64) -> String {
    let fraction = ns % unit_ns;
    if fraction == 0 {
        return (ns / unit_ns).to_string();
    }
    let width = unit_ns.ilog10() as usize;
    let digits = format!("{fraction:0width$}");
    format!("{}.{}", ns / unit_ns, digits.trim_end_matches('0'))
}

/// Reads Go's duration text (`1h15m30.918s`, `-1.5h`, `300ms`) and gives nanoseconds.
pub fn parse_go_duration(text: &str) -> Result<i64, DurationError> {
    let invalid = || DurationError(format!("time: invalid duration {}", go_quote(text)));
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if unsigned == "0" {
        return Ok(0);
    }
    if unsigned.is_empty() {
        return Err(invalid());
    }
    let mut total_ns = 0_u64;
    let mut rest = unsigned;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, tail) = rest.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(invalid());
        }
        let end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        rest = tail;
        let unit_ns = go_unit_ns(unit, text)?;
        let part_ns = whole_ns(whole, unit_ns).ok_or_else(invalid)?;
        let sum = total_ns.checked_add(part_ns + fraction_ns(fraction, unit_ns));
        total_ns = sum.filter(|ns| *ns <= 1 << 63).ok_or_else(invalid)?;
    }
    if text.starts_with('-') {
        return Ok((total_ns as i64).wrapping_neg());
    }
    i64::try_from(total_ns).map_err(|_| invalid())
}

fn go_unit_ns(unit: &str, text: &str) -> Result<u64, DurationError> {
    Ok(match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        "" => {
            let text = go_quote(text);
            return Err(DurationError(format!("time: missing unit in duration {text}")));
        }
        _ => {
            let (unit, text) = (go_quote(unit), go_quote(text));
            return Err(DurationError(format!("time: unknown unit {unit} in duration {text}")));
        }
    })
}

fn whole_ns(digits: &str, unit_ns: u64) -> Option<u64> {
    if digits.is_empty() {
        return Some(0);
    }
    let count: u64 = digits.parse().ok()?;
    count.checked_mul(unit_ns).filter(|ns| *ns <= 1 << 63)
}

/// The part behind the point, cut off where it is finer than a nanosecond.
fn fraction_ns(digits: &str, unit_ns: u64) -> u64 {
    let mut value = 0_u64;
    let mut scale = 1.0_f64;
    for digit in digits.bytes() {
        // Go stops at the digit that no longer fits 63 bits; it is finer than any unit needs.
        let next = value.saturating_mul(10).saturating_add(u64::from(digit - b'0'));
        if next > i64::MAX as u64 {
            break;
        }
        value = next;
        scale *= 10.0;
    }
    (value as f64 * (unit_ns as f64 / scale)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prometheus_text_is_read() {
        let table = [
            ("0", 0),
            ("0w", 0),
            ("0s", 0),
            ("324ms", 324),
            ("3s", 3_000),
            ("5m", 300_000),
            ("1h", 3_600_000),
            ("4d", 345_600_000),
            ("4d1h", 349_200_000),
            ("14d", 1_209_600_000),
            ("3w2d1h", 1_990_800_000),
            ("10y", 315_360_000_000),
            ("1y2w3d4h5m6s7ms", 33_019_506_007),
        ];
        for (text, ms) in table {
            assert_eq!(parse_duration(text), Ok(ms), "{text}");
        }
    }

    #[test]
    fn text_that_is_no_duration_is_refused() {
        let table = [
            ("", "empty duration string"),
            ("1", "not a valid duration string: \"1\""),
            ("1y1m1d", "not a valid duration string: \"1y1m1d\""),
            ("-1w", "not a valid duration string: \"-1w\""),
            ("1.5d", "unknown unit \".\" in duration \"1.5d\""),
            ("d", "not a valid duration string: \"d\""),
            ("1m1m", "not a valid duration string: \"1m1m\""),
            ("1x", "unknown unit \"x\" in duration \"1x\""),
            ("294y", "duration out of range"),
            ("200y10400w", "duration out of range"),
            (
                "20000000000000000000000s",
                "not a valid duration string: \"20000000000000000000000s\"",
            ),
        ];
        for (text, message) in table {
            let error = parse_duration(text).expect_err(text);
            assert_eq!(error.to_string(), message);
        }
    }

    #[test]
    fn prometheus_text_is_written() {
        let table = [
            (0, "0s"),
            (324, "324ms"),
            (3_000, "3s"),
            (90_000, "1m30s"),
            (345_600_000, "4d"),
            (1_209_600_000, "2w"),
            (1_296_000_000, "15d"),
            (31_536_000_000, "1y"),
            (31_622_400_000, "366d"),
            (-90_000, "-1m30s"),
            (33_019_506_007, "382d4h5m6s7ms"),
        ];
        for (ms, text) in table {
            assert_eq!(format_duration(ms), text);
        }
    }

    /// Values printed by Go.
    const GO: [(i64, &str); 10] = [
        (0, "0s"),
        (1, "1ns"),
        (1_100, "1.1µs"),
        (2_200_000, "2.2ms"),
        (3_300_000_000, "3.3s"),
        (245_000_000_000, "4m5s"),
        (245_001_000_000, "4m5.001s"),
        (18_367_001_000_000, "5h6m7.001s"),
        (480_000_000_001, "8m0.000000001s"),
        (i64::MIN, "-2562047h47m16.854775808s"),
    ];

    #[test]
    fn go_text_goes_both_ways() {
        for (ns, text) in GO {
            assert_eq!(format_go_duration(ns), text);
            assert_eq!(parse_go_duration(text), Ok(ns));
        }
        let table = [
            ("1.5h", 5_400_000_000_000),
            (".5s", 500_000_000),
            ("1.s", 1_000_000_000),
            ("+5m", 300_000_000_000),
            ("-0", 0),
            ("0.3333333333333333333h", 1_200_000_000_000),
        ];
        for (text, ns) in table {
            assert_eq!(parse_go_duration(text), Ok(ns), "{text}");
        }
        for text in ["", "3", "-", "s", ".", ".s", "1d", "1h-1m", "9223372036854775810ns", "1..5s"]
        {
            assert!(parse_go_duration(text).is_err(), "{text}");
        }
    }
}
