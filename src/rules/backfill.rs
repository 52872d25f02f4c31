//! Recording rules for times that have passed: the gap before a start, and history on demand.
//!
//! A span of times is cut into pieces, and each rule of the group is evaluated over a piece as a
//! range query before the next rule is, so that a rule sees what those before it recorded. Times
//! are those at which the group would have been evaluated. A series that ends within the span gets
//! its staleness marker. What is there already stays: a sample that differs from one at its time
//! is refused and counted.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use super::evaluate::{RuleName, Value, recorded_labels, whole_ms};
use super::file::{GroupSpec, RuleKind, RuleSpec};
use super::group::{Group, Running};
use super::manager::Shared;
use super::schedule::Schedule;
use crate::db::{Appender, Database};
use crate::disk::StorageError;
use crate::head::{GroupKey, SeriesRef};
use crate::model::{Labels, METRIC_NAME, Matcher, Samples, TimeRange, stale_nan};
use crate::promql::engine::{
    Engine, MatrixSeries, Query, QueryError, QueryOptions, QueryRange, Value as Answer,
};
use crate::select::{Cancellation, Queryable, SelectError};

/// Times that are evaluated at once.
const STEPS_MAX: i64 = 1000;
/// Samples of one commit.
const COMMIT_SAMPLES_MAX: usize = 100_000;

/// Why history is not written on.
#[derive(Debug)]
pub enum BackfillError {
    /// The database takes nothing.
    Storage(StorageError),
    /// Somebody stopped it.
    Stopped,
}

impl fmt::Display for BackfillError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Storage(error) => fmt::Display::fmt(error, f),
            Self::Stopped => f.write_str("stopped"),
        }
    }
}

impl std::error::Error for BackfillError {}

impl From<StorageError> for BackfillError {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackfillProgress {
    /// Times of rules that are done.
    pub done: u64,
    /// All of them.
    pub total: u64,
}

/// What was written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Backfilled {
    /// Samples stored, those included that were there already.
    pub samples: u64,
    /// Samples refused.
    pub refused: u64,
    /// Rules that failed over a part of the span, and why.
    pub failures: Vec<String>,
}

/// Writes the history of recording rules.
#[derive(Debug)]
pub struct Backfill<'a> {
    /// Where from and to.
    pub database: &'a Database,
    /// What evaluates.
    pub engine: &'a Engine,
    /// Ends it.
    pub cancellation: Cancellation,
    /// How far below the newest data samples are taken, in milliseconds.
    pub late_window_ms: i64,
}

/// Series that a rule gave at the end of a piece.
type Present = HashMap<Labels, SeriesRef>;

/// Times of a group: the first, as data time, and how many.
#[derive(Debug, Clone, Copy)]
struct Span {
    start_ms: i64,
    steps: i64,
    interval_ms: i64,
}

impl Span {
    fn time_ms(self, step: i64) -> i64 {
        self.start_ms + step * self.interval_ms
    }

    fn part(self, from: i64, to: i64) -> Self {
        Self { start_ms: self.time_ms(from), steps: to - from, ..self }
    }
}

