//! Binary operators.

use narthex::model::{FloatHistogram, Labels, LabelsBuilder, METRIC_NAME, ResetHint};
use narthex::promql::ast::{BinaryOp, Cardinality, VectorMatching};
use narthex::promql::functions::power;

use super::cells::{Answer, Cell, Refused, Row, is_metadata, joined};
use super::evaluate::Plain;
use super::histograms::trimmed;

/// `a op b`; a comparison is one or zero.
pub(crate) fn of_numbers(op: BinaryOp, a: f64, b: f64) -> f64 {
    let as_number = |holds: bool| f64::from(u8::from(holds));
    match op {
        BinaryOp::Add => a + b,
        BinaryOp::Sub => a - b,
        BinaryOp::Mul => a * b,
        BinaryOp::Div => a / b,
        BinaryOp::Mod => a % b,
        BinaryOp::Pow => power::pow(a, b),
        BinaryOp::Atan2 => power::atan2(a, b),
        BinaryOp::Eql => as_number(a == b),
        BinaryOp::Neq => as_number(a != b),
        BinaryOp::Gtr => as_number(a > b),
        BinaryOp::Lss => as_number(a < b),
        BinaryOp::Gte => as_number(a >= b),
        BinaryOp::Lte => as_number(a <= b),
        other => unreachable!("not generated: {other:?}"),
    }
}

/// What two values come to.
enum Met {
    /// A value.
    Value(Cell),
    /// A comparison that does not hold.
    Fails,
    /// The operator does not go with them.
    Never,
}

fn meet(op: BinaryOp, left: &Cell, right: &Cell) -> Met {
    let holds = |holds: bool| if holds { Met::Value(left.clone()) } else { Met::Fails };
    let changed = |histogram: &FloatHistogram, change: &dyn Fn(&mut FloatHistogram)| {
        let mut histogram = histogram.clone();
        change(&mut histogram);
        histogram.compact();
        Met::Value(Cell::Histogram(histogram))
    };
    match (left, right) {
        (Cell::Histogram(histogram), Cell::Float(at)) if op.is_trim() => {
            let keep_below = op == BinaryOp::TrimUpper;
            Met::Value(Cell::Histogram(trimmed(histogram, *at, keep_below)))
        }
        _ if op.is_trim() => Met::Never,
        (Cell::Float(a), Cell::Float(b)) if op.is_comparison() => {
            holds(of_numbers(op, *a, *b) != 0.0)
        }
        (Cell::Float(a), Cell::Float(b)) => Met::Value(Cell::Float(of_numbers(op, *a, *b))),
        (Cell::Float(number), Cell::Histogram(histogram)) if op == BinaryOp::Mul => {
            changed(histogram, &|h| h.multiply(*number))
        }
        (Cell::Histogram(histogram), Cell::Float(number)) => match op {
            BinaryOp::Mul => changed(histogram, &|h| h.multiply(*number)),
            BinaryOp::Div => changed(histogram, &|h| h.divide(*number)),
            _ => Met::Never,
        },
        (Cell::Histogram(a), Cell::Histogram(b)) => match op {
            BinaryOp::Eql => holds(a.is_same(b)),
            BinaryOp::Neq => holds(!a.is_same(b)),
            BinaryOp::Add | BinaryOp::Sub => {
                let mut sum = a.clone();
                let is_sum = op == BinaryOp::Add;
                let reconciled = if is_sum { sum.add(b) } else { sum.subtract(b) };
                match reconciled {
                    Ok(reconciled) if !reconciled.hints_collide => {
                        if !is_sum {
                            sum.reset_hint = ResetHint::Gauge;
                        }
                        sum.compact();
                        Met::Value(Cell::Histogram(sum))
                    }
                    _ => Met::Never,
                }
            }
            _ => Met::Never,
        },
        _ => Met::Never,
    }
}

