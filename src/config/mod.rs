//! The configuration file: plain data, Prometheus's defaults and checks.
//!
//! What is here has been validated and has every default filled in; who uses it turns its own
//! section into behaviour. Sections and mechanisms that the server does not act on yet are
//! parsed and checked all the same, and [`Config::inactive`] names them.
//!
//! Durations are milliseconds. A limit of 0 is no limit.

mod global;
mod scrape;
mod secret;

pub use global::GlobalConfig;
pub use scrape::{FileDiscovery, HttpClientConfig, ScrapeConfig, ScrapeProtocol, StaticTargets};
pub use secret::Secret;
