//! The running process as the HTTP server sees it, and the reload.
//!
//! A reload is all or nothing: the new configuration is read, completed and checked first;
//! what then applies it cannot fail. One reload runs at a time.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, Weak};
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use super::auto_reload::AutoReload;
use super::notifying::Notifying;
use super::rules::load_rules;
use super::settings::Settings;
use super::tracing::Tracing;
use crate::config::{self, Config, ConfigError};
use crate::db::ResultCacheStats;
use crate::discovery::Discovery;
use crate::exposition::{Family, FamilyMetadata, MetricType, SampleLine};
use crate::http::query_log::QueryLog;
use crate::http::{Control, DroppedTarget, Lifecycle, MetricMetadata, Service, TargetStatus};
use crate::model::{Labels, Metadata, format_duration};
use crate::relabel::Rule;
use crate::remote::send::{self, Senders};
use crate::remote::{OtlpOptions, RemoteSources};
use crate::rules::{self, Group, GroupSpec};
use crate::scrape::Manager;
use crate::telemetry::{DiscoveredTargets, Figures, Metrics, TsdbFigures};

/// What the process is asked for from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Request {
    /// End in good order.
    Quit,
}

/// The parts that come to life once the database is open.
#[derive(Debug)]
pub(super) struct Scraping {
    pub(super) discovery: Discovery,
    pub(super) manager: Manager,
}

/// Shared by the HTTP server, the signals and the start.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) settings: Settings,
    config: RwLock<Arc<Config>>,
    /// When the configuration in force was loaded, and whether the last attempt worked.
    loaded: Mutex<(SystemTime, bool)>,
    pub(super) reloading: Mutex<()>,
    requests: mpsc::UnboundedSender<Request>,
    started: SystemTime,
    pub(super) metrics: Metrics,
    pub(super) scraping: OnceLock<Scraping>,
    pub(super) rules: OnceLock<rules::Manager>,
    /// Groups that were read and do not run yet.
    loaded_rules: Mutex<Vec<GroupSpec>>,
    pub(super) notifying: Notifying,
    pub(super) senders: OnceLock<Senders>,
    pub(super) service: OnceLock<Weak<Service>>,
    pub(super) auto_reload: Option<AutoReload>,
    pub(super) tracing: Tracing,
    /// Where everything runs that goes on. Requests may be answered in runtimes of their own, which
    /// end with their connections.
    runtime: Handle,
}

/// Reads the configuration that the settings name.
pub(super) fn read_config(settings: &Settings) -> Result<Config, ConfigError> {
    match &settings.config_file {
        Some(path) => config::load_with(path, settings.config_defaults()),
        None => Ok(config::embedded_default(&settings.own_address(), settings.config_defaults())),
    }
}

/// Says what of a configuration is not acted on.
pub(super) fn log_remarks(config: &Config) {
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    for section in config.inactive() {
        tracing::warn!("Not active: {section}");
    }
}

/// The log of queries that the configuration names.
pub(super) fn open_query_log(config: &Config) -> Result<Option<QueryLog>, String> {
    let path = &config.global.query_log_file;
    if path.is_empty() {
        return Ok(None);
    }
    match QueryLog::open(Path::new(path)) {
        Ok(log) => Ok(Some(log)),
        Err(error) => Err(format!("opening query_log_file {path}: {error}")),
    }
}

/// The other servers that the configuration names as sources of queries; `None`: there are none.
pub(super) fn remote_sources(config: &Config) -> Result<Option<RemoteSources>, String> {
    if config.remote_read.is_empty() {
        return Ok(None);
    }
    let runtime = Handle::try_current().map_err(|error| error.to_string())?;
    RemoteSources::new(&config.remote_read, &config.global.external_labels, runtime).map(Some)
}

impl Process {
    pub(super) fn new(
        settings: Settings,
        config: Config,
        requests: mpsc::UnboundedSender<Request>,
        auto_reload: Option<AutoReload>,
        runtime: Handle,
    ) -> Self {
        let metrics = Metrics::new();
        metrics.reloaded(true);
        let now = SystemTime::now();
        let notifying = Notifying::new(&settings);
        Self {
            settings,
            config: RwLock::new(Arc::new(config)),
            loaded: Mutex::new((now, true)),
            reloading: Mutex::new(()),
            requests,
            started: now,
            metrics,
            scraping: OnceLock::new(),
            rules: OnceLock::new(),
            loaded_rules: Mutex::new(Vec::new()),
            notifying,
            senders: OnceLock::new(),
            service: OnceLock::new(),
            auto_reload,
            tracing: Tracing::default(),
            runtime,
        }
    }

