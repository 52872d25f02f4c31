//! Syncing: by hand, by age, for every append, and what happens when it fails.

use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Batch, Current, Log, State};
use crate::disk::StorageError;
use crate::wal::Position;

/// How long a [`Syncer`] waits after a failure, at least.
const RETRY_AFTER_MIN: Duration = Duration::from_millis(50);

impl Log {
    /// Makes all that was appended durable. After an error it is still in the log, and the next
    /// sync or append tries again.
    pub fn sync(&self) -> Result<(), StorageError> {
        let state = self.lock();
        if state.closed {
            return Err(StorageError::Closed);
        }
        let end = state.next_sequence;
        self.sync_until(state, end).map(drop)
    }

    /// Makes all that was appended durable, and says where the log ends: the position to put
    /// into a checkpoint. (One that is not synced must not be put there.)
    pub fn synced_end(&self) -> Result<Position, StorageError> {
        let state = self.lock();
        if state.closed {
            return Err(StorageError::Closed);
        }
        // The end and not later, or appends that go on could keep it here for ever.
        let end = state.end();
        drop(self.sync_until(state, end.sequence)?);
        Ok(end)
    }

    /// Syncs, and refuses everything afterwards with [`StorageError::Closed`], also where the
    /// sync failed.
    pub fn close(&self) -> Result<(), StorageError> {
        let mut state = self.lock();
        if state.closed {
            return Ok(());
        }
        // Appends may go on while a sync runs, and what they got an answer for counts.
        let result = loop {
            let end = state.next_sequence;
            match self.sync_until(state, end) {
                Ok(locked) => state = locked,
                Err(error) => {
                    state = self.lock();
                    break Err(error);
                }
            }
            if state.synced >= state.next_sequence {
                break Ok(());
            }
        };
        while state.syncing {
            state = self.wait(state);
        }
        state.closed = true;
        if let (Ok(()), Some(current)) = (&result, &state.current) {
            // For the last marker, without which damage could pass for a torn tail.
            let _ = current.sync_handle.sync();
        }
        state.current = None;
        drop(state);
        self.changed.notify_all();
        result
    }

    /// Whether an append now might wait for the medium: a sync runs, somebody writes, or records
    /// come near the greatest age. Never waits itself.
    pub fn may_wait(&self) -> bool {
        let interval = self.options.sync_interval;
        let Ok(state) = self.state.try_lock() else { return true };
        let age = |batch: &Batch| self.clock.monotonic().saturating_sub(batch.at);
        interval.is_zero()
            || state.syncing
            || state.current.is_none()
            || state.unsynced.front().is_some_and(|oldest| age(oldest) >= interval * 3 / 4)
    }

    /// Waits, or syncs, where records have reached the greatest age.
    pub(super) fn keep_interval<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
    ) -> Result<MutexGuard<'a, State>, StorageError> {
        let interval = self.options.sync_interval;
        while !interval.is_zero()
            && let Some(oldest) = state.unsynced.front()
            && self.clock.monotonic().saturating_sub(oldest.at) >= interval
        {
            let end = oldest.end_sequence;
            state = self.sync_until(state, end)?;
        }
        Ok(state)
    }

    /// Returns when everything below `end` is on the medium, by this call's sync or another's.
    fn sync_until<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        end: u64,
    ) -> Result<MutexGuard<'a, State>, StorageError> {
        while state.synced < end {
            if state.syncing {
                state = self.wait(state);
            } else if state.current.is_none() {
                self.begin_segment(&mut state)?;
            } else {
                state = self.sync_now(state);
            }
        }
        Ok(state)
    }

    /// Syncs the current segment, without the mutex meanwhile. Where that fails the segment is
    /// given up: nobody knows what of it is on the medium, and a second sync would not tell.
    pub(super) fn sync_now<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
    ) -> MutexGuard<'a, State> {
        let Some(handle) = state.current.as_ref().map(|current| Arc::clone(&current.sync_handle))
        else {
            return state;
        };
        debug_assert!(!state.syncing, "one sync at a time");
        let end = state.next_sequence;
        state.syncing = true;
        drop(state);
        let began = self.clock.monotonic();
        let result = handle.sync();
        let took = self.clock.monotonic().saturating_sub(began);
        let mut state = self.lock();
        state.syncing = false;
        match result {
            Ok(()) => {
                state.stats.syncs += 1;
                state.stats.sync_time += took;
                state.mark_synced(end);
                self.write_marker(&mut state);
            }
            Err(error) => {
                state.stats.sync_failures += 1;
                state.stats.sync_failure = Some(error.to_string());
                state.current = None;
            }
        }
        self.changed.notify_all();
        state
    }

    /// Notes what was synced. Nothing depends on it but how damage is told apart later, so a
    /// failure is no error as long as it leaves nothing behind.
    fn write_marker(&self, state: &mut State) {
        let marker = self.marker(state.synced, state.next_sequence);
        let Some(current) = &mut state.current else { return };
        if current.file.append(&marker).is_ok() {
            current.len += marker.len() as u64;
        } else {
            state.roll_back();
            return;
        }
        let Current { number, len, .. } = *current;
        if let Some(known) = state.segments.get_mut(&number) {
            known.bytes = len;
        }
    }

    /// Waits until the append with this ticket is on the medium, leading syncs where nobody
    /// does. Where even a new segment fails, every append that waits has failed, and its records
    /// are given up: a caller that was told "no" must not find them in the log later.
    pub(super) fn wait_synced<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        ticket: u64,
        end: u64,
    ) -> Result<(), StorageError> {
        state.waiters += 1;
        let result = loop {
            if state.given_up.iter().any(|(first, last)| (*first..=*last).contains(&ticket)) {
                let why = state.stats.unwritable.clone().unwrap_or_default();
                break Err(StorageError::Unwritable(why));
            }
            if state.synced >= end {
                break Ok(());
            }
            if state.syncing {
                state = self.wait(state);
            } else if state.current.is_some() {
                state = self.sync_now(state);
            } else if self.begin_segment(&mut state).is_err() {
                give_up(&mut state);
                self.changed.notify_all();
            }
        };
        state.waiters -= 1;
        if state.waiters == 0 {
            state.given_up.clear();
        }
        result
    }

    /// How long until the oldest unsynced record has half of the greatest age.
    fn due_in(&self, state: &State) -> Option<Duration> {
        let interval = self.options.sync_interval;
        let oldest = state.unsynced.front().filter(|_| !interval.is_zero())?;
        let age = self.clock.monotonic().saturating_sub(oldest.at);
        Some((interval / 2).saturating_sub(age))
    }
}

