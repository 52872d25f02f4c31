//! Traces as whoever receives them from the built program meets them: what is traced, what belongs
//! to what, and what a reload changes.
#![cfg(feature = "server")]

#[allow(dead_code, reason = "each test program uses its part")]
mod client;
mod program;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use client::Client;
use narthex::protowire::field::Fields;
use program::Server;

/// What somebody sent: path, head in small letters, body.
type Sent = Arc<Mutex<Vec<(String, String, Vec<u8>)>>>;

/// A server that answers everything with one page of metrics.
fn listen() -> (String, Sent) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("it listens").to_string();
    let sent = Sent::default();
    let all = Arc::clone(&sent);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let all = Arc::clone(&all);
            std::thread::spawn(move || answer(stream, &all));
        }
    });
    (address, sent)
}

fn answer(stream: TcpStream, all: &Sent) {
    let mut reader = BufReader::new(stream);
    loop {
        let (mut head, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if line.trim().is_empty() {
                break;
            }
            let line = line.to_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().expect("a length");
            }
            head.push_str(&line);
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).expect("a body");
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        all.lock().expect("nobody panics").push((path, head, body));
        let page = "answered 1\n";
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{page}",
            page.len()
        );
        if reader.get_mut().write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

/// Asks until the answer is there.
fn wait_for<T>(what: &str, mut find: impl FnMut() -> Option<T>) -> T {
    for _ in 0..600 {
        if let Some(found) = find() {
            return found;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("{what}: not in half a minute");
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Span {
    trace: Vec<u8>,
    id: Vec<u8>,
    parent: Vec<u8>,
    name: String,
}

fn inner(message: &[u8], number: u32) -> Vec<Vec<u8>> {
    let fields = Fields::new(message).map(|field| field.expect("a message"));
    let found = fields.filter(|(known, _)| *known == number);
    found.map(|(_, value)| value.bytes().expect("bytes").to_vec()).collect()
}

/// All spans that were received.
fn spans(sent: &Sent) -> Vec<Span> {
    let sent = sent.lock().expect("nobody panics");
    let bodies = sent.iter().filter(|(path, ..)| path == "/v1/traces").map(|(_, _, body)| body);
    let mut spans = Vec::new();
    for body in bodies {
        for resource in inner(body, 1) {
            for scope in inner(&resource, 2) {
                for span in inner(&scope, 2) {
                    let first = |number| inner(&span, number).pop().unwrap_or_default();
                    spans.push(Span {
                        trace: first(1),
                        id: first(2),
                        parent: first(4),
                        name: String::from_utf8(first(5)).expect("text"),
                    });
                }
            }
        }
    }
    spans
}

fn config(folder: &Path, receiver: &str, target: &str, fraction: f64) {
    let text = format!(
        "global: {{scrape_interval: 200ms, evaluation_interval: 200ms}}
tracing:
  {{client_type: http, endpoint: '{receiver}', insecure: true, sampling_fraction: {fraction}}}
rule_files: [rules.yml]
scrape_configs: [{{job_name: a, static_configs: [{{targets: ['{target}']}}]}}]
remote_write: [{{url: 'http://{target}/write', queue_config: {{batch_send_deadline: 100ms}}}}]
alerting: {{alertmanagers: [{{static_configs: [{{targets: ['{target}']}}]}}]}}
"
    );
    fs::write(folder.join("prometheus.yml"), text).expect("a file");
    let rules = "groups: [{name: g, rules: [{record: r, expr: 'vector(1)'}, \
                 {alert: A, expr: 'vector(1)'}]}]\n";
    fs::write(folder.join("rules.yml"), rules).expect("a file");
}

#[test]
fn what_the_server_does_is_traced() {
    let folder = tempfile::tempdir().expect("a folder");
    let ((receiver, sent), (target, seen)) = (listen(), listen());
    config(folder.path(), &receiver, &target, 1.0);
    let server = Server::start(folder.path(), &[]);
    let client = Client::new(&server.address);
    let parent = [
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("tracestate", "a=b"),
    ];
    client.send("GET", "/api/v1/query?query=up", &parent, b"");
    let all = wait_for("all that is traced", || {
        let all = spans(&sent);
        let names = [
            "scrape",
            "scrapeRequest",
            "scrapeAppend",
            "GET /api/v1/query",
            "promqlInstantQuery",
            "promqlInnerEval",
            "rule group",
            "rule",
            "ruleCommit",
            "Remote Send Batch",
            "Remote Store",
            "Alertmanager Send Batch",
        ];
        names.iter().all(|name| all.iter().any(|span| span.name == *name)).then_some(all)
    });
    let by_name = |name: &str| all.iter().find(|span| span.name == name).expect("it is there");
    // The trace of whoever asked goes on.
    let request = by_name("GET /api/v1/query");
    assert_eq!((request.trace[0], request.parent[0]), (0x0a, 0xb7));
    for (child, parent) in
        [("promqlInstantQuery", "GET /api/v1/query"), ("promqlInnerEval", "promqlInstantQuery")]
    {
        let (child, parent) = (by_name(child), by_name(parent));
        assert_eq!((&child.trace, &child.parent), (&parent.trace, &parent.id), "{child:?}");
    }
    let children = all.iter().filter(|span| span.name == "scrapeRequest");
    let mut parents = children.filter_map(|child| all.iter().find(|span| span.id == child.parent));
    assert!(parents.next().is_some_and(|span| span.name == "scrape" && span.parent.is_empty()));
    // Others are told what they are part of.
    let seen = seen.lock().expect("nobody panics");
    for path in ["/metrics", "/write", "/api/v2/alerts"] {
        let (_, head, _) = seen.iter().find(|(known, ..)| known == path).expect("it was asked");
        assert!(head.contains("\ntraceparent: 00-"), "{path}: {head}");
        assert!(head.contains("-01\r\n"), "{path}: {head}");
    }
    drop(seen);
    let page = client.get("/metrics").text();
    assert!(page.contains("narthex_traces_spans_dropped_total 0"), "{page}");
    server.signal("-TERM");
    assert_eq!(server.exit_code(), Some(0));
}

#[test]
fn a_reload_changes_what_is_traced() {
    let folder = tempfile::tempdir().expect("a folder");
    let ((first, sent), (second, sent_later)) = (listen(), listen());
    config(folder.path(), &first, &first, 1.0);
    let server = Server::start(folder.path(), &[]);
    wait_for("traces", || (!spans(&sent).is_empty()).then_some(()));
    // Nothing that begins here is sampled, what others sample is.
    config(folder.path(), &second, &first, 0.0);
    server.signal("-HUP");
    let client = Client::new(&server.address);
    let parent = [("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")];
    let later = wait_for("a trace elsewhere", || {
        client.send("GET", "/-/healthy", &parent, b"");
        Some(spans(&sent_later)).filter(|spans| !spans.is_empty())
    });
    assert!(later.iter().all(|span| span.name == "GET /-/healthy"), "{later:?}");
    // A receiver that is wrong is refused, and the one before stays.
    let text = "tracing: {client_type: http, endpoint: 'a b'}\n";
    fs::write(folder.path().join("prometheus.yml"), text).expect("a file");
    server.signal("-HUP");
    wait_for("a refusal", || {
        let page = client.get("/metrics").text();
        page.contains("prometheus_config_last_reload_successful 0").then_some(())
    });
    server.signal("-TERM");
    assert_eq!(server.exit_code(), Some(0));
}

#[test]
fn a_receiver_that_is_away_holds_nothing_up() {
    let folder = tempfile::tempdir().expect("a folder");
    let (target, _) = listen();
    config(folder.path(), "127.0.0.1:9", &target, 1.0);
    let server = Server::start(folder.path(), &[]);
    let client = Client::new(&server.address);
    let page = wait_for("a failure", || {
        for _ in 0..50 {
            client.get("/-/healthy");
        }
        let page = client.get("/metrics").text();
        (!page.contains("narthex_traces_send_failures_total 0")).then_some(page)
    });
    assert!(page.contains("narthex_traces_spans_waiting"), "{page}");
    wait_for("spans that are dropped", || {
        for _ in 0..100 {
            client.get("/-/healthy");
        }
        let page = client.get("/metrics").text();
        (!page.contains("narthex_traces_spans_dropped_total 0")).then_some(())
    });
    server.signal("-TERM");
    assert_eq!(server.exit_code(), Some(0));
}
