//! Writes an index file from series in ascending order of labels.
//!
//! Chunk rows go to the file as they come. What is kept until the end is proportional to the
//! number of series (about five bytes a label, and every distinct value once): ranks are known
//! only when all values are.

use std::path::Path;

use hashbrown::{HashMap, HashTable};

use super::dictionary::{PostingsRef, encode_dictionary};
use super::format::{INDEX, Section, TOC_BYTES, Toc};
use super::postings::put_postings;
use super::rows::{ChunkRef, ChunkRowEncoder, LabelRowEncoder};
use super::shapes::{Derivation, Shape, encode_derivations, encode_shapes};
use super::units::UnitWriter;
use crate::disk::{Disk, StorageError};
use crate::encoding::varint::{write_str, write_uvarint};
use crate::index::derive::find_derivations;
use crate::model::Labels;

/// Chunk rows are handed to the file in pieces of about this size.
const CHUNK_ROWS_BUFFER: usize = 64 * 1024;

/// Collects series and writes the file.
#[derive(Debug)]
pub struct IndexWriter {
    file: UnitWriter,
    names: HashMap<Box<str>, u32>,
    /// For each name its values, in order of appearance.
    values: Vec<HashMap<Box<str>, u32>>,
    shapes: HashMap<Box<[u32]>, u32>,
    rows: Rows,
    chunk_rows: ChunkRowEncoder,
    last: Option<Labels>,
}

/// Label rows: for each its shape, and one value for each name of the shape.
#[derive(Debug, Default)]
pub(super) struct Rows {
    /// Numbers of names of each shape, ascending by name.
    pub(super) shapes: Vec<Box<[u32]>>,
    pub(super) shape_of: Vec<u32>,
    pub(super) values: Vec<u32>,
}

impl Rows {
    /// Each row's shape and values.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &[u32])> {
        let mut at = 0;
        self.shape_of.iter().map(move |&shape| {
            let values = &self.values[at..at + self.shapes[shape as usize].len()];
            at += values.len();
            (shape, values)
        })
    }
}

impl IndexWriter {
    /// Begins the file `path`, which must not exist.
    pub fn create(disk: &dyn Disk, path: &Path) -> Result<Self, StorageError> {
        Ok(Self {
            file: UnitWriter::create(disk, path, INDEX)?,
            names: HashMap::new(),
            values: Vec::new(),
            shapes: HashMap::new(),
            rows: Rows::default(),
            chunk_rows: ChunkRowEncoder::default(),
            last: None,
        })
    }

    /// Adds a series above all before it, with at least one chunk; chunks lie one behind the
    /// other over all series.
    pub fn add(&mut self, labels: &Labels, chunks: &[ChunkRef]) -> Result<(), StorageError> {
        assert!(self.last.as_ref().is_none_or(|last| last < labels), "BUG: series out of order");
        self.chunk_rows.push(self.file.position(), chunks);
        if self.chunk_rows.out.len() >= CHUNK_ROWS_BUFFER {
            self.file.write(&self.chunk_rows.out)?;
            self.chunk_rows.out.clear();
        }
        let mut shape = Vec::new();
        for (name, value) in labels {
            let name = number_of(&mut self.names, name);
            if name as usize == self.values.len() {
                self.values.push(HashMap::new());
            }
            self.rows.values.push(number_of(&mut self.values[name as usize], value));
            shape.push(name);
        }
        let number = number_of(&mut self.shapes, shape.as_slice());
        if number as usize == self.rows.shapes.len() {
            self.rows.shapes.push(shape.into());
        }
        self.rows.shape_of.push(number);
        self.last = Some(labels.clone());
        Ok(())
    }

    /// Number of series added.
    pub fn series_count(&self) -> usize {
        self.rows.shape_of.len()
    }

