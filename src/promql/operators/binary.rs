//! Arithmetic and comparisons between two vectors.
//!
//! Series are paired once; whether a pair counts is decided by where both have a value, so that
//! series which follow each other in time may share a signature.

use std::cell::RefCell;

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

use super::arithmetic::{combine, combine_into_right, number};
use super::histogram_binary::{self, Note, Outcome};
use super::signature::{Signatures, matched_labels};
use crate::model::{Labels, LabelsBuilder};
use crate::promql::annotations::Annotations;
use crate::promql::ast::{BinaryOp, Cardinality, Fill, Span, VectorMatching};
use crate::promql::budget::{Budget, STEPS_PER_LOOK};
use crate::promql::columns::{Bitmap, Column, Series, Vector, is_metadata};
use crate::promql::engine::QueryError;
use crate::promql::plan::is_comparison;

/// Values of which one is a histogram, computed between two looks.
const HISTOGRAMS_PER_LOOK: usize = 1 << 10;

/// One binary operation between vectors, set operators aside.
#[derive(Debug)]
pub(crate) struct VectorBinary<'a> {
    pub op: BinaryOp,
    pub matching: &'a VectorMatching,
    pub return_bool: bool,
    pub steps: usize,
    pub delayed_name_removal: bool,
    /// What is told about the last pair of each step that something is told about; empty before
    /// the first. COMPAT: the last one only.
    pub notes: RefCell<Vec<Option<Note>>>,
}

