//! The rate family: `rate`, `increase`, `delta`, `irate`, `idelta`.
//!
//! A counter's resets are found once for a series, as a list of where they are; a step then costs
//! one subtraction and the additions of the resets in its window, in Prometheus's order, so the
//! bits are the same as those of a walk over the window.

use crate::promql::columns::Column;
use crate::promql::windows::{Reach, WindowInput};

use super::window::WindowFunction;

/// The family's implementations.
pub(super) fn lookup(name: &str) -> Option<WindowFunction> {
    Some(match name {
        "rate" => |input, column| extrapolate(input, column, true, true),
        "increase" => |input, column| extrapolate(input, column, true, false),
        "delta" => |input, column| extrapolate(input, column, false, false),
        "irate" => |input, column| last_two(input, column, true),
        "idelta" => |input, column| last_two(input, column, false),
        _ => return None,
    })
}

/// The change over the window, stretched to its edges where samples suggest that the series goes
/// on to there.
fn extrapolate(input: &WindowInput<'_>, column: &mut Column, is_counter: bool, per_second: bool) {
    let (reaches, steps) = input.reaches();
    let may_reset = is_counter && input.may_fall;
    let resets = if may_reset { resets(input.values) } else { Vec::new() };
    // Resets `first..last` lie behind the first sample of the window and not behind its last.
    let (mut first_reset, mut last_reset) = (0, 0);
    column.valid.clone_from(steps);
    for reach in reaches {
        let first = input.values[reach.first as usize];
        let mut change = input.values[reach.last as usize] - first;
        if !resets.is_empty() {
            while last_reset < resets.len() && resets[last_reset] <= reach.last {
                last_reset += 1;
            }
            while first_reset < last_reset && resets[first_reset] <= reach.first {
                first_reset += 1;
            }
            for at in &resets[first_reset..last_reset] {
                change += input.values[*at as usize - 1];
            }
        }
        let factor = match start_at_zero(reach, is_counter, first, change) {
            Some(to_zero_s) if per_second => reach.stretched(to_zero_s) / input.range_s(),
            Some(to_zero_s) => reach.stretched(to_zero_s),
            None if per_second => reach.factor_per_s,
            None => reach.factor,
        };
        column.values[reach.step as usize] = change * factor;
    }
}

/// A counter was zero at some time, and the series did not begin before that: the seconds since
/// then, where they are fewer than the extrapolation would go back.
#[inline]
fn start_at_zero(reach: &Reach, is_counter: bool, first: f64, change: f64) -> Option<f64> {
    if !is_counter || change <= 0.0 || change.is_nan() || first < 0.0 || first.is_nan() {
        return None;
    }
    // A quotient of one or more reaches back further than the samples do; no need to divide.
    if first >= change && reach.sampled_s >= reach.to_start_s {
        return None;
    }
    let to_zero_s = reach.sampled_s * (first / change);
    (to_zero_s < reach.to_start_s).then_some(to_zero_s)
}

/// Places of the samples that are less than the one before.
pub(super) fn resets(values: &[f64]) -> Vec<u32> {
    let mut found = Vec::new();
    // Without an early exit this loop runs several values at a time, and nearly always says no.
    let later = values.get(1..).unwrap_or(&[]);
    if values.iter().zip(later).fold(0, |any, (a, b)| any | u8::from(b < a)) == 0 {
        return found;
    }
    for (index, pair) in values.windows(2).enumerate() {
        if pair[1] < pair[0] {
            found.push(index as u32 + 1);
        }
    }
    found
}

/// The change between the last two samples.
fn last_two(input: &WindowInput<'_>, column: &mut Column, per_second: bool) {
    for (step, low, high) in input.filled() {
        if high - low < 2 {
            continue;
        }
        let (before, last) = (input.values[high - 2], input.values[high - 1]);
        let apart_ms = input.timestamps[high - 1] - input.timestamps[high - 2];
        // A counter that was reset has grown by all that it shows.
        let mut change = if per_second && last < before { last } else { last - before };
        if per_second {
            change /= apart_ms as f64 / 1000.0;
        }
        column.set(step, change);
    }
}
