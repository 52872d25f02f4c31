//! What a query may hold in memory, and how long it may run.
//!
//! Two counts are kept. Samples are Prometheus's measure: slots of columns and samples of windows
//! alike, bounded by `query.max-samples`. Bytes are ours: the same slots and samples, and what
//! labels and series take besides, bounded for the query and for all queries together by the
//! account that comes with the [`Cancellation`]. Both are charged before they are allocated.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use super::columns::{Column, Sample};
use super::cores::{Cores, Turn};
use super::engine::QueryError;
use super::tally::{Tallies, Tally};
use crate::select::{Cancellation, Limit, LimitReached, SAMPLE_BYTES};

/// Steps that one operator goes over between two looks at whether the query is to end: with a
/// microsecond a step, which few operators take, that is some ten milliseconds.
pub(super) const STEPS_PER_LOOK: usize = 1 << 14;

/// What a warning about a value counts as: there may be as many as values.
pub(super) const NOTE_BYTES: u64 = 256;

/// The budget of one query.
#[derive(Debug)]
pub(super) struct Budget<'a> {
    max_samples: usize,
    held: AtomicUsize,
    peak: AtomicUsize,
    /// Bytes taken from the account.
    bytes: AtomicU64,
    /// Samples gone over.
    work: AtomicU64,
    tallies: Tallies,
    /// Calls of [`Budget::check_time`] left until it looks at the clock.
    calls_left: AtomicU32,
    /// What `work` was when the clock was looked at.
    checked_at: AtomicU64,
    cancellation: &'a Cancellation,
    /// What it has of the processor, if it has to take turns.
    turn: Option<Turn<'a>>,
}

impl<'a> Budget<'a> {
    /// A budget of `max_samples`, and of the account and the time that `cancellation` gives.
    pub(super) fn new(
        max_samples: usize,
        tallies: Tallies,
        cancellation: &'a Cancellation,
    ) -> Self {
        Self {
            max_samples,
            held: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
            bytes: AtomicU64::new(0),
            work: AtomicU64::new(0),
            tallies,
            calls_left: AtomicU32::new(0),
            checked_at: AtomicU64::new(0),
            cancellation,
            turn: None,
        }
    }

    /// The same, of a query that takes turns with others once it turns out to be long.
    pub(super) fn taking_turns(mut self, cores: &'a Cores) -> Self {
        self.turn = Some(Turn::new(cores));
        self
    }

    /// Takes `samples` until [`Budget::release`].
    pub(super) fn charge(&self, samples: usize) -> Result<(), QueryError> {
        let held = self.held.fetch_add(samples, Ordering::Relaxed).saturating_add(samples);
        if held > self.max_samples {
            self.held.fetch_sub(samples, Ordering::Relaxed);
            return Err(self.too_many(held));
        }
        self.charge_bytes((samples as u64).saturating_mul(SAMPLE_BYTES)).inspect_err(|_| {
            self.held.fetch_sub(samples, Ordering::Relaxed);
        })?;
        self.peak.fetch_max(held, Ordering::Relaxed);
        Ok(())
    }

    /// Gives back what was charged.
    pub(super) fn release(&self, samples: usize) {
        let held = self.held.load(Ordering::Relaxed);
        let samples = samples.min(held);
        self.held.fetch_sub(samples, Ordering::Relaxed);
        self.release_bytes((samples as u64).saturating_mul(SAMPLE_BYTES));
    }

