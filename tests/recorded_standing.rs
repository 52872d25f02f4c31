//! What the server says of itself, of its targets and rules, and of requests that are wrong,
//! beside the answers that Prometheus 3.14 gave with the same configuration and flags, field by
//! field: `testdata/api/standing.json`. Nothing is scraped or evaluated within the hour. Of flags,
//! the build and the run, ours tell more than Prometheus's; what those say is compared.

#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it says")]
#![cfg(feature = "server")]

mod answers;
#[expect(dead_code, reason = "other tests use the rest")]
mod client;
mod program;

use answers::{difference, ordered};
use client::Client;
use program::Server;
use serde_json::Value;

/// Where ours have fields of their own.
const TELL_MORE: [&str; 3] = ["status/flags", "status/buildinfo", "status/runtimeinfo"];

/// Our answer without the fields of its own.
fn common(path: &str, mut ours: Value, theirs: &Value) -> Value {
    if let (Some(Value::Object(fields)), Some(known)) =
        (ours.get_mut("data").filter(|_| TELL_MORE.contains(&path)), theirs["data"].as_object())
    {
        fields.retain(|name, _| known.contains_key(name));
    }
    ours
}

#[test]
fn answers_are_those_of_prometheus() {
    let folder = tempfile::tempdir().unwrap();
    for (name, to) in
        [("standing.yml", "prometheus.yml"), ("standing-rules.yml", "standing-rules.yml")]
    {
        std::fs::copy(format!("testdata/api/{name}"), folder.path().join(to)).unwrap();
    }
    let receivers = ["--web.enable-otlp-receiver", "--web.enable-remote-write-receiver"];
    let server =
        Server::start(folder.path(), &[&["--web.enable-admin-api"][..], &receivers].concat());
    let client = Client::new(&server.address);
    let recorded = std::fs::read("testdata/api/standing.json").unwrap();
    let recorded: Value = serde_json::from_slice(&recorded).unwrap();
    // Discovery hands its targets on a moment after the start.
    let is_there = (0..1000).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(20));
        let targets = client.get("/api/v1/targets").json();
        targets["data"]["activeTargets"].as_array().is_some_and(|targets| !targets.is_empty())
    });
    assert!(is_there, "no target");
    let mut differences = Vec::new();
    let entries = recorded.as_array().unwrap();
    assert!(entries.len() > 80, "{}", entries.len());
    for entry in entries {
        let path = entry["path"].as_str().unwrap();
        let answer = client.get(&format!("/api/v1/{path}"));
        if u64::from(answer.status) != entry["status"].as_u64().unwrap() {
            differences.push(format!("{path}: status {}, not {}", answer.status, entry["status"]));
        }
        let ours = match &entry["body"] {
            Value::String(_) => Value::String(answer.text()),
            _ => answer.json(),
        };
        let theirs = ordered(path, entry["body"].clone());
        let ours = common(path, ordered(path, ours), &theirs);
        differences.extend(difference(path, &ours, &theirs));
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
