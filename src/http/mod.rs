//! The HTTP API.
//!
//! [`serve`] accepts connections and hands requests to the router. Everything below is
//! synchronous: what a request asks is computed on the thread that its connection has to itself
//! (`lanes`), else on a blocking thread, and written to the socket as it is printed. The router
//! denies what is not listed.
//!
//! A request goes `server` → `front`, where `guard` keeps the door → `router` → `handlers` →
//! `params` → a function of `api` → `reply` or `stream`.

mod access;
mod api;
mod connections;
mod consoles;
mod cors;
mod counted;
mod front;
mod guard;
mod handlers;
mod health;
pub mod json;
mod lanes;
mod page;
mod params;
mod passwords;
pub mod query_log;
mod reply;
mod router;
mod rule_queries;
mod server;
mod service;
mod source;
mod stalling;
mod stream;
mod subject_names;
mod tls;
mod turns;

pub use api::targets::{DroppedTarget, MetricMetadata, TargetStatus};
pub use guard::{Guard, check_web_config};
pub use params::parse_time;
pub use server::{ServeError, bind, serve};
pub use service::{Control, Lifecycle, Service, Settings};
pub use subject_names::subject_names;
