//! One ordered series set over the head and any number of blocks.
//!
//! Series are merged by labels, samples by time. Of two samples at one time the one that was
//! stored first stands: the older block's, and that of the head last. So no flush and no merge
//! changes an answer.
//! A damaged part of a block or head file is left out and told by [`SeriesSet::warnings`], and
//! to whoever looks after the files.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::{
    Cancellation, Charge, Lent, SAMPLE_BYTES, SelectError, SeriesSet, Stretch, Wanted, sort_by,
};
use crate::disk::StorageError;
use crate::head::Captured;
use crate::model::{Labels, Samples, TimeRange};
use crate::{block, prometheus};

/// Hears of damage that readers come across.
pub trait DamageObserver: fmt::Debug + Send + Sync {
    /// Called once for each place and set, from whichever thread reads.
    fn found_damage(&self, error: &StorageError);
}

/// What a merged series takes besides what its sources hold.
const SERIES_BYTES: usize = size_of::<Part>() + 2 * size_of::<u32>();

/// Where a part of a series lies.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    /// A block's index, or the number of blocks for the head.
    pub(super) source: u32,
    /// Index within the source.
    pub(super) index: u32,
}

/// Series of one block, whoever wrote it.
#[derive(Debug)]
pub enum BlockSeries {
    /// A block of ours.
    Own(block::Selection),
    /// A block of Prometheus.
    Prometheus(prometheus::Selection),
}

impl BlockSeries {
    fn len(&self) -> usize {
        match self {
            Self::Own(block) => block.len(),
            Self::Prometheus(block) => block.len(),
        }
    }

    fn labels(&self, index: usize) -> &Labels {
        match self {
            Self::Own(block) => block.labels(index),
            Self::Prometheus(block) => block.labels(index),
        }
    }

    fn read(
        &self,
        index: usize,
        range: TimeRange,
        out: &mut Samples,
        damaged: &mut dyn FnMut(StorageError),
    ) -> Result<(), StorageError> {
        match self {
            Self::Own(block) => block.read(index, range, out, damaged),
            Self::Prometheus(block) => block.read(index, range, out, damaged),
        }
    }
}

/// Series of several sources. INVARIANT: labels strictly ascend; the parts of a series stand in
/// the order of sources, which is by precedence, highest first.
#[derive(Debug)]
pub struct MergedSeries {
    head: Option<Captured>,
    pub(super) blocks: Vec<BlockSeries>,
    parts: Vec<Part>,
    /// Where the parts of each series end.
    ends: Vec<u32>,
    warnings: Mutex<BTreeSet<String>>,
    /// Whether whoever reads is to go on.
    pub(super) cancellation: Cancellation,
    /// What all of it takes.
    charge: Charge,
    observer: Option<Arc<dyn DamageObserver>>,
}

impl MergedSeries {
    /// Merges `blocks`, those of Prometheus and then the oldest first, and the head, which comes
    /// last. `warnings` is what the selection has to say already; `charge` what it holds so far.
    /// `cancellation` ends the merging, and reading later on.
    pub fn merge(
        head: Option<Captured>,
        blocks: Vec<BlockSeries>,
        warnings: Vec<String>,
        cancellation: &Cancellation,
        charge: Charge,
    ) -> Result<Self, SelectError> {
        let mut merged = Self {
            head,
            blocks,
            parts: Vec::new(),
            ends: Vec::new(),
            warnings: Mutex::new(warnings.into_iter().collect()),
            cancellation: cancellation.clone(),
            charge,
            observer: None,
        };
        merged.put_in_order()?;
        Ok(merged)
    }

