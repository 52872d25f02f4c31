//! Which blocks go, because of their age or because all together takes too much room.
//!
//! Age is measured against the newest data. Size counts blocks, log, checkpoints, head files and
//! the blocks that were exported for others, and what a flush or a merge is about to add; the
//! oldest goes first, and never a block that reaches into the open window. Snapshots and what
//! stands in `quarantine/` do not count: the latter has a limit of its own.

use std::path::PathBuf;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use super::snapshot::bytes_below;
use super::{Database, Event, Shared};
use crate::block::Ulid;
use crate::compact::{expired, oversized};

/// How much is kept; see [`super::Options`] for each.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Retention {
    /// Blocks that lie wholly this far below the newest data go; 0: never.
    pub time_ms: i64,
    /// Bytes that may be stored; 0 sets no limit.
    pub bytes: u64,
    /// Share of the file system in percent that may be stored; above 0 it stands for `bytes`.
    pub percentage: f64,
}

impl Database {
    /// Keeps so much from now on; blocks go with the next maintenance. The greatest length of
    /// merged blocks stays what it was when the database was opened.
    pub fn set_retention(&self, retention: Retention) {
        let shared = &self.inner.shared;
        *shared.retention.lock().unwrap_or_else(PoisonError::into_inner) = retention;
    }

    /// How much is kept.
    pub fn retention(&self) -> Retention {
        self.inner.shared.retention()
    }
}

impl Shared {
    pub(super) fn retention(&self) -> Retention {
        *self.retention.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes blocks past retention.
    pub(super) fn expire(&self) {
        self.look_for_blocks();
        let candidates = self.blocks.candidates();
        let Some(newest_ms) = self.newest_ms() else { return };
        let time_ms = self.retention().time_ms;
        if time_ms > 0 {
            let border_ms = newest_ms.saturating_sub(time_ms);
            self.takeover.shelve(border_ms);
            // It was told and counted, and is tried again.
            let _ = self.told("removal of exports", self.expire_exports(border_ms));
        }
        let gone = expired(&candidates, newest_ms, time_ms);
        self.counters.blocks_expired.fetch_add(gone.len() as u64, Ordering::Relaxed);
        self.let_go(&gone, false);
        self.make_space(0);
    }

    /// Serves blocks of Prometheus that others put to the data path meanwhile.
    fn look_for_blocks(&self) {
        let _still = self.moving_lock();
        // It was told and counted, and is tried again.
        let _ = self.told("a look for blocks of Prometheus", self.takeover.scan());
    }

    /// Time of the newest data.
    fn newest_ms(&self) -> Option<i64> {
        let list = self.blocks.list();
        let in_blocks = list.iter().map(|block| block.meta().range.max_ms);
        let in_head = self.head.time_range().map(|range| range.max_ms);
        in_blocks.chain(in_head).chain(self.takeover.newest_ms()).max()
    }

    /// Removes the oldest blocks until there is space for `output_bytes` more within the limit of
    /// size. Whether any went.
    pub(super) fn make_space(&self, output_bytes: u64) -> bool {
        let (Some(limit), Some(newest_ms)) = (self.bytes_max(), self.newest_ms()) else {
            return false;
        };
        let used = self.stored_bytes().saturating_add(output_bytes);
        let window_ms = self.options.block_duration_min_ms;
        let open_ms = newest_ms.div_euclid(window_ms).saturating_mul(window_ms);
        let mut candidates = self.blocks.candidates();
        let exports = self.export_candidates();
        candidates.extend(&exports);
        let gone = oversized(&candidates, open_ms, used, limit);
        let is_export = |ulid: &Ulid| exports.iter().any(|export| export.ulid == *ulid);
        let (exports, gone): (Vec<Ulid>, Vec<Ulid>) = gone.into_iter().partition(is_export);
        // It was told and counted, and is tried again.
        let _ = self.told("removal of exports", self.let_exports_go(&exports));
        self.counters.blocks_oversized.fetch_add(gone.len() as u64, Ordering::Relaxed);
        self.let_go(&gone, true);
        !gone.is_empty()
    }

    fn let_go(&self, gone: &[Ulid], for_size: bool) {
        if gone.is_empty() {
            return;
        }
        let still = self.moving_lock();
        self.blocks.drop_blocks(gone);
        self.head.changes().note(i64::MIN);
        drop(still);
        for ulid in gone {
            self.options.observer.event(&Event::Expired { block: ulid.to_string(), for_size });
        }
    }

    /// The limit of size in force, if there is one.
    pub(super) fn bytes_max(&self) -> Option<u64> {
        let Retention { bytes, percentage, .. } = self.retention();
        if percentage > 0.0 {
            // Without an answer the fixed limit holds, as in Prometheus.
            let total = self.disk.total_space(&self.path).unwrap_or(0);
            if total > 0 {
                return Some((total as f64 * percentage / 100.0) as u64);
            }
        }
        (bytes > 0).then_some(bytes)
    }

    /// Bytes that count: blocks, log, checkpoints, head files, exports.
    pub(super) fn stored_bytes(&self) -> u64 {
        let blocks: u64 = self.blocks.list().iter().map(|block| block.bytes()).sum();
        let checkpoints = bytes_below(&*self.disk, &self.root().join("checkpoint"));
        let exports: u64 = self.export_candidates().iter().map(|export| export.bytes).sum();
        blocks + self.head.stored_bytes() + checkpoints + exports
    }

    fn root(&self) -> PathBuf {
        self.path.join(super::ROOT)
    }
}
