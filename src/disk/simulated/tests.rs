//! What the simulated disk keeps and loses.

use super::*;

fn with_file(seed: u64) -> (SimulatedDisk, Box<dyn File>) {
    let disk = SimulatedDisk::new(seed);
    disk.create_dir_all(Path::new("/d")).unwrap();
    let file = disk.create(Path::new("/d/f")).unwrap();
    disk.sync_dir(Path::new("/d")).unwrap();
    (disk, file)
}

fn bytes(disk: &SimulatedDisk) -> Vec<u8> {
    disk.file_bytes(Path::new("/d/f")).unwrap()
}

#[test]
fn strict_crash_keeps_synced_bytes_and_names_only() {
    let (disk, mut file) = with_file(1);
    file.append(b"kept").unwrap();
    file.sync().unwrap();
    file.append(b" lost").unwrap();
    disk.create(Path::new("/d/unsynced")).unwrap().sync().unwrap();
    disk.rename(Path::new("/d/f"), Path::new("/d/g")).unwrap();
    let after = disk.crash(Crash::Strict);
    assert_eq!(bytes(&after), b"kept");
    assert!(!after.exists(Path::new("/d/unsynced")) && !after.exists(Path::new("/d/g")));
    assert!(file.append(b"x").is_err() && disk.read_dir(Path::new("/d")).is_err());
}

#[test]
fn kill_keeps_everything_but_it_stays_unsynced() {
    let (disk, mut file) = with_file(1);
    file.append(b"written").unwrap();
    let disk = disk.kill();
    assert_eq!(bytes(&disk), b"written");
    assert_eq!(bytes(&disk.crash(Crash::Strict)), b"");
}

#[test]
fn prefix_and_torn_crashes_keep_a_prefix_in_order() {
    let (mut whole, mut parts) = (0, 0);
    for seed in 0..200 {
        for mode in [Crash::Prefix, Crash::Torn] {
            let (disk, mut file) = with_file(seed);
            for _ in 0..4 {
                file.append(b"0123456789").unwrap();
            }
            let left = bytes(&disk.crash(mode));
            assert!(b"0123456789".repeat(4).starts_with(&left));
            let torn = !left.len().is_multiple_of(10);
            *if torn { &mut parts } else { &mut whole } += 1;
            assert!(mode == Crash::Torn || !torn);
        }
    }
    assert!(whole > 100 && parts > 50, "{whole} {parts}");
}

#[test]
fn random_crash_loses_sectors_and_leaves_zeros() {
    let mut holes = 0;
    for seed in 0..100 {
        let (disk, mut file) = with_file(seed);
        file.append(&[7; 2000]).unwrap();
        file.append(&[8; 2000]).unwrap();
        let left = bytes(&disk.crash(Crash::Random));
        assert!(left.len() <= 4000);
        for (i, &byte) in left.iter().enumerate() {
            assert!(byte == 0 || byte == if i < 2000 { 7 } else { 8 });
        }
        holes += usize::from(left.contains(&0));
    }
    assert!(holes > 50, "{holes}");
}

#[test]
fn equal_seeds_crash_equally_and_forks_go_their_own_way() {
    let make = |seed| {
        let (disk, mut file) = with_file(seed);
        (0..50).for_each(|i| file.append(&[i; 300]).unwrap());
        disk
    };
    let outcome = |disk: &SimulatedDisk| bytes(&disk.crash(Crash::Random));
    assert_eq!(outcome(&make(3)), outcome(&make(3)));
    let disk = make(3);
    assert_ne!(outcome(&disk.fork(4)), outcome(&disk.fork(5)));
    assert_eq!(bytes(&disk).len(), 15_000);
}

#[test]
fn the_nth_call_fails_once_or_for_good() {
    let (disk, mut file) = with_file(1);
    disk.fail_nth(2, Fault::Once);
    file.append(b"a").unwrap();
    assert!(file.len().is_err());
    assert_eq!(file.len().unwrap(), 1);
    disk.fail_nth_of(Call::Rename, 1, Fault::Lasting);
    file.append(b"b").unwrap();
    assert!(disk.rename(Path::new("/d/f"), Path::new("/d/g")).is_err());
    assert!(disk.rename(Path::new("/d/f"), Path::new("/d/g")).is_err());
    disk.heal();
    disk.rename(Path::new("/d/f"), Path::new("/d/g")).unwrap();
    let before = disk.calls();
    file.sync().unwrap();
    assert_eq!(disk.calls(), before + 1);
}

