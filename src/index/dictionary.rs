//! The values of one label name: sorted, front-coded, each with the place of its postings.
//!
//! A value is known by its rank. Values stand in blocks of [`BLOCK_VALUES`], each block readable
//! by itself: a uvarint (where in the postings section the block's first new list lies), then for
//! each value the bytes shared with the value before (0 for the first), the length of the rest,
//! the rest, and the place of its postings: `length << 1` where the list follows the last new one,
//! or `length << 1 | 1` and the offset where an equal list was written before. After the blocks
//! stands the table of their starts, one u32 each and one for the end.

use std::cmp::Ordering;

use super::Visit;
use super::units::UnitFile;
use crate::disk::StorageError;
use crate::encoding::cursor::{Cursor, CursorError};
use crate::encoding::varint::write_uvarint;

/// Values in one block.
pub(super) const BLOCK_VALUES: u32 = 16;

/// Where a list lies in the postings section.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct PostingsRef {
    /// From the start of the section.
    pub(super) offset: u64,
    /// In bytes.
    pub(super) len: u64,
}

/// Encodes `values`, sorted, each with its list. A list that follows the one before it in the
/// section is coded without its place.
pub(super) fn encode_dictionary<'a>(
    values: impl Iterator<Item = (&'a str, PostingsRef)>,
) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut starts = Vec::new();
    let mut next = 0;
    let mut previous = "";
    for (i, (value, list)) in values.enumerate() {
        if i.is_multiple_of(BLOCK_VALUES as usize) {
            starts.push(u32::try_from(out.len()).ok()?);
            next = list.offset;
            write_uvarint(&mut out, next);
            previous = "";
        }
        let shared = shared_prefix(previous, value);
        write_uvarint(&mut out, shared as u64);
        write_uvarint(&mut out, (value.len() - shared) as u64);
        out.extend_from_slice(&value.as_bytes()[shared..]);
        if list.offset == next {
            write_uvarint(&mut out, list.len << 1);
            next += list.len;
        } else {
            write_uvarint(&mut out, list.len << 1 | 1);
            write_uvarint(&mut out, list.offset);
        }
        previous = value;
    }
    starts.push(u32::try_from(out.len()).ok()?);
    for start in starts {
        out.extend_from_slice(&start.to_le_bytes());
    }
    Some(out)
}

fn shared_prefix(a: &str, b: &str) -> usize {
    let mut shared = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
    while !b.is_char_boundary(shared) {
        shared -= 1;
    }
    shared
}

/// Reads a dictionary where it lies.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dictionary<'a> {
    file: &'a UnitFile,
    offset: u64,
    table_at: u64,
    value_count: u32,
}

impl<'a> Dictionary<'a> {
    /// The dictionary of `value_count` values in `len` bytes from `offset`.
    pub(super) fn new(
        file: &'a UnitFile,
        offset: u64,
        len: u64,
        value_count: u32,
    ) -> Result<Self, StorageError> {
        let table_len = (u64::from(value_count.div_ceil(BLOCK_VALUES)) + 1) * 4;
        let Some(blocks_len) = len.checked_sub(table_len) else {
            return Err(file.corrupt(offset, "a dictionary is too short for its values"));
        };
        Ok(Self { file, offset, table_at: offset + blocks_len, value_count })
    }

    fn block_count(self) -> u32 {
        self.value_count.div_ceil(BLOCK_VALUES)
    }

