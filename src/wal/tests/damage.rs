//! Bytes that rot, files cut short, segments gone.

use proptest::prelude::*;

use super::*;
use crate::disk::Disk as _;

/// A closed log of several segments, its records, and for each record where its frame stands.
fn closed_log() -> (SimulatedDisk, Vec<Record>, Vec<(PathBuf, u64, u64)>) {
    let (disk, clock, log) = new_log(400, 1000);
    let mut all = Vec::new();
    let mut frames = Vec::new();
    let mut log = log;
    for i in 0..24 {
        let record = record(i);
        let position = append(&log, std::slice::from_ref(&record)).unwrap();
        let len = (frame::HEADER_LEN + record.1.len()) as u64;
        let path = segment::path_of(dir(), position.segment);
        frames.push((path, position.offset, position.offset + len));
        all.push(record);
        if i % 3 == 0 {
            log.sync().unwrap();
        }
        if i == 12 {
            log.close().unwrap();
            log = open(&disk, &clock, options(400, 1000)).unwrap();
        }
    }
    log.close().unwrap();
    assert!(log.segments().len() >= 4);
    (disk, all, frames)
}

#[test]
fn a_damaged_byte_costs_the_record_it_belongs_to() {
    let (disk, all, frames) = closed_log();
    for entry in segment_files(&disk) {
        let path = dir().join(&entry.name);
        let good = disk.file_bytes(&path).unwrap();
        for at in 0..good.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut bytes = good.clone();
                bytes[at] ^= flip;
                disk.set_file_bytes(&path, bytes).unwrap();
                let at = at as u64;
                let hit = frames
                    .iter()
                    .position(|(file, start, end)| *file == path && (*start..*end).contains(&at));
                let mut expected = all.clone();
                if let Some(hit) = hit {
                    expected.remove(hit);
                }
                let (found, damages) = replay(&disk);
                assert_eq!(found, expected, "{} byte {at} ^ {flip:#x}", entry.name);
                assert_eq!(
                    damages.iter().map(|d| d.records).sum::<u64>(),
                    u64::from(hit.is_some())
                );
                for damage in damages {
                    assert!(damage.path == path && damage.offset <= at, "{damage}");
                    assert!(at < damage.offset + damage.len, "{damage}");
                }
            }
        }
        disk.set_file_bytes(&path, good).unwrap();
    }
    assert_eq!(records(&disk), all);
}

#[test]
fn a_damaged_log_goes_on_and_keeps_what_is_left() {
    let (disk, all, frames) = closed_log();
    for (hit, (path, start, end)) in frames.iter().enumerate() {
        for at in [*start, (start + end) / 2, end - 1] {
            let disk = disk.fork(at);
            let mut bytes = disk.file_bytes(path).unwrap();
            bytes[at as usize] ^= 0x10;
            disk.set_file_bytes(path, bytes).unwrap();
            let log = open(&disk, &SimulatedClock::new(0), options(400, 1000)).unwrap();
            append(&log, &[record(99)]).unwrap();
            let mut expected = all.clone();
            expected.remove(hit);
            expected.push(record(99));
            let (found, damages) = replay(&disk);
            assert_eq!(found, expected);
            assert_eq!(damages.iter().map(|d| d.records).sum::<u64>(), 1, "still told");
        }
    }
}

#[test]
fn a_file_cut_short_keeps_what_stands_before_the_cut() {
    let (disk, all, frames) = closed_log();
    let names: Vec<_> = segment_files(&disk);
    for (i, entry) in names.iter().enumerate() {
        let path = dir().join(&entry.name);
        let is_newest = i + 1 == names.len();
        for len in 0..entry.len {
            let disk = disk.fork(len);
            let mut bytes = disk.file_bytes(&path).unwrap();
            bytes.truncate(len as usize);
            disk.set_file_bytes(&path, bytes).unwrap();
            let is_kept = |(file, _, end): &(PathBuf, u64, u64)| *file != path || *end <= len;
            let expected: Vec<Record> = all
                .iter()
                .zip(&frames)
                .filter(|(_, f)| is_kept(f))
                .map(|(r, _)| r.clone())
                .collect();
            let (found, damages) = replay(&disk);
            assert_eq!(found, expected, "{} cut at {len}", entry.name);
            let lost = (all.len() - expected.len()) as u64;
            let told: u64 = damages.iter().map(|damage| damage.records).sum();
            assert!(told == lost || is_newest && told <= lost, "{told} of {lost} told");
            let log = open(&disk, &SimulatedClock::new(0), options(400, 1000)).unwrap();
            append(&log, &[record(99)]).unwrap();
            let (found, _) = replay(&disk);
            assert_eq!(found, [expected, vec![record(99)]].concat());
        }
    }
}

