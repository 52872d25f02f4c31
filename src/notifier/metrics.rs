//! What sending counts about itself; names are Prometheus's.

use crate::telemetry::{CounterVec, Gauge, GaugeVec, HistogramVec, Registry, SummaryVec};

const LABELS: &[&str] = &["alertmanager"];

/// Metrics of all queues, in a registry of their own.
#[derive(Debug)]
pub(super) struct Metrics {
    pub(super) registry: Registry,
    /// These and the others with labels: by URL.
    pub(super) sent: CounterVec,
    pub(super) errors: CounterVec,
    pub(super) dropped: CounterVec,
    pub(super) replaced: CounterVec,
    pub(super) queue_length: GaugeVec,
    pub(super) seconds: SummaryVec,
    pub(super) seconds_histogram: HistogramVec,
    pub(super) discovered: Gauge,
}

impl Metrics {
    pub(super) fn new(queue_capacity: usize) -> Self {
        let registry = Registry::new();
        registry
            .gauge(
                "prometheus_notifications_queue_capacity",
                "Alerts that may wait for one Alertmanager.",
            )
            .set(queue_capacity as f64);
        Self {
            sent: registry.counter_vec(
                "prometheus_notifications_sent_total",
                "Alerts that arrived.",
                LABELS,
            ),
            errors: registry.counter_vec(
                "prometheus_notifications_errors_total",
                "Alerts in requests that failed.",
                LABELS,
            ),
            dropped: registry.counter_vec(
                "prometheus_notifications_dropped_total",
                "Alerts that were given up: expired, refused, or for want of room.",
                LABELS,
            ),
            replaced: registry.counter_vec(
                "narthex_notifications_replaced_total",
                "Alerts that waited when there was newer word of them.",
                LABELS,
            ),
            queue_length: registry.gauge_vec(
                "prometheus_notifications_queue_length",
                "Alerts that wait.",
                LABELS,
            ),
            seconds: registry.summary_vec(
                "prometheus_notifications_latency_seconds",
                "Time of requests that arrived.",
                LABELS,
                &[0.5, 0.9, 0.99],
            ),
            seconds_histogram: registry.histogram_vec(
                "prometheus_notifications_latency_histogram_seconds",
                "Time of requests that arrived.",
                LABELS,
                &[0.01, 0.1, 1.0, 10.0],
            ),
            discovered: registry.gauge(
                "prometheus_notifications_alertmanagers_discovered",
                "Alertmanagers that alerts are sent to.",
            ),
            registry,
        }
    }

    /// Shows the figures of an Alertmanager, at zero.
    pub(super) fn add(&self, url: &str) {
        self.sent.with(&[url]);
        self.errors.with(&[url]);
        self.dropped.with(&[url]);
        self.queue_length.with(&[url]);
    }

    /// Forgets an Alertmanager.
    pub(super) fn remove(&self, url: &str) {
        for counters in [&self.sent, &self.errors, &self.dropped, &self.replaced] {
            counters.remove(&[url]);
        }
        self.queue_length.remove(&[url]);
        self.seconds.remove(&[url]);
        self.seconds_histogram.remove(&[url]);
    }
}
