//! Relabelling rules and their application.
//!
//! A rule looks at labels, and sets, copies or removes some, or drops the whole set. The same
//! rules serve targets before a scrape and series after it. [`Rule::validate`] has passed before
//! a rule is applied; [`apply`] relies on it and cannot fail.
//!
//! COMPAT: `model/relabel` of Prometheus, its error texts included.

mod apply;
mod rule;

pub use apply::apply;
pub use rule::{Action, Rule, RuleError};
