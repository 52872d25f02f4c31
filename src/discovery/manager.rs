//! Which mechanism serves which job.
//!
//! Jobs with the same mechanism and settings share one provider. Applying a new configuration
//! keeps the providers that are still asked for, with what they know. What providers tell in
//! quick succession is handed on together: at once after a quiet time, then ever later, up to
//! every five seconds, as in Prometheus.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use super::provider::{Mechanism, Updates};
use super::{Metrics, TargetGroup, consul, dns, docker, ec2, file, http, kubernetes, nomad};
use crate::config::{DiscoveryConfig, ScrapeConfig, StaticTargets};
use crate::exposition::Family;

/// For each job the groups that are known of it.
pub type TargetSets = BTreeMap<String, Vec<Arc<TargetGroup>>>;

/// How long the first change after a quiet time waits for others.
const SETTLE_MIN: Duration = Duration::from_millis(100);

/// How long a change waits at most, and how long a time is that is quiet.
const SETTLE_MAX: Duration = Duration::from_secs(5);

/// What is looked for under one name.
#[derive(Debug, Clone, Copy)]
pub struct Sought<'a> {
    /// What the groups are found under: a job's name, for instance.
    pub name: &'a str,
    /// Targets that the configuration lists.
    pub static_configs: &'a [StaticTargets],
    /// Mechanisms that find more.
    pub discovery_configs: &'a [DiscoveryConfig],
}

/// The mechanisms that run, and what they found.
#[derive(Debug)]
pub struct Discovery {
    state: Arc<Mutex<State>>,
    metrics: Metrics,
    name: &'static str,
}

/// What [`Discovery`] and its mechanisms share.
#[derive(Debug)]
struct State {
    jobs: Vec<Job>,
    providers: Vec<Provider>,
    sets: watch::Sender<Arc<TargetSets>>,
    /// Wakes the sender: something has changed.
    changed: Arc<Notify>,
    sender: Option<JoinHandle<()>>,
    /// A change has not been handed on yet.
    is_pending: bool,
    provider_next: u64,
    metrics: Metrics,
    /// The name of the set of mechanisms, in metrics.
    name: &'static str,
}

#[derive(Debug)]
struct Job {
    name: String,
    static_groups: Vec<Arc<TargetGroup>>,
    configs: Vec<DiscoveryConfig>,
}

#[derive(Debug)]
struct Provider {
    id: u64,
    config: DiscoveryConfig,
    /// By source.
    groups: BTreeMap<String, Arc<TargetGroup>>,
    task: JoinHandle<()>,
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Drop for State {
    fn drop(&mut self) {
        if let Some(sender) = &self.sender {
            sender.abort();
        }
    }
}

impl Default for Discovery {
    fn default() -> Self {
        Self::new()
    }
}

impl Discovery {
    /// Nothing discovered yet, of what is to be scraped.
    pub fn new() -> Self {
        Self::named("scrape")
    }

    /// Nothing discovered yet; metrics call it `name`.
    pub fn named(name: &'static str) -> Self {
        let (sets, _) = watch::channel(Arc::default());
        let metrics = Metrics::new();
        for counts in [&metrics.received_updates, &metrics.delayed_updates, &metrics.sent_updates] {
            counts.with(&[name]);
        }
        let state = State {
            jobs: Vec::new(),
            providers: Vec::new(),
            sets,
            changed: Arc::default(),
            sender: None,
            is_pending: false,
            provider_next: 0,
            metrics: metrics.clone(),
            name,
        };
        Self { state: Arc::new(Mutex::new(state)), metrics, name }
    }

    /// Follows the target sets; the current ones are there at once.
    pub fn subscribe(&self) -> watch::Receiver<Arc<TargetSets>> {
        self.state().sets.subscribe()
    }

    /// What discovery counts about itself, for `/metrics`.
    pub fn families(&self) -> Vec<Family> {
        self.metrics.families()
    }

    /// Discovers for these jobs from now on. Must be called within the runtime. Jobs that are
    /// unsupported have no targets. A mechanism that cannot be started is logged and counted,
    /// and tried again when the configuration is applied the next time.
    pub fn apply(&self, configs: &[ScrapeConfig]) {
        let supported = configs.iter().filter(|config| config.unsupported.is_none());
        let sought: Vec<_> = supported
            .map(|config| Sought {
                name: &config.job_name,
                static_configs: &config.static_configs,
                discovery_configs: &config.discovery_configs,
            })
            .collect();
        self.seek(&sought);
    }

