//! `read`: remote read, handed to [`crate::remote`].
//!
//! COMPAT: errors are plain text; requests beyond `--storage.remote.read-concurrent-limit` wait.

use std::sync::Arc;
use std::time::Instant;

use axum::response::Response;
use http::header::{CONTENT_ENCODING, HeaderValue};

use crate::http::params::Params;
use crate::http::reply::{self, ApiError, ErrorKind};
use crate::http::service::Service;
use crate::http::stream::{Sink, answer_with};
use crate::protowire::remote_read::{ReadRequest, ResponseType};
use crate::remote::{ReadError, parse_read_request, read_chunks, read_samples};
use crate::select::Cancellation;

const FRAMES: &str = "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse";

fn refuse(error: &ApiError) -> Response {
    let status = if error.kind.status() == 400 { 400 } else { 500 };
    reply::text(status, error.message.clone() + "\n")
}

impl From<ReadError> for ApiError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Select(error) => error.into(),
            other => Self::new(ErrorKind::BadData, other.to_string()),
        }
    }
}

/// Answers a request whose body is there whole.
pub(in crate::http) async fn read(
    service: Arc<Service>,
    params: Params,
    body: Vec<u8>,
) -> Response {
    let request = match parse_read_request(&body) {
        Ok(request) => request,
        Err(error) => return refuse(&error.into()),
    };
    let response_type = match request.response_type() {
        Ok(response_type) => response_type,
        Err(error) => return refuse(&ApiError::bad_data(error.to_string())),
    };
    let timeout = service.engine().options().timeout;
    let deadline = Instant::now() + timeout;
    let places = service.read_places();
    let waited = tokio::time::timeout_at(deadline.into(), places.acquire_owned()).await;
    let Ok(Ok(place)) = waited else {
        let limit = "storage.remote.read-concurrent-limit: no place within the time of a query";
        return refuse(&ApiError::new(ErrorKind::Timeout, limit));
    };
    let cancellation = service.cancellation(deadline);
    match response_type {
        ResponseType::Samples => {
            let mut response = answer_with(
                "application/x-protobuf",
                false,
                cancellation,
                refuse,
                move |sink, cancellation| {
                    let _held = place;
                    samples(&service, &params, &request, sink, cancellation)
                },
            )
            .await;
            if response.status() == 200 {
                let coding = HeaderValue::from_static("snappy");
                response.headers_mut().insert(CONTENT_ENCODING, coding);
            }
            response
        }
        ResponseType::StreamedXorChunks => {
            let work = move |sink: &mut Sink, cancellation: &Cancellation| {
                let _held = place;
                frames(&service, &params, &request, sink, cancellation)
            };
            answer_with(FRAMES, false, cancellation, refuse, work).await
        }
    }
}

fn samples(
    service: &Service,
    params: &Params,
    request: &ReadRequest,
    sink: &mut Sink,
    cancellation: &Cancellation,
) -> Result<(), ApiError> {
    let source = service.source(params)?;
    let (external, max) = (service.control.external_labels(), service.settings.read_samples_max);
    let message = read_samples(&source, request, &external, max, cancellation)?;
    sink.buffer().extend_from_slice(&message);
    Ok(())
}

fn frames(
    service: &Service,
    params: &Params,
    request: &ReadRequest,
    sink: &mut Sink,
    cancellation: &Cancellation,
) -> Result<(), ApiError> {
    let source = service.source(params)?;
    let external = service.control.external_labels();
    let bytes_max = service.settings.read_frame_bytes_max;
    let mut send = |frame: &[u8]| {
        sink.buffer().extend_from_slice(frame);
        sink.flush_if_full()
    };
    read_chunks(&source, request, &external, bytes_max, cancellation, &mut send)
}
