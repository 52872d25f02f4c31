//! Answers of features that are off unless asked for, beside those that Prometheus 3.14 gave for
//! the same data: names that are searched, and deltas that are added up
//! (`testdata/api/features.json`). There and in the answers `NOW` stands for the time of the test.

#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it says")]
#![cfg(feature = "server")]

#[expect(dead_code, reason = "other tests use the rest")]
mod client;
mod program;

use std::path::Path;

use client::{Answer, Client};
use program::{Server, outcome};
use serde_json::{Value, json};

const OTLP: &str = "/api/v1/otlp/v1/metrics";
const FEATURES: &str = "--enable-feature=search-api,otlp-deltatocumulative";

fn start(folder: &Path, more: &[&str]) -> (Client, Server) {
    let config = "otlp: {translation_strategy: NoTranslation}\n";
    std::fs::write(folder.join("prometheus.yml"), config).unwrap();
    let flags = [&["--web.enable-otlp-receiver", FEATURES][..], more].concat();
    let server = Server::start(folder, &flags);
    (Client::new(&server.address), server)
}

fn push(client: &Client, body: &Value, now_s: i64) -> Answer {
    let mut text = body.to_string();
    for seconds in 0..=200 {
        let t_ns = format!("\"{}000000000\"", now_s - seconds);
        text = text.replace(&format!("\"NOW-{seconds}\""), &t_ns);
    }
    client.send("POST", OTLP, &[("Content-Type", "application/json")], text.as_bytes())
}

/// Times from now on; series by their labels.
fn settled(value: &Value, now_s: i64) -> Value {
    match value {
        Value::Array(items) => match items.as_slice() {
            [Value::Number(t), value] => json!([t.as_i64().unwrap_or(0) - now_s, value]),
            _ => items.iter().map(|item| settled(item, now_s)).collect(),
        },
        Value::Object(fields) => {
            let fields = fields.iter().map(|(key, value)| {
                // A bucket is no pair of time and value.
                let value = if key == "buckets" { value.clone() } else { settled(value, now_s) };
                (key.clone(), value)
            });
            let mut object: Value = Value::Object(fields.collect());
            if let Some(Value::Array(series)) = object.get_mut("result") {
                series.sort_by_key(|series| series["metric"].to_string());
            }
            object
        }
        other => other.clone(),
    }
}

#[test]
fn answers_are_those_of_prometheus() {
    let folder = tempfile::tempdir().unwrap();
    let (client, _server) = start(folder.path(), &[]);
    let recorded = std::fs::read("testdata/api/features.json").unwrap();
    let recorded: Value = serde_json::from_slice(&recorded).unwrap();
    let now_s = client::now_ms() / 1000;
    for body in recorded["pushes"].as_array().unwrap() {
        assert_eq!(push(&client, body, now_s).status, 200);
    }
    let mut differences = Vec::new();
    for entry in recorded["answers"].as_array().unwrap() {
        let path = entry["path"].as_str().unwrap();
        let answer = client.get(&format!("/api/v1/{}", path.replace("NOW", &now_s.to_string())));
        let text = answer.text();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let is_query = path.starts_with("query");
        let lines: Vec<Value> =
            lines.map(|line| if is_query { settled(&line, now_s) } else { line }).collect();
        let ours = json!({
            "path": path,
            "status": answer.status,
            "type": answer.header("content-type"),
            "lines": lines,
        });
        // Numbers are compared as they read: 1 and 1.0 are one.
        let read = |value: &Value| value.to_string().replace(".0,", ",").replace(".0}", "}");
        let theirs = if is_query { settled(entry, 0) } else { entry.clone() };
        if read(&ours) != read(&theirs) {
            differences.push(format!("ours   {}\ntheirs {}", read(&ours), read(&theirs)));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn a_search_beyond_what_is_stored_finds_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (client, _server) = start(folder.path(), &["--web.search.max-limit=3"]);
    let answer = client.get("/api/v1/search/metric_names?start=1&end=2");
    assert_eq!(answer.text(), "{\"results\":[]}\n{\"status\":\"success\",\"has_more\":false}\n");
    let answer = client.post_form("/api/v1/search/label_names", "limit=4");
    assert!(answer.status == 400 && answer.text().contains("(3, see --web.search.max-limit)"));
}

#[test]
fn metric_names_come_with_what_targets_say_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let (_client, server) = start(folder.path(), &[]);
    let config = format!(
        "global: {{scrape_interval: 100ms}}\nscrape_configs: [{{job_name: a, static_configs: \
         [{{targets: ['{}']}}]}}]\n",
        server.address
    );
    std::fs::write(folder.path().join("prometheus.yml"), config).unwrap();
    server.signal("-HUP");
    let client = Client::new(&server.address);
    let path = "/api/v1/search/metric_names?search[]=prometheus_ready&include_metadata=true";
    let mut line = Value::Null;
    for _ in 0..200 {
        let text = client.get(path).text();
        line = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        if line["results"][0]["type"] == "gauge" {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    panic!("{line}");
}

#[test]
fn nothing_is_searched_or_added_up_unless_it_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &["--web.enable-otlp-receiver"]);
    let client = Client::new(&server.address);
    let answer = client.get("/api/v1/search/metric_names");
    assert_eq!((answer.status, &answer.json()["errorType"]), (500, &"unavailable".into()));
    let points = json!([{"timeUnixNano": "NOW-1", "asInt": "1"}]);
    let metric = json!({"name": "d", "sum": {"aggregationTemporality": 1, "dataPoints": points}});
    let body = json!({"resourceMetrics": [{"scopeMetrics": [{"metrics": [metric]}]}]});
    let answer = push(&client, &body, client::now_ms() / 1000);
    assert!(answer.status == 400 && answer.text().contains("invalid temporality"));
    let both = "--enable-feature=otlp-deltatocumulative,otlp-native-delta-ingestion";
    let (code, text) = outcome(folder.path(), &[both]);
    assert!(code == 1 && text.contains("at the same time"), "{code} {text}");
}

#[test]
fn streams_of_deltas_are_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let (client, _server) = start(folder.path(), &["--storage.limits.max-delta-streams=2"]);
    let points: Vec<Value> = ["a", "b", "c"]
        .iter()
        .map(|till| {
            let attributes = json!([{"key": "till", "value": {"stringValue": till}}]);
            json!({"timeUnixNano": "NOW-1", "asInt": "1", "attributes": attributes})
        })
        .collect();
    let metric = json!({"name": "d", "sum": {"aggregationTemporality": 1, "dataPoints": points}});
    let body = json!({"resourceMetrics": [{"scopeMetrics": [{"metrics": [metric]}]}]});
    let answer = push(&client, &body, client::now_ms() / 1000);
    let partial = &answer.json()["partialSuccess"];
    assert_eq!((answer.status, &partial["rejectedDataPoints"]), (200, &"1".into()));
    let why = partial["errorMessage"].as_str().unwrap();
    assert!(why.contains("--storage.limits.max-delta-streams=2"), "{why}");
}
