//! `write`: remote write, handed to `crate::remote`.

use axum::response::Response;
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue};

use crate::http::reply;
use crate::http::service::Service;
use crate::remote::{WriteReply, WriteRequest, receive};
use crate::telemetry::ReceivedWrite;

/// Takes one request whose body is there whole.
pub(in crate::http) fn write(service: &Service, headers: &HeaderMap, body: &[u8]) -> Response {
    let header = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let Some(database) = service.database() else {
        return reply::text(503, "Service Unavailable");
    };
    let request = WriteRequest {
        content_type: header(CONTENT_TYPE),
        content_encoding: header(CONTENT_ENCODING),
        body,
    };
    let WriteReply { status, headers, text, stats } =
        receive(database, &service.pushed_series, request);
    service.control.counts().observe_write(ReceivedWrite {
        samples_written: (stats.samples_written + stats.histograms_written) as u64,
        samples_refused: stats.samples_refused as u64,
        series_invalid: stats.series_invalid as u64,
        histograms_refused: stats.histograms_refused as u64,
        exemplars_dropped: stats.exemplars_dropped as u64,
    });
    let mut response =
        if text.is_empty() { reply::empty(status) } else { reply::text(status, text + "\n") };
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}
