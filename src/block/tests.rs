//! Blocks against a model, on the simulated disk.

mod aggregates;
mod cache;
mod siblings;
mod times;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::prelude::*;

use super::{Block, BlockWriter, Selection, Ulid};
use crate::chunk::Coder;
use crate::disk::{Crash, Disk, Fault, SimulatedDisk, StorageError};
use crate::model::{Labels, Matcher, Samples, TimeRange};

const HOUR: i64 = 3_600_000;
const NOW: i64 = 1_700_000_000_000;
const DIR: &str = "/data/narthex/blocks";

type Model = BTreeMap<Labels, Vec<(i64, u64)>>;

fn columns(samples: &[(i64, u64)]) -> Samples {
    let mut columns = Samples::default();
    for &(t, bits) in samples {
        columns.push(t, f64::from_bits(bits));
    }
    columns
}

fn pairs(samples: &Samples) -> Vec<(i64, u64)> {
    samples.timestamps.iter().copied().zip(samples.values.iter().map(|v| v.to_bits())).collect()
}

fn write(disk: &Arc<dyn Disk>, model: &Model, window: i64) -> Result<PathBuf, StorageError> {
    write_under(disk, model, window, Coder::Dense)
}

fn write_under(
    disk: &Arc<dyn Disk>,
    model: &Model,
    window: i64,
    coder: Coder,
) -> Result<PathBuf, StorageError> {
    let dir = Path::new(DIR);
    let mut writer = BlockWriter::create(disk, dir, Ulid::new(NOW, None), NOW, window, coder)?;
    for (labels, samples) in model {
        writer.add(labels, &columns(samples))?;
    }
    let meta = writer.finish(1, Vec::new())?.expect("the model holds samples");
    Ok(dir.join(meta.ulid.to_string()))
}

#[expect(clippy::unnecessary_wraps, reason = "the check of a selection may fail")]
fn none(_bytes: u64) -> Result<(), StorageError> {
    Ok(())
}

fn read(selection: &Selection, range: TimeRange) -> Result<Model, StorageError> {
    let mut found = Model::new();
    let mut samples = Samples::default();
    for i in 0..selection.len() {
        let mut damage = None;
        selection.read(i, range, &mut samples, &mut |error| damage = Some(error))?;
        if let Some(damage) = damage {
            return Err(damage);
        }
        if !samples.is_empty() {
            found.insert(selection.labels(i).clone(), pairs(&samples));
        }
    }
    Ok(found)
}

fn read_all(disk: &dyn Disk, dir: &Path) -> Result<Model, StorageError> {
    let block = Arc::new(Block::open(disk, dir)?);
    read(&block.select(&[], TimeRange::ALL, &none)?, TimeRange::ALL)
}

fn within(model: &Model, range: TimeRange) -> Model {
    let cut = |samples: &Vec<(i64, u64)>| -> Vec<_> {
        samples.iter().filter(|s| range.contains(s.0)).copied().collect()
    };
    let cut = model.iter().map(|(labels, samples)| (labels.clone(), cut(samples)));
    cut.filter(|(_, samples)| !samples.is_empty()).collect()
}

