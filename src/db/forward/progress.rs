//! How far a receiver has come, written down with each request and each answer.
//!
//! A forward sends in shards; each has the place below which all of its samples are done with,
//! and the place up to which a request is under way. Both are written before a request and after
//! its answer, so that a restart sends again only the request whose answer is not known, and with
//! the same samples as before: a receiver that has it can tell.
//!
//! The file only grows: a record for each change, checked by a CRC, and a new file when it is
//! long. What the process wrote survives the process; a sync, every second or so, makes it survive
//! a loss of power ([`Progress::sync`]).

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Forwards, lowest};
use crate::disk::{Disk, File, StorageError, is_damage};
use crate::encoding::cursor::{Cursor, CursorError};
use crate::encoding::varint::write_uvarint;
use crate::head::LogPoint;

/// How the names of these files end.
pub(super) const EXTENSION: &str = ".sent";

const MAGIC: [u8; 8] = *b"NXSENT\r\n";
const VERSION: u32 = 1;
const HEADER_LEN: usize = 12;
/// Length and CRC.
const FRAME_LEN: usize = 8;
/// A file of this length is written anew.
const FILE_BYTES_MAX: u64 = 256 << 10;
/// Shards that a file may name.
const SHARDS_MAX: u64 = 1 << 16;

/// Kinds of records: all shards, one shard.
const ALL: u8 = 1;
const ONE: u8 = 2;

/// How far a shard has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ShardProgress {
    /// What of the shard lies before this place is done with.
    pub done: LogPoint,
    /// What lies before this place is in a request under way; equal to `done` where there is none.
    pub sending: LogPoint,
}

/// The progress of one forward. May be used from any thread.
#[derive(Debug)]
pub struct Progress {
    forwards: Arc<Forwards>,
    name: String,
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    shards: Vec<ShardProgress>,
    /// `None` after a failure: the next change writes the file anew.
    file: Option<Box<dyn File>>,
    len: u64,
    is_synced: bool,
}

