//! The table of series: labels to id, id to labels, id to the group that is its home.
//!
//! A series is a record of 24 bytes, a label row (`rows.rs`), and an entry in a hash table keyed by
//! a seeded hash of its canonical label bytes: nothing of its own on the heap. Ids are dense. A
//! removed id rests until nothing can name it any more ([`Register::release_ids`]); its next bearer
//! has another generation.

use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};

use hashbrown::{DefaultHashBuilder, HashMap, HashTable};

use super::limits::JOB;
use super::postings::LiveIndex;
use super::rows::Row;
use super::stats::HeadMemory;
use super::{SeriesId, SeriesRef};
use crate::encoding::varint::{write_str, write_uvarint};
use crate::model::{Labels, METRIC_NAME};

/// The shape of a record that no series has.
const VACANT: u32 = u32::MAX;

/// "No group yet."
pub(super) const HOMELESS: u32 = u32::MAX;

/// "No slot": the series has ended, and lies in the files of its group. Another number than that
/// of a slot which a replay has yet to give.
pub(super) const NO_SLOT: u32 = u32::MAX - 1;

/// Where a series' samples lie: its slot in a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Home {
    pub group: u32,
    pub slot: u32,
}

impl Home {
    /// Whether the series lies in files only.
    pub(super) fn has_ended(self) -> bool {
        self.group != HOMELESS && self.slot == NO_SLOT
    }

    /// Whether the series needs a slot before it can be fed.
    pub(super) fn lacks_slot(self) -> bool {
        self.group == HOMELESS || self.slot == NO_SLOT
    }
}

#[derive(Debug)]
struct Record {
    /// Of the canonical label bytes: the half that the table by labels goes by.
    hash: u32,
    row: Row,
    generation: u32,
    home: Home,
}

/// Every series of the head.
#[derive(Debug, Default)]
pub(super) struct Register {
    records: Vec<Record>,
    /// A bit for each series whose labels the log holds.
    logged: Vec<AtomicU64>,
    by_labels: HashTable<u32>,
    pub index: LiveIndex,
    /// Removed ids, each with the first log segment and head file that cannot name it.
    resting: Vec<(u32, u64, u64)>,
    free: Vec<u32>,
    hasher: DefaultHashBuilder,
    /// Series of each job and metric, by the symbols of name and value: lists lag behind.
    counts: HashMap<(u32, u32), u32>,
    /// Groups that were a series' home and may still hold samples of it.
    former: HashMap<u32, Vec<u32>>,
}

impl Register {
    pub(super) fn len(&self) -> usize {
        self.by_labels.len()
    }

    pub(super) fn find(&self, labels: &Labels) -> Option<SeriesRef> {
        let labels = labels.as_bytes();
        self.find_hashed(self.hash(labels), labels)
    }

    fn find_hashed(&self, hash: u32, labels: &[u8]) -> Option<SeriesRef> {
        let id = *self.by_labels.find(spread(hash), |&id| {
            self.records[id as usize].hash == hash && self.has_labels(id, labels)
        })?;
        Some(self.reference(id))
    }

    /// Adds a series that is not there.
    pub(super) fn insert(&mut self, labels: &Labels) -> SeriesRef {
        let (id, generation) = match self.free.pop() {
            Some(id) => (id, self.records[id as usize].generation + 1),
            None => (self.records.len() as u32, 0),
        };
        let hash = self.hash(labels.as_bytes());
        let row = self.index.add(id, labels);
        self.place(SeriesRef { id: SeriesId(id), generation }, hash, row, false);
        self.reference(id)
    }

    /// Puts a series where the log or a checkpoint says it was. `false` where the id is taken by
    /// another series.
    ///
    /// The log does not tell when a series leaves, and a replay may begin before what the
    /// checkpoint holds. So labels may be named with one id after another, and the last one
    /// counts; one that the checkpoint had already gets its home back when its turn comes.
    pub(super) fn restore(&mut self, series: SeriesRef, labels: &Labels) -> bool {
        let add = |index: &mut LiveIndex| index.add(series.id.0, labels);
        self.restore_row(series, labels.as_bytes(), add)
    }

    /// [`Self::restore`], of canonical label bytes with their symbols, which somebody holds.
    pub(super) fn restore_pairs(
        &mut self,
        series: SeriesRef,
        labels: &[u8],
        pairs: &[(u32, u32)],
    ) -> bool {
        self.restore_row(series, labels, |index| index.add_pairs(series.id.0, pairs))
    }

