//! The table of series: labels to id, id to labels, id to the group that is its home.
//!
//! A series is a record of 32 bytes, its label pairs a run of symbol numbers in one vector, and an
//! entry in a hash table keyed by a seeded hash of its canonical label bytes: nothing of its own
//! on the heap. Ids are dense. A removed id rests until nothing can name it any more
//! ([`Register::release_ids`]); its next bearer has another generation.

use std::hash::BuildHasher;
use std::sync::atomic::{AtomicBool, Ordering};

use hashbrown::{DefaultHashBuilder, HashMap, HashTable};

use super::postings::LiveIndex;
use super::{SeriesId, SeriesRef};
use crate::encoding::varint::write_str;
use crate::model::Labels;

/// Dead pairs below which the vector is not worth rewriting.
const DEAD_PAIRS_MIN: usize = 10_000;

/// "No group yet."
pub(super) const HOMELESS: u32 = u32::MAX;

/// Where a series' samples lie: its slot in a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Home {
    pub group: u32,
    pub slot: u32,
}

#[derive(Debug)]
struct Record {
    hash: u64,
    pairs_at: u32,
    pairs_len: u32,
    generation: u32,
    home: Home,
    /// Whether the log holds the series' labels.
    logged: AtomicBool,
    live: bool,
}

/// Every series of the head.
#[derive(Debug, Default)]
pub(super) struct Register {
    records: Vec<Record>,
    pairs: Vec<(u32, u32)>,
    dead_pairs: usize,
    by_labels: HashTable<u32>,
    pub index: LiveIndex,
    /// Removed ids, each with the first log segment and head file that cannot name it.
    resting: Vec<(u32, u64, u64)>,
    free: Vec<u32>,
    hasher: DefaultHashBuilder,
    /// Groups that were a series' home and may still hold samples of it.
    former: HashMap<u32, Vec<u32>>,
}

impl Register {
    pub(super) fn len(&self) -> usize {
        self.by_labels.len()
    }

    pub(super) fn find(&self, labels: &Labels) -> Option<SeriesRef> {
        let hash = self.hasher.hash_one(labels.as_bytes());
        let id = *self.by_labels.find(hash, |&id| self.has_labels(id, labels))?;
        Some(self.reference(id))
    }

    pub(super) fn insert(&mut self, labels: &Labels) -> SeriesRef {
        if let Some(found) = self.find(labels) {
            return found;
        }
        let (id, generation) = match self.free.pop() {
            Some(id) => (id, self.records[id as usize].generation + 1),
            None => (self.records.len() as u32, 0),
        };
        self.place(SeriesRef { id: SeriesId(id), generation }, labels, false);
        self.reference(id)
    }

    /// Puts a series where the log or a checkpoint says it was. `false` where the id is taken by
    /// another series.
    ///
    /// The log does not tell when a series leaves, and a replay may begin before what the
    /// checkpoint holds. So labels may be named with one id after another, and the last one
    /// counts; one that the checkpoint had already gets its home back when its turn comes.
    pub(super) fn restore(&mut self, series: SeriesRef, labels: &Labels) -> bool {
        match self.find(labels) {
            Some(found) if found == series => return true,
            Some(other) => {
                let former = self.former.get(&other.id.0).cloned();
                self.remove(other.id.0, 0, 0);
                // Vacant ids are put to rest together when the recovery ends.
                self.resting.pop();
                if let Some(former) = former {
                    self.former.insert(other.id.0, former);
                }
            }
            None => {}
        }
        let hash = self.hasher.hash_one(labels.as_bytes());
        let record = self.records.get(series.id.0 as usize);
        if record.is_some_and(|r| r.live) {
            return false;
        }
        let is_back = |r: &&Record| r.generation == series.generation && r.hash == hash;
        let home = record.filter(is_back).map(|r| r.home);
        self.place(series, labels, true);
        if let Some(home) = home {
            self.records[series.id.0 as usize].home = home;
        }
        true
    }

    fn place(&mut self, series: SeriesRef, labels: &Labels, logged: bool) {
        let id = series.id.0;
        let hash = self.hasher.hash_one(labels.as_bytes());
        let pairs_at = self.pairs.len() as u32;
        let symbols = &mut self.index.symbols;
        self.pairs.extend(labels.iter().map(|(n, v)| (symbols.intern(n), symbols.intern(v))));
        let pairs_len = self.pairs.len() as u32 - pairs_at;
        while self.records.len() <= id as usize {
            self.records.push(Record::vacant());
        }
        self.records[id as usize] = Record {
            hash,
            pairs_at,
            pairs_len,
            generation: series.generation,
            home: Home { group: HOMELESS, slot: 0 },
            logged: AtomicBool::new(logged),
            live: true,
        };
        self.index.insert(id, &self.pairs[pairs_at as usize..]);
        let records = &self.records;
        self.by_labels.insert_unique(hash, id, |&id| records[id as usize].hash);
    }

