//! Alerts sent over HTTP, relabelling, reloads and the end.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::discovery::Discovery;
use crate::model::Labels;

/// An HTTP server that keeps what it is told.
struct Server {
    address: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Answers with these statuses, the last one again and again.
    async fn start(statuses: &'static [&'static str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let requests: Arc<Mutex<Vec<String>>> = Arc::default();
        let kept = Arc::clone(&requests);
        tokio::spawn(async move {
            let mut answered = 0;
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut bytes = Vec::new();
                while !is_whole(&bytes) {
                    let mut part = [0; 4096];
                    match stream.read(&mut part).await {
                        Ok(0) | Err(_) => break,
                        Ok(count) => bytes.extend_from_slice(&part[..count]),
                    }
                }
                let status = statuses[answered.min(statuses.len() - 1)];
                answered += 1;
                kept.lock().unwrap().push(String::from_utf8(bytes).unwrap());
                let answer =
                    format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        Self { address, requests }
    }

    /// The requests once there are that many.
    async fn requests(&self, count: usize) -> Vec<String> {
        for _ in 0..500 {
            let requests = self.requests.lock().unwrap().clone();
            if requests.len() >= count {
                return requests;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{} of {count} requests came", self.requests.lock().unwrap().len());
    }
}

fn is_whole(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse::<usize>().ok())
        .unwrap_or(0);
    body.len() >= length
}

fn alert(name: &str) -> Alert {
    Alert {
        labels: Labels::from_pairs([("alertname", name), ("severity", "page")]),
        annotations: Labels::empty(),
        starts_at_ms: 1_000,
        ends_at_ms: None,
        generator_url: String::new(),
    }
}

/// Applies the text as a reload does.
fn apply(notifier: &Notifier, discovery: &Discovery, text: &str) {
    let config = crate::config::parse(text, "x.yml").unwrap();
    let prepared = notifier.prepare(&config.alerting, &config.global.external_labels).unwrap();
    discovery.seek(&prepared.sought());
    let found = Arc::clone(&discovery.subscribe().borrow());
    notifier.apply(prepared, &found);
}

fn body_of(request: &str) -> serde_json::Value {
    serde_json::from_str(request.split_once("\r\n\r\n").unwrap().1).unwrap()
}

#[tokio::test]
async fn alerts_are_relabelled_and_posted_and_posted_again_until_they_arrive() {
    let server = Server::start(&["503 Down", "500 Odd", "200 OK"]).await;
    let notifier = Notifier::new(Options::default());
    let discovery = Discovery::named("notify");
    let text = format!(
        "global: {{external_labels: {{dc: x, severity: none}}}}\nalerting:\n  \
         alert_relabel_configs: [{{action: labeldrop, regex: dc2}}, {{action: drop, \
         source_labels: [alertname], regex: no.*}}]\n  alertmanagers:\n  - path_prefix: \
         /pre//fix\n    \
         basic_auth: {{username: u, password: p}}\n    static_configs: [{{targets: ['{0}', '{0}', \
         other:1]}}]\n    relabel_configs: [{{action: drop, source_labels: [__address__], regex: \
         other.*}}]\n    alert_relabel_configs: [{{target_label: set, replacement: one}}]\n",
        server.address
    );
    apply(&notifier, &discovery, &text);
    let url = format!("http://{}/pre/fix/api/v2/alerts", server.address);
    assert_eq!(notifier.alertmanagers(), [url]);
    assert_eq!(notifier.dropped_alertmanagers(), ["http://other:1/pre/fix/api/v2/alerts"]);
    notifier.send(vec![alert("yes"), alert("no"), alert("again")]);
    let requests = server.requests(3).await;
    for request in &requests {
        let lower = request.to_lowercase();
        assert!(request.starts_with("POST /pre/fix/api/v2/alerts HTTP/1.1\r\n"), "{request}");
        assert!(lower.contains("content-type: application/json\r\n"), "{request}");
        assert!(lower.contains("authorization: basic dtpw\r\n"), "{request}");
        let body = body_of(request);
        let names: Vec<_> = body.as_array().unwrap().iter().map(|a| &a["labels"]).collect();
        assert_eq!(
            names,
            [
                &serde_json::json!({"alertname": "yes", "dc": "x", "set": "one",
                    "severity": "page"}),
                &serde_json::json!({"alertname": "again", "dc": "x", "set": "one",
                    "severity": "page"}),
            ]
        );
    }
    notifier.shutdown().await;
    assert_eq!(server.requests.lock().unwrap().len(), 3);
}

#[tokio::test]
async fn what_an_alertmanager_refuses_is_dropped_and_the_next_goes_on() {
    let server = Server::start(&["400 Bad Request", "200 OK"]).await;
    let notifier = Notifier::new(Options { batch_size_max: 1, ..Options::default() });
    let discovery = Discovery::named("notify");
    let address = &server.address;
    let text =
        format!("alerting: {{alertmanagers: [{{static_configs: [{{targets: ['{address}']}}]}}]}}");
    apply(&notifier, &discovery, &text);
    notifier.send(vec![alert("a"), alert("b")]);
    let requests = server.requests(2).await;
    assert_eq!(body_of(&requests[0])[0]["labels"]["alertname"], "a");
    assert_eq!(body_of(&requests[1])[0]["labels"]["alertname"], "b");
    let families = notifier.families();
    let value = |name: &str| {
        let family = families.iter().find(|family| family.name == name).unwrap();
        family.samples[0].value
    };
    assert_eq!(value("prometheus_notifications_dropped_total"), 1.0);
    assert_eq!(value("prometheus_notifications_errors_total"), 1.0);
    assert_eq!(value("prometheus_notifications_alertmanagers_discovered"), 1.0);
    assert_eq!(value("prometheus_notifications_queue_capacity"), 10_000.0);
}

#[tokio::test]
async fn a_reload_keeps_the_queues_of_those_that_stay() {
    // Nobody listens at first.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let notifier = Notifier::new(Options::default());
    let discovery = Discovery::named("notify");
    let text = |timeout: &str, targets: &str| {
        format!(
            "alerting: {{alertmanagers: [{{timeout: {timeout}, static_configs: [{{targets: \
             [{targets}]}}]}}]}}"
        )
    };
    apply(&notifier, &discovery, &text("1s", &format!("'{address}', 'gone.invalid:1'")));
    notifier.send(vec![alert("kept")]);
    tokio::time::sleep(Duration::from_millis(50)).await;
    apply(&notifier, &discovery, &text("2s", &format!("'{address}'")));
    assert_eq!(notifier.alertmanagers(), [format!("http://{address}/api/v2/alerts")]);
    let listener = TcpListener::bind(&address).await.unwrap();
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut bytes = Vec::new();
    while !is_whole(&bytes) {
        let mut part = [0; 4096];
        let count = stream.read(&mut part).await.unwrap();
        assert!(count > 0, "the request is whole");
        bytes.extend_from_slice(&part[..count]);
    }
    let request = String::from_utf8(bytes).unwrap();
    assert_eq!(body_of(&request)[0]["labels"]["alertname"], "kept");
    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    notifier.shutdown().await;
}

#[tokio::test]
async fn the_end_sends_what_waits_or_gives_it_up() {
    for drains_on_shutdown in [true, false] {
        let server = Server::start(&["200 OK"]).await;
        let options = Options { batch_size_max: 2, drains_on_shutdown, ..Options::default() };
        let notifier = Notifier::new(options);
        let discovery = Discovery::named("notify");
        let address = &server.address;
        apply(
            &notifier,
            &discovery,
            &format!(
                "alerting: {{alertmanagers: [{{static_configs: [{{targets: ['{address}']}}]}}]}}"
            ),
        );
        notifier.send(["a", "b", "c", "d", "e"].map(alert).to_vec());
        notifier.shutdown().await;
        let count = server.requests.lock().unwrap().len();
        assert_eq!(count == 3, drains_on_shutdown, "{count} requests");
        notifier.send(vec![alert("late")]);
        assert!(notifier.alertmanagers().is_empty());
    }
}

#[tokio::test]
async fn a_set_that_cannot_be_reached_is_told() {
    let notifier = Notifier::new(Options::default());
    let text = "alerting: {alertmanagers: [{tls_config: {ca: nonsense}, static_configs: \
                [{targets: [a]}]}]}";
    let config = crate::config::parse(text, "x.yml").unwrap();
    let error = notifier.prepare(&config.alerting, &Labels::empty()).unwrap_err();
    assert!(error.starts_with("alerting.alertmanagers, config-0: "), "{error}");
}
