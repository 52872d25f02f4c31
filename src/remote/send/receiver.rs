//! One request to a receiver: headers, signature, and what its answer means.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use hyper::body::Bytes;

use super::tokens::Tokens;
use crate::config::{RemoteWriteConfig, RemoteWriteMessage};
use crate::discovery::aws::PushSigner;
use crate::http_client::{Client, Request, USER_AGENT, Url};

/// Bytes of an answer's text that are told.
const ANSWER_BYTES_MAX: usize = 1024;
/// Bytes of an answer that are read.
const BODY_BYTES_MAX: u64 = 1 << 20;
/// A pause that a receiver asks for is not longer than this.
const RETRY_AFTER_MAX: Duration = Duration::from_mins(10);

/// A receiver, ready to be sent to.
#[derive(Debug)]
pub(super) struct Receiver {
    client: Client,
    /// Or why it cannot be used: what is for it is held, as for any that cannot be reached.
    url: Result<Url, String>,
    /// The URL without its password.
    pub(super) shown: String,
    headers: Vec<(HeaderName, HeaderValue)>,
    message: RemoteWriteMessage,
    timeout: Duration,
    retries_429: bool,
    signer: Option<PushSigner>,
    tokens: Option<Tokens>,
}

/// What a receiver says that it stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) samples: u64,
    pub(super) histograms: u64,
    pub(super) exemplars: u64,
}

/// A request that was not taken.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) why: String,
    /// It may be taken when it is sent again.
    pub(super) may_recover: bool,
    /// How long the receiver wants to be left alone.
    pub(super) retry_after: Option<Duration>,
    /// What was stored all the same, as far as the receiver says.
    pub(super) written: Option<Written>,
}

impl Receiver {
    /// What the configuration says, or why that cannot be used.
    pub(super) fn new(config: &RemoteWriteConfig) -> Result<Self, String> {
        let url = Url::parse(config.url.reveal()).map_err(|error| error.to_string());
        let shown = redacted(config.url.reveal());
        if let Some(field) = config.unsupported {
            return Err(format!(
                "remote_write to {shown}: {field} is not built in, and without it nothing could \
                 be sent"
            ));
        }
        let client = Client::new(&config.http).map_err(|error| format!("{shown}: {error}"))?;
        let (content_type, version) = match config.message {
            RemoteWriteMessage::V1 => ("application/x-protobuf", "0.1.0"),
            RemoteWriteMessage::V2 => {
                ("application/x-protobuf;proto=io.prometheus.write.v2.Request", "2.0.0")
            }
        };
        let fixed = |name, value| (name, HeaderValue::from_static(value));
        let mut headers = vec![
            fixed(header::CONTENT_ENCODING, "snappy"),
            fixed(header::CONTENT_TYPE, content_type),
            fixed(header::USER_AGENT, USER_AGENT),
            fixed(HeaderName::from_static("x-prometheus-remote-write-version"), version),
        ];
        for (name, value) in &config.headers {
            let bad = |error: &dyn std::fmt::Display| format!("{shown}: header {name}: {error}");
            let value = HeaderValue::try_from(value.as_str()).map_err(|error| bad(&error))?;
            let name = HeaderName::try_from(name.as_str()).map_err(|error| bad(&error))?;
            headers.push((name, value));
        }
        let tokens = config.tokens.as_ref().map(Tokens::new).transpose();
        let tokens = tokens.map_err(|error| format!("remote_write to {shown}: {error}"))?;
        Ok(Self {
            client,
            tokens,
            url,
            shown,
            headers,
            message: config.message,
            timeout: duration(config.remote_timeout_ms),
            retries_429: config.queue.retry_on_http_429,
            signer: config.sigv4.clone().map(PushSigner::new),
        })
    }

    /// Which message it is sent.
    pub(super) fn message(&self) -> RemoteWriteMessage {
        self.message
    }

