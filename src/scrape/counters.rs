//! What scraping counts about itself; names are Prometheus's.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::exposition::{Family, MetricType, SampleLine};

/// Counters of all pools.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) exceeded_sample_limit: Counter,
    pub(super) exceeded_body_size_limit: Counter,
    pub(super) exceeded_label_limits: Counter,
    pub(super) exceeded_target_limit: Counter,
    pub(super) out_of_order: Counter,
    pub(super) duplicates: Counter,
    pub(super) out_of_bounds: Counter,
    pub(super) pools: Counter,
    pub(super) pools_failed: Counter,
    pub(super) reloads: Counter,
    pub(super) syncs_failed: Counter,
}

/// A number that only grows.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, number: usize) {
        self.0.fetch_add(number as u64, Ordering::Relaxed);
    }
}

impl Counters {
    pub(super) fn families(&self) -> Vec<Family> {
        [
            (
                "prometheus_target_scrapes_exceeded_sample_limit_total",
                "Scrapes rejected because of sample_limit.",
                &self.exceeded_sample_limit,
            ),
            (
                "prometheus_target_scrapes_exceeded_body_size_limit_total",
                "Scrapes rejected because of the limit on the size of a page.",
                &self.exceeded_body_size_limit,
            ),
            (
                "prometheus_target_scrape_pool_exceeded_label_limits_total",
                "Scrapes rejected because of a limit on labels.",
                &self.exceeded_label_limits,
            ),
            (
                "prometheus_target_scrape_pool_exceeded_target_limit_total",
                "Synchronisations that found more targets than target_limit.",
                &self.exceeded_target_limit,
            ),
            (
                "prometheus_target_scrapes_sample_out_of_order_total",
                "Samples dropped because their series has a later one.",
                &self.out_of_order,
            ),
            (
                "prometheus_target_scrapes_sample_duplicate_timestamp_total",
                "Samples dropped because their series has another at that time.",
                &self.duplicates,
            ),
            (
                "prometheus_target_scrapes_sample_out_of_bounds_total",
                "Samples dropped because they are too old or too far in the future.",
                &self.out_of_bounds,
            ),
            ("prometheus_target_scrape_pools_total", "Pools begun.", &self.pools),
            (
                "prometheus_target_scrape_pools_failed_total",
                "Jobs that could not run.",
                &self.pools_failed,
            ),
            (
                "prometheus_target_scrape_pool_reloads_total",
                "Pools that took over a changed configuration.",
                &self.reloads,
            ),
            (
                "prometheus_target_sync_failed_total",
                "Discovered label sets that made no target.",
                &self.syncs_failed,
            ),
        ]
        .into_iter()
        .map(|(name, help, counter)| Family {
            name: name.to_owned(),
            help: help.to_owned(),
            metric_type: MetricType::Counter,
            samples: vec![SampleLine {
                suffix: "",
                labels: Vec::new(),
                value: counter.0.load(Ordering::Relaxed) as f64,
            }],
        })
        .collect()
    }
}
