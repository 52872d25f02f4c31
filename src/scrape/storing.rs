//! A page, or the news that there is none, on its way into the database.
//!
//! Usually that is done where the page was fetched. What may take long goes to a thread for such
//! work, as many at a time as there are processors, and the other targets of the worker do not
//! wait for it: large pages, the first one of a target, whose series are all looked up and whose
//! group may have to be replayed first, and any page while the storage says that a commit may have
//! to wait. Without the last, one slow sync would make a worker's targets late by as much.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::ingest::{Ingest, Ingested, PageBytes, Report};
use super::scrape_loop::Shared;
use super::target::Target;
use crate::config::ScrapeConfig;
use crate::disk::StorageError;
use crate::exposition::Format;
use crate::http_client::Page;

/// Bytes of a page from which on it is large.
const LARGE_BYTES: usize = 1 << 20;

/// Why there is no page.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) text: String,
    /// What the report says of the page's size.
    pub(super) body_bytes: f64,
    /// Whether it belongs into the job's log of failed scrapes.
    pub(super) is_logged: bool,
}

/// What was fetched, and what is needed to store it.
pub(super) struct Storing {
    pub(super) ingest: Box<Ingest>,
    pub(super) shared: Arc<Shared>,
    pub(super) config: Arc<ScrapeConfig>,
    pub(super) target: Arc<Target>,
    pub(super) fetched: Result<(Page, Format), Failure>,
    /// The samples' time.
    pub(super) t_ms: i64,
    pub(super) began: Instant,
}

/// A scrape that was stored, or not.
pub(super) struct Stored {
    pub(super) ingest: Box<Ingest>,
    pub(super) outcome: Result<Ingested, StorageError>,
    /// Why there was no page.
    pub(super) failure: Option<String>,
    /// From the beginning of the scrape.
    pub(super) took: Duration,
}

impl Storing {
    fn takes_long(&self) -> bool {
        self.fetched.as_ref().is_ok_and(|(page, _)| {
            page.body.len() >= LARGE_BYTES || (!page.body.is_empty() && self.ingest.is_blank())
        })
    }

    /// Stores it; `is_first`: nothing was stored for this target before. `alive` is held until it
    /// is done, even if nobody waits for it any more.
    pub(super) async fn store(self, is_first: bool, alive: &mpsc::Sender<()>) -> Stored {
        if !is_first && !self.takes_long() && !self.shared.sink.may_wait() {
            return self.run();
        }
        let processors = Arc::clone(&self.shared.processors);
        let permit = processors.acquire_owned().await;
        let alive = alive.clone();
        let running = tokio::task::spawn_blocking(move || {
            let stored = self.run();
            drop((permit, alive));
            stored
        });
        match running.await {
            Ok(stored) => stored,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    fn run(self) -> Stored {
        let Self { mut ingest, shared, config, target, fetched, t_ms, began } = self;
        if let Err(failure) = &fetched
            && failure.is_logged
        {
            let (path, job) = (&config.scrape_failure_log_file, &config.job_name);
            shared.failures.write(path, job, &target.url, &failure.text);
        }
        let (page, body_bytes) = match &fetched {
            Ok((page, format)) => {
                let body = &*page.body;
                (Some(PageBytes { body, format: *format }), body.len() as f64)
            }
            Err(failure) => (None, failure.body_bytes),
        };
        let report = || Report {
            duration_seconds: began.elapsed().as_secs_f64(),
            timeout_seconds: target.timeout_ms as f64 / 1000.0,
            body_bytes,
        };
        let outcome = ingest.scrape(&*shared.sink, page, t_ms, report);
        let failure = fetched.err().map(|failure| failure.text);
        Stored { ingest, outcome, failure, took: began.elapsed() }
    }
}
