//! What was deleted from blocks, on disk: `narthex/tombstones/<ULID>.tomb`, one file a block, and
//! `<ULID>.prometheus.tomb` for a block that Prometheus wrote: a copy of ours has the same name and
//! other numbers of series.
//!
//! A file is replaced as a whole, by a rename, and durable before the deletion is answered.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use roaring::RoaringBitmap;

use crate::block::{TEMPORARY, TOMBSTONES_VERSION, Tombstones, Ulid};
use crate::disk::{Disk, StorageError};
use crate::model::TimeRange;

/// Who wrote the blocks, and with that numbered their series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// This program.
    Narthex,
    /// Prometheus.
    Prometheus,
}

impl Owner {
    fn ending(self) -> &'static str {
        match self {
            Self::Narthex => ".tomb",
            Self::Prometheus => ".prometheus.tomb",
        }
    }

    /// The block that a file of this name speaks of.
    pub(super) fn ulid(self, name: &str) -> Option<Ulid> {
        name.strip_suffix(self.ending()).and_then(Ulid::parse)
    }
}

/// Tombstones by block.
#[derive(Debug)]
pub(super) struct TombstoneStore {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    owner: Owner,
    by_block: RwLock<BTreeMap<Ulid, Arc<Tombstones>>>,
}

/// A file that does not read, and why.
pub(super) type Unread = (PathBuf, StorageError);

impl TombstoneStore {
    /// Reads what lies in `<root>/tombstones` for blocks of `owner`, and gives the files that do
    /// not read. A newer format is an error.
    pub(super) fn open(
        disk: Arc<dyn Disk>,
        root: &Path,
        owner: Owner,
    ) -> Result<(Self, Vec<Unread>), StorageError> {
        let dir = root.join("tombstones");
        let (mut found, mut unread) = (BTreeMap::new(), Vec::new());
        let entries = if disk.exists(&dir) {
            disk.read_dir(&dir).map_err(|e| StorageError::io("list", &dir, e))?
        } else {
            Vec::new()
        };
        for entry in entries {
            let path = dir.join(&entry.name);
            if entry.name.ends_with(TEMPORARY) {
                // What cannot be removed is replaced by the next write of its name.
                let _ = disk.remove_file(&path);
            }
            let Some(ulid) = owner.ulid(&entry.name) else { continue };
            match read(&*disk, &path) {
                Ok(tombstones) => {
                    found.insert(ulid, Arc::new(tombstones));
                }
                Err(error @ StorageError::TooNew { .. }) => return Err(error),
                Err(error) => unread.push((path, error)),
            }
        }
        Ok((Self { disk, dir, owner, by_block: RwLock::new(found) }, unread))
    }

    /// What is hidden of a block.
    pub(super) fn of(&self, block: Ulid) -> Arc<Tombstones> {
        let by_block = self.by_block.read().unwrap_or_else(PoisonError::into_inner);
        by_block.get(&block).cloned().unwrap_or_default()
    }

    /// Hides `range` of `series` of a block, durable on return. Gives all that is hidden now.
    /// The caller sees to it that there is one call at a time.
    pub(super) fn hide(
        &self,
        block: Ulid,
        series: &RoaringBitmap,
        range: TimeRange,
    ) -> Result<Arc<Tombstones>, StorageError> {
        let before = self.of(block);
        let mut after = (*before).clone();
        after.hide(series, range);
        if after == *before {
            return Ok(before);
        }
        self.write(&self.path(block), &after.encode())?;
        let after = Arc::new(after);
        let mut by_block = self.by_block.write().unwrap_or_else(PoisonError::into_inner);
        by_block.insert(block, Arc::clone(&after));
        Ok(after)
    }

    /// Forgets the tombstones of a block that is gone.
    pub(super) fn remove(&self, block: Ulid) -> Result<(), StorageError> {
        let mut by_block = self.by_block.write().unwrap_or_else(PoisonError::into_inner);
        if by_block.remove(&block).is_none() {
            return Ok(());
        }
        drop(by_block);
        let path = self.path(block);
        self.disk.remove_file(&path).map_err(|e| StorageError::io("remove", &path, e))
    }

    /// Blocks that have tombstones.
    pub(super) fn blocks(&self) -> Vec<Ulid> {
        self.by_block.read().unwrap_or_else(PoisonError::into_inner).keys().copied().collect()
    }

    /// Where the tombstones of a block stand.
    pub(super) fn path(&self, block: Ulid) -> PathBuf {
        self.dir.join(format!("{block}{}", self.owner.ending()))
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), StorageError> {
        let disk = &self.disk;
        let create = disk.create_dir_all(&self.dir);
        create.map_err(|e| StorageError::io("create", &self.dir, e))?;
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(TEMPORARY);
        let temporary = PathBuf::from(temporary);
        if disk.exists(&temporary) {
            disk.remove_file(&temporary).map_err(|e| StorageError::io("remove", &temporary, e))?;
        }
        let write = || -> Result<(), StorageError> {
            let file = disk.create(&temporary);
            let mut file = file.map_err(|e| StorageError::io("create", &temporary, e))?;
            file.append(bytes).map_err(|e| StorageError::io("append", &temporary, e))?;
            file.sync().map_err(|e| StorageError::io("sync", &temporary, e))?;
            disk.rename(&temporary, path).map_err(|e| StorageError::io("rename", path, e))?;
            disk.sync_dir(&self.dir).map_err(|e| StorageError::io("sync", &self.dir, e))
        };
        write().inspect_err(|_| {
            let _ = disk.remove_file(&temporary);
        })
    }
}

/// Reads a file of tombstones.
fn read(disk: &dyn Disk, path: &Path) -> Result<Tombstones, StorageError> {
    let file = disk.open(path).map_err(|e| StorageError::io("open", path, e))?;
    let len = file.len().map_err(|e| StorageError::io("stat", path, e))?;
    let mut bytes = vec![0; len as usize];
    file.read_at(0, &mut bytes).map_err(|e| StorageError::io("read", path, e))?;
    Tombstones::decode(&bytes).map_err(|error| match error.version {
        Some(found) => {
            StorageError::TooNew { path: path.to_owned(), found, supported: TOMBSTONES_VERSION }
        }
        None => StorageError::corrupt(path, error.at as u64, error.what),
    })
}
