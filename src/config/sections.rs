//! The tables of all sections but discovery and HTTP clients, and each section's own checks.

use super::discovery::{self, DISCOVERY};
use super::http_client::{
    self, HTTP_CLIENT, HTTP_CLIENT_1, SIGV4, TLS_CONFIG, check_plain_headers,
};
use super::record::{Record, Value};
use super::schema::{
    Default, Kind, Section, duration, field, flag, inline, int_or, no_check, path, seconds, secret,
    text, text_or, texts, uint,
};
use super::scrape::ScrapeProtocol;
use super::tokens::check_azure_client;
use crate::model::{EscapingScheme, FloatStyle, float_text, go_quote};

/// The whole file.
pub(super) static CONFIG: Section = Section {
    name: "config",
    fields: &[
        field("global", Kind::Section(&GLOBAL)).or(Default::Filled).shown(),
        field("runtime", Kind::Section(&RUNTIME)).or(Default::Filled),
        field("alerting", Kind::Section(&ALERTING)),
        field("rule_files", Kind::Paths),
        field("scrape_config_files", Kind::Paths),
        field("scrape_configs", Kind::Sections(&SCRAPE)),
        field("storage", Kind::Section(&STORAGE)).or(Default::Filled).shown(),
        field("tracing", Kind::Section(&TRACING)),
        field("remote_write", Kind::Sections(&REMOTE_WRITE)),
        field("remote_read", Kind::Sections(&REMOTE_READ)),
        field("otlp", Kind::Section(&OTLP)).or(Default::Filled),
    ],
    check: no_check,
};

/// A file named by `scrape_config_files`.
pub(super) static SCRAPE_CONFIG_FILE: Section = Section {
    name: "scrape_config_file",
    fields: &[field("scrape_configs", Kind::Sections(&SCRAPE))],
    check: no_check,
};

pub(super) static GLOBAL: Section = Section {
    name: "global",
    fields: &[
        duration("scrape_interval"),
        duration("scrape_timeout"),
        field("scrape_protocols", Kind::Texts),
        duration("evaluation_interval"),
        duration("rule_query_offset"),
        path("query_log_file"),
        path("scrape_failure_log_file"),
        field("external_labels", Kind::Labels),
        field("body_size_limit", Kind::Bytes),
        uint("sample_limit"),
        uint("target_limit"),
        uint("label_limit"),
        uint("label_name_length_limit"),
        uint("label_value_length_limit"),
        uint("keep_dropped_targets"),
        field("metric_name_validation_scheme", Kind::Checked(check_validation_scheme)),
        text("metric_name_escaping_scheme"),
        field("scrape_native_histograms", Kind::OptionalBool),
        flag("convert_classic_histograms_to_nhcb"),
        flag("always_scrape_classic_histograms"),
        field("extra_scrape_metrics", Kind::OptionalBool),
    ],
    check: no_check,
};

pub(super) static RUNTIME: Section =
    Section { name: "runtime", fields: &[int_or("gogc", 75)], check: no_check };

pub(super) static SCRAPE: Section = Section {
    name: "scrape_config",
    fields: &[
        text("job_name").shown(),
        flag("honor_labels"),
        field("honor_timestamps", Kind::Bool).or(Default::Bool(true)).shown(),
        flag("track_timestamps_staleness").shown(),
        field("params", Kind::TextLists),
        duration("scrape_interval"),
        duration("scrape_timeout"),
        field("scrape_protocols", Kind::Texts),
        text("fallback_scrape_protocol"),
        field("scrape_native_histograms", Kind::OptionalBool),
        field("always_scrape_classic_histograms", Kind::OptionalBool),
        field("convert_classic_histograms_to_nhcb", Kind::OptionalBool),
        path("scrape_failure_log_file"),
        text_or("metrics_path", "/metrics"),
        text_or("scheme", "http"),
        field("enable_compression", Kind::Bool).or(Default::Bool(true)).shown(),
        field("body_size_limit", Kind::Bytes),
        uint("sample_limit"),
        uint("target_limit"),
        uint("label_limit"),
        uint("label_name_length_limit"),
        uint("label_value_length_limit"),
        uint("native_histogram_bucket_limit"),
        field("native_histogram_min_bucket_factor", Kind::Float),
        uint("keep_dropped_targets"),
        field("metric_name_validation_scheme", Kind::Checked(check_validation_scheme)),
        text("metric_name_escaping_scheme"),
        field("extra_scrape_metrics", Kind::OptionalBool),
        inline(&HTTP_CLIENT),
        field("relabel_configs", Kind::Rules("target relabeling rule in scrape config")),
        field("metric_relabel_configs", Kind::Rules("metric relabeling rule in scrape config")),
        inline(&DISCOVERY),
    ],
    check: |job| {
        if !job.is_set("job_name") {
            return Err("job_name is empty".to_owned());
        }
        http_client::check(job)?;
        discovery::check_static_targets(job)
    },
};

