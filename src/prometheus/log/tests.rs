//! Logs read back; damage costs the records that it touches and no other.

use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::super::castagnoli::crc32c;
use super::super::chunk::{Encoding, encode_floats};
use super::*;
use crate::disk::{Disk as _, SimulatedDisk};
use crate::encoding::varint::{write_uvarint, write_varint};
use crate::model::histogram::CUSTOM_BUCKETS_SCHEMA;
use crate::model::{Histogram, Labels, ResetHint, Span, TimeRange};

const PAGE: usize = 32 << 10;

/// A segment with these records, as Prometheus lays it out. `compression` is the bits of the
/// fragments' first byte; the records are compressed already.
fn segment(records: &[Vec<u8>], compression: u8) -> Vec<u8> {
    let mut out = Vec::new();
    for record in records {
        let mut rest = record.as_slice();
        let mut is_first = true;
        loop {
            let free = PAGE - out.len() % PAGE;
            if free < 8 {
                out.resize(out.len() + free, 0);
                continue;
            }
            let (part, tail) = rest.split_at(rest.len().min(free - 7));
            let kind = match (is_first, tail.is_empty()) {
                (true, true) => 1,
                (true, false) => 2,
                (false, false) => 3,
                (false, true) => 4,
            };
            out.push(kind | compression);
            out.extend_from_slice(&(part.len() as u16).to_be_bytes());
            out.extend_from_slice(&crc32c(part).to_be_bytes());
            out.extend_from_slice(part);
            (rest, is_first) = (tail, false);
            if rest.is_empty() {
                break;
            }
        }
    }
    out
}

fn write(disk: &SimulatedDisk, path: &str, bytes: &[u8]) -> PathBuf {
    let path = PathBuf::from(path);
    disk.create_dir_all(path.parent().unwrap()).unwrap();
    disk.create(&path).unwrap().append(bytes).unwrap();
    path
}

/// Records and damaged places of a segment.
fn read(bytes: &[u8]) -> (Vec<Vec<u8>>, Vec<String>) {
    let disk = SimulatedDisk::new(1);
    let path = write(&disk, "/wal/00000000", bytes);
    let mut reader = SegmentReader::open(&disk, &path, 0).unwrap();
    let (mut records, mut damages) = (Vec::new(), Vec::new());
    loop {
        match reader.advance().unwrap() {
            Item::Record => records.push(reader.record().to_vec()),
            Item::Damage(error) => damages.push(error.to_string()),
            Item::End => return (records, damages),
        }
    }
}

fn numbered(count: usize, len: usize) -> Vec<Vec<u8>> {
    (0..count).map(|i| (0..len + i * 37).map(|j| (i * 31 + j * 7) as u8).collect()).collect()
}

#[test]
fn records_come_back_whatever_their_length() {
    let mut records = numbered(20, 5_000);
    records.push(numbered(1, 200_000).remove(0));
    records.push(vec![9]);
    let mut bytes = segment(&records, 0);
    assert_eq!(read(&bytes), (records.clone(), Vec::new()));
    bytes.resize(bytes.len().next_multiple_of(PAGE), 0);
    assert_eq!(read(&bytes), (records, Vec::new()));
    assert_eq!(read(&[]), (Vec::new(), Vec::new()));
}

#[test]
fn reading_goes_on_where_it_ended() {
    let disk = SimulatedDisk::new(1);
    let records = numbered(20, 5_000);
    let path = write(&disk, "/wal/00000003", &segment(&records[..9], 0));
    let mut reader = SegmentReader::open(&disk, &path, 0).unwrap();
    while matches!(reader.advance().unwrap(), Item::Record) {}
    let offset = reader.offset();
    disk.remove_file(&path).unwrap();
    write(&disk, "/wal/00000003", &segment(&records, 0));
    let mut reader = SegmentReader::open(&disk, &path, offset).unwrap();
    for record in &records[9..] {
        assert!(matches!(reader.advance().unwrap(), Item::Record));
        assert_eq!(reader.record(), record);
    }
    assert!(matches!(reader.advance().unwrap(), Item::End));
}

