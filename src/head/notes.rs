//! What the head knows beside samples: exemplars, and descriptions of metrics.
//!
//! Exemplars stand in a ring of bounded size: the one that came first makes room. They belong to a
//! series by its labels and stay when it leaves the head. Both tables are written by checkpoints,
//! and a change is logged while its table is locked, so that a checkpoint whose position lies
//! behind the record finds it in the table.

mod ring;

use std::collections::BTreeMap;
use std::sync::{MutexGuard, PoisonError};

pub(super) use self::ring::Ring;
use super::{Head, SeriesRef};
use crate::disk::StorageError;
use crate::model::{
    Exemplar, ExemplarError, Labels, Matcher, Metadata, SeriesExemplars, TimeRange,
};
use crate::wal::CheckpointWriter;
use crate::wal::record::{self, kind};

/// Metrics of which something is known at most.
const METRICS_MAX: usize = 100_000;
/// Bytes of a metric's name, unit and help at most; what is longer is not kept.
const METADATA_BYTES_MAX: usize = 64 << 10;
/// Bytes at which a record is ended and another begun.
const RECORD_BYTES: usize = 1 << 20;

/// Descriptions by metric name.
pub(super) type MetadataTable = BTreeMap<String, Metadata>;

/// What a commit brings beside samples.
#[derive(Debug, Default)]
pub(super) struct Notes {
    pub exemplars: Vec<(SeriesRef, Exemplar)>,
    pub metadata: Vec<(String, Metadata)>,
}

/// What became of the exemplars of a commit.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ExemplarOutcome {
    /// Stored, there already, or of no use because none are kept.
    pub accepted: usize,
    /// Refused: the number of the call, and why. Ascending.
    pub rejected: Vec<(usize, ExemplarError)>,
}

/// Figures of the exemplars in the head.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ExemplarStats {
    /// Stored since the start.
    pub appended: u64,
    /// Refused as out of order since the start.
    pub out_of_order: u64,
    /// Kept now.
    pub kept: usize,
    /// Series that have some.
    pub series: usize,
    /// Time of the one that will make room next.
    pub oldest_ms: Option<i64>,
    /// How many may be kept.
    pub max: usize,
}

impl Head {
    pub(super) fn ring(&self) -> MutexGuard<'_, Ring> {
        self.exemplars.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn metadata_table(&self) -> MutexGuard<'_, MetadataTable> {
        self.metadata.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps at most `max` exemplars from now on; 0: none, and none is taken.
    pub fn set_exemplars_max(&self, max: usize) {
        self.ring().resize(max);
    }

    /// Figures of the exemplars.
    pub fn exemplar_stats(&self) -> ExemplarStats {
        self.ring().stats()
    }

    /// Exemplars within `range` of the series that satisfy all matchers of one of `selectors`,
    /// in ascending order of labels.
    pub fn exemplars(&self, selectors: &[Vec<Matcher>], range: TimeRange) -> Vec<SeriesExemplars> {
        self.ring().select(range, |series| {
            selectors.iter().any(|matchers| {
                matchers.iter().all(|m| m.matches(series.get(&m.name).unwrap_or("")))
            })
        })
    }

    /// All metrics of which something is known, by name, and what.
    pub fn metadata(&self) -> Vec<(String, Metadata)> {
        self.metadata_table().iter().map(|(name, m)| (name.clone(), m.clone())).collect()
    }

    /// Logs and keeps what a commit brings beside samples.
    pub(super) fn store_notes(&self, notes: Notes) -> Result<ExemplarOutcome, StorageError> {
        self.store_metadata(notes.metadata)?;
        self.store_exemplars(notes.exemplars)
    }