impl VectorBinary<'_> {
    /// The result. Series of equal labels may be in it more than once, at different steps or not.
    pub(crate) fn evaluate(
        &self,
        lhs: Vector,
        rhs: Vector,
        budget: &Budget<'_>,
    ) -> Result<Vector, QueryError> {
        let swapped = self.matching.cardinality == Cardinality::OneToMany;
        let (many, one) = if swapped { (rhs, lhs) } else { (lhs, rhs) };
        // COMPAT: `group_right` turns the sides around for `fill_left` and `fill_right` too.
        let Fill { left: many_fill, right: one_fill } = self.matching.fill;
        let nothing = if self.matching.fill.is_none() {
            many.series.is_empty() || one.series.is_empty()
        } else {
            many.series.is_empty() && one.series.is_empty()
        };
        if nothing {
            return Ok(Vector::default());
        }
        let mut signatures = Signatures::new(self.matching);
        let mut partners: Vec<Vec<usize>> = Vec::new();
        for (index, series) in one.series.iter().enumerate() {
            budget.check_time()?;
            let ordinal = signatures.ordinal(&series.labels);
            if ordinal == partners.len() {
                partners.push(Vec::new());
            }
            partners[ordinal].push(index);
        }
        self.check_one_side(&many, &one, &partners, budget)?;
        let mut out = Vector::default();
        let mut taken = Taken::new(self.matching.cardinality, partners.len());
        for series in many.series {
            budget.check_time()?;
            let ordinal = signatures.ordinal(&series.labels);
            let partners = partners.get(ordinal).map_or(&[][..], Vec::as_slice);
            if let Some(value) = one_fill {
                budget.ensure(out.series.len() + 2, self.steps)?;
                let filler = self.filler(&series, (value, budget), partners, &one)?;
                self.pair(series.clone(), (&filler, ordinal), &mut taken, &mut out, budget)?;
            }
            let Some((last, others)) = partners.split_last() else { continue };
            for partner in others {
                budget.ensure(out.series.len() + 1, self.steps)?;
                let partner = (&one.series[*partner], ordinal);
                self.pair(series.clone(), partner, &mut taken, &mut out, budget)?;
            }
            self.pair(series, (&one.series[*last], ordinal), &mut taken, &mut out, budget)?;
        }
        if let Some(value) = many_fill {
            for series in &one.series {
                budget.check_time()?;
                budget.ensure(out.series.len() + 2, self.steps)?;
                let ordinal = signatures.ordinal(&series.labels);
                let mut filler = self.filler(series, (value, budget), &[], &one)?;
                taken.subtract_from(ordinal, &mut filler.column.valid);
                self.pair(filler, (series, ordinal), &mut taken, &mut out, budget)?;
            }
        }
        Ok(out)
    }

    /// What stands in for the other side of `series` where `partners` have no value.
    fn filler(
        &self,
        series: &Series,
        (value, budget): (f64, &Budget<'_>),
        partners: &[usize],
        one: &Vector,
    ) -> Result<Series, QueryError> {
        let mut column = budget.constant(self.steps, value)?;
        column.valid = series.column.valid.clone();
        for partner in partners {
            column.valid.subtract(&one.series[*partner].column.valid);
        }
        let labels = matched_labels(self.matching, &series.labels);
        Ok(Series { labels, drop_name: false, column })
    }

    /// Joins two series of one signature. The result takes the place of `many`.
    fn pair(
        &self,
        mut many: Series,
        (one, ordinal): (&Series, usize),
        taken: &mut Taken,
        out: &mut Vector,
        budget: &Budget<'_>,
    ) -> Result<(), QueryError> {
        many.column.valid.intersect(&one.column.valid);
        if many.column.valid.is_none() {
            return Ok(());
        }
        let labels = self.result_labels(&many.labels, &one.labels);
        if many.column.has_histograms() || one.column.has_histograms() || self.op.is_trim() {
            let column = self.compute_each(&mut many.column, &one.column, budget)?;
            taken.take(ordinal, &labels, &many.column.valid)?;
            if !column.valid.is_none() {
                out.series.push(Series { labels, drop_name: self.return_bool, column });
            }
            return Ok(());
        }
        taken.take(ordinal, &labels, &many.column.valid)?;
        let is_whole = self.steps <= STEPS_PER_LOOK;
        budget.change(&mut many.column, |many, steps| {
            if is_whole {
                self.compute(many, &one.column.values);
            } else {
                self.compute(many, &one.column.values[steps]);
            }
        })?;
        if !many.column.valid.is_none() {
            out.series.push(Series { labels, drop_name: self.return_bool, column: many.column });
        }
        Ok(())
    }

    /// The result value by value, some of them histograms. Steps at which the operator does not
    /// go with the values are no matches and leave `many`.
    fn compute_each(
        &self,
        many: &mut Column,
        one: &Column,
        budget: &Budget<'_>,
    ) -> Result<Column, QueryError> {
        let swapped = self.matching.cardinality == Cardinality::OneToMany;
        let mut out = Column::empty(self.steps);
        let mut unmatched = Vec::new();
        for (nth, (step, sample)) in many.samples().enumerate() {
            if nth % HISTOGRAMS_PER_LOOK == HISTOGRAMS_PER_LOOK - 1 {
                budget.look()?;
            }
            let Some(other) = one.sample(step) else { continue };
            let (left, right) = if swapped { (other, sample) } else { (sample, other) };
            let note = match histogram_binary::evaluate(self.op, left, right) {
                Ok((outcome, note)) => {
                    match outcome {
                        outcome if self.return_bool => {
                            let holds = !matches!(outcome, Outcome::Drop);
                            out.set(step, f64::from(u8::from(holds)));
                        }
                        Outcome::Drop => {}
                        Outcome::Float(value) => out.set(step, value),
                        Outcome::Histogram(histogram) => out.set_histogram(step, histogram),
                    }
                    note
                }
                Err(note) => {
                    unmatched.push(step);
                    Some(note)
                }
            };
            if note.is_some() {
                let mut notes = self.notes.borrow_mut();
                notes.resize(self.steps, None);
                notes[step] = note;
            }
        }
        for step in unmatched {
            many.valid.unset(step);
        }
        Ok(out)
    }

    /// Tells what was found out about the operation at `span`.
    pub(crate) fn tell(&self, span: Span, annotations: &RefCell<Annotations>) {
        for note in self.notes.borrow_mut().drain(..).flatten() {
            note.tell(self.op, span, &mut annotations.borrow_mut());
        }
    }

    fn compute(&self, many: &mut Column, one: &[f64]) {
        let swapped = self.matching.cardinality == Cardinality::OneToMany;
        if !is_comparison(self.op) || self.return_bool {
            if swapped {
                combine_into_right(self.op, one, &mut many.values);
            } else {
                combine(self.op, &mut many.values, one);
            }
            return;
        }
        // A comparison keeps the value of the left side.
        let holds = number(self.op);
        for step in many.valid.clone().iter() {
            let (left, right) = if swapped {
                (one[step], many.values[step])
            } else {
                (many.values[step], one[step])
            };
            many.values[step] = left;
            if holds(left, right) == 0.0 {
                many.valid.unset(step);
            }
        }
    }

    fn result_labels(&self, many: &Labels, one: &Labels) -> Labels {
        let changes =
            self.op.changes_quantity() || (self.return_bool && !self.delayed_name_removal);
        let matching = self.matching;
        let exact = matching.cardinality == Cardinality::OneToOne;
        let kept = many.without(|name| {
            let named = matching.labels.iter().any(|label| label == name);
            (changes && is_metadata(name)) || (exact && named != matching.on)
        });
        if matching.include.is_empty() {
            return kept;
        }
        let mut builder = LabelsBuilder::from_labels(&kept);
        for name in &matching.include {
            builder.set(name, one.get(name).unwrap_or(""));
        }
        builder.build()
    }

    /// An error where two series of the one side share a signature and a step at which both
    /// sides have something.
    fn check_one_side(
        &self,
        many: &Vector,
        one: &Vector,
        partners: &[Vec<usize>],
        budget: &Budget<'_>,
    ) -> Result<(), QueryError> {
        if partners.iter().all(|group| group.len() == 1) {
            return Ok(());
        }
        let mut active = Bitmap::none(self.steps);
        if !self.matching.fill.is_none() {
            active = Bitmap::all(self.steps);
        }
        for series in &many.series {
            budget.check_time()?;
            active.unite(&series.column.valid);
        }
        let mut first_step: Option<usize> = None;
        for group in partners.iter().filter(|group| group.len() > 1) {
            let mut seen = Bitmap::none(self.steps);
            for index in group {
                budget.check_time()?;
                let mut valid = one.series[*index].column.valid.clone();
                valid.intersect(&active);
                if let Some(step) = seen.first_common(&valid) {
                    first_step = Some(first_step.map_or(step, |first| first.min(step)));
                }
                seen.unite(&valid);
            }
        }
        let Some(step) = first_step else { return Ok(()) };
        // COMPAT: the pair named is the one that a walk over the series meets first.
        let present = |index: &usize| one.series[*index].column.valid.get(step);
        let pairs = partners.iter().filter_map(|group| {
            let mut there = group.iter().copied().filter(present);
            there.next().zip(there.next())
        });
        let (first, second) =
            pairs.min_by_key(|(_, second)| *second).expect("BUG: a step seen twice has two series");
        let labels = [&one.series[first].labels, &one.series[second].labels];
        let mut texts = labels.map(ToString::to_string);
        texts.sort_unstable();
        let side =
            if self.matching.cardinality == Cardinality::OneToMany { "left" } else { "right" };
        Err(QueryError::execution(format!(
            "found duplicate series for the match group {} on the {side} hand-side of the \
             operation: [{}, {}];many-to-many matching not allowed: matching labels must be \
             unique on one side",
            matched_labels(self.matching, labels[1]),
            texts[0],
            texts[1],
        )))
    }
}

