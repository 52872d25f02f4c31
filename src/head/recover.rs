//! Opening a head: checkpoint, head files, then the log.
//!
//! The log is read twice: a first pass applies the tables and sorts the rest into parts
//! (`scan.rs`), and from then on the head serves; a second one replays part after part, those that
//! somebody waits for first (`parts.rs`), by several threads where that is wanted. Who asks for a
//! group that is not replayed waits for it (`gate.rs`).
//!
//! Records that a tile or the checkpoint covers are skipped by their number, so replay does no
//! more than what is unsealed. Where records of a group are missing, each of its series resumes at
//! its next absolute value. A damaged head file is moved to `quarantine/`; a damaged part of the
//! log is left out and told. Only what a newer version wrote, and a medium that refuses, are
//! errors.

mod attach;
mod parts;
mod rows;
mod scan;
mod tables;

use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};

use hashbrown::{HashMap, HashSet};

use self::parts::Work;
use self::rows::Tail;
use super::append::{OpenAppenders, Rooms};
use super::checkpoint::HeadState;
use super::deletion::Deletions;
use super::gate::Gate;
use super::group::NO_TIME;
use super::limits::LimitCounts;
use super::notes::Ring;
use super::seal::Maintenance;
use super::stats::Counters;
use super::table::GroupTable;
use super::tile::{HeadFile, HeadFiles, TEMPORARY_ENDING, file_number};
use super::{Bounds, Event, Head, HeadOptions};
use crate::disk::{Disk, StorageError};
use crate::wal::{self, CheckpointReader, Damage, DamageKind, Log, LogOptions, Position, Syncer};

/// Rebuilds the tables of a head that nobody else sees yet.
#[derive(Debug)]
struct Recovery<'a> {
    head: &'a Head,
    state: HeadState,
    /// How far the log was applied, by group.
    tails: HashMap<u32, Tail>,
    /// Ids below were given to series, whether they are there or not.
    ids_end: u32,
    /// Symbols that the checkpoint's series name by their place here; each is held.
    symbols: Vec<u32>,
    /// Groups of the part that is replayed; `None` while tables are read.
    part: Option<HashSet<u32>>,
    records: u64,
    samples: u64,
}

impl Head {
    /// Opens what `options.dir` holds: checkpoint, head files, then the log. Damaged files go to
    /// `quarantine/` and are told to the observer; only an unreadable directory, a newer format or
    /// a medium that refuses are errors.
    ///
    /// With [`HeadOptions::replay_threads`] it returns as soon as the tables are read. What is
    /// asked of a group then waits until the group is replayed.
    pub fn open(options: HeadOptions) -> Result<Arc<Self>, StorageError> {
        let work = Self::read_tables(options)?;
        let head = Arc::clone(&work.head);
        parts::start(work, head.options.replay_threads);
        Ok(head)
    }

    /// Everything but the replay of rows, and the work that this leaves.
    fn read_tables(options: HeadOptions) -> Result<Work, StorageError> {
        let started = options.clock.monotonic();
        let files_dir = options.dir.join("head");
        let created = options.disk.create_dir_all(&files_dir);
        created.map_err(|e| StorageError::io("create", &files_dir, e))?;
        // A file whose name the process before could not make durable counts from now on.
        for dir in [&options.dir, &files_dir] {
            options.disk.sync_dir(dir).map_err(|e| StorageError::io("sync", dir, e))?;
        }
        let (checkpoint, damages) =
            wal::read_newest(&options.disk, &options.dir.join("checkpoint"))?;
        let after = checkpoint.as_ref().map_or(Position::START, CheckpointReader::position);
        let head = Arc::new(Self::empty(options, after)?);
        for damage in damages {
            head.put_aside(&damage);
        }
        let mut recovery = Recovery::new(&head);
        if let Some(mut checkpoint) = checkpoint {
            recovery.read_checkpoint(&mut checkpoint)?;
            head.counters.checkpoint_bytes.store(checkpoint.bytes(), Ordering::Relaxed);
        }
        let files = recovery.open_files(&files_dir)?;
        let (scan, reader) = recovery.scan(after)?;
        let lost = recovery.lost_groups(&files);
        let parts = recovery.parts(scan, &files);
        recovery.prepare(&files);
        head.register_write().index.fold();
        {
            let mut state = head.maintenance()?;
            state.clip = recovery.state.clip;
            state.checkpointed_at = head.options.clock.monotonic();
            state.is_checkpoint_due = recovery.records > 0;
        }
        let (state, records) = (recovery.state, recovery.records);
        let parts = parts.into_iter().map(Mutex::new).collect();
        let samples = AtomicU64::new(0);
        Ok(Work { head, reader, files, state, lost, parts, records, samples, started })
    }

