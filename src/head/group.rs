//! A group: the series that one source feeds, and the rows they share.
//!
//! All samples of one scrape have one time. The group keeps the times once (`Data::times`), and
//! per series a byte stream of values with a cursor into them. A sample is *late* when it is older
//! than its own series' newest, never because the group has newer rows: pushing clients send
//! series by series. It goes to the row of its time if the series' cursor has not passed that row;
//! a new time above all rows makes a new row; everything else — a time that the column lacks and
//! has passed, a second source, an accepted late sample — goes to the series' own *loose* samples,
//! which are logged, sealed and read the same way.
//!
//! Two locks. `writer` orders commits, seals and checkpoints of the group and is held over the
//! write to the log; `data` is what readers share and is held only to copy or to apply. Order:
//! writers by ascending group number, then the register, then `data`.
//!
//! A source whose samples carry times of their own has several groups, each for series that share
//! times: a root and others that name it (`append/homes.rs`).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashbrown::HashMap;

use super::GroupKey;
use super::column::Column;
use super::extra::{Extra, heap_bytes};
use super::stats::HeadMemory;
use super::tile::TileRef;
use crate::model::{Histogram, Samples};
use crate::wal::Position;

/// The series of a slot that nobody feeds any more.
pub(super) const NO_SERIES: u32 = u32::MAX;
/// "No sample yet."
pub(super) const NO_TIME: i64 = i64::MIN;
/// Records of a group after which each series is written absolute once.
const RECORDS_PER_EPOCH: u32 = 32;

/// A group; shared by its table, appenders and readers.
#[derive(Debug)]
pub(super) struct Group {
    pub id: u32,
    /// The first group of the same source.
    pub root: u32,
    pub key: GroupKey,
    writer: Mutex<Writer>,
    data: Mutex<Data>,
}

/// In [`SlotState::epoch`]: the newest sample has an entry in [`Writer::extras`].
pub(super) const HAS_EXTRA: u32 = 1 << 31;

/// What decides about the next sample of a slot.
#[derive(Debug, Clone, Copy)]
pub(super) struct SlotState {
    pub series: u32,
    /// The epoch in which the slot was last written to the log, and [`HAS_EXTRA`].
    pub epoch: u32,
    /// Time of the newest sample; [`NO_TIME`]: none.
    pub last_ms: i64,
    /// Bits of the newest sample, and what the next one in the log is a difference to.
    pub last_bits: u64,
}

/// The side of the group that commits use.
#[derive(Debug, Default)]
pub(super) struct Writer {
    pub slots: Vec<SlotState>,
    /// What the newest samples of slots have besides their value, by series.
    pub extras: HashMap<u32, Extra>,
    pub shape_version: u64,
    /// Slots that the log knows.
    pub logged_slots: usize,
    /// Whether the log knows the group.
    pub is_logged: bool,
    /// The group left the table; whoever holds it looks again.
    pub is_gone: bool,
    /// Number of the last record, stored or failed.
    pub record: u64,
    /// Number of the last record that was stored.
    pub stored_record: u64,
    /// Records up to here are covered by seals.
    pub sealed_record: u64,
    pub epoch: u32,
    records_in_epoch: u32,
    epoch_segment: u64,
    /// Where in the log the first record stands that no seal covers.
    pub unsealed_from: Option<Position>,
    /// The same, counted from the moment a running seal began.
    pub unsealed_from_next: Option<Position>,
    /// Wall clock of the last stored record.
    pub fed_at_ms: i64,
}

/// The side of the group that readers share.
#[derive(Debug, Default)]
pub(super) struct Data {
    /// Number of the first row in `times`; rows are counted over the life of the group.
    pub first_row: u32,
    pub times: Vec<i64>,
    /// Series by slot.
    pub series: Vec<u32>,
    /// Streams by slot.
    pub columns: Vec<Column>,
    /// Where columns with histograms or start timestamps stand, by series.
    pub rich: HashMap<u32, Extra>,
    /// Samples outside the rows, by series.
    pub loose: HashMap<u32, Loose>,
    pub loose_len: usize,
    /// Samples in `columns`.
    pub rows_len: usize,
    /// Sealed parts, oldest first.
    pub tiles: Vec<TileRef>,
    /// Counts what changed other than by rows added at the end: a reader that sees it move reads
    /// the group again.
    pub disturbed: u64,
}

/// Samples of one series outside the rows, times strictly ascending.
#[derive(Debug, Clone, Default)]
pub(super) struct Loose {
    pub samples: Samples,
    /// The root of the foreign source that fed it last.
    pub source: Option<u32>,
}

impl Group {
    pub(super) fn new(id: u32, root: u32, key: GroupKey) -> Arc<Self> {
        Arc::new(Self { id, root, key, writer: Mutex::default(), data: Mutex::default() })
    }

