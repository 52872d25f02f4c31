//! What operators hand on: series with their values over the whole step grid.
//!
//! A [`Column`] has one slot for each step of its [`Grid`] and a [`Bitmap`] that says which slots
//! hold a value; what stands in the other slots means nothing. A value is a float or a native
//! histogram; a column without histograms has no slots for them, and costs what floats cost.
//!
//! INVARIANT: within one [`Vector`] no two series of equal labels have a value at the same step,
//! and every series has a value somewhere (`Vector::finish` establishes both).

use std::ops::Range;
use std::sync::Arc;

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

use super::budget::Budget;
use super::engine::QueryError;
use crate::model::{FloatHistogram, Labels, METRIC_NAME};

/// Evaluation times: `start_ms`, `start_ms + step_ms`, …; an instant query has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Grid {
    /// First time in milliseconds.
    pub start_ms: i64,
    /// Distance in milliseconds, above zero.
    pub step_ms: i64,
    /// Number of times.
    pub steps: usize,
}

impl Grid {
    /// A single time.
    pub fn instant(t_ms: i64) -> Self {
        Self { start_ms: t_ms, step_ms: 1, steps: 1 }
    }

    /// All times from `start_ms` to `end_ms`; none if the end is before the start.
    pub fn new(start_ms: i64, end_ms: i64, step_ms: i64) -> Self {
        let steps = match end_ms.checked_sub(start_ms) {
            Some(width) if width >= 0 => (width / step_ms.max(1)) as usize + 1,
            Some(_) => 0,
            None => usize::MAX,
        };
        Self { start_ms, step_ms: step_ms.max(1), steps }
    }

    /// Time of step `step` in milliseconds.
    #[inline]
    pub fn time_ms(&self, step: usize) -> i64 {
        self.start_ms.saturating_add(self.step_ms.saturating_mul(step as i64))
    }

    /// Time of the last step; `start_ms` where there is none.
    pub fn end_ms(&self) -> i64 {
        self.time_ms(self.steps.saturating_sub(1))
    }

    /// All times in order.
    pub fn times(&self) -> impl Iterator<Item = i64> + use<> {
        let grid = *self;
        (0..grid.steps).map(move |step| grid.time_ms(step))
    }
}

/// A set of steps. One with every step in it takes no memory of its own.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bitmap {
    len: usize,
    /// Empty: all steps are in the set. Bits at and above `len` are zero.
    words: Vec<u64>,
}

impl Bitmap {
    /// No step of `len`.
    pub fn none(len: usize) -> Self {
        Self { len, words: vec![0; len.div_ceil(64)] }
    }

    /// Every step of `len`.
    pub fn all(len: usize) -> Self {
        Self { len, words: Vec::new() }
    }

    /// Number of steps of the grid.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the grid has no step.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether `step` is in the set.
    #[inline]
    pub fn get(&self, step: usize) -> bool {
        debug_assert!(step < self.len, "BUG: step outside the grid");
        self.words.is_empty() || self.words[step / 64] >> (step % 64) & 1 == 1
    }

    /// Puts `step` in.
    #[inline]
    pub fn set(&mut self, step: usize) {
        if !self.words.is_empty() {
            self.words[step / 64] |= 1 << (step % 64);
        }
    }

    /// Takes `step` out.
    #[inline]
    pub fn unset(&mut self, step: usize) {
        self.spell_out();
        self.words[step / 64] &= !(1 << (step % 64));
    }

    /// Whether every step is in the set.
    pub fn is_all(&self) -> bool {
        self.words.is_empty() || self.count() == self.len
    }

    /// Whether no step is in the set.
    pub fn is_none(&self) -> bool {
        self.len == 0 || (!self.words.is_empty() && self.words.iter().all(|word| *word == 0))
    }

