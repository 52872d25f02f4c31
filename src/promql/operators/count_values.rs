//! `count_values`: how many series of a group have each value.

use std::collections::HashMap;

use super::grouping::{Grouping, Groups};
use crate::model::LabelsBuilder;
use crate::promql::annotations::GoFloat;
use crate::promql::budget::Budget;
use crate::promql::columns::{Column, Sample, Series, Vector};
use crate::promql::engine::QueryError;
use crate::select::sort_by;

/// Values counted between two looks: each may be a new text, and a new column.
const VALUES_PER_LOOK: usize = 1 << 10;

/// One series for each group and value; the value stands in label `label`. In the order of
/// labels.
pub(crate) fn count_values(
    vector: &Vector,
    label: &str,
    grouping: Grouping,
    steps: usize,
    budget: &Budget<'_>,
) -> Result<Vector, QueryError> {
    let mut groups = Groups::new(grouping.with_label(label));
    let mut columns: Vec<Column> = Vec::new();
    for series in &vector.series {
        budget.check_time()?;
        let mut builder = LabelsBuilder::from_labels(&series.labels);
        // Values repeat along a series more often than not.
        let mut ordinals: HashMap<u64, usize> = HashMap::new();
        for (nth, (step, sample)) in series.column.samples().enumerate() {
            if nth % VALUES_PER_LOOK == VALUES_PER_LOOK - 1 {
                budget.look()?;
            }
            let mut ordinal_of = |text: &str| {
                builder.set(label, text);
                groups.ordinal(&builder.clone().build(), false)
            };
            let ordinal = match sample {
                Sample::Float(value) => *ordinals
                    .entry(value.to_bits())
                    .or_insert_with(|| ordinal_of(&format_value(value))),
                Sample::Histogram(histogram) => ordinal_of(&histogram.to_string()),
            };
            if ordinal == columns.len() {
                budget.ensure(columns.len() + 1, steps)?;
                columns.push(Column::empty(steps));
            }
            let column = &mut columns[ordinal];
            let count = column.get(step).unwrap_or(0.0);
            column.set(step, count + 1.0);
        }
    }
    let series = columns.into_iter().enumerate().map(|(ordinal, column)| Series {
        labels: groups.labels(ordinal).clone(),
        drop_name: false,
        column,
    });
    let mut series: Vec<Series> = series.collect();
    sort_by(&mut series, &|| budget.look(), |a, b| a.labels.cmp(&b.labels))?;
    Ok(Vector { series })
}

/// The shortest decimal that reads back as the value, without exponent.
fn format_value(value: f64) -> String {
    if value.is_finite() { value.to_string() } else { GoFloat(value).to_string() }
}
