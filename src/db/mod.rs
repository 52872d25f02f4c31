//! The embedded database: head, log and blocks behind one handle.
//!
//! [`Database`] is a handle; cloning shares the database. Samples enter through an [`Appender`]
//! (one for each commit), queries through [`crate::select::Queryable`], which the handle
//! implements. Two databases in one process on two directories know nothing of each other; a
//! second open of the same directory is [`StorageError::Locked`].
//!
//! Everything is kept below `<data>/narthex/`, snapshots below `<data>/snapshots/`; nothing else
//! in the directory is touched. A Prometheus that was run there before is taken over: its blocks
//! are served, and its lock is held.

mod blocks;
mod compaction;
mod deletions;
mod events;
mod forward;
mod maintenance;
mod options;
mod quarantine;
mod query;
mod reserve;
mod results;
mod retention;
mod snapshot;
mod stats;
mod takeover;
mod tombstones;

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

use self::blocks::BlockStore;
use self::events::HeadEvents;
use self::forward::Forwards;
use self::reserve::Reserve;
use self::takeover::Takeover;
use crate::block::ReadCache;
use crate::disk::{Clock, Disk, LockGuard, PosixDisk, StorageError, SystemClock};
use crate::head::{
    AppendError, CommitOutcome, ExemplarStats, GroupKey, Head, HeadOptions, SeriesRef,
};
use crate::model::{Exemplar, Histogram, Labels, Metadata};

pub use deletions::Cleaned;
pub use forward::{Forward, Progress, ShardProgress};
pub use options::{Event, Observer, Options, Silent};
pub use query::QueryTextError;
pub use results::{DataVersion, ResultCache, ResultCacheStats};
pub use retention::Retention;
pub use stats::{BlockStats, Cardinality, Stats};
pub use takeover::{Freed, FreedPart, ImportProgress, LogImport, PrometheusImport, Shelved};

/// Name of the directory below the data path.
const ROOT: &str = "narthex";

/// An open database. Cloning shares it; it is closed by [`Database::close`] or when the last
/// handle goes.
#[derive(Debug, Clone)]
pub struct Database {
    inner: Arc<Inner>,
}

/// What the last handle takes with it.
#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    lock: Mutex<Option<Box<dyn LockGuard>>>,
}

/// What handles and threads have in common.
#[derive(Debug)]
struct Shared {
    /// The data directory.
    path: PathBuf,
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    options: Options,
    head: Arc<Head>,
    blocks: BlockStore,
    /// Data of Prometheus at the same path.
    takeover: Takeover,
    /// Who passes on what is stored.
    forwards: Arc<Forwards>,
    reserve: Reserve,
    /// Whether a step of maintenance met a full disk.
    met_full_disk: AtomicBool,
    /// Head files in which readers found damage, and what.
    head_damage: Mutex<BTreeMap<PathBuf, String>>,
    /// Held by whoever does maintenance.
    maintenance: Mutex<()>,
    /// Held while samples move; see [`Shared::moving_lock`].
    moving: Mutex<()>,
    is_closed: AtomicBool,
    /// Wakes the background thread when the database closes.
    wake: (Mutex<()>, Condvar),
    counters: Counters,
    retention: Mutex<Retention>,
}

#[derive(Debug, Default)]
struct Counters {
    flushes: AtomicU64,
    compactions: AtomicU64,
    maintenance_failures: AtomicU64,
    blocks_expired: AtomicU64,
    blocks_oversized: AtomicU64,
}

