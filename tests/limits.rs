//! What bounds queries, as a client meets it: each limit names itself and what was asked for, is
//! counted, and hurts nobody else.

#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it says")]
#![cfg(feature = "server")]

#[expect(dead_code, reason = "other tests use the rest")]
mod client;
mod program;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use client::{Answer, Client, now_ms};
use program::Server;

const RECEIVER: &str = "--web.enable-remote-write-receiver";

/// Takes minutes, and little memory: 86,400 medians of 86,400 values each.
const HEAVY: &str = "max_over_time(quantile_over_time(0.5,vector(time())[1d:1s])[1d:1s])";

struct Running {
    client: Client,
    server: Server,
    _folder: tempfile::TempDir,
}

fn start(flags: &[&str]) -> Running {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("prometheus.yml");
    std::fs::write(file, "global: {scrape_interval: 1h}\n").unwrap();
    let server = Server::start(folder.path(), &[&[RECEIVER][..], flags].concat());
    Running { client: Client::new(&server.address), server, _folder: folder }
}

impl Running {
    /// Stores `series` series of `samples` samples each, ten seconds apart up to now.
    fn push(&self, series: usize, samples: usize) {
        let end_ms = now_ms();
        let at = |i: usize| end_ms - (samples - 1 - i) as i64 * 10_000;
        let points: Vec<_> = (0..samples).map(|i| (at(i), i as f64)).collect();
        for n in 0..series {
            let number = n.to_string();
            let labels = [("__name__", "m"), ("n", number.as_str())];
            assert_eq!(self.client.push(1, &[(&labels, &points)]).status, 204);
        }
    }

    fn query(&self, query: &str) -> Answer {
        self.client.post_form("/api/v1/query", &form(query))
    }

    /// The value of a series on the page of metrics.
    fn metric(&self, series: &str) -> f64 {
        let page = self.client.get("/metrics").text();
        let line = page.lines().find_map(|line| line.strip_prefix(series));
        let value = line.unwrap_or_else(|| panic!("{series} is on the page")).trim();
        value.parse().unwrap()
    }

    fn refused(&self, limit: &str) -> f64 {
        self.metric(&format!("narthex_query_refused_total{{limit=\"{limit}\"}}"))
    }

