//! Tests of head files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::*;
use crate::disk::{Disk, SimulatedDisk, StorageError};
use crate::model::Samples;

/// Floats at times that do not matter.
fn floats(values: &[f64]) -> Samples {
    let mut samples = Samples::default();
    (0..).zip(values).for_each(|(t_ms, value)| samples.push(t_ms, *value));
    samples
}

fn at_times(samples: &[(i64, u64)]) -> Samples {
    let mut all = Samples::default();
    for sample in samples {
        all.push(sample.0, f64::from_bits(sample.1));
    }
    all
}

fn write(disk: &SimulatedDisk) -> PathBuf {
    let dir = Path::new("/head");
    disk.create_dir_all(dir).unwrap();
    let mut writer = HeadFileWriter::create(Arc::new(disk.clone()), dir, 7).unwrap();
    let mut tile = TileBuilder::new();
    let times: Vec<i64> = (0..200).map(|i| 1000 + i * 15).collect();
    let rows: Vec<u32> = (0..200).collect();
    let values: Vec<f64> = (0..200).map(|i| f64::from(i) / 4.0).collect();
    tile.add_rows(9, &times, &rows, &floats(&values));
    tile.add_rows(4, &times, &rows[50..100], &floats(&values[..50]));
    let few = |values: [f64; 3]| {
        let mut samples = floats(&values);
        samples.timestamps = [1, 3, 4].map(|row: usize| times[row]).to_vec();
        samples
    };
    tile.add_rows(5, &times, &[1, 3, 4], &few([1.0, 2.0, 3.0]));
    tile.add_rows(6, &times, &[1, 3, 4], &few([4.0, 5.0, 6.0]));
    tile.add_loose(9, &at_times(&[(5, 6), (7, 8)]));
    writer.add(tile, 3, 11, 200).unwrap();
    let mut tile = TileBuilder::new();
    tile.add_loose(1, &at_times(&[(1, 2)]));
    writer.add(tile, 8, 12, 1).unwrap();
    writer.finish().unwrap().path.clone()
}

fn read(file: &HeadFile, tile: u32, series: u32) -> Result<Vec<(i64, u64)>, StorageError> {
    let mut found = Vec::new();
    for n in file.find(tile, series) {
        let entry = file.entry(tile, n);
        let (mut times, mut samples) = (Vec::new(), Samples::default());
        file.read_column(tile, entry.column, &mut times)?;
        let count = entry.count as usize;
        let times = &times[entry.start as usize..][..count];
        file.read_samples(tile, &entry, times, 0..count, &mut samples)?;
        let values = samples.values.iter().map(|value| value.to_bits());
        found.extend(samples.timestamps.iter().copied().zip(values));
    }
    Ok(found)
}

fn read_all(disk: &SimulatedDisk, path: &Path) -> Result<Vec<Vec<(i64, u64)>>, StorageError> {
    let file = HeadFile::open(disk, path, 7)?;
    let series = [(0, 4), (0, 5), (0, 6), (0, 9), (0, 10), (1, 1)];
    series.iter().map(|&(tile, series)| read(&file, tile, series)).collect()
}

#[test]
fn chunks_are_found_by_series_and_columns_shared() {
    let disk = SimulatedDisk::new(1);
    let path = write(&disk);
    let file = HeadFile::open(&disk, &path, 7).unwrap();
    let meta = file.tile(0);
    assert_eq!((meta.group, meta.record, meta.next_row), (3, 11, 200));
    assert_eq!((meta.entries, meta.columns), (5, 3));
    assert_eq!((meta.min_ms, meta.max_ms), (5, 1000 + 199 * 15));
    assert_eq!(file.series_max(), Some(9));
    let all = read_all(&disk, &path).unwrap();
    assert_eq!(all[0][0], (1750, 0));
    assert_eq!(all[1], [(1015, 1.0), (1045, 2.0), (1060, 3.0)].map(|(t, v)| (t, f64::to_bits(v))));
    assert_eq!((all[3].len(), all[4].len()), (202, 0));
    assert_eq!(all[5], [(1, 2)]);
}

#[test]
fn no_flipped_bit_and_no_cut_goes_unseen() {
    let disk = SimulatedDisk::new(1);
    let path = write(&disk);
    let good = disk.file_bytes(&path).unwrap();
    for at in 0..good.len() {
        let mut bytes = good.clone();
        bytes[at] ^= 1 << (at % 8);
        disk.set_file_bytes(&path, bytes).unwrap();
        let read = read_all(&disk, &path);
        // A version that rotted must not pass for a newer one, with which nothing starts.
        let is_told = matches!(read, Err(StorageError::Corrupt { .. }));
        assert!(is_told, "byte {at} of {}: {read:?}", good.len());
        disk.set_file_bytes(&path, good[..at].to_vec()).unwrap();
        assert!(HeadFile::open(&disk, &path, 7).is_err(), "cut at {at}");
    }
}

#[test]
fn a_newer_version_is_told_by_its_number() {
    let disk = SimulatedDisk::new(1);
    let path = write(&disk);
    let mut bytes = disk.file_bytes(&path).unwrap();
    bytes[8] = 2;
    bytes.extend_from_slice(b"HEN2");
    disk.set_file_bytes(&path, bytes).unwrap();
    let opened = HeadFile::open(&disk, &path, 7);
    assert!(matches!(opened, Err(StorageError::TooNew { found: 2, .. })), "{opened:?}");
}

#[test]
fn long_series_are_cut_into_chunks() {
    let disk = SimulatedDisk::new(2);
    let dir = Path::new("/head");
    disk.create_dir_all(dir).unwrap();
    let mut writer = HeadFileWriter::create(Arc::new(disk.clone()), dir, 1).unwrap();
    let times: Vec<i64> = (0..10_000).collect();
    let rows: Vec<u32> = (0..10_000).filter(|row| row % 5000 != 17).collect();
    let values: Vec<f64> = rows.iter().map(|&row| f64::from(row)).collect();
    let mut tile = TileBuilder::new();
    let at_rows = rows.iter().map(|row| times[*row as usize]).collect();
    let samples = Samples { timestamps: at_rows, ..floats(&values) };
    tile.add_rows(1, &times, &rows, &samples);
    writer.add(tile, 0, 1, 10_000).unwrap();
    let file = writer.finish().unwrap();
    assert_eq!(file.find(0, 1).len(), 3);
    let found = read(&file, 0, 1).unwrap();
    let expected: Vec<_> = rows.iter().map(|&r| (i64::from(r), f64::from(r).to_bits())).collect();
    assert_eq!(found, expected);
}
