//! Where targets come from: static lists and files.
//!
//! Each mechanism gives [`TargetGroup`]s; [`Discovery`] puts together, for each job, what its
//! mechanisms know, and tells by a watch channel, which keeps the newest state only: a consumer
//! that is slow misses steps between, never the last one.

mod file;
mod group;
mod manager;

pub use file::{FileDiscoveryError, parse_groups};
pub use group::TargetGroup;
pub use manager::{Discovery, TargetSets};
