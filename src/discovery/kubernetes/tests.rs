//! Against a server that plays the API: lists in pages, watches, bookmarks, 410.

use std::fmt::Write as _;
use std::sync::Mutex;

use super::super::tests::{Api as Server, Collected};
use super::*;
use crate::config::{HttpClientConfig, KubernetesAttachments, KubernetesSelector};
use crate::model::Labels;

fn config(server: &Server, role: KubernetesRole) -> KubernetesDiscovery {
    KubernetesDiscovery {
        api_server: server.url(""),
        role,
        kubeconfig_file: String::new(),
        http_client: HttpClientConfig::default(),
        own_namespace: false,
        namespaces: Vec::new(),
        selectors: Vec::new(),
        attach: KubernetesAttachments::default(),
    }
}

fn list(version: u32, items: &str) -> Vec<u8> {
    Server::json(&format!(
        r#"{{"kind": "List", "metadata": {{"resourceVersion": "{version}"}}, "items": [{items}]}}"#
    ))
}

/// A watch that tells these events and stays open.
fn watch(events: &[&str]) -> Vec<u8> {
    let mut answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned();
    for event in events {
        let line = event.replace('\n', " ");
        write!(answer, "{:x}\r\n{line}\n\r\n", line.len() + 1).unwrap();
    }
    answer.into_bytes()
}

fn path(request: &str) -> &str {
    request.split(' ').nth(1).unwrap()
}

const NODE: &str = r#"{"metadata": {"name": "n1", "resourceVersion": "3",
  "labels": {"a/b": "c"}, "annotations": {"x": "y"}},
  "spec": {"providerID": "aws:///1"},
  "status": {"addresses": [{"type": "Hostname", "address": "h"},
      {"type": "InternalIP", "address": "10.0.0.1"}, {"type": "InternalIP", "address": "::1"}],
    "conditions": [{"type": "Ready", "status": "True"}],
    "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}}}}"#;

const POD: &str = r#"{"metadata": {"name": "p1", "namespace": "d", "uid": "u1",
    "resourceVersion": "4", "labels": {"app": "web"}, "annotations": null,
    "ownerReferences": [{"kind": "ReplicaSet", "name": "rs1", "controller": true}]},
  "spec": {"nodeName": "n1", "containers": [
      {"name": "c1", "image": "i1", "ports": [
        {"name": "http", "containerPort": 9000, "protocol": "TCP"},
        {"containerPort": 9001, "protocol": "TCP"}]}],
    "initContainers": [{"name": "c0", "image": "i0"}]},
  "status": {"phase": "Running", "podIP": "1.2.3.4", "hostIP": "10.0.0.1",
    "conditions": [{"type": "Ready", "status": "True"}],
    "containerStatuses": [{"name": "c1", "containerID": "docker://1"}]}}"#;

const REPLICA_SET: &str = r#"{"metadata": {"name": "rs1", "namespace": "d",
  "ownerReferences": [{"kind": "Deployment", "name": "dep", "controller": true}]}}"#;

const NAMESPACE: &str = r#"{"metadata": {"name": "d", "labels": {"team": "t"}}}"#;

