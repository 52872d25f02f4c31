//! What the rules count about themselves; names are Prometheus's.

use crate::telemetry::{CounterVec, GaugeVec, Histogram, Registry, Summary};
use crate::template;

const BUCKETS: &[f64] = &[0.01, 0.1, 1.0, 10.0];

/// Metrics of all groups, in a registry of their own.
#[derive(Debug)]
pub(super) struct Metrics {
    pub(super) registry: Registry,
    pub(super) templates: template::Metrics,
    pub(super) rule_seconds: Summary,
    pub(super) rule_seconds_buckets: Histogram,
    pub(super) group_seconds: Summary,
    pub(super) group_seconds_buckets: Histogram,
    pub(super) missed: CounterVec,
    pub(super) scheduled: CounterVec,
    pub(super) evaluations: CounterVec,
    pub(super) failures: CounterVec,
    pub(super) interval_seconds: GaugeVec,
    pub(super) last_evaluation_seconds: GaugeVec,
    pub(super) last_duration_seconds: GaugeVec,
    pub(super) last_rule_seconds: GaugeVec,
    pub(super) last_restore_seconds: GaugeVec,
    pub(super) rules: GaugeVec,
    pub(super) samples: GaugeVec,
}

impl Metrics {
    pub(super) fn new() -> Self {
        let registry = Registry::new();
        let counter = |name, help| registry.counter_vec(name, help, &["rule_group"]);
        let gauge = |name, help| registry.gauge_vec(name, help, &["rule_group"]);
        Self {
            templates: template::Metrics::new(&registry),
            rule_seconds: registry.summary(
                "prometheus_rule_evaluation_duration_seconds",
                "Time that the evaluation of a rule took.",
                &[0.5, 0.9, 0.99],
            ),
            rule_seconds_buckets: registry.histogram(
                "prometheus_rule_evaluation_duration_histogram_seconds",
                "Time that the evaluation of a rule took.",
                BUCKETS,
            ),
            group_seconds: registry.summary(
                "prometheus_rule_group_duration_seconds",
                "Time that the evaluation of a group of rules took.",
                &[0.01, 0.05, 0.5, 0.9, 0.99],
            ),
            group_seconds_buckets: registry.histogram(
                "prometheus_rule_group_duration_histogram_seconds",
                "Time that the evaluation of a group of rules took.",
                BUCKETS,
            ),
            missed: counter(
                "prometheus_rule_group_iterations_missed_total",
                "Evaluations of a group that were passed over because it was too slow.",
            ),
            scheduled: counter(
                "prometheus_rule_group_iterations_total",
                "Evaluations of a group that were due, those passed over included.",
            ),
            evaluations: counter(
                "prometheus_rule_evaluations_total",
                "Evaluations of the rules of a group.",
            ),
            failures: counter(
                "prometheus_rule_evaluation_failures_total",
                "Evaluations of the rules of a group that failed.",
            ),
            interval_seconds: gauge(
                "prometheus_rule_group_interval_seconds",
                "How often a group is evaluated.",
            ),
            last_evaluation_seconds: gauge(
                "prometheus_rule_group_last_evaluation_timestamp_seconds",
                "When a group was evaluated last.",
            ),
            last_duration_seconds: gauge(
                "prometheus_rule_group_last_duration_seconds",
                "How long the last evaluation of a group took.",
            ),
            last_rule_seconds: gauge(
                "prometheus_rule_group_last_rule_duration_sum_seconds",
                "What the last evaluations of a group's rules took, added up.",
            ),
            last_restore_seconds: gauge(
                "prometheus_rule_group_last_restore_duration_seconds",
                "How long it took to take over the state of alerts of the process before.",
            ),
            rules: gauge("prometheus_rule_group_rules", "Rules of a group."),
            samples: gauge(
                "prometheus_rule_group_last_evaluation_samples",
                "Samples that the last evaluation of a group gave.",
            ),
            registry,
        }
    }

    /// Puts a group on the page.
    pub(super) fn add(&self, key: &str, interval_seconds: f64, rules: usize) {
        for counter in [&self.missed, &self.scheduled, &self.evaluations, &self.failures] {
            counter.with(&[key]);
        }
        for gauge in [
            &self.last_evaluation_seconds,
            &self.last_duration_seconds,
            &self.last_rule_seconds,
            &self.samples,
        ] {
            gauge.with(&[key]);
        }
        self.interval_seconds.with(&[key]).set(interval_seconds);
        self.rules.with(&[key]).set(rules as f64);
    }

    /// Takes a group off the page.
    pub(super) fn remove(&self, key: &str) {
        for counter in [&self.missed, &self.scheduled, &self.evaluations, &self.failures] {
            counter.remove(&[key]);
        }
        for gauge in [
            &self.interval_seconds,
            &self.last_evaluation_seconds,
            &self.last_duration_seconds,
            &self.last_rule_seconds,
            &self.last_restore_seconds,
            &self.rules,
            &self.samples,
        ] {
            gauge.remove(&[key]);
        }
    }
}
