//! Head to block, blocks to block, and which blocks may go.
//!
//! The decisions are pure functions over descriptions of blocks (`plan.rs`, `retention.rs`); the
//! work streams over series in label order (`flush.rs`, `merge.rs`) and holds one series' samples
//! at a time. Nothing here removes anything: a new block is durable before `db` lets go of what
//! it takes the place of.

mod flush;
mod merge;
mod plan;
mod retention;

use std::path::PathBuf;
use std::sync::Arc;

use crate::disk::{Disk, StorageError};

pub use flush::{flush_window, occupied_windows};
pub use merge::{Merged, merge_blocks};
pub use plan::{Candidate, Limits, plan};
pub use retention::{expired, oversized};

/// Where blocks are written, and whether to go on.
pub struct Workshop<'a> {
    /// The door to files.
    pub disk: &'a Arc<dyn Disk>,
    /// Directory of the blocks.
    pub blocks_dir: PathBuf,
    /// Length of the smallest blocks.
    pub window_ms: i64,
    /// Asked often; its error ends the work and what was written is removed.
    pub check: &'a dyn Fn() -> Result<(), StorageError>,
    /// Told of parts of the head that do not check; a flush leaves them out, or no window would
    /// ever be flushed again.
    pub damaged: &'a dyn Fn(&StorageError),
}

impl std::fmt::Debug for Workshop<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Workshop").field("blocks_dir", &self.blocks_dir).finish_non_exhaustive()
    }
}
