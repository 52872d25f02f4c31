//! The blocks that a database serves: opening, publishing, letting go.
//!
//! The list is replaced as a whole, so a query sees either the blocks before a merge or the one
//! after it. INVARIANT: a block leaves the disk only after what takes its place is durable, and
//! its directory is renamed before it is emptied, so that no half of it is ever opened.
//!
//! At start leftovers are swept: directories of unfinished writes and removals, and blocks that
//! stand among the parents of another. A damaged block goes to `quarantine/`; one that the medium
//! does not read stays where it is, and queries say so.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use roaring::RoaringBitmap;

use super::tombstones::{Owner, TombstoneStore};
use super::{Event, Observer};
use crate::block::{Block, Meta, ReadCache, TEMPORARY, Ulid};
use crate::compact::Candidate;
use crate::disk::{Disk, StorageError};
use crate::model::TimeRange;

/// The blocks of one database.
#[derive(Debug)]
pub(super) struct BlockStore {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    quarantine: PathBuf,
    observer: Arc<dyn Observer>,
    /// What queries read of the blocks that are served.
    cache: Arc<ReadCache>,
    /// Ascending by [`Meta::order`]: of two samples at one time the earlier block's stands.
    list: RwLock<Arc<Vec<Arc<Block>>>>,
    /// Blocks in which damage was found; served, but not merged.
    damaged: Mutex<BTreeMap<Ulid, String>>,
    /// Blocks that are not served, and why.
    absent: Mutex<Vec<(PathBuf, String)>>,
    /// What queries have to be told.
    unreadable: Vec<String>,
    last_ulid: Mutex<Option<Ulid>>,
    tombstones: TombstoneStore,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl BlockStore {
    /// Opens what lies in `<root>/blocks`. A block of a newer format is an error.
    pub(super) fn open(
        disk: Arc<dyn Disk>,
        root: &Path,
        observer: Arc<dyn Observer>,
        cache: Arc<ReadCache>,
    ) -> Result<Self, StorageError> {
        let (tombstones, unread) = TombstoneStore::open(Arc::clone(&disk), root, Owner::Narthex)?;
        let mut store = Self {
            tombstones,
            disk,
            dir: root.join("blocks"),
            quarantine: root.join("quarantine"),
            observer,
            cache,
            list: RwLock::default(),
            damaged: Mutex::default(),
            absent: Mutex::default(),
            unreadable: Vec::new(),
            last_ulid: Mutex::default(),
        };
        let mut opened = Vec::new();
        let mut failed = Vec::new();
        let entries = store.disk.read_dir(&store.dir);
        for entry in entries.map_err(|e| StorageError::io("list", &store.dir, e))? {
            let path = store.dir.join(&entry.name);
            if entry.name.ends_with(TEMPORARY) {
                store.sweep(&path);
            } else if let Some(ulid) = Ulid::parse(&entry.name) {
                *lock(&store.last_ulid) = Some(ulid);
                match Block::open(&*store.disk, &path) {
                    Ok(block) => opened.push(Arc::new(block)),
                    Err(error @ StorageError::TooNew { .. }) => return Err(error),
                    Err(error) => failed.push((ulid, path, error)),
                }
            }
        }
        let replaced: BTreeSet<Ulid> =
            opened.iter().flat_map(|block| block.meta().parents.iter().copied()).collect();
        opened.retain(|block| !replaced.contains(&block.meta().ulid));
        opened.sort_by_key(|block| block.meta().order);
        for block in &opened {
            block.set_cache(Arc::clone(&store.cache));
        }
        store.list = RwLock::new(Arc::new(opened));
        for (ulid, path, error) in failed {
            if !replaced.contains(&ulid) {
                store.put_aside(&path, &error);
            }
        }
        for ulid in replaced {
            store.remove(ulid);
        }
        for (path, error) in unread {
            store.unreadable.push(format!("deleted samples may show: {error}"));
            store.put_aside(&path, &error);
        }
        store.attach_tombstones();
        Ok(store)
    }

    /// Gives each block its tombstones, and removes those of blocks that are nowhere.
    fn attach_tombstones(&self) {
        let list = self.list();
        for block in list.iter() {
            block.set_tombstones(self.tombstones.of(block.meta().ulid));
        }
        for ulid in self.tombstones.blocks() {
            let name = ulid.to_string();
            let places = [self.dir.join(&name), self.quarantine.join(&name)];
            if !places.iter().any(|place| self.disk.exists(place)) {
                self.remove_tombstones(ulid);
            }
        }
    }

    /// The files of tombstones of the blocks served.
    pub(super) fn tombstone_files(&self) -> Vec<PathBuf> {
        let list = self.list();
        let marked = list.iter().filter(|block| !block.tombstones().is_empty());
        marked.map(|block| self.tombstones.path(block.meta().ulid)).collect()
    }

    fn remove_tombstones(&self, ulid: Ulid) {
        if let Err(error) = self.tombstones.remove(ulid) {
            self.warn(format!("the tombstones of block {ulid} stay: {error}"));
        }
    }

    /// Hides `range` of `series` of a block, durable on return.
    pub(super) fn hide(
        &self,
        block: &Block,
        series: &RoaringBitmap,
        range: TimeRange,
    ) -> Result<(), StorageError> {
        if !series.is_empty() {
            block.set_tombstones(self.tombstones.hide(block.meta().ulid, series, range)?);
        }
        Ok(())
    }

    /// Moves a damaged block to quarantine, or leaves one that does not read where it is.
    fn put_aside(&mut self, path: &Path, error: &StorageError) {
        let is_missing = matches!(
            error,
            StorageError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound
        );
        let reason = error.to_string();
        let mut lies_at = path.to_owned();
        if is_missing || matches!(error, StorageError::Corrupt { .. }) {
            match self.quarantine(path) {
                Ok(to) => lies_at = to,
                Err(why) => self.warn(format!("{} stays in place: {why}", path.display())),
            }
        } else {
            self.unreadable.push(format!("a block cannot be read: {reason}"));
        }
        self.observer.event(&Event::Quarantined { path: lies_at.clone(), reason: reason.clone() });
        lock(&self.absent).push((lies_at, reason));
    }

    fn quarantine(&self, path: &Path) -> std::io::Result<PathBuf> {
        self.disk.create_dir_all(&self.quarantine)?;
        let name = path.file_name().unwrap_or_default();
        let mut to = self.quarantine.join(name);
        for n in 1.. {
            if !self.disk.exists(&to) {
                break;
            }
            to = self.quarantine.join(format!("{}.{n}", name.to_string_lossy()));
        }
        self.disk.rename(path, &to)?;
        self.disk.sync_dir(&self.quarantine)?;
        self.disk.sync_dir(&self.dir)?;
        Ok(to)
    }

    fn warn(&self, text: String) {
        self.observer.event(&Event::Warning(text));
    }

    /// Directory of the blocks.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The blocks at this moment.
    pub(super) fn list(&self) -> Arc<Vec<Arc<Block>>> {
        Arc::clone(&self.list.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What queries have to be told about blocks that are not served.
    pub(super) fn unreadable(&self) -> &[String] {
        &self.unreadable
    }

    /// What is not served or damaged, and why.
    pub(super) fn troubles(&self) -> Vec<(PathBuf, String)> {
        let damaged = lock(&self.damaged);
        let damaged =
            damaged.iter().map(|(ulid, why)| (self.dir.join(ulid.to_string()), why.clone()));
        lock(&self.absent).iter().cloned().chain(damaged).collect()
    }

    /// The blocks as the plans want them.
    pub(super) fn candidates(&self) -> Vec<Candidate> {
        let damaged = lock(&self.damaged);
        let candidate = |block: &Arc<Block>| Candidate {
            ulid: block.meta().ulid,
            order: block.meta().order,
            range: block.meta().range,
            bytes: block.bytes(),
            series: block.meta().series,
            series_hidden: block.tombstones().series_count(),
            is_damaged: damaged.contains_key(&block.meta().ulid),
        };
        self.list().iter().map(candidate).collect()
    }

    /// Notes that damage was found in a block; told once for each block.
    pub(super) fn note_damage(&self, block: &Block, reason: &str) {
        if lock(&self.damaged).insert(block.meta().ulid, reason.to_owned()).is_none() {
            self.warn(format!("block {} is damaged: {reason}", block.meta().ulid));
        }
    }

    /// A name above all others.
    pub(super) fn fresh_ulid(&self, now_ms: i64) -> Ulid {
        let mut last = lock(&self.last_ulid);
        let ulid = Ulid::new(now_ms, *last);
        *last = Some(ulid);
        ulid
    }

    /// Serves a block that was written, in the place of its parents, and removes these.
    pub(super) fn publish(&self, meta: &Meta) -> Result<(), StorageError> {
        let opened = Block::open(&*self.disk, &self.dir.join(meta.ulid.to_string()));
        // It must not come up at the next start, without what is deleted until then.
        let block = opened.inspect_err(|_| self.remove(meta.ulid))?;
        block.set_cache(Arc::clone(&self.cache));
        self.replace(Some(Arc::new(block)), &meta.parents);
        Ok(())
    }

    /// Removes blocks.
    pub(super) fn drop_blocks(&self, gone: &[Ulid]) {
        self.replace(None, gone);
    }

    fn replace(&self, new: Option<Arc<Block>>, gone: &[Ulid]) {
        {
            let mut list = self.list.write().unwrap_or_else(PoisonError::into_inner);
            let kept = list.iter().filter(|block| !gone.contains(&block.meta().ulid)).cloned();
            let mut next: Vec<Arc<Block>> = kept.chain(new).collect();
            next.sort_by_key(|block| block.meta().order);
            *list = Arc::new(next);
        }
        for ulid in gone {
            lock(&self.damaged).remove(ulid);
            self.remove(*ulid);
        }
    }

    /// Removes a block's directory. What fails is swept at the next start.
    fn remove(&self, ulid: Ulid) {
        let path = &self.dir.join(ulid.to_string());
        if !self.disk.exists(path) {
            return;
        }
        let mut doomed = path.as_os_str().to_owned();
        doomed.push(TEMPORARY);
        let doomed = PathBuf::from(doomed);
        let renamed = self.disk.rename(path, &doomed).and_then(|()| self.disk.sync_dir(&self.dir));
        match renamed {
            Ok(()) => {
                self.remove_tombstones(ulid);
                self.sweep(&doomed);
            }
            Err(error) => self.warn(format!("{} is not removed: {error}", path.display())),
        }
    }

    fn sweep(&self, path: &Path) {
        if let Err(error) = self.disk.remove_dir_all(path) {
            self.warn(format!("{} is not removed: {error}", path.display()));
        }
    }
}
