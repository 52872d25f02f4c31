//! Reads an index file where it lies.
//!
//! Opening reads names, shapes and derivations, which are few; everything else is looked at when
//! asked for. Damage is an error that names the byte, never a panic and never a wrong answer.

use std::cell::RefCell;
use std::path::Path;

use hashbrown::HashMap;
use roaring::RoaringBitmap;

use super::LabelIndex;
use super::dictionary::{Dictionary, PostingsRef};
use super::format::{INDEX, Section, TOC_BYTES, Toc};
use super::postings::{postings_len, read_postings};
use super::rows::{CHUNK_ROWS, ChunkRef, ChunkRow, LABEL_ROWS, LabelRow};
use super::shapes::{
    Derivation, NameEntry, Origin, Shape, decode_derivations, decode_shapes, derive,
};
use super::units::UnitFile;
use crate::disk::{Disk, StorageError};
use crate::encoding::cursor::{Cursor, CursorError};
use crate::encoding::varint::{write_bytes, write_str};
use crate::model::Labels;

/// An open index file.
#[derive(Debug)]
pub struct IndexReader {
    file: UnitFile,
    toc: Toc,
    series_count: u32,
    names: Vec<NameEntry>,
    shapes: Vec<Shape>,
    derivations: Vec<Derivation>,
}

impl IndexReader {
    /// Opens `path`.
    pub fn open(disk: &dyn Disk, path: &Path) -> Result<Self, StorageError> {
        let file = UnitFile::open(disk, path, INDEX)?;
        let Some(toc_at) = file.data_len().checked_sub(TOC_BYTES as u64) else {
            return Err(file.corrupt(0, "an index without a table of contents"));
        };
        let toc = Toc::decode(file.slice(toc_at, TOC_BYTES as u64)?, toc_at);
        let toc = toc.ok_or_else(|| file.corrupt(toc_at, "a section lies beyond the file"))?;
        let series_count = u32::try_from(toc.series_count)
            .map_err(|_| file.corrupt(toc_at, "more series than ordinals"))?;
        let blocks = |rows: u32| u64::from(series_count.div_ceil(rows));
        if toc.chunk_starts.len != blocks(CHUNK_ROWS) * 8
            || toc.label_starts.len != blocks(LABEL_ROWS) * 4
        {
            return Err(file.corrupt(toc_at, "tables do not fit the number of series"));
        }
        let names = read_names(&file, toc.names)?;
        let say = |section: Section, (at, what): (usize, &'static str)| {
            file.corrupt(section.offset + at as u64, what)
        };
        let bytes = file.slice(toc.derivations.offset, toc.derivations.len)?;
        let derivations = decode_derivations(bytes, &names).map_err(|e| say(toc.derivations, e))?;
        let bytes = file.slice(toc.shapes.offset, toc.shapes.len)?;
        let shapes = decode_shapes(bytes, &names, &derivations).map_err(|e| say(toc.shapes, e))?;
        Ok(Self { file, toc, series_count, names, shapes, derivations })
    }

    /// Number of series; ordinals are below it.
    pub fn series_count(&self) -> u32 {
        self.series_count
    }

    /// Bytes of the file.
    pub fn file_len(&self) -> u64 {
        self.file.file_len()
    }

    /// The index as matchers are resolved against it; see [`IndexView::finish`].
    pub fn view(&self) -> IndexView<'_> {
        IndexView { index: self, error: RefCell::default(), last: RefCell::default() }
    }

    /// Reads rows; cheapest in ascending order of ordinals.
    pub fn rows(&self) -> RowReader<'_> {
        RowReader {
            index: self,
            labels: None,
            chunks: None,
            ranks: Vec::new(),
            arena: Vec::new(),
            places: HashMap::new(),
            bytes: Vec::new(),
        }
    }

    /// Says that parts of the file contradict one another.
    pub(super) fn inconsistent(&self, what: &str) -> StorageError {
        self.file.corrupt(self.toc.label_rows.offset, what)
    }

    fn name(&self, name: &str) -> Option<&NameEntry> {
        let at = self.names.binary_search_by(|entry| (*entry.name).cmp(name)).ok()?;
        Some(&self.names[at])
    }

    fn dictionary(&self, entry: &NameEntry) -> Result<Dictionary<'_>, StorageError> {
        Dictionary::new(&self.file, entry.offset, entry.len, entry.value_count)
    }

    fn list_bytes(&self, list: PostingsRef) -> Result<&[u8], StorageError> {
        let section = self.toc.postings;
        if list.offset.checked_add(list.len).is_none_or(|end| end > section.len) {
            return Err(self.file.corrupt(section.offset, "a value names no list"));
        }
        self.file.slice(section.offset + list.offset, list.len)
    }

    fn read_list(&self, list: PostingsRef) -> Result<RoaringBitmap, StorageError> {
        read_postings(self.list_bytes(list)?, self.series_count).ok_or_else(|| {
            self.file.corrupt(self.toc.postings.offset + list.offset, "a list does not decode")
        })
    }

    /// Bytes of a block, and where they begin, by a table of starts of `width` bytes each.
    fn block(
        &self,
        rows: Section,
        starts: Section,
        width: u64,
        number: u32,
    ) -> Result<(&[u8], u64), StorageError> {
        let start_of = |number: u64| -> Result<u64, StorageError> {
            let at = number * width;
            if at >= starts.len {
                return Ok(rows.len);
            }
            let bytes = self.file.slice(starts.offset + at, width)?;
            Ok(bytes.iter().rev().fold(0, |start, &byte| start << 8 | u64::from(byte)))
        };
        let (start, end) = (start_of(u64::from(number))?, start_of(u64::from(number) + 1)?);
        if start > end || end > rows.len {
            let at = starts.offset + u64::from(number) * width;
            return Err(self.file.corrupt(at, "blocks of rows do not ascend"));
        }
        let base = rows.offset + start;
        Ok((self.file.slice(base, end - start)?, base))
    }
}