#[test]
fn a_failed_append_leaves_a_part() {
    let mut lengths = std::collections::BTreeSet::new();
    for seed in 0..50 {
        let (disk, mut file) = with_file(seed);
        disk.fail_nth_of(Call::Append, 1, Fault::Once);
        file.append(b"abc").unwrap_err();
        assert!(b"abc".starts_with(&bytes(&disk)));
        lengths.insert(bytes(&disk).len());
    }
    assert_eq!(lengths.into_iter().collect::<Vec<_>>(), [0, 1, 2, 3]);
}

#[test]
fn a_failed_sync_loses_bytes_that_a_second_sync_claims_to_have_saved() {
    let mut lost = 0;
    for seed in 0..50 {
        let (disk, mut file) = with_file(seed);
        file.append(b"abc").unwrap();
        disk.fail_nth_of(Call::Sync, 1, Fault::Once);
        file.sync().unwrap_err();
        file.sync().unwrap();
        assert_eq!(bytes(&disk), b"abc");
        lost += usize::from(bytes(&disk.crash(Crash::Strict)) != b"abc");
    }
    assert!((10..40).contains(&lost), "{lost}");
}

#[test]
fn a_full_disk_takes_what_fits_until_there_is_room() {
    let (disk, mut file) = with_file(1);
    disk.set_capacity(Some(10));
    file.append(b"12345678").unwrap();
    assert_eq!(disk.free_space(Path::new("/d")).unwrap(), 2);
    assert_eq!(file.append(b"abcd").unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(bytes(&disk), b"12345678ab");
    assert_eq!(disk.create(Path::new("/d/g")).unwrap_err().kind(), ErrorKind::StorageFull);
    disk.set_capacity(Some(14));
    file.truncate(8).unwrap();
    file.append(b"abcd").unwrap();
    assert_eq!(disk.used(), 12);
}

#[test]
fn names_move_atomically_and_directories_go_with_all_they_hold() {
    let disk = SimulatedDisk::new(1);
    disk.create_dir_all(Path::new("a/b")).unwrap();
    disk.create(Path::new("a/b/x")).unwrap().append(b"x").unwrap();
    disk.create(Path::new("a/y")).unwrap();
    disk.rename(Path::new("a/b/x"), Path::new("a/y")).unwrap();
    assert_eq!(disk.file_bytes(Path::new("/a/y")).unwrap(), b"x");
    let entry = |name: &str, is_dir, len| Entry { name: name.to_owned(), is_dir, len };
    assert_eq!(disk.read_dir(Path::new("a")).unwrap(), [entry("b", true, 0), entry("y", false, 1)]);
    disk.remove_dir_all(Path::new("a")).unwrap();
    assert!(!disk.exists(Path::new("a")));
    let disk = disk.crash(Crash::Strict);
    assert!(disk.exists(Path::new("a/b")), "the removal was not synced, the creation was");
    assert!(disk.open(Path::new("a")).is_err());
}

#[test]
fn locks_are_released_by_drop_and_by_the_end_of_the_process() {
    let (disk, _file) = with_file(1);
    let path = Path::new("/d/lock");
    let guard = disk.lock(path).unwrap();
    assert_eq!(disk.lock(Path::new("d/lock")).unwrap_err().kind(), ErrorKind::WouldBlock);
    drop(guard);
    let guard = disk.lock(path).unwrap();
    let disk = disk.kill();
    let _held = disk.lock(path).unwrap();
    drop(guard);
    assert!(disk.lock(path).is_err(), "a guard of the dead process released the living one's");
}

#[test]
fn damage_can_be_planted_and_maps_are_snapshots() {
    let (disk, mut file) = with_file(1);
    file.append(b"abc").unwrap();
    let map = disk.map(Path::new("/d/f")).unwrap();
    disk.set_file_bytes(Path::new("/d/f"), b"axc".to_vec()).unwrap();
    assert_eq!(map.bytes(), b"abc");
    assert_eq!(bytes(&disk.crash(Crash::Strict)), b"axc");
}

#[test]
fn every_moment_before_a_change_can_be_gone_back_to() {
    let (disk, mut file) = with_file(1);
    disk.keep_moments();
    file.append(b"a").unwrap();
    file.sync().unwrap();
    file.append(b"b").unwrap();
    assert_eq!(file.len().unwrap(), 2, "reading is no change");
    let moments = disk.take_moments();
    let kept: Vec<_> = moments.iter().map(bytes).collect();
    assert_eq!(kept, [&b""[..], b"a", b"a"]);
    let durable: Vec<_> = moments.iter().map(|disk| bytes(&disk.crash(Crash::Strict))).collect();
    assert_eq!(durable, [&b""[..], b"", b"a"]);
    assert_eq!(bytes(&disk), b"ab");
    assert!(disk.take_moments().is_empty());
}
