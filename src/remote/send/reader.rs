//! The thread that reads the log for one receiver and deals what it finds to the shards.
//!
//! It also does what has to be done from time to time: progress made durable, the log given up
//! where the receiver is away for too long, tables written, the number of shards changed.
//!
//! A series' shard follows from its labels and the number of shards. That number is changed only
//! when all shards are empty, so no sample overtakes another of its series.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::deliver::run_shard;
use super::entry::{Counts, Datum, Entry};
use super::labels::{Relabeling, hash};
use super::metrics::Reason;
use super::queue::{Queue, now_ms};
use super::rates::TICK;
use super::shard::Shard;
use crate::config::RemoteWriteMessage;
use crate::db::ShardProgress;
use crate::head::{FollowSink, FollowedSample, Follower, LogPoint};
use crate::model::{Exemplar, Histogram, Labels};

/// How often progress is made durable.
const SYNC_EVERY: Duration = Duration::from_secs(1);
/// How long the log is waited for at a time.
const PATIENCE: Duration = Duration::from_millis(250);
/// Records that are read at a time.
const RECORDS_AT_A_TIME: usize = 64;
/// What of the log is kept when the limit of bytes is reached, in tenths.
const KEPT_TENTHS: u64 = 9;
/// How often shards are looked at while they empty.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Reads the log for one queue.
#[derive(Debug)]
pub(super) struct Reader {
    queue: Arc<Queue>,
    follower: Follower,
    runtime: Handle,
    relabeling: Relabeling,
    shards: Vec<Arc<Shard>>,
    tasks: Vec<JoinHandle<()>>,
    /// What was read and has no room in its shard yet.
    waiting: Vec<VecDeque<Entry>>,
    /// What of each shard was done before the start.
    skip_before: Vec<LogPoint>,
    /// Where the log ended at times of this process, in seconds: when what lies before was logged
    /// at the latest. Of what lies behind the newest, it is now.
    ends: VecDeque<(u64, i64)>,
    synced_at: Instant,
    ticked_at: Instant,
}

impl Reader {
    /// A reader that goes on where the queue's progress says.
    pub(super) fn new(
        queue: Arc<Queue>,
        follower: Follower,
        runtime: Handle,
        external_labels: Labels,
    ) -> Self {
        let mut progress = queue.progress.shards();
        let limits = &queue.config.queue;
        let count = progress.len().clamp(limits.min_shards, limits.max_shards);
        if let Some(&first) = progress.first()
            && count != progress.len()
            && progress.iter().all(|shard| *shard == first && shard.sending == shard.done)
        {
            // Nothing stands between the shards, so there may be another number of them.
            progress = vec![first; count];
            if let Err(error) = queue.progress.note_all(&progress) {
                let name = &queue.name;
                tracing::error!(remote_name = %name, err = %error, "Progress cannot be noted");
            }
        }
        let rules = queue.config.write_relabel_configs.clone();
        let end = queue.database.log_end();
        let mut reader = Self {
            relabeling: Relabeling::new(external_labels, rules),
            queue,
            follower,
            runtime,
            shards: Vec::new(),
            tasks: Vec::new(),
            waiting: Vec::new(),
            skip_before: Vec::new(),
            ends: VecDeque::from([(end.sequence, now_ms() / 1000)]),
            synced_at: Instant::now(),
            ticked_at: Instant::now(),
        };
        reader.start_shards(&progress);
        reader
    }

    fn start_shards(&mut self, progress: &[ShardProgress]) {
        self.skip_before = progress.iter().map(|shard| shard.done).collect();
        self.waiting = progress.iter().map(|_| VecDeque::new()).collect();
        let border = |shard: &ShardProgress| (shard.sending > shard.done).then_some(shard.sending);
        self.shards = progress.iter().map(|s| Arc::new(Shard::new(border(s)))).collect();
        let run = |(n, shard): (usize, &Arc<Shard>)| {
            self.runtime.spawn(run_shard(Arc::clone(&self.queue), n, Arc::clone(shard)))
        };
        self.tasks = self.shards.iter().enumerate().map(run).collect();
        self.queue.metrics.shards.set(self.shards.len() as f64);
    }

