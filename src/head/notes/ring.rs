//! The ring of exemplars.
//!
//! COMPAT: Prometheus `tsdb/exemplar.go`: which exemplar is taken, which is there already, which is
//! out of order. Of two at one time with one value Prometheus goes by a hash of labels; here both
//! are taken, in whichever order they come.

use std::collections::VecDeque;

use hashbrown::HashMap;

use super::ExemplarStats;
use crate::model::{EXEMPLAR_LABEL_CHARS_MAX, Exemplar, ExemplarError, Labels};
use crate::model::{SeriesExemplars, TimeRange};

/// See the module's description. INVARIANT: each exemplar of a series stands in `order` once, by
/// its number; the times of a series ascend.
#[derive(Debug, Default)]
pub(in crate::head) struct Ring {
    max: usize,
    /// How far below a series' newest exemplar others are taken.
    window_ms: i64,
    series: HashMap<Labels, Vec<(u64, Exemplar)>>,
    /// In the order in which they came.
    order: VecDeque<(u64, Labels)>,
    next: u64,
    appended: u64,
    out_of_order: u64,
}

impl Ring {
    pub(in crate::head) fn new(max: usize, window_ms: i64) -> Self {
        Self { max, window_ms, ..Self::default() }
    }

    /// Takes exemplars so far below a series' newest one from now on.
    pub(in crate::head) fn set_window_ms(&mut self, window_ms: i64) {
        self.window_ms = window_ms;
    }

    /// Takes an exemplar. `false`: it is there already, or none are kept.
    pub(super) fn take(
        &mut self,
        series: &Labels,
        exemplar: &Exemplar,
    ) -> Result<bool, ExemplarError> {
        if self.is_told_again(series, exemplar) {
            return Ok(false);
        }
        self.take_logged(series, exemplar)
    }

    /// Whether a source that says no times tells the series' newest one again: with each page that
    /// it shows, until another stands in its place.
    fn is_told_again(&self, series: &Labels, exemplar: &Exemplar) -> bool {
        let newest = self.series.get(series).and_then(|known| known.last());
        newest.is_some_and(|(_, newest)| {
            !newest.is_timed
                && !exemplar.is_timed
                && newest.value.to_bits() == exemplar.value.to_bits()
                && newest.labels == exemplar.labels
        })
    }

    /// The same for one that was taken before and is read from the log.
    pub(super) fn take_logged(
        &mut self,
        series: &Labels,
        exemplar: &Exemplar,
    ) -> Result<bool, ExemplarError> {
        if self.max == 0 {
            return Ok(false);
        }
        let pairs = exemplar.labels.iter();
        let chars: usize = pairs.map(|(n, v)| n.chars().count() + v.chars().count()).sum();
        if chars > EXEMPLAR_LABEL_CHARS_MAX {
            return Err(ExemplarError::LabelsTooLong);
        }
        let Some(at) = self.place(series, exemplar)? else { return Ok(false) };
        let number = self.next;
        self.next += 1;
        let known = self.series.entry(series.clone()).or_default();
        known.insert(at, (number, exemplar.clone()));
        self.order.push_back((number, series.clone()));
        self.appended += 1;
        self.shrink();
        Ok(true)
    }

    /// Where among those of its series it goes; `None`: it is there already.
    fn place(
        &mut self,
        series: &Labels,
        exemplar: &Exemplar,
    ) -> Result<Option<usize>, ExemplarError> {
        let Some(known) = self.series.get(series) else { return Ok(Some(0)) };
        let Some((_, newest)) = known.last() else { return Ok(Some(0)) };
        let is_below = exemplar.t_ms < newest.t_ms;
        let is_too_old =
            is_below && exemplar.t_ms <= newest.t_ms.saturating_sub(self.window_ms.max(0));
        let is_lower = exemplar.t_ms == newest.t_ms && exemplar.value < newest.value;
        let end = known.partition_point(|(_, e)| e.t_ms <= exemplar.t_ms);
        let begin = known.partition_point(|(_, e)| e.t_ms < exemplar.t_ms);
        if known[begin..end].iter().any(|(_, e)| e.is_same(exemplar)) {
            return Ok(None);
        }
        if is_too_old || is_lower {
            self.out_of_order += 1;
            return Err(ExemplarError::OutOfOrder);
        }
        // COMPAT: a late one is not told apart from another of its time.
        Ok((!is_below || begin == end).then_some(end))
    }

    /// Takes out an exemplar that was taken last.
    pub(super) fn remove(&mut self, series: &Labels, exemplar: &Exemplar) {
        let Some(known) = self.series.get_mut(series) else { return };
        let Some(at) = known.iter().rposition(|(_, e)| e.is_same(exemplar)) else { return };
        let (number, _) = known.remove(at);
        if known.is_empty() {
            self.series.remove(series);
        }
        self.order.retain(|entry| entry.0 != number);
        self.appended -= 1;
    }

    pub(super) fn resize(&mut self, max: usize) {
        self.max = max;
        self.shrink();
    }

    fn shrink(&mut self) {
        while self.order.len() > self.max {
            let Some((number, series)) = self.order.pop_front() else { return };
            let Some(known) = self.series.get_mut(&series) else { continue };
            known.retain(|entry| entry.0 != number);
            if known.is_empty() {
                self.series.remove(&series);
            }
        }
    }

