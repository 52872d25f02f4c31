//! The database's events as lines of the log and as counts.

use std::path::Path;
use std::time::Duration;

use super::counted::StorageMetrics;
use super::metrics::Metrics;
use crate::db::{Event, Observer};
use crate::model::format_go_duration;

/// Writes what a database tells to the log, and counts it.
#[derive(Debug, Clone)]
pub struct ObserverLog {
    counts: StorageMetrics,
}

impl ObserverLog {
    /// Counts go to `metrics`.
    pub fn new(metrics: &Metrics) -> Self {
        Self { counts: metrics.storage().clone() }
    }

    fn count(&self, event: &Event<'_>) {
        let counts = &self.counts;
        match event {
            Event::Opened { took, .. } => counts.replay_seconds.set(took.as_secs_f64()),
            Event::Flushed { samples, took, .. } => {
                counts.flushed_samples.add(*samples);
                counts.compaction_seconds.observe_duration(*took);
            }
            Event::Compacted { took, .. } => counts.compaction_seconds.observe_duration(*took),
            Event::Quarantined { path, .. } => self.count_damage(path),
            Event::Warning(text) => {
                counts.warnings.inc();
                // A warning about a file begins with its path.
                if let Some((path, _)) = text.split_once(": ") {
                    self.count_damage(Path::new(path));
                }
            }
            Event::MaintenanceFailed { step, .. } if is_compaction(step) => {
                counts.compactions_failed.inc();
                if *step == "flush" {
                    counts.truncations_failed.inc();
                }
            }
            Event::Sealed { chunks, .. } => {
                counts.chunks_created.iter().for_each(|count| count.add(*chunks as u64));
            }
            Event::MaintenanceFailed { .. } => counts.reloads_failed.inc(),
            Event::Expired { .. }
            | Event::Snapshot { .. }
            | Event::DiskFull { .. }
            | Event::DiskHasRoom
            | Event::Checkpointed { .. }
            | Event::LogImported { .. }
            | Event::Exported { .. }
            | Event::Replayed { .. } => {}
        }
    }
}

impl ObserverLog {
    fn count_damage(&self, path: &Path) {
        if is_of(path, "wal") {
            self.counts.wal_corruptions.inc();
        } else if is_of(path, "head") {
            self.counts.head_file_corruptions.inc();
        }
    }
}

impl Observer for ObserverLog {
    fn event(&self, event: &Event<'_>) {
        self.count(event);
        match event {
            Event::Opened { .. }
            | Event::Flushed { .. }
            | Event::Compacted { .. }
            | Event::Expired { .. } => log_of_blocks(event),
            Event::Snapshot { path, took } => tracing::info!(
                path = %path.display(),
                duration = %short(*took),
                "Snapshot written"
            ),
            Event::Quarantined { path, reason } => tracing::error!(
                path = %path.display(),
                reason,
                "Damaged part of the data put aside; the rest is served"
            ),
            Event::Sealed { groups, chunks, bytes } => {
                tracing::debug!(groups, chunks, bytes, "Groups of the head sealed");
            }
            Event::Checkpointed { bytes, first_segment } => {
                tracing::info!(bytes, first_segment, "Checkpoint of the head written");
            }
            Event::Replayed { records, samples, took } => tracing::info!(
                records,
                samples,
                duration = %short(*took),
                "Log replayed"
            ),
            Event::DiskFull { reserve_bytes } => tracing::error!(
                reserve_bytes,
                "The disk is full: writes are refused until there is room, queries go on"
            ),
            Event::DiskHasRoom => {
                tracing::warn!("The disk has room again; writes are taken");
            }
            Event::LogImported { .. } | Event::Exported { .. } => log_of_prometheus(event),
            Event::Warning(text) => tracing::warn!("{text}"),
            Event::MaintenanceFailed { step, error } => {
                tracing::error!(step, %error, "Maintenance failed and is tried again");
            }
        }
    }
}

/// Logs what happens to the data of a Prometheus.
fn log_of_prometheus(event: &Event<'_>) {
    match event {
        Event::LogImported { done, took } => tracing::info!(
            series = done.series,
            samples = done.samples,
            late = done.late,
            damages = done.damages,
            not_kept = done.dropped,
            duration = %short(*took),
            "Log of Prometheus imported"
        ),
        Event::Exported { block, range, samples, took } => tracing::info!(
            block,
            mint = range.min_ms,
            maxt = range.max_ms,
            samples,
            duration = %short(*took),
            "Window exported as a block of Prometheus"
        ),
        _ => {}
    }
}

/// Logs what blocks there are.
fn log_of_blocks(event: &Event<'_>) {
    match event {
        Event::Opened { series, blocks, took } => {
            tracing::info!(series, blocks, duration = %short(*took), "Database open");
        }
        Event::Flushed { block, range, samples, took } => tracing::info!(
            block,
            mint = range.min_ms,
            maxt = range.max_ms,
            samples,
            duration = %short(*took),
            "Window of the head written as a block"
        ),
        Event::Compacted { sources, block: Some(block), took } => tracing::info!(
            count = sources.len(),
            sources = %format_args!("[{}]", sources.join(" ")),
            block,
            duration = %short(*took),
            "Blocks merged"
        ),
        Event::Compacted { sources, block: None, took } => tracing::info!(
            count = sources.len(),
            sources = %format_args!("[{}]", sources.join(" ")),
            duration = %short(*took),
            "Blocks that held nothing removed"
        ),
        Event::Expired { block, for_size } => {
            let reason = if *for_size { "size" } else { "time" };
            tracing::info!(block, reason, "Block past retention removed");
        }
        _ => {}
    }
}

fn short(took: Duration) -> String {
    format_go_duration(i64::try_from(took.as_nanos()).unwrap_or(i64::MAX))
}

/// Whether a file lies in the directory of this name, or came from there: its ending is the same.
fn is_of(path: &Path, directory: &str) -> bool {
    let mut parts = path.components();
    parts.any(|part| part.as_os_str() == directory)
        || path.extension().is_some_and(|ending| ending == directory)
}

/// Whether a step of maintenance writes blocks.
fn is_compaction(step: &str) -> bool {
    ["flush", "compact", "merge"].iter().any(|word| step.contains(word))
}
