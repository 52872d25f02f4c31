//! `info()`: series get the labels of info series that belong to the same target.
//!
//! An info series belongs to a series if both have the same `instance` and `job`. Of several that
//! belong to it under one metric name the newest counts. The time at which info series are looked
//! at follows `@` and `offset` of the first selector in the first argument.
//!
//! COMPAT: the rules and texts of Prometheus 3.14. Where two info metrics give one label two
//! values, which of the two Prometheus meets first is left to chance; here it is the one whose
//! metric name sorts first, and the error is the same.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hashbrown::HashMap;

use super::ast::{Expr, NodeId};
use super::columns::{Bitmap, Column, Grid, Operand, Sample, Series, Vector};
use super::engine::QueryError;
use super::evaluator::Evaluator;
use super::extended::Overhang;
use super::plan::unwrap_parens;
use super::windows::{SampleTimes, Taken};
use crate::model::{Labels, LabelsBuilder, METRIC_NAME, MatchOp, Matcher};

/// Labels that say which target a series comes from.
const IDENTIFYING: [&str; 2] = ["instance", "job"];
const DEFAULT_METRIC: &str = "target_info";

/// What the second argument asks for.
struct Wanted {
    /// Conditions on the info metrics' names.
    names: Vec<Matcher>,
    /// Conditions on data labels; where there are any, only these labels are taken.
    data: Vec<Matcher>,
}

impl Wanted {
    fn of(matchers: Option<&[Matcher]>) -> Result<Self, QueryError> {
        let written = matchers.unwrap_or_default();
        let (mut names, data): (Vec<_>, Vec<_>) =
            written.iter().cloned().partition(|matcher| matcher.name == METRIC_NAME);
        let is_positive = |m: &Matcher| matches!(m.op, MatchOp::Equal | MatchOp::Regex);
        if names.is_empty() {
            names.push(Matcher::equal(METRIC_NAME, DEFAULT_METRIC));
        } else if !names.iter().any(is_positive) {
            names.insert(0, regex_matcher(METRIC_NAME, ".+_info")?);
        }
        Ok(Self { names, data })
    }

    fn is_info(&self, labels: &Labels) -> bool {
        self.names.iter().all(|matcher| matcher.matches(labels.metric_name()))
    }

    fn takes(&self, label: &str) -> bool {
        label != METRIC_NAME
            && (self.data.is_empty() || self.data.iter().any(|matcher| matcher.name == label))
    }
}

fn regex_matcher(name: &str, pattern: impl Into<String>) -> Result<Matcher, QueryError> {
    Matcher::new(name, MatchOp::Regex, pattern)
        .map_err(|error| QueryError::execution(error.to_string()))
}

/// A target as a series names it.
type Target = [Option<String>; 2];

fn target(labels: &Labels) -> Target {
    IDENTIFYING.map(|name| labels.get(name).map(str::to_owned))
}

/// Info series of one name and target.
struct Group {
    members: Vec<usize>,
    /// The newest member at each step, one more than its index; 0 for none. Only where there are
    /// several.
    newest: Vec<u32>,
}

/// All info series, grouped.
struct Infos {
    series: Vec<Series>,
    groups: Vec<Group>,
    /// Groups of each target, in order of metric names.
    by_target: HashMap<Target, Vec<usize>>,
}

impl Infos {
    fn new(vector: Vector) -> Self {
        let mut found: BTreeMap<(String, Target), Vec<usize>> = BTreeMap::new();
        for (index, series) in vector.series.iter().enumerate() {
            let key = (series.labels.metric_name().to_owned(), target(&series.labels));
            found.entry(key).or_default().push(index);
        }
        let mut infos =
            Self { series: vector.series, groups: Vec::new(), by_target: HashMap::new() };
        for ((_, target), members) in found {
            infos.by_target.entry(target).or_default().push(infos.groups.len());
            infos.groups.push(Group { members, newest: Vec::new() });
        }
        infos
    }

