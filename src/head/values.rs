//! The values of one label name in the order of their texts.
//!
//! Prefixes and automata look at ranges of values, so they have to be sorted; new values come all
//! the time, so they wait in a short tail until there are enough of them to be worth moving the
//! rest. A value whose last series left stays as *dead* until there are enough of those.
//! INVARIANT: each value here, dead ones included, is held: its symbol keeps its text.

use std::ops::Range;

use hashbrown::HashSet;

use super::symbols::Symbols;

/// Longest tail, beside a share of what is sorted.
const TAIL_MIN: usize = 1024;
/// Dead values that are kept, beside a share of all.
const DEAD_MIN: usize = 64;

/// Values of one label name, as symbols.
#[derive(Debug, Default)]
pub(super) struct SortedValues {
    sorted: Vec<u32>,
    tail: Vec<u32>,
    dead: HashSet<u32>,
}

impl SortedValues {
    /// Adds values that came, or came back.
    pub(super) fn add(&mut self, values: impl Iterator<Item = u32>, symbols: &mut Symbols) {
        for value in values {
            if !self.dead.remove(&value) {
                symbols.hold(value);
                self.tail.push(value);
            }
        }
        if self.tail.len() > TAIL_MIN + self.sorted.len() / 64 {
            self.merge(symbols);
        }
    }

    /// Notes that a value has no series any more.
    pub(super) fn bury(&mut self, value: u32, symbols: &mut Symbols) {
        self.dead.insert(value);
        if self.dead.len() <= DEAD_MIN + (self.sorted.len() + self.tail.len()) / 4 {
            return;
        }
        let dead = std::mem::take(&mut self.dead);
        for list in [&mut self.sorted, &mut self.tail] {
            list.retain(|value| !dead.contains(value));
        }
        dead.into_iter().for_each(|value| symbols.release(value));
    }

    /// Gives all holds back.
    pub(super) fn clear(&mut self, symbols: &mut Symbols) {
        let Self { sorted, tail, .. } = std::mem::take(self);
        sorted.into_iter().chain(tail).for_each(|value| symbols.release(value));
    }

    pub(super) fn is_dead(&self, value: u32) -> bool {
        self.dead.contains(&value)
    }

    /// Values that are in no order yet.
    pub(super) fn tail(&self) -> &[u32] {
        &self.tail
    }

    /// The values at these places of the order.
    pub(super) fn sorted(&self, places: Range<usize>) -> &[u32] {
        &self.sorted[places]
    }

    /// The places of the sorted values that begin with `prefix`.
    pub(super) fn with_prefix(&self, prefix: &str, symbols: &Symbols) -> Range<usize> {
        let start = self.sorted.partition_point(|&value| symbols.text(value) < prefix);
        let rest = &self.sorted[start..];
        let count = rest.partition_point(|&value| symbols.text(value).starts_with(prefix));
        start..start + count
    }

    /// The first place within `places` whose text is above `text`.
    pub(super) fn after(&self, text: &str, places: Range<usize>, symbols: &Symbols) -> usize {
        let within = &self.sorted[places.clone()];
        places.start + within.partition_point(|&value| symbols.text(value) <= text)
    }

    /// Puts the tail in its place.
    fn merge(&mut self, symbols: &Symbols) {
        let mut tail = std::mem::take(&mut self.tail);
        tail.sort_unstable_by(|&a, &b| symbols.text(a).cmp(symbols.text(b)));
        let mut end = self.sorted.len();
        self.sorted.resize(end + tail.len(), 0);
        // From the last: each of the tail's values moves those above it to where they stay.
        for (below, &value) in tail.iter().enumerate().rev() {
            let text = symbols.text(value);
            let at = self.sorted[..end].partition_point(|&other| symbols.text(other) < text);
            self.sorted.copy_within(at..end, at + below + 1);
            self.sorted[at + below] = value;
            end = at;
        }
    }

    /// Bytes on the heap, roughly.
    pub(super) fn heap_bytes(&self) -> usize {
        (self.sorted.capacity() + self.tail.capacity()) * 4 + self.dead.capacity() * 5
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_into_order_and_go() {
        let mut symbols = Symbols::default();
        let mut values = SortedValues::default();
        for i in (0..5000).rev() {
            let value = symbols.intern(&format!("{:04}", i * 7 % 5000));
            values.add([value].into_iter(), &mut symbols);
            symbols.release(value);
        }
        values.merge(&symbols);
        let all: Vec<String> =
            values.sorted(0..5000).iter().map(|&v| symbols.text(v).to_owned()).collect();
        assert!(all.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(values.with_prefix("12", &symbols), 1200..1300);
        assert_eq!(values.after("1205", 1200..1300, &symbols), 1206);
        assert_eq!(values.after("12055", 1200..1300, &symbols), 1206);
        for text in &all[..3000] {
            let value = symbols.find(text).unwrap();
            values.bury(value, &mut symbols);
        }
        assert!(symbols.len() < 5000 - 1000, "texts that nobody has are let go");
        let back = symbols.find("2999").unwrap();
        values.add([back].into_iter(), &mut symbols);
        assert!(!values.is_dead(back));
        values.clear(&mut symbols);
        assert_eq!(symbols.len(), 0);
    }
}
