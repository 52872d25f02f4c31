//! One receiver of remote write.

use super::record::Record;
use super::secret::Secret;
use super::{HttpClientConfig, TokenConfig};
use crate::relabel::Rule;

/// The message that requests hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemoteWriteMessage {
    /// `prometheus.WriteRequest`, remote write 1.0.
    V1,
    /// `io.prometheus.write.v2.Request`, remote write 2.0.
    V2,
}

/// `remote_write`.
#[derive(Debug, Clone, PartialEq)]
pub struct RemoteWriteConfig {
    /// Where samples go; it may carry a password.
    pub url: Secret,
    /// The name that was given; empty where none was.
    pub name: String,
    /// For a request and its answer.
    pub remote_timeout_ms: i64,
    /// Headers that every request has.
    pub headers: Vec<(String, String)>,
    /// What is sent, and under which labels.
    pub write_relabel_configs: Vec<Rule>,
    /// Exemplars are sent.
    pub send_exemplars: bool,
    /// Native histograms are sent.
    pub send_native_histograms: bool,
    /// Which message is sent.
    pub message: RemoteWriteMessage,
    /// How requests are made.
    pub http: HttpClientConfig,
    /// How samples are gathered and sent.
    pub queue: QueueConfig,
    /// What is said of metrics, in version 1.
    pub metadata: MetadataConfig,
    /// Signatures of AWS.
    pub sigv4: Option<Sigv4Config>,
    /// Tokens of other clouds.
    pub tokens: Option<TokenConfig>,
    /// A field that asks for what this server cannot do, and without which nothing can be sent.
    pub unsupported: Option<&'static str>,
}

/// `queue_config`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueConfig {
    /// Samples that a shard holds.
    pub capacity: usize,
    /// Shards at most.
    pub max_shards: usize,
    /// Shards at least.
    pub min_shards: usize,
    /// Samples of a request at most.
    pub max_samples_per_send: usize,
    /// How long a sample waits for others.
    pub batch_send_deadline_ms: i64,
    /// The first pause after a failure.
    pub min_backoff_ms: i64,
    /// The longest pause.
    pub max_backoff_ms: i64,
    /// A request that was refused with 429 is sent again.
    pub retry_on_http_429: bool,
    /// Samples older than this are not sent; 0: all are.
    pub sample_age_limit_ms: i64,
}

/// `metadata_config`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetadataConfig {
    /// It is sent.
    pub send: bool,
    /// How often.
    pub send_interval_ms: i64,
    /// Metrics of a request at most.
    pub max_samples_per_send: usize,
}

/// `sigv4`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sigv4Config {
    /// The region; empty for what environment, files or the instance name.
    pub region: String,
    /// The key, where it stands here.
    pub access_key: String,
    /// Its secret.
    pub secret_key: Secret,
    /// A profile of the shared files.
    pub profile: String,
    /// A role to take on.
    pub role_arn: String,
    /// What the role asks for.
    pub external_id: String,
    /// Tokens come from the FIPS endpoint.
    pub use_fips_sts_endpoint: bool,
    /// The service that signatures are for; empty for `aps`.
    pub service_name: String,
}

impl RemoteWriteConfig {
    /// The plain form of a completed record.
    pub(super) fn of(record: &Record) -> Self {
        let tokens = TokenConfig::of(record);
        Self {
            url: Secret::new(record.text("url")),
            name: record.text("name").to_owned(),
            remote_timeout_ms: record.duration_ms("remote_timeout"),
            headers: record.text_map("headers").to_vec(),
            write_relabel_configs: record.rules("write_relabel_configs").to_vec(),
            send_exemplars: record.flag("send_exemplars"),
            send_native_histograms: record.flag("send_native_histograms"),
            message: match record.text("protobuf_message") {
                "io.prometheus.write.v2.Request" => RemoteWriteMessage::V2,
                _ => RemoteWriteMessage::V1,
            },
            http: HttpClientConfig::of(record),
            queue: QueueConfig::of(section(record, "queue_config")),
            metadata: MetadataConfig::of(section(record, "metadata_config")),
            sigv4: record.record("sigv4").map(Sigv4Config::of),
            unsupported: tokens.as_ref().err().copied(),
            tokens: tokens.unwrap_or_default(),
        }
    }
}

