//! The HTTP API as its clients meet it: the built program is pushed to and asked over HTTP.
//!
//! COMPAT: statuses, envelopes and texts are those that a Prometheus 3.14 server gives.
#![cfg(feature = "server")]

mod client;
mod program;

use std::io::Read as _;
use std::time::{Duration, Instant};

use client::{Answer, Client, now_ms};
use narthex::exposition::{Entry, TextParser};
use program::Server;
use serde_json::json;

const RECEIVER: &str = "--web.enable-remote-write-receiver";

struct Running {
    client: Client,
    _server: Server,
    _folder: tempfile::TempDir,
}

fn start(flags: &[&str]) -> Running {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("prometheus.yml");
    std::fs::write(file, "global: {scrape_interval: 1h}\n").expect("a file");
    let server = Server::start(folder.path(), flags);
    Running { client: Client::new(&server.address), _server: server, _folder: folder }
}

/// A whole minute that lies a few minutes back.
fn base_ms() -> i64 {
    now_ms() / 60_000 * 60_000 - 600_000
}

#[test]
fn both_versions_are_stored_and_answered() {
    let Running { client, _server, _folder } = start(&[RECEIVER]);
    let t = base_ms();
    let odd = [1e21, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.1 + 0.2, -0.0, 1e-7, 5e-324];
    let points: Vec<_> = odd.iter().enumerate().map(|(i, v)| (t + i as i64 * 1500, *v)).collect();
    let answer = client.push(1, &[(&[("__name__", "odd"), ("job", "a")], &points)]);
    assert_eq!((answer.status, answer.text()), (204, String::new()));
    let second = [(t, 1.0), (t + 1000, 2.0)];
    let answer = client.push(2, &[(&[("__name__", "m"), ("job", "b"), ("q", "\"\\\n")], &second)]);
    assert_eq!((answer.status, answer.text()), (204, String::new()));
    assert_eq!(answer.header("x-prometheus-remote-write-samples-written"), Some("2"));
    assert_eq!(answer.header("x-prometheus-remote-write-histograms-written"), Some("0"));
    // The newest sample again does no harm: senders retry.
    let labels = [("__name__", "m"), ("job", "b"), ("q", "\"\\\n")];
    assert_eq!(client.push(2, &[(&labels, &second[1..])]).status, 204);

    let s = t / 1000;
    let answer = client.get(&format!("/api/v1/query?query=odd[1m]&time={}", s + 30));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let texts = ["1e+21", "NaN", "+Inf", "-Inf", "0.30000000000000004", "-0", "1e-07", "5e-324"];
    let times = ["0", "1.500", "3", "4.500", "6", "7.500", "9", "10.500"];
    let point = |(offset, text): (&str, &str)| {
        let (seconds, rest) = offset.split_at(offset.find('.').unwrap_or(offset.len()));
        format!("[{}{rest},\"{text}\"]", s + seconds.parse::<i64>().expect("a number"))
    };
    let points: Vec<_> = std::iter::zip(times, texts).map(point).collect();
    let expected = format!(
        concat!(
            r#"{{"status":"success","data":{{"resultType":"matrix","result":"#,
            r#"[{{"metric":{{"__name__":"odd","job":"a"}},"values":[{}]}}]}}}}"#
        ),
        points.join(",")
    );
    assert_eq!(answer.text(), expected);
    let answer = client.get(&format!("/api/v1/query?query=m&time={}", s + 1));
    let expected = format!(
        concat!(
            r#"{{"status":"success","data":{{"resultType":"vector","result":"#,
            r#"[{{"metric":{{"__name__":"m","job":"b","q":"\"\\\n"}},"value":[{},"2"]}}]}}}}"#
        ),
        s + 1
    );
    assert_eq!(answer.text(), expected);
    for (query, expected) in [
        ("1%2B1", json!({"resultType": "scalar", "result": [s, "2"]})),
        ("%22x%22", json!({"resultType": "string", "result": [s, "x"]})),
        ("nothing", json!({"resultType": "vector", "result": []})),
    ] {
        let answer = client.get(&format!("/api/v1/query?query={query}&time={s}"));
        assert_eq!(answer.data(), expected);
    }
    // GET and POST ask the same; the form stands before the query string.
    let form = format!("query=m%2B0&start={s}&end={}&step=1s", s + 2);
    let got = client.get(&format!("/api/v1/query_range?{form}"));
    let posted = client.post_form("/api/v1/query_range?query=odd", &form);
    assert_eq!(got.text(), posted.text());
    let values = json!([[s, "1"], [s + 1, "2"], [s + 2, "2"]]);
    assert_eq!(got.data()["result"][0]["values"], values);
    assert_eq!(client.post_form("/api/v1/query", &format!("query=m&time={s}")).status, 200);
}

