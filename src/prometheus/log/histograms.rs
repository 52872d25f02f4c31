//! Histograms as records have them.

use std::sync::Arc;

use super::super::chunk::is_known_schema;
use super::super::file::BigEndian;
use crate::encoding::cursor::{Cursor, CursorError};
use crate::model::histogram::CUSTOM_BUCKETS_SCHEMA;
use crate::model::{FloatHistogram, Histogram, IntegerHistogram, ResetHint, Span};

/// Reads an integer histogram. The inner error is a schema that is not understood.
pub(super) fn read_integer(cursor: &mut Cursor<'_>) -> Result<Result<Histogram, i64>, CursorError> {
    let (reset_hint, schema, zero_threshold) = read_head(cursor)?;
    let (zero_count, count) = (cursor.uvarint()?, cursor.uvarint()?);
    let histogram = IntegerHistogram {
        reset_hint,
        schema: schema as i32,
        zero_threshold,
        zero_count,
        count,
        sum: cursor.be_f64()?,
        positive_spans: read_spans(cursor)?,
        negative_spans: read_spans(cursor)?,
        positive_deltas: read_list(cursor, Cursor::varint)?,
        negative_deltas: read_list(cursor, Cursor::varint)?,
        custom_bounds: read_bounds(cursor, schema)?,
    };
    Ok(if is_known_schema(schema) { Ok(Histogram::Integer(histogram)) } else { Err(schema) })
}

/// Reads a float histogram, likewise.
pub(super) fn read_float(cursor: &mut Cursor<'_>) -> Result<Result<Histogram, i64>, CursorError> {
    let (reset_hint, schema, zero_threshold) = read_head(cursor)?;
    let (zero_count, count) = (cursor.be_f64()?, cursor.be_f64()?);
    let histogram = FloatHistogram {
        reset_hint,
        schema: schema as i32,
        zero_threshold,
        zero_count,
        count,
        sum: cursor.be_f64()?,
        positive_spans: read_spans(cursor)?,
        negative_spans: read_spans(cursor)?,
        positive_buckets: read_list(cursor, BigEndian::be_f64)?,
        negative_buckets: read_list(cursor, BigEndian::be_f64)?,
        custom_bounds: read_bounds(cursor, schema)?,
    };
    Ok(if is_known_schema(schema) { Ok(Histogram::Float(histogram)) } else { Err(schema) })
}

fn read_head(cursor: &mut Cursor<'_>) -> Result<(ResetHint, i64, f64), CursorError> {
    // A hint that is not known says nothing.
    let hint = ResetHint::from_u8(cursor.u8()?).unwrap_or_default();
    Ok((hint, cursor.varint()?, cursor.be_f64()?))
}

fn read_list<'a, T>(
    cursor: &mut Cursor<'a>,
    read: impl Fn(&mut Cursor<'a>) -> Result<T, CursorError>,
) -> Result<Vec<T>, CursorError> {
    let count = cursor.uvarint_max(cursor.remaining())?;
    let mut list = Vec::new();
    for _ in 0..count {
        list.push(read(cursor)?);
    }
    Ok(list)
}

fn read_spans(cursor: &mut Cursor<'_>) -> Result<Vec<Span>, CursorError> {
    read_list(cursor, |c| {
        let at = c.offset();
        let offset = i32::try_from(c.varint()?);
        let offset = offset.map_err(|_| CursorError::NumberTooLarge { offset: at })?;
        Ok(Span { offset, length: c.uvarint_u32()? })
    })
}

fn read_bounds(cursor: &mut Cursor<'_>, schema: i64) -> Result<Arc<[f64]>, CursorError> {
    if schema == i64::from(CUSTOM_BUCKETS_SCHEMA) {
        return Ok(read_list(cursor, BigEndian::be_f64)?.into());
    }
    Ok(Arc::from([]))
}