fn section<'a>(record: &'a Record, key: &str) -> &'a Record {
    record.record(key).expect("BUG: a section with defaults is there")
}

fn count(record: &Record, key: &str) -> usize {
    usize::try_from(record.int(key)).unwrap_or(0)
}

impl QueueConfig {
    fn of(record: &Record) -> Self {
        Self {
            capacity: count(record, "capacity"),
            max_shards: count(record, "max_shards"),
            min_shards: count(record, "min_shards"),
            max_samples_per_send: count(record, "max_samples_per_send"),
            batch_send_deadline_ms: record.duration_ms("batch_send_deadline"),
            min_backoff_ms: record.duration_ms("min_backoff"),
            max_backoff_ms: record.duration_ms("max_backoff"),
            retry_on_http_429: record.flag("retry_on_http_429"),
            sample_age_limit_ms: record.duration_ms("sample_age_limit"),
        }
    }
}

impl MetadataConfig {
    fn of(record: &Record) -> Self {
        Self {
            send: record.flag("send"),
            send_interval_ms: record.duration_ms("send_interval"),
            max_samples_per_send: count(record, "max_samples_per_send"),
        }
    }
}

impl Sigv4Config {
    pub(super) fn of(record: &Record) -> Self {
        let text = |key: &str| record.text(key).to_owned();
        Self {
            region: text("region"),
            access_key: text("access_key"),
            secret_key: match record.value("secret_key") {
                super::record::Value::Secret(secret) => secret.clone(),
                _ => Secret::default(),
            },
            profile: text("profile"),
            role_arn: text("role_arn"),
            external_id: text("external_id"),
            use_fips_sts_endpoint: record.flag("use_fips_sts_endpoint"),
            service_name: text("service_name"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    fn first(text: &str) -> RemoteWriteConfig {
        parse(text, "t.yml").unwrap().remote_write_configs[0].clone()
    }

    #[test]
    fn defaults_are_those_of_prometheus() {
        let write = first("remote_write: [{url: 'http://u:p@a/b'}]");
        assert_eq!(write.url.reveal(), "http://u:p@a/b");
        assert_eq!((write.message, write.remote_timeout_ms), (RemoteWriteMessage::V1, 30_000));
        assert!(!write.send_exemplars && !write.send_native_histograms);
        assert!(!write.http.enable_http2 && write.http.follow_redirects);
        let queue = QueueConfig {
            capacity: 10_000,
            max_shards: 50,
            min_shards: 1,
            max_samples_per_send: 2000,
            batch_send_deadline_ms: 5000,
            min_backoff_ms: 30,
            max_backoff_ms: 5000,
            retry_on_http_429: false,
            sample_age_limit_ms: 0,
        };
        assert_eq!(write.queue, queue);
        let metadata =
            MetadataConfig { send: true, send_interval_ms: 60_000, max_samples_per_send: 2000 };
        assert_eq!(write.metadata, metadata);
        assert!(write.sigv4.is_none() && write.unsupported.is_none());
    }

    #[test]
    fn what_is_written_counts() {
        let write = first(
            "remote_write: [{url: 'http://a', name: n, protobuf_message: \
             io.prometheus.write.v2.Request, headers: {X-A: b}, sigv4: {region: r}, \
             queue_config: {capacity: 3, max_backoff: 1s}, metadata_config: {send: false}}]",
        );
        assert_eq!((write.message, write.name.as_str()), (RemoteWriteMessage::V2, "n"));
        assert_eq!(write.headers, [("X-A".to_owned(), "b".to_owned())]);
        assert_eq!((write.queue.capacity, write.queue.max_backoff_ms), (3, 1000));
        assert!(!write.metadata.send);
        assert_eq!(write.sigv4.unwrap().region, "r");
    }
}