    pub(super) fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn loaded_rules(&self) -> MutexGuard<'_, Vec<GroupSpec>> {
        self.loaded_rules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn service(&self) -> Option<Arc<Service>> {
        self.service.get()?.upgrade()
    }

    /// Hands the configuration in force to those who scrape. Must be called within the runtime.
    pub(super) fn apply_to_scraping(&self) {
        let Some(scraping) = self.scraping.get() else { return };
        let config = self.config();
        scraping.manager.apply(&config.scrape_configs, &config.global.external_labels);
        scraping.discovery.apply(&config.scrape_configs);
    }

    /// Sends alerts as the configuration in force says. Must be called within the runtime.
    pub(super) fn start_notifying(&self) -> Result<(), String> {
        // No reload in between.
        let _one = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        self.notifying.apply(self.notifying.prepare(&self.config())?);
        Ok(())
    }

    /// Hands the configuration in force to those who forward samples; the answer comes when all
    /// of them have begun.
    pub(super) fn apply_to_senders(&self) -> Option<oneshot::Receiver<()>> {
        let config = self.config();
        let senders = self.senders.get()?;
        Some(senders.apply(&config.remote_write_configs, &config.global.external_labels))
    }

    /// All metrics of which something is known, from storage and from targets.
    pub(super) fn known_metadata(&self) -> Vec<(String, Metadata)> {
        let service = self.service();
        let stored = service.as_ref().and_then(|service| service.database());
        let mut known = stored.map(crate::db::Database::metadata).unwrap_or_default();
        let mut seen: BTreeSet<String> = known.iter().map(|(name, _)| name.clone()).collect();
        let targets = self.scraping.get().map(|scraping| scraping.manager.metadata());
        for family in targets.into_iter().flatten().flat_map(|target| target.families) {
            if seen.insert(family.name.clone()) {
                let FamilyMetadata { name, metric_type, unit, help } = family;
                known.push((name, Metadata { metric_type, unit, help }));
            }
        }
        known
    }

    fn note_reload(&self, is_successful: bool) {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        loaded.1 = is_successful;
        if is_successful {
            loaded.0 = SystemTime::now();
        }
        self.metrics.reloaded(is_successful);
    }

    /// Reads the configuration anew and applies it.
    pub(super) fn reload_config(&self) -> Result<(), String> {
        let _one = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        // Before they are read: what changes meanwhile is seen at the next look.
        let seen = self.auto_reload.as_ref().and_then(|auto_reload| auto_reload.look().ok());
        let outcome = {
            let _inside = self.runtime.enter();
            self.read_and_apply()
        };
        self.note_reload(outcome.is_ok());
        match &outcome {
            Ok(()) => {
                if let Some(auto_reload) = &self.auto_reload {
                    auto_reload.take(seen);
                }
                tracing::info!("Configuration reloaded");
            }
            Err(error) => tracing::error!(err = %error, "Reloading the configuration failed"),
        }
        outcome
    }

    fn read_and_apply(&self) -> Result<(), String> {
        let config = read_config(&self.settings).map_err(|error| error.to_string())?;
        let query_log = open_query_log(&config)?;
        let rules = load_rules(&self.settings, &config)?;
        let notifications = self.notifying.prepare(&config)?;
        let remote_sources = remote_sources(&config)?;
        let tracing = Tracing::prepare(&config)?;
        let refusal = self.settings.refusal(&config);
        refusal.map_or_else(|| send::check(&config.remote_write_configs), Err)?;
        log_remarks(&config);
        if let Some(service) = self.service() {
            service.set_engine(self.settings.engine(&config));
            service.set_query_log(query_log);
            service.set_remote_sources(remote_sources);
        }
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
        self.apply_to_database();
        // Whoever waited for it would wait for queues that end.
        drop(self.apply_to_senders());
        self.apply_to_scraping();
        // Before that, whoever starts it applies what is then in force.
        if self.notifying.is_started() {
            self.notifying.apply(notifications);
        }
        self.apply_rules(rules);
        self.tracing.apply(tracing);
        Ok(())
    }

