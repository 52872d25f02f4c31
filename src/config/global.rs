//! The section `global`.

use crate::model::{EscapingScheme, Labels, NameScheme};

use super::ScrapeProtocol;

/// Defaults for every job, and labels for the outside world.
#[derive(Debug, Clone, PartialEq)]
pub struct GlobalConfig {
    /// How often targets are scraped.
    pub scrape_interval_ms: i64,
    /// When a scrape is given up.
    pub scrape_timeout_ms: i64,
    /// How often rules are evaluated.
    pub evaluation_interval_ms: i64,
    /// How far in the past rules are evaluated.
    pub rule_query_offset_ms: i64,
    /// Formats to ask targets for, where the section names them.
    pub scrape_protocols: Option<Vec<ScrapeProtocol>>,
    /// Where queries are logged; empty for nowhere.
    pub query_log_file: String,
    /// Where failed scrapes are logged; empty for nowhere.
    pub scrape_failure_log_file: String,
    /// Labels for everything that leaves this server; environment variables are filled in.
    pub external_labels: Labels,
    /// Which metric and label names are taken.
    pub name_scheme: NameScheme,
    /// In which form targets are asked for names.
    pub escaping_scheme: EscapingScheme,
}
