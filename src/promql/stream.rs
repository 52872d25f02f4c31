//! Series one after the other: from a selector or a window function, through maps, to a sink.
//!
//! This is how an aggregation over many series holds only its groups: each series' column is
//! computed, taken in and forgotten.

use std::cell::RefCell;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::annotations::Annotations;
use super::ast::{BinaryOp, Span};
use super::budget::{Budget, STEPS_PER_LOOK};
use super::columns::{Bitmap, Column, Series, Vector, without_name};
use super::engine::QueryError;
use super::forecast;
use super::functions::MapFunction;
use super::functions::window::WindowNotes;
use super::operators::scalar_operand;
use super::reading::{Reader, Reading, Source};
use super::spread::{self, Crew};
use crate::model::Labels;

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
    pub(super) fn apply(
        &self,
        column: &mut Column,
        annotations: &RefCell<Annotations>,
        budget: &Budget<'_>,
    ) -> Result<(), QueryError> {
        let is_whole = column.steps() <= STEPS_PER_LOOK;
        budget.change(column, |column, steps| match self {
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
                if is_whole {
                    return function(column, scalars);
                }
                let of_steps = |scalar: &Column| scalar.piece(steps.clone());
                let scalars: Vec<Column> = scalars.iter().map(of_steps).collect();
                function(column, &scalars);
            }
            Self::Scalar(stage) => {
                scalar_operand::apply(stage, &stage.scalar.values[steps], column, annotations);
            }
        })
    }
}

/// A source and the maps behind it.
pub(super) struct Stream<'a> {
    pub reader: Reader<'a>,
    pub stages: Vec<Stage>,
    /// What series are computed with.
    pub crew: &'a Crew<'a>,
    /// Whether the reading itself takes the name away.
    pub reading_drops_name: bool,
    /// What the reading found out on the way.
    pub observed: RefCell<Observed>,
    /// The same of what stands inside of a subquery, where that is read series by series.
    pub inside: RefCell<Observed>,
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
        self.note_name(labels, || !column.has_histograms() || column.iter().next().is_some());
        if let Some(filled) = &mut self.filled {
            filled.unite(&column.valid);
        }
    }

    /// Notes a metric that has results but no counter's name.
    fn note_name(&mut self, labels: &Labels, has_floats: impl Fn() -> bool) {
        if let Some(metrics) = &mut self.no_counters {
            let name = labels.metric_name();
            let metric_type = self.typed.then(|| labels.get("__type__").unwrap_or(""));
            let looks_like_one = match metric_type {
                Some(metric_type) => matches!(metric_type, "counter" | "histogram"),
                None => ["_total", "_sum", "_count", "_bucket"].iter().any(|s| name.ends_with(s)),
            };
            if !name.is_empty() && !looks_like_one && has_floats() {
                let metric = (name.to_owned(), metric_type.map(str::to_owned));
                if !metrics.contains(&metric) {
                    metrics.insert(metric);
                }
            }
        }
    }

    /// Notes what window functions found.
    fn note_found(&mut self, labels: &Labels, notes: WindowNotes) {
        if !notes.kinds.is_empty() || notes.overlaps > 0 {
            let name = labels.metric_name().to_owned();
            self.notes.entry(name).or_default().extend(notes);
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
        let drops_name = self.drops_name();
        spread::run(&self.reader, self.crew, budget, &mut |computed, column| {
            let (labels, inherited) = self.reader.labels(computed.index);
            self.observed.borrow_mut().note(labels, column);
            self.observed.borrow_mut().note_found(labels, computed.notes);
            if let (Some(found), Source::Nested(nested)) = (computed.found, &self.reader.source) {
                let (labels, _) = nested.reader.labels(computed.index);
                let mut inside = self.inside.borrow_mut();
                if found.has_values {
                    inside.note_name(labels, || found.has_floats);
                }
                inside.note_found(labels, found.notes);
            }
            let mut has_name = true;
            if self.reading_drops_name {
                has_name = false;
                let is_window = matches!(self.reader.reading, Reading::Window { .. });
                self.observed.borrow_mut().note_nameless(labels, column, is_window);
            }
            for stage in &self.stages {
                stage.apply(column, self.annotations, budget)?;
                if has_name && stage.drops_name() {
                    has_name = false;
                    self.observed.borrow_mut().note_nameless(labels, column, false);
                }
            }
            if column.valid.is_none() {
                return Ok(());
            }
            sink(Passing { labels, drop_name: drops_name || inherited, column })
        })
    }

    /// All series as a vector.
    pub(super) fn collect(
        &self,
        budget: &Budget<'_>,
        delayed_name_removal: bool,
    ) -> Result<Vector, QueryError> {
        if self.stages.is_empty() {
            forecast::check(&self.reader, budget)?;
        }
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
}
