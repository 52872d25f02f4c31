//! A group of rules that runs.
//!
//! [`Group::tick`] does what is due and nothing else; who calls it, and when, is up to the driver.
//! One evaluation runs at a time. A group that was stopped ends after the rule it is at.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::backfill;
use super::dependencies::Dependencies;
use super::evaluate::{Moment, RuleError, evaluate, whole_ms};
use super::file::{GroupSpec, RuleSpec};
use super::manager::Shared;
use super::restore;
use super::rule::Rule;
use super::schedule::{Schedule, Turn};
use super::store::{self, RuleOutputs};
use crate::head::{GroupKey, SeriesRef};
use crate::model::format_duration;
use crate::promql::engine::QueryError;
use crate::telemetry::traces::Span;

/// A group of rules.
#[derive(Debug)]
pub struct Group {
    spec: GroupSpec,
    interval_ms: i64,
    /// Name of the group among metrics.
    key: String,
    source: GroupKey,
    rules: Vec<Rule>,
    dependencies: Dependencies,
    /// Whether the state of the process before is to be taken over.
    restores: bool,
    stop: watch::Sender<bool>,
    running: Mutex<Running>,
    shown: Mutex<Shown>,
}

/// What rules are told apart by over a reload: name and labels.
type RuleKey<'a> = (&'a str, &'a [(String, String)]);

/// What only the evaluation that runs looks at.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) schedule: Schedule,
    /// By rule, the series that it gave last.
    pub(super) previous: Vec<HashSet<SeriesRef>>,
    /// Series of rules that are gone.
    stale: Vec<SeriesRef>,
    evaluations: u64,
    /// Whether what the process before left out was looked for.
    pub(super) is_gap_filled: bool,
}

#[derive(Debug, Default)]
struct Shown {
    took: Duration,
    last_ns: Option<i64>,
}

impl Group {
    /// A group that begins at `now_ns`.
    pub(super) fn new(spec: GroupSpec, interval_ms: i64, restores: bool, now_ns: i64) -> Self {
        let rules: Vec<Rule> =
            spec.rules.iter().map(|rule| Rule::new(Arc::clone(rule), !restores)).collect();
        let specs: Vec<&RuleSpec> = spec.rules.iter().map(|rule| &**rule).collect();
        let running = Running {
            schedule: Schedule::new(&spec.file, &spec.name, interval_ms, now_ns),
            previous: vec![HashSet::new(); rules.len()],
            stale: Vec::new(),
            evaluations: 0,
            is_gap_filled: false,
        };
        Self {
            interval_ms,
            key: format!("{};{}", spec.file, spec.name),
            source: GroupKey::Rules { file: spec.file.clone(), name: spec.name.clone() },
            dependencies: Dependencies::of(&specs),
            rules,
            restores,
            stop: watch::Sender::new(false),
            running: Mutex::new(running),
            shown: Mutex::default(),
            spec,
        }
    }

