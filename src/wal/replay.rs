//! The reading side of the log: all segments, in order, each record once.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::segment::{self, HeaderState, RECORDS_START, Segment};
use super::walk::{Bounds, Step, Walk};
use super::window::Window;
use super::{Damage, DamageKind, Position, Reread};
use crate::disk::{Disk, StorageError};

/// What replay comes across.
#[derive(Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// A record as it was appended.
    Record {
        /// Where it stands.
        position: Position,
        /// Its kind.
        kind: u8,
        /// Its payload, checked.
        payload: &'a [u8],
    },
    /// Bytes that were left out.
    Damage(Damage),
}

/// What stands in the log, marker included.
#[derive(Debug)]
pub(super) enum Found {
    Record { position: Position, kind: u8, len: usize },
    Marker(u64),
    Damage(Damage),
}

/// Reads the log in order. Reads what was there when it was opened; damage never ends it.
#[derive(Debug)]
pub struct Replay {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    segments: Vec<Segment>,
    /// For each segment, with which sequence it begins; `None` where nothing tells.
    firsts: Vec<Option<u64>>,
    /// For each segment, the first sequence that a newer one has again.
    limits: Vec<Option<u64>>,
    /// Index of the segment that is read, or will be.
    at: usize,
    walk: Option<Walk>,
    /// Sequence of the next record to give; those below it are skipped.
    next: u64,
    from: Position,
    /// For segments whose own header is gone: all of a log have the same.
    salt: Option<u32>,
    bytes: u64,
    bytes_done: u64,
}

impl Replay {
    /// Begins at the first record whose number is at least `from.sequence`.
    /// An error only where the directory cannot be listed or a segment cannot be opened; a missing
    /// directory is an empty log.
    pub fn open(disk: Arc<dyn Disk>, dir: &Path, from: Position) -> Result<Self, StorageError> {
        let (segments, _) = segment::list(&disk, dir)?;
        Ok(Self::over(disk, dir, segments, from))
    }

    /// Reads the given segments, oldest first.
    pub(super) fn over(
        disk: Arc<dyn Disk>,
        dir: &Path,
        segments: Vec<Segment>,
        from: Position,
    ) -> Self {
        let salt = segments.iter().find_map(|s| s.good_header().map(|header| header.salt));
        let salt = salt.or_else(|| segment::read_salt(&disk, dir));
        let firsts = first_sequences(&disk, &segments, salt, from.sequence);
        let mut limits = vec![None; segments.len()];
        let mut limit: Option<u64> = None;
        for (slot, first) in limits.iter_mut().zip(&firsts).rev() {
            *slot = limit;
            limit = [limit, *first].into_iter().flatten().min();
        }
        let is_done = |limit: &Option<u64>| limit.is_some_and(|limit| limit <= from.sequence);
        let at = limits.iter().take_while(|limit| is_done(limit)).count();
        let bytes = segments[at..].iter().map(|segment| segment.bytes).sum();
        Self {
            disk,
            dir: dir.to_owned(),
            segments,
            firsts,
            limits,
            at,
            walk: None,
            next: from.sequence,
            from,
            salt,
            bytes,
            bytes_done: 0,
        }
    }

