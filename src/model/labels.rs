//! Label sets: sorted, duplicate-free, cheap to clone and to compare.
//!
//! A [`Labels`] is one shared byte string: for each pair, in order of names, the name and the
//! value, each as (LEB128 length, UTF-8 bytes). INVARIANT: names strictly ascend, no value is
//! empty (a label with an empty value is the same as no label), all text is UTF-8. Equal label
//! sets therefore have equal bytes, and the bytes serve as key, as hash input and as log record.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use super::name::is_legacy_label_name;

/// An immutable label set. Cloning shares the bytes.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Labels(Arc<[u8]>);

impl Labels {
    /// The empty set.
    pub fn empty() -> Self {
        Self(Arc::from([]))
    }

    /// Builds a set from pairs in any order; of pairs with one name the last wins, empty values
    /// are left out.
    pub fn from_pairs<N: AsRef<str>, V: AsRef<str>>(
        pairs: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        let mut builder = LabelsBuilder::new();
        for (name, value) in pairs {
            builder.set(name.as_ref(), value.as_ref());
        }
        builder.build()
    }

    /// Takes back bytes that [`Labels::as_bytes`] gave, as a log or an index stores them.
    /// `None` unless the invariant of the type holds.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Self::are_canonical(bytes).then(|| Self(Arc::from(bytes)))
    }

    /// Whether these are bytes of a label set: the invariant of the type holds.
    pub fn are_canonical(bytes: &[u8]) -> bool {
        check(bytes).is_some()
    }

    /// The pairs of bytes that are canonical.
    pub fn pairs_of(bytes: &[u8]) -> LabelsBytes<'_> {
        LabelsBytes { rest: bytes }
    }

    /// The canonical bytes; see the module's description.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Pairs in ascending order of names.
    pub fn iter(&self) -> LabelsIter<'_> {
        LabelsIter { rest: &self.0 }
    }

    /// The pairs as bytes, for comparisons: cheaper than [`Labels::iter`], in the same order.
    pub fn iter_bytes(&self) -> LabelsBytes<'_> {
        Self::pairs_of(&self.0)
    }

    /// The value of `name`; `None` where the set has no such label.
    pub fn get(&self, name: &str) -> Option<&str> {
        let name = name.as_bytes();
        let (_, value) = self.iter_bytes().take_while(|(n, _)| *n <= name).find(|p| p.0 == name)?;
        std::str::from_utf8(value).ok()
    }

    /// The value of `__name__`, or the empty string.
    pub fn metric_name(&self) -> &str {
        self.get(super::METRIC_NAME).unwrap_or("")
    }

    /// Number of pairs. Linear in the size of the set.
    pub fn len(&self) -> usize {
        self.iter_bytes().count()
    }

    /// Whether the set has no pair.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The set without the labels for which `drop` says true.
    #[must_use]
    pub fn without(&self, drop: impl Fn(&str) -> bool) -> Self {
        let mut bytes = Vec::with_capacity(self.0.len());
        let mut rest = &self.0[..];
        while !rest.is_empty() {
            let pair = rest;
            let (Some(name), Some(_)) = (take_str(&mut rest), take_bytes(&mut rest)) else { break };
            if !drop(name) {
                bytes.extend_from_slice(&pair[..pair.len() - rest.len()]);
            }
        }
        Self(Arc::from(bytes))
    }
}

impl<'a> IntoIterator for &'a Labels {
    type Item = (&'a str, &'a str);
    type IntoIter = LabelsIter<'a>;

    fn into_iter(self) -> LabelsIter<'a> {
        self.iter()
    }
}

/// Prometheus's order: by pairs, names before values; a set that is a prefix of another is less.
impl Ord for Labels {
    fn cmp(&self, other: &Self) -> Ordering {
        if Arc::ptr_eq(&self.0, &other.0) {
            return Ordering::Equal;
        }
        compare(&self.0, &other.0)
    }
}

