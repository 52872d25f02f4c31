//! Aggregations that need the values of a group together: `topk`, `bottomk`, `limitk`,
//! `limit_ratio`, `quantile`.

use super::grouping::{Grouping, Groups};
use crate::model::Labels;
use crate::promql::annotations::{Annotations, GoFloat};
use crate::promql::ast::{AggregateOp, Span};
use crate::promql::budget::Budget;
use crate::promql::columns::{Bitmap, Column, Series, Vector};
use crate::promql::compensated::{nan_first, quantile};
use crate::promql::engine::QueryError;
use crate::promql::functions::{larger, smaller};
use crate::select::sort_by;

/// Greatest parameter below 2^63 that a float holds.
const INT64_MAX: f64 = 9_223_372_036_854_774_784.0;
const INT64_MIN: f64 = -9_223_372_036_854_775_808.0;

/// Elements of one heap gone over between two looks.
const ELEMENTS_PER_LOOK: usize = 1 << 12;

/// The parameter over the grid, and what is known of it as a whole. COMPAT: where a value is not
/// a number, neither are the least and the greatest, unless they are infinite.
struct Parameter<'a> {
    values: &'a [f64],
    min: f64,
    max: f64,
    any_nan: bool,
}

impl<'a> Parameter<'a> {
    fn new(values: &'a [f64]) -> Self {
        Self {
            values,
            min: values.iter().copied().fold(f64::MAX, smaller),
            max: values.iter().copied().fold(f64::MIN, larger),
            any_nan: values.iter().any(|value| value.is_nan()),
        }
    }
}

/// Members of each group: indices of series, in order.
fn members(
    vector: &Vector,
    grouping: Grouping,
    budget: &Budget<'_>,
) -> Result<(Groups, Vec<Vec<usize>>), QueryError> {
    let mut groups = Groups::new(grouping);
    let mut members: Vec<Vec<usize>> = Vec::new();
    for (index, series) in vector.series.iter().enumerate() {
        budget.check_time()?;
        let ordinal = groups.ordinal(&series.labels, false);
        if ordinal == members.len() {
            members.push(Vec::new());
        }
        members[ordinal].push(index);
    }
    Ok((groups, members))
}

