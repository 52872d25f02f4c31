//! From samples to columns: the lookback of an instant selector, the windows of a range selector.
//!
//! Both walk the samples once, with cursors that only move forward. A window is left-open:
//! a sample exactly `range_ms` old is outside, one exactly at the evaluation time inside; the
//! same holds for the lookback.
//!
//! Native histograms stand beside the floats, parallel to them, and only where a series has some;
//! queries work on float counts, whatever counts were stored.

use std::sync::Arc;

use super::columns::{Column, Grid};
use super::cuts::Cuts;
pub use super::cuts::Reach;
use super::extended::Overhang;
use super::nested::{Found, Scratch};
use crate::model::{FloatHistogram, Histogram, ResetHint, Samples, TimeRange, is_stale};
use crate::select::{Cancellation, Lent};

mod input;

pub use input::WindowInput;
pub(super) use input::parts;

/// Samples of windows, or steps, after which a walk over them looks whether to go on. One that
/// does not leaves its work as it is; the caller, who asks once more after so much work, fails.
pub const WORK_PER_CHECK: usize = 1 << 16;

/// Evaluation times of a selector: those of its grid, moved by `offset` and pinned by `@`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SampleTimes {
    /// The grid of the expression.
    pub grid: Grid,
    /// Milliseconds into the past.
    pub offset_ms: i64,
    /// The time that `@` names, instead of the grid's.
    pub fixed_ms: Option<i64>,
}

impl SampleTimes {
    /// The time that step `step` looks at.
    #[inline]
    pub fn at(&self, step: usize) -> i64 {
        self.fixed_ms.unwrap_or_else(|| self.grid.time_ms(step)).saturating_sub(self.offset_ms)
    }

    /// Milliseconds that windows of `width_ms` and their overhang touch; `None` where there is no
    /// step.
    pub fn touched(&self, width_ms: i64, overhang: Overhang) -> Option<TimeRange> {
        let last = self.grid.steps.checked_sub(1)?;
        let width_ms = width_ms.saturating_add(overhang.before_ms);
        Some(TimeRange {
            min_ms: self.at(0).saturating_sub(width_ms).saturating_add(1),
            max_ms: self.at(last).saturating_add(overhang.after_ms),
        })
    }
}

/// What an instant selector takes from the sample it finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// Its value.
    Value,
    /// Its time, in seconds.
    Time,
    /// The value between it and the next; see [`super::extended::smooth`].
    Smoothed,
    /// When it began to count, in seconds.
    Start,
    /// Its time, in seconds, where it is a float; else the histogram.
    TimeOfFloat,
}

/// Writes into `column` the newest sample not older than `lookback_ms` at each step, where it is
/// not a staleness marker.
pub fn look_back(
    windows: &mut Windows,
    times: &SampleTimes,
    lookback_ms: i64,
    taken: Taken,
    column: &mut Column,
) {
    let steps = times.grid.steps;
    column.reset(steps);
    windows.find_cut(times, (lookback_ms, Overhang::default()));
    let (timestamps, values) = (windows.timestamps(), windows.values());
    let Windows { samples, histograms, cuts, .. } = &*windows;
    let cut = cuts.current();
    let has_floats_only = samples.is_float_only() && histograms.is_empty();
    if has_floats_only && taken == Taken::Value && !windows.has_stale() {
        column.valid.clone_from(&cut.filled);
        for (slot, (low, high)) in column.values.iter_mut().zip(&cut.bounds) {
            if low < high {
                *slot = values[*high as usize - 1];
            }
        }
        return;
    }
    let mut known: Option<(usize, Arc<FloatHistogram>)> = None;
    for (step, &(low, high)) in cut.bounds.iter().enumerate() {
        if low == high {
            continue;
        }
        let found = high as usize - 1;
        let (sample_ms, value) = (timestamps[found], values[found]);
        if !is_stale(value) {
            let value = match taken {
                Taken::Smoothed => value,
                Taken::Value if has_floats_only => value,
                Taken::TimeOfFloat if samples.histogram(found).is_none() => {
                    sample_ms as f64 / 1000.0
                }
                Taken::Value | Taken::TimeOfFloat => {
                    // Steps that find the same sample share it.
                    if known.as_ref().is_none_or(|known| known.0 != found) {
                        let taken_in = histograms.get(found).cloned().flatten();
                        let histogram = taken_in.or_else(|| samples.histogram(found).map(to_float));
                        known = histogram.map(|histogram| (found, histogram));
                    }
                    if let Some((_, histogram)) = &known {
                        column.set_histogram(step, Arc::clone(histogram));
                        continue;
                    }
                    value
                }
                Taken::Time => sample_ms as f64 / 1000.0,
                Taken::Start => samples.start_ms(found) as f64 / 1000.0,
            };
            column.set(step, value);
        }
    }
    column.valid.compact();
}

