//! Bodies of log records: series, groups, shapes, rows, deletions, notes.
//!
//! The log keeps opaque payloads with a kind byte; this is what stands in them, as
//! `storage-format.md`, section 5, says. Checkpoints use the same bodies. Everything is read with
//! bounds checked; a set of slots is never larger than the group that the reader knows.
//!
//! A *rows* record is what one commit stored in one group. Its number is one above the number of
//! the group's record before, which it names, so that a reader sees what is missing. A value is a
//! difference to the same series' previous sample in the log, or absolute.

mod notes;
mod series;

use std::fmt;

use crate::encoding::cursor::{Cursor, CursorError};
use crate::encoding::delta::{DeltaError, read_value, write_value};
use crate::encoding::histogram::{read_histogram, write_histogram};
use crate::encoding::varint::{write_bytes, write_uvarint, write_varint};
use crate::model::Histogram;

pub use notes::{read_exemplar, read_metadata, write_exemplar, write_metadata};
pub use series::{SeriesEntry, SeriesReader, SeriesWriter};

/// Kind bytes of the log.
pub mod kind {
    /// Labels of new series.
    pub const SERIES: u8 = 1;
    /// A new group.
    pub const GROUP: u8 = 2;
    /// The series in the slots of a group.
    pub const SHAPE: u8 = 3;
    /// What one commit stored in one group.
    pub const ROWS: u8 = 4;
    /// Intervals of series that are hidden.
    pub const DELETION: u8 = 5;
    /// Exemplars of series.
    pub const EXEMPLARS: u8 = 6;
    /// What is said of metrics.
    pub const METADATA: u8 = 7;
}

/// A record that does not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordError {
    /// At which byte of the body.
    pub offset: usize,
    /// What is wrong there.
    pub what: &'static str,
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {} of the record", self.what, self.offset)
    }
}

impl std::error::Error for RecordError {}

impl From<CursorError> for RecordError {
    fn from(error: CursorError) -> Self {
        Self { offset: error.offset(), what: error.what() }
    }
}

impl From<DeltaError> for RecordError {
    fn from(error: DeltaError) -> Self {
        match error {
            DeltaError::Bytes(error) => error.into(),
            DeltaError::UnknownToken { offset, .. } => Self { offset, what: "not a value" },
        }
    }
}

/// The body of a group record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupEntry<'a> {
    /// The group's number.
    pub id: u32,
    /// The first group of the same source; itself, if it is that.
    pub root: u32,
    /// The source, as the head writes it.
    pub key: &'a [u8],
}

/// Appends the body of a group record.
pub fn write_group(out: &mut Vec<u8>, entry: GroupEntry<'_>) {
    write_uvarint(out, u64::from(entry.id));
    write_uvarint(out, u64::from(entry.root));
    write_bytes(out, entry.key);
}

/// Reads the body of a group record.
pub fn read_group<'a>(cursor: &mut Cursor<'a>) -> Result<GroupEntry<'a>, RecordError> {
    let id = cursor.uvarint_u32()?;
    let root = cursor.uvarint_u32()?;
    Ok(GroupEntry { id, root, key: cursor.sized_bytes()? })
}

/// The body of a shape record: which series stand in a group's slots from `first_slot` on.
/// A full shape (`is_full`, `first_slot` 0) numbers all slots anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// The group's number.
    pub group: u32,
    /// One above the version before.
    pub version: u64,
    /// Whether it replaces all slots.
    pub is_full: bool,
    /// Slot of the first of `series`.
    pub first_slot: u32,
    /// Series in slot order.
    pub series: Vec<u32>,
}

/// Appends the body of a shape record.
pub fn write_shape(out: &mut Vec<u8>, shape: &Shape) {
    write_uvarint(out, u64::from(shape.group));
    write_uvarint(out, shape.version << 1 | u64::from(shape.is_full));
    write_uvarint(out, u64::from(shape.first_slot));
    let mut previous = 0_i64;
    for &series in &shape.series {
        write_varint(out, i64::from(series) - previous);
        previous = i64::from(series);
    }
}

/// Reads the body of a shape record.
pub fn read_shape(cursor: &mut Cursor<'_>) -> Result<Shape, RecordError> {
    let group = cursor.uvarint_u32()?;
    let version = cursor.uvarint()?;
    let first_slot = cursor.uvarint_u32()?;
    let mut series = Vec::new();
    let mut previous = 0_i64;
    while !cursor.is_empty() {
        let offset = cursor.offset();
        previous = previous.wrapping_add(cursor.varint()?);
        let id = u32::try_from(previous);
        series.push(id.map_err(|_| RecordError { offset, what: "a series number is too large" })?);
    }
    Ok(Shape { group, version: version >> 1, is_full: version & 1 == 1, first_slot, series })
}

