//! The reading side of the log.

use std::path::Path;
use std::sync::Arc;

use super::{Damage, Position};
use crate::disk::{Disk, StorageError};

/// What replay comes across.
#[derive(Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// A record as it was appended.
    Record {
        /// Where it stands.
        position: Position,
        /// Its kind.
        kind: u8,
        /// Its payload, checked.
        payload: &'a [u8],
    },
    /// Bytes that were left out.
    Damage(Damage),
}

/// Reads the log in order. Reads what was there when it was opened; damage never ends it.
#[derive(Debug)]
pub struct Replay {}

impl Replay {
    /// Begins at the first record whose number is at least `from.sequence`.
    /// An error only where the directory cannot be listed; a missing directory is an empty log.
    pub fn open(disk: Arc<dyn Disk>, dir: &Path, from: Position) -> Result<Self, StorageError> {
        let _ = (disk, dir, from);
        unreachable!("BUG: not built yet")
    }

    /// The next record or damage; `None` at the end.
    pub fn next_item(&mut self) -> Option<Item<'_>> {
        unreachable!("BUG: not built yet")
    }

    /// Bytes of all segments that are to be read, and of those read so far; for progress.
    pub fn progress(&self) -> (u64, u64) {
        unreachable!("BUG: not built yet")
    }
}
