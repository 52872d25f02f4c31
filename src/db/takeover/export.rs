//! Our samples as blocks of Prometheus.
//!
//! Windows of the smallest length that blocks have, each a block by itself. Where it is asked for
//! ([`crate::db::Options::export_windows`], for a Thanos sidecar) each window that takes no late
//! samples any more is written to the data path, by a rename, remembered, never read back, and
//! removed when it is past retention.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::lock;
use crate::block::Ulid;
use crate::compact::Candidate;
use crate::db::snapshot::bytes_below;
use crate::db::{Database, Event, Shared};
use crate::disk::StorageError;
use crate::index;
use crate::model::{Samples, TimeRange};
use crate::prometheus::{BlockMeta, BlockWriter};
use crate::select::{
    BlockSeries, Cancellation, Charge, MergedSeries, Queryable, SelectError, SeriesSet,
};

/// End of the name of a directory that is being removed, as Prometheus has it.
const DOOMED: &str = ".tmp-for-deletion";

/// An error that a selection gave.
fn storage_error(error: SelectError) -> StorageError {
    match error {
        SelectError::Storage(error) => error,
        SelectError::Stopped(_) | SelectError::Limit(_) => StorageError::Closed,
    }
}

impl Database {
    /// Writes all samples within `range` into `out` as blocks that Prometheus opens, one for each
    /// window that has any, and gives their descriptions. `progress` hears of each window: how
    /// many are written, and of how many. Start timestamps are not written.
    pub fn export_prometheus(
        &self,
        out: &Path,
        range: TimeRange,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Vec<BlockMeta>, StorageError> {
        let shared = &self.inner.shared;
        shared.check_open()?;
        // promtool does not read a directory without one.
        let log = out.join("wal");
        let create = shared.disk.create_dir_all(&log);
        create.map_err(|e| StorageError::io("create", &log, e))?;
        let mut windows = shared.windows(range);
        let foreign = shared.takeover.list();
        for block in foreign.iter().filter(|block| block.meta().range.overlaps(range)) {
            windows.extend(shared.windows_of(block.meta().range, range));
        }
        let mut metas: Vec<BlockMeta> = Vec::new();
        for (i, &start_ms) in windows.iter().enumerate() {
            progress(i as u64, windows.len() as u64);
            let window = shared.window_at(start_ms);
            let part = TimeRange {
                min_ms: window.min_ms.max(range.min_ms),
                max_ms: window.max_ms.min(range.max_ms),
            };
            let series = self.select(&[], part, &Cancellation::new()).map_err(storage_error)?;
            let ulid = Ulid::new(shared.clock.now_ms(), metas.last().map(|meta| meta.ulid));
            metas.extend(shared.write_prometheus(out, ulid, window, part, &*series)?);
        }
        progress(windows.len() as u64, windows.len() as u64);
        Ok(metas)
    }
}

impl Shared {
    /// The window that begins at `start_ms`.
    fn window_at(&self, start_ms: i64) -> TimeRange {
        let window_ms = self.options.block_duration_min_ms;
        TimeRange { min_ms: start_ms, max_ms: start_ms.saturating_add(window_ms - 1) }
    }

    /// First milliseconds of the windows of `range`, as far as they overlap `within`.
    fn windows_of(&self, range: TimeRange, within: TimeRange) -> BTreeSet<i64> {
        let window_ms = self.options.block_duration_min_ms;
        let start_of = |t_ms: i64| t_ms.div_euclid(window_ms).saturating_mul(window_ms);
        let (min_ms, max_ms) = (range.min_ms.max(within.min_ms), range.max_ms.min(within.max_ms));
        let mut windows = BTreeSet::new();
        let mut start_ms = start_of(min_ms);
        while start_ms <= max_ms {
            windows.insert(start_ms);
            start_ms += window_ms;
        }
        windows
    }

    /// Windows of head and blocks of ours, which may be empty where a block is long.
    fn windows(&self, within: TimeRange) -> BTreeSet<i64> {
        let mut windows = BTreeSet::new();
        for block in self.blocks.list().iter().filter(|b| b.meta().range.overlaps(within)) {
            windows.extend(self.windows_of(block.meta().range, within));
        }
        if let Some(range) = self.head.time_range().filter(|range| range.overlaps(within)) {
            windows.extend(self.windows_of(range, within));
        }
        windows
    }