/// One interval of one series that is hidden, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeletionEntry {
    /// The series.
    pub id: u32,
    /// First hidden millisecond.
    pub min_ms: i64,
    /// Last hidden millisecond.
    pub max_ms: i64,
    /// Head files with smaller numbers hold what is hidden; what stands in later ones came after.
    pub below_file: u64,
}

/// Appends an entry to the body of a deletion record.
pub fn write_deletion(out: &mut Vec<u8>, entry: DeletionEntry) {
    write_uvarint(out, u64::from(entry.id));
    write_varint(out, entry.min_ms);
    write_varint(out, entry.max_ms);
    write_uvarint(out, entry.below_file);
}

/// Reads the next entry of a deletion record; `None` at its end.
pub fn read_deletion(cursor: &mut Cursor<'_>) -> Result<Option<DeletionEntry>, RecordError> {
    if cursor.is_empty() {
        return Ok(None);
    }
    let id = cursor.uvarint_u32()?;
    let (min_ms, max_ms) = (cursor.varint()?, cursor.varint()?);
    Ok(Some(DeletionEntry { id, min_ms, max_ms, below_file: cursor.uvarint()? }))
}

/// What stands before the rows of a rows record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowsHeader {
    /// The group's number.
    pub group: u32,
    /// The record's number within the group.
    pub number: u64,
    /// Number of the group's record before.
    pub previous: u64,
    /// Slots that the group had.
    pub slots: u32,
    /// The group that fed the samples, where it is not this one's own source.
    pub source: Option<u32>,
}

/// A sample of a row.
#[derive(Debug, Clone, Copy)]
pub struct RowSample<'a> {
    /// Its series' slot.
    pub slot: u32,
    /// Bits of the series' previous sample; not used where `is_absolute`.
    pub previous: u64,
    /// Bits of the value.
    pub bits: u64,
    /// Whether the value is written without reference to the previous one.
    pub is_absolute: bool,
    /// The histogram, if the sample is one; `bits` are then those of its sum.
    pub histogram: Option<&'a Histogram>,
    /// When the counter began, where that is not the same as for the previous sample (absolute:
    /// where it is known); 0: not known.
    pub start_ms: Option<i64>,
}

impl RowSample<'_> {
    /// Whether it is the previous sample but for its time.
    #[inline]
    fn is_repeated(&self) -> bool {
        self.bits == self.previous && self.histogram.is_none() && self.start_ms.is_none()
    }

    fn write(&self, out: &mut Vec<u8>) {
        if let Some(start_ms) = self.start_ms {
            out.push(START);
            write_varint(out, start_ms);
        }
        if let Some(histogram) = self.histogram {
            out.push(HISTOGRAM);
            let mut bytes = Vec::new();
            write_histogram(None, histogram, &mut bytes);
            write_bytes(out, &bytes);
            return;
        }
        let previous = (!self.is_absolute).then_some(f64::from_bits(self.previous));
        write_value(previous, f64::from_bits(self.bits), out);
    }
}

/// Instead of a value: a histogram, sized. No value begins so.
const HISTOGRAM: u8 = 0xf2;
/// Before a value or histogram: when its counter began.
const START: u8 = 0xf3;

/// Writes rows records.
#[derive(Debug)]
pub struct RowsWriter<'a> {
    out: &'a mut Vec<u8>,
    slots: u32,
    t_ms: i64,
    /// Of the row being written: its slots, which of its samples are absolute, which of the others
    /// differ from the ones before, and the values.
    members: Vec<u32>,
    absolute: Vec<u32>,
    changed: Vec<u32>,
    values: Vec<u8>,
}

impl<'a> RowsWriter<'a> {
    /// Begins a record. `header.previous` is below `header.number`.
    pub fn begin(out: &'a mut Vec<u8>, header: RowsHeader) -> Self {
        write_uvarint(out, u64::from(header.group));
        write_uvarint(out, header.number);
        write_uvarint(out, header.number - header.previous);
        write_uvarint(out, u64::from(header.slots));
        write_uvarint(out, header.source.map_or(0, |source| u64::from(source) + 1));
        Self {
            out,
            slots: header.slots,
            t_ms: 0,
            members: Vec::new(),
            absolute: Vec::new(),
            changed: Vec::new(),
            values: Vec::new(),
        }
    }

