//! The program as its users meet it: flags, exit status, start, reload, stop.
#![cfg(feature = "server")]

mod program;

use program::{Server, outcome};

const CONFIG: &str = "global: {scrape_interval: 1h}\n";

#[test]
fn mistakes_end_the_start_with_their_status() {
    let folder = tempfile::tempdir().expect("a folder");
    let (code, text) = outcome(folder.path(), &["--nope"]);
    assert!(code == 2 && text.contains("--nope"), "{text}");
    let (code, text) = outcome(folder.path(), &["--config.file=none.yml"]);
    assert!(code == 2 && text.contains("none.yml"), "{text}");
    std::fs::write(folder.path().join("prometheus.yml"), "globl: {}\n").expect("a file");
    let (code, text) = outcome(folder.path(), &[]);
    assert!(code == 2 && text.contains("prometheus.yml:1:1: field globl not found"), "{text}");
    let (code, text) = outcome(folder.path(), &["--version"]);
    assert!(code == 0 && text.contains("3.14.0"), "{text}");
    std::fs::write(folder.path().join("prometheus.yml"), CONFIG).expect("a file");
    let (code, text) = outcome(folder.path(), &["--web.listen-address=256.0.0.1:1"]);
    assert!(code == 1 && text.contains("256.0.0.1:1"), "{text}");
    let (code, text) = outcome(folder.path(), &["--agent", "--storage.tsdb.path=x"]);
    assert!(code == 3 && text.contains("--storage.tsdb.path"), "{code} {text}");
}

#[test]
fn it_serves_reloads_and_stops() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("prometheus.yml");
    std::fs::write(&file, CONFIG).expect("a file");
    let server = Server::start(folder.path(), &["--web.enable-lifecycle"]);
    assert!(server.request("GET", "/-/healthy").starts_with("HTTP/1.1 200"));
    assert!(server.request("GET", "/-/ready").starts_with("HTTP/1.1 200"));
    assert!(server.request("GET", "/metrics").contains("prometheus_ready 1"));
    std::fs::write(&file, "global: {scrape_interval: 2h, nope: 1}\n").expect("a file");
    let answer = server.request("POST", "/-/reload");
    assert!(answer.starts_with("HTTP/1.1 500"), "{answer}");
    assert!(answer.contains("prometheus.yml:1:31: field nope not found"), "{answer}");
    let config = server.request("GET", "/api/v1/status/config");
    assert!(config.contains("scrape_interval: 1h"), "{config}");
    std::fs::write(&file, "global: {scrape_interval: 2h}\n").expect("a file");
    assert!(server.request("POST", "/-/reload").starts_with("HTTP/1.1 200"));
    assert!(server.request("GET", "/api/v1/status/config").contains("scrape_interval: 2h"));
    server.signal("-TERM");
    assert_eq!(server.exit_code(), Some(0));
    // The folder was let go and can be opened again.
    let server = Server::start(folder.path(), &["--web.enable-lifecycle"]);
    let second = outcome(folder.path(), &["--web.listen-address=127.0.0.1:0"]);
    assert!(second.0 == 1 && second.1.contains("another process"), "{}", second.1);
    assert!(server.request("POST", "/-/quit").starts_with("HTTP/1.1 200"));
    assert_eq!(server.exit_code(), Some(0));
}

/// Told to stop while the database is being opened, it stops.
#[test]
fn a_signal_during_the_start_is_not_forgotten() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("prometheus.yml"), CONFIG).expect("a file");
    for _ in 0..5 {
        let server = Server::start_until(folder.path(), &[], "msg=Listening");
        server.signal("-TERM");
        assert_eq!(server.exit_code(), Some(0));
    }
}
