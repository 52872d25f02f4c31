//! One receiver's queue: what its reader, its shards and its metadata have in common.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::entry::{Counts, Entry};
use super::metadata::Descriptions;
use super::metrics::{Metrics, QueueMetrics, Reason};
use super::rates::Rates;
use super::receiver::Receiver;
use crate::config::RemoteWriteConfig;
use crate::db::{Database, Progress};

/// How long the log is held for a receiver that is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hold {
    /// Nothing logged longer ago; 0 sets no limit. What was logged before the start counts from
    /// the start.
    pub age_ms: i64,
    /// Not more than so many bytes of log.
    pub bytes: u64,
}

/// Least time between two lines about the same trouble.
const TROUBLE_TOLD_EVERY: Duration = Duration::from_mins(1);

#[derive(Debug)]
pub(super) struct Queue {
    /// In logs and metrics.
    pub(super) name: String,
    pub(super) config: RemoteWriteConfig,
    /// Replaced when secrets change.
    receiver: RwLock<Arc<Receiver>>,
    pub(super) database: Database,
    pub(super) progress: Progress,
    pub(super) metrics: QueueMetrics,
    pub(super) all_metrics: Arc<Metrics>,
    pub(super) rates: Rates,
    pub(super) descriptions: Arc<Descriptions>,
    pub(super) hold: Hold,
    pub(super) flush_deadline: Duration,
    /// It counts what comes for all queues.
    pub(super) is_first: AtomicBool,
    /// `true`: what is there is sent, then all ends.
    pub(super) stopping: watch::Receiver<bool>,
    /// A request failed after that: what is left is sent after the next start.
    pub(super) gave_up: AtomicBool,
    /// Records below this are not sent any more.
    pub(super) give_up_before: AtomicU64,
    /// Seconds.
    pub(super) highest_s: AtomicI64,
    highest_sent_s: AtomicI64,
    last_success: Mutex<Option<Instant>>,
    last_told: Mutex<Option<Instant>>,
}

/// What makes a queue.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) name: String,
    pub(super) config: RemoteWriteConfig,
    pub(super) receiver: Arc<Receiver>,
    pub(super) database: Database,
    pub(super) progress: Progress,
    pub(super) metrics: Arc<Metrics>,
    pub(super) descriptions: Arc<Descriptions>,
    pub(super) hold: Hold,
    pub(super) flush_deadline: Duration,
    pub(super) stopping: watch::Receiver<bool>,
}

impl Queue {
    pub(super) fn new(parts: Parts) -> Self {
        let metrics = parts.metrics.of(&parts.name, &parts.receiver.shown);
        let limits = &parts.config.queue;
        metrics.shard_capacity.set(limits.capacity as f64);
        metrics.shards_max.set(limits.max_shards as f64);
        metrics.shards_min.set(limits.min_shards as f64);
        metrics.samples_per_send_max.set(limits.max_samples_per_send as f64);
        Self {
            name: parts.name,
            config: parts.config,
            receiver: RwLock::new(parts.receiver),
            database: parts.database,
            progress: parts.progress,
            metrics,
            all_metrics: parts.metrics,
            rates: Rates::default(),
            descriptions: parts.descriptions,
            hold: parts.hold,
            flush_deadline: parts.flush_deadline,
            is_first: AtomicBool::new(false),
            stopping: parts.stopping,
            gave_up: AtomicBool::new(false),
            give_up_before: AtomicU64::new(0),
            highest_s: AtomicI64::new(0),
            highest_sent_s: AtomicI64::new(0),
            last_success: Mutex::default(),
            last_told: Mutex::default(),
        }
    }

    pub(super) fn receiver(&self) -> Arc<Receiver> {
        Arc::clone(&self.receiver.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn set_receiver(&self, receiver: Arc<Receiver>) {
        *self.receiver.write().unwrap_or_else(PoisonError::into_inner) = receiver;
    }

    pub(super) fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    pub(super) fn has_given_up(&self) -> bool {
        self.gave_up.load(Ordering::Acquire)
    }

    /// A receiver took something that was as new as this.
    pub(super) fn succeeded(&self, newest_ms: Option<i64>) {
        let mut last = self.last_success.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Some(Instant::now());
        drop(last);
        if let Some(newest_ms) = newest_ms {
            let highest = self.highest_sent_s.fetch_max(newest_ms / 1000, Ordering::AcqRel);
            self.metrics.highest_sent_s.set(highest.max(newest_ms / 1000) as f64);
        }
    }

    /// Whether the receiver took something lately.
    pub(super) fn is_sending(&self) -> bool {
        let last = *self.last_success.lock().unwrap_or_else(PoisonError::into_inner);
        let patience = Duration::from_millis(self.config.queue.batch_send_deadline_ms as u64) * 2;
        last.is_some_and(|at| at.elapsed() <= patience)
    }

    /// How far the newest sample sent is behind the newest there is.
    pub(super) fn behind_s(&self) -> f64 {
        let came = self.highest_s.load(Ordering::Acquire);
        (came - self.highest_sent_s.load(Ordering::Acquire)) as f64
    }

    /// Whether a line about trouble is due.
    pub(super) fn may_tell(&self) -> bool {
        let mut last = self.last_told.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = last.is_none_or(|at| at.elapsed() >= TROUBLE_TOLD_EVERY);
        if is_due {
            *last = Some(Instant::now());
        }
        is_due
    }

    /// Why an entry is not sent any more.
    pub(super) fn too_late(&self, entry: &Entry, now_ms: i64) -> Option<Reason> {
        let limit_ms = self.config.queue.sample_age_limit_ms;
        if limit_ms > 0 && entry.t_ms < now_ms - limit_ms {
            return Some(Reason::TooOld);
        }
        let hold_ms = self.hold.age_ms;
        let is_held_too_long = (hold_ms > 0 && entry.logged_s < (now_ms - hold_ms) / 1000)
            || entry.point.sequence < self.give_up_before.load(Ordering::Acquire);
        is_held_too_long.then_some(Reason::HeldTooLong)
    }

    /// Takes out what is not sent any more, and counts it.
    pub(super) fn drop_too_late(&self, batch: &mut Vec<Entry>) {
        let now_ms = now_ms();
        let mut dropped: [Counts; 2] = Default::default();
        batch.retain(|entry| {
            let reason = self.too_late(entry, now_ms);
            match reason {
                Some(Reason::TooOld) => dropped[0].add(&entry.datum),
                Some(_) => dropped[1].add(&entry.datum),
                None => {}
            }
            reason.is_none()
        });
        for (reason, counts) in [Reason::TooOld, Reason::HeldTooLong].into_iter().zip(dropped) {
            if counts.sum() > 0 {
                self.metrics.left(counts);
                self.count_dropped(reason, counts);
            }
        }
    }

    /// Counts what is not sent; what is lost for want of patience is told.
    pub(super) fn count_dropped(&self, reason: Reason, counts: Counts) {
        self.metrics.dropped(reason, counts);
        self.rates.dropped.add(counts.sum());
        if reason == Reason::HeldTooLong && self.may_tell() {
            tracing::warn!(
                remote_name = %self.name,
                url = %self.receiver().shown,
                dropped = counts.sum(),
                "The receiver is behind by more than --remote.hold: the oldest samples are given up"
            );
        }
    }
}

/// Milliseconds since the Unix epoch.
pub(super) fn now_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
