//! The one door to files and time.
//!
//! Everything that the storage engine reads or writes goes through [`Disk`], [`File`] and
//! [`Clock`]; the real ones stand in `posix.rs`, the simulated ones, which lose what was not
//! synced, tear writes and fail the N-th call, in `simulated.rs`.
//!
//! Promises that callers rely on:
//! - [`File::append`] writes all bytes or returns an error; after an error the file's length is
//!   unknown until [`File::truncate`].
//! - bytes are durable after [`File::sync`] returned `Ok`; a name (created, renamed, removed) is
//!   durable after [`Disk::sync_dir`] of its directory did. After a failed sync nothing may be
//!   believed about the file: callers move to a new one and never retry.
//! - [`Disk::rename`] replaces the target atomically.
//! - paths are absolute or relative to the process; nothing is interpreted.

mod mapped;
mod posix;
mod simulated;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use posix::{PosixDisk, SystemClock};
pub use simulated::{Call, Crash, Fault, SimulatedClock, SimulatedDisk};

/// A directory entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The last component of the path.
    pub name: String,
    /// Whether it is a directory.
    pub is_dir: bool,
    /// Bytes; 0 for directories.
    pub len: u64,
}

/// A file system as storage sees it.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Creates a file that must not exist yet, open for appending and reading.
    fn create(&self, path: &Path) -> io::Result<Box<dyn File>>;
    /// Creates a file of `bytes` zeros that must not exist yet, for which the medium has the room
    /// from then on; durable on return. After an error there may be a part of it.
    fn allocate(&self, path: &Path, bytes: u64) -> io::Result<()>;
    /// Opens an existing file for reading, and for appending where that is permitted.
    fn open(&self, path: &Path) -> io::Result<Box<dyn File>>;
    /// Maps an existing, immutable file; its length is the one at this moment.
    fn map(&self, path: &Path) -> io::Result<Mapped>;
    /// Entries of a directory, sorted by name.
    fn read_dir(&self, path: &Path) -> io::Result<Vec<Entry>>;
    /// Creates a directory and its missing parents; all their names are durable on return.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;
    /// Renames a file or a directory; an existing file at `to` is replaced.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Gives an existing file a second name, which must not exist yet.
    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Removes a directory with all it holds.
    fn remove_dir_all(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a directory durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Whether a file or directory is there.
    fn exists(&self, path: &Path) -> bool;
    /// Bytes that can still be written to the file system that holds `path`.
    fn free_space(&self, path: &Path) -> io::Result<u64>;
    /// Bytes that the file system which holds `path` has in all.
    fn total_space(&self, path: &Path) -> io::Result<u64>;
    /// Takes the exclusive lock on `path`, creating the file; held until the guard is dropped.
    /// `ErrorKind::WouldBlock` where another holder has it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn LockGuard>>;
}

/// Holds a lock file for as long as it lives.
pub trait LockGuard: Send + Sync + fmt::Debug {}

/// An open file.
pub trait File: Send + Sync + fmt::Debug {
    /// Writes at the end.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Fills `buffer` from `offset`; fewer bytes there is `ErrorKind::UnexpectedEof`.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
    /// Makes everything appended so far durable, its length included.
    fn sync(&self) -> io::Result<()>;
    /// Current length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Whether the file holds no byte.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Cuts the file to `len` bytes; later appends go there.
    fn truncate(&mut self, len: u64) -> io::Result<()>;
    /// Another handle to the same file, for a syncing thread.
    fn try_clone(&self) -> io::Result<Box<dyn File>>;
}

/// Wall and monotonic time.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Milliseconds since the Unix epoch.
    fn now_ms(&self) -> i64;
    /// Time since an arbitrary fixed moment; never goes back.
    fn monotonic(&self) -> Duration;
}

/// What stands behind a [`Mapped`]: a mapping, or memory in a simulation.
pub trait MappedBytes: AsRef<[u8]> + Send + Sync {
    /// See [`Mapped::release`].
    fn release(&self) {}
}

impl MappedBytes for Vec<u8> {}

/// A read-only view of an immutable file, shared by clones.
#[derive(Clone)]
pub struct Mapped(Arc<dyn MappedBytes>);

impl Mapped {
    /// Wraps what holds the bytes.
    pub fn new(holder: Arc<dyn MappedBytes>) -> Self {
        Self(holder)
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        (*self.0).as_ref()
    }

    /// Lets go of the pages that are in the process's memory; the system reads them again, or
    /// still has them, when they are looked at the next time.
    pub fn release(&self) {
        self.0.release();
    }
}

impl fmt::Debug for Mapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mapped({} bytes)", self.bytes().len())
    }
}

/// What can go wrong on the way to the medium and back.
#[derive(Debug)]
#[non_exhaustive]
pub enum StorageError {
    /// The system refused an operation.
    Io {
        /// What was tried: "append", "sync", "open" …
        op: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Bytes do not say what they must.
    Corrupt {
        /// In which file.
        path: PathBuf,
        /// At which byte.
        offset: u64,
        /// What was read, and what was expected there.
        what: String,
    },
    /// The file was written by a newer version.
    TooNew {
        /// Which file.
        path: PathBuf,
        /// The version found.
        found: u32,
        /// The newest version that this program reads.
        supported: u32,
    },
    /// Another process holds the directory.
    Locked(PathBuf),
    /// The disk is full, or a write failed and has not worked again since.
    Unwritable(String),
    /// The database was closed.
    Closed,
}

/// Whether an error says that there is no room.
pub fn is_disk_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Whether an error says that the medium has lost what was asked for. Others may pass: too many
/// open files, a right that is missing.
pub fn is_damage(error: &io::Error) -> bool {
    use rustix::io::Errno;
    #[cfg(target_os = "linux")]
    if Errno::from_io_error(error) == Some(Errno::UCLEAN) {
        return true;
    }
    matches!(Errno::from_io_error(error), Some(Errno::IO | Errno::BADMSG))
}

impl StorageError {
    /// Wraps an I/O error with what was tried and where.
    pub fn io(op: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { op, path: path.to_owned(), source }
    }

    /// Says that `path` does not check at `offset`.
    pub fn corrupt(path: &Path, offset: u64, what: impl Into<String>) -> Self {
        Self::Corrupt { path: path.to_owned(), offset, what: what.into() }
    }
}

impl fmt::Display for StorageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { op, path, source } => write!(f, "{op} {}: {source}", path.display()),
            Self::Corrupt { path, offset, what } => {
                write!(f, "{}: damaged at byte {offset}: {what}", path.display())
            }
            Self::TooNew { path, found, supported } => write!(
                f,
                "{}: format version {found}, but this program reads up to {supported}",
                path.display()
            ),
            Self::Locked(path) => {
                write!(f, "{}: another process has this data directory open", path.display())
            }
            Self::Unwritable(why) => write!(f, "storage takes no writes: {why}"),
            Self::Closed => f.write_str("the database is closed"),
        }
    }
}

impl std::error::Error for StorageError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}
