//! Rows of the index: what labels a series has, and where its chunks lie.
//!
//! Both are kept in blocks of a fixed number of rows, each block readable by itself. Label rows
//! store the ranks of those values that do not follow from others, as differences to the row
//! before; chunk rows store lengths (chunks lie one behind the other, in the order of series) and
//! the column of timestamps. The bytes: `storage-format.md`, section 8.

use super::shapes::Shape;
use crate::encoding::cursor::{Cursor, CursorError};
use crate::encoding::varint::{write_uvarint, write_varint};

/// Label rows in one block.
pub(super) const LABEL_ROWS: u32 = 64;
/// Chunk rows in one block.
pub(super) const CHUNK_ROWS: u32 = 32;

/// Stored values that a row can mark as changed one by one.
const MASK_BITS: usize = 60;

/// Where one chunk of a series lies, and which timestamps it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkRef {
    /// From the start of the chunk file.
    pub offset: u64,
    /// In bytes.
    pub len: u32,
    /// Number of the column of timestamps.
    pub column: u32,
    /// First row of the column and number of rows; `None` for the whole column.
    pub part: Option<(u32, u32)>,
}

/// Writes label rows.
#[derive(Debug, Default)]
pub(super) struct LabelRowEncoder {
    pub(super) out: Vec<u8>,
    /// Where each block begins.
    pub(super) starts: Vec<u32>,
    rows: u32,
    shape: u32,
    stored: Vec<u32>,
}

impl LabelRowEncoder {
    /// Appends a row with the ranks of its stored values; `None` beyond 4 GiB.
    pub(super) fn push(&mut self, shape: u32, stored: &[u32]) -> Option<()> {
        let begins_block = self.rows.is_multiple_of(LABEL_ROWS);
        if begins_block {
            self.starts.push(u32::try_from(self.out.len()).ok()?);
        }
        if begins_block || shape != self.shape || stored.len() > MASK_BITS {
            write_uvarint(&mut self.out, u64::from(shape) << 1 | 1);
            for &rank in stored {
                write_uvarint(&mut self.out, u64::from(rank));
            }
        } else {
            let changes =
                || stored.iter().zip(&self.stored).enumerate().filter(|(_, (a, b))| a != b);
            let mask = changes().fold(0_u64, |mask, (i, _)| mask | 1 << i);
            write_uvarint(&mut self.out, mask << 1);
            for (_, (&now, &before)) in changes() {
                write_varint(&mut self.out, i64::from(now) - i64::from(before));
            }
        }
        self.shape = shape;
        self.stored.clear();
        self.stored.extend_from_slice(stored);
        self.rows += 1;
        Some(())
    }
}

/// Reads the label rows of one block from its first on.
#[derive(Debug, Default)]
pub(super) struct LabelRow {
    /// Number of the shape.
    pub(super) shape: usize,
    /// Ranks of the stored values.
    pub(super) stored: Vec<u32>,
}

/// What a block says that cannot be, and at which of its bytes.
pub(super) type Misread = (usize, &'static str);

pub(super) fn misread(error: CursorError) -> Misread {
    (error.offset(), error.what())
}

impl LabelRow {
    /// Reads the next row over this one.
    pub(super) fn advance(
        &mut self,
        cursor: &mut Cursor<'_>,
        shapes: &[Shape],
    ) -> Result<(), Misread> {
        let at = cursor.offset();
        let head = cursor.uvarint().map_err(misread)?;
        if head & 1 == 1 {
            let shape = usize::try_from(head >> 1).ok().and_then(|i| Some((i, shapes.get(i)?)));
            let Some((number, shape)) = shape else {
                return Err((at, "a row names no shape"));
            };
            self.shape = number;
            self.stored.clear();
            for _ in 0..shape.stored.len() {
                self.stored.push(cursor.uvarint_u32().map_err(misread)?);
            }
            return Ok(());
        }
        let mut mask = head >> 1;
        while mask != 0 {
            let position = mask.trailing_zeros() as usize;
            mask &= mask - 1;
            let at = cursor.offset();
            let change = cursor.varint().map_err(misread)?;
            let rank = self.stored.get_mut(position).ok_or((at, "a row changes no value"))?;
            let changed = i64::from(*rank).checked_add(change);
            *rank = changed
                .and_then(|rank| u32::try_from(rank).ok())
                .ok_or((at, "a row changes a rank to none"))?;
        }
        Ok(())
    }
}

/// Writes chunk rows.
#[derive(Debug, Default)]
pub(super) struct ChunkRowEncoder {
    /// The blocks that are not yet in the file.
    pub(super) out: Vec<u8>,
    /// Where each block begins, from the start of the section.
    pub(super) starts: Vec<u64>,
    rows: u32,
    column: u32,
    next: Option<u64>,
}

impl ChunkRowEncoder {
    /// Appends the row of a series with at least one chunk; `written` bytes of the section are in
    /// the file already.
    pub(super) fn push(&mut self, written: u64, chunks: &[ChunkRef]) {
        let first = chunks.first().expect("BUG: a series of a block has a chunk");
        assert!(self.next.is_none_or(|next| next == first.offset), "BUG: chunks have a gap");
        if self.rows.is_multiple_of(CHUNK_ROWS) {
            self.starts.push(written + self.out.len() as u64);
            write_uvarint(&mut self.out, first.offset);
            self.column = 0;
        }
        for (i, chunk) in chunks.iter().enumerate() {
            let change = i64::from(chunk.column) - i64::from(self.column);
            let flags = u64::from(chunk.part.is_some()) << 1 | u64::from(i + 1 < chunks.len());
            write_uvarint(&mut self.out, crate::encoding::varint::zigzag(change) << 2 | flags);
            write_uvarint(&mut self.out, u64::from(chunk.len));
            if let Some((start, count)) = chunk.part {
                write_uvarint(&mut self.out, u64::from(start));
                write_uvarint(&mut self.out, u64::from(count));
            }
            self.column = chunk.column;
            self.next = Some(chunk.offset + u64::from(chunk.len));
        }
        self.rows += 1;
    }
}

/// Reads the chunk rows of one block from its first on.
#[derive(Debug, Default)]
pub(super) struct ChunkRow {
    /// The chunks of the row, ascending by time.
    pub(super) chunks: Vec<ChunkRef>,
    column: u32,
    next: u64,
}

impl ChunkRow {
    /// Begins a block.
    pub(super) fn begin(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Misread> {
        self.next = cursor.uvarint().map_err(misread)?;
        self.column = 0;
        Ok(())
    }

    /// Reads the next row over this one.
    pub(super) fn advance(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Misread> {
        self.chunks.clear();
        loop {
            let at = cursor.offset();
            let head = cursor.uvarint().map_err(misread)?;
            let change = crate::encoding::varint::unzigzag(head >> 2);
            let column = i64::from(self.column).checked_add(change);
            self.column = column
                .and_then(|column| u32::try_from(column).ok())
                .ok_or((at, "a chunk names no column"))?;
            let len = cursor.uvarint_u32().map_err(misread)?;
            let part = if head & 2 == 0 {
                None
            } else {
                let start = cursor.uvarint_u32().map_err(misread)?;
                Some((start, cursor.uvarint_u32().map_err(misread)?))
            };
            self.chunks.push(ChunkRef { offset: self.next, len, column: self.column, part });
            self.next = self.next.saturating_add(u64::from(len));
            if head & 1 == 0 {
                return Ok(());
            }
        }
    }
}
