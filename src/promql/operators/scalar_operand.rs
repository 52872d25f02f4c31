//! Binary operators between a vector and a scalar: a map of each series' column.

use super::arithmetic::{combine, combine_into_right, number};
use crate::promql::columns::Column;
use crate::promql::plan::is_comparison;
use crate::promql::stream::ScalarStage;

/// Applies the operator. A comparison without `bool` keeps the vector's value where it holds,
/// whichever side the vector stands on.
pub(crate) fn apply(stage: &ScalarStage, column: &mut Column) {
    let scalar = &stage.scalar.values;
    if is_comparison(stage.op) && !stage.return_bool {
        let holds = number(stage.op);
        let kept = column.valid.clone();
        for step in kept.iter() {
            let value = column.values[step];
            let truth = if stage.scalar_left {
                holds(scalar[step], value)
            } else {
                holds(value, scalar[step])
            };
            if truth == 0.0 {
                column.valid.unset(step);
            }
        }
    } else if stage.scalar_left {
        combine_into_right(stage.op, scalar, &mut column.values);
    } else {
        combine(stage.op, &mut column.values, scalar);
    }
}
