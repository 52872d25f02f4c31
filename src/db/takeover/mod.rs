//! A directory of Prometheus at the data path, taken over where it lies.
//!
//! Its blocks are served beside ours, its log is imported into the head once (`log.rs`). Nothing
//! of it is deleted, moved, repaired or rewritten, so Prometheus can be started on it again; as
//! long as we are there, we hold its lock. What does not read is told, left out, and left where
//! it is. What is known of it (how far its log is imported, which blocks were copied, which blocks
//! at the data path are exports of ours) stands in `narthex/prometheus` (`state.rs`).

mod copy;
mod export;
mod free;
mod log;
mod overflow;
mod state;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use super::{Event, Observer, ROOT, Shared};
use crate::block::Ulid;
use crate::disk::{Disk, LockGuard, StorageError};
use crate::prometheus::{Block, BlockMeta};

pub use copy::{ImportProgress, PrometheusImport};
pub use free::{Freed, FreedPart};
pub use log::LogImport;
use state::State;

/// Name of Prometheus's lock file.
const LOCK_FILE: &str = "lock";
/// Directories that a head of Prometheus has.
const HEAD_DIRS: [&str; 3] = ["wal", "wbl", "chunks_head"];

/// Blocks of Prometheus that are served, and those that are not.
#[derive(Debug)]
pub(super) struct Takeover {
    disk: Arc<dyn Disk>,
    data: PathBuf,
    observer: Arc<dyn Observer>,
    lock: Mutex<Option<Box<dyn LockGuard>>>,
    is_lock_ours: bool,
    state: Mutex<State>,
    /// What lay there at the last look.
    names: Mutex<BTreeSet<Ulid>>,
    list: RwLock<Arc<Vec<Arc<Block>>>>,
    /// Blocks past retention, and their bytes.
    shelved: Mutex<BTreeMap<Ulid, u64>>,
    /// Whether the log is imported as far as it goes.
    is_log_read: AtomicBool,
    /// Blocks that are not served or in which damage was found, and why.
    troubles: Mutex<Vec<(PathBuf, String)>>,
}

