//! Alerts on their way to Alertmanagers.
//!
//! Rules hand alerts to [`Notifier::send`], which never waits. External labels are added, alerts
//! are relabelled, and each discovered Alertmanager has a queue and a task of its own: one that is
//! down or slow delays no other.
//!
//! A queue holds the newest word on each alert; what is said anew takes the place of what was
//! said before and has not been sent. So a queue is bounded by the number of alerts however long
//! its Alertmanager is away, and by its capacity besides: beyond that the oldest are dropped and
//! counted. A batch that failed is tried again, ever less often, until its alerts have expired:
//! an alert that fires when its end has passed, for it would be sent again if it still fired; one
//! that is resolved after a quarter of an hour, for which rules repeat it.
//!
//! A reload keeps the queues of Alertmanagers that stay, however else their section changed.
//!
//! COMPAT: requests, metrics and what `/api/v1/alertmanagers` shows are Prometheus's; it drops
//! a batch that failed once.

mod alert;
mod clock;
mod manager;
mod metrics;
mod queue;
mod receivers;
mod send_loop;
mod transport;

#[cfg(test)]
mod outage_tests;
#[cfg(test)]
mod tests;

pub use alert::Alert;
pub use clock::{Clock, Sleeping, SystemClock};
pub use manager::{Notifier, Options, Prepared};
pub use transport::{Connect, HttpTransport, PostError, Posting, Transport};
