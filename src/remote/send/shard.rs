//! One shard: a queue in memory, filled by the reader of the log and emptied by one sender.
//!
//! All samples of a series go through one shard, in order. A batch is taken when there are enough
//! for a request, when the oldest has waited long enough, or when the queue is told to flush.
//!
//! After a restart the first batch is the request whose answer was not noted, with exactly the
//! samples that it had: what lies before the shard's *border* is taken alone, and not before the
//! reader has come past it.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::entry::Entry;
use crate::head::LogPoint;

/// Which entries make a batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct BatchLimits {
    pub(super) entries_max: usize,
    pub(super) deadline: Duration,
}

#[derive(Debug)]
pub(super) struct Shard {
    state: Mutex<State>,
    changed: Notify,
    /// A batch was taken: there is room.
    room: Notify,
}

#[derive(Debug)]
struct State {
    queue: VecDeque<Entry>,
    /// When the oldest entry came.
    first_at: Instant,
    /// What lies before it is taken alone.
    border: Option<LogPoint>,
    /// What lies before it has come, if it is of this shard.
    read_to: LogPoint,
    /// Entries of the batch that is being sent.
    sending: usize,
    flushes: bool,
    closed: bool,
}

impl Shard {
    /// `border`: up to where a request was under way when the process before ended.
    pub(super) fn new(border: Option<LogPoint>) -> Self {
        let state = State {
            queue: VecDeque::new(),
            first_at: Instant::now(),
            border,
            read_to: LogPoint::default(),
            sending: 0,
            flushes: false,
            closed: false,
        };
        Self { state: Mutex::new(state), changed: Notify::new(), room: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes entries as far as there is room for them; gives the number taken.
    pub(super) fn push(&self, entries: &mut VecDeque<Entry>, capacity: usize) -> usize {
        let mut state = self.state();
        let room = capacity.saturating_sub(state.queue.len()).min(entries.len());
        if room == 0 || state.closed {
            return 0;
        }
        if state.queue.is_empty() {
            state.first_at = Instant::now();
        }
        state.queue.extend(entries.drain(..room));
        drop(state);
        self.changed.notify_one();
        room
    }

    /// All entries before this place have been pushed. Whether nothing is left of them.
    pub(super) fn read_to(&self, point: LogPoint) -> bool {
        let mut state = self.state();
        state.read_to = point;
        let is_idle = state.queue.is_empty() && state.sending == 0;
        let wakes = state.border.is_some();
        drop(state);
        if wakes {
            self.changed.notify_one();
        }
        is_idle
    }

    /// Has what is there sent at once, from now on or no more.
    pub(super) fn set_flushes(&self, flushes: bool) {
        self.state().flushes = flushes;
        self.changed.notify_one();
    }

    /// Nothing comes any more; [`Shard::next_batch`] ends with what is there.
    pub(super) fn close(&self) {
        self.state().closed = true;
        self.changed.notify_one();
        self.room.notify_one();
    }

    /// Waits until a batch was taken, or a little.
    pub(super) async fn wait_for_room(&self) {
        let _ = tokio::time::timeout(Duration::from_millis(100), self.room.notified()).await;
    }

    /// The batch that [`Shard::next_batch`] gave is done with.
    pub(super) fn batch_done(&self) {
        self.state().sending = 0;
    }

    /// The next batch, when it is due; `None` after the end.
    pub(super) async fn next_batch(&self, limits: BatchLimits) -> Option<Vec<Entry>> {
        loop {
            // Not within the match: the lock is taken again there.
            let due = self.state().due(limits);
            let wait = match due {
                Due::Now(count) => {
                    let mut state = self.state();
                    let batch: Vec<Entry> = state.queue.drain(..count).collect();
                    state.sending = batch.len();
                    state.first_at = Instant::now();
                    drop(state);
                    self.room.notify_one();
                    return Some(batch);
                }
                Due::Never => return None,
                Due::At(at) => at,
            };
            tokio::select! {
                () = self.changed.notified() => {}
                () = tokio::time::sleep_until(wait) => {}
            }
        }
    }
}

enum Due {
    Now(usize),
    At(Instant),
    Never,
}

impl State {
    fn due(&mut self, limits: BatchLimits) -> Due {
        let far = Instant::now() + Duration::from_mins(1);
        if let Some(border) = self.border {
            let before = self.queue.iter().take_while(|entry| entry.point < border).count();
            if before == self.queue.len() && self.read_to < border && !self.closed {
                return Due::At(far);
            }
            self.border = None;
            if before > 0 {
                return Due::Now(before);
            }
        }
        match self.queue.len() {
            0 if self.closed => Due::Never,
            0 => Due::At(far),
            n if n >= limits.entries_max => Due::Now(limits.entries_max),
            n if self.flushes || self.closed => Due::Now(n),
            n => {
                let at = self.first_at + limits.deadline;
                if at <= Instant::now() { Due::Now(n) } else { Due::At(at) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Labels;
    use crate::remote::send::entry::Datum;

    fn entries(places: std::ops::Range<u64>) -> VecDeque<Entry> {
        let entry = |sequence| Entry {
            point: LogPoint { sequence, index: 0 },
            labels: Labels::empty(),
            t_ms: 0,
            start_ms: 0,
            logged_s: 0,
            datum: Datum::Float(0.0),
        };
        places.map(entry).collect()
    }

    fn first_and_len(batch: &[Entry]) -> (u64, usize) {
        (batch[0].point.sequence, batch.len())
    }

    #[tokio::test]
    async fn batches_are_full_or_old_or_the_last() {
        let limits = BatchLimits { entries_max: 4, deadline: Duration::from_millis(20) };
        let shard = Shard::new(None);
        let mut waiting = entries(0..11);
        assert_eq!(shard.push(&mut waiting, 10), 10);
        assert_eq!(shard.push(&mut waiting, 10), 0);
        assert_eq!(first_and_len(&shard.next_batch(limits).await.unwrap()), (0, 4));
        assert_eq!(first_and_len(&shard.next_batch(limits).await.unwrap()), (4, 4));
        assert!(!shard.read_to(LogPoint { sequence: 10, index: 0 }));
        assert_eq!(first_and_len(&shard.next_batch(limits).await.unwrap()), (8, 2));
        shard.batch_done();
        assert!(shard.read_to(LogPoint { sequence: 10, index: 0 }));
        shard.push(&mut waiting, 10);
        let limits = BatchLimits { deadline: Duration::from_hours(1), ..limits };
        shard.set_flushes(true);
        assert_eq!(first_and_len(&shard.next_batch(limits).await.unwrap()), (10, 1));
        shard.close();
        assert!(shard.next_batch(limits).await.is_none());
    }

    #[tokio::test]
    async fn what_was_under_way_is_sent_again_as_it_was() {
        let limits = BatchLimits { entries_max: 3, deadline: Duration::from_millis(1) };
        let border = LogPoint { sequence: 5, index: 0 };
        let shard = Shard::new(Some(border));
        shard.push(&mut entries(0..4), 100);
        let early = tokio::time::timeout(Duration::from_millis(50), shard.next_batch(limits)).await;
        assert!(early.is_err(), "the reader has not come past it");
        shard.push(&mut entries(4..9), 100);
        assert_eq!(first_and_len(&shard.next_batch(limits).await.unwrap()), (0, 5));
        assert_eq!(first_and_len(&shard.next_batch(limits).await.unwrap()), (5, 3));
        let shard = Shard::new(Some(border));
        shard.push(&mut entries(0..2), 100);
        shard.read_to(border);
        assert_eq!(first_and_len(&shard.next_batch(limits).await.unwrap()), (0, 2));
    }
}
