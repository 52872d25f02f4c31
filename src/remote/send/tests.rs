//! The whole way: samples stored in a database, received by our own receiver.

use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http::StatusCode;

use super::message::tests::Each;
use super::*;
use crate::config::{Config, parse};
use crate::db::{Database, Options};
use crate::disk::{Call, Fault, SimulatedDisk, SystemClock};
use crate::head::GroupKey;
use crate::model::Labels;
use crate::protowire::{remote_write_v1, remote_write_v2};

/// What was received: series and time, in the order of arrival.
#[derive(Debug, Default)]
struct Received {
    samples: Mutex<Vec<(String, i64, f64)>>,
    attempts: Mutex<Vec<String>>,
    /// Status of the answers.
    status: AtomicU16,
    requests: AtomicUsize,
}

impl Received {
    fn times(&self, series: &str) -> Vec<i64> {
        let samples = self.samples.lock().unwrap();
        samples.iter().filter(|(name, ..)| name == series).map(|(_, t_ms, _)| *t_ms).collect()
    }

    fn take(&self, request: &hyper::Request<()>, body: &[u8]) -> StatusCode {
        self.requests.fetch_add(1, Ordering::SeqCst);
        let header = |name: &str| {
            let value = request.headers().get(name).and_then(|value| value.to_str().ok());
            value.unwrap_or_default().to_owned()
        };
        self.attempts.lock().unwrap().push(header("retry-attempt"));
        let status = StatusCode::from_u16(self.status.load(Ordering::SeqCst)).unwrap();
        if status != StatusCode::OK {
            return status;
        }
        assert_eq!(header("content-encoding"), "snappy");
        let plain = snap::raw::Decoder::new().decompress_vec(body).unwrap();
        let mut samples = self.samples.lock().unwrap();
        let visit = |series: &crate::protowire::PushedSeries<'_>| {
            let name = series.labels.iter().find(|(name, _)| *name == b"__name__").unwrap().1;
            let name = String::from_utf8(name.to_vec()).unwrap();
            let each = series.samples.iter().map(|s| (name.clone(), s.t_ms, s.value));
            samples.extend(each);
        };
        if header("x-prometheus-remote-write-version") == "2.0.0" {
            remote_write_v2::visit_series(&plain, visit).unwrap();
        } else {
            remote_write_v1::visit_series(&plain, &mut Each(visit)).unwrap();
        }
        status
    }
}

async fn serve(received: Arc<Received>) -> u16 {
    use http_body_util::{BodyExt as _, Empty};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let received = Arc::clone(&received);
            let service = hyper::service::service_fn(move |request| {
                let received = Arc::clone(&received);
                async move {
                    let (head, body): (_, hyper::body::Incoming) =
                        hyper::Request::into_parts(request);
                    let body = body.collect().await.unwrap().to_bytes();
                    let request = hyper::Request::from_parts(head, ());
                    let status = received.take(&request, &body);
                    let mut answer = hyper::Response::new(Empty::<hyper::body::Bytes>::new());
                    *answer.status_mut() = status;
                    if status == StatusCode::OK {
                        let written = http::HeaderValue::from_static("1000");
                        let name = "x-prometheus-remote-write-samples-written";
                        answer.headers_mut().insert(name, written);
                    }
                    Ok::<_, std::convert::Infallible>(answer)
                }
            });
            let io = hyper_util::rt::TokioIo::new(stream);
            let connection = hyper::server::conn::http1::Builder::new();
            tokio::spawn(connection.serve_connection(io, service));
        }
    });
    port
}

fn open(folder: &std::path::Path) -> Database {
    let options = Options {
        sync_interval: Duration::from_millis(20),
        disk_reserve_bytes: 0,
        ..Options::default()
    };
    Database::open(folder, options).unwrap()
}

fn commit(database: &Database, t_ms: i64) {
    let mut appender = database.appender(GroupKey::Embedded("a".to_owned())).unwrap();
    for name in ["x", "y", "z"] {
        let series = appender.series(&Labels::from_pairs([("__name__", name)])).unwrap();
        appender.append(series, t_ms, 1.5);
    }
    assert_eq!(appender.commit().unwrap().rejected, []);
}

fn config(port: u16, options: &str) -> Config {
    let text = format!(
        "remote_write: [{{url: 'http://127.0.0.1:{port}/w', name: r, {options}\
         queue_config: {{batch_send_deadline: 50ms, max_samples_per_send: 10, min_backoff: 5ms, \
         max_backoff: 20ms, min_shards: 2}}}}]"
    );
    parse(&text, "t.yml").unwrap()
}

