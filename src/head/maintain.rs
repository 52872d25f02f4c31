//! What has to be done from time to time.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::seal::Maintenance;
use super::{Event, Head};
use crate::disk::StorageError;

/// Least time between two checkpoints for their own sake.
const CHECKPOINT_EVERY: Duration = Duration::from_mins(15);
/// A checkpoint is due sooner when the log is longer than this and than so many checkpoints.
const LOG_BYTES_MAX: u64 = 8 << 20;
const LOG_TO_CHECKPOINT: u64 = 2;
/// Least time between two checkpoints; writing them takes at most one part in so many.
const CHECKPOINT_PAUSE: Duration = Duration::from_secs(10);
const CHECKPOINT_SHARE: u32 = 50;
/// Least time between two measurements of memory.
const MEASURE_EVERY: Duration = Duration::from_secs(5);
/// Measuring visits every stream: at most one part in so many of the time goes into it.
const MEASURE_SHARE: u32 = 200;

impl Head {
    /// Does what is due at `now_ms` (wall clock): syncs, seals, a checkpoint, removal of log
    /// segments. The thread of the database calls it every second or so. All parts are tried; the
    /// first error is returned, and told to the observer.
    pub fn maintain(&self, now_ms: i64) -> Result<(), StorageError> {
        self.check_open()?;
        let mut state = self.maintenance()?;
        let synced = self.syncer.tick().map(|_| ());
        self.tell_sync_failures(&mut state);
        if let Err(error) = &synced {
            let error = error.to_string();
            self.options.observer.observe(Event::SyncFailed { error: &error });
        }
        self.measure(&mut state);
        let sealed = self.seal_due(now_ms, &mut state);
        self.tell_failure("seal", &sealed);
        let checkpointed =
            if self.is_checkpoint_due(&state) { self.checkpoint(&mut state) } else { Ok(()) };
        self.tell_failure("checkpoint", &checkpointed);
        synced.and(sealed).and(checkpointed)
    }

    /// Finds out what the head takes where there is a limit to that.
    fn measure(&self, state: &mut Maintenance) {
        let now = self.options.clock.monotonic();
        if now >= state.measured_next && self.options.limits.memory_bytes_max > 0 {
            self.limit_counts.measured(self.memory().sum());
            let took = self.options.clock.monotonic().saturating_sub(now);
            state.measured_next = now + MEASURE_EVERY.max(took * MEASURE_SHARE);
        }
    }

    /// Whether there is little room left below the limit for memory: streams are sealed early.
    pub(super) fn is_memory_tight(&self) -> bool {
        let max = self.options.limits.memory_bytes_max;
        max > 0 && self.limit_counts.memory_bytes() > max / 4 * 3
    }

    /// Seals everything and leaves of the log no more than what comes in meanwhile. Two
    /// checkpoints say so in the end: the log is kept for the older one.
    pub fn shorten_log(&self) -> Result<(), StorageError> {
        self.check_open()?;
        let mut state = self.maintenance()?;
        let done = self.log.rotate().and_then(|()| {
            let groups = self.groups_read().all();
            self.seal(&groups, &mut state)?;
            self.checkpoint(&mut state)?;
            if self.log.segments().len() > 1 { self.checkpoint(&mut state) } else { Ok(()) }
        });
        self.tell_failure("shortening the log", &done);
        done
    }

    /// Refuses commits with this reason until [`Head::resume_commits`].
    pub fn hold_commits(&self, why: &str) {
        self.log.hold(why);
    }

    /// Takes commits again, as far as the disk does.
    pub fn resume_commits(&self) {
        self.log.resume();
    }

    /// Whether the log met a full disk and has not been written to since.
    pub fn is_disk_full(&self) -> bool {
        self.log.stats().is_disk_full
    }

    /// Bytes of the last checkpoint that was written or read.
    pub fn checkpoint_bytes(&self) -> u64 {
        self.counters.checkpoint_bytes.load(Ordering::Relaxed)
    }

    /// Ends a replay that still runs, so that [`Head::close`] need not wait for it. What is not
    /// replayed answers nobody from then on.
    pub fn stop_replay(&self) {
        self.gate.cancel();
    }

    /// Syncs, writes a checkpoint and refuses everything afterwards.
    pub fn close(&self) -> Result<(), StorageError> {
        if self.gate.cancel() {
            // Nothing but the log holds what is not replayed, and nothing of it has changed.
            return if self.is_closed.swap(true, Ordering::AcqRel) {
                Ok(())
            } else {
                self.log.close()
            };
        }
        let mut state = self.maintenance()?;
        if self.is_closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        let checkpointed = self.checkpoint(&mut state);
        self.tell_failure("checkpoint", &checkpointed);
        self.log.close().and(checkpointed)
    }

    /// A failed sync that a new segment made good is no error to anyone, but the medium is ill.
    fn tell_sync_failures(&self, state: &mut Maintenance) {
        let log = self.log.stats();
        let fresh = log.sync_failures - state.sync_failures_told;
        if fresh == 0 {
            return;
        }
        state.sync_failures_told = log.sync_failures;
        let why = log.sync_failure.unwrap_or_default();
        let error =
            format!("{fresh} syncs failed, the records go to a new segment; the last: {why}");
        self.options.observer.observe(Event::SyncFailed { error: &error });
    }

    fn is_checkpoint_due(&self, state: &Maintenance) -> bool {
        let age = self.options.clock.monotonic().saturating_sub(state.checkpointed_at);
        let pause = CHECKPOINT_PAUSE.max(state.checkpoint_took * CHECKPOINT_SHARE);
        let worth = LOG_BYTES_MAX.max(self.checkpoint_bytes() * LOG_TO_CHECKPOINT);
        // What is kept for those who follow the log does not grow less by a checkpoint.
        let is_long = age >= pause && self.log.bytes_from(state.needed_from) >= worth;
        state.is_checkpoint_due && (is_long || age >= CHECKPOINT_EVERY)
    }

    pub(super) fn tell_failure(&self, what: &str, result: &Result<(), StorageError>) {
        if let Err(error) = result {
            if what != "seal" {
                self.counters.checkpoint_failures.fetch_add(1, Ordering::Relaxed);
            }
            let error = error.to_string();
            self.options.observer.observe(Event::MaintenanceFailed { what, error: &error });
        }
    }
}
