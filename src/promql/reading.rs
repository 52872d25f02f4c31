//! One series at a time: its samples, and the column that they make.
//!
//! A [`Reader`] is shared by threads; each has its own [`Windows`].

use std::sync::{Mutex, PoisonError};

use super::budget::{Budget, STEPS_PER_LOOK};
use super::columns::{Bitmap, Column, Grid, Sample, Vector};
use super::engine::QueryError;
use super::extended::{Overhang, smooth};
use super::functions::extended_mixed;
use super::functions::window::{MixedFunction, WindowFunction, WindowNotes};
use super::nested::Nested;
use super::windows::{SampleTimes, Taken, WORK_PER_CHECK, Windows, look_back};
use crate::model::{Labels, TimeRange};
use crate::promql::ast::Extension;
use crate::select::{SeriesSet, Wanted};

/// Where samples come from.
pub(super) enum Source<'a> {
    /// Storage.
    Storage(&'a dyn SeriesSet),
    /// A subquery's result.
    Subquery(&'a Inside),
    /// A subquery whose series are made when they are read.
    Nested(Box<Nested<'a>>),
}

/// What a subquery gave, over its own grid. Each series can be taken once.
#[derive(Debug)]
pub(super) struct Inside {
    /// Labels, and whether the name is to go at the end of the query.
    labels: Vec<(Labels, bool)>,
    columns: Vec<Mutex<Column>>,
    grid: Grid,
}

impl Inside {
    /// Of a vector over `grid`.
    pub(super) fn new(vector: Vector, grid: Grid) -> Self {
        let (labels, columns) = vector
            .series
            .into_iter()
            .map(|series| ((series.labels, series.drop_name), Mutex::new(series.column)))
            .unzip();
        Self { labels, columns, grid }
    }

    fn take(&self, index: usize) -> Column {
        let mut column = self.columns[index].lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut column, Column::empty(0))
    }
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
        /// From so many floats on a window is certain to have a value.
        samples_min: usize,
        /// Whether it is given when counters began.
        uses_starts: bool,
    },
}

/// Where series come from and how they are read.
pub(super) struct Reader<'a> {
    pub source: Source<'a>,
    pub reading: Reading<'a>,
    pub times: SampleTimes,
    /// What is read, where that is not what the times touch.
    pub read: Option<TimeRange>,
    /// What of the samples the result depends on.
    pub wanted: Wanted,
    /// Whether all that is asked of histograms is their count and sum.
    pub stats_only: bool,
    /// Where it counts its samples; see [`super::tally`].
    pub scope: usize,
}

