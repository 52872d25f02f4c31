//! The walk over the tree: selectors, subqueries, calls.

use narthex::model::ResetHint;
use narthex::model::{Labels, Matcher, Samples, TimeRange, is_stale};
use narthex::promql::ast::{
    Ast, AtModifier, BinaryOp, Expr, Extension, NodeId, Selector, TimeModifiers, ValueType,
};
use narthex::promql::engine::{EngineOptions, QueryRange};
use narthex::select::{Cancellation, Queryable};

use super::cells::{Answer, Cell, Operand, Refused, Row, is_metadata, joined};
use super::compare::Shown;
use super::extended::{self, Reach};
use super::windows::{self, Window};
use super::{groups, instant, joins};

/// A series as it is stored: times and values, staleness markers apart.
struct Stored {
    labels: Labels,
    /// `None` is a staleness marker.
    samples: Vec<(i64, Option<Cell>)>,
    drop_name: bool,
}

/// The evaluator of one query.
pub(crate) struct Plain<'a> {
    store: &'a dyn Queryable,
    pub(crate) ast: &'a Ast,
    range: QueryRange,
    lookback_ms: i64,
    subquery_step_ms: i64,
    pub(crate) delayed: bool,
}

impl<'a> Plain<'a> {
    pub(crate) fn new(
        store: &'a dyn Queryable,
        ast: &'a Ast,
        range: QueryRange,
        options: &EngineOptions,
    ) -> Self {
        Self {
            store,
            ast,
            range,
            lookback_ms: options.lookback_delta_ms,
            subquery_step_ms: options.subquery_step_ms,
            delayed: options.delayed_name_removal,
        }
    }

    /// The whole answer.
    pub(crate) fn answer(&self) -> Answer<Vec<Shown>> {
        let QueryRange { start_ms, end_ms, step_ms } = self.range;
        let times = up_to(start_ms, end_ms, step_ms);
        self.check_extensions()?;
        if self.ast.node(self.ast.root).value_type == ValueType::Matrix {
            return self.matrix(&times);
        }
        let rows = match self.node(self.ast.root, &times)? {
            Operand::Text(_) => Vec::new(),
            Operand::Scalar(values) => vec![row_of(values)],
            Operand::Rows(rows) => self.without_names(rows)?,
        };
        let shown = rows.into_iter().map(|row| {
            let cells = times.iter().zip(row.cells).filter_map(|(t, cell)| Some((*t, cell?)));
            (row.labels, cells.collect::<Vec<_>>())
        });
        Ok(shown.filter(|row| !row.1.is_empty()).collect())
    }

    fn without_names(&self, mut rows: Vec<Row>) -> Answer<Vec<Row>> {
        for row in rows.iter_mut().filter(|row| self.delayed && row.drop_name) {
            row.labels = row.labels.without(is_metadata);
        }
        joined(rows)
    }

    /// A range selector or a subquery as the whole query.
    fn matrix(&self, times: &[i64]) -> Answer<Vec<Shown>> {
        let id = self.unwrapped(self.ast.root);
        if let Expr::Subquery { expr, .. } = self.ast.expr(id) {
            let inner = self.inner_times(id, times);
            let rows = match self.node(*expr, &inner)? {
                Operand::Scalar(values) => vec![row_of(values)],
                Operand::Rows(rows) => self.without_names(rows)?,
                Operand::Text(_) => unreachable!("the parser checked"),
            };
            let shown = rows.into_iter().map(|row| {
                let cells = inner.iter().zip(row.cells).filter_map(|(t, cell)| Some((*t, cell?)));
                (row.labels, cells.collect::<Vec<_>>())
            });
            return Ok(shown.filter(|row| !row.1.is_empty()).collect());
        }
        let (stored, range_ms, modifiers) = self.windowed(id, times)?;
        let end_ms = self.looked_at(modifiers, times[0]);
        if let Some(extension) = self.extension(id) {
            return self.extended_matrix(&stored, (end_ms - range_ms, end_ms), extension);
        }
        let shown = stored.into_iter().map(|series| {
            let is_inside = |t: i64| end_ms - range_ms < t && t <= end_ms;
            let samples = series.samples.into_iter().filter(|(t, _)| is_inside(*t));
            (series.labels, samples.filter_map(|(t, cell)| Some((t, cell?))).collect::<Vec<_>>())
        });
        Ok(shown.filter(|row| !row.1.is_empty()).collect())
    }

