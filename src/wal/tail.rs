//! Follows a log that is written to: each record once, in order, as soon as it is on the medium.
//!
//! Records that no sync has covered are not given: power may take them, and whoever acted on them
//! would know more than the log. What is on the medium stays what it is (`segment.rs`), so a
//! follower may note how far it came and go on there after a restart.
//!
//! RELIES ON: whoever follows keeps the segments that are yet to be read ([`Log::drop_before`] is
//! the owner's to call). One that is gone all the same is told as damage. So is
//! one that the medium has lost. One that cannot be opened for another reason is not: that may pass
//! (too many open files, a right that is missing), so it is an error, and the same place is tried
//! again, until the owner gives it up.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use super::log::{KnownSegments, Log};
use super::replay::Item;
use super::segment;
use super::walk::{Bounds, Step, Walk};
use super::window::Window;
use super::{Damage, DamageKind};
use crate::disk::{StorageError, is_damage};

/// Reads a log while it grows.
#[derive(Debug)]
pub struct Tail {
    log: Arc<Log>,
    /// The segment that is read, and where in it.
    walk: Option<(u64, Walk)>,
    /// Sequence of the next record to give.
    next: u64,
    /// Records below this were on the medium when the log was last asked.
    synced: u64,
    /// First sequence that the segment which is read does not have.
    limit: u64,
    /// The next segment counts as missing where it cannot be opened.
    gives_up: bool,
}

/// What stands next, without the bytes.
enum Found {
    Record { sequence: u64, offset: u64, kind: u8, len: usize },
    Damage(Damage),
}

impl Tail {
    /// Begins at the first record whose number is at least `sequence`.
    pub fn open(log: Arc<Log>, sequence: u64) -> Self {
        Self { log, walk: None, next: sequence, synced: 0, limit: 0, gives_up: false }
    }

    /// Number of the next record that will be given.
    pub fn next_sequence(&self) -> u64 {
        self.next
    }

    /// Number of the segment that is read, or the newest.
    pub fn segment(&self) -> u64 {
        let newest = || self.log.known_segments().segments.last().map_or(0, |segment| segment.0);
        self.walk.as_ref().map_or_else(newest, |(number, _)| *number)
    }

    /// Waits until there is something to read, at most so long; whether there is.
    pub fn wait(&self, timeout: Duration) -> bool {
        self.log.wait_synced_beyond(self.next, timeout)
    }