/// Samples without staleness markers, and for each step the part that its window holds.
#[derive(Debug, Default)]
pub struct Windows {
    samples: Samples,
    /// The samples, where they are somebody else's; `samples` is empty then.
    lent: Option<Lent>,
    /// Those of the samples that are histograms: as many slots as samples, or none.
    histograms: Vec<Option<Arc<FloatHistogram>>>,
    /// Whether all that is asked of histograms is their count and sum.
    stats_only: bool,
    /// What stands in which window.
    cuts: Cuts,
    /// Samples up to this time count as read before.
    known_until_ms: Option<i64>,
    /// How many these are.
    known: usize,
    /// What long walks look at.
    cancellation: Option<Cancellation>,
    /// What the samples were made with, where they are a subquery's.
    scratch: Option<Box<Scratch>>,
}

impl Windows {
    /// No samples. With `stats_only` histograms lose their buckets, and their hints say whether
    /// they began anew.
    pub fn new(stats_only: bool) -> Self {
        Self { stats_only, ..Self::default() }
    }

    /// Looks among these cuts first.
    #[must_use]
    pub(super) fn with_cuts(self, cuts: Cuts) -> Self {
        Self { cuts, ..self }
    }

    /// Its cuts, for others.
    pub(super) fn into_cuts(self) -> Cuts {
        self.cuts
    }

    /// Has long walks over it end with `cancellation`.
    #[must_use]
    pub fn watching(self, cancellation: &Cancellation) -> Self {
        Self { cancellation: Some(cancellation.clone()), ..self }
    }

    /// Samples of all windows together, as they were cut last.
    pub fn in_windows(&self) -> u64 {
        self.cuts.held()
    }

    /// The samples to fill in before [`Windows::cut`].
    pub fn samples_mut(&mut self) -> &mut Samples {
        self.take_over();
        &mut self.samples
    }

    /// The samples filled in, which are its own from now on.
    pub fn samples(&mut self) -> &Samples {
        self.take_over();
        &self.samples
    }

    /// Uses these samples where they lie; there are no others.
    pub fn lend(&mut self, lent: Option<Lent>) {
        self.lent = lent;
    }

    /// Copies what was lent.
    fn take_over(&mut self) {
        if let Some(lent) = self.lent.take() {
            lent.copy_to(&mut self.samples);
        }
    }

    /// Times of the samples.
    fn timestamps(&self) -> &[i64] {
        self.lent.as_ref().map_or(&self.samples.timestamps, Lent::timestamps)
    }

    /// Values of the samples.
    fn values(&self) -> &[f64] {
        self.lent.as_ref().map_or(&self.samples.values, Lent::values)
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.timestamps().len()
    }

