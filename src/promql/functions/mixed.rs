//! Window functions over native histograms, and over windows that hold floats too.
//!
//! Functions that know floats only leave histograms out and tell so; those of a counter or a sum
//! do not mix the two. A window is walked as in Prometheus, so that the bits are the same; whether
//! a histogram began anew since the one before it is found once for each pair.

use std::cell::RefCell;
use std::sync::Arc;

use super::rate_histogram;
use super::window::{MixedFunction, WindowNote, WindowNotes};
use crate::model::{
    FloatHistogram, HistogramMean, HistogramSum, MixedSchemas, Reconciled, ResetHint,
};
use crate::promql::columns::Column;
use crate::promql::windows::WindowInput;

/// What function `name` does; every window function does something.
pub(super) fn lookup(name: &str) -> MixedFunction {
    match name {
        "count_over_time" => |input, column, _| {
            each(input, |step, low, high| column.set(step, (high - low) as f64));
        },
        "present_over_time" | "absent_over_time" => {
            |input, column, _| each(input, |step, _, _| column.set(step, 1.0))
        }
        "ts_of_first_over_time" => |input, column, _| {
            each(input, |step, low, _| column.set(step, input.timestamps[low] as f64 / 1000.0));
        },
        "ts_of_last_over_time" => |input, column, _| {
            each(input, |step, _, high| {
                column.set(step, input.timestamps[high - 1] as f64 / 1000.0);
            });
        },
        "first_over_time" => {
            |input, column, _| each(input, |step, low, _| set_sample(input, column, step, low))
        }
        "last_over_time" => |input, column, _| {
            each(input, |step, _, high| set_sample(input, column, step, high - 1));
        },
        "sum_over_time" => |input, column, notes| aggregate(input, column, notes, sum),
        "avg_over_time" => |input, column, notes| aggregate(input, column, notes, avg),
        "changes" => changes,
        "resets" => resets,
        "rate" => {
            |input, column, notes| rate_histogram::extrapolate(input, column, notes, true, true)
        }
        "increase" => {
            |input, column, notes| rate_histogram::extrapolate(input, column, notes, true, false)
        }
        "delta" => {
            |input, column, notes| rate_histogram::extrapolate(input, column, notes, false, false)
        }
        "irate" => |input, column, notes| rate_histogram::last_two(input, column, notes, true),
        "idelta" => |input, column, notes| rate_histogram::last_two(input, column, notes, false),
        _ => |input, _, notes| {
            each(input, |_, low, high| {
                if has_floats(input, low, high) {
                    notes.insert(WindowNote::Ignored);
                }
            });
        },
    }
}

/// Goes over the windows that hold a histogram.
pub(super) fn each(input: &WindowInput<'_>, mut visit: impl FnMut(usize, usize, usize)) {
    if input.histograms.is_empty() {
        return;
    }
    for (step, low, high) in input.filled() {
        if input.histograms[low..high].iter().any(Option::is_some) {
            visit(step, low, high);
        }
    }
}

/// Whether a sample of the window is a float.
pub(super) fn has_floats(input: &WindowInput<'_>, low: usize, high: usize) -> bool {
    input.histograms.is_empty() || input.histograms[low..high].iter().any(Option::is_none)
}

fn set_sample(input: &WindowInput<'_>, column: &mut Column, step: usize, index: usize) {
    match &input.histograms[index] {
        Some(histogram) => column.set_histogram(step, Arc::clone(histogram)),
        None => column.set(step, input.values[index]),
    }
}

/// The histograms of a window that holds nothing else.
pub(super) fn histograms<'a>(
    input: &WindowInput<'a>,
    low: usize,
    high: usize,
) -> Vec<&'a Arc<FloatHistogram>> {
    input.histograms[low..high].iter().flatten().collect()
}

/// What a sum or mean comes to.
type Aggregate =
    fn(&[&Arc<FloatHistogram>], &mut Reconciled) -> Result<FloatHistogram, MixedSchemas>;

fn aggregate(
    input: &WindowInput<'_>,
    column: &mut Column,
    notes: &mut WindowNotes,
    combine: Aggregate,
) {
    each(input, |step, low, high| {
        if has_floats(input, low, high) {
            notes.insert(WindowNote::MixedKinds);
            column.valid.unset(step);
            return;
        }
        let all = histograms(input, low, high);
        let mut reconciled = Reconciled::default();
        match combine(&all, &mut reconciled) {
            Ok(result) => {
                let has = |hint| all.iter().any(|histogram| histogram.reset_hint == hint);
                if has(ResetHint::Reset) && has(ResetHint::NotReset) {
                    notes.insert(WindowNote::HintsCollide);
                }
                if reconciled.bounds_differed {
                    notes.insert(WindowNote::BoundsDifferedAggregating);
                }
                column.set_histogram(step, Arc::new(result));
            }
            Err(MixedSchemas) => {
                notes.insert(WindowNote::MixedSchemas);
            }
        }
    });
}

