//! Where samples go: the few calls of the database that scraping makes.

use std::fmt;
use std::sync::Arc;

use crate::db::{Appender, Database};
use crate::disk::StorageError;
use crate::head::{CommitOutcome, GroupKey, SeriesRef};
use crate::model::{Exemplar, Histogram, Labels, Metadata};

/// Takes the samples of many sources, one batch at a time from each.
pub trait Sink: fmt::Debug + Send + Sync {
    /// Begins a batch of one source.
    fn begin(&self, source: &GroupKey) -> Result<Box<dyn Batch + '_>, StorageError>;

    /// Whether storing a batch now might take long, for reasons that lie not with the batch.
    fn may_wait(&self) -> bool;
}

/// The samples of one scrape. Dropping it without a commit forgets them.
pub trait Batch {
    /// The series with these labels, created where it is new.
    fn series(&mut self, labels: &Labels) -> Result<SeriesRef, StorageError>;

    /// Collects a sample.
    fn append(&mut self, series: SeriesRef, t_ms: i64, value: f64);

    /// Collects a native histogram.
    fn append_histogram(&mut self, series: SeriesRef, t_ms: i64, histogram: Arc<Histogram>);

    /// Says when the counter of the sample collected last began to count, in milliseconds.
    fn set_last_start(&mut self, start_ms: i64);

    /// Has the sample collected last refused where it would be stored late.
    fn set_last_in_order(&mut self);

    /// Makes room for that many samples.
    fn reserve(&mut self, samples: usize) {
        let _ = samples;
    }

    /// Collects an exemplar.
    fn append_exemplar(&mut self, series: SeriesRef, exemplar: Exemplar);

    /// Says what a metric is.
    fn set_metadata(&mut self, metric: &str, metadata: Metadata);

    /// Stores what was collected, with a verdict for each sample.
    fn commit(self: Box<Self>) -> Result<CommitOutcome, StorageError>;
}

impl Sink for Database {
    fn begin(&self, source: &GroupKey) -> Result<Box<dyn Batch + '_>, StorageError> {
        Ok(Box::new(self.appender(source)?))
    }

    fn may_wait(&self) -> bool {
        Database::may_wait(self)
    }
}

impl Batch for Appender {
    fn series(&mut self, labels: &Labels) -> Result<SeriesRef, StorageError> {
        Appender::series(self, labels)
    }

    fn append(&mut self, series: SeriesRef, t_ms: i64, value: f64) {
        Appender::append(self, series, t_ms, value);
    }

    fn append_histogram(&mut self, series: SeriesRef, t_ms: i64, histogram: Arc<Histogram>) {
        Appender::append_histogram(self, series, t_ms, histogram);
    }

    fn set_last_start(&mut self, start_ms: i64) {
        Appender::set_last_start(self, start_ms);
    }

    fn set_last_in_order(&mut self) {
        Appender::set_last_in_order(self);
    }

    fn reserve(&mut self, samples: usize) {
        Appender::reserve(self, samples);
    }

    fn append_exemplar(&mut self, series: SeriesRef, exemplar: Exemplar) {
        Appender::append_exemplar(self, series, exemplar);
    }

    fn set_metadata(&mut self, metric: &str, metadata: Metadata) {
        Appender::set_metadata(self, metric, metadata);
    }

    fn commit(self: Box<Self>) -> Result<CommitOutcome, StorageError> {
        Appender::commit(*self)
    }
}
