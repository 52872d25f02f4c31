//! The index file of a block: symbols, series, postings.
//!
//! Versions 1, 2 and 3 are read (3 like 2), 2 is written. Series are known by a number of 32 bits
//! that ascends with their labels: where the series stands in the file, in units of 16 bytes
//! (version 1: in bytes).
//!
//! COMPAT: Prometheus 3.14 `tsdb/index`.

mod reader;
mod rows;
#[cfg(test)]
mod tests;
mod view;
mod writer;

pub use reader::IndexFile;
pub use rows::{ChunkRow, Rows};
pub use view::View;
pub use writer::IndexWriter;

/// File name.
pub(super) const INDEX_FILE: &str = "index";

const MAGIC: u32 = 0xbaaa_d700;
const HEADER_BYTES: u64 = 5;
const TOC_BYTES: u64 = 52;
/// Series begin at multiples of this.
const SERIES_ALIGN: u64 = 16;
