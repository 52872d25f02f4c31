//! Figures about a database: what it holds, what it did, where the cardinality lies.

use std::path::PathBuf;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use super::{Shared, Shelved};
use crate::head::{ExemplarStats, HeadStats, TopLabels};
use crate::model::TimeRange;

/// What a database holds at one moment, and what it did since it was opened.
#[derive(Debug, Clone, Default)]
pub struct Stats {
    /// Series in the head.
    pub head_series: usize,
    /// Distinct label pairs in the head.
    pub head_label_pairs: usize,
    /// Sealed chunks in the head's files.
    pub head_chunks: usize,
    /// Oldest and newest time in the head; `None` while it is empty.
    pub head_range: Option<TimeRange>,
    /// Bytes of the log.
    pub wal_bytes: u64,
    /// Bytes of the head's files.
    pub head_file_bytes: u64,
    /// One entry for each block served, ascending by time.
    pub blocks: Vec<BlockStats>,
    /// Blocks of Prometheus that are past retention: they stay, and are not served.
    pub shelved: Shelved,
    /// The head's own figures.
    pub head: HeadStats,
    /// Figures of the exemplars.
    pub exemplars: ExemplarStats,
    /// Whether the process before this one closed the directory, or none was there before.
    pub clean_start: bool,
    /// Blocks that are not served, blocks and head files in which damage was found, and why.
    pub quarantined: Vec<(PathBuf, String)>,
    /// Why no commit is taken at the moment, if none is: a full disk, or one that refuses writes.
    pub unwritable: Option<String>,
    /// Bytes of damaged files in `quarantine/`.
    pub quarantine_bytes: u64,
    /// Bytes on the disk that are kept for making room when it is full; 0 while they are given up.
    pub disk_reserve_bytes: u64,
    /// Samples accepted.
    pub samples_appended: u64,
    /// Series created.
    pub series_created: u64,
    /// Series that left the head.
    pub series_removed: u64,
    /// Flushes of a head window.
    pub flushes: u64,
    /// Compactions of blocks.
    pub compactions: u64,
    /// Steps of maintenance that failed.
    pub maintenance_failures: u64,
    /// Snapshots below the data directory, and their bytes: those that they share with blocks
    /// included, and none of them counted in retention.
    pub snapshots: u64,
    /// See [`Stats::snapshots`].
    pub snapshot_bytes: u64,
    /// Blocks removed by retention.
    pub blocks_expired: u64,
    /// Blocks removed because all together took too many bytes.
    pub blocks_oversized: u64,
    /// Bytes that count towards the limit of size: blocks, log, checkpoints, head files, and
    /// blocks that were exported.
    pub stored_bytes: u64,
}

/// One block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockStats {
    /// Its name, a ULID.
    pub name: String,
    /// What it covers, by its first and last sample.
    pub range: TimeRange,
    /// 1 for a flushed window, more for merged ones.
    pub level: u32,
    /// Series.
    pub series: u64,
    /// Samples.
    pub samples: u64,
    /// Chunks.
    pub chunks: u64,
    /// Bytes of its index file.
    pub index_bytes: u64,
    /// Bytes of its chunk file.
    pub chunk_bytes: u64,
}

/// The heaviest names and values of the head, each list descending by count.
#[derive(Debug, Clone, Default)]
pub struct Cardinality {
    /// Series for each metric name.
    pub series_by_metric_name: Vec<(String, u64)>,
    /// Values for each label name.
    pub values_by_label_name: Vec<(String, u64)>,
    /// Bytes of the values of each label name, each use counted.
    pub bytes_by_label_name: Vec<(String, u64)>,
    /// Series for each `name=value`.
    pub series_by_pair: Vec<(String, u64)>,
}

impl Shared {
    pub(super) fn stats(&self) -> Stats {
        let head = self.head.stats();
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let block = |block: &std::sync::Arc<crate::block::Block>| {
            let meta = block.meta();
            BlockStats {
                name: meta.ulid.to_string(),
                range: meta.range,
                level: meta.level,
                series: meta.series,
                samples: meta.samples,
                chunks: meta.chunks,
                index_bytes: block.index_bytes(),
                chunk_bytes: block.chunk_bytes(),
            }
        };
        let mut blocks: Vec<BlockStats> = self.blocks.list().iter().map(block).collect();
        let (snapshots, snapshot_bytes) = self.snapshots();
        blocks.extend(self.takeover.list().iter().map(|block| {
            let meta = block.meta();
            BlockStats {
                name: meta.ulid.to_string(),
                range: meta.range,
                level: meta.level,
                series: meta.series,
                samples: meta.samples,
                chunks: meta.chunks,
                index_bytes: block.index_bytes(),
                chunk_bytes: block.chunk_bytes(),
            }
        }));
        blocks.sort_by_key(|block| (block.range.min_ms, block.range.max_ms));
        Stats {
            head_series: head.series as usize,
            head_label_pairs: self.head.index().pairs_len(),
            head_chunks: head.chunks as usize,
            head_range: head
                .min_ms
                .zip(head.max_ms)
                .map(|(min_ms, max_ms)| TimeRange { min_ms, max_ms }),
            wal_bytes: head.log.bytes,
            head_file_bytes: head.head_file_bytes,
            blocks,
            quarantined: self.troubles(),
            snapshots,
            snapshot_bytes,
            shelved: self.takeover.shelved(),
            exemplars: self.head.exemplar_stats(),
            clean_start: self.takeover.is_clean_start(),
            unwritable: head.log.unwritable.clone(),
            quarantine_bytes: self.quarantine_bytes(),
            disk_reserve_bytes: self.reserve.bytes(),
            samples_appended: head.samples_appended,
            series_created: head.series_created,
            series_removed: head.series_removed,
            flushes: count(&self.counters.flushes),
            compactions: count(&self.counters.compactions),
            maintenance_failures: count(&self.counters.maintenance_failures),
            blocks_expired: count(&self.counters.blocks_expired),
            blocks_oversized: count(&self.counters.blocks_oversized),
            stored_bytes: self.stored_bytes(),
            head,
        }
    }
}

impl Shared {
    /// A figure of the page of metrics; one that cannot be had is no reason to fail it.
    fn quarantine_bytes(&self) -> u64 {
        super::quarantine::bytes(&*self.disk, self.reserve.dir()).unwrap_or(0)
    }

    /// What is damaged or not served, and why.
    fn troubles(&self) -> Vec<(PathBuf, String)> {
        let in_head = self.head_damage.lock().unwrap_or_else(PoisonError::into_inner);
        let in_head = in_head.iter().map(|(path, why)| (path.clone(), why.clone()));
        let in_blocks = self.blocks.troubles().into_iter().chain(self.takeover.troubles());
        in_blocks.chain(in_head).collect()
    }
}

impl From<TopLabels> for Cardinality {
    fn from(top: TopLabels) -> Self {
        Self {
            series_by_metric_name: top.series_by_metric,
            values_by_label_name: top.values_by_name,
            bytes_by_label_name: top.bytes_by_name,
            series_by_pair: top.series_by_pair,
        }
    }
}
