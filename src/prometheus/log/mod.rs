//! Prometheus's log: segments and checkpoints, the records in them, head chunk files.
//!
//! Prometheus cuts its log at the first byte that does not check and throws the rest away; here a
//! damaged record is left out, told, and reading goes on with the next page, whose beginning is
//! known. Nothing is changed.
//!
//! COMPAT: Prometheus 3.14 `tsdb/wlog`, `tsdb/record`, `tsdb/chunks/head_chunks.go`.

mod directory;
mod head_chunks;
mod histograms;
mod pages;
mod records;
#[cfg(test)]
mod tests;

pub use directory::{CHECKPOINT_PREFIX, LogDirectory, head_chunk_files};
pub use head_chunks::{HeadChunk, read_head_chunks};
pub use pages::{Item, SegmentReader};
pub use records::{Entry, RecordError, read_record};
