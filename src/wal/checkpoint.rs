//! The container of a checkpoint: records as in the log, whole or not there.
//!
//! A checkpoint is written under a temporary name, synced, renamed, and its directory synced.
//! The newest two are kept: a damaged one falls back to the one before, so the log may be dropped
//! only before the position of the *older* one, which [`CheckpointWriter::commit`] returns.
//! Nothing of a checkpoint is handed out before every byte of it was checked.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::frame::{self, FrameHeader, HEADER_LEN as FRAME_LEN, KIND_END};
use super::segment::{self, number_of};
use super::window::Window;
use super::{Damage, DamageKind, KIND_MAX, PAYLOAD_BYTES_MAX, Position};
use crate::disk::{Disk, File, StorageError, is_damage};

const MAGIC: [u8; 8] = *b"NXCKPT\r\n";
const VERSION: u32 = 1;

/// Magic (8), version (4), salt (4), position (24), CRC (4).
const HEADER_LEN: usize = 44;

const EXTENSION: &str = ".ckpt";
const UNFINISHED: &str = ".ckpt.tmp";

/// Bytes collected before they are written.
const BUFFER: usize = 1 << 20;

/// Checkpoints that are kept.
const KEPT: usize = 2;

/// Writes a checkpoint. Dropping it without [`CheckpointWriter::commit`] leaves none.
#[derive(Debug)]
pub struct CheckpointWriter {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    number: u64,
    path: PathBuf,
    file: Box<dyn File>,
    salt: u32,
    records: u64,
    bytes: u64,
    buffer: Vec<u8>,
    is_committed: bool,
}

impl CheckpointWriter {
    /// Begins the checkpoint of the state before `position`, which must be synced
    /// ([`super::Log::synced_end`]). Creates `dir` where it is missing.
    pub fn create(
        disk: Arc<dyn Disk>,
        dir: &Path,
        position: Position,
    ) -> Result<Self, StorageError> {
        if !disk.exists(dir) {
            disk.create_dir_all(dir).map_err(|e| StorageError::io("create", dir, e))?;
        }
        let (found, unfinished) = list(&*disk, dir)?;
        for path in unfinished {
            disk.remove_file(&path).map_err(|e| StorageError::io("remove", &path, e))?;
        }
        let number = found.last().map_or(1, |(number, _)| number + 1);
        let path = dir.join(format!("{number:08}{UNFINISHED}"));
        let file = disk.create(&path).map_err(|e| StorageError::io("create", &path, e))?;
        let salt = frame::random_salt();
        let mut buffer = Vec::with_capacity(BUFFER);
        encode_header(salt, position, &mut buffer);
        let dir = dir.to_owned();
        let (records, bytes, is_committed) = (0, 0, false);
        Ok(Self { disk, dir, number, path, file, salt, records, bytes, buffer, is_committed })
    }

    /// Adds a record; kinds and sizes as in the log.
    pub fn append(&mut self, kind: u8, payload: &[u8]) -> Result<(), StorageError> {
        if kind == 0 || kind > KIND_MAX || payload.len() > PAYLOAD_BYTES_MAX {
            let why = format!("a record of kind {kind} and {} bytes", payload.len());
            let error = std::io::Error::new(std::io::ErrorKind::InvalidInput, why);
            return Err(StorageError::io("append", &self.path, error));
        }
        frame::encode(self.salt, kind, self.records, payload, &mut self.buffer);
        self.records += 1;
        if self.buffer.len() >= BUFFER { self.write_out() } else { Ok(()) }
    }

    /// Makes it the newest checkpoint, durable on return, and removes all but the one before.
    /// Returns the position of the oldest that is left, [`Position::START`] while there is but
    /// this one (the log before it is what there is to fall back to), and the bytes written.
    ///
    /// Files whose header cannot be read are left alone and do not count: whoever got them from
    /// [`read_newest`] puts them aside.
    pub fn commit(mut self) -> Result<(Position, u64), StorageError> {
        let count = self.records.to_le_bytes();
        frame::encode(self.salt, KIND_END, self.records, &count, &mut self.buffer);
        self.write_out()?;
        self.file.sync().map_err(|e| StorageError::io("sync", &self.path, e))?;
        let path = self.dir.join(format!("{:08}{EXTENSION}", self.number));
        let renamed = self.disk.rename(&self.path, &path);
        renamed.map_err(|e| StorageError::io("rename", &self.path, e))?;
        self.is_committed = true;
        let sync_dir = || {
            let synced = self.disk.sync_dir(&self.dir);
            synced.map_err(|e| StorageError::io("sync directory", &self.dir, e))
        };
        sync_dir()?;
        let (found, _) = list(&*self.disk, &self.dir)?;
        let mut oldest = Position::START;
        let mut kept = 0;
        for (_, path) in found.iter().rev() {
            let Ok(position) = read_position(&self.disk, path) else { continue };
            if kept < KEPT {
                kept += 1;
                oldest = position;
            } else {
                self.disk.remove_file(path).map_err(|e| StorageError::io("remove", path, e))?;
            }
        }
        sync_dir()?;
        Ok((if kept < KEPT { Position::START } else { oldest }, self.bytes))
    }

