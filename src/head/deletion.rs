//! Samples that were deleted.
//!
//! A deletion concerns what stands before it and nothing that comes after. What of that is in
//! memory is taken out at once; what is in head files is hidden by an entry that names the first
//! file it does not concern. The end of the interval is cut to the series' newest sample of that
//! moment. It is logged and synced before it is answered; replay applies it at its place between
//! the rows. Every checkpoint keeps an entry until no file is left that it hides something in.
//!
//! A deletion holds the maintenance lock: no seal is half-way, and no series changes its home.

use std::collections::BTreeMap;

use hashbrown::HashMap;
use roaring::RoaringBitmap;

use super::Head;
use super::column::Column;
use super::extra::Extra;
use super::group::{Data, Group, NO_TIME};
use super::register::{HOMELESS, Register};
use crate::disk::StorageError;
use crate::model::TimeRange;
use crate::wal::record::{self, DeletionEntry, kind};

/// Size at which a record is ended and another begun.
const RECORD_BYTES: usize = 8 << 20;

/// A hidden interval of one series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hidden {
    range: TimeRange,
    /// Files with smaller numbers are concerned.
    below_file: u64,
}

impl Hidden {
    /// Whether it hides a sample at `t_ms` in the head file with this number.
    pub(super) fn hides(&self, file: u64, t_ms: i64) -> bool {
        file < self.below_file && self.range.contains(t_ms)
    }
}

/// Hidden intervals by series.
#[derive(Debug, Default)]
pub(super) struct Deletions {
    by_series: HashMap<u32, Vec<Hidden>>,
}

impl Deletions {
    fn add(&mut self, entry: DeletionEntry) {
        let range = TimeRange { min_ms: entry.min_ms, max_ms: entry.max_ms };
        let hidden = self.by_series.entry(entry.id).or_default();
        match hidden.iter_mut().find(|hidden| hidden.range == range) {
            Some(same) => same.below_file = same.below_file.max(entry.below_file),
            None => hidden.push(Hidden { range, below_file: entry.below_file }),
        }
    }

    pub(super) fn of(&self, series: u32) -> Option<&Vec<Hidden>> {
        self.by_series.get(&series)
    }

    /// Hands over bodies of records that hold them all.
    pub(super) fn write(
        &self,
        take: &mut dyn FnMut(&[u8]) -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        let mut body = Vec::new();
        for (&id, hidden) in &self.by_series {
            for &Hidden { range: TimeRange { min_ms, max_ms }, below_file } in hidden {
                record::write_deletion(&mut body, DeletionEntry { id, min_ms, max_ms, below_file });
            }
            if body.len() >= RECORD_BYTES {
                take(&body)?;
                body.clear();
            }
        }
        if body.is_empty() { Ok(()) } else { take(&body) }
    }

    /// Forgets those of series that are not `live`, those that end below `border_ms`, and those
    /// of which no file is left.
    fn forget(&mut self, border_ms: i64, first_file: u64, live: impl Fn(u32) -> bool) {
        self.by_series.retain(|&series, hidden| {
            hidden.retain(|h| h.range.max_ms >= border_ms && h.below_file > first_file);
            !hidden.is_empty() && live(series)
        });
    }
}

/// A series that is concerned, and where it lives; the slot is none where it has no home.
struct Concerned {
    id: u32,
    slot: Option<u32>,
}

impl Head {
    /// Deletes the samples of `ids` within `range` that were committed before the call; durable
    /// when it returns.
    pub fn delete(&self, ids: &RoaringBitmap, range: TimeRange) -> Result<(), StorageError> {
        self.check_open()?;
        let mut state = self.maintenance()?;
        let below_file = self.files().next;
        let mut by_group: BTreeMap<u32, Vec<Concerned>> = BTreeMap::new();
        {
            let register = self.register_read();
            for id in ids {
                let Some(home) = register.home_of(id) else { continue };
                let slot = (home.group != HOMELESS).then_some(home.slot);
                by_group.entry(home.group).or_default().push(Concerned { id, slot });
            }
        }
        for (group, concerned) in by_group {
            let group = if group == HOMELESS { None } else { self.group(group) };
            self.delete_in(group.as_deref(), &concerned, range, below_file)?;
        }
        state.is_checkpoint_due = true;
        // Also where nothing was to be done: an earlier try may have failed here.
        self.log.sync()
    }

