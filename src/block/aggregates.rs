//! What the values of each chunk come to, in a file of its own that a reader may do without.
//!
//! A block without the file, or with one that this program cannot read, is as good as any other:
//! its chunks are decoded then. Bytes: `storage-format.md`, section 8.7.

use std::path::Path;

use crate::chunk::{Aggregate, Decimals, end_series, read_aggregate, write_aggregate};
use crate::disk::{Disk, StorageError};
use crate::encoding::cursor::Cursor;
use crate::index::units::{Kind, UnitFile, UnitWriter};

/// Name of the file.
pub(super) const AGGREGATE_FILE: &str = "aggregates";
const AGGREGATES: Kind = Kind { magic: *b"NXAG", version: 1 };
/// Series whose entries are found together.
const SERIES_PER_BLOCK: u32 = 32;
const TOC_BYTES: u64 = 16;

/// Writes the file, series by series in the order of the block.
#[derive(Debug)]
pub(super) struct AggregateWriter {
    file: UnitWriter,
    starts: Vec<u8>,
    series: u32,
    /// Entries of the current series.
    entries: Vec<u8>,
    /// Where the last of them begins.
    last: usize,
}

impl AggregateWriter {
    pub(super) fn create(disk: &dyn Disk, path: &Path) -> Result<Self, StorageError> {
        let file = UnitWriter::create(disk, path, AGGREGATES)?;
        Ok(Self { file, starts: Vec::new(), series: 0, entries: Vec::new(), last: 0 })
    }

    /// Adds the next chunk of the current series; `values` are none where it has more than floats.
    pub(super) fn add(&mut self, values: &[f64], decimals: Option<&Decimals>) {
        self.last = self.entries.len();
        write_aggregate(values, decimals, &mut self.entries);
    }

    /// Ends the current series, which has a chunk.
    pub(super) fn end_series(&mut self) -> Result<(), StorageError> {
        if self.series.is_multiple_of(SERIES_PER_BLOCK) {
            self.starts.extend_from_slice(&self.file.position().to_le_bytes());
        }
        self.series += 1;
        end_series(&mut self.entries[self.last]);
        self.file.write(&self.entries)?;
        self.entries.clear();
        Ok(())
    }

    /// Writes table and table of contents and syncs.
    pub(super) fn finish(mut self) -> Result<u64, StorageError> {
        let starts_at = self.file.position();
        self.file.write(&self.starts)?;
        self.file.write(&starts_at.to_le_bytes())?;
        self.file.write(&u64::from(self.series).to_le_bytes())?;
        self.file.finish()
    }
}

/// Reads the file where it lies.
#[derive(Debug)]
pub(super) struct AggregateReader {
    file: UnitFile,
    starts_at: u64,
}

impl AggregateReader {
    /// `None` where there is no such file, or none that can be read, for a block of `series`.
    pub(super) fn open(disk: &dyn Disk, path: &Path, series: u32) -> Option<Self> {
        let file = UnitFile::open(disk, path, AGGREGATES).ok()?;
        let toc_at = file.data_len().checked_sub(TOC_BYTES)?;
        let mut cursor = Cursor::new(file.slice(toc_at, TOC_BYTES).ok()?);
        let starts_at = cursor.u64().ok()?;
        let starts_len = u64::from(series.div_ceil(SERIES_PER_BLOCK)) * 8;
        let is_whole = cursor.u64().ok()? == u64::from(series)
            && starts_at.checked_add(starts_len) == Some(toc_at);
        is_whole.then_some(Self { file, starts_at })
    }

    pub(super) fn file_len(&self) -> u64 {
        self.file.file_len()
    }

    /// The entries of the series that are found together with `ordinal`, and where they begin.
    fn entries(&self, ordinal: u32) -> Result<(u64, Cursor<'_>), StorageError> {
        let at = self.starts_at + u64::from(ordinal / SERIES_PER_BLOCK) * 8;
        let start = |at| {
            let bytes = self.file.slice(at, 8)?;
            Cursor::new(bytes).u64().map_err(|e| self.file.misread(at, e))
        };
        let begin = start(at)?;
        // The table is followed by its own start, which is where the last block ends.
        let end = start(at + 8)?;
        let Some(len) = end.checked_sub(begin) else {
            return Err(self.file.corrupt(at, "entries end before they begin"));
        };
        Ok((begin, Cursor::new(self.file.slice(begin, len)?)))
    }

    /// For a few series, and the number of the first, `ordinal` among them: of which chunks it is
    /// known what they come to.
    pub(super) fn known_around(&self, ordinal: u32) -> Result<(u32, Vec<Vec<bool>>), StorageError> {
        let (begin, mut cursor) = self.entries(ordinal)?;
        let mut series = Vec::with_capacity(SERIES_PER_BLOCK as usize);
        while !cursor.is_empty() && series.len() < SERIES_PER_BLOCK as usize {
            let mut chunks = Vec::new();
            loop {
                let (aggregate, ends) = read_aggregate(&mut cursor, 0).map_err(|e| {
                    self.file.corrupt(begin + cursor.offset() as u64, e.to_string())
                })?;
                chunks.push(aggregate.is_some());
                if ends {
                    break;
                }
            }
            series.push(chunks);
        }
        Ok((ordinal - ordinal % SERIES_PER_BLOCK, series))
    }

    /// What each chunk of series `ordinal` comes to, from chunk `skipped` on; `counts` are the
    /// numbers of their values.
    pub(super) fn read(
        &self,
        ordinal: u32,
        skipped: u32,
        counts: &[u32],
    ) -> Result<Vec<Option<Aggregate>>, StorageError> {
        let (begin, mut cursor) = self.entries(ordinal)?;
        let bad = |cursor: &Cursor<'_>, what: String| {
            self.file.corrupt(begin + cursor.offset() as u64, what)
        };
        for _ in 0..ordinal % SERIES_PER_BLOCK {
            while !read_aggregate(&mut cursor, 0).map_err(|e| bad(&cursor, e.to_string()))?.1 {}
        }
        let mut found = Vec::with_capacity(counts.len());
        for chunk in 0..skipped as usize + counts.len() {
            let kept = chunk.checked_sub(skipped as usize);
            let count = kept.map_or(0, |kept| counts[kept]);
            let read = read_aggregate(&mut cursor, count);
            let (aggregate, ends) = read.map_err(|e| bad(&cursor, e.to_string()))?;
            if kept.is_some() {
                found.push(aggregate);
            }
            if ends && found.len() < counts.len() {
                return Err(bad(&cursor, "a series has too few entries".to_owned()));
            }
        }
        Ok(found)
    }
}
