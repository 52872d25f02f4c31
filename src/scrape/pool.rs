//! The targets of one job.
//!
//! INVARIANT: each active target has exactly one loop; targets that two groups name are one.

use std::sync::{Arc, PoisonError};
use std::time::Instant;

use hashbrown::HashMap;
use tokio::sync::mpsc;

use super::ingest::Ingest;
use super::metrics::JobGauges;
use super::scrape_loop::{Handle, Shared, Start};
use super::status::{DroppedTarget, LastScrape, TargetMetadata, TargetStatus};
use super::target::{Target, discovered_labels};
use crate::config::ScrapeConfig;
use crate::discovery::TargetGroup;
use crate::exposition::ShapePool;
use crate::http_client::{Client, ClientError};
use crate::model::{Labels, format_duration};
use crate::relabel::Rule;

type TargetId = (Labels, Arc<str>);

/// A job's targets and their loops.
#[derive(Debug)]
pub(super) struct Pool {
    shared: Arc<Shared>,
    alive: mpsc::Sender<()>,
    config: Arc<ScrapeConfig>,
    client: Arc<Client>,
    seed: u64,
    shapes: ShapePool,
    groups: Vec<Arc<TargetGroup>>,
    active: HashMap<TargetId, Active>,
    dropped: Vec<Labels>,
    dropped_count: usize,
}

#[derive(Debug)]
struct Active {
    target: Arc<Target>,
    handle: Handle,
}

impl Pool {
    pub(super) fn new(
        shared: Arc<Shared>,
        alive: mpsc::Sender<()>,
        config: ScrapeConfig,
        seed: u64,
    ) -> Result<Self, ClientError> {
        shared.metrics.pools.inc();
        let client = new_client(&shared, &config)?;
        let (metrics, job) = (&shared.metrics, &*config.job_name);
        metrics.syncs.with(&[job]);
        metrics.syncs_failed.with(&[job]);
        metrics.targets.with(&[job]);
        Ok(Self {
            client,
            shared,
            alive,
            config: Arc::new(config),
            seed,
            shapes: ShapePool::new(),
            groups: Vec::new(),
            active: HashMap::new(),
            dropped: Vec::new(),
            dropped_count: 0,
        })
    }

    /// Goes on under another configuration. Loops that it does not concern run on; the others are
    /// restarted and keep what they remember where it still holds.
    pub(super) fn reload(&mut self, config: &ScrapeConfig, seed: u64) -> Result<(), ClientError> {
        self.seed = seed;
        if *self.config == *config {
            return Ok(());
        }
        let began = Instant::now();
        self.shared.metrics.reloads.inc();
        if self.config.http_client != config.http_client {
            self.client = new_client(&self.shared, config)
                .inspect_err(|_| self.shared.metrics.reloads_failed.inc())?;
        }
        let restarts_all = !is_alike_for_loops(&self.config, config);
        let hands_over = Ingest::survives(&self.config, config);
        self.config = Arc::new(config.clone());
        if !hands_over {
            // Lines mean other series now.
            self.shapes = ShapePool::new();
        }
        self.update(restarts_all, hands_over);
        let interval = format_duration(self.config.scrape_interval_ms);
        let reload = self.shared.metrics.times.reload.with(&[&interval]);
        reload.observe_duration(began.elapsed());
        Ok(())
    }

    /// Takes over what discovery found.
    pub(super) fn sync(&mut self, groups: &[Arc<TargetGroup>]) {
        if self.groups.len() == groups.len()
            && self.groups.iter().zip(groups).all(|(a, b)| Arc::ptr_eq(a, b) || a == b)
        {
            return;
        }
        let began = Instant::now();
        self.groups = groups.to_vec();
        self.update(false, true);
        let (metrics, job) = (&self.shared.metrics, &*self.config.job_name);
        metrics.syncs.with(&[job]).inc();
        metrics.times.observe_sync(job, began.elapsed());
    }

    fn update(&mut self, restarts_all: bool, hands_over: bool) {
        let mut before = std::mem::take(&mut self.active);
        for target in self.find_targets() {
            let id = target.id();
            if let Some(active) = self.active.get_mut(&id) {
                // Named by two groups.
                active.target = target;
                continue;
            }
            let active = match before.remove(&id) {
                None => self.start(target, LastScrape::default(), None),
                Some(known) => {
                    let is_timed_alike = known.target.interval_ms == target.interval_ms
                        && known.target.timeout_ms == target.timeout_ms;
                    if restarts_all || !is_timed_alike {
                        let last = std::mem::take(
                            &mut *known.handle.last.lock().unwrap_or_else(PoisonError::into_inner),
                        );
                        let estate = known.handle.end(hands_over);
                        self.start(target, last, Some(estate))
                    } else {
                        Active { target, handle: known.handle }
                    }
                }
            };
            self.active.insert(id, active);
        }
        for (_, gone) in before {
            drop(gone.handle.end(false));
        }
        self.force_errors();
        let targets = self.shared.metrics.targets.with(&[&self.config.job_name]);
        targets.set(self.active.len() as f64);
    }

    fn start(
        &self,
        target: Arc<Target>,
        last: LastScrape,
        estate: Option<super::scrape_loop::Estate>,
    ) -> Active {
        let start = Start {
            shared: Arc::clone(&self.shared),
            config: Arc::clone(&self.config),
            client: Arc::clone(&self.client),
            shapes: self.shapes.clone(),
            target: Arc::clone(&target),
            seed: self.seed,
            estate,
            last,
            alive: self.alive.clone(),
        };
        Active { target, handle: start.spawn() }
    }