fn read_names(file: &UnitFile, section: Section) -> Result<Vec<NameEntry>, StorageError> {
    let bytes = file.slice(section.offset, section.len)?;
    let mut cursor = Cursor::new(bytes);
    let mut names: Vec<NameEntry> = Vec::new();
    let mut read = || -> Result<bool, CursorError> {
        for _ in 0..cursor.uvarint_max(bytes.len())? {
            let name = Box::from(cursor.str()?);
            let value_count = cursor.uvarint_u32()?;
            let (offset, len) = (cursor.uvarint()?, cursor.uvarint()?);
            let ascends = names.last().is_none_or(|last| last.name < name);
            if !ascends || offset.checked_add(len).is_none_or(|end| end > file.data_len()) {
                return Ok(false);
            }
            names.push(NameEntry { name, value_count, offset, len });
        }
        cursor.finish()?;
        Ok(true)
    };
    match read() {
        Ok(true) => Ok(names),
        Ok(false) => Err(file.corrupt(section.offset, "label names out of order")),
        Err(error) => Err(file.misread(section.offset, error)),
    }
}

/// An index file as a [`LabelIndex`]. That trait knows no errors, so the first one is kept here:
/// what was answered means nothing until [`IndexView::finish`] said `Ok`.
#[derive(Debug)]
pub struct IndexView<'a> {
    index: &'a IndexReader,
    error: RefCell<Option<StorageError>>,
    /// The value visited last and its list: whoever visits asks for the list next.
    last: RefCell<(String, String, PostingsRef)>,
}

impl IndexView<'_> {
    /// The first error that stood behind an answer.
    pub fn finish(self) -> Result<(), StorageError> {
        self.error.into_inner().map_or(Ok(()), Err)
    }

    fn keep<T: Default>(&self, result: Result<T, StorageError>) -> T {
        result.unwrap_or_else(|error| {
            self.error.borrow_mut().get_or_insert(error);
            T::default()
        })
    }

    fn find(&self, name: &str, value: &str) -> Result<Option<PostingsRef>, StorageError> {
        let last = self.last.borrow();
        if last.0 == name && last.1 == value && !value.is_empty() {
            return Ok(Some(last.2));
        }
        let Some(entry) = self.index.name(name) else { return Ok(None) };
        self.index.dictionary(entry)?.find(value)
    }
}

impl LabelIndex for IndexView<'_> {
    fn all(&self) -> RoaringBitmap {
        let mut all = RoaringBitmap::new();
        all.insert_range(0..self.index.series_count);
        all
    }

    fn postings(&self, name: &str, value: &str) -> RoaringBitmap {
        self.keep(self.find(name, value).and_then(|list| {
            list.map_or(Ok(RoaringBitmap::new()), |list| self.index.read_list(list))
        }))
    }

    fn postings_len(&self, name: &str, value: &str) -> u64 {
        self.keep(self.find(name, value).and_then(|list| {
            let Some(list) = list else { return Ok(0) };
            Ok(postings_len(self.index.list_bytes(list)?).unwrap_or(0))
        }))
    }

    fn visit_values(&self, name: &str, prefix: &str, visit: &mut dyn FnMut(&str) -> bool) {
        let Some(entry) = self.index.name(name) else { return };
        let visited = self.index.dictionary(entry).and_then(|dictionary| {
            dictionary.visit(prefix, |value, list| {
                {
                    let mut last = self.last.borrow_mut();
                    name.clone_into(&mut last.0);
                    value.clone_into(&mut last.1);
                    last.2 = list;
                }
                visit(value)
            })
        });
        self.keep(visited);
    }

    fn visit_names(&self, visit: &mut dyn FnMut(&str)) {
        for entry in &self.index.names {
            visit(&entry.name);
        }
    }
}

/// A block of rows that is being read.
#[derive(Debug)]
struct OpenBlock<'a, R> {
    number: u32,
    /// Rows of the block read so far; the row is the last of them.
    read: u32,
    cursor: Cursor<'a>,
    base: u64,
    row: R,
}

