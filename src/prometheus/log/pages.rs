//! Records of one segment.
//!
//! A segment is pages of 32 KiB. A page holds fragments of records and is filled up with zeros; a
//! fragment is a byte for its kind and the compression of its record, a length of 16 bits, a
//! CRC-32C, and that many bytes.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::super::castagnoli::crc32c;
use crate::disk::{Disk, File, StorageError};

const PAGE_BYTES: u64 = 32 << 10;
const HEADER_BYTES: usize = 7;
/// Bytes of the largest record that is read.
const RECORD_BYTES_MAX: u64 = 256 << 20;
/// A copy of 64 bytes takes three in snappy, so nothing honest grows more than this.
const SNAPPY_GROWTH_MAX: usize = 64;

/// Kinds of fragments; 0 fills a page up.
const FULL: u8 = 1;
const FIRST: u8 = 2;
const MIDDLE: u8 = 3;
const LAST: u8 = 4;
const KIND: u8 = 0b111;
const SNAPPY: u8 = 0b1000;
const ZSTD: u8 = 0b1_0000;

/// What comes next in a segment.
#[derive(Debug)]
pub enum Item {
    /// A record, its compression undone.
    Record,
    /// A part that does not check; reading goes on behind it.
    Damage(StorageError),
    /// The segment's end.
    End,
}

/// A record, or a part of one.
#[derive(Debug)]
struct Fragment {
    kind: u8,
    compression: u8,
    bytes: Vec<u8>,
}

/// Reads a segment from front to back.
#[derive(Debug)]
pub struct SegmentReader {
    path: PathBuf,
    file: Box<dyn File>,
    len: u64,
    page: Vec<u8>,
    /// Where the page stands, and what is read of it.
    page_at: u64,
    at: usize,
    /// Fragments of the record so far, as they are stored, and where the record begins.
    stored: Vec<u8>,
    begun: Option<u64>,
    record: Vec<u8>,
}

impl SegmentReader {
    /// Opens a segment at `offset`, which is where a record begins.
    pub fn open(disk: &dyn Disk, path: &Path, offset: u64) -> Result<Self, StorageError> {
        let file = disk.open(path).map_err(|e| StorageError::io("open", path, e))?;
        let len = file.len().map_err(|e| StorageError::io("stat", path, e))?;
        let mut reader = Self {
            path: path.to_owned(),
            file,
            len,
            page: Vec::new(),
            page_at: 0,
            at: 0,
            stored: Vec::new(),
            begun: None,
            record: Vec::new(),
        };
        reader.load(offset - offset % PAGE_BYTES)?;
        reader.at = ((offset % PAGE_BYTES) as usize).min(reader.page.len());
        Ok(reader)
    }

    /// Bytes of the segment when it was opened.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether the segment has no byte.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Behind what was read, a record begins here.
    pub fn offset(&self) -> u64 {
        self.page_at + self.at as u64
    }

    /// The record that the last [`Item::Record`] meant.
    pub fn record(&self) -> &[u8] {
        &self.record
    }

    fn load(&mut self, at: u64) -> Result<(), StorageError> {
        self.page_at = at.min(self.len);
        self.at = 0;
        self.page.resize(PAGE_BYTES.min(self.len - self.page_at) as usize, 0);
        let read = self.file.read_at(self.page_at, &mut self.page);
        read.map_err(|e| StorageError::io("read", &self.path, e))
    }

    /// The next item. An error is one of the medium.
    pub fn advance(&mut self) -> Result<Item, StorageError> {
        loop {
            if self.at == self.page.len() {
                if self.offset() >= self.len {
                    return Ok(match self.begun.take() {
                        Some(at) => self.damage(at, "the segment ends within a record"),
                        None => Item::End,
                    });
                }
                self.load(self.page_at + PAGE_BYTES)?;
            }
            let at = self.offset();
            let Fragment { kind, compression, bytes } = match self.fragment() {
                Ok(Some(fragment)) => fragment,
                Ok(None) => {
                    self.at = self.page.len();
                    continue;
                }
                Err(what) => {
                    // Only the beginning of a page is known to be that of a fragment.
                    self.at = self.page.len();
                    self.begun = None;
                    return Ok(self.damage(at, what));
                }
            };
            self.at += HEADER_BYTES + bytes.len();
            match (kind, self.begun) {
                (FULL | FIRST, None) => {
                    self.stored = bytes;
                    self.begun = Some(at);
                }
                (MIDDLE | LAST, Some(_)) => self.stored.extend_from_slice(&bytes),
                // What was begun before damage goes on: it was told of already.
                (_, None) => continue,
                (_, Some(begun)) => {
                    // Read the fragment again, as the beginning that it is.
                    self.at -= HEADER_BYTES + bytes.len();
                    self.begun = None;
                    return Ok(self.damage(begun, "a record does not end"));
                }
            }
            if kind == FULL || kind == LAST {
                self.begun = None;
                return Ok(match self.decompress(compression) {
                    Ok(()) => Item::Record,
                    Err(what) => self.damage(at, what),
                });
            }
        }
    }

    /// The fragment that begins here. `None`: the rest of the page is empty.
    fn fragment(&self) -> Result<Option<Fragment>, &'static str> {
        let rest = &self.page[self.at..];
        if rest.first().is_some_and(|byte| byte & KIND == 0) {
            let is_empty = rest.iter().all(|&byte| byte == 0);
            return if is_empty { Ok(None) } else { Err("a page is not filled up with zeros") };
        }
        let Some((header, rest)) = rest.split_first_chunk::<HEADER_BYTES>() else {
            return Err("a page ends within the head of a fragment");
        };
        let kind = header[0] & KIND;
        if kind > LAST {
            return Err("a fragment of an unknown kind");
        }
        let len = usize::from(u16::from_be_bytes([header[1], header[2]]));
        let Some(bytes) = rest.get(..len) else {
            return Err("a page ends within a fragment");
        };
        if crc32c(bytes).to_be_bytes() != header[3..] {
            return Err("the checksum of a fragment does not check");
        }
        let compression = header[0] & !KIND;
        Ok(Some(Fragment { kind, compression, bytes: bytes.to_vec() }))
    }

    fn damage(&self, at: u64, what: &str) -> Item {
        Item::Damage(StorageError::corrupt(&self.path, at, what))
    }

    fn decompress(&mut self, compression: u8) -> Result<(), &'static str> {
        self.record.clear();
        if compression & SNAPPY != 0 {
            let len = snap::raw::decompress_len(&self.stored);
            let len = len.map_err(|_| "a record is not what snappy makes")?;
            if len > self.stored.len().saturating_mul(SNAPPY_GROWTH_MAX) {
                return Err("a record claims more bytes than it can hold");
            }
            self.record.resize(len, 0);
            let decoded = snap::raw::Decoder::new().decompress(&self.stored, &mut self.record);
            return decoded.map(drop).map_err(|_| "a record is not what snappy makes");
        }
        if compression & ZSTD != 0 {
            let what = "a record is not what zstd makes";
            let decoder = ruzstd::decoding::StreamingDecoder::new(self.stored.as_slice());
            let mut bytes = decoder.map_err(|_| what)?.take(RECORD_BYTES_MAX + 1);
            bytes.read_to_end(&mut self.record).map_err(|_| what)?;
            if self.record.len() as u64 > RECORD_BYTES_MAX {
                return Err("a record has more than 256 MiB");
            }
            return Ok(());
        }
        std::mem::swap(&mut self.record, &mut self.stored);
        Ok(())
    }
}
