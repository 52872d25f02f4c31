//! Windows of the embedded database through its public door: what was appended is read back the
//! same from the head, from sealed files and from blocks, before and after a restart.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use narthex::db::{Database, Event, Observer, Options};
use narthex::disk::{Clock, Disk, SimulatedClock, SimulatedDisk, StorageError};
use narthex::head::{AppendError, GroupKey};
use narthex::model::{Labels, Matcher, STALE_NAN_BITS, Samples, TimeRange};
use narthex::promql::engine::{QueryRange, Value};
use narthex::select::{Cancellation, Queryable};

const DATA: &str = "/data";
const HOUR: i64 = 3_600_000;
/// A multiple of two hours.
const START: i64 = 1_699_999_200_000;

type Model = BTreeMap<Labels, BTreeMap<i64, u64>>;

/// Keeps what it hears.
#[derive(Debug, Default)]
struct Ears(Mutex<Vec<String>>);

impl Observer for Ears {
    fn event(&self, event: &Event<'_>) {
        self.0.lock().expect("no observer panics").push(event.to_string());
    }
}

impl Ears {
    fn heard(&self, text: &str) -> bool {
        self.0.lock().expect("no observer panics").iter().any(|event| event.contains(text))
    }
}

struct Bench {
    disk: SimulatedDisk,
    clock: SimulatedClock,
    options: Options,
    ears: Arc<Ears>,
    model: Model,
}

impl Bench {
    fn new() -> Self {
        let ears = Arc::new(Ears::default());
        let observer: Arc<dyn Observer> = ears.clone();
        let options = Options { background: false, observer, ..Options::default() };
        let (disk, clock) = (SimulatedDisk::new(3), SimulatedClock::new(START));
        Self { disk, clock, options, ears, model: Model::new() }
    }

    fn open(&self) -> Database {
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let clock: Arc<dyn Clock> = Arc::new(self.clock.clone());
        Database::open_with(disk, clock, DATA, self.options.clone()).expect("it opens")
    }

    /// Appends what must be accepted.
    fn append(&mut self, db: &Database, source: &str, samples: &[(Labels, i64, f64)]) {
        let mut appender = db.appender(GroupKey::Embedded(source.to_owned())).expect("it is open");
        for (labels, t, value) in samples {
            let series = appender.series(labels).expect("the labels are valid");
            appender.append(series, *t, *value);
            self.model.entry(labels.clone()).or_default().insert(*t, value.to_bits());
        }
        let outcome = appender.commit().expect("the disk is healthy");
        assert_eq!(outcome.rejected, []);
        assert_eq!(outcome.accepted, samples.len());
    }

    /// One scrape of two targets at `t`: counters, a constant, series that come and go.
    fn scrape(&mut self, db: &Database, t: i64) {
        self.clock.set_now_ms(t);
        for target in ["a:1", "b:2"] {
            let t = t + i64::from(target == "b:2") * 3_001;
            let age = (t - START) / 1000;
            let mut samples = Vec::new();
            let mut put = |name: &str, i: i64, value: f64| {
                let pairs = [("__name__", name), ("instance", target), ("i", &i.to_string())];
                samples.push((Labels::from_pairs(pairs), t, value));
            };
            for i in 0..5 {
                put("requests_total", i, (age * (i + 1)) as f64);
                put("temperature", i, 20.0 + ((age / 60 + i) % 17) as f64 / 10.0);
                put("constant", i, 1.0);
            }
            // A series for each hour, ended by a marker.
            let hour = age / 3600;
            put("churn", hour, age as f64);
            if hour > 0 && age % 3600 < 15 {
                put("churn", hour - 1, f64::from_bits(STALE_NAN_BITS));
            }
            self.append(db, target, &samples);
        }
    }

    fn check(&self, db: &Database, what: &str) {
        let all = read(db, &[], TimeRange::ALL);
        assert_eq!(all.len(), self.model.len(), "{what}: number of series");
        assert!(all == self.model, "{what}: samples differ");
        for border in (0..9).map(|n| START + n * 2 * HOUR) {
            for (before, after) in [(1, 0), (20_000, 20_000), (HOUR, 1), (0, 5 * HOUR)] {
                let range = TimeRange { min_ms: border - before, max_ms: border + after };
                let found = read(db, &[Matcher::equal("i", "1")], range);
                assert!(found == within(&self.model, range), "{what}: {range:?}");
            }
        }
    }
}

fn within(model: &Model, range: TimeRange) -> Model {
    let cut = |samples: &BTreeMap<i64, u64>| -> BTreeMap<i64, u64> {
        samples.range(range.min_ms..=range.max_ms).map(|(t, v)| (*t, *v)).collect()
    };
    let wanted = model.iter().filter(|(labels, _)| labels.get("i") == Some("1"));
    let cut = wanted.map(|(labels, samples)| (labels.clone(), cut(samples)));
    cut.filter(|(_, samples)| !samples.is_empty()).collect()
}