/// `None` where bytes are not canonical.
fn check(bytes: &[u8]) -> Option<()> {
    let mut rest = bytes;
    let mut previous: Option<&[u8]> = None;
    // One look at all bytes is much cheaper than one at each text.
    let is_text = if bytes.is_ascii() { |_: &[u8]| true } else { is_utf8 };
    while !rest.is_empty() {
        let name = take_bytes(&mut rest)?;
        let value = take_bytes(&mut rest)?;
        // UTF-8 has the order of its bytes.
        if value.is_empty() || previous.is_some_and(|p| p >= name) {
            return None;
        }
        if !is_text(name) || !is_text(value) {
            return None;
        }
        previous = Some(name);
    }
    Some(())
}

/// The order of two sets by their canonical bytes. What they have in common, as sets that are
/// sorted together have, is passed over sixteen bytes at a time; one text is compared then.
fn compare(a: &[u8], b: &[u8]) -> Ordering {
    let same = equal_prefix(a, b);
    if same == a.len().min(b.len()) {
        return a.len().cmp(&b.len());
    }
    let mut rest = a;
    loop {
        let at = a.len() - rest.len();
        let text = take_bytes(&mut rest).unwrap_or_default();
        if a.len() - rest.len() > same || rest.is_empty() {
            return text.cmp(take_bytes(&mut &b[at..]).unwrap_or_default());
        }
    }
}

/// Number of bytes at the beginning that both have.
fn equal_prefix(a: &[u8], b: &[u8]) -> usize {
    let (words_a, words_b) = (a.as_chunks::<16>().0, b.as_chunks::<16>().0);
    let at = words_a.iter().zip(words_b).take_while(|(a, b)| a == b).count() * 16;
    at + a[at..].iter().zip(&b[at..]).take_while(|(a, b)| a == b).count()
}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// `{a="1", b="2"}` with Go's quoting of values, as Prometheus prints label sets.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (i, (name, value)) in self.iter().enumerate() {
            let separator = if i == 0 { "" } else { ", " };
            // COMPAT: names beyond letters, digits and `_` stand in quotes.
            if is_legacy_label_name(name) {
                write!(f, "{separator}{name}={value:?}")?;
            } else {
                write!(f, "{separator}{name:?}={value:?}")?;
            }
        }
        f.write_str("}")
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Iterator over the pairs of a [`Labels`].
#[derive(Clone)]
pub struct LabelsIter<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for LabelsIter<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let name = take_str(&mut self.rest)?;
        let value = take_str(&mut self.rest)?;
        Some((name, value))
    }
}

/// Iterator over the pairs of a [`Labels`] as bytes.
#[derive(Clone)]
pub struct LabelsBytes<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for LabelsBytes<'a> {
    type Item = (&'a [u8], &'a [u8]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let name = take_bytes(&mut self.rest)?;
        let value = take_bytes(&mut self.rest)?;
        Some((name, value))
    }
}

/// Collects labels in any order and turns them into a [`Labels`].
#[derive(Debug, Default, Clone)]
pub struct LabelsBuilder {
    pairs: Vec<(String, String)>,
}

impl LabelsBuilder {
    /// An empty builder.
    pub fn new() -> Self {
        Self::default()
    }

    /// A builder that starts with the pairs of `labels`.
    pub fn from_labels(labels: &Labels) -> Self {
        Self { pairs: labels.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect() }
    }

    /// Sets `name` to `value`; an empty value removes the label.
    pub fn set(&mut self, name: &str, value: &str) -> &mut Self {
        match self.pairs.iter_mut().find(|(n, _)| n == name) {
            Some(pair) => value.clone_into(&mut pair.1),
            None => self.pairs.push((name.to_owned(), value.to_owned())),
        }
        self
    }

    /// Removes `name`.
    pub fn remove(&mut self, name: &str) -> &mut Self {
        self.pairs.retain(|(n, _)| n != name);
        self
    }

    /// The current value of `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// The pairs collected so far, in no particular order; values may be empty.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(n, v)| (n.as_str(), v.as_str()))
    }

    /// The finished set.
    pub fn build(mut self) -> Labels {
        self.pairs.retain(|(_, value)| !value.is_empty());
        self.pairs.sort_unstable();
        let mut bytes = Vec::new();
        for (name, value) in &self.pairs {
            push_str(&mut bytes, name);
            push_str(&mut bytes, value);
        }
        Labels(Arc::from(bytes))
    }
}

