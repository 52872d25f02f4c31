//! Reads an index file to its last byte: for tools, tests and the fuzzer.

use std::path::Path;

use super::units::{UnitFile, UnitWriter};
use super::{ChunkRef, INDEX, IndexReader, IndexWriter, LabelIndex, Visit};
use crate::disk::{Disk, StorageError};
use crate::model::Labels;

impl IndexReader {
    /// Reads everything and compares rows with postings: every pair of every series is found
    /// under that pair, and nothing else is.
    pub fn verify(&self) -> Result<(), StorageError> {
        let mut pairs = 0_u64;
        let mut rows = self.rows();
        for ordinal in 0..self.series_count() {
            rows.chunks(ordinal)?;
            pairs += rows.labels(ordinal)?.len() as u64;
        }
        let view = self.view();
        let mut names = Vec::new();
        view.visit_names(&mut |name| names.push(name.to_owned()));
        let mut listed = 0_u64;
        for name in &names {
            let mut values = Vec::new();
            view.visit_values(name, "", &mut |value| {
                let list = view.postings(name, value);
                listed += list.len();
                if let Some(first) = list.min() {
                    values.push((first, value.to_owned()));
                }
                Visit::Next
            });
            for (ordinal, value) in values {
                let labels = rows.labels(ordinal)?;
                if labels.get(name) != Some(&value) {
                    let what = format!("series {ordinal} is listed under {name}={value:?}");
                    return Err(self.inconsistent(&what));
                }
            }
        }
        view.finish()?;
        if listed == pairs {
            return Ok(());
        }
        Err(self.inconsistent(&format!("{pairs} labels in rows, {listed} in lists")))
    }
}

/// Writes an index file that lies: that of a few series, with bytes changed as `patches` say
/// (three bytes each: place, place, value), under checksums that fit. For the fuzzer, which would
/// otherwise never come past the checksums.
pub fn write_patched(disk: &dyn Disk, path: &Path, patches: &[u8]) -> Result<(), StorageError> {
    let draft = path.with_extension("draft");
    let mut writer = IndexWriter::create(disk, &draft)?;
    for i in 0..150_u32 {
        let pod = format!("pod-{}", i % 30);
        let uid = format!("{:08x}", (i % 30).wrapping_mul(0x9e37_79b9));
        let name = format!("metric_{:02}", i / 30);
        let labels =
            Labels::from_pairs([("__name__", name), ("pod", format!("{pod:>7}")), ("uid", uid)]);
        let part = (i % 4 == 0).then_some((1, 2));
        let chunk = ChunkRef { offset: u64::from(i) * 10, len: 10, column: i % 7, part };
        writer.add(&labels, &[chunk])?;
    }
    writer.finish()?;
    let file = UnitFile::open(disk, &draft, INDEX)?;
    let mut data = file.slice(0, file.data_len())?.to_vec();
    for patch in patches.chunks_exact(3) {
        let at = usize::from(u16::from_le_bytes([patch[0], patch[1]])) % data.len();
        data[at] = patch[2];
    }
    let mut writer = UnitWriter::create(disk, path, INDEX)?;
    writer.write(&data)?;
    writer.finish().map(drop)
}