fn read(db: &Database, matchers: &[Matcher], range: TimeRange) -> Model {
    let set = db.select(matchers, range, &Cancellation::new()).expect("the data is readable");
    let mut model = Model::new();
    let mut samples = Samples::default();
    for i in 0..set.len() {
        assert!(i == 0 || set.labels(i - 1) < set.labels(i), "series out of order");
        set.read(i, range, &mut samples).expect("the samples are readable");
        assert!(samples.timestamps.is_sorted_by(|a, b| a < b));
        let bits = samples.values.iter().map(|value| value.to_bits());
        let pairs: BTreeMap<i64, u64> = samples.timestamps.iter().copied().zip(bits).collect();
        if !pairs.is_empty() {
            model.insert(set.labels(i).clone(), pairs);
        }
    }
    model
}

fn answers(db: &Database) -> Vec<Value> {
    let range = QueryRange { start_ms: START, end_ms: START + 8 * HOUR, step_ms: 61_000 };
    let queries = [
        "sum by (instance) (rate(requests_total[5m]))",
        "max_over_time(temperature[2h])",
        "count(churn)",
        "increase(requests_total{i=\"3\"}[3h])",
    ];
    queries.iter().map(|text| db.query_range(text, range).expect("it evaluates").value).collect()
}

#[test]
fn windows_read_the_same_from_head_and_blocks() {
    let mut bench = Bench::new();
    let mut db = bench.open();
    for step in 0..7 * 240 + 60 {
        bench.scrape(&db, START + step * 15_000);
    }
    bench.check(&db, "head");
    let before = answers(&db);
    assert_eq!(db.stats().blocks.len(), 0);

    db.maintain().unwrap();
    let stats = db.stats();
    assert_eq!(stats.flushes, 3, "{stats:?}");
    bench.check(&db, "after the flush");
    assert_eq!(answers(&db), before);

    db.close().unwrap();
    assert!(matches!(db.maintain(), Err(StorageError::Closed)));
    assert!(db.select(&[], TimeRange::ALL, &Cancellation::new()).is_err());
    db = bench.open();
    bench.check(&db, "reopened");
    assert_eq!(answers(&db), before);

    db.compact_all().unwrap();
    bench.check(&db, "after compact_all");
    assert_eq!(answers(&db), before);
    let stats = db.stats();
    let samples: u64 = stats.blocks.iter().map(|block| block.samples).sum();
    assert_eq!(samples as usize, bench.model.values().map(BTreeMap::len).sum::<usize>());
    let bytes: u64 = stats.blocks.iter().map(|block| block.chunk_bytes + block.index_bytes).sum();
    println!("{samples} samples in {bytes} bytes: {:.3} each", bytes as f64 / samples as f64);

    // The open window goes on, in order and late, and becomes another block of its time.
    let now = START + (7 * 240 + 60) * 15_000;
    bench.scrape(&db, now);
    let labels = Labels::from_pairs([("__name__", "constant"), ("instance", "a:1"), ("i", "0")]);
    bench.append(&db, "late", &[(labels, now - 20 * 60_000 + 7, 5.0)]);
    bench.check(&db, "late samples");
    db.compact_all().unwrap();
    bench.check(&db, "late samples in a block");
    db.close().unwrap();
    db = bench.open();
    bench.check(&db, "reopened again");
    assert!(!bench.ears.heard("failed") && !bench.ears.heard("put aside"), "{:?}", bench.ears);
}

#[test]
fn blocks_past_retention_go() {
    let mut bench = Bench::new();
    bench.options.retention_ms = 5 * HOUR;
    let db = bench.open();
    for step in 0..14 * 60 {
        bench.scrape(&db, START + step * 60_000);
        if step % 30 == 0 {
            db.maintain().unwrap();
        }
    }
    db.maintain().unwrap();
    let newest = START + 14 * HOUR - 60_000 + 3_001;
    let stats = db.stats();
    assert!(stats.blocks_expired > 0 && bench.ears.heard("past retention"));
    assert!(stats.blocks.iter().all(|block| block.range.max_ms >= newest - 5 * HOUR));
    let kept = TimeRange { min_ms: newest - 5 * HOUR, max_ms: newest };
    assert!(read(&db, &[Matcher::equal("i", "1")], kept) == within(&bench.model, kept));
    let oldest =
        read(&db, &[], TimeRange::ALL).values().filter_map(|s| s.keys().next().copied()).min();
    assert!(oldest.unwrap() > START + 2 * HOUR, "old blocks are gone");
}

