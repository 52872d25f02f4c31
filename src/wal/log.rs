//! The writing side of the log.
//!
//! One mutex guards the state; it is held during writes, and given up while a sync runs, so that
//! appends go on meanwhile. Who needs a sync while one runs waits for it, then leads the next
//! one for all that wait (group commit).
//!
//! INVARIANT: `unsynced` holds every record from `synced` to `next_sequence`, and the current
//! segment has the same records at its end. Where the current segment cannot be trusted any more
//! (a failed sync, a failed append that could not be rolled back) there is none, and whoever
//! needs one begins a new one with the records of `unsynced`; see `segment.rs` for why that voids
//! whatever the old one holds of them.

mod begin;
mod sync;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::frame;
use super::{Damage, KIND_MAX, PAYLOAD_BYTES_MAX, Position};
use crate::disk::{Clock, Disk, File, StorageError, is_disk_full};

pub use sync::Syncer;

/// How a log is kept.
#[derive(Debug, Clone, Copy)]
pub struct LogOptions {
    /// A segment is finished when the next append would make it longer; one append of more than
    /// that gets a segment of its own.
    pub segment_bytes_max: u64,
    /// Greatest age of acknowledged records that are not on the medium; zero: none.
    pub sync_interval: Duration,
}

impl Default for LogOptions {
    /// 64 MiB, one second.
    fn default() -> Self {
        Self { segment_bytes_max: 64 << 20, sync_interval: Duration::from_secs(1) }
    }
}

/// One file of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Its number; later segments have greater ones, and numbers may be left out.
    pub number: u64,
    /// Where it lies.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
}

/// Figures of a log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogStats {
    /// Bytes of all segments.
    pub bytes: u64,
    /// Number of segments.
    pub segments: u64,
    /// The number in the name of the one that is written to.
    pub segment: u64,
    /// Bytes that wait in memory for a sync.
    pub unsynced_bytes: u64,
    /// Records appended since it was opened.
    pub appended_records: u64,
    /// Records before the position given when it was opened that it did not have any more.
    pub missing_records: u64,
    /// The end that was cut when it was opened: torn by a loss of power, or damaged. A replay
    /// after that does not meet it any more.
    pub cut: Option<Damage>,
    /// Syncs that worked.
    pub syncs: u64,
    /// Time that these took, all together.
    pub sync_time: Duration,
    /// Syncs that failed.
    pub sync_failures: u64,
    /// Why the last of them failed.
    pub sync_failure: Option<String>,
    /// Appends that failed.
    pub append_failures: u64,
    /// Why the log takes no writes at the moment, if it does not.
    pub unwritable: Option<String>,
    /// Whether that is for want of room.
    pub is_disk_full: bool,
}

/// What who follows the log wants to know of it.
#[derive(Debug)]
pub(super) struct KnownSegments {
    /// Records below this are on the medium.
    pub(super) synced: u64,
    /// Number, first sequence, bytes; oldest first.
    pub(super) segments: Vec<(u64, Option<u64>, u64)>,
}

/// The log, open for appending. All methods may be called from any thread.
pub struct Log {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    options: LogOptions,
    clock: Arc<dyn Clock>,
    salt: u32,
    state: Mutex<State>,
    /// Something changed that someone may wait for: a sync ended, records wait, the log closed.
    changed: Condvar,
}

/// What one append wrote and no sync has covered.
#[derive(Debug)]
struct Batch {
    /// Whose append it was; 0 for records found when the log was opened.
    ticket: u64,
    end_sequence: u64,
    at: Duration,
    /// The frames.
    bytes: Vec<u8>,
}

/// The segment that is written to.
#[derive(Debug)]
struct Current {
    number: u64,
    path: PathBuf,
    file: Box<dyn File>,
    /// The same file, for syncing without the mutex.
    sync_handle: Arc<dyn File>,
    /// Up to the last good frame.
    len: u64,
    /// Whether a record stands in it.
    has_records: bool,
    /// The length at which the next segment is due.
    bytes_max: u64,
}

