//! Against a server that answers as a daemon does, over TCP and a socket.

use super::super::tests::{Api as Server, Collected};
use super::*;

const CONTAINERS: &str = r#"[
  {"Id": "c1", "Names": ["/web"], "Image": "nginx", "ImageID": "sha256:1",
   "Ports": [{"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"},
             {"PrivatePort": 53, "Type": "udp"}, {"PrivatePort": 443, "Type": "tcp"}],
   "Labels": {"com.docker/compose": "x"}, "HostConfig": {"NetworkMode": "front"},
   "NetworkSettings": {"Networks": {
      "front": {"NetworkID": "n1", "IPAddress": "172.20.0.2"},
      "rear": {"NetworkID": "n2", "IPAddress": "172.21.0.2"}}}},
  {"Id": "c2", "Names": ["/host"], "Image": "exporter", "ImageID": "sha256:2", "Ports": [],
   "Labels": null, "HostConfig": {"NetworkMode": "host"},
   "NetworkSettings": {"Networks": {"host": {"NetworkID": "n3", "IPAddress": ""}}}},
  {"Id": "c3", "Names": ["/side"], "Ports": [], "HostConfig": {"NetworkMode": "container:c1"},
   "NetworkSettings": {"Networks": null}},
  {"Id": "c4", "Names": []}]"#;

const NETWORKS: &str = r#"[
  {"Id": "n1", "Name": "front", "Scope": "local", "Internal": false, "Ingress": false,
   "Labels": {"a.b": "c"}},
  {"Id": "n3", "Name": "host", "Scope": "local", "Internal": true, "Ingress": false}]"#;

fn config(host: String) -> DockerDiscovery {
    DockerDiscovery {
        host,
        port: 9100,
        filters: vec![Filter {
            name: "name".to_owned(),
            values: vec!["x".to_owned(), "y".to_owned()],
        }],
        host_networking_host: "localhost".to_owned(),
        refresh_interval_ms: 60_000,
        match_first_network: true,
        http_client: HttpClientConfig::default(),
    }
}

async fn serve() -> Server {
    Server::serve(|_, request| match request.split(' ').nth(1).unwrap() {
        "/networks" => Server::json(NETWORKS),
        path => {
            assert_eq!(
                path,
                "/containers/json?filters=%7B%22name%22%3A%7B%22x%22%3Atrue%2C%22y%22%3Atrue%7D%7D"
            );
            Server::json(CONTAINERS)
        }
    })
    .await
}

#[tokio::test]
async fn each_port_of_a_container_is_a_target() {
    let server = serve().await;
    let mut collected = Collected::run(Box::new(new(&config(server.url(""))).unwrap()));
    let groups = collected.next().await;
    let targets = &groups[0].targets;
    let addresses: Vec<_> =
        targets.iter().map(|target| target.get("__address__").unwrap()).collect();
    assert_eq!(addresses, ["172.20.0.2:80", "172.20.0.2:443", "localhost", "172.20.0.2:9100"]);
    let expected = Labels::from_pairs([
        ("__address__", "172.20.0.2:80"),
        ("__meta_docker_container_id", "c1"),
        ("__meta_docker_container_image", "nginx"),
        ("__meta_docker_container_image_id", "sha256:1"),
        ("__meta_docker_container_label_com_docker_compose", "x"),
        ("__meta_docker_container_name", "/web"),
        ("__meta_docker_container_network_mode", "front"),
        ("__meta_docker_network_id", "n1"),
        ("__meta_docker_network_ingress", "false"),
        ("__meta_docker_network_internal", "false"),
        ("__meta_docker_network_ip", "172.20.0.2"),
        ("__meta_docker_network_label_a_b", "c"),
        ("__meta_docker_network_name", "front"),
        ("__meta_docker_network_scope", "local"),
        ("__meta_docker_port_private", "80"),
        ("__meta_docker_port_public", "8080"),
        ("__meta_docker_port_public_ip", "0.0.0.0"),
    ]);
    assert_eq!(targets[0], expected);
    assert_eq!(targets[3].get("__meta_docker_container_name"), Some("/side"));
}

#[tokio::test]
async fn all_networks_count_where_that_is_asked() {
    let server = serve().await;
    let config = DockerDiscovery {
        match_first_network: false,
        ..config(server.url("").replace("http", "tcp"))
    };
    let mut collected = Collected::run(Box::new(new(&config).unwrap()));
    assert_eq!(collected.next().await[0].targets.len(), 4 + 1 + 2);
    assert!(new(&DockerDiscovery { host: "npipe://x".to_owned(), ..config }).is_err());
}
