//! Which samples stand in the window of each step: it follows from the times alone.
//!
//! Series of one scrape share their times, and series of a metric come from the same few targets
//! again and again; so what was found for some times is kept and found again for equal ones.

use std::cell::OnceCell;
use std::ops::Range;
use std::sync::Arc;

use super::columns::Bitmap;
use super::extended::Overhang;
use super::windows::{SampleTimes, WORK_PER_CHECK};
use crate::select::Cancellation;

/// Bytes that cuts of one selector may take together; one cut is kept in any case.
const BYTES_MAX: usize = 4 << 20;
/// Cuts kept at most: they are looked through one by one.
const CUTS_MAX: usize = 64;

/// The windows of all steps over samples with some times.
#[derive(Debug, Default)]
pub(super) struct Cut {
    /// The times that it was made for, where they are no part of a column.
    timestamps: Vec<i64>,
    /// The part of a shared column that they were last: it need not be compared.
    column: Option<(Arc<[i64]>, Range<usize>)>,
    /// Whether it is found again: not where times of its own would take too much.
    is_kept: bool,
    /// First sample and one past the last, for each step. Both never decrease.
    pub(super) bounds: Vec<(u32, u32)>,
    /// Samples of all windows together.
    pub(super) held: u64,
    /// Samples that are in a window, each counted once.
    pub(super) read: u64,
    /// The steps whose window has a sample.
    pub(super) filled: Bitmap,
    /// What follows from `bounds` and the times, once a function has asked for it.
    pub(super) reaches: OnceCell<Reaches>,
}

/// The reach of each window with two samples or more, ascending by step.
#[derive(Debug)]
pub(super) struct Reaches {
    pub(super) all: Vec<Reach>,
    /// The steps that have one.
    pub(super) steps: Bitmap,
}

/// How far the samples of one window with two or more reach, and how far the window does: what
/// extrapolation needs of the times. The same for all series with these timestamps.
#[derive(Debug, Clone, Copy)]
pub struct Reach {
    /// The step.
    pub step: u32,
    /// The window's first sample.
    pub first: u32,
    /// Its last sample.
    pub last: u32,
    /// Seconds from first to last.
    pub sampled_s: f64,
    /// Seconds that the series is taken to have gone on before the first sample.
    pub to_start_s: f64,
    /// Seconds that it is taken to go on after the last.
    pub to_end_s: f64,
    /// By how much the change between the samples is stretched.
    pub factor: f64,
    /// The same, over the seconds of the window.
    pub factor_per_s: f64,
}

impl Reach {
    /// By how much the change is stretched if the series began `to_start_s` before its first
    /// sample.
    #[inline]
    pub fn stretched(&self, to_start_s: f64) -> f64 {
        if self.sampled_s == 0.0 {
            return 1.0;
        }
        (self.sampled_s + to_start_s + self.to_end_s) / self.sampled_s
    }
}

impl Cut {
    /// The cut of `timestamps`, the first `known` of which count as read before; half of one, not
    /// to be found again, where the query is to end.
    fn new(
        (timestamps, column): (&[i64], Option<PartOf<'_>>),
        times: &SampleTimes,
        (width_ms, overhang): (i64, Overhang),
        known: usize,
        cancellation: Option<&Cancellation>,
    ) -> Self {
        let filled = Bitmap::none(times.grid.steps);
        let column = column.map(|(column, part)| (Arc::clone(column), part));
        let is_kept = column.is_some() || size_of_val(timestamps) <= BYTES_MAX;
        let own = if column.is_some() || !is_kept { &[] } else { timestamps }.to_vec();
        let mut cut = Self { timestamps: own, column, is_kept, filled, ..Self::default() };
        cut.bounds.reserve_exact(times.grid.steps);
        let width_ms = width_ms.saturating_add(overhang.before_ms);
        let (mut low, mut high) = (Cursor::default(), Cursor::default());
        let mut known = known;
        for step in 0..times.grid.steps {
            let is_stopped = || cancellation.is_some_and(|c| c.check().is_err());
            if step % WORK_PER_CHECK == WORK_PER_CHECK - 1 && is_stopped() {
                break;
            }
            let end_ms = times.at(step).saturating_add(overhang.after_ms);
            let left_ms = times.at(step).saturating_sub(width_ms);
            let high = high.behind(timestamps, end_ms);
            let low = low.behind(&timestamps[..high], left_ms);
            if low < high {
                cut.filled.set(step);
            }
            cut.held += (high - low) as u64;
            cut.read += (high - low.max(known).min(high)) as u64;
            known = high;
            cut.bounds.push((low as u32, high as u32));
        }
        cut.filled.compact();
        cut
    }

    fn timestamps(&self) -> &[i64] {
        self.column.as_ref().map_or(&self.timestamps, |(column, part)| &column[part.clone()])
    }

    /// Bytes that it takes, about; reaches and times included, whoever has them.
    fn bytes(&self) -> usize {
        size_of_val(self.timestamps())
            + self.bounds.len() * (size_of::<(u32, u32)>() + size_of::<Reach>())
    }
}

/// A place among times that only moves forward.
#[derive(Debug, Default)]
struct Cursor {
    at: usize,
    /// How far it moved last.
    moved: usize,
}

impl Cursor {
    /// Moves behind the last time that is not above `limit_ms`, which is none before.
    #[inline]
    fn behind(&mut self, timestamps: &[i64], limit_ms: i64) -> usize {
        // Scrapes are regular: most moves are as long as the one before.
        let guess = self.at + self.moved;
        let is_behind = |at: usize| at == 0 || timestamps[at - 1] <= limit_ms;
        let is_right = guess <= timestamps.len()
            && (guess == self.at || is_behind(guess))
            && timestamps.get(guess).is_none_or(|&t| t > limit_ms);
        if is_right {
            self.at = guess;
            return guess;
        }
        let before = self.at;
        while timestamps.get(self.at).is_some_and(|&t| t <= limit_ms) {
            self.at += 1;
        }
        self.moved = self.at - before;
        self.at
    }
}

/// A part of a column that is shared.
type PartOf<'a> = (&'a Arc<[i64]>, Range<usize>);

