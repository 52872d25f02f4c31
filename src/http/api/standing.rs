//! What the server says of its own standing: features, notifications, replay, its description.

use std::borrow::Cow;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::response::Response;
use http::header::{CACHE_CONTROL, HeaderValue};
use hyper::body::Frame;
use jiff::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::success;
use crate::http::json;
use crate::http::reply::{self, ApiError};
use crate::http::service::{Lifecycle, Service};
use crate::http::stream::Sink;

/// The description of the API.
const OPENAPI: &str = include_str!("openapi.yaml");
/// How often it is looked whether something is to be told.
const LOOK: Duration = Duration::from_millis(500);
/// COMPAT: what a page shows.
const RELOAD_FAILED: &str = "Configuration reload has failed.";
const STARTING: &str = "Prometheus is starting and replaying the write-ahead log (WAL).";
const STOPPING: &str = "Prometheus is shutting down and gracefully stopping all operations.";

/// `features`: what is there, and whether it is on.
pub(in crate::http) fn features(service: &Service, sink: &mut Sink) -> Result<(), ApiError> {
    let features = service.control.features();
    let data = |sink: &mut Sink| {
        let out = sink.buffer();
        out.push(b'{');
        for (i, (category, names)) in features.iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            json::push_str(out, category);
            out.extend_from_slice(b":{");
            for (j, (name, is_on)) in names.iter().enumerate() {
                if j > 0 {
                    out.push(b',');
                }
                json::push_str(out, name);
                out.extend_from_slice(if *is_on { b":true" } else { b":false" });
            }
            out.push(b'}');
        }
        out.push(b'}');
        Ok(())
    };
    success(sink, data, &[], &[])
}

/// What there is to tell, in the order in which it is shown.
fn active(service: &Service) -> Vec<&'static str> {
    let mut texts = Vec::new();
    if service.control.has_failed_reload() {
        texts.push(RELOAD_FAILED);
    }
    match service.lifecycle() {
        Lifecycle::Starting => texts.push(STARTING),
        Lifecycle::Ready => {}
        Lifecycle::Stopping => texts.push(STOPPING),
    }
    texts
}

fn push_notification(out: &mut Vec<u8>, text: &str, is_active: bool) {
    out.extend_from_slice(b"{\"text\":");
    json::push_str(out, text);
    out.extend_from_slice(b",\"date\":");
    json::push_str(out, &Timestamp::now().to_string());
    out.extend_from_slice(if is_active { b",\"active\":true}" } else { b",\"active\":false}" });
}

/// `notifications`
pub(in crate::http) fn notifications(service: &Service) -> Response {
    let mut body = b"{\"status\":\"success\",\"data\":[".to_vec();
    for (i, text) in active(service).into_iter().enumerate() {
        if i > 0 {
            body.push(b',');
        }
        push_notification(&mut body, text, true);
    }
    body.extend_from_slice(b"]}");
    reply::bytes(200, "application/json", body)
}

/// `notifications/live`: each as it comes and goes. COMPAT: 204 where too many listen already.
pub(in crate::http) fn live(service: Arc<Service>) -> Response {
    let Ok(place) = Arc::clone(&service.subscribers).try_acquire_owned() else {
        return reply::empty(204);
    };
    let (sender, events) = mpsc::channel::<Bytes>(4);
    tokio::spawn(async move {
        let mut told: Vec<&str> = Vec::new();
        // Ends when the listener is gone, or with the process.
        while !sender.is_closed() {
            let now = active(&service);
            let gone = told.iter().filter(|text| !now.contains(text)).map(|text| (*text, false));
            let came = now.iter().filter(|text| !told.contains(text)).map(|text| (*text, true));
            let mut event = Vec::new();
            for (text, is_active) in gone.chain(came).collect::<Vec<_>>() {
                event.extend_from_slice(b"data: ");
                push_notification(&mut event, text, is_active);
                event.extend_from_slice(b"\n\n");
            }
            let is_last = service.lifecycle() == Lifecycle::Stopping;
            if (!event.is_empty() && sender.send(event.into()).await.is_err()) || is_last {
                return;
            }
            told = now;
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = sender.closed() => return,
            }
        }
    });
    let body = Body::new(Events { events, _place: place });
    let mut response = reply::bytes(200, "text/event-stream", body);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// Events as they come; whoever drops this listens no more.
struct Events {
    events: mpsc::Receiver<Bytes>,
    _place: OwnedSemaphorePermit,
}

impl hyper::body::Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.events.poll_recv(context).map(|event| event.map(|event| Ok(Frame::data(event))))
    }
}

/// `status/walreplay`. COMPAT: parts of the log, of which there are none to count here.
pub(in crate::http) fn replay() -> Response {
    let body = "{\"status\":\"success\",\"data\":{\"min\":0,\"max\":0,\"current\":0}}";
    reply::bytes(200, "application/json", body)
}

/// `openapi.yaml`, by default in version 3.1 of that language. COMPAT: 3.2 for those who ask.
pub(in crate::http) fn openapi(query: Option<&str>) -> Response {
    let version = query.unwrap_or_default().split('&').find_map(|pair| {
        let (name, version) = pair.split_once('=')?;
        (name == "openapi_version").then_some(version)
    });
    let text = match version {
        // What is said is the same in both.
        Some("3.2" | "3.2.0") => OPENAPI.replacen("openapi: 3.1.0", "openapi: 3.2.0", 1).into(),
        _ => Cow::Borrowed(OPENAPI),
    };
    let mut response = reply::bytes(200, "application/yaml; charset=utf-8", text.into_owned());
    let uncached = HeaderValue::from_static("no-cache, no-store, must-revalidate");
    response.headers_mut().insert(CACHE_CONTROL, uncached);
    response
}

#[cfg(test)]
mod tests {
    use super::OPENAPI;

    #[test]
    fn every_path_of_the_api_is_described() {
        let routes = include_str!("../router.rs").lines();
        let routes =
            routes.filter_map(|line| line.trim_start().strip_prefix(".route(\"")?.split_once('"'));
        let mut paths = 0;
        for (path, _) in routes.filter(|(path, _)| *path != "/") {
            let described = OPENAPI.contains(&format!("\n  {path}:\n"));
            // What stands beside the API has paths of its own.
            let beside =
                ["/federate", "/version", "/metrics", "/-/", "/debug", "/consoles", "/graph"];
            assert!(described || beside.iter().any(|begin| path.starts_with(begin)), "{path}");
            paths += usize::from(described);
        }
        assert!(paths >= 35, "{paths}");
    }
}