    /// Writes `series` as the block `ulid` in `out`. Damage that is met is told.
    fn write_prometheus(
        &self,
        out: &Path,
        ulid: Ulid,
        window: TimeRange,
        part: TimeRange,
        series: &dyn SeriesSet,
    ) -> Result<Option<BlockMeta>, StorageError> {
        if series.is_empty() {
            return Ok(None);
        }
        let mut writer = BlockWriter::create(&self.disk, out, ulid, window)?;
        let mut write = || -> Result<(), StorageError> {
            let mut samples = Samples::default();
            for index in 0..series.len() {
                self.check_open()?;
                series.read(index, part, &mut samples).map_err(storage_error)?;
                writer.add(series.labels(index), &samples)?;
            }
            Ok(())
        };
        if let Err(error) = write() {
            // The first error is the one to tell; Prometheus sweeps the rest away.
            let _ = writer.abandon();
            return Err(error);
        }
        for warning in series.warnings() {
            self.options.observer.event(&Event::Warning(format!("block {ulid}: {warning}")));
        }
        writer.finish()
    }

    /// Exports each window that takes no late samples any more and is not exported yet.
    pub(in crate::db) fn export_due(&self) -> Result<(), StorageError> {
        if !self.options.export_windows {
            return Ok(());
        }
        let Some(newest_ms) = self.head.time_range().map(|range| range.max_ms) else {
            return Ok(());
        };
        let closed_ms = newest_ms.saturating_sub(self.head.out_of_order_window_ms());
        let (exported, imported, begin_ms) = {
            let state = lock(&self.takeover.state);
            let exported = state.exported.values().map(|range| range.min_ms);
            let begin_ms = state.exports_begin_ms.unwrap_or(i64::MIN);
            (exported.collect::<BTreeSet<i64>>(), state.imported.clone(), begin_ms)
        };
        let foreign = self.takeover.list();
        let mut windows = BTreeSet::new();
        for block in self.blocks.list().iter().filter(|b| !imported.contains(&b.meta().ulid)) {
            windows.extend(self.windows_of(block.meta().range, TimeRange::ALL));
        }
        for start_ms in windows.difference(&exported) {
            let window = self.window_at(*start_ms);
            let is_not_due = window.min_ms < begin_ms
                || window.max_ms >= closed_ms
                || self.head.time_range().is_some_and(|head| head.min_ms <= window.max_ms);
            // Two blocks of one time would stop Thanos's compactor.
            let is_there = foreign.iter().any(|block| block.meta().range.overlaps(window));
            if !is_not_due && !is_there {
                self.export_window(window)?;
            }
        }
        Ok(())
    }

    fn export_window(&self, window: TimeRange) -> Result<(), StorageError> {
        let began = self.clock.monotonic();
        let check = |_| self.check_open().map_err(SelectError::from);
        let ids = index::resolve(&self.head.index(), &[], &|| check(0)).map_err(storage_error)?;
        let head = self.head.capture(&ids, window, &check).map_err(storage_error)?;
        let mut selections = Vec::new();
        for block in self.blocks.list().iter().filter(|b| b.meta().range.overlaps(window)) {
            let selection = block.select(&[], window, &check).map_err(storage_error)?;
            selections.push(BlockSeries::Own(selection));
        }
        let (stop, charge) = (Cancellation::new(), Charge::default());
        let series = MergedSeries::merge(Some(head), selections, Vec::new(), &stop, charge)
            .map_err(storage_error)?;
        let last = lock(&self.takeover.state).exported.keys().next_back().copied();
        let ulid = Ulid::new(self.clock.now_ms(), last);
        // Remembered before it is there: a block that nobody remembers would be read back.
        self.remember_export(|exported| exported.insert(ulid, window))?;
        let written = self.write_prometheus(&self.path, ulid, window, window, &series);
        if !matches!(written, Ok(Some(_))) {
            self.remember_export(|exported| exported.remove(&ulid))?;
        }
        if let Some(meta) = written? {
            self.options.observer.event(&Event::Exported {
                block: meta.ulid.to_string(),
                range: window,
                samples: meta.samples,
                took: self.clock.monotonic().saturating_sub(began),
            });
        }
        Ok(())
    }