    /// An extended range selector as the whole query: what is inside, and a value at each edge.
    fn extended_matrix(
        &self,
        stored: &[Stored],
        edges_ms: (i64, i64),
        extension: Extension,
    ) -> Answer<Vec<Shown>> {
        let mut shown = Vec::new();
        for series in stored {
            let samples = inside(series, self.beyond(edges_ms, extension));
            if samples.iter().any(|(_, cell)| cell.float().is_none()) {
                return Err(Refused("histograms"));
            }
            let reach = Reach { samples: &samples, edges_ms, extension };
            let Some((left, right, between)) = reach.floats(false) else { continue };
            let mut points = vec![(edges_ms.0, Cell::Float(left))];
            points.extend(between.into_iter().map(|(t, value)| (t, Cell::Float(value))));
            points.push((edges_ms.1, Cell::Float(right)));
            shown.push((series.labels.clone(), points));
        }
        Ok(shown)
    }

    fn extension(&self, matrix: NodeId) -> Option<Extension> {
        let Expr::Window { selector, .. } = self.ast.expr(matrix) else { return None };
        match self.ast.expr(*selector) {
            Expr::Selector(selector) => selector.extension,
            _ => None,
        }
    }

    /// How far an extended window looks.
    fn beyond(&self, (left_ms, right_ms): (i64, i64), extension: Extension) -> (i64, i64) {
        let is_smoothed = extension == Extension::Smoothed;
        let right_ms = if is_smoothed { right_ms + self.lookback_ms } else { right_ms };
        (left_ms - self.lookback_ms, right_ms)
    }

    /// What node `id` comes to at `times`.
    pub(crate) fn node(&self, id: NodeId, times: &[i64]) -> Answer<Operand> {
        if times.len() > 1 && self.is_invariant(id) {
            return Ok(match self.at_times(id, &times[..1])? {
                Operand::Scalar(values) => Operand::Scalar(vec![values[0]; times.len()]),
                Operand::Text(text) => Operand::Text(text),
                Operand::Rows(mut rows) => {
                    for row in &mut rows {
                        row.cells = vec![row.cells[0].clone(); times.len()];
                    }
                    Operand::Rows(rows)
                }
            });
        }
        self.at_times(id, times)
    }

    fn at_times(&self, id: NodeId, times: &[i64]) -> Answer<Operand> {
        Ok(match self.ast.expr(id) {
            Expr::Number { value, .. } => Operand::Scalar(vec![*value; times.len()]),
            Expr::String(text) => Operand::Text(text.clone()),
            Expr::Bytes(_) => unreachable!("not generated"),
            Expr::Paren(inner) | Expr::Unary { negate: false, expr: inner } => {
                self.node(*inner, times)?
            }
            Expr::Unary { expr, .. } => self.negated(self.node(*expr, times)?)?,
            Expr::Selector(selector) if selector.extension.is_some() => {
                Operand::Rows(self.smoothed(selector, times)?)
            }
            Expr::Selector(selector) => Operand::Rows(self.look_back(selector, times, false)?),
            Expr::Aggregate { .. } => Operand::Rows(groups::aggregate(self, id, times)?),
            Expr::Binary { op, lhs, rhs, .. } => self.binary(id, *op, (*lhs, *rhs), times)?,
            Expr::Call { .. } => self.call(id, times)?,
            Expr::Window { .. } | Expr::Subquery { .. } => unreachable!("taken by their functions"),
        })
    }

    pub(crate) fn rows(&self, id: NodeId, times: &[i64]) -> Answer<Vec<Row>> {
        match self.node(id, times)? {
            Operand::Rows(rows) => Ok(rows),
            other => unreachable!("no vector: {other:?}"),
        }
    }

    pub(crate) fn scalar(&self, id: NodeId, times: &[i64]) -> Answer<Vec<f64>> {
        match self.node(id, times)? {
            Operand::Scalar(values) => Ok(values),
            other => unreachable!("no scalar: {other:?}"),
        }
    }

