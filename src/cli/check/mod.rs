//! `narthex check …`: whether files are in order.
//!
//! COMPAT: output and exit status are those of Prometheus's promtool: 0 when all is in order, 1
//! when something is wrong, 3 for what is only suspicious where `--lint-fatal` is given.

mod config;
mod rules;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand};

use crate::http::check_web_config;
use crate::model::{go_quote, parse_duration};
use crate::promql::ParseOptions;
use crate::rules::Source;

const EXIT_FAILURE: u8 = 1;
const EXIT_LINT: u8 = 3;

#[derive(Debug, Parser)]
#[command(name = "narthex check", about = "Say whether files are in order.")]
struct Line {
    #[command(subcommand)]
    what: What,
    /// Names of features, separated by commas; those that extend the query language count.
    #[arg(long = "enable-feature", value_name = "FEATURES", global = true)]
    features: Vec<String>,
    /// How far back queries of the server look for a sample.
    #[arg(long = "query.lookback-delta", default_value = "5m", global = true)]
    lookback: String,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Check configuration files, and the files that they name.
    Config {
        /// Look at the text only, not at files that it names.
        #[arg(long)]
        syntax_only: bool,
        /// What to find suspicious: all, duplicate-rules, too-long-scrape-interval, none.
        #[arg(long, default_value = "duplicate-rules")]
        lint: String,
        #[command(flatten)]
        common: Common,
        /// The server runs in agent mode.
        #[arg(long)]
        agent: bool,
        /// The files.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Check web configuration files, and the files that they name.
    WebConfig {
        /// The files.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Check files of rules; standard input where none is named.
    Rules {
        /// What to find suspicious: all, duplicate-rules, none.
        #[arg(long, default_value = "duplicate-rules")]
        lint: String,
        #[command(flatten)]
        common: Common,
        /// The files.
        #[arg(value_name = "FILE")]
        files: Vec<PathBuf>,
    },
}

#[derive(Debug, Args)]
struct Common {
    /// End with status 3 where something is suspicious.
    #[arg(long)]
    lint_fatal: bool,
    /// Fields of rules that nobody knows are no error.
    #[arg(long)]
    ignore_unknown_fields: bool,
}

/// What is found suspicious.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Lint {
    duplicate_rules: bool,
    /// Scrape intervals from here on, in milliseconds.
    interval_ms: Option<i64>,
}

impl Lint {
    /// Reads the option; names that nobody knows are told and left out.
    fn parse(text: &str, lookback_ms: Option<i64>, err: &mut dyn Write) -> io::Result<Self> {
        let mut lint = Self::default();
        let mut is_none = false;
        for name in text.split(',') {
            match (name, lookback_ms) {
                ("all", _) => lint = Self { duplicate_rules: true, interval_ms: lookback_ms },
                ("duplicate-rules", _) => lint.duplicate_rules = true,
                ("too-long-scrape-interval", Some(_)) => lint.interval_ms = lookback_ms,
                ("none", _) => is_none = true,
                _ => writeln!(err, "WARNING: unknown lint option: {}", go_quote(name))?,
            }
        }
        Ok(if is_none { Self::default() } else { lint })
    }
}

/// What came of a check.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Verdict {
    is_wrong: bool,
    is_suspicious: bool,
}

impl Verdict {
    fn add(&mut self, other: Self) {
        self.is_wrong |= other.is_wrong;
        self.is_suspicious |= other.is_suspicious;
    }

    fn exit_code(self, lint_is_fatal: bool) -> u8 {
        match self {
            Self { is_wrong: true, .. } => EXIT_FAILURE,
            Self { is_suspicious: true, .. } if lint_is_fatal => EXIT_LINT,
            _ => 0,
        }
    }
}

/// Where the two streams go.
struct Streams<'a> {
    out: &'a mut dyn Write,
    err: &'a mut dyn Write,
}

/// Runs the command of a line whose first two words are the program and `check`.
pub(super) fn run(line: &[OsString]) -> ExitCode {
    let mut streams = Streams { out: &mut io::stdout(), err: &mut io::stderr() };
    // A reader that went away wants no more.
    ExitCode::from(run_with(line, &mut io::stdin(), &mut streams).unwrap_or(EXIT_FAILURE))
}

fn run_with(
    line: &[OsString],
    input: &mut dyn io::Read,
    streams: &mut Streams<'_>,
) -> io::Result<u8> {
    let line = match Line::try_parse_from(&line[1..]) {
        Ok(line) => line,
        Err(error) => {
            let is_answer =
                matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            write!(if is_answer { &mut *streams.out } else { &mut *streams.err }, "{error}")?;
            return Ok(if is_answer { 0 } else { EXIT_FAILURE });
        }
    };
    let lookback_ms = match parse_duration(&line.lookback) {
        Ok(lookback_ms) => lookback_ms,
        Err(error) => {
            writeln!(streams.err, "error: --query.lookback-delta: {error}")?;
            return Ok(EXIT_FAILURE);
        }
    };
    let has = |name: &str| line.features.iter().any(|list| list.split(',').any(|f| f == name));
    let parse = ParseOptions {
        experimental_functions: has("promql-experimental-functions"),
        extended_selectors: has("promql-extended-range-selectors"),
        ..ParseOptions::default()
    };
    let source = |common: &Common| Source {
        parse,
        ignores_unknown: common.ignore_unknown_fields,
        ..Source::default()
    };
    match line.what {
        What::Rules { lint, common, files } => {
            let lint = Lint::parse(&lint, None, streams.err)?;
            let (source, fatal) = (source(&common), common.lint_fatal);
            let verdict = if files.is_empty() {
                rules::check_input(input, lint, &source, streams)?
            } else {
                if !all_exist(&files, streams)? {
                    return Ok(EXIT_FAILURE);
                }
                rules::check_files(&files, lint, &source, streams)?
            };
            Ok(verdict.exit_code(fatal))
        }
        What::WebConfig { files } => {
            if !all_exist(&files, streams)? {
                return Ok(EXIT_FAILURE);
            }
            Ok(check_web_files(&files, streams)?.exit_code(false))
        }
        What::Config { syntax_only, lint, common, agent, files } => {
            let lint = Lint::parse(&lint, Some(lookback_ms), streams.err)?;
            let (source, fatal) = (source(&common), common.lint_fatal);
            if !all_exist(&files, streams)? {
                return Ok(EXIT_FAILURE);
            }
            let how = config::How { syntax_only, agent, lint, source };
            Ok(config::check_files(&files, &how, streams)?.exit_code(fatal))
        }
    }
}

/// COMPAT: all of it is told on standard error.
fn check_web_files(files: &[PathBuf], streams: &mut Streams<'_>) -> io::Result<Verdict> {
    let mut all = Verdict::default();
    for file in files {
        let name = file.display();
        match check_web_config(file) {
            Ok(warnings) => {
                for warning in warnings {
                    writeln!(streams.err, "{name} WARNING: {warning}")?;
                }
                writeln!(streams.err, "{name} SUCCESS")?;
            }
            Err(error) => {
                writeln!(streams.err, "{name} FAILED: {error}")?;
                all.is_wrong = true;
            }
        }
    }
    Ok(all)
}

fn all_exist(files: &[PathBuf], streams: &mut Streams<'_>) -> io::Result<bool> {
    for file in files {
        if !file.exists() {
            writeln!(streams.err, "error: path '{}' does not exist", file.display())?;
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests;
