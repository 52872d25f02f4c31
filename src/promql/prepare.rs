//! What series are read from, by which function, with which arguments: all that a stream is made
//! of, found before it runs.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::annotations::Annotations;
use super::ast::{Expr, NodeId, Selector};
use super::calls::{taken_by, unsupported};
use super::columns::{Bitmap, Column, Grid, Vector};
use super::engine::QueryError;
use super::evaluator::Evaluator;
use super::extended::Overhang;
use super::functions::extended::extended_function;
use super::functions::extended_mixed::extended_mixed_function;
use super::functions::window::{
    MixedFunction, WindowFunction, keeps_name, mixed_function, window_function,
};
use super::nested::{Nested, NestedData};
use super::plan::{unwrap_parens, window_argument};
use super::reading::{Inside, Reader, Reading, Source};
use super::spread::Crew;
use super::stream::{Observed, Stage, Stream};
use super::windows::{SampleTimes, Taken};
use crate::model::{METRIC_NAME, MatchOp};
use crate::select::{SeriesSet, Wanted};

/// What a stream borrows from.
pub(super) enum SourceData {
    Storage(Arc<dyn SeriesSet>),
    Subquery(Inside),
    Nested(Box<NestedData>),
}

/// Everything about a source but what it borrows.
pub(super) struct Prepared {
    data: SourceData,
    times: SampleTimes,
    /// What an instant selector takes from its samples.
    taken: Taken,
    /// `None` for an instant selector.
    pub window: Option<PreparedWindow>,
    pub drops_name: bool,
    /// Whether all series have the same metric name, so that dropping it leaves them distinct.
    pub one_name: bool,
    /// What of the samples the result depends on.
    wanted: Wanted,
    stats_only: bool,
    scope: usize,
    observed: Observed,
}

/// A function of windows and what it is given.
pub(super) struct PreparedWindow {
    function: WindowFunction,
    mixed: MixedFunction,
    range_ms: i64,
    overhang: Overhang,
    /// How much is read before the windows; see [`Reading::Window`].
    before_ms: i64,
    /// The other arguments.
    pub scalars: Vec<Column>,
    samples_min: usize,
    uses_starts: bool,
}

impl Observed {
    /// What function `name` has to know of its windows.
    fn asked_by(name: &str, grid: Grid, typed: bool) -> Self {
        Self {
            typed,
            no_counters: matches!(name, "rate" | "increase").then(BTreeSet::new),
            filled: matches!(name, "quantile_over_time" | "double_exponential_smoothing")
                .then(|| Bitmap::none(grid.steps)),
            ..Self::default()
        }
    }
}

impl Prepared {
    /// Only where series have samples matters, if that is all that their columns depend on.
    pub(super) fn want_times(&mut self) {
        if self.window.is_none() && self.taken == Taken::Value {
            self.wanted = Wanted::Times;
        }
    }

    /// The series that are read.
    ///
    /// # Panics
    /// Where they are not storage's: the caller's bug.
    pub(super) fn set(&self) -> &dyn SeriesSet {
        match &self.data {
            SourceData::Storage(set) => &**set,
            _ => unreachable!("BUG: asked of what reads storage"),
        }
    }

    /// What stands inside of a subquery, where that is read series by series.
    pub(super) fn nested(&self) -> Option<&NestedData> {
        match &self.data {
            SourceData::Nested(nested) => Some(nested),
            _ => None,
        }
    }

    /// What is to be observed: of the source itself, and of what stands inside of it.
    pub(super) fn take_observed(&mut self) -> (Observed, Observed) {
        let inside = match &mut self.data {
            SourceData::Nested(nested) => std::mem::take(&mut nested.prepared.observed),
            _ => Observed::default(),
        };
        (std::mem::take(&mut self.observed), inside)
    }

    fn reader(&self, lookback_ms: i64) -> Reader<'_> {
        let source = match &self.data {
            SourceData::Storage(set) => Source::Storage(&**set),
            SourceData::Subquery(inside) => Source::Subquery(inside),
            SourceData::Nested(data) => {
                let reader = data.prepared.reader(lookback_ms);
                Source::Nested(Box::new(Nested { reader, data }))
            }
        };
        let reading = match &self.window {
            None => Reading::LookBack { lookback_ms, taken: self.taken },
            Some(window) => Reading::Window {
                function: window.function,
                mixed: window.mixed,
                range_ms: window.range_ms,
                overhang: window.overhang,
                before_ms: window.before_ms,
                scalars: &window.scalars,
                samples_min: window.samples_min,
                uses_starts: window.uses_starts,
            },
        };
        let Self { times, wanted, stats_only, scope, .. } = *self;
        Reader { source, reading, times, read: None, wanted, stats_only, scope }
    }

    pub(super) fn stream<'s>(
        &'s self,
        (lookback_ms, annotations, crew): (i64, &'s RefCell<Annotations>, &'s Crew<'s>),
        stages: Vec<Stage>,
        (observed, inside): (Observed, Observed),
    ) -> Stream<'s> {
        Stream {
            reader: self.reader(lookback_ms),
            crew,
            stages,
            reading_drops_name: self.drops_name,
            observed: RefCell::new(observed),
            inside: RefCell::new(inside),
            annotations,
        }
    }
}

