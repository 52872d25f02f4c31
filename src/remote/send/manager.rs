//! All receivers: which there are, from one configuration to the next.
//!
//! A receiver whose configuration did not change keeps its queue over a reload; only its secrets
//! are read anew. One whose configuration changed goes on where its queue came to: what is kept
//! of its progress goes by its name, or else by its URL. Changes happen one after the other, on
//! a task of their own, since a queue that ends may take its time.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use ring::digest;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};

use super::metadata::{self, Descriptions, MetadataSource};
use super::metrics::Metrics;
use super::queue::{Hold, Parts, Queue};
use super::reader::Reader;
use super::receiver::Receiver;
use crate::config::{RemoteWriteConfig, RemoteWriteMessage};
use crate::db::Database;
use crate::exposition::Family;
use crate::model::Labels;

/// How soon a queue that could not be opened is tried again.
const RETRY_EVERY: Duration = Duration::from_secs(10);

/// How receivers are served, beside their configuration.
#[derive(Debug, Clone, Copy)]
pub struct SendOptions {
    /// How much of the log is held for those that are away.
    pub hold: Hold,
    /// How long a queue that ends may take to send what it has.
    pub flush_deadline: Duration,
}

/// Sends what is stored to all receivers.
#[derive(Debug)]
pub struct Senders {
    metrics: Arc<Metrics>,
    commands: mpsc::UnboundedSender<Command>,
    descriptions: Arc<Descriptions>,
}

#[derive(Debug)]
enum Command {
    Apply { wanted: Vec<Wanted>, external_labels: Labels, done: oneshot::Sender<()> },
    Stop(oneshot::Sender<()>),
}

/// A receiver that there should be.
#[derive(Debug, Clone)]
struct Wanted {
    config: RemoteWriteConfig,
    receiver: Arc<Receiver>,
    /// Of all that the configuration says, secrets left out.
    hash: String,
    /// In logs and metrics.
    name: String,
    /// What its progress is kept under.
    forward: String,
}

#[derive(Debug)]
struct Running {
    hash: String,
    forward: String,
    queue: Arc<Queue>,
    stop: watch::Sender<bool>,
    thread: JoinHandle<()>,
}

/// Says what keeps receivers from being served; what passes can be applied.
pub fn check(configs: &[RemoteWriteConfig]) -> Result<(), String> {
    wanted(configs).map(drop)
}

fn wanted(configs: &[RemoteWriteConfig]) -> Result<Vec<Wanted>, String> {
    let mut all: Vec<Wanted> = Vec::with_capacity(configs.len());
    for config in configs {
        let receiver = Arc::new(Receiver::new(config)?);
        let hash = hash_of(&format!("{} {config:?}", config.url.reveal()));
        if all.iter().any(|other| other.hash == hash) {
            return Err(format!(
                "duplicate remote write configs are not allowed, found duplicate for URL: {}",
                receiver.shown
            ));
        }
        let name = if config.name.is_empty() { hash[..6].to_owned() } else { config.name.clone() };
        let forward = if config.name.is_empty() {
            let same = |other: &&Wanted| {
                other.config.name.is_empty() && other.config.url.reveal() == config.url.reveal()
            };
            let before = all.iter().filter(same).count();
            hash_of(&format!("url {} {before}", receiver.shown))
        } else {
            hash_of(&format!("name {}", config.name))
        };
        let forward = forward[..16].to_owned();
        all.push(Wanted { config: config.clone(), receiver, hash, name, forward });
    }
    Ok(all)
}

fn hash_of(text: &str) -> String {
    let digest = digest::digest(&digest::SHA256, text.as_bytes());
    digest.as_ref().iter().fold(String::new(), |mut out, byte| {
        write!(out, "{byte:02x}").expect("BUG: a String takes all text");
        out
    })
}

impl Senders {
    /// Serves nobody yet. Must be called within the runtime.
    pub fn new(database: Database, options: SendOptions, metadata: MetadataSource) -> Self {
        let metrics = Arc::new(Metrics::new());
        let (commands, inbox) = mpsc::unbounded_channel();
        let descriptions = Arc::new(Descriptions::new(metadata));
        let actor = Actor {
            database,
            options,
            metrics: Arc::clone(&metrics),
            descriptions: Arc::clone(&descriptions),
            external_labels: Labels::empty(),
            running: Vec::new(),
            missing: Vec::new(),
        };
        tokio::spawn(actor.run(inbox));
        Self { metrics, commands, descriptions }
    }

