//! Alerts sent to an Alertmanager of its own program: they fire, are resolved, and survive its
//! restarts, its absence, and restarts of the sender.
#![cfg(feature = "server")]
#![allow(clippy::unwrap_used, reason = "what fails here is the test")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use narthex::discovery::Discovery;
use narthex::http_client::{Client, Request, Url};
use narthex::model::Labels;
use narthex::notifier::{Alert, Clock as _, Notifier, Options, SystemClock};

/// An Alertmanager under test; it ends with the value.
struct Alertmanager {
    child: Child,
}

impl Alertmanager {
    fn start(program: &Path, folder: &Path, port: u16) -> Self {
        let config = folder.join("alertmanager.yml");
        std::fs::write(&config, "route: {receiver: none}\nreceivers: [{name: none}]\n").unwrap();
        let child = Command::new(program)
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--cluster.listen-address=")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { child }
    }
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The names of the alerts that fire, sorted; nothing where nobody answers.
async fn firing(port: u16) -> Option<Vec<String>> {
    let url = format!("http://127.0.0.1:{port}/api/v2/alerts?active=true");
    let config = narthex::config::parse("scrape_configs: [{job_name: a}]", "x.yml").unwrap();
    let client = Client::new(&config.scrape_configs[0].http_client).unwrap();
    let response = client.send(&Request::get(Url::parse(&url).unwrap())).await.ok()?;
    let alerts: serde_json::Value = serde_json::from_slice(&response.body).ok()?;
    let name = |alert: &serde_json::Value| Some(alert["labels"]["alertname"].as_str()?.to_owned());
    let mut names: Vec<String> = alerts.as_array()?.iter().filter_map(name).collect();
    names.sort();
    Some(names)
}

async fn wait_for(port: u16, wanted: &[&str], seconds_max: u64) -> Duration {
    let began = Instant::now();
    loop {
        let names = firing(port).await;
        if names.as_deref().is_some_and(|names| names == wanted) {
            return began.elapsed();
        }
        assert!(
            began.elapsed() < Duration::from_secs(seconds_max),
            "{names:?} fire, and not {wanted:?}"
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn sender(port: u16) -> Notifier {
    let text = format!(
        "global: {{external_labels: {{dc: x}}}}\nalerting: {{alertmanagers: [{{static_configs: \
         [{{targets: ['127.0.0.1:{port}']}}]}}]}}"
    );
    let config = narthex::config::parse(&text, "x.yml").unwrap();
    let notifier = Notifier::new(Options::default());
    let prepared = notifier.prepare(&config.alerting, &config.global.external_labels).unwrap();
    let discovery = Discovery::named("notify");
    discovery.seek(&prepared.sought());
    notifier.apply(prepared, &discovery.subscribe().borrow());
    notifier
}

fn alert(name: &str, ends_after_ms: i64) -> Alert {
    let now_ms = SystemClock.now_ms();
    Alert {
        labels: Labels::from_pairs([("alertname", name), ("severity", "page")]),
        annotations: Labels::from_pairs([("summary", "<it> is \"down\" & out")]),
        starts_at_ms: now_ms - 60_000,
        ends_at_ms: Some(now_ms + ends_after_ms),
        generator_url: "http://127.0.0.1/graph?g0.expr=up+%3D%3D+0".to_owned(),
    }
}

/// How long the Alertmanager is away.
const AWAY: Duration = Duration::from_mins(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs ALERTMANAGER, the path of the program"]
async fn alerts_reach_an_alertmanager_through_restarts_and_absence() {
    let program = PathBuf::from(std::env::var_os("ALERTMANAGER").expect("ALERTMANAGER is set"));
    let folder = tempfile::tempdir().unwrap();
    let port = 22_411;
    let five_minutes_ms = 300_000;
    let manager = Alertmanager::start(&program, folder.path(), port);
    let notifier = sender(port);
    notifier.send(vec![alert("a", five_minutes_ms), alert("b", five_minutes_ms)]);
    wait_for(port, &["a", "b"], 30).await;
    notifier.send(vec![alert("b", -1)]);
    wait_for(port, &["a"], 10).await;

    // The sender ends with alerts queued and starts anew.
    notifier.send(vec![alert("c", five_minutes_ms)]);
    notifier.shutdown().await;
    wait_for(port, &["a", "c"], 5).await;
    let notifier = sender(port);
    notifier.send(vec![alert("d", five_minutes_ms)]);
    wait_for(port, &["a", "c", "d"], 10).await;

    // The Alertmanager is away; it keeps no alerts over a restart.
    drop(manager);
    let gone = Instant::now();
    let mut round = 0;
    while gone.elapsed() < AWAY {
        let fires = ["a", "c", "d"].map(|name| alert(name, five_minutes_ms));
        notifier.send(fires.to_vec());
        if round == 1 {
            notifier.send(vec![alert("short", five_minutes_ms)]);
        }
        if round == 3 {
            notifier.send(vec![alert("short", -1), alert("late", five_minutes_ms)]);
        }
        round += 1;
        tokio::time::sleep(Duration::from_secs(10)).await;
    }
    let _manager = Alertmanager::start(&program, folder.path(), port);
    let took = wait_for(port, &["a", "c", "d", "late"], 20).await;
    assert!(took < Duration::from_secs(18), "all are there after {took:?}");
    notifier.shutdown().await;
}
