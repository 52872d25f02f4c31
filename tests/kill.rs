//! kill -9 in the middle of scraping and pushing: what a query showed or a 2xx acknowledged is
//! there after the restart, with the same bits, once.
//!
//! A page whose numbers tell which scrape they belong to is scraped every 50 ms, a sender pushes
//! batch after batch as remote-write clients do (one without an answer is sent again), a reader
//! asks for everything. The moments of the kills are random; the seed is printed when it fails.
#![cfg(feature = "server")]

mod program;

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use narthex::protowire::field::{write_bytes, write_double, write_int64};
use program::Server;

const KILLS: u64 = 10;
const PAGE_SERIES: u64 = 20;
const PUSH_SERIES: u64 = 4;
const PUSH_SAMPLES: i64 = 3;
/// Everything that was scraped and pushed; the program that is tested is not among it.
const ALL: &str = "%7Bjob%3D~%22page%7Cpush%22%7D%5B1h%5D";

/// What is in the store, by series and milliseconds: the value in the shortest form that reads
/// back to its bits.
type Samples = BTreeMap<String, BTreeMap<i64, String>>;

/// Numbers that look random and depend on nothing else than `seed`.
fn mix(seed: u64) -> u64 {
    let mut x = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The value of one series at one number of the page or push: integers, decimals, all bits.
fn value(series: u64, number: u64) -> f64 {
    match series % 4 {
        0 => number as f64,
        1 => (number / 7) as f64,
        2 => (mix(number ^ (series << 32)) % 100_000) as f64 / 100.0,
        _ => (mix(number ^ (series << 32)) >> 11) as f64 / 3.0e7,
    }
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is right");
    i64::try_from(since.as_millis()).expect("the clock is right")
}

/// Serves pages for ever: the n-th answer carries `value(series, n)`.
fn serve_pages(listener: TcpListener) {
    let number = AtomicU64::new(0);
    thread::spawn(move || {
        thread::scope(|scope| {
            for stream in listener.incoming() {
                let number = &number;
                scope.spawn(move || {
                    let _ = serve_one(stream?, number);
                    io::Result::Ok(())
                });
            }
        });
    });
}

/// Answers requests, none of which has a body, until the other side goes.
fn serve_one(mut stream: TcpStream, number: &AtomicU64) -> io::Result<()> {
    let (mut request, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        let len = stream.read(&mut piece)?;
        if len == 0 {
            return Ok(());
        }
        request.extend_from_slice(&piece[..len]);
        if !request.ends_with(b"\r\n\r\n") {
            continue;
        }
        request.clear();
        let n = number.fetch_add(1, Ordering::Relaxed);
        let line = |series| format!("page{{id=\"{series}\"}} {:e}\n", value(series, n));
        let body: String = (0..PAGE_SERIES).map(line).collect();
        let len = body.len();
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\n";
        write!(stream, "{head}Content-Length: {len}\r\n\r\n{body}")?;
    }
}

/// One request on a connection of its own: status and body.
fn ask(address: &str, method: &str, path: &str, body: &[u8]) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let kind = "Content-Type: application/x-protobuf\r\nContent-Encoding: snappy";
    let len = body.len();
    let head =
        format!("{method} {path} HTTP/1.0\r\nHost: x\r\n{kind}\r\nContent-Length: {len}\r\n\r\n");
    stream.write_all(&[head.as_bytes(), body].concat())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let parts = answer.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    let status = parts.0.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok((status.ok_or(io::ErrorKind::InvalidData)?, parts.1.to_owned()))
}

/// Everything that the server shows now. `None`: it went before the answer was whole.
fn shown(address: &str) -> Option<Samples> {
    let (status, body) = ask(address, "GET", &format!("/api/v1/query?query={ALL}"), b"").ok()?;
    let answer: serde_json::Value = serde_json::from_str(&body).ok()?;
    assert_eq!(status, 200, "{body}");
    let mut samples = Samples::new();
    for series in answer["data"]["result"].as_array().expect("a matrix") {
        let name = series["metric"].to_string();
        let mut points = BTreeMap::new();
        let mut last_ms = i64::MIN;
        for point in series["values"].as_array().expect("points") {
            let t_ms = (point[0].as_f64().expect("a time") * 1000.0).round() as i64;
            assert!(t_ms > last_ms, "{name}: {t_ms} ms after {last_ms} ms");
            last_ms = t_ms;
            points.insert(t_ms, point[1].as_str().expect("a value").to_owned());
        }
        assert!(samples.insert(name.clone(), points).is_none(), "{name} comes twice");
    }
    pages_are_whole(&samples);
    Some(samples)
}