    /// The series now behind a reference; `None` when it has left.
    pub(super) fn home(&self, series: SeriesRef) -> Option<Home> {
        let record = self.records.get(series.id.0 as usize)?;
        (record.live && record.generation == series.generation).then_some(record.home)
    }

    pub(super) fn home_of(&self, id: u32) -> Option<Home> {
        self.records.get(id as usize).filter(|r| r.live).map(|r| r.home)
    }

    pub(super) fn set_home(&mut self, id: u32, home: Home) {
        self.records[id as usize].home = home;
    }

    /// Moves a series to another home and remembers the one before.
    pub(super) fn move_home(&mut self, id: u32, home: Home) {
        let before = std::mem::replace(&mut self.records[id as usize].home, home).group;
        if before != HOMELESS && before != home.group {
            self.add_former(id, before);
        }
    }

    /// Remembers a group that was a series' home.
    pub(super) fn add_former(&mut self, id: u32, group: u32) {
        let former = self.former.entry(id).or_default();
        if !former.contains(&group) {
            former.push(group);
        }
    }

    /// Groups that were the series' home before and may hold samples of it.
    pub(super) fn former(&self, id: u32) -> &[u32] {
        self.former.get(&id).map_or(&[], Vec::as_slice)
    }

    /// Series that live nowhere, now or before.
    pub(super) fn homeless(&self) -> impl Iterator<Item = u32> + '_ {
        let is_homeless = |&id: &u32| {
            self.records[id as usize].home.group == HOMELESS && !self.former.contains_key(&id)
        };
        self.ids().filter(is_homeless)
    }

    /// Every series with former homes.
    pub(super) fn all_former(&self) -> impl Iterator<Item = (u32, &Vec<u32>)> {
        self.former.iter().map(|(&series, groups)| (series, groups))
    }

    /// Forgets the former homes (series, group) that are not `kept`.
    pub(super) fn forget_former(&mut self, kept: impl Fn(u32, u32) -> bool) {
        self.former.retain(|&series, groups| {
            groups.retain(|&group| kept(series, group));
            !groups.is_empty()
        });
    }

    pub(super) fn is_logged(&self, id: u32) -> bool {
        self.records[id as usize].logged.load(Ordering::Acquire)
    }

    pub(super) fn set_logged(&self, id: u32) {
        if let Some(record) = self.records.get(id as usize) {
            record.logged.store(true, Ordering::Release);
        }
    }

    pub(super) fn is_live(&self, id: u32) -> bool {
        self.records.get(id as usize).is_some_and(|r| r.live)
    }

    pub(super) fn reference(&self, id: u32) -> SeriesRef {
        SeriesRef { id: SeriesId(id), generation: self.records[id as usize].generation }
    }

    /// Numbers of all series, ascending.
    pub(super) fn ids(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.records.len() as u32).filter(|&id| self.records[id as usize].live)
    }

    /// Appends the canonical label bytes of a live series.
    pub(super) fn write_labels(&self, id: u32, out: &mut Vec<u8>) {
        for &(name, value) in self.pairs_of(id) {
            write_str(out, self.index.symbols.text(name));
            write_str(out, self.index.symbols.text(value));
        }
    }

    pub(super) fn labels(&self, id: u32) -> Option<Labels> {
        if !self.is_live(id) {
            return None;
        }
        let mut bytes = Vec::with_capacity(256);
        self.write_labels(id, &mut bytes);
        Some(Labels::from_bytes(&bytes).expect("BUG: the register holds canonical labels"))
    }

    /// Takes a series out. Its id rests until every log segment below `segment` and every head
    /// file below `file` is gone.
    pub(super) fn remove(&mut self, id: u32, segment: u64, file: u64) {
        let pairs = self.pairs_of(id).to_vec();
        self.index.remove(id, &pairs);
        self.former.remove(&id);
        let record = &mut self.records[id as usize];
        record.live = false;
        let hash = record.hash;
        if let Ok(found) = self.by_labels.find_entry(hash, |&other| other == id) {
            found.remove();
        }
        for (name, value) in &pairs {
            self.index.symbols.release(*name);
            self.index.symbols.release(*value);
        }
        self.dead_pairs += pairs.len();
        self.resting.push((id, segment, file));
        if self.dead_pairs > DEAD_PAIRS_MIN && self.dead_pairs * 2 > self.pairs.len() {
            self.rewrite_pairs();
        }
    }

    /// Frees the ids that neither the log from `segment` on nor head files from `file` on name.
    pub(super) fn release_ids(&mut self, segment: u64, file: u64) {
        let free = &mut self.free;
        self.resting.retain(|&(id, last_segment, last_file)| {
            let rests = last_segment > segment || last_file > file;
            if !rests {
                free.push(id);
            }
            rests
        });
    }

    /// Number of ids, vacant ones included: no series ever had one from here on.
    pub(super) fn ids_end(&self) -> u32 {
        self.records.len() as u32
    }

    /// After a recovery: no id below `end` that is vacant may be used before the segments
    /// and head files of now are gone, and generations go on.
    pub(super) fn rest_vacant(&mut self, end: u32, segment: u64, file: u64) {
        let end = self.records.len().max(end as usize);
        while self.records.len() < end {
            self.records.push(Record::vacant());
        }
        for id in 0..self.records.len() as u32 {
            if !self.records[id as usize].live {
                self.resting.push((id, segment, file));
            }
        }
    }

    /// Bytes on the heap, roughly, the index included.
    pub(super) fn heap_bytes(&self) -> usize {
        self.records.capacity() * size_of::<Record>()
            + self.pairs.capacity() * size_of::<(u32, u32)>()
            + self.by_labels.capacity() * 5
            + self.index.heap_bytes()
    }

    fn pairs_of(&self, id: u32) -> &[(u32, u32)] {
        let record = &self.records[id as usize];
        &self.pairs[record.pairs_at as usize..(record.pairs_at + record.pairs_len) as usize]
    }

    fn has_labels(&self, id: u32, labels: &Labels) -> bool {
        let symbols = &self.index.symbols;
        let text = |symbol| symbols.text(symbol).as_bytes();
        self.pairs_of(id).iter().map(|&(n, v)| (text(n), text(v))).eq(labels.iter_bytes())
    }

    fn rewrite_pairs(&mut self) {
        let mut pairs = Vec::with_capacity(self.pairs.len() - self.dead_pairs);
        for record in self.records.iter_mut().filter(|r| r.live) {
            let at = record.pairs_at as usize;
            record.pairs_at = pairs.len() as u32;
            pairs.extend_from_slice(&self.pairs[at..at + record.pairs_len as usize]);
        }
        self.pairs = pairs;
        self.dead_pairs = 0;
    }
}

