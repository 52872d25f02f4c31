//! All groups: which there are, and that each runs at its times.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};

use super::alerts::OutgoingAlert;
use super::clock::WallClock;
use super::file::GroupSpec;
use super::group::{Group, Places};
use super::metrics::Metrics;
use crate::db::Database;
use crate::exposition::Family;
use crate::model::Labels;
use crate::promql::ParseOptions;
use crate::promql::engine::{Engine, QueryError, QueryStats};
use crate::select::Cancellation;

/// Takes the alerts that rules hand on.
pub trait AlertSink: Send + Sync + fmt::Debug {
    /// Takes alerts that fire or have ended; does not wait.
    fn send(&self, alerts: Vec<OutgoingAlert>);
}

/// A query that a rule asked.
#[derive(Debug)]
pub struct RuleQuery<'a> {
    /// The file of the group.
    pub file: &'a str,
    /// The group.
    pub group: &'a str,
    /// The query.
    pub text: &'a str,
    /// The time that was asked for.
    pub t_ms: i64,
    /// How long it took.
    pub took: Duration,
    /// What it cost, or why there is no answer.
    pub outcome: Result<&'a QueryStats, &'a QueryError>,
}

/// Is told of every query of rules.
pub trait QueryWatcher: Send + Sync + fmt::Debug {
    /// A query ran. It is called on the thread that evaluates.
    fn query_ran(&self, query: &RuleQuery<'_>);
}

/// What the flags say of rules.
#[derive(Debug, Clone)]
pub struct Options {
    /// `--rules.alert.for-outage-tolerance`: how far back the state of alerts is looked for.
    pub outage_tolerance_ms: i64,
    /// `--rules.alert.for-grace-period`: the least time between a start and an alert whose state
    /// was taken over.
    pub for_grace_period_ms: i64,
    /// `--rules.alert.resend-delay`: how long until an alert is handed on again.
    pub resend_delay_ms: i64,
    /// Whether rules of a group that do not read each other run side by side.
    pub concurrent_evals: bool,
    /// `--rules.max-concurrent-evals`: how many rules do so, over all groups.
    pub concurrent_evals_max: usize,
    /// `--rules.backfill-gap`: the longest time without an evaluation before the start that
    /// recording rules are evaluated for; 0: none is.
    pub backfill_gap_ms: i64,
    /// Where others reach this server, without a slash at the end.
    pub external_url: String,
    /// What the language offers.
    pub parse: ParseOptions,
    /// Who is told of queries.
    pub watcher: Option<Arc<dyn QueryWatcher>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            outage_tolerance_ms: 3_600_000,
            for_grace_period_ms: 600_000,
            resend_delay_ms: 60_000,
            concurrent_evals: false,
            concurrent_evals_max: 4,
            backfill_gap_ms: 0,
            external_url: String::new(),
            parse: ParseOptions::default(),
            watcher: None,
        }
    }
}

/// What the configuration says of rules.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How often groups are evaluated that do not say it.
    pub evaluation_interval_ms: i64,
    /// How far in the past, likewise.
    pub rule_query_offset_ms: i64,
    /// Labels of this server, for templates.
    pub external_labels: Labels,
}

/// What groups share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) database: Database,
    pub(super) options: Options,
    pub(super) sink: Arc<dyn AlertSink>,
    pub(super) metrics: Metrics,
    pub(super) clock: Arc<dyn WallClock>,
    pub(super) places: Places,
    /// Ends queries when the server stops.
    pub(super) stop: Cancellation,
    engine: RwLock<Arc<Engine>>,
    settings: RwLock<Arc<Settings>>,
}

impl Shared {
    pub(super) fn engine(&self) -> Arc<Engine> {
        Arc::clone(&self.engine.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Where an expression can be looked at.
    pub(super) fn generator_url(&self, expr: &str) -> String {
        let mut url = format!("{}/graph?g0.expr=", self.options.external_url);
        // COMPAT: escaped as Go escapes a query.
        for byte in expr.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                    url.push(byte as char);
                }
                b' ' => url.push('+'),
                _ => {
                    let digit = |nibble: u8| b"0123456789ABCDEF"[usize::from(nibble)] as char;
                    url.extend(['%', digit(byte >> 4), digit(byte & 15)]);
                }
            }
        }
        url + "&g0.tab=1"
    }
}

/// Evaluates the rules of all groups.
#[derive(Debug)]
pub struct Manager {
    pub(super) shared: Arc<Shared>,
    state: Mutex<State>,
    /// Groups that are evaluated at a time.
    workers: Arc<Semaphore>,
    /// Answers when the last group has ended.
    ended: tokio::sync::Mutex<mpsc::Receiver<()>>,
}

#[derive(Debug)]
struct State {
    /// By file and name.
    groups: BTreeMap<(String, String), Arc<Group>>,
    /// Whether rules were applied before.
    is_begun: bool,
    /// `None` once the server stops.
    alive: Option<mpsc::Sender<()>>,
}

/// What a change of the rules comes to.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) started: Vec<Arc<Group>>,
    /// Groups that are gone, which have been stopped.
    pub(super) ended: Vec<Arc<Group>>,
}

