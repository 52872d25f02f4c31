//! All jobs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::failure_log::FailureLogs;
use super::metrics::Metrics;
use super::pool::Pool;
use super::schedule::fnv64;
use super::scrape_loop::Shared;
use super::sink::Sink;
use super::status::{DroppedTarget, FailedJob, TargetMetadata, TargetStatus};
use super::workers::Workers;
use crate::config::ScrapeConfig;
use crate::discovery::TargetSets;
use crate::exposition::Family;
use crate::http_client::BufferPool;
use crate::model::Labels;
use crate::relabel::Rule;

/// What is done beyond the jobs' configurations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Features {
    /// Start timestamps are read and stored with their samples.
    pub stores_starts: bool,
    /// Counters begin with a zero at their start timestamp.
    pub injects_zeros: bool,
    /// Counters whose pages do not say when they began count from their first sample on.
    pub synthesizes_starts: bool,
    /// Series have their type and unit as labels.
    pub type_and_unit_labels: bool,
    /// What pages say of their families is stored.
    pub stores_metadata: bool,
    /// How much later than due, in nanoseconds, a scrape may begin whose samples get the time at
    /// which it was due; at most a hundredth of the interval, and below 0 they never do.
    pub tolerance_ns: i64,
    /// Least milliseconds between two synchronisations with discovery.
    pub sync_interval_ms: i64,
}

impl Default for Features {
    /// COMPAT: Prometheus's.
    fn default() -> Self {
        Self {
            stores_starts: false,
            injects_zeros: false,
            synthesizes_starts: false,
            type_and_unit_labels: false,
            stores_metadata: false,
            tolerance_ns: 2_000_000,
            sync_interval_ms: 5_000,
        }
    }
}

/// Scrapes the targets of all jobs.
#[derive(Debug)]
pub struct Manager {
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    state: Mutex<State>,
    /// Answers when the last loop has ended.
    ended: tokio::sync::Mutex<mpsc::Receiver<()>>,
}

#[derive(Debug)]
struct State {
    pools: BTreeMap<String, Pool>,
    failed: Vec<FailedJob>,
    sets: Arc<TargetSets>,
    /// `None` once the server stops.
    alive: Option<mpsc::Sender<()>>,
}

