//! `narthex/prometheus`: what is remembered about data of Prometheus.
//!
//! A text of lines, replaced as a whole by a rename; the last line is the CRC-32 of all bytes
//! before it. Bytes: `storage-format.md`, section 11.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use super::deletions::Deletion;
use crate::block::{TEMPORARY, Ulid};
use crate::disk::{Disk, StorageError};
use crate::model::TimeRange;

/// Name of the file.
pub(super) const FILE: &str = "prometheus";
const FIRST_LINE: &str = "narthex-prometheus 1";
const BYTES_MAX: u64 = 64 << 20;

/// How far a log is imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::db) struct Position {
    /// Number of the last segment of which something was read.
    pub(in crate::db) segment: u64,
    /// Bytes of it that were read.
    pub(in crate::db) offset: u64,
    /// CRC-32C of the beginning of that segment, by which it is known again.
    pub(in crate::db) crc: u32,
}

/// What is remembered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::db) struct State {
    /// How far logs are imported, by kind (`wal`, `wbl`, `chunks_head`) and directory (`.`: the
    /// data directory).
    pub(in crate::db) positions: BTreeMap<(String, String), Position>,
    /// Blocks of Prometheus that were copied into ours.
    pub(in crate::db) imported: BTreeSet<Ulid>,
    /// Blocks at the data path that we wrote, and what they cover.
    pub(in crate::db) exported: BTreeMap<Ulid, TimeRange>,
    /// Windows that begin below this time are not exported: their exports went for their size.
    pub(in crate::db) exports_begin_ms: Option<i64>,
    /// Times of what was imported from the log at the data path.
    pub(in crate::db) log_range: Option<TimeRange>,
    /// Deletions that concern data of Prometheus, in the order in which they were made.
    pub(in crate::db) deletions: Vec<Deletion>,
    /// Blocks of Prometheus that were looked at, and the number of the last deletion then: what
    /// it and those before it hide is in their tombstones.
    pub(in crate::db) known: BTreeMap<Ulid, u64>,
}

impl State {
    /// Reads the file; without one nothing is remembered.
    pub(in crate::db) fn read(disk: &dyn Disk, root: &Path) -> Result<Self, StorageError> {
        let path = root.join(FILE);
        if !disk.exists(&path) {
            return Ok(Self::default());
        }
        let file = disk.open(&path).map_err(|e| StorageError::io("open", &path, e))?;
        let len = file.len().map_err(|e| StorageError::io("stat", &path, e))?;
        let mut bytes = vec![0; len.min(BYTES_MAX) as usize];
        file.read_at(0, &mut bytes).map_err(|e| StorageError::io("read", &path, e))?;
        Self::parse(&bytes)
            .map_err(|line| StorageError::corrupt(&path, 0, format!("line {line} does not read")))
    }

    /// Replaces the file; durable on return.
    pub(in crate::db) fn write(&self, disk: &dyn Disk, root: &Path) -> Result<(), StorageError> {
        let path = root.join(FILE);
        let temporary = root.join(format!("{FILE}{TEMPORARY}"));
        if disk.exists(&temporary) {
            disk.remove_file(&temporary).map_err(|e| StorageError::io("remove", &temporary, e))?;
        }
        let file = disk.create(&temporary);
        let mut file = file.map_err(|e| StorageError::io("create", &temporary, e))?;
        let append = file.append(self.to_text().as_bytes());
        append.map_err(|e| StorageError::io("append", &temporary, e))?;
        file.sync().map_err(|e| StorageError::io("sync", &temporary, e))?;
        disk.rename(&temporary, &path).map_err(|e| StorageError::io("rename", &path, e))?;
        disk.sync_dir(root).map_err(|e| StorageError::io("sync", root, e))
    }