    /// Takes `bytes` that are no samples until [`Budget::release_bytes`].
    pub(super) fn charge_bytes(&self, bytes: u64) -> Result<(), QueryError> {
        if let Some(account) = self.cancellation.account() {
            account.take(bytes)?;
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Gives back bytes that were charged.
    pub(super) fn release_bytes(&self, bytes: u64) {
        if let Some(account) = self.cancellation.account() {
            let bytes = bytes.min(self.bytes.load(Ordering::Relaxed));
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
            account.give_back(bytes);
        }
    }

    /// An error where `columns` columns of `steps` could not be charged now.
    pub(super) fn ensure(&self, columns: usize, steps: usize) -> Result<(), QueryError> {
        let samples = columns.saturating_mul(steps);
        let held = self.held.load(Ordering::Relaxed).saturating_add(samples);
        if held > self.max_samples {
            return Err(self.too_many(held));
        }
        if let Some(account) = self.cancellation.account() {
            let bytes = (samples as u64).saturating_mul(SAMPLE_BYTES);
            account.take(bytes)?;
            account.give_back(bytes);
        }
        self.peak.fetch_max(held, Ordering::Relaxed);
        Ok(())
    }

    /// How many samples more it could take.
    pub(super) fn room(&self) -> usize {
        self.max_samples.saturating_sub(self.held.load(Ordering::Relaxed))
    }

    fn too_many(&self, asked: usize) -> QueryError {
        let (asked, max) = (asked as u64, self.max_samples as u64);
        LimitReached { limit: Limit::Samples, asked, max }.into()
    }

    /// An error once the query should end. Cheap enough for once per series: the clock, which
    /// costs more than a short series, is asked every few calls, or after long work.
    pub(super) fn check_time(&self) -> Result<(), QueryError> {
        const CALLS: u32 = 16;
        const SAMPLES: u64 = 20_000;
        let work = self.work.load(Ordering::Relaxed);
        let long = work.saturating_sub(self.checked_at.load(Ordering::Relaxed)) >= SAMPLES;
        let calls_left = self.calls_left.load(Ordering::Relaxed);
        if calls_left > 0 && !long && !self.cancellation.is_canceled() {
            self.calls_left.store(calls_left - 1, Ordering::Relaxed);
            return Ok(());
        }
        self.calls_left.store(CALLS - 1, Ordering::Relaxed);
        self.checked_at.store(work, Ordering::Relaxed);
        self.cancellation.check()?;
        if let Some(turn) = &self.turn {
            turn.look(self.cancellation)?;
        }
        Ok(())
    }

    /// An error once the query should end: for once per some thousand steps.
    pub(super) fn look(&self) -> Result<(), QueryError> {
        self.calls_left.store(0, Ordering::Relaxed);
        self.check_time()
    }

    /// Does the work of `steps` steps, a part of them at a time with a look before each; each part
    /// begins at a multiple of 64. So many that it looks at all are seldom.
    pub(super) fn in_pieces(
        &self,
        steps: usize,
        mut work: impl FnMut(Range<usize>),
    ) -> Result<(), QueryError> {
        if steps <= STEPS_PER_LOOK {
            work(0..steps);
            return Ok(());
        }
        for start in (0..steps).step_by(STEPS_PER_LOOK) {
            self.look()?;
            work(start..steps.min(start + STEPS_PER_LOOK));
        }
        Ok(())
    }

    /// Changes a column by what looks at one step at a time: at once, or piece after piece.
    pub(super) fn change(
        &self,
        column: &mut Column,
        mut change: impl FnMut(&mut Column, Range<usize>),
    ) -> Result<(), QueryError> {
        let steps = column.steps();
        if steps <= STEPS_PER_LOOK {
            change(column, 0..steps);
            return Ok(());
        }
        self.in_pieces(steps, |steps| {
            let mut piece = column.take_piece(steps.clone());
            change(&mut piece, steps.clone());
            column.put_piece(steps, piece);
        })
    }

    /// The same value at every step.
    pub(super) fn constant(&self, steps: usize, value: f64) -> Result<Column, QueryError> {
        if steps <= STEPS_PER_LOOK {
            return Ok(Column::constant(steps, value));
        }
        let mut values = Vec::with_capacity(steps);
        self.in_pieces(steps, |steps| values.resize(steps.end, value))?;
        Ok(Column::dense(values))
    }

    /// A column of `steps` equal slots out of one of a single step.
    pub(super) fn repeated(&self, one: &Column, steps: usize) -> Result<Column, QueryError> {
        match one.sample(0) {
            Some(Sample::Float(value)) => self.constant(steps, value),
            Some(Sample::Histogram(histogram)) => {
                let mut histograms = Vec::with_capacity(steps);
                self.in_pieces(steps, |steps| {
                    histograms.resize(steps.end, Some(Arc::clone(histogram)));
                })?;
                Ok(Column { histograms, ..self.constant(steps, 0.0)? })
            }
            None => Ok(Column::empty(steps)),
        }
    }

    /// A number for each step.
    pub(super) fn computed(
        &self,
        steps: usize,
        mut value: impl FnMut(usize) -> f64,
    ) -> Result<Column, QueryError> {
        let mut values = Vec::with_capacity(steps);
        self.in_pieces(steps, |steps| values.extend(steps.map(&mut value)))?;
        Ok(Column::dense(values))
    }

    /// Tells that so many samples were gone over since it was told last.
    pub(super) fn note_work(&self, samples: u64) {
        self.work.fetch_add(samples, Ordering::Relaxed);
    }

    /// Where the selectors of `scope` count samples.
    pub(super) fn tally(&self, scope: usize) -> &Tally {
        self.tallies.of(scope)
    }

    /// What selectors counted.
    pub(super) fn tallies(&self) -> &Tallies {
        &self.tallies
    }

    /// What the caller uses to stop the query.
    pub(super) fn cancellation(&self) -> &'a Cancellation {
        self.cancellation
    }

    /// Most samples held at a time so far.
    pub(super) fn peak(&self) -> usize {
        self.peak.load(Ordering::Relaxed)
    }
}

impl Drop for Budget<'_> {
    fn drop(&mut self) {
        self.release_bytes(u64::MAX);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::select::{Account, MemoryPool};

    #[test]
    fn what_is_too_much_is_refused_before_it_is_held() {
        let cancellation = Cancellation::new();
        let budget = Budget::new(10, Tallies::new(&[], false), &cancellation);
        budget.charge(8).unwrap();
        let reached = |asked| LimitReached { limit: Limit::Samples, asked, max: 10 };
        let error = budget.charge(3).unwrap_err();
        assert!(matches!(error, QueryError::Limit(found) if found == reached(11)));
        let error = budget.ensure(usize::MAX, 2).unwrap_err();
        assert!(matches!(error, QueryError::Limit(found) if found == reached(u64::MAX)));
        budget.release(8);
        budget.charge(10).unwrap();
        assert_eq!(budget.peak(), 10);
        cancellation.cancel();
        assert!(matches!(budget.check_time(), Err(QueryError::Canceled)));
    }

    #[test]
    fn samples_are_charged_as_bytes_and_all_of_them_are_given_back() {
        let pool = Arc::new(MemoryPool::new(1000));
        let account = Arc::new(Account::new(Arc::clone(&pool), 200, 1));
        let cancellation = Cancellation::new().within(Arc::clone(&account));
        let budget = Budget::new(1000, Tallies::new(&[], false), &cancellation);
        budget.charge(10).unwrap();
        budget.charge_bytes(30).unwrap();
        assert_eq!((account.held(), pool.held()), (190, 190));
        let error = budget.charge(1).unwrap_err();
        assert!(matches!(error, QueryError::Limit(found) if found.limit == Limit::Memory));
        assert!(budget.ensure(1, 1).is_err());
        budget.release(4);
        assert_eq!(account.held(), 126);
        budget.charge(1).unwrap();
        budget.release_bytes(30);
        drop(budget);
        assert_eq!((account.held(), pool.held()), (0, 0));
    }
}
