//! Alerts on their way to Alertmanagers.
//!
//! Rules hand alerts to [`Notifier::send`], which never waits. External labels are added, alerts
//! are relabelled, and each discovered Alertmanager has a queue of its own.

mod alert;
mod manager;

pub use alert::Alert;
pub use manager::{Notifier, Options};