    fn store_exemplars(
        &self,
        exemplars: Vec<(SeriesRef, Exemplar)>,
    ) -> Result<ExemplarOutcome, StorageError> {
        let mut outcome = ExemplarOutcome::default();
        if exemplars.is_empty() {
            return Ok(outcome);
        }
        let max_ms = self.options.clock.now_ms().saturating_add(self.options.future_limit_ms);
        let labels: Vec<Option<Labels>> = {
            let register = self.register_read();
            let labels = |series: &SeriesRef| {
                register.home(*series).and_then(|_| register.labels(series.id.0))
            };
            exemplars.iter().map(|(series, _)| labels(series)).collect()
        };
        let mut ring = self.ring();
        let (mut body, mut taken) = (Vec::new(), Vec::new());
        for (call, (labels, (_, exemplar))) in labels.into_iter().zip(exemplars).enumerate() {
            let judged = match labels {
                _ if exemplar.t_ms > max_ms => Err(ExemplarError::TooFarInFuture),
                None => Err(ExemplarError::UnknownSeries),
                Some(labels) => ring.take(&labels, &exemplar).map(|is_new| (is_new, labels)),
            };
            match judged {
                Ok((is_new, labels)) => {
                    outcome.accepted += 1;
                    if is_new {
                        record::write_exemplar(&mut body, &labels, &exemplar);
                        taken.push((labels, exemplar));
                    }
                }
                Err(error) => outcome.rejected.push((call, error)),
            }
        }
        if !body.is_empty()
            && let Err(error) = self.log.append(&[(kind::EXEMPLARS, &body)])
        {
            // What made room for them is gone; they are not kept without being logged.
            for (labels, exemplar) in &taken {
                ring.remove(labels, exemplar);
            }
            return Err(error);
        }
        Ok(outcome)
    }

    fn store_metadata(&self, metadata: Vec<(String, Metadata)>) -> Result<(), StorageError> {
        if metadata.is_empty() {
            return Ok(());
        }
        let mut table = self.metadata_table();
        let mut body = Vec::new();
        let mut changed = BTreeMap::new();
        for (name, metadata) in metadata {
            let bytes = name.len() + metadata.unit.len() + metadata.help.len();
            let is_known = table.contains_key(&name) || changed.contains_key(&name);
            let has_room = is_known || table.len() + changed.len() < METRICS_MAX;
            let says_something = metadata != Metadata::default();
            if table.get(&name) != Some(&metadata)
                && bytes <= METADATA_BYTES_MAX
                && has_room
                && says_something
            {
                changed.insert(name, metadata);
            }
        }
        for (name, metadata) in &changed {
            record::write_metadata(&mut body, name, metadata);
        }
        if !body.is_empty() {
            self.log.append(&[(kind::METADATA, &body)])?;
            table.extend(changed);
        }
        Ok(())
    }

    /// Applies an exemplar of log or checkpoint.
    pub(super) fn replay_exemplar(&self, series: &Labels, exemplar: &Exemplar) {
        // What is there already, and what made room before, is refused again.
        let _ = self.ring().take_logged(series, exemplar);
    }

    /// Applies a description of log or checkpoint.
    pub(super) fn replay_metadata(&self, name: String, metadata: Metadata) {
        self.metadata_table().insert(name, metadata);
    }

    /// Writes both tables.
    pub(super) fn write_notes(&self, writer: &mut CheckpointWriter) -> Result<(), StorageError> {
        let mut bodies = vec![Vec::new()];
        for (series, exemplar) in self.ring().in_order() {
            let body = bodies.last_mut().expect("BUG: there is always a body");
            record::write_exemplar(body, series, exemplar);
            if body.len() >= RECORD_BYTES {
                bodies.push(Vec::new());
            }
        }
        for body in bodies.iter().filter(|body| !body.is_empty()) {
            writer.append(kind::EXEMPLARS, body)?;
        }
        let mut bodies = vec![Vec::new()];
        for (name, metadata) in &*self.metadata_table() {
            let body = bodies.last_mut().expect("BUG: there is always a body");
            record::write_metadata(body, name, metadata);
            if body.len() >= RECORD_BYTES {
                bodies.push(Vec::new());
            }
        }
        for body in bodies.iter().filter(|body| !body.is_empty()) {
            writer.append(kind::METADATA, body)?;
        }
        Ok(())
    }
}
