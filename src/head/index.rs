//! The live index as others see it.
//!
//! Whoever resolves matchers against the head must not keep new series waiting, and behind them
//! every commit. So nothing here holds the register's lock while a caller's code runs: values and
//! rows are copied out a slice at a time, judged without the lock, and looked up again. What comes
//! or goes meanwhile may be seen or not; what is there all the time is found.

use roaring::RoaringBitmap;

use super::Head;
use super::folded::Name;
use super::lists::Ids;
use super::postings::LiveIndex;
use crate::index::{Judged, LabelIndex, Visit};

/// Values copied under one lock: the first slice is short, for those who need only a few.
const SLICE_MIN: usize = 32;
const SLICE_MAX: usize = 2048;
/// Bytes of text after which a slice ends early.
const SLICE_BYTES_MAX: usize = 1 << 17;
/// Series of which rows are copied under one lock.
const ROWS_PER_LOCK: usize = 1024;
/// Ids collected before they are united.
const IDS_MAX: usize = 1 << 16;

/// The labels of the series in the head; series are [`super::SeriesId`] numbers.
#[derive(Debug, Clone, Copy)]
pub struct HeadIndex<'a>(&'a Head);

impl Head {
    /// The index of the head's labels.
    pub fn index(&self) -> HeadIndex<'_> {
        HeadIndex(self)
    }
}

impl HeadIndex<'_> {
    /// Number of label pairs.
    pub fn pairs_len(self) -> usize {
        self.read(LiveIndex::pairs_len)
    }

    fn read<T>(self, read: impl FnOnce(&LiveIndex) -> T) -> T {
        read(&self.0.register_folded().index)
    }

    /// Adds the series of values that a walk stands at to `union`; ids of short lists wait in
    /// `few`.
    fn unite(
        self,
        walk: &ValueWalk<'_>,
        taken: &[usize],
        union: &mut RoaringBitmap,
        few: &mut Vec<u32>,
    ) {
        self.read(|index| {
            let Some(name) = index.name(walk.name) else { return };
            for &n in taken {
                let (symbol, text) = walk.value(n);
                // Its number may mean something else by now.
                let symbol = index.symbols.is(symbol, text).then_some(symbol);
                match symbol.and_then(|symbol| index.ids_of(name, symbol)) {
                    Some(Ids::One(id)) => few.push(*id),
                    Some(Ids::Few(ids)) => few.extend_from_slice(ids),
                    Some(Ids::Many(ids)) => *union |= &**ids,
                    None => {}
                }
            }
        });
        if few.len() >= IDS_MAX {
            add_few(union, few);
        }
    }
}

fn add_few(union: &mut RoaringBitmap, few: &mut Vec<u32>) {
    few.sort_unstable();
    few.dedup();
    *union |= few.drain(..).collect::<RoaringBitmap>();
}

impl LabelIndex for HeadIndex<'_> {
    fn all(&self) -> RoaringBitmap {
        self.0.register_read().index.all().clone()
    }

    fn postings(&self, name: &str, value: &str) -> RoaringBitmap {
        self.read(|index| index.ids(name, value).map(Ids::to_bitmap).unwrap_or_default())
    }

    fn postings_len(&self, name: &str, value: &str) -> u64 {
        self.read(|index| index.ids(name, value).map_or(0, Ids::len))
    }

    fn values_len(&self, name: &str) -> u64 {
        self.read(|index| index.name(name).map_or(0, |name| name.len() as u64))
    }

    fn visit_values(&self, name: &str, prefix: &str, visit: &mut dyn FnMut(&str) -> Visit) {
        let mut walk = ValueWalk::new(name, prefix);
        while walk.advance(self.0) {
            for n in 0..walk.len() {
                let (_, text) = walk.value(n);
                if walk.is_passed(text) {
                    continue;
                }
                match visit(text) {
                    Visit::Next => {}
                    Visit::Past(len) => walk.pass(n, len),
                    Visit::Stop => return,
                }
            }
        }
    }

    fn visit_names(&self, visit: &mut dyn FnMut(&str)) {
        let names: Vec<String> =
            self.read(|index| index.names().map(|(name, _)| name.to_owned()).collect());
        for name in &names {
            visit(name);
        }
    }

    fn union(
        &self,
        name: &str,
        prefix: &str,
        judge: &mut dyn FnMut(&str) -> Judged,
    ) -> RoaringBitmap {
        let (mut union, mut few) = (RoaringBitmap::new(), Vec::new());
        let mut walk = ValueWalk::new(name, prefix);
        let mut taken = Vec::new();
        while walk.advance(self.0) {
            taken.clear();
            for n in 0..walk.len() {
                let (_, text) = walk.value(n);
                if walk.is_passed(text) {
                    continue;
                }
                match judge(text) {
                    Judged::Taken => taken.push(n),
                    Judged::Refused => {}
                    Judged::RefusedPrefix(len) => walk.pass(n, len),
                    Judged::Stop => return union,
                }
            }
            if !taken.is_empty() {
                self.unite(&walk, &taken, &mut union, &mut few);
            }
        }
        add_few(&mut union, &mut few);
        union
    }

    fn carriers(&self, name: &str) -> RoaringBitmap {
        let register = self.0.register_read();
        let index = &register.index;
        let Some(name) = index.symbols.find(name) else { return RoaringBitmap::new() };
        let shapes = index.rows.shapes().filter(|shape| shape.names.contains(&name));
        shapes.fold(RoaringBitmap::new(), |union, shape| union | &shape.series)
    }

    fn rows_cost(&self, series: u64) -> u64 {
        series
    }

    fn visit_rows(&self, series: &RoaringBitmap, name: &str, visit: &mut dyn FnMut(u32, &str)) {
        let (mut text, mut rows) = (String::new(), Vec::new());
        let mut ids = series.iter().peekable();
        while ids.peek().is_some() {
            text.clear();
            rows.clear();
            {
                let register = self.0.register_read();
                let symbols = &register.index.symbols;
                let wanted = symbols.find(name);
                for id in ids.by_ref().take(ROWS_PER_LOCK) {
                    let Some(mut pairs) = register.pairs(id) else { continue };
                    let value = wanted.and_then(|wanted| pairs.find(|pair| pair.0 == wanted));
                    text.push_str(value.map_or("", |(_, value)| symbols.text(value)));
                    rows.push((id, text.len()));
                    if text.len() >= SLICE_BYTES_MAX {
                        break;
                    }
                }
            }
            let mut begin = 0;
            for &(id, end) in &rows {
                visit(id, &text[begin..end]);
                begin = end;
            }
        }
    }

    fn names_of(&self, series: &RoaringBitmap) -> Vec<String> {
        let register = self.0.register_read();
        let index = &register.index;
        let shapes = index.rows.shapes().filter(|shape| !shape.series.is_disjoint(series));
        let mut names: Vec<u32> = shapes.flat_map(|shape| shape.names.iter().copied()).collect();
        names.sort_unstable();
        names.dedup();
        names.into_iter().map(|name| index.symbols.text(name).to_owned()).collect()
    }
}