    /// Number of steps in the set.
    pub fn count(&self) -> usize {
        if self.words.is_empty() {
            return self.len;
        }
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// The steps in the set, ascending.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.len.div_ceil(64)).flat_map(move |index| {
            let mut word = self.word(index);
            std::iter::from_fn(move || {
                (word != 0).then(|| {
                    let bit = word.trailing_zeros() as usize;
                    word &= word - 1;
                    index * 64 + bit
                })
            })
        })
    }

    /// The last step in the set.
    pub fn last(&self) -> Option<usize> {
        (0..self.len.div_ceil(64)).rev().find_map(|index| {
            let word = self.word(index);
            (word != 0).then(|| index * 64 + 63 - word.leading_zeros() as usize)
        })
    }

    /// Keeps what `other` has too.
    pub fn intersect(&mut self, other: &Self) {
        if other.words.is_empty() {
            return;
        }
        self.combine(other, |a, b| a & b);
    }

    /// Adds what `other` has.
    pub fn unite(&mut self, other: &Self) {
        if self.words.is_empty() {
            return;
        }
        if other.words.is_empty() {
            self.words.clear();
            return;
        }
        self.combine(other, |a, b| a | b);
    }

    /// Takes out what `other` has.
    pub fn subtract(&mut self, other: &Self) {
        self.combine(other, |a, b| a & !b);
    }

    /// The first step that both have.
    pub fn first_common(&self, other: &Self) -> Option<usize> {
        (0..self.len.div_ceil(64)).find_map(|index| {
            let word = self.word(index) & other.word(index);
            (word != 0).then(|| index * 64 + word.trailing_zeros() as usize)
        })
    }

    /// Frees the words of a set that has every step.
    pub fn compact(&mut self) {
        if !self.words.is_empty() && self.count() == self.len {
            self.words = Vec::new();
        }
    }

    /// The steps of `over`, which begins at a multiple of 64, at most 64 at a time, and whether
    /// both have all of these.
    pub fn stretches<'b>(
        &'b self,
        other: &'b Self,
        over: Range<usize>,
    ) -> impl Iterator<Item = (Range<usize>, bool)> {
        (over.start / 64..over.end.div_ceil(64)).map(move |index| {
            let steps = index * 64..self.len.min((index + 1) * 64);
            let all = u64::MAX >> (64 - steps.len());
            (steps, self.word(index) & other.word(index) == all)
        })
    }

    /// A part of it, which begins at a multiple of 64.
    fn piece(&self, steps: &Range<usize>) -> Self {
        debug_assert_eq!(steps.start % 64, 0, "BUG: pieces consist of whole words");
        if self.words.is_empty() {
            return Self::all(steps.len());
        }
        let words = self.words[steps.start / 64..steps.end.div_ceil(64)].to_vec();
        Self { len: steps.len(), words }
    }

    /// Puts a part back in its place.
    fn put_piece(&mut self, steps: &Range<usize>, piece: &Self) {
        if piece.words.is_empty() && self.words.is_empty() {
            return;
        }
        self.spell_out();
        for (index, word) in
            self.words[steps.start / 64..steps.end.div_ceil(64)].iter_mut().enumerate()
        {
            *word = piece.word(index);
        }
    }

    #[inline]
    fn word(&self, index: usize) -> u64 {
        match self.words.get(index) {
            Some(word) => *word,
            None if (index + 1) * 64 <= self.len => u64::MAX,
            None => (1 << (self.len % 64)) - 1,
        }
    }

    fn spell_out(&mut self) {
        if self.words.is_empty() && self.len > 0 {
            self.words = (0..self.len.div_ceil(64)).map(|index| self.word(index)).collect();
        }
    }

    fn combine(&mut self, other: &Self, join: impl Fn(u64, u64) -> u64) {
        debug_assert_eq!(self.len, other.len, "BUG: bitmaps of different grids");
        self.spell_out();
        for index in 0..self.words.len() {
            self.words[index] = join(self.words[index], other.word(index));
        }
    }
}

/// Values over a grid.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Column {
    /// One slot for each step.
    pub values: Vec<f64>,
    /// Which slots hold a value.
    pub valid: Bitmap,
    /// The values that are histograms: one slot for each step, or none at all where every value
    /// is a float. What stands at a step without a value means nothing.
    pub histograms: Vec<Option<Arc<FloatHistogram>>>,
}

/// One value of a column.
#[derive(Debug, Clone, Copy)]
pub enum Sample<'a> {
    /// A number.
    Float(f64),
    /// A native histogram.
    Histogram(&'a Arc<FloatHistogram>),
}

impl Column {
    /// A column without values.
    pub fn empty(steps: usize) -> Self {
        Self { values: vec![0.0; steps], valid: Bitmap::none(steps), histograms: Vec::new() }
    }

    /// Makes it a column of `steps` without values.
    pub fn reset(&mut self, steps: usize) {
        self.values.clear();
        self.values.resize(steps, 0.0);
        self.valid = Bitmap::none(steps);
        self.histograms.clear();
    }

