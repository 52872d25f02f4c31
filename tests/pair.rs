//! Two servers that forward what they scrape to each other by remote write and federate from each
//! other, each killed with -9 in turn: in the end each holds what the other scraped, each sample
//! once, with the same bits, and nothing that the other has not.
#![allow(clippy::unwrap_used, reason = "what fails here is the test")]
#![cfg(feature = "server")]

#[expect(dead_code, reason = "other tests use the rest")]
mod client;
mod fleet;
mod program;

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use client::Client;
use fleet::{
    PATIENCE, READY, SERIES, Samples, at_rest, count, free_address, kill, serve_pages, stored,
    wait_for,
};
use program::Server;

/// One of the two: what it scrapes for both, and for itself until it is federated from.
struct Side {
    name: &'static str,
    folder: tempfile::TempDir,
    address: String,
    page: String,
}

impl Side {
    fn new(name: &'static str) -> Self {
        let (folder, address) = (tempfile::tempdir().unwrap(), free_address());
        Self { name, folder, address, page: serve_pages() }
    }

    fn start(&self) -> Server {
        let flags = ["--web.enable-remote-write-receiver", "--web.enable-lifecycle"];
        Server::start_at(&self.address, self.folder.path(), &flags, READY)
    }
}

/// At work, or quiet, so that nothing new comes.
fn write_config(folder: &Path, this: &Side, other: &Side, is_quiet: bool) {
    let Side { name, page, .. } = this;
    let job = |job: &str, every: &str, target: &str, more: &str| {
        format!(
            "- {{job_name: {job}, scrape_interval: {every}, scrape_timeout: {every}, \
             static_configs: [{{targets: ['{target}']}}]{more}}}\n"
        )
    };
    let federate = format!(
        ", honor_labels: true, metrics_path: /federate, \
         params: {{'match[]': ['{{job=\"own_{}\"}}']}}",
        other.name
    );
    let work = "scrape_configs:\n".to_owned()
        + &job(&format!("sent_{name}"), "100ms", page, "")
        + &job(&format!("own_{name}"), "150ms", page, "")
        + &job("federate", "200ms", &other.address, &federate);
    let send = format!(
        "remote_write:\n- name: r\n  url: 'http://{}/api/v1/write'\n  protobuf_message: \
         io.prometheus.write.v2.Request\n  queue_config: {{batch_send_deadline: 100ms, \
         min_backoff: 20ms, max_backoff: 200ms, max_samples_per_send: 100, min_shards: 2}}\n  \
         write_relabel_configs: [{{source_labels: [job], regex: sent_{name}, action: keep}}]\n",
        other.address
    );
    let text = if is_quiet { send } else { work + &send };
    std::fs::write(folder.join("prometheus.yml"), text).unwrap();
}

/// The part that has this job.
fn of_job(samples: &Samples, job: &str) -> Samples {
    let label = format!("\"job\":\"{job}\"");
    let all = samples.iter().filter(|(series, _)| series.contains(&label));
    all.map(|(series, points)| (series.clone(), points.clone())).collect()
}

#[test]
fn two_servers_feed_each_other_through_kill_9() {
    let sides = [Side::new("a"), Side::new("b")];
    for (i, side) in sides.iter().enumerate() {
        write_config(side.folder.path(), side, &sides[1 - i], false);
    }
    let mut servers = [0, 1].map(|i: usize| Some(sides[i].start()));
    let clients = [0, 1].map(|i: usize| Client::new(&sides[i].address));
    let has = |i: usize, job: &str| count(&of_job(&stored(&clients[i]), job)) > 0;
    wait_for("both are fed", || {
        let fed =
            |i: usize, by: &str| has(i, &format!("sent_{by}")) && has(i, &format!("own_{by}"));
        (fed(0, "b") && fed(1, "a")).then_some(())
    });
    for cycle in 0..5_u64 {
        thread::sleep(Duration::from_millis(700 + 130 * cycle));
        // One, the other, or both; what is under way is another thing each time.
        let gone: &[usize] = match cycle {
            0 | 3 => &[0],
            1 => &[1],
            _ => &[1, 0],
        };
        for &i in gone {
            kill(servers[i].take().unwrap());
        }
        thread::sleep(Duration::from_millis(300 * (cycle % 3)));
        for &i in gone {
            servers[i] = Some(sides[i].start());
        }
    }
    thread::sleep(Duration::from_millis(500));
    for (i, side) in sides.iter().enumerate() {
        write_config(side.folder.path(), side, &sides[1 - i], true);
        assert_eq!(clients[i].send("POST", "/-/reload", &[], b"").status, 200);
    }
    let began = Instant::now();
    loop {
        let held = [0, 1].map(|i: usize| at_rest(&clients[i]));
        let is_same = |job: &str| of_job(&held[0], job) == of_job(&held[1], job);
        let sizes = held.each_ref().map(count);
        if is_same("sent_a") && is_same("sent_b") {
            for (i, side) in sides.iter().enumerate() {
                let own = of_job(&held[i], &format!("own_{}", side.name));
                let federated = of_job(&held[1 - i], &format!("own_{}", side.name));
                assert!(count(&federated) as u64 > 5 * SERIES, "{} samples", count(&federated));
                for (series, points) in &federated {
                    for (t_ms, value) in points {
                        let there = own.get(series).and_then(|points| points.get(t_ms));
                        assert_eq!(there, Some(value), "{series} at {t_ms} ms");
                    }
                }
                let sent = count(&of_job(&held[i], &format!("sent_{}", side.name)));
                assert!(sent as u64 > 20 * SERIES, "{sent} samples");
            }
            return;
        }
        assert!(began.elapsed() < PATIENCE, "they hold {sizes:?} samples");
    }
}