#[derive(Debug)]
struct KnownSegment {
    bytes: u64,
    /// `None` where its header cannot be read.
    first_sequence: Option<u64>,
}

#[derive(Debug)]
struct State {
    current: Option<Current>,
    segments: BTreeMap<u64, KnownSegment>,
    next_number: u64,
    next_sequence: u64,
    /// First sequence that is not on the medium.
    synced: u64,
    unsynced: VecDeque<Batch>,
    /// A sync runs without the mutex.
    syncing: bool,
    closed: bool,
    next_ticket: u64,
    /// Appends that wait for their sync (`sync_interval` zero).
    waiters: usize,
    /// Tickets whose records were given up, as closed ranges; kept while anyone waits.
    given_up: Vec<(u64, u64)>,
    /// Why appends are refused by the owner's wish.
    held: Option<String>,
    stats: LogStats,
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { dir, options, .. } = self;
        f.debug_struct("Log").field("dir", dir).field("options", options).finish_non_exhaustive()
    }
}

impl Log {
    /// Opens the log in `dir`, creating the directory where it is missing, and begins a segment.
    /// `after` is the position of the checkpoint in use ([`Position::START`] without one): no
    /// record gets a number below it, whatever became of the segments.
    ///
    /// Damaged segments are no error, and neither is a disk that takes no new segment: appends
    /// are refused then until it does. A segment that cannot be opened for a
    /// reason that may pass is an error: its records would be void once a new one begins. A segment
    /// of a newer version is [`StorageError::TooNew`].
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        options: LogOptions,
        clock: Arc<dyn Clock>,
        after: Position,
    ) -> Result<Self, StorageError> {
        if !disk.exists(dir) {
            disk.create_dir_all(dir).map_err(|e| StorageError::io("create", dir, e))?;
        }
        let (salt, mut state) = begin::recover(&disk, dir, &*clock, after)?;
        let dir = dir.to_owned();
        let changed = Condvar::new();
        let log =
            Self { disk, dir, options, clock, salt, state: Mutex::new(State::new()), changed };
        // What it is refused for stands in the figures, and the next append tries again.
        let _ = log.begin_segment(&mut state);
        *log.lock() = state;
        Ok(log)
    }

    /// Appends the payloads, each with its kind (1 to [`super::KIND_MAX`]), and returns the
    /// position of the first. They stand next to one another, with ascending sequences.
    ///
    /// [`StorageError::Unwritable`] where the disk does not take them; then none is in the log.
    pub fn append(&self, payloads: &[(u8, &[u8])]) -> Result<Position, StorageError> {
        self.check(payloads)?;
        let bytes_len: usize = payloads.iter().map(|(_, p)| frame::HEADER_LEN + p.len()).sum();
        let state = self.lock();
        if let Some(why) = &state.held {
            return Err(StorageError::Unwritable(why.clone()));
        }
        let mut state = self.keep_interval(state)?;
        state = self.make_room(state, bytes_len as u64)?;
        let first = state.next_sequence;
        let mut bytes = Vec::with_capacity(bytes_len);
        for (i, (kind, payload)) in payloads.iter().enumerate() {
            frame::encode(self.salt, *kind, first + i as u64, payload, &mut bytes);
        }
        let position = state.write(&bytes, first)?;
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        state.next_sequence += payloads.len() as u64;
        state.stats.appended_records += payloads.len() as u64;
        state.stats.unwritable = None;
        state.stats.is_disk_full = false;
        let end_sequence = state.next_sequence;
        let at = self.clock.monotonic();
        state.unsynced.push_back(Batch { ticket, end_sequence, at, bytes });
        if self.options.sync_interval.is_zero() {
            self.wait_synced(state, ticket, end_sequence)?;
        } else if state.unsynced.len() == 1 {
            self.changed.notify_all();
        }
        Ok(position)
    }

    /// Refuses appends with this reason until [`Log::resume`]. Syncing goes on.
    pub fn hold(&self, why: &str) {
        self.lock().held = Some(why.to_owned());
    }

    /// Takes appends again, as far as the disk does.
    pub fn resume(&self) {
        let mut state = self.lock();
        state.held = None;
        if state.stats.is_disk_full {
            // There is room again, and the next append may be far away.
            state.stats.unwritable = None;
            state.stats.is_disk_full = false;
        }
    }

    /// Where the next record will stand.
    pub fn end(&self) -> Position {
        self.lock().end()
    }

    /// Removes the segments of which every record has a number below `sequence` or stands in a
    /// later one again, oldest first; never the newest one. Returns the bytes freed.
    pub fn drop_before(&self, sequence: u64) -> Result<u64, StorageError> {
        let doomed = self.lock().droppable(sequence);
        let mut freed = 0;
        for number in &doomed {
            let path = super::segment::path_of(&self.dir, *number);
            match self.disk.remove_file(&path) {
                Ok(()) => {}
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                Err(e) => return Err(StorageError::io("remove", &path, e)),
            }
            let removed = self.lock().segments.remove(number);
            freed += removed.map_or(0, |segment| segment.bytes);
        }
        if !doomed.is_empty() {
            let synced = self.disk.sync_dir(&self.dir);
            synced.map_err(|e| StorageError::io("sync directory", &self.dir, e))?;
        }
        Ok(freed)
    }

    /// The segments, oldest first.
    pub fn segments(&self) -> Vec<SegmentInfo> {
        let state = self.lock();
        let info = |(&number, segment): (&u64, &KnownSegment)| SegmentInfo {
            number,
            path: super::segment::path_of(&self.dir, number),
            bytes: segment.bytes,
        };
        state.segments.iter().map(info).collect()
    }

    /// Bytes of the segments that [`Log::drop_before`] would keep.
    pub fn bytes_from(&self, sequence: u64) -> u64 {
        let state = self.lock();
        let droppable = state.droppable(sequence);
        let kept = state.segments.iter().filter(|(number, _)| !droppable.contains(number));
        kept.map(|(_, segment)| segment.bytes).sum()
    }

    /// The lowest sequence from which on the log takes at most `bytes`, or nothing but the newest
    /// segment is left.
    pub fn sequence_within(&self, bytes: u64) -> u64 {
        let state = self.lock();
        let mut kept = 0;
        let mut lowest = state.next_sequence;
        for segment in state.segments.values().rev() {
            kept += segment.bytes;
            if kept > bytes && lowest < state.next_sequence {
                break;
            }
            lowest = lowest.min(segment.first_sequence.unwrap_or(lowest));
        }
        lowest
    }

    /// Waits, at most so long, until a record with this number or a later one is on the medium;
    /// whether one is.
    pub(super) fn wait_synced_beyond(&self, sequence: u64, timeout: Duration) -> bool {
        let is_waiting = |state: &mut State| state.synced <= sequence && !state.closed;
        let waited = self.changed.wait_timeout_while(self.lock(), timeout, is_waiting);
        waited.unwrap_or_else(PoisonError::into_inner).0.synced > sequence
    }

    pub(super) fn known_segments(&self) -> KnownSegments {
        let state = self.lock();
        let segments = state.segments.iter().map(|(&n, s)| (n, s.first_sequence, s.bytes));
        KnownSegments { synced: state.synced, segments: segments.collect() }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    pub(super) fn salt(&self) -> u32 {
        self.salt
    }

    /// Figures.
    pub fn stats(&self) -> LogStats {
        let state = self.lock();
        LogStats {
            bytes: state.segments.values().map(|segment| segment.bytes).sum(),
            segments: state.segments.len() as u64,
            segment: state.segments.last_key_value().map_or(0, |(number, _)| *number),
            unsynced_bytes: state.unsynced.iter().map(|batch| batch.bytes.len() as u64).sum(),
            unwritable: state.held.clone().or_else(|| state.stats.unwritable.clone()),
            ..state.stats.clone()
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // State is changed in steps that leave it whole; a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    fn check(&self, payloads: &[(u8, &[u8])]) -> Result<(), StorageError> {
        let refuse = |why: String| {
            let error = std::io::Error::new(std::io::ErrorKind::InvalidInput, why);
            Err(StorageError::io("append", &self.dir, error))
        };
        for (kind, payload) in payloads {
            if payload.len() > PAYLOAD_BYTES_MAX {
                let len = payload.len();
                return refuse(format!("a record of {len} bytes; at most {PAYLOAD_BYTES_MAX}"));
            }
            if *kind == 0 || *kind > KIND_MAX {
                return refuse(format!("a record of kind {kind}; from 1 to {KIND_MAX}"));
            }
        }
        Ok(())
    }
}

impl State {
    fn new() -> Self {
        Self {
            current: None,
            segments: BTreeMap::new(),
            next_number: 1,
            next_sequence: 0,
            synced: 0,
            unsynced: VecDeque::new(),
            syncing: false,
            closed: false,
            next_ticket: 1,
            waiters: 0,
            given_up: Vec::new(),
            held: None,
            stats: LogStats::default(),
        }
    }

    fn end(&self) -> Position {
        let sequence = self.next_sequence;
        match &self.current {
            Some(current) => Position { sequence, segment: current.number, offset: current.len },
            None => Position { sequence, segment: self.next_number, offset: 0 },
        }
    }

    /// Writes `bytes` at the end of the current segment, or leaves it as it was.
    fn write(&mut self, bytes: &[u8], sequence: u64) -> Result<Position, StorageError> {
        let Some(current) = &mut self.current else {
            unreachable!("BUG: room was made in no segment")
        };
        let offset = current.len;
        if let Err(error) = current.file.append(bytes) {
            let refused = refusal("append", &current.path, &error);
            self.roll_back();
            self.stats.append_failures += 1;
            self.stats.unwritable = Some(refused.to_string());
            self.stats.is_disk_full = is_disk_full(&error);
            return Err(refused);
        }
        current.len += bytes.len() as u64;
        current.has_records = true;
        let (segment, len) = (current.number, current.len);
        if let Some(known) = self.segments.get_mut(&segment) {
            known.bytes = len;
        }
        Ok(Position { sequence, segment, offset })
    }

    /// Takes away what a failed append left behind the last good frame. The cut has to be on the
    /// medium before the place is used again: power might fail after the next record and bring
    /// the refused one back in its stead. A segment where that fails is given up.
    pub(super) fn roll_back(&mut self) {
        let Some(current) = &mut self.current else { return };
        let cut = current.file.truncate(current.len);
        // While another sync of the file runs, a failure is told to one of the two only.
        if cut.is_ok() && !self.syncing && current.file.sync().is_ok() {
            self.mark_synced(self.next_sequence);
        } else {
            self.current = None;
        }
    }

    /// Numbers of the segments that [`Log::drop_before`] removes.
    fn droppable(&self, sequence: u64) -> Vec<u64> {
        let mut limit: Option<u64> = None;
        let mut limits: Vec<(u64, Option<u64>)> = Vec::with_capacity(self.segments.len());
        for (number, segment) in self.segments.iter().rev() {
            limits.push((*number, limit));
            limit = [limit, segment.first_sequence].into_iter().flatten().min();
        }
        let is_done = |limit: Option<u64>| limit.is_some_and(|limit| limit <= sequence);
        let oldest = limits.iter().rev().take_while(|(_, limit)| is_done(*limit));
        oldest.map(|(number, _)| *number).collect()
    }

    /// Everything up to `sequence` is on the medium.
    fn mark_synced(&mut self, sequence: u64) {
        while self.unsynced.front().is_some_and(|batch| batch.end_sequence <= sequence) {
            self.unsynced.pop_front();
        }
        self.synced = self.synced.max(sequence);
    }
}

/// How a refusal for want of room begins.
const DISK_FULL: &str = "the disk is full: ";

/// The error that callers see when the disk refuses.
fn refusal(op: &str, path: &Path, error: &std::io::Error) -> StorageError {
    let why = if is_disk_full(error) { DISK_FULL } else { "" };
    StorageError::Unwritable(format!("{why}{op} {}: {error}", path.display()))
}
