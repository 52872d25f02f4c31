//! Reads an index file where it lies.
//!
//! Opening reads names, shapes and derivations, which are few; everything else is looked at when
//! asked for. Damage is an error that names the byte, never a panic and never a wrong answer.

use std::path::Path;
use std::sync::Arc;

use hashbrown::HashMap;
use roaring::RoaringBitmap;

use super::cache::{Asked, ListCache};
use super::dictionary::{Dictionary, PostingsRef};
use super::format::{INDEX, Section, TOC_BYTES, Toc};
use super::postings::read_postings;
use super::rows::{CHUNK_ROWS, ChunkRef, ChunkRow, LABEL_ROWS, LabelRow};
use super::shapes::{
    Derivation, NameEntry, Origin, Shape, decode_derivations, decode_shapes, derive,
};
use super::units::UnitFile;
use super::view::IndexView;
use crate::disk::{Disk, StorageError};
use crate::encoding::cursor::{Cursor, CursorError};
use crate::encoding::varint::{write_bytes, write_str};
use crate::model::Labels;

/// Encoded bytes from which on a list that was decoded is worth keeping.
const LONG_LIST_BYTES: u64 = 64;

/// An open index file.
#[derive(Debug)]
pub struct IndexReader {
    file: UnitFile,
    toc: Toc,
    series_count: u32,
    pub(super) names: Vec<NameEntry>,
    pub(super) shapes: Vec<Shape>,
    derivations: Vec<Derivation>,
    pub(super) cache: ListCache,
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
        let cache = ListCache::default();
        Ok(Self { file, toc, series_count, names, shapes, derivations, cache })
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
        IndexView::new(self)
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

    /// Number of a label name.
    pub(super) fn name(&self, name: &str) -> Option<u32> {
        let at = self.names.binary_search_by(|entry| (*entry.name).cmp(name)).ok()?;
        Some(at as u32)
    }

    pub(super) fn dictionary(&self, entry: &NameEntry) -> Result<Dictionary<'_>, StorageError> {
        Dictionary::new(&self.file, entry.offset, entry.len, entry.value_count)
    }

    pub(super) fn list_bytes(&self, list: PostingsRef) -> Result<&[u8], StorageError> {
        let section = self.toc.postings;
        if list.offset.checked_add(list.len).is_none_or(|end| end > section.len) {
            return Err(self.file.corrupt(section.offset, "a value names no list"));
        }
        self.file.slice(section.offset + list.offset, list.len)
    }

    pub(super) fn read_list(&self, list: PostingsRef) -> Result<Arc<RoaringBitmap>, StorageError> {
        let is_long = list.len >= LONG_LIST_BYTES;
        let asked = Asked::List(list.offset);
        if is_long && let Some(known) = self.cache.find(&asked) {
            return Ok(known);
        }
        let decoded = read_postings(self.list_bytes(list)?, self.series_count);
        let decoded = Arc::new(decoded.ok_or_else(|| {
            self.file.corrupt(self.toc.postings.offset + list.offset, "a list does not decode")
        })?);
        if is_long {
            self.cache.keep(asked, Arc::clone(&decoded));
        }
        Ok(decoded)
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
        let (shape, base) = self.seek_labels(ordinal)?;
        let shape = &self.index.shapes[shape];
        self.fill_ranks(shape)?;
        self.compose(shape, base)
    }

    /// Number of the shape of series `ordinal`.
    pub(super) fn shape(&mut self, ordinal: u32) -> Result<usize, StorageError> {
        self.seek_labels(ordinal).map(|(shape, _)| shape)
    }

    /// Rank of the value that series `ordinal` has of the label name with this number.
    pub(super) fn rank(&mut self, ordinal: u32, name: u32) -> Result<Option<u32>, StorageError> {
        let (shape, _) = self.seek_labels(ordinal)?;
        let shape = &self.index.shapes[shape];
        let Ok(position) = shape.names.binary_search(&name) else { return Ok(None) };
        self.fill_ranks(shape)?;
        Ok(Some(self.ranks[position]))
    }

    /// Reads to the label row of `ordinal`; the number of its shape, and where its block begins.
    fn seek_labels(&mut self, ordinal: u32) -> Result<(usize, u64), StorageError> {
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
        let found = (open.row.shape, open.base);
        self.labels = Some(open);
        Ok(found)
    }

    /// Ranks of all values of the row that was read last.
    fn fill_ranks(&mut self, shape: &Shape) -> Result<(), StorageError> {
        let stored = self.labels.as_ref().map_or(&[][..], |open| &open.row.stored);
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