static STORAGE: Section = Section {
    name: "storage",
    fields: &[
        field("tsdb", Kind::Section(&TSDB)).or(Default::Filled).shown(),
        field("exemplars", Kind::Optional(&EXEMPLARS)),
    ],
    check: no_check,
};

static TSDB: Section = Section {
    name: "tsdb",
    fields: &[
        int_or("outofordertimewindow", 0).shown(),
        duration("out_of_order_time_window"),
        field("stale_series_compaction_threshold", Kind::Float),
        field("chunk_encoding", Kind::Section(&CHUNK_ENCODING)),
        field("retention", Kind::Optional(&RETENTION)),
    ],
    check: |tsdb| {
        let window_ms = tsdb.duration_ms("out_of_order_time_window");
        tsdb.set("outofordertimewindow", Value::Int(window_ms));
        let floats = tsdb.record("chunk_encoding").map_or("", |encoding| encoding.text("floats"));
        if matches!(floats, "" | "xor" | "xor2") {
            return Ok(());
        }
        Err(format!(
            "'storage.tsdb.chunk_encoding.floats' must be 'xor' or 'xor2', or the field must be \
             omitted entirely, got {}",
            go_quote(floats)
        ))
    },
};

static CHUNK_ENCODING: Section =
    Section { name: "chunk_encoding", fields: &[text("floats")], check: no_check };

pub(super) static RETENTION: Section = Section {
    name: "retention",
    fields: &[duration("time"), field("size", Kind::Bytes), field("percentage", Kind::Float)],
    check: |retention| {
        if let Value::Bytes(size) = retention.value("size")
            && *size < 0
        {
            return Err(format!(
                "'storage.tsdb.retention.size' must be greater than or equal to 0, got {}",
                super::bytes::format(*size)
            ));
        }
        let percentage = retention.float("percentage");
        if (0.0..=100.0).contains(&percentage) {
            return Ok(());
        }
        Err(format!(
            "'storage.tsdb.retention.percentage' must be in the range [0, 100], got {}",
            float_text(percentage, FloatStyle::General)
        ))
    },
};

static EXEMPLARS: Section =
    Section { name: "exemplars", fields: &[int_or("max_exemplars", 0)], check: no_check };

static TRACING: Section = Section {
    name: "tracing",
    fields: &[
        field("client_type", Kind::Checked(check_tracing_client)).or(Default::Text("grpc")),
        text("endpoint"),
        field("sampling_fraction", Kind::Float),
        flag("insecure"),
        field("tls_config", Kind::Section(&TLS_CONFIG)),
        field("headers", Kind::TextMap),
        text("compression"),
        duration("timeout"),
    ],
    check: |tracing| {
        check_plain_headers(
            tracing,
            "custom authorization header configuration is not yet supported",
        )?;
        if !tracing.is_set("endpoint") {
            return Err("tracing endpoint must be set".to_owned());
        }
        match tracing.text("compression") {
            "" | "gzip" => Ok(()),
            other => Err(format!("invalid compression type {other} provided, valid options: gzip")),
        }
    },
};

static ALERTING: Section = Section {
    name: "alerting",
    fields: &[
        field("alert_relabel_configs", Kind::Rules("alert relabeling rule")),
        field("alertmanagers", Kind::Sections(&ALERTMANAGER)),
    ],
    check: no_check,
};

