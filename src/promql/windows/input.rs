//! What a function of windows is given: one series' samples, and which of them each window holds.

use std::ops::Range;
use std::sync::Arc;

use super::{SampleTimes, WORK_PER_CHECK};
use crate::model::FloatHistogram;
use crate::promql::columns::{Bitmap, Column};
use crate::promql::cuts::{Cut, Reach, Reaches};
use crate::select::{Cancellation, Charge};

/// One series' samples and its windows.
#[derive(Debug, Clone, Copy)]
pub struct WindowInput<'a> {
    /// Times of all samples in milliseconds.
    pub timestamps: &'a [i64],
    /// Values of all samples; a histogram's is its sum.
    pub values: &'a [f64],
    /// Those of the samples that are histograms: as many slots as samples, or none.
    pub histograms: &'a [Option<Arc<FloatHistogram>>],
    /// When each sample began to count, in milliseconds, 0 where that is not known; empty where
    /// it is never known, or nobody asks.
    pub starts_ms: &'a [i64],
    /// Whether a value may be less than the one before.
    pub may_fall: bool,
    /// For each step its window: first sample and one past the last. Both never decrease.
    pub bounds: &'a [(u32, u32)],
    /// Whether there is a sample in each window.
    pub is_full: bool,
    /// Evaluation times.
    pub times: &'a SampleTimes,
    /// Length of the windows in milliseconds.
    pub range_ms: i64,
    /// The call's other arguments, in order.
    pub scalars: &'a [Column],
    /// Samples of all windows together.
    pub in_windows: u64,
    /// Samples that are in a window, each counted once.
    pub read: u64,
    /// Samples that count as read before.
    pub(in crate::promql) known: usize,
    pub(super) cut: &'a Cut,
    pub(super) cancellation: Option<&'a Cancellation>,
}

impl<'a> WindowInput<'a> {
    /// Whether the query is to end: for once per [`WORK_PER_CHECK`] samples or steps. Whoever ends
    /// leaves its work as it is.
    pub(in crate::promql) fn is_over(&self) -> bool {
        self.cancellation.is_some_and(|cancellation| cancellation.check().is_err())
    }

    /// Takes room for what a function needs besides the samples; `None` where the query may have
    /// no more, or is to end.
    pub(in crate::promql) fn room(&self, bytes: usize) -> Option<Charge> {
        const SMALL: usize = 1 << 20;
        let Some(cancellation) = self.cancellation.filter(|_| bytes >= SMALL) else {
            return Some(Charge::default());
        };
        let mut charge = cancellation.charge();
        charge.set(bytes as u64).ok().map(|()| charge)
    }

    /// Runs of samples, none of them long, that `samples` consists of; fewer where the query is to
    /// end.
    pub(in crate::promql) fn parts(
        &self,
        samples: Range<usize>,
    ) -> impl Iterator<Item = Range<usize>> {
        parts(samples, || self.is_over())
    }

    /// Steps whose window holds a sample, with its bounds; fewer where the query is to end.
    pub fn filled(&self) -> impl Iterator<Item = (usize, usize, usize)> + use<'a> {
        let (bounds, cancellation) = (self.bounds, self.cancellation);
        let mut work = 0;
        // A histogram takes as long as many floats.
        let weight = if self.histograms.is_empty() { 1 } else { 64 };
        let goes_on = move |&(_, low, high): &(usize, usize, usize)| {
            work += weight * (high - low) + 1;
            if work < WORK_PER_CHECK {
                return true;
            }
            work = 0;
            cancellation.is_none_or(|cancellation| cancellation.check().is_ok())
        };
        bounds
            .iter()
            .enumerate()
            .filter(|(_, (low, high))| low < high)
            .map(|(step, &(low, high))| (step, low as usize, high as usize))
            .take_while(goes_on)
    }

    /// The reach of each window with two samples or more, ascending by step, and these steps.
    pub fn reaches(&self) -> (&'a [Reach], &'a Bitmap) {
        let reaches = self.cut.reaches.get_or_init(|| {
            let mut steps = Bitmap::none(self.times.grid.steps);
            let mut reaches: Vec<Reach> = Vec::with_capacity(self.bounds.len());
            // Where scrapes are regular, windows differ in nothing that counts.
            let mut last_shape = None;
            for (step, low, high) in self.filled().filter(|(_, low, high)| high - low > 1) {
                let (left_ms, right_ms) = self.edges(step);
                let (first_ms, last_ms) = (self.timestamps[low], self.timestamps[high - 1]);
                let shape =
                    (first_ms - left_ms, last_ms - first_ms, right_ms - last_ms, high - low);
                let reach = match reaches.last() {
                    Some(last) if last_shape == Some(shape) => {
                        let (first, last_sample) = (low as u32, high as u32 - 1);
                        Reach { step: step as u32, first, last: last_sample, ..*last }
                    }
                    _ => self.reach(step, low, high),
                };
                last_shape = Some(shape);
                reaches.push(reach);
                steps.set(step);
            }
            steps.compact();
            Reaches { all: reaches, steps }
        });
        (&reaches.all, &reaches.steps)
    }

    /// COMPAT: the order of operations is Prometheus's.
    fn reach(&self, step: usize, low: usize, high: usize) -> Reach {
        let (left_ms, right_ms) = self.edges(step);
        let (first_ms, last_ms) = (self.timestamps[low], self.timestamps[high - 1]);
        let sampled_s = (last_ms - first_ms) as f64 / 1000.0;
        let between_s = sampled_s / (high - low - 1) as f64;
        let threshold_s = between_s * 1.1;
        let mut to_start_s = (first_ms - left_ms) as f64 / 1000.0;
        if to_start_s >= threshold_s {
            to_start_s = between_s / 2.0;
        }
        let mut to_end_s = (right_ms - last_ms) as f64 / 1000.0;
        if to_end_s >= threshold_s {
            to_end_s = between_s / 2.0;
        }
        let (first, last) = (low as u32, high as u32 - 1);
        let mut reach = Reach {
            step: step as u32,
            first,
            last,
            sampled_s,
            to_start_s,
            to_end_s,
            factor: 0.0,
            factor_per_s: 0.0,
        };
        reach.factor = reach.stretched(to_start_s);
        reach.factor_per_s = reach.factor / self.range_s();
        reach
    }

    /// Length of the windows in seconds.
    pub fn range_s(&self) -> f64 {
        self.range_ms as f64 / 1000.0
    }

    /// Where the window of `step` begins (not included) and ends (included), in milliseconds.
    #[inline]
    pub fn edges(&self, step: usize) -> (i64, i64) {
        let end_ms = self.times.at(step);
        (end_ms.saturating_sub(self.range_ms), end_ms)
    }
}

/// Runs of at most [`WORK_PER_CHECK`] that `samples` consists of; `is_over` is asked before each
/// but the first, and ends them.
pub(in crate::promql) fn parts(
    samples: Range<usize>,
    is_over: impl Fn() -> bool,
) -> impl Iterator<Item = Range<usize>> {
    let mut at = samples.start;
    std::iter::from_fn(move || {
        if at >= samples.end || (at > samples.start && is_over()) {
            return None;
        }
        let part = at..samples.end.min(at + WORK_PER_CHECK);
        at = part.end;
        Some(part)
    })
}
