//! Writes a block that Prometheus, promtool and Thanos open.
//!
//! Everything goes to `<dir>/<ULID>.tmp-for-creation/`, a name that Prometheus sweeps away when it
//! finds one; when all files are synced the directory gets its name, and the name is synced. So a
//! block is there whole or not at all. Start timestamps are not written: the encodings that have
//! them are an experiment that few readers know.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::chunk::{Encoding, FLOATS_PER_CHUNK, encode_floats, encode_histograms};
use super::index::{ChunkRow, INDEX_FILE, IndexWriter};
use super::meta::{BlockMeta, META_FILE};
use super::segments::{CHUNKS_DIR, SegmentWriter};
use super::tombstones::{TOMBSTONES_FILE, Tombstones};
use crate::block::Ulid;
use crate::disk::{Disk, StorageError};
use crate::model::{Histogram, Labels, Samples, TimeRange};

/// End of the name of a directory that is being written.
pub const UNFINISHED: &str = ".tmp-for-creation";

/// Writes one block. Memory: see [`IndexWriter`], and one series' samples.
#[derive(Debug)]
pub struct BlockWriter {
    disk: Arc<dyn Disk>,
    parent: PathBuf,
    temporary: PathBuf,
    index: IndexWriter,
    segments: SegmentWriter,
    meta: BlockMeta,
    rows: Vec<ChunkRow>,
    payload: Vec<u8>,
}

impl BlockWriter {
    /// Begins the block `ulid` in `parent`, which covers `range` whole.
    pub fn create(
        disk: &Arc<dyn Disk>,
        parent: &Path,
        ulid: Ulid,
        range: TimeRange,
    ) -> Result<Self, StorageError> {
        let temporary = parent.join(format!("{ulid}{UNFINISHED}"));
        let chunks = temporary.join(CHUNKS_DIR);
        disk.create_dir_all(&chunks).map_err(|e| StorageError::io("create", &chunks, e))?;
        let mut meta = BlockMeta::new(ulid, range);
        meta.sources.push(ulid);
        Ok(Self {
            disk: Arc::clone(disk),
            parent: parent.to_owned(),
            temporary,
            index: IndexWriter::new(),
            segments: SegmentWriter::new(&chunks),
            meta,
            rows: Vec::new(),
            payload: Vec::new(),
        })
    }

    /// Adds a series above all before it, with samples within the block's range; one without
    /// samples is left out.
    pub fn add(&mut self, labels: &Labels, samples: &Samples) -> Result<(), StorageError> {
        if samples.is_empty() {
            return Ok(());
        }
        self.rows.clear();
        let mut histograms = samples.histograms.as_slice();
        let mut begin = 0;
        while begin < samples.len() {
            // Floats up to the next histogram, or histograms up to the next float.
            let first = histograms.first().map_or(samples.len(), |entry| entry.0 as usize);
            if begin < first {
                self.add_floats(&samples.timestamps[begin..first], &samples.values[begin..first])?;
                begin = first;
                continue;
            }
            let run = (0..histograms.len()).take_while(|&i| histograms[i].0 as usize == begin + i);
            let (run, rest) = histograms.split_at(run.count());
            let run: Vec<Arc<Histogram>> = run.iter().map(|(_, h)| Arc::clone(h)).collect();
            self.add_histograms(&samples.timestamps[begin..begin + run.len()], &run)?;
            begin += run.len();
            histograms = rest;
        }
        self.index.add(labels, &self.rows);
        self.meta.samples += samples.len() as u64;
        self.meta.histogram_samples += samples.histograms.len() as u64;
        self.meta.chunks += self.rows.len() as u64;
        Ok(())
    }

    fn add_floats(&mut self, timestamps: &[i64], values: &[f64]) -> Result<(), StorageError> {
        let chunks = timestamps.chunks(FLOATS_PER_CHUNK).zip(values.chunks(FLOATS_PER_CHUNK));
        for (timestamps, values) in chunks {
            self.payload.clear();
            encode_floats(timestamps, values, &mut self.payload);
            let (min_ms, max_ms) = (timestamps[0], timestamps[timestamps.len() - 1]);
            let range = TimeRange { min_ms, max_ms };
            let reference = self.segments.write(&*self.disk, Encoding::Xor, &self.payload)?;
            self.rows.push(ChunkRow { reference, range });
        }
        Ok(())
    }

    fn add_histograms(
        &mut self,
        timestamps: &[i64],
        histograms: &[Arc<Histogram>],
    ) -> Result<(), StorageError> {
        let Self { disk, segments, rows, .. } = self;
        encode_histograms(timestamps, histograms, &mut |encoding, range, payload| {
            let reference = segments.write(&**disk, encoding, payload)?;
            rows.push(ChunkRow { reference, range });
            Ok(())
        })
    }

    /// Makes the block durable and gives its description; `None` where it would hold nothing, in
    /// which case nothing is left behind. After an error nothing is left behind either, as far as
    /// the medium goes along.
    pub fn finish(self) -> Result<Option<BlockMeta>, StorageError> {
        let (disk, temporary) = (Arc::clone(&self.disk), self.temporary.clone());
        self.write_rest().inspect_err(|_| {
            let _ = disk.remove_dir_all(&temporary);
        })
    }

    fn write_rest(mut self) -> Result<Option<BlockMeta>, StorageError> {
        let temporary = self.temporary.clone();
        let disk = Arc::clone(&self.disk);
        self.meta.series = self.index.series_count();
        if self.meta.series == 0 {
            self.abandon()?;
            return Ok(None);
        }
        self.meta.float_samples = self.meta.samples - self.meta.histogram_samples;
        self.segments.finish()?;
        self.index.finish(&*disk, &temporary.join(INDEX_FILE))?;
        let stones = Tombstones::default().encode();
        write_file(&*disk, &temporary.join(TOMBSTONES_FILE), &stones)?;
        write_file(&*disk, &temporary.join(META_FILE), self.meta.to_json().as_bytes())?;
        let sync = |dir: &Path| disk.sync_dir(dir).map_err(|e| StorageError::io("sync", dir, e));
        sync(&temporary.join(CHUNKS_DIR))?;
        sync(&temporary)?;
        let named = self.parent.join(self.meta.ulid.to_string());
        disk.rename(&temporary, &named).map_err(|e| StorageError::io("rename", &named, e))?;
        sync(&self.parent)?;
        Ok(Some(self.meta))
    }

    /// Gives up and removes what was written.
    pub fn abandon(self) -> Result<(), StorageError> {
        let (disk, dir) = (self.disk, self.temporary);
        disk.remove_dir_all(&dir).map_err(|e| StorageError::io("remove", &dir, e))
    }
}

fn write_file(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> Result<(), StorageError> {
    let mut file = disk.create(path).map_err(|e| StorageError::io("create", path, e))?;
    file.append(bytes).map_err(|e| StorageError::io("append", path, e))?;
    file.sync().map_err(|e| StorageError::io("sync", path, e))
}