#[test]
fn a_missing_segment_costs_its_own_records_and_is_told() {
    let (disk, all, frames) = closed_log();
    let names = segment_files(&disk);
    for entry in &names[..names.len() - 1] {
        let disk = disk.fork(1);
        let path = dir().join(&entry.name);
        disk.remove_file(&path).unwrap();
        let kept = frames.iter().filter(|(file, _, _)| *file != path).count();
        let (found, damages) = replay(&disk);
        assert_eq!(found.len(), kept);
        let lost = (all.len() - kept) as u64;
        assert_eq!(damages.iter().map(|d| d.records).sum::<u64>(), lost);
    }
}

#[test]
fn a_segment_without_header_is_read_with_the_salt_of_the_others() {
    let (disk, all, _) = closed_log();
    for entry in segment_files(&disk) {
        let disk = disk.fork(1);
        let path = dir().join(&entry.name);
        let mut bytes = disk.file_bytes(&path).unwrap();
        bytes[..segment::RECORDS_START as usize].fill(0xaa);
        disk.set_file_bytes(&path, bytes).unwrap();
        let (found, damages) = replay(&disk);
        assert_eq!(found, all, "{}", entry.name);
        assert!(damages.iter().any(|d| d.kind == DamageKind::NoHeader && d.path == path));
        let log = open(&disk, &SimulatedClock::new(0), options(400, 1000)).unwrap();
        append(&log, &[record(99)]).unwrap();
        assert_eq!(replay(&disk).0, [&all[..], &[record(99)]].concat());
    }
}

#[test]
fn a_torn_tail_is_cut_even_where_later_records_came_through() {
    let (disk, _, log) = new_log(1 << 20, 1000);
    append(&log, &[record(1)]).unwrap();
    log.sync().unwrap();
    let hole = append(&log, &[record(2)]).unwrap();
    append(&log, &[record(3)]).unwrap();
    let path = log.segments()[0].path.clone();
    let mut bytes = disk.file_bytes(&path).unwrap();
    bytes[hole.offset as usize + 20] ^= 1;
    disk.set_file_bytes(&path, bytes.clone()).unwrap();
    let (found, damages) = replay(&disk);
    assert_eq!(found, [record(1)]);
    assert_eq!((damages.len(), damages[0].kind), (1, DamageKind::TornTail));
    assert_eq!(damages[0].offset + damages[0].len, bytes.len() as u64);
    // The cut is for good: the numbers are used again, and the old records stay away.
    let log = open(&disk, &SimulatedClock::new(0), options(1 << 20, 1000)).unwrap();
    assert_eq!(log.stats().cut.map(|cut| (cut.path, cut.offset)), Some((path, hole.offset)));
    append(&log, &[record(4)]).unwrap();
    assert_eq!(records(&disk), [record(1), record(4)]);
}

/// A payload that contains whole frames must not give birth to records when its own header rots.
#[test]
fn frames_inside_a_payload_are_no_records() {
    let (disk, _, log) = new_log(1 << 20, 1000);
    let mut forged = Vec::new();
    for sequence in 0..50 {
        frame::encode(0, 9, sequence, b"forged", &mut forged);
    }
    append(&log, &[record(1), (3, forged), record(2)]).unwrap();
    log.close().unwrap();
    let path = log.segments()[0].path.clone();
    let mut bytes = disk.file_bytes(&path).unwrap();
    let first = frame::HEADER_LEN + record(1).1.len();
    bytes[segment::RECORDS_START as usize + first] ^= 1;
    disk.set_file_bytes(&path, bytes).unwrap();
    assert_eq!(replay(&disk).0, [record(1), record(2)]);
}

