//! Selectors that go on beyond their window: `anchored` and `smoothed` (experimental).
//!
//! An anchored window begins with the last sample at or before its left edge. A smoothed one has
//! values at both edges, interpolated between the samples around each. Samples outside of the
//! window are looked for as far as the lookback.
//!
//! COMPAT: a series all of whose samples lie outside gives nothing; where Prometheus's engine
//! fails on a range of it alone, so does this.

use super::ast::Extension;
use super::columns::Column;
use super::windows::SampleTimes;
use crate::model::Samples;

/// How far outside of its window a selector reads, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Overhang {
    /// Before the left edge.
    pub before_ms: i64,
    /// Behind the right edge.
    pub after_ms: i64,
}

impl Overhang {
    /// Of a range selector.
    pub fn of_window(extension: Option<Extension>, lookback_ms: i64) -> Self {
        let before_ms = if extension.is_some() { lookback_ms } else { 0 };
        Self { before_ms, ..Self::of_instant(extension, lookback_ms) }
    }

    /// Of an instant selector, whose window is the lookback.
    pub fn of_instant(extension: Option<Extension>, lookback_ms: i64) -> Self {
        let is_smoothed = extension == Some(Extension::Smoothed);
        Self { before_ms: 0, after_ms: if is_smoothed { lookback_ms } else { 0 } }
    }
}

/// A point of a series: milliseconds and value.
pub(crate) type Point = (i64, f64);

/// The value at `t_ms` on the line through two points. A counter that was reset between them
/// counts from zero.
pub(crate) fn interpolate(before: Point, after: Point, t_ms: i64, is_counter: bool) -> f64 {
    let base = if is_counter && after.1 < before.1 { 0.0 } else { before.1 };
    base + (after.1 - base) * (t_ms - before.0) as f64 / (after.0 - before.0) as f64
}

/// Writes into `column` the value at each step: of a sample at that time, on the line between the
/// samples around it, or of the last sample within the lookback where none follows. `samples` are
/// floats without staleness markers.
pub fn smooth(samples: &Samples, times: &SampleTimes, lookback_ms: i64, column: &mut Column) {
    let steps = times.grid.steps;
    column.reset(steps);
    let point = |index: usize| (samples.timestamps[index], samples.values[index]);
    let mut next = 0;
    for step in 0..steps {
        let t_ms = times.at(step);
        while next < samples.len() && samples.timestamps[next] < t_ms {
            next += 1;
        }
        let before = next.checked_sub(1).map(point);
        let before = before.filter(|point| point.0 > t_ms.saturating_sub(lookback_ms));
        let after = (next < samples.len()).then(|| point(next));
        let after = after.filter(|point| point.0 <= t_ms.saturating_add(lookback_ms));
        match (before, after) {
            (_, Some((found_ms, value))) if found_ms == t_ms => column.set(step, value),
            (Some(before), Some(after)) => {
                column.set(step, interpolate(before, after, t_ms, false));
            }
            (Some((_, value)), None) => column.set(step, value),
            (None, _) => {}
        }
    }
    column.valid.compact();
}

/// What one step of a window function on an extended selector sees.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Edges {
    /// Value at the left edge.
    pub left: f64,
    /// Value at the right edge.
    pub right: f64,
    /// Samples strictly inside: first, and one past the last.
    pub inside: (usize, usize),
}

/// The edges of a window of which samples `low..high` are within reach; `None` where none of them
/// lies behind the left edge.
pub(crate) fn edges(
    timestamps: &[i64],
    values: &[f64],
    (low, high): (usize, usize),
    (left_ms, right_ms): (i64, i64),
    extension: Extension,
    is_counter: bool,
) -> Option<Edges> {
    let is_smoothed = extension == Extension::Smoothed;
    let point = |index: usize| (timestamps[index], values[index]);
    let mut last = high.checked_sub(1).filter(|&last| last >= low)?;
    let others = &timestamps[low..last];
    let mut first = low + others.partition_point(|&t_ms| t_ms <= left_ms).saturating_sub(1);
    if is_smoothed {
        last = low + others.partition_point(|&t_ms| t_ms < right_ms);
    }
    if timestamps[last] <= left_ms {
        return None;
    }
    let left = if is_smoothed && timestamps[first] < left_ms {
        interpolate(point(first), point(first + 1), left_ms, is_counter)
    } else {
        values[first]
    };
    let right = if is_smoothed && last > low && timestamps[last] > right_ms {
        interpolate(point(last - 1), point(last), right_ms, is_counter)
    } else {
        values[last]
    };
    if timestamps[first] <= left_ms {
        first += 1;
    }
    let end = if timestamps[last] >= right_ms { last } else { last + 1 };
    Some(Edges { left, right, inside: (first, end.max(first)) })
}

