//! A database on the simulated disk beside a model of what it has to hold, for the crash tests.
//!
//! The model keeps what was acknowledged and in which order, what was acknowledged and synced,
//! and what an error left open. Whatever ends the process: synced ⊆ found ⊆ acknowledged ∪ open,
//! and what is missing of the acknowledged is the newest of it, never a hole; after a kill, or
//! where every commit is synced, nothing acknowledged may be missing.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use narthex::db::{Database, Event, Observer, Options};
use narthex::disk::{Clock, Crash, Disk, Fault, SimulatedClock, SimulatedDisk};
use narthex::head::GroupKey;
use narthex::model::{Histogram, IntegerHistogram, Labels, Samples, Span, TimeRange};
use narthex::select::{Cancellation, Queryable};

const START: i64 = 1_699_999_200_000;
const MINUTE: i64 = 60_000;

/// Fingerprint of a sample by number of the series and time.
type Points = BTreeMap<(usize, i64), u64>;

/// A small source of chance with a seed.
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }
}

/// A histogram whose buckets come and go; its sum is `value`.
fn histogram(t: i64, value: f64) -> Arc<Histogram> {
    let buckets = 1 + (t / MINUTE % 4) as u32;
    let deltas: Vec<i64> = (0..i64::from(buckets)).map(|i| 3 + i + t / 1000 % 7).collect();
    let mut count = 0;
    let counts = deltas.iter().map(|delta| {
        count += delta;
        count as u64
    });
    let integer = IntegerHistogram {
        count: counts.sum(),
        sum: value,
        schema: (t / MINUTE % 2) as i32,
        positive_spans: vec![Span { offset: -1, length: buckets }],
        positive_deltas: deltas,
        ..IntegerHistogram::default()
    };
    Arc::new(match t / 1000 % 3 {
        0 => Histogram::Float(integer.to_float()),
        _ => Histogram::Integer(integer),
    })
}

/// What a sample is, in a number: the bits of a plain float, else a hash.
fn fingerprint(value: f64, histogram: Option<&Arc<Histogram>>, start: i64) -> u64 {
    if histogram.is_none() && start == 0 {
        return value.to_bits();
    }
    let mut hasher = DefaultHasher::new();
    format!("{} {histogram:?} {start}", value.to_bits()).hash(&mut hasher);
    hasher.finish()
}

/// What happened, to be printed with a failure.
#[derive(Debug, Default)]
struct Trail(Mutex<Vec<String>>);

impl Trail {
    fn note(&self, text: impl Into<String>) {
        self.0.lock().expect("no panic holds it").push(text.into());
    }

    fn text(&self) -> String {
        self.0.lock().expect("no panic holds it").join("\n")
    }
}

impl Observer for Trail {
    fn event(&self, event: &Event<'_>) {
        self.note(format!("    {event}"));
    }
}

/// What a disk must and may hold.
#[derive(Debug, Clone, Default)]
struct Bounds {
    /// What a kill must leave.
    acknowledged: Points,
    /// What a loss of power must leave.
    synced: Points,
    may: Points,
}

pub(crate) struct World {
    pub(crate) chance: Chance,
    pub(crate) disk: SimulatedDisk,
    clock: SimulatedClock,
    options: Options,
    series: Vec<Labels>,
    acknowledged: Points,
    synced: Points,
    open: Points,
    /// Number of the commit that acknowledged each sample.
    order: BTreeMap<(usize, i64), u64>,
    commits: u64,
    now: i64,
    trail: Arc<Trail>,
    /// Where every moment is gone back to and crashed there: what held when the step began.
    before: Option<Bounds>,
    /// Crash points looked at so far.
    pub(crate) points: u64,
}

impl World {
    /// A world in which everything follows from `seed`.
    pub(crate) fn new(seed: u64) -> Self {
        let trail = Arc::new(Trail::default());
        trail.note(format!("seed {seed}"));
        let options = Options {
            background: false,
            retention_ms: 0,
            sync_interval: Duration::from_secs(seed % 2),
            disk_reserve_bytes: 700,
            replay_threads: (seed / 2 % 3) as usize,
            out_of_order_window_ms: if seed.is_multiple_of(3) { 0 } else { 3 * 60 * MINUTE },
            observer: Arc::clone(&trail) as Arc<dyn Observer>,
            ..Options::default()
        };
        let label = |i: usize| {
            let pairs = [("__name__", format!("m{}", i % 5)), ("i", i.to_string())];
            Labels::from_pairs(pairs)
        };
        Self {
            chance: Chance::new(seed),
            disk: SimulatedDisk::new(seed),
            clock: SimulatedClock::new(START),
            options,
            series: (0..24).map(label).collect(),
            acknowledged: Points::new(),
            synced: Points::new(),
            open: Points::new(),
            order: BTreeMap::new(),
            commits: 0,
            now: START,
            trail,
            before: None,
            points: 0,
        }
    }

