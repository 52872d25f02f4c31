//! Targets from Nomad's own services (`nomad_sd_configs`).

use serde::Deserialize;

use super::TargetGroup;
use super::api::{Api, or_default};
use super::group::{ADDRESS, LabelList, join_host_port};
use super::provider::{Refresh, Refreshing, Updates, interval};
use crate::config::NomadDiscovery;
use crate::http_client::{encode_query, escape_path};
use crate::model::Labels;

#[derive(Debug)]
pub(super) struct Nomad {
    api: Api,
    query: String,
    tag_separator: String,
}

pub(super) fn new(config: &NomadDiscovery) -> Result<Refreshing<Nomad>, String> {
    let every = interval(config.refresh_interval_ms);
    let token = std::env::var("NOMAD_TOKEN").unwrap_or_default();
    let headers = [("x-nomad-token", token.as_str())];
    let headers = if token.is_empty() { &[] } else { &headers[..] };
    let api = Api::new(&config.http_client, &config.server, headers, every)?;
    let mut parameters = Vec::new();
    for (name, value) in [("namespace", &config.namespace), ("region", &config.region)] {
        if !value.is_empty() {
            parameters.push((name.to_owned(), vec![value.clone()]));
        }
    }
    if config.allow_stale {
        parameters.push(("stale".to_owned(), vec![String::new()]));
    }
    let refresh = Nomad {
        api,
        query: encode_query(&parameters),
        tag_separator: config.tag_separator.clone(),
    };
    Ok(Refreshing { mechanism: "nomad", interval_ms: config.refresh_interval_ms, refresh })
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Stub {
    #[serde(default, deserialize_with = "or_default")]
    services: Vec<Service>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Service {
    service_name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[derive(Default)]
struct Instance {
    address: String,
    datacenter: String,
    #[serde(rename = "ID")]
    id: String,
    #[serde(rename = "NodeID")]
    node_id: String,
    namespace: String,
    port: i64,
    service_name: String,
    #[serde(deserialize_with = "or_default")]
    tags: Vec<String>,
}

impl Refresh for Nomad {
    async fn refresh(&mut self, updates: &Updates) -> Result<Vec<TargetGroup>, String> {
        self.api.client().count_dials(updates.metrics().dials.named("nomad_sd"));
        let group = self.ask().await;
        updates.metrics().nomad_failures.add(u64::from(group.is_err()));
        Ok(vec![group?])
    }
}

impl Nomad {
    async fn ask(&self) -> Result<TargetGroup, String> {
        let (stubs, _): (Vec<Stub>, _) =
            self.api.get(&format!("/v1/services?{}", self.query)).await?;
        let mut targets = Vec::new();
        for service in stubs.iter().flat_map(|stub| &stub.services) {
            let path = escape_path(&format!("/v1/service/{}", service.service_name));
            let asked = self.api.get(&format!("{path}?{}", self.query)).await;
            let (instances, _): (Vec<Instance>, _) =
                asked.map_err(|error| format!("failed to fetch services: {error}"))?;
            targets.extend(instances.iter().map(|instance| self.target(instance)));
        }
        Ok(TargetGroup { source: "Nomad".to_owned(), targets, labels: Labels::empty() })
    }

    fn target(&self, instance: &Instance) -> Labels {
        let mut labels = LabelList::new();
        let port = instance.port.to_string();
        labels
            .set(ADDRESS, join_host_port(&instance.address, &port))
            .set("__meta_nomad_address", &instance.address)
            .set("__meta_nomad_dc", &instance.datacenter)
            .set("__meta_nomad_namespace", &instance.namespace)
            .set("__meta_nomad_node_id", &instance.node_id)
            .set("__meta_nomad_service", &instance.service_name)
            .set("__meta_nomad_service_address", &instance.address)
            .set("__meta_nomad_service_id", &instance.id)
            .set("__meta_nomad_service_port", port);
        if !instance.tags.is_empty() {
            let separator = &self.tag_separator;
            let tags = instance.tags.join(separator);
            labels.set("__meta_nomad_tags", format!("{separator}{tags}{separator}"));
        }
        labels.build()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Api as Server, Collected};
    use super::*;
    use crate::config::HttpClientConfig;

    #[tokio::test]
    async fn each_instance_is_a_target() {
        let server = Server::serve(|_, request| match request.split(' ').nth(1).unwrap() {
            "/v1/services?namespace=default&region=global&stale=" => Server::json(
                r#"[{"Namespace":"default","Services":[{"ServiceName":"hello world","Tags":["a"]}]},
                    {"Namespace":"default","Services":null}]"#,
            ),
            "/v1/service/hello%20world?namespace=default&region=global&stale=" => Server::json(
                r#"[{"ID":"_nomad-task-1","ServiceName":"hello world","Namespace":"default",
                     "NodeID":"d92","Datacenter":"dc1","JobID":"x","AllocID":"y","Tags":["a","b"],
                     "Address":"127.0.0.1","Port":30456,"CreateIndex":226}]"#,
            ),
            other => unreachable!("BUG: {other}"),
        })
        .await;
        let config = NomadDiscovery {
            allow_stale: true,
            namespace: "default".to_owned(),
            region: "global".to_owned(),
            server: server.url(""),
            tag_separator: ",".to_owned(),
            refresh_interval_ms: 1000,
            http_client: HttpClientConfig::default(),
        };
        let mut collected = Collected::run(Box::new(new(&config).unwrap()));
        let groups = collected.next().await;
        let expected = Labels::from_pairs([
            ("__address__", "127.0.0.1:30456"),
            ("__meta_nomad_address", "127.0.0.1"),
            ("__meta_nomad_dc", "dc1"),
            ("__meta_nomad_namespace", "default"),
            ("__meta_nomad_node_id", "d92"),
            ("__meta_nomad_service", "hello world"),
            ("__meta_nomad_service_address", "127.0.0.1"),
            ("__meta_nomad_service_id", "_nomad-task-1"),
            ("__meta_nomad_service_port", "30456"),
            ("__meta_nomad_tags", ",a,b,"),
        ]);
        assert_eq!(groups[0].targets, [expected]);
        assert_eq!(groups[0].source, "Nomad");
    }
}
