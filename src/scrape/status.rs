//! What the HTTP API tells about targets.

use std::sync::Arc;
use std::time::Duration;

use crate::exposition::FamilyMetadata;
use crate::model::Labels;

/// How the last scrape went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Health {
    /// There was none yet.
    #[default]
    Unknown,
    /// Well.
    Up,
    /// It failed.
    Down,
}

impl Health {
    /// The name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// A target that is scraped.
#[derive(Debug, Clone, PartialEq)]
pub struct TargetStatus {
    /// Name of its job.
    pub pool: String,
    /// Labels before relabelling.
    pub discovered_labels: Labels,
    /// Labels that its series get.
    pub labels: Labels,
    /// Where its page is.
    pub scrape_url: String,
    /// Why the last scrape failed; empty where it did not.
    pub last_error: String,
    /// When the last scrape began, in nanoseconds since the Unix epoch.
    pub last_scrape_ns: Option<i64>,
    /// How long it took.
    pub last_scrape_duration: Duration,
    /// How it went.
    pub health: Health,
    /// How often it is scraped.
    pub interval_ms: i64,
    /// When a scrape is given up.
    pub timeout_ms: i64,
}

/// A target that relabelling dropped.
#[derive(Debug, Clone, PartialEq)]
pub struct DroppedTarget {
    /// Name of its job.
    pub pool: String,
    /// Labels before relabelling.
    pub discovered_labels: Labels,
}

/// The metadata of one target's page.
#[derive(Debug, Clone, PartialEq)]
pub struct TargetMetadata {
    /// Name of the target's job.
    pub pool: String,
    /// Labels of the target.
    pub labels: Labels,
    /// HELP and TYPE of its families.
    pub families: Vec<FamilyMetadata>,
}

/// A job that cannot run on this server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedJob {
    /// Its name.
    pub job: String,
    /// What it needs that is not there.
    pub reason: String,
}

/// What a loop leaves for its readers.
#[derive(Debug, Default)]
pub(super) struct LastScrape {
    pub(super) error: String,
    pub(super) began_ns: Option<i64>,
    pub(super) duration: Duration,
    pub(super) health: Health,
    pub(super) metadata: Arc<[FamilyMetadata]>,
    pub(super) lingering: Vec<FamilyMetadata>,
    /// Why the target is failed without being scraped.
    pub(super) forced_error: Option<Arc<str>>,
}