    /// Finds the newest member of each group; an error where two are equally new at a step of
    /// `active`.
    fn find_newest(&mut self, active: &Bitmap) -> Result<(), QueryError> {
        let mut conflict: Option<(usize, String)> = None;
        for group in self.groups.iter_mut().filter(|group| group.members.len() > 1) {
            group.newest = vec![0; active.len()];
            for &member in &group.members {
                let new = &self.series[member];
                for (step, new_s) in new.column.iter() {
                    let Some(known) = (group.newest[step] as usize).checked_sub(1) else {
                        group.newest[step] = member as u32 + 1;
                        continue;
                    };
                    let known = &self.series[known];
                    let known_s = known.column.values[step];
                    if new_s > known_s {
                        group.newest[step] = member as u32 + 1;
                    } else if new_s >= known_s
                        && active.get(step)
                        && conflict.as_ref().is_none_or(|(first, _)| step < *first)
                    {
                        let text = format!(
                            "found duplicate series for info metric: existing {} @ {}, new {} @ {}",
                            known.labels,
                            milliseconds(known_s),
                            new.labels,
                            milliseconds(new_s),
                        );
                        conflict = Some((step, text));
                    }
                }
            }
        }
        conflict.map_or(Ok(()), |(_, text)| Err(QueryError::execution(text)))
    }

    /// The info series of `group` that counts at `step`.
    fn at(&self, group: usize, step: usize) -> Option<usize> {
        let group = &self.groups[group];
        match group.members.as_slice() {
            &[member] => self.series[member].column.valid.get(step).then_some(member),
            _ => (group.newest[step] as usize).checked_sub(1),
        }
    }
}

fn milliseconds(seconds: f64) -> i64 {
    (seconds * 1000.0).round() as i64
}

