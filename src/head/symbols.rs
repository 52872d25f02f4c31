//! Interned strings: each label name and value once, known by a dense number.
//!
//! A symbol lives as long as someone holds it ([`Symbols::intern`] takes a hold,
//! [`Symbols::release`] gives it back); its number is used again afterwards. The text lies in one
//! string, which is rewritten when more than half of it is dead.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

/// Dead bytes below which the text is not worth rewriting.
const DEAD_BYTES_MIN: usize = 1 << 20;

#[derive(Debug, Clone, Copy)]
struct Entry {
    at: u64,
    len: u32,
    /// 0: the number is free.
    holds: u32,
}

/// The table of symbols.
#[derive(Debug, Default)]
pub(super) struct Symbols {
    text: String,
    entries: Vec<Entry>,
    by_text: HashTable<u32>,
    free: Vec<u32>,
    dead_bytes: usize,
    hasher: DefaultHashBuilder,
}

impl Symbols {
    /// The number of `text`, with one more hold on it.
    pub(super) fn intern(&mut self, text: &str) -> u32 {
        let hash = self.hasher.hash_one(text);
        let (entries, all) = (&self.entries, &self.text);
        if let Some(&id) = self.by_text.find(hash, |&id| slice(entries, all, id) == text) {
            self.entries[id as usize].holds += 1;
            return id;
        }
        let len = u32::try_from(text.len()).expect("BUG: a label is shorter than 4 GiB");
        let entry = Entry { at: self.text.len() as u64, len, holds: 1 };
        self.text.push_str(text);
        let id = if let Some(id) = self.free.pop() {
            self.entries[id as usize] = entry;
            id
        } else {
            self.entries.push(entry);
            self.entries.len() as u32 - 1
        };
        let (entries, all, hasher) = (&self.entries, &self.text, &self.hasher);
        self.by_text.insert_unique(hash, id, |&id| hasher.hash_one(slice(entries, all, id)));
        id
    }

    /// One more hold on a symbol that is held.
    pub(super) fn hold(&mut self, id: u32) {
        self.entries[id as usize].holds += 1;
    }

    /// The number of `text`, if somebody holds it.
    pub(super) fn find(&self, text: &str) -> Option<u32> {
        let hash = self.hasher.hash_one(text);
        self.by_text.find(hash, |&id| slice(&self.entries, &self.text, id) == text).copied()
    }

    /// The text of a held symbol.
    pub(super) fn text(&self, id: u32) -> &str {
        slice(&self.entries, &self.text, id)
    }

    /// Whether this is a symbol that is held, with this text.
    pub(super) fn is(&self, id: u32, text: &str) -> bool {
        let is_held = self.entries.get(id as usize).is_some_and(|entry| entry.holds > 0);
        is_held && self.text(id) == text
    }

    /// Gives one hold back.
    pub(super) fn release(&mut self, id: u32) {
        let entry = &mut self.entries[id as usize];
        entry.holds = entry.holds.checked_sub(1).expect("BUG: a released symbol was held");
        if entry.holds > 0 {
            return;
        }
        let len = entry.len as usize;
        let hash = self.hasher.hash_one(slice(&self.entries, &self.text, id));
        if let Ok(found) = self.by_text.find_entry(hash, |&other| other == id) {
            found.remove();
        }
        self.free.push(id);
        self.dead_bytes += len;
        if self.dead_bytes > DEAD_BYTES_MIN && self.dead_bytes * 2 > self.text.len() {
            self.rewrite();
        }
    }

    /// Number of symbols held.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// Bytes on the heap, roughly.
    pub(super) fn heap_bytes(&self) -> usize {
        self.text.capacity()
            + self.entries.capacity() * size_of::<Entry>()
            + self.by_text.capacity() * 5
            + self.free.capacity() * 4
    }

    fn rewrite(&mut self) {
        let mut text = String::with_capacity(self.text.len() - self.dead_bytes);
        for entry in self.entries.iter_mut().filter(|e| e.holds > 0) {
            let at = entry.at as usize;
            entry.at = text.len() as u64;
            text.push_str(&self.text[at..at + entry.len as usize]);
        }
        self.text = text;
        self.dead_bytes = 0;
    }
}

fn slice<'a>(entries: &[Entry], text: &'a str, id: u32) -> &'a str {
    let entry = &entries[id as usize];
    &text[entry.at as usize..entry.at as usize + entry.len as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_share_a_number_until_released() {
        let mut symbols = Symbols::default();
        let a = symbols.intern("job");
        let b = symbols.intern("instance");
        assert_eq!(symbols.intern("job"), a);
        assert_eq!((symbols.text(a), symbols.text(b), symbols.len()), ("job", "instance", 2));
        symbols.release(a);
        assert_eq!(symbols.find("job"), Some(a));
        symbols.release(a);
        assert_eq!(symbols.find("job"), None);
        assert_eq!(symbols.intern("pod"), a);
        assert_eq!(symbols.text(a), "pod");
    }

    #[test]
    fn dead_text_is_given_back() {
        let mut symbols = Symbols::default();
        let kept = symbols.intern("kept");
        for i in 0..3000 {
            let id = symbols.intern(&format!("{i:01000}"));
            symbols.release(id);
        }
        assert_eq!(symbols.text(kept), "kept");
        assert!(symbols.text.len() < 2 * DEAD_BYTES_MIN + 2000);
    }
}
