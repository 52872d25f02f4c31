//! Replay of series, groups, shapes and deletions, from a checkpoint or the log.

use hashbrown::{HashMap, HashSet};

use super::Recovery;
use crate::disk::StorageError;
use crate::encoding::cursor::Cursor;
use crate::encoding::varint::write_str;
use crate::head::checkpoint::{GroupState, HeadState, checkpoint_kind};
use crate::head::extra::Extra;
use crate::head::group::{Data, Group, NO_SERIES, SlotState};
use crate::head::register::{HOMELESS, Home};
use crate::head::{GroupKey, SeriesId, SeriesRef};
use crate::model::Labels;
use crate::wal::record::{
    RecordError, SeriesReader, Shape, kind, read_deletion, read_exemplar, read_group,
    read_metadata, read_shape,
};
use crate::wal::{CheckpointReader, Position};

impl Recovery<'_> {
    /// Reads all tables of a checkpoint. Its bytes were checked as a whole, so what does not read
    /// was written by another version.
    pub(super) fn read_checkpoint(
        &mut self,
        checkpoint: &mut CheckpointReader,
    ) -> Result<(), StorageError> {
        let dir = self.head.options.dir.join("checkpoint");
        let position = checkpoint.position();
        if self.head.options.replay_threads > 0 {
            self.head.register_write().index.fold_beside();
        }
        while let Some((kind, payload)) = checkpoint.next_record()? {
            if let Err(error) = self.apply(position, kind, payload) {
                self.head.tell(&dir, &error.to_string());
            }
        }
        self.forget_symbols();
        self.head.raise_lower(self.state.lower_ms);
        // Before the log is scanned: what has ended is tied to the group whose files it lies in.
        let groups = self.head.groups_read().all();
        let known: HashSet<u32> = groups.iter().map(|group| group.id).collect();
        self.head.register_write().end_homeless(|group| known.contains(&group));
        Ok(())
    }

    /// Takes over the symbols that the series behind them name.
    fn read_symbols(&mut self, cursor: &mut Cursor<'_>) -> Result<(), RecordError> {
        self.forget_symbols();
        let mut register = self.head.register_write();
        while !cursor.is_empty() {
            self.symbols.push(register.index.symbols.intern(cursor.str()?));
        }
        Ok(())
    }

    pub(super) fn forget_symbols(&mut self) {
        let mut register = self.head.register_write();
        self.symbols.drain(..).for_each(|symbol| register.index.symbols.release(symbol));
    }

    fn apply_series_by_symbols(&mut self, cursor: &mut Cursor<'_>) -> Result<(), RecordError> {
        let mut register = self.head.register_write();
        let (mut id, mut bytes, mut pairs) = (0_u32, Vec::new(), Vec::new());
        let mut result = Ok(());
        while !cursor.is_empty() {
            let offset = cursor.offset();
            let bad = |what| RecordError { offset, what };
            id = id.checked_add(cursor.uvarint_u32()?).ok_or(bad("a series number too large"))?;
            let generation = cursor.uvarint_u32()?;
            // A pair has two bytes at least.
            let len = cursor.uvarint_max(cursor.remaining() / 2)?;
            bytes.clear();
            pairs.clear();
            for _ in 0..len {
                let mut symbol = || {
                    let number = cursor.uvarint_u32()? as usize;
                    self.symbols.get(number).copied().ok_or(bad("a symbol that is not there"))
                };
                let (name, value) = (symbol()?, symbol()?);
                write_str(&mut bytes, register.index.symbols.text(name));
                write_str(&mut bytes, register.index.symbols.text(value));
                pairs.push((name, value));
            }
            let series = SeriesRef { id: SeriesId(id), generation };
            if id == NO_SERIES || !Labels::are_canonical(&bytes) {
                result = Err(bad("labels that are not canonical"));
            } else if !register.restore_pairs(series, &bytes, &pairs) {
                result = Err(bad("a series that contradicts another"));
            }
        }
        result
    }

    /// Applies one record of log or checkpoint.
    pub(super) fn apply(
        &mut self,
        position: Position,
        kind: u8,
        payload: &[u8],
    ) -> Result<(), RecordError> {
        let cursor = &mut Cursor::new(payload);
        match kind {
            kind::ROWS => self.apply_rows(position, cursor),
            kind::SERIES => self.apply_series(cursor),
            kind::GROUP => self.apply_group(cursor),
            kind::SHAPE => {
                let shape = read_shape(cursor)?;
                self.apply_shape(&shape)
            }
            kind::DELETION => {
                while let Some(entry) = read_deletion(cursor)? {
                    match &self.part {
                        Some(groups) => {
                            self.head.replay_deletion(entry, |group| groups.contains(&group));
                        }
                        // A checkpoint has the tables only, and no samples.
                        None => drop(self.head.note_deletion(entry)),
                    }
                }
                Ok(())
            }
            kind::EXEMPLARS => {
                while let Some((series, exemplar)) = read_exemplar(cursor)? {
                    self.head.replay_exemplar(&series, &exemplar);
                }
                Ok(())
            }
            kind::METADATA => {
                while let Some((metric, metadata)) = read_metadata(cursor)? {
                    self.head.replay_metadata(metric, metadata);
                }
                Ok(())
            }
            checkpoint_kind::STATE => {
                self.state = HeadState::read(cursor)?;
                Ok(())
            }
            checkpoint_kind::NUMBERS => {
                let (groups_end, ids_end) = (cursor.uvarint_u32()?, cursor.uvarint_u32()?);
                self.head.groups_write().skip_numbers(groups_end);
                self.ids_end = self.ids_end.max(ids_end);
                Ok(())
            }
            checkpoint_kind::GROUP_STATE => {
                let state = GroupState::read(cursor)?;
                self.apply_group_state(state)
            }
            checkpoint_kind::SYMBOLS => self.read_symbols(cursor),
            checkpoint_kind::SERIES => self.apply_series_by_symbols(cursor),
            checkpoint_kind::FORMER => {
                let mut register = self.head.register_write();
                while !cursor.is_empty() {
                    let (series, group) = (cursor.uvarint_u32()?, cursor.uvarint_u32()?);
                    if register.is_live(series) {
                        register.add_former(series, group);
                    }
                }
                Ok(())
            }
            _ => Err(RecordError { offset: 0, what: "a record of an unknown kind" }),
        }
    }

    fn apply_series(&mut self, cursor: &mut Cursor<'_>) -> Result<(), RecordError> {
        let mut register = self.head.register_write();
        let mut reader = SeriesReader::default();
        let mut result = Ok(());
        loop {
            let offset = cursor.offset();
            let Some(entry) = reader.next(cursor)? else { return result };
            let series = SeriesRef { id: SeriesId(entry.id), generation: entry.generation };
            let labels = Labels::from_bytes(entry.labels).filter(|_| entry.id != NO_SERIES);
            let Some(labels) = labels else {
                result = Err(RecordError { offset, what: "labels that are not canonical" });
                continue;
            };
            if !register.restore(series, &labels) {
                result = Err(RecordError { offset, what: "a series that contradicts another" });
            }
        }
    }

    fn apply_group(&mut self, cursor: &mut Cursor<'_>) -> Result<(), RecordError> {
        let entry = read_group(cursor)?;
        let Some(key) = GroupKey::read(entry.key)? else {
            return Err(RecordError { offset: 0, what: "a source of an unknown kind" });
        };
        let group = self.head.groups_write().restore(entry.id, entry.root, &key);
        group.writer().is_logged = true;
        Ok(())
    }

    fn apply_group_state(&mut self, state: GroupState) -> Result<(), RecordError> {
        let Some(group) = self.head.group(state.group) else {
            return Err(RecordError { offset: 0, what: "slots of a group that is not known" });
        };
        self.covered_by_checkpoint(state.group, state.sealed_record);
        let mut register = self.head.register_write();
        let mut writer = group.writer();
        let mut data = group.data();
        writer.sealed_record = state.sealed_record;
        writer.stored_record = state.stored_record;
        writer.shape_version = state.shape_version;
        writer.fed_at_ms = state.fed_at_ms;
        data.first_row = state.next_row;
        writer.slots = state.slots;
        writer.extras = state.extras;
        for slot in 0..writer.slots.len() as u32 {
            if !register.is_live(writer.slots[slot as usize].series) {
                writer.give_up(slot);
            }
            let state = &writer.slots[slot as usize];
            data.add_slot(state.series);
            if state.series != NO_SERIES {
                register.set_home(state.series, Home { group: group.id, slot });
            }
        }
        writer.logged_slots = writer.slots.len();
        Ok(())
    }

    fn apply_shape(&mut self, shape: &Shape) -> Result<(), RecordError> {
        let Some(group) = self.head.group(shape.group) else {
            return Err(RecordError { offset: 0, what: "slots of a group that is not known" });
        };
        let slots = group.writer().slots.len();
        if shape.is_full {
            self.apply_full_shape(&group, shape);
        } else if shape.version >= group.writer().shape_version {
            if shape.first_slot as usize > slots {
                return Err(RecordError { offset: 0, what: "slots before it are missing" });
            }
            let known = slots - shape.first_slot as usize;
            for &series in shape.series.iter().skip(known) {
                self.add_slot(&group, series);
            }
        }
        Ok(())
    }

    /// A slot for a series, which leaves its home before, if it has one.
    fn add_slot(&mut self, group: &Group, series: u32) {
        let home = self.head.register_read().home_of(series);
        let (mut last, mut extra) = (SlotState::new(series), Extra::default());
        match home {
            None => last.series = NO_SERIES,
            Some(home) if home.group != HOMELESS => {
                if let Some(from) = self.head.group(home.group) {
                    let mut writer = from.writer();
                    if (home.slot as usize) < writer.slots.len() {
                        (last, extra) = writer.give_up(home.slot);
                        last.epoch = 0;
                        give_up_slot(&mut from.data(), home.slot);
                    }
                }
            }
            Some(_) => {}
        }
        let mut writer = group.writer();
        writer.slots.push(last);
        let slot = writer.slots.len() as u32 - 1;
        writer.set_extra(slot, extra);
        writer.logged_slots = writer.slots.len();
        group.data().add_slot(last.series);
        if last.series != NO_SERIES {
            self.head.register_write().move_home(series, Home { group: group.id, slot });
        }
    }

    fn apply_full_shape(&mut self, group: &Group, shape: &Shape) {
        let mut writer = group.writer();
        if shape.version <= writer.shape_version {
            return;
        }
        let mut register = self.head.register_write();
        let mut data = group.data();
        let slots: HashMap<u32, u32> =
            (0..).zip(&writer.slots).map(|(slot, state)| (state.series, slot)).collect();
        let (mut states, mut columns) = (Vec::new(), Vec::new());
        for (slot, &series) in (0_u32..).zip(&shape.series) {
            let mut state = SlotState::new(series);
            let mut column = crate::head::column::Column::default();
            if let Some(&old) = slots.get(&series) {
                state = writer.slots[old as usize];
                std::mem::swap(&mut column, &mut data.columns[old as usize]);
                data.series[old as usize] = NO_SERIES;
            }
            if register.is_live(series) {
                register.move_home(series, Home { group: group.id, slot });
            } else {
                state = SlotState { series: NO_SERIES, epoch: 0, ..state };
                writer.extras.remove(&series);
            }
            states.push(state);
            columns.push(column);
        }
        for slot in 0..data.series.len() as u32 {
            let series = data.series[slot as usize];
            if series != NO_SERIES {
                give_up_slot(&mut data, slot);
                register.move_home(series, Home { group: HOMELESS, slot: 0 });
            }
        }
        data.series = states.iter().map(|state| state.series).collect();
        data.columns = columns;
        let named: HashSet<u32> = states.iter().map(|state| state.series).collect();
        writer.extras.retain(|series, _| named.contains(series));
        writer.slots = states;
        writer.logged_slots = writer.slots.len();
        writer.shape_version = shape.version;
    }
}

/// What a slot holds goes to the series' loose samples; nothing is lost where a seal is missing.
fn give_up_slot(data: &mut Data, slot: u32) {
    let series = std::mem::replace(&mut data.series[slot as usize], NO_SERIES);
    let column = std::mem::take(&mut data.columns[slot as usize]);
    data.rows_len -= column.samples() as usize;
    column.decode_samples(0..u32::MAX, |row, sample| {
        let t_ms = data.times[(row - data.first_row) as usize];
        let extra = Extra { histogram: sample.histogram.cloned(), start_ms: sample.start_ms };
        data.place_loose(series, t_ms, sample.value.to_bits(), &extra, None);
    });
    data.rich.remove(&series);
}
