//! A connection that its owner keeps between requests.
//!
//! Nobody watches an idle connection. That the server has closed it in the meantime shows when
//! the next request begins, which then connects anew: a request is sent a second time only where
//! the first time brought no byte of an answer over a connection that had been used before.

use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use hyper::body::Bytes;

use super::body::{check_size, inflate};
use super::credentials::basic;
use super::error::Reason;
use super::http1::ResponseHead;
use super::wire::{self, Body, Fields, Wire};
use super::{Buffer, BufferPool, Client, FetchError, Page, Request, Response, Url};
use crate::telemetry::traces;

/// Redirects that are followed.
const REDIRECTS_MAX: usize = 10;

/// Unasked-for bytes of a response that are read before its connection is given up.
const DRAINED_BYTES_MAX: usize = 64 << 10;

#[derive(Debug)]
struct Live {
    wire: Wire,
    /// Says to which server, in which way, and with which certificates.
    key: u64,
}

/// A connection: open, or to be opened by the next request.
#[derive(Debug, Default)]
pub struct Connection {
    live: Option<Live>,
}

/// A response whose body comes piece by piece.
#[derive(Debug)]
pub struct Streaming {
    /// The status.
    pub status: StatusCode,
    /// Number and phrase as they were sent.
    pub status_text: String,
    body: Body,
}

impl Streaming {
    /// Appends the next piece of the body, of at most some 64 KiB, to `out`; false at the end.
    pub async fn read_some(&mut self, out: &mut Vec<u8>) -> Result<bool, FetchError> {
        self.body.read_some(out).await
    }
}

/// What the redirects made of a request.
struct Answered {
    head: ResponseHead,
    body: Body,
    key: u64,
}

impl Connection {
    /// A connection that the first request opens.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether a socket is held.
    pub fn is_open(&self) -> bool {
        self.live.is_some()
    }

    /// Whether it was opened under this key.
    pub(super) fn has_key(&self, key: u64) -> bool {
        self.live.as_ref().is_some_and(|live| live.key == key)
    }

    /// Fetches a page: any status but 200 is an error. After an error the socket is closed.
    /// Dropping the future closes it too.
    pub async fn fetch(
        &mut self,
        client: &Client,
        request: &Request,
        buffers: &BufferPool,
    ) -> Result<Page, FetchError> {
        let has_head = AtomicBool::new(false);
        let fetched = async {
            let answered = self.answer(client, request, buffers).await?;
            if answered.head.status != StatusCode::OK {
                return Err(FetchError::Status(answered.head.status_text));
            }
            has_head.store(true, Ordering::Relaxed);
            let content_type = text_of(&answered.head.headers, &header::CONTENT_TYPE);
            let body = self.read(answered, request, buffers).await?.1;
            Ok(Page { body, content_type })
        };
        within(request, &has_head, fetched).await
    }

    /// Sends a request; every status is an answer.
    pub async fn send(
        &mut self,
        client: &Client,
        request: &Request,
        buffers: &BufferPool,
    ) -> Result<Response, FetchError> {
        let has_head = AtomicBool::new(false);
        let sent = async {
            let answered = self.answer(client, request, buffers).await?;
            has_head.store(true, Ordering::Relaxed);
            let (head, body) = self.read(answered, request, buffers).await?;
            let ResponseHead { status, status_text, headers, .. } = head;
            Ok(Response { status, status_text, headers, body })
        };
        within(request, &has_head, sent).await
    }

    /// Sends a request and gives the response's body to be read as it comes, without a limit in
    /// time or bytes; the request's time limit is for the head.
    pub async fn stream(
        mut self,
        client: &Client,
        request: &Request,
        buffers: &BufferPool,
    ) -> Result<Streaming, FetchError> {
        let answered =
            within(request, &AtomicBool::new(false), self.answer(client, request, buffers)).await?;
        let ResponseHead { status, status_text, .. } = answered.head;
        Ok(Streaming { status, status_text, body: answered.body })
    }

    async fn read(
        &mut self,
        Answered { mut head, mut body, key }: Answered,
        request: &Request,
        buffers: &BufferPool,
    ) -> Result<(ResponseHead, Buffer), FetchError> {
        let bytes_max = request.body_bytes_max;
        let declared = body.declared().unwrap_or(0);
        check_size(usize::try_from(declared).unwrap_or(usize::MAX), bytes_max)?;
        let mut packed = buffers.take();
        packed.reserve(usize::try_from(declared.min(64 << 10)).unwrap_or(0));
        loop {
            packed.allow(packed.len() + (64 << 10)).await;
            if !body.read_some(&mut packed).await? {
                break;
            }
            check_size(packed.len(), bytes_max)?;
        }
        body.take_trailers(&mut head.headers);
        self.live = body.finish().map(|wire| Live { wire, key });
        if text_of(&head.headers, &header::CONTENT_ENCODING) != "gzip" {
            return Ok((head, packed));
        }
        let mut page = buffers.take();
        inflate(&packed, &mut page, bytes_max).await?;
        Ok((head, page))
    }