impl Evaluator<'_> {
    /// Selects the series of source `id` and takes the other arguments; `None` where there is
    /// nothing to read.
    pub(super) fn prepare(
        &mut self,
        id: NodeId,
        grid: Grid,
    ) -> Result<Option<Prepared>, QueryError> {
        let ast = self.ast;
        if let Expr::Selector(selector) = ast.expr(id) {
            return self.prepare_instant(id, selector, grid);
        }
        let name = self.function_name(id);
        let mut function = window_function(name).ok_or_else(|| unsupported(name))?;
        let mut mixed = mixed_function(name);
        let mut overhang = Overhang::default();
        let (place, matrix) = window_argument(ast, id).expect("BUG: a source is a window call");
        let scalars = self.scalar_arguments(id, place, grid)?;
        // Only sums tell of hints that contradict each other.
        let tells_hints = is_sum(name) && self.plan.node(matrix).stats_only;
        let before_ms = if tells_hints { self.lookback_ms } else { 0 };
        let (data, times, range_ms, one_name) = match ast.expr(matrix) {
            Expr::Window { selector, range_ms, .. } => {
                let Expr::Selector(selector) = ast.expr(*selector) else {
                    unreachable!("BUG: a window is over a selector")
                };
                if let Some(extension) = selector.extension {
                    function = extended_function(name, extension).map_err(QueryError::execution)?;
                    mixed = extended_mixed_function(name, extension);
                    overhang = Overhang::of_window(selector.extension, self.lookback_ms);
                }
                let times = self.sample_times(selector, grid);
                let width_ms = range_ms.saturating_add(before_ms);
                let Some(range) = times.touched(width_ms, overhang) else { return Ok(None) };
                let set = self.select(selector, range)?;
                (SourceData::Storage(set), times, *range_ms, names_one_metric(selector))
            }
            Expr::Subquery { expr, range_ms, modifiers, .. } => {
                let fixed_ms = self.plan.fixed_ms(*modifiers);
                let times = SampleTimes { grid, offset_ms: modifiers.offset_ms, fixed_ms };
                let (data, one_name) = self.subquery(*expr, self.plan.subquery_grid(matrix))?;
                (data, times, *range_ms, one_name)
            }
            _ => unreachable!("BUG: a matrix is a window or a subquery"),
        };
        let window = Some(PreparedWindow {
            function,
            mixed,
            range_ms,
            overhang,
            before_ms,
            scalars,
            samples_min: if takes_one(name) { 1 } else { 2 },
            uses_starts: self.use_start_timestamps && looks_at_starts(name),
        });
        let stats_only =
            self.plan.node(matrix).stats_only && matches!(data, SourceData::Storage(_));
        Ok(Some(Prepared {
            data,
            times,
            taken: Taken::Value,
            window,
            drops_name: !keeps_name(name),
            one_name,
            wanted: Wanted::Samples,
            stats_only,
            scope: self.plan.node(id).scope,
            observed: Observed::asked_by(name, grid, self.type_and_unit_labels),
        }))
    }

    /// What stands inside of a subquery, evaluated or to be evaluated series by series, and whether
    /// all its series have one name.
    fn subquery(&mut self, expr: NodeId, grid: Grid) -> Result<(SourceData, bool), QueryError> {
        let source = unwrap_parens(self.ast, expr);
        if self.plan.node(source).fused {
            self.budget.ensure(1, grid.steps)?;
            let Some(prepared) = self.prepare(source, grid)? else {
                return Ok((SourceData::Subquery(Inside::new(Vector::default(), grid)), true));
            };
            let delayed = self.delayed_name_removal;
            let (nested, bytes) = NestedData::new((source, prepared), delayed, &self.budget)?;
            self.note_taken((0, bytes));
            let one_name = nested.has_one_name();
            return Ok((SourceData::Nested(Box::new(nested)), one_name));
        }
        let vector = self.take_vector(expr, grid)?;
        let mut names = vector.series.iter().map(|series| series.labels.metric_name());
        let first = names.next();
        let one_name = names.all(|name| Some(name) == first);
        Ok((SourceData::Subquery(Inside::new(vector, grid)), one_name))
    }

    fn prepare_instant(
        &mut self,
        id: NodeId,
        selector: &Selector,
        grid: Grid,
    ) -> Result<Option<Prepared>, QueryError> {
        let times = self.sample_times(selector, grid);
        let overhang = Overhang::of_instant(selector.extension, self.lookback_ms);
        let Some(range) = times.touched(self.lookback_ms, overhang) else { return Ok(None) };
        Ok(Some(Prepared {
            data: SourceData::Storage(self.select(selector, range)?),
            times,
            taken: taken_by(selector),
            window: None,
            drops_name: false,
            one_name: names_one_metric(selector),
            wanted: Wanted::Samples,
            stats_only: self.plan.node(id).stats_only,
            scope: self.plan.node(id).scope,
            observed: Observed::default(),
        }))
    }

    fn scalar_arguments(
        &mut self,
        id: NodeId,
        matrix_place: usize,
        grid: Grid,
    ) -> Result<Vec<Column>, QueryError> {
        let Expr::Call { args, .. } = self.ast.expr(id) else { return Ok(Vec::new()) };
        let mut scalars = Vec::new();
        for (place, arg) in args.iter().enumerate() {
            if place != matrix_place {
                scalars.push(self.take_scalar(*arg, grid)?);
            }
        }
        Ok(scalars)
    }
}

fn is_sum(name: &str) -> bool {
    matches!(name, "sum_over_time" | "avg_over_time")
}

/// Whether a function has a value for a window of a single float.
fn takes_one(name: &str) -> bool {
    matches!(name, "changes" | "resets") || name.ends_with("_over_time")
}

fn looks_at_starts(name: &str) -> bool {
    matches!(name, "rate" | "increase" | "irate" | "resets")
}

/// Whether all series of a selector have the same name.
pub(super) fn names_one_metric(selector: &Selector) -> bool {
    let is_name = |name: &str, op| name == METRIC_NAME && op == MatchOp::Equal;
    selector.matchers.iter().any(|matcher| is_name(&matcher.name, matcher.op))
}
