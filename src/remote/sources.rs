//! Remote read, the asking side: other servers as sources of queries.
//!
//! COMPAT: which source is asked for what, and with which labels, is as in Prometheus: required
//! matchers, external labels, times that the own storage covers. A source that fails is a warning
//! of the answer, never an error: what is stored here is answered all the same.
//!
//! Queries are synchronous and run on threads of their own; a request is awaited there, and given
//! up as soon as the query is.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Method};
use tokio::runtime::Handle;

use super::read_frames::{RemoteSeries, read_answer};
use crate::config::RemoteReadConfig;
use crate::http_client::{Client, Request, Url};
use crate::model::{Labels, MatchOp, Matcher, TimeRange};
use crate::protowire::remote_read::{ReadQuery, ReadRequest};
use crate::select::{Cancellation, SelectError};

/// Bytes of an answer at most.
const ANSWER_BYTES_MAX: u64 = 256 << 20;
/// How often it is looked whether the query still runs.
const LOOK: Duration = Duration::from_millis(50);

/// One source.
#[derive(Debug)]
struct Source {
    config: RemoteReadConfig,
    client: Client,
    url: Url,
    headers: Arc<[(HeaderName, HeaderValue)]>,
}

/// All sources of a configuration.
#[derive(Debug)]
pub struct RemoteSources {
    sources: Vec<Source>,
    external: Labels,
    runtime: Handle,
}

/// What the sources had, each in ascending order of labels, and what went wrong.
#[derive(Debug, Default)]
pub struct RemoteAnswer {
    /// By source.
    pub sets: Vec<Vec<RemoteSeries>>,
    /// What the reader should know.
    pub warnings: Vec<String>,
}

impl RemoteSources {
    /// Clients for these sources; the error names the one that cannot be asked. Must be called
    /// within the runtime that requests are made in, or be given it.
    pub fn new(
        configs: &[RemoteReadConfig],
        external: &Labels,
        runtime: Handle,
    ) -> Result<Self, String> {
        let mut sources = Vec::with_capacity(configs.len());
        for (number, config) in configs.iter().enumerate() {
            let refuse = |why: &dyn fmt::Display| {
                let name = if config.name.is_empty() { "" } else { &config.name };
                format!("remote_read[{number}] {name}: {why}")
            };
            let client = Client::new(&config.http).map_err(|error| refuse(&error))?;
            let url = Url::parse(config.url.reveal()).map_err(|error| refuse(&error))?;
            let headers = headers(config)
                .map_err(|name| refuse(&format!("header {name:?} cannot be sent")))?;
            sources.push(Source { config: config.clone(), client, url, headers });
        }
        Ok(Self { sources, external: external.clone(), runtime })
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    /// What the sources have. `local_start_ms`: from here on the own storage has everything.
    pub fn select(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        local_start_ms: i64,
        cancellation: &Cancellation,
    ) -> Result<RemoteAnswer, SelectError> {
        let mut answer = RemoteAnswer::default();
        for source in &self.sources {
            let Some(range) = source.range(range, local_start_ms) else { continue };
            if !source.is_required(matchers) {
                continue;
            }
            let empty = Labels::empty();
            let filters = source.config.filters_external_labels;
            let external = if filters { &self.external } else { &empty };
            let (query, added) = request(matchers, range, external);
            // Whoever asks may be a thread that a runtime runs on, which must not wait for another.
            let asked = std::thread::scope(|scope| {
                let ask = || self.runtime.block_on(source.ask(&query, cancellation));
                scope.spawn(ask).join()
            });
            let asked = asked.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            match asked {
                Ok(Ok(mut series)) => {
                    for series in &mut series {
                        series.labels = series.labels.without(|name| added.contains(&name));
                        let samples = &mut series.samples;
                        samples.retain(|t_ms| range.contains(t_ms));
                    }
                    series.retain(|series| !series.samples.is_empty());
                    series.sort_by(|a, b| a.labels.cmp(&b.labels));
                    answer.sets.push(series);
                }
                Ok(Err(why)) => {
                    answer.warnings.push(format!("remote_read {}: {why}", source.shown()));
                }
                Err(stopped) => return Err(stopped),
            }
        }
        Ok(answer)
    }
}

fn headers(config: &RemoteReadConfig) -> Result<Arc<[(HeaderName, HeaderValue)]>, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in &config.headers {
        let parsed = (name.parse::<HeaderName>(), HeaderValue::from_str(value));
        let (Ok(name), Ok(value)) = parsed else { return Err(name.clone()) };
        headers.append(name, value);
    }
    let version = HeaderName::from_static("x-prometheus-remote-read-version");
    headers.insert(version, HeaderValue::from_static("0.1.0"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static("snappy"));
    Ok(headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect())
}

/// The request, and names of the external labels that it asks for by itself.
fn request<'a>(
    matchers: &[Matcher],
    range: TimeRange,
    external: &'a Labels,
) -> (ReadRequest, Vec<&'a str>) {
    let mut matchers = matchers.to_vec();
    let mut added = Vec::new();
    for (name, value) in external {
        if !matchers.iter().any(|matcher| matcher.name == name) {
            matchers.push(Matcher::equal(name, value));
            added.push(name);
        }
    }
    // Chunks before samples.
    (ReadRequest { queries: vec![ReadQuery { range, matchers }], accepted: vec![1, 0] }, added)
}