    /// Has the database go by the configuration in force, once it is open.
    fn apply_to_database(&self) {
        let service = self.service();
        let Some(database) = service.as_ref().and_then(|service| service.database()) else {
            return;
        };
        let config = self.config();
        database.set_retention(config.storage.retention);
        database.set_exemplars_max(self.settings.exemplars_max(&config));
        database.set_out_of_order_window_ms(config.storage.out_of_order_window_ms);
    }

    /// What was loaded while the database was being opened applies to it from here on.
    pub(super) fn database_is_open(&self) {
        let _one = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        self.apply_to_database();
    }

    fn figures(&self) -> Figures {
        let service = self.service();
        let config = self.config();
        let retention = config.storage.retention;
        let stats = service.as_ref().and_then(|s| s.database()).map(crate::db::Database::stats);
        let mut figures = Figures {
            is_agent: self.settings.is_agent,
            ready: service.as_ref().is_some_and(|s| s.lifecycle() == Lifecycle::Ready),
            tasks: Some(self.runtime.metrics().num_alive_tasks()),
            tsdb: stats.map(|stats| TsdbFigures {
                clean_start: Some(stats.clean_start),
                stats,
                retention_ms: retention.time_ms,
                retention_bytes: retention.bytes,
                retention_percentage: retention.percentage,
            }),
            ..Figures::default()
        };
        if let Some(cache) = service.as_ref().and_then(|service| service.result_cache_stats()) {
            figures.families = result_cache_families(cache);
        }
        if let Some(rules) = self.rules.get() {
            figures.families.extend(rules.families());
        }
        figures.families.extend(self.notifying.families());
        figures.families.extend(self.tracing.families());
        figures.discovered = self.notifying.discovered();
        if let Some(scraping) = self.scraping.get() {
            figures.families.extend(scraping.manager.families());
            figures.families.extend(scraping.discovery.families());
            if let Some(senders) = self.senders.get() {
                figures.families.extend(senders.families());
            }
            let sets = scraping.discovery.subscribe();
            let sets = Arc::clone(&sets.borrow());
            figures.discovered.extend(sets.iter().map(|(job, groups)| DiscoveredTargets {
                config: job.clone(),
                name: "scrape",
                targets: groups.iter().map(|group| group.targets.len()).sum(),
            }));
        }
        figures
    }
}

impl Control for Process {
    fn reload(&self) -> Result<(), String> {
        self.reload_config()
    }

    fn quit(&self) {
        // The receiver is gone only when the process is about to end anyway.
        let _ = self.requests.send(Request::Quit);
    }

    fn config_yaml(&self) -> String {
        self.config().to_yaml().to_owned()
    }

    fn flags(&self) -> Vec<(String, String)> {
        super::listed::flags(&self.settings, &self.config())
    }

    fn external_labels(&self) -> Labels {
        self.config().global.external_labels.clone()
    }

    fn otlp(&self) -> OtlpOptions {
        self.settings.otlp(&self.config())
    }

    fn features(&self) -> Vec<(&'static str, Vec<(String, bool)>)> {
        self.settings.features()
    }

    fn has_failed_reload(&self) -> bool {
        !self.loaded.lock().unwrap_or_else(PoisonError::into_inner).1
    }

    fn runtime_info(&self) -> Vec<(&'static str, String)> {
        let (loaded_at, is_successful) =
            *self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = std::env::current_dir().map(|path| path.display().to_string());
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let tasks = self.runtime.metrics().num_alive_tasks();
        let retention = retention_text(self.config().storage.retention);
        vec![
            ("startTime", json_time(self.started)),
            ("CWD", json_text(&folder.unwrap_or_default())),
            ("hostname", json_text(host.trim())),
            ("serverTime", json_time(SystemTime::now())),
            ("reloadConfigSuccess", is_successful.to_string()),
            ("lastConfigTime", json_time(loaded_at)),
            ("goroutineCount", tasks.to_string()),
            ("GOMAXPROCS", processors.to_string()),
            ("GOMEMLIMIT", i64::MAX.to_string()),
            ("GOGC", json_text("")),
            ("GODEBUG", json_text("")),
            ("storageRetention", json_text(&retention)),
        ]
    }

    fn metrics(&self) -> Vec<Family> {
        self.metrics.gather(&self.figures())
    }

    fn counts(&self) -> &Metrics {
        &self.metrics
    }

