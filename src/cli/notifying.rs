//! Sending alerts, as a part of the running process.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;

use super::settings::Settings;
use crate::config::Config;
use crate::discovery::Discovery;
use crate::exposition::Family;
use crate::notifier::{Notifier, Prepared};
use crate::telemetry::DiscoveredTargets;

/// What this set of mechanisms is called in metrics.
const NAME: &str = "notify";

/// Discovers Alertmanagers and sends them alerts.
#[derive(Debug)]
pub(super) struct Notifying {
    discovery: Discovery,
    /// Where rules hand in alerts.
    pub(super) notifier: Arc<Notifier>,
    following: Mutex<Option<JoinHandle<()>>>,
}

impl Notifying {
    /// Sends to nobody yet.
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            discovery: Discovery::named(NAME),
            notifier: Arc::new(Notifier::new(settings.notifications())),
            following: Mutex::default(),
        }
    }

    /// Whether a configuration has been applied.
    pub(super) fn is_started(&self) -> bool {
        self.following.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Makes a configuration ready to be applied.
    pub(super) fn prepare(&self, config: &Config) -> Result<Prepared, String> {
        self.notifier.prepare(&config.alerting, &config.global.external_labels)
    }

    /// Sends as the configuration says from now on. Must be called within the runtime.
    pub(super) fn apply(&self, prepared: Prepared) {
        self.discovery.seek(&prepared.sought());
        let found = self.discovery.subscribe();
        let current = Arc::clone(&found.borrow());
        self.notifier.apply(prepared, &current);
        let mut following = self.following.lock().unwrap_or_else(PoisonError::into_inner);
        if following.is_none() {
            let notifier = Arc::clone(&self.notifier);
            *following = Some(tokio::spawn(async move { notifier.follow(found).await }));
        }
    }

    /// Ends, after what waits has been sent, if that takes no longer than `grace`.
    pub(super) async fn stop(&self, grace: Duration) {
        if tokio::time::timeout(grace, self.notifier.shutdown()).await.is_err() {
            tracing::warn!("Some alerts could not be sent in time and are dropped");
        }
        let following = self.following.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(following) = following {
            following.abort();
        }
    }

    /// What sending and its discovery count, for `/metrics`.
    pub(super) fn families(&self) -> Vec<Family> {
        let mut families = self.notifier.families();
        families.extend(self.discovery.families());
        families
    }

    /// How many Alertmanagers discovery knows.
    pub(super) fn discovered(&self) -> Vec<DiscoveredTargets> {
        let sets = self.discovery.subscribe();
        let sets = Arc::clone(&sets.borrow());
        let found = sets.iter().map(|(config, groups)| DiscoveredTargets {
            config: config.clone(),
            name: NAME,
            targets: groups.iter().map(|group| group.targets.len()).sum(),
        });
        found.collect()
    }
}
