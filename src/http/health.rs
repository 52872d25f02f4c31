//! `/-/healthy`, `/-/ready`, `/-/reload`, `/-/quit`.
//!
//! COMPAT: the texts, and which methods are allowed, are Prometheus's; probes match on them.

use std::sync::Arc;

use axum::response::Response;
use http::header::HeaderValue;

use super::reply;
use super::service::{Lifecycle, Service};

/// Always healthy while it answers at all.
pub(super) fn healthy() -> Response {
    reply::text(200, "Prometheus Server is Healthy.\n")
}

/// Ready once queries are answered.
pub(super) fn ready(service: &Service) -> Response {
    match service.lifecycle() {
        Lifecycle::Ready => reply::text(200, "Prometheus Server is Ready.\n"),
        _ => unavailable(service),
    }
}

/// The answer of everything that needs the database before it is open.
pub(super) fn unavailable(service: &Service) -> Response {
    let mut response = reply::text(503, "Service Unavailable");
    let stopping = service.lifecycle() == Lifecycle::Stopping;
    let value = HeaderValue::from_static(if stopping { "true" } else { "false" });
    response.headers_mut().insert("X-Prometheus-Stopping", value);
    response
}

fn disabled() -> Response {
    reply::text(403, "Lifecycle API is not enabled.")
}

/// Waits until the configuration applies.
pub(super) async fn reload(service: Arc<Service>) -> Response {
    if !service.settings.lifecycle {
        return disabled();
    }
    let control = Arc::clone(&service.control);
    match tokio::task::spawn_blocking(move || control.reload()).await {
        Ok(Ok(())) => reply::empty(200),
        Ok(Err(why)) => reply::text(500, format!("failed to reload config: {why}\n")),
        Err(_) => reply::text(500, "failed to reload config: the reload broke off\n"),
    }
}

/// Answers, then ends the process.
pub(super) fn quit(service: &Service) -> Response {
    if !service.settings.lifecycle {
        return disabled();
    }
    service.control.quit();
    reply::text(200, "Requesting termination... Goodbye!")
}
