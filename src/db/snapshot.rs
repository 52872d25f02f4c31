//! Snapshots: the database as it is, in a directory of its own.
//!
//! `<data>/snapshots/<time>-<id>/` is a data directory that this program opens: the blocks as
//! hard links (copies, where the file system has none), those of a Prometheus that was taken over
//! too, their tombstones, and what the head holds as blocks. It is written under a name that ends
//! in `.tmp` and renamed when all of it is durable; what a crash leaves behind is removed at the
//! next start. Flushes, merges and deletions wait meanwhile, appends do not: the snapshot has what
//! is not newer than the head's newest sample when it began.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Database, Event, ROOT, Shared};
use crate::block::{TEMPORARY, Ulid};
use crate::compact::{Workshop, flush_window, occupied_windows};
use crate::disk::{Disk, StorageError};
use crate::model::TimeRange;

/// Name of the directory below the data path.
const SNAPSHOTS: &str = "snapshots";
/// Bytes that are copied at once.
const COPY_BYTES: usize = 1 << 20;

impl Database {
    /// Writes a snapshot into `<data>/snapshots/` and gives its path, which
    /// [`Database::open`] takes. Without `with_head` it has the blocks only.
    ///
    /// ```
    /// use narthex::{Cancellation, Database, Labels, Options, Queryable, TimeRange};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// let db = Database::open(folder.path(), Options::default())?;
    /// let labels = Labels::from_pairs([("__name__", "temperature")]);
    /// db.append(&labels, 1_700_000_000_000, 21.5)??;
    /// let path = db.snapshot(true)?;
    /// let copy = Database::open(path, Options::default())?;
    /// let names = copy.label_values("__name__", &[], TimeRange::ALL, &Cancellation::new())?;
    /// assert_eq!(names, ["temperature"]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn snapshot(&self, with_head: bool) -> Result<PathBuf, StorageError> {
        self.inner.shared.snapshot(with_head)
    }
}

impl Shared {
    fn snapshot(&self, with_head: bool) -> Result<PathBuf, StorageError> {
        let began = self.clock.monotonic();
        let _still = self.moving_lock();
        self.check_open()?;
        let now_ms = self.clock.now_ms();
        let name = format!("{}-{:016x}", compact_time(now_ms), Ulid::new(now_ms, None).low_bits());
        let dir = self.path.join(SNAPSHOTS);
        let temporary = dir.join(format!("{name}{TEMPORARY}"));
        let path = dir.join(&name);
        let written = self.write_snapshot(&temporary, with_head).and_then(|()| {
            let renamed = self.disk.rename(&temporary, &path);
            renamed.map_err(|e| StorageError::io("rename", &path, e))?;
            sync_dir(&*self.disk, &dir)
        });
        if let Err(error) = written {
            // The first error is the one to tell; what stays is swept away at the next start.
            let _ = self.disk.remove_dir_all(&temporary);
            return Err(error);
        }
        for why in self.blocks.unreadable() {
            let text = format!("snapshot {name} lacks what cannot be read: {why}");
            self.options.observer.event(&Event::Warning(text));
        }
        let took = self.clock.monotonic().saturating_sub(began);
        self.options.observer.event(&Event::Snapshot { path: path.clone(), took });
        Ok(path)
    }

    fn write_snapshot(&self, to: &Path, with_head: bool) -> Result<(), StorageError> {
        let disk = &*self.disk;
        let root = to.join(ROOT);
        let blocks = root.join("blocks");
        create_dir(disk, &blocks)?;
        for block in self.blocks.list().iter() {
            self.check_open()?;
            let to = blocks.join(block.meta().ulid.to_string());
            create_dir(disk, &to)?;
            let files = disk.read_dir(block.dir());
            for file in files.map_err(|e| StorageError::io("list", block.dir(), e))? {
                link(disk, &block.dir().join(&file.name), &to.join(&file.name))?;
            }
            sync_dir(disk, &to)?;
        }
        for block in self.takeover.list().iter() {
            self.check_open()?;
            link_all(disk, block.dir(), &to.join(block.meta().ulid.to_string()))?;
        }
        self.link_tombstones(&root)?;
        if with_head {
            self.write_head(&blocks)?;
        }
        for dir in [&blocks, &root, &to.to_owned()] {
            sync_dir(disk, dir)?;
        }
        Ok(())
    }

    fn link_tombstones(&self, root: &Path) -> Result<(), StorageError> {
        let mut files = self.blocks.tombstone_files();
        let foreign = self.takeover.list();
        let marked = foreign.iter().filter(|block| !block.tombstones().is_empty());
        files.extend(marked.map(|block| self.takeover.tombstone_file_of(block.meta().ulid)));
        if files.is_empty() {
            return Ok(());
        }
        let dir = root.join("tombstones");
        create_dir(&*self.disk, &dir)?;
        for file in files {
            link(&*self.disk, &file, &dir.join(file.file_name().unwrap_or_default()))?;
        }
        sync_dir(&*self.disk, &dir)
    }

