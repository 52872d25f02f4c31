//! Functions of vectors and scalars, value by value.

use std::f64::consts::PI;

use narthex::model::{FloatHistogram, Labels, LabelsBuilder, METRIC_NAME, MatchOp, Matcher};
use narthex::promql::ast::NodeId;
use narthex::promql::functions::elementary;
use narthex::regex::Regex;

use super::cells::{Answer, Cell, Operand, Row, joined};
use super::evaluate::Plain;
use super::histograms::Asked;
use super::{dates, histograms};

/// Function `name` of its arguments.
pub(crate) fn call(
    plain: &Plain<'_>,
    name: &str,
    args: &[NodeId],
    times: &[i64],
) -> Answer<Operand> {
    if let Some(numbers) = numbers(plain, name, args, times)? {
        return Ok(Operand::Scalar(numbers));
    }
    Ok(match name {
        "info" => Operand::Rows(super::info::info(plain, args, times)?),
        // What is computed began at no time, and of what is stored nobody asks.
        "start_timestamp" => {
            plain.rows(args[0], times)?;
            Operand::Rows(Vec::new())
        }
        "histogram_quantile" | "histogram_quantiles" | "histogram_fraction" => {
            Operand::Rows(of_buckets(plain, name, args, times)?)
        }
        _ if args.is_empty() => {
            let part = |t: &i64| dates::part(name, t.div_euclid(1000)).map(Cell::Float);
            let cells = times.iter().map(part).collect();
            Operand::Rows(vec![Row { labels: Labels::empty(), drop_name: false, cells }])
        }
        "vector" => {
            let values = plain.scalar(args[0], times)?;
            let cells = values.into_iter().map(|value| Some(Cell::Float(value))).collect();
            Operand::Rows(vec![Row { labels: Labels::empty(), drop_name: false, cells }])
        }
        "absent" => {
            let rows = plain.rows(args[0], times)?;
            let mut rows = plain.absent(args[0], &rows, times);
            for row in &mut rows {
                row.drop_name = false;
            }
            Operand::Rows(rows)
        }
        "timestamp" => {
            let mut rows = plain.rows(args[0], times)?;
            for row in &mut rows {
                for (cell, t_ms) in row.cells.iter_mut().zip(times) {
                    *cell = cell.take().map(|_| Cell::Float(*t_ms as f64 / 1000.0));
                }
                plain.drop_name(row);
            }
            Operand::Rows(joined(rows)?)
        }
        "sort" | "sort_desc" => {
            let mut rows = plain.rows(args[0], times)?;
            for slot in rows.iter_mut().flat_map(|row| &mut row.cells) {
                *slot = slot.take().filter(|cell| cell.float().is_some());
            }
            Operand::Rows(joined(rows)?)
        }
        "sort_by_label" | "sort_by_label_desc" => Operand::Rows(plain.rows(args[0], times)?),
        "label_replace" => Operand::Rows(label_replace(plain, args, times)?),
        "label_join" => Operand::Rows(label_join(plain, args, times)?),
        _ => Operand::Rows(map(plain, name, args, times)?),
    })
}

/// Functions of one value at a time, and of numbers.
fn map(plain: &Plain<'_>, name: &str, args: &[NodeId], times: &[i64]) -> Answer<Vec<Row>> {
    let mut scalars = Vec::new();
    for arg in &args[1..] {
        scalars.push(plain.scalar(*arg, times)?);
    }
    let mut rows = plain.rows(args[0], times)?;
    for row in &mut rows {
        for (step, slot) in row.cells.iter_mut().enumerate() {
            let numbers: Vec<f64> = scalars.iter().map(|values| values[step]).collect();
            *slot = slot.take().and_then(|cell| mapped(name, &cell, &numbers));
        }
        plain.drop_name(row);
    }
    joined(rows)
}