fn sum(
    all: &[&Arc<FloatHistogram>],
    reconciled: &mut Reconciled,
) -> Result<FloatHistogram, MixedSchemas> {
    let mut sum = HistogramSum::new(FloatHistogram::clone(all[0]));
    for histogram in &all[1..] {
        reconciled.bounds_differed |= sum.add(histogram)?.bounds_differed;
    }
    Ok(sum.total())
}

fn avg(
    all: &[&Arc<FloatHistogram>],
    reconciled: &mut Reconciled,
) -> Result<FloatHistogram, MixedSchemas> {
    let mut mean = HistogramMean::new(FloatHistogram::clone(all[0]));
    for histogram in &all[1..] {
        reconciled.bounds_differed |= mean.add(histogram)?.bounds_differed;
    }
    Ok(mean.value())
}

/// Which histograms began anew since the sample before them, which is a histogram too; found when
/// asked for.
pub(super) struct Resets<'a> {
    input: WindowInput<'a>,
    known: RefCell<Vec<Option<bool>>>,
}

impl<'a> Resets<'a> {
    pub(super) fn new(input: &WindowInput<'a>) -> Self {
        Self { input: *input, known: RefCell::new(vec![None; input.values.len()]) }
    }

    /// Whether sample `index` began anew.
    pub(super) fn at(&self, index: usize) -> bool {
        if let Some(known) = self.known.borrow()[index] {
            return known;
        }
        let slots = &self.input.histograms[index - 1..=index];
        let is_reset = match (&slots[0], &slots[1]) {
            (Some(before), Some(now)) => {
                started_anew(&self.input, index) || now.is_reset_since(before)
            }
            _ => false,
        };
        self.known.borrow_mut()[index] = Some(is_reset);
        is_reset
    }
}

/// Whether its start timestamp says that sample `index` began to count after the one before it.
pub(super) fn started_anew(input: &WindowInput<'_>, index: usize) -> bool {
    let Some(&start) = input.starts_ms.get(index) else { return false };
    let (t_ms, before_ms) = (input.timestamps[index], input.timestamps[index - 1]);
    if start == 0 || start >= t_ms || start < before_ms {
        return false;
    }
    if start > before_ms {
        return true;
    }
    // It began when the one before was taken. That is a new beginning unless nobody knows when
    // the one before began.
    let start_before = input.starts_ms[index - 1];
    start_before < before_ms && start_before != 0
}

/// Whether sample `index` claims to have counted while the one before it counted something else.
pub(super) fn overlaps(input: &WindowInput<'_>, index: usize) -> bool {
    let Some(&start) = input.starts_ms.get(index) else { return false };
    start != 0 && start < input.timestamps[index - 1] && start != input.starts_ms[index - 1]
}

/// Pairs of neighbours that differ, another kind included.
fn changes(input: &WindowInput<'_>, column: &mut Column, _: &mut WindowNotes) {
    if !input.histograms.is_empty() {
        count_pairs(input, column, |index| is_changed(input, index));
    }
}

/// Whether sample `index` differs from the one before it.
pub(super) fn is_changed(input: &WindowInput<'_>, index: usize) -> bool {
    let slot = |index: usize| input.histograms.get(index).and_then(Option::as_ref);
    match (slot(index - 1), slot(index)) {
        (Some(before), Some(now)) => !now.is_same(before),
        (None, None) => {
            let (before, now) = (input.values[index - 1], input.values[index]);
            before != now && !(before.is_nan() && now.is_nan())
        }
        _ => true,
    }
}

/// Pairs of neighbours of which the second began anew; another kind is a new beginning.
fn resets(input: &WindowInput<'_>, column: &mut Column, _: &mut WindowNotes) {
    let known = Resets::new(input);
    count_pairs(input, column, |index| is_reset(input, &known, index));
}

/// Whether sample `index` began anew since the one before it.
pub(super) fn is_reset(input: &WindowInput<'_>, known: &Resets<'_>, index: usize) -> bool {
    let is_histogram = |index: usize| input.histograms.get(index).is_some_and(Option::is_some);
    match (is_histogram(index - 1), is_histogram(index)) {
        (true, true) => known.at(index),
        (false, false) => {
            input.values[index] < input.values[index - 1] || started_anew(input, index)
        }
        _ => true,
    }
}

fn count_pairs(input: &WindowInput<'_>, column: &mut Column, counts: impl Fn(usize) -> bool) {
    let before = count_pairs_by(input, counts);
    for (step, low, high) in input.filled() {
        column.set(step, f64::from(before[high - 1] - before[low]));
    }
}

/// For each sample how many pairs count up to the one that it ends.
pub(super) fn count_pairs_by(input: &WindowInput<'_>, counts: impl Fn(usize) -> bool) -> Vec<u32> {
    let mut count = 0_u32;
    let samples = 0..input.values.len();
    samples
        .map(|index| {
            count += u32::from(index > 0 && counts(index));
            count
        })
        .collect()
}
