//! A disk and a clock in memory that behave as badly as real ones may, and the same for one seed.
//!
//! A [`SimulatedDisk`] keeps apart what a process sees (live bytes, live names) and what the
//! medium holds (synced bytes, synced names). [`SimulatedDisk::crash`] is a loss of power: only
//! what the medium holds is left, and of the rest as much as [`Crash`] says.
//! [`SimulatedDisk::kill`] is the end of the process: all that was written stays, still unsynced.
//! Both give the disk as the next process finds it; handles of the one before fail from then on.
//!
//! Faults: the N-th call fails ([`SimulatedDisk::fail_nth`]), once or from then on. A failing
//! append leaves a part of its bytes behind. A failing sync drops a part of the unsynced bytes
//! for good, while reads go on to show them and the next sync says `Ok`: as Linux does. Beyond
//! [`SimulatedDisk::set_capacity`] appends write what fits and fail with `StorageFull`.
//!
//! It is public for the tests of those who embed the library. Paths are taken from one root,
//! whether they begin with `/` or not.

mod clock;
mod faults;
mod state;
#[cfg(test)]
mod tests;

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Disk, Entry, File, LockGuard, Mapped};

pub use clock::SimulatedClock;
pub use faults::{Call, Fault};
use faults::{injected, missing};
use state::State;

/// How much of what was not synced survives a loss of power.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Crash {
    /// Nothing: only synced bytes and synced names.
    Strict,
    /// All changes up to a random moment, none after it.
    Prefix,
    /// As `Prefix`, and of the first write after that moment a part of the bytes.
    Torn,
    /// Any: each change of a name and each 512-byte sector of each write by chance; a sector
    /// that is lost below one that is not reads as zeros.
    Random,
}

impl Crash {
    /// Every way, for loops.
    pub const ALL: [Self; 4] = [Self::Strict, Self::Prefix, Self::Torn, Self::Random];
}

/// A disk in memory; clones share it. See the module's description.
#[derive(Clone)]
pub struct SimulatedDisk {
    state: Arc<Mutex<State>>,
    /// Which process this handle belongs to.
    life: u64,
}

impl SimulatedDisk {
    /// An empty disk without limit. Everything that chance decides follows from `seed`.
    pub fn new(seed: u64) -> Self {
        Self { state: Arc::new(Mutex::new(State::new(seed))), life: 0 }
    }

    /// Power is lost and comes back: the disk as the next process finds it.
    #[must_use = "the handle that crashed gives errors only"]
    pub fn crash(&self, mode: Crash) -> Self {
        let mut state = self.state();
        state.lose_power(mode);
        self.next_life(&mut state)
    }

    /// The process ends, the system goes on: what was written stays, and is still unsynced.
    #[must_use = "the handle of the ended process gives errors only"]
    pub fn kill(&self) -> Self {
        let mut state = self.state();
        self.next_life(&mut state)
    }

    /// An independent copy, unsynced changes included, in which chance goes another way.
    #[must_use]
    pub fn fork(&self, seed: u64) -> Self {
        let mut state = self.state().clone();
        state.reseed(seed);
        Self { state: Arc::new(Mutex::new(state)), life: self.life }
    }

    /// Makes the `n`-th call from now fail; 1 is the next one.
    pub fn fail_nth(&self, n: u64, fault: Fault) {
        self.state().faults.plan(None, n, fault);
    }

    /// Makes the `n`-th call of one kind from now fail; 1 is the next one.
    pub fn fail_nth_of(&self, call: Call, n: u64, fault: Fault) {
        self.state().faults.plan(Some(call), n, fault);
    }

    /// From now on opening the file fails as a medium does that has lost it.
    pub fn lose(&self, path: &Path) {
        self.state().faults.lose(path);
    }

    /// Takes back every planned and lasting fault. What was lost stays lost.
    pub fn heal(&self) {
        self.state().faults.clear();
    }

    /// Calls made so far, failed ones included; `exists` and those of dead handles do not count.
    pub fn calls(&self) -> u64 {
        self.state().faults.calls()
    }

    /// Begins to keep a copy of the disk before every call that changes it.
    pub fn keep_moments(&self) {
        self.state().moments = Some(Vec::new());
    }

    /// The copies that were kept since [`Self::keep_moments`], oldest first, and no more of them:
    /// each is the disk at one moment of the past, to be crashed or killed there.
    pub fn take_moments(&self) -> Vec<Self> {
        let moments = self.state().moments.take().unwrap_or_default();
        let disk = |state: State| Self { life: state.life, state: Arc::new(Mutex::new(state)) };
        moments.into_iter().map(disk).collect()
    }

    /// Limits the bytes that all files may hold together; `None` lifts the limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state().capacity = bytes;
    }

    /// Bytes that all files hold together.
    pub fn used(&self) -> u64 {
        self.state().used()
    }

    /// The bytes of a file as a process sees them. Neither counts as a call nor fails.
    pub fn file_bytes(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.state();
        let inode = state.file_at(path).ok()?;
        Some(state.live(inode).to_vec())
    }

    /// Puts `bytes` in the place of a file's, live and on the medium: damage, or a file from
    /// elsewhere. The file and its directory are created where they are missing.
    pub fn set_file_bytes(&self, path: &Path, bytes: Vec<u8>) -> io::Result<()> {
        self.state().plant(path, bytes)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_life(&self, state: &mut State) -> Self {
        state.begin_life();
        Self { state: Arc::clone(&self.state), life: state.life }
    }

    /// Counts the call; an error where the process is gone, `true` where the call has to fail.
    fn begin(&self, call: Call) -> io::Result<(MutexGuard<'_, State>, bool)> {
        let mut state = self.state();
        if state.life != self.life {
            return Err(io::Error::other("the simulated process has ended"));
        }
        if call.changes() {
            state.keep_moment();
        }
        let fails = state.faults.next_fails(call);
        Ok((state, fails))
    }

    /// As [`Self::begin`], for calls that fail without a trace.
    fn begin_or_fail(&self, call: Call) -> io::Result<MutexGuard<'_, State>> {
        let (state, fails) = self.begin(call)?;
        if fails { Err(injected(call)) } else { Ok(state) }
    }

    fn file(&self, inode: u64) -> Box<dyn File> {
        Box::new(SimulatedFile { disk: self.clone(), inode })
    }
}