/// Functions that give scalars.
fn numbers(
    plain: &Plain<'_>,
    name: &str,
    args: &[NodeId],
    times: &[i64],
) -> Answer<Option<Vec<f64>>> {
    let steps = times.len();
    Ok(Some(match name {
        "time" => times.iter().map(|t| *t as f64 / 1000.0).collect(),
        "pi" => vec![PI; steps],
        "start" | "end" | "range" | "step" => vec![plain.of_range(name) as f64 / 1000.0; steps],
        "max_of" | "min_of" => {
            let (a, b) = (plain.scalar(args[0], times)?, plain.scalar(args[1], times)?);
            let pick = |(a, b): (&f64, &f64)| {
                if name == "max_of" { greater(*a, *b) } else { -greater(-*a, -*b) }
            };
            a.iter().zip(&b).map(pick).collect()
        }
        "scalar" => {
            let rows = plain.rows(args[0], times)?;
            (0..steps).map(|step| single(&rows, step)).collect()
        }
        _ => return Ok(None),
    }))
}

fn single(rows: &[Row], step: usize) -> f64 {
    let mut floats = rows.iter().filter_map(|row| row.cells[step].as_ref()?.float());
    match (floats.next(), floats.next()) {
        (Some(value), None) => value,
        _ => f64::NAN,
    }
}

fn mapped(name: &str, cell: &Cell, numbers: &[f64]) -> Option<Cell> {
    let of_histogram = |pick: &dyn Fn(&FloatHistogram) -> f64| cell.histogram().map(pick);
    let value = match name {
        "histogram_count" => of_histogram(&|h| h.count)?,
        "histogram_sum" => of_histogram(&|h| h.sum)?,
        "histogram_avg" => of_histogram(&|h| h.sum / h.count)?,
        "histogram_stdvar" => of_histogram(&histograms::variance)?,
        "histogram_stddev" => of_histogram(&|h| histograms::variance(h).sqrt())?,
        _ => of_float(name, cell.float()?, numbers)?,
    };
    Some(Cell::Float(value))
}

fn of_float(name: &str, x: f64, numbers: &[f64]) -> Option<f64> {
    Some(match name {
        "abs" => x.abs(),
        "ceil" => x.ceil(),
        "floor" => x.floor(),
        "sqrt" => x.sqrt(),
        "sgn" if x > 0.0 => 1.0,
        "sgn" if x < 0.0 => -1.0,
        "sgn" => x,
        "round" => {
            let inverse = 1.0 / numbers.first().copied().unwrap_or(1.0);
            (x * inverse + 0.5).floor() / inverse
        }
        "clamp" if numbers[1] < numbers[0] => return None,
        "clamp" => greater(numbers[0], -greater(-numbers[1], -x)),
        "clamp_min" => greater(numbers[0], -greater(f64::NEG_INFINITY, -x)),
        "clamp_max" => greater(f64::NEG_INFINITY, -greater(-numbers[0], -x)),
        "deg" => x * 180.0 / PI,
        "rad" => x * PI / 180.0,
        "day_of_month" | "day_of_week" | "day_of_year" | "days_in_month" | "hour" | "minute"
        | "month" | "year" => dates::part(name, x as i64).expect("generated times are near"),
        _ => elementary_function(name)(x),
    })
}

/// The engine's own: its tests judge it, here is judged what becomes of its results.
fn elementary_function(name: &str) -> fn(f64) -> f64 {
    match name {
        "exp" => elementary::exp,
        "ln" => elementary::ln,
        "log2" => elementary::log2,
        "log10" => elementary::log10,
        "sin" => elementary::sin,
        "cos" => elementary::cos,
        "tan" => elementary::tan,
        "asin" => elementary::asin,
        "acos" => elementary::acos,
        "atan" => elementary::atan,
        "sinh" => elementary::sinh,
        "cosh" => elementary::cosh,
        "tanh" => elementary::tanh,
        "asinh" => elementary::asinh,
        "acosh" => elementary::acosh,
        "atanh" => elementary::atanh,
        other => unreachable!("not generated: {other}"),
    }
}

