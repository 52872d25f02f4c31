//! Batches to requests, requests until they are taken or refused for good.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use hyper::body::Bytes;

use super::entry::{Counts, Datum, Entry};
use super::message;
use super::queue::Queue;
use super::receiver::{Receiver, Refusal, Written};
use super::shard::{BatchLimits, Shard};
use crate::config::RemoteWriteMessage;
use crate::db::ShardProgress;
use crate::telemetry::traces::{self, Kind, Span};

/// Sends what the shard gives until it ends, or until the queue stops and a request fails.
pub(super) async fn run_shard(queue: Arc<Queue>, index: usize, shard: Arc<Shard>) {
    let limits = BatchLimits {
        entries_max: queue.config.queue.max_samples_per_send,
        deadline: Duration::from_millis(queue.config.queue.batch_send_deadline_ms.max(0) as u64),
    };
    while let Some(batch) = shard.next_batch(limits).await {
        let Some(last) = batch.last() else { continue };
        let end = last.point.next();
        let done = queue.progress.shard(index).map_or(end, |progress| progress.done.min(end));
        note(&queue, index, ShardProgress { done, sending: end });
        if !deliver(&queue, batch).await {
            queue.gave_up.store(true, Ordering::Release);
            return;
        }
        note(&queue, index, ShardProgress { done: end, sending: end });
        shard.batch_done();
    }
}

/// What cannot be written is sent twice after a restart, and no more than that.
fn note(queue: &Queue, index: usize, progress: ShardProgress) {
    if let Err(error) = queue.progress.note(index, progress)
        && queue.may_tell()
    {
        tracing::error!(remote_name = %queue.name, err = %error, "Progress cannot be noted");
    }
}

/// Sends a batch until it is taken or refused for good; `false` where the queue stops before.
async fn deliver(queue: &Queue, mut batch: Vec<Entry>) -> bool {
    let mut pause = Pause::new(queue);
    let mut attempt = 0;
    let mut request: Option<(usize, Bytes)> = None;
    loop {
        queue.drop_too_late(&mut batch);
        if batch.is_empty() {
            return true;
        }
        let receiver = queue.receiver();
        let body = match &request {
            Some((len, body)) if *len == batch.len() => body.clone(),
            _ => encode(queue, receiver.message(), &batch),
        };
        request = Some((batch.len(), body.clone()));
        let counts = Counts::of(&batch);
        let began = Instant::now();
        let bytes = body.len() as u64;
        let outcome = traced(queue, &receiver, counts, body, attempt).await;
        let took = began.elapsed();
        queue.metrics.batch_seconds.observe_duration(took);
        queue.rates.sending.add(took.as_nanos() as u64);
        let is_v2 = receiver.message() == RemoteWriteMessage::V2;
        match outcome.and_then(|written| confirmed(is_v2, counts, written)) {
            Ok(written) => {
                queue.metrics.bytes.add(bytes);
                taken(queue, &batch, counts, written);
                return true;
            }
            Err(refusal) if refusal.may_recover => {
                queue.metrics.retried.add(counts);
                if queue.may_tell() {
                    tracing::warn!(
                        remote_name = %queue.name,
                        url = %receiver.shown,
                        err = %refusal.why,
                        "Failed to send batch, retrying"
                    );
                }
                if !pause.wait(queue, refusal.retry_after).await {
                    return false;
                }
                attempt += 1;
            }
            Err(refusal) => {
                refused(queue, &batch, counts, &refusal);
                return true;
            }
        }
    }
}

/// Sends a request, and says so in a trace.
async fn traced(
    queue: &Queue,
    receiver: &Receiver,
    counts: Counts,
    body: Bytes,
    attempt: u32,
) -> Result<Option<Written>, Refusal> {
    let mut span = Span::root("Remote Send Batch");
    if span.is_sampled() {
        span.set("request_size", body.len());
        span.set("samples", i64::try_from(counts.samples).unwrap_or(i64::MAX));
        span.set("try", i64::from(attempt));
        span.set("remote_name", queue.name.as_str());
        span.set("remote_url", receiver.shown.as_str());
    }
    let store = span.child("Remote Store").with_kind(Kind::Client);
    let outcome = traces::within(store.context(), receiver.send(body, attempt)).await;
    if let Err(refusal) = &outcome {
        span.fail(&refusal.why);
    }
    outcome
}

fn encode(queue: &Queue, message: RemoteWriteMessage, batch: &[Entry]) -> Bytes {
    let gathers = batch.len() >= queue.config.queue.max_samples_per_send;
    let plain = match message {
        RemoteWriteMessage::V1 => message::version_1(batch, gathers),
        RemoteWriteMessage::V2 => {
            message::version_2(batch, gathers, &|metric| queue.descriptions.of(metric))
        }
    };
    compress(&plain)
}

