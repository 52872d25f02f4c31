//! Replay of rows.

use std::sync::Arc;

use super::Recovery;
use crate::encoding::cursor::Cursor;
use crate::head::Event;
use crate::head::extra::Extra;
use crate::head::group::{Data, NO_SERIES, NO_TIME, Writer};
use crate::head::tile::TileMeta;
use crate::wal::Position;
use crate::wal::record::{ReadSample, RecordError, RowsSink, read_rows, read_rows_header};

/// How far the log was applied in one group.
#[derive(Debug, Default)]
pub(super) struct Tail {
    /// The last record seen, applied or skipped.
    seen: u64,
    /// Records up to here are in tiles.
    covered: u64,
    /// Slots of which the previous value is known.
    known: Vec<bool>,
}

impl Recovery<'_> {
    /// The checkpoint says that records up to `sealed` are in tiles.
    pub(super) fn covered_by_checkpoint(&mut self, group: u32, sealed: u64) {
        let tail = self.tails.entry(group).or_default();
        tail.seen = tail.seen.max(sealed);
        tail.covered = tail.covered.max(sealed);
    }

    /// A file has this tile.
    pub(super) fn expect_tile(&mut self, tile: &TileMeta) {
        let tail = self.tails.entry(tile.group).or_default();
        tail.covered = tail.covered.max(tile.record);
    }

    pub(super) fn tail(&self, group: u32) -> (u64, u64) {
        self.tails.get(&group).map_or((0, 0), |tail| (tail.seen, tail.covered))
    }

    /// Applies a rows record.
    pub(super) fn apply_rows(
        &mut self,
        position: Position,
        cursor: &mut Cursor<'_>,
    ) -> Result<(), RecordError> {
        let header = read_rows_header(cursor)?;
        let bad = |what| Err(RecordError { offset: 0, what });
        let Some(group) = self.head.group(header.group) else {
            return bad("rows of a group that is not known");
        };
        let tail = self.tails.entry(header.group).or_default();
        if header.number <= tail.seen {
            return Ok(());
        }
        if header.number <= tail.covered {
            tail.seen = header.number;
            return Ok(());
        }
        if header.previous > tail.seen.max(tail.covered) {
            let count = header.previous - tail.seen.max(tail.covered);
            tail.known.fill(false);
            let event = Event::RecordsMissing { group: header.group, count };
            self.head.options.observer.observe(event);
        }
        tail.seen = header.number;
        let mut writer = group.writer();
        if header.slots as usize > writer.slots.len() {
            tail.known.fill(false);
            return bad("rows of slots that are not known");
        }
        tail.known.resize(writer.slots.len(), false);
        let mut data = group.data();
        let mut sink = Sink {
            writer: &mut writer,
            data: &mut data,
            known: &mut tail.known,
            source: header.source,
            count: 0,
            times: None,
        };
        let result = read_rows(cursor, header.slots, &mut sink);
        let Sink { count, times, .. } = sink;
        self.samples += count;
        if let Some((min_ms, max_ms)) = times {
            self.head.saw(min_ms, max_ms);
        }
        writer.unsealed_from.get_or_insert(position);
        if result.is_err() {
            tail.known.fill(false);
        }
        result
    }
}

/// Puts replayed samples into a group.
struct Sink<'a> {
    writer: &'a mut Writer,
    data: &'a mut Data,
    known: &'a mut [bool],
    source: Option<u32>,
    count: u64,
    times: Option<(i64, i64)>,
}

impl RowsSink for Sink<'_> {
    fn previous(&self, slot: u32) -> u64 {
        self.writer.slots[slot as usize].last_bits
    }

    fn sample(&mut self, t_ms: i64, is_late: bool, sample: ReadSample) {
        let ReadSample { slot, bits, is_absolute, histogram, start_ms } = sample;
        let known = &mut self.known[slot as usize];
        let state = &mut self.writer.slots[slot as usize];
        if is_absolute && !is_late {
            *known = true;
        }
        if (!is_absolute && !*known) || t_ms == NO_TIME {
            return;
        }
        if !is_late {
            state.last_ms = t_ms;
            state.last_bits = bits;
        }
        let series = state.series;
        if series == NO_SERIES {
            return;
        }
        let in_force = if is_absolute { 0 } else { self.writer.extra(slot).start_ms };
        let start_ms = start_ms.unwrap_or(in_force);
        let extra = Extra { histogram: histogram.map(Arc::new), start_ms };
        if is_late || self.source.is_some() {
            self.data.place_loose(series, t_ms, bits, &extra, self.source);
        } else {
            self.data.place(slot, t_ms, bits, &extra);
        }
        if !is_late {
            self.writer.set_extra(slot, extra);
        }
        self.count += 1;
        let (min_ms, max_ms) = self.times.unwrap_or((t_ms, t_ms));
        self.times = Some((min_ms.min(t_ms), max_ms.max(t_ms)));
    }
}