impl Manager {
    /// Has no rules yet.
    pub fn new(
        database: Database,
        engine: Engine,
        options: Options,
        sink: Arc<dyn AlertSink>,
        clock: Arc<dyn WallClock>,
    ) -> Self {
        let (alive, ended) = mpsc::channel(1);
        let settings = Settings {
            evaluation_interval_ms: 60_000,
            rule_query_offset_ms: 0,
            external_labels: Labels::empty(),
        };
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let shared = Shared {
            database,
            places: Places::new(options.concurrent_evals_max),
            options,
            sink,
            metrics: Metrics::new(),
            clock,
            stop: Cancellation::new(),
            engine: RwLock::new(Arc::new(engine)),
            settings: RwLock::new(Arc::new(settings)),
        };
        let state = State { groups: BTreeMap::new(), is_begun: false, alive: Some(alive) };
        Self {
            shared: Arc::new(shared),
            state: Mutex::new(state),
            // A query that waits for others must not hold up all groups.
            workers: Arc::new(Semaphore::new(processors.saturating_mul(2).max(4))),
            ended: tokio::sync::Mutex::new(ended),
        }
    }

    /// Runs these groups from now on. Waits for the rules that changed groups are at. Must be
    /// called within the runtime, on a thread that may block.
    pub fn apply(&self, groups: Vec<GroupSpec>, settings: Settings, engine: Engine) {
        let Changes { started, ended } = self.change(groups, settings, engine);
        let Some(alive) = self.state().alive.clone() else { return };
        for group in started {
            let (shared, workers) = (Arc::clone(&self.shared), Arc::clone(&self.workers));
            tokio::spawn(follow(shared, group, workers, alive.clone()));
        }
        for group in ended {
            tokio::spawn(farewell(Arc::clone(&self.shared), group, alive.clone()));
        }
    }

    /// Takes other groups; the caller runs those that started and ends those that ended.
    pub(super) fn change(
        &self,
        specs: Vec<GroupSpec>,
        settings: Settings,
        engine: Engine,
    ) -> Changes {
        let mut state = self.state();
        let interval_ms = settings.evaluation_interval_ms;
        let shared = &self.shared;
        *shared.settings.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
        *shared.engine.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(engine);
        let mut before = std::mem::take(&mut state.groups);
        let mut changes = Changes::default();
        let now_ns = shared.clock.now_ns();
        for spec in specs {
            let interval_ms = if spec.interval_ms > 0 { spec.interval_ms } else { interval_ms };
            let key = (spec.file.clone(), spec.name.clone());
            let old = before.remove(&key);
            if let Some(old) = old.as_ref().filter(|old| old.is_equal(&spec, interval_ms)) {
                state.groups.insert(key, Arc::clone(old));
                continue;
            }
            let group = Arc::new(Group::new(spec, interval_ms, !state.is_begun, now_ns));
            if let Some(old) = old {
                old.stop();
                group.take_over(&old);
            }
            let seconds = interval_ms as f64 / 1000.0;
            shared.metrics.add(group.key(), seconds, group.rules().len());
            state.groups.insert(key, Arc::clone(&group));
            changes.started.push(group);
        }
        for group in before.into_values() {
            group.stop();
            shared.metrics.remove(group.key());
            changes.ended.push(group);
        }
        state.is_begun = true;
        changes
    }

    /// All groups, by file and name.
    pub fn groups(&self) -> Vec<Arc<Group>> {
        self.state().groups.values().cloned().collect()
    }

    /// Own metrics.
    pub fn families(&self) -> Vec<Family> {
        self.shared.metrics.registry.gather()
    }

    /// Stops all groups; queries that run are broken off. Returns when the last has ended.
    pub async fn shutdown(&self) {
        {
            let mut state = self.state();
            state.alive = None;
            self.shared.stop.cancel();
            state.groups.values().for_each(|group| group.stop());
        }
        // Nothing is ever sent.
        let _ = self.ended.lock().await.recv().await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs a group at its times until it is stopped.
async fn follow(
    shared: Arc<Shared>,
    group: Arc<Group>,
    workers: Arc<Semaphore>,
    _alive: mpsc::Sender<()>,
) {
    let mut stopping = group.stopping();
    while !group.is_stopped() {
        let wait_ns = group.due_ns().saturating_sub(shared.clock.now_ns());
        if wait_ns > 0 {
            // The clock may be set while this waits.
            let longest_ns = group.interval_ms().saturating_mul(1_000_000);
            let wait = Duration::from_nanos(wait_ns.min(longest_ns) as u64);
            tokio::select! {
                () = tokio::time::sleep(wait) => continue,
                _ = stopping.changed() => break,
            }
        }
        // Never closed.
        let Ok(_worker) = workers.acquire().await else { break };
        let (shared, group) = (Arc::clone(&shared), Arc::clone(&group));
        let name = group.key().to_owned();
        let done = tokio::task::spawn_blocking(move || group.tick(&shared)).await;
        if let Err(error) = done {
            tracing::error!(group = name, err = %error, "Evaluating a group of rules broke off");
        }
    }
}

/// Ends the series of a group that is gone, once others had time to go on with them.
async fn farewell(shared: Arc<Shared>, group: Arc<Group>, alive: mpsc::Sender<()>) {
    let stopped_ns = shared.clock.now_ns();
    let wait_ms = u64::try_from(group.interval_ms()).unwrap_or(0).saturating_mul(2);
    // The server does not wait for this when it stops.
    drop(alive);
    tokio::time::sleep(Duration::from_millis(wait_ms)).await;
    if shared.stop.is_canceled() {
        return;
    }
    let work = move || group.end_all(&shared, stopped_ns);
    if let Err(error) = tokio::task::spawn_blocking(work).await {
        tracing::error!(err = %error, "Ending the series of removed rules broke off");
    }
}