    /// Serves these receivers and no others. [`check`] has passed them. The answer comes when all
    /// of them have begun or were told to.
    pub fn apply(
        &self,
        configs: &[RemoteWriteConfig],
        external_labels: &Labels,
    ) -> oneshot::Receiver<()> {
        let (done, begun) = oneshot::channel();
        match wanted(configs) {
            Ok(wanted) => {
                let external_labels = external_labels.clone();
                // Where nobody listens any more the server is about to end.
                let _ = self.commands.send(Command::Apply { wanted, external_labels, done });
            }
            Err(error) => tracing::error!(err = %error, "Remote write stays as it was"),
        }
        begun
    }

    /// Looks once more at what is said of metrics. Those who know it, the targets, end before the
    /// last samples are sent.
    pub fn refresh_metadata(&self) {
        self.descriptions.refresh();
    }

    /// Sends what there is, as far as receivers take it, and ends.
    pub async fn shutdown(&self) {
        let (done, ended) = oneshot::channel();
        if self.commands.send(Command::Stop(done)).is_ok() {
            let _ = ended.await;
        }
    }

    /// Own metrics of all queues.
    pub fn families(&self) -> Vec<Family> {
        self.metrics.registry.gather()
    }
}

struct Actor {
    database: Database,
    options: SendOptions,
    metrics: Arc<Metrics>,
    descriptions: Arc<Descriptions>,
    external_labels: Labels,
    running: Vec<Running>,
    /// Those that could not be opened.
    missing: Vec<Wanted>,
}

