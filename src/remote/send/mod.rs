//! Remote write, sent.
//!
//! ```text
//! log ──▶ Reader ──▶ Shard ──▶ deliver ──▶ Receiver
//!         (thread)   (queue)   (task)      (HTTP)
//! ```
//!
//! Each receiver has a queue of its own, which reads what is stored from the log
//! ([`crate::db::Forward`]), relabels it, and deals it to shards by series. A shard sends one
//! request at a time, again and again until it is taken or refused for good, so the samples of a
//! series arrive in order.
//!
//! What was acknowledged is noted before the next request, and what a request under way holds
//! before it is sent: after a restart nothing is left out, and nothing is sent again but, as it
//! was, the request whose answer is not known. The log is held for a receiver that is away as
//! long as [`Hold`] says; what is older is given up, counted and told.
//!
//! Protocols: remote write 1.0 and 2.0. COMPAT: names of metrics, the number of shards and what is
//! tried again are Prometheus's.

mod deliver;
mod entry;
mod labels;
mod manager;
mod message;
mod metadata;
mod metrics;
mod queue;
mod rates;
mod reader;
mod receiver;
mod shard;
mod tokens;

pub use manager::{SendOptions, Senders, check};
pub use metadata::MetadataSource;
pub use queue::Hold;

#[cfg(test)]
mod tests;
