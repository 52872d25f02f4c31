//! Series that senders have named before, found by the raw bytes of their labels.
//!
//! A sender names the labels of a series with every sample, in the same bytes each time. Reading
//! and looking up those labels costs several times what storing the sample does, so the bytes are
//! hashed as they are (128 bits, under keys that are drawn at start) and the hash remembers the
//! series and the source that feeds it.
//!
//! A sender names its series in about the same order each time, and entries stand in the order in
//! which they were first named: the entry after the one found last is tried first. In a large table
//! each lookup costs a miss of the cache, which was a fifth of all that a push cost.
//!
//! INVARIANT: an entry was made from labels that were read, checked and looked up. It may be out
//! of date: a series that has left the head is refused by the appender and looked up again. The
//! table is emptied when it holds many more entries than the head holds series, so it follows
//! what is alive without keeping account of it.

use std::hash::BuildHasher;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use hashbrown::{DefaultHashBuilder, HashMap, HashTable};

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
    /// In the order in which they came.
    entries: Vec<Entry>,
    /// Places of entries by their keys, the lower half of which is the hash.
    places: HashTable<u32>,
    sources: Vec<Arc<GroupKey>>,
    by_source: HashMap<Arc<GroupKey>, u32>,
}

/// A key and what it stands for; nothing any more where it is forgotten.
#[derive(Debug, Clone, Copy)]
struct Entry {
    key: u128,
    known: Option<Known>,
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

    /// What is known of a key, and its place; `after`: the place found before.
    pub(super) fn find(&self, key: LabelsKey, after: Option<u32>) -> Option<(u32, Known)> {
        let next = after.map_or(0, |place| place + 1);
        let table = &*self.table;
        if let Some(Entry { key: found, known: Some(known) }) = table.entries.get(next as usize)
            && *found == key.0
        {
            return Some((next, *known));
        }
        let place = *table.places.find(key.0 as u64, |place| table.key_at(*place) == key.0)?;
        table.entries[place as usize].known.map(|known| (place, known))
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
            table.forget(key.0);
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
        for &(key, series) in found {
            table.put(key.0, Known { series, source: number });
        }
    }

    /// Bytes on the heap, roughly.
    pub fn heap_bytes(&self) -> usize {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        table.entries.capacity() * size_of::<Entry>()
            + table.places.capacity() * (size_of::<u32>() + 1)
            + table.sources.len() * 4 * size_of::<GroupKey>()
    }
}

impl Table {
    fn key_at(&self, place: u32) -> u128 {
        self.entries[place as usize].key
    }

    fn forget(&mut self, key: u128) {
        let entries = &self.entries;
        let place = self.places.find_entry(key as u64, |place| entries[*place as usize].key == key);
        if let Ok(place) = place {
            let (place, _) = place.remove();
            self.entries[place as usize].known = None;
        }
    }

    fn put(&mut self, key: u128, known: Known) {
        let entries = &mut self.entries;
        if let Some(place) =
            self.places.find(key as u64, |place| entries[*place as usize].key == key)
        {
            entries[*place as usize].known = Some(known);
            return;
        }
        let place = u32::try_from(entries.len()).expect("BUG: more entries than series can be");
        entries.push(Entry { key, known: Some(known) });
        self.places.insert_unique(key as u64, place, |place| entries[*place as usize].key as u64);
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
            let key = reader.key(&id.to_le_bytes());
            let (place, known) = reader.find(key, None).expect("a known series");
            assert_eq!(known.series, series(id));
            for after in [place.checked_sub(1), Some(place), Some(9_999)] {
                assert_eq!(reader.find(key, after).map(|found| found.0), Some(place));
            }
            let name = if (6000..9000).contains(&id) { "b" } else { "a" };
            assert_eq!(**reader.source(known.source), *source(name));
        }
        table.update(&source("a"), &[], &[key(7)], 10_000);
        assert!([None, Some(6)].iter().all(|after| table.reader().find(key(7), *after).is_none()));
        assert!(table.reader().find(key(8), None).is_some());
        table.update(&source("a"), &[(key(7), series(7))], &[], 10_000);
        assert!(table.reader().find(key(7), None).is_some());
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
        assert!(reader.find(reader.key(&499_999_u32.to_le_bytes()), None).is_some());
    }
}
