//! Groups of the roles `endpoints` and `endpointslice`: the endpoints of a service, with what
//! their pods say, and the ports of those pods that no endpoint covers.
//!
//! COMPAT: names and values of labels are Prometheus's.

use super::super::group::{ADDRESS, LabelList, join_host_port, sanitize};
use super::groups::{add_meta, add_namespace, add_node, add_pod, add_service, containers, set};
use super::object::{
    ContainerPort, Endpoint, EndpointAddress, EndpointPort, EndpointSlice, Endpoints, Kind, Object,
    Pod, Reference, Service,
};
use super::store::Lookup;
use crate::model::Labels;

/// The label of a slice that names its service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// The label of an object that has not room for all its endpoints.
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";

/// Targets of one object, and the pods that were met on the way with their covered ports.
struct Collector<'a> {
    targets: Vec<Labels>,
    pods: Vec<(&'a Pod, Vec<i64>)>,
}

fn find_service<'a>(namespace: &str, name: &str, lookup: &mut Lookup<'a>) -> Option<&'a Service> {
    match lookup.find(Kind::Service, namespace, name) {
        Some(Object::Service(service)) => Some(service),
        _ => None,
    }
}

pub(super) fn endpoints_targets(
    endpoints: &Endpoints,
    labels: &mut LabelList,
    lookup: &mut Lookup<'_>,
) -> Vec<Labels> {
    let meta = &endpoints.metadata;
    set(labels, "namespace", &meta.namespace);
    if let Some(service) = find_service(&meta.namespace, &meta.name, lookup) {
        add_service(labels, service);
    }
    add_meta(labels, meta, "endpoints");
    add_namespace(labels, &meta.namespace, lookup);
    if let Some(state) = meta.labels.get(OVER_CAPACITY) {
        tracing::warn!(
            endpoints = %meta.name, %state,
            "More than 1000 endpoints in one object: use the role endpointslice"
        );
    }
    let mut collector = Collector { targets: Vec::new(), pods: Vec::new() };
    for subset in &endpoints.subsets {
        for port in &subset.ports {
            let ready = subset.addresses.iter().map(|address| (address, "true"));
            let others = subset.not_ready_addresses.iter().map(|address| (address, "false"));
            for (address, ready) in ready.chain(others) {
                let target = address_labels(address, port, ready, lookup);
                collector.add(target, address.target_ref.as_ref(), port, lookup);
            }
        }
    }
    collector.finish(lookup)
}

fn address_labels(
    address: &EndpointAddress,
    port: &EndpointPort,
    ready: &str,
    lookup: &mut Lookup<'_>,
) -> LabelList {
    let mut target = LabelList::new();
    target.set(ADDRESS, join_host_port(&address.ip, port.port.unwrap_or(0)));
    set(&mut target, "endpoint_port_name", port.name.as_deref().unwrap_or(""));
    set(&mut target, "endpoint_port_protocol", port.protocol.as_deref().unwrap_or(""));
    set(&mut target, "endpoint_ready", ready);
    if let Some(reference) = &address.target_ref {
        set(&mut target, "endpoint_address_target_kind", &reference.kind);
        set(&mut target, "endpoint_address_target_name", &reference.name);
    }
    set(&mut target, "endpoint_node_name", address.node_name.as_deref().unwrap_or(""));
    set(&mut target, "endpoint_hostname", &address.hostname);
    if lookup.config.attach.node {
        let of_kind = address.target_ref.as_ref().filter(|reference| reference.kind == "Node");
        let node = address.node_name.as_ref().or(of_kind.map(|reference| &reference.name));
        if let Some(node) = node {
            add_node(&mut target, node, lookup);
        }
    }
    target
}

pub(super) fn slice_targets(
    slice: &EndpointSlice,
    labels: &mut LabelList,
    lookup: &mut Lookup<'_>,
) -> Vec<Labels> {
    let meta = &slice.metadata;
    set(labels, "namespace", &meta.namespace);
    set(labels, "endpointslice_address_type", &slice.address_type);
    add_meta(labels, meta, "endpointslice");
    let name = meta.labels.get(SERVICE_NAME);
    let service = name.and_then(|name| find_service(&meta.namespace, name, lookup));
    if let Some(service) = service {
        add_service(labels, service);
    }
    add_namespace(labels, &meta.namespace, lookup);
    if service.is_some_and(|service| is_second_family(service, slice)) {
        return Vec::new();
    }
    let mut collector = Collector { targets: Vec::new(), pods: Vec::new() };
    for endpoint in &slice.endpoints {
        for port in &slice.ports {
            for address in &endpoint.addresses {
                let target = endpoint_labels(address, endpoint, port, lookup);
                collector.add(target, endpoint.target_ref.as_ref(), port, lookup);
            }
        }
    }
    collector.finish(lookup)
}

/// Whether the slice repeats the endpoints of a service with addresses of both versions.
fn is_second_family(service: &Service, slice: &EndpointSlice) -> bool {
    let spec = &service.spec;
    let has_both = matches!(spec.ip_family_policy.as_str(), "PreferDualStack" | "RequireDualStack");
    has_both && spec.ip_families.first().is_some_and(|family| *family != slice.address_type)
}

