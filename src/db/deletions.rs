//! Deleting samples, and giving their bytes back.
//!
//! A deletion concerns what was committed before it, wherever it lies, and nothing that comes
//! later: in the head it is a record of the log, for a block it is a file beside it. What is in
//! the way (a flush, the last step of a merge, a snapshot) is waited for, so no sample moves from
//! one place to another meanwhile.

use std::path::PathBuf;

use super::compaction::Pace;
use super::{Database, Event, Shared};
use crate::disk::StorageError;
use crate::index;
use crate::model::{Matcher, TimeRange};

/// What [`Database::clean_tombstones`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// Blocks that were written anew.
    pub blocks: usize,
    /// Blocks of Prometheus that still have what was deleted from them, hidden.
    pub left: Vec<PathBuf>,
}

impl Cleaned {
    /// What has to be told, if anything has.
    pub fn warning(&self) -> Option<String> {
        (!self.left.is_empty()).then(|| {
            format!(
                "{} blocks of Prometheus still have on the disk what was deleted from them: they \
                 are not written; `narthex tool tsdb import` copies them without it, and \
                 `narthex tool tsdb drop-prometheus` removes them then",
                self.left.len()
            )
        })
    }
}

impl Database {
    /// Deletes the samples within `range` of the series that satisfy `matchers` (none: of all
    /// series), as far as they were committed before the call. Durable on return.
    ///
    /// Their bytes are given back when the blocks are merged, or by
    /// [`Database::clean_tombstones`]. Late samples that are appended to the interval afterwards
    /// show. After an error a part may be deleted; it may be tried again.
    ///
    /// ```
    /// use narthex::{Database, Labels, Matcher, Options, TimeRange, Value};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// let db = Database::open(folder.path(), Options::default())?;
    /// let labels = Labels::from_pairs([("__name__", "temperature"), ("room", "attic")]);
    /// let t_ms = 1_700_000_000_000;
    /// db.append(&labels, t_ms, 21.5)??;
    /// db.append(&labels, t_ms + 60_000, 22.0)??;
    /// let range = TimeRange { min_ms: i64::MIN, max_ms: t_ms };
    /// db.delete(&[Matcher::equal("room", "attic")], range)?;
    /// let answer = db.query("count_over_time(temperature[5m])", t_ms + 60_000)?;
    /// let Value::Vector(found) = answer.value else { panic!("a vector was asked for") };
    /// assert_eq!(found[0].value, 1.0);
    /// # Ok(())
    /// # }
    /// ```
    pub fn delete(&self, matchers: &[Matcher], range: TimeRange) -> Result<(), StorageError> {
        self.inner.shared.delete(matchers, range)
    }

    /// Writes every block anew from which something was deleted, without it. Blocks that cannot
    /// be read are left as they are; the first error is returned after all were tried.
    ///
    /// Blocks of a Prometheus that was taken over are never written: what was deleted from them
    /// stays hidden, and its bytes stay. The answer says how many these are.
    pub fn clean_tombstones(&self) -> Result<Cleaned, StorageError> {
        self.inner.shared.clean_tombstones()
    }
}

impl Shared {
    fn delete(&self, matchers: &[Matcher], range: TimeRange) -> Result<(), StorageError> {
        let _still = self.moving_lock();
        self.check_open()?;
        let mut result = Ok(());
        for block in self.blocks.list().iter().filter(|b| b.meta().range.overlaps(range)) {
            let own = block.meta().range;
            let hidden = TimeRange {
                min_ms: range.min_ms.max(own.min_ms),
                max_ms: range.max_ms.min(own.max_ms),
            };
            let done = block
                .ordinals(matchers, hidden)
                .and_then(|series| self.blocks.hide(block, &series, hidden));
            result = result.and(done);
        }
        result = result.and(self.takeover.delete(matchers, range));
        if self.head_overlaps(range) {
            let done = index::resolve(&self.head.index(), matchers, &|| self.check_open())
                .and_then(|ids| self.head.delete(&ids, range));
            result = result.and(done);
        }
        // After an error too: a part may be deleted.
        self.head.changes().note(range.min_ms);
        result
    }

    fn clean_tombstones(&self) -> Result<Cleaned, StorageError> {
        let _maintenance = self.maintenance_lock();
        self.check_open()?;
        let left = self.takeover.marked();
        let mut cleaned =
            Cleaned { blocks: 0, left: left.iter().map(|b| b.dir().to_owned()).collect() };
        if let Some(text) = cleaned.warning() {
            self.options.observer.event(&Event::Warning(text));
        }
        let mut result = Ok(());
        for block in self.blocks.list().iter().filter(|block| !block.tombstones().is_empty()) {
            let done = self.merge(&[block.meta().ulid], Pace::Hurried).map_err(|(error, _)| error);
            let is_done = self.told("cleaning of tombstones", done);
            cleaned.blocks += usize::from(is_done.is_ok());
            result = result.and(is_done);
        }
        result.map(|()| cleaned)
    }
}