/// `histogram_quantile` and its kin.
fn of_buckets(plain: &Plain<'_>, name: &str, args: &[NodeId], times: &[i64]) -> Answer<Vec<Row>> {
    let all = |args: &[NodeId]| -> Answer<Vec<Vec<f64>>> {
        args.iter().map(|arg| plain.scalar(*arg, times)).collect()
    };
    let steps = times.len();
    match name {
        "histogram_quantile" => {
            let quantiles = plain.scalar(args[0], times)?;
            let rows = plain.rows(args[1], times)?;
            let asked = |step: usize| vec![(Asked::Quantile(quantiles[step]), None)];
            histograms::ask(plain, &rows, steps, asked)
        }
        "histogram_fraction" => {
            let edges = all(&args[..2])?;
            let rows = plain.rows(args[2], times)?;
            let asked = |step: usize| vec![(Asked::Fraction(edges[0][step], edges[1][step]), None)];
            histograms::ask(plain, &rows, steps, asked)
        }
        _ => {
            let rows = plain.rows(args[0], times)?;
            let label = plain.text(args[1]);
            let quantiles = all(&args[2..])?;
            let one = |q: f64| {
                let text = match q {
                    _ if q.is_infinite() && q > 0.0 => "+Inf".to_owned(),
                    _ if q.is_infinite() => "-Inf".to_owned(),
                    _ if q.is_nan() || q.fract() != 0.0 => q.to_string(),
                    _ => format!("{q:.1}"),
                };
                (Asked::Quantile(q), Some((label.clone(), text)))
            };
            let asked = |step: usize| quantiles.iter().map(|q| one(q[step])).collect();
            histograms::ask(plain, &rows, steps, asked)
        }
    }
}

/// The greater number; NaN where one is, unless the other is infinite; of zeros the positive one.
fn greater(a: f64, b: f64) -> f64 {
    if a == f64::INFINITY || b == f64::INFINITY {
        f64::INFINITY
    } else if a.is_nan() || b.is_nan() {
        f64::NAN
    } else if a == 0.0 && b == 0.0 {
        if a.is_sign_negative() { b } else { a }
    } else if a > b {
        a
    } else {
        b
    }
}

/// Labels that a selector asks for and that nothing has.
pub(crate) fn absent_labels(matchers: &[Matcher]) -> Labels {
    let mut pairs: Vec<(&str, &str)> = Vec::new();
    for matcher in matchers.iter().filter(|matcher| matcher.name != METRIC_NAME) {
        let is_only = matchers.iter().filter(|other| other.name == matcher.name).count() == 1;
        if is_only && matcher.op == MatchOp::Equal && !matcher.value.is_empty() {
            pairs.push((&matcher.name, &matcher.value));
        }
    }
    Labels::from_pairs(pairs)
}

/// Replacements are `$1`, `$0` or without a reference.
fn label_replace(plain: &Plain<'_>, args: &[NodeId], times: &[i64]) -> Answer<Vec<Row>> {
    let [target, replacement, source, pattern] = [1, 2, 3, 4].map(|at| plain.text(args[at]));
    let mut rows = plain.rows(args[0], times)?;
    let regex = Regex::new(&pattern).expect("generated patterns compile");
    for row in &mut rows {
        let value = row.labels.get(&source).unwrap_or("").to_owned();
        if !regex.is_match(&value) {
            continue;
        }
        // All generated patterns are `(.*)` or plain texts.
        let inner = if pattern.starts_with('(') { value.as_str() } else { "" };
        let text = replacement.replace("$1", inner).replace("$0", &value);
        relabel(row, &target, &text);
    }
    joined(rows)
}

fn label_join(plain: &Plain<'_>, args: &[NodeId], times: &[i64]) -> Answer<Vec<Row>> {
    let (target, separator) = (plain.text(args[1]), plain.text(args[2]));
    let sources: Vec<String> = args[3..].iter().map(|arg| plain.text(*arg)).collect();
    let mut rows = plain.rows(args[0], times)?;
    for row in &mut rows {
        let values = sources.iter().map(|name| row.labels.get(name).unwrap_or(""));
        let text = values.collect::<Vec<_>>().join(&separator);
        relabel(row, &target, &text);
    }
    joined(rows)
}

fn relabel(row: &mut Row, target: &str, text: &str) {
    let mut builder = LabelsBuilder::from_labels(&row.labels);
    builder.set(target, text);
    row.labels = builder.build();
    if target == METRIC_NAME {
        row.drop_name = false;
    }
}
