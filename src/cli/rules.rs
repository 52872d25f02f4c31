//! Rules as part of the process: read with the configuration, started with the database, their
//! alerts handed to the notifier.

use std::sync::{Arc, PoisonError, Weak};

use super::process::Process;
use super::settings::Settings;
use crate::config::Config;
use crate::db::Database;
use crate::http::Service;
use crate::notifier::{self, Notifier};
use crate::rules::{
    self, AlertSink, GroupSpec, Manager, OutgoingAlert, QueryWatcher, RuleQuery,
    Settings as RuleSettings, Source, SystemWallClock, load,
};

/// Reads the rule files that a configuration names; a fault in one refuses all.
pub(super) fn load_rules(settings: &Settings, config: &Config) -> Result<Vec<GroupSpec>, String> {
    let source = Source {
        scheme: config.global.name_scheme,
        parse: settings.parse(),
        ignores_unknown: false,
    };
    load(&config.rule_files, &source).map_err(|errors| {
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        lines.join("\n")
    })
}

/// What a configuration says of rules.
fn rule_settings(config: &Config) -> RuleSettings {
    RuleSettings {
        evaluation_interval_ms: config.global.evaluation_interval_ms,
        rule_query_offset_ms: config.global.rule_query_offset_ms,
        external_labels: config.global.external_labels.clone(),
    }
}

/// Hands alerts on.
#[derive(Debug)]
struct ToNotifier(Arc<Notifier>);

impl AlertSink for ToNotifier {
    fn send(&self, alerts: Vec<OutgoingAlert>) {
        let whole_ms = |t_ns: i64| t_ns.div_euclid(1_000_000);
        let alerts = alerts.into_iter().map(|alert| notifier::Alert {
            labels: alert.labels,
            annotations: alert.annotations,
            starts_at_ms: whole_ms(alert.starts_at_ns),
            ends_at_ms: Some(whole_ms(alert.ends_at_ns)),
            generator_url: alert.generator_url,
        });
        self.0.send(alerts.collect());
    }
}

/// Tells the service of queries. The service holds the process, which holds this.
#[derive(Debug)]
struct ToService(Weak<Service>);

impl QueryWatcher for ToService {
    fn query_ran(&self, query: &RuleQuery<'_>) {
        if let Some(service) = self.0.upgrade() {
            service.note_rule_query(query);
        }
    }
}

impl Process {
    /// Evaluates rules from now on. Must be called within the runtime.
    pub(super) fn start_rules(&self, database: &Database) {
        // No reload in between.
        let _one = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        let config = self.config();
        let watcher = self
            .service
            .get()
            .cloned()
            .map(|service| -> Arc<dyn QueryWatcher> { Arc::new(ToService(service)) });
        let manager = Manager::new(
            database.clone(),
            self.rule_engine(&config),
            rules::Options { watcher, ..self.settings.rules() },
            Arc::new(ToNotifier(Arc::clone(&self.notifying.notifier))),
            Arc::new(SystemWallClock),
        );
        // Set once, here.
        let _ = self.rules.set(manager);
        let groups = std::mem::take(&mut *self.loaded_rules());
        self.apply_rules(groups);
    }

    /// Takes groups that were read with the configuration in force: runs them, or keeps them for
    /// when rules are started.
    pub(super) fn apply_rules(&self, groups: Vec<GroupSpec>) {
        let Some(manager) = self.rules.get() else {
            *self.loaded_rules() = groups;
            return;
        };
        let config = self.config();
        manager.apply(groups, rule_settings(&config), self.rule_engine(&config));
    }

    /// The engine that queries use, so that limits hold for both together.
    fn rule_engine(&self, config: &Config) -> crate::promql::engine::Engine {
        match self.service() {
            Some(service) => (*service.engine()).clone(),
            None => self.settings.engine(config),
        }
    }
}
