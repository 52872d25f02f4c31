//! Logs as Prometheus writes them, from samples.

use std::path::{Path, PathBuf};

use crate::disk::Disk;
use crate::encoding::varint::{write_str, write_uvarint, write_varint};
use crate::model::{Labels, TimeRange};
use crate::prometheus::castagnoli::crc32c;
use crate::prometheus::chunk::encode_floats;

const PAGE: usize = 32 << 10;

/// A sample of the log: number of the series, time, value.
pub(super) type Sample = (u64, i64, f64);

/// A record with series.
pub(super) fn series(list: &[(u64, Labels)]) -> Vec<u8> {
    let mut record = vec![1];
    for (number, labels) in list {
        record.extend_from_slice(&number.to_be_bytes());
        write_uvarint(&mut record, labels.len() as u64);
        for (name, value) in labels {
            write_str(&mut record, name);
            write_str(&mut record, value);
        }
    }
    record
}

/// A record with samples.
pub(super) fn samples(list: &[Sample]) -> Vec<u8> {
    let (first, t_ms, _) = list[0];
    let mut record = vec![2];
    record.extend_from_slice(&first.to_be_bytes());
    record.extend_from_slice(&t_ms.to_be_bytes());
    for &(number, t, value) in list {
        write_varint(&mut record, number as i64 - first as i64);
        write_varint(&mut record, t - t_ms);
        record.extend_from_slice(&value.to_be_bytes());
    }
    record
}

/// A record that deletes.
pub(super) fn tombstone(number: u64, range: TimeRange) -> Vec<u8> {
    let mut record = vec![3];
    record.extend_from_slice(&number.to_be_bytes());
    write_varint(&mut record, range.min_ms);
    write_varint(&mut record, range.max_ms);
    record
}

/// A record with an exemplar that has one label.
pub(super) fn exemplar(number: u64, t_ms: i64, value: f64, trace: &str) -> Vec<u8> {
    let mut record = vec![4];
    record.extend_from_slice(&number.to_be_bytes());
    record.extend_from_slice(&t_ms.to_be_bytes());
    record.extend_from_slice(&[0, 0]);
    record.extend_from_slice(&value.to_be_bytes());
    record.push(1);
    write_str(&mut record, "trace_id");
    write_str(&mut record, trace);
    record
}

/// A segment of these records.
pub(super) fn segment(records: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    for record in records {
        assert!(record.len() < PAGE / 2, "one fragment is enough for a test");
        if PAGE - out.len() % PAGE < record.len() + 7 {
            out.resize(out.len().next_multiple_of(PAGE), 0);
        }
        out.push(1);
        out.extend_from_slice(&(record.len() as u16).to_be_bytes());
        out.extend_from_slice(&crc32c(record).to_be_bytes());
        out.extend_from_slice(record);
    }
    out
}

/// A file of head chunks: series, whether it is late, times and values.
pub(super) fn head_chunks(chunks: &[(u64, bool, Vec<i64>, Vec<f64>)]) -> Vec<u8> {
    let mut out = vec![0x01, 0x30, 0xbc, 0x91, 1, 0, 0, 0];
    for (number, is_late, times, values) in chunks {
        let start = out.len();
        out.extend_from_slice(&number.to_be_bytes());
        out.extend_from_slice(&times[0].to_be_bytes());
        out.extend_from_slice(&times[times.len() - 1].to_be_bytes());
        out.push(if *is_late { 0x81 } else { 1 });
        let mut payload = Vec::new();
        encode_floats(times, values, &mut payload);
        write_uvarint(&mut out, payload.len() as u64);
        out.extend_from_slice(&payload);
        let crc = crc32c(&out[start..]);
        out.extend_from_slice(&crc.to_be_bytes());
    }
    out
}

/// Writes a file, in the place of one that is there.
pub(super) fn write(disk: &dyn Disk, path: &str, bytes: &[u8]) -> PathBuf {
    let path = Path::new("/data").join(path);
    disk.create_dir_all(path.parent().expect("a directory")).unwrap();
    if disk.exists(&path) {
        disk.remove_file(&path).unwrap();
    }
    let mut file = disk.create(&path).unwrap();
    file.append(bytes).unwrap();
    file.sync().unwrap();
    disk.sync_dir(path.parent().expect("a directory")).unwrap();
    path
}
