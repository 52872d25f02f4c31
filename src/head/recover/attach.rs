//! The last step of recovery: tiles go to their groups, numbers go on where they ended.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use hashbrown::HashSet;

use super::Recovery;
use crate::head::extra::Extra;
use crate::head::group::{Group, NO_SERIES};
use crate::head::tile::{HeadFile, TileRef};
use crate::model::Samples;

impl Recovery<'_> {
    /// Groups that tiles know and nothing else does: the log lost them.
    pub(super) fn lost_groups(&self, files: &[Arc<HeadFile>]) -> HashSet<u32> {
        let groups = files.iter().flat_map(|file| file.tiles()).map(|tile| tile.group);
        groups.filter(|&group| self.head.group(group).is_none()).collect()
    }

    /// What everyone may know before the log is replayed: bounds of time, files, numbers.
    pub(super) fn prepare(&self, files: &[Arc<HeadFile>]) {
        for file in files {
            let clip_ms = self.clip_ms(file);
            for tile in file.tiles().iter().filter(|tile| tile.max_ms >= clip_ms) {
                self.head.saw(tile.min_ms.max(clip_ms), tile.max_ms);
            }
            self.head.files().by_number.insert(file.number, Arc::clone(file));
        }
        self.head.bounds.newest_ms.fetch_max(self.state.newest_ms, Ordering::AcqRel);
        if let Some(flushed_ms) = self.head.options.flushed_until_ms {
            self.head.raise_lower(flushed_ms);
        }
        let in_files = files.iter().filter_map(|file| file.series_max()).max();
        let ids_end = self.ids_end.max(in_files.map_or(0, |id| id.saturating_add(1)));
        let next_file = self.head.files().next;
        let segment = self.head.log.end().segment;
        self.head.register_write().rest_vacant(ids_end, segment, next_file);
    }

    /// Below which time the samples of a file are in blocks.
    fn clip_ms(&self, file: &HeadFile) -> i64 {
        let clip = self.state.clip.filter(|clip| file.number < clip.1).map(|clip| clip.0);
        let options = &self.head.options;
        let flushed = options.flushed_until_ms.filter(|_| options.out_of_order_window_ms == 0);
        clip.unwrap_or(i64::MIN).max(flushed.unwrap_or(i64::MIN))
    }

    /// Gives a tile to its group. From one that `is_new` to the checkpoint more is learned.
    pub(super) fn attach_tile(&self, file: &Arc<HeadFile>, index: u32, is_new: bool) {
        let meta = *file.tile(index);
        let clip_ms = self.clip_ms(file);
        let Some(group) = self.head.group(meta.group) else { return };
        if is_new {
            self.learn_from_tile(file, index, &group);
        }
        if meta.max_ms < clip_ms {
            return;
        }
        let mut data = group.data();
        file.use_tile(true);
        data.tiles.push(TileRef { file: Arc::clone(file), index, clip_ms });
    }

    /// Takes the newest sample of each series, and series that lived here once, from a tile that
    /// no checkpoint knows. A chunk that does not read is left for its readers to find.
    fn learn_from_tile(&self, file: &HeadFile, index: u32, group: &Group) {
        let mut columns: Vec<Option<Vec<i64>>> = vec![None; file.tile(index).columns as usize];
        for n in 0..file.tile(index).entries {
            let entry = file.entry(index, n);
            let Some(home) = self.head.register_read().home_of(entry.series) else { continue };
            if home.group != group.id {
                self.head.register_write().add_former(entry.series, group.id);
            }
            let times = columns[entry.column as usize].get_or_insert_with(|| {
                let mut times = Vec::new();
                let read = file.read_column(index, entry.column, &mut times);
                read.map_or(Vec::new(), |()| times)
            });
            let (start, count) = (entry.start as usize, entry.count as usize);
            let Some(times) = times.get(start..start + count) else { continue };
            let last_ms = times[count - 1];
            let Some(home_group) = self.head.group(home.group) else { continue };
            let mut writer = home_group.writer();
            let Some(slot) = writer.slots.get_mut(home.slot as usize) else { continue };
            let mut last = Samples::default();
            let range = count - 1..count;
            if last_ms > slot.last_ms
                && file.read_samples(index, &entry, times, range, &mut last).is_ok()
            {
                slot.last_ms = last_ms;
                slot.last_bits = last.values[0].to_bits();
                let extra =
                    Extra { histogram: last.histogram(0).cloned(), start_ms: last.start_ms(0) };
                writer.set_extra(home.slot, extra);
            }
        }
    }

    /// Sets the numbers of a group on where log and tiles end.
    pub(super) fn finish_group(&self, group: &Group, now_ms: i64) {
        let (seen, covered) = self.tail(group.id);
        let mut writer = group.writer();
        let data = group.data();
        let unsealed = data.unsealed_len() > 0;
        writer.sealed_record = writer.sealed_record.max(covered);
        writer.stored_record = writer.stored_record.max(seen).max(covered);
        writer.record = writer.stored_record;
        if unsealed || writer.fed_at_ms == 0 {
            writer.fed_at_ms = now_ms;
        }
        debug_assert!(
            writer.slots.len() == data.series.len()
                && writer.slots.iter().zip(&data.series).all(|(s, &id)| s.series == id),
            "BUG: slots and streams of a group go together"
        );
        debug_assert!(data.loose.keys().all(|&series| series != NO_SERIES));
    }
}
