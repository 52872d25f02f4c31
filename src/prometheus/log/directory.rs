//! Which files a log has.

use std::path::{Path, PathBuf};

use crate::disk::{Disk, Entry, StorageError};

/// Beginning of a checkpoint's name; the number of the last segment that it covers follows.
pub const CHECKPOINT_PREFIX: &str = "checkpoint.";

/// The files of a log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogDirectory {
    /// The newest checkpoint: number of the last segment that it covers, and its segments.
    pub checkpoint: Option<(u64, Vec<(u64, PathBuf)>)>,
    /// Segments that no checkpoint covers, ascending by number.
    pub segments: Vec<(u64, PathBuf)>,
}

impl LogDirectory {
    /// Looks into `dir`; one that is not there holds no log.
    pub fn open(disk: &dyn Disk, dir: &Path) -> Result<Self, StorageError> {
        let entries = list(disk, dir)?;
        let newest = entries
            .iter()
            .filter(|entry| entry.is_dir)
            .filter_map(|entry| number(entry.name.strip_prefix(CHECKPOINT_PREFIX)?))
            .max();
        let mut log = Self { checkpoint: None, segments: numbered(&entries, dir) };
        if let Some(covered) = newest {
            let dir = dir.join(format!("{CHECKPOINT_PREFIX}{covered:08}"));
            log.segments.retain(|&(segment, _)| segment > covered);
            log.checkpoint = Some((covered, numbered(&list(disk, &dir)?, &dir)));
        }
        Ok(log)
    }
}

/// Files of head chunks in `dir`, ascending by number.
pub fn head_chunk_files(disk: &dyn Disk, dir: &Path) -> Result<Vec<(u64, PathBuf)>, StorageError> {
    Ok(numbered(&list(disk, dir)?, dir))
}

fn list(disk: &dyn Disk, dir: &Path) -> Result<Vec<Entry>, StorageError> {
    if !disk.exists(dir) {
        return Ok(Vec::new());
    }
    disk.read_dir(dir).map_err(|e| StorageError::io("list", dir, e))
}

fn numbered(entries: &[Entry], dir: &Path) -> Vec<(u64, PathBuf)> {
    let files = entries.iter().filter(|entry| !entry.is_dir);
    let mut files: Vec<_> =
        files.filter_map(|entry| Some((number(&entry.name)?, dir.join(&entry.name)))).collect();
    files.sort();
    files
}

/// Digits and nothing else.
fn number(name: &str) -> Option<u64> {
    if name.bytes().all(|byte| byte.is_ascii_digit()) { name.parse().ok() } else { None }
}