    /// The file that it stands in.
    pub fn file(&self) -> &str {
        &self.spec.file
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// How often it is evaluated.
    pub fn interval_ms(&self) -> i64 {
        self.interval_ms
    }

    /// Most series or alerts of one rule; 0 or less: any number.
    pub fn limit(&self) -> i64 {
        self.spec.limit
    }

    /// Its rules in their order.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// How long the last evaluation took.
    pub fn evaluation_took(&self) -> Duration {
        self.shown().took
    }

    /// When it began, in nanoseconds since the Unix epoch.
    pub fn last_evaluation_ns(&self) -> Option<i64> {
        self.shown().last_ns
    }

    /// The name among metrics.
    pub(super) fn key(&self) -> &str {
        &self.key
    }

    pub(super) fn spec(&self) -> &GroupSpec {
        &self.spec
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the evaluation that runs.
    pub(super) fn running(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it may go on in place of `other`.
    pub(super) fn is_equal(&self, spec: &GroupSpec, interval_ms: i64) -> bool {
        let own = &self.spec;
        self.interval_ms == interval_ms
            && own.limit == spec.limit
            && own.query_offset_ms == spec.query_offset_ms
            && own.rules == spec.rules
    }

    /// Ends it after the rule that it is at.
    pub(super) fn stop(&self) {
        self.stop.send_replace(true);
    }

    pub(super) fn is_stopped(&self) -> bool {
        *self.stop.borrow()
    }

    /// Tells when it is stopped.
    pub(super) fn stopping(&self) -> watch::Receiver<bool> {
        self.stop.subscribe()
    }

    /// Takes over what the group that ran before under the same name had; it was stopped.
    ///
    /// COMPAT: of several rules with equal name and labels the first takes over from the first.
    pub(super) fn take_over(&self, before: &Self) {
        let mut old = before.running();
        let mut new = self.running();
        let mut places: BTreeMap<RuleKey<'_>, Vec<usize>> = BTreeMap::new();
        for (place, rule) in before.rules.iter().enumerate().rev() {
            places.entry((&rule.spec().name, &rule.spec().labels)).or_default().push(place);
        }
        for (place, rule) in self.rules.iter().enumerate() {
            let key = (rule.spec().name.as_str(), rule.spec().labels.as_slice());
            let Some(from) = places.get_mut(&key).and_then(Vec::pop) else { continue };
            new.previous[place] = std::mem::take(&mut old.previous[from]);
            rule.take_alerts(&before.rules[from]);
        }
        new.stale = std::mem::take(&mut old.stale);
        for left in &mut old.previous {
            new.stale.extend(left.drain());
        }
        let Shown { took, last_ns } = *before.shown();
        *self.shown() = Shown { took, last_ns };
    }

    /// When there is something to do next, in nanoseconds since the Unix epoch.
    pub(super) fn due_ns(&self) -> i64 {
        self.running().schedule.next_ns()
    }

    /// Evaluates the rules if it is time to.
    pub(super) fn tick(&self, shared: &Shared) {
        let mut running = self.running();
        if self.is_stopped() {
            return;
        }
        if running.evaluations == 0 && self.restores {
            backfill::fill_gap(self, shared, &mut running);
        }
        let now_ns = shared.clock.now_ns();
        let Some(Turn { t_ns, missed }) = running.schedule.take(now_ns) else { return };
        let metrics = &shared.metrics;
        metrics.missed.with(&[&self.key]).add(missed);
        metrics.scheduled.with(&[&self.key]).add(missed + 1);
        let began = Instant::now();
        self.evaluate(shared, &mut running, t_ns);
        let took = began.elapsed();
        metrics.group_seconds.observe_duration(took);
        metrics.group_seconds_buckets.observe_duration(took);
        metrics.last_duration_seconds.with(&[&self.key]).set(took.as_secs_f64());
        metrics.last_evaluation_seconds.with(&[&self.key]).set(now_ns as f64 / 1e9);
        let of_rules: Duration = self.rules.iter().map(Rule::evaluation_took).sum();
        metrics.last_rule_seconds.with(&[&self.key]).set(of_rules.as_secs_f64());
        *self.shown() = Shown { took, last_ns: Some(now_ns) };
        running.evaluations += 1;
        // COMPAT: after the second evaluation, when what alerts depend on was recorded anew.
        if self.restores && running.evaluations == 2 && !self.is_stopped() {
            restore::restore(self, shared);
        }
    }

    /// How far in the past the rules are evaluated.
    pub(super) fn offset_ms(&self, shared: &Shared) -> i64 {
        self.spec.query_offset_ms.unwrap_or_else(|| shared.settings().rule_query_offset_ms)
    }

    /// The piece of work that a trace shows: from when it was due, and how late it began.
    fn span(&self, t_ns: i64, interval_ns: i64, now_ns: i64) -> Span {
        let mut span = Span::root("rule group");
        if span.is_sampled() {
            span.set("name", self.spec.name.as_str());
            span.set("file", self.spec.file.as_str());
            span.set("interval", format_duration(interval_ns / 1_000_000));
            let late = Duration::from_nanos(u64::try_from(now_ns - t_ns).unwrap_or(0));
            if let Some(due) = Instant::now().checked_sub(late) {
                span.add_past("scheduleDelay", due, late);
            }
        }
        span
    }

    fn evaluate(&self, shared: &Shared, running: &mut Running, t_ns: i64) {
        let span = self.span(t_ns, running.schedule.interval_ns(), shared.clock.now_ns());
        let part_of = span.context();
        let (settings, engine) = (shared.settings(), shared.engine());
        let offset_ms = self.offset_ms(shared);
        let data_ms = whole_ms(t_ns.saturating_sub(offset_ms.saturating_mul(1_000_000)));
        let moment = Moment {
            t_ns,
            data_ms,
            interval_ns: running.schedule.interval_ns(),
            limit: self.spec.limit,
            group: (&self.spec.file, &self.spec.name),
            settings: &settings,
            engine: &engine,
            part_of: part_of.as_ref(),
        };
        let batches = if shared.options.concurrent_evals {
            self.dependencies.batches()
        } else {
            (0..self.rules.len()).map(|rule| vec![rule]).collect()
        };
        let mut pending: Vec<RuleOutputs> = Vec::new();
        let mut samples = 0;
        for batch in batches {
            if self.is_stopped() {
                break;
            }
            let written: Vec<usize> = pending.iter().map(|(rule, _)| *rule).collect();
            if batch.iter().any(|rule| self.dependencies.may_read(*rule, &written)) {
                self.store(shared, running, data_ms, &mut pending);
            }
            for (rule, outputs) in self.run_batch(shared, &moment, &batch) {
                samples += outputs.len();
                pending.push((rule, outputs));
            }
        }
        let store = span.child("ruleCommit");
        self.store(shared, running, data_ms, &mut pending);
        drop(store);
        shared.metrics.samples.with(&[&self.key]).set(samples as f64);
        if !self.is_stopped() {
            self.end_stale(shared, running, data_ms);
        }
    }

    /// Evaluates rules that do not read each other, side by side where there are places for it.
    fn run_batch(&self, shared: &Shared, moment: &Moment<'_>, batch: &[usize]) -> Vec<RuleOutputs> {
        if let [rule] = batch {
            return self.run_rule(shared, moment, *rule).into_iter().collect();
        }
        std::thread::scope(|scope| {
            let mut handles = Vec::new();
            let mut given = Vec::new();
            for &rule in batch {
                if self.is_stopped() {
                    break;
                }
                match shared.places.take() {
                    Some(place) => handles.push(scope.spawn(move || {
                        let _place = place;
                        self.run_rule(shared, moment, rule)
                    })),
                    None => given.extend(self.run_rule(shared, moment, rule)),
                }
            }
            for handle in handles {
                match handle.join() {
                    Ok(outputs) => given.extend(outputs),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            given.sort_unstable_by_key(|(rule, _)| *rule);
            given
        })
    }

    fn run_rule(&self, shared: &Shared, moment: &Moment<'_>, at: usize) -> Option<RuleOutputs> {
        let rule = &self.rules[at];
        let metrics = &shared.metrics;
        let (began_ns, began) = (shared.clock.now_ns(), Instant::now());
        metrics.evaluations.with(&[&self.key]).inc();
        let mut span = Span::part_of(moment.part_of, "rule");
        let outcome = evaluate(rule, moment, shared);
        if span.is_sampled() {
            span.set("group", self.spec.name.as_str());
            span.set("name", rule.spec().name.as_str());
            span.set("index", at);
            match &outcome {
                Ok(outputs) => span.set("num_series", outputs.len()),
                Err(error) => span.fail(&error.to_string()),
            }
        }
        drop(span);
        let took = began.elapsed();
        metrics.rule_seconds.observe_duration(took);
        metrics.rule_seconds_buckets.observe_duration(took);
        let error = outcome.as_ref().err().map(ToString::to_string);
        rule.note_evaluation(began_ns, took, error);
        match outcome {
            Ok(outputs) => Some((at, outputs)),
            Err(error) => {
                metrics.failures.with(&[&self.key]).inc();
                // What is canceled ends with the server.
                if !matches!(error, RuleError::Query(QueryError::Canceled)) {
                    self.warn(rule, &error.to_string(), "Evaluating rule failed");
                }
                None
            }
        }
    }

    fn warn(&self, rule: &Rule, err: &str, what: &str) {
        let (file, group) = (&self.spec.file, &self.spec.name);
        tracing::warn!(file, group, rule = rule.spec().name, err, "{what}");
    }

    /// Stores what was evaluated so far.
    fn store(
        &self,
        shared: &Shared,
        running: &mut Running,
        t_ms: i64,
        pending: &mut Vec<RuleOutputs>,
    ) {
        let rules = std::mem::take(pending);
        if rules.is_empty() {
            return;
        }
        match store::store(shared, &self.source, running, t_ms, &rules) {
            Ok(refusals) => {
                for refusal in refusals {
                    let rule = &self.rules[refusal.rule];
                    let error = refusal.error.to_string();
                    let err = format!("{error} ({} samples)", refusal.count);
                    self.warn(rule, &err, "Rule evaluation results were refused");
                    rule.note_failure(error);
                }
            }
            Err(error) => {
                for (rule, _) in &rules {
                    let rule = &self.rules[*rule];
                    shared.metrics.failures.with(&[&self.key]).inc();
                    self.warn(rule, &error.to_string(), "Rule sample appending failed");
                    rule.note_failure(error.to_string());
                }
            }
        }
    }

    /// Ends the series of rules that are gone.
    fn end_stale(&self, shared: &Shared, running: &mut Running, t_ms: i64) {
        if running.stale.is_empty() {
            return;
        }
        match store::end_series(shared, &self.source, &running.stale, t_ms) {
            Ok(()) => running.stale.clear(),
            Err(error) => {
                let (file, group) = (&self.spec.file, &self.spec.name);
                tracing::warn!(file, group, err = %error, "Ending series of removed rules failed");
            }
        }
    }

    /// Ends all series of a group that was stopped at `stopped_ns` and is gone. Those that another
    /// group has gone on with since take no marker.
    pub(super) fn end_all(&self, shared: &Shared, stopped_ns: i64) {
        let mut running = self.running();
        let left: Vec<SeriesRef> = running.previous.iter_mut().flat_map(HashSet::drain).collect();
        running.stale.extend(left);
        let offset_ns = self.offset_ms(shared).saturating_mul(1_000_000);
        self.end_stale(shared, &mut running, whole_ms(stopped_ns.saturating_sub(offset_ns)));
    }
}

/// Places for rules that are evaluated side by side, over all groups.
#[derive(Debug)]
pub(super) struct Places(Arc<AtomicUsize>);

/// A place that is taken; dropping it gives it back.
#[derive(Debug)]
pub(super) struct Place(Arc<AtomicUsize>);

impl Places {
    pub(super) fn new(count: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(count)))
    }

    /// A place, if one is free.
    pub(super) fn take(&self) -> Option<Place> {
        let less = |free: usize| free.checked_sub(1);
        let taken = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, less);
        taken.ok().map(|_| Place(Arc::clone(&self.0)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }
}
