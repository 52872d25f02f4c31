//! Functions of extended windows: the rate family, `changes` and `resets` on `anchored` and
//! `smoothed` selectors.
//!
//! A window's bounds are those of what is within reach; see [`crate::promql::extended`].

use super::window::WindowFunction;
use crate::promql::ast::Extension;
use crate::promql::columns::Column;
use crate::promql::extended::edges;
use crate::promql::windows::WindowInput;

/// The function `name` on windows of this extension; the error tells which functions there are.
pub(crate) fn extended_function(
    name: &str,
    extension: Extension,
) -> Result<WindowFunction, String> {
    let function: Option<WindowFunction> = match extension {
        Extension::Anchored => match name {
            "rate" => Some(rate::<true, true, true>),
            "increase" => Some(rate::<true, true, false>),
            "delta" => Some(rate::<true, false, false>),
            "changes" => Some(|input, column| {
                count_pairs(input, column, |a, b| a != b && !(a.is_nan() && b.is_nan()));
            }),
            "resets" => Some(|input, column| count_pairs(input, column, |a, b| b < a)),
            _ => None,
        },
        Extension::Smoothed => match name {
            "rate" => Some(rate::<false, true, true>),
            "increase" => Some(rate::<false, true, false>),
            "delta" => Some(rate::<false, false, false>),
            _ => None,
        },
    };
    function.ok_or_else(|| {
        let word = extension.as_str();
        let names = match extension {
            Extension::Anchored => "changes, delta, increase, rate, resets",
            Extension::Smoothed => "delta, increase, rate",
        };
        format!("{word} modifier can only be used with: {names} - not with {name}")
    })
}

/// The change from edge to edge; for a counter with what its resets took away.
fn rate<const ANCHORED: bool, const COUNTER: bool, const PER_SECOND: bool>(
    input: &WindowInput<'_>,
    column: &mut Column,
) {
    let extension = if ANCHORED { Extension::Anchored } else { Extension::Smoothed };
    let range_s = input.range_ms as f64 / 1000.0;
    for (step, low, high) in input.filled() {
        let bounds = input.edges(step);
        if !ANCHORED && input.timestamps[low] > bounds.1 {
            continue;
        }
        let found = edges(input.timestamps, input.values, (low, high), bounds, extension, COUNTER);
        let Some(found) = found else { continue };
        let mut change = found.right - found.left;
        if COUNTER {
            let mut correction = 0.0;
            let mut before = found.left;
            let inside = &input.values[found.inside.0..found.inside.1];
            for &value in inside.iter().chain([&found.right]) {
                if value < before {
                    correction += before;
                }
                before = value;
            }
            change += correction;
        }
        column.set(step, if PER_SECOND { change / range_s } else { change });
    }
}

/// Counts neighbours for which `differ` holds, from the sample that anchors the window on.
fn count_pairs(input: &WindowInput<'_>, column: &mut Column, differ: fn(f64, f64) -> bool) {
    let mut counts = Vec::with_capacity(input.values.len());
    let mut count = 0_u32;
    for (index, value) in input.values.iter().enumerate() {
        let before = index.checked_sub(1).map(|before| input.values[before]);
        count += u32::from(before.is_some_and(|before| differ(before, *value)));
        counts.push(count);
    }
    for (step, low, high) in input.filled() {
        let (left_ms, _) = input.edges(step);
        let outside = input.timestamps[low..high].partition_point(|&t_ms| t_ms <= left_ms);
        if outside == high - low {
            continue;
        }
        let anchor = low + outside.saturating_sub(1);
        column.set(step, f64::from(counts[high - 1] - counts[anchor]));
    }
}
