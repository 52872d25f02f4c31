//! What an older version wrote is read; what a newer version wrote is refused, or done without.
//!
//! `testdata/format/N/` is the directory that version *N* of the format left behind: blocks fresh
//! and merged, a head file, a checkpoint, the log. It is never changed again; a change of the
//! format adds a directory beside it. The samples in it are those that [`model`] gives.
//!
//! To write the directory of a new version: `cargo test --test format -- --ignored`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use narthex::db::{Database, Options};
use narthex::disk::{Clock, Disk, SimulatedClock, SimulatedDisk, StorageError};
use narthex::head::GroupKey;
use narthex::model::{
    Histogram, IntegerHistogram, Labels, STALE_NAN_BITS, Samples, Span, TimeRange,
};
use narthex::select::{Cancellation, Queryable};

const HOUR: i64 = 3_600_000;
/// A multiple of 54 hours.
const START: i64 = 1_699_876_800_000;
const END: i64 = START + 11 * HOUR + 7 * 60_000;
const BOUNDS: [&str; 5] = ["0.1", "1", "2.5", "10", "+Inf"];

type Model = BTreeMap<Labels, Samples>;

fn noise(i: i64) -> i64 {
    let mixed = (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((mixed ^ mixed >> 31).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 40) as i64
}

/// A counter that has `step` more on average in each row.
fn counter(row: i64, step: i64, salt: i64) -> f64 {
    (row * step + noise(row * 31 + salt) % step) as f64
}

/// Value `row` of the series `name`, of every shape that has a form of its own.
fn value(name: &str, row: i64) -> f64 {
    match name {
        "constant" => 1.5,
        "no_decimal" => 0.1 + 0.2,
        "line" => (row * 15) as f64,
        "counter" => counter(row, 100, 1),
        "in_step" => counter(row, 100, 1) + 1e6,
        "gauge" => (200 + noise(row) % 50) as f64 / 10.0,
        "pages" => ((noise(row) % 500) * 4096) as f64,
        "rare" => f64::from(noise(row) % 60 == 0),
        "words" => ((2 + noise(row / 9) % 5) as f64).sqrt(),
        "mantissa" => (noise(row) as f64).sqrt(),
        "near_decimals" => (0..3).fold(0.0, |sum, i| sum + (row * 3 + i) as f64 / 1000.0),
        "bits" => f64::from_bits((noise(row) as u64) << 40 ^ (noise(row + 9) as u64) << 3),
        "ends" if row % 200 == 199 => f64::from_bits(STALE_NAN_BITS),
        "ends" => (row % 200) as f64,
        "not_finite" => match row % 40 {
            3 => f64::NAN,
            4 => f64::from_bits(0x7ff8_0000_0000_0001),
            5 => f64::from_bits(0xfff8_dead_beef_0001),
            6 => f64::NEG_INFINITY,
            7 => -0.0,
            _ => row as f64 / 4.0,
        },
        _ => unreachable!("no series is called {name}"),
    }
}

const NAMES: [&str; 15] = [
    "constant",
    "no_decimal",
    "line",
    "counter",
    "in_step",
    "gauge",
    "pages",
    "rare",
    "words",
    "mantissa",
    "near_decimals",
    "bits",
    "ends",
    "not_finite",
    "late",
];

fn histogram(row: i64) -> Histogram {
    let deltas = vec![row * 3 + noise(row) % 3, noise(row + 5) % 7, row];
    let counts: i64 = deltas[0] * 3 + deltas[1] * 2 + deltas[2];
    Histogram::Integer(IntegerHistogram {
        schema: 3,
        zero_threshold: 0.001,
        zero_count: row as u64,
        count: (counts + row) as u64,
        sum: row as f64 / 8.0,
        positive_spans: vec![Span { offset: -2, length: 1 }, Span { offset: 3, length: 2 }],
        positive_deltas: deltas,
        ..IntegerHistogram::default()
    })
}

/// What one scrape of the slow target has.
fn slow_row(row: i64, t: i64) -> Vec<(Labels, Samples)> {
    let one = |value: f64| {
        let mut samples = Samples::default();
        samples.push(t, value);
        samples
    };
    let mut samples = Vec::new();
    for name in NAMES {
        // Present in a part of the time only, with a gap.
        let is_there = row > 100 && !(400..430).contains(&row);
        if name != "late" || is_there {
            let number = value(if name == "late" { "gauge" } else { name }, row);
            samples.push((Labels::from_pairs([("__name__", name), ("job", "slow")]), one(number)));
        }
    }
    let mut total = 0.0;
    for (i, le) in (0..).zip(BOUNDS) {
        total += counter(row, 3 + i, i);
        let pairs = [("__name__", "latency_bucket"), ("job", "slow"), ("le", le)];
        samples.push((Labels::from_pairs(pairs), one(total)));
    }
    samples
        .push((Labels::from_pairs([("__name__", "latency_count"), ("job", "slow")]), one(total)));
    let mut native = Samples::default();
    native.push_histogram(t, Arc::new(histogram(row)));
    samples.push((Labels::from_pairs([("__name__", "native"), ("job", "slow")]), native));
    let mut started = one(counter(row, 9, 4));
    started.set_last_start(START - 1000 + row / 300);
    samples.push((Labels::from_pairs([("__name__", "started_total"), ("job", "slow")]), started));
    samples
}

/// A time, a source, and what it has then.
type Row = (i64, &'static str, Vec<(Labels, Samples)>);

/// Every row in the order of time: source and samples.
fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for row in 0..(END - START) / 60_000 {
        let t = START + row * 60_000 + noise(row) % 40;
        rows.push((t, "slow", slow_row(row, t)));
    }
    // Five seconds for the first six hours: chunks long enough for streams side by side.
    for row in 0..6 * HOUR / 5_000 {
        let t = START + 1_234 + row * 5_000;
        let mut samples = Samples::default();
        samples.push(t, counter(row, 40, 2));
        let labels = Labels::from_pairs([("__name__", "counter"), ("job", "fast")]);
        rows.push((t, "fast", vec![(labels, samples)]));
    }
    rows.sort_by_key(|row| row.0);
    rows
}

fn model() -> Model {
    let mut model = Model::new();
    for (_, _, samples) in rows() {
        for (labels, samples) in samples {
            let len = samples.len();
            model.entry(labels).or_default().extend_from(&samples, 0..len);
        }
    }
    model
}

fn open(disk: &SimulatedDisk, now: i64) -> Result<(Database, SimulatedClock), StorageError> {
    let clock = SimulatedClock::new(now);
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let shared_clock: Arc<dyn Clock> = Arc::new(clock.clone());
    let options = Options { background: false, disk_reserve_bytes: 0, ..Options::default() };
    Ok((Database::open_with(shared, shared_clock, "/data", options)?, clock))
}

fn read(db: &Database) -> Model {
    let set = db.select(&[], TimeRange::ALL, &Cancellation::new()).expect("the data is readable");
    let mut found = Model::new();
    for i in 0..set.len() {
        let mut samples = Samples::default();
        set.read(i, TimeRange::ALL, &mut samples).expect("the samples are readable");
        found.insert(set.labels(i).clone(), samples);
    }
    assert_eq!(set.warnings(), Vec::<String>::new());
    found
}

/// Samples with floats as bits, so that those that are not equal to themselves compare.
fn bits(model: &Model) -> Vec<String> {
    let series = |(labels, samples): (&Labels, &Samples)| {
        let values: Vec<u64> = samples.values.iter().map(|value| value.to_bits()).collect();
        let starts: Vec<i64> = (0..samples.len()).map(|i| samples.start_ms(i)).collect();
        let Samples { timestamps, histograms, .. } = samples;
        format!("{labels:?} {timestamps:?} {values:x?} {starts:?} {histograms:?}")
    };
    model.iter().map(series).collect()
}

fn folder(version: u32) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("testdata/format/{version}"))
}

