//! Series one after the other: from a selector or a window function, through maps, to a sink.
//!
//! This is how an aggregation over many series holds only its groups: each series' column is
//! computed, taken in and forgotten.

use std::cell::RefCell;
use std::collections::BTreeSet;

use super::ast::{BinaryOp, Extension};
use super::budget::Budget;
use super::columns::{Bitmap, Column, Grid, Series, Vector};
use super::engine::QueryError;
use super::extended::{Overhang, smooth};
use super::functions::MapFunction;
use super::functions::window::WindowFunction;
use super::operators::scalar_operand;
use super::windows::{SampleTimes, Taken, Windows, look_back};
use crate::model::{Labels, Samples, TimeRange};
use crate::select::SeriesSet;

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
    Window { function: WindowFunction, range_ms: i64, overhang: Overhang, scalars: &'a [Column] },
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
}

impl Stage {
    /// Whether the result is another quantity than the input, so that the name goes.
    pub(super) fn drops_name(&self) -> bool {
        match self {
            Self::Negate | Self::Map(..) => true,
            Self::Scalar(stage) => !super::plan::is_comparison(stage.op) || stage.return_bool,
        }
    }

    /// Applies the map.
    pub(super) fn apply(&self, column: &mut Column) {
        match self {
            Self::Negate => column.map(|value| -value),
            Self::Map(function, scalars) => function(column, scalars),
            Self::Scalar(stage) => scalar_operand::apply(stage, column),
        }
    }
}

/// A source and the maps behind it.
pub(super) struct Stream<'a> {
    pub source: Source<'a>,
    pub reading: Reading<'a>,
    pub times: SampleTimes,
    pub stages: Vec<Stage>,
    /// Whether the reading itself takes the name away.
    pub reading_drops_name: bool,
    /// What the reading found out on the way.
    pub observed: RefCell<Observed>,
}

/// What is asked of a reading besides its columns.
#[derive(Debug, Default)]
pub(super) struct Observed {
    /// Names of metrics with results that do not look like counters, where asked for.
    pub no_counters: Option<BTreeSet<String>>,
    /// Steps at which a window held a sample, where asked for.
    pub filled: Option<Bitmap>,
}

impl Observed {
    fn note(&mut self, labels: &Labels, column: &Column) {
        if column.valid.is_none() {
            return;
        }
        if let Some(names) = &mut self.no_counters {
            let name = labels.metric_name();
            let looks_like_one =
                ["_total", "_sum", "_count", "_bucket"].iter().any(|end| name.ends_with(end));
            if !name.is_empty() && !looks_like_one && !names.contains(name) {
                names.insert(name.to_owned());
            }
        }
        if let Some(filled) = &mut self.filled {
            filled.unite(&column.valid);
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
            Reading::Window { range_ms, overhang, .. } => (range_ms, overhang),
        };
        let Some(range) = self.times.touched(width_ms, overhang) else { return Ok(()) };
        let drops_name = self.drops_name();
        let mut windows = Windows::default();
        budget.ensure(1, steps)?;
        let mut column = Column::empty(steps);
        for index in 0..self.len() {
            budget.check_time()?;
            self.read(index, range, windows.samples_mut())?;
            if windows.samples_mut().is_empty() {
                continue;
            }
            let held = windows.samples_mut().len();
            budget.charge(held)?;
            self.compute(&mut windows, &mut column, budget);
            budget.release(held);
            let (labels, inherited) = self.labels(index);
            self.observed.borrow_mut().note(labels, &column);
            for stage in &self.stages {
                stage.apply(&mut column);
            }
            if column.valid.is_none() {
                continue;
            }
            sink(Passing { labels, drop_name: drops_name || inherited, column: &mut column })?;
        }
        Ok(())
    }

    /// All series as a vector.
    pub(super) fn collect(
        &self,
        budget: &Budget<'_>,
        delayed_name_removal: bool,
    ) -> Result<Vector, QueryError> {
        let mut vector = Vector::default();
        let steps = self.times.grid.steps;
        let mut held = 0;
        self.run(budget, &mut |passing| {
            budget.charge(steps)?;
            held += steps;
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

    fn read(&self, index: usize, range: TimeRange, out: &mut Samples) -> Result<(), QueryError> {
        match &self.source {
            Source::Storage(set) => set.read(index, range, out)?,
            Source::Subquery(vector, grid) => {
                out.clear();
                for (step, value) in vector.series[index].column.iter() {
                    let t_ms = grid.time_ms(step);
                    if range.contains(t_ms) {
                        out.push(t_ms, value);
                    }
                }
            }
        }
        Ok(())
    }

    fn compute(&self, windows: &mut Windows, column: &mut Column, budget: &Budget<'_>) {
        let steps = self.times.grid.steps;
        match &self.reading {
            Reading::LookBack { lookback_ms, taken: Taken::Smoothed } => {
                smooth(windows.samples_mut(), &self.times, *lookback_ms, column);
                budget.look_at(column.valid.count() as u64);
            }
            Reading::LookBack { lookback_ms, taken } => {
                let samples = windows.samples_mut();
                look_back(samples, &self.times, *lookback_ms, *taken, column);
                budget.look_at(column.valid.count() as u64);
            }
            Reading::Window { function, range_ms, overhang, scalars } => {
                column.values.clear();
                column.values.resize(steps, 0.0);
                column.valid = Bitmap::none(steps);
                windows.cut(&self.times, *range_ms, *overhang);
                let input = windows.input(&self.times, *range_ms, scalars);
                budget.look_at(input.in_windows);
                function(&input, column);
                column.valid.compact();
            }
        }
    }
}
