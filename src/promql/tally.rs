//! How many samples a query looks at and reads, as Prometheus counts them.
//!
//! Selectors count, each for the scope that it stands in. The query is a scope; so is a part that
//! is evaluated once for all steps, and the inside of a subquery. A sample that a window holds at
//! several steps is looked at in each of them and read in the first. Of a subquery inside a call
//! the windows over its steps are what is looked at; what is read is what lies below, so far as
//! the windows reach it. A histogram counts as the samples that it is as large as.
//!
//! COMPAT: numbers as `stats` of Prometheus's API shows them, step by step if asked for.

use std::sync::atomic::{AtomicU64, Ordering};

use super::budget::STEPS_PER_LOOK;
use super::columns::{Column, Grid, Sample};
use super::engine::QueryError;
use super::windows::WindowInput;
use crate::select::{Cancellation, Charge, SAMPLE_BYTES};

/// The scope of the whole query.
pub(super) const WHOLE: usize = 0;

/// A part of a query with steps of its own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scope {
    /// Its steps.
    pub grid: Grid,
    /// The scope around it, and how it stands there; none for the whole query. Whatever is around
    /// comes first.
    pub outer: Option<(usize, Place)>,
}

/// How a scope stands in the one around it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place {
    /// Its one step serves all outer ones.
    Once,
    /// The inside of a subquery that a call takes windows of.
    Windows { offset_ms: i64, range_ms: i64 },
    /// The inside of a subquery that is the whole query.
    Matrix,
}

/// Samples looked at, and read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counted {
    pub looked_at: u64,
    pub read: u64,
}

/// What was counted in one scope.
#[derive(Debug)]
pub(super) struct Tally {
    scope: Scope,
    looked_at: AtomicU64,
    read: AtomicU64,
    /// The same for each step; empty where nobody asks.
    steps: Vec<(AtomicU64, AtomicU64)>,
}

impl Tally {
    fn new(scope: Scope, by_step: bool, cancellation: &Cancellation) -> Result<Self, QueryError> {
        let slots = if by_step { scope.grid.steps } else { 0 };
        let mut steps = Vec::with_capacity(slots);
        while steps.len() < slots {
            cancellation.check()?;
            let more = (slots - steps.len()).min(STEPS_PER_LOOK);
            steps.extend((0..more).map(|_| (AtomicU64::new(0), AtomicU64::new(0))));
        }
        Ok(Self { scope, looked_at: AtomicU64::new(0), read: AtomicU64::new(0), steps })
    }

    fn add(&self, looked_at: u64, read: u64) {
        self.looked_at.fetch_add(looked_at, Ordering::Relaxed);
        self.read.fetch_add(read, Ordering::Relaxed);
    }

    fn add_at(&self, step: usize, looked_at: u64, read: u64) {
        if let Some(slot) = self.steps.get(step) {
            slot.0.fetch_add(looked_at, Ordering::Relaxed);
            slot.1.fetch_add(read, Ordering::Relaxed);
        }
    }

    /// Counts at step `step`.
    pub(super) fn count_at(&self, step: usize, looked_at: u64, read: u64) {
        self.add(looked_at, read);
        self.add_at(step, looked_at, read);
    }

    /// Counts the samples that an instant selector found for one series, from step `first` on.
    pub(super) fn count_column(&self, column: &Column, first: usize) {
        if self.steps.is_empty() && !column.has_histograms() {
            let count = column.valid.count() as u64;
            return self.add(count, count);
        }
        for (step, sample) in column.samples() {
            let size = match sample {
                Sample::Float(_) => 1,
                Sample::Histogram(histogram) => histogram.samples() as u64,
            };
            self.count_at(first + step, size, size);
        }
    }

    /// Counts the windows of one series, from step `first` on; with `reads` its samples come from
    /// storage.
    pub(super) fn count_windows(&self, input: &WindowInput<'_>, reads: bool, first: usize) {
        if self.steps.is_empty() && input.histograms.is_empty() {
            return self.add(input.in_windows, if reads { input.read } else { 0 });
        }
        let mut known = input.known;
        let size = |index: usize| match input.histograms.get(index) {
            Some(Some(histogram)) => histogram.samples() as u64,
            _ => 1,
        };
        // What lies before each sample; where all are floats, its index.
        let before: Vec<u64> = if input.histograms.is_empty() {
            Vec::new()
        } else {
            let add = |sum: &mut u64, index: usize| {
                *sum += size(index);
                Some(*sum)
            };
            std::iter::once(0).chain((0..input.timestamps.len()).scan(0, add)).collect()
        };
        let upto = |index: usize| before.get(index).copied().unwrap_or(index as u64);
        for (step, &(low, high)) in input.bounds.iter().enumerate() {
            let (low, high) = (low as usize, high as usize);
            if low < high {
                let fresh = low.max(known).min(high);
                let read = if reads { upto(high) - upto(fresh) } else { 0 };
                self.count_at(first + step, upto(high) - upto(low), read);
            }
            known = high;
        }
    }

    fn counted(&self) -> Counted {
        Counted {
            looked_at: self.looked_at.load(Ordering::Relaxed),
            read: self.read.load(Ordering::Relaxed),
        }
    }
}

/// What was counted in a query.
#[derive(Debug)]
pub(super) struct Tallies {
    tallies: Vec<Tally>,
    _charge: Charge,
}

