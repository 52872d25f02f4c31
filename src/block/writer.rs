//! Writes a block from series in ascending order of labels.
//!
//! Everything goes to `<blocks>/<ULID>.tmp/`; when all files are synced the directory gets its
//! name, and the name is synced. So a block is there whole or not at all, and what a crash leaves
//! behind is told by its name.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::aggregates::{AGGREGATE_FILE, AggregateWriter};
use super::columns::ColumnWriter;
use super::meta::{META_FILE, Meta};
use super::notes::Notes;
use super::siblings::{Siblings, Spot};
use super::ulid::Ulid;
use super::{CHUNK_FILE, CHUNKS, COLUMN_FILE, INDEX_FILE, TEMPORARY};
use crate::chunk::{Coder, Decimals, SAMPLES_PER_CHUNK_MAX, encode_samples, samples_in_chunk};
use crate::disk::{Disk, StorageError};
use crate::index::units::UnitWriter;
use crate::index::{ChunkRef, IndexWriter};
use crate::model::{Labels, METRIC_NAME, Samples, TimeRange};

/// A dense chunk is made longer while it would have fewer samples than these, at most so often.
const DENSE_SAMPLES_MIN: i64 = 1000;
const WIDENED_MAX: u32 = 4;
/// Samples of one chunk at most: a query that wants few decodes no more than these.
const CHUNK_SAMPLES: usize = 2048;
/// So few samples at the end of a series go into the dense chunk before them: tables of codes cost
/// more than they save there.
const REMAINDER_MAX: usize = 256;

/// The files of a block that is begun.
type Files = (IndexWriter, UnitWriter, ColumnWriter, Option<AggregateWriter>);

/// Writes one block. Memory: five bytes a label, and one series' samples.
#[derive(Debug)]
pub struct BlockWriter {
    disk: Arc<dyn Disk>,
    blocks_dir: PathBuf,
    temporary: PathBuf,
    ulid: Ulid,
    order: Ulid,
    chunk_window_ms: i64,
    coder: Coder,
    siblings: Siblings,
    index: IndexWriter,
    chunks: UnitWriter,
    columns: ColumnWriter,
    /// Kept for what is merged only: for smaller chunks they would take too many bytes.
    aggregates: Option<AggregateWriter>,
    range: Option<TimeRange>,
    samples: u64,
    chunk_count: u64,
    refs: Vec<ChunkRef>,
    payload: Vec<u8>,
    notes: Notes,
    /// Names of metrics so far.
    metrics: BTreeSet<String>,
}

impl BlockWriter {
    /// Begins a block in `blocks_dir` whose samples are not below `min_ms`. Chunks are cut at
    /// multiples of `chunk_window_ms`, so that series with the same times share columns.
    /// `coder` is fast for what is merged soon, dense for what stays.
    pub fn create(
        disk: &Arc<dyn Disk>,
        blocks_dir: &Path,
        ulid: Ulid,
        min_ms: i64,
        chunk_window_ms: i64,
        coder: Coder,
    ) -> Result<Self, StorageError> {
        let temporary = blocks_dir.join(format!("{ulid}{TEMPORARY}"));
        let begun =
            Self::begin(disk, &temporary, (min_ms, chunk_window_ms), coder).inspect_err(|_| {
                let _ = disk.remove_dir_all(&temporary);
            });
        let (index, chunks, columns, aggregates) = begun?;
        Ok(Self {
            disk: Arc::clone(disk),
            blocks_dir: blocks_dir.to_owned(),
            temporary,
            ulid,
            order: ulid,
            chunk_window_ms: chunk_window_ms.max(1),
            coder,
            siblings: Siblings::new(coder),
            index,
            chunks,
            columns,
            aggregates,
            range: None,
            samples: 0,
            chunk_count: 0,
            refs: Vec::new(),
            payload: Vec::new(),
            notes: Notes::default(),
            metrics: BTreeSet::new(),
        })
    }