    fn remember_export<T>(
        &self,
        change: impl FnOnce(&mut BTreeMap<Ulid, TimeRange>) -> T,
    ) -> Result<(), StorageError> {
        self.remember(|state| {
            change(&mut state.exported);
        })
    }

    /// Removes exports that end below `border_ms`, and forgets those that somebody else removed.
    pub(in crate::db) fn expire_exports(&self, border_ms: i64) -> Result<(), StorageError> {
        let exported = lock(&self.takeover.state).exported.clone();
        for (ulid, _) in exported.iter().filter(|(_, range)| range.max_ms < border_ms) {
            self.remove_export(*ulid, false)?;
            self.remember_export(|exported| exported.remove(ulid))?;
        }
        Ok(())
    }

    /// The exports that are there, as the plans want blocks. Each stands at the beginning of its
    /// window: it goes before what it was made of.
    pub(in crate::db) fn export_candidates(&self) -> Vec<Candidate> {
        let exported = lock(&self.takeover.state).exported.clone();
        let candidate = |(ulid, range): (Ulid, TimeRange)| Candidate {
            ulid,
            order: ulid,
            range: TimeRange { min_ms: range.min_ms, max_ms: range.min_ms },
            bytes: bytes_below(&*self.disk, &self.path.join(ulid.to_string())),
            series: 0,
            series_hidden: 0,
            is_damaged: false,
        };
        exported.into_iter().map(candidate).collect()
    }

    /// Removes exports because all together takes too much room. Their windows are not exported
    /// again.
    pub(in crate::db) fn let_exports_go(&self, gone: &[Ulid]) -> Result<(), StorageError> {
        for ulid in gone {
            // First: what is there in spite of it goes at the next look.
            self.remember(|state| {
                let begin_ms = state.exported.get(ulid).map(|range| range.max_ms.saturating_add(1));
                state.exports_begin_ms = state.exports_begin_ms.max(begin_ms);
            })?;
            self.remove_export(*ulid, true)?;
            self.remember_export(|exported| exported.remove(ulid))?;
        }
        Ok(())
    }

    fn remove_export(&self, ulid: Ulid, for_size: bool) -> Result<(), StorageError> {
        let dir = self.path.join(ulid.to_string());
        if !self.disk.exists(&dir) {
            return Ok(());
        }
        let doomed = self.path.join(format!("{ulid}{DOOMED}"));
        let renamed = self.disk.rename(&dir, &doomed);
        renamed.map_err(|e| StorageError::io("rename", &dir, e))?;
        let removed = self.disk.remove_dir_all(&doomed);
        removed.map_err(|e| StorageError::io("remove", &doomed, e))?;
        self.options.observer.event(&Event::Expired { block: ulid.to_string(), for_size });
        Ok(())
    }

    /// Removes what a crash left of exports: directories half written, names without a block.
    pub(in crate::db) fn sweep_exports(&self) -> Result<(), StorageError> {
        let exported = lock(&self.takeover.state).exported.clone();
        for ulid in exported.keys() {
            for end in [crate::prometheus::UNFINISHED, DOOMED] {
                let dir = self.path.join(format!("{ulid}{end}"));
                if self.disk.exists(&dir) {
                    let removed = self.disk.remove_dir_all(&dir);
                    removed.map_err(|e| StorageError::io("remove", &dir, e))?;
                }
            }
        }
        let is_gone = |ulid: &Ulid| !self.disk.exists(&self.path.join(ulid.to_string()));
        let gone: Vec<Ulid> = exported.keys().copied().filter(is_gone).collect();
        if gone.is_empty() {
            return Ok(());
        }
        self.remember_export(|exported| exported.retain(|ulid, _| !gone.contains(ulid)))
    }
}
