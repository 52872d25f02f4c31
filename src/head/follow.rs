//! Reading the log as samples, for those who pass on what was stored.
//!
//! A [`Follower`] keeps tables of its own, as the log tells them: the labels of series, the slots
//! of groups, the last value of each slot. They are those of its place in the log and of no other,
//! so they are kept with that place: [`Follower::save`] writes them, [`Follower::resume`] reads
//! them and goes on. The head's own tables would not do, because series leave the head and slots
//! are numbered anew before a slow follower comes to the records that name them.
//!
//! INVARIANT: only what is on the medium is read (`wal/tail.rs`), so no place that a follower
//! notes lies behind the end that a loss of power leaves.
//!
//! Samples come in the order of the log: that of commits, and within a commit by group, time and
//! slot. Each has a [`LogPoint`]. Deletions are passed over: what was stored was stored.

mod tables;

use std::sync::Arc;
use std::time::Duration;

use self::tables::Tables;
use super::Head;
use crate::disk::StorageError;
use crate::encoding::cursor::Cursor;
use crate::model::{Exemplar, Histogram, Labels};
use crate::wal::record::{
    ReadSample, RecordError, RowsSink, SeriesReader, kind, read_exemplar, read_group, read_rows,
    read_rows_header, read_shape,
};
use crate::wal::{CheckpointWriter, Item, Tail, read_up_to};

/// A place in the log, between two samples: what lies before it was seen. Ordered as the log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct LogPoint {
    /// Number of a record.
    pub sequence: u64,
    /// Samples of that record that lie before the place.
    pub index: u32,
}

impl LogPoint {
    /// The place behind the sample that begins here.
    #[must_use]
    pub fn next(self) -> Self {
        Self { index: self.index.saturating_add(1), ..self }
    }
}

/// A series as a follower knows it.
#[derive(Debug, Clone)]
pub struct FollowedSeries {
    /// Its number. It is given to another series only when nothing in the log names it any more.
    pub id: u32,
    /// Tells two series apart that had the same number one after the other.
    pub generation: u32,
    /// Its labels.
    pub labels: Labels,
}

/// A sample as it was stored.
#[derive(Debug)]
pub struct FollowedSample<'a> {
    /// Where it stands.
    pub point: LogPoint,
    /// Whose it is.
    pub series: &'a FollowedSeries,
    /// Milliseconds.
    pub t_ms: i64,
    /// Its value; of a histogram, the sum.
    pub value: f64,
    /// The histogram, if it is one.
    pub histogram: Option<Histogram>,
    /// When its counter began, in milliseconds; 0: not known.
    pub start_ms: i64,
}

/// Takes what a follower reads.
pub trait FollowSink {
    /// A sample.
    fn sample(&mut self, sample: FollowedSample<'_>);
    /// An exemplar of the series with these labels.
    fn exemplar(&mut self, point: LogPoint, series: &Labels, exemplar: Exemplar);
    /// Something could not be read: so many records are missing, and why.
    fn lost(&mut self, records: u64, why: &str);
}

/// Reads the log from one place on.
#[derive(Debug)]
pub struct Follower {
    head: Arc<Head>,
    tail: Tail,
    tables: Tables,
    /// Groups that have left the head, and the place behind which the log does not name them.
    gone: Option<(Vec<u32>, u64)>,
}

impl Head {
    /// Keeps the log from the record with this number on, whatever else needs it; `None`: no more
    /// than the head itself needs.
    pub fn keep_log_from(&self, sequence: Option<u64>) {
        let sequence = sequence.unwrap_or(u64::MAX);
        self.log_kept_from.store(sequence, std::sync::atomic::Ordering::Release);
    }

    /// Number of the record that will be logged next.
    pub fn log_end(&self) -> u64 {
        self.log.end().sequence
    }

    /// Bytes of the log from the record with this number on.
    pub fn log_bytes_from(&self, sequence: u64) -> u64 {
        self.log.bytes_from(sequence)
    }

