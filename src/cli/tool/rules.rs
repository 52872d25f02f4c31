//! `narthex tool rules …`: the history of recording rules.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Subcommand;

use super::Failure;
use super::bar::Bar;
use super::tsdb::{Data, Terminal, say, time};
use crate::db::{Database, Options};
use crate::model::parse_duration;
use crate::promql::ParseOptions;
use crate::promql::engine::{Engine, EngineOptions};
use crate::rules::{Backfill, Backfilled, GroupSpec, Source, load_file};
use crate::select::Cancellation;

/// The commands of `narthex tool rules`.
#[derive(Debug, Subcommand)]
pub(super) enum Rules {
    /// Evaluate recording rules over stored samples and store what they give, as if they had
    /// been there all along. Alerting rules are left out. The server must not run.
    Backfill {
        #[command(flatten)]
        data: Data,
        /// First time, as a Unix timestamp or RFC 3339.
        #[arg(long, value_name = "TIME")]
        start: String,
        /// Last time, likewise; now by default.
        #[arg(long, value_name = "TIME")]
        end: Option<String>,
        /// How often groups are evaluated that do not say it.
        #[arg(long, value_name = "DURATION", default_value = "60s")]
        eval_interval: String,
        /// How far in the past groups are evaluated that do not say it.
        #[arg(long, value_name = "DURATION", default_value = "0s")]
        query_offset: String,
        /// Files of rules.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
}

/// Runs a command.
pub(super) fn run(command: Rules) -> Result<(), Failure> {
    let Rules::Backfill { data, start, end, eval_interval, query_offset, files } = command;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now_ms = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
    let span = (time(Some(&start), 0)?, time(end.as_deref(), now_ms)?);
    if span.0 > span.1 {
        return Err(Failure::Usage("the end lies before the start".to_owned()));
    }
    let duration = |flag: &str, text: &str| {
        parse_duration(text).map_err(|error| Failure::Usage(format!("--{flag}: {error}")))
    };
    let interval_ms = duration("eval-interval", &eval_interval)?;
    let offset_ms = duration("query-offset", &query_offset)?;
    if interval_ms == 0 {
        return Err(Failure::Usage("--eval-interval: must be above zero".to_owned()));
    }
    let groups = read(&files)?;
    backfill(&data.path, &groups, (interval_ms, offset_ms), span)
}

fn read(files: &[PathBuf]) -> Result<Vec<GroupSpec>, Failure> {
    let source = Source { parse: ParseOptions::all_features(), ..Source::default() };
    let mut groups = Vec::new();
    for file in files {
        let found = load_file(&file.display().to_string(), &source);
        groups.extend(found.map_err(|errors| {
            let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
            Failure::Failed(lines.join("\n"))
        })?);
    }
    Ok(groups)
}

fn backfill(
    path: &Path,
    groups: &[GroupSpec],
    defaults: (i64, i64),
    span: (i64, i64),
) -> Result<(), Failure> {
    if !path.is_dir() {
        return Err(Failure::Usage(format!("{}: there is no such directory", path.display())));
    }
    // Nothing is to expire meanwhile, and all of history is to be taken.
    let options = Options {
        retention_ms: 0,
        background: false,
        out_of_order_window_ms: i64::MAX / 4,
        observer: Arc::new(Terminal),
        ..Options::default()
    };
    let database = Database::open(path, options)?;
    let written = fill(&database, groups, defaults, span);
    let closed = database.close();
    let Backfilled { samples, refused, failures } = written?;
    closed?;
    say(format_args!("{samples} samples written"));
    if refused > 0 {
        say(format_args!("{refused} samples refused: there are others at their times"));
    }
    if failures.is_empty() { Ok(()) } else { Err(Failure::Failed(failures.join("\n"))) }
}

fn fill(
    database: &Database,
    groups: &[GroupSpec],
    defaults: (i64, i64),
    span: (i64, i64),
) -> Result<Backfilled, Failure> {
    let engine = Engine::new(EngineOptions { subquery_step_ms: defaults.0, ..Default::default() });
    let backfill = Backfill {
        database,
        engine: &engine,
        cancellation: Cancellation::new(),
        late_window_ms: i64::MAX / 4,
    };
    let mut all = Backfilled::default();
    for group in groups {
        let mut bar = Bar::default();
        let written = backfill.run(group, defaults, span, &mut |progress| {
            bar.draw(&group.name, "evaluations", progress.done, progress.total);
        });
        bar.end();
        let Backfilled { samples, refused, failures } =
            written.map_err(|error| Failure::Failed(error.to_string()))?;
        all.samples += samples;
        all.refused += refused;
        let told = failures.iter().map(|why| format!("{}: {}: {why}", group.file, group.name));
        all.failures.extend(told);
        // What was written goes from memory to blocks.
        database.maintain()?;
    }
    Ok(all)
}