static ALERTMANAGER: Section = Section {
    name: "alertmanager_config",
    fields: &[
        inline(&HTTP_CLIENT),
        field("sigv4", Kind::Optional(&SIGV4)),
        text_or("scheme", "http"),
        text("path_prefix"),
        seconds("timeout", 10),
        field("api_version", Kind::Checked(check_api_version)).or(Default::Text("v2")).shown(),
        field("relabel_configs", Kind::Rules("Alertmanager target relabeling rule")),
        field("alert_relabel_configs", Kind::Rules("Alertmanager alert relabeling rule")),
        inline(&DISCOVERY),
    ],
    check: |manager| {
        http_client::check(manager)?;
        let has_auth = ["basic_auth", "authorization", "oauth2"]
            .into_iter()
            .any(|key| manager.is_set_at_all(key));
        if has_auth && manager.is_set_at_all("sigv4") {
            return Err("at most one of basic_auth, authorization, oauth2, & sigv4 must be \
                        configured"
                .to_owned());
        }
        discovery::check_static_targets(manager)
    },
};

static REMOTE_WRITE: Section = Section {
    name: "remote_write",
    fields: &[
        field("url", Kind::Url).shown(),
        seconds("remote_timeout", 30),
        field("headers", Kind::TextMap),
        field("write_relabel_configs", Kind::Rules("relabeling rule in remote write config")),
        text("name"),
        flag("send_exemplars"),
        flag("send_native_histograms"),
        flag("round_robin_dns"),
        text_or("protobuf_message", "prometheus.WriteRequest"),
        flag("failed_request_logging"),
        inline(&HTTP_CLIENT_1),
        field("queue_config", Kind::Section(&QUEUE)).or(Default::Filled),
        field("metadata_config", Kind::Section(&METADATA)).or(Default::Filled),
        field("sigv4", Kind::Optional(&SIGV4)),
        field("azuread", Kind::Optional(&AZURE_AD)),
        field("google_iam", Kind::Optional(&GOOGLE_IAM)),
    ],
    check: check_remote_write,
};

static QUEUE: Section = Section {
    name: "queue_config",
    fields: &[
        int_or("capacity", 10_000),
        int_or("max_shards", 50),
        int_or("min_shards", 1),
        int_or("max_samples_per_send", 2000),
        seconds("batch_send_deadline", 5),
        duration("min_backoff").or(Default::DurationMs(30)),
        seconds("max_backoff", 5),
        flag("retry_on_http_429"),
        duration("sample_age_limit"),
    ],
    check: no_check,
};

static METADATA: Section = Section {
    name: "metadata_config",
    fields: &[
        field("send", Kind::Bool).or(Default::Bool(true)).shown(),
        seconds("send_interval", 60).shown(),
        int_or("max_samples_per_send", 2000),
    ],
    check: no_check,
};

static GOOGLE_IAM: Section =
    Section { name: "google_iam", fields: &[text("credentials_file")], check: no_check };

static AZURE_AD: Section =
    Section {
        name: "azuread",
        fields: &[
            field("managed_identity", Kind::Optional(&AZURE_MANAGED)),
            field("workload_identity", Kind::Optional(&AZURE_WORKLOAD)),
            field("oauth", Kind::Optional(&AZURE_OAUTH)),
            field("sdk", Kind::Optional(&AZURE_SDK)),
            field("certificate", Kind::Optional(&AZURE_CERTIFICATE)),
            text_or("cloud", "AzurePublic"),
            text("scope"),
        ],
        check: |azure| {
            if !matches!(azure.text("cloud"), "AzurePublic" | "AzureChina" | "AzureGovernment") {
                return Err("must provide a cloud in the Azure AD config".to_owned());
            }
            let keys = ["managed_identity", "workload_identity", "oauth", "sdk", "certificate"];
            match keys.into_iter().filter(|key| azure.is_set_at_all(key)).count() {
                0 => Err("must provide an Azure Managed Identity, Azure Workload Identity, Azure \
                      OAuth, Azure SDK or Azure Certificate in the Azure AD config"
                    .to_owned()),
                1 => check_azure_scope(azure.text("scope")),
                _ => Err("cannot provide multiple authentication methods in the Azure AD config"
                    .to_owned()),
            }
        },
    };

static AZURE_MANAGED: Section = Section {
    name: "managed_identity",
    fields: &[text("client_id")],
    check: |managed| check_azure_client(managed, "Managed Identity", &[], &["client_id"]),
};

