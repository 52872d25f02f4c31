//! Checkpoints: whole, or the one before.

use super::*;
use crate::disk::{Crash, Disk, Fault};

const CHECKPOINTS: &str = "/data/checkpoint";

fn at(sequence: u64) -> Position {
    Position { sequence, segment: sequence / 10, offset: 72 }
}

fn write(
    disk: &SimulatedDisk,
    position: Position,
    records: &[Record],
) -> Result<Position, StorageError> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let mut writer = CheckpointWriter::create(disk, Path::new(CHECKPOINTS), position)?;
    for (kind, payload) in records {
        writer.append(*kind, payload)?;
    }
    Ok(writer.commit()?.0)
}

fn read(disk: &SimulatedDisk) -> (Option<(Position, Vec<Record>)>, Vec<Damage>) {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let (reader, damages) = read_newest(&disk, Path::new(CHECKPOINTS)).unwrap();
    let Some(mut reader) = reader else { return (None, damages) };
    let mut records = Vec::new();
    while let Some((kind, payload)) = reader.next_record().unwrap() {
        records.push((kind, payload.to_vec()));
    }
    (Some((reader.position(), records)), damages)
}

fn bodies(n: u64) -> Vec<Record> {
    (0..n).map(record).collect()
}

#[test]
fn the_newest_is_read_and_two_are_kept() {
    let disk = SimulatedDisk::new(1);
    assert_eq!(read(&disk), (None, Vec::new()));
    let mut long = bodies(3);
    long.push((5, vec![1; 3 << 20]));
    assert_eq!(write(&disk, at(10), &long).unwrap(), Position::START);
    assert_eq!(read(&disk.fork(1).crash(Crash::Strict)).0, Some((at(10), long)));
    assert_eq!(write(&disk, at(20), &bodies(5)).unwrap(), at(10));
    assert_eq!(write(&disk, at(30), &[]).unwrap(), at(20));
    assert_eq!(disk.read_dir(Path::new(CHECKPOINTS)).unwrap().len(), 2);
    assert_eq!(read(&disk), (Some((at(30), Vec::new())), Vec::new()));
}

#[test]
fn any_damaged_byte_or_length_falls_back_to_the_one_before() {
    let disk = SimulatedDisk::new(1);
    write(&disk, at(10), &bodies(4)).unwrap();
    write(&disk, at(20), &bodies(6)).unwrap();
    let path = Path::new(CHECKPOINTS).join("00000002.ckpt");
    let good = disk.file_bytes(&path).unwrap();
    let check = |bytes: Vec<u8>| {
        disk.set_file_bytes(&path, bytes).unwrap();
        let (found, damages) = read(&disk);
        assert_eq!(found, Some((at(10), bodies(4))));
        assert_eq!((damages.len(), &damages[0].path), (1, &path));
    };
    for i in 0..good.len() {
        let mut bytes = good.clone();
        bytes[i] ^= 0x21;
        check(bytes);
        check(good[..i].to_vec());
    }
    check([&good[..], b"x"].concat());
    disk.set_file_bytes(&path, good).unwrap();
    assert_eq!(read(&disk).0, Some((at(20), bodies(6))));
}

#[test]
fn a_newer_format_is_told() {
    let disk = SimulatedDisk::new(1);
    write(&disk, at(10), &bodies(1)).unwrap();
    let path = Path::new(CHECKPOINTS).join("00000001.ckpt");
    let mut bytes = disk.file_bytes(&path).unwrap();
    bytes[8] = 2;
    let crc = crc32fast::hash(&bytes[..40]);
    bytes[40..44].copy_from_slice(&crc.to_le_bytes());
    disk.set_file_bytes(&path, bytes).unwrap();
    let disk: Arc<dyn Disk> = Arc::new(disk);
    let error = read_newest(&disk, Path::new(CHECKPOINTS)).unwrap_err();
    assert!(matches!(error, StorageError::TooNew { found: 2, .. }));
}

/// Every call fails in turn, then power fails: the old checkpoint or the new one, never none.
#[test]
fn any_call_may_fail() {
    let before = SimulatedDisk::new(1);
    write(&before, at(10), &bodies(4)).unwrap();
    write(&before, at(20), &bodies(5)).unwrap();
    let calls = {
        let disk = before.fork(1);
        let already = disk.calls();
        write(&disk, at(30), &bodies(6)).unwrap();
        disk.calls() - already
    };
    assert!(calls > 10);
    for n in 1..=calls {
        for fault in [Fault::Once, Fault::Lasting] {
            for mode in Crash::ALL {
                let disk = before.fork(n);
                disk.fail_nth(n, fault);
                let written = write(&disk, at(30), &bodies(6));
                let disk = disk.crash(mode);
                let (found, damages) = read(&disk);
                let new = (at(30), bodies(6));
                let old = (at(20), bodies(5));
                assert!(damages.is_empty(), "{damages:?}");
                assert!(found == Some(new) || written.is_err() && found == Some(old));
                assert_eq!(write(&disk, at(40), &bodies(2)).unwrap().sequence % 10, 0);
                assert_eq!(read(&disk).0, Some((at(40), bodies(2))));
            }
        }
    }
}
