//! Files of Prometheus as they are read and written.
//!
//! A file that is finished is mapped. First touch of a stretch reads it with `pread`, so that a
//! medium that cannot read gives an error; afterwards its bytes are taken from the mapping. What
//! the bytes say is for their readers to check.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::disk::{Disk, File, Mapped, StorageError};
use crate::encoding::cursor::{Cursor, CursorError};

/// Bytes read at first touch.
const STRETCH: u64 = 64 << 10;
/// Appended to the system in pieces of this size.
const BUFFER_BYTES: usize = 256 << 10;

/// A finished file.
#[derive(Debug)]
pub(super) struct FinishedFile {
    path: PathBuf,
    file: Box<dyn File>,
    mapped: Mapped,
    /// One bit for each stretch that was read.
    touched: Vec<AtomicU64>,
}

impl FinishedFile {
    /// Opens a file that nobody writes to any more.
    pub(super) fn open(disk: &dyn Disk, path: &Path) -> Result<Self, StorageError> {
        let file = disk.open(path).map_err(|e| StorageError::io("open", path, e))?;
        let mapped = disk.map(path).map_err(|e| StorageError::io("map", path, e))?;
        let stretches = (mapped.bytes().len() as u64).div_ceil(STRETCH);
        let touched = (0..stretches.div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        Ok(Self { path: path.to_owned(), file, mapped, touched })
    }

    /// Bytes.
    pub(super) fn len(&self) -> u64 {
        self.mapped.bytes().len() as u64
    }

    /// Says that the bytes do not make sense at `offset`.
    pub(super) fn corrupt(&self, offset: u64, what: impl Into<String>) -> StorageError {
        StorageError::corrupt(&self.path, offset, what)
    }

    /// The same for a cursor's error, in bytes that begin at `base`.
    pub(super) fn misread(&self, base: u64, error: CursorError) -> StorageError {
        self.corrupt(base + error.offset() as u64, error.what())
    }

    /// `len` bytes from `offset`; beyond the end is damage: only damaged bytes can have named it.
    pub(super) fn slice(&self, offset: u64, len: u64) -> Result<&[u8], StorageError> {
        let end = offset.checked_add(len).filter(|&end| end <= self.len());
        let Some(end) = end else {
            let what = format!("{len} bytes are named here, the file has {}", self.len());
            return Err(self.corrupt(offset, what));
        };
        if len > 0 {
            for stretch in offset / STRETCH..=(end - 1) / STRETCH {
                self.touch(stretch)?;
            }
        }
        Ok(&self.mapped.bytes()[offset as usize..end as usize])
    }

    /// At most `len` bytes from `offset`: fewer where the file ends.
    pub(super) fn up_to(&self, offset: u64, len: u64) -> Result<&[u8], StorageError> {
        self.slice(offset, len.min(self.len().saturating_sub(offset)))
    }

    fn touch(&self, stretch: u64) -> Result<(), StorageError> {
        let (word, bit) = (&self.touched[(stretch / 64) as usize], 1 << (stretch % 64));
        if word.load(Ordering::Acquire) & bit == 0 {
            let at = stretch * STRETCH;
            let mut buffer = vec![0; STRETCH.min(self.len() - at) as usize];
            let read = self.file.read_at(at, &mut buffer);
            read.map_err(|e| StorageError::io("read", &self.path, e))?;
            word.fetch_or(bit, Ordering::AcqRel);
        }
        Ok(())
    }
}

/// Reads a whole file of at most `bytes_max`.
pub(super) fn read_whole(
    disk: &dyn Disk,
    path: &Path,
    bytes_max: u64,
) -> Result<Vec<u8>, StorageError> {
    let file = disk.open(path).map_err(|e| StorageError::io("open", path, e))?;
    let len = file.len().map_err(|e| StorageError::io("stat", path, e))?;
    if len > bytes_max {
        let what = format!("{len} bytes, of which at most {bytes_max} are expected");
        return Err(StorageError::corrupt(path, 0, what));
    }
    let mut bytes = vec![0; len as usize];
    file.read_at(0, &mut bytes).map_err(|e| StorageError::io("read", path, e))?;
    Ok(bytes)
}

/// Writes a file from front to back.
#[derive(Debug)]
pub(super) struct GrowingFile {
    path: PathBuf,
    file: Box<dyn File>,
    buffer: Vec<u8>,
    flushed: u64,
}

impl GrowingFile {
    /// Creates `path`, which must not exist.
    pub(super) fn create(disk: &dyn Disk, path: &Path) -> Result<Self, StorageError> {
        let file = disk.create(path).map_err(|e| StorageError::io("create", path, e))?;
        Ok(Self { path: path.to_owned(), file, buffer: Vec::new(), flushed: 0 })
    }

    /// Where the next byte will lie.
    pub(super) fn position(&self) -> u64 {
        self.flushed + self.buffer.len() as u64
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), StorageError> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BUFFER_BYTES { self.flush() } else { Ok(()) }
    }

    /// Zeros up to a multiple of `align`.
    pub(super) fn pad(&mut self, align: u64) {
        let padded = self.position().next_multiple_of(align);
        self.buffer.resize(self.buffer.len() + (padded - self.position()) as usize, 0);
    }

    /// Makes the file durable (its name is the caller's matter) and gives its length.
    pub(super) fn finish(mut self) -> Result<u64, StorageError> {
        self.flush()?;
        self.file.sync().map_err(|e| StorageError::io("sync", &self.path, e))?;
        Ok(self.flushed)
    }

    fn flush(&mut self) -> Result<(), StorageError> {
        let append = self.file.append(&self.buffer);
        append.map_err(|e| StorageError::io("append", &self.path, e))?;
        self.flushed += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

/// Big-endian numbers.
pub(super) trait BigEndian {
    /// Four bytes.
    fn be_u32(&mut self) -> Result<u32, CursorError>;
    /// Eight bytes.
    fn be_u64(&mut self) -> Result<u64, CursorError>;
    /// Eight bytes, two's complement.
    fn be_i64(&mut self) -> Result<i64, CursorError>;
    /// Eight bytes: the bits of a float.
    fn be_f64(&mut self) -> Result<f64, CursorError>;
}

impl BigEndian for Cursor<'_> {
    fn be_u32(&mut self) -> Result<u32, CursorError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    fn be_u64(&mut self) -> Result<u64, CursorError> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    fn be_i64(&mut self) -> Result<i64, CursorError> {
        Ok(self.be_u64()? as i64)
    }

    fn be_f64(&mut self) -> Result<f64, CursorError> {
        Ok(f64::from_bits(self.be_u64()?))
    }
}
