//! Figures about a database: what it holds, what it did, where the cardinality lies.

use std::path::PathBuf;

use crate::model::TimeRange;

/// What a database holds at one moment, and what it did since it was opened.
#[derive(Debug, Clone, Default)]
pub struct Stats {
    /// Series in the head.
    pub head_series: usize,
    /// Distinct label pairs in the head.
    pub head_label_pairs: usize,
    /// Sealed chunks in the head's files.
    pub head_chunks: usize,
    /// Oldest and newest time in the head; `None` while it is empty.
    pub head_range: Option<TimeRange>,
    /// Bytes of the log.
    pub wal_bytes: u64,
    /// Bytes of the head's files.
    pub head_file_bytes: u64,
    /// One entry for each block served, ascending by time.
    pub blocks: Vec<BlockStats>,
    /// Parts put aside since the database was opened, and why.
    pub quarantined: Vec<(PathBuf, String)>,
    /// Samples accepted.
    pub samples_appended: u64,
    /// Series created.
    pub series_created: u64,
    /// Series that left the head.
    pub series_removed: u64,
    /// Flushes of a head window.
    pub flushes: u64,
    /// Compactions of blocks.
    pub compactions: u64,
    /// Steps of maintenance that failed.
    pub maintenance_failures: u64,
    /// Blocks removed by retention.
    pub blocks_expired: u64,
}

/// One block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockStats {
    /// Its name, a ULID.
    pub name: String,
    /// What it covers, by its first and last sample.
    pub range: TimeRange,
    /// 1 for a flushed window, more for merged ones.
    pub level: u32,
    /// Series.
    pub series: u64,
    /// Samples.
    pub samples: u64,
    /// Chunks.
    pub chunks: u64,
    /// Bytes of its index file.
    pub index_bytes: u64,
    /// Bytes of its chunk file.
    pub chunk_bytes: u64,
}

/// The heaviest names and values of the head, each list descending by count.
#[derive(Debug, Clone, Default)]
pub struct Cardinality {
    /// Series for each metric name.
    pub series_by_metric_name: Vec<(String, u64)>,
    /// Values for each label name.
    pub values_by_label_name: Vec<(String, u64)>,
    /// Bytes of the values of each label name, each use counted.
    pub bytes_by_label_name: Vec<(String, u64)>,
    /// Series for each `name=value`.
    pub series_by_pair: Vec<(String, u64)>,
}
