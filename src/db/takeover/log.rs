//! The log of a Prometheus, into our head.
//!
//! Checkpoint, segments, the log of late samples, head chunk files: read once, in the order in
//! which Prometheus wrote them, and committed like samples that are pushed. What the head does not
//! take (samples late by more than it allows) goes to a block of ours (`overflow.rs`), so nothing
//! is lost. Where reading ended is remembered after each segment; a later start reads only what a
//! later Prometheus added. What is read twice merges: equal samples are one.
//!
//! Damage is told and costs what it touches. A medium that does not read ends the import; the next
//! start tries again.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use hashbrown::HashMap;
use roaring::RoaringBitmap;

use super::overflow::{Held, Overflow};
use super::state::Position;
use super::{HEAD_DIRS, lock};
use crate::db::{Event, Shared};
use crate::disk::StorageError;
use crate::head::{AppendError, GroupKey, SeriesRef};
use crate::model::{Exemplar, Labels, Matcher, Samples, TimeRange};
use crate::prometheus::castagnoli::crc32c;
use crate::prometheus::chunk;
use crate::prometheus::log::{
    Entry, HeadChunk, Item, LogDirectory, SegmentReader, head_chunk_files, read_head_chunks,
    read_record,
};

/// What the data path is called among the directories of logs.
pub(super) const AT_DATA_PATH: &str = ".";
/// Bytes at the beginning of a segment by which it is known again.
const MARK_BYTES: u64 = 32 << 10;
/// Damaged places that are told of by themselves.
const DAMAGE_TOLD_MAX: usize = 20;

/// What an import did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogImport {
    /// Series of which samples came.
    pub series: u64,
    /// Samples that were not there before.
    pub samples: u64,
    /// Those of them that the head did not take, and that are in blocks now.
    pub late: u64,
    /// Damaged places.
    pub damages: u64,
    /// What is not kept: descriptions of series, of which Prometheus answers nothing either, and
    /// exemplars where none are kept or that are too late.
    pub dropped: u64,
}

/// Hears of each segment: how many are read, and of how many.
type Progress<'a> = &'a mut dyn FnMut(u64, u64);

impl Shared {
    /// Imports the log of a Prometheus at the data path, as far as it is not, and puts what was
    /// left of exports in order. What fails is told, and tried again at the next start.
    pub(in crate::db) fn begin_takeover(&self) {
        if let Err(error) = self.sweep_exports() {
            let text = format!("{error}; what is left of an export stays");
            self.options.observer.event(&Event::Warning(text));
        }
        // What an agent of Prometheus left has been forwarded by it.
        let is_wanted = !self.options.forwards_only;
        if is_wanted && HEAD_DIRS.iter().any(|dir| self.disk.exists(&self.path.join(dir))) {
            match self.import_log(&self.path, AT_DATA_PATH, &mut |_, _| {}) {
                Ok(_) => self.takeover.is_log_read.store(true, Ordering::Release),
                Err(error) => {
                    let text = format!("{error}; the log of Prometheus is not imported whole");
                    self.options.observer.event(&Event::Warning(text));
                }
            }
        }
    }

    /// Imports the log in `source`, which is remembered as `name`.
    pub(in crate::db) fn import_log(
        &self,
        source: &Path,
        name: &str,
        progress: Progress<'_>,
    ) -> Result<LogImport, StorageError> {
        let began = self.clock.monotonic();
        let mut import = Import {
            shared: self,
            source,
            name: name.replace('\n', "?"),
            known: HashMap::new(),
            groups: HashMap::new(),
            keys: Vec::new(),
            batch: Vec::new(),
            exemplars: Vec::new(),
            overflow: Overflow::default(),
            done: LogImport::default(),
            read_to: BTreeMap::new(),
            seen: None,
            is_first: true,
            is_late: false,
        };
        let run = import.run(progress);
        import.note_seen();
        run?;
        let done = import.done;
        if done != LogImport::default() {
            let took = self.clock.monotonic().saturating_sub(began);
            self.options.observer.event(&Event::LogImported { done, took });
        }
        Ok(done)
    }
}

/// A series of the log.
#[derive(Debug)]
struct Known {
    labels: Labels,
    series: Option<SeriesRef>,
    /// Index of its source.
    group: u32,
    /// Earliest sample in the log of samples in order.
    first_ms: i64,
    /// What was deleted here, of what the log has.
    hidden: Vec<TimeRange>,
}

