//! The reading side of a head file.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::{
    COLUMN_BYTES, END_MAGIC, ENTRY_BYTES, HEADER_BYTES, MAGIC, TRAILER_BYTES, TileMeta, VERSION,
};
use crate::chunk::{ChunkError, SAMPLES_PER_CHUNK_MAX, decode_samples, decode_timestamps};
use crate::disk::{Disk, Mapped, StorageError};
use crate::encoding::checksum::crc32;
use crate::encoding::cursor::{Cursor, CursorError};
use crate::model::Samples;

/// An open head file.
#[derive(Debug)]
pub(in crate::head) struct HeadFile {
    pub number: u64,
    pub path: PathBuf,
    mapped: Mapped,
    tiles: Vec<TileMeta>,
    /// Tiles that groups still have.
    tiles_in_use: AtomicU32,
    is_damaged: AtomicBool,
}

/// A chunk of a tile's directory: the values of `count` samples of a series, whose times are
/// `start ..` of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::head) struct Entry {
    pub series: u32,
    pub column: u32,
    pub start: u32,
    pub count: u32,
    pub at: u32,
    pub len: u32,
    pub crc: u32,
}

/// A timestamp column of a tile.
#[derive(Debug, Clone, Copy)]
struct Column {
    at: u32,
    len: u32,
    count: u32,
    crc: u32,
}

impl HeadFile {
    /// Maps a file and checks its tables.
    pub(in crate::head) fn open(
        disk: &dyn Disk,
        path: &Path,
        number: u64,
    ) -> Result<Self, StorageError> {
        let mapped = disk.map(path).map_err(|e| StorageError::io("map", path, e))?;
        let tiles = read_footer(mapped.bytes(), path)?;
        let (tiles_in_use, is_damaged) = (AtomicU32::new(0), AtomicBool::new(false));
        let path = path.to_owned();
        let file = Self { number, path, mapped, tiles, tiles_in_use, is_damaged };
        for index in 0..file.tiles.len() as u32 {
            file.check_tile(index)?;
        }
        // The check looked at most of its pages, and few of them are looked at again soon.
        file.release();
        Ok(file)
    }

    /// Lets go of the pages in memory.
    pub(in crate::head) fn release(&self) {
        self.mapped.release();
    }

    pub(in crate::head) fn tile(&self, index: u32) -> &TileMeta {
        &self.tiles[index as usize]
    }

    pub(in crate::head) fn tiles(&self) -> &[TileMeta] {
        &self.tiles
    }

    pub(in crate::head) fn len(&self) -> u64 {
        self.mapped.bytes().len() as u64
    }

    /// A group took one of the tiles, or let it go.
    pub(in crate::head) fn use_tile(&self, taken: bool) {
        if taken {
            self.tiles_in_use.fetch_add(1, Ordering::AcqRel);
        } else {
            self.tiles_in_use.fetch_sub(1, Ordering::AcqRel);
        }
    }

    pub(in crate::head) fn is_in_use(&self) -> bool {
        self.tiles_in_use.load(Ordering::Acquire) > 0
    }

    /// Whether a chunk or column was met that did not read.
    pub(in crate::head) fn is_damaged(&self) -> bool {
        self.is_damaged.load(Ordering::Acquire)
    }

    /// Numbers of the entries of `series` in a tile.
    pub(in crate::head) fn find(&self, index: u32, series: u32) -> Range<u32> {
        let entries = self.tile(index).entries;
        let first = partition(entries, |n| self.series_at(index, n) < series);
        let mut end = first;
        while end < entries && self.series_at(index, end) == series {
            end += 1;
        }
        first..end
    }

    pub(in crate::head) fn entry(&self, index: u32, n: u32) -> Entry {
        let at = self.tile(index).directory as usize + n as usize * ENTRY_BYTES;
        let word = |i: usize| self.u32_at(at + i * 4);
        Entry {
            series: word(0),
            column: word(1),
            start: word(2),
            count: word(3),
            at: word(4),
            len: word(5),
            crc: word(6),
        }
    }

    /// Greatest series number in any tile.
    pub(in crate::head) fn series_max(&self) -> Option<u32> {
        let lasts = (0..self.tiles.len() as u32).filter_map(|index| {
            let last = self.tile(index).entries.checked_sub(1)?;
            Some(self.series_at(index, last))
        });
        lasts.max()
    }

    /// Appends the times of a whole column.
    pub(in crate::head) fn read_column(
        &self,
        index: u32,
        column: u32,
        out: &mut Vec<i64>,
    ) -> Result<(), StorageError> {
        let column = self.column(index, column);
        let (at, payload) = self.payload(index, column.at, column.len, column.crc)?;
        decode_timestamps(payload, column.count as usize, out).map_err(|e| self.damaged(at, &e))
    }

    /// Appends the samples `range` of a chunk, whose times are `times`.
    pub(in crate::head) fn read_samples(
        &self,
        index: u32,
        entry: &Entry,
        times: &[i64],
        range: Range<usize>,
        out: &mut Samples,
    ) -> Result<(), StorageError> {
        let (at, payload) = self.payload(index, entry.at, entry.len, entry.crc)?;
        decode_samples(payload, times, range, out).map_err(|e| self.damaged(at, &e))
    }

    fn payload(
        &self,
        tile: u32,
        at: u32,
        len: u32,
        crc: u32,
    ) -> Result<(u64, &[u8]), StorageError> {
        let at = self.tile(tile).start + u64::from(at);
        let payload = &self.mapped.bytes()[at as usize..at as usize + len as usize];
        if crc32(payload) != crc {
            self.is_damaged.store(true, Ordering::Release);
            return Err(StorageError::corrupt(&self.path, at, "the checksum of a chunk is wrong"));
        }
        Ok((at, payload))
    }