fn endpoint_labels(
    address: &str,
    endpoint: &Endpoint,
    port: &EndpointPort,
    lookup: &mut Lookup<'_>,
) -> LabelList {
    let mut target = LabelList::new();
    let mut set = |name: &str, value: String| set(&mut target, name, value);
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let flag = |flag: Option<bool>| flag.map_or_else(String::new, |flag| flag.to_string());
    let number = port.port.map_or_else(String::new, |port| port.to_string());
    set("endpointslice_port_name", text(&port.name));
    set("endpointslice_port_protocol", text(&port.protocol));
    set("endpointslice_port", number);
    set("endpointslice_port_app_protocol", text(&port.app_protocol));
    let conditions = &endpoint.conditions;
    set("endpointslice_endpoint_conditions_ready", flag(conditions.ready));
    set("endpointslice_endpoint_conditions_serving", flag(conditions.serving));
    set("endpointslice_endpoint_conditions_terminating", flag(conditions.terminating));
    set("endpointslice_endpoint_hostname", text(&endpoint.hostname));
    set("endpointslice_endpoint_node_name", text(&endpoint.node_name));
    set("endpointslice_endpoint_zone", text(&endpoint.zone));
    let reference = endpoint.target_ref.as_ref();
    if let Some(reference) = reference {
        set("endpointslice_address_target_kind", reference.kind.clone());
        set("endpointslice_address_target_name", reference.name.clone());
    }
    for (key, value) in &endpoint.deprecated_topology {
        let key = sanitize(key);
        set(&format!("endpointslice_endpoint_topology_{key}"), value.clone());
        set(&format!("endpointslice_endpoint_topology_present_{key}"), "true".to_owned());
    }
    target.set(
        ADDRESS,
        port.port.map_or_else(|| address.to_owned(), |port| join_host_port(address, port)),
    );
    if lookup.config.attach.node {
        let of_kind = reference.filter(|reference| reference.kind == "Node");
        let node = of_kind.map(|reference| &reference.name).or(endpoint.node_name.as_ref());
        if let Some(node) = node {
            add_node(&mut target, node, lookup);
        }
    }
    target
}

impl<'a> Collector<'a> {
    /// Adds the target, with what its pod says where it is one.
    fn add(
        &mut self,
        mut target: LabelList,
        reference: Option<&Reference>,
        port: &EndpointPort,
        lookup: &mut Lookup<'a>,
    ) {
        let reference = reference.filter(|reference| reference.kind == "Pod");
        let pod = reference.and_then(|reference| {
            match lookup.find(Kind::Pod, &reference.namespace, &reference.name) {
                Some(Object::Pod(pod)) => Some(&**pod),
                _ => None,
            }
        });
        let Some(pod) = pod else {
            self.targets.push(target.build());
            return;
        };
        add_pod(&mut target, pod, lookup);
        let ports = containers(pod).flat_map(|(container, is_init)| {
            container.ports.iter().map(move |port| (container, is_init, port))
        });
        for (container, is_init, of_container) in ports {
            if port.port == Some(of_container.number) {
                // COMPAT: with endpoints the protocol is the endpoint's.
                let protocol = match lookup.config.role {
                    crate::config::KubernetesRole::Endpoints => port.protocol.clone(),
                    _ => Some(of_container.protocol.clone()),
                };
                add_container(&mut target, container, of_container, protocol, is_init);
            }
        }
        match self.pods.iter_mut().find(|(known, _)| std::ptr::eq(*known, pod)) {
            Some((_, ports)) => ports.extend(port.port),
            None => self.pods.push((pod, port.port.into_iter().collect())),
        }
        self.targets.push(target.build());
    }

    /// Adds a target for each port of a pod that no endpoint covers.
    fn finish(mut self, lookup: &mut Lookup<'_>) -> Vec<Labels> {
        for (pod, covered) in &self.pods {
            let ip = &pod.status.pod_ip;
            if ip.is_empty() {
                continue;
            }
            for (container, is_init) in containers(pod) {
                for port in &container.ports {
                    if covered.contains(&port.number) {
                        continue;
                    }
                    let mut target = LabelList::new();
                    target.set(ADDRESS, join_host_port(ip, port.number));
                    let protocol = Some(port.protocol.clone());
                    add_container(&mut target, container, port, protocol, is_init);
                    add_pod(&mut target, pod, lookup);
                    self.targets.push(target.build());
                }
            }
        }
        self.targets
    }
}

fn add_container(
    target: &mut LabelList,
    container: &super::object::Container,
    port: &ContainerPort,
    protocol: Option<String>,
    is_init: bool,
) {
    set(target, "pod_container_name", &container.name);
    set(target, "pod_container_image", &container.image);
    set(target, "pod_container_port_name", &port.name);
    set(target, "pod_container_port_number", port.number.to_string());
    set(target, "pod_container_port_protocol", protocol.unwrap_or_default());
    set(target, "pod_container_init", is_init.to_string());
}