    fn open_disk(&self, disk: &SimulatedDisk) -> Result<Database, String> {
        let disk: Arc<dyn Disk> = Arc::new(disk.clone());
        let clock: Arc<dyn Clock> = Arc::new(self.clock.clone());
        let opened = Database::open_with(disk, clock, "/data", self.options.clone());
        opened.map_err(|error| error.to_string())
    }

    pub(crate) fn try_open(&self) -> Result<Database, String> {
        self.open_disk(&self.disk)
    }

    pub(crate) fn open(&self) -> Database {
        self.try_open().unwrap_or_else(|error| self.fail(&error))
    }

    pub(crate) fn note(&self, text: impl Into<String>) {
        self.trail.note(text);
    }

    fn fail(&self, what: &str) -> ! {
        panic!("{what}\n{}", self.trail.text())
    }

    pub(crate) fn pass(&mut self, ms: i64) {
        self.now += ms;
        self.clock.advance(Duration::from_millis(ms as u64));
    }

    /// One source commits a row or a few, sometimes late ones.
    pub(crate) fn commit(&mut self, db: &Database) {
        let source = self.chance.below(3) as usize;
        let Ok(mut appender) = db.appender(GroupKey::Embedded(source.to_string())) else { return };
        let mut asked = Vec::new();
        let lateness =
            if self.chance.below(6) == 0 { self.chance.below(200) as i64 * MINUTE } else { 0 };
        for row in 0..=self.chance.below(3) as i64 {
            for i in (source * 8)..(source * 8 + 8) {
                if self.chance.below(5) == 0 {
                    continue;
                }
                let t = self.now - lateness + row * 7 + source as i64;
                let value = ((t / 1000) % 97) as f64 * [1.0, 0.1, 1.0 / 3.0][i % 3];
                let Ok(series) = appender.series(&self.series[i]) else { return };
                // Every fourth series changes between histograms and floats now and then.
                let histogram = (i % 4 == 0 && (t / 1000) % 10 > 0).then(|| histogram(t, value));
                match &histogram {
                    Some(histogram) => appender.append_histogram(series, t, histogram.clone()),
                    None => appender.append(series, t, value),
                }
                let start = if i % 5 == 0 { t - t % MINUTE } else { 0 };
                appender.set_last_start(start);
                asked.push(((i, t), fingerprint(value, histogram.as_ref(), start)));
            }
        }
        self.commits += 1;
        match appender.commit() {
            Ok(outcome) => {
                let mut refused = outcome.rejected.iter().map(|(i, _)| *i).peekable();
                for (i, (key, bits)) in asked.into_iter().enumerate() {
                    if refused.next_if_eq(&i).is_none() {
                        self.acknowledged.insert(key, bits);
                        self.order.entry(key).or_insert(self.commits);
                    }
                }
                if self.options.sync_interval.is_zero() {
                    self.synced = self.acknowledged.clone();
                }
            }
            Err(_) => self.open.extend(asked),
        }
        self.pass(13);
    }

    fn found(&self, db: &Database) -> Points {
        let set = db.select(&[], TimeRange::ALL, &Cancellation::new());
        let set = set.unwrap_or_else(|error| self.fail(&error.to_string()));
        let mut points = Points::new();
        let mut samples = Samples::default();
        for at in 0..set.len() {
            let known = self.series.iter().position(|labels| labels == set.labels(at));
            let i = known.unwrap_or_else(|| self.fail("a series that nobody appended"));
            let read = set.read(at, TimeRange::ALL, &mut samples);
            read.unwrap_or_else(|error| self.fail(&error.to_string()));
            for (at, t) in samples.timestamps.iter().enumerate() {
                let (histogram, start) = (samples.histogram(at), samples.start_ms(at));
                points.insert((i, *t), fingerprint(samples.values[at], histogram, start));
            }
        }
        if !set.warnings().is_empty() {
            self.fail(&set.warnings().join("\n"));
        }
        points
    }

    /// Compares what was found with what must and may be.
    fn compare(&self, found: &Points, must: &Points, may: &Points) -> Result<(), String> {
        for (key, bits) in must {
            if found.get(key) != Some(bits) {
                return Err(format!("{key:?} is {:?}", found.get(key)));
            }
        }
        let mut newest = 0;
        for (key, bits) in found {
            if may.get(key) != Some(bits) {
                return Err(format!("{key:?} from nowhere"));
            }
            newest = newest.max(self.order.get(key).copied().unwrap_or(0));
        }
        for (key, commit) in &self.order {
            if *commit < newest && may.contains_key(key) && !found.contains_key(key) {
                return Err(format!("a hole: {key:?} of commit {commit} below {newest}"));
            }
        }
        Ok(())
    }

