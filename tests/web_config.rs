//! The web configuration file as clients meet it: no path is open to who was not let in, whatever
//! its spelling; tokens do what their roles say and see what is in their scope; TLS asks clients
//! for what the file says.

#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it says")]
#![cfg(feature = "server")]

#[expect(dead_code, reason = "other tests use the rest")]
mod client;
mod program;

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use client::{Client, now_ms};
use program::Server;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// Hashes of the texts `reader`, `shop`, `pusher` and `chief`.
const TOKENS: &str = "tokens:
- {name: reader, sha256: READER, roles: [read]}
- {name: shop, sha256: SHOP, roles: [read], scope: '{team=\"shop\"}'}
- {name: pusher, sha256: PUSHER, roles: [write]}
- {name: chief, sha256: CHIEF, roles: [admin]}
";

fn sum(text: &str) -> String {
    let sum = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    sum.as_ref().iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

fn start(folder: &Path, web: &str) -> Server {
    std::fs::write(folder.join("prometheus.yml"), "global: {scrape_interval: 1h}\n").unwrap();
    std::fs::write(folder.join("web.yml"), web).unwrap();
    let flags = [
        "--web.config.file=web.yml",
        "--web.enable-remote-write-receiver",
        "--web.enable-admin-api",
        "--web.enable-lifecycle",
    ];
    Server::start(folder, &flags)
}

fn web_file() -> String {
    let mut web = format!("basic_auth_users: {{alice: '{}'}}\n", bcrypt::hash("a", 4).unwrap());
    web.push_str(TOKENS);
    web.push_str("http_server_config: {headers: {X-Frame-Options: deny}}\n");
    for name in ["reader", "shop", "pusher", "chief"] {
        web = web.replace(&name.to_uppercase(), &sum(name));
    }
    web
}

/// The status line of what is sent as it is.
fn raw_status(address: &str, head: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    // At once: who is not understood may be left before a second piece comes.
    let request = format!("{head}\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer.lines().next().unwrap_or_default().to_owned()
}

#[test]
fn no_path_is_open_to_who_is_not_let_in() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), &web_file());
    for target in [
        "/",
        "//",
        "/-/healthy",
        "/-/ready",
        "/-/quit",
        "/metrics",
        "/metrics/",
        "//metrics",
        "/./metrics",
        "/%2e%2e/metrics",
        "/a/../metrics",
        "/METRICS",
        "/nothing-here",
        "/api/v1/query?query=1",
        "/api/v1/read",
        "/api/v1/write",
        "/api/v1/nothing",
        "/federate",
        "/debug/pprof/",
        "http://x/metrics",
        "http://evil.example//metrics",
        "*",
    ] {
        for method in ["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD"] {
            let status = raw_status(&server.address, &format!("{method} {target} HTTP/1.1"));
            assert!(status.contains(" 401 "), "{method} {target}: {status}");
        }
    }
    let client = Client::new(&server.address);
    let answer = client.get("/metrics");
    assert_eq!(answer.header("www-authenticate"), Some("Basic"));
    assert_eq!(answer.header("x-frame-options"), Some("deny"));
    let basic = [("Authorization", "Basic YWxpY2U6YQ==")];
    assert_eq!(client.send("GET", "/metrics", &basic, b"").status, 200);
    assert_eq!(client.send("GET", "/nothing", &basic, b"").status, 404);
    for head in ["GET /metrics HTTP/1.1\r\nHost: y", "GET /metrics HTTP/1.1\r\nHost: x"] {
        let status = raw_status(&server.address, head);
        assert!(status.contains(" 400 "), "{status}");
    }
    let moved = client.send("GET", "//metrics/?a=b", &basic, b"");
    assert_eq!((moved.status, moved.header("location")), (307, Some("/metrics?a=b")));
}

#[test]
fn tokens_do_what_their_roles_say_and_see_their_scope() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), &web_file());
    let client = Client::new(&server.address);
    let bearer = |name: &str| format!("Bearer {name}");
    let ask = |name: &str, method: &str, path: &str| {
        client.send(method, path, &[("Authorization", &bearer(name))], b"")
    };
    let push = |name: &str| {
        let (token, t_ms) = (bearer(name), now_ms() - 2000);
        let series = |team| [("__name__", "m"), ("team", team), ("only", team)];
        let (shop, bank) = (series("shop"), series("bank"));
        let body = client::snappy(&client::message(
            1,
            &[(&shop, &[(t_ms, 1.0)]), (&bank, &[(t_ms, 2.0)])],
        ));
        let headers = [
            ("Authorization", token.as_str()),
            ("Content-Type", "application/x-protobuf"),
            ("Content-Encoding", "snappy"),
        ];
        client.send("POST", "/api/v1/write", &headers, &body).status
    };
    assert_eq!([push("reader"), push("shop"), push("pusher"), push("chief")], [403, 403, 204, 204]);
    let allowed = |name: &str| {
        [
            ("GET", "/api/v1/query?query=m"),
            ("GET", "/api/v1/targets"),
            ("GET", "/metrics"),
            ("POST", "/api/v1/admin/tsdb/clean_tombstones"),
            ("POST", "/-/reload"),
            ("GET", "/-/healthy"),
        ]
        .map(|(method, path)| ask(name, method, path).status != 403)
    };
    assert_eq!(allowed("reader"), [true, true, true, false, false, true]);
    assert_eq!(allowed("shop"), [true, false, false, false, false, true]);
    assert_eq!(allowed("pusher"), [false, false, false, false, false, true]);
    assert_eq!(allowed("chief"), [true; 6]);
    let why = ask("shop", "GET", "/api/v1/targets").json();
    assert_eq!(why["errorType"], "forbidden");
    assert_eq!(ask("other", "GET", "/metrics").status, 401);
    let count = |name: &str, query: &str| {
        let data = ask(name, "GET", &format!("/api/v1/query?query={query}")).data();
        data["result"].as_array().unwrap().len()
    };
    for query in ["m", "m%7Bteam%3D%22bank%22%7D", "max_over_time(m[5m])", "m+or+m"] {
        let all = if query.contains("bank") { 1 } else { 2 };
        assert_eq!(count("reader", query), all, "{query}");
        assert_eq!(count("shop", query), usize::from(!query.contains("bank")), "{query}");
    }
    let values = |name: &str| ask(name, "GET", "/api/v1/label/team/values").data();
    assert_eq!(values("shop"), serde_json::json!(["shop"]));
    assert_eq!(values("reader"), serde_json::json!(["bank", "shop"]));
    let series = ask("shop", "GET", "/api/v1/series?match[]=%7B__name__%21%3D%22%22%7D").data();
    assert_eq!(series.as_array().unwrap().len(), 1);
    let now = now_ms() / 1000;
    let range = format!("/api/v1/query_range?query=m&step=15&start={}&end={now}", now - 30);
    assert_eq!(ask("shop", "GET", &range).data()["result"].as_array().unwrap().len(), 1);
}

