//! Lists that were decoded, kept for the next query.
//!
//! Two generations: what is asked for moves to the younger one, and when that holds half of what
//! the cache may take, the older one goes and the younger takes its place. So what is in use
//! stays, and what is not goes, without a clock or a chain of links.

use std::sync::{Arc, Mutex, PoisonError};

use hashbrown::HashMap;
use roaring::RoaringBitmap;

/// Bytes that the lists of one index may take.
const BYTES_MAX: usize = 1 << 20;
/// A list that would take more of it than this part is not kept.
const SHARE_MAX: usize = 4;
/// What an entry takes beside the list, about.
const ENTRY_BYTES: usize = 128;

/// What a list is the answer to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Asked {
    /// The list at this place of the postings section.
    List(u64),
    /// A matcher, as text.
    Matcher(String),
    /// Who carries the label name with this number.
    Carriers(u32),
}

/// Decoded lists of one index.
#[derive(Debug, Default)]
pub(super) struct ListCache(Mutex<Generations>);

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<Asked, Arc<RoaringBitmap>>,
    young_bytes: usize,
    old: HashMap<Asked, Arc<RoaringBitmap>>,
}

impl ListCache {
    pub(super) fn find(&self, asked: &Asked) -> Option<Arc<RoaringBitmap>> {
        let mut lists = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(list) = lists.young.get(asked) {
            return Some(Arc::clone(list));
        }
        let (asked, list) = lists.old.remove_entry(asked)?;
        lists.keep(asked, Arc::clone(&list));
        Some(list)
    }

    pub(super) fn keep(&self, asked: Asked, list: Arc<RoaringBitmap>) {
        if bytes_of(&list) <= BYTES_MAX / SHARE_MAX {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).keep(asked, list);
        }
    }
}

impl Generations {
    fn keep(&mut self, asked: Asked, list: Arc<RoaringBitmap>) {
        let bytes = bytes_of(&list);
        if self.young_bytes + bytes > BYTES_MAX / 2 {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        self.young_bytes += bytes;
        self.young.insert(asked, list);
    }
}

fn bytes_of(list: &RoaringBitmap) -> usize {
    ENTRY_BYTES + list.serialized_size()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_within_the_bound() {
        let cache = ListCache::default();
        // Every other number, so that nothing packs well.
        let list = |n: u64| Arc::new((0..2000).map(|i| i * 2 + n as u32).collect());
        for n in 0..2000 {
            cache.keep(Asked::List(n), list(n));
            assert!(cache.find(&Asked::List(0)).is_some(), "in use all the time, at {n}");
        }
        assert!(cache.find(&Asked::List(1)).is_none(), "nobody asked for it");
        assert_eq!(cache.find(&Asked::List(1999)).unwrap().min(), Some(1999));
        let lists = cache.0.lock().unwrap();
        let kept = lists.young.values().chain(lists.old.values());
        assert!(kept.map(|list| bytes_of(list)).sum::<usize>() <= BYTES_MAX);
        drop(lists);
        let long: RoaringBitmap = (0..1_000_000).map(|i| i * 3).collect();
        cache.keep(Asked::Carriers(1), Arc::new(long));
        assert!(cache.find(&Asked::Carriers(1)).is_none(), "too large to keep");
    }
}