    /// Has `observer` told of damage too.
    #[must_use]
    pub fn telling(mut self, observer: Arc<dyn DamageObserver>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// Fills the parts of all series.
    fn put_in_order(&mut self) -> Result<(), SelectError> {
        const SERIES_PER_CHECK: usize = 4096;
        let head = self.head.as_ref().map_or(0, Captured::len);
        let count = head + self.blocks.iter().map(BlockSeries::len).sum::<usize>();
        self.charge.grow((count * SERIES_BYTES) as u64)?;
        if self.head.is_none()
            && let [block] = &self.blocks[..]
        {
            let indexes = 0..block.len() as u32;
            self.parts = indexes.map(|index| Part { source: 0, index }).collect();
            self.ends = (1..=block.len() as u32).collect();
            return self.cancellation.check_series(self.ends.len() as u64);
        }
        let mut orders: Vec<Vec<u32>> =
            self.blocks.iter().map(|block| (0..block.len() as u32).collect()).collect();
        let check = || self.cancellation.check().map_err(SelectError::from);
        if let Some(head) = &self.head {
            let mut order: Vec<u32> = (0..head.len() as u32).collect();
            let labels = |index: &u32| head.labels(*index as usize);
            sort_by(&mut order, &check, |a, b| labels(a).cmp(labels(b)))?;
            orders.push(order);
        }
        let labels_of = |source: usize, index: u32| self.labels_in(source, index);
        let mut heap = BinaryHeap::new();
        let mut nexts = vec![0; orders.len()];
        for (source, order) in orders.iter().enumerate() {
            if let Some(&index) = order.first() {
                heap.push(Reverse((labels_of(source, index), source)));
            }
        }
        let (mut last, mut parts, mut ends) = (None, Vec::new(), Vec::new());
        while let Some(Reverse((smallest, source))) = heap.pop() {
            if parts.len().is_multiple_of(SERIES_PER_CHECK) {
                check()?;
            }
            let index = orders[source][nexts[source]];
            if last != Some(smallest) {
                if last.is_some() {
                    ends.push(parts.len() as u32);
                }
                last = Some(smallest);
            }
            parts.push(Part { source: source as u32, index });
            nexts[source] += 1;
            if let Some(&index) = orders[source].get(nexts[source]) {
                heap.push(Reverse((labels_of(source, index), source)));
            }
        }
        if last.is_some() {
            ends.push(parts.len() as u32);
        }
        (self.parts, self.ends) = (parts, ends);
        self.cancellation.check_series(self.ends.len() as u64)
    }

    /// Looks, after a part of a series was read, whether to go on: a long series takes a while.
    pub(super) fn check_read(&self, samples: usize) -> Result<(), SelectError> {
        const SAMPLES: usize = 20_000;
        if samples < SAMPLES && !self.cancellation.is_canceled() {
            return Ok(());
        }
        self.cancellation.check()?;
        // They are the reader's; here is only seen to it that there are not too many.
        Ok(self.cancellation.charge().set(samples as u64 * SAMPLE_BYTES)?)
    }

    /// Labels of a series of one source.
    fn labels_in(&self, source: usize, index: u32) -> &Labels {
        match self.blocks.get(source) {
            Some(block) => block.labels(index as usize),
            None => {
                self.head.as_ref().expect("BUG: the last source is the head").labels(index as usize)
            }
        }
    }

    pub(super) fn parts_of(&self, index: usize) -> &[Part] {
        let begin = if index == 0 { 0 } else { self.ends[index - 1] as usize };
        &self.parts[begin..self.ends[index] as usize]
    }

    pub(super) fn read_part(
        &self,
        part: Part,
        range: TimeRange,
        out: &mut Samples,
    ) -> Result<(), StorageError> {
        let damaged = &mut |error: StorageError| self.tell(&error);
        let Some(block) = self.blocks.get(part.source as usize) else {
            let head = self.head.as_ref().expect("BUG: the last source is the head");
            head.read_around(part.index as usize, range, out, damaged);
            return Ok(());
        };
        block.read(part.index as usize, range, out, damaged)
    }

    /// Tells of damage that left samples out.
    pub(super) fn tell(&self, error: &StorageError) {
        let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        let is_news = warnings.insert(format!("samples are missing: {error}"));
        drop(warnings);
        if let (true, Some(observer)) = (is_news, &self.observer) {
            observer.found_damage(error);
        }
    }
}

impl SeriesSet for MergedSeries {
    fn len(&self) -> usize {
        self.ends.len()
    }

