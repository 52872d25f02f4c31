//! Why a page could not be fetched. Texts are those that users of Prometheus know from the
//! targets page; limits name themselves and their value.

use std::fmt;
use std::io;

/// Why a page could not be fetched.
#[derive(Debug)]
#[non_exhaustive]
pub enum FetchError {
    /// The URL cannot be used, and why.
    Url {
        /// The URL.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The name could not be resolved.
    Resolve {
        /// The URL.
        url: String,
        /// Host and port.
        authority: String,
        /// Why.
        source: io::Error,
    },
    /// No address took the connection; the last one's error.
    Connect {
        /// The URL.
        url: String,
        /// The address tried last.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// The connection broke before or within the response's head, or the head is not HTTP.
    Exchange {
        /// The URL.
        url: String,
        /// What happened.
        reason: String,
    },
    /// More redirects than are followed.
    Redirects {
        /// The URL of the last one.
        url: String,
        /// How many are followed.
        redirects_max: usize,
    },
    /// The time was up before the head had come; the URL.
    Timeout(String),
    /// The time was up within the body.
    BodyTimeout,
    /// Any status but 200, with its text.
    Status(String),
    /// The body broke off or cannot be decompressed.
    Body(String),
    /// The body, decompressed, reaches this many bytes.
    BodyTooLarge {
        /// The limit.
        bytes_max: u64,
    },
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resolve { url, authority, source } => {
                write!(f, "Get \"{url}\": dial tcp: lookup {authority}: {}", system_text(source))
            }
            Self::Connect { url, address, source } => {
                write!(f, "Get \"{url}\": dial tcp {address}: connect: {}", system_text(source))
            }
            Self::Url { url, reason } | Self::Exchange { url, reason } => {
                write!(f, "Get \"{url}\": {reason}")
            }
            Self::Redirects { url, redirects_max } => {
                write!(f, "Get \"{url}\": stopped after {redirects_max} redirects")
            }
            Self::Timeout(url) => write!(f, "Get \"{url}\": context deadline exceeded"),
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
            Self::Resolve { source, .. } | Self::Connect { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// The system's text without its number, beginning in lower case.
fn system_text(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let text = text.strip_prefix("failed to lookup address information: ").unwrap_or(text);
    let mut chars = text.chars();
    chars
        .next()
        .map_or_else(String::new, |first| first.to_lowercase().collect::<String>() + chars.as_str())
}