impl Actor {
    async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Command>) {
        loop {
            let command = if self.missing.is_empty() {
                inbox.recv().await
            } else {
                let Ok(command) = tokio::time::timeout(RETRY_EVERY, inbox.recv()).await else {
                    let missing = std::mem::take(&mut self.missing);
                    self.start(missing).await;
                    continue;
                };
                command
            };
            match command {
                Some(Command::Apply { wanted, external_labels, done }) => {
                    self.apply(wanted, external_labels).await;
                    // Who asked may not want to know.
                    let _ = done.send(());
                }
                Some(Command::Stop(done)) => {
                    let running = std::mem::take(&mut self.running);
                    self.stop(running).await;
                    let _ = done.send(());
                    return;
                }
                None => return,
            }
        }
    }

    async fn apply(&mut self, wanted: Vec<Wanted>, external_labels: Labels) {
        self.missing.clear();
        let same_labels = self.external_labels == external_labels;
        self.external_labels = external_labels;
        let is_wanted = |running: &Running| wanted.iter().any(|wanted| wanted.hash == running.hash);
        let running = std::mem::take(&mut self.running);
        let (kept, ended): (Vec<_>, Vec<_>) =
            running.into_iter().partition(|running| same_labels && is_wanted(running));
        self.running = kept;
        self.stop(ended).await;
        let forwards: BTreeSet<String> = wanted.iter().map(|w| w.forward.clone()).collect();
        let forwards: Vec<String> = forwards.into_iter().collect();
        let database = self.database.clone();
        let retained =
            tokio::task::spawn_blocking(move || database.retain_forwards(&forwards)).await;
        if let Ok(Err(error)) = retained {
            tracing::warn!(err = %error, "The log cannot be let go");
        }
        let mut fresh = Vec::new();
        for wanted in wanted {
            match self.running.iter().find(|running| running.hash == wanted.hash) {
                Some(running) => running.queue.set_receiver(wanted.receiver),
                None => fresh.push(wanted),
            }
        }
        self.start(fresh).await;
    }

    async fn start(&mut self, fresh: Vec<Wanted>) {
        for wanted in fresh {
            let (database, forward) = (self.database.clone(), wanted.forward.clone());
            let opened = tokio::task::spawn_blocking(move || database.forward(&forward)).await;
            let opened = match opened {
                Ok(opened) => opened.map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            match opened.and_then(|opened| self.begin(&wanted, opened)) {
                Ok(running) => self.running.push(running),
                Err(error) => {
                    let (name, url) = (&wanted.name, &wanted.receiver.shown);
                    tracing::error!(
                        remote_name = %name, %url, err = %error,
                        "Remote write cannot begin; it is tried again"
                    );
                    self.missing.push(wanted);
                }
            }
        }
        for (n, running) in self.running.iter().enumerate() {
            running.queue.is_first.store(n == 0, Ordering::Relaxed);
        }
    }

    fn begin(&self, wanted: &Wanted, opened: crate::db::Forward) -> Result<Running, String> {
        let crate::db::Forward { follower, progress, told } = opened;
        for told in told {
            let name = &wanted.name;
            tracing::error!(
                remote_name = %name, err = %told,
                "What was stored before may not be forwarded"
            );
        }
        let (stop, stopping) = watch::channel(false);
        let queue = Arc::new(Queue::new(Parts {
            name: wanted.name.clone(),
            config: wanted.config.clone(),
            receiver: Arc::clone(&wanted.receiver),
            database: self.database.clone(),
            progress,
            metrics: Arc::clone(&self.metrics),
            descriptions: Arc::clone(&self.descriptions),
            hold: self.options.hold,
            flush_deadline: self.options.flush_deadline,
            stopping,
        }));
        let config = &wanted.config;
        if config.message == RemoteWriteMessage::V1 && config.metadata.send {
            tokio::spawn(metadata::run(Arc::clone(&queue)));
        }
        let labels = self.external_labels.clone();
        let reader = Reader::new(Arc::clone(&queue), follower, Handle::current(), labels);
        let thread = std::thread::Builder::new()
            .name("narthex-forward".to_owned())
            .spawn(move || reader.run())
            .map_err(|error| format!("starting a thread: {error}"))?;
        tracing::info!(
            remote_name = %wanted.name,
            url = %wanted.receiver.shown,
            from = queue.progress.lowest().sequence,
            "Remote write begins"
        );
        let (hash, forward) = (wanted.hash.clone(), wanted.forward.clone());
        Ok(Running { hash, forward, queue, stop, thread })
    }

    /// Lets queues send what they have, all at the same time, and ends them.
    async fn stop(&self, ended: Vec<Running>) {
        for running in &ended {
            running.stop.send_replace(true);
        }
        let deadline = tokio::time::Instant::now() + self.options.flush_deadline;
        for running in ended {
            let Running { queue, thread, forward, .. } = running;
            let mut joined = tokio::task::spawn_blocking(move || thread.join());
            if tokio::time::timeout_at(deadline, &mut joined).await.is_err() {
                queue.gave_up.store(true, Ordering::Release);
                let _ = joined.await;
            }
            if queue.has_given_up() {
                tracing::info!(
                    remote_name = %queue.name, %forward,
                    "What was not taken is sent after the next start"
                );
            }
            self.metrics.remove(&queue.name, &queue.receiver().shown);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Result<Vec<(String, String)>, String> {
        let config = crate::config::parse(text, "t.yml").unwrap();
        let all = wanted(&config.remote_write_configs)?;
        Ok(all.into_iter().map(|wanted| (wanted.name, wanted.forward)).collect())
    }

    #[test]
    fn names_are_given_or_told_by_the_configuration() {
        let text = |options: &str| {
            format!(
                "remote_write: [{{url: 'http://a:1'{options}}}, {{url: 'http://a:1', name: n}}]"
            )
        };
        let first = names(&text("")).unwrap();
        assert_eq!((first[0].0.len(), first[1].0.as_str()), (6, "n"));
        let changed = names(&text(", remote_timeout: 1s")).unwrap();
        assert_ne!(changed[0].0, first[0].0);
        // Its progress is the same, whatever else changes.
        assert_eq!((&changed[0].1, &changed[1]), (&first[0].1, &first[1]));
        let twice = "remote_write: [{url: 'http://a:1'}, {url: 'http://a:1'}]";
        let error = names(twice).unwrap_err();
        assert!(error.contains("found duplicate for URL: http://a:1"), "{error}");
    }
}
