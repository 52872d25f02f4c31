//! The loop of one target.
//!
//! It sleeps until the target's time, scrapes, and sleeps again. It ends in one of three ways:
//! - handed over: the next loop of the same target goes on with what it remembers;
//! - retired: it waits long enough for another loop to scrape the same series, then ends those
//!   that none has;
//! - the server stops: at once and without staleness markers, since it will come back.
//!
//! A scrape under way is finished in the first two cases.

use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use http::header::{ACCEPT, ACCEPT_ENCODING, USER_AGENT};
use http::{HeaderName, HeaderValue};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, Interval, MissedTickBehavior};

use super::accept::{accept_header, check_content_type};
use super::failure_log::FailureLogs;
use super::ingest::{Ingest, IngestError, IngestOptions, Ingested};
use super::manager::Features;
use super::metrics::Metrics;
use super::schedule::{Alignment, offset_ns};
use super::sink::Sink;
use super::status::{Health, LastScrape};
use super::storing::{Failure, Stored, Storing};
use super::target::{HistogramSwitches, Target};
use super::workers::Workers;
use crate::config::ScrapeConfig;
use crate::exposition::{Format, ParseOptions, ShapePool};
use crate::http_client::{
    BufferPool, Client, Connection, FetchError, Page, Request, USER_AGENT as AGENT, Url,
};
use crate::model::format_duration;
use crate::telemetry::traces::{self, Kind as SpanKind, Span};
use crate::telemetry::{Histogram, Summary};

/// Bytes of a page where the job sets no limit.
pub const BODY_BYTES_MAX: u64 = 64 << 20;

/// What all loops use.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) sink: Arc<dyn Sink>,
    pub(super) features: Features,
    pub(super) failures: FailureLogs,
    pub(super) buffers: BufferPool,
    /// The threads on which loops run.
    pub(super) workers: Workers,
    /// As many pages that take long are parsed and stored at a time as there are processors.
    pub(super) processors: Arc<tokio::sync::Semaphore>,
    pub(super) metrics: Metrics,
    /// True once the server stops.
    pub(super) stopping: watch::Receiver<bool>,
}

/// How a loop is to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Signal {
    HandOver,
    Retire,
}

/// What a loop leaves to the next one of its target.
pub(super) type Estate = oneshot::Receiver<Option<Box<Ingest>>>;

/// The owner's end of a loop. Dropping it retires the loop.
#[derive(Debug)]
pub(super) struct Handle {
    signal: oneshot::Sender<Signal>,
    estate: Estate,
    pub(super) last: Arc<Mutex<LastScrape>>,
}

impl Handle {
    /// Ends the loop after the scrape under way. With `hands_over` the estate holds what it
    /// remembers, else its series end unless they are scraped on.
    pub(super) fn end(self, hands_over: bool) -> Estate {
        let signal = if hands_over { Signal::HandOver } else { Signal::Retire };
        // Nobody listens where the loop has ended already, with the server.
        let _ = self.signal.send(signal);
        self.estate
    }
}

/// What a loop begins with.
pub(super) struct Start {
    pub(super) shared: Arc<Shared>,
    pub(super) config: Arc<ScrapeConfig>,
    pub(super) client: Arc<Client>,
    pub(super) shapes: ShapePool,
    pub(super) target: Arc<Target>,
    pub(super) seed: u64,
    /// From the loop before, which has to end first.
    pub(super) estate: Option<Estate>,
    pub(super) last: LastScrape,
    /// Held as long as the loop lives.
    pub(super) alive: mpsc::Sender<()>,
}

impl Start {
    /// Starts the loop.
    pub(super) fn spawn(mut self) -> Handle {
        let (signal, receiver) = oneshot::channel();
        let (leave, estate) = oneshot::channel();
        let last = Arc::new(Mutex::new(std::mem::take(&mut self.last)));
        let handle = Handle { signal, estate, last: Arc::clone(&last) };
        let shared = Arc::clone(&self.shared);
        shared.workers.spawn(self.run(receiver, leave, last));
        handle
    }

