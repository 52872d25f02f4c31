//! Aggregations: at each step the members of each group, one after the other.

use narthex::model::METRIC_NAME;
use narthex::model::{FloatHistogram, HistogramMean, HistogramSum, Labels, LabelsBuilder};
use narthex::promql::ast::{AggregateOp, Expr, NodeId};

use super::cells::{Answer, Cell, Refused, Row, joined};
use super::evaluate::Plain;
use super::ratio;
use super::windows::{mean, plus, quantile};

/// The aggregation `id` at `times`.
pub(crate) fn aggregate(plain: &Plain<'_>, id: NodeId, times: &[i64]) -> Answer<Vec<Row>> {
    let Expr::Aggregate { op, expr, param, grouping, without } = plain.ast.expr(id) else {
        unreachable!("called for aggregations")
    };
    let group_of = |labels: &Labels| {
        labels.without(|name| {
            let is_named = grouping.iter().any(|label| label == name);
            if *without { is_named || name == METRIC_NAME } else { !is_named }
        })
    };
    if *op == AggregateOp::CountValues {
        let label = plain.text(param.expect("it has a parameter"));
        let rows = plain.rows(*expr, times)?;
        return count_values(&rows, &label, (grouping, *without), times.len());
    }
    let parameter = match param {
        Some(param) => plain.scalar(*param, times)?,
        None => vec![0.0; times.len()],
    };
    let rows = plain.rows(*expr, times)?;
    let is_ratio = *op == AggregateOp::LimitRatio;
    let is_ranking =
        is_ratio || matches!(op, AggregateOp::Topk | AggregateOp::Bottomk | AggregateOp::Limitk);
    if is_ratio && parameter.iter().any(|ratio| ratio.is_nan()) {
        return Err(Refused("NaN"));
    }
    if is_ranking && !is_ratio && !is_usable(&parameter)? {
        return Ok(Vec::new());
    }
    let mut groups: Vec<(Labels, Vec<&Row>)> = Vec::new();
    for row in &rows {
        let labels = group_of(&row.labels);
        match groups.iter_mut().find(|group| group.0 == labels) {
            Some(group) => group.1.push(row),
            None => groups.push((labels, vec![row])),
        }
    }
    let mut out = Vec::new();
    for (labels, members) in groups {
        if is_ranking {
            out.extend(ranked(*op, &members, &parameter, rows.len()));
            continue;
        }
        let mut row = Row { labels, drop_name: false, cells: Vec::new() };
        for (step, number) in parameter.iter().enumerate() {
            let there = members.iter().filter(|member| member.cells[step].is_some());
            let cells: Vec<&Cell> = members.iter().filter_map(|m| m.cells[step].as_ref()).collect();
            let cell = if cells.is_empty() { None } else { combined(*op, &cells, *number) };
            if cell.is_some() {
                // The last step at which the group has a value decides.
                row.drop_name = there.into_iter().any(|member| member.drop_name);
            }
            row.cells.push(cell);
        }
        out.push(row);
    }
    if is_ranking && times.len() != 1 {
        // Those of all groups stay in the order that they had.
        out.sort_by_key(|row| rows.iter().position(|known| known.labels == row.labels));
    }
    out.retain(|row| !row.is_empty());
    Ok(out)
}