impl Backfill<'_> {
    /// Evaluates the recording rules of a group at all its times from `start_ms` to `end_ms`.
    /// `interval_ms` and `offset_ms`: where the group does not say it.
    pub fn run(
        &self,
        group: &GroupSpec,
        (interval_ms, offset_ms): (i64, i64),
        (start_ms, end_ms): (i64, i64),
        progress: &mut dyn FnMut(BackfillProgress),
    ) -> Result<Backfilled, BackfillError> {
        let interval_ms = if group.interval_ms > 0 { group.interval_ms } else { interval_ms };
        let offset_ms = group.query_offset_ms.unwrap_or(offset_ms);
        let start_ns = start_ms.saturating_mul(1_000_000);
        let schedule = Schedule::new(&group.file, &group.name, interval_ms, start_ns);
        let mut first_ns = schedule.slot_ns(start_ns);
        if first_ns < start_ns {
            first_ns += schedule.interval_ns();
        }
        let last_ns = schedule.slot_ns(end_ms.saturating_mul(1_000_000));
        let span = span(&schedule, (first_ns, last_ns), offset_ms);
        let mut present = vec![Present::new(); group.rules.len()];
        self.fill(group, span, &mut present, progress)
    }

    fn fill(
        &self,
        group: &GroupSpec,
        span: Span,
        present: &mut [Present],
        progress: &mut dyn FnMut(BackfillProgress),
    ) -> Result<Backfilled, BackfillError> {
        let source = GroupKey::Rules { file: group.file.clone(), name: group.name.clone() };
        let recording: Vec<(usize, &RuleSpec)> = group
            .rules
            .iter()
            .enumerate()
            .filter(|(_, rule)| rule.kind == RuleKind::Recording)
            .map(|(at, rule)| (at, &**rule))
            .collect();
        let total = span.steps.max(0) as u64 * recording.len() as u64;
        let mut written = Backfilled::default();
        let mut done = 0;
        let mut from = 0;
        while from < span.steps {
            let to = (from + STEPS_MAX).min(span.steps);
            for (at, rule) in &recording {
                let part = span.part(from, to);
                self.fill_rule(
                    rule,
                    part,
                    (&source, group.limit),
                    &mut present[*at],
                    &mut written,
                )?;
                done += part.steps as u64;
                progress(BackfillProgress { done, total });
            }
            from = to;
        }
        Ok(written)
    }

    /// One rule over one piece; a piece that is too large for the limits of a query is cut.
    fn fill_rule(
        &self,
        rule: &RuleSpec,
        span: Span,
        (source, limit): (&GroupKey, i64),
        present: &mut Present,
        written: &mut Backfilled,
    ) -> Result<(), BackfillError> {
        if self.cancellation.is_canceled() {
            return Err(BackfillError::Stopped);
        }
        let range = QueryRange {
            start_ms: span.start_ms,
            end_ms: span.time_ms(span.steps - 1),
            step_ms: span.interval_ms,
        };
        let query = Query { text: &rule.text, ast: &rule.ast };
        let options = QueryOptions::default();
        let answer = self.engine.range(self.database, query, range, &options, &self.cancellation);
        let series = match answer {
            Ok(answer) => match answer.value {
                Answer::Matrix(series) => series,
                _ => unreachable!("BUG: a range gives a matrix"),
            },
            Err(QueryError::Canceled) => return Err(BackfillError::Stopped),
            Err(QueryError::Limit(_) | QueryError::TimedOut) if span.steps > 1 => {
                let half = span.steps / 2;
                for part in [span.part(0, half), span.part(half, span.steps)] {
                    self.fill_rule(rule, part, (source, limit), present, written)?;
                }
                return Ok(());
            }
            Err(error) => {
                written.failures.push(format!("{}: {error}", rule.name));
                return Ok(());
            }
        };
        match sort_series(rule, series, span, limit) {
            Ok(sorted) => self.write(source, &sorted, span, present, written),
            Err(what) => {
                written.failures.push(format!("{}: {what}", rule.name));
                Ok(())
            }
        }
    }

    /// Writes what a rule gave over a piece, with the markers of series that end in it.
    fn write(
        &self,
        source: &GroupKey,
        series: &BTreeMap<Labels, BTreeMap<i64, Value>>,
        span: Span,
        present: &mut Present,
        written: &mut Backfilled,
    ) -> Result<(), BackfillError> {
        let before = std::mem::take(present);
        let mut commit = Commit::new(self, source)?;
        for (labels, id) in &before {
            let is_there = series.get(labels).is_some_and(|s| s.contains_key(&span.start_ms));
            if !is_there {
                commit.mark(*id, span.start_ms, written)?;
            }
        }
        for (labels, samples) in series {
            let id = commit.series(labels)?;
            let mut was_there = false;
            for step in 0..span.steps {
                let t_ms = span.time_ms(step);
                match samples.get(&t_ms) {
                    Some(value) => commit.add(id, t_ms, value, written)?,
                    None if was_there => commit.mark(id, t_ms, written)?,
                    None => {}
                }
                was_there = samples.contains_key(&t_ms);
            }
            if was_there {
                present.insert(labels.clone(), id);
            }
        }
        commit.finish(written)
    }
}

/// A commit that is ended and begun anew where it grows.
struct Commit<'a> {
    backfill: &'a Backfill<'a>,
    source: &'a GroupKey,
    appender: Appender,
    /// By call, whether it is a marker.
    markers: Vec<bool>,
}

