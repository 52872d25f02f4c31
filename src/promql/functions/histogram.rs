//! `histogram_quantile`, `histogram_quantiles`, `histogram_fraction`, of classic histograms and of
//! native ones, which [`super::native`] knows.
//!
//! A classic histogram is the series that agree in all labels but `le`; each holds the number of
//! observations at or below its bound. Where both kinds stand at one step under the same labels
//! neither counts.

#![allow(clippy::unnecessary_wraps, reason = "the signature is that of all functions")]

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt::Write as _;

use super::native::{self, NotNumbers};
use super::{Call, Implementation};
use crate::model::{FloatHistogram, Labels, LabelsBuilder};
use crate::promql::annotations::{GoFloat, Monotonicity};
use crate::promql::budget::{Budget, NOTE_BYTES};
use crate::promql::columns::{Bitmap, Column, Operand, Sample, Series, Vector};
use crate::promql::engine::QueryError;
use crate::promql::quote::quote;

const BOUND: &str = "le";

/// Greatest relative difference of two counts that is taken for rounding.
const SMALL_DELTA: f64 = 1e-12;

/// Steps of one histogram gone over between two looks.
const STEPS_PER_LOOK: usize = 1 << 12;

/// The family's implementations.
pub(super) fn lookup(name: &str) -> Option<Implementation> {
    Some(Implementation::Operands(match name {
        "histogram_quantile" => histogram_quantile,
        "histogram_quantiles" => histogram_quantiles,
        "histogram_fraction" => histogram_fraction,
        // What is computed began at no time.
        "start_timestamp" => |_| Ok(Operand::Vector(Vector::default())),
        _ => return None,
    }))
}

/// One histogram.
struct Histogram {
    labels: Labels,
    /// Of a classic one: bounds and counts, in order of bounds.
    buckets: Vec<(f64, Column)>,
    /// A native one.
    native: Option<Column>,
    /// Steps at which it does not count.
    left_out: Option<Bitmap>,
}

/// A bucket at one step.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Bucket {
    bound: f64,
    count: f64,
}

fn histogram_quantile(call: &mut Call<'_>) -> Result<Operand, QueryError> {
    warn_of_quantiles(call, 0)?;
    let histograms = histograms(call, 1)?;
    let quantiles = call.scalar(0).clone();
    let mut vector = Vector::default();
    for histogram in histograms {
        call.check()?;
        let series = quantile_series(call, 1, &histogram, &quantiles)?;
        vector.series.push(series);
    }
    Ok(Operand::Vector(vector))
}

fn histogram_quantiles(call: &mut Call<'_>) -> Result<Operand, QueryError> {
    let label = call.string(1).to_owned();
    for argument in 2..call.operands.len() {
        warn_of_quantiles(call, argument)?;
    }
    let histograms = histograms(call, 0)?;
    let mut vector = Vector::default();
    for argument in 2..call.operands.len() {
        let quantiles = call.scalar(argument).clone();
        for histogram in &histograms {
            call.check()?;
            let all = quantile_series(call, 0, histogram, &quantiles)?;
            let budget = call.budget;
            split_by_quantile(&all, (&quantiles, &label), &mut vector.series, budget)?;
        }
    }
    Ok(Operand::Vector(vector))
}

/// One series for each value that the quantile has at some step, named by `label`.
fn split_by_quantile(
    all: &Series,
    (quantiles, label): (&Column, &str),
    out: &mut Vec<Series>,
    budget: &Budget<'_>,
) -> Result<(), QueryError> {
    let mut first = out.len();
    let mut by_bits: HashMap<u64, usize> = HashMap::new();
    for (nth, (step, value)) in all.column.iter().enumerate() {
        if nth % STEPS_PER_LOOK == STEPS_PER_LOOK - 1 {
            budget.look()?;
        }
        let quantile = quantiles.values[step];
        let index = match by_bits.entry(quantile.to_bits()) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(empty) => {
                budget.check_time()?;
                budget.ensure(out.len() + 1, all.column.steps())?;
                let mut builder = LabelsBuilder::from_labels(&all.labels);
                builder.set(label, &open_metrics_float(quantile));
                let column = Column::empty(all.column.steps());
                out.push(Series { labels: builder.build(), drop_name: all.drop_name, column });
                first += 1;
                *empty.insert(first - 1)
            }
        };
        out[index].column.set(step, value);
    }
    Ok(())
}

