//! Series that senders have named before, found by the raw bytes of their labels.
//!
//! A sender names the labels of a series with every sample, in the same bytes each time. Reading
//! and looking up those labels costs several times what storing the sample does, so the bytes are
//! hashed as they are (128 bits, under keys that are drawn at start) and the hash remembers the
//! series and the source that feeds it.
//!
//! INVARIANT: an entry was made from labels that were read, checked and looked up. It may be out
//! of date: a series that has left the head is refused by the appender and looked up again. The
//! table is emptied when it holds many more entries than the head holds series, so it follows
//! what is alive without keeping account of it.

use std::hash::{BuildHasher, BuildHasherDefault, Hasher};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use hashbrown::{DefaultHashBuilder, HashMap};

use crate::head::{GroupKey, SeriesRef};

/// Entries that are always allowed.
const ENTRIES_MIN: usize = 65_536;

/// Stands for the bytes of a series' labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LabelsKey(u128);

/// A series, and the number of what feeds it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    pub(super) series: SeriesRef,
    pub(super) source: u32,
}

/// The table. Shared between threads.
#[derive(Debug, Default)]
pub struct KnownSeries {
    keys: [DefaultHashBuilder; 2],
    table: RwLock<Table>,
}

#[derive(Debug, Default)]
struct Table {
    /// Keys are hashes already.
    entries: HashMap<u128, Known, BuildHasherDefault<Folded>>,
    sources: Vec<Arc<GroupKey>>,
    by_source: HashMap<Arc<GroupKey>, u32>,
}

/// The table as one request reads it: locked once, because a lock for each sample would cost as
/// much as finding it.
#[derive(Debug)]
pub(super) struct KnownReader<'a> {
    keys: &'a [DefaultHashBuilder; 2],
    table: RwLockReadGuard<'a, Table>,
}

impl KnownReader<'_> {
    /// The key of the labels that stand in a request as `bytes`.
    pub(super) fn key(&self, bytes: &[u8]) -> LabelsKey {
        let [first, second] = self.keys;
        LabelsKey(u128::from(first.hash_one(bytes)) << 64 | u128::from(second.hash_one(bytes)))
    }

    /// What is known of a key.
    pub(super) fn find(&self, key: LabelsKey) -> Option<Known> {
        self.table.entries.get(&key.0).copied()
    }

    /// The source of that number.
    pub(super) fn source(&self, number: u32) -> &Arc<GroupKey> {
        &self.table.sources[number as usize]
    }
}

impl KnownSeries {
    /// Reads the table; writers wait until the reader goes.
    pub(super) fn reader(&self) -> KnownReader<'_> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        KnownReader { keys: &self.keys, table }
    }

    /// Remembers series of one source and forgets others that have left; `live` is the number of
    /// series that the head holds.
    pub(super) fn update(
        &self,
        source: &Arc<GroupKey>,
        found: &[(LabelsKey, SeriesRef)],
        gone: &[LabelsKey],
        live: usize,
    ) {
        if found.is_empty() && gone.is_empty() {
            return;
        }
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        for key in gone {
            table.entries.remove(&key.0);
        }
        let next = table.entries.len() + found.len();
        if next > ENTRIES_MIN && next > live.saturating_mul(2) {
            *table = Table::default();
        }
        let table = &mut *table;
        let number = *table.by_source.entry(Arc::clone(source)).or_insert_with(|| {
            table.sources.push(Arc::clone(source));
            table.sources.len() as u32 - 1
        });
        let entry =
            |&(key, series): &(LabelsKey, SeriesRef)| (key.0, Known { series, source: number });
        table.entries.extend(found.iter().map(entry));
    }

    /// Bytes on the heap, roughly.
    pub fn heap_bytes(&self) -> usize {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        table.entries.capacity() * (size_of::<(u128, Known)>() + 1)
            + table.sources.len() * 4 * size_of::<GroupKey>()
    }
}

/// Takes the lower half of a 128-bit hash as the hash.
#[derive(Debug, Default)]
struct Folded(u64);

impl Hasher for Folded {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _bytes: &[u8]) {
        unreachable!("BUG: keys are numbers")
    }

    fn write_u128(&mut self, key: u128) {
        self.0 = key as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::SeriesId;

    fn series(id: u32) -> SeriesRef {
        SeriesRef { id: SeriesId(id), generation: 0 }
    }

    fn source(name: &str) -> Arc<GroupKey> {
        Arc::new(GroupKey::Embedded(name.to_owned()))
    }

    #[test]
    fn series_are_found_by_their_bytes_until_they_are_forgotten() {
        let table = KnownSeries::default();
        let key = |id: u32| table.reader().key(&id.to_le_bytes());
        for (name, ids) in [("a", 0..6000), ("b", 6000..9000), ("a", 9000..10_000)] {
            let found: Vec<_> = ids.map(|id| (key(id), series(id))).collect();
            table.update(&source(name), &found, &[], 10_000);
        }
        for id in 0..10_000_u32 {
            let reader = table.reader();
            let known = reader.find(reader.key(&id.to_le_bytes())).expect("a known series");
            assert_eq!(known.series, series(id));
            let name = if (6000..9000).contains(&id) { "b" } else { "a" };
            assert_eq!(**reader.source(known.source), *source(name));
        }
        table.update(&source("a"), &[], &[key(7)], 10_000);
        assert!(table.reader().find(key(7)).is_none());
        assert!(table.reader().find(key(8)).is_some());
        assert!(table.heap_bytes() > 10_000 * 32);
    }

    #[test]
    fn the_table_follows_what_is_alive() {
        let table = KnownSeries::default();
        for first in (0..500_000_u32).step_by(500) {
            let key = |id: u32| table.reader().key(&id.to_le_bytes());
            let found: Vec<_> = (first..first + 500).map(|id| (key(id), series(id))).collect();
            table.update(&source(&first.to_string()), &found, &[], 1000);
        }
        let reader = table.reader();
        assert!(reader.table.entries.len() <= ENTRIES_MIN);
        assert!(reader.table.sources.len() <= ENTRIES_MIN / 500);
        assert!(reader.find(reader.key(&499_999_u32.to_le_bytes())).is_some());
    }
}