    pub(crate) fn text(&self, id: NodeId) -> String {
        match self.ast.expr(self.unwrapped(id)) {
            Expr::String(text) => text.clone(),
            other => unreachable!("no string: {other:?}"),
        }
    }

    pub(crate) fn unwrapped(&self, mut id: NodeId) -> NodeId {
        while let Expr::Paren(inner) = self.ast.expr(id) {
            id = *inner;
        }
        id
    }

    fn negated(&self, operand: Operand) -> Answer<Operand> {
        Ok(match operand {
            Operand::Scalar(values) => Operand::Scalar(values.into_iter().map(|x| -x).collect()),
            Operand::Rows(mut rows) => {
                for row in &mut rows {
                    self.drop_name(row);
                    for cell in row.cells.iter_mut().flatten() {
                        match cell {
                            Cell::Float(value) => *value = -*value,
                            Cell::Histogram(histogram) => histogram.multiply(-1.0),
                        }
                    }
                }
                Operand::Rows(joined(rows)?)
            }
            Operand::Text(_) => unreachable!("the parser checked"),
        })
    }

    /// The name goes: now, or at the end of the query.
    pub(crate) fn drop_name(&self, row: &mut Row) {
        row.drop_name = true;
        if !self.delayed {
            row.labels = row.labels.without(is_metadata);
        }
    }

    fn binary(
        &self,
        id: NodeId,
        op: BinaryOp,
        (lhs, rhs): (NodeId, NodeId),
        times: &[i64],
    ) -> Answer<Operand> {
        let Expr::Binary { return_bool, matching, .. } = self.ast.expr(id) else {
            unreachable!("called for binary operations")
        };
        let sides = (self.node(lhs, times)?, self.node(rhs, times)?);
        Ok(match sides {
            (Operand::Scalar(a), Operand::Scalar(b)) => {
                let pairs = a.iter().zip(&b);
                Operand::Scalar(pairs.map(|(a, b)| joins::of_numbers(op, *a, *b)).collect())
            }
            (Operand::Rows(rows), Operand::Scalar(scalar)) => {
                Operand::Rows(joins::with_scalar(self, op, rows, (&scalar, false), *return_bool)?)
            }
            (Operand::Scalar(scalar), Operand::Rows(rows)) => {
                Operand::Rows(joins::with_scalar(self, op, rows, (&scalar, true), *return_bool)?)
            }
            (Operand::Rows(a), Operand::Rows(b)) => {
                let matching = matching.as_ref().expect("vectors have a clause");
                Operand::Rows(joins::join(self, (op, *return_bool), matching, (&a, &b), times)?)
            }
            _ => unreachable!("the parser checked"),
        })
    }

    fn call(&self, id: NodeId, times: &[i64]) -> Answer<Operand> {
        let Expr::Call { function, args } = self.ast.expr(id) else {
            unreachable!("called for calls")
        };
        let is_matrix = |arg: &&NodeId| self.ast.node(**arg).value_type == ValueType::Matrix;
        if let Some(matrix) = args.iter().find(is_matrix) {
            let others = args.iter().filter(|arg| !is_matrix(arg));
            let mut scalars = Vec::new();
            for arg in others {
                scalars.push(self.scalar(*arg, times)?);
            }
            let matrix = self.unwrapped(*matrix);
            return Ok(Operand::Rows(self.window_call(function.name, matrix, &scalars, times)?));
        }
        if function.name == "timestamp"
            && let Expr::Selector(selector) = self.ast.expr(self.unwrapped(args[0]))
        {
            return Ok(Operand::Rows(self.look_back(selector, times, true)?));
        }
        instant::call(self, function.name, args, times)
    }