/// `quantile`: one series for each group.
pub(crate) fn quantiles(
    vector: &Vector,
    grouping: Grouping,
    parameter: &Column,
    (parameter_span, operand_span): (Span, Span),
    (annotations, budget): (&mut Annotations, &Budget<'_>),
) -> Result<Vector, QueryError> {
    let has_histogram = |series: &Series| series.column.samples().any(|(_, s)| s.is_histogram());
    let with_slots = vector.series.iter().filter(|series| series.column.has_histograms());
    if with_slots.into_iter().any(has_histogram) {
        annotations.ignored_in_aggregation(operand_span, "quantile");
    }
    let phi = Parameter::new(&parameter.values);
    if phi.any_nan {
        annotations.invalid_quantile(parameter_span, f64::NAN);
    }
    if phi.max > 1.0 {
        annotations.invalid_quantile(parameter_span, phi.max);
    }
    if phi.min < 0.0 {
        annotations.invalid_quantile(parameter_span, phi.min);
    }
    let (groups, members) = members(vector, grouping, budget)?;
    let mut out = Vector::default();
    let mut scratch = Vec::new();
    for (ordinal, members) in members.iter().enumerate() {
        budget.ensure(ordinal + 1, parameter.steps())?;
        let mut column = Column::empty(parameter.steps());
        for step in 0..parameter.steps() {
            budget.check_time()?;
            budget.note_work(members.len() as u64);
            scratch.clear();
            let columns = members.iter().map(|index| &vector.series[*index].column);
            scratch.extend(columns.filter_map(|column| column.get(step)));
            if !scratch.is_empty() {
                column.set(step, quantile(phi.values[step], &mut scratch));
            }
        }
        let drop_name = members.iter().any(|index| vector.series[*index].drop_name);
        let labels = groups.labels(ordinal).clone();
        out.series.push(Series { labels, drop_name, column });
    }
    Ok(out)
}

/// `topk`, `bottomk`, `limitk`, `limit_ratio`: some of the series of each group at each step.
/// With a single step, groups come in the order in which they were first seen and members by
/// rank.
pub(crate) fn select(
    op: AggregateOp,
    mut vector: Vector,
    grouping: Grouping,
    parameter: &Column,
    (parameter_span, whole_span): (Span, Span),
    (annotations, budget): (&mut Annotations, &Budget<'_>),
) -> Result<Vector, QueryError> {
    let parameter = Parameter::new(&parameter.values);
    if !is_usable(op, &parameter, parameter_span, annotations)? {
        return Ok(Vector::default());
    }
    if matches!(op, AggregateOp::Topk | AggregateOp::Bottomk) {
        drop_histograms(&mut vector, op, &parameter, (whole_span, annotations));
    }
    let steps = parameter.values.len();
    let (_, groups) = members(&vector, grouping, budget)?;
    let count = vector.series.len();
    let is_ratio = op == AggregateOp::LimitRatio;
    let offsets = if is_ratio { hash_offsets(&vector, budget)? } else { Vec::new() };
    let mut kept = vec![Bitmap::none(steps); count];
    let mut order = Vec::new();
    for step in 0..steps {
        budget.check_time()?;
        budget.note_work(count as u64);
        let limit = parameter.values[step];
        // COMPAT: at steps with k below one nothing is kept.
        let k = (limit as i64).min(count as i64);
        if !is_ratio && k < 1 {
            continue;
        }
        for members in &groups {
            budget.check_time()?;
            let present = members.iter().filter_map(|index| {
                let column = &vector.series[*index].column;
                column.valid.get(step).then(|| (column.values[step], *index))
            });
            let chosen: Vec<usize> = match op {
                AggregateOp::Topk => best(present, k as usize, false, budget)?,
                AggregateOp::Bottomk => best(present, k as usize, true, budget)?,
                AggregateOp::Limitk => heaped(present.take(k as usize), budget)?,
                _ => {
                    let ratio = limit.clamp(-1.0, 1.0);
                    let sampled = present.filter(|(_, index)| is_sampled(ratio, offsets[*index]));
                    heaped(sampled, budget)?
                }
            };
            for index in &chosen {
                kept[*index].set(step);
            }
            if steps == 1 {
                order.extend(chosen);
            }
        }
    }
    if steps != 1 {
        order = (0..count).collect();
    }
    for (series, valid) in vector.series.iter_mut().zip(kept) {
        series.column.valid = valid;
    }
    let mut slots: Vec<Option<Series>> = vector.series.into_iter().map(Some).collect();
    let series = order.into_iter().filter_map(|index| slots[index].take()).collect();
    Ok(Vector { series })
}

/// Drops histograms, which have no rank, and tells so where a rank was asked for.
fn drop_histograms(
    vector: &mut Vector,
    op: AggregateOp,
    parameter: &Parameter<'_>,
    (span, annotations): (Span, &mut Annotations),
) {
    for series in &mut vector.series {
        let column = &mut series.column;
        let is_asked = |step: usize| parameter.values[step] >= 1.0;
        if column.has_histograms()
            && column.valid.iter().any(|step| column.is_histogram(step) && is_asked(step))
        {
            annotations.ignored_in_aggregation(span, op.as_str());
        }
        column.drop_histograms();
    }
}

/// Judges the parameter as a whole; `false`: nothing can be kept.
fn is_usable(
    op: AggregateOp,
    parameter: &Parameter<'_>,
    span: Span,
    annotations: &mut Annotations,
) -> Result<bool, QueryError> {
    if op == AggregateOp::LimitRatio {
        if parameter.any_nan {
            return Err(QueryError::execution("Ratio value is NaN"));
        }
        if parameter.max == 0.0 && parameter.min == 0.0 {
            return Ok(false);
        }
        if parameter.max > 1.0 {
            annotations.invalid_ratio(span, parameter.max, 1.0);
        }
        if parameter.min < -1.0 {
            annotations.invalid_ratio(span, parameter.min, -1.0);
        }
        return Ok(true);
    }
    if parameter.any_nan {
        return Err(QueryError::execution("Parameter value is NaN"));
    }
    if parameter.max < 1.0 {
        return Ok(false);
    }
    if parameter.min <= INT64_MIN {
        let text = format!("Scalar value {} underflows int64", GoFloat(parameter.min));
        return Err(QueryError::execution(text));
    }
    if parameter.max >= INT64_MAX {
        let text = format!("Scalar value {} overflows int64", GoFloat(parameter.max));
        return Err(QueryError::execution(text));
    }
    Ok(true)
}

/// The `k` greatest (or least) of `present`, best first; NaN is worse than every number.
///
/// COMPAT: of equal values the heap's order decides which are kept, so the heap is the one that
/// Prometheus uses: a binary heap with the worst on top.
fn best(
    present: impl Iterator<Item = (f64, usize)>,
    k: usize,
    least: bool,
    budget: &Budget<'_>,
) -> Result<Vec<usize>, QueryError> {
    let worse = move |a: f64, b: f64| a.is_nan() || if least { a > b } else { a < b };
    let mut heap: Vec<(f64, usize)> = Vec::new();
    for (nth, (value, index)) in present.enumerate() {
        look_at(nth, budget)?;
        if heap.len() < k {
            heap.push((value, index));
            sift_up(&mut heap, worse);
        } else {
            let top = heap[0].0;
            let better = if least { top > value } else { top < value };
            if better || (top.is_nan() && !value.is_nan()) {
                heap[0] = (value, index);
                sift_down(&mut heap, worse);
            }
        }
    }
    let is_long = heap.len() >= ELEMENTS_PER_LOOK;
    let check = || if is_long { budget.look() } else { Ok(()) };
    sort_by(&mut heap, &check, |(a, _), (b, _)| {
        let order = if least { nan_first(-a, -b) } else { nan_first(*a, *b) };
        order.reverse()
    })?;
    Ok(heap.into_iter().map(|(_, index)| index).collect())
}

/// Looks at every so many elements of one heap.
fn look_at(nth: usize, budget: &Budget<'_>) -> Result<(), QueryError> {
    if nth % ELEMENTS_PER_LOOK == ELEMENTS_PER_LOOK - 1 { budget.look() } else { Ok(()) }
}

/// All of `present`. COMPAT: in the order of a heap with the least on top, which an instant
/// query shows.
fn heaped(
    present: impl Iterator<Item = (f64, usize)>,
    budget: &Budget<'_>,
) -> Result<Vec<usize>, QueryError> {
    let mut heap: Vec<(f64, usize)> = Vec::new();
    for (nth, element) in present.enumerate() {
        look_at(nth, budget)?;
        heap.push(element);
        sift_up(&mut heap, |a, b| a.is_nan() || a < b);
    }
    Ok(heap.into_iter().map(|(_, index)| index).collect())
}

fn sift_up(heap: &mut [(f64, usize)], worse: impl Fn(f64, f64) -> bool) {
    let mut at = heap.len() - 1;
    while at > 0 {
        let parent = (at - 1) / 2;
        if !worse(heap[at].0, heap[parent].0) {
            break;
        }
        heap.swap(at, parent);
        at = parent;
    }
}

fn sift_down(heap: &mut [(f64, usize)], worse: impl Fn(f64, f64) -> bool) {
    let mut at = 0;
    loop {
        let left = 2 * at + 1;
        if left >= heap.len() {
            break;
        }
        let right = left + 1;
        let child =
            if right < heap.len() && worse(heap[right].0, heap[left].0) { right } else { left };
        if !worse(heap[child].0, heap[at].0) {
            break;
        }
        heap.swap(at, child);
        at = child;
    }
}

/// Whether a series at `offset` of [0, 1] is within `ratio`; below zero: within the complement.
fn is_sampled(ratio: f64, offset: f64) -> bool {
    if ratio >= 0.0 { offset < ratio } else { offset >= 1.0 + ratio }
}

/// The place of each series; see [`hash_offset`].
fn hash_offsets(vector: &Vector, budget: &Budget<'_>) -> Result<Vec<f64>, QueryError> {
    let looked = |series: &Series| budget.check_time().map(|()| hash_offset(&series.labels));
    vector.series.iter().map(looked).collect()
}

/// A place in [0, 1] that depends on the labels alone.
///
/// COMPAT: from Prometheus's hash of labels, so that the same series are picked.
fn hash_offset(labels: &Labels) -> f64 {
    crate::encoding::xxh64::hash_labels(labels) as f64 / u64::MAX as f64
}