/// Cuts of one selector: its times, the width of its windows and their overhang are always the
/// same.
#[derive(Debug, Default)]
pub(super) struct Cuts {
    kept: Vec<Cut>,
    bytes: usize,
    /// The one asked for last.
    current: usize,
    /// The one to go next.
    oldest: usize,
}

impl Cuts {
    /// Finds or makes the cut for these timestamps, which is the current one from now on. Where
    /// they are a part of a column that is shared, that is given too.
    pub(super) fn cut(
        &mut self,
        (timestamps, column): (&[i64], Option<PartOf<'_>>),
        times: &SampleTimes,
        width: (i64, Overhang),
        known: usize,
        cancellation: Option<&Cancellation>,
    ) {
        let is_same = |cut: &Cut| {
            if !cut.is_kept || cut.bounds.len() != times.grid.steps {
                return false;
            }
            if let (Some((known, part)), Some((column, range))) = (&cut.column, &column)
                && Arc::ptr_eq(known, column)
            {
                return part == range;
            }
            // A look at one end, before all are compared.
            let known = cut.timestamps();
            known.first() == timestamps.first() && known == timestamps
        };
        let next = self.current + 1;
        let found = if self.kept.get(self.current).is_some_and(is_same) {
            Some(self.current)
        } else if self.kept.get(next).is_some_and(is_same) {
            // Targets take turns, always in the same order.
            Some(next)
        } else {
            self.kept.iter().position(is_same)
        };
        if let Some(found) = found {
            self.current = found;
            let cut = &mut self.kept[found];
            // To compare what two columns hold would cost more than all that is saved.
            let is_last = |(of, part): &PartOf<'_>| {
                cut.column.as_ref().is_some_and(|last| Arc::ptr_eq(&last.0, of) && last.1 == *part)
            };
            if let Some((column, part)) = column.filter(|column| !is_last(column)) {
                cut.column = Some((Arc::clone(column), part));
            }
            return;
        }
        let cut = Cut::new((timestamps, column), times, width, known, cancellation);
        let bytes = cut.bytes();
        let has_room = self.kept.len() < CUTS_MAX && self.bytes + bytes <= BYTES_MAX;
        if has_room || self.kept.is_empty() {
            self.current = self.kept.len();
            self.kept.push(cut);
            self.bytes += bytes;
            return;
        }
        self.oldest = (self.oldest + 1) % self.kept.len();
        self.current = self.oldest;
        let gone = std::mem::replace(&mut self.kept[self.current], cut);
        self.bytes = self.bytes + bytes - gone.bytes();
    }

    /// Samples of all windows of the current cut; 0 where there is none.
    pub(super) fn held(&self) -> u64 {
        self.kept.get(self.current).map_or(0, |cut| cut.held)
    }

    /// The cut made or found last.
    ///
    /// # Panics
    /// Before the first [`Cuts::cut`]: the caller's bug.
    pub(super) fn current(&self) -> &Cut {
        &self.kept[self.current]
    }
}

/// Pools kept at most: each may hold [`BYTES_MAX`].
const POOLS_MAX: usize = 4;

/// Cuts of the selectors of one query that have ended, for those that begin: numerator and
/// denominator of a quotient look at the same times.
#[derive(Debug, Default)]
pub(super) struct CutPool {
    kept: Vec<(SampleTimes, (i64, Overhang), Cuts)>,
}

