//! Why a request failed. Texts are those that users of Prometheus know from the targets page;
//! limits name themselves and their value.

use std::fmt;
use std::io;

use http::Method;

/// Why a request failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum FetchError {
    /// There is no response.
    Request {
        /// The method.
        method: Method,
        /// The URL, that of the last redirect where there were some.
        url: String,
        /// What happened.
        reason: Reason,
    },
    /// The time was up within the body.
    BodyTimeout,
    /// Any status but the one that was wanted, with its text.
    Status(String),
    /// The body broke off or cannot be decompressed.
    Body(String),
    /// The body, decompressed, reaches this many bytes.
    BodyTooLarge {
        /// The limit.
        bytes_max: u64,
    },
}

/// Why there is no response.
#[derive(Debug)]
#[non_exhaustive]
pub enum Reason {
    /// The URL cannot be used, or that of a redirect.
    Url(String),
    /// The name could not be resolved.
    Resolve {
        /// The host.
        host: String,
        /// Why.
        source: io::Error,
    },
    /// No address took the connection; the last one's error.
    Connect {
        /// The address tried last, or the path of the socket.
        address: String,
        /// `tcp` or `unix`.
        network: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The handshake of TLS failed, or its files cannot be used.
    Tls(String),
    /// The proxy refused, or cannot be used.
    Proxy(String),
    /// The credentials or headers cannot be had.
    Credentials(String),
    /// The connection broke before or within the response's head, or the head is not HTTP.
    Exchange(String),
    /// More redirects than are followed.
    Redirects(usize),
    /// The time was up before the head had come.
    Timeout,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resolve { host, source } => {
                write!(f, "dial tcp: lookup {host}: {}", system_text(source))
            }
            Self::Connect { address, network, source } => {
                write!(f, "dial {network} {address}: connect: {}", system_text(source))
            }
            Self::Url(text)
            | Self::Tls(text)
            | Self::Proxy(text)
            | Self::Credentials(text)
            | Self::Exchange(text) => f.write_str(text),
            Self::Redirects(redirects_max) => {
                write!(f, "stopped after {redirects_max} redirects")
            }
            Self::Timeout => f.write_str("context deadline exceeded"),
        }
    }
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request { method, url, reason } => {
                let (first, rest) = method.as_str().split_at(1);
                write!(f, "{first}{} \"{url}\": {reason}", rest.to_ascii_lowercase())
            }
            Self::BodyTimeout => f.write_str("context deadline exceeded"),
            Self::Status(status) => write!(f, "server returned HTTP status {status}"),
            Self::Body(reason) => f.write_str(reason),
            Self::BodyTooLarge { bytes_max } => {
                write!(f, "body size limit exceeded (limit: {bytes_max} bytes)")
            }
        }
    }
}

impl std::error::Error for FetchError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Request {
                reason: Reason::Resolve { source, .. } | Reason::Connect { source, .. },
                ..
            } => Some(source),
            _ => None,
        }
    }
}

/// Why a client cannot be built from its configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientError(pub(super) String);

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ClientError {}

/// The system's text without its number, beginning in lower case.
pub(super) fn system_text(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let text = text.strip_prefix("failed to lookup address information: ").unwrap_or(text);
    if matches!(text, "Name or service not known" | "No address associated with hostname") {
        return "no such host".to_owned();
    }
    let mut chars = text.chars();
    chars
        .next()
        .map_or_else(String::new, |first| first.to_lowercase().collect::<String>() + chars.as_str())
}
