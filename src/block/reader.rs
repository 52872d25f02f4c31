//! Reads a block where it lies.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use hashbrown::HashMap;
use roaring::RoaringBitmap;

use super::aggregates::{AGGREGATE_FILE, AggregateReader};
use super::chain::{self, KnownIntegers};
use super::columns::ColumnReader;
use super::meta::Meta;
use super::notes::Notes;
use super::tombstones::Tombstones;
use super::{CHUNK_FILE, CHUNKS, COLUMN_FILE, INDEX_FILE};
use crate::chunk::decode_samples;
use crate::disk::{Disk, StorageError};
use crate::index::units::UnitFile;
use crate::index::{self, ChunkRef, IndexReader, IndexView};
use crate::model::{Labels, Matcher, Samples, TimeRange};

/// How many series are looked at between two looks at whether anybody waits.
const SERIES_PER_CHECK: u32 = 256;

/// An open block.
#[derive(Debug)]
pub struct Block {
    dir: PathBuf,
    meta: Meta,
    index: IndexReader,
    pub(super) chunks: UnitFile,
    pub(super) columns: ColumnReader,
    pub(super) aggregates: Option<AggregateReader>,
    tombstones: RwLock<Arc<Tombstones>>,
}

impl Block {
    /// Opens the block in `dir`: reads its description and the frames of its files.
    pub fn open(disk: &dyn Disk, dir: &Path) -> Result<Self, StorageError> {
        let meta = Meta::read(disk, dir)?;
        let index = IndexReader::open(disk, &dir.join(INDEX_FILE))?;
        let chunks = UnitFile::open(disk, &dir.join(CHUNK_FILE), CHUNKS)?;
        let columns = ColumnReader::open(disk, &dir.join(COLUMN_FILE))?;
        if u64::from(index.series_count()) != meta.series {
            let what = format!("{} series in the index", index.series_count());
            return Err(StorageError::corrupt(dir, 0, what));
        }
        let aggregate_file = dir.join(AGGREGATE_FILE);
        let aggregates = AggregateReader::open(disk, &aggregate_file, index.series_count());
        let tombstones = RwLock::default();
        Ok(Self { dir: dir.to_owned(), meta, index, chunks, columns, aggregates, tombstones })
    }