    /// Writes what the head holds as blocks, one for each window.
    fn write_head(&self, blocks: &Path) -> Result<(), StorageError> {
        // Before that nobody knows how far the head reaches.
        self.head.wait_for_recovery()?;
        let Some(range) = self.head.time_range() else { return Ok(()) };
        let (check, damaged) = (
            || self.check_open(),
            |error: &StorageError| {
                let text = format!("a snapshot leaves out samples: {error}");
                self.options.observer.event(&Event::Warning(text));
            },
        );
        let workshop = Workshop {
            disk: &self.disk,
            blocks_dir: blocks.to_owned(),
            window_ms: self.options.block_duration_min_ms,
            check: &check,
            damaged: &damaged,
        };
        for start_ms in occupied_windows(&self.head, range, &workshop)? {
            let end_ms = start_ms.saturating_add(self.options.block_duration_min_ms);
            let max_ms = end_ms.saturating_sub(1).min(range.max_ms);
            // Names above those of all blocks: of two samples at one time the same stands.
            let ulid = self.blocks.fresh_ulid(self.clock.now_ms());
            flush_window(&self.head, TimeRange { min_ms: start_ms, max_ms }, ulid, &workshop)?;
        }
        Ok(())
    }

    /// Removes what unfinished snapshots left behind, before there can be another.
    pub(super) fn sweep_snapshots(disk: &Arc<dyn Disk>, path: &Path) -> Vec<String> {
        let dir = path.join(SNAPSHOTS);
        let entries = if disk.exists(&dir) { disk.read_dir(&dir) } else { return Vec::new() };
        let names = entries.into_iter().flatten().map(|entry| entry.name);
        let swept = names.filter(|name| name.ends_with(TEMPORARY)).filter_map(|name| {
            let path = dir.join(name);
            let removed = disk.remove_dir_all(&path).err()?;
            Some(format!("{} is not removed: {removed}", path.display()))
        });
        swept.collect()
    }

    /// Number and bytes of the snapshots; what they share with blocks is counted too.
    pub(super) fn snapshots(&self) -> (u64, u64) {
        let dir = self.path.join(SNAPSHOTS);
        let entries = if self.disk.exists(&dir) { self.disk.read_dir(&dir).ok() } else { None };
        let names = entries.into_iter().flatten().filter(|e| !e.name.ends_with(TEMPORARY));
        names.fold((0, 0), |(count, bytes), entry| {
            (count + 1, bytes + bytes_below(&*self.disk, &dir.join(entry.name)))
        })
    }
}

/// Bytes of all files below a directory, as far as it can be read.
pub(super) fn bytes_below(disk: &dyn Disk, dir: &Path) -> u64 {
    let entries = disk.read_dir(dir).unwrap_or_default();
    let below = |entry: &crate::disk::Entry| {
        if entry.is_dir { bytes_below(disk, &dir.join(&entry.name)) } else { entry.len }
    };
    entries.iter().map(below).sum()
}

fn create_dir(disk: &dyn Disk, dir: &Path) -> Result<(), StorageError> {
    disk.create_dir_all(dir).map_err(|e| StorageError::io("create", dir, e))
}

fn sync_dir(disk: &dyn Disk, dir: &Path) -> Result<(), StorageError> {
    disk.sync_dir(dir).map_err(|e| StorageError::io("sync", dir, e))
}

/// Second names for all files below a directory.
fn link_all(disk: &dyn Disk, from: &Path, to: &Path) -> Result<(), StorageError> {
    create_dir(disk, to)?;
    for entry in disk.read_dir(from).map_err(|e| StorageError::io("list", from, e))? {
        let (from, to) = (from.join(&entry.name), to.join(&entry.name));
        if entry.is_dir { link_all(disk, &from, &to)? } else { link(disk, &from, &to)? }
    }
    sync_dir(disk, to)
}

/// A second name for an immutable file, or a copy of it where the file system has no such thing.
fn link(disk: &dyn Disk, from: &Path, to: &Path) -> Result<(), StorageError> {
    if disk.hard_link(from, to).is_ok() {
        return Ok(());
    }
    let source = disk.open(from).map_err(|e| StorageError::io("open", from, e))?;
    let len = source.len().map_err(|e| StorageError::io("stat", from, e))?;
    let mut copy = disk.create(to).map_err(|e| StorageError::io("create", to, e))?;
    let mut buffer = vec![0; usize::try_from(len).unwrap_or(usize::MAX).min(COPY_BYTES)];
    let mut at = 0;
    while at < len {
        let part = &mut buffer[..(len - at).min(COPY_BYTES as u64) as usize];
        source.read_at(at, part).map_err(|e| StorageError::io("read", from, e))?;
        copy.append(part).map_err(|e| StorageError::io("append", to, e))?;
        at += part.len() as u64;
    }
    copy.sync().map_err(|e| StorageError::io("sync", to, e))
}

/// A time in UTC as `20060102T150405Z`.
fn compact_time(t_ms: i64) -> String {
    let seconds = t_ms.div_euclid(1000);
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Howard Hinnant, "chrono-compatible low-level date algorithms", civil_from_days.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let mut text = String::new();
    write!(text, "{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
        .expect("BUG: writing to memory succeeds");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_the_basic_form() {
        for (t_ms, text) in [
            (0, "19700101T000000Z"),
            (1_700_000_000_999, "20231114T221320Z"),
            (951_782_400_000, "20000229T000000Z"),
            (4_107_542_399_000, "21000228T235959Z"),
            (-1, "19691231T235959Z"),
        ] {
            assert_eq!(compact_time(t_ms), text);
        }
    }
}