impl Shared {
    /// What a start does about room on the disk: refuses commits where there is none, and keeps
    /// `quarantine/` within its limit.
    fn settle_room(&self) {
        if self.reserve.is_given_up() {
            self.hold_commits();
        }
        let bytes_max = self.options.quarantine_bytes_max;
        let text = match quarantine::trim(&*self.disk, self.reserve.dir(), bytes_max) {
            Ok(removed) if removed.is_empty() => return,
            Ok(removed) => format!(
                "quarantine holds more than quarantine_bytes_max ({bytes_max}); removed for it: {}",
                removed
                    .iter()
                    .map(|path| path.display().to_string())
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
            Err(error) => format!("quarantine cannot be kept within its limit: {error}"),
        };
        self.options.observer.event(&Event::Warning(text));
    }

    fn check_open(&self) -> Result<(), StorageError> {
        if self.is_closed.load(Ordering::Acquire) { Err(StorageError::Closed) } else { Ok(()) }
    }
}

impl Database {
    /// Opens the database below `path`, creating it where there is none. Returns once it answers
    /// queries; a damaged part is put aside and told to the observer.
    ///
    /// ```
    /// use narthex::{Database, Options, StorageError};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// let db = Database::open(folder.path(), Options::default())?;
    /// // One process and one handle at a time; clones of the handle share the database.
    /// let again = Database::open(folder.path(), Options::default());
    /// assert!(matches!(again, Err(StorageError::Locked(_))));
    /// // Another directory is another database.
    /// # let folder = tempfile::tempdir()?;
    /// let other = Database::open(folder.path(), Options::default())?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn open(path: impl AsRef<Path>, options: Options) -> Result<Self, StorageError> {
        Self::open_with(Arc::new(PosixDisk), Arc::new(SystemClock::new()), path, options)
    }

    /// Opens on a given disk and clock; for simulations, which leave
    /// [`Options::background`] off and call [`Database::maintain`].
    pub fn open_with(
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        path: impl AsRef<Path>,
        options: Options,
    ) -> Result<Self, StorageError> {
        let began = clock.monotonic();
        let root = path.as_ref().join(ROOT);
        prepare(&*disk, path.as_ref(), &root)?;
        let lock = disk.lock(&root.join("lock")).map_err(|e| match e.kind() {
            std::io::ErrorKind::WouldBlock => StorageError::Locked(path.as_ref().to_owned()),
            _ => StorageError::io("lock", &root, e),
        })?;
        let observer = Arc::clone(&options.observer);
        for text in Shared::sweep_snapshots(&disk, path.as_ref()) {
            observer.event(&Event::Warning(text));
        }
        let takeover = Takeover::open(&disk, path.as_ref(), &root, true, &observer)?;
        let cache = Arc::new(ReadCache::new(options.read_cache_bytes));
        let blocks = BlockStore::open(Arc::clone(&disk), &root, Arc::clone(&observer), cache)?;
        let head_options = head_options(&disk, &clock, &root, &options);
        let reserve = take_reserve(&disk, &head_options.dir, &options);
        // Before the head, which lets go of what nobody needs.
        let forwarded = forward::State::read(&disk, &root)?;
        let head = Head::open(head_options)?;
        let forwards = Arc::new(Forwards::open(&disk, &root, &head, forwarded));
        observer.event(&Event::Opened {
            series: head.series_count(),
            blocks: blocks.list().len() + takeover.list().len(),
            took: clock.monotonic().saturating_sub(began),
        });
        let retention = Mutex::new(options.retention());
        let shared = Arc::new(Shared {
            path: path.as_ref().to_owned(),
            disk,
            clock,
            options,
            head,
            blocks,
            takeover,
            forwards,
            reserve,
            met_full_disk: AtomicBool::new(false),
            head_damage: Mutex::default(),
            maintenance: Mutex::default(),
            moving: Mutex::default(),
            is_closed: AtomicBool::new(false),
            wake: Default::default(),
            counters: Counters::default(),
            retention,
        });
        shared.settle_room();
        let threads = Mutex::new(Vec::new());
        let database =
            Self { inner: Arc::new(Inner { shared, threads, lock: Mutex::new(Some(lock)) }) };
        database.inner.shared.begin_takeover();
        if database.inner.shared.options.background {
            database.inner.start_threads()?;
        }
        Ok(database)
    }

