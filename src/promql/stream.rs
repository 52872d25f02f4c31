//! Series one after the other: from a selector or a window function, through maps, to a sink.
//!
//! This is how an aggregation over many series holds only its groups: each series' column is
//! computed, taken in and forgotten.

use std::cell::RefCell;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::annotations::Annotations;
use super::ast::{BinaryOp, Extension, Span};
use super::budget::Budget;
use super::columns::{Bitmap, Column, Grid, Sample, Series, Vector, without_name};
use super::engine::QueryError;
use super::extended::{Overhang, smooth};
use super::functions::window::{MixedFunction, WindowFunction, WindowNotes};
use super::functions::{MapFunction, extended_mixed};
use super::operators::scalar_operand;
use super::windows::{SampleTimes, Taken, WORK_PER_CHECK, Windows, look_back};
use crate::model::{Labels, TimeRange};
use crate::select::{SAMPLE_BYTES, SeriesSet};

/// Where samples come from.
pub(super) enum Source<'a> {
    /// Storage.
    Storage(&'a dyn SeriesSet),
    /// A subquery's result, over its own grid.
    Subquery(&'a Vector, Grid),
}

/// How samples become a column.
pub(super) enum Reading<'a> {
    /// The newest sample within the lookback.
    LookBack { lookback_ms: i64, taken: Taken },
    /// A function of the samples within a window.
    Window {
        function: WindowFunction,
        /// What it does with histograms, and with the starts of counters.
        mixed: MixedFunction,
        range_ms: i64,
        overhang: Overhang,
        /// How much is read before the windows, so that the first histogram of the first one can
        /// be compared with the one before it; 0 where that does not matter.
        before_ms: i64,
        scalars: &'a [Column],
        /// Whether it is given when counters began.
        uses_starts: bool,
    },
}

/// One map of a column.
pub(super) enum Stage {
    /// Unary minus.
    Negate,
    /// A function of each value.
    Map(MapFunction, Vec<Column>),
    /// A binary operator with a scalar.
    Scalar(ScalarStage),
}

/// A binary operator between a vector and a scalar.
pub(super) struct ScalarStage {
    pub op: BinaryOp,
    pub scalar: Column,
    /// The scalar stands on the left.
    pub scalar_left: bool,
    pub return_bool: bool,
    /// Where the operation stands in the text.
    pub span: Span,
}

impl Stage {
    /// Whether the result is another quantity than the input, so that the name goes.
    pub(super) fn drops_name(&self) -> bool {
        match self {
            Self::Negate | Self::Map(..) => true,
            Self::Scalar(stage) => stage.op.changes_quantity() || stage.return_bool,
        }
    }

    /// Applies the map. Functions of floats drop histograms.
    pub(super) fn apply(&self, column: &mut Column, annotations: &RefCell<Annotations>) {
        match self {
            Self::Negate => {
                column.map(|value| -value);
                for histogram in column.histograms.iter_mut().flatten() {
                    Arc::make_mut(histogram).multiply(-1.0);
                }
            }
            Self::Map(function, scalars) => {
                if column.has_histograms() {
                    column.drop_histograms();
                }
                function(column, scalars);
            }
            Self::Scalar(stage) => scalar_operand::apply(stage, column, annotations),
        }
    }
}

/// A source and the maps behind it.
pub(super) struct Stream<'a> {
    pub source: Source<'a>,
    pub reading: Reading<'a>,
    pub times: SampleTimes,
    /// What is read, where that is not what the times touch.
    pub read: Option<TimeRange>,
    pub stages: Vec<Stage>,
    /// Whether the reading itself takes the name away.
    pub reading_drops_name: bool,
    /// What the reading found out on the way.
    pub observed: RefCell<Observed>,
    /// Whether all that is asked of histograms is their count and sum.
    pub stats_only: bool,
    /// Where the maps say what they could not do.
    pub annotations: &'a RefCell<Annotations>,
}

/// What is asked of a reading besides its columns.
#[derive(Debug, Default)]
pub(super) struct Observed {
    /// Names of metrics with results that do not look like counters, where asked for; and their
    /// types, where those are labels.
    pub no_counters: Option<BTreeSet<(String, Option<String>)>>,
    /// Types are labels.
    pub typed: bool,
    /// Steps at which a window held a sample, where asked for.
    pub filled: Option<Bitmap>,
    /// Labels that series have once their names have gone, and where they have values then; where
    /// that is asked for.
    pub nameless: Option<HashMap<Labels, Bitmap>>,
    /// Two of them are equal at the same step; of windows, at any.
    pub is_any_twice: bool,
    /// What window functions found, by metric name.
    pub notes: BTreeMap<String, WindowNotes>,
}

