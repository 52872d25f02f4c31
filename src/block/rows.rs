//! Rows of the index that matchers select: labels and chunks of each series, in the order of
//! labels. Selections of one block by the same matchers share them.

use roaring::RoaringBitmap;

use super::columns::ColumnReader;
use super::tombstones::Tombstones;
use crate::disk::StorageError;
use crate::index::{ChunkRef, IndexReader};
use crate::model::{Labels, TimeRange};

/// How many series are looked at between two looks at whether anybody waits.
const SERIES_PER_CHECK: u32 = 256;
/// What a label set takes besides its bytes: two counters before them.
const LABELS_BYTES: usize = 16;

/// Series with all their chunks.
#[derive(Debug, Default)]
pub(super) struct Rows {
    pub(super) ordinals: Vec<u32>,
    /// Ascending.
    pub(super) labels: Vec<Labels>,
    /// Of all series, one behind the other.
    pub(super) chunks: Vec<ChunkRef>,
    /// Where the chunks of each series end.
    pub(super) ends: Vec<u32>,
}

/// A series of a selection: its row, and those of its chunks that may have what is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kept {
    pub(super) row: u32,
    pub(super) first: u32,
    pub(super) end: u32,
}

impl Rows {
    /// Appends the chunks of `ordinal`; its labels follow.
    pub(super) fn push(&mut self, ordinal: u32, chunks: &[ChunkRef]) {
        self.chunks.extend_from_slice(chunks);
        self.ends.push(self.chunks.len() as u32);
        self.ordinals.push(ordinal);
    }

    /// The chunks of all series in `ordinals`; labels are left out. `check` is called now and then
    /// with the bytes that the rows take by then; its error ends the work.
    pub(super) fn read_chunks<E: From<StorageError>>(
        index: &IndexReader,
        ordinals: &RoaringBitmap,
        check: &dyn Fn(u64) -> Result<(), E>,
    ) -> Result<Self, E> {
        let mut rows = Self::default();
        let mut reader = index.rows();
        for (i, ordinal) in (0_u32..).zip(ordinals) {
            if i.is_multiple_of(SERIES_PER_CHECK) {
                check(rows.bytes() as u64)?;
            }
            rows.push(ordinal, reader.chunks(ordinal)?);
        }
        Ok(rows)
    }

    /// Reads the labels of all its series; `check` as in [`Rows::read_chunks`].
    pub(super) fn read_labels<E: From<StorageError>>(
        &mut self,
        index: &IndexReader,
        check: &dyn Fn(u64) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut reader = index.rows();
        let mut bytes = (self.bytes() + self.ordinals.len() * size_of::<Labels>()) as u64;
        check(bytes)?;
        self.labels.reserve_exact(self.ordinals.len());
        for (i, &ordinal) in (0_u32..).zip(&self.ordinals) {
            if i.is_multiple_of(SERIES_PER_CHECK) {
                check(bytes)?;
            }
            let labels = reader.labels(ordinal)?;
            bytes += (labels.as_bytes().len() + LABELS_BYTES) as u64;
            self.labels.push(labels);
        }
        check(bytes)
    }

    /// The series with a chunk that may have a sample in `range` that is not hidden.
    pub(super) fn within(
        &self,
        range: TimeRange,
        columns: &ColumnReader,
        tombstones: &Tombstones,
    ) -> Result<Vec<Kept>, StorageError> {
        let mut kept = Vec::with_capacity(self.ordinals.len());
        let mut first = 0;
        for (row, &end) in (0_u32..).zip(&self.ends) {
            let hidden = tombstones.of(self.ordinals[row as usize]);
            let mut wanted: Option<(u32, u32)> = None;
            for at in first..end {
                let own = columns.range(self.chunks[at as usize].column)?;
                let is_gone = |h: &TimeRange| h.contains(own.min_ms) && h.contains(own.max_ms);
                if own.overlaps(range) && !hidden.iter().any(is_gone) {
                    wanted = Some((wanted.map_or(at, |(first, _)| first), at + 1));
                }
            }
            if let Some((first, end)) = wanted {
                kept.push(Kept { row, first, end });
            }
            first = end;
        }
        Ok(kept)
    }

    /// All series with all their chunks.
    pub(super) fn all(&self) -> Vec<Kept> {
        let mut first = 0;
        let rows = (0_u32..).zip(&self.ends);
        rows.map(|(row, &end)| Kept { row, first: std::mem::replace(&mut first, end), end })
            .collect()
    }

    /// The series `kept` alone, which are its own from now on.
    pub(super) fn only(&self, kept: &mut [Kept]) -> Self {
        let mut rows = Self::default();
        for (row, kept) in (0_u32..).zip(kept) {
            let first = self.first(kept.row);
            let end = self.ends[kept.row as usize];
            let base = rows.chunks.len() as u32;
            let chunks = &self.chunks[first as usize..end as usize];
            rows.push(self.ordinals[kept.row as usize], chunks);
            let (from, to) = (base + (kept.first - first), base + (kept.end - first));
            *kept = Kept { row, first: from, end: to };
        }
        rows
    }

    /// Where the chunks of a row begin.
    pub(super) fn first(&self, row: u32) -> u32 {
        row.checked_sub(1).map_or(0, |before| self.ends[before as usize])
    }

    /// Bytes in memory, about.
    pub(super) fn bytes(&self) -> usize {
        let labels = self.labels.iter().map(|labels| labels.as_bytes().len() + LABELS_BYTES);
        labels.sum::<usize>()
            + self.labels.capacity() * size_of::<Labels>()
            + self.chunks.capacity() * size_of::<ChunkRef>()
            + (self.ordinals.capacity() + self.ends.capacity()) * size_of::<u32>()
    }
}
