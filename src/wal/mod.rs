//! The log of what the head accepted, and the container of its checkpoints.
//!
//! One [`Log`] for the database, in one order: a container of opaque payloads, each with a kind
//! that its owner gives it (1 to [`KIND_MAX`]). What the payloads say is the head's matter. The
//! bytes are specified in `storage-format.md`, section 4.
//!
//! Contract:
//! - [`Log::append`] hands all payloads of one call to the system with one write, next to one
//!   another; after `Ok` the end of the process loses none of them. After an error none of them
//!   is in the log, and the next call works on a clean end.
//! - `sync_interval` is the greatest age of acknowledged records that are not on the medium: the
//!   [`Syncer`] begins at half of it, appends wait when it is reached. Zero: every append is
//!   synced before it returns, and concurrent ones share a sync.
//! - a failed sync is never repeated on the same file: what was not synced is still in memory and
//!   goes into a new segment. Where that fails too, calls give [`StorageError::Unwritable`] until
//!   one succeeds.
//! - a loss of power costs a suffix and never leaves a hole; bytes that rot cost the records that
//!   they belong to, and [`Replay`] says which.
//! - every record has a number, its *sequence*; [`Position::sequence`] orders positions. A record
//!   that had to be written twice is replayed once.
//!
//! Recovery: read the newest checkpoint, [`Log::open`] with its position (which puts an end to
//! the old segments), then [`Replay`] from that position.

mod checkpoint;
mod frame;
mod log;
pub mod record;
mod replay;
mod reread;
mod segment;
mod tail;
mod walk;
mod wild;
mod window;

#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;

#[cfg(doc)]
use crate::disk::StorageError;

pub use checkpoint::{CheckpointReader, CheckpointWriter, positions, read_newest, read_up_to};
pub use log::{Log, LogOptions, LogStats, SegmentInfo, Syncer};
pub use replay::{Item, Replay};
pub use reread::Reread;
pub use tail::Tail;
pub use wild::replay_bytes;

/// The greatest kind that the owner of the log may use; 0 and those above are the container's.
pub const KIND_MAX: u8 = 239;

/// Most bytes in one payload.
pub const PAYLOAD_BYTES_MAX: usize = 64 << 20;

/// A place in the log. Ordered by [`Position::sequence`]; segment and offset say where to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position {
    /// Number of the record that stands here, or will; counted over the life of the log.
    pub sequence: u64,
    /// Number of the segment.
    pub segment: u64,
    /// Byte in the segment's file.
    pub offset: u64,
}

impl Position {
    /// Before the first record of any log.
    pub const START: Self = Self { sequence: 0, segment: 0, offset: 0 };
}

/// Bytes that did not check, and what that costs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// In which file; the log's directory where a whole segment is missing.
    pub path: PathBuf,
    /// First byte that was left out.
    pub offset: u64,
    /// How many bytes were left out.
    pub len: u64,
    /// Records that are lost by it and were durable; 0 where none is.
    pub records: u64,
    /// What was found.
    pub kind: DamageKind,
}

/// What a [`Damage`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DamageKind {
    /// The end of the log, not synced when power went: cut, as it should be.
    TornTail,
    /// Bytes in the middle that are not what was written.
    Rotten,
    /// A segment without a header that can be read; its records were found without it, or not.
    NoHeader,
    /// A segment whose format is newer than this program.
    TooNew,
    /// A segment is not there, or cannot be opened.
    MissingSegment,
}

impl Damage {
    /// What happened, without the path.
    pub fn what(&self) -> String {
        let what = match self.kind {
            DamageKind::TornTail => "torn or damaged end, not known to be synced, cut",
            DamageKind::Rotten => "damaged bytes",
            DamageKind::NoHeader => "no readable header",
            DamageKind::TooNew => "written by a newer version",
            DamageKind::MissingSegment => "segment missing or unreadable",
        };
        let Self { offset, len, records, .. } = self;
        format!("{what}: {len} bytes at {offset}, {records} records lost")
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.what())
    }
}
