//! Handing a window to a block and letting it go.
//!
//! The order: [`Head::flushable_window`] says which border is due, [`Head::seal_window`] closes
//! everything below it, the caller captures and writes blocks of all that lies below the border
//! and makes them durable, [`Head::truncate`] lets it go. Failing in between loses nothing: the
//! head keeps it all until `truncate`. Tiles that cross the border stay, clipped; what came in
//! below it after the seal is in memory or in younger files, and stays until the next flush.

use std::sync::atomic::Ordering;
use std::time::Duration;

use hashbrown::HashSet;

use super::group::{Data, Group, NO_SERIES, NO_TIME};
use super::reshape::drop_tiles;
use super::seal::Maintenance;
use super::{Head, Register};
use crate::disk::StorageError;
use crate::model::TimeRange;

/// How long a flush waits for appenders that were opened before its border moved.
const APPENDER_PATIENCE: Duration = Duration::from_secs(10);
/// A source that feeds nothing for so long, and has nothing, is forgotten.
const GROUP_IDLE_MS: i64 = 20 * 60_000;

impl Head {
    /// The oldest window (aligned to its length, closed at both ends) when it is due: the newest
    /// sample lies half a window past its end, or a flush of it began and failed.
    pub fn flushable_window(&self) -> Option<TimeRange> {
        let TimeRange { min_ms, max_ms } = self.time_range().filter(|_| !self.is_recovering())?;
        let window_ms = self.options.window_ms;
        let flushing_ms = self.bounds.flushing_ms.load(Ordering::Acquire);
        if flushing_ms != NO_TIME {
            // It failed; with the bound raised, it would look as if it were done.
            let min_ms = flushing_ms.saturating_sub(window_ms);
            return Some(TimeRange { min_ms, max_ms: flushing_ms - 1 });
        }
        // Late samples below the bound go with the next window.
        let oldest_ms = min_ms.max(self.bounds.lower_ms.load(Ordering::Acquire));
        let start_ms = oldest_ms.div_euclid(window_ms).checked_mul(window_ms)?;
        let end_ms = start_ms.checked_add(window_ms)?;
        let is_due = max_ms >= end_ms.checked_add(window_ms / 2)?;
        is_due.then_some(TimeRange { min_ms: start_ms, max_ms: end_ms - 1 })
    }

    /// Raises the lower bound of what is accepted to `border_ms`, waits for appenders opened
    /// before, and seals what lies below. Returns the times of what has to be written before
    /// [`Head::truncate`] (several windows, if late samples are among it); `None`: nothing.
    pub fn seal_window(&self, border_ms: i64) -> Result<Option<TimeRange>, StorageError> {
        self.check_open()?;
        let mut state = self.maintenance()?;
        self.bounds.flushing_ms.store(border_ms, Ordering::Release);
        let raise = || self.raise_lower(border_ms);
        if !self.open_appenders.raise(border_ms, APPENDER_PATIENCE, raise) {
            let why = format!("appenders from before {border_ms} stay open; the flush waits");
            return Err(StorageError::Unwritable(why));
        }
        self.seal_below(border_ms, &mut state)
    }

    /// Seals everything, the open window included, without a change of what is accepted. Returns
    /// the times of what has to be written before [`Head::truncate`] of the border one above the
    /// greatest of them; `None`: nothing.
    pub fn seal_all(&self) -> Result<Option<TimeRange>, StorageError> {
        self.check_open()?;
        let mut state = self.maintenance()?;
        let Some(range) = self.time_range() else { return Ok(None) };
        self.seal_below(range.max_ms.saturating_add(1), &mut state)
    }

    fn seal_below(
        &self,
        border_ms: i64,
        state: &mut Maintenance,
    ) -> Result<Option<TimeRange>, StorageError> {
        let mut groups = self.groups_read().all();
        groups.retain(|group| group.data().oldest_unsealed_ms().is_some_and(|t| t < border_ms));
        let sealed = self.seal(&groups, state);
        self.tell_failure("seal", &sealed);
        sealed?;
        let next_file = self.files().next;
        state.window_seal = Some((border_ms, next_file));
        let oldest = self.oldest_ms().filter(|&min_ms| min_ms < border_ms);
        Ok(oldest.map(|min_ms| TimeRange { min_ms, max_ms: border_ms - 1 }))
    }

