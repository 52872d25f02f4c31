//! One scrape job.

use super::discovery::unsupported_mechanism;
use super::load::static_targets;
use super::record::{Record, Value};
use super::{DiscoveryConfig, HttpClientConfig};
use crate::model::{EscapingScheme, Labels, NameScheme};
use crate::relabel::Rule;

/// A text or binary format that a target may answer in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScrapeProtocol {
    /// Delimited protobuf.
    PrometheusProto,
    /// Prometheus text 0.0.4.
    PrometheusText0_0_4,
    /// Prometheus text 1.0.0.
    PrometheusText1_0_0,
    /// OpenMetrics text 0.0.1.
    OpenMetricsText0_0_1,
    /// OpenMetrics text 1.0.0.
    OpenMetricsText1_0_0,
}

impl ScrapeProtocol {
    /// All of them, in the order of their names.
    pub const ALL: [Self; 5] = [
        Self::OpenMetricsText0_0_1,
        Self::OpenMetricsText1_0_0,
        Self::PrometheusProto,
        Self::PrometheusText0_0_4,
        Self::PrometheusText1_0_0,
    ];

    /// The name in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PrometheusProto => "PrometheusProto",
            Self::PrometheusText0_0_4 => "PrometheusText0.0.4",
            Self::PrometheusText1_0_0 => "PrometheusText1.0.0",
            Self::OpenMetricsText0_0_1 => "OpenMetricsText0.0.1",
            Self::OpenMetricsText1_0_0 => "OpenMetricsText1.0.0",
        }
    }

    /// The protocol with that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|protocol| protocol.as_str() == name)
    }

    /// The media type with its parameters, as an `Accept` header lists it.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::PrometheusProto => {
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;\
                 encoding=delimited"
            }
            Self::PrometheusText0_0_4 => "text/plain;version=0.0.4",
            Self::PrometheusText1_0_0 => "text/plain;version=1.0.0",
            Self::OpenMetricsText0_0_1 => "application/openmetrics-text;version=0.0.1",
            Self::OpenMetricsText1_0_0 => "application/openmetrics-text;version=1.0.0",
        }
    }
}

/// A job: where its targets come from, how they are scraped, what is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct ScrapeConfig {
    /// Unique over all files.
    pub job_name: String,
    /// Labels of the page win over labels of the target.
    pub honor_labels: bool,
    /// Times in the page are used.
    pub honor_timestamps: bool,
    /// Series with times of their own get staleness markers too.
    pub track_timestamps_staleness: bool,
    /// Query parameters, by name; each with its values in order.
    pub params: Vec<(String, Vec<String>)>,
    /// How often.
    pub scrape_interval_ms: i64,
    /// When a scrape is given up; at most the interval.
    pub scrape_timeout_ms: i64,
    /// Formats to ask for, the most wanted first.
    pub scrape_protocols: Vec<ScrapeProtocol>,
    /// The format of pages whose content type says nothing known; without it they fail.
    pub fallback_scrape_protocol: Option<ScrapeProtocol>,
    /// Native histograms are stored.
    pub scrape_native_histograms: bool,
    /// Classic histograms are stored beside their native form.
    pub always_scrape_classic_histograms: bool,
    /// Classic histograms are stored as native ones with custom buckets.
    pub convert_classic_histograms_to_nhcb: bool,
    /// `scrape_timeout_seconds` and its like are written.
    pub extra_scrape_metrics: bool,
    /// Where failed scrapes are logged; empty for nowhere.
    pub scrape_failure_log_file: String,
    /// Path of the page.
    pub metrics_path: String,
    /// `http` or `https`, or what relabelling is to replace.
    pub scheme: String,
    /// A compressed page is asked for.
    pub enable_compression: bool,
    /// Bytes of a page after decompression.
    pub body_size_limit: u64,
    /// Samples of a page after relabelling.
    pub sample_limit: u64,
    /// Targets of the job after relabelling.
    pub target_limit: u64,
    /// Labels of a series.
    pub label_limit: u64,
    /// Bytes of a label's name.
    pub label_name_length_limit: u64,
    /// Bytes of a label's value.
    pub label_value_length_limit: u64,
    /// Buckets of a native histogram.
    pub native_histogram_bucket_limit: u64,
    /// Least growth from one bucket to the next.
    pub native_histogram_min_bucket_factor: f64,
    /// Dropped targets that are remembered for display.
    pub keep_dropped_targets: u64,
    /// Which metric and label names are taken.
    pub name_scheme: NameScheme,
    /// In which form names are asked for.
    pub escaping_scheme: EscapingScheme,
    /// How targets are reached.
    pub http_client: HttpClientConfig,
    /// Targets written in the configuration.
    pub static_configs: Vec<StaticTargets>,
    /// Mechanisms that find more.
    pub discovery_configs: Vec<DiscoveryConfig>,
    /// Applied to targets.
    pub relabel_configs: Vec<Rule>,
    /// Applied to series.
    pub metric_relabel_configs: Vec<Rule>,
    /// Why the job cannot run on this server, if so; everything else about it is valid.
    pub unsupported: Option<String>,
}

