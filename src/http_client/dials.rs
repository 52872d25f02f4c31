//! Counts of connections tried, opened, failed and closed, by the name of the client. Names of
//! metrics and labels are those that Prometheus users know.

use std::sync::Arc;

use super::error::Reason;
use crate::telemetry::{Counter, CounterVec, Registry};

/// The counts of all clients that one registry knows.
#[derive(Debug, Clone)]
pub struct DialMetrics {
    attempted: CounterVec,
    established: CounterVec,
    closed: CounterVec,
    /// By name and reason.
    failed: CounterVec,
}

/// Why dialling failed, as the metrics name it.
const REASONS: [&str; 4] = ["refused", "resolution", "timeout", "unknown"];

impl DialMetrics {
    /// Registers them.
    pub fn new(registry: &Registry) -> Self {
        let counter = |name, help| registry.counter_vec(name, help, &["dialer_name"]);
        Self {
            attempted: counter(
                "net_conntrack_dialer_conn_attempted_total",
                "Connections that a client tried to open.",
            ),
            established: counter(
                "net_conntrack_dialer_conn_established_total",
                "Connections that a client opened.",
            ),
            closed: counter(
                "net_conntrack_dialer_conn_closed_total",
                "Connections of a client that were closed.",
            ),
            failed: registry.counter_vec(
                "net_conntrack_dialer_conn_failed_total",
                "Connections that a client could not open.",
                &["dialer_name", "reason"],
            ),
        }
    }

    /// The counts of the client `name`; they are told from now on.
    pub fn named(&self, name: &str) -> Dials {
        let failed = REASONS.map(|reason| self.failed.with(&[name, reason]));
        let [attempted, established, closed] =
            [&self.attempted, &self.established, &self.closed].map(|counts| counts.with(&[name]));
        Dials(Some(Arc::new(Counts { attempted, established, closed, failed })))
    }

    /// Tells the counts of that client no more.
    pub fn remove(&self, name: &str) {
        for counts in [&self.attempted, &self.established, &self.closed] {
            counts.remove(&[name]);
        }
        for reason in REASONS {
            self.failed.remove(&[name, reason]);
        }
    }
}

#[derive(Debug)]
struct Counts {
    attempted: Counter,
    established: Counter,
    closed: Counter,
    failed: [Counter; REASONS.len()],
}

/// The counts of one client; by default nothing is counted.
#[derive(Debug, Clone, Default)]
pub struct Dials(Option<Arc<Counts>>);

impl Dials {
    /// Counts an attempt. Dropped unanswered it has failed for want of time.
    pub(super) fn attempt(&self) -> Attempt {
        if let Some(counts) = &self.0 {
            counts.attempted.inc();
        }
        Attempt(self.0.clone())
    }
}

/// An attempt under way.
#[derive(Debug)]
pub(super) struct Attempt(Option<Arc<Counts>>);

impl Attempt {
    /// It went well; the connection counts as closed when what is returned is dropped.
    pub(super) fn succeeded(mut self) -> Open {
        let counts = self.0.take();
        if let Some(counts) = &counts {
            counts.established.inc();
        }
        Open(counts)
    }

    pub(super) fn failed(mut self, reason: &Reason) {
        let Some(counts) = self.0.take() else { return };
        let at = match reason {
            Reason::Connect { source, .. } => match source.kind() {
                std::io::ErrorKind::ConnectionRefused => 0,
                std::io::ErrorKind::TimedOut => 2,
                _ => 3,
            },
            Reason::Resolve { .. } => 1,
            _ => 3,
        };
        counts.failed[at].inc();
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if let Some(counts) = &self.0 {
            counts.failed[2].inc();
        }
    }
}

/// Held as long as a connection is open.
#[derive(Debug)]
pub(super) struct Open(Option<Arc<Counts>>);

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(counts) = &self.0 {
            counts.closed.inc();
        }
    }
}