    fn labels(&self, index: usize) -> &Labels {
        let first = self.parts_of(index)[0];
        self.labels_in(first.source as usize, first.index)
    }

    fn read(&self, index: usize, range: TimeRange, out: &mut Samples) -> Result<(), SelectError> {
        out.clear();
        let parts = self.parts_of(index);
        if let &[part] = parts {
            self.read_part(part, range, out)?;
            return self.check_read(out.len());
        }
        let mut part_samples = Samples::default();
        for &part in parts {
            self.read_part(part, range, &mut part_samples)?;
            merge_samples(out, &mut part_samples);
            self.check_read(out.len())?;
        }
        Ok(())
    }

    fn read_or_lend(
        &self,
        index: usize,
        (range, wanted): (TimeRange, Wanted),
        out: &mut Samples,
    ) -> Result<Option<Lent>, SelectError> {
        if let &[part] = self.parts_of(index)
            && let Some(BlockSeries::Own(block)) = self.blocks.get(part.source as usize)
        {
            let damaged = &mut |error: StorageError| self.tell(&error);
            let lent = block.read_or_lend(part.index as usize, (range, wanted), out, damaged)?;
            let samples = lent.as_ref().map_or(out.len(), |lent| lent.values().len());
            self.check_read(samples)?;
            return Ok(lent);
        }
        self.read(index, range, out).map(|()| None)
    }

    fn visit_stretches(
        &self,
        index: usize,
        range: TimeRange,
        visit: &mut dyn FnMut(Stretch<'_>),
    ) -> Result<(), SelectError> {
        self.visit_parts(index, range, visit)
    }

    fn warnings(&self) -> Vec<String> {
        let warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        warnings.iter().cloned().collect()
    }
}

/// Merges `newer` into `older`, both strictly ascending; of two samples at one time the older's
/// stays. `newer` is left with anything.
pub fn merge_samples(older: &mut Samples, newer: &mut Samples) {
    let (Some(&first), Some(&last)) = (newer.timestamps.first(), older.timestamps.last()) else {
        if older.is_empty() {
            std::mem::swap(older, newer);
        }
        return;
    };
    if last < first {
        older.extend_from(newer, 0..newer.len());
        return;
    }
    let keep = older.timestamps.partition_point(|&t| t < first);
    let mut tail = Samples::default();
    tail.extend_from(older, keep..older.len());
    older.truncate(keep);
    // Whole runs at a time: overlaps are rare, and short where they happen.
    let (mut a, mut b) = (0, 0);
    while a < tail.len() && b < newer.len() {
        let t_a = tail.timestamps[a];
        let before = b + newer.timestamps[b..].partition_point(|&t| t < t_a);
        older.extend_from(newer, b..before);
        b = before + usize::from(newer.timestamps.get(before) == Some(&t_a));
        let end = match newer.timestamps.get(b) {
            Some(&t_b) => a + tail.timestamps[a..].partition_point(|&t| t < t_b),
            None => tail.len(),
        };
        older.extend_from(&tail, a..end.max(a + 1));
        a = end.max(a + 1);
    }
    older.extend_from(&tail, a..tail.len());
    older.extend_from(newer, b..newer.len());
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn columns(samples: &BTreeMap<i64, i32>) -> Samples {
        let mut columns = Samples::default();
        for (&t, &value) in samples {
            columns.push(t, f64::from(value));
        }
        columns
    }

    proptest! {
        #[test]
        fn older_samples_stand(
            older in proptest::collection::btree_map(0_i64..50, any::<i32>(), 0..20),
            newer in proptest::collection::btree_map(0_i64..99, any::<i32>(), 0..20),
        ) {
            let mut merged = columns(&older);
            merge_samples(&mut merged, &mut columns(&newer));
            let mut model = newer;
            model.extend(older);
            prop_assert_eq!(merged, columns(&model));
        }
    }
}
