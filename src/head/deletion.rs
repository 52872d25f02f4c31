//! Intervals of series that are hidden.
//!
//! A deletion hides what stands before it: its end is cut to the series' newest sample of that
//! moment, so that what comes later shows. It is logged and synced before it is answered, kept by
//! every checkpoint, and forgotten when the data it hides is gone.

use hashbrown::HashMap;
use roaring::RoaringBitmap;

use super::Head;
use super::group::NO_TIME;
use super::register::HOMELESS;
use crate::disk::StorageError;
use crate::model::{Samples, TimeRange};
use crate::wal::record::{self, DeletionEntry, kind};

/// Hidden intervals by series.
#[derive(Debug, Default)]
pub(super) struct Deletions {
    by_series: HashMap<u32, Vec<TimeRange>>,
}

impl Deletions {
    pub(super) fn add(&mut self, entry: DeletionEntry) {
        let range = TimeRange { min_ms: entry.min_ms, max_ms: entry.max_ms };
        let ranges = self.by_series.entry(entry.id).or_default();
        if !ranges.contains(&range) {
            ranges.push(range);
        }
    }

    pub(super) fn of(&self, series: u32) -> Option<&Vec<TimeRange>> {
        self.by_series.get(&series)
    }

    /// Appends the body of a record that holds them all. Empty without any.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        for (&id, ranges) in &self.by_series {
            for &TimeRange { min_ms, max_ms } in ranges {
                record::write_deletion(out, DeletionEntry { id, min_ms, max_ms });
            }
        }
    }

    /// Forgets those of series that are not `live`, and those that end below `border_ms`.
    pub(super) fn forget(&mut self, border_ms: i64, live: impl Fn(u32) -> bool) {
        self.by_series.retain(|&series, ranges| {
            ranges.retain(|range| range.max_ms >= border_ms);
            !ranges.is_empty() && live(series)
        });
    }
}

/// Takes the samples within `ranges` out of `samples`.
pub(super) fn hide(samples: &mut Samples, ranges: &[TimeRange]) {
    samples.retain(|t_ms| !ranges.iter().any(|range| range.contains(t_ms)));
}

impl Head {
    /// Hides the samples of `ids` within `range` that were committed before the call; durable
    /// when it returns.
    pub fn delete(&self, ids: &RoaringBitmap, range: TimeRange) -> Result<(), StorageError> {
        self.check_open()?;
        let mut body = Vec::new();
        let mut entries = Vec::new();
        for id in ids {
            let max_ms = range.max_ms.min(self.last_ms(id));
            if range.min_ms <= max_ms {
                let entry = DeletionEntry { id, min_ms: range.min_ms, max_ms };
                record::write_deletion(&mut body, entry);
                entries.push(entry);
            }
        }
        if entries.is_empty() {
            return Ok(());
        }
        // Held from before the record stands in the log: a checkpoint whose position lies behind
        // the record has to find its entries in the table.
        let mut deletions = self.deletions_write();
        self.log.append(&[(kind::DELETION, &body)])?;
        self.log.sync()?;
        for entry in entries {
            deletions.add(entry);
        }
        Ok(())
    }

    /// Time of a series' newest sample; [`NO_TIME`] without one.
    fn last_ms(&self, id: u32) -> i64 {
        let home = self.register_read().home_of(id);
        let Some(home) = home.filter(|home| home.group != HOMELESS) else { return NO_TIME };
        let Some(group) = self.group(home.group) else { return NO_TIME };
        let writer = group.writer();
        let slot = writer.slots.get(home.slot as usize).filter(|slot| slot.series == id);
        slot.map_or(NO_TIME, |slot| slot.last_ms)
    }
}
