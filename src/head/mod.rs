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
mod changes;
mod checkpoint;
pub mod column;
mod deletion;
mod ended;
mod extra;
mod flush;
mod folded;
mod follow;
mod gate;
mod group;
mod index;
mod limits;
mod lists;
mod maintain;
mod notes;
mod observer;
mod options;
mod postings;
mod recover;
mod register;
mod reshape;
mod rows;
mod seal;
mod stats;
mod symbols;
mod table;
mod tile;
mod values;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use self::append::{OpenAppenders, Rooms};
use self::deletion::Deletions;
use self::gate::Gate;
use self::group::{Group, NO_TIME};
use self::limits::LimitCounts;
use self::notes::{MetadataTable, Ring};
use self::register::Register;
use self::seal::Maintenance;
use self::stats::Counters;
use self::table::GroupTable;
use self::tile::HeadFiles;
use crate::disk::StorageError;
use crate::model::{HistogramError, Labels, TimeRange};
use crate::wal::{Log, Syncer};

pub use append::Appender;
pub use capture::Captured;
pub use changes::{Changes, Version};
pub use follow::{FollowSink, FollowedSample, FollowedSeries, Follower, LogPoint};
pub use index::HeadIndex;
pub use limits::{Limit, LimitReached, SeriesLimits};
pub use notes::{ExemplarOutcome, ExemplarStats};
pub use observer::{Event, NoObserver, Observer};
pub use options::HeadOptions;
pub use stats::{HeadMemory, HeadStats, TopLabels};
pub use tile::read_head_file;

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

impl SeriesRef {
    /// Stands for a series that a limit kept out; each sample of it is refused with that limit.
    fn refused(limit: Limit) -> Self {
        Self { id: SeriesId(u32::MAX), generation: limit as u32 }
    }

    /// The limit that kept the series out, if one did. Such a reference is not to be remembered:
    /// there may be room the next time.
    pub fn refusal(&self) -> Option<Limit> {
        if self.id.0 == u32::MAX { Limit::from_number(self.generation) } else { None }
    }
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

/// Buckets that a histogram has at most. A sender sets how many it makes; this bounds what one
/// sample can take.
pub const HISTOGRAM_BUCKETS_MAX: usize = 1 << 16;

/// The verdict on one sample that was not stored; texts are Prometheus's.
#[derive(Debug, Clone, Copy, PartialEq)]
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
    /// The series is new, and a limit keeps it out.
    LimitReached(LimitReached),
    /// A histogram that makes no sense.
    InvalidHistogram(HistogramError),
    /// A histogram of so many buckets, more than [`HISTOGRAM_BUCKETS_MAX`].
    TooManyBuckets(usize),
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
            Self::LimitReached(reached) => return fmt::Display::fmt(reached, f),
            Self::InvalidHistogram(error) => return fmt::Display::fmt(error, f),
            Self::TooManyBuckets(buckets) => {
                return write!(
                    f,
                    "histogram has {buckets} buckets, more than the limit of \
                     {HISTOGRAM_BUCKETS_MAX}"
                );
            }
        })
    }
}

impl std::error::Error for AppendError {}

/// What became of the samples of one commit.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CommitOutcome {
    /// Samples stored, those included that were there already with equal value.
    pub accepted: usize,
    /// Samples refused: the number of the `append` call, and why. Ascending.
    pub rejected: Vec<(usize, AppendError)>,
    /// What became of its exemplars.
    pub exemplars: ExemplarOutcome,
}

/// The head: every series that was fed lately, their unflushed samples, the log behind them.
///
/// Shared as `Arc<Head>`; every method may be called from any thread.
#[derive(Debug)]
pub struct Head {
    options: HeadOptions,
    log: Arc<Log>,
    syncer: Syncer,
    register: RwLock<Register>,
    groups: RwLock<GroupTable>,
    files: Mutex<HeadFiles>,
    open_appenders: OpenAppenders,
    rooms: Rooms,
    /// Counts the commits that touched several groups; a capture excludes them.
    multi: RwLock<u64>,
    bounds: Bounds,
    counters: Counters,
    limit_counts: LimitCounts,
    deletions: RwLock<Deletions>,
    exemplars: Mutex<Ring>,
    metadata: Mutex<MetadataTable>,
    /// Held by whatever seals, flushes or checkpoints.
    maintenance: Mutex<Maintenance>,
    /// Keeps everyone from what is not replayed yet.
    gate: Gate,
    changes: Changes,
    /// The log is kept from this record on, for those who follow it.
    log_kept_from: AtomicU64,
    is_closed: AtomicBool,
}

/// Times that appenders and readers look at without a lock; `i64::MIN` and `i64::MAX` where there
/// is none yet.
#[derive(Debug)]
#[expect(clippy::struct_field_names, reason = "units stand last in names")]
struct Bounds {
    oldest_ms: AtomicI64,
    newest_ms: AtomicI64,
    /// What lies below was flushed, or is being flushed.
    lower_ms: AtomicI64,
    /// Border of a flush that began and has not ended in a truncation.
    flushing_ms: AtomicI64,
    /// How far below the newest time late samples are taken; 0: not at all.
    late_window_ms: AtomicI64,
}

impl Head {
    /// Takes late samples as far below the newest time as `window_ms` says, 0 or less: none. Holds
    /// for appenders that are opened from now on; what was taken stays.
    pub fn set_out_of_order_window_ms(&self, window_ms: i64) {
        let window_ms = window_ms.max(0);
        self.bounds.late_window_ms.store(window_ms, Ordering::Release);
        self.ring().set_window_ms(window_ms);
    }