    fn begin(
        disk: &Arc<dyn Disk>,
        temporary: &Path,
        (min_ms, window_ms): (i64, i64),
        coder: Coder,
    ) -> Result<Files, StorageError> {
        disk.create_dir_all(temporary).map_err(|e| StorageError::io("create", temporary, e))?;
        let disk = &**disk;
        Ok((
            IndexWriter::create(disk, &temporary.join(INDEX_FILE))?,
            UnitWriter::create(disk, &temporary.join(CHUNK_FILE), CHUNKS)?,
            ColumnWriter::create(disk, &temporary.join(COLUMN_FILE), min_ms, window_ms)?,
            match coder {
                Coder::Fast => None,
                Coder::Dense => {
                    Some(AggregateWriter::create(disk, &temporary.join(AGGREGATE_FILE))?)
                }
            },
        ))
    }

    /// Adds a series above all before it; one without samples is left out.
    pub fn add(&mut self, labels: &Labels, samples: &Samples) -> Result<(), StorageError> {
        let times = samples.timestamps.as_slice();
        let (Some(&first), Some(&last)) = (times.first(), times.last()) else { return Ok(()) };
        self.refs.clear();
        self.siblings.begin_series(labels);
        let window_ms = self.window_of(times);
        let mut begin = 0;
        while begin < times.len() {
            let window = times[begin].div_euclid(window_ms);
            let next = window.saturating_add(1).saturating_mul(window_ms);
            let rest = &times[begin..];
            let rows = rest.partition_point(|&t| t < next).clamp(1, SAMPLES_PER_CHUNK_MAX);
            let rows = self.with_remainder(rows, rest.len());
            self.add_window(samples, begin..begin + rows)?;
            begin += rows;
        }
        let metric = labels.get(METRIC_NAME).unwrap_or("");
        if !self.metrics.contains(metric) {
            self.metrics.insert(metric.to_owned());
        }
        self.index.add(labels, &self.refs)?;
        if let Some(aggregates) = &mut self.aggregates {
            aggregates.end_series()?;
        }
        self.chunk_count += self.refs.len() as u64;
        self.samples += times.len() as u64;
        let range = self.range.get_or_insert(TimeRange { min_ms: first, max_ms: last });
        range.min_ms = range.min_ms.min(first);
        range.max_ms = range.max_ms.max(last);
        Ok(())
    }

    /// How long the chunks of a series are: dense ones are made longer while they would have few
    /// samples. The middle of the first steps decides, so that the series of a group agree.
    fn window_of(&self, times: &[i64]) -> i64 {
        const STEPS: usize = 33;
        let mut window_ms = self.chunk_window_ms;
        let mut steps: Vec<i64> =
            times.windows(2).take(STEPS).map(|w| w[1].saturating_sub(w[0])).collect();
        if self.coder == Coder::Fast || steps.is_empty() {
            return window_ms;
        }
        let middle = steps.len() / 2;
        let step_ms = (*steps.select_nth_unstable(middle).1).max(1);
        for _ in 0..WIDENED_MAX {
            if window_ms / step_ms < DENSE_SAMPLES_MIN {
                window_ms = window_ms.saturating_mul(3);
            }
        }
        window_ms
    }

    /// `rows`, or all the `left` where the others are too few for a good chunk of their own.
    fn with_remainder(&self, rows: usize, left: usize) -> usize {
        let is_small = self.coder == Coder::Dense && left - rows < REMAINDER_MAX;
        if is_small && left <= CHUNK_SAMPLES { left } else { rows }
    }

    /// Writes the samples of one window as one chunk, or as several where they are many.
    fn add_window(&mut self, samples: &Samples, window: Range<usize>) -> Result<(), StorageError> {
        let column = self.columns.number(&samples.timestamps[window.clone()])?;
        let mut begin = window.start;
        while begin < window.end {
            let most = begin..window.end.min(begin + CHUNK_SAMPLES);
            let count = samples_in_chunk(samples, most);
            let start = (begin - window.start) as u32;
            let offset = self.chunks.position();
            self.encode(samples, begin..begin + count, Spot { offset, column, start });
            self.chunks.write(&self.payload)?;
            let part = (count != window.len()).then_some((start, count as u32));
            self.refs.push(ChunkRef { offset, len: self.payload.len() as u32, column, part });
            begin += count;
        }
        Ok(())
    }