/// A float as the exposition format has it in labels: never without a point or an exponent.
fn open_metrics_float(value: f64) -> String {
    let text = GoFloat(value).to_string();
    let is_plain = value.is_finite() && !text.contains(['.', 'e']);
    if is_plain { text + ".0" } else { text }
}

fn histogram_fraction(call: &mut Call<'_>) -> Result<Operand, QueryError> {
    let histograms = histograms(call, 2)?;
    let (lower, upper) = (call.scalar(0).clone(), call.scalar(1).clone());
    let mut vector = Vector::default();
    for histogram in histograms {
        call.check()?;
        let mut column = Column::empty(call.grid.steps);
        let mut buckets = Vec::new();
        for step in 0..call.grid.steps {
            if step % STEPS_PER_LOOK == STEPS_PER_LOOK - 1 {
                call.budget.look()?;
            }
            let (lower, upper) = (lower.values[step], upper.values[step]);
            if let Some(native) = histogram.native(step) {
                let (value, note) = native::fraction(lower, upper, native);
                column.set(step, value);
                tell(call, 2, &histogram.labels, note);
            } else if histogram.read(step, &mut buckets) {
                column.set(step, fraction(lower, upper, &mut buckets));
            }
        }
        let mut series = Series { labels: histogram.labels, drop_name: false, column };
        series.drop_name(call.delayed_name_removal);
        vector.series.push(series);
    }
    Ok(Operand::Vector(vector))
}

fn warn_of_quantiles(call: &mut Call<'_>, argument: usize) -> Result<(), QueryError> {
    let span = call.argument_span(argument);
    let Operand::Scalar(quantiles) = &call.operands[argument] else {
        unreachable!("BUG: the parser checked the argument's type")
    };
    for (step, &quantile) in quantiles.values.iter().enumerate() {
        if step % STEPS_PER_LOOK == STEPS_PER_LOOK - 1 {
            call.budget.look()?;
        }
        if !(0.0..=1.0).contains(&quantile) {
            call.budget.check_time()?;
            call.budget.charge_bytes(NOTE_BYTES)?;
            call.annotations.invalid_quantile(span, quantile);
        }
    }
    Ok(())
}

/// Tells what a native histogram of argument `index` gave.
fn tell(call: &mut Call<'_>, index: usize, labels: &Labels, note: Option<NotNumbers>) {
    let mut text = match note {
        None => return,
        Some(NotNumbers::Result) => {
            "input to histogram_quantile has NaN observations, result is NaN"
        }
        Some(NotNumbers::Skewed) => {
            "input to histogram_quantile has NaN observations, result is skewed higher"
        }
        Some(NotNumbers::LeftOut) => {
            "input to histogram_fraction has NaN observations, which are excluded from all \
             fractions"
        }
    }
    .to_owned();
    add_name(call, labels, &mut text);
    let span = call.argument_span(index);
    call.annotations.info(span, text);
}

/// Names the metric, if its name is still there.
fn add_name(call: &Call<'_>, labels: &Labels, text: &mut String) {
    let name = labels.metric_name();
    if call.delayed_name_removal && !name.is_empty() {
        let _ = write!(text, " for metric name {}", quote(name));
    }
}