    /// The same value at every step.
    pub fn constant(steps: usize, value: f64) -> Self {
        Self { values: vec![value; steps], valid: Bitmap::all(steps), histograms: Vec::new() }
    }

    /// A column with a value at every step.
    pub fn dense(values: Vec<f64>) -> Self {
        let valid = Bitmap::all(values.len());
        Self { values, valid, histograms: Vec::new() }
    }

    /// Number of steps.
    pub fn steps(&self) -> usize {
        self.values.len()
    }

    /// The float at `step`.
    #[inline]
    pub fn get(&self, step: usize) -> Option<f64> {
        (self.valid.get(step) && !self.is_histogram(step)).then(|| self.values[step])
    }

    /// The value at `step`.
    pub fn sample(&self, step: usize) -> Option<Sample<'_>> {
        self.valid.get(step).then(|| match self.histograms.get(step) {
            Some(Some(histogram)) => Sample::Histogram(histogram),
            _ => Sample::Float(self.values[step]),
        })
    }

    /// Whether a histogram stands at `step`, if a value does.
    #[inline]
    pub fn is_histogram(&self, step: usize) -> bool {
        self.histograms.get(step).is_some_and(Option::is_some)
    }

    /// Whether there may be a histogram.
    #[inline]
    pub fn has_histograms(&self) -> bool {
        !self.histograms.is_empty()
    }

    /// Sets the value at `step` to a float.
    #[inline]
    pub fn set(&mut self, step: usize, value: f64) {
        self.values[step] = value;
        self.valid.set(step);
        if let Some(slot) = self.histograms.get_mut(step) {
            *slot = None;
        }
    }

    /// Sets the value at `step` to a histogram.
    pub fn set_histogram(&mut self, step: usize, histogram: Arc<FloatHistogram>) {
        if self.histograms.is_empty() {
            self.histograms.resize(self.values.len(), None);
        }
        self.histograms[step] = Some(histogram);
        self.values[step] = 0.0;
        self.valid.set(step);
    }

    /// Drops the values that are histograms.
    pub fn drop_histograms(&mut self) {
        for (step, slot) in std::mem::take(&mut self.histograms).into_iter().enumerate() {
            if slot.is_some() {
                self.valid.unset(step);
            }
        }
    }

    /// Steps and floats, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (usize, f64)> + '_ {
        let floats = self.valid.iter().filter(|step| !self.is_histogram(*step));
        floats.map(|step| (step, self.values[step]))
    }

    /// Steps and values of either kind, ascending.
    pub fn samples(&self) -> impl Iterator<Item = (usize, Sample<'_>)> + '_ {
        self.valid.iter().filter_map(|step| self.sample(step).map(|sample| (step, sample)))
    }

    /// How much of a query's budget the column takes: one for each slot, and for each histogram
    /// what it counts as.
    pub fn cost(&self) -> usize {
        let histograms = self.histograms.iter().flatten().map(|histogram| histogram.samples());
        self.values.len().saturating_add(histograms.sum())
    }

    /// Copies a part of it, which begins at a multiple of 64.
    #[must_use]
    pub fn piece(&self, steps: Range<usize>) -> Self {
        let histograms = self.histograms.get(steps.clone()).unwrap_or_default().to_vec();
        Self {
            values: self.values[steps.clone()].to_vec(),
            valid: self.valid.piece(&steps),
            histograms,
        }
    }

    /// The same; its histograms are gone from `self` until the piece is put back.
    #[must_use]
    pub fn take_piece(&mut self, steps: Range<usize>) -> Self {
        let slots = self.histograms.get_mut(steps.clone()).unwrap_or_default();
        let histograms = slots.iter_mut().map(Option::take).collect();
        Self {
            values: self.values[steps.clone()].to_vec(),
            valid: self.valid.piece(&steps),
            histograms,
        }
    }

    /// Puts a piece in the place of what stands at `steps`.
    pub fn put_piece(&mut self, steps: Range<usize>, mut piece: Self) {
        self.valid.put_piece(&steps, &piece.valid);
        self.values[steps.clone()].copy_from_slice(&piece.values);
        if self.histograms.is_empty() && piece.has_histograms() {
            self.histograms.resize(self.values.len(), None);
        }
        let slots = self.histograms.get_mut(steps).unwrap_or_default();
        if piece.has_histograms() {
            slots.swap_with_slice(&mut piece.histograms);
        } else {
            slots.fill(None);
        }
    }

    /// Applies `f` to every value.
    pub fn map(&mut self, f: impl Fn(f64) -> f64) {
        for value in &mut self.values {
            *value = f(*value);
        }
    }

    /// Takes over the values of `other`, which has none where `self` has one.
    pub fn merge(&mut self, other: &Self) {
        for (step, sample) in other.samples() {
            match sample {
                Sample::Float(value) => self.set(step, value),
                Sample::Histogram(histogram) => self.set_histogram(step, Arc::clone(histogram)),
            }
        }
    }
}

