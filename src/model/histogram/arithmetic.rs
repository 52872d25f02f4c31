//! Sums and differences of histograms, products and quotients with numbers.
//!
//! Two histograms are brought to one layout first: the coarser schema of the two, a zero bucket
//! that ends where no counted bucket of either is cut, for listed bounds those that both have.
//! Exponential and listed bounds do not go together.
//!
//! COMPAT: the order of all additions is Prometheus's, with and without compensation, so that
//! sums agree to the last bit. The buckets of a result are those of either operand, also where
//! they count nothing; unlike in Prometheus neighbouring buckets always share a span.

use std::sync::Arc;

use super::bounds::exponential_bound;
use super::buckets::{Indexed, layout};
use super::{FloatHistogram, ResetHint, Span};
use crate::model::Compensated;

/// Two histograms cannot be added: one has exponential bounds, the other listed ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MixedSchemas;

impl std::fmt::Display for MixedSchemas {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(
            "cannot apply this operation on histograms with a mix of exponential and custom \
             bucket schemas",
        )
    }
}

impl std::error::Error for MixedSchemas {}

/// What had to be given up so that two histograms could be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reconciled {
    /// One says that counts began anew, the other that they did not; the result says nothing.
    pub hints_collide: bool,
    /// Listed bounds differed; the result has those of both.
    pub bounds_differed: bool,
}

/// What rounding lost in each part of a sum; buckets parallel to the sum's.
#[derive(Debug, Clone)]
pub(super) struct Lost {
    pub zero_count: f64,
    pub count: f64,
    pub sum: f64,
    pub positive: Vec<f64>,
    pub negative: Vec<f64>,
}

impl Lost {
    pub(super) fn nothing(histogram: &FloatHistogram) -> Self {
        Self {
            zero_count: 0.0,
            count: 0.0,
            sum: 0.0,
            positive: vec![0.0; histogram.positive_buckets.len()],
            negative: vec![0.0; histogram.negative_buckets.len()],
        }
    }

    /// Applies `f` to every part.
    pub(super) fn map(&mut self, f: impl Fn(f64) -> f64) {
        for part in [&mut self.zero_count, &mut self.count, &mut self.sum] {
            *part = f(*part);
        }
        self.positive.iter_mut().chain(&mut self.negative).for_each(|part| *part = f(*part));
    }
}

/// A bucket of a side that is being added up.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cell {
    pub index: i32,
    pub count: Compensated,
}

/// Adds a count to another.
type Join = fn(&mut Compensated, Compensated);

fn plainly(to: &mut Compensated, more: Compensated) {
    to.sum += more.sum;
}

fn compensated(to: &mut Compensated, more: Compensated) {
    *to = to.plus(more.sum);
    if more.lost != 0.0 {
        *to = to.plus(more.lost);
    }
}

/// One side of a histogram: spans, counts and, in a compensated sum, what was lost.
struct Side<'a> {
    spans: &'a mut Vec<Span>,
    counts: &'a mut Vec<f64>,
    lost: Option<&'a mut Vec<f64>>,
}

impl Side<'_> {
    fn cells(&self) -> Vec<Cell> {
        let lost = |at: usize| self.lost.as_ref().and_then(|lost| lost.get(at)).copied();
        Indexed::new(self.spans, self.counts)
            .enumerate()
            .map(|(at, (index, sum))| {
                let count = Compensated { sum, lost: lost(at).unwrap_or(0.0) };
                Cell { index, count }
            })
            .collect()
    }

    fn store(&mut self, cells: &[Cell]) {
        let (spans, counts) = layout(cells.iter().map(|cell| (cell.index, cell.count.sum)));
        (*self.spans, *self.counts) = (spans, counts);
        if let Some(lost) = &mut self.lost {
            lost.clear();
            lost.extend(cells.iter().map(|cell| cell.count.lost));
        }
    }

    /// Adds `more`, whose buckets are where this side's are; `false`, and nothing done, where
    /// they are not.
    fn add_in_place(&mut self, spans: &[Span], counts: &[f64], sign: f64) -> bool {
        if self.spans != spans || self.counts.len() != counts.len() {
            return false;
        }
        match &mut self.lost {
            Some(lost) => {
                for ((sum, lost), more) in self.counts.iter_mut().zip(lost.iter_mut()).zip(counts) {
                    let next = Compensated { sum: *sum, lost: *lost }.plus(sign * more);
                    (*sum, *lost) = (next.sum, next.lost);
                }
            }
            None => {
                self.counts.iter_mut().zip(counts).for_each(|(sum, more)| *sum += sign * more);
            }
        }
        true
    }
}

