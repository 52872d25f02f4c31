//! Checkpoints: the tables of the head, so that the log need only be kept from the oldest record
//! that no seal covers.
//!
//! A checkpoint holds no samples. It names the head files that hold them, and for each group the
//! record up to which they do. Bodies are those of log records and the ones below
//! (`storage-format.md`, section 7).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use hashbrown::HashMap;

use super::append::commit::group_body;
use super::extra::Extra;
use super::group::{Group, HAS_EXTRA, NO_SERIES, NO_TIME, SlotState, Writer};
use super::seal::Maintenance;
use super::{Event, Head};
use crate::disk::StorageError;
use crate::encoding::cursor::Cursor;
use crate::encoding::histogram::{read_histogram, write_histogram};
use crate::encoding::varint::{write_bytes, write_uvarint, write_varint};
use crate::wal::record::{RecordError, kind};
use crate::wal::{CheckpointWriter, Position};

/// Kinds of records that only checkpoints have.
pub(super) mod checkpoint_kind {
    /// Bounds and numbers of the head.
    pub(in crate::head) const STATE: u8 = 16;
    /// Slots of a group, with the last sample of each.
    pub(in crate::head) const GROUP_STATE: u8 = 17;
    /// Former homes of a series.
    pub(in crate::head) const FORMER: u8 = 18;
    /// Numbers that were given to groups and series.
    pub(in crate::head) const NUMBERS: u8 = 19;
    /// Label names and values, numbered from 0, for the series that follow.
    pub(in crate::head) const SYMBOLS: u8 = 20;
    /// Series whose labels are numbers of symbols.
    pub(in crate::head) const SERIES: u8 = 21;
}

/// Bounds and numbers of the head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HeadState {
    pub lower_ms: i64,
    pub newest_ms: i64,
    /// Samples below the border in files with smaller numbers are in blocks.
    pub clip: Option<(i64, u64)>,
    pub next_file: u64,
    /// Numbers of the head files in use.
    pub files: Vec<u64>,
}

/// Slots of a group.
#[derive(Debug, Clone)]
pub(super) struct GroupState {
    pub group: u32,
    pub sealed_record: u64,
    pub stored_record: u64,
    pub shape_version: u64,
    /// Number of the first row that no tile holds.
    pub next_row: u32,
    pub fed_at_ms: i64,
    pub slots: Vec<SlotState>,
    /// What the newest samples have besides their values, by series.
    pub extras: HashMap<u32, Extra>,
}

impl HeadState {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        write_varint(out, self.lower_ms);
        write_varint(out, self.newest_ms);
        let (border_ms, file) = self.clip.unwrap_or((NO_TIME, 0));
        write_varint(out, border_ms);
        write_uvarint(out, file);
        write_uvarint(out, self.next_file);
        let mut previous = 0;
        for &number in &self.files {
            write_uvarint(out, number - previous);
            previous = number;
        }
    }

    pub(super) fn read(cursor: &mut Cursor<'_>) -> Result<Self, RecordError> {
        let (lower_ms, newest_ms) = (cursor.varint()?, cursor.varint()?);
        let (border_ms, file) = (cursor.varint()?, cursor.uvarint()?);
        let clip = (border_ms != NO_TIME).then_some((border_ms, file));
        let next_file = cursor.uvarint()?;
        let mut files = Vec::new();
        let mut previous = 0_u64;
        while !cursor.is_empty() {
            previous = previous.saturating_add(cursor.uvarint()?);
            files.push(previous);
        }
        Ok(Self { lower_ms, newest_ms, clip, next_file, files })
    }
}

