//! The histogram message of the remote protocols; both versions number its fields alike.
//!
//! ```text
//! histogram 1 count_int, 2 count_float, 3 sum, 4 schema, 5 zero_threshold, 6 zero_count_int,
//!           7 zero_count_float, 8/9/10 negative spans/deltas/counts, 11/12/13 positive ones,
//!           14 reset_hint, 15 timestamp, 16 custom_values, 17 start_timestamp (version 2)
//! span      1 offset, 2 length
//! ```
//!
//! Whether counts are floats is told by field 2, as senders of either kind fill one of 1 and 2.

use super::WireError;
use super::field::{Fields, Value};
use crate::encoding::cursor::Cursor;
use crate::encoding::varint::unzigzag;
use crate::model::{FloatHistogram, Histogram, IntegerHistogram, ResetHint, Span};

/// A histogram with its time.
#[derive(Debug, Clone)]
pub struct PushedHistogram {
    /// Milliseconds.
    pub t_ms: i64,
    /// When it began to count, in milliseconds; 0: not known.
    pub start_ms: i64,
    /// What it counts, as it was sent.
    pub histogram: Histogram,
}

/// The fields as they come.
#[derive(Debug, Default)]
struct Parts {
    integer: IntegerHistogram,
    float: FloatHistogram,
    is_float: bool,
    custom_bounds: Vec<f64>,
    t_ms: i64,
    start_ms: i64,
}

/// Reads a histogram message.
pub fn read_histogram(message: &[u8]) -> Result<PushedHistogram, WireError> {
    let mut parts = Parts::default();
    for field in Fields::new(message) {
        let (number, value) = field?;
        parts.take(number, value)?;
    }
    let Parts { integer, float, is_float, custom_bounds, t_ms, start_ms } = parts;
    let custom_bounds = custom_bounds.into();
    let histogram = if is_float {
        let (positive_spans, negative_spans) = (integer.positive_spans, integer.negative_spans);
        Histogram::Float(FloatHistogram {
            reset_hint: integer.reset_hint,
            schema: integer.schema,
            zero_threshold: integer.zero_threshold,
            sum: integer.sum,
            positive_spans,
            negative_spans,
            custom_bounds,
            ..float
        })
    } else {
        Histogram::Integer(IntegerHistogram { custom_bounds, ..integer })
    };
    Ok(PushedHistogram { t_ms, start_ms, histogram })
}

impl Parts {
    fn take(&mut self, number: u32, value: Value<'_>) -> Result<(), WireError> {
        match number {
            1 => (self.integer.count, self.is_float) = (value.int64()? as u64, false),
            2 => (self.float.count, self.is_float) = (value.double()?, true),
            3 => self.integer.sum = value.double()?,
            4 => self.integer.schema = unzigzag(value.int64()? as u64) as i32,
            5 => self.integer.zero_threshold = value.double()?,
            6 => self.integer.zero_count = value.int64()? as u64,
            7 => self.float.zero_count = value.double()?,
            8 => self.integer.negative_spans.push(span(value.bytes()?)?),
            9 => deltas(value, &mut self.integer.negative_deltas)?,
            10 => doubles(value, &mut self.float.negative_buckets)?,
            11 => self.integer.positive_spans.push(span(value.bytes()?)?),
            12 => deltas(value, &mut self.integer.positive_deltas)?,
            13 => doubles(value, &mut self.float.positive_buckets)?,
            14 => {
                let hint = u8::try_from(value.int64()?).ok().and_then(ResetHint::from_u8);
                self.integer.reset_hint = hint.unwrap_or_default();
            }
            15 => self.t_ms = value.int64()?,
            16 => doubles(value, &mut self.custom_bounds)?,
            17 => self.start_ms = value.int64()?,
            _ => {}
        }
        Ok(())
    }
}

fn span(message: &[u8]) -> Result<Span, WireError> {
    let mut span = Span { offset: 0, length: 0 };
    for field in Fields::new(message) {
        match field? {
            (1, value) => span.offset = unzigzag(value.int64()? as u64) as i32,
            (2, value) => span.length = value.int64()? as u32,
            _ => {}
        }
    }
    Ok(span)
}

/// Packed or one by one, as protobuf allows.
fn deltas(value: Value<'_>, out: &mut Vec<i64>) -> Result<(), WireError> {
    if let Value::Varint(delta) = value {
        out.push(unzigzag(delta));
        return Ok(());
    }
    let mut packed = Cursor::new(value.bytes()?);
    while !packed.is_empty() {
        out.push(packed.varint()?);
    }
    Ok(())
}

fn doubles(value: Value<'_>, out: &mut Vec<f64>) -> Result<(), WireError> {
    if let Value::Fixed64(bits) = value {
        out.push(f64::from_bits(bits));
        return Ok(());
    }
    let mut packed = Cursor::new(value.bytes()?);
    while !packed.is_empty() {
        out.push(packed.f64()?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::field::{write_bytes, write_double, write_int64, write_varint};
    use super::*;
    use crate::encoding::varint::zigzag;

    #[test]
    fn both_kinds_are_read_packed_and_not() {
        let mut message = Vec::new();
        write_int64(1, 7, &mut message);
        write_double(3, 2.5, &mut message);
        write_int64(4, zigzag(-1) as i64, &mut message);
        write_int64(6, 2, &mut message);
        let mut span = Vec::new();
        write_int64(1, zigzag(-3) as i64, &mut span);
        write_int64(2, 2, &mut span);
        write_bytes(11, &span, &mut message);
        let mut packed = Vec::new();
        write_varint(zigzag(2), &mut packed);
        write_bytes(12, &packed, &mut message);
        write_int64(12, zigzag(1) as i64, &mut message);
        write_int64(14, 3, &mut message);
        write_int64(15, 1000, &mut message);
        write_int64(17, 900, &mut message);
        let found = read_histogram(&message).unwrap();
        assert_eq!((found.t_ms, found.start_ms), (1000, 900));
        let Histogram::Integer(h) = found.histogram else { panic!("it counts in integers") };
        assert_eq!((h.count, h.sum, h.schema, h.zero_count), (7, 2.5, -1, 2));
        assert_eq!(h.positive_spans, [Span { offset: -3, length: 2 }]);
        assert_eq!((h.positive_deltas, h.reset_hint), (vec![2, 1], ResetHint::Gauge));

        let mut message = Vec::new();
        write_double(2, 1.5, &mut message);
        write_int64(4, zigzag(-53) as i64, &mut message);
        write_bytes(13, &1.5_f64.to_le_bytes(), &mut message);
        write_double(16, 4.0, &mut message);
        write_bytes(11, &[16, 1], &mut message);
        let found = read_histogram(&message).unwrap();
        let Histogram::Float(h) = found.histogram else { panic!("it counts in floats") };
        assert_eq!((h.count, h.positive_buckets, &*h.custom_bounds), (1.5, vec![1.5], &[4.0][..]));
        assert_eq!(h.positive_spans, [Span { offset: 0, length: 1 }]);
        assert!(read_histogram(&message[..message.len() - 1]).is_err());
    }
}
