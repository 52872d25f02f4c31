//! The section `global`.

use super::ScrapeProtocol;
use super::record::{Record, Value};
use crate::model::{EscapingScheme, Labels, NameScheme};

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

impl GlobalConfig {
    /// The plain form of a completed record.
    pub(super) fn of(global: &Record) -> Self {
        let protocols = match global.value("scrape_protocols") {
            Value::Texts(Some(names)) => {
                Some(names.iter().filter_map(|name| ScrapeProtocol::parse(name)).collect())
            }
            _ => None,
        };
        let name_scheme = match global.text("metric_name_validation_scheme") {
            "legacy" => NameScheme::Legacy,
            _ => NameScheme::Utf8,
        };
        let labels = global.text_map("external_labels");
        Self {
            scrape_interval_ms: global.duration_ms("scrape_interval"),
            scrape_timeout_ms: global.duration_ms("scrape_timeout"),
            evaluation_interval_ms: global.duration_ms("evaluation_interval"),
            rule_query_offset_ms: global.duration_ms("rule_query_offset"),
            scrape_protocols: protocols,
            query_log_file: global.text("query_log_file").to_owned(),
            scrape_failure_log_file: global.text("scrape_failure_log_file").to_owned(),
            external_labels: Labels::from_pairs(labels.iter().map(|(n, v)| (n, v))),
            name_scheme,
            escaping_scheme: EscapingScheme::parse(global.text("metric_name_escaping_scheme"))
                .unwrap_or_default(),
        }
    }
}