    /// What is deleted from it.
    pub fn tombstones(&self) -> Arc<Tombstones> {
        Arc::clone(&self.tombstones.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Selections and scans that begin from now on leave out what `tombstones` hide. The caller
    /// keeps them for the next start.
    pub fn set_tombstones(&self, tombstones: Arc<Tombstones>) {
        *self.tombstones.write().unwrap_or_else(PoisonError::into_inner) = tombstones;
    }

    /// Its description.
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// Where it lies.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What belongs to the block beside samples; read from `disk` anew each time.
    pub fn notes(&self, disk: &dyn Disk) -> Result<Notes, StorageError> {
        Notes::read(disk, &self.dir)
    }

    /// Bytes of the index file.
    pub fn index_bytes(&self) -> u64 {
        self.index.file_len()
    }

    /// Bytes of values, timestamps and aggregates.
    pub fn chunk_bytes(&self) -> u64 {
        let aggregates = self.aggregates.as_ref().map_or(0, AggregateReader::file_len);
        self.chunks.file_len() + self.columns.file_len() + aggregates
    }

    /// Bytes of all that counts.
    pub fn bytes(&self) -> u64 {
        self.index_bytes() + self.chunk_bytes()
    }

    /// The series that satisfy `matchers` and have, or may have, a sample in `range`, in
    /// ascending order of labels. `check` is called now and then with the bytes that the selection
    /// takes by then; its error ends the work.
    pub fn select<E: From<StorageError>>(
        self: &Arc<Self>,
        matchers: &[Matcher],
        range: TimeRange,
        check: &dyn Fn(u64) -> Result<(), E>,
    ) -> Result<Selection, E> {
        let ordinals = self.with_view(|view| index::resolve(view, matchers, &|| check(0)))??;
        let mut bytes = 0;
        let mut rows = self.index.rows();
        let mut selection = Selection::new(self);
        let is_all =
            range.min_ms <= self.meta.range.min_ms && range.max_ms >= self.meta.range.max_ms;
        for (i, ordinal) in (0_u32..).zip(&ordinals) {
            if i.is_multiple_of(SERIES_PER_CHECK) {
                check(bytes)?;
            }
            let hidden = selection.tombstones.of(ordinal);
            let before = selection.chunks.len();
            let mut skipped = 0;
            for &chunk in rows.chunks(ordinal)? {
                let is_wanted = is_all && hidden.is_empty() || {
                    let own = self.columns.range(chunk.column)?;
                    let is_gone = |h: &TimeRange| h.contains(own.min_ms) && h.contains(own.max_ms);
                    own.overlaps(range) && !hidden.iter().any(is_gone)
                };
                if is_wanted {
                    selection.chunks.push(chunk);
                } else if selection.chunks.len() == before {
                    skipped += 1;
                }
            }
            if selection.chunks.len() > before {
                let labels = rows.labels(ordinal)?;
                let chunks = size_of_val(&selection.chunks[before..]);
                bytes += (SERIES_BYTES + labels.as_bytes().len() + chunks) as u64;
                selection.end_series(ordinal, skipped, labels);
            }
        }
        check(bytes)?;
        Ok(selection)
    }

    /// Numbers of the series that satisfy `matchers` and have, or may have, a sample in `range`
    /// that is not deleted.
    pub fn ordinals(
        self: &Arc<Self>,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<RoaringBitmap, StorageError> {
        let selection = self.select::<StorageError>(matchers, range, &|_| Ok(()))?;
        Ok(selection.ordinals.into_iter().collect())
    }

    /// Names of all labels of the series that satisfy `matchers`, sorted. `check` is called now
    /// and then; its error ends the work.
    pub fn label_names<E: From<StorageError>>(
        &self,
        matchers: &[Matcher],
        check: &dyn Fn() -> Result<(), E>,
    ) -> Result<Vec<String>, E> {
        self.with_view(|view| index::label_names(view, matchers, check))?
    }

    /// Values of label `name`, likewise.
    pub fn label_values<E: From<StorageError>>(
        &self,
        name: &str,
        matchers: &[Matcher],
        check: &dyn Fn() -> Result<(), E>,
    ) -> Result<Vec<String>, E> {
        self.with_view(|view| index::label_values(view, name, matchers, check))?
    }

    /// Walks over the whole block in ascending order of labels; for merging.
    pub fn scan(self: &Arc<Self>) -> Scan {
        Scan { block: Arc::clone(self), next: 0, tombstones: self.tombstones() }
    }

    fn with_view<T>(&self, read: impl FnOnce(&IndexView<'_>) -> T) -> Result<T, StorageError> {
        let view = self.index.view();
        let answer = read(&view);
        view.finish()?;
        Ok(answer)
    }

    /// Appends the samples of one chunk within `range` to `out`.
    pub(super) fn read_chunk(
        &self,
        chunk: ChunkRef,
        times: &[i64],
        range: TimeRange,
        known: &KnownIntegers,
        out: &mut Samples,
    ) -> Result<(), StorageError> {
        let (start, count) = chunk.part.unwrap_or((0, times.len() as u32));
        let part = (start as usize)
            .checked_add(count as usize)
            .and_then(|end| times.get(start as usize..end));
        let Some(times) = part else {
            return Err(self.columns.corrupt(format!("column {} is too short", chunk.column)));
        };
        let begin = times.partition_point(|&t| t < range.min_ms);
        let end = times.partition_point(|&t| t <= range.max_ms);
        if begin >= end {
            return Ok(());
        }
        if out.timestamps.last().is_some_and(|last| *last >= times[begin]) {
            return Err(self.chunks.corrupt(chunk.offset, "chunks of a series overlap"));
        }
        let payload = self.chunks.slice(chunk.offset, u64::from(chunk.len))?;
        let (n, rows) = (times.len(), begin..end);
        let at = (chunk.offset, payload);
        if chain::read_values(&self.chunks, at, n, rows.clone(), known, &mut out.values)? {
            out.timestamps.extend_from_slice(&times[rows]);
            if !out.starts_ms.is_empty() {
                out.starts_ms.resize(out.timestamps.len(), 0);
            }
            return Ok(());
        }
        decode_samples(payload, times, rows, out)
            .map_err(|e| self.chunks.corrupt(chunk.offset, e.to_string()))
    }
}

/// What a selected series takes besides labels and chunks.
const SERIES_BYTES: usize = size_of::<Labels>() + 2 * size_of::<u32>() + size_of::<usize>();

/// Columns that a selection keeps decoded.
const COLUMNS_KEPT: usize = 1024;

/// Series of one block.
#[derive(Debug)]
pub struct Selection {
    pub(super) block: Arc<Block>,
    labels: Vec<Labels>,
    chunks: Vec<ChunkRef>,
    ends: Vec<usize>,
    pub(super) ordinals: Vec<u32>,
    /// How many chunks each series has before those selected.
    pub(super) skipped: Vec<u32>,
    pub(super) tombstones: Arc<Tombstones>,
    /// Series of one group are often read one after the other.
    columns: Mutex<HashMap<u32, Arc<[i64]>>>,
    pub(super) known: KnownIntegers,
}

impl Selection {
    fn new(block: &Arc<Block>) -> Self {
        Self {
            block: Arc::clone(block),
            labels: Vec::new(),
            chunks: Vec::new(),
            ends: Vec::new(),
            ordinals: Vec::new(),
            skipped: Vec::new(),
            tombstones: block.tombstones(),
            columns: Mutex::default(),
            known: KnownIntegers::default(),
        }
    }

    /// The chunks added last are those of this series.
    fn end_series(&mut self, ordinal: u32, skipped: u32, labels: Labels) {
        self.skipped.push(skipped);
        self.labels.push(labels);
        self.ends.push(self.chunks.len());
        self.ordinals.push(ordinal);
    }

    /// Number of series.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Labels of series `index`, ascending; panics at `index >= len()`.
    pub fn labels(&self, index: usize) -> &Labels {
        &self.labels[index]
    }

    /// The block.
    pub fn block(&self) -> &Arc<Block> {
        &self.block
    }

    /// Replaces the content of `out` by the samples of series `index` within `range`, times
    /// strictly ascending, deleted ones left out. A damaged chunk is told to `damaged` and left
    /// out; a medium that does not read is an error.
    pub fn read(
        &self,
        index: usize,
        range: TimeRange,
        out: &mut Samples,
        damaged: &mut dyn FnMut(StorageError),
    ) -> Result<(), StorageError> {
        out.clear();
        for &chunk in self.chunks_of(index) {
            let read = self
                .column(chunk.column)
                .and_then(|times| self.block.read_chunk(chunk, &times, range, &self.known, out));
            match read {
                Err(error @ StorageError::Corrupt { .. }) => damaged(error),
                other => other?,
            }
        }
        self.tombstones.apply(self.ordinals[index], out);
        Ok(())
    }

    /// The chunks of series `index`, ascending by time.
    pub(super) fn chunks_of(&self, index: usize) -> &[ChunkRef] {
        let begin = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.chunks[begin..self.ends[index]]
    }

    pub(super) fn column(&self, number: u32) -> Result<Arc<[i64]>, StorageError> {
        let known = |columns: &Mutex<HashMap<u32, Arc<[i64]>>>| {
            let columns = columns.lock().unwrap_or_else(PoisonError::into_inner);
            columns.get(&number).cloned()
        };
        if let Some(times) = known(&self.columns) {
            return Ok(times);
        }
        let times: Arc<[i64]> = self.block.columns.read(number)?.into();
        let mut columns = self.columns.lock().unwrap_or_else(PoisonError::into_inner);
        if columns.len() >= COLUMNS_KEPT {
            columns.clear();
        }
        columns.insert(number, Arc::clone(&times));
        Ok(times)
    }
}

/// Walks over a block, a stretch of series at a time.
#[derive(Debug)]
pub struct Scan {
    block: Arc<Block>,
    next: u32,
    tombstones: Arc<Tombstones>,
}

impl Scan {
    /// What was deleted from the block when the walk began; it leaves that out.
    pub fn tombstones(&self) -> &Arc<Tombstones> {
        &self.tombstones
    }
}

impl Scan {
    /// The next stretch of at most `series_max` series; `None` at the end. Damage in the index is
    /// an error: a merge must not lose what another reader might still find.
    pub fn next_stretch(&mut self, series_max: u32) -> Result<Option<Selection>, StorageError> {
        let end = self.next.saturating_add(series_max).min(self.block.index.series_count());
        if self.next == end {
            return Ok(None);
        }
        let mut rows = self.block.index.rows();
        let mut selection = Selection::new(&self.block);
        selection.tombstones = Arc::clone(&self.tombstones);
        for ordinal in self.next..end {
            selection.chunks.extend_from_slice(rows.chunks(ordinal)?);
            selection.end_series(ordinal, 0, rows.labels(ordinal)?);
        }
        self.next = end;
        Ok(Some(selection))
    }
}
