//! Spans that wait to be sent. INVARIANT: their number is bounded; one too many is dropped.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::Finished;

/// COMPAT: spans that wait at most, as OpenTelemetry's batches have it.
const SPANS_MAX: usize = 2048;
/// Spans of one request, likewise.
const BATCH_MAX: usize = 512;

/// What became of spans, over all receivers that there were.
#[derive(Debug, Default)]
pub struct TraceCounts {
    /// Spans that a receiver took.
    pub sent: AtomicU64,
    /// Spans that were dropped: there was no room for them, or no receiver took them.
    pub dropped: AtomicU64,
    /// Requests that failed.
    pub failures: AtomicU64,
}

/// Spans on their way to a receiver.
#[derive(Debug)]
pub struct Queue {
    spans: Mutex<Vec<Finished>>,
    is_enough: Notify,
    counts: Arc<TraceCounts>,
}

impl Queue {
    /// An empty queue.
    pub fn new(counts: Arc<TraceCounts>) -> Self {
        Self { spans: Mutex::default(), is_enough: Notify::new(), counts }
    }

    fn spans(&self) -> MutexGuard<'_, Vec<Finished>> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What became of spans.
    pub fn counts(&self) -> &TraceCounts {
        &self.counts
    }

    /// Adds a span, unless too many wait.
    pub fn add(&self, span: Finished) {
        let mut spans = self.spans();
        if spans.len() >= SPANS_MAX {
            drop(spans);
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        spans.push(span);
        if spans.len() == BATCH_MAX {
            self.is_enough.notify_one();
        }
    }

    /// Up to so many spans, those that have waited longest.
    pub fn take(&self, count_max: usize) -> Vec<Finished> {
        let mut spans = self.spans();
        let count = spans.len().min(count_max);
        spans.drain(..count).collect()
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.spans().len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The next spans to send: as soon as there are enough for a request, else after `pause`.
    pub async fn next_batch(&self, pause: Duration) -> Vec<Finished> {
        if self.len() < BATCH_MAX {
            // Either is a reason to look.
            let _ = tokio::time::timeout(pause, self.is_enough.notified()).await;
        }
        self.take(BATCH_MAX)
    }

    /// Spans that are left, in one request after the other.
    pub fn rest(&self) -> Option<Vec<Finished>> {
        Some(self.take(BATCH_MAX)).filter(|spans| !spans.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Context, Kind};
    use super::*;

    fn span(number: u64) -> Finished {
        let context = Context { trace: [1; 16], span: [2; 8], is_sampled: true, state: None };
        Finished {
            context,
            parent: None,
            name: "x".into(),
            kind: Kind::Internal,
            start_ns: number,
            end_ns: number,
            attributes: Vec::new(),
            error: None,
        }
    }

    #[tokio::test]
    async fn spans_wait_within_bounds_and_come_in_batches() {
        let counts = Arc::new(TraceCounts::default());
        let queue = Queue::new(Arc::clone(&counts));
        for number in 0..SPANS_MAX as u64 + 3 {
            queue.add(span(number));
        }
        assert_eq!((queue.len(), counts.dropped.load(Ordering::Relaxed)), (SPANS_MAX, 3));
        let batch = queue.next_batch(Duration::from_hours(1)).await;
        assert_eq!((batch.len(), batch[0].start_ns, batch[511].start_ns), (BATCH_MAX, 0, 511));
        while queue.rest().is_some() {}
        queue.add(span(7));
        assert_eq!(queue.next_batch(Duration::from_millis(1)).await.len(), 1);
        assert!(queue.is_empty() && queue.next_batch(Duration::ZERO).await.is_empty());
    }
}
