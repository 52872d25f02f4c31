//! Figures of the head.

use std::sync::atomic::{AtomicU64, Ordering};

use hashbrown::HashMap;

use super::{AppendError, CommitOutcome, Head};
use crate::model::METRIC_NAME;
use crate::wal::LogStats;

/// What commits count.
#[derive(Debug, Default)]
pub(super) struct Counters {
    appended: AtomicU64,
    late: AtomicU64,
    out_of_order: AtomicU64,
    out_of_bounds: AtomicU64,
    too_old: AtomicU64,
    duplicate: AtomicU64,
    too_far: AtomicU64,
    pub created: AtomicU64,
    pub removed: AtomicU64,
    pub checkpoints: AtomicU64,
    pub seals: AtomicU64,
}

/// Figures of a head; counts run from the moment it was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeadStats {
    /// Series in the head.
    pub series: u64,
    /// Series created.
    pub series_created: u64,
    /// Series that left.
    pub series_removed: u64,
    /// Groups.
    pub groups: u64,
    /// Chunks: sealed ones, and one for each series with unsealed samples.
    pub chunks: u64,
    /// Time of the oldest sample.
    pub min_ms: Option<i64>,
    /// Time of the newest sample.
    pub max_ms: Option<i64>,
    /// Samples stored.
    pub samples_appended: u64,
    /// Of these, below the newest of their series.
    pub samples_late: u64,
    /// Samples refused as out of order.
    pub out_of_order: u64,
    /// Samples refused as out of bounds.
    pub out_of_bounds: u64,
    /// Samples refused as too old.
    pub too_old: u64,
    /// Samples refused as duplicates.
    pub duplicates: u64,
    /// Samples refused as too far in the future.
    pub too_far_in_future: u64,
    /// Checkpoints written.
    pub checkpoints: u64,
    /// Groups sealed.
    pub seals: u64,
    /// Bytes of head files.
    pub head_file_bytes: u64,
    /// Bytes in memory, estimated.
    pub memory_bytes: u64,
    /// The log's.
    pub log: LogStats,
}

/// The heaviest names and pairs, each with a count, greatest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TopLabels {
    /// Series by metric name.
    pub series_by_metric: Vec<(String, u64)>,
    /// Values by label name.
    pub values_by_name: Vec<(String, u64)>,
    /// Bytes of values, once for each series that has them, by label name.
    pub bytes_by_name: Vec<(String, u64)>,
    /// Series by label pair, as `name=value`.
    pub series_by_pair: Vec<(String, u64)>,
    /// Number of label names.
    pub names: u64,
    /// Number of label pairs.
    pub pairs: u64,
}

impl Counters {
    pub(super) fn add(&self, outcome: &CommitOutcome, stored: u64, late: u64) {
        self.appended.fetch_add(stored, Ordering::Relaxed);
        self.late.fetch_add(late, Ordering::Relaxed);
        for (_, error) in &outcome.rejected {
            let counter = match error {
                AppendError::OutOfOrder => &self.out_of_order,
                AppendError::OutOfBounds => &self.out_of_bounds,
                AppendError::TooOld => &self.too_old,
                AppendError::Duplicate => &self.duplicate,
                AppendError::TooFarInFuture => &self.too_far,
                AppendError::UnknownSeries => continue,
            };
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Head {
    /// Figures at this moment. Visits every group.
    pub fn stats(&self) -> HeadStats {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.counters;
        let range = self.time_range();
        let mut stats = HeadStats {
            series_created: count(&counters.created),
            series_removed: count(&counters.removed),
            min_ms: range.map(|r| r.min_ms),
            max_ms: range.map(|r| r.max_ms),
            samples_appended: count(&counters.appended),
            samples_late: count(&counters.late),
            out_of_order: count(&counters.out_of_order),
            out_of_bounds: count(&counters.out_of_bounds),
            too_old: count(&counters.too_old),
            duplicates: count(&counters.duplicate),
            too_far_in_future: count(&counters.too_far),
            checkpoints: count(&counters.checkpoints),
            seals: count(&counters.seals),
            log: self.log.stats(),
            ..HeadStats::default()
        };
        {
            let register = self.register_read();
            stats.series = register.len() as u64;
            stats.memory_bytes = register.heap_bytes() as u64;
        }
        let groups = self.groups_read().all();
        stats.groups = groups.len() as u64;
        for group in groups {
            let slots = group.writer().heap_bytes();
            let data = group.data();
            stats.memory_bytes += (slots + data.heap_bytes()) as u64;
            stats.chunks += data.columns.iter().filter(|c| !c.is_empty()).count() as u64;
            stats.chunks += data.loose.len() as u64;
            stats.chunks += data.tiles.iter().map(|t| u64::from(t.meta().entries)).sum::<u64>();
        }
        stats.head_file_bytes = self.files().by_number.values().map(|file| file.len()).sum();
        stats
    }

    /// Number of series.
    pub fn series_count(&self) -> usize {
        self.register_read().len()
    }

    /// The `limit` heaviest of each list. Visits every label pair.
    pub fn top_labels(&self, limit: usize) -> TopLabels {
        let mut top = TopLabels::default();
        let mut by_name: HashMap<String, (u64, u64)> = HashMap::new();
        let register = self.register_read();
        register.index.visit_pairs(&mut |name, value, series| {
            top.pairs += 1;
            let sums = match by_name.get_mut(name) {
                Some(sums) => sums,
                None => by_name.entry(name.to_owned()).or_default(),
            };
            sums.0 += 1;
            sums.1 += value.len() as u64 * series;
            if name == METRIC_NAME {
                keep_top(&mut top.series_by_metric, limit, series, || value.to_owned());
            }
            keep_top(&mut top.series_by_pair, limit, series, || format!("{name}={value}"));
        });
        drop(register);
        top.names = by_name.len() as u64;
        for (name, (values, bytes)) in by_name {
            keep_top(&mut top.values_by_name, limit, values, || name.clone());
            keep_top(&mut top.bytes_by_name, limit, bytes, || name.clone());
        }
        top
    }
}

/// Keeps `list` sorted, greatest first, equal counts by text, at most `limit` long.
fn keep_top(
    list: &mut Vec<(String, u64)>,
    limit: usize,
    count: u64,
    text: impl FnOnce() -> String,
) {
    if list.len() >= limit && list.last().is_none_or(|last| last.1 < count) {
        list.pop();
    }
    if list.len() >= limit {
        return;
    }
    let text = text();
    let at = list
        .partition_point(|(t, c)| (std::cmp::Reverse(*c), t) < (std::cmp::Reverse(count), &text));
    list.insert(at, (text, count));
}
