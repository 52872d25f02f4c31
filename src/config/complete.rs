//! From what was written to what holds: jobs take what they leave open from `global`, and what
//! spans several sections is checked.

use super::discovery::is_glob;
use super::environment;
use super::error::Complaint;
use super::load::Defaults;
use super::record::{Record, Value};
use super::scrape::ScrapeProtocol;
use super::sections::{RETENTION, RUNTIME, check_protocol, check_protocols, escaping_scheme};
use crate::model::{EscapingScheme, NameScheme, go_quote};

/// Completes and checks the whole file. Gives warnings that do not keep it from being used.
pub(super) fn complete(config: &mut Record) -> Result<Vec<String>, Complaint> {
    let mut global = section_mut(config, "global").clone();
    let place = (global.line, global.column);
    complete_global(&mut global).map_err(|message| Complaint::new(place.0, place.1, message))?;
    check_patterns(config)?;
    let scheme = name_scheme(&global);
    for job in config.records_mut("scrape_configs") {
        complete_job(job, &global)?;
    }
    if let Some((at, name)) = twin(config.records("scrape_configs"), "job_name") {
        let name = go_quote(name);
        let message = format!("found multiple scrape configs with job name {name}");
        return Err(Complaint::new(at.line, at.column, message));
    }
    check_rules_of_others(config, scheme)?;
    for (key, what) in [("remote_write", "remote write"), ("remote_read", "remote read")] {
        if let Some((at, name)) = twin(config.records(key), "name") {
            let name = go_quote(name);
            let message = format!("found multiple {what} configs with job name {name}");
            return Err(Complaint::new(at.line, at.column, message));
        }
    }
    check_translation(config, scheme)?;
    let warnings = expand_labels(&mut global);
    config.set("global", Value::Record(Box::new(global)));
    Ok(warnings)
}

/// Fills in what the flags of the process make the default.
pub(super) fn set_defaults(config: &mut Record, defaults: Defaults) {
    let global = section_mut(config, "global");
    if defaults.extra_scrape_metrics && !global.is_set_at_all("extra_scrape_metrics") {
        global.set("extra_scrape_metrics", Value::Bool(true));
    }
    if defaults.protobuf_first && matches!(global.value("scrape_protocols"), Value::Texts(None)) {
        let names = PROTOBUF_FIRST.iter().map(|protocol| protocol.as_str().to_owned());
        global.set("scrape_protocols", Value::Texts(Some(names.collect())));
    }
    let tsdb = section_mut(section_mut(config, "storage"), "tsdb");
    if !tsdb.is_set_at_all("retention") {
        let mut retention = Record::zero(&RETENTION);
        retention.set("time", Value::DurationMs(defaults.retention_ms));
        retention.set("size", Value::Bytes(defaults.retention_bytes));
        tsdb.set("retention", Value::Record(Box::new(retention)));
    }
    // An empty section is none.
    if !config.is_set("runtime") {
        config.set("runtime", Value::Record(Box::new(Record::filled(&RUNTIME))));
    }
}

fn section_mut<'a>(record: &'a mut Record, key: &str) -> &'a mut Record {
    match record.value_mut(key) {
        Value::Record(section) => section,
        _ => unreachable!("BUG: {key} is a section"),
    }
}

/// The first record whose name an earlier one has; empty names do not count.
fn twin<'a>(records: &'a [Record], key: &str) -> Option<(&'a Record, &'a str)> {
    records.iter().enumerate().find_map(|(i, record)| {
        let name = record.text(key);
        let is_twin = !name.is_empty() && records[..i].iter().any(|r| r.text(key) == name);
        is_twin.then_some((record, name))
    })
}

