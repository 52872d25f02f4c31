//! What a database does by itself: flush, merge, let go.
//!
//! All of it runs under one lock, one step after the other, on the background thread or in
//! [`super::Database::maintain`]. A step that fails is told, counted and tried again later; it
//! has changed nothing that counts. While samples move from head to block or from block to block,
//! [`Shared::moving_lock`] keeps deletions and snapshots out; it is taken inside the other.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use super::compaction::Pace;
use super::{Event, Shared};
use crate::compact::{Workshop, flush_window, occupied_windows};
use crate::disk::{StorageError, is_disk_full};
use crate::model::TimeRange;

/// Longest pause between two attempts of a step that fails.
const PAUSE_MAX: Duration = Duration::from_mins(1);
/// What a series takes in the index of a block, about.
const INDEX_BYTES_PER_SERIES: u64 = 64;
/// Damaged places that one flush tells of.
const DAMAGE_TOLD_MAX: usize = 100;

impl Shared {
    /// All that is due. Every step is tried; the first error is returned.
    pub(super) fn maintain(&self) -> Result<(), StorageError> {
        let guard = self.maintenance_lock();
        self.check_open()?;
        self.regain_room();
        let head = self.told("sync and seal", self.head.maintain(self.clock.now_ms()));
        let flush = self.told("flush", self.flush_due());
        let export = self.told("export", self.export_due());
        self.expire();
        let merge = if self.reserve.is_given_up() {
            Ok(())
        } else {
            self.told("compaction", self.merge_due(false, Pace::Steady))
        };
        self.make_room();
        // What frees the log is two checkpoints and a head file.
        let wanted = self.head.checkpoint_bytes().saturating_mul(3);
        let grown = self.reserve.grow(wanted, self.options.disk_reserve_bytes);
        let _ = self.told("growing the reserve", grown);
        drop(guard);
        head.and(flush).and(export).and(merge)
    }

    /// Everything as blocks, merged as far as it goes.
    pub(super) fn compact_all(&self) -> Result<(), StorageError> {
        let _guard = self.maintenance_lock();
        self.check_open()?;
        let done = self.flush_due().and_then(|()| {
            let still = self.moving_lock();
            if let Some(range) = self.head.seal_all()? {
                self.write_out(range)?;
            }
            drop(still);
            // What is in blocks now need not stand in the log as well.
            self.head.shorten_log()?;
            self.expire();
            self.merge_due(true, Pace::Hurried)
        });
        self.told("compaction", done)
    }

    pub(super) fn maintenance_lock(&self) -> MutexGuard<'_, ()> {
        self.maintenance.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Held while samples move from one place to another, and by whoever cannot bear that.
    pub(super) fn moving_lock(&self) -> MutexGuard<'_, ()> {
        self.moving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells and counts a failure; the end of the database is none.
    pub(super) fn told(
        &self,
        step: &'static str,
        done: Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        match &done {
            Ok(()) | Err(StorageError::Closed) => {}
            Err(error) => {
                let is_full = matches!(
                    error,
                    StorageError::Io { source, .. } if is_disk_full(source)
                );
                self.met_full_disk.fetch_or(is_full, Ordering::AcqRel);
                self.counters.maintenance_failures.fetch_add(1, Ordering::Relaxed);
                self.options.observer.event(&Event::MaintenanceFailed { step, error });
            }
        }
        done
    }

    /// Where the disk is full: holds commits back, gives the reserve up, and uses the room for
    /// what frees more of it.
    fn make_room(&self) {
        let met = self.met_full_disk.swap(false, Ordering::AcqRel);
        let has_room = || self.reserve.has_room(self.options.disk_reserve_bytes);
        // A merge may want more than there is, while there is plenty for all the rest.
        if !self.head.is_disk_full() && (!met || has_room().unwrap_or(false)) {
            return;
        }
        let reserve_bytes = self.reserve.bytes();
        match self.reserve.give_up() {
            Ok(true) => {}
            // It was given up before, and what could be done was done.
            Ok(false) => return,
            Err(error) => {
                let _ = self.told("giving up the reserve", Err(error));
                return;
            }
        }
        self.hold_commits();
        self.options.observer.event(&Event::DiskFull { reserve_bytes });
        let _ = self.told("making room", self.head.shorten_log());
        let _ = self.told("flush", self.flush_due());
        self.expire();
        self.met_full_disk.store(false, Ordering::Release);
        self.regain_room();
    }

    /// Takes commits again as soon as there is room for the reserve and as much again.
    fn regain_room(&self) {
        if !self.reserve.is_given_up() {
            return;
        }
        match self.reserve.regain(self.options.disk_reserve_bytes) {
            Ok(true) => {
                self.head.resume_commits();
                self.options.observer.event(&Event::DiskHasRoom);
            }
            Ok(false) => {}
            Err(error) => {
                self.head.resume_commits();
                let _ = self.told("taking the reserve back", Err(error));
            }
        }
    }

