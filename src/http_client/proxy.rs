//! Which proxy a request takes, and the way through it: absolute URLs for plain requests, a
//! tunnel (`CONNECT`, or SOCKS5) for the others.
//!
//! COMPAT: the rules of `no_proxy` and of the environment are those of Go's `httpproxy`.

use std::net::IpAddr;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::{HeaderName, HeaderValue};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::Url;
use super::error::{ClientError, Reason, system_text};
use super::http1::{HEAD_BYTES_MAX, parse_head};
use super::stream::Stream;
use crate::config::ProxyOptions;

/// What a proxy speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Http,
    Https,
    Socks5,
}

/// One proxy.
#[derive(Debug, Clone)]
pub(super) struct Proxy {
    pub(super) kind: Kind,
    pub(super) url: Url,
}

/// The proxies of a client.
#[derive(Debug, Default)]
pub(super) struct Proxies {
    http: Option<Proxy>,
    https: Option<Proxy>,
    except: Option<Exceptions>,
    connect_headers: Vec<(HeaderName, HeaderValue)>,
}

impl Proxies {
    pub(super) fn new(options: &ProxyOptions) -> Result<Self, ClientError> {
        let mut connect_headers = Vec::new();
        for (name, values) in &options.connect_headers {
            let wrong = |_| ClientError(format!("proxy_connect_header: {name:?} is no header"));
            let header = HeaderName::try_from(name.as_str()).map_err(|e| wrong(e.to_string()))?;
            for value in values {
                let mut value = HeaderValue::try_from(value.reveal())
                    .map_err(|error| wrong(error.to_string()))?;
                value.set_sensitive(true);
                connect_headers.push((header.clone(), value));
            }
        }
        let parse = |text: &str, what: &str| match text {
            "" => Ok(None),
            text => Proxy::parse(text)
                .map(Some)
                .map_err(|why| ClientError(format!("{what}: invalid proxy address: {why}"))),
        };
        if options.from_environment {
            let first = |names: [&str; 2]| {
                let found = names
                    .into_iter()
                    .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
                found.unwrap_or_default()
            };
            return Ok(Self {
                http: parse(&first(["HTTP_PROXY", "http_proxy"]), "HTTP_PROXY")?,
                https: parse(&first(["HTTPS_PROXY", "https_proxy"]), "HTTPS_PROXY")?,
                except: Some(Exceptions::parse(&first(["NO_PROXY", "no_proxy"]))),
                connect_headers,
            });
        }
        let proxy = parse(options.url.reveal(), "proxy_url")?;
        let except = &options.no_proxy;
        Ok(Self {
            http: proxy.clone(),
            https: proxy,
            except: (!except.is_empty()).then(|| Exceptions::parse(except)),
            connect_headers,
        })
    }

    /// The proxy on the way to `url`.
    pub(super) fn of(&self, url: &Url) -> Option<&Proxy> {
        let proxy = if url.is_https() { &self.https } else { &self.http };
        let (host, port) = url.host_and_port().ok()?;
        let is_excepted = self.except.as_ref().is_some_and(|except| except.contain(host, port));
        proxy.as_ref().filter(|_| !is_excepted)
    }

    /// Asks an HTTP proxy at the other end of `stream` for a tunnel to `url`'s host.
    pub(super) async fn tunnel(
        &self,
        proxy: &Proxy,
        mut stream: Stream,
        url: &Url,
    ) -> Result<Stream, Reason> {
        let failed = |why: String| Reason::Proxy(format!("proxyconnect tcp: {why}"));
        let target = url.full_authority();
        let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n").into_bytes();
        for (name, value) in &self.connect_headers {
            request.extend_from_slice(name.as_str().as_bytes());
            request.extend_from_slice(b": ");
            request.extend_from_slice(value.as_bytes());
            request.extend_from_slice(b"\r\n");
        }
        if let Some(value) = proxy.authorization() {
            request.extend_from_slice(b"Proxy-Authorization: ");
            request.extend_from_slice(value.as_bytes());
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(b"\r\n");
        let io = |error: std::io::Error| failed(system_text(&error));
        stream.write_all(&request).await.map_err(io)?;
        stream.flush().await.map_err(io)?;
        // Byte by byte: what follows the head belongs to the tunnel.
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if head.len() >= HEAD_BYTES_MAX {
                return Err(failed(format!("response head exceeds {HEAD_BYTES_MAX} bytes")));
            }
            head.push(stream.read_u8().await.map_err(io)?);
        }
        match parse_head(&head) {
            Ok(Some((head, _))) if head.status.is_success() => Ok(stream),
            Ok(Some((head, _))) => Err(Reason::Proxy(head.status_text)),
            Ok(None) => Err(failed("unexpected EOF".to_owned())),
            Err(error) => Err(failed(error.to_string())),
        }
    }
}