static AZURE_WORKLOAD: Section = Section {
    name: "workload_identity",
    fields: &[text("client_id"), text("tenant_id"), text("token_file_path")],
    check: |workload| {
        let ids = ["client_id", "tenant_id"];
        check_azure_client(workload, "Workload Identity", &ids, &ids)
    },
};

static AZURE_OAUTH: Section = Section {
    name: "oauth",
    fields: &[text("client_id"), secret("client_secret"), text("tenant_id")],
    check: |client| {
        let required = ["client_id", "client_secret", "tenant_id"];
        check_azure_client(client, "OAuth", &required, &["client_id"])
    },
};

static AZURE_SDK: Section = Section { name: "sdk", fields: &[text("tenant_id")], check: no_check };

static AZURE_CERTIFICATE: Section = Section {
    name: "certificate",
    fields: &[
        text("client_id"),
        text("tenant_id"),
        text("certificate_path"),
        text("certificate_key_path"),
        secret("certificate_password"),
        flag("send_certificate_chain"),
    ],
    check: |certificate| {
        let required = ["client_id", "tenant_id", "certificate_path"];
        check_azure_client(certificate, "Certificate", &required, &["client_id"])
    },
};

static REMOTE_READ: Section = Section {
    name: "remote_read",
    fields: &[
        field("url", Kind::Url).shown(),
        seconds("remote_timeout", 60),
        uint("chunked_read_limit").or(Default::Uint(50_000_000)),
        field("headers", Kind::TextMap),
        flag("read_recent"),
        text("name"),
        inline(&HTTP_CLIENT),
        field("required_matchers", Kind::Labels),
        field("filter_external_labels", Kind::Bool).or(Default::Bool(true)),
    ],
    check: |read| {
        if !read.is_set("url") {
            return Err("url for remote_read is empty".to_owned());
        }
        check_plain_headers(read, REMOTE_AUTH_HINT)?;
        http_client::check(read)
    },
};

static OTLP: Section = Section {
    name: "otlp",
    fields: &[
        flag("promote_all_resource_attributes"),
        texts("promote_resource_attributes"),
        texts("ignore_resource_attributes"),
        text_or("translation_strategy", "UnderscoreEscapingWithSuffixes"),
        flag("keep_identifying_resource_attributes"),
        flag("convert_histograms_to_nhcb"),
        flag("promote_scope_metadata"),
        field("label_name_underscore_sanitization", Kind::Bool).or(Default::Bool(true)),
        field("label_name_preserve_multiple_underscores", Kind::Bool).or(Default::Bool(true)),
    ],
    check: check_otlp,
};

const REMOTE_AUTH_HINT: &str = "authorization header must be changed via the basic_auth, \
                                authorization, oauth2, sigv4, azuread or google_iam parameter";

fn check_remote_write(write: &mut Record) -> Result<(), String> {
    if !write.is_set("url") {
        return Err("url for remote_write is empty".to_owned());
    }
    check_plain_headers(write, REMOTE_AUTH_HINT)?;
    let message = write.text("protobuf_message");
    if !matches!(message, "prometheus.WriteRequest" | "io.prometheus.write.v2.Request") {
        return Err(format!(
            "invalid protobuf_message value: unknown type for remote write protobuf message \
             {message}, supported: prometheus.WriteRequest, io.prometheus.write.v2.Request"
        ));
    }
    http_client::check(write)?;
    if let Some(queue) = write.record("queue_config") {
        check_queue(queue)?;
    }
    let methods = ["basic_auth", "authorization", "oauth2", "sigv4", "azuread", "google_iam"];
    let used: Vec<&str> = methods.into_iter().filter(|key| write.is_set_at_all(key)).collect();
    if used.len() > 1 {
        return Err(format!(
            "at most one of basic_auth, authorization, oauth2, sigv4, azuread or google_iam must \
             be configured. Currently configured: [{}]",
            used.join(" ")
        ));
    }
    Ok(())
}

fn check_queue(queue: &Record) -> Result<(), String> {
    let shards_min = queue.int("min_shards");
    let refusals = [
        (queue.int("max_shards") <= 0, "max_shards must be positive"),
        (shards_min <= 0, "min_shards must be positive"),
        (shards_min > queue.int("max_shards"), "min_shards must not be greater than max_shards"),
        (queue.int("max_samples_per_send") <= 0, "max_samples_per_send must be positive"),
        (queue.int("capacity") <= 0, "capacity must be positive"),
        (
            queue.duration_ms("max_backoff") < queue.duration_ms("min_backoff"),
            "max_backoff must not be less than min_backoff",
        ),
    ];
    match refusals.into_iter().find(|(is_wrong, _)| *is_wrong) {
        Some((_, message)) => Err(format!("remote write queue {message}")),
        None => Ok(()),
    }
}

