//! The configuration file: plain data, Prometheus's defaults and checks.
//!
//! What is here has been validated and has every default filled in; who uses it turns its own
//! section into behaviour. Sections and mechanisms that the server does not act on yet are
//! parsed and checked all the same, and [`Config::inactive`] names them.
//!
//! Durations are milliseconds. A limit of 0 is no limit.

mod alerting;
mod bytes;
mod complete;
mod decode;
mod discovery;
mod discovery_cloud;
mod discovery_options;
mod environment;
mod error;
mod external_url;
mod fingerprint;
mod glob;
mod global;
mod http_client;
mod http_options;
mod load;
mod otlp;
mod record;
mod remote_read;
mod remote_write;
mod render;
mod rule_file;
mod scalar;
mod schema;
mod scrape;
mod secret;
mod sections;
mod storage;
mod tokens;
mod tracing;
mod url;
mod web;
mod yaml;

pub use alerting::{AlertingConfig, AlertmanagerConfig};
pub use bytes::{format as format_bytes, parse as parse_bytes};
pub use discovery_options::{
    ConsulDiscovery, DiscoveryConfig, DnsDiscovery, DnsRecordType, DockerDiscovery, Ec2Discovery,
    FileDiscovery, Filter, HttpDiscovery, KubernetesAttachments, KubernetesDiscovery,
    KubernetesRole, KubernetesSelector, NomadDiscovery,
};
pub use error::ConfigError;
pub use external_url::ExternalUrl;
pub use fingerprint::{Fingerprint, fingerprint};
pub use glob::{BadPattern, glob, matching_files};
pub use global::GlobalConfig;
pub use http_options::{
    Authorization, BasicAuth, HttpClientConfig, HttpHeader, JwtAssertion, OAuth2, ProxyOptions,
    SecretSource, TlsOptions,
};
pub use load::{
    Config, Defaults, embedded_default, load, load_with, parse, parse_targets, parse_with,
};
pub use otlp::{OtlpConfig, TranslationStrategy};
pub use remote_read::RemoteReadConfig;
pub use remote_write::{
    MetadataConfig, QueueConfig, RemoteWriteConfig, RemoteWriteMessage, Sigv4Config,
};
pub use rule_file::{
    Place, PlacedText, RuleConfig, RuleFileConfig, RuleGroupConfig, parse_rule_file,
};
pub use scrape::{ScrapeConfig, ScrapeProtocol, StaticTargets};
pub use secret::Secret;
pub use storage::StorageConfig;
pub use tokens::{AzureConfig, AzureIdentity, GoogleConfig, TokenConfig};
pub use tracing::TracingConfig;
pub use web::{ClientAuth, RateLimit, Roles, WebConfig, WebTls, WebToken, load_web, parse_web};

#[cfg(test)]
mod tests;