fn push_str(bytes: &mut Vec<u8>, text: &str) {
    let mut length = text.len();
    while length >= 0x80 {
        bytes.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
    bytes.extend_from_slice(text.as_bytes());
}

fn is_utf8(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok()
}

fn take_str<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    std::str::from_utf8(take_bytes(rest)?).ok()
}

#[inline]
fn take_bytes<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = match rest.split_first()? {
        (&byte, tail) if byte < 0x80 => {
            *rest = tail;
            usize::from(byte)
        }
        _ => take_length(rest)?,
    };
    let (text, tail) = rest.split_at_checked(length)?;
    *rest = tail;
    Some(text)
}

/// A length of more than one byte.
#[cold]
fn take_length(rest: &mut &[u8]) -> Option<usize> {
    let mut length = 0_usize;
    let mut shift = 0;
    loop {
        let (&byte, tail) = rest.split_first()?;
        *rest = tail;
        length |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            // A longer spelling of the same length would break "equal sets have equal bytes".
            return (byte > 0 || shift == 0).then_some(length);
        }
        shift += 7;
        if shift > 28 {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_sorted_and_empty_values_dropped() {
        let labels = Labels::from_pairs([("b", "2"), ("a", "1"), ("c", "")]);
        assert_eq!(labels.iter().collect::<Vec<_>>(), [("a", "1"), ("b", "2")]);
        assert_eq!(labels.get("b"), Some("2"));
        assert_eq!(labels.get("c"), None);
        assert_eq!(labels.to_string(), r#"{a="1", b="2"}"#);
    }

    #[test]
    fn bytes_round_trip_and_bad_bytes_are_refused() {
        let long = "x".repeat(300);
        let labels = Labels::from_pairs([("a", long.as_str()), ("b", "2")]);
        assert_eq!(Labels::from_bytes(labels.as_bytes()), Some(labels));
        assert_eq!(Labels::from_bytes(&[1, b'b', 1, b'1', 1, b'a', 1, b'1']), None);
        assert_eq!(Labels::from_bytes(&[1, b'a', 0]), None);
        assert_eq!(Labels::from_bytes(&[0x81, 0, b'a', 1, b'1']), None);
        assert_eq!(Labels::from_bytes(&[200]), None);
    }

    #[test]
    fn text_is_utf8_and_compared_by_bytes() {
        let greek = Labels::from_pairs([("job", "α"), ("λ", "x"), ("z", "1")]);
        assert_eq!(Labels::from_bytes(greek.as_bytes()), Some(greek.clone()));
        assert_eq!(greek.get("λ"), Some("x"));
        let (texts, bytes) = (greek.iter(), greek.iter_bytes());
        assert!(texts.map(|(n, v)| (n.as_bytes(), v.as_bytes())).eq(bytes));
        assert_eq!(greek.without(|name| name == "λ").to_string(), r#"{job="α", z="1"}"#);
        assert_eq!(Labels::from_bytes(&[1, b'a', 1, 0xff]), None);
        assert_eq!(Labels::from_bytes(&[1, 0xff, 1, b'a']), None);
        // Together they are a letter, apart they are none.
        assert_eq!(Labels::from_bytes(&[1, 0xce, 1, 0xb1]), None);
    }

    #[test]
    fn order_is_by_pairs() {
        let a = Labels::from_pairs([("a", "1")]);
        let ab = Labels::from_pairs([("a", "1"), ("b", "1")]);
        let long = Labels::from_pairs([("a", &"1".repeat(200))]);
        assert!(a < ab && ab < long && Labels::empty() < a);
    }

    proptest::proptest! {
        /// However long their texts are, and wherever they begin to differ.
        #[test]
        fn order_is_that_of_the_pairs(
            a in proptest::collection::btree_map("[ab]{1,3}", "[xy]{1,3}|x{100,140}[xy]", 0..5),
            b in proptest::collection::btree_map("[ab]{1,3}", "[xy]{1,3}|x{100,140}[xy]", 0..5),
        ) {
            let (left, right) = (Labels::from_pairs(&a), Labels::from_pairs(&b));
            proptest::prop_assert_eq!(left.cmp(&right), a.cmp(&b));
        }
    }
}