/// Steps at which a signature has its match already.
struct Taken {
    /// For each signature: one match at a step.
    steps: Vec<Option<Bitmap>>,
    /// For each signature and result, where several series of one side may match.
    results: Option<HashMap<(usize, Labels), Bitmap>>,
}

impl Taken {
    fn new(cardinality: Cardinality, signatures: usize) -> Self {
        let is_single = cardinality == Cardinality::OneToOne;
        let results = if is_single { None } else { Some(HashMap::new()) };
        Self { steps: vec![None; signatures], results }
    }

    fn take(&mut self, ordinal: usize, labels: &Labels, at: &Bitmap) -> Result<(), QueryError> {
        if ordinal >= self.steps.len() {
            self.steps.resize(ordinal + 1, None);
        }
        let is_free = match &mut self.steps[ordinal] {
            Some(known) => unite_disjoint(known, at),
            empty => {
                *empty = Some(at.clone());
                true
            }
        };
        let Some(results) = &mut self.results else {
            return if is_free {
                Ok(())
            } else {
                Err(QueryError::execution(
                    "multiple matches for labels: many-to-one matching must be explicit \
                     (group_left/group_right)",
                ))
            };
        };
        let is_free = match results.entry((ordinal, labels.clone())) {
            Entry::Occupied(mut known) => unite_disjoint(known.get_mut(), at),
            Entry::Vacant(empty) => {
                empty.insert(at.clone());
                true
            }
        };
        if is_free {
            return Ok(());
        }
        Err(QueryError::execution(
            "multiple matches for labels: grouping labels must ensure unique matches",
        ))
    }

    /// Takes the steps at which the signature has a match out of `steps`.
    fn subtract_from(&self, ordinal: usize, steps: &mut Bitmap) {
        if let Some(Some(taken)) = self.steps.get(ordinal) {
            steps.subtract(taken);
        }
    }
}

/// Adds `more` to `known`; `false` if they share a step.
fn unite_disjoint(known: &mut Bitmap, more: &Bitmap) -> bool {
    let disjoint = known.first_common(more).is_none();
    known.unite(more);
    disjoint
}