    /// Reads until the queue stops; then what is there is still read and sent, as long as the
    /// receiver takes it.
    pub(super) fn run(mut self) {
        while !self.queue.has_given_up() {
            self.tick();
            let is_stopping = self.queue.is_stopping();
            let patience = if is_stopping { Duration::ZERO } else { PATIENCE };
            let is_held_up = self.follower.wait(patience) && !self.read();
            if is_stopping && (is_held_up || !self.follower.wait(Duration::ZERO)) {
                // What cannot be read now is read after the next start.
                break;
            }
            if is_held_up {
                std::thread::sleep(PATIENCE);
            }
        }
        self.shards.iter().for_each(|shard| shard.close());
        for mut task in std::mem::take(&mut self.tasks) {
            while !self.queue.has_given_up() && !task.is_finished() {
                std::thread::sleep(LOOK_EVERY);
            }
            if !task.is_finished() {
                // Its request is sent again, as it is, after the next start.
                task.abort();
            }
            let _ = self.runtime.block_on(&mut task);
        }
        if !self.queue.has_given_up() {
            self.note_idle();
        }
        self.sync();
    }

    /// Reads some records; whether the log can be read.
    fn read(&mut self) -> bool {
        let mut deal = Deal {
            queue: &self.queue,
            relabeling: &mut self.relabeling,
            waiting: &mut self.waiting,
            skip_before: &self.skip_before,
            ends: &mut self.ends,
            now_ms: now_ms(),
            came: Counts::default(),
            dropped: Default::default(),
        };
        let mut records = 0;
        let outcome = loop {
            match self.follower.read(&mut deal) {
                Ok(true) if records + 1 < RECORDS_AT_A_TIME => records += 1,
                outcome => {
                    records += usize::from(matches!(outcome, Ok(true)));
                    break outcome;
                }
            }
        };
        deal.end();
        self.queue.metrics.records.add(records as u64);
        self.hand_out();
        let point = self.follower.point();
        for shard in &self.shards {
            shard.read_to(point);
        }
        let Err(error) = outcome else { return true };
        if self.queue.may_tell() {
            let name = &self.queue.name;
            tracing::error!(
                remote_name = %name, err = %error,
                "The log cannot be read on; it is tried again, and what is there is kept"
            );
        }
        if point.sequence < self.queue.give_up_before.load(Ordering::Acquire) {
            // More is kept for it than may be.
            self.follower.give_up();
        }
        false
    }

    /// Gives what waits to the shards, as they have room.
    fn hand_out(&mut self) {
        let capacity = self.queue.config.queue.capacity;
        for n in 0..self.shards.len() {
            while !self.waiting[n].is_empty() {
                if self.shards[n].push(&mut self.waiting[n], capacity) == 0 {
                    if self.queue.has_given_up() {
                        return;
                    }
                    self.queue.metrics.enqueue_retries.inc();
                    self.runtime.block_on(self.shards[n].wait_for_room());
                    self.tick();
                }
            }
        }
    }

    fn tick(&mut self) {
        if self.synced_at.elapsed() < SYNC_EVERY {
            return;
        }
        self.note_idle();
        self.sync();
        self.give_up_what_is_too_much();
        if self.ticked_at.elapsed() < TICK {
            return;
        }
        self.ticked_at = Instant::now();
        self.ends.push_back((self.queue.database.log_end().sequence, now_ms() / 1000));
        self.queue.metrics.segment.set(self.follower.segment() as f64);
        if let Err(error) = self.queue.database.save_forward_tables(&mut self.follower)
            && self.queue.may_tell()
        {
            let name = &self.queue.name;
            tracing::warn!(remote_name = %name, err = %error, "The log cannot be let go");
        }
        self.queue.rates.tick();
        let limits = &self.queue.config.queue;
        let wanted = self.queue.rates.wanted(self.shards.len(), self.queue.behind_s(), limits);
        if let Some(exact) = wanted.exact {
            self.queue.metrics.shards_desired.set(exact);
        }
        let waits = self.waiting.iter().any(|waiting| !waiting.is_empty());
        let wanted = wanted.shards.clamp(limits.min_shards, limits.max_shards);
        if wanted != self.shards.len() && !waits && self.queue.is_sending() {
            self.reshard(wanted);
        }
    }