/// Reads label and chunk rows.
#[derive(Debug)]
pub struct RowReader<'a> {
    index: &'a IndexReader,
    labels: Option<OpenBlock<'a, LabelRow>>,
    chunks: Option<OpenBlock<'a, ChunkRow>>,
    /// Rank at each position of the row's shape.
    ranks: Vec<u32>,
    /// Label pairs met so far, as [`Labels`] stores them.
    arena: Vec<u8>,
    places: HashMap<(u32, u32), (usize, usize)>,
    bytes: Vec<u8>,
}

impl RowReader<'_> {
    /// The chunks of series `ordinal`, ascending by time.
    pub fn chunks(&mut self, ordinal: u32) -> Result<&[ChunkRef], StorageError> {
        let index = self.index;
        assert!(ordinal < index.series_count, "BUG: no series {ordinal}");
        let (number, row) = (ordinal / CHUNK_ROWS, ordinal % CHUNK_ROWS + 1);
        let say = |base: u64, (at, what): (usize, &'static str)| {
            index.file.corrupt(base + at as u64, what)
        };
        let mut open = match self.chunks.take() {
            Some(open) if open.number == number && open.read <= row => open,
            _ => {
                let (rows, starts) = (index.toc.chunk_rows, index.toc.chunk_starts);
                let (bytes, base) = index.block(rows, starts, 8, number)?;
                let mut cursor = Cursor::new(bytes);
                let mut row = ChunkRow::default();
                row.begin(&mut cursor).map_err(|e| say(base, e))?;
                OpenBlock { number, read: 0, cursor, base, row }
            }
        };
        while open.read < row {
            open.row.advance(&mut open.cursor).map_err(|e| say(open.base, e))?;
            open.read += 1;
        }
        Ok(&self.chunks.insert(open).row.chunks)
    }

    /// The labels of series `ordinal`.
    pub fn labels(&mut self, ordinal: u32) -> Result<Labels, StorageError> {
        let index = self.index;
        assert!(ordinal < index.series_count, "BUG: no series {ordinal}");
        let (number, row) = (ordinal / LABEL_ROWS, ordinal % LABEL_ROWS + 1);
        let mut open = match self.labels.take() {
            Some(open) if open.number == number && open.read <= row => open,
            _ => {
                let (rows, starts) = (index.toc.label_rows, index.toc.label_starts);
                let (bytes, base) = index.block(rows, starts, 4, number)?;
                let row = LabelRow::default();
                OpenBlock { number, read: 0, cursor: Cursor::new(bytes), base, row }
            }
        };
        while open.read < row {
            let advanced = open.row.advance(&mut open.cursor, &index.shapes);
            advanced.map_err(|(at, what)| index.file.corrupt(open.base + at as u64, what))?;
            open.read += 1;
        }
        let Some(shape) = index.shapes.get(open.row.shape) else {
            return Err(index.file.corrupt(open.base, "a row without a shape"));
        };
        if open.row.stored.len() != shape.stored.len() {
            return Err(index.file.corrupt(open.base, "a row lacks values"));
        }
        self.fill_ranks(shape, &open.row.stored)?;
        let base = open.base;
        self.labels = Some(open);
        self.compose(shape, base)
    }

    fn fill_ranks(&mut self, shape: &Shape, stored: &[u32]) -> Result<(), StorageError> {
        self.ranks.clear();
        self.ranks.resize(shape.names.len(), 0);
        for (&position, &rank) in shape.stored.iter().zip(stored) {
            self.ranks[position] = rank;
        }
        for &position in &shape.derived {
            if let Origin::Derived { from, derivation } = shape.origins[position] {
                let derivation = &self.index.derivations[derivation];
                self.ranks[position] = derive(&self.index.file, derivation, self.ranks[from])?;
            }
        }
        Ok(())
    }

    fn compose(&mut self, shape: &Shape, base: u64) -> Result<Labels, StorageError> {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        for position in 0..shape.names.len() {
            let (start, end) = self.pair(shape.names[position], self.ranks[position])?;
            bytes.extend_from_slice(&self.arena[start..end]);
        }
        let labels = Labels::from_bytes(&bytes);
        self.bytes = bytes;
        labels.ok_or_else(|| self.index.file.corrupt(base, "labels of a series do not check"))
    }

    fn pair(&mut self, name: u32, rank: u32) -> Result<(usize, usize), StorageError> {
        if let Some(&place) = self.places.get(&(name, rank)) {
            return Ok(place);
        }
        let entry = &self.index.names[name as usize];
        let mut value = Vec::new();
        self.index.dictionary(entry)?.value(rank, &mut value)?;
        let start = self.arena.len();
        write_str(&mut self.arena, &entry.name);
        write_bytes(&mut self.arena, &value);
        let place = (start, self.arena.len());
        self.places.insert((name, rank), place);
        Ok(place)
    }
}
