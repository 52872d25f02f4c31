//! Removing data of Prometheus: only when somebody asks for it.

use std::sync::atomic::Ordering;

use super::{HEAD_DIRS, Takeover, block_names, lock};
use crate::block::Ulid;
use crate::db::{Database, Shared};
use crate::disk::StorageError;
use crate::prometheus::BlockMeta;

/// What is to be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freed {
    /// Blocks that end more than so many milliseconds before the newest data, and those that were
    /// copied into ours.
    Expired {
        /// How long data is kept; 0: for ever, so that only copies go.
        retention_ms: i64,
    },
    /// All blocks and the log, copied or not.
    Everything,
}

/// Something that is removed, or would be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FreedPart {
    /// Name of the directory below the data path.
    pub name: String,
    /// Its bytes.
    pub bytes: u64,
    /// Whether its samples are in blocks or the head of ours.
    pub is_copied: bool,
}

impl Database {
    /// Removes data of Prometheus at the data path, and gives what it was; with `is_dry` it only
    /// gives what would be removed. Exports of ours are not touched.
    pub fn drop_prometheus(
        &self,
        what: Freed,
        is_dry: bool,
    ) -> Result<Vec<FreedPart>, StorageError> {
        self.inner.shared.drop_prometheus(what, is_dry)
    }
}

impl Shared {
    fn drop_prometheus(&self, what: Freed, is_dry: bool) -> Result<Vec<FreedPart>, StorageError> {
        let _maintenance = self.maintenance_lock();
        self.check_open()?;
        let (imported, exported) = {
            let state = lock(&self.takeover.state);
            (state.imported.clone(), state.exported.clone())
        };
        let newest = [self.takeover.newest_ms(), self.head.time_range().map(|range| range.max_ms)];
        let in_blocks = self.blocks.list().iter().map(|block| block.meta().range.max_ms).max();
        let newest_ms = newest.into_iter().flatten().chain(in_blocks).max();
        let mut parts = Vec::new();
        for ulid in block_names(&*self.disk, &self.path)? {
            if exported.contains_key(&ulid) {
                continue;
            }
            let is_copied = imported.contains(&ulid);
            let is_past = match (what, newest_ms) {
                (Freed::Everything, _) => true,
                (Freed::Expired { retention_ms }, Some(newest_ms)) if retention_ms > 0 => {
                    let meta = BlockMeta::read(&*self.disk, &self.path.join(ulid.to_string()));
                    let border_ms = newest_ms.saturating_sub(retention_ms);
                    meta.is_ok_and(|meta| meta.range.max_ms < border_ms)
                }
                _ => false,
            };
            if is_copied || is_past {
                parts.push(self.part(&ulid.to_string(), is_copied)?);
            }
        }
        if what == Freed::Everything {
            for name in HEAD_DIRS.iter().filter(|name| self.disk.exists(&self.path.join(name))) {
                let is_copied = self.takeover.is_log_read.load(Ordering::Acquire);
                parts.push(self.part(name, is_copied)?);
            }
        }
        if !is_dry {
            for part in &parts {
                self.free(&part.name)?;
            }
        }
        Ok(parts)
    }

    fn part(&self, name: &str, is_copied: bool) -> Result<FreedPart, StorageError> {
        let mut bytes = 0;
        let mut dirs = vec![self.path.join(name)];
        while let Some(dir) = dirs.pop() {
            let entries = self.disk.read_dir(&dir);
            for entry in entries.map_err(|e| StorageError::io("list", &dir, e))? {
                bytes += entry.len;
                if entry.is_dir {
                    dirs.push(dir.join(&entry.name));
                }
            }
        }
        Ok(FreedPart { name: name.to_owned(), bytes, is_copied })
    }

    fn free(&self, name: &str) -> Result<(), StorageError> {
        let (dir, doomed) =
            (self.path.join(name), self.path.join(format!("{name}.tmp-for-deletion")));
        if let Some(ulid) = Ulid::parse(name) {
            self.takeover.forget(ulid);
        }
        if self.disk.exists(&doomed) {
            let removed = self.disk.remove_dir_all(&doomed);
            removed.map_err(|e| StorageError::io("remove", &doomed, e))?;
        }
        let renamed = self.disk.rename(&dir, &doomed);
        renamed.map_err(|e| StorageError::io("rename", &dir, e))?;
        let synced = self.disk.sync_dir(&self.path);
        synced.map_err(|e| StorageError::io("sync", &self.path, e))?;
        let removed = self.disk.remove_dir_all(&doomed);
        removed.map_err(|e| StorageError::io("remove", &doomed, e))?;
        if let Some(ulid) = Ulid::parse(name) {
            self.remember(|state| {
                state.imported.remove(&ulid);
            })?;
        }
        Ok(())
    }
}

impl Takeover {
    /// No longer serves a block.
    pub(super) fn forget(&self, ulid: Ulid) {
        let list = self.list();
        let kept = list.iter().filter(|block| block.meta().ulid != ulid).cloned().collect();
        self.replace(kept);
    }
}