/// The samples of a scrape are there together, are of one page, and pages follow one another.
fn pages_are_whole(samples: &Samples) {
    let mut pages: BTreeMap<i64, Vec<(u64, f64)>> = BTreeMap::new();
    for (name, points) in samples.iter().filter(|(name, _)| name.contains("\"page\",\"id\"")) {
        let labels: serde_json::Value = serde_json::from_str(name).expect("labels");
        let id: u64 = labels["id"].as_str().and_then(|id| id.parse().ok()).expect("a number");
        for (t_ms, text) in points {
            pages.entry(*t_ms).or_default().push((id, text.parse().expect("a number")));
        }
    }
    let mut before = None;
    for (t_ms, mut page) in pages {
        page.sort_by_key(|(id, _)| *id);
        assert_eq!(page.len() as u64, PAGE_SERIES, "{t_ms} ms: {page:?}");
        let number = page[0].1 as u64;
        assert!(before < Some(number), "page {number} at {t_ms} ms, {before:?} before it");
        before = Some(number);
        for (id, got) in page {
            assert_eq!(got.to_bits(), value(id, number).to_bits(), "{id} of page {number}");
        }
    }
}

/// A sender's batches: what it sends next, and what was acknowledged.
#[derive(Default)]
struct Sender {
    number: u64,
    last_ms: i64,
    /// Sent, answer unknown.
    pending: Option<(Vec<u8>, Samples)>,
    acknowledged: Samples,
}

impl Sender {
    fn batch(&mut self) -> (Vec<u8>, Samples) {
        // A batch's times lie behind the clock, never below the last batch's.
        let first_ms = (now_ms() - PUSH_SAMPLES).max(self.last_ms + 1);
        self.last_ms = first_ms + PUSH_SAMPLES - 1;
        let (mut message, mut samples) = (Vec::new(), Samples::new());
        for id in 0..PUSH_SERIES {
            let mut series = Vec::new();
            let (id_text, name) = (id.to_string(), "sent");
            for pair in [("__name__", name), ("id", &id_text), ("job", "push")] {
                let mut label = Vec::new();
                write_bytes(1, pair.0.as_bytes(), &mut label);
                write_bytes(2, pair.1.as_bytes(), &mut label);
                write_bytes(1, &label, &mut series);
            }
            let labels = serde_json::json!({"__name__": name, "id": id_text, "job": "push"});
            let points = samples.entry(labels.to_string()).or_default();
            for step in 0..PUSH_SAMPLES {
                let (value, t_ms) = (value(id, self.number + step as u64), first_ms + step);
                let mut sample = Vec::new();
                write_double(1, value, &mut sample);
                write_int64(2, t_ms, &mut sample);
                write_bytes(2, &sample, &mut series);
                points.insert(t_ms, value.to_string());
            }
            write_bytes(1, &series, &mut message);
        }
        self.number += PUSH_SAMPLES as u64;
        (snap::raw::Encoder::new().compress_vec(&message).expect("it is small"), samples)
    }

    /// Pushes until the server goes.
    fn run(&mut self, address: &str) {
        loop {
            let again = self.pending.take();
            let is_again = again.is_some();
            let batch = again.unwrap_or_else(|| self.batch());
            let Ok((status, text)) = ask(address, "POST", "/api/v1/write", &batch.0) else {
                self.pending = Some(batch);
                return;
            };
            // A batch that was stored before its answer got out is older than its own end when it
            // comes again; as Prometheus, the server says so. It counts as acknowledged then, so
            // that the restart shows whether all of it is there.
            let is_there = is_again && status == 400 && text.contains("out of order sample");
            assert!(status / 100 == 2 || is_there, "{status}: {text}");
            merge(&mut self.acknowledged, batch.1);
            thread::sleep(Duration::from_millis(3));
        }
    }
}