/// A vector and a scalar; `is_left`: the scalar stands on the left.
pub(crate) fn with_scalar(
    plain: &Plain<'_>,
    op: BinaryOp,
    rows: Vec<Row>,
    (scalar, is_left): (&[f64], bool),
    return_bool: bool,
) -> Answer<Vec<Row>> {
    let mut out = Vec::new();
    for mut row in rows {
        for (slot, number) in row.cells.iter_mut().zip(scalar) {
            let Some(cell) = slot.take() else { continue };
            let number = Cell::Float(*number);
            let (left, right) = if is_left { (&number, &cell) } else { (&cell, &number) };
            *slot = match meet(op, left, right) {
                Met::Never => None,
                met if return_bool => {
                    Some(Cell::Float(f64::from(u8::from(matches!(met, Met::Value(_))))))
                }
                // Of a comparison the vector's value stays.
                Met::Value(_) if op.is_comparison() => Some(cell),
                Met::Value(value) => Some(value),
                Met::Fails => None,
            };
        }
        if op.changes_quantity() || return_bool {
            plain.drop_name(&mut row);
        }
        out.push(row);
    }
    joined(out)
}

fn signature(matching: &VectorMatching, labels: &Labels) -> Labels {
    labels.without(|name| {
        let is_named = matching.labels.iter().any(|label| label == name);
        if matching.on { !is_named } else { is_named || name == METRIC_NAME }
    })
}

/// Two vectors.
pub(crate) fn join(
    plain: &Plain<'_>,
    (op, return_bool): (BinaryOp, bool),
    matching: &VectorMatching,
    (lhs, rhs): (&[Row], &[Row]),
    times: &[i64],
) -> Answer<Vec<Row>> {
    let mut out: Vec<Row> = Vec::new();
    let steps = times.len();
    let blank =
        |labels: Labels, drop_name: bool| Row { labels, drop_name, cells: vec![None; steps] };
    if op.is_set() {
        for (rows, is_left) in [(lhs, true), (rhs, false)] {
            for row in rows {
                let mut kept = blank(row.labels.clone(), row.drop_name);
                for step in 0..steps {
                    if is_kept(op, matching, (lhs, rhs), (row, is_left), step) {
                        kept.cells[step].clone_from(&row.cells[step]);
                    }
                }
                out.push(kept);
            }
        }
        name_by_first_value(&mut out);
        return joined(out);
    }
    for step in 0..steps {
        for (labels, cell) in pairs(plain, (op, return_bool), matching, (lhs, rhs), step)? {
            let known = out.iter().position(|row| row.labels == labels);
            let at = known.unwrap_or_else(|| {
                out.push(blank(labels, return_bool));
                out.len() - 1
            });
            let row = &mut out[at];
            if row.cells[step].is_some() {
                return Err(Refused("two series of equal labels"));
            }
            row.cells[step] = Some(cell);
        }
    }
    Ok(out)
}

/// Of rows of equal labels the one with the first value decides whether the name goes.
fn name_by_first_value(rows: &mut [Row]) {
    let first = |row: &Row| row.cells.iter().position(Option::is_some);
    for index in 0..rows.len() {
        let equal = rows.iter().filter(|row| row.labels == rows[index].labels && !row.is_empty());
        if let Some(decides) = equal.min_by_key(|row| first(row)) {
            rows[index].drop_name = decides.drop_name;
        }
    }
}

fn is_kept(
    op: BinaryOp,
    matching: &VectorMatching,
    (lhs, rhs): (&[Row], &[Row]),
    (row, is_left): (&Row, bool),
    step: usize,
) -> bool {
    let wanted = signature(matching, &row.labels);
    let is_there = |rows: &[Row]| {
        rows.iter()
            .any(|row| row.cells[step].is_some() && signature(matching, &row.labels) == wanted)
    };
    match (op, is_left) {
        (BinaryOp::And, true) => is_there(rhs),
        (BinaryOp::Unless, true) => !is_there(rhs),
        (BinaryOp::Or, true) => true,
        (BinaryOp::Or, false) => !is_there(lhs),
        _ => false,
    }
}

/// One value, with its series' labels.
type Sample<'a> = (&'a Labels, &'a Cell);

