//! The write path: collect, judge, log, apply.

use std::sync::Arc;

use super::{CommitOutcome, GroupKey, Head, SeriesRef};
use crate::disk::StorageError;
use crate::model::Labels;

/// Collects the samples of one scrape, evaluation or push. Not shared between threads.
#[derive(Debug)]
pub struct Appender {
    head: Arc<Head>,
}

impl Head {
    /// Begins a commit of the source `key`.
    pub fn appender(self: &Arc<Self>, key: &GroupKey) -> Appender {
        let _ = key;
        Appender { head: Arc::clone(self) }
    }
}

impl Appender {
    /// The series with these labels; it is created where the head has none.
    pub fn series(&mut self, labels: &Labels) -> SeriesRef {
        let _ = (labels, &self.head);
        unreachable!("BUG: not built yet")
    }

    /// Collects a sample. Samples of one series may follow one another in one commit.
    pub fn append(&mut self, series: SeriesRef, t_ms: i64, value: f64) {
        let _ = (series, t_ms, value);
        unreachable!("BUG: not built yet")
    }

    /// Number of samples collected so far.
    pub fn len(&self) -> usize {
        unreachable!("BUG: not built yet")
    }

    /// Whether nothing was collected.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Judges, logs, applies. On an error nothing was stored.
    pub fn commit(self) -> Result<CommitOutcome, StorageError> {
        unreachable!("BUG: not built yet")
    }
}
