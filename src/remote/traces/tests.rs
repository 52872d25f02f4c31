//! Traces to a receiver of the same process, over HTTP/1.1 and HTTP/2.

use std::convert::Infallible;
use std::io::Read as _;
use std::net::SocketAddr;
use std::sync::Mutex;

use flate2::read::GzDecoder;
use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;

use super::*;
use crate::config::parse;
use crate::telemetry::traces::{Context, Kind};

/// What a receiver was sent, and what it answers.
#[derive(Debug, Default)]
struct Collector {
    requests: Mutex<Vec<(String, HeaderMap, Vec<u8>)>>,
    /// Statuses of HTTP or gRPC; the last one stays.
    answers: Mutex<Vec<u16>>,
}

impl Collector {
    fn next_answer(&self) -> u16 {
        let mut answers = self.answers.lock().unwrap();
        if answers.len() > 1 { answers.remove(0) } else { answers[0] }
    }

    async fn start(self: &Arc<Self>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let collector = Arc::clone(self);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let collector = Arc::clone(&collector);
                tokio::spawn(async move {
                    let service = service_fn(move |request: http::Request<_>| {
                        answer(Arc::clone(&collector), request)
                    });
                    let builder = auto::Builder::new(TokioExecutor::new());
                    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        address
    }
}

type Answer = http::Response<http_body_util::combinators::BoxBody<Bytes, Infallible>>;

async fn answer(
    collector: Arc<Collector>,
    request: http::Request<hyper::body::Incoming>,
) -> Result<Answer, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes().to_vec();
    let path = parts.uri.path().to_owned();
    collector.requests.lock().unwrap().push((path, parts.headers, body));
    let code = collector.next_answer();
    if parts.version != http::Version::HTTP_2 {
        let mut response = http::Response::new(Full::new(Bytes::new()).boxed());
        *response.status_mut() = StatusCode::from_u16(code).unwrap();
        return Ok(response);
    }
    let mut status = HeaderMap::new();
    status.insert("grpc-status", HeaderValue::from(code));
    status.insert("grpc-message", HeaderValue::from_static("not%20now"));
    let body = Full::new(Bytes::from_static(&[0, 0, 0, 0, 0]));
    let body = body.with_trailers(std::future::ready(Some(Ok(status)))).boxed();
    Ok(http::Response::new(body))
}

fn receiver(address: SocketAddr, more: &str) -> TraceReceiver {
    let text = format!("tracing: {{endpoint: '{address}', insecure: true, {more}}}");
    let config = parse(&text, "t.yml").unwrap();
    TraceReceiver::new(config.tracing.as_ref().unwrap()).unwrap()
}

fn span() -> Finished {
    let context = Context { trace: [1; 16], span: [2; 8], is_sampled: true, state: None };
    Finished {
        context,
        parent: None,
        name: "work".into(),
        kind: Kind::Internal,
        start_ns: 1,
        end_ns: 2,
        attributes: Vec::new(),
        error: None,
    }
}

fn has_span(message: &[u8]) -> bool {
    message.windows(6).any(|bytes| bytes == b"\x2a\x04work")
}

#[tokio::test]
async fn spans_go_by_http() {
    let collector = Arc::new(Collector { answers: vec![200].into(), ..Collector::default() });
    let address = collector.start().await;
    let plain = receiver(address, "client_type: http, headers: {X-Scope: a}");
    plain.send(&message(&[span()])).await.unwrap();
    let packed = receiver(address, "client_type: http, compression: gzip");
    packed.send(&message(&[span()])).await.unwrap();
    let requests = collector.requests.lock().unwrap();
    let (path, headers, body) = &requests[0];
    assert_eq!((path.as_str(), &headers["x-scope"]), (HTTP_PATH, &HeaderValue::from_static("a")));
    assert_eq!(headers["content-type"], "application/x-protobuf");
    assert!(has_span(body) && !headers.contains_key("content-encoding"));
    let (_, headers, body) = &requests[1];
    assert_eq!(headers["content-encoding"], "gzip");
    let mut unpacked = Vec::new();
    GzDecoder::new(body.as_slice()).read_to_end(&mut unpacked).unwrap();
    assert!(has_span(&unpacked));
}

#[tokio::test]
async fn spans_go_by_grpc() {
    let collector = Arc::new(Collector { answers: vec![0].into(), ..Collector::default() });
    let address = collector.start().await;
    let grpc = receiver(address, "client_type: grpc, timeout: 3s, compression: gzip");
    // Twice over one connection.
    for _ in 0..2 {
        grpc.send(&message(&[span()])).await.unwrap();
    }
    let plain = receiver(address, "headers: {X-Scope: a}");
    plain.send(&message(&[span()])).await.unwrap();
    let requests = collector.requests.lock().unwrap();
    let (path, headers, body) = &requests[1];
    assert_eq!((path.as_str(), &headers["te"]), (GRPC_PATH, &HeaderValue::from_static("trailers")));
    assert_eq!(
        (&headers["grpc-encoding"], &headers["grpc-timeout"]),
        (&HeaderValue::from_static("gzip"), &HeaderValue::from_static("3000m"),)
    );
    assert_eq!(
        (body[0], u32::from_be_bytes([body[1], body[2], body[3], body[4]]) as usize),
        (1, body.len() - 5,)
    );
    let mut unpacked = Vec::new();
    GzDecoder::new(&body[5..]).read_to_end(&mut unpacked).unwrap();
    assert!(has_span(&unpacked));
    let (_, headers, body) = &requests[2];
    assert!(headers["content-type"] == "application/grpc" && headers["x-scope"] == "a");
    assert!(body[0] == 0 && has_span(&body[5..]));
}

#[tokio::test]
async fn what_is_refused_is_told() {
    let collector = Arc::new(Collector { answers: vec![14].into(), ..Collector::default() });
    let address = collector.start().await;
    let refusal = receiver(address, "").send(&[]).await.unwrap_err();
    assert!(refusal.may_recover && refusal.why == "gRPC status 14: not now", "{refusal:?}");
    *collector.answers.lock().unwrap() = vec![3];
    assert!(!receiver(address, "").send(&[]).await.unwrap_err().may_recover);
    for (status, may_recover) in [(400, false), (429, true), (503, true)] {
        *collector.answers.lock().unwrap() = vec![status];
        let refusal = receiver(address, "client_type: http").send(&[]).await.unwrap_err();
        assert_eq!(refusal.may_recover, may_recover, "{status}");
        assert!(refusal.why.contains(&status.to_string()));
    }
    // Field 1, a message: 3 spans were not taken, and why.
    let partial = [0x0a, 6, 0x08, 3, 0x12, 2, b'n', b'o'];
    let refusal = said(&partial).unwrap_err();
    assert!(!refusal.may_recover && refusal.why.ends_with("all but 3 spans: no"));
    assert_eq!(said(&[]), Ok(()));
}

#[tokio::test]
async fn what_waits_is_sent_before_the_end() {
    let collector = Arc::new(Collector { answers: vec![503, 200].into(), ..Collector::default() });
    let address = collector.start().await;
    let counts = Arc::new(TraceCounts::default());
    let queue = Arc::new(Queue::new(Arc::clone(&counts)));
    let (stop, stopping) = watch::channel(false);
    let receiver = receiver(address, "client_type: http");
    queue.add(span());
    let task = tokio::spawn(send_traces(receiver, Arc::clone(&queue), stopping));
    tokio::task::yield_now().await;
    stop.send_replace(true);
    task.await.unwrap();
    // The first answer was no.
    assert!(queue.is_empty());
    assert_eq!(counts.dropped.load(Ordering::Relaxed), 1);
    queue.add(span());
    let receiver = self::receiver(address, "client_type: http");
    send_traces(receiver, Arc::clone(&queue), stop.subscribe()).await;
    assert_eq!(counts.sent.load(Ordering::Relaxed), 1);
    let families = trace_families(&counts, queue.len());
    assert_eq!(families[0].samples[0].value, 1.0);
}

#[test]
fn what_cannot_be_sent_to_is_told_by_name() {
    let new = |more: &str| {
        let config = parse(&format!("tracing: {{{more}}}"), "t.yml").unwrap();
        TraceReceiver::new(config.tracing.as_ref().unwrap())
    };
    assert!(new("endpoint: 'dns:///a:4317'").is_ok());
    assert!(new("endpoint: 'a:4317', client_type: http").is_ok());
    let error = new("endpoint: 'a b'").unwrap_err();
    assert!(error.starts_with("tracing: endpoint \"a b\""), "{error}");
    let error = new("endpoint: 'a:1', headers: {'b c': d}").unwrap_err();
    assert!(error.contains("header \"b c\""), "{error}");
    let error = new("endpoint: 'a:1', tls_config: {ca: x}").unwrap_err();
    assert!(error.starts_with("tracing: "), "{error}");
}