/// Forgets the records that nobody was told are stored.
fn give_up(state: &mut State) {
    let tickets = || state.unsynced.iter().map(|batch| batch.ticket).filter(|ticket| *ticket > 0);
    if let (Some(first), Some(last)) = (tickets().next(), tickets().next_back()) {
        state.given_up.push((first, last));
    }
    let stats_failed = tickets().count() as u64;
    state.stats.append_failures += stats_failed;
    state.unsynced.retain(|batch| batch.ticket == 0);
    state.next_sequence = state.unsynced.back().map_or(state.synced, |batch| batch.end_sequence);
}

/// Keeps a log within its `sync_interval`. Without one, appends do the syncs when they are due.
#[derive(Debug)]
pub struct Syncer {
    log: Arc<Log>,
}

impl Syncer {
    /// A syncer for `log`.
    pub fn new(log: Arc<Log>) -> Self {
        Self { log }
    }

    /// Syncs whenever half of the interval has passed, until the log is closed; for a thread of
    /// its own. `failed` hears every error.
    pub fn run(&self, mut failed: impl FnMut(&StorageError)) {
        let log = &*self.log;
        let retry_after = (log.options.sync_interval / 2).max(RETRY_AFTER_MIN);
        let mut state = log.lock();
        while !state.closed {
            state = match log.due_in(&state) {
                None => log.wait(state),
                Some(Duration::ZERO) => {
                    let end = state.next_sequence;
                    match log.sync_until(state, end) {
                        Ok(state) => state,
                        Err(error) => {
                            failed(&error);
                            self.sleep(log.lock(), retry_after)
                        }
                    }
                }
                Some(left) => self.sleep(state, left),
            };
        }
    }

    /// Syncs if half of the interval has passed for some record; for callers that drive time
    /// themselves. Whether it synced.
    pub fn tick(&self) -> Result<bool, StorageError> {
        let state = self.log.lock();
        if state.closed {
            return Err(StorageError::Closed);
        }
        if self.log.due_in(&state) != Some(Duration::ZERO) {
            return Ok(false);
        }
        let end = state.next_sequence;
        drop(self.log.sync_until(state, end)?);
        Ok(true)
    }

    fn sleep<'a>(&'a self, state: MutexGuard<'a, State>, time: Duration) -> MutexGuard<'a, State> {
        let slept = self.log.changed.wait_timeout(state, time);
        slept.unwrap_or_else(PoisonError::into_inner).0
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::disk::{Call, Fault, SimulatedClock, SimulatedDisk};
    use crate::wal::LogOptions;

    #[test]
    fn a_failed_append_takes_no_word_for_a_sync_that_runs() {
        let disk = SimulatedDisk::new(1);
        let clock = Arc::new(SimulatedClock::new(0));
        let shared = Arc::new(disk.clone());
        let options = LogOptions::default();
        let log = Log::open(shared, Path::new("wal"), options, clock, Position::START).unwrap();
        log.append(&[(1, b"one")]).unwrap();
        // Another thread syncs. If that fails, the system tells it once: a second sync of the
        // same file would say that all is well.
        log.lock().syncing = true;
        disk.fail_nth_of(Call::Append, 1, Fault::Once);
        assert!(log.append(&[(1, b"two")]).is_err());
        assert!(log.stats().unsynced_bytes > 0, "nobody knows yet whether it is on the medium");
        log.lock().syncing = false;
        log.append(&[(1, b"three")]).unwrap();
        log.sync().unwrap();
        assert_eq!(log.end().sequence, 2);
    }
}