    /// Refuses commits until the reserve is held again.
    pub(super) fn hold_commits(&self) {
        self.head.hold_commits("the disk is full; commits are taken again when there is room");
    }

    /// Writes out every window that is due.
    pub(super) fn flush_due(&self) -> Result<(), StorageError> {
        while let Some(window) = self.head.flushable_window() {
            self.check_open()?;
            self.make_space(self.flush_bytes());
            let border_ms = window.max_ms.saturating_add(1);
            let _still = self.moving_lock();
            match self.head.seal_window(border_ms)? {
                Some(range) => self.write_out(range)?,
                None => self.head.truncate(border_ms)?,
            }
            // A head that does not move on would keep this loop for ever.
            if self.head.flushable_window() == Some(window) {
                break;
            }
        }
        Ok(())
    }

    /// About what a flush adds before the head lets go of the same: what is sealed, and an index.
    fn flush_bytes(&self) -> u64 {
        self.head.file_bytes() + self.head.series_count() as u64 * INDEX_BYTES_PER_SERIES
    }

    /// Writes what the head has within `range`, just sealed, as one block for each window, and
    /// lets the head go of it.
    fn write_out(&self, range: TimeRange) -> Result<(), StorageError> {
        if self.options.forwards_only {
            // The log has it for those who forward it, as long as they need it.
            return self.head.truncate(range.max_ms.saturating_add(1));
        }
        let told = RefCell::default();
        let (check, damaged) = (self.check(), |error: &_| self.tell_damage(&told, error));
        let workshop = self.workshop(&check, &damaged);
        for start_ms in occupied_windows(&self.head, range, &workshop)? {
            let end_ms = start_ms.saturating_add(self.options.block_duration_min_ms);
            let max_ms = end_ms.saturating_sub(1).min(range.max_ms);
            self.write_window(TimeRange { min_ms: start_ms, max_ms }, &workshop)?;
        }
        self.head.truncate(range.max_ms.saturating_add(1))
    }

    /// Tells of damage in head files, each place once.
    fn tell_damage(&self, told: &RefCell<BTreeSet<String>>, error: &StorageError) {
        let text = format!("a flush leaves out samples: {error}");
        let mut told = told.borrow_mut();
        if told.len() < DAMAGE_TOLD_MAX && !told.contains(&text) {
            self.options.observer.event(&Event::Warning(text.clone()));
            told.insert(text);
        }
    }

    fn write_window(&self, window: TimeRange, workshop: &Workshop<'_>) -> Result<(), StorageError> {
        let began = self.clock.monotonic();
        let ulid = self.blocks.fresh_ulid(self.clock.now_ms());
        let Some(meta) = flush_window(&self.head, window, ulid, workshop)? else { return Ok(()) };
        self.blocks.publish(&meta)?;
        self.counters.flushes.fetch_add(1, Ordering::Relaxed);
        self.options.observer.event(&Event::Flushed {
            block: meta.ulid.to_string(),
            range: meta.range,
            samples: meta.samples,
            took: self.clock.monotonic().saturating_sub(began),
        });
        Ok(())
    }

    pub(super) fn workshop<'a>(
        &'a self,
        check: &'a dyn Fn() -> Result<(), StorageError>,
        damaged: &'a dyn Fn(&StorageError),
    ) -> Workshop<'a> {
        Workshop {
            disk: &self.disk,
            blocks_dir: self.blocks.dir().to_owned(),
            window_ms: self.options.block_duration_min_ms,
            check,
            damaged,
        }
    }

    /// Ends long work when the database closes.
    fn check(&self) -> impl Fn() -> Result<(), StorageError> {
        || self.check_open()
    }

    /// [`Shared::maintain`], where a panic is a failure like any other: without maintenance
    /// nothing would be flushed any more, and nobody would hear of it.
    fn maintain_unwinding(&self) -> Result<(), StorageError> {
        // What a panic leaves half done is what a failure may leave: every lock is taken again,
        // and every step begins with what is there.
        catch_unwind(AssertUnwindSafe(|| self.maintain())).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<&str>().copied().map(str::to_owned);
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
            let why = format!("panicked: {}", text.unwrap_or_default());
            let source = std::io::Error::other(why);
            self.told("maintenance", Err(StorageError::io("run", Path::new("maintenance"), source)))
        })
    }

    /// The body of the background thread.
    pub(super) fn run_maintenance(&self) {
        let mut pause = self.options.maintenance_interval;
        while !self.sleep(pause) {
            pause = match self.maintain_unwinding() {
                Ok(()) => self.options.maintenance_interval,
                Err(StorageError::Closed) => return,
                Err(_) => (pause * 2).min(PAUSE_MAX.max(self.options.maintenance_interval)),
            };
        }
    }

    /// Waits; true once the database closes.
    pub(super) fn sleep(&self, pause: Duration) -> bool {
        let is_open = |(): &mut ()| self.check_open().is_ok();
        let guard = self.wake.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.wake.1.wait_timeout_while(guard, pause, is_open);
        drop(waited);
        self.check_open().is_err()
    }
}
