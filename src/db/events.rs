//! The head's events as the database tells them.

use std::sync::Arc;

use super::{Event, Observer};
use crate::head;

/// Hands events of the head on.
#[derive(Debug)]
pub(super) struct HeadEvents(pub(super) Arc<dyn Observer>);

impl head::Observer for HeadEvents {
    fn observe(&self, event: head::Event<'_>) {
        let told = match event {
            head::Event::Damaged { path, what } => {
                Event::Warning(format!("{}: {what}", path.display()))
            }
            head::Event::Quarantined { from, to, reason } => {
                let reason = format!("{reason} (it lay at {})", from.display());
                Event::Quarantined { path: to.to_owned(), reason }
            }
            head::Event::RecordsMissing { group, count } => Event::Warning(format!(
                "{count} records of group {group} are missing in the log; its series resume later"
            )),
            head::Event::Sealed { groups, chunks, bytes } => {
                Event::Sealed { groups, chunks, bytes }
            }
            head::Event::Checkpointed { bytes, first_segment } => {
                Event::Checkpointed { bytes, first_segment }
            }
            head::Event::Replayed { records, samples, took } => {
                Event::Replayed { records, samples, took }
            }
            head::Event::SyncFailed { error } => {
                Event::Warning(format!("the log could not be synced: {error}"))
            }
            head::Event::MaintenanceFailed { what, error } => {
                Event::Warning(format!("{what} failed: {error}"))
            }
        };
        self.0.event(&told);
    }
}
