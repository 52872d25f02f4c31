//! Indexes read back, and wild bytes give errors or sound answers.

use std::path::Path;

use proptest::prelude::*;
use roaring::RoaringBitmap;

use super::super::castagnoli::crc32c;
use super::super::file::GrowingFile;
use super::*;
use crate::disk::{Disk as _, SimulatedDisk};
use crate::index::{LabelIndex as _, Visit};
use crate::model::{Labels, TimeRange};

const PATH: &str = "/index";

fn row(reference: u64, min_ms: i64, max_ms: i64) -> ChunkRow {
    ChunkRow { reference, range: TimeRange { min_ms, max_ms } }
}

/// A hundred series with values enough for several remembered entries.
fn series() -> Vec<(Labels, Vec<ChunkRow>)> {
    let mut series: Vec<(Labels, Vec<ChunkRow>)> = (0..100_u64)
        .map(|i| {
            let pod = format!("pod-{i}");
            let pairs = [("__name__", "up"), ("pod", &pod), ("zone", ["a", "b"][i as usize % 2])];
            (Labels::from_pairs(pairs), Vec::new())
        })
        .collect();
    series.push((Labels::from_pairs([("only", "λ")]), Vec::new()));
    series.sort_by(|a, b| a.0.cmp(&b.0));
    for (i, (_, chunks)) in (0_u64..).zip(&mut series) {
        let at = 8 + 100 * i;
        *chunks = vec![row(at, -5, 10), row(at + 50, 11, 11), row(1 << 32 | at, 20, 1 << 50)];
    }
    series
}

fn written(disk: &SimulatedDisk, series: &[(Labels, Vec<ChunkRow>)]) -> IndexFile {
    let mut writer = IndexWriter::new();
    for (labels, chunks) in series {
        writer.add(labels, chunks);
    }
    writer.finish(disk, Path::new(PATH)).unwrap();
    IndexFile::open(disk, Path::new(PATH)).unwrap()
}

#[test]
fn everything_reads_back() {
    let disk = SimulatedDisk::new(1);
    let series = series();
    let index = written(&disk, &series);
    let view = index.view();
    let all: Vec<u32> = view.all().iter().collect();
    assert_eq!(all.len(), series.len());
    let mut rows = index.rows();
    for (&number, (labels, chunks)) in all.iter().zip(&series) {
        rows.read(number).unwrap();
        assert_eq!((&rows.labels().unwrap(), rows.chunks()), (labels, chunks.as_slice()));
    }
    for i in 0..100 {
        let pod = format!("pod-{i}");
        assert_eq!(view.postings("pod", &pod).len(), 1, "{pod}");
    }
    assert_eq!(view.postings("zone", "b").len(), 50);
    assert_eq!(view.postings_len("zone", "b"), 50);
    for (name, value) in [("pod", "pod-100"), ("pod", ""), ("pod", "z"), ("nil", "x")] {
        assert_eq!(view.postings(name, value), RoaringBitmap::new());
    }
    let mut found = Vec::new();
    view.visit_values("pod", "pod-9", &mut |value| {
        assert_eq!(view.postings("pod", value).len(), 1);
        found.push(value.to_owned());
        Visit::Next
    });
    assert_eq!((found.len(), found[0].as_str()), (11, "pod-9"));
    let mut names = Vec::new();
    view.visit_names(&mut |name| names.push(name.to_owned()));
    assert_eq!(names, ["__name__", "only", "pod", "zone"]);
    view.finish().unwrap();
}

#[test]
fn an_empty_index_has_the_sections_of_prometheus() {
    let disk = SimulatedDisk::new(1);
    let index = written(&disk, &[]);
    assert!(index.view().all().is_empty());
    let bytes = disk.map(Path::new(PATH)).unwrap().bytes().to_vec();
    assert_eq!(bytes[..5], [0xba, 0xaa, 0xd7, 0, 2]);
    assert_eq!(bytes[5..13], [0, 0, 0, 4, 0, 0, 0, 0]);
}

