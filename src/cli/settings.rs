//! What the parts of the server take, made of the flags.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::features;
use super::flags::Flags;
use super::memory::memory_bytes_max;
use crate::config::{self, Config, ExternalUrl, OtlpConfig, TranslationStrategy, parse_bytes};
use crate::db;
use crate::head::SeriesLimits;
use crate::http;
use crate::notifier;
use crate::promql::engine::{Engine, EngineOptions};
use crate::promql::parse::ParseOptions;
use crate::regex::Regex;
use crate::remote::{LabelNames, OtlpOptions, Strategy};
use crate::rules;
use crate::scrape;
use crate::select::{Limit, MemoryPool};
use crate::telemetry::Metrics;

/// How many exemplars are kept when nobody says.
const EXEMPLARS_MAX: i64 = 100_000;

/// What queries may hold where nobody says how much memory there is.
const QUERY_MEMORY_BYTES: u64 = 2 << 30;

/// What the flags decide, once and for all.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The configuration file; `None` for the embedded one.
    pub config_file: Option<PathBuf>,
    /// Folder of the data.
    pub data: PathBuf,
    /// Samples are only scraped and forwarded.
    pub is_agent: bool,
    /// Addresses to listen on.
    pub listen: Vec<String>,
    /// Names given by `--enable-feature`.
    pub features: Vec<String>,
    /// What all queries may hold together.
    pub query_memory: Arc<MemoryPool>,
    /// All flags, as texts.
    pub flags: Flags,
}

/// Names of features: those that do something, those that are accepted, with the reason why they
/// do nothing.
const ACTIVE_FEATURES: [&str; 22] = [
    "auto-reload-config",
    "concurrent-rule-eval",
    "created-timestamp-zero-ingestion",
    "exemplar-storage",
    "extra-scrape-metrics",
    // Always on: histograms, start timestamps, metadata are stored whoever sends them.
    "histograms-st-encoding",
    "metadata-wal-records",
    "native-histograms",
    "otlp-deltatocumulative",
    "otlp-native-delta-ingestion",
    "search-api",
    "st-storage",
    "st-synthesis",
    "type-and-unit-labels",
    "xor2-encoding",
    "promql-binop-fill-modifiers",
    "promql-delayed-name-removal",
    // Always on.
    "promql-duration-expr",
    "promql-experimental-functions",
    "promql-extended-range-selectors",
    "promql-per-step-stats",
    "use-start-timestamps",
];
const IDLE_FEATURES: [&str; 4] =
    ["delayed-compaction", "fast-startup", "memory-snapshot-on-shutdown", "old-ui"];

impl Settings {
    /// Takes the flags apart. The default configuration file may be missing, one that was asked
    /// for may not; that shows when it is read.
    pub fn new(flags: Flags) -> Self {
        let config_file = PathBuf::from(flags.text("config.file"));
        let is_embedded = !flags.is_given("config.file") && !config_file.exists();
        let is_agent = flags.is_agent();
        let features = flags.texts("enable-feature").iter().flat_map(|list| list.split(','));
        let features = features.filter(|name| !name.is_empty()).map(str::to_owned).collect();
        Self {
            config_file: (!is_embedded).then_some(config_file),
            data: PathBuf::from(flags.text(if is_agent {
                "storage.agent.path"
            } else {
                "storage.tsdb.path"
            })),
            is_agent,
            listen: flags.texts("web.listen-address").to_vec(),
            features,
            query_memory: Arc::new(MemoryPool::new(total_memory(&flags))),
            flags,
        }
    }

    pub(super) fn has_feature(&self, name: &str) -> bool {
        self.features.iter().any(|feature| feature == name)
    }

    /// Why these features cannot be on together, if so.
    pub fn features_fault(&self) -> Option<String> {
        let (converts, stores) = ("otlp-deltatocumulative", "otlp-native-delta-ingestion");
        let both = self.has_feature(converts) && self.has_feature(stores);
        both.then(|| format!("cannot enable {converts} and {stores} features at the same time"))
    }

    /// Whether a change of the files of the configuration reloads it.
    pub fn reloads_by_itself(&self) -> bool {
        // COMPAT: the feature is the older name.
        self.flags.is_on("config.auto-reload") || self.has_feature("auto-reload-config")
    }

