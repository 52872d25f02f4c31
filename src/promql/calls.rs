//! Evaluation of calls and aggregations: what each is fed with.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};

use super::ast::{AggregateOp, Expr, Extension, NodeId, Selector, Span, ValueType};
use super::budget::{NOTE_BYTES, STEPS_PER_LOOK};
use super::columns::{Bitmap, Column, Grid, Operand, SameLabelset, Series, Vector};
use super::engine::{MatrixSeries, QueryError};
use super::evaluator::{Evaluator, into_vector};
use super::extended::{Overhang, with_edges};
use super::functions::regression::check_smoothing;
use super::functions::window::WindowNotes;
use super::functions::{self, Call, Implementation, absent};
use super::operators::aggregate::Aggregation;
use super::operators::count_values::count_values;
use super::operators::grouping::Grouping;
use super::operators::rank;
use super::plan::{stage_input, streams, unwrap_parens, window_argument};
use super::prepare::{Prepared, PreparedWindow};
use super::quote::{quote, quote_bytes};
use super::reading::{Reader, Reading, Source};
use super::stream::{Observed, ScalarStage, Stage, Stream};
use super::tally::WHOLE;
use super::windows::{SampleTimes, Taken, Windows};
use crate::model::Labels;
use crate::select::{SeriesSet, Wanted, sort_by};