    fn empty(options: HeadOptions, after: Position) -> Result<Self, StorageError> {
        let log_options = LogOptions {
            segment_bytes_max: options.segment_bytes_max,
            sync_interval: options.sync_interval,
        };
        let (disk, clock) = (Arc::clone(&options.disk), Arc::clone(&options.clock));
        let log = Arc::new(Log::open(disk, &options.log_dir(), log_options, clock, after)?);
        let late_window_ms = options.out_of_order_window_ms.max(0);
        let exemplars = Ring::new(options.exemplars_max, late_window_ms);
        Ok(Self {
            syncer: Syncer::new(Arc::clone(&log)),
            log,
            options,
            register: RwLock::default(),
            groups: RwLock::new(GroupTable::default()),
            files: Mutex::new(HeadFiles::default()),
            open_appenders: OpenAppenders::default(),
            rooms: Rooms::default(),
            multi: RwLock::new(0),
            bounds: Bounds {
                oldest_ms: AtomicI64::new(i64::MAX),
                newest_ms: AtomicI64::new(NO_TIME),
                lower_ms: AtomicI64::new(NO_TIME),
                flushing_ms: AtomicI64::new(NO_TIME),
                late_window_ms: AtomicI64::new(late_window_ms),
            },
            counters: Counters::default(),
            limit_counts: LimitCounts::default(),
            changes: super::Changes::default(),
            log_kept_from: AtomicU64::new(u64::MAX),
            deletions: RwLock::new(Deletions::default()),
            exemplars: Mutex::new(exemplars),
            metadata: Mutex::default(),
            maintenance: Mutex::new(Maintenance::default()),
            gate: Gate::new(),
            is_closed: AtomicBool::new(false),
        })
    }

    /// Tells the observer of something that was left out.
    fn tell(&self, path: &Path, what: &str) {
        self.options.observer.observe(Event::Damaged { path, what });
    }
}

impl HeadOptions {
    fn log_dir(&self) -> PathBuf {
        self.dir.join("wal")
    }
}

impl<'a> Recovery<'a> {
    fn new(head: &'a Head) -> Self {
        let state = HeadState {
            lower_ms: NO_TIME,
            newest_ms: NO_TIME,
            clip: None,
            next_file: 1,
            files: Vec::new(),
        };
        let tails = HashMap::new();
        let (ids_end, records, samples) = (0, 0, 0);
        Self { head, state, tails, ids_end, symbols: Vec::new(), part: None, records, samples }
    }

    /// Opens the head files that count, removes what is left of unfinished work, and puts damaged
    /// ones aside.
    fn open_files(&mut self, dir: &Path) -> Result<Vec<Arc<HeadFile>>, StorageError> {
        let options = &self.head.options;
        let entries = options.disk.read_dir(dir).map_err(|e| StorageError::io("list", dir, e))?;
        let mut found = Vec::new();
        let mut next = self.state.next_file.max(self.head.files().next);
        for entry in entries.iter().filter(|entry| !entry.is_dir) {
            let path = dir.join(&entry.name);
            let number = file_number(&entry.name);
            next = next.max(number.map_or(0, |number| number + 1));
            let counts = |n: &u64| *n >= self.state.next_file || self.state.files.contains(n);
            let Some(number) = number.filter(counts) else {
                if number.is_some() || entry.name.ends_with(TEMPORARY_ENDING) {
                    let removed = options.disk.remove_file(&path);
                    removed.map_err(|e| StorageError::io("remove", &path, e))?;
                }
                continue;
            };
            found.push((path, number));
        }
        let mut files = Vec::new();
        let opened = open_all(&*options.disk, &found, options.replay_threads);
        for (opened, (path, _)) in opened.into_iter().zip(&found) {
            match opened {
                Ok(file) => files.push(Arc::new(file)),
                Err(error @ (StorageError::Corrupt { .. } | StorageError::Io { op: READ, .. })) => {
                    self.head.quarantine(path, &error.to_string())?;
                }
                Err(error) => return Err(error),
            }
        }
        for number in &self.state.files {
            if !entries.iter().any(|entry| file_number(&entry.name) == Some(*number)) {
                let path = dir.join(super::tile::file_name(*number));
                self.head.tell(&path, "the file is missing");
            }
        }
        self.head.files().next = next;
        files.iter().flat_map(|file| file.tiles()).for_each(|tile| self.expect_tile(tile));
        Ok(files)
    }
}