/// Adds what is new; what is known must be the same.
fn merge(into: &mut Samples, from: Samples) {
    for (name, points) in from {
        let known = into.entry(name.clone()).or_default();
        for (t_ms, text) in points {
            let before = known.insert(t_ms, text.clone());
            assert!(before.is_none_or(|b| same(&b, &text)), "{name} at {t_ms} ms: {text}");
        }
    }
}

fn same(left: &str, right: &str) -> bool {
    let bits = |text: &str| text.parse::<f64>().expect("a number").to_bits();
    left == right || bits(left) == bits(right)
}

fn assert_kept(kept: &Samples, now: &Samples, what: &str) {
    for (name, points) in kept {
        let there = now.get(name).unwrap_or_else(|| panic!("{what}: {name} is gone"));
        for (t_ms, text) in points {
            let found = there.get(t_ms);
            assert!(
                found.is_some_and(|found| same(found, text)),
                "{what}: {name} at {t_ms} ms was {text}, is {found:?}"
            );
        }
    }
}

/// Pushes and asks for `life`, then kill -9.
fn live_and_die(mut server: Server, sender: &mut Sender, seen: &mut Samples, life: Duration) {
    let is_over = AtomicBool::new(false);
    let address = server.address.clone();
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                if let Some(samples) = shown(&address) {
                    merge(seen, samples);
                }
                thread::sleep(Duration::from_millis(20));
            }
        });
        let pushes = scope.spawn(|| sender.run(&address));
        thread::sleep(life);
        // SIGKILL.
        server.child.kill().expect("it runs until here");
        server.child.wait().expect("it ends");
        is_over.store(true, Ordering::Relaxed);
        reader.join().expect("the reader found nothing wrong");
        pushes.join().expect("every push was taken");
    });
}

fn start(folder: &Path) -> Server {
    Server::start(folder, &["--web.enable-remote-write-receiver"])
}

#[test]
fn what_was_shown_or_acknowledged_outlives_kill_9() {
    let seed = now_ms() as u64;
    let _told_on_failure = PrintOnPanic(seed);
    let folder = tempfile::tempdir().expect("a folder");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let target = listener.local_addr().expect("it has one");
    serve_pages(listener);
    let config = format!(
        "scrape_configs: [{{job_name: page, scrape_interval: 50ms, scrape_timeout: 50ms, \
         static_configs: [{{targets: ['{target}']}}]}}]\n"
    );
    std::fs::write(folder.path().join("prometheus.yml"), config).expect("a file");
    let (mut sender, mut seen) = (Sender::default(), Samples::new());
    for cycle in 0..=KILLS {
        let server = start(folder.path());
        let now = shown(&server.address).expect("it answers");
        assert_kept(&seen, &now, "shown");
        assert_kept(&sender.acknowledged, &now, "acknowledged");
        merge(&mut seen, now);
        if cycle == KILLS {
            break;
        }
        let life = Duration::from_millis(300 + mix(seed + cycle) % 900);
        live_and_die(server, &mut sender, &mut seen, life);
    }
    // Nothing but what was sent, and a good deal of it.
    for (name, points) in seen.iter().filter(|(name, _)| name.contains("\"sent\"")) {
        let pending = sender.pending.as_ref().and_then(|(_, samples)| samples.get(name));
        let sent = |t_ms| sender.acknowledged[name].get(t_ms).or_else(|| pending?.get(t_ms));
        for (t_ms, text) in points {
            assert!(sent(t_ms).is_some_and(|sent| same(sent, text)), "{name} at {t_ms} ms");
        }
        assert!(points.len() > 100, "{name}: {} samples", points.len());
    }
    let scraped = seen.iter().filter(|(name, _)| name.contains("\"page\",\"id\""));
    assert!(scraped.clone().count() as u64 == PAGE_SERIES, "{:?}", seen.keys());
    assert!(scraped.clone().all(|(_, points)| points.len() > 30), "too few scrapes");
}

/// Tells the seed of a run that failed.
struct PrintOnPanic(u64);

impl Drop for PrintOnPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("seed {}", self.0);
        }
    }
}
