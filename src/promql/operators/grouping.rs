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

    fn keeps(&self, name: &[u8]) -> bool {
        let named = self.names.iter().any(|known| known.as_bytes() == name);
        if self.without { !named && name != METRIC_NAME.as_bytes() } else { named }
    }

    /// Writes the labels that `labels` has within the clause, in their canonical bytes.
    fn key(&self, labels: &Labels, name_dropped: bool, out: &mut Vec<u8>) {
        out.clear();
        if self.names.is_empty() && !self.without {
            return;
        }
        copy_pairs(labels, out, |name| self.keeps(name) && !(name_dropped && is_metadata(name)));
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
        Self { grouping, ordinals: HashMap::new(), labels: Vec::new(), key: Vec::new() }
    }

    /// The group of `labels`, from which the metric name counts as gone if `name_dropped`.
    pub(crate) fn ordinal(&mut self, labels: &Labels, name_dropped: bool) -> usize {
        self.grouping.key(labels, name_dropped, &mut self.key);
        if let Some(ordinal) = self.ordinals.get(self.key.as_slice()) {
            return *ordinal as usize;
        }
        let ordinal = self.labels.len();
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
