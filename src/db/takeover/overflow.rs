//! Samples of a log that the head does not take, on their way into blocks of ours.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::block::{BlockWriter, Ulid};
use crate::chunk::Coder;
use crate::db::Shared;
use crate::disk::StorageError;
use crate::model::{Histogram, Labels, Samples, TimeRange};

/// Samples that are held in memory.
const SAMPLES_MAX: usize = 4_000_000;

/// What a sample is besides its time.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) value: f64,
    /// When the counter began; 0: not known.
    pub(super) start_ms: i64,
    pub(super) histogram: Option<Arc<Histogram>>,
}

/// Samples of one window: by series, by time.
pub(super) type Window = BTreeMap<Labels, BTreeMap<i64, Held>>;

/// Samples by window.
#[derive(Debug, Default)]
pub(super) struct Overflow {
    /// By the first millisecond of the window.
    windows: BTreeMap<i64, Window>,
    count: usize,
}

impl Overflow {
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(super) fn is_full(&self) -> bool {
        self.count >= SAMPLES_MAX
    }

    /// Adds a sample; false where there is one at that time.
    pub(super) fn add(&mut self, labels: &Labels, t_ms: i64, held: Held, window_ms: i64) -> bool {
        let start_ms = t_ms.div_euclid(window_ms).saturating_mul(window_ms);
        let window = self.windows.entry(start_ms).or_default();
        let series = match window.get_mut(labels) {
            Some(series) => series,
            None => window.entry(labels.clone()).or_default(),
        };
        let is_new = !series.contains_key(&t_ms);
        if is_new {
            series.insert(t_ms, held);
            self.count += 1;
        }
        is_new
    }

    /// Forgets samples of one series.
    pub(super) fn delete(&mut self, labels: &Labels, range: TimeRange) {
        for window in self.windows.values_mut() {
            if let Some(series) = window.get_mut(labels) {
                let before = series.len();
                series.retain(|&t_ms, _| !range.contains(t_ms));
                self.count -= before - series.len();
            }
        }
    }

    /// Everything, by the first millisecond of each window.
    pub(super) fn take(&mut self) -> BTreeMap<i64, Window> {
        self.count = 0;
        std::mem::take(&mut self.windows)
    }
}

impl Shared {
    /// Writes a window as the block `ulid` and serves it.
    pub(super) fn write_overflow(
        &self,
        ulid: Ulid,
        start_ms: i64,
        window: &Window,
    ) -> Result<(), StorageError> {
        let window_ms = self.options.block_duration_min_ms;
        let (dir, coder) = (self.blocks.dir(), Coder::Fast);
        let mut writer = BlockWriter::create(&self.disk, dir, ulid, start_ms, window_ms, coder)?;
        for (labels, series) in window {
            let mut samples = Samples::default();
            for (&t_ms, held) in series {
                match &held.histogram {
                    Some(histogram) => samples.push_histogram(t_ms, Arc::clone(histogram)),
                    None => samples.push(t_ms, held.value),
                }
                samples.set_last_start(held.start_ms);
            }
            writer.add(labels, &samples)?;
        }
        match writer.finish(1, Vec::new())? {
            Some(meta) => self.blocks.publish(&meta),
            None => Ok(()),
        }
    }
}