fn pem(name: &str) -> std::path::PathBuf {
    std::path::absolute(format!("testdata/tls/{name}")).unwrap()
}

/// Talks TLS: the protocol agreed on, and the status line.
fn talk(address: &str, cert: Option<&str>, head: &str) -> Result<(Vec<u8>, String), String> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(pem("ca.crt")).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match cert {
        None => builder.with_no_client_auth(),
        Some(name) => {
            let cert = CertificateDer::from_pem_file(pem(&format!("{name}.crt"))).unwrap();
            let key = PrivateKeyDer::from_pem_file(pem(&format!("{name}.key"))).unwrap();
            builder.with_client_auth_cert(vec![cert], key).unwrap()
        }
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let name = ServerName::try_from("localhost").unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut stream = StreamOwned::new(connection, stream);
    write!(stream, "{head}\r\nHost: x\r\nConnection: close\r\n\r\n").map_err(|e| e.to_string())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(|e| e.to_string())?;
    let agreed = stream.conn.alpn_protocol().unwrap_or_default().to_vec();
    Ok((agreed, answer.lines().next().unwrap_or_default().to_owned()))
}

#[test]
fn tls_asks_clients_for_what_the_file_says() {
    let folder = tempfile::tempdir().unwrap();
    let file = |auth: &str| {
        format!(
            "tls_server_config:\n  cert_file: {}\n  key_file: {}\n{auth}",
            pem("server.crt").display(),
            pem("server.key").display()
        )
    };
    let server = start(folder.path(), &file(""));
    let get = "GET /-/healthy HTTP/1.1";
    let ok = (b"http/1.1".to_vec(), "HTTP/1.1 200 OK".to_owned());
    assert_eq!(talk(&server.address, None, get), Ok(ok.clone()));
    let plain = raw_status(&server.address, get);
    assert!(plain.contains(" 400 "), "{plain}");
    // The file is read again: from now on clients need a certificate of one of these names.
    let demands = |name: &str| {
        file(&format!(
            "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: {}\n  \
             client_allowed_sans: [{name}]\n",
            pem("ca.crt").display()
        ))
    };
    std::fs::write(folder.path().join("web.yml"), demands("named.example")).unwrap();
    assert_eq!(talk(&server.address, Some("client"), get), Ok(ok));
    assert!(talk(&server.address, None, get).is_err());
    assert!(talk(&server.address, Some("self"), get).is_err());
    std::fs::write(folder.path().join("web.yml"), demands("other.example")).unwrap();
    assert!(talk(&server.address, Some("client"), get).is_err());
}

#[test]
fn a_wrong_file_ends_the_start() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("prometheus.yml"), "").unwrap();
    for (text, part) in [
        ("basic_auth_users:\n  a: plain\n", "web.yml:2:6: basic_auth_users.a: not a bcrypt hash"),
        ("tls_server_config: {cert_file: /x, key_file: /y}\n", "tls_server_config.cert_file"),
        ("nothing: here\n", "web.yml:1:1: field nothing not found"),
    ] {
        std::fs::write(folder.path().join("web.yml"), text).unwrap();
        let flags = ["--web.config.file=web.yml", "--web.listen-address=127.0.0.1:0"];
        let (code, log) = program::outcome(folder.path(), &flags);
        assert!(code == 1 && log.contains(part), "{code}: {log}");
    }
}

#[test]
fn idle_connections_give_way_and_health_is_always_answered() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("prometheus.yml"), "").unwrap();
    let server = Server::start(folder.path(), &["--web.max-connections=4"]);
    let idle: Vec<_> = (0..40)
        .map(|i| {
            let mut stream = TcpStream::connect(&server.address).unwrap();
            if i % 2 == 0 {
                stream.write_all(b"GET /metrics HTTP/1.1\r\nHost:").unwrap();
            }
            stream
        })
        .collect();
    for path in ["/-/healthy", "/-/ready"] {
        assert!(raw_status(&server.address, &format!("GET {path} HTTP/1.1")).contains(" 200 "));
    }
    let status = raw_status(&server.address, "GET /metrics HTTP/1.1");
    assert!(status.contains(" 200 "), "{status}");
    drop(idle);
}