fn complete_global(global: &mut Record) -> Result<(), String> {
    if global.line == 0 {
        let scheme = EscapingScheme::AllowUtf8.as_str();
        global.set("metric_name_escaping_scheme", Value::Text(scheme.to_owned()));
    }
    fill(global, "metric_name_validation_scheme", Value::Text("utf8".to_owned()));
    let scheme = name_scheme(global);
    for (name, _) in global.text_map("external_labels") {
        if !scheme.is_label_name(name) {
            return Err(format!("{} is not a valid label name", go_quote(name)));
        }
    }
    fill(global, "scrape_interval", Value::DurationMs(60_000));
    let interval_ms = global.duration_ms("scrape_interval");
    if global.duration_ms("scrape_timeout") > interval_ms {
        return Err("global scrape timeout greater than scrape interval".to_owned());
    }
    fill(global, "scrape_timeout", Value::DurationMs(interval_ms.min(10_000)));
    fill(global, "evaluation_interval", Value::DurationMs(60_000));
    for key in ["scrape_native_histograms", "extra_scrape_metrics"] {
        if !global.is_set_at_all(key) {
            global.set(key, Value::Bool(false));
        }
    }
    if let Value::Texts(Some(names)) = global.value("scrape_protocols") {
        check_protocols(names).map_err(|message| format!("{message} for global config"))?;
    }
    Ok(())
}

fn fill(record: &mut Record, key: &str, value: Value) {
    if !record.is_set(key) {
        record.set(key, value);
    }
}

fn name_scheme(record: &Record) -> NameScheme {
    match record.text("metric_name_validation_scheme") {
        "legacy" => NameScheme::Legacy,
        _ => NameScheme::Utf8,
    }
}

/// What a job takes from `global` when it says nothing itself.
const INHERITED: [&str; 9] = [
    "scrape_interval",
    "body_size_limit",
    "sample_limit",
    "target_limit",
    "label_limit",
    "label_name_length_limit",
    "label_value_length_limit",
    "keep_dropped_targets",
    "scrape_failure_log_file",
];

/// Completes one job and checks it.
pub(super) fn complete_job(job: &mut Record, global: &Record) -> Result<(), Complaint> {
    let (line, column) = (job.line, job.column);
    let complain = |message: String| Complaint::new(line, column, message);
    for key in INHERITED {
        fill(job, key, global.value(key).clone());
    }
    let interval_ms = job.duration_ms("scrape_interval");
    let name = go_quote(job.text("job_name"));
    if job.duration_ms("scrape_timeout") > interval_ms {
        return Err(complain(format!(
            "scrape timeout greater than scrape interval for scrape config with job name {name}"
        )));
    }
    let timeout_ms = global.duration_ms("scrape_timeout").min(interval_ms);
    fill(job, "scrape_timeout", Value::DurationMs(timeout_ms));
    for key in [
        "scrape_native_histograms",
        "extra_scrape_metrics",
        "convert_classic_histograms_to_nhcb",
        "always_scrape_classic_histograms",
    ] {
        if !job.is_set_at_all(key) {
            job.set(key, Value::Bool(global.flag(key)));
        }
    }
    complete_protocols(job, global, &name).map_err(complain)?;
    let scheme = complete_schemes(job, global).map_err(complain)?;
    for key in ["relabel_configs", "metric_relabel_configs"] {
        check_rules(job, key, scheme)?;
    }
    Ok(())
}

fn complete_protocols(job: &mut Record, global: &Record, name: &str) -> Result<(), String> {
    if matches!(job.value("scrape_protocols"), Value::Texts(None)) {
        let own = if job.flag("scrape_native_histograms") {
            &PROTOBUF_FIRST[..]
        } else {
            &PROTOBUF_FIRST[1..]
        };
        let value = match global.value("scrape_protocols") {
            Value::Texts(Some(names)) => names.clone(),
            _ => own.iter().map(|protocol| protocol.as_str().to_owned()).collect(),
        };
        job.set("scrape_protocols", Value::Texts(Some(value)));
    }
    check_protocols(job.texts("scrape_protocols"))
        .map_err(|message| format!("{message} for scrape config with job name {name}"))?;
    if job.is_set("fallback_scrape_protocol") {
        check_protocol(job.text("fallback_scrape_protocol")).map_err(|message| {
            format!(
                "invalid fallback_scrape_protocol for scrape config with job name {name}: \
                 {message}"
            )
        })?;
    }
    Ok(())
}

/// What targets are asked for by default, the most wanted first; protobuf only where native
/// histograms are wanted.
const PROTOBUF_FIRST: [ScrapeProtocol; 5] = [
    ScrapeProtocol::PrometheusProto,
    ScrapeProtocol::OpenMetricsText1_0_0,
    ScrapeProtocol::OpenMetricsText0_0_1,
    ScrapeProtocol::PrometheusText1_0_0,
    ScrapeProtocol::PrometheusText0_0_4,
];

