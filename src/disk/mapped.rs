//! Read-only maps of files: the one place in the crate that holds `unsafe`.
//!
//! What is assumed of the medium: a page of a mapped file that the medium cannot deliver ends the
//! process (`SIGBUS`). Callers therefore read each part of a file through
//! [`super::File::read_at`] and check it before they rely on the map; see `storage-format.md`,
//! section 9.

#![allow(unsafe_code)]

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::{Mapped, MappedBytes};

/// Maps `path` with the length it has at this moment.
///
/// The caller promises that the file is immutable: it lies in a directory that this process owns
/// and holds the lock of, and nothing appends to it or cuts it any more.
pub(super) fn map(path: &Path) -> io::Result<Mapped> {
    let file = fs::File::open(path)?;
    if file.metadata()?.len() == 0 {
        return Ok(Mapped::new(Arc::new(Vec::new())));
    }
    // SAFETY: a map is unsound where the bytes change or the file shrinks underneath it. Files
    // that are mapped were finished before (written under another name or never reopened for
    // writing), lie in the data directory that this process owns, and `Disk::lock` keeps every
    // other process of ours out of it. Removing the name leaves the pages in place.
    let map = unsafe { memmap2::Mmap::map(&file)? };
    Ok(Mapped::new(Arc::new(FileMap(map))))
}

/// The map of a file.
struct FileMap(memmap2::Mmap);

impl AsRef<[u8]> for FileMap {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl MappedBytes for FileMap {
    fn release(&self) {
        // SAFETY: the map is read-only and of a file that does not change, so the pages that come
        // back hold the same bytes; references into them stay good.
        let advised = unsafe { self.0.unchecked_advise(memmap2::UncheckedAdvice::DontNeed) };
        // Pages that stay are a matter of memory only.
        drop(advised);
    }
}