    /// Exemplars within `range` of the series that `is_wanted` says yes to, by labels.
    pub(super) fn select(
        &self,
        range: TimeRange,
        is_wanted: impl Fn(&Labels) -> bool,
    ) -> Vec<SeriesExemplars> {
        let mut found: Vec<SeriesExemplars> = Vec::new();
        for (series, known) in &self.series {
            let within = known.iter().filter(|(_, e)| range.contains(e.t_ms));
            let exemplars: Vec<Exemplar> = within.map(|(_, e)| e.clone()).collect();
            if !exemplars.is_empty() && is_wanted(series) {
                found.push(SeriesExemplars { series: series.clone(), exemplars });
            }
        }
        found.sort_unstable_by(|a, b| a.series.cmp(&b.series));
        found
    }

    /// All exemplars in the order in which they came.
    pub(super) fn in_order(&self) -> impl Iterator<Item = (&Labels, &Exemplar)> {
        self.order.iter().filter_map(|(number, series)| {
            let known = self.series.get(series)?;
            let entry = known.iter().find(|entry| entry.0 == *number)?;
            Some((series, &entry.1))
        })
    }

    pub(super) fn stats(&self) -> ExemplarStats {
        ExemplarStats {
            appended: self.appended,
            out_of_order: self.out_of_order,
            kept: self.order.len(),
            series: self.series.len(),
            oldest_ms: self.in_order().next().map(|(_, exemplar)| exemplar.t_ms),
            max: self.max,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(name: &str) -> Labels {
        Labels::from_pairs([("__name__", name)])
    }

    fn exemplar(t_ms: i64, value: f64, trace: &str) -> Exemplar {
        Exemplar { labels: Labels::from_pairs([("trace_id", trace)]), value, t_ms, is_timed: true }
    }

    fn times(ring: &Ring, name: &str) -> Vec<i64> {
        let found = ring.select(TimeRange::ALL, |labels| *labels == series(name));
        found.iter().flat_map(|s| &s.exemplars).map(|e| e.t_ms).collect()
    }

    #[test]
    fn order_and_duplicates_are_judged_as_by_prometheus() {
        let mut ring = Ring::new(10, 0);
        let (a, late) = (series("a"), Err(ExemplarError::OutOfOrder));
        assert_eq!(ring.take(&a, &exemplar(10, 1.0, "x")), Ok(true));
        assert_eq!(ring.take(&a, &exemplar(10, 1.0, "x")), Ok(false));
        assert_eq!(ring.take(&a, &exemplar(10, 2.0, "y")), Ok(true));
        assert_eq!(ring.take(&a, &exemplar(10, 1.0, "x")), Ok(false), "one of its time");
        assert_eq!(ring.take(&a, &exemplar(10, 1.5, "x")), late);
        assert_eq!(ring.take(&a, &exemplar(9, 3.0, "x")), late);
        let long = exemplar(11, 1.0, &"ö".repeat(121));
        assert_eq!(ring.take(&a, &long), Err(ExemplarError::LabelsTooLong));
        assert_eq!(ring.take(&a, &exemplar(11, 1.0, &"ö".repeat(120))), Ok(true));
        ring.window_ms = 5;
        assert_eq!(ring.take(&a, &exemplar(7, 1.0, "x")), Ok(true));
        assert_eq!(ring.take(&a, &exemplar(7, 2.0, "z")), Ok(false));
        assert_eq!(ring.take(&a, &exemplar(6, 1.0, "x")), late);
        assert_eq!(times(&ring, "a"), [7, 10, 10, 11]);
        assert_eq!((ring.stats().appended, ring.stats().out_of_order), (4, 3));
    }

    #[test]
    fn one_without_a_time_told_again_is_the_same() {
        let mut ring = Ring::new(10, 0);
        let a = series("a");
        let untimed = |t_ms, trace| Exemplar { is_timed: false, ..exemplar(t_ms, 1.0, trace) };
        assert_eq!(ring.take(&a, &untimed(10, "x")), Ok(true));
        assert_eq!(ring.take(&a, &untimed(20, "x")), Ok(false));
        assert_eq!(ring.take(&a, &untimed(30, "y")), Ok(true));
        assert_eq!(ring.take(&a, &untimed(40, "x")), Ok(true), "another stood between");
        assert_eq!(ring.take(&a, &exemplar(50, 1.0, "x")), Ok(true), "it says when it was");
        assert_eq!(ring.take(&a, &exemplar(60, 1.0, "x")), Ok(true));
        // What the log holds was not told again when it came, whatever it looks like.
        let mut again = Ring::new(10, 0);
        for t_ms in [50, 60] {
            assert_eq!(again.take_logged(&a, &untimed(t_ms, "x")), Ok(true));
        }
        assert_eq!(again.take(&a, &untimed(70, "x")), Ok(false), "it is known over a restart");
        assert_eq!(
            (times(&ring, "a"), times(&again, "a")),
            (vec![10, 30, 40, 50, 60], vec![50, 60])
        );
    }

    #[test]
    fn the_one_that_came_first_makes_room() {
        let mut ring = Ring::new(3, 0);
        for t_ms in 0..4 {
            let name = if t_ms == 1 { "b" } else { "a" };
            assert_eq!(ring.take(&series(name), &exemplar(t_ms, 0.5, "x")), Ok(true));
        }
        assert_eq!((times(&ring, "a"), times(&ring, "b")), (vec![2, 3], vec![1]));
        let order: Vec<i64> = ring.in_order().map(|(_, e)| e.t_ms).collect();
        assert_eq!(order, [1, 2, 3]);
        ring.remove(&series("a"), &exemplar(3, 0.5, "x"));
        ring.resize(1);
        assert_eq!((times(&ring, "a"), ring.stats().series), (vec![2], 1));
        ring.resize(0);
        assert_eq!(ring.take(&series("a"), &exemplar(9, 0.5, "x")), Ok(false));
        assert_eq!(ring.stats().kept, 0);
    }
}
