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

    /// What takes the source away.
    pub fn empty(source: impl Into<String>) -> Self {
        Self { source: source.into(), targets: Vec::new(), labels: Labels::empty() }
    }
}

/// Labels in the making: pairs, of which the last one of a name counts and empty values none.
#[derive(Debug, Clone, Default)]
pub(super) struct LabelList(Vec<(String, String)>);

impl LabelList {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn set(&mut self, name: impl Into<String>, value: impl Into<String>) -> &mut Self {
        self.0.push((name.into(), value.into()));
        self
    }

    /// Adds each pair under `prefix` and its name, made a label name.
    pub(super) fn set_all<'a>(
        &mut self,
        prefix: &str,
        pairs: impl IntoIterator<Item = (&'a String, &'a String)>,
    ) -> &mut Self {
        for (name, value) in pairs {
            self.set(format!("{prefix}{}", sanitize(name)), value);
        }
        self
    }

    /// Adds all that the other one has.
    pub(super) fn append(&mut self, other: Self) -> &mut Self {
        self.0.extend(other.0);
        self
    }

    pub(super) fn build(&self) -> Labels {
        let mut last = std::collections::BTreeMap::new();
        for (name, value) in &self.0 {
            last.insert(name, value);
        }
        last.retain(|_, value| !value.is_empty());
        Labels::from_pairs(last)
    }
}

/// The text with every character replaced by `_` that a label name cannot have.
pub(super) fn sanitize(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

/// Host and port as one text; addresses of version 6 in brackets.
pub(super) fn join_host_port(host: &str, port: impl std::fmt::Display) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_label_names() {
        assert_eq!(sanitize("app.kubernetes.io/na-me_é"), "app_kubernetes_io_na_me__");
        assert_eq!(join_host_port("::1", 80), "[::1]:80");
        assert_eq!(join_host_port("a", "http"), "a:http");
    }

    #[test]
    fn the_last_of_a_name_counts() {
        let mut list = LabelList::new();
        list.set("b", "1").set("a", "2").set("b", "3").set("c", "");
        assert_eq!(list.build(), Labels::from_pairs([("a", "2"), ("b", "3")]));
    }
}
