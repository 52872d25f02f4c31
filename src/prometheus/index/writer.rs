//! Writes an index file of version 2.
//!
//! Symbols come first in the file and are known last, so series are kept, as numbers, until all
//! are there: some 100 bytes for a series with a dozen labels.

use std::path::Path;

use hashbrown::HashMap;

use super::super::castagnoli::{crc32c, extend};
use super::super::file::GrowingFile;
use super::rows::{ChunkRow, write_chunks};
use super::{MAGIC, SERIES_ALIGN};
use crate::disk::{Disk, StorageError};
use crate::encoding::cursor::Cursor;
use crate::encoding::varint::{write_bytes, write_str, write_uvarint};
use crate::model::Labels;

const BUG: &str = "BUG: it was just written";

/// Collects series, then writes the file.
#[derive(Debug, Default)]
pub struct IndexWriter {
    symbols: HashMap<Box<str>, u32>,
    /// For each series: number of labels, their symbols, length of the chunks, the chunks.
    series: Vec<u8>,
    count: u64,
    chunks: Vec<u8>,
}

impl IndexWriter {
    /// A writer without series.
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of series so far.
    pub fn series_count(&self) -> u64 {
        self.count
    }

    /// Adds a series whose labels are above all before it.
    pub fn add(&mut self, labels: &Labels, chunks: &[ChunkRow]) {
        write_uvarint(&mut self.series, labels.len() as u64);
        for (name, value) in labels {
            for text in [name, value] {
                let number = self.number(text);
                write_uvarint(&mut self.series, u64::from(number));
            }
        }
        self.chunks.clear();
        write_chunks(chunks, &mut self.chunks);
        write_bytes(&mut self.series, &self.chunks);
        self.count += 1;
    }

    fn number(&mut self, text: &str) -> u32 {
        if let Some(&number) = self.symbols.get(text) {
            return number;
        }
        let number = self.symbols.len() as u32;
        self.symbols.insert(text.into(), number);
        number
    }

    /// Writes the file and makes it durable; its name is the caller's matter.
    pub fn finish(self, disk: &dyn Disk, path: &Path) -> Result<u64, StorageError> {
        let mut file = GrowingFile::create(disk, path)?;
        file.write(&MAGIC.to_be_bytes())?;
        file.write(&[2])?;
        let mut symbols: Vec<(Box<str>, u32)> = self.symbols.into_iter().collect();
        symbols.sort_unstable();
        let mut ranks = vec![0; symbols.len()];
        for (rank, (_, number)) in symbols.iter().enumerate() {
            ranks[*number as usize] = rank as u32;
        }
        let symbols_at = file.position();
        let mut content = Vec::new();
        for (text, _) in &symbols {
            write_str(&mut content, text);
        }
        write_section(&mut file, symbols.len(), &content)?;
        drop(content);
        file.pad(SERIES_ALIGN);
        let series_at = file.position();
        let mut lists = write_series(&mut file, &self.series, &ranks)?;
        drop(self.series);
        file.pad(4);
        let postings_at = file.position();
        let mut pairs: Vec<((u32, u32), Vec<u32>)> = lists.by_pair.drain().collect();
        pairs.sort_unstable_by_key(|(pair, _)| *pair);
        let mut table = Vec::new();
        let mut write_list = |name: &str, value: &str, list: &[u32]| {
            write_uvarint(&mut table, 2);
            write_str(&mut table, name);
            write_str(&mut table, value);
            write_uvarint(&mut table, file.position());
            let content: Vec<u8> = list.iter().flat_map(|number| number.to_be_bytes()).collect();
            write_section(&mut file, list.len(), &content)
        };
        write_list("", "", &lists.all)?;
        for ((name, value), list) in &pairs {
            write_list(&symbols[*name as usize].0, &symbols[*value as usize].0, list)?;
        }
        let table_at = file.position();
        write_section(&mut file, pairs.len() + 1, &table)?;
        // The two tables of labels that old versions had are empty.
        let mut toc = Vec::new();
        for at in [symbols_at, series_at, postings_at, table_at, postings_at, table_at] {
            toc.extend_from_slice(&at.to_be_bytes());
        }
        toc.extend_from_slice(&crc32c(&toc).to_be_bytes());
        file.write(&toc)?;
        file.finish()
    }
}

/// The series with each pair of symbols, by rank, and all of them.
#[derive(Debug, Default)]
struct Lists {
    by_pair: HashMap<(u32, u32), Vec<u32>>,
    all: Vec<u32>,
}

fn write_series(
    file: &mut GrowingFile,
    series: &[u8],
    ranks: &[u32],
) -> Result<Lists, StorageError> {
    let mut lists = Lists::default();
    let mut cursor = Cursor::new(series);
    let mut entry = Vec::new();
    while !cursor.is_empty() {
        file.pad(SERIES_ALIGN);
        let number = u32::try_from(file.position() / SERIES_ALIGN).map_err(|_| {
            StorageError::Unwritable("an index of Prometheus ends at 64 GiB".to_owned())
        })?;
        lists.all.push(number);
        entry.clear();
        let labels = cursor.uvarint().expect(BUG);
        write_uvarint(&mut entry, labels);
        for _ in 0..labels {
            let mut rank = || ranks[cursor.uvarint().expect(BUG) as usize];
            let pair = (rank(), rank());
            write_uvarint(&mut entry, u64::from(pair.0));
            write_uvarint(&mut entry, u64::from(pair.1));
            lists.by_pair.entry(pair).or_default().push(number);
        }
        entry.extend_from_slice(cursor.sized_bytes().expect(BUG));
        let mut head = Vec::new();
        write_uvarint(&mut head, entry.len() as u64);
        file.write(&head)?;
        let crc = crc32c(&entry);
        entry.extend_from_slice(&crc.to_be_bytes());
        file.write(&entry)?;
    }
    Ok(lists)
}

/// Length, number of items, items, checksum.
fn write_section(file: &mut GrowingFile, count: usize, items: &[u8]) -> Result<(), StorageError> {
    let too_long = |_| {
        let what = "a table in an index of Prometheus ends at 4 GiB".to_owned();
        StorageError::Unwritable(what)
    };
    let len = u32::try_from(items.len() + 4).map_err(too_long)?;
    let count = u32::try_from(count).map_err(too_long)?.to_be_bytes();
    file.write(&len.to_be_bytes())?;
    file.write(&count)?;
    file.write(items)?;
    file.write(&extend(crc32c(&count), items).to_be_bytes())
}