    fn damaged(&self, at: u64, error: &ChunkError) -> StorageError {
        self.is_damaged.store(true, Ordering::Release);
        StorageError::corrupt(&self.path, at, error.to_string())
    }

    fn u32_at(&self, at: usize) -> u32 {
        let bytes = self.mapped.bytes()[at..].first_chunk();
        u32::from_le_bytes(*bytes.expect("BUG: the tables were checked when the file was opened"))
    }

    fn series_at(&self, index: u32, n: u32) -> u32 {
        self.u32_at(self.tile(index).directory as usize + n as usize * ENTRY_BYTES)
    }

    fn column(&self, index: u32, n: u32) -> Column {
        let tile = self.tile(index);
        let columns = tile.directory as usize + tile.entries as usize * ENTRY_BYTES;
        let at = columns + n as usize * COLUMN_BYTES;
        let word = |i: usize| self.u32_at(at + i * 4);
        Column { at: word(0), len: word(1), count: word(2), crc: word(3) }
    }

    /// Checks everything that look-ups rely on.
    fn check_tile(&self, index: u32) -> Result<(), StorageError> {
        let tile = *self.tile(index);
        let directory = tile.directory as usize..tile.directory as usize + tables_len(&tile);
        let bad = |what| Err(StorageError::corrupt(&self.path, tile.directory, what));
        if crc32(&self.mapped.bytes()[directory]) != tile.crc {
            return bad("the checksum of a directory is wrong");
        }
        let payload_bytes = tile.directory - tile.start;
        let is_inside = |at: u32, len: u32| u64::from(at) + u64::from(len) <= payload_bytes;
        for n in 0..tile.columns {
            let column = self.column(index, n);
            let count = column.count as usize;
            if !is_inside(column.at, column.len) || count == 0 || count > SAMPLES_PER_CHUNK_MAX {
                return bad("a column is out of bounds");
            }
        }
        let mut previous = 0;
        for n in 0..tile.entries {
            let entry = self.entry(index, n);
            let is_column = entry.column < tile.columns;
            let count = if is_column { self.column(index, entry.column).count } else { 0 };
            let end = u64::from(entry.start) + u64::from(entry.count);
            if entry.count == 0 || end > u64::from(count) || !is_inside(entry.at, entry.len) {
                return bad("a chunk is out of bounds");
            }
            if entry.series < previous {
                return bad("the directory is not sorted");
            }
            previous = entry.series;
        }
        Ok(())
    }
}

/// Bytes of a tile's directory and table of columns.
fn tables_len(tile: &TileMeta) -> usize {
    tile.entries as usize * ENTRY_BYTES + tile.columns as usize * COLUMN_BYTES
}

/// The number of the first of `len` items for which `is_before` is false.
fn partition(len: u32, is_before: impl Fn(u32) -> bool) -> u32 {
    let (mut low, mut high) = (0, len);
    while low < high {
        let middle = low + (high - low) / 2;
        if is_before(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

fn read_footer(bytes: &[u8], path: &Path) -> Result<Vec<TileMeta>, StorageError> {
    let corrupt = |at: u64, what: &str| StorageError::corrupt(path, at, what);
    let len = bytes.len() as u64;
    if len < HEADER_BYTES + TRAILER_BYTES || !bytes.starts_with(MAGIC) {
        return Err(corrupt(0, "this is no head file"));
    }
    let word = |at: u64| u32::from_le_bytes([0, 1, 2, 3].map(|i| bytes[at as usize + i]));
    let found = word(8);
    let has_end = bytes.ends_with(END_MAGIC);
    if found > VERSION && !has_end {
        return Err(StorageError::TooNew { path: path.to_owned(), found, supported: VERSION });
    }
    if found != VERSION {
        // No checksum covers the header, but a newer version would end differently.
        return Err(corrupt(8, "the version does not go with the file's end"));
    }
    let trailer = len - TRAILER_BYTES;
    if !has_end {
        return Err(corrupt(trailer, "the file has no end"));
    }
    let start = trailer.checked_sub(u64::from(word(trailer))).filter(|&at| at >= HEADER_BYTES);
    let start = start.ok_or_else(|| corrupt(trailer, "the footer is longer than the file"))?;
    let footer = &bytes[start as usize..trailer as usize];
    if crc32(footer) != word(trailer + 4) {
        return Err(corrupt(start, "the checksum of the footer is wrong"));
    }
    let mut cursor = Cursor::new(footer);
    let mut tiles = Vec::new();
    while !cursor.is_empty() {
        let tile = read_tile(&mut cursor).map_err(|e| corrupt(start, e.what()))?;
        let end = tile.directory.checked_add(tables_len(&tile) as u64);
        let is_inside = end.is_some_and(|end| end <= start);
        if !is_inside || tile.start < HEADER_BYTES || tile.directory < tile.start {
            return Err(corrupt(start, "a tile is out of bounds"));
        }
        tiles.push(tile);
    }
    Ok(tiles)
}

fn read_tile(cursor: &mut Cursor<'_>) -> Result<TileMeta, CursorError> {
    Ok(TileMeta {
        group: cursor.uvarint_u32()?,
        record: cursor.uvarint()?,
        next_row: cursor.uvarint_u32()?,
        start: cursor.uvarint()?,
        directory: cursor.uvarint()?,
        entries: cursor.uvarint_u32()?,
        columns: cursor.uvarint_u32()?,
        min_ms: cursor.varint()?,
        max_ms: cursor.varint()?,
        crc: cursor.u32()?,
    })
}