    fn restore_row(
        &mut self,
        series: SeriesRef,
        labels: &[u8],
        add: impl FnOnce(&mut LiveIndex) -> Row,
    ) -> bool {
        let hash = self.hash(labels);
        match self.find_hashed(hash, labels) {
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
        let record = self.records.get(series.id.0 as usize);
        if record.is_some_and(Record::is_live) {
            return false;
        }
        let is_back = |r: &&Record| r.generation == series.generation && r.hash == hash;
        let home = record.filter(is_back).map(|r| r.home);
        let row = add(&mut self.index);
        self.place(series, hash, row, true);
        if let Some(home) = home {
            self.records[series.id.0 as usize].home = home;
        }
        true
    }

    /// Enters a series whose row is there.
    fn place(&mut self, series: SeriesRef, hash: u32, row: Row, logged: bool) {
        let id = series.id.0;
        for pair in counted_pairs(&self.index, row) {
            *self.counts.entry(pair).or_insert(0) += 1;
        }
        while self.records.len() <= id as usize {
            self.records.push(Record::VACANT);
        }
        self.logged.resize_with(self.records.len().div_ceil(64), AtomicU64::default);
        let home = Home { group: HOMELESS, slot: 0 };
        self.records[id as usize] = Record { hash, row, generation: series.generation, home };
        let bit = 1 << (id % 64);
        let logged_bits = self.logged[id as usize / 64].get_mut();
        *logged_bits = if logged { *logged_bits | bit } else { *logged_bits & !bit };
        let records = &self.records;
        self.by_labels.insert_unique(spread(hash), id, |&id| spread(records[id as usize].hash));
    }

    fn hash(&self, labels: &[u8]) -> u32 {
        self.hasher.hash_one(labels) as u32
    }

    /// Number of series with this job or metric name.
    pub(super) fn count_of(&self, name: &str, value: &str) -> u64 {
        let symbols = &self.index.symbols;
        let pair = symbols.find(name).zip(symbols.find(value));
        pair.and_then(|pair| self.counts.get(&pair)).map_or(0, |&count| u64::from(count))
    }

    /// The series now behind a reference; `None` when it has left.
    pub(super) fn home(&self, series: SeriesRef) -> Option<Home> {
        let record = self.records.get(series.id.0 as usize)?;
        (record.is_live() && record.generation == series.generation).then_some(record.home)
    }

    pub(super) fn home_of(&self, id: u32) -> Option<Home> {
        self.records.get(id as usize).filter(|r| r.is_live()).map(|r| r.home)
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

    /// Series that have ended, each with the group that is its home.
    pub(super) fn ended(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        let home = |id: u32| (id, self.records[id as usize].home);
        let ended = self.ids().map(home).filter(|(_, home)| home.has_ended());
        ended.map(|(id, home)| (id, home.group))
    }

    /// Of tables that were read, or a part that was replayed: a series without a home that lived in
    /// a group which is `there` has ended in it.
    pub(super) fn end_homeless(&mut self, there: impl Fn(u32) -> bool) {
        let homes: Vec<(u32, u32)> = self
            .former
            .iter()
            .filter(|(id, _)| self.home_of(**id).is_some_and(|home| home.group == HOMELESS))
            .filter_map(|(&id, groups)| Some((id, *groups.iter().find(|group| there(**group))?)))
            .collect();
        for (id, group) in homes {
            self.records[id as usize].home = Home { group, slot: NO_SLOT };
            if let Some(groups) = self.former.get_mut(&id) {
                groups.retain(|&other| other != group);
                if groups.is_empty() {
                    self.former.remove(&id);
                }
            }
        }
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
        self.logged[id as usize / 64].load(Ordering::Acquire) >> (id % 64) & 1 == 1
    }

    pub(super) fn set_logged(&self, id: u32) {
        if let Some(bits) = self.logged.get(id as usize / 64) {
            bits.fetch_or(1 << (id % 64), Ordering::AcqRel);
        }
    }

    pub(super) fn is_live(&self, id: u32) -> bool {
        self.records.get(id as usize).is_some_and(Record::is_live)
    }

    pub(super) fn reference(&self, id: u32) -> SeriesRef {
        SeriesRef { id: SeriesId(id), generation: self.records[id as usize].generation }
    }

    /// Numbers of all series, ascending.
    pub(super) fn ids(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.records.len() as u32).filter(|&id| self.is_live(id))
    }

    /// (name, value) symbols of a live series, in the order of names.
    pub(super) fn pairs(&self, id: u32) -> Option<impl Iterator<Item = (u32, u32)> + '_> {
        let record = self.records.get(id as usize).filter(|record| record.is_live())?;
        Some(self.index.rows.pairs(record.row))
    }