    /// Begins a commit for one source: whatever feeds a set of series together, again and again.
    /// Samples of a source that share their times are stored as rows, and take the least room.
    ///
    /// ```
    /// use narthex::{AppendError, Database, GroupKey, Labels, Options};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// let db = Database::open(folder.path(), Options::default())?;
    /// let source = GroupKey::Embedded("requests".to_owned());
    /// for (t_ms, ok, failed) in [(1_700_000_000_000, 10.0, 1.0), (1_700_000_015_000, 25.0, 1.0)] {
    ///     let mut row = db.appender(&source)?;
    ///     for (status, value) in [("ok", ok), ("failed", failed)] {
    ///         let pairs = [("__name__", "requests_total"), ("status", status)];
    ///         let labels = Labels::from_pairs(pairs);
    ///         // A reference may be kept: it is found faster than labels.
    ///         let series = row.series(&labels)?;
    ///         row.append(series, t_ms, value);
    ///     }
    ///     let outcome = row.commit()?;
    ///     assert_eq!((outcome.accepted, outcome.rejected.len()), (2, 0));
    /// }
    /// // Each sample has a verdict of its own.
    /// let mut row = db.appender(&source)?;
    /// let labels = Labels::from_pairs([("__name__", "requests_total"), ("status", "ok")]);
    /// let series = row.series(&labels)?;
    /// row.append(series, 1_700_000_015_000, 99.0);
    /// row.append(series, 1_700_000_030_000, 30.0);
    /// let outcome = row.commit()?;
    /// assert_eq!(outcome.rejected, [(0, AppendError::Duplicate)]);
    /// assert_eq!(outcome.accepted, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn appender(&self, source: impl Borrow<GroupKey>) -> Result<Appender, StorageError> {
        self.inner.shared.check_open()?;
        Ok(Appender(self.inner.shared.head.appender(source.borrow())))
    }

    /// Whether a commit now might wait for more than other commits: for the disk, for a replay, for
    /// the upkeep of the store. A hint for who has other things to do on this thread; never waits
    /// itself.
    pub fn may_wait(&self) -> bool {
        self.inner.shared.head.may_wait()
    }

    /// Appends one sample, with its verdict. Several at once are cheaper: see
    /// [`Database::appender`].
    ///
    /// ```
    /// use narthex::{AppendError, Database, Labels, Options};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// let db = Database::open(folder.path(), Options::default())?;
    /// let labels = Labels::from_pairs([("__name__", "temperature"), ("room", "attic")]);
    /// db.append(&labels, 1_700_000_000_000, 21.5)??;
    /// let verdict = db.append(&labels, 1_700_000_000_000, 22.0)?;
    /// assert_eq!(verdict, Err(AppendError::Duplicate));
    /// # Ok(())
    /// # }
    /// ```
    pub fn append(
        &self,
        labels: &Labels,
        t_ms: i64,
        value: f64,
    ) -> Result<Result<(), AppendError>, StorageError> {
        let mut appender = self.appender(GroupKey::Embedded(String::new()))?;
        let series = appender.series(labels)?;
        appender.append(series, t_ms, value);
        let rejected = appender.commit()?.rejected;
        Ok(rejected.first().map_or(Ok(()), |(_, why)| Err(*why)))
    }

    /// The reference of the series with these labels, created where it is new.
    pub fn series(&self, labels: &Labels) -> Result<SeriesRef, StorageError> {
        self.inner.shared.check_open()?;
        Ok(self.inner.shared.head.series(labels))
    }

    /// Number of series that the head holds.
    pub fn head_series_count(&self) -> usize {
        self.inner.shared.head.series_count()
    }

    /// All metrics of which something was said, by name, and what.
    pub fn metadata(&self) -> Vec<(String, Metadata)> {
        self.inner.shared.head.metadata()
    }

    /// Keeps at most `max` exemplars from now on; 0: none, and none is taken.
    pub fn set_exemplars_max(&self, max: usize) {
        self.inner.shared.head.set_exemplars_max(max);
    }

    /// Takes late samples as far below the newest data as `window_ms` says, 0 or less: none. Holds
    /// for commits that begin from now on; what was taken stays.
    pub fn set_out_of_order_window_ms(&self, window_ms: i64) {
        self.inner.shared.head.set_out_of_order_window_ms(window_ms);
    }

    /// Figures of the exemplars.
    pub fn exemplar_stats(&self) -> ExemplarStats {
        self.inner.shared.head.exemplar_stats()
    }

    /// What the database holds and did.
    pub fn stats(&self) -> Stats {
        self.inner.shared.stats()
    }

    /// The `limit` heaviest names and values of the head.
    pub fn cardinality(&self, limit: usize) -> Cardinality {
        self.inner.shared.head.top_labels(limit).into()
    }

    /// Does all maintenance that is due: sync, seal, flush, compaction, retention. Every step is
    /// tried; the first error is returned.
    pub fn maintain(&self) -> Result<(), StorageError> {
        self.inner.shared.maintain()
    }

    /// Makes everything that was committed durable, at once.
    pub fn sync(&self) -> Result<(), StorageError> {
        self.inner.shared.check_open()?;
        self.inner.shared.head.sync()
    }

    /// Writes the whole head, the open window included, as blocks, and merges blocks as far as
    /// they go. Which samples are accepted does not change by it.
    pub fn compact_all(&self) -> Result<(), StorageError> {
        self.inner.shared.compact_all()
    }

    /// Makes everything acknowledged durable and lets the directory go; later calls give
    /// [`StorageError::Closed`]. Work that maintenance is in is given up: it has changed nothing.
    /// The end of the last handle does the same, and has nobody to tell of an error.
    ///
    /// ```
    /// use narthex::{Database, Options, StorageError};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// let db = Database::open(folder.path(), Options::default())?;
    /// db.close()?;
    /// assert!(matches!(db.sync(), Err(StorageError::Closed)));
    /// // The directory is free again.
    /// Database::open(folder.path(), Options::default())?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn close(&self) -> Result<(), StorageError> {
        self.inner.close()
    }
}

