//! The section `storage`.

use super::record::Record;

/// What may be set of storage while the server runs.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct StorageConfig {
    /// How late a sample may be.
    pub out_of_order_window_ms: i64,
    /// Whether the section says how much is kept. What it leaves out then sets no limit, whatever
    /// the flags say.
    pub has_retention: bool,
    /// How long samples are kept; 0 sets no limit.
    pub retention_ms: i64,
    /// Bytes that stored data may take; 0 sets no limit.
    pub retention_bytes: u64,
    /// Share of the file system in percent; 0 sets no limit.
    pub retention_percentage: f64,
    /// Exemplars that are kept in memory, where the section says so.
    pub exemplars_max: Option<i64>,
}

impl StorageConfig {
    /// The plain form of a completed record.
    pub(super) fn of(storage: Option<&Record>) -> Self {
        let tsdb = storage.and_then(|storage| storage.record("tsdb"));
        let retention = tsdb.and_then(|tsdb| tsdb.record("retention"));
        let exemplars = storage.and_then(|storage| storage.record("exemplars"));
        Self {
            out_of_order_window_ms: tsdb.map_or(0, |t| t.duration_ms("out_of_order_time_window")),
            has_retention: retention.is_some(),
            retention_ms: retention.map_or(0, |r| r.duration_ms("time")),
            retention_bytes: retention.map_or(0, |r| r.uint("size")),
            retention_percentage: retention.map_or(0.0, |r| r.float("percentage")),
            exemplars_max: exemplars.map(|e| e.int("max_exemplars")),
        }
    }
}