impl Tallies {
    /// Nothing yet; with `by_step` it is to be told for each step of the query. Steps may be many,
    /// and are charged for before there is anything.
    pub(super) fn charged(
        scopes: &[Scope],
        by_step: bool,
        cancellation: &Cancellation,
    ) -> Result<Self, QueryError> {
        let mut asked: Vec<bool> = Vec::with_capacity(scopes.len());
        for scope in scopes {
            asked.push(match scope.outer {
                None => by_step,
                Some((_, Place::Once | Place::Matrix)) => false,
                Some((outer, Place::Windows { range_ms, .. })) => {
                    // What lies between two windows does not count.
                    let grid = scopes[outer].grid;
                    let is_outer_asked = asked[outer] && grid.steps > 0;
                    grid.steps > 1 && (grid.step_ms > range_ms || is_outer_asked)
                }
            });
        }
        let slots = |(scope, asked): (&Scope, &bool)| if *asked { scope.grid.steps } else { 0 };
        let slots = scopes.iter().zip(&asked).map(slots).fold(0, usize::saturating_add);
        let mut charge = cancellation.charge();
        charge.set((slots as u64).saturating_mul(SAMPLE_BYTES))?;
        let mut tallies = Vec::with_capacity(scopes.len());
        for (&scope, asked) in scopes.iter().zip(asked) {
            tallies.push(Tally::new(scope, asked, cancellation)?);
        }
        Ok(Self { tallies, _charge: charge })
    }

    /// The same, with nobody to be charged.
    #[cfg(test)]
    pub(super) fn new(scopes: &[Scope], by_step: bool) -> Self {
        Self::charged(scopes, by_step, &Cancellation::new()).unwrap()
    }

    /// Where selectors of a scope count.
    pub(super) fn of(&self, scope: usize) -> &Tally {
        &self.tallies[scope]
    }

    /// What the whole query counted, and that of each step where it is known. To be asked once,
    /// at the end.
    pub(super) fn sum_up(&self) -> (Counted, Vec<Counted>) {
        for tally in self.tallies.iter().rev() {
            let Some((outer, place)) = tally.scope.outer else { continue };
            let (outer, counted) = (&self.tallies[outer], tally.counted());
            let steps = outer.scope.grid.steps;
            match place {
                Place::Once => {
                    outer.add(counted.looked_at.saturating_mul(steps as u64), counted.read);
                    for step in 0..outer.steps.len() {
                        outer.add_at(step, counted.looked_at, 0);
                    }
                    outer.add_at(0, 0, counted.read);
                }
                Place::Matrix => outer.count_at(0, counted.looked_at, counted.read),
                Place::Windows { .. } if tally.steps.is_empty() => {
                    outer.count_at(0, 0, counted.read);
                }
                Place::Windows { offset_ms, range_ms } => {
                    merge(tally, outer, offset_ms, range_ms);
                }
            }
        }
        let whole = &self.tallies[WHOLE];
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let steps = whole.steps.iter();
        let steps =
            steps.map(|(looked_at, read)| Counted { looked_at: load(looked_at), read: load(read) });
        (whole.counted(), steps.collect())
    }
}

/// Counts what the steps of a subquery read for the outer steps whose windows are the first to
/// hold them.
fn merge(inner: &Tally, outer: &Tally, offset_ms: i64, range_ms: i64) {
    let grid = outer.scope.grid;
    let Some(last) = grid.steps.checked_sub(1) else { return };
    for (index, (_, read)) in inner.steps.iter().enumerate() {
        let read = read.load(Ordering::Relaxed);
        let t_ms = inner.scope.grid.time_ms(index).saturating_add(offset_ms);
        let behind_ms = t_ms.saturating_sub(grid.start_ms).max(0) as u64;
        let step = (behind_ms.div_ceil(grid.step_ms.max(1) as u64) as usize).min(last);
        if t_ms > grid.time_ms(step).saturating_sub(range_ms) {
            outer.count_at(step, 0, read);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(start_ms: i64, step_ms: i64, steps: usize) -> Grid {
        Grid { start_ms, step_ms, steps }
    }

    fn counted(looked_at: u64, read: u64) -> Counted {
        Counted { looked_at, read }
    }

    #[test]
    fn what_is_evaluated_once_is_looked_at_in_each_step_and_read_in_the_first() {
        let scopes = [
            Scope { grid: grid(0, 10, 3), outer: None },
            Scope { grid: grid(0, 10, 1), outer: Some((WHOLE, Place::Once)) },
        ];
        let tallies = Tallies::new(&scopes, true);
        tallies.of(1).count_at(0, 5, 5);
        tallies.of(WHOLE).count_at(2, 1, 1);
        let steps = vec![counted(5, 5), counted(5, 0), counted(6, 1)];
        assert_eq!(tallies.sum_up(), (counted(16, 6), steps));
    }

    #[test]
    fn what_a_subquery_reads_between_windows_does_not_count() {
        // Windows of 10 ms at 100, 150 and 200 ms; inner steps every 5 ms.
        let place = Place::Windows { offset_ms: 0, range_ms: 10 };
        let scopes = [
            Scope { grid: grid(100, 50, 3), outer: None },
            Scope { grid: grid(95, 5, 22), outer: Some((WHOLE, place)) },
        ];
        let tallies = Tallies::new(&scopes, false);
        for step in 0..22 {
            tallies.of(1).count_at(step, 1, 1);
        }
        assert_eq!(tallies.sum_up(), (counted(0, 6), Vec::new()));
    }
}
