//! What scraping counts about itself; names are Prometheus's.

use crate::telemetry::{Counter, CounterVec, GaugeVec, Registry, SummaryVec};

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
    /// By the interval that was asked for.
    pub(super) interval_seconds: SummaryVec,
}

/// What is told of each job when metrics are asked for.
#[derive(Debug)]
pub(super) struct JobGauges {
    pub(super) metadata_entries: GaugeVec,
    pub(super) metadata_bytes: GaugeVec,
    pub(super) target_limit: GaugeVec,
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
            interval_seconds: registry.summary_vec(
                "prometheus_target_interval_length_seconds",
                "Time from the beginning of one scrape to that of the next.",
                &["interval"],
                &[0.01, 0.05, 0.5, 0.9, 0.99],
            ),
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
    }
}