    /// The newest sample at each time, or its time.
    fn look_back(&self, selector: &Selector, times: &[i64], timed: bool) -> Answer<Vec<Row>> {
        let mut rows = Vec::new();
        for series in self.stored(selector)? {
            let newest = |t: &i64| {
                let at_ms = self.looked_at(selector.modifiers, *t);
                // Prometheus reads what the offset says, and then forgets it beside `@`.
                let forgets = timed && selector.modifiers.at.is_some();
                let looked_ms = if forgets { at_ms + selector.modifiers.offset_ms } else { at_ms };
                let (found_ms, cell) =
                    series.samples.iter().rev().find(|(t, _)| *t <= looked_ms.min(at_ms))?;
                let is_recent = *found_ms > looked_ms.max(at_ms) - self.lookback_ms;
                let cell = cell.clone().filter(|_| is_recent)?;
                Some(if timed { Cell::Float(*found_ms as f64 / 1000.0) } else { cell })
            };
            let cells = times.iter().map(newest).collect();
            let mut row = Row { labels: series.labels, drop_name: false, cells };
            if timed {
                self.drop_name(&mut row);
            }
            rows.push(row);
        }
        rows.retain(|row| !row.is_empty());
        if timed { joined(rows) } else { Ok(rows) }
    }

    /// A smoothed instant selector.
    fn smoothed(&self, selector: &Selector, times: &[i64]) -> Answer<Vec<Row>> {
        let mut rows = Vec::new();
        for series in self.stored(selector)? {
            let at = |t: &i64| {
                let t_ms = self.looked_at(selector.modifiers, *t);
                let edges_ms = (t_ms - self.lookback_ms, t_ms + self.lookback_ms);
                extended::smoothed(&inside(&series, edges_ms), t_ms)
            };
            let cells = times.iter().map(at).collect();
            rows.push(Row { labels: series.labels.clone(), drop_name: false, cells });
        }
        rows.retain(|row| !row.is_empty());
        Ok(rows)
    }

    /// When the newest sample of each series was taken, in milliseconds.
    pub(crate) fn sampled(
        &self,
        matchers: &[Matcher],
        times: &[i64],
    ) -> Answer<Vec<(Labels, Vec<Option<i64>>)>> {
        let newest = |series: &Stored, t: &i64| {
            let (found_ms, cell) = series.samples.iter().rev().find(|sample| sample.0 <= *t)?;
            (cell.is_some() && *found_ms > t - self.lookback_ms).then_some(*found_ms)
        };
        let found = self.matching(matchers)?.into_iter().map(|series| {
            let at = times.iter().map(|t| newest(&series, t)).collect();
            (series.labels, at)
        });
        Ok(found.collect())
    }

    /// What `start`, `end`, `range` or `step` say, in milliseconds.
    pub(crate) fn of_range(&self, name: &str) -> i64 {
        let QueryRange { start_ms, end_ms, step_ms } = self.range;
        match name {
            "start" => start_ms,
            "end" => end_ms,
            "range" => end_ms - start_ms,
            _ if start_ms == end_ms => 0,
            _ => step_ms,
        }
    }

    /// Refuses functions that extended selectors are not for, wherever they stand: a subquery
    /// without a step is not evaluated.
    fn check_extensions(&self) -> Answer<()> {
        for node in &self.ast.nodes {
            let Expr::Call { function, args } = &node.expr else { continue };
            let is_allowed = |arg: &NodeId| match self.extension(self.unwrapped(*arg)) {
                Some(Extension::Anchored) => {
                    ["rate", "increase", "delta", "changes", "resets"].contains(&function.name)
                }
                Some(Extension::Smoothed) => ["rate", "increase", "delta"].contains(&function.name),
                None => true,
            };
            if !args.iter().all(is_allowed) {
                return Err(Refused("not for extended selectors"));
            }
        }
        Ok(())
    }

