//! Which call fails: a count of calls, and plans that wait for theirs.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// The kinds of calls that can be made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is the method of that name")]
pub enum Call {
    Create,
    Allocate,
    Open,
    Map,
    ReadDir,
    CreateDirAll,
    Rename,
    HardLink,
    RemoveFile,
    RemoveDirAll,
    SyncDir,
    FreeSpace,
    TotalSpace,
    Lock,
    Append,
    ReadAt,
    Sync,
    Len,
    Truncate,
    TryClone,
}

impl Call {
    /// Whether it changes what the disk holds, or what of it is durable.
    pub(super) fn changes(self) -> bool {
        use Call::{
            Allocate, Append, Create, CreateDirAll, RemoveDirAll, RemoveFile, Rename, Sync,
            SyncDir, Truncate,
        };
        matches!(
            self,
            Create
                | Allocate
                | CreateDirAll
                | Rename
                | RemoveFile
                | RemoveDirAll
                | SyncDir
                | Append
                | Sync
                | Truncate
        )
    }
}

/// How long a fault lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// That one call fails.
    Once,
    /// That call fails and every one after it, until [`super::SimulatedDisk::heal`].
    Lasting,
}

#[derive(Debug, Clone)]
struct Plan {
    /// `None`: of any kind.
    call: Option<Call>,
    /// Calls until it strikes; 0 once it did, for a lasting one.
    left: u64,
    fault: Fault,
}

/// Counts calls and decides which of them fail.
#[derive(Debug, Clone, Default)]
pub(super) struct Faults {
    calls: u64,
    plans: Vec<Plan>,
    /// Files that the medium has lost.
    lost: Vec<PathBuf>,
}

impl Faults {
    pub(super) fn lose(&mut self, path: &Path) {
        self.lost.push(path.to_owned());
    }

    pub(super) fn is_lost(&self, path: &Path) -> bool {
        self.lost.iter().any(|lost| lost == path)
    }

    pub(super) fn plan(&mut self, call: Option<Call>, n: u64, fault: Fault) {
        assert!(n > 0, "calls are counted from 1");
        self.plans.push(Plan { call, left: n, fault });
    }

    pub(super) fn clear(&mut self) {
        self.plans.clear();
        self.lost.clear();
    }

    pub(super) fn calls(&self) -> u64 {
        self.calls
    }

    /// Counts one call; whether it has to fail.
    pub(super) fn next_fails(&mut self, call: Call) -> bool {
        self.calls += 1;
        let mut fails = false;
        self.plans.retain_mut(|plan| {
            if plan.call.is_some_and(|wanted| wanted != call) {
                return true;
            }
            plan.left = plan.left.saturating_sub(1);
            let strikes = plan.left == 0;
            fails |= strikes;
            !strikes || plan.fault == Fault::Lasting
        });
        fails
    }
}

/// The error of a call that was made to fail.
pub(super) fn injected(call: Call) -> io::Error {
    io::Error::other(format!("simulated I/O error on {call:?}"))
}

/// The error of a file that the medium has lost.
pub(super) fn lost() -> io::Error {
    rustix::io::Errno::IO.into()
}

/// The error of a name that is not there.
pub(super) fn missing() -> io::Error {
    ErrorKind::NotFound.into()
}