impl Sample<'_> {
    /// Whether it is a histogram.
    pub fn is_histogram(&self) -> bool {
        matches!(self, Self::Histogram(_))
    }
}

/// One series of a vector.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Its labels.
    pub labels: Labels,
    /// With delayed name removal: the metric name goes when the query is done. Without it the
    /// name goes at once and this stays unused.
    pub drop_name: bool,
    /// Its values.
    pub column: Column,
}

impl Series {
    /// Drops the metric name: now, or, with `delayed`, at the end of the query.
    pub fn drop_name(&mut self, delayed: bool) {
        self.drop_name = true;
        if !delayed {
            self.labels = without_name(&self.labels);
        }
    }
}

/// `labels` without the metric name (and the metric's type and unit).
pub fn without_name(labels: &Labels) -> Labels {
    if labels.iter_bytes().any(|(name, _)| is_metadata(name)) {
        labels.without(|name| is_metadata(name))
    } else {
        labels.clone()
    }
}

/// Whether a label tells what the metric is rather than where it comes from.
pub fn is_metadata(name: impl AsRef<[u8]>) -> bool {
    let name = name.as_ref();
    name == METRIC_NAME.as_bytes() || name == b"__type__" || name == b"__unit__"
}

/// An instant vector over a grid. The order of the series is the order of an instant result.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Vector {
    /// The series.
    pub series: Vec<Series>,
}

/// Two series of a vector had equal labels at the same step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SameLabelset;

impl Vector {
    /// Drops series without values and joins those of equal labels; an error where two of them
    /// have a value at the same step.
    ///
    /// Where one of the two values is a float and the other a histogram, Prometheus 3.14 refuses
    /// it too, except behind unary minus, `label_replace`, `label_join` and where names go at the
    /// end of the query: there it puts both at the same time of one series, of which whatever
    /// comes next, and the answer to an instant query, has one and silently loses the other. Such
    /// a series is refused here like any other.
    pub(super) fn finish(&mut self, budget: &Budget<'_>) -> Result<(), QueryError> {
        self.drop_empty();
        let mut first: HashMap<Labels, usize> = HashMap::with_capacity(self.series.len());
        let mut duplicates = Vec::new();
        for (index, series) in self.series.iter().enumerate() {
            budget.check_time()?;
            match first.entry(series.labels.clone()) {
                Entry::Vacant(entry) => {
                    entry.insert(index);
                }
                Entry::Occupied(entry) => duplicates.push((*entry.get(), index)),
            }
        }
        for &(kept, index) in &duplicates {
            budget.check_time()?;
            let (head, tail) = self.series.split_at_mut(index);
            if head[kept].column.valid.first_common(&tail[0].column.valid).is_some() {
                return Err(SameLabelset.into());
            }
            head[kept].column.merge(&tail[0].column);
            tail[0].column = Column::empty(0);
        }
        if !duplicates.is_empty() {
            self.drop_empty();
        }
        Ok(())
    }

    /// How much of a query's budget it takes over `steps` steps.
    pub fn cost(&self, steps: usize) -> usize {
        let of = |series: &Series| {
            if series.column.has_histograms() { series.column.cost() } else { steps }
        };
        self.series.iter().map(of).fold(0, usize::saturating_add)
    }

    /// Drops series without values.
    pub fn drop_empty(&mut self) {
        self.series.retain(|series| !series.column.valid.is_none());
    }
}

/// The value of a node over its grid.
#[derive(Debug, Clone, PartialEq)]
pub enum Operand {
    /// One number for each step: a column without labels and without holes.
    Scalar(Column),
    /// A literal.
    String(String),
    /// Series.
    Vector(Vector),
}
