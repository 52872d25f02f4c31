//! From discovered targets to the URLs of Alertmanagers.

use std::sync::Arc;

use crate::config::AlertmanagerConfig;
use crate::discovery::TargetGroup;
use crate::http_client::escape_path;
use crate::model::{Labels, LabelsBuilder, go_quote};
use crate::relabel;

const ADDRESS: &str = "__address__";
const SCHEME: &str = "__scheme__";
const PATH: &str = "__alerts_path__";

/// The Alertmanagers of a set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Receivers {
    /// URLs that alerts are posted to, each once.
    pub(super) active: Vec<String>,
    /// URLs of those that relabelling dropped.
    pub(super) dropped: Vec<String>,
}

impl Receivers {
    /// What the groups come to. A group with an address that is none is left out, and told.
    pub(super) fn of(config: &AlertmanagerConfig, groups: &[Arc<TargetGroup>]) -> Self {
        let mut all = Self::default();
        for group in groups {
            match Self::of_group(config, group) {
                Ok(of_group) => {
                    for url in of_group.active {
                        if !all.active.contains(&url) {
                            all.active.push(url);
                        }
                    }
                    all.dropped.extend(of_group.dropped);
                }
                Err(error) => {
                    let set = &config.name;
                    tracing::error!(
                        config = %set, err = %error,
                        "Creating discovered Alertmanagers failed"
                    );
                }
            }
        }
        all
    }

    fn of_group(config: &AlertmanagerConfig, group: &TargetGroup) -> Result<Self, String> {
        let mut found = Self::default();
        for target in &group.targets {
            let mut labels = LabelsBuilder::from_labels(target);
            labels.set(SCHEME, &config.scheme);
            labels.set(PATH, &path_of(config));
            for (name, value) in &group.labels {
                if target.get(name).is_none() {
                    labels.set(name, value);
                }
            }
            let before = labels.clone().build();
            if !relabel::apply(&config.relabel_configs, &mut labels) {
                found.dropped.push(url_of(&before));
                continue;
            }
            let labels = labels.build();
            let address = labels.get(ADDRESS).unwrap_or_default();
            if address.contains('/') {
                return Err(format!("{} is not a valid hostname", go_quote(address)));
            }
            found.active.push(url_of(&labels));
        }
        Ok(found)
    }
}

/// The path of the API behind the prefix, with doubled slashes and dots taken out.
fn path_of(config: &AlertmanagerConfig) -> String {
    let whole = format!("{}/api/{}/alerts", config.path_prefix, config.api_version);
    let mut parts: Vec<&str> = Vec::new();
    for part in whole.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            _ => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

fn url_of(labels: &Labels) -> String {
    let label = |name| labels.get(name).unwrap_or_default();
    let path = label(PATH);
    let slash = if path.is_empty() || path.starts_with('/') { "" } else { "/" };
    format!("{}://{}{slash}{}", label(SCHEME), label(ADDRESS), escape_path(path))
}
