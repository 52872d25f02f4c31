//! A series as stretches: chunks that lie whole within the range by what they come to, where that
//! is known, and the samples of the others.

use super::reader::Selection;
use crate::chunk::{Aggregate, constant_of};
use crate::disk::StorageError;
use crate::index::ChunkRef;
use crate::model::{Samples, TimeRange};

/// A part of a series, after all parts before it.
#[derive(Debug)]
pub enum Stretch<'a> {
    /// Samples, times strictly ascending; one at least.
    Samples(&'a Samples),
    /// What samples come to that are all finite floats.
    Whole {
        /// Times of the first and the last one.
        range: TimeRange,
        /// What their values come to.
        aggregate: Aggregate,
    },
}

/// What the chunks of a series come to, read when it is first asked for.
struct Known<'a> {
    selection: &'a Selection,
    index: usize,
    chunks: &'a [ChunkRef],
    counts: Vec<u32>,
    read: Option<Vec<Option<Aggregate>>>,
}

impl Selection {
    /// Times between which the samples of series `index` lie, as far as the index tells; `None`
    /// where it tells of damage, or of no sample within `range`.
    pub fn bounds(&self, index: usize, range: TimeRange) -> Option<TimeRange> {
        let chunks = self.chunks_of(index);
        let columns = &self.block.columns;
        let mut bounds: Option<TimeRange> = None;
        for chunk in [chunks.first()?, chunks.last()?] {
            let own = columns.range(chunk.column).ok()?;
            let bounds = bounds.get_or_insert(own);
            bounds.min_ms = bounds.min_ms.min(own.min_ms);
            bounds.max_ms = bounds.max_ms.max(own.max_ms);
        }
        let bounds = bounds?;
        let (min_ms, max_ms) = (bounds.min_ms.max(range.min_ms), bounds.max_ms.min(range.max_ms));
        (min_ms <= max_ms).then_some(TimeRange { min_ms, max_ms })
    }

    /// Gives the series `index` within `range` to `visit`, in the order of time. Damage is as in
    /// [`Selection::read`].
    pub fn visit_stretches(
        &self,
        index: usize,
        range: TimeRange,
        damaged: &mut dyn FnMut(StorageError),
        visit: &mut dyn FnMut(Stretch<'_>),
    ) -> Result<(), StorageError> {
        let mut samples = Samples::default();
        if !self.tombstones.of(self.ordinal(index)).is_empty() {
            self.read(index, range, &mut samples, damaged)?;
            if !samples.is_empty() {
                visit(Stretch::Samples(&samples));
            }
            return Ok(());
        }
        let chunks = self.chunks_of(index);
        let mut known = Known { selection: self, index, chunks, counts: Vec::new(), read: None };
        let mut last_ms = None;
        for (at, &chunk) in chunks.iter().enumerate() {
            samples.clear();
            let read = self.read_stretch(chunk, range, &mut samples, &mut || known.find(at));
            let found = match read {
                Err(error @ StorageError::Corrupt { .. }) => {
                    damaged(error);
                    continue;
                }
                other => other?,
            };
            let own = match (&found, samples.timestamps.first(), samples.timestamps.last()) {
                (Some((own, _)), _, _) => *own,
                (None, Some(&min_ms), Some(&max_ms)) => TimeRange { min_ms, max_ms },
                _ => continue,
            };
            if last_ms.is_some_and(|last| last >= own.min_ms) {
                damaged(self.block.chunks.corrupt(chunk.offset, "chunks of a series overlap"));
                continue;
            }
            last_ms = Some(own.max_ms);
            visit(match found {
                Some((range, aggregate)) => Stretch::Whole { range, aggregate },
                None => Stretch::Samples(&samples),
            });
        }
        Ok(())
    }

    /// What a chunk comes to, and between which times, where it lies whole within `range` and that
    /// is known. Else its samples are in `out`.
    fn read_stretch(
        &self,
        chunk: ChunkRef,
        range: TimeRange,
        out: &mut Samples,
        known: &mut dyn FnMut() -> Option<Aggregate>,
    ) -> Result<Option<(TimeRange, Aggregate)>, StorageError> {
        let own = self.block.columns.range(chunk.column)?;
        if chunk.part.is_none() && range.contains(own.min_ms) && range.contains(own.max_ms) {
            let constant = || -> Result<_, StorageError> {
                let payload = self.block.chunks.slice(chunk.offset, u64::from(chunk.len))?;
                let count = u32::from(self.block.columns.rows(chunk.column)?);
                let value = constant_of(payload).ok().flatten();
                Ok(value.and_then(|value| Aggregate::of_constant(value, count)))
            };
            let aggregate = match known() {
                None => constant()?,
                known => known,
            };
            if let Some(aggregate) = aggregate {
                return Ok(Some((own, aggregate)));
            }
        }
        self.read_chunk(chunk, range, out)?;
        Ok(None)
    }
}

impl Known<'_> {
    /// What chunk `at` of the series comes to. What does not read is not known: the samples tell.
    fn find(&mut self, at: usize) -> Option<Aggregate> {
        let block = &self.selection.block;
        let reader = block.aggregates.as_ref()?;
        if self.read.is_none() {
            for chunk in self.chunks {
                let rows = chunk.part.map_or_else(
                    || block.columns.rows(chunk.column).map_or(0, u32::from),
                    |(_, count)| count,
                );
                self.counts.push(rows);
            }
            let ordinal = self.selection.ordinal(self.index);
            let skipped = self.selection.skipped(self.index);
            self.read = Some(reader.read(ordinal, skipped, &self.counts).unwrap_or_default());
        }
        self.read.as_ref()?.get(at).copied().flatten()
    }
}
