//! Several blocks as one, or one block without what was deleted from it.
//!
//! Streams over all blocks in label order and merges samples by time; of two samples at one time
//! that of the block of the lower order stays, as queries see it. Any damage ends the work with an
//! error: the blocks are then left as they are, because a merge would make the loss final.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use super::Workshop;
use crate::block::{Block, BlockWriter, Meta, Notes, Scan, Selection, Tombstones, Ulid};
use crate::chunk::Coder;
use crate::disk::StorageError;
use crate::model::{Labels, Samples, TimeRange};
use crate::select::merge_samples;

/// Series of one block whose labels are held at once.
const SERIES_PER_STRETCH: u32 = 256;
/// Merged blocks cut their chunks at this many windows of the smallest block: fewer chunks, and
/// still no more to decode than a query can bear.
const WINDOWS_PER_CHUNK: i64 = 3;

/// A merged block of which all but its name is written.
#[derive(Debug)]
pub struct Merged {
    writer: BlockWriter,
    level: u32,
    parents: Vec<Ulid>,
    tombstones: Vec<(Arc<Block>, Arc<Tombstones>)>,
}

impl Merged {
    /// Whether something was deleted from one of the blocks since the merge began: it would be
    /// there again.
    pub fn is_outdated(&self) -> bool {
        self.tombstones.iter().any(|(block, before)| *block.tombstones() != **before)
    }

    /// Makes the block durable: from now on it takes the place of its parents. `None` where they
    /// hold nothing.
    pub fn finish(self) -> Result<Option<Meta>, StorageError> {
        self.writer.finish(self.level, self.parents)
    }

    /// Gives up and removes what was written.
    pub fn abandon(self) -> Result<(), StorageError> {
        self.writer.abandon()
    }
}

/// Merges `blocks` into the block `ulid`, without what is deleted from them.
pub fn merge_blocks(
    blocks: &[Arc<Block>],
    ulid: Ulid,
    workshop: &Workshop<'_>,
) -> Result<Merged, StorageError> {
    let mut blocks: Vec<&Arc<Block>> = blocks.iter().collect();
    blocks.sort_by_key(|block| block.meta().order);
    let parents: Vec<Ulid> = blocks.iter().map(|block| block.meta().ulid).collect();
    let highest = blocks.iter().map(|block| block.meta().level).max().unwrap_or(0);
    let level = highest + u32::from(blocks.len() > 1);
    let min_ms = blocks.iter().map(|block| block.meta().range.min_ms).min().unwrap_or(0);
    let Workshop { disk, blocks_dir, window_ms, .. } = workshop;
    let chunk_window_ms = window_ms.saturating_mul(WINDOWS_PER_CHUNK);
    let mut writer =
        BlockWriter::create(disk, blocks_dir, ulid, min_ms, chunk_window_ms, Coder::Dense)?;
    match write_series(&blocks, &mut writer, workshop) {
        Ok(tombstones) => {
            if let Some(first) = blocks.first() {
                writer.set_order(first.meta().order);
            }
            writer.set_notes(merged_notes(&blocks, workshop)?);
            let tombstones = blocks.into_iter().cloned().zip(tombstones).collect();
            Ok(Merged { writer, level, parents, tombstones })
        }
        Err(error) => {
            // The first error is the one to tell; what stays is swept away at the next start.
            let _ = writer.abandon();
            Err(error)
        }
    }
}

/// What the blocks have beside samples. Unlike a chunk's, damage here is no reason to leave the
/// blocks apart: it is told, and those notes are given up.
fn merged_notes(blocks: &[&Arc<Block>], workshop: &Workshop<'_>) -> Result<Notes, StorageError> {
    let mut notes = Notes::default();
    for block in blocks {
        match block.notes(&**workshop.disk) {
            Ok(more) => notes.merge(more),
            Err(error @ StorageError::Corrupt { .. }) => (workshop.damaged)(&error),
            Err(error) => return Err(error),
        }
    }
    Ok(notes)
}

/// A block on its way through the merge.
struct Source {
    scan: Scan,
    stretch: Option<Selection>,
    next: usize,
}

impl Source {
    fn open(block: &Arc<Block>) -> Result<Self, StorageError> {
        let mut scan = block.scan();
        let stretch = scan.next_stretch(SERIES_PER_STRETCH)?;
        Ok(Self { scan, stretch, next: 0 })
    }

    fn labels(&self) -> Option<&Labels> {
        self.stretch.as_ref().map(|stretch| stretch.labels(self.next))
    }

    /// Reads the current series.
    fn read(&self, out: &mut Samples) -> Result<(), StorageError> {
        let Some(stretch) = &self.stretch else { return Ok(()) };
        let mut damage = None;
        stretch.read(self.next, TimeRange::ALL, out, &mut |error| {
            damage.get_or_insert(error);
        })?;
        damage.map_or(Ok(()), Err)
    }

    fn advance(&mut self) -> Result<(), StorageError> {
        self.next += 1;
        if self.stretch.as_ref().is_some_and(|stretch| stretch.len() == self.next) {
            self.stretch = self.scan.next_stretch(SERIES_PER_STRETCH)?;
            self.next = 0;
        }
        Ok(())
    }
}

/// Writes all series; gives the tombstones of each block that were left out.
fn write_series(
    blocks: &[&Arc<Block>],
    writer: &mut BlockWriter,
    workshop: &Workshop<'_>,
) -> Result<Vec<Arc<Tombstones>>, StorageError> {
    let mut sources =
        blocks.iter().map(|block| Source::open(block)).collect::<Result<Vec<_>, _>>()?;
    let mut heap = BinaryHeap::new();
    for (number, source) in sources.iter().enumerate() {
        heap.extend(source.labels().map(|labels| Reverse((labels.clone(), number))));
    }
    let mut merged = Samples::default();
    let mut part = Samples::default();
    let mut current: Option<Labels> = None;
    while let Some(Reverse((labels, number))) = heap.pop() {
        if current.as_ref() != Some(&labels) {
            (workshop.check)()?;
            if let Some(done) = current.replace(labels) {
                writer.add(&done, &merged)?;
            }
            merged.clear();
        }
        let source = &mut sources[number];
        source.read(&mut part)?;
        merge_samples(&mut merged, &mut part);
        source.advance()?;
        heap.extend(source.labels().map(|labels| Reverse((labels.clone(), number))));
    }
    if let Some(last) = current {
        writer.add(&last, &merged)?;
    }
    Ok(sources.iter().map(|source| Arc::clone(source.scan.tombstones())).collect())
}