    /// The next record or damage; `None` where all that is on the medium has been given. After an
    /// error nothing is passed over: the next call tries the same place.
    pub fn next_item(&mut self) -> Result<Option<Item<'_>>, StorageError> {
        let Some(found) = self.find()? else { return Ok(None) };
        Ok(match found {
            Found::Damage(damage) => Some(Item::Damage(damage)),
            Found::Record { sequence, offset, kind, len } => {
                let Some((segment, walk)) = &mut self.walk else {
                    unreachable!("BUG: a record was found in no segment")
                };
                let position = super::Position { sequence, segment: *segment, offset };
                Some(Item::Record { position, kind, payload: walk.payload(offset, len) })
            }
        })
    }

    /// After an error: where the segment cannot be opened the next time either, its records are
    /// lost, and told as damage.
    pub fn give_up(&mut self) {
        self.gives_up = true;
    }

    fn find(&mut self) -> Result<Option<Found>, StorageError> {
        loop {
            if self.next >= self.synced.min(self.limit) && !self.look() {
                return Ok(None);
            }
            let Some((number, walk)) = &mut self.walk else {
                if let Some(damage) = self.begin()? {
                    return Ok(Some(Found::Damage(damage)));
                }
                continue;
            };
            let before = walk.expected();
            match walk.step() {
                Step::Record { offset, sequence, kind, len } => {
                    if sequence < self.next {
                        continue;
                    }
                    self.next = sequence + 1;
                    return Ok(Some(Found::Record { sequence, offset, kind, len }));
                }
                Step::Marker(_) => {}
                Step::Damage { offset, len, records, kind } => {
                    let end = before + records;
                    let lost = end.saturating_sub(before.max(self.next));
                    self.next = self.next.max(end);
                    if lost > 0 {
                        let path = segment::path_of(self.log.dir(), *number);
                        let damage = Damage { path, offset, len, records: lost, kind };
                        return Ok(Some(Found::Damage(damage)));
                    }
                }
                Step::End => {
                    let path = segment::path_of(self.log.dir(), *number);
                    self.walk = None;
                    let end = self.limit.min(self.synced);
                    if self.next < end {
                        // What the log says is there is not.
                        let records = end - self.next;
                        self.next = end;
                        let kind = DamageKind::Rotten;
                        let damage = Damage { path, offset: 0, len: 0, records, kind };
                        return Ok(Some(Found::Damage(damage)));
                    }
                }
            }
        }
    }

    /// Asks the log how far it is; whether there is something to read.
    fn look(&mut self) -> bool {
        let known = self.log.known_segments();
        self.synced = known.synced;
        if let Some((number, walk)) = &mut self.walk {
            let number = *number;
            self.limit = limit_of(&known, number);
            if self.next >= self.limit {
                self.walk = None;
                // The next segment has its own limit.
                self.limit = u64::MAX;
            } else if let Some(&(_, _, bytes)) = known.segments.iter().find(|s| s.0 == number) {
                let limit = Some(self.limit).filter(|&limit| limit < u64::MAX);
                walk.go_on(bytes, limit, self.limit.min(self.synced));
            }
        } else {
            self.limit = u64::MAX;
        }
        self.next < self.synced
    }

    /// Opens the segment that has the next record; says what is missing before it.
    fn begin(&mut self) -> Result<Option<Damage>, StorageError> {
        let known = self.log.known_segments();
        self.synced = known.synced;
        let firsts = || known.segments.iter().filter_map(|&(n, first, b)| Some((n, first?, b)));
        // The newest that begins at or before it: what older ones have of it is void.
        let Some((number, first, bytes)) = firsts().rfind(|&(_, first, _)| first <= self.next)
        else {
            let end = firsts().map(|(_, first, _)| first).min().unwrap_or(self.synced);
            let records = end.saturating_sub(self.next).max(1);
            self.next += records;
            let (path, kind) = (self.log.dir().to_owned(), DamageKind::MissingSegment);
            return Ok(Some(Damage { path, offset: 0, len: 0, records, kind }));
        };
        self.limit = limit_of(&known, number);
        let path = segment::path_of(self.log.dir(), number);
        let gives_up = std::mem::take(&mut self.gives_up);
        let file = match segment::open(self.log.disk(), &path) {
            Ok(file) => file,
            Err(error)
                if error.kind() != ErrorKind::NotFound && !is_damage(&error) && !gives_up =>
            {
                return Err(StorageError::io("open", &path, error));
            }
            Err(_) => {
                let end = self.limit.min(self.synced);
                let records = end - self.next;
                self.next = end;
                let kind = DamageKind::MissingSegment;
                return Ok(Some(Damage { path, offset: 0, len: bytes, records, kind }));
            }
        };
        let bounds = Bounds {
            limit: Some(self.limit).filter(|&limit| limit < u64::MAX),
            covered: self.limit.min(self.synced),
            is_newest: false,
        };
        let walk = Walk::new(Window::new(file, bytes), self.log.salt(), first, bounds);
        self.walk = Some((number, walk));
        Ok(None)
    }
}