#[test]
fn lookback_limit_and_stats() {
    let Running { client, _server, _folder } = start(&[RECEIVER]);
    let t = base_ms();
    let labels = |id| [("__name__", "m"), ("id", id)];
    let one = [(t, 1.0)];
    client.push(1, &[(&labels("1"), &one), (&labels("2"), &one), (&labels("3"), &one)]);
    let s = t / 1000;
    let count = |path: &str| client.get(path).data()["result"].as_array().map(Vec::len);
    let later = format!("/api/v1/query?query=m&time={}", s + 120);
    assert_eq!(count(&later), Some(3));
    assert_eq!(count(&format!("{later}&lookback_delta=60")), Some(0));
    assert_eq!(count(&format!("{later}&lookback_delta=121s")), Some(3));
    let range = format!("/api/v1/query_range?query=m&start={s}&end={}&step=60", s + 120);
    for path in [later, range, format!("/api/v1/series?match[]=m&start={s}&end={}", s + 1)] {
        let plain = client.get(&path).json();
        assert!(plain.get("warnings").is_none(), "{plain}");
        let cut = client.get(&format!("{path}&limit=2")).json();
        assert_eq!(cut["warnings"], json!(["results truncated due to limit"]), "{path}");
        assert!(client.get(&format!("{path}&limit=3")).json().get("warnings").is_none());
    }
    let stats = client.get(&format!("/api/v1/query?query=m&time={s}&stats=all")).data();
    assert_eq!(stats["stats"]["samples"]["totalQueryableSamples"], json!(3), "{stats}");
    assert!(stats["stats"]["timings"]["execTotalTime"].is_number());
}

#[test]
fn series_labels_and_values() {
    let Running { client, _server, _folder } = start(&[RECEIVER]);
    let t = base_ms();
    let one = [(t, 1.0)];
    let answer = client.push(
        2,
        &[
            (&[("__name__", "m"), ("job", "a"), ("l.x", "v1")], &one),
            (&[("__name__", "m"), ("job", "b"), ("l.x", "v2")], &one),
            (&[("__name__", "other"), ("job", "c")], &one),
        ],
    );
    assert_eq!(answer.status, 204);
    let data = |path: &str| client.get(path).data();
    let a = json!({"__name__": "m", "job": "a", "l.x": "v1"});
    let b = json!({"__name__": "m", "job": "b", "l.x": "v2"});
    assert_eq!(data("/api/v1/series?match[]=m"), json!([a, b]));
    let c = json!({"__name__": "other", "job": "c"});
    assert_eq!(data("/api/v1/series?match[]=%7Bjob=%22a%22%7D&match[]=other"), json!([a, c]));
    assert_eq!(client.post_form("/api/v1/series", "match[]=other").data(), json!([c]));
    assert_eq!(data("/api/v1/labels"), json!(["__name__", "job", "l.x"]));
    assert_eq!(data("/api/v1/labels?match[]=other"), json!(["__name__", "job"]));
    let cut = client.post_form("/api/v1/labels", "match[]=m&limit=1");
    assert_eq!(cut.data(), json!(["__name__"]));
    assert_eq!(data("/api/v1/label/job/values"), json!(["a", "b", "c"]));
    assert_eq!(data("/api/v1/label/job/values?match[]=m"), json!(["a", "b"]));
    assert_eq!(data("/api/v1/label/U__l_2e_x/values"), json!(["v1", "v2"]));
    assert_eq!(data("/api/v1/label/l.x/values"), json!(["v1", "v2"]));
    assert_eq!(data("/api/v1/label/none/values"), json!([]));
    // A time at which there was nothing.
    let far = t / 1000 - 86_400 * 30;
    assert_eq!(data(&format!("/api/v1/series?match[]=m&start={}&end={far}", far - 10)), json!([]));
}