    /// Sends the request, and again where redirects say so.
    async fn answer(
        &mut self,
        client: &Client,
        request: &Request,
        buffers: &BufferPool,
    ) -> Result<Answered, FetchError> {
        // Taken out: it is put back when the exchange has ended well.
        let mut live = self.live.take();
        let mut request = std::borrow::Cow::Borrowed(request);
        let first_host = request.url.host().to_ascii_lowercase();
        let mut is_elsewhere = false;
        for hop in 0..=REDIRECTS_MAX {
            let failed = |url: &Url, reason| FetchError::Request {
                method: request.method.clone(),
                url: url.to_string(),
                reason,
            };
            let url = &request.url;
            let key = client.key(url, request.unix_socket.as_deref());
            let key = key.map_err(|reason| failed(url, reason))?;
            let known = live.take().filter(|live| live.key == key).map(|live| live.wire);
            let sent = send(client, known, &request, is_elsewhere, buffers).await;
            let (head, mut body) = sent.map_err(|reason| failed(url, reason))?;
            let location = head.headers.get(header::LOCATION);
            let location = location.filter(|_| client.follow_redirects && is_redirect(head.status));
            let Some(location) = location else { return Ok(Answered { head, body, key }) };
            let location = String::from_utf8_lossy(location.as_bytes());
            let next = url.join(&location).map_err(|error| {
                failed(url, Reason::Url(format!("redirect to {location:?}: {error}")))
            })?;
            if hop == REDIRECTS_MAX {
                return Err(failed(&next, Reason::Redirects(REDIRECTS_MAX)));
            }
            is_elsewhere |= !is_within(&next.host().to_ascii_lowercase(), &first_host);
            if next.authority() == url.authority() && drain(&mut body).await {
                live = body.finish().map(|wire| Live { wire, key });
            }
            let request = request.to_mut();
            request.url = next;
            let keeps = matches!(head.status.as_u16(), 307 | 308);
            if !keeps && request.method != Method::GET && request.method != Method::HEAD {
                request.method = Method::GET;
                request.body = Bytes::new();
            }
        }
        unreachable!("BUG: the last hop returns")
    }
}

/// Gives up when the request's time is over.
async fn within<T>(
    request: &Request,
    has_head: &AtomicBool,
    work: impl Future<Output = Result<T, FetchError>>,
) -> Result<T, FetchError> {
    match tokio::time::timeout(request.timeout, work).await {
        Ok(result) => result,
        Err(_) if has_head.load(Ordering::Relaxed) => Err(FetchError::BodyTimeout),
        Err(_) => Err(FetchError::Request {
            method: request.method.clone(),
            url: request.url.to_string(),
            reason: Reason::Timeout,
        }),
    }
}

/// Sends the request over `known`, if that still works, or a new connection.
async fn send(
    client: &Client,
    known: Option<Wire>,
    request: &Request,
    is_elsewhere: bool,
    buffers: &BufferPool,
) -> Result<(ResponseHead, Body), Reason> {
    let (url, user_info) = (&request.url, request.url.user_info());
    let has_agent = request.headers.iter().any(|(name, _)| *name == header::USER_AGENT);
    let adds_nothing = client.credentials.is_none() && user_info.is_none() && has_agent;
    let headers;
    let fields = if adds_nothing && !is_elsewhere && !traces::has_ambient() {
        Fields::Own(&request.headers)
    } else {
        headers = Box::pin(headers_of(client, request, is_elsewhere)).await?;
        Fields::Map(&headers)
    };
    if let Some(wire) = known {
        match wire.exchange(request, url, fields, buffers).await {
            Ok(answer) => return Ok(answer),
            // The server may have closed it since, or close it now: then a new one is opened.
            Err((_, false)) => {}
            Err((reason, true)) => return Err(reason),
        }
    }
    let wire = Box::pin(wire::open(client, url, request.unix_socket.as_deref())).await?;
    wire.exchange(request, url, fields, buffers).await.map_err(|(reason, _)| reason)
}

/// The header fields of a request, those that the client adds included.
async fn headers_of(
    client: &Client,
    request: &Request,
    is_elsewhere: bool,
) -> Result<HeaderMap, Reason> {
    let mut headers = HeaderMap::with_capacity(request.headers.len() + 2);
    for (name, value) in request.headers.iter() {
        headers.append(name.clone(), value.clone());
    }
    if let Some((user, password)) = request.url.user_info() {
        let value = HeaderValue::try_from(basic(user.reveal(), password.reveal()));
        let mut value = value.map_err(|error| Reason::Credentials(error.to_string()))?;
        value.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, value);
    }
    if !headers.contains_key(header::USER_AGENT) {
        headers.insert(header::USER_AGENT, HeaderValue::from_static(super::USER_AGENT));
    }
    if let Some(context) = traces::ambient() {
        context.to_headers(&mut headers);
    }
    client.credentials.add_to(&mut headers, is_elsewhere).await?;
    Ok(headers)
}

/// What tells connections apart: the server, the way to it, the certificates.
pub(super) fn key_of(url: &Url, unix_socket: Option<&str>, tls_generation: u32) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    (url.is_https(), url.authority(), unix_socket, tls_generation).hash(&mut hasher);
    hasher.finish()
}

fn text_of(headers: &HeaderMap, name: &header::HeaderName) -> String {
    let value = headers.get(name);
    value.map_or_else(String::new, |v| String::from_utf8_lossy(v.as_bytes()).into_owned())
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// Whether `host` is `parent` or below it, both in lower case.
fn is_within(host: &str, parent: &str) -> bool {
    host == parent
        || (!host.contains([':', '%'])
            && host.strip_suffix(parent).is_some_and(|rest| rest.ends_with('.')))
}

/// Reads a body that nobody wants, so that its connection can be used again; false where it is
/// too long for that.
async fn drain(body: &mut Body) -> bool {
    let mut drained = Vec::new();
    let mut bytes = 0;
    loop {
        match body.read_some(&mut drained).await {
            Ok(true) => bytes += drained.len(),
            Ok(false) => return true,
            Err(_) => return false,
        }
        drained.clear();
        if bytes > DRAINED_BYTES_MAX {
            return false;
        }
    }
}

#[cfg(test)]
mod tests;
