//! The embedded database: head, log and blocks behind one handle.
//!
//! [`Database`] is a handle; cloning shares the database. Samples enter through an [`Appender`]
//! (one for each commit), queries through [`crate::select::Queryable`], which the handle
//! implements. Two databases in one process on two directories know nothing of each other; a
//! second open of the same directory is [`StorageError::Locked`].
//!
//! Everything is kept below `<data>/narthex/`; nothing else in the directory is touched.

mod options;
mod stats;

use std::path::Path;
use std::sync::Arc;

use crate::disk::{Clock, Disk, StorageError};
use crate::head::{CommitOutcome, GroupKey, SeriesRef};
use crate::model::{Labels, Matcher, TimeRange};
use crate::select::{Cancellation, Queryable, SelectError, SeriesSet};

pub use options::{Event, Observer, Options, Silent};
pub use stats::{BlockStats, Cardinality, Stats};

/// An open database. Cloning shares it; it is closed by [`Database::close`] or when the last
/// handle goes.
#[derive(Debug, Clone)]
pub struct Database {
    #[expect(dead_code, reason = "the signatures stand first; the head and the blocks follow")]
    options: Arc<Options>,
}

impl Database {
    /// Opens the database below `path`, creating it where there is none. Returns once it answers
    /// queries; a damaged part is put aside and told to the observer.
    pub fn open(path: impl AsRef<Path>, options: Options) -> Result<Self, StorageError> {
        drop(options);
        Err(StorageError::Locked(path.as_ref().to_owned()))
    }

    /// Opens on a given disk and clock; for simulations.
    pub fn open_with(
        _disk: Arc<dyn Disk>,
        _clock: Arc<dyn Clock>,
        path: impl AsRef<Path>,
        options: Options,
    ) -> Result<Self, StorageError> {
        Self::open(path, options)
    }

    /// Begins a commit for one source.
    pub fn appender(&self, _source: GroupKey) -> Result<Appender, StorageError> {
        Err(StorageError::Closed)
    }

    /// The reference of the series with these labels, created where it is new.
    pub fn series(&self, _labels: &Labels) -> Result<SeriesRef, StorageError> {
        Err(StorageError::Closed)
    }

    /// What the database holds and did.
    pub fn stats(&self) -> Stats {
        Stats::default()
    }

    /// The `limit` heaviest names and values of the head.
    pub fn cardinality(&self, _limit: usize) -> Cardinality {
        Cardinality::default()
    }

    /// Does all maintenance that is due: sync, seal, flush, compaction, retention.
    pub fn maintain(&self) -> Result<(), StorageError> {
        Err(StorageError::Closed)
    }

    /// Writes the whole head, the open window included, as blocks, and merges blocks as far as
    /// they go. Which samples are accepted does not change by it.
    pub fn compact_all(&self) -> Result<(), StorageError> {
        Err(StorageError::Closed)
    }

    /// Makes everything acknowledged durable and lets the directory go; later calls give
    /// [`StorageError::Closed`]. Takes no longer than a sync and the step that maintenance is in.
    pub fn close(&self) -> Result<(), StorageError> {
        Ok(())
    }
}

impl Queryable for Database {
    fn select(
        &self,
        _matchers: &[Matcher],
        _range: TimeRange,
        _cancellation: &Cancellation,
    ) -> Result<Box<dyn SeriesSet>, SelectError> {
        Err(StorageError::Closed.into())
    }

    fn label_names(
        &self,
        _matchers: &[Matcher],
        _range: TimeRange,
        _cancellation: &Cancellation,
    ) -> Result<Vec<String>, SelectError> {
        Err(StorageError::Closed.into())
    }

    fn label_values(
        &self,
        _name: &str,
        _matchers: &[Matcher],
        _range: TimeRange,
        _cancellation: &Cancellation,
    ) -> Result<Vec<String>, SelectError> {
        Err(StorageError::Closed.into())
    }
}

/// Collects the samples of one commit of one source. Dropping it without
/// [`Appender::commit`] forgets them.
#[derive(Debug)]
pub struct Appender {
    samples: usize,
}

impl Appender {
    /// The reference of the series with these labels, created where it is new.
    pub fn series(&mut self, _labels: &Labels) -> Result<SeriesRef, StorageError> {
        Err(StorageError::Closed)
    }

    /// Adds a sample; its verdict comes with [`Appender::commit`].
    pub fn append(&mut self, _series: SeriesRef, _t_ms: i64, _value: f64) {
        self.samples += 1;
    }

    /// Stores what was collected: a verdict for each sample, all that is accepted visible at
    /// once. `Ok` promises what [`Options::sync_interval`] says.
    pub fn commit(self) -> Result<CommitOutcome, StorageError> {
        Err(StorageError::Closed)
    }
}
