//! Series that ended: sealed by themselves, and from then on labels, postings and chunks in files.
//!
//! A series has ended when its newest sample lies twenty minutes below the head's newest. What it
//! has in memory is sealed, on its own where the rest of the group goes on, and its slot is given
//! up; the group stays its home, so that its chunks are found. When it is fed again it gets a new
//! slot, and its newest sample is read back from its chunks: what comes next is judged by it. At
//! the flush that takes its last samples it leaves.
//!
//! A seal of ended series covers no record of the group: after a crash the log brings their
//! samples back to memory, where they are once more what the files have already.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use hashbrown::HashMap;
use roaring::RoaringBitmap;

use super::Head;
use super::extra::Extra;
use super::group::{Group, NO_SERIES, NO_TIME, SlotState};
use super::register::{Home, NO_SLOT};
use crate::disk::StorageError;
use crate::model::{Samples, TimeRange};

/// Time without samples after which a series has ended.
const ENDED_MS: i64 = 20 * 60_000;
/// Series removed under one lock.
const REMOVED_PER_LOCK: usize = 512;

/// Newest samples by series: time, bits, what it has besides.
pub(super) type LastSamples = HashMap<u32, (i64, u64, Extra)>;

impl SlotState {
    /// Whether the slot's series was not fed after `until_ms`.
    pub(super) fn has_ended(&self, until_ms: i64) -> bool {
        self.series != NO_SERIES && self.last_ms != NO_TIME && self.last_ms <= until_ms
    }
}

impl Head {
    /// Series whose newest sample does not lie above this time have ended.
    pub(super) fn ended_until_ms(&self) -> i64 {
        self.newest_ms().map_or(NO_TIME, |newest_ms| newest_ms.saturating_sub(ENDED_MS))
    }

    /// Groups with slots of series that have ended.
    pub(super) fn groups_with_ended(&self, until_ms: i64) -> Vec<Arc<Group>> {
        let mut groups = self.groups_read().all();
        groups.retain(|group| {
            let writer = group.writer();
            !writer.is_gone && writer.slots.iter().any(|slot| slot.has_ended(until_ms))
        });
        groups
    }

    /// Gives up the slots of series that have ended and have nothing in memory.
    pub(super) fn free_ended(&self, group: &Group, until_ms: i64) {
        let mut writer = group.writer();
        let mut register = self.register_write();
        let mut data = group.data();
        for slot in 0..writer.slots.len() {
            let state = writer.slots[slot];
            let series = state.series;
            let is_bare = data.columns[slot].is_empty() && !data.loose.contains_key(&series);
            if !state.has_ended(until_ms) || !is_bare || register.home_of(series).is_none() {
                continue;
            }
            writer.give_up(slot as u32);
            data.series[slot] = NO_SERIES;
            data.disturbed += 1;
            register.set_home(series, Home { group: group.id, slot: NO_SLOT });
        }
    }

    /// The newest samples of those of `ids` that have ended.
    pub(super) fn last_samples(&self, ids: &[u32]) -> LastSamples {
        let ended: RoaringBitmap = {
            let register = self.register_read();
            let has_ended = |id: &u32| register.home_of(*id).is_some_and(Home::has_ended);
            ids.iter().copied().filter(has_ended).collect()
        };
        let mut lasts = HashMap::new();
        if ended.is_empty() {
            return lasts;
        }
        let never = |_| Ok::<(), StorageError>(());
        let Ok(captured) = self.capture(&ended, TimeRange::ALL, &never) else { return lasts };
        let mut samples = Samples::default();
        for index in 0..captured.len() {
            // Where a chunk is damaged its readers are told; the newest that reads judges.
            captured.read_around(index, TimeRange::ALL, &mut samples, &mut |_| {});
            let Some(last) = samples.len().checked_sub(1) else { continue };
            let extra = Extra {
                histogram: samples.histogram(last).cloned(),
                start_ms: samples.start_ms(last),
            };
            let bits = samples.values[last].to_bits();
            lasts.insert(captured.id(index).0, (samples.timestamps[last], bits, extra));
        }
        lasts
    }

    /// Removes ended series of which no sample is left that is in no block.
    pub(super) fn remove_ended(&self) {
        let ended: Vec<(u32, Vec<u32>)> = {
            let register = self.register_read();
            let groups_of = |(id, group)| {
                let former = register.former(id).iter().copied();
                (id, former.chain([group]).collect())
            };
            register.ended().map(groups_of).collect()
        };
        let holds = |id: u32, group: &u32| {
            self.group(*group).is_some_and(|group| {
                let data = group.data();
                data.loose.contains_key(&id) || data.tiles.iter().any(|tile| tile.holds(id))
            })
        };
        let gone = |(id, groups): &(u32, Vec<u32>)| !groups.iter().any(|group| holds(*id, group));
        let gone: Vec<u32> = ended.into_iter().filter(gone).map(|(id, _)| id).collect();
        for ids in gone.chunks(REMOVED_PER_LOCK) {
            let segment = self.log.end().segment + 1;
            let next_file = self.files().next;
            let mut register = self.register_write();
            for &id in ids {
                // It may have been fed again.
                if register.home_of(id).is_some_and(Home::has_ended) {
                    register.remove(id, segment, next_file);
                    self.counters.removed.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }
}
