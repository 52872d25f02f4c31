//! Two servers, of which one reads the other: series of both in one answer, external labels asked
//! for and taken off, and an answer all the same when the other is gone.

#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it says")]
#![cfg(feature = "server")]

#[expect(dead_code, reason = "other tests use the rest")]
mod client;
mod program;

use client::Client;
use program::Server;
use serde_json::Value;

const FLAGS: [&str; 2] = ["--web.enable-otlp-receiver", "--storage.tsdb.retention.time=100y"];
const T: i64 = 1_700_000_000;

fn start(folder: &std::path::Path, remote: &str) -> (Client, Server) {
    let config = format!("global: {{external_labels: {{dc: x}}}}\n{remote}");
    std::fs::write(folder.join("prometheus.yml"), config).unwrap();
    let server = Server::start(folder, &FLAGS);
    (Client::new(&server.address), server)
}

fn push(client: &Client, name: &str, value: i64) {
    let body = format!(
        "{{\"resourceMetrics\":[{{\"scopeMetrics\":[{{\"metrics\":[{{\"name\":\"{name}\",\
         \"gauge\":{{\"dataPoints\":[{{\"timeUnixNano\":\"{T}000000000\",\"asInt\":{value}}}]}}}}\
         ]}}]}}]}}"
    );
    let kind = [("Content-Type", "application/json")];
    let answer = client.send("POST", "/api/v1/otlp/v1/metrics", &kind, body.as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// Name and value of each series in an answer.
fn values(answer: &Value) -> Vec<(String, String)> {
    let series = answer["data"]["result"].as_array().unwrap().iter();
    let mut values: Vec<_> = series
        .map(|series| {
            let metric = series["metric"].as_object().unwrap();
            assert_eq!(metric.len(), 1, "no label but the name: {metric:?}");
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            (text(&metric["__name__"]), text(&series["value"][1]))
        })
        .collect();
    values.sort();
    values
}

#[test]
fn a_server_answers_with_series_of_another() {
    let (far_folder, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (far, far_server) = start(far_folder.path(), "");
    push(&far, "far", 1);
    push(&far, "both", 1);
    let remote = format!(
        "remote_read:\n- {{url: 'http://{0}/api/v1/read', read_recent: true}}\n\
         - {{url: 'http://{0}/api/v1/read', read_recent: true, required_matchers: {{job: a}}}}\n",
        far_server.address
    );
    let (near, _server) = start(folder.path(), &remote);
    push(&near, "near", 2);
    push(&near, "both", 2);
    let path = format!("/api/v1/query?query=%7B__name__%3D~%22far%7Cnear%7Cboth%22%7D&time={T}");
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let answer = near.get(&path).json();
    let expected = [pair("both", "2"), pair("far", "1"), pair("near", "2")];
    assert_eq!(values(&answer), expected, "{answer}");
    assert!(answer.get("warnings").is_none());
    let series = format!("/api/v1/series?match[]=far&start={T}&end={T}");
    assert_eq!(near.get(&series).data().as_array().unwrap().len(), 1);
    drop(far_server);
    let answer = near.get(&path).json();
    assert_eq!(values(&answer), [pair("both", "2"), pair("near", "2")], "{answer}");
    let warning = answer["warnings"][0].as_str().unwrap();
    assert!(warning.starts_with("remote_read 127.0.0.1:"), "{warning}");
}