    async fn run(
        self,
        mut signal: oneshot::Receiver<Signal>,
        leave: oneshot::Sender<Option<Box<Ingest>>>,
        last: Arc<Mutex<LastScrape>>,
    ) {
        let mut stopping = self.shared.stopping.clone();
        let inherited = match self.estate {
            Some(estate) => tokio::select! {
                left = estate => left.ok().flatten(),
                _ = stopping.wait_for(|stops| *stops) => return,
            },
            None => None,
        };
        let ingest = ingest(inherited, &self.shared, (&self.config, &self.target), &self.shapes);
        let mut ticks = ticks(&self.target, self.seed);
        let interval = format_duration(self.target.interval_ms);
        let times = &self.shared.metrics.times;
        let interval_seconds =
            (times.interval.with(&[&interval]), times.interval_buckets.with(&[&interval]));
        let mut scraper = Scraper {
            shared: self.shared,
            request: request(&self.config, &self.target),
            client: self.client,
            config: self.config,
            target: self.target,
            connection: Connection::new(),
            ingest: Some(ingest),
            is_known: false,
            alive: self.alive,
            last,
            alignment: None,
            began: None,
            interval_seconds,
        };
        // One for all turns: to enlist with a channel costs more than to look.
        let mut stops = pin!(stopping.wait_for(|stops| *stops));
        let signal = loop {
            tokio::select! {
                biased;
                _ = &mut stops => return,
                // An error is the end of the handle: the loop retires.
                signal = &mut signal => break signal.unwrap_or(Signal::Retire),
                _ = ticks.tick() => {}
            }
            tokio::select! {
                biased;
                // On the heap only while it runs: most targets are idle most of the time.
                () = Box::pin(scraper.scrape()) => {}
                _ = &mut stops => return,
            }
        };
        if signal == Signal::HandOver {
            let _ = leave.send(scraper.ingest);
            return;
        }
        let _ = leave.send(None);
        tokio::select! {
            _ = &mut stops => {}
            () = scraper.retire(ticks) => {}
        }
    }
}

/// What the loop before left, or a beginning.
fn ingest(
    inherited: Option<Box<Ingest>>,
    shared: &Shared,
    (config, target): (&Arc<ScrapeConfig>, &Target),
    shapes: &ShapePool,
) -> Box<Ingest> {
    let (config, labels) = (Arc::clone(config), target.labels.clone());
    if let Some(mut ingest) = inherited {
        ingest.set_config(config, labels);
        return ingest;
    }
    let options = ingest_options(shared.features, target);
    let source = (target.group(&config.job_name), labels);
    Box::new(Ingest::new(config, options, source, shapes))
}

fn ingest_options(features: Features, target: &Target) -> IngestOptions {
    let HistogramSwitches { convert_classic, keep_classic, native } = target.histograms;
    let Features { stores_starts, injects_zeros, synthesizes_starts, stores_metadata, .. } =
        features;
    let parse = ParseOptions {
        reads_starts: stores_starts || injects_zeros,
        native_histograms: native,
        keep_classic,
        convert_classic,
        type_and_unit_labels: features.type_and_unit_labels,
    };
    IngestOptions { parse, stores_starts, injects_zeros, synthesizes_starts, stores_metadata }
}

fn ticks(target: &Target, seed: u64) -> Interval {
    let interval_ms = u64::try_from(target.interval_ms).unwrap_or(1).max(1);
    let interval_ns = interval_ms * 1_000_000;
    let now_ns = u64::try_from(wall_clock_ns()).unwrap_or(0);
    let offset = Duration::from_nanos(offset_ns(target.hash(), seed, interval_ns, now_ns));
    let period = Duration::from_millis(interval_ms);
    let mut ticks = tokio::time::interval_at(Instant::now() + offset, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    ticks
}

fn wall_clock_ns() -> i64 {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_nanos()).unwrap_or(i64::MAX)
}

