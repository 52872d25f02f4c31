//! Which rules of a group read what others of it write.
//!
//! COMPAT: a selector without a condition on the name may read anything: then nothing is known of
//! the whole group, and its rules run one after the other. A rule depends on those before it only.

use super::file::{RuleKind, RuleSpec};
use crate::model::METRIC_NAME;
use crate::promql::ast::{Expr, Selector};

/// The series of alerts.
pub(super) const ALERTS: &str = "ALERTS";
/// The series that tell since when alerts are active.
pub(super) const ALERTS_FOR_STATE: &str = "ALERTS_FOR_STATE";
/// The label that names the alert.
pub(super) const ALERT_NAME: &str = "alertname";

/// What is known of the rules of a group.
#[derive(Debug, Clone)]
pub(super) struct Dependencies {
    /// By rule, the earlier rules that it reads. `None`: not known.
    reads: Option<Vec<Vec<usize>>>,
    /// By rule, whether its templates may read anything.
    asks: Vec<bool>,
}

impl Dependencies {
    /// Looks at the rules of a group.
    pub(super) fn of(rules: &[&RuleSpec]) -> Self {
        let asks = rules.iter().map(|rule| has_queries(rule)).collect();
        let reads = (0..rules.len()).map(|at| reads_of(rules, at)).collect();
        Self {
            reads: if rules.len() <= 1 { Some(vec![Vec::new(); rules.len()]) } else { reads },
            asks,
        }
    }

    /// Whether `rule` may read what one of `written` has written.
    pub(super) fn may_read(&self, rule: usize, written: &[usize]) -> bool {
        if self.asks[rule] {
            return true;
        }
        match &self.reads {
            None => true,
            Some(reads) => reads[rule].iter().any(|earlier| written.contains(earlier)),
        }
    }

    /// Batches of rules that may run side by side, in the order of the batches.
    ///
    /// COMPAT: those that read no other; then one by one those that read and are read; then those
    /// that are read by none.
    pub(super) fn batches(&self) -> Vec<Vec<usize>> {
        let Some(reads) = &self.reads else {
            return (0..self.asks.len()).map(|rule| vec![rule]).collect();
        };
        let is_read = |rule: usize| reads.iter().any(|of| of.contains(&rule));
        let (mut first, mut last, mut between) = (Vec::new(), Vec::new(), Vec::new());
        for (rule, earlier) in reads.iter().enumerate() {
            if earlier.is_empty() {
                first.push(rule);
            } else if is_read(rule) {
                between.push(vec![rule]);
            } else {
                last.push(rule);
            }
        }
        std::iter::once(first).chain(between).chain([last]).filter(|b| !b.is_empty()).collect()
    }
}

/// Whether an alert's texts ask queries of their own.
fn has_queries(rule: &RuleSpec) -> bool {
    let RuleKind::Alerting { annotations, .. } = &rule.kind else { return false };
    let mut texts = rule.labels.iter().chain(annotations);
    texts.any(|(_, text)| text.contains("{{") && text.contains("query"))
}

/// The rules before `at` that it reads; `None`: it may read anything.
fn reads_of(rules: &[&RuleSpec], at: usize) -> Option<Vec<usize>> {
    let mut reads = Vec::new();
    for node in &rules[at].ast.nodes {
        let Expr::Selector(selector) = &node.expr else { continue };
        let name = selector.matchers.iter().find(|matcher| matcher.name == METRIC_NAME)?;
        let takes_alerts = name.matches(ALERTS) || name.matches(ALERTS_FOR_STATE);
        for (earlier, other) in rules[..at].iter().enumerate() {
            let is_alert = matches!(other.kind, RuleKind::Alerting { .. });
            let reads_alert = takes_alerts && is_alert && names_alert(selector, &other.name);
            if name.matches(&other.name) || reads_alert {
                reads.push(earlier);
            }
        }
    }
    reads.sort_unstable();
    reads.dedup();
    Some(reads)
}

/// Whether a selector of alerts takes the alert of this name.
fn names_alert(selector: &Selector, alert: &str) -> bool {
    let condition = selector.matchers.iter().find(|matcher| matcher.name == ALERT_NAME);
    condition.is_none_or(|condition| condition.matches(alert))
}

#[cfg(test)]
mod tests {
    use super::super::file::{Source, load_text};
    use super::*;

    fn of(rules: &str) -> Dependencies {
        let text = format!("groups: [{{name: g, rules: [{rules}]}}]");
        let groups = load_text(&text, "f", &Source::default()).unwrap();
        let specs: Vec<&RuleSpec> = groups[0].rules.iter().map(|rule| &**rule).collect();
        Dependencies::of(&specs)
    }

    #[test]
    fn chains_are_found() {
        let chain = of("{record: a, expr: up}, {record: b, expr: a + 1}, {record: c, expr: b}, \
                        {record: d, expr: down}, {record: e, expr: 'sum(rate(d[5m]))'}");
        assert_eq!(chain.batches(), [vec![0, 3], vec![1], vec![2, 4]]);
        assert!(chain.may_read(1, &[0]) && !chain.may_read(3, &[0, 1, 2]));
        // What comes later is not read.
        let backwards = of("{record: a, expr: b}, {record: b, expr: up}");
        assert_eq!(backwards.batches(), [vec![0, 1]]);
    }

    #[test]
    fn alerts_are_read_by_their_series() {
        let alerts = of("{alert: x, expr: up}, {record: r, expr: 'ALERTS{alertname=\"x\"}'}, \
                         {record: s, expr: 'ALERTS{alertname=\"y\"}'}, \
                         {record: t, expr: ALERTS_FOR_STATE}");
        assert_eq!(alerts.batches(), [vec![0, 2], vec![1, 3]]);
    }

    #[test]
    fn what_may_read_anything_runs_alone() {
        let any = of("{record: a, expr: up}, {record: b, expr: '{job=\"x\"}'}");
        assert_eq!(any.batches(), [[0], [1]]);
        assert!(any.may_read(1, &[0]));
        let asks = of("{record: a, expr: up}, \
                       {alert: b, expr: up, labels: {x: '{{ query \"a\" }}'}}");
        assert!(asks.may_read(1, &[0]) && asks.may_read(1, &[]));
        assert_eq!(of("{record: a, expr: '{job=\"x\"}'}").batches(), [[0]]);
    }
}
