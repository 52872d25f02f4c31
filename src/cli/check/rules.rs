//! `narthex check rules`.

use std::io::{self, Read};
use std::path::PathBuf;

use super::{Lint, Streams, Verdict};
use crate::rules::{Duplicate, GroupSpec, RuleFileError, Source, duplicates, load_file, load_text};

/// Checks files one after the other.
pub(super) fn check_files(
    files: &[PathBuf],
    lint: Lint,
    source: &Source,
    streams: &mut Streams<'_>,
) -> io::Result<Verdict> {
    let mut all = Verdict::default();
    for file in files {
        let name = file.display().to_string();
        writeln!(streams.out, "Checking {name}")?;
        all.add(judge(load_file(&name, source), lint, streams)?);
    }
    Ok(all)
}

/// Checks what stands on standard input.
pub(super) fn check_input(
    input: &mut dyn Read,
    lint: Lint,
    source: &Source,
    streams: &mut Streams<'_>,
) -> io::Result<Verdict> {
    writeln!(streams.out, "Checking standard input")?;
    let mut text = String::new();
    if let Err(error) = input.read_to_string(&mut text) {
        writeln!(streams.err, "  FAILED: {error}")?;
        return Ok(Verdict { is_wrong: true, is_suspicious: false });
    }
    judge(load_text(&text, "", source), lint, streams)
}

fn judge(
    read: Result<Vec<GroupSpec>, Vec<RuleFileError>>,
    lint: Lint,
    streams: &mut Streams<'_>,
) -> io::Result<Verdict> {
    let groups = match read {
        Ok(groups) => groups,
        Err(errors) => {
            writeln!(streams.err, "  FAILED:")?;
            for error in errors {
                writeln!(streams.err, "{error}")?;
            }
            return Ok(Verdict { is_wrong: true, is_suspicious: false });
        }
    };
    let found = if lint.duplicate_rules { duplicates(&groups) } else { Vec::new() };
    if found.is_empty() {
        let rules: usize = groups.iter().map(|group| group.rules.len()).sum();
        writeln!(streams.out, "  SUCCESS: {rules} rules found")?;
    } else {
        writeln!(streams.err, "  FAILED:")?;
        writeln!(streams.err, "lint error {} duplicate rule(s) found.", found.len())?;
        for Duplicate { name, labels } in &found {
            writeln!(streams.err, "Metric: {name}\nLabel(s):")?;
            for (name, value) in labels {
                writeln!(streams.err, "\t{name}: {value}")?;
            }
        }
        writeln!(streams.err, "Might cause inconsistency while recording expressions")?;
    }
    writeln!(streams.out)?;
    Ok(Verdict { is_wrong: false, is_suspicious: !found.is_empty() })
}