    /// Writes the rest and syncs. Gives the file's length.
    pub fn finish(mut self) -> Result<u64, StorageError> {
        let too_large = || StorageError::Unwritable("an index section exceeds 4 GiB".to_owned());
        let mut toc = Toc { series_count: self.series_count() as u64, ..Toc::default() };
        let chunk_rows = std::mem::take(&mut self.chunk_rows);
        self.file.write(&chunk_rows.out)?;
        toc.chunk_rows = Section { offset: 0, len: self.file.position() };
        let starts: Vec<u8> = chunk_rows.starts.iter().flat_map(|s| s.to_le_bytes()).collect();
        toc.chunk_starts = put(&mut self.file, &starts)?;

        let names = std::mem::take(&mut self.names);
        let values = std::mem::take(&mut self.values);
        self.shapes = HashMap::new();
        let names = rank(&mut self.rows, names, values);
        let (postings, lists) = collect_postings(&self.rows, &names);
        toc.postings = put(&mut self.file, &postings)?;
        let mut name_bytes = Vec::new();
        write_uvarint(&mut name_bytes, names.len() as u64);
        for ((name, values), lists) in names.iter().zip(lists) {
            let pairs = values.iter().map(AsRef::as_ref).zip(lists);
            let dictionary = encode_dictionary(pairs).ok_or_else(too_large)?;
            let section = put(&mut self.file, &dictionary)?;
            write_str(&mut name_bytes, name);
            write_uvarint(&mut name_bytes, values.len() as u64);
            write_uvarint(&mut name_bytes, section.offset);
            write_uvarint(&mut name_bytes, section.len);
        }
        drop(postings);

        let counts: Vec<u32> = names.iter().map(|(_, values)| values.len() as u32).collect();
        let mut derivations = Vec::new();
        for found in find_derivations(&self.rows, &counts) {
            let section = put(&mut self.file, &found.table)?;
            let (from, to, width) = (found.from, found.to, found.width);
            derivations.push(Derivation { from, to, width, offset: section.offset });
        }
        let rows = encode_label_rows(&self.rows, &derivations, &counts).ok_or_else(too_large)?;
        toc.label_rows = put(&mut self.file, &rows.out)?;
        let starts: Vec<u8> = rows.starts.iter().flat_map(|s| s.to_le_bytes()).collect();
        toc.label_starts = put(&mut self.file, &starts)?;
        toc.names = put(&mut self.file, &name_bytes)?;
        let shapes: Vec<Vec<u32>> = self.rows.shapes.iter().map(|s| s.to_vec()).collect();
        toc.shapes = put(&mut self.file, &encode_shapes(&shapes))?;
        toc.derivations = put(&mut self.file, &encode_derivations(&derivations))?;
        let toc = toc.encode();
        debug_assert_eq!(toc.len(), TOC_BYTES);
        self.file.write(&toc)?;
        self.file.finish()
    }
}

/// The number of `key`; the next one where it is new.
fn number_of<K, Q>(numbers: &mut HashMap<Box<Q>, u32>, key: &K) -> u32
where
    K: std::hash::Hash + ?Sized + hashbrown::Equivalent<Box<Q>>,
    Box<Q>: Eq + std::hash::Hash + for<'a> From<&'a K>,
    Q: ?Sized,
{
    if let Some(&number) = numbers.get(key) {
        return number;
    }
    let number = numbers.len() as u32;
    numbers.insert(Box::from(key), number);
    number
}

fn put(file: &mut UnitWriter, bytes: &[u8]) -> Result<Section, StorageError> {
    let offset = file.position();
    file.write(bytes)?;
    Ok(Section { offset, len: bytes.len() as u64 })
}

/// A label name with its values, sorted.
type NamedValues = (Box<str>, Vec<Box<str>>);

