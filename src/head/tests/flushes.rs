//! Flushes, removals, and disks that fail.

use super::*;
use crate::disk::Disk;

#[test]
fn windows_are_let_go_and_ended_series_leave() {
    let mut bench = Bench::new(11);
    bench.clock.set_now_ms(T0 + 20_000_000);
    let head = bench.open();
    for i in 0..720 {
        let t = T0 + i * 15_000;
        let mut samples = vec![("1", t, i as f64)];
        if i < 100 {
            samples.push(("ended", t, 1.0));
        }
        push(&head, "a", &samples).unwrap();
        if i % 50 == 0 {
            head.maintain(T0 + 20_000_000).unwrap();
        }
    }
    let before = contents(&head);
    assert_eq!(head.flushable_window(), None);
    push(&head, "a", &[("1", T0 + 10_800_000, 720.0)]).unwrap();
    let window = head.flushable_window().unwrap();
    assert_eq!(window, TimeRange { min_ms: T0, max_ms: T0 + 7_200_000 - 1 });
    let border = window.max_ms + 1;
    assert_eq!(head.seal_window(border).unwrap(), Some(window));
    assert!(head.truncate(border + 1).is_err());
    assert_eq!(contents(&head).len(), before.len() + 1);
    head.truncate(border).unwrap();
    assert!(head.find(&labels("ended")).is_none());
    assert_eq!(head.time_range().unwrap().min_ms, border);
    let rest = contents(&head);
    assert_eq!(rest.len(), 241);
    assert!(rest.keys().all(|(name, t)| name == "1" && *t >= border));
    assert_eq!(head.flushable_window(), None);
    bench.disk = bench.disk.kill();
    let head = bench.open();
    assert_eq!(contents(&head), rest);
    let late = push(&head, "a", &[("new", border - 1, 1.0)]).unwrap();
    assert_eq!(late.rejected, [(0, crate::head::AppendError::OutOfBounds)]);
}

#[test]
fn a_flush_waits_for_appenders_from_before() {
    let bench = Bench::new(12);
    bench.clock.set_now_ms(T0 + 20_000_000);
    let head = bench.open();
    push(&head, "a", &[("1", T0, 1.0)]).unwrap();
    let mut early = head.appender(&target("b"));
    let series = early.series(&labels("2"));
    early.append(series, T0 + 1000, 5.0);
    let other = Arc::clone(&head);
    let flush = std::thread::spawn(move || other.seal_window(T0 + 7_200_000).unwrap());
    std::thread::sleep(Duration::from_millis(30));
    assert_eq!(early.commit().unwrap().accepted, 1);
    let range = flush.join().unwrap().unwrap();
    assert_eq!(range.min_ms, T0);
    assert_eq!(values(&head, "2"), [(1000, 5.0)]);
    let late = push(&head, "b", &[("3", T0 + 1000, 5.0)]).unwrap();
    assert_eq!(late.rejected.len(), 1);
}

type Contents = BTreeMap<(String, i64), u64>;

/// A short life of a head. Gives what was acknowledged, and what may or may not be there.
fn scenario(bench: &Bench) -> (Contents, Contents) {
    let (mut acked, mut maybe) = (BTreeMap::new(), BTreeMap::new());
    let Ok(head) = bench.try_open() else { return (acked, maybe) };
    for i in 0..30_i64 {
        let t = T0 + i * 1000;
        let samples = [("1", t, i as f64), ("2", t, 2.0), ("3", t, i as f64 / 3.0)];
        let source = if i % 7 == 6 { "b" } else { "a" };
        let stored = push(&head, source, &samples);
        let into = if stored.is_ok() { &mut acked } else { &mut maybe };
        for (name, t_ms, value) in samples {
            into.insert((name.to_owned(), t_ms), value.to_bits());
        }
        if i % 8 == 5 {
            let groups = head.groups_read().all();
            let _ = head.seal(&groups, &mut head.maintenance().unwrap());
        }
        if i % 12 == 9 {
            let _ = head.checkpoint(&mut head.maintenance().unwrap());
        }
        if i == 20 {
            let shown = contents(&head);
            assert!(acked.iter().all(|(key, bits)| shown.get(key) == Some(bits)));
            assert_eq!(shown.len(), acked.len(), "what was refused is not shown");
        }
    }
    let _ = head.close();
    (acked, maybe)
}

