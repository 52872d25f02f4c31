//! A directory of Prometheus at the data path, taken over where it lies.
//!
//! Its blocks are served beside ours, its log is imported into the head once (`log.rs`). Nothing
//! of it is deleted, moved, repaired or rewritten, so Prometheus can be started on it again; as
//! long as we are there, we hold its lock. What does not read is told, left out, and left where
//! it is. What is known of it (how far its log is imported, which blocks were copied, which blocks
//! at the data path are exports of ours, what was deleted) stands in `narthex/prometheus`
//! (`state.rs`), and what is hidden of each block in `narthex/tombstones` (`deletions.rs`).

mod copy;
mod deletions;
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

use super::tombstones::{Owner, TombstoneStore};
use super::{Event, Observer, Shared};
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
    /// Our own directory.
    root: PathBuf,
    /// Whether its blocks are served, and not only read for an import.
    is_served: bool,
    observer: Arc<dyn Observer>,
    lock: Mutex<Option<Box<dyn LockGuard>>>,
    /// Whether nobody had left the lock's file behind.
    is_clean_start: bool,
    state: Mutex<State>,
    tombstones: TombstoneStore,
    /// What lay there at the last look.
    names: Mutex<Option<BTreeSet<Ulid>>>,
    list: RwLock<Arc<Vec<Arc<Block>>>>,
    /// Blocks past retention.
    shelved: Mutex<BTreeMap<Ulid, Shelf>>,
    /// Whether the log is imported as far as it goes.
    is_log_read: AtomicBool,
    /// Blocks that are not served or in which damage was found, and why.
    troubles: Mutex<Vec<(PathBuf, String)>>,
}

/// A block past retention.
#[derive(Debug)]
struct Shelf {
    bytes: u64,
    /// Its name, and the blocks that it was made of.
    sources: Vec<Ulid>,
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
    /// none. `is_served`: not only for an import.
    pub(super) fn open(
        disk: &Arc<dyn Disk>,
        data: &Path,
        root: &Path,
        is_served: bool,
        observer: &Arc<dyn Observer>,
    ) -> Result<Self, StorageError> {
        let path = data.join(LOCK_FILE);
        let is_clean_start = !disk.exists(&path);
        let guard = match disk.lock(&path) {
            Ok(guard) => Some(guard),
            Err(e) => match e.kind() {
                ErrorKind::WouldBlock => return Err(StorageError::Locked(data.to_owned())),
                ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied => None,
                _ => return Err(StorageError::io("lock", &path, e)),
            },
        };
        let mut state = State::read(&**disk, root).or_else(|error| match error {
            StorageError::Corrupt { .. } => {
                put_aside(&**disk, root, &root.join(state::FILE), &error, observer)?;
                Ok(State::default())
            }
            other => Err(other),
        })?;
        let (tombstones, unread) = TombstoneStore::open(Arc::clone(disk), root, Owner::Prometheus)?;
        for (path, error) in unread {
            // What is remembered of deletions makes up for it.
            put_aside(&**disk, root, &path, &error, observer)?;
            let name = path.file_name().and_then(|name| name.to_str());
            if let Some(ulid) = name.and_then(|name| Owner::Prometheus.ulid(name)) {
                state.known.remove(&ulid);
            }
        }
        let takeover = Self {
            disk: Arc::clone(disk),
            data: data.to_owned(),
            root: root.to_owned(),
            is_served,
            tombstones,
            observer: Arc::clone(observer),
            lock: Mutex::new(guard),
            is_clean_start,
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
    /// we have, and no exports. The caller sees to it that nothing
    /// is deleted meanwhile.
    pub(super) fn scan(&self) -> Result<(), StorageError> {
        let mut names: BTreeSet<Ulid> = block_names(&*self.disk, &self.data)?.into_iter().collect();
        {
            let state = lock(&self.state);
            names.retain(|u| !state.imported.contains(u) && !state.exported.contains_key(u));
        }
        let mut seen = lock(&self.names);
        if seen.as_ref() == Some(&names) {
            return Ok(());
        }
        let before = seen.clone().unwrap_or_default();
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
        if self.is_served {
            for block in opened.iter().filter(|block| !before.contains(&block.meta().ulid)) {
                self.hide_missed(block);
            }
        }
        self.replace(opened);
        if self.is_served
            && let Err(error) = self.settle_deletions(&names)
        {
            // It is written with the next change.
            let text = format!("what is remembered of deletions is not up to date: {error}");
            self.observer.event(&Event::Warning(text));
        }
        *seen = Some(names);
        Ok(())
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

    /// Changes what is remembered; durable on return.
    fn remember(&self, change: impl FnOnce(&mut State)) -> Result<(), StorageError> {
        // Held until it is written, so that nothing older is written after it.
        let mut state = lock(&self.state);
        let mut next = state.clone();
        change(&mut next);
        next.write(&*self.disk, &self.root)?;
        *state = next;
        Ok(())
    }

    /// The file of tombstones of a block.
    pub(super) fn tombstone_file_of(&self, block: Ulid) -> PathBuf {
        self.tombstones.path(block)
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
            shelved.extend(past.iter().map(|block| {
                let sources = deletions::ancestors(block.meta()).collect();
                (block.meta().ulid, Shelf { bytes: bytes(block), sources })
            }));
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
        Shelved {
            blocks: shelved.len() as u64,
            bytes: shelved.values().map(|shelf| shelf.bytes).sum(),
        }
    }

    /// Whether whoever was here before let the directory go, or nobody was.
    pub(super) fn is_clean_start(&self) -> bool {
        self.is_clean_start
    }

    /// Lets the lock go and removes its file, as Prometheus does.
    pub(super) fn close(&self) {
        let guard = lock(&self.lock).take();
        if guard.is_some() {
            // One that stays only makes the next one, or Prometheus, say that it did.
            let _ = self.disk.remove_file(&self.data.join(LOCK_FILE));
        }
        drop(guard);
    }
}

impl Shared {
    /// Changes what is remembered; durable on return.
    fn remember(&self, change: impl FnOnce(&mut State)) -> Result<(), StorageError> {
        self.takeover.remember(change)
    }
}

/// Moves a file of ours that does not check to quarantine. Without what is remembered the log is
/// imported once more and exports are served beside what they were made of: equal samples merge.
fn put_aside(
    disk: &dyn Disk,
    root: &Path,
    from: &Path,
    error: &StorageError,
    observer: &Arc<dyn Observer>,
) -> Result<(), StorageError> {
    let dir = root.join("quarantine");
    let to = dir.join(from.file_name().unwrap_or_default());
    let moved = disk.create_dir_all(&dir).and_then(|()| disk.rename(from, &to));
    moved.map_err(|e| StorageError::io("rename", from, e))?;
    observer.event(&Event::Quarantined { path: to, reason: error.to_string() });
    Ok(())
}

/// Directories of blocks in `data`.
fn block_names(disk: &dyn Disk, data: &Path) -> Result<Vec<Ulid>, StorageError> {
    let entries = disk.read_dir(data).map_err(|e| StorageError::io("list", data, e))?;
    let dirs = entries.iter().filter(|entry| entry.is_dir);
    Ok(dirs.filter_map(|entry| Ulid::parse(&entry.name)).collect())
}
