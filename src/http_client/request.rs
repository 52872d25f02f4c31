//! What is asked and what is answered.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use hyper::body::Bytes;

use super::{Buffer, Url};

/// A request; one that is repeated is built once.
#[derive(Debug, Clone)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The page.
    pub url: Url,
    /// Headers beside `Host`, `Content-Length` and what the client adds.
    pub headers: Arc<[(HeaderName, HeaderValue)]>,
    /// The body.
    pub body: Bytes,
    /// The socket through which the server is reached, whatever the URL's host is.
    pub unix_socket: Option<Box<str>>,
    /// For everything from resolving the name to the last byte.
    pub timeout: Duration,
    /// The body of the response has fewer bytes than this, compressed and decompressed.
    pub body_bytes_max: u64,
}

impl Request {
    /// A request for a page, which takes at most half a minute and 64 MiB.
    pub fn get(url: Url) -> Self {
        Self {
            method: Method::GET,
            url,
            headers: Arc::default(),
            body: Bytes::new(),
            unix_socket: None,
            timeout: Duration::from_secs(30),
            body_bytes_max: 64 << 20,
        }
    }
}

/// A page as it was served.
#[derive(Debug)]
pub struct Page {
    /// The body, decompressed.
    pub body: Buffer,
    /// The header `Content-Type`; empty where there is none.
    pub content_type: String,
}

/// A response of any status.
#[derive(Debug)]
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// Number and phrase as they were sent.
    pub status_text: String,
    /// The header fields.
    pub headers: HeaderMap,
    /// The body, decompressed.
    pub body: Buffer,
}

impl Response {
    /// The first header field of that name; empty where there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
    }
}
