//! Which mechanism serves which job.
//!
//! Jobs with the same mechanism and settings share one provider. Applying a new configuration
//! keeps the providers that are still asked for, with what they know.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{TargetGroup, file};
use crate::config::{FileDiscovery, ScrapeConfig};

/// For each job the groups that are known of it.
pub type TargetSets = BTreeMap<String, Vec<Arc<TargetGroup>>>;

/// The mechanisms that run, and what they found.
#[derive(Debug)]
pub struct Discovery {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    jobs: Vec<Job>,
    providers: Vec<Provider>,
    sets: watch::Sender<Arc<TargetSets>>,
}

#[derive(Debug)]
struct Job {
    name: String,
    static_groups: Vec<Arc<TargetGroup>>,
    files: Vec<FileDiscovery>,
}

#[derive(Debug)]
struct Provider {
    config: FileDiscovery,
    groups: Vec<Arc<TargetGroup>>,
    task: JoinHandle<()>,
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Default for Discovery {
    fn default() -> Self {
        Self::new()
    }
}

impl Discovery {
    /// Nothing discovered yet.
    pub fn new() -> Self {
        let (sets, _) = watch::channel(Arc::default());
        Self {
            state: Arc::new(Mutex::new(State { jobs: Vec::new(), providers: Vec::new(), sets })),
        }
    }

    /// Follows the target sets; the current ones are there at once.
    pub fn subscribe(&self) -> watch::Receiver<Arc<TargetSets>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).sets.subscribe()
    }

    /// Discovers for these jobs from now on. Must be called within the runtime. Jobs that are
    /// unsupported have no targets.
    pub fn apply(&self, configs: &[ScrapeConfig]) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let supported = configs.iter().filter(|config| config.unsupported.is_none());
        state.jobs = supported.map(Job::new).collect();
        let mut before = std::mem::take(&mut state.providers);
        let mut providers: Vec<Provider> = Vec::new();
        for config in state.jobs.iter().flat_map(|job| &job.files) {
            if providers.iter().any(|provider| provider.config == *config) {
                continue;
            }
            let known = before.iter().position(|provider| provider.config == *config);
            providers.push(match known {
                Some(at) => before.swap_remove(at),
                None => Provider {
                    config: config.clone(),
                    groups: Vec::new(),
                    task: spawn(config.clone(), Arc::downgrade(&self.state)),
                },
            });
        }
        state.providers = providers;
        state.publish();
    }
}

fn spawn(config: FileDiscovery, state: Weak<Mutex<State>>) -> JoinHandle<()> {
    let key = config.clone();
    tokio::spawn(file::run(config, move |groups| {
        let Some(state) = state.upgrade() else { return };
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(provider) = state.providers.iter_mut().find(|p| p.config == key) {
            provider.groups = groups;
            state.publish();
        }
    }))
}

impl State {
    fn publish(&self) {
        let groups_of = |job: &Job| {
            let found = self.providers.iter().filter(|p| job.files.contains(&p.config));
            let found = found.flat_map(|provider| provider.groups.iter().cloned());
            job.static_groups.iter().cloned().chain(found).collect()
        };
        let sets = self.jobs.iter().map(|job| (job.name.clone(), groups_of(job))).collect();
        self.sets.send_replace(Arc::new(sets));
    }
}

impl Job {
    fn new(config: &ScrapeConfig) -> Self {
        let statics = config.static_configs.iter().enumerate();
        let group = |(at, written): (usize, &crate::config::StaticTargets)| {
            let addresses = &written.targets;
            Arc::new(TargetGroup::of_addresses(at.to_string(), addresses, written.labels.clone()))
        };
        Self {
            name: config.job_name.clone(),
            static_groups: statics.map(group).collect(),
            files: config.file_sd_configs.clone(),
        }
    }
}