/// A sample on its way.
#[derive(Debug, Clone)]
struct Sample {
    group: u32,
    /// Number of the series in the log.
    series: u64,
    t_ms: i64,
    held: Held,
}

struct Import<'a> {
    shared: &'a Shared,
    source: &'a Path,
    name: String,
    known: HashMap<u64, Known>,
    groups: HashMap<(String, String), u32>,
    keys: Vec<GroupKey>,
    batch: Vec<Sample>,
    exemplars: Vec<(u64, Exemplar)>,
    overflow: Overflow,
    done: LogImport,
    /// Where reading ended, as far as it is not remembered.
    read_to: BTreeMap<(String, String), Position>,
    /// Times of the samples that were read.
    seen: Option<TimeRange>,
    /// Whether nothing of this log was imported before.
    is_first: bool,
    /// Whether the log of late samples is being read.
    is_late: bool,
}

impl Import<'_> {
    fn run(&mut self, progress: Progress<'_>) -> Result<(), StorageError> {
        let disk = Arc::clone(&self.shared.disk);
        let (wal, wbl) = (self.source.join("wal"), self.source.join("wbl"));
        let (wal, wbl) = (LogDirectory::open(&*disk, &wal)?, LogDirectory::open(&*disk, &wbl)?);
        let count = |log: &LogDirectory| {
            log.segments.len() + log.checkpoint.as_ref().map_or(0, |(_, segments)| segments.len())
        };
        let total = (count(&wal) + count(&wbl)) as u64;
        let mut read = 0;
        for (kind, log) in [("wal", &wal), ("wbl", &wbl)] {
            let from = self.position(kind, log)?;
            self.is_late = kind == "wbl";
            self.is_first &= from.is_none();
            let covered = log.checkpoint.iter().flat_map(|(covered, segments)| {
                segments.iter().map(move |(_, path)| (*covered, path, true))
            });
            let segments = log.segments.iter().map(|(number, path)| (*number, path, false));
            for (number, path, is_checkpoint) in covered.chain(segments) {
                progress(read, total);
                read += 1;
                let skipped = match from {
                    Some(from) if number < from.segment => u64::MAX,
                    Some(from) if number == from.segment && is_checkpoint => u64::MAX,
                    Some(from) if number == from.segment => from.offset,
                    _ => 0,
                };
                let end = self.segment(path, skipped)?;
                if !is_checkpoint && from.is_none_or(|from| number >= from.segment) {
                    self.remember(kind, number, path, end)?;
                }
                // Seals and flushes, or an import would need the memory of all of it.
                self.shared.maintain()?;
            }
        }
        self.head_chunks()?;
        self.spill()?;
        progress(total, total);
        self.done.series = self.known.values().filter(|k| k.series.is_some()).count() as u64;
        self.remember_all()
    }

    /// Where reading ended, if this is still the log that was read.
    fn position(&self, kind: &str, log: &LogDirectory) -> Result<Option<Position>, StorageError> {
        let key = (kind.to_owned(), self.name.clone());
        let Some(&from) = lock(&self.shared.takeover.state).positions.get(&key) else {
            return Ok(None);
        };
        let Some((_, path)) = log.segments.iter().find(|(number, _)| *number == from.segment)
        else {
            let covered = log.checkpoint.as_ref().map(|(covered, _)| *covered);
            return Ok(Some(from).filter(|from| covered.is_some_and(|c| c >= from.segment)));
        };
        let is_same = self.mark(path, from.offset)? == Some(from.crc);
        Ok(is_same.then_some(from))
    }

    /// Checksum of the beginning of a segment of which `offset` bytes were read; `None` where it
    /// has fewer.
    fn mark(&self, path: &Path, offset: u64) -> Result<Option<u32>, StorageError> {
        let file = self.shared.disk.open(path).map_err(|e| StorageError::io("open", path, e))?;
        let len = file.len().map_err(|e| StorageError::io("stat", path, e))?;
        if len < offset {
            return Ok(None);
        }
        let mut bytes = vec![0; offset.min(MARK_BYTES) as usize];
        file.read_at(0, &mut bytes).map_err(|e| StorageError::io("read", path, e))?;
        Ok(Some(crc32c(&bytes)))
    }

    /// Notes that a segment was read, and remembers it unless samples wait for a block: these are
    /// not durable yet.
    fn remember(
        &mut self,
        kind: &str,
        segment: u64,
        path: &Path,
        offset: u64,
    ) -> Result<(), StorageError> {
        let crc = self.mark(path, offset)?.unwrap_or_default();
        let key = (kind.to_owned(), self.name.clone());
        self.read_to.insert(key, Position { segment, offset, crc });
        if self.overflow.is_empty() { self.remember_all() } else { Ok(()) }
    }

    /// Widens what is known to be imported from the log at the data path; deletions have to know.
    fn note_seen(&mut self) {
        if let Some(seen) = self.seen.filter(|_| self.name == AT_DATA_PATH) {
            let range = &mut lock(&self.shared.takeover.state).log_range;
            *range = Some(around(*range, seen));
        }
    }

    fn saw(&mut self, range: TimeRange) {
        self.seen = Some(around(self.seen, range));
    }

    /// Remembers how far all was read, once that is durable.
    fn remember_all(&mut self) -> Result<(), StorageError> {
        self.note_seen();
        self.shared.head.sync()?;
        let read_to = std::mem::take(&mut self.read_to);
        self.shared.remember(|state| state.positions.extend(read_to))
    }

    /// Reads a segment; samples count only behind byte `skipped`. Gives the end of the last record
    /// that was whole.
    fn segment(&mut self, path: &Path, skipped: u64) -> Result<u64, StorageError> {
        let mut reader = SegmentReader::open(&*self.shared.disk, path, 0)?;
        let mut end = 0;
        loop {
            match reader.advance()? {
                Item::End => return Ok(end),
                Item::Damage(error) => self.damaged(&error),
                Item::Record => {
                    end = reader.offset();
                    self.shared.check_open()?;
                    // Series are always needed: later records name them.
                    if end > skipped || reader.record().first() == Some(&1) {
                        self.record(reader.record(), path, end)?;
                    }
                }
            }
        }
    }

    fn damaged(&mut self, error: &StorageError) {
        self.done.damages += 1;
        if self.done.damages as usize <= DAMAGE_TOLD_MAX {
            let text = format!("{error}; this part of the log of Prometheus is left out");
            self.shared.options.observer.event(&Event::Warning(text));
        }
    }

    fn record(&mut self, record: &[u8], path: &Path, end: u64) -> Result<(), StorageError> {
        let mut entries = Vec::new();
        if let Err(error) = read_record(record, &mut |entry| entries.push(entry)) {
            self.damaged(&StorageError::corrupt(path, end, error.to_string()));
        }
        let mut deleted: Vec<(u64, TimeRange)> = Vec::new();
        for entry in entries {
            match entry {
                Entry::Series { series, labels } => self.add_series(series, labels),
                Entry::Float { series, t_ms, start_ms, value } => {
                    self.add(series, t_ms, Held { value, start_ms, histogram: None });
                }
                Entry::Histogram { series, t_ms, start_ms, histogram } => {
                    let value = histogram.sum();
                    self.add(series, t_ms, Held { value, start_ms, histogram: Some(histogram) });
                }
                Entry::UnknownHistogram { schema } => {
                    let what = format!("a histogram of schema {schema}, which is not known");
                    self.damaged(&StorageError::corrupt(path, end, what));
                }
                Entry::Tombstone { series, range } => deleted.push((series, range)),
                Entry::Exemplar { series, t_ms, value, labels } => {
                    let exemplar = Exemplar { labels, value, t_ms, is_timed: true };
                    self.exemplars.push((series, exemplar));
                }
                Entry::Metadata { .. } => self.done.dropped += 1,
                // What it speaks of is in a head chunk file, which is read too.
                Entry::Mapped { .. } => {}
            }
        }
        self.commit()?;
        self.commit_exemplars()?;
        self.delete(&deleted)
    }

    /// Commits the exemplars of a record; those that are there already are kept once.
    fn commit_exemplars(&mut self) -> Result<(), StorageError> {
        let head = &self.shared.head;
        let exemplars = std::mem::take(&mut self.exemplars);
        if exemplars.is_empty() || head.exemplar_stats().max == 0 {
            self.done.dropped += exemplars.len() as u64;
            return Ok(());
        }
        let mut appender = head.appender(&GroupKey::Embedded(String::new()));
        for (number, exemplar) in exemplars {
            let Some(known) = self.known.get(&number) else { continue };
            let series = head.series(&known.labels);
            appender.append_exemplar(series, exemplar);
        }
        let outcome = appender.commit()?;
        self.done.dropped += outcome.exemplars.rejected.len() as u64;
        Ok(())
    }

    fn add_series(&mut self, series: u64, labels: Labels) {
        let label = |name| labels.get(name).unwrap_or_default().to_owned();
        let (job, instance) = (label("job"), label("instance"));
        let next = self.keys.len() as u32;
        let group = *self.groups.entry((job, instance)).or_insert_with_key(|(job, instance)| {
            self.keys.push(GroupKey::Push { job: job.clone(), instance: instance.clone() });
            next
        });
        let hidden = self.hidden(&labels);
        let known = Known { labels, series: None, group, first_ms: i64::MAX, hidden };
        self.known.entry(series).or_insert(known);
    }

    /// What is hidden of a series of a log that is read once more.
    fn hidden(&self, labels: &Labels) -> Vec<TimeRange> {
        if self.name != AT_DATA_PATH {
            return Vec::new();
        }
        lock(&self.shared.takeover.state).hidden_in_log(labels)
    }

    fn add(&mut self, series: u64, t_ms: i64, held: Held) {
        self.saw(TimeRange { min_ms: t_ms, max_ms: t_ms });
        // A series that was deleted, or whose record was damaged.
        let Some(known) = self.known.get_mut(&series) else { return };
        if known.hidden.iter().any(|range| range.contains(t_ms)) {
            return;
        }
        if !self.is_late {
            known.first_ms = known.first_ms.min(t_ms);
        }
        self.batch.push(Sample { group: known.group, series, t_ms, held });
    }

    /// Commits what a record brought, source by source.
    fn commit(&mut self) -> Result<(), StorageError> {
        let mut batch = std::mem::take(&mut self.batch);
        batch.sort_by_key(|sample| sample.group);
        for samples in batch.chunk_by(|a, b| a.group == b.group) {
            let gone = self.commit_to(samples)?;
            if !gone.is_empty() {
                // They left the head since the last record.
                for sample in &gone {
                    if let Some(known) = self.known.get_mut(&sample.series) {
                        known.series = None;
                    }
                }
                self.commit_to(&gone)?;
            }
        }
        batch.clear();
        self.batch = batch;
        if self.overflow.is_full() { self.spill() } else { Ok(()) }
    }

    /// Commits samples of one source. Gives those whose series are not in the head any more.
    fn commit_to(&mut self, samples: &[Sample]) -> Result<Vec<Sample>, StorageError> {
        let head = &self.shared.head;
        let mut appender = head.appender(&self.keys[samples[0].group as usize]);
        for Sample { series, t_ms, held, .. } in samples {
            let known = self.known.get_mut(series).expect("BUG: it was known when it came");
            let series = *known.series.get_or_insert_with(|| head.series(&known.labels));
            match &held.histogram {
                Some(histogram) => {
                    appender.append_histogram(series, *t_ms, Arc::clone(histogram));
                }
                None => appender.append(series, *t_ms, held.value),
            }
            appender.set_last_start(held.start_ms);
        }
        let outcome = appender.commit()?;
        self.done.samples += outcome.accepted as u64;
        let mut gone = Vec::new();
        for (call, error) in outcome.rejected {
            let sample = &samples[call];
            match error {
                AppendError::UnknownSeries => gone.push(sample.clone()),
                // The first one stands, as it did in Prometheus.
                AppendError::Duplicate => {}
                _ => self.hold(sample.series, sample.t_ms, sample.held.clone()),
            }
        }
        Ok(gone)
    }

    /// Keeps a sample that the head does not take.
    fn hold(&mut self, series: u64, t_ms: i64, held: Held) {
        let Some(known) = self.known.get(&series) else { return };
        let window_ms = self.shared.options.block_duration_min_ms;
        if self.overflow.add(&known.labels, t_ms, held, window_ms) {
            self.done.samples += 1;
            self.done.late += 1;
        }
    }

    /// Writes what the head did not take into blocks.
    fn spill(&mut self) -> Result<(), StorageError> {
        let shared = self.shared;
        for (window, series) in self.overflow.take() {
            let ulid = shared.blocks.fresh_ulid(shared.clock.now_ms());
            shared.write_overflow(ulid, window, &series)?;
        }
        Ok(())
    }

    /// Deletes what a record of tombstones says, of what came before it.
    fn delete(&mut self, deleted: &[(u64, TimeRange)]) -> Result<(), StorageError> {
        for stones in deleted.chunk_by(|a, b| a.1 == b.1) {
            let range = stones[0].1;
            let mut ids = RoaringBitmap::new();
            for (series, _) in stones {
                let Some(known) = self.known.get(series) else { continue };
                ids.extend(known.series.map(|series| series.id.0));
                self.overflow.delete(&known.labels, range);
                self.shared.hide_series(&known.labels, range)?;
            }
            self.shared.head.delete(&ids, range)?;
        }
        Ok(())
    }

    /// Head chunk files: late samples, and what the log does not have.
    fn head_chunks(&mut self) -> Result<(), StorageError> {
        let disk = Arc::clone(&self.shared.disk);
        let dir = self.source.join("chunks_head");
        let key = ("chunks_head".to_owned(), self.name.clone());
        let from = lock(&self.shared.takeover.state).positions.get(&key).copied();
        let mut last = from;
        for (number, path) in head_chunk_files(&*disk, &dir)? {
            if from.is_some_and(|from| number <= from.segment) {
                continue;
            }
            let read = read_head_chunks(&*disk, &path, &mut |chunk| {
                self.head_chunk(&chunk, &path);
                self.shared.check_open()
            });
            match read {
                Err(error @ StorageError::Corrupt { .. }) => self.damaged(&error),
                other => other?,
            }
            if self.overflow.is_full() {
                self.spill()?;
            }
            last = Some(Position { segment: number, ..Position::default() });
        }
        if let Some(last) = last {
            self.read_to.insert(key, last);
        }
        Ok(())
    }

    fn head_chunk(&mut self, head: &HeadChunk<'_>, path: &Path) {
        self.saw(head.range);
        let Some(known) = self.known.get(&head.series) else { return };
        // In order, and with an unbroken log: what it has need not be taken from here.
        let until_ms = match (head.is_late || self.done.damages > 0, self.is_first) {
            (true, _) => i64::MAX,
            (false, true) => known.first_ms,
            (false, false) => i64::MIN,
        };
        if head.range.min_ms >= until_ms {
            return;
        }
        let hidden = known.hidden.clone();
        let mut samples = Samples::default();
        let decoded = match head.encoding {
            Some(encoding) => chunk::decode(encoding, head.payload, &mut samples),
            None => Err(chunk::ChunkError::UnknownEncoding(0)),
        };
        if let Err(error) = decoded {
            self.damaged(&StorageError::corrupt(path, 0, error.to_string()));
        }
        for i in 0..samples.len() {
            let t_ms = samples.timestamps[i];
            if t_ms < until_ms && !hidden.iter().any(|range| range.contains(t_ms)) {
                let histogram = samples.histogram(i).cloned();
                let (value, start_ms) = (samples.values[i], samples.start_ms(i));
                self.hold(head.series, t_ms, Held { value, start_ms, histogram });
            }
        }
    }
}

/// The least range that has both.
fn around(before: Option<TimeRange>, more: TimeRange) -> TimeRange {
    let before = before.unwrap_or(more);
    TimeRange { min_ms: before.min_ms.min(more.min_ms), max_ms: before.max_ms.max(more.max_ms) }
}

impl Shared {
    /// Hides samples of one series in our blocks.
    fn hide_series(&self, labels: &Labels, range: TimeRange) -> Result<(), StorageError> {
        for block in self.blocks.list().iter().filter(|b| b.meta().range.overlaps(range)) {
            let mut matchers: Vec<Matcher> =
                labels.iter().map(|(name, value)| Matcher::equal(name, value)).collect();
            // None but these labels.
            let names = block.label_names(&matchers, &|| self.check_open())?;
            let others = names.iter().filter(|name| labels.get(name).is_none());
            matchers.extend(others.map(|name| Matcher::equal(name, "")).collect::<Vec<_>>());
            let ordinals = block.ordinals(&matchers, range)?;
            self.blocks.hide(block, &ordinals, range)?;
        }
        Ok(())
    }
}