/// The request of every scrape, or why there can be none.
fn request(config: &ScrapeConfig, target: &Target) -> Result<Request, String> {
    let url = Url::parse(&target.url).map_err(|error| format!("Get {:?}: {error}", target.url))?;
    let timeout_ms = u64::try_from(target.timeout_ms).unwrap_or(0);
    let header = |name: HeaderName, value: String| {
        HeaderValue::try_from(value).map(|value| (name, value)).map_err(|error| error.to_string())
    };
    let compression = if config.enable_compression { "gzip" } else { "identity" };
    let seconds = Duration::from_millis(timeout_ms).as_secs_f64();
    Ok(Request {
        headers: vec![
            header(ACCEPT, accept_header(&config.scrape_protocols, config.escaping_scheme))?,
            header(ACCEPT_ENCODING, compression.to_owned())?,
            (USER_AGENT, HeaderValue::from_static(AGENT)),
            header(
                HeaderName::from_static("x-prometheus-scrape-timeout-seconds"),
                seconds.to_string(),
            )?,
        ]
        .into(),
        unix_socket: target.unix_socket.clone(),
        timeout: Duration::from_millis(timeout_ms),
        body_bytes_max: match config.body_size_limit {
            0 => BODY_BYTES_MAX,
            limit => limit,
        },
        ..Request::get(url)
    })
}

struct Scraper {
    shared: Arc<Shared>,
    config: Arc<ScrapeConfig>,
    target: Arc<Target>,
    request: Result<Request, String>,
    client: Arc<Client>,
    connection: Connection,
    /// `None` while it is being stored to, or if that panicked.
    ingest: Option<Box<Ingest>>,
    /// Whether something was stored: what comes next will hardly take long.
    is_known: bool,
    /// Held as long as the loop lives.
    alive: mpsc::Sender<()>,
    last: Arc<Mutex<LastScrape>>,
    /// The grid that the first scrape begins.
    alignment: Option<Alignment>,
    /// When the last scrape began.
    began: Option<Instant>,
    interval_seconds: (Summary, Histogram),
}

impl Scraper {
    async fn scrape(&mut self) {
        let now_ns = wall_clock_ns();
        let interval_ns = self.target.interval_ms.saturating_mul(1_000_000);
        let tolerance_ns = self.shared.features.tolerance_ns;
        let alignment =
            self.alignment.get_or_insert_with(|| Alignment::new(now_ns, interval_ns, tolerance_ns));
        let scrape_ns = alignment.align(now_ns);
        let began = Instant::now();
        if let Some(before) = self.began.replace(began) {
            self.interval_seconds.0.observe_duration(began - before);
            self.interval_seconds.1.observe_duration(began - before);
        }
        let span = Span::root("scrape");
        let request = span.child("scrapeRequest").with_kind(SpanKind::Client);
        let fetched = traces::within(request.context(), self.fetch()).await;
        let (span, request) = self.describe(span, request, &fetched);
        drop(request);
        let Some(ingest) = self.ingest.take() else { return };
        let storing = Storing {
            ingest,
            shared: Arc::clone(&self.shared),
            config: Arc::clone(&self.config),
            target: Arc::clone(&self.target),
            fetched,
            t_ms: scrape_ns.div_euclid(1_000_000),
            began,
        };
        let append = span.child("scrapeAppend");
        let stored = storing.store(!self.is_known, &self.alive).await;
        drop(append);
        self.is_known = stored.outcome.is_ok();
        self.shared.metrics.scrape_seconds.observe_duration(stored.took);
        self.book(stored, scrape_ns);
    }

    /// Says in traces what was scraped.
    fn describe(
        &self,
        mut span: Span,
        mut request: Span,
        fetched: &Result<(Page, Format), Failure>,
    ) -> (Span, Span) {
        if span.is_sampled() {
            span.set("job", self.config.job_name.as_str());
            span.set("url", &*self.target.url);
            match fetched {
                Ok((page, _)) => request.set("body_size", page.body.len()),
                Err(failure) => request.fail(&failure.text),
            }
        }
        (span, request)
    }

