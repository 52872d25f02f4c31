//! Long queries take turns: no more of them compute at a time than the machine has cores, so that
//! a short query, which asks for no turn, finds a core soon however many long ones there are.
//!
//! Turns go by the order of asking, and last a moment where somebody waits. Whoever waits still
//! ends when its time is over or its client has gone.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use crate::select::{Cancellation, Stopped};

/// A query that has computed for so long is a long one.
const SHORT: Duration = Duration::from_millis(20);
/// How long a turn lasts where others wait.
const TURN: Duration = Duration::from_millis(20);
/// How often those that wait look whether they are to go on.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The cores that all long queries of a process share.
#[derive(Debug)]
pub(super) struct Cores {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    free: usize,
    /// Those that wait, in the order of asking.
    waiting: VecDeque<u64>,
    /// The number of the next one that waits.
    next: u64,
}

impl Cores {
    /// So many.
    pub(super) fn new(count: usize) -> Self {
        let state = State { free: count.max(1), waiting: VecDeque::new(), next: 0 };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a core.
    fn enter(&self, cancellation: &Cancellation) -> Result<(), Stopped> {
        let mut state = self.lock();
        let own = state.next;
        state.next += 1;
        state.waiting.push_back(own);
        loop {
            if state.free > 0 && state.waiting.front() == Some(&own) {
                state.free -= 1;
                state.waiting.pop_front();
                // There may be a core for the next one too.
                self.changed.notify_all();
                return Ok(());
            }
            if let Err(stopped) = cancellation.check() {
                state.waiting.retain(|waiting| *waiting != own);
                self.changed.notify_all();
                return Err(stopped);
            }
            let waited = self.changed.wait_timeout(state, LOOK_EVERY);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn leave(&self) {
        self.lock().free += 1;
        self.changed.notify_all();
    }

    fn is_awaited(&self) -> bool {
        !self.lock().waiting.is_empty()
    }
}

/// What one query has of the cores; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    cores: &'a Cores,
    /// The thread that waits. Those that help it go on with what they have begun.
    thread: ThreadId,
    began: Instant,
    /// When the turn began, in microseconds after `began`; 0 where there is none.
    since_us: AtomicU64,
}

impl<'a> Turn<'a> {
    /// Of a query that this thread begins.
    pub(super) fn new(cores: &'a Cores) -> Self {
        let (thread, began) = (std::thread::current().id(), Instant::now());
        Self { cores, thread, began, since_us: AtomicU64::new(0) }
    }

    /// Waits where it is time to; to be called every few milliseconds.
    pub(super) fn look(&self, cancellation: &Cancellation) -> Result<(), Stopped> {
        let now = self.began.elapsed();
        let since_us = self.since_us.load(Ordering::Relaxed);
        let has_turn = since_us > 0;
        let lasts = now.saturating_sub(Duration::from_micros(since_us));
        let is_due = if has_turn { lasts >= TURN } else { now >= SHORT };
        if !is_due || std::thread::current().id() != self.thread {
            return Ok(());
        }
        if has_turn {
            if !self.cores.is_awaited() {
                return Ok(());
            }
            self.since_us.store(0, Ordering::Relaxed);
            self.cores.leave();
        }
        self.cores.enter(cancellation)?;
        let since_us = self.began.elapsed().as_micros() as u64;
        self.since_us.store(since_us.max(1), Ordering::Relaxed);
        Ok(())
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if self.since_us.load(Ordering::Relaxed) > 0 {
            self.cores.leave();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[test]
    fn long_queries_take_turns_and_all_of_them_end() {
        let cores = Cores::new(2);
        let (computing, most, turns) = (AtomicUsize::new(0), AtomicUsize::new(0), Mutex::new(0));
        let long = || {
            let turn = Turn::new(&cores);
            let cancellation = Cancellation::new();
            let begun = Instant::now();
            let mut last = 0;
            while last == 0 || begun.elapsed() < SHORT + 8 * TURN {
                turn.look(&cancellation).unwrap();
                let since_us = turn.since_us.load(Ordering::Relaxed);
                if since_us == 0 {
                    continue;
                }
                if since_us != last {
                    last = since_us;
                    *turns.lock().unwrap() += 1;
                }
                most.fetch_max(computing.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
                std::thread::yield_now();
                computing.fetch_sub(1, Ordering::Relaxed);
            }
        };
        std::thread::scope(|scope| (0..6).for_each(|_| drop(scope.spawn(long))));
        assert!(most.load(Ordering::Relaxed) <= 2);
        assert!(*turns.lock().unwrap() >= 6, "each had one");
        let state = cores.lock();
        assert_eq!((state.free, state.waiting.len()), (2, 0));
    }

    #[test]
    fn a_short_query_and_one_who_helps_never_wait() {
        let cores = Cores::new(1);
        cores.enter(&Cancellation::new()).unwrap();
        let mut begins = Turn::new(&cores);
        begins.began += Duration::from_hours(1);
        begins.look(&Cancellation::new()).unwrap();
        let turn = Turn::new(&cores);
        std::thread::sleep(SHORT);
        std::thread::scope(|scope| {
            scope.spawn(|| turn.look(&Cancellation::new()).unwrap());
        });
    }

    #[test]
    fn whoever_waits_ends_when_its_time_is_over() {
        let cores = Cores::new(1);
        cores.enter(&Cancellation::new()).unwrap();
        let ended = cores.enter(&Cancellation::at(Instant::now() + LOOK_EVERY));
        assert_eq!(ended, Err(Stopped::TimedOut));
        cores.leave();
        assert_eq!(cores.enter(&Cancellation::new()), Ok(()));
        assert!(!cores.is_awaited());
    }
}
