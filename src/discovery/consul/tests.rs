//! Against a server that answers as an agent does.

use std::sync::Mutex;

use super::super::tests::{Api as Server, Collected};
use super::*;
use crate::config::{HttpClientConfig, Secret};

fn config(server: String) -> ConsulDiscovery {
    ConsulDiscovery {
        server,
        path_prefix: String::new(),
        token: Secret::new("t0k"),
        datacenter: String::new(),
        namespace: String::new(),
        partition: String::new(),
        tag_separator: ",".to_owned(),
        scheme: "http".to_owned(),
        allow_stale: true,
        refresh_interval_ms: 20,
        services: Vec::new(),
        tags: Vec::new(),
        node_meta: vec![("rack".to_owned(), "2".to_owned())],
        filter: "x == 1".to_owned(),
        health_filter: String::new(),
        http_client: HttpClientConfig::default(),
    }
}

fn indexed(index: u64, body: &str) -> Vec<u8> {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Consul-Index: ";
    format!("{head}{index}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

const HEALTH: &str = r#"[{
  "Node": {"ID": "i", "Node": "node1", "Address": "1.1.1.1", "Datacenter": "dc1",
    "TaggedAddresses": {"lan": "1.1.1.2"}, "Meta": {"rack-name": "2304"}},
  "Service": {"ID": "s1", "Service": "test", "Tags": ["t1", "t2"], "Address": "",
    "Meta": {"ver.sion": "1"}, "Port": 3341, "Namespace": "ns", "Partition": "pa"},
  "Checks": [{"CheckID": "serfHealth", "Status": "passing"},
    {"CheckID": "x", "Status": "warning"}]},
  {"Node": {"Node": "node2", "Address": "1.1.1.3", "Meta": null},
   "Service": {"ID": "s2", "Tags": null, "Address": "2001:db8::1", "Port": 80}, "Checks": null}]"#;

#[tokio::test]
async fn services_come_with_their_instances_and_go() {
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let kept = Arc::clone(&asked);
    let server = Server::serve(move |_, request| {
        assert!(request.contains("x-consul-token: t0k\r\n"), "{request}");
        let path = request.split(' ').nth(1).unwrap().to_owned();
        kept.lock().unwrap().push(path.clone());
        let is_catalog = path.starts_with("/v1/catalog/services");
        if path == "/v1/agent/self" {
            Server::json(r#"{"Config": {"Datacenter": "dc9"}}"#)
        } else if is_catalog && !path.contains("index=") {
            indexed(5, r#"{"te st": ["t1"], "other": null}"#)
        } else if is_catalog {
            indexed(7, r#"{"te st": ["t1"]}"#)
        } else if path.starts_with("/v1/health/service/te%20st") && !path.contains("index=") {
            indexed(6, HEALTH)
        } else if path.starts_with("/v1/health/service/te%20st") {
            indexed(6, "[]")
        } else {
            indexed(6, HEALTH)
        }
    })
    .await;
    let consul = Consul::new(&config(server.address.clone())).unwrap();
    let mut collected = Collected::run(Box::new(consul));
    let groups = collected.until(|groups| groups.len() == 2).await;
    let group = groups.iter().find(|group| group.source == "te st").unwrap();
    assert_eq!(
        group.labels,
        Labels::from_pairs([("__meta_consul_service", "te st"), ("__meta_consul_dc", "dc9")])
    );
    let expected = Labels::from_pairs([
        ("__address__", "1.1.1.1:3341"),
        ("__meta_consul_address", "1.1.1.1"),
        ("__meta_consul_health", "warning"),
        ("__meta_consul_metadata_rack_name", "2304"),
        ("__meta_consul_namespace", "ns"),
        ("__meta_consul_node", "node1"),
        ("__meta_consul_partition", "pa"),
        ("__meta_consul_service_id", "s1"),
        ("__meta_consul_service_metadata_ver_sion", "1"),
        ("__meta_consul_service_port", "3341"),
        ("__meta_consul_tagged_address_lan", "1.1.1.2"),
        ("__meta_consul_tags", ",t1,t2,"),
    ]);
    assert_eq!(group.targets[0], expected);
    assert_eq!(group.targets[1].get("__address__"), Some("[2001:db8::1]:80"));
    assert_eq!(group.targets[1].get("__meta_consul_health"), Some("passing"));
    let groups = collected.until(|groups| groups.len() == 1).await;
    assert_eq!(groups[0].source, "te st");
    let asked = asked.lock().unwrap();
    let catalog = "/v1/catalog/services?filter=x+%3D%3D+1&node-meta=rack%3A2&stale=&wait=120000ms";
    assert!(asked.contains(&catalog.to_owned()), "{asked:?}");
}

#[tokio::test]
async fn named_services_are_asked_for_directly() {
    let server = Server::serve(|number, request| {
        let path = request.split(' ').nth(1).unwrap();
        assert!(path.starts_with("/p/v1/health/service/a?dc=d"), "{path}");
        assert!(path.contains("&tag=") == path.contains("nothing"), "{path}");
        if number == 0 { Server::status("500 X", "no leader") } else { indexed(1, HEALTH) }
    })
    .await;
    let config = ConsulDiscovery {
        services: vec!["a".to_owned()],
        datacenter: "d".to_owned(),
        path_prefix: "/p/".to_owned(),
        filter: String::new(),
        ..config(server.address.clone())
    };
    let mut consul = Consul::new(&config).unwrap();
    consul.retry = Duration::from_millis(10);
    let mut collected = Collected::run(Box::new(consul));
    assert_eq!(collected.next().await[0].targets.len(), 2);
}

#[test]
fn the_worst_check_counts_and_tags_choose() {
    let check = |id: &str, status: &str| Check { id: id.to_owned(), status: status.to_owned() };
    for (checks, expected) in [
        (vec![check("a", "passing"), check("b", "critical")], "critical"),
        (vec![check("a", "odd"), check("b", "critical")], ""),
        (vec![check("_service_maintenance:x", "critical")], "maintenance"),
        (vec![], "passing"),
    ] {
        assert_eq!(status_of(&checks), expected);
    }
    let config = ConsulDiscovery {
        services: vec!["a".to_owned()],
        tags: vec!["x".to_owned(), "y".to_owned()],
        ..config("a:1".to_owned())
    };
    let consul = Consul::new(&config).unwrap();
    let tags = |tags: &[&str]| tags.iter().map(|&tag| tag.to_owned()).collect::<Vec<_>>();
    assert!(consul.wants("a", &tags(&["y", "z", "x"])));
    assert!(!consul.wants("a", &tags(&["y"])) && !consul.wants("b", &tags(&["x", "y"])));
}
