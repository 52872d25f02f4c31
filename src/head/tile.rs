//! Head files: sealed parts of groups on the medium.
//!
//! A file holds *tiles*, one for each group of a seal: chunks, the table of timestamp columns they
//! share, and a directory sorted by series, in which a series is found by binary search. The file
//! is written under a temporary name, synced, renamed, and mapped; it never changes. Its bytes are
//! specified in `storage-format.md`, section 6. Opening a file checks all of its tables, so that
//! look-ups need not; a payload is checked when it is read.

mod file;
mod wild;
mod writer;

use std::collections::BTreeMap;
use std::sync::Arc;

pub(super) use self::file::{Entry, HeadFile};
pub use self::wild::read_head_file;
pub(super) use self::writer::{HeadFileWriter, TileBuilder};

/// Ending of the name of a head file.
pub(super) const FILE_ENDING: &str = ".head";
/// Ending of a file that is being written.
pub(super) const TEMPORARY_ENDING: &str = ".tmp";

const MAGIC: &[u8; 8] = b"NTHXHEAD";
const END_MAGIC: &[u8; 4] = b"HEND";
const VERSION: u32 = 1;
const HEADER_BYTES: u64 = 12;
/// Length and checksum of the footer, and the end's magic.
const TRAILER_BYTES: u64 = 12;
const ENTRY_BYTES: usize = 28;
const COLUMN_BYTES: usize = 16;

/// What a file says of one of its tiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TileMeta {
    pub group: u32,
    /// The tile covers the group's records up to this one.
    pub record: u64,
    /// Number of the group's first row that is not in the tile.
    pub next_row: u32,
    /// Where the tile begins; places within it count from here.
    pub start: u64,
    /// Where its directory begins.
    pub directory: u64,
    pub entries: u32,
    pub columns: u32,
    pub min_ms: i64,
    pub max_ms: i64,
    /// Of directory and table of columns.
    pub crc: u32,
}

/// A tile that a group has.
#[derive(Debug, Clone)]
pub(super) struct TileRef {
    pub file: Arc<HeadFile>,
    pub index: u32,
    /// Samples below are in a block.
    pub clip_ms: i64,
}

impl TileRef {
    pub(super) fn meta(&self) -> &TileMeta {
        self.file.tile(self.index)
    }

    /// Whether a sample of `series` is here and in no block. Times that do not read count as one.
    pub(super) fn holds(&self, series: u32) -> bool {
        let mut entries = self.file.find(self.index, series);
        if self.clip_ms <= self.meta().min_ms {
            return !entries.is_empty();
        }
        let mut times = Vec::new();
        entries.any(|n| {
            let entry = self.file.entry(self.index, n);
            times.clear();
            let read = self.file.read_column(self.index, entry.column, &mut times);
            let last = times.get((entry.start + entry.count - 1) as usize);
            read.is_err() || last.is_none_or(|&last_ms| last_ms >= self.clip_ms)
        })
    }
}

/// The head files that are open, by number.
#[derive(Debug, Default)]
pub(super) struct HeadFiles {
    pub by_number: BTreeMap<u64, Arc<HeadFile>>,
    /// Number of the next file.
    pub next: u64,
}

/// Name of the file with this number.
pub(super) fn file_name(number: u64) -> String {
    format!("{number:08}{FILE_ENDING}")
}

/// The number of a head file's name.
pub(super) fn file_number(name: &str) -> Option<u64> {
    name.strip_suffix(FILE_ENDING)?.parse().ok()
}

#[cfg(test)]
mod tests;
