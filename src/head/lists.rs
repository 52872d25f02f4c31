//! Lists of series, each stored once however many label pairs name the same series.
//!
//! In practice a pod's name, its uid and its container's id are on the same series. A list counts
//! the pairs that share it; where only some of them get more series, these get a list of their
//! own. A list of a few series is a sorted vector, a longer one a roaring bitmap, which is packed
//! anew each time that the list has doubled.

use roaring::RoaringBitmap;

/// Longest list that is kept as a plain vector.
const FEW_MAX: usize = 32;

/// "No list."
pub(super) const NO_LIST: u32 = u32::MAX;

/// Numbers of series, ascending.
#[derive(Debug, Clone)]
pub(super) enum Ids {
    One(u32),
    Few(Box<[u32]>),
    Many(Box<RoaringBitmap>),
}

#[derive(Debug)]
struct List {
    ids: Ids,
    /// Pairs that have this list; 0: the number is free.
    holders: u32,
    /// Length at which the bitmap was packed last.
    packed_len: u32,
}

/// Every list, by number.
#[derive(Debug, Default)]
pub(super) struct Lists {
    entries: Vec<List>,
    free: Vec<u32>,
    /// What lists have on the heap.
    bytes: usize,
}

impl Ids {
    /// A list of these; ascending, at least one.
    fn new(ids: &[u32]) -> Self {
        match ids {
            [only] => Self::One(*only),
            few if few.len() <= FEW_MAX => Self::Few(few.into()),
            many => Self::Many(Box::new(many.iter().copied().collect())),
        }
    }

    pub(super) fn len(&self) -> u64 {
        match self {
            Self::One(_) => 1,
            Self::Few(ids) => ids.len() as u64,
            Self::Many(ids) => ids.len(),
        }
    }

    pub(super) fn to_bitmap(&self) -> RoaringBitmap {
        match self {
            Self::One(id) => RoaringBitmap::from_iter([*id]),
            Self::Few(ids) => ids.iter().copied().collect(),
            Self::Many(ids) => (**ids).clone(),
        }
    }

    /// Adds ascending numbers, most of which lie above those here.
    fn extend(&mut self, more: &[u32]) {
        if let Self::Many(ids) = self {
            ids.extend(more.iter().copied());
            return;
        }
        let mut all: Vec<u32> = match self {
            Self::One(id) => vec![*id],
            Self::Few(ids) => ids.to_vec(),
            Self::Many(_) => Vec::new(),
        };
        all.extend_from_slice(more);
        all.sort_unstable();
        all.dedup();
        *self = Self::new(&all);
    }

    /// Whether nothing is left.
    fn remove(&mut self, id: u32) -> bool {
        match self {
            Self::One(only) => *only == id,
            Self::Few(ids) => {
                let rest: Vec<u32> = ids.iter().copied().filter(|&other| other != id).collect();
                if rest.is_empty() {
                    return true;
                }
                *self = Self::new(&rest);
                false
            }
            Self::Many(ids) => {
                ids.remove(id);
                ids.is_empty()
            }
        }
    }

    fn heap_bytes(&self) -> usize {
        match self {
            Self::One(_) => 0,
            Self::Few(ids) => ids.len() * 4,
            Self::Many(ids) => size_of::<RoaringBitmap>() + 48 + ids.serialized_size(),
        }
    }
}

impl Lists {
    /// The series of a list that pairs hold.
    pub(super) fn ids(&self, list: u32) -> &Ids {
        &self.entries[list as usize].ids
    }

    /// Adds `ids` (ascending, at least one) to the list of `pairs` pairs, all of which have
    /// `list` now; the list that they have then.
    pub(super) fn extend(&mut self, list: u32, pairs: u32, ids: &[u32]) -> u32 {
        if list == NO_LIST {
            return self.add(Ids::new(ids), pairs);
        }
        let known = &mut self.entries[list as usize];
        if known.holders == pairs {
            self.bytes -= known.ids.heap_bytes();
            known.ids.extend(ids);
            known.pack();
            self.bytes += known.ids.heap_bytes();
            return list;
        }
        known.holders -= pairs;
        let mut all = known.ids.clone();
        all.extend(ids);
        self.add(all, pairs)
    }

    fn add(&mut self, ids: Ids, holders: u32) -> u32 {
        let mut list = List { ids, holders, packed_len: FEW_MAX as u32 };
        list.pack();
        self.bytes += list.ids.heap_bytes();
        if let Some(number) = self.free.pop() {
            self.entries[number as usize] = list;
            return number;
        }
        self.entries.push(list);
        self.entries.len() as u32 - 1
    }

    /// Takes a series out of a list. Where nothing is left the list is gone, and true.
    pub(super) fn remove(&mut self, list: u32, id: u32) -> bool {
        let known = &mut self.entries[list as usize];
        self.bytes -= known.ids.heap_bytes();
        let is_gone = known.ids.remove(id);
        if is_gone {
            *known = List { ids: Ids::One(0), holders: 0, packed_len: 0 };
            self.free.push(list);
        }
        self.bytes += known.ids.heap_bytes();
        is_gone
    }

    /// Bytes on the heap, roughly.
    pub(super) fn heap_bytes(&self) -> usize {
        self.entries.capacity() * size_of::<List>() + self.free.capacity() * 4 + self.bytes
    }
}

impl List {
    fn pack(&mut self) {
        let Ids::Many(ids) = &mut self.ids else { return };
        if ids.len() / 2 >= u64::from(self.packed_len) {
            ids.optimize();
            // A copy has no room to spare; what the bitmap grew in has.
            *ids = ids.clone();
            self.packed_len = u32::try_from(ids.len()).unwrap_or(u32::MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_share_a_list_until_they_differ() {
        let mut lists = Lists::default();
        let shared = lists.extend(NO_LIST, 3, &[1, 2]);
        assert_eq!(lists.extend(shared, 3, &[5]), shared);
        let own = lists.extend(shared, 1, &[9]);
        assert_ne!(own, shared);
        let ids = |lists: &Lists, list| lists.ids(list).to_bitmap().iter().collect::<Vec<_>>();
        assert_eq!((ids(&lists, shared), ids(&lists, own)), (vec![1, 2, 5], vec![1, 2, 5, 9]));
        assert_eq!(lists.extend(shared, 2, &[7]), shared, "the other two have it to themselves");
        assert!(!lists.remove(shared, 1) && !lists.remove(shared, 2) && !lists.remove(shared, 5));
        assert!(lists.remove(shared, 7));
        assert_eq!(lists.extend(NO_LIST, 1, &[3]), shared, "the number is used again");
    }

    #[test]
    fn lists_of_every_length_hold_what_they_were_given() {
        let mut lists = Lists::default();
        let mut list = NO_LIST;
        for id in 0..1000 {
            list = lists.extend(list, 1, &[id * 3]);
            assert_eq!(lists.ids(list).len(), u64::from(id) + 1);
        }
        for id in 0..999 {
            assert!(!lists.remove(list, id * 3));
        }
        assert_eq!(lists.ids(list).to_bitmap().iter().collect::<Vec<_>>(), [2997]);
    }
}
