//! From a file, or text, to a [`Config`].

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::complete;
use super::decode;
use super::error::{Complaint, ConfigError};
use super::glob::matching_files;
use super::otlp::OtlpConfig;
use super::record::{Record, Value};
use super::render;
use super::schema::Kind;
use super::sections::{CONFIG, SCRAPE_CONFIG_FILE};
use super::yaml;
use super::{
    AlertingConfig, GlobalConfig, RemoteReadConfig, RemoteWriteConfig, ScrapeConfig, StaticTargets,
    StorageConfig, TracingConfig,
};
use crate::model::{Labels, go_quote};

/// How long samples are kept when nobody says.
const RETENTION_MS: i64 = 15 * 24 * 60 * 60 * 1000;

/// A configuration that has been read, completed and checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// Defaults for every job.
    pub global: GlobalConfig,
    /// Every job, those of [`Config::scrape_config_files`] included.
    pub scrape_configs: Vec<ScrapeConfig>,
    /// Where alerts are sent.
    pub alerting: AlertingConfig,
    /// Receivers of what is stored.
    pub remote_write_configs: Vec<RemoteWriteConfig>,
    /// What may be set of storage while the server runs.
    pub storage: StorageConfig,
    /// Patterns of files with further jobs.
    pub scrape_config_files: Vec<String>,
    /// Patterns of files with rules.
    pub rule_files: Vec<String>,
    /// Things to tell the user that do not keep the configuration from being used.
    pub warnings: Vec<String>,
    /// Other servers that are sources of queries.
    pub remote_read: Vec<RemoteReadConfig>,
    /// How OTLP becomes series.
    pub otlp: OtlpConfig,
    /// Where traces are sent.
    pub tracing: Option<TracingConfig>,
    yaml: String,
    jobs: Jobs,
    inactive: Vec<String>,
    agent_refusal: Option<&'static str>,
}

/// The jobs as they were completed, to be shown.
#[derive(Clone)]
struct Jobs(Arc<[Record]>);

impl fmt::Debug for Jobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|job| job.text("job_name"))).finish()
    }
}

impl Config {
    /// Why a server in agent mode cannot run on it, if so.
    pub fn agent_refusal(&self) -> Option<&str> {
        self.agent_refusal
    }

    /// The configuration as text, defaults filled in and secrets masked, as
    /// `/api/v1/status/config` shows it.
    pub fn to_yaml(&self) -> &str {
        &self.yaml
    }

    /// The same of one job; `None`: there is no such job.
    pub fn job_to_yaml(&self, job_name: &str) -> Option<String> {
        let job = self.jobs.0.iter().find(|job| job.text("job_name") == job_name)?;
        Some(render::render(job))
    }

    /// One line for each section that is valid and that this server does not act on yet.
    pub fn inactive(&self) -> Vec<String> {
        self.inactive.clone()
    }
}

/// What holds where the file leaves it open, as the flags of the process say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Defaults {
    /// How long samples are kept; 0 sets no limit.
    pub retention_ms: i64,
    /// Bytes that stored data may take; 0 sets no limit.
    pub retention_bytes: i64,
    /// `extra_scrape_metrics` is on.
    pub extra_scrape_metrics: bool,
    /// Targets are asked for protobuf first.
    pub protobuf_first: bool,
}

impl Default for Defaults {
    fn default() -> Self {
        Self {
            retention_ms: RETENTION_MS,
            retention_bytes: 0,
            extra_scrape_metrics: false,
            protobuf_first: false,
        }
    }
}

/// Reads the file at `path`; paths in it are relative to its folder.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    load_with(path, Defaults::default())
}

/// [`load`] with other defaults.
pub fn load_with(path: &Path, defaults: Defaults) -> Result<Config, ConfigError> {
    let name = path.display().to_string();
    let text = read(path, &name)?;
    let folder = path.parent().unwrap_or(Path::new("")).to_owned();
    build(&text, &name, &folder, defaults)
}

/// Reads `text` as if it stood in `file`.
pub fn parse(text: &str, file: &str) -> Result<Config, ConfigError> {
    parse_with(text, file, Defaults::default())
}

/// [`parse`] with other defaults.
pub fn parse_with(text: &str, file: &str, defaults: Defaults) -> Result<Config, ConfigError> {
    let folder = Path::new(file).parent().unwrap_or(Path::new("")).to_owned();
    build(text, file, &folder, defaults)
}

/// Reads a file of target groups, as file discovery does: YAML or JSON, a list of mappings with
/// `targets` and `labels`.
pub fn parse_targets(text: &str, file: &str) -> Result<Vec<StaticTargets>, ConfigError> {
    let groups = || -> Result<Vec<StaticTargets>, Complaint> {
        let Some(node) = yaml::parse(text)? else { return Ok(Vec::new()) };
        decode::target_groups(&node)?.iter().map(|group| Ok(static_targets(group))).collect()
    };
    groups().map_err(|complaint| complaint.in_file(file))
}

/// The configuration of a server that has none: it scrapes itself at `address` (`host:port`).
pub fn embedded_default(address: &str, defaults: Defaults) -> Config {
    let text = format!(
        "global:\n  scrape_interval: 15s\nscrape_configs:\n  - job_name: narthex\n    \
         static_configs:\n      - targets: [{}]\n",
        go_quote(address)
    );
    parse_with(&text, "embedded default", defaults)
        .expect("BUG: the embedded configuration is valid")
}

