//! How a head is set up.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::{Observer, SeriesLimits};
use crate::disk::{Clock, Disk};

/// Everything that a head needs to know of the world.
#[derive(Debug, Clone)]
pub struct HeadOptions {
    /// The door to files.
    pub disk: Arc<dyn Disk>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Hears what happens.
    pub observer: Arc<dyn Observer>,
    /// Directory of the database (`<data>/narthex`); the head keeps `wal/`, `head/`,
    /// `checkpoint/` and `quarantine/` in it.
    pub dir: PathBuf,
    /// How far below the newest time late samples are taken, until
    /// [`super::Head::set_out_of_order_window_ms`] says otherwise; 0: not at all.
    pub out_of_order_window_ms: i64,
    /// How far ahead of the clock a sample may lie.
    pub future_limit_ms: i64,
    /// Greatest age of acknowledged samples that are not on the medium; zero: none.
    pub sync_interval: Duration,
    /// How many exemplars are kept; 0: none.
    pub exemplars_max: usize,
    /// Length of a window, and of the youngest blocks.
    pub window_ms: i64,
    /// Bytes of a log segment.
    pub segment_bytes_max: u64,
    /// What is taken at most.
    pub limits: SeriesLimits,
    /// Threads that replay the log while the head serves already; 0: [`super::Head::open`] returns
    /// when all is replayed.
    pub replay_threads: usize,
    /// Samples below this time are in blocks already (the end of the newest block when the
    /// database is opened).
    pub flushed_until_ms: Option<i64>,
}

impl HeadOptions {
    /// Two hours of window, a second of unsynced samples, no late ones.
    pub fn new(
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        observer: Arc<dyn Observer>,
        dir: PathBuf,
    ) -> Self {
        Self {
            disk,
            clock,
            observer,
            dir,
            out_of_order_window_ms: 0,
            future_limit_ms: 10 * 60_000,
            sync_interval: Duration::from_secs(1),
            exemplars_max: 0,
            window_ms: 2 * 3_600_000,
            segment_bytes_max: 64 << 20,
            limits: SeriesLimits::default(),
            replay_threads: 0,
            flushed_until_ms: None,
        }
    }
}
