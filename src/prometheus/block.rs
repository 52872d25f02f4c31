//! A block of Prometheus, read where it lies.
//!
//! Nothing of it is ever written. What we are asked to delete from it is kept elsewhere and handed
//! over with [`Block::set_tombstones`].

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use roaring::RoaringBitmap;

use super::index::{ChunkRow, INDEX_FILE, IndexFile, View};
use super::meta::BlockMeta;
use super::segments::{CHUNKS_DIR, Segments};
use super::tombstones::{TOMBSTONES_FILE, Tombstones};
use crate::disk::{Disk, StorageError};
use crate::model::{Labels, Matcher, Samples, TimeRange};
use crate::{block, index};

/// How many series are looked at between two looks at whether anybody waits.
const SERIES_PER_CHECK: u32 = 256;
/// What a selected series takes besides labels and chunks.
const SERIES_BYTES: usize = size_of::<Selected>();

/// An open block.
#[derive(Debug)]
pub struct Block {
    dir: PathBuf,
    meta: BlockMeta,
    index: IndexFile,
    segments: Segments,
    stones: Tombstones,
    /// What we were asked to delete.
    hidden: RwLock<Arc<block::Tombstones>>,
}

impl Block {
    /// Opens the block in `dir`.
    pub fn open(disk: &dyn Disk, dir: &Path) -> Result<Self, StorageError> {
        Ok(Self {
            dir: dir.to_owned(),
            meta: BlockMeta::read(disk, dir)?,
            index: IndexFile::open(disk, &dir.join(INDEX_FILE))?,
            segments: Segments::open(disk, &dir.join(CHUNKS_DIR))?,
            stones: Tombstones::read(disk, &dir.join(TOMBSTONES_FILE))?,
            hidden: RwLock::default(),
        })
    }

    /// Its description.
    pub fn meta(&self) -> &BlockMeta {
        &self.meta
    }

    /// Where it lies.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Bytes of the index file.
    pub fn index_bytes(&self) -> u64 {
        self.index.file_len()
    }

    /// Bytes of the chunks.
    pub fn chunk_bytes(&self) -> u64 {
        self.segments.len()
    }

    /// Selections that begin from now on leave out what `tombstones` hide, beside what the block
    /// itself hides. The caller keeps them for the next start.
    pub fn set_tombstones(&self, tombstones: Arc<block::Tombstones>) {
        *self.hidden.write().unwrap_or_else(PoisonError::into_inner) = tombstones;
    }