impl Proxy {
    fn parse(text: &str) -> Result<Self, String> {
        let (kind, rest) = match text.split_once("://") {
            None => (Kind::Http, text),
            Some(("http", rest)) => (Kind::Http, rest),
            Some(("https", rest)) => (Kind::Https, rest),
            Some(("socks5" | "socks5h", rest)) => (Kind::Socks5, rest),
            Some((scheme, _)) => return Err(format!("unsupported proxy scheme {scheme:?}")),
        };
        let scheme = if kind == Kind::Https { "https" } else { "http" };
        let mut url = Url::parse(&format!("{scheme}://{rest}")).map_err(|error| error.0)?;
        let has_port = rest.split(['/', '?']).next().is_some_and(|authority| {
            let host = authority.rsplit('@').next().unwrap_or_default();
            host.rsplit(']').next().unwrap_or_default().contains(':')
        });
        if kind == Kind::Socks5 && !has_port {
            url = Url::parse(&format!("http://{}:1080", rest.trim_end_matches('/')))
                .map_err(|error| error.0)?;
        }
        Ok(Self { kind, url })
    }

    /// The `Proxy-Authorization` header, where the proxy's URL has a user.
    pub(super) fn authorization(&self) -> Option<HeaderValue> {
        let (user, password) = self.url.user_info()?;
        let pair = format!("{}:{}", user.reveal(), password.reveal());
        let mut value =
            HeaderValue::try_from(format!("Basic {}", BASE64_STANDARD.encode(pair))).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// Asks a SOCKS5 proxy (RFC 1928, 1929) at the other end of `stream` for a connection to
    /// `url`'s host, whose name the proxy resolves.
    pub(super) async fn socks5(&self, mut stream: Stream, url: &Url) -> Result<Stream, Reason> {
        let failed = |why: String| Reason::Proxy(format!("socks connect: {why}"));
        let io = |error: std::io::Error| failed(system_text(&error));
        let user = self.url.user_info();
        let methods: &[u8] = if user.is_some() { &[5, 2, 0, 2] } else { &[5, 1, 0] };
        stream.write_all(methods).await.map_err(io)?;
        let mut chosen = [0; 2];
        stream.read_exact(&mut chosen).await.map_err(io)?;
        match (chosen, user) {
            ([5, 0], _) => {}
            ([5, 2], Some((user, password))) => {
                let mut message = vec![1];
                for text in [&user, &password] {
                    let text = text.reveal().as_bytes();
                    let length = u8::try_from(text.len());
                    message.push(length.map_err(|_| failed("user too long".to_owned()))?);
                    message.extend_from_slice(text);
                }
                stream.write_all(&message).await.map_err(io)?;
                let mut answer = [0; 2];
                stream.read_exact(&mut answer).await.map_err(io)?;
                if answer[1] != 0 {
                    return Err(failed("username/password authentication failed".to_owned()));
                }
            }
            _ => return Err(failed("no acceptable authentication methods".to_owned())),
        }
        let (host, port) = url.host_and_port().map_err(|error| Reason::Url(error.0))?;
        let mut message = vec![5, 1, 0];
        match host.parse() {
            Ok(IpAddr::V4(address)) => {
                message.push(1);
                message.extend_from_slice(&address.octets());
            }
            Ok(IpAddr::V6(address)) => {
                message.push(4);
                message.extend_from_slice(&address.octets());
            }
            Err(_) => {
                let length = u8::try_from(host.len());
                message.push(3);
                message.push(length.map_err(|_| failed("FQDN too long".to_owned()))?);
                message.extend_from_slice(host.as_bytes());
            }
        }
        message.extend_from_slice(&port.to_be_bytes());
        stream.write_all(&message).await.map_err(io)?;
        let mut head = [0; 5];
        stream.read_exact(&mut head).await.map_err(io)?;
        if head[1] != 0 {
            return Err(failed(format!("the proxy answers with code {}", head[1])));
        }
        let rest = match head[3] {
            1 => 3 + 2,
            4 => 15 + 2,
            3 => usize::from(head[4]) + 2,
            other => return Err(failed(format!("address type {other} is unknown"))),
        };
        let mut bound = [0; 257];
        stream.read_exact(&mut bound[..rest]).await.map_err(io)?;
        Ok(stream)
    }
}

/// Hosts that are reached without a proxy; this machine always is.
#[derive(Debug)]
struct Exceptions(Vec<Exception>);

#[derive(Debug)]
enum Exception {
    All,
    Net(IpAddr, u32),
    Host {
        /// In lower case, without a leading dot.
        name: String,
        /// The name itself is meant too, not only those below it.
        is_itself: bool,
        port: Option<u16>,
    },
}

impl Exceptions {
    fn parse(text: &str) -> Self {
        let entry = |entry: &str| {
            let entry = entry.trim().to_ascii_lowercase();
            if entry.is_empty() {
                return None;
            }
            if entry == "*" {
                return Some(Exception::All);
            }
            if let Some((address, bits)) = entry.split_once('/')
                && let (Ok(address), Ok(bits)) = (address.parse(), bits.parse())
            {
                return Some(Exception::Net(address, bits));
            }
            let is_plain_v6 = entry.parse::<std::net::Ipv6Addr>().is_ok();
            let (host, port) = match entry.rsplit_once(':') {
                Some((host, port)) if !is_plain_v6 => (host, port.parse().ok()),
                _ => (entry.as_str(), None),
            };
            let host = host.trim_start_matches('[').trim_end_matches(']');
            let host = host.strip_prefix('*').unwrap_or(host);
            let name = host.strip_prefix('.').unwrap_or(host);
            let is_itself = name.len() == host.len();
            (!name.is_empty()).then(|| Exception::Host { name: name.to_owned(), is_itself, port })
        };
        Self(text.split(',').filter_map(entry).collect())
    }

