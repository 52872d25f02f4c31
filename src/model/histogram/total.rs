//! Compensated sums and means of histograms.

use super::FloatHistogram;
use super::arithmetic::{Lost, MixedSchemas, Reconciled};

/// Parts below this can be added without a look for overflow.
const SURELY_FINITE: f64 = 1e300;

/// A sum of histograms in progress, with what rounding lost.
#[derive(Debug, Clone)]
pub struct HistogramSum {
    sum: FloatHistogram,
    /// `None` until something was added.
    lost: Option<Box<Lost>>,
}

impl HistogramSum {
    /// The sum of one.
    pub fn new(first: FloatHistogram) -> Self {
        Self { sum: first, lost: None }
    }

    /// Adds one more. After an error the sum means nothing.
    pub fn add(&mut self, other: &FloatHistogram) -> Result<Reconciled, MixedSchemas> {
        let lost = self.lost.get_or_insert_with(|| Box::new(Lost::nothing(&self.sum)));
        self.sum.combine(other, 1.0, Some(lost))
    }

    /// The sum and what was lost together.
    pub fn total(self) -> FloatHistogram {
        let Self { mut sum, lost } = self;
        let Some(lost) = lost else { return sum };
        let compensation = FloatHistogram {
            reset_hint: sum.reset_hint,
            schema: sum.schema,
            zero_threshold: sum.zero_threshold,
            zero_count: lost.zero_count,
            count: lost.count,
            sum: lost.sum,
            positive_spans: sum.positive_spans.clone(),
            negative_spans: sum.negative_spans.clone(),
            positive_buckets: lost.positive,
            negative_buckets: lost.negative,
            custom_bounds: sum.custom_bounds.clone(),
        };
        sum.add(&compensation).expect("BUG: a sum has the schema of what it lost");
        sum
    }

    fn divide(&mut self, divisor: f64) {
        self.sum.divide(divisor);
        if let Some(lost) = &mut self.lost {
            lost.map(|part| part / divisor);
        }
    }

    fn multiply(&mut self, factor: f64) {
        self.sum.multiply(factor);
        if let Some(lost) = &mut self.lost {
            lost.map(|part| part * factor);
        }
    }
}

/// A mean of histograms in progress: a sum that is divided at the end, until it would overflow;
/// from there on a mean that each histogram moves.
#[derive(Debug, Clone)]
pub struct HistogramMean {
    acc: HistogramSum,
    count: f64,
    is_moving: bool,
}

impl HistogramMean {
    /// The mean of one.
    pub fn new(first: FloatHistogram) -> Self {
        Self { acc: HistogramSum::new(first), count: 1.0, is_moving: false }
    }

    /// Takes in one more. After an error the mean means nothing.
    pub fn add(&mut self, other: &FloatHistogram) -> Result<Reconciled, MixedSchemas> {
        self.count += 1.0;
        let mut reconciled = Reconciled::default();
        if !self.is_moving {
            if is_surely_finite(&self.acc.sum) && is_surely_finite(other) {
                return self.acc.add(other);
            }
            let mut next = self.acc.clone();
            reconciled = next.add(other)?;
            if !next.sum.has_overflow() {
                self.acc = next;
                return Ok(reconciled);
            }
            self.is_moving = true;
            self.acc.divide(self.count - 1.0);
        }
        self.acc.multiply((self.count - 1.0) / self.count);
        let mut share = other.clone();
        share.divide(self.count);
        let also = self.acc.add(&share)?;
        reconciled.hints_collide |= also.hints_collide;
        reconciled.bounds_differed |= also.bounds_differed;
        Ok(reconciled)
    }

    /// The mean.
    pub fn value(mut self) -> FloatHistogram {
        if !self.is_moving {
            self.acc.divide(self.count);
        }
        self.acc.total()
    }
}

/// Whether every part is finite and stays so when another such is added.
fn is_surely_finite(histogram: &FloatHistogram) -> bool {
    let parts = [histogram.zero_count, histogram.count, histogram.sum];
    let buckets = histogram.positive_buckets.iter().chain(&histogram.negative_buckets);
    let is_small = |part: &f64| part.abs() < SURELY_FINITE;
    parts.iter().all(is_small) && buckets.into_iter().all(is_small)
}
