//! Intervals of a block's series that are hidden.
//!
//! Magic `0x0130ba30`, version 1, then entries (uvarint series, varint first and last
//! millisecond), then a CRC-32C of the entries alone.

use std::collections::BTreeMap;
use std::path::Path;

use super::castagnoli::crc32c;
use super::file::{BigEndian as _, read_whole};
use crate::disk::{Disk, StorageError};
use crate::encoding::cursor::{Cursor, CursorError};
use crate::encoding::varint::{write_uvarint, write_varint};
use crate::model::TimeRange;

/// File name.
pub(super) const TOMBSTONES_FILE: &str = "tombstones";
const MAGIC: u32 = 0x0130_ba30;
const HEADER_BYTES: usize = 5;
/// Bytes of the largest file that is read.
const BYTES_MAX: u64 = 1 << 30;

/// Hidden intervals by series.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tombstones {
    by_series: BTreeMap<u32, Vec<TimeRange>>,
}

impl Tombstones {
    /// Whether nothing is hidden.
    pub fn is_empty(&self) -> bool {
        self.by_series.is_empty()
    }

    /// Number of intervals.
    pub fn len(&self) -> usize {
        self.by_series.values().map(Vec::len).sum()
    }

    /// Hides an interval of a series.
    pub fn add(&mut self, series: u32, range: TimeRange) {
        let ranges = self.by_series.entry(series).or_default();
        if !ranges.iter().any(|known| known.min_ms <= range.min_ms && range.max_ms <= known.max_ms)
        {
            ranges.push(range);
        }
    }

    /// What is hidden of a series.
    pub fn of(&self, series: u32) -> &[TimeRange] {
        self.by_series.get(&series).map_or(&[], Vec::as_slice)
    }

    /// The file's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_be_bytes().to_vec();
        out.push(1);
        for (&series, ranges) in &self.by_series {
            for range in ranges {
                write_uvarint(&mut out, u64::from(series));
                write_varint(&mut out, range.min_ms);
                write_varint(&mut out, range.max_ms);
            }
        }
        let crc = crc32c(&out[HEADER_BYTES..]);
        out.extend_from_slice(&crc.to_be_bytes());
        out
    }

    /// Reads the file; one that is not there hides nothing.
    pub fn read(disk: &dyn Disk, path: &Path) -> Result<Self, StorageError> {
        if !disk.exists(path) {
            return Ok(Self::default());
        }
        let bytes = read_whole(disk, path, BYTES_MAX)?;
        Self::decode(&bytes).map_err(|(at, what)| StorageError::corrupt(path, at as u64, what))
    }

    /// Reads the file's bytes. The error says where, and what is wrong there.
    pub fn decode(bytes: &[u8]) -> Result<Self, (usize, &'static str)> {
        let say = |error: CursorError| (error.offset(), error.what());
        let (body, crc) = bytes.split_last_chunk::<4>().ok_or((0, "the file is too short"))?;
        let mut cursor = Cursor::new(body);
        if cursor.be_u32().map_err(say)? != MAGIC {
            return Err((0, "not a file of tombstones"));
        }
        if cursor.u8().map_err(say)? != 1 {
            return Err((4, "a version of tombstones that is not known"));
        }
        if crc32c(cursor.rest()) != u32::from_be_bytes(*crc) {
            return Err((HEADER_BYTES, "the checksum does not check"));
        }
        let mut stones = Self::default();
        while !cursor.is_empty() {
            let series = cursor.uvarint_u32().map_err(say)?;
            let min_ms = cursor.varint().map_err(say)?;
            let max_ms = cursor.varint().map_err(say)?;
            stones.add(series, TimeRange { min_ms, max_ms });
        }
        Ok(stones)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_read_back_and_damage_is_found() {
        let mut stones = Tombstones::default();
        stones.add(5, TimeRange { min_ms: -3, max_ms: 9 });
        stones.add(5, TimeRange { min_ms: 0, max_ms: 9 });
        stones.add(1, TimeRange { min_ms: i64::MIN, max_ms: i64::MAX });
        assert_eq!(stones.len(), 2);
        let bytes = stones.encode();
        assert_eq!(Tombstones::decode(&bytes), Ok(stones));
        assert_eq!(Tombstones::default().encode(), [1, 0x30, 0xba, 0x30, 1, 0, 0, 0, 0]);
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 4;
            assert!(Tombstones::decode(&damaged).is_err());
            assert!(Tombstones::decode(&bytes[..at]).is_err());
        }
    }
}
