//! The write path as writers see it: collect, then commit.
//!
//! An appender is a ticket: while it is open, a flush whose border lies above its lower bound
//! waits ([`OpenAppenders`]), because it may still store samples below that border.

pub(super) mod commit;
mod homes;
mod plain;
mod rooms;
mod verdict;

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use self::commit::Commit;
pub(super) use self::rooms::Rooms;
use self::verdict::Limits;
use super::extra::Extra;
use super::group::NO_TIME;
use super::notes::Notes;
use super::{CommitOutcome, GroupKey, Head, SeriesRef};
use crate::disk::StorageError;
use crate::model::{Exemplar, Histogram, Labels, Metadata};

/// Collects the samples of one scrape, evaluation or push. Not shared between threads.
#[derive(Debug)]
pub struct Appender {
    head: Arc<Head>,
    key: GroupKey,
    /// Lower bound, fixed when the appender was opened; [`NO_TIME`]: the head was empty.
    min_valid_ms: i64,
    /// Newest time when the appender was opened; what is late is told by it.
    newest_ms: Option<i64>,
    samples: Vec<Sample>,
    /// Those that are more than floats: number of the call, ascending.
    extras: Vec<(usize, Extra)>,
    /// Those that are refused rather than stored late: number of the call, ascending.
    in_order: Vec<usize>,
    notes: Notes,
    /// The out-of-order window of this commit, in milliseconds, where it has one of its own.
    late_window_ms: Option<i64>,
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    series: SeriesRef,
    t_ms: i64,
    bits: u64,
}

impl Head {
    /// Begins a commit of the source `key`.
    pub fn appender(self: &Arc<Self>, key: &GroupKey) -> Appender {
        let min_valid_ms = self.open_appenders.enter(|| self.min_valid_ms());
        let newest_ms = self.newest_ms();
        Appender {
            head: Arc::clone(self),
            key: key.clone(),
            min_valid_ms,
            newest_ms,
            samples: self.rooms.samples.take(),
            extras: Vec::new(),
            in_order: Vec::new(),
            notes: Notes::default(),
            late_window_ms: None,
        }
    }
}

impl Head {
    /// Whether a commit now might wait for more than other commits: for a replay, a seal, flush or
    /// checkpoint, for who changes the tables, for the medium. Never waits itself. A hint: what
    /// it says may be over, or begin, in the next moment.
    pub fn may_wait(&self) -> bool {
        !self.gate.is_open()
            || self.maintenance.try_lock().is_err()
            || self.register.try_read().is_err()
            || self.groups.try_read().is_err()
            || self.log.may_wait()
    }
}

impl Appender {
    /// The series with these labels; it is created where the head has none.
    pub fn series(&mut self, labels: &Labels) -> SeriesRef {
        self.head.series(labels)
    }

    /// Makes room for `additional` samples.
    pub fn reserve(&mut self, additional: usize) {
        self.samples.reserve(additional);
    }

    /// Collects a sample. Samples of one series may follow one another in one commit.
    #[inline]
    pub fn append(&mut self, series: SeriesRef, t_ms: i64, value: f64) {
        self.samples.push(Sample { series, t_ms, bits: value.to_bits() });
    }

    /// Collects a native histogram; as [`Appender::append`].
    pub fn append_histogram(&mut self, series: SeriesRef, t_ms: i64, histogram: Arc<Histogram>) {
        let bits = histogram.sum().to_bits();
        self.extras.push((self.len(), Extra { histogram: Some(histogram), start_ms: 0 }));
        self.samples.push(Sample { series, t_ms, bits });
    }

    /// Says when the counter of the sample collected last began to count, in milliseconds; 0: not
    /// known.
    pub fn set_last_start(&mut self, start_ms: i64) {
        let Some(call) = self.len().checked_sub(1) else { return };
        match self.extras.last_mut() {
            Some(last) if last.0 == call => last.1.start_ms = start_ms,
            _ if start_ms == 0 => {}
            _ => self.extras.push((call, Extra { histogram: None, start_ms })),
        }
    }

    /// Has the sample collected last refused as out of order where it would be stored late.
    pub fn set_last_in_order(&mut self) {
        if let Some(call) = self.len().checked_sub(1) {
            self.in_order.push(call);
        }
    }