/// First sequence that a segment newer than `number` begins with.
fn limit_of(known: &KnownSegments, number: u64) -> u64 {
    let newer = known.segments.iter().filter(|segment| segment.0 > number);
    newer.filter_map(|segment| segment.1).min().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::disk::{Call, Crash, Disk, Fault, SimulatedClock, SimulatedDisk};
    use crate::wal::{LogOptions, Position};

    fn open(disk: &Arc<SimulatedDisk>, segment_bytes_max: u64) -> Arc<Log> {
        let clock = Arc::new(SimulatedClock::new(0));
        let options = LogOptions { segment_bytes_max, ..LogOptions::default() };
        let disk: Arc<dyn Disk> = disk.clone();
        Arc::new(Log::open(disk, Path::new("wal"), options, clock, Position::START).unwrap())
    }

    fn drain(tail: &mut Tail) -> Vec<(u64, Vec<u8>)> {
        let mut found = Vec::new();
        while let Some(item) = tail.next_item().unwrap() {
            match item {
                Item::Record { position, payload, .. } => {
                    found.push((position.sequence, payload.to_vec()));
                }
                Item::Damage(damage) => panic!("{damage}"),
            }
        }
        found
    }

    #[test]
    fn records_come_when_they_are_synced_and_once() {
        let disk = Arc::new(SimulatedDisk::new(1));
        let log = open(&disk, 200);
        let mut tail = Tail::open(Arc::clone(&log), 0);
        let mut expected = Vec::new();
        for round in 0_u8..20 {
            log.append(&[(1, &[round; 9]), (2, &[round])]).unwrap();
            expected.push((u64::from(round) * 2, vec![round; 9]));
            expected.push((u64::from(round) * 2 + 1, vec![round]));
            if round % 3 == 0 {
                assert!(!tail.wait(Duration::ZERO) || tail.next_sequence() < 40);
                log.sync().unwrap();
                let found = drain(&mut tail);
                assert_eq!(found.last(), expected.last());
                assert_eq!(tail.next_sequence(), expected.len() as u64);
            }
        }
        log.sync().unwrap();
        drain(&mut tail);
        // From any place the rest is the same.
        for from in 0..40 {
            let found = drain(&mut Tail::open(Arc::clone(&log), from));
            assert_eq!(found, expected[from as usize..]);
        }
        assert!(log.segments().len() > 3);
    }

    #[test]
    fn what_power_takes_was_never_given() {
        let disk = Arc::new(SimulatedDisk::new(7));
        let log = open(&disk, 1 << 20);
        let mut tail = Tail::open(Arc::clone(&log), 0);
        log.append(&[(1, b"a"), (1, b"b")]).unwrap();
        log.sync().unwrap();
        log.append(&[(1, b"c")]).unwrap();
        assert_eq!(drain(&mut tail).len(), 2);
        drop((tail, log));
        let disk = Arc::new(disk.crash(Crash::Strict));
        let log = open(&disk, 1 << 20);
        let mut tail = Tail::open(Arc::clone(&log), 2);
        log.append(&[(1, b"d")]).unwrap();
        log.sync().unwrap();
        let found = drain(&mut tail);
        assert_eq!(found.last().map(|r| r.1.as_slice()), Some(&b"d"[..]));
    }

    #[test]
    fn segments_that_are_gone_are_told() {
        let disk = Arc::new(SimulatedDisk::new(1));
        let log = open(&disk, 100);
        for round in 0_u8..20 {
            log.append(&[(1, &[round; 40])]).unwrap();
        }
        log.sync().unwrap();
        log.drop_before(10).unwrap();
        let mut tail = Tail::open(Arc::clone(&log), 3);
        let item = tail.next_item().unwrap();
        let Some(Item::Damage(damage)) = item else { panic!("nothing was told") };
        assert_eq!(damage.kind, DamageKind::MissingSegment);
        let rest = drain(&mut tail);
        assert_eq!(rest.len() as u64 + damage.records, 17);
        assert_eq!(rest.last().map(|r| r.0), Some(19));
    }

    #[test]
    fn a_segment_that_cannot_be_opened_is_tried_again_and_loses_nothing() {
        let disk = Arc::new(SimulatedDisk::new(1));
        let log = open(&disk, 100);
        for round in 0_u8..20 {
            log.append(&[(1, &[round; 40])]).unwrap();
        }
        log.sync().unwrap();
        let mut tail = Tail::open(Arc::clone(&log), 0);
        let mut found = Vec::new();
        // Each segment is opened twice where that fails.
        for nth in [1, 1, 3] {
            disk.fail_nth_of(Call::Open, nth, Fault::Lasting);
            let error = loop {
                match tail.next_item() {
                    Ok(Some(Item::Record { position, .. })) => found.push(position.sequence),
                    Ok(item) => panic!("{item:?}"),
                    Err(error) => break error,
                }
            };
            assert!(error.to_string().contains(".wal"), "{error}");
            assert_eq!(tail.next_sequence(), found.len() as u64);
            disk.heal();
        }
        found.extend(drain(&mut tail).iter().map(|record| record.0));
        assert_eq!(found, (0..20).collect::<Vec<u64>>());
    }

    #[test]
    fn a_segment_that_is_given_up_is_told_and_the_next_one_is_read() {
        let disk = Arc::new(SimulatedDisk::new(1));
        let log = open(&disk, 100);
        for round in 0_u8..6 {
            log.append(&[(1, &[round; 40])]).unwrap();
        }
        log.sync().unwrap();
        let mut tail = Tail::open(Arc::clone(&log), 0);
        disk.fail_nth_of(Call::Open, 1, Fault::Lasting);
        assert!(tail.next_item().is_err());
        tail.give_up();
        let Some(Item::Damage(damage)) = tail.next_item().unwrap() else { panic!("not told") };
        assert_eq!(damage.kind, DamageKind::MissingSegment);
        assert!(tail.next_item().is_err(), "that held for one segment");
        // What was given up is read after all where it can be opened again.
        tail.give_up();
        disk.heal();
        assert_eq!(drain(&mut tail).len() as u64 + damage.records, 6);
    }
}
