//! From a URL to an open connection, and one exchange over it, whichever version it speaks.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpStream, UnixStream};

use super::error::{FetchError, Reason};
use super::http1::{self, HEAD_BYTES_MAX, InFlight, ResponseHead};
use super::proxy::{Kind, Proxy};
use super::stream::Stream;
use super::{BufferPool, Client, Request, Url};

/// An open connection that nothing is under way on.
#[derive(Debug)]
pub(super) enum Wire {
    Http1(Stream),
    /// Requests are absolute and carry the proxy's password.
    Forward(Stream, Option<HeaderValue>),
    Http2(Box<http2::SendRequest<Full<Bytes>>>),
}

/// A response whose body is still to come.
#[derive(Debug)]
pub(super) enum Body {
    Http1(InFlight),
    Forward(InFlight, Option<HeaderValue>),
    Http2(Box<http2::SendRequest<Full<Bytes>>>, Incoming, HeaderMap),
}

/// Opens a connection for requests to `url`.
pub(super) async fn open(
    client: &Client,
    url: &Url,
    unix_socket: Option<&str>,
) -> Result<Wire, Reason> {
    if let Some(path) = unix_socket {
        let attempt = client.dials().attempt();
        let stream = match UnixStream::connect(path).await {
            Ok(stream) => Stream::Unix(stream, attempt.succeeded()),
            Err(source) => {
                let reason = Reason::Connect { address: path.to_owned(), network: "unix", source };
                attempt.failed(&reason);
                return Err(reason);
            }
        };
        return secured(client, stream, url).await;
    }
    let Some(proxy) = client.proxies.of(url) else {
        return secured(client, dial(client, url).await?, url).await;
    };
    let stream = reach(client, proxy).await?;
    if proxy.kind == Kind::Socks5 {
        return secured(client, proxy.socks5(stream, url).await?, url).await;
    }
    if url.is_https() {
        let stream = client.proxies.tunnel(proxy, stream, url).await?;
        return secured(client, stream, url).await;
    }
    Ok(Wire::Forward(stream, proxy.authorization()))
}

async fn reach(client: &Client, proxy: &Proxy) -> Result<Stream, Reason> {
    let stream = dial(client, &proxy.url).await.map_err(|reason| match reason {
        Reason::Connect { .. } | Reason::Resolve { .. } => {
            Reason::Proxy(format!("proxyconnect tcp: {reason}"))
        }
        other => other,
    })?;
    if proxy.kind == Kind::Https {
        return client.tls.connect_proxy(stream, proxy.url.host()).await;
    }
    Ok(stream)
}

async fn dial(client: &Client, url: &Url) -> Result<Stream, Reason> {
    let attempt = client.dials().attempt();
    match connect(url).await {
        Ok(stream) => Ok(Stream::Tcp(stream, attempt.succeeded())),
        Err(reason) => {
            attempt.failed(&reason);
            Err(reason)
        }
    }
}

async fn connect(url: &Url) -> Result<TcpStream, Reason> {
    let (host, port) = url.host_and_port().map_err(|error| Reason::Url(error.0))?;
    let resolved = tokio::net::lookup_host((host, port)).await;
    let addresses = resolved.map_err(|source| Reason::Resolve { host: host.to_owned(), source })?;
    let mut last = None;
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                // Requests are one small segment; waiting for more would only delay them.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(source) => last = Some((address, source)),
        }
    }
    Err(match last {
        Some((address, source)) => {
            Reason::Connect { address: address.to_string(), network: "tcp", source }
        }
        None => Reason::Resolve {
            host: host.to_owned(),
            source: std::io::Error::new(std::io::ErrorKind::NotFound, "no such host"),
        },
    })
}

async fn secured(client: &Client, stream: Stream, url: &Url) -> Result<Wire, Reason> {
    if !url.is_https() {
        return if client.only_http2 { http2_over(stream).await } else { Ok(Wire::Http1(stream)) };
    }
    let stream = client.tls.connect(stream, url.host()).await?;
    let speaks_http2 = match &stream {
        Stream::Tls(tls) => tls.get_ref().1.alpn_protocol() == Some(b"h2"),
        _ => false,
    };
    if !speaks_http2 {
        return if client.only_http2 {
            Err(Reason::Tls("the server does not offer HTTP/2".to_owned()))
        } else {
            Ok(Wire::Http1(stream))
        };
    }
    http2_over(stream).await
}

async fn http2_over(stream: Stream) -> Result<Wire, Reason> {
    let shaken = http2::Builder::new(TokioExecutor::new())
        .max_header_list_size(HEAD_BYTES_MAX as u32)
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(1 << 20)
        .handshake(TokioIo::new(stream))
        .await;
    let (sender, connection) = shaken.map_err(|error| Reason::Exchange(hyper_text(&error)))?;
    // It ends with its sender, or when the server closes it.
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "An HTTP/2 connection broke");
        }
    });
    Ok(Wire::Http2(Box::new(sender)))
}

