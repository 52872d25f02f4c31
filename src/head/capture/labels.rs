//! Labels of series that have samples within a range, without a look at the samples.

use super::{Data, Group, Head, Home, RoaringBitmap, SLOTS_PER_LOCK, overlaps};
use crate::disk::StorageError;
use crate::head::register::NO_SLOT;
use crate::model::{Labels, TimeRange};

impl Head {
    /// Labels of those of `ids` that have, or may have, a sample in `range`, in no order. `check`
    /// is called every thousand series or so with the bytes that the labels take by then; its error
    /// ends the work.
    pub fn labels_within<E: From<StorageError>>(
        &self,
        ids: &RoaringBitmap,
        range: TimeRange,
        check: &dyn Fn(u64) -> Result<(), E>,
    ) -> Result<Vec<Labels>, E> {
        self.wait_until_replayed(ids, check)?;
        let (captured, numbers, bytes) = self.captured_series(ids, check)?;
        let mut of_group: Vec<Vec<usize>> = vec![Vec::new(); numbers.len()];
        for (i, series) in captured.series.iter().enumerate() {
            for &group in series.former.iter().chain([&series.group]) {
                of_group[group].push(i);
            }
        }
        let mut is_within = vec![false; captured.series.len()];
        for (number, wanted) in numbers.into_iter().zip(of_group) {
            let Some(group) = self.group(number) else { continue };
            for wanted in wanted.chunks(SLOTS_PER_LOCK) {
                check(bytes)?;
                let data = group.data();
                for &i in wanted {
                    let series = &captured.series[i];
                    is_within[i] =
                        is_within[i] || has_sample(&group, &data, series.id, series.home, range);
                }
            }
        }
        let within = captured.series.into_iter().zip(is_within).filter(|(_, is_within)| *is_within);
        Ok(within.map(|(series, _)| series.labels).collect())
    }
}

/// Whether `group` has, or may have, a sample of the series in `range`.
fn has_sample(group: &Group, data: &Data, series: u32, home: Home, range: TimeRange) -> bool {
    if home.group == group.id && home.slot != NO_SLOT {
        let slot = home.slot as usize;
        if data.series.get(slot) != Some(&series) {
            // It has moved meanwhile.
            return true;
        }
        let column = &data.columns[slot];
        let time_of = |row: u32| {
            let row = row.checked_sub(data.first_row).map(|row| row as usize);
            row.and_then(|row| data.times.get(row)).copied()
        };
        let rows = column.last().and_then(|(row, _)| {
            Some(TimeRange { min_ms: time_of(column.start_row())?, max_ms: time_of(row)? })
        });
        if rows.is_some_and(|rows| rows.overlaps(range)) {
            return true;
        }
    }
    let loose = data.loose.get(&series).map(|loose| &loose.samples.timestamps);
    loose.is_some_and(|times| times.iter().any(|&t| range.contains(t)))
        || data
            .tiles
            .iter()
            .any(|tile| overlaps(tile, range) && !tile.file.find(tile.index, series).is_empty())
}
