//! The connection itself.
//!
//! Nobody polls an idle connection: it has no task of its own. That the server has closed it in
//! the meantime shows when the next request begins, which then connects anew. The two futures of
//! a request, the exchange and the connection that carries it, are driven together.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::body::{check_size, inflate};
use super::{Buffer, BufferPool, FetchError, Url};

/// Redirects that are followed.
const REDIRECTS_MAX: usize = 10;

/// Bytes that the head of a response may have. It is the size of hyper's read buffer too, and so
/// bounds what an idle connection may hold: left to itself the buffer grows with the pages.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// Header fields of a response.
const HEADERS_MAX: usize = 128;

/// Unasked-for bytes of a response that are read before its connection is given up.
const DRAINED_BYTES_MAX: usize = 64 << 10;

/// What is asked of a target, the same each time.
#[derive(Debug, Clone)]
pub struct Request {
    /// The page.
    pub url: Url,
    /// Headers beside `Host`.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// For everything from resolving the name to the last byte.
    pub timeout: Duration,
    /// The body has fewer bytes than this, compressed and decompressed.
    pub body_bytes_max: u64,
    /// Whether redirects are followed or, like any status but 200, an error.
    pub follow_redirects: bool,
}

/// A page as it was served.
#[derive(Debug)]
pub struct Page {
    /// The body, decompressed.
    pub body: Buffer,
    /// The header `Content-Type`; empty where there is none.
    pub content_type: String,
}

type HttpConnection = http1::Connection<TokioIo<TcpStream>, Empty<Bytes>>;

#[derive(Debug)]
struct Live {
    sender: http1::SendRequest<Empty<Bytes>>,
    /// `None` once it has ended.
    connection: Option<Pin<Box<HttpConnection>>>,
}

/// A target's connection: open, or to be opened by the next request.
#[derive(Debug, Default)]
pub struct Connection {
    live: Option<Live>,
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

    /// Fetches the page. After an error the socket is closed. Dropping the future closes it too.
    pub async fn fetch(
        &mut self,
        request: &Request,
        buffers: &BufferPool,
    ) -> Result<Page, FetchError> {
        let has_head = AtomicBool::new(false);
        let fetched = self.fetch_untimed(request, buffers, &has_head);
        match tokio::time::timeout(request.timeout, fetched).await {
            Ok(result) => result,
            Err(_) if has_head.load(Ordering::Relaxed) => Err(FetchError::BodyTimeout),
            Err(_) => Err(FetchError::Timeout(request.url.to_string())),
        }
    }

    async fn fetch_untimed(
        &mut self,
        request: &Request,
        buffers: &BufferPool,
        has_head: &AtomicBool,
    ) -> Result<Page, FetchError> {
        // Taken out: it is put back when the exchange has ended well.
        let mut live = self.live.take();
        let mut url = request.url.clone();
        for hop in 0..=REDIRECTS_MAX {
            let (mut carrier, response) = send(live.take(), &url, &request.headers).await?;
            let (head, body) = response.into_parts();
            let location = head.headers.get(header::LOCATION).filter(|_| is_redirect(head.status));
            if let Some(location) = location.filter(|_| request.follow_redirects) {
                let location = String::from_utf8_lossy(location.as_bytes());
                let next = url.join(&location).map_err(|error| FetchError::Url {
                    url: location.to_string(),
                    reason: error.to_string(),
                })?;
                if hop == REDIRECTS_MAX {
                    let url = next.to_string();
                    return Err(FetchError::Redirects { url, redirects_max: REDIRECTS_MAX });
                }
                if next.authority() == url.authority() && drain(&mut carrier, body).await {
                    live = Some(carrier);
                }
                url = next;
                continue;
            }
            if head.status != StatusCode::OK {
                return Err(FetchError::Status(head.status.to_string()));
            }
            has_head.store(true, Ordering::Relaxed);
            let body = read_body(&mut carrier, body, request.body_bytes_max, buffers).await?;
            // A connection that a redirect led to does not serve the next scrape's first request.
            if url.authority() == request.url.authority() {
                self.live = Some(carrier);
            }
            return finish_page(&head.headers, body, request.body_bytes_max, buffers);
        }
        unreachable!("BUG: the last hop returns")
    }
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

fn finish_page(
    headers: &HeaderMap,
    body: Buffer,
    bytes_max: u64,
    buffers: &BufferPool,
) -> Result<Page, FetchError> {
    let text = |name: HeaderName| {
        headers.get(name).map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned())
    };
    let content_type = text(header::CONTENT_TYPE).unwrap_or_default();
    if text(header::CONTENT_ENCODING).as_deref() != Some("gzip") {
        return Ok(Page { body, content_type });
    }
    let mut page = buffers.take();
    inflate(&body, &mut page, bytes_max)?;
    Ok(Page { body: page, content_type })
}

/// Sends the request, over `live` if that still works, and gives the response's head.
async fn send(
    live: Option<Live>,
    url: &Url,
    headers: &[(HeaderName, HeaderValue)],
) -> Result<(Live, http::Response<Incoming>), FetchError> {
    if let Some(mut live) = live {
        // The server may have closed it since, or close it now: then a new one is opened.
        if let Ok(response) = exchange(&mut live, url, headers).await {
            return Ok((live, response));
        }
    }
    let mut live = connect(url).await?;
    let response = exchange(&mut live, url, headers).await?;
    Ok((live, response))
}

