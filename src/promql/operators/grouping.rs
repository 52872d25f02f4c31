//! Which group of an aggregation a series belongs to.
//!
//! A group's key is the canonical bytes of its labels, so the labels come from the key.

use hashbrown::HashMap;

use crate::model::{Labels, METRIC_NAME};
use crate::promql::columns::is_metadata;

/// The clause `by (…)` or `without (…)`.
#[derive(Debug)]
pub(crate) struct Grouping {
    names: Vec<String>,
    without: bool,
}

/// Numbers groups in the order in which they are first seen.
#[derive(Debug)]
pub(crate) struct Groups {
    grouping: Grouping,
    ordinals: HashMap<Box<[u8]>, u32>,
    labels: Vec<Labels>,
    key: Vec<u8>,
    /// The group found last.
    last: usize,
}

impl Grouping {
    /// A clause; neither `by` nor `without` is `by ()`.
    pub(crate) fn new(names: &[String], without: bool) -> Self {
        let mut names = names.to_vec();
        names.sort_unstable();
        names.dedup();
        Self { names, without }
    }

    /// A clause with one more label, unless it is `without`.
    pub(crate) fn with_label(mut self, name: &str) -> Self {
        if !self.without && !self.names.iter().any(|known| known == name) {
            self.names.push(name.to_owned());
            self.names.sort_unstable();
        }
        self
    }

    /// Whether `without` leaves a label.
    fn keeps(&self, name: &[u8]) -> bool {
        let named = self.names.iter().any(|known| known.as_bytes() == name);
        !named && name != METRIC_NAME.as_bytes()
    }

    /// Writes the labels that `labels` has within the clause, in their canonical bytes.
    fn key(&self, labels: &Labels, name_dropped: bool, out: &mut Vec<u8>) {
        out.clear();
        if self.names.is_empty() && !self.without {
            return;
        }
        if self.without {
            let is_gone = |name: &[u8]| name_dropped && is_metadata(name);
            return copy_pairs(labels, out, |name| self.keeps(name) && !is_gone(name));
        }
        // Both are in order, and what stands behind the last name is not looked at.
        let bytes = labels.as_bytes();
        let mut names = self.names.iter().map(String::as_bytes).peekable();
        let mut start = 0;
        for (name, value) in labels.iter_bytes() {
            while names.next_if(|wanted| *wanted < name).is_some() {}
            let Some(wanted) = names.peek() else { return };
            let end = start + encoded_len(name) + encoded_len(value);
            if *wanted == name && !(name_dropped && is_metadata(name)) {
                out.extend_from_slice(&bytes[start..end]);
            }
            start = end;
        }
    }
}

/// Appends the canonical bytes of those pairs of `labels` whose name is kept.
pub(super) fn copy_pairs(labels: &Labels, out: &mut Vec<u8>, keep: impl Fn(&[u8]) -> bool) {
    let bytes = labels.as_bytes();
    let mut start = 0;
    for (name, value) in labels.iter_bytes() {
        let end = start + encoded_len(name) + encoded_len(value);
        if keep(name) {
            out.extend_from_slice(&bytes[start..end]);
        }
        start = end;
    }
}

/// Bytes that a text takes among canonical label bytes: a LEB128 length, then the text.
fn encoded_len(text: &[u8]) -> usize {
    let bits = usize::BITS - text.len().leading_zeros();
    text.len() + bits.div_ceil(7).max(1) as usize
}

impl Groups {
    /// No group yet.
    pub(crate) fn new(grouping: Grouping) -> Self {
        Self { grouping, ordinals: HashMap::new(), labels: Vec::new(), key: Vec::new(), last: 0 }
    }

    /// The group of `labels`, from which the metric name counts as gone if `name_dropped`.
    pub(crate) fn ordinal(&mut self, labels: &Labels, name_dropped: bool) -> usize {
        self.grouping.key(labels, name_dropped, &mut self.key);
        // Series of a group often stand together.
        if self.labels.get(self.last).is_some_and(|last| last.as_bytes() == self.key) {
            return self.last;
        }
        if let Some(ordinal) = self.ordinals.get(self.key.as_slice()) {
            self.last = *ordinal as usize;
            return self.last;
        }
        let ordinal = self.labels.len();
        self.last = ordinal;
        self.labels.push(
            Labels::from_bytes(&self.key).expect("BUG: pairs of valid labels are valid labels"),
        );
        self.ordinals.insert(self.key.as_slice().into(), ordinal as u32);
        ordinal
    }

    /// Labels of group `ordinal`.
    pub(crate) fn labels(&self, ordinal: usize) -> &Labels {
        &self.labels[ordinal]
    }
}
