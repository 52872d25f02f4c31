//! A rule that runs: what it is, how its last evaluation went, its alerts.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::alerts::{Alert, AlertState, Alerts};
use super::file::{RuleKind, RuleSpec};

/// How the last evaluation went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// There was none.
    Unknown,
    /// Well.
    Good,
    /// It failed.
    Bad,
}

impl Health {
    /// The name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Good => "ok",
            Self::Bad => "err",
        }
    }
}

/// A rule of a group.
#[derive(Debug)]
pub struct Rule {
    spec: Arc<RuleSpec>,
    last: Mutex<Last>,
    /// Empty for a recording rule.
    alerts: Mutex<Alerts>,
}

#[derive(Debug, Clone)]
struct Last {
    health: Health,
    error: String,
    took: Duration,
    at_ns: Option<i64>,
}

impl Rule {
    /// A rule that was never evaluated. `is_restored`: there is no state of a process before.
    pub(super) fn new(spec: Arc<RuleSpec>, is_restored: bool) -> Self {
        let last = Last {
            health: Health::Unknown,
            error: String::new(),
            took: Duration::ZERO,
            at_ns: None,
        };
        let alerts = Alerts { is_restored, ..Alerts::default() };
        Self { spec, last: Mutex::new(last), alerts: Mutex::new(alerts) }
    }

    /// What it is.
    pub fn spec(&self) -> &RuleSpec {
        &self.spec
    }

    /// Whether it raises alerts.
    pub fn is_alerting(&self) -> bool {
        matches!(self.spec.kind, RuleKind::Alerting { .. })
    }

    /// How the last evaluation went.
    pub fn health(&self) -> Health {
        self.last().health
    }

    /// Why it failed; empty where it did not.
    pub fn last_error(&self) -> String {
        self.last().error.clone()
    }

    /// How long the last evaluation took.
    pub fn evaluation_took(&self) -> Duration {
        self.last().took
    }

    /// When it began, in nanoseconds since the Unix epoch.
    pub fn last_evaluation_ns(&self) -> Option<i64> {
        self.last().at_ns
    }

    /// Its alerts that are pending or firing, in the order of their labels.
    pub fn active_alerts(&self) -> Vec<Alert> {
        let alerts = self.alerts();
        alerts.by_labels.values().filter(|a| a.resolved_at_ns.is_none()).cloned().collect()
    }

    /// The furthest that one of its alerts has come.
    pub fn state(&self) -> AlertState {
        if self.last().at_ns.is_none() { AlertState::Unknown } else { self.alerts().state() }
    }

    pub(super) fn alerts(&self) -> MutexGuard<'_, Alerts> {
        self.alerts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn last(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes how an evaluation that began at `at_ns` went.
    pub(super) fn note_evaluation(&self, at_ns: i64, took: Duration, error: Option<String>) {
        let mut last = self.last();
        last.at_ns = Some(at_ns);
        last.took = took;
        last.health = if error.is_none() { Health::Good } else { Health::Bad };
        last.error = error.unwrap_or_default();
    }

    /// Notes that what it gave was not stored.
    pub(super) fn note_failure(&self, error: String) {
        let mut last = self.last();
        last.health = Health::Bad;
        last.error = error;
    }

    /// Takes over the alerts of the rule that ran before under the same name and labels.
    pub(super) fn take_alerts(&self, before: &Self) {
        if self.is_alerting() && before.is_alerting() {
            let taken = before.alerts().by_labels.clone();
            self.alerts().by_labels.extend(taken);
        }
    }
}
