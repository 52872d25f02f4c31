//! What scraping counts about itself; names are Prometheus's.

use std::time::Duration;

use crate::http_client::DialMetrics;
use crate::telemetry::{
    Counter, CounterVec, GaugeVec, Histogram, HistogramVec, Registry, SummaryVec,
};

/// Quantiles of the lengths of intervals and the like.
const QUANTILES: &[f64] = &[0.01, 0.05, 0.5, 0.9, 0.99];
/// Bounds of the same.
const COARSE_SECONDS: &[f64] = &[0.01, 0.1, 1.0, 10.0];
/// Bounds of the time that scrapes take.
const FINE_SECONDS: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Metrics of all pools, in a registry of their own.
#[derive(Debug)]
pub(super) struct Metrics {
    pub(super) registry: Registry,
    pub(super) exceeded: Exceeded,
    pub(super) jobs: JobGauges,
    pub(super) exemplars_out_of_order: Counter,
    pub(super) out_of_order: Counter,
    pub(super) duplicates: Counter,
    pub(super) out_of_bounds: Counter,
    pub(super) over_limit: Counter,
    pub(super) pools: Counter,
    pub(super) pools_failed: Counter,
    pub(super) reloads: Counter,
    /// By job.
    pub(super) syncs: CounterVec,
    /// By job.
    pub(super) syncs_failed: CounterVec,
    /// By job.
    pub(super) targets: GaugeVec,
    pub(super) reloads_failed: Counter,
    pub(super) scrape_seconds: Histogram,
    pub(super) times: Times,
    pub(super) dials: DialMetrics,
}

/// How long things took, as summaries and as histograms.
#[derive(Debug)]
pub(super) struct Times {
    /// By the interval that was asked for.
    pub(super) interval: SummaryVec,
    /// By the interval that was asked for.
    pub(super) interval_buckets: HistogramVec,
    /// By job.
    sync: SummaryVec,
    /// By job.
    sync_buckets: HistogramVec,
    /// By the job's interval.
    pub(super) reload: SummaryVec,
}

impl Times {
    fn new(registry: &Registry) -> Self {
        let between_scrapes = "Time from the beginning of one scrape to that of the next.";
        let to_sync = "Time that a job took to take over what discovery found.";
        Self {
            interval: registry.summary_vec(
                "prometheus_target_interval_length_seconds",
                between_scrapes,
                &["interval"],
                QUANTILES,
            ),
            interval_buckets: registry.histogram_vec(
                "prometheus_target_interval_length_histogram_seconds",
                between_scrapes,
                &["interval"],
                COARSE_SECONDS,
            ),
            sync: registry.summary_vec(
                "prometheus_target_sync_length_seconds",
                to_sync,
                &["scrape_job"],
                QUANTILES,
            ),
            sync_buckets: registry.histogram_vec(
                "prometheus_target_sync_length_histogram_seconds",
                to_sync,
                &["scrape_job"],
                COARSE_SECONDS,
            ),
            reload: registry.summary_vec(
                "prometheus_target_reload_length_seconds",
                "Time that a pool took to take over a changed configuration.",
                &["interval"],
                QUANTILES,
            ),
        }
    }

    /// Counts the time that a job took to take over what discovery found.
    pub(super) fn observe_sync(&self, job: &str, took: Duration) {
        self.sync.with(&[job]).observe_duration(took);
        self.sync_buckets.with(&[job]).observe_duration(took);
    }
}

/// What is told of each job when metrics are asked for.
#[derive(Debug)]
pub(super) struct JobGauges {
    pub(super) metadata_entries: GaugeVec,
    pub(super) metadata_bytes: GaugeVec,
    pub(super) target_limit: GaugeVec,
    pub(super) symbols: GaugeVec,
}

impl JobGauges {
    fn new(registry: &Registry) -> Self {
        let gauge = |name, help| registry.gauge_vec(name, help, &["scrape_job"]);
        Self {
            metadata_entries: gauge(
                "prometheus_target_metadata_cache_entries",
                "Families of which the pages of a job's targets say something.",
            ),
            metadata_bytes: gauge(
                "prometheus_target_metadata_cache_bytes",
                "Bytes of what they say.",
            ),
            target_limit: gauge(
                "prometheus_target_scrape_pool_target_limit",
                "Targets that a job may have; 0 for any number.",
            ),
            symbols: gauge(
                "prometheus_target_scrape_pool_symboltable_items",
                "Shapes of pages that the targets of a job share.",
            ),
        }
    }
}