impl Wire {
    /// Sends a request and gives the response's head. On an error the second value says whether
    /// the server had answered anything.
    pub(super) async fn exchange(
        self,
        request: &Request,
        url: &Url,
        fields: Fields<'_>,
        buffers: &BufferPool,
    ) -> Result<(ResponseHead, Body), (Reason, bool)> {
        match self {
            Self::Http1(stream) => {
                let mut bytes = buffers.take();
                render(request, url, fields, false, &mut bytes);
                let exchanged = http1::exchange(stream, &request.method, &bytes, buffers).await;
                exchanged.map(|(head, in_flight)| (head, Body::Http1(in_flight)))
            }
            Self::Forward(stream, authorization) => {
                let mut headers = fields.to_map();
                if let Some(value) = &authorization {
                    headers.insert(header::PROXY_AUTHORIZATION, value.clone());
                }
                let mut bytes = buffers.take();
                render(request, url, Fields::Map(&headers), true, &mut bytes);
                let exchanged = http1::exchange(stream, &request.method, &bytes, buffers).await;
                exchanged.map(|(head, in_flight)| (head, Body::Forward(in_flight, authorization)))
            }
            Self::Http2(sender) => {
                Box::pin(exchange_http2(sender, request, url, fields.to_map())).await
            }
        }
    }
}

async fn exchange_http2(
    mut sender: Box<http2::SendRequest<Full<Bytes>>>,
    request: &Request,
    url: &Url,
    headers: HeaderMap,
) -> Result<(ResponseHead, Body), (Reason, bool)> {
    let failed = |text: String| (Reason::Exchange(text), false);
    let mut sent = http::Request::builder()
        .method(request.method.clone())
        .uri(url.to_string())
        .body(Full::new(request.body.clone()))
        .map_err(|error| failed(error.to_string()))?;
    *sent.headers_mut() = headers;
    sender.ready().await.map_err(|error| failed(hyper_text(&error)))?;
    let response = sender.send_request(sent).await.map_err(|error| failed(hyper_text(&error)))?;
    let (parts, body) = response.into_parts();
    let head = ResponseHead {
        status: parts.status,
        status_text: parts.status.to_string(),
        headers: parts.headers,
        is_old: false,
    };
    Ok((head, Body::Http2(sender, body, HeaderMap::new())))
}

/// The header fields of a request beside those of its framing.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fields<'a> {
    /// The request's own; there are no others.
    Own(&'a [(HeaderName, HeaderValue)]),
    Map(&'a HeaderMap),
}

impl Fields<'_> {
    fn to_map(self) -> HeaderMap {
        match self {
            Self::Own(fields) => {
                let mut map = HeaderMap::with_capacity(fields.len());
                for (name, value) in fields {
                    map.append(name, value.clone());
                }
                map
            }
            Self::Map(map) => map.clone(),
        }
    }

    fn visit(self, mut take: impl FnMut(&HeaderName, &HeaderValue)) {
        match self {
            Self::Own(fields) => fields.iter().for_each(|(name, value)| take(name, value)),
            Self::Map(map) => map.iter().for_each(|(name, value)| take(name, value)),
        }
    }
}

/// Appends the bytes of a request of HTTP/1.1.
fn render(request: &Request, url: &Url, fields: Fields<'_>, is_absolute: bool, out: &mut Vec<u8>) {
    out.reserve(512 + request.body.len());
    out.extend_from_slice(request.method.as_str().as_bytes());
    out.push(b' ');
    if is_absolute {
        out.extend_from_slice(url.to_string().as_bytes());
    } else {
        out.extend_from_slice(url.target().as_bytes());
    }
    out.extend_from_slice(b" HTTP/1.1\r\nHost: ");
    out.extend_from_slice(url.authority().as_bytes());
    out.extend_from_slice(b"\r\n");
    fields.visit(|name, value| {
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    });
    if !request.body.is_empty() || request.method == http::Method::POST {
        out.extend_from_slice(format!("Content-Length: {}\r\n", request.body.len()).as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(&request.body);
}

fn hyper_text(error: &hyper::Error) -> String {
    if let Some(text) = super::alert::alert_text(error) {
        return text;
    }
    if error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
        return "EOF".to_owned();
    }
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

impl Body {
    /// Bytes of the body as the head declares them.
    pub(super) fn declared(&self) -> Option<u64> {
        match self {
            Self::Http1(in_flight) | Self::Forward(in_flight, _) => in_flight.declared(),
            Self::Http2(..) => None,
        }
    }

    /// Appends the next piece to `out`; false at the end.
    pub(super) async fn read_some(&mut self, out: &mut Vec<u8>) -> Result<bool, FetchError> {
        let (body, trailers) = match self {
            Self::Http1(in_flight) | Self::Forward(in_flight, _) => {
                return in_flight.read_some(out).await;
            }
            Self::Http2(_, body, trailers) => (body, trailers),
        };
        match body.frame().await {
            None => Ok(false),
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    out.extend_from_slice(data);
                } else if let Ok(found) = frame.into_trailers() {
                    *trailers = found;
                }
                Ok(true)
            }
            Some(Err(error)) => Err(FetchError::Body(hyper_text(&error))),
        }
    }

    /// Adds what stood behind the body, once it was read, to the headers.
    pub(super) fn take_trailers(&mut self, headers: &mut HeaderMap) {
        if let Self::Http2(_, _, trailers) = self {
            headers.extend(std::mem::take(trailers));
        }
    }

    /// The connection for the next request, where it can take one.
    pub(super) fn finish(self) -> Option<Wire> {
        match self {
            Self::Http1(in_flight) => in_flight.finish().map(Wire::Http1),
            Self::Forward(in_flight, authorization) => {
                in_flight.finish().map(|stream| Wire::Forward(stream, authorization))
            }
            Self::Http2(sender, ..) => (!sender.is_closed()).then_some(Wire::Http2(sender)),
        }
    }
}