    /// Relabels all that was discovered.
    fn find_targets(&mut self) -> Vec<Arc<Target>> {
        let mut found = Vec::new();
        self.dropped.clear();
        self.dropped_count = 0;
        let kept = match self.config.keep_dropped_targets {
            0 => usize::MAX,
            limit => usize::try_from(limit).unwrap_or(usize::MAX),
        };
        for group in &self.groups {
            for (at, labels) in group.targets.iter().enumerate() {
                let discovered = discovered_labels(&self.config, labels, &group.labels);
                match Target::new(&self.config, discovered.clone()) {
                    Ok(Some(target)) => found.push(Arc::new(target)),
                    Ok(None) => {
                        self.dropped_count += 1;
                        if self.dropped.len() < kept {
                            self.dropped.push(discovered);
                        }
                    }
                    Err(error) => {
                        self.shared.metrics.syncs_failed.with(&[&self.config.job_name]).inc();
                        let error = format!("instance {at} in group {}: {error}", group.source);
                        let pool = &self.config.job_name;
                        tracing::error!(scrape_pool = %pool, %error, "Creating target failed");
                    }
                }
            }
        }
        found
    }

    fn force_errors(&self) {
        let (number, limit) = (self.active.len(), self.config.target_limit);
        let error: Option<Arc<str>> = (limit > 0 && number as u64 > limit).then(|| {
            self.shared.metrics.exceeded.target_limit.inc();
            format!("target_limit exceeded (number of targets: {number}, limit: {limit})").into()
        });
        for active in self.active.values() {
            let mut last = active.handle.last.lock().unwrap_or_else(PoisonError::into_inner);
            last.forced_error.clone_from(&error);
        }
    }

    pub(super) fn active(&self) -> impl Iterator<Item = TargetStatus> {
        self.active.values().map(|active| {
            let last = active.handle.last.lock().unwrap_or_else(PoisonError::into_inner);
            TargetStatus {
                pool: self.config.job_name.clone(),
                discovered_labels: active.target.discovered.clone(),
                labels: active.target.labels.clone(),
                scrape_url: active.target.url.to_string(),
                last_error: last.error.clone(),
                last_scrape_ns: last.began_ns,
                last_scrape_duration: last.duration,
                health: last.health,
                interval_ms: active.target.interval_ms,
                timeout_ms: active.target.timeout_ms,
            }
        })
    }

    /// Sets the gauges of the job.
    pub(super) fn measure(&self, job: &str, gauges: &JobGauges) {
        let (mut entries, mut bytes) = (0, 0);
        for active in self.active.values() {
            let last = active.handle.last.lock().unwrap_or_else(PoisonError::into_inner);
            for family in last.metadata.iter().chain(&last.lingering) {
                entries += 1;
                bytes += family.help.len() + family.unit.len() + family.metric_type.name().len();
            }
        }
        gauges.metadata_entries.with(&[job]).set(entries as f64);
        gauges.metadata_bytes.with(&[job]).set(bytes as f64);
        gauges.symbols.with(&[job]).set(self.shapes.usage().0 as f64);
        gauges.target_limit.with(&[job]).set(self.config.target_limit as f64);
    }

    pub(super) fn relabel_rules(&self) -> Vec<Rule> {
        self.config.relabel_configs.clone()
    }

    pub(super) fn dropped(&self) -> impl Iterator<Item = DroppedTarget> {
        self.dropped.iter().map(|labels| DroppedTarget {
            pool: self.config.job_name.clone(),
            discovered_labels: labels.clone(),
        })
    }

    pub(super) fn dropped_count(&self) -> usize {
        self.dropped_count
    }

    pub(super) fn active_count(&self) -> usize {
        self.active.len()
    }

    pub(super) fn metadata(&self) -> impl Iterator<Item = TargetMetadata> {
        self.active.values().map(|active| {
            let last = active.handle.last.lock().unwrap_or_else(PoisonError::into_inner);
            TargetMetadata {
                pool: self.config.job_name.clone(),
                labels: active.target.labels.clone(),
                families: last.metadata.iter().chain(&last.lingering).cloned().collect(),
            }
        })
    }
}

fn new_client(shared: &Shared, config: &ScrapeConfig) -> Result<Arc<Client>, ClientError> {
    let client = Client::new(&config.http_client)?;
    client.count_dials(shared.metrics.dials.named(&config.job_name));
    Ok(Arc::new(client))
}

/// Whether a loop under one configuration does the same under the other. What makes targets is
/// not its concern, and interval and timeout are the target's.
fn is_alike_for_loops(before: &ScrapeConfig, after: &ScrapeConfig) -> bool {
    let mut before = before.clone();
    before.scrape_interval_ms = after.scrape_interval_ms;
    before.scrape_timeout_ms = after.scrape_timeout_ms;
    before.target_limit = after.target_limit;
    before.keep_dropped_targets = after.keep_dropped_targets;
    before.static_configs.clone_from(&after.static_configs);
    before.discovery_configs.clone_from(&after.discovery_configs);
    before.relabel_configs.clone_from(&after.relabel_configs);
    before == *after
}