/// Copies a directory of the machine to `to` on the simulated disk.
fn load(disk: &SimulatedDisk, from: &Path, to: &Path) {
    disk.create_dir_all(to).expect("a healthy disk");
    for entry in fs::read_dir(from).expect("a directory of the format") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            load(disk, &entry.path(), &target);
        } else {
            let mut file = disk.create(&target).expect("a healthy disk");
            file.append(&fs::read(entry.path()).expect("a file")).expect("a healthy disk");
            file.sync().expect("a healthy disk");
        }
    }
    disk.sync_dir(to).expect("a healthy disk");
}

fn store(disk: &SimulatedDisk, from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory to write to");
    for entry in disk.read_dir(from).expect("a directory") {
        let (from, to) = (from.join(&entry.name), to.join(&entry.name));
        if entry.is_dir {
            store(disk, &from, &to);
        } else if entry.name != "lock" {
            let bytes = disk.file_bytes(&from).expect("a file");
            fs::write(to, bytes).expect("a directory to write to");
        }
    }
}

fn versions() -> Vec<u32> {
    (1..=u32::MAX).take_while(|version| folder(*version).exists()).collect()
}

#[test]
fn every_version_is_read() {
    let expected = bits(&model());
    assert!(!versions().is_empty());
    for version in versions() {
        let disk = SimulatedDisk::new(1);
        load(&disk, &folder(version), Path::new("/data"));
        let (db, _) = open(&disk, END).expect("it opens");
        let stats = db.stats();
        assert!(stats.quarantined.is_empty(), "version {version}: {:?}", stats.quarantined);
        let levels: Vec<u32> = stats.blocks.iter().map(|block| block.level).collect();
        assert!(levels.contains(&1) && levels.contains(&2), "version {version}: {levels:?}");
        assert!(bits(&read(&db)) == expected, "version {version} reads otherwise");
        // And goes on: what it left is flushed and merged into today's form.
        db.compact_all().expect("it compacts");
        assert!(bits(&read(&db)) == expected, "version {version} compacts otherwise");
        db.close().expect("it closes");
    }
}

