//! How a batch gets to an Alertmanager.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, StatusCode};

use crate::config::AlertmanagerConfig;
use crate::discovery::aws::PushSigner;
use crate::http_client::{Client, Request, Url};

/// Bytes of an answer that are read.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// A request under way.
pub type Posting<'a> = Pin<Box<dyn Future<Output = Result<(), PostError>> + Send + 'a>>;

/// Posts bodies to Alertmanagers of one set.
pub trait Transport: fmt::Debug + Send + Sync {
    /// Posts the JSON text to the URL; it takes as long as the set allows at most.
    fn post<'a>(&'a self, url: &'a str, body: String) -> Posting<'a>;
}

/// Makes the transport of a set, or says why there is none.
pub type Connect =
    Arc<dyn Fn(&AlertmanagerConfig) -> Result<Arc<dyn Transport>, String> + Send + Sync>;

/// Why a batch did not arrive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostError {
    /// What happened.
    pub message: String,
    /// Trying again is of no use: the Alertmanager has read the request and refuses it.
    pub is_final: bool,
}

/// HTTP, as the section of the set says.
#[derive(Debug)]
pub struct HttpTransport {
    client: Client,
    timeout: Duration,
    signer: Option<PushSigner>,
}

impl HttpTransport {
    /// A client for the set.
    pub fn new(config: &AlertmanagerConfig) -> Result<Self, String> {
        let client = Client::new(&config.http_client).map_err(|error| error.to_string())?;
        let timeout_ms = u64::try_from(config.timeout_ms).unwrap_or_default();
        Ok(Self {
            client,
            timeout: Duration::from_millis(timeout_ms),
            signer: config.sigv4.clone().map(PushSigner::new),
        })
    }

    async fn send(&self, url: &str, body: String) -> Result<(), PostError> {
        let may_pass = |message: String| PostError { message, is_final: false };
        let url = Url::parse(url).map_err(|error| may_pass(error.to_string()))?;
        let mut request = Request::get(url);
        request.method = Method::POST;
        let mut headers = vec![(CONTENT_TYPE, HeaderValue::from_static("application/json"))];
        if let Some(signer) = &self.signer {
            let signed = signer.headers(&self.client, &request.url, body.as_bytes()).await;
            headers.extend(signed.map_err(may_pass)?);
        }
        request.headers = headers.into();
        request.body = body.into();
        request.timeout = self.timeout;
        request.body_bytes_max = ANSWER_BYTES_MAX;
        let response =
            self.client.send(&request).await.map_err(|error| may_pass(error.to_string()))?;
        if response.status.is_success() {
            return Ok(());
        }
        if matches!(response.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
            && let Some(signer) = &self.signer
        {
            signer.forget().await;
        }
        Err(PostError {
            message: format!("bad response status {}", response.status_text),
            is_final: matches!(
                response.status,
                StatusCode::BAD_REQUEST
                    | StatusCode::PAYLOAD_TOO_LARGE
                    | StatusCode::UNPROCESSABLE_ENTITY
            ),
        })
    }
}

impl Transport for HttpTransport {
    fn post<'a>(&'a self, url: &'a str, body: String) -> Posting<'a> {
        Box::pin(self.send(url, body))
    }
}