#[tokio::test]
async fn nodes_are_listed_in_pages_watched_and_listed_again_when_the_place_is_lost() {
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let kept = Arc::clone(&asked);
    let server = Server::serve(move |_, request| {
        let path = path(request).to_owned();
        let mut asked = kept.lock().unwrap();
        asked.push(path.clone());
        let lists = asked.iter().filter(|path| !path.contains("watch=true")).count();
        if !path.contains("watch=true") && lists > 2 {
            return list(9, &NODE.replace("n1", "n9"));
        }
        if path.contains("continue=more") {
            return list(5, &NODE.replace("n1", "n2"));
        }
        if !path.contains("watch=true") {
            return Server::json(&format!(
                r#"{{"metadata": {{"resourceVersion": "5", "continue": "more"}},
                     "items": [{NODE}]}}"#
            ));
        }
        if path.contains("resourceVersion=5") {
            let gone = format!(r#"{{"type": "DELETED", "object": {NODE}}}"#);
            let mark = r#"{"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "7"}}}"#;
            let lost = r#"{"type": "ERROR", "object": {"code": 410, "reason": "Expired"}}"#;
            return watch(&[&gone, mark, lost]);
        }
        watch(&[])
    })
    .await;
    let mut config = config(&server, KubernetesRole::Node);
    config.selectors = vec![KubernetesSelector {
        role: KubernetesRole::Node,
        label: "a=b".to_owned(),
        field: String::new(),
    }];
    let mut collected = Collected::run(Box::new(new(&config).unwrap()));
    let groups = collected.next().await;
    assert_eq!(groups[0].source, "node/n1");
    let target = Labels::from_pairs([
        ("__address__", "10.0.0.1:10250"),
        ("__meta_kubernetes_node_address_Hostname", "h"),
        ("__meta_kubernetes_node_address_InternalIP", "10.0.0.1"),
        ("instance", "n1"),
    ]);
    assert_eq!(groups[0].targets, [target]);
    let labels = Labels::from_pairs([
        ("__meta_kubernetes_node_annotation_x", "y"),
        ("__meta_kubernetes_node_annotationpresent_x", "true"),
        ("__meta_kubernetes_node_condition_ready", "true"),
        ("__meta_kubernetes_node_label_a_b", "c"),
        ("__meta_kubernetes_node_labelpresent_a_b", "true"),
        ("__meta_kubernetes_node_name", "n1"),
        ("__meta_kubernetes_node_provider_id", "aws:///1"),
    ]);
    assert_eq!(groups[0].labels, labels);
    let groups = collected.until(|groups| groups.len() == 1 && groups[0].source == "node/n9").await;
    assert_eq!(groups[0].targets[0].get("instance"), Some("n9"));
    let asked = asked.lock().unwrap();
    assert_eq!(asked[0], "/api/v1/nodes?labelSelector=a%3Db&limit=500");
    let expected = "/api/v1/nodes?allowWatchBookmarks=true&labelSelector=a%3Db&resourceVersion=5&\
                    timeoutSeconds=300&watch=true";
    assert_eq!(asked[2], expected);
}