impl CutPool {
    /// Cuts for these times and windows, where there are some; else none yet.
    pub(super) fn take(&mut self, times: &SampleTimes, width: (i64, Overhang)) -> Cuts {
        let known = self.kept.iter().position(|kept| kept.0 == *times && kept.1 == width);
        known.map_or_else(Cuts::default, |at| self.kept.swap_remove(at).2)
    }

    /// Keeps cuts for others.
    pub(super) fn put(&mut self, times: SampleTimes, width: (i64, Overhang), cuts: Cuts) {
        if self.kept.len() == POOLS_MAX {
            self.kept.remove(0);
        }
        self.kept.push((times, width, cuts));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promql::columns::Grid;

    fn times(steps: usize) -> SampleTimes {
        let grid = Grid { start_ms: 0, step_ms: 10, steps };
        SampleTimes { grid, offset_ms: 0, fixed_ms: None }
    }

    fn width(width_ms: i64) -> (i64, Overhang) {
        (width_ms, Overhang::default())
    }

    #[test]
    fn equal_times_are_found_again_among_many() {
        let mut cuts = Cuts::default();
        let vectors: Vec<Vec<i64>> =
            (0..80).map(|phase| (0..50).map(|i| i * 10 + phase).collect()).collect();
        for round in 0..3 {
            for (phase, timestamps) in vectors.iter().enumerate() {
                cuts.cut((timestamps, None), &times(50), width(30), 0, None);
                let fresh = Cut::new((timestamps, None), &times(50), width(30), 0, None);
                assert_eq!(cuts.current().bounds, fresh.bounds, "{phase} in round {round}");
                assert_eq!(cuts.current().held, fresh.held);
                assert!(cuts.kept.len() <= CUTS_MAX);
            }
        }
        assert_eq!(cuts.bytes, cuts.kept.iter().map(Cut::bytes).sum::<usize>());
    }

    #[test]
    fn cuts_of_many_steps_take_no_more_than_they_may() {
        let mut cuts = Cuts::default();
        for phase in 0..40 {
            let timestamps: Vec<i64> = (0..10).map(|i| i * 10 + phase).collect();
            cuts.cut((&timestamps, None), &times(11_000), width(30), 0, None);
            assert!(cuts.bytes <= BYTES_MAX || cuts.kept.len() == 1);
        }
        assert!(cuts.kept.len() > 1);
    }

    #[test]
    fn cuts_serve_those_who_look_at_the_same_times() {
        let mut pool = CutPool::default();
        let mut cuts = pool.take(&times(5), width(30));
        cuts.cut((&[0, 10], None), &times(5), width(30), 0, None);
        pool.put(times(5), width(30), cuts);
        assert!(pool.take(&times(5), width(31)).kept.is_empty());
        assert!(pool.take(&times(6), width(30)).kept.is_empty());
        let cuts = pool.take(&times(5), width(30));
        assert_eq!(cuts.kept.len(), 1);
        assert!(pool.take(&times(5), width(30)).kept.is_empty(), "they serve one at a time");
        pool.put(times(5), width(30), cuts);
        for other in 0..POOLS_MAX {
            pool.put(times(7), width(other as i64), Cuts::default());
        }
        assert!(pool.take(&times(5), width(30)).kept.is_empty(), "only a few are kept");
    }

    #[test]
    fn a_part_of_a_shared_column_is_known_without_a_look_at_it() {
        let column: Arc<[i64]> = (0..50).map(|i| i * 10).collect();
        let mut cuts = Cuts::default();
        for part in [0..20, 3..25, 0..20] {
            let given = (&column[part.clone()], Some((&column, part.clone())));
            cuts.cut(given, &times(30), width(30), 0, None);
            let fresh = Cut::new((&column[part], None), &times(30), width(30), 0, None);
            assert_eq!(cuts.current().bounds, fresh.bounds);
        }
        assert_eq!(cuts.kept.len(), 2);
        // Equal times of another column are the same.
        let other: Arc<[i64]> = column.iter().copied().collect();
        cuts.cut((&other[3..25], Some((&other, 3..25))), &times(30), width(30), 0, None);
        assert_eq!((cuts.kept.len(), cuts.current), (2, 1));
    }

    #[test]
    fn a_window_without_a_sample_is_seen() {
        let cut = Cut::new((&[0, 10, 40], None), &times(5), width(10), 0, None);
        assert_eq!(cut.bounds, [(0, 1), (1, 2), (2, 2), (2, 2), (2, 3)]);
        assert!(!cut.filled.is_all());
        assert!(Cut::new((&[0, 10], None), &times(2), width(10), 0, None).filled.is_all());
        assert_eq!((cut.held, cut.read), (3, 3));
    }
}