    fn active_targets(&self) -> Vec<TargetStatus> {
        let Some(scraping) = self.scraping.get() else { return Vec::new() };
        let external_url = self.settings.external_url().unwrap_or_default();
        let shown = |target: crate::scrape::TargetStatus| TargetStatus {
            global_url: external_url.global(&target.scrape_url, self.settings.own_port()),
            discovered_labels: target.discovered_labels,
            labels: target.labels,
            scrape_pool: target.pool,
            scrape_url: target.scrape_url,
            last_error: target.last_error,
            last_scrape_ms: target.last_scrape_ns.map(|ns| ns / 1_000_000),
            last_scrape_seconds: target.last_scrape_duration.as_secs_f64(),
            health: target.health.as_str(),
            scrape_interval: format_duration(target.interval_ms),
            scrape_timeout: format_duration(target.timeout_ms),
        };
        scraping.manager.active_targets().into_iter().map(shown).collect()
    }

    fn dropped_targets(&self) -> (Vec<DroppedTarget>, Vec<(String, usize)>) {
        let Some(scraping) = self.scraping.get() else { return (Vec::new(), Vec::new()) };
        let shown = |target: crate::scrape::DroppedTarget| DroppedTarget {
            discovered_labels: target.discovered_labels,
            scrape_pool: target.pool,
        };
        let targets = scraping.manager.dropped_targets().into_iter().map(shown).collect();
        (targets, scraping.manager.dropped_target_counts().into_iter().collect())
    }

    fn alertmanagers(&self) -> (Vec<String>, Vec<String>) {
        let notifier = &self.notifying.notifier;
        (notifier.alertmanagers(), notifier.dropped_alertmanagers())
    }

    fn scrape_pools(&self) -> Vec<(String, Option<String>)> {
        let Some(scraping) = self.scraping.get() else { return Vec::new() };
        let running = scraping.manager.scrape_pools().into_iter().map(|job| (job, None));
        let failed = scraping.manager.failed_jobs().into_iter();
        let mut pools: Vec<_> =
            running.chain(failed.map(|failed| (failed.job, Some(failed.reason)))).collect();
        pools.sort();
        pools
    }

    fn scrape_pool_yaml(&self, scrape_pool: &str) -> Option<String> {
        self.config().job_to_yaml(scrape_pool)
    }

    fn relabel_rules(&self, scrape_pool: &str) -> Option<Vec<Rule>> {
        self.scraping.get()?.manager.relabel_rules(scrape_pool)
    }

    fn target_metadata(&self) -> Vec<(Labels, Vec<(String, MetricMetadata)>)> {
        let Some(scraping) = self.scraping.get() else { return Vec::new() };
        let said = |family: FamilyMetadata| {
            let metric_type = family.metric_type.name().to_owned();
            let metadata = MetricMetadata { metric_type, help: family.help, unit: family.unit };
            (family.name, metadata)
        };
        let targets = scraping.manager.metadata().into_iter();
        targets.map(|t| (t.labels, t.families.into_iter().map(said).collect())).collect()
    }

    fn rule_groups(&self) -> Vec<Arc<Group>> {
        self.rules.get().map(rules::Manager::groups).unwrap_or_default()
    }

    fn metadata(&self) -> Vec<(String, MetricMetadata)> {
        let all = self.target_metadata().into_iter().flat_map(|(_, families)| families);
        all.collect::<BTreeSet<_>>().into_iter().collect()
    }
}

/// What the cache of results did.
fn result_cache_families(cache: ResultCacheStats) -> Vec<Family> {
    let family = |name: &str, help: &str, metric_type, value: u64| Family {
        name: name.to_owned(),
        help: help.to_owned(),
        metric_type,
        samples: vec![SampleLine { suffix: "", labels: Vec::new(), value: value as f64 }],
    };
    vec![
        family(
            "narthex_result_cache_bytes",
            "Memory of the results of range queries that are kept.",
            MetricType::Gauge,
            cache.bytes,
        ),
        family(
            "narthex_result_cache_steps_taken_total",
            "Steps of range queries that were taken from results kept.",
            MetricType::Counter,
            cache.steps_taken,
        ),
        family(
            "narthex_result_cache_steps_evaluated_total",
            "Steps of range queries that could be kept and had to be evaluated.",
            MetricType::Counter,
            cache.steps_evaluated,
        ),
    ]
}