    /// Sends a body, compressed, as the given attempt (0: the first). `Ok` has what the receiver
    /// says it stored, if it says so.
    pub(super) async fn send(&self, body: Bytes, attempt: u32) -> Result<Option<Written>, Refusal> {
        let recoverable =
            |why: String| Refusal { why, may_recover: true, retry_after: None, written: None };
        let url = self.url.as_ref().map_err(|why| recoverable(why.clone()))?;
        let mut headers = self.headers.clone();
        if attempt > 0 {
            let name = HeaderName::from_static("retry-attempt");
            headers.push((name, HeaderValue::from(attempt)));
        }
        if let Some(signer) = &self.signer {
            let signed = signer.headers(&self.client, url, &body).await;
            headers.extend(signed.map_err(recoverable)?);
        }
        if let Some(tokens) = &self.tokens {
            headers.push((header::AUTHORIZATION, tokens.header().await.map_err(recoverable)?));
        }
        let request = Request {
            method: Method::POST,
            headers: Arc::from(headers),
            body,
            timeout: self.timeout,
            body_bytes_max: BODY_BYTES_MAX,
            ..Request::get(url.clone())
        };
        let response = self.client.send(&request).await;
        let response = response.map_err(|error| recoverable(error.to_string()))?;
        let count = |name| response.header(name).parse::<u64>().ok();
        let counts = [
            count("x-prometheus-remote-write-samples-written"),
            count("x-prometheus-remote-write-histograms-written"),
            count("x-prometheus-remote-write-exemplars-written"),
        ];
        let written = counts.iter().any(Option::is_some).then(|| {
            let [samples, histograms, exemplars] = counts.map(Option::unwrap_or_default);
            Written { samples, histograms, exemplars }
        });
        if response.status.is_success() {
            return Ok(written);
        }
        if response.status == StatusCode::UNAUTHORIZED
            && let Some(signer) = &self.signer
        {
            signer.forget().await;
        }
        if response.status == StatusCode::UNAUTHORIZED
            && let Some(tokens) = &self.tokens
        {
            tokens.forget().await;
        }
        let text = &response.body[..response.body.len().min(ANSWER_BYTES_MAX)];
        let text = String::from_utf8_lossy(text);
        Err(Refusal {
            why: format!("server returned HTTP status {}: {}", response.status_text, text.trim()),
            may_recover: response.status.is_server_error()
                || (self.retries_429 && response.status == StatusCode::TOO_MANY_REQUESTS),
            retry_after: retry_after(response.header("retry-after")),
            written,
        })
    }
}

/// The pause that a header asks for: seconds, or a date.
fn retry_after(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse::<u64>() {
        return Some(Duration::from_secs(seconds).min(RETRY_AFTER_MAX));
    }
    let at = jiff::fmt::rfc2822::parse(text.trim()).ok()?;
    let left = at.timestamp().duration_since(jiff::Timestamp::now());
    Duration::try_from(left).ok().map(|left| left.min(RETRY_AFTER_MAX))
}

fn duration(ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}

/// A URL with its password left out.
fn redacted(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..end].rsplit_once('@') {
        Some((user, host)) => match user.split_once(':') {
            Some((user, _)) => format!("{scheme}://{user}:xxxxx@{host}{}", &rest[end..]),
            None => url.to_owned(),
        },
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_shown() {
        assert_eq!(redacted("http://u:p@h:1/x@y"), "http://u:xxxxx@h:1/x@y");
        assert_eq!(redacted("http://h/x?u:p@"), "http://h/x?u:p@");
        assert_eq!(redacted("https://u@h"), "https://u@h");
    }

    #[test]
    fn pauses_are_seconds_or_dates() {
        assert_eq!(retry_after("7"), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("999999999"), Some(RETRY_AFTER_MAX));
        assert_eq!(retry_after(""), None);
        assert_eq!(retry_after("soon"), None);
        assert_eq!(retry_after("Wed, 21 Oct 2015 07:28:00 GMT"), None, "it is past");
        let later = retry_after("Wed, 21 Oct 2099 07:28:00 GMT");
        assert_eq!(later, Some(RETRY_AFTER_MAX));
    }

    #[test]
    fn what_cannot_be_done_is_refused_by_name() {
        let text = "remote_write: [{url: 'other://a:1'}]";
        let config = crate::config::parse(text, "t.yml").unwrap();
        let receiver = Receiver::new(&config.remote_write_configs[0]).unwrap();
        assert!(receiver.url.unwrap_err().contains("unsupported protocol scheme"));
        let text = "remote_write: [{url: 'http://u:p@a', azuread: {sdk: {tenant_id: x}}}]";
        let config = crate::config::parse(text, "t.yml").unwrap();
        let error = Receiver::new(&config.remote_write_configs[0]).unwrap_err();
        assert!(error.contains("http://u:xxxxx@a: azuread.sdk is not built in"), "{error}");
    }
}
