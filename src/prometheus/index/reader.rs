//! Opens an index file.
//!
//! Symbols and the table of postings are checked and walked over once; of each, every 32nd entry
//! is remembered. Everything else is looked at, and checked, when asked for.

use std::path::Path;

use roaring::RoaringBitmap;

use super::super::castagnoli::crc32c;
use super::super::file::{BigEndian as _, FinishedFile};
use super::{HEADER_BYTES, MAGIC, SERIES_ALIGN, TOC_BYTES};
use crate::disk::{Disk, StorageError};
use crate::encoding::cursor::{Cursor, CursorError};

/// Of so many symbols or values one is remembered.
pub(super) const SAMPLED: usize = 32;

/// An open index file.
#[derive(Debug)]
pub struct IndexFile {
    pub(super) file: FinishedFile,
    version: u8,
    /// Where the first symbol stands, and behind the last.
    symbols: (u64, u64),
    symbol_count: u32,
    /// Where every 32nd symbol stands.
    sampled_symbols: Vec<u64>,
    /// Where the entries of the table of postings stand.
    pub(super) table: (u64, u64),
    /// Ascending.
    pub(super) names: Vec<Name>,
}

/// A label name in the table of postings.
#[derive(Debug)]
pub(super) struct Name {
    pub(super) name: Box<str>,
    pub(super) values: Values,
}

/// Where the values of a name are found.
#[derive(Debug)]
pub(super) enum Values {
    /// Some values and where their entries stand; the others follow in order.
    Sampled(Vec<(Box<str>, u64)>),
    /// All values, and where their postings stand (version 1, whose table is in no order).
    Complete(Vec<(Box<str>, u64)>),
}

impl IndexFile {
    /// Opens `path`.
    pub fn open(disk: &dyn Disk, path: &Path) -> Result<Self, StorageError> {
        let file = FinishedFile::open(disk, path)?;
        let header = file.slice(0, HEADER_BYTES)?;
        if header[..4] != MAGIC.to_be_bytes() {
            return Err(file.corrupt(0, "not an index file"));
        }
        let version = header[4];
        if !matches!(version, 1..=3) {
            return Err(file.corrupt(4, format!("index version {version} is not known")));
        }
        let toc_at = file.len().checked_sub(TOC_BYTES);
        let toc_at = toc_at.ok_or_else(|| file.corrupt(0, "an index without contents"))?;
        let (toc, crc) = file.slice(toc_at, TOC_BYTES)?.split_at(48);
        if crc32c(toc).to_be_bytes() != *crc {
            return Err(file.corrupt(toc_at, "the checksum of the contents does not check"));
        }
        let section = |n: usize| {
            let field = toc[n * 8..n * 8 + 8].try_into().expect("BUG: eight bytes");
            u64::from_be_bytes(field)
        };
        let (symbols_at, table_at) = (section(0), section(5));
        let mut index = Self {
            file,
            version,
            symbols: (0, 0),
            symbol_count: 0,
            sampled_symbols: Vec::new(),
            table: (0, 0),
            names: Vec::new(),
        };
        index.walk_symbols(symbols_at)?;
        index.walk_table(table_at)?;
        Ok(index)
    }

    /// Bytes of the file.
    pub fn file_len(&self) -> u64 {
        self.file.len()
    }

    /// The content of a section: a length, that many bytes, their checksum. Gives where the
    /// content stands too. A section that is not there is empty.
    fn section(&self, at: u64) -> Result<(u64, &[u8]), StorageError> {
        if at == 0 {
            return Ok((0, &[]));
        }
        let len = self.file.slice(at, 4)?;
        let len = u32::from_be_bytes(len.try_into().expect("BUG: four bytes"));
        let bytes = self.file.slice(at + 4, u64::from(len) + 4)?;
        let (content, crc) = bytes.split_at(len as usize);
        if crc32c(content).to_be_bytes() != *crc {
            return Err(self.file.corrupt(at, "the checksum of a section does not check"));
        }
        Ok((at + 4, content))
    }

    fn walk_symbols(&mut self, at: u64) -> Result<(), StorageError> {
        let (base, content) = self.section(at)?;
        let mut cursor = Cursor::new(content);
        let mut sampled = Vec::new();
        let mut walk = || -> Result<u32, CursorError> {
            if cursor.is_empty() {
                return Ok(0);
            }
            let count = cursor.be_u32()?;
            for number in 0..count {
                if number.is_multiple_of(SAMPLED as u32) {
                    sampled.push(base + cursor.offset() as u64);
                }
                cursor.sized_bytes()?;
            }
            Ok(count)
        };
        let count = walk().map_err(|e| self.file.misread(base, e))?;
        let end = base + content.len() as u64;
        (self.symbols, self.symbol_count) = ((base, end), count);
        self.sampled_symbols = sampled;
        Ok(())
    }