#[cfg(test)]
mod tests;

/// What is tried where a medium does not give the bytes of a file.
const READ: &str = "read";

/// Opens head files, by two threads where there may be any.
fn open_all(
    disk: &dyn Disk,
    files: &[(PathBuf, u64)],
    threads: usize,
) -> Vec<Result<HeadFile, StorageError>> {
    let open = |(path, number): &(PathBuf, u64)| {
        read_through(disk, path).and_then(|()| HeadFile::open(disk, path, *number))
    };
    let (here, beside) = files.split_at(if threads > 0 { files.len() / 2 } else { files.len() });
    std::thread::scope(|scope| {
        let work = move || beside.iter().map(open).collect::<Vec<_>>();
        let thread = (!beside.is_empty())
            .then(|| std::thread::Builder::new().spawn_scoped(scope, work).ok())
            .flatten();
        let mut opened: Vec<_> = here.iter().map(open).collect();
        opened.extend(match thread {
            Some(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
            None => work(),
        });
        opened
    })
}

/// Reads a file to its end, each part twice where the first try fails. A page that the medium
/// does not give is an error here; met in the map of the file it would end the process.
fn read_through(disk: &dyn Disk, path: &Path) -> Result<(), StorageError> {
    let file = disk.open(path).map_err(|e| StorageError::io("open", path, e))?;
    let len = file.len().map_err(|e| StorageError::io("stat", path, e))?;
    let mut buffer = vec![0; usize::try_from(len).unwrap_or(usize::MAX).min(1 << 20)];
    let mut at = 0;
    while at < len {
        let count = (len - at).min(buffer.len() as u64);
        let part = &mut buffer[..count as usize];
        let read = file.read_at(at, part).or_else(|_| file.read_at(at, part));
        read.map_err(|e| StorageError::io(READ, path, e))?;
        at += count;
    }
    Ok(())
}

impl Head {
    /// Tells of a damaged checkpoint and moves it out of the way: while it lies there it would
    /// count as one to fall back to.
    fn put_aside(&self, damage: &Damage) {
        let what = damage.what();
        self.tell(&damage.path, &what);
        if damage.kind == DamageKind::Rotten
            && let Err(error) = self.quarantine(&damage.path, &what)
        {
            self.tell(&damage.path, &format!("it stays where it is: {error}"));
        }
    }

    /// Moves a file that does not check out of the way.
    pub(super) fn quarantine(&self, path: &Path, reason: &str) -> Result<(), StorageError> {
        let options = &self.options;
        let dir = options.dir.join("quarantine");
        let created = options.disk.create_dir_all(&dir);
        created.map_err(|e| StorageError::io("create", &dir, e))?;
        let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        let to = dir.join(format!("{name}.{}", options.clock.now_ms()));
        let renamed = options.disk.rename(path, &to);
        renamed.map_err(|e| StorageError::io("rename", path, e))?;
        options.disk.sync_dir(&dir).map_err(|e| StorageError::io("sync", &dir, e))?;
        options.observer.observe(Event::Quarantined { from: path, to: &to, reason });
        Ok(())
    }

    /// Raises the lower bound.
    pub(super) fn raise_lower(&self, border_ms: i64) {
        self.bounds.lower_ms.fetch_max(border_ms, Ordering::AcqRel);
    }
}