    fn write_out(&mut self) -> Result<(), StorageError> {
        let written = self.file.append(&self.buffer);
        written.map_err(|e| StorageError::io("write", &self.path, e))?;
        self.bytes += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

impl Drop for CheckpointWriter {
    fn drop(&mut self) {
        if !self.is_committed {
            // What stays behind is removed by the next one.
            let _ = self.disk.remove_file(&self.path);
        }
    }
}

/// Finds the newest checkpoint of which every byte checks. The second part says what is wrong
/// with newer ones. A missing directory holds none.
pub fn read_newest(
    disk: &Arc<dyn Disk>,
    dir: &Path,
) -> Result<(Option<CheckpointReader>, Vec<Damage>), StorageError> {
    find(disk, dir, u64::MAX, true)
}

/// The positions of the checkpoints in a directory, oldest first, those left out whose header
/// does not check. One that cannot be opened is an error.
pub fn positions(disk: &Arc<dyn Disk>, dir: &Path) -> Result<Vec<Position>, StorageError> {
    if !disk.exists(dir) {
        return Ok(Vec::new());
    }
    let (found, _) = list(&**disk, dir)?;
    let mut positions = Vec::with_capacity(found.len());
    for (_, path) in found {
        match read_position(disk, &path) {
            Ok(position) => positions.push(position),
            Err(StorageError::Io { source, .. }) if is_damage(&source) => {}
            Err(error @ StorageError::Io { .. }) => return Err(error),
            Err(_) => {}
        }
    }
    Ok(positions)
}

/// [`read_newest`] among those whose position has at most this sequence. One that cannot be opened
/// is an error: that may pass, and what an older one needs of the log may be gone.
pub fn read_up_to(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    sequence: u64,
) -> Result<(Option<CheckpointReader>, Vec<Damage>), StorageError> {
    find(disk, dir, sequence, false)
}

/// `takes_older`: an older one does where one cannot be opened.
fn find(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    sequence: u64,
    takes_older: bool,
) -> Result<(Option<CheckpointReader>, Vec<Damage>), StorageError> {
    let mut damages = Vec::new();
    if !disk.exists(dir) {
        return Ok((None, damages));
    }
    let (found, _) = list(&**disk, dir)?;
    for (_, path) in found.iter().rev() {
        if read_position(disk, path).is_ok_and(|position| position.sequence > sequence) {
            continue;
        }
        let checked = CheckpointReader::open(disk, path).and_then(CheckpointReader::check);
        match checked {
            Ok(reader) => return Ok((Some(reader), damages)),
            Err(StorageError::Corrupt { offset, .. }) => {
                let path = path.clone();
                let kind = DamageKind::Rotten;
                damages.push(Damage { path, offset, len: 0, records: 0, kind });
            }
            Err(StorageError::Io { source, .. }) if takes_older || is_damage(&source) => {
                let path = path.clone();
                let kind = DamageKind::MissingSegment;
                damages.push(Damage { path, offset: 0, len: 0, records: 0, kind });
            }
            Err(error) => return Err(error),
        }
    }
    Ok((None, damages))
}

/// Reads the records of a checkpoint that was checked as a whole.
#[derive(Debug)]
pub struct CheckpointReader {
    path: PathBuf,
    window: Window,
    salt: u32,
    position: Position,
    offset: u64,
    records: u64,
}

impl CheckpointReader {
    /// The position given to [`CheckpointWriter::create`].
    pub fn position(&self) -> Position {
        self.position
    }

    /// Length of the file.
    pub fn bytes(&self) -> u64 {
        self.window.len()
    }

    /// Where the file lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The next record's kind and payload; `None` after the last.
    pub fn next_record(&mut self) -> Result<Option<(u8, &[u8])>, StorageError> {
        let Some(header) = self.next_frame()? else { return Ok(None) };
        let payload = self.offset - header.len as u64;
        match self.window.at(payload, header.len) {
            Some(payload) => Ok(Some((header.kind, payload))),
            None => unreachable!("BUG: a checked frame lies within the file"),
        }
    }

    fn open(disk: &Arc<dyn Disk>, path: &Path) -> Result<Self, StorageError> {
        let io = |e| StorageError::io("open", path, e);
        let file = segment::open(disk, path).map_err(io)?;
        let len = file.len().or_else(|_| file.len()).map_err(io)?;
        let mut window = Window::new(file, len);
        let header = window.at(0, HEADER_LEN);
        let header = header.ok_or_else(|| StorageError::corrupt(path, 0, "no header"))?;
        let (salt, position) = parse_header(path, header)?;
        let (path, offset) = (path.to_owned(), HEADER_LEN as u64);
        Ok(Self { path, window, salt, position, offset, records: 0 })
    }

    /// Reads to the end and starts again.
    fn check(mut self) -> Result<Self, StorageError> {
        while self.next_frame()?.is_some() {}
        self.offset = HEADER_LEN as u64;
        self.records = 0;
        Ok(self)
    }

    /// Steps over the next frame; `None` at the last one, which has to end the file.
    fn next_frame(&mut self) -> Result<Option<FrameHeader>, StorageError> {
        let corrupt = |what: &str| Err(StorageError::corrupt(&self.path, self.offset, what));
        let (salt, offset) = (self.salt, self.offset);
        let bytes = self.window.at(offset, FRAME_LEN);
        let Some(header) = bytes.and_then(|bytes| frame::parse_header(salt, bytes)) else {
            return corrupt("no record where one must stand");
        };
        let Some(bytes) = self.window.at(offset, FRAME_LEN + header.len) else {
            return corrupt("a record that goes beyond the file");
        };
        if !frame::payload_checks(salt, &header, bytes) {
            return corrupt("a record whose CRC is wrong");
        }
        if header.sequence_low != self.records as u32 {
            return corrupt("a record that belongs elsewhere");
        }
        if header.kind == KIND_END {
            let is_whole = bytes[FRAME_LEN..] == self.records.to_le_bytes()
                && offset + header.frame_len() == self.window.len();
            return if is_whole { Ok(None) } else { corrupt("an end that is none") };
        }
        self.offset += header.frame_len();
        self.records += 1;
        Ok(Some(header))
    }
}

fn encode_header(salt: u32, position: Position, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&salt.to_le_bytes());
    out.extend_from_slice(&position.sequence.to_le_bytes());
    out.extend_from_slice(&position.segment.to_le_bytes());
    out.extend_from_slice(&position.offset.to_le_bytes());
    let crc = crc32fast::hash(&out[start..]);
    out.extend_from_slice(&crc.to_le_bytes());
}

fn parse_header(path: &Path, bytes: &[u8]) -> Result<(u32, Position), StorageError> {
    let checked = bytes.split_last_chunk::<4>().filter(|(checked, crc)| {
        checked.starts_with(&MAGIC) && crc32fast::hash(checked) == u32::from_le_bytes(**crc)
    });
    if checked.is_none() {
        return Err(StorageError::corrupt(path, 0, "a header that does not check"));
    }
    let u32_at = |at: usize| bytes[at..].first_chunk().map_or(0, |b| u32::from_le_bytes(*b));
    let u64_at = |at: usize| bytes[at..].first_chunk().map_or(0, |b| u64::from_le_bytes(*b));
    let found = u32_at(8);
    if found > VERSION {
        return Err(StorageError::TooNew { path: path.to_owned(), found, supported: VERSION });
    }
    let position = Position { sequence: u64_at(16), segment: u64_at(24), offset: u64_at(32) };
    Ok((u32_at(12), position))
}

fn read_position(disk: &Arc<dyn Disk>, path: &Path) -> Result<Position, StorageError> {
    CheckpointReader::open(disk, path).map(|reader| reader.position)
}

/// Checkpoints by number, oldest first, and files that were never finished.
#[expect(clippy::type_complexity, reason = "two lists of one directory")]
fn list(disk: &dyn Disk, dir: &Path) -> Result<(Vec<(u64, PathBuf)>, Vec<PathBuf>), StorageError> {
    let entries = disk.read_dir(dir).or_else(|_| disk.read_dir(dir));
    let (mut found, mut unfinished) = (Vec::new(), Vec::new());
    for entry in entries.map_err(|e| StorageError::io("list", dir, e))? {
        let path = dir.join(&entry.name);
        if let Some(number) = number_of(&entry.name, EXTENSION) {
            found.push((number, path));
        } else if number_of(&entry.name, UNFINISHED).is_some() {
            unfinished.push(path);
        }
    }
    found.sort_unstable();
    Ok((found, unfinished))
}
