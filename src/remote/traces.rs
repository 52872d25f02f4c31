//! Traces, sent by OTLP over gRPC or HTTP.
//!
//! One task sends the spans that wait in a queue: some hundred at a time, or what there is every
//! few seconds. A receiver that is away is tried again for a minute; what comes meanwhile waits
//! in the queue, whose bound drops what is too much. INVARIANT: no span waits for a receiver but
//! in the queue and in one request.
//!
//! gRPC is one unary call over HTTP/2: a message behind a flag and its length, and a status in
//! the trailers. Source: `grpc/doc/PROTOCOL-HTTP2.md`; OTLP 1.7 for what may be tried again.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderName, HeaderValue, Method};
use hyper::body::Bytes;
use tokio::sync::watch;

use crate::config::{HttpClientConfig, TlsOptions, TracingConfig};
use crate::exposition::{Family, MetricType, SampleLine};
use crate::http_client::{Client, Request, Response, Url};
use crate::protowire::field::Fields;
use crate::telemetry::traces::{Finished, Queue, TraceCounts, export_request};

/// How long spans wait for others at most.
const PAUSE: Duration = Duration::from_secs(5);
/// How long a request may take where nobody says.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long a request is tried again.
const RETRY_FOR: Duration = Duration::from_mins(1);
/// The first pause before that, and the longest.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(30));
/// How long the last requests may take together.
const LAST_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of an answer that are read.
const ANSWER_BYTES_MAX: u64 = 1 << 20;
const GRPC_PATH: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
const HTTP_PATH: &str = "/v1/traces";

/// Where spans are sent, made ready.
#[derive(Debug)]
pub struct TraceReceiver {
    client: Client,
    request: Request,
    uses_grpc: bool,
    compresses: bool,
}

/// Why spans were not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Refusal {
    why: String,
    may_recover: bool,
}

impl Refusal {
    fn for_good(why: impl Into<String>) -> Self {
        Self { why: why.into(), may_recover: false }
    }
}

impl TraceReceiver {
    /// The receiver that the section names, or what is wrong with it.
    pub fn new(config: &TracingConfig) -> Result<Self, String> {
        let client_config = HttpClientConfig {
            tls: if config.is_insecure { TlsOptions::default() } else { config.tls.clone() },
            follow_redirects: false,
            ..HttpClientConfig::default()
        };
        let uses_grpc = config.uses_grpc;
        let client =
            if uses_grpc { Client::of_http2(&client_config) } else { Client::new(&client_config) };
        let client = client.map_err(|error| format!("tracing: {error}"))?;
        // What names are resolved by is no part of them.
        let endpoint = ["dns:///", "passthrough:///"]
            .iter()
            .find_map(|scheme| config.endpoint.strip_prefix(scheme))
            .unwrap_or(&config.endpoint);
        let scheme = if config.is_insecure { "http" } else { "https" };
        let path = if uses_grpc { GRPC_PATH } else { HTTP_PATH };
        let url = Url::parse(&format!("{scheme}://{endpoint}{path}"));
        let url = url.map_err(|error| format!("tracing: endpoint {endpoint:?}: {error}"))?;
        let timeout = match u64::try_from(config.timeout_ms) {
            Ok(0) | Err(_) => TIMEOUT,
            Ok(ms) => Duration::from_millis(ms),
        };
        let mut request = Request::get(url);
        request.method = Method::POST;
        request.timeout = timeout;
        request.body_bytes_max = ANSWER_BYTES_MAX;
        request.headers = headers(config, timeout)?.into();
        Ok(Self { client, request, uses_grpc, compresses: config.compresses })
    }

    /// Sends spans once. Gives what of it the receiver says.
    async fn send(&self, message: &[u8]) -> Result<(), Refusal> {
        let mut request = self.request.clone();
        request.body = self.body(message);
        let answer = self.client.send(&request).await;
        let response =
            answer.map_err(|error| Refusal { why: error.to_string(), may_recover: true })?;
        if self.uses_grpc {
            return grpc_outcome(&response);
        }
        if response.status.is_success() {
            return said(&response.body);
        }
        Err(Refusal {
            why: format!("server returned HTTP status {}", response.status_text),
            may_recover: matches!(response.status.as_u16(), 429 | 502 | 503 | 504),
        })
    }

