//! From frame to frame through one segment, around what is damaged.
//!
//! A frame counts where its header and its payload check and its sequence is the one expected.
//! Where none does, the next frame is looked for: behind the damaged one, where its header can
//! be trusted, else at every byte. In the newest segment what follows damage counts only up to
//! what a sync marker covers: beyond that it may be the end of a log that lost power, whose
//! sectors came to the medium in any order, and going on would leave a hole.
//!
//! INVARIANT: what is taken of the records below some sequence does not depend on whether a newer
//! segment begins at that sequence, so that a start finds what the start before it found: the
//! newest segment ends at its first doubt, which is where the next segment begins.

use super::frame::{self, FrameHeader, HEADER_LEN, KIND_MARKER};
use super::segment::RECORDS_START;
use super::window::Window;
use super::{DamageKind, KIND_MAX};

/// What a step comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Record {
        offset: u64,
        sequence: u64,
        kind: u8,
        /// Of the payload.
        len: usize,
    },
    /// Everything below this sequence was on the medium when the marker was written.
    Marker(u64),
    Damage {
        offset: u64,
        len: u64,
        records: u64,
        kind: DamageKind,
    },
    End,
}

/// A frame that checks.
#[derive(Debug, Clone, Copy)]
struct Found {
    offset: u64,
    sequence: u64,
    header: FrameHeader,
}

/// Which records of a segment count.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// See [`Walk`].
    pub(super) limit: Option<u64>,
    /// See [`Walk`].
    pub(super) covered: u64,
    /// Whether no other segment follows, readable or not: only then may power have been lost
    /// while this one was written.
    pub(super) is_newest: bool,
}

#[derive(Debug)]
pub(super) struct Walk {
    window: Window,
    salt: u32,
    offset: u64,
    /// Sequence of the next record.
    expected: u64,
    /// First sequence that is void here because a newer segment has it; `None` where none is
    /// known to.
    limit: Option<u64>,
    is_newest: bool,
    /// Sequence up to which this segment must have the records: the limit, unless a segment of
    /// which nobody knows where it begins comes before the one that sets it; in the newest, what
    /// a marker known so far covers.
    covered: u64,
    /// Whether the markers of the whole segment are known.
    markers_known: bool,
    ended: bool,
}

impl Walk {
    /// Begins at `offset` with the record `expected`.
    pub(super) fn new(window: Window, salt: u32, expected: u64, bounds: Bounds) -> Self {
        let Bounds { limit, covered, is_newest } = bounds;
        let (markers_known, ended) = (!is_newest, false);
        let offset = RECORDS_START;
        Self { window, salt, offset, expected, limit, is_newest, covered, markers_known, ended }
    }

    /// The file has grown to `len` bytes; the limits are others now. See [`Bounds`].
    pub(super) fn go_on(&mut self, len: u64, limit: Option<u64>, covered: u64) {
        self.window.grow(len);
        self.limit = limit;
        self.covered = self.covered.max(covered);
    }

    /// Goes on at `offset` with the record `expected`, if a record stands there or could.
    pub(super) fn skip_to(&mut self, offset: u64, expected: u64) {
        if offset > self.offset
            && (offset == self.window.len() || self.frame_at(offset, expected, 0).is_some())
        {
            self.offset = offset;
            self.expected = expected;
        }
    }

    /// Sequence of the frame with which the records begin, if it checks; the one nearest to
    /// `hint`.
    pub(super) fn first_sequence(window: &mut Window, salt: u32, hint: u64) -> Option<u64> {
        whole_frame(window, salt, RECORDS_START)
            .map(|header| frame::resolve(header.sequence_low, hint))
    }

    /// Takes the count from the first frame that checks, for a segment of which nobody knows
    /// where it begins; what was given as the first sequence is near it. Returns with which
    /// sequence the walk begins now.
    pub(super) fn resolve_first(&mut self) -> u64 {
        let (start, salt) = (self.offset, self.salt);
        let last = self.window.len().saturating_sub(HEADER_LEN as u64);
        let window = &mut self.window;
        let found = (start..=last).find_map(|at| Some((at, whole_frame(window, salt, at)?)));
        if let Some((at, header)) = found {
            let sequence = frame::resolve(header.sequence_low, self.expected);
            // What the bytes before it may have held was lost; more was not.
            let room = (at - start).div_ceil(HEADER_LEN as u64);
            self.expected = sequence.min(self.expected.max(sequence.saturating_sub(room)));
        }
        self.expected
    }

    /// Sequence of the next record; after the end, where the log goes on.
    pub(super) fn expected(&self) -> u64 {
        self.expected
    }

    /// Where the walk stands in the file.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The payload of a record that [`Walk::step`] gave.
    pub(super) fn payload(&mut self, offset: u64, len: usize) -> &[u8] {
        self.window
            .at(offset + HEADER_LEN as u64, len)
            .unwrap_or_else(|| unreachable!("BUG: a checked frame lies within the file"))
    }

    pub(super) fn step(&mut self) -> Step {
        if self.ended || self.limit.is_some_and(|limit| self.expected >= limit) {
            self.ended = true;
            return Step::End;
        }
        if self.offset >= self.window.len() {
            return self.end_of_file();
        }
        if let Some(found) = self.frame_at(self.offset, self.expected, 0) {
            return self.take(&found);
        }
        let offset = self.offset;
        let next = self.find_next(offset, self.expected);
        self.step_over(offset, next)
    }

