//! What an embedder may set, with defaults and the reason for each.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::{LogImport, Retention};
use crate::disk::StorageError;
use crate::head::SeriesLimits;
use crate::model::TimeRange;

/// One hour in milliseconds.
pub(crate) const HOUR_MS: i64 = 60 * 60 * 1000;

/// Blocks hold times as 32 bits of milliseconds above their first.
const BLOCK_SPAN_MAX_MS: i64 = 49 * 24 * HOUR_MS;

/// How a database behaves. `Options::default()` suits a service that embeds it.
#[derive(Debug, Clone)]
pub struct Options {
    /// Blocks that lie wholly this far below the newest data are removed. 0 keeps everything.
    pub retention_ms: i64,
    /// Bytes that blocks, log and head files may take together; the oldest blocks go first.
    /// 0 sets no limit.
    pub retention_bytes: u64,
    /// The same as a share of the file system in percent; above 0 it stands for
    /// [`Options::retention_bytes`].
    pub retention_percentage: f64,
    /// How far below the newest data late samples are taken; 0 takes a series' samples in order
    /// only. One hour: embedders push from several threads, and nothing is lost by the order.
    pub out_of_order_window_ms: i64,
    /// Greatest age of acknowledged data that a power cut may take. Zero syncs before each
    /// acknowledgement.
    pub sync_interval: Duration,
    /// Length of the windows that the head is flushed in, and of the smallest blocks.
    pub block_duration_min_ms: i64,
    /// Greatest length of a compacted block; `None` takes a tenth of the retention, at most
    /// 31 days, as Prometheus does.
    pub block_duration_max_ms: Option<i64>,
    /// How many exemplars are kept; 0: none, and none is taken.
    pub exemplars_max: usize,
    /// How far ahead of the clock a sample may lie.
    pub future_limit_ms: i64,
    /// Room on the disk that is kept for making room when it is full: bytes of a file of zeros.
    /// 0 keeps none; a full disk can then stop the flush that would free the log.
    pub disk_reserve_bytes: u64,
    /// Bytes that what queries read of blocks may take, decoded and kept for the next query.
    /// 0 keeps nothing.
    pub read_cache_bytes: usize,
    /// What new series are taken at most.
    pub limits: SeriesLimits,
    /// Most bytes of damaged files that are kept in `quarantine/`; of more the oldest are removed
    /// when the database is opened. 0 keeps all.
    pub quarantine_bytes_max: u64,
    /// Threads that replay the log after `open` has returned; until a part of it is replayed, what
    /// asks for it waits. 0: `open` returns when all is replayed.
    pub replay_threads: usize,
    /// Whether `open` starts the thread that syncs, seals, flushes, compacts and removes. Without
    /// it the embedder calls [`super::Database::maintain`].
    pub background: bool,
    /// How often the background thread looks for work.
    pub maintenance_interval: Duration,
    /// Whether each window that takes no late samples any more is also written to the data path
    /// as a block of Prometheus, for a Thanos sidecar to ship.
    pub export_windows: bool,
    /// Whether stored samples are for [`super::Database::forward`] alone: windows of the head are
    /// let go without being written as blocks.
    pub forwards_only: bool,
    /// Told about everything that an operator may want to know.
    pub observer: Arc<dyn Observer>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            retention_ms: 15 * 24 * HOUR_MS,
            retention_bytes: 0,
            retention_percentage: 0.0,
            out_of_order_window_ms: HOUR_MS,
            sync_interval: Duration::from_secs(1),
            block_duration_min_ms: 2 * HOUR_MS,
            block_duration_max_ms: None,
            exemplars_max: 0,
            future_limit_ms: 10 * 60 * 1000,
            disk_reserve_bytes: 16 << 20,
            read_cache_bytes: 32 << 20,
            limits: SeriesLimits::default(),
            quarantine_bytes_max: 1 << 30,
            replay_threads: 2,
            background: true,
            maintenance_interval: Duration::from_secs(1),
            export_windows: false,
            forwards_only: false,
            observer: Arc::new(Silent),
        }
    }
}

impl Options {
    /// How much is kept.
    pub fn retention(&self) -> Retention {
        Retention {
            time_ms: self.retention_ms,
            bytes: self.retention_bytes,
            percentage: self.retention_percentage,
        }
    }

    /// The greatest length of a block that these options give.
    pub fn block_duration_limit_ms(&self) -> i64 {
        let limit = self.block_duration_max_ms.unwrap_or_else(|| {
            let month = 31 * 24 * HOUR_MS;
            if self.retention_ms > 0 { (self.retention_ms / 10).min(month) } else { month }
        });
        limit.min(BLOCK_SPAN_MAX_MS).max(self.block_duration_min_ms)
    }
}

