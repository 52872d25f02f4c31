//! Sealing: unsealed samples of groups become tiles of a head file.
//!
//! In three steps, so that commits wait for memory only: under the group's locks a copy of its
//! streams and the number of its last record; without locks chunks, file, sync; under the locks
//! again the tile comes in and what it holds goes out. What was committed in between stays, and
//! was written to the log without reference to what the seal covers. The log is synced before the
//! file is, so a tile never holds what the log could still lose.

use std::path::PathBuf;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use hashbrown::{HashMap, HashSet};

use super::column::ColumnSnapshot;
use super::group::{Data, Group, NO_SERIES, Writer};
use super::tile::{HeadFile, HeadFileWriter, TileBuilder, TileRef};
use super::{Event, Head};
use crate::disk::StorageError;
use crate::model::Samples;

/// Rows after which a group is sealed.
const ROWS_PER_SEAL: u32 = 120;
/// Rows after which a group is sealed for the first time, at least: groups that began together
/// are spread over the time between two seals, or memory would hold all their streams at their
/// longest at once.
const ROWS_FIRST_SEAL_MIN: u32 = 20;
/// Least time between two seals that nobody waits for: a head file for each second would be a
/// thousand small ones in a window.
const SEAL_PAUSE_MS: i64 = 60_000;
/// Growth of the log after which nobody minds another file, however soon.
const SEAL_LOG_BYTES: u64 = 8 << 20;
/// Bytes of streams that are copied for one file.
const FILE_STREAM_BYTES_MAX: usize = 32 << 20;
/// Loose samples of a group after which it is sealed, whatever its number of slots.
const LOOSE_MAX: usize = 100_000;
/// A group that was not fed for so long is sealed.
const IDLE_MS: i64 = 20 * 60_000;
/// Log segments that a group may hold before it is sealed.
const SEGMENTS_HELD_MAX: u64 = 4;
/// Payload bytes at which a tile is ended and another begun.
const TILE_BYTES_MAX: usize = 256 << 20;
/// Rows at the end that are kept for series which are not up to them yet.
const LAG_ROWS: u32 = 8;

/// What maintenance remembers; whoever seals, flushes or checkpoints holds it.
#[derive(Debug, Default)]
pub(super) struct Maintenance {
    /// The border of the last [`Head::seal_window`], and the number of the first head file that
    /// is younger.
    pub window_seal: Option<(i64, u64)>,
    /// Whether something was sealed since the last checkpoint.
    pub is_checkpoint_due: bool,
    /// When the last checkpoint was written, and how long that took.
    pub checkpointed_at: Duration,
    pub checkpoint_took: Duration,
    /// What checkpoints say of the last truncation: samples below the border in files with
    /// smaller numbers are in blocks.
    pub clip: Option<(i64, u64)>,
    /// Series that lived nowhere at the last truncation.
    pub homeless: HashSet<u32>,
    /// Failed syncs of the log that the observer has heard of.
    pub sync_failures_told: u64,
    /// Wall clock of the last seal that was due by itself.
    pub sealed_at_ms: Option<i64>,
    /// Bytes of the log then, or since, whichever is less.
    pub log_bytes_sealed: u64,
    /// Wall clock of the last look at every slot for series that have ended.
    pub ended_looked_ms: Option<i64>,
    /// The head needs the log from this record on.
    pub needed_from: u64,
    /// When memory is to be measured next.
    pub measured_next: Duration,
}

/// What of a group is sealed.
#[derive(Debug, Clone, Copy)]
enum Part {
    /// All of it.
    Whole,
    /// The series that were not fed after this time.
    Ended(i64),
}

/// A group in the middle of being sealed.
#[derive(Debug)]
struct Sealing {
    group: Arc<Group>,
    /// The last record covered.
    record: u64,
    /// The first row that is not covered.
    next_row: u32,
    /// Whether it takes all that the group has.
    is_whole: bool,
    first_row: u32,
    times: Vec<i64>,
    columns: Vec<(u32, u32, ColumnSnapshot)>,
    loose: HashMap<u32, Samples>,
    /// Numbers of its tiles in the file.
    tiles: Vec<u32>,
}

