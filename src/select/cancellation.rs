//! What running work is told and asked from outside: to stop, and what it may hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::SelectError;
use super::memory::{Account, Charge};

/// Why work was ended early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// The client went away, or the process stops.
    Canceled,
    /// The deadline passed.
    TimedOut,
}

/// Tells running work to stop: by hand from another thread, or at a deadline. Carries the account
/// that the work takes its memory from.
///
/// Work calls [`Cancellation::check`] at least every few milliseconds. Cloning shares it.
#[derive(Debug, Clone, Default)]
pub struct Cancellation {
    canceled: Arc<AtomicBool>,
    /// Stops this work with others.
    above: Option<Arc<AtomicBool>>,
    deadline: Option<Instant>,
    account: Option<Arc<Account>>,
}

impl Cancellation {
    /// Never stops by itself.
    pub fn new() -> Self {
        Self::default()
    }

    /// Stops at `deadline`.
    pub fn at(deadline: Instant) -> Self {
        Self { deadline: Some(deadline), ..Self::default() }
    }

    /// The same, and stops with `other` too, which was made by [`Cancellation::new`].
    #[must_use]
    pub fn under(self, other: &Self) -> Self {
        Self { above: Some(Arc::clone(&other.canceled)), ..self }
    }

    /// The same work, which stops at `deadline` if not before.
    #[must_use]
    pub fn until(&self, deadline: Option<Instant>) -> Self {
        let deadline = match (self.deadline, deadline) {
            (Some(own), Some(other)) => Some(own.min(other)),
            (own, other) => own.or(other),
        };
        Self { deadline, ..self.clone() }
    }

    /// The same work, which takes its memory from `account`.
    #[must_use]
    pub fn within(&self, account: Arc<Account>) -> Self {
        Self { account: Some(account), ..self.clone() }
    }

    /// Stops the work.
    pub fn cancel(&self) {
        self.canceled.store(true, Ordering::Relaxed);
    }

    /// Whether it was stopped by hand; the deadline is not looked at.
    #[inline]
    pub fn is_canceled(&self) -> bool {
        self.canceled.load(Ordering::Relaxed)
            || self.above.as_ref().is_some_and(|above| above.load(Ordering::Relaxed))
    }

    /// `Err` once the work should end.
    pub fn check(&self) -> Result<(), Stopped> {
        if self.is_canceled() {
            return Err(Stopped::Canceled);
        }
        match self.deadline {
            Some(deadline) if Instant::now() >= deadline => Err(Stopped::TimedOut),
            _ => Ok(()),
        }
    }

    /// Where memory is taken from, if it is counted.
    pub fn account(&self) -> Option<&Arc<Account>> {
        self.account.as_ref()
    }

    /// A charge of the account, empty so far.
    pub fn charge(&self) -> Charge {
        Charge::new(self.account.clone())
    }

    /// An error where one selection of so many series is too large.
    pub fn check_series(&self, series: u64) -> Result<(), SelectError> {
        let account = self.account.as_ref();
        account.map_or(Ok(()), |account| account.check_series(series)).map_err(SelectError::from)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn work_stops_by_hand_by_time_and_with_what_is_above() {
        let all = Cancellation::new();
        let one = Cancellation::new().under(&all);
        let same = one.until(Some(Instant::now() + Duration::from_hours(1)));
        assert!(one.check().is_ok() && same.check().is_ok());
        assert_eq!(one.until(Some(Instant::now())).check(), Err(Stopped::TimedOut));
        let late = Cancellation::at(Instant::now()).until(None);
        assert_eq!(late.check(), Err(Stopped::TimedOut));
        one.cancel();
        assert_eq!(same.check(), Err(Stopped::Canceled));
        let other = Cancellation::new().under(&all);
        all.cancel();
        assert_eq!(other.check(), Err(Stopped::Canceled));
    }
}
