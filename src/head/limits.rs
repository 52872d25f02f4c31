//! What a head takes at most: how long labels may be, how many series there may be.
//!
//! A new series above a limit is refused, and whoever asked for it hears which limit it was with
//! the verdict on its samples; series that are there go on. So an explosion of labels costs what
//! is new, and neither the process nor what it knew before.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use super::register::Register;
use crate::model::{Labels, METRIC_NAME};

/// The label that tells jobs apart.
pub(super) const JOB: &str = "job";

/// What a new series takes in memory, about, before anyone has measured.
const SERIES_BYTES: u64 = 400;

/// A limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Limit {
    /// Labels of a series.
    Labels,
    /// Bytes of a label's name.
    LabelName,
    /// Bytes of a label's value.
    LabelValue,
    /// Series in the head.
    Series,
    /// Series in the head with one value of the label `job`.
    SeriesPerJob,
    /// Series in the head with one metric name.
    SeriesPerMetric,
    /// Bytes that the head takes in memory.
    Memory,
}

/// Every limit on what is new; 0 sets none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeriesLimits {
    /// Labels of a series, the metric name among them.
    pub labels_max: u64,
    /// Bytes of a label's name.
    pub label_name_bytes_max: u64,
    /// Bytes of a label's value.
    pub label_value_bytes_max: u64,
    /// Series in the head.
    pub series_max: u64,
    /// Series in the head with one value of the label `job`.
    pub series_per_job_max: u64,
    /// Series in the head with one metric name.
    pub series_per_metric_max: u64,
    /// Bytes that the head may take in memory, by its own estimate.
    pub memory_bytes_max: u64,
}

/// Labels are limited where nobody writes by hand what is longer: a thousand labels, names of a
/// kilobyte, values of 64 KiB. What may be stored in all is for those to say who know the machine.
impl Default for SeriesLimits {
    fn default() -> Self {
        Self {
            labels_max: 1000,
            label_name_bytes_max: 1 << 10,
            label_value_bytes_max: 64 << 10,
            series_max: 0,
            series_per_job_max: 0,
            series_per_metric_max: 0,
            memory_bytes_max: 0,
        }
    }
}

/// A limit that a new series would exceed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitReached {
    /// Which.
    pub limit: Limit,
    /// Its bound.
    pub max: u64,
}

impl Limit {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Labels,
        Self::LabelName,
        Self::LabelValue,
        Self::Series,
        Self::SeriesPerJob,
        Self::SeriesPerMetric,
        Self::Memory,
    ];

    /// Its name, as errors and figures give it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Labels => "max-labels-per-series",
            Self::LabelName => "max-label-name-length",
            Self::LabelValue => "max-label-value-length",
            Self::Series => "max-series",
            Self::SeriesPerJob => "max-series-per-job",
            Self::SeriesPerMetric => "max-series-per-metric",
            Self::Memory => "max-head-memory",
        }
    }

    /// The limit with this number.
    pub(super) fn from_number(number: u32) -> Option<Self> {
        Self::ALL.get(number as usize).copied()
    }
}

impl SeriesLimits {
    /// The bound of a limit; 0: none.
    pub fn bound(&self, limit: Limit) -> u64 {
        match limit {
            Limit::Labels => self.labels_max,
            Limit::LabelName => self.label_name_bytes_max,
            Limit::LabelValue => self.label_value_bytes_max,
            Limit::Series => self.series_max,
            Limit::SeriesPerJob => self.series_per_job_max,
            Limit::SeriesPerMetric => self.series_per_metric_max,
            Limit::Memory => self.memory_bytes_max,
        }
    }

    /// The error of a series that `limit` keeps out.
    pub(super) fn reached(&self, limit: Limit) -> LimitReached {
        LimitReached { limit, max: self.bound(limit) }
    }

    /// The first limit of labels that these exceed.
    fn of_labels(&self, labels: &Labels) -> Option<Limit> {
        let exceeds = |limit, count: usize| {
            let max = self.bound(limit);
            max > 0 && count as u64 > max
        };
        let mut count = 0;
        for (name, value) in labels.iter_bytes() {
            count += 1;
            if exceeds(Limit::LabelName, name.len()) {
                return Some(Limit::LabelName);
            }
            if exceeds(Limit::LabelValue, value.len()) {
                return Some(Limit::LabelValue);
            }
        }
        exceeds(Limit::Labels, count).then_some(Limit::Labels)
    }

    /// The first limit that one more series with these labels would exceed.
    pub(super) fn reached_by(
        &self,
        labels: &Labels,
        register: &Register,
        memory_bytes: u64,
    ) -> Option<Limit> {
        if let Some(limit) = self.of_labels(labels) {
            return Some(limit);
        }
        let is_full = |limit, there: u64| {
            let max = self.bound(limit);
            max > 0 && there >= max
        };
        if is_full(Limit::Series, register.len() as u64) {
            return Some(Limit::Series);
        }
        if is_full(Limit::Memory, memory_bytes) {
            return Some(Limit::Memory);
        }
        let per = [(Limit::SeriesPerJob, JOB), (Limit::SeriesPerMetric, METRIC_NAME)];
        per.into_iter().find_map(|(limit, name)| {
            let there = if self.bound(limit) > 0 { labels.get(name) } else { None };
            is_full(limit, register.count_of(name, there?)).then_some(limit)
        })
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for LimitReached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.limit {
            Limit::Labels => "a series has too many labels",
            Limit::LabelName => "the name of a label is too long",
            Limit::LabelValue => "the value of a label is too long",
            Limit::Series => "no room for a new series",
            Limit::SeriesPerJob => "no room for a new series of this job",
            Limit::SeriesPerMetric => "no room for a new series of this metric",
            Limit::Memory => "no memory for a new series",
        };
        write!(f, "{what}: limit {} of {} reached", self.limit, self.max)
    }
}

/// What limits have done, and what the head takes as it was measured last.
#[derive(Debug, Default)]
pub(super) struct LimitCounts {
    refused: [AtomicU64; Limit::ALL.len()],
    measured_bytes: AtomicU64,
    created_since: AtomicU64,
}

impl LimitCounts {
    pub(super) fn count(&self, limit: Limit) {
        self.refused[limit as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn refused(&self, limit: Limit) -> u64 {
        self.refused[limit as usize].load(Ordering::Relaxed)
    }

    /// A series came.
    pub(super) fn created(&self) {
        self.created_since.fetch_add(1, Ordering::Relaxed);
    }

    /// The head takes so much now.
    pub(super) fn measured(&self, bytes: u64) {
        self.created_since.store(0, Ordering::Relaxed);
        self.measured_bytes.store(bytes, Ordering::Relaxed);
    }

    /// What the head takes, about: what was measured last, and the series that came since.
    pub(super) fn memory_bytes(&self) -> u64 {
        let created = self.created_since.load(Ordering::Relaxed);
        self.measured_bytes.load(Ordering::Relaxed) + created * SERIES_BYTES
    }
}
