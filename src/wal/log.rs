//! The writing side of the log.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::Position;
use crate::disk::{Clock, Disk, StorageError};

/// How a log is kept.
#[derive(Debug, Clone, Copy)]
pub struct LogOptions {
    /// A segment is finished when the next append would make it longer; one append of more than
    /// that gets a segment of its own.
    pub segment_bytes_max: u64,
    /// Greatest age of acknowledged records that are not on the medium; zero: none.
    pub sync_interval: Duration,
}

impl Default for LogOptions {
    /// 64 MiB, one second.
    fn default() -> Self {
        Self { segment_bytes_max: 64 << 20, sync_interval: Duration::from_secs(1) }
    }
}

/// One file of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Its number; later segments have greater ones, and numbers may be left out.
    pub number: u64,
    /// Where it lies.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
}

/// Figures of a log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogStats {
    /// Bytes of all segments.
    pub bytes: u64,
    /// Number of segments.
    pub segments: u64,
    /// Bytes that wait in memory for a sync.
    pub unsynced_bytes: u64,
    /// Records appended since it was opened.
    pub appended_records: u64,
    /// Syncs that worked.
    pub syncs: u64,
    /// Syncs that failed.
    pub sync_failures: u64,
    /// Appends that failed.
    pub append_failures: u64,
    /// Why the log takes no writes at the moment, if it does not.
    pub unwritable: Option<String>,
}

/// The log, open for appending. All methods may be called from any thread.
#[derive(Debug)]
pub struct Log {
    _options: LogOptions,
}

impl Log {
    /// Opens the log in `dir`, creating the directory where it is missing, and begins a segment.
    /// `after` is the position of the checkpoint in use ([`Position::START`] without one): no
    /// record gets a number below it, whatever became of the segments. Damaged segments are no
    /// error; a disk that takes no new segment is.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        options: LogOptions,
        clock: Arc<dyn Clock>,
        after: Position,
    ) -> Result<Self, StorageError> {
        let _ = (disk, dir, options, clock, after);
        unreachable!("BUG: not built yet")
    }

    /// Appends the payloads, each with its kind (1 to [`super::KIND_MAX`]), and returns the
    /// position of the first.
    pub fn append(&self, payloads: &[(u8, &[u8])]) -> Result<Position, StorageError> {
        let _ = payloads;
        unreachable!("BUG: not built yet")
    }

    /// Makes all that was appended durable.
    pub fn sync(&self) -> Result<(), StorageError> {
        unreachable!("BUG: not built yet")
    }

    /// Makes all that was appended durable, and says where the log ends: the position to put
    /// into a checkpoint. (One that is not synced must not be put there.)
    pub fn synced_end(&self) -> Result<Position, StorageError> {
        unreachable!("BUG: not built yet")
    }

    /// Where the next record will stand.
    pub fn end(&self) -> Position {
        unreachable!("BUG: not built yet")
    }

    /// Removes the segments with numbers below `segment`; never the one that is written to.
    /// Returns the bytes freed.
    pub fn drop_before(&self, segment: u64) -> Result<u64, StorageError> {
        let _ = segment;
        unreachable!("BUG: not built yet")
    }

    /// The segments, oldest first.
    pub fn segments(&self) -> Vec<SegmentInfo> {
        unreachable!("BUG: not built yet")
    }

    /// Figures.
    pub fn stats(&self) -> LogStats {
        unreachable!("BUG: not built yet")
    }

    /// Syncs, and refuses everything afterwards with [`StorageError::Closed`].
    pub fn close(&self) -> Result<(), StorageError> {
        unreachable!("BUG: not built yet")
    }
}

/// Keeps a log within its `sync_interval`. Without one, appends do the syncs when they are due.
#[derive(Debug)]
pub struct Syncer {
    _log: Arc<Log>,
}

impl Syncer {
    /// A syncer for `log`.
    pub fn new(log: Arc<Log>) -> Self {
        Self { _log: log }
    }

    /// Syncs whenever half of the interval has passed, until the log is closed; for a thread of
    /// its own. `failed` hears every error.
    pub fn run(&self, failed: impl FnMut(&StorageError)) {
        drop(failed);
        unreachable!("BUG: not built yet")
    }

    /// Syncs if half of the interval has passed for some record; for callers that drive time
    /// themselves. Whether it synced.
    pub fn tick(&self) -> Result<bool, StorageError> {
        unreachable!("BUG: not built yet")
    }
}
