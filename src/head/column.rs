//! The values of one series over the rows of its group, in memory.
//!
//! A [`Column`] covers the rows `start_row .. cursor` of its group: each is a value (any bits of a
//! float, the staleness marker among them) or none. It is a record of 48 bytes and a byte stream
//! that begins with the first change: a constant series has nothing on the heap.
//!
//! Stream, one token after the other; values are deltas of decimals `i / 10^e` against the value
//! before (see [`crate::encoding::decimal`]), counted from 0 where that has no decimal at `e`:
//!
//! | first byte | stands for |
//! |---|---|
//! | `0x00–0x7f` | delta, zigzag form 0–127 |
//! | `0x80–0xbf` | delta, zigzag form minus 128: six low bits, then a byte |
//! | `0xc0–0xdf` | 1–32 rows with the value before |
//! | `0xe0–0xe7` | delta, zigzag form: three low bits, then two bytes |
//! | `0xe8–0xef` | 1–8 bytes follow: zigzag delta of ordered bits against the value before |
//! | `0xf0–0xf4` | 3–7 bytes follow: delta, zigzag form |
//! | `0xf5` | a byte follows: `e` from here on (0 at the start) |
//! | `0xf6` | two bytes follow: that many rows with the value before |
//! | `0xf7`, `0xf8` | one row without a value; a uvarint of rows |
//! | `0xf9`, `0xfa` | the staleness marker; the ordinary NaN |
//! | `0xfb` | a histogram: uvarint length, bytes against the one before (`rich.rs`) |
//! | `0xfc` | a varint: start timestamp from here on (0 at the start) |
//!
//! INVARIANTS: the stream and the `run` repeats of `last` that follow it give every row in
//! `start_row .. cursor`; while the stream is empty, `last` is also the first value; the row
//! `cursor - 1` has a value unless the column is empty. These bytes never leave the process.

mod rich;

use std::ops::Range;
use std::sync::Arc;

use crate::encoding::decimal;
use crate::encoding::delta::{byte_len, from_ordered_bits, ordered_bits, read_le};
use crate::encoding::varint::{read_uvarint, unzigzag, write_uvarint, zigzag};
use crate::model::{Histogram, NORMAL_NAN_BITS, STALE_NAN_BITS};

pub use rich::RichSample;

const DELTA_2: u8 = 0x80;
const REPEAT: u8 = 0xc0;
const DELTA_3: u8 = 0xe0;
const BITS: u8 = 0xe8;
const DELTA_N: u8 = 0xf0;
const EXPONENT: u8 = 0xf5;
const REPEAT_MANY: u8 = 0xf6;
const GAP: u8 = 0xf7;
const GAP_MANY: u8 = 0xf8;
const STALE: u8 = 0xf9;
const NAN: u8 = 0xfa;
const HISTOGRAM_TOKEN: u8 = 0xfb;
const START_TOKEN: u8 = 0xfc;

const DELTA_2_END: u64 = 128 + (1 << 14);
const DELTA_3_END: u64 = 1 << 19;
const REPEATS_SHORT: u16 = 32;
/// A series of full mantissas looks for a decimal form only so often: it costs more than the rest.
const FLOAT_RETRY_MASK: u32 = 15;

/// `last` holds a value, of this window or the one before.
const HAS_LAST: u8 = 1;
/// `last` has a decimal at `exponent`.
const DECIMAL: u8 = 2;
/// The value written last had no decimal form.
const FLOAT: u8 = 4;
/// A histogram is in the stream.
const HISTOGRAM: u8 = 8;
/// A start timestamp is in the stream.
const START: u8 = 16;
/// What stays while values are written.
const RICH: u8 = HISTOGRAM | START;

/// The window of one series. See the module's description.
#[derive(Debug, Clone, Default)]
pub struct Column {
    bytes: Vec<u8>,
    last: f64,
    start_row: u32,
    cursor: u32,
    samples: u32,
    /// Rows at the end that repeat `last` and are not in `bytes`.
    run: u16,
    /// Exponent of the decimals at the end of the stream.
    exponent: u8,
    flags: u8,
}

impl Column {
    /// An empty column: its first value may come at `start_row` or later.
    pub fn new(start_row: u32) -> Self {
        Self { start_row, cursor: start_row, ..Self::default() }
    }

