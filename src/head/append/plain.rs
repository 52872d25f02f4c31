//! The usual commit: floats of one time in one group, each series once, none of them new, each
//! sample newer than the series' last. So is a scrape of a page whose lines stay the same.
//!
//! All verdicts are "stored" then, so nothing is kept beside the samples but their slots, and
//! memory changes only after the log has taken the record. Where anything is otherwise nothing was
//! changed, and the general way (`commit.rs`) begins anew.

use std::sync::Arc;

use super::Sample;
use super::verdict::Limits;
use crate::disk::StorageError;
use crate::head::group::{Data, Group, Writer};
use crate::head::register::{NO_SLOT, Register};
use crate::head::{CommitOutcome, GroupKey, Head};
use crate::wal::record::{RowSample, RowsHeader, RowsWriter, kind};

/// Stores the samples of the source `key`; `None` where that takes the general way.
pub(super) fn commit(
    head: &Head,
    key: &GroupKey,
    samples: &[Sample],
    limits: &Limits,
) -> Result<Option<CommitOutcome>, StorageError> {
    let mut slots = head.rooms.slots.take();
    let group = find_slots(&head.register_read(), samples, &mut slots);
    let outcome = match group.and_then(|id| head.group(id)) {
        // Samples of another source stand outside the rows.
        Some(group) if group.id == group.root && group.key == *key => {
            store(head, &group, (samples, &slots), limits)
        }
        _ => Ok(None),
    };
    head.rooms.slots.keep(slots);
    outcome
}

/// The group in which all series of `samples` have their slots, and these; `None` unless the
/// samples have one time and stand in the order of their slots, and the log knows the series.
fn find_slots(register: &Register, samples: &[Sample], slots: &mut Vec<u32>) -> Option<u32> {
    let first = samples.first()?;
    let group = register.home(first.series)?.group;
    let mut slot_min = 0;
    slots.reserve(samples.len());
    for sample in samples {
        let home = register.home(sample.series)?;
        let fits = home.group == group
            && home.slot >= slot_min
            && !home.lacks_slot()
            // A replay has yet to give it.
            && home.slot < NO_SLOT
            && sample.t_ms == first.t_ms
            && register.is_logged(sample.series.id.0);
        if !fits {
            return None;
        }
        slot_min = home.slot + 1;
        slots.push(home.slot);
    }
    Some(group)
}

fn store(
    head: &Head,
    group: &Arc<Group>,
    (samples, slots): (&[Sample], &[u32]),
    limits: &Limits,
) -> Result<Option<CommitOutcome>, StorageError> {
    let t_ms = samples[0].t_ms;
    if !limits.are_met_at(t_ms) || head.gate.wait_for(std::slice::from_ref(group))? {
        return Ok(None);
    }
    let mut writer = group.writer();
    if !is_next(&writer, (samples, slots), t_ms) {
        return Ok(None);
    }
    writer.begin_record(head.log.end().segment);
    let body = body(group, &writer, (samples, slots), t_ms);
    let position = match head.log.append(&[(kind::ROWS, &body)]) {
        Ok(position) => position,
        Err(error) => {
            // Nothing may be a difference to what the log refused.
            writer.begin_epoch();
            return Err(error);
        }
    };
    writer.stored(position, head.options.clock.now_ms());
    apply(&mut group.data(), &mut writer, (samples, slots), t_ms);
    head.saw(t_ms, t_ms);
    head.changes.note(t_ms);
    let outcome = CommitOutcome { accepted: samples.len(), ..CommitOutcome::default() };
    head.counters.add(&outcome, samples.len() as u64, 0);
    Ok(Some(outcome))
}

/// Whether the slots are still those of the series, the log knows them, and what they get is newer
/// than what they have.
fn is_next(writer: &Writer, (samples, slots): (&[Sample], &[u32]), t_ms: i64) -> bool {
    let is_known = !writer.is_gone && writer.is_logged;
    is_known
        && writer.logged_slots == writer.slots.len()
        && samples.iter().zip(slots).all(|(sample, &slot)| {
            writer.slots.get(slot as usize).is_some_and(|state| {
                state.series == sample.series.id.0 && state.last_ms < t_ms && !state.has_extra()
            })
        })
}

fn body(
    group: &Group,
    writer: &Writer,
    (samples, slots): (&[Sample], &[u32]),
    t_ms: i64,
) -> Vec<u8> {
    let header = RowsHeader {
        group: group.id,
        number: writer.record,
        previous: writer.stored_record,
        slots: writer.slots.len() as u32,
        source: None,
    };
    let mut body = Vec::with_capacity(samples.len() * 2 + 64);
    let row = samples.iter().zip(slots).map(|(sample, &slot)| {
        let state = &writer.slots[slot as usize];
        RowSample {
            slot,
            previous: state.last_bits,
            bits: sample.bits,
            is_absolute: state.epoch != writer.epoch,
            histogram: None,
            start_ms: None,
        }
    });
    RowsWriter::begin(&mut body, header).row(t_ms, false, row);
    body
}

fn apply(data: &mut Data, writer: &mut Writer, (samples, slots): (&[Sample], &[u32]), t_ms: i64) {
    if data.is_disturbed_by(t_ms) {
        data.disturbed += 1;
    }
    let epoch = writer.epoch;
    let row = samples.iter().zip(slots).map(|(sample, &slot)| {
        let state = &mut writer.slots[slot as usize];
        state.epoch = epoch;
        state.last_ms = t_ms;
        state.last_bits = sample.bits;
        (slot, sample.bits)
    });
    data.place_row(t_ms, row);
}