async fn start(database: &Database, config: &Config) -> Senders {
    let hold = Hold { age_ms: 6 * 3_600_000, bytes: 1 << 30 };
    let options = SendOptions { hold, flush_deadline: Duration::from_secs(10) };
    let senders = Senders::new(database.clone(), options, Arc::new(Vec::new));
    check(&config.remote_write_configs).unwrap();
    let begun = senders.apply(&config.remote_write_configs, &config.global.external_labels);
    begun.await.unwrap();
    senders
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_mins(1), "waited in vain for: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn now() -> i64 {
    queue::now_ms() - 1_000_000
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_stored_arrives_once_and_in_order_over_failures_and_restarts() {
    for options in ["", "protobuf_message: io.prometheus.write.v2.Request, "] {
        let folder = tempfile::tempdir().unwrap();
        let received = Arc::new(Received::default());
        received.status.store(200, Ordering::SeqCst);
        let config = config(serve(Arc::clone(&received)).await, options);
        let first = now();
        let mut stored = Vec::new();
        for round in 0..4 {
            let database = open(folder.path());
            // The receiver is away in the second round, and back in the third.
            let status = if round == 1 { 503 } else { 200 };
            received.status.store(status, Ordering::SeqCst);
            let senders = start(&database, &config).await;
            for n in 0..40 {
                let t_ms = first + round * 100_000 + n * 1_000;
                commit(&database, t_ms);
                stored.push(t_ms);
            }
            database.sync().unwrap();
            if round == 0 {
                until("the first samples", || received.times("x").len() > 20).await;
            }
            if round == 1 {
                let seen = || received.attempts.lock().unwrap().iter().any(|n| n == "3");
                until("the third attempt", seen).await;
            }
            senders.shutdown().await;
            database.close().unwrap();
        }
        for series in ["x", "y", "z"] {
            assert_eq!(received.times(series), stored, "{series} {options}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_for_good_is_dropped_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let received = Arc::new(Received::default());
    received.status.store(400, Ordering::SeqCst);
    let config = config(serve(Arc::clone(&received)).await, "");
    let database = open(folder.path());
    let senders = start(&database, &config).await;
    commit(&database, now());
    let value = |senders: &Senders, name: &str| -> f64 {
        let families = senders.families();
        let family = families.iter().find(|family| family.name == name);
        family.map_or(0.0, |family| family.samples.iter().map(|sample| sample.value).sum())
    };
    let failed = "prometheus_remote_storage_samples_failed_total";
    until("the failure", || value(&senders, failed) == 3.0).await;
    received.status.store(200, Ordering::SeqCst);
    let later = now() + 5_000;
    commit(&database, later);
    until("the next samples", || received.times("x") == [later]).await;
    assert_eq!(value(&senders, "prometheus_remote_storage_samples_pending"), 0.0);
    assert_eq!(value(&senders, "prometheus_remote_storage_samples_total"), 6.0);
    assert_eq!(value(&senders, "prometheus_remote_storage_samples_in_total"), 6.0);
    assert_eq!(value(&senders, "prometheus_remote_storage_shards"), 2.0);
    senders.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_outlives_a_reload_that_does_not_change_it() {
    let folder = tempfile::tempdir().unwrap();
    let received = Arc::new(Received::default());
    received.status.store(200, Ordering::SeqCst);
    let port = serve(Arc::clone(&received)).await;
    let database = open(folder.path());
    let config_a = config(port, "");
    let senders = start(&database, &config_a).await;
    let first = now();
    let mut stored = Vec::new();
    for round in 0..6 {
        // The same, then with rules, then the same again.
        let options = if round % 3 == 2 {
            "write_relabel_configs: [{source_labels: [__name__], regex: y, action: drop}], "
        } else {
            ""
        };
        let changed = config(port, options);
        let labels = &changed.global.external_labels;
        senders.apply(&changed.remote_write_configs, labels).await.unwrap();
        let t_ms = first + round * 1_000;
        commit(&database, t_ms);
        stored.push(t_ms);
    }
    until("all", || received.times("z").len() == stored.len()).await;
    assert_eq!(received.times("x"), stored);
    let nothing = Config::clone(&parse("", "t.yml").unwrap());
    senders.apply(&nothing.remote_write_configs, &Labels::empty()).await.unwrap();
    assert!(senders.families().iter().all(|family| !family.name.ends_with("_shards")));
    senders.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_cannot_be_opened_for_a_while_holds_samples_up_and_loses_none() {
    let received = Arc::new(Received::default());
    received.status.store(200, Ordering::SeqCst);
    let config = config(serve(Arc::clone(&received)).await, "");
    let mut disk = SimulatedDisk::new(1);
    let clock = Arc::new(SystemClock::new());
    let (first, mut stored) = (now(), Vec::new());
    for (t_ms, ends_meanwhile) in [(first, false), (first + 1_000, true)] {
        // Each start of the database begins a segment.
        disk = disk.kill();
        let at = Arc::new(disk.clone());
        let options = Options { background: false, disk_reserve_bytes: 0, ..Options::default() };
        let database = Database::open_with(at, clock.clone(), "data", options).unwrap();
        let mut senders = start(&database, &config).await;
        // A segment is opened with the first record that there is to read.
        disk.fail_nth_of(Call::Open, 1, Fault::Lasting);
        commit(&database, t_ms);
        stored.push(t_ms);
        database.sync().unwrap();
        // Some tries.
        tokio::time::sleep(Duration::from_millis(600)).await;
        assert_eq!(received.times("x").len(), stored.len() - 1);
        if ends_meanwhile {
            senders.shutdown().await;
        }
        disk.heal();
        if ends_meanwhile {
            senders = start(&database, &config).await;
        }
        until("what was held up", || received.times("z").len() == stored.len()).await;
        senders.shutdown().await;
        assert_eq!(received.times("x"), stored);
    }
}
