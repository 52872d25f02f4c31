//! Narthex: a metrics database that stands in for a Prometheus server.
//!
//! The crate is one flow, and the modules below stand in its order. A module may use those above
//! it and never those below; `tests/layering.rs` fails on an import that runs against the list.
//!
//! ```text
//!  targets ──▶ scrape ──▶ exposition ─┐                      ┌─▶ http
//!  pushes ───▶ remote ────────────────┼─▶ head ──▶ block ──▶ select ──▶ promql
//!                                     │    wal
//! ```
//!
//! Without default features this is the embedded library: synchronous, without global state,
//! up to and including [`db`]. The feature `server` adds what listens, scrapes and discovers.
//!
//! Timestamps are `i64` milliseconds since the Unix epoch throughout; a [`model::TimeRange`] is
//! closed at both ends. All integers on disk are little-endian; `storage-format.md` is the
//! specification of every byte.

pub mod block;
pub mod chunk;
pub mod compact;
pub mod db;
pub mod disk;
pub mod encoding;
pub mod exposition;
pub mod head;
pub mod index;
pub mod model;
pub mod prometheus;
pub mod promql;
pub mod regex;
pub mod select;
pub mod wal;

#[cfg(feature = "server")]
pub mod cli;
#[cfg(feature = "server")]
pub mod config;
#[cfg(feature = "server")]
pub mod discovery;
#[cfg(feature = "server")]
pub mod http;
#[cfg(feature = "server")]
pub mod http_client;
#[cfg(feature = "server")]
pub mod protowire;
#[cfg(feature = "server")]
pub mod relabel;
#[cfg(feature = "server")]
pub mod remote;
#[cfg(feature = "server")]
pub mod scrape;
#[cfg(feature = "server")]
pub mod telemetry;