    /// Shards with nothing to do have come as far as the reader has.
    fn note_idle(&self) {
        let done = self.follower.point();
        for (n, shard) in self.shards.iter().enumerate() {
            if self.waiting[n].is_empty() && shard.read_to(done) {
                let before = self.queue.progress.shard(n).unwrap_or_default();
                // Before it has come so far, what it did is told better by what it noted.
                if before.done < done {
                    // A request under way at the last end is still to be sent again as it was.
                    let sending = done.max(before.sending);
                    let progress = ShardProgress { done, sending };
                    let _ = self.queue.progress.note(n, progress);
                }
            }
        }
    }

    fn sync(&mut self) {
        self.synced_at = Instant::now();
        if let Err(error) = self.queue.progress.sync()
            && self.queue.may_tell()
        {
            let name = &self.queue.name;
            tracing::error!(remote_name = %name, err = %error, "Progress cannot be made durable");
        }
    }

    fn give_up_what_is_too_much(&self) {
        let limit = self.queue.hold.bytes;
        let lowest = self.queue.progress.lowest();
        if self.queue.database.log_bytes_from(lowest.sequence) > limit {
            let kept = self.queue.database.log_point_within(limit / 10 * KEPT_TENTHS);
            self.queue.give_up_before.fetch_max(kept.sequence, Ordering::AcqRel);
        }
    }

    /// Changes the number of shards, once all are empty. Where that takes too long, or something
    /// fails meanwhile, it stays as it is.
    fn reshard(&mut self, shards: usize) {
        let began = Instant::now();
        let point = self.follower.point();
        self.shards.iter().for_each(|shard| shard.set_flushes(true));
        while !self.shards.iter().all(|shard| shard.read_to(point)) {
            let is_too_long = began.elapsed() > self.queue.flush_deadline;
            if is_too_long || self.queue.is_stopping() || !self.queue.is_sending() {
                self.shards.iter().for_each(|shard| shard.set_flushes(false));
                return;
            }
            std::thread::sleep(LOOK_EVERY);
        }
        self.shards.iter().for_each(|shard| shard.close());
        for task in self.tasks.drain(..) {
            let _ = self.runtime.block_on(task);
        }
        let name = &self.queue.name;
        tracing::info!(remote_name = %name, from = self.shards.len(), to = shards, "Resharding");
        let progress = vec![ShardProgress { done: point, sending: point }; shards];
        if let Err(error) = self.queue.progress.note_all(&progress) {
            tracing::error!(remote_name = %name, err = %error, "Progress cannot be noted");
        }
        self.start_shards(&progress);
    }
}

/// Deals what is read to the shards.
struct Deal<'a> {
    queue: &'a Queue,
    relabeling: &'a mut Relabeling,
    waiting: &'a mut [VecDeque<Entry>],
    skip_before: &'a [LogPoint],
    ends: &'a mut VecDeque<(u64, i64)>,
    now_ms: i64,
    came: Counts,
    dropped: [(Option<Reason>, Counts); 4],
}

