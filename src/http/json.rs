//! JSON text, written straight into a buffer: no tree is ever built.

use std::ops::Range;

use crate::model::{FloatHistogram, Labels, Samples};
use crate::model::{FloatStyle, push_float};

/// A string with quotes and escapes.
pub(super) fn push_str(out: &mut Vec<u8>, text: &str) {
    push_text_bytes(out, text.as_bytes());
}

/// The same of the bytes of a text.
fn push_text_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    let special =
        |&byte: &u8| u8::from(byte < 0x20) | u8::from(byte == b'"') | u8::from(byte == b'\\');
    out.reserve(bytes.len() + 2);
    out.push(b'"');
    // Without an early exit the loop takes many bytes at a time, and nearly always says no.
    if bytes.iter().fold(0, |any, byte| any | special(byte)) != 0 {
        push_escaped(out, bytes);
    } else {
        out.extend_from_slice(bytes);
    }
    out.push(b'"');
}

#[cold]
fn push_escaped(out: &mut Vec<u8>, bytes: &[u8]) {
    let mut plain = 0;
    for (i, &byte) in bytes.iter().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&bytes[plain..i]);
        plain = i + 1;
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            control => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                out.extend_from_slice(b"\\u00");
                out.push(HEX[usize::from(control >> 4)]);
                out.push(HEX[usize::from(control & 15)]);
            }
        }
    }
    out.extend_from_slice(&bytes[plain..]);
}

/// `["a","b"]`
pub(super) fn push_strings(out: &mut Vec<u8>, texts: &[String]) {
    out.push(b'[');
    for (i, text) in texts.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        push_str(out, text);
    }
    out.push(b']');
}

/// `{"name":"value",…}`
pub fn push_labels(out: &mut Vec<u8>, labels: &Labels) {
    // The bytes of labels are text.
    push_pairs(out, labels.iter_bytes());
}

/// An object of strings.
pub(super) fn push_object<'a>(
    out: &mut Vec<u8>,
    pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
) {
    push_pairs(out, pairs.into_iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())));
}

fn push_pairs<'a>(out: &mut Vec<u8>, pairs: impl Iterator<Item = (&'a [u8], &'a [u8])>) {
    out.push(b'{');
    for (i, (name, value)) in pairs.enumerate() {
        if i > 0 {
            out.push(b',');
        }
        push_text_bytes(out, name);
        out.push(b':');
        push_text_bytes(out, value);
    }
    out.push(b'}');
}

/// A whole number.
pub(super) fn push_integer(out: &mut Vec<u8>, number: i64) {
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    let mut rest = number.unsigned_abs();
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if number < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(&digits[at..]);
}

/// Milliseconds as seconds: whole ones as an integer, others with three decimals.
pub(super) fn push_time(out: &mut Vec<u8>, t_ms: i64) {
    let magnitude = t_ms.unsigned_abs();
    if t_ms < 0 {
        out.push(b'-');
    }
    push_integer(out, (magnitude / 1000) as i64);
    let fraction = (magnitude % 1000) as u16;
    if fraction > 0 {
        out.push(b'.');
        for digit in [fraction / 100, fraction / 10 % 10, fraction % 10] {
            out.push(b'0' + digit as u8);
        }
    }
}

/// `[time,"value"]`
pub(super) fn push_point(out: &mut Vec<u8>, t_ms: i64, value: f64) {
    out.push(b'[');
    push_time(out, t_ms);
    push_point_value(out, value);
}

fn push_point_value(out: &mut Vec<u8>, value: f64) {
    out.extend_from_slice(b",\"");
    push_float(out, value, FloatStyle::Api);
    out.extend_from_slice(b"\"]");
}

/// `[time,"value"]` of a scalar. COMPAT: Prometheus writes the time of a scalar and of a string as
/// a number in its shortest form, and a scalar's value without an exponent; samples are otherwise.
pub(super) fn push_scalar(out: &mut Vec<u8>, t_ms: i64, value: f64) {
    out.push(b'[');
    push_shortest_time(out, t_ms);
    out.extend_from_slice(b",\"");
    push_float(out, value, FloatStyle::Plain);
    out.extend_from_slice(b"\"]");
}