#[test]
fn every_call_may_fail_once() {
    for fault in [crate::disk::Fault::Once, crate::disk::Fault::Lasting] {
        for n in 1.. {
            let mut bench = Bench::new(n);
            bench.disk.fail_nth(n, fault);
            let (acked, maybe) = scenario(&bench);
            let calls = bench.disk.calls();
            bench.disk.heal();
            bench.disk = bench.disk.kill();
            let head = bench.open();
            let found = contents(&head);
            for (key, bits) in &acked {
                assert_eq!(found.get(key), Some(bits), "{key:?}, call {n} failing {fault:?}");
            }
            for (key, bits) in &found {
                let known = acked.get(key).or(maybe.get(key));
                assert_eq!(known, Some(bits), "{key:?}, call {n} failing {fault:?}");
            }
            push(&head, "a", &[("1", T0 + 100_000, 1.0)]).unwrap();
            if calls < n {
                break;
            }
        }
    }
}

#[test]
fn a_full_disk_refuses_and_recovers() {
    let mut bench = Bench::new(13);
    let head = bench.open();
    push(&head, "a", &[("1", T0, 1.0)]).unwrap();
    bench.disk.set_capacity(Some(bench.disk.used() + 100));
    let mut stored = 0;
    for i in 1..50 {
        stored += i32::from(push(&head, "a", &[("1", T0 + i * 1000, i as f64)]).is_ok());
    }
    assert!(stored < 49);
    assert_eq!(contents(&head).len(), 1 + stored as usize);
    bench.disk.set_capacity(None);
    push(&head, "a", &[("1", T0 + 60_000, 1.0)]).unwrap();
    let before = contents(&head);
    bench.disk = bench.disk.kill();
    assert_eq!(contents(&bench.open()), before);
}

#[test]
fn captures_see_commits_whole() {
    let bench = Bench::new(14);
    let head = bench.open();
    let names: Vec<String> = (0..2500).map(|i| i.to_string()).collect();
    let row = |i: i64| -> Vec<_> {
        names.iter().map(|name| (name.as_str(), T0 + i * 1000, i as f64)).collect()
    };
    push(&head, "a", &row(0)).unwrap();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for i in 1..25 {
                push(&head, "a", &row(i)).unwrap();
                if i % 9 == 0 {
                    seal_everything(&head);
                }
            }
        });
        while !writer.is_finished() {
            let captured = capture(&head, TimeRange::ALL);
            let mut samples = Samples::default();
            let lens: Vec<usize> = (0..captured.len())
                .map(|i| {
                    captured.read(i, TimeRange::ALL, &mut samples).unwrap();
                    samples.len()
                })
                .collect();
            assert_eq!(lens.iter().min(), lens.iter().max());
        }
    });
}

#[test]
fn a_damaged_log_costs_what_was_damaged_and_is_told() {
    let bench = Bench::new(15);
    let head = bench.open();
    for i in 0..60_i64 {
        let t = T0 + i * 1000;
        push(&head, "a", &[("1", t, i as f64), ("2", t, 7.0), ("3", t, i as f64 / 3.0)]).unwrap();
        push(&head, "b", &[("4", t, 1.0)]).unwrap();
    }
    head.sync().unwrap();
    let before = contents(&head);
    let segment = bench.disk.read_dir(std::path::Path::new("/data/wal")).unwrap();
    let path = std::path::Path::new("/data/wal").join(&segment[0].name);
    let good = bench.disk.file_bytes(&path).unwrap();
    let mut told = 0;
    for at in (good.len() / 3..good.len() - 200).step_by(37) {
        let mut bench = Bench { disk: bench.disk.fork(at as u64), ..Bench::new(0) };
        let mut bytes = good.clone();
        bytes[at] ^= 0x10;
        bench.disk.set_file_bytes(&path, bytes).unwrap();
        bench.disk = bench.disk.kill();
        let head = bench.open();
        let found = contents(&head);
        for (key, bits) in &found {
            assert_eq!(before.get(key), Some(bits), "{key:?} after damage at {at}");
        }
        let lost = before.len() - found.len();
        assert!(lost <= 3 * 34, "{lost} samples lost by damage at {at}");
        if lost > 0 {
            assert!(bench.heard.count("Damaged") > 0);
            told += bench.heard.count("RecordsMissing");
        }
        push(&head, "a", &[("1", T0 + 100_000, 1.0)]).unwrap();
    }
    assert!(told > 0);
}

