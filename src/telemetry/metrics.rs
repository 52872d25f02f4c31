//! The metrics that a server shows of itself, under Prometheus's names.
//!
//! [`Metrics`] holds what is counted as it happens; what others keep anyway comes as [`Figures`]
//! when the page is asked for. What Prometheus shows and we have no honest counterpart for is not
//! there.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::agent;
use super::counted::{ConfigMetrics, HttpMetrics, QueryMetrics, StorageMetrics, WriteMetrics};
use super::figures::{Figures, family, label, plain};
use super::observer::ObserverLog;
use super::process;
use super::registry::Registry;
use super::value::Gauge;
use crate::exposition::{Family, MetricType, write_families};
use crate::select::MemoryPool;

/// What is said of the build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BuildInfo {
    /// Version of Prometheus that this server stands in for.
    pub prometheus_version: &'static str,
    /// Version of Narthex.
    pub version: &'static str,
    /// Commit that was built; empty where it is not known.
    pub revision: &'static str,
    /// Branch that was built; empty where it is not known.
    pub branch: &'static str,
}

impl Default for BuildInfo {
    fn default() -> Self {
        let version = env!("CARGO_PKG_VERSION");
        Self { prometheus_version: "3.14.0", version, revision: "narthex", branch: "narthex" }
    }
}

/// The parts of a query's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuerySlice {
    /// Waiting for its turn.
    QueueTime,
    /// Finding and reading the series.
    PrepareTime,
    /// Evaluating.
    InnerEval,
    /// Sorting the result.
    ResultSort,
}

/// What a remote-write request came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReceivedWrite {
    /// Floats and histograms stored, or there already.
    pub samples_written: u64,
    /// Samples refused.
    pub samples_refused: u64,
    /// Series whose labels are not valid.
    pub series_invalid: u64,
    /// Native histograms refused.
    pub histograms_refused: u64,
    /// Exemplars read and not stored.
    pub exemplars_dropped: u64,
}

/// Handles for what the server counts as it happens. Cloning shares them.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
    started: SystemTime,
    build: BuildInfo,
    http: HttpMetrics,
    query: QueryMetrics,
    config: ConfigMetrics,
    write: WriteMetrics,
    storage: StorageMetrics,
}

/// Counts a query as running until it is dropped.
#[derive(Debug)]
pub struct RunningQuery(Gauge);

impl Drop for RunningQuery {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// [`Metrics::with_build`] of what is known of this build.
    pub fn new() -> Self {
        Self::with_build(BuildInfo::default())
    }

    /// Registers everything in a registry of its own; the process counts as started now where
    /// the system does not say.
    pub fn with_build(build: BuildInfo) -> Self {
        let registry = Registry::new();
        Self {
            started: SystemTime::now(),
            build,
            http: HttpMetrics::new(&registry),
            query: QueryMetrics::new(&registry),
            config: ConfigMetrics::new(&registry),
            write: WriteMetrics::new(&registry),
            storage: StorageMetrics::new(&registry),
            registry,
        }
    }

    /// Where all of it is registered; more may be added.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// An observer for the database: writes its events to the log and counts them here.
    pub fn observer(&self) -> Arc<ObserverLog> {
        Arc::new(ObserverLog::new(self))
    }

    pub(super) fn storage(&self) -> &StorageMetrics {
        &self.storage
    }