/// The histograms of argument `index`, native ones first.
fn histograms(call: &mut Call<'_>, index: usize) -> Result<Vec<Histogram>, QueryError> {
    let mut vector = call.take_vector(index);
    let mut natives = Vec::new();
    for series in &mut vector.series {
        call.check()?;
        if series.column.has_histograms() {
            let labels = series.labels.clone();
            let native = Some(series.column.clone());
            natives.push(Histogram { labels, buckets: Vec::new(), native, left_out: None });
            series.column.drop_histograms();
        }
    }
    vector.drop_empty();
    let mut classic = classic_histograms(call, index, vector)?;
    let mut places = HashMap::new();
    if !natives.is_empty() {
        places.extend(classic.iter().enumerate().map(|(place, h)| (h.labels.clone(), place)));
    }
    for native in &mut natives {
        call.check()?;
        let Some(&place) = places.get(&native.labels) else { continue };
        let classic = &mut classic[place];
        let mut both = Bitmap::none(call.grid.steps);
        classic.buckets.iter().for_each(|(_, column)| both.unite(&column.valid));
        for step in 0..call.grid.steps {
            if native.native(step).is_none() && both.get(step) {
                both.unset(step);
            }
        }
        if let Some(column) = &native.native {
            both.intersect(&column.valid);
        }
        if !both.is_none() {
            let mut text = "vector contains a mix of classic and native histograms".to_owned();
            add_name(call, &native.labels, &mut text);
            let span = call.argument_span(index);
            call.annotations.warn(span, text);
            classic.left_out = Some(both.clone());
            native.left_out = Some(both);
        }
    }
    natives.append(&mut classic);
    Ok(natives)
}

/// The series of argument `index` by classic histogram; a series without a bound is warned about.
fn classic_histograms(
    call: &mut Call<'_>,
    index: usize,
    vector: Vector,
) -> Result<Vec<Histogram>, QueryError> {
    let span = call.argument_span(index);
    let mut places: HashMap<Labels, usize> = HashMap::new();
    let mut histograms: Vec<Histogram> = Vec::new();
    for series in vector.series {
        call.check()?;
        let text = series.labels.get(BOUND).unwrap_or("");
        let Some(bound) = bound(text) else {
            let mut message = format!(
                "bucket label \"le\" is missing or has a malformed value of {}",
                quote(text)
            );
            add_name(call, &series.labels, &mut message);
            call.annotations.warn(span, message);
            continue;
        };
        let labels = series.labels.without(|name| name == BOUND);
        let place = match places.entry(labels) {
            Entry::Occupied(entry) => *entry.get(),
            Entry::Vacant(entry) => {
                let (labels, buckets) = (entry.key().clone(), Vec::new());
                histograms.push(Histogram { labels, buckets, native: None, left_out: None });
                *entry.insert(histograms.len() - 1)
            }
        };
        histograms[place].buckets.push((bound, series.column));
    }
    for histogram in &mut histograms {
        call.check()?;
        histogram
            .buckets
            .sort_by(|(a, _), (b, _)| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
    }
    Ok(histograms)
}

/// A bound as Go reads a float, as far as anything is written so.
fn bound(text: &str) -> Option<f64> {
    let is_word = text.trim_start_matches(['+', '-']).starts_with(|c: char| c.is_alphabetic());
    let word = text.trim_start_matches(['+', '-']).to_ascii_lowercase();
    if is_word && !["inf", "infinity", "nan"].contains(&word.as_str()) {
        return None;
    }
    text.parse().ok()
}

impl Histogram {
    fn is_left_out(&self, step: usize) -> bool {
        self.left_out.as_ref().is_some_and(|steps| steps.get(step))
    }

    /// The native histogram at `step`.
    fn native(&self, step: usize) -> Option<&FloatHistogram> {
        match self.native.as_ref()?.sample(step)? {
            Sample::Histogram(histogram) if !self.is_left_out(step) => Some(histogram),
            _ => None,
        }
    }

    /// Puts the buckets that have a count at `step` into `out`; whether there is one.
    fn read(&self, step: usize, out: &mut Vec<Bucket>) -> bool {
        out.clear();
        if self.is_left_out(step) {
            return false;
        }
        out.extend(self.buckets.iter().filter_map(|(bound, column)| {
            column.get(step).map(|count| Bucket { bound: *bound, count })
        }));
        !out.is_empty()
    }
}

/// The quantile of each step; `argument` is the vector's place in the call.
fn quantile_series(
    call: &mut Call<'_>,
    argument: usize,
    histogram: &Histogram,
    quantiles: &Column,
) -> Result<Series, QueryError> {
    let span = call.argument_span(argument);
    let name = if call.delayed_name_removal { histogram.labels.metric_name() } else { "" };
    let mut column = Column::empty(call.grid.steps);
    let mut buckets = Vec::new();
    for step in 0..call.grid.steps {
        if step % STEPS_PER_LOOK == STEPS_PER_LOOK - 1 {
            call.budget.look()?;
        }
        if let Some(native) = histogram.native(step) {
            let (value, note) = native::quantile(quantiles.values[step], native);
            column.set(step, value);
            tell(call, argument, &histogram.labels, note);
            continue;
        }
        if !histogram.read(step, &mut buckets) {
            continue;
        }
        let (value, repaired) = quantile(quantiles.values[step], &mut buckets);
        column.set(step, value);
        if let Some(Repaired { min_bucket, max_bucket, max_diff }) = repaired {
            let t_ms = call.grid.time_ms(step);
            let (min_ms, max_ms, samples) = (t_ms, t_ms, 1);
            let detail = Monotonicity { min_ms, max_ms, min_bucket, max_bucket, max_diff, samples };
            call.annotations.forced_monotonicity(span, name, detail);
        }
    }
    let mut series = Series { labels: histogram.labels.clone(), drop_name: false, column };
    series.drop_name(call.delayed_name_removal);
    Ok(series)
}

/// What was raised so that counts ascend.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Repaired {
    min_bucket: f64,
    max_bucket: f64,
    max_diff: f64,
}

