//! Sums and means of histograms in an aggregation: one for each group and step that has some.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::model::{FloatHistogram, HistogramMean, HistogramSum, ResetHint};
use crate::promql::annotations::Annotations;
use crate::promql::ast::{AggregateOp, Span};
use crate::promql::budget::Budget;
use crate::promql::columns::{Bitmap, Column};
use crate::promql::engine::QueryError;
use crate::promql::quote::quote;

/// What is told about an aggregation.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    /// Histograms were left out.
    pub ignored: bool,
    /// Floats and histograms came together.
    mixed_kinds: bool,
    /// Metrics whose histograms have other bounds than those before them.
    mixed_schemas: BTreeSet<String>,
    bounds_differed: bool,
    hints_collide: bool,
}

impl Notes {
    /// Tells about aggregation `op` over the operand at `span`.
    pub(crate) fn tell(&self, op: AggregateOp, span: Span, annotations: &mut Annotations) {
        if self.ignored {
            annotations.ignored_in_aggregation(span, op.as_str());
        }
        if self.mixed_kinds {
            annotations.warn(span, "encountered a mix of histograms and floats for aggregation");
        }
        for name in &self.mixed_schemas {
            annotations.mixed_schemas(span, &quote(name));
        }
        if self.bounds_differed {
            annotations.bounds_differed(span, "aggregation");
        }
        if self.hints_collide {
            annotations.hints_collide(span, "aggregation");
        }
    }
}

/// One group's totals.
#[derive(Debug)]
pub(crate) struct HistogramTotals {
    slots: Vec<Option<Box<Total>>>,
    charged: usize,
}

#[derive(Debug)]
struct Total {
    acc: Acc,
    reset_seen: bool,
    not_reset_seen: bool,
}

#[derive(Debug)]
enum Acc {
    Sum(HistogramSum),
    Mean(HistogramMean),
    /// A float came first; there is no result.
    Mixed,
    /// Exponential and listed bounds came together; there is no result, and nothing more counts.
    Refused,
}

impl HistogramTotals {
    pub(crate) fn new(steps: usize) -> Self {
        Self { slots: (0..steps).map(|_| None).collect(), charged: 0 }
    }

    /// Takes in a histogram; `after_float`: the group has a float at this step already. `name` is
    /// the metric's.
    pub(crate) fn add(
        &mut self,
        (op, step): (AggregateOp, usize),
        histogram: &FloatHistogram,
        after_float: bool,
        (name, notes): (&str, &mut Notes),
        budget: &Budget<'_>,
    ) -> Result<(), QueryError> {
        let Some(total) = &mut self.slots[step] else {
            let acc = if after_float {
                Acc::Mixed
            } else {
                let samples = histogram.samples();
                budget.charge(samples)?;
                self.charged += samples;
                match op {
                    AggregateOp::Avg => Acc::Mean(HistogramMean::new(histogram.clone())),
                    _ => Acc::Sum(HistogramSum::new(histogram.clone())),
                }
            };
            let mut total = Box::new(Total { acc, reset_seen: false, not_reset_seen: false });
            total.see(histogram);
            self.slots[step] = Some(total);
            return Ok(());
        };
        let reconciled = match &mut total.acc {
            Acc::Sum(sum) => sum.add(histogram),
            Acc::Mean(mean) => mean.add(histogram),
            Acc::Mixed | Acc::Refused => return Ok(()),
        };
        total.see(histogram);
        if let Ok(reconciled) = reconciled {
            notes.bounds_differed |= reconciled.bounds_differed;
        } else {
            total.acc = Acc::Refused;
            if !notes.mixed_schemas.contains(name) {
                notes.mixed_schemas.insert(name.to_owned());
            }
        }
        Ok(())
    }

    /// Steps at which nothing more counts.
    pub(crate) fn refused(&self) -> impl Iterator<Item = usize> + '_ {
        let is_refused = |total: &Total| matches!(total.acc, Acc::Refused);
        let slots = self.slots.iter().enumerate();
        slots.filter(move |(_, slot)| slot.as_deref().is_some_and(is_refused)).map(|(step, _)| step)
    }

    /// Writes the results into `column`, which has the results of floats.
    pub(crate) fn finish(self, column: &mut Column, notes: &mut Notes, budget: &Budget<'_>) {
        budget.release(self.charged);
        let floats: Bitmap = column.valid.clone();
        for (step, total) in self.slots.into_iter().enumerate() {
            let Some(total) = total else { continue };
            if floats.get(step) {
                notes.mixed_kinds = true;
                column.valid.unset(step);
                continue;
            }
            let mut result = match total.acc {
                Acc::Sum(sum) => sum.total(),
                Acc::Mean(mean) => mean.value(),
                Acc::Mixed | Acc::Refused => continue,
            };
            notes.hints_collide |= total.reset_seen && total.not_reset_seen;
            result.compact();
            column.set_histogram(step, Arc::new(result));
        }
    }
}

impl Total {
    fn see(&mut self, histogram: &FloatHistogram) {
        self.reset_seen |= histogram.reset_hint == ResetHint::Reset;
        self.not_reset_seen |= histogram.reset_hint == ResetHint::NotReset;
    }
}