/// Cells of another histogram, to be added (`sign` 1) or taken away (-1).
fn cells_of(spans: &[Span], counts: &[f64], sign: f64) -> Vec<Cell> {
    Indexed::new(spans, counts)
        .map(|(index, count)| Cell { index, count: Compensated { sum: sign * count, lost: 0.0 } })
        .collect()
}

/// Makes the cells those of a schema that is `steps` coarser.
pub(super) fn coarsen(cells: &mut Vec<Cell>, steps: u32, is_compensated: bool) {
    let join: Join = if is_compensated { compensated } else { plainly };
    for cell in cells.iter_mut() {
        cell.index = coarser(cell.index, steps);
    }
    cells.dedup_by(|next, kept| {
        let is_same = next.index == kept.index;
        if is_same {
            join(&mut kept.count, next.count);
        }
        is_same
    });
}

/// The bucket that holds bucket `index` in a schema that is `steps` coarser.
pub(super) fn coarser(index: i32, steps: u32) -> i32 {
    (index.wrapping_sub(1) >> steps.min(31)).wrapping_add(1)
}

/// The union of both; where both have a bucket, `more` is joined to the other.
fn merge(cells: &[Cell], more: &[Cell], join: Join) -> Vec<Cell> {
    let mut out = Vec::with_capacity(cells.len() + more.len());
    let mut rest = more;
    for cell in cells {
        let before = rest.partition_point(|other| other.index < cell.index);
        out.extend_from_slice(&rest[..before]);
        rest = &rest[before..];
        let mut cell = *cell;
        if let Some((other, after)) = rest.split_first()
            && other.index == cell.index
        {
            join(&mut cell.count, other.count);
            rest = after;
        }
        out.push(cell);
    }
    out.extend_from_slice(rest);
    out
}

impl FloatHistogram {
    /// Multiplies everything counted; a negative factor makes a gauge.
    pub fn multiply(&mut self, factor: f64) {
        self.scale(|part| part * factor);
        if factor < 0.0 {
            self.reset_hint = ResetHint::Gauge;
        }
    }

    /// Divides everything counted; a negative divisor makes a gauge, and zero leaves no buckets.
    pub fn divide(&mut self, divisor: f64) {
        self.scale(|part| part / divisor);
        if divisor == 0.0 {
            self.positive_spans.clear();
            self.positive_buckets.clear();
            self.negative_spans.clear();
            self.negative_buckets.clear();
        } else if divisor < 0.0 {
            self.reset_hint = ResetHint::Gauge;
        }
    }

    fn scale(&mut self, f: impl Fn(f64) -> f64) {
        for part in [&mut self.zero_count, &mut self.count, &mut self.sum] {
            *part = f(*part);
        }
        let buckets = self.positive_buckets.iter_mut().chain(&mut self.negative_buckets);
        buckets.for_each(|part| *part = f(*part));
    }

    /// Adds `other`.
    pub fn add(&mut self, other: &Self) -> Result<Reconciled, MixedSchemas> {
        self.combine(other, 1.0, None)
    }

    /// Takes `other` away. The hint is adjusted as by an addition.
    pub fn subtract(&mut self, other: &Self) -> Result<Reconciled, MixedSchemas> {
        self.combine(other, -1.0, None)
    }

