//! Series over several sources as stretches: what whole chunks come to, and the samples between.
//!
//! Sources are told apart by time where they do not overlap, which is how blocks and head lie; where
//! they do, samples of one time are in several of them, and the series is read and merged.

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