    fn body(&self, message: &[u8]) -> Bytes {
        let packed = if self.compresses { gzip(message) } else { message.to_vec() };
        if !self.uses_grpc {
            return packed.into();
        }
        let mut framed = vec![u8::from(self.compresses)];
        framed.extend_from_slice(&(packed.len() as u32).to_be_bytes());
        framed.extend_from_slice(&packed);
        framed.into()
    }
}

fn headers(
    config: &TracingConfig,
    timeout: Duration,
) -> Result<Vec<(HeaderName, HeaderValue)>, String> {
    let grpc_timeout = format!("{}m", timeout.as_millis());
    let mut all = if config.uses_grpc {
        vec![("content-type", "application/grpc"), ("te", "trailers")]
    } else {
        vec![("content-type", "application/x-protobuf")]
    };
    if config.uses_grpc {
        all.push(("grpc-timeout", &grpc_timeout));
    }
    if config.compresses {
        all.push((if config.uses_grpc { "grpc-encoding" } else { "content-encoding" }, "gzip"));
    }
    all.extend(config.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    let header = |(name, value): (&str, &str)| {
        let wrong = |_| format!("tracing: header {name:?} cannot be sent");
        let value = HeaderValue::from_str(value).map_err(|error| wrong(error.to_string()))?;
        let name = HeaderName::from_bytes(name.as_bytes());
        Ok((name.map_err(|error| wrong(error.to_string()))?, value))
    };
    all.into_iter().map(header).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    // Memory takes what it is given.
    let _ = encoder.write_all(bytes);
    encoder.finish().unwrap_or_default()
}

/// The outcome of a call: its status stands behind the answer, or in its head where there is none.
fn grpc_outcome(response: &Response) -> Result<(), Refusal> {
    let code = response.header("grpc-status");
    if code.is_empty() {
        return Err(Refusal {
            why: format!("no gRPC status, HTTP status {}", response.status_text),
            may_recover: matches!(response.status.as_u16(), 429 | 502 | 503 | 504),
        });
    }
    if code != "0" {
        let text = response.header("grpc-message");
        let text = percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
        // Canceled, deadline exceeded, aborted, out of range, unavailable, data loss.
        let may_recover = matches!(code, "1" | "4" | "10" | "11" | "14" | "15");
        return Err(Refusal { why: format!("gRPC status {code}: {text}"), may_recover });
    }
    match response.body.get(5..) {
        // A compressed answer was not asked for.
        Some(message) if response.body[0] == 0 => said(message),
        _ => Ok(()),
    }
}

/// What a receiver that took a request says of it: of spans that it did not take.
fn said(message: &[u8]) -> Result<(), Refusal> {
    let mut rejected = 0;
    let mut text = String::new();
    for field in Fields::new(message).map_while(Result::ok) {
        let (1, partial) = field else { continue };
        for field in Fields::new(partial.bytes().unwrap_or_default()).map_while(Result::ok) {
            match field {
                (1, value) => rejected = value.int64().unwrap_or(0),
                (2, value) => {
                    let bytes = value.bytes().unwrap_or_default();
                    text = String::from_utf8_lossy(bytes).into_owned();
                }
                _ => {}
            }
        }
    }
    if rejected <= 0 && text.is_empty() {
        return Ok(());
    }
    Err(Refusal::for_good(format!("the receiver took all but {rejected} spans: {text}")))
}

/// Sends what waits in `queue` until `stop` says so, and then what is left.
pub async fn send_traces(
    receiver: TraceReceiver,
    queue: Arc<Queue>,
    mut stop: watch::Receiver<bool>,
) {
    while !*stop.borrow() {
        let spans = tokio::select! {
            spans = queue.next_batch(PAUSE) => spans,
            () = stopped(&mut stop) => break,
        };
        if !spans.is_empty() {
            deliver(&receiver, &queue, &spans, &mut stop).await;
        }
    }
    let last = async {
        while let Some(spans) = queue.rest() {
            note(&queue, &spans, receiver.send(&message(&spans)).await);
        }
    };
    if tokio::time::timeout(LAST_TIMEOUT, last).await.is_err() {
        tracing::warn!("The last traces could not be sent in time and are dropped");
    }
}

/// Returns when it is the end.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // Whoever says so may be gone, which is the end too.
    let _ = stop.wait_for(|stop| *stop).await;
}