    /// Puts a value at `row`; rows skipped since the cursor have none.
    ///
    /// # Panics
    /// If `row` lies below the cursor or is `u32::MAX`: the group's bug.
    #[inline]
    pub fn append(&mut self, row: u32, value: f64) {
        assert!(row >= self.cursor && row < u32::MAX, "BUG: rows only grow");
        if self.samples == 0 {
            if self.is_rich() {
                self.append_first(row, value);
            } else {
                self.start_row = row;
                self.last = value;
                self.flags = HAS_LAST;
            }
        } else {
            if row > self.cursor {
                self.write_gap(row - self.cursor);
            }
            if value.to_bits() == self.last.to_bits() {
                if self.run == u16::MAX {
                    self.write_pending();
                }
                self.run += 1;
            } else {
                self.write_pending();
                self.write_change(value);
                self.last = value;
            }
        }
        self.samples += 1;
        self.cursor = row + 1;
    }

    /// The row after the last value; where the next may go.
    pub fn cursor(&self) -> u32 {
        self.cursor
    }

    /// The first row covered. An empty column's moves to its first value.
    pub fn start_row(&self) -> u32 {
        self.start_row
    }

    /// The newest value of this window and its row.
    pub fn last(&self) -> Option<(u32, f64)> {
        (self.samples > 0).then(|| (self.cursor - 1, self.last))
    }

    /// The newest value, even if [`Column::reset`] has forgotten its row.
    pub fn last_value(&self) -> Option<f64> {
        (self.flags & HAS_LAST != 0).then_some(self.last)
    }

    /// Number of values.
    pub fn samples(&self) -> u32 {
        self.samples
    }

    /// Whether the window has no value.
    pub fn is_empty(&self) -> bool {
        self.samples == 0
    }