/// Blocks past retention: they stay, and are not served.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Shelved {
    /// How many.
    pub blocks: u64,
    /// Their bytes.
    pub bytes: u64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Takeover {
    /// Takes Prometheus's lock on `data`, and opens the blocks that it has there. Its being held
    /// by a running Prometheus is [`StorageError::Locked`]; a place where nobody can write needs
    /// none.
    pub(super) fn open(
        disk: &Arc<dyn Disk>,
        data: &Path,
        root: &Path,
        observer: &Arc<dyn Observer>,
    ) -> Result<Self, StorageError> {
        let path = data.join(LOCK_FILE);
        let is_lock_ours = !disk.exists(&path);
        let guard = match disk.lock(&path) {
            Ok(guard) => Some(guard),
            Err(e) => match e.kind() {
                ErrorKind::WouldBlock => return Err(StorageError::Locked(data.to_owned())),
                ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied => None,
                _ => return Err(StorageError::io("lock", &path, e)),
            },
        };
        let state = State::read(&**disk, root).or_else(|error| match error {
            StorageError::Corrupt { .. } => {
                put_aside(&**disk, root, &error, observer)?;
                Ok(State::default())
            }
            other => Err(other),
        })?;
        let takeover = Self {
            disk: Arc::clone(disk),
            data: data.to_owned(),
            observer: Arc::clone(observer),
            lock: Mutex::new(guard),
            is_lock_ours,
            state: Mutex::new(state),
            names: Mutex::default(),
            list: RwLock::default(),
            shelved: Mutex::default(),
            is_log_read: AtomicBool::new(false),
            troubles: Mutex::default(),
        };
        takeover.scan()?;
        Ok(takeover)
    }

    /// Looks which blocks are there: others may have put some (`promtool tsdb create-blocks-from`
    /// does) or removed some. Opens those that Prometheus would serve, that are no copies of what
    /// we have, and no exports. Gives whether anything has changed.
    pub(super) fn scan(&self) -> Result<bool, StorageError> {
        let mut names: BTreeSet<Ulid> = block_names(&*self.disk, &self.data)?.into_iter().collect();
        {
            let state = lock(&self.state);
            names.retain(|u| !state.imported.contains(u) && !state.exported.contains_key(u));
        }
        let mut before = lock(&self.names);
        if *before == names {
            return Ok(false);
        }
        let list = self.list();
        lock(&self.troubles).retain(|(dir, _)| {
            let ulid = dir.file_name().and_then(|name| Ulid::parse(name.to_str()?));
            ulid.is_some_and(|ulid| names.contains(&ulid) && before.contains(&ulid))
        });
        lock(&self.shelved).retain(|ulid, _| names.contains(ulid));
        let kept = list.iter().filter(|block| names.contains(&block.meta().ulid)).cloned();
        let mut opened: Vec<Arc<Block>> = kept.collect();
        opened.extend(self.open_blocks(names.difference(&before)));
        // Prometheus removes what was merged into another block at its next start.
        let replaced: BTreeSet<Ulid> =
            opened.iter().flat_map(|block| block.meta().parents.iter().copied()).collect();
        opened.retain(|block| !replaced.contains(&block.meta().ulid));
        opened.sort_by_key(|block| block.meta().ulid);
        self.replace(opened);
        *before = names;
        Ok(true)
    }

    fn open_blocks<'a>(&self, names: impl Iterator<Item = &'a Ulid>) -> Vec<Arc<Block>> {
        let mut metas: Vec<BlockMeta> = Vec::new();
        for ulid in names {
            let dir = self.data.join(ulid.to_string());
            match BlockMeta::read(&*self.disk, &dir) {
                Ok(meta) => metas.push(meta),
                Err(error) => self.leave_out(dir, &error),
            }
        }
        let replaced: BTreeSet<Ulid> =
            metas.iter().flat_map(|meta| meta.parents.iter().copied()).collect();
        metas.retain(|meta| !replaced.contains(&meta.ulid) && !meta.is_deletable);
        let mut opened = Vec::new();
        for meta in metas {
            let dir = self.data.join(meta.ulid.to_string());
            match Block::open(&*self.disk, &dir) {
                Ok(block) => opened.push(Arc::new(block)),
                Err(error) => self.leave_out(dir, &error),
            }
        }
        opened
    }

    fn replace(&self, list: Vec<Arc<Block>>) {
        *self.list.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(list);
    }

    fn leave_out(&self, dir: PathBuf, error: &StorageError) {
        let why = format!("{error}; this block of Prometheus is left out, and left as it is");
        self.observer.event(&Event::Warning(why));
        lock(&self.troubles).push((dir, error.to_string()));
    }

    /// The blocks that are served at this moment.
    pub(super) fn list(&self) -> Arc<Vec<Arc<Block>>> {
        Arc::clone(&self.list.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What is not served or damaged, and why.
    pub(super) fn troubles(&self) -> Vec<(PathBuf, String)> {
        lock(&self.troubles).clone()
    }

    /// Notes that damage was found in a block; told once for each block.
    pub(super) fn note_damage(&self, block: &Block, error: &StorageError) {
        let mut troubles = lock(&self.troubles);
        if !troubles.iter().any(|(dir, _)| dir == block.dir()) {
            troubles.push((block.dir().to_owned(), error.to_string()));
            drop(troubles);
            let why = format!("{error}; this part of a block of Prometheus is left out");
            self.observer.event(&Event::Warning(why));
        }
    }

    /// Newest time in the blocks.
    pub(super) fn newest_ms(&self) -> Option<i64> {
        self.list().iter().map(|block| block.meta().range.max_ms).max()
    }

    /// No longer serves blocks that end below `border_ms`. Their bytes stay.
    pub(super) fn shelve(&self, border_ms: i64) {
        let list = self.list();
        let is_past = |block: &&Arc<Block>| block.meta().range.max_ms < border_ms;
        let past: Vec<_> = list.iter().filter(is_past).collect();
        if past.is_empty() {
            return;
        }
        self.replace(list.iter().filter(|block| !is_past(block)).cloned().collect());
        {
            let mut shelved = lock(&self.shelved);
            let bytes = |block: &Block| block.index_bytes() + block.chunk_bytes();
            shelved.extend(past.iter().map(|block| (block.meta().ulid, bytes(block))));
        }
        let Shelved { blocks, bytes } = self.shelved();
        self.observer.event(&Event::Warning(format!(
            "{blocks} blocks of Prometheus are past retention and no longer served; \
             `narthex tool tsdb drop-prometheus` frees their {bytes} bytes"
        )));
    }

    /// Blocks past retention.
    pub(super) fn shelved(&self) -> Shelved {
        let shelved = lock(&self.shelved);
        Shelved { blocks: shelved.len() as u64, bytes: shelved.values().sum() }
    }

    /// Lets the lock go, as Prometheus does.
    pub(super) fn close(&self) {
        let guard = lock(&self.lock).take();
        if guard.is_some() && self.is_lock_ours {
            // One that stays only makes Prometheus say that it did.
            let _ = self.disk.remove_file(&self.data.join(LOCK_FILE));
        }
        drop(guard);
    }
}

impl Shared {
    /// Changes what is remembered; durable on return.
    fn remember(&self, change: impl FnOnce(&mut State)) -> Result<(), StorageError> {
        // Held until it is written, so that nothing older is written after it.
        let mut state = lock(&self.takeover.state);
        change(&mut state);
        state.write(&*self.disk, &self.path.join(ROOT))
    }
}

/// Moves the file of what is remembered to quarantine. Without it the log is imported once more
/// and exports are served beside what they were made of: equal samples merge.
fn put_aside(
    disk: &dyn Disk,
    root: &Path,
    error: &StorageError,
    observer: &Arc<dyn Observer>,
) -> Result<(), StorageError> {
    let (from, dir) = (root.join(state::FILE), root.join("quarantine"));
    let to = dir.join(state::FILE);
    let moved = disk.create_dir_all(&dir).and_then(|()| disk.rename(&from, &to));
    moved.map_err(|e| StorageError::io("rename", &from, e))?;
    observer.event(&Event::Quarantined { path: to, reason: error.to_string() });
    Ok(())
}

/// Directories of blocks in `data`.
fn block_names(disk: &dyn Disk, data: &Path) -> Result<Vec<Ulid>, StorageError> {
    let entries = disk.read_dir(data).map_err(|e| StorageError::io("list", data, e))?;
    let dirs = entries.iter().filter(|entry| entry.is_dir);
    Ok(dirs.filter_map(|entry| Ulid::parse(&entry.name)).collect())
}