    /// Deletes samples of series that live in `group`.
    fn delete_in(
        &self,
        group: Option<&Group>,
        concerned: &[Concerned],
        range: TimeRange,
        below_file: u64,
    ) -> Result<(), StorageError> {
        // Held from before the record is logged: the order of the group's records in the log is
        // the order in which memory changes.
        let writer = group.map(Group::writer);
        let mut entries = Vec::with_capacity(concerned.len());
        for series in concerned {
            let slots = writer.as_ref().map(|writer| &writer.slots);
            let state = slots.zip(series.slot).and_then(|(slots, slot)| slots.get(slot as usize));
            let last_ms = match state {
                Some(state) if state.series == series.id => state.last_ms,
                // What it has lies in groups that were its home before.
                _ => self.newest_ms().unwrap_or(NO_TIME),
            };
            let max_ms = range.max_ms.min(last_ms);
            if range.min_ms <= max_ms && last_ms != NO_TIME {
                let min_ms = range.min_ms;
                entries.push(DeletionEntry { id: series.id, min_ms, max_ms, below_file });
            }
        }
        let mut body = Vec::new();
        for (i, &entry) in entries.iter().enumerate() {
            record::write_deletion(&mut body, entry);
            if body.len() >= RECORD_BYTES || i + 1 == entries.len() {
                self.log.append(&[(kind::DELETION, &body)])?;
                body.clear();
            }
        }
        for entry in entries {
            self.apply_deletion(entry);
        }
        Ok(())
    }

    /// Takes what is in memory out, and hides what is in files.
    fn apply_deletion(&self, entry: DeletionEntry) {
        let range = TimeRange { min_ms: entry.min_ms, max_ms: entry.max_ms };
        let groups = groups_of(&self.register_read(), entry.id);
        for (group, slot) in groups {
            if let Some(group) = self.group(group) {
                group.data().remove(entry.id, slot, range);
            }
        }
        self.deletions_write().add(entry);
    }

    /// Applies a deletion of the log at its place between the rows. Only one that begins in a
    /// group that is `concerned`: the others are replayed elsewhere.
    pub(super) fn replay_deletion(&self, entry: DeletionEntry, concerned: impl Fn(u32) -> bool) {
        let first = groups_of(&self.register_read(), entry.id).first().map(|group| group.0);
        if first.is_some_and(concerned) {
            self.apply_deletion(entry);
        }
    }

    /// Hides what a deletion of the log or of a checkpoint hides in files. Returns the groups that
    /// may hold more of it.
    pub(super) fn note_deletion(&self, entry: DeletionEntry) -> Vec<u32> {
        self.deletions_write().add(entry);
        {
            // The files below may be lost; their numbers must not be used for what comes later.
            let mut files = self.files();
            files.next = files.next.max(entry.below_file);
        }
        groups_of(&self.register_read(), entry.id).into_iter().map(|group| group.0).collect()
    }

    /// Forgets deletions that hide nothing any more.
    pub(super) fn forget_deletions(&self) {
        let oldest_ms = self.bounds.oldest_ms.load(std::sync::atomic::Ordering::Acquire);
        let first_file = {
            let files = self.files();
            let in_use = files.by_number.values().filter(|file| file.is_in_use());
            in_use.map(|file| file.number).min().unwrap_or(u64::MAX)
        };
        let register = self.register_read();
        self.deletions_write().forget(oldest_ms, first_file, |series| register.is_live(series));
    }
}

/// Groups that may hold samples of a series, with its slot where it has one.
fn groups_of(register: &Register, id: u32) -> Vec<(u32, Option<u32>)> {
    let home = register.home_of(id).filter(|home| home.group != HOMELESS);
    let former = register.former(id).iter().filter(|&&group| home.is_none_or(|h| h.group != group));
    home.iter()
        .map(|home| (home.group, Some(home.slot)))
        .chain(former.map(|&g| (g, None)))
        .collect()
}

impl Data {
    /// Takes out the samples of `series` within `range` that no tile holds.
    fn remove(&mut self, series: u32, slot: Option<u32>, range: TimeRange) {
        let slot =
            slot.map(|slot| slot as usize).filter(|&slot| self.series.get(slot) == Some(&series));
        let mut gone = slot.map_or(0, |slot| {
            let column = &mut self.columns[slot];
            let (gone, known) = remove_rows(column, &self.times, self.first_row, range);
            if column.is_rich() && gone > 0 {
                self.rich.insert(series, known);
            }
            self.rows_len -= gone;
            gone
        });
        if let Some(loose) = self.loose.get_mut(&series) {
            let before = loose.samples.len();
            loose.samples.retain(|t_ms| !range.contains(t_ms));
            let loose_gone = before - loose.samples.len();
            if loose.samples.is_empty() {
                self.loose.remove(&series);
            }
            self.loose_len -= loose_gone;
            gone += loose_gone;
        }
        self.disturbed += u64::from(gone > 0);
    }
}

/// Takes the rows within `range` out of a column; gives their number, and what is known then.
fn remove_rows(
    column: &mut Column,
    times: &[i64],
    first_row: u32,
    range: TimeRange,
) -> (usize, Extra) {
    let time_of = |row: u32| times[(row - first_row) as usize];
    let begin = first_row + times.partition_point(|&t| t < range.min_ms) as u32;
    let end = first_row + times.partition_point(|&t| t <= range.max_ms) as u32;
    if column.is_empty() || end <= column.start_row() || begin >= column.cursor() {
        return (0, Extra::default());
    }
    let before = column.samples();
    let mut kept = column.clone();
    kept.reset(column.start_row());
    let known = column.copy_to(&mut kept, |row| !range.contains(time_of(row)));
    *column = kept;
    ((before - column.samples()) as usize, known)
}
