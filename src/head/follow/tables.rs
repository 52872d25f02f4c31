//! The tables of a follower: series, groups, slots, and how they are written down.

use hashbrown::HashMap;

use super::FollowedSeries;
use crate::disk::StorageError;
use crate::encoding::cursor::Cursor;
use crate::encoding::varint::{write_uvarint, write_varint};
use crate::head::group::{Group, NO_SERIES};
use crate::model::Labels;
use crate::wal::record::{RecordError, SeriesEntry, SeriesReader, SeriesWriter, Shape, kind};

/// Kind of the record that has the slots of a group.
const GROUP_SLOTS: u8 = 32;
/// Size at which a series record is ended and another begun.
const SERIES_RECORD_BYTES: usize = 1 << 20;
/// Flags of a slot.
const KNOWN: u8 = 1;
const HAS_START: u8 = 2;
/// How far beyond the series known a series may be numbered: ids are dense.
const IDS_AHEAD_MAX: usize = 1 << 26;

/// Takes records: kind and body.
pub(super) type TakeRecord<'a> = &'a mut dyn FnMut(u8, &[u8]) -> Result<(), StorageError>;

/// A slot of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) series: u32,
    /// Bits of the newest sample, where it is known.
    pub(super) bits: u64,
    pub(super) is_known: bool,
}

/// What is known of a group.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct GroupSlots {
    /// Number of the last record that was read.
    pub(super) seen: u64,
    version: u64,
    pub(super) slots: Vec<Slot>,
    /// When counters began, by slot, where that is known.
    starts: HashMap<u32, i64>,
}

impl GroupSlots {
    /// Records are missing: values count again from the next that stands alone.
    pub(super) fn forget_values(&mut self) {
        self.slots.iter_mut().for_each(|slot| slot.is_known = false);
    }

    pub(super) fn start_ms(&self, slot: u32) -> i64 {
        self.starts.get(&slot).copied().unwrap_or(0)
    }

    pub(super) fn set_start_ms(&mut self, slot: u32, start_ms: i64) {
        if start_ms != 0 {
            self.starts.insert(slot, start_ms);
        } else if !self.starts.is_empty() {
            self.starts.remove(&slot);
        }
    }

    /// Takes new slots, or all slots anew; the values of series that stay are kept.
    fn reshape(&mut self, shape: &Shape) -> Result<(), RecordError> {
        if shape.is_full {
            if shape.version <= self.version {
                return Ok(());
            }
            let mut values: HashMap<u32, (Slot, i64)> = HashMap::new();
            for (n, slot) in (0..).zip(&self.slots) {
                values.insert(slot.series, (*slot, self.start_ms(n)));
            }
            self.slots.clear();
            self.starts.clear();
            for (n, &series) in (0..).zip(&shape.series) {
                let empty = (Slot { series, bits: 0, is_known: false }, 0);
                let (slot, start_ms) = values.get(&series).copied().unwrap_or(empty);
                self.slots.push(slot);
                self.set_start_ms(n, start_ms);
            }
        } else {
            for (n, &series) in (shape.first_slot as usize..).zip(&shape.series) {
                if n > self.slots.len() {
                    let what = "slots behind some that are not known";
                    return Err(RecordError { offset: 0, what });
                }
                if n == self.slots.len() {
                    self.slots.push(Slot { series, bits: 0, is_known: false });
                }
            }
        }
        self.version = self.version.max(shape.version);
        Ok(())
    }

    fn write(&self, id: u32) -> Vec<u8> {
        let mut body = Vec::with_capacity(self.slots.len() * 10 + 16);
        write_uvarint(&mut body, u64::from(id));
        write_uvarint(&mut body, self.seen);
        write_uvarint(&mut body, self.version);
        let mut before = 0_i64;
        for (n, slot) in (0..).zip(&self.slots) {
            let start_ms = self.start_ms(n);
            let start = if start_ms == 0 { 0 } else { HAS_START };
            body.push(start | if slot.is_known { KNOWN } else { 0 });
            write_varint(&mut body, i64::from(slot.series) - before);
            before = i64::from(slot.series);
            if slot.is_known {
                body.extend_from_slice(&slot.bits.to_le_bytes());
            }
            if start_ms != 0 {
                write_varint(&mut body, start_ms);
            }
        }
        body
    }