impl Observed {
    fn note(&mut self, labels: &Labels, column: &Column) {
        if column.valid.is_none() {
            return;
        }
        if let Some(metrics) = &mut self.no_counters {
            let name = labels.metric_name();
            let metric_type = self.typed.then(|| labels.get("__type__").unwrap_or(""));
            let looks_like_one = match metric_type {
                Some(metric_type) => matches!(metric_type, "counter" | "histogram"),
                None => ["_total", "_sum", "_count", "_bucket"].iter().any(|s| name.ends_with(s)),
            };
            let has_floats = !column.has_histograms() || column.iter().next().is_some();
            if !name.is_empty() && !looks_like_one && has_floats {
                let metric = (name.to_owned(), metric_type.map(str::to_owned));
                if !metrics.contains(&metric) {
                    metrics.insert(metric);
                }
            }
        }
        if let Some(filled) = &mut self.filled {
            filled.unite(&column.valid);
        }
    }

    /// Notes what is left of a series where its name goes.
    fn note_nameless(&mut self, labels: &Labels, column: &Column, is_window: bool) {
        let Some(nameless) = &mut self.nameless else { return };
        if column.valid.is_none() {
            return;
        }
        match nameless.entry(without_name(labels)) {
            Entry::Occupied(mut known) => {
                self.is_any_twice |= is_window || known.get().first_common(&column.valid).is_some();
                known.get_mut().unite(&column.valid);
            }
            Entry::Vacant(empty) => {
                empty.insert(column.valid.clone());
            }
        }
    }
}

/// One series on its way to a sink.
pub(super) struct Passing<'a> {
    /// Labels of the source.
    pub labels: &'a Labels,
    /// Whether the name has gone, or is to go.
    pub drop_name: bool,
    /// The values; at least one. The sink may take them.
    pub column: &'a mut Column,
}

