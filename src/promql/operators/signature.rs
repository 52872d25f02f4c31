//! Which series of two vectors belong together: those with equal labels within the clause
//! `on (…)` or outside of `ignoring (…)`.

use hashbrown::HashMap;

use super::grouping::copy_pairs;
use crate::model::{Labels, METRIC_NAME};
use crate::promql::ast::VectorMatching;

/// Numbers signatures; equal signatures get equal numbers.
#[derive(Debug)]
pub(crate) struct Signatures {
    matching: VectorMatching,
    ordinals: HashMap<Box<[u8]>, u32>,
    key: Vec<u8>,
}

impl Signatures {
    /// No signature yet.
    pub(crate) fn new(matching: &VectorMatching) -> Self {
        Self { matching: matching.clone(), ordinals: HashMap::new(), key: Vec::new() }
    }

    /// Number of the signature of `labels`.
    pub(crate) fn ordinal(&mut self, labels: &Labels) -> usize {
        let matching = &self.matching;
        self.key.clear();
        copy_pairs(labels, &mut self.key, |name| keeps(matching, name));
        if let Some(ordinal) = self.ordinals.get(self.key.as_slice()) {
            return *ordinal as usize;
        }
        let ordinal = self.ordinals.len();
        self.ordinals.insert(self.key.as_slice().into(), ordinal as u32);
        ordinal
    }

    /// Number of signatures so far.
    pub(crate) fn len(&self) -> usize {
        self.ordinals.len()
    }
}

/// The labels that make up the signature.
pub(crate) fn matched_labels(matching: &VectorMatching, labels: &Labels) -> Labels {
    labels.without(|name| !keeps(matching, name.as_bytes()))
}

fn keeps(matching: &VectorMatching, name: &[u8]) -> bool {
    let named = matching.labels.iter().any(|label| label.as_bytes() == name);
    if matching.on { named } else { !named && name != METRIC_NAME.as_bytes() }
}