/// Takes the events of a database, from whichever thread they happen on. It must not block and
/// must not call back into the database.
pub trait Observer: Send + Sync + fmt::Debug {
    /// Something happened.
    fn event(&self, event: &Event<'_>);
}

/// Something that an operator may want to know.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The database is open.
    Opened {
        /// Series that the head knows.
        series: usize,
        /// Blocks served.
        blocks: usize,
        /// How long it took.
        took: Duration,
    },
    /// The head's window became a block.
    Flushed {
        /// Name of the block.
        block: String,
        /// What it covers.
        range: TimeRange,
        /// Samples written.
        samples: u64,
        /// How long it took.
        took: Duration,
    },
    /// Several blocks became one.
    Compacted {
        /// Names of the blocks that were merged.
        sources: Vec<String>,
        /// Name of the new block; `None` where nothing was left to write.
        block: Option<String>,
        /// How long it took.
        took: Duration,
    },
    /// A block past retention was removed.
    Expired {
        /// Name of the block.
        block: String,
        /// Whether it went because all together took too many bytes, and not for its age.
        for_size: bool,
    },
    /// A snapshot was written.
    Snapshot {
        /// Where it lies.
        path: PathBuf,
        /// How long it took.
        took: Duration,
    },
    /// A damaged part was put aside; the rest is served.
    Quarantined {
        /// Where it was.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The log of a Prometheus was imported.
    LogImported {
        /// What came of it.
        done: LogImport,
        /// How long it took.
        took: Duration,
    },
    /// A window was written as a block of Prometheus.
    Exported {
        /// Name of the block.
        block: String,
        /// What it covers.
        range: TimeRange,
        /// Samples written.
        samples: u64,
        /// How long it took.
        took: Duration,
    },
    /// Something was damaged or odd, and the database went on without it.
    Warning(String),
    /// The disk is full: commits are refused until there is room.
    DiskFull {
        /// Bytes of the reserve that were given up for the work that makes room.
        reserve_bytes: u64,
    },
    /// There is room on the disk again, and commits are taken.
    DiskHasRoom,
    /// A step of maintenance failed; it is tried again.
    MaintenanceFailed {
        /// Which step.
        step: &'static str,
        /// Why.
        error: &'a StorageError,
    },
    /// Groups of the head were sealed into a file.
    Sealed {
        /// How many.
        groups: usize,
        /// Chunks written.
        chunks: usize,
        /// Bytes written.
        bytes: u64,
    },
    /// The head wrote a checkpoint.
    Checkpointed {
        /// Bytes written.
        bytes: u64,
        /// Oldest segment of the log that is kept.
        first_segment: u64,
    },
    /// The log was replayed.
    Replayed {
        /// Records applied.
        records: u64,
        /// Samples applied.
        samples: u64,
        /// How long it took, the reading of head files included.
        took: Duration,
    },
}

impl fmt::Display for Event<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Opened { series, blocks, took } => {
                write!(f, "database open: {series} series in the head, {blocks} blocks, {took:?}")
            }
            Self::Flushed { block, range, samples, took } => write!(
                f,
                "head window {}..{} ms written as block {block}: {samples} samples, {took:?}",
                range.min_ms, range.max_ms
            ),
            Self::Compacted { sources, block: Some(block), took } => {
                write!(f, "{} blocks merged into {block}, {took:?}", sources.len())
            }
            Self::Compacted { sources, block: None, took } => {
                write!(f, "{} blocks held nothing and are gone, {took:?}", sources.len())
            }
            Self::Expired { block, for_size } => {
                let why = if *for_size { "beyond the limit of size" } else { "past retention" };
                write!(f, "block {block} is {why} and was removed")
            }
            Self::Snapshot { path, took } => {
                write!(f, "snapshot written to {}, {took:?}", path.display())
            }
            Self::Quarantined { path, reason } => {
                write!(f, "{} was put aside: {reason}", path.display())
            }
            Self::LogImported { done, took } => write!(
                f,
                "log of Prometheus imported: {} samples of {} series, {} of them late, {} damaged \
                 places, {took:?}",
                done.samples, done.series, done.late, done.damages
            ),
            Self::Exported { block, range, samples, took } => write!(
                f,
                "window {}..{} ms exported as block {block}: {samples} samples, {took:?}",
                range.min_ms, range.max_ms
            ),
            Self::Warning(text) => f.write_str(text),
            Self::DiskFull { reserve_bytes } => write!(
                f,
                "the disk is full: commits are refused until there is room; {reserve_bytes} bytes \
                 of reserve are given up to make some"
            ),
            Self::DiskHasRoom => f.write_str("the disk has room again; commits are taken"),
            Self::MaintenanceFailed { step, error } => write!(f, "{step} failed: {error}"),
            Self::Sealed { groups, chunks, bytes } => {
                write!(f, "{groups} groups sealed: {chunks} chunks, {bytes} bytes")
            }
            Self::Checkpointed { bytes, first_segment } => {
                write!(f, "checkpoint of {bytes} bytes; the log begins at segment {first_segment}")
            }
            Self::Replayed { records, samples, took } => {
                write!(f, "log replayed: {records} records, {samples} samples, {took:?}")
            }
        }
    }
}

/// An observer that looks away.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {
    fn event(&self, _event: &Event<'_>) {}
}
