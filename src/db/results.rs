//! A cache of the results of range queries, exact: an answer is what it would be without.
//!
//! What is kept of a query is its newest result, over whatever range was asked for; times are not
//! aligned to anything. When the query comes again, with the same step and with times that fall
//! on those of the result, the steps that look only at data that has not changed since are taken
//! from it, and the others are evaluated. [`Reach`] says which queries allow that, [`Changes`]
//! since when data has changed. What comes with warnings or infos is not kept, because it is not
//! known of which steps they speak.
//!
//! A query that would exceed a limit as a whole may be answered where its parts do not. Statistics
//! are those of the steps that were evaluated, so that queries that ask for statistics should pass
//! the cache by.
//!
//! [`Changes`]: crate::head::Changes

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use hashbrown::HashMap;

use super::{Database, Shared};
use crate::block::Ulid;
use crate::head::Version;
use crate::model::Samples;
use crate::promql::engine::{
    Engine, MatrixSeries, Query, QueryError, QueryOptions, QueryRange, QueryResult, QueryStats,
    Value,
};
use crate::promql::reuse::Reach;
use crate::select::Cancellation;

/// The state of all data at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataVersion {
    samples: Version,
    /// Of Prometheus's blocks that are served a sum of hashes, and how many files are known as
    /// damaged.
    served: (u64, usize),
}

impl Shared {
    fn served(&self) -> (u64, usize) {
        let hash = |ulid: Ulid| {
            let mut hasher = DefaultHasher::new();
            ulid.hash(&mut hasher);
            hasher.finish()
        };
        let list = self.takeover.list();
        let hashes = list.iter().map(|block| hash(block.meta().ulid)).fold(0, u64::wrapping_add);
        let damaged = self.blocks.candidates().iter().filter(|block| block.is_damaged).count();
        let in_head = self.head_damage.lock().unwrap_or_else(PoisonError::into_inner).len();
        (hashes, damaged + in_head)
    }
}

impl Database {
    /// The state of the data now; `None` while the log is replayed.
    pub fn data_version(&self) -> Option<DataVersion> {
        let shared = &self.inner.shared;
        if shared.head.is_recovering() {
            return None;
        }
        Some(DataVersion { samples: shared.head.changes().version(), served: shared.served() })
    }

    /// The oldest time in milliseconds at which data may have changed since `version`; `None`:
    /// nothing has.
    pub fn changed_since(&self, version: DataVersion) -> Option<i64> {
        let shared = &self.inner.shared;
        if shared.served() != version.served {
            return Some(i64::MIN);
        }
        shared.head.changes().since(version.samples)
    }
}

/// What makes two queries the same but for their ranges.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    text: String,
    step_ms: i64,
    /// Where in a step the times lie.
    phase_ms: i64,
    lookback_ms: i64,
    subquery_step_ms: i64,
}

/// A result as it is kept.
#[derive(Debug)]
struct Kept {
    version: DataVersion,
    start_ms: i64,
    /// Time of the last step.
    end_ms: i64,
    series: Arc<Vec<MatrixSeries>>,
    bytes: u64,
    /// When it was used last, in uses.
    used: u64,
}

/// The part of a known result that still holds.
struct Known {
    series: Arc<Vec<MatrixSeries>>,
    start_ms: i64,
    last_ms: i64,
}

#[derive(Debug, Default)]
struct State {
    kept: HashMap<Key, Kept>,
    bytes: u64,
    uses: u64,
}

/// Results of range queries over one database.
#[derive(Debug)]
pub struct ResultCache {
    bytes_max: u64,
    state: Mutex<State>,
    steps_taken: AtomicU64,
    steps_evaluated: AtomicU64,
}

/// What a cache did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ResultCacheStats {
    /// Bytes that the results take.
    pub bytes: u64,
    /// Steps that were taken from results.
    pub steps_taken: u64,
    /// Steps that were evaluated.
    pub steps_evaluated: u64,
}

impl ResultCache {
    /// A cache that keeps so many bytes of results; those used longest ago go first.
    pub fn new(bytes_max: u64) -> Self {
        Self {
            bytes_max,
            state: Mutex::default(),
            steps_taken: AtomicU64::new(0),
            steps_evaluated: AtomicU64::new(0),
        }
    }

    /// What it did so far.
    pub fn stats(&self) -> ResultCacheStats {
        ResultCacheStats {
            bytes: self.state.lock().unwrap_or_else(PoisonError::into_inner).bytes,
            steps_taken: self.steps_taken.load(Ordering::Relaxed),
            steps_evaluated: self.steps_evaluated.load(Ordering::Relaxed),
        }
    }

