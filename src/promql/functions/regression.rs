//! Trends: `deriv`, `predict_linear`, `double_exponential_smoothing`.
//!
//! COMPAT: sums are taken in the order of samples, compensated, on seconds relative to the
//! intercept's time. Sums relative to another time differ in the last bits, so there are no
//! prefix sums here.

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
    for (step, low, high) in input.filled().filter(|(_, low, high)| high - low > 1) {
        let (slope, _) = least_squares(input, low, high, input.timestamps[low]);
        column.set(step, slope);
    }
}

fn predict_linear(input: &WindowInput<'_>, column: &mut Column) {
    for (step, low, high) in input.filled().filter(|(_, low, high)| high - low > 1) {
        let now_ms = input.times.grid.time_ms(step);
        let (slope, intercept) = least_squares(input, low, high, now_ms);
        column.set(step, slope * input.scalars[0].values[step] + intercept);
    }
}

/// Slope per second and value at `intercept_ms` of the line through the samples `low..high`.
fn least_squares(
    input: &WindowInput<'_>,
    low: usize,
    high: usize,
    intercept_ms: i64,
) -> (f64, f64) {
    let zero = Compensated::default();
    let (mut sum_x, mut sum_y, mut sum_xy, mut sum_x2) = (zero, zero, zero, zero);
    let values = &input.values[low..high];
    for (t_ms, y) in input.timestamps[low..high].iter().zip(values) {
        let x = (t_ms - intercept_ms) as f64 / 1e3;
        sum_x = sum_x.plus(x);
        sum_y = sum_y.plus(*y);
        sum_xy = sum_xy.plus(x * y);
        sum_x2 = sum_x2.plus(x * x);
    }
    if values[1..].iter().all(|y| *y == values[0]) {
        return if values[0].is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, values[0]) };
    }
    let n = values.len() as f64;
    let (sum_x, sum_y) = (sum_x.total(), sum_y.total());
    let covariance = sum_xy.total() - sum_x * sum_y / n;
    let variance = sum_x2.total() - sum_x * sum_x / n;
    let slope = covariance / variance;
    (slope, sum_y / n - slope * sum_x / n)
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
        for (index, value) in values.iter().enumerate().skip(1) {
            if index > 1 {
                let moved = trend_factor * (level - before);
                trend = moved + (1.0 - trend_factor) * trend;
            }
            let kept = (1.0 - level_factor) * (level + trend);
            before = level;
            level = level_factor * value + kept;
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