/// Limits of jobs that were reached.
#[derive(Debug)]
pub(super) struct Exceeded {
    pub(super) sample_limit: Counter,
    pub(super) bucket_limit: Counter,
    pub(super) body_size_limit: Counter,
    pub(super) label_limits: Counter,
    pub(super) target_limit: Counter,
}

impl Exceeded {
    fn new(registry: &Registry) -> Self {
        Self {
            sample_limit: registry.counter(
                "prometheus_target_scrapes_exceeded_sample_limit_total",
                "Scrapes rejected because of sample_limit.",
            ),
            bucket_limit: registry.counter(
                "prometheus_target_scrapes_exceeded_native_histogram_bucket_limit_total",
                "Scrapes rejected because of native_histogram_bucket_limit.",
            ),
            body_size_limit: registry.counter(
                "prometheus_target_scrapes_exceeded_body_size_limit_total",
                "Scrapes rejected because of the limit on the size of a page.",
            ),
            label_limits: registry.counter(
                "prometheus_target_scrape_pool_exceeded_label_limits_total",
                "Scrapes rejected because of a limit on labels.",
            ),
            target_limit: registry.counter(
                "prometheus_target_scrape_pool_exceeded_target_limit_total",
                "Synchronisations that found more targets than target_limit.",
            ),
        }
    }
}

impl Metrics {
    pub(super) fn new() -> Self {
        let registry = Registry::new();
        // Stays at 0: a page that fails leaves nothing in the cache.
        let _ = registry.counter(
            "prometheus_target_scrapes_cache_flush_forced_total",
            "Caches of lines given up because failing pages made them grow; none ever is.",
        );
        Self {
            exceeded: Exceeded::new(&registry),
            jobs: JobGauges::new(&registry),
            exemplars_out_of_order: registry.counter(
                "prometheus_target_scrapes_exemplar_out_of_order_total",
                "Exemplars dropped because their series has later ones.",
            ),
            out_of_order: registry.counter(
                "prometheus_target_scrapes_sample_out_of_order_total",
                "Samples dropped because their series has a later one.",
            ),
            duplicates: registry.counter(
                "prometheus_target_scrapes_sample_duplicate_timestamp_total",
                "Samples dropped because their series has another at that time.",
            ),
            out_of_bounds: registry.counter(
                "prometheus_target_scrapes_sample_out_of_bounds_total",
                "Samples dropped because they are too old or too far in the future.",
            ),
            over_limit: registry.counter(
                "narthex_target_scrapes_sample_over_limit_total",
                "Samples dropped because a limit of the storage keeps their series out.",
            ),
            pools: registry.counter("prometheus_target_scrape_pools_total", "Pools begun."),
            pools_failed: registry
                .counter("prometheus_target_scrape_pools_failed_total", "Jobs that could not run."),
            reloads: registry.counter(
                "prometheus_target_scrape_pool_reloads_total",
                "Pools that took over a changed configuration.",
            ),
            syncs: registry.counter_vec(
                "prometheus_target_scrape_pool_sync_total",
                "Changes of what discovery found that a job took over.",
                &["scrape_job"],
            ),
            syncs_failed: registry.counter_vec(
                "prometheus_target_sync_failed_total",
                "Discovered label sets that made no target.",
                &["scrape_job"],
            ),
            targets: registry.gauge_vec(
                "prometheus_target_scrape_pool_targets",
                "Targets of a job that are scraped.",
                &["scrape_job"],
            ),
            reloads_failed: registry.counter(
                "prometheus_target_scrape_pool_reloads_failed_total",
                "Pools that could not take over a changed configuration.",
            ),
            scrape_seconds: registry.histogram(
                "prometheus_target_scrape_duration_seconds",
                "Time of scrapes, from their beginning until all is stored.",
                FINE_SECONDS,
            ),
            times: Times::new(&registry),
            dials: DialMetrics::new(&registry),
            registry,
        }
    }

    /// Forgets what was counted for a job that is gone.
    pub(super) fn remove_job(&self, job: &str) {
        self.syncs.remove(&[job]);
        self.syncs_failed.remove(&[job]);
        self.targets.remove(&[job]);
        self.jobs.metadata_entries.remove(&[job]);
        self.jobs.metadata_bytes.remove(&[job]);
        self.jobs.target_limit.remove(&[job]);
        self.jobs.symbols.remove(&[job]);
        self.times.sync.remove(&[job]);
        self.times.sync_buckets.remove(&[job]);
        self.dials.remove(job);
    }
}
