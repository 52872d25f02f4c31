//! `anchored` and `smoothed` selectors over native histograms.
//!
//! COMPAT: the order of operations is Prometheus's; unlike `rate` without a modifier, layouts are
//! reconciled pair by pair.

use std::sync::Arc;

use super::mixed::{Resets, count_pairs_by, each, has_floats, is_changed, is_reset};
use super::window::{MixedFunction, WindowNote, WindowNotes};
use crate::model::{FloatHistogram, MixedSchemas, ResetHint};
use crate::promql::ast::Extension;
use crate::promql::columns::Column;
use crate::promql::extended::interpolate;
use crate::promql::windows::WindowInput;

/// What function `name` does with histograms in windows of this extension.
pub(crate) fn extended_mixed_function(name: &str, extension: Extension) -> MixedFunction {
    let is_anchored = extension == Extension::Anchored;
    match (name, is_anchored) {
        ("rate", true) => |input, column, notes| rate(input, column, notes, ANCHORED_RATE),
        ("increase", true) => |input, column, notes| rate(input, column, notes, ANCHORED_INCREASE),
        ("delta", true) => |input, column, notes| rate(input, column, notes, ANCHORED_DELTA),
        ("rate", false) => |input, column, notes| rate(input, column, notes, SMOOTHED_RATE),
        ("increase", false) => |input, column, notes| rate(input, column, notes, SMOOTHED_INCREASE),
        ("delta", false) => |input, column, notes| rate(input, column, notes, SMOOTHED_DELTA),
        ("changes", _) => |input, column, _| {
            count_pairs(input, column, |index| is_changed(input, index));
        },
        ("resets", _) => |input, column, _| {
            let known = Resets::new(input);
            count_pairs(input, column, |index| is_reset(input, &known, index));
        },
        _ => unreachable!("BUG: other functions are refused on extended selectors"),
    }
}

/// A function of the rate family.
#[derive(Debug, Clone, Copy)]
struct Kind {
    is_smoothed: bool,
    is_counter: bool,
    per_second: bool,
}

const fn kind(is_smoothed: bool, is_counter: bool, per_second: bool) -> Kind {
    Kind { is_smoothed, is_counter, per_second }
}

const ANCHORED_RATE: Kind = kind(false, true, true);
const ANCHORED_INCREASE: Kind = kind(false, true, false);
const ANCHORED_DELTA: Kind = kind(false, false, false);
const SMOOTHED_RATE: Kind = kind(true, true, true);
const SMOOTHED_INCREASE: Kind = kind(true, true, false);
const SMOOTHED_DELTA: Kind = kind(true, false, false);

/// Counts neighbours that `differ`, from the sample that anchors each window on.
fn count_pairs(input: &WindowInput<'_>, column: &mut Column, differ: impl Fn(usize) -> bool) {
    let counts = count_pairs_by(input, differ);
    for (step, low, high) in input.filled() {
        if input.histograms.is_empty() {
            continue;
        }
        column.valid.unset(step);
        let (left_ms, _) = input.edges(step);
        let outside = input.timestamps[low..high].partition_point(|&t_ms| t_ms <= left_ms);
        if outside < high - low {
            let anchor = low + outside.saturating_sub(1);
            column.set(step, f64::from(counts[high - 1] - counts[anchor]));
        }
    }
}

/// The histograms within reach of a window.
struct Reach<'a> {
    times: &'a [i64],
    all: Vec<&'a Arc<FloatHistogram>>,
    /// Those at the window's edges, or beyond.
    first: usize,
    last: usize,
    left_ms: i64,
    right_ms: i64,
    kind: Kind,
}

fn rate(input: &WindowInput<'_>, column: &mut Column, notes: &mut WindowNotes, kind: Kind) {
    each(input, |step, low, high| {
        column.valid.unset(step);
        if has_floats(input, low, high) {
            notes.insert(WindowNote::MixedKinds);
            return;
        }
        let times = &input.timestamps[low..high];
        let all = input.histograms[low..high].iter().flatten().collect();
        let (left_ms, right_ms) = input.edges(step);
        let mut last = times.len() - 1;
        let first = times[..last].partition_point(|&t_ms| t_ms <= left_ms).saturating_sub(1);
        if kind.is_smoothed {
            last = times[..last].partition_point(|&t_ms| t_ms < right_ms);
        }
        if times[last] <= left_ms || (kind.is_smoothed && times[first] > right_ms) {
            return;
        }
        let reach = Reach { times, all, first, last, left_ms, right_ms, kind };
        match reach.change(notes) {
            Ok(Some(mut change)) => {
                if kind.per_second {
                    change.divide(input.range_s());
                }
                change.reset_hint = ResetHint::Gauge;
                change.compact();
                column.set_histogram(step, Arc::new(change));
            }
            Ok(None) => {}
            Err(MixedSchemas) => notes.insert(WindowNote::MixedSchemas),
        }
    });
}

