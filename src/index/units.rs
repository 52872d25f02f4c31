//! Immutable files under checksums, checked unit by unit at first touch.
//!
//! A file is its data, then a table with the CRC of each unit of 4 KiB of the data, then the CRC
//! of each 4 KiB page of that table, then a fixed footer. So a file of any size is opened by
//! reading a few bytes, and damage is found in the one unit that it touched. Layout:
//! `storage-format.md`, section 8.
//!
//! First touch of a unit reads it with `pread`, so that a medium that cannot read gives an error;
//! afterwards its bytes are taken from the mapping. INVARIANT: no byte is handed out before its
//! unit was checked.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::disk::{Disk, File, Mapped, StorageError};
use crate::encoding::cursor::{Cursor, CursorError};

/// Bytes under one checksum.
pub const UNIT_BYTES: usize = 4096;

const FOOTER_BYTES: usize = 24;
/// Appended to the system in pieces of this size.
const BUFFER_BYTES: usize = 256 * 1024;

/// Says which kind of file it is, and in which version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// Four bytes that no other kind has.
    pub magic: [u8; 4],
    /// Goes up when a reader of the version before would misread the file.
    pub version: u32,
}

/// Writes such a file from front to back.
#[derive(Debug)]
pub struct UnitWriter {
    file: Box<dyn File>,
    path: PathBuf,
    kind: Kind,
    buffer: Vec<u8>,
    flushed: u64,
    unit: crc32fast::Hasher,
    unit_len: usize,
    table: Vec<u8>,
}

impl UnitWriter {
    /// Creates `path`, which must not exist.
    pub fn create(disk: &dyn Disk, path: &Path, kind: Kind) -> Result<Self, StorageError> {
        let file = disk.create(path).map_err(|e| StorageError::io("create", path, e))?;
        Ok(Self {
            file,
            path: path.to_owned(),
            kind,
            buffer: Vec::new(),
            flushed: 0,
            unit: crc32fast::Hasher::new(),
            unit_len: 0,
            table: Vec::new(),
        })
    }

    /// Bytes of data written so far; where the next byte will lie.
    pub fn position(&self) -> u64 {
        self.flushed + self.buffer.len() as u64
    }

    /// Appends to the data.
    pub fn write(&mut self, mut bytes: &[u8]) -> Result<(), StorageError> {
        self.buffer.extend_from_slice(bytes);
        while self.unit_len + bytes.len() >= UNIT_BYTES {
            let (head, tail) = bytes.split_at(UNIT_BYTES - self.unit_len);
            self.unit.update(head);
            self.end_unit();
            bytes = tail;
        }
        self.unit.update(bytes);
        self.unit_len += bytes.len();
        if self.buffer.len() >= BUFFER_BYTES { self.flush() } else { Ok(()) }
    }

    /// Writes tables and footer and makes the file durable (its name is the caller's matter).
    /// Gives the file's length.
    pub fn finish(mut self) -> Result<u64, StorageError> {
        if self.unit_len > 0 {
            self.end_unit();
        }
        let data_len = self.position();
        let table = std::mem::take(&mut self.table);
        let mut pages = Vec::new();
        for page in table.chunks(UNIT_BYTES) {
            pages.extend_from_slice(&crc32fast::hash(page).to_le_bytes());
        }
        let mut footer = Vec::with_capacity(FOOTER_BYTES);
        footer.extend_from_slice(&data_len.to_le_bytes());
        footer.extend_from_slice(&crc32fast::hash(&pages).to_le_bytes());
        footer.extend_from_slice(&self.kind.magic);
        footer.extend_from_slice(&self.kind.version.to_le_bytes());
        footer.extend_from_slice(&crc32fast::hash(&footer).to_le_bytes());
        self.flush()?;
        for part in [&table, &pages, &footer] {
            self.buffer.extend_from_slice(part);
        }
        self.flush()?;
        self.file.sync().map_err(|e| StorageError::io("sync", &self.path, e))?;
        Ok(self.flushed)
    }

