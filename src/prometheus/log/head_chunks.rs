//! Head chunk files: full chunks that Prometheus moved out of memory before their block is
//! written.
//!
//! A file begins with magic `0x0130bc91`, version 1 and three zeros. A chunk is its series (u64),
//! first and last millisecond, encoding (top bit: late samples), length of the payload (uvarint),
//! payload, and a CRC-32C of all of that. Zeros end a file.

use std::path::Path;

use super::super::castagnoli::crc32c;
use super::super::chunk::Encoding;
use super::super::file::{BigEndian as _, FinishedFile};
use crate::disk::{Disk, StorageError};
use crate::encoding::cursor::{Cursor, CursorError};
use crate::model::TimeRange;

const HEADER: [u8; 8] = [0x01, 0x30, 0xbc, 0x91, 1, 0, 0, 0];
/// Top bit of the encoding.
const LATE: u8 = 0x80;

/// A chunk in such a file.
#[derive(Debug, Clone, Copy)]
pub struct HeadChunk<'a> {
    /// Number of the series.
    pub series: u64,
    /// What it says that it covers.
    pub range: TimeRange,
    /// Encoding of the payload; `None` for one that is not known.
    pub encoding: Option<Encoding>,
    /// Whether its samples came late.
    pub is_late: bool,
    /// The payload.
    pub payload: &'a [u8],
}

/// Hands the chunks of a file to `take`, in order. Damage is an error, and what lies behind it
/// cannot be found; what lies before was handed over.
pub fn read_head_chunks(
    disk: &dyn Disk,
    path: &Path,
    take: &mut dyn FnMut(HeadChunk<'_>) -> Result<(), StorageError>,
) -> Result<(), StorageError> {
    let file = FinishedFile::open(disk, path)?;
    if file.len() == 0 {
        return Ok(());
    }
    if *file.slice(0, HEADER.len() as u64)? != HEADER {
        return Err(file.corrupt(0, "not a file of head chunks"));
    }
    let bytes = file.slice(0, file.len())?;
    let mut at = HEADER.len();
    while at < bytes.len() {
        let rest = &bytes[at..];
        let is_end = rest[..rest.len().min(24)].iter().all(|&byte| byte == 0);
        if is_end {
            return Ok(());
        }
        let (chunk, len, crc) = read_chunk(rest).map_err(|e| file.misread(at as u64, e))?;
        if crc32c(&rest[..len]) != crc {
            return Err(file.corrupt(at as u64, "the checksum of a head chunk does not check"));
        }
        take(chunk)?;
        at += len + 4;
    }
    Ok(())
}

/// A chunk, its length without the checksum, and the checksum.
fn read_chunk(bytes: &[u8]) -> Result<(HeadChunk<'_>, usize, u32), CursorError> {
    let mut cursor = Cursor::new(bytes);
    let series = cursor.be_u64()?;
    let range = TimeRange { min_ms: cursor.be_i64()?, max_ms: cursor.be_i64()? };
    let encoding = cursor.u8()?;
    let payload = cursor.sized_bytes()?;
    let len = cursor.offset();
    let chunk = HeadChunk {
        series,
        range,
        encoding: Encoding::from_u8(encoding & !LATE),
        is_late: encoding & LATE != 0,
        payload,
    };
    Ok((chunk, len, cursor.be_u32()?))
}
