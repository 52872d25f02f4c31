//! What discovery counts about itself; names are Prometheus's.

use std::ops::Deref;

use crate::exposition::Family;
use crate::http_client::DialMetrics;
use crate::telemetry::{
    Counter, CounterVec, GaugeVec, HistogramVec, Registry, Summary, SummaryVec,
};

/// Metrics of one set of mechanisms, in a registry of their own. Clones share them.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
    /// By the set's name.
    pub(super) failed_configs: GaugeVec,
    /// By the set's name.
    pub(super) received_updates: CounterVec,
    /// By the set's name.
    pub(super) delayed_updates: CounterVec,
    /// By the set's name.
    pub(super) sent_updates: CounterVec,
    /// By job and the set's name.
    pub(super) last_updated: GaugeVec,
    /// By mechanism and job.
    pub(super) refresh_failures: CounterVec,
    /// By mechanism and job.
    pub(super) refresh_seconds: SummaryVec,
    /// By mechanism.
    pub(super) refresh_histogram: HistogramVec,
    mechanisms: Mechanisms,
}

/// What single mechanisms count.
#[derive(Debug, Clone)]
pub struct Mechanisms {
    pub(super) file_read_errors: Counter,
    pub(super) file_watcher_errors: Counter,
    pub(super) file_scan_seconds: Summary,
    /// By file.
    pub(super) file_mtime_seconds: GaugeVec,
    pub(super) dials: DialMetrics,
    pub(super) http_failures: Counter,
    pub(super) dns_lookups: Counter,
    pub(super) dns_lookup_failures: Counter,
    pub(super) consul_rpc_failures: Counter,
    /// By call and endpoint.
    pub(super) consul_rpc_seconds: SummaryVec,
    pub(super) nomad_failures: Counter,
    /// By role and event.
    pub(super) kubernetes_events: CounterVec,
    pub(super) kubernetes_failures: Counter,
}

const QUANTILES: &[f64] = &[0.5, 0.9, 0.99];
const BOUNDS: &[f64] = &[0.01, 0.1, 1.0, 10.0];

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Nothing counted yet.
    pub fn new() -> Self {
        let registry = Registry::new();
        Self {
            failed_configs: registry.gauge_vec(
                "prometheus_sd_failed_configs",
                "Discovery sections that could not be started.",
                &["name"],
            ),
            received_updates: registry.counter_vec(
                "prometheus_sd_received_updates_total",
                "Changes that mechanisms told.",
                &["name"],
            ),
            delayed_updates: registry.counter_vec(
                "prometheus_sd_updates_delayed_total",
                "Changes that were put together with later ones.",
                &["name"],
            ),
            sent_updates: registry.counter_vec(
                "prometheus_sd_updates_total",
                "Target sets that were handed on.",
                &["name"],
            ),
            last_updated: registry.gauge_vec(
                "prometheus_sd_last_update_timestamp_seconds",
                "When a mechanism of the job last told what it found.",
                &["config", "name"],
            ),
            refresh_failures: registry.counter_vec(
                "prometheus_sd_refresh_failures_total",
                "Refreshes that failed.",
                &["config", "mechanism"],
            ),
            refresh_seconds: registry.summary_vec(
                "prometheus_sd_refresh_duration_seconds",
                "Time that a refresh took.",
                &["config", "mechanism"],
                QUANTILES,
            ),
            refresh_histogram: registry.histogram_vec(
                "prometheus_sd_refresh_duration_histogram_seconds",
                "Time that a refresh took.",
                &["mechanism"],
                BOUNDS,
            ),
            mechanisms: Mechanisms::new(&registry),
            registry,
        }
    }

    /// What was counted, for `/metrics`.
    pub fn families(&self) -> Vec<Family> {
        self.registry.gather()
    }
}

impl Deref for Metrics {
    type Target = Mechanisms;

    fn deref(&self) -> &Mechanisms {
        &self.mechanisms
    }
}

impl Mechanisms {
    fn new(registry: &Registry) -> Self {
        Self {
            file_read_errors: registry.counter(
                "prometheus_sd_file_read_errors_total",
                "Files of targets that could not be read.",
            ),
            file_watcher_errors: registry.counter(
                "prometheus_sd_file_watcher_errors_total",
                "Failures of the watch on files of targets.",
            ),
            file_scan_seconds: registry.summary(
                "prometheus_sd_file_scan_duration_seconds",
                "Time that reading files of targets took.",
                QUANTILES,
            ),
            file_mtime_seconds: registry.gauge_vec(
                "prometheus_sd_file_mtime_seconds",
                "When a file of targets was last changed, as of its last reading.",
                &["filename"],
            ),
            dials: DialMetrics::new(registry),
            http_failures: registry.counter(
                "prometheus_sd_http_failures_total",
                "Refreshes of HTTP discovery that failed.",
            ),
            dns_lookups: registry
                .counter("prometheus_sd_dns_lookups_total", "Lookups of DNS discovery."),
            dns_lookup_failures: registry.counter(
                "prometheus_sd_dns_lookup_failures_total",
                "Lookups of DNS discovery that failed.",
            ),
            consul_rpc_failures: registry
                .counter("prometheus_sd_consul_rpc_failures_total", "Failed calls of Consul."),
            consul_rpc_seconds: registry.summary_vec(
                "prometheus_sd_consul_rpc_duration_seconds",
                "Time that calls of Consul took.",
                &["call", "endpoint"],
                QUANTILES,
            ),
            nomad_failures: registry.counter(
                "prometheus_sd_nomad_failures_total",
                "Refreshes of Nomad discovery that failed.",
            ),
            kubernetes_events: registry.counter_vec(
                "prometheus_sd_kubernetes_events_total",
                "Events of Kubernetes that were handled.",
                &["event", "role"],
            ),
            kubernetes_failures: registry.counter(
                "prometheus_sd_kubernetes_failures_total",
                "Lists and watches of Kubernetes that failed.",
            ),
        }
        .with_zeros()
    }

    /// Series that are there before anything happens.
    fn with_zeros(self) -> Self {
        for role in ["endpoints", "endpointslice", "ingress", "node", "pod", "service"] {
            for event in ["add", "delete", "update"] {
                self.kubernetes_events.with(&[event, role]);
            }
        }
        self
    }
}