    /// Appends a row. `samples` ascend by slot, at most one for each. A late row is below the
    /// newest sample of its series; all its values must be absolute.
    pub fn row<'s>(
        &mut self,
        t_ms: i64,
        is_late: bool,
        samples: impl ExactSizeIterator<Item = RowSample<'s>>,
    ) {
        let Self { out, members, absolute, changed, values, .. } = self;
        out.push(u8::from(is_late));
        write_varint(out, t_ms.wrapping_sub(self.t_ms));
        self.t_ms = t_ms;
        members.clear();
        absolute.clear();
        changed.clear();
        values.clear();
        members.reserve(samples.len());
        changed.reserve(samples.len());
        values.reserve(samples.len() * 2);
        let mut relative = 0;
        for (i, sample) in (0..).zip(samples) {
            members.push(sample.slot);
            if sample.is_absolute {
                absolute.push(i);
                sample.write(values);
                continue;
            }
            if !sample.is_repeated() {
                changed.push(relative);
                sample.write(values);
            }
            relative += 1;
        }
        write_set(out, self.slots, members);
        write_set(out, members.len() as u32, absolute);
        write_set(out, relative, changed);
        out.extend_from_slice(values);
    }
}

/// A sample that was read from a row.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadSample {
    /// Its series' slot.
    pub slot: u32,
    /// Bits of the value, or of the histogram's sum.
    pub bits: u64,
    /// Whether `bits` do not depend on [`RowsSink::previous`].
    pub is_absolute: bool,
    /// The histogram, if the sample is one.
    pub histogram: Option<Histogram>,
    /// When the counter began; `None`: as for the slot's previous sample, or not known where the
    /// sample is absolute.
    pub start_ms: Option<i64>,
}

/// Takes the samples of a rows record, in order.
pub trait RowsSink {
    /// Bits of the previous sample in `slot`.
    fn previous(&self, slot: u32) -> u64;
    /// A sample.
    fn sample(&mut self, t_ms: i64, is_late: bool, sample: ReadSample);
}

/// Reads what stands before the rows.
pub fn read_rows_header(cursor: &mut Cursor<'_>) -> Result<RowsHeader, RecordError> {
    let group = cursor.uvarint_u32()?;
    let number = cursor.uvarint()?;
    let offset = cursor.offset();
    let previous = number.checked_sub(cursor.uvarint()?);
    let previous = previous.ok_or(RecordError { offset, what: "a record before the first" })?;
    let slots = cursor.uvarint_u32()?;
    let source = cursor.uvarint_u32()?.checked_sub(1);
    Ok(RowsHeader { group, number, previous, slots, source })
}

/// Reads the rows after the header into `sink`. `slots` is the header's; the caller has made sure
/// that the group has as many.
pub fn read_rows(
    cursor: &mut Cursor<'_>,
    slots: u32,
    sink: &mut dyn RowsSink,
) -> Result<(), RecordError> {
    let mut t_ms = 0_i64;
    let (mut present, mut absolute, mut changed) = (Vec::new(), Vec::new(), Vec::new());
    while !cursor.is_empty() {
        let offset = cursor.offset();
        let is_late = match cursor.u8()? {
            0 => false,
            1 => true,
            _ => return Err(RecordError { offset, what: "a row of an unknown kind" }),
        };
        t_ms = t_ms.wrapping_add(cursor.varint()?);
        read_set(cursor, slots, &mut present)?;
        read_set(cursor, present.len() as u32, &mut absolute)?;
        read_set(cursor, (present.len() - absolute.len()) as u32, &mut changed)?;
        let (mut absolute_next, mut changed_next) = (0, 0);
        let mut relative = 0_u32;
        for (i, &slot) in (0_u32..).zip(&present) {
            if absolute.get(absolute_next) == Some(&i) {
                absolute_next += 1;
                sink.sample(t_ms, is_late, read_sample(cursor, slot, None)?);
                continue;
            }
            let previous = sink.previous(slot);
            let is_changed = changed.get(changed_next) == Some(&relative);
            relative += 1;
            let sample = if is_changed {
                changed_next += 1;
                read_sample(cursor, slot, Some(previous))?
            } else {
                let (histogram, start_ms) = (None, None);
                ReadSample { slot, bits: previous, is_absolute: false, histogram, start_ms }
            };
            sink.sample(t_ms, is_late, sample);
        }
    }
    Ok(())
}

