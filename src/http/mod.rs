//! The HTTP API.
//!
//! [`serve`] accepts connections and hands requests to the router; what a request asks is
//! computed on blocking threads, because everything below is synchronous, and written to the
//! socket as it is printed. The router denies what is not listed.
//!
//! A request goes `server` → `router` → `params` → a function of `api` → `reply` or `stream`.

mod api;
mod cors;
mod counted;
mod health;
pub mod json;
mod page;
mod params;
pub mod query_log;
mod reply;
mod router;
mod server;
mod service;
mod stream;
mod turns;

pub use api::targets::{DroppedTarget, MetricMetadata, TargetStatus};
pub use params::parse_time;
pub use server::{ServeError, bind, serve};
pub use service::{Control, Lifecycle, Service, Settings};