fn message(spans: &[Finished]) -> Vec<u8> {
    let version = env!("CARGO_PKG_VERSION");
    // COMPAT: the name under which dashboards look for them.
    let resource = [
        ("service.name", "prometheus"),
        ("service.version", version),
        ("telemetry.sdk.name", "narthex"),
        ("telemetry.sdk.language", "rust"),
        ("telemetry.sdk.version", version),
    ];
    export_request(&resource, spans)
}

/// Sends a request until it is taken, refused for good, or has been tried long enough.
async fn deliver(
    receiver: &TraceReceiver,
    queue: &Queue,
    spans: &[Finished],
    stop: &mut watch::Receiver<bool>,
) {
    let message = message(spans);
    let (began, mut pause) = (Instant::now(), BACKOFF.0);
    loop {
        let outcome = receiver.send(&message).await;
        match &outcome {
            Err(refusal) if refusal.may_recover && began.elapsed() + pause < RETRY_FOR => {
                queue.counts().failures.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(err = %refusal.why, "Sending traces failed, trying again");
            }
            _ => return note(queue, spans, outcome),
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            // Once more, and then it is the end.
            () = stopped(stop) => {
                let last = tokio::time::timeout(LAST_TIMEOUT, receiver.send(&message)).await;
                let late = || Refusal::for_good("the receiver does not answer");
                return note(queue, spans, last.unwrap_or_else(|_| Err(late())));
            }
        }
        pause = (pause * 3 / 2).min(BACKOFF.1);
    }
}

fn note(queue: &Queue, spans: &[Finished], outcome: Result<(), Refusal>) {
    let counts = queue.counts();
    let count = spans.len() as u64;
    match outcome {
        Ok(()) => {
            counts.sent.fetch_add(count, Ordering::Relaxed);
        }
        Err(refusal) => {
            counts.failures.fetch_add(1, Ordering::Relaxed);
            counts.dropped.fetch_add(count, Ordering::Relaxed);
            tracing::error!(err = %refusal.why, spans = count, "Traces were not taken");
        }
    }
}

/// What became of spans, for `/metrics`.
pub fn trace_families(counts: &TraceCounts, waiting: usize) -> Vec<Family> {
    let family = |name: &str, help: &str, metric_type, value: f64| Family {
        name: name.to_owned(),
        help: help.to_owned(),
        metric_type,
        samples: vec![SampleLine { suffix: "", labels: Vec::new(), value }],
    };
    let total = |name, help, count: &std::sync::atomic::AtomicU64| {
        family(name, help, MetricType::Counter, count.load(Ordering::Relaxed) as f64)
    };
    vec![
        total("narthex_traces_spans_sent_total", "Spans that a receiver took.", &counts.sent),
        total(
            "narthex_traces_spans_dropped_total",
            "Spans that were dropped: too many waited, or the receiver did not take them.",
            &counts.dropped,
        ),
        total(
            "narthex_traces_send_failures_total",
            "Requests with spans that failed.",
            &counts.failures,
        ),
        family(
            "narthex_traces_spans_waiting",
            "Spans that wait to be sent.",
            MetricType::Gauge,
            waiting as f64,
        ),
    ]
}

#[cfg(test)]
mod tests;