    /// The bytes of a symbol that a series names.
    pub(super) fn symbol(&self, reference: u32) -> Result<&[u8], StorageError> {
        let (start, end) = self.symbols;
        let no_such = || self.file.corrupt(start, format!("there is no symbol {reference}"));
        let (at, skip) = if self.version == 1 {
            (u64::from(reference), 0)
        } else if reference < self.symbol_count {
            (self.sampled_symbols[reference as usize / SAMPLED], reference as usize % SAMPLED)
        } else {
            return Err(no_such());
        };
        if !(start..end).contains(&at) {
            return Err(no_such());
        }
        let mut cursor = Cursor::new(self.file.slice(at, end - at)?);
        for _ in 0..skip {
            cursor.sized_bytes().map_err(|e| self.file.misread(at, e))?;
        }
        cursor.sized_bytes().map_err(|e| self.file.misread(at, e))
    }

    fn walk_table(&mut self, at: u64) -> Result<(), StorageError> {
        let (base, content) = self.section(at)?;
        let mut cursor = Cursor::new(content);
        let count = if content.is_empty() { Ok(0) } else { cursor.be_u32() };
        let count = count.map_err(|e| self.file.misread(base, e))?;
        let first = base + cursor.offset() as u64;
        let mut names = Names::default();
        for _ in 0..count {
            let at = base + cursor.offset() as u64;
            let entry = Entry::read(&mut cursor).map_err(|e| self.file.misread(base, e))?;
            let ascends = if self.version == 1 {
                names.add_complete(&entry);
                true
            } else {
                names.add_sampled(&entry, at)
            };
            if !ascends {
                return Err(self.file.corrupt(at, "the table of postings is not in order"));
            }
        }
        let end = base + content.len() as u64;
        self.table = (first, end);
        self.names = names.finish();
        Ok(())
    }

    /// The list that stands at `at`.
    pub(super) fn list(&self, at: u64) -> Result<RoaringBitmap, StorageError> {
        let (base, content) = self.section(at)?;
        let Some((count, list)) = content.split_first_chunk::<4>() else {
            return Err(self.file.corrupt(base, "a list without a length"));
        };
        let (list, rest) = list.as_chunks::<4>();
        if u32::from_be_bytes(*count) as usize != list.len() || !rest.is_empty() {
            return Err(self.file.corrupt(base, "a list of another length than it says"));
        }
        let list = list.iter().map(|number| u32::from_be_bytes(*number));
        RoaringBitmap::from_sorted_iter(list)
            .map_err(|_| self.file.corrupt(base, "a list that does not ascend"))
    }

    /// How many series the list at `at` has, unchecked.
    pub(super) fn list_len(&self, at: u64) -> Result<u64, StorageError> {
        let bytes = self.file.slice(at.saturating_add(4), 4)?;
        Ok(u64::from(u32::from_be_bytes(bytes.try_into().expect("BUG: four bytes"))))
    }

    /// Where series `number` stands.
    pub(super) fn series_at(&self, number: u32) -> u64 {
        u64::from(number) * if self.version == 1 { 1 } else { SERIES_ALIGN }
    }
}

/// An entry of the table of postings.
#[derive(Debug)]
pub(super) struct Entry<'a> {
    pub(super) name: &'a [u8],
    pub(super) value: &'a [u8],
    pub(super) list_at: u64,
}

impl<'a> Entry<'a> {
    pub(super) fn read(cursor: &mut Cursor<'a>) -> Result<Self, CursorError> {
        // The number of strings, which is always two.
        cursor.uvarint()?;
        let (name, value) = (cursor.sized_bytes()?, cursor.sized_bytes()?);
        Ok(Self { name, value, list_at: cursor.uvarint()? })
    }
}

/// Old versions let texts through that are none.
pub(super) fn text(bytes: &[u8]) -> Box<str> {
    String::from_utf8_lossy(bytes).into()
}

/// Collects the names of the table.
#[derive(Debug, Default)]
struct Names {
    found: Vec<Name>,
    last: (Vec<u8>, Vec<u8>),
    count: usize,
}

impl Names {
    /// False: the entry is not above the one before it.
    fn add_sampled(&mut self, entry: &Entry<'_>, at: u64) -> bool {
        let is_first = self.found.is_empty();
        let pair = (entry.name, entry.value);
        if !is_first && pair <= (self.last.0.as_slice(), self.last.1.as_slice()) {
            return false;
        }
        if is_first || self.last.0 != entry.name {
            self.found.push(Name { name: text(entry.name), values: Values::Sampled(Vec::new()) });
            self.count = 0;
        }
        if let (true, Some(Name { values: Values::Sampled(values), .. })) =
            (self.count.is_multiple_of(SAMPLED), self.found.last_mut())
        {
            values.push((text(entry.value), at));
        }
        self.count += 1;
        self.last.0.clear();
        self.last.0.extend_from_slice(entry.name);
        self.last.1.clear();
        self.last.1.extend_from_slice(entry.value);
        true
    }

    fn add_complete(&mut self, entry: &Entry<'_>) {
        let name = text(entry.name);
        let at = match self.found.binary_search_by(|known| known.name.cmp(&name)) {
            Ok(at) => at,
            Err(at) => {
                let values = Values::Complete(Vec::new());
                self.found.insert(at, Name { name, values });
                at
            }
        };
        if let Values::Complete(values) = &mut self.found[at].values {
            values.push((text(entry.value), entry.list_at));
        }
    }

    fn finish(mut self) -> Vec<Name> {
        for name in &mut self.found {
            if let Values::Complete(values) = &mut name.values {
                values.sort();
            }
        }
        self.found
    }
}
