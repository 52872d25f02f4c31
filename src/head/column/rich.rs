//! Histograms and start timestamps in a column.
//!
//! A column that has either is *rich*. Its stream begins with its first sample (no constant
//! without a stream), and whoever appends knows two things that the record of 48 bytes has no room
//! for: the newest histogram in the stream, which the next one is written against, and the start
//! timestamp in force. Plain columns never come here.

use std::ops::Range;
use std::sync::Arc;

use super::{
    Column, ColumnSnapshot, DECIMAL, HAS_LAST, HISTOGRAM, HISTOGRAM_TOKEN, Reader, START,
    START_TOKEN,
};
use crate::encoding::cursor::Cursor;
use crate::encoding::decimal;
use crate::encoding::histogram::{read_histogram, write_histogram};
use crate::encoding::varint::{write_bytes, write_varint};
use crate::head::extra::Extra;
use crate::model::{Histogram, Samples};

/// A sample of a rich column.
#[derive(Debug, Clone, Copy)]
pub struct RichSample<'a> {
    /// The float, or the histogram's sum.
    pub value: f64,
    /// The histogram, if the sample is one.
    pub histogram: Option<&'a Arc<Histogram>>,
    /// When its counter began; 0: not known.
    pub start_ms: i64,
}

impl RichSample<'_> {
    /// Appends the sample to `out`.
    #[inline]
    pub fn push_to(&self, out: &mut Samples, t_ms: i64) {
        match self.histogram {
            None => out.push(t_ms, self.value),
            Some(histogram) => out.push_histogram(t_ms, Arc::clone(histogram)),
        }
        if self.start_ms != 0 {
            out.set_last_start(self.start_ms);
        }
    }
}

impl Column {
    /// Whether samples are, or may be, more than floats.
    #[inline]
    pub fn is_rich(&self) -> bool {
        self.flags & (HISTOGRAM | START) != 0
    }

    /// Puts a sample at `row`. `known` is what the sample appended last left there; it is not
    /// looked at where the column is not rich.
    ///
    /// # Panics
    /// As [`Column::append`].
    pub(in crate::head) fn append_rich(
        &mut self,
        row: u32,
        value: f64,
        extra: &Extra,
        known: &mut Extra,
    ) {
        if !self.is_rich() {
            *known = Extra::default();
        }
        if self.flags & HISTOGRAM == 0 {
            known.histogram = None;
        }
        if extra.start_ms != known.start_ms {
            known.start_ms = extra.start_ms;
            self.write_start(extra.start_ms);
        }
        match &extra.histogram {
            None => self.append(row, value),
            Some(histogram) => {
                self.append_histogram(row, histogram, known.histogram.as_deref());
                known.histogram = Some(Arc::clone(histogram));
            }
        }
    }

    fn write_start(&mut self, start_ms: i64) {
        if self.samples > 0 {
            self.write_pending();
        }
        self.bytes.push(START_TOKEN);
        write_varint(&mut self.bytes, start_ms);
        self.flags |= START;
    }

    fn append_histogram(&mut self, row: u32, histogram: &Histogram, earlier: Option<&Histogram>) {
        assert!(row >= self.cursor && row < u32::MAX, "BUG: rows only grow");
        if self.samples == 0 {
            self.start_row = row;
        } else if row > self.cursor {
            self.write_gap(row - self.cursor);
        } else {
            self.write_pending();
        }
        let mut bytes = Vec::new();
        write_histogram(earlier, histogram, &mut bytes);
        self.bytes.reserve_exact(bytes.len() + 16);
        self.bytes.push(HISTOGRAM_TOKEN);
        write_bytes(&mut self.bytes, &bytes);
        self.last = histogram.sum();
        let is_decimal = decimal::int_at(self.last, self.exponent).is_some();
        self.flags =
            self.flags & START | HISTOGRAM | HAS_LAST | if is_decimal { DECIMAL } else { 0 };
        self.samples += 1;
        self.cursor = row + 1;
    }

    /// Writes the first value of a rich column, which has its stream from the start.
    pub(super) fn append_first(&mut self, row: u32, value: f64) {
        self.start_row = row;
        self.last = 0.0;
        self.flags |= HAS_LAST | DECIMAL;
        self.write_change(value);
        self.last = value;
    }

    /// Visits the samples of these rows, ascending.
    pub fn decode_samples(&self, rows: Range<u32>, mut visit: impl FnMut(u32, RichSample<'_>)) {
        if !self.is_rich() {
            let plain = |value| RichSample { value, histogram: None, start_ms: 0 };
            return self.decode_rows(rows, |row, value| visit(row, plain(value)));
        }
        if self.samples == 0 {
            return;
        }
        let mut reader = Reader::new(&self.bytes, self.start_row);
        let mut emit = |span: Range<u32>, sample: RichSample<'_>| {
            for row in span.start.max(rows.start)..span.end.min(rows.end) {
                visit(row, sample);
            }
        };
        while !reader.bytes.is_empty() && reader.row < rows.end {
            reader.is_histogram = false;
            if let Some((span, value)) = reader.next_span() {
                let histogram = reader.histogram.as_ref().filter(|_| reader.is_histogram);
                emit(span, RichSample { value, histogram, start_ms: reader.start_ms });
            }
        }
        let run_start = self.cursor - u32::from(self.run);
        let start_ms = reader.start_ms;
        emit(run_start..self.cursor, RichSample { value: self.last, histogram: None, start_ms });
    }

    /// The part of the column from `row` on, which lies within it.
    pub(super) fn rich_from(&self, row: u32) -> Self {
        let mut kept = Self::new(row);
        self.copy_to(&mut kept, |at| at >= row);
        kept
    }

    /// Appends the rows that `keep` says yes to, to an empty column. Gives what the one appended
    /// last left known, for [`Column::append_rich`].
    pub(in crate::head) fn copy_to(&self, kept: &mut Self, keep: impl Fn(u32) -> bool) -> Extra {
        let mut known = Extra::default();
        self.decode_samples(0..u32::MAX, |row, sample| {
            if !keep(row) {
                return;
            }
            let histogram = sample.histogram.cloned();
            let extra = Extra { histogram, start_ms: sample.start_ms };
            if extra.is_none() && !kept.is_rich() {
                kept.append(row, sample.value);
            } else {
                kept.append_rich(row, sample.value, &extra, &mut known);
            }
        });
        known
    }
}

impl ColumnSnapshot {
    /// See [`Column::decode_samples`].
    pub fn decode_samples(&self, rows: Range<u32>, visit: impl FnMut(u32, RichSample<'_>)) {
        self.0.decode_samples(rows, visit);
    }
}

impl Reader<'_> {
    /// Reads what follows the token of a histogram.
    pub(super) fn read_histogram(&mut self) -> u32 {
        let mut cursor = Cursor::new(self.bytes);
        let bytes = cursor.sized_bytes().expect("BUG: a histogram is whole");
        self.bytes = cursor.rest();
        let histogram = read_histogram(self.histogram.as_deref(), &mut Cursor::new(bytes))
            .expect("BUG: a histogram reads");
        let rows = self.set(histogram.sum());
        self.histogram = Some(Arc::new(histogram));
        self.is_histogram = true;
        rows
    }

    /// Reads what follows the token of a start timestamp.
    pub(super) fn read_start(&mut self) {
        let mut cursor = Cursor::new(self.bytes);
        self.start_ms = cursor.varint().expect("BUG: a start timestamp is whole");
        self.bytes = cursor.rest();
    }
}