    /// Lets go of what [`Head::seal_window`] or [`Head::seal_all`] of the same border closed:
    /// samples, head files, series that ended. Writes a checkpoint.
    pub fn truncate(&self, border_ms: i64) -> Result<(), StorageError> {
        self.check_open()?;
        let mut state = self.maintenance()?;
        let Some((_, file)) = state.window_seal.take_if(|seal| seal.0 == border_ms) else {
            let why = format!("nothing was sealed up to {border_ms}, so nothing can be let go");
            return Err(StorageError::Unwritable(why));
        };
        state.clip = Some((border_ms, file));
        if self.bounds.flushing_ms.load(Ordering::Acquire) <= border_ms {
            self.bounds.flushing_ms.store(NO_TIME, Ordering::Release);
        }
        let newest_ms = self.newest_ms().unwrap_or(border_ms);
        let ended_ms = border_ms.min(newest_ms.saturating_sub(self.options.window_ms / 2));
        let now_ms = self.options.clock.now_ms();
        let groups = self.groups_read().all();
        for group in &groups {
            self.truncate_group(group, border_ms, file, ended_ms);
        }
        if ended_ms >= border_ms {
            self.remove_ended();
        }
        for group in &groups {
            self.forget_group(group, now_ms);
        }
        self.remove_homeless(&mut state);
        self.forget_former();
        let oldest_ms = self.oldest_ms().unwrap_or(newest_ms);
        self.bounds.oldest_ms.store(oldest_ms, Ordering::Release);
        // Again, for commits that went between: theirs must not be left above their samples.
        self.bounds.oldest_ms.fetch_min(self.oldest_ms().unwrap_or(newest_ms), Ordering::AcqRel);
        self.forget_deletions();
        let checkpointed = self.checkpoint(&mut state);
        self.tell_failure("checkpoint", &checkpointed);
        checkpointed
    }

    /// Drops tiles below the border, and series whose last sample lies below `ended_ms`.
    fn truncate_group(&self, group: &Group, border_ms: i64, file: u64, ended_ms: i64) {
        let mut writer = group.writer();
        let mut register = self.register_write();
        let mut data = group.data();
        for tile in data.tiles.iter_mut().filter(|tile| tile.file.number < file) {
            tile.clip_ms = tile.clip_ms.max(border_ms);
        }
        drop_tiles(&mut data, |tile| tile.meta().max_ms < tile.clip_ms);
        data.disturbed += 1;
        let segment = self.log.end().segment + 1;
        let next_file = self.files().next;
        for slot in 0..writer.slots.len() {
            let state = writer.slots[slot];
            let has_ended = state.series != NO_SERIES && state.last_ms < ended_ms;
            if !has_ended || has_samples(&data, slot, &register) {
                continue;
            }
            if register.home_of(state.series).is_some() {
                register.remove(state.series, segment, next_file);
                self.counters.removed.fetch_add(1, Ordering::Relaxed);
            }
            writer.give_up(slot as u32);
            data.series[slot] = NO_SERIES;
        }
    }

    /// Takes a group out of the table that has no series and no sample and is not fed.
    fn forget_group(&self, group: &Group, now_ms: i64) {
        let mut writer = group.writer();
        let is_empty = {
            let data = group.data();
            data.series.iter().all(|&series| series == NO_SERIES)
                && data.tiles.is_empty()
                && data.unsealed_len() == 0
        };
        if is_empty && now_ms.saturating_sub(writer.fed_at_ms) >= GROUP_IDLE_MS {
            writer.is_gone = true;
            self.groups_write().remove(group);
        }
    }

    /// Removes series without a home that were there at the last truncation already.
    fn remove_homeless(&self, state: &mut Maintenance) {
        let mut register = self.register_write();
        let segment = self.log.end().segment + 1;
        let next_file = self.files().next;
        let homeless: Vec<u32> = register.homeless().collect();
        let (gone, stay): (Vec<u32>, Vec<u32>) =
            homeless.into_iter().partition(|id| state.homeless.contains(id));
        for id in gone {
            register.remove(id, segment, next_file);
            self.counters.removed.fetch_add(1, Ordering::Relaxed);
        }
        state.homeless = stay.into_iter().collect();
    }

    /// Forgets former homes that have nothing of the series any more.
    fn forget_former(&self) {
        let former: Vec<(u32, u32)> = {
            let register = self.register_read();
            let pairs = register.all_former();
            pairs.flat_map(|(series, groups)| groups.iter().map(move |&g| (series, g))).collect()
        };
        let has = |&(series, group): &(u32, u32)| {
            self.group(group).is_some_and(|group| {
                let data = group.data();
                data.loose.contains_key(&series) || data.tiles.iter().any(|tile| tile.holds(series))
            })
        };
        let kept: HashSet<(u32, u32)> = former.into_iter().filter(has).collect();
        self.register_write().forget_former(|series, group| kept.contains(&(series, group)));
    }

    /// Time of the oldest sample that is in no block.
    fn oldest_ms(&self) -> Option<i64> {
        let groups = self.groups_read().all();
        let oldest = groups.iter().filter_map(|group| {
            let data = group.data();
            let tiles = data.tiles.iter().map(|tile| tile.meta().min_ms.max(tile.clip_ms));
            tiles.chain(data.oldest_unsealed_ms()).min()
        });
        oldest.min().filter(|&t| t != NO_TIME)
    }
}

/// Whether the group, or one that was its home before, has a sample of the series in `slot`
/// that is in no block.
fn has_samples(data: &Data, slot: usize, register: &Register) -> bool {
    let series = data.series[slot];
    !data.columns[slot].is_empty()
        || data.loose.contains_key(&series)
        || !register.former(series).is_empty()
        || data.tiles.iter().any(|tile| tile.holds(series))
}

impl Data {
    /// A time that no unsealed sample lies below.
    fn oldest_unsealed_ms(&self) -> Option<i64> {
        let rows = if self.rows_len > 0 { self.times.first().copied() } else { None };
        let loose = self.loose.values().filter_map(|loose| loose.samples.timestamps.first());
        loose.copied().chain(rows).min()
    }
}