async fn exchange(
    live: &mut Live,
    url: &Url,
    headers: &[(HeaderName, HeaderValue)],
) -> Result<http::Response<Incoming>, FetchError> {
    let failed = |reason: String| FetchError::Exchange { url: url.to_string(), reason };
    let mut request = http::Request::builder()
        .uri(url.target())
        .header(header::HOST, url.authority())
        .body(Empty::new())
        .map_err(|error| failed(error.to_string()))?;
    for (name, value) in headers {
        request.headers_mut().insert(name, value.clone());
    }
    let Live { sender, connection } = live;
    let response = drive(connection, async {
        sender.ready().await?;
        sender.send_request(request).await
    });
    response.await.map_err(|error| failed(exchange_text(&error)))
}

fn exchange_text(error: &hyper::Error) -> String {
    if error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
        return "EOF".to_owned();
    }
    if error.is_parse_too_large() {
        return format!("response head exceeds {HEAD_BYTES_MAX} bytes or {HEADERS_MAX} fields");
    }
    let mut text = error.to_string();
    if let Some(source) = std::error::Error::source(error) {
        text = format!("{text}: {source}");
    }
    text
}

async fn connect(url: &Url) -> Result<Live, FetchError> {
    let (host, port) = url
        .host_and_port()
        .map_err(|error| FetchError::Url { url: url.to_string(), reason: error.to_string() })?;
    let resolved = tokio::net::lookup_host((host, port)).await;
    let addresses = resolved.map_err(|source| FetchError::Resolve {
        url: url.to_string(),
        authority: host.to_owned(),
        source,
    })?;
    let mut last = None;
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return shake_hands(stream, url).await,
            Err(source) => last = Some((address, source)),
        }
    }
    Err(match last {
        Some((address, source)) => {
            FetchError::Connect { url: url.to_string(), address: address.to_string(), source }
        }
        None => FetchError::Resolve {
            url: url.to_string(),
            authority: host.to_owned(),
            source: std::io::Error::new(std::io::ErrorKind::NotFound, "no such host"),
        },
    })
}

async fn shake_hands(stream: TcpStream, url: &Url) -> Result<Live, FetchError> {
    // Requests are one small segment; waiting for more would only delay them.
    let _ = stream.set_nodelay(true);
    let (sender, connection) = http1::Builder::new()
        .read_buf_exact_size(Some(HEAD_BYTES_MAX))
        .max_headers(HEADERS_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| FetchError::Exchange {
            url: url.to_string(),
            reason: exchange_text(&error),
        })?;
    Ok(Live { sender, connection: Some(Box::pin(connection)) })
}

async fn read_body(
    live: &mut Live,
    mut body: Incoming,
    bytes_max: u64,
    buffers: &BufferPool,
) -> Result<Buffer, FetchError> {
    let mut read = buffers.take();
    while let Some(frame) = drive(&mut live.connection, body.frame()).await {
        let frame = frame.map_err(|error| {
            let source = std::error::Error::source(&error);
            let io = source.and_then(|source| source.downcast_ref::<std::io::Error>());
            FetchError::Body(match io.map(std::io::Error::kind) {
                Some(std::io::ErrorKind::UnexpectedEof) => "unexpected EOF".to_owned(),
                _ if error.is_incomplete_message() => "unexpected EOF".to_owned(),
                _ => {
                    source.map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
                }
            })
        })?;
        if let Some(data) = frame.data_ref() {
            check_size(read.len() + data.len(), bytes_max)?;
            read.extend_from_slice(data);
        }
    }
    Ok(read)
}

/// Reads a body that nobody wants, so that its connection can be used again; false where it is
/// too long for that.
async fn drain(live: &mut Live, mut body: Incoming) -> bool {
    let mut drained = 0;
    while let Some(frame) = drive(&mut live.connection, body.frame()).await {
        let Ok(frame) = frame else { return false };
        drained += frame.data_ref().map_or(0, Bytes::len);
        if drained > DRAINED_BYTES_MAX {
            return false;
        }
    }
    true
}

/// Runs `work` to its end while the connection it depends on does its part.
async fn drive<T>(
    connection: &mut Option<Pin<Box<HttpConnection>>>,
    work: impl Future<Output = T>,
) -> T {
    let mut work = pin!(work);
    std::future::poll_fn(|cx| {
        // The connection first: it notices that the server is gone before a request is sent.
        if let Some(running) = connection
            && running.as_mut().poll(cx).is_ready()
        {
            *connection = None;
        }
        if let Poll::Ready(output) = work.as_mut().poll(cx) {
            return Poll::Ready(output);
        }
        // The work may have handed the connection something to do.
        if let Some(running) = connection
            && running.as_mut().poll(cx).is_ready()
        {
            *connection = None;
            return work.as_mut().poll(cx);
        }
        Poll::Pending
    })
    .await
}

#[cfg(test)]
mod tests;
