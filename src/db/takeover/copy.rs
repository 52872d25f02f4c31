//! Blocks of a Prometheus, copied into ours.
//!
//! Block by block: each appears whole or not at all, and is remembered when it is there, so an
//! import that was broken off goes on where it was. A copy has the name of what it was copied
//! from; one that is too long for a block of ours becomes several.

use std::path::Path;
use std::sync::Arc;

use super::log::AT_DATA_PATH;
use super::{LogImport, Takeover, lock};
use crate::block::{BlockWriter, Ulid};
use crate::chunk::Coder;
use crate::db::{Database, Event, ROOT, Shared};
use crate::disk::StorageError;
use crate::model::{Labels, Samples, TimeRange};
use crate::prometheus::Block;

/// Longest copy: a block of ours holds times as 32 bits of milliseconds above its first.
const PART_MS: i64 = 31 * 24 * 3_600_000;
/// Attempts at a copy after which deletions wait for it.
const ATTEMPTS: u32 = 3;
/// Series whose labels are held at once.
const SERIES_PER_STRETCH: usize = 1024;

/// How far an import is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImportProgress {
    /// Series of all blocks that are copied, and how many there are to copy.
    Series {
        /// Copied.
        done: u64,
        /// Of so many.
        total: u64,
    },
    /// Segments of the log that are read.
    Segments {
        /// Read.
        done: u64,
        /// Of so many.
        total: u64,
    },
}

/// What an import did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PrometheusImport {
    /// Blocks copied.
    pub blocks: u64,
    /// Blocks that were copied before.
    pub known: u64,
    /// Blocks that do not read and were left out.
    pub unread: u64,
    /// Samples copied out of blocks.
    pub samples: u64,
    /// Damaged places within blocks.
    pub damages: u64,
    /// What came out of the log.
    pub log: LogImport,
}

impl Database {
    /// Copies all data of the Prometheus directory `source`, which may be the data path itself,
    /// into this database. Nothing of it is changed; a Prometheus that runs there is
    /// [`StorageError::Locked`]. What is damaged is told to the observer and left out. An import
    /// that was broken off goes on where it was.
    pub fn import_prometheus(
        &self,
        source: &Path,
        progress: &mut dyn FnMut(ImportProgress),
    ) -> Result<PrometheusImport, StorageError> {
        self.inner.shared.import_prometheus(source, progress)
    }
}

impl Shared {
    fn import_prometheus(
        &self,
        source: &Path,
        progress: &mut dyn FnMut(ImportProgress),
    ) -> Result<PrometheusImport, StorageError> {
        self.check_open()?;
        if source == self.path {
            return self.import_from(&self.takeover, AT_DATA_PATH, progress);
        }
        let observer = &self.options.observer;
        let root = self.path.join(ROOT);
        let other = Takeover::open(&self.disk, source, &root, false, observer)?;
        let imported = self.import_from(&other, &source.to_string_lossy(), progress);
        other.close();
        imported
    }

    fn import_from(
        &self,
        source: &Takeover,
        name: &str,
        progress: &mut dyn FnMut(ImportProgress),
    ) -> Result<PrometheusImport, StorageError> {
        let blocks = source.list();
        let mut import = PrometheusImport {
            known: lock(&source.state).imported.len() as u64,
            unread: source.troubles().len() as u64,
            ..PrometheusImport::default()
        };
        let total = blocks.iter().map(|block| block.meta().series).sum();
        let mut done = 0;
        for block in blocks.iter() {
            let before = done;
            self.copy_block(block, &mut import, &mut |series| {
                done = before + series;
                progress(ImportProgress::Series { done, total });
            })?;
            done = before + block.meta().series;
            self.remember(|state| {
                state.imported.insert(block.meta().ulid);
            })?;
            self.takeover.forget(block.meta().ulid);
            import.blocks += 1;
        }
        progress(ImportProgress::Series { done: total, total });
        import.log = self.import_log(&source.data, name, &mut |done, total| {
            progress(ImportProgress::Segments { done, total });
        })?;
        Ok(import)
    }

