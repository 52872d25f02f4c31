//! Series over several sources as stretches: what whole chunks come to, and the samples between.
//!
//! Sources are told apart by time where they do not overlap, which is how blocks and head lie;
//! where they do, samples of one time are in several of them, and the series is read and merged.

use super::merge::{BlockSeries, MergedSeries, Part};
use super::{SelectError, SeriesSet};
use crate::block::Stretch;
use crate::model::{Samples, TimeRange};

/// A part of a series and the times between which its samples lie.
struct Stretched {
    bounds: TimeRange,
    part: Part,
    /// Its samples, where they were read to know the times.
    samples: Option<Samples>,
}

impl MergedSeries {
    /// See [`SeriesSet::visit_stretches`].
    pub(super) fn visit_parts(
        &self,
        index: usize,
        range: TimeRange,
        visit: &mut dyn FnMut(Stretch<'_>),
    ) -> Result<(), SelectError> {
        let Some(parts) = self.apart(index, range)? else {
            let mut samples = Samples::default();
            self.read(index, range, &mut samples)?;
            visit_samples(&samples, visit);
            return Ok(());
        };
        for Stretched { part, samples, .. } in parts {
            self.check_read(samples.as_ref().map_or(0, Samples::len))?;
            match (self.blocks.get(part.source as usize), samples) {
                (_, Some(samples)) => visit_samples(&samples, visit),
                (Some(BlockSeries::Own(block)), None) => {
                    let damaged = &mut |error| self.tell(&error);
                    block.visit_stretches(part.index as usize, range, damaged, visit)?;
                }
                (_, None) => unreachable!("BUG: only our own blocks are left unread"),
            }
        }
        Ok(())
    }

    /// The parts of a series in the order of time; `None` where they overlap.
    fn apart(&self, index: usize, range: TimeRange) -> Result<Option<Vec<Stretched>>, SelectError> {
        let mut parts = Vec::new();
        for &part in self.parts_of(index) {
            if let Some(BlockSeries::Own(block)) = self.blocks.get(part.source as usize)
                && let Some(bounds) = block.bounds(part.index as usize, range)
            {
                parts.push(Stretched { bounds, part, samples: None });
                continue;
            }
            let mut samples = Samples::default();
            self.read_part(part, range, &mut samples)?;
            if let (Some(&min_ms), Some(&max_ms)) =
                (samples.timestamps.first(), samples.timestamps.last())
            {
                let bounds = TimeRange { min_ms, max_ms };
                parts.push(Stretched { bounds, part, samples: Some(samples) });
            }
        }
        parts.sort_unstable_by_key(|part| part.bounds.min_ms);
        let is_apart = parts.windows(2).all(|w| w[0].bounds.max_ms < w[1].bounds.min_ms);
        Ok(is_apart.then_some(parts))
    }
}

fn visit_samples(samples: &Samples, visit: &mut dyn FnMut(Stretch<'_>)) {
    if !samples.is_empty() {
        visit(Stretch::Samples(samples));
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::block::{Block, BlockWriter, Selection, Ulid};
    use crate::chunk::Coder;
    use crate::disk::{Disk, SimulatedDisk, StorageError};
    use crate::model::Labels;
    use crate::select::{Cancellation, Charge};

    const NOW: i64 = 1_700_000_000_000;

    /// A block of one series with a counter's rows `from..to`.
    fn block(disk: &Arc<dyn Disk>, number: u128, from: i64, to: i64) -> Selection {
        let ulid = Ulid::new(NOW + number as i64, None);
        let dir = Path::new("/blocks");
        let mut writer =
            BlockWriter::create(disk, dir, ulid, NOW, 7_200_000, Coder::Dense).unwrap();
        let mut samples = Samples::default();
        (from..to).for_each(|i| samples.push(NOW + i * 15_000, (i * 7 + i % 3) as f64));
        writer.add(&Labels::from_pairs([("__name__", "m")]), &samples).unwrap();
        writer.finish(1, Vec::new()).unwrap();
        let block = Arc::new(Block::open(&**disk, &dir.join(ulid.to_string())).unwrap());
        let none = |_| -> Result<(), StorageError> { Ok(()) };
        block.select(&[], TimeRange::ALL, &none).unwrap()
    }

    /// Samples, those of them in whole chunks, and the sum of all.
    fn fold(blocks: Vec<Selection>, range: TimeRange) -> (u64, u64, f64) {
        let blocks = blocks.into_iter().map(BlockSeries::Own).collect();
        let (stop, charge) = (Cancellation::new(), Charge::default());
        let merged = MergedSeries::merge(None, blocks, Vec::new(), &stop, charge).unwrap();
        let (mut count, mut whole, mut sum) = (0, 0, 0.0);
        let mut last_ms = i64::MIN;
        let visit = &mut |stretch: Stretch<'_>| match stretch {
            Stretch::Samples(samples) => {
                assert!(samples.timestamps[0] > last_ms);
                last_ms = samples.timestamps[samples.len() - 1];
                count += samples.len() as u64;
                sum += samples.values.iter().sum::<f64>();
            }
            Stretch::Whole { range, aggregate } => {
                assert!(range.min_ms > last_ms);
                last_ms = range.max_ms;
                count += u64::from(aggregate.count);
                whole += u64::from(aggregate.count);
                sum += aggregate.unrounded_sum().unwrap();
            }
        };
        merged.visit_stretches(0, range, visit).unwrap();
        (count, whole, sum)
    }

    fn expected(from: i64, to: i64) -> f64 {
        (from..to).map(|i| (i * 7 + i % 3) as f64).sum()
    }

    #[test]
    fn blocks_that_lie_apart_are_not_decoded_and_overlapping_ones_are_merged() {
        let disk: Arc<dyn Disk> = Arc::new(SimulatedDisk::new(1));
        let apart = || vec![block(&disk, 1, 0, 3000), block(&disk, 2, 3000, 6000)];
        let (count, whole, sum) = fold(apart(), TimeRange::ALL);
        assert_eq!((count, whole, sum), (6000, 6000, expected(0, 6000)));
        let disk: Arc<dyn Disk> = Arc::new(SimulatedDisk::new(2));
        let within = TimeRange { min_ms: NOW + 100 * 15_000, max_ms: NOW + 5000 * 15_000 };
        let two = vec![block(&disk, 1, 0, 3000), block(&disk, 2, 3000, 6000)];
        let (count, whole, sum) = fold(two, within);
        assert_eq!((count, sum), (4901, expected(100, 5001)));
        assert!((2500..count).contains(&whole), "{whole} samples in whole chunks");
        let disk: Arc<dyn Disk> = Arc::new(SimulatedDisk::new(3));
        let over = vec![block(&disk, 1, 0, 4000), block(&disk, 2, 3500, 6000)];
        let (count, whole, sum) = fold(over, TimeRange::ALL);
        assert_eq!((count, whole, sum), (6000, 0, expected(0, 6000)));
    }
}
