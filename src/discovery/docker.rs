//! Targets from the containers of a Docker daemon (`docker_sd_configs`).

use std::collections::BTreeMap;

use serde::Deserialize;

use super::TargetGroup;
use super::api::{Api, or_default};
use super::group::{ADDRESS, LabelList, join_host_port, sanitize};
use super::provider::{Refresh, Refreshing, Updates, interval};
use crate::config::{DockerDiscovery, Filter, HttpClientConfig};
use crate::http_client::encode_query;
use crate::model::Labels;

const PREFIX: &str = "__meta_docker_";

/// How far a container's network is followed from container to container.
const NETWORK_HOPS_MAX: usize = 32;

#[derive(Debug)]
pub(super) struct Docker {
    api: Api,
    query: String,
    port: i64,
    host_networking_host: String,
    match_first_network: bool,
}

pub(super) fn new(config: &DockerDiscovery) -> Result<Refreshing<Docker>, String> {
    let host = &config.host;
    let is_http = host.starts_with("http://") || host.starts_with("https://");
    let base = match host.split_once("://") {
        Some(("tcp", rest)) => format!("http://{rest}"),
        Some(("unix" | "http" | "https", _)) => host.clone(),
        _ => return Err(format!("unable to parse docker host {host:?}")),
    };
    // COMPAT: the options of the HTTP client are for daemons that are named by `http`.
    let plain = HttpClientConfig::default();
    let client = if is_http { &config.http_client } else { &plain };
    let api = Api::new(client, &base, &[], interval(config.refresh_interval_ms))?;
    let refresh = Docker {
        api,
        query: filter_query(&config.filters),
        port: config.port,
        host_networking_host: config.host_networking_host.clone(),
        match_first_network: config.match_first_network,
    };
    Ok(Refreshing { mechanism: "docker", interval_ms: config.refresh_interval_ms, refresh })
}

