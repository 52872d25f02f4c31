//! Where targets come from: static lists, and mechanisms that look for them.
//!
//! Each mechanism gives [`TargetGroup`]s ([`Mechanism`]); [`Discovery`] puts together, for each
//! job, what its mechanisms know, and tells by a watch channel, which keeps the newest state
//! only: a consumer that is slow misses steps between, never the last one.
//!
//! A mechanism that fails keeps what it found last, logs and counts, and tries again. Answers of
//! the asked services are bounded and their fields optional, as far as labels can do without.

mod api;
pub mod aws;
mod consul;
mod dns;
mod docker;
mod ec2;
mod file;
mod group;
mod http;
mod kubernetes;
mod manager;
mod metrics;
mod nomad;
mod provider;

pub use dns::{Message, MessageError, Record, parse_message};
pub use file::{FileDiscoveryError, parse_groups};
pub use group::TargetGroup;
pub use manager::{Discovery, Sought, TargetSets};
pub use metrics::{Mechanisms, Metrics};
pub use provider::{Mechanism, Running, Updates};

#[cfg(test)]
mod tests;