/// Series of groups that share times, some with gaps, some of their own.
fn arbitrary_model() -> impl Strategy<Value = Model> {
    let value =
        prop_oneof![Just(1.5_f64.to_bits()), Just(crate::model::STALE_NAN_BITS), any::<u64>()];
    let steps = proptest::collection::vec((1_i64..HOUR / 3, any::<bool>(), value), 1..40);
    let series = ("[a-c]{1,2}", "[x-z]{1,2}", steps);
    proptest::collection::vec(series, 1..20).prop_map(|series| {
        let mut model = Model::new();
        for (name, instance, steps) in series {
            let mut t = NOW;
            let mut samples = Vec::new();
            for (step, is_there, bits) in steps {
                t += step;
                if is_there {
                    samples.push((t, bits));
                }
            }
            samples.push((t + 1, 0));
            model.insert(Labels::from_pairs([("__name__", name), ("instance", instance)]), samples);
        }
        model
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_was_written_is_read(
        model in arbitrary_model(),
        from in 0..9 * HOUR,
        len in 0..9 * HOUR,
        coder in prop_oneof![Just(Coder::Fast), Just(Coder::Dense)],
    ) {
        let disk: Arc<dyn Disk> = Arc::new(SimulatedDisk::new(1));
        let dir = write_under(&disk, &model, 2 * HOUR, coder).unwrap();
        prop_assert_eq!(read_all(&*disk, &dir).unwrap(), model.clone());
        let block = Arc::new(Block::open(&*disk, &dir).unwrap());
        prop_assert_eq!(block.meta().samples, model.values().map(Vec::len).sum::<usize>() as u64);
        let range = TimeRange { min_ms: NOW + from, max_ms: NOW + from + len };
        let selection = block.select(&[], range, &none).unwrap();
        prop_assert_eq!(read(&selection, range).unwrap(), within(&model, range));
        let matcher = Matcher::equal("instance", "xy");
        let selection = block.select(std::slice::from_ref(&matcher), range, &none).unwrap();
        let mut expected = within(&model, range);
        expected.retain(|labels, _| labels.get("instance") == Some("xy"));
        prop_assert_eq!(read(&selection, range).unwrap(), expected);
        let mut scan = block.scan();
        let mut scanned = Model::new();
        while let Some(stretch) = scan.next_stretch(3).unwrap() {
            scanned.extend(read(&stretch, TimeRange::ALL).unwrap());
        }
        prop_assert_eq!(scanned, model);
    }
}

fn small_model() -> Model {
    let series = |i: i64| {
        let samples =
            (0..30).map(|t| (NOW + t * 15_000, (t * i) as f64)).map(|(t, v)| (t, v.to_bits()));
        (Labels::from_pairs([("__name__", "m"), ("i", &i.to_string())]), samples.collect())
    };
    (0..40).map(series).collect()
}

#[test]
fn no_flipped_bit_goes_unseen() {
    let disk = SimulatedDisk::new(1);
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let model = small_model();
    let dir = write(&shared, &model, 2 * HOUR).unwrap();
    for file in ["meta.json", "index", "chunks", "columns"] {
        let path = dir.join(file);
        let bytes = disk.file_bytes(&path).unwrap();
        let all_bits = if file == "meta.json" { bytes.len() * 8 } else { bytes.len() };
        for n in 0..all_bits {
            let (at, bit) = (n % bytes.len(), (n + n / bytes.len()) % 8);
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << bit;
            disk.set_file_bytes(&path, damaged).unwrap();
            match read_all(&disk, &dir) {
                Ok(found) => assert!(file == "meta.json" && found == model, "{file} at {at}"),
                // Never a newer version: with such a one nothing starts.
                Err(StorageError::Corrupt { .. }) => {}
                Err(other) => panic!("{file} at {at}: {other}"),
            }
        }
        disk.set_file_bytes(&path, bytes).unwrap();
    }
    assert_eq!(read_all(&disk, &dir).unwrap(), model);
}

#[test]
fn a_damaged_chunk_costs_only_what_it_holds() {
    let disk = SimulatedDisk::new(1);
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let mut model = small_model();
    for (i, samples) in (1..).zip(model.values_mut()) {
        let noise = |t: u64| t.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_mul(i) >> 2;
        *samples = (0..200).map(|t| (NOW + t * 15_000, noise(t as u64))).collect();
    }
    let dir = write(&shared, &model, 2 * HOUR).unwrap();
    let path = dir.join("chunks");
    let mut bytes = disk.file_bytes(&path).unwrap();
    bytes[20_000] ^= 1;
    disk.set_file_bytes(&path, bytes).unwrap();
    let block = Arc::new(Block::open(&disk, &dir).unwrap());
    let selection = block.select(&[], TimeRange::ALL, &none).unwrap();
    let mut lost = 0;
    for (i, samples) in model.values().enumerate() {
        let mut out = Samples::default();
        let mut is_damaged = false;
        selection.read(i, TimeRange::ALL, &mut out, &mut |_| is_damaged = true).unwrap();
        assert!(is_damaged || pairs(&out) == *samples);
        lost += usize::from(is_damaged);
    }
    assert!((1..10).contains(&lost), "{lost} of 40 series touch the damaged unit");
}

/// Each call in turn fails, or is the last before the power goes: the block is there whole or not
/// at all.
#[test]
fn a_write_that_fails_leaves_no_half_block() {
    let model = small_model();
    let count = {
        let disk = SimulatedDisk::new(1);
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        write(&shared, &model, 2 * HOUR).unwrap();
        disk.calls()
    };
    for n in 1..count + 2 {
        let disk = SimulatedDisk::new(n);
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        // The directory stands already, as it does in a database.
        disk.create_dir_all(Path::new(DIR)).unwrap();
        for dir in Path::new(DIR).ancestors() {
            disk.sync_dir(dir).unwrap();
        }
        disk.fail_nth(n, Fault::Once);
        let written = write(&shared, &model, 2 * HOUR);
        disk.heal();
        let survivor = disk.crash(Crash::ALL[n as usize % Crash::ALL.len()]);
        let entries = survivor.read_dir(Path::new(DIR)).unwrap_or_default();
        let names: Vec<_> =
            entries.into_iter().filter(|e| !e.name.ends_with(super::TEMPORARY)).collect();
        assert!(names.len() <= 1);
        assert!(!names.is_empty() || written.is_err(), "call {n}");
        for entry in names {
            assert_eq!(read_all(&survivor, &Path::new(DIR).join(entry.name)).unwrap(), model);
        }
    }
}