impl Deal<'_> {
    /// When what stands here was logged, about, in seconds.
    fn logged_s(&mut self, point: LogPoint) -> i64 {
        while self.ends.front().is_some_and(|end| end.0 <= point.sequence) {
            self.ends.pop_front();
        }
        self.ends.front().map_or(self.now_ms / 1000, |end| end.1)
    }

    /// The shard of a series, unless what stands here is done.
    fn shard_of(&self, labels: &Labels, point: LogPoint) -> Option<usize> {
        let shard = hash(labels) as usize % self.waiting.len();
        (point >= self.skip_before[shard]).then_some(shard)
    }

    fn drop_one(&mut self, reason: Reason, datum: &Datum) {
        let slot = self.dropped.iter_mut().find(|(r, _)| r.is_none_or(|known| known == reason));
        if let Some((known, counts)) = slot {
            *known = Some(reason);
            counts.add(datum);
        }
    }

    fn put(&mut self, shard: usize, labels: Option<Labels>, mut entry: Entry) {
        self.came.add(&entry.datum);
        let Some(labels) = labels else {
            self.drop_one(Reason::DroppedSeries, &entry.datum);
            return;
        };
        if let Some(reason) = self.queue.too_late(&entry, self.now_ms) {
            self.drop_one(reason, &entry.datum);
            return;
        }
        entry.labels = labels;
        if !matches!(entry.datum, Datum::Exemplar(_)) {
            let seconds = entry.t_ms / 1000;
            let highest = self.queue.highest_s.fetch_max(seconds, Ordering::AcqRel).max(seconds);
            self.queue.metrics.highest_s.set(highest as f64);
        }
        let mut counts = Counts::default();
        counts.add(&entry.datum);
        self.queue.metrics.queued(counts);
        self.waiting[shard].push_back(entry);
    }

    fn sends(&self, histogram: &Histogram) -> Result<bool, Reason> {
        let config = &self.queue.config;
        if config.message == RemoteWriteMessage::V2 {
            return Ok(true);
        }
        if !config.send_native_histograms {
            return Ok(false);
        }
        let is_custom = histogram.schema() == crate::model::histogram::CUSTOM_BUCKETS_SCHEMA;
        if is_custom { Err(Reason::CustomBuckets) } else { Ok(true) }
    }

    fn end(self) {
        self.queue.rates.came.add(self.came.sum());
        for (reason, counts) in self.dropped {
            if let Some(reason) = reason {
                self.queue.count_dropped(reason, counts);
            }
        }
        if self.queue.is_first.load(Ordering::Relaxed) {
            self.queue.all_metrics.came.add(self.came);
            let highest = self.queue.highest_s.load(Ordering::Relaxed);
            self.queue.all_metrics.highest_s.set(highest as f64);
        }
    }
}

impl FollowSink for Deal<'_> {
    fn sample(&mut self, sample: FollowedSample<'_>) {
        let FollowedSample { point, series, t_ms, value, histogram, start_ms } = sample;
        let Some(shard) = self.shard_of(&series.labels, point) else { return };
        let datum = match histogram {
            None => Datum::Float(value),
            Some(histogram) => {
                let sends = self.sends(&histogram);
                let datum = Datum::Histogram(Box::new(histogram));
                match sends {
                    Ok(true) => datum,
                    Ok(false) => return,
                    Err(reason) => {
                        self.came.add(&datum);
                        self.drop_one(reason, &datum);
                        return;
                    }
                }
            }
        };
        let labels = self.relabeling.of_series(series);
        let logged_s = self.logged_s(point);
        let entry = Entry { point, labels: Labels::empty(), t_ms, start_ms, logged_s, datum };
        self.put(shard, labels, entry);
    }

    fn exemplar(&mut self, point: LogPoint, series: &Labels, exemplar: Exemplar) {
        if !self.queue.config.send_exemplars {
            return;
        }
        let Some(shard) = self.shard_of(series, point) else { return };
        let labels = self.relabeling.of_labels(series);
        let entry = Entry {
            point,
            labels: Labels::empty(),
            t_ms: exemplar.t_ms,
            start_ms: 0,
            logged_s: self.logged_s(point),
            datum: Datum::Exemplar(Box::new(exemplar)),
        };
        self.put(shard, labels, entry);
    }

    fn lost(&mut self, records: u64, why: &str) {
        self.queue.metrics.records_failed.add(records);
        tracing::warn!(
            remote_name = %self.queue.name,
            records,
            err = %why,
            "A part of the log could not be read and is not forwarded"
        );
    }
}
