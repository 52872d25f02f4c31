//! A set of targets that share labels.

use crate::model::Labels;

/// Label that holds a target's address.
pub(super) const ADDRESS: &str = "__address__";

/// Targets from one source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetGroup {
    /// Names the group among those of its mechanism: file and place in it, for instance.
    pub source: String,
    /// One label set for each target; these win over the group's.
    pub targets: Vec<Labels>,
    /// Labels of every target.
    pub labels: Labels,
}

impl TargetGroup {
    /// A group of addresses.
    pub fn of_addresses<A: AsRef<str>>(
        source: impl Into<String>,
        addresses: impl IntoIterator<Item = A>,
        labels: Labels,
    ) -> Self {
        let target = |address: A| Labels::from_pairs([(ADDRESS, address.as_ref())]);
        Self { source: source.into(), targets: addresses.into_iter().map(target).collect(), labels }
    }
}
