//! The rate family.

use narthex::model::{FloatHistogram, ResetHint};

use super::cells::Cell;
use super::windows::Window;

/// `rate`, `increase`, `delta`.
pub(crate) fn extrapolated(name: &str, window: &Window<'_>) -> Option<Cell> {
    let is_counter = name != "delta";
    let (floats, histograms) = (window.floats(), window.histograms());
    let count = window.samples.len();
    if (!floats.is_empty() && !histograms.is_empty()) || count < 2 {
        return None;
    }
    let (change, first, grown) = if histograms.is_empty() {
        let change = float_change(&floats, is_counter);
        (Cell::Float(change), floats[0].1, change)
    } else {
        let change = histogram_change(&histograms, is_counter)?;
        let grown = change.count;
        (Cell::Histogram(change), histograms[0].1.count, grown)
    };
    let (first_ms, last_ms) = (window.samples[0].0, window.samples[count - 1].0);
    let sampled_s = (last_ms - first_ms) as f64 / 1000.0;
    let between_s = sampled_s / (count - 1) as f64;
    let threshold_s = between_s * 1.1;
    let mut to_start_s = (first_ms - window.edges_ms.0) as f64 / 1000.0;
    let mut to_end_s = (window.edges_ms.1 - last_ms) as f64 / 1000.0;
    if to_start_s >= threshold_s {
        to_start_s = between_s / 2.0;
    }
    if is_counter && grown > 0.0 && first >= 0.0 {
        let to_zero_s = sampled_s * (first / grown);
        if to_zero_s < to_start_s {
            to_start_s = to_zero_s;
        }
    }
    if to_end_s >= threshold_s {
        to_end_s = between_s / 2.0;
    }
    let mut factor = (sampled_s + to_start_s + to_end_s) / sampled_s;
    if name == "rate" {
        factor /= (window.edges_ms.1 - window.edges_ms.0) as f64 / 1000.0;
    }
    Some(match change {
        Cell::Float(change) => Cell::Float(change * factor),
        Cell::Histogram(mut change) => {
            change.multiply(factor);
            Cell::Histogram(change)
        }
    })
}

fn float_change(floats: &[(i64, f64)], is_counter: bool) -> f64 {
    let mut change = floats[floats.len() - 1].1 - floats[0].1;
    for pair in floats.windows(2) {
        if is_counter && pair[1].1 < pair[0].1 {
            change += pair[0].1;
        }
    }
    change
}

fn histogram_change(
    histograms: &[(i64, &FloatHistogram)],
    is_counter: bool,
) -> Option<FloatHistogram> {
    let last = histograms[histograms.len() - 1].1;
    let second = histograms[1].1;
    let mut before = histograms[0].1.clone();
    if is_counter && second.is_reset_since(&before) {
        // What was counted before does not matter, nor how.
        before = FloatHistogram {
            schema: second.schema,
            custom_bounds: second.custom_bounds.clone(),
            ..FloatHistogram::default()
        };
    }
    let is_custom = before.has_custom_bounds();
    let between = &histograms[1..histograms.len() - 1];
    let mut schema = last.schema.min(before.schema);
    if last.has_custom_bounds() != is_custom {
        return None;
    }
    if is_counter {
        if between.iter().any(|(_, h)| h.has_custom_bounds() != is_custom) {
            return None;
        }
        schema = between.iter().map(|(_, h)| h.schema).fold(schema, i32::min);
    }
    let mut change = last.clone();
    change.reduce_resolution(schema);
    change.subtract(&before).ok()?;
    if is_counter {
        for (_, histogram) in &histograms[1..] {
            if histogram.is_reset_since(&before) {
                change.add(&before).ok()?;
            }
            before = (*histogram).clone();
        }
    }
    change.reset_hint = ResetHint::Gauge;
    change.compact();
    Some(change)
}

/// `irate`, `idelta`.
pub(crate) fn of_last_two(is_rate: bool, window: &Window<'_>) -> Option<Cell> {
    let [.., (before_ms, before), (last_ms, last)] = window.samples else { return None };
    let apart_s = (last_ms - before_ms) as f64 / 1000.0;
    match (before, last) {
        (Cell::Float(before), Cell::Float(last)) => {
            let change = if is_rate && last < before { *last } else { last - before };
            Some(Cell::Float(if is_rate { change / apart_s } else { change }))
        }
        (Cell::Histogram(before), Cell::Histogram(last)) => {
            let mut change = last.clone();
            if !is_rate || !last.is_reset_since(before) {
                change.subtract(before).ok()?;
            }
            change.reset_hint = ResetHint::Gauge;
            change.compact();
            if is_rate {
                change.divide(apart_s);
            }
            Some(Cell::Histogram(change))
        }
        _ => None,
    }
}

/// How often counting began anew; a change of kind counts.
pub(crate) fn resets(window: &Window<'_>) -> f64 {
    count(window, |before, now| match (before, now) {
        (Cell::Float(before), Cell::Float(now)) => now < before,
        (Cell::Histogram(before), Cell::Histogram(now)) => now.is_reset_since(before),
        _ => true,
    })
}

/// How often the value changed; NaN is equal to NaN.
pub(crate) fn changes(window: &Window<'_>) -> f64 {
    count(window, |before, now| match (before, now) {
        (Cell::Float(a), Cell::Float(b)) => a != b && !(a.is_nan() && b.is_nan()),
        (Cell::Histogram(before), Cell::Histogram(now)) => !now.is_same(before),
        _ => true,
    })
}

fn count(window: &Window<'_>, differs: impl Fn(&Cell, &Cell) -> bool) -> f64 {
    window.samples.windows(2).filter(|pair| differs(&pair[0].1, &pair[1].1)).count() as f64
}