fn combined(op: AggregateOp, cells: &[&Cell], number: f64) -> Option<Cell> {
    let floats: Vec<f64> = cells.iter().filter_map(|cell| cell.float()).collect();
    let histograms: Vec<&FloatHistogram> =
        cells.iter().filter_map(|cell| cell.histogram()).collect();
    match op {
        AggregateOp::Count => return Some(Cell::Float(cells.len() as f64)),
        AggregateOp::Group => return Some(Cell::Float(1.0)),
        AggregateOp::Sum | AggregateOp::Avg if !histograms.is_empty() => {
            if !floats.is_empty() {
                return None;
            }
            return histogram_total(op, &histograms).map(Cell::Histogram);
        }
        _ if floats.is_empty() => return None,
        _ => {}
    }
    Some(Cell::Float(match op {
        AggregateOp::Sum => {
            let (sum, lost) = floats[1..].iter().fold((floats[0], 0.0), |sum, x| plus(sum, *x));
            sum + lost
        }
        AggregateOp::Avg => mean(&floats),
        AggregateOp::Min => floats[1..]
            .iter()
            .fold(floats[0], |min, x| if min > *x || min.is_nan() { *x } else { min }),
        AggregateOp::Max => floats[1..]
            .iter()
            .fold(floats[0], |max, x| if max < *x || max.is_nan() { *x } else { max }),
        AggregateOp::Stdvar => spread(&floats),
        AggregateOp::Stddev => spread(&floats).sqrt(),
        AggregateOp::Quantile => quantile(number, &floats),
        other => unreachable!("not generated: {other:?}"),
    }))
}

fn histogram_total(op: AggregateOp, histograms: &[&FloatHistogram]) -> Option<FloatHistogram> {
    let first = histograms[0].clone();
    let mut total = if op == AggregateOp::Sum {
        let mut sum = HistogramSum::new(first);
        for histogram in &histograms[1..] {
            sum.add(histogram).ok()?;
        }
        sum.total()
    } else {
        let mut mean = HistogramMean::new(first);
        for histogram in &histograms[1..] {
            mean.add(histogram).ok()?;
        }
        mean.value()
    };
    total.compact();
    Some(total)
}

/// Welford's, not compensated.
fn spread(values: &[f64]) -> f64 {
    let mut squares = if values[0].is_finite() { 0.0 } else { f64::NAN };
    let (mut mean, mut count) = (values[0], 1.0);
    for x in &values[1..] {
        count += 1.0;
        let delta = x - mean;
        mean += delta / count;
        squares += delta * (x - mean);
    }
    squares / count
}

/// Whether a parameter leaves anything; one that is no number of series is refused.
fn is_usable(parameter: &[f64]) -> Answer<bool> {
    if parameter.iter().any(|k| k.is_nan()) {
        return Err(Refused("NaN"));
    }
    if parameter.iter().all(|k| *k < 1.0) {
        return Ok(false);
    }
    if parameter.iter().any(|k| *k <= -(2f64.powi(63)) || *k >= 2f64.powi(63)) {
        return Err(Refused("too large"));
    }
    Ok(true)
}

fn ranked(op: AggregateOp, members: &[&Row], parameter: &[f64], rows: usize) -> Vec<Row> {
    let blank = |row: &&Row| Row {
        labels: row.labels.clone(),
        drop_name: row.drop_name,
        cells: vec![None; parameter.len()],
    };
    let mut out: Vec<Row> = members.iter().map(blank).collect();
    let mut order = Vec::new();
    for (step, parameter) in parameter.iter().enumerate() {
        let k = (*parameter as i64).min(rows as i64);
        if op != AggregateOp::LimitRatio && k < 1 {
            continue;
        }
        let there = members
            .iter()
            .enumerate()
            .filter_map(|(index, member)| Some((index, member.cells[step].as_ref()?)));
        // A histogram has no rank, but a place.
        let number = |(index, cell): (usize, &Cell)| (index, cell.float().unwrap_or(0.0));
        let floats = |(index, cell): (usize, &Cell)| Some((index, cell.float()?));
        order = match op {
            AggregateOp::LimitRatio => {
                let is_kept = |place: f64| {
                    let is_in_part = place < *parameter;
                    let is_behind = *parameter < 0.0 && place >= 1.0 + *parameter;
                    is_in_part || is_behind || parameter.abs() >= 1.0
                };
                let kept =
                    there.filter(|(index, _)| is_kept(ratio::place(&members[*index].labels)));
                best(kept.map(number).collect(), rows, false)
            }
            AggregateOp::Limitk => best(there.take(k as usize).map(number).collect(), rows, false),
            _ => {
                let is_least = op == AggregateOp::Bottomk;
                by_rank(best(there.filter_map(floats).collect(), k as usize, is_least), is_least)
            }
        };
        for (index, _) in &order {
            out[*index].cells[step].clone_from(&members[*index].cells[step]);
        }
    }
    if parameter.len() == 1 {
        // An instant query shows the order, and whatever comes next meets it.
        return order.into_iter().map(|(index, _)| out[index].clone()).collect();
    }
    out
}

