//! What queries read of blocks, kept decoded for the next query: dashboards and rules ask for the
//! same series of the same blocks again and again.
//!
//! One cache serves all blocks of a database. It holds values of chunks (as far as they were asked
//! for), columns of timestamps, and the rows of the index that a list of matchers selects. A block
//! never changes, so nothing is ever invalidated; what a removed block leaves goes with time.
//! INVARIANT: the cache takes no more bytes than it was made for.
//!
//! Two generations: what is asked for moves to the younger one, and when that holds half of what
//! its part may take, the older one goes and the younger takes its place.

use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use hashbrown::HashMap;

use super::lent::Decoded;
use super::rows::Rows;
use super::ulid::Ulid;
use crate::model::{MatchOp, Matcher};

/// Parts of the cache of values, each with its own lock.
const SHARDS: usize = 16;
/// The part of all bytes that rows of the index may take.
const ROWS_SHARE: usize = 4;
/// What an entry takes beside its content, about.
const ENTRY_BYTES: usize = 96;
/// Shorter payloads decode faster than they are found.
const PAYLOAD_BYTES_MIN: u32 = 48;

/// Decoded parts of blocks.
pub struct ReadCache {
    arrays: Vec<Mutex<Generations<ArrayKey, Array>>>,
    rows: Mutex<Generations<RowsKey, Arc<Rows>>>,
}

/// A block, and matchers as [`ReadCache::key`] has them.
type RowsKey = (Ulid, Box<[u8]>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum ArrayKey {
    /// Values of the chunk at this offset.
    Values(Ulid, u64),
    /// The column with this number.
    Times(Ulid, u32),
}

#[derive(Debug, Clone)]
enum Array {
    Values(Arc<Decoded>),
    Times(Arc<[i64]>),
}

impl fmt::Debug for ReadCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadCache").field("shards", &self.arrays.len()).finish_non_exhaustive()
    }
}

impl ReadCache {
    /// A cache of at most `bytes_max`; 0 keeps nothing.
    pub fn new(bytes_max: usize) -> Self {
        let for_rows = bytes_max / ROWS_SHARE;
        let of_shard = (bytes_max - for_rows) / SHARDS;
        let shard = |_| Mutex::new(Generations::new(of_shard));
        Self {
            arrays: (0..SHARDS).map(shard).collect(),
            rows: Mutex::new(Generations::new(for_rows)),
        }
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        let rows = lock(&self.rows);
        let is_empty = |shard: &Mutex<Generations<ArrayKey, Array>>| lock(shard).is_empty();
        rows.is_empty() && self.arrays.iter().all(is_empty)
    }

    /// Whether a chunk of so many bytes is worth keeping.
    pub(super) fn is_worthwhile(payload_len: u32) -> bool {
        payload_len >= PAYLOAD_BYTES_MIN
    }

    /// The first values of the chunk at `offset` of `block`, as many as are known.
    pub(super) fn values(&self, block: Ulid, offset: u64) -> Option<Arc<Decoded>> {
        match self.array(&ArrayKey::Values(block, offset))? {
            Array::Values(values) => Some(values),
            Array::Times(_) => None,
        }
    }

    pub(super) fn keep_values(&self, block: Ulid, offset: u64, values: Arc<Decoded>) {
        let bytes = size_of_val(values.numbers());
        self.keep_array(ArrayKey::Values(block, offset), Array::Values(values), bytes);
    }

    pub(super) fn times(&self, block: Ulid, column: u32) -> Option<Arc<[i64]>> {
        match self.array(&ArrayKey::Times(block, column))? {
            Array::Times(times) => Some(times),
            Array::Values(_) => None,
        }
    }

    pub(super) fn keep_times(&self, block: Ulid, column: u32, times: Arc<[i64]>) {
        let bytes = size_of_val(&*times);
        self.keep_array(ArrayKey::Times(block, column), Array::Times(times), bytes);
    }

    /// Rows of all series of `block` that satisfy the matchers of `key`; see [`ReadCache::key`].
    pub(super) fn rows(&self, block: Ulid, key: &[u8]) -> Option<Arc<Rows>> {
        lock(&self.rows).find(&(block, Box::from(key)))
    }

    /// Keeps rows, unless they take too much.
    pub(super) fn keep_rows(&self, block: Ulid, key: Vec<u8>, rows: &Arc<Rows>) {
        let bytes = rows.bytes() + key.len();
        lock(&self.rows).keep((block, key.into_boxed_slice()), Arc::clone(rows), bytes);
    }

    /// Whether rows of so many series may be kept at all.
    pub(super) fn takes_rows(&self, series: usize) -> bool {
        lock(&self.rows).takes(series.saturating_mul(size_of::<crate::model::Labels>() * 4))
    }

    /// The same bytes for equal lists of matchers, and only for those.
    pub(super) fn key(matchers: &[Matcher]) -> Vec<u8> {
        let mut key = Vec::new();
        for matcher in matchers {
            key.push(match matcher.op {
                MatchOp::Equal => 0,
                MatchOp::NotEqual => 1,
                MatchOp::Regex => 2,
                MatchOp::NotRegex => 3,
            });
            for text in [&matcher.name, &matcher.value] {
                key.extend_from_slice(&(text.len() as u64).to_le_bytes());
                key.extend_from_slice(text.as_bytes());
            }
        }
        key
    }