impl GroupState {
    fn of(group: &Group, writer: &Writer) -> Self {
        let data = group.data();
        let sealed_rows = data.tiles.iter().map(|tile| tile.meta().next_row).max();
        Self {
            group: group.id,
            sealed_record: writer.sealed_record,
            stored_record: writer.stored_record,
            shape_version: writer.shape_version,
            next_row: sealed_rows.unwrap_or(data.first_row),
            fed_at_ms: writer.fed_at_ms,
            slots: writer.slots.clone(),
            extras: writer.extras.clone(),
        }
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        write_uvarint(out, u64::from(self.group));
        write_uvarint(out, self.sealed_record);
        write_uvarint(out, self.stored_record - self.sealed_record);
        write_uvarint(out, self.shape_version);
        write_uvarint(out, u64::from(self.next_row));
        write_varint(out, self.fed_at_ms);
        let (mut series, mut last_ms) = (0_i64, 0_i64);
        for slot in &self.slots {
            if slot.series == NO_SERIES {
                out.push(SLOT_DEAD);
                continue;
            }
            let extra = slot.has_extra().then(|| self.extras.get(&slot.series)).flatten();
            out.push(match extra {
                _ if slot.last_ms == NO_TIME => SLOT_EMPTY,
                None => SLOT_FED,
                Some(_) => SLOT_FED_EXTRA,
            });
            write_varint(out, i64::from(slot.series) - series);
            series = i64::from(slot.series);
            if slot.last_ms != NO_TIME {
                write_varint(out, slot.last_ms.wrapping_sub(last_ms));
                last_ms = slot.last_ms;
                out.extend_from_slice(&slot.last_bits.to_le_bytes());
                if let Some(extra) = extra {
                    write_extra(extra, out);
                }
            }
        }
    }

    pub(super) fn read(cursor: &mut Cursor<'_>) -> Result<Self, RecordError> {
        let group = cursor.uvarint_u32()?;
        let sealed_record = cursor.uvarint()?;
        let stored_record = sealed_record.saturating_add(cursor.uvarint()?);
        let shape_version = cursor.uvarint()?;
        let next_row = cursor.uvarint_u32()?;
        let fed_at_ms = cursor.varint()?;
        let (mut slots, mut extras) = (Vec::new(), HashMap::new());
        let (mut series, mut last) = (0_i64, 0_i64);
        while !cursor.is_empty() {
            let offset = cursor.offset();
            let tag = cursor.u8()?;
            let mut slot = SlotState::new(NO_SERIES);
            if tag > SLOT_FED_EXTRA {
                return Err(RecordError { offset, what: "a slot of an unknown kind" });
            }
            if tag != SLOT_DEAD {
                series = series.wrapping_add(cursor.varint()?);
                let number = u32::try_from(series).ok().filter(|&id| id != NO_SERIES);
                let what = "a series number is too large";
                slot.series = number.ok_or(RecordError { offset, what })?;
            }
            if tag >= SLOT_FED {
                last = last.wrapping_add(cursor.varint()?);
                slot.last_ms = last;
                slot.last_bits = cursor.u64()?;
            }
            if tag == SLOT_FED_EXTRA {
                slot.epoch = HAS_EXTRA;
                extras.insert(slot.series, read_extra(cursor)?);
            }
            slots.push(slot);
        }
        Ok(Self {
            group,
            sealed_record,
            stored_record,
            shape_version,
            next_row,
            fed_at_ms,
            slots,
            extras,
        })
    }
}

const SLOT_DEAD: u8 = 0;
const SLOT_EMPTY: u8 = 1;
const SLOT_FED: u8 = 2;
const SLOT_FED_EXTRA: u8 = 3;

/// Start timestamp, then a histogram or nothing, in as many bytes as stand before it.
fn write_extra(extra: &Extra, out: &mut Vec<u8>) {
    write_varint(out, extra.start_ms);
    let mut bytes = Vec::new();
    if let Some(histogram) = &extra.histogram {
        write_histogram(None, histogram, &mut bytes);
    }
    write_bytes(out, &bytes);
}

fn read_extra(cursor: &mut Cursor<'_>) -> Result<Extra, RecordError> {
    let start_ms = cursor.varint()?;
    let bytes = cursor.sized_bytes()?;
    let histogram = if bytes.is_empty() {
        None
    } else {
        Some(Arc::new(read_histogram(None, &mut Cursor::new(bytes))?))
    };
    Ok(Extra { histogram, start_ms })
}

/// Former homes in one record.
const FORMER_AT_A_TIME: usize = 1 << 20;
/// Series that share a table of symbols in a checkpoint.
const SERIES_AT_A_TIME: usize = 20_000;

/// A checkpoint begins a new log segment where the current one is longer than this.
const ROTATE_BYTES_MIN: u64 = 256 << 10;

