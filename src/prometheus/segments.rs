//! Segment files of a block: chunk after chunk, each with its checksum.
//!
//! A file begins with magic `0x85bd40dd`, version 1 and three zeros. A chunk is the length of its
//! payload (uvarint), its encoding, the payload and a CRC-32C of encoding and payload. A reference
//! has the file's place among the files, from 0, in its upper half, and the byte in its lower.

use std::path::{Path, PathBuf};

use super::castagnoli::{crc32c, extend};
use super::chunk::{self, Encoding};
use super::file::{FinishedFile, GrowingFile};
use crate::disk::{Disk, StorageError};
use crate::encoding::cursor::Cursor;
use crate::encoding::varint::write_uvarint;
use crate::model::Samples;

/// Name of the directory.
pub(super) const CHUNKS_DIR: &str = "chunks";
const HEADER: [u8; 8] = [0x85, 0xbd, 0x40, 0xdd, 1, 0, 0, 0];
/// Bytes of the length of a payload at most.
const LENGTH_BYTES_MAX: u64 = 5;
/// A file that would grow beyond this is ended before.
const FILE_BYTES_MAX: u64 = 512 << 20;

/// The segment files of one block.
#[derive(Debug)]
pub(super) struct Segments {
    dir: PathBuf,
    files: Vec<FinishedFile>,
}

impl Segments {
    /// Opens all files in `dir`; a block without a chunk has none.
    pub(super) fn open(disk: &dyn Disk, dir: &Path) -> Result<Self, StorageError> {
        let mut files = Vec::new();
        if disk.exists(dir) {
            for entry in disk.read_dir(dir).map_err(|e| StorageError::io("list", dir, e))? {
                if entry.is_dir || !entry.name.bytes().all(|byte| byte.is_ascii_digit()) {
                    continue;
                }
                let file = FinishedFile::open(disk, &dir.join(&entry.name))?;
                if *file.slice(0, HEADER.len() as u64)? != HEADER {
                    return Err(file.corrupt(0, "not a segment of chunks"));
                }
                files.push(file);
            }
        }
        Ok(Self { dir: dir.to_owned(), files })
    }

    /// Bytes of all files.
    pub(super) fn len(&self) -> u64 {
        self.files.iter().map(FinishedFile::len).sum()
    }

    /// Appends the samples of a chunk to `out`.
    pub(super) fn read(&self, reference: u64, out: &mut Samples) -> Result<(), StorageError> {
        let (number, at) = ((reference >> 32) as usize, reference & u64::from(u32::MAX));
        let Some(file) = self.files.get(number) else {
            let what = format!("segment {} is missing", number + 1);
            return Err(StorageError::corrupt(&self.dir, 0, what));
        };
        let mut cursor = Cursor::new(file.up_to(at, LENGTH_BYTES_MAX)?);
        let len = cursor.uvarint().map_err(|e| file.misread(at, e))?;
        let base = at + cursor.offset() as u64;
        let bytes = file.slice(base, len.saturating_add(5))?;
        let (body, crc) = bytes.split_at(len as usize + 1);
        if crc32c(body).to_be_bytes() != *crc {
            return Err(file.corrupt(at, "the checksum of a chunk does not check"));
        }
        let encoding = Encoding::from_u8(body[0]).ok_or_else(|| {
            file.corrupt(base, chunk::ChunkError::UnknownEncoding(body[0]).to_string())
        })?;
        let before = out.len();
        chunk::decode(encoding, &body[1..], out).map_err(|e| {
            out.truncate(before);
            file.corrupt(at, e.to_string())
        })
    }
}

/// Writes segment files.
#[derive(Debug)]
pub(super) struct SegmentWriter {
    dir: PathBuf,
    /// The file that grows, and its number from 0.
    open: Option<(GrowingFile, u64)>,
    finished: u64,
}

impl SegmentWriter {
    /// Begins in `dir`, which is there and empty.
    pub(super) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), open: None, finished: 0 }
    }

    /// Writes a chunk and gives its reference.
    pub(super) fn write(
        &mut self,
        disk: &dyn Disk,
        encoding: Encoding,
        payload: &[u8],
    ) -> Result<u64, StorageError> {
        let bytes = payload.len() as u64 + 16;
        let is_full = |(file, _): &(GrowingFile, u64)| file.position() + bytes > FILE_BYTES_MAX;
        if self.open.as_ref().is_none_or(is_full) {
            self.end_file()?;
            let path = self.dir.join(format!("{:06}", self.finished + 1));
            let mut file = GrowingFile::create(disk, &path)?;
            file.write(&HEADER)?;
            self.open = Some((file, self.finished));
        }
        let Some((file, number)) = &mut self.open else {
            unreachable!("BUG: a file was just begun")
        };
        let reference = *number << 32 | file.position();
        let mut head = Vec::new();
        write_uvarint(&mut head, payload.len() as u64);
        let encoding = [encoding.to_u8()];
        head.extend_from_slice(&encoding);
        file.write(&head)?;
        file.write(payload)?;
        file.write(&extend(crc32c(&encoding), payload).to_be_bytes())?;
        Ok(reference)
    }

    fn end_file(&mut self) -> Result<(), StorageError> {
        if let Some((file, _)) = self.open.take() {
            file.finish()?;
            self.finished += 1;
        }
        Ok(())
    }

    /// Makes all files durable; their names are the caller's matter.
    pub(super) fn finish(mut self) -> Result<(), StorageError> {
        self.end_file()
    }
}
