//! What the head tells whoever runs it.
//!
//! The library has no logger and no metrics: an [`Observer`] passed in the options is called for
//! every event, from whatever thread it happens on. It must not call back into the head.

use std::fmt;
use std::path::Path;
use std::time::Duration;

/// Something that happened inside the storage.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Event<'a> {
    /// Bytes of a file did not check; what they held was left out.
    Damaged {
        /// Which file.
        path: &'a Path,
        /// Where and why.
        what: &'a str,
    },
    /// A damaged file was moved away.
    Quarantined {
        /// Where it lay.
        from: &'a Path,
        /// Where it lies now.
        to: &'a Path,
        /// Why.
        reason: &'a str,
    },
    /// Records of a group are missing in the log; its series resume at their next absolute
    /// sample.
    RecordsMissing {
        /// The group's number.
        group: u32,
        /// How many records.
        count: u64,
    },
    /// Groups were sealed into a head file.
    Sealed {
        /// How many groups.
        groups: usize,
        /// Chunks written.
        chunks: usize,
        /// Bytes written.
        bytes: u64,
    },
    /// A checkpoint was written, and older log segments were dropped.
    Checkpointed {
        /// Bytes written.
        bytes: u64,
        /// Oldest segment that is kept.
        first_segment: u64,
    },
    /// A part of the work of maintenance failed; it will be tried again.
    MaintenanceFailed {
        /// What was tried.
        what: &'a str,
        /// The error's text.
        error: &'a str,
    },
    /// The log could not be made durable.
    SyncFailed {
        /// The error's text.
        error: &'a str,
    },
    /// The log was replayed.
    Replayed {
        /// Records applied.
        records: u64,
        /// Samples applied.
        samples: u64,
        /// How long it took, the reading of head files included.
        took: Duration,
    },
}

/// Hears [`Event`]s.
pub trait Observer: Send + Sync + fmt::Debug {
    /// Called once for each event.
    fn observe(&self, event: Event<'_>);
}

/// Hears nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoObserver;

impl Observer for NoObserver {
    fn observe(&self, _event: Event<'_>) {}
}