/// What two vectors come to at one step.
fn pairs(
    plain: &Plain<'_>,
    (op, return_bool): (BinaryOp, bool),
    matching: &VectorMatching,
    (lhs, rhs): (&[Row], &[Row]),
    step: usize,
) -> Answer<Vec<(Labels, Cell)>> {
    let present = |rows: &[Row]| -> Vec<(Labels, Cell)> {
        let there = rows.iter().filter_map(|row| Some((&row.labels, row.cells[step].as_ref()?)));
        there.map(|(labels, cell)| (labels.clone(), cell.clone())).collect()
    };
    let is_swapped = matching.cardinality == Cardinality::OneToMany;
    let (mut many, mut one) = (present(lhs), present(rhs));
    let fill = matching.fill;
    if (many.is_empty() || one.is_empty()) && fill.is_none() || many.is_empty() && one.is_empty() {
        return Ok(Vec::new());
    }
    if is_swapped {
        std::mem::swap(&mut many, &mut one);
    }
    let key = |labels: &Labels| signature(matching, labels);
    for (index, (labels, _)) in one.iter().enumerate() {
        if one[..index].iter().any(|(other, _)| key(other) == key(labels)) {
            return Err(Refused("duplicates on the one side"));
        }
    }
    let mut met = Matches { plain, op, return_bool, matching, taken: Vec::new(), out: Vec::new() };
    for (labels, cell) in &many {
        let partner = one.iter().find(|(other, _)| key(other) == key(labels));
        match (partner, fill.right) {
            (Some((other, value)), _) => met.pair((labels, cell), (other, value))?,
            (None, Some(number)) => {
                met.pair((labels, cell), (&key_labels(matching, labels), &Cell::Float(number)))?;
            }
            (None, None) => {}
        }
    }
    if let Some(number) = fill.left {
        for (labels, cell) in &one {
            if !met.taken.iter().any(|(taken, _)| *taken == key(labels)) {
                met.pair((&key_labels(matching, labels), &Cell::Float(number)), (labels, cell))?;
            }
        }
    }
    Ok(met.out)
}

/// The labels that a filled-in side has.
fn key_labels(matching: &VectorMatching, labels: &Labels) -> Labels {
    signature(matching, labels)
}

struct Matches<'a> {
    plain: &'a Plain<'a>,
    op: BinaryOp,
    return_bool: bool,
    matching: &'a VectorMatching,
    /// Signatures with the labels of their results so far.
    taken: Vec<(Labels, Labels)>,
    out: Vec<(Labels, Cell)>,
}

impl Matches<'_> {
    fn pair(&mut self, many: Sample<'_>, one: Sample<'_>) -> Answer<()> {
        let is_swapped = self.matching.cardinality == Cardinality::OneToMany;
        let (left, right) = if is_swapped { (one.1, many.1) } else { (many.1, one.1) };
        let met = meet(self.op, left, right);
        if matches!(met, Met::Never) {
            return Ok(());
        }
        let key = signature(self.matching, many.0);
        let labels = self.labels(many.0, one.0);
        let is_single = self.matching.cardinality == Cardinality::OneToOne;
        let is_taken =
            |taken: &(Labels, Labels)| taken.0 == key && (is_single || taken.1 == labels);
        if self.taken.iter().any(is_taken) {
            return Err(Refused("multiple matches"));
        }
        self.taken.push((key, labels.clone()));
        match met {
            met if self.return_bool => {
                let holds = f64::from(u8::from(matches!(met, Met::Value(_))));
                self.out.push((labels, Cell::Float(holds)));
            }
            Met::Value(cell) => self.out.push((labels, cell)),
            Met::Fails | Met::Never => {}
        }
        Ok(())
    }

    fn labels(&self, many: &Labels, one: &Labels) -> Labels {
        let matching = self.matching;
        let loses_name = self.op.changes_quantity() || (self.return_bool && !self.plain.delayed);
        let is_single = matching.cardinality == Cardinality::OneToOne;
        let kept = many.without(|name| {
            let is_named = matching.labels.iter().any(|label| label == name);
            (loses_name && is_metadata(name)) || (is_single && is_named != matching.on)
        });
        let mut builder = LabelsBuilder::from_labels(&kept);
        for name in &matching.include {
            builder.set(name, one.get(name).unwrap_or(""));
        }
        builder.build()
    }
}
