//! Subqueries whose series are made one at a time: of `max_over_time(rate(x[5m])[1d:1s])` a thread
//! holds a single inner series, however many there are.
//!
//! That goes where each inner series depends on one series of storage, and labels are known before
//! anything is computed: inside is a selector, or a window function of one. Everything else is
//! evaluated whole, and read from [`super::reading::Inside`].

use super::ast::{Ast, Expr, NodeId};
use super::budget::Budget;
use super::columns::{Column, without_name};
use super::engine::{QueryError, SERIES_BYTES};
use super::functions::window::{WindowNotes, keeps_name};
use super::plan::{unwrap_parens, window_argument};
use super::prepare::{Prepared, names_one_metric};
use super::reading::{self, Reader};
use super::windows::{WORK_PER_CHECK, Windows};
use crate::model::{Labels, TimeRange};

/// Whether what stands inside of a subquery is of this kind.
///
/// Series without their names may turn out equal, which has to be seen before they are used; so a
/// function that drops names is of this kind where all its series have one name.
pub(super) fn is_nestable(ast: &Ast, id: NodeId) -> bool {
    match ast.expr(id) {
        Expr::Selector(_) => true,
        Expr::Call { function, .. } => {
            let Some((_, matrix)) = window_argument(ast, id) else { return false };
            let Expr::Window { selector, .. } = ast.expr(matrix) else { return false };
            let Expr::Selector(selector) = ast.expr(unwrap_parens(ast, *selector)) else {
                return false;
            };
            // These tell of steps, or are about what is not there.
            let tells = ["absent_over_time", "quantile_over_time", "double_exponential_smoothing"];
            !tells.contains(&function.name)
                && (keeps_name(function.name) || names_one_metric(selector))
        }
        _ => false,
    }
}

/// What stands inside of a subquery: all but what it borrows.
pub(super) struct NestedData {
    /// Its node.
    pub id: NodeId,
    /// How it is read.
    pub prepared: Prepared,
    /// Labels without names, where names go at once.
    labels: Option<Vec<Labels>>,
    /// Names go at the end of the query.
    drops_later: bool,
}

impl NestedData {
    /// Finds the labels of its series; gives how many bytes were charged for them.
    pub(super) fn new(
        (id, prepared): (NodeId, Prepared),
        delayed_name_removal: bool,
        budget: &Budget<'_>,
    ) -> Result<(Self, u64), QueryError> {
        let (mut labels, mut charged) = (None, 0);
        if prepared.drops_name && !delayed_name_removal {
            let set = prepared.set();
            let mut nameless = Vec::with_capacity(set.len());
            for index in 0..set.len() {
                budget.check_time()?;
                let labels = without_name(set.labels(index));
                let bytes = (labels.as_bytes().len() + SERIES_BYTES) as u64;
                budget.charge_bytes(bytes)?;
                charged += bytes;
                nameless.push(labels);
            }
            labels = Some(nameless);
        }
        let drops_later = prepared.drops_name && delayed_name_removal;
        Ok((Self { id, prepared, labels, drops_later }, charged))
    }

    /// Whether all series have the same metric name, or none.
    pub(super) fn has_one_name(&self) -> bool {
        let set = self.prepared.set();
        let first = (!set.is_empty()).then(|| set.labels(0).metric_name());
        self.labels.is_some()
            || self.prepared.one_name
            || (1..set.len()).all(|index| Some(set.labels(index).metric_name()) == first)
    }
}

/// What stands inside of a subquery, as it is read.
pub(super) struct Nested<'a> {
    pub reader: Reader<'a>,
    pub data: &'a NestedData,
}

/// What a thread makes inner series with.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    windows: Windows,
    column: Column,
    found: Option<Found>,
}

/// What was found about an inner series.
#[derive(Debug)]
pub(super) struct Found {
    pub notes: WindowNotes,
    /// Whether it has a value, and one that is a float.
    pub has_values: bool,
    pub has_floats: bool,
}

impl Scratch {
    /// What was found about the series made last, once.
    pub(super) fn take_found(&mut self) -> Option<Found> {
        self.found.take()
    }
}

impl Nested<'_> {
    /// Labels of a series, and whether its name is to go at the end of the query.
    pub(super) fn labels(&self, index: usize) -> (&Labels, bool) {
        match &self.data.labels {
            Some(labels) => (&labels[index], false),
            None => (self.reader.labels(index).0, self.data.drops_later),
        }
    }

    /// Slots of what a thread holds of one series.
    pub(super) fn slots(&self) -> usize {
        self.reader.times.grid.steps.saturating_mul(2)
    }

    /// Makes a series and puts its values into `out`, which are still to be charged for.
    pub(super) fn read(
        &self,
        index: usize,
        range: TimeRange,
        out: &mut Windows,
        budget: &Budget<'_>,
    ) -> Result<usize, QueryError> {
        let mut scratch = out.take_scratch().unwrap_or_else(|| {
            let windows = Windows::new(self.reader.stats_only).watching(budget.cancellation());
            Box::new(Scratch { windows, ..Scratch::default() })
        });
        let done = self.make(index, &mut scratch, budget).and_then(|has_values| {
            if has_values {
                let grid = self.reader.times.grid;
                reading::fill(&mut scratch.column, (grid, range), out, budget)?;
            }
            Ok(out.cost())
        });
        out.put_scratch(scratch);
        done
    }

    /// Makes the column; whether it has a value.
    fn make(
        &self,
        index: usize,
        scratch: &mut Scratch,
        budget: &Budget<'_>,
    ) -> Result<bool, QueryError> {
        let Scratch { windows, column, found } = scratch;
        *found = None;
        let Some(range) = self.reader.range() else { return Ok(false) };
        let held = self.reader.read(index, range, windows, budget)?;
        if windows.is_empty() {
            return Ok(false);
        }
        // It is held for a moment.
        budget.ensure(1, held)?;
        let mut notes = WindowNotes::default();
        self.reader.compute(windows, column, &mut notes, budget)?;
        // Whoever looks at histograms looks more often.
        if windows.has_histograms()
            || windows.in_windows() + column.steps() as u64 >= WORK_PER_CHECK as u64
        {
            budget.look()?;
        }
        let has_values = !column.valid.is_none();
        let has_floats = has_values && (!column.has_histograms() || column.iter().next().is_some());
        *found = Some(Found { notes, has_values, has_floats });
        Ok(has_values)
    }
}

#[cfg(test)]
mod tests;
