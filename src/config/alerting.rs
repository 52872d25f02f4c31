//! The section `alerting`: where alerts are sent.

use super::discovery::unsupported_mechanism;
use super::load::static_targets;
use super::record::Record;
use super::{DiscoveryConfig, HttpClientConfig, Sigv4Config, StaticTargets};
use crate::relabel::Rule;

/// Where alerts go, and what is done to them before.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AlertingConfig {
    /// Applied to every alert.
    pub alert_relabel_configs: Vec<Rule>,
    /// Sets of Alertmanagers.
    pub alertmanagers: Vec<AlertmanagerConfig>,
}

/// A set of Alertmanagers that are reached alike.
#[derive(Debug, Clone, PartialEq)]
pub struct AlertmanagerConfig {
    /// `config-0` for the first set, and so on: what discovery calls it.
    pub name: String,
    /// `http` or `https`, or what relabelling is to replace.
    pub scheme: String,
    /// Put before the path of the API.
    pub path_prefix: String,
    /// For one request.
    pub timeout_ms: i64,
    /// Version of the API.
    pub api_version: String,
    /// How they are reached.
    pub http_client: HttpClientConfig,
    /// Signatures of AWS.
    pub sigv4: Option<Sigv4Config>,
    /// Alertmanagers written in the configuration.
    pub static_configs: Vec<StaticTargets>,
    /// Mechanisms that find more.
    pub discovery_configs: Vec<DiscoveryConfig>,
    /// Applied to Alertmanagers.
    pub relabel_configs: Vec<Rule>,
    /// Applied to alerts for this set.
    pub alert_relabel_configs: Vec<Rule>,
    /// Why this server cannot send to the set, if so; everything else about it is valid.
    pub unsupported: Option<String>,
}

impl AlertingConfig {
    /// The plain form of a completed record.
    pub(super) fn of(alerting: Option<&Record>) -> Self {
        let Some(alerting) = alerting else { return Self::default() };
        let sets = alerting.records("alertmanagers").iter().enumerate();
        Self {
            alert_relabel_configs: alerting.rules("alert_relabel_configs").to_vec(),
            alertmanagers: sets.map(|(at, set)| AlertmanagerConfig::of(at, set)).collect(),
        }
    }
}

impl AlertmanagerConfig {
    fn of(at: usize, set: &Record) -> Self {
        Self {
            name: format!("config-{at}"),
            scheme: set.text("scheme").to_owned(),
            path_prefix: set.text("path_prefix").to_owned(),
            timeout_ms: set.duration_ms("timeout"),
            api_version: set.text("api_version").to_owned(),
            http_client: HttpClientConfig::of(set),
            sigv4: set.record("sigv4").map(Sigv4Config::of),
            static_configs: set.records("static_configs").iter().map(static_targets).collect(),
            discovery_configs: DiscoveryConfig::all_of(set),
            relabel_configs: set.rules("relabel_configs").to_vec(),
            alert_relabel_configs: set.rules("alert_relabel_configs").to_vec(),
            unsupported: unsupported(set),
        }
    }
}

fn unsupported(set: &Record) -> Option<String> {
    let key = unsupported_mechanism(set)?;
    Some(format!("{key}: this discovery mechanism is not built in"))
}
