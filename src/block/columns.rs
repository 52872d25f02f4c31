//! The timestamp columns of a block: each distinct vector once.
//!
//! Series of one group share their times, so most series of a block refer to the same few
//! vectors. A series that came late, ended early or was away for a while has some rows of its
//! group's vector, which is then its column's *base*: such a column is a list of runs
//! (`subset.rs`). The file holds the payloads, then a directory of fixed entries (so that a
//! column's times are known without decoding it), then the table of contents. Bytes:
//! `storage-format.md`, section 8.

use std::hash::{BuildHasher, RandomState};
use std::path::Path;

use hashbrown::HashMap;

use super::subset::{Bases, is_subset, read_subset};
use crate::chunk::{Coder, decode_timestamps, encode_timestamps};
use crate::disk::{Disk, StorageError};
use crate::encoding::cursor::Cursor;
use crate::index::units::{Kind, UnitFile, UnitWriter};
use crate::model::TimeRange;

/// Kind and version of column files.
const COLUMNS: Kind = Kind { magic: *b"NXCO", version: 1 };
const ENTRY_BYTES: u64 = 16;
const TOC_BYTES: u64 = 24;

/// Writes the file and remembers what it holds.
#[derive(Debug)]
pub(super) struct ColumnWriter {
    file: UnitWriter,
    base_ms: i64,
    directory: Vec<u8>,
    count: u32,
    /// By content: two hashes under keys that nobody knows, length, first and last time.
    known: HashMap<(u64, u64, u32, i64, i64), u32>,
    keys: (u64, u64),
    bases: Bases,
    payload: Vec<u8>,
}

impl ColumnWriter {
    /// Begins the file; no time will be below `base_ms`, and columns are about `window_ms` long.
    pub(super) fn create(
        disk: &dyn Disk,
        path: &Path,
        base_ms: i64,
        window_ms: i64,
    ) -> Result<Self, StorageError> {
        let key = |salt: u64| RandomState::new().hash_one(salt) | 1;
        Ok(Self {
            file: UnitWriter::create(disk, path, COLUMNS)?,
            base_ms,
            directory: Vec::new(),
            count: 0,
            known: HashMap::new(),
            keys: (key(1), key(2)),
            bases: Bases::new(window_ms),
            payload: Vec::new(),
        })
    }

    /// Number of columns so far.
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// The number of the column with exactly these times (1 to 65,535, ascending).
    pub(super) fn number(&mut self, timestamps: &[i64]) -> Result<u32, StorageError> {
        let (Some(&first), Some(&last)) = (timestamps.first(), timestamps.last()) else {
            unreachable!("BUG: a column has a row");
        };
        let (a, b) = hashes(timestamps, self.keys);
        let key = (a, b, timestamps.len() as u32, first, last);
        if let Some(&number) = self.known.get(&key) {
            return Ok(number);
        }
        let base = self.base_ms;
        let delta = |t: i64| t.checked_sub(base).and_then(|delta| u32::try_from(delta).ok());
        let (Some(min), Some(max)) = (delta(first), delta(last)) else {
            let what = format!("a block cannot hold both {base} ms and {last} ms");
            return Err(StorageError::Unwritable(what));
        };
        let number = self.count;
        self.payload.clear();
        if !self.bases.write_subset(timestamps, number, &mut self.payload) {
            encode_timestamps(timestamps, Coder::Dense, &mut self.payload);
            self.bases.add(timestamps, number, &self.payload);
        }
        self.directory.extend_from_slice(&self.file.position().to_le_bytes()[..6]);
        self.directory.extend_from_slice(&(timestamps.len() as u16).to_le_bytes());
        self.directory.extend_from_slice(&min.to_le_bytes());
        self.directory.extend_from_slice(&max.to_le_bytes());
        self.file.write(&self.payload)?;
        self.count += 1;
        self.known.insert(key, number);
        Ok(number)
    }

    /// Writes directory and table of contents and syncs.
    pub(super) fn finish(mut self) -> Result<u64, StorageError> {
        let directory_at = self.file.position();
        self.file.write(&self.directory)?;
        let mut toc = directory_at.to_le_bytes().to_vec();
        toc.extend_from_slice(&u64::from(self.count).to_le_bytes());
        toc.extend_from_slice(&self.base_ms.to_le_bytes());
        self.file.write(&toc)?;
        self.file.finish()
    }
}

/// Two independent hashes of the times.
fn hashes(timestamps: &[i64], keys: (u64, u64)) -> (u64, u64) {
    let mix = |state: u64, word: u64, key: u64| {
        let product = u128::from(state ^ word) * u128::from(key);
        (product >> 64) as u64 ^ product as u64 ^ state.rotate_left(23)
    };
    timestamps.iter().fold(keys, |(a, b), &t| {
        (mix(a, t as u64, keys.1), mix(b, (t as u64).rotate_left(32), keys.0))
    })
}