    fn end_unit(&mut self) {
        let unit = std::mem::replace(&mut self.unit, crc32fast::Hasher::new());
        self.table.extend_from_slice(&unit.finalize().to_le_bytes());
        self.unit_len = 0;
    }

    fn flush(&mut self) -> Result<(), StorageError> {
        let append = self.file.append(&self.buffer);
        append.map_err(|e| StorageError::io("append", &self.path, e))?;
        self.flushed += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

/// Reads such a file.
#[derive(Debug)]
pub struct UnitFile {
    path: PathBuf,
    file: Box<dyn File>,
    mapped: Mapped,
    data_len: u64,
    file_len: u64,
    page_crcs: Vec<u8>,
    /// One bit for each page of the table, then one for each unit of the data.
    checked_pages: Vec<AtomicU64>,
    checked_units: Vec<AtomicU64>,
}

impl UnitFile {
    /// Opens `path` and checks its footer. A file of another kind is `Corrupt`, one of a newer
    /// version `TooNew`.
    pub fn open(disk: &dyn Disk, path: &Path, kind: Kind) -> Result<Self, StorageError> {
        let io = |op, e| StorageError::io(op, path, e);
        let file = disk.open(path).map_err(|e| io("open", e))?;
        let file_len = file.len().map_err(|e| io("stat", e))?;
        let footer_at = file_len
            .checked_sub(FOOTER_BYTES as u64)
            .ok_or_else(|| StorageError::corrupt(path, 0, "the file is too short"))?;
        let mut footer = [0; FOOTER_BYTES];
        file.read_at(footer_at, &mut footer).map_err(|e| io("read", e))?;
        let (data_len, pages_crc) = parse_footer(&footer, footer_at, path, kind)?;
        let unit_count = data_len.div_ceil(UNIT_BYTES as u64);
        let page_count = (unit_count * 4).div_ceil(UNIT_BYTES as u64);
        let pages_at = data_len.checked_add(unit_count * 4);
        if pages_at.and_then(|at| at.checked_add(page_count * 4)) != Some(footer_at) {
            let what = format!("the footer says {data_len} bytes of data, the file's length not");
            return Err(StorageError::corrupt(path, footer_at, what));
        }
        let pages_at = data_len + unit_count * 4;
        // The file is known to hold that many bytes, so the length is not taken on trust.
        let mut page_crcs = vec![0; (page_count * 4) as usize];
        file.read_at(pages_at, &mut page_crcs).map_err(|e| io("read", e))?;
        if crc32fast::hash(&page_crcs) != pages_crc {
            return Err(StorageError::corrupt(path, pages_at, "checksums do not check"));
        }
        let mapped = disk.map(path).map_err(|e| io("map", e))?;
        if (mapped.bytes().len() as u64) < file_len {
            return Err(StorageError::corrupt(path, file_len, "the file shrinks while open"));
        }
        let bits = |count: u64| (0..count.div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        Ok(Self {
            path: path.to_owned(),
            file,
            mapped,
            data_len,
            file_len,
            page_crcs,
            checked_pages: bits(page_count),
            checked_units: bits(unit_count),
        })
    }

    /// Where the file lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes of data.
    pub fn data_len(&self) -> u64 {
        self.data_len
    }

    /// Bytes of the whole file.
    pub fn file_len(&self) -> u64 {
        self.file_len
    }

    /// Says that the data does not make sense at `offset`.
    pub fn corrupt(&self, offset: u64, what: impl Into<String>) -> StorageError {
        StorageError::corrupt(&self.path, offset, what)
    }

    /// The same for a cursor's error, in bytes that begin at `base`.
    pub fn misread(&self, base: u64, error: CursorError) -> StorageError {
        self.corrupt(base + error.offset() as u64, error.what())
    }

    /// `len` bytes of data from `offset`, all under checked units. A range beyond the data is
    /// `Corrupt`: only damaged bytes can have named it.
    pub fn slice(&self, offset: u64, len: u64) -> Result<&[u8], StorageError> {
        let end = offset.checked_add(len).filter(|&end| end <= self.data_len);
        let Some(end) = end else {
            let what = format!("{len} bytes are named here, the data ends at {}", self.data_len);
            return Err(self.corrupt(offset, what));
        };
        if len == 0 {
            return Ok(&[]);
        }
        let unit = UNIT_BYTES as u64;
        for unit in offset / unit..=(end - 1) / unit {
            if !is_set(&self.checked_units, unit) {
                self.check_unit(unit)?;
            }
        }
        Ok(&self.mapped.bytes()[offset as usize..end as usize])
    }

    fn check_unit(&self, unit: u64) -> Result<(), StorageError> {
        let page = unit * 4 / UNIT_BYTES as u64;
        if !is_set(&self.checked_pages, page) {
            let at = self.data_len + page * UNIT_BYTES as u64;
            let table_end = self.data_len + self.data_len.div_ceil(UNIT_BYTES as u64) * 4;
            let expected = crc_at(&self.page_crcs, page as usize * 4);
            self.check(at, table_end, expected)?;
            set(&self.checked_pages, page);
        }
        let expected = crc_at(self.mapped.bytes(), (self.data_len + unit * 4) as usize);
        self.check(unit * UNIT_BYTES as u64, self.data_len, expected)?;
        set(&self.checked_units, unit);
        Ok(())
    }

    /// Reads a unit from the medium and compares its checksum.
    fn check(&self, offset: u64, end: u64, expected: u32) -> Result<(), StorageError> {
        let mut buffer = [0; UNIT_BYTES];
        let len = (end - offset).min(UNIT_BYTES as u64) as usize;
        let buffer = &mut buffer[..len];
        let read = self.file.read_at(offset, buffer);
        read.map_err(|e| StorageError::io("read", &self.path, e))?;
        let found = crc32fast::hash(buffer);
        if found == expected {
            return Ok(());
        }
        let what = format!("checksum {found:08x} of {len} bytes, expected {expected:08x}");
        Err(self.corrupt(offset, what))
    }
}

fn parse_footer(
    footer: &[u8; FOOTER_BYTES],
    at: u64,
    path: &Path,
    kind: Kind,
) -> Result<(u64, u32), StorageError> {
    let mut cursor = Cursor::new(footer);
    let bug = "BUG: the footer has a fixed length";
    let data_len = cursor.u64().expect(bug);
    let pages_crc = cursor.u32().expect(bug);
    let magic = cursor.bytes(4).expect(bug);
    let version = cursor.u32().expect(bug);
    let crc = cursor.u32().expect(bug);
    if crc32fast::hash(&footer[..FOOTER_BYTES - 4]) != crc {
        return Err(StorageError::corrupt(path, at, "the footer's checksum does not check"));
    }
    if magic != kind.magic {
        let what = format!("another kind of file: {magic:02x?}, expected {:02x?}", kind.magic);
        return Err(StorageError::corrupt(path, at, what));
    }
    if version > kind.version {
        let path = path.to_owned();
        return Err(StorageError::TooNew { path, found: version, supported: kind.version });
    }
    Ok((data_len, pages_crc))
}

fn crc_at(bytes: &[u8], at: usize) -> u32 {
    let field = bytes[at..at + 4].try_into().expect("BUG: four bytes");
    u32::from_le_bytes(field)
}

fn is_set(bits: &[AtomicU64], at: u64) -> bool {
    bits[(at / 64) as usize].load(Ordering::Acquire) >> (at % 64) & 1 == 1
}

fn set(bits: &[AtomicU64], at: u64) {
    bits[(at / 64) as usize].fetch_or(1 << (at % 64), Ordering::AcqRel);
}