impl<'a> Commit<'a> {
    fn new(backfill: &'a Backfill<'a>, source: &'a GroupKey) -> Result<Self, StorageError> {
        let mut appender = backfill.database.appender(source)?;
        appender.take_late(backfill.late_window_ms);
        Ok(Self { backfill, source, appender, markers: Vec::new() })
    }

    fn series(&mut self, labels: &Labels) -> Result<SeriesRef, StorageError> {
        self.appender.series(labels)
    }

    fn add(
        &mut self,
        series: SeriesRef,
        t_ms: i64,
        value: &Value,
        written: &mut Backfilled,
    ) -> Result<(), BackfillError> {
        match value {
            Value::Float(value) => self.appender.append(series, t_ms, *value),
            Value::Histogram(histogram) => {
                self.appender.append_histogram(series, t_ms, std::sync::Arc::clone(histogram));
            }
        }
        self.count(false, written)
    }

    fn mark(
        &mut self,
        series: SeriesRef,
        t_ms: i64,
        written: &mut Backfilled,
    ) -> Result<(), BackfillError> {
        self.appender.append(series, t_ms, stale_nan());
        self.count(true, written)
    }

    fn count(&mut self, is_marker: bool, written: &mut Backfilled) -> Result<(), BackfillError> {
        self.markers.push(is_marker);
        if self.markers.len() < COMMIT_SAMPLES_MAX {
            return Ok(());
        }
        let next = Self::new(self.backfill, self.source)?;
        std::mem::replace(self, next).finish(written)
    }

    fn finish(self, written: &mut Backfilled) -> Result<(), BackfillError> {
        let samples = self.markers.iter().filter(|is_marker| !**is_marker).count();
        let outcome = self.appender.commit()?;
        let refused = outcome.rejected.iter().filter(|(call, _)| !self.markers[*call]).count();
        written.samples += (samples - refused) as u64;
        written.refused += refused as u64;
        Ok(())
    }
}

/// Series under the rule's labels, by time. A time at which there are more than `limit` gives
/// nothing, as an evaluation at it would not; labels that become equal at one time are an error.
fn sort_series(
    rule: &RuleSpec,
    series: Vec<MatrixSeries>,
    span: Span,
    limit: i64,
) -> Result<BTreeMap<Labels, BTreeMap<i64, Value>>, String> {
    let mut sorted: BTreeMap<Labels, BTreeMap<i64, Value>> = BTreeMap::new();
    let mut counts: HashMap<i64, i64> = HashMap::new();
    for MatrixSeries { labels, samples, histograms } in series {
        let own = sorted.entry(recorded_labels(rule, &labels)).or_default();
        let floats = samples.timestamps.iter().zip(&samples.values);
        let floats = floats.map(|(t_ms, value)| (*t_ms, Value::Float(*value)));
        let histograms = histograms.iter().map(|(t_ms, h)| (*t_ms, Value::of(0.0, Some(h))));
        for (t_ms, value) in floats.chain(histograms) {
            if own.insert(t_ms, value).is_some() {
                return Err(super::evaluate::RuleError::SameLabels(RuleName::Recording).to_string());
            }
            *counts.entry(t_ms).or_default() += 1;
        }
    }
    if limit > 0 {
        for step in 0..span.steps {
            let t_ms = span.time_ms(step);
            if counts.get(&t_ms).is_some_and(|count| *count > limit) {
                for samples in sorted.values_mut() {
                    samples.remove(&t_ms);
                }
            }
        }
    }
    Ok(sorted)
}

fn span(schedule: &Schedule, (first_ns, last_ns): (i64, i64), offset_ms: i64) -> Span {
    let interval_ns = schedule.interval_ns();
    let steps = if last_ns < first_ns { 0 } else { (last_ns - first_ns) / interval_ns + 1 };
    let start_ms = whole_ms(first_ns.saturating_sub(offset_ms.saturating_mul(1_000_000)));
    Span { start_ms, steps, interval_ms: interval_ns / 1_000_000 }
}