    /// Writes the payload of the chunk that will lie at `spot`.
    fn encode(&mut self, samples: &Samples, range: Range<usize>, spot: Spot) {
        let values = &samples.values[range.clone()];
        let is_constant = values.iter().all(|value| value.to_bits() == values[0].to_bits());
        let is_plain = samples.is_float_only() && samples.starts_ms.is_empty();
        let is_compared = self.coder == Coder::Dense && is_plain && !is_constant;
        let decimals = if is_compared { Decimals::of(values) } else { None };
        if let Some(aggregates) = &mut self.aggregates {
            aggregates.add(if is_plain { values } else { &[] }, decimals.as_ref());
        }
        if let Some(decimals) = decimals {
            self.siblings.write(&decimals, spot, &mut self.payload);
            return;
        }
        self.payload.clear();
        encode_samples(samples, range, self.coder, &mut self.payload);
    }

    /// Gives the block what belongs to it beside samples; metadata of metrics that it does not have
    /// is left out.
    pub fn set_notes(&mut self, notes: Notes) {
        self.notes = notes;
    }

    /// Number of series so far.
    pub fn series_count(&self) -> usize {
        self.index.series_count()
    }

    /// Gives it a place among blocks other than that of its name; see [`Meta::order`].
    pub fn set_order(&mut self, order: Ulid) {
        self.order = order;
    }

    /// Makes the block durable and gives its description; `None` where it would hold nothing, in
    /// which case nothing is left behind. `parents` are the blocks whose place it takes.
    /// After an error nothing is left behind either, as far as the medium goes along.
    pub fn finish(self, level: u32, parents: Vec<Ulid>) -> Result<Option<Meta>, StorageError> {
        let (disk, temporary) = (Arc::clone(&self.disk), self.temporary.clone());
        self.write_rest(level, parents).inspect_err(|_| {
            // Every try has a name of its own: on a full disk what they leave would pile up.
            let _ = disk.remove_dir_all(&temporary);
        })
    }

    fn write_rest(self, level: u32, parents: Vec<Ulid>) -> Result<Option<Meta>, StorageError> {
        let (disk, temporary) = (self.disk, self.temporary);
        let Some(range) = self.range else {
            remove(&*disk, &temporary)?;
            return Ok(None);
        };
        let meta = Meta {
            ulid: self.ulid,
            range,
            level,
            order: self.order,
            parents,
            series: self.index.series_count() as u64,
            samples: self.samples,
            chunks: self.chunk_count,
            columns: u64::from(self.columns.count()),
        };
        self.chunks.finish()?;
        self.columns.finish()?;
        if let Some(aggregates) = self.aggregates {
            aggregates.finish()?;
        }
        self.index.finish()?;
        let mut notes = self.notes;
        notes.keep_metrics(|name| self.metrics.contains(name));
        notes.write(&*disk, &temporary)?;
        let path = temporary.join(META_FILE);
        let mut file = disk.create(&path).map_err(|e| StorageError::io("create", &path, e))?;
        let append = file.append(meta.to_json().as_bytes());
        append.map_err(|e| StorageError::io("append", &path, e))?;
        file.sync().map_err(|e| StorageError::io("sync", &path, e))?;
        disk.sync_dir(&temporary).map_err(|e| StorageError::io("sync", &temporary, e))?;
        let named = self.blocks_dir.join(meta.ulid.to_string());
        disk.rename(&temporary, &named).map_err(|e| StorageError::io("rename", &named, e))?;
        let blocks_dir = &self.blocks_dir;
        disk.sync_dir(blocks_dir).map_err(|e| StorageError::io("sync", blocks_dir, e))?;
        Ok(Some(meta))
    }

    /// Gives up and removes what was written.
    pub fn abandon(self) -> Result<(), StorageError> {
        let (disk, temporary) = (self.disk, self.temporary);
        remove(&*disk, &temporary)
    }
}

fn remove(disk: &dyn Disk, dir: &Path) -> Result<(), StorageError> {
    disk.remove_dir_all(dir).map_err(|e| StorageError::io("remove", dir, e))
}