    fn block(self, block: u32) -> Result<BlockCursor<'a>, StorageError> {
        let entry_at = self.table_at + u64::from(block) * 4;
        let misread = |e| self.file.misread(entry_at, e);
        let mut cursor = Cursor::new(self.file.slice(entry_at, 8)?);
        let start = u64::from(cursor.u32().map_err(misread)?);
        let end = u64::from(cursor.u32().map_err(misread)?);
        let Some(len) = end.checked_sub(start).filter(|_| self.offset + end <= self.table_at)
        else {
            return Err(self.file.corrupt(entry_at, "blocks of a dictionary do not ascend"));
        };
        let base = self.offset + start;
        let mut cursor = Cursor::new(self.file.slice(base, len)?);
        let next = cursor.uvarint().map_err(|e| self.file.misread(base, e))?;
        let left = (self.value_count - block * BLOCK_VALUES).min(BLOCK_VALUES);
        Ok(BlockCursor { file: self.file, base, cursor, next, left, value: Vec::new() })
    }

    /// The value of a rank, appended to `out`.
    pub(super) fn value(self, rank: u32, out: &mut Vec<u8>) -> Result<(), StorageError> {
        if rank >= self.value_count {
            return Err(self.file.corrupt(self.offset, format!("no value of rank {rank}")));
        }
        let mut block = self.block(rank / BLOCK_VALUES)?;
        for _ in 0..=rank % BLOCK_VALUES {
            block.advance()?;
        }
        out.extend_from_slice(&block.value);
        Ok(())
    }

    /// The list of a value; `None` where the value is not there.
    pub(super) fn find(self, value: &str) -> Result<Option<PostingsRef>, StorageError> {
        let mut block = match self.block_before(value.as_bytes())? {
            Some(block) => self.block(block)?,
            None => return Ok(None),
        };
        while let Some(list) = block.advance()? {
            match block.value.as_slice().cmp(value.as_bytes()) {
                Ordering::Less => {}
                Ordering::Equal => return Ok(Some(list)),
                Ordering::Greater => break,
            }
        }
        Ok(None)
    }

    /// Calls `visit` for the values that begin with `prefix`, ascending, as long as it says so.
    pub(super) fn visit(
        self,
        prefix: &str,
        mut visit: impl FnMut(&str, PostingsRef) -> Visit,
    ) -> Result<(), StorageError> {
        let mut number = self.block_before(prefix.as_bytes())?.unwrap_or(0);
        let mut passed: Vec<u8> = Vec::new();
        while number < self.block_count() {
            let mut block = self.block(number)?;
            let is_passed =
                |value: &[u8], passed: &[u8]| !passed.is_empty() && value.starts_with(passed);
            while let Some(list) = block.advance()? {
                if !block.value.starts_with(prefix.as_bytes()) {
                    if block.value.as_slice() > prefix.as_bytes() {
                        return Ok(());
                    }
                    continue;
                }
                if is_passed(&block.value, &passed) {
                    continue;
                }
                match visit(block.text()?, list) {
                    Visit::Next => {}
                    Visit::Past(len) => {
                        passed.clear();
                        passed.extend(block.value.iter().take(len));
                    }
                    Visit::Stop => return Ok(()),
                }
            }
            number += 1;
            if is_passed(&block.value, &passed) {
                // Behind everything that begins so.
                let mut above = passed.clone();
                *above.last_mut().expect("BUG: something is passed over") += 1;
                number = number.max(self.block_before(&above)?.unwrap_or(0));
            }
        }
        Ok(())
    }

    /// The last block whose first value is not above `value`.
    fn block_before(self, value: &[u8]) -> Result<Option<u32>, StorageError> {
        let (mut low, mut high) = (0, self.block_count());
        while low < high {
            let middle = low + (high - low) / 2;
            let mut block = self.block(middle)?;
            block.advance()?;
            if block.value.as_slice() <= value {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low.checked_sub(1))
    }
}

/// Walks over the values of one block.
struct BlockCursor<'a> {
    file: &'a UnitFile,
    base: u64,
    cursor: Cursor<'a>,
    next: u64,
    left: u32,
    value: Vec<u8>,
}

impl BlockCursor<'_> {
    /// Moves to the next value; its list, or `None` behind the last.
    fn advance(&mut self) -> Result<Option<PostingsRef>, StorageError> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let list = self.step().map_err(|e| self.file.misread(self.base, e))?;
        Ok(Some(list))
    }

    fn step(&mut self) -> Result<PostingsRef, CursorError> {
        let shared = self.cursor.uvarint_max(self.value.len())?;
        self.value.truncate(shared);
        self.value.extend_from_slice(self.cursor.sized_bytes()?);
        let head = self.cursor.uvarint()?;
        let len = head >> 1;
        let offset = if head & 1 == 1 { self.cursor.uvarint()? } else { self.next };
        if head & 1 == 0 {
            self.next = self.next.saturating_add(len);
        }
        Ok(PostingsRef { offset, len })
    }

    fn text(&self) -> Result<&str, StorageError> {
        std::str::from_utf8(&self.value)
            .map_err(|_| self.file.corrupt(self.base, "a value is not UTF-8"))
    }
}
