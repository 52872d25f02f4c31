//! The task that sends to one Alertmanager.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::alert::to_json;
use super::manager::Options;
use super::metrics::Metrics;
use super::queue::Queue;
use super::{Alert, Clock, PostError, Transport};
use crate::telemetry::traces::{self, Kind, Span};

/// How long a batch that failed waits the first time; each time longer.
const BACKOFF_MIN: Duration = Duration::from_millis(500);

/// How long it waits at most: an Alertmanager that is back has its alerts within this time.
const BACKOFF_MAX: Duration = Duration::from_secs(15);

/// The queue of one Alertmanager, and what its task needs.
#[derive(Debug)]
pub(super) struct SendLoop {
    pub(super) url: String,
    options: Options,
    clock: Arc<dyn Clock>,
    /// Replaced when a reload changes how the set is reached.
    transport: Mutex<Arc<dyn Transport>>,
    queue: Mutex<Queue>,
    wake: Notify,
    stop: watch::Sender<bool>,
    metrics: Arc<Metrics>,
}

impl SendLoop {
    pub(super) fn new(
        url: &str,
        options: Options,
        clock: Arc<dyn Clock>,
        transport: Arc<dyn Transport>,
        metrics: Arc<Metrics>,
    ) -> Self {
        metrics.add(url);
        Self {
            url: url.to_owned(),
            options,
            clock,
            transport: Mutex::new(transport),
            queue: Mutex::new(Queue::new(options.queue_capacity)),
            wake: Notify::new(),
            stop: watch::channel(false).0,
            metrics,
        }
    }

    pub(super) fn set_transport(&self, transport: Arc<dyn Transport>) {
        *self.transport.lock().unwrap_or_else(PoisonError::into_inner) = transport;
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, alerts: &[Arc<Alert>]) {
        let added = self.queue().add(alerts, self.clock.now_ms());
        if added.replaced > 0 {
            self.metrics.replaced.with(&[&self.url]).add(added.replaced as u64);
        }
        if added.dropped > 0 {
            tracing::warn!(
                alertmanager = %self.url, count = added.dropped,
                "Alert notification queue full, dropping alerts"
            );
        }
        self.note_dropped(added.dropped);
        self.show_length();
        self.wake.notify_one();
    }

    fn note_dropped(&self, count: usize) {
        if count > 0 {
            self.metrics.dropped.with(&[&self.url]).add(count as u64);
        }
    }

    fn show_length(&self) {
        self.metrics.queue_length.with(&[&self.url]).set(self.queue().length() as f64);
    }

    /// Ends the task: once what waits has been sent, where that is asked for, else at once.
    pub(super) fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Sends what comes until it is stopped.
    pub(super) async fn run(self: Arc<Self>) {
        let mut stopping = self.stop.subscribe();
        let mut backoff = BACKOFF_MIN;
        while !*stopping.borrow_and_update() {
            if self.queue().length() == 0 {
                tokio::select! {
                    () = self.wake.notified() => {}
                    _ = stopping.changed() => {}
                }
                continue;
            }
            let sent = if self.options.drains_on_shutdown {
                self.send_batch().await
            } else {
                tokio::select! {
                    sent = self.send_batch() => sent,
                    _ = stopping.changed() => break,
                }
            };
            if sent {
                backoff = BACKOFF_MIN;
                continue;
            }
            tokio::select! {
                () = self.clock.sleep(backoff) => {}
                _ = stopping.changed() => {}
            }
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
        self.finish().await;
    }

    /// Sends what is left, where that is asked for, until something fails.
    async fn finish(&self) {
        if self.options.drains_on_shutdown {
            while self.queue().length() > 0 && self.send_batch().await {}
        }
        let left = self.queue().clear();
        if left > 0 {
            tracing::warn!(
                alertmanager = %self.url, count = left,
                "Alerts that could not be sent before the end are dropped"
            );
        }
        self.note_dropped(left);
        self.metrics.remove(&self.url);
    }

    /// Whether the next batch arrived, or is not to be tried again.
    async fn send_batch(&self) -> bool {
        let (batch, expired) =
            self.queue().begin_batch(self.options.batch_size_max, self.clock.now_ms());
        if expired > 0 {
            tracing::warn!(
                alertmanager = %self.url, count = expired,
                "Alerts expired before they could be sent"
            );
        }
        self.note_dropped(expired);
        self.show_length();
        if batch.is_empty() {
            return true;
        }
        let transport = Arc::clone(&self.transport.lock().unwrap_or_else(PoisonError::into_inner));
        let began = Instant::now();
        let body = to_json(batch.iter().map(Arc::as_ref));
        let mut span = Span::root("Alertmanager Send Batch").with_kind(Kind::Client);
        span.set("alertmanager", self.url.as_str());
        span.set("alerts", batch.len());
        let outcome = traces::within(span.context(), transport.post(&self.url, body)).await;
        if let Err(error) = &outcome {
            span.fail(&error.message);
        }
        drop(span);
        match outcome {
            Ok(()) => {
                let count = self.queue().finish_batch();
                let took = began.elapsed();
                self.metrics.seconds.with(&[&self.url]).observe_duration(took);
                self.metrics.seconds_histogram.with(&[&self.url]).observe_duration(took);
                self.metrics.sent.with(&[&self.url]).add(count as u64);
                true
            }
            Err(error) => self.note_failure(&error, batch.len()),
        }
    }

    /// Puts a batch that failed back. Whether there is nothing to wait for.
    fn note_failure(&self, error: &PostError, count: usize) -> bool {
        tracing::error!(
            alertmanager = %self.url, count, err = %error.message,
            "Error sending alerts"
        );
        self.metrics.errors.with(&[&self.url]).add(count as u64);
        let dropped = self.queue().return_batch(error.is_final, self.clock.now_ms());
        self.note_dropped(dropped);
        self.show_length();
        error.is_final
    }
}