    fn read(cursor: &mut Cursor<'_>) -> Result<(u32, Self), RecordError> {
        let id = cursor.uvarint_u32()?;
        let (seen, version) = (cursor.uvarint()?, cursor.uvarint()?);
        let mut group = Self { seen, version, ..Self::default() };
        let mut series = 0_i64;
        while !cursor.is_empty() {
            let offset = cursor.offset();
            let flags = cursor.u8()?;
            series = series.wrapping_add(cursor.varint()?);
            let bad = |what| RecordError { offset, what };
            if flags & !(KNOWN | HAS_START) != 0 {
                return Err(bad("a slot with unknown flags"));
            }
            let series = u32::try_from(series).map_err(|_| bad("a series number too large"))?;
            let is_known = flags & KNOWN != 0;
            let bits = if is_known { cursor.u64()? } else { 0 };
            let n = group.slots.len() as u32;
            group.slots.push(Slot { series, bits, is_known });
            if flags & HAS_START != 0 {
                group.set_start_ms(n, cursor.varint()?);
            }
        }
        Ok((id, group))
    }
}

/// Series and groups.
#[derive(Debug, Default)]
pub(super) struct Tables {
    /// By number.
    series: Vec<Option<FollowedSeries>>,
    groups: HashMap<u32, GroupSlots>,
}

impl Tables {
    pub(super) fn set_series(&mut self, series: FollowedSeries) {
        let at = series.id as usize;
        if at >= self.series.len() {
            self.series.resize(at + 1, None);
        }
        self.series[at] = Some(series);
    }

    pub(super) fn read_series(&mut self, entry: SeriesEntry<'_>) -> Result<(), RecordError> {
        let SeriesEntry { id, generation, labels } = entry;
        let known = self.series.get(id as usize).and_then(Option::as_ref);
        if known.is_some_and(|known| known.generation == generation) {
            return Ok(());
        }
        if id as usize > self.series.len() + IDS_AHEAD_MAX {
            return Err(RecordError { offset: 0, what: "a series number too large" });
        }
        let labels = Labels::from_bytes(labels)
            .ok_or(RecordError { offset: 0, what: "labels that are not canonical" })?;
        self.set_series(FollowedSeries { id, generation, labels });
        Ok(())
    }

    pub(super) fn add_group(&mut self, id: u32) {
        self.groups.entry(id).or_default();
    }

    pub(super) fn shape(&mut self, shape: &Shape) -> Result<(), RecordError> {
        match self.groups.get_mut(&shape.group) {
            Some(group) => group.reshape(shape),
            None => Err(RecordError { offset: 0, what: "slots of a group that is not known" }),
        }
    }

    /// A group, and the series that its slots name.
    pub(super) fn group_mut(
        &mut self,
        id: u32,
    ) -> Option<(&mut GroupSlots, &[Option<FollowedSeries>])> {
        Some((self.groups.get_mut(&id)?, &self.series))
    }