    /// Whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.timestamps().is_empty()
    }

    /// Empties it for the samples of another series.
    pub fn clear(&mut self) {
        self.lent = None;
        self.samples.clear();
        self.histograms.clear();
    }

    /// Whether a histogram may be among the samples, taken in or not.
    pub(super) fn may_have_histograms(&self) -> bool {
        !self.samples.histograms.is_empty() || !self.histograms.is_empty()
    }

    /// A copy of the samples within `range`, which are floats. Those up to `known_until_ms` count
    /// as read before.
    pub(super) fn part(&self, range: TimeRange, known_until_ms: Option<i64>) -> Self {
        let timestamps = self.timestamps();
        let low = timestamps.partition_point(|&t_ms| t_ms < range.min_ms);
        let high = timestamps.partition_point(|&t_ms| t_ms <= range.max_ms);
        let starts_ms = self.samples.starts_ms.get(low..high).unwrap_or_default().to_vec();
        let samples = Samples {
            timestamps: timestamps[low..high].to_vec(),
            values: self.values()[low..high].to_vec(),
            starts_ms,
            ..Samples::default()
        };
        let (stats_only, cancellation) = (self.stats_only, self.cancellation.clone());
        Self { samples, stats_only, known_until_ms, cancellation, ..Self::default() }
    }

    /// What the samples of a subquery were made with.
    pub(super) fn take_scratch(&mut self) -> Option<Box<Scratch>> {
        self.scratch.take()
    }

    /// Keeps it for the next series.
    pub(super) fn put_scratch(&mut self, scratch: Box<Scratch>) {
        self.scratch = Some(scratch);
    }

    /// What was found about a subquery's series when it was made, once.
    pub(super) fn take_found(&mut self) -> Option<Found> {
        self.scratch.as_mut().and_then(|scratch| scratch.take_found())
    }

    /// Fills in floats by taking them over.
    pub(super) fn take_in(&mut self, timestamps: impl Iterator<Item = i64>, values: &mut Vec<f64>) {
        self.clear();
        self.samples.timestamps.extend(timestamps);
        std::mem::swap(&mut self.samples.values, values);
    }

    /// The same, of so many that times are made with looks in between.
    pub(super) fn take_in_all(&mut self, timestamps: Vec<i64>, values: &mut Vec<f64>) {
        self.clear();
        self.samples.timestamps = timestamps;
        std::mem::swap(&mut self.samples.values, values);
    }

    /// Appends a histogram that a subquery gave. What it hints at is forgotten: samples between
    /// the subquery's steps are not seen, and one sample may be seen more than once.
    pub fn push_computed(&mut self, t_ms: i64, histogram: &Arc<FloatHistogram>) {
        let mut histogram = Arc::clone(histogram);
        if matches!(histogram.reset_hint, ResetHint::Reset | ResetHint::NotReset) {
            Arc::make_mut(&mut histogram).reset_hint = ResetHint::Unknown;
        }
        self.histograms.resize(self.samples.len(), None);
        self.samples.push(t_ms, histogram.sum);
        self.histograms.push(Some(histogram));
    }

    /// Makes float counts of the histograms among the samples, where that was not done.
    pub fn take_in_histograms(&mut self) {
        let stored = std::mem::take(&mut self.samples.histograms);
        if !stored.is_empty() {
            self.histograms.resize(self.samples.len(), None);
            for (index, histogram) in &stored {
                self.histograms[*index as usize] = Some(to_float(histogram));
            }
            if self.stats_only {
                self.strip();
            }
        } else if !self.histograms.is_empty() {
            self.histograms.resize(self.samples.len(), None);
        }
    }

    /// Keeps counts and sums of histograms, and what buckets tell about resets.
    ///
    /// COMPAT: Prometheus does so where a query asks for no more, which shows in warnings.
    fn strip(&mut self) {
        let mut last: Option<Arc<FloatHistogram>> = None;
        for slot in self.histograms.iter_mut().flatten() {
            let mut reset_hint = slot.reset_hint;
            if let Some(last) = &last
                && reset_hint == ResetHint::Unknown
            {
                let is_reset = slot.is_reset_since(last);
                reset_hint = if is_reset { ResetHint::Reset } else { ResetHint::NotReset };
            }
            let stripped = FloatHistogram {
                reset_hint,
                schema: slot.schema,
                count: slot.count,
                sum: slot.sum,
                ..FloatHistogram::default()
            };
            let whole = std::mem::replace(slot, Arc::new(stripped));
            if !is_stale(whole.sum) {
                last = Some(whole);
            }
        }
    }

    /// Drops the samples up to `t_ms`. Of the first one behind them it is known whether it is a
    /// reset; what that is, a store does not tell of the first sample that is read.
    pub fn drop_until(&mut self, t_ms: i64) {
        let count = self.timestamps().partition_point(|&at| at <= t_ms);
        if count == 0 {
            return;
        }
        if let Some(lent) = &mut self.lent {
            return lent.drop_first(count);
        }
        self.samples.retain(|at| at > t_ms);
        if !self.histograms.is_empty() {
            let before = self.histograms.drain(..count).next_back().flatten();
            let follows = before.is_some_and(|before| !is_stale(before.sum));
            if let Some(Some(first)) = self.histograms.first_mut()
                && (first.reset_hint == ResetHint::Reset
                    || !follows && first.reset_hint == ResetHint::NotReset)
            {
                Arc::make_mut(first).reset_hint = ResetHint::Unknown;
            }
        }
    }

    /// Whether a sample is a histogram.
    pub fn has_histograms(&self) -> bool {
        !self.histograms.is_empty()
    }

    /// The floats alone, in windows of their own.
    #[must_use]
    pub fn floats(&self) -> Self {
        let mut floats = Self { cancellation: self.cancellation.clone(), ..Self::default() };
        for index in 0..self.samples.len() {
            if self.histograms[index].is_none() {
                floats.samples.push(self.samples.timestamps[index], self.samples.values[index]);
            }
        }
        floats
    }

    /// How much of a query's budget the samples take.
    pub fn cost(&self) -> usize {
        let stored = self.samples.histograms.iter().map(|(_, histogram)| histogram.samples());
        let taken_in = self.histograms.iter().flatten().map(|histogram| histogram.samples());
        self.len() + stored.chain(taken_in).sum::<usize>()
    }

    /// How many samples it counts as, the histograms that were taken in by their size.
    pub fn size(&self) -> u64 {
        let sizes = self.histograms.iter().flatten().map(|histogram| histogram.samples() as u64);
        let floats = self.len() - self.histograms.iter().flatten().count();
        floats as u64 + sizes.sum::<u64>()
    }

    /// Drops staleness markers and finds what is within the windows of `range_ms` at `times` and
    /// within their overhang. The same `Windows` serves one selector only.
    pub fn cut(&mut self, times: &SampleTimes, range_ms: i64, overhang: Overhang) {
        self.take_in_histograms();
        self.drop_stale();
        self.find_cut(times, (range_ms, overhang));
    }

    fn find_cut(&mut self, times: &SampleTimes, width: (i64, Overhang)) {
        let Self { samples, lent, cuts, known_until_ms, known, cancellation, .. } = self;
        let column = lent.as_ref().map(Lent::column);
        let timestamps = lent.as_ref().map_or(&samples.timestamps[..], Lent::timestamps);
        let until = |until_ms: i64| timestamps.partition_point(|&t_ms| t_ms <= until_ms);
        *known = known_until_ms.map_or(0, until);
        cuts.cut((timestamps, column), times, width, *known, cancellation.as_ref());
    }

    /// What a window function is given.
    pub fn input<'a>(
        &'a self,
        times: &'a SampleTimes,
        range_ms: i64,
        scalars: &'a [Column],
    ) -> WindowInput<'a> {
        let cut = self.cuts.current();
        WindowInput {
            timestamps: self.timestamps(),
            values: self.values(),
            histograms: &self.histograms,
            starts_ms: &self.samples.starts_ms,
            may_fall: self.lent.as_ref().is_none_or(Lent::may_fall),
            bounds: &cut.bounds,
            is_full: cut.filled.is_all(),
            times,
            range_ms,
            scalars,
            in_windows: cut.held,
            read: cut.read,
            known: self.known,
            cut,
            cancellation: self.cancellation.as_ref(),
        }
    }
}

