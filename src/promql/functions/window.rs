//! Functions of windows: what they are given and what is special about each.

use std::collections::BTreeSet;

use super::{mixed, over_time, rate, regression};
use crate::promql::columns::Column;
use crate::promql::windows::WindowInput;

/// Computes one series' column from its windows, which hold floats only; the column comes empty.
/// A step whose window holds no sample stays without a value.
pub type WindowFunction = fn(input: &WindowInput<'_>, column: &mut Column);

/// Goes over the windows that need more than their floats: those with histograms, and, for
/// functions of counters, all where it is known when counters began. The column comes with what
/// the [`WindowFunction`] made of the floats alone.
pub type MixedFunction = fn(input: &WindowInput<'_>, column: &mut Column, notes: &mut WindowNotes);

/// What is told about a series.
#[derive(Debug, Clone, Default)]
pub struct WindowNotes {
    /// What was found.
    pub kinds: BTreeSet<WindowNote>,
    /// Number of windows in which a sample began to count before the one before it was taken.
    pub overlaps: u64,
}

impl WindowNotes {
    /// Adds one.
    pub fn insert(&mut self, note: WindowNote) {
        self.kinds.insert(note);
    }

    /// Adds those of another.
    pub fn extend(&mut self, other: Self) {
        self.kinds.extend(other.kinds);
        self.overlaps += other.overlaps;
    }
}

/// What is told about the samples of a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum WindowNote {
    /// Floats and histograms in one window.
    MixedKinds,
    /// Exponential and listed bounds in one window.
    MixedSchemas,
    /// A gauge where a counter is asked for.
    NotCounter,
    /// A counter where a gauge is asked for.
    NotGauge,
    /// Histograms in a window of floats were left out.
    Ignored,
    /// Listed bounds differed and were reconciled in an addition.
    BoundsDifferedAdding,
    /// The same in a subtraction.
    BoundsDifferedSubtracting,
    /// The same in a sum or mean over time.
    BoundsDifferedAggregating,
    /// Histograms that contradict each other about resets in a sum or mean over time.
    HintsCollide,
}

/// The window function `name`.
pub fn window_function(name: &str) -> Option<WindowFunction> {
    rate::lookup(name).or_else(|| over_time::lookup(name)).or_else(|| regression::lookup(name))
}

/// What window function `name` does with histograms.
pub fn mixed_function(name: &str) -> MixedFunction {
    mixed::lookup(name)
}

/// Whether the result is one of the samples, so that the metric's name still fits.
pub fn keeps_name(name: &str) -> bool {
    matches!(name, "last_over_time" | "first_over_time")
}
