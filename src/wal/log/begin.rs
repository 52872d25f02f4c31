//! New segments: at open, when one is full, and when one cannot be trusted any more.

use std::path::Path;
use std::sync::{Arc, MutexGuard};

use super::{Batch, Current, DISK_FULL, KnownSegment, Log, State, refusal};
use crate::disk::{Clock, Disk, File, StorageError};
use crate::wal::frame::{self, KIND_MARKER};
use crate::wal::replay::{Found, Replay};
use crate::wal::segment::{self, HeaderState, RECORDS_START, Segment, SegmentHeader};
use crate::wal::{DamageKind, KIND_MAX, Position};

/// Reads the end of the log: which records the newest segments hold that no marker covers (they
/// go into the next segment, so that nothing depends on whether their file was synced), and with
/// which sequence the log goes on. Returns the salt with it.
pub(super) fn recover(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    clock: &dyn Clock,
    after: Position,
) -> Result<(u32, State), StorageError> {
    let (segments, unfinished) = segment::list(disk, dir)?;
    for segment in &segments {
        if let HeaderState::TooNew(found) = segment.header {
            let path = segment.path.clone();
            return Err(StorageError::TooNew { path, found, supported: segment::VERSION });
        }
    }
    for path in unfinished {
        // They hold nothing that counts; one that stays takes room and no more.
        let _ = disk.remove_file(&path);
    }
    let salt = settle_salt(disk, dir, &segments);
    let mut state = State::new();
    state.next_number = segments.last().map_or(1, |segment| segment.number + 1);
    state.segments = segments
        .iter()
        .map(|segment| {
            let first_sequence = segment.good_header().map(|header| header.first_sequence);
            (segment.number, KnownSegment { bytes: segment.bytes, first_sequence })
        })
        .collect();
    read_end(disk, dir, clock, segments, (salt, after), &mut state);
    if state.next_sequence < after.sequence {
        // Records that were synced are gone; their numbers stay theirs.
        state.stats.missing_records = after.sequence - state.next_sequence;
        state.unsynced.clear();
        state.next_sequence = after.sequence;
        state.synced = after.sequence;
    }
    Ok((salt, state))
}

fn read_end(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    clock: &dyn Clock,
    mut segments: Vec<Segment>,
    (salt, after): (u32, Position),
    state: &mut State,
) {
    let newest = segments.iter().rposition(|segment| segment.good_header().is_some());
    let segments = segments.split_off(newest.unwrap_or(0));
    let header = segments.first().and_then(Segment::good_header);
    let header_found = header.is_some();
    let first = header.map_or(after.sequence, |header| header.first_sequence);
    let from = Position { sequence: first, segment: 0, offset: 0 };
    let mut replay = Replay::over(Arc::clone(disk), dir, segments, from);
    state.synced = first;
    while let Some(found) = replay.next_found() {
        match found {
            Found::Record { position, kind, len } => {
                let mut bytes = Vec::with_capacity(frame::HEADER_LEN + len);
                let payload = replay.payload(position, len);
                frame::encode(salt, kind, position.sequence, payload, &mut bytes);
                let goes_on = |batch: &Batch| batch.end_sequence == position.sequence;
                if !state.unsynced.back().is_some_and(goes_on) {
                    // What is missing between was on the medium once, and so was all before it.
                    state.unsynced.clear();
                    state.synced = position.sequence;
                }
                let end_sequence = position.sequence + 1;
                let at = clock.monotonic();
                state.unsynced.push_back(Batch { ticket: 0, end_sequence, at, bytes });
            }
            Found::Marker(covered) => state.mark_synced(covered),
            // Records lost in the middle are below a marker that comes later.
            Found::Damage(damage) if damage.records > 0 => {
                state.mark_synced(replay.next_sequence());
            }
            Found::Damage(damage) if damage.kind == DamageKind::TornTail => {
                state.stats.cut = Some(damage);
            }
            Found::Damage(_) => {}
        }
    }
    // Of a log without a header and without a record nobody knows where it ended.
    let is_known = header_found || replay.next_sequence() > first;
    state.next_sequence = if is_known { replay.next_sequence() } else { 0 };
    if state.unsynced.is_empty() {
        state.synced = state.next_sequence;
    }
}

/// The salt of the log: that of its segments, else what its own file says, else a new one. The
/// file is written where it says something else.
fn settle_salt(disk: &Arc<dyn Disk>, dir: &Path, segments: &[Segment]) -> u32 {
    let known = segments.iter().find_map(|s| s.good_header().map(|header| header.salt));
    let noted = segment::read_salt(disk, dir);
    let salt = known.or(noted).unwrap_or_else(frame::random_salt);
    if noted != Some(salt) {
        // It is a second copy: what stops it here stops the segment too, and is told there.
        let _ = segment::write_salt(disk, dir, salt);
    }
    salt
}

/// A segment that has no name yet.
struct Written {
    file: Box<dyn File>,
    sync_handle: Arc<dyn File>,
    len: u64,
}