    /// Adds or subtracts, with `lost` keeping what rounding loses.
    pub(super) fn combine(
        &mut self,
        other: &Self,
        sign: f64,
        mut lost: Option<&mut Lost>,
    ) -> Result<Reconciled, MixedSchemas> {
        if self.has_custom_bounds() != other.has_custom_bounds() {
            return Err(MixedSchemas);
        }
        let mut reconciled =
            Reconciled { hints_collide: self.adjust_hint(other), ..Default::default() };
        if !self.has_custom_bounds() {
            self.combine_zero(other, sign, lost.as_deref_mut());
        }
        if let Some(lost) = lost.as_deref_mut() {
            add_to(&mut self.count, &mut lost.count, sign * other.count);
            add_to(&mut self.sum, &mut lost.sum, sign * other.sum);
        } else {
            self.count += sign * other.count;
            self.sum += sign * other.sum;
        }
        if self.has_custom_bounds() && self.custom_bounds != other.custom_bounds {
            reconciled.bounds_differed = true;
            self.combine_common_bounds(other, sign, lost);
            return Ok(reconciled);
        }
        let steps = self.schema.saturating_sub(other.schema);
        self.schema = self.schema.min(other.schema);
        let threshold = if self.has_custom_bounds() { None } else { Some(self.zero_threshold) };
        let schema = self.schema;
        let (positive_lost, negative_lost) =
            lost.map_or((None, None), |lost| (Some(&mut lost.positive), Some(&mut lost.negative)));
        let positive = Side {
            spans: &mut self.positive_spans,
            counts: &mut self.positive_buckets,
            lost: positive_lost,
        };
        let rule = Rule { sign, steps, schema, threshold };
        rule.combine_side(positive, &other.positive_spans, &other.positive_buckets);
        if threshold.is_some() {
            let negative = Side {
                spans: &mut self.negative_spans,
                counts: &mut self.negative_buckets,
                lost: negative_lost,
            };
            rule.combine_side(negative, &other.negative_spans, &other.negative_buckets);
        }
        Ok(reconciled)
    }

    fn combine_zero(&mut self, other: &Self, sign: f64, lost: Option<&mut Lost>) {
        if let Some(lost) = lost {
            let zero = self.reconcile_zero(other, Some(&mut *lost));
            add_to(&mut self.zero_count, &mut lost.zero_count, sign * zero.sum);
            add_to(&mut self.zero_count, &mut lost.zero_count, sign * zero.lost);
        } else {
            let zero = self.reconcile_zero(other, None);
            self.zero_count += sign * zero.sum;
        }
    }

    /// Combines the buckets of two histograms whose listed bounds differ.
    fn combine_common_bounds(&mut self, other: &Self, sign: f64, lost: Option<&mut Lost>) {
        let common = common_bounds(&self.custom_bounds, &other.custom_bounds);
        let mut counts = vec![Compensated::default(); common.len() + 1];
        for (at, (index, count)) in self.positive().enumerate() {
            let target = &mut counts[place_among(&common, self.bound(index))];
            *target = target.plus(count);
            if let Some(more) = lost.as_ref().and_then(|lost| lost.positive.get(at)) {
                *target = target.plus(*more);
            }
        }
        for (index, count) in other.positive() {
            let target = &mut counts[place_among(&common, other.bound(index))];
            *target = target.plus(sign * count);
        }
        let cells = counts.into_iter().enumerate();
        let cells: Vec<Cell> = cells
            .filter(|(_, count)| count.sum != 0.0 || count.lost != 0.0)
            .map(|(index, count)| Cell { index: index as i32, count })
            .collect();
        let mut side = Side {
            spans: &mut self.positive_spans,
            counts: &mut self.positive_buckets,
            lost: lost.map(|lost| &mut lost.positive),
        };
        side.store(&cells);
        self.custom_bounds = common.into();
    }

    /// Sets the hint of a sum or difference; whether the two contradict each other.
    fn adjust_hint(&mut self, other: &Self) -> bool {
        use ResetHint::{Gauge, NotReset, Reset, Unknown};
        let (hint, collide) = match (self.reset_hint, other.reset_hint) {
            (a, b) if a == b => (a, false),
            (Gauge, _) | (_, Gauge) => (Gauge, false),
            (Reset, NotReset) | (NotReset, Reset) => (Unknown, true),
            _ => (Unknown, false),
        };
        self.reset_hint = hint;
        collide
    }

    /// Makes buckets of a coarser schema; `false`, and nothing done, where there is nothing to do
    /// or bounds are listed.
    pub fn reduce_resolution(&mut self, schema: i32) -> bool {
        if self.has_custom_bounds() || schema >= self.schema {
            return false;
        }
        let steps = self.schema.saturating_sub(schema) as u32;
        let sides = [
            (&mut self.positive_spans, &mut self.positive_buckets),
            (&mut self.negative_spans, &mut self.negative_buckets),
        ];
        for (spans, counts) in sides {
            let mut side = Side { spans, counts, lost: None };
            let mut cells = side.cells();
            coarsen(&mut cells, steps, false);
            side.store(&cells);
        }
        self.schema = schema;
        true
    }