impl Head {
    /// Writes a checkpoint, then drops log segments, head files and resting ids that nothing
    /// needs any more.
    pub(super) fn checkpoint(&self, state: &mut Maintenance) -> Result<(), StorageError> {
        let began = self.options.clock.monotonic();
        // So that what is sealed by now can go with its segment. Without room for a new one the
        // old one stays.
        if self.log.segment_bytes() >= ROTATE_BYTES_MIN {
            let _ = self.log.rotate();
        }
        // Whatever is logged before this position is in the tables that are copied after it.
        let end = self.log.synced_end()?;
        let groups = self.groups_read().all();
        let mut bodies = Vec::with_capacity(groups.len() * 2);
        let mut position = end;
        for group in &groups {
            group_bodies(group, &mut position, &mut bodies);
        }
        // The oldest unsealed record may be younger than `end`, and then it does not count.
        let position = position.min(end);
        let dir = self.options.dir.join("checkpoint");
        let disk = Arc::clone(&self.options.disk);
        let mut writer = CheckpointWriter::create(disk, &dir, position)?;
        writer.append(checkpoint_kind::STATE, &self.state_body(state))?;
        self.write_tables(&mut writer)?;
        self.write_notes(&mut writer)?;
        for (kind, body) in &bodies {
            writer.append(*kind, body)?;
        }
        // Commits went on: what the tables know of them must not be more than the log keeps, or a
        // sample that a loss of power took would be refused when it is sent again.
        self.log.sync()?;
        let (droppable, bytes) = writer.commit()?;
        // While the one before is kept, it keeps its part of the log.
        state.is_checkpoint_due = droppable.sequence < position.sequence;
        state.checkpointed_at = self.options.clock.monotonic();
        state.checkpoint_took = state.checkpointed_at.saturating_sub(began);
        self.counters.checkpoints.fetch_add(1, Ordering::Relaxed);
        self.counters.checkpoint_bytes.store(bytes, Ordering::Relaxed);
        state.needed_from = droppable.sequence.min(position.sequence);
        let followed_from = self.log_kept_from.load(Ordering::Acquire);
        self.log.drop_before(state.needed_from.min(followed_from))?;
        let first_segment = self.log.segments().first().map_or(0, |segment| segment.number);
        self.drop_unused_files()?;
        let first_file = self.files().by_number.keys().next().copied().unwrap_or(u64::MAX);
        self.register_write().release_ids(first_segment, first_file);
        self.options.observer.observe(Event::Checkpointed { bytes, first_segment });
        Ok(())
    }

    fn state_body(&self, state: &Maintenance) -> Vec<u8> {
        let files = self.files();
        let in_use = files.by_number.values().filter(|file| file.is_in_use());
        let head = HeadState {
            lower_ms: self.bounds.lower_ms.load(Ordering::Acquire),
            newest_ms: self.bounds.newest_ms.load(Ordering::Acquire),
            clip: state.clip,
            next_file: files.next,
            files: in_use.map(|file| file.number).collect(),
        };
        let mut body = Vec::new();
        head.write(&mut body);
        body
    }

    /// Series, former homes, deletions.
    fn write_tables(&self, writer: &mut CheckpointWriter) -> Result<(), StorageError> {
        let mut numbers = Vec::new();
        write_uvarint(&mut numbers, u64::from(self.groups_read().numbers_end()));
        write_uvarint(&mut numbers, u64::from(self.register_read().ids_end()));
        writer.append(checkpoint_kind::NUMBERS, &numbers)?;
        let ids: Vec<u32> = self.register_read().ids().collect();
        // Some series at a time, so that new ones need not wait for all.
        for ids in ids.chunks(SERIES_AT_A_TIME) {
            let (symbols, series) = self.register_read().symbols_and_series(ids);
            writer.append(checkpoint_kind::SYMBOLS, &symbols)?;
            writer.append(checkpoint_kind::SERIES, &series)?;
        }
        for pairs in self.former_homes().chunks(FORMER_AT_A_TIME) {
            let mut former = Vec::new();
            for &(series, group) in pairs {
                write_uvarint(&mut former, u64::from(series));
                write_uvarint(&mut former, u64::from(group));
            }
            writer.append(checkpoint_kind::FORMER, &former)?;
        }
        self.deletions_read().write(&mut |body| writer.append(kind::DELETION, body))
    }