    /// Lines to log at the start: flags and features that do nothing.
    pub fn remarks(&self) -> Vec<String> {
        let mut lines = self.flags.idle();
        for name in &self.features {
            if ACTIVE_FEATURES.contains(&name.as_str()) || name == "agent" {
                continue;
            }
            lines.push(if IDLE_FEATURES.contains(&name.as_str()) {
                format!("--enable-feature={name} is not active: it is not built in yet")
            } else {
                format!("Unknown option for --enable-feature: {name}")
            });
        }
        lines
    }

    /// The same with the addresses that are listened on: a port that was left open is known.
    #[must_use]
    pub fn listening_on(&self, addresses: Vec<String>) -> Self {
        Self { listen: addresses, ..self.clone() }
    }

    /// `host:port` under which the server reaches itself.
    pub fn own_address(&self) -> String {
        let address = self.listen.first().map_or("0.0.0.0:9090", String::as_str);
        let (host, port) = address.rsplit_once(':').unwrap_or((address, "9090"));
        match host {
            "" | "0.0.0.0" | "[::]" => format!("localhost:{port}"),
            _ => format!("{host}:{port}"),
        }
    }

    /// The web configuration file, if one is named.
    pub fn web_config_file(&self) -> Option<PathBuf> {
        let path = self.flags.text("web.config.file");
        (!path.is_empty()).then(|| PathBuf::from(path))
    }

    /// The port that the first address names.
    pub fn own_port(&self) -> &str {
        let address = self.listen.first().map_or("", String::as_str);
        address.rsplit_once(':').map_or("9090", |(_, port)| port)
    }

    /// Where others reach this server; the error says what is wrong with the flag.
    pub fn external_url(&self) -> Result<ExternalUrl, String> {
        let given = self.flags.text("web.external-url");
        if !given.is_empty() {
            return ExternalUrl::parse(given)
                .map_err(|error| format!("parse external URL {given:?}: {error}"));
        }
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Ok(ExternalUrl::of_host(host.trim(), self.own_port()))
    }

    /// COMPAT: the prefix of all paths, by default that of the external address.
    fn route_prefix(&self, external_url: &ExternalUrl) -> String {
        let given = self.flags.text("web.route-prefix");
        let prefix = if given.is_empty() { external_url.path() } else { given };
        match prefix.trim_matches('/') {
            "" => String::new(),
            prefix => format!("/{prefix}"),
        }
    }

    /// What configurations say where they leave it open.
    pub fn config_defaults(&self) -> config::Defaults {
        let retention_ms = self.flags.duration_ms("storage.tsdb.retention.time");
        let retention_bytes = self.flags.bytes("storage.tsdb.retention.size");
        let usual = config::Defaults::default();
        let says_nothing = retention_ms == 0 && retention_bytes == 0;
        config::Defaults {
            // COMPAT: each flag stands for both, and a section in the file for both flags.
            retention_ms: if says_nothing { usual.retention_ms } else { retention_ms },
            retention_bytes: i64::try_from(retention_bytes).unwrap_or(i64::MAX),
            extra_scrape_metrics: self.has_feature("extra-scrape-metrics"),
            protobuf_first: self.has_feature("st-storage")
                || self.has_feature("created-timestamp-zero-ingestion"),
        }
    }

    /// How OTLP becomes series under this configuration.
    pub fn otlp(&self, config: &Config) -> OtlpOptions {
        let OtlpConfig { strategy, .. } = config.otlp;
        let adds_suffixes = matches!(
            strategy,
            TranslationStrategy::UnderscoreEscapingWithSuffixes
                | TranslationStrategy::NoUtf8EscapingWithSuffixes
        );
        let allows_utf8 = matches!(
            strategy,
            TranslationStrategy::NoUtf8EscapingWithSuffixes | TranslationStrategy::NoTranslation
        );
        OtlpOptions {
            strategy: Strategy { adds_suffixes, allows_utf8 },
            label_names: LabelNames {
                allows_utf8,
                puts_key_before_underscore: config.otlp.puts_key_before_underscore,
                keeps_underscores: config.otlp.keeps_underscores,
            },
            promotes_all: config.otlp.promotes_all,
            promoted: config.otlp.attributes.clone(),
            keeps_identifying: config.otlp.keeps_identifying,
            converts_histograms: config.otlp.converts_histograms,
            promotes_scope: config.otlp.promotes_scope,
            allows_delta: self.has_feature("otlp-native-delta-ingestion"),
            adds_type_and_unit: self.has_feature("type-and-unit-labels"),
            lookback_ms: self.flags.duration_ms("query.lookback-delta"),
        }
    }

