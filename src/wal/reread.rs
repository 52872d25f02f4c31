//! Records by their place, for an owner that sorts them before it reads them.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use hashbrown::HashMap;

use super::Position;
use super::frame::{self, HEADER_LEN};
use super::segment;
use crate::disk::{Disk, File, StorageError};

/// Reads records that [`super::Replay`] gave, once more. Segments stay open, so that they can be
/// removed meanwhile. May be used from any thread.
#[derive(Debug)]
pub struct Reread {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    salt: u32,
    files: Mutex<HashMap<u64, Arc<dyn File>>>,
}

impl Reread {
    /// A reader of the log in `dir`, whose salt a replay knows.
    pub(super) fn new(disk: Arc<dyn Disk>, dir: &Path, salt: u32) -> Self {
        Self { disk, dir: dir.to_owned(), salt, files: Mutex::default() }
    }

    /// Fills `payload` with that of the record at `position`, which has `len` bytes. What does
    /// not check any more is [`StorageError::Corrupt`].
    pub fn read(
        &self,
        position: Position,
        len: usize,
        payload: &mut Vec<u8>,
    ) -> Result<(), StorageError> {
        let path = segment::path_of(&self.dir, position.segment);
        let file = self.file(position.segment, &path)?;
        payload.resize(HEADER_LEN + len, 0);
        let read = file.read_at(position.offset, payload);
        let read = read.or_else(|_| file.read_at(position.offset, payload));
        read.map_err(|e| StorageError::io("read", &path, e))?;
        let header = frame::parse_header(self.salt, payload);
        let is_same = |header: &frame::FrameHeader| {
            header.len == len
                && header.sequence_low == position.sequence as u32
                && frame::payload_checks(self.salt, header, payload)
        };
        if !header.as_ref().is_some_and(is_same) {
            return Err(StorageError::corrupt(&path, position.offset, "not the record it was"));
        }
        payload.drain(..HEADER_LEN);
        Ok(())
    }

    fn file(&self, number: u64, path: &Path) -> Result<Arc<dyn File>, StorageError> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = files.get(&number) {
            return Ok(Arc::clone(file));
        }
        let opened = segment::open(&self.disk, path);
        let file: Arc<dyn File> = Arc::from(opened.map_err(|e| StorageError::io("open", path, e))?);
        files.insert(number, Arc::clone(&file));
        Ok(file)
    }
}