const NO_MATCHER: &str = "match[] must contain at least one non-empty matcher";

/// Paths below the API that are answered 400 `bad_data`, and what the text says.
const MISTAKES: [(&str, &str); 23] = [
    ("query", r#""query": unknown position: parse error: no expression found in input"#),
    ("query?query=sum(", r#"invalid parameter "query": 1:5: parse error: "#),
    ("query?query=m&time=x", r#"invalid time value for 'time': cannot parse "x" to a valid time"#),
    ("query?query=m&timeout=x", r#""timeout": cannot parse "x" to a valid duration"#),
    ("query?query=m&limit=-1", r#"invalid parameter "limit": limit must be non-negative"#),
    ("query?query=m&limit=x", r#"invalid parameter "limit": "#),
    ("query?query=m&lookback_delta=x", "error parsing lookback delta duration: cannot parse"),
    ("query?query=%ff", ""),
    ("query_range?query=m&start=5&end=1&step=1", "end timestamp must not be before start time"),
    ("query_range?query=m&start=1&end=5&step=0", r#"invalid parameter "step": zero or negative"#),
    ("query_range?query=m&start=1&end=5", r#""step": cannot parse "" to a valid duration"#),
    ("query_range?query=m&start=0&end=11001&step=1", "maximum resolution of 11,000 points"),
    ("query_range?query=m[5m]&start=1&end=5&step=1", r#"invalid expression type "range vector""#),
    ("series", "no match[] parameter provided"),
    ("series?match[]=%7B%7D", NO_MATCHER),
    ("series?match[]=%7Ba=%22%22%7D", NO_MATCHER),
    ("labels?match[]=%7B%7D", NO_MATCHER),
    ("series?match[]=up%20offset%205m", r#""match[]": 1:4: parse error: unexpected <offset>"#),
    ("labels?match[]=a%20b", r#"1:3: parse error: unexpected identifier "b""#),
    ("label/job/values?start=x", r#"invalid parameter "start""#),
    ("label/%ff/values", "invalid label name"),
    ("status/tsdb?limit=0", "limit must be a positive number"),
    ("metadata?limit=x", "limit must be a number"),
];

#[test]
fn mistakes_have_their_status_type_and_text() {
    let Running { client, _server, _folder } = start(&[RECEIVER]);
    let t = base_ms();
    let one = [(t, 1.0)];
    client.push(1, &[(&[("__name__", "m"), ("a", "1")], &one), (&[("__name__", "m")], &one)]);
    let fails = |answer: Answer, status: u16, kind: &str, part: &str| {
        let json = answer.json();
        assert_eq!(answer.status, status, "{json}");
        assert!(json["status"] == "error" && json["errorType"] == kind, "{json}");
        let message = json["error"].as_str().expect("a text");
        assert!(!message.is_empty() && message.contains(part), "{part}: {message}");
    };
    for (path, part) in MISTAKES {
        fails(client.get(&format!("/api/v1/{path}")), 400, "bad_data", part);
    }
    let s = t / 1000;
    let path = format!("/api/v1/query?query=m%20%2B%20on()%20m&time={s}");
    fails(client.get(&path), 422, "execution", "found duplicate series for the match group");
    let path = format!("/api/v1/query?query=sum(m)&time={s}&timeout=0.000000001");
    fails(client.get(&path), 503, "timeout", "query timed out");
    fails(client.post_form("/api/v1/query", "query=%zz"), 400, "bad_data", "");
    let large = "a".repeat((10 << 20) + 1);
    fails(client.post_form("/api/v1/query", &large), 400, "bad_data", "limit of this path");
}

#[test]
fn paths_and_methods() {
    let Running { client, _server, _folder } = start(&[]);
    for (method, path, status) in [
        ("GET", "/api/v1/nope", 404),
        ("GET", "/nope", 404),
        ("DELETE", "/api/v1/query", 405),
        ("POST", "/api/v1/targets", 405),
        ("GET", "/api/v1/write", 405),
        ("POST", "/metrics", 405),
        ("PUT", "/-/healthy", 405),
        ("GET", "/-/reload", 405),
        ("POST", "/-/reload", 403),
        ("POST", "/-/quit", 403),
        ("GET", "/-/healthy", 200),
        ("HEAD", "/-/healthy", 200),
        ("GET", "/-/ready", 200),
        ("HEAD", "/-/ready", 200),
        ("OPTIONS", "/api/v1/query", 204),
        ("OPTIONS", "/api/v1/nope", 204),
        ("POST", "/api/v1/admin/tsdb/compact", 500),
    ] {
        let answer = client.send(method, path, &[], b"");
        assert_eq!(answer.status, status, "{method} {path}");
        assert!(status < 400 || !answer.text().is_empty(), "{method} {path} says why");
        if status == 405 {
            assert!(answer.header("allow").is_some(), "{method} {path} names what is allowed");
        }
    }
    assert_eq!(client.get("/-/healthy").text(), "Prometheus Server is Healthy.\n");
    assert_eq!(client.get("/-/ready").text(), "Prometheus Server is Ready.\n");
    let disabled = client.send("POST", "/api/v1/admin/tsdb/compact", &[], b"").json();
    assert_eq!(
        disabled,
        json!({"status": "error", "errorType": "unavailable", "error": "admin APIs disabled"})
    );
    let closed = client.push(1, &[(&[("__name__", "m")], &[(base_ms(), 1.0)])]);
    assert!(closed.status == 404 && closed.text().contains(RECEIVER), "{}", closed.text());
    let origin = [("Origin", "http://elsewhere")];
    let answer = client.send("OPTIONS", "/api/v1/query", &origin, b"");
    assert_eq!(answer.header("access-control-allow-origin"), Some("http://elsewhere"));
    assert!(answer.header("access-control-allow-methods").is_some_and(|m| m.contains("POST")));
    assert!(client.get("/api/v1/query?query=1").header("access-control-allow-origin").is_none());
    for (path, to) in [("/", "/query"), ("/graph?g0.expr=up", "/query?g0.expr=up")] {
        let answer = client.get(path);
        assert_eq!((answer.status, answer.header("location")), (302, Some(to)), "{path}");
        assert!(answer.header("content-security-policy").is_some(), "{path}");
    }
    let page = client.get("/query");
    assert!(page.header("content-type").is_some_and(|mime| mime.starts_with("text/html")));
    assert!(page.text().contains("Narthex"));
}

#[test]
fn status_pages() {
    let Running { client, _server, _folder } = start(&[RECEIVER, "--query.lookback-delta=4m"]);
    client.push(1, &[(&[("__name__", "m"), ("job", "a")], &[(base_ms(), 1.0)])]);
    let data = |page: &str| client.get(&format!("/api/v1/status/{page}")).data();
    assert_eq!(data("buildinfo")["version"], "3.14.0");
    assert_eq!(client.get("/version").json()["version"], "3.14.0");
    let info = data("runtimeinfo");
    for field in
        ["startTime", "CWD", "hostname", "serverTime", "lastConfigTime", "storageRetention"]
    {
        assert!(info[field].as_str().is_some_and(|text| !text.is_empty()), "{field} {info}");
    }
    for field in ["corruptionCount", "goroutineCount", "GOMAXPROCS", "GOMEMLIMIT"] {
        assert!(info[field].is_i64(), "{field} {info}");
    }
    assert_eq!(info["reloadConfigSuccess"], true);
    assert_eq!(info["storageUnwritable"], "");
    assert_eq!(info["storageQuarantined"].as_array().map(Vec::len), Some(0), "{info}");
    assert!(
        data("config")["yaml"].as_str().is_some_and(|yaml| yaml.contains("scrape_interval: 1h"))
    );
    let flags = data("flags");
    assert_eq!(flags["query.lookback-delta"], "4m");
    assert_eq!(flags["web.enable-remote-write-receiver"], "true");
    assert!(flags["storage.tsdb.min-block-duration"].is_string(), "{flags}");
    let tsdb = data("tsdb");
    assert_eq!(tsdb["headStats"]["numSeries"], 1, "{tsdb}");
    assert_eq!(tsdb["headStats"]["minTime"], tsdb["headStats"]["maxTime"]);
    assert_eq!(tsdb["seriesCountByMetricName"], json!([{"name": "m", "value": 1}]));
    assert_eq!(tsdb["seriesCountByLabelValuePair"].as_array().map(Vec::len), Some(2));
}

#[test]
fn targets_metadata_and_own_metrics() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("prometheus.yml");
    std::fs::write(&file, "global: {}\n").expect("a file");
    let server = Server::start(folder.path(), &["--web.enable-lifecycle", RECEIVER]);
    let client = Client::new(&server.address);
    let job = "job_name: self, static_configs: [{targets: ['ADDRESS', '127.0.0.1:1']}], \
               relabel_configs: [{source_labels: [__address__], regex: '.*:1', action: drop}]";
    let job = job.replace("ADDRESS", &server.address);
    let yaml = format!("global: {{scrape_interval: 1s}}\nscrape_configs: [{{{job}}}]\n");
    std::fs::write(&file, yaml).expect("a file");
    assert_eq!(client.send("POST", "/-/reload", &[], b"").status, 200);
    let metadata = || client.get("/api/v1/metadata?metric=prometheus_build_info").data();
    let began = Instant::now();
    while metadata() == json!({}) {
        assert!(began.elapsed() < Duration::from_secs(30), "it scrapes itself");
        std::thread::sleep(Duration::from_millis(50));
    }
    let entry = &metadata()["prometheus_build_info"][0];
    assert!(entry["type"] == "gauge" && entry["unit"] == "", "{entry}");
    assert!(entry["help"].as_str().is_some_and(|help| !help.is_empty()));
    let one = client.get("/api/v1/metadata?limit=1").data();
    assert_eq!(one.as_object().map(serde_json::Map::len), Some(1));
    let targets = client.get("/api/v1/targets").data();
    let target = &targets["activeTargets"][0];
    assert_eq!(target["labels"], json!({"instance": server.address, "job": "self"}));
    assert_eq!(target["discoveredLabels"]["__address__"], json!(server.address));
    assert_eq!(target["scrapePool"], "self");
    assert_eq!(target["scrapeUrl"], json!(format!("http://{}/metrics", server.address)));
    assert!(target["health"] == "up" && target["lastError"] == "", "{target}");
    assert!(target["lastScrapeDuration"].is_number());
    assert!(target["scrapeInterval"] == "1s" && target["scrapeTimeout"] == "1s", "{target}");
    assert_eq!(targets["droppedTargets"][0]["discoveredLabels"]["__address__"], "127.0.0.1:1");
    assert_eq!(targets["droppedTargetCounts"], json!({"self": 1}));
    let active = client.get("/api/v1/targets?state=active").data();
    assert_eq!(active["droppedTargets"], json!([]));
    assert_eq!(client.get("/api/v1/query?query=up").data()["result"][0]["value"][1], "1");

    client
        .push(1, &[(&[("__name__", "m")], &[(now_ms(), 1.0)]), (&[("x", "")], &[(now_ms(), 1.0)])]);
    let page = client.get("/metrics");
    assert!(
        page.header("content-type")
            .is_some_and(|mime| mime.starts_with("text/plain; version=0.0.4"))
    );
    let text = page.text();
    let samples = samples_of(&text);
    let value = |series: &str| samples.iter().find(|(name, _)| name == series).map(|s| s.1);
    for (series, least) in [
        ("prometheus_ready", 1.0),
        ("prometheus_tsdb_head_series", 10.0),
        (r#"prometheus_http_requests_total{code="200",handler="/api/v1/query"}"#, 1.0),
        (r#"prometheus_http_response_size_bytes_sum{handler="/api/v1/targets"}"#, 100.0),
        (r#"prometheus_http_request_duration_seconds_count{handler="/api/v1/metadata"}"#, 2.0),
        (r#"prometheus_engine_query_duration_seconds_count{slice="inner_eval"}"#, 1.0),
        (r#"prometheus_engine_query_duration_seconds_count{slice="queue_time"}"#, 1.0),
    ] {
        assert!(value(series).is_some_and(|value| value >= least), "{series}\n{text}");
    }
    assert_eq!(value("prometheus_engine_queries"), Some(0.0));
}

/// Every sample of an exposition page, read as a scrape reads it.
fn samples_of(page: &str) -> Vec<(String, f64)> {
    let mut parser = TextParser::new(page.as_bytes());
    let mut samples = Vec::new();
    while let Some(entry) = parser.next_entry().expect("a page") {
        if let Entry::Series { text, value, .. } = entry {
            samples.push((String::from_utf8_lossy(text).into_owned(), value));
        }
    }
    samples
}

#[test]
fn pushes_that_cannot_be_stored_are_refused_with_their_reason() {
    let Running { client, _server, _folder } = start(&[RECEIVER]);
    let t = base_ms();
    let kind = "application/x-protobuf;proto=io.prometheus.write.v2.Request";
    let good = client::message(1, &[(&[("__name__", "m")], &[(t, 1.0)])]);
    let packed = client::snappy(&good);
    // Declares four gigabytes.
    let bomb = [0xff, 0xff, 0xff, 0xff, 0x0f, 0x00];
    let garbage = client::snappy(b"\x0b\xff\xff");
    for (name, content_type, encoding, body, status, text) in [
        ("no protobuf", "application/json", "snappy", &packed[..], 415, "application/json"),
        ("unknown message", "application/x-protobuf;proto=x.Y", "snappy", &packed, 415, "x.Y"),
        ("gzip", "application/x-protobuf", "gzip", &packed, 415, "gzip"),
        ("no snappy", "application/x-protobuf", "snappy", b"xxxxxxxx", 400, "snappy"),
        ("empty", "application/x-protobuf", "snappy", b"", 400, "snappy"),
        ("too large", "application/x-protobuf", "snappy", &bomb, 400, "limit of 33554432"),
        ("no message", "application/x-protobuf", "snappy", &garbage, 400, "field"),
        ("no message", kind, "snappy", &garbage, 400, "field"),
        (
            "beyond the symbols",
            kind,
            "snappy",
            &client::snappy(&client::beyond_the_symbols()),
            400,
            "symbol reference 9",
        ),
    ] {
        let headers = [("Content-Type", content_type), ("Content-Encoding", encoding)];
        let answer = client.send("POST", "/api/v1/write", &headers, body);
        assert_eq!(answer.status, status, "{name}: {}", answer.text());
        assert!(answer.text().contains(text), "{name}: {}", answer.text());
    }
    // What is good of a request is stored, the rest is named.
    let named = |answer: Answer, parts: &[&str]| {
        let text = answer.text();
        assert_eq!(answer.status, 400, "{text}");
        for part in parts {
            assert!(text.contains(part), "{part} in {text}");
        }
    };
    let mixed = [
        (&[("__name__", "good"), ("job", "x")][..], &[(t, 1.0)][..]),
        (&[("job", "nameless")], &[(t, 1.0)]),
    ];
    named(
        client.push(2, &mixed),
        &["1 samples and 0 native histograms stored", "metric name is missing", "nameless"],
    );
    let up = client.get(&format!("/api/v1/query?query=good&time={}", t / 1000)).data();
    assert_eq!(up["result"].as_array().map(Vec::len), Some(1));
    let other_value = [(&[("__name__", "good"), ("job", "x")][..], &[(t, 2.0)][..])];
    named(client.push(1, &other_value), &["duplicate sample for timestamp", "good"]);
    let earlier = [(&[("__name__", "good"), ("job", "x")][..], &[(t - 1, 2.0)][..])];
    named(client.push(1, &earlier), &["out of order sample", "good"]);
    let twice = [(&[("__name__", "m"), ("a", "1"), ("a", "2")][..], &[(t, 1.0)][..])];
    named(client.push(1, &twice), &["\"a\" stands twice"]);
    let future = [(&[("__name__", "m")][..], &[(now_ms() + 3_600_000, 1.0)][..])];
    named(client.push(1, &future), &["too far in the future"]);
    let refused = client.push_body(1, &client::with_histogram("h_seconds"));
    named(refused, &["native histograms", "h_seconds"]);
}

#[test]
fn a_request_is_judged_by_what_was_stored_when_it_began() {
    let Running { client, _server, _folder } = start(&[RECEIVER]);
    let t = now_ms() - 5 * 3_600_000;
    let hours: Vec<_> = (0..5).map(|hour| (t + hour * 3_600_000, hour as f64)).collect();
    let names: Vec<String> = (0..20).map(|job| job.to_string()).collect();
    let labels: Vec<_> = names.iter().map(|job| [("__name__", "m"), ("job", job)]).collect();
    let all: Vec<_> = labels.iter().map(|labels| (&labels[..], &hours[..])).collect();
    let answer = client.push(1, &all);
    assert_eq!(answer.status, 204, "{}", answer.text());
    let path = format!("/api/v1/query?query=sum(count_over_time(m[6h]))&time={}", now_ms() / 1000);
    assert_eq!(client.get(&path).data()["result"][0]["value"][1], "100");
}

#[test]
fn large_answers_are_compressed_for_those_who_ask() {
    let Running { client, _server, _folder } = start(&[RECEIVER]);
    let t = base_ms();
    let names: Vec<String> = (0..3000).map(|id| format!("a-rather-long-value-{id}")).collect();
    let labels: Vec<_> = names.iter().map(|id| [("__name__", "m"), ("id", id)]).collect();
    let one = [(t, 1.0)];
    let all: Vec<_> = labels.iter().map(|labels| (&labels[..], &one[..])).collect();
    assert_eq!(client.push(2, &all).status, 204);
    for path in [format!("/api/v1/query?query=m&time={}", t / 1000), "/metrics".to_owned()] {
        let plain = client.get(&path);
        assert!(plain.header("content-encoding").is_none());
        let zipped = client.send("GET", &path, &[("Accept-Encoding", "br, gzip;q=0.5")], b"");
        assert_eq!(zipped.header("content-encoding"), Some("gzip"), "{path}");
        assert!(zipped.body.len() < plain.body.len() / 2, "{path}");
        let mut text = String::new();
        flate2::read::GzDecoder::new(&zipped.body[..]).read_to_string(&mut text).expect("gzip");
        assert!(path == "/metrics" || text == plain.text());
        let refused = client.send("GET", &path, &[("Accept-Encoding", "gzip;q=0")], b"");
        assert!(refused.header("content-encoding").is_none());
    }
}

#[test]
fn a_compacted_head_still_answers_and_takes_samples() {
    let Running { client, _server, _folder } = start(&[RECEIVER, "--web.enable-admin-api"]);
    let t = base_ms();
    let labels = [("__name__", "m"), ("job", "a")];
    let points: Vec<_> = (0..50).map(|i| (t + i * 1000, i as f64)).collect();
    assert_eq!(client.push(1, &[(&labels, &points)]).status, 204);
    let path = format!("/api/v1/query?query=m[10m]&time={}", t / 1000 + 300);
    let before = client.get(&path).text();
    for method in ["POST", "PUT"] {
        let answer = client.send(method, "/api/v1/admin/tsdb/compact", &[], b"");
        assert_eq!((answer.status, answer.text()), (204, String::new()));
        assert_eq!(client.get(&path).text(), before);
    }
    assert_eq!(client.push(1, &[(&labels, &[(t + 60_000, 60.0)])]).status, 204);
    let values = client.get(&path).data()["result"][0]["values"].clone();
    assert_eq!(values.as_array().map(Vec::len), Some(51));
    assert_eq!(values[50], json!([t / 1000 + 60, "60"]));
}