/// `[time,"text"]`
pub(super) fn push_text(out: &mut Vec<u8>, t_ms: i64, text: &str) {
    out.push(b'[');
    push_shortest_time(out, t_ms);
    out.push(b',');
    push_str(out, text);
    out.push(b']');
}

fn push_shortest_time(out: &mut Vec<u8>, t_ms: i64) {
    push_float(out, t_ms as f64 / 1000.0, FloatStyle::Api);
}

/// A native histogram: `{"count":"3","sum":"4.5","buckets":[[0,"1","2","3"],…]}`. The number
/// before the bounds says which of them belong to the bucket: the upper (0), the lower (1), none
/// (2), both (3). Buckets that count nothing are left out.
pub fn push_histogram(out: &mut Vec<u8>, histogram: &FloatHistogram) {
    let number = |out: &mut Vec<u8>, value: f64| {
        out.push(b'"');
        push_float(out, value, FloatStyle::Api);
        out.push(b'"');
    };
    out.extend_from_slice(b"{\"count\":");
    number(out, histogram.count);
    out.extend_from_slice(b",\"sum\":");
    number(out, histogram.sum);
    let mut any = false;
    for bucket in histogram.buckets().filter(|bucket| bucket.count != 0.0) {
        out.extend_from_slice(if any { b"," } else { b",\"buckets\":[" });
        any = true;
        out.extend_from_slice(match (bucket.lower_inclusive, bucket.upper_inclusive) {
            (false, true) => b"[0",
            (true, false) => b"[1",
            (false, false) => b"[2",
            (true, true) => b"[3",
        });
        for value in [bucket.lower, bucket.upper, bucket.count] {
            out.push(b',');
            number(out, value);
        }
        out.push(b']');
    }
    out.extend_from_slice(if any { b"]}" } else { b"}" });
}

/// `[time,{…}]`
pub fn push_histogram_point(out: &mut Vec<u8>, t_ms: i64, histogram: &FloatHistogram) {
    out.push(b'[');
    push_time(out, t_ms);
    out.push(b',');
    push_histogram(out, histogram);
    out.push(b']');
}

/// Bytes of a point, about.
const POINT_BYTES: usize = 24;
/// Times that are remembered: more than a range query has steps.
const TIMES_KEPT: usize = 16_384;

/// What stands before the values at the times of one grid, printed once and copied for each series.
#[derive(Debug, Default)]
pub struct TimeTexts {
    /// `,[time,"` of each time.
    texts: Vec<u8>,
    /// Time, and where its text begins; ascending.
    starts: Vec<(i64, usize)>,
}

fn push_point_start(out: &mut Vec<u8>, t_ms: i64) {
    out.extend_from_slice(b",[");
    push_time(out, t_ms);
    out.extend_from_slice(b",\"");
}