#[test]
fn compressed_records_come_back() {
    let records = numbered(4, 3_000);
    let snappy = |r: &Vec<u8>| snap::raw::Encoder::new().compress_vec(r).unwrap();
    let bytes = segment(&records.iter().map(snappy).collect::<Vec<_>>(), 0b1000);
    assert_eq!(read(&bytes), (records.clone(), Vec::new()));
    // A zstd frame of one segment: 16 bits of content size less 256, one raw block.
    let zstd = |r: &Vec<u8>| {
        let mut out = vec![0x28, 0xb5, 0x2f, 0xfd, 0x60];
        out.extend_from_slice(&(r.len() as u16 - 256).to_le_bytes());
        out.extend_from_slice(&((r.len() as u32) << 3 | 1).to_le_bytes()[..3]);
        out.extend_from_slice(r);
        out
    };
    let bytes = segment(&records.iter().map(zstd).collect::<Vec<_>>(), 0b1_0000);
    assert_eq!(read(&bytes), (records.clone(), Vec::new()));
    // Neither is what it says.
    for compression in [0b1000, 0b1_0000] {
        let (found, damages) = read(&segment(&records, compression));
        assert_eq!((found.len(), damages.len()), (0, 4));
    }
    let mut claims = Vec::new();
    write_uvarint(&mut claims, u64::from(u32::MAX));
    let (found, damages) = read(&segment(&[claims], 0b1000));
    assert!(found.is_empty() && damages[0].contains("more bytes than it can hold"));
}

#[test]
fn damage_costs_its_page_and_is_told() {
    let records = numbered(40, 5_000);
    let clean = segment(&records, 0);
    for at in (0..clean.len()).step_by(1999) {
        let mut bytes = clean.clone();
        bytes[at] ^= 0x40;
        let (found, damages) = read(&bytes);
        // Two bits of a fragment's first byte mean nothing.
        assert!(!damages.is_empty() || found == records, "byte {at}");
        assert!(found.iter().all(|record| records.contains(record)), "byte {at}");
        // A page holds six records, and two more reach into it.
        assert!(found.len() >= records.len() - 8, "byte {at}: {}", found.len());
        let (found, damages) = read(&clean[..at]);
        assert!(found.iter().zip(&records).all(|(a, b)| a == b));
        assert!(damages.len() <= 1);
    }
}

fn entries(record: &[u8]) -> Vec<Entry> {
    let mut entries = Vec::new();
    read_record(record, &mut |entry| entries.push(entry)).unwrap();
    entries
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.push(text.len() as u8);
    out.extend_from_slice(text.as_bytes());
}

#[test]
fn series_samples_and_deletions() {
    let mut record = vec![1, 0, 0, 0, 0, 0, 0, 0, 7, 2];
    for t in ["__name__", "up", "job", "x"] {
        text(&mut record, t);
    }
    let labels = Labels::from_pairs([("__name__", "up"), ("job", "x")]);
    assert_eq!(entries(&record), [Entry::Series { series: 7, labels }]);

    let mut record = vec![2];
    record.extend_from_slice(&7_u64.to_be_bytes());
    record.extend_from_slice(&1_000_i64.to_be_bytes());
    for (series, t_ms, value) in [(0, 0, 1.5_f64), (-2, 15_000, -0.0)] {
        write_varint(&mut record, series);
        write_varint(&mut record, t_ms);
        record.extend_from_slice(&value.to_be_bytes());
    }
    let float = |series, t_ms, start_ms, value| Entry::Float { series, t_ms, start_ms, value };
    assert_eq!(entries(&record), [float(7, 1_000, 0, 1.5), float(5, 16_000, 0, -0.0)]);
    assert_eq!(entries(&record[..1]), []);
    let cut = read_record(&record[..record.len() - 1], &mut |_| {}).unwrap_err();
    assert_eq!(cut.kind, 2);

    let mut record = vec![3, 0, 0, 0, 0, 0, 0, 0, 7];
    write_varint(&mut record, -5);
    write_varint(&mut record, 9);
    let range = TimeRange { min_ms: -5, max_ms: 9 };
    assert_eq!(entries(&record), [Entry::Tombstone { series: 7, range }]);

    // Start timestamps: given, none, the same as before, another.
    let mut record = vec![11];
    for number in [7, 1_000, 400] {
        write_varint(&mut record, number);
    }
    record.extend_from_slice(&1.0_f64.to_be_bytes());
    for (series, t_ms, start) in [(1, 1, &[2, 2][..]), (1, 2, &[1]), (1, 3, &[0])] {
        write_varint(&mut record, series);
        write_varint(&mut record, t_ms);
        record.extend_from_slice(start);
        record.extend_from_slice(&2.0_f64.to_be_bytes());
    }
    let expected = [
        float(7, 1_000, 400, 1.0),
        float(8, 1_001, 401, 2.0),
        float(9, 1_002, 401, 2.0),
        float(10, 1_003, 0, 2.0),
    ];
    assert_eq!(entries(&record), expected);
}