impl Manager {
    /// Scrapes nothing yet.
    pub fn new(sink: Arc<dyn Sink>, features: Features) -> Self {
        let (stop, stopping) = watch::channel(false);
        let (alive, ended) = mpsc::channel(1);
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            shared: Arc::new(Shared {
                sink,
                features,
                failures: FailureLogs::default(),
                buffers: BufferPool::new(),
                workers: Workers::new(processors),
                processors: Arc::new(tokio::sync::Semaphore::new(processors)),
                metrics: Metrics::new(),
                stopping,
            }),
            stop,
            state: Mutex::new(State {
                pools: BTreeMap::new(),
                failed: Vec::new(),
                sets: Arc::default(),
                alive: Some(alive),
            }),
            ended: tokio::sync::Mutex::new(ended),
        }
    }

    /// Runs these jobs from now on: pools of jobs that are gone end, those with a changed
    /// configuration restart their loops, the others are left alone. A job that the server cannot
    /// run is told by [`Manager::failed_jobs`]. Must be called within a runtime.
    pub fn apply(&self, configs: &[ScrapeConfig], external_labels: &Labels) {
        let seed = fnv64(&[host_name().as_bytes(), external_labels.to_string().as_bytes()]);
        let mut state = self.state();
        let state = &mut *state;
        let Some(alive) = state.alive.clone() else { return };
        state.failed.clear();
        self.shared.failures.reopen();
        let mut before = std::mem::take(&mut state.pools);
        for config in configs {
            let job = config.job_name.clone();
            let pool = match &config.unsupported {
                Some(reason) => Err(reason.clone()),
                None => self.pool(config, seed, before.remove(&job), &alive, &state.sets),
            };
            match pool {
                Ok(pool) => {
                    state.pools.insert(job, pool);
                }
                Err(reason) => {
                    self.shared.metrics.pools_failed.inc();
                    tracing::error!(scrape_pool = %job, %reason, "The job cannot run");
                    state.failed.push(FailedJob { job, reason });
                }
            }
        }
        // Pools that are left end with their handles; their loops write the staleness markers.
        for job in before.keys() {
            self.shared.metrics.remove_job(job);
        }
    }

    /// The pool that runs `config` from now on: the one that ran before, if there was one.
    fn pool(
        &self,
        config: &ScrapeConfig,
        seed: u64,
        before: Option<Pool>,
        alive: &mpsc::Sender<()>,
        sets: &TargetSets,
    ) -> Result<Pool, String> {
        let pool = if let Some(mut pool) = before {
            pool.reload(config, seed).map(|()| pool)
        } else {
            let shared = Arc::clone(&self.shared);
            Pool::new(shared, alive.clone(), config.clone(), seed).map(|mut pool| {
                pool.sync(sets.get(&config.job_name).map_or(&[], Vec::as_slice));
                pool
            })
        };
        pool.map_err(|error| error.to_string())
    }

    /// Follows discovery until the server stops.
    pub async fn run(&self, mut sets: watch::Receiver<Arc<TargetSets>>) {
        let mut stopping = self.shared.stopping.clone();
        let interval_ms = u64::try_from(self.shared.features.sync_interval_ms).unwrap_or(0);
        loop {
            let current = Arc::clone(&sets.borrow_and_update());
            self.sync(current);
            tokio::select! {
                _ = stopping.wait_for(|stops| *stops) => return,
                changed = sets.changed() => if changed.is_err() { return },
            }
            // What comes close together is taken over together.
            let settle = Duration::from_millis(if self.has_targets() { interval_ms } else { 100 });
            tokio::select! {
                _ = stopping.wait_for(|stops| *stops) => return,
                () = tokio::time::sleep(settle) => {}
            }
        }
    }

    fn has_targets(&self) -> bool {
        self.state().pools.values().any(|pool| pool.active_count() > 0)
    }

    /// Takes over what discovery found. Must be called within the runtime.
    pub fn sync(&self, sets: Arc<TargetSets>) {
        let mut state = self.state();
        if state.alive.is_none() {
            return;
        }
        for (job, pool) in &mut state.pools {
            pool.sync(sets.get(job).map_or(&[], Vec::as_slice));
        }
        state.sets = sets;
    }

    /// Ends all loops, scrapes under way included, and waits for them. No staleness markers are
    /// written: the series go on when the server is back.
    pub async fn shutdown(&self) {
        self.stop.send_replace(true);
        let pools = {
            let mut state = self.state();
            state.alive = None;
            std::mem::take(&mut state.pools)
        };
        drop(pools);
        // Nothing is ever sent: the answer is that all senders are gone.
        self.ended.lock().await.recv().await;
    }

    /// All targets that are scraped, by job and URL.
    pub fn active_targets(&self) -> Vec<TargetStatus> {
        let mut targets: Vec<_> = self.state().pools.values().flat_map(Pool::active).collect();
        targets.sort_by(|a, b| (&a.pool, &a.scrape_url).cmp(&(&b.pool, &b.scrape_url)));
        targets
    }

    /// Targets that relabelling dropped, as far as `keep_dropped_targets` has them kept.
    pub fn dropped_targets(&self) -> Vec<DroppedTarget> {
        self.state().pools.values().flat_map(Pool::dropped).collect()
    }

    /// How many targets relabelling dropped, by job.
    pub fn dropped_target_counts(&self) -> BTreeMap<String, usize> {
        let state = self.state();
        state.pools.iter().map(|(job, pool)| (job.clone(), pool.dropped_count())).collect()
    }

    /// Names of the jobs that run.
    pub fn scrape_pools(&self) -> Vec<String> {
        self.state().pools.keys().cloned().collect()
    }

    /// Jobs that cannot run on this server, and why.
    pub fn failed_jobs(&self) -> Vec<FailedJob> {
        self.state().failed.clone()
    }

    /// The relabelling rules of a job's targets; `None`: there is no such job.
    pub fn relabel_rules(&self, job: &str) -> Option<Vec<Rule>> {
        self.state().pools.get(job).map(Pool::relabel_rules)
    }

    /// HELP and TYPE of what each target serves.
    pub fn metadata(&self) -> Vec<TargetMetadata> {
        self.state().pools.values().flat_map(Pool::metadata).collect()
    }

    /// What scraping counts about itself, for `/metrics`.
    pub fn families(&self) -> Vec<Family> {
        for (job, pool) in &self.state().pools {
            pool.measure(job, &self.shared.metrics.jobs);
        }
        self.shared.metrics.registry.gather()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn host_name() -> String {
    ["/proc/sys/kernel/hostname", "/etc/hostname"]
        .iter()
        .find_map(|path| std::fs::read_to_string(path).ok())
        .map_or_else(String::new, |name| name.trim().to_owned())
}
