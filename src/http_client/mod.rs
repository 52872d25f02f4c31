//! One owned connection to a scrape target.
//!
//! A [`Connection`] belongs to one target and is used by one request at a time. It keeps its
//! socket between requests, resolves the name again whenever it has to connect anew, and holds no
//! buffer of ours while idle: bodies are read into buffers of a [`BufferPool`].
//!
//! What a target sends is bounded: the head in bytes and fields, the body in bytes before and
//! after decompression, redirects in number, everything together in time. Plain HTTP/1.1 only;
//! a job that needs TLS, authentication or a proxy must not get here.

mod body;
mod buffer;
mod connection;
mod error;
mod url;

pub use buffer::{Buffer, BufferPool};
pub use connection::{Connection, Page, Request};
pub use error::FetchError;
pub use url::{Url, UrlError, encode_query, escape_path};