/// Reads the file where it lies.
#[derive(Debug)]
pub(super) struct ColumnReader {
    file: UnitFile,
    directory_at: u64,
    count: u32,
    base_ms: i64,
}

/// What the directory says of a column.
#[derive(Debug, Clone, Copy)]
struct Entry {
    offset: u64,
    rows: u16,
    range: TimeRange,
}

impl ColumnReader {
    pub(super) fn open(disk: &dyn Disk, path: &Path) -> Result<Self, StorageError> {
        let file = UnitFile::open(disk, path, COLUMNS)?;
        let Some(toc_at) = file.data_len().checked_sub(TOC_BYTES) else {
            return Err(file.corrupt(0, "columns without a table of contents"));
        };
        let mut cursor = Cursor::new(file.slice(toc_at, TOC_BYTES)?);
        let misread = |e| file.misread(toc_at, e);
        let directory_at = cursor.u64().map_err(misread)?;
        let count = cursor.u64().map_err(misread)?;
        let base_ms = cursor.i64().map_err(misread)?;
        let directory_len = count.checked_mul(ENTRY_BYTES);
        let count = u32::try_from(count).ok();
        match (count, directory_len.and_then(|len| directory_at.checked_add(len))) {
            (Some(count), Some(end)) if end == toc_at => {
                Ok(Self { file, directory_at, count, base_ms })
            }
            _ => Err(file.corrupt(toc_at, "the directory does not fit the file")),
        }
    }

    pub(super) fn file_len(&self) -> u64 {
        self.file.file_len()
    }

    pub(super) fn corrupt(&self, what: String) -> StorageError {
        self.file.corrupt(self.directory_at, what)
    }

    fn entry(&self, number: u32) -> Result<Entry, StorageError> {
        if number >= self.count {
            return Err(self.corrupt(format!("no column {number}")));
        }
        let at = self.directory_at + u64::from(number) * ENTRY_BYTES;
        let mut cursor = Cursor::new(self.file.slice(at, ENTRY_BYTES)?);
        let misread = |e| self.file.misread(at, e);
        let low = cursor.u32().map_err(misread)?;
        let high = cursor.u16().map_err(misread)?;
        let rows = cursor.u16().map_err(misread)?;
        let min = cursor.u32().map_err(misread)?;
        let max = cursor.u32().map_err(misread)?;
        let time = |delta: u32| self.base_ms.saturating_add(i64::from(delta));
        let range = TimeRange { min_ms: time(min), max_ms: time(max) };
        Ok(Entry { offset: u64::from(high) << 32 | u64::from(low), rows, range })
    }

    /// First and last time of a column.
    pub(super) fn range(&self, number: u32) -> Result<TimeRange, StorageError> {
        Ok(self.entry(number)?.range)
    }

    /// Number of rows of a column.
    pub(super) fn rows(&self, number: u32) -> Result<u16, StorageError> {
        Ok(self.entry(number)?.rows)
    }

    /// The times of a column, strictly ascending.
    pub(super) fn read(&self, number: u32) -> Result<Vec<i64>, StorageError> {
        self.read_within(number, true)
    }

    fn read_within(&self, number: u32, may_be_subset: bool) -> Result<Vec<i64>, StorageError> {
        let entry = self.entry(number)?;
        let end = if number + 1 < self.count {
            self.entry(number + 1)?.offset
        } else {
            self.directory_at
        };
        let Some(len) = end.checked_sub(entry.offset) else {
            return Err(self.corrupt(format!("column {number} ends before it begins")));
        };
        let payload = self.file.slice(entry.offset, len)?;
        let rows = usize::from(entry.rows);
        let mut timestamps = Vec::new();
        if may_be_subset && is_subset(payload) {
            let base = |back: u32| match number.checked_sub(back) {
                Some(base) if base < number => self.read_within(base, false),
                _ => Err(self.corrupt(format!("column {number} has no base before it"))),
            };
            timestamps =
                read_subset(payload, rows, base, |what| self.file.corrupt(entry.offset, what))?;
        } else {
            decode_timestamps(payload, rows, &mut timestamps)
                .map_err(|e| self.file.corrupt(entry.offset, e.to_string()))?;
        }
        let is_sound = timestamps.is_sorted_by(|a, b| a < b)
            && timestamps.first() == Some(&entry.range.min_ms)
            && timestamps.last() == Some(&entry.range.max_ms);
        if is_sound {
            Ok(timestamps)
        } else {
            Err(self.file.corrupt(entry.offset, format!("times of column {number} do not check")))
        }
    }
}
