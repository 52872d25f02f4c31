//! The agent as its users run it: it scrapes, forwards, answers no queries, and what it has
//! scraped reaches the receiver over restarts of either side.
#![cfg(feature = "server")]

#[allow(dead_code, reason = "each test program uses its part")]
mod client;
mod program;

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use client::Client;
use program::Server;

/// A target whose one metric counts its scrapes, and that count.
fn target() -> (String, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("it listens").to_string();
    let served = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&served);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut reader = BufReader::new(stream);
            let mut line = String::new();
            while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
                line.clear();
            }
            let page = format!("served {}\n", count.fetch_add(1, Ordering::SeqCst) + 1);
            let answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\
                 Content-Length: {}\r\n\r\n{page}",
                page.len()
            );
            // Whoever was killed wants no more.
            let _ = reader.get_mut().write_all(answer.as_bytes());
        }
    });
    (address, served)
}

/// Asks until the answer is as it should be.
fn wait_for(what: &str, mut is_there: impl FnMut() -> bool) {
    for _ in 0..600 {
        if is_there() {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("{what}: not in half a minute");
}

fn start_receiver(folder: &Path, address: &str) -> Server {
    let listen = format!("--web.listen-address={address}");
    Server::start(folder, &[listen.as_str(), "--web.enable-remote-write-receiver"])
}

/// The counts that the receiver has.
fn received(address: &str) -> BTreeSet<u64> {
    let data = Client::new(address).get("/api/v1/query?query=served[1h]").data();
    let series = data["result"].as_array().expect("a list");
    assert!(series.len() <= 1, "one series over restarts: {data}");
    let values = series.iter().flat_map(|series| series["values"].as_array().expect("values"));
    values.map(|pair| pair[1].as_str().expect("text").parse().expect("a number")).collect()
}

#[test]
fn what_was_scraped_arrives_over_restarts_of_either_side() {
    let (ours, theirs) = (tempfile::tempdir().expect("one"), tempfile::tempdir().expect("two"));
    let (target, served) = target();
    let free = TcpListener::bind("127.0.0.1:0").expect("a port");
    let receiver_address = free.local_addr().expect("it listens").to_string();
    drop(free);
    fs::write(theirs.path().join("prometheus.yml"), "{}\n").expect("a file");
    let config = format!(
        "global: {{scrape_interval: 100ms}}
scrape_configs: [{{job_name: a, static_configs: [{{targets: ['{target}']}}]}}]
remote_write:
  - url: 'http://{receiver_address}/api/v1/write'
    queue_config: {{batch_send_deadline: 100ms, max_backoff: 200ms}}
"
    );
    fs::write(ours.path().join("prometheus.yml"), config).expect("a file");
    let receiver = start_receiver(theirs.path(), &receiver_address);
    let has = |count: usize| received(&receiver_address).len() >= count;

    let agent = Server::start(ours.path(), &["--agent"]);
    wait_for("the first samples", || has(5));
    // The agent dies, and comes back.
    agent.signal("-KILL");
    assert_eq!(agent.exit_code(), None);
    let before = received(&receiver_address).len();
    let agent = Server::start(ours.path(), &["--agent"]);
    wait_for("samples after a death", || has(before + 5));
    // The receiver goes, and comes back.
    receiver.signal("-TERM");
    assert_eq!(receiver.exit_code(), Some(0));
    let at_outage = served.load(Ordering::SeqCst);
    wait_for("scrapes meanwhile", || served.load(Ordering::SeqCst) >= at_outage + 10);
    // The agent goes in good order while it has much to forward.
    agent.signal("-TERM");
    assert_eq!(agent.exit_code(), Some(0));
    let agent = Server::start(ours.path(), &["--agent"]);
    let receiver = start_receiver(theirs.path(), &receiver_address);
    let last = served.load(Ordering::SeqCst);
    let arrived = || received(&receiver_address).last().is_some_and(|newest| *newest > last);
    wait_for("all of it", arrived);

    let counts = received(&receiver_address);
    let newest = *counts.last().expect("some");
    let missing: Vec<u64> = (1..=newest).filter(|count| !counts.contains(count)).collect();
    // A scrape that each end of the agent broke off was served and never stored.
    assert!(missing.len() <= 2, "lost: {missing:?} of {newest}");

    let client = Client::new(&agent.address);
    let answer = client.get("/api/v1/query?query=up");
    assert_eq!((answer.status, &answer.json()["errorType"]), (422, &"execution".into()));
    assert_eq!(client.get("/api/v1/rules").status, 422);
    assert_eq!(client.get("/api/v1/targets").data()["activeTargets"][0]["health"], "up");
    let page = client.get("/metrics").text();
    let sample = |name: &str| {
        let line = page.lines().find(|line| line.starts_with(name) && !line.starts_with('#'));
        let line = line.unwrap_or_else(|| panic!("no {name}:\n{page}"));
        line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok()).expect("a number")
    };
    assert!(sample("prometheus_agent_active_series ") >= 1.0);
    assert!(sample("prometheus_agent_samples_appended_total{type=\"float\"}") >= 1.0);
    assert_eq!(sample("prometheus_agent_corruptions_total "), 0.0);
    assert_eq!(sample("prometheus_agent_clean_start "), 1.0);
    assert!(sample("net_conntrack_listener_conn_accepted_total{listener_name=\"http\"}") >= 1.0);
    assert!(sample("net_conntrack_listener_conn_closed_total{listener_name=\"http\"}") >= 1.0);
    drop(receiver);
}

#[test]
fn what_an_agent_cannot_do_is_refused_at_the_start() {
    let folder = tempfile::tempdir().expect("a folder");
    for text in [
        "rule_files: [r.yml]\n",
        "alerting: {alert_relabel_configs: [{action: labeldrop, regex: a}]}\n",
        "remote_read: [{url: 'http://a'}]\n",
    ] {
        fs::write(folder.path().join("prometheus.yml"), text).expect("a file");
        let (code, log) = program::outcome(folder.path(), &["--agent"]);
        assert!(code == 2 && log.contains("is not allowed in agent mode"), "{text}: {code} {log}");
    }
}
