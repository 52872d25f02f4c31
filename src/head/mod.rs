//! The in-memory window: groups, columns, series.
//!
//! Samples enter through an [`Appender`], which belongs to one source (a scrape target, a rule
//! group, a pushing job and instance) and therefore to one group; see the design of the group in
//! the documentation of `group.rs`.
//!
//! Contract of the write path:
//! - [`Head::appender`] fixes the oldest time that will be accepted (an hour below the newest
//!   time committed at that moment, where no out-of-order window is set).
//! - [`Appender::append`] only collects. [`Appender::commit`] gives each sample its verdict, logs
//!   what is accepted, then applies it; readers see all of it or nothing. When it returns `Ok`
//!   the record is in the operating system's hands, and on the medium within `sync_interval`.
//! - dropping an appender without commit forgets what it collected; series it created stay.

mod append;
mod capture;
pub mod column;
mod flush;
mod observer;
mod options;
mod postings;

use std::fmt;
use std::sync::Arc;

use crate::disk::StorageError;
use crate::model::{Labels, TimeRange};

pub use append::Appender;
pub use capture::Captured;
pub use observer::{Event, NoObserver, Observer};
pub use options::HeadOptions;
pub use postings::LiveIndex;

/// Number of a series within the head; used again only when nothing names it any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeriesId(pub u32);

/// A series as its writers remember it. It stays valid until the series leaves the head; from
/// then on appending with it gives [`AppendError::UnknownSeries`], and the writer looks the
/// series up by its labels again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SeriesRef {
    /// The id.
    pub id: SeriesId,
    /// Tells two series apart that had the same id one after the other.
    pub generation: u32,
}

/// Number of a group within the head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupId(pub u32);

/// The source that feeds a group; the same over reload and restart.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum GroupKey {
    /// A scrape target: the job's name, and the target's labels as [`crate::model::Labels`] bytes.
    Target {
        /// Name of the scrape job.
        job: String,
        /// Canonical bytes of the target's labels.
        labels: Vec<u8>,
    },
    /// A rule group: its file and name.
    Rules {
        /// Path of the file.
        file: String,
        /// Name of the group.
        name: String,
    },
    /// Pushed series with these `job` and `instance` labels (either may be empty).
    Push {
        /// Label `job`.
        job: String,
        /// Label `instance`.
        instance: String,
    },
    /// Appends through the library that name no source.
    Embedded(String),
}

/// The verdict on one sample that was not stored; texts are Prometheus's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AppendError {
    /// Older than the series' newest sample.
    OutOfOrder,
    /// Older than what the head takes.
    OutOfBounds,
    /// Older than the out-of-order window.
    TooOld,
    /// Another value at a time that the series has already.
    Duplicate,
    /// More than ten minutes ahead of the clock.
    TooFarInFuture,
    /// The series has left the head; look it up again.
    UnknownSeries,
}

impl fmt::Display for AppendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OutOfOrder => "out of order sample",
            Self::OutOfBounds => "out of bounds",
            Self::TooOld => "too old sample",
            Self::Duplicate => "duplicate sample for timestamp",
            Self::TooFarInFuture => "sample is too far in the future",
            Self::UnknownSeries => "unknown series",
        })
    }
}

impl std::error::Error for AppendError {}

/// What became of the samples of one commit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommitOutcome {
    /// Samples stored, those included that were there already with equal value.
    pub accepted: usize,
    /// Samples refused: the number of the `append` call, and why. Ascending.
    pub rejected: Vec<(usize, AppendError)>,
}

/// The head: every series that was fed lately, their unflushed samples, the log behind them.
///
/// Shared as `Arc<Head>`; every method may be called from any thread.
#[derive(Debug)]
pub struct Head {
    options: HeadOptions,
}

impl Head {
    /// Opens what `options.dir` holds: checkpoint, head files, then the log. Damaged files go to
    /// `quarantine/` and are told to the observer; only an unreadable directory, a newer format or
    /// a medium that refuses are errors.
    pub fn open(options: HeadOptions) -> Result<Arc<Self>, StorageError> {
        let _ = options;
        unreachable!("BUG: not built yet")
    }

    /// The series with these labels, if the head has it.
    pub fn find(&self, labels: &Labels) -> Option<SeriesRef> {
        let _ = labels;
        unreachable!("BUG: not built yet")
    }

    /// The labels of a series that is in the head.
    pub fn labels(&self, id: SeriesId) -> Option<Labels> {
        let _ = id;
        unreachable!("BUG: not built yet")
    }

    /// Calls `read` with the live index; series are [`SeriesId`] numbers. New series wait
    /// meanwhile, samples do not.
    pub fn with_index<T>(&self, read: impl FnOnce(&LiveIndex) -> T) -> T {
        let _ = read;
        unreachable!("BUG: not built yet")
    }

    /// Times from the oldest to the newest sample; `None` while there is none.
    pub fn time_range(&self) -> Option<TimeRange> {
        let _ = &self.options;
        unreachable!("BUG: not built yet")
    }

    /// Does what is due at `now_ms` (wall clock): seals, a checkpoint, removal of log segments.
    /// The thread of the database calls it every few seconds.
    pub fn maintain(&self, now_ms: i64) -> Result<(), StorageError> {
        let _ = now_ms;
        unreachable!("BUG: not built yet")
    }

    /// Makes everything that was committed durable.
    pub fn sync(&self) -> Result<(), StorageError> {
        unreachable!("BUG: not built yet")
    }

    /// Syncs, writes a checkpoint and refuses everything afterwards.
    pub fn close(&self) -> Result<(), StorageError> {
        unreachable!("BUG: not built yet")
    }

    /// Hides the samples of `ids` within `range` that were committed before the call; durable
    /// when it returns.
    pub fn delete(
        &self,
        ids: &roaring::RoaringBitmap,
        range: TimeRange,
    ) -> Result<(), StorageError> {
        let _ = (ids, range);
        unreachable!("BUG: not built yet")
    }
}
