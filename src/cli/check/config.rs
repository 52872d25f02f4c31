//! `narthex check config`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{Lint, Streams, Verdict, rules};
use crate::config::{
    self, Config, DiscoveryConfig, HttpClientConfig, ScrapeConfig, SecretSource, glob,
};
use crate::model::{format_duration, go_quote};
use crate::rules::Source;

/// How configurations are checked.
pub(super) struct How {
    pub(super) syntax_only: bool,
    pub(super) agent: bool,
    pub(super) lint: Lint,
    pub(super) source: Source,
}

/// Checks configurations and the files that they name, one after the other.
pub(super) fn check_files(
    files: &[PathBuf],
    how: &How,
    streams: &mut Streams<'_>,
) -> io::Result<Verdict> {
    let mut all = Verdict::default();
    for file in files {
        let name = file.display();
        writeln!(streams.out, "Checking {name}")?;
        let (rule_files, jobs) = match check(file, how, streams)? {
            Ok((rule_files, jobs)) => {
                if !rule_files.is_empty() {
                    writeln!(streams.out, "  SUCCESS: {} rule files found", rule_files.len())?;
                }
                writeln!(streams.out, " SUCCESS: {name} is valid prometheus config file syntax")?;
                (rule_files, jobs)
            }
            Err(error) => {
                writeln!(streams.err, "  FAILED: {error}")?;
                all.is_wrong = true;
                (Vec::new(), Vec::new())
            }
        };
        writeln!(streams.out)?;
        if !how.syntax_only {
            all.is_suspicious |= has_long_interval(&jobs, how.lint, streams)?;
            all.add(rules::check_files(&rule_files, how.lint, &how.source, streams)?);
        }
    }
    Ok(all)
}

type Named = (Vec<PathBuf>, Vec<ScrapeConfig>);

/// Reads a configuration and looks for the files that it names. Gives its rule files and jobs.
fn check(file: &Path, how: &How, streams: &mut Streams<'_>) -> io::Result<Result<Named, String>> {
    let config = match config::load(file) {
        Ok(config) => config,
        Err(error) => return Ok(Err(error.to_string())),
    };
    if how.agent
        && let Some(refusal) = config.agent_refusal()
    {
        return Ok(Err(refusal.to_owned()));
    }
    if how.syntax_only {
        return Ok(Ok((Vec::new(), config.scrape_configs)));
    }
    let rule_files = match rule_files(&config) {
        Ok(files) => files,
        Err(error) => return Ok(Err(error)),
    };
    for job in &config.scrape_configs {
        if let Err(error) = check_client(&job.http_client) {
            return Ok(Err(error));
        }
        for discovery in &job.discovery_configs {
            let DiscoveryConfig::File(files) = discovery else { continue };
            for pattern in &files.files {
                match check_targets(pattern) {
                    Ok(true) => {}
                    Ok(false) => writeln!(
                        streams.out,
                        "  WARNING: file {} for file_sd in scrape job {} does not exist",
                        go_quote(pattern),
                        go_quote(&job.job_name)
                    )?,
                    Err(error) => return Ok(Err(error)),
                }
            }
        }
    }
    Ok(Ok((rule_files, config.scrape_configs)))
}

fn rule_files(config: &Config) -> Result<Vec<PathBuf>, String> {
    let mut files = Vec::new();
    for pattern in &config.rule_files {
        let found = glob(pattern).map_err(|error| error.to_string())?;
        if found.is_empty() && !pattern.contains('*') {
            return Err(format!("{} does not point to an existing file", go_quote(pattern)));
        }
        files.extend(found);
    }
    Ok(files)
}

fn check_client(client: &HttpClientConfig) -> Result<(), String> {
    if let Some(authorization) = &client.authorization {
        let what = "authorization credentials or bearer token file";
        check_exists(&authorization.credentials, what)?;
    }
    let tls = &client.tls;
    match (&tls.cert, &tls.key) {
        (SecretSource::File(cert), SecretSource::Unset) => {
            let cert = go_quote(cert);
            return Err(format!("client cert file {cert} specified without client key file"));
        }
        (SecretSource::Unset, SecretSource::File(key)) => {
            let key = go_quote(key);
            return Err(format!("client key file {key} specified without client cert file"));
        }
        _ => {}
    }
    check_exists(&tls.cert, "client cert file")?;
    check_exists(&tls.key, "client key file")
}

/// COMPAT: the file's error is Go's.
fn check_exists(source: &SecretSource, what: &str) -> Result<(), String> {
    let SecretSource::File(path) = source else { return Ok(()) };
    let Err(error) = fs::metadata(path) else { return Ok(()) };
    let why = match error.kind() {
        io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    };
    Err(format!("error checking {what} {}: stat {path}: {why}", go_quote(path)))
}

/// Reads the files of targets that a pattern names; whether there are some.
fn check_targets(pattern: &str) -> Result<bool, String> {
    let found = glob(pattern).map_err(|error| error.to_string())?;
    for path in &found {
        let name = path.display().to_string();
        let refuse = |why: String| format!("checking SD file {}: {why}", go_quote(pattern));
        let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase());
        if !matches!(extension.as_deref(), Some("json" | "yml" | "yaml")) {
            let dotted = extension.map(|e| format!(".{e}")).unwrap_or_default();
            return Err(refuse(format!("invalid file extension: {}", go_quote(&dotted))));
        }
        let text = fs::read_to_string(path).map_err(|error| refuse(error.to_string()))?;
        config::parse_targets(&text, &name).map_err(|error| refuse(error.to_string()))?;
    }
    Ok(!found.is_empty())
}

fn has_long_interval(
    jobs: &[ScrapeConfig],
    lint: Lint,
    streams: &mut Streams<'_>,
) -> io::Result<bool> {
    let Some(longest_ms) = lint.interval_ms.filter(|ms| *ms > 0) else { return Ok(false) };
    let Some(job) = jobs.iter().find(|job| job.scrape_interval_ms >= longest_ms) else {
        return Ok(false);
    };
    writeln!(
        streams.err,
        "  FAILED: too long scrape interval found, data point will be marked as stale - job: {}, \
         interval: {}",
        job.job_name,
        format_duration(job.scrape_interval_ms)
    )?;
    Ok(true)
}
