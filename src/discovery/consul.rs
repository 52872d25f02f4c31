//! Targets from Consul's catalog (`consul_sd_configs`).
//!
//! The catalog tells the services, and one task for each of them follows its instances. Both ask
//! by blocking queries: the agent answers when something has changed, or after two minutes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::task::{AbortHandle, JoinSet};

use super::TargetGroup;
use super::api::{Api, or_default};
use super::group::{ADDRESS, LabelList, join_host_port};
use super::provider::{Mechanism, Running, Updates, interval};
use crate::config::ConsulDiscovery;
use crate::http_client::{encode_query, escape_path};
use crate::model::Labels;

/// How long the agent may hold back an answer.
const WAIT: Duration = Duration::from_mins(2);

/// How long nothing is asked after a failure.
const RETRY: Duration = Duration::from_secs(15);

const PREFIX: &str = "__meta_consul_";

/// The mechanism.
#[derive(Debug)]
pub(super) struct Consul {
    api: Api,
    config: ConsulDiscovery,
    retry: Duration,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Agent {
    config: AgentConfig,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AgentConfig {
    datacenter: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Entry {
    node: Node,
    service: Service,
    #[serde(deserialize_with = "or_default")]
    checks: Vec<Check>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Node {
    #[serde(rename = "Node")]
    name: String,
    address: String,
    #[serde(deserialize_with = "or_default")]
    meta: BTreeMap<String, String>,
    #[serde(deserialize_with = "or_default")]
    tagged_addresses: BTreeMap<String, String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Service {
    #[serde(rename = "ID")]
    id: String,
    address: String,
    port: i64,
    namespace: String,
    partition: String,
    #[serde(deserialize_with = "or_default")]
    tags: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    meta: BTreeMap<String, String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Check {
    #[serde(rename = "CheckID")]
    id: String,
    status: String,
}

impl Consul {
    pub(super) fn new(config: &ConsulDiscovery) -> Result<Self, String> {
        let server = config.server.as_str();
        let has_scheme = ["http://", "https://", "unix://"].iter().any(|s| server.starts_with(s));
        let base =
            if has_scheme { server.to_owned() } else { format!("{}://{server}", config.scheme) };
        let token = config.token.reveal();
        let headers = [("x-consul-token", token)];
        let headers = if token.is_empty() { &[] } else { &headers[..] };
        let api = Api::new(&config.http_client, &base, headers, WAIT + Duration::from_secs(15))?;
        Ok(Self { api, config: config.clone(), retry: RETRY })
    }

    /// The document at `path`, once it is newer than `index`, and its own index.
    async fn ask<T: DeserializeOwned>(
        &self,
        path: &str,
        mut parameters: Vec<(String, Vec<String>)>,
        index: u64,
    ) -> Result<(T, u64), String> {
        let config = &self.config;
        let mut add = |name: &str, value: String| {
            if !value.is_empty() {
                parameters.push((name.to_owned(), vec![value]));
            }
        };
        add("dc", config.datacenter.clone());
        add("ns", config.namespace.clone());
        add("partition", config.partition.clone());
        if index > 0 {
            add("index", index.to_string());
        }
        add("wait", format!("{}ms", WAIT.as_millis()));
        if config.allow_stale {
            parameters.push(("stale".to_owned(), vec![String::new()]));
        }
        if !config.node_meta.is_empty() {
            let pairs = config.node_meta.iter().map(|(name, value)| format!("{name}:{value}"));
            parameters.push(("node-meta".to_owned(), pairs.collect()));
        }
        let prefix = self.config.path_prefix.trim_end_matches('/');
        let path = format!("{prefix}{path}?{}", encode_query(&parameters));
        let (document, response) = self.api.get(&path).await?;
        let told = response.header("x-consul-index").parse().unwrap_or(0);
        // An index that goes back is that of another server: the next question does not wait.
        Ok((document, if told < index { 0 } else { told }))
    }

    async fn datacenter(&self, updates: &Updates) -> String {
        if !self.config.datacenter.is_empty() {
            return self.config.datacenter.clone();
        }
        loop {
            let path = format!("{}/v1/agent/self", self.config.path_prefix.trim_end_matches('/'));
            match self.api.get::<Agent>(&path).await {
                Ok((agent, _)) => return agent.config.datacenter,
                Err(error) => {
                    tracing::error!(err = %error, "Error retrieving datacenter name");
                    updates.metrics().consul_rpc_failures.inc();
                    tokio::time::sleep(self.retry).await;
                }
            }
        }
    }

    /// Whether a service with these tags is wanted.
    fn wants(&self, name: &str, tags: &[String]) -> bool {
        let config = &self.config;
        (config.services.is_empty() || config.services.iter().any(|service| service == name))
            && config.tags.iter().all(|wanted| tags.contains(wanted))
    }

    async fn watch_catalog(self: Arc<Self>, labels_of: LabelsOf, updates: Updates) {
        let mut tasks = JoinSet::new();
        let mut watched: BTreeMap<String, AbortHandle> = BTreeMap::new();
        let mut index = 0;
        let mut ticks = tokio::time::interval(interval(self.config.refresh_interval_ms));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let mut parameters = Vec::new();
            if !self.config.filter.is_empty() {
                parameters.push(("filter".to_owned(), vec![self.config.filter.clone()]));
            }
            let began = Instant::now();
            let asked = self
                .ask::<BTreeMap<String, Option<Vec<String>>>>(
                    "/v1/catalog/services",
                    parameters,
                    index,
                )
                .await;
            let seconds = &updates.metrics().consul_rpc_seconds;
            seconds.with(&["services", "catalog"]).observe_duration(began.elapsed());
            let services = match asked {
                Ok((_, told)) if told == index && index > 0 => continue,
                Ok((services, told)) => {
                    index = told;
                    services
                }
                Err(error) => {
                    tracing::error!(err = %error, "Error refreshing service list");
                    updates.metrics().consul_rpc_failures.inc();
                    tokio::time::sleep(self.retry).await;
                    continue;
                }
            };
            for (name, tags) in &services {
                let tags = tags.as_deref().unwrap_or_default();
                if self.wants(name, tags) && !watched.contains_key(name) {
                    let work = Arc::clone(&self).watch_service(
                        name.clone(),
                        labels_of(name),
                        updates.clone(),
                    );
                    watched.insert(name.clone(), tasks.spawn(work));
                }
            }
            watched.retain(|name, task| {
                if !services.contains_key(name) {
                    task.abort();
                    updates.change([TargetGroup::empty(name.as_str())]);
                }
                services.contains_key(name)
            });
            if watched.is_empty() {
                updates.replace([]);
            }
        }
    }

    async fn watch_service(self: Arc<Self>, name: String, labels: Labels, updates: Updates) {
        let mut index = 0;
        let mut ticks = tokio::time::interval(interval(self.config.refresh_interval_ms));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let mut parameters = Vec::new();
            if !self.config.tags.is_empty() {
                parameters.push(("tag".to_owned(), self.config.tags.clone()));
            }
            if !self.config.health_filter.is_empty() {
                parameters.push(("filter".to_owned(), vec![self.config.health_filter.clone()]));
            }
            let path = escape_path(&format!("/v1/health/service/{name}"));
            let began = Instant::now();
            let asked = self.ask::<Vec<Entry>>(&path, parameters, index).await;
            let seconds = &updates.metrics().consul_rpc_seconds;
            seconds.with(&["service", "health"]).observe_duration(began.elapsed());
            match asked {
                Ok((_, told)) if told == index && index > 0 => {}
                Ok((entries, told)) => {
                    index = told;
                    let targets = entries.iter().map(|entry| self.target(entry)).collect();
                    let labels = labels.clone();
                    updates.change([TargetGroup { source: name.clone(), targets, labels }]);
                }
                Err(error) => {
                    tracing::error!(service = %name, err = %error, "Error refreshing service");
                    updates.metrics().consul_rpc_failures.inc();
                    tokio::time::sleep(self.retry).await;
                }
            }
        }
    }

    fn target(&self, Entry { node, service, checks }: &Entry) -> Labels {
        let separator = &self.config.tag_separator;
        let port = service.port.to_string();
        let host = if service.address.is_empty() { &node.address } else { &service.address };
        let mut labels = LabelList::new();
        let mut set = |name: &str, value: &str| {
            labels.set(format!("{PREFIX}{name}"), value);
        };
        set("address", &node.address);
        set("node", &node.name);
        set("namespace", &service.namespace);
        set("partition", &service.partition);
        set("tags", &format!("{separator}{}{separator}", service.tags.join(separator)));
        set("service_address", &service.address);
        set("service_port", &port);
        set("service_id", &service.id);
        set("health", status_of(checks));
        labels
            .set(ADDRESS, join_host_port(host, &port))
            .set_all(&format!("{PREFIX}metadata_"), &node.meta)
            .set_all(&format!("{PREFIX}service_metadata_"), &service.meta)
            .set_all(&format!("{PREFIX}tagged_address_"), &node.tagged_addresses);
        labels.build()
    }
}

type LabelsOf = Box<dyn Fn(&str) -> Labels + Send + Sync>;

/// The worst of the checks.
fn status_of(checks: &[Check]) -> &'static str {
    let is_maintained = |check: &Check| {
        check.id == "_node_maintenance" || check.id.starts_with("_service_maintenance:")
    };
    if checks.iter().any(is_maintained) {
        return "maintenance";
    }
    let known = ["passing", "warning", "critical"];
    if checks.iter().any(|check| !known.contains(&check.status.as_str())) {
        return "";
    }
    let has = |status: &str| checks.iter().any(|check| check.status == status);
    if has("critical") {
        "critical"
    } else if has("warning") {
        "warning"
    } else {
        "passing"
    }
}

impl Mechanism for Consul {
    fn run(self: Box<Self>, updates: Updates) -> Running {
        Box::pin(async move {
            self.api.client().count_dials(updates.metrics().dials.named("consul_sd"));
            let datacenter = self.datacenter(&updates).await;
            let labels_of = move |name: &str| {
                let mut labels = LabelList::new();
                labels
                    .set(format!("{PREFIX}service"), name)
                    .set(format!("{PREFIX}dc"), datacenter.as_str());
                labels.build()
            };
            let this = Arc::new(*self);
            let config = &this.config;
            if config.services.is_empty() || !config.tags.is_empty() || !config.filter.is_empty() {
                return Arc::clone(&this).watch_catalog(Box::new(labels_of), updates).await;
            }
            // Ends with this future.
            let mut tasks = JoinSet::new();
            for name in &config.services {
                let (labels, updates) = (labels_of(name), updates.clone());
                tasks.spawn(Arc::clone(&this).watch_service(name.clone(), labels, updates));
            }
            while tasks.join_next().await.is_some() {}
        })
    }
}

#[cfg(test)]
mod tests;
