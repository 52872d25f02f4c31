//! What is counted as it happens: each family's name, type, labels, bounds and help.
//!
//! COMPAT: names, labels and bounds of `prometheus_` families are Prometheus's.

use super::registry::{CounterVec, GaugeVec, HistogramVec, Registry};
use super::value::{Counter, Gauge, Histogram, Summary};

const REQUEST_SECONDS: &[f64] = &[0.1, 0.2, 0.4, 1.0, 3.0, 8.0, 20.0, 60.0, 120.0];
const RESPONSE_BYTES: &[f64] = &[1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];
const COARSE_SECONDS: &[f64] = &[0.01, 0.1, 1.0, 10.0];
const COMPACTION_SECONDS: &[f64] =
    &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0];
const QUANTILES: &[f64] = &[0.5, 0.9, 0.99];

const SLICES: [&str; 4] = ["queue_time", "prepare_time", "inner_eval", "result_sort"];

/// What requests come to.
#[derive(Debug, Clone)]
pub(super) struct HttpMetrics {
    pub(super) requests: CounterVec,
    pub(super) seconds: HistogramVec,
    pub(super) bytes: HistogramVec,
}

impl HttpMetrics {
    pub(super) fn new(r: &Registry) -> Self {
        let handler = &["handler"];
        Self {
            requests: r.counter_vec(
                "prometheus_http_requests_total",
                "HTTP requests answered, by status and handler.",
                &["code", "handler"],
            ),
            seconds: r.histogram_vec(
                "prometheus_http_request_duration_seconds",
                "Time from a request's head to the end of its answer.",
                handler,
                REQUEST_SECONDS,
            ),
            bytes: r.histogram_vec(
                "prometheus_http_response_size_bytes",
                "Size of the bodies of answers.",
                handler,
                RESPONSE_BYTES,
            ),
        }
    }
}

/// What queries come to.
#[derive(Debug, Clone)]
pub(super) struct QueryMetrics {
    pub(super) seconds: [Summary; 4],
    pub(super) buckets: [Histogram; 4],
    pub(super) running: Gauge,
    pub(super) running_max: Gauge,
    pub(super) samples: Counter,
    pub(super) log_failures: Counter,
    pub(super) log_enabled: Gauge,
    pub(super) limits: GaugeVec,
    pub(super) refused: CounterVec,
}

impl QueryMetrics {
    pub(super) fn new(r: &Registry) -> Self {
        let (seconds, buckets) = query_slices(r);
        Self {
            seconds,
            buckets,
            running: r.gauge("prometheus_engine_queries", "Queries that run or wait now."),
            running_max: r.gauge(
                "prometheus_engine_queries_concurrent_max",
                "Queries that may run at the same time.",
            ),
            samples: r.counter(
                "prometheus_engine_query_samples_total",
                "Samples that queries looked at.",
            ),
            log_failures: r.counter(
                "prometheus_engine_query_log_failures_total",
                "Queries that could not be written to the query log.",
            ),
            log_enabled: r.gauge(
                "prometheus_engine_query_log_enabled",
                "1 while queries are written to a log, otherwise 0.",
            ),
            limits: r.gauge_vec(
                "narthex_query_limit",
                "Bound of each limit on queries; 0 sets none.",
                &["limit"],
            ),
            refused: r.counter_vec(
                "narthex_query_refused_total",
                "Queries that ended at a limit.",
                &["limit"],
            ),
        }
    }
}

/// How loading the configuration went.
#[derive(Debug, Clone)]
pub(super) struct ConfigMetrics {
    pub(super) successful: Gauge,
    pub(super) success_seconds: Gauge,
}

impl ConfigMetrics {
    pub(super) fn new(r: &Registry) -> Self {
        Self {
            successful: r.gauge(
                "prometheus_config_last_reload_successful",
                "1 where the last attempt to load the configuration went well, otherwise 0.",
            ),
            success_seconds: r.gauge(
                "prometheus_config_last_reload_success_timestamp_seconds",
                "When the configuration in force was loaded.",
            ),
        }
    }
}

