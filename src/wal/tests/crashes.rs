//! Random histories of appends, syncs, faults, kills and crashes, against a model.
//!
//! The model: what was acknowledged, in order, and how much of it a sync has answered for. What
//! is replayed must be a prefix of it, at least as long as that; after a kill, all of it. The
//! records of a failed append may follow only where nothing acknowledged comes after them.

use super::*;
use crate::disk::{Crash, Fault};

struct Model {
    acknowledged: Vec<Record>,
    synced: usize,
    /// Failed appends since the last acknowledged one.
    maybe: Vec<Vec<Record>>,
    next: u64,
}

impl Model {
    fn new() -> Self {
        Self { acknowledged: Vec::new(), synced: 0, maybe: Vec::new(), next: 0 }
    }

    fn batch(&mut self, dice: &mut Dice) -> Vec<Record> {
        let len = if dice.one_in(30) { 4000 } else { dice.below(200) as usize };
        (0..=dice.below(4))
            .map(|_| {
                self.next += 1;
                let mut payload = self.next.to_le_bytes().to_vec();
                payload.resize(8 + len, self.next as u8);
                (self.next as u8 % 7 + 1, payload)
            })
            .collect()
    }

    /// Checks what a disk holds after a kill or a crash, and takes it over.
    fn check(&mut self, disk: &SimulatedDisk, is_killed: bool) {
        let (found, damages) = replay(disk);
        for damage in damages {
            assert_eq!(damage.records, 0, "nothing synced was damaged: {damage}");
        }
        let kept = found.len().min(self.acknowledged.len());
        assert_eq!(found[..kept], self.acknowledged[..kept], "a prefix in order");
        assert!(kept >= self.synced, "{kept} of {} synced records", self.synced);
        if is_killed {
            assert_eq!(kept, self.acknowledged.len(), "a kill loses nothing");
        }
        let rest = &found[kept..];
        let is_maybe = |batch: &Vec<Record>| batch.starts_with(rest);
        assert!(rest.is_empty() || self.maybe.iter().any(is_maybe), "records out of nowhere");
        if !is_killed {
            self.synced = found.len();
        }
        self.acknowledged = found;
        self.maybe.clear();
    }
}

/// One life of a process: opens, works under faults, and ends. The disk for the next.
fn live(
    dice: &mut Dice,
    disk: &SimulatedDisk,
    clock: &SimulatedClock,
    options: LogOptions,
    model: &mut Model,
) {
    if dice.one_in(4) {
        disk.fail_nth(dice.below(12) + 1, Fault::Once);
    }
    let Ok(log) = open(disk, clock, options) else { return };
    if log.stats().unwritable.is_none() {
        // What it found is on the medium now.
        model.synced = model.acknowledged.len();
    }
    for _ in 0..dice.below(60) {
        match dice.below(20) {
            0 => {
                let fault = if dice.one_in(3) { Fault::Lasting } else { Fault::Once };
                disk.fail_nth(dice.below(8) + 1, fault);
            }
            1 => disk.heal(),
            2 => disk.set_capacity(Some(disk.used() + dice.below(3000))),
            3 => disk.set_capacity(None),
            4..7 => clock.advance(Duration::from_millis(dice.below(800))),
            7..9 if log.sync().is_ok() => model.synced = model.acknowledged.len(),
            _ => {
                let batch = model.batch(dice);
                if append(&log, &batch).is_ok() {
                    model.acknowledged.extend(batch);
                    model.maybe.clear();
                    if options.sync_interval.is_zero() {
                        model.synced = model.acknowledged.len();
                    }
                } else {
                    model.maybe.push(batch);
                }
            }
        }
    }
    if dice.one_in(4) && log.close().is_ok() {
        model.synced = model.acknowledged.len();
    }
}

#[test]
fn nothing_synced_is_lost_and_no_hole_is_left() {
    for seed in 0..1500 {
        let mut dice = Dice(seed);
        let mut disk = SimulatedDisk::new(seed);
        let clock = SimulatedClock::new(0);
        let mut model = Model::new();
        let options = options(2000 + dice.below(20_000), [0, 1000][dice.below(2) as usize]);
        for _ in 0..6 {
            live(&mut dice, &disk, &clock, options, &mut model);
            let is_killed = dice.one_in(3);
            disk = if is_killed {
                disk.kill()
            } else {
                disk.crash(Crash::ALL[dice.below(4) as usize])
            };
            disk.set_capacity(None);
            model.check(&disk, is_killed);
        }
    }
}

/// Every call of a fixed history fails in turn, once and for good; then the process is killed or
/// power fails in each of the ways.
#[test]
fn any_call_may_fail() {
    let history = |disk: &SimulatedDisk, model: &mut Model, interval_ms| {
        let clock = SimulatedClock::new(0);
        let Ok(log) = open(disk, &clock, options(1500, interval_ms)) else { return };
        let mut dice = Dice(7);
        for i in 0..25 {
            let batch = model.batch(&mut dice);
            if append(&log, &batch).is_ok() {
                model.acknowledged.extend(batch);
                model.maybe.clear();
                if interval_ms == 0 {
                    model.synced = model.acknowledged.len();
                }
            } else {
                model.maybe.push(batch);
            }
            clock.advance(Duration::from_millis(90));
            if i % 7 == 6 && log.sync().is_ok() {
                model.synced = model.acknowledged.len();
            }
        }
        if log.close().is_ok() {
            model.synced = model.acknowledged.len();
        }
    };
    for interval_ms in [0, 1000] {
        let disk = SimulatedDisk::new(1);
        history(&disk, &mut Model::new(), interval_ms);
        let calls = disk.calls();
        assert!(calls > 60);
        for n in 1..=calls {
            for fault in [Fault::Once, Fault::Lasting] {
                for ending in [None, Some(Crash::Strict), Some(Crash::Torn), Some(Crash::Random)] {
                    let disk = SimulatedDisk::new(n);
                    let mut model = Model::new();
                    disk.fail_nth(n, fault);
                    history(&disk, &mut model, interval_ms);
                    let disk = ending.map_or_else(|| disk.kill(), |mode| disk.crash(mode));
                    model.check(&disk, ending.is_none());
                    history(&disk, &mut model, interval_ms);
                    model.check(&disk.kill(), true);
                }
            }
        }
    }
}
