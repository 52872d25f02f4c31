//! What is suspicious about rules that are in order.

use super::file::GroupSpec;

/// Rules of one file with the same name and labels.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duplicate {
    /// The name of the metric or of the alert.
    pub name: String,
    /// The labels, ascending by name.
    pub labels: Vec<(String, String)>,
}

/// Each name with labels that more than one rule has, ascending.
pub fn duplicates(groups: &[GroupSpec]) -> Vec<Duplicate> {
    let rules = groups.iter().flat_map(|group| &group.rules);
    let mut all: Vec<Duplicate> = rules
        .map(|rule| Duplicate { name: rule.name.clone(), labels: rule.labels.clone() })
        .collect();
    all.sort_unstable();
    let mut found: Vec<Duplicate> =
        all.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0].clone()).collect();
    found.dedup();
    found
}
