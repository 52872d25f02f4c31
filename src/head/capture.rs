//! The read side: consistent copies of series for readers that take their time.
//!
//! A capture copies, group by group and about a thousand slots under one short lock, the byte
//! streams of the series asked for, and takes references to the tiles that hold older parts.
//! Rows that come in between two locks of one group are cut off by their number; when something
//! older changed (a late sample, a row filled later, a seal), the group is copied again. A commit
//! that touches several groups is seen whole: a capture that such a commit crossed starts over,
//! and the last attempt keeps them out.

mod labels;
mod read;

use std::collections::BTreeSet;
use std::sync::{Arc, RwLock};

use hashbrown::HashMap;
use roaring::RoaringBitmap;

use super::column::ColumnSnapshot;
use super::deletion::Hidden;
use super::group::{Data, Group};
use super::register::{HOMELESS, Home, NO_SLOT};
use super::tile::TileRef;
use super::{Head, SeriesId};
use crate::disk::StorageError;
use crate::model::{Labels, Samples, TimeRange};

/// Slots copied under one lock.
const SLOTS_PER_LOCK: usize = 1000;
/// Attempts before a copy keeps writers out until it is done.
const ATTEMPTS: u32 = 4;

/// Series as they were at the moment of [`Head::capture`]: every commit that had returned by
/// then, whole.
#[derive(Debug)]
pub struct Captured {
    series: Vec<CapturedSeries>,
    groups: Vec<CapturedGroup>,
    columns: RwLock<DecodedColumns>,
    deletions: HashMap<u32, Vec<Hidden>>,
}

/// Timestamp columns of tiles that were decoded: by file, tile and column.
type DecodedColumns = HashMap<(u64, u32, u32), Arc<Vec<i64>>>;

#[derive(Debug)]
struct CapturedSeries {
    id: u32,
    labels: Labels,
    home: Home,
    /// Index of the home in [`Captured::groups`].
    group: usize,
    column: Option<ColumnSnapshot>,
    /// Samples outside the rows, by the number of the group that has them.
    loose: Vec<(u32, Samples)>,
    /// Groups that were its home before, as indexes.
    former: Vec<usize>,
}

impl CapturedSeries {
    /// Bytes of what was copied of its samples.
    fn copied_bytes(&self) -> u64 {
        let loose = self.loose.iter().map(|(_, samples)| samples.len() * 2 * size_of::<f64>());
        let column = self.column.as_ref().map_or(0, ColumnSnapshot::bytes);
        (column + loose.sum::<usize>()) as u64
    }
}

/// What the series of a group share.
#[derive(Debug, Default)]
struct CapturedGroup {
    first_row: u32,
    times: Vec<i64>,
    tiles: Vec<TileRef>,
}

/// The group changed its slots, or left: homes have to be looked up again.
struct Moved;

impl Head {
    /// Captures the series `ids` (unknown ones are left out) that have, or may have, a sample in
    /// `range`. `check` is called every thousand series or so with the bytes that the capture takes
    /// by then; its error ends the work.
    pub fn capture<E: From<StorageError>>(
        &self,
        ids: &RoaringBitmap,
        range: TimeRange,
        check: &dyn Fn(u64) -> Result<(), E>,
    ) -> Result<Captured, E> {
        self.wait_until_replayed(ids, check)?;
        for attempt in 1.. {
            let gate = self.multi_read();
            let before = *gate;
            let gate = (attempt >= ATTEMPTS).then_some(gate);
            let captured = self.capture_once(ids, range, check)?;
            let crossed = gate.is_none() && *self.multi_read() != before;
            if let (Some(captured), false) = (captured, crossed) {
                return Ok(captured);
            }
            check(0)?;
        }
        unreachable!("BUG: the loop has no end")
    }

    /// Waits for the groups of these series.
    fn wait_until_replayed<E: From<StorageError>>(
        &self,
        ids: &RoaringBitmap,
        check: &dyn Fn(u64) -> Result<(), E>,
    ) -> Result<(), E> {
        if !self.is_recovering() {
            return Ok(());
        }
        let groups: BTreeSet<u32> = {
            let register = self.register_read();
            let of = |id| {
                let home = register.home_of(id).map(|home| home.group);
                home.into_iter().chain(register.former(id).iter().copied())
            };
            ids.iter().flat_map(of).filter(|&group| group != HOMELESS).collect()
        };
        // A series that moves meanwhile moves within its part, and the whole part is waited for.
        let check = &|| check(0);
        groups.into_iter().try_for_each(|group| self.gate.wait(group, check).map(drop))
    }

    fn capture_once<E>(
        &self,
        ids: &RoaringBitmap,
        range: TimeRange,
        check: &dyn Fn(u64) -> Result<(), E>,
    ) -> Result<Option<Captured>, E> {
        let (mut captured, numbers, mut bytes) = self.captured_series(ids, check)?;
        let mut of_group: Vec<Vec<usize>> = vec![Vec::new(); numbers.len()];
        for (i, series) in captured.series.iter().enumerate() {
            of_group[series.group].push(i);
            for &former in &series.former {
                of_group[former].push(i);
            }
        }
        for (index, number) in numbers.into_iter().enumerate() {
            let Some(group) = self.group(number) else {
                // A home that has only files, or was one before, may be gone with all it had.
                if captured.series.iter().any(|s| s.group == index && s.home.slot != NO_SLOT) {
                    return Ok(None);
                }
                continue;
            };
            let before = bytes;
            let wanted = &of_group[index];
            let check = &|copied| check(before + copied);
            match copy_group(&group, wanted, &mut captured.series, range, check)? {
                Ok((copy, copied)) => {
                    captured.groups[index] = copy;
                    bytes += copied;
                }
                Err(Moved) => return Ok(None),
            }
        }
        Ok(Some(captured))
    }

