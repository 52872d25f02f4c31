//! Samples that are read where the cache keeps them, not copied.
//!
//! Most series of a block have one chunk of floats, whose times they share with the other series of
//! their group. What is kept of both serves any number of readers at a time.

use std::ops::Range;
use std::sync::Arc;

use super::reader::Selection;
use crate::disk::StorageError;
use crate::index::ChunkRef;
use crate::model::{Samples, TimeRange};

/// Floats of one series, none of which anybody knows when it began to count. INVARIANT: `rows`
/// lies within the values, and moved by `skipped` within the times.
#[derive(Debug, Clone)]
pub struct Lent {
    times: Arc<[i64]>,
    /// Times of the column that stand before the chunk's.
    skipped: usize,
    values: Arc<Vec<f64>>,
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
        &self.values[self.rows.clone()]
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

impl Selection {
    /// Like [`Selection::read`], but lends the samples where it need not copy them; `out` is empty
    /// then.
    pub fn read_or_lend(
        &self,
        index: usize,
        range: TimeRange,
        out: &mut Samples,
        damaged: &mut dyn FnMut(StorageError),
    ) -> Result<Option<Lent>, StorageError> {
        out.clear();
        let &[chunk] = self.chunks_of(index) else {
            return self.read(index, range, out, damaged).map(|()| None);
        };
        let is_whole = self.tombstones.of(self.ordinal(index)).is_empty();
        if !is_whole || !self.keeps(chunk) {
            return self.read(index, range, out, damaged).map(|()| None);
        }
        match self.lend(chunk, range, out) {
            Err(error @ StorageError::Corrupt { .. }) => {
                damaged(error);
                out.clear();
                Ok(None)
            }
            lent => lent,
        }
    }

    fn lend(
        &self,
        chunk: ChunkRef,
        range: TimeRange,
        out: &mut Samples,
    ) -> Result<Option<Lent>, StorageError> {
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
        let own = &times[skipped..skipped + count];
        let values = self.values(chunk, own, rows.clone(), out)?;
        Ok(values.map(|values| Lent { times, skipped, values, rows }))
    }
}
