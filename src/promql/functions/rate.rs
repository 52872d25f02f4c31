//! The rate family: `rate`, `increase`, `delta`, `irate`, `idelta`.
//!
//! A counter's resets are found once for a series, as a list of where they are; a step then costs
//! one subtraction and the additions of the resets in its window, in Prometheus's order, so the
//! bits are the same as those of a walk over the window.

use crate::promql::columns::Column;
use crate::promql::windows::WindowInput;

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
    let resets = if is_counter { resets(input.values) } else { Vec::new() };
    // Resets `first..last` lie behind the first sample of the window and not behind its last.
    let (mut first_reset, mut last_reset) = (0, 0);
    let range_s = input.range_ms as f64 / 1000.0;
    for (step, low, high) in input.filled() {
        if high - low < 2 {
            continue;
        }
        let (first, last) = (input.values[low], input.values[high - 1]);
        let mut change = last - first;
        if is_counter && !resets.is_empty() {
            while last_reset < resets.len() && (resets[last_reset] as usize) < high {
                last_reset += 1;
            }
            while first_reset < last_reset && (resets[first_reset] as usize) <= low {
                first_reset += 1;
            }
            for at in &resets[first_reset..last_reset] {
                change += input.values[*at as usize - 1];
            }
        }
        let (left_ms, right_ms) = input.edges(step);
        let (first_ms, last_ms) = (input.timestamps[low], input.timestamps[high - 1]);
        let sampled_s = (last_ms - first_ms) as f64 / 1000.0;
        let between_s = sampled_s / (high - low - 1) as f64;
        let threshold_s = between_s * 1.1;
        let mut to_start_s = (first_ms - left_ms) as f64 / 1000.0;
        if to_start_s >= threshold_s {
            to_start_s = between_s / 2.0;
        }
        if is_counter && change > 0.0 && first >= 0.0 {
            // A counter was zero at some time; the series did not begin before that.
            let to_zero_s = sampled_s * (first / change);
            if to_zero_s < to_start_s {
                to_start_s = to_zero_s;
            }
        }
        let mut to_end_s = (right_ms - last_ms) as f64 / 1000.0;
        if to_end_s >= threshold_s {
            to_end_s = between_s / 2.0;
        }
        let mut factor = 1.0;
        if sampled_s != 0.0 {
            factor = (sampled_s + to_start_s + to_end_s) / sampled_s;
        }
        if per_second {
            factor /= range_s;
        }
        column.set(step, change * factor);
    }
}

/// Places of the samples that are less than the one before.
pub(super) fn resets(values: &[f64]) -> Vec<u32> {
    let mut found = Vec::new();
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