    fn contain(&self, host: &str, port: u16) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let address: Option<IpAddr> = host.parse().ok();
        if host == "localhost" || address.is_some_and(|address| address.is_loopback()) {
            return true;
        }
        self.0.iter().any(|exception| match exception {
            Exception::All => true,
            Exception::Net(net, bits) => address.is_some_and(|address| is_in(address, *net, *bits)),
            Exception::Host { name, is_itself, port: only } => {
                let is_below = host.strip_suffix(name.as_str()).is_some_and(|rest| {
                    if rest.is_empty() { *is_itself } else { rest.ends_with('.') }
                });
                let is_host = is_below && (address.is_none() || host == *name);
                is_host && only.is_none_or(|only| only == port)
            }
        })
    }
}

fn is_in(address: IpAddr, net: IpAddr, bits: u32) -> bool {
    match (address, net) {
        (IpAddr::V4(address), IpAddr::V4(net)) if bits <= 32 => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            address.to_bits() & mask == net.to_bits() & mask
        }
        (IpAddr::V6(address), IpAddr::V6(net)) if bits <= 128 => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            address.to_bits() & mask == net.to_bits() & mask
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    #[test]
    fn exceptions_are_those_of_go() {
        let except = Exceptions::parse("a.b, .c.d,*.e, 10.0.0.0/8,1.2.3.4:80,[::5]:1,h:99, ");
        for (host, port, expected) in [
            ("localhost", 1, true),
            ("127.0.0.9", 1, true),
            ("a.b", 1, true),
            ("x.a.b", 1, true),
            ("xa.b", 1, false),
            ("c.d", 1, false),
            ("x.c.d", 1, true),
            ("x.e", 1, true),
            ("e", 1, false),
            ("10.200.0.1", 1, true),
            ("11.0.0.1", 1, false),
            ("1.2.3.4", 80, true),
            ("1.2.3.4", 81, false),
            ("::5", 1, true),
            ("H.", 99, true),
            ("h", 98, false),
        ] {
            assert_eq!(except.contain(host, port), expected, "{host}:{port}");
        }
        assert!(Exceptions::parse("*").contain("x", 1));
    }

    #[test]
    fn the_scheme_says_what_the_proxy_speaks() {
        for (text, kind, address) in [
            ("http://p:1", Kind::Http, "p:1"),
            ("p:1", Kind::Http, "p:1"),
            ("https://p", Kind::Https, "p:443"),
            ("socks5://u:p@p", Kind::Socks5, "p:1080"),
            ("socks5h://p:2", Kind::Socks5, "p:2"),
        ] {
            let proxy = Proxy::parse(text).unwrap();
            assert_eq!((proxy.kind, proxy.url.full_authority().as_str()), (kind, address));
        }
        assert!(Proxy::parse("ftp://p").is_err());
        let options = ProxyOptions { url: Secret::new("http://u:p@p:1"), ..Default::default() };
        let proxies = Proxies::new(&options).unwrap();
        let proxy = proxies.of(&Url::parse("http://localhost/").unwrap()).unwrap();
        assert_eq!(proxy.authorization().unwrap(), "Basic dTpw");
    }
}