impl Progress {
    pub(super) fn open(
        forwards: Arc<Forwards>,
        name: &str,
        path: PathBuf,
        shards: Vec<ShardProgress>,
    ) -> Result<Self, StorageError> {
        let mut state = State { shards, file: None, len: 0, is_synced: false };
        write_anew(&*forwards.disk, &path, &mut state)?;
        let name = name.to_owned();
        Ok(Self { forwards, name, path, state: Mutex::new(state) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All shards.
    pub fn shards(&self) -> Vec<ShardProgress> {
        self.state().shards.clone()
    }

    /// One shard, if there are so many.
    pub fn shard(&self, shard: usize) -> Option<ShardProgress> {
        self.state().shards.get(shard).copied()
    }

    /// The place below which everything is done.
    pub fn lowest(&self) -> LogPoint {
        let state = self.state();
        state.shards.iter().map(|shard| shard.done).min().unwrap_or_default()
    }

    /// Notes how far one shard has come.
    pub fn note(&self, shard: usize, progress: ShardProgress) -> Result<(), StorageError> {
        let mut state = self.state();
        match state.shards.get_mut(shard) {
            Some(known) if *known != progress => *known = progress,
            _ => return Ok(()),
        }
        let mut body = vec![ONE];
        write_uvarint(&mut body, shard as u64);
        write_progress(&mut body, progress);
        self.append(&mut state, &body)
    }

    /// Notes how far all shards have come; there may be another number of them than before.
    pub fn note_all(&self, shards: &[ShardProgress]) -> Result<(), StorageError> {
        let mut state = self.state();
        if state.shards == shards {
            return Ok(());
        }
        state.shards.clear();
        state.shards.extend_from_slice(shards);
        let body = body_of_all(shards);
        self.append(&mut state, &body)
    }

    /// Makes what was noted durable, and lets the log go as far.
    pub fn sync(&self) -> Result<(), StorageError> {
        let mut state = self.state();
        if !state.is_synced {
            let synced = state.file.as_ref().map(|file| file.sync());
            if !matches!(synced, Some(Ok(()))) {
                // A file whose sync failed is not trusted again.
                write_anew(&*self.forwards.disk, &self.path, &mut state)?;
            }
            state.is_synced = true;
        }
        let sequence = lowest(&state.shards);
        drop(state);
        self.forwards.reached(&self.name, sequence);
        Ok(())
    }

    fn append(&self, state: &mut State, body: &[u8]) -> Result<(), StorageError> {
        let mut frame = Vec::with_capacity(FRAME_LEN + body.len());
        write_frame(&mut frame, body);
        if let Some(file) = &mut state.file
            && state.len + (frame.len() as u64) < FILE_BYTES_MAX
            && file.append(&frame).is_ok()
        {
            state.len += frame.len() as u64;
            state.is_synced = false;
            return Ok(());
        }
        state.file = None;
        write_anew(&*self.forwards.disk, &self.path, state)
    }
}

/// Writes a file that says what `state` does, durably, in the place of the one there is.
fn write_anew(disk: &dyn Disk, path: &Path, state: &mut State) -> Result<(), StorageError> {
    let unfinished = path.with_extension("sent.tmp");
    let write = || -> std::io::Result<(Box<dyn File>, u64)> {
        if disk.exists(&unfinished) {
            disk.remove_file(&unfinished)?;
        }
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        write_frame(&mut bytes, &body_of_all(&state.shards));
        let mut file = disk.create(&unfinished)?;
        file.append(&bytes)?;
        file.sync()?;
        disk.rename(&unfinished, path)?;
        disk.sync_dir(path.parent().unwrap_or(Path::new("")))?;
        Ok((file, bytes.len() as u64))
    };
    let (file, len) = write().map_err(|e| StorageError::io("write", path, e))?;
    (state.file, state.len, state.is_synced) = (Some(file), len, true);
    Ok(())
}

fn body_of_all(shards: &[ShardProgress]) -> Vec<u8> {
    let mut body = vec![ALL];
    write_uvarint(&mut body, shards.len() as u64);
    for shard in shards {
        write_progress(&mut body, *shard);
    }
    body
}

fn write_progress(out: &mut Vec<u8>, progress: ShardProgress) {
    for point in [progress.done, progress.sending] {
        write_uvarint(out, point.sequence);
        write_uvarint(out, u64::from(point.index));
    }
}

fn read_progress(cursor: &mut Cursor<'_>) -> Result<ShardProgress, CursorError> {
    let mut point = || Ok(LogPoint { sequence: cursor.uvarint()?, index: cursor.uvarint_u32()? });
    Ok(ShardProgress { done: point()?, sending: point()? })
}

fn write_frame(out: &mut Vec<u8>, body: &[u8]) {
    let len = (body.len() as u32).to_le_bytes();
    out.extend_from_slice(&len);
    out.extend_from_slice(&crc_of(&len, body).to_le_bytes());
    out.extend_from_slice(body);
}

fn crc_of(len: &[u8], body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(len);
    hasher.update(body);
    hasher.finalize()
}

/// What the file at `path` says; `None` where there is none, or it is damaged. One that cannot be
/// opened is an error: that may pass, and whoever began anew would leave out what is not done.
pub(super) fn read(
    disk: &dyn Disk,
    path: &Path,
) -> Result<Option<Vec<ShardProgress>>, StorageError> {
    let file = match disk.open(path).or_else(|_| disk.open(path)) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound || is_damage(&error) => return Ok(None),
        Err(error) => return Err(StorageError::io("open", path, error)),
    };
    let read = || -> std::io::Result<Vec<u8>> {
        // It is never much longer than that.
        let len = file.len()?.min(4 * FILE_BYTES_MAX);
        let mut bytes = vec![0; len as usize];
        file.read_at(0, &mut bytes).or_else(|_| file.read_at(0, &mut bytes))?;
        Ok(bytes)
    };
    Ok(read().ok().and_then(|bytes| parse(&bytes)))
}

/// What the bytes of a file say, up to the first that do not check.
pub(super) fn parse(bytes: &[u8]) -> Option<Vec<ShardProgress>> {
    let (header, mut rest) = bytes.split_at_checked(HEADER_LEN)?;
    if header[..8] != MAGIC || header[8..] != VERSION.to_le_bytes() {
        return None;
    }
    let mut shards = None;
    while let Some((len, behind)) = rest.split_first_chunk::<4>() {
        let Some((crc, behind)) = behind.split_first_chunk::<4>() else { break };
        let body = behind.split_at_checked(u32::from_le_bytes(*len) as usize);
        let Some((body, behind)) = body else { break };
        if crc_of(len, body) != u32::from_le_bytes(*crc) || apply(body, &mut shards).is_none() {
            break;
        }
        rest = behind;
    }
    shards
}

fn apply(body: &[u8], shards: &mut Option<Vec<ShardProgress>>) -> Option<()> {
    let cursor = &mut Cursor::new(body);
    match cursor.u8().ok()? {
        ALL => {
            let count = cursor.uvarint().ok().filter(|&count| count <= SHARDS_MAX)?;
            let read: Result<Vec<_>, _> = (0..count).map(|_| read_progress(cursor)).collect();
            *shards = Some(read.ok()?);
        }
        ONE => {
            let shard = usize::try_from(cursor.uvarint().ok()?).ok()?;
            *shards.as_mut()?.get_mut(shard)? = read_progress(cursor).ok()?;
        }
        _ => return None,
    }
    Some(())
}
