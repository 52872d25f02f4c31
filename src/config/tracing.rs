//! The section `tracing`: where traces are sent, and how many.

use super::TlsOptions;
use super::record::Record;

/// Where traces are sent.
#[derive(Debug, Clone, PartialEq)]
pub struct TracingConfig {
    /// By gRPC; else by HTTP.
    pub uses_grpc: bool,
    /// `host:port` of the receiver.
    pub endpoint: String,
    /// How many of the traces that begin here are sampled, from 0 to 1.
    pub sampling_fraction: f64,
    /// Without TLS.
    pub is_insecure: bool,
    /// Certificates and checks of TLS.
    pub tls: TlsOptions,
    /// Headers that every request has.
    pub headers: Vec<(String, String)>,
    /// Requests are compressed.
    pub compresses: bool,
    /// For one request; 0 for the usual.
    pub timeout_ms: i64,
}

impl TracingConfig {
    /// The plain form of a completed record; `None`: nothing is traced.
    pub(super) fn of(tracing: Option<&Record>) -> Option<Self> {
        let tracing = tracing.filter(|tracing| !tracing.text("endpoint").is_empty())?;
        Some(Self {
            uses_grpc: tracing.text("client_type") == "grpc",
            endpoint: tracing.text("endpoint").to_owned(),
            sampling_fraction: tracing.float("sampling_fraction"),
            is_insecure: tracing.flag("insecure"),
            tls: TlsOptions::of(tracing),
            headers: tracing.text_map("headers").to_vec(),
            compresses: tracing.text("compression") == "gzip",
            timeout_ms: tracing.duration_ms("timeout"),
        })
    }
}
