//! The live index: label pairs to series, series to label rows.
//!
//! A new series gets its row at once and comes into lists later, a few thousand together
//! ([`LiveIndex::fold`]): pairs of a batch that get the same series and had the same list before
//! go on sharing one. Whoever looks lists up folds first; `head/index.rs` sees to that.
//! INVARIANT: a list is shared only by pairs that are on exactly its series, so a series that is
//! in it has all of these pairs.

use std::hash::BuildHasher;
use std::ops::Range;

use hashbrown::{DefaultHashBuilder, HashMap};
use roaring::RoaringBitmap;

use super::lists::{Ids, Lists, NO_LIST};
use super::rows::{Row, Rows};
use super::symbols::Symbols;
use super::values::SortedValues;
use crate::model::Labels;

/// Pairs of new series that wait at most for their lists.
const PENDING_PAIRS_MAX: usize = 40_000;

/// Labels of the series in the head.
#[derive(Debug, Default)]
pub(super) struct LiveIndex {
    pub symbols: Symbols,
    pub rows: Rows,
    all: RoaringBitmap,
    names: HashMap<u32, Name>,
    lists: Lists,
    /// Series that are in no list yet.
    pending: Vec<(u32, Row)>,
    pending_pairs: usize,
    hasher: DefaultHashBuilder,
}

/// A label name that series have.
#[derive(Debug, Default)]
pub(super) struct Name {
    /// Lists by value.
    lists: HashMap<u32, u32>,
    pub values: SortedValues,
}

/// New series of one pair.
struct Run {
    name: u32,
    value: u32,
    /// The pair's list so far.
    list: u32,
    hash: u64,
    ids: Range<usize>,
}

impl LiveIndex {
    /// Adds a series.
    pub(super) fn add(&mut self, id: u32, labels: &Labels) -> Row {
        let symbols = &mut self.symbols;
        let pairs: Vec<(u32, u32)> =
            labels.iter().map(|(n, v)| (symbols.intern(n), symbols.intern(v))).collect();
        self.add_held(id, &pairs)
    }

    /// Adds a series whose labels are these symbols, which somebody holds.
    pub(super) fn add_pairs(&mut self, id: u32, pairs: &[(u32, u32)]) -> Row {
        for &(name, value) in pairs {
            self.symbols.hold(name);
            self.symbols.hold(value);
        }
        self.add_held(id, pairs)
    }

    fn add_held(&mut self, id: u32, pairs: &[(u32, u32)]) -> Row {
        let row = self.rows.add(id, pairs, &mut self.symbols);
        self.all.insert(id);
        self.pending.push((id, row));
        self.pending_pairs += pairs.len();
        if self.pending_pairs >= PENDING_PAIRS_MAX {
            self.fold();
        }
        row
    }

    /// Removes a series that has this row.
    pub(super) fn remove(&mut self, id: u32, row: Row) {
        self.fold();
        self.all.remove(id);
        let mut held: Vec<(u32, u32, u32)> = Vec::new();
        for (name, value) in self.rows.pairs(row) {
            let list = self.names.get(&name).and_then(|known| known.lists.get(&value));
            held.push((*list.expect("BUG: each pair of a series has a list"), name, value));
        }
        self.rows.remove(id, row, &mut self.symbols);
        held.sort_unstable();
        for sharing in held.chunk_by(|a, b| a.0 == b.0) {
            if self.lists.remove(sharing[0].0, id) {
                for &(_, name, value) in sharing {
                    self.drop_pair(name, value);
                }
            }
        }
        for (_, _, value) in held {
            self.symbols.release(value);
        }
    }

    /// Whether every series is in its lists.
    pub(super) fn is_folded(&self) -> bool {
        self.pending.is_empty()
    }

