//! Label rows: which labels each series has, as numbers of symbols.
//!
//! A *shape* is a set of label names; it is stored once, with the series that have it. A row is
//! the number of a shape and a run of value symbols in one vector, one for each name of the shape
//! in the order of names' texts. So a series with eleven labels takes 44 bytes here, and the
//! question which series have a label at all is answered by shapes.
//!
//! INVARIANT: a shape that has series holds the symbols of its names.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};
use roaring::RoaringBitmap;

use super::symbols::Symbols;

/// Dead values below which the vector is not worth rewriting.
const DEAD_VALUES_MIN: usize = 10_000;

/// Where the labels of a series stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row {
    /// Place of the first value.
    pub at: u32,
    /// Number of the shape.
    pub shape: u32,
}

/// A set of label names.
#[derive(Debug, Default)]
pub(super) struct Shape {
    /// Symbols of the names, in the order of their texts.
    pub names: Box<[u32]>,
    /// The series that have just these labels.
    pub series: RoaringBitmap,
}

/// Every row and shape.
#[derive(Debug, Default)]
pub(super) struct Rows {
    values: Vec<u32>,
    dead_values: usize,
    shapes: Vec<Shape>,
    by_names: HashTable<u32>,
    free: Vec<u32>,
    hasher: DefaultHashBuilder,
}

impl Rows {
    /// Adds the row of series `id`: (name, value) symbols in the order of names, each value held
    /// by the caller. Gives back the holds on names that an equal shape has already.
    pub(super) fn add(&mut self, id: u32, pairs: &[(u32, u32)], symbols: &mut Symbols) -> Row {
        let at = u32::try_from(self.values.len()).expect("BUG: fewer than 2^32 label values");
        self.values.extend(pairs.iter().map(|pair| pair.1));
        let names: Box<[u32]> = pairs.iter().map(|pair| pair.0).collect();
        let hash = self.hasher.hash_one(&names);
        let shapes = &self.shapes;
        let known = self.by_names.find(hash, |&n| shapes[n as usize].names == names).copied();
        let shape = known.unwrap_or_else(|| {
            names.iter().for_each(|&name| symbols.hold(name));
            self.add_shape(hash, names)
        });
        for pair in pairs {
            symbols.release(pair.0);
        }
        self.shapes[shape as usize].series.insert(id);
        Row { at, shape }
    }

    fn add_shape(&mut self, hash: u64, names: Box<[u32]>) -> u32 {
        let shape = Shape { names, series: RoaringBitmap::new() };
        let number = if let Some(number) = self.free.pop() {
            self.shapes[number as usize] = shape;
            number
        } else {
            self.shapes.push(shape);
            self.shapes.len() as u32 - 1
        };
        let (shapes, hasher) = (&self.shapes, &self.hasher);
        self.by_names.insert_unique(hash, number, |&n| hasher.hash_one(&shapes[n as usize].names));
        number
    }

    /// Takes the row of series `id` out; its values are the caller's to release.
    pub(super) fn remove(&mut self, id: u32, row: Row, symbols: &mut Symbols) {
        let shape = &mut self.shapes[row.shape as usize];
        self.dead_values += shape.names.len();
        shape.series.remove(id);
        if !shape.series.is_empty() {
            return;
        }
        let names = std::mem::take(shape).names;
        let hash = self.hasher.hash_one(&names);
        if let Ok(found) = self.by_names.find_entry(hash, |&number| number == row.shape) {
            found.remove();
        }
        names.iter().for_each(|&name| symbols.release(name));
        self.free.push(row.shape);
    }

    /// Symbols of the names of a row.
    pub(super) fn names(&self, row: Row) -> &[u32] {
        &self.shapes[row.shape as usize].names
    }

    /// (name, value) symbols of a row.
    pub(super) fn pairs(&self, row: Row) -> impl Iterator<Item = (u32, u32)> + Clone + '_ {
        let names = self.names(row);
        let values = &self.values[row.at as usize..row.at as usize + names.len()];
        names.iter().copied().zip(values.iter().copied())
    }

    /// Shapes that have series.
    pub(super) fn shapes(&self) -> impl Iterator<Item = &Shape> {
        self.shapes.iter().filter(|shape| !shape.series.is_empty())
    }

    /// Rewrites the values where more than half are dead. `rows` are all rows that live.
    pub(super) fn tidy<'a>(&mut self, rows: impl Iterator<Item = &'a mut Row>) {
        if self.dead_values <= DEAD_VALUES_MIN || self.dead_values * 2 <= self.values.len() {
            return;
        }
        let mut values = Vec::with_capacity(self.values.len() - self.dead_values);
        for row in rows {
            let len = self.shapes[row.shape as usize].names.len();
            let at = row.at as usize;
            row.at = values.len() as u32;
            values.extend_from_slice(&self.values[at..at + len]);
        }
        self.values = values;
        self.dead_values = 0;
    }

    /// Values stored, dead ones included.
    #[cfg(test)]
    pub(super) fn values_len(&self) -> usize {
        self.values.len()
    }

    /// Bytes on the heap, roughly.
    pub(super) fn heap_bytes(&self) -> usize {
        let of_shape = |shape: &Shape| {
            size_of::<Shape>() + shape.names.len() * 4 + shape.series.serialized_size() + 5
        };
        self.values.capacity() * 4 + self.shapes.iter().map(of_shape).sum::<usize>()
    }
}