impl Head {
    /// The right to seal, flush or checkpoint; there is none before all is replayed.
    pub(super) fn maintenance(&self) -> Result<MutexGuard<'_, Maintenance>, StorageError> {
        self.gate.wait_for_all()?;
        Ok(self.maintenance.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Directory of the head files.
    pub(super) fn files_dir(&self) -> PathBuf {
        self.options.dir.join("head")
    }

    /// Seals what is due at `now_ms`, in one file: groups, and series that have ended. Nothing
    /// within a minute of the last time, unless much was written since.
    pub(super) fn seal_due(
        &self,
        now_ms: i64,
        state: &mut Maintenance,
    ) -> Result<(), StorageError> {
        let since = |at_ms: i64| now_ms.saturating_sub(at_ms);
        let is_tight = self.is_memory_tight();
        let pause_ms = if is_tight { SEAL_PAUSE_MS / 10 } else { SEAL_PAUSE_MS };
        let log_bytes = self.log.bytes_from(state.needed_from);
        state.log_bytes_sealed = state.log_bytes_sealed.min(log_bytes);
        let is_large = log_bytes - state.log_bytes_sealed >= SEAL_LOG_BYTES;
        let rests = state.sealed_at_ms.is_some_and(|at_ms| (0..pause_ms).contains(&since(at_ms)));
        if rests && !is_large {
            return Ok(());
        }
        let due = self.groups_due(now_ms, is_tight);
        let until_ms = self.ended_until_ms();
        let looked = state.ended_looked_ms;
        let ended = if looked.is_some_and(|at_ms| (0..pause_ms).contains(&since(at_ms))) {
            Vec::new()
        } else {
            state.ended_looked_ms = Some(now_ms);
            self.groups_with_ended(until_ms)
        };
        if due.is_empty() && ended.is_empty() {
            return Ok(());
        }
        state.sealed_at_ms = Some(now_ms);
        state.log_bytes_sealed = log_bytes;
        let numbers: HashSet<u32> = due.iter().map(|group| group.id).collect();
        let whole = due.into_iter().map(|group| (group, Part::Whole));
        let alone = ended.iter().filter(|group| !numbers.contains(&group.id));
        let alone = alone.map(|group| (Arc::clone(group), Part::Ended(until_ms)));
        let sealed = self.seal_parts(&whole.chain(alone).collect::<Vec<_>>(), state);
        for group in &ended {
            self.free_ended(group, until_ms);
            self.reshape(group)?;
        }
        // What readers looked at, and the check of the new file, brought pages into memory.
        let files: Vec<_> = self.files().by_number.values().cloned().collect();
        for file in files {
            file.release();
        }
        sealed
    }

    /// Groups that should be sealed at `now_ms`.
    fn groups_due(&self, now_ms: i64, is_tight: bool) -> Vec<Arc<Group>> {
        let segment = self.log.end().segment;
        let mut groups = self.groups_read().all();
        groups.retain(|group| {
            let writer = group.writer();
            let holds_log =
                writer.unsealed_from.is_some_and(|from| from.segment + SEGMENTS_HELD_MAX < segment);
            let is_idle = now_ms.saturating_sub(writer.fed_at_ms) >= IDLE_MS;
            drop(writer);
            let data = group.data();
            let rows_max = if is_tight { ROWS_FIRST_SEAL_MIN } else { rows_per_seal(group, &data) };
            let loose_max = LOOSE_MAX.min(ROWS_PER_SEAL as usize * data.columns.len().max(1));
            data.unsealed_len() > 0
                && (holds_log
                    || is_idle
                    || data.next_row().saturating_sub(sealed_rows(&data)) >= rows_max
                    || data.loose_len >= loose_max)
        });
        groups
    }

    /// Seals all that these groups have; as [`Head::seal_parts`].
    pub(super) fn seal(
        &self,
        groups: &[Arc<Group>],
        state: &mut Maintenance,
    ) -> Result<(), StorageError> {
        let whole = groups.iter().map(|group| (Arc::clone(group), Part::Whole));
        self.seal_parts(&whole.collect::<Vec<_>>(), state)
    }

    /// Seals these parts of groups, into one file unless they are large. On an error those that
    /// are left are as before.
    fn seal_parts(
        &self,
        parts: &[(Arc<Group>, Part)],
        state: &mut Maintenance,
    ) -> Result<(), StorageError> {
        let mut rest = parts;
        while !rest.is_empty() {
            let mut bytes = 0;
            let is_full = |(group, _): &(Arc<Group>, Part)| {
                bytes += group.data().stream_bytes();
                bytes > FILE_STREAM_BYTES_MAX
            };
            let count = rest.iter().position(is_full).unwrap_or(rest.len()).max(1);
            let (now, later) = rest.split_at(count);
            self.seal_into_file(now, state)?;
            rest = later;
        }
        Ok(())
    }

    fn seal_into_file(
        &self,
        parts: &[(Arc<Group>, Part)],
        state: &mut Maintenance,
    ) -> Result<(), StorageError> {
        let begun = parts.iter().filter_map(|(group, part)| match *part {
            Part::Whole => begin(group),
            Part::Ended(until_ms) => begin_ended(group, until_ms),
        });
        let mut sealings: Vec<Sealing> = begun.collect();
        if sealings.is_empty() {
            return Ok(());
        }
        self.log.sync()?;
        let (file, chunks) = self.write_file(&mut sealings)?;
        let count = sealings.len();
        let mut movers = Vec::new();
        for sealing in sealings {
            let group = Arc::clone(&sealing.group);
            let found = finish(sealing, &file);
            movers.extend(found.into_iter().map(|(series, root)| (series, group.id, root)));
        }
        self.files().by_number.insert(file.number, Arc::clone(&file));
        self.counters.seals.fetch_add(count as u64, std::sync::atomic::Ordering::Relaxed);
        state.is_checkpoint_due = true;
        let bytes = file.len();
        self.options.observer.observe(Event::Sealed { groups: count, chunks, bytes });
        for (series, from, root) in movers {
            self.move_series(series, from, root)?;
        }
        for (group, _) in parts {
            self.reshape(group)?;
        }
        Ok(())
    }

    /// Writes the file of a seal; gives it and the number of its chunks.
    fn write_file(&self, sealings: &mut [Sealing]) -> Result<(Arc<HeadFile>, usize), StorageError> {
        let number = {
            let mut files = self.files();
            files.next += 1;
            files.next - 1
        };
        let disk = Arc::clone(&self.options.disk);
        let mut writer = HeadFileWriter::create(disk, &self.files_dir(), number)?;
        let (mut next_tile, mut chunks) = (0, 0);
        for sealing in sealings {
            let Sealing { record, next_row, .. } = *sealing;
            let group = sealing.group.id;
            encode(sealing, &mut |tile, tiles| {
                chunks += tile.chunks();
                tiles.push(next_tile);
                next_tile += 1;
                writer.add(tile, group, record, next_row)
            })?;
        }
        Ok((writer.finish()?, chunks))
    }
}

/// Rows that a group has when it is due: the first time fewer, a number that groups differ in.
fn rows_per_seal(group: &Group, data: &Data) -> u32 {
    if data.first_row > 0 || !data.tiles.is_empty() {
        return ROWS_PER_SEAL;
    }
    let mixed = group.id.wrapping_mul(0x9e37_79b9) >> 16;
    ROWS_FIRST_SEAL_MIN + mixed % (ROWS_PER_SEAL - ROWS_FIRST_SEAL_MIN + 1)
}

/// Copies what is to be sealed; `None` where there is nothing.
fn begin(group: &Arc<Group>) -> Option<Sealing> {
    let mut writer = group.writer();
    let data = group.data();
    if writer.is_gone || data.unsealed_len() == 0 {
        return None;
    }
    writer.begin_epoch();
    writer.unsealed_from_next = None;
    let columns = data.columns.iter().enumerate().filter(|(_, column)| !column.is_empty());
    Some(Sealing {
        group: Arc::clone(group),
        record: writer.stored_record,
        next_row: data.next_row(),
        is_whole: true,
        first_row: data.first_row,
        times: data.times.clone(),
        columns: columns
            .map(|(slot, column)| (slot as u32, data.series[slot], column.snapshot()))
            .collect(),
        loose: data.loose.iter().map(|(&id, l)| (id, l.samples.clone())).collect(),
        tiles: Vec::new(),
    })
}

/// Copies what the series have that ended; everything where no other series has anything.
fn begin_ended(group: &Arc<Group>, until_ms: i64) -> Option<Sealing> {
    let writer = group.writer();
    let data = group.data();
    let ended: HashSet<u32> =
        writer.slots.iter().filter(|s| s.has_ended(until_ms)).map(|s| s.series).collect();
    let unsealed = || {
        let columns = data.series.iter().zip(&data.columns).filter(|(_, c)| !c.is_empty());
        columns.map(|(series, _)| series).chain(data.loose.keys())
    };
    if writer.is_gone || !unsealed().any(|series| ended.contains(series)) {
        return None;
    }
    if unsealed().all(|series| ended.contains(series)) {
        drop((data, writer));
        return begin(group);
    }
    let columns = (0_u32..).zip(data.series.iter().zip(&data.columns));
    let columns = columns.filter(|(_, (series, c))| !c.is_empty() && ended.contains(*series));
    let loose = data.loose.iter().filter(|(series, _)| ended.contains(*series));
    Some(Sealing {
        group: Arc::clone(group),
        record: writer.sealed_record,
        next_row: sealed_rows(&data),
        is_whole: false,
        first_row: data.first_row,
        times: data.times.clone(),
        columns: columns.map(|(slot, (&series, c))| (slot, series, c.snapshot())).collect(),
        loose: loose.map(|(&id, loose)| (id, loose.samples.clone())).collect(),
        tiles: Vec::new(),
    })
}

/// The first row of a group that its tiles do not cover.
fn sealed_rows(data: &Data) -> u32 {
    let covered = data.tiles.iter().map(|tile| tile.meta().next_row).max();
    covered.unwrap_or(data.first_row)
}

/// Takes a tile, and notes its number.
type AddTile<'a> = dyn FnMut(TileBuilder, &mut Vec<u32>) -> Result<(), StorageError> + 'a;

/// Hands over the tiles of a group.
fn encode(sealing: &mut Sealing, add: &mut AddTile<'_>) -> Result<(), StorageError> {
    let mut tile = TileBuilder::new();
    let (mut rows, mut samples) = (Vec::new(), Samples::default());
    for (_, series, column) in &sealing.columns {
        rows.clear();
        samples.clear();
        column.decode_samples(0..u32::MAX, |row, sample| {
            let row = row - sealing.first_row;
            rows.push(row);
            sample.push_to(&mut samples, sealing.times[row as usize]);
        });
        tile.add_rows(*series, &sealing.times, &rows, &samples);
        if tile.len() >= TILE_BYTES_MAX {
            add(std::mem::replace(&mut tile, TileBuilder::new()), &mut sealing.tiles)?;
        }
    }
    for (&series, samples) in &sealing.loose {
        tile.add_loose(series, samples);
    }
    if tile.is_empty() { Ok(()) } else { add(tile, &mut sealing.tiles) }
}

/// Replaces what was sealed by references to the tiles. Gives the series that another source
/// feeds now, with the root of that source.
fn finish(sealing: Sealing, file: &Arc<HeadFile>) -> Vec<(u32, u32)> {
    let mut writer = sealing.group.writer();
    let mut data = sealing.group.data();
    for (slot, _, snapshot) in &sealing.columns {
        data.columns[*slot as usize].forget_before(snapshot.cursor());
        data.rows_len -= snapshot.samples() as usize;
    }
    let movers = forget_loose(&mut data, &writer, &sealing.loose);
    for index in sealing.tiles {
        file.use_tile(true);
        data.tiles.push(TileRef { file: Arc::clone(file), index, clip_ms: i64::MIN });
    }
    trim_rows(&mut data);
    data.trim_rich();
    data.disturbed += 1;
    if !sealing.is_whole {
        return Vec::new();
    }
    writer.sealed_record = sealing.record;
    writer.unsealed_from = writer.unsealed_from_next;
    movers
}

/// Takes out the loose samples that were sealed.
fn forget_loose(
    data: &mut Data,
    writer: &Writer,
    sealed: &HashMap<u32, Samples>,
) -> Vec<(u32, u32)> {
    let mut movers = Vec::new();
    let mut newest: HashMap<u32, i64> = HashMap::new();
    for (&series, samples) in sealed {
        let Some(loose) = data.loose.get_mut(&series) else { continue };
        let before = loose.samples.len();
        let is_sealed = |t_ms: i64| samples.timestamps.binary_search(&t_ms).is_ok();
        loose.samples.retain(|t_ms| !is_sealed(t_ms));
        let gone = before - loose.samples.len();
        let (source, is_empty) = (loose.source, loose.samples.is_empty());
        data.loose_len -= gone;
        if is_empty {
            data.loose.remove(&series);
            if let (Some(root), Some(last)) = (source, samples.timestamps.last()) {
                movers.push((series, root));
                newest.insert(series, *last);
            }
        }
    }
    if !movers.is_empty() {
        // Only where the other source gave the series' newest sample.
        let slots = writer.slots.iter().filter(|slot| slot.series != NO_SERIES);
        let stays: HashMap<u32, bool> = slots
            .filter_map(|slot| Some((slot.series, *newest.get(&slot.series)? != slot.last_ms)))
            .collect();
        movers.retain(|(series, _)| stays.get(series) == Some(&false));
    }
    movers
}

/// Lets rows go that no stream needs and no series is about to fill.
pub(super) fn trim_rows(data: &mut Data) {
    let next = data.next_row();
    let mut keep = next;
    for column in &data.columns {
        if !column.is_empty() {
            keep = keep.min(column.start_row());
        } else if column.cursor() > 0 && column.cursor() + LAG_ROWS >= next {
            keep = keep.min(column.cursor());
        }
    }
    if let Some(gone) = keep.checked_sub(data.first_row) {
        data.times.drain(..gone as usize);
        data.times.shrink_to_fit();
        data.first_row = keep;
    }
}