fn check_otlp(otlp: &mut Record) -> Result<(), String> {
    let promotes_all = otlp.flag("promote_all_resource_attributes");
    if promotes_all && otlp.is_set("promote_resource_attributes") {
        return Err(
            "'promote_all_resource_attributes' and 'promote_resource_attributes' cannot be \
                    configured simultaneously"
                .to_owned(),
        );
    }
    if !promotes_all && otlp.is_set("ignore_resource_attributes") {
        return Err("'ignore_resource_attributes' cannot be configured unless \
                    'promote_all_resource_attributes' is true"
            .to_owned());
    }
    let (key, adjective) = if promotes_all {
        ("ignore_resource_attributes", "ignored")
    } else {
        ("promote_resource_attributes", "promoted")
    };
    let mut seen: Vec<String> = Vec::new();
    for attribute in otlp.texts(key) {
        let trimmed = attribute.trim();
        let problem = if trimmed.is_empty() {
            format!("empty {adjective} OTel resource attribute")
        } else if seen.iter().any(|known| known == trimmed) {
            format!("duplicated {adjective} OTel resource attribute {}", go_quote(trimmed))
        } else {
            seen.push(trimmed.to_owned());
            continue;
        };
        return Err(format!("invalid '{key}': {problem}"));
    }
    if !seen.is_empty() {
        otlp.set(key, Value::Texts(Some(seen)));
    }
    Ok(())
}

fn check_azure_scope(scope: &str) -> Result<(), String> {
    // COMPAT: what Go's `\w` and `\s` are.
    let is_known = |c: char| c.is_ascii_alphanumeric() || "_ \t\n\x0c\r:/.-".contains(c);
    if scope.chars().all(is_known) {
        return Ok(());
    }
    Err("the provided scope contains invalid characters".to_owned())
}

fn check_validation_scheme(scheme: &str) -> Result<(), String> {
    if matches!(scheme, "" | "utf8" | "legacy") {
        return Ok(());
    }
    Err(format!("unrecognized ValidationScheme: {}", go_quote(scheme)))
}

fn check_tracing_client(client: &str) -> Result<(), String> {
    if matches!(client, "http" | "grpc") {
        return Ok(());
    }
    Err(format!("expected tracing client type to be to be http or grpc, but got {client}"))
}

fn check_api_version(version: &str) -> Result<(), String> {
    if version == "v2" {
        return Ok(());
    }
    Err(format!("expected Alertmanager api version to be one of [v2] but got {version}"))
}

/// Refuses an empty list, a protocol that stands twice, and unknown ones.
pub(super) fn check_protocols(names: &[String]) -> Result<(), String> {
    if names.is_empty() {
        return Err("scrape_protocols cannot be empty".to_owned());
    }
    for (i, name) in names.iter().enumerate() {
        if names[..i].iter().any(|earlier| earlier.eq_ignore_ascii_case(name)) {
            let list = names.join(" ");
            return Err(format!("duplicated protocol in scrape_protocols, got [{list}]"));
        }
        check_protocol(name).map_err(|message| format!("scrape_protocols: {message}"))?;
    }
    Ok(())
}

/// Refuses an unknown protocol.
pub(super) fn check_protocol(name: &str) -> Result<(), String> {
    if ScrapeProtocol::parse(name).is_some() {
        return Ok(());
    }
    let known = ScrapeProtocol::ALL.map(ScrapeProtocol::as_str).join(" ");
    Err(format!("unknown scrape protocol {name}, supported: [{known}]"))
}

/// Reads an escaping scheme; `whose` is "global" or "scrape config".
pub(super) fn escaping_scheme(name: &str, whose: &str) -> Result<EscapingScheme, String> {
    EscapingScheme::parse(name).ok_or_else(|| {
        format!(
            "unknown {whose} name escaping method specified, must be one of 'allow-utf-8', \
             'underscores', 'dots', or 'values', got {}",
            go_quote(name)
        )
    })
}
