//! What the handlers share: the database once it is open, the engine, and the door back to the
//! process.

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use super::api::targets::{DroppedTarget, MetricMetadata, TargetStatus};
use super::params::Params;
use super::query_log::{ActiveQueries, QueryLog};
use super::reply::ApiError;
use super::source::Source;
use crate::config::ExternalUrl;
use crate::db::{Database, ResultCache, ResultCacheStats};
use crate::exposition::Family;
use crate::model::Labels;
use crate::promql::engine::Engine;
use crate::promql::parse::ParseOptions;
use crate::regex::Regex;
use crate::relabel::Rule;
use crate::remote::{DeltaStreams, KnownSeries, OtlpOptions, RemoteSources};
use crate::rules::Group;
use crate::select::Cancellation;
use crate::telemetry::Metrics;

/// Queries that are tried at a time while all places are taken.
const ATTEMPTS_MAX: usize = 4;

/// What the flags decide.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `--web.enable-lifecycle`
    pub lifecycle: bool,
    /// `--web.enable-admin-api`
    pub admin: bool,
    /// `--web.enable-remote-write-receiver`
    pub remote_write: bool,
    /// `--agent`: what asks for stored samples, rules or alerts is refused.
    pub is_agent: bool,
    /// `--web.cors.origin`
    pub cors_origin: Option<Regex>,
    /// `--query.max-concurrency`
    pub queries_max: usize,
    /// `--query.result-cache-size`; 0: no cache.
    pub result_cache_bytes: u64,
    /// `--web.max-connections`
    pub connections_max: usize,
    /// `--web.read-timeout`
    pub read_timeout: Duration,
    /// What the language offers.
    pub parse: ParseOptions,
    /// `--storage.remote.read-sample-limit`; 0: none.
    pub read_samples_max: u64,
    /// `--storage.remote.read-concurrent-limit`
    pub reads_max: usize,
    /// `--storage.remote.read-max-bytes-in-frame`
    pub read_frame_bytes_max: usize,
    /// `--web.enable-otlp-receiver`
    pub otlp: bool,
    /// `otlp-deltatocumulative`: most streams whose points of delta temporality are added up; 0:
    /// no limit.
    pub delta_streams_max: Option<u64>,
    /// `--web.search.max-limit`: most results of a search; 0: no limit. `None`: nothing can be
    /// searched.
    pub search_results_max: Option<usize>,
    /// `--web.max-notifications-subscribers`
    pub subscribers_max: usize,
    /// `--web.route-prefix`: empty, or beginning with a slash and ending without one.
    pub route_prefix: String,
    /// `--web.external-url`
    pub external_url: ExternalUrl,
    /// Where the server is found from its own machine, unless an address was given; no slash at
    /// its end.
    pub own_url: Option<String>,
    /// `--web.console.templates`
    pub console_templates: PathBuf,
    /// `--web.console.libraries`
    pub console_libraries: PathBuf,
    /// `--web.page-title`
    pub page_title: String,
}

/// Where the process stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifecycle {
    /// The database is not open yet.
    Starting,
    /// Queries are answered.
    Ready,
    /// The process is about to end.
    Stopping,
}

