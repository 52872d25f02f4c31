//! What a query may hold in memory, and how long it may run.
//!
//! Slots of columns and samples of windows count alike; they are charged before they are
//! allocated.

use std::cell::Cell;
use std::time::Instant;

use super::engine::QueryError;
use crate::select::{Cancellation, Stopped};

/// The budget of one query.
#[derive(Debug)]
pub(super) struct Budget<'a> {
    max_samples: usize,
    held: Cell<usize>,
    peak: Cell<usize>,
    looked_at: Cell<u64>,
    samples_read: Cell<u64>,
    /// Calls of [`Budget::check_time`] left until it looks at the clock.
    calls_left: Cell<u32>,
    /// What `looked_at` was when the clock was looked at.
    checked_at: Cell<u64>,
    deadline: Option<Instant>,
    cancellation: &'a Cancellation,
}

impl<'a> Budget<'a> {
    /// A budget of `max_samples` that ends at `deadline`.
    pub(super) fn new(
        max_samples: usize,
        deadline: Option<Instant>,
        cancellation: &'a Cancellation,
    ) -> Self {
        Self {
            max_samples,
            held: Cell::new(0),
            peak: Cell::new(0),
            looked_at: Cell::new(0),
            samples_read: Cell::new(0),
            calls_left: Cell::new(0),
            checked_at: Cell::new(0),
            deadline,
            cancellation,
        }
    }

    /// Takes `samples` until [`Budget::release`].
    pub(super) fn charge(&self, samples: usize) -> Result<(), QueryError> {
        let held = self.held.get().saturating_add(samples);
        if held > self.max_samples {
            return Err(QueryError::TooManySamples);
        }
        self.held.set(held);
        self.peak.set(self.peak.get().max(held));
        Ok(())
    }

    /// Gives back what was charged.
    pub(super) fn release(&self, samples: usize) {
        self.held.set(self.held.get().saturating_sub(samples));
    }

    /// An error where `columns` columns of `steps` could not be charged now.
    pub(super) fn ensure(&self, columns: usize, steps: usize) -> Result<(), QueryError> {
        let held = self.held.get().saturating_add(columns.saturating_mul(steps));
        if held > self.max_samples {
            return Err(QueryError::TooManySamples);
        }
        self.peak.set(self.peak.get().max(held));
        Ok(())
    }

    /// An error once the query should end. Cheap enough for once per series: the clock, which
    /// costs more than a short series, is asked every few calls, or after long work.
    pub(super) fn check_time(&self) -> Result<(), QueryError> {
        const CALLS: u32 = 16;
        const SAMPLES: u64 = 20_000;
        let long = self.looked_at.get() - self.checked_at.get() >= SAMPLES;
        if self.calls_left.get() > 0 && !long && !self.cancellation.is_canceled() {
            self.calls_left.set(self.calls_left.get() - 1);
            return Ok(());
        }
        self.calls_left.set(CALLS - 1);
        self.checked_at.set(self.looked_at.get());
        self.cancellation.check()?;
        match self.deadline {
            Some(deadline) if Instant::now() >= deadline => Err(Stopped::TimedOut.into()),
            _ => Ok(()),
        }
    }

    /// Counts samples that a selector looked at, each of which it read.
    pub(super) fn look_at(&self, samples: u64) {
        self.look_at_windows(samples, samples);
    }

    /// Counts samples that a selector looked at in windows, and how many it read for that.
    pub(super) fn look_at_windows(&self, samples: u64, read: u64) {
        self.samples_read.set(self.samples_read.get().saturating_add(read));
        self.looked_at.set(self.looked_at.get().saturating_add(samples));
    }

    /// What the caller uses to stop the query.
    pub(super) fn cancellation(&self) -> &'a Cancellation {
        self.cancellation
    }

    /// Most samples held at a time so far.
    pub(super) fn peak(&self) -> usize {
        self.peak.get()
    }

    /// Samples read so far.
    pub(super) fn samples_read(&self) -> u64 {
        self.samples_read.get()
    }

    /// Samples looked at so far.
    pub(super) fn looked_at(&self) -> u64 {
        self.looked_at.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_much_is_refused_before_it_is_held() {
        let cancellation = Cancellation::new();
        let budget = Budget::new(10, None, &cancellation);
        budget.charge(8).unwrap();
        assert!(matches!(budget.charge(3), Err(QueryError::TooManySamples)));
        assert!(matches!(budget.ensure(usize::MAX, 2), Err(QueryError::TooManySamples)));
        budget.release(8);
        budget.charge(10).unwrap();
        assert_eq!(budget.peak(), 10);
        cancellation.cancel();
        assert!(matches!(budget.check_time(), Err(QueryError::Canceled)));
    }
}
