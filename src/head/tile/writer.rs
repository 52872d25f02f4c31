//! The writing side of a head file.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hashbrown::HashMap;

use super::{
    COLUMN_BYTES, END_MAGIC, ENTRY_BYTES, Entry, HEADER_BYTES, HeadFile, MAGIC, TEMPORARY_ENDING,
    TileMeta, VERSION, file_name,
};
use crate::chunk::{Coder, encode_samples, encode_timestamps, samples_in_chunk};
use crate::disk::{Disk, File, StorageError};
use crate::encoding::checksum::crc32;
use crate::encoding::varint::{write_uvarint, write_varint};
use crate::model::Samples;

/// Most samples in one chunk: what a reader decodes to see one of them.
const SAMPLES_PER_CHUNK: usize = 4096;

/// Collects the chunks of one tile.
#[derive(Debug)]
pub(in crate::head) struct TileBuilder {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    columns: HashMap<Vec<i64>, u32>,
    column_table: Vec<[u32; 4]>,
    bounds: Option<(i64, i64)>,
}

impl TileBuilder {
    pub(in crate::head) fn new() -> Self {
        Self {
            bytes: Vec::new(),
            entries: Vec::new(),
            columns: HashMap::new(),
            column_table: Vec::new(),
            bounds: None,
        }
    }

    pub(in crate::head) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes of the payloads so far.
    pub(in crate::head) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(in crate::head) fn chunks(&self) -> usize {
        self.entries.len()
    }

    /// Adds samples of a series whose rows are shared: `rows` are indexes into `times`, ascending,
    /// one for each sample. A run without gaps refers to the column of `times`.
    pub(in crate::head) fn add_rows(
        &mut self,
        series: u32,
        times: &[i64],
        rows: &[u32],
        samples: &Samples,
    ) {
        let mut done = 0;
        while done < rows.len() {
            let piece = rows[done] as usize / SAMPLES_PER_CHUNK;
            let end = ((piece + 1) * SAMPLES_PER_CHUNK).min(times.len());
            let count = rows[done..].partition_point(|&row| (row as usize) < end);
            let count = samples_in_chunk(samples, done..done + count);
            let range = done..done + count;
            let rows = &rows[range.clone()];
            let (first, last) = (rows[0] as usize, rows[count - 1] as usize);
            if last - first + 1 == count {
                let column = self.column(&times[piece * SAMPLES_PER_CHUNK..end]);
                self.chunk(series, column, (first % SAMPLES_PER_CHUNK) as u32, samples, range);
            } else {
                let column = self.column(&samples.timestamps[range.clone()]);
                self.chunk(series, column, 0, samples, range);
            }
            self.widen(times[first], times[last]);
            done += count;
        }
    }

    /// Adds samples of a series with times of their own, strictly ascending.
    pub(in crate::head) fn add_loose(&mut self, series: u32, samples: &Samples) {
        let mut done = 0;
        while done < samples.len() {
            let end = samples.len().min(done + SAMPLES_PER_CHUNK);
            let range = done..done + samples_in_chunk(samples, done..end);
            let times = &samples.timestamps[range.clone()];
            let column = self.column(times);
            self.widen(times[0], times[times.len() - 1]);
            done = range.end;
            self.chunk(series, column, 0, samples, range);
        }
    }

    /// The number of the column with these times; equal ones are stored once.
    fn column(&mut self, times: &[i64]) -> u32 {
        if let Some(&column) = self.columns.get(times) {
            return column;
        }
        let at = self.bytes.len();
        encode_timestamps(times, Coder::Fast, &mut self.bytes);
        let payload = &self.bytes[at..];
        let entry = [at as u32, payload.len() as u32, times.len() as u32, crc32(payload)];
        self.column_table.push(entry);
        let column = self.column_table.len() as u32 - 1;
        self.columns.insert(times.to_vec(), column);
        column
    }

    fn chunk(
        &mut self,
        series: u32,
        column: u32,
        start: u32,
        samples: &Samples,
        range: Range<usize>,
    ) {
        let (at, count) = (self.bytes.len(), range.len() as u32);
        encode_samples(samples, range, Coder::Fast, &mut self.bytes);
        let payload = &self.bytes[at..];
        self.entries.push(Entry {
            series,
            column,
            start,
            count,
            at: at as u32,
            len: payload.len() as u32,
            crc: crc32(payload),
        });
    }

    fn widen(&mut self, min_ms: i64, max_ms: i64) {
        let (min, max) = self.bounds.unwrap_or((min_ms, max_ms));
        self.bounds = Some((min.min(min_ms), max.max(max_ms)));
    }

