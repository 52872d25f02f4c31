//! What others take of the database: how far each has come, and what is kept for them.
//!
//! One who passes samples on (a *forward*, known by its name) reads the log with a
//! [`Follower`] and notes in a [`Progress`] what its receiver has acknowledged. The log is kept
//! from there on; [`Database::forward`] goes on there after a restart.
//!
//! A follower needs the tables of its place. They are written from time to time to
//! `narthex/remote/`, for all forwards together: the newest that lie at or before the slowest are
//! where reading begins, and the log is kept from there. New ones are written only when every
//! forward has passed the newest there are, so one of the two that are kept always fits.
//!
//! INVARIANT: the log is let go only as far as progress that is on the medium.

mod progress;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Database, Shared};
use crate::disk::{Disk, StorageError};
use crate::head::{Follower, Head, LogPoint};
use crate::wal;

pub use progress::{Progress, ShardProgress};

/// Name of the directory below that of the database.
const DIR: &str = "remote";
/// How much log is passed over before tables are written anew, at least.
const TABLES_EVERY_BYTES: u64 = 32 << 20;
/// The same, as a multiple of what the tables take.
const TABLES_EVERY_TIMES: u64 = 2;

/// Who takes what.
#[derive(Debug)]
pub(super) struct Forwards {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    head: Arc<Head>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// Records below these are done, durably; by name.
    done: BTreeMap<String, u64>,
    /// Places of the tables that are there, ascending.
    tables: Vec<u64>,
    /// Bytes of those written last.
    tables_bytes: u64,
}

impl State {
    /// How far forwards came. What cannot be opened is an error: without it nobody knows what of
    /// the log they need.
    pub(super) fn read(disk: &Arc<dyn Disk>, root: &Path) -> Result<Self, StorageError> {
        let (dir, mut state) = (root.join(DIR), Self::default());
        if !disk.exists(&dir) {
            return Ok(state);
        }
        for name in names(&**disk, &dir)? {
            if let Some(shards) = progress::read(&**disk, &path_of(&dir, &name))? {
                state.done.insert(name, lowest(&shards));
            }
        }
        state.tables = tables(disk, &dir)?;
        Ok(state)
    }

    /// From where the log is needed.
    fn needed_from(&self) -> Option<u64> {
        let slowest = *self.done.values().min()?;
        let fits = self.tables.iter().rev().find(|&&at| at <= slowest);
        Some(fits.or(self.tables.first()).copied().unwrap_or(slowest))
    }
}

