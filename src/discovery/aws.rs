//! What services of AWS have in common: signed requests, credentials, XML.

mod credentials;
mod metadata;
mod push;
mod shared_files;
mod sigv4;
mod xml;

pub(super) use credentials::{Account, Chain};
pub use push::PushSigner;
pub(super) use xml::Element;

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since the Unix epoch.
fn now_s() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_secs()).unwrap_or(i64::MAX)
}

/// The domain of a region's services.
pub(super) fn domain(region: &str) -> &'static str {
    if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" }
}
