//! Figures of the head.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::atomic::{AtomicU64, Ordering};

use super::index::ValueWalk;
use super::{AppendError, CommitOutcome, Head, Limit, SeriesLimits};
use crate::index::LabelIndex;
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
    pub checkpoint_failures: AtomicU64,
    /// Length of the last one.
    pub checkpoint_bytes: AtomicU64,
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
    /// The limits in force.
    pub limits: SeriesLimits,
    /// How often each limit kept a series out: once each time that it was asked for.
    pub series_refused: Vec<(Limit, u64)>,
    /// Checkpoints written.
    pub checkpoints: u64,
    /// Checkpoints that could not be written, so that the log was not cut.
    pub checkpoint_failures: u64,
    /// Groups sealed.
    pub seals: u64,
    /// Bytes of head files.
    pub head_file_bytes: u64,
    /// Bytes in memory, estimated.
    pub memory_bytes: u64,
    /// Of what these are made up.
    pub memory: HeadMemory,
    /// The log's.
    pub log: LogStats,
}

/// Bytes in memory by part, estimated; what is mapped from head files is not among them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HeadMemory {
    /// The table of series: records, rows of symbols, the table by labels.
    pub series: u64,
    /// Texts of label names and values, with their tables.
    pub symbols: u64,
    /// Lists of series by label pair.
    pub postings: u64,
    /// Slots of groups, with what they hold in place.
    pub slots: u64,
    /// Streams of values.
    pub streams: u64,
    /// Times, samples outside the rows, tables of tiles.
    pub groups: u64,
}

impl HeadMemory {
    /// All of it.
    pub fn sum(&self) -> u64 {
        let Self { series, symbols, postings, slots, streams, groups } = self;
        series + symbols + postings + slots + streams + groups
    }
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
                AppendError::UnknownSeries
                | AppendError::LimitReached(_)
                | AppendError::InvalidHistogram(_)
                | AppendError::TooManyBuckets(_) => continue,
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
            limits: self.options.limits,
            series_refused: Limit::ALL.map(|l| (l, self.limit_counts.refused(l))).to_vec(),
            checkpoints: count(&counters.checkpoints),
            checkpoint_failures: count(&counters.checkpoint_failures),
            seals: count(&counters.seals),
            log: self.log.stats(),
            ..HeadStats::default()
        };
        stats.series = self.series_count() as u64;
        let groups = self.groups_read().all();
        stats.groups = groups.len() as u64;
        for group in &groups {
            // Not the writer's lock: it may be held over a write to a slow log.
            let data = group.data();
            stats.chunks += data.columns.iter().filter(|c| !c.is_empty()).count() as u64;
            stats.chunks += data.loose.len() as u64;
            stats.chunks += data.tiles.iter().map(|t| u64::from(t.meta().entries)).sum::<u64>();
        }
        stats.memory = self.memory();
        stats.memory_bytes = stats.memory.sum();
        stats.head_file_bytes = self.file_bytes();
        stats
    }

    /// What the head takes in memory. Visits every group.
    pub fn memory(&self) -> HeadMemory {
        let mut memory = HeadMemory::default();
        self.register_read().measure(&mut memory);
        let groups = self.groups_read().all();
        for group in groups {
            group.data().measure(&mut memory);
        }
        memory
    }

    /// Bytes of the head files.
    pub fn file_bytes(&self) -> u64 {
        self.files().by_number.values().map(|file| file.len()).sum()
    }

    /// Bytes of log and head files.
    pub fn stored_bytes(&self) -> u64 {
        self.log.stats().bytes + self.file_bytes()
    }

    /// Number of series.
    pub fn series_count(&self) -> usize {
        self.register_read().len()
    }

    /// The `limit` heaviest of each list. Visits every label pair, a few at a time: nobody waits.
    pub fn top_labels(&self, limit: usize) -> TopLabels {
        let mut names = Vec::new();
        self.index().visit_names(&mut |name| names.push(name.to_owned()));
        let (mut pairs_len, names_len) = (0, names.len() as u64);
        let (mut metrics, mut pairs) = (Heaviest::new(limit), Heaviest::new(limit));
        let (mut by_values, mut by_bytes) = (Heaviest::new(limit), Heaviest::new(limit));
        for name in &names {
            let (mut values, mut bytes) = (0, 0);
            let mut walk = ValueWalk::new(name, "");
            while walk.advance(self) {
                for (value, series) in (0..walk.len()).map(|n| walk.counted(n)) {
                    values += 1;
                    bytes += value.len() as u64 * series;
                    if name == METRIC_NAME {
                        metrics.add(series, || value.to_owned());
                    }
                    pairs.add(series, || format!("{name}={value}"));
                }
            }
            pairs_len += values;
            by_values.add(values, || name.clone());
            by_bytes.add(bytes, || name.clone());
        }
        TopLabels {
            series_by_metric: metrics.into_list(),
            values_by_name: by_values.into_list(),
            bytes_by_name: by_bytes.into_list(),
            series_by_pair: pairs.into_list(),
            names: names_len,
            pairs: pairs_len,
        }
    }
}

/// The texts with the greatest counts; of equal counts those that are first in order.
struct Heaviest {
    limit: usize,
    /// The least of them on top.
    heap: BinaryHeap<Reverse<(u64, Reverse<String>)>>,
}

impl Heaviest {
    fn new(limit: usize) -> Self {
        Self { limit, heap: BinaryHeap::new() }
    }

    fn add(&mut self, count: u64, text: impl FnOnce() -> String) {
        if self.heap.len() >= self.limit {
            if self.heap.peek().is_none_or(|Reverse((least, _))| count < *least) {
                return;
            }
            self.heap.push(Reverse((count, Reverse(text()))));
            self.heap.pop();
        } else {
            self.heap.push(Reverse((count, Reverse(text()))));
        }
    }

    /// Greatest first. A text that was met twice stands once.
    fn into_list(self) -> Vec<(String, u64)> {
        let sorted = self.heap.into_sorted_vec().into_iter();
        let mut list: Vec<(String, u64)> =
            sorted.map(|Reverse((count, Reverse(text)))| (text, count)).collect();
        let mut seen = hashbrown::HashSet::new();
        list.retain(|(text, _)| seen.insert(text.clone()));
        list
    }
}