    /// Which parts of Prometheus are there, and on.
    pub fn features(&self) -> Vec<(&'static str, Vec<(String, bool)>)> {
        features::listed(self)
    }

    /// What scraping does beyond the jobs' configurations.
    pub fn scraping(&self) -> scrape::Features {
        scrape::Features {
            stores_starts: self.has_feature("st-storage"),
            injects_zeros: self.has_feature("created-timestamp-zero-ingestion"),
            synthesizes_starts: self.has_feature("st-synthesis"),
            type_and_unit_labels: self.has_feature("type-and-unit-labels"),
            stores_metadata: self.has_feature("metadata-wal-records"),
            tolerance_ns: if self.flags.is_on("scrape.adjust-timestamps") {
                self.flags.go_duration_ns("scrape.timestamp-tolerance")
            } else {
                -1
            },
            sync_interval_ms: self.flags.duration_ms("scrape.discovery-reload-interval"),
        }
    }

    /// What the language offers.
    pub fn parse(&self) -> ParseOptions {
        ParseOptions {
            experimental_functions: self.has_feature("promql-experimental-functions"),
            extended_selectors: self.has_feature("promql-extended-range-selectors"),
            fill_modifiers: self.has_feature("promql-binop-fill-modifiers"),
            ..ParseOptions::default()
        }
    }

    /// How rules are evaluated.
    pub fn rules(&self) -> rules::Options {
        let flags = &self.flags;
        rules::Options {
            outage_tolerance_ms: flags.duration_ms("rules.alert.for-outage-tolerance"),
            for_grace_period_ms: flags.duration_ms("rules.alert.for-grace-period"),
            resend_delay_ms: flags.duration_ms("rules.alert.resend-delay"),
            concurrent_evals: self.has_feature("concurrent-rule-eval"),
            concurrent_evals_max: at_least_one(flags.uint("rules.max-concurrent-evals")),
            backfill_gap_ms: flags.duration_ms("rules.backfill-gap"),
            // A flag that is wrong has ended the start.
            external_url: self.external_url().map(|url| url.to_string()).unwrap_or_default(),
            parse: self.parse(),
            watcher: None,
        }
    }

    /// How alerts are sent.
    pub fn notifications(&self) -> notifier::Options {
        notifier::Options {
            queue_capacity: at_least_one(
                self.flags.uint("alertmanager.notification-queue-capacity"),
            ),
            batch_size_max: at_least_one(self.flags.uint("alertmanager.notification-batch-size")),
            drains_on_shutdown: self
                .flags
                .is_on("alertmanager.drain-notification-queue-on-shutdown"),
        }
    }

