//! What the records of the log say.
//!
//! A record is a byte for its kind and a list of entries. Kinds that are not known are passed
//! over, as Prometheus does.

use std::fmt;
use std::sync::Arc;

use super::super::file::BigEndian as _;
use super::histograms::{read_float, read_integer};
use crate::encoding::cursor::{Cursor, CursorError};
use crate::model::{Histogram, Labels, TimeRange};

/// An entry of a record.
#[derive(Debug, Clone, PartialEq)]
pub enum Entry {
    /// A series and the number that stands for it.
    Series {
        /// The number.
        series: u64,
        /// Its labels.
        labels: Labels,
    },
    /// A float.
    Float {
        /// Number of the series.
        series: u64,
        /// Milliseconds.
        t_ms: i64,
        /// When the counter began; 0: not known.
        start_ms: i64,
        /// The value.
        value: f64,
    },
    /// A histogram.
    Histogram {
        /// Number of the series.
        series: u64,
        /// Milliseconds.
        t_ms: i64,
        /// When the counter began; 0: not known.
        start_ms: i64,
        /// The histogram.
        histogram: Arc<Histogram>,
    },
    /// A histogram whose schema is not understood.
    UnknownHistogram {
        /// The schema.
        schema: i64,
    },
    /// Samples that were deleted.
    Tombstone {
        /// Number of the series.
        series: u64,
        /// When.
        range: TimeRange,
    },
    /// An exemplar.
    Exemplar {
        /// Number of the series.
        series: u64,
        /// Milliseconds.
        t_ms: i64,
        /// The value.
        value: f64,
        /// Its labels.
        labels: Labels,
    },
    /// What a series measures.
    Metadata {
        /// Number of the series.
        series: u64,
        /// Type: 0 unknown, 1 counter, 2 gauge, 3 histogram, 4 gauge histogram, 5 summary,
        /// 6 info, 7 state set.
        kind: u8,
        /// Its unit.
        unit: String,
        /// Its description.
        help: String,
    },
    /// Everything of the series up to here is in a head chunk file.
    Mapped {
        /// Number of the series.
        series: u64,
        /// Which chunk.
        chunk: u64,
    },
}

/// A record that does not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordError {
    /// Kind of the record.
    pub kind: u8,
    /// At which byte, and what is wrong there.
    pub error: CursorError,
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a record of kind {}: {} of it", self.kind, self.error)
    }
}

impl std::error::Error for RecordError {}

/// Hands the entries of a record to `take`. After an error those before it were handed over.
pub fn read_record(record: &[u8], take: &mut dyn FnMut(Entry)) -> Result<(), RecordError> {
    let Some((&kind, body)) = record.split_first() else { return Ok(()) };
    let mut cursor = Cursor::new(body);
    let cursor = &mut cursor;
    let read = match kind {
        1 => each(cursor, take, read_series),
        2 => with_base(cursor, take, read_value),
        3 => each(cursor, take, read_tombstone),
        4 => with_base(cursor, take, read_exemplar),
        5 => each(cursor, take, read_marker),
        6 => each(cursor, take, read_metadata),
        7 | 9 => with_base(cursor, take, read_integers),
        8 | 10 => with_base(cursor, take, read_floats),
        11 => with_starts(cursor, take, read_value),
        12 => with_starts(cursor, take, read_integers),
        13 => with_starts(cursor, take, read_floats),
        _ => Ok(()),
    };
    read.map_err(|error| RecordError { kind, error })
}

/// Of which series a sample is, and when.
#[derive(Debug, Clone, Copy)]
struct Place {
    series: u64,
    t_ms: i64,
    start_ms: i64,
}

