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
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashbrown::{DefaultHashBuilder, HashMap};

use crate::head::{GroupKey, SeriesRef};

/// Tables that are locked apart: requests come on several threads.
const SHARDS: usize = 16;
/// Entries that are always allowed, in one shard.
const ENTRIES_MIN: usize = 4096;

/// Stands for the bytes of a series' labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LabelsKey(u128);

/// A series and what feeds it.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) series: SeriesRef,
    pub(super) source: Arc<GroupKey>,
}

/// The table. Shared between threads.
#[derive(Debug)]
pub struct KnownSeries {
    keys: [DefaultHashBuilder; 2],
    shards: [Mutex<Shard>; SHARDS],
}

/// Keys are hashes already.
type Shard = HashMap<u128, Known, BuildHasherDefault<Folded>>;

impl Default for KnownSeries {
    fn default() -> Self {
        Self {
            keys: [DefaultHashBuilder::default(), DefaultHashBuilder::default()],
            shards: std::array::from_fn(|_| Mutex::default()),
        }
    }
}

impl KnownSeries {
    /// The key of the labels that stand in a request as `bytes`.
    pub(super) fn key(&self, bytes: &[u8]) -> LabelsKey {
        let [first, second] = &self.keys;
        let low = first.hash_one(bytes);
        LabelsKey(u128::from(low) << 64 | u128::from(second.hash_one((bytes, low))))
    }

    /// What is known of a key.
    pub(super) fn find(&self, key: LabelsKey) -> Option<Known> {
        self.shard(key).get(&key.0).cloned()
    }

    /// Remembers a series; `live` is the number of series that the head holds.
    pub(super) fn insert(&self, key: LabelsKey, known: Known, live: usize) {
        let mut shard = self.shard(key);
        if shard.len() >= ENTRIES_MIN && shard.len() * SHARDS > live.saturating_mul(2) {
            *shard = Shard::default();
        }
        shard.insert(key.0, known);
    }

    /// Forgets a series that has left.
    pub(super) fn forget(&self, key: LabelsKey) {
        self.shard(key).remove(&key.0);
    }

    /// Bytes on the heap, roughly.
    pub fn heap_bytes(&self) -> usize {
        let lock =
            |shard: &Mutex<Shard>| shard.lock().unwrap_or_else(PoisonError::into_inner).capacity();
        self.shards.iter().map(lock).sum::<usize>() * (size_of::<(u128, Known)>() + 1)
    }

    fn shard(&self, key: LabelsKey) -> MutexGuard<'_, Shard> {
        let shard = &self.shards[(key.0 >> 124) as usize % SHARDS];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
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

    fn known(id: u32) -> Known {
        let series = SeriesRef { id: SeriesId(id), generation: 0 };
        Known { series, source: Arc::new(GroupKey::Embedded(String::new())) }
    }

    #[test]
    fn series_are_found_by_their_bytes_until_they_are_forgotten() {
        let table = KnownSeries::default();
        let keys: Vec<_> = (0..10_000_u32).map(|i| table.key(&i.to_le_bytes())).collect();
        for (id, key) in (0..).zip(&keys) {
            table.insert(*key, known(id), 10_000);
        }
        for (id, key) in (0_u32..).zip(&keys) {
            assert_eq!(table.key(&id.to_le_bytes()), *key);
            assert_eq!(table.find(*key).map(|known| known.series.id.0), Some(id));
        }
        table.forget(keys[7]);
        assert!(table.find(keys[7]).is_none());
        assert!(table.find(keys[8]).is_some());
        assert!(table.heap_bytes() > 10_000 * 32);
    }

    #[test]
    fn the_table_follows_what_is_alive() {
        let table = KnownSeries::default();
        for i in 0..500_000_u32 {
            table.insert(table.key(&i.to_le_bytes()), known(i), 1000);
        }
        let held: usize = table.shards.iter().map(|shard| shard.lock().unwrap().len()).sum();
        assert!(held <= ENTRIES_MIN * SHARDS, "{held} entries");
        let last = table.key(&499_999_u32.to_le_bytes());
        assert!(table.find(last).is_some());
    }
}