/// Snappy's block format.
pub(super) fn compress(plain: &[u8]) -> Bytes {
    let packed = snap::raw::Encoder::new().compress_vec(plain);
    // Only what is longer than 4 GiB is refused, and the limits of a batch keep it below.
    Bytes::from(packed.expect("BUG: a request of some thousand samples can be compressed"))
}

/// A receiver of version 2 says what it stored. One that says nothing, or that it stored nothing,
/// does not know version 2 and has taken the request for another.
fn confirmed(is_v2: bool, counts: Counts, written: Option<Written>) -> Result<Written, Refusal> {
    let all = Written {
        samples: counts.samples,
        histograms: counts.histograms,
        exemplars: counts.exemplars,
    };
    let said = written.unwrap_or_default();
    if is_v2 && counts.sum() > 0 && said == Written::default() {
        return Err(Refusal {
            why: format!(
                "answered with success, but says that nothing was written of {} samples, {} \
                 histograms and {} exemplars: it seems not to know io.prometheus.write.v2.Request",
                counts.samples, counts.histograms, counts.exemplars
            ),
            may_recover: false,
            retry_after: None,
            written,
        });
    }
    Ok(written.unwrap_or(all))
}

fn taken(queue: &Queue, batch: &[Entry], counts: Counts, written: Written) {
    let Written { samples, histograms, exemplars } = written;
    let lost = counts.less(Counts { samples, histograms, exemplars });
    queue.metrics.sent.add(counts);
    queue.metrics.failed.add(lost);
    queue.metrics.left(counts);
    queue.rates.sent.add(counts.sum());
    queue.succeeded(newest_ms(batch));
    if lost.sum() > 0 && queue.may_tell() {
        tracing::warn!(
            remote_name = %queue.name,
            samples = lost.samples,
            histograms = lost.histograms,
            exemplars = lost.exemplars,
            "The receiver did not store all of a batch"
        );
    }
}

fn refused(queue: &Queue, batch: &[Entry], counts: Counts, refusal: &Refusal) {
    let Written { samples, histograms, exemplars } = refusal.written.unwrap_or_default();
    let lost = counts.less(Counts { samples, histograms, exemplars });
    queue.metrics.sent.add(counts);
    queue.metrics.failed.add(lost);
    queue.metrics.left(counts);
    queue.rates.sent.add(counts.sum());
    // It answers, so what is newer is not behind for its sake.
    queue.succeeded(newest_ms(batch));
    tracing::error!(
        remote_name = %queue.name,
        url = %queue.receiver().shown,
        samples = lost.samples,
        histograms = lost.histograms,
        exemplars = lost.exemplars,
        err = %refusal.why,
        "The receiver refused a batch for good; it is not sent again"
    );
}

fn newest_ms(batch: &[Entry]) -> Option<i64> {
    let samples = batch.iter().filter(|entry| !matches!(entry.datum, Datum::Exemplar(_)));
    samples.map(|entry| entry.t_ms).max()
}

/// Pauses between attempts: doubled up to a limit, each a little longer or shorter, so that
/// senders that failed together do not come back together.
#[derive(Debug)]
pub(super) struct Pause {
    next: Duration,
    max: Duration,
}

impl Pause {
    pub(super) fn new(queue: &Queue) -> Self {
        let duration = |ms: i64| Duration::from_millis(ms.max(1) as u64);
        let limits = &queue.config.queue;
        Self { next: duration(limits.min_backoff_ms), max: duration(limits.max_backoff_ms) }
    }

    /// Waits, at least as long as the receiver asks for; `false` at once where the queue stops.
    pub(super) async fn wait(&mut self, queue: &Queue, asked: Option<Duration>) -> bool {
        let jitter = f64::from(fraction()) / f64::from(u16::MAX) * 0.4 + 0.8;
        let pause = asked.unwrap_or(self.next.mul_f64(jitter));
        self.next = (self.next * 2).min(self.max);
        let mut stopping = queue.stopping.clone();
        tokio::select! {
            () = tokio::time::sleep(pause) => !queue.is_stopping(),
            _ = stopping.wait_for(|stopping| *stopping) => false,
        }
    }
}

/// A number that is another one each time.
fn fraction() -> u16 {
    use std::hash::{BuildHasher as _, Hasher as _, RandomState};
    RandomState::new().build_hasher().finish() as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_2_wants_to_be_told_what_was_written() {
        let counts = Counts { samples: 3, histograms: 1, exemplars: 0 };
        let part = Written { samples: 2, histograms: 1, exemplars: 0 };
        assert_eq!(confirmed(true, counts, Some(part)).unwrap(), part);
        for nothing in [None, Some(Written::default())] {
            let refusal = confirmed(true, counts, nothing).unwrap_err();
            assert!(!refusal.may_recover && refusal.why.contains("of 3 samples, 1 histograms"));
        }
        let all = confirmed(false, counts, None).unwrap();
        assert_eq!((all.samples, all.histograms), (3, 1));
    }
}
