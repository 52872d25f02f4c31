//! What remote write counts; names are Prometheus's.

use super::entry::Counts;
use crate::telemetry::{Counter, CounterVec, Gauge, GaugeVec, Histogram, HistogramVec, Registry};

const LABELS: &[&str] = &["remote_name", "url"];
/// In the order of names, as all labels.
const DROPPED_LABELS: &[&str] = &["reason", "remote_name", "url"];
const BATCH_BOUNDS: &[f64] =
    &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 60.0, 120.0, 300.0];

/// Why something is not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// Older than `sample_age_limit`.
    TooOld,
    /// Relabelling left the series out.
    DroppedSeries,
    /// A histogram with custom buckets, which version 1 cannot say.
    CustomBuckets,
    /// The receiver was away for longer, or more has gathered, than is held for it.
    HeldTooLong,
    /// The log could not be read.
    Unreadable,
}

impl Reason {
    const ALL: [Self; 5] = [
        Self::TooOld,
        Self::DroppedSeries,
        Self::CustomBuckets,
        Self::HeldTooLong,
        Self::Unreadable,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::TooOld => "too_old",
            Self::DroppedSeries => "dropped_series",
            Self::CustomBuckets => "nhcb_in_rw1_not_supported",
            Self::HeldTooLong => "held_too_long",
            Self::Unreadable => "unreadable_log",
        }
    }
}

/// A counter for each kind of entry, by receiver.
#[derive(Debug)]
struct KindVecs {
    samples: CounterVec,
    histograms: CounterVec,
    exemplars: CounterVec,
}

/// A counter for each kind of entry.
#[derive(Debug)]
pub(super) struct KindCounters {
    samples: Counter,
    histograms: Counter,
    exemplars: Counter,
}

impl KindVecs {
    fn with(&self, labels: &[&str]) -> KindCounters {
        KindCounters {
            samples: self.samples.with(labels),
            histograms: self.histograms.with(labels),
            exemplars: self.exemplars.with(labels),
        }
    }

    fn remove(&self, labels: &[&str]) {
        for vec in [&self.samples, &self.histograms, &self.exemplars] {
            vec.remove(labels);
        }
    }
}

impl KindCounters {
    pub(super) fn add(&self, counts: Counts) {
        self.samples.add(counts.samples);
        self.histograms.add(counts.histograms);
        self.exemplars.add(counts.exemplars);
    }
}

/// Metrics of all receivers, in a registry of their own.
#[derive(Debug)]
pub(super) struct Metrics {
    pub(super) registry: Registry,
    /// What came into the log while anyone forwards it.
    pub(super) came: KindCounters,
    pub(super) highest_s: Gauge,
    sent: KindVecs,
    failed: KindVecs,
    retried: KindVecs,
    dropped: KindVecs,
    metadata: [CounterVec; 4],
    counters: [CounterVec; 2],
    gauges: Vec<GaugeVec>,
    batch_seconds: HistogramVec,
    watcher_segment: GaugeVec,
    watcher_records: CounterVec,
    watcher_failures: CounterVec,
}

/// Names and help texts of the gauges, in the order of [`QueueMetrics`].
const GAUGES: [(&str, &str); 11] = [
    ("prometheus_remote_storage_queue_highest_timestamp_seconds", "Newest time that was queued."),
    (
        "prometheus_remote_storage_queue_highest_sent_timestamp_seconds",
        "Newest time that the receiver has acknowledged.",
    ),
    ("prometheus_remote_storage_samples_pending", "Samples in the queue and under way."),
    ("prometheus_remote_storage_exemplars_pending", "Exemplars in the queue and under way."),
    ("prometheus_remote_storage_histograms_pending", "Histograms in the queue and under way."),
    ("prometheus_remote_storage_shard_capacity", "What a shard holds."),
    ("prometheus_remote_storage_shards", "Shards that send."),
    ("prometheus_remote_storage_shards_max", "Shards at most."),
    ("prometheus_remote_storage_shards_min", "Shards at least."),
    ("prometheus_remote_storage_shards_desired", "Shards that the work asks for."),
    ("prometheus_remote_storage_max_samples_per_send", "Samples of a request at most."),
];