    /// Waits until so many queries run.
    fn wait_for_queries(&self, count: f64) {
        for _ in 0..600 {
            if self.metric("prometheus_engine_queries ") == count {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("{count} queries do not run");
    }

    /// Begins a query whose answer nobody reads yet.
    fn begin(&self, query: &str) -> TcpStream {
        let mut stream = TcpStream::connect(&self.server.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_mins(2))).unwrap();
        let body = form(query);
        let head = "POST /api/v1/query HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
                    Content-Type: application/x-www-form-urlencoded\r\n";
        write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
        stream
    }
}

fn form(query: &str) -> String {
    let hex = |byte: u8| format!("%{byte:02X}");
    let encoded: String = query.bytes().map(hex).collect();
    format!("query={encoded}")
}

fn read(mut stream: TcpStream) -> String {
    let mut text = String::new();
    let _ = stream.read_to_string(&mut text);
    text
}

/// The text of an error with this status.
fn error(answer: &Answer, status: u16) -> String {
    let json = answer.json();
    assert_eq!((answer.status, json["status"].as_str()), (status, Some("error")), "{json}");
    json["error"].as_str().unwrap().to_owned()
}

#[test]
fn samples_series_and_bytes_are_bounded() {
    let running = start(&[
        "--query.max-samples=5000",
        "--query.max-series=20",
        "--query.max-memory=100KiB",
        "--query.max-total-memory=1MiB",
    ]);
    running.push(30, 40);
    let text = error(&running.query("sum_over_time(vector(1)[1y:1ms])"), 422);
    assert_eq!(
        text,
        "query processing would load too many samples into memory in query execution: \
         31536000001 samples are needed, limit query.max-samples is 5000"
    );
    let text = error(&running.query("count(m)"), 422);
    assert_eq!(text, "query selects 30 series, limit query.max-series is 20");
    let text = error(&running.client.get("/api/v1/series?match[]=m"), 422);
    assert_eq!(text, "query selects 30 series, limit query.max-series is 20");
    let long = "x".repeat(400);
    let term = |i: u32| format!("label_replace(vector({i}),\"a\",\"{i}{long}\",\"\",\"\")");
    let names: Vec<_> = (0..400).map(term).collect();
    let text = error(&running.query(&names.join(" or ")), 422);
    assert!(
        text.starts_with("query needs ") && text.ends_with("limit query.max-memory is 102400"),
        "{text}"
    );
    for (limit, bound, refused) in [
        ("query.max-samples", 5000.0, 1.0),
        ("query.max-series", 20.0, 2.0),
        ("query.max-memory", 102_400.0, 1.0),
        ("query.max-total-memory", 1_048_576.0, 0.0),
        ("query.max-concurrency", 20.0, 0.0),
        ("query.timeout", 120.0, 0.0),
    ] {
        assert_eq!(running.metric(&format!("narthex_query_limit{{limit=\"{limit}\"}}")), bound);
        assert_eq!(running.refused(limit), refused, "{limit}");
    }
    // What is within the limits is answered, and nothing is held afterwards.
    let data = running.query("sum(sum_over_time(m{n=~\"[1-9]\"}[10m]))").data();
    assert_eq!(data["result"][0]["value"][1], "7020");
    assert_eq!(running.metric("narthex_query_memory_bytes "), 0.0);
    assert!(running.metric("narthex_query_memory_peak_bytes ") > 10_000.0);
}

#[test]
fn what_all_queries_hold_is_bounded() {
    let running = start(&["--query.max-total-memory=64KiB", "--query.max-memory=1MiB"]);
    let text = error(&running.query("sum_over_time(vector(1)[10000s:1s])"), 422);
    assert!(
        text.starts_with("queries that run now and this one need ")
            && text.ends_with(" bytes of memory together, limit query.max-total-memory is 65536"),
        "{text}"
    );
    assert_eq!(running.refused("query.max-total-memory"), 1.0);
    assert_eq!(running.query("vector(1)").status, 200);
}

#[test]
fn time_is_bounded_by_flag_and_by_parameter() {
    let running = start(&["--query.timeout=1s"]);
    let text = error(&running.query(HEAVY), 503);
    assert_eq!(text, "query timed out in expression evaluation");
    let asked = form(HEAVY) + "&timeout=300ms";
    error(&running.client.post_form("/api/v1/query", &asked), 503);
    assert_eq!(running.refused("query.timeout"), 2.0);
    let asked = form("vector(1)") + "&timeout=-1";
    let text = error(&running.client.post_form("/api/v1/query", &asked), 400);
    assert_eq!(text, "invalid parameter \"timeout\": timeout must not be negative");
}

#[test]
fn a_short_query_does_not_wait_for_long_ones() {
    let running = start(&["--query.max-concurrency=1"]);
    let long = running.begin(HEAVY);
    running.wait_for_queries(1.0);
    // No place is free, and none will be for minutes.
    assert_eq!(running.query("vector(1)").data()["result"][0]["value"][1], "1");
    assert_eq!(running.metric("prometheus_engine_queries "), 1.0);
    // Another long one waits for its turn until its time is over.
    let asked = form(HEAVY) + "&timeout=500ms";
    let text = error(&running.client.post_form("/api/v1/query", &asked), 503);
    assert_eq!(text, "query timed out in query queue");
    assert_eq!(running.refused("query.max-concurrency"), 1.0);
    drop(long);
    running.wait_for_queries(0.0);
}

#[test]
fn work_ends_when_its_client_goes_and_when_the_server_stops() {
    let mut running = start(&[]);
    let gone = running.begin(HEAVY);
    running.wait_for_queries(1.0);
    drop(gone);
    running.wait_for_queries(0.0);
    let waiting = running.begin(HEAVY);
    running.wait_for_queries(1.0);
    running.server.signal("-TERM");
    let answer = read(waiting);
    // On a machine that is busy the connection may be cut before the error is written.
    let is_told = answer.contains("query was canceled in expression evaluation");
    assert!(is_told || answer.is_empty(), "{answer:?}");
    assert!(running.server.child.wait().unwrap().success());
}

#[test]
fn texts_are_bounded_and_long_ones_are_answered() {
    let running = start(&[]);
    let deep = |count: usize| "(".repeat(count) + "1" + &")".repeat(count);
    assert_eq!(running.query(&deep(250)).status, 200);
    let text = error(&running.query(&deep(100_000)), 400);
    assert!(text.contains("query is nested too deeply, limit 256"), "{text}");
    let text = error(&running.query(&vec!["1"; 100_000].join("+")), 400);
    assert!(text.contains("query has too many parts, limit 100000"), "{text}");
    assert_eq!(running.query(&vec!["1"; 40_000].join("+")).data()["result"][1], "40000");
    let regex = format!("m{{n=~\"{}\"}}", "(a|b)?".repeat(200_000));
    let text = error(&running.query(&regex), 400);
    assert!(text.contains("query is 1200008 bytes long, limit 1048576"), "{text}");
    let regex = format!("m{{n=~\"{}\"}}", "(a|b)?".repeat(100_000));
    let text = error(&running.query(&regex), 400);
    assert!(text.contains("regular expression is 600000 bytes long, limit"), "{text}");
    // A list of names is no automaton, however long.
    let names: Vec<_> = (0..20_000).map(|i| format!("pod-{i}")).collect();
    assert_eq!(running.query(&format!("m{{n=~\"{}\"}}", names.join("|"))).status, 200);
    // Dashboards generate such chains.
    let terms: Vec<_> =
        (0..500).map(|i| format!("label_replace(vector({i}),\"a\",\"{i}\",\"\",\"\")")).collect();
    let data = running.query(&terms.join(" or ")).data();
    assert_eq!(data["result"].as_array().map(Vec::len), Some(500));
}

#[test]
fn a_series_of_many_points_is_printed_in_pieces() {
    let running = start(&[]);
    running.push(1, 60_000);
    let answer = running.query("m[8d]");
    assert!(answer.header("content-length").is_none());
    let data = answer.data();
    let values = data["result"][0]["values"].as_array().unwrap();
    let expected: Vec<String> = (0..60_000).map(|i| i.to_string()).collect();
    let found: Vec<_> = values.iter().filter_map(|point| point[1].as_str()).collect();
    assert_eq!(found, expected);
}
