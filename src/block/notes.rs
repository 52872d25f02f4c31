//! `notes`: exemplars and descriptions of metrics that belong to a block.
//!
//! The file is there only where a block has some. It is a magic, a version and frames; a frame
//! holds a kind and the body of a log record of that kind (`storage-format.md`, section 8.8). It is
//! read as a whole, when somebody asks, and what does not check is told and left out.

use std::collections::BTreeMap;
use std::path::Path;

use crate::disk::{Disk, StorageError};
use crate::encoding::checksum::crc32;
use crate::encoding::cursor::{Cursor, CursorError};
use crate::model::{Labels, Metadata, SeriesExemplars};
use crate::wal::record::{self, RecordError, kind};

/// File name.
pub(super) const NOTES_FILE: &str = "notes";

const MAGIC: &[u8; 8] = b"NXNOTES\n";
const VERSION: u32 = 1;
/// Bytes at which a frame is ended and another begun.
const FRAME_BYTES: usize = 1 << 20;
/// Bytes beyond which a file is not read: more than a full ring of exemplars takes in every block
/// of a month.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// Endings that the series of a metric family have beside its name.
const SUFFIXES: [&str; 6] = ["_bucket", "_count", "_sum", "_total", "_info", "_created"];

/// What a block has beside samples.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Notes {
    /// Exemplars by series, in ascending order of labels.
    pub exemplars: Vec<SeriesExemplars>,
    /// What is said of metrics, by name.
    pub metadata: BTreeMap<String, Metadata>,
}

impl Notes {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.exemplars.is_empty() && self.metadata.is_empty()
    }

    /// Adds what a newer block has; of two descriptions its own stands.
    pub fn merge(&mut self, newer: Self) {
        self.metadata.extend(newer.metadata);
        merge_exemplars(&mut self.exemplars, newer.exemplars);
    }

    /// Leaves out what is said of metrics that have no series here. `has_metric` knows names of
    /// series.
    pub fn keep_metrics(&mut self, has_metric: impl Fn(&str) -> bool) {
        self.metadata.retain(|name, _| {
            has_metric(name) || SUFFIXES.iter().any(|suffix| has_metric(&format!("{name}{suffix}")))
        });
    }

    /// Writes the file into `dir` and makes it durable; nothing where there is nothing.
    pub(super) fn write(&self, disk: &dyn Disk, dir: &Path) -> Result<(), StorageError> {
        if self.is_empty() {
            return Ok(());
        }
        let path = dir.join(NOTES_FILE);
        let mut file = disk.create(&path).map_err(|e| StorageError::io("create", &path, e))?;
        let appended = file.append(&self.to_bytes());
        appended.map_err(|e| StorageError::io("append", &path, e))?;
        file.sync().map_err(|e| StorageError::io("sync", &path, e))
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&VERSION.to_le_bytes());
        let mut body = vec![kind::EXEMPLARS];
        for series in &self.exemplars {
            for exemplar in &series.exemplars {
                record::write_exemplar(&mut body, &series.series, exemplar);
                if body.len() >= FRAME_BYTES {
                    write_frame(&mut body, &mut out);
                }
            }
        }
        write_frame(&mut body, &mut out);
        body[0] = kind::METADATA;
        for (name, metadata) in &self.metadata {
            record::write_metadata(&mut body, name, metadata);
            if body.len() >= FRAME_BYTES {
                write_frame(&mut body, &mut out);
            }
        }
        write_frame(&mut body, &mut out);
        out
    }

    /// Reads the file in `dir`; none is no notes.
    pub(super) fn read(disk: &dyn Disk, dir: &Path) -> Result<Self, StorageError> {
        let path = dir.join(NOTES_FILE);
        if !disk.exists(&path) {
            return Ok(Self::default());
        }
        let file = disk.open(&path).map_err(|e| StorageError::io("open", &path, e))?;
        let len = file.len().map_err(|e| StorageError::io("stat", &path, e))?;
        if len > FILE_BYTES_MAX {
            return Err(StorageError::corrupt(&path, 0, format!("{len} bytes of notes")));
        }
        let mut bytes = vec![0; len as usize];
        file.read_at(0, &mut bytes).map_err(|e| StorageError::io("read", &path, e))?;
        Self::parse(&bytes)
            .map_err(|error| StorageError::corrupt(&path, error.offset as u64, error.what))
    }

    /// Reads the bytes of a file; damage anywhere is an error.
    pub fn parse(bytes: &[u8]) -> Result<Self, RecordError> {
        let mut notes = Self::default();
        let mut cursor = Cursor::new(bytes);
        if cursor.bytes(MAGIC.len())? != MAGIC || cursor.u32()? != VERSION {
            return Err(RecordError { offset: 0, what: "not notes of a known version" });
        }
        while !cursor.is_empty() {
            let offset = cursor.offset();
            let body = read_frame(&mut cursor)?;
            let within = |error: RecordError| RecordError { offset, ..error };
            notes.read_body(body).map_err(within)?;
        }
        Ok(notes)
    }

    fn read_body(&mut self, body: &[u8]) -> Result<(), RecordError> {
        let mut cursor = Cursor::new(body);
        match cursor.u8()? {
            kind::EXEMPLARS => {
                while let Some((series, exemplar)) = record::read_exemplar(&mut cursor)? {
                    match self.exemplars.last_mut() {
                        Some(last) if last.series == series => last.exemplars.push(exemplar),
                        _ => {
                            let exemplars = vec![exemplar];
                            self.exemplars.push(SeriesExemplars { series, exemplars });
                        }
                    }
                }
            }
            kind::METADATA => {
                while let Some((name, metadata)) = record::read_metadata(&mut cursor)? {
                    self.metadata.insert(name, metadata);
                }
            }
            // A later version may say more.
            _ => {}
        }
        Ok(())
    }
}

