//! The rate family over native histograms, and over counters of which it is known when they
//! began.

use std::sync::Arc;

use super::mixed::{Resets, has_floats, histograms, overlaps, started_anew};
use super::window::{WindowNote, WindowNotes};
use crate::model::{FloatHistogram, MixedSchemas, ResetHint};
use crate::promql::columns::Column;
use crate::promql::windows::WindowInput;

/// What the samples of a window come to before it is stretched to the window's edges.
enum Change {
    Float(f64),
    Histogram(FloatHistogram),
}

/// `rate`, `increase`, `delta`.
pub(super) fn extrapolate(
    input: &WindowInput<'_>,
    column: &mut Column,
    notes: &mut WindowNotes,
    is_counter: bool,
    per_second: bool,
) {
    let resets = Resets::new(input);
    let has_starts = is_counter && !input.starts_ms.is_empty();
    for (step, low, high) in input.filled() {
        let is_histogram = |slot: &Option<Arc<FloatHistogram>>| slot.is_some();
        let any =
            !input.histograms.is_empty() && input.histograms[low..high].iter().any(is_histogram);
        if !any && !has_starts {
            continue;
        }
        column.valid.unset(step);
        if any && has_floats(input, low, high) {
            notes.insert(WindowNote::MixedKinds);
            continue;
        }
        let window = Window { input, low, high, is_counter };
        let mut change = None;
        if any && high - low > 1 {
            let mut found = WindowNotes::default();
            let result = histogram_change(&window, &resets, &mut found);
            if let Err(Refused) = result {
                // COMPAT: what was noted before is forgotten.
                found = WindowNotes::default();
                found.insert(WindowNote::MixedSchemas);
            }
            notes.extend(found);
            let Ok(result) = result else { continue };
            change = Some(Change::Histogram(result));
        } else if !any {
            change = Some(Change::Float(float_change(&window, notes)));
        }
        match window.stretch(step, change, per_second, notes) {
            Some(Change::Float(value)) => column.set(step, value),
            Some(Change::Histogram(histogram)) => column.set_histogram(step, Arc::new(histogram)),
            None => {}
        }
    }
}

/// One window of one kind of samples.
struct Window<'a> {
    input: &'a WindowInput<'a>,
    low: usize,
    high: usize,
    is_counter: bool,
}

/// Exponential and listed bounds do not go together.
struct Refused;

impl From<MixedSchemas> for Refused {
    fn from(MixedSchemas: MixedSchemas) -> Self {
        Self
    }
}

fn float_change(window: &Window<'_>, notes: &mut WindowNotes) -> f64 {
    let Window { input, low, high, .. } = *window;
    let mut change = input.values[high - 1] - input.values[low];
    notes.overlaps += u64::from((low + 1..high).any(|index| overlaps(input, index)));
    for index in low + 1..high {
        let before = input.values[index - 1];
        if input.values[index] < before || started_anew(input, index) {
            change += before;
        }
    }
    change
}

/// The last histogram less the first, with what was lost at resets added.
fn histogram_change(
    window: &Window<'_>,
    resets: &Resets<'_>,
    notes: &mut WindowNotes,
) -> Result<FloatHistogram, Refused> {
    let Window { input, low, high, is_counter } = *window;
    let all = histograms(input, low, high);
    let (first, last) = (all[0], all[all.len() - 1]);
    let is_gauge = |histogram: &FloatHistogram| histogram.reset_hint == ResetHint::Gauge;
    if is_counter && (is_gauge(first) || is_gauge(last)) {
        notes.insert(WindowNote::NotCounter);
    }
    // Where counting begins anew with the second, the first does not matter, nor do its bounds.
    let nothing;
    let mut before: &FloatHistogram = first;
    let starts_anew = is_counter && resets.at(low + 1);
    if starts_anew {
        nothing = FloatHistogram {
            schema: all[1].schema,
            custom_bounds: Arc::clone(&all[1].custom_bounds),
            ..FloatHistogram::default()
        };
        before = &nothing;
    }
    let is_custom = before.has_custom_bounds();
    if last.has_custom_bounds() != is_custom {
        return Err(Refused);
    }
    let mut schema = last.schema.min(before.schema);
    if is_counter {
        for between in &all[1..all.len() - 1] {
            if is_gauge(between) {
                notes.insert(WindowNote::NotCounter);
            }
            schema = schema.min(between.schema);
            if between.has_custom_bounds() != is_custom {
                return Err(Refused);
            }
        }
    }
    let mut change = FloatHistogram::clone(last);
    change.reduce_resolution(schema);
    if change.subtract(before)?.bounds_differed {
        notes.insert(WindowNote::BoundsDifferedSubtracting);
    }
    if is_counter {
        notes.overlaps += u64::from((low + 1..high).any(|index| overlaps(input, index)));
        for at in 1..all.len() {
            let is_reset = if at == 1 && starts_anew {
                started_anew(input, low + 1) || all[1].is_reset_since(before)
            } else {
                resets.at(low + at)
            };
            if is_reset && change.add(before)?.bounds_differed {
                notes.insert(WindowNote::BoundsDifferedAdding);
            }
            before = all[at];
        }
    } else if !is_gauge(first) || !is_gauge(last) {
        notes.insert(WindowNote::NotGauge);
    }
    change.reset_hint = ResetHint::Gauge;
    change.compact();
    Ok(change)
}

