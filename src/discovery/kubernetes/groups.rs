//! From an object to its group: nodes, pods, services and ingresses; labels that others attach.
//!
//! COMPAT: names and values of labels are Prometheus's.

use super::super::TargetGroup;
use super::super::group::{ADDRESS, LabelList, join_host_port, sanitize};
use super::PREFIX;
use super::object::{Ingress, Kind, Meta, Node, Object, Pod, Service};
use super::store::Lookup;
use crate::model::Labels;

/// The group of an object of the role; `None` where it makes none and its last one stays.
pub(super) fn build(
    object: &Object,
    source: String,
    lookup: &mut Lookup<'_>,
) -> Option<TargetGroup> {
    let mut labels = LabelList::new();
    let targets = match object {
        Object::Node(node) => node_targets(node, &mut labels)?,
        Object::Pod(pod) => pod_targets(pod, &mut labels, lookup),
        Object::Service(service) => service_targets(service, &mut labels, lookup),
        Object::Ingress(ingress) => ingress_targets(ingress, &mut labels, lookup),
        Object::Endpoints(endpoints) => {
            super::endpoints::endpoints_targets(endpoints, &mut labels, lookup)
        }
        Object::EndpointSlice(slice) => super::endpoints::slice_targets(slice, &mut labels, lookup),
        Object::Bare(..) => unreachable!("BUG: no role is about bare objects"),
    };
    Some(TargetGroup { source, targets, labels: labels.build() })
}

/// `__meta_kubernetes_` and the name.
pub(super) fn set(labels: &mut LabelList, name: &str, value: impl Into<String>) {
    labels.set(format!("{PREFIX}{name}"), value);
}

/// Labels and annotations of an object, each with a label that says that it is there.
fn add_texts(labels: &mut LabelList, meta: &Meta, what: &str) {
    for (texts, name) in [(&meta.labels, "label"), (&meta.annotations, "annotation")] {
        for (key, value) in texts {
            let key = sanitize(key);
            set(labels, &format!("{what}_{name}_{key}"), value);
            set(labels, &format!("{what}_{name}present_{key}"), "true");
        }
    }
}

/// Name, labels and annotations of an object.
pub(super) fn add_meta(labels: &mut LabelList, meta: &Meta, what: &str) {
    set(labels, &format!("{what}_name"), &meta.name);
    add_texts(labels, meta, what);
}

/// What the namespace says, where that is asked for.
pub(super) fn add_namespace(labels: &mut LabelList, namespace: &str, lookup: &mut Lookup<'_>) {
    if !lookup.config.attach.namespace {
        return;
    }
    if let Some(object) = lookup.find(Kind::Namespace, "", namespace) {
        add_texts(labels, object.meta(), "namespace");
    }
}

/// What the node says. False where the node is not known.
pub(super) fn add_node(labels: &mut LabelList, node: &str, lookup: &mut Lookup<'_>) -> bool {
    let found = lookup.find(Kind::Node, "", node);
    if let Some(object) = found {
        add_meta(labels, object.meta(), "node");
    }
    found.is_some()
}

