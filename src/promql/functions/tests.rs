//! Window functions against a walk over each window by itself, bit for bit.

#![expect(clippy::unnecessary_wraps, reason = "the type of all walks")]

use proptest::prelude::*;

use super::window::window_function;
use crate::model::{Samples, stale_nan};
use crate::promql::columns::{Column, Grid};
use crate::promql::extended::Overhang;
use crate::promql::windows::{SampleTimes, Windows};

/// A walk over one window: times, values, left edge and right edge in milliseconds.
type Naive = fn(&[i64], &[f64], i64, i64) -> Option<f64>;

fn plus(sum: f64, lost: f64, x: f64) -> (f64, f64) {
    let total = sum + x;
    if total.is_infinite() {
        return (total, 0.0);
    }
    if sum.abs() >= x.abs() {
        (total, lost + ((sum - total) + x))
    } else {
        (total, lost + ((x - total) + sum))
    }
}

fn naive_sum(_: &[i64], values: &[f64], _: i64, _: i64) -> Option<f64> {
    let (sum, lost) = values.iter().fold((0.0, 0.0), |(sum, lost), x| plus(sum, lost, *x));
    Some(if sum.is_infinite() { sum } else { sum + lost })
}

fn naive_avg(_: &[i64], values: &[f64], _: i64, _: i64) -> Option<f64> {
    let (mut sum, mut lost, mut moving) = (values[0], 0.0, false);
    for (index, x) in values.iter().enumerate().skip(1) {
        let count = (index + 1) as f64;
        if !moving {
            let (next, next_lost) = plus(sum, lost, *x);
            if !next.is_infinite() {
                (sum, lost) = (next, next_lost);
                continue;
            }
            moving = true;
            (sum, lost) = (sum / (count - 1.0), lost / (count - 1.0));
        }
        let keep = (count - 1.0) / count;
        (sum, lost) = plus(keep * sum, keep * lost, x / count);
    }
    let count = values.len() as f64;
    Some(if moving { sum + lost } else { sum / count + lost / count })
}

fn naive_min(_: &[i64], values: &[f64], _: i64, _: i64) -> Option<f64> {
    let pick = |best: f64, x: &f64| if *x < best || best.is_nan() { *x } else { best };
    Some(values.iter().fold(values[0], pick))
}

fn naive_max(_: &[i64], values: &[f64], _: i64, _: i64) -> Option<f64> {
    let pick = |best: f64, x: &f64| if *x > best || best.is_nan() { *x } else { best };
    Some(values.iter().fold(values[0], pick))
}

fn naive_rate(times: &[i64], values: &[f64], left: i64, right: i64) -> Option<f64> {
    let last = values.len() - 1;
    if last == 0 {
        return None;
    }
    let mut change = values[last] - values[0];
    for pair in values.windows(2) {
        if pair[1] < pair[0] {
            change += pair[0];
        }
    }
    let sampled = (times[last] - times[0]) as f64 / 1000.0;
    let between = sampled / last as f64;
    let mut to_start = (times[0] - left) as f64 / 1000.0;
    let mut to_end = (right - times[last]) as f64 / 1000.0;
    if to_start >= between * 1.1 {
        to_start = between / 2.0;
    }
    if change > 0.0 && values[0] >= 0.0 {
        let to_zero = sampled * (values[0] / change);
        if to_zero < to_start {
            to_start = to_zero;
        }
    }
    if to_end >= between * 1.1 {
        to_end = between / 2.0;
    }
    let factor = (sampled + to_start + to_end) / sampled / ((right - left) as f64 / 1000.0);
    Some(change * factor)
}

fn naive_changes(_: &[i64], values: &[f64], _: i64, _: i64) -> Option<f64> {
    let changed = |pair: &&[f64]| pair[0] != pair[1] && !(pair[0].is_nan() && pair[1].is_nan());
    Some(values.windows(2).filter(changed).count() as f64)
}

fn naive_resets(_: &[i64], values: &[f64], _: i64, _: i64) -> Option<f64> {
    Some(values.windows(2).filter(|pair| pair[1] < pair[0]).count() as f64)
}

fn naive_count(_: &[i64], values: &[f64], _: i64, _: i64) -> Option<f64> {
    Some(values.len() as f64)
}

const FUNCTIONS: [(&str, Naive); 8] = [
    ("sum_over_time", naive_sum),
    ("avg_over_time", naive_avg),
    ("min_over_time", naive_min),
    ("max_over_time", naive_max),
    ("rate", naive_rate),
    ("changes", naive_changes),
    ("resets", naive_resets),
    ("count_over_time", naive_count),
];

fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        6 => (0..40_i32).prop_map(f64::from),
        2 => -1e3..1e3,
        1 => prop_oneof![
            Just(0.0), Just(-0.0), Just(f64::NAN), Just(f64::INFINITY), Just(f64::NEG_INFINITY),
            Just(f64::MAX), Just(1e17), Just(stale_nan())
        ],
    ]
}

/// Small integers only, so that prefix sums are taken.
fn integers() -> impl Strategy<Value = Vec<(i64, f64)>> {
    prop::collection::vec((1..5_000_i64, (-9..40_i32).prop_map(f64::from)), 0..80)
}

fn mixed() -> impl Strategy<Value = Vec<(i64, f64)>> {
    prop::collection::vec((1..5_000_i64, value()), 0..80)
}

fn compare(points: &[(i64, f64)], times: &SampleTimes, range_ms: i64) {
    let mut windows = Windows::default();
    let mut live: Vec<(i64, f64)> = Vec::new();
    let mut samples = Samples::default();
    let mut t_ms = 0;
    for (gap, value) in points {
        t_ms += gap;
        samples.push(t_ms, *value);
        if value.to_bits() != stale_nan().to_bits() {
            live.push((t_ms, *value));
        }
    }
    *windows.samples_mut() = samples;
    windows.cut(times, range_ms, Overhang::default());
    for (name, naive) in FUNCTIONS {
        let mut column = Column::empty(times.grid.steps);
        let function = window_function(name).unwrap();
        function(&windows.input(times, range_ms, &[]), &mut column);
        for step in 0..times.grid.steps {
            let right = times.at(step);
            let left = right - range_ms;
            let inside = live.iter().filter(|(t_ms, _)| left < *t_ms && *t_ms <= right);
            let (at, values): (Vec<i64>, Vec<f64>) = inside.copied().unzip();
            let expected = if values.is_empty() { None } else { naive(&at, &values, left, right) };
            let same = match (column.get(step), expected) {
                (Some(got), Some(expected)) => {
                    got.to_bits() == expected.to_bits() || (got.is_nan() && expected.is_nan())
                }
                (got, expected) => got.is_none() && expected.is_none(),
            };
            assert!(same, "{name} at {right}: {:?} not {expected:?}", column.get(step));
        }
    }
}

proptest! {
    #[test]
    fn a_walk_over_each_window_gives_the_same_bits(
        points in prop_oneof![mixed(), integers()],
        start_ms in -10_000..100_000_i64,
        step_ms in 1..20_000_i64,
        steps in 1..60_usize,
        range_ms in 1..60_000_i64,
        offset_ms in -5_000..5_000_i64,
    ) {
        let grid = Grid { start_ms, step_ms, steps };
        let times = SampleTimes { grid, offset_ms, fixed_ms: None };
        compare(&points, &times, range_ms);
        compare(&points, &SampleTimes { fixed_ms: Some(start_ms), ..times }, range_ms);
    }
}