impl Source {
    /// How the source is named where something is told of it.
    fn shown(&self) -> String {
        if self.config.name.is_empty() {
            self.url.authority().to_owned()
        } else {
            self.config.name.clone()
        }
    }

    /// The times that are asked for; `None`: the own storage has them all.
    fn range(&self, range: TimeRange, local_start_ms: i64) -> Option<TimeRange> {
        if self.config.reads_recent {
            return Some(range);
        }
        let max_ms = range.max_ms.min(local_start_ms);
        (range.min_ms <= local_start_ms).then_some(TimeRange { max_ms, ..range })
    }

    fn is_required(&self, matchers: &[Matcher]) -> bool {
        self.config.required_matchers.iter().all(|(name, value)| {
            matchers.iter().any(|matcher| {
                matcher.op == MatchOp::Equal && matcher.name == *name && matcher.value == *value
            })
        })
    }

    async fn ask(
        &self,
        query: &ReadRequest,
        cancellation: &Cancellation,
    ) -> Result<Result<Vec<RemoteSeries>, String>, SelectError> {
        let mut message = Vec::new();
        query.write(&mut message);
        let body = match snap::raw::Encoder::new().compress_vec(&message) {
            Ok(body) => body,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let timeout = u64::try_from(self.config.remote_timeout_ms).unwrap_or(0).max(1);
        let request = Request {
            method: Method::POST,
            headers: Arc::clone(&self.headers),
            body: body.into(),
            timeout: Duration::from_millis(timeout),
            body_bytes_max: ANSWER_BYTES_MAX,
            ..Request::get(self.url.clone())
        };
        let sent = self.client.send(&request);
        tokio::pin!(sent);
        let response = loop {
            tokio::select! {
                response = &mut sent => break response,
                () = tokio::time::sleep(LOOK) => cancellation.check()?,
            }
        };
        let response = match response {
            Ok(response) => response,
            Err(error) => return Ok(Err(error.to_string())),
        };
        if !response.status.is_success() {
            let text: String = String::from_utf8_lossy(&response.body).chars().take(200).collect();
            let status = &response.status_text;
            return Ok(Err(format!("the server answered {status}: {}", text.trim())));
        }
        let kind = response.header("content-type").to_owned();
        let limit = self.config.chunked_read_limit;
        Ok(read_answer(&kind, &response.body, limit).map_err(|error| error.to_string()))
    }
}

#[cfg(test)]
mod tests;
