//! Samples that are read where the cache keeps them, not copied.
//!
//! Most series of a block have one chunk of floats, whose times they share with the other series of
//! their group. What is kept of both serves any number of readers at a time.

use std::ops::Range;
use std::sync::{Arc, PoisonError};

use super::reader::Selection;
use crate::chunk::constant_of;
use crate::disk::StorageError;
use crate::model::{Samples, TimeRange, is_stale};

/// Payloads of constants are no longer.
const CONSTANT_BYTES_MAX: u32 = 16;

/// Values of a chunk, from its first on, and what holds for all of them.
#[derive(Debug)]
pub(super) struct Decoded {
    numbers: Vec<f64>,
    has_stale: bool,
    falls: bool,
}

impl Decoded {
    pub(super) fn new(numbers: Vec<f64>) -> Self {
        // Without an early exit both loops take several values at a time.
        let has_stale = numbers.iter().fold(false, |any, value| any | is_stale(*value));
        let pairs = numbers.iter().zip(numbers.get(1..).unwrap_or(&[]));
        let falls = pairs.fold(0, |any, (before, after)| any | u8::from(after < before)) != 0;
        Self { numbers, has_stale, falls }
    }

    /// The values.
    pub(super) fn numbers(&self) -> &[f64] {
        &self.numbers
    }
}

/// Floats of one series, none of which anybody knows when it began to count. INVARIANT: `rows`
/// lies within the values, and moved by `skipped` within the times.
#[derive(Debug, Clone)]
pub struct Lent {
    times: Arc<[i64]>,
    /// Times of the column that stand before the chunk's.
    skipped: usize,
    values: Arc<Decoded>,
    rows: Range<usize>,
}

impl Lent {
    /// Milliseconds, strictly ascending.
    #[inline]
    pub fn timestamps(&self) -> &[i64] {
        &self.times[self.skipped + self.rows.start..self.skipped + self.rows.end]
    }

    /// One value for each timestamp.
    #[inline]
    pub fn values(&self) -> &[f64] {
        &self.values.numbers[self.rows.clone()]
    }

    /// Whether a staleness marker may be among the values.
    #[inline]
    pub fn may_have_stale(&self) -> bool {
        self.values.has_stale
    }

    /// Whether a value may be less than the one before.
    #[inline]
    pub fn may_fall(&self) -> bool {
        self.values.falls
    }

    /// Drops the first `count` samples, or all there are.
    pub fn drop_first(&mut self, count: usize) {
        self.rows.start = (self.rows.start + count).min(self.rows.end);
    }

    /// The whole column that the times are from, and which part of it they are: equal ones need not
    /// be compared.
    #[inline]
    pub fn column(&self) -> (&Arc<[i64]>, Range<usize>) {
        (&self.times, self.skipped + self.rows.start..self.skipped + self.rows.end)
    }

    /// Appends a copy to `out`.
    pub fn copy_to(&self, out: &mut Samples) {
        out.timestamps.extend_from_slice(self.timestamps());
        out.values.extend_from_slice(self.values());
    }
}

/// What is wanted of samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Times and values.
    Samples,
    /// Times; values may be any others, but for staleness markers.
    Times,
}

impl Selection {
    /// Like [`Selection::read`], but lends the samples where it need not copy them; `out` is empty
    /// then.
    pub fn read_or_lend(
        &self,
        index: usize,
        (range, wanted): (TimeRange, Wanted),
        out: &mut Samples,
        damaged: &mut dyn FnMut(StorageError),
    ) -> Result<Option<Lent>, StorageError> {
        out.clear();
        let is_whole = self.tombstones.of(self.ordinal(index)).is_empty();
        if !is_whole || !matches!(self.chunks_of(index), [_]) {
            return self.read(index, range, out, damaged).map(|()| None);
        }
        match self.lend(index, range, wanted, out) {
            Err(error @ StorageError::Corrupt { .. }) => {
                damaged(error);
                out.clear();
                Ok(None)
            }
            lent => lent,
        }
    }

    /// Lends the only chunk of a series, or else reads it.
    fn lend(
        &self,
        index: usize,
        range: TimeRange,
        wanted: Wanted,
        out: &mut Samples,
    ) -> Result<Option<Lent>, StorageError> {
        let chunk = self.chunks_of(index)[0];
        let (times, within) = self.column_within(chunk.column, range)?;
        let (start, count) = chunk.part.unwrap_or((0, times.len() as u32));
        let (skipped, count) = (start as usize, count as usize);
        if skipped.checked_add(count).is_none_or(|end| end > times.len()) {
            return Err(self.too_short(chunk));
        }
        let row = |at: usize| at.saturating_sub(skipped).min(count);
        let rows = row(within.start)..row(within.end);
        if rows.is_empty() {
            return Ok(None);
        }
        let constant = if chunk.len <= CONSTANT_BYTES_MAX {
            constant_of(self.block.payload(chunk)?).ok().flatten()
        } else {
            // Where values are not wanted, any constant will do.
            (wanted == Wanted::Times && self.is_finite(index)).then_some(0.0)
        };
        let values = match constant {
            Some(value) => Some(self.constant(value, count)),
            None => self.values(chunk, &times[skipped..skipped + count], rows.clone(), out)?,
        };
        Ok(values.map(|values| Lent { times, skipped, values, rows }))
    }

    /// Whether the first chunk of series `index` is known to hold finite values only.
    fn is_finite(&self, index: usize) -> bool {
        let Some(aggregates) = &self.block.aggregates else { return false };
        let ordinal = self.ordinal(index);
        let mut known = self.finite.lock().unwrap_or_else(PoisonError::into_inner);
        let (first, chunks) = &mut *known;
        if !(*first..*first + chunks.len() as u32).contains(&ordinal) {
            // What does not read is not known.
            (*first, *chunks) = aggregates.known_around(ordinal).unwrap_or_default();
        }
        let of_series = ordinal.checked_sub(*first).and_then(|at| chunks.get(at as usize));
        of_series.and_then(|of| of.get(self.skipped(index) as usize)).copied().unwrap_or(false)
    }
}
