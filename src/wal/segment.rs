//! The files of a log: their names and their headers.
//!
//! INVARIANT: a segment gets its name only when its first bytes are on the medium, and every
//! record with a sequence below its `first_sequence` is on the medium by then. Records of older
//! segments with sequences from `first_sequence` on are void: this one has them again, or they
//! were never acknowledged.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{Disk, File, StorageError, is_damage};

/// Bytes of one header; a segment begins with two equal ones.
const HEADER_LEN: usize = 36;

/// Where records begin.
pub(super) const RECORDS_START: u64 = 2 * HEADER_LEN as u64;

const MAGIC: [u8; 8] = *b"NXLOG\r\n\x1a";

/// The version that is written, and the newest that is read.
pub(super) const VERSION: u32 = 1;

const EXTENSION: &str = ".wal";

/// What a segment says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) salt: u32,
    pub(super) number: u64,
    /// Sequence of its first record; see the module's invariant.
    pub(super) first_sequence: u64,
}

/// What reading a header can give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeaderState {
    Good(SegmentHeader),
    TooNew(u32),
    Unreadable,
}

/// Appends both copies of the header.
pub(super) fn encode_header(header: &SegmentHeader, out: &mut Vec<u8>) {
    let mut bytes = Vec::with_capacity(HEADER_LEN);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&header.salt.to_le_bytes());
    bytes.extend_from_slice(&header.number.to_le_bytes());
    bytes.extend_from_slice(&header.first_sequence.to_le_bytes());
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
    out.extend_from_slice(&bytes);
    out.extend_from_slice(&bytes);
}

fn parse_header(bytes: &[u8]) -> HeaderState {
    let Some((checked, crc)) = bytes.split_last_chunk::<4>() else {
        return HeaderState::Unreadable;
    };
    if !checked.starts_with(&MAGIC) || crc32fast::hash(checked) != u32::from_le_bytes(*crc) {
        return HeaderState::Unreadable;
    }
    let u32_at = |at: usize| bytes[at..].first_chunk().map_or(0, |b| u32::from_le_bytes(*b));
    let u64_at = |at: usize| bytes[at..].first_chunk().map_or(0, |b| u64::from_le_bytes(*b));
    let version = u32_at(8);
    if version > VERSION {
        return HeaderState::TooNew(version);
    }
    HeaderState::Good(SegmentHeader {
        salt: u32_at(12),
        number: u64_at(16),
        first_sequence: u64_at(24),
    })
}

/// A segment as it lies in the directory.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    pub(super) number: u64,
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
    pub(super) header: HeaderState,
}

impl Segment {
    pub(super) fn good_header(&self) -> Option<&SegmentHeader> {
        match &self.header {
            HeaderState::Good(header) => Some(header),
            HeaderState::TooNew(_) | HeaderState::Unreadable => None,
        }
    }
}

/// Name of segment `number` in `dir`.
pub(super) fn path_of(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:08}{EXTENSION}"))
}

/// Name of the file that has the salt once more: with it a segment is read whose own header, and
/// that of every other one, is gone.
const SALT_NAME: &str = "salt";

const SALT_MAGIC: [u8; 8] = *b"NXSALT\r\n";

/// Magic (8), salt (4), CRC (4).
const SALT_LEN: usize = 16;

/// The salt of the log in `dir` as its own file tells it, if that checks.
pub(super) fn read_salt(disk: &Arc<dyn Disk>, dir: &Path) -> Option<u32> {
    let path = dir.join(SALT_NAME);
    if !disk.exists(&path) {
        return None;
    }
    let file = open(disk, &path).ok()?;
    let mut bytes = [0; SALT_LEN];
    file.read_at(0, &mut bytes).or_else(|_| file.read_at(0, &mut bytes)).ok()?;
    let (checked, crc) = bytes.split_last_chunk::<4>()?;
    let (magic, salt) = checked.split_last_chunk::<4>()?;
    let is_good = magic == SALT_MAGIC && crc32fast::hash(checked) == u32::from_le_bytes(*crc);
    is_good.then(|| u32::from_le_bytes(*salt))
}

/// Writes the file with the salt, durably.
pub(super) fn write_salt(disk: &Arc<dyn Disk>, dir: &Path, salt: u32) -> std::io::Result<()> {
    let path = dir.join(SALT_NAME);
    let unfinished = dir.join("salt.tmp");
    if disk.exists(&unfinished) {
        disk.remove_file(&unfinished)?;
    }
    let mut file = disk.create(&unfinished)?;
    let mut bytes = SALT_MAGIC.to_vec();
    bytes.extend_from_slice(&salt.to_le_bytes());
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
    file.append(&bytes)?;
    file.sync()?;
    disk.rename(&unfinished, &path)?;
    disk.sync_dir(dir)
}

/// The segments in `dir`, oldest first, and the names of files that were never finished.
/// A missing directory has none. A segment that cannot be opened is damaged where the medium says
/// so, and an error otherwise: a right that is missing, or too many open files, may pass, and who
/// went on without it would lose for good what it holds.
pub(super) fn list(
    disk: &Arc<dyn Disk>,
    dir: &Path,
) -> Result<(Vec<Segment>, Vec<PathBuf>), StorageError> {
    if !disk.exists(dir) {
        return Ok((Vec::new(), Vec::new()));
    }
    let entries = disk.read_dir(dir).or_else(|_| disk.read_dir(dir));
    let mut segments = Vec::new();
    let mut unfinished = Vec::new();
    for entry in entries.map_err(|e| StorageError::io("list", dir, e))? {
        let path = dir.join(&entry.name);
        if let Some(number) = number_of(&entry.name, EXTENSION) {
            let header = read_header(disk, &path, number);
            let header = header.map_err(|e| StorageError::io("open", &path, e))?;
            segments.push(Segment { number, path, bytes: entry.len, header });
        } else if number_of(&entry.name, ".wal.tmp").is_some() {
            unfinished.push(path);
        }
    }
    segments.sort_unstable_by_key(|segment| segment.number);
    Ok((segments, unfinished))
}

/// The number in a name that ends in `extension`.
pub(super) fn number_of(name: &str, extension: &str) -> Option<u64> {
    let digits = name.strip_suffix(extension)?;
    if digits.bytes().all(|byte| byte.is_ascii_digit()) { digits.parse().ok() } else { None }
}

/// Opens a file that may fail once.
pub(super) fn open(disk: &Arc<dyn Disk>, path: &Path) -> std::io::Result<Box<dyn File>> {
    disk.open(path).or_else(|_| disk.open(path))
}

/// The first copy that checks and fits the name.
fn read_header(disk: &Arc<dyn Disk>, path: &Path, number: u64) -> std::io::Result<HeaderState> {
    let file = match open(disk, path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound || is_damage(&error) => {
            return Ok(HeaderState::Unreadable);
        }
        Err(error) => return Err(error),
    };
    let mut state = HeaderState::Unreadable;
    for copy in 0..2 {
        let offset = copy * HEADER_LEN as u64;
        let mut bytes = [0; HEADER_LEN];
        let read = file.read_at(offset, &mut bytes);
        if read.or_else(|_| file.read_at(offset, &mut bytes)).is_err() {
            continue;
        }
        match parse_header(&bytes) {
            HeaderState::Good(header) if header.number != number => {}
            HeaderState::Unreadable => {}
            found => {
                state = found;
                break;
            }
        }
    }
    Ok(state)
}