#[test]
fn a_damaged_block_is_put_aside_and_the_rest_is_served() {
    let mut bench = Bench::new();
    let db = bench.open();
    for step in 0..7 * 60 + 10 {
        bench.scrape(&db, START + step * 60_000);
    }
    db.maintain().unwrap();
    let blocks = db.stats().blocks;
    assert_eq!(blocks.len(), 3, "{blocks:?}");
    db.close().unwrap();
    let dir = Path::new(DATA).join("narthex/blocks").join(&blocks[1].name);
    let path = dir.join("meta.json");
    let mut bytes = bench.disk.file_bytes(&path).unwrap();
    bytes[30] ^= 4;
    bench.disk.set_file_bytes(&path, bytes).unwrap();
    let db = bench.open();
    assert!(bench.ears.heard("put aside"));
    let stats = db.stats();
    assert_eq!((stats.blocks.len(), stats.quarantined.len()), (2, 1));
    assert!(bench.disk.exists(&stats.quarantined[0].0), "{:?}", stats.quarantined);
    let lost = TimeRange { min_ms: START + 2 * HOUR, max_ms: START + 4 * HOUR - 1 };
    for samples in bench.model.values_mut() {
        samples.retain(|t, _| !lost.contains(*t));
    }
    bench.model.retain(|_, samples| !samples.is_empty());
    bench.check(&db, "without the damaged block");
}

#[test]
fn a_damaged_unit_is_told_and_the_rest_is_read() {
    let mut bench = Bench::new();
    let db = bench.open();
    for step in 0..4 * 60 {
        bench.scrape(&db, START + step * 60_000);
    }
    db.compact_all().unwrap();
    let name = db.stats().blocks[0].name.clone();
    db.close().unwrap();
    let path = Path::new(DATA).join("narthex/blocks").join(name).join("chunks");
    let mut bytes = bench.disk.file_bytes(&path).unwrap();
    bytes[100] ^= 4;
    bench.disk.set_file_bytes(&path, bytes).unwrap();
    let db = bench.open();
    let set = db.select(&[], TimeRange::ALL, &Cancellation::new()).unwrap();
    let mut samples = Samples::default();
    for i in 0..set.len() {
        set.read(i, TimeRange::ALL, &mut samples).unwrap();
        let model = &bench.model[set.labels(i)];
        for (t, value) in samples.timestamps.iter().zip(&samples.values) {
            assert_eq!(model.get(t), Some(&value.to_bits()), "an altered sample");
        }
    }
    assert_eq!(set.warnings().len(), 1, "{:?}", set.warnings());
}

#[test]
fn labels_are_the_union_of_head_and_blocks() {
    let mut bench = Bench::new();
    let db = bench.open();
    for step in 0..6 * 60 {
        bench.scrape(&db, START + step * 60_000);
    }
    db.maintain().unwrap();
    let none = Cancellation::new();
    let names = db.label_names(&[], TimeRange::ALL, &none).unwrap();
    assert_eq!(names, ["__name__", "i", "instance"]);
    let churn = [Matcher::equal("__name__", "churn")];
    let hours = db.label_values("i", &churn, TimeRange::ALL, &none).unwrap();
    assert_eq!(hours, ["0", "1", "2", "3", "4", "5"]);
    let early = TimeRange { min_ms: START, max_ms: START + HOUR };
    assert_eq!(db.label_values("i", &churn, early, &none).unwrap(), ["0", "1"]);
    none.cancel();
    assert!(db.label_values("i", &churn, early, &none).is_err());
}

#[test]
fn a_directory_has_one_owner() {
    let dir = tempfile::tempdir().unwrap();
    let options =
        || Options { maintenance_interval: Duration::from_millis(10), ..Options::default() };
    std::fs::create_dir(dir.path().join("wal")).unwrap();
    std::fs::write(dir.path().join("wal/00000000"), b"of another server").unwrap();
    let db = Database::open(dir.path(), options()).unwrap();
    assert!(matches!(Database::open(dir.path(), options()), Err(StorageError::Locked(_))));
    let other = tempfile::tempdir().unwrap();
    let second = Database::open(other.path(), options()).unwrap();
    let source = GroupKey::Embedded("test".to_owned());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let now = now.as_millis() as i64;
    for (db, value) in [(&db, 1.0), (&second, 2.0)] {
        let mut appender = db.appender(&source).unwrap();
        let series = appender.series(&Labels::from_pairs([("__name__", "m")])).unwrap();
        appender.append(series, now, value);
        appender.append(series, now + 24 * HOUR, value);
        let outcome = appender.commit().unwrap();
        assert_eq!(
            (outcome.accepted, outcome.rejected),
            (1, vec![(1, AppendError::TooFarInFuture)])
        );
    }
    drop(db);
    let db = Database::open(dir.path(), options()).unwrap();
    for (db, value) in [(&db, 1.0_f64), (&second, 2.0)] {
        let found = read(db, &[], TimeRange::ALL);
        let samples: Vec<_> = found.values().flatten().map(|(t, bits)| (*t, *bits)).collect();
        assert_eq!(samples, [(now, value.to_bits())]);
    }
    let foreign = std::fs::read(dir.path().join("wal/00000000")).unwrap();
    assert_eq!(foreign, b"of another server");
}