impl TimeTexts {
    /// `[time,"value"],…` of the samples in `part`, without the brackets around. Series that share
    /// their times, as those of a range query do, are printed without formatting a time twice.
    pub fn push_points(&mut self, out: &mut Vec<u8>, samples: &Samples, part: Range<usize>) {
        let (timestamps, values) = (&samples.timestamps[part.clone()], &samples.values[part]);
        let first = timestamps.first().copied().unwrap_or(0);
        let mut next = self.starts.partition_point(|&(known, _)| known < first);
        // Many series keep one value for long: its text is copied.
        let mut last = (0, 0..0);
        // The first point has no comma before it.
        let mut comma = 1;
        out.reserve(timestamps.len() * POINT_BYTES);
        for (&t_ms, &value) in timestamps.iter().zip(values) {
            while self.starts.get(next).is_some_and(|&(known, _)| known < t_ms) {
                next += 1;
            }
            if next == self.starts.len() && next < TIMES_KEPT {
                self.starts.push((t_ms, self.texts.len()));
                push_point_start(&mut self.texts, t_ms);
            }
            match self.starts.get(next) {
                Some(&(known, start)) if known == t_ms => {
                    let end = self.starts.get(next + 1).map_or(self.texts.len(), |next| next.1);
                    out.extend_from_slice(&self.texts[start + comma..end]);
                }
                _ => {
                    let start = out.len();
                    push_point_start(out, t_ms);
                    out.drain(start..start + comma);
                }
            }
            comma = 0;
            if value.to_bits() == last.0 && !last.1.is_empty() {
                out.extend_from_within(last.1.clone());
                continue;
            }
            let start = out.len();
            push_float(out, value, FloatStyle::Api);
            out.extend_from_slice(b"\"]");
            last = (value.to_bits(), start..out.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Span;

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn strings_are_escaped() {
        assert_eq!(text(|out| push_str(out, "a\"b\\c\nd\u{1}é")), r#""a\"b\\c\nd\u0001é""#);
    }

    #[test]
    fn histograms_show_what_counts_something() {
        let span = |offset, length| vec![Span { offset, length }];
        let histogram = FloatHistogram {
            count: 9.0,
            sum: -4.5,
            zero_threshold: 0.25,
            zero_count: 1.0,
            positive_spans: span(1, 3),
            positive_buckets: vec![3.0, 0.0, 1e21],
            negative_spans: span(0, 1),
            negative_buckets: vec![2.5],
            ..FloatHistogram::default()
        };
        assert_eq!(
            text(|out| push_histogram_point(out, 1500, &histogram)),
            r#"[1.500,{"count":"9","sum":"-4.5","buckets":[[1,"-1","-0.5","2.5"],"#.to_owned()
                + r#"[3,"-0.25","0.25","1"],[0,"1","2","3"],[0,"4","8","1e+21"]]}]"#
        );
        let empty = FloatHistogram::default();
        assert_eq!(text(|out| push_histogram(out, &empty)), r#"{"count":"0","sum":"0"}"#);
    }

    #[test]
    fn times_have_three_decimals_or_none() {
        for (t_ms, expected) in
            [(0, "0"), (1500, "1.500"), (-1, "-0.001"), (1_700_000_000_007, "1700000000.007")]
        {
            assert_eq!(text(|out| push_time(out, t_ms)), expected);
        }
        assert_eq!(text(|out| push_integer(out, i64::MIN)), "-9223372036854775808");
    }

    #[test]
    fn scalars_and_strings_have_short_times_and_plain_values() {
        for (t_ms, value, expected) in [
            (1500, 1e30, "[1.5,\"1000000000000000000000000000000\"]"),
            (1_795_417_017_250, 1e-7, "[1795417017.25,\"0.0000001\"]"),
            (-1, f64::NAN, "[-0.001,\"NaN\"]"),
            (0, -0.0, "[0,\"-0\"]"),
            (7000, f64::INFINITY, "[7,\"+Inf\"]"),
        ] {
            assert_eq!(text(|out| push_scalar(out, t_ms, value)), expected);
        }
        assert_eq!(text(|out| push_text(out, 120, "a\"b")), "[0.12,\"a\\\"b\"]");
    }

    #[test]
    fn points_of_several_series_share_their_times() {
        let mut times = TimeTexts::default();
        let full = Samples {
            timestamps: vec![1000, 2000, 3000],
            values: vec![1.0, 2.5, f64::NAN],
            ..Samples::default()
        };
        let part = Samples {
            timestamps: vec![2000, 2500, 4000],
            values: vec![1e21, 0.0, -0.0],
            ..Samples::default()
        };
        let printed = text(|out| {
            times.push_points(out, &full, 0..3);
            times.push_points(out, &part, 0..3);
            times.push_points(out, &full, 0..1);
            times.push_points(out, &full, 1..3);
        });
        let first = r#"[1,"1"],[2,"2.5"],[3,"NaN"]"#;
        let split = r#"[1,"1"][2,"2.5"],[3,"NaN"]"#;
        assert_eq!(printed, format!(r#"{first}[2,"1e+21"],[2.500,"0"],[4,"-0"]{split}"#));
    }
}
