//! Jobs against servers on the loopback interface, and a database in memory.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::config::StaticTargets;
use crate::discovery::Discovery;
use crate::model::Labels;
use crate::scrape::ingest::tests::MemorySink;
use crate::scrape::tests::job;
use crate::scrape::{Features, Manager, TargetStatus};

/// A server that answers every request with `answer`'s bytes for its number.
struct Server {
    address: String,
    connections: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
}

async fn serve(answer: impl Fn(usize) -> Vec<u8> + Send + Sync + 'static) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (connections, requests) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let server =
        Server { address, connections: Arc::clone(&connections), requests: Arc::clone(&requests) };
    let answer = Arc::new(answer);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            connections.fetch_add(1, Ordering::SeqCst);
            let (answer, requests) = (Arc::clone(&answer), Arc::clone(&requests));
            tokio::spawn(async move {
                let mut head = [0; 8192];
                while stream.read(&mut head).await.is_ok_and(|read| read > 0) {
                    let bytes = answer(requests.fetch_add(1, Ordering::SeqCst));
                    if stream.write_all(&bytes).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    server
}

fn page(content_type: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A job that scrapes `addresses` a few times a second.
fn fast_job(addresses: &[&str]) -> ScrapeConfig {
    ScrapeConfig {
        scrape_interval_ms: 300,
        scrape_timeout_ms: 300,
        static_configs: vec![StaticTargets {
            targets: addresses.iter().map(|&address| address.to_owned()).collect(),
            labels: Labels::empty(),
        }],
        ..job("j")
    }
}

struct Bench {
    sink: Arc<MemorySink>,
    manager: Arc<Manager>,
    discovery: Discovery,
}

impl Bench {
    fn start(config: ScrapeConfig) -> Self {
        let sink = Arc::new(MemorySink::default());
        let manager =
            Arc::new(Manager::new(Arc::clone(&sink) as Arc<dyn Sink>, Features::default()));
        let bench = Self { sink, manager, discovery: Discovery::new() };
        bench.apply(config);
        bench
    }

    fn apply(&self, config: ScrapeConfig) {
        let configs = [config];
        self.manager.apply(&configs, &Labels::empty());
        self.discovery.apply(&configs);
        self.manager.sync(Arc::clone(&self.discovery.subscribe().borrow()));
    }

    /// Waits until `is_there` finds what it looks for.
    async fn wait(&self, what: &str, is_there: impl Fn(&Self) -> bool) {
        for _ in 0..2000 {
            if is_there(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("no {what}: {:?}, {:?}", self.manager.active_targets(), self.sink);
    }

    fn only_target(&self) -> TargetStatus {
        let targets = self.manager.active_targets();
        assert_eq!(targets.len(), 1, "{targets:?}");
        targets.into_iter().next().unwrap()
    }

    fn samples(&self, metric: &str, instance: &str) -> Vec<String> {
        let labels = format!("{{__name__=\"{metric}\", instance=\"{instance}\", job=\"j\"}}");
        self.sink.series(&labels)
    }
}

fn values(samples: &[String]) -> Vec<&str> {
    samples.iter().map(|sample| sample.split(' ').nth(1).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_is_scraped_over_one_connection_on_its_grid() {
    let server = serve(|n| page(TEXT, &format!("# HELP a b\n# TYPE a counter\na {n}\n"))).await;
    let address = server.address.as_str();
    let bench = Bench::start(fast_job(&[address]));
    bench.wait("scrapes", |bench| bench.samples("a", address).len() >= 5).await;
    let target = bench.only_target();
    assert_eq!(target.health, Health::Up);
    assert_eq!(target.last_error, "");
    assert_eq!(target.scrape_url, format!("http://{address}/metrics"));
    assert!(target.last_scrape_ns.is_some());
    let samples = bench.samples("a", address);
    assert_eq!(values(&samples)[..3], ["0", "1", "2"]);
    assert_eq!(values(&bench.samples("up", address))[..3], ["1", "1", "1"]);
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
    let metadata = bench.manager.metadata();
    assert_eq!(metadata[0].families[0].name, "a");
    bench.manager.shutdown().await;
    let requests = server.requests.load(Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(server.requests.load(Ordering::SeqCst), requests);
    assert!(!values(&bench.samples("a", address)).contains(&"stale"));
}

#[tokio::test]
async fn targets_are_asked_in_time_while_the_storage_has_to_wait() {
    const TARGETS: usize = 8;
    let mut servers = Vec::new();
    for _ in 0..TARGETS {
        servers.push(serve(|n| page(TEXT, &format!("a {n}\n"))).await);
    }
    let addresses: Vec<&str> = servers.iter().map(|server| server.address.as_str()).collect();
    let bench = Bench::start(fast_job(&addresses));
    let scraped = |bench: &Bench, times| {
        addresses.iter().all(|address| bench.samples("a", address).len() >= times)
    };
    bench.wait("scrapes", |bench| scraped(bench, 2)).await;
    bench.sink.is_stalled.store(true, Ordering::SeqCst);
    let requests = || -> Vec<usize> {
        servers.iter().map(|server| server.requests.load(Ordering::SeqCst)).collect()
    };
    let before = requests();
    // One or two may have been on their way already.
    let asked = || requests().iter().zip(&before).filter(|(now, before)| now > before).count();
    bench.wait("requests", |_| asked() >= TARGETS - 2).await;
    bench.sink.is_stalled.store(false, Ordering::SeqCst);
    bench.wait("scrapes", |bench| scraped(bench, 4)).await;
    bench.manager.shutdown().await;
}

#[tokio::test]
async fn large_pages_are_stored_as_well() {
    let filling = format!("# {}\n", "x".repeat(98)).repeat(12_000);
    let server = serve(move |n| page(TEXT, &format!("{filling}a {n}\n"))).await;
    let address = server.address.as_str();
    let bench = Bench::start(fast_job(&[address]));
    bench.wait("scrapes", |bench| bench.samples("a", address).len() >= 3).await;
    assert_eq!(values(&bench.samples("a", address))[..2], ["0", "1"]);
    bench.manager.shutdown().await;
}

#[tokio::test]
async fn every_way_to_fail_is_told() {
    let endless = || {
        let mut bytes = format!("HTTP/1.1 200 OK\r\nContent-Type: {TEXT}\r\n\r\n").into_bytes();
        bytes.resize(100_000, b'#');
        bytes
    };
    let cases: Vec<(Server, &str)> = vec![
        (
            serve(|_| page("text/html", "<html>")).await,
            "received unsupported Content-Type \"text/html\" and no \
                fallback_scrape_protocol specified for target",
        ),
        (
            serve(|_| page(TEXT, "a 1\nb{ 2\n")).await,
            "expected label name, got \"2\" (\"INVALID\") while parsing: \"b{ 2\"",
        ),
        (
            serve(|_| b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n".to_vec())
                .await,
            "server returned HTTP status 500 Internal Server Error",
        ),
        (serve(move |_| endless()).await, "body size limit exceeded (limit: 50000 bytes)"),
        (serve(|_| Vec::new()).await, "Get \"URL\": context deadline exceeded"),
        (
            serve(|_| page(TEXT, "a{b=\"1\",c=\"2\",d=\"3\"} 1\n")).await,
            "label_limit exceeded (metric: a, number of labels: 6, limit: 5)",
        ),
        (serve(|_| page(TEXT, "a 1\nb 1\nc 1\nd 1\n")).await, "sample limit exceeded (limit: 3)"),
    ];
    let addresses: Vec<&str> = cases.iter().map(|(server, _)| server.address.as_str()).collect();
    let bench = Bench::start(ScrapeConfig {
        body_size_limit: 50_000,
        label_limit: 5,
        sample_limit: 3,
        ..fast_job(&addresses)
    });
    for (server, expected) in &cases {
        let address = server.address.as_str();
        bench.wait("report", |bench| !bench.samples("up", address).is_empty()).await;
        let find = |target: &TargetStatus| target.labels.get("instance") == Some(address);
        let expected = expected.replace("URL", &format!("http://{address}/metrics"));
        // A machine that is busy may give a scrape too little time once.
        bench
            .wait(&expected, |bench| {
                let targets = bench.manager.active_targets();
                targets.into_iter().find(find).is_some_and(|target| {
                    target.health == Health::Down && target.last_error.starts_with(&expected)
                })
            })
            .await;
        assert_eq!(values(&bench.samples("up", address))[0], "0", "{expected}");
        assert!(bench.samples("a", address).is_empty());
    }
    bench.manager.shutdown().await;
}

#[tokio::test]
async fn a_target_that_goes_away_ends_but_not_one_that_comes_back() {
    let server = serve(|n| page(TEXT, &format!("a {n}\n"))).await;
    let address = server.address.as_str();
    let bench = Bench::start(fast_job(&[address]));
    bench.wait("scrape", |bench| bench.samples("a", address).len() >= 2).await;
    // Gone for less than two intervals: the new loop's samples are newer than the markers.
    bench.apply(fast_job(&[]));
    assert!(bench.manager.active_targets().is_empty());
    bench.apply(fast_job(&[address]));
    let before = bench.samples("a", address).len();
    bench.wait("scrapes", |bench| bench.samples("a", address).len() >= before + 5).await;
    assert!(!values(&bench.samples("a", address)).contains(&"stale"));
    bench.apply(fast_job(&[]));
    for metric in ["a", "up", "scrape_series_added"] {
        bench
            .wait("marker", |bench| {
                values(&bench.samples(metric, address)).last() == Some(&"stale")
            })
            .await;
    }
    bench.manager.shutdown().await;
}

#[tokio::test]
async fn a_reload_restarts_only_what_it_concerns() {
    let server = serve(|n| page(TEXT, &format!("a {n}\n"))).await;
    let address = server.address.as_str();
    let bench = Bench::start(fast_job(&[address]));
    bench.wait("scrape", |bench| bench.samples("a", address).len() >= 2).await;
    bench.apply(fast_job(&[address]));
    bench.apply(fast_job(&[address, "127.0.0.1:1"]));
    let before = bench.samples("a", address).len();
    bench.wait("scrapes", |bench| bench.samples("a", address).len() >= before + 2).await;
    assert_eq!(server.connections.load(Ordering::SeqCst), 1, "the loop was left alone");
    // Another limit: the loop restarts and knows its lines.
    bench.apply(ScrapeConfig { sample_limit: 10, ..fast_job(&[address]) });
    bench.wait("connection", |_| server.connections.load(Ordering::SeqCst) == 2).await;
    let before = bench.samples("a", address).len();
    bench.wait("scrapes", |bench| bench.samples("a", address).len() >= before + 2).await;
    let added = bench.samples("scrape_series_added", address);
    assert_eq!(values(&added).iter().filter(|value| **value == "1").count(), 1, "{added:?}");
    // Other labels: what was learned does not hold, and the old series end.
    bench.apply(ScrapeConfig { honor_labels: true, ..fast_job(&[address]) });
    let before = bench.samples("a", address).len();
    bench.wait("scrapes", |bench| bench.samples("a", address).len() >= before + 5).await;
    assert!(!values(&bench.samples("a", address)).contains(&"stale"));
    bench.manager.shutdown().await;
}

#[tokio::test]
async fn too_many_targets_are_all_failed() {
    let server = serve(|_| page(TEXT, "a 1\n")).await;
    let address = server.address.as_str();
    let bench =
        Bench::start(ScrapeConfig { target_limit: 1, ..fast_job(&[address, "127.0.0.1:1"]) });
    bench.wait("report", |bench| values(&bench.samples("up", address)).contains(&"0")).await;
    let expected = "target_limit exceeded (number of targets: 2, limit: 1)";
    bench
        .wait("status", |bench| {
            bench.manager.active_targets().iter().all(|target| target.last_error == expected)
        })
        .await;
    assert_eq!(server.requests.load(Ordering::SeqCst), 0);
    bench.apply(ScrapeConfig { target_limit: 1, ..fast_job(&[address]) });
    bench.wait("sample", |bench| !bench.samples("a", address).is_empty()).await;
    bench.manager.shutdown().await;
}

#[tokio::test]
async fn jobs_and_targets_that_cannot_run_say_so() {
    let bench = Bench::start(ScrapeConfig {
        unsupported: Some("gce_sd_configs is not built in".to_owned()),
        ..fast_job(&["127.0.0.1:1"])
    });
    assert!(bench.manager.active_targets().is_empty());
    assert_eq!(bench.manager.failed_jobs()[0].reason, "gce_sd_configs is not built in");
    let mut wrong = fast_job(&["127.0.0.1:1"]);
    wrong.http_client.tls.max_version = "TLS10".to_owned();
    bench.apply(wrong);
    assert!(bench.manager.failed_jobs()[0].reason.contains("TLS10 is insecure"));
    bench.apply(ScrapeConfig { scheme: "ftp".to_owned(), ..fast_job(&["127.0.0.1:1"]) });
    assert!(bench.manager.failed_jobs().is_empty());
    bench.wait("report", |bench| !bench.samples("up", "127.0.0.1:1").is_empty()).await;
    bench.wait("status", |bench| bench.only_target().health == Health::Down).await;
    let error = bench.only_target().last_error;
    assert!(error.ends_with("unsupported protocol scheme \"ftp\""), "{error}");
    bench.manager.shutdown().await;
}

#[tokio::test]
async fn equal_targets_are_one_and_dropped_ones_are_counted() {
    let server = serve(|_| page(TEXT, "a 1\n")).await;
    let address = server.address.as_str();
    let drop_rule = crate::relabel::Rule {
        source_labels: Some(vec!["__address__".to_owned()]),
        regex: crate::regex::Regex::new("drop.*").unwrap(),
        action: crate::relabel::Action::Drop,
        ..crate::relabel::Rule::default()
    };
    let mut config = fast_job(&[address, address, "drop:1", "drop:2", "bad/address"]);
    config.relabel_configs = vec![drop_rule];
    config.keep_dropped_targets = 1;
    let bench = Bench::start(config);
    assert_eq!(bench.only_target().labels.get("instance"), Some(address));
    assert_eq!(bench.manager.dropped_targets().len(), 1);
    assert_eq!(bench.manager.dropped_target_counts()["j"], 2);
    let families = bench.manager.families();
    let failed = families.iter().find(|f| f.name == "prometheus_target_sync_failed_total");
    assert_eq!(failed.unwrap().samples[0].value, 1.0);
    bench.manager.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_scraped_can_be_read_from_the_database() {
    use crate::db::{Database, Options};
    use crate::model::{Matcher, Samples, TimeRange, is_stale};
    use crate::select::{Cancellation, Queryable};

    let server = serve(|n| {
        let gone = if n < 2 { "b 1\n" } else { "" };
        page(TEXT, &format!("a{{x=\"y\"}} {n}\n{gone}"))
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let database = Database::open(dir.path(), Options::default()).unwrap();
    let manager = Manager::new(Arc::new(database.clone()), Features::default());
    let config = fast_job(&[server.address.as_str()]);
    let discovery = Discovery::new();
    discovery.apply(std::slice::from_ref(&config));
    manager.apply(std::slice::from_ref(&config), &Labels::empty());
    manager.sync(Arc::clone(&discovery.subscribe().borrow()));
    let read = |name: &str| {
        let matchers = [Matcher::equal("__name__", name)];
        let set = database.select(&matchers, TimeRange::ALL, &Cancellation::new()).unwrap();
        let mut samples = Samples::default();
        if !set.is_empty() {
            assert_eq!(set.labels(0).get("instance"), Some(server.address.as_str()));
            set.read(0, TimeRange::ALL, &mut samples).unwrap();
        }
        samples
    };
    for _ in 0..2000 {
        if read("a").len() >= 4 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    manager.shutdown().await;
    let (a, b, up) = (read("a"), read("b"), read("up"));
    assert_eq!(a.values[..4], [0.0, 1.0, 2.0, 3.0]);
    assert_eq!(up.timestamps, a.timestamps, "one row a scrape");
    assert!(up.values.iter().all(|up| *up == 1.0));
    assert_eq!(b.timestamps[..], a.timestamps[..3]);
    assert_eq!(b.values[..2], [1.0, 1.0]);
    assert!(is_stale(b.values[2]));
    database.close().unwrap();
}