impl Evaluator<'_> {
    /// A stream of instant samples.
    pub(super) fn look_back_stream<'s>(
        &'s self,
        set: &'s dyn SeriesSet,
        times: SampleTimes,
        (taken, scope): (Taken, usize),
    ) -> Stream<'s> {
        Stream {
            reader: Reader {
                source: Source::Storage(set),
                reading: Reading::LookBack { lookback_ms: self.lookback_ms, taken },
                times,
                read: None,
                wanted: Wanted::Samples,
                stats_only: false,
                scope,
            },
            crew: &self.crew,
            stages: Vec::new(),
            reading_drops_name: matches!(taken, Taken::Time | Taken::Start),
            observed: RefCell::default(),
            inside: RefCell::default(),
            annotations: &self.annotations,
        }
    }

    /// Evaluates a call.
    pub(super) fn call(&mut self, id: NodeId, grid: Grid) -> Result<Operand, QueryError> {
        let Expr::Call { function, args } = self.ast.expr(id) else {
            unreachable!("BUG: called for calls")
        };
        let range = self.plan.range();
        let constant = match function.name {
            "start" => Some(range.start_ms as f64 / 1000.0),
            "end" => Some(range.end_ms as f64 / 1000.0),
            "range" => Some((range.end_ms - range.start_ms) as f64 / 1000.0),
            "step" if range.start_ms == range.end_ms => Some(0.0),
            "step" => Some(range.step_ms as f64 / 1000.0),
            _ => None,
        };
        if let Some(value) = constant {
            return Ok(Operand::Scalar(self.budget.constant(grid.steps, value)?));
        }
        if function.name == "timestamp"
            && let Expr::Selector(selector) = self.ast.expr(unwrap_parens(self.ast, args[0]))
        {
            return self.timestamps(id, selector, Taken::Time);
        }
        if function.name == "start_timestamp"
            && self.use_start_timestamps
            && let Expr::Selector(selector) = self.ast.expr(unwrap_parens(self.ast, args[0]))
        {
            return self.timestamps(id, selector, Taken::Start);
        }
        if function.name == "info" {
            return self.info(id, grid);
        }
        if window_argument(self.ast, id).is_some() {
            return self.window_call(id, grid);
        }
        let mut operands = Vec::with_capacity(args.len());
        for arg in args {
            operands.push(self.take(*arg, grid)?);
        }
        match functions::implementation(function.name) {
            Some(Implementation::Map(map)) => {
                let mut operands = operands.into_iter();
                let vector = operands.next().map(into_vector).unwrap_or_default();
                let stage = Stage::Map(map, operands.map(into_scalar).collect());
                Ok(Operand::Vector(self.apply_stage(&stage, vector)?))
            }
            Some(Implementation::Operands(evaluate)) => {
                let mut call = Call {
                    ast: self.ast,
                    node: id,
                    operands,
                    grid,
                    delayed_name_removal: self.delayed_name_removal,
                    budget: &self.budget,
                    annotations: self.annotations.get_mut(),
                };
                let mut operand = evaluate(&mut call)?;
                if let Operand::Vector(vector) = &mut operand {
                    vector.finish(&self.budget)?;
                }
                Ok(operand)
            }
            None => Err(unsupported(function.name)),
        }
    }

    fn timestamps(
        &mut self,
        id: NodeId,
        selector: &Selector,
        taken: Taken,
    ) -> Result<Operand, QueryError> {
        let super::plan::NodePlan { grid, scope, .. } = self.plan.node(id);
        let mut times = self.sample_times(selector, grid);
        let Some(range) = times.touched(self.lookback_ms, Overhang::default()) else {
            return Ok(Operand::Vector(Vector::default()));
        };
        if times.fixed_ms.is_some() {
            // COMPAT: here alone an offset beside `@` moves what is read and not where it is
            // looked at.
            times.offset_ms = 0;
        }
        let set = self.select(selector, range)?;
        let mut stream = self.look_back_stream(&*set, times, (taken, scope));
        stream.reader.read = Some(range);
        let mut vector = stream.collect(&self.budget, self.delayed_name_removal)?;
        vector.finish(&self.budget)?;
        Ok(Operand::Vector(vector))
    }

    fn window_call(&mut self, id: NodeId, grid: Grid) -> Result<Operand, QueryError> {
        let Some(mut prepared) = self.prepare(id, grid)? else {
            return Ok(Operand::Vector(Vector::default()));
        };
        let observed = prepared.take_observed();
        let place = (self.lookback_ms, &self.annotations, &self.crew);
        let stream = prepared.stream(place, Vec::new(), observed);
        let is_absent = self.function_name(id) == "absent_over_time";
        if prepared.drops_name && !prepared.one_name && !self.delayed_name_removal && !is_absent {
            // COMPAT: unlike elsewhere, equal labels are an error even at different steps.
            stream.observed.borrow_mut().nameless = Some(HashMap::new());
        }
        if is_absent {
            let mut present = Bitmap::none(grid.steps);
            stream.run(&self.budget, &mut |passing| {
                present.unite(&passing.column.valid);
                Ok(())
            })?;
            let inside = stream.inside.take();
            self.report_inside(&prepared, inside)?;
            self.budget.ensure(1, grid.steps)?;
            let mut column = self.budget.constant(grid.steps, 1.0)?;
            column.valid.subtract(&present);
            column.valid.compact();
            let argument = window_argument(self.ast, id).map(|(_, node)| node);
            let labels = absent::labels(self.ast, argument.expect("BUG: a window call"));
            let series = Series { labels, drop_name: true, column };
            let mut vector = Vector { series: vec![series] };
            vector.drop_empty();
            return Ok(Operand::Vector(vector));
        }
        let vector = stream.collect(&self.budget, self.delayed_name_removal)?;
        let observed = stream.observed.take();
        if observed.is_any_twice {
            return Err(SameLabelset.into());
        }
        let inside = stream.inside.take();
        self.report_inside(&prepared, inside)?;
        self.report(id, &prepared, observed)?;
        Ok(Operand::Vector(vector))
    }

    pub(super) fn function_name(&self, id: NodeId) -> &'static str {
        match self.ast.expr(id) {
            Expr::Call { function, .. } => function.name,
            _ => "",
        }
    }

    /// The samples of a matrix at the query's one time; series in the order of labels.
    pub(super) fn matrix(&mut self, id: NodeId) -> Result<Vec<MatrixSeries>, QueryError> {
        let ast = self.ast;
        let id = unwrap_parens(ast, id);
        let grid = self.plan.node(id).grid;
        let mut matrix = Vec::new();
        match ast.expr(id) {
            Expr::Window { selector, range_ms, .. } => {
                let Expr::Selector(selector) = ast.expr(*selector) else {
                    unreachable!("BUG: a window is over a selector")
                };
                let times = self.sample_times(selector, grid);
                let overhang = Overhang::of_window(selector.extension, self.lookback_ms);
                let Some(range) = times.touched(*range_ms, overhang) else { return Ok(matrix) };
                let set = self.select(selector, range)?;
                for index in 0..set.len() {
                    self.budget.check_time()?;
                    let mut window = Windows::default();
                    set.read(index, range, window.samples_mut())?;
                    window.take_in_histograms();
                    window.drop_stale();
                    if let Some(extension) = selector.extension {
                        if window.has_histograms() {
                            let text = format!(
                                "{} modifier is not supported with histograms",
                                extension.as_str()
                            );
                            return Err(QueryError::execution(text));
                        }
                        let end_ms = times.at(0);
                        let edges = (end_ms.saturating_sub(*range_ms), end_ms);
                        let samples = window.samples_mut();
                        *samples = with_edges(samples, edges, extension);
                    }
                    self.budget.charge(window.cost())?;
                    let size = window.size();
                    self.budget.note_work(size);
                    self.budget.tally(WHOLE).count_at(0, size, size);
                    if !window.is_empty() {
                        matrix.push(MatrixSeries::of_window(set.labels(index).clone(), window));
                    }
                }
            }
            Expr::Subquery { expr, .. } => {
                let inner = self.plan.subquery_grid(id);
                let mut vector = match self.take(*expr, inner)? {
                    Operand::Vector(vector) => self.without_names(vector)?,
                    Operand::Scalar(column) => Vector {
                        series: vec![Series { labels: Labels::empty(), drop_name: false, column }],
                    },
                    Operand::String(_) => unreachable!("BUG: the parser checked types"),
                };
                // An aggregation of what it leaves out has series without a value.
                vector.drop_empty();
                let check = || self.budget.cancellation().check();
                sort_by(&mut vector.series, &check, |a, b| a.labels.cmp(&b.labels))?;
                for Series { labels, column, .. } in vector.series {
                    matrix.push(MatrixSeries::of_column(labels, column, inner, &self.budget)?);
                }
            }
            _ => unreachable!("BUG: a matrix is a window or a subquery"),
        }
        Ok(matrix)
    }

    /// Turns what was observed inside of a subquery into annotations.
    fn report_inside(&mut self, prepared: &Prepared, observed: Observed) -> Result<(), QueryError> {
        match prepared.nested() {
            Some(nested) => self.report(nested.id, &nested.prepared, observed),
            None => Ok(()),
        }
    }

    /// Turns what a reading observed into annotations.
    fn report(
        &mut self,
        id: NodeId,
        prepared: &Prepared,
        observed: Observed,
    ) -> Result<(), QueryError> {
        let Expr::Call { function, args } = self.ast.expr(id) else {
            self.report_notes(self.ast.node(id).span, observed.notes);
            return Ok(());
        };
        let span = match self.ast.expr(unwrap_parens(self.ast, args[0])) {
            // COMPAT: what is said about a subquery has the position of the whole query.
            Expr::Subquery { .. } => Span::default(),
            _ => self.ast.node(unwrap_parens(self.ast, args[0])).span,
        };
        for (name, metric_type) in observed.no_counters.into_iter().flatten() {
            self.annotations.get_mut().no_counter(span, &name, metric_type.as_deref());
        }
        self.report_notes(span, observed.notes);
        if let (Some(filled), Some(PreparedWindow { scalars, .. })) =
            (observed.filled, &prepared.window)
        {
            for (nth, step) in filled.iter().enumerate() {
                if nth % STEPS_PER_LOOK == STEPS_PER_LOOK - 1 {
                    self.budget.look()?;
                }
                if function.name == "double_exponential_smoothing" {
                    check_smoothing(scalars, step)?;
                    continue;
                }
                let phi = scalars[0].values[step];
                if !(0.0..=1.0).contains(&phi) {
                    self.budget.check_time()?;
                    self.budget.charge_bytes(NOTE_BYTES)?;
                    self.annotations.get_mut().invalid_quantile(span, phi);
                }
            }
        }
        Ok(())
    }

    /// Turns what is told about the series of each metric into annotations.
    pub(super) fn report_notes(&mut self, span: Span, notes: BTreeMap<String, WindowNotes>) {
        let annotations = self.annotations.get_mut();
        for (name, notes) in notes {
            for note in notes.kinds {
                annotations.window_note(span, note, &name);
            }
            if notes.overlaps > 0 {
                annotations.start_overlaps(span, &name, notes.overlaps);
            }
        }
    }

    /// Evaluates an aggregation.
    pub(super) fn aggregate(&mut self, id: NodeId, grid: Grid) -> Result<Vector, QueryError> {
        let Expr::Aggregate { op, expr, param, grouping, without } = self.ast.expr(id) else {
            unreachable!("BUG: called for aggregations")
        };
        let grouping = Grouping::new(grouping, *without);
        if streams(*op) {
            let mut aggregation = Aggregation::new(*op, grouping, grid.steps);
            let input = self.ast.node(unwrap_parens(self.ast, *expr)).span;
            if self.plan.node(*expr).fused {
                self.aggregate_stream(*expr, &mut aggregation, grid)?;
            } else {
                let vector = self.take_vector(*expr, grid)?;
                self.add_all(&mut aggregation, vector)?;
            }
            return aggregation.finish(&self.budget, input, self.annotations.get_mut());
        }
        let param = param.expect("BUG: the parser asks for the parameter");
        let span = self.ast.node(unwrap_parens(self.ast, param)).span;
        if *op == AggregateOp::CountValues {
            if let Expr::Bytes(bytes) = self.ast.expr(unwrap_parens(self.ast, param)) {
                let text = format!("invalid label name {}", quote_bytes(bytes));
                return Err(QueryError::execution(text));
            }
            let Operand::String(label) = self.take(param, grid)? else {
                unreachable!("BUG: the parser checked types")
            };
            if label.is_empty() {
                return Err(QueryError::execution(format!("invalid label name {}", quote(&label))));
            }
            let vector = self.take_vector(*expr, grid)?;
            return count_values(&vector, &label, grouping, grid.steps, &self.budget);
        }
        let parameter = self.take_scalar(param, grid)?;
        let vector = self.take_vector(*expr, grid)?;
        // COMPAT: what was left out has the place of the operand for quantiles, else of the whole.
        let operand = unwrap_parens(self.ast, *expr);
        let whole = if *op == AggregateOp::Quantile { operand } else { id };
        let spans = (span, self.ast.node(whole).span);
        self.rank(*op, vector, grouping, (&parameter, spans))
    }

    fn rank(
        &mut self,
        op: AggregateOp,
        vector: Vector,
        grouping: Grouping,
        (parameter, spans): (&Column, (Span, Span)),
    ) -> Result<Vector, QueryError> {
        let reports = (self.annotations.get_mut(), &self.budget);
        if op == AggregateOp::Quantile {
            return rank::quantiles(&vector, grouping, parameter, spans, reports);
        }
        let mut vector = rank::select(op, vector, grouping, parameter, spans, reports)?;
        vector.drop_empty();
        Ok(vector)
    }

    /// Feeds an aggregation from the chain of maps that begins at `expr`.
    fn aggregate_stream(
        &mut self,
        expr: NodeId,
        aggregation: &mut Aggregation,
        grid: Grid,
    ) -> Result<(), QueryError> {
        let mut chain = vec![expr];
        while let Some(next) = stage_input(self.ast, chain[chain.len() - 1]) {
            chain.push(next);
        }
        let source = chain.pop().expect("BUG: a chain has a source");
        let mut stages = Vec::new();
        for id in chain.into_iter().rev() {
            stages.extend(self.stage(id, grid)?);
        }
        let Some(mut prepared) = self.prepare(source, grid)? else { return Ok(()) };
        if stages.is_empty() && !aggregation.looks_at_values() {
            prepared.want_times();
        }
        let observed = prepared.take_observed();
        let place = (self.lookback_ms, &self.annotations, &self.crew);
        let stream = prepared.stream(place, stages, observed);
        let delayed = self.delayed_name_removal;
        let budget = &self.budget;
        if stream.drops_name() && !prepared.one_name && !delayed {
            // Without their names series may turn out equal, which has to be seen before they
            // are summed.
            stream.observed.borrow_mut().nameless = Some(HashMap::new());
            let mut vector = stream.collect(budget, delayed)?;
            let observed = stream.observed.take();
            if observed.is_any_twice {
                return Err(SameLabelset.into());
            }
            vector.finish(budget)?;
            let inside = stream.inside.take();
            self.report_inside(&prepared, inside)?;
            self.report(source, &prepared, observed)?;
            return self.add_all(aggregation, vector);
        }
        stream.run(budget, &mut |passing| {
            let gone = passing.drop_name && !delayed;
            aggregation.add(passing.labels, gone, passing.drop_name, passing.column, budget)
        })?;
        let (observed, inside) = (stream.observed.take(), stream.inside.take());
        self.report_inside(&prepared, inside)?;
        self.report(source, &prepared, observed)?;
        Ok(())
    }

    /// The map that node `id` of a chain is; parentheses and plus are none.
    fn stage(&mut self, id: NodeId, grid: Grid) -> Result<Option<Stage>, QueryError> {
        let ast = self.ast;
        Ok(match ast.expr(id) {
            Expr::Unary { negate: true, .. } => Some(Stage::Negate),
            Expr::Call { function, args } => match functions::implementation(function.name) {
                Some(Implementation::Map(map)) => {
                    let mut scalars = Vec::new();
                    for arg in &args[1..] {
                        scalars.push(self.take_scalar(*arg, grid)?);
                    }
                    Some(Stage::Map(map, scalars))
                }
                _ => unreachable!("BUG: a chain consists of maps"),
            },
            Expr::Binary { op, lhs, rhs, return_bool, .. } => {
                let scalar_left = ast.node(*lhs).value_type == ValueType::Scalar;
                let scalar = self.take_scalar(if scalar_left { *lhs } else { *rhs }, grid)?;
                let (op, return_bool, span) = (*op, *return_bool, ast.node(id).span);
                Some(Stage::Scalar(ScalarStage { op, scalar, scalar_left, return_bool, span }))
            }
            _ => None,
        })
    }
}

fn into_scalar(operand: Operand) -> Column {
    match operand {
        Operand::Scalar(column) => column,
        _ => unreachable!("BUG: the parser checked types"),
    }
}

/// What an instant selector takes from its samples.
pub(super) fn taken_by(selector: &Selector) -> Taken {
    match selector.extension {
        Some(Extension::Smoothed) => Taken::Smoothed,
        // An anchor is one of a window.
        Some(Extension::Anchored) | None => Taken::Value,
    }
}

pub(super) fn unsupported(name: &str) -> QueryError {
    QueryError::execution(format!("function {name:?} is not supported yet"))
}