/// What a head is set up with.
fn head_options(
    disk: &Arc<dyn Disk>,
    clock: &Arc<dyn Clock>,
    root: &Path,
    options: &Options,
) -> HeadOptions {
    let observer = Arc::new(HeadEvents(Arc::clone(&options.observer)));
    let (disk, clock) = (Arc::clone(disk), Arc::clone(clock));
    let mut head_options = HeadOptions::new(disk, clock, observer, root.to_owned());
    head_options.out_of_order_window_ms = options.out_of_order_window_ms;
    head_options.exemplars_max = options.exemplars_max;
    head_options.future_limit_ms = options.future_limit_ms;
    head_options.sync_interval = options.sync_interval;
    head_options.replay_threads = options.replay_threads;
    head_options.window_ms = options.block_duration_min_ms;
    head_options.limits = options.limits;
    head_options
}

/// The reserve; a disk that refuses it leaves the database without one.
fn take_reserve(disk: &Arc<dyn Disk>, root: &Path, options: &Options) -> Reserve {
    match Reserve::open(Arc::clone(disk), root, options.disk_reserve_bytes) {
        Ok(reserve) => reserve,
        Err(error) => {
            let text = format!("there is no reserve for a full disk: {error}");
            options.observer.event(&Event::Warning(text));
            Reserve::none(Arc::clone(disk), root)
        }
    }
}

/// Creates the directories and makes their names durable.
fn prepare(disk: &dyn Disk, path: &Path, root: &Path) -> Result<(), StorageError> {
    let blocks = root.join("blocks");
    disk.create_dir_all(&blocks).map_err(|e| StorageError::io("create", &blocks, e))?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    // Blocks too: one whose name the process before could not make durable counts from now on.
    for dir in [Some(&*blocks), Some(root), Some(path), parent].into_iter().flatten() {
        disk.sync_dir(dir).map_err(|e| StorageError::io("sync", dir, e))?;
    }
    Ok(())
}

