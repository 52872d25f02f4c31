//! The `*_over_time` family, `changes` and `resets`.
//!
//! Counts are differences of prefix counts; least and greatest come from a queue of candidates;
//! sums are differences of prefix sums where every partial sum is an integer below 2^53 (then
//! every order of addition is exact), and of true sums where those give the same bits
//! (`exact.rs`); all else walks the window in Prometheus's order.

use std::collections::VecDeque;

use super::exact::ExactSums;
use super::lanes::{self, Window};
use super::window::WindowFunction;
use crate::promql::columns::{Bitmap, Column};
use crate::promql::compensated::{Compensated, LONG, Mean, quantile, quantile_of_many};
use crate::promql::windows::WindowInput;
use crate::select::Charge;

/// The family's implementations.
pub(super) fn lookup(name: &str) -> Option<WindowFunction> {
    Some(match name {
        "sum_over_time" => sum,
        "avg_over_time" => avg,
        "min_over_time" => |input, column| extreme(input, column, |a, b| a < b, value_at),
        "max_over_time" => |input, column| extreme(input, column, |a, b| a > b, value_at),
        "ts_of_min_over_time" => |input, column| extreme(input, column, |a, b| a <= b, time_at),
        "ts_of_max_over_time" => |input, column| extreme(input, column, |a, b| a >= b, time_at),
        "count_over_time" => |input, column| each(input, column, |low, high| (high - low) as f64),
        "present_over_time" | "absent_over_time" => |input, column| each(input, column, |_, _| 1.0),
        "first_over_time" => |input, column| each(input, column, |low, _| input.values[low]),
        "last_over_time" => |input, column| each(input, column, |_, high| input.values[high - 1]),
        "ts_of_first_over_time" => {
            |input, column| each(input, column, |low, _| input.timestamps[low] as f64 / 1000.0)
        }
        "ts_of_last_over_time" => |input, column| {
            each(input, column, |_, high| input.timestamps[high - 1] as f64 / 1000.0);
        },
        "stddev_over_time" => |input, column| variance(input, column, f64::sqrt),
        "stdvar_over_time" => |input, column| variance(input, column, |variance| variance),
        "quantile_over_time" => quantile_over_time,
        "mad_over_time" => median_deviations,
        "changes" => {
            |input, column| count_pairs(input, column, |a, b| a != b && !(a.is_nan() && b.is_nan()))
        }
        "resets" => |input, column| count_pairs(input, column, |a, b| b < a),
        _ => return None,
    })
}

/// A value from the bounds of each window.
fn each(input: &WindowInput<'_>, column: &mut Column, value: impl Fn(usize, usize) -> f64) {
    if input.is_full {
        column.valid = Bitmap::all(column.steps());
        // They are not so many that it would have to look.
        for (slot, &(low, high)) in column.values.iter_mut().zip(input.bounds) {
            *slot = value(low as usize, high as usize);
        }
        return;
    }
    for (step, low, high) in input.filled() {
        column.set(step, value(low, high));
    }
}

fn sum(input: &WindowInput<'_>, column: &mut Column) {
    if let Some(Roomy { sums: prefix, .. }) = &exact_prefix_sums(input) {
        each(input, column, |low, high| prefix[high] - prefix[low]);
        return;
    }
    if let Some(Roomy { sums, .. }) = &exact_sums(input) {
        return each(input, column, |low, high| sums.total(low..high));
    }
    lanes::fold_values::<{ lanes::FEW }, _>(
        input,
        column,
        |first| Compensated::default().plus(first),
        Compensated::plus,
        |total, _| if total.sum.is_infinite() { total.sum } else { total.total() },
    );
}

fn avg(input: &WindowInput<'_>, column: &mut Column) {
    if let Some(Roomy { sums: prefix, .. }) = &exact_prefix_sums(input) {
        return each(input, column, |low, high| (prefix[high] - prefix[low]) / (high - low) as f64);
    }
    let count = |window: &Window| (window.high - window.low) as f64;
    if let Some(Roomy { sums, .. }) = &exact_sums(input) {
        // The plain sum is walked; what it lost follows from the true one.
        let add = |sum, x| sum + x;
        lanes::fold_values::<{ lanes::MANY }, _>(
            input,
            column,
            |x| x,
            add,
            |sum, window| {
                let count = count(window);
                sum / count + sums.lost(window.low..window.high, sum) / count
            },
        );
        return;
    }
    lanes::fold_values::<{ lanes::FEW }, _>(
        input,
        column,
        |first| Compensated { sum: first, lost: 0.0 },
        Compensated::plus,
        |total, window| {
            // A sum that left the numbers on its way stays out of them.
            if total.sum.is_finite() {
                return total.sum / count(window) + total.lost / count(window);
            }
            let values = &input.values[window.low..window.high];
            let mut mean = Mean::of(values[0]);
            for part in input.parts(1..values.len()) {
                values[part].iter().for_each(|x| mean.add(*x));
            }
            mean.value()
        },
    );
}

/// What a function keeps besides the samples, with what it is charged.
struct Roomy<T> {
    sums: T,
    _room: Charge,
}

/// Exact sums, where windows overlap enough for them to pay.
fn exact_sums(input: &WindowInput<'_>) -> Option<Roomy<ExactSums>> {
    const OVERLAP_MIN: u64 = 8;
    if input.in_windows < OVERLAP_MIN * input.values.len() as u64 {
        return None;
    }
    let room = input.room((input.values.len() + 1) * size_of::<i128>())?;
    let len_max = input.filled().map(|(_, low, high)| high - low).max()?;
    Some(Roomy { sums: ExactSums::of(input.values, len_max)?, _room: room })
}

