//! Answers of the API beside those that Prometheus 3.14 gave for the same data, field by field:
//! `testdata/api/recorded.json`. The data is our own and comes by OTLP, so that what the receiver
//! makes of it is compared too.

#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it says")]
#![cfg(feature = "server")]

mod answers;
#[expect(dead_code, reason = "other tests use the rest")]
mod client;
mod program;

use answers::{difference, ordered};
use client::Client;
use program::Server;
use serde_json::Value;

const CONFIG: &str = "global: {scrape_interval: 15s, external_labels: {dc: x}}
otlp:
  promote_resource_attributes: [host.name]
  keep_identifying_resource_attributes: true
  promote_scope_metadata: true
storage: {exemplars: {max_exemplars: 1000}}
";

fn start(folder: &std::path::Path) -> (Client, Server) {
    std::fs::write(folder.join("prometheus.yml"), CONFIG).unwrap();
    let flags = [
        "--web.enable-otlp-receiver",
        "--enable-feature=exemplar-storage",
        "--storage.tsdb.retention.time=100y",
    ];
    let server = Server::start(folder, &flags);
    (Client::new(&server.address), server)
}

#[test]
fn answers_are_those_of_prometheus() {
    let folder = tempfile::tempdir().unwrap();
    let (client, _server) = start(folder.path());
    let request = std::fs::read("testdata/api/otlp.json").unwrap();
    let kind = [("Content-Type", "application/json")];
    let answer = client.send("POST", "/api/v1/otlp/v1/metrics", &kind, &request);
    assert_eq!((answer.status, answer.text().as_str()), (200, "{}"));
    let recorded = std::fs::read("testdata/api/recorded.json").unwrap();
    let recorded: Value = serde_json::from_slice(&recorded).unwrap();
    let mut differences = Vec::new();
    for entry in recorded.as_array().unwrap() {
        let path = entry["path"].as_str().unwrap();
        let answer = client.get(&format!("/api/v1/{path}"));
        if u64::from(answer.status) != entry["status"].as_u64().unwrap() {
            differences.push(format!("{path}: status {}, not {}", answer.status, entry["status"]));
        }
        let ours = match &entry["body"] {
            Value::String(_) => Value::String(answer.text()),
            _ => answer.json(),
        };
        let theirs = ordered(path, entry["body"].clone());
        differences.extend(difference(path, &ordered(path, ours), &theirs));
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn what_cannot_be_stored_is_told_as_the_protocol_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let (client, _server) = start(folder.path());
    let send = |kind: &str, coding: &str, body: &[u8]| {
        let headers = [("Content-Type", kind), ("Content-Encoding", coding)];
        client.send("POST", "/api/v1/otlp/v1/metrics", &headers, body)
    };
    let metric = |name: &str, kind: &str, more: &str| {
        format!(
            "{{\"name\":\"{name}\",\"{kind}\":{{{more}\"dataPoints\":[{{\"timeUnixNano\":\
             \"1700000000000000000\",\"asInt\":\"3\"}}]}}}}"
        )
    };
    let request = |metrics: &[String]| {
        let metrics = metrics.join(",");
        format!("{{\"resourceMetrics\":[{{\"scopeMetrics\":[{{\"metrics\":[{metrics}]}}]}}]}}")
    };
    let (good, delta) =
        (metric("good", "gauge", ""), metric("d", "sum", "\"aggregationTemporality\":1,"));
    let part = send("application/json", "", request(&[good, delta.clone()]).as_bytes());
    let json = part.json();
    assert_eq!((part.status, &json["partialSuccess"]["rejectedDataPoints"]), (200, &"1".into()));
    let why = json["partialSuccess"]["errorMessage"].as_str().unwrap();
    assert_eq!(why, "invalid temporality and type combination for metric \"d\"");
    let none = send("application/json", "", request(&[delta]).as_bytes());
    assert_eq!(none.status, 400);
    for (kind, coding, body, text) in [
        ("text/plain", "", &b"x"[..], "unsupported content type"),
        ("application/json", "br", b"{}", "unsupported compression: br"),
        ("application/json", "gzip", b"{}", "gzip: "),
        ("application/json", "", b"[", "JSON: "),
        ("application/x-protobuf", "", &[0x0a, 9], "declared"),
    ] {
        let answer = send(kind, coding, body);
        assert_eq!(answer.status, 400, "{kind} {coding}");
        assert!(text == "declared" || answer.text().contains(text), "{}", answer.text());
    }
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut bomb, &vec![b' '; 40 << 20]).unwrap();
    let answer = send("application/json", "gzip", &bomb.finish().unwrap());
    assert!(answer.status == 400 && answer.text().contains("bytes decoded"), "{}", answer.text());
    assert_eq!(send("application/x-protobuf", "", b"").status, 200);
}

