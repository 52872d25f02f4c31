//! Series that change their group, and groups that give up dead slots.
//!
//! Slots are numbered anew only while every record of the group is covered by a seal: rows in the
//! log name slots.

use std::sync::Arc;

use super::append::commit::{full_shape_body, group_body, shape_body};
use super::group::{Data, Group, NO_SERIES, Writer};
use super::register::Home;
use super::{Head, tile};
use crate::disk::StorageError;
use crate::wal::record::kind;

/// Dead slots below which a group keeps its shape. Small in tests, so that it happens in them.
const DEAD_SLOTS_MIN: usize = if cfg!(test) { 1 } else { 64 };

impl Head {
    /// Makes the source with this root the home of a series that has nothing unsealed in `from`.
    pub(super) fn move_series(
        &self,
        series: u32,
        from: u32,
        root: u32,
    ) -> Result<(), StorageError> {
        let (Some(from), Some(to)) = (self.group(from), self.group(root)) else { return Ok(()) };
        if from.id == to.id {
            return Ok(());
        }
        let (mut first, mut second) = if from.id < to.id {
            (from.writer(), to.writer())
        } else {
            (to.writer(), from.writer())
        };
        let (source, target) =
            if from.id < to.id { (&mut *first, &mut *second) } else { (&mut *second, &mut *first) };
        let mut register = self.register_write();
        let Some(home) = register.home_of(series) else { return Ok(()) };
        let slot = home.slot as usize;
        let is_there = home.group == from.id
            && source.slots.get(slot).is_some_and(|state| state.series == series);
        if !is_there || source.is_gone || target.is_gone {
            return Ok(());
        }
        let mut old = from.data();
        if !old.columns[slot].is_empty() || old.loose.contains_key(&series) {
            return Ok(());
        }
        let (last, extra) = source.give_up(home.slot);
        old.rich.remove(&series);
        old.series[slot] = NO_SERIES;
        old.disturbed += 1;
        drop(old);
        let slot = target.add_slot(series);
        target.slots[slot as usize].last_ms = last.last_ms;
        target.slots[slot as usize].last_bits = last.last_bits;
        target.set_extra(slot, extra);
        to.data().add_slot(series);
        register.move_home(series, Home { group: to.id, slot });
        drop(register);
        // At once: until the log or a checkpoint knows the new slot, nobody knows the series' last
        // sample. Where it fails, the next record of the group does it.
        let mut unlogged = Vec::new();
        self.unlogged_in_shape(target, &mut unlogged);
        let bodies = vec![(kind::GROUP, group_body(&to)), (kind::SHAPE, shape_body(&to, target))];
        self.log_with_series(&unlogged, bodies)?;
        target.is_logged = true;
        target.logged_slots = target.slots.len();
        Ok(())
    }

    /// Logs `bodies` after the labels of the series that they name and the log does not know.
    fn log_with_series(
        &self,
        unlogged: &[u32],
        bodies: Vec<(u8, Vec<u8>)>,
    ) -> Result<(), StorageError> {
        let mut payloads = Vec::new();
        self.write_series(unlogged, &mut |body| payloads.push((kind::SERIES, body)));
        payloads.extend(bodies);
        let views: Vec<_> = payloads.iter().map(|(kind, body)| (*kind, body.as_slice())).collect();
        self.log.append(&views)?;
        let register = self.register_read();
        for &id in unlogged {
            register.set_logged(id);
        }
        Ok(())
    }

    /// Numbers the slots of a group anew where many are dead.
    pub(super) fn reshape(&self, group: &Arc<Group>) -> Result<(), StorageError> {
        let mut writer = group.writer();
        if group.data().unsealed_len() > 0 || writer.sealed_record < writer.stored_record {
            // A record that no seal covers would be read with other slots.
            return Ok(());
        }
        let dead = writer.slots.iter().filter(|slot| slot.series == NO_SERIES).count();
        if writer.is_gone || dead < DEAD_SLOTS_MIN || dead * 4 < writer.slots.len() {
            return Ok(());
        }
        if writer.is_logged {
            let mut unlogged = Vec::new();
            self.unlogged_in_shape(&writer, &mut unlogged);
            self.log_with_series(
                &unlogged,
                vec![(kind::SHAPE, full_shape_body(group, &mut writer))],
            )?;
        }
        let mut register = self.register_write();
        let mut data = group.data();
        drop_dead_slots(&mut writer, &mut data);
        for (slot, state) in (0..).zip(&writer.slots) {
            register.set_home(state.series, Home { group: group.id, slot });
        }
        Ok(())
    }
}

/// Takes out the slots without a series. Their streams are empty.
pub(super) fn drop_dead_slots(writer: &mut Writer, data: &mut Data) {
    let mut slot = 0;
    data.columns.retain(|_| {
        slot += 1;
        data.series[slot - 1] != NO_SERIES
    });
    data.series.retain(|&series| series != NO_SERIES);
    writer.slots.retain(|state| state.series != NO_SERIES);
    data.columns.shrink_to_fit();
    data.series.shrink_to_fit();
    writer.slots.shrink_to_fit();
    writer.logged_slots = if writer.is_logged { writer.slots.len() } else { 0 };
    data.disturbed += 1;
}

/// Lets go of the tiles of a group for which `is_gone` holds.
pub(super) fn drop_tiles(data: &mut Data, is_gone: impl Fn(&tile::TileRef) -> bool) {
    data.tiles.retain(|tile| {
        let gone = is_gone(tile);
        if gone {
            tile.file.use_tile(false);
        }
        !gone
    });
}