#[test]
fn a_series_that_came_again_is_found_after_the_log_named_the_one_before() {
    let mut bench = Bench::new(31);
    bench.clock.set_now_ms(T0 + 20_000_000);
    let head = bench.open();
    // Holds the log: its samples lie above the border of the flush.
    push(&head, "b", &[("2", T0 + 7_300_000, 1.0)]).unwrap();
    push(&head, "a", &[("1", T0 + 5_000_000, 1.0)]).unwrap();
    let first = reference(&head, "1");
    push(&head, "b", &[("2", T0 + 11_000_000, 2.0)]).unwrap();
    let border = T0 + 7_200_000;
    head.seal_window(border).unwrap().unwrap();
    head.truncate(border).unwrap();
    assert!(head.find(&labels("1")).is_none());
    push(&head, "a", &[("1", T0 + 11_000_000, 3.0)]).unwrap();
    let second = reference(&head, "1");
    assert_ne!(first, second);
    checkpoint(&head);
    push(&head, "a", &[("1", T0 + 11_001_000, 4.0)]).unwrap();
    let before = contents(&head);
    assert_eq!(before.len(), 4);
    bench.disk = bench.disk.kill();
    let head = bench.open();
    assert_eq!(reference(&head, "1"), second);
    assert_eq!(contents(&head), before);
}

#[test]
fn numbers_of_groups_and_series_are_not_used_again_after_a_restart() {
    let mut bench = Bench::new(32);
    bench.clock.set_now_ms(T0 + 20_000_000);
    let head = bench.open();
    push(&head, "a", &[("1", T0 + 7_300_000, 1.0)]).unwrap();
    push(&head, "b", &[("2", T0 + 5_000_000, 1.0)]).unwrap();
    let gone = reference(&head, "2");
    let group_of = |head: &Head, name: &str| {
        head.register_read().home_of(reference(head, name).id.0).unwrap().group
    };
    let gone_group = group_of(&head, "2");
    push(&head, "a", &[("1", T0 + 11_000_000, 2.0)]).unwrap();
    bench.clock.set_now_ms(T0 + 23_000_000);
    let border = T0 + 7_200_000;
    head.seal_window(border).unwrap().unwrap();
    head.truncate(border).unwrap();
    assert!(head.group(gone_group).is_none() && head.find(&labels("2")).is_none());
    // Neither log nor head files name them after this.
    seal_everything(&head);
    checkpoint(&head);
    bench.disk = bench.disk.kill();
    let head = bench.open();
    push(&head, "c", &[("3", T0 + 11_000_000, 3.0)]).unwrap();
    assert!(reference(&head, "3").id > gone.id);
    assert!(group_of(&head, "3") > gone_group);
}

#[test]
fn a_damaged_checkpoint_is_put_aside_and_does_not_count_as_one_to_fall_back_to() {
    let mut bench = Bench::new(33);
    let head = bench.open();
    for i in 0..3 {
        push(&head, "a", &[("1", T0 + i * 1000, i as f64)]).unwrap();
        checkpoint(&head);
    }
    let before = contents(&head);
    bench.disk = bench.disk.kill();
    let dir = PathBuf::from("/data/checkpoint");
    let names = |bench: &Bench, dir: &str| -> Vec<String> {
        bench.disk.read_dir(dir.as_ref()).unwrap().into_iter().map(|entry| entry.name).collect()
    };
    assert_eq!(names(&bench, "/data/checkpoint"), ["00000002.ckpt", "00000003.ckpt"]);
    let newest = dir.join("00000003.ckpt");
    let mut bytes = bench.disk.file_bytes(&newest).unwrap();
    bytes[60] ^= 1;
    bench.disk.set_file_bytes(&newest, bytes).unwrap();
    let head = bench.open();
    assert_eq!(contents(&head), before);
    assert_eq!(names(&bench, "/data/quarantine").len(), 1);
    checkpoint(&head);
    assert_eq!(names(&bench, "/data/checkpoint"), ["00000002.ckpt", "00000003.ckpt"]);
}

#[test]
fn a_head_file_that_the_medium_does_not_read_is_put_aside() {
    let mut bench = Bench::new(34);
    let head = bench.open();
    push(&head, "a", &[("1", T0, 1.0)]).unwrap();
    seal_everything(&head);
    checkpoint(&head);
    push(&head, "a", &[("1", T0 + 1000, 2.0)]).unwrap();
    drop(head);
    // Find the read of the head file by its effect: each read fails in turn, twice.
    let mut aside = 0;
    for n in 1..200 {
        bench.disk = bench.disk.kill();
        let disk = bench.disk.fork(n);
        disk.fail_nth_of(crate::disk::Call::ReadAt, n, crate::disk::Fault::Lasting);
        let mut other = Bench::new(n);
        other.disk = disk;
        let Ok(head) = other.try_open() else { panic!("read {n} keeps the head shut") };
        drop(head);
        aside += usize::from(other.heard.count("Quarantined") > 0);
    }
    assert!(aside > 0);
}