/// The same index in version 1: symbols and series are known by their bytes.
#[test]
fn version_1_is_read() {
    let disk = SimulatedDisk::new(1);
    let mut bytes = vec![0xba, 0xaa, 0xd7, 0, 1];
    let section = |bytes: &mut Vec<u8>, content: &[u8]| {
        let at = bytes.len() as u64;
        bytes.extend_from_slice(&(content.len() as u32).to_be_bytes());
        bytes.extend_from_slice(content);
        bytes.extend_from_slice(&crc32c(content).to_be_bytes());
        at
    };
    let symbols = section(&mut bytes, b"\0\0\0\x03\x01a\x01b\x01c");
    // Symbols stand at bytes 13, 15 and 17.
    let series_at = bytes.len() as u64;
    for value in [15, 17] {
        let entry = [1, 13, value, 1, 20, 5, 8];
        bytes.push(entry.len() as u8);
        bytes.extend_from_slice(&entry);
        bytes.extend_from_slice(&crc32c(&entry).to_be_bytes());
    }
    let (first, second) = (series_at as u32, series_at as u32 + 12);
    let list = |numbers: &[u32]| {
        let count = (numbers.len() as u32).to_be_bytes();
        let numbers = numbers.iter().flat_map(|number| number.to_be_bytes());
        count.into_iter().chain(numbers).collect::<Vec<u8>>()
    };
    let all = section(&mut bytes, &list(&[first, second]));
    let b = section(&mut bytes, &list(&[first]));
    let c = section(&mut bytes, &list(&[second]));
    let mut table = vec![0, 0, 0, 3];
    for (name, value, at) in [("a", "c", c), ("", "", all), ("a", "b", b)] {
        table.push(2);
        for text in [name, value] {
            table.push(text.len() as u8);
            table.extend_from_slice(text.as_bytes());
        }
        assert!(at < 128);
        table.push(at as u8);
    }
    let table = section(&mut bytes, &table);
    let toc: Vec<u8> =
        [symbols, series_at, 0, 0, all, table].iter().flat_map(|at| at.to_be_bytes()).collect();
    bytes.extend_from_slice(&toc);
    bytes.extend_from_slice(&crc32c(&toc).to_be_bytes());
    let mut file = GrowingFile::create(&disk, Path::new(PATH)).unwrap();
    file.write(&bytes).unwrap();
    file.finish().unwrap();

    let index = IndexFile::open(&disk, Path::new(PATH)).unwrap();
    let view = index.view();
    assert_eq!(view.all().len(), 2);
    let numbers: Vec<u32> = view.postings("a", "c").iter().collect();
    view.finish().unwrap();
    let mut rows = index.rows();
    rows.read(numbers[0]).unwrap();
    assert_eq!(rows.labels().unwrap(), Labels::from_pairs([("a", "c")]));
    assert_eq!(rows.chunks(), [row(8, 10, 15)]);
}

/// Asks an index everything; errors are fine.
fn ask(disk: &SimulatedDisk) {
    let Ok(index) = IndexFile::open(disk, Path::new(PATH)) else { return };
    let view = index.view();
    let all = view.all();
    view.visit_names(&mut |name| {
        view.visit_values(name, "", &mut |value| {
            if view.postings(name, value).len() < 1000 { Visit::Next } else { Visit::Stop }
        });
    });
    let _ = view.finish();
    let mut rows = index.rows();
    for number in all.iter().take(200) {
        if rows.read(number).is_ok() {
            let _ = rows.labels();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]
    #[test]
    fn damage_ends_in_an_answer(at: prop::sample::Index, bit in 0_u8..8, cut: prop::sample::Index) {
        let disk = SimulatedDisk::new(1);
        written(&disk, &series()[..20]);
        let mut bytes = disk.map(Path::new(PATH)).unwrap().bytes().to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        for len in [bytes.len(), cut.index(bytes.len())] {
            let disk = SimulatedDisk::new(1);
            let mut file = disk.create(Path::new(PATH)).unwrap();
            file.append(&bytes[..len]).unwrap();
            ask(&disk);
        }
    }
}