impl Forwards {
    /// Has the log kept for forwards that came so far.
    pub(super) fn open(disk: &Arc<dyn Disk>, root: &Path, head: &Arc<Head>, state: State) -> Self {
        head.keep_log_from(state.needed_from());
        let (disk, head) = (Arc::clone(disk), Arc::clone(head));
        Self { disk, dir: root.join(DIR), head, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A forward has come so far, durably.
    pub(super) fn reached(&self, name: &str, sequence: u64) {
        let mut state = self.state();
        if let Some(done) = state.done.get_mut(name) {
            *done = sequence.max(*done);
            self.head.keep_log_from(state.needed_from());
        }
    }

    fn open_forward(self: &Arc<Self>, name: &str) -> Result<Forward, StorageError> {
        let created = self.disk.create_dir_all(&self.dir);
        created.map_err(|e| StorageError::io("create", &self.dir, e))?;
        let path = path_of(&self.dir, name);
        let mut told = Vec::new();
        let mut state = self.state();
        if let Some(shards) = progress::read(&*self.disk, &path)? {
            let from = lowest(&shards);
            let (follower, damages) = self.head.follow_from(&self.dir, from)?;
            told.extend(damages);
            if let Some(follower) = follower {
                let progress = Progress::open(Arc::clone(self), name, path, shards)?;
                state.done.insert(name.to_owned(), from);
                self.head.keep_log_from(state.needed_from());
                return Ok(Forward { follower, progress, told });
            }
            told.push(format!("there are no tables to read the log with from record {from} on"));
        } else if self.disk.exists(&path) {
            told.push(format!("{}: damaged", path.display()));
        }
        // From now on. Until it is noted, nothing of the log may go.
        self.head.keep_log_from(Some(0));
        let opened = self.begin(name, path, &mut state, told);
        self.head.keep_log_from(state.needed_from());
        opened
    }

    fn begin(
        self: &Arc<Self>,
        name: &str,
        path: PathBuf,
        state: &mut State,
        told: Vec<String>,
    ) -> Result<Forward, StorageError> {
        let mut follower = self.head.follow()?;
        let point = follower.point();
        state.done.remove(name);
        if state.done.is_empty() || state.tables.is_empty() {
            // What nobody needs is from another time.
            self.remove_tables(state)?;
            state.tables_bytes = follower.save(&self.dir)?;
            state.tables = tables(&self.disk, &self.dir)?;
        }
        let shards = vec![ShardProgress { done: point, sending: point }];
        let progress = Progress::open(Arc::clone(self), name, path, shards)?;
        state.done.insert(name.to_owned(), point.sequence);
        Ok(Forward { follower, progress, told })
    }

    fn remove_tables(&self, state: &mut State) -> Result<(), StorageError> {
        state.tables.clear();
        let entries = self.disk.read_dir(&self.dir);
        for entry in entries.map_err(|e| StorageError::io("list", &self.dir, e))? {
            if !entry.name.ends_with(progress::EXTENSION) && !entry.is_dir {
                let path = self.dir.join(&entry.name);
                let removed = self.disk.remove_file(&path);
                removed.map_err(|e| StorageError::io("remove", &path, e))?;
            }
        }
        Ok(())
    }

    fn retain(&self, names: &[String]) -> Result<(), StorageError> {
        if !self.disk.exists(&self.dir) {
            return Ok(());
        }
        let mut state = self.state();
        for name in self::names(&*self.disk, &self.dir)?.iter().filter(|n| !names.contains(n)) {
            let path = path_of(&self.dir, name);
            let removed = self.disk.remove_file(&path);
            removed.map_err(|e| StorageError::io("remove", &path, e))?;
        }
        state.done.retain(|name, _| names.contains(name));
        if state.done.is_empty() {
            self.remove_tables(&mut state)?;
        }
        self.head.keep_log_from(state.needed_from());
        Ok(())
    }

    /// Writes the tables of this follower's place, where that lets much of the log go.
    fn save_tables(&self, follower: &mut Follower) -> Result<bool, StorageError> {
        let mut state = self.state();
        let newest = state.tables.last().copied().unwrap_or(0);
        let is_passed = state.done.values().all(|&done| done >= newest);
        let worth = TABLES_EVERY_BYTES.max(state.tables_bytes * TABLES_EVERY_TIMES);
        if !is_passed
            || follower.point().sequence <= newest
            || self.head.log_bytes_from(newest) < worth
        {
            return Ok(false);
        }
        state.tables_bytes = follower.save(&self.dir)?;
        state.tables = tables(&self.disk, &self.dir)?;
        self.head.keep_log_from(state.needed_from());
        Ok(true)
    }
}

fn path_of(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}{}", progress::EXTENSION))
}

/// Names of the forwards that have noted how far they came.
fn names(disk: &dyn Disk, dir: &Path) -> Result<Vec<String>, StorageError> {
    let entries = disk.read_dir(dir).or_else(|_| disk.read_dir(dir));
    let entries = entries.map_err(|e| StorageError::io("list", dir, e))?;
    let name = |entry: &crate::disk::Entry| {
        entry.name.strip_suffix(progress::EXTENSION).map(str::to_owned)
    };
    Ok(entries.iter().filter_map(name).collect())
}

/// Places of the tables that are there, ascending.
fn tables(disk: &Arc<dyn Disk>, dir: &Path) -> Result<Vec<u64>, StorageError> {
    let found = wal::positions(disk, dir)?;
    let mut places: Vec<u64> = found.iter().map(|position| position.sequence).collect();
    places.sort_unstable();
    Ok(places)
}

/// The record below which all is done.
fn lowest(shards: &[ShardProgress]) -> u64 {
    shards.iter().map(|shard| shard.done.sequence).min().unwrap_or(0)
}

/// A forward, ready to read on.
#[derive(Debug)]
pub struct Forward {
    /// Reads the log, from a place at or before what is not done.
    pub follower: Follower,
    /// What is done.
    pub progress: Progress,
    /// What was found amiss: something may be lost.
    pub told: Vec<String>,
}

impl Database {
    /// Passes on what is stored, to a receiver known by this name (letters, digits, `-`, `_`):
    /// what its progress does not say is done, or from now on. The log is kept for it until
    /// [`Database::retain_forwards`] leaves it out, also while the database is closed.
    pub fn forward(&self, name: &str) -> Result<Forward, StorageError> {
        let shared: &Shared = &self.inner.shared;
        shared.check_open()?;
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if name.is_empty() || !name.bytes().all(is_plain) {
            let why = std::io::Error::new(std::io::ErrorKind::InvalidInput, "not a plain name");
            return Err(StorageError::io("forward to", Path::new(name), why));
        }
        shared.forwards.open_forward(name)
    }

    /// Forgets all forwards but these, and what was kept for them.
    pub fn retain_forwards(&self, names: &[String]) -> Result<(), StorageError> {
        self.inner.shared.check_open()?;
        self.inner.shared.forwards.retain(names)
    }

    /// Writes the tables of a follower's place where that lets much of the log go; whether it
    /// did. To be called now and then by whoever follows.
    pub fn save_forward_tables(&self, follower: &mut Follower) -> Result<bool, StorageError> {
        self.inner.shared.check_open()?;
        self.inner.shared.forwards.save_tables(follower)
    }

    /// Where the log ends.
    pub fn log_end(&self) -> LogPoint {
        LogPoint { sequence: self.inner.shared.head.log_end(), index: 0 }
    }

    /// Bytes of log from the record of that number on.
    pub fn log_bytes_from(&self, sequence: u64) -> u64 {
        self.inner.shared.head.log_bytes_from(sequence)
    }

    /// The lowest place from which on the log takes at most so many bytes.
    pub fn log_point_within(&self, bytes: u64) -> LogPoint {
        let sequence = self.inner.shared.head.log_sequence_within(bytes);
        LogPoint { sequence, index: 0 }
    }

    /// Bytes that the file system of the data has in all.
    pub fn disk_bytes(&self) -> Result<u64, StorageError> {
        let shared: &Shared = &self.inner.shared;
        let total = shared.disk.total_space(&shared.path);
        total.map_err(|e| StorageError::io("measure", &shared.path, e))
    }
}

#[cfg(test)]
mod tests;
