//! One commit: verdict per sample first, then the record, then memory.
//!
//! The writers of all groups concerned are locked by ascending number, so the order of records in
//! the log is the order in which memory changes. Verdicts move the slots' last samples on at once,
//! so that several samples of one series judge each other; a failing log moves them back.

use std::sync::{Arc, MutexGuard};

use super::Sample;
use super::verdict::{Limits, Verdict};
use crate::disk::StorageError;
use crate::head::extra::Extra;
use crate::head::group::{Data, Group, HAS_EXTRA, NO_SERIES, Writer};
use crate::head::{AppendError, CommitOutcome, GroupKey, Head};
use crate::wal::record::{
    self, RowSample, RowsHeader, RowsWriter, SeriesEntry, SeriesWriter, Shape, kind,
};

/// Size at which a series record is ended and another begun.
const SERIES_RECORD_BYTES: usize = 8 << 20;

pub(super) struct Commit<'a> {
    head: &'a Head,
    root: Arc<Group>,
    samples: &'a [Sample],
    extras: &'a [(usize, Extra)],
    /// Calls whose samples are not stored late.
    in_order: &'a [usize],
    /// What slots had besides their values before samples moved them on: group and slot.
    before: Vec<(u32, u32, Extra)>,
    limits: Limits,
    outcome: CommitOutcome,
    counts: Counts,
}

/// What is counted beside the outcome.
#[derive(Debug, Default)]
struct Counts {
    stored: u64,
    late: u64,
    min_ms: Option<i64>,
    max_ms: Option<i64>,
}

/// The samples of one group; indexes are those of [`Plan::groups`].
#[derive(Debug, Default)]
struct Plan {
    groups: Vec<Arc<Group>>,
    items: Vec<Vec<Item>>,
    unlogged: Vec<u32>,
    unknown: Vec<usize>,
}

/// Numbers of groups, each with its place in order of appearance.
#[derive(Debug, Default)]
struct Places {
    groups: Vec<u32>,
    /// Where they stand, once there are many.
    by_group: hashbrown::HashMap<u32, usize>,
}

impl Places {
    /// The place of a group, a new one at the end where it has none.
    fn of(&mut self, group: u32) -> usize {
        const MANY: usize = 8;
        let next = self.groups.len();
        if next <= MANY {
            if let Some(at) = self.groups.iter().position(|&known| known == group) {
                return at;
            }
            self.groups.push(group);
            if next == MANY {
                self.by_group = self.groups.iter().copied().zip(0..).collect();
            }
            return next;
        }
        let at = *self.by_group.entry(group).or_insert(next);
        if at == next {
            self.groups.push(group);
        }
        at
    }
}

#[derive(Debug, Clone, Copy)]
pub(in crate::head) struct Item {
    /// Number of the `append` call.
    call: usize,
    series: u32,
    slot: u32,
    t_ms: i64,
    bits: u64,
    /// The slot's last sample before.
    previous: u64,
    previous_ms: i64,
    /// Index of what it has besides its value; [`NO_EXTRA`]: nothing.
    extra: u32,
    is_late: bool,
    is_absolute: bool,
    /// Whether the log is told when its counter began.
    tells_start: bool,
}

const NO_EXTRA: u32 = u32::MAX;

/// What the item with this index has besides its value.
fn extra_of(extras: &[(usize, Extra)], index: u32) -> &Extra {
    extras.get(index as usize).map_or(Extra::NONE, |entry| &entry.1)
}