impl Evaluator<'_> {
    /// Evaluates a call of `info`.
    pub(super) fn info(&mut self, id: NodeId, grid: Grid) -> Result<Operand, QueryError> {
        let ast = self.ast;
        let Expr::Call { args, .. } = ast.expr(id) else { unreachable!("BUG: called for calls") };
        let matchers = args.get(1).map(|arg| match ast.expr(unwrap_parens(ast, *arg)) {
            Expr::Selector(selector) => selector.matchers.as_slice(),
            _ => unreachable!("BUG: the parser checked the argument"),
        });
        let wanted = Wanted::of(matchers)?;
        let base = self.take_vector(args[0], grid)?;
        let times = self.info_times(args[0], grid);
        let mut infos =
            Infos::new(self.info_series(&wanted, &base, (times, self.plan.node(id).scope))?);
        let mut active = Bitmap::none(grid.steps);
        for series in &base.series {
            active.unite(&series.column.valid);
        }
        let several = infos.groups.iter().filter(|group| group.members.len() > 1).count();
        self.budget.ensure(several, grid.steps)?;
        infos.find_newest(&active)?;
        let mut out = Vector::default();
        for series in base.series {
            self.budget.check_time()?;
            if wanted.is_info(&series.labels) {
                out.series.push(series);
            } else {
                self.enrich(&series, &infos, &wanted, &mut out)?;
            }
        }
        out.finish(&self.budget)?;
        Ok(Operand::Vector(out))
    }

    /// When info series are looked at.
    fn info_times(&self, argument: NodeId, grid: Grid) -> SampleTimes {
        let mut times = SampleTimes { grid, offset_ms: 0, fixed_ms: None };
        // Nodes still to be looked at, each with the subqueries around it, innermost last.
        let mut ahead = vec![(argument, Vec::new())];
        while let Some((id, mut around)) = ahead.pop() {
            let expr = self.ast.expr(id);
            if let Expr::Selector(selector) = expr {
                around.push(selector.modifiers);
                for modifiers in around.iter().rev() {
                    times.offset_ms = times.offset_ms.saturating_add(modifiers.offset_ms);
                    times.fixed_ms = self.plan.fixed_ms(*modifiers);
                    if times.fixed_ms.is_some() {
                        break;
                    }
                }
                return times;
            }
            if let Expr::Subquery { modifiers, .. } = expr {
                around.push(*modifiers);
            }
            let mut children: Vec<_> = expr.children().collect();
            // A parameter comes behind what is aggregated.
            if !matches!(expr, Expr::Aggregate { .. }) {
                children.reverse();
            }
            ahead.extend(children.into_iter().map(|child| (child, around.clone())));
        }
        times
    }

    /// Info series of the targets of `base`; their values are the times of their samples.
    fn info_series(
        &mut self,
        wanted: &Wanted,
        base: &Vector,
        (times, scope): (SampleTimes, usize),
    ) -> Result<Vector, QueryError> {
        let mut matchers = wanted.data.clone();
        let mut is_any_named = false;
        for name in IDENTIFYING {
            let concerned = base.series.iter().filter(|series| !wanted.is_info(&series.labels));
            let values: BTreeSet<_> =
                concerned.filter_map(|series| series.labels.get(name)).collect();
            if !values.is_empty() {
                is_any_named = true;
                let escaped: Vec<_> = values.into_iter().map(escape).collect();
                matchers.push(regex_matcher(name, escaped.join("|"))?);
            }
        }
        if !is_any_named {
            return Ok(Vector::default());
        }
        matchers.extend(wanted.names.iter().cloned());
        let Some(range) = times.touched(self.lookback_ms, Overhang::default()) else {
            return Ok(Vector::default());
        };
        let set = self.storage.select(&matchers, range, self.budget.cancellation())?;
        for warning in set.warnings() {
            self.annotations.get_mut().warn_raw(warning);
        }
        let mut stream = self.look_back_stream(&*set, times, (Taken::TimeOfFloat, scope));
        stream.reading_drops_name = false;
        let vector = stream.collect(&self.budget, self.delayed_name_removal)?;
        let is_asked = |step: usize| base.series.iter().any(|s| s.column.valid.get(step));
        for series in vector.series.iter().filter(|series| series.column.has_histograms()) {
            let mut samples = series.column.samples();
            if samples.any(|(step, sample)| sample.is_histogram() && is_asked(step)) {
                return Err(QueryError::execution("info sample should be float"));
            }
        }
        Ok(vector)
    }

    /// Gives a series the labels of the info series that count at each step: as many series as
    /// there are sets of labels.
    fn enrich(
        &self,
        series: &Series,
        infos: &Infos,
        wanted: &Wanted,
        out: &mut Vector,
    ) -> Result<(), QueryError> {
        let groups = infos.by_target.get(&target(&series.labels));
        let groups = groups.map_or(&[][..], Vec::as_slice);
        let steps = series.column.steps();
        let mut results: HashMap<Vec<usize>, Option<usize>> = HashMap::new();
        let mut current: (Vec<usize>, Option<usize>) = (vec![usize::MAX], None);
        let mut counting = Vec::with_capacity(groups.len());
        for (step, sample) in series.column.samples() {
            counting.clear();
            counting.extend(groups.iter().filter_map(|group| infos.at(*group, step)));
            if counting != current.0 {
                let place = if let Some(place) = results.get(&counting) {
                    *place
                } else {
                    let labels = enriched(&series.labels, &counting, infos, wanted)?;
                    let place = labels.map(|labels| (out.series.len(), labels));
                    if let Some((_, labels)) = &place {
                        self.budget.ensure(out.series.len() + 1, steps)?;
                        let (labels, drop_name) = (labels.clone(), series.drop_name);
                        let column = Column::empty(steps);
                        out.series.push(Series { labels, drop_name, column });
                    }
                    let place = place.map(|(place, _)| place);
                    results.insert(counting.clone(), place);
                    place
                };
                current = (counting.clone(), place);
            }
            if let Some(place) = current.1 {
                let column = &mut out.series[place].column;
                match sample {
                    Sample::Float(value) => column.set(step, value),
                    Sample::Histogram(histogram) => {
                        column.set_histogram(step, Arc::clone(histogram));
                    }
                }
            }
        }
        Ok(())
    }
}

/// The labels of a series with those of the info series that count; `None` where none does
/// although a label is asked for.
fn enriched(
    base: &Labels,
    counting: &[usize],
    infos: &Infos,
    wanted: &Wanted,
) -> Result<Option<Labels>, QueryError> {
    if counting.is_empty() && wanted.data.iter().any(|matcher| !matcher.matches_empty()) {
        return Ok(None);
    }
    let mut builder = LabelsBuilder::from_labels(base);
    let mut given: BTreeMap<&str, &str> = BTreeMap::new();
    for index in counting {
        for (name, value) in &infos.series[*index].labels {
            if !wanted.takes(name) {
                continue;
            }
            if given.get(name).is_some_and(|known| *known != value) {
                return Err(QueryError::execution(format!("conflicting label: {name}")));
            }
            if base.get(name).is_none() {
                given.insert(name, value);
                builder.set(name, value);
            }
        }
    }
    Ok(Some(builder.build()))
}

/// `text` as a regular expression that matches nothing else.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if "\\.+*?()|[]{}^$".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}
