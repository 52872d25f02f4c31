//! Reading a captured series: tiles, rows and loose samples merged.

use std::sync::{Arc, PoisonError};

use super::{Captured, CapturedGroup, CapturedSeries};
use crate::disk::StorageError;
use crate::head::tile::{Entry, TileRef};
use crate::model::{Samples, TimeRange};

impl Captured {
    /// As [`Captured::read_around`]; damage is an error.
    pub fn read(
        &self,
        index: usize,
        range: TimeRange,
        out: &mut Samples,
    ) -> Result<(), StorageError> {
        let mut damage = None;
        self.read_around(index, range, out, &mut |error| {
            damage.get_or_insert(error);
        });
        damage.map_or(Ok(()), Err)
    }

    /// Replaces the content of `out` by the samples of series `index` within `range`, times
    /// strictly ascending, deleted ones left out. A chunk that does not check is told to
    /// `damaged` and left out.
    pub fn read_around(
        &self,
        index: usize,
        range: TimeRange,
        out: &mut Samples,
        damaged: &mut dyn FnMut(StorageError),
    ) {
        out.clear();
        let series = &self.series[index];
        let groups = series.former.iter().chain([&series.group]);
        let mut tiles: Vec<_> = groups.flat_map(|&group| &self.groups[group].tiles).collect();
        if !series.former.is_empty() {
            // Of two samples at one time the one that was stored first stands.
            tiles.sort_by_key(|tile| (tile.file.number, tile.index));
        }
        for tile in tiles {
            self.read_tile(tile, series.id, range, out, damaged);
        }
        read_rows(&self.groups[series.group], series, range, out);
        for (_, samples) in &series.loose {
            let first = samples.timestamps.partition_point(|&t| t < range.min_ms);
            let end = samples.timestamps.partition_point(|&t| t <= range.max_ms);
            out.extend_from(samples, first..end.max(first));
        }
        put_in_order(out);
    }

    /// Appends the samples that a tile has of `series`.
    fn read_tile(
        &self,
        tile: &TileRef,
        series: u32,
        range: TimeRange,
        out: &mut Samples,
        damaged: &mut dyn FnMut(StorageError),
    ) {
        let meta = tile.meta();
        let range = TimeRange { min_ms: range.min_ms.max(tile.clip_ms), max_ms: range.max_ms };
        if range.min_ms > range.max_ms || meta.min_ms > range.max_ms || meta.max_ms < range.min_ms {
            return;
        }
        let begin = out.len();
        for n in tile.file.find(tile.index, series) {
            let entry = tile.file.entry(tile.index, n);
            if let Err(error) = self.read_chunk(tile, &entry, range, out) {
                damaged(error);
            }
        }
        if let Some(hidden) = self.deletions.get(&series) {
            let shows = |t_ms| !hidden.iter().any(|h| h.hides(tile.file.number, t_ms));
            out.retain_from(begin, shows);
        }
    }

    /// Appends the samples of one chunk; after an error `out` is as before.
    fn read_chunk(
        &self,
        tile: &TileRef,
        entry: &Entry,
        range: TimeRange,
        out: &mut Samples,
    ) -> Result<(), StorageError> {
        let column = self.column(tile, entry.column)?;
        let (start, count) = (entry.start as usize, entry.count as usize);
        let times = &column[start..start + count];
        let first = times.partition_point(|&t| t < range.min_ms);
        let end = times.partition_point(|&t| t <= range.max_ms);
        if first < end {
            tile.file.read_samples(tile.index, entry, times, first..end, out)?;
        }
        Ok(())
    }

    /// A tile's timestamp column, decoded once.
    fn column(&self, tile: &TileRef, column: u32) -> Result<Arc<Vec<i64>>, StorageError> {
        let key = (tile.file.number, tile.index, column);
        let known = self.columns.read().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some(times) = known {
            return Ok(times);
        }
        let mut times = Vec::new();
        tile.file.read_column(tile.index, column, &mut times)?;
        let times = Arc::new(times);
        let mut columns = self.columns.write().unwrap_or_else(PoisonError::into_inner);
        columns.insert(key, Arc::clone(&times));
        Ok(times)
    }
}

/// Appends the samples in the rows that the group had when it was captured.
fn read_rows(group: &CapturedGroup, series: &CapturedSeries, range: TimeRange, out: &mut Samples) {
    let Some(column) = &series.column else { return };
    let first = group.times.partition_point(|&t| t < range.min_ms) as u32;
    let end = group.times.partition_point(|&t| t <= range.max_ms) as u32;
    let rows = group.first_row + first..group.first_row + end;
    column.decode_samples(rows, |row, sample| {
        sample.push_to(out, group.times[(row - group.first_row) as usize]);
    });
}

/// Sorts by time where parts overlap; of equal times the first stands.
fn put_in_order(out: &mut Samples) {
    if out.timestamps.windows(2).all(|pair| pair[0] < pair[1]) {
        return;
    }
    let mut order: Vec<usize> = (0..out.len()).collect();
    order.sort_by_key(|&index| out.timestamps[index]);
    order.dedup_by_key(|index| out.timestamps[*index]);
    let mut ordered = Samples::default();
    for run in order.chunk_by(|a, b| a + 1 == *b) {
        ordered.extend_from(out, run[0]..run[0] + run.len());
    }
    *out = ordered;
}