pub(super) fn read(path: &Path, name: &str) -> Result<String, ConfigError> {
    let refuse =
        |message: String| ConfigError { file: name.to_owned(), line: 0, column: 0, message };
    let bytes = std::fs::read(path).map_err(|error| refuse(format!("open: {error}")))?;
    String::from_utf8(bytes).map_err(|error| {
        let offset = error.utf8_error().valid_up_to();
        refuse(format!("not UTF-8 text at byte {offset}"))
    })
}

fn build(text: &str, file: &str, folder: &Path, defaults: Defaults) -> Result<Config, ConfigError> {
    let in_file = |complaint: Complaint| complaint.in_file(file);
    let mut config = match yaml::parse(text).map_err(in_file)? {
        Some(node) => decode::section(&node, &CONFIG).map_err(in_file)?,
        None => Record::filled(&CONFIG),
    };
    complete::set_defaults(&mut config, defaults);
    let warnings = complete::complete(&mut config).map_err(in_file)?;
    join_paths(&mut config, folder);
    let yaml = render::render(&config);
    let mut jobs = config.records("scrape_configs").to_vec();
    let global = config.record("global").expect("BUG: global is a section").clone();
    add_jobs_of_files(&mut jobs, &config, &global)?;
    Ok(Config {
        global: GlobalConfig::of(&global),
        scrape_configs: jobs.iter().map(ScrapeConfig::of).collect(),
        alerting: AlertingConfig::of(config.record("alerting")),
        remote_write_configs: config
            .records("remote_write")
            .iter()
            .map(RemoteWriteConfig::of)
            .collect(),
        storage: StorageConfig::of(config.record("storage")),
        scrape_config_files: config.texts("scrape_config_files").to_vec(),
        rule_files: config.texts("rule_files").to_vec(),
        warnings,
        remote_read: config.records("remote_read").iter().map(RemoteReadConfig::of).collect(),
        otlp: OtlpConfig::of(config.record("otlp")),
        tracing: TracingConfig::of(config.record("tracing")),
        yaml,
        jobs: Jobs(jobs.into()),
        inactive: inactive_sections(&config),
        agent_refusal: agent_refusal(&config),
    })
}

/// COMPAT: the order and the texts are Prometheus's.
fn agent_refusal(config: &Record) -> Option<&'static str> {
    let refusals = [
        ("alerting", "field alerting is not allowed in agent mode"),
        ("rule_files", "field rule_files is not allowed in agent mode"),
        ("remote_read", "field remote_read is not allowed in agent mode"),
    ];
    refusals.into_iter().find(|(key, _)| config.is_set(key)).map(|(_, why)| why)
}

/// Jobs of further files: each is completed from the main file's `global`, names are unique over
/// all of them.
fn add_jobs_of_files(
    jobs: &mut Vec<Record>,
    config: &Record,
    global: &Record,
) -> Result<(), ConfigError> {
    let mut origins = vec!["main config file".to_owned(); jobs.len()];
    for pattern in config.texts("scrape_config_files") {
        for path in matching_files(pattern) {
            let name = path.display().to_string();
            let text = read(&path, &name)?;
            let folder = path.parent().unwrap_or(Path::new("")).to_owned();
            let in_file = |complaint: Complaint| complaint.in_file(&name);
            let Some(node) = yaml::parse(&text).map_err(in_file)? else { continue };
            let mut file = decode::section(&node, &SCRAPE_CONFIG_FILE).map_err(in_file)?;
            for job in file.records_mut("scrape_configs") {
                complete::complete_job(job, global).map_err(in_file)?;
                let job_name = job.text("job_name");
                if let Some(i) = jobs.iter().position(|known| known.text("job_name") == job_name) {
                    let message = format!(
                        "found multiple scrape configs with job name {}, first found in {}",
                        go_quote(job_name),
                        origins[i]
                    );
                    return Err(in_file(Complaint::new(job.line, job.column, message)));
                }
                join_paths(job, &folder);
                jobs.push(job.clone());
                origins.push(go_quote(&name));
            }
        }
    }
    Ok(())
}

/// Makes relative paths relative to `folder`.
fn join_paths(record: &mut Record, folder: &Path) {
    for (field, value) in record.iter_mut() {
        match (field.kind, value) {
            (Kind::Path, Value::Text(path)) => join(path, folder),
            (Kind::Paths, Value::Texts(Some(paths))) => {
                for path in paths {
                    join(path, folder);
                }
            }
            (_, Value::Record(inner)) => join_paths(inner, folder),
            (_, Value::Records(inner)) => {
                for record in inner {
                    join_paths(record, folder);
                }
            }
            (_, Value::RecordMap(inner)) => {
                for (_, record) in inner {
                    join_paths(record, folder);
                }
            }
            _ => {}
        }
    }
}

pub(super) fn join(path: &mut String, folder: &Path) {
    if path.is_empty() || Path::new(path.as_str()).is_absolute() || folder.as_os_str().is_empty() {
        return;
    }
    *path = folder.join(path.as_str()).display().to_string();
}

pub(super) fn static_targets(group: &Record) -> StaticTargets {
    StaticTargets {
        targets: group.texts("targets").to_vec(),
        labels: Labels::from_pairs(
            group.text_map("labels").iter().map(|(name, value)| (name, value)),
        ),
    }
}

/// What is valid and not acted on yet.
fn inactive_sections(config: &Record) -> Vec<String> {
    let mut lines = Vec::new();
    for (key, why) in [("runtime", "there is no garbage collector to tune")] {
        if config.record(key).is_some_and(|section| section.line > 0) {
            lines.push(format!("{key}: {why}"));
        }
    }
    lines
}
