//! The envelope of the API, and its errors.
//!
//! COMPAT: error types and statuses are Prometheus's, `unavailable` as 500 included.

use axum::body::Body;
use axum::response::Response;
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderValue};

use super::json;
use crate::promql::engine::QueryError;
use crate::select::{SelectError, Stopped};

/// Prometheus's classes of errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ErrorKind {
    BadData,
    Execution,
    Canceled,
    Timeout,
    Internal,
    Unavailable,
    /// Not one of Prometheus's, which knows no roles.
    Forbidden,
}

impl ErrorKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::BadData => "bad_data",
            Self::Execution => "execution",
            Self::Canceled => "canceled",
            Self::Timeout => "timeout",
            Self::Internal => "internal",
            Self::Unavailable => "unavailable",
            Self::Forbidden => "forbidden",
        }
    }

    pub(super) fn status(self) -> u16 {
        match self {
            Self::BadData => 400,
            Self::Forbidden => 403,
            Self::Execution => 422,
            Self::Canceled => 499,
            Self::Timeout => 503,
            Self::Internal | Self::Unavailable => 500,
        }
    }
}

/// Names of the limits that are not counted where samples and bytes are.
pub(super) const TIMEOUT: &str = "query.timeout";
pub(super) const CONCURRENCY: &str = "query.max-concurrency";

/// An error of the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ApiError {
    pub(super) kind: ErrorKind,
    pub(super) message: String,
    /// Name of the limit on queries that was reached.
    pub(super) limit: Option<&'static str>,
}

impl ApiError {
    pub(super) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), limit: None }
    }

    /// The same, because a limit was reached.
    pub(super) fn at_limit(self, name: &'static str) -> Self {
        Self { limit: Some(name), ..self }
    }

    pub(super) fn bad_data(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::BadData, message)
    }

    pub(super) fn invalid_parameter(name: &str, what: &str) -> Self {
        Self::bad_data(format!("invalid parameter \"{name}\": {what}"))
    }
}

impl From<QueryError> for ApiError {
    fn from(error: QueryError) -> Self {
        let kind = match &error {
            QueryError::Duration(text) => return Self::invalid_parameter("query", text),
            QueryError::TimedOut => ErrorKind::Timeout,
            QueryError::Canceled => ErrorKind::Canceled,
            QueryError::Select(_) => ErrorKind::Internal,
            _ => ErrorKind::Execution,
        };
        let reached = match &error {
            QueryError::Limit(reached) => Some(reached.limit.name()),
            QueryError::TimedOut => Some(TIMEOUT),
            _ => None,
        };
        Self { limit: reached, ..Self::new(kind, error.to_string()) }
    }
}

impl From<SelectError> for ApiError {
    fn from(error: SelectError) -> Self {
        let kind = match &error {
            SelectError::Stopped(Stopped::Canceled) => ErrorKind::Canceled,
            SelectError::Stopped(Stopped::TimedOut) => ErrorKind::Timeout,
            _ => ErrorKind::Execution,
        };
        let reached = match &error {
            SelectError::Limit(reached) => Some(reached.limit.name()),
            SelectError::Stopped(Stopped::TimedOut) => Some(TIMEOUT),
            _ => None,
        };
        Self { limit: reached, ..Self::new(kind, error.to_string()) }
    }
}

impl From<Stopped> for ApiError {
    fn from(stopped: Stopped) -> Self {
        SelectError::from(stopped).into()
    }
}

/// `{"status":"error",…}`.
pub(super) fn error(error: &ApiError) -> Response {
    let mut body = b"{\"status\":\"error\",\"errorType\":".to_vec();
    json::push_str(&mut body, error.kind.as_str());
    body.extend_from_slice(b",\"error\":");
    json::push_str(&mut body, &error.message);
    body.push(b'}');
    bytes(error.kind.status(), "application/json", body)
}

/// A response with a body that is there whole.
pub(super) fn bytes(status: u16, content_type: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// Plain text.
pub(super) fn text(status: u16, body: impl Into<String>) -> Response {
    bytes(status, "text/plain; charset=utf-8", body.into())
}

/// A status without a body.
pub(super) fn empty(status: u16) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
}