/// A walk over the values of one label name, slice by slice: first those that are in no order,
/// then the others by their texts. What moves from the former to the latter meanwhile is met
/// twice, and never missed.
#[derive(Debug)]
pub(super) struct ValueWalk<'a> {
    name: &'a str,
    prefix: &'a str,
    text: String,
    values: Vec<Met>,
    size: usize,
    state: State,
    /// Values that begin so are passed over.
    passed: Vec<u8>,
}

/// A value of the slice.
#[derive(Debug)]
struct Met {
    symbol: u32,
    begin: usize,
    end: usize,
    series: u64,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Tail,
    Sorted,
    /// Behind this text.
    After(String),
    End,
}

impl<'a> ValueWalk<'a> {
    pub(super) fn new(name: &'a str, prefix: &'a str) -> Self {
        Self {
            name,
            prefix,
            text: String::new(),
            values: Vec::new(),
            size: SLICE_MIN,
            state: State::Tail,
            passed: Vec::new(),
        }
    }

    /// Copies the next slice; false at the end. A slice may be empty.
    pub(super) fn advance(&mut self, head: &Head) -> bool {
        self.text.clear();
        self.values.clear();
        let register = head.register_folded();
        let index = &register.index;
        let Some(name) = index.name(self.name) else { return false };
        match std::mem::replace(&mut self.state, State::End) {
            State::End => return false,
            State::Tail => {
                for &value in name.values.tail() {
                    if index.symbols.text(value).starts_with(self.prefix) {
                        self.take(index, name, value);
                    }
                }
                self.state = State::Sorted;
            }
            State::Sorted => {
                // What was passed over so far was in no order.
                self.passed.clear();
                self.take_sorted(index, name, None);
            }
            State::After(text) => self.take_sorted(index, name, Some(&text)),
        }
        true
    }

    fn take_sorted(&mut self, index: &LiveIndex, name: &Name, after: Option<&str>) {
        let (values, symbols) = (&name.values, &index.symbols);
        let mut places = values.with_prefix(self.prefix, symbols);
        if let Some(after) = after {
            places.start = values.after(after, places.clone(), symbols);
        }
        if !self.passed.is_empty() {
            let rest = values.sorted(places.clone());
            let is_passed = |value: &u32| self.is_passed(symbols.text(*value));
            places.start += rest.partition_point(is_passed);
        }
        for &value in values.sorted(places.start..places.end.min(places.start + self.size)) {
            self.take(index, name, value);
            places.start += 1;
            if self.text.len() >= SLICE_BYTES_MAX {
                break;
            }
        }
        if !places.is_empty() {
            let last = values.sorted(places.start - 1..places.start)[0];
            self.state = State::After(symbols.text(last).to_owned());
        }
        self.size = (self.size * 2).min(SLICE_MAX);
    }

    fn take(&mut self, index: &LiveIndex, name: &Name, symbol: u32) {
        if name.values.is_dead(symbol) {
            return;
        }
        let begin = self.text.len();
        self.text.push_str(index.symbols.text(symbol));
        let series = index.ids_of(name, symbol).map_or(0, Ids::len);
        self.values.push(Met { symbol, begin, end: self.text.len(), series });
    }

    /// Number of values of the slice.
    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    /// Symbol and text of a value of the slice.
    fn value(&self, n: usize) -> (u32, &str) {
        let met = &self.values[n];
        (met.symbol, &self.text[met.begin..met.end])
    }

    /// Text of a value of the slice, and how many series have it.
    pub(super) fn counted(&self, n: usize) -> (&str, u64) {
        (self.value(n).1, self.values[n].series)
    }

    /// Passes over what begins with the first `len` bytes of a value of the slice.
    fn pass(&mut self, n: usize, len: usize) {
        self.passed.clear();
        let met = &self.values[n];
        self.passed.extend_from_slice(&self.text.as_bytes()[met.begin..met.end][..len]);
    }

    fn is_passed(&self, text: &str) -> bool {
        !self.passed.is_empty() && text.as_bytes().starts_with(&self.passed)
    }
}
