//! `narthex tool test …`: scripts of queries and of what they must answer; see
//! [`crate::promql::script`].

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Subcommand, ValueEnum};

use super::Failure;
use crate::promql::ParseOptions;
use crate::promql::engine::{Engine, EngineOptions};
use crate::promql::script::{MemoryStore, Report, Runner, Script};

/// The commands of `narthex tool test`.
#[derive(Debug, Subcommand)]
pub(super) enum Test {
    /// Run scripts that load samples, ask queries and say what the answers must be. All syntax is
    /// on, experimental syntax too, and so are promql-delayed-name-removal and
    /// use-start-timestamps, as the language of the scripts has it.
    Promql {
        /// What the engine does beside that.
        #[arg(long = "enable-feature", value_name = "FEATURE", value_delimiter = ',')]
        on: Vec<Feature>,
        /// What the engine does not do.
        #[arg(long = "disable-feature", value_name = "FEATURE", value_delimiter = ',')]
        off: Vec<Feature>,
        /// The scripts.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
}

/// A feature that changes what queries answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Feature {
    /// Metric names go at the end of a query only.
    PromqlDelayedNameRemoval,
    /// Rates look at when counters began to count.
    UseStartTimestamps,
    /// A label tells a metric's type.
    TypeAndUnitLabels,
}

/// Runs a command.
pub(super) fn run(command: &Test) -> Result<(), Failure> {
    let Test::Promql { on, off, files } = command;
    match test_promql(files, &Engine::new(options(on, off)), &mut io::stdout()) {
        Ok(true) => Ok(()),
        Ok(false) | Err(_) => Err(Failure::Told),
    }
}

fn options(on: &[Feature], off: &[Feature]) -> EngineOptions {
    let has = |feature, usual| (usual || on.contains(&feature)) && !off.contains(&feature);
    EngineOptions {
        delayed_name_removal: has(Feature::PromqlDelayedNameRemoval, true),
        use_start_timestamps: has(Feature::UseStartTimestamps, true),
        type_and_unit_labels: has(Feature::TypeAndUnitLabels, false),
        ..EngineOptions::default()
    }
}

/// Runs the scripts one after the other; whether all is as expected.
fn test_promql(files: &[PathBuf], engine: &Engine, out: &mut dyn Write) -> io::Result<bool> {
    let mut total = Report::default();
    let mut unreadable = 0;
    for file in files {
        let name = file.display();
        match run_script(file, engine) {
            Ok(report) => {
                let (passed, failed) = (report.passed, report.failures.len());
                writeln!(out, "{name}: {passed} passed, {failed} failed")?;
                for failure in &report.failures {
                    writeln!(out, "  {name}: {failure}")?;
                }
                for (reason, count) in &report.out_of_scope {
                    writeln!(out, "  {name}: {count} not asked: {reason}")?;
                }
                total.add(report);
            }
            Err(message) => {
                unreadable += 1;
                writeln!(out, "{name}: {message}")?;
            }
        }
    }
    if files.len() > 1 {
        let (passed, failed) = (total.passed, total.failures.len());
        writeln!(out, "{} files: {passed} passed, {failed} failed", files.len())?;
    }
    Ok(unreadable == 0 && total.failures.is_empty() && total.out_of_scope.is_empty())
}

fn run_script(path: &Path, engine: &Engine) -> Result<Report, String> {
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    let script = Script::parse(&text).map_err(|error| error.to_string())?;
    let mut store = MemoryStore::default();
    let mut runner = Runner::new(&mut store, engine, ParseOptions::all_features());
    runner.run(&script).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_those_of_the_scripts_unless_said_otherwise() {
        let is_on = |on: &[Feature], off: &[Feature]| {
            let options = options(on, off);
            let EngineOptions { delayed_name_removal, use_start_timestamps, .. } = options;
            [delayed_name_removal, use_start_timestamps, options.type_and_unit_labels]
        };
        assert_eq!(is_on(&[], &[]), [true, true, false]);
        assert_eq!(is_on(&[Feature::TypeAndUnitLabels], &[]), [true, true, true]);
        assert_eq!(is_on(&[], &[Feature::UseStartTimestamps]), [true, false, false]);
    }

    #[test]
    fn failures_are_told_with_file_and_line() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            path
        };
        let good = write("good", "load 1m\n  a 1\n\neval instant at 0 a\n  a 1\n");
        let bad = write("bad", "load 1m\n  a 1\n\neval instant at 0 a\n  a 2\n");
        let broken = write("broken", "lod 1m\n");
        let engine = Engine::default();
        let mut out = Vec::new();
        assert!(test_promql(std::slice::from_ref(&good), &engine, &mut out).unwrap());
        let missing = folder.path().join("missing");
        for files in [vec![bad.clone()], vec![broken], vec![missing]] {
            assert!(!test_promql(&files, &engine, &mut out).unwrap(), "{files:?}");
        }
        assert!(!test_promql(&[good, bad], &engine, &mut out).unwrap());
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("good: 1 passed, 0 failed"), "{text}");
        assert!(text.contains("bad: line 4: a: "), "{text}");
        assert!(text.contains("2 files: 1 passed, 1 failed"), "{text}");
    }
}