    /// Bodies of two records of a checkpoint: the symbols of these series, and the series.
    pub(super) fn symbols_and_series(&self, ids: &[u32]) -> (Vec<u8>, Vec<u8>) {
        let (mut symbols, mut series) = (Vec::new(), Vec::new());
        let mut numbers: HashMap<u32, u32> = HashMap::new();
        let mut previous = 0;
        for &id in ids.iter().filter(|&&id| self.is_live(id)) {
            let record = &self.records[id as usize];
            write_uvarint(&mut series, u64::from(id - previous));
            previous = id;
            write_uvarint(&mut series, u64::from(record.generation));
            let pairs: Vec<(u32, u32)> = self.index.rows.pairs(record.row).collect();
            write_uvarint(&mut series, pairs.len() as u64);
            for symbol in pairs.into_iter().flat_map(|(name, value)| [name, value]) {
                let next = numbers.len() as u32;
                let number = *numbers.entry(symbol).or_insert(next);
                if number == next {
                    write_str(&mut symbols, self.index.symbols.text(symbol));
                }
                write_uvarint(&mut series, u64::from(number));
            }
        }
        (symbols, series)
    }

    /// Appends the canonical label bytes of a live series.
    pub(super) fn write_labels(&self, id: u32, out: &mut Vec<u8>) {
        for (name, value) in self.index.rows.pairs(self.records[id as usize].row) {
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
        let record = &mut self.records[id as usize];
        let row = std::mem::replace(&mut record.row, Record::VACANT.row);
        let hash = record.hash;
        for pair in counted_pairs(&self.index, row) {
            if let Some(count) = self.counts.get_mut(&pair) {
                *count -= 1;
                if *count == 0 {
                    self.counts.remove(&pair);
                }
            }
        }
        self.index.remove(id, row);
        self.former.remove(&id);
        if let Ok(found) = self.by_labels.find_entry(spread(hash), |&other| other == id) {
            found.remove();
        }
        self.resting.push((id, segment, file));
        let living = self.records.iter_mut().filter(|record| record.is_live());
        self.index.rows.tidy(living.map(|record| &mut record.row));
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
            self.records.push(Record::VACANT);
        }
        for id in 0..self.records.len() as u32 {
            if !self.is_live(id) {
                self.resting.push((id, segment, file));
            }
        }
    }

    /// Adds the bytes on the heap, roughly, the index included.
    pub(super) fn measure(&self, memory: &mut HeadMemory) {
        let series = self.records.capacity() * size_of::<Record>()
            + self.logged.capacity() * 8
            + self.index.rows.heap_bytes()
            + self.by_labels.capacity() * 5
            + self.former.capacity() * size_of::<(u32, Vec<u32>)>();
        memory.series += series as u64;
        memory.symbols += self.index.symbols.heap_bytes() as u64;
        memory.postings += self.index.heap_bytes() as u64;
    }

    fn has_labels(&self, id: u32, labels: &[u8]) -> bool {
        let symbols = &self.index.symbols;
        let text = |symbol| symbols.text(symbol).as_bytes();
        let pairs = self.index.rows.pairs(self.records[id as usize].row);
        pairs.map(|(n, v)| (text(n), text(v))).eq(Labels::pairs_of(labels))
    }
}

impl Record {
    const VACANT: Self = Self {
        hash: 0,
        row: Row { at: 0, shape: VACANT },
        generation: 0,
        home: Home { group: HOMELESS, slot: 0 },
    };

    fn is_live(&self) -> bool {
        self.row.shape != VACANT
    }
}

/// The pairs of a row that series are counted by.
fn counted_pairs(index: &LiveIndex, row: Row) -> impl Iterator<Item = (u32, u32)> + use<'_> {
    let is_counted = |pair: &(u32, u32)| matches!(index.symbols.text(pair.0), METRIC_NAME | JOB);
    index.rows.pairs(row).filter(is_counted)
}

/// The table takes its bits from both ends of a hash.
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::lists::Ids;

    fn labels(i: u32) -> Labels {
        Labels::from_pairs([("__name__", "m".to_owned()), ("i", i.to_string())])
    }

    #[test]
    fn series_are_found_by_labels_and_told_apart_by_generation() {
        let mut register = Register::default();
        let refs: Vec<_> = (0..1000).map(|i| register.insert(&labels(i))).collect();
        assert_eq!(register.find(&labels(7)), Some(refs[7]));
        assert_eq!(register.labels(7), Some(labels(7)));
        register.index.fold();
        assert_eq!(register.index.ids("__name__", "m").map(Ids::len), Some(1000));
        register.remove(7, 5, 3);
        assert_eq!(register.find(&labels(7)), None);
        assert_eq!(register.home(refs[7]), None);
        assert!(register.index.ids("i", "7").is_none());
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
        assert!(register.index.rows.values_len() < 60_000);
        assert_eq!(register.len(), 10_000);
    }
}