    /// Series with groups that may hold samples of them. Where a series has ended its home is one,
    /// and the first: it has no slot that would say so.
    fn former_homes(&self) -> Vec<(u32, u32)> {
        let register = self.register_read();
        let former = register.all_former();
        let former = former.flat_map(|(series, groups)| groups.iter().map(move |&g| (series, g)));
        register.ended().chain(former).collect()
    }

    /// Removes head files of which no group has a tile. The newest checkpoint does not name them.
    /// One in which damage was met goes to `quarantine/`: what it held is in no block.
    fn drop_unused_files(&self) -> Result<(), StorageError> {
        let mut files = self.files();
        let unused: Vec<u64> =
            files.by_number.values().filter(|f| !f.is_in_use()).map(|f| f.number).collect();
        for number in unused {
            if let Some(file) = files.by_number.remove(&number) {
                if file.is_damaged() {
                    self.quarantine(&file.path, "damage was met in it when it was flushed")?;
                    continue;
                }
                let removed = self.options.disk.remove_file(&file.path);
                removed.map_err(|e| StorageError::io("remove", &file.path, e))?;
            }
        }
        Ok(())
    }
}

/// Adds what a checkpoint says of a group, and lowers `position` to its oldest unsealed record.
fn group_bodies(group: &Group, position: &mut Position, bodies: &mut Vec<(u8, Vec<u8>)>) {
    let mut writer = group.writer();
    if writer.is_gone || (writer.slots.is_empty() && !writer.is_logged) {
        return;
    }
    if writer.unsealed_from.is_some() && group.data().unsealed_len() == 0 {
        // All that no seal covers was deleted: nothing is left that would ever be sealed.
        writer.forget_unsealed();
    }
    if let Some(from) = writer.unsealed_from {
        *position = (*position).min(from);
    }
    let mut body = Vec::new();
    GroupState::of(group, &writer).write(&mut body);
    bodies.push((kind::GROUP, group_body(group)));
    bodies.push((checkpoint_kind::GROUP_STATE, body));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn states_come_back() {
        let state = HeadState {
            lower_ms: -5,
            newest_ms: NO_TIME,
            clip: Some((7, 3)),
            next_file: 9,
            files: vec![3, 4, 8],
        };
        let mut out = Vec::new();
        state.write(&mut out);
        assert_eq!(HeadState::read(&mut Cursor::new(&out)), Ok(state));
        let slot = SlotState { series: 4, epoch: 0, last_ms: 77, last_bits: 9 };
        let histogram = crate::model::Histogram::Float(crate::model::FloatHistogram::default());
        let extra = Extra { histogram: Some(Arc::new(histogram)), start_ms: -7 };
        let slots = vec![
            slot,
            SlotState { series: 9, epoch: HAS_EXTRA, ..slot },
            SlotState { series: NO_SERIES, ..slot },
            SlotState { series: 1, last_ms: NO_TIME, ..slot },
        ];
        let state = GroupState {
            group: 3,
            sealed_record: 5,
            stored_record: 8,
            shape_version: 2,
            next_row: 120,
            fed_at_ms: 1,
            slots,
            extras: [(9, extra)].into_iter().collect(),
        };
        let mut out = Vec::new();
        state.write(&mut out);
        let found = GroupState::read(&mut Cursor::new(&out)).unwrap();
        let seen: Vec<_> = found.slots.iter().map(|s| (s.series, s.last_ms)).collect();
        assert_eq!(seen, [(4, 77), (9, 77), (NO_SERIES, NO_TIME), (1, NO_TIME)]);
        assert!(found.slots[1].has_extra() && !found.slots[0].has_extra());
        assert_eq!(found.extras[&9].start_ms, -7);
        assert_eq!(found.extras[&9].histogram, state.extras[&9].histogram);
        assert_eq!((found.stored_record, found.slots[0].last_bits), (8, 9));
    }

    proptest! {
        #[test]
        fn wild_bytes_do_not_panic(bytes: Vec<u8>) {
            let _ = HeadState::read(&mut Cursor::new(&bytes));
            let _ = GroupState::read(&mut Cursor::new(&bytes));
        }
    }
}