#[test]
fn remote_read_answers_in_samples_and_in_chunks() {
    use narthex::prometheus::chunk::{Encoding, decode};
    use narthex::protowire::field::Fields;
    use narthex::protowire::remote_read::{ReadQuery, ReadRequest, read_frame};
    use narthex::{MatchOp, Matcher, Samples, TimeRange};

    let folder = tempfile::tempdir().unwrap();
    let (client, _server) = start(folder.path());
    let body = std::fs::read("testdata/api/otlp.json").unwrap();
    let kind = [("Content-Type", "application/json")];
    assert_eq!(client.send("POST", "/api/v1/otlp/v1/metrics", &kind, &body).status, 200);
    let ask = |name: &str, accepted: &[u64]| {
        let matchers = vec![
            Matcher::new("__name__", MatchOp::Regex, name).unwrap(),
            Matcher::equal("dc", "x"),
        ];
        let t_ms = 1_700_000_000_000;
        let range = TimeRange { min_ms: t_ms + 15_000, max_ms: t_ms + 60_000 };
        let queries = vec![ReadQuery { range, matchers }];
        let mut message = Vec::new();
        ReadRequest { queries, accepted: accepted.to_vec() }.write(&mut message);
        client.send("POST", "/api/v1/read", &[], &client::snappy(&message))
    };
    let samples = ask("shop_orders_total", &[]);
    assert_eq!(samples.header("content-encoding"), Some("snappy"));
    let message = snap::raw::Decoder::new().decompress_vec(&samples.body).unwrap();
    let (_, result) = Fields::new(&message).next().unwrap().unwrap();
    assert_eq!(Fields::new(result.bytes().unwrap()).count(), 2, "one series for each till");

    let chunks = ask("shop_orders_total|shop_size_kibibytes", &[1, 0]);
    let kind = chunks.header("content-type").unwrap();
    assert_eq!(kind, "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse");
    let (mut rest, mut floats, mut histograms) = (chunks.body.as_slice(), 0, 0);
    while !rest.is_empty() {
        let (mut len, mut digits) = (0_usize, 0);
        while let Some((byte, tail)) = rest.split_first() {
            len |= usize::from(byte & 0x7f) << (7 * digits);
            (rest, digits) = (tail, digits + 1);
            if byte < &0x80 {
                break;
            }
        }
        let (sum, tail) = rest.split_at(4);
        let (frame, tail) = tail.split_at(len);
        let expected = narthex::prometheus::castagnoli::crc32c(frame).to_be_bytes();
        assert_eq!(sum, expected);
        rest = tail;
        read_frame(frame, |query, labels, chunks| {
            assert_eq!((query, labels.get("dc")), (0, Some("x")));
            for chunk in chunks {
                let mut samples = Samples::default();
                let encoding = Encoding::from_u8(chunk.encoding as u8).unwrap();
                decode(encoding, chunk.data, &mut samples).unwrap();
                histograms += samples.histograms.len();
                floats += samples.len() - samples.histograms.len();
            }
            Ok(())
        })
        .unwrap();
    }
    // Four of six samples of two series, all three of two others.
    assert_eq!((floats, histograms), (8, 6));
    let bad = client.send("POST", "/api/v1/read", &[], b"\xff\xff\xff\xff\x0f");
    assert!(bad.status == 400 && bad.text().contains("snappy"), "{}", bad.text());
    assert_eq!(ask("x", &[9]).status, 400);
}

#[test]
fn federation_gives_the_newest_sample_of_each_series() {
    let folder = tempfile::tempdir().unwrap();
    let (client, _server) = start(folder.path());
    let t_ms = client::now_ms();
    let json = format!(
        "{{\"resourceMetrics\":[{{\"scopeMetrics\":[{{\"metrics\":[{{\"name\":\"m\",\"gauge\":\
         {{\"dataPoints\":[{{\"timeUnixNano\":\"{0}000000\",\"asInt\":1}},{{\"timeUnixNano\":\
         \"{1}000000\",\"asInt\":2}}]}}}}]}}]}}]}}",
        t_ms - 1000,
        t_ms
    );
    let kind = [("Content-Type", "application/json")];
    let stored = client.send("POST", "/api/v1/otlp/v1/metrics", &kind, json.as_bytes());
    assert_eq!(stored.status, 200, "{}", stored.text());
    let page = client.get("/federate?match[]=m&match[]=%7B__name__%3D~%22m%22%7D");
    let expected = format!("# TYPE m untyped\nm{{dc=\"x\",instance=\"\"}} 2 {t_ms}\n");
    assert_eq!((page.status, page.text()), (200, expected));
    assert_eq!(client.get("/federate").text(), "");
    let wrong = client.get("/federate?match[]=%7B");
    assert_eq!(wrong.status, 400);
}