    /// The lowest record number from which on the log takes at most so many bytes.
    pub fn log_sequence_within(&self, bytes: u64) -> u64 {
        self.log.sequence_within(bytes)
    }

    /// Follows the log from now on. Waits for a replay that is under way.
    pub fn follow(self: &Arc<Self>) -> Result<Follower, StorageError> {
        self.check_open()?;
        self.wait_for_recovery()?;
        // Whatever is logged before this place is in the tables that are copied after it.
        let begin = self.log.end();
        let mut tables = Tables::default();
        for group in self.groups_read().all() {
            tables.capture_group(&group);
        }
        {
            let register = self.register_read();
            let ids: Vec<u32> = register.ids().filter(|&id| register.is_logged(id)).collect();
            for id in ids {
                let Some(labels) = register.labels(id) else { continue };
                let generation = register.reference(id).generation;
                tables.set_series(FollowedSeries { id, generation, labels });
            }
        }
        // The tables must not know of records that power could take.
        self.log.sync()?;
        let tail = Tail::open(Arc::clone(&self.log), begin.sequence);
        Ok(Follower { head: Arc::clone(self), tail, tables, gone: None })
    }

    /// Follows the log with the newest tables in `dir` that belong to a place at or before
    /// `sequence`. `None` where there are none; the second part says what is wrong with others.
    pub fn follow_from(
        self: &Arc<Self>,
        dir: &std::path::Path,
        sequence: u64,
    ) -> Result<(Option<Follower>, Vec<String>), StorageError> {
        self.check_open()?;
        let (found, damages) = read_up_to(&self.options.disk, dir, sequence)?;
        let mut told: Vec<String> = damages.iter().map(ToString::to_string).collect();
        let Some(mut checkpoint) = found else { return Ok((None, told)) };
        let begin = checkpoint.position().sequence;
        let mut tables = Tables::default();
        while let Some((kind, payload)) = checkpoint.next_record()? {
            if let Err(error) = tables.read(kind, payload) {
                told.push(format!("{}: {error}", checkpoint.path().display()));
                return Ok((None, told));
            }
        }
        let tail = Tail::open(Arc::clone(&self.log), begin);
        Ok((Some(Follower { head: Arc::clone(self), tail, tables, gone: None }), told))
    }
}

impl Follower {
    /// The place behind all that was read.
    pub fn point(&self) -> LogPoint {
        LogPoint { sequence: self.tail.next_sequence(), index: 0 }
    }

    /// Number of the log segment that is read.
    pub fn segment(&self) -> u64 {
        self.tail.segment()
    }

    /// Waits until there is something to read, at most so long; whether there is.
    pub fn wait(&self, timeout: Duration) -> bool {
        self.tail.wait(timeout)
    }

    /// Reads a record. `false` where there is none yet. An error is that of a file of the log that
    /// is there and cannot be opened now: nothing is passed over, and the next call tries again.
    pub fn read(&mut self, sink: &mut dyn FollowSink) -> Result<bool, StorageError> {
        let tables = &mut self.tables;
        match self.tail.next_item()? {
            None => return Ok(false),
            Some(Item::Damage(damage)) => sink.lost(damage.records, &damage.to_string()),
            Some(Item::Record { position, kind, payload }) => {
                let point = LogPoint { sequence: position.sequence, index: 0 };
                if let Err(error) = take(tables, point, kind, payload, sink) {
                    sink.lost(1, &format!("record {}: {error}", position.sequence));
                }
            }
        }
        Ok(true)
    }

    /// After an error: what cannot be opened the next time either is lost, and told so.
    pub fn give_up(&mut self) {
        self.tail.give_up();
    }

    /// Writes the tables of this place to `dir`, durably; the two newest are kept there. Returns
    /// the bytes written.
    pub fn save(&mut self, dir: &std::path::Path) -> Result<u64, StorageError> {
        self.forget_gone();
        let sequence = self.tail.next_sequence();
        let position = crate::wal::Position { sequence, segment: 0, offset: 0 };
        let disk = Arc::clone(&self.head.options.disk);
        let mut writer = CheckpointWriter::create(disk, dir, position)?;
        self.tables.write(&mut |kind, body| writer.append(kind, body))?;
        writer.commit().map(|(_, bytes)| bytes)
    }