/// What handlers ask of the rest of the process.
pub trait Control: Send + Sync + fmt::Debug {
    /// Reads the configuration anew; returns once it applies, or with the reason why it does not.
    /// Blocks.
    fn reload(&self) -> Result<(), String>;
    /// Asks the process to end in good order; returns at once.
    fn quit(&self);
    /// The configuration in force, secrets masked.
    fn config_yaml(&self) -> String;
    /// All flags with their values.
    fn flags(&self) -> Vec<(String, String)>;
    /// Fields of `status/runtimeinfo` that only the process knows: name, and value as JSON text.
    fn runtime_info(&self) -> Vec<(&'static str, String)>;
    /// Labels that tell this server's series from others'.
    fn external_labels(&self) -> Labels;
    /// How OTLP becomes series.
    fn otlp(&self) -> OtlpOptions;
    /// Which parts of Prometheus are there, and on: category, name.
    fn features(&self) -> Vec<(&'static str, Vec<(String, bool)>)>;
    /// Whether the last reload failed.
    fn has_failed_reload(&self) -> bool;
    /// Own metrics, in the order of their names.
    fn metrics(&self) -> Vec<Family>;
    /// Where requests, queries and pushes are counted.
    fn counts(&self) -> &Metrics;
    /// Targets being scraped.
    fn active_targets(&self) -> Vec<TargetStatus>;
    /// Targets that relabelling dropped, and how many there are for each pool.
    fn dropped_targets(&self) -> (Vec<DroppedTarget>, Vec<(String, usize)>);
    /// URLs of the Alertmanagers that alerts are sent to, and of those that relabelling dropped.
    fn alertmanagers(&self) -> (Vec<String>, Vec<String>);
    /// The names of all jobs, and of those that cannot run the reason.
    fn scrape_pools(&self) -> Vec<(String, Option<String>)>;
    /// The configuration of a job, secrets masked; `None`: there is no such job.
    fn scrape_pool_yaml(&self, scrape_pool: &str) -> Option<String>;
    /// The relabelling rules of a job's targets; `None`: there is no such job.
    fn relabel_rules(&self, scrape_pool: &str) -> Option<Vec<Rule>>;
    /// Labels of each target that is scraped, and what it says of its metrics.
    fn target_metadata(&self) -> Vec<(Labels, Vec<(String, MetricMetadata)>)>;
    /// All groups of rules, by file and name.
    fn rule_groups(&self) -> Vec<Arc<Group>>;
    /// Metadata of all targets: metric name, and what is said of it.
    fn metadata(&self) -> Vec<(String, MetricMetadata)>;
}

/// Shared by all requests.
#[derive(Debug)]
pub struct Service {
    database: OnceLock<Database>,
    engine: RwLock<Arc<Engine>>,
    state: AtomicU8,
    queries: Arc<Semaphore>,
    /// Places for queries that are tried while those are taken.
    attempts: Arc<Semaphore>,
    reads: Arc<Semaphore>,
    remote_sources: RwLock<Option<Arc<RemoteSources>>>,
    pub(super) subscribers: Arc<Semaphore>,
    /// Results of range queries that are kept.
    results: Option<ResultCache>,
    /// Ends whatever runs when the process stops.
    stop: Cancellation,
    /// What pushes have named so far.
    pub(super) pushed_series: KnownSeries,
    /// Sums of pushed points of delta temporality, if they are added up.
    pub(super) deltas: Option<DeltaStreams>,
    active: OnceLock<Arc<ActiveQueries>>,
    query_log: RwLock<Option<Arc<QueryLog>>>,
    /// What the flags decide.
    pub settings: Settings,
    /// The door back to the process.
    pub control: Arc<dyn Control>,
}

impl Service {
    /// A service that is starting: only health is answered.
    pub fn new(settings: Settings, engine: Engine, control: Arc<dyn Control>) -> Self {
        Self {
            database: OnceLock::new(),
            engine: RwLock::new(Arc::new(engine)),
            state: AtomicU8::new(0),
            results: (settings.result_cache_bytes > 0)
                .then(|| ResultCache::new(settings.result_cache_bytes)),
            stop: Cancellation::new(),
            remote_sources: RwLock::new(None),
            reads: Arc::new(Semaphore::new(settings.reads_max)),
            subscribers: Arc::new(Semaphore::new(settings.subscribers_max)),
            attempts: Arc::new(Semaphore::new(ATTEMPTS_MAX)),
            queries: Arc::new(Semaphore::new(settings.queries_max)),
            pushed_series: KnownSeries::default(),
            deltas: settings.delta_streams_max.map(DeltaStreams::new),
            active: OnceLock::new(),
            query_log: RwLock::new(None),
            settings,
            control,
        }
    }

    /// Gives the opened database; from now on queries are answered.
    pub fn set_ready(&self, database: Database) {
        if self.database.set(database).is_ok() {
            self.state.store(1, Ordering::Release);
        }
    }

    /// From now on `/-/ready` says no.
    pub fn set_stopping(&self) {
        self.state.store(2, Ordering::Release);
    }

    /// What work that may last until `deadline` is to look at: it ends with the process too, and
    /// its memory is counted.
    pub(super) fn cancellation(&self, deadline: Instant) -> Cancellation {
        Cancellation::at(deadline).under(&self.stop).within(self.engine().account())
    }

    /// Results that are kept, if any are.
    pub(super) fn results(&self) -> Option<&ResultCache> {
        self.results.as_ref()
    }

    /// What the cache of results did, if there is one.
    pub fn result_cache_stats(&self) -> Option<ResultCacheStats> {
        self.results.as_ref().map(ResultCache::stats)
    }

    /// Ends all work that reads.
    pub(super) fn cancel_all(&self) {
        self.stop.cancel();
    }

    /// Takes another engine: the default step of subqueries follows the configuration.
    pub fn set_engine(&self, engine: Engine) {
        *self.engine.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(engine);
    }

    /// Where the process stands.
    pub fn lifecycle(&self) -> Lifecycle {
        match self.state.load(Ordering::Acquire) {
            0 => Lifecycle::Starting,
            1 => Lifecycle::Ready,
            _ => Lifecycle::Stopping,
        }
    }

    /// The database, once it is open.
    pub fn database(&self) -> Option<&Database> {
        self.database.get()
    }

    /// What a request's queries read.
    pub(super) fn source<'a>(&'a self, params: &'a Params) -> Result<Source<'a>, ApiError> {
        let database = self.database().ok_or_else(super::api::status::not_ready)?;
        Ok(Source::new(database, params.scope(), self.remote_sources()))
    }

    /// The same without other servers.
    pub(super) fn local_source<'a>(&'a self, params: &'a Params) -> Result<Source<'a>, ApiError> {
        let database = self.database().ok_or_else(super::api::status::not_ready)?;
        Ok(Source::new(database, params.scope(), None))
    }

    /// Other servers that queries read, if there are any.
    pub(super) fn remote_sources(&self) -> Option<Arc<RemoteSources>> {
        self.remote_sources.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on queries read these other servers too.
    pub fn set_remote_sources(&self, sources: Option<RemoteSources>) {
        *self.remote_sources.write().unwrap_or_else(PoisonError::into_inner) =
            sources.map(Arc::new);
    }

    /// The engine in force.
    pub fn engine(&self) -> Arc<Engine> {
        Arc::clone(&self.engine.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on running queries are noted in this file.
    pub fn set_active_queries(&self, active: ActiveQueries) {
        // Set once, when the data folder is open.
        let _ = self.active.set(Arc::new(active));
    }

    /// From now on queries are written to this log, or to none.
    pub fn set_query_log(&self, log: Option<QueryLog>) {
        self.control.counts().set_query_log(log.is_some());
        *self.query_log.write().unwrap_or_else(PoisonError::into_inner) = log.map(Arc::new);
    }

    /// Where running queries are noted.
    pub(super) fn active_queries(&self) -> Option<&Arc<ActiveQueries>> {
        self.active.get()
    }

    /// The log of queries, if there is one.
    pub(super) fn query_log(&self) -> Option<Arc<QueryLog>> {
        self.query_log.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Places for queries that are tried while all of those are taken.
    pub(super) fn attempt_places(&self) -> Arc<Semaphore> {
        Arc::clone(&self.attempts)
    }

    /// Places for remote reads.
    pub(super) fn read_places(&self) -> Arc<Semaphore> {
        Arc::clone(&self.reads)
    }

    /// Places for queries; one is held while a query runs.
    pub(super) fn query_places(&self) -> Arc<Semaphore> {
        Arc::clone(&self.queries)
    }
}