    fn to_text(&self) -> String {
        let mut text = format!("{FIRST_LINE}\n");
        let mut put = |line: std::fmt::Arguments<'_>| {
            writeln!(text, "{line}").expect("BUG: writing to memory succeeds");
        };
        for ((kind, source), Position { segment, offset, crc }) in &self.positions {
            put(format_args!("position {kind} {segment} {offset} {crc} {source}"));
        }
        for ulid in &self.imported {
            put(format_args!("imported {ulid}"));
        }
        for (ulid, range) in &self.exported {
            put(format_args!("exported {ulid} {} {}", range.min_ms, range.max_ms));
        }
        if let Some(begin_ms) = self.exports_begin_ms {
            put(format_args!("exports-begin {begin_ms}"));
        }
        if let Some(TimeRange { min_ms, max_ms }) = self.log_range {
            put(format_args!("log {min_ms} {max_ms}"));
        }
        for deletion in &self.deletions {
            put(format_args!("deletion {}", deletion.to_line()));
        }
        for (ulid, number) in &self.known {
            put(format_args!("known {ulid} {number}"));
        }
        let crc = crc32fast::hash(text.as_bytes());
        writeln!(text, "crc {crc}").expect("BUG: writing to memory succeeds");
        text
    }

    /// The error is the number of the line that does not read.
    fn parse(bytes: &[u8]) -> Result<Self, usize> {
        let text = std::str::from_utf8(bytes).map_err(|_| 0_usize)?;
        let mut state = Self::default();
        let mut begin = 0;
        let mut is_whole = false;
        for (i, line) in text.split_inclusive('\n').enumerate() {
            let at = begin;
            begin += line.len();
            let line = line.strip_suffix('\n').ok_or(i + 1)?;
            if i == 0 {
                if line != FIRST_LINE {
                    return Err(1);
                }
                continue;
            }
            is_whole = if let Some(crc) = line.strip_prefix("crc ") {
                crc.parse() == Ok(crc32fast::hash(&bytes[..at]))
            } else {
                state.line(line).ok_or(i + 1)?;
                false
            };
        }
        if is_whole { Ok(state) } else { Err(text.lines().count()) }
    }

    fn line(&mut self, line: &str) -> Option<()> {
        let (word, rest) = line.split_once(' ')?;
        let mut fields = rest.splitn(5, ' ');
        match word {
            "position" => {
                let kind = fields.next()?.to_owned();
                let position = Position {
                    segment: fields.next()?.parse().ok()?,
                    offset: fields.next()?.parse().ok()?,
                    crc: fields.next()?.parse().ok()?,
                };
                self.positions.insert((kind, fields.next()?.to_owned()), position);
            }
            "imported" => {
                self.imported.insert(Ulid::parse(fields.next()?)?);
            }
            "exported" => {
                let ulid = Ulid::parse(fields.next()?)?;
                let min_ms = fields.next()?.parse().ok()?;
                let max_ms = fields.next()?.parse().ok()?;
                self.exported.insert(ulid, TimeRange { min_ms, max_ms });
            }
            "exports-begin" => self.exports_begin_ms = Some(fields.next()?.parse().ok()?),
            "log" => {
                let min_ms = fields.next()?.parse().ok()?;
                let max_ms = fields.next()?.parse().ok()?;
                self.log_range = Some(TimeRange { min_ms, max_ms });
            }
            "deletion" => self.deletions.push(Deletion::parse(rest)?),
            "known" => {
                self.known.insert(Ulid::parse(fields.next()?)?, fields.next()?.parse().ok()?);
            }
            // A later version may remember more.
            _ => {}
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::SimulatedDisk;

    #[test]
    fn what_is_written_reads_back_and_damage_is_found() {
        let mut state = State::default();
        let key = |source: &str| ("wal".to_owned(), source.to_owned());
        let position = Position { segment: 7, offset: 99, crc: 5 };
        state.positions.insert(key("."), position);
        state.positions.insert(key("/old data/prom"), Position::default());
        state.imported.insert(Ulid::new(1, None));
        let range = TimeRange { min_ms: -5, max_ms: 9 };
        state.exported.insert(Ulid::new(2, None), range);
        state.exports_begin_ms = Some(-7);
        state.log_range = Some(range);
        state.known.insert(Ulid::new(3, None), 4);
        let line = "4 -5..9 -5..9 00000000010000000000000000 __name__=a%20b x!~";
        state.deletions.push(Deletion::parse(line).unwrap());
        let disk = SimulatedDisk::new(1);
        let root = Path::new("/data/narthex");
        disk.create_dir_all(root).unwrap();
        assert_eq!(State::read(&disk, root).unwrap(), State::default());
        for _ in 0..2 {
            state.write(&disk, root).unwrap();
            assert_eq!(State::read(&disk, root).unwrap(), state);
        }
        let text = state.to_text().into_bytes();
        for at in 0..text.len() {
            let mut damaged = text.clone();
            damaged[at] ^= 2;
            assert!(State::parse(&damaged).is_err(), "byte {at}");
            assert!(State::parse(&text[..at]).is_err(), "byte {at}");
        }
    }
}