    fn may(&self) -> Points {
        let known = self.acknowledged.iter().chain(&self.open);
        known.map(|(key, bits)| (*key, *bits)).collect()
    }

    pub(crate) fn check(&mut self, db: &Database, must: &Points) {
        let found = self.found(db);
        if let Err(what) = self.compare(&found, must, &self.may()) {
            self.fail(&what);
        }
        // What is there now was replayed, and what is not there will not come back.
        self.order.retain(|key, _| found.contains_key(key));
        self.acknowledged = found;
        self.open.clear();
    }

    /// Everything acknowledged is there now, with the disk healthy.
    pub(crate) fn check_living(&mut self, db: &Database) {
        self.disk.heal();
        let found = self.found(db);
        if !self.acknowledged.iter().all(|(key, bits)| found.get(key) == Some(bits)) {
            self.fail("something acknowledged is not there");
        }
    }

    /// Ends the process in one way or another; the database as the next one finds it.
    pub(crate) fn restart(&mut self, db: Database, way: u64) -> Database {
        if way == 0 && db.close().is_ok() {
            self.synced = self.acknowledged.clone();
        }
        let next = self.end(way);
        // What the handle does at its own end, it does to a disk that is gone.
        drop(db);
        next
    }

    /// [`Self::restart`] of a process that is at its end already.
    pub(crate) fn end(&mut self, way: u64) -> Database {
        self.look_back();
        let must = if way < 2 {
            self.disk = self.disk.kill();
            self.acknowledged.clone()
        } else {
            let mode = Crash::ALL[self.chance.below(4) as usize];
            self.trail.note(format!("{mode:?}"));
            self.disk = self.disk.crash(mode);
            self.synced.clone()
        };
        self.disk.heal();
        if self.before.is_some() {
            self.disk.keep_moments();
        }
        let may = self.may();
        let db = self.open();
        self.check(&db, &must);
        if self.before.is_some() {
            // What a loss of power left is on the medium.
            let synced = if way < 2 { self.synced.clone() } else { self.acknowledged.clone() };
            self.before = Some(Bounds { acknowledged: self.acknowledged.clone(), synced, may });
            self.look_back();
            self.disk.keep_moments();
        }
        // So is what an opened log found.
        self.synced = self.acknowledged.clone();
        db
    }

    /// A step by chance.
    pub(crate) fn step(&mut self, db: Database) -> Database {
        let choice = self.chance.below(40);
        self.trail.note(format!("{} at {}", choice, self.now));
        match choice {
            0..20 => self.commit(&db),
            20..26 => {
                let minutes = 1 + self.chance.below(50) as i64;
                self.pass(minutes * MINUTE);
            }
            26..30 => drop(db.maintain()),
            30 => drop(db.compact_all()),
            31..33 => {
                if db.sync().is_ok() {
                    self.synced = self.acknowledged.clone();
                }
            }
            33..35 => {
                let fault = if self.chance.below(2) == 0 { Fault::Once } else { Fault::Lasting };
                self.disk.fail_nth(1 + self.chance.below(60), fault);
            }
            35 => self.disk.heal(),
            36..39 => return self.restart(db, choice - 36),
            _ => self.check_living(&db),
        }
        db
    }

    /// [`Self::step`], of which every moment may be the last one of the process.
    pub(crate) fn step_everywhere(&mut self, db: Database) -> Database {
        self.before = Some(Bounds {
            acknowledged: self.acknowledged.clone(),
            synced: self.synced.clone(),
            may: self.may(),
        });
        self.disk.keep_moments();
        let db = self.step(db);
        self.look_back();
        self.before = None;
        db
    }

    /// Kills and crashes the disk of every moment that was kept, in every way, and looks at what
    /// is left.
    fn look_back(&mut self) {
        let Some(mut bounds) = self.before.clone() else { return };
        bounds.may.extend(self.may());
        for (n, moment) in self.disk.take_moments().into_iter().enumerate() {
            for end in Crash::ALL.into_iter().map(Some).chain([None]) {
                let disk = moment.fork(n as u64);
                let disk = end.map_or_else(|| disk.kill(), |mode| disk.crash(mode));
                let must = if end.is_some() { &bounds.synced } else { &bounds.acknowledged };
                self.points += 1;
                let found = self.open_disk(&disk).map(|db| self.found(&db));
                let same = found.and_then(|found| self.compare(&found, must, &bounds.may));
                if let Err(what) = same {
                    self.fail(&format!("change {n} of the last step, then {end:?}: {what}"));
                }
            }
        }
    }
}
