//! `narthex tool tsdb …`: work on a data directory that no server has open.
//!
//! Results go to standard output, progress and what is odd to standard error.

use std::fmt::Display;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Subcommand;

use super::Failure;
use super::bar::Bar;
use crate::db::{Database, Event, Freed, ImportProgress, Observer, Options, PrometheusImport};
use crate::http::parse_time;
use crate::model::{TimeRange, parse_duration};

/// The commands of `narthex tool tsdb`.
#[derive(Debug, Subcommand)]
pub(super) enum Tsdb {
    /// Copy the blocks and the log of a Prometheus into this format. What was broken off goes on
    /// where it was; nothing of Prometheus's is changed.
    Import {
        /// Data directory of a Prometheus that does not run.
        prometheus_dir: PathBuf,
        #[command(flatten)]
        data: Data,
    },
    /// Write samples as blocks that Prometheus opens, one for each two hours.
    Export {
        /// Where the blocks go; created where it is missing.
        out_dir: PathBuf,
        #[command(flatten)]
        data: Data,
        /// First time, as a Unix timestamp or RFC 3339. All that is there by default.
        #[arg(long, value_name = "TIME")]
        min_time: Option<String>,
        /// Last time, likewise.
        #[arg(long, value_name = "TIME")]
        max_time: Option<String>,
    },
    /// Remove blocks of a Prometheus that was taken over: those past retention and those that
    /// were imported.
    DropPrometheus {
        #[command(flatten)]
        data: Data,
        /// How long data is kept; 0 keeps all but what was imported.
        #[arg(
            long = "storage.tsdb.retention.time",
            value_name = "DURATION",
            default_value = "15d"
        )]
        retention: String,
        /// Remove everything of Prometheus's, imported or not.
        #[arg(long)]
        all: bool,
        /// Say what would be removed.
        #[arg(long)]
        dry_run: bool,
    },
}

/// Where the data is.
#[derive(Debug, clap::Args)]
pub(super) struct Data {
    /// The data directory.
    #[arg(long = "storage.tsdb.path", value_name = "DIR", default_value = "data/")]
    pub(super) path: PathBuf,
}

/// Runs a command.
pub(super) fn run(command: Tsdb) -> Result<(), Failure> {
    match command {
        Tsdb::Import { prometheus_dir, data } => import(&prometheus_dir, &data.path),
        Tsdb::Export { out_dir, data, min_time, max_time } => {
            let min_ms = time(min_time.as_deref(), i64::MIN)?;
            let max_ms = time(max_time.as_deref(), i64::MAX)?;
            export(&data.path, &out_dir, TimeRange { min_ms, max_ms })
        }
        Tsdb::DropPrometheus { data, retention, all, dry_run } => {
            let retention_ms = parse_duration(&retention)
                .map_err(|e| Failure::Usage(format!("--storage.tsdb.retention.time: {e}")))?;
            let what = if all { Freed::Everything } else { Freed::Expired { retention_ms } };
            drop_prometheus(&data.path, what, dry_run)
        }
    }
}

pub(super) fn time(text: Option<&str>, default: i64) -> Result<i64, Failure> {
    let Some(text) = text else { return Ok(default) };
    parse_time(text).map_err(|_| Failure::Usage(format!("{text:?} is not a time")))
}

/// Events that somebody at a terminal wants to see.
#[derive(Debug)]
pub(super) struct Terminal;

impl Observer for Terminal {
    fn event(&self, event: &Event<'_>) {
        if matches!(
            event,
            Event::Warning(_) | Event::Quarantined { .. } | Event::MaintenanceFailed { .. }
        ) {
            let _ = writeln!(std::io::stderr(), "warning: {event}");
        }
    }
}

fn open(path: &Path) -> Result<Database, Failure> {
    // Nothing is to expire while it is copied; late samples of a log are no reason to refuse.
    let options = Options {
        retention_ms: 0,
        background: false,
        observer: Arc::new(Terminal),
        ..Options::default()
    };
    Ok(Database::open(path, options)?)
}

fn open_existing(path: &Path) -> Result<Database, Failure> {
    if !path.is_dir() {
        return Err(Failure::Usage(format!("{}: there is no such directory", path.display())));
    }
    open(path)
}

fn import(source: &Path, data: &Path) -> Result<(), Failure> {
    if !source.is_dir() {
        return Err(Failure::Usage(format!("{}: there is no such directory", source.display())));
    }
    let database = open(data)?;
    // One directory may have two spellings.
    let is_same = source.canonicalize().ok() == data.canonicalize().ok();
    let source = if is_same { data } else { source };
    let mut bar = Bar::default();
    let done = database.import_prometheus(source, &mut |progress| match progress {
        ImportProgress::Series { done, total } => bar.draw("blocks", "series", done, total),
        ImportProgress::Segments { done, total } => bar.draw("log", "segments", done, total),
    });
    bar.end();
    let closed = database.close();
    let PrometheusImport { blocks, known, unread, samples, damages, log } = done?;
    closed?;
    say(format_args!(
        "{blocks} blocks with {samples} samples copied ({known} were there before), {} samples of \
         {} series from the log",
        log.samples, log.series
    ));
    let lost = unread + damages + log.damages;
    if lost > 0 {
        return Err(Failure::Failed(format!(
            "{unread} blocks do not read, and {} places of others and of the log are damaged; all \
             else is copied",
            damages + log.damages
        )));
    }
    Ok(())
}

fn export(data: &Path, out: &Path, range: TimeRange) -> Result<(), Failure> {
    let database = open_existing(data)?;
    let mut bar = Bar::default();
    let metas = database.export_prometheus(out, range, &mut |done, total| {
        bar.draw("export", "windows", done, total);
    });
    bar.end();
    let closed = database.close();
    for meta in metas? {
        say(format_args!(
            "{} {}..{} ms, {} series, {} samples",
            meta.ulid, meta.range.min_ms, meta.range.max_ms, meta.series, meta.samples
        ));
    }
    Ok(closed?)
}

fn drop_prometheus(data: &Path, what: Freed, is_dry: bool) -> Result<(), Failure> {
    let database = open_existing(data)?;
    let parts = database.drop_prometheus(what, is_dry);
    let closed = database.close();
    let verb = if is_dry { "would be removed" } else { "removed" };
    let mut bytes = 0;
    for part in parts? {
        let copied = if part.is_copied { ", imported" } else { "" };
        say(format_args!("{}: {} bytes{copied}, {verb}", part.name, part.bytes));
        bytes += part.bytes;
    }
    say(format_args!("{bytes} bytes {verb}"));
    Ok(closed?)
}

pub(super) fn say(line: impl Display) {
    // A reader that went away wants no more.
    let _ = writeln!(std::io::stdout(), "{line}");
}
