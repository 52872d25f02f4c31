//! Rules as the users of the built program meet them: answers of the API, reloads, the history
//! that the tool writes, the checks of files.
//!
//! COMPAT: the answers are those that Prometheus 3.14 gave (`testdata/rules`).
#![cfg(feature = "server")]

#[allow(dead_code, reason = "each test program uses its part")]
mod client;
mod program;

use std::fs;
use std::path::Path;
use std::time::Duration;

use client::{Client, now_ms};
use program::{Server, outcome};
use serde_json::{Value, json};

const FILES: [(&str, &str); 3] = [
    ("prometheus.yml", include_str!("../testdata/rules/prometheus.yml")),
    ("rules-a.yml", include_str!("../testdata/rules/rules-a.yml")),
    ("rules-b.yml", include_str!("../testdata/rules/rules-b.yml")),
];

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text) in files {
        fs::write(folder.path().join(name), text).expect("a file");
    }
    folder
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

fn encoded(path: &str) -> String {
    path.replace('{', "%7B").replace('}', "%7D").replace('"', "%22")
}

/// The answer without what differs from run to run.
fn settled(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.iter().map(|(key, value)| {
                let value = match key.as_str() {
                    "evaluationTime" => json!(0),
                    "lastEvaluation" | "activeAt" => json!("T"),
                    _ => settled(value),
                };
                (key.clone(), value)
            });
            Value::Object(fields.collect())
        }
        Value::Array(items) => items.iter().map(settled).collect(),
        other => other.clone(),
    }
}

fn is_evaluated(rules: &Value) -> bool {
    let groups = rules["data"]["groups"].as_array().expect("groups");
    let mut all = groups.iter().flat_map(|group| group["rules"].as_array().expect("rules"));
    groups.len() == 3 && all.all(|rule| rule["health"] != "unknown")
}

#[test]
fn answers_are_those_of_prometheus() {
    let folder = folder(&FILES);
    let server = Server::start(folder.path(), &[]);
    let client = Client::new(&server.address);
    wait_for("an evaluation", || is_evaluated(&client.get("/api/v1/rules").json()));
    let answers = include_str!("../testdata/rules/answers.tsv");
    for line in answers.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let [path, status, body] = fields[..] else { panic!("{line}") };
        let answer = client.get(&encoded(&format!("/api/v1/{path}")));
        assert_eq!(answer.status.to_string(), status, "{path}");
        let expected: Value = serde_json::from_str(body).expect("JSON");
        assert_eq!(settled(&answer.json()), expected, "{path}");
    }
    let query = |expr: &str| client.get(&format!("/api/v1/query?query={expr}")).json();
    wait_for("alerts among the series", || {
        query("ALERTS")["data"]["result"].as_array().is_some_and(|found| found.len() == 2)
    });
    let value = query("answer:twice");
    assert_eq!(value["data"]["result"][0]["value"][1], "84", "{value}");
    let metrics = client.get("/metrics").text();
    for line in [
        "prometheus_rule_group_rules{rule_group=\"rules-a.yml;numbers\"} 3",
        "prometheus_rule_group_interval_seconds{rule_group=\"rules-b.yml;numbers\"} 1.5",
        "prometheus_rule_evaluation_failures_total{rule_group=\"rules-b.yml;numbers\"} 0",
    ] {
        assert!(metrics.contains(line), "{line}");
    }
}