    /// A function of windows at each time.
    fn window_call(
        &self,
        name: &str,
        matrix: NodeId,
        scalars: &[Vec<f64>],
        times: &[i64],
    ) -> Answer<Vec<Row>> {
        let (all, range_ms, modifiers) = self.windowed(matrix, times)?;
        let extension = self.extension(matrix);
        let keeps_name = matches!(name, "last_over_time" | "first_over_time");
        let mut rows = Vec::new();
        for series in all {
            let (labels, drop_name) = (series.labels.clone(), series.drop_name);
            let mut row = Row { labels, drop_name, cells: Vec::new() };
            for (step, t_ms) in times.iter().enumerate() {
                let end_ms = self.looked_at(modifiers, *t_ms);
                let edges_ms = (end_ms - range_ms, end_ms);
                if let Some(extension) = extension {
                    let samples = inside(&series, self.beyond(edges_ms, extension));
                    let reach = Reach { samples: &samples, edges_ms, extension };
                    row.cells.push(extended::evaluate(name, &reach)?);
                    continue;
                }
                let samples = inside(&series, edges_ms);
                let arguments: Vec<f64> = scalars.iter().map(|values| values[step]).collect();
                let window = Window { samples: &samples, edges_ms, t_ms: *t_ms };
                let cell = if samples.is_empty() {
                    None
                } else {
                    windows::evaluate(name, &window, &arguments)?
                };
                row.cells.push(cell);
            }
            if !keeps_name || series.drop_name {
                self.drop_name(&mut row);
            }
            rows.push(row);
        }
        rows.retain(|row| !row.is_empty());
        if name == "absent_over_time" {
            return Ok(self.absent(matrix, &rows, times));
        }
        if !self.delayed && is_any_twice(&rows) {
            return Err(Refused("two series of equal labels"));
        }
        Ok(rows)
    }

    /// One where no row has a value.
    pub(crate) fn absent(&self, argument: NodeId, rows: &[Row], times: &[i64]) -> Vec<Row> {
        let mut node = self.unwrapped(argument);
        if let Expr::Window { selector, .. } = self.ast.expr(node) {
            node = *selector;
        }
        let labels = match self.ast.expr(node) {
            Expr::Selector(selector) => instant::absent_labels(&selector.matchers),
            _ => Labels::empty(),
        };
        let at = |step: usize| rows.iter().all(|row| row.cells[step].is_none());
        let cells = (0..times.len()).map(|step| at(step).then_some(Cell::Float(1.0))).collect();
        let row = Row { labels, drop_name: true, cells };
        if row.is_empty() { Vec::new() } else { vec![row] }
    }

    /// The series below a range selector or a subquery, the length of its windows, and when they
    /// are.
    fn windowed(&self, id: NodeId, times: &[i64]) -> Answer<(Vec<Stored>, i64, TimeModifiers)> {
        match self.ast.expr(id) {
            Expr::Window { selector, range_ms, .. } => {
                let Expr::Selector(selector) = self.ast.expr(*selector) else {
                    unreachable!("a window is over a selector")
                };
                Ok((self.stored(selector)?, *range_ms, selector.modifiers))
            }
            Expr::Subquery { expr, range_ms, modifiers, .. } => {
                let inner = self.inner_times(id, times);
                if inner.is_empty() {
                    return Ok((Vec::new(), *range_ms, *modifiers));
                }
                let rows = match self.node(*expr, &inner)? {
                    Operand::Scalar(values) => vec![row_of(values)],
                    Operand::Rows(rows) => rows,
                    Operand::Text(_) => unreachable!("the parser checked"),
                };
                let series = rows.into_iter().map(|row| {
                    let samples = inner.iter().zip(row.cells).filter(|(_, cell)| cell.is_some());
                    let samples = samples.map(|(t, cell)| (*t, cell.map(computed)));
                    let (labels, drop_name) = (row.labels, row.drop_name);
                    Stored { labels, samples: samples.collect(), drop_name }
                });
                Ok((series.collect(), *range_ms, *modifiers))
            }
            _ => unreachable!("a matrix is a window or a subquery"),
        }
    }

    /// Multiples of the subquery's step within all its windows.
    fn inner_times(&self, id: NodeId, times: &[i64]) -> Vec<i64> {
        let Expr::Subquery { range_ms, step_ms, modifiers, .. } = self.ast.expr(id) else {
            unreachable!("called for subqueries")
        };
        let (Some(first), Some(last)) = (times.first(), times.last()) else { return Vec::new() };
        let step_ms = step_ms.unwrap_or(self.subquery_step_ms);
        let left_ms = self.looked_at(*modifiers, *first) - range_ms;
        let mut start_ms = step_ms * (left_ms / step_ms);
        if start_ms <= left_ms {
            start_ms += step_ms;
        }
        up_to(start_ms, self.looked_at(*modifiers, *last), step_ms)
    }

