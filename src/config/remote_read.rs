//! One source of remote read.

use super::HttpClientConfig;
use super::record::Record;
use super::secret::Secret;

/// `remote_read`.
#[derive(Debug, Clone, PartialEq)]
pub struct RemoteReadConfig {
    /// Where samples are; it may carry a password.
    pub url: Secret,
    /// The name that was given; empty where none was.
    pub name: String,
    /// For a request and its answer.
    pub remote_timeout_ms: i64,
    /// Bytes of a frame at most.
    pub chunked_read_limit: u64,
    /// Headers that every request has.
    pub headers: Vec<(String, String)>,
    /// Whether it is asked for times that the own storage covers too.
    pub reads_recent: bool,
    /// Labels with values that a selector must ask for, or the source is not asked.
    pub required_matchers: Vec<(String, String)>,
    /// Whether external labels are asked for, and taken off what comes.
    pub filters_external_labels: bool,
    /// How requests are made.
    pub http: HttpClientConfig,
}

impl RemoteReadConfig {
    pub(super) fn of(read: &Record) -> Self {
        Self {
            url: Secret::new(read.text("url")),
            name: read.text("name").to_owned(),
            remote_timeout_ms: read.duration_ms("remote_timeout"),
            chunked_read_limit: read.uint("chunked_read_limit"),
            headers: read.text_map("headers").to_vec(),
            reads_recent: read.flag("read_recent"),
            required_matchers: read.text_map("required_matchers").to_vec(),
            filters_external_labels: read.flag("filter_external_labels"),
            http: HttpClientConfig::of(read),
        }
    }
}
