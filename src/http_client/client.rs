//! A client: the options of one configuration section, made ready for use.
//!
//! Targets keep a [`Connection`] each and fetch through a client that their job shares; everyone
//! else sends through the client, which keeps a few idle connections.

use std::sync::{Mutex, OnceLock, PoisonError};

use super::connection::key_of;
use super::credentials::Credentials;
use super::error::{ClientError, Reason};
use super::proxy::Proxies;
use super::tls::Tls;
use super::{BufferPool, Connection, Dials, FetchError, Request, Response, Streaming, Url};
use crate::config::HttpClientConfig;

/// Idle connections that a client keeps.
const IDLE_MAX: usize = 8;

/// An HTTP client.
#[derive(Debug)]
pub struct Client {
    pub(super) credentials: Credentials,
    pub(super) tls: Tls,
    pub(super) proxies: Proxies,
    pub(super) follow_redirects: bool,
    /// Nothing else is spoken, without TLS either.
    pub(super) only_http2: bool,
    buffers: BufferPool,
    idle: Mutex<Vec<Connection>>,
    dials: OnceLock<Dials>,
}

impl Client {
    /// A client with these options. Files that they name are read when they are needed, and
    /// again when they change.
    pub fn new(config: &HttpClientConfig) -> Result<Self, ClientError> {
        Ok(Self {
            credentials: Credentials::new(config)?,
            tls: Tls::new(&config.tls, config.enable_http2)?,
            proxies: Proxies::new(&config.proxy)?,
            follow_redirects: config.follow_redirects,
            only_http2: false,
            buffers: BufferPool::new(),
            idle: Mutex::default(),
            dials: OnceLock::new(),
        })
    }

    /// A client that speaks HTTP/2 and nothing else, as gRPC wants it. What stands behind a body
    /// is among the headers of its response.
    pub fn of_http2(config: &HttpClientConfig) -> Result<Self, ClientError> {
        Ok(Self { only_http2: true, ..Self::new(config)? })
    }

    /// Has the connections that it opens counted from now on; of several calls the first holds.
    pub fn count_dials(&self, dials: Dials) {
        let _ = self.dials.set(dials);
    }

    pub(super) fn dials(&self) -> Dials {
        self.dials.get().cloned().unwrap_or_default()
    }

    /// Sends a request; every status is an answer.
    pub async fn send(&self, request: &Request) -> Result<Response, FetchError> {
        let mut connection = self.take(request);
        let response = connection.send(self, request, &self.buffers).await?;
        if connection.is_open() {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            if idle.len() >= IDLE_MAX {
                idle.remove(0);
            }
            idle.push(connection);
        }
        Ok(response)
    }

    /// Sends a request and gives the response's body to be read as it comes.
    pub async fn stream(&self, request: &Request) -> Result<Streaming, FetchError> {
        self.take(request).stream(self, request, &self.buffers).await
    }

    /// An idle connection to the request's server, or one to be opened.
    fn take(&self, request: &Request) -> Connection {
        let Ok(key) = self.key(&request.url, request.unix_socket.as_deref()) else {
            return Connection::new();
        };
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        match idle.iter().rposition(|connection| connection.has_key(key)) {
            Some(at) => idle.remove(at),
            None => Connection::new(),
        }
    }

    pub(super) fn key(&self, url: &Url, unix_socket: Option<&str>) -> Result<u64, Reason> {
        let generation = if url.is_https() { self.tls.generation()? } else { 0 };
        Ok(key_of(url, unix_socket, generation))
    }
}