fn each(
    cursor: &mut Cursor<'_>,
    take: &mut dyn FnMut(Entry),
    read: fn(&mut Cursor<'_>) -> Result<Entry, CursorError>,
) -> Result<(), CursorError> {
    while !cursor.is_empty() {
        take(read(cursor)?);
    }
    Ok(())
}

type ReadSample = fn(&mut Cursor<'_>, Place) -> Result<Entry, CursorError>;

/// Samples whose series and times are differences to those at the record's beginning.
fn with_base(
    cursor: &mut Cursor<'_>,
    take: &mut dyn FnMut(Entry),
    read: ReadSample,
) -> Result<(), CursorError> {
    if cursor.is_empty() {
        return Ok(());
    }
    let (first, first_ms) = (cursor.be_u64()?, cursor.be_i64()?);
    while !cursor.is_empty() {
        let series = first.wrapping_add_signed(cursor.varint()?);
        let t_ms = first_ms.wrapping_add(cursor.varint()?);
        take(read(cursor, Place { series, t_ms, start_ms: 0 })?);
    }
    Ok(())
}

/// Samples with start timestamps: series as differences to the one before, times to the first.
fn with_starts(
    cursor: &mut Cursor<'_>,
    take: &mut dyn FnMut(Entry),
    read: ReadSample,
) -> Result<(), CursorError> {
    let mut first: Option<Place> = None;
    let mut before = Place { series: 0, t_ms: 0, start_ms: 0 };
    while !cursor.is_empty() {
        let place = match first {
            None => {
                let series = cursor.varint()? as u64;
                Place { series, t_ms: cursor.varint()?, start_ms: cursor.varint()? }
            }
            Some(first) => Place {
                series: before.series.wrapping_add_signed(cursor.varint()?),
                t_ms: first.t_ms.wrapping_add(cursor.varint()?),
                start_ms: match cursor.u8()? {
                    0 => 0,
                    1 => before.start_ms,
                    _ => first.start_ms.wrapping_add(cursor.varint()?),
                },
            },
        };
        first.get_or_insert(place);
        before = place;
        take(read(cursor, place)?);
    }
    Ok(())
}

fn read_value(cursor: &mut Cursor<'_>, place: Place) -> Result<Entry, CursorError> {
    let Place { series, t_ms, start_ms } = place;
    Ok(Entry::Float { series, t_ms, start_ms, value: cursor.be_f64()? })
}

/// What a histogram that was read is; the error is its schema.
fn entry(place: Place, histogram: Result<Histogram, i64>) -> Entry {
    let Place { series, t_ms, start_ms } = place;
    match histogram {
        Ok(histogram) => {
            Entry::Histogram { series, t_ms, start_ms, histogram: Arc::new(histogram) }
        }
        Err(schema) => Entry::UnknownHistogram { schema },
    }
}

fn read_exemplar(cursor: &mut Cursor<'_>, place: Place) -> Result<Entry, CursorError> {
    let Place { series, t_ms, .. } = place;
    Ok(Entry::Exemplar { series, t_ms, value: cursor.be_f64()?, labels: read_labels(cursor)? })
}

fn read_integers(cursor: &mut Cursor<'_>, place: Place) -> Result<Entry, CursorError> {
    Ok(entry(place, read_integer(cursor)?))
}

fn read_floats(cursor: &mut Cursor<'_>, place: Place) -> Result<Entry, CursorError> {
    Ok(entry(place, read_float(cursor)?))
}

fn read_series(cursor: &mut Cursor<'_>) -> Result<Entry, CursorError> {
    Ok(Entry::Series { series: cursor.be_u64()?, labels: read_labels(cursor)? })
}

fn read_marker(cursor: &mut Cursor<'_>) -> Result<Entry, CursorError> {
    Ok(Entry::Mapped { series: cursor.be_u64()?, chunk: cursor.be_u64()? })
}

fn read_tombstone(cursor: &mut Cursor<'_>) -> Result<Entry, CursorError> {
    let series = cursor.be_u64()?;
    let range = TimeRange { min_ms: cursor.varint()?, max_ms: cursor.varint()? };
    Ok(Entry::Tombstone { series, range })
}

fn read_text(cursor: &mut Cursor<'_>) -> Result<String, CursorError> {
    Ok(String::from_utf8_lossy(cursor.sized_bytes()?).into_owned())
}

fn read_labels(cursor: &mut Cursor<'_>) -> Result<Labels, CursorError> {
    let count = cursor.uvarint_max(cursor.remaining())?;
    // Mostly they are written as we have them: in order, and as UTF-8.
    let begin = cursor.rest();
    for _ in 0..count {
        cursor.sized_bytes()?;
        cursor.sized_bytes()?;
    }
    let bytes = &begin[..begin.len() - cursor.remaining()];
    if let Some(labels) = Labels::from_bytes(bytes) {
        return Ok(labels);
    }
    let mut again = Cursor::new(bytes);
    let mut pairs = Vec::new();
    while !again.is_empty() {
        pairs.push((read_text(&mut again)?, read_text(&mut again)?));
    }
    Ok(Labels::from_pairs(pairs))
}

fn read_metadata(cursor: &mut Cursor<'_>) -> Result<Entry, CursorError> {
    let (series, kind) = (cursor.uvarint()?, cursor.u8()?);
    let (mut unit, mut help) = (String::new(), String::new());
    for _ in 0..cursor.uvarint_max(cursor.remaining())? {
        let (name, value) = (cursor.sized_bytes()?, read_text(cursor)?);
        match name {
            b"UNIT" => unit = value,
            b"HELP" => help = value,
            _ => {}
        }
    }
    Ok(Entry::Metadata { series, kind, unit, help })
}