/// The greatest first, or the least; of equal ones as they were.
fn by_rank(mut ranked: Vec<(usize, f64)>, is_least: bool) -> Vec<(usize, f64)> {
    let key = |x: f64| if is_least { -x } else { x };
    ranked.sort_by(|(_, a), (_, b)| match (a.is_nan(), b.is_nan()) {
        (false, false) => key(*b).partial_cmp(&key(*a)).expect("numbers are comparable"),
        (a, b) => a.cmp(&b),
    });
    ranked
}

/// The best `k`, as they lie in a binary heap with the worst on top, which decides which of equal
/// ones stay.
fn best(floats: Vec<(usize, f64)>, k: usize, least: bool) -> Vec<(usize, f64)> {
    let worse = |a: f64, b: f64| a.is_nan() || if least { a > b } else { a < b };
    let mut heap: Vec<(usize, f64)> = Vec::new();
    for (index, value) in floats {
        if heap.len() < k {
            heap.push((index, value));
            let mut at = heap.len() - 1;
            while at > 0 && worse(heap[at].1, heap[(at - 1) / 2].1) {
                heap.swap(at, (at - 1) / 2);
                at = (at - 1) / 2;
            }
            continue;
        }
        let top = heap[0].1;
        let is_beyond = if least { top > value } else { top < value };
        let is_better = is_beyond || (top.is_nan() && !value.is_nan());
        if !is_better {
            continue;
        }
        heap[0] = (index, value);
        let mut at = 0;
        loop {
            let (left, right) = (2 * at + 1, 2 * at + 2);
            if left >= heap.len() {
                break;
            }
            let is_right = right < heap.len() && worse(heap[right].1, heap[left].1);
            let child = if is_right { right } else { left };
            if !worse(heap[child].1, heap[at].1) {
                break;
            }
            heap.swap(at, child);
            at = child;
        }
    }
    heap
}

fn count_values(
    rows: &[Row],
    label: &str,
    (grouping, without): (&[String], bool),
    steps: usize,
) -> Answer<Vec<Row>> {
    let mut out: Vec<Row> = Vec::new();
    for step in 0..steps {
        for row in rows {
            let Some(cell) = &row.cells[step] else { continue };
            let text = match cell {
                Cell::Float(value) if value.is_infinite() => {
                    if *value > 0.0 {
                        "+Inf".to_owned()
                    } else {
                        "-Inf".to_owned()
                    }
                }
                Cell::Float(value) => value.to_string(),
                Cell::Histogram(histogram) => histogram.to_string(),
            };
            let mut builder = LabelsBuilder::from_labels(&row.labels);
            builder.set(label, &text);
            let labels = builder.build().without(|name| {
                let is_named = grouping.iter().any(|label| label == name);
                if without { is_named || name == METRIC_NAME } else { !is_named && name != label }
            });
            let at = out.iter().position(|row| row.labels == labels).unwrap_or_else(|| {
                out.push(Row { labels, drop_name: false, cells: vec![None; steps] });
                out.len() - 1
            });
            let slot = &mut out[at].cells[step];
            let before = slot.as_ref().and_then(Cell::float).unwrap_or(0.0);
            *slot = Some(Cell::Float(before + 1.0));
        }
    }
    // Prometheus has them in any order.
    out.sort_by(|a, b| a.labels.cmp(&b.labels));
    joined(out)
}