    /// Whether a part is infinite.
    pub fn has_overflow(&self) -> bool {
        let parts = [self.zero_count, self.count, self.sum];
        let buckets = self.positive_buckets.iter().chain(&self.negative_buckets);
        parts.iter().chain(buckets).chain(self.custom_bounds.iter()).any(|part| part.is_infinite())
    }
}

/// How one side is combined with another.
#[derive(Clone, Copy)]
struct Rule {
    sign: f64,
    /// Above zero: the receiver has a schema that is so much finer; below zero: the other.
    steps: i32,
    /// The schema of the result.
    schema: i32,
    /// What lies within the zero bucket is not added, it is counted there; `None` for listed
    /// bounds.
    threshold: Option<f64>,
}

impl Rule {
    fn combine_side(self, mut side: Side<'_>, spans: &[Span], counts: &[f64]) {
        let is_within_zero = |index: i32| {
            self.threshold.is_some_and(|zero| exponential_bound(index, self.schema) <= zero)
        };
        let starts_in_zero = spans.first().is_some_and(|span| is_within_zero(span.offset));
        if self.steps == 0 && !starts_in_zero && side.add_in_place(spans, counts, self.sign) {
            return;
        }
        let is_compensated = side.lost.is_some();
        let mut cells = side.cells();
        let mut more = cells_of(spans, counts, self.sign);
        if self.steps > 0 {
            coarsen(&mut cells, self.steps.unsigned_abs(), is_compensated);
        } else if self.steps < 0 {
            coarsen(&mut more, self.steps.unsigned_abs(), is_compensated);
        }
        let skipped = more.iter().take_while(|cell| is_within_zero(cell.index)).count();
        let join: Join = if is_compensated { compensated } else { plainly };
        side.store(&merge(&cells, &more[skipped..], join));
    }
}

fn add_to(sum: &mut f64, lost: &mut f64, more: f64) {
    let next = Compensated { sum: *sum, lost: *lost }.plus(more);
    (*sum, *lost) = (next.sum, next.lost);
}

/// The bounds that both lists have; both ascend.
pub(super) fn common_bounds(a: &[f64], b: &[f64]) -> Vec<f64> {
    let mut rest = b;
    let is_common = |bound: &&f64| {
        let before = rest.partition_point(|other| other < *bound);
        rest = &rest[before..];
        rest.first() == Some(*bound)
    };
    a.iter().filter(is_common).copied().collect()
}

/// The bucket of `common` bounds that a bucket which ends at `bound` lies in.
fn place_among(common: &[f64], bound: f64) -> usize {
    common.partition_point(|other| *other < bound)
}

impl FloatHistogram {
    /// Drops buckets that count nothing.
    pub fn compact(&mut self) {
        let sides = [
            (&mut self.positive_spans, &mut self.positive_buckets),
            (&mut self.negative_spans, &mut self.negative_buckets),
        ];
        for (spans, counts) in sides {
            compact_side(spans, counts, None);
        }
    }

    /// The same with what was lost: a bucket stays if either says so.
    pub(super) fn compact_with(&mut self, lost: &mut Lost) {
        compact_side(
            &mut self.positive_spans,
            &mut self.positive_buckets,
            Some(&mut lost.positive),
        );
        compact_side(
            &mut self.negative_spans,
            &mut self.negative_buckets,
            Some(&mut lost.negative),
        );
    }

    /// Shares the other's list of bounds where it is the same.
    pub fn share_bounds(&mut self, other: &Self) {
        if self.custom_bounds == other.custom_bounds {
            self.custom_bounds = Arc::clone(&other.custom_bounds);
        }
    }
}

fn compact_side(spans: &mut Vec<Span>, counts: &mut Vec<f64>, lost: Option<&mut Vec<f64>>) {
    let is_plain = |(at, span): (usize, &Span)| span.length > 0 && (at == 0 || span.offset > 0);
    if !counts.contains(&0.0) && spans.iter().enumerate().all(is_plain) {
        return;
    }
    let mut side = Side { spans, counts, lost };
    let mut cells = side.cells();
    cells.retain(|cell| cell.count.sum != 0.0 || cell.count.lost != 0.0);
    side.store(&cells);
}
