//! All Alertmanagers.

use super::Alert;

/// What the command line says of notifications.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Alerts that wait for one Alertmanager at most; the oldest go first.
    pub queue_capacity: usize,
    /// Alerts of one request at most.
    pub batch_size_max: usize,
    /// On shutdown what is queued is still sent.
    pub drains_on_shutdown: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { queue_capacity: 10_000, batch_size_max: 256, drains_on_shutdown: true }
    }
}

/// Sends alerts to the Alertmanagers of the configuration.
#[derive(Debug)]
pub struct Notifier {
    options: Options,
}

impl Notifier {
    /// Sends to nobody yet.
    pub fn new(options: Options) -> Self {
        Self { options }
    }

    /// Queues alerts for each Alertmanager; never waits.
    pub fn send(&self, alerts: Vec<Alert>) {
        let _ = (self.options, alerts);
    }
}