/// Reads a value, or what stands for it. `previous`: bits of the slot's previous sample; none
/// where the value is absolute.
#[inline]
fn read_sample(
    cursor: &mut Cursor<'_>,
    slot: u32,
    previous: Option<u64>,
) -> Result<ReadSample, RecordError> {
    let is_absolute = previous.is_none();
    let mut start_ms = None;
    if cursor.rest().first() == Some(&START) {
        cursor.skip(1)?;
        start_ms = Some(cursor.varint()?);
    }
    if cursor.rest().first() == Some(&HISTOGRAM) {
        cursor.skip(1)?;
        let bytes = cursor.sized_bytes()?;
        let histogram = read_histogram(None, &mut Cursor::new(bytes))?;
        let bits = histogram.sum().to_bits();
        return Ok(ReadSample { slot, bits, is_absolute, histogram: Some(histogram), start_ms });
    }
    let bits = read_value(previous.map(f64::from_bits), cursor)?.to_bits();
    Ok(ReadSample { slot, bits, is_absolute, histogram: None, start_ms })
}

/// Reads `body` as every kind of record there is; for fuzzing.
pub fn read_any(body: &[u8]) {
    struct Nothing;
    impl RowsSink for Nothing {
        fn previous(&self, _slot: u32) -> u64 {
            0
        }
        fn sample(&mut self, _t_ms: i64, _late: bool, sample: ReadSample) {
            assert!(sample.slot < 100, "BUG: a slot that the reader did not say it has");
        }
    }
    let cursor = Cursor::new(body);
    let _ = read_group(&mut cursor.clone());
    let _ = read_shape(&mut cursor.clone());
    let (mut series, mut reader) = (cursor.clone(), SeriesReader::default());
    while let Ok(Some(_)) = reader.next(&mut series) {}
    let mut deletions = cursor.clone();
    while let Ok(Some(_)) = read_deletion(&mut deletions) {}
    let mut exemplars = cursor.clone();
    while let Ok(Some(_)) = read_exemplar(&mut exemplars) {}
    let mut metadata = cursor.clone();
    while let Ok(Some(_)) = read_metadata(&mut metadata) {}
    let mut rows = cursor.clone();
    if read_rows_header(&mut rows).is_ok() {
        let _ = read_rows(&mut rows, 100, &mut Nothing);
    }
    let _ = read_rows(&mut cursor.clone(), 100, &mut Nothing);
}

const SET_NONE: u8 = 0;
const SET_ALL: u8 = 1;
const SET_BITMAP: u8 = 2;
const SET_LIST: u8 = 3;

/// Appends a set of numbers below `universe`; `members` ascend.
fn write_set(out: &mut Vec<u8>, universe: u32, members: &[u32]) {
    if members.is_empty() {
        out.push(SET_NONE);
    } else if members.len() == universe as usize {
        out.push(SET_ALL);
    } else if members.len() * 8 >= universe as usize {
        out.push(SET_BITMAP);
        let start = out.len();
        out.resize(start + (universe as usize).div_ceil(8), 0);
        for &member in members {
            out[start + member as usize / 8] |= 1 << (member % 8);
        }
    } else {
        out.push(SET_LIST);
        write_uvarint(out, members.len() as u64);
        let mut next = 0;
        for &member in members {
            write_uvarint(out, u64::from(member - next));
            next = member + 1;
        }
    }
}

fn read_set(cursor: &mut Cursor<'_>, universe: u32, out: &mut Vec<u32>) -> Result<(), RecordError> {
    out.clear();
    let offset = cursor.offset();
    match cursor.u8()? {
        SET_NONE => {}
        SET_ALL => out.extend(0..universe),
        SET_BITMAP => {
            let bytes = cursor.bytes((universe as usize).div_ceil(8))?;
            for (i, &byte) in (0_u32..).step_by(8).zip(bytes) {
                let mut rest = byte;
                while rest != 0 {
                    out.push(i + rest.trailing_zeros());
                    rest &= rest - 1;
                }
            }
            if out.last().is_some_and(|&last| last >= universe) {
                return Err(RecordError { offset, what: "a set goes past its end" });
            }
        }
        SET_LIST => {
            let count = cursor.uvarint_max(universe as usize)?;
            let mut next = 0_u32;
            for _ in 0..count {
                let offset = cursor.offset();
                let member = cursor.uvarint_u32()?.checked_add(next).filter(|&m| m < universe);
                let member =
                    member.ok_or(RecordError { offset, what: "a set goes past its end" })?;
                out.push(member);
                next = member + 1;
            }
        }
        _ => return Err(RecordError { offset, what: "a set of an unknown kind" }),
    }
    Ok(())
}

#[cfg(test)]
mod tests;
