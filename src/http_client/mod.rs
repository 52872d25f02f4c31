//! HTTP requests: the one client that scraping, discovery, remote storage and alerting use.
//!
//! A [`Client`] is one section of the configuration made ready: credentials, TLS, proxies,
//! headers. A [`Connection`] belongs to one user, a scrape target for instance, and is used by
//! one request at a time; idle it is a socket and nothing else, because buffers are taken from a
//! [`BufferPool`] for each request. Names are resolved again whenever a connection is opened.
//!
//! What a server sends is bounded: the head in bytes and fields, the body in bytes before and
//! after decompression, redirects in number, everything together in time, and all bodies under
//! way at a time by the pool's budget. HTTP/1.1 is spoken by [`http1`](self), HTTP/2 by hyper,
//! over TLS only.
//!
//! Secrets are [`crate::config::Secret`]s up to the header that carries them, which is marked
//! sensitive; no error text holds one.

mod alert;
mod body;
mod buffer;
mod client;
mod connection;
mod credentials;
mod dials;
mod error;
mod gunzip;
mod http1;
mod jwt;
mod oauth2;
mod proxy;
mod request;
mod secret_reader;
mod stream;
mod tls;
mod url;
mod wire;

pub use buffer::{Buffer, BufferPool};
pub use client::Client;
pub use connection::{Connection, Streaming};
pub use dials::{DialMetrics, Dials};
pub use error::{ClientError, FetchError, Reason};
pub use gunzip::gunzip;
pub use http1::{HeadError, ResponseHead, parse_head};
pub use jwt::sign_claims;
pub use request::{Page, Request, Response};
pub use tls::{crypto_provider, system_roots};
pub use url::{Url, UrlError, encode_query, escape_path};

/// The `User-Agent` of every request.
pub const USER_AGENT: &str = concat!("Narthex/", env!("CARGO_PKG_VERSION"));

#[cfg(test)]
mod tests;
