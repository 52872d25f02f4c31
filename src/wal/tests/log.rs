//! Appending, syncing, rotating, and what the disk refuses.

use std::io::ErrorKind;

use super::*;
use crate::disk::{Call, Crash, Disk, Fault, PosixDisk, SystemClock};

#[test]
fn what_was_appended_is_replayed_in_order_over_segments() {
    let (disk, _, log) = new_log(500, 1000);
    let mut expected = Vec::new();
    let mut positions = Vec::new();
    for i in 0..100 {
        let batch: Vec<Record> = (0..i % 4).map(|j| record(i * 10 + j)).collect();
        positions.push((expected.len(), append(&log, &batch).unwrap()));
        expected.extend(batch);
    }
    append(&log, &[(1, Vec::new()), (2, vec![7; 5000])]).unwrap();
    expected.extend([(1, Vec::new()), (2, vec![7; 5000])]);
    assert!(log.segments().len() > 5);
    assert_eq!(records(&disk), expected);
    for (i, position) in positions {
        assert_eq!(position.sequence, i as u64);
        let (found, damages) = replay_from(&disk, position);
        assert!(found == expected[i..] && damages.is_empty());
    }
    assert_eq!(replay_from(&disk, log.end()), (Vec::new(), Vec::new()));
    let stats = log.stats();
    assert_eq!(stats.appended_records, expected.len() as u64);
    assert_eq!(stats.bytes, segment_files(&disk).iter().map(|entry| entry.len).sum::<u64>());
    assert_eq!(stats.segments, log.segments().len() as u64);
}

#[test]
fn kill_loses_nothing_and_a_crash_nothing_that_was_synced() {
    let (disk, clock, log) = new_log(1 << 20, 1000);
    append(&log, &[record(1), record(2)]).unwrap();
    log.sync().unwrap();
    append(&log, &[record(3)]).unwrap();
    let fork = disk.fork(2);
    assert_eq!(records(&fork.crash(Crash::Strict)), [record(1), record(2)]);
    let disk = disk.kill();
    assert_eq!(append(&log, &[record(4)]).unwrap_err().to_string(), {
        "storage takes no writes: append /data/wal/00000001.wal: the simulated process has ended"
    });
    assert_eq!(records(&disk), [record(1), record(2), record(3)]);
    // Opening makes durable what it found.
    let log = open(&disk, &clock, options(1 << 20, 1000)).unwrap();
    assert_eq!(log.end().sequence, 3);
    assert_eq!(records(&disk.crash(Crash::Strict)), [record(1), record(2), record(3)]);
}

#[test]
fn a_segment_that_cannot_be_opened_ends_the_start_and_loses_nothing() {
    let (disk, clock, log) = new_log(200, 1000);
    let expected: Vec<Record> = (0..20).map(record).collect();
    for record in &expected {
        append(&log, std::slice::from_ref(record)).unwrap();
    }
    log.sync().unwrap();
    let disk = disk.kill();
    for nth in 1..=segment_files(&disk).len() as u64 {
        disk.fail_nth_of(Call::Open, nth, Fault::Lasting);
        let error = open(&disk, &clock, options(200, 1000)).unwrap_err();
        disk.heal();
        assert!(error.to_string().starts_with("open /data/wal/"), "{error}");
    }
    open(&disk, &clock, options(200, 1000)).unwrap();
    assert_eq!(records(&disk), expected);
}

#[test]
fn a_segment_that_the_medium_has_lost_ends_no_start() {
    let (disk, clock, log) = new_log(200, 1000);
    for i in 0..20 {
        append(&log, &[record(i)]).unwrap();
    }
    log.sync().unwrap();
    let disk = disk.kill();
    for entry in segment_files(&disk) {
        let disk = disk.fork(1);
        disk.lose(&dir().join(&entry.name));
        let log = open(&disk, &clock, options(200, 1000)).unwrap();
        append(&log, &[record(20)]).unwrap();
        log.sync().unwrap();
        let (found, damages) = replay(&disk);
        assert!(!damages.is_empty());
        // Those of other segments are all there.
        assert!(found.len() > 10, "{}", found.len());
        assert_eq!(found.last(), Some(&record(20)));
    }
}

#[test]
fn restarts_leave_no_pile_of_empty_segments() {
    let (mut disk, clock, _) = new_log(1 << 20, 1000);
    for _ in 0..20 {
        disk = disk.kill();
        let log = open(&disk, &clock, options(1 << 20, 1000)).unwrap();
        assert_eq!(log.segments().len(), 1);
        assert_eq!(log.segments().len(), segment_files(&disk).len());
    }
}