impl Reach<'_> {
    fn change(&self, notes: &mut WindowNotes) -> Result<Option<FloatHistogram>, MixedSchemas> {
        let Self { first, last, kind, .. } = *self;
        let is_custom = self.all[first].has_custom_bounds();
        for histogram in &self.all[first..=last] {
            if histogram.has_custom_bounds() != is_custom {
                return Err(MixedSchemas);
            }
            if kind.is_counter && histogram.reset_hint == ResetHint::Gauge {
                notes.insert(WindowNote::NotCounter);
            }
        }
        let left = if kind.is_smoothed && self.times[first] < self.left_ms {
            self.between(first, self.left_ms, notes)?
        } else {
            FloatHistogram::clone(self.all[first])
        };
        let right = if kind.is_smoothed && last > 0 && self.times[last] > self.right_ms {
            self.between(last - 1, self.right_ms, notes)?
        } else {
            FloatHistogram::clone(self.all[last])
        };
        if !kind.is_counter && [&left, &right].iter().any(|h| h.reset_hint != ResetHint::Gauge) {
            notes.insert(WindowNote::NotGauge);
        }
        let mut change = right.clone();
        if change.subtract(&left)?.bounds_differed {
            notes.insert(WindowNote::BoundsDifferedSubtracting);
        }
        if kind.is_counter
            && let Some(lost) = self.lost_at_resets(&left, &right, notes)?
            && change.add(&lost)?.bounds_differed
        {
            notes.insert(WindowNote::BoundsDifferedAdding);
        }
        Ok(Some(change))
    }

    fn between(
        &self,
        index: usize,
        t_ms: i64,
        notes: &mut WindowNotes,
    ) -> Result<FloatHistogram, MixedSchemas> {
        let point = |index: usize| (self.times[index], &**self.all[index]);
        between(point(index), point(index + 1), t_ms, self.kind.is_counter, notes)
    }

    /// What the counter had counted at each reset between the edges.
    fn lost_at_resets(
        &self,
        left: &FloatHistogram,
        right: &FloatHistogram,
        notes: &mut WindowNotes,
    ) -> Result<Option<FloatHistogram>, MixedSchemas> {
        let mut next = self.first + 1;
        let mut before = left;
        if self.kind.is_smoothed
            && self.times[self.first] < self.left_ms
            && self.all[self.first + 1].is_reset_since(self.all[self.first])
        {
            // The left edge has taken that reset into account.
            before = self.all[self.first + 1];
            next += 1;
        }
        if next > self.last {
            return Ok(None);
        }
        let mut lost: Option<FloatHistogram> = None;
        let inside = self.all[next..self.last].iter().map(|histogram| &***histogram);
        for histogram in inside.chain([right]) {
            if histogram.is_reset_since(before) {
                match &mut lost {
                    None => lost = Some(before.clone()),
                    Some(lost) => {
                        if lost.add(before)?.bounds_differed {
                            notes.insert(WindowNote::BoundsDifferedAdding);
                        }
                    }
                }
            }
            before = histogram;
        }
        Ok(lost)
    }
}

/// The histogram at `t_ms` on the line between two; a counter that was reset counts from zero.
fn between(
    (before_ms, before): (i64, &FloatHistogram),
    (after_ms, after): (i64, &FloatHistogram),
    t_ms: i64,
    is_counter: bool,
    notes: &mut WindowNotes,
) -> Result<FloatHistogram, MixedSchemas> {
    if t_ms == before_ms {
        return Ok(before.clone());
    }
    if t_ms == after_ms {
        return Ok(after.clone());
    }
    let fraction = (t_ms - before_ms) as f64 / (after_ms - before_ms) as f64;
    let mut result = after.clone();
    if is_counter && after.is_reset_since(before) {
        result.multiply(fraction);
        return Ok(result);
    }
    if result.subtract(before)?.bounds_differed {
        notes.insert(WindowNote::BoundsDifferedSubtracting);
    }
    result.multiply(fraction);
    if result.add(before)?.bounds_differed {
        notes.insert(WindowNote::BoundsDifferedAdding);
    }
    Ok(result)
}

/// A smoothed instant selector over a series with histograms: as
/// [`smooth`](crate::promql::extended::smooth), with windows that reach as far as the lookback to
/// either side.
pub(crate) fn smooth(input: &WindowInput<'_>, column: &mut Column, notes: &mut WindowNotes) {
    for (step, low, high) in input.filled() {
        let t_ms = input.times.at(step);
        let any = input.histograms[low..high].iter().any(Option::is_some);
        if any && has_floats(input, low, high) {
            notes.insert(WindowNote::MixedKinds);
            continue;
        }
        let next = low + input.timestamps[low..high].partition_point(|&at_ms| at_ms < t_ms);
        let is_exact = next < high && input.timestamps[next] == t_ms;
        if next == low && !is_exact {
            continue;
        }
        if !any {
            let point = |index: usize| (input.timestamps[index], input.values[index]);
            column.set(
                step,
                match (is_exact, next < high) {
                    (true, _) => input.values[next],
                    (false, true) => interpolate(point(next - 1), point(next), t_ms, false),
                    (false, false) => input.values[next - 1],
                },
            );
            continue;
        }
        let point = |index: usize| {
            let histogram = input.histograms[index].as_deref();
            (input.timestamps[index], histogram.expect("BUG: the window holds histograms only"))
        };
        let found = match (is_exact, next < high) {
            (true, _) => Ok(point(next).1.clone()),
            (false, false) => {
                let reset_hint = ResetHint::Unknown;
                Ok(FloatHistogram { reset_hint, ..point(next - 1).1.clone() })
            }
            (false, true) => {
                let (before, after) = (point(next - 1), point(next));
                let hints = [before.1.reset_hint, after.1.reset_hint];
                let is_counter = hints.iter().any(|hint| *hint != ResetHint::Gauge);
                if before.1.has_custom_bounds() == after.1.has_custom_bounds() {
                    between(before, after, t_ms, is_counter, notes)
                } else {
                    Err(MixedSchemas)
                }
            }
        };
        match found {
            Ok(histogram) => column.set_histogram(step, Arc::new(histogram)),
            Err(MixedSchemas) => notes.insert(WindowNote::MixedSchemas),
        }
    }
    column.valid.compact();
}
