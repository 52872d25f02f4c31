//! Labels to series: symbols, postings, the index file of a block.
//!
//! [`LabelIndex`] is what the live index of the head and the index file of a block have in common;
//! matchers are resolved against it once, for both (`resolve.rs`).

mod derive;
mod dictionary;
mod format;
mod postings;
mod reader;
mod resolve;
mod rows;
mod shapes;
#[cfg(test)]
mod tests;
pub mod units;
mod verify;
mod writer;

use roaring::RoaringBitmap;

pub use format::INDEX;
pub use reader::{IndexReader, IndexView, RowReader};
pub use resolve::{label_names, label_values, resolve};
pub use rows::ChunkRef;
pub use verify::write_patched;
pub use writer::IndexWriter;

/// Label pairs and the series that carry them. Series are numbers: ids in the head, ordinals in a
/// block.
pub trait LabelIndex {
    /// All series.
    fn all(&self) -> RoaringBitmap;

    /// Series with exactly this pair; empty where there is none.
    fn postings(&self, name: &str, value: &str) -> RoaringBitmap;

    /// How many series `postings` would give, or a bound above it; must be cheap.
    fn postings_len(&self, name: &str, value: &str) -> u64;

    /// Calls `visit` for each value of `name` that begins with `prefix`, in no order that callers
    /// may rely on, until it returns false.
    fn visit_values(&self, name: &str, prefix: &str, visit: &mut dyn FnMut(&str) -> bool);

    /// Calls `visit` for each label name.
    fn visit_names(&self, visit: &mut dyn FnMut(&str));
}