impl std::fmt::Debug for SimulatedDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = self.state();
        write!(f, "SimulatedDisk(life {} of {}, {} bytes)", self.life, state.life, state.used())
    }
}

impl Disk for SimulatedDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let mut state = self.begin_or_fail(Call::Create)?;
        if state.capacity.is_some_and(|capacity| state.used() >= capacity) {
            return Err(ErrorKind::StorageFull.into());
        }
        let inode = state.create_file(path)?;
        drop(state);
        Ok(self.file(inode))
    }

    fn allocate(&self, path: &Path, bytes: u64) -> io::Result<()> {
        let mut state = self.begin_or_fail(Call::Allocate)?;
        let room = state.capacity.map_or(u64::MAX, |c| c.saturating_sub(state.used()));
        let fits = room.min(bytes);
        let inode = state.create_file(path)?;
        state.truncate(inode, usize::try_from(fits).map_err(|_| missing())?);
        if fits < bytes {
            return Err(ErrorKind::StorageFull.into());
        }
        state.sync_file(inode, false);
        path.parent().map_or(Ok(()), |parent| state.sync_dir(parent))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let state = self.begin_or_fail(Call::Open)?;
        if state.faults.is_lost(path) {
            return Err(faults::lost());
        }
        let inode = state.file_at(path)?;
        drop(state);
        Ok(self.file(inode))
    }

    fn map(&self, path: &Path) -> io::Result<Mapped> {
        let state = self.begin_or_fail(Call::Map)?;
        let bytes = state.live(state.file_at(path)?);
        Ok(Mapped::new(Arc::new(FileBytes(Arc::clone(bytes)))))
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<Entry>> {
        self.begin_or_fail(Call::ReadDir)?.entries(path)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.begin_or_fail(Call::CreateDirAll)?.create_dir_all(path).map(|_| ())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.begin_or_fail(Call::Rename)?.rename(from, to)
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.begin_or_fail(Call::HardLink)?.hard_link(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.begin_or_fail(Call::RemoveFile)?.remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.begin_or_fail(Call::RemoveDirAll)?.remove_dir_all(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.begin_or_fail(Call::SyncDir)?.sync_dir(path)
    }

    fn exists(&self, path: &Path) -> bool {
        let state = self.state();
        state.life == self.life && state.exists(path)
    }

    fn total_space(&self, _path: &Path) -> io::Result<u64> {
        Ok(self.begin_or_fail(Call::TotalSpace)?.capacity.unwrap_or(u64::MAX))
    }

    fn free_space(&self, _path: &Path) -> io::Result<u64> {
        let state = self.begin_or_fail(Call::FreeSpace)?;
        Ok(state.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(state.used())))
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn LockGuard>> {
        let mut state = self.begin_or_fail(Call::Lock)?;
        state.take_lock(path)?;
        drop(state);
        Ok(Box::new(SimulatedLock { disk: self.clone(), path: path.to_owned() }))
    }
}

#[derive(Debug)]
struct SimulatedLock {
    disk: SimulatedDisk,
    path: PathBuf,
}

impl LockGuard for SimulatedLock {}

impl Drop for SimulatedLock {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        // The end of the process has released the lock; the next process may hold it by now.
        if state.life == self.disk.life {
            state.release_lock(&self.path);
        }
    }
}

struct FileBytes(Arc<Vec<u8>>);

impl super::MappedBytes for FileBytes {}

impl AsRef<[u8]> for FileBytes {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

#[derive(Debug)]
struct SimulatedFile {
    disk: SimulatedDisk,
    inode: u64,
}

impl File for SimulatedFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let (mut state, fails) = self.disk.begin(Call::Append)?;
        if fails {
            let part = state.chance_below(bytes.len() as u64 + 1) as usize;
            state.append(self.inode, &bytes[..part]);
            return Err(injected(Call::Append));
        }
        let room = state.capacity.map_or(u64::MAX, |c| c.saturating_sub(state.used()));
        let fits = usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len());
        state.append(self.inode, &bytes[..fits]);
        if fits < bytes.len() { Err(ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let state = self.disk.begin_or_fail(Call::ReadAt)?;
        let bytes = state.live(self.inode);
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        match bytes[start..].get(..buffer.len()) {
            Some(found) => {
                buffer.copy_from_slice(found);
                Ok(())
            }
            None => Err(ErrorKind::UnexpectedEof.into()),
        }
    }

    fn sync(&self) -> io::Result<()> {
        let (mut state, fails) = self.disk.begin(Call::Sync)?;
        state.sync_file(self.inode, fails);
        if fails { Err(injected(Call::Sync)) } else { Ok(()) }
    }

    fn len(&self) -> io::Result<u64> {
        let state = self.disk.begin_or_fail(Call::Len)?;
        Ok(state.live(self.inode).len() as u64)
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        let mut state = self.disk.begin_or_fail(Call::Truncate)?;
        state.truncate(self.inode, usize::try_from(len).map_err(|_| missing())?);
        Ok(())
    }

    fn try_clone(&self) -> io::Result<Box<dyn File>> {
        drop(self.disk.begin_or_fail(Call::TryClone)?);
        Ok(self.disk.file(self.inode))
    }
}