impl Inner {
    fn start_threads(&self) -> Result<(), StorageError> {
        let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
            std::thread::Builder::new()
                .name(name.to_owned())
                .spawn(work)
                .map_err(|e| StorageError::io("start a thread for", Path::new(name), e))
        };
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        // An age of zero is synced by those who append.
        if !self.shared.options.sync_interval.is_zero() {
            let syncer = self.shared.head.syncer();
            let observer = Arc::clone(&self.shared.options.observer);
            threads.push(spawn(
                "narthex-sync",
                Box::new(move || {
                    syncer.run(|error| {
                        observer.event(&Event::MaintenanceFailed { step: "sync", error });
                    });
                }),
            )?);
        }
        let shared = Arc::clone(&self.shared);
        threads.push(spawn("narthex-maintain", Box::new(move || shared.run_maintenance()))?);
        Ok(())
    }

    fn close(&self) -> Result<(), StorageError> {
        let guard = self.shared.wake.0.lock().unwrap_or_else(PoisonError::into_inner);
        self.shared.is_closed.store(true, Ordering::Release);
        drop(guard);
        self.shared.wake.1.notify_all();
        self.shared.head.stop_replay();
        // Waits for the step of maintenance that is on its way, and keeps the next one out.
        let maintenance = self.shared.maintenance.lock().unwrap_or_else(PoisonError::into_inner);
        let closed = self.shared.head.close();
        drop(maintenance);
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        for thread in threads.drain(..) {
            // A thread that panicked has told so; there is nothing to add.
            let _ = thread.join();
        }
        self.shared.takeover.close();
        drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner).take());
        closed
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            self.shared
                .options
                .observer
                .event(&Event::MaintenanceFailed { step: "close", error: &error });
        }
    }
}

/// Collects the samples of one commit of one source. Dropping it without
/// [`Appender::commit`] forgets them.
#[derive(Debug)]
pub struct Appender(crate::head::Appender);

impl Appender {
    /// The reference of the series with these labels, created where it is new.
    pub fn series(&mut self, labels: &Labels) -> Result<SeriesRef, StorageError> {
        Ok(self.0.series(labels))
    }

    /// Makes room for `additional` samples.
    pub fn reserve(&mut self, additional: usize) {
        self.0.reserve(additional);
    }

    /// Adds a sample; its verdict comes with [`Appender::commit`]. Samples of one series may
    /// follow one another in one commit.
    #[inline]
    pub fn append(&mut self, series: SeriesRef, t_ms: i64, value: f64) {
        self.0.append(series, t_ms, value);
    }

    /// Adds a native histogram; as [`Appender::append`].
    pub fn append_histogram(&mut self, series: SeriesRef, t_ms: i64, histogram: Arc<Histogram>) {
        self.0.append_histogram(series, t_ms, histogram);
    }

    /// Says when the counter of the sample added last began to count, in milliseconds; 0: not
    /// known.
    pub fn set_last_start(&mut self, start_ms: i64) {
        self.0.set_last_start(start_ms);
    }

    /// Has the sample added last refused as out of order where it would be stored late.
    pub fn set_last_in_order(&mut self) {
        self.0.set_last_in_order();
    }

    /// Takes late samples down to `window_ms` below the newest data in this commit, whatever the
    /// database takes from others: for history that is known to be late.
    pub fn take_late(&mut self, window_ms: i64) {
        self.0.take_late(window_ms);
    }

    /// Adds an exemplar of a series; its verdict comes with [`Appender::commit`].
    pub fn append_exemplar(&mut self, series: SeriesRef, exemplar: Exemplar) {
        self.0.append_exemplar(series, exemplar);
    }

    /// Says what a metric is; what is said last stands.
    pub fn set_metadata(&mut self, metric: &str, metadata: Metadata) {
        self.0.set_metadata(metric, metadata);
    }

    /// Stores what was collected: a verdict for each sample, all that is accepted visible at
    /// once. `Ok` promises what [`Options::sync_interval`] says.
    pub fn commit(self) -> Result<CommitOutcome, StorageError> {
        self.0.commit()
    }
}

#[cfg(test)]
mod tests;
