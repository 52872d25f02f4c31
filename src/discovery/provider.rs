//! The one trait of all mechanisms, and what they tell by.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Metrics, TargetGroup};

/// A mechanism's work; it runs until it is dropped.
pub type Running = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A mechanism, ready to run.
pub trait Mechanism: fmt::Debug + Send {
    /// Finds targets and tells them, until it is dropped.
    fn run(self: Box<Self>, updates: Updates) -> Running;
}

/// Takes groups, and whether they are all that there are.
type Tell = dyn Fn(Vec<Arc<TargetGroup>>, bool) + Send + Sync;

/// Where a mechanism tells what it found.
#[derive(Clone)]
pub struct Updates {
    tell: Arc<Tell>,
    metrics: Metrics,
    /// The job that the metrics name; the first one where several share the mechanism.
    job: Arc<str>,
}

impl fmt::Debug for Updates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Updates").field("job", &self.job).finish_non_exhaustive()
    }
}

impl Updates {
    /// Hands what is found for `job` to `tell`: groups, and whether they are all that there are
    /// or replace those of the same source, an empty one taking its source away.
    pub fn new(
        job: &str,
        metrics: Metrics,
        tell: impl Fn(Vec<Arc<TargetGroup>>, bool) + Send + Sync + 'static,
    ) -> Self {
        Self { tell: Arc::new(tell), metrics, job: job.into() }
    }

    /// What discovery counts.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Replaces groups by those of the same source; an empty one takes its source away.
    pub fn change(&self, groups: impl IntoIterator<Item = TargetGroup>) {
        (self.tell)(groups.into_iter().map(Arc::new).collect(), false);
    }

    /// Replaces everything that was told before.
    pub fn replace(&self, groups: impl IntoIterator<Item = TargetGroup>) {
        self.replace_shared(groups.into_iter().map(Arc::new).collect());
    }

    /// As [`Updates::replace`], with groups that are kept elsewhere too.
    pub fn replace_shared(&self, groups: Vec<Arc<TargetGroup>>) {
        (self.tell)(groups, true);
    }
}

/// What a mechanism that asks again and again does each time.
pub(super) trait Refresh: fmt::Debug + Send + 'static {
    /// All groups that there are now, or why they cannot be had.
    fn refresh(
        &mut self,
        updates: &Updates,
    ) -> impl Future<Output = Result<Vec<TargetGroup>, String>> + Send;
}

/// A mechanism that asks again and again. A question that fails leaves what was known.
#[derive(Debug)]
pub(super) struct Refreshing<R> {
    pub(super) mechanism: &'static str,
    pub(super) interval_ms: i64,
    pub(super) refresh: R,
}

impl<R: Refresh> Mechanism for Refreshing<R> {
    fn run(mut self: Box<Self>, updates: Updates) -> Running {
        Box::pin(async move {
            let mut ticks = tokio::time::interval(interval(self.interval_ms));
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                self.refresh_once(&updates).await;
            }
        })
    }
}

impl<R: Refresh> Refreshing<R> {
    async fn refresh_once(&mut self, updates: &Updates) {
        let began = Instant::now();
        let refreshed = self.refresh.refresh(updates).await;
        let (metrics, job) = (updates.metrics(), &*updates.job);
        let labels = [job, self.mechanism];
        metrics.refresh_seconds.with(&labels).observe_duration(began.elapsed());
        metrics.refresh_histogram.with(&[self.mechanism]).observe(began.elapsed().as_secs_f64());
        let failures = metrics.refresh_failures.with(&labels);
        match refreshed {
            Ok(groups) => updates.replace(groups),
            Err(error) => {
                failures.inc();
                let mechanism = self.mechanism;
                tracing::error!(
                    discovery = mechanism, config = job, err = %error,
                    "Unable to refresh target groups"
                );
            }
        }
    }
}

/// An interval of the configuration; never so short that it is a busy loop.
pub(super) fn interval(interval_ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(interval_ms).unwrap_or(0).max(10))
}
