//! Which labels a series is sent with, if it is: external labels first, then the receiver's rules.

use crate::head::FollowedSeries;
use crate::model::{Labels, LabelsBuilder};
use crate::relabel::{Rule, apply};

/// Makes labels, and remembers what it made of each series.
#[derive(Debug)]
pub(super) struct Relabeling {
    external: Labels,
    rules: Vec<Rule>,
    /// By number of the series; `None`: not seen yet.
    known: Vec<Option<Known>>,
}

#[derive(Debug, Clone)]
struct Known {
    generation: u32,
    /// `None` where the series is left out.
    labels: Option<Labels>,
}

impl Relabeling {
    pub(super) fn new(external: Labels, rules: Vec<Rule>) -> Self {
        Self { external, rules, known: Vec::new() }
    }

    /// The labels that a series is sent with; `None` where it is left out.
    pub(super) fn of_series(&mut self, series: &FollowedSeries) -> Option<Labels> {
        let at = series.id as usize;
        if at >= self.known.len() {
            self.known.resize(at + 1, None);
        }
        if let Some(known) = &self.known[at]
            && known.generation == series.generation
        {
            return known.labels.clone();
        }
        let labels = self.of_labels(&series.labels);
        self.known[at] = Some(Known { generation: series.generation, labels: labels.clone() });
        labels
    }

    /// The same, by labels.
    pub(super) fn of_labels(&self, labels: &Labels) -> Option<Labels> {
        let missing = self.external.iter().any(|(name, _)| labels.get(name).is_none());
        if !missing && self.rules.is_empty() {
            return (!labels.is_empty()).then(|| labels.clone());
        }
        let mut builder = LabelsBuilder::from_labels(labels);
        for (name, value) in &self.external {
            if labels.get(name).is_none() {
                builder.set(name, value);
            }
        }
        if !apply(&self.rules, &mut builder) {
            return None;
        }
        let made = builder.build();
        (!made.is_empty()).then(|| if made == *labels { labels.clone() } else { made })
    }
}

/// A number for the labels of a series that is the same in every process.
pub(super) fn hash(labels: &Labels) -> u32 {
    crc32fast::hash(labels.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    #[test]
    fn external_labels_come_first_and_rules_after_them() {
        let config = parse(
            "global: {external_labels: {dc: x, a: y}}\n\
             remote_write: [{url: 'http://a', write_relabel_configs: [\
             {source_labels: [dc, __name__], regex: 'x;bad', action: drop},\
             {regex: tmp, action: labeldrop}]}]",
            "t.yml",
        )
        .unwrap();
        let rules = config.remote_write_configs[0].write_relabel_configs.clone();
        let mut relabeling = Relabeling::new(config.global.external_labels.clone(), rules);
        let made = |relabeling: &mut Relabeling, id, generation, pairs: &[(&str, &str)]| {
            let labels = Labels::from_pairs(pairs.iter().copied());
            let series = FollowedSeries { id, generation, labels };
            relabeling.of_series(&series).map(|labels| labels.to_string())
        };
        let first = [("__name__", "m"), ("a", "1"), ("tmp", "t")];
        let expected = Some(r#"{__name__="m", a="1", dc="x"}"#.to_owned());
        assert_eq!(made(&mut relabeling, 5, 0, &first), expected);
        assert_eq!(made(&mut relabeling, 5, 0, &[]), expected, "it is remembered");
        assert_eq!(made(&mut relabeling, 5, 1, &[("__name__", "bad")]), None);
        // The rule sees the series' own label, which wins.
        let own = made(&mut relabeling, 6, 0, &[("__name__", "bad"), ("dc", "z")]);
        assert_eq!(own, Some(r#"{__name__="bad", a="y", dc="z"}"#.to_owned()));
    }
}