#[tokio::test]
async fn each_port_of_a_pod_is_a_target_and_others_say_more_of_it() {
    let server = Server::serve(|_, request| {
        let path = path(request);
        let is_watch = path.contains("watch=true");
        if path.starts_with("/api/v1/nodes") && is_watch {
            let changed = NODE.replace("\"c\"", "\"changed\"").replace("\"3\"", "\"8\"");
            return watch(&[&format!(r#"{{"type": "MODIFIED", "object": {changed}}}"#)]);
        }
        if is_watch {
            return watch(&[]);
        }
        match path.split('?').next().unwrap() {
            "/api/v1/namespaces/d/pods" => list(4, POD),
            "/api/v1/nodes" => list(4, NODE),
            "/api/v1/namespaces" => list(4, NAMESPACE),
            "/apis/apps/v1/namespaces/d/replicasets" => list(4, REPLICA_SET),
            other => unreachable!("BUG: {other}"),
        }
    })
    .await;
    let mut config = config(&server, KubernetesRole::Pod);
    config.namespaces = vec!["d".to_owned()];
    config.attach =
        KubernetesAttachments { node: true, namespace: true, deployment: true, ..config.attach };
    let mut collected = Collected::run(Box::new(new(&config).unwrap()));
    let groups = collected.next().await;
    let group = &groups[0];
    assert_eq!(group.source, "pod/d/p1");
    let addresses: Vec<_> = group.targets.iter().map(|t| t.get("__address__").unwrap()).collect();
    assert_eq!(addresses, ["1.2.3.4:9000", "1.2.3.4:9001", "1.2.3.4"]);
    let target = Labels::from_pairs([
        ("__address__", "1.2.3.4:9000"),
        ("__meta_kubernetes_pod_container_id", "docker://1"),
        ("__meta_kubernetes_pod_container_image", "i1"),
        ("__meta_kubernetes_pod_container_init", "false"),
        ("__meta_kubernetes_pod_container_name", "c1"),
        ("__meta_kubernetes_pod_container_port_name", "http"),
        ("__meta_kubernetes_pod_container_port_number", "9000"),
        ("__meta_kubernetes_pod_container_port_protocol", "TCP"),
    ]);
    assert_eq!(group.targets[0], target);
    for (name, value) in [
        ("namespace", "d"),
        ("namespace_label_team", "t"),
        ("node_name", "n1"),
        ("pod_controller_kind", "ReplicaSet"),
        ("pod_controller_name", "rs1"),
        ("pod_deployment_name", "dep"),
        ("pod_host_ip", "10.0.0.1"),
        ("pod_ip", "1.2.3.4"),
        ("pod_label_app", "web"),
        ("pod_labelpresent_app", "true"),
        ("pod_name", "p1"),
        ("pod_node_name", "n1"),
        ("pod_phase", "Running"),
        ("pod_ready", "true"),
        ("pod_uid", "u1"),
    ] {
        assert_eq!(group.labels.get(&format!("{PREFIX}{name}")), Some(value), "{name}");
    }
    // What the node says is part of the pod's group.
    let label = format!("{PREFIX}node_label_a_b");
    collected.until(|groups| groups[0].labels.get(&label) == Some("changed")).await;
}

const SERVICE: &str = r#"{"metadata": {"name": "s", "namespace": "d", "labels": {"l": "v"}},
  "spec": {"type": "LoadBalancer", "clusterIP": "10.1.0.1", "ipFamilyPolicy": "PreferDualStack",
    "ipFamilies": ["IPv4", "IPv6"], "ports": [{"name": "web", "port": 80, "protocol": "TCP"}]},
  "status": {"loadBalancer": {"ingress": [{"ip": "9.9.9.9"}, {"hostname": "x"}]}}}"#;

const ENDPOINTS: &str = r#"{"metadata": {"name": "s", "namespace": "d", "labels": {"e": "f"}},
  "subsets": [{"addresses": [{"ip": "1.2.3.4", "nodeName": "n1",
        "targetRef": {"kind": "Pod", "namespace": "d", "name": "p1"}}],
    "notReadyAddresses": [{"ip": "1.2.3.5", "hostname": "hh"}],
    "ports": [{"name": "http", "port": 9000, "protocol": "TCP"}]}]}"#;

fn slice(name: &str, family: &str) -> String {
    format!(
        r#"{{"metadata": {{"name": "{name}", "namespace": "d",
             "labels": {{"kubernetes.io/service-name": "s"}}}}, "addressType": "{family}",
          "endpoints": [{{"addresses": ["1.2.3.4"], "conditions": {{"ready": true,
              "serving": true, "terminating": false}}, "nodeName": "n1", "zone": "z",
              "targetRef": {{"kind": "Pod", "namespace": "d", "name": "p1"}}}},
            {{"addresses": ["1.2.3.9"], "conditions": {{}}, "deprecatedTopology": {{"t": "u"}}}}],
          "ports": [{{"name": "http", "port": 9000, "protocol": "TCP",
              "appProtocol": "h2c"}}]}}"#
    )
}

fn cluster(request: &str) -> Vec<u8> {
    let path = path(request);
    if path.contains("watch=true") {
        return watch(&[]);
    }
    match path.split('?').next().unwrap() {
        "/api/v1/pods" => list(4, POD),
        "/api/v1/services" => list(4, SERVICE),
        "/api/v1/endpoints" => list(4, ENDPOINTS),
        "/apis/discovery.k8s.io/v1/endpointslices" => {
            list(4, &format!("{}, {}", slice("s-1", "IPv4"), slice("s-2", "IPv6")))
        }
        "/apis/networking.k8s.io/v1/ingresses" => list(
            4,
            r#"{"metadata": {"name": "i", "namespace": "d"}, "spec": {"ingressClassName": "nginx",
              "tls": [{"hosts": ["*.x.y"]}], "rules": [
                {"host": "a.x.y", "http": {"paths": [{"path": "/p"}, {}]}}, {"host": "b"}]}}"#,
        ),
        other => unreachable!("BUG: {other}"),
    }
}

async fn only_group(role: KubernetesRole) -> Arc<TargetGroup> {
    let server = Server::serve(|_, request| cluster(request)).await;
    let mut collected = Collected::run(Box::new(new(&config(&server, role)).unwrap()));
    let mut groups = collected.next().await;
    assert_eq!(groups.len(), 1);
    groups.remove(0)
}

fn check(labels: &Labels, expected: &[(&str, &str)]) {
    for (name, value) in expected {
        let name =
            if *name == "__address__" { (*name).to_owned() } else { format!("{PREFIX}{name}") };
        let expected = (!value.is_empty()).then_some(*value);
        assert_eq!(labels.get(&name), expected, "{name}");
    }
}

