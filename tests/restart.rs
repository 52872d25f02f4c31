//! kill -9 with scrapes, rules and remote write under way, of the sender, of the receiver and of
//! both: the `for` of alerts goes on, recording rules write each result once, and what the sender
//! holds in the end the receiver holds too, each sample once, with the same bits.
#![allow(clippy::unwrap_used, reason = "what fails here is the test")]
#![cfg(feature = "server")]

#[expect(dead_code, reason = "other tests use the rest")]
mod client;
mod fleet;
mod program;

use std::collections::BTreeMap;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use client::{Client, now_ms};
use fleet::{
    PATIENCE, READY, SERIES, Samples, at_rest, count, free_address, kill, serve_pages, stored,
    wait_for,
};
use program::Server;
use serde_json::Value;

/// An alert that fires soon, one that never gets so far, and two rules, one upon the other.
const RULES: &str = "groups:
- name: g
  interval: 1s
  rules:
  - {record: copy, expr: page}
  - {record: 'sum:copy', expr: sum(copy)}
  - {alert: Soon, expr: 'page{id=\"1\"} >= 0', for: 2s}
  - {alert: Late, expr: 'page{id=\"2\"} >= 0', for: 1h}
";

/// The sender's configuration: at work, or quiet, so that nothing new comes.
fn write_config(folder: &Path, target: &str, receiver: &str, is_quiet: bool) {
    let work = format!(
        "rule_files: [rules.yml]\nscrape_configs: [{{job_name: page, scrape_interval: 100ms, \
         scrape_timeout: 100ms, static_configs: [{{targets: ['{target}']}}]}}]\n"
    );
    let queue = "batch_send_deadline: 100ms, min_backoff: 20ms, max_backoff: 200ms, \
                 max_samples_per_send: 100, min_shards: 2";
    let send = format!(
        "remote_write: [{{name: r, url: 'http://{receiver}/api/v1/write', \
         queue_config: {{{queue}}}}}]\n"
    );
    let all = if is_quiet { send } else { work + &send };
    std::fs::write(folder.join("prometheus.yml"), all).unwrap();
    std::fs::write(folder.join("rules.yml"), RULES).unwrap();
}

/// When an alert began, in milliseconds, and its state.
fn alert(client: &Client, name: &str) -> Option<(i64, String)> {
    let data = client.get("/api/v1/alerts").data();
    let alerts = data["alerts"].as_array().unwrap();
    let alert = alerts.iter().find(|alert| alert["labels"]["alertname"] == name)?;
    let at: jiff::Timestamp = alert["activeAt"].as_str().unwrap().parse().unwrap();
    Some((at.as_millisecond(), alert["state"].as_str().unwrap().to_owned()))
}

/// Whether an alert has been written as firing, twice at least.
fn has_fired(client: &Client) -> bool {
    let query = "count_over_time(ALERTS%7Balertname%3D%22Soon%22%2Calertstate%3D%22firing%22%7D";
    let data = client.get(&format!("/api/v1/query?query={query}%5B1h%5D)")).data();
    let value = data["result"][0]["value"][1].as_str().and_then(|v| v.parse().ok());
    value.is_some_and(|count: f64| count >= 2.0)
}

struct World {
    sender_folder: tempfile::TempDir,
    receiver_folder: tempfile::TempDir,
    /// Where the receiver is, over all its lives.
    receiver_at: String,
}

impl World {
    fn sender(&self) -> Server {
        let flags = ["--rules.alert.for-grace-period=1s", "--web.enable-lifecycle"];
        Server::start(self.sender_folder.path(), &flags)
    }

    fn receiver(&self) -> Server {
        let flags = ["--web.enable-remote-write-receiver", "--config.file=empty.yml"];
        Server::start_at(&self.receiver_at, self.receiver_folder.path(), &flags, READY)
    }
}

/// What a life of the sender begins with: alerts go on where the last life left them.
fn alerts_go_on(client: &Client, before: &[i64; 2], started_ms: i64) {
    let seconds = |ms: i64| ms.div_euclid(1000);
    wait_for("the alert that fired fires again, and began when it did", || {
        let (at_ms, state) = alert(client, "Soon")?;
        (seconds(at_ms) == seconds(before[0]) && state == "firing").then_some(())
    });
    wait_for("the time that the other was pending counts", || {
        let (at_ms, state) = alert(client, "Late")?;
        // The time away does not count; only whole seconds are kept.
        let is_kept = at_ms < started_ms && at_ms >= before[1] - 1000;
        (is_kept && state == "pending").then_some(())
    });
}