    /// As [`Discovery::apply`], for whatever is sought.
    pub fn seek(&self, sought: &[Sought<'_>]) {
        let mut state = self.state();
        if state.sender.is_none() {
            let (weak, changed) = (Arc::downgrade(&self.state), Arc::clone(&state.changed));
            state.sender = Some(tokio::spawn(send_changes(weak, changed)));
        }
        for job in std::mem::take(&mut state.jobs) {
            if !sought.iter().any(|sought| sought.name == job.name) {
                self.metrics.last_updated.remove(&[&job.name, self.name]);
            }
        }
        state.jobs = sought.iter().map(Job::new).collect();
        let mut before = std::mem::take(&mut state.providers);
        let mut providers: Vec<Provider> = Vec::new();
        let wanted: Vec<(String, DiscoveryConfig)> = state
            .jobs
            .iter()
            .flat_map(|job| job.configs.iter().map(|config| (job.name.clone(), config.clone())))
            .collect();
        let mut failed = 0;
        for (job, config) in wanted {
            if providers.iter().any(|provider| provider.config == config) {
                continue;
            }
            if let Some(at) = before.iter().position(|provider| provider.config == config) {
                providers.push(before.swap_remove(at));
                continue;
            }
            match self.start(&mut state, &job, &config) {
                Ok(provider) => providers.push(provider),
                Err(error) => {
                    failed += 1;
                    let discovery = config.mechanism();
                    tracing::error!(
                        discovery, config = %job, err = %error,
                        "Cannot create service discovery"
                    );
                }
            }
        }
        self.metrics.failed_configs.with(&[self.name]).set(f64::from(failed));
        state.providers = providers;
        state.publish();
    }

    fn start(
        &self,
        state: &mut State,
        job: &str,
        config: &DiscoveryConfig,
    ) -> Result<Provider, String> {
        let mechanism = mechanism_of(config)?;
        let id = state.provider_next;
        state.provider_next += 1;
        let shared = Arc::downgrade(&self.state);
        let updates = Updates::new(job, self.metrics.clone(), move |groups, is_all| {
            let Some(state) = shared.upgrade() else { return };
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            state.change(id, groups, is_all);
        });
        let task = tokio::spawn(mechanism.run(updates));
        Ok(Provider { id, config: config.clone(), groups: BTreeMap::new(), task })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The mechanism that a section of the configuration means.
pub(super) fn mechanism_of(config: &DiscoveryConfig) -> Result<Box<dyn Mechanism>, String> {
    Ok(match config {
        DiscoveryConfig::Consul(config) => Box::new(consul::Consul::new(config)?),
        DiscoveryConfig::Dns(config) => Box::new(dns::new(config)),
        DiscoveryConfig::Docker(config) => Box::new(docker::new(config)?),
        DiscoveryConfig::File(config) => Box::new(file::new(config)),
        DiscoveryConfig::Http(config) => Box::new(http::new(config)?),
        DiscoveryConfig::Nomad(config) => Box::new(nomad::new(config)?),
        DiscoveryConfig::Kubernetes(config) => Box::new(kubernetes::new(config)?),
        DiscoveryConfig::Ec2(config) => Box::new(ec2::new(config)?),
    })
}

/// Hands on what has changed, not too often.
async fn send_changes(state: std::sync::Weak<Mutex<State>>, changed: Arc<Notify>) {
    let mut settle = SETTLE_MIN;
    loop {
        if tokio::time::timeout(SETTLE_MAX, changed.notified()).await.is_err() {
            settle = SETTLE_MIN;
            changed.notified().await;
        }
        tokio::time::sleep(settle).await;
        settle = (settle * 3 / 2).min(SETTLE_MAX);
        let Some(state) = state.upgrade() else { return };
        state.lock().unwrap_or_else(PoisonError::into_inner).publish();
    }
}

impl State {
    /// Takes over what a provider tells: all that it knows, or changes.
    fn change(&mut self, provider: u64, groups: Vec<Arc<TargetGroup>>, is_all: bool) {
        self.metrics.received_updates.with(&[self.name]).inc();
        let Some(provider) = self.providers.iter_mut().find(|p| p.id == provider) else { return };
        if is_all {
            provider.groups.clear();
        }
        for group in groups {
            if group.targets.is_empty() {
                provider.groups.remove(&group.source);
            } else {
                provider.groups.insert(group.source.clone(), group);
            }
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        for job in self.jobs.iter().filter(|job| job.configs.contains(&provider.config)) {
            self.metrics.last_updated.with(&[&job.name, self.name]).set(now.as_secs_f64());
        }
        if self.is_pending {
            self.metrics.delayed_updates.with(&[self.name]).inc();
        }
        self.is_pending = true;
        self.changed.notify_one();
    }

    fn publish(&mut self) {
        self.is_pending = false;
        let groups_of = |job: &Job| {
            let found = self.providers.iter().filter(|p| job.configs.contains(&p.config));
            let found = found.flat_map(|provider| provider.groups.values().cloned());
            job.static_groups.iter().cloned().chain(found).collect()
        };
        let sets = self.jobs.iter().map(|job| (job.name.clone(), groups_of(job))).collect();
        self.metrics.sent_updates.with(&[self.name]).inc();
        self.sets.send_replace(Arc::new(sets));
    }
}

impl Job {
    fn new(sought: &Sought<'_>) -> Self {
        let statics = sought.static_configs.iter().enumerate();
        let group = |(at, written): (usize, &StaticTargets)| {
            let addresses = &written.targets;
            Arc::new(TargetGroup::of_addresses(at.to_string(), addresses, written.labels.clone()))
        };
        Self {
            name: sought.name.to_owned(),
            static_groups: statics.map(group).collect(),
            configs: sought.discovery_configs.to_vec(),
        }
    }
}