/// Writes the directory of the version that this program writes.
#[test]
#[ignore = "writes to testdata"]
fn write_this_version() {
    let disk = SimulatedDisk::new(1);
    let (db, clock) = open(&disk, START).expect("it opens");
    let mut minutes = 0;
    for (t, source, samples) in rows() {
        clock.set_now_ms(t);
        let mut appender = db.appender(GroupKey::Embedded(source.to_owned())).expect("it is open");
        for (labels, sample) in &samples {
            let series = appender.series(labels).expect("valid labels");
            match sample.histogram(0) {
                Some(histogram) => appender.append_histogram(series, t, Arc::clone(histogram)),
                None => appender.append(series, t, sample.values[0]),
            }
            if sample.start_ms(0) != 0 {
                appender.set_last_start(sample.start_ms(0));
            }
        }
        let outcome = appender.commit().expect("a healthy disk");
        assert_eq!((outcome.accepted, outcome.rejected.len()), (samples.len(), 0));
        if (t - START) / 60_000 > minutes + 30 && t < END - 10 * 60_000 {
            minutes = (t - START) / 60_000;
            db.maintain().expect("a healthy disk");
        }
    }
    db.sync().expect("a healthy disk");
    assert_eq!(bits(&read(&db)), bits(&model()));
    let version = versions().len() as u32 + 1;
    store(&disk, Path::new("/data"), &folder(version));
}

/// The files of a block that stand in a frame of units, with a version one higher.
fn newer(bytes: &[u8], version: u32) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let footer = bytes.len() - 24;
    bytes[footer + 16..footer + 20].copy_from_slice(&version.to_le_bytes());
    let crc = crc32fast::hash(&bytes[footer..footer + 20]);
    bytes[footer + 20..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

#[test]
fn files_of_a_newer_version_are_refused_by_name_or_done_without() {
    let expected = bits(&model());
    let version = *versions().last().expect("a version");
    let intact = SimulatedDisk::new(1);
    load(&intact, &folder(version), Path::new("/data"));
    let blocks = Path::new("/data/narthex/blocks");
    let mut refused = 0;
    for block in intact.read_dir(blocks).expect("a directory") {
        for file in ["index", "chunks", "columns", "aggregates"] {
            let disk = SimulatedDisk::new(1);
            load(&disk, &folder(version), Path::new("/data"));
            let path = blocks.join(&block.name).join(file);
            let Some(bytes) = disk.file_bytes(&path) else {
                assert_eq!(file, "aggregates");
                continue;
            };
            disk.set_file_bytes(&path, newer(&bytes, 1000)).expect("a healthy disk");
            match open(&disk, END) {
                Ok((db, _)) => {
                    assert_eq!(file, "aggregates");
                    assert!(bits(&read(&db)) == expected, "without {file}");
                }
                Err(error @ StorageError::TooNew { .. }) => {
                    assert!(file != "aggregates" && error.to_string().contains(file), "{error}");
                    refused += 1;
                }
                Err(error) => panic!("{file}: {error}"),
            }
        }
    }
    assert!(refused >= 6);
}
