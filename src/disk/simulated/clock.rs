//! A clock that stands still until it is told to move.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::disk::Clock;

/// Time as a test sets it; clones share it.
#[derive(Debug, Clone)]
pub struct SimulatedClock(Arc<Mutex<Times>>);

#[derive(Debug)]
struct Times {
    now_ms: i64,
    monotonic: Duration,
}

impl SimulatedClock {
    /// A clock that shows `now_ms` (milliseconds since the Unix epoch), at monotonic time zero.
    pub fn new(now_ms: i64) -> Self {
        Self(Arc::new(Mutex::new(Times { now_ms, monotonic: Duration::ZERO })))
    }

    /// Lets time pass, on both clocks.
    pub fn advance(&self, by: Duration) {
        let mut times = self.times();
        times.now_ms = times.now_ms.saturating_add(by.as_millis() as i64);
        times.monotonic += by;
    }

    /// Sets the wall clock, forwards or back; monotonic time does not notice.
    pub fn set_now_ms(&self, now_ms: i64) {
        self.times().now_ms = now_ms;
    }

    fn times(&self) -> MutexGuard<'_, Times> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for SimulatedClock {
    fn now_ms(&self) -> i64 {
        self.times().now_ms
    }

    fn monotonic(&self) -> Duration {
        self.times().monotonic
    }
}
