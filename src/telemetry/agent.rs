//! What an agent counts, under the names that Prometheus's agent gives it.
//!
//! An agent here is the same storage without blocks, so the figures are there already under the
//! names of the server; they are shown under both. What has no counterpart (the length of
//! truncations, checkpoints removed, series that wait in the log) is not shown.

use crate::exposition::Family;

/// Names of the server's families, and of the agent's.
const NAMES: [(&str, &str); 9] = [
    ("prometheus_tsdb_head_series", "prometheus_agent_active_series"),
    ("prometheus_tsdb_head_samples_appended_total", "prometheus_agent_samples_appended_total"),
    (
        "prometheus_tsdb_exemplar_exemplars_appended_total",
        "prometheus_agent_exemplars_appended_total",
    ),
    ("prometheus_tsdb_out_of_order_samples_total", "prometheus_agent_out_of_order_samples_total"),
    ("prometheus_tsdb_wal_corruptions_total", "prometheus_agent_corruptions_total"),
    (
        "prometheus_tsdb_data_replay_duration_seconds",
        "prometheus_agent_data_replay_duration_seconds",
    ),
    ("prometheus_tsdb_checkpoint_creations_total", "prometheus_agent_checkpoint_creations_total"),
    (
        "prometheus_tsdb_checkpoint_creations_failed_total",
        "prometheus_agent_checkpoint_creations_failed_total",
    ),
    ("prometheus_tsdb_clean_start", "prometheus_agent_clean_start"),
];

/// The agent's families out of all that there are.
pub(super) fn families(all: &[Family]) -> Vec<Family> {
    let named = NAMES.iter().filter_map(|(server, agent)| {
        let family = all.iter().find(|family| family.name == *server)?;
        let mut samples = family.samples.clone();
        if *agent == "prometheus_agent_out_of_order_samples_total" {
            // COMPAT: all of one kind here.
            let value = samples.iter().map(|sample| sample.value).sum();
            samples.truncate(1);
            for sample in &mut samples {
                (sample.labels, sample.value) = (Vec::new(), value);
            }
        }
        Some(Family { name: (*agent).to_owned(), samples, ..family.clone() })
    });
    named.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::{Figures, Metrics, TsdbFigures};

    #[test]
    fn an_agent_shows_its_figures_under_the_names_of_agents() {
        let page = |is_agent| {
            let tsdb = TsdbFigures { clean_start: Some(true), ..TsdbFigures::default() };
            Metrics::new().render(&Figures { is_agent, tsdb: Some(tsdb), ..Figures::default() })
        };
        let agent = page(true);
        for (_, name) in NAMES {
            assert!(agent.contains(&format!("# TYPE {name} ")), "{name}");
        }
        assert!(agent.contains("\nprometheus_agent_clean_start 1\n"));
        assert!(!page(false).contains("prometheus_agent_"));
    }
}