#[test]
fn the_greatest_age_of_unsynced_records_is_kept_without_a_syncer() {
    let (disk, clock, log) = new_log(1 << 20, 1000);
    append(&log, &[record(1)]).unwrap();
    clock.advance(Duration::from_millis(999));
    append(&log, &[record(2)]).unwrap();
    assert_eq!(log.stats().syncs, 0);
    clock.advance(Duration::from_millis(1));
    append(&log, &[record(3)]).unwrap();
    assert_eq!(log.stats().syncs, 1);
    assert_eq!(records(&disk.crash(Crash::Strict)), [record(1), record(2)]);
}

#[test]
fn the_syncer_begins_at_half_the_age() {
    let (disk, clock, log) = new_log(1 << 20, 1000);
    let log = Arc::new(log);
    let syncer = Syncer::new(Arc::clone(&log));
    assert!(!syncer.tick().unwrap());
    append(&log, &[record(1)]).unwrap();
    clock.advance(Duration::from_millis(499));
    assert!(!syncer.tick().unwrap());
    clock.advance(Duration::from_millis(1));
    assert!(syncer.tick().unwrap());
    assert!(!syncer.tick().unwrap());
    assert_eq!(log.stats().unsynced_bytes, 0);
    assert_eq!(records(&disk.crash(Crash::Strict)), [record(1)]);
    log.close().unwrap();
    assert!(matches!(syncer.tick(), Err(StorageError::Closed)));
    assert!(matches!(append(&log, &[record(1)]), Err(StorageError::Closed)));
    assert!(matches!(log.sync(), Err(StorageError::Closed)));
}

#[test]
fn who_must_not_wait_is_warned_before_records_are_too_old() {
    let (_, clock, log) = new_log(1 << 20, 1000);
    assert!(!log.may_wait());
    append(&log, &[record(1)]).unwrap();
    clock.advance(Duration::from_millis(749));
    assert!(!log.may_wait());
    clock.advance(Duration::from_millis(1));
    assert!(log.may_wait());
    log.sync().unwrap();
    assert!(!log.may_wait());
}

#[test]
fn an_interval_of_zero_syncs_before_it_answers() {
    let (disk, _, log) = new_log(1 << 20, 0);
    assert!(log.may_wait());
    append(&log, &[record(1)]).unwrap();
    append(&log, &[record(2), record(3)]).unwrap();
    assert_eq!(log.stats().syncs, 2);
    assert_eq!(records(&disk.crash(Crash::Strict)), [record(1), record(2), record(3)]);
}

#[test]
fn a_failed_sync_is_answered_with_a_new_file() {
    for seed in 0..20 {
        let disk = SimulatedDisk::new(seed);
        let log = open(&disk, &SimulatedClock::new(0), options(1 << 20, 1000)).unwrap();
        append(&log, &[record(1)]).unwrap();
        log.sync().unwrap();
        append(&log, &[record(2), record(3)]).unwrap();
        disk.fail_nth_of(Call::Sync, 1, Fault::Once);
        log.sync().unwrap();
        assert_eq!((log.stats().sync_failures, log.segments().len()), (1, 2));
        assert!(log.stats().sync_failure.is_some());
        append(&log, &[record(4)]).unwrap();
        assert_eq!(records(&disk), [record(1), record(2), record(3), record(4)]);
        assert_eq!(records(&disk.crash(Crash::Strict)), [record(1), record(2), record(3)]);
    }
}

#[test]
fn where_no_file_can_be_synced_the_log_waits_for_better_times() {
    let (disk, _, log) = new_log(1 << 20, 1000);
    append(&log, &[record(1)]).unwrap();
    disk.fail_nth_of(Call::Sync, 1, Fault::Lasting);
    assert!(matches!(log.sync(), Err(StorageError::Unwritable(_))));
    assert!(matches!(append(&log, &[record(2)]), Err(StorageError::Unwritable(_))));
    assert!(log.stats().unwritable.is_some_and(|why| why.contains("sync")));
    disk.heal();
    append(&log, &[record(3)]).unwrap();
    assert_eq!(log.stats().unwritable, None);
    assert_eq!(records(&disk), [record(1), record(3)]);
    assert_eq!(records(&disk.crash(Crash::Strict)), [record(1)]);
}

#[test]
fn what_was_refused_with_interval_zero_never_appears() {
    let (disk, _, log) = new_log(1 << 20, 0);
    append(&log, &[record(1)]).unwrap();
    disk.fail_nth_of(Call::Sync, 1, Fault::Lasting);
    assert!(matches!(append(&log, &[record(2)]), Err(StorageError::Unwritable(_))));
    disk.heal();
    append(&log, &[record(3)]).unwrap();
    assert_eq!(records(&disk), [record(1), record(3)]);
    assert_eq!(log.end().sequence, 2);
}