impl Window<'_> {
    /// Stretches a change to the edges of the window; nothing where the window holds too little.
    fn stretch(
        &self,
        step: usize,
        change: Option<Change>,
        per_second: bool,
        notes: &mut WindowNotes,
    ) -> Option<Change> {
        let Self { input, low, high, is_counter } = *self;
        let mut change = change;
        let (left_ms, right_ms) = input.edges(step);
        let (first_ms, last_ms) = (input.timestamps[low], input.timestamps[high - 1]);
        let mut to_start_s = (first_ms - left_ms) as f64 / 1000.0;
        let mut to_end_s = (right_ms - last_ms) as f64 / 1000.0;
        let mut sampled_s = (last_ms - first_ms) as f64 / 1000.0;
        let gaps = high - low - 1;
        let between_s = if gaps > 0 { sampled_s / gaps as f64 } else { 0.0 };
        let threshold_s = between_s * 1.1;
        let start_ms = input.starts_ms.get(low).copied().unwrap_or(0);
        if is_counter && start_ms != 0 && start_ms > left_ms && start_ms < first_ms {
            // The counter was zero at its start, which lies within the window.
            to_start_s = 0.0;
            sampled_s = (last_ms - start_ms) as f64 / 1000.0;
            change = Some(self.with_first(change, notes)?);
        } else if gaps == 0 {
            return None;
        } else {
            if to_start_s >= threshold_s {
                to_start_s = between_s / 2.0;
            }
            if is_counter {
                let (first, grown) = match &change {
                    Some(Change::Float(change)) => (input.values[low], *change),
                    Some(Change::Histogram(change)) => {
                        let first = input.histograms[low].as_ref()?;
                        (first.count, change.count)
                    }
                    None => return None,
                };
                if grown > 0.0 && first >= 0.0 {
                    // A counter was zero at some time; the series did not begin before that.
                    let to_zero_s = sampled_s * (first / grown);
                    if to_zero_s < to_start_s {
                        to_start_s = to_zero_s;
                    }
                }
            }
        }
        if to_end_s >= threshold_s {
            to_end_s = between_s / 2.0;
        }
        let mut factor = 1.0;
        if sampled_s != 0.0 {
            factor = (sampled_s + to_start_s + to_end_s) / sampled_s;
        }
        if per_second {
            factor /= input.range_ms as f64 / 1000.0;
        }
        match change? {
            Change::Float(change) => Some(Change::Float(change * factor)),
            Change::Histogram(mut change) => {
                change.multiply(factor);
                Some(Change::Histogram(change))
            }
        }
    }

    /// The change with all that the first sample counts.
    fn with_first(&self, change: Option<Change>, notes: &mut WindowNotes) -> Option<Change> {
        let first = self.input.histograms.get(self.low).and_then(Option::as_ref);
        Some(match (change, first) {
            (Some(Change::Float(change)), _) => Change::Float(change + self.input.values[self.low]),
            (None, first) => Change::Histogram(FloatHistogram::clone(first?)),
            (Some(Change::Histogram(mut change)), first) => {
                match change.add(first?) {
                    Ok(reconciled) if reconciled.bounds_differed => {
                        notes.insert(WindowNote::BoundsDifferedAdding);
                    }
                    Ok(_) => {}
                    Err(MixedSchemas) => {
                        notes.insert(WindowNote::MixedSchemas);
                        return None;
                    }
                }
                Change::Histogram(change)
            }
        })
    }
}

/// `irate` and `idelta`.
pub(super) fn last_two(
    input: &WindowInput<'_>,
    column: &mut Column,
    notes: &mut WindowNotes,
    is_counter: bool,
) {
    for (step, low, high) in input.filled().filter(|(_, low, high)| high - low > 1) {
        let slots = |index: usize| input.histograms.get(index).and_then(Option::as_ref);
        let seconds = (input.timestamps[high - 1] - input.timestamps[high - 2]) as f64 / 1000.0;
        match (slots(high - 2), slots(high - 1)) {
            (None, None) => {
                let any = (low..high).any(|index| slots(index).is_some());
                if !any && input.starts_ms.is_empty() {
                    continue;
                }
                let (before, last) = (input.values[high - 2], input.values[high - 1]);
                let is_reset = is_counter && (last < before || started_anew(input, high - 1));
                let change = if is_reset { last } else { last - before };
                column.set(step, if is_counter { change / seconds } else { change });
            }
            (Some(before), Some(last)) => {
                match histogram_step(input, high - 1, (before, last), is_counter, notes) {
                    Some(mut change) => {
                        if is_counter {
                            change.divide(seconds);
                        }
                        column.set_histogram(step, Arc::new(change));
                    }
                    None => column.valid.unset(step),
                }
            }
            _ => {
                notes.insert(WindowNote::MixedKinds);
                column.valid.unset(step);
            }
        }
    }
}

/// The change from one histogram to the next, which is sample `index`.
fn histogram_step(
    input: &WindowInput<'_>,
    index: usize,
    (before, last): (&FloatHistogram, &FloatHistogram),
    is_counter: bool,
    notes: &mut WindowNotes,
) -> Option<FloatHistogram> {
    let gauges = [before, last].map(|histogram| histogram.reset_hint == ResetHint::Gauge);
    if is_counter && gauges.contains(&true) {
        notes.insert(WindowNote::NotCounter);
    }
    if !is_counter && gauges.contains(&false) {
        notes.insert(WindowNote::NotGauge);
    }
    let mut change = last.clone();
    if !is_counter || !(started_anew(input, index) || last.is_reset_since(before)) {
        match change.subtract(before) {
            Ok(reconciled) if reconciled.bounds_differed => {
                notes.insert(WindowNote::BoundsDifferedSubtracting);
            }
            Ok(_) => {}
            Err(MixedSchemas) => {
                notes.insert(WindowNote::MixedSchemas);
                return None;
            }
        }
    }
    change.reset_hint = ResetHint::Gauge;
    change.compact();
    Some(change)
}