    fn array(&self, key: &ArrayKey) -> Option<Array> {
        lock(self.shard(key)).find(key)
    }

    fn keep_array(&self, key: ArrayKey, array: Array, bytes: usize) {
        lock(self.shard(&key)).keep(key, array, bytes);
    }

    fn shard(&self, key: &ArrayKey) -> &Mutex<Generations<ArrayKey, Array>> {
        // Offsets lie close together; the upper bits of a product depend on all bits below.
        let number = match *key {
            ArrayKey::Values(_, offset) => offset,
            ArrayKey::Times(_, number) => u64::from(number),
        };
        let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        &self.arrays[(mixed >> 32) as usize % SHARDS]
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Entries with the bytes that each takes.
struct Generations<K, V> {
    /// What the younger ones may take; the older ones took no more.
    bytes_max: usize,
    young: HashMap<K, (V, usize)>,
    young_bytes: usize,
    old: HashMap<K, (V, usize)>,
}

impl<K: Eq + Hash, V: Clone> Generations<K, V> {
    fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max: bytes_max / 2,
            young: HashMap::new(),
            young_bytes: 0,
            old: HashMap::new(),
        }
    }

    fn is_empty(&self) -> bool {
        self.young.is_empty() && self.old.is_empty()
    }

    /// Whether an entry of so many bytes is taken.
    fn takes(&self, bytes: usize) -> bool {
        bytes.saturating_add(ENTRY_BYTES) <= self.bytes_max
    }

    fn find(&mut self, key: &K) -> Option<V> {
        if let Some((value, _)) = self.young.get(key) {
            return Some(value.clone());
        }
        let (key, (value, bytes)) = self.old.remove_entry(key)?;
        self.put(key, value.clone(), bytes);
        Some(value)
    }

    fn keep(&mut self, key: K, value: V, bytes: usize) {
        if self.takes(bytes) {
            self.old.remove(&key);
            self.put(key, value, bytes + ENTRY_BYTES);
        }
    }

    fn put(&mut self, key: K, value: V, bytes: usize) {
        if self.young_bytes + bytes > self.bytes_max {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        self.young_bytes += bytes;
        if let Some((_, before)) = self.young.insert(key, (value, bytes)) {
            self.young_bytes -= before;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(cache: &Generations<u32, ()>) -> usize {
        cache.young.values().chain(cache.old.values()).map(|entry| entry.1).sum()
    }

    #[test]
    fn what_is_used_stays_and_the_bound_holds() {
        let mut cache = Generations::new(100_000);
        for n in 0..5000 {
            cache.keep(n, (), 1000 + n as usize % 7);
            assert!(cache.find(&0).is_some(), "in use all the time, at {n}");
            assert!(bytes(&cache) <= 100_000, "at {n}");
        }
        assert!(cache.find(&1).is_none(), "nobody asked for it");
        assert!(cache.find(&4999).is_some());
        cache.keep(1, (), 60_000);
        assert!(cache.find(&1).is_none(), "too large to keep");
        // The same again takes no more.
        let before = (cache.young.len(), cache.young_bytes);
        cache.keep(4999, (), 1000 + 4999 % 7);
        assert_eq!((cache.young.len(), cache.young_bytes), before);
    }

    #[test]
    fn nothing_is_kept_where_nothing_may() {
        let cache = ReadCache::new(0);
        let ulid = Ulid::MIN;
        cache.keep_times(ulid, 1, Arc::from([1_i64]));
        cache.keep_values(ulid, 1, Arc::new(Decoded::new(vec![1.0])));
        assert!(cache.times(ulid, 1).is_none() && cache.values(ulid, 1).is_none());
    }

    #[test]
    fn values_are_known_as_far_as_they_were_read() {
        let cache = ReadCache::new(1 << 20);
        let (one, other) = (Ulid::new(1, None), Ulid::new(2, None));
        let known = |block, offset| cache.values(block, offset).map(|v| v.numbers().to_vec());
        cache.keep_values(one, 7, Arc::new(Decoded::new(vec![1.0, 2.0])));
        assert_eq!(known(one, 7), Some(vec![1.0, 2.0]));
        assert!(known(other, 7).is_none() && known(one, 8).is_none());
        cache.keep_values(one, 7, Arc::new(Decoded::new(vec![1.0, 2.0, 3.0])));
        assert_eq!(known(one, 7), Some(vec![1.0, 2.0, 3.0]));
    }

    #[test]
    fn different_matchers_have_different_keys() {
        let matchers = [
            vec![Matcher::equal("a", "bc")],
            vec![Matcher::equal("ab", "c")],
            vec![Matcher::new("a", MatchOp::NotEqual, "bc").unwrap()],
            vec![Matcher::new("a", MatchOp::Regex, "bc").unwrap()],
            vec![Matcher::equal("a", "bc"), Matcher::equal("a", "bc")],
            Vec::new(),
        ];
        let keys: std::collections::BTreeSet<_> =
            matchers.iter().map(|matchers| ReadCache::key(matchers)).collect();
        assert_eq!(keys.len(), matchers.len());
    }
}
