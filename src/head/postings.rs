//! The live index: label pairs to series, series to label rows.
//!
//! A new series gets its row at once and comes into lists later, a few thousand together
//! ([`LiveIndex::fold`]). Whoever looks lists up folds first; `head/index.rs` sees to that. While
//! a head is opened a thread of its own can do it ([`LiveIndex::fold_beside`]).

use std::panic::resume_unwind;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use roaring::RoaringBitmap;

use super::folded::{Folded, Name, Pair};
use super::lists::Ids;
use super::rows::{Row, Rows};
use super::symbols::Symbols;
use crate::model::Labels;

/// Pairs of new series that wait at most for their lists.
const PENDING_PAIRS_MAX: usize = 40_000;
/// Such batches that wait at most for the thread that folds.
const BATCHES_MAX: usize = 4;

/// Labels of the series in the head.
#[derive(Debug, Default)]
pub(super) struct LiveIndex {
    pub symbols: Symbols,
    pub rows: Rows,
    all: RoaringBitmap,
    folded: Folded,
    /// Series that are in no list yet.
    pending: Vec<(u32, Row)>,
    pending_pairs: usize,
    /// Who has the lists at present.
    folding: Option<Folding>,
}

/// A thread that brings batches of pairs into lists.
#[derive(Debug)]
struct Folding {
    batches: SyncSender<Vec<Pair>>,
    thread: JoinHandle<Folded>,
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
            match &self.folding {
                None => self.fold(),
                Some(_) => self.hand_over(),
            }
        }
        row
    }

    /// Removes a series that has this row.
    pub(super) fn remove(&mut self, id: u32, row: Row) {
        self.fold();
        self.all.remove(id);
        let mut held: Vec<(u32, u32, u32)> = Vec::new();
        for (name, value) in self.rows.pairs(row) {
            let list = self.folded.list(name, value);
            held.push((list.expect("BUG: each pair of a series has a list"), name, value));
        }
        self.rows.remove(id, row, &mut self.symbols);
        held.sort_unstable();
        for sharing in held.chunk_by(|a, b| a.0 == b.0) {
            if self.folded.lists.remove(sharing[0].0, id) {
                for &(_, name, value) in sharing {
                    self.folded.drop_pair(name, value, &mut self.symbols);
                }
            }
        }
        for (_, _, value) in held {
            self.symbols.release(value);
        }
    }

    /// Whether every series is in its lists.
    pub(super) fn is_folded(&self) -> bool {
        self.pending.is_empty() && self.folding.is_none()
    }

    /// Brings new series into their lists.
    pub(super) fn fold(&mut self) {
        if let Some(Folding { batches, thread }) = self.folding.take() {
            drop(batches);
            self.folded = thread.join().unwrap_or_else(|panic| resume_unwind(panic));
        }
        let pairs = self.take_pending();
        self.folded.extend(pairs);
        self.folded.adopt(&mut self.symbols);
    }

    /// From here until the next [`Self::fold`] a thread of its own brings new series into their
    /// lists; where the system gives none, nothing changes.
    pub(super) fn fold_beside(&mut self) {
        self.fold();
        let (batches, received) = sync_channel::<Vec<Pair>>(BATCHES_MAX);
        let mut folded = std::mem::take(&mut self.folded);
        let thread =
            std::thread::Builder::new().name("narthex-index".to_owned()).spawn(move || {
                for batch in received {
                    folded.extend(batch);
                }
                folded
            });
        self.folding = thread.ok().map(|thread| Folding { batches, thread });
    }

    /// Gives what is pending to the thread that folds.
    fn hand_over(&mut self) {
        let pairs = self.take_pending();
        if let Some(folding) = &self.folding {
            // Only a thread that died does not take them, and then the next fold tells.
            let _ = folding.batches.send(pairs);
        }
    }

    fn take_pending(&mut self) -> Vec<Pair> {
        let mut pairs = Vec::with_capacity(self.pending_pairs);
        for (id, row) in std::mem::take(&mut self.pending) {
            pairs.extend(self.rows.pairs(row).map(|(name, value)| (name, value, id)));
        }
        self.pending_pairs = 0;
        pairs
    }

    /// All series.
    pub(super) fn all(&self) -> &RoaringBitmap {
        &self.all
    }

    /// A label name that series have.
    pub(super) fn name(&self, name: &str) -> Option<&Name> {
        self.folded.names.get(&self.symbols.find(name)?)
    }

    /// Texts of all label names.
    pub(super) fn names(&self) -> impl Iterator<Item = (&str, &Name)> {
        self.folded.names.iter().map(|(&symbol, name)| (self.symbols.text(symbol), name))
    }

    /// The series of a pair.
    pub(super) fn ids(&self, name: &str, value: &str) -> Option<&Ids> {
        self.ids_of(self.name(name)?, self.symbols.find(value)?)
    }

    /// The series of a value of `name`.
    pub(super) fn ids_of(&self, name: &Name, value: u32) -> Option<&Ids> {
        Some(self.folded.lists.ids(*name.lists.get(&value)?))
    }

    /// Number of label pairs.
    pub(super) fn pairs_len(&self) -> usize {
        self.folded.pairs_len()
    }

    /// Bytes on the heap, roughly, without symbols and rows.
    pub(super) fn heap_bytes(&self) -> usize {
        self.all.serialized_size()
            + self.folded.heap_bytes()
            + self.pending.capacity() * size_of::<(u32, Row)>()
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

    #[test]
    fn a_thread_folds_as_one_does_oneself() {
        let (mut beside, mut alone) = (LiveIndex::default(), LiveIndex::default());
        beside.fold_beside();
        for i in 0..30_000 {
            beside.add(i, &labels(i));
            alone.add(i, &labels(i));
        }
        assert!(!beside.is_folded());
        beside.fold();
        alone.fold();
        assert!(beside.is_folded() && beside.pairs_len() == alone.pairs_len());
        for (name, value) in
            [("__name__", "m3"), ("pod", "p17"), ("uid", "u7000"), ("pod", "p7499")]
        {
            assert_eq!(ids(&beside, name, value), ids(&alone, name, value));
        }
        let sorted = |index: &LiveIndex| {
            let name = index.name("pod").unwrap();
            name.values.with_prefix("p74", &index.symbols).len()
        };
        assert!(sorted(&beside) > 100 && sorted(&beside) >= sorted(&alone));
    }

    proptest! {
        /// Against a map of everything, whatever comes and goes and however it is folded.
        #[test]
        fn agrees_with_a_model(
            steps in proptest::collection::vec((0_u32..60, any::<u8>()), 1..200),
            is_beside in any::<bool>(),
        ) {
            let mut index = LiveIndex::default();
            if is_beside {
                index.fold_beside();
            }
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
