//! All Alertmanagers of the configuration.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::alert::relabelled;
use super::metrics::Metrics;
use super::receivers::Receivers;
use super::send_loop::SendLoop;
use super::{Alert, Clock, Connect, HttpTransport, SystemClock, Transport};
use crate::config::{AlertingConfig, AlertmanagerConfig};
use crate::discovery::{Sought, TargetSets};
use crate::exposition::Family;
use crate::model::Labels;
use crate::relabel::Rule;

/// What the command line says of notifications.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Alerts that wait for one Alertmanager at most; the oldest go first.
    pub queue_capacity: usize,
    /// Alerts of one request at most.
    pub batch_size_max: usize,
    /// On shutdown what is queued is still sent.
    pub drains_on_shutdown: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { queue_capacity: 10_000, batch_size_max: 256, drains_on_shutdown: true }
    }
}

/// A configuration that can be applied: nothing of it can fail any more.
#[derive(Debug)]
pub struct Prepared {
    external_labels: Labels,
    rules: Vec<Rule>,
    sets: Vec<(AlertmanagerConfig, Arc<dyn Transport>)>,
}

impl Prepared {
    /// Where its Alertmanagers are to be looked for.
    pub fn sought(&self) -> Vec<Sought<'_>> {
        self.sets
            .iter()
            .map(|(config, _)| Sought {
                name: &config.name,
                static_configs: &config.static_configs,
                discovery_configs: &config.discovery_configs,
            })
            .collect()
    }
}

/// Sends alerts to the Alertmanagers of the configuration.
pub struct Notifier {
    options: Options,
    clock: Arc<dyn Clock>,
    connect: Connect,
    metrics: Arc<Metrics>,
    state: Mutex<State>,
}

impl fmt::Debug for Notifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notifier").field("options", &self.options).finish_non_exhaustive()
    }
}

struct State {
    external_labels: Labels,
    rules: Vec<Rule>,
    sets: Vec<Set>,
    /// Tasks of Alertmanagers that are gone and that may still be sending.
    leaving: Vec<JoinHandle<()>>,
    is_stopped: bool,
}

/// A section of the configuration.
struct Set {
    config: AlertmanagerConfig,
    transport: Arc<dyn Transport>,
    receivers: Receivers,
    /// By URL.
    loops: BTreeMap<String, Running>,
}

struct Running {
    sender: Arc<SendLoop>,
    task: JoinHandle<()>,
}

impl Notifier {
    /// Sends to nobody yet.
    pub fn new(options: Options) -> Self {
        let connect: Connect = Arc::new(|config| {
            let transport = HttpTransport::new(config)?;
            Ok(Arc::new(transport) as Arc<dyn Transport>)
        });
        Self::with_parts(options, Arc::new(SystemClock), connect)
    }

