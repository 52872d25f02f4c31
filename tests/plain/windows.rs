//! Functions of windows, each by one walk over the samples.

use narthex::model::{FloatHistogram, HistogramMean, HistogramSum};

use super::cells::{Answer, Cell, Refused};
use super::rates;

/// The samples of one window.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window<'a> {
    /// At least one; times ascend.
    pub(crate) samples: &'a [(i64, Cell)],
    /// Where the window begins (not included) and ends.
    pub(crate) edges_ms: (i64, i64),
    /// The evaluation time.
    pub(crate) t_ms: i64,
}

impl Window<'_> {
    pub(crate) fn floats(&self) -> Vec<(i64, f64)> {
        self.samples.iter().filter_map(|(t, cell)| Some((*t, cell.float()?))).collect()
    }

    pub(crate) fn histograms(&self) -> Vec<(i64, &FloatHistogram)> {
        self.samples.iter().filter_map(|(t, cell)| Some((*t, cell.histogram()?))).collect()
    }
}

/// Neumaier's compensated addition.
pub(crate) fn plus((sum, lost): (f64, f64), x: f64) -> (f64, f64) {
    let total = sum + x;
    if total.is_infinite() {
        (total, 0.0)
    } else if sum.abs() >= x.abs() {
        (total, lost + ((sum - total) + x))
    } else {
        (total, lost + ((x - total) + sum))
    }
}

/// The mean: a sum that is divided, until it would overflow; then one that moves.
pub(crate) fn mean(values: &[f64]) -> f64 {
    let mut sum = (values[0], 0.0);
    let mut is_moving = false;
    for (index, x) in values.iter().enumerate().skip(1) {
        let count = (index + 1) as f64;
        if !is_moving {
            let next = plus(sum, *x);
            if !next.0.is_infinite() {
                sum = next;
                continue;
            }
            is_moving = true;
            sum = (sum.0 / (count - 1.0), sum.1 / (count - 1.0));
        }
        let q = (count - 1.0) / count;
        sum = plus((q * sum.0, q * sum.1), x / count);
    }
    let count = values.len() as f64;
    if is_moving { sum.0 + sum.1 } else { sum.0 / count + sum.1 / count }
}

/// The quantile of values in any order; NaN is the least.
pub(crate) fn quantile(q: f64, values: &[f64]) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    let mut sorted = values.to_vec();
    sorted.sort_by(|a, b| match (a.is_nan(), b.is_nan()) {
        (false, false) => a.partial_cmp(b).expect("numbers have an order"),
        (a, b) => b.cmp(&a),
    });
    let last = sorted.len() - 1;
    let rank = q * last as f64;
    let lower = rank.floor() as usize;
    let weight = rank - rank.floor();
    sorted[lower] * (1.0 - weight) + sorted[(lower + 1).min(last)] * weight
}

/// The value of function `name`.
pub(crate) fn evaluate(name: &str, window: &Window<'_>, arguments: &[f64]) -> Answer<Option<Cell>> {
    let floats = window.floats();
    let histograms = window.histograms();
    let values: Vec<f64> = floats.iter().map(|(_, value)| *value).collect();
    let is_mixed = !floats.is_empty() && !histograms.is_empty();
    let of_floats = |value: f64| Ok((!floats.is_empty()).then_some(Cell::Float(value)));
    match name {
        "rate" | "increase" | "delta" => Ok(rates::extrapolated(name, window)),
        "irate" | "idelta" => Ok(rates::of_last_two(name == "irate", window)),
        "resets" => Ok(Some(Cell::Float(rates::resets(window)))),
        "changes" => Ok(Some(Cell::Float(rates::changes(window)))),
        "count_over_time" => Ok(Some(Cell::Float(window.samples.len() as f64))),
        "present_over_time" | "absent_over_time" => Ok(Some(Cell::Float(1.0))),
        "last_over_time" => Ok(window.samples.last().map(|sample| sample.1.clone())),
        "first_over_time" => Ok(window.samples.first().map(|sample| sample.1.clone())),
        "ts_of_last_over_time" => Ok(window.samples.last().map(|sample| seconds(sample.0))),
        "ts_of_first_over_time" => Ok(window.samples.first().map(|sample| seconds(sample.0))),
        "sum_over_time" | "avg_over_time" if is_mixed => Ok(None),
        "sum_over_time" | "avg_over_time" if floats.is_empty() => {
            let is_sum = name == "sum_over_time";
            Ok(total(&histograms, is_sum).map(Cell::Histogram))
        }
        "sum_over_time" => {
            let (sum, lost) = values.iter().fold((0.0, 0.0), |sum, x| plus(sum, *x));
            of_floats(if sum.is_infinite() { sum } else { sum + lost })
        }
        "avg_over_time" => of_floats(mean(&values)),
        "min_over_time" | "max_over_time" | "ts_of_min_over_time" | "ts_of_max_over_time" => {
            Ok(extreme(name, &floats))
        }
        "stdvar_over_time" | "stddev_over_time" if !floats.is_empty() => {
            let variance = variance(&values);
            let value = if name == "stdvar_over_time" { variance } else { variance.sqrt() };
            of_floats(value)
        }
        "quantile_over_time" => of_floats(quantile(arguments[0], &values)),
        "mad_over_time" => {
            if values.iter().any(|value| value.is_nan()) {
                return of_floats(f64::NAN);
            }
            let median = quantile(0.5, &values);
            let away: Vec<f64> = values.iter().map(|value| (value - median).abs()).collect();
            of_floats(quantile(0.5, &away))
        }
        "deriv" | "predict_linear" if floats.len() > 1 => {
            let is_slope = name == "deriv";
            let at_ms = if is_slope { floats[0].0 } else { window.t_ms };
            let (slope, intercept) = regression(&floats, at_ms);
            of_floats(if is_slope { slope } else { slope * arguments[0] + intercept })
        }
        "double_exponential_smoothing" => {
            let is_within = |x: f64| 0.0 < x && x < 1.0;
            if !arguments.iter().all(|x| is_within(*x)) {
                return Err(Refused("factor out of bounds"));
            }
            Ok((values.len() > 1)
                .then(|| Cell::Float(smoothed(&values, arguments[0], arguments[1]))))
        }
        _ => Ok(None),
    }
}