    /// What the HTTP server takes.
    pub fn http(&self) -> http::Settings {
        let flags = &self.flags;
        // What is wrong with it was told at the start.
        let external_url = self.external_url().unwrap_or_default();
        let route_prefix = self.route_prefix(&external_url);
        let is_given = flags.is_given("web.external-url");
        http::Settings {
            own_url: (!is_given).then(|| format!("http://{}{route_prefix}", self.own_address())),
            route_prefix,
            external_url,
            page_title: flags.text("web.page-title").to_owned(),
            console_templates: flags.text("web.console.templates").into(),
            console_libraries: flags.text("web.console.libraries").into(),
            read_samples_max: flags.uint("storage.remote.read-sample-limit"),
            reads_max: match flags.uint("storage.remote.read-concurrent-limit") {
                0 => tokio::sync::Semaphore::MAX_PERMITS,
                max => at_least_one(max),
            },
            read_frame_bytes_max: usize::try_from(
                flags.uint("storage.remote.read-max-bytes-in-frame"),
            )
            .unwrap_or(usize::MAX),
            otlp: flags.is_on("web.enable-otlp-receiver"),
            delta_streams_max: self
                .has_feature("otlp-deltatocumulative")
                .then(|| flags.uint("storage.limits.max-delta-streams")),
            search_results_max: self
                .has_feature("search-api")
                .then(|| usize::try_from(flags.uint("web.search.max-limit")).unwrap_or(usize::MAX)),
            subscribers_max: at_least_one(flags.uint("web.max-notifications-subscribers")),
            lifecycle: flags.is_on("web.enable-lifecycle"),
            admin: flags.is_on("web.enable-admin-api"),
            remote_write: flags.is_on("web.enable-remote-write-receiver"),
            is_agent: self.is_agent,
            cors_origin: Regex::new(flags.text("web.cors.origin")).ok(),
            queries_max: at_least_one(flags.uint("query.max-concurrency")),
            result_cache_bytes: self.bytes("query.result-cache-size"),
            connections_max: at_least_one(flags.uint("web.max-connections")),
            read_timeout: duration(flags.duration_ms("web.read-timeout")),
            parse: self.parse(),
        }
    }

    /// The engine under this configuration.
    pub fn engine(&self, config: &Config) -> Engine {
        let flags = &self.flags;
        Engine::new(EngineOptions {
            lookback_delta_ms: flags.duration_ms("query.lookback-delta"),
            max_samples: usize::try_from(flags.uint("query.max-samples")).unwrap_or(usize::MAX),
            max_series: or_none(flags.uint("query.max-series")),
            memory_bytes_max: match self.bytes("query.max-memory") {
                0 => self.query_memory.bytes_max() / 2,
                bytes => bytes,
            },
            memory: Arc::clone(&self.query_memory),
            timeout: duration(flags.duration_ms("query.timeout")),
            subquery_step_ms: config.global.evaluation_interval_ms,
            delayed_name_removal: self.has_feature("promql-delayed-name-removal"),
            use_start_timestamps: self.has_feature("use-start-timestamps"),
            type_and_unit_labels: self.has_feature("type-and-unit-labels"),
            per_step_stats: self.has_feature("promql-per-step-stats"),
            ..EngineOptions::default()
        })
    }

    /// Shows what bounds queries.
    pub fn show_query_limits(&self, metrics: &Metrics, config: &Config) {
        let engine = self.engine(config);
        let options = engine.options();
        let (places, timeout) = (self.http().queries_max, options.timeout);
        metrics.set_queries_max(places);
        metrics.set_query_limit("query.max-concurrency", places as f64);
        metrics.set_query_limit("query.timeout", timeout.as_secs_f64());
        let shown = |bound: u64| if bound == u64::MAX { 0.0 } else { bound as f64 };
        for limit in Limit::ALL {
            let bound = match limit {
                Limit::Samples => options.max_samples as u64,
                Limit::Series => options.max_series,
                Limit::Memory => options.memory_bytes_max,
                Limit::TotalMemory => self.query_memory.bytes_max(),
            };
            metrics.set_query_limit(limit.name(), shown(bound));
        }
        metrics.watch_query_memory(Arc::clone(&self.query_memory));
    }

    /// How many exemplars are kept under this configuration.
    pub fn exemplars_max(&self, config: &Config) -> usize {
        if self.is_agent {
            // They need only stand in the log.
            return EXEMPLARS_MAX as usize;
        }
        // Forwards read them from storage, so that who has them sent has them kept.
        let are_sent = config.remote_write_configs.iter().any(|write| write.send_exemplars);
        if !are_sent && !self.has_feature("exemplar-storage") {
            return 0;
        }
        let max = config.storage.exemplars_max.unwrap_or(EXEMPLARS_MAX);
        usize::try_from(max).unwrap_or(0)
    }

