//! Where samples go: the few calls of the database that scraping makes.

use std::fmt;

use crate::db::{Appender, Database};
use crate::disk::StorageError;
use crate::head::{CommitOutcome, GroupKey, SeriesRef};
use crate::model::Labels;

/// Takes the samples of many sources, one batch at a time from each.
pub trait Sink: fmt::Debug + Send + Sync {
    /// Begins a batch of one source.
    fn begin(&self, source: &GroupKey) -> Result<Box<dyn Batch + '_>, StorageError>;
}

/// The samples of one scrape. Dropping it without a commit forgets them.
pub trait Batch {
    /// The series with these labels, created where it is new.
    fn series(&mut self, labels: &Labels) -> Result<SeriesRef, StorageError>;

    /// Collects a sample.
    fn append(&mut self, series: SeriesRef, t_ms: i64, value: f64);

    /// Stores what was collected, with a verdict for each sample.
    fn commit(self: Box<Self>) -> Result<CommitOutcome, StorageError>;
}

impl Sink for Database {
    fn begin(&self, source: &GroupKey) -> Result<Box<dyn Batch + '_>, StorageError> {
        Ok(Box::new(self.appender(source.clone())?))
    }
}

impl Batch for Appender {
    fn series(&mut self, labels: &Labels) -> Result<SeriesRef, StorageError> {
        Appender::series(self, labels)
    }

    fn append(&mut self, series: SeriesRef, t_ms: i64, value: f64) {
        Appender::append(self, series, t_ms, value);
    }

    fn commit(self: Box<Self>) -> Result<CommitOutcome, StorageError> {
        Appender::commit(*self)
    }
}