#[tokio::test]
async fn endpoints_are_targets_and_so_are_ports_that_they_leave_out() {
    let group = only_group(KubernetesRole::Endpoints).await;
    assert_eq!(group.source, "endpoints/d/s");
    let expected = [
        ("namespace", "d"),
        ("endpoints_name", "s"),
        ("endpoints_label_e", "f"),
        ("service_name", "s"),
        ("service_label_l", "v"),
    ];
    check(&group.labels, &expected);
    assert_eq!(group.targets.len(), 3);
    check(
        &group.targets[0],
        &[
            ("__address__", "1.2.3.4:9000"),
            ("endpoint_port_name", "http"),
            ("endpoint_port_protocol", "TCP"),
            ("endpoint_ready", "true"),
            ("endpoint_node_name", "n1"),
            ("endpoint_address_target_kind", "Pod"),
            ("endpoint_address_target_name", "p1"),
            ("pod_name", "p1"),
            ("pod_container_port_number", "9000"),
            ("pod_container_name", "c1"),
        ],
    );
    check(
        &group.targets[1],
        &[
            ("__address__", "1.2.3.5:9000"),
            ("endpoint_ready", "false"),
            ("endpoint_hostname", "hh"),
            ("pod_name", ""),
        ],
    );
    check(
        &group.targets[2],
        &[
            ("__address__", "1.2.3.4:9001"),
            ("endpoint_ready", ""),
            ("pod_container_port_number", "9001"),
            ("pod_uid", "u1"),
        ],
    );
}

#[tokio::test]
async fn slices_of_the_second_family_repeat_nothing() {
    let group = only_group(KubernetesRole::EndpointSlice).await;
    assert_eq!(group.source, "endpointslice/d/s-1");
    let expected = [
        ("endpointslice_name", "s-1"),
        ("endpointslice_address_type", "IPv4"),
        ("service_name", "s"),
        ("endpointslice_label_kubernetes_io_service_name", "s"),
    ];
    check(&group.labels, &expected);
    assert_eq!(group.targets.len(), 3);
    check(
        &group.targets[0],
        &[
            ("__address__", "1.2.3.4:9000"),
            ("endpointslice_port", "9000"),
            ("endpointslice_port_name", "http"),
            ("endpointslice_port_app_protocol", "h2c"),
            ("endpointslice_endpoint_conditions_ready", "true"),
            ("endpointslice_endpoint_conditions_terminating", "false"),
            ("endpointslice_endpoint_zone", "z"),
            ("endpointslice_endpoint_node_name", "n1"),
            ("endpointslice_address_target_kind", "Pod"),
            ("pod_name", "p1"),
            ("pod_container_name", "c1"),
        ],
    );
    check(
        &group.targets[1],
        &[
            ("__address__", "1.2.3.9:9000"),
            ("endpointslice_endpoint_topology_t", "u"),
            ("endpointslice_endpoint_topology_present_t", "true"),
            ("endpointslice_endpoint_conditions_ready", ""),
        ],
    );
    check(&group.targets[2], &[("__address__", "1.2.3.4:9001")]);
}

#[tokio::test]
async fn services_and_ingresses_are_targets() {
    let group = only_group(KubernetesRole::Service).await;
    assert_eq!(group.source, "svc/d/s");
    check(&group.labels, &[("namespace", "d"), ("service_name", "s"), ("service_label_l", "v")]);
    check(
        &group.targets[0],
        &[
            ("__address__", "s.d.svc:80"),
            ("service_port_name", "web"),
            ("service_port_number", "80"),
            ("service_type", "LoadBalancer"),
            ("service_cluster_ip", "10.1.0.1"),
            ("service_loadbalancer_ip", "9.9.9.9"),
        ],
    );
    let group = only_group(KubernetesRole::Ingress).await;
    assert_eq!(group.source, "ingress/d/i");
    check(&group.labels, &[("ingress_name", "i"), ("ingress_class_name", "nginx")]);
    let shown: Vec<String> = group
        .targets
        .iter()
        .map(|target| {
            let part = |name: &str| target.get(&format!("{PREFIX}ingress_{name}")).unwrap();
            format!("{}://{}{}", part("scheme"), part("host"), part("path"))
        })
        .collect();
    assert_eq!(shown, ["https://a.x.y/p", "https://a.x.y/", "http://b/"]);
}