fn seconds(t_ms: i64) -> Cell {
    Cell::Float(t_ms as f64 / 1000.0)
}

fn total(histograms: &[(i64, &FloatHistogram)], is_sum: bool) -> Option<FloatHistogram> {
    let first = histograms[0].1.clone();
    let others = histograms[1..].iter().map(|(_, histogram)| *histogram);
    if is_sum {
        let mut sum = HistogramSum::new(first);
        for histogram in others {
            sum.add(histogram).ok()?;
        }
        Some(sum.total())
    } else {
        let mut mean = HistogramMean::new(first);
        for histogram in others {
            mean.add(histogram).ok()?;
        }
        Some(mean.value())
    }
}

fn extreme(name: &str, floats: &[(i64, f64)]) -> Option<Cell> {
    let &(first_ms, first) = floats.first()?;
    let (mut found_ms, mut found) = (first_ms, first);
    for &(t_ms, value) in floats {
        let is_better = match name {
            "min_over_time" => value < found,
            "max_over_time" => value > found,
            "ts_of_min_over_time" => value <= found,
            _ => value >= found,
        };
        if is_better || found.is_nan() {
            (found_ms, found) = (t_ms, value);
        }
    }
    Some(if name.starts_with("ts_of") { seconds(found_ms) } else { Cell::Float(found) })
}

/// Welford's, compensated.
fn variance(values: &[f64]) -> f64 {
    let (mut mean, mut squares) = ((0.0, 0.0), (0.0, 0.0));
    let mut count = 0.0;
    for x in values {
        count += 1.0;
        let delta = x - (mean.0 + mean.1);
        mean = plus(mean, delta / count);
        squares = plus(squares, delta * (x - (mean.0 + mean.1)));
    }
    (squares.0 + squares.1) / count
}

/// Least squares: slope, and value at `at_ms`.
fn regression(floats: &[(i64, f64)], at_ms: i64) -> (f64, f64) {
    let first = floats[0].1;
    if floats.iter().skip(1).all(|(_, value)| *value == first) {
        return if first.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, first) };
    }
    let [mut x_sum, mut y_sum, mut xy_sum, mut xx_sum] = [(0.0, 0.0); 4];
    for (t_ms, y) in floats {
        let x = (t_ms - at_ms) as f64 / 1e3;
        x_sum = plus(x_sum, x);
        y_sum = plus(y_sum, *y);
        xy_sum = plus(xy_sum, x * y);
        xx_sum = plus(xx_sum, x * x);
    }
    let n = floats.len() as f64;
    let [x, y, xy, xx] = [x_sum, y_sum, xy_sum, xx_sum].map(|(sum, lost)| sum + lost);
    let slope = (xy - x * y / n) / (xx - x * x / n);
    (slope, y / n - slope * x / n)
}

fn smoothed(values: &[f64], factor: f64, trend_factor: f64) -> f64 {
    let (mut before, mut now) = (0.0, values[0]);
    let mut trend = values[1] - values[0];
    for (index, value) in values.iter().enumerate().skip(1) {
        if index > 1 {
            trend = trend_factor * (now - before) + (1.0 - trend_factor) * trend;
        }
        let next = factor * value + (1.0 - factor) * (now + trend);
        (before, now) = (now, next);
    }
    now
}
