//! Blocks: written, read, selected, hidden, damaged.

use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::block::Ulid;
use crate::disk::{Disk, SimulatedDisk, StorageError};
use crate::model::{
    Histogram, IntegerHistogram, Labels, Matcher, Samples, Span, TimeRange, stale_nan,
};

const RANGE: TimeRange = TimeRange { min_ms: 0, max_ms: 7_199_999 };

fn floats(from: i64, count: i64) -> Samples {
    let mut samples = Samples::default();
    for i in 0..count {
        samples.push(from + i * 15_000, i as f64 / 3.0);
    }
    samples
}

fn histogram(count: u64) -> Arc<Histogram> {
    Arc::new(Histogram::Integer(IntegerHistogram {
        schema: 2,
        count,
        sum: count as f64,
        positive_spans: vec![Span { offset: 0, length: 2 }],
        positive_deltas: vec![1, count as i64 - 2],
        ..IntegerHistogram::default()
    }))
}

/// A float series of 300 samples, one that changes its kind, one that ends.
fn content() -> Vec<(Labels, Samples)> {
    let labels = |name: &str| Labels::from_pairs([("__name__", name), ("job", "x")]);
    let mut mixed = floats(5, 3);
    for i in 3..6 {
        mixed.push_histogram(5 + i * 15_000, histogram(i as u64 + 5));
    }
    mixed.push(200_000, 1.5);
    let mut ended = floats(0, 2);
    ended.push(60_000, stale_nan());
    vec![(labels("a"), floats(0, 300)), (labels("b"), mixed), (labels("c"), ended)]
}

fn write(disk: &Arc<dyn Disk>, ulid: Ulid, content: &[(Labels, Samples)]) -> BlockMeta {
    let mut writer = BlockWriter::create(disk, Path::new("/data"), ulid, RANGE).unwrap();
    for (labels, samples) in content {
        writer.add(labels, samples).unwrap();
    }
    writer.finish().unwrap().expect("it holds something")
}

fn disk() -> Arc<dyn Disk> {
    Arc::new(SimulatedDisk::new(3))
}

fn open(disk: &Arc<dyn Disk>, ulid: Ulid) -> Arc<Block> {
    Arc::new(Block::open(&**disk, &Path::new("/data").join(ulid.to_string())).unwrap())
}

fn select(block: &Arc<Block>, matchers: &[Matcher], range: TimeRange) -> Selection {
    let check = &|_| Ok::<(), StorageError>(());
    block.select(matchers, range, check, &mut |error| panic!("{error}")).unwrap()
}

fn read(selection: &Selection, index: usize, range: TimeRange) -> Samples {
    let mut out = Samples::default();
    selection.read(index, range, &mut out, &mut |error| panic!("{error}")).unwrap();
    out
}

/// NaN is not equal to itself.
fn bits(samples: &Samples) -> Vec<(i64, u64)> {
    samples.timestamps.iter().copied().zip(samples.values.iter().map(|v| v.to_bits())).collect()
}

#[test]
fn what_is_written_is_found() {
    let (disk, ulid, content) = (disk(), Ulid::new(5, None), content());
    let meta = write(&disk, ulid, &content);
    assert_eq!((meta.series, meta.samples, meta.histogram_samples), (3, 310, 3));
    assert_eq!((meta.chunks, meta.float_samples), (3 + 3 + 1, 307));
    let block = open(&disk, ulid);
    assert_eq!(*block.meta(), meta);
    let all = select(&block, &[], TimeRange::ALL);
    assert_eq!(all.len(), 3);
    for (i, (labels, samples)) in content.iter().enumerate() {
        assert_eq!(all.labels(i), labels);
        let found = read(&all, i, TimeRange::ALL);
        assert_eq!(bits(&found), bits(samples));
        assert_eq!(found.histograms.len(), samples.histograms.len());
    }
    let range = TimeRange { min_ms: 1_800_000, max_ms: 1_830_000 };
    let some = select(&block, &[Matcher::equal("__name__", "a")], range);
    assert_eq!(read(&some, 0, range).timestamps, [1_800_000, 1_815_000, 1_830_000]);
    assert_eq!(
        block.label_names(&[], &|| Ok::<(), StorageError>(())).unwrap(),
        ["__name__", "job"]
    );
    assert_eq!(
        block.label_values("__name__", &[], &|| Ok::<(), StorageError>(())).unwrap(),
        ["a", "b", "c"]
    );
    let late = TimeRange { min_ms: 5_000_000, max_ms: 6_000_000 };
    assert!(select(&block, &[], late).is_empty());
}

#[test]
fn deletions_hide() {
    let (disk, ulid) = (disk(), Ulid::new(5, None));
    write(&disk, ulid, &content());
    let block = open(&disk, ulid);
    let late = TimeRange { min_ms: 15_000, max_ms: i64::MAX };
    let numbers = block.numbers(&[Matcher::equal("__name__", "a")], late).unwrap();
    assert_eq!(numbers.len(), 1);
    let mut hidden = crate::block::Tombstones::default();
    hidden.hide(&numbers, late);
    let before = select(&block, &[], TimeRange::ALL);
    block.set_tombstones(Arc::new(hidden));
    let after = select(&block, &[], TimeRange::ALL);
    assert_eq!(read(&before, 0, TimeRange::ALL).len(), 300);
    assert_eq!(read(&after, 0, TimeRange::ALL).timestamps, [0]);
    assert_eq!(read(&after, 1, TimeRange::ALL).len(), 7);
}

#[test]
fn nothing_leaves_nothing() {
    let disk = disk();
    let writer = BlockWriter::create(&disk, Path::new("/data"), Ulid::new(5, None), RANGE).unwrap();
    assert_eq!(writer.finish().unwrap(), None);
    assert!(disk.read_dir(Path::new("/data")).unwrap().is_empty());
}

/// Every byte of every file changed: an error, a told damage, or the same answer; never a wrong
/// one.
#[test]
fn damage_is_told_and_never_answered() {
    let (clean, ulid, content) = (disk(), Ulid::new(5, None), content());
    write(&clean, ulid, &content);
    let dir = Path::new("/data").join(ulid.to_string());
    for name in ["index", "chunks/000001", "tombstones"] {
        let bytes = clean.map(&dir.join(name)).unwrap().bytes().to_vec();
        for at in (0..bytes.len()).step_by(1 + bytes.len() / 300) {
            let disk = disk();
            write(&disk, ulid, &content);
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            disk.remove_file(&dir.join(name)).unwrap();
            disk.create(&dir.join(name)).unwrap().append(&damaged).unwrap();
            let Ok(block) = Block::open(&*disk, &dir) else { continue };
            let (block, mut told) = (Arc::new(block), 0);
            let check = &|_| Ok::<(), StorageError>(());
            let selected = block.select(&[], TimeRange::ALL, check, &mut |_| told += 1);
            let Ok(selection) = selected else { continue };
            let mut found = 0;
            let mut out = Samples::default();
            for i in 0..selection.len() {
                selection.read(i, TimeRange::ALL, &mut out, &mut |_| told += 1).unwrap();
                let expected = content.iter().find(|(labels, _)| labels == selection.labels(i));
                let (_, expected) = expected.expect("no labels come from nowhere");
                found += out.len();
                let expected = bits(expected);
                assert!(bits(&out).iter().all(|pair| expected.contains(pair)), "{name} {at}");
            }
            assert!(found == 310 || told > 0, "{name} {at}: {found} samples");
        }
    }
}