/// Results of rules are made of what was stored, and stand there once.
fn results_are_right(samples: &Samples) {
    let all = |name: &str| {
        let prefix = format!("\"__name__\":\"{name}\"");
        samples.iter().filter(move |(series, _)| series.contains(&prefix))
    };
    let mut count = 0;
    for (series, points) in all("copy") {
        let labels: Value = serde_json::from_str(series).unwrap();
        let is_source = |name: &&String| {
            let other: Value = serde_json::from_str(name).unwrap();
            other["__name__"] == "page" && other["id"] == labels["id"]
        };
        let page = &samples[samples.keys().find(is_source).unwrap()];
        for (t_ms, value) in points {
            count += 1;
            let newest = page.range(..=*t_ms).next_back().map(|(_, value)| value);
            assert!(newest.is_some(), "{series} at {t_ms} ms is made of nothing");
            // A scrape's samples come after its time; the rule may have run in between.
            let mut latest = page.range(..=*t_ms).rev().map(|(_, value)| value).take(20);
            assert!(latest.any(|source| source == value), "{series} at {t_ms} ms: {value}");
        }
    }
    assert!(count as u64 >= SERIES * 5, "{count} results");
    for (_, points) in all("sum:copy") {
        for (t_ms, sum) in points {
            let at = |(_, points): (_, &BTreeMap<i64, String>)| {
                points.get(t_ms).and_then(|value| value.parse::<f64>().ok())
            };
            let parts: Vec<f64> = all("copy").filter_map(at).collect();
            assert_eq!(parts.len() as u64, SERIES, "at {t_ms} ms");
            assert_eq!(parts.iter().sum::<f64>().to_string(), *sum, "at {t_ms} ms");
        }
    }
}

#[test]
fn rules_and_remote_write_go_on_after_kill_9() {
    let world = World {
        sender_folder: tempfile::tempdir().unwrap(),
        receiver_folder: tempfile::tempdir().unwrap(),
        receiver_at: free_address(),
    };
    let target = serve_pages();
    std::fs::write(world.receiver_folder.path().join("empty.yml"), "").unwrap();
    write_config(world.sender_folder.path(), &target, &world.receiver_at, false);
    let (mut sender, mut receiver) = (world.sender(), Some(world.receiver()));
    let mut client = Client::new(&sender.address);
    wait_for("an alert fires", || has_fired(&client).then_some(()));
    let mut held = Samples::new();
    for cycle in 0..4 {
        // What is under way when they go is another thing each time.
        thread::sleep(Duration::from_millis(1200 + 170 * cycle));
        let before = ["Soon", "Late"].map(|name| alert(&client, name).unwrap().0);
        for (series, points) in stored(&client) {
            held.entry(series).or_default().extend(points);
        }
        if cycle % 2 == 1 {
            kill(receiver.take().unwrap());
            thread::sleep(Duration::from_millis(400));
        }
        kill(sender);
        if cycle == 3 {
            receiver = Some(world.receiver());
        }
        let started_ms = now_ms();
        sender = world.sender();
        client = Client::new(&sender.address);
        alerts_go_on(&client, &before, started_ms);
        receiver.get_or_insert_with(|| world.receiver());
    }
    // Nothing new comes, and the receiver gets the rest.
    write_config(world.sender_folder.path(), &target, &world.receiver_at, true);
    assert_eq!(client.send("POST", "/-/reload", &[], b"").status, 200);
    let receiver = Client::new(&receiver.as_ref().unwrap().address);
    let ours = at_rest(&client);
    for (series, points) in &held {
        for (t_ms, value) in points {
            let kept = ours.get(series).and_then(|points| points.get(t_ms));
            assert_eq!(kept, Some(value), "{series} at {t_ms} ms was shown before");
        }
    }
    results_are_right(&ours);
    let began = Instant::now();
    loop {
        let theirs = stored(&receiver);
        if theirs == ours {
            break;
        }
        let (a, b) = (count(&theirs), count(&ours));
        assert!(began.elapsed() < PATIENCE, "the receiver has {a} samples, the sender {b}");
        thread::sleep(Duration::from_millis(200));
    }
}