    /// How far below the newest time late samples are taken; 0: not at all.
    pub fn out_of_order_window_ms(&self) -> i64 {
        self.bounds.late_window_ms.load(Ordering::Acquire)
    }

    /// Since when data has changed: commits and deletions are noted here, and by the owner what
    /// else changes what readers see.
    pub fn changes(&self) -> &Changes {
        &self.changes
    }

    /// The series with these labels, if the head has it.
    pub fn find(&self, labels: &Labels) -> Option<SeriesRef> {
        self.register_read().find(labels)
    }

    /// The series with these labels; it is created where the head has none. Where a limit keeps it
    /// out, the reference says so ([`SeriesRef::refusal`]), and so do verdicts on its samples.
    pub fn series(&self, labels: &Labels) -> SeriesRef {
        {
            // Most of those that are refused are refused here, and keep nobody waiting.
            let register = self.register_read();
            if let Some(series) = self.found_or_refused(&register, labels) {
                return series;
            }
        }
        let mut register = self.register_write();
        if let Some(series) = self.found_or_refused(&register, labels) {
            return series;
        }
        let series = register.insert(labels);
        self.counters.created.fetch_add(1, Ordering::Relaxed);
        self.limit_counts.created();
        series
    }

    fn found_or_refused(&self, register: &Register, labels: &Labels) -> Option<SeriesRef> {
        if let Some(found) = register.find(labels) {
            return Some(found);
        }
        let memory_bytes = self.limit_counts.memory_bytes();
        let limit = self.options.limits.reached_by(labels, register, memory_bytes)?;
        self.limit_counts.count(limit);
        Some(SeriesRef::refused(limit))
    }

    /// The labels of a series that is in the head.
    pub fn labels(&self, id: SeriesId) -> Option<Labels> {
        self.register_read().labels(id.0)
    }

    /// Times from the oldest to the newest sample; `None` while there is none.
    pub fn time_range(&self) -> Option<TimeRange> {
        let max_ms = self.newest_ms()?;
        let min_ms = self.bounds.oldest_ms.load(Ordering::Acquire);
        (min_ms <= max_ms).then_some(TimeRange { min_ms, max_ms })
    }

    /// Whether a part of the log is not replayed yet: what a query asks of it waits, and
    /// [`Head::time_range`] may be too narrow.
    pub fn is_recovering(&self) -> bool {
        !self.gate.is_open()
    }

    /// Waits until the whole log is replayed.
    pub fn wait_for_recovery(&self) -> Result<(), StorageError> {
        self.gate.wait_for_all()
    }

    /// Makes everything that was committed durable.
    pub fn sync(&self) -> Result<(), StorageError> {
        self.log.sync()
    }

    /// The log's syncer, for a thread of its own (see [`Syncer::run`]).
    pub fn syncer(&self) -> Syncer {
        Syncer::new(Arc::clone(&self.log))
    }

    fn check_open(&self) -> Result<(), StorageError> {
        if self.is_closed.load(Ordering::Acquire) { Err(StorageError::Closed) } else { Ok(()) }
    }

    fn newest_ms(&self) -> Option<i64> {
        Some(self.bounds.newest_ms.load(Ordering::Acquire)).filter(|&t| t != NO_TIME)
    }

    /// The oldest time that an appender opened now accepts; [`NO_TIME`] on an empty head.
    fn min_valid_ms(&self) -> i64 {
        let lower_ms = self.bounds.lower_ms.load(Ordering::Acquire);
        match self.newest_ms() {
            Some(newest) => lower_ms.max(newest.saturating_sub(self.options.window_ms / 2)),
            None => lower_ms,
        }
    }

    /// Widens the bounds to samples that became visible.
    fn saw(&self, min_ms: i64, max_ms: i64) {
        self.bounds.oldest_ms.fetch_min(min_ms, Ordering::AcqRel);
        self.bounds.newest_ms.fetch_max(max_ms, Ordering::AcqRel);
    }

    fn group(&self, id: u32) -> Option<Arc<Group>> {
        self.groups_read().by_id(id).cloned()
    }

    fn register_read(&self) -> RwLockReadGuard<'_, Register> {
        self.register.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The register with every series in its lists.
    fn register_folded(&self) -> RwLockReadGuard<'_, Register> {
        let register = self.register_read();
        if register.index.is_folded() {
            return register;
        }
        drop(register);
        let mut register = self.register_write();
        register.index.fold();
        RwLockWriteGuard::downgrade(register)
    }

    fn register_write(&self) -> RwLockWriteGuard<'_, Register> {
        self.register.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn groups_read(&self) -> RwLockReadGuard<'_, GroupTable> {
        self.groups.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn groups_write(&self) -> RwLockWriteGuard<'_, GroupTable> {
        self.groups.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn deletions_read(&self) -> RwLockReadGuard<'_, Deletions> {
        self.deletions.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn deletions_write(&self) -> RwLockWriteGuard<'_, Deletions> {
        self.deletions.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn multi_read(&self) -> RwLockReadGuard<'_, u64> {
        self.multi.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn multi_write(&self) -> RwLockWriteGuard<'_, u64> {
        self.multi.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn files(&self) -> MutexGuard<'_, HeadFiles> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