#[test]
fn exemplars_metadata_markers() {
    let mut record = vec![4];
    record.extend_from_slice(&[0; 16]);
    record.extend_from_slice(&[6, 8]);
    record.extend_from_slice(&2.5_f64.to_be_bytes());
    record.push(1);
    for t in ["trace", "a"] {
        text(&mut record, t);
    }
    let labels = Labels::from_pairs([("trace", "a")]);
    assert_eq!(entries(&record), [Entry::Exemplar { series: 3, t_ms: 4, value: 2.5, labels }]);

    let mut record = vec![6, 3, 1, 3];
    for t in ["UNIT", "s", "NEW", "?", "HELP", "what"] {
        text(&mut record, t);
    }
    let (unit, help) = ("s".to_owned(), "what".to_owned());
    assert_eq!(entries(&record), [Entry::Metadata { series: 3, kind: 1, unit, help }]);

    let record = [&[5][..], &3_u64.to_be_bytes(), &9_u64.to_be_bytes()].concat();
    assert_eq!(entries(&record), [Entry::Mapped { series: 3, chunk: 9 }]);
    assert_eq!(entries(&[200, 1, 2, 3]), []);
    assert_eq!(entries(&[]), []);
}

/// A record with one histogram that has two positive buckets.
fn histogram_record(kind: u8, schema: i64) -> Vec<u8> {
    let is_float = matches!(kind, 8 | 10 | 13);
    let mut record = vec![kind];
    if kind < 11 {
        record.extend_from_slice(&7_u64.to_be_bytes());
        record.extend_from_slice(&1_000_i64.to_be_bytes());
        record.extend_from_slice(&[0, 0]);
    } else {
        for number in [7, 1_000, 500] {
            write_varint(&mut record, number);
        }
    }
    record.push(2);
    write_varint(&mut record, schema);
    record.extend_from_slice(&0.25_f64.to_be_bytes());
    if is_float {
        for count in [1.0_f64, 6.0] {
            record.extend_from_slice(&count.to_be_bytes());
        }
    } else {
        record.extend_from_slice(&[1, 6]);
    }
    record.extend_from_slice(&12.5_f64.to_be_bytes());
    record.extend_from_slice(&[1, 4, 2, 0, 2]);
    if is_float {
        for count in [2.0_f64, 3.0] {
            record.extend_from_slice(&count.to_be_bytes());
        }
    } else {
        record.extend_from_slice(&[4, 2]);
    }
    record.push(0);
    if schema == i64::from(CUSTOM_BUCKETS_SCHEMA) {
        record.push(1);
        record.extend_from_slice(&0.5_f64.to_be_bytes());
    }
    record
}