#[test]
fn a_full_disk_refuses_and_room_ends_it() {
    let (disk, clock, log) = new_log(1 << 20, 1000);
    append(&log, &[record(1)]).unwrap();
    log.sync().unwrap();
    disk.set_capacity(Some(disk.used() + 20));
    let error = append(&log, &[record(2)]).unwrap_err();
    assert!(matches!(&error, StorageError::Unwritable(why) if why.contains("the disk is full")));
    assert_eq!(records(&disk), [record(1)]);
    // A start on the full disk answers, and refuses too.
    let disk = disk.kill();
    let log = open(&disk, &clock, options(1 << 20, 1000)).unwrap();
    assert!(append(&log, &[record(3)]).is_err() && log.stats().unwritable.is_some());
    disk.set_capacity(None);
    append(&log, &[record(4)]).unwrap();
    log.sync().unwrap();
    assert_eq!(records(&disk.crash(Crash::Strict)), [record(1), record(4)]);
}

#[test]
fn an_append_that_cannot_be_rolled_back_costs_a_segment_and_no_record() {
    for seed in 0..30 {
        let disk = SimulatedDisk::new(seed);
        let log = open(&disk, &SimulatedClock::new(0), options(1 << 20, 1000)).unwrap();
        append(&log, &[record(1)]).unwrap();
        disk.fail_nth_of(Call::Append, 1, Fault::Once);
        disk.fail_nth_of(Call::Truncate, 1, Fault::Once);
        append(&log, &[record(2)]).unwrap_err();
        append(&log, &[record(3)]).unwrap();
        log.sync().unwrap();
        assert_eq!(records(&disk), [record(1), record(3)]);
    }
}

#[test]
fn where_no_new_segment_fits_the_old_one_grows() {
    let (disk, _, log) = new_log(300, 1000);
    append(&log, &[(1, vec![1; 250])]).unwrap();
    disk.fail_nth_of(Call::Create, 1, Fault::Lasting);
    append(&log, &[(1, vec![2; 250])]).unwrap();
    assert_eq!(log.segments().len(), 1);
    disk.heal();
    append(&log, &[(1, vec![3; 250])]).unwrap();
    assert_eq!(log.segments().len(), 2);
    assert_eq!(records(&disk), [(1, vec![1; 250]), (1, vec![2; 250]), (1, vec![3; 250])]);
}

#[test]
fn dropped_segments_are_gone_and_the_newest_stays() {
    let (disk, clock, log) = new_log(300, 1000);
    let positions: Vec<Position> =
        (0..20).map(|i| append(&log, &[(1, vec![i; 200])]).unwrap()).collect();
    let before = disk.used();
    let freed = log.drop_before(positions[10].sequence).unwrap();
    assert_eq!(before - freed, disk.used());
    let (found, damages) = replay_from(&disk, positions[10]);
    assert_eq!((found.len(), damages), (10, Vec::new()));
    // Asked for all, the log says what is not there any more.
    let (found, damages) = replay(&disk);
    assert_eq!((found.len(), damages[0].records), (10, 10));
    assert_eq!(damages[0].kind, DamageKind::MissingSegment);
    log.drop_before(u64::MAX).unwrap();
    assert_eq!(log.segments().len(), 1);
    log.sync().unwrap();
    let disk = disk.kill();
    let (disk_arc, clock) = (Arc::new(disk.clone()), Arc::new(clock));
    // Numbers never fall below the checkpoint's, whatever became of the segments.
    disk.remove_dir_all(dir()).unwrap();
    let from = positions[15];
    let log = Log::open(disk_arc, dir(), options(300, 1000), clock, from).unwrap();
    assert_eq!(log.end().sequence, 15);
    append(&log, &[record(1)]).unwrap();
    assert_eq!(replay_from(&disk, from), (vec![record(1)], Vec::new()));
}

#[test]
fn what_no_owner_may_write_is_refused_before_anything_is_written() {
    let (disk, _, log) = new_log(1 << 20, 1000);
    let before = disk.used();
    let too_long = vec![0; PAYLOAD_BYTES_MAX + 1];
    for bad in [(0, &b"x"[..]), (KIND_MAX + 1, b"x"), (1, &too_long)] {
        let error = log.append(&[(1, b"good"), bad]).unwrap_err();
        let StorageError::Io { source, .. } = error else { panic!("{error}") };
        assert_eq!(source.kind(), ErrorKind::InvalidInput);
    }
    assert_eq!(disk.used(), before);
    append(&log, &[(KIND_MAX, vec![5; PAYLOAD_BYTES_MAX])]).unwrap();
    assert_eq!(records(&disk), [(KIND_MAX, vec![5; PAYLOAD_BYTES_MAX])]);
}

