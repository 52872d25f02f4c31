//! Requests as Kiali, Flagger, Argo Rollouts, KEDA and prometheus-adapter send them, byte for byte,
//! answered as Prometheus 3.14 answered them for the same data: `testdata/consumers`.
//!
//! What asks for the present is compared apart from times and the last bits of a rate, which hang
//! on the moment of the question.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it says")]
#![cfg(feature = "server")]

mod answers;
#[expect(dead_code, reason = "other tests use the rest")]
mod client;
mod program;

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;

use answers::{difference, ordered};
use client::{Client, now_ms};
use program::Server;
use serde_json::Value;

const CONFIG: &str = "global: {scrape_interval: 30s, evaluation_interval: 1m}\n";
/// Milliseconds of the first sample, of what does not ask for the present.
const BEGIN_MS: i64 = 1_700_000_000_000;
const STEP_MS: i64 = 15_000;
const SAMPLES: i64 = 61;
/// What our answers say beyond those of Prometheus.
const OUR_OWN: [&str; 3] = ["narthexVersion", "storageUnwritable", "storageQuarantined"];

/// Labels of a series and its samples, as they are pushed.
type Described<'a> = (Vec<(&'a str, &'a str)>, Vec<(i64, f64)>);

/// Lines of a file of JSON objects.
fn lines(name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(format!("testdata/consumers/{name}")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The i-th value of a series: a line that may begin anew at `reset`, with a ripple.
fn value(series: &Value, i: i64) -> f64 {
    let number = |name: &str| series[name].as_f64().unwrap();
    let reset = series["reset"].as_i64().unwrap();
    let is_after = reset > 0 && i >= reset;
    let (first, n) = if is_after { (0.0, i - reset) } else { (number("first"), i) };
    first + number("step") * n as f64 + number("wobble") * ((i * i) % 7) as f64
}

/// A server that holds the series from `begin_ms` on.
fn serve(folder: &std::path::Path, begin_ms: i64) -> Server {
    std::fs::write(folder.join("prometheus.yml"), CONFIG).unwrap();
    let flags = ["--web.enable-remote-write-receiver", "--storage.tsdb.retention.time=100y"];
    let server = Server::start(folder, &flags);
    let described = lines("series.jsonl");
    let all: Vec<Described<'_>> = described
        .iter()
        .map(|series| {
            let labels = series["labels"].as_object().unwrap().iter();
            let mut labels: Vec<_> = labels.map(|(n, v)| (&**n, v.as_str().unwrap())).collect();
            labels.retain(|(_, value)| !value.is_empty());
            labels.sort_unstable();
            let times = (0..SAMPLES).map(|i| (begin_ms + i * STEP_MS, value(series, i)));
            (labels, times.collect())
        })
        .collect();
    let all: Vec<client::Series<'_>> = all.iter().map(|(l, s)| (l.as_slice(), &**s)).collect();
    assert_eq!(Client::new(&server.address).push(1, &all).status, 204);
    server
}

/// One connection that is kept, as Go's client keeps it.
struct Connection(BufReader<TcpStream>);

impl Connection {
    /// Sends a recorded request; gives status, kind and body of the answer.
    fn send(&mut self, address: &str, request: &Value) -> (u64, String, Vec<u8>) {
        let text = |name: &str| request[name].as_str().unwrap_or_default();
        let mut head = format!("{} {} HTTP/1.1\r\n", text("method"), text("path"));
        let _ = write!(head, "Host: {address}\r\nUser-Agent: Go-http-client/1.1\r\n");
        if text("method") == "POST" {
            let _ = write!(head, "Content-Length: {}\r\n", text("body").len());
        }
        for pair in request["headers"].as_array().into_iter().flatten() {
            let [name, value] = [0, 1].map(|i| pair[i].as_str().unwrap());
            let _ = write!(head, "{name}: {value}\r\n");
        }
        head += "Accept-Encoding: gzip\r\n\r\n";
        self.0.get_mut().write_all((head + text("body")).as_bytes()).unwrap();
        self.answer()
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn answer(&mut self) -> (u64, String, Vec<u8>) {
        let status = self.line().split(' ').nth(1).unwrap().parse().unwrap();
        let mut headers = std::collections::BTreeMap::new();
        loop {
            let line = self.line();
            let Some((name, value)) = line.split_once(": ") else { break };
            headers.insert(name.to_ascii_lowercase(), value.to_owned());
        }
        let mut body = Vec::new();
        if let Some(len) = headers.get("content-length") {
            body.resize(len.parse().unwrap(), 0);
            self.0.read_exact(&mut body).unwrap();
        } else {
            assert_eq!(headers["transfer-encoding"], "chunked");
            loop {
                let len = usize::from_str_radix(&self.line(), 16).unwrap();
                let mut chunk = vec![0; len];
                self.0.read_exact(&mut chunk).unwrap();
                assert_eq!(self.line(), "");
                if len == 0 {
                    break;
                }
                body.append(&mut chunk);
            }
        }
        if headers.get("content-encoding").is_some_and(|coding| coding == "gzip") {
            let mut plain = Vec::new();
            flate2::read::GzDecoder::new(&*body).read_to_end(&mut plain).unwrap();
            body = plain;
        }
        (status, headers.get("content-type").cloned().unwrap_or_default(), body)
    }
}

/// Without times, and values to twelve digits.
fn timeless(mut answer: Value) -> Value {
    let samples = answer.pointer_mut("/data/result").and_then(Value::as_array_mut);
    for sample in samples.into_iter().flatten() {
        let value: f64 = sample["value"][1].as_str().unwrap().parse().unwrap();
        sample["value"] = format!("{value:.11e}").into();
    }
    answer
}

/// Sends those that ask for the present, or the others; tells what is answered otherwise.
fn replay(server: &Server, is_live: bool) -> Vec<String> {
    let stream = TcpStream::connect(&server.address).unwrap();
    stream.set_read_timeout(Some(std::time::Duration::from_mins(1))).unwrap();
    let mut connection = Connection(BufReader::new(stream));
    let mut differences = Vec::new();
    let mut sent = 0;
    for entry in lines("answers.jsonl") {
        if entry["live"].as_bool().unwrap_or(false) != is_live {
            continue;
        }
        sent += 1;
        let (status, kind, body) = connection.send(&server.address, &entry);
        let mut ours: Value = serde_json::from_slice(&body).unwrap();
        for place in ["", "/data"] {
            if let Some(Value::Object(fields)) = ours.pointer_mut(place) {
                fields.retain(|name, _| !OUR_OWN.contains(&&**name));
            }
        }
        let path = entry["path"].as_str().unwrap();
        let theirs = entry["answer"].clone();
        let (ours, theirs) =
            if is_live { (timeless(ours), timeless(theirs)) } else { (ours, theirs) };
        let of = path.trim_start_matches("/api/v1/");
        let what = format!("{} {path} {}", entry["consumer"], entry["body"]);
        differences.extend(difference(&what, &ordered(of, ours), &ordered(of, theirs)));
        // COMPAT: Prometheus leaves the kind of `/version` to a guess at its bytes.
        let is_same_kind = path == "/version" || entry["type"] == kind;
        if entry["status"] != status || !is_same_kind {
            differences.push(format!("{what}: {status}, {kind}"));
        }
    }
    assert!(sent >= if is_live { 9 } else { 100 }, "{sent} requests were sent");
    differences
}

#[test]
fn consumers_are_answered_as_by_prometheus() {
    let folder = tempfile::tempdir().unwrap();
    let server = serve(folder.path(), BEGIN_MS);
    let differences = replay(&server, false);
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn who_asks_for_the_present_is_answered_as_by_prometheus() {
    let folder = tempfile::tempdir().unwrap();
    let end_ms = now_ms() / STEP_MS * STEP_MS;
    let server = serve(folder.path(), end_ms - (SAMPLES - 1) * STEP_MS);
    let differences = replay(&server, true);
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