    /// The next record or damage; `None` at the end.
    pub fn next_item(&mut self) -> Option<Item<'_>> {
        loop {
            match self.next_found()? {
                Found::Record { position, kind, len } => {
                    let payload = self.payload(position, len);
                    return Some(Item::Record { position, kind, payload });
                }
                Found::Damage(damage) => return Some(Item::Damage(damage)),
                Found::Marker(_) => {}
            }
        }
    }

    /// Bytes of all segments that are to be read, and of those read so far; for progress.
    pub fn progress(&self) -> (u64, u64) {
        let here = self.walk.as_ref().map_or(0, Walk::offset);
        (self.bytes, (self.bytes_done + here).min(self.bytes))
    }

    /// A reader of the same log by positions; `None` where no salt is known, and so no record.
    pub fn reread(&self) -> Option<Reread> {
        let salt = self.salt?;
        Some(Reread::new(Arc::clone(&self.disk), &self.dir, salt))
    }

    /// Sequence behind the last record that was given, skipped or lost.
    pub(super) fn next_sequence(&self) -> u64 {
        self.next
    }

    /// The payload of the record that was found last.
    pub(super) fn payload(&mut self, position: Position, len: usize) -> &[u8] {
        match &mut self.walk {
            Some(walk) => walk.payload(position.offset, len),
            None => unreachable!("BUG: a record was found in no segment"),
        }
    }

    pub(super) fn next_found(&mut self) -> Option<Found> {
        loop {
            let Some(walk) = &mut self.walk else {
                if self.at >= self.segments.len() {
                    return None;
                }
                if let Some(damage) = self.begin_segment() {
                    return Some(Found::Damage(damage));
                }
                continue;
            };
            let before = walk.expected();
            match walk.step() {
                Step::Record { offset, sequence, kind, len } if sequence >= self.next => {
                    self.next = sequence + 1;
                    let segment = self.segments[self.at].number;
                    let position = Position { sequence, segment, offset };
                    return Some(Found::Record { position, kind, len });
                }
                Step::Record { .. } => {}
                Step::Marker(covered) => return Some(Found::Marker(covered)),
                Step::Damage { offset, len, records, kind } => {
                    let path = self.segments[self.at].path.clone();
                    let end = before + records;
                    let records = end.saturating_sub(before.max(self.next));
                    self.next = self.next.max(end);
                    return Some(Found::Damage(Damage { path, offset, len, records, kind }));
                }
                Step::End => self.end_segment(),
            }
        }
    }

    fn end_segment(&mut self) {
        self.bytes_done += self.segments[self.at].bytes;
        self.walk = None;
        self.at += 1;
    }

    /// Starts the walk through the segment at `self.at`, or leaves it out; says what is wrong.
    fn begin_segment(&mut self) -> Option<Damage> {
        let segment = self.segments[self.at].clone();
        if matches!(segment.header, HeaderState::TooNew(_)) {
            return Some(self.leave_out(DamageKind::TooNew));
        }
        let Some(salt) = self.salt else { return Some(self.leave_out(DamageKind::NoHeader)) };
        let Ok(file) = segment::open(&self.disk, &segment.path) else {
            return Some(self.leave_out(DamageKind::MissingSegment));
        };
        let known = self.firsts[self.at];
        let bounds = self.bounds(known.unwrap_or(0));
        let mut walk =
            Walk::new(Window::new(file, segment.bytes), salt, known.unwrap_or(self.next), bounds);
        let first = known.unwrap_or_else(|| walk.resolve_first());
        let first = self.limits[self.at].map_or(first, |limit| limit.min(first));
        if segment.number == self.from.segment && first <= self.from.sequence {
            walk.skip_to(self.from.offset, self.from.sequence);
        }
        self.walk = Some(walk);
        let missing = first.saturating_sub(self.next);
        self.next = self.next.max(first);
        if segment.good_header().is_none() {
            let len = RECORDS_START.min(segment.bytes);
            let (path, kind) = (segment.path, DamageKind::NoHeader);
            return Some(Damage { path, offset: 0, len, records: missing, kind });
        }
        (missing > 0).then(|| Damage {
            path: self.dir.clone(),
            offset: 0,
            len: 0,
            records: missing,
            kind: DamageKind::MissingSegment,
        })
    }

    /// `first` is what the segment itself vouches for: everything before it.
    fn bounds(&self, first: u64) -> Bounds {
        let limit = self.limits[self.at];
        let is_next_known = self.firsts.get(self.at + 1).is_some_and(Option::is_some);
        let covered = limit.filter(|_| is_next_known).unwrap_or(first);
        Bounds { limit, covered, is_newest: self.at + 1 == self.segments.len() }
    }

    fn leave_out(&mut self, kind: DamageKind) -> Damage {
        let Segment { path, bytes: len, .. } = self.segments[self.at].clone();
        let end = self.limits[self.at].unwrap_or(self.next).max(self.next);
        let records = end - self.next;
        self.next = end;
        self.end_segment();
        Damage { path, offset: 0, len, records, kind }
    }
}

/// With which sequence each segment begins: what its header says, else its first record.
fn first_sequences(
    disk: &Arc<dyn Disk>,
    segments: &[Segment],
    salt: Option<u32>,
    from: u64,
) -> Vec<Option<u64>> {
    let good = |segment: &Segment| segment.good_header().map(|header| header.first_sequence);
    // Only the upper half of a sequence is taken from its neighbours.
    let mut hint = segments.iter().find_map(good).unwrap_or(from);
    let first = |segment: &Segment| {
        let first = good(segment).or_else(|| {
            let file = segment::open(disk, &segment.path).ok()?;
            let mut window = Window::new(file, segment.bytes);
            Walk::first_sequence(&mut window, salt?, hint)
        });
        hint = first.unwrap_or(hint);
        first
    };
    segments.iter().map(first).collect()
}
