//! `and`, `or`, `unless`: which values of a series stay depends on what is present at the same
//! step with the same signature on the other side.
//!
//! A chain `a or b or c …` with one clause is built up in a [`Union`] that each operator hands to
//! the next, so that a chain costs as much as its series, not its length times its series.

use hashbrown::HashMap;

use super::signature::Signatures;
use crate::model::Labels;
use crate::promql::ast::VectorMatching;
use crate::promql::budget::Budget;
use crate::promql::columns::{Bitmap, Column, SameLabelset, Series, Vector};
use crate::promql::engine::{QueryError, SERIES_BYTES};

/// `and`, or `unless` if `negate`.
pub(crate) fn filter(
    mut lhs: Vector,
    rhs: &Vector,
    matching: &VectorMatching,
    (negate, steps): (bool, usize),
    budget: &Budget<'_>,
) -> Result<Vector, QueryError> {
    let mut signatures = Signatures::new(matching);
    let mut present: Vec<Bitmap> = Vec::new();
    for series in &rhs.series {
        budget.check_time()?;
        let ordinal = signatures.ordinal(&series.labels);
        if ordinal == present.len() {
            present.push(Bitmap::none(steps));
        }
        present[ordinal].unite(&series.column.valid);
    }
    let mut stopped = Ok(());
    lhs.series.retain_mut(|series| {
        if stopped.is_ok() {
            stopped = budget.check_time();
        }
        let other = present.get(signatures.ordinal(&series.labels));
        match (other, negate) {
            (Some(other), false) => series.column.valid.intersect(other),
            (Some(other), true) => series.column.valid.subtract(other),
            (None, false) => return false,
            (None, true) => return true,
        }
        !series.column.valid.is_none()
    });
    stopped.map(|()| lhs)
}

/// The result of `or` so far.
#[derive(Debug)]
pub(crate) struct Union {
    vector: Vector,
    signatures: Signatures,
    /// For each signature the steps at which a series has it.
    present: Vec<Bitmap>,
    /// Series by their labels: those of both sides may be equal at different steps.
    places: HashMap<Labels, usize>,
    steps: usize,
    cost: usize,
    label_bytes: u64,
}

impl Union {
    /// The left side of the first `or`.
    pub(crate) fn new(
        vector: Vector,
        matching: &VectorMatching,
        steps: usize,
        budget: &Budget<'_>,
    ) -> Result<Self, QueryError> {
        let mut this = Self {
            vector: Vector::default(),
            signatures: Signatures::new(matching),
            present: Vec::new(),
            places: HashMap::new(),
            steps,
            cost: 0,
            label_bytes: 0,
        };
        this.add(vector, budget)?;
        Ok(this)
    }

    /// Adds a right side: its values stay where no series before had their signature.
    pub(crate) fn add(&mut self, rhs: Vector, budget: &Budget<'_>) -> Result<(), QueryError> {
        let mut ordinals: Vec<usize> = Vec::with_capacity(rhs.series.len());
        for series in &rhs.series {
            budget.check_time()?;
            ordinals.push(self.signatures.ordinal(&series.labels));
        }
        while self.present.len() < self.signatures.len() {
            budget.check_time()?;
            self.present.push(Bitmap::none(self.steps));
        }
        let mut united = Vec::with_capacity(ordinals.len());
        for (mut series, ordinal) in rhs.series.into_iter().zip(ordinals) {
            budget.check_time()?;
            if !self.present[ordinal].is_none() {
                series.column.valid.subtract(&self.present[ordinal]);
                series.column.valid.compact();
            }
            if !series.column.valid.is_none() {
                // Series of one side do not hide each other.
                united.push((ordinal, series.column.valid.clone()));
                self.push(series)?;
            }
        }
        for (ordinal, valid) in united {
            budget.check_time()?;
            self.present[ordinal].unite(&valid);
        }
        Ok(())
    }

    /// The vector of all sides.
    pub(crate) fn into_vector(self) -> Vector {
        self.vector
    }

    /// How much of a query's budget it takes. Kept as it grows: a chain asks for it as often as it
    /// is long.
    pub(crate) fn cost(&self) -> usize {
        self.cost
    }

    /// Bytes of its labels.
    pub(crate) fn label_bytes(&self) -> u64 {
        self.label_bytes
    }

    fn push(&mut self, series: Series) -> Result<(), SameLabelset> {
        if let Some(place) = self.places.get(&series.labels) {
            let Series { drop_name, column: known, .. } = &mut self.vector.series[*place];
            let first = |column: &Column| column.valid.iter().next();
            if first(&series.column) < first(known) {
                // COMPAT: the first value in time decides whether the name goes.
                *drop_name = series.drop_name;
            }
            if known.valid.first_common(&series.column.valid).is_some() {
                return Err(SameLabelset);
            }
            let before = known.cost();
            known.merge(&series.column);
            self.cost = self.cost.saturating_add(known.cost()).saturating_sub(before);
            return Ok(());
        }
        self.cost = self.cost.saturating_add(series.column.cost());
        self.label_bytes += (SERIES_BYTES + series.labels.as_bytes().len()) as u64;
        self.places.insert(series.labels.clone(), self.vector.series.len());
        self.vector.series.push(series);
        Ok(())
    }
}
