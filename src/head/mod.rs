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

use std::fmt;

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
