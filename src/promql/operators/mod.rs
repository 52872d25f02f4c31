//! Operators: between vectors, between vectors and scalars, over groups.

pub(super) mod aggregate;
pub(super) mod arithmetic;
pub(super) mod binary;
pub(super) mod count_values;
pub(super) mod grouping;
pub(super) mod histogram_binary;
pub(super) mod histogram_totals;
pub(super) mod rank;
pub(super) mod scalar_operand;
pub(super) mod set;
pub(super) mod signature;
pub(super) mod trim;