impl Log {
    /// Sees to it that there is a current segment with room for `bytes`.
    pub(super) fn make_room<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        bytes: u64,
    ) -> Result<MutexGuard<'a, State>, StorageError> {
        loop {
            if state.closed {
                return Err(StorageError::Closed);
            }
            let is_full = match &state.current {
                Some(current) => current.has_records && current.len + bytes > current.bytes_max,
                None => true,
            };
            if !is_full {
                return Ok(state);
            }
            if state.syncing {
                state = self.wait(state);
                continue;
            }
            if state.current.is_none() {
                self.begin_segment(&mut state)?;
                continue;
            }
            // A full one: the next begins only when all of this one is on the medium.
            if !state.unsynced.is_empty() {
                state = self.sync_now(state);
                continue;
            }
            if self.begin_segment(&mut state).is_err()
                && let Some(current) = &mut state.current
            {
                // There is no room for a new one; the old one may have some yet.
                current.bytes_max = current.len + bytes + self.options.segment_bytes_max / 8;
            }
        }
    }

    /// Begins a new segment, unless no record stands in the current one yet: what is covered
    /// elsewhere can then be dropped with the old one. All appended so far is synced by it.
    pub fn rotate(&self) -> Result<(), StorageError> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return Err(StorageError::Closed);
            }
            if state.syncing {
                state = self.wait(state);
                continue;
            }
            match &state.current {
                Some(current) if !current.has_records => return Ok(()),
                Some(_) if !state.unsynced.is_empty() => state = self.sync_now(state),
                _ => return self.begin_segment(&mut state),
            }
        }
    }

    /// Bytes of the segment that is written to.
    pub fn segment_bytes(&self) -> u64 {
        self.lock().current.as_ref().map_or(0, |current| current.len)
    }

    /// Begins a segment that holds the records of `unsynced`, durably, and makes it the current
    /// one. After an error the current one is as it was, or gone where it must not be used.
    pub(super) fn begin_segment(&self, state: &mut State) -> Result<(), StorageError> {
        debug_assert!(!state.syncing, "a sync of the old segment runs");
        let result = self.try_begin_segment(state);
        state.stats.unwritable = result.as_ref().err().map(ToString::to_string);
        state.stats.is_disk_full = match &result {
            Err(StorageError::Unwritable(why)) => why.starts_with(DISK_FULL),
            _ => false,
        };
        result
    }

    fn try_begin_segment(&self, state: &mut State) -> Result<(), StorageError> {
        // A number is never tried twice: who knows what a failed try left behind.
        let number = state.next_number;
        state.next_number += 1;
        let path = segment::path_of(&self.dir, number);
        let unfinished = path.with_extension("wal.tmp");
        let written = self.write_segment(&unfinished, number, state);
        let Written { file, sync_handle, len } = written.inspect_err(|_| {
            let _ = self.disk.remove_file(&unfinished);
        })?;
        // From here on the new one may be found after a crash and void what the old one gets.
        let old = state.current.take();
        self.disk.rename(&unfinished, &path).map_err(|e| {
            let _ = self.disk.remove_file(&unfinished);
            refusal("rename", &unfinished, &e)
        })?;
        let first_sequence = state.synced;
        let known = KnownSegment { bytes: len, first_sequence: Some(first_sequence) };
        state.segments.insert(number, known);
        self.disk.sync_dir(&self.dir).map_err(|e| refusal("sync directory", &self.dir, &e))?;
        drop(old);
        let has_records = !state.unsynced.is_empty();
        let bytes_max = self.options.segment_bytes_max;
        let current = Current { number, path, file, sync_handle, len, has_records, bytes_max };
        state.current = Some(current);
        let end = state.next_sequence;
        state.mark_synced(end);
        self.remove_void(state, number, first_sequence);
        self.changed.notify_all();
        Ok(())
    }

    /// Writes and syncs a segment under a name that does not count yet.
    fn write_segment(
        &self,
        path: &Path,
        number: u64,
        state: &State,
    ) -> Result<Written, StorageError> {
        let mut file = self.disk.create(path).map_err(|e| refusal("create", path, &e))?;
        let first_sequence = state.synced;
        let mut bytes = Vec::with_capacity(RECORDS_START as usize);
        let header = SegmentHeader { salt: self.salt, number, first_sequence };
        segment::encode_header(&header, &mut bytes);
        let mut len = bytes.len() as u64;
        file.append(&bytes).map_err(|e| refusal("write", path, &e))?;
        for batch in &state.unsynced {
            len += batch.bytes.len() as u64;
            file.append(&batch.bytes).map_err(|e| refusal("write", path, &e))?;
        }
        if !state.unsynced.is_empty() {
            let marker = self.marker(state.next_sequence, state.next_sequence);
            len += marker.len() as u64;
            file.append(&marker).map_err(|e| refusal("write", path, &e))?;
        }
        file.sync().map_err(|e| refusal("sync", path, &e))?;
        let sync_handle = file.try_clone().map_err(|e| refusal("open", path, &e))?;
        Ok(Written { file, sync_handle: Arc::from(sync_handle), len })
    }

    /// The frame that says that everything below `covered` is on the medium.
    pub(super) fn marker(&self, covered: u64, next_sequence: u64) -> Vec<u8> {
        const { assert!(KIND_MARKER > KIND_MAX) }
        let mut bytes = Vec::new();
        frame::encode(self.salt, KIND_MARKER, next_sequence, &covered.to_le_bytes(), &mut bytes);
        bytes
    }

    /// Removes older segments of which the new one voids every record: restarts and failed syncs
    /// would pile them up.
    fn remove_void(&self, state: &mut State, number: u64, first_sequence: u64) {
        let void: Vec<u64> = state
            .segments
            .range(..number)
            .filter(|(_, known)| known.first_sequence.is_some_and(|first| first >= first_sequence))
            .map(|(number, _)| *number)
            .collect();
        for old in void {
            // One that stays, or comes back because the removal is not durable, is void anyway.
            if self.disk.remove_file(&segment::path_of(&self.dir, old)).is_ok() {
                state.segments.remove(&old);
            }
        }
    }
}
