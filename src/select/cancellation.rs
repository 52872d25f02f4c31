//! What running work is told and asked from outside: to stop, and what it may hold.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
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

/// How often it is asked whether anybody waits for the answer.
const ASKED_EVERY_MS: u64 = 10;

/// Tells running work to stop: by hand from another thread, at a deadline, or where a question
/// says that nobody waits for it. Carries the account that the work takes its memory from.
///
/// Work calls [`Cancellation::check`] at least every few milliseconds. Cloning shares it.
#[derive(Debug, Clone, Default)]
pub struct Cancellation {
    canceled: Arc<AtomicBool>,
    /// Stops this work with others.
    above: Option<Arc<AtomicBool>>,
    deadline: Option<Instant>,
    account: Option<Arc<Account>>,
    question: Option<Arc<Question>>,
}

/// Whether nobody waits any more, asked now and then.
struct Question {
    is_gone: Arc<dyn Fn() -> bool + Send + Sync>,
    /// Not asked more often; 0: at each look.
    every_ms: u64,
    begun: Instant,
    /// When it is asked next, in milliseconds after `begun`.
    next_ms: AtomicU64,
}

impl fmt::Debug for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Question").field("begun", &self.begun).finish_non_exhaustive()
    }
}

impl Question {
    /// The answer; no, where it was asked a moment ago.
    fn says_gone(&self, now: Instant) -> bool {
        if self.every_ms == 0 {
            return (self.is_gone)();
        }
        let since_ms = now.saturating_duration_since(self.begun).as_millis() as u64;
        if since_ms < self.next_ms.load(Ordering::Relaxed) {
            return false;
        }
        self.next_ms.store(since_ms + self.every_ms, Ordering::Relaxed);
        (self.is_gone)()
    }
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

    /// The same work, which stops where `is_gone` says so; it is asked every few milliseconds, by
    /// the work itself.
    #[must_use]
    pub fn asking(self, is_gone: Arc<dyn Fn() -> bool + Send + Sync>) -> Self {
        self.asked_every(ASKED_EVERY_MS, is_gone)
    }

    /// The same work, which stops at the first look at which `is_over` says so: for those who
    /// want to know how often it looks.
    #[must_use]
    pub fn asking_each_look(self, is_over: Arc<dyn Fn() -> bool + Send + Sync>) -> Self {
        self.asked_every(0, is_over)
    }

    fn asked_every(self, every_ms: u64, is_gone: Arc<dyn Fn() -> bool + Send + Sync>) -> Self {
        let next_ms = AtomicU64::new(every_ms);
        let question = Question { is_gone, every_ms, begun: Instant::now(), next_ms };
        Self { question: Some(Arc::new(question)), ..self }
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
        if self.deadline.is_none() && self.question.is_none() {
            return Ok(());
        }
        let now = Instant::now();
        if self.deadline.is_some_and(|deadline| now >= deadline) {
            return Err(Stopped::TimedOut);
        }
        if self.question.as_ref().is_some_and(|question| question.says_gone(now)) {
            self.cancel();
            return Err(Stopped::Canceled);
        }
        Ok(())
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

    #[test]
    fn work_stops_where_nobody_waits_and_asks_now_and_then() {
        let (asked, gone) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let question = {
            let (asked, gone) = (Arc::clone(&asked), Arc::clone(&gone));
            move || {
                asked.fetch_add(1, Ordering::Relaxed);
                gone.load(Ordering::Relaxed)
            }
        };
        let begun = Instant::now();
        let work = Cancellation::new().asking(Arc::new(question));
        while asked.load(Ordering::Relaxed) < 3 {
            assert!(work.clone().check().is_ok());
        }
        assert!(begun.elapsed() >= Duration::from_millis(3 * ASKED_EVERY_MS));
        gone.store(true, Ordering::Relaxed);
        while work.check().is_ok() {}
        assert_eq!(work.until(None).check(), Err(Stopped::Canceled));
    }
}