impl Windows {
    /// Whether a staleness marker may be among the samples.
    fn has_stale(&self) -> bool {
        self.lent.as_ref().map_or_else(|| has_stale(&self.samples.values), Lent::may_have_stale)
    }

    /// Takes staleness markers out; [`Windows::cut`] does it too.
    pub fn drop_stale(&mut self) {
        if !self.has_stale() {
            return;
        }
        self.take_over();
        let first = self.samples.values.iter().position(|value| is_stale(*value)).unwrap_or(0);
        let mut kept = first;
        for index in first..self.samples.len() {
            if is_stale(self.samples.values[index]) {
                continue;
            }
            self.samples.values[kept] = self.samples.values[index];
            self.samples.timestamps[kept] = self.samples.timestamps[index];
            if !self.samples.starts_ms.is_empty() {
                self.samples.starts_ms[kept] = self.samples.starts_ms[index];
            }
            if !self.histograms.is_empty() {
                self.histograms.swap(kept, index);
            }
            kept += 1;
        }
        self.samples.truncate(kept);
        self.histograms.truncate(kept);
    }

    /// Forgets when samples began to count.
    pub fn drop_starts(&mut self) {
        self.samples.starts_ms.clear();
    }

    /// Times and histograms of the samples that are histograms, once taken in.
    pub fn histograms(&self) -> impl Iterator<Item = (i64, &Arc<FloatHistogram>)> {
        let slots = self.samples.timestamps.iter().zip(&self.histograms);
        slots.filter_map(|(t_ms, slot)| slot.as_ref().map(|histogram| (*t_ms, histogram)))
    }
}

/// Whether a marker is among the values. Without an early exit the loop runs several values at a
/// time, and nearly always says no.
fn has_stale(values: &[f64]) -> bool {
    values.iter().fold(false, |any, value| any | is_stale(*value))
}

/// A stored histogram as queries work on it.
fn to_float(histogram: &Arc<Histogram>) -> Arc<FloatHistogram> {
    Arc::new(histogram.to_float())
}

#[cfg(test)]
mod tests;