    /// Labels and homes of the series that have one, the numbers of the groups concerned, and the
    /// bytes that all of it takes.
    fn captured_series<E>(
        &self,
        ids: &RoaringBitmap,
        check: &dyn Fn(u64) -> Result<(), E>,
    ) -> Result<(Captured, Vec<u32>, u64), E> {
        let mut numbers = Vec::new();
        let mut indexes: HashMap<u32, usize> = HashMap::new();
        let mut index_of = |number: u32| {
            *indexes.entry(number).or_insert_with(|| {
                numbers.push(number);
                numbers.len() - 1
            })
        };
        let mut series = Vec::new();
        let mut bytes = 0;
        let mut register = self.register_read();
        for (n, id) in ids.iter().enumerate() {
            if n % SLOTS_PER_LOCK == 0 {
                // Whoever waits to write comes first; everything else waits behind it. What moves
                // meanwhile is found out when its group is copied.
                drop(register);
                check(bytes)?;
                register = self.register_read();
            }
            let home = register.home_of(id).filter(|home| home.group != HOMELESS);
            let Some(home) = home else { continue };
            let Some(labels) = register.labels(id) else { continue };
            let group = index_of(home.group);
            let former = register.former(id).iter().filter(|&&group| group != home.group);
            let former = former.map(|&group| index_of(group)).collect();
            let (column, loose) = (None, Vec::new());
            bytes += (size_of::<CapturedSeries>() + labels.as_bytes().len()) as u64;
            series.push(CapturedSeries { id, labels, home, group, column, loose, former });
        }
        drop(register);
        let deletions = self.deletions_read();
        let hidden = series.iter().filter_map(|s| Some((s.id, deletions.of(s.id)?.clone())));
        let captured = Captured {
            deletions: hidden.collect(),
            groups: numbers.iter().map(|_| CapturedGroup::default()).collect(),
            series,
            columns: RwLock::default(),
        };
        Ok((captured, numbers, bytes))
    }
}

/// Copies what `group` has of the series with these indexes; gives the bytes besides.
fn copy_group<E>(
    group: &Group,
    wanted: &[usize],
    series: &mut [CapturedSeries],
    range: TimeRange,
    check: &dyn Fn(u64) -> Result<(), E>,
) -> Result<Result<(CapturedGroup, u64), Moved>, E> {
    'attempts: for attempt in 1.. {
        let mut data = group.data();
        let disturbed = data.disturbed;
        let copy = CapturedGroup {
            first_row: data.first_row,
            times: data.times.clone(),
            tiles: data.tiles.iter().filter(|tile| overlaps(tile, range)).cloned().collect(),
        };
        let mut bytes = (copy.times.len() * size_of::<i64>()) as u64;
        for (n, wanted) in wanted.chunks(SLOTS_PER_LOCK).enumerate() {
            if n > 0 && attempt < ATTEMPTS {
                drop(data);
                check(bytes)?;
                data = group.data();
                if data.disturbed != disturbed {
                    continue 'attempts;
                }
            }
            for &index in wanted {
                if !copy_series(group, &data, &mut series[index], range) {
                    return Ok(Err(Moved));
                }
                bytes += series[index].copied_bytes();
            }
        }
        drop(data);
        check(bytes)?;
        return Ok(Ok((copy, bytes)));
    }
    unreachable!("BUG: the loop has no end")
}

/// Copies one series' unsealed samples; `false` if it is no longer where it was.
fn copy_series(group: &Group, data: &Data, series: &mut CapturedSeries, range: TimeRange) -> bool {
    if group.id == series.home.group && series.home.slot != NO_SLOT {
        let slot = series.home.slot as usize;
        if data.series.get(slot) != Some(&series.id) {
            return false;
        }
        let column = &data.columns[slot];
        let newest = data.times.last().copied().unwrap_or(i64::MIN);
        let oldest = data.times.first().copied().unwrap_or(i64::MAX);
        let has_rows = range.overlaps(TimeRange { min_ms: oldest, max_ms: newest });
        series.column = (has_rows && !column.is_empty()).then(|| column.snapshot());
    }
    series.loose.retain(|(number, _)| *number != group.id);
    if let Some(loose) = data.loose.get(&series.id) {
        let times = &loose.samples.timestamps;
        let first = times.partition_point(|&t| t < range.min_ms);
        let end = times.partition_point(|&t| t <= range.max_ms);
        let mut within = Samples::default();
        within.extend_from(&loose.samples, first..end.max(first));
        series.loose.push((group.id, within));
    }
    true
}

fn overlaps(tile: &TileRef, range: TimeRange) -> bool {
    let meta = tile.meta();
    let min_ms = meta.min_ms.max(tile.clip_ms);
    min_ms <= meta.max_ms && range.overlaps(TimeRange { min_ms, max_ms: meta.max_ms })
}

impl Captured {
    /// Number of series.
    pub fn len(&self) -> usize {
        self.series.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// Labels of series `index`, in the order of ids; panics at `index >= len()`.
    pub fn labels(&self, index: usize) -> &Labels {
        &self.series[index].labels
    }

    /// Id of series `index`.
    pub fn id(&self, index: usize) -> SeriesId {
        SeriesId(self.series[index].id)
    }
}
