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

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use super::{Event, Observer};
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
    list: RwLock<Arc<Vec<Arc<Block>>>>,
    shelved: Mutex<Shelved>,
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
    /// Looks for blocks and a log of Prometheus in `data` and takes its lock where there are any,
    /// or `with_lock`. Its being held by a running Prometheus is [`StorageError::Locked`].
    pub(super) fn open(
        disk: &Arc<dyn Disk>,
        data: &Path,
        root: &Path,
        with_lock: bool,
        observer: &Arc<dyn Observer>,
    ) -> Result<Self, StorageError> {
        let state = State::read(&**disk, root).or_else(|error| match error {
            StorageError::Corrupt { .. } => {
                put_aside(&**disk, root, &error, observer)?;
                Ok(State::default())
            }
            other => Err(other),
        })?;
        let names = block_names(&**disk, data)?;
        let has_log = HEAD_DIRS.iter().any(|dir| disk.exists(&data.join(dir)));
        let path = data.join(LOCK_FILE);
        let is_lock_ours = !disk.exists(&path);
        let guard = if with_lock || has_log || !names.is_empty() {
            Some(disk.lock(&path).map_err(|e| match e.kind() {
                std::io::ErrorKind::WouldBlock => StorageError::Locked(data.to_owned()),
                _ => StorageError::io("lock", &path, e),
            })?)
        } else {
            None
        };
        let takeover = Self {
            disk: Arc::clone(disk),
            data: data.to_owned(),
            observer: Arc::clone(observer),
            lock: Mutex::new(guard),
            is_lock_ours,
            state: Mutex::new(state),
            list: RwLock::default(),
            shelved: Mutex::default(),
            is_log_read: AtomicBool::new(false),
            troubles: Mutex::default(),
        };
        takeover.open_blocks(&names);
        Ok(takeover)
    }

    /// Opens the blocks that Prometheus would serve and that are not copies of what we have.
    fn open_blocks(&self, names: &[Ulid]) {
        let known = {
            let state = lock(&self.state);
            let known = state.imported.iter().chain(state.exported.keys());
            known.copied().collect::<BTreeSet<Ulid>>()
        };
        let mut metas: Vec<BlockMeta> = Vec::new();
        for ulid in names.iter().filter(|ulid| !known.contains(ulid)) {
            let dir = self.data.join(ulid.to_string());
            match BlockMeta::read(&*self.disk, &dir) {
                Ok(meta) => metas.push(meta),
                Err(error) => self.leave_out(dir, &error),
            }
        }
        // Prometheus removes what was merged into another block at its next start.
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
        self.replace(opened);
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
        let mut shelved = lock(&self.shelved);
        shelved.blocks += past.len() as u64;
        shelved.bytes += past.iter().map(|b| b.index_bytes() + b.chunk_bytes()).sum::<u64>();
        let Shelved { blocks, bytes } = *shelved;
        drop(shelved);
        self.observer.event(&Event::Warning(format!(
            "{blocks} blocks of Prometheus are past retention and no longer served; \
             `narthex tool tsdb drop-prometheus` frees their {bytes} bytes"
        )));
    }

    /// Blocks past retention.
    pub(super) fn shelved(&self) -> Shelved {
        *lock(&self.shelved)
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
