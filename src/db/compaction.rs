//! Merging blocks: what the plan says, at a pace that leaves room for queries.
//!
//! One merge at a time. While it runs, the head is looked after between two series, so that a
//! merge of hours holds up no seal and no flush; and it rests after each slice of work. A block
//! that does not check or does not read is left as it is, and the others are merged.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{Event, Shared};
use crate::block::{Block, Meta, Ulid};
use crate::compact::{Limits, merge_blocks, plan};
use crate::disk::StorageError;

/// Attempts at a merge after which deletions wait for it.
const MERGE_ATTEMPTS: u32 = 3;
/// A merge works for so long and then rests for half of it: queries come first.
const WORK: Duration = Duration::from_millis(10);
const REST: Duration = Duration::from_millis(5);
/// A merged block takes at most this part of the bytes that may be stored, as it takes at most
/// this part of the time that is kept: while it is written its parents stand beside it.
const PART_OF_RETENTION: u64 = 10;

/// How a merge goes about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// Rests now and then.
    Steady,
    /// Somebody waits for it.
    Hurried,
}

/// The state of what is done beside a merge.
struct Beside<'a> {
    shared: &'a Shared,
    pace: Pace,
    /// Whether samples may move meanwhile.
    flushes: bool,
    rested_at: Cell<Duration>,
    kept_at: Cell<Duration>,
}

impl Shared {
    /// Merges blocks until the plan has nothing more. Blocks that fail rest until the next time;
    /// the first error is returned.
    pub(super) fn merge_due(&self, with_newest: bool, pace: Pace) -> Result<(), StorageError> {
        let mut resting = BTreeSet::new();
        let mut result = Ok(());
        loop {
            let limits = Limits {
                window_ms: self.options.block_duration_min_ms,
                limit_ms: self.options.block_duration_limit_ms(),
                bytes_max: self.bytes_max().map(|bytes| bytes / PART_OF_RETENTION),
                with_newest,
            };
            let mut candidates = self.blocks.candidates();
            for candidate in &mut candidates {
                candidate.is_damaged |= resting.contains(&candidate.ulid);
            }
            let Some(names) = plan(&candidates, &limits) else { return result };
            if self.make_space(self.bytes_of(&names)) {
                // The plan may have named what is gone.
                continue;
            }
            if let Err((error, culprits)) = self.merge(&names, pace) {
                if culprits.is_empty() {
                    return result.and(Err(error));
                }
                resting.extend(culprits);
                result = result.and(Err(error));
            }
        }
    }

    fn bytes_of(&self, names: &[Ulid]) -> u64 {
        let list = self.blocks.list();
        let chosen = list.iter().filter(|block| names.contains(&block.meta().ulid));
        chosen.map(|block| block.bytes()).sum()
    }

    /// Merges these blocks; one block is written anew without what was deleted from it. With an
    /// error come the blocks that are to blame for it, if any are. A block that turns out to be
    /// damaged rests from then on, which is no error: it was told.
    pub(super) fn merge(
        &self,
        names: &[Ulid],
        pace: Pace,
    ) -> Result<(), (StorageError, Vec<Ulid>)> {
        let began = self.clock.monotonic();
        let list = self.blocks.list();
        let chosen = list.iter().filter(|block| names.contains(&block.meta().ulid));
        let chosen: Vec<_> = chosen.cloned().collect();
        let meta = match self.merged(&chosen, pace) {
            Ok(meta) => meta,
            Err(error) => return self.blame(error, &chosen),
        };
        self.counters.compactions.fetch_add(1, Ordering::Relaxed);
        self.options.observer.event(&Event::Compacted {
            sources: names.iter().map(ToString::to_string).collect(),
            block: meta.map(|meta| meta.ulid.to_string()),
            took: self.clock.monotonic().saturating_sub(began),
        });
        Ok(())
    }

    /// Finds out which blocks have to rest after a merge that failed.
    fn blame(
        &self,
        error: StorageError,
        chosen: &[Arc<Block>],
    ) -> Result<(), (StorageError, Vec<Ulid>)> {
        let blamed = |path: &Path| chosen.iter().find(|block| path.starts_with(block.dir()));
        match &error {
            StorageError::Corrupt { path, .. } => match blamed(path) {
                Some(block) => {
                    self.blocks.note_damage(block, &error.to_string());
                    Ok(())
                }
                None => Err((error, Vec::new())),
            },
            StorageError::Io { op: "open" | "stat" | "read" | "map", path, .. } => {
                // The new block did not read where none of the old ones is to blame.
                let culprits = match blamed(path) {
                    Some(block) => vec![block.meta().ulid],
                    None => chosen.iter().map(|block| block.meta().ulid).collect(),
                };
                Err((error, culprits))
            }
            _ => Err((error, Vec::new())),
        }
    }

    /// Writes the merged block and serves it in the place of `chosen`. Where something is deleted
    /// from these meanwhile it is done again; from the third time on deletions wait.
    fn merged(&self, chosen: &[Arc<Block>], pace: Pace) -> Result<Option<Meta>, StorageError> {
        for attempt in 1.. {
            let still = (attempt >= MERGE_ATTEMPTS).then(|| self.moving_lock());
            let beside = Beside::new(self, pace, still.is_none());
            let check = || beside.check();
            let ulid = self.blocks.fresh_ulid(self.clock.now_ms());
            let merged = merge_blocks(chosen, ulid, &self.workshop(&check, &|_| {}))?;
            let _still = still.unwrap_or_else(|| self.moving_lock());
            if merged.is_outdated() {
                merged.abandon()?;
                continue;
            }
            let meta = merged.finish()?;
            if let Some(meta) = &meta {
                self.blocks.publish(meta)?;
            } else {
                let gone: Vec<Ulid> = chosen.iter().map(|block| block.meta().ulid).collect();
                self.blocks.drop_blocks(&gone);
            }
            return Ok(meta);
        }
        unreachable!("BUG: the loop has no end")
    }
}

impl<'a> Beside<'a> {
    fn new(shared: &'a Shared, pace: Pace, flushes: bool) -> Self {
        let now = Cell::new(shared.clock.monotonic());
        Self { shared, pace, flushes, rested_at: now.clone(), kept_at: now }
    }

    /// Called between two series.
    fn check(&self) -> Result<(), StorageError> {
        self.shared.check_open()?;
        let now = self.shared.clock.monotonic();
        if now.saturating_sub(self.kept_at.get()) >= self.shared.options.maintenance_interval {
            self.keep_head();
            self.kept_at.set(self.shared.clock.monotonic());
        }
        if self.pace == Pace::Steady && now.saturating_sub(self.rested_at.get()) >= WORK {
            self.shared.sleep(REST);
            self.rested_at.set(self.shared.clock.monotonic());
        }
        Ok(())
    }

    /// What else is due; a failure there is told there, and no reason to end the merge.
    fn keep_head(&self) {
        let shared = self.shared;
        let _ = shared.told("sync and seal", shared.head.maintain(shared.clock.now_ms()));
        if self.flushes {
            let _ = shared.told("flush", shared.flush_due());
        }
    }
}
