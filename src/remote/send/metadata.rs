//! What is said of metrics: looked up for requests of version 2, sent by itself in version 1.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hashbrown::HashMap;

use super::deliver::{Pause, compress};
use super::message;
use super::queue::Queue;
use crate::model::Metadata;

/// Gives all metrics or families of which something is known, by name.
pub type MetadataSource = Arc<dyn Fn() -> Vec<(String, Metadata)> + Send + Sync>;

/// Least time between two looks at the source.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// The same, where a metric is asked for that was not there.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Metrics that are remembered although the source speaks of them no more, at least: their last
/// samples may still be on their way.
const REMEMBERED: usize = 10_000;
/// Endings of a family's series.
const ENDINGS: [&str; 6] = ["_total", "_bucket", "_count", "_sum", "_created", "_info"];

/// What is known, by metric or family.
pub(super) struct Descriptions {
    source: MetadataSource,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    known: HashMap<String, Metadata>,
    looked: Option<Instant>,
}

impl fmt::Debug for Descriptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Descriptions").field("state", &self.state).finish_non_exhaustive()
    }
}

impl Descriptions {
    pub(super) fn new(source: MetadataSource) -> Self {
        Self { source, state: Mutex::default() }
    }

    /// What is said of a metric, or of the family that it belongs to.
    pub(super) fn of(&self, metric: &str) -> Option<Metadata> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let age = state.looked.map_or(Duration::MAX, |at| at.elapsed());
        if age >= LOOK_EVERY || (age >= LOOK_AGAIN && find(&state.known, metric).is_none()) {
            self.look(&mut state);
        }
        find(&state.known, metric).cloned()
    }

    /// Looks at the source now: soon it may have nothing more to say.
    pub(super) fn refresh(&self) {
        self.look(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn look(&self, state: &mut State) {
        let said = (self.source)();
        if state.known.len() > 2 * said.len() + REMEMBERED {
            state.known.clear();
        }
        state.known.extend(said);
        state.looked = Some(Instant::now());
    }

    pub(super) fn all(&self) -> Vec<(String, Metadata)> {
        (self.source)()
    }
}

fn find<'a>(known: &'a HashMap<String, Metadata>, metric: &str) -> Option<&'a Metadata> {
    known.get(metric).or_else(|| {
        let mut families = ENDINGS.iter().filter_map(|ending| metric.strip_suffix(ending));
        families.find_map(|family| known.get(family))
    })
}

/// Sends all there is to say at every interval, until the queue stops.
pub(super) async fn run(queue: Arc<Queue>) {
    let config = queue.config.metadata;
    let interval = Duration::from_millis(config.send_interval_ms.max(1) as u64);
    let mut stopping = queue.stopping.clone();
    loop {
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            _ = stopping.wait_for(|stopping| *stopping) => return,
        }
        let all = queue.descriptions.all();
        for part in all.chunks(config.max_samples_per_send.max(1)) {
            if !send(&queue, part, interval).await {
                return;
            }
        }
    }
}

/// Sends a part; what fails for longer than the interval is left to the next one. `false` where
/// the queue stops.
async fn send(queue: &Queue, part: &[(String, Metadata)], patience: Duration) -> bool {
    let [sent, failed, retried, bytes] = &queue.metrics.metadata;
    let body = compress(&message::metadata_version_1(part));
    let count = part.len() as u64;
    let mut pause = Pause::new(queue);
    let began = Instant::now();
    for attempt in 0.. {
        match queue.receiver().send(body.clone(), attempt).await {
            Ok(_) => {
                sent.add(count);
                bytes.add(body.len() as u64);
                return true;
            }
            Err(refusal) if refusal.may_recover && began.elapsed() < patience => {
                retried.add(count);
                if !pause.wait(queue, refusal.retry_after).await {
                    return false;
                }
            }
            Err(refusal) => {
                failed.add(count);
                if queue.may_tell() {
                    tracing::error!(
                        remote_name = %queue.name,
                        count,
                        err = %refusal.why,
                        "The receiver did not take what is said of metrics"
                    );
                }
                return true;
            }
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::MetricType;

    #[test]
    fn series_are_known_by_their_family() {
        let said = |help: &str| Metadata {
            metric_type: MetricType::Counter,
            unit: String::new(),
            help: help.to_owned(),
        };
        let known = vec![("a_total".to_owned(), said("own")), ("a".to_owned(), said("family"))];
        let descriptions = Descriptions::new(Arc::new(move || known.clone()));
        let help = |metric: &str| descriptions.of(metric).map(|said| said.help);
        assert_eq!(help("a_total").as_deref(), Some("own"));
        assert_eq!(help("a_bucket").as_deref(), Some("family"));
        assert_eq!(help("b"), None);
    }

    #[test]
    fn what_was_known_is_known_when_its_source_is_gone() {
        let source = Arc::new(Mutex::new(vec![("a".to_owned(), Metadata::default())]));
        let said = Arc::clone(&source);
        let descriptions = Descriptions::new(Arc::new(move || said.lock().unwrap().clone()));
        descriptions.refresh();
        source.lock().unwrap().clear();
        descriptions.refresh();
        assert_eq!(descriptions.of("a"), Some(Metadata::default()));
        let many = |name: &str| {
            (0..2 * REMEMBERED).map(|i| (format!("{name}{i}"), Metadata::default())).collect()
        };
        for name in ["b", "c"] {
            *source.lock().unwrap() = many(name);
            descriptions.refresh();
        }
        assert!(descriptions.of("b0").is_some(), "both are within the bound");
        source.lock().unwrap().clear();
        descriptions.refresh();
        assert_eq!(descriptions.state.lock().unwrap().known.len(), 0);
    }
}