impl Stream<'_> {
    /// Whether the name goes from every series.
    pub(super) fn drops_name(&self) -> bool {
        self.reading_drops_name || self.stages.iter().any(Stage::drops_name)
    }

    /// Runs all series through.
    pub(super) fn run(
        &self,
        budget: &Budget<'_>,
        sink: &mut dyn FnMut(Passing<'_>) -> Result<(), QueryError>,
    ) -> Result<(), QueryError> {
        let steps = self.times.grid.steps;
        let (width_ms, overhang) = match self.reading {
            Reading::LookBack { lookback_ms, taken: Taken::Smoothed } => {
                (lookback_ms, Overhang::of_instant(Some(Extension::Smoothed), lookback_ms))
            }
            Reading::LookBack { lookback_ms, .. } => (lookback_ms, Overhang::default()),
            Reading::Window { range_ms, overhang, before_ms, .. } => {
                (range_ms.saturating_add(before_ms), overhang)
            }
        };
        let touched = self.times.touched(width_ms, overhang);
        let Some(range) = self.read.or(touched) else { return Ok(()) };
        let drops_name = self.drops_name();
        let mut windows = Windows::new(self.stats_only).watching(budget.cancellation());
        budget.ensure(1, steps)?;
        // The column, and which samples each window has.
        let walk_bytes = (steps as u64).saturating_mul(SAMPLE_BYTES);
        budget.charge_bytes(walk_bytes)?;
        let mut column = Column::empty(steps);
        for index in 0..self.len() {
            budget.check_time()?;
            self.read(index, range, &mut windows)?;
            if windows.samples().is_empty() {
                continue;
            }
            let held = windows.cost();
            budget.charge(held)?;
            let mut notes = WindowNotes::default();
            self.compute(&mut windows, &mut column, &mut notes, budget);
            if windows.in_windows() + steps as u64 >= WORK_PER_CHECK as u64 {
                budget.cancellation().check()?;
            }
            budget.release(held);
            let (labels, inherited) = self.labels(index);
            self.observed.borrow_mut().note(labels, &column);
            if !notes.kinds.is_empty() || notes.overlaps > 0 {
                let mut observed = self.observed.borrow_mut();
                let name = labels.metric_name().to_owned();
                observed.notes.entry(name).or_default().extend(notes);
            }
            let mut has_name = true;
            if self.reading_drops_name {
                has_name = false;
                let is_window = matches!(self.reading, Reading::Window { .. });
                self.observed.borrow_mut().note_nameless(labels, &column, is_window);
            }
            for stage in &self.stages {
                stage.apply(&mut column, self.annotations);
                if has_name && stage.drops_name() {
                    has_name = false;
                    self.observed.borrow_mut().note_nameless(labels, &column, false);
                }
            }
            if column.valid.is_none() {
                continue;
            }
            sink(Passing { labels, drop_name: drops_name || inherited, column: &mut column })?;
        }
        budget.release_bytes(walk_bytes);
        Ok(())
    }

    /// All series as a vector.
    pub(super) fn collect(
        &self,
        budget: &Budget<'_>,
        delayed_name_removal: bool,
    ) -> Result<Vector, QueryError> {
        let mut vector = Vector::default();
        let mut held = 0;
        self.run(budget, &mut |passing| {
            let cost = passing.column.cost();
            budget.charge(cost)?;
            held += cost;
            let column = std::mem::replace(passing.column, Column::empty(0));
            let labels = passing.labels.clone();
            let mut series = Series { labels, drop_name: false, column };
            if passing.drop_name {
                series.drop_name(delayed_name_removal);
            }
            vector.series.push(series);
            Ok(())
        })?;
        budget.release(held);
        Ok(vector)
    }

    fn len(&self) -> usize {
        match &self.source {
            Source::Storage(set) => set.len(),
            Source::Subquery(vector, _) => vector.series.len(),
        }
    }

    fn labels(&self, index: usize) -> (&Labels, bool) {
        match &self.source {
            Source::Storage(set) => (set.labels(index), false),
            Source::Subquery(vector, _) => {
                let series = &vector.series[index];
                (&series.labels, series.drop_name)
            }
        }
    }

    fn read(&self, index: usize, range: TimeRange, out: &mut Windows) -> Result<(), QueryError> {
        out.clear();
        match &self.source {
            Source::Storage(set) => set.read(index, range, out.samples_mut())?,
            Source::Subquery(vector, grid) => {
                for (step, sample) in vector.series[index].column.samples() {
                    let t_ms = grid.time_ms(step);
                    if !range.contains(t_ms) {
                        continue;
                    }
                    match sample {
                        Sample::Float(value) => out.samples_mut().push(t_ms, value),
                        Sample::Histogram(histogram) => out.push_computed(t_ms, histogram),
                    }
                }
            }
        }
        Ok(())
    }

    fn compute(
        &self,
        windows: &mut Windows,
        column: &mut Column,
        notes: &mut WindowNotes,
        budget: &Budget<'_>,
    ) {
        let steps = self.times.grid.steps;
        match &self.reading {
            Reading::LookBack { lookback_ms, taken: Taken::Smoothed } => {
                windows.take_in_histograms();
                windows.drop_stale();
                if windows.has_histograms() {
                    column.reset(steps);
                    let reach = Overhang::of_instant(Some(Extension::Smoothed), *lookback_ms);
                    windows.cut(&self.times, *lookback_ms, reach);
                    let input = windows.input(&self.times, *lookback_ms, &[]);
                    extended_mixed::smooth(&input, column, notes);
                } else {
                    smooth(windows.samples(), &self.times, *lookback_ms, column);
                }
                budget.look_at(column.valid.count() as u64);
            }
            Reading::LookBack { lookback_ms, taken } => {
                if self.stats_only {
                    windows.take_in_histograms();
                }
                look_back(windows, &self.times, *lookback_ms, *taken, column);
                budget.look_at(column.valid.count() as u64);
            }
            Reading::Window {
                function,
                mixed,
                range_ms,
                overhang,
                before_ms,
                scalars,
                uses_starts,
            } => {
                column.reset(steps);
                if *before_ms > 0 {
                    windows.take_in_histograms();
                    windows.drop_until(self.times.at(0).saturating_sub(*range_ms));
                }
                if !uses_starts {
                    windows.drop_starts();
                }
                windows.cut(&self.times, *range_ms, *overhang);
                let input = windows.input(&self.times, *range_ms, scalars);
                let is_stored = matches!(self.source, Source::Storage(_));
                budget.look_at_windows(input.in_windows, if is_stored { input.read } else { 0 });
                if windows.has_histograms() {
                    let mut floats = windows.floats();
                    if !floats.samples().is_empty() {
                        floats.cut(&self.times, *range_ms, *overhang);
                        function(&floats.input(&self.times, *range_ms, scalars), column);
                    }
                } else {
                    function(&input, column);
                }
                if windows.has_histograms() || !input.starts_ms.is_empty() {
                    mixed(&input, column, notes);
                }
                column.valid.compact();
            }
        }
    }
}
