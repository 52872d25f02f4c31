//! Bodies that are counted when they have been sent.
//!
//! A request lasts until the last byte of its answer was taken over, or its client went away;
//! both drop the body, and that is when it is counted.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::body::{Body, Bytes};
use hyper::body::{Frame, SizeHint};

use super::service::Service;

/// The body of an answer, and what is told of it in the end.
pub(super) struct Counted {
    body: Body,
    service: Arc<Service>,
    handler: String,
    status: u16,
    began: Instant,
    bytes: u64,
}

impl Counted {
    /// Wraps the body of an answer to a request that came at `began`; `handler` is its route.
    pub(super) fn new(
        body: Body,
        service: Arc<Service>,
        handler: String,
        status: u16,
        began: Instant,
    ) -> Self {
        Self { body, service, handler, status, began, bytes: 0 }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let counts = self.service.control.counts();
        counts.observe_request(&self.handler, self.status, self.began.elapsed());
        counts.observe_response_bytes(&self.handler, self.bytes);
    }
}

impl hyper::body::Body for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            self.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
