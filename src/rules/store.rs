//! What rules give, on its way into the database.
//!
//! All that a group gives at one time belongs to one source and has one time, so that it is a row.
//! Series that a rule no longer gives get a staleness marker in the same commit.

use std::collections::HashSet;

use super::evaluate::{Output, RuleError, Value};
use super::group::Running;
use super::manager::Shared;
use crate::db::Appender;
use crate::disk::StorageError;
use crate::head::{AppendError, CommitOutcome, GroupKey, SeriesRef};
use crate::model::stale_nan;

/// What one rule of a group gave.
pub(super) type RuleOutputs = (usize, Vec<Output>);

/// What the calls of a commit were for.
#[derive(Debug, Clone, Copy)]
enum Purpose {
    /// A sample of this rule.
    Sample(usize),
    /// A staleness marker.
    Marker,
}

/// A rule's samples that were not stored.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) rule: usize,
    pub(super) count: usize,
    pub(super) error: RuleError,
}

/// Stores what rules gave at `t_ms`, and notes in `running` which series they are. What a rule
/// loses is returned; on an error nothing was stored, and nothing is noted.
pub(super) fn store(
    shared: &Shared,
    source: &GroupKey,
    running: &mut Running,
    t_ms: i64,
    rules: &[RuleOutputs],
) -> Result<Vec<Refusal>, StorageError> {
    let mut appender = shared.database.appender(source)?;
    let (mut purposes, mut refs) = (Vec::new(), Vec::new());
    let mut given = Vec::with_capacity(rules.len());
    for (rule, outputs) in rules {
        let mut series = HashSet::with_capacity(outputs.len());
        for output in outputs {
            let id = append(&mut appender, output, t_ms)?;
            purposes.push(Purpose::Sample(*rule));
            refs.push(id);
            series.insert(id);
        }
        for gone in running.previous[*rule].difference(&series) {
            append_marker(&mut appender, *gone, t_ms);
            purposes.push(Purpose::Marker);
        }
        given.push((*rule, series));
    }
    let outcome = appender.commit()?;
    let refusals = sort_out(&outcome, &purposes, &refs, &mut given);
    for (rule, series) in given {
        running.previous[rule] = series;
    }
    Ok(refusals)
}

fn append(appender: &mut Appender, output: &Output, t_ms: i64) -> Result<SeriesRef, StorageError> {
    let series = appender.series(&output.labels)?;
    match &output.value {
        Value::Float(value) => appender.append(series, t_ms, *value),
        Value::Histogram(histogram) => {
            appender.append_histogram(series, t_ms, std::sync::Arc::clone(histogram));
        }
    }
    appender.set_last_in_order();
    Ok(series)
}

fn append_marker(appender: &mut Appender, series: SeriesRef, t_ms: i64) {
    appender.append(series, t_ms, stale_nan());
    appender.set_last_in_order();
}

/// Takes refused samples out of what the rules gave.
fn sort_out(
    outcome: &CommitOutcome,
    purposes: &[Purpose],
    refs: &[SeriesRef],
    given: &mut [(usize, HashSet<SeriesRef>)],
) -> Vec<Refusal> {
    let mut refusals: Vec<Refusal> = Vec::new();
    // Place among the samples, of which `refs` has one each, of every call.
    let mut places = Vec::with_capacity(purposes.len());
    let mut place = 0;
    for purpose in purposes {
        places.push(place);
        place += usize::from(matches!(purpose, Purpose::Sample(_)));
    }
    for (call, error) in &outcome.rejected {
        match purposes[*call] {
            Purpose::Marker => warn_of_marker(*error),
            Purpose::Sample(rule) => {
                if let Some((_, series)) = given.iter_mut().find(|(of, _)| *of == rule) {
                    series.remove(&refs[places[*call]]);
                }
                let error = RuleError::Refused(*error);
                match refusals.iter_mut().find(|refusal| refusal.rule == rule) {
                    Some(refusal) => {
                        refusal.count += 1;
                        refusal.error = error;
                    }
                    None => refusals.push(Refusal { rule, count: 1, error }),
                }
            }
        }
    }
    refusals
}

/// A series that another rule gives by now takes no marker, nor does one that left the head.
fn warn_of_marker(error: AppendError) {
    use AppendError::{Duplicate, OutOfBounds, OutOfOrder, TooOld, UnknownSeries};
    if !matches!(error, Duplicate | OutOfBounds | OutOfOrder | TooOld | UnknownSeries) {
        tracing::warn!(err = %error, "Adding a staleness marker failed");
    }
}

/// Writes staleness markers for series that no rule gives any more.
pub(super) fn end_series(
    shared: &Shared,
    source: &GroupKey,
    series: &[SeriesRef],
    t_ms: i64,
) -> Result<(), StorageError> {
    let mut appender = shared.database.appender(source)?;
    for series in series {
        append_marker(&mut appender, *series, t_ms);
    }
    for (_, error) in appender.commit()?.rejected {
        warn_of_marker(error);
    }
    Ok(())
}
