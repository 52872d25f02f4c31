//! The second pass: part after part, by one thread or several, while the head serves already.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hashbrown::HashSet;

use super::Recovery;
use super::scan::{PENDING, Part};
use crate::head::checkpoint::HeadState;
use crate::head::register::{HOMELESS, Home};
use crate::head::tile::HeadFile;
use crate::head::{Event, Head};
use crate::wal::Reread;

/// What the threads of a replay share.
#[derive(Debug)]
pub(super) struct Work {
    pub head: Arc<Head>,
    pub reader: Option<Reread>,
    pub files: Vec<Arc<HeadFile>>,
    pub state: HeadState,
    /// Groups that only tiles know.
    pub lost: HashSet<u32>,
    /// Taken by whoever replays them.
    pub parts: Vec<Mutex<Part>>,
    pub records: u64,
    pub samples: AtomicU64,
    pub started: Duration,
}

impl Work {
    /// Replays until no part is left; the last one tells how it went.
    pub(super) fn run(&self) {
        while let Some(number) = self.head.gate.next_part() {
            self.run_one(number);
        }
    }

    /// Replays the part that the gate gave.
    pub(super) fn run_one(&self, number: usize) {
        let part = std::mem::take(&mut *self.part(number));
        let done = Done { work: self, groups: part.groups.clone() };
        self.replay(part);
        drop(done);
    }

    /// Lets every group wait for its part.
    pub(super) fn close_gate(&self) {
        let parts = (0..self.parts.len()).flat_map(|number| {
            let groups = self.part(number).groups.clone();
            groups.into_iter().map(move |group| (group, number))
        });
        self.head.gate.close_for(parts.collect());
    }

    fn part(&self, number: usize) -> std::sync::MutexGuard<'_, Part> {
        self.parts[number].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn replay(&self, part: Part) {
        let mut recovery = Recovery::new(&self.head);
        recovery.state = self.state.clone();
        recovery.tails = part.tails;
        recovery.part = Some(part.groups.iter().copied().collect());
        let mut payload = Vec::new();
        for (n, record) in part.records.iter().enumerate() {
            if n % 64 == 0 && self.head.gate.is_cancelled() {
                return;
            }
            let Some(reader) = &self.reader else { break };
            let read = reader.read(record.position, record.len as usize, &mut payload);
            let applied = read.map_err(|error| error.to_string()).and_then(|()| {
                let applied = recovery.apply(record.position, record.kind, &payload);
                applied.map_err(|error| error.to_string())
            });
            if let Err(what) = applied {
                let what = format!("record {}: {what}", record.position.sequence);
                self.head.tell(&self.head.options.log_dir(), &what);
            }
        }
        for (file, index) in part.tiles {
            let file = &self.files[file];
            let meta = *file.tile(index);
            let is_new = file.number >= self.state.next_file || self.lost.contains(&meta.group);
            recovery.attach_tile(file, index, is_new);
        }
        let now_ms = self.head.options.clock.now_ms();
        for &group in &part.groups {
            if let Some(group) = self.head.group(group) {
                recovery.finish_group(&group, now_ms);
            }
        }
        self.settle(&part.provisional);
        // Slots that the log took away again.
        let groups: HashSet<u32> = part.groups.iter().copied().collect();
        self.head.register_write().end_homeless(|group| groups.contains(&group));
        self.samples.fetch_add(recovery.samples, Ordering::Relaxed);
    }

    /// A series that got no place after all lives nowhere.
    fn settle(&self, provisional: &[u32]) {
        let mut register = self.head.register_write();
        for &id in provisional {
            if register.home_of(id).is_some_and(|home| home.slot == PENDING) {
                register.set_home(id, Home { group: HOMELESS, slot: 0 });
            }
        }
    }

    pub(super) fn tell_done(&self) {
        let took = self.head.options.clock.monotonic().saturating_sub(self.started);
        let (records, samples) = (self.records, self.samples.load(Ordering::Relaxed));
        self.head.options.observer.observe(Event::Replayed { records, samples, took });
    }
}

/// Opens the gate for the groups of a part, however its replay ends.
struct Done<'a> {
    work: &'a Work,
    groups: Vec<u32>,
}

impl Drop for Done<'_> {
    fn drop(&mut self) {
        if self.work.head.gate.part_done(&self.groups) {
            self.work.tell_done();
        }
    }
}

/// Replays on threads of their own; on this one where `threads` is 0 or the system gives none.
pub(super) fn start(work: Work, threads: usize) {
    let work = Arc::new(work);
    if work.parts.is_empty() {
        work.tell_done();
        return;
    }
    work.close_gate();
    let mut started = 0;
    for _ in 0..threads {
        let work = Arc::clone(&work);
        let thread = std::thread::Builder::new().name("narthex-replay".to_owned());
        started += usize::from(thread.spawn(move || work.run()).is_ok());
    }
    if started == 0 {
        work.run();
    }
}