    /// The time that an expression evaluated at `t_ms` looks at.
    fn looked_at(&self, modifiers: TimeModifiers, t_ms: i64) -> i64 {
        let base_ms = match modifiers.at {
            None => t_ms,
            Some(AtModifier::Time(fixed_ms)) => fixed_ms,
            Some(AtModifier::Start) => self.range.start_ms,
            Some(AtModifier::End) => self.range.end_ms,
        };
        base_ms - modifiers.offset_ms
    }

    fn stored(&self, selector: &Selector) -> Answer<Vec<Stored>> {
        self.matching(&selector.matchers)
    }

    fn matching(&self, matchers: &[Matcher]) -> Answer<Vec<Stored>> {
        let set = self
            .store
            .select(matchers, TimeRange::ALL, &Cancellation::new())
            .map_err(|_| Refused("storage"))?;
        let mut all = Vec::new();
        for index in 0..set.len() {
            let mut samples = Samples::default();
            set.read(index, TimeRange::ALL, &mut samples).map_err(|_| Refused("storage"))?;
            let cell = |at: usize| match samples.histogram(at) {
                _ if is_stale(samples.values[at]) => None,
                Some(histogram) => Some(Cell::Histogram(histogram.to_float())),
                None => Some(Cell::Float(samples.values[at])),
            };
            let times = samples.timestamps.iter().enumerate();
            let samples = times.map(|(at, t_ms)| (*t_ms, cell(at))).collect();
            all.push(Stored { labels: set.labels(index).clone(), samples, drop_name: false });
        }
        Ok(all)
    }

    /// Whether Prometheus evaluates a part once, at the first time, and repeats the result.
    fn is_invariant(&self, id: NodeId) -> bool {
        match self.ast.expr(id) {
            Expr::Number { .. } | Expr::String(_) | Expr::Bytes(_) => true,
            Expr::Selector(selector) => selector.modifiers.at.is_some(),
            Expr::Window { selector, .. } => self.is_invariant(*selector),
            Expr::Subquery { modifiers, .. } => modifiers.at.is_some(),
            Expr::Paren(inner) | Expr::Unary { expr: inner, .. } => self.is_invariant(*inner),
            Expr::Aggregate { expr, .. } => self.is_invariant(*expr),
            Expr::Binary { lhs, rhs, .. } => self.is_invariant(*lhs) && self.is_invariant(*rhs),
            Expr::Call { function, args } => {
                let all = args.iter().all(|arg| self.is_invariant(*arg));
                let is_selector =
                    |arg: &NodeId| matches!(self.ast.expr(self.unwrapped(*arg)), Expr::Selector(_));
                match function.name {
                    "timestamp" => all && args.iter().all(is_selector),
                    "time" | "predict_linear" | "minute" | "hour" | "month" | "year"
                    | "day_of_month" | "day_of_week" | "day_of_year" | "days_in_month" => false,
                    _ => all,
                }
            }
        }
    }
}

/// The samples of a series within a window.
fn inside(series: &Stored, (left_ms, right_ms): (i64, i64)) -> Vec<(i64, Cell)> {
    let samples = series.samples.iter().filter(|(t, _)| left_ms < *t && *t <= right_ms);
    samples.filter_map(|(t, cell)| Some((*t, cell.clone()?))).collect()
}

/// What a subquery gives tells nothing about resets: samples between its steps are not seen.
fn computed(cell: Cell) -> Cell {
    match cell {
        Cell::Histogram(mut histogram) => {
            if histogram.reset_hint != ResetHint::Gauge {
                histogram.reset_hint = ResetHint::Unknown;
            }
            Cell::Histogram(histogram)
        }
        float @ Cell::Float(_) => float,
    }
}

fn is_any_twice(rows: &[Row]) -> bool {
    let equal = |index: usize| rows[..index].iter().any(|row| row.labels == rows[index].labels);
    (0..rows.len()).any(equal)
}

fn row_of(values: Vec<f64>) -> Row {
    let cells = values.into_iter().map(|value| Some(Cell::Float(value))).collect();
    Row { labels: Labels::empty(), drop_name: false, cells }
}

fn up_to(start_ms: i64, end_ms: i64, step_ms: i64) -> Vec<i64> {
    let mut times = Vec::new();
    let mut t_ms = start_ms;
    while t_ms <= end_ms {
        times.push(t_ms);
        t_ms += step_ms;
    }
    times
}