    pub(super) fn groups(&self) -> impl Iterator<Item = u32> + '_ {
        self.groups.keys().copied()
    }

    /// Lets go of groups, and of the series that only they had.
    pub(super) fn forget_groups(&mut self, groups: &[u32]) {
        for id in groups {
            self.groups.remove(id);
        }
        let mut used = vec![false; self.series.len()];
        let slots = self.groups.values().flat_map(|group| &group.slots);
        for slot in slots {
            if let Some(used) = used.get_mut(slot.series as usize) {
                *used = true;
            }
        }
        for (series, used) in self.series.iter_mut().zip(used) {
            if !used {
                *series = None;
            }
        }
    }

    /// Takes the slots that the log knows of a group in the head.
    pub(super) fn capture_group(&mut self, group: &Group) {
        let writer = group.writer();
        if writer.is_gone || !writer.is_logged {
            return;
        }
        let mut captured = GroupSlots {
            seen: writer.stored_record,
            version: writer.shape_version,
            ..GroupSlots::default()
        };
        for (n, state) in (0..).zip(&writer.slots[..writer.logged_slots]) {
            let is_known = state.series != NO_SERIES;
            captured.slots.push(Slot { series: state.series, bits: state.last_bits, is_known });
            if is_known {
                captured.set_start_ms(n, writer.extra(n).start_ms);
            }
        }
        self.groups.insert(group.id, captured);
    }

    /// Hands over the records that [`Tables::read`] takes.
    pub(super) fn write(&self, take: TakeRecord<'_>) -> Result<(), StorageError> {
        let mut writer = SeriesWriter::default();
        for series in self.series.iter().flatten() {
            let FollowedSeries { id, generation, labels } = series;
            let (id, generation) = (*id, *generation);
            writer.push(SeriesEntry { id, generation, labels: labels.as_bytes() });
            if writer.len() >= SERIES_RECORD_BYTES {
                take(kind::SERIES, &writer.take())?;
            }
        }
        if !writer.is_empty() {
            take(kind::SERIES, &writer.take())?;
        }
        for (id, group) in &self.groups {
            take(GROUP_SLOTS, &group.write(*id))?;
        }
        Ok(())
    }

    pub(super) fn read(&mut self, kind: u8, payload: &[u8]) -> Result<(), RecordError> {
        let cursor = &mut Cursor::new(payload);
        match kind {
            kind::SERIES => {
                let mut reader = SeriesReader::default();
                while let Some(entry) = reader.next(cursor)? {
                    self.read_series(entry)?;
                }
            }
            GROUP_SLOTS => {
                let (id, group) = GroupSlots::read(cursor)?;
                self.groups.insert(id, group);
            }
            _ => return Err(RecordError { offset: 0, what: "a record of an unknown kind" }),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn tables_come_back() {
        let mut tables = Tables::default();
        let labels = |n: u32| Labels::from_pairs([("n", n.to_string())]);
        for id in [0, 3, 9] {
            tables.set_series(FollowedSeries { id, generation: id, labels: labels(id) });
        }
        tables.add_group(7);
        let shape = |version, is_full, first_slot, series: &[u32]| Shape {
            group: 7,
            version,
            is_full,
            first_slot,
            series: series.to_vec(),
        };
        tables.shape(&shape(0, false, 0, &[9, 0])).unwrap();
        tables.shape(&shape(0, false, 1, &[0, 3])).unwrap();
        assert!(tables.shape(&shape(0, false, 5, &[3])).is_err());
        let group = tables.groups.get_mut(&7).unwrap();
        group.seen = 12;
        group.slots[2].bits = 77;
        group.slots[2].is_known = true;
        group.set_start_ms(2, -5);
        let mut again = Tables::default();
        let mut take = |kind, body: &[u8]| {
            again.read(kind, body).unwrap();
            Ok(())
        };
        tables.write(&mut take).unwrap();
        assert_eq!(again.groups, tables.groups);
        assert_eq!(again.series[9].as_ref().unwrap().labels, labels(9));
        assert!(again.series[1].is_none());
        // All slots anew: what a series had it keeps; an older shape changes nothing.
        again.shape(&shape(1, true, 0, &[3, 9])).unwrap();
        again.shape(&shape(1, true, 0, &[0])).unwrap();
        let group = &again.groups[&7];
        assert_eq!(group.slots[0], Slot { series: 3, bits: 77, is_known: true });
        assert_eq!((group.start_ms(0), group.start_ms(1), group.slots.len()), (-5, 0, 2));
        again.forget_groups(&[7]);
        assert!(again.series.iter().all(Option::is_none));
    }

    proptest! {
        #[test]
        fn wild_bytes_are_slots_or_an_error(bytes: Vec<u8>) {
            let _ = GroupSlots::read(&mut Cursor::new(&bytes));
        }
    }
}
