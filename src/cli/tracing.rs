//! Sending traces, as a part of the running process.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::config::{Config, TracingConfig};
use crate::exposition::Family;
use crate::remote::{TraceReceiver, send_traces, trace_families};
use crate::telemetry::traces::{Queue, TraceCounts, Tracer, install};

/// A configuration that can be applied.
#[derive(Debug)]
pub(super) struct PreparedTracing(Option<(TracingConfig, TraceReceiver)>);

/// Who sends traces, if anybody does.
#[derive(Debug, Default)]
pub(super) struct Tracing {
    counts: Arc<TraceCounts>,
    running: Mutex<Option<Running>>,
}

#[derive(Debug)]
struct Running {
    config: TracingConfig,
    queue: Arc<Queue>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Tracing {
    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a configuration ready to be applied.
    pub(super) fn prepare(config: &Config) -> Result<PreparedTracing, String> {
        let Some(config) = &config.tracing else { return Ok(PreparedTracing(None)) };
        Ok(PreparedTracing(Some((config.clone(), TraceReceiver::new(config)?))))
    }

    /// Traces as the configuration says from now on. Must be called within the runtime. What was
    /// traced before is still sent where it was to go.
    pub(super) fn apply(&self, PreparedTracing(prepared): PreparedTracing) {
        let mut running = self.running();
        let before = running.as_ref().map(|running| &running.config);
        if before == prepared.as_ref().map(|(config, _)| config) {
            // Files of certificates are read again when they change.
            return;
        }
        if let Some(before) = running.take() {
            before.stop.send_replace(true);
        }
        let Some((config, receiver)) = prepared else {
            install(None);
            tracing::info!("Nothing is traced any more");
            return;
        };
        let queue = Arc::new(Queue::new(Arc::clone(&self.counts)));
        let (stop, stopping) = watch::channel(false);
        let task = tokio::spawn(send_traces(receiver, Arc::clone(&queue), stopping));
        install(Some(Arc::new(Tracer::new(config.sampling_fraction, Arc::clone(&queue)))));
        tracing::info!(endpoint = %config.endpoint, "Traces are sent");
        *running = Some(Running { config, queue, stop, task });
    }

    /// Ends, after what waits has been sent, if that takes no longer than `grace`.
    pub(super) async fn stop(&self, grace: Duration) {
        let Some(running) = self.running().take() else { return };
        install(None);
        running.stop.send_replace(true);
        if tokio::time::timeout(grace, running.task).await.is_err() {
            tracing::warn!("The last traces could not be sent in time and are dropped");
        }
    }

    /// What became of spans, for `/metrics`; nothing where there were never any.
    pub(super) fn families(&self) -> Vec<Family> {
        let waiting = self.running().as_ref().map(|running| running.queue.len());
        trace_families(&self.counts, waiting.unwrap_or(0))
    }
}
