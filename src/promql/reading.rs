//! One series at a time: its samples, and the column that they make.
//!
//! A [`Reader`] is shared by threads; each has its own [`Windows`].

use super::budget::Budget;
use super::columns::{Column, Grid, Sample, Vector};
use super::engine::QueryError;
use super::extended::{Overhang, smooth};
use super::functions::extended_mixed;
use super::functions::window::{MixedFunction, WindowFunction, WindowNotes};
use super::windows::{SampleTimes, Taken, WORK_PER_CHECK, Windows, look_back};
use crate::model::{Labels, TimeRange};
use crate::promql::ast::Extension;
use crate::select::{SeriesSet, Wanted};

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

    /// Number of series.
    pub(super) fn len(&self) -> usize {
        match &self.source {
            Source::Storage(set) => set.len(),
            Source::Subquery(vector, _) => vector.series.len(),
        }
    }

    /// Labels of a series, and whether its name is to go at the end of the query.
    pub(super) fn labels(&self, index: usize) -> (&Labels, bool) {
        match &self.source {
            Source::Storage(set) => (set.labels(index), false),
            Source::Subquery(vector, _) => {
                let series = &vector.series[index];
                (&series.labels, series.drop_name)
            }
        }
    }

    /// Reads the samples of a series. A long one of a subquery is refused before it is copied where
    /// `budget` has no room for it, and its copy ends with the query.
    pub(super) fn read(
        &self,
        index: usize,
        range: TimeRange,
        out: &mut Windows,
        budget: &Budget<'_>,
    ) -> Result<(), QueryError> {
        out.clear();
        match &self.source {
            Source::Storage(set) => {
                let lent = set.read_or_lend(index, (range, self.wanted), out.samples_mut())?;
                out.lend(lent);
            }
            Source::Subquery(vector, grid) => {
                let column = &vector.series[index].column;
                let count = column.valid.count();
                if count >= WORK_PER_CHECK {
                    budget.ensure(1, count)?;
                    out.samples_mut().reserve(count);
                }
                for (n, (step, sample)) in column.samples().enumerate() {
                    if n % WORK_PER_CHECK == WORK_PER_CHECK - 1 {
                        budget.cancellation().check()?;
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
            }
        }
        Ok(())
    }

    /// Makes the column of the samples that were read.
    pub(super) fn compute(
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
                // COMPAT: what is smoothed is not counted.
                budget.note_work(column.valid.count() as u64);
            }
            Reading::LookBack { lookback_ms, taken } => {
                if self.stats_only {
                    windows.take_in_histograms();
                }
                look_back(windows, &self.times, *lookback_ms, *taken, column);
                budget.note_work(column.valid.count() as u64);
                budget.tally(self.scope).count_column(column);
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
                budget.note_work(input.in_windows);
                budget.tally(self.scope).count_windows(&input, is_stored);
                if windows.has_histograms() {
                    let mut floats = windows.floats();
                    if !floats.is_empty() {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promql::columns::Series;
    use crate::promql::tally::Tallies;
    use crate::select::Cancellation;

    /// Reads a subquery's only series, of so many samples.
    fn read(steps: usize, samples_max: usize, is_canceled: bool) -> Result<usize, QueryError> {
        let grid = Grid { start_ms: 0, step_ms: 1, steps };
        let column = Column::dense(vec![1.0; steps]);
        let series = vec![Series { labels: Labels::empty(), drop_name: false, column }];
        let vector = Vector { series };
        let reader = Reader {
            source: Source::Subquery(&vector, grid),
            reading: Reading::LookBack { lookback_ms: 1, taken: Taken::Value },
            times: SampleTimes { grid, offset_ms: 0, fixed_ms: None },
            read: None,
            wanted: Wanted::Samples,
            stats_only: false,
            scope: 0,
        };
        let cancellation = Cancellation::new();
        if is_canceled {
            cancellation.cancel();
        }
        let budget = Budget::new(samples_max, Tallies::new(&[], false), &cancellation);
        let mut windows = Windows::new(false);
        reader.read(0, TimeRange::ALL, &mut windows, &budget)?;
        Ok(windows.len())
    }

    #[test]
    fn a_long_subquery_ends_with_its_query_and_is_refused_before_it_is_copied() {
        let long = 3 * WORK_PER_CHECK;
        assert_eq!(read(long, long, false).unwrap(), long);
        assert!(read(long, long, true).is_err(), "it looks while it reads");
        let error = read(long, long - 1, false).unwrap_err().to_string();
        assert!(error.contains(&format!("{long} samples are needed")), "{error}");
        assert_eq!(read(9, 1, true).unwrap(), 9, "a short one is left to who charges it");
    }
}
