//! The histogram message of the remote protocols, written; fields are those of `histogram.rs`.

use super::field::{write_bytes, write_double, write_int64, write_varint};
use crate::encoding::varint::zigzag;
use crate::model::{FloatHistogram, Histogram, IntegerHistogram, ResetHint, Span};

/// Appends a histogram message. Version 1 has no start timestamp: give 0 there.
pub fn write_histogram(histogram: &Histogram, t_ms: i64, start_ms: i64, out: &mut Vec<u8>) {
    match histogram {
        Histogram::Integer(integer) => write_integer(integer, out),
        Histogram::Float(float) => write_float(float, out),
    }
    write_int64(15, t_ms, out);
    if start_ms != 0 {
        write_int64(17, start_ms, out);
    }
}

/// What both kinds have.
struct Layout<'a> {
    sum: f64,
    schema: i32,
    zero_threshold: f64,
    negative_spans: &'a [Span],
    positive_spans: &'a [Span],
    hint: ResetHint,
    custom_bounds: &'a [f64],
}

impl Layout<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        write_double(3, self.sum, out);
        write_int64(4, zigzag(i64::from(self.schema)) as i64, out);
        write_double(5, self.zero_threshold, out);
        write_spans(8, self.negative_spans, out);
        write_spans(11, self.positive_spans, out);
        if self.hint != ResetHint::Unknown {
            write_int64(14, i64::from(self.hint.to_u8()), out);
        }
        write_doubles(16, self.custom_bounds, out);
    }
}

fn write_integer(histogram: &IntegerHistogram, out: &mut Vec<u8>) {
    write_int64(1, histogram.count as i64, out);
    Layout {
        sum: histogram.sum,
        schema: histogram.schema,
        zero_threshold: histogram.zero_threshold,
        negative_spans: &histogram.negative_spans,
        positive_spans: &histogram.positive_spans,
        hint: histogram.reset_hint,
        custom_bounds: &histogram.custom_bounds,
    }
    .write(out);
    write_int64(6, histogram.zero_count as i64, out);
    write_deltas(9, &histogram.negative_deltas, out);
    write_deltas(12, &histogram.positive_deltas, out);
}

fn write_float(histogram: &FloatHistogram, out: &mut Vec<u8>) {
    write_double(2, histogram.count, out);
    Layout {
        sum: histogram.sum,
        schema: histogram.schema,
        zero_threshold: histogram.zero_threshold,
        negative_spans: &histogram.negative_spans,
        positive_spans: &histogram.positive_spans,
        hint: histogram.reset_hint,
        custom_bounds: &histogram.custom_bounds,
    }
    .write(out);
    write_double(7, histogram.zero_count, out);
    write_doubles(10, &histogram.negative_buckets, out);
    write_doubles(13, &histogram.positive_buckets, out);
}

fn write_spans(number: u32, spans: &[Span], out: &mut Vec<u8>) {
    let mut message = Vec::new();
    for span in spans {
        message.clear();
        write_int64(1, zigzag(i64::from(span.offset)) as i64, &mut message);
        write_int64(2, i64::from(span.length), &mut message);
        write_bytes(number, &message, out);
    }
}

fn write_deltas(number: u32, deltas: &[i64], out: &mut Vec<u8>) {
    if deltas.is_empty() {
        return;
    }
    let mut packed = Vec::with_capacity(deltas.len() * 2);
    for &delta in deltas {
        write_varint(zigzag(delta), &mut packed);
    }
    write_bytes(number, &packed, out);
}

fn write_doubles(number: u32, values: &[f64], out: &mut Vec<u8>) {
    if values.is_empty() {
        return;
    }
    let packed: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    write_bytes(number, &packed, out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protowire::histogram::read_histogram;

    #[test]
    fn histograms_come_back() {
        let span = |offset, length| Span { offset, length };
        let integer = IntegerHistogram {
            reset_hint: ResetHint::Gauge,
            schema: -2,
            zero_threshold: 0.5,
            zero_count: 3,
            count: 1 << 60,
            sum: f64::from_bits(crate::model::STALE_NAN_BITS),
            positive_spans: vec![span(-7, 2), span(3, 1)],
            negative_spans: vec![span(0, 1)],
            positive_deltas: vec![5, -3, i64::MIN],
            negative_deltas: vec![0],
            custom_bounds: [].into(),
        };
        let float = FloatHistogram {
            reset_hint: ResetHint::Unknown,
            schema: crate::model::histogram::CUSTOM_BUCKETS_SCHEMA,
            zero_threshold: 0.0,
            zero_count: 0.0,
            count: 3.5,
            sum: -1.0,
            positive_spans: vec![span(0, 2)],
            negative_spans: Vec::new(),
            positive_buckets: vec![1.5, 2.0],
            negative_buckets: Vec::new(),
            custom_bounds: [1.0, f64::MAX].into(),
        };
        for histogram in [Histogram::Integer(integer), Histogram::Float(float)] {
            let mut out = Vec::new();
            write_histogram(&histogram, -5, 7, &mut out);
            let found = read_histogram(&out).unwrap();
            assert_eq!((found.t_ms, found.start_ms), (-5, 7));
            // The sum may be a NaN.
            assert_eq!(format!("{:?}", found.histogram), format!("{histogram:?}"));
            assert_eq!(found.histogram.sum().to_bits(), histogram.sum().to_bits());
        }
    }
}