    /// Shows handlers at 0 before their first request, so that a rate sees the first one.
    /// Handlers are route patterns as the router writes them.
    pub fn declare_handlers<'a>(&self, handlers: impl IntoIterator<Item = &'a str>) {
        for handler in handlers {
            self.http.requests.with(&["200", &pattern(handler)]);
        }
    }

    /// Counts an answered request. `handler` is the route's pattern, so that the paths of one
    /// handler share a series.
    pub fn observe_request(&self, handler: &str, status: u16, took: Duration) {
        let handler = &*pattern(handler);
        self.http.requests.with(&[&status.to_string(), handler]).inc();
        self.http.seconds.with(&[handler]).observe_duration(took);
    }

    /// Counts the size of an answer's body.
    pub fn observe_response_bytes(&self, handler: &str, bytes: u64) {
        self.http.bytes.with(&[&pattern(handler)]).observe(bytes as f64);
    }

    /// How many queries may run at the same time.
    pub fn set_queries_max(&self, queries_max: usize) {
        self.query.running_max.set(queries_max as f64);
    }

    /// Shows the bound of a limit on queries, and that nothing ended at it so far.
    pub fn set_query_limit(&self, limit: &str, bound: f64) {
        self.query.limits.with(&[limit]).set(bound);
        self.query.refused.with(&[limit]).add(0);
    }

    /// A query ended at a limit.
    pub fn query_refused(&self, limit: &str) {
        self.query.refused.with(&[limit]).inc();
    }

    /// Shows what queries hold.
    pub fn watch_query_memory(&self, pool: Arc<MemoryPool>) {
        self.registry.collect(move |families| {
            let help = "Memory that queries hold, as their limits count it.";
            let gauge = |name, help, bytes: u64| plain(MetricType::Gauge, name, help, bytes as f64);
            families.push(gauge("narthex_query_memory_bytes", help, pool.held()));
            let help = "Most memory that queries held at a time.";
            families.push(gauge("narthex_query_memory_peak_bytes", help, pool.peak()));
        });
    }

    /// Whether queries are written to a log.
    pub fn set_query_log(&self, enabled: bool) {
        self.query.log_enabled.set(f64::from(u8::from(enabled)));
    }

    /// Counts a query that could not be written to the log.
    pub fn query_log_failed(&self) {
        self.query.log_failures.inc();
    }

    /// A query begins; it ends when what is returned is dropped.
    pub fn query_begins(&self) -> RunningQuery {
        self.query.running.inc();
        RunningQuery(self.query.running.clone())
    }

    /// Counts a query of which only the whole time is known: as time of its evaluation.
    pub fn observe_query(&self, took: Duration) {
        self.observe_query_slice(QuerySlice::InnerEval, took);
    }

    /// Counts the time that a part of a query took.
    pub fn observe_query_slice(&self, slice: QuerySlice, took: Duration) {
        self.query.seconds[slice as usize].observe_duration(took);
        self.query.buckets[slice as usize].observe_duration(took);
    }

    /// Counts samples that a query looked at.
    pub fn add_query_samples(&self, samples: u64) {
        self.query.samples.add(samples);
    }

    /// The configuration was loaded, or could not be.
    pub fn reloaded(&self, successful: bool) {
        self.config.successful.set(f64::from(u8::from(successful)));
        if successful {
            self.config.success_seconds.set(seconds_since_epoch(SystemTime::now()));
        }
    }

    /// Counts what a remote-write request brought.
    pub fn observe_write(&self, write: ReceivedWrite) {
        self.write.invalid.add(write.series_invalid);
        self.write.samples.with(&["stored"]).add(write.samples_written);
        self.write.samples.with(&["refused"]).add(write.samples_refused);
        self.write.dropped.with(&["histogram"]).add(write.histograms_refused);
        self.write.dropped.with(&["exemplar"]).add(write.exemplars_dropped);
    }

    /// The page of `/metrics`, text format 0.0.4.
    pub fn render(&self, figures: &Figures) -> String {
        let mut page = String::new();
        write_families(&self.gather(figures), &mut page);
        page
    }

    /// What that page says, ascending by name.
    pub fn gather(&self, figures: &Figures) -> Vec<Family> {
        let mut families = process::families(figures.tasks, seconds_since_epoch(self.started));
        families.extend(self.build_families());
        families.extend(figures.families());
        if figures.is_agent {
            let all = self.registry.gather_with(families.clone());
            families.extend(agent::families(&all));
        }
        self.registry.gather_with(families)
    }

    fn build_families(&self) -> [Family; 2] {
        let BuildInfo { prometheus_version, version, revision, branch } = self.build;
        let labels = vec![
            label("branch", branch),
            label("goarch", process::arch()),
            label("goos", std::env::consts::OS),
            label("goversion", process::COMPILER),
            label("revision", revision),
            label("tags", ""),
            label("version", prometheus_version),
        ];
        let own = vec![label("revision", revision), label("version", version)];
        let prometheus = "1, labelled with the Prometheus version that this server stands in for.";
        let narthex = "1, labelled with the version of Narthex.";
        [
            family(MetricType::Gauge, "prometheus_build_info", prometheus, [(labels, 1.0)]),
            family(MetricType::Gauge, "narthex_build_info", narthex, [(own, 1.0)]),
        ]
    }
}

/// A route's pattern as Prometheus's label writes it: `{name}` is `:name`, `{*path}` is `*path`.
fn pattern(route: &str) -> Cow<'_, str> {
    if !route.contains('{') {
        return Cow::Borrowed(route);
    }
    Cow::Owned(route.replace("{*", "*").replace('{', ":").replace('}', ""))
}

fn seconds_since_epoch(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// A gauge of one sample, for figures read from the system.
pub(super) fn gauge(name: &str, help: &str, value: f64) -> Family {
    plain(MetricType::Gauge, name, help, value)
}
