//! Reads a block where it lies.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

use hashbrown::HashMap;
use roaring::RoaringBitmap;

use super::aggregates::{AGGREGATE_FILE, AggregateReader};
use super::cache::ReadCache;
use super::chain::{self, KnownIntegers};
use super::columns::ColumnReader;
use super::lent::Decoded;
use super::meta::Meta;
use super::notes::Notes;
use super::rows::{Kept, Rows};
use super::tombstones::Tombstones;
use super::{CHUNK_FILE, CHUNKS, COLUMN_FILE, INDEX_FILE};
use crate::chunk::{decode_samples, is_extended, may_depend};
use crate::disk::{Disk, StorageError};
use crate::index::units::UnitFile;
use crate::index::{self, ChunkRef, IndexReader, IndexView};
use crate::model::{Labels, Matcher, Samples, TimeRange};

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
    cache: OnceLock<Arc<ReadCache>>,
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
        let (dir, cache) = (dir.to_owned(), OnceLock::new());
        Ok(Self { dir, meta, index, chunks, columns, aggregates, tombstones, cache })
    }

    /// From now on what selections read is looked for in `cache` and kept there; once only.
    pub fn set_cache(&self, cache: Arc<ReadCache>) {
        // A block belongs to one database, which has one cache.
        let _ = self.cache.set(cache);
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
        let cache = self.cache.get();
        let key = cache.map(|_| ReadCache::key(matchers));
        let tombstones = self.tombstones();
        let covers =
            range.min_ms <= self.meta.range.min_ms && range.max_ms >= self.meta.range.max_ms;
        let within = |rows: &Rows| {
            if covers && tombstones.is_empty() {
                return Ok(rows.all());
            }
            rows.within(range, &self.columns, &tombstones)
        };
        let known = cache.zip(key.as_ref());
        if let Some(rows) = known.and_then(|(cache, key)| cache.rows(self.meta.ulid, key)) {
            let kept = within(&rows)?;
            // The rows are the cache's.
            check(size_of_val(&*kept) as u64)?;
            return Ok(Selection::new(self, rows, kept, tombstones));
        }
        let ordinals = self.with_view(|view| index::resolve(view, matchers, &|| check(0)))??;
        let mut rows = Rows::read_chunks(&self.index, &ordinals, check)?;
        let mut kept = within(&rows)?;
        // Labels cost most: those of series that are not wanted now are read where that is cheap,
        // so that the next selection finds all.
        let series = rows.ordinals.len();
        let keeper = cache.filter(|cache| kept.len() * 2 >= series && cache.takes_rows(series));
        if keeper.is_none() && kept.len() < series {
            rows = rows.only(&mut kept);
        }
        rows.read_labels(&self.index, check)?;
        let rows = Arc::new(rows);
        if let (Some(cache), Some(key)) = (keeper, key) {
            cache.keep_rows(self.meta.ulid, key, &rows);
        }
        Ok(Selection::new(self, rows, kept, tombstones))
    }

    /// Numbers of the series that satisfy `matchers` and have, or may have, a sample in `range`
    /// that is not deleted.
    pub fn ordinals(
        self: &Arc<Self>,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<RoaringBitmap, StorageError> {
        let selection = self.select::<StorageError>(matchers, range, &|_| Ok(()))?;
        Ok((0..selection.len()).map(|index| selection.ordinal(index)).collect())
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

    /// Appends the samples of one chunk within `range` to `out`; `times` are those of its column.
    fn read_chunk(
        &self,
        (chunk, times): (ChunkRef, &[i64]),
        range: TimeRange,
        known: &KnownIntegers,
        cache: Option<&ReadCache>,
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
        let kept = self.values((chunk, times), begin..end, known, cache, out)?;
        if let Some(values) = kept {
            push_floats(out, &times[begin..end], &values.numbers()[begin..end]);
        }
        Ok(())
    }

    /// Whether what is read of a chunk is worth keeping: one that is short decodes faster than it
    /// is found, unless it depends on others.
    fn is_worthwhile(&self, chunk: ChunkRef) -> Result<bool, StorageError> {
        Ok(ReadCache::is_worthwhile(chunk.len) || may_depend(self.payload(chunk)?))
    }

    pub(super) fn payload(&self, chunk: ChunkRef) -> Result<&[u8], StorageError> {
        self.chunks.slice(chunk.offset, u64::from(chunk.len))
    }

    /// Values of a chunk of times `times`, at least up to the end of `rows`, where `cache` keeps
    /// them. Else `None`, and the rows are appended to `out`.
    fn values(
        &self,
        (chunk, times): (ChunkRef, &[i64]),
        rows: Range<usize>,
        known: &KnownIntegers,
        cache: Option<&ReadCache>,
        out: &mut Samples,
    ) -> Result<Option<Arc<Decoded>>, StorageError> {
        let cache = match cache {
            Some(cache) if self.is_worthwhile(chunk)? => Some(cache),
            _ => None,
        };
        let mut end = rows.end;
        if let Some(values) = cache.and_then(|cache| cache.values(self.meta.ulid, chunk.offset)) {
            if values.numbers().len() >= end {
                return Ok(Some(values));
            }
            // Who asked for more than last time is going to ask for more again.
            end = times.len();
        }
        let payload = self.payload(chunk)?;
        let Some(cache) = cache.filter(|_| !is_extended(payload)) else {
            self.decode((chunk.offset, payload), times, rows, known, out)?;
            return Ok(None);
        };
        let mut fresh = Samples::default();
        fresh.values.reserve_exact(end);
        self.decode((chunk.offset, payload), times, 0..end, known, &mut fresh)?;
        let values = Arc::new(Decoded::new(fresh.values));
        cache.keep_values(self.meta.ulid, chunk.offset, Arc::clone(&values));
        Ok(Some(values))
    }

    /// Appends the rows `rows` of a chunk of times `times`.
    fn decode(
        &self,
        (offset, payload): (u64, &[u8]),
        times: &[i64],
        rows: Range<usize>,
        known: &KnownIntegers,
        out: &mut Samples,
    ) -> Result<(), StorageError> {
        let at = (offset, payload);
        let n = times.len();
        if chain::read_values(&self.chunks, at, n, rows.clone(), known, &mut out.values)? {
            push_floats(out, &times[rows], &[]);
            return Ok(());
        }
        decode_samples(payload, times, rows, out)
            .map_err(|e| self.chunks.corrupt(offset, e.to_string()))
    }
}

/// Appends samples that are floats, and nobody knows when they began to count.
fn push_floats(out: &mut Samples, times: &[i64], values: &[f64]) {
    out.values.extend_from_slice(values);
    out.timestamps.extend_from_slice(times);
    if !out.starts_ms.is_empty() {
        out.starts_ms.resize(out.timestamps.len(), 0);
    }
}

/// Constants that a selection keeps.
const CONSTANTS_KEPT: usize = 8;
/// Columns that a selection keeps decoded.
const COLUMNS_KEPT: usize = 1024;

/// Series of one block.
#[derive(Debug)]
pub struct Selection {
    pub(super) block: Arc<Block>,
    rows: Arc<Rows>,
    kept: Vec<Kept>,
    pub(super) tombstones: Arc<Tombstones>,
    /// Series of one group are often read one after the other.
    columns: Mutex<HashMap<u32, KnownColumn>>,
    pub(super) known: KnownIntegers,
    /// Which chunks of the series from this one on are known to hold finite values only.
    pub(super) finite: Mutex<(u32, Vec<Vec<bool>>)>,
    /// Constants asked for of late.
    constants: Mutex<Vec<Arc<Decoded>>>,
    /// What is read is kept for the next one; not by whoever walks over the whole block.
    cache: Option<Arc<ReadCache>>,
}

/// A column, and the part of it that was asked for last.
#[derive(Debug, Clone)]
struct KnownColumn {
    times: Arc<[i64]>,
    range: TimeRange,
    within: Range<usize>,
}

impl Selection {
    fn new(
        block: &Arc<Block>,
        rows: Arc<Rows>,
        kept: Vec<Kept>,
        tombstones: Arc<Tombstones>,
    ) -> Self {
        Self {
            block: Arc::clone(block),
            rows,
            kept,
            tombstones,
            columns: Mutex::default(),
            known: KnownIntegers::default(),
            constants: Mutex::default(),
            finite: Mutex::default(),
            cache: block.cache.get().cloned(),
        }
    }

    /// Number of series.
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Labels of series `index`, ascending; panics at `index >= len()`.
    pub fn labels(&self, index: usize) -> &Labels {
        &self.rows.labels[self.kept[index].row as usize]
    }

    /// Number of series `index` in the block.
    pub(super) fn ordinal(&self, index: usize) -> u32 {
        self.rows.ordinals[self.kept[index].row as usize]
    }

    /// How many chunks series `index` has before those selected.
    pub(super) fn skipped(&self, index: usize) -> u32 {
        let kept = self.kept[index];
        kept.first - self.rows.first(kept.row)
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
            match self.read_chunk(chunk, range, out) {
                Err(error @ StorageError::Corrupt { .. }) => damaged(error),
                other => other?,
            }
        }
        self.tombstones.apply(self.ordinal(index), out);
        Ok(())
    }

    /// The chunks of series `index`, ascending by time.
    pub(super) fn chunks_of(&self, index: usize) -> &[ChunkRef] {
        let Kept { first, end, .. } = self.kept[index];
        &self.rows.chunks[first as usize..end as usize]
    }

    /// Appends the samples of one chunk within `range` to `out`.
    pub(super) fn read_chunk(
        &self,
        chunk: ChunkRef,
        range: TimeRange,
        out: &mut Samples,
    ) -> Result<(), StorageError> {
        if !self.block.columns.range(chunk.column)?.overlaps(range) {
            return Ok(());
        }
        let times = self.column(chunk.column)?;
        let cache = self.cache.as_deref();
        self.block.read_chunk((chunk, &times), range, &self.known, cache, out)
    }

    pub(super) fn column(&self, number: u32) -> Result<Arc<[i64]>, StorageError> {
        if let Some(known) = self.columns().get(&number) {
            return Ok(Arc::clone(&known.times));
        }
        Ok(self.column_within(number, TimeRange::ALL)?.0)
    }

    /// The times of a column, and which of them lie within `range`.
    pub(super) fn column_within(
        &self,
        number: u32,
        range: TimeRange,
    ) -> Result<(Arc<[i64]>, Range<usize>), StorageError> {
        let known = match self.columns().get(&number) {
            Some(known) if known.range == range => {
                return Ok((Arc::clone(&known.times), known.within.clone()));
            }
            Some(known) => Some(Arc::clone(&known.times)),
            None => None,
        };
        let times = known.map_or_else(|| self.shared_column(number), Ok)?;
        let begin = times.partition_point(|&t| t < range.min_ms);
        let within = begin..begin + times[begin..].partition_point(|&t| t <= range.max_ms);
        let mut columns = self.columns();
        if columns.len() >= COLUMNS_KEPT {
            columns.clear();
        }
        let entry = KnownColumn { times: Arc::clone(&times), range, within: within.clone() };
        columns.insert(number, entry);
        Ok((times, within))
    }

    fn columns(&self) -> MutexGuard<'_, HashMap<u32, KnownColumn>> {
        self.columns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Values that are all `value`, `count` of them or more: the same for one series after the
    /// other.
    pub(super) fn constant(&self, value: f64, count: usize) -> Arc<Decoded> {
        let mut constants = self.constants.lock().unwrap_or_else(PoisonError::into_inner);
        let is_same = |known: &&Arc<Decoded>| {
            let numbers = known.numbers();
            numbers.len() >= count
                && numbers.first().is_some_and(|first| first.to_bits() == value.to_bits())
        };
        if let Some(known) = constants.iter().find(is_same) {
            return Arc::clone(known);
        }
        let fresh = Arc::new(Decoded::new(vec![value; count]));
        if constants.len() >= CONSTANTS_KEPT {
            constants.remove(0);
        }
        constants.push(Arc::clone(&fresh));
        fresh
    }

    /// Values of a chunk with these times; see [`Block::values`].
    pub(super) fn values(
        &self,
        chunk: ChunkRef,
        times: &[i64],
        rows: Range<usize>,
        out: &mut Samples,
    ) -> Result<Option<Arc<Decoded>>, StorageError> {
        self.block.values((chunk, times), rows, &self.known, self.cache.as_deref(), out)
    }

    pub(super) fn too_short(&self, chunk: ChunkRef) -> StorageError {
        self.block.columns.corrupt(format!("column {} is too short", chunk.column))
    }

    fn shared_column(&self, number: u32) -> Result<Arc<[i64]>, StorageError> {
        let Some(cache) = &self.cache else { return Ok(self.block.columns.read(number)?.into()) };
        let ulid = self.block.meta.ulid;
        if let Some(times) = cache.times(ulid, number) {
            return Ok(times);
        }
        let times: Arc<[i64]> = self.block.columns.read(number)?.into();
        cache.keep_times(ulid, number, Arc::clone(&times));
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
        let index = &self.block.index;
        let stretch = (self.next..end).collect();
        let mut rows = Rows::read_chunks::<StorageError>(index, &stretch, &|_| Ok(()))?;
        rows.read_labels::<StorageError>(index, &|_| Ok(()))?;
        let (kept, tombstones) = (rows.all(), Arc::clone(&self.tombstones));
        let selection = Selection::new(&self.block, Arc::new(rows), kept, tombstones);
        let selection = Selection { cache: None, ..selection };
        self.next = end;
        Ok(Some(selection))
    }
}