fn default_escaping(scheme: NameScheme) -> EscapingScheme {
    match scheme {
        NameScheme::Legacy => EscapingScheme::Underscores,
        NameScheme::Utf8 => EscapingScheme::AllowUtf8,
    }
}

fn complete_schemes(job: &mut Record, global: &Record) -> Result<NameScheme, String> {
    let is_own = job.is_set("metric_name_validation_scheme");
    fill(
        job,
        "metric_name_validation_scheme",
        global.value("metric_name_validation_scheme").clone(),
    );
    let scheme = name_scheme(job);
    let global_escaping = match global.text("metric_name_escaping_scheme") {
        "" => default_escaping(name_scheme(global)),
        name => escaping_scheme(name, "global")?,
    };
    let escaping = match job.text("metric_name_escaping_scheme") {
        "" if is_own => default_escaping(scheme),
        "" => global_escaping,
        name => escaping_scheme(name, "scrape config")?,
    };
    if escaping == EscapingScheme::AllowUtf8 && scheme == NameScheme::Legacy {
        return Err(
            "utf8 metric names requested but validation scheme is not set to UTF8".to_owned()
        );
    }
    job.set("metric_name_escaping_scheme", Value::Text(escaping.as_str().to_owned()));
    Ok(scheme)
}

/// Checks the rules under `key` and tells them the scheme.
fn check_rules(record: &mut Record, key: &str, scheme: NameScheme) -> Result<(), Complaint> {
    let (line, column) = (record.line, record.column);
    for (i, rule) in record.rules_mut(key).iter_mut().enumerate() {
        rule.name_scheme = scheme;
        rule.validate()
            .map_err(|error| Complaint::new(line, column, format!("{key}[{i}]: {error}")))?;
    }
    Ok(())
}

fn check_rules_of_others(config: &mut Record, scheme: NameScheme) -> Result<(), Complaint> {
    if let Value::Record(alerting) = config.value_mut("alerting") {
        check_rules(alerting, "alert_relabel_configs", scheme)?;
        for manager in alerting.records_mut("alertmanagers") {
            check_rules(manager, "alert_relabel_configs", scheme)?;
            check_rules(manager, "relabel_configs", scheme)?;
        }
    }
    for write in config.records_mut("remote_write") {
        check_rules(write, "write_relabel_configs", scheme)?;
    }
    Ok(())
}

fn check_patterns(config: &Record) -> Result<(), Complaint> {
    for (key, what) in [("rule_files", "rule"), ("scrape_config_files", "scrape config")] {
        if let Some(path) = config.texts(key).iter().find(|path| !is_glob(path)) {
            let message = format!("invalid {what} file path {}", go_quote(path));
            return Err(Complaint::new(config.line, config.column, message));
        }
    }
    Ok(())
}

fn check_translation(config: &Record, scheme: NameScheme) -> Result<(), Complaint> {
    let Some(otlp) = config.record("otlp") else { return Ok(()) };
    let strategy = otlp.text("translation_strategy");
    let message = match strategy {
        "" | "UnderscoreEscapingWithSuffixes" | "UnderscoreEscapingWithoutSuffixes" => {
            return Ok(());
        }
        "NoTranslation" | "NoUTF8EscapingWithSuffixes" if scheme == NameScheme::Utf8 => {
            return Ok(());
        }
        "NoTranslation" | "NoUTF8EscapingWithSuffixes" => format!(
            "OTLP translation strategy {} is not allowed when UTF8 is disabled",
            go_quote(strategy)
        ),
        _ => format!("unsupported OTLP translation strategy {}", go_quote(strategy)),
    };
    Err(Complaint::new(otlp.line, otlp.column, message))
}

fn expand_labels(global: &mut Record) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Value::TextMap(labels) = global.value_mut("external_labels") {
        for (_, value) in labels {
            *value = environment::expand(value, |name| {
                let found = std::env::var(name).unwrap_or_default();
                if found.is_empty() {
                    warnings.push(format!("external_labels: environment variable {name} is empty"));
                }
                found
            });
        }
    }
    warnings
}
