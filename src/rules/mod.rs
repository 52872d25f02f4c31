//! Recording and alerting rules.
//!
//! [`load`] reads files of rules and says all that is wrong with them. A [`Manager`] evaluates
//! their groups: each at fixed times that follow from its file, name and interval, its rules in
//! their order, a rule seeing what those before it recorded. What a group records at one time is
//! stored as a row of one source ([`crate::head::GroupKey::Rules`]): it is committed in one piece
//! unless a rule reads what an earlier one of the group has written.
//!
//! A series that a rule no longer gives gets a staleness marker, also when the rule is gone after
//! a reload. Groups that are equal before and after a reload go on undisturbed; changed ones take
//! over the alerts of rules with equal name and labels.
//!
//! Alerts leave through [`AlertSink`]. Everything but the driver in `manager` is synchronous and
//! takes its time from [`WallClock`], so that tests drive hours of it without waiting.
//!
//! COMPAT: times of evaluation, states, series and error texts are those of Prometheus 3.14.

mod alerts;
mod backfill;
mod check;
mod clock;
mod dependencies;
mod evaluate;
mod file;
mod group;
mod manager;
mod metrics;
mod restore;
mod rule;
mod schedule;
mod store;

pub use alerts::{Alert, AlertState, OutgoingAlert};
pub use backfill::{Backfill, BackfillError, BackfillProgress, Backfilled};
pub use check::{Duplicate, duplicates};
pub use clock::{SimulatedWallClock, SystemWallClock, WallClock};
pub use file::{GroupSpec, RuleFileError, RuleKind, RuleSpec, Source, load, load_file, load_text};
pub use group::Group;
pub use manager::{AlertSink, Manager, Options, QueryWatcher, RuleQuery, Settings};
pub use rule::{Health, Rule};

#[cfg(test)]
mod tests;
