//! Asking an HTTP API for JSON.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode};
use serde::de::DeserializeOwned;

use crate::config::HttpClientConfig;
use crate::http_client::{Client, Request, Response, Url};

/// Bytes of an answer: a cluster of some ten thousand objects, each of some kilobytes.
const ANSWER_BYTES_MAX: u64 = 256 << 20;

/// An API at one address.
#[derive(Debug)]
pub(super) struct Api {
    client: Client,
    /// Scheme, host and what stands before each path; without a `/` at its end.
    base: String,
    unix_socket: Option<Box<str>>,
    headers: Arc<[(HeaderName, HeaderValue)]>,
    timeout: Duration,
}

/// An API that cannot be asked: why.
pub(super) type ApiError = String;

impl Api {
    pub(super) fn new(
        config: &HttpClientConfig,
        base: &str,
        headers: &[(&'static str, &str)],
        timeout: Duration,
    ) -> Result<Self, ApiError> {
        let client = Client::new(config).map_err(|error| error.to_string())?;
        let (base, unix_socket) = match base.strip_prefix("unix://") {
            Some(path) => ("http://localhost".to_owned(), Some(path.into())),
            None => (base.trim_end_matches('/').to_owned(), None),
        };
        Url::parse(&base).map_err(|error| format!("{base}: {error}"))?;
        let header = |(name, value): &(&'static str, &str)| {
            let mut value = HeaderValue::try_from(*value)
                .map_err(|_| format!("the value of header {name} is none of a header"))?;
            value.set_sensitive(true);
            Ok((HeaderName::from_static(name), value))
        };
        let headers: Result<Vec<_>, String> = headers.iter().map(header).collect();
        Ok(Self { client, base, unix_socket, headers: headers?.into(), timeout })
    }

    /// A request for a path, with its query.
    pub(super) fn request(&self, path: &str) -> Result<Request, ApiError> {
        let url = Url::parse(&format!("{}{path}", self.base)).map_err(|error| error.to_string())?;
        Ok(Request {
            headers: Arc::clone(&self.headers),
            unix_socket: self.unix_socket.clone(),
            timeout: self.timeout,
            body_bytes_max: ANSWER_BYTES_MAX,
            ..Request::get(url)
        })
    }

    pub(super) async fn send(&self, request: &Request) -> Result<Response, ApiError> {
        self.client.send(request).await.map_err(|error| error.to_string())
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// The JSON document at a path; any status but 200 is an error that shows what was answered.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
    ) -> Result<(T, Response), ApiError> {
        let response = self.send(&self.request(path)?).await?;
        check_status(&response)?;
        Ok((parse(&response.body)?, response))
    }
}

/// Refuses any status but 200.
pub(super) fn check_status(response: &Response) -> Result<(), ApiError> {
    if response.status == StatusCode::OK {
        return Ok(());
    }
    let text: String = String::from_utf8_lossy(&response.body).chars().take(256).collect();
    Err(format!("server returned HTTP status {}: {}", response.status_text, text.trim()))
}

pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(bytes).map_err(|error| format!("reading the answer: {error}"))
}

/// A `null` stands for nothing.
pub(super) fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: serde::Deserialize<'de> + Default,
{
    Ok(<Option<T> as serde::Deserialize>::deserialize(deserializer)?.unwrap_or_default())
}