fn node_targets(node: &Node, labels: &mut LabelList) -> Option<Vec<Labels>> {
    set(labels, "node_provider_id", &node.spec.provider_id);
    for condition in &node.status.conditions {
        let name = sanitize(&condition.r#type.to_lowercase());
        set(labels, &format!("node_condition_{name}"), condition.status.to_lowercase());
    }
    add_meta(labels, &node.metadata, "node");
    let addresses = &node.status.addresses;
    let first = |kind: &str| addresses.iter().find(|address| address.r#type == kind);
    let wanted =
        ["InternalIP", "InternalDNS", "ExternalIP", "ExternalDNS", "LegacyHostIP", "Hostname"];
    let Some(address) = wanted.into_iter().find_map(first) else {
        tracing::warn!(node = %node.metadata.name, "No address of a node found");
        return None;
    };
    let mut target = LabelList::new();
    let port = node.status.daemon_endpoints.kubelet_endpoint.port;
    target
        .set(ADDRESS, join_host_port(&address.address, port))
        .set("instance", &node.metadata.name);
    for address in addresses.iter().rev() {
        // The first of a type is set last.
        set(&mut target, &format!("node_address_{}", sanitize(&address.r#type)), &address.address);
    }
    Some(vec![target.build()])
}

/// What a pod says of itself and of who controls it.
pub(super) fn add_pod(labels: &mut LabelList, pod: &Pod, lookup: &mut Lookup<'_>) {
    let meta = &pod.metadata;
    let ready = pod.status.conditions.iter().find(|condition| condition.r#type == "Ready");
    set(labels, "pod_ip", &pod.status.pod_ip);
    set(labels, "pod_ready", ready.map_or("unknown".to_owned(), |c| c.status.to_lowercase()));
    set(labels, "pod_phase", &pod.status.phase);
    set(labels, "pod_node_name", &pod.spec.node_name);
    set(labels, "pod_host_ip", &pod.status.host_ip);
    set(labels, "pod_uid", &meta.uid);
    add_meta(labels, meta, "pod");
    let Some(controller) = meta.controller() else { return };
    set(labels, "pod_controller_kind", &controller.kind);
    set(labels, "pod_controller_name", &controller.name);
    let attach = lookup.config.attach;
    let mut owner = |kind: Kind, wanted: &str| {
        let object = lookup.find(kind, &meta.namespace, &controller.name)?;
        let owner = object.meta().controller().filter(|owner| owner.kind == wanted);
        owner.map(|owner| owner.name.clone())
    };
    match controller.kind.as_str() {
        "ReplicaSet" if attach.deployment => {
            if let Some(name) = owner(Kind::ReplicaSet, "Deployment") {
                set(labels, "pod_deployment_name", name);
            }
        }
        "Job" => {
            if attach.job {
                set(labels, "pod_job_name", &controller.name);
            }
            if attach.cronjob
                && let Some(name) = owner(Kind::Job, "CronJob")
            {
                set(labels, "pod_cronjob_name", name);
            }
        }
        _ => {}
    }
}

fn pod_targets(pod: &Pod, labels: &mut LabelList, lookup: &mut Lookup<'_>) -> Vec<Labels> {
    let ip = &pod.status.pod_ip;
    // A pod that begins or was evicted.
    if ip.is_empty() {
        return Vec::new();
    }
    let mut of_node = LabelList::new();
    // Nodes that the selector leaves out have no targets.
    if lookup.config.attach.node && !add_node(&mut of_node, &pod.spec.node_name, lookup) {
        return Vec::new();
    }
    add_pod(labels, pod, lookup);
    set(labels, "namespace", &pod.metadata.namespace);
    labels.append(of_node);
    add_namespace(labels, &pod.metadata.namespace, lookup);
    let mut targets = Vec::new();
    for (container, is_init) in containers(pod) {
        let statuses = if is_init {
            &pod.status.init_container_statuses
        } else {
            &pod.status.container_statuses
        };
        let status = statuses.iter().find(|status| status.name == container.name);
        let mut target = LabelList::new();
        set(&mut target, "pod_container_name", &container.name);
        set(&mut target, "pod_container_id", status.map_or("", |s| s.container_id.as_str()));
        set(&mut target, "pod_container_image", &container.image);
        set(&mut target, "pod_container_init", is_init.to_string());
        if container.ports.is_empty() {
            // Whoever wants to scrape it says at which port.
            target.set(ADDRESS, ip);
            targets.push(target.build());
        }
        for port in &container.ports {
            let mut target = target.clone();
            target.set(ADDRESS, join_host_port(ip, port.number));
            set(&mut target, "pod_container_port_number", port.number.to_string());
            set(&mut target, "pod_container_port_name", &port.name);
            set(&mut target, "pod_container_port_protocol", &port.protocol);
            targets.push(target.build());
        }
    }
    targets
}

/// The containers of a pod, and whether they run before the others.
pub(super) fn containers(pod: &Pod) -> impl Iterator<Item = (&super::object::Container, bool)> {
    let others = pod.spec.containers.iter().map(|container| (container, false));
    others.chain(pod.spec.init_containers.iter().map(|container| (container, true)))
}

/// What a service says of itself.
pub(super) fn add_service(labels: &mut LabelList, service: &Service) {
    set(labels, "namespace", &service.metadata.namespace);
    add_meta(labels, &service.metadata, "service");
}

fn service_targets(
    service: &Service,
    labels: &mut LabelList,
    lookup: &mut Lookup<'_>,
) -> Vec<Labels> {
    add_service(labels, service);
    let Service { metadata, spec, status } = service;
    add_namespace(labels, &metadata.namespace, lookup);
    let target = |port: &super::object::ServicePort| {
        let mut target = LabelList::new();
        let host = format!("{}.{}.svc", metadata.name, metadata.namespace);
        target.set(ADDRESS, join_host_port(&host, port.port));
        set(&mut target, "service_port_name", &port.name);
        set(&mut target, "service_port_number", port.port.to_string());
        set(&mut target, "service_port_protocol", &port.protocol);
        set(&mut target, "service_type", &spec.r#type);
        if spec.r#type == "ExternalName" {
            set(&mut target, "service_external_name", &spec.external_name);
        } else {
            set(&mut target, "service_cluster_ip", &spec.cluster_ip);
        }
        if spec.r#type == "LoadBalancer" {
            let ips = status.load_balancer.ingress.iter().map(|ingress| ingress.ip.as_str());
            let ips: Vec<&str> = ips.filter(|ip| !ip.is_empty()).collect();
            let shown = if ips.is_empty() { spec.load_balancer_ip.clone() } else { ips.join(",") };
            set(&mut target, "service_loadbalancer_ip", shown);
        }
        target.build()
    };
    spec.ports.iter().map(target).collect()
}

fn ingress_targets(
    ingress: &Ingress,
    labels: &mut LabelList,
    lookup: &mut Lookup<'_>,
) -> Vec<Labels> {
    let Ingress { metadata, spec } = ingress;
    set(labels, "namespace", &metadata.namespace);
    set(labels, "ingress_class_name", spec.ingress_class_name.as_deref().unwrap_or(""));
    add_meta(labels, metadata, "ingress");
    add_namespace(labels, &metadata.namespace, lookup);
    let mut targets = Vec::new();
    for rule in &spec.rules {
        let mut hosts = spec.tls.iter().flat_map(|tls| &tls.hosts);
        let is_secure = hosts.any(|pattern| is_host_match(pattern, &rule.host));
        let paths: Vec<&str> = match &rule.http {
            Some(http) => http.paths.iter().map(|path| path.path.as_str()).collect(),
            None => vec!["/"],
        };
        for path in paths {
            let mut target = LabelList::new();
            target.set(ADDRESS, &rule.host);
            set(&mut target, "ingress_scheme", if is_secure { "https" } else { "http" });
            set(&mut target, "ingress_host", &rule.host);
            set(&mut target, "ingress_path", if path.is_empty() { "/" } else { path });
            targets.push(target.build());
        }
    }
    targets
}

/// Whether a host of a certificate, which may begin with `*.`, covers the host.
fn is_host_match(pattern: &str, host: &str) -> bool {
    if pattern == host {
        return true;
    }
    match (pattern.strip_prefix("*."), host.split_once('.')) {
        (Some(parent), Some((_, rest))) => parent == rest,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_one_label() {
        for (pattern, host, expected) in [
            ("a.b", "a.b", true),
            ("*.b", "a.b", true),
            ("*.b", "a.c", false),
            ("*.b", "x.a.b", false),
            ("a.*", "a.b", false),
            ("*", "a", false),
        ] {
            assert_eq!(is_host_match(pattern, host), expected, "{pattern} {host}");
        }
    }
}