/// The value below which the share `q` of the observations lies, linear within a bucket.
/// `buckets` are in order of bounds, at least one.
fn quantile(q: f64, buckets: &mut Vec<Bucket>) -> (f64, Option<Repaired>) {
    if q.is_nan() {
        return (f64::NAN, None);
    }
    if !(0.0..=1.0).contains(&q) {
        return (if q < 0.0 { f64::NEG_INFINITY } else { f64::INFINITY }, None);
    }
    if buckets.last().is_none_or(|last| last.bound != f64::INFINITY) {
        return (f64::NAN, None);
    }
    join_equal_bounds(buckets);
    let repaired = make_ascend(buckets);
    let highest = buckets.len() - 1;
    let observations = buckets[highest].count;
    if highest == 0 || observations == 0.0 {
        return (f64::NAN, repaired);
    }
    let rank = q * observations;
    // Counts that are not numbers are never at the rank.
    let is_below = |bucket: &Bucket| bucket.count < rank || bucket.count.is_nan() || rank.is_nan();
    let found = buckets[..highest].partition_point(is_below);
    let Bucket { bound: end, count } = buckets[found];
    let value = if found == highest {
        buckets[highest - 1].bound
    } else if found == 0 && end <= 0.0 {
        end
    } else if found == 0 {
        end * (rank / count)
    } else {
        let Bucket { bound: start, count: below } = buckets[found - 1];
        start + (end - start) * ((rank - below) / (count - below))
    };
    (value, repaired)
}

fn join_equal_bounds(buckets: &mut Vec<Bucket>) {
    buckets.dedup_by(|next, kept| {
        let is_equal = next.bound == kept.bound;
        if is_equal {
            kept.count += next.count;
        }
        is_equal
    });
}

/// Raises each count to the greatest before it. What differs by rounding only is made equal
/// without a word.
fn make_ascend(buckets: &mut [Bucket]) -> Option<Repaired> {
    let mut repaired: Option<Repaired> = None;
    let mut previous = buckets[0].count;
    for Bucket { bound, count } in &mut buckets[1..] {
        if *count == previous {
            continue;
        }
        if is_small_delta(previous, *count) {
            *count = previous;
        } else if *count < previous {
            let diff = previous - *count;
            let so_far = repaired.unwrap_or(Repaired {
                min_bucket: f64::INFINITY,
                max_bucket: f64::NEG_INFINITY,
                max_diff: 0.0,
            });
            repaired = Some(Repaired {
                min_bucket: so_far.min_bucket.min(*bound),
                max_bucket: so_far.max_bucket.max(*bound),
                max_diff: so_far.max_diff.max(diff),
            });
            *count = previous;
        } else {
            previous = *count;
        }
    }
    repaired
}

fn is_small_delta(a: f64, b: f64) -> bool {
    if a.is_nan() && b.is_nan() {
        return true;
    }
    let sum = a.abs() + b.abs();
    let difference = (a - b).abs();
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < SMALL_DELTA * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < SMALL_DELTA
}

