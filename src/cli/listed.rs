//! The flags as `status/flags` tells them: what the command line left open is told as what came of
//! it, since clients read there what is in force.
//!
//! COMPAT: Prometheus writes what it settles at its start over the flags it was given.

use super::settings::Settings;
use crate::config::Config;
use crate::model::format_duration;

/// Where the longest block follows from nothing else, in milliseconds.
const BLOCK_MAX_MS: i64 = 31 * 24 * 3_600_000;

/// All flags, by name, with their values under this configuration.
pub(super) fn flags(settings: &Settings, config: &Config) -> Vec<(String, String)> {
    let mut flags = settings.flags.listed();
    let retention_ms = config.storage.retention.time_ms;
    for (name, value) in &mut flags {
        let settled = match name.as_str() {
            "web.route-prefix" => {
                let prefix = settings.http().route_prefix;
                Some(if prefix.is_empty() { "/".to_owned() } else { prefix })
            }
            _ if settings.is_agent => None,
            "storage.tsdb.retention.time" => Some(format_duration(retention_ms)),
            "storage.tsdb.max-block-duration" if value == "0s" => {
                let tenth = Some(retention_ms / 10).filter(|tenth| *tenth > 0);
                let longest = tenth.map_or(BLOCK_MAX_MS, |tenth| tenth.min(BLOCK_MAX_MS));
                Some(format_duration(longest))
            }
            _ => None,
        };
        if let Some(settled) = settled {
            *value = settled;
        }
    }
    flags
}
