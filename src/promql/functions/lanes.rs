//! Folds over windows, several windows at a time.
//!
//! A compensated sum is a chain: each addition waits for the one before it. Windows of different
//! steps are independent chains, so that taking a few of them together keeps the processor busy
//! without changing the order of operations within any of them; the bits are those of one window
//! after the other.

use crate::promql::columns::Column;
use crate::promql::windows::{WindowInput, parts};

/// Windows taken together where a step has many parts: enough to hide the latency of an addition,
/// few enough for registers.
pub(super) const FEW: usize = 4;
/// Where a step is one addition.
pub(super) const MANY: usize = 8;

/// A window: its step, its first sample and one past its last.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Window {
    pub step: usize,
    pub low: usize,
    pub high: usize,
}

/// For each of `windows`: `start` at its first sample, `next` at each later one, `finish`, whose
/// result is the column's value at its step. `start` and `next` are given the sample's index.
/// Where `is_over` says so the rest is left as it is.
pub(super) fn fold<const LANES: usize, S: Copy>(
    windows: impl Iterator<Item = Window>,
    column: &mut Column,
    start: impl Fn(&Window, usize) -> S,
    next: impl Fn(S, usize) -> S,
    finish: impl Fn(S, &Window) -> f64,
    is_over: impl Fn() -> bool,
) {
    let mut together = [Window::default(); LANES];
    let mut count = 0;
    for window in windows {
        together[count] = window;
        count += 1;
        if count < LANES {
            continue;
        }
        count = 0;
        let mut states = together.map(|window| start(&window, window.low));
        let len = together.iter().map(|window| window.high - window.low).min().unwrap_or(0);
        for offsets in parts(1..len, &is_over) {
            for offset in offsets {
                for (state, window) in states.iter_mut().zip(&together) {
                    *state = next(*state, window.low + offset);
                }
            }
        }
        for (mut state, window) in states.into_iter().zip(&together) {
            for part in parts(window.low + len..window.high, &is_over) {
                state = part.fold(state, &next);
            }
            column.set(window.step, finish(state, window));
        }
    }
    for window in &together[..count] {
        let mut state = start(window, window.low);
        for part in parts(window.low + 1..window.high, &is_over) {
            state = part.fold(state, &next);
        }
        column.set(window.step, finish(state, window));
    }
}

/// The same over the values of all windows that hold a sample.
pub(super) fn fold_values<const LANES: usize, S: Copy>(
    input: &WindowInput<'_>,
    column: &mut Column,
    start: impl Fn(f64) -> S,
    next: impl Fn(S, f64) -> S,
    finish: impl Fn(S, &Window) -> f64,
) {
    let values = input.values;
    fold::<LANES, _>(
        windows(input, 1),
        column,
        |_, index| start(values[index]),
        |state, index| next(state, values[index]),
        finish,
        || input.is_over(),
    );
}

/// Windows with at least `samples_min` samples.
pub(super) fn windows<'a>(
    input: &WindowInput<'a>,
    samples_min: usize,
) -> impl Iterator<Item = Window> + use<'a> {
    input
        .filled()
        .filter(move |(_, low, high)| high - low >= samples_min)
        .map(|(step, low, high)| Window { step, low, high })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_of_any_lengths_are_folded_whole() {
        let lens = [3_usize, 1, 4, 2, 5, 1, 7, 2, 2, 9, 3];
        let windows = lens.iter().enumerate().map(|(step, &len)| Window {
            step,
            low: step,
            high: step + len,
        });
        let mut column = Column::empty(lens.len());
        fold::<FEW, _>(
            windows,
            &mut column,
            |window, index| {
                assert_eq!(window.low, index);
                index as f64
            },
            |sum, index| sum * 3.0 + index as f64,
            |sum, _| sum,
            || false,
        );
        for (step, &len) in lens.iter().enumerate() {
            let expected = (step + 1..step + len).fold(step as f64, |sum, i| sum * 3.0 + i as f64);
            assert_eq!(column.get(step), Some(expected), "step {step}");
        }
    }
}
