//! `info`: labels of the info series of the same target, step by step.

use narthex::model::{Labels, LabelsBuilder, METRIC_NAME, MatchOp, Matcher};
use narthex::promql::ast::{Expr, NodeId};

use super::cells::{Answer, Refused, Row, joined};
use super::evaluate::Plain;

/// An info series that counts: its labels, and when it was sampled.
type Found = (Labels, i64);

/// The call with these arguments. The first one looks at its own times, without `offset` and `@`.
pub(crate) fn info(plain: &Plain<'_>, args: &[NodeId], times: &[i64]) -> Answer<Vec<Row>> {
    let base = plain.rows(args[0], times)?;
    let written = match args.get(1).map(|arg| plain.ast.expr(plain.unwrapped(*arg))) {
        Some(Expr::Selector(selector)) => selector.matchers.clone(),
        _ => Vec::new(),
    };
    let (mut names, data): (Vec<Matcher>, Vec<Matcher>) =
        written.into_iter().partition(|matcher| matcher.name == METRIC_NAME);
    if names.is_empty() {
        names.push(Matcher::equal(METRIC_NAME, "target_info"));
    } else if !names.iter().any(|m| matches!(m.op, MatchOp::Equal | MatchOp::Regex)) {
        let any = Matcher::new(METRIC_NAME, MatchOp::Regex, ".+_info").expect("it compiles");
        names.push(any);
    }
    let is_info = |labels: &Labels| names.iter().all(|name| name.matches(labels.metric_name()));
    let target =
        |labels: &Labels| ["instance", "job"].map(|name| labels.get(name).unwrap_or("").to_owned());
    let all: Vec<Matcher> = names.iter().chain(&data).cloned().collect();
    let mut infos = plain.sampled(&all, times)?;
    let concerned: Vec<&Row> = base.iter().filter(|row| !is_info(&row.labels)).collect();
    read_for(&mut infos, &concerned);
    let active = (0..times.len()).filter(|step| base.iter().any(|row| row.cells[*step].is_some()));
    refuse_equals(&infos, active)?;
    let mut out = Vec::new();
    for row in base {
        if is_info(&row.labels) {
            out.push(row);
            continue;
        }
        let own = target(&row.labels);
        let mut rows: Vec<Row> = Vec::new();
        for (step, cell) in row.cells.iter().enumerate() {
            let Some(cell) = cell else { continue };
            let of_target = infos.iter().filter(|(labels, _)| target(labels) == own);
            let there = of_target.filter_map(|(labels, at)| Some((labels.clone(), at[step]?)));
            let newest = newest(there.collect())?;
            if newest.is_empty() && data.iter().any(|matcher| !matcher.matches_empty()) {
                continue;
            }
            let is_taken = |name: &str| {
                name != METRIC_NAME && (data.is_empty() || data.iter().any(|m| m.name == name))
            };
            let labels = enriched(&row.labels, &newest, is_taken)?;
            let at = rows.iter().position(|row| row.labels == labels).unwrap_or_else(|| {
                let cells = vec![None; times.len()];
                rows.push(Row { labels, drop_name: row.drop_name, cells });
                rows.len() - 1
            });
            rows[at].cells[step] = Some(cell.clone());
        }
        out.extend(rows);
    }
    joined(out)
}

fn target(labels: &Labels) -> [String; 2] {
    ["instance", "job"].map(|name| labels.get(name).unwrap_or("").to_owned())
}

/// An info series, and when it was sampled at each step.
type Sampled = (Labels, Vec<Option<i64>>);

/// Only those are read that name what some series names.
fn read_for(infos: &mut Vec<Sampled>, concerned: &[&Row]) {
    let mut is_any_named = false;
    for name in ["instance", "job"] {
        let values: Vec<&str> = concerned.iter().filter_map(|row| row.labels.get(name)).collect();
        is_any_named |= !values.is_empty();
        infos.retain(|info| {
            values.is_empty() || info.0.get(name).is_some_and(|value| values.contains(&value))
        });
    }
    if !is_any_named {
        infos.clear();
    }
}

/// Two equally new ones of one metric and target are refused, whomever they belong to.
fn refuse_equals(infos: &[Sampled], steps: impl Iterator<Item = usize>) -> Answer<()> {
    for step in steps {
        for (index, (labels, at)) in infos.iter().enumerate() {
            let is_other = |other: &&Sampled| {
                other.0.metric_name() == labels.metric_name() && target(&other.0) == target(labels)
            };
            let same = infos[..=index].iter().filter(is_other);
            if at[step].is_some() {
                newest(same.filter_map(|o| Some((o.0.clone(), o.1[step]?))).collect())?;
            }
        }
    }
    Ok(())
}

/// Of each metric the newest.
fn newest(there: Vec<Found>) -> Answer<Vec<Found>> {
    let mut newest: Vec<Found> = Vec::new();
    for (labels, t_ms) in there {
        match newest.iter_mut().find(|known| known.0.metric_name() == labels.metric_name()) {
            None => newest.push((labels, t_ms)),
            Some(known) if known.1 == t_ms => return Err(Refused("two are equally new")),
            Some(known) if known.1 < t_ms => *known = (labels, t_ms),
            Some(_) => {}
        }
    }
    newest.sort_by(|a, b| a.0.metric_name().cmp(b.0.metric_name()));
    Ok(newest)
}

fn enriched(base: &Labels, infos: &[Found], is_taken: impl Fn(&str) -> bool) -> Answer<Labels> {
    let mut given: Vec<(String, String)> = Vec::new();
    for (name, value) in infos.iter().flat_map(|(labels, _)| labels.iter()) {
        if !is_taken(name) || base.get(name).is_some() {
            continue;
        }
        match given.iter().find(|known| known.0 == name) {
            Some(known) if known.1 != value => return Err(Refused("two values of a label")),
            Some(_) => {}
            None => given.push((name.to_owned(), value.to_owned())),
        }
    }
    let mut builder = LabelsBuilder::from_labels(base);
    for (name, value) in given {
        builder.set(&name, &value);
    }
    Ok(builder.build())
}