    pub(super) fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn data(&self) -> MutexGuard<'_, Data> {
        self.data.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SlotState {
    pub(super) fn new(series: u32) -> Self {
        Self { series, epoch: 0, last_ms: NO_TIME, last_bits: 0 }
    }

    pub(super) fn has_extra(&self) -> bool {
        self.epoch & HAS_EXTRA != 0
    }
}

impl Writer {
    /// What the newest sample in `slot` has besides its value.
    pub(super) fn extra(&self, slot: u32) -> &Extra {
        let state = &self.slots[slot as usize];
        let found = state.has_extra().then(|| self.extras.get(&state.series)).flatten();
        found.unwrap_or(Extra::NONE)
    }

    /// Replaces what the newest sample in `slot` has besides its value; gives what was there.
    pub(super) fn set_extra(&mut self, slot: u32, extra: Extra) -> Extra {
        let state = &mut self.slots[slot as usize];
        if extra.is_none() {
            if !state.has_extra() {
                return extra;
            }
            state.epoch &= !HAS_EXTRA;
            return self.extras.remove(&state.series).unwrap_or_default();
        }
        state.epoch |= HAS_EXTRA;
        self.extras.insert(state.series, extra).unwrap_or_default()
    }

    /// Lets the series in `slot` go; gives its state and what its newest sample has besides.
    pub(super) fn give_up(&mut self, slot: u32) -> (SlotState, Extra) {
        let extra = self.set_extra(slot, Extra::default());
        let state = &mut self.slots[slot as usize];
        let before = *state;
        state.series = NO_SERIES;
        (before, extra)
    }

    /// A slot for `series`; the caller adds the column.
    pub(super) fn add_slot(&mut self, series: u32) -> u32 {
        self.slots.push(SlotState::new(series));
        self.slots.len() as u32 - 1
    }

    /// Begins a record that will go to `segment`: a new epoch where one is due.
    pub(super) fn begin_record(&mut self, segment: u64) {
        let due = self.records_in_epoch >= RECORDS_PER_EPOCH || self.epoch_segment != segment;
        if due || self.epoch == 0 {
            self.begin_epoch();
            self.epoch_segment = segment;
        }
        self.records_in_epoch += 1;
        self.record += 1;
    }

    /// Lets each slot's next sample be absolute.
    pub(super) fn begin_epoch(&mut self) {
        self.epoch += 1;
        self.records_in_epoch = 0;
    }

    /// Nothing of the records so far is left; they need not be read again.
    pub(super) fn forget_unsealed(&mut self) {
        self.sealed_record = self.stored_record;
        self.unsealed_from = None;
        self.begin_epoch();
    }

    /// The record that was begun stands at or after `position`.
    pub(super) fn stored(&mut self, position: Position, now_ms: i64) {
        self.stored_record = self.record;
        self.logged_slots = self.slots.len();
        self.is_logged = true;
        self.unsealed_from.get_or_insert(position);
        self.unsealed_from_next.get_or_insert(position);
        self.fed_at_ms = now_ms;
    }
}

impl Data {
    pub(super) fn add_slot(&mut self, series: u32) {
        self.series.push(series);
        self.columns.push(Column::default());
    }

    /// Stores a sample of the group's own source. Times of the samples of one commit ascend.
    pub(super) fn place(&mut self, slot: u32, t_ms: i64, bits: u64, extra: &Extra) {
        let row = match self.times.last() {
            Some(&newest) if newest == t_ms => Ok(self.times.len() - 1),
            Some(&newest) if newest > t_ms => self.times.binary_search(&t_ms),
            _ => {
                self.times.push(t_ms);
                Ok(self.times.len() - 1)
            }
        };
        let series = self.series[slot as usize];
        let column = &mut self.columns[slot as usize];
        match row {
            Ok(index) if column.cursor() <= self.first_row + index as u32 => {
                let (row, value) = (self.first_row + index as u32, f64::from_bits(bits));
                if extra.is_none() && !column.is_rich() {
                    column.append(row, value);
                } else {
                    let known = self.rich.entry(series).or_default();
                    column.append_rich(row, value, extra, known);
                }
                self.rows_len += 1;
            }
            _ => self.place_loose(series, t_ms, bits, extra, None),
        }
    }

    /// Stores samples of the group's own source that have one time: slots and bits.
    pub(super) fn place_row(&mut self, t_ms: i64, samples: impl Iterator<Item = (u32, u64)>) {
        if self.times.last().is_none_or(|&newest| newest < t_ms) {
            self.times.push(t_ms);
        }
        let is_newest = self.times.last() == Some(&t_ms);
        let row = self.next_row() - 1;
        for (slot, bits) in samples {
            let column = &mut self.columns[slot as usize];
            if is_newest && column.cursor() <= row && !column.is_rich() {
                column.append(row, f64::from_bits(bits));
                self.rows_len += 1;
            } else {
                self.place(slot, t_ms, bits, Extra::NONE);
            }
        }
    }

    /// Stores a sample outside the rows. One that is there keeps its value.
    pub(super) fn place_loose(
        &mut self,
        series: u32,
        t_ms: i64,
        bits: u64,
        extra: &Extra,
        source: Option<u32>,
    ) {
        let loose = self.loose.entry(series).or_default();
        loose.source = source.or(loose.source);
        if loose.insert(t_ms, f64::from_bits(bits), extra) {
            self.loose_len += 1;
        }
    }

