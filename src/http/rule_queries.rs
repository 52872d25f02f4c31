//! Queries of rules, logged and counted beside those of requests.

use std::time::Duration;

use super::api::query::statistics;
use super::query_log::{Entry, Origin};
use super::service::Service;
use crate::promql::engine::QueryStats;
use crate::rules::RuleQuery;

impl Service {
    /// Counts a query of a group of rules, and writes it to the log of queries if there is one.
    pub fn note_rule_query(&self, query: &RuleQuery<'_>) {
        let counts = self.control.counts();
        let nothing = QueryStats::default();
        let stats = query.outcome.unwrap_or(&nothing);
        counts.observe_query(query.took);
        counts.add_query_samples(stats.total_queryable_samples);
        let Some(log) = self.query_log() else { return };
        let error = query.outcome.err().map(ToString::to_string);
        let entry = Entry {
            query: query.text,
            start_ms: query.t_ms,
            end_ms: query.t_ms,
            step_ms: 0,
            error: error.as_deref(),
            stats: &statistics(stats, Duration::ZERO, query.took),
            origin: &Origin::default(),
        };
        if log.write_of_rules(&entry, (query.file, query.group)).is_err() {
            counts.query_log_failed();
        }
    }
}