impl<'a> Commit<'a> {
    pub(super) fn new(
        head: &'a Head,
        key: &GroupKey,
        (samples, extras, in_order): (&'a [Sample], &'a [(usize, Extra)], &'a [usize]),
        limits: Limits,
    ) -> Self {
        let root = head.root(key);
        Self {
            head,
            root,
            samples,
            extras,
            in_order,
            before: Vec::new(),
            limits,
            outcome: CommitOutcome::default(),
            counts: Counts::default(),
        }
    }

    pub(super) fn run(mut self) -> Result<CommitOutcome, StorageError> {
        self.head.gate.wait_for(std::slice::from_ref(&self.root))?;
        loop {
            let Plan { groups, mut items, unlogged, unknown } = self.plan();
            if self.head.gate.wait_for(&groups)? {
                continue;
            }
            let mut writers: Vec<_> = groups.iter().map(|group| group.writer()).collect();
            if !still_there(&writers, &items) {
                continue;
            }
            let limits = &self.head.options.limits;
            let why = |call: usize| match self.samples[call].series.refusal() {
                Some(limit) => AppendError::LimitReached(limits.reached(limit)),
                None => AppendError::UnknownSeries,
            };
            let refused: Vec<_> = unknown.into_iter().map(|call| (call, why(call))).collect();
            self.outcome.rejected.extend(refused);
            let segment = self.head.log.end().segment;
            for ((group, writer), items) in groups.iter().zip(&mut writers).zip(&mut items) {
                writer.begin_record(segment);
                self.judge(group, writer, items);
            }
            if items.iter().any(|items| !items.is_empty()) {
                self.store(&groups, &mut writers, &items, &unlogged)?;
            }
            self.outcome.rejected.sort_unstable_by_key(|r| r.0);
            self.head.counters.add(&self.outcome, self.counts.stored, self.counts.late);
            drop(writers);
            if let Some(items) = items.pop() {
                self.head.rooms.items.keep(items);
            }
            return Ok(self.outcome);
        }
    }

    /// Sorts the samples to their groups.
    fn plan(&mut self) -> Plan {
        let mut is_settled = false;
        loop {
            let mut plan = Plan::default();
            let mut places = Places::default();
            let mut homeless = false;
            let mut at = (u32::MAX, 0);
            let mut next_extra = 0;
            let register = self.head.register_read();
            for (call, sample) in self.samples.iter().enumerate() {
                let mut extra = NO_EXTRA;
                if self.extras.get(next_extra).is_some_and(|extra| extra.0 == call) {
                    extra = next_extra as u32;
                    next_extra += 1;
                }
                let Some(home) = register.home(sample.series) else {
                    plan.unknown.push(call);
                    continue;
                };
                if home.lacks_slot() {
                    homeless = true;
                    break;
                }
                if home.group != at.0 {
                    let next = plan.items.len();
                    at = (home.group, places.of(home.group));
                    if at.1 == next {
                        // Samples mostly belong to one group.
                        let mut items = Vec::new();
                        if next == 0 {
                            items = self.head.rooms.items.take();
                            items.reserve(self.samples.len() - call);
                        }
                        plan.items.push(items);
                    }
                }
                let series = sample.series.id.0;
                if !register.is_logged(series) {
                    plan.unlogged.push(series);
                }
                plan.items[at.1].push(Item {
                    call,
                    series,
                    slot: home.slot,
                    t_ms: sample.t_ms,
                    bits: sample.bits,
                    previous: 0,
                    previous_ms: 0,
                    extra,
                    is_late: false,
                    is_absolute: true,
                    tells_start: false,
                });
            }
            drop(register);
            if homeless {
                if is_settled {
                    // The root left the table between; a new one takes its place.
                    self.root = self.head.root(&self.root.key);
                }
                self.head.settle(&self.root, self.samples);
                is_settled = true;
                continue;
            }
            if self.order(&mut plan, places) {
                return plan;
            }
        }
    }

    /// Puts groups in ascending order of numbers. `false` where one is gone.
    fn order(&self, plan: &mut Plan, places: Places) -> bool {
        let mut places: Vec<_> = places.groups.into_iter().zip(0..).collect();
        places.sort_unstable();
        let table = self.head.groups_read();
        let mut items = Vec::with_capacity(places.len());
        for (id, place) in places {
            let place: usize = place;
            let Some(group) = table.by_id(id) else { return false };
            plan.groups.push(Arc::clone(group));
            items.push(std::mem::take(&mut plan.items[place]));
        }
        plan.items = items;
        true
    }

    /// Leaves those items that are to be stored, and moves their slots on.
    fn judge(&mut self, group: &Group, writer: &mut Writer, items: &mut Vec<Item>) {
        let data = self.limits.takes_late().then(|| group.data());
        let epoch = writer.epoch;
        items.retain_mut(|item| {
            let extra = extra_of(self.extras, item.extra);
            let known = (&writer.slots[item.slot as usize], writer.extra(item.slot));
            let newest = (known.0, known.1.histogram.as_deref());
            let value = (item.bits, extra.histogram.as_deref());
            match self.limits.judge(newest, data.as_deref(), item.t_ms, value) {
                Verdict::Store => {
                    let state = &mut writer.slots[item.slot as usize];
                    item.previous = state.last_bits;
                    item.previous_ms = state.last_ms;
                    item.is_absolute = state.epoch & !HAS_EXTRA != epoch;
                    state.epoch = epoch | state.epoch & HAS_EXTRA;
                    state.last_ms = item.t_ms;
                    state.last_bits = item.bits;
                    if item.extra != NO_EXTRA || state.has_extra() {
                        let before = writer.set_extra(item.slot, extra.clone());
                        let in_force = if item.is_absolute { 0 } else { before.start_ms };
                        item.tells_start = extra.start_ms != in_force;
                        self.before.push((group.id, item.slot, before));
                    }
                }
                Verdict::StoreLate if self.in_order.binary_search(&item.call).is_ok() => {
                    self.outcome.rejected.push((item.call, AppendError::OutOfOrder));
                    return false;
                }
                Verdict::StoreLate => {
                    item.is_late = true;
                    item.tells_start = extra.start_ms != 0;
                }
                Verdict::Skip => {
                    self.outcome.accepted += 1;
                    return false;
                }
                Verdict::Refuse(error) => {
                    self.outcome.rejected.push((item.call, error));
                    return false;
                }
            }
            self.outcome.accepted += 1;
            self.counts.add(item);
            true
        });
        let by_row = |item: &Item| (item.t_ms, item.is_late, item.slot);
        if !items.is_sorted_by(|a, b| by_row(a) < by_row(b)) {
            items.sort_by_key(by_row);
            // Only late samples can meet here: the first one stands.
            items.dedup_by_key(|item| by_row(item));
        }
    }

    /// Logs the items, then applies them; or puts the slots back.
    fn store(
        &mut self,
        groups: &[Arc<Group>],
        writers: &mut [MutexGuard<'_, Writer>],
        items: &[Vec<Item>],
        unlogged: &[u32],
    ) -> Result<(), StorageError> {
        let mut unlogged = unlogged.to_vec();
        let parts = writers.iter().zip(items).filter(|(_, items)| !items.is_empty());
        parts.for_each(|(writer, _)| self.head.unlogged_in_shape(writer, &mut unlogged));
        unlogged.sort_unstable();
        unlogged.dedup();
        let payloads = self.payloads(groups, writers, items, &unlogged);
        let views: Vec<_> = payloads.iter().map(|(kind, body)| (*kind, body.as_slice())).collect();
        let position = match self.head.log.append(&views) {
            Ok(position) => position,
            Err(error) => {
                for ((group, writer), items) in groups.iter().zip(writers).zip(items) {
                    undo(writer, items, group.id, &self.before);
                }
                return Err(error);
            }
        };
        {
            let register = self.head.register_read();
            for &id in &unlogged {
                register.set_logged(id);
            }
        }
        let now_ms = self.head.options.clock.now_ms();
        for (writer, items) in writers.iter_mut().zip(items) {
            if !items.is_empty() {
                writer.stored(position, now_ms);
            }
        }
        self.apply(groups, items);
        if let (Some(min_ms), Some(max_ms)) = (self.counts.min_ms, self.counts.max_ms) {
            self.head.saw(min_ms, max_ms);
            self.head.changes.note(min_ms);
        }
        Ok(())
    }

    fn payloads(
        &self,
        groups: &[Arc<Group>],
        writers: &[MutexGuard<'_, Writer>],
        items: &[Vec<Item>],
        unlogged: &[u32],
    ) -> Vec<(u8, Vec<u8>)> {
        let mut payloads = Vec::with_capacity(groups.len() + 2);
        self.head.write_series(unlogged, &mut |body| payloads.push((kind::SERIES, body)));
        let parts = groups.iter().zip(writers).zip(items).filter(|(_, items)| !items.is_empty());
        for ((group, writer), items) in parts {
            if !writer.is_logged {
                payloads.push((kind::GROUP, group_body(group)));
            }
            if writer.logged_slots < writer.slots.len() {
                payloads.push((kind::SHAPE, shape_body(group, writer)));
            }
            let source = (group.root != self.root.id).then_some(self.root.id);
            payloads.push((kind::ROWS, rows_body(group, writer, (items, self.extras), source)));
        }
        payloads
    }

    /// Makes the items visible: each group's at once, and where there are several groups, no
    /// capture falls in between.
    fn apply(&self, groups: &[Arc<Group>], items: &[Vec<Item>]) {
        let mut gate = (groups.len() > 1).then(|| self.head.multi_write());
        for (group, items) in groups.iter().zip(items) {
            let is_foreign = group.root != self.root.id;
            let source = is_foreign.then_some(self.root.id);
            apply_items(&mut group.data(), (items, self.extras), source);
        }
        if let Some(commits) = &mut gate {
            **commits += 1;
        }
    }
}

impl Head {
    /// Adds the series of slots that the log does not know, where it does not know them either:
    /// a shape may only name series that stand before it in the log.
    pub(in crate::head) fn unlogged_in_shape(&self, writer: &Writer, unlogged: &mut Vec<u32>) {
        let slots = &writer.slots[writer.logged_slots..];
        if slots.is_empty() {
            return;
        }
        let register = self.register_read();
        let series = slots.iter().map(|slot| slot.series);
        unlogged.extend(series.filter(|&id| register.is_live(id) && !register.is_logged(id)));
    }

    /// Hands over bodies of series records with the labels of `ids`.
    pub(in crate::head) fn write_series(&self, ids: &[u32], take: &mut dyn FnMut(Vec<u8>)) {
        if ids.is_empty() {
            return;
        }
        let register = self.register_read();
        let (mut body, mut labels) = (SeriesWriter::default(), Vec::new());
        for &id in ids.iter().filter(|&&id| register.is_live(id)) {
            labels.clear();
            register.write_labels(id, &mut labels);
            let generation = register.reference(id).generation;
            body.push(SeriesEntry { id, generation, labels: &labels });
            if body.len() >= SERIES_RECORD_BYTES {
                take(body.take());
            }
        }
        if !body.is_empty() {
            take(body.take());
        }
    }
}

impl Counts {
    fn add(&mut self, item: &Item) {
        self.stored += 1;
        self.late += u64::from(item.is_late);
        self.min_ms = Some(self.min_ms.map_or(item.t_ms, |min| min.min(item.t_ms)));
        self.max_ms = Some(self.max_ms.map_or(item.t_ms, |max| max.max(item.t_ms)));
    }
}

/// Whether the slots still belong to the series that the plan found there.
fn still_there(writers: &[MutexGuard<'_, Writer>], items: &[Vec<Item>]) -> bool {
    writers.iter().zip(items).all(|(writer, items)| {
        let in_slot = |item: &Item| writer.slots.get(item.slot as usize).map(|s| s.series);
        !writer.is_gone && items.iter().all(|item| in_slot(item) == Some(item.series))
    })
}

/// Puts the slots back. `before`: of all groups, in the order of changes.
fn undo(writer: &mut Writer, items: &[Item], group: u32, before: &[(u32, u32, Extra)]) {
    for (_, slot, extra) in before.iter().rev().filter(|entry| entry.0 == group) {
        writer.set_extra(*slot, extra.clone());
    }
    for item in items.iter().rev().filter(|item| !item.is_late) {
        let state = &mut writer.slots[item.slot as usize];
        state.last_ms = item.previous_ms;
        state.last_bits = item.previous;
    }
    // Nothing may be a difference to what the log refused.
    writer.begin_epoch();
}

pub(in crate::head) fn group_body(group: &Group) -> Vec<u8> {
    let key = group.key.to_bytes();
    let mut body = Vec::with_capacity(key.len() + 16);
    let entry = record::GroupEntry { id: group.id, root: group.root, key: &key };
    record::write_group(&mut body, entry);
    body
}

/// The slots that the log does not know yet.
pub(in crate::head) fn shape_body(group: &Group, writer: &Writer) -> Vec<u8> {
    let first = writer.logged_slots;
    let mut body = Vec::new();
    let shape = Shape {
        group: group.id,
        version: writer.shape_version,
        is_full: false,
        first_slot: first as u32,
        series: writer.slots[first..].iter().map(|slot| slot.series).collect(),
    };
    record::write_shape(&mut body, &shape);
    body
}

/// The living slots, numbered anew. The caller takes the dead ones out.
pub(in crate::head) fn full_shape_body(group: &Group, writer: &mut Writer) -> Vec<u8> {
    writer.shape_version += 1;
    let living = writer.slots.iter().map(|slot| slot.series).filter(|&id| id != NO_SERIES);
    let series = living.collect();
    let version = writer.shape_version;
    let mut body = Vec::new();
    let shape = Shape { group: group.id, version, is_full: true, first_slot: 0, series };
    record::write_shape(&mut body, &shape);
    body
}

/// The items of a group, and what they may have besides their values.
type Items<'a> = (&'a [Item], &'a [(usize, Extra)]);

fn rows_body(
    group: &Group,
    writer: &Writer,
    (items, extras): Items<'_>,
    source: Option<u32>,
) -> Vec<u8> {
    let header = RowsHeader {
        group: group.id,
        number: writer.record,
        previous: writer.stored_record,
        slots: writer.slots.len() as u32,
        source,
    };
    let mut body = Vec::with_capacity(items.len() * 2 + 64);
    let mut rows = RowsWriter::begin(&mut body, header);
    let row_sample = |item: &Item| {
        let extra = extra_of(extras, item.extra);
        RowSample {
            slot: item.slot,
            previous: item.previous,
            bits: item.bits,
            is_absolute: item.is_absolute,
            histogram: extra.histogram.as_deref(),
            start_ms: item.tells_start.then_some(extra.start_ms),
        }
    };
    for items in items.chunk_by(|a, b| (a.t_ms, a.is_late) == (b.t_ms, b.is_late)) {
        rows.row(items[0].t_ms, items[0].is_late, items.iter().map(row_sample));
    }
    body
}

fn apply_items(data: &mut Data, (items, extras): Items<'_>, source: Option<u32>) {
    let Some(first) = items.first() else { return };
    if source.is_some() || data.is_disturbed_by(first.t_ms) {
        data.disturbed += 1;
    }
    for item in items {
        let extra = extra_of(extras, item.extra);
        if item.is_late || source.is_some() {
            data.place_loose(item.series, item.t_ms, item.bits, extra, source);
        } else {
            data.place(item.slot, item.t_ms, item.bits, extra);
        }
    }
}
