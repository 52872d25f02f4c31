//! What stands before the router: every request passes here, whatever its path and protocol.
//!
//! In this order: a place for its connection, the door of the web configuration file, the router.
//! A request's body has a deadline from the moment its head was read. Nothing is answered to who
//! was not let in but why not.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::response::Response;
use http::header::{CONNECTION, HOST, HeaderValue, RETRY_AFTER};
use http::{Request, Version};
use hyper::body::{Frame, Incoming, SizeHint};
use tokio::time::Sleep;
use tower::ServiceExt as _;

use super::access::Access;
use super::connections::{Arriving, Seat, Underway};
use super::guard::Guard;
use super::lanes::OwnThread;
use super::reply;

/// Answers the requests of one connection.
#[derive(Clone)]
pub(super) struct Front {
    pub(super) router: Router,
    pub(super) guard: Option<Arc<Guard>>,
    pub(super) seat: Arc<Seat>,
    pub(super) peer: SocketAddr,
    pub(super) read_timeout: Duration,
    pub(super) connections_max: usize,
    /// The connection has its thread to itself.
    pub(super) own_thread: Option<OwnThread>,
}

/// Whether a path is one of those that say how the server is.
pub(super) fn is_health(path: &str) -> bool {
    path.ends_with("/-/healthy") || path.ends_with("/-/ready")
}

impl hyper::service::Service<Request<Incoming>> for Front {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let front = self.clone();
        let underway = self.seat.begin();
        let (parts, body) = request.into_parts();
        let arriving = (!hyper::body::Body::is_end_stream(&body)).then(|| underway.arrives());
        let deadline = Box::pin(tokio::time::sleep(self.read_timeout));
        let body = Body::new(Arrived { body, arriving, deadline });
        Box::pin(async move {
            let response = front.answer(Request::from_parts(parts, body)).await;
            Ok(response.map(|body| Body::new(Sent { body, _underway: underway })))
        })
    }
}

impl Front {
    async fn answer(self, request: Request<Body>) -> Response {
        // COMPAT: version 1.1 has this header once.
        let hosts = request.headers().get_all(HOST).iter().count();
        if hosts > 1 || (hosts == 0 && request.version() == Version::HTTP_11) {
            let what =
                if hosts > 1 { "too many Host headers" } else { "missing required Host header" };
            return reply::text(400, format!("400 Bad Request: {what}\n"));
        }
        let is_health = is_health(request.uri().path());
        if !is_health && !self.seat.take_place().await {
            let max = self.connections_max;
            let text = format!("--web.max-connections: all {max} connections are in use\n");
            let mut response = reply::text(503, text);
            let headers = response.headers_mut();
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
            return response;
        }
        let Some(guard) = self.guard.clone() else {
            return self.route(request, Access::full("")).await;
        };
        let loaded = guard.current();
        let (parts, body) = request.into_parts();
        let mut response = match guard.admit(&loaded, self.peer.ip(), &parts, is_health).await {
            Ok(access) => {
                let request = Request::from_parts(parts, body);
                self.route(request, access).await
            }
            Err(refusal) => *refusal,
        };
        for (name, value) in &loaded.headers {
            response.headers_mut().insert(name, value.clone());
        }
        response
    }

    async fn route(self, mut request: Request<Body>, access: Access) -> Response {
        let extensions = request.extensions_mut();
        extensions.insert(access);
        // Who asks is written to the log of queries.
        extensions.insert(self.peer);
        if let Some(own_thread) = self.own_thread {
            extensions.insert(own_thread);
        }
        match self.router.oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}

/// A request's body, which has to arrive within its time.
struct Arrived {
    body: Incoming,
    arriving: Option<Arriving>,
    deadline: Pin<Box<Sleep>>,
}

impl hyper::body::Body for Arrived {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                if self.body.is_end_stream() {
                    self.arriving = None;
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(end) => {
                self.arriving = None;
                Poll::Ready(end.map(|frame| frame.map_err(axum::Error::new)))
            }
            Poll::Pending => {
                std::task::ready!(self.deadline.as_mut().poll(context));
                self.arriving = None;
                let late = "it did not arrive within --web.read-timeout";
                Poll::Ready(Some(Err(axum::Error::new(std::io::Error::other(late)))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// An answer's body; the request is under way until it is sent.
struct Sent {
    body: Body,
    _underway: Underway,
}

impl hyper::body::Body for Sent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