/// Merges exemplars of two sources, each in ascending order of labels; what both have stands once.
pub fn merge_exemplars(older: &mut Vec<SeriesExemplars>, newer: Vec<SeriesExemplars>) {
    if newer.is_empty() {
        return;
    }
    let mut all: BTreeMap<Labels, SeriesExemplars> =
        older.drain(..).map(|series| (series.series.clone(), series)).collect();
    for series in newer {
        match all.get_mut(&series.series) {
            None => {
                all.insert(series.series.clone(), series);
            }
            Some(known) => {
                for exemplar in series.exemplars {
                    let same = |other: &crate::model::Exemplar| other.is_same(&exemplar);
                    if !known.exemplars.iter().any(same) {
                        known.exemplars.push(exemplar);
                    }
                }
                known.exemplars.sort_by_key(|exemplar| exemplar.t_ms);
            }
        }
    }
    older.extend(all.into_values());
}

/// Appends a frame of what stands behind the kind in `body`, and empties that.
fn write_frame(body: &mut Vec<u8>, out: &mut Vec<u8>) {
    if body.len() == 1 {
        return;
    }
    let len = (body.len() as u32).to_le_bytes();
    let crc = crc32(&[&len, body.as_slice()].concat());
    out.extend_from_slice(&len);
    out.extend_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(body);
    body.truncate(1);
}

fn read_frame<'a>(cursor: &mut Cursor<'a>) -> Result<&'a [u8], RecordError> {
    let offset = cursor.offset();
    let len = cursor.u32()?;
    let crc = cursor.u32()?;
    let body: Result<_, CursorError> = cursor.bytes(len as usize);
    let body = body?;
    if crc32(&[&len.to_le_bytes(), body].concat()) != crc {
        return Err(RecordError { offset, what: "the checksum of a frame is wrong" });
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::SimulatedDisk;
    use crate::model::{Exemplar, MetricType};

    fn notes(times: &[i64], help: &str) -> Notes {
        let labels = Labels::from_pairs([("trace_id", "x")]);
        let exemplar = |t_ms: &i64| {
            let (labels, t_ms) = (labels.clone(), *t_ms);
            Exemplar { labels, value: 0.5, t_ms, is_timed: false }
        };
        let series = Labels::from_pairs([("__name__", "m_bucket")]);
        let exemplars = times.iter().map(exemplar).collect();
        let metadata = Metadata {
            metric_type: MetricType::Histogram,
            unit: String::new(),
            help: help.to_owned(),
        };
        Notes {
            exemplars: vec![SeriesExemplars { series, exemplars }],
            metadata: [("m".to_owned(), metadata)].into(),
        }
    }

    #[test]
    fn notes_come_back_and_damage_is_told() {
        let disk = SimulatedDisk::new(1);
        let dir = Path::new("/b");
        disk.create_dir_all(dir).unwrap();
        assert_eq!(Notes::read(&disk, dir).unwrap(), Notes::default());
        let written = notes(&[1, 2], "H.");
        written.write(&disk, dir).unwrap();
        assert_eq!(Notes::read(&disk, dir).unwrap(), written);
        let bytes = written.to_bytes();
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            assert!(Notes::parse(&damaged).is_err(), "byte {at}");
        }
    }

    #[test]
    fn what_both_have_stands_once() {
        let mut merged = notes(&[1, 3], "Old.");
        merged.merge(notes(&[2, 3], "New."));
        assert_eq!(merged, notes(&[1, 2, 3], "New."));
        merged.keep_metrics(|name| name == "m_bucket");
        assert_eq!(merged.metadata.len(), 1);
        merged.keep_metrics(|name| name == "other");
        assert!(merged.metadata.is_empty());
    }
}