/// Eight threads on a real disk, each append synced: all there, each thread's in order, and
/// fewer syncs than appends would need one by one where any two met.
#[test]
fn concurrent_appends_share_syncs() {
    for interval_ms in [0, 20] {
        let temporary = tempfile::tempdir().unwrap();
        let dir = temporary.path().join("wal");
        let disk: Arc<dyn Disk> = Arc::new(PosixDisk);
        let clock = Arc::new(SystemClock::new());
        let options = options(4000, interval_ms);
        let start = Position::START;
        let log = Log::open(Arc::clone(&disk), &dir, options, clock, start).unwrap();
        let log = Arc::new(log);
        std::thread::scope(|scope| {
            let syncer = Syncer::new(Arc::clone(&log));
            scope.spawn(move || syncer.run(|error| panic!("{error}")));
            let writers: Vec<_> = (1..=8)
                .map(|thread: u8| {
                    let log = Arc::clone(&log);
                    scope.spawn(move || {
                        for i in 0..40_u32 {
                            log.append(&[(thread, &i.to_le_bytes()), (thread, b"tail")]).unwrap();
                        }
                    })
                })
                .collect();
            for writer in writers {
                writer.join().unwrap();
            }
            log.close().unwrap();
        });
        assert!(log.stats().syncs <= 320 + log.stats().segments);
        let mut replay = Replay::open(disk, &dir, Position::START).unwrap();
        let mut next = [0_u32; 9];
        while let Some(item) = replay.next_item() {
            let Item::Record { kind, payload, .. } = item else { panic!("{item:?}") };
            assert_eq!(payload, next[usize::from(kind)].to_le_bytes());
            next[usize::from(kind)] += 1;
            let tail = replay.next_item();
            assert!(
                matches!(tail, Some(Item::Record { kind: k, payload: b"tail", .. }) if k == kind)
            );
        }
        assert_eq!(next[1..], [40; 8]);
    }
}

#[test]
fn a_newer_format_is_refused_by_name() {
    let (disk, clock, log) = new_log(1 << 20, 1000);
    append(&log, &[record(1)]).unwrap();
    let path = log.segments()[0].path.clone();
    let mut bytes = disk.file_bytes(&path).unwrap();
    for copy in [0, 36] {
        bytes[copy + 8] = 9;
        let crc = crc32fast::hash(&bytes[copy..copy + 32]);
        bytes[copy + 32..copy + 36].copy_from_slice(&crc.to_le_bytes());
    }
    disk.set_file_bytes(&path, bytes).unwrap();
    let error = open(&disk, &clock, options(1 << 20, 1000)).unwrap_err();
    assert!(matches!(error, StorageError::TooNew { found: 9, supported: 1, .. }));
    assert_eq!(replay(&disk).1[0].kind, DamageKind::TooNew);
}

#[test]
fn a_new_segment_lets_the_one_before_go() {
    let (disk, _, log) = new_log(1 << 20, 1000);
    append(&log, &[record(1), record(2)]).unwrap();
    assert_eq!(log.drop_before(u64::MAX).unwrap(), 0);
    log.rotate().unwrap();
    log.rotate().unwrap();
    assert_eq!(log.segments().len(), 2, "an empty one is not followed by another");
    assert_eq!(log.drop_before(1).unwrap(), 0, "the second record is wanted");
    append(&log, &[record(3)]).unwrap();
    assert!(log.drop_before(2).unwrap() > 0);
    let (found, damages) = replay_from(&disk, Position { sequence: 2, ..Position::START });
    assert_eq!((found, damages), (vec![record(3)], Vec::new()));
}

#[test]
fn a_log_on_hold_refuses_and_syncs() {
    let (disk, _, log) = new_log(1 << 20, 1000);
    append(&log, &[record(1)]).unwrap();
    log.hold("the disk is full");
    let error = append(&log, &[record(2)]).unwrap_err();
    assert!(matches!(error, StorageError::Unwritable(why) if why == "the disk is full"));
    assert_eq!(log.stats().unwritable.as_deref(), Some("the disk is full"));
    log.sync().unwrap();
    log.resume();
    assert_eq!(log.stats().unwritable, None);
    append(&log, &[record(3)]).unwrap();
    assert_eq!(records(&disk), [record(1), record(3)]);
}
