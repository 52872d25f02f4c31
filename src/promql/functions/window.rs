//! Functions of windows: what they are given and what is special about each.

use super::{over_time, rate, regression};
use crate::promql::columns::Column;
use crate::promql::windows::WindowInput;

/// Computes one series' column from its windows; the column comes empty. A step whose window
/// holds no sample stays without a value.
pub type WindowFunction = fn(input: &WindowInput<'_>, column: &mut Column);

/// The window function `name`.
pub fn window_function(name: &str) -> Option<WindowFunction> {
    rate::lookup(name).or_else(|| over_time::lookup(name)).or_else(|| regression::lookup(name))
}

/// Whether the result is one of the samples, so that the metric's name still fits.
pub fn keeps_name(name: &str) -> bool {
    matches!(name, "last_over_time" | "first_over_time")
}
