//! Fetch, parse, relabel, append: one loop a target.
//!
//! [`Manager`] holds a pool for each job; a pool turns discovered groups into targets and runs a
//! loop for each; a loop waits for its time, fetches the page over the target's own connection
//! ([`crate::http_client`]) and hands it to [`ingest`], which writes to a [`Sink`]. Loops run on
//! threads of their own (`workers.rs`).

pub mod accept;
mod failure_log;
pub mod ingest;
mod manager;
mod metrics;
mod pool;
mod schedule;
mod scrape_loop;
mod series;
mod sink;
mod status;
mod storing;
mod target;
mod workers;

pub use manager::{Features, Manager};
pub use scrape_loop::BODY_BYTES_MAX;
pub use series::SeriesError;
pub use sink::{Batch, Sink};
pub use status::{DroppedTarget, FailedJob, Health, TargetMetadata, TargetStatus};
pub use target::{HistogramSwitches, Target, TargetError, discovered_labels};

#[cfg(test)]
mod tests;