    /// Lets go of groups that left the head before this place.
    fn forget_gone(&mut self) {
        if let Some((groups, behind)) = self.gone.take() {
            if self.tail.next_sequence() < behind {
                self.gone = Some((groups, behind));
                return;
            }
            self.tables.forget_groups(&groups);
        }
        let gone: Vec<u32> = {
            let table = self.head.groups_read();
            self.tables.groups().filter(|&id| table.by_id(id).is_none()).collect()
        };
        // Whatever named them was logged before they left.
        let behind = self.head.log.end().sequence;
        self.gone = (!gone.is_empty()).then_some((gone, behind));
    }
}

fn take(
    tables: &mut Tables,
    point: LogPoint,
    kind: u8,
    payload: &[u8],
    sink: &mut dyn FollowSink,
) -> Result<(), RecordError> {
    let cursor = &mut Cursor::new(payload);
    match kind {
        kind::SERIES => {
            let mut reader = SeriesReader::default();
            while let Some(entry) = reader.next(cursor)? {
                tables.read_series(entry)?;
            }
        }
        kind::GROUP => tables.add_group(read_group(cursor)?.id),
        kind::SHAPE => tables.shape(&read_shape(cursor)?)?,
        kind::ROWS => take_rows(tables, point, cursor, sink)?,
        kind::EXEMPLARS => {
            let mut point = point;
            while let Some((series, exemplar)) = read_exemplar(cursor)? {
                sink.exemplar(point, &series, exemplar);
                point = point.next();
            }
        }
        _ => {}
    }
    Ok(())
}

fn take_rows(
    tables: &mut Tables,
    point: LogPoint,
    cursor: &mut Cursor<'_>,
    sink: &mut dyn FollowSink,
) -> Result<(), RecordError> {
    let header = read_rows_header(cursor)?;
    let bad = |what| Err(RecordError { offset: 0, what });
    let Some((group, series)) = tables.group_mut(header.group) else {
        return bad("rows of a group that is not known");
    };
    if header.number <= group.seen {
        return Ok(());
    }
    if header.previous > group.seen {
        group.forget_values();
        sink.lost(0, "records of a group are missing: its series resume at their next full value");
    }
    group.seen = header.number;
    if header.slots as usize > group.slots.len() {
        group.forget_values();
        return bad("rows of slots that are not known");
    }
    let mut rows = Rows { group, series, point, sink };
    let result = read_rows(cursor, header.slots, &mut rows);
    if result.is_err() {
        rows.group.forget_values();
    }
    result
}

/// Hands on the samples of a record.
struct Rows<'a> {
    group: &'a mut tables::GroupSlots,
    series: &'a [Option<FollowedSeries>],
    point: LogPoint,
    sink: &'a mut dyn FollowSink,
}

impl RowsSink for Rows<'_> {
    fn previous(&self, slot: u32) -> u64 {
        self.group.slots[slot as usize].bits
    }

    fn sample(&mut self, t_ms: i64, is_late: bool, sample: ReadSample) {
        let ReadSample { slot, bits, is_absolute, histogram, start_ms } = sample;
        let point = self.point;
        self.point = point.next();
        let state = &mut self.group.slots[slot as usize];
        if is_absolute && !is_late {
            state.is_known = true;
        }
        if !is_absolute && !state.is_known {
            return;
        }
        let series = state.series;
        let in_force = if is_absolute { 0 } else { self.group.start_ms(slot) };
        let start_ms = start_ms.unwrap_or(in_force);
        if !is_late {
            self.group.slots[slot as usize].bits = bits;
            self.group.set_start_ms(slot, start_ms);
        }
        if let Some(Some(series)) = self.series.get(series as usize) {
            let value = f64::from_bits(bits);
            self.sink.sample(FollowedSample { point, series, t_ms, value, histogram, start_ms });
        }
    }
}

#[cfg(test)]
mod tests;
