//! What the tests of this module have in common.

use crate::config::{HttpClientConfig, ScrapeConfig, ScrapeProtocol};
use crate::model::{EscapingScheme, NameScheme};

/// A job with Prometheus's defaults.
pub(super) fn job(name: &str) -> ScrapeConfig {
    ScrapeConfig {
        job_name: name.to_owned(),
        honor_labels: false,
        honor_timestamps: true,
        track_timestamps_staleness: false,
        params: Vec::new(),
        scrape_interval_ms: 60_000,
        scrape_timeout_ms: 10_000,
        scrape_protocols: vec![
            ScrapeProtocol::OpenMetricsText1_0_0,
            ScrapeProtocol::OpenMetricsText0_0_1,
            ScrapeProtocol::PrometheusText1_0_0,
            ScrapeProtocol::PrometheusText0_0_4,
        ],
        fallback_scrape_protocol: None,
        scrape_native_histograms: false,
        always_scrape_classic_histograms: false,
        convert_classic_histograms_to_nhcb: false,
        extra_scrape_metrics: false,
        scrape_failure_log_file: String::new(),
        metrics_path: "/metrics".to_owned(),
        scheme: "http".to_owned(),
        enable_compression: true,
        body_size_limit: 0,
        sample_limit: 0,
        target_limit: 0,
        label_limit: 0,
        label_name_length_limit: 0,
        label_value_length_limit: 0,
        native_histogram_bucket_limit: 0,
        native_histogram_min_bucket_factor: 0.0,
        keep_dropped_targets: 0,
        name_scheme: NameScheme::Utf8,
        escaping_scheme: EscapingScheme::AllowUtf8,
        http_client: HttpClientConfig::default(),
        static_configs: Vec::new(),
        discovery_configs: Vec::new(),
        relabel_configs: Vec::new(),
        metric_relabel_configs: Vec::new(),
        unsupported: None,
    }
}