    /// Collects an exemplar of a series. It is stored after the samples, which do not depend on it.
    pub fn append_exemplar(&mut self, series: SeriesRef, exemplar: Exemplar) {
        self.notes.exemplars.push((series, exemplar));
    }

    /// Collects what is said of a metric.
    pub fn set_metadata(&mut self, metric: &str, metadata: Metadata) {
        self.notes.metadata.push((metric.to_owned(), metadata));
    }

    /// Takes late samples down to `window_ms` below the newest data, whatever the head takes from
    /// others.
    pub fn take_late(&mut self, window_ms: i64) {
        self.late_window_ms = Some(window_ms);
    }

    /// Number of samples collected so far.
    pub fn len(&self) -> usize {
        self.samples.len()
    }

    /// Whether nothing was collected.
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// Judges, logs, applies. On an error no sample was stored, or all are and what stands beside
    /// them is not.
    pub fn commit(mut self) -> Result<CommitOutcome, StorageError> {
        let notes = std::mem::take(&mut self.notes);
        let mut outcome = self.commit_samples()?;
        outcome.exemplars = self.head.store_notes(notes)?;
        Ok(outcome)
    }

    fn commit_samples(&self) -> Result<CommitOutcome, StorageError> {
        self.head.check_open()?;
        let Some(first) = self.samples.first() else { return Ok(CommitOutcome::default()) };
        let opened = (self.min_valid_ms, self.newest_ms);
        let mut limits = Limits::new(&self.head, &self.key, opened, first.t_ms);
        if let Some(window_ms) = self.late_window_ms {
            limits.take_late(self.newest_ms.unwrap_or(first.t_ms), window_ms);
        }
        if self.extras.is_empty()
            && let Some(outcome) = plain::commit(&self.head, &self.key, &self.samples, &limits)?
        {
            return Ok(outcome);
        }
        let samples = (&*self.samples, &*self.extras, &*self.in_order);
        Commit::new(&self.head, &self.key, samples, limits).run()
    }
}

impl Drop for Appender {
    fn drop(&mut self) {
        self.head.open_appenders.leave(self.min_valid_ms);
        self.head.rooms.samples.keep(std::mem::take(&mut self.samples));
    }
}

/// How many appenders are open, by their lower bounds.
#[derive(Debug, Default)]
pub(super) struct OpenAppenders {
    open: Mutex<Open>,
    left: Condvar,
}

#[derive(Debug, Default)]
struct Open {
    /// Bounds, each with the number of its appenders: a handful, in no order.
    by_bound: Vec<(i64, usize)>,
    /// Who waits for appenders to leave: to tell nobody costs a call of the system too.
    waiting: usize,
}

impl OpenAppenders {
    /// Registers an appender with the bound that `bound` gives; no flush comes in between.
    fn enter(&self, bound: impl FnOnce() -> i64) -> i64 {
        let mut open = self.lock();
        let bound = bound();
        match open.by_bound.iter_mut().find(|entry| entry.0 == bound) {
            Some(entry) => entry.1 += 1,
            None => open.by_bound.push((bound, 1)),
        }
        bound
    }

    fn leave(&self, bound: i64) {
        let mut open = self.lock();
        if let Some(at) = open.by_bound.iter().position(|entry| entry.0 == bound) {
            open.by_bound[at].1 -= 1;
            if open.by_bound[at].1 == 0 {
                open.by_bound.swap_remove(at);
            }
        }
        if open.waiting > 0 {
            self.left.notify_all();
        }
    }

    /// Runs `raise`, which moves the lower bound of later appenders to `border_ms`, and waits
    /// until none with a lower one is open. `false` when some stay longer than `patience`.
    pub(super) fn raise(&self, border_ms: i64, patience: Duration, raise: impl FnOnce()) -> bool {
        let mut open = self.lock();
        raise();
        open.waiting += 1;
        let (mut open, timeout) = self
            .left
            .wait_timeout_while(open, patience, |open| {
                // An appender opened on an empty head has no bound yet.
                let is_below = |&(bound, _): &(i64, usize)| bound < border_ms || bound == NO_TIME;
                open.by_bound.iter().any(is_below)
            })
            .unwrap_or_else(PoisonError::into_inner);
        open.waiting -= 1;
        !timeout.timed_out()
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