#[test]
fn scripts_of_frames_reach_the_records() {
    let script = [0x81, 1, 0, b'a', 0x81, 2, 1, b'b', 3, 9, 9, 9, 0x81, 3, 2, b'c'];
    assert_eq!(replay_bytes(&script), (3, 2));
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_replayed_without_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..600),
        frames in prop::collection::vec((128_u8.., 1_u8.., 0_u8..9), 0..20),
    ) {
        replay_bytes(&bytes);
        let step = |(step, kind, sequence): &(u8, u8, u8)| [*step & 0xf0, *kind, *sequence];
        let script: Vec<u8> = frames.iter().flat_map(step).collect();
        replay_bytes(&script);
    }

    #[test]
    fn mangled_logs_give_only_what_was_written(
        edits in prop::collection::vec((any::<u16>(), 0_u8..5, any::<u16>()), 1..8),
        keeps_salt in any::<bool>(),
    ) {
        check_mangled(&edits, keeps_salt);
    }
}

/// Edits that made a start decide otherwise than the one before.
#[test]
fn what_is_left_of_a_log_without_headers_stays() {
    for edits in [
        &[(8705, 2, 57727), (47067, 1, 34547), (23731, 1, 16362)][..],
        &[(1044, 3, 7059), (2888, 3, 35742), (58948, 1, 38566)],
        &[(24164, 0, 39910), (22968, 3, 18407), (44592, 0, 26654), (48374, 3, 60846)],
    ] {
        check_mangled(edits, true);
        check_mangled(edits, false);
    }
}

/// Any number of flipped, cut, repeated and zeroed parts: no panic, nothing comes out that did
/// not go in, and what came out once comes out again.
fn check_mangled(edits: &[(u16, u8, u16)], keeps_salt: bool) {
    let (mut disk, all, _) = closed_log();
    let names = segment_files(&disk);
    if !keeps_salt {
        disk.remove_file(&dir().join("salt")).unwrap();
    }
    for &(at, edit, how) in edits {
        let path = dir().join(&names[usize::from(how) % names.len()].name);
        let mut bytes = disk.file_bytes(&path).unwrap();
        if bytes.is_empty() {
            continue;
        }
        let at = usize::from(at) % bytes.len();
        let end = (at + usize::from(how) % 90 + 1).min(bytes.len());
        match edit {
            0 => bytes[at] ^= (how >> 8) as u8 | 1,
            1 => bytes.truncate(at),
            2 => bytes[at..end].fill(0),
            3 => drop(bytes.drain(at..end)),
            _ => {
                let part = bytes[at..end].to_vec();
                bytes.splice(at..at, part);
            }
        }
        disk.set_file_bytes(&path, bytes).unwrap();
    }
    let (found, _) = replay(&disk);
    let mut rest = all.iter();
    for record in &found {
        assert!(rest.any(|r| r == record), "not written, or out of order");
    }
    // Going on changes nothing of what is there, and neither does another start.
    let mut expected = found;
    for next in [99, 100] {
        let log = open(&disk, &SimulatedClock::new(0), options(400, 1000)).unwrap();
        append(&log, &[record(next)]).unwrap();
        expected.push(record(next));
        assert_eq!(texts(&replay(&disk).0), texts(&expected));
        disk = disk.kill();
        assert_eq!(texts(&replay(&disk).0), texts(&expected));
    }
}

fn texts(records: &[Record]) -> Vec<&str> {
    records.iter().map(|(_, payload)| str::from_utf8(payload).unwrap().trim_matches('x')).collect()
}

#[test]
fn a_log_without_any_header_is_read_with_the_salt_that_is_noted_beside() {
    let (disk, all, _) = closed_log();
    for entry in segment_files(&disk) {
        let path = dir().join(&entry.name);
        let mut bytes = disk.file_bytes(&path).unwrap();
        bytes[..segment::RECORDS_START as usize].fill(0);
        disk.set_file_bytes(&path, bytes).unwrap();
    }
    assert_eq!(replay(&disk).0, all);
    let log = open(&disk, &SimulatedClock::new(0), options(400, 1000)).unwrap();
    append(&log, &[record(99)]).unwrap();
    assert_eq!(replay(&disk).0, [&all[..], &[record(99)]].concat());
}
