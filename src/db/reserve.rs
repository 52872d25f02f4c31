//! Room on the disk for the work that makes room.
//!
//! A file of zeros, given up where the disk is full: with the room that it held, the head is
//! sealed, the log cut, what is past retention removed. Until it can be taken back, commits are
//! refused, so that they do not eat it up. INVARIANT: commits are taken only while it is held, or
//! where the disk refused it for another reason than want of room.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::disk::{Disk, StorageError, is_disk_full};

/// Name of the file in the database's directory.
const NAME: &str = "reserve";

/// How many times its size must be free before it is taken back: what is left over is for commits.
const ROOM_FACTOR: u64 = 2;

/// How many times its least size it may have.
const GROWTH_MAX: u64 = 16;

/// The file, or what became of it.
#[derive(Debug)]
pub(super) struct Reserve {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It is there, with so many bytes.
    Held(u64),
    /// The disk is full, and it was given up or never there.
    GivenUp,
    /// None is wanted, or the disk refuses it for another reason.
    None,
}

impl Reserve {
    /// No reserve, for good.
    pub(super) fn none(disk: Arc<dyn Disk>, dir: &Path) -> Self {
        let (dir, path) = (dir.to_owned(), dir.join(NAME));
        Self { disk, dir, path, state: Mutex::new(State::None) }
    }

    /// Takes over what lies in `dir`, or takes `bytes`; 0 for none.
    pub(super) fn open(disk: Arc<dyn Disk>, dir: &Path, bytes: u64) -> Result<Self, StorageError> {
        let reserve = Self::none(disk, dir);
        let found = reserve.found()?;
        // It may have grown in the process before.
        if let Some(found) = found.filter(|found| (bytes..=bytes * GROWTH_MAX).contains(found))
            && bytes > 0
        {
            *reserve.state() = State::Held(found);
            return Ok(reserve);
        }
        if found.is_some() {
            reserve.remove()?;
        }
        if bytes > 0 {
            // As if it had been given up: the process before may have done so.
            *reserve.state() = State::GivenUp;
            reserve.regain(bytes)?;
        }
        Ok(reserve)
    }

    /// The directory that it lies in, the database's own.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Bytes that it holds.
    pub(super) fn bytes(&self) -> u64 {
        match *self.state() {
            State::Held(bytes) => bytes,
            State::GivenUp | State::None => 0,
        }
    }

    /// Whether the disk is, or was, too full for it, so that commits have to wait.
    pub(super) fn is_given_up(&self) -> bool {
        *self.state() == State::GivenUp
    }

    /// Lets it go. `false` where it was not held.
    pub(super) fn give_up(&self) -> Result<bool, StorageError> {
        if !matches!(*self.state(), State::Held(_)) {
            return Ok(false);
        }
        self.remove()?;
        *self.state() = State::GivenUp;
        Ok(true)
    }

    /// Makes it `bytes` long where it is much shorter and the disk has plenty.
    pub(super) fn grow(&self, bytes: u64, bytes_min: u64) -> Result<(), StorageError> {
        let bytes = bytes.min(bytes_min.saturating_mul(GROWTH_MAX));
        let held = self.bytes();
        if held == 0 || held.saturating_mul(2) > bytes || !self.has_room(bytes)? {
            return Ok(());
        }
        self.remove()?;
        self.take(bytes)
    }

    /// Takes `bytes` where that leaves as much again free. Whether it is held now.
    pub(super) fn regain(&self, bytes: u64) -> Result<bool, StorageError> {
        if self.is_given_up() && self.has_room(bytes)? {
            self.take(bytes)?;
        }
        Ok(!self.is_given_up())
    }

    /// Whether the disk has as much free as [`Reserve::regain`] would want.
    pub(super) fn has_room(&self, bytes: u64) -> Result<bool, StorageError> {
        let free = self.disk.free_space(&self.dir);
        let free = free.map_err(|e| StorageError::io("ask for the free space of", &self.dir, e))?;
        Ok(free >= bytes.saturating_mul(ROOM_FACTOR))
    }