/// The samples of an extended range selector that is a query's whole answer: those inside, and one
/// at each edge. They are floats without staleness markers.
///
/// COMPAT: unlike a function's window, a smoothed one that ends before the series begins has the
/// series' first value at both edges.
pub(crate) fn with_edges(
    samples: &Samples,
    (left_ms, right_ms): (i64, i64),
    extension: Extension,
) -> Samples {
    let mut out = Samples::default();
    let (timestamps, values) = (&samples.timestamps, &samples.values);
    let bounds = (left_ms, right_ms);
    let found = edges(timestamps, values, (0, samples.len()), bounds, extension, false);
    let Some(Edges { left, right, inside: (first, end) }) = found else { return out };
    out.push(left_ms, left);
    for index in first..end {
        out.push(timestamps[index], values[index]);
    }
    out.push(right_ms, right);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promql::columns::Grid;

    fn samples(points: &[Point]) -> Samples {
        let mut samples = Samples::default();
        for &(t_ms, value) in points {
            samples.push(t_ms, value);
        }
        samples
    }

    #[test]
    fn a_smoothed_value_lies_between_its_neighbours() {
        let samples = samples(&[(10, 1.0), (20, 3.0), (60, 5.0)]);
        let grid = Grid { start_ms: 0, step_ms: 5, steps: 14 };
        let times = SampleTimes { grid, offset_ms: 0, fixed_ms: None };
        let mut column = Column::empty(0);
        smooth(&samples, &times, 15, &mut column);
        let found: Vec<_> = column.iter().collect();
        let expected = [(2, 1.0), (3, 2.0), (4, 3.0), (5, 3.0), (6, 3.0), (12, 5.0), (13, 5.0)];
        assert_eq!(found, expected);
    }

    #[test]
    fn edges_are_those_of_the_extension() {
        let (timestamps, values) = ([0, 10, 20, 30], [1.0, 3.0, 2.0, 8.0]);
        let at = |bounds, extension, is_counter| {
            edges(&timestamps, &values, (0, 4), bounds, extension, is_counter)
        };
        let anchored = at((5, 25), Extension::Anchored, true).unwrap();
        assert_eq!((anchored.left, anchored.right, anchored.inside), (1.0, 8.0, (1, 3)));
        let smoothed = at((5, 25), Extension::Smoothed, false).unwrap();
        assert_eq!((smoothed.left, smoothed.right, smoothed.inside), (2.0, 5.0, (1, 3)));
        let reset = at((15, 25), Extension::Smoothed, true).unwrap();
        assert_eq!((reset.left, reset.right, reset.inside), (1.0, 5.0, (2, 3)));
        assert_eq!(at((30, 40), Extension::Anchored, true), None);
        assert_eq!(at((40, 50), Extension::Smoothed, true), None);
    }

    #[test]
    fn a_whole_answer_has_both_edges() {
        let samples = samples(&[(0, 1.0), (10, 2.0), (20, 4.0)]);
        let out = with_edges(&samples, (5, 15), Extension::Smoothed);
        assert_eq!((out.timestamps, out.values), (vec![5, 10, 15], vec![1.5, 2.0, 3.0]));
        let out = with_edges(&samples, (-20, -10), Extension::Smoothed);
        assert_eq!((out.timestamps, out.values), (vec![-20, -10], vec![1.0, 1.0]));
        let out = with_edges(&Samples::default(), (5, 15), Extension::Anchored);
        assert!(out.is_empty());
    }
}
