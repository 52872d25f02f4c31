//! The section `storage`.

use super::record::Record;
use crate::db::Retention;

/// What may be set of storage while the server runs.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct StorageConfig {
    /// How late a sample may be.
    pub out_of_order_window_ms: i64,
    /// How much is kept: what the section says, or as a whole the default of the process.
    pub retention: Retention,
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
            retention: retention.map_or_else(Retention::default, |retention| Retention {
                time_ms: retention.duration_ms("time"),
                bytes: retention.uint("size"),
                percentage: retention.float("percentage"),
            }),
            exemplars_max: exemplars.map(|e| e.int("max_exemplars")),
        }
    }
}
