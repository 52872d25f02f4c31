//! A server that plays an API, and a collector of what a mechanism tells.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::{Discovery, Mechanism, Metrics, TargetGroup, TargetSets, Updates};

/// A server on the loopback interface.
pub(super) struct Api {
    pub(super) address: String,
}

impl Api {
    /// Answers each request with what `answer` gives for its number and text, body included.
    /// An answer without a length stays open: the connection waits for its end.
    pub(super) async fn serve(
        answer: impl Fn(usize, &str) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (answer, number) = (Arc::new(answer), Arc::new(AtomicUsize::new(0)));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (answer, number) = (Arc::clone(&answer), Arc::clone(&number));
                tokio::spawn(async move {
                    while let Some(request) = read_request(&mut stream).await {
                        let bytes = answer(number.fetch_add(1, Ordering::SeqCst), &request);
                        if stream.write_all(&bytes).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self { address }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(super) fn json(body: &str) -> Vec<u8> {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: ";
        format!("{head}{}\r\n\r\n{body}", body.len()).into_bytes()
    }

    pub(super) fn status(status: &str, body: &str) -> Vec<u8> {
        format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
    }
}

async fn read_request(stream: &mut tokio::net::TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8_lossy(&bytes).into_owned();
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut body).await.ok()?;
    Some(head + &String::from_utf8_lossy(&body))
}

/// What a mechanism told, put together.
pub(super) struct Collected {
    task: tokio::task::JoinHandle<()>,
    seen: watch::Receiver<u64>,
    groups: Arc<Mutex<BTreeMap<String, Arc<TargetGroup>>>>,
}

impl Collected {
    /// Runs a mechanism.
    pub(super) fn run(mechanism: Box<dyn Mechanism>) -> Self {
        let (told, seen) = watch::channel(0);
        let groups: Arc<Mutex<BTreeMap<String, Arc<TargetGroup>>>> = Arc::default();
        let kept = Arc::clone(&groups);
        let updates = Updates::new("j", Metrics::new(), move |groups, is_all| {
            let mut kept = kept.lock().unwrap();
            if is_all {
                kept.clear();
            }
            for group in groups {
                if group.targets.is_empty() {
                    kept.remove(&group.source);
                } else {
                    kept.insert(group.source.clone(), group);
                }
            }
            told.send_modify(|number| *number += 1);
        });
        Self { task: tokio::spawn(mechanism.run(updates)), seen, groups }
    }

    /// All that is known after the next change.
    pub(super) async fn next(&mut self) -> Vec<Arc<TargetGroup>> {
        let changed = tokio::time::timeout(Duration::from_secs(20), self.seen.changed());
        changed.await.expect("BUG: nothing was told").unwrap();
        self.groups.lock().unwrap().values().cloned().collect()
    }

    /// All that is known once `is_it` holds of it.
    pub(super) async fn until(
        &mut self,
        is_it: impl Fn(&[Arc<TargetGroup>]) -> bool,
    ) -> Vec<Arc<TargetGroup>> {
        loop {
            let groups: Vec<_> = self.groups.lock().unwrap().values().cloned().collect();
            if is_it(&groups) {
                return groups;
            }
            self.next().await;
        }
    }
}

impl Drop for Collected {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The set of a job once `is_it` holds of it.
async fn set_where(
    sets: &mut watch::Receiver<Arc<TargetSets>>,
    is_it: impl Fn(&TargetSets) -> bool,
) -> Arc<TargetSets> {
    loop {
        let current = Arc::clone(&sets.borrow_and_update());
        if is_it(&current) {
            return current;
        }
        let changed = tokio::time::timeout(Duration::from_secs(20), sets.changed());
        changed.await.expect("BUG: no such set").unwrap();
    }
}

#[tokio::test]
async fn jobs_share_a_mechanism_and_keep_it_over_a_reload() {
    let api = Api::serve(|_, _| Api::json(r#"[{"targets":["a:1"]}]"#)).await;
    let text = |first: &str| {
        let url = api.url("/sd");
        format!(
            "scrape_configs:\n- job_name: {first}\n  http_sd_configs: [{{url: '{url}'}}]\n  \
             static_configs: [{{targets: [s]}}]\n- job_name: b\n  http_sd_configs: [{{url: \
             '{url}'}}]\n- job_name: c\n  gce_sd_configs: [{{project: p, zone: z}}]\n"
        )
    };
    let config = crate::config::parse(&text("a"), "x.yml").unwrap();
    let discovery = Discovery::new();
    let mut sets = discovery.subscribe();
    discovery.apply(&config.scrape_configs);
    let found = set_where(&mut sets, |sets| sets["b"].len() == 1).await;
    assert_eq!(found["a"].len(), 2);
    assert!(!found.contains_key("c"));
    let config = crate::config::parse(&text("z"), "x.yml").unwrap();
    discovery.apply(&config.scrape_configs);
    // Known at once, without another question.
    let found = Arc::clone(&sets.borrow_and_update());
    assert_eq!((found["z"].len(), found["b"].len(), found.len()), (2, 1, 2));
    let text: Vec<String> = discovery
        .families()
        .iter()
        .filter(|family| family.name == "prometheus_sd_received_updates_total")
        .map(|family| format!("{family:?}"))
        .collect();
    assert!(text[0].contains("1.0"), "{text:?}");
}