    /// [`Engine::range`] over `database`, with as much taken from earlier results as still holds.
    pub fn range(
        &self,
        database: &Database,
        engine: &Engine,
        query: Query<'_>,
        range: QueryRange,
        options: &QueryOptions,
        cancellation: &Cancellation,
    ) -> Result<QueryResult, QueryError> {
        let evaluate = |range| engine.range(database, query, range, options, cancellation);
        let lookback_ms = options.lookback_delta_ms.filter(|lookback_ms| *lookback_ms > 0);
        let lookback_ms = lookback_ms.unwrap_or(engine.options().lookback_delta_ms);
        let reach = Reach::of(query.ast, lookback_ms).filter(|_| is_plain(range));
        let (Some(reach), Some(version)) = (reach, database.data_version()) else {
            return evaluate(range);
        };
        let key = Key {
            text: query.text.to_owned(),
            step_ms: range.step_ms,
            phase_ms: range.start_ms.rem_euclid(range.step_ms),
            lookback_ms,
            subquery_step_ms: engine.options().subquery_step_ms,
        };
        let steps = (range.end_ms - range.start_ms) / range.step_ms;
        let end_ms = range.start_ms + steps * range.step_ms;
        let known = self.find(&key, database, reach, (range.start_ms, end_ms));
        let begin_ms = known.as_ref().map_or(range.start_ms, |known| known.last_ms + range.step_ms);
        let evaluated = if begin_ms > end_ms { 0 } else { (end_ms - begin_ms) / range.step_ms + 1 };
        let mut result = if evaluated > 0 {
            evaluate(QueryRange { start_ms: begin_ms, end_ms, ..range })?
        } else {
            QueryResult {
                value: Value::Matrix(Vec::new()),
                warnings: Vec::new(),
                infos: Vec::new(),
                stats: QueryStats::default(),
            }
        };
        self.steps_evaluated.fetch_add(evaluated as u64, Ordering::Relaxed);
        self.steps_taken.fetch_add((steps + 1 - evaluated) as u64, Ordering::Relaxed);
        if let (Some(known), Value::Matrix(fresh)) = (&known, &mut result.value) {
            *fresh = join(known, std::mem::take(fresh));
        }
        if result.warnings.is_empty() && result.infos.is_empty() {
            self.keep(key, version, (range.start_ms, end_ms), &result.value);
        }
        Ok(result)
    }

    /// What is known of the steps from `start_ms` on and still holds.
    fn find(
        &self,
        key: &Key,
        database: &Database,
        reach: Reach,
        (start_ms, end_ms): (i64, i64),
    ) -> Option<Known> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.uses += 1;
        let uses = state.uses;
        let kept = state.kept.get_mut(key)?;
        kept.used = uses;
        let mut last_ms = kept.end_ms.min(end_ms);
        if let Some(changed_ms) = database.changed_since(kept.version) {
            if !reach.is_pinned_below(changed_ms) {
                return None;
            }
            while last_ms >= start_ms && !reach.holds_at(last_ms, changed_ms) {
                last_ms -= key.step_ms;
            }
        }
        let holds = kept.start_ms <= start_ms && last_ms >= start_ms;
        holds.then(|| Known { series: Arc::clone(&kept.series), start_ms, last_ms })
    }

    fn keep(&self, key: Key, version: DataVersion, (start_ms, end_ms): (i64, i64), value: &Value) {
        let Value::Matrix(matrix) = value else { return };
        let bytes = value.bytes() + (size_of::<Kept>() + key.text.len()) as u64;
        // One result does not push out all others.
        if bytes > self.bytes_max / 4 {
            return;
        }
        let series = Arc::new(matrix.clone());
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.uses += 1;
        let kept = Kept { version, start_ms, end_ms, series, bytes, used: state.uses };
        state.bytes += bytes;
        if let Some(before) = state.kept.insert(key, kept) {
            state.bytes -= before.bytes;
        }
        while state.bytes > self.bytes_max {
            let oldest = state.kept.iter().min_by_key(|(_, kept)| kept.used);
            let Some(oldest) = oldest.map(|(key, _)| key.clone()) else { break };
            let gone = state.kept.remove(&oldest).map_or(0, |kept| kept.bytes);
            state.bytes -= gone;
        }
    }
}

/// Whether the times of a range are far from where sums overflow.
fn is_plain(range: QueryRange) -> bool {
    const FAR_MS: i64 = i64::MAX / 8;
    let near = -FAR_MS..FAR_MS;
    range.step_ms > 0
        && near.contains(&range.start_ms)
        && near.contains(&range.end_ms)
        && near.contains(&range.step_ms)
        && range.start_ms <= range.end_ms
}

/// The steps of `known` that still hold, and those of `fresh`, which come after them.
fn join(known: &Known, fresh: Vec<MatrixSeries>) -> Vec<MatrixSeries> {
    let mut joined = Vec::with_capacity(known.series.len().max(fresh.len()));
    let mut fresh = fresh.into_iter().peekable();
    for series in known.series.iter() {
        while let Some(other) = fresh.next_if(|other| other.labels < series.labels) {
            joined.push(other);
        }
        let mut part = part_of(series, known.start_ms, known.last_ms);
        if let Some(other) = fresh.next_if(|other| other.labels == series.labels) {
            part.samples.extend_from(&other.samples, 0..other.samples.len());
            part.histograms.extend(other.histograms);
        }
        if !part.samples.is_empty() || !part.histograms.is_empty() {
            joined.push(part);
        }
    }
    joined.extend(fresh);
    joined
}

fn part_of(series: &MatrixSeries, start_ms: i64, last_ms: i64) -> MatrixSeries {
    let times = &series.samples.timestamps;
    let first = times.partition_point(|&t_ms| t_ms < start_ms);
    let end = times.partition_point(|&t_ms| t_ms <= last_ms).max(first);
    let mut samples = Samples::default();
    samples.extend_from(&series.samples, first..end);
    let histograms = series.histograms.iter();
    let histograms = histograms.filter(|(t_ms, _)| (start_ms..=last_ms).contains(t_ms));
    MatrixSeries {
        labels: series.labels.clone(),
        samples,
        histograms: histograms.cloned().collect(),
    }
}