    /// With a clock and transports of the caller's.
    pub fn with_parts(options: Options, clock: Arc<dyn Clock>, connect: Connect) -> Self {
        let options = Options { batch_size_max: options.batch_size_max.max(1), ..options };
        Self {
            options,
            clock,
            connect,
            metrics: Arc::new(Metrics::new(options.queue_capacity)),
            state: Mutex::new(State {
                external_labels: Labels::empty(),
                rules: Vec::new(),
                sets: Vec::new(),
                leaving: Vec::new(),
                is_stopped: false,
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes ready what a configuration needs, or says why it cannot be had. A set that this
    /// server cannot send to is logged and left out.
    pub fn prepare(
        &self,
        config: &AlertingConfig,
        external_labels: &Labels,
    ) -> Result<Prepared, String> {
        let mut sets = Vec::new();
        for set in &config.alertmanagers {
            if let Some(reason) = &set.unsupported {
                tracing::error!(config = %set.name, %reason, "These Alertmanagers get no alerts");
                continue;
            }
            let transport = (self.connect)(set)
                .map_err(|error| format!("alerting.alertmanagers, {}: {error}", set.name))?;
            sets.push((set.clone(), transport));
        }
        let rules = config.alert_relabel_configs.clone();
        Ok(Prepared { external_labels: external_labels.clone(), rules, sets })
    }

    /// Sends as `prepared` says from now on, to what discovery has found so far. Queues of
    /// Alertmanagers that stay are kept. Must be called within the runtime.
    pub fn apply(&self, prepared: Prepared, found: &TargetSets) {
        let mut state = self.state();
        if state.is_stopped {
            return;
        }
        state.external_labels = prepared.external_labels;
        state.rules = prepared.rules;
        let mut before: BTreeMap<String, Vec<Running>> = BTreeMap::new();
        for set in std::mem::take(&mut state.sets) {
            for (url, running) in set.loops {
                before.entry(url).or_default().push(running);
            }
        }
        for (config, transport) in prepared.sets {
            let mut set =
                Set { config, transport, receivers: Receivers::default(), loops: BTreeMap::new() };
            self.sync_set(&mut set, found, |url| before.get_mut(url)?.pop());
            state.sets.push(set);
        }
        for running in before.into_values().flatten() {
            state.leave(running);
        }
    }

    /// Takes over what discovery has found. Must be called within the runtime.
    pub fn sync(&self, found: &TargetSets) {
        let mut state = self.state();
        if state.is_stopped {
            return;
        }
        let mut sets = std::mem::take(&mut state.sets);
        for set in &mut sets {
            for running in self.sync_set(set, found, |_| None) {
                state.leave(running);
            }
        }
        state.sets = sets;
    }

    /// Takes over the Alertmanagers of one set; `known` gives queues that others leave. Gives
    /// those that are gone.
    fn sync_set(
        &self,
        set: &mut Set,
        found: &TargetSets,
        mut known: impl FnMut(&str) -> Option<Running>,
    ) -> Vec<Running> {
        let Some(groups) = found.get(&set.config.name) else { return Vec::new() };
        set.receivers = Receivers::of(&set.config, groups);
        let mut before = std::mem::take(&mut set.loops);
        for url in &set.receivers.active {
            let running = match before.remove(url) {
                Some(running) => running,
                None => match known(url) {
                    Some(running) => {
                        running.sender.set_transport(Arc::clone(&set.transport));
                        running
                    }
                    None => self.start(url, &set.transport),
                },
            };
            set.loops.insert(url.clone(), running);
        }
        before.into_values().collect()
    }

    fn start(&self, url: &str, transport: &Arc<dyn Transport>) -> Running {
        let sender = Arc::new(SendLoop::new(
            url,
            self.options,
            Arc::clone(&self.clock),
            Arc::clone(transport),
            Arc::clone(&self.metrics),
        ));
        let task = tokio::spawn(Arc::clone(&sender).run());
        Running { sender, task }
    }

    /// Follows discovery until its sender is gone.
    pub async fn follow(&self, mut found: watch::Receiver<Arc<TargetSets>>) {
        loop {
            let current = Arc::clone(&found.borrow_and_update());
            self.sync(&current);
            if found.changed().await.is_err() {
                return;
            }
        }
    }

    /// Queues alerts for each Alertmanager; never waits.
    pub fn send(&self, alerts: Vec<Alert>) {
        let state = self.state();
        if state.is_stopped {
            return;
        }
        let alerts = alerts.into_iter().map(Arc::new).collect();
        let alerts = relabelled(&state.rules, &state.external_labels, alerts);
        if alerts.is_empty() {
            return;
        }
        for set in &state.sets {
            let rules = &set.config.alert_relabel_configs;
            let alerts = relabelled(rules, &Labels::empty(), alerts.clone());
            if alerts.is_empty() {
                continue;
            }
            for running in set.loops.values() {
                running.sender.add(&alerts);
            }
        }
    }

    /// URLs of the Alertmanagers that alerts are sent to.
    pub fn alertmanagers(&self) -> Vec<String> {
        let state = self.state();
        state.sets.iter().flat_map(|set| set.receivers.active.clone()).collect()
    }

    /// URLs of those that relabelling dropped.
    pub fn dropped_alertmanagers(&self) -> Vec<String> {
        let state = self.state();
        state.sets.iter().flat_map(|set| set.receivers.dropped.clone()).collect()
    }

    /// What sending counts about itself, for `/metrics`.
    pub fn families(&self) -> Vec<Family> {
        self.metrics.discovered.set(self.alertmanagers().len() as f64);
        self.metrics.registry.gather()
    }

    /// Takes no more alerts, and returns when all tasks have ended; they send what waits first
    /// where that is asked for. Whoever drops the future breaks that off.
    pub async fn shutdown(&self) {
        let tasks = {
            let mut state = self.state();
            state.is_stopped = true;
            for set in std::mem::take(&mut state.sets) {
                for running in set.loops.into_values() {
                    state.leave(running);
                }
            }
            std::mem::take(&mut state.leaving)
        };
        for task in tasks {
            // One that panicked has ended too.
            let _ = task.await;
        }
    }
}

impl State {
    /// Has a task end by itself.
    fn leave(&mut self, running: Running) {
        running.sender.stop();
        self.leaving.retain(|task| !task.is_finished());
        self.leaving.push(running.task);
    }
}
