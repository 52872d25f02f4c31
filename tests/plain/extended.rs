//! `anchored` and `smoothed` selectors, one window at a time.

use narthex::model::{FloatHistogram, ResetHint};
use narthex::promql::ast::Extension;

use super::cells::{Answer, Cell, Refused};

/// A window with what lies around it as far as the lookback.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reach<'a> {
    /// Samples, times ascending.
    pub(crate) samples: &'a [(i64, Cell)],
    /// Where the window begins and ends.
    pub(crate) edges_ms: (i64, i64),
    pub(crate) extension: Extension,
}

/// Function `name` of an extended window.
pub(crate) fn evaluate(name: &str, reach: &Reach<'_>) -> Answer<Option<Cell>> {
    let is_anchored = reach.extension == Extension::Anchored;
    match name {
        "rate" | "increase" | "delta" => Ok(reach.change(name)),
        "changes" | "resets" if is_anchored => Ok(reach.count(name)),
        _ => Err(Refused("not for extended selectors")),
    }
}

/// A float with its time.
type Point = (i64, f64);

fn line(before: Point, after: Point, t_ms: i64, is_counter: bool) -> f64 {
    let base = if is_counter && after.1 < before.1 { 0.0 } else { before.1 };
    base + (after.1 - base) * (t_ms - before.0) as f64 / (after.0 - before.0) as f64
}

fn histogram_line(
    before: (i64, &FloatHistogram),
    after: (i64, &FloatHistogram),
    t_ms: i64,
    is_counter: bool,
) -> Option<FloatHistogram> {
    let share = (t_ms - before.0) as f64 / (after.0 - before.0) as f64;
    let mut between = after.1.clone();
    if is_counter && after.1.is_reset_since(before.1) {
        between.multiply(share);
        return Some(between);
    }
    between.subtract(before.1).ok()?;
    between.multiply(share);
    between.add(before.1).ok()?;
    Some(between)
}