/// COMPAT: the limits as Prometheus lists them.
fn retention_text(retention: crate::db::Retention) -> String {
    let mut limits = Vec::new();
    if retention.time_ms != 0 {
        limits.push(format_duration(retention.time_ms));
    }
    if retention.bytes != 0 {
        limits
            .push(crate::config::format_bytes(i64::try_from(retention.bytes).unwrap_or(i64::MAX)));
    }
    if retention.percentage != 0.0 {
        limits.push(format!("{}%", retention.percentage));
    }
    limits.join(" or ")
}

fn json_text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn json_time(time: SystemTime) -> String {
    let nanoseconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    let timestamp =
        i128::try_from(nanoseconds).ok().and_then(|ns| Timestamp::from_nanosecond(ns).ok());
    json_text(&timestamp.unwrap_or_default().to_string())
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use tokio::runtime::{Builder, Runtime};

    use super::*;
    use crate::cli::flags::Flags;

    fn process(folder: &std::path::Path) -> (Process, std::path::PathBuf) {
        let file = folder.join("prometheus.yml");
        std::fs::write(&file, "global: {scrape_interval: 7s}\n").unwrap();
        let line = ["narthex".to_owned(), format!("--config.file={}", file.display())];
        let settings = Settings::new(Flags::parse(line.map(OsString::from)).unwrap());
        let config = read_config(&settings).unwrap();
        let (requests, _) = mpsc::unbounded_channel();
        let runtime = runtime();
        (Process::new(settings, config, requests, None, runtime.handle().clone()), file)
    }

    fn runtime() -> Runtime {
        Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
    }

    #[test]
    fn what_a_reload_begins_does_not_end_with_the_request() {
        let folder = tempfile::tempdir().unwrap();
        let (mut process, file) = process(folder.path());
        let all = runtime();
        process.runtime = all.handle().clone();
        {
            let _inside = all.enter();
            process.start_notifying().unwrap();
        }
        let before = all.metrics().num_alive_tasks();
        let managers = "alerting: {alertmanagers: [{static_configs: [{targets: [\"a:1\"]}]}]}\n";
        std::fs::write(&file, managers).unwrap();
        let of_connection = Builder::new_current_thread().enable_all().build().unwrap();
        of_connection.block_on(async {
            let reload = tokio::task::spawn_blocking(move || {
                process.reload_config().unwrap();
                process
            });
            let process = reload.await.unwrap();
            assert_eq!(Handle::current().metrics().num_alive_tasks(), 0);
            assert!(all.metrics().num_alive_tasks() > before);
            drop(process);
        });
    }

    #[test]
    fn a_reload_takes_all_or_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (process, file) = process(folder.path());
        std::fs::write(&file, "global: {scrape_interval: 9s, nope: 1}\n").unwrap();
        let error = process.reload_config().unwrap_err();
        assert!(error.contains("prometheus.yml:1:31: field nope not found in global"), "{error}");
        assert_eq!(process.config().global.scrape_interval_ms, 7_000);
        let info = process.runtime_info();
        assert!(info.contains(&("reloadConfigSuccess", "false".to_owned())));
        std::fs::write(&file, "global: {scrape_interval: 9s}\n").unwrap();
        process.reload_config().unwrap();
        assert_eq!(process.config().global.scrape_interval_ms, 9_000);
        assert!(process.config_yaml().contains("scrape_interval: 9s"));
        assert!(process.runtime_info().contains(&("reloadConfigSuccess", "true".to_owned())));
    }

    #[test]
    fn limits_are_listed() {
        let text = |time_ms, bytes, percentage| {
            retention_text(crate::db::Retention { time_ms, bytes, percentage })
        };
        assert_eq!(text(86_400_000, 0, 0.0), "1d");
        assert_eq!(text(86_400_000, 512 << 20, 12.5), "1d or 512MiB or 12.5%");
        assert_eq!(text(0, 0, 0.0), "");
    }

    #[test]
    fn nothing_is_scraped_before_the_database_is_open() {
        let folder = tempfile::tempdir().unwrap();
        let (process, _) = process(folder.path());
        assert!(process.active_targets().is_empty() && process.metadata().is_empty());
        let name = "prometheus_config_last_reload_successful";
        assert!(process.metrics().iter().any(|family| family.name == name));
    }
}
