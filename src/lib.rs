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
//! A service that keeps its metrics by itself needs what stands at the root:
//!
//! ```
//! use narthex::{Database, Labels, Options, Value};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! let db = Database::open(folder.path(), Options::default())?;
//! let labels = Labels::from_pairs([("__name__", "jobs_done_total"), ("queue", "mail")]);
//! let t_ms = 1_700_000_000_000;
//! db.append(&labels, t_ms, 40.0)??;
//! db.append(&labels, t_ms + 60_000, 100.0)??;
//!
//! let answer = db.query("increase(jobs_done_total[2m])", t_ms + 60_000)?;
//! let Value::Vector(series) = answer.value else { panic!("a vector was asked for") };
//! assert_eq!(series[0].labels.get("queue"), Some("mail"));
//! db.close()?;
//! # Ok(())
//! # }
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

pub use db::{
    Appender, Cleaned, Database, Event, Observer, Options, QueryTextError, Retention, Silent, Stats,
};
pub use disk::StorageError;
pub use head::{AppendError, CommitOutcome, GroupKey, SeriesRef};
pub use model::{Labels, MatchOp, Matcher, Samples, TimeRange};
pub use promql::engine::{QueryRange, QueryResult, Value};
pub use select::{Cancellation, Queryable, SelectError, SeriesSet};

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
pub mod notifier;
#[cfg(feature = "server")]
pub mod protowire;
#[cfg(feature = "server")]
pub mod relabel;
#[cfg(feature = "server")]
pub mod remote;
#[cfg(feature = "server")]
pub mod rules;
#[cfg(feature = "server")]
pub mod scrape;
#[cfg(feature = "server")]
pub mod telemetry;
#[cfg(feature = "server")]
pub mod template;
