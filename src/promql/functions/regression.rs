//! Trends: `deriv`, `predict_linear`, `double_exponential_smoothing`.
//!
//! COMPAT: sums are those that come of taking samples in their order, compensated, on seconds
//! relative to the intercept's time; `line.rs` finds most of them faster, with the same bits.

use super::lanes::{self, Window};
use super::line::{Line, Lines, Totals};
use super::window::WindowFunction;
use crate::promql::columns::Column;
use crate::promql::compensated::Compensated;
use crate::promql::engine::QueryError;
use crate::promql::windows::WindowInput;

/// The family's implementations.
pub(super) fn lookup(name: &str) -> Option<WindowFunction> {
    Some(match name {
        "deriv" => deriv,
        "predict_linear" => predict_linear,
        "double_exponential_smoothing" => smooth,
        _ => return None,
    })
}

fn deriv(input: &WindowInput<'_>, column: &mut Column) {
    let first_ms = |window: &Window| input.timestamps[window.low];
    least_squares(input, column, first_ms, |line, _| line.slope);
}

fn predict_linear(input: &WindowInput<'_>, column: &mut Column) {
    let now_ms = |window: &Window| input.times.grid.time_ms(window.step);
    let ahead_s = &input.scalars[0].values;
    least_squares(input, column, now_ms, |line, step| line.slope * ahead_s[step] + line.intercept);
}

/// Sums over samples; times in seconds from `zero_ms`.
#[derive(Clone, Copy, Default)]
struct Sums {
    zero_ms: i64,
    x: Compensated,
    y: Compensated,
    xy: Compensated,
    x2: Compensated,
}

impl Sums {
    #[inline]
    fn plus(mut self, t_ms: i64, y: f64) -> Self {
        let x = (t_ms - self.zero_ms) as f64 / 1e3;
        self.x = self.x.plus(x);
        self.y = self.y.plus(y);
        self.xy = self.xy.plus(x * y);
        self.x2 = self.x2.plus(x * x);
        self
    }

    fn line(&self, samples: usize) -> Line {
        let (x, y) = (self.x.total(), self.y.total());
        Totals { x, y, xy: self.xy.total(), x2: self.x2.total() }.line(samples)
    }
}

/// Fits a line to each window of two samples or more; `zero_ms` says at which time its intercept
/// is taken, `value` makes of it the column's value at a step.
fn least_squares(
    input: &WindowInput<'_>,
    column: &mut Column,
    zero_ms: impl Fn(&Window) -> i64,
    value: impl Fn(&Line, usize) -> f64,
) {
    let (timestamps, values) = (input.timestamps, input.values);
    let same_until = same_until(values);
    let is_flat = |window: &Window| same_until[window.low] as usize >= window.high;
    for window in lanes::windows(input, 2).filter(|window| is_flat(window)) {
        let level = values[window.low];
        let line = if level.is_infinite() {
            Line { slope: f64::NAN, intercept: f64::NAN }
        } else {
            Line { slope: 0.0, intercept: level }
        };
        column.set(window.step, value(&line, window.step));
    }
    let len_max = input.filled().map(|(_, low, high)| high - low).max().unwrap_or(0);
    let mut lines = Lines::new(timestamps, values, len_max);
    let mut far_apart = Vec::new();
    for window in lanes::windows(input, 2).filter(|window| !is_flat(window)) {
        let of_window =
            |lines: &mut Lines<'_>| lines.totals(window.low, window.high, zero_ms(&window));
        match lines.as_mut().and_then(of_window) {
            Some(totals) => {
                let line = totals.line(window.high - window.low);
                column.set(window.step, value(&line, window.step));
            }
            None => far_apart.push(window),
        }
    }
    lanes::fold::<{ lanes::FEW }, _>(
        far_apart.into_iter(),
        column,
        |window, first| {
            let sums = Sums { zero_ms: zero_ms(window), ..Sums::default() };
            sums.plus(timestamps[first], values[first])
        },
        |sums, index| sums.plus(timestamps[index], values[index]),
        |sums, window| value(&sums.line(window.high - window.low), window.step),
        || input.is_over(),
    );
}

/// For each value the index of the first one behind it that differs; NaN differs from all.
fn same_until(values: &[f64]) -> Vec<u32> {
    let mut ends = vec![0; values.len()];
    let mut end = values.len();
    for index in (0..values.len()).rev() {
        if values.get(index + 1).is_some_and(|next| *next != values[index]) {
            end = index + 1;
        }
        ends[index] = end as u32;
    }
    ends
}

/// Holt's linear smoothing: level and trend, each moved by its factor.
fn smooth(input: &WindowInput<'_>, column: &mut Column) {
    for (step, low, high) in input.filled() {
        let (level_factor, trend_factor) =
            (input.scalars[0].values[step], input.scalars[1].values[step]);
        let values = &input.values[low..high];
        if values.len() < 2 {
            continue;
        }
        let mut before = 0.0;
        let mut level = values[0];
        let mut trend = values[1] - values[0];
        for part in input.parts(1..values.len()) {
            for index in part {
                if index > 1 {
                    let moved = trend_factor * (level - before);
                    trend = moved + (1.0 - trend_factor) * trend;
                }
                let kept = (1.0 - level_factor) * (level + trend);
                before = level;
                level = level_factor * values[index] + kept;
            }
        }
        column.set(step, level);
    }
}

/// Judges the arguments of `double_exponential_smoothing` at a step with samples.
pub(crate) fn check_smoothing(scalars: &[Column], step: usize) -> Result<(), QueryError> {
    let factors = [("smoothing", "sf"), ("trend", "tf")];
    for ((name, symbol), column) in factors.into_iter().zip(scalars) {
        let factor = column.values[step];
        // COMPAT: NaN passes.
        if factor <= 0.0 || factor >= 1.0 {
            return Err(QueryError::execution(format!(
                "invalid {name} factor. Expected: 0 < {symbol} < 1, got: {factor:.6}"
            )));
        }
    }
    Ok(())
}