/// The share of the observations between `lower` and `upper`, linear within a bucket.
fn fraction(lower: f64, upper: f64, buckets: &mut Vec<Bucket>) -> f64 {
    if buckets.last().is_none_or(|last| last.bound != f64::INFINITY) {
        return f64::NAN;
    }
    join_equal_bounds(buckets);
    let count = buckets[buckets.len() - 1].count;
    if count == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    let [lower, upper] = [lower, upper].map(|value| {
        let rank = rank_of(value, buckets).unwrap_or(count);
        if rank > count { count } else { rank }
    });
    (upper - lower) / count
}

/// How many observations lie below `value`; `None` above all buckets.
fn rank_of(value: f64, buckets: &[Bucket]) -> Option<f64> {
    // Positive bounds only: there is nothing below zero.
    let mut start = if buckets[0].bound > 0.0 { 0.0 } else { f64::NEG_INFINITY };
    let mut rank = 0.0;
    for &Bucket { bound: end, count } in buckets {
        if start >= value {
            return Some(rank);
        }
        if end > value {
            // Nothing can be interpolated in a bucket without a lower bound.
            let is_open = start == f64::NEG_INFINITY;
            let within = || rank + (count - rank) * (value - start) / (end - start);
            return Some(if is_open { count } else { within() });
        }
        (start, rank) = (end, count);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(pairs: &[(f64, f64)]) -> Vec<Bucket> {
        pairs.iter().map(|&(bound, count)| Bucket { bound, count }).collect()
    }

    const INF: f64 = f64::INFINITY;

    #[test]
    fn quantiles_are_linear_within_a_bucket() {
        let of = |q, pairs: &[(f64, f64)]| quantile(q, &mut buckets(pairs)).0;
        let plain = [(1.0, 2.0), (2.0, 6.0), (INF, 8.0)];
        assert_eq!(of(0.125, &plain), 0.5);
        assert_eq!(of(0.5, &plain), 1.5);
        assert_eq!(of(0.9, &plain), 2.0);
        assert_eq!(of(-0.1, &plain), f64::NEG_INFINITY);
        assert_eq!(of(1.1, &plain), INF);
        assert!(of(f64::NAN, &plain).is_nan());
        assert!(of(0.5, &[(1.0, 2.0), (2.0, 6.0)]).is_nan());
        assert!(of(0.5, &[(INF, 6.0)]).is_nan());
        assert!(of(0.5, &[(1.0, 0.0), (INF, 0.0)]).is_nan());
        assert_eq!(of(0.1, &[(-1.0, 4.0), (INF, 8.0)]), -1.0);
        assert_eq!(of(0.5, &[(1.0, 1.0), (1.0, 1.0), (3.0, 4.0), (INF, 4.0)]), 1.0);
    }

    #[test]
    fn counts_that_fall_are_raised_and_told() {
        let falling = [(1.0, 4.0), (2.0, 3.0), (3.0, 4.0 - 1e-13), (4.0, 2.0), (INF, 8.0)];
        let (value, repaired) = quantile(0.5, &mut buckets(&falling));
        assert_eq!(value, 1.0);
        assert_eq!(repaired, Some(Repaired { min_bucket: 2.0, max_bucket: 4.0, max_diff: 2.0 }));
        assert_eq!(quantile(0.5, &mut buckets(&[(1.0, 1.0), (INF, 2.0)])).1, None);
    }

    #[test]
    fn fractions_count_what_lies_between() {
        let of = |lower, upper, pairs: &[(f64, f64)]| fraction(lower, upper, &mut buckets(pairs));
        let plain = [(1.0, 2.0), (2.0, 6.0), (INF, 8.0)];
        assert_eq!(of(0.0, 1.5, &plain), 0.5);
        assert_eq!(of(1.5, INF, &plain), 0.5);
        assert_eq!(of(f64::NEG_INFINITY, INF, &plain), 1.0);
        assert_eq!(of(2.0, 1.0, &plain), 0.0);
        assert!(of(f64::NAN, 1.0, &plain).is_nan());
    }
}