fn filter_query(filters: &[Filter]) -> String {
    if filters.is_empty() {
        return String::new();
    }
    let mut all: BTreeMap<&str, BTreeMap<&str, bool>> = BTreeMap::new();
    for filter in filters {
        let values = all.entry(&filter.name).or_default();
        values.extend(filter.values.iter().map(|value| (value.as_str(), true)));
    }
    let json = serde_json::json!(all).to_string();
    format!("?{}", encode_query(&[("filters".to_owned(), vec![json])]))
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Container {
    id: String,
    #[serde(deserialize_with = "or_default")]
    names: Vec<String>,
    image: String,
    #[serde(rename = "ImageID")]
    image_id: String,
    #[serde(deserialize_with = "or_default")]
    ports: Vec<Port>,
    #[serde(deserialize_with = "or_default")]
    labels: BTreeMap<String, String>,
    #[serde(deserialize_with = "or_default")]
    host_config: HostConfig,
    #[serde(deserialize_with = "or_default")]
    network_settings: NetworkSettings,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct HostConfig {
    network_mode: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct NetworkSettings {
    #[serde(deserialize_with = "or_default")]
    networks: BTreeMap<String, Option<Endpoint>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Endpoint {
    #[serde(rename = "NetworkID")]
    network_id: String,
    #[serde(rename = "IPAddress")]
    ip_address: String,
    #[serde(rename = "GlobalIPv6Address")]
    global_ipv6_address: String,
}

impl Endpoint {
    fn ip(&self) -> &str {
        if self.ip_address.is_empty() { &self.global_ipv6_address } else { &self.ip_address }
    }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Port {
    #[serde(rename = "IP")]
    ip: String,
    #[serde(rename = "PrivatePort")]
    private: u16,
    #[serde(rename = "PublicPort")]
    public: u16,
    r#type: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Network {
    id: String,
    name: String,
    scope: String,
    internal: bool,
    ingress: bool,
    #[serde(deserialize_with = "or_default")]
    labels: BTreeMap<String, String>,
}

impl Network {
    fn labels(&self, list: &mut LabelList) {
        list.set(format!("{PREFIX}network_id"), &self.id)
            .set(format!("{PREFIX}network_name"), &self.name)
            .set(format!("{PREFIX}network_scope"), &self.scope)
            .set(format!("{PREFIX}network_internal"), self.internal.to_string())
            .set(format!("{PREFIX}network_ingress"), self.ingress.to_string())
            .set_all(&format!("{PREFIX}network_label_"), &self.labels);
    }
}

impl Refresh for Docker {
    async fn refresh(&mut self, updates: &Updates) -> Result<Vec<TargetGroup>, String> {
        self.api.client().count_dials(updates.metrics().dials.named("docker_sd"));
        let containers = self.api.get(&format!("/containers/json{}", self.query)).await;
        let (containers, _): (Vec<Container>, _) =
            containers.map_err(|error| format!("error while listing containers: {error}"))?;
        let networks = self.api.get("/networks").await;
        let (networks, _): (Vec<Network>, _) =
            networks.map_err(|error| format!("error while computing network labels: {error}"))?;
        let targets = self.targets(&containers, &networks);
        Ok(vec![TargetGroup { source: "Docker".to_owned(), targets, labels: Labels::empty() }])
    }
}

impl Docker {
    fn targets(&self, containers: &[Container], networks: &[Network]) -> Vec<Labels> {
        let by_id: BTreeMap<&str, &Container> =
            containers.iter().map(|container| (container.id.as_str(), container)).collect();
        let networks: BTreeMap<&str, &Network> =
            networks.iter().map(|network| (network.id.as_str(), network)).collect();
        let mut targets = Vec::new();
        for container in containers {
            let Some(name) = container.names.first() else { continue };
            let mut common = LabelList::new();
            let mode = &container.host_config.network_mode;
            common
                .set(format!("{PREFIX}container_id"), &container.id)
                .set(format!("{PREFIX}container_name"), name)
                .set(format!("{PREFIX}container_network_mode"), mode)
                .set(format!("{PREFIX}container_image"), &container.image)
                .set(format!("{PREFIX}container_image_id"), &container.image_id);
            for (name, value) in &container.labels {
                common.set(format!("{PREFIX}container_label_{}", sanitize(name)), value);
            }
            let mut endpoints: Vec<&Endpoint> =
                endpoints_of(container, &by_id).values().flatten().collect();
            if self.match_first_network {
                endpoints.truncate(1);
            }
            for endpoint in endpoints {
                let mut labels = common.clone();
                if let Some(network) = networks.get(endpoint.network_id.as_str()) {
                    network.labels(&mut labels);
                }
                labels.set(format!("{PREFIX}network_ip"), endpoint.ip());
                self.targets_of(container, endpoint, &labels, &mut targets);
            }
        }
        targets
    }

    /// One target for each port that the container exposes, else one.
    fn targets_of(
        &self,
        container: &Container,
        endpoint: &Endpoint,
        labels: &LabelList,
        out: &mut Vec<Labels>,
    ) {
        let before = out.len();
        for port in container.ports.iter().filter(|port| port.r#type == "tcp") {
            let mut labels = labels.clone();
            labels
                .set(ADDRESS, join_host_port(endpoint.ip(), port.private))
                .set(format!("{PREFIX}port_private"), port.private.to_string());
            if port.public > 0 {
                labels
                    .set(format!("{PREFIX}port_public"), port.public.to_string())
                    .set(format!("{PREFIX}port_public_ip"), &port.ip);
            }
            out.push(labels.build());
        }
        if out.len() == before {
            let mut labels = labels.clone();
            // Containers in the host's network have no ports of their own.
            if container.host_config.network_mode == "host" {
                labels.set(ADDRESS, &self.host_networking_host);
            } else {
                labels.set(ADDRESS, join_host_port(endpoint.ip(), self.port));
            }
            out.push(labels.build());
        }
    }
}

/// The networks of a container: its own, or those of the container whose network it shares.
fn endpoints_of<'a>(
    container: &'a Container,
    by_id: &BTreeMap<&str, &'a Container>,
) -> &'a BTreeMap<String, Option<Endpoint>> {
    let mut at = container;
    for _ in 0..NETWORK_HOPS_MAX {
        if !at.network_settings.networks.is_empty() {
            break;
        }
        let shared = at.host_config.network_mode.strip_prefix("container:");
        let Some(next) = shared.and_then(|id| by_id.get(id)) else { break };
        at = next;
    }
    &at.network_settings.networks
}

#[cfg(test)]
mod tests;