impl Record {
    fn vacant() -> Self {
        Self {
            hash: 0,
            pairs_at: 0,
            pairs_len: 0,
            generation: 0,
            home: Home { group: HOMELESS, slot: 0 },
            logged: AtomicBool::new(false),
            live: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::LabelIndex;

    fn labels(i: u32) -> Labels {
        Labels::from_pairs([("__name__", "m".to_owned()), ("i", i.to_string())])
    }

    #[test]
    fn series_are_found_by_labels_and_told_apart_by_generation() {
        let mut register = Register::default();
        let refs: Vec<_> = (0..1000).map(|i| register.insert(&labels(i))).collect();
        assert_eq!(register.find(&labels(7)), Some(refs[7]));
        assert_eq!(register.labels(7), Some(labels(7)));
        assert_eq!(register.index.postings_len("__name__", "m"), 1000);
        register.remove(7, 5, 3);
        assert_eq!(register.find(&labels(7)), None);
        assert_eq!(register.home(refs[7]), None);
        assert!(register.index.postings("i", "7").is_empty());
        let next = register.insert(&labels(2000));
        assert_eq!(next.id, SeriesId(1000), "the id rests");
        register.release_ids(4, 3);
        assert_eq!(register.insert(&labels(2001)).id, SeriesId(1001), "the log may name it");
        register.release_ids(5, 3);
        let again = register.insert(&labels(7));
        assert_eq!(again, SeriesRef { id: SeriesId(7), generation: 1 });
        assert_eq!(register.home(refs[7]), None);
    }

    #[test]
    fn many_removals_give_the_pairs_back() {
        let mut register = Register::default();
        for i in 0..120_000 {
            register.insert(&labels(i));
        }
        for i in 0..110_000 {
            register.remove(i, 0, 0);
        }
        assert_eq!(register.labels(115_000), Some(labels(115_000)));
        assert!(register.pairs.len() < 60_000);
        assert_eq!(register.len(), 10_000);
    }
}