/// `sums[i]` is the sum of the first `i` values; `None` unless every sum of neighbours is exact,
/// and where windows overlap too little for prefix sums to pay.
fn exact_prefix_sums(input: &WindowInput<'_>) -> Option<Roomy<Vec<f64>>> {
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    if input.in_windows < 2 * input.values.len() as u64 {
        return None;
    }
    let room = input.room((input.values.len() + 1) * size_of::<f64>())?;
    let mut sums = Vec::with_capacity(input.values.len() + 1);
    let (mut sum, mut magnitude) = (0.0, 0.0);
    sums.push(sum);
    for part in input.parts(0..input.values.len()) {
        for value in &input.values[part] {
            magnitude += value.abs();
            // NaN and infinity fail here too.
            if (*value as i64) as f64 != *value || magnitude >= EXACT_MAX {
                return None;
            }
            sum += value;
            sums.push(sum);
        }
    }
    // Where the query is to end they are not all there.
    (sums.len() > input.values.len()).then_some(Roomy { sums, _room: room })
}

fn value_at(input: &WindowInput<'_>, index: usize) -> f64 {
    input.values[index]
}

fn time_at(input: &WindowInput<'_>, index: usize) -> f64 {
    input.timestamps[index] as f64 / 1000.0
}

/// What `of` makes of the place of the value that is `better` than all others before it; of one
/// that is NaN, the last, only where all are.
fn extreme(
    input: &WindowInput<'_>,
    column: &mut Column,
    better: impl Fn(f64, f64) -> bool,
    of: impl Fn(&WindowInput<'_>, usize) -> f64,
) {
    let values = input.values;
    // Places of values that nothing behind them in the window beats, best first.
    let mut candidates: VecDeque<usize> = VecDeque::new();
    let mut taken = 0;
    for (step, low, high) in input.filled() {
        for index in input.parts(taken.max(low)..high).flatten() {
            let value = values[index];
            if value.is_nan() {
                continue;
            }
            while candidates.back().is_some_and(|back| better(value, values[*back])) {
                candidates.pop_back();
            }
            candidates.push_back(index);
        }
        taken = high;
        while candidates.front().is_some_and(|front| *front < low) {
            candidates.pop_front();
        }
        column.set(step, of(input, candidates.front().copied().unwrap_or(high - 1)));
    }
}

/// Welford's variance with compensated sums, halfway through a window.
#[derive(Debug, Clone, Copy, Default)]
struct Variance {
    count: f64,
    mean: Compensated,
    squares: Compensated,
}

impl Variance {
    #[inline]
    fn plus(mut self, value: f64) -> Self {
        self.count += 1.0;
        let delta = value - self.mean.total();
        self.mean = self.mean.plus(delta / self.count);
        self.squares = self.squares.plus(delta * (value - self.mean.total()));
        self
    }

    fn total(self) -> f64 {
        self.squares.total() / self.count
    }
}

fn variance(input: &WindowInput<'_>, column: &mut Column, finish: fn(f64) -> f64) {
    let start = |first| Variance::default().plus(first);
    lanes::fold_values::<{ lanes::FEW }, _>(input, column, start, Variance::plus, |state, _| {
        finish(state.total())
    });
}

fn median_deviations(input: &WindowInput<'_>, column: &mut Column) {
    let mut scratch = Vec::new();
    for (step, low, high) in input.filled() {
        let values = &input.values[low..high];
        let is_over = || input.is_over();
        if values.iter().any(|value| value.is_nan()) {
            column.set(step, f64::NAN);
            continue;
        }
        let mut median_of = |deviation: &dyn Fn(f64) -> f64| {
            if values.len() >= LONG {
                return quantile_of_many(0.5, values, deviation, &is_over);
            }
            scratch.clear();
            scratch.extend(values.iter().map(|value| deviation(*value)));
            quantile(0.5, &mut scratch)
        };
        let median = median_of(&|value| value);
        column.set(step, median_of(&|value| (value - median).abs()));
    }
}

fn quantile_over_time(input: &WindowInput<'_>, column: &mut Column) {
    let mut scratch = Vec::new();
    for (step, low, high) in input.filled() {
        let (phi, values) = (input.scalars[0].values[step], &input.values[low..high]);
        if values.len() >= LONG {
            let found = quantile_of_many(phi, values, &|value| value, &|| input.is_over());
            column.set(step, found);
            continue;
        }
        scratch.clear();
        scratch.extend_from_slice(values);
        column.set(step, quantile(phi, &mut scratch));
    }
}

/// Number of neighbours within each window of which `counts` says true.
fn count_pairs(input: &WindowInput<'_>, column: &mut Column, counts: fn(f64, f64) -> bool) {
    let values = input.values;
    let overlaps = input.in_windows >= 2 * values.len() as u64;
    let Some(_room) = input.room(values.len() * size_of::<u32>()).filter(|_| overlaps) else {
        for (step, low, high) in input.filled() {
            let mut count = 0_u32;
            for part in input.parts(low + 1..high) {
                let earlier = &values[part.start - 1..part.end - 1];
                let pairs = earlier.iter().zip(&values[part]);
                count += pairs.map(|(a, b)| u32::from(counts(*a, *b))).sum::<u32>();
            }
            column.set(step, f64::from(count));
        }
        return;
    };
    // `before[i]`: pairs up to the one that ends at sample i.
    let mut before = Vec::with_capacity(values.len());
    let mut count = 0_u32;
    for part in input.parts(0..values.len()) {
        for index in part {
            if index > 0 && counts(values[index - 1], values[index]) {
                count += 1;
            }
            before.push(count);
        }
    }
    if before.len() == values.len() {
        each(input, column, |low, high| f64::from(before[high - 1] - before[low]));
    }
}
