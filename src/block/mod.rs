//! Blocks: immutable, self-contained directories of one stretch of time.
//!
//! A block is `<data>/narthex/blocks/<ULID>/` with four files: `meta.json` (what it is),
//! `index` (labels, postings, rows), `chunks` (values), `columns` (timestamps, each distinct
//! vector once), and `notes` where there is something to note. It appears whole, by a rename, and
//! never changes; what is deleted from it stands elsewhere (`tombstones.rs`). Each binary file is
//! under checksums in units of 4 KiB that are checked at first touch.

mod aggregates;
mod cache;
mod chain;
mod columns;
mod lent;
mod meta;
mod notes;
mod reader;
mod rows;
mod siblings;
mod stretches;
mod subset;
#[cfg(test)]
mod tests;
mod tombstones;
mod ulid;
mod writer;

use crate::index::units::Kind;

pub use cache::ReadCache;
pub use lent::{Lent, Wanted};
pub use meta::{BLOCK_VERSION, Meta, Unread};
pub use notes::{Notes, merge_exemplars};
pub use reader::{Block, Scan, Selection};
pub use stretches::Stretch;
pub use tombstones::{NotTombstones, TOMBSTONES_VERSION, Tombstones};
pub use ulid::Ulid;
pub use writer::BlockWriter;

const INDEX_FILE: &str = "index";
const CHUNK_FILE: &str = "chunks";
const COLUMN_FILE: &str = "columns";

/// End of the name of a directory that is being written or removed; swept away at start.
pub const TEMPORARY: &str = ".tmp";

/// Kind and version of chunk files.
const CHUNKS: Kind = Kind { magic: *b"NXCH", version: 1 };