    /// The end was reached cleanly; records may be missing nevertheless.
    fn end_of_file(&mut self) -> Step {
        self.ended = true;
        let records = self.covered.saturating_sub(self.expected);
        if records == 0 {
            return Step::End;
        }
        self.expected += records;
        Step::Damage { offset: self.offset, len: 0, records, kind: DamageKind::Rotten }
    }

    fn take(&mut self, found: &Found) -> Step {
        self.offset = found.offset + found.header.frame_len();
        if found.header.kind == KIND_MARKER {
            let covered = self.marker(found).unwrap_or(0);
            self.covered = self.covered.max(covered);
            return Step::Marker(covered);
        }
        self.expected += 1;
        let Found { offset, sequence, header } = *found;
        Step::Record { offset, sequence, kind: header.kind, len: header.len }
    }

    fn marker(&mut self, found: &Found) -> Option<u64> {
        let payload = self.payload(found.offset, found.header.len);
        let covered = u64::from_le_bytes(payload.try_into().ok()?);
        (covered <= found.sequence).then_some(covered)
    }

    /// Leaves out the bytes from `offset` to the next frame, or to the end.
    fn step_over(&mut self, offset: u64, next: Option<(u64, u64)>) -> Step {
        let file_len = self.window.len();
        let is_newest = self.is_newest;
        if !self.markers_known {
            self.markers_known = true;
            self.collect_markers(next);
        }
        let covered = self.covered;
        let isolated =
            |sequence: u64| !is_newest || sequence <= covered || sequence == self.expected;
        if let Some((at, sequence)) = next.filter(|(_, sequence)| isolated(*sequence)) {
            let records = sequence.min(self.limit.unwrap_or(sequence)) - self.expected;
            self.offset = at;
            self.expected = sequence;
            return Step::Damage { offset, len: at - offset, records, kind: DamageKind::Rotten };
        }
        self.ended = true;
        let records = covered.saturating_sub(self.expected);
        self.expected += records;
        if records == 0 && !is_newest {
            // The part of an append that failed, in a segment that was given up for it.
            return Step::End;
        }
        let kind = if records == 0 { DamageKind::TornTail } else { DamageKind::Rotten };
        Step::Damage { offset, len: file_len - offset, records, kind }
    }

    /// Reads on from `next` to the end for the sake of the markers there.
    fn collect_markers(&mut self, mut next: Option<(u64, u64)>) {
        while let Some((mut offset, mut expected)) = next {
            while let Some(found) = self.frame_at(offset, expected, 0) {
                offset += found.header.frame_len();
                if found.header.kind == KIND_MARKER {
                    let covered = self.marker(&found).unwrap_or(0);
                    self.covered = self.covered.max(covered);
                } else {
                    expected += 1;
                }
            }
            if offset >= self.window.len() {
                return;
            }
            next = self.find_next(offset, expected);
        }
    }

    /// The frame at `offset`, if it checks and its sequence is at most `ahead` past `expected`.
    fn frame_at(&mut self, offset: u64, expected: u64, ahead: u64) -> Option<Found> {
        let found = self.header_at(offset, expected, ahead)?;
        let salt = self.salt;
        let frame = self.window.at(offset, HEADER_LEN + found.header.len)?;
        frame::payload_checks(salt, &found.header, frame).then_some(found)
    }

    /// As [`Self::frame_at`], without a look at the payload.
    fn header_at(&mut self, offset: u64, expected: u64, ahead: u64) -> Option<Found> {
        let salt = self.salt;
        let bytes = self.window.at(offset, HEADER_LEN)?;
        let low = bytes[4..].first_chunk().map(|b| u32::from_le_bytes(*b))?;
        let distance = low.wrapping_sub(expected as u32);
        if u64::from(distance) > ahead {
            return None;
        }
        let header = frame::parse_header(salt, bytes)?;
        let fits = offset + header.frame_len() <= self.window.len();
        let known = header.kind <= KIND_MAX || header.kind == KIND_MARKER;
        (fits && known).then(|| Found { offset, sequence: expected + u64::from(distance), header })
    }

    /// Where the frames go on after the damage at `offset`, and with which sequence.
    fn find_next(&mut self, offset: u64, expected: u64) -> Option<(u64, u64)> {
        if let Some(damaged) = self.header_at(offset, expected, 0) {
            // Only the payload is damaged, if something sensible stands behind it.
            let after = offset + damaged.header.frame_len();
            let next = expected + u64::from(damaged.header.kind != KIND_MARKER);
            if after == self.window.len() || self.header_at(after, next, 0).is_some() {
                return Some((after, next));
            }
        }
        let last = self.window.len().saturating_sub(HEADER_LEN as u64);
        (offset + 1..=last).find_map(|at| {
            // No more records than there is room for can have been lost.
            let ahead = (at - offset) / HEADER_LEN as u64 + 1;
            self.frame_at(at, expected, ahead).map(|found| (at, found.sequence))
        })
    }
}

/// The header of the frame at `offset`, if header and payload check; of whatever sequence.
fn whole_frame(window: &mut Window, salt: u32, offset: u64) -> Option<FrameHeader> {
    let header = frame::parse_header(salt, window.at(offset, HEADER_LEN)?)?;
    if header.kind > KIND_MAX && header.kind != KIND_MARKER {
        return None;
    }
    let frame = window.at(offset, HEADER_LEN + header.len)?;
    frame::payload_checks(salt, &header, frame).then_some(header)
}