#[test]
fn histograms_of_every_kind() {
    for (kind, schema, start) in
        [(7, 3, 0), (8, 3, 0), (9, -53, 0), (10, -53, 0), (12, 1, 500), (13, 1, 500)]
    {
        let found = entries(&histogram_record(kind, schema));
        let [Entry::Histogram { series: 7, t_ms: 1_000, start_ms, histogram }] = &found[..] else {
            panic!("{kind}: {found:?}")
        };
        assert_eq!(*start_ms, start);
        assert_eq!(matches!(**histogram, Histogram::Float(_)), matches!(kind, 8 | 10 | 13));
        let float = histogram.to_float();
        assert_eq!(float.positive_spans, [Span { offset: 2, length: 2 }]);
        assert_eq!(float.positive_buckets, [2.0, 3.0]);
        assert_eq!((float.count, float.zero_count, float.sum), (6.0, 1.0, 12.5));
        assert_eq!(float.reset_hint, ResetHint::NotReset);
        assert_eq!(float.custom_bounds.len(), usize::from(schema == -53));
    }
    let unknown = Entry::UnknownHistogram { schema: 60 };
    assert_eq!(entries(&histogram_record(7, 60)), [unknown]);
}

#[test]
fn head_chunks_end_with_zeros() {
    let mut payload = Vec::new();
    encode_floats(&[1_000, 2_000], &[1.0, 2.0], &mut payload);
    let mut bytes = vec![0x01, 0x30, 0xbc, 0x91, 1, 0, 0, 0];
    for encoding in [1, 0x81] {
        let start = bytes.len();
        for n in [7_u64, 1_000, 2_000] {
            bytes.extend_from_slice(&n.to_be_bytes());
        }
        bytes.push(encoding);
        bytes.push(payload.len() as u8);
        bytes.extend_from_slice(&payload);
        let crc = crc32c(&bytes[start..]);
        bytes.extend_from_slice(&crc.to_be_bytes());
    }
    let end = bytes.len();
    bytes.resize(end + 100, 0);
    let count = |bytes: &[u8]| {
        let disk = SimulatedDisk::new(1);
        let path = write(&disk, "/chunks_head/000001", bytes);
        let mut late = Vec::new();
        let read = read_head_chunks(&disk, &path, &mut |chunk| {
            assert_eq!((chunk.series, chunk.encoding), (7, Some(Encoding::Xor)));
            assert_eq!(chunk.payload, payload);
            late.push(chunk.is_late);
            Ok(())
        });
        (late, read.is_ok())
    };
    assert_eq!(count(&bytes), (vec![false, true], true));
    assert_eq!(count(&[]), (vec![], true));
    let mut damaged = bytes.clone();
    damaged[end - 1] ^= 1;
    assert_eq!(count(&damaged), (vec![false], false));
    assert_eq!(count(&bytes[..end - 3]), (vec![false], false));
}

#[test]
fn the_newest_checkpoint_counts() {
    let disk = SimulatedDisk::new(1);
    for name in [
        "wal/00000004",
        "wal/00000005",
        "wal/00000007",
        "wal/checkpoint.00000004/00000000",
        "wal/checkpoint.00000002/00000000",
        "wal/checkpoint.00000009.tmp/00000000",
        "wal/x",
    ] {
        write(&disk, &format!("/{name}"), &[]);
    }
    let log = LogDirectory::open(&disk, Path::new("/wal")).unwrap();
    let numbers = |list: &[(u64, PathBuf)]| list.iter().map(|entry| entry.0).collect::<Vec<_>>();
    assert_eq!(numbers(&log.segments), [5, 7]);
    let (covered, segments) = log.checkpoint.expect("there are two");
    assert_eq!((covered, numbers(&segments)), (4, vec![0]));
    assert_eq!(LogDirectory::open(&disk, Path::new("/none")).unwrap(), LogDirectory::default());
}

proptest! {
    #[test]
    fn wild_records_do_not_panic(kind in 0_u8..15, body: Vec<u8>) {
        let record = [&[kind][..], &body].concat();
        let _ = read_record(&record, &mut |_| {});
    }
}
