//! Label pairs to lists of series, for the series that are in their lists already.
//!
//! Pairs of a batch that get the same series and had the same list before go on sharing one.
//! INVARIANT: a list is shared only by pairs that are on exactly its series, so a series that is
//! in it has all of these pairs. Nothing here looks at texts, so that a thread can fill lists while
//! another one interns symbols; [`Folded::adopt`] makes up for it: only then are the names and
//! values that came held, and in order.

use std::hash::BuildHasher;
use std::ops::Range;

use hashbrown::{DefaultHashBuilder, HashMap};

use super::lists::{Lists, NO_LIST};
use super::symbols::Symbols;
use super::values::SortedValues;

/// A label of a series: symbols of name and value, and the series.
pub(super) type Pair = (u32, u32, u32);

/// Lists by label pair.
#[derive(Debug, Default)]
pub(super) struct Folded {
    pub names: HashMap<u32, Name>,
    pub lists: Lists,
    /// What came and is not adopted: names, and pairs.
    fresh_names: Vec<u32>,
    fresh_pairs: Vec<(u32, u32)>,
    hasher: DefaultHashBuilder,
}

/// A label name that series have.
#[derive(Debug, Default)]
pub(super) struct Name {
    /// Lists by value.
    pub lists: HashMap<u32, u32>,
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

impl Folded {
    /// Brings series into the lists of their pairs.
    pub(super) fn extend(&mut self, mut pairs: Vec<Pair>) {
        pairs.sort_unstable();
        let ids: Vec<u32> = pairs.iter().map(|pair| pair.2).collect();
        let mut runs: Vec<Run> = Vec::new();
        let mut end = 0;
        for run in pairs.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)) {
            let (name, value, _) = run[0];
            let begin = end;
            end += run.len();
            let hash = self.hasher.hash_one(&ids[begin..end]);
            let list = self.list(name, value).unwrap_or(NO_LIST);
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

    /// The list of a pair.
    pub(super) fn list(&self, name: u32, value: u32) -> Option<u32> {
        self.names.get(&name)?.lists.get(&value).copied()
    }

    fn set_list(&mut self, name: u32, value: u32, list: u32) {
        let fresh_names = &mut self.fresh_names;
        let known = self.names.entry(name).or_insert_with(|| {
            fresh_names.push(name);
            Name::default()
        });
        if known.lists.insert(value, list).is_none() {
            self.fresh_pairs.push((name, value));
        }
    }

    /// Holds what came since the last time, and puts it in order.
    pub(super) fn adopt(&mut self, symbols: &mut Symbols) {
        self.fresh_names.drain(..).for_each(|name| symbols.hold(name));
        let mut pairs = std::mem::take(&mut self.fresh_pairs);
        pairs.sort_unstable();
        for of_name in pairs.chunk_by(|a, b| a.0 == b.0) {
            if let Some(known) = self.names.get_mut(&of_name[0].0) {
                known.values.add(of_name.iter().map(|pair| pair.1), symbols);
            }
        }
    }

    /// Forgets a pair whose last series left.
    pub(super) fn drop_pair(&mut self, name: u32, value: u32, symbols: &mut Symbols) {
        let Some(known) = self.names.get_mut(&name) else { return };
        known.lists.remove(&value);
        known.values.bury(value, symbols);
        if known.lists.is_empty() {
            known.values.clear(symbols);
            self.names.remove(&name);
            symbols.release(name);
        }
    }

    /// Number of label pairs.
    pub(super) fn pairs_len(&self) -> usize {
        self.names.values().map(|name| name.lists.len()).sum()
    }

    /// Bytes on the heap, roughly.
    pub(super) fn heap_bytes(&self) -> usize {
        let of_name = |name: &Name| name.lists.capacity() * 9 + name.values.heap_bytes();
        self.lists.heap_bytes() + self.names.values().map(of_name).sum::<usize>()
    }
}

impl Name {
    /// Number of values.
    pub(super) fn len(&self) -> usize {
        self.lists.len()
    }
}
