//! `otlp/v1/metrics`: handed to [`crate::remote`].

use axum::response::Response;
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, RETRY_AFTER};

use crate::http::reply;
use crate::http::service::Service;
use crate::remote::{OtlpReply, OtlpRequest, receive_otlp};
use crate::telemetry::ReceivedWrite;

/// Takes one request whose body is there whole.
pub(in crate::http) fn write(service: &Service, headers: &HeaderMap, body: &[u8]) -> Response {
    let header = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let Some(database) = service.database() else {
        return reply::text(503, "Service Unavailable");
    };
    let request = OtlpRequest {
        content_type: header(CONTENT_TYPE).unwrap_or(""),
        content_encoding: header(CONTENT_ENCODING).unwrap_or(""),
        body,
    };
    let options = service.control.otlp();
    let OtlpReply { status, content_type, body, retry_after_s, stats } =
        receive_otlp(database, &service.pushed_series, &options, service.deltas.as_ref(), request);
    service.control.counts().observe_write(ReceivedWrite {
        samples_written: (stats.samples_written + stats.histograms_written) as u64,
        samples_refused: stats.samples_refused as u64,
        series_invalid: stats.series_invalid as u64,
        histograms_refused: stats.histograms_refused as u64,
        exemplars_dropped: stats.exemplars_dropped as u64,
    });
    let mut response = reply::bytes(status, content_type, body);
    if let Some(seconds) = retry_after_s {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}