/// What came to be forwarded.
fn came(registry: &Registry) -> KindCounters {
    KindCounters {
        samples: registry.counter(
            "prometheus_remote_storage_samples_in_total",
            "Samples that came to be forwarded.",
        ),
        histograms: registry.counter(
            "prometheus_remote_storage_histograms_in_total",
            "Histograms that came to be forwarded.",
        ),
        exemplars: registry.counter(
            "prometheus_remote_storage_exemplars_in_total",
            "Exemplars that came to be forwarded.",
        ),
    }
}

/// Names for samples, histograms and exemplars, and a help text.
type KindNames = ([&'static str; 3], &'static str);

const SENT: KindNames = (
    [
        "prometheus_remote_storage_samples_total",
        "prometheus_remote_storage_histograms_total",
        "prometheus_remote_storage_exemplars_total",
    ],
    "What was sent.",
);
const FAILED: KindNames = (
    [
        "prometheus_remote_storage_samples_failed_total",
        "prometheus_remote_storage_histograms_failed_total",
        "prometheus_remote_storage_exemplars_failed_total",
    ],
    "What the receiver refused for good.",
);
const RETRIED: KindNames = (
    [
        "prometheus_remote_storage_samples_retried_total",
        "prometheus_remote_storage_histograms_retried_total",
        "prometheus_remote_storage_exemplars_retried_total",
    ],
    "What was sent again after a failure.",
);
const DROPPED: KindNames = (
    [
        "prometheus_remote_storage_samples_dropped_total",
        "prometheus_remote_storage_histograms_dropped_total",
        "prometheus_remote_storage_exemplars_dropped_total",
    ],
    "What was read from the log and is not sent, by reason.",
);
/// Sent, failed, retried, bytes.
const METADATA: [(&str, &str); 4] = [
    ("prometheus_remote_storage_metadata_total", "Metrics described."),
    (
        "prometheus_remote_storage_metadata_failed_total",
        "Descriptions of metrics that the receiver refused for good.",
    ),
    (
        "prometheus_remote_storage_metadata_retried_total",
        "Descriptions of metrics sent again after a failure.",
    ),
    ("prometheus_remote_storage_metadata_bytes_total", "Bytes of descriptions sent, compressed."),
];
const COUNTERS: [(&str, &str); 2] = [
    ("prometheus_remote_storage_bytes_total", "Bytes sent, compressed."),
    ("prometheus_remote_storage_enqueue_retries_total", "How often a shard had no room."),
];

impl Metrics {
    pub(super) fn new() -> Self {
        let registry = Registry::new();
        let r = &registry;
        let kinds = |(names, help): KindNames, labels| {
            let [samples, histograms, exemplars] =
                names.map(|name| r.counter_vec(name, help, labels));
            KindVecs { samples, histograms, exemplars }
        };
        let counter = |(name, help)| r.counter_vec(name, help, LABELS);
        Self {
            came: came(r),
            highest_s: r.gauge(
                "prometheus_remote_storage_highest_timestamp_in_seconds",
                "Newest time that came to be forwarded.",
            ),
            sent: kinds(SENT, LABELS),
            failed: kinds(FAILED, LABELS),
            retried: kinds(RETRIED, LABELS),
            dropped: kinds(DROPPED, DROPPED_LABELS),
            metadata: METADATA.map(counter),
            counters: COUNTERS.map(counter),
            gauges: GAUGES.iter().map(|(name, help)| r.gauge_vec(name, help, LABELS)).collect(),
            batch_seconds: r.histogram_vec(
                "prometheus_remote_storage_sent_batch_duration_seconds",
                "How long requests took.",
                LABELS,
                BATCH_BOUNDS,
            ),
            watcher_segment: r.gauge_vec(
                "prometheus_wal_watcher_current_segment",
                "Segment of the log that is read.",
                &["consumer"],
            ),
            watcher_records: r.counter_vec(
                "prometheus_wal_watcher_records_read_total",
                "Records of the log that were read.",
                &["consumer", "type"],
            ),
            watcher_failures: r.counter_vec(
                "prometheus_wal_watcher_record_decode_failures_total",
                "Records of the log that could not be read.",
                &["consumer"],
            ),
            registry,
        }
    }

    /// Those of one receiver.
    pub(super) fn of(&self, name: &str, url: &str) -> QueueMetrics {
        let labels: &[&str] = &[name, url];
        let dropped = |reason: Reason| self.dropped.with(&[reason.as_str(), name, url]);
        let gauge = |n: usize| self.gauges[n].with(labels);
        QueueMetrics {
            sent: self.sent.with(labels),
            failed: self.failed.with(labels),
            retried: self.retried.with(labels),
            dropped: Reason::ALL.map(dropped),
            metadata: [0, 1, 2, 3].map(|n: usize| self.metadata[n].with(labels)),
            bytes: self.counters[0].with(labels),
            enqueue_retries: self.counters[1].with(labels),
            highest_s: gauge(0),
            highest_sent_s: gauge(1),
            samples_pending: gauge(2),
            exemplars_pending: gauge(3),
            histograms_pending: gauge(4),
            shard_capacity: gauge(5),
            shards: gauge(6),
            shards_max: gauge(7),
            shards_min: gauge(8),
            shards_desired: gauge(9),
            samples_per_send_max: gauge(10),
            batch_seconds: self.batch_seconds.with(labels),
            segment: self.watcher_segment.with(&[name]),
            records: self.watcher_records.with(&[name, "all"]),
            records_failed: self.watcher_failures.with(&[name]),
        }
    }

    /// Forgets those of one receiver.
    pub(super) fn remove(&self, name: &str, url: &str) {
        let labels: &[&str] = &[name, url];
        for vecs in [&self.sent, &self.failed, &self.retried] {
            vecs.remove(labels);
        }
        for reason in Reason::ALL {
            self.dropped.remove(&[reason.as_str(), name, url]);
        }
        self.metadata.iter().chain(&self.counters).for_each(|vec| vec.remove(labels));
        self.gauges.iter().for_each(|vec| vec.remove(labels));
        self.batch_seconds.remove(labels);
        self.watcher_segment.remove(&[name]);
        self.watcher_records.remove(&[name, "all"]);
        self.watcher_failures.remove(&[name]);
    }
}

/// Metrics of one receiver.
#[derive(Debug)]
pub(super) struct QueueMetrics {
    pub(super) sent: KindCounters,
    pub(super) failed: KindCounters,
    pub(super) retried: KindCounters,
    dropped: [KindCounters; 5],
    /// Sent, failed, retried, bytes.
    pub(super) metadata: [Counter; 4],
    pub(super) bytes: Counter,
    pub(super) enqueue_retries: Counter,
    pub(super) highest_s: Gauge,
    pub(super) highest_sent_s: Gauge,
    samples_pending: Gauge,
    exemplars_pending: Gauge,
    histograms_pending: Gauge,
    pub(super) shard_capacity: Gauge,
    pub(super) shards: Gauge,
    pub(super) shards_max: Gauge,
    pub(super) shards_min: Gauge,
    pub(super) shards_desired: Gauge,
    pub(super) samples_per_send_max: Gauge,
    pub(super) batch_seconds: Histogram,
    pub(super) segment: Gauge,
    pub(super) records: Counter,
    pub(super) records_failed: Counter,
}

impl QueueMetrics {
    pub(super) fn dropped(&self, reason: Reason, counts: Counts) {
        self.dropped[reason as usize].add(counts);
    }

    pub(super) fn queued(&self, counts: Counts) {
        self.samples_pending.add(counts.samples as f64);
        self.exemplars_pending.add(counts.exemplars as f64);
        self.histograms_pending.add(counts.histograms as f64);
    }

    pub(super) fn left(&self, counts: Counts) {
        self.samples_pending.add(-(counts.samples as f64));
        self.exemplars_pending.add(-(counts.exemplars as f64));
        self.histograms_pending.add(-(counts.histograms as f64));
    }
}