    /// What was set by [`Block::set_tombstones`].
    pub fn tombstones(&self) -> Arc<block::Tombstones> {
        Arc::clone(&self.hidden.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Numbers of the series that satisfy `matchers` and have, or may have, a sample in `range`.
    pub fn numbers(
        self: &Arc<Self>,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<RoaringBitmap, StorageError> {
        let mut damage = None;
        let selection = self.select(matchers, range, &|_| Ok(()), &mut |error| {
            damage.get_or_insert(error);
        })?;
        let numbers = selection.series.iter().map(|series| series.number).collect();
        damage.map_or(Ok(numbers), Err)
    }

    /// Numbers of the series that satisfy `matchers`, ascending as their labels do.
    pub fn resolve(&self, matchers: &[Matcher]) -> Result<RoaringBitmap, StorageError> {
        let never = || Ok::<(), StorageError>(());
        self.with_view(|view| index::resolve(view, matchers, &never))?
    }

    /// The series that satisfy `matchers` and have, or may have, a sample in `range`, in
    /// ascending order of labels. `check` is called now and then; its error ends the work. A
    /// damaged entry of a series is told to `damaged` and left out.
    pub fn select<E: From<StorageError>>(
        self: &Arc<Self>,
        matchers: &[Matcher],
        range: TimeRange,
        check: &dyn Fn(u64) -> Result<(), E>,
        damaged: &mut dyn FnMut(StorageError),
    ) -> Result<Selection, E> {
        let numbers = self.with_view(|view| index::resolve(view, matchers, &|| check(0)))??;
        self.select_numbers(numbers.iter(), range, check, damaged)
    }

    /// The same for series given by their numbers, ascending.
    pub fn select_numbers<E: From<StorageError>>(
        self: &Arc<Self>,
        numbers: impl Iterator<Item = u32>,
        range: TimeRange,
        check: &dyn Fn(u64) -> Result<(), E>,
        damaged: &mut dyn FnMut(StorageError),
    ) -> Result<Selection, E> {
        let mut rows = self.index.rows();
        let mut selection = Selection::new(self);
        let mut bytes = 0;
        for (i, number) in (0_u32..).zip(numbers) {
            if i.is_multiple_of(SERIES_PER_CHECK) {
                check(bytes)?;
            }
            let read = rows.read(number).and_then(|()| {
                let wanted = rows.chunks().iter().filter(|chunk| chunk.range.overlaps(range));
                let wanted: Vec<ChunkRow> = wanted.copied().collect();
                if !wanted.is_empty() {
                    let labels = rows.labels()?;
                    let chunks = size_of_val(wanted.as_slice());
                    bytes += (SERIES_BYTES + labels.as_bytes().len() + chunks) as u64;
                    selection.push(number, labels, &wanted);
                }
                Ok(())
            });
            match read {
                Err(error @ StorageError::Corrupt { .. }) => damaged(error),
                other => other?,
            }
        }
        check(bytes)?;
        selection.sort();
        Ok(selection)
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

    fn with_view<T>(&self, read: impl FnOnce(&View<'_>) -> T) -> Result<T, StorageError> {
        let view = self.index.view();
        let answer = read(&view);
        view.finish()?;
        Ok(answer)
    }
}

/// Series of one block.
#[derive(Debug)]
pub struct Selection {
    block: Arc<Block>,
    hidden: Arc<block::Tombstones>,
    series: Vec<Selected>,
    chunks: Vec<ChunkRow>,
}

#[derive(Debug)]
struct Selected {
    labels: Labels,
    number: u32,
    /// Place of its chunks.
    chunks: (usize, usize),
}

impl Selection {
    fn new(block: &Arc<Block>) -> Self {
        let hidden = block.tombstones();
        Self { block: Arc::clone(block), hidden, series: Vec::new(), chunks: Vec::new() }
    }

    fn push(&mut self, number: u32, labels: Labels, chunks: &[ChunkRow]) {
        let begin = self.chunks.len();
        self.chunks.extend_from_slice(chunks);
        self.series.push(Selected { labels, number, chunks: (begin, self.chunks.len()) });
    }

    /// Series stand in the order of labels already, unless their texts had to be mended.
    fn sort(&mut self) {
        if !self.series.is_sorted_by(|a, b| a.labels < b.labels) {
            self.series.sort_by(|a, b| a.labels.cmp(&b.labels));
            self.series.dedup_by(|b, a| a.labels == b.labels);
        }
    }

    /// Number of series.
    pub fn len(&self) -> usize {
        self.series.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// Labels of series `index`, ascending; panics at `index >= len()`.
    pub fn labels(&self, index: usize) -> &Labels {
        &self.series[index].labels
    }

    /// Replaces the content of `out` by the samples of series `index` within `range`, times
    /// strictly ascending. A damaged chunk is told to `damaged` and left out; a medium that does
    /// not read is an error.
    pub fn read(
        &self,
        index: usize,
        range: TimeRange,
        out: &mut Samples,
        damaged: &mut dyn FnMut(StorageError),
    ) -> Result<(), StorageError> {
        out.clear();
        let Selected { number, chunks: (begin, end), .. } = self.series[index];
        let mut is_disordered = false;
        for chunk in &self.chunks[begin..end] {
            if !chunk.range.overlaps(range) {
                continue;
            }
            let before = out.len();
            match self.block.segments.read(chunk.reference, out) {
                Err(error @ StorageError::Corrupt { .. }) => damaged(error),
                other => other?,
            }
            let seam = before.checked_sub(1).and_then(|i| out.timestamps.get(i..i + 2));
            is_disordered |= seam.is_some_and(|times| times[0] >= times[1]);
        }
        if is_disordered {
            *out = in_order(out);
        }
        let (own, ours) = (self.block.stones.of(number), self.hidden.of(number));
        let is_whole = out.timestamps.first().is_some_and(|&first| first >= range.min_ms)
            && out.timestamps.last().is_some_and(|&last| last <= range.max_ms);
        if !is_whole || !own.is_empty() || !ours.is_empty() {
            out.retain(|t_ms| {
                range.contains(t_ms) && !own.iter().chain(&ours).any(|hidden| hidden.contains(t_ms))
            });
        }
        Ok(())
    }
}

/// Samples of chunks that overlap; of several at one time the first stays.
fn in_order(samples: &Samples) -> Samples {
    let mut order: Vec<usize> = (0..samples.len()).collect();
    order.sort_by_key(|&i| samples.timestamps[i]);
    order.dedup_by_key(|i| samples.timestamps[*i]);
    let mut sorted = Samples::default();
    for i in order {
        sorted.extend_from(samples, i..i + 1);
    }
    sorted
}
