//! Prometheus's own data: its blocks, its log, its head files, read and written.
//!
//! Formats only: what is done with them (a directory taken over, copied, exported) is decided in
//! `db`. Nothing here changes a file of Prometheus's. All integers are big-endian, checksums are
//! CRC-32C.
//!
//! COMPAT: Prometheus 3.14, `tsdb/docs/format` as corrected by its code.

pub mod bits;
mod block;
mod block_writer;
pub mod castagnoli;
pub mod chunk;
mod file;
pub mod index;
pub mod log;
mod meta;
mod segments;
#[cfg(test)]
mod tests;
mod tombstones;

pub use block::{Block, Selection};
pub use block_writer::{BlockWriter, UNFINISHED};
pub use meta::BlockMeta;
pub use tombstones::Tombstones;
