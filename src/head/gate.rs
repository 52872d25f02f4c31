//! Who may use what while the log is replayed.
//!
//! Recovery cuts the log into parts, each of groups that have nothing to do with those of another
//! part, and replays part after part. Until its part is done a group answers nobody: commits and
//! captures wait for it here, and the part that someone waits for is the next one. What concerns
//! the whole head (seals, flushes, checkpoints, deletions) waits for the end.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hashbrown::HashMap;

use super::group::Group;
use crate::disk::StorageError;

/// How often somebody who waits looks whether it may go on waiting.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Keeps callers from groups that are not replayed yet.
#[derive(Debug)]
pub(super) struct Gate {
    /// Nothing is replayed any more; looked at without the lock.
    is_open: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// The part that each waiting group belongs to.
    part_of: HashMap<u32, usize>,
    /// Parts that nobody has begun.
    queue: BTreeSet<usize>,
    /// Parts that somebody waits for, the latest last.
    wanted: Vec<usize>,
    /// Parts that are being replayed.
    running: usize,
    is_cancelled: bool,
}

impl Gate {
    /// An open gate.
    pub(super) fn new() -> Self {
        Self { is_open: AtomicBool::new(true), state: Mutex::default(), changed: Condvar::new() }
    }

    /// Closes the gate for these groups, each with the number of its part.
    pub(super) fn close_for(&self, part_of: HashMap<u32, usize>) {
        let mut state = self.state();
        state.queue = part_of.values().copied().collect();
        state.part_of = part_of;
        self.is_open.store(state.queue.is_empty(), Ordering::Release);
    }

    /// Whether everything is replayed.
    pub(super) fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Acquire)
    }

    /// The next part to replay; `None` when all are begun, or the head closes.
    pub(super) fn next_part(&self) -> Option<usize> {
        let mut state = self.state();
        if state.is_cancelled {
            return None;
        }
        while let Some(part) = state.wanted.pop() {
            if state.queue.remove(&part) {
                state.running += 1;
                return Some(part);
            }
        }
        let part = state.queue.pop_first()?;
        state.running += 1;
        Some(part)
    }

    /// The part is replayed, or left where it was because the head closes: then its groups stay
    /// behind the gate. `true` where it was the last one.
    pub(super) fn part_done(&self, groups: &[u32]) -> bool {
        let mut state = self.state();
        state.running -= 1;
        if !state.is_cancelled {
            for group in groups {
                state.part_of.remove(group);
            }
        }
        let is_last = state.queue.is_empty() && state.running == 0 && !state.is_cancelled;
        if is_last {
            self.is_open.store(true, Ordering::Release);
        }
        drop(state);
        self.changed.notify_all();
        is_last
    }

    /// Whether the head closes while parts are left.
    pub(super) fn is_cancelled(&self) -> bool {
        self.state().is_cancelled
    }

    /// Ends a replay that runs and waits until nobody works on it. `false` where all was done.
    pub(super) fn cancel(&self) -> bool {
        let mut state = self.state();
        if self.is_open() {
            return false;
        }
        state.is_cancelled = true;
        self.changed.notify_all();
        while state.running > 0 {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        true
    }

    /// Waits until a group is replayed. `true` where it had to: what was known of homes and slots
    /// before has to be looked up again. `check` is asked from time to time, and ends the waiting
    /// with its error.
    pub(super) fn wait<E: From<StorageError>>(
        &self,
        group: u32,
        check: &dyn Fn() -> Result<(), E>,
    ) -> Result<bool, E> {
        if self.is_open() {
            return Ok(false);
        }
        let mut has_waited = false;
        let mut state = self.state();
        while let Some(&part) = state.part_of.get(&group) {
            if state.is_cancelled {
                return Err(StorageError::Closed.into());
            }
            if !has_waited {
                state.wanted.push(part);
            }
            has_waited = true;
            drop(state);
            check()?;
            state = self.state();
            if state.part_of.contains_key(&group) && !state.is_cancelled {
                let waited = self.changed.wait_timeout(state, LOOK_EVERY);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
        }
        Ok(has_waited)
    }

    /// Waits for each of these groups, as [`Gate::wait`].
    pub(super) fn wait_for(&self, groups: &[std::sync::Arc<Group>]) -> Result<bool, StorageError> {
        let mut has_waited = false;
        if !self.is_open() {
            for group in groups {
                has_waited |= self.wait(group.id, &|| Ok::<(), StorageError>(()))?;
            }
        }
        Ok(has_waited)
    }

    /// Waits until everything is replayed.
    pub(super) fn wait_for_all(&self) -> Result<(), StorageError> {
        if self.is_open() {
            return Ok(());
        }
        let mut state = self.state();
        while !self.is_open() {
            if state.is_cancelled {
                return Err(StorageError::Closed);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn closed() -> Gate {
        let gate = Gate::new();
        gate.close_for(HashMap::from([(10, 0), (11, 0), (20, 1), (30, 2)]));
        gate
    }

    #[test]
    fn the_part_that_is_waited_for_is_next() {
        let gate = closed();
        let gave_up = gate.wait(30, &|| Err(StorageError::Unwritable("too long".to_owned())));
        assert!(gave_up.is_err());
        let parts: Vec<_> = std::iter::from_fn(|| gate.next_part()).collect();
        assert_eq!(parts, [2, 0, 1]);
        assert!(!gate.part_done(&[30]));
        assert!(!gate.wait(30, &|| Ok::<(), StorageError>(())).unwrap());
        assert!(!gate.wait(99, &|| Ok::<(), StorageError>(())).unwrap());
        assert!(!gate.part_done(&[10, 11]) && !gate.is_open());
        assert!(gate.part_done(&[20]) && gate.is_open());
        gate.wait_for_all().unwrap();
    }

    #[test]
    fn waiting_ends_with_the_part_or_with_the_head() {
        let gate = closed();
        std::thread::scope(|scope| {
            let first = scope.spawn(|| gate.wait(11, &|| Ok::<(), StorageError>(())));
            let second = scope.spawn(|| gate.wait(20, &|| Ok::<(), StorageError>(())));
            let all = scope.spawn(|| gate.wait_for_all());
            while gate.next_part() != Some(0) {}
            gate.part_done(&[10, 11]);
            first.join().unwrap().unwrap();
            // Part 1 may have been handed out on the way; whoever has it gives it back.
            let running = gate.state().running;
            (0..running).for_each(|_| assert!(!gate.part_done(&[])));
            assert!(gate.cancel());
            assert!(matches!(second.join().unwrap(), Err(StorageError::Closed)));
            assert!(matches!(all.join().unwrap(), Err(StorageError::Closed)));
        });
        assert_eq!(gate.next_part(), None);
    }
}
