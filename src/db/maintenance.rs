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
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Event, Shared};
use crate::block::{Block, Meta, Ulid};
use crate::compact::{Workshop, expired, flush_window, merge_blocks, occupied_windows, plan};
use crate::disk::{StorageError, is_disk_full};
use crate::model::TimeRange;

/// Longest pause between two attempts of a step that fails.
const PAUSE_MAX: Duration = Duration::from_mins(1);
/// Attempts at a merge after which deletions wait for it.
const MERGE_ATTEMPTS: u32 = 3;
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
        self.expire();
        let merge = if self.reserve.is_given_up() {
            Ok(())
        } else {
            self.told("compaction", self.merge_due(false))
        };
        self.make_room();
        // What frees the log is two checkpoints and a head file.
        let wanted = self.head.checkpoint_bytes().saturating_mul(3);
        let grown = self.reserve.grow(wanted, self.options.disk_reserve_bytes);
        let _ = self.told("growing the reserve", grown);
        drop(guard);
        head.and(flush).and(merge)
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
            self.merge_due(true)
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
    fn flush_due(&self) -> Result<(), StorageError> {
        while let Some(window) = self.head.flushable_window() {
            self.check_open()?;
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

    /// Writes what the head has within `range`, just sealed, as one block for each window, and
    /// lets the head go of it.
    fn write_out(&self, range: TimeRange) -> Result<(), StorageError> {
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

    /// Merges blocks until the plan has nothing more.
    fn merge_due(&self, with_newest: bool) -> Result<(), StorageError> {
        let limit_ms = self.options.block_duration_limit_ms();
        let window_ms = self.options.block_duration_min_ms;
        while let Some(names) = plan(&self.blocks.candidates(), window_ms, limit_ms, with_newest) {
            self.merge(&names)?;
        }
        Ok(())
    }

    /// Merges these blocks; one block is written anew without what was deleted from it.
    pub(super) fn merge(&self, names: &[Ulid]) -> Result<(), StorageError> {
        let began = self.clock.monotonic();
        let list = self.blocks.list();
        let chosen = list.iter().filter(|block| names.contains(&block.meta().ulid));
        let chosen: Vec<_> = chosen.cloned().collect();
        let meta = match self.merged(&chosen) {
            Err(StorageError::Corrupt { path, offset, what }) => {
                // The damaged block rests from now on; the others find another plan.
                let error = StorageError::Corrupt { path: path.clone(), offset, what };
                let damaged = chosen.iter().find(|block| path.starts_with(block.dir()));
                let Some(damaged) = damaged else { return Err(error) };
                self.blocks.note_damage(damaged, &error.to_string());
                return Ok(());
            }
            other => other?,
        };
        self.counters.compactions.fetch_add(1, Ordering::Relaxed);
        self.options.observer.event(&Event::Compacted {
            sources: names.iter().map(ToString::to_string).collect(),
            block: meta.map(|meta| meta.ulid.to_string()),
            took: self.clock.monotonic().saturating_sub(began),
        });
        Ok(())
    }

    /// Writes the merged block and serves it in the place of `chosen`. Where something is deleted
    /// from these meanwhile it is done again; from the third time on deletions wait.
    fn merged(&self, chosen: &[Arc<Block>]) -> Result<Option<Meta>, StorageError> {
        for attempt in 1.. {
            let still = (attempt >= MERGE_ATTEMPTS).then(|| self.moving_lock());
            let ulid = self.blocks.fresh_ulid(self.clock.now_ms());
            let merged = merge_blocks(chosen, ulid, &self.workshop(&self.check(), &|_| {}))?;
            let _still = still.unwrap_or_else(|| self.moving_lock());
            if merged.is_outdated() {
                merged.abandon()?;
                continue;
            }
            let meta = merged.finish()?;
            match &meta {
                Some(meta) => self.blocks.publish(meta)?,
                None => {
                    let gone: Vec<Ulid> = chosen.iter().map(|block| block.meta().ulid).collect();
                    self.blocks.drop_blocks(&gone);
                }
            }
            return Ok(meta);
        }
        unreachable!("BUG: the loop has no end")
    }

    /// Removes blocks past retention.
    fn expire(&self) {
        let candidates = self.blocks.candidates();
        let in_blocks = candidates.iter().map(|block| block.range.max_ms);
        let in_head = self.head.time_range().map(|range| range.max_ms);
        let newest = in_blocks.chain(in_head).chain(self.takeover.newest_ms()).max();
        let Some(newest_ms) = newest else { return };
        if self.options.retention_ms > 0 {
            self.takeover.shelve(newest_ms.saturating_sub(self.options.retention_ms));
        }
        let gone = expired(&candidates, newest_ms, self.options.retention_ms);
        if gone.is_empty() {
            return;
        }
        let still = self.moving_lock();
        self.blocks.drop_blocks(&gone);
        drop(still);
        self.counters.blocks_expired.fetch_add(gone.len() as u64, Ordering::Relaxed);
        for ulid in gone {
            self.options.observer.event(&Event::Expired { block: ulid.to_string() });
        }
    }

    fn workshop<'a>(
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
    fn sleep(&self, pause: Duration) -> bool {
        let is_open = |(): &mut ()| self.check_open().is_ok();
        let guard = self.wake.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.wake.1.wait_timeout_while(guard, pause, is_open);
        drop(waited);
        self.check_open().is_err()
    }
}