    /// Forgets where columns stand that are empty, or rich no more.
    pub(super) fn trim_rich(&mut self) {
        if self.rich.is_empty() {
            return;
        }
        let is_rich = |(_, column): &(&u32, &Column)| column.is_rich();
        let rich: hashbrown::HashSet<u32> =
            self.series.iter().zip(&self.columns).filter(is_rich).map(|(id, _)| *id).collect();
        self.rich.retain(|series, _| rich.contains(series));
    }

    /// Whether a commit whose oldest time is `t_ms` changes more than the end of the group.
    pub(super) fn is_disturbed_by(&self, t_ms: i64) -> bool {
        self.times.last().is_some_and(|&newest| t_ms <= newest)
    }

    /// The loose sample of `series` at `t_ms`.
    pub(super) fn loose_at(&self, series: u32, t_ms: i64) -> Option<(u64, Option<&Histogram>)> {
        let samples = &self.loose.get(&series)?.samples;
        let at = samples.timestamps.binary_search(&t_ms).ok()?;
        Some((samples.values[at].to_bits(), samples.histogram(at).map(|h| &**h)))
    }

    /// Adds the bytes on the heap, roughly; those of the writer's slots are among them.
    pub(super) fn measure(&self, memory: &mut HeadMemory) {
        let slot = size_of::<SlotState>() + size_of::<u32>() + size_of::<Column>();
        memory.slots += (self.columns.capacity() * slot) as u64;
        memory.streams += self.stream_bytes() as u64;
        let groups = size_of::<Group>()
            + self.times.capacity() * 8
            + self.loose.capacity() * size_of::<(u32, Loose)>()
            + self.loose_len * 16
            + self.loose.values().map(|loose| histogram_bytes(&loose.samples)).sum::<usize>()
            + self.rich.capacity() * size_of::<(u32, Extra)>()
            + self.rich.values().map(Extra::heap_bytes).sum::<usize>()
            + self.tiles.capacity() * size_of::<TileRef>();
        memory.groups += groups as u64;
    }

    /// Bytes on the heap of all streams.
    pub(super) fn stream_bytes(&self) -> usize {
        self.columns.iter().map(Column::heap_bytes).sum()
    }

    /// Number of the row after the last.
    pub(super) fn next_row(&self) -> u32 {
        self.first_row + self.times.len() as u32
    }

    /// Samples that no tile holds.
    pub(super) fn unsealed_len(&self) -> usize {
        self.rows_len + self.loose_len
    }
}

impl Loose {
    fn insert(&mut self, t_ms: i64, value: f64, extra: &Extra) -> bool {
        let at = match self.samples.timestamps.last() {
            Some(&last) if last >= t_ms => match self.samples.timestamps.binary_search(&t_ms) {
                Ok(_) => return false,
                Err(at) => at,
            },
            _ => self.samples.len(),
        };
        self.samples.insert(at, t_ms, value, extra.histogram.clone(), extra.start_ms);
        true
    }
}

fn histogram_bytes(samples: &Samples) -> usize {
    let histograms = samples.histograms.iter().map(|(_, histogram)| heap_bytes(histogram));
    histograms.sum::<usize>() + samples.starts_ms.capacity() * 8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(data: &Data, slot: usize) -> Vec<(u32, f64)> {
        let mut samples = Vec::new();
        data.columns[slot].decode(|row, value| samples.push((row, value)));
        samples
    }

    #[test]
    fn each_series_has_its_own_cursor() {
        let mut data = Data::default();
        data.add_slot(10);
        data.add_slot(11);
        for t in [100, 200, 300] {
            data.place(0, t, f64::to_bits(t as f64), Extra::NONE);
        }
        // The second series comes later, in step with rows that are there already.
        data.place(1, 100, 1_f64.to_bits(), Extra::NONE);
        data.place(1, 300, 3_f64.to_bits(), Extra::NONE);
        assert_eq!(data.times, [100, 200, 300]);
        assert_eq!(column(&data, 1), [(0, 1.0), (2, 3.0)]);
        assert_eq!(data.loose_len, 0);
        // A time that the column lacks and has passed.
        data.place(1, 250, 2_f64.to_bits(), Extra::NONE);
        assert_eq!(data.loose_at(11, 250), Some((2_f64.to_bits(), None)));
        // A row that the cursor has passed.
        data.place(1, 200, 4_f64.to_bits(), Extra::NONE);
        assert_eq!(data.loose[&11].samples.len(), 2);
        data.place_loose(11, 200, 5_f64.to_bits(), Extra::NONE, Some(7));
        assert_eq!(data.loose_at(11, 200), Some((4_f64.to_bits(), None)));
        assert_eq!(data.unsealed_len(), 7);
    }

    #[test]
    fn epochs_come_with_segments_and_counts() {
        let mut writer = Writer::default();
        writer.begin_record(1);
        let first = writer.epoch;
        for _ in 1..RECORDS_PER_EPOCH {
            writer.begin_record(1);
        }
        assert_eq!(writer.epoch, first);
        writer.begin_record(1);
        assert_eq!(writer.epoch, first + 1);
        writer.begin_record(2);
        assert_eq!(writer.epoch, first + 2);
    }
}