#[test]
fn a_bad_file_of_rules_refuses_the_start_and_the_whole_reload() {
    let folder = folder(&FILES);
    let path = folder.path().join("rules-b.yml");
    let bad = "groups:\n  - name: x\n    rules:\n      - {record: a, expr: sum(}\n";
    fs::write(&path, bad).expect("a file");
    let (code, text) = outcome(folder.path(), &["--web.listen-address=127.0.0.1:0"]);
    assert!(code == 2 && text.contains("rules-b.yml: 4:27: group"), "{text}");
    fs::write(&path, FILES[2].1).expect("a file");
    let server = Server::start(folder.path(), &["--web.enable-lifecycle"]);
    let client = Client::new(&server.address);
    let names = || -> Vec<Value> {
        let rules = client.get("/api/v1/rules").json();
        let groups = rules["data"]["groups"].as_array().expect("groups").clone();
        groups.into_iter().map(|group| group["file"].clone()).collect()
    };
    fs::write(&path, bad).expect("a file");
    let config = "global: {evaluation_interval: 7s}\nrule_files: [\"rules-*.yml\"]\n";
    fs::write(folder.path().join("prometheus.yml"), config).expect("a file");
    let answer = server.request("POST", "/-/reload");
    assert!(answer.starts_with("HTTP/1.1 500"), "{answer}");
    assert!(answer.contains("could not parse expression"), "{answer}");
    assert_eq!(names().len(), 3, "the old rules run on");
    assert!(!server.request("GET", "/api/v1/status/config").contains("evaluation_interval: 7s"));
    fs::remove_file(&path).expect("it is there");
    assert!(server.request("POST", "/-/reload").starts_with("HTTP/1.1 200"));
    assert_eq!(names(), ["rules-a.yml", "rules-a.yml"]);
    assert!(server.request("GET", "/api/v1/status/config").contains("evaluation_interval: 7s"));
    server.signal("-TERM");
    assert_eq!(server.exit_code(), Some(0));
}

/// Runs the program beside the server.
fn tool(folder: &Path, words: &[&str]) -> (i32, String) {
    outcome(folder, words)
}

#[test]
fn the_tool_writes_history() {
    let rules = "groups: [{name: g, interval: 60s, rules: [{record: always, expr: vector(7)}, \
                 {record: more, expr: always + 1}, {alert: a, expr: vector(1)}]}]\n";
    let folder = folder(&[("prometheus.yml", "global: {}\n"), ("r.yml", rules)]);
    fs::create_dir(folder.path().join("data")).expect("a folder");
    let (start, end) = (now_ms() / 1000 - 86_400, now_ms() / 1000 - 3600);
    let (start_flag, end_flag) = (format!("--start={start}"), format!("--end={end}"));
    let line = ["tool", "rules", "backfill", &start_flag, &end_flag, "r.yml"];
    let (code, text) = tool(folder.path(), &line);
    // 23 hours of two rules, at one or the other end one time less.
    assert!(code == 0, "{text}");
    let samples: u64 = text.split(' ').next().and_then(|n| n.parse().ok()).expect("a number");
    assert!((2758..=2762).contains(&samples), "{text}");
    let server = Server::start(folder.path(), &[]);
    let client = Client::new(&server.address);
    let path = format!("/api/v1/query?query=count_over_time(more%5B1h%5D)&time={}", end - 7200);
    let answer = client.get(&path).json();
    assert_eq!(answer["data"]["result"][0]["value"][1], "60", "{answer}");
    drop(server);
    let (code, text) = tool(folder.path(), &["tool", "rules", "backfill", "r.yml"]);
    assert!(code == 2 && text.contains("--start"), "{text}");
    let line = ["tool", "rules", "backfill", "--start=1", "missing.yml"];
    let (code, text) = tool(folder.path(), &line);
    assert!(code == 1 && text.contains("missing.yml: open"), "{text}");
}

#[test]
fn files_are_checked() {
    let folder = folder(&FILES);
    let (code, text) = tool(folder.path(), &["check", "config", "prometheus.yml"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("  SUCCESS: 2 rule files found\n SUCCESS: prometheus.yml"), "{text}");
    assert!(text.contains("Checking rules-a.yml\n  SUCCESS: 6 rules found\n"), "{text}");
    fs::write(folder.path().join("rules-a.yml"), "groups: 5\n").expect("a file");
    let (code, text) = tool(folder.path(), &["check", "rules", "rules-a.yml"]);
    assert_eq!(code, 1);
    let expected = "rules-a.yml: yaml: unmarshal errors:\n  line 1: cannot unmarshal !!int `5` \
                    into []rulefmt.RuleGroup\n";
    assert!(text.contains(expected), "{text}");
}