impl Reach<'_> {
    /// The samples at or beyond the left edge and the right one; `None` where nothing is behind the
    /// left one.
    fn ends(&self) -> Option<(usize, usize)> {
        let (left_ms, right_ms) = self.edges_ms;
        let is_smoothed = self.extension == Extension::Smoothed;
        let newest = self.samples.len().checked_sub(1)?;
        let others = &self.samples[..newest];
        let first = others.iter().rposition(|sample| sample.0 <= left_ms).unwrap_or(0);
        let last = if is_smoothed {
            others.iter().position(|sample| sample.0 >= right_ms).unwrap_or(newest)
        } else {
            newest
        };
        (self.samples[last].0 > left_ms).then_some((first, last))
    }

    /// The values at both edges, and the samples strictly between.
    pub(crate) fn floats(&self, is_counter: bool) -> Option<(f64, f64, Vec<Point>)> {
        let (first, last) = self.ends()?;
        let (left_ms, right_ms) = self.edges_ms;
        let is_smoothed = self.extension == Extension::Smoothed;
        let point = |at: usize| Some((self.samples[at].0, self.samples[at].1.float()?));
        let left = if is_smoothed && point(first)?.0 < left_ms {
            line(point(first)?, point(first + 1)?, left_ms, is_counter)
        } else {
            point(first)?.1
        };
        let right = if is_smoothed && last > 0 && point(last)?.0 > right_ms {
            line(point(last - 1)?, point(last)?, right_ms, is_counter)
        } else {
            point(last)?.1
        };
        let is_inside =
            |at: &usize| left_ms < self.samples[*at].0 && self.samples[*at].0 < right_ms;
        let inside = (first..=last).filter(is_inside).filter_map(point).collect();
        Some((left, right, inside))
    }

    fn change(&self, name: &str) -> Option<Cell> {
        let is_before = |sample: &(i64, Cell)| sample.0 > self.edges_ms.1;
        if self.extension == Extension::Smoothed && self.samples.first().is_some_and(is_before) {
            // The series begins behind the window.
            return None;
        }
        let is_counter = name != "delta";
        let range_s = (self.edges_ms.1 - self.edges_ms.0) as f64 / 1000.0;
        let count = self.samples.iter().filter(|(_, cell)| cell.float().is_some()).count();
        if count == 0 {
            let mut change = self.histogram_change(is_counter)?;
            if name == "rate" {
                change.divide(range_s);
            }
            change.reset_hint = ResetHint::Gauge;
            change.compact();
            return Some(Cell::Histogram(change));
        }
        if count < self.samples.len() {
            return None;
        }
        let (left, right, inside) = self.floats(is_counter)?;
        let mut change = right - left;
        if is_counter {
            let (mut before, mut lost) = (left, 0.0);
            for value in inside.into_iter().map(|point| point.1).chain([right]) {
                if value < before {
                    lost += before;
                }
                before = value;
            }
            change += lost;
        }
        Some(Cell::Float(if name == "rate" { change / range_s } else { change }))
    }

    fn histogram_change(&self, is_counter: bool) -> Option<FloatHistogram> {
        let (first, last) = self.ends()?;
        let (left_ms, right_ms) = self.edges_ms;
        let is_smoothed = self.extension == Extension::Smoothed;
        let of = |at: usize| (self.samples[at].0, self.samples[at].1.histogram().expect("it is"));
        if (first..=last).any(|at| of(at).1.has_custom_bounds() != of(first).1.has_custom_bounds())
        {
            return None;
        }
        let starts_between = is_smoothed && of(first).0 < left_ms;
        let left = if starts_between {
            histogram_line(of(first), of(first + 1), left_ms, is_counter)?
        } else {
            of(first).1.clone()
        };
        let right = if is_smoothed && last > 0 && of(last).0 > right_ms {
            histogram_line(of(last - 1), of(last), right_ms, is_counter)?
        } else {
            of(last).1.clone()
        };
        let mut change = right.clone();
        change.subtract(&left).ok()?;
        if !is_counter {
            return Some(change);
        }
        let (mut before, mut next) = (&left, first + 1);
        if starts_between && of(first + 1).1.is_reset_since(of(first).1) {
            // The left edge knows of that reset.
            (before, next) = (of(first + 1).1, first + 2);
        }
        let mut lost: Option<FloatHistogram> = None;
        if next <= last {
            for histogram in (next..last).map(|at| of(at).1).chain([&right]) {
                if histogram.is_reset_since(before) {
                    match &mut lost {
                        Some(lost) => drop(lost.add(before).ok()?),
                        None => lost = Some(before.clone()),
                    }
                }
                before = histogram;
            }
        }
        if let Some(lost) = lost {
            change.add(&lost).ok()?;
        }
        Some(change)
    }

    /// Pairs of neighbours that differ, from the sample that anchors the window on.
    fn count(&self, name: &str) -> Option<Cell> {
        let left_ms = self.edges_ms.0;
        let outside = self.samples.iter().filter(|sample| sample.0 <= left_ms).count();
        if outside == self.samples.len() {
            return None;
        }
        let differs = |before: &Cell, now: &Cell| match (before, now, name) {
            (Cell::Float(a), Cell::Float(b), "resets") => b < a,
            (Cell::Float(a), Cell::Float(b), _) => a != b && !(a.is_nan() && b.is_nan()),
            (Cell::Histogram(a), Cell::Histogram(b), "resets") => b.is_reset_since(a),
            (Cell::Histogram(a), Cell::Histogram(b), _) => !b.is_same(a),
            _ => true,
        };
        let counted = &self.samples[outside.saturating_sub(1)..];
        let count = counted.windows(2).filter(|pair| differs(&pair[0].1, &pair[1].1)).count();
        Some(Cell::Float(count as f64))
    }
}

/// A smoothed instant selector at `t_ms`; `samples` reach as far as the lookback to both sides.
pub(crate) fn smoothed(samples: &[(i64, Cell)], t_ms: i64) -> Option<Cell> {
    let floats = samples.iter().filter(|(_, cell)| cell.float().is_some()).count();
    if floats > 0 && floats < samples.len() {
        return None;
    }
    let after = samples.iter().find(|sample| sample.0 >= t_ms);
    if let Some((found_ms, cell)) = after
        && *found_ms == t_ms
    {
        return Some(cell.clone());
    }
    let before = samples.iter().rev().find(|sample| sample.0 < t_ms)?;
    match (&before.1, after) {
        (Cell::Float(_), None) => Some(before.1.clone()),
        (Cell::Histogram(histogram), None) => {
            let mut histogram = histogram.clone();
            histogram.reset_hint = ResetHint::Unknown;
            Some(Cell::Histogram(histogram))
        }
        (Cell::Float(value), Some(after)) => {
            let after = (after.0, after.1.float()?);
            Some(Cell::Float(line((before.0, *value), after, t_ms, false)))
        }
        (Cell::Histogram(first), Some((after_ms, after))) => {
            let after = after.histogram()?;
            if first.has_custom_bounds() != after.has_custom_bounds() {
                return None;
            }
            let is_gauge = |histogram: &FloatHistogram| histogram.reset_hint == ResetHint::Gauge;
            let is_counter = !is_gauge(first) || !is_gauge(after);
            histogram_line((before.0, first), (*after_ms, after), t_ms, is_counter)
                .map(Cell::Histogram)
        }
    }
}
