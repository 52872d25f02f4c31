//! Tests of the head as a whole, on the simulated disk.

mod basics;
mod deletions;
mod ended;
mod flushes;
mod index;
mod model;
mod notes;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use roaring::RoaringBitmap;

use super::{Event, GroupKey, Head, HeadOptions, Observer, SeriesRef};
use crate::disk::StorageError;
use crate::disk::{SimulatedClock, SimulatedDisk};
use crate::index::LabelIndex;
use crate::model::{Labels, Samples, TimeRange};

/// A round time, at the start of a window.
const T0: i64 = 1_700_000_000_000 / 7_200_000 * 7_200_000;

/// Remembers events as text.
#[derive(Debug, Default)]
struct Heard(Mutex<Vec<String>>);

impl Observer for Heard {
    fn observe(&self, event: Event<'_>) {
        self.0.lock().unwrap().push(format!("{event:?}"));
    }
}

impl Heard {
    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    fn count(&self, what: &str) -> usize {
        self.all().iter().filter(|event| event.starts_with(what)).count()
    }
}

/// A disk and a clock with a head on it.
struct Bench {
    disk: SimulatedDisk,
    clock: Arc<SimulatedClock>,
    heard: Arc<Heard>,
    late_ms: i64,
    exemplars_max: usize,
    window_ms: i64,
    sync_interval: Duration,
    flushed_until_ms: Option<i64>,
}

impl Bench {
    fn new(seed: u64) -> Self {
        Self {
            disk: SimulatedDisk::new(seed),
            clock: Arc::new(SimulatedClock::new(T0 + 3_600_000)),
            heard: Arc::new(Heard::default()),
            late_ms: 0,
            exemplars_max: 0,
            window_ms: 7_200_000,
            flushed_until_ms: None,
            sync_interval: Duration::from_secs(1),
        }
    }

    fn options(&self) -> HeadOptions {
        let disk = Arc::new(self.disk.clone());
        let clock = Arc::clone(&self.clock);
        let observer = Arc::clone(&self.heard);
        let mut options = HeadOptions::new(disk, clock, observer, PathBuf::from("/data"));
        options.out_of_order_window_ms = self.late_ms;
        options.exemplars_max = self.exemplars_max;
        options.window_ms = self.window_ms;
        options.flushed_until_ms = self.flushed_until_ms;
        options.sync_interval = self.sync_interval;
        options.segment_bytes_max = 4096;
        options
    }

    fn open(&self) -> Arc<Head> {
        self.try_open().unwrap()
    }

    fn try_open(&self) -> Result<Arc<Head>, StorageError> {
        Head::open(self.options())
    }
}

fn target(name: &str) -> GroupKey {
    GroupKey::Target { job: name.to_owned(), labels: Vec::new() }
}

fn labels(name: &str) -> Labels {
    Labels::from_pairs([("__name__", "m"), ("i", name)])
}

/// Commits (series, time, value) from one source; gives the outcome.
fn push(
    head: &Arc<Head>,
    source: &str,
    samples: &[(&str, i64, f64)],
) -> Result<super::CommitOutcome, StorageError> {
    let mut appender = head.appender(&target(source));
    for &(name, t_ms, value) in samples {
        let series = appender.series(&labels(name));
        appender.append(series, t_ms, value);
    }
    appender.commit()
}

fn capture(head: &Head, range: TimeRange) -> super::Captured {
    let ids: RoaringBitmap = head.index().all();
    head.capture::<StorageError>(&ids, range, &|_| Ok(())).unwrap()
}

/// What a sample is, in a number: the bits of a plain float, else a hash.
fn fingerprint(samples: &Samples, index: usize) -> u64 {
    let bits = samples.values[index].to_bits();
    let (histogram, start_ms) = (samples.histogram(index), samples.start_ms(index));
    if histogram.is_none() && start_ms == 0 {
        return bits;
    }
    let mut bytes = start_ms.to_le_bytes().to_vec();
    bytes.extend_from_slice(&bits.to_le_bytes());
    if let Some(histogram) = histogram {
        crate::encoding::histogram::write_histogram(None, histogram, &mut bytes);
    }
    let mut hasher = std::hash::DefaultHasher::new();
    std::hash::Hasher::write(&mut hasher, &bytes);
    std::hash::Hasher::finish(&hasher)
}

/// Everything that the head shows, as [`fingerprint`] by series and time.
fn contents(head: &Head) -> BTreeMap<(String, i64), u64> {
    let captured = capture(head, TimeRange::ALL);
    let mut found = BTreeMap::new();
    let mut samples = Samples::default();
    for i in 0..captured.len() {
        captured.read(i, TimeRange::ALL, &mut samples).unwrap();
        assert!(samples.timestamps.windows(2).all(|pair| pair[0] < pair[1]));
        let name = captured.labels(i).get("i").unwrap().to_owned();
        for (index, &t_ms) in samples.timestamps.iter().enumerate() {
            found.insert((name.clone(), t_ms), fingerprint(&samples, index));
        }
    }
    found
}

fn values(head: &Head, name: &str) -> Vec<(i64, f64)> {
    let all = contents(head);
    let of_name = all.into_iter().filter(|((series, _), _)| series == name);
    of_name.map(|((_, t_ms), bits)| (t_ms - T0, f64::from_bits(bits))).collect()
}

fn reference(head: &Head, name: &str) -> SeriesRef {
    head.find(&labels(name)).unwrap()
}

/// Seals every group.
fn seal_everything(head: &Head) {
    let groups = head.groups_read().all();
    head.seal(&groups, &mut head.maintenance().unwrap()).unwrap();
}

fn checkpoint(head: &Head) {
    head.checkpoint(&mut head.maintenance().unwrap()).unwrap();
}
