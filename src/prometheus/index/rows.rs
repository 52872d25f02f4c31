//! The series of an index file: labels and chunks.

use hashbrown::HashMap;

use super::super::castagnoli::crc32c;
use super::reader::{IndexFile, text};
use crate::disk::StorageError;
use crate::encoding::cursor::{Cursor, CursorError};
use crate::encoding::varint::{write_str, write_uvarint};
use crate::model::{Labels, TimeRange};

/// Bytes of the length of a series' entry at most.
const LENGTH_BYTES_MAX: u64 = 10;

/// A chunk of a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkRow {
    /// Number of the segment file (upper half) and place in it.
    pub reference: u64,
    /// First and last sample.
    pub range: TimeRange,
}

/// Reads series one by one.
#[derive(Debug)]
pub struct Rows<'a> {
    index: &'a IndexFile,
    /// Label pairs met so far, as [`Labels`] stores them.
    arena: Vec<u8>,
    places: HashMap<(u32, u32), (usize, usize)>,
    pairs: Vec<(u32, u32)>,
    chunks: Vec<ChunkRow>,
    bytes: Vec<u8>,
}

impl IndexFile {
    /// A reader of series; cheaper with each that it reads.
    pub fn rows(&self) -> Rows<'_> {
        Rows {
            index: self,
            arena: Vec::new(),
            places: HashMap::new(),
            pairs: Vec::new(),
            chunks: Vec::new(),
            bytes: Vec::new(),
        }
    }
}

impl Rows<'_> {
    /// Reads series `number`.
    pub fn read(&mut self, number: u32) -> Result<(), StorageError> {
        let (file, at) = (&self.index.file, self.index.series_at(number));
        let head = file.up_to(at, LENGTH_BYTES_MAX)?;
        let mut cursor = Cursor::new(head);
        let len = cursor.uvarint().map_err(|e| file.misread(at, e))?;
        let base = at + cursor.offset() as u64;
        let bytes = file.slice(base, len.saturating_add(4))?;
        let (entry, crc) = bytes.split_at(len as usize);
        if crc32c(entry).to_be_bytes() != *crc {
            return Err(file.corrupt(at, "the checksum of a series does not check"));
        }
        self.pairs.clear();
        self.chunks.clear();
        parse(entry, &mut self.pairs, &mut self.chunks).map_err(|e| file.misread(base, e))
    }

    /// Its chunks, as they stand in the file: mostly ascending by time.
    pub fn chunks(&self) -> &[ChunkRow] {
        &self.chunks
    }

    /// Its labels.
    pub fn labels(&mut self) -> Result<Labels, StorageError> {
        self.bytes.clear();
        for i in 0..self.pairs.len() {
            let (start, end) = self.pair(self.pairs[i])?;
            self.bytes.extend_from_slice(&self.arena[start..end]);
        }
        if let Some(labels) = Labels::from_bytes(&self.bytes) {
            return Ok(labels);
        }
        // Out of order, or with an empty value: what a label set is all the same.
        let mut pairs = Vec::with_capacity(self.pairs.len());
        for &(name, value) in &self.pairs {
            pairs.push((text(self.index.symbol(name)?), text(self.index.symbol(value)?)));
        }
        Ok(Labels::from_pairs(pairs))
    }

    fn pair(&mut self, pair: (u32, u32)) -> Result<(usize, usize), StorageError> {
        if let Some(&place) = self.places.get(&pair) {
            return Ok(place);
        }
        let (name, value) = (self.index.symbol(pair.0)?, self.index.symbol(pair.1)?);
        let start = self.arena.len();
        write_str(&mut self.arena, &text(name));
        write_str(&mut self.arena, &text(value));
        let place = (start, self.arena.len());
        self.places.insert(pair, place);
        Ok(place)
    }
}

fn parse(
    entry: &[u8],
    pairs: &mut Vec<(u32, u32)>,
    chunks: &mut Vec<ChunkRow>,
) -> Result<(), CursorError> {
    let mut cursor = Cursor::new(entry);
    for _ in 0..cursor.uvarint_max(entry.len())? {
        pairs.push((cursor.uvarint_u32()?, cursor.uvarint_u32()?));
    }
    let count = cursor.uvarint_max(entry.len())?;
    let (mut end_ms, mut reference) = (0_i64, 0_u64);
    for i in 0..count {
        let min_ms =
            if i == 0 { cursor.varint()? } else { end_ms.wrapping_add_unsigned(cursor.uvarint()?) };
        let max_ms = min_ms.wrapping_add_unsigned(cursor.uvarint()?);
        reference = if i == 0 {
            cursor.uvarint()?
        } else {
            reference.wrapping_add_signed(cursor.varint()?)
        };
        end_ms = max_ms;
        chunks.push(ChunkRow { reference, range: TimeRange { min_ms, max_ms } });
    }
    Ok(())
}

/// The chunks of a series as its entry has them.
pub(super) fn write_chunks(chunks: &[ChunkRow], out: &mut Vec<u8>) {
    use crate::encoding::varint::write_varint;
    write_uvarint(out, chunks.len() as u64);
    let mut before: Option<&ChunkRow> = None;
    for chunk in chunks {
        let TimeRange { min_ms, max_ms } = chunk.range;
        match before {
            None => write_varint(out, min_ms),
            Some(before) => write_uvarint(out, min_ms.wrapping_sub(before.range.max_ms) as u64),
        }
        write_uvarint(out, max_ms.wrapping_sub(min_ms) as u64);
        match before {
            None => write_uvarint(out, chunk.reference),
            Some(before) => {
                write_varint(out, chunk.reference.wrapping_sub(before.reference) as i64);
            }
        }
        before = Some(chunk);
    }
}