impl Reader<'_> {
    /// Milliseconds to read; `None` where there is no step.
    pub(super) fn range(&self) -> Option<TimeRange> {
        if self.read.is_some() {
            return self.read;
        }
        let (width_ms, overhang) = self.width();
        let before_ms = match self.reading {
            Reading::LookBack { .. } => 0,
            Reading::Window { before_ms, .. } => before_ms,
        };
        self.times.touched(width_ms.saturating_add(before_ms), overhang)
    }

    /// How wide windows are in milliseconds, and what they reach beyond that.
    pub(super) fn width(&self) -> (i64, Overhang) {
        match self.reading {
            Reading::LookBack { lookback_ms, taken: Taken::Smoothed } => {
                (lookback_ms, Overhang::of_instant(Some(Extension::Smoothed), lookback_ms))
            }
            Reading::LookBack { lookback_ms, .. } => (lookback_ms, Overhang::default()),
            Reading::Window { range_ms, overhang, .. } => (range_ms, overhang),
        }
    }

    /// Slots of what a thread holds of one series, besides its samples.
    pub(super) fn slots(&self) -> usize {
        self.times.grid.steps.saturating_add(self.inside_slots())
    }

    /// Those of them that are for what stands inside of a subquery.
    pub(super) fn inside_slots(&self) -> usize {
        match &self.source {
            Source::Nested(nested) => nested.slots(),
            _ => 0,
        }
    }

    /// Number of series.
    pub(super) fn len(&self) -> usize {
        match &self.source {
            Source::Storage(set) => set.len(),
            Source::Subquery(inside) => inside.labels.len(),
            Source::Nested(nested) => nested.reader.len(),
        }
    }

    /// Labels of a series, and whether its name is to go at the end of the query.
    pub(super) fn labels(&self, index: usize) -> (&Labels, bool) {
        match &self.source {
            Source::Storage(set) => (set.labels(index), false),
            Source::Subquery(inside) => {
                let (labels, drop_name) = &inside.labels[index];
                (labels, *drop_name)
            }
            Source::Nested(nested) => nested.labels(index),
        }
    }

    /// Reads the samples of a series; gives how many of them are still to be charged for. A long
    /// one of a subquery is refused before it is copied where `budget` has no room for it, and
    /// reading it ends with the query. A series of a subquery can be read once.
    pub(super) fn read(
        &self,
        index: usize,
        range: TimeRange,
        out: &mut Windows,
        budget: &Budget<'_>,
    ) -> Result<usize, QueryError> {
        out.clear();
        match &self.source {
            Source::Storage(set) => {
                let lent = set.read_or_lend(index, (range, self.wanted), out.samples_mut())?;
                out.lend(lent);
            }
            Source::Subquery(inside) => {
                let mut column = inside.take(index);
                if fill(&mut column, (inside.grid, range), out, budget)? {
                    // It was charged for as a part of the vector.
                    return Ok(0);
                }
            }
            Source::Nested(nested) => return nested.read(index, range, out, budget),
        }
        Ok(out.cost())
    }

    /// Makes the column of the samples that were read.
    ///
    /// Where there are many steps, it is made piece by piece: what a function keeps for each step
    /// is then never much, and the query can end in between. Pieces share no step, and windows
    /// know of no other step, so that the result is the same. Histograms are taken whole: what is
    /// known of one's resets depends on what stands before it.
    pub(super) fn compute(
        &self,
        windows: &mut Windows,
        column: &mut Column,
        notes: &mut WindowNotes,
        budget: &Budget<'_>,
    ) -> Result<(), QueryError> {
        let (grid, scalars) = (self.times.grid, self.scalars());
        if grid.steps <= WORK_PER_CHECK || windows.may_have_histograms() {
            self.compute_over((&self.times, 0), windows, scalars, (column, notes), budget);
            return Ok(());
        }
        if column.steps() == grid.steps {
            // Each piece is put over what stands there.
            column.valid = Bitmap::none(grid.steps);
            column.histograms.clear();
        } else {
            *column = Column::empty(grid.steps);
        }
        let (width_ms, overhang) = self.width();
        let mut known_until_ms = None;
        for first in (0..grid.steps).step_by(WORK_PER_CHECK) {
            budget.look()?;
            let over = first..grid.steps.min(first + WORK_PER_CHECK);
            let grid = Grid { start_ms: grid.time_ms(first), steps: over.len(), ..grid };
            let times = SampleTimes { grid, ..self.times };
            let Some(range) = times.touched(width_ms, overhang) else { continue };
            let mut part = windows.part(range, known_until_ms);
            let scalars: Vec<Column> =
                scalars.iter().map(|scalar| scalar.piece(over.clone())).collect();
            let mut piece = Column::empty(0);
            let out = (&mut piece, &mut *notes);
            self.compute_over((&times, first), &mut part, &scalars, out, budget);
            column.put_piece(over, piece);
            known_until_ms = Some(range.max_ms);
        }
        column.valid.compact();
        Ok(())
    }

    fn scalars(&self) -> &[Column] {
        match self.reading {
            Reading::LookBack { .. } => &[],
            Reading::Window { scalars, .. } => scalars,
        }
    }

    /// Makes the column over `times`, the first of which is step `first`.
    fn compute_over(
        &self,
        (times, first): (&SampleTimes, usize),
        windows: &mut Windows,
        scalars: &[Column],
        (column, notes): (&mut Column, &mut WindowNotes),
        budget: &Budget<'_>,
    ) {
        let steps = times.grid.steps;
        match &self.reading {
            Reading::LookBack { lookback_ms, taken: Taken::Smoothed } => {
                windows.take_in_histograms();
                windows.drop_stale();
                if windows.has_histograms() {
                    column.reset(steps);
                    let reach = Overhang::of_instant(Some(Extension::Smoothed), *lookback_ms);
                    windows.cut(times, *lookback_ms, reach);
                    let input = windows.input(times, *lookback_ms, &[]);
                    extended_mixed::smooth(&input, column, notes);
                } else {
                    smooth(windows.samples(), times, *lookback_ms, column);
                }
                // COMPAT: what is smoothed is not counted.
                budget.note_work(column.valid.count() as u64);
            }
            Reading::LookBack { lookback_ms, taken } => {
                if self.stats_only {
                    windows.take_in_histograms();
                }
                look_back(windows, times, *lookback_ms, *taken, column);
                budget.note_work(column.valid.count() as u64);
                budget.tally(self.scope).count_column(column, first);
            }
            Reading::Window {
                function, mixed, range_ms, overhang, before_ms, uses_starts, ..
            } => {
                column.reset(steps);
                if *before_ms > 0 {
                    windows.take_in_histograms();
                    windows.drop_until(times.at(0).saturating_sub(*range_ms));
                }
                if !uses_starts {
                    windows.drop_starts();
                }
                windows.cut(times, *range_ms, *overhang);
                let input = windows.input(times, *range_ms, scalars);
                let is_stored = matches!(self.source, Source::Storage(_));
                budget.note_work(input.in_windows);
                budget.tally(self.scope).count_windows(&input, is_stored, first);
                if windows.has_histograms() {
                    let mut floats = windows.floats();
                    if !floats.is_empty() {
                        floats.cut(times, *range_ms, *overhang);
                        function(&floats.input(times, *range_ms, scalars), column);
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

/// Puts those values of a subquery's series that lie within `range` into `out`: takes them over
/// where that are all, and says so, else copies them.
pub(super) fn fill(
    column: &mut Column,
    (grid, range): (Grid, TimeRange),
    out: &mut Windows,
    budget: &Budget<'_>,
) -> Result<bool, QueryError> {
    let is_whole = range.contains(grid.start_ms) && range.contains(grid.end_ms());
    if is_whole && column.valid.is_all() && !column.has_histograms() {
        if grid.steps <= STEPS_PER_LOOK {
            out.take_in(grid.times(), &mut column.values);
            return Ok(true);
        }
        let mut times = Vec::with_capacity(grid.steps);
        budget.in_pieces(grid.steps, |steps| {
            times.extend(steps.map(|step| grid.time_ms(step)));
        })?;
        out.take_in_all(times, &mut column.values);
        return Ok(true);
    }
    let count = column.valid.count();
    if count >= WORK_PER_CHECK {
        budget.ensure(1, count)?;
        out.samples_mut().reserve(count);
    }
    for (n, (step, sample)) in column.samples().enumerate() {
        if n % WORK_PER_CHECK == WORK_PER_CHECK - 1 {
            budget.look()?;
        }
        let t_ms = grid.time_ms(step);
        if !range.contains(t_ms) {
            continue;
        }
        match sample {
            Sample::Float(value) => out.samples_mut().push(t_ms, value),
            Sample::Histogram(histogram) => out.push_computed(t_ms, histogram),
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests;