    /// What the database takes under this configuration; the observer is the caller's.
    pub fn database(&self, config: &Config) -> db::Options {
        let retention = config.storage.retention;
        let longest = self.flags.duration_ms("storage.tsdb.max-block-duration");
        let shortest = self.flags.duration_ms("storage.tsdb.min-block-duration").max(1);
        db::Options {
            retention_ms: retention.time_ms,
            retention_bytes: retention.bytes,
            retention_percentage: retention.percentage,
            out_of_order_window_ms: config.storage.out_of_order_window_ms,
            exemplars_max: self.exemplars_max(config),
            block_duration_min_ms: shortest,
            // As Prometheus is run beside a Thanos sidecar.
            export_windows: longest == shortest && !self.is_agent,
            forwards_only: self.is_agent,
            block_duration_max_ms: (longest > 0).then_some(longest),
            limits: self.limits(),
            sync_interval: duration(self.flags.duration_ms("storage.wal.sync-interval")),
            disk_reserve_bytes: self.bytes("storage.disk-reserve"),
            quarantine_bytes_max: self.bytes("storage.quarantine.max-size"),
            ..db::Options::default()
        }
    }

    /// A size; the table has seen to it that it is one.
    fn bytes(&self, name: &str) -> u64 {
        parse_bytes(self.flags.text(name)).unwrap_or(0) as u64
    }

    /// What new series are taken at most.
    fn limits(&self) -> SeriesLimits {
        let limit = |name: &str| self.flags.uint(&format!("storage.limits.max-{name}"));
        let memory = self.bytes("storage.limits.max-head-memory");
        SeriesLimits {
            labels_max: limit("labels-per-series"),
            label_name_bytes_max: limit("label-name-length"),
            label_value_bytes_max: limit("label-value-length"),
            series_max: limit("series"),
            series_per_job_max: limit("series-per-job"),
            series_per_metric_max: limit("series-per-metric"),
            memory_bytes_max: if memory > 0 { memory } else { memory_bytes_max() / 2 },
        }
    }
}

/// What all queries may hold together.
fn total_memory(flags: &Flags) -> u64 {
    let asked = flags.bytes("query.max-total-memory");
    if asked > 0 {
        return asked;
    }
    match memory_bytes_max() {
        0 => QUERY_MEMORY_BYTES,
        bytes => bytes / 4,
    }
}

/// A bound of 0 is none.
fn or_none(bound: u64) -> u64 {
    if bound == 0 { u64::MAX } else { bound }
}

fn at_least_one(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX).clamp(1, tokio::sync::Semaphore::MAX_PERMITS)
}

