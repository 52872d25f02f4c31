//! How samples are forwarded, made of the flags; what agent mode asks of them.

use super::settings::{Settings, duration};
use crate::config::Config;
use crate::db;
use crate::remote::send::{Hold, SendOptions};

/// How long an agent holds samples, at least and at most, when nobody says.
const AGENT_RETENTION_MS: (i64, i64) = (5 * 60_000, 4 * 60 * 60_000);

/// What of the log is held for receivers where nobody knows how large the disk is.
const HOLD_BYTES: u64 = 10 << 30;

impl Settings {
    /// How samples are forwarded from this database.
    pub fn sending(&self, database: &db::Database) -> SendOptions {
        let disk_bytes = database.disk_bytes().unwrap_or(0);
        let bytes = if disk_bytes == 0 { HOLD_BYTES } else { disk_bytes / 10 };
        let age_ms = if self.is_agent {
            let (min_ms, max_ms) = self.agent_retention_ms();
            max_ms.max(min_ms)
        } else {
            self.flags.duration_ms("remote.hold")
        };
        SendOptions {
            hold: Hold { age_ms, bytes },
            flush_deadline: duration(self.flags.duration_ms("storage.remote.flush-deadline")),
        }
    }

    /// How long an agent holds samples, at least and at most.
    fn agent_retention_ms(&self) -> (i64, i64) {
        let or = |name: &str, usual: i64| match self.flags.duration_ms(name) {
            0 => usual,
            ms => ms,
        };
        (
            or("storage.agent.retention.min-time", AGENT_RETENTION_MS.0),
            or("storage.agent.retention.max-time", AGENT_RETENTION_MS.1),
        )
    }

    /// What keeps a configuration from being used in this mode.
    pub fn refusal(&self, config: &Config) -> Option<String> {
        config.agent_refusal().filter(|_| self.is_agent).map(str::to_owned)
    }
}