/// What comes by remote write.
#[derive(Debug, Clone)]
pub(super) struct WriteMetrics {
    pub(super) invalid: Counter,
    pub(super) samples: CounterVec,
    pub(super) dropped: CounterVec,
}

impl WriteMetrics {
    pub(super) fn new(r: &Registry) -> Self {
        Self {
            invalid: r.counter(
                "prometheus_api_remote_write_invalid_labels_samples_total",
                "Series refused by the remote-write receiver because of their labels.",
            ),
            samples: r.counter_vec(
                "narthex_remote_write_received_samples_total",
                "Samples that came by remote write, by whether they were stored.",
                &["outcome"],
            ),
            dropped: r.counter_vec(
                "narthex_remote_write_received_unsupported_total",
                "Items that came by remote write and are not stored, by what they are.",
                &["type"],
            ),
        }
    }
}

/// What a database tells its observer.
#[derive(Debug, Clone)]
pub(super) struct StorageMetrics {
    pub(super) compactions_failed: Counter,
    pub(super) truncations_failed: Counter,
    pub(super) reloads_failed: Counter,
    pub(super) wal_corruptions: Counter,
    pub(super) head_file_corruptions: Counter,
    pub(super) chunks_created: [Counter; 2],
    pub(super) warnings: Counter,
    pub(super) compaction_seconds: Histogram,
    pub(super) flushed_samples: Counter,
    pub(super) replay_seconds: Gauge,
}

fn query_slices(registry: &Registry) -> ([Summary; 4], [Histogram; 4]) {
    let help = "Time of queries, by part.";
    let name = "prometheus_engine_query_duration_seconds";
    let summaries = registry.summary_vec(name, help, &["slice"], QUANTILES);
    let name = "prometheus_engine_query_duration_histogram_seconds";
    let histograms = registry.histogram_vec(name, help, &["slice"], COARSE_SECONDS);
    (SLICES.map(|slice| summaries.with(&[slice])), SLICES.map(|slice| histograms.with(&[slice])))
}

impl StorageMetrics {
    pub(super) fn new(registry: &Registry) -> Self {
        Self {
            compactions_failed: registry.counter(
                "prometheus_tsdb_compactions_failed_total",
                "Windows of the head and merges of blocks that could not be written.",
            ),
            truncations_failed: registry.counter(
                "prometheus_tsdb_head_truncations_failed_total",
                "Windows of the head that could not be written and stay in memory.",
            ),
            head_file_corruptions: registry.counter(
                "prometheus_tsdb_mmap_chunk_corruptions_total",
                "Damaged files of the head put aside, or damaged places found in them.",
            ),
            chunks_created: [
                registry.counter(
                    "prometheus_tsdb_head_chunks_created_total",
                    "Chunks of the head that were sealed.",
                ),
                registry.counter(
                    "prometheus_tsdb_mmap_chunks_total",
                    "Chunks of the head that were written to files.",
                ),
            ],
            reloads_failed: registry.counter(
                "prometheus_tsdb_reloads_failures_total",
                "Steps of maintenance, other than writing a block, that failed.",
            ),
            wal_corruptions: registry.counter(
                "prometheus_tsdb_wal_corruptions_total",
                "Damaged parts of the write-ahead log put aside.",
            ),
            warnings: registry.counter(
                "narthex_storage_warnings_total",
                "Things found damaged or odd that the database went on without.",
            ),
            compaction_seconds: registry.histogram(
                "prometheus_tsdb_compaction_duration_seconds",
                "Time that writing a block took.",
                COMPACTION_SECONDS,
            ),
            flushed_samples: registry.counter(
                "narthex_flushed_samples_total",
                "Samples that left the head for a block.",
            ),
            replay_seconds: registry.gauge(
                "prometheus_tsdb_data_replay_duration_seconds",
                "Time that opening the database took.",
            ),
        }
    }
}