pub(super) fn duration(ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::config;

    fn settings(line: &[&str]) -> Settings {
        let line = std::iter::once("narthex").chain(line.iter().copied());
        Settings::new(Flags::parse(line.map(OsString::from)).unwrap())
    }

    #[test]
    fn who_has_exemplars_sent_has_them_kept() {
        let kept = |line: &[&str], sends: bool| {
            let text = format!("remote_write: [{{url: 'http://a', send_exemplars: {sends}}}]");
            settings(line).exemplars_max(&config::parse(&text, "t.yml").unwrap())
        };
        let flag = ["--enable-feature=exemplar-storage"];
        assert_eq!([kept(&[], false), kept(&[], true)], [0, EXEMPLARS_MAX as usize]);
        assert_eq!(kept(&flag, false), EXEMPLARS_MAX as usize);
    }

    #[test]
    fn retention_comes_from_the_configuration_then_the_flag() {
        let retention = |line: &[&str], text: &str| {
            let defaults = settings(line).config_defaults();
            config::parse_with(text, "t.yml", defaults).unwrap().storage.retention
        };
        let day_ms = 86_400_000;
        let kept = |time_ms, bytes, percentage| db::Retention { time_ms, bytes, percentage };
        assert_eq!(retention(&[], ""), kept(15 * day_ms, 0, 0.0));
        assert_eq!(retention(&[], "storage:"), kept(15 * day_ms, 0, 0.0));
        let flag = ["--storage.tsdb.retention.time=30d"];
        assert_eq!(retention(&flag, "storage: {tsdb: null}"), kept(30 * day_ms, 0, 0.0));
        let written = |text| format!("storage: {{tsdb: {{retention: {text}}}}}");
        assert_eq!(retention(&flag, &written("null")), kept(30 * day_ms, 0, 0.0));
        assert_eq!(retention(&flag, &written("{}")), kept(0, 0, 0.0));
        assert_eq!(retention(&flag, &written("{time: 3d}")), kept(3 * day_ms, 0, 0.0));
        assert_eq!(retention(&flag, &written("{size: 1KB}")), kept(0, 1024, 0.0));
        assert_eq!(retention(&flag, &written("{percentage: 12.5}")), kept(0, 0, 12.5));
        let sized = ["--storage.tsdb.retention.size=512MB"];
        assert_eq!(retention(&sized, ""), kept(0, 512 << 20, 0.0));
    }

    #[test]
    fn what_the_disk_may_lose_and_hold_is_set_by_flags() {
        let empty = config::parse("", "t.yml").unwrap();
        let options = settings(&[]).database(&empty);
        let usual = db::Options::default();
        assert_eq!(options.sync_interval, usual.sync_interval);
        assert_eq!(options.disk_reserve_bytes, usual.disk_reserve_bytes);
        assert_eq!(options.quarantine_bytes_max, usual.quarantine_bytes_max);
        let line = [
            "--storage.wal.sync-interval=0s",
            "--storage.disk-reserve=64MiB",
            "--storage.quarantine.max-size=0B",
        ];
        let options = settings(&line).database(&empty);
        assert!(options.sync_interval.is_zero());
        assert_eq!((options.disk_reserve_bytes, options.quarantine_bytes_max), (64 << 20, 0));
    }

    #[test]
    fn what_queries_may_take_is_set_by_flags() {
        let empty = config::parse("", "t.yml").unwrap();
        let usual = settings(&[]);
        let (total, options) = (usual.query_memory.bytes_max(), usual.engine(&empty));
        assert!(total > 0);
        let options = options.options();
        assert_eq!((options.memory_bytes_max, options.max_series), (total / 2, 10_000_000));
        // A reload makes another engine; the pool stays.
        assert!(Arc::ptr_eq(&options.memory, &usual.engine(&empty).options().memory));
        let line =
            ["--query.max-total-memory=64MiB", "--query.max-memory=48MiB", "--query.max-series=0"];
        let set = settings(&line);
        let engine = set.engine(&empty);
        assert_eq!(set.query_memory.bytes_max(), 64 << 20);
        assert_eq!(engine.options().memory_bytes_max, 48 << 20);
        assert_eq!(engine.options().max_series, u64::MAX);
    }

    #[test]
    fn features_are_told_apart() {
        let settings = settings(&["--enable-feature=promql-experimental-functions,old-ui,x"]);
        assert!(settings.http().parse.experimental_functions);
        assert_eq!(
            settings.remarks(),
            [
                "--enable-feature=old-ui is not active: it is not built in yet",
                "Unknown option for --enable-feature: x",
            ]
        );
    }

    #[test]
    fn the_prefix_of_paths_follows_the_external_address() {
        let prefix = |line: &[&str]| settings(line).http().route_prefix;
        assert_eq!(prefix(&[]), "");
        assert_eq!(prefix(&["--web.external-url=http://a/b/"]), "/b");
        assert_eq!(prefix(&["--web.external-url=http://a/b/", "--web.route-prefix=/"]), "");
        assert_eq!(prefix(&["--web.route-prefix=x/y/"]), "/x/y");
        assert!(settings(&["--web.external-url='x'"]).external_url().is_err());
        let plain = settings(&["--web.listen-address=127.0.0.1:7"]).http();
        assert_eq!(plain.own_url.as_deref(), Some("http://127.0.0.1:7"));
        assert!(plain.external_url.to_string().ends_with(":7"));
    }

    #[test]
    fn the_own_address_can_be_reached() {
        assert_eq!(settings(&[]).own_address(), "localhost:9090");
        let own = |address: &str| settings(&["--web.listen-address", address]).own_address();
        assert_eq!(own(":1"), "localhost:1");
        assert_eq!(own("127.0.0.1:2"), "127.0.0.1:2");
        assert_eq!(own("[::1]:3"), "[::1]:3");
    }

    #[test]
    fn a_configuration_that_was_asked_for_is_not_replaced() {
        let asked = settings(&["--config.file=missing.yml"]);
        assert_eq!(asked.config_file, Some(PathBuf::from("missing.yml")));
        assert!(config::load(&asked.config_file.unwrap()).is_err());
    }
}
