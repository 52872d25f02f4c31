//! Reloads by themselves: the files of the configuration are looked at again and again, and once
//! they are not those in force any more the configuration is reloaded.
//!
//! COMPAT: a reload that failed is tried again at each look, since what was wrong may lie in a
//! file that is not watched.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::spawn_blocking;

use super::process::Process;
use super::settings::{Settings, duration};
use crate::config::{ConfigError, Fingerprint, fingerprint};

/// Shortest time between two looks.
const INTERVAL_MIN: Duration = Duration::from_secs(1);

/// Which files are watched, and how they were when the configuration in force was read.
#[derive(Debug)]
pub(super) struct AutoReload {
    file: PathBuf,
    interval: Duration,
    in_force: Mutex<Option<Fingerprint>>,
}

impl AutoReload {
    /// As the flags say; the files are looked at for the first time. `None`: nothing is watched.
    pub(super) fn new(settings: &Settings) -> Option<Self> {
        let file = settings.config_file.clone().filter(|_| settings.reloads_by_itself())?;
        let interval = duration(settings.flags.duration_ms("config.auto-reload-interval"));
        let interval = interval.max(INTERVAL_MIN);
        tracing::info!(?interval, "The configuration is reloaded when its files change");
        // What cannot be read now ends the start, or shows at the first look.
        let in_force = Mutex::new(fingerprint(&file).ok());
        Some(Self { file, interval, in_force })
    }

    /// How the files are now.
    pub(super) fn look(&self) -> Result<Fingerprint, ConfigError> {
        fingerprint(&self.file)
    }

    /// The files were so before the configuration that is now in force was read.
    pub(super) fn take(&self, seen: Option<Fingerprint>) {
        *self.in_force.lock().unwrap_or_else(PoisonError::into_inner) = seen;
    }

    fn has_changed(&self) -> bool {
        let in_force = *self.in_force.lock().unwrap_or_else(PoisonError::into_inner);
        match self.look() {
            Ok(now) => Some(now) != in_force,
            Err(error) => {
                // Whatever comes next is a change.
                self.take(None);
                tracing::error!(err = %error, "Looking at the files of the configuration failed");
                true
            }
        }
    }
}

impl Process {
    /// Waits until it is time to look at the files again; for ever where nothing is watched.
    pub(super) async fn time_to_look(&self) {
        match &self.auto_reload {
            Some(auto_reload) => tokio::time::sleep(auto_reload.interval).await,
            None => std::future::pending().await,
        }
    }

    /// Reloads where the files have changed. Its outcome is logged and shown by the metrics.
    pub(super) async fn reload_if_changed(self: &Arc<Self>) {
        let process = Arc::clone(self);
        let look = spawn_blocking(move || {
            if process.auto_reload.as_ref().is_some_and(AutoReload::has_changed) {
                tracing::info!("The files of the configuration have changed");
                // It has been logged.
                let _ = process.reload_config();
            }
        });
        // It cannot be broken off, and a panic in it has been told.
        let _ = look.await;
    }
}