    fn take(&self, bytes: u64) -> Result<(), StorageError> {
        match self.disk.allocate(&self.path, bytes) {
            Ok(()) => {
                *self.state() = State::Held(bytes);
                Ok(())
            }
            Err(error) => {
                *self.state() = if is_disk_full(&error) { State::GivenUp } else { State::None };
                // A part of it would be in the way of the next attempt.
                if self.disk.exists(&self.path) {
                    self.remove()?;
                }
                let is_full = self.is_given_up();
                if is_full { Ok(()) } else { Err(StorageError::io("allocate", &self.path, error)) }
            }
        }
    }

    /// The length of the file, if it is there.
    fn found(&self) -> Result<Option<u64>, StorageError> {
        let entries = self.disk.read_dir(&self.dir);
        let entries = entries.map_err(|e| StorageError::io("list", &self.dir, e))?;
        Ok(entries.iter().find(|entry| entry.name == NAME).map(|entry| entry.len))
    }

    fn remove(&self) -> Result<(), StorageError> {
        let removed = self.disk.remove_file(&self.path);
        removed.map_err(|e| StorageError::io("remove", &self.path, e))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{Call, Fault, SimulatedDisk};

    fn open(disk: &SimulatedDisk, bytes: u64) -> Reserve {
        Reserve::open(Arc::new(disk.clone()), Path::new("d"), bytes).unwrap()
    }

    #[test]
    fn it_is_taken_given_up_and_taken_back_where_there_is_room() {
        let disk = SimulatedDisk::new(1);
        disk.create_dir_all(Path::new("d")).unwrap();
        let reserve = open(&disk, 1000);
        assert_eq!((reserve.bytes(), disk.used()), (1000, 1000));
        assert!(reserve.regain(1000).unwrap());
        disk.set_capacity(Some(1500));
        assert!(reserve.give_up().unwrap());
        assert!(!reserve.give_up().unwrap() && reserve.is_given_up());
        assert_eq!(disk.used(), 0);
        assert!(!reserve.regain(1000).unwrap(), "as much again must be free");
        disk.set_capacity(Some(2000));
        assert!(reserve.regain(1000).unwrap());
        assert_eq!(disk.used(), 1000);
        // The next process finds it; one that wants another size makes it anew.
        let disk = disk.kill();
        assert_eq!((open(&disk, 1000).bytes(), disk.used()), (1000, 1000));
        assert_eq!((open(&disk, 50).bytes(), disk.used()), (50, 50));
        assert_eq!((open(&disk, 0).bytes(), disk.used()), (0, 0));
    }

    #[test]
    fn it_grows_with_what_it_is_for_as_far_as_there_is_plenty() {
        let disk = SimulatedDisk::new(1);
        disk.create_dir_all(Path::new("d")).unwrap();
        let reserve = open(&disk, 100);
        reserve.grow(150, 100).unwrap();
        assert_eq!(disk.used(), 100, "not for a little");
        disk.set_capacity(Some(1000));
        reserve.grow(500, 100).unwrap();
        assert_eq!(disk.used(), 100, "as much again must be free");
        reserve.grow(400, 100).unwrap();
        assert_eq!((reserve.bytes(), disk.used()), (400, 400));
        assert_eq!(open(&disk.kill(), 100).bytes(), 400, "the next process keeps it");
    }

    #[test]
    fn a_full_disk_gives_none_and_another_refusal_is_an_error() {
        let disk = SimulatedDisk::new(1);
        disk.create_dir_all(Path::new("d")).unwrap();
        disk.set_capacity(Some(10));
        assert!(open(&disk, 1000).is_given_up());
        disk.set_capacity(None);
        disk.fail_nth_of(Call::Allocate, 1, Fault::Once);
        assert!(Reserve::open(Arc::new(disk.clone()), Path::new("d"), 1000).is_err());
    }
}