    async fn fetch(&mut self) -> Result<(Page, Format), Failure> {
        let forced = {
            let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            last.forced_error.clone()
        };
        if let Some(error) = forced {
            return Err(Failure { text: error.to_string(), body_bytes: 0.0, is_logged: false });
        }
        let failure = |text: String| Failure { text, body_bytes: 0.0, is_logged: true };
        let request = self.request.as_ref().map_err(|error| failure(error.clone()))?;
        let fetched = self.connection.fetch(&self.client, request, &self.shared.buffers).await;
        let page = fetched.map_err(|error| {
            let is_too_large = matches!(error, FetchError::BodyTooLarge { .. });
            self.shared.metrics.exceeded.body_size_limit.add(u64::from(is_too_large));
            let body_bytes = if is_too_large { -1.0 } else { 0.0 };
            Failure { body_bytes, ..failure(error.to_string()) }
        })?;
        if page.body.is_empty() {
            // COMPAT: an empty page is a good one of any type.
            return Ok((page, Format::Text));
        }
        let fallback = self.config.fallback_scrape_protocol;
        match check_content_type(&page.content_type, fallback) {
            Ok(format) => Ok((page, format)),
            Err(error) => {
                let body_bytes = page.body.len() as f64;
                Err(Failure { text: error.to_string(), body_bytes, is_logged: false })
            }
        }
    }

    /// Tells metrics, log and status what became of a scrape.
    fn book(&mut self, stored: Stored, began_ns: i64) {
        let Stored { ingest, outcome, failure, took } = stored;
        let error = match &outcome {
            Err(error) => Some(format!("storing the scrape failed: {error}")),
            Ok(ingested) => {
                self.count(ingested);
                failure.or_else(|| ingested.error.as_ref().map(ToString::to_string))
            }
        };
        let (job, url) = (&self.config.job_name, &self.target.url);
        match (&error, &outcome) {
            (Some(error), Err(_)) => tracing::error!(scrape_pool = %job, target = %url, %error),
            (Some(error), Ok(_)) => {
                tracing::debug!(scrape_pool = %job, target = %url, %error, "Scrape failed");
            }
            (None, _) => {}
        }
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.health = if error.is_some() { Health::Down } else { Health::Up };
        last.error = error.unwrap_or_default();
        last.began_ns = Some(began_ns);
        last.duration = took;
        let LastScrape { metadata, lingering, .. } = &mut *last;
        self.ingest.insert(ingest).publish_metadata(metadata, lingering);
    }

    fn count(&self, ingested: &Ingested) {
        let metrics = &self.shared.metrics;
        match &ingested.error {
            Some(IngestError::SampleLimit(_)) => metrics.exceeded.sample_limit.inc(),
            Some(IngestError::BucketLimit(_)) => metrics.exceeded.bucket_limit.inc(),
            Some(IngestError::Series(error)) if error.is_limit() => {
                metrics.exceeded.label_limits.inc();
            }
            _ => {}
        }
        if ingested.exemplars_out_of_order > 0 {
            metrics.exemplars_out_of_order.add(ingested.exemplars_out_of_order as u64);
        }
        let (job, url) = (&self.config.job_name, &self.target.url);
        let over_limit = ingested.limit.map(|limit| limit.to_string()).unwrap_or_default();
        for (number, counter, what) in [
            (ingested.out_of_order, &metrics.out_of_order, "out of order"),
            (ingested.duplicates, &metrics.duplicates, "another value at the same time"),
            (ingested.out_of_bounds, &metrics.out_of_bounds, "too old or too far in the future"),
            (ingested.over_limit, &metrics.over_limit, &over_limit),
        ] {
            if number > 0 {
                counter.add(number as u64);
                tracing::warn!(
                    scrape_pool = %job, target = %url, num_dropped = number, reason = what,
                    "Samples of a scrape were dropped"
                );
            }
        }
    }

    /// Ends the series of a target that is gone. The markers carry the time at which the next
    /// scrape would have been; they wait another interval and a tenth for a loop that scrapes the
    /// same series, whose samples are newer and make the database refuse them.
    async fn retire(mut self, mut ticks: Interval) {
        drop(std::mem::take(&mut self.connection));
        if self.alignment.is_none() {
            return;
        }
        ticks.tick().await;
        let t_ms = wall_clock_ns().div_euclid(1_000_000);
        ticks.tick().await;
        tokio::time::sleep(ticks.period() / 10).await;
        let Some(mut ingest) = self.ingest.take() else { return };
        if let Err(error) = ingest.end(&*self.shared.sink, t_ms) {
            tracing::warn!(
                scrape_pool = %self.config.job_name, target = %self.target.url, %error,
                "Ending the series of a target that is gone failed"
            );
        }
    }
}

#[cfg(test)]
mod tests;
