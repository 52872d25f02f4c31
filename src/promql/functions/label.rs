//! `label_replace` and `label_join`: new labels for the same values.

use super::{Call, Implementation};
use crate::model::{Labels, LabelsBuilder, METRIC_NAME};
use crate::promql::columns::Operand;
use crate::promql::engine::QueryError;
use crate::regex::Regex;

/// The family's implementations.
pub(super) fn lookup(name: &str) -> Option<Implementation> {
    Some(Implementation::Operands(match name {
        "label_replace" => label_replace,
        "label_join" => label_join,
        _ => return None,
    }))
}

fn label_replace(call: &mut Call<'_>) -> Result<Operand, QueryError> {
    let [to, template, from, pattern] = [1, 2, 3, 4].map(|index| call.string(index).to_owned());
    let regex = Regex::new(&pattern).map_err(|_| {
        QueryError::execution(format!("invalid regular expression in label_replace(): {pattern}"))
    })?;
    check_label(&to, "destination", "label_replace")?;
    let value = |labels: &Labels| regex.expand(labels.get(&from).unwrap_or(""), &template);
    relabel(call, &to, value)
}

fn label_join(call: &mut Call<'_>) -> Result<Operand, QueryError> {
    let [to, separator] = [1, 2].map(|index| call.string(index).to_owned());
    let sources: Vec<_> =
        (3..call.operands.len()).map(|index| call.string(index).to_owned()).collect();
    for source in &sources {
        check_label(source, "source", "label_join")?;
    }
    check_label(&to, "destination", "label_join")?;
    relabel(call, &to, |labels| {
        let values: Vec<_> = sources.iter().map(|name| labels.get(name).unwrap_or("")).collect();
        Some(values.join(&separator))
    })
}

fn check_label(name: &str, role: &str, function: &str) -> Result<(), QueryError> {
    // A name that is no UTF-8 was read with this character in it.
    if !name.is_empty() && !name.contains(char::REPLACEMENT_CHARACTER) {
        return Ok(());
    }
    Err(QueryError::execution(format!("invalid {role} label name in {function}(): {name}")))
}

/// Gives label `to` of each series the value that `value` makes, if it makes one.
fn relabel(
    call: &mut Call<'_>,
    to: &str,
    value: impl Fn(&Labels) -> Option<String>,
) -> Result<Operand, QueryError> {
    let mut vector = call.take_vector(0);
    for series in &mut vector.series {
        call.check()?;
        if let Some(value) = value(&series.labels) {
            let mut builder = LabelsBuilder::from_labels(&series.labels);
            builder.set(to, &value);
            series.labels = builder.build();
            // A name that was just given is not to be dropped.
            series.drop_name &= to != METRIC_NAME;
        }
    }
    Ok(Operand::Vector(vector))
}
