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
    if op == AggregateOp::LimitRatio {
        for (member, row) in members.iter().zip(&mut out) {
            let place = ratio::place(&member.labels);
            for (step, ratio) in parameter.iter().enumerate() {
                let is_kept = if *ratio < 0.0 { place >= 1.0 + ratio } else { place < *ratio };
                if is_kept || ratio.abs() >= 1.0 {
                    row.cells[step].clone_from(&member.cells[step]);
                }
            }
        }
        return out;
    }
    for (step, k) in parameter.iter().enumerate() {
        let k = (*k as i64).min(rows as i64);
        if k < 1 {
            continue;
        }
        let there = members
            .iter()
            .enumerate()
            .filter_map(|(index, member)| Some((index, member.cells[step].as_ref()?)));
        let kept: Vec<usize> = if op == AggregateOp::Limitk {
            there.take(k as usize).map(|(index, _)| index).collect()
        } else {
            let floats = there.filter_map(|(index, cell)| Some((index, cell.float()?)));
            best(floats.collect(), k as usize, op == AggregateOp::Bottomk)
        };
        for index in kept {
            out[index].cells[step].clone_from(&members[index].cells[step]);
        }
    }
    out
}

/// The best `k`. Of equal ones those stay that a binary heap with the worst on top leaves.
fn best(floats: Vec<(usize, f64)>, k: usize, least: bool) -> Vec<usize> {
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
    heap.into_iter().map(|(index, _)| index).collect()
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