/// Evaluates what the process before left out, up to now.
pub(super) fn fill_gap(group: &Group, shared: &Shared, running: &mut Running) {
    let gap_ms = shared.options.backfill_gap_ms;
    if gap_ms <= 0 || std::mem::replace(&mut running.is_gap_filled, true) {
        return;
    }
    let (file, name) = (group.file(), group.name());
    match fill_until_now(group, shared, running, gap_ms) {
        Ok(None) | Err(BackfillError::Stopped) => {}
        Ok(Some(Backfilled { samples, refused, failures })) => {
            tracing::info!(file, group = name, samples, refused, "Filled the gap before the start");
            for failure in failures {
                tracing::warn!(file, group = name, err = failure, "Filling the gap failed in part");
            }
        }
        Err(error) => tracing::error!(file, group = name, err = %error, "Filling the gap failed"),
    }
}

fn fill_until_now(
    group: &Group,
    shared: &Shared,
    running: &mut Running,
    gap_ms: i64,
) -> Result<Option<Backfilled>, BackfillError> {
    let offset_ms = group.offset_ms(shared);
    let now_ms = whole_ms(shared.clock.now_ns());
    let window = TimeRange { min_ms: now_ms.saturating_sub(gap_ms), max_ms: now_ms };
    let last_ms = match last_evaluated_ms(group, shared, window) {
        Ok(Some(last_ms)) => last_ms,
        Ok(None) => return Ok(None),
        Err(error) => {
            tracing::warn!(err = %error, "Looking for the gap before the start failed");
            return Ok(None);
        }
    };
    let interval_ns = running.schedule.interval_ns();
    // Data times are whole milliseconds, cut off.
    let last_ns = (last_ms + 1).saturating_add(offset_ms).saturating_mul(1_000_000) - 1;
    let mut next_ns = running.schedule.slot_ns(last_ns).saturating_add(interval_ns);
    let engine = shared.engine();
    let backfill = Backfill {
        database: &shared.database,
        engine: &engine,
        cancellation: Cancellation::new().under(&shared.stop),
        late_window_ms: gap_ms.saturating_mul(2).max(3_600_000),
    };
    let mut present = vec![Present::new(); group.rules().len()];
    let mut all = None;
    loop {
        // Time goes on while this runs.
        let until_ns = running.schedule.slot_ns(shared.clock.now_ns());
        let span = span(&running.schedule, (next_ns, until_ns), offset_ms);
        if span.steps == 0 || group.is_stopped() {
            break;
        }
        let part = backfill.fill(group.spec(), span, &mut present, &mut |_| {})?;
        let all: &mut Backfilled = all.get_or_insert_default();
        all.samples += part.samples;
        all.refused += part.refused;
        all.failures.extend(part.failures);
        next_ns = until_ns + interval_ns;
    }
    if all.is_some() {
        for (series, present) in running.previous.iter_mut().zip(present) {
            series.extend(present.into_values());
        }
        running.schedule.go_on_at(next_ns);
    }
    Ok(all)
}

/// When a recording rule of the group was evaluated last; the window's start where that was before
/// it. `None`: never.
fn last_evaluated_ms(
    group: &Group,
    shared: &Shared,
    window: TimeRange,
) -> Result<Option<i64>, SelectError> {
    let cancellation = Cancellation::new().under(&shared.stop).within(shared.engine().account());
    let mut last_ms = None;
    let mut was_there = false;
    let mut samples = Samples::default();
    for rule in group.rules().iter().filter(|rule| !rule.is_alerting()) {
        let spec = rule.spec();
        let mut matchers = vec![Matcher::equal(METRIC_NAME, spec.name.as_str())];
        let labels = spec.labels.iter().map(|(name, value)| Matcher::equal(name, value));
        matchers.extend(labels);
        let set = shared.database.select(&matchers, window, &cancellation)?;
        for index in 0..set.len() {
            set.read(index, window, &mut samples)?;
            last_ms = last_ms.max(samples.timestamps.last().copied());
        }
        if last_ms.is_none() && !was_there {
            let before = TimeRange { min_ms: i64::MIN, max_ms: window.min_ms };
            let series = Queryable::series(&shared.database, &matchers, before, &cancellation)?;
            was_there = !series.is_empty();
        }
    }
    Ok(last_ms.or(was_there.then_some(window.min_ms)))
}
