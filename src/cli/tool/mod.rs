//! `narthex tool …`: work on files beside the server.
//!
//! Exit status: 0 when all was done and is as expected, 1 when something failed, was damaged or
//! was not as expected, 2 for a command line that is wrong.

mod bar;
mod rules;
mod scripts;
mod tsdb;

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};

use crate::disk::StorageError;

const EXIT_FAILURE: u8 = 1;
const EXIT_USAGE: u8 = 2;

#[derive(Debug, Parser)]
#[command(name = "narthex tool", about = "Work on files beside the server.")]
struct Line {
    #[command(subcommand)]
    area: Area,
}

#[derive(Debug, Subcommand)]
enum Area {
    /// Work on stored samples.
    #[command(subcommand)]
    Tsdb(tsdb::Tsdb),
    /// Work with recording rules.
    #[command(subcommand)]
    Rules(rules::Rules),
    /// Check that answers are as expected.
    #[command(subcommand)]
    Test(scripts::Test),
}

/// Why a command did not do all of its work.
#[derive(Debug)]
enum Failure {
    /// The command line is wrong.
    Usage(String),
    /// Something failed.
    Failed(String),
    /// Something is not as expected, and it was said what.
    Told,
}

impl From<StorageError> for Failure {
    fn from(error: StorageError) -> Self {
        Self::Failed(error.to_string())
    }
}

/// Runs the command of a line whose first two words are the program and `tool`.
pub(super) fn run(line: &[OsString]) -> ExitCode {
    let line = match Line::try_parse_from(&line[1..]) {
        Ok(line) => line,
        Err(error) => {
            let is_answer =
                matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            // A reader that went away wants no more.
            let _ = error.print();
            return ExitCode::from(if is_answer { 0 } else { EXIT_USAGE });
        }
    };
    let done = match line.area {
        Area::Tsdb(command) => tsdb::run(command),
        Area::Rules(command) => rules::run(command),
        Area::Test(command) => scripts::run(&command),
    };
    let (code, why) = match done {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Told) => return ExitCode::from(EXIT_FAILURE),
        Err(Failure::Usage(why)) => (EXIT_USAGE, why),
        Err(Failure::Failed(why)) => (EXIT_FAILURE, why),
    };
    let _ = writeln!(std::io::stderr(), "error: {why}");
    ExitCode::from(code)
}