    /// Bytes that this column holds on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.bytes.capacity()
    }

    /// Forgets all rows and starts again at `start_row`, as after a seal. The last value stays
    /// known, see [`Column::last_value`]; the heap is given back.
    pub fn reset(&mut self, start_row: u32) {
        let flags = self.flags & HAS_LAST;
        *self = Self { last: self.last, flags, ..Self::new(start_row) };
    }

    /// Forgets the rows below `row`, which a seal has taken while later ones came in.
    pub fn forget_before(&mut self, row: u32) {
        if row <= self.start_row {
            return;
        }
        if row >= self.cursor {
            self.reset(row);
            return;
        }
        if self.is_rich() {
            *self = self.rich_from(row);
            return;
        }
        let mut kept = Self::new(row);
        self.decode_rows(row..self.cursor, |row, value| kept.append(row, value));
        *self = kept;
    }

    /// A copy for readers that hold no lock.
    pub fn snapshot(&self) -> ColumnSnapshot {
        ColumnSnapshot(self.clone())
    }

    /// Visits all values in ascending order of rows.
    pub fn decode(&self, visit: impl FnMut(u32, f64)) {
        self.decode_rows(self.start_row..self.cursor, visit);
    }

    /// Visits the values of these rows, ascending.
    #[inline]
    pub fn decode_rows(&self, rows: Range<u32>, mut visit: impl FnMut(u32, f64)) {
        if self.samples == 0 {
            return;
        }
        let mut reader = Reader::new(&self.bytes, self.start_row);
        let run_start = if self.bytes.is_empty() {
            // The first value counts as one repeat of itself.
            self.start_row
        } else {
            self.cursor - u32::from(self.run)
        };
        while !reader.bytes.is_empty() && reader.row < rows.end {
            if let Some((span, value)) = reader.next_span() {
                emit(span, value, &rows, &mut visit);
            }
        }
        emit(run_start..self.cursor, self.last, &rows, &mut visit);
    }

    /// Appends the rows within `rows` that have a value, and the values.
    pub fn decode_into(&self, rows: Range<u32>, at: &mut Vec<u32>, values: &mut Vec<f64>) {
        self.decode_rows(rows, |row, value| {
            at.push(row);
            values.push(value);
        });
    }

    /// Writes what `last` and `run` stand for, so that another token can follow.
    fn write_pending(&mut self) {
        self.grow();
        if self.bytes.is_empty() {
            // As if the value before were 0.0, which is where readers start.
            let first = std::mem::replace(&mut self.last, 0.0);
            self.flags |= DECIMAL;
            self.write_change(first);
            self.last = first;
        }
        match self.run {
            0 => {}
            1..=REPEATS_SHORT => self.bytes.push(REPEAT + (self.run - 1) as u8),
            _ => {
                let [low, high] = self.run.to_le_bytes();
                self.bytes.extend_from_slice(&[REPEAT_MANY, low, high]);
            }
        }
        self.run = 0;
    }

    #[cold]
    fn write_gap(&mut self, rows: u32) {
        self.write_pending();
        if rows == 1 {
            self.bytes.push(GAP);
        } else {
            self.bytes.push(GAP_MANY);
            write_uvarint(&mut self.bytes, u64::from(rows));
        }
    }

    /// Writes `value` against `last`.
    #[inline]
    fn write_change(&mut self, value: f64) {
        match decimal::int_at(value, self.exponent) {
            Some(int) => self.write_int(int),
            None => self.write_other(value),
        }
    }

    #[inline]
    fn write_int(&mut self, int: i64) {
        let is_decimal = self.flags & DECIMAL != 0;
        let base = if is_decimal { decimal::nearest_int(self.last, self.exponent) } else { 0 };
        self.flags = self.flags & RICH | HAS_LAST | DECIMAL;
        let delta = zigzag(int - base);
        if delta < u64::from(DELTA_2) {
            self.bytes.push(delta as u8);
        } else if delta < DELTA_2_END {
            let rest = delta - u64::from(DELTA_2);
            self.bytes.extend_from_slice(&[DELTA_2 | (rest & 0x3f) as u8, (rest >> 6) as u8]);
        } else if delta < DELTA_3_END {
            let [low, high, ..] = (delta >> 3).to_le_bytes();
            self.bytes.extend_from_slice(&[DELTA_3 | (delta & 7) as u8, low, high]);
        } else {
            let len = byte_len(delta);
            self.bytes.push(DELTA_N + (len - 3) as u8);
            self.bytes.extend_from_slice(&delta.to_le_bytes()[..len]);
        }
    }

    /// Writes what has no decimal at the exponent in use.
    fn write_other(&mut self, value: f64) {
        match value.to_bits() {
            STALE_NAN_BITS => return self.write_nan(STALE),
            NORMAL_NAN_BITS => return self.write_nan(NAN),
            _ => {}
        }
        let looks = self.flags & FLOAT == 0 || self.samples & FLOAT_RETRY_MASK == 0;
        if looks && let Some((int, exponent)) = decimal::shortest(value) {
            self.exponent = exponent;
            self.bytes.extend_from_slice(&[EXPONENT, exponent]);
            let is_decimal = decimal::int_at(self.last, exponent).is_some();
            self.flags = self.flags & RICH | HAS_LAST | if is_decimal { DECIMAL } else { 0 };
            return self.write_int(int);
        }
        let delta = zigzag(ordered_bits(value).wrapping_sub(ordered_bits(self.last)));
        let len = byte_len(delta);
        self.bytes.push(BITS + (len - 1) as u8);
        self.bytes.extend_from_slice(&delta.to_le_bytes()[..len]);
        self.flags = self.flags & RICH | HAS_LAST | FLOAT;
    }

    #[cold]
    fn write_nan(&mut self, token: u8) {
        self.bytes.push(token);
        self.flags = HAS_LAST | (self.flags & (FLOAT | RICH));
    }

    /// Makes room for the tokens to come, in steps of a fourth and of 32 bytes at least: a vector's
    /// own doubling would waste a third of the head.
    #[inline]
    fn grow(&mut self) {
        let room = if self.flags & FLOAT == 0 { 4 } else { 12 };
        let len = self.bytes.len();
        if self.bytes.capacity() - len < room {
            self.bytes.reserve_exact((len / 4).next_multiple_of(16).max(32));
        }
    }
}

/// Visits the part of `span` within `rows`.
#[inline]
fn emit(span: Range<u32>, value: f64, rows: &Range<u32>, visit: &mut impl FnMut(u32, f64)) {
    for row in span.start.max(rows.start)..span.end.min(rows.end) {
        visit(row, value);
    }
}

/// A copy of a [`Column`] at one moment, for reading.
#[derive(Debug, Clone)]
pub struct ColumnSnapshot(Column);

impl ColumnSnapshot {
    /// Bytes on the heap.
    pub fn bytes(&self) -> usize {
        self.0.bytes.capacity()
    }

    /// See [`Column::start_row`].
    pub fn start_row(&self) -> u32 {
        self.0.start_row
    }

    /// See [`Column::cursor`].
    pub fn cursor(&self) -> u32 {
        self.0.cursor
    }

    /// See [`Column::samples`].
    pub fn samples(&self) -> u32 {
        self.0.samples
    }

    /// Whether it has no value.
    pub fn is_empty(&self) -> bool {
        self.0.samples == 0
    }