    /// Appends directory and columns; gives what the footer says, places counted from the tile.
    fn finish(mut self, group: u32, record: u64, next_row: u32) -> (Vec<u8>, TileMeta) {
        // Stable, so that chunks of one series stay in the order in which they were added.
        self.entries.sort_by_key(|entry| entry.series);
        let directory = self.bytes.len();
        self.bytes.reserve(self.entries.len() * ENTRY_BYTES);
        for e in &self.entries {
            for word in [e.series, e.column, e.start, e.count, e.at, e.len, e.crc] {
                self.bytes.extend_from_slice(&word.to_le_bytes());
            }
        }
        self.bytes.reserve(self.column_table.len() * COLUMN_BYTES);
        for word in self.column_table.iter().flatten() {
            self.bytes.extend_from_slice(&word.to_le_bytes());
        }
        let (min_ms, max_ms) = self.bounds.unwrap_or((0, 0));
        let meta = TileMeta {
            group,
            record,
            next_row,
            start: 0,
            directory: directory as u64,
            entries: self.entries.len() as u32,
            columns: self.column_table.len() as u32,
            min_ms,
            max_ms,
            crc: crc32(&self.bytes[directory..]),
        };
        (self.bytes, meta)
    }
}

/// Writes a head file, tile by tile.
#[derive(Debug)]
pub(in crate::head) struct HeadFileWriter {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    number: u64,
    temporary: PathBuf,
    file: Box<dyn File>,
    written: u64,
    tiles: Vec<TileMeta>,
    is_finished: bool,
}

impl HeadFileWriter {
    /// Begins the file with this number in `dir`, which exists.
    pub(in crate::head) fn create(
        disk: Arc<dyn Disk>,
        dir: &Path,
        number: u64,
    ) -> Result<Self, StorageError> {
        let temporary = dir.join(format!("{}{TEMPORARY_ENDING}", file_name(number)));
        if disk.exists(&temporary) {
            let removed = disk.remove_file(&temporary);
            removed.map_err(|e| StorageError::io("remove", &temporary, e))?;
        }
        let created = disk.create(&temporary);
        let mut file = created.map_err(|e| StorageError::io("create", &temporary, e))?;
        let mut header = MAGIC.to_vec();
        header.extend_from_slice(&VERSION.to_le_bytes());
        let appended = file.append(&header);
        let (dir, tiles) = (dir.to_owned(), Vec::new());
        let written = HEADER_BYTES;
        let writer =
            Self { disk, dir, number, temporary, file, written, tiles, is_finished: false };
        appended.map_err(|e| StorageError::io("append", &writer.temporary, e))?;
        Ok(writer)
    }

    /// Adds a tile that covers the records of `group` up to `record` and its rows below
    /// `next_row`.
    pub(in crate::head) fn add(
        &mut self,
        tile: TileBuilder,
        group: u32,
        record: u64,
        next_row: u32,
    ) -> Result<(), StorageError> {
        let (bytes, mut meta) = tile.finish(group, record, next_row);
        let appended = self.file.append(&bytes);
        appended.map_err(|e| StorageError::io("append", &self.temporary, e))?;
        meta.start += self.written;
        meta.directory += self.written;
        self.written += bytes.len() as u64;
        self.tiles.push(meta);
        Ok(())
    }

    /// Makes the file durable and opens it.
    pub(in crate::head) fn finish(mut self) -> Result<Arc<HeadFile>, StorageError> {
        let mut out = Vec::new();
        for tile in &self.tiles {
            write_tile(&mut out, tile);
        }
        let (len, crc) = (out.len() as u32, crc32(&out));
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(&crc.to_le_bytes());
        out.extend_from_slice(END_MAGIC);
        let path = self.dir.join(file_name(self.number));
        let temporary = &self.temporary;
        self.file.append(&out).map_err(|e| StorageError::io("append", temporary, e))?;
        self.file.sync().map_err(|e| StorageError::io("sync", temporary, e))?;
        let renamed = self.disk.rename(temporary, &path);
        renamed.map_err(|e| StorageError::io("rename", temporary, e))?;
        self.is_finished = true;
        self.disk.sync_dir(&self.dir).map_err(|e| StorageError::io("sync", &self.dir, e))?;
        Ok(Arc::new(HeadFile::open(&*self.disk, &path, self.number)?))
    }
}

impl Drop for HeadFileWriter {
    fn drop(&mut self) {
        if !self.is_finished {
            // Each try has a number of its own: on a full disk what they leave would pile up. What
            // stays nevertheless is removed at the next start.
            let _ = self.disk.remove_file(&self.temporary);
        }
    }
}

pub(super) fn write_tile(out: &mut Vec<u8>, tile: &TileMeta) {
    write_uvarint(out, u64::from(tile.group));
    write_uvarint(out, tile.record);
    write_uvarint(out, u64::from(tile.next_row));
    write_uvarint(out, tile.start);
    write_uvarint(out, tile.directory);
    write_uvarint(out, u64::from(tile.entries));
    write_uvarint(out, u64::from(tile.columns));
    write_varint(out, tile.min_ms);
    write_varint(out, tile.max_ms);
    out.extend_from_slice(&tile.crc.to_le_bytes());
}