    /// Brings new series into their lists.
    pub(super) fn fold(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let mut pairs = Vec::with_capacity(self.pending_pairs);
        for (id, row) in std::mem::take(&mut self.pending) {
            pairs.extend(self.rows.pairs(row).map(|(name, value)| (name, value, id)));
        }
        self.pending_pairs = 0;
        pairs.sort_unstable();
        let ids: Vec<u32> = pairs.iter().map(|pair| pair.2).collect();
        let mut runs: Vec<Run> = Vec::new();
        let mut end = 0;
        for run in pairs.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)) {
            let (name, value, _) = run[0];
            let known = self.names.get(&name).and_then(|known| known.lists.get(&value));
            let begin = end;
            end += run.len();
            let hash = self.hasher.hash_one(&ids[begin..end]);
            let list = known.copied().unwrap_or(NO_LIST);
            runs.push(Run { name, value, list, hash, ids: begin..end });
        }
        runs.sort_unstable_by_key(|run| (run.list, run.hash));
        let are_alike = |a: &Run, b: &Run| {
            (a.list, a.hash) == (b.list, b.hash) && ids[a.ids.clone()] == ids[b.ids.clone()]
        };
        for alike in runs.chunk_by(are_alike) {
            let Run { list: before, ids: place, .. } = &alike[0];
            let list = self.lists.extend(*before, alike.len() as u32, &ids[place.clone()]);
            if list != *before {
                for run in alike {
                    self.set_list(run.name, run.value, list);
                }
            }
        }
    }

    fn set_list(&mut self, name: u32, value: u32, list: u32) {
        let symbols = &mut self.symbols;
        let known = self.names.entry(name).or_insert_with(|| {
            symbols.hold(name);
            Name::default()
        });
        if known.lists.insert(value, list).is_none() {
            known.values.add(value, symbols);
        }
    }

    fn drop_pair(&mut self, name: u32, value: u32) {
        let Some(known) = self.names.get_mut(&name) else { return };
        known.lists.remove(&value);
        known.values.bury(value, &mut self.symbols);
        if known.lists.is_empty() {
            known.values.clear(&mut self.symbols);
            self.names.remove(&name);
            self.symbols.release(name);
        }
    }

    /// All series.
    pub(super) fn all(&self) -> &RoaringBitmap {
        &self.all
    }

    /// A label name that series have.
    pub(super) fn name(&self, name: &str) -> Option<&Name> {
        self.names.get(&self.symbols.find(name)?)
    }

    /// Texts of all label names.
    pub(super) fn names(&self) -> impl Iterator<Item = (&str, &Name)> {
        self.names.iter().map(|(&symbol, name)| (self.symbols.text(symbol), name))
    }

    /// The series of a pair.
    pub(super) fn ids(&self, name: &str, value: &str) -> Option<&Ids> {
        self.ids_of(self.name(name)?, self.symbols.find(value)?)
    }

    /// The series of a value of `name`.
    pub(super) fn ids_of(&self, name: &Name, value: u32) -> Option<&Ids> {
        Some(self.lists.ids(*name.lists.get(&value)?))
    }

    /// Number of label pairs.
    pub(super) fn pairs_len(&self) -> usize {
        self.names.values().map(|name| name.lists.len()).sum()
    }

    /// Bytes on the heap, roughly, without symbols and rows.
    pub(super) fn heap_bytes(&self) -> usize {
        let of_name = |name: &Name| name.lists.capacity() * 9 + name.values.heap_bytes();
        self.all.serialized_size()
            + self.lists.heap_bytes()
            + self.names.values().map(of_name).sum::<usize>()
            + self.pending.capacity() * size_of::<(u32, Row)>()
    }
}

impl Name {
    /// Number of values.
    pub(super) fn len(&self) -> usize {
        self.lists.len()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn labels(i: u32) -> Labels {
        let pod = i / 4;
        let mut pairs = vec![
            ("__name__", format!("m{}", i % 4)),
            ("pod", format!("p{pod}")),
            ("uid", format!("u{pod}")),
        ];
        if i.is_multiple_of(3) {
            pairs.push(("extra", format!("u{pod}")));
        }
        Labels::from_pairs(pairs)
    }

    fn ids(index: &LiveIndex, name: &str, value: &str) -> Vec<u32> {
        index.ids(name, value).map(|ids| ids.to_bitmap().iter().collect()).unwrap_or_default()
    }

    #[test]
    fn pairs_on_the_same_series_share_a_list() {
        let mut index = LiveIndex::default();
        for i in 0..400 {
            index.add(i, &labels(i));
            if i % 7 == 0 {
                index.fold();
            }
        }
        index.fold();
        let list = |name: &str, value: &str| {
            let value = index.symbols.find(value).unwrap();
            index.name(name).unwrap().lists[&value]
        };
        for pod in 0..100 {
            assert_eq!(list("pod", &format!("p{pod}")), list("uid", &format!("u{pod}")));
        }
        assert_ne!(list("uid", "u1"), list("extra", "u1"));
        assert_eq!(ids(&index, "uid", "u3"), [12, 13, 14, 15]);
        assert_eq!(ids(&index, "extra", "u3"), [12, 15]);
    }

    proptest! {
        /// Against a map of everything, whatever comes and goes and however it is folded.
        #[test]
        fn agrees_with_a_model(
            steps in proptest::collection::vec((0_u32..60, any::<u8>()), 1..200),
        ) {
            let mut index = LiveIndex::default();
            let mut model: BTreeMap<u32, Row> = BTreeMap::new();
            for (id, coin) in steps {
                if let Some(row) = model.remove(&id) {
                    index.remove(id, row);
                } else {
                    model.insert(id, index.add(id, &labels(id)));
                }
                if coin % 4 == 0 {
                    index.fold();
                }
            }
            index.fold();
            let mut pairs: BTreeMap<(String, String), Vec<u32>> = BTreeMap::new();
            for &id in model.keys() {
                for (name, value) in &labels(id) {
                    pairs.entry((name.to_owned(), value.to_owned())).or_default().push(id);
                }
            }
            prop_assert_eq!(index.pairs_len(), pairs.len());
            for ((name, value), expected) in &pairs {
                prop_assert_eq!(&ids(&index, name, value), expected);
            }
            prop_assert_eq!(index.all().iter().collect::<Vec<_>>().len(), model.len());
            for (id, row) in model {
                index.remove(id, row);
            }
            prop_assert_eq!((index.symbols.len(), index.pairs_len()), (0, 0));
        }
    }
}