    /// See [`Column::last`].
    pub fn last(&self) -> Option<(u32, f64)> {
        self.0.last()
    }

    /// See [`Column::decode`].
    pub fn decode(&self, visit: impl FnMut(u32, f64)) {
        self.0.decode(visit);
    }

    /// See [`Column::decode_rows`].
    pub fn decode_rows(&self, rows: Range<u32>, visit: impl FnMut(u32, f64)) {
        self.0.decode_rows(rows, visit);
    }

    /// See [`Column::decode_into`].
    pub fn decode_into(&self, rows: Range<u32>, at: &mut Vec<u32>, values: &mut Vec<f64>) {
        self.0.decode_into(rows, at, values);
    }
}

/// Reads tokens. The stream is our own, so what does not read is a bug.
struct Reader<'a> {
    bytes: &'a [u8],
    row: u32,
    value: f64,
    /// The decimal of `value` at `exponent`, or 0 where it has none.
    int: i64,
    exponent: u8,
    /// The newest histogram read; `is_histogram` says whether by the token read last.
    histogram: Option<Arc<Histogram>>,
    is_histogram: bool,
    start_ms: i64,
}

impl<'a> Reader<'a> {
    fn new(bytes: &'a [u8], row: u32) -> Self {
        Self {
            bytes,
            row,
            value: 0.0,
            int: 0,
            exponent: 0,
            histogram: None,
            is_histogram: false,
            start_ms: 0,
        }
    }

    /// Reads one token: the rows it gives a value, and the value.
    #[inline]
    fn next_span(&mut self) -> Option<(Range<u32>, f64)> {
        let token = self.take::<1>()[0];
        let rows = match token {
            ..DELTA_2 => self.add(u64::from(token)),
            DELTA_2..REPEAT => {
                let high = u64::from(self.take::<1>()[0]);
                self.add(u64::from(DELTA_2) + (high << 6 | u64::from(token & 0x3f)))
            }
            REPEAT..DELTA_3 => u32::from(token - REPEAT) + 1,
            DELTA_3..BITS => {
                let high = u64::from(u16::from_le_bytes(self.take()));
                self.add(high << 3 | u64::from(token & 7))
            }
            _ => return self.next_rare(token),
        };
        Some((self.advance(rows), self.value))
    }

    fn next_rare(&mut self, token: u8) -> Option<(Range<u32>, f64)> {
        let rows = match token {
            BITS..DELTA_N => {
                let delta = unzigzag(self.take_le(usize::from(token - BITS) + 1));
                self.set(from_ordered_bits(ordered_bits(self.value).wrapping_add(delta)))
            }
            DELTA_N..EXPONENT => {
                let delta = self.take_le(usize::from(token - DELTA_N) + 3);
                self.add(delta)
            }
            EXPONENT => {
                self.exponent = self.take::<1>()[0];
                self.set(self.value);
                return None;
            }
            REPEAT_MANY => u32::from(u16::from_le_bytes(self.take())),
            GAP => {
                self.advance(1);
                return None;
            }
            GAP_MANY => {
                let (rows, len) = read_uvarint(self.bytes).expect("BUG: a gap's length");
                self.bytes = &self.bytes[len..];
                self.advance(rows as u32);
                return None;
            }
            STALE => self.set(f64::from_bits(STALE_NAN_BITS)),
            NAN => self.set(f64::from_bits(NORMAL_NAN_BITS)),
            HISTOGRAM_TOKEN => self.read_histogram(),
            START_TOKEN => {
                self.read_start();
                return None;
            }
            _ => unreachable!("BUG: token {token} in a column"),
        };
        Some((self.advance(rows), self.value))
    }

    #[inline]
    fn add(&mut self, delta: u64) -> u32 {
        self.int += unzigzag(delta);
        self.value = decimal::to_f64(self.int, self.exponent);
        1
    }

    fn set(&mut self, value: f64) -> u32 {
        self.value = value;
        self.int = decimal::int_at(value, self.exponent).unwrap_or(0);
        1
    }

    #[inline]
    fn advance(&mut self, rows: u32) -> Range<u32> {
        let start = self.row;
        self.row += rows;
        start..self.row
    }

    #[inline]
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let (taken, rest) = self.bytes.split_first_chunk().expect("BUG: a token is whole");
        self.bytes = rest;
        *taken
    }

    fn take_le(&mut self, len: usize) -> u64 {
        let (taken, rest) = self.bytes.split_at(len);
        self.bytes = rest;
        read_le(taken)
    }
}

#[cfg(test)]
mod tests;
