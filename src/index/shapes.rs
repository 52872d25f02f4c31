//! Which label names a series has, and which of its values need not be stored.
//!
//! A *shape* is a set of label names; a block has few. A *derivation* says that wherever a series
//! has both labels, the value of one follows from the value of the other (a pod's name gives its
//! uid, node and namespace), and holds the table from rank to rank. INVARIANT: the determining
//! name has more values than the determined one, or as many and a lower number; so derivations
//! have no cycle, and resolving a shape's positions in that order needs no second pass.

use super::units::UnitFile;
use crate::disk::StorageError;
use crate::encoding::cursor::{Cursor, CursorError};
use crate::encoding::varint::write_uvarint;

/// One label name of an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NameEntry {
    pub(super) name: Box<str>,
    pub(super) value_count: u32,
    /// Its dictionary.
    pub(super) offset: u64,
    pub(super) len: u64,
}

/// A table from the rank of a value of `from` to the rank of the value of `to`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Derivation {
    /// Number of the determining name.
    pub(super) from: u32,
    /// Number of the determined name.
    pub(super) to: u32,
    /// Bytes of one entry, 1 to 4.
    pub(super) width: u8,
    /// Where the table lies.
    pub(super) offset: u64,
}

/// Where a position of a shape has its value from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// It stands in the row.
    Stored,
    /// It follows from the value at position `from`.
    Derived {
        /// Position of the determining label.
        from: usize,
        /// Number of the derivation.
        derivation: usize,
    },
}

/// A set of label names with the origin of each value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shape {
    /// Numbers of the names, ascending.
    pub(super) names: Vec<u32>,
    /// One for each name.
    pub(super) origins: Vec<Origin>,
    /// Positions with stored values, ascending.
    pub(super) stored: Vec<usize>,
    /// Positions with derived values, each behind the one that it follows from.
    pub(super) derived: Vec<usize>,
}

impl Shape {
    /// Plans a shape: a value is derived by the first derivation in the list whose determining
    /// name is in the shape too.
    pub(super) fn plan(names: Vec<u32>, derivations: &[Derivation], values: &[u32]) -> Self {
        let origin = |name: u32| {
            let mut usable = derivations.iter().enumerate().filter(|(_, d)| d.to == name);
            usable
                .find_map(|(derivation, d)| {
                    let from = names.binary_search(&d.from).ok()?;
                    Some(Origin::Derived { from, derivation })
                })
                .unwrap_or(Origin::Stored)
        };
        let origins: Vec<Origin> = names.iter().map(|&name| origin(name)).collect();
        let (stored, mut derived): (Vec<usize>, Vec<usize>) =
            (0..names.len()).partition(|&position| origins[position] == Origin::Stored);
        derived.sort_by_key(|&position| determination_order(names[position], values));
        Self { names, origins, stored, derived }
    }
}

/// Sorts names so that a determining one stands before those it determines.
pub(super) fn determination_order(name: u32, values: &[u32]) -> (std::cmp::Reverse<u32>, u32) {
    (std::cmp::Reverse(values[name as usize]), name)
}

/// Encodes the sets of names of all shapes.
pub(super) fn encode_shapes(shapes: &[Vec<u32>]) -> Vec<u8> {
    let mut out = Vec::new();
    write_uvarint(&mut out, shapes.len() as u64);
    for names in shapes {
        write_uvarint(&mut out, names.len() as u64);
        let mut next = 0;
        for &name in names {
            write_uvarint(&mut out, u64::from(name - next));
            next = name + 1;
        }
    }
    out
}

/// Encodes the list of derivations.
pub(super) fn encode_derivations(derivations: &[Derivation]) -> Vec<u8> {
    let mut out = Vec::new();
    write_uvarint(&mut out, derivations.len() as u64);
    for derivation in derivations {
        write_uvarint(&mut out, u64::from(derivation.from));
        write_uvarint(&mut out, u64::from(derivation.to));
        out.push(derivation.width);
        write_uvarint(&mut out, derivation.offset);
    }
    out
}

/// What is wrong with a section, and at which of its bytes.
type Misread = (usize, &'static str);

fn misread(error: CursorError) -> Misread {
    (error.offset(), error.what())
}

/// Decodes what [`encode_derivations`] wrote and checks the invariant.
pub(super) fn decode_derivations(
    bytes: &[u8],
    names: &[NameEntry],
) -> Result<Vec<Derivation>, Misread> {
    let mut cursor = Cursor::new(bytes);
    let count = cursor.uvarint_max(bytes.len()).map_err(misread)?;
    let mut derivations = Vec::new();
    for _ in 0..count {
        let at = cursor.offset();
        let from = cursor.uvarint_u32().map_err(misread)?;
        let to = cursor.uvarint_u32().map_err(misread)?;
        let width = cursor.u8().map_err(misread)?;
        let offset = cursor.uvarint().map_err(misread)?;
        let order = |name: u32| {
            let entry = names.get(name as usize)?;
            Some((std::cmp::Reverse(entry.value_count), name))
        };
        let (Some(from_order), Some(to_order)) = (order(from), order(to)) else {
            return Err((at, "a derivation names no label"));
        };
        if from_order >= to_order || !(1..=4).contains(&width) {
            return Err((at, "a derivation runs against the order of names"));
        }
        derivations.push(Derivation { from, to, width, offset });
    }
    cursor.finish().map_err(misread)?;
    Ok(derivations)
}

/// Decodes what [`encode_shapes`] wrote and plans each shape.
pub(super) fn decode_shapes(
    bytes: &[u8],
    names: &[NameEntry],
    derivations: &[Derivation],
) -> Result<Vec<Shape>, Misread> {
    let values: Vec<u32> = names.iter().map(|entry| entry.value_count).collect();
    let mut cursor = Cursor::new(bytes);
    let count = cursor.uvarint_max(bytes.len()).map_err(misread)?;
    let mut shapes = Vec::new();
    for _ in 0..count {
        let len = cursor.uvarint_max(names.len()).map_err(misread)?;
        let mut shape = Vec::new();
        let mut next = 0_u32;
        for _ in 0..len {
            let at = cursor.offset();
            let gap = cursor.uvarint_u32().map_err(misread)?;
            let name = next.checked_add(gap).filter(|&name| (name as usize) < names.len());
            let Some(name) = name else {
                return Err((at, "a shape names no label"));
            };
            shape.push(name);
            next = name + 1;
        }
        shapes.push(Shape::plan(shape, derivations, &values));
    }
    cursor.finish().map_err(misread)?;
    Ok(shapes)
}

/// The rank of the determined value for rank `rank` of the determining one.
pub(super) fn derive(
    file: &UnitFile,
    derivation: &Derivation,
    rank: u32,
) -> Result<u32, StorageError> {
    let width = u64::from(derivation.width);
    let offset = derivation.offset.saturating_add(u64::from(rank) * width);
    let bytes = file.slice(offset, width)?;
    Ok(bytes.iter().rev().fold(0, |rank, &byte| rank << 8 | u32::from(byte)))
}
