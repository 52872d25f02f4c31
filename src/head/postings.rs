//! The live index: label pairs to series.
//!
//! A pair that one series has costs a few words; up to [`FEW_MAX`] ids lie in a sorted vector,
//! more in a roaring bitmap. Ids ascend as series come, so additions go to the end.
//! INVARIANT: each symbol that stands here is held by at least one series of the register.

use hashbrown::HashMap;
use roaring::RoaringBitmap;

use super::symbols::Symbols;
use crate::index::LabelIndex;

/// Longest list that is kept as a plain vector.
const FEW_MAX: usize = 32;

/// Postings of the series in the head.
#[derive(Debug, Default)]
pub struct LiveIndex {
    pub(super) symbols: Symbols,
    all: RoaringBitmap,
    names: HashMap<u32, HashMap<u32, Posting>>,
}

#[derive(Debug)]
enum Posting {
    One(u32),
    Few(Vec<u32>),
    Many(Box<RoaringBitmap>),
}

impl LiveIndex {
    /// Adds a series under its (name, value) symbols.
    pub(super) fn insert(&mut self, id: u32, pairs: &[(u32, u32)]) {
        self.all.insert(id);
        for &(name, value) in pairs {
            let values = self.names.entry(name).or_default();
            values.entry(value).and_modify(|p| p.insert(id)).or_insert(Posting::One(id));
        }
    }

    /// Removes a series from everything that [`LiveIndex::insert`] put it under.
    pub(super) fn remove(&mut self, id: u32, pairs: &[(u32, u32)]) {
        self.all.remove(id);
        for (name, value) in pairs {
            let Some(values) = self.names.get_mut(name) else { continue };
            if values.get_mut(value).is_some_and(|posting| posting.remove(id)) {
                values.remove(value);
            }
            if values.is_empty() {
                self.names.remove(name);
            }
        }
    }

    /// Calls `visit` for each pair with the number of series that have it.
    pub(super) fn visit_pairs(&self, visit: &mut dyn FnMut(&str, &str, u64)) {
        for (&name, values) in &self.names {
            for (&value, posting) in values {
                visit(self.symbols.text(name), self.symbols.text(value), posting.len());
            }
        }
    }

    /// Bytes on the heap, roughly.
    pub(super) fn heap_bytes(&self) -> usize {
        let mut bytes = self.symbols.heap_bytes() + self.all.serialized_size();
        for values in self.names.values() {
            bytes += values.capacity() * (size_of::<(u32, Posting)>() + 1);
            for posting in values.values() {
                bytes += match posting {
                    Posting::One(_) => 0,
                    Posting::Few(ids) => ids.capacity() * 4,
                    Posting::Many(ids) => 64 + ids.serialized_size(),
                };
            }
        }
        bytes
    }

    fn posting(&self, name: &str, value: &str) -> Option<&Posting> {
        let name = self.symbols.find(name)?;
        let value = self.symbols.find(value)?;
        self.names.get(&name)?.get(&value)
    }
}

impl LabelIndex for LiveIndex {
    fn all(&self) -> RoaringBitmap {
        self.all.clone()
    }

    fn postings(&self, name: &str, value: &str) -> RoaringBitmap {
        self.posting(name, value).map(Posting::to_bitmap).unwrap_or_default()
    }

    fn postings_len(&self, name: &str, value: &str) -> u64 {
        self.posting(name, value).map_or(0, Posting::len)
    }

    fn visit_values(&self, name: &str, prefix: &str, visit: &mut dyn FnMut(&str) -> bool) {
        let Some(name) = self.symbols.find(name) else { return };
        let Some(values) = self.names.get(&name) else { return };
        for &value in values.keys() {
            let text = self.symbols.text(value);
            if text.starts_with(prefix) && !visit(text) {
                return;
            }
        }
    }

    fn visit_names(&self, visit: &mut dyn FnMut(&str)) {
        for &name in self.names.keys() {
            visit(self.symbols.text(name));
        }
    }
}

impl Posting {
    fn len(&self) -> u64 {
        match self {
            Self::One(_) => 1,
            Self::Few(ids) => ids.len() as u64,
            Self::Many(ids) => ids.len(),
        }
    }

    fn to_bitmap(&self) -> RoaringBitmap {
        match self {
            Self::One(id) => RoaringBitmap::from_iter([*id]),
            Self::Few(ids) => ids.iter().copied().collect(),
            Self::Many(ids) => (**ids).clone(),
        }
    }

    fn insert(&mut self, id: u32) {
        match self {
            Self::One(first) if *first == id => {}
            Self::One(first) => *self = Self::Few(vec![(*first).min(id), (*first).max(id)]),
            Self::Few(ids) => {
                if let Err(at) = ids.binary_search(&id) {
                    ids.insert(at, id);
                }
                if ids.len() > FEW_MAX {
                    *self = Self::Many(Box::new(ids.iter().copied().collect()));
                }
            }
            Self::Many(ids) => {
                ids.insert(id);
            }
        }
    }

    /// Whether nothing is left.
    fn remove(&mut self, id: u32) -> bool {
        match self {
            Self::One(only) => *only == id,
            Self::Few(ids) => {
                ids.retain(|&other| other != id);
                ids.is_empty()
            }
            Self::Many(ids) => {
                ids.remove(id);
                ids.is_empty()
            }
        }
    }
}