/// Sorts names and values and turns the numbers in `rows` into ranks.
fn rank(
    rows: &mut Rows,
    names: HashMap<Box<str>, u32>,
    mut values: Vec<HashMap<Box<str>, u32>>,
) -> Vec<NamedValues> {
    let mut sorted: Vec<(Box<str>, u32)> = names.into_iter().collect();
    sorted.sort_unstable();
    let mut name_ranks = vec![0; sorted.len()];
    let mut value_ranks = vec![Vec::new(); sorted.len()];
    let mut named = Vec::new();
    for (rank, (name, number)) in (0..).zip(sorted) {
        name_ranks[number as usize] = rank;
        let values = std::mem::take(&mut values[number as usize]);
        let mut values: Vec<(Box<str>, u32)> = values.into_iter().collect();
        values.sort_unstable();
        let mut ranks = vec![0; values.len()];
        for (rank, (_, number)) in (0..).zip(&values) {
            ranks[*number as usize] = rank;
        }
        value_ranks[number as usize] = ranks;
        named.push((name, values.into_iter().map(|(value, _)| value).collect()));
    }
    let mut cells = rows.values.iter_mut();
    for &shape in &rows.shape_of {
        for &name in &rows.shapes[shape as usize] {
            let cell = cells.next().expect("BUG: a value for each name of the shape");
            *cell = value_ranks[name as usize][*cell as usize];
        }
    }
    for name in rows.shapes.iter_mut().flatten() {
        *name = name_ranks[*name as usize];
    }
    named
}

/// All lists, equal ones once, and for each value of each name the place of its list.
fn collect_postings(rows: &Rows, names: &[NamedValues]) -> (Vec<u8>, Vec<Vec<PostingsRef>>) {
    let mut out = Vec::new();
    let mut known: HashTable<PostingsRef> = HashTable::new();
    let hasher = std::hash::RandomState::new();
    let mut places = Vec::new();
    for (name, (_, values)) in (0..).zip(names) {
        let (ordinals, ends) = ordinals_by_value(rows, name, values.len());
        let mut lists = Vec::with_capacity(values.len());
        let mut begin = 0;
        for end in ends {
            let at = out.len();
            put_postings(&mut out, &ordinals[begin..end]);
            begin = end;
            let bytes_of =
                |list: &PostingsRef| &out[list.offset as usize..(list.offset + list.len) as usize];
            let list = PostingsRef { offset: at as u64, len: (out.len() - at) as u64 };
            let hash_of =
                |list: &PostingsRef| std::hash::BuildHasher::hash_one(&hasher, bytes_of(list));
            let hash = hash_of(&list);
            let equal = known.find(hash, |other| bytes_of(other) == bytes_of(&list)).copied();
            if equal.is_none() {
                known.insert_unique(hash, list, hash_of);
            } else {
                out.truncate(at);
            }
            lists.push(equal.unwrap_or(list));
        }
        places.push(lists);
    }
    (out, places)
}

/// The ordinals of the series with label `name`, by value and then ascending, and where each
/// value's end.
fn ordinals_by_value(rows: &Rows, name: u32, value_count: usize) -> (Vec<u32>, Vec<usize>) {
    let positions: Vec<Option<usize>> =
        rows.shapes.iter().map(|shape| shape.binary_search(&name).ok()).collect();
    let carriers = || {
        (0_u32..).zip(rows.iter()).filter_map(|(ordinal, (shape, values))| {
            positions[shape as usize].map(|position| (ordinal, values[position] as usize))
        })
    };
    let mut ends = vec![0_usize; value_count];
    for (_, value) in carriers() {
        ends[value] += 1;
    }
    let mut total = 0;
    for end in &mut ends {
        // For now where the value's ordinals begin; filling moves it to where they end.
        total += std::mem::replace(end, total);
    }
    let mut ordinals = vec![0; total];
    for (ordinal, value) in carriers() {
        ordinals[ends[value]] = ordinal;
        ends[value] += 1;
    }
    (ordinals, ends)
}

fn encode_label_rows(
    rows: &Rows,
    derivations: &[Derivation],
    counts: &[u32],
) -> Option<LabelRowEncoder> {
    let shapes: Vec<Shape> =
        rows.shapes.iter().map(|names| Shape::plan(names.to_vec(), derivations, counts)).collect();
    let mut encoder = LabelRowEncoder::default();
    let mut stored = Vec::new();
    for (shape, values) in rows.iter() {
        stored.clear();
        stored.extend(shapes[shape as usize].stored.iter().map(|&position| values[position]));
        encoder.push(shape, &stored)?;
    }
    Some(encoder)
}