/// An entry of `static_configs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaticTargets {
    /// Addresses (`host:port`).
    pub targets: Vec<String>,
    /// Labels of each of them.
    pub labels: Labels,
}

impl ScrapeConfig {
    /// The plain form of a completed record.
    pub(super) fn of(job: &Record) -> Self {
        let protocols = job.texts("scrape_protocols").iter();
        let limit = |key: &str| job.uint(key);
        Self {
            job_name: job.text("job_name").to_owned(),
            honor_labels: job.flag("honor_labels"),
            honor_timestamps: job.flag("honor_timestamps"),
            track_timestamps_staleness: job.flag("track_timestamps_staleness"),
            params: match job.value("params") {
                Value::TextLists(pairs) => pairs.clone(),
                _ => Vec::new(),
            },
            scrape_interval_ms: job.duration_ms("scrape_interval"),
            scrape_timeout_ms: job.duration_ms("scrape_timeout"),
            scrape_protocols: protocols.filter_map(|name| ScrapeProtocol::parse(name)).collect(),
            fallback_scrape_protocol: ScrapeProtocol::parse(job.text("fallback_scrape_protocol")),
            scrape_native_histograms: job.flag("scrape_native_histograms"),
            always_scrape_classic_histograms: job.flag("always_scrape_classic_histograms"),
            convert_classic_histograms_to_nhcb: job.flag("convert_classic_histograms_to_nhcb"),
            extra_scrape_metrics: job.flag("extra_scrape_metrics"),
            scrape_failure_log_file: job.text("scrape_failure_log_file").to_owned(),
            metrics_path: job.text("metrics_path").to_owned(),
            scheme: job.text("scheme").to_owned(),
            enable_compression: job.flag("enable_compression"),
            body_size_limit: limit("body_size_limit"),
            sample_limit: limit("sample_limit"),
            target_limit: limit("target_limit"),
            label_limit: limit("label_limit"),
            label_name_length_limit: limit("label_name_length_limit"),
            label_value_length_limit: limit("label_value_length_limit"),
            native_histogram_bucket_limit: limit("native_histogram_bucket_limit"),
            native_histogram_min_bucket_factor: job.float("native_histogram_min_bucket_factor"),
            keep_dropped_targets: limit("keep_dropped_targets"),
            name_scheme: match job.text("metric_name_validation_scheme") {
                "legacy" => NameScheme::Legacy,
                _ => NameScheme::Utf8,
            },
            escaping_scheme: EscapingScheme::parse(job.text("metric_name_escaping_scheme"))
                .unwrap_or_default(),
            http_client: HttpClientConfig::of(job),
            static_configs: job.records("static_configs").iter().map(static_targets).collect(),
            discovery_configs: DiscoveryConfig::all_of(job),
            relabel_configs: job.rules("relabel_configs").to_vec(),
            metric_relabel_configs: job.rules("metric_relabel_configs").to_vec(),
            unsupported: unsupported(job),
        }
    }
}

fn unsupported(job: &Record) -> Option<String> {
    let key = unsupported_mechanism(job)?;
    Some(format!("{key}: this discovery mechanism is not built in"))
}