    /// Copies a block in as many parts as it needs.
    fn copy_block(
        &self,
        block: &Arc<Block>,
        import: &mut PrometheusImport,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), StorageError> {
        let TimeRange { min_ms, max_ms } = block.meta().range;
        let mut ulid = block.meta().ulid;
        let mut start_ms = min_ms;
        loop {
            let end_ms = start_ms.saturating_add(PART_MS - 1).min(max_ms);
            let part = TimeRange { min_ms: start_ms, max_ms: end_ms };
            let is_there = self.blocks.list().iter().any(|own| own.meta().ulid == ulid);
            if !is_there {
                self.copy_part(block, ulid, part, import, progress)?;
            }
            if end_ms == max_ms {
                return Ok(());
            }
            start_ms = end_ms + 1;
            ulid = ulid.next();
        }
    }

    /// Copies a part. Where something is deleted from the block meanwhile it is done again; from
    /// the third time on deletions wait.
    fn copy_part(
        &self,
        block: &Arc<Block>,
        ulid: Ulid,
        part: TimeRange,
        import: &mut PrometheusImport,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), StorageError> {
        for attempt in 1.. {
            let still = (attempt >= ATTEMPTS).then(|| self.moving_lock());
            let hidden = block.tombstones();
            let before = *import;
            let writer = self.write_copy(block, ulid, part, import, progress)?;
            let _still = still.unwrap_or_else(|| self.moving_lock());
            if *block.tombstones() != *hidden {
                writer.abandon()?;
                *import = before;
                continue;
            }
            return match writer.finish(block.meta().level, Vec::new())? {
                Some(meta) => self.blocks.publish(&meta),
                None => Ok(()),
            };
        }
        unreachable!("BUG: the loop has no end")
    }

    fn write_copy(
        &self,
        block: &Arc<Block>,
        ulid: Ulid,
        part: TimeRange,
        import: &mut PrometheusImport,
        progress: &mut dyn FnMut(u64),
    ) -> Result<BlockWriter, StorageError> {
        let window_ms = self.options.block_duration_min_ms;
        let dir = self.blocks.dir();
        let (min_ms, coder) = (part.min_ms, Coder::Dense);
        let mut writer = BlockWriter::create(&self.disk, dir, ulid, min_ms, window_ms, coder)?;
        let copied = self.copy_series(block, part, import, progress, &mut |labels, samples| {
            writer.add(labels, samples)
        });
        if let Err(error) = copied {
            // The first error is the one to tell; what stays is swept away at the next start.
            let _ = writer.abandon();
            return Err(error);
        }
        Ok(writer)
    }

    fn copy_series(
        &self,
        block: &Arc<Block>,
        part: TimeRange,
        import: &mut PrometheusImport,
        progress: &mut dyn FnMut(u64),
        add: &mut dyn FnMut(&Labels, &Samples) -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        let numbers: Vec<u32> = block.resolve(&[])?.iter().collect();
        let check = |_| self.check_open();
        let observer = &self.options.observer;
        let mut samples = Samples::default();
        let mut last: Option<Labels> = None;
        let mut done = 0;
        for stretch in numbers.chunks(SERIES_PER_STRETCH) {
            let damages = &mut import.damages;
            let mut damaged = |error: StorageError| {
                *damages += 1;
                observer.event(&Event::Warning(format!("{error}; it is not copied")));
            };
            let numbers = stretch.iter().copied();
            let selection = block.select_numbers(numbers, part, &check, &mut damaged)?;
            for index in 0..selection.len() {
                let labels = selection.labels(index);
                if last.as_ref().is_some_and(|last| last >= labels) {
                    let what = format!("series {labels} is out of order");
                    damaged(StorageError::corrupt(block.dir(), 0, what));
                    continue;
                }
                selection.read(index, part, &mut samples, &mut damaged)?;
                add(labels, &samples)?;
                import.samples += samples.len() as u64;
                last = Some(labels.clone());
            }
            done += stretch.len() as u64;
            progress(done);
        }
        Ok(())
    }
}
