//! The administrator's paths: closed unless opened, and then what a Prometheus server answers.
#![cfg(feature = "server")]

#[expect(dead_code, reason = "other tests use the rest")]
mod client;
mod program;

use client::{Answer, Client, now_ms};
use program::Server;
use serde_json::json;

const FLAGS: [&str; 2] = ["--web.enable-remote-write-receiver", "--web.enable-admin-api"];

struct Running {
    client: Client,
    _server: Server,
    folder: tempfile::TempDir,
}

fn start(flags: &[&str]) -> Running {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("prometheus.yml");
    std::fs::write(file, "global: {scrape_interval: 1h}\n").expect("a file");
    let server = Server::start(folder.path(), flags);
    Running { client: Client::new(&server.address), _server: server, folder }
}

fn post(client: &Client, path: &str) -> Answer {
    client.send("POST", &format!("/api/v1/admin/tsdb/{path}"), &[], b"")
}

fn fails(answer: &Answer, status: u16, kind: &str, text: &str) {
    assert_eq!(answer.status, status);
    assert_eq!(answer.json(), json!({"status": "error", "errorType": kind, "error": text}));
}

#[test]
fn closed_by_default_and_only_for_post_and_put() {
    let Running { client, _server, folder: _folder } = start(&[]);
    for path in ["delete_series?match[]=up", "delete_series", "clean_tombstones", "snapshot"] {
        fails(&post(&client, path), 500, "unavailable", "admin APIs disabled");
        let answer = client.get(&format!("/api/v1/admin/tsdb/{path}"));
        assert_eq!(answer.status, 405, "{path}");
    }
}

#[test]
fn series_are_deleted() {
    let Running { client, _server, folder: _folder } = start(&FLAGS);
    let t = now_ms() / 60_000 * 60_000 - 600_000;
    let points: Vec<(i64, f64)> = (0..10).map(|i| (t + i * 1000, i as f64)).collect();
    let series: [&[(&str, &str)]; 3] = [
        &[("__name__", "m"), ("job", "a")],
        &[("__name__", "m"), ("job", "b")],
        &[("__name__", "other")],
    ];
    let all: Vec<_> = series.iter().map(|labels| (*labels, points.as_slice())).collect();
    assert_eq!(client.push(2, &all).status, 204);
    let count = |selector: &str| {
        let path =
            format!("/api/v1/query?query=count_over_time({selector}[5m])&time={}", t / 1000 + 60);
        let data = client.get(&path).data();
        data["result"]
            .as_array()
            .expect("a vector")
            .iter()
            .map(|series| series["value"][1].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(count("m"), ["10", "10"]);
    let s = t / 1000;
    let path = format!("delete_series?match[]=m%7Bjob=%22a%22%7D&start={}&end={}", s + 2, s + 4);
    let answer = post(&client, &path);
    assert_eq!((answer.status, answer.text()), (204, String::new()));
    assert_eq!(count("m"), ["7", "10"]);
    // A form with PUT, without times; of two selectors each counts.
    let kind = [("Content-Type", "application/x-www-form-urlencoded")];
    let form = b"match[]=other&match[]=m%7Bjob=%22b%22%7D";
    let answer = client.send("PUT", "/api/v1/admin/tsdb/delete_series", &kind, form);
    assert_eq!(answer.status, 204);
    assert_eq!(count("m"), ["7"]);
    assert_eq!(count("other"), [""; 0]);
    assert_eq!(post(&client, "compact").status, 204);
    assert_eq!(count("m"), ["7"]);
    assert_eq!(post(&client, "delete_series?match[]=m").status, 204);
    assert_eq!(post(&client, "clean_tombstones").status, 204);
    assert_eq!(count("m"), [""; 0]);

    fails(&post(&client, "delete_series"), 400, "bad_data", "no match[] parameter provided");
    fails(
        &post(&client, "delete_series?match[]=m&start=x"),
        400,
        "bad_data",
        "invalid parameter \"start\": invalid time value for 'start': \
         cannot parse \"x\" to a valid timestamp",
    );
    let answer = post(&client, "delete_series?match[]=m%7B");
    let text = answer.json()["error"].as_str().expect("a text").to_owned();
    assert!(answer.status == 400 && text.starts_with("invalid parameter \"match[]\": "), "{text}");
}

#[test]
fn a_snapshot_is_a_data_folder() {
    let Running { client, _server, folder } = start(&FLAGS);
    let t = now_ms() / 60_000 * 60_000 - 600_000;
    let labels: &[(&str, &str)] = &[("__name__", "m")];
    assert_eq!(client.push(2, &[(labels, &[(t, 1.0), (t + 1000, 2.0)])]).status, 204);
    let name = |answer: &Answer| {
        let data = answer.data();
        assert_eq!(data.as_object().expect("an object").len(), 1);
        data["name"].as_str().expect("a name").to_owned()
    };
    let whole = name(&post(&client, "snapshot"));
    let empty = name(&post(&client, "snapshot?skip_head=true"));
    let (time, id) = whole.split_once('-').expect("time and id");
    assert!(time.len() == 16 && time.ends_with('Z') && id.len() == 16, "{whole}");
    fails(
        &post(&client, "snapshot?skip_head=yes"),
        400,
        "bad_data",
        "invalid parameter \"skip_head\": unable to parse boolean: \
         strconv.ParseBool: parsing \"yes\": invalid syntax",
    );
    for (name, expected) in
        [(whole, json!([[t / 1000, "1"], [t / 1000 + 1, "2"]])), (empty, json!(null))]
    {
        let path = folder.path().join("data/snapshots").join(name);
        let copy = tempfile::tempdir().expect("a folder");
        std::fs::write(copy.path().join("prometheus.yml"), "").expect("a file");
        let flag = format!("--storage.tsdb.path={}", path.display());
        let server = Server::start(copy.path(), &[&flag]);
        let query = format!("/api/v1/query?query=m[5m]&time={}", t / 1000 + 60);
        let data = Client::new(&server.address).get(&query).data();
        assert_eq!(data["result"][0]["values"], expected);
    }
}
