//! The log is imported once, whole, and whatever happens meanwhile.

use super::fixture::{exemplar, head_chunks, samples, segment, series, tombstone, write};
use super::*;
use crate::disk::{Crash, Fault};
use crate::model::SeriesExemplars;

const MINUTE: i64 = 60_000;

fn known() -> Vec<u8> {
    series(&[(10, labels(0)), (11, labels(1)), (12, labels(2))])
}

/// A scrape of the three series at a minute.
fn scrape(minute: i64) -> Vec<u8> {
    let t_ms = START + minute * MINUTE;
    samples(&[(10, t_ms, value(t_ms, 0)), (11, t_ms, value(t_ms, 1)), (12, t_ms, value(t_ms, 2))])
}

fn scrapes(minutes: std::ops::Range<i64>) -> Vec<Vec<u8>> {
    minutes.map(scrape).collect()
}

/// A checkpoint and two segments: minutes 0 to 100.
fn write_log(disk: &dyn Disk) {
    let checkpoint = [vec![known()], scrapes(0..40)].concat();
    write(disk, "wal/checkpoint.00000004/00000000", &segment(&checkpoint));
    write(disk, "wal/00000004", &segment(&[vec![known()], scrapes(30..40)].concat()));
    write(disk, "wal/00000005", &segment(&scrapes(40..70)));
    write(disk, "wal/00000006", &segment(&scrapes(70..100)));
}

#[test]
fn a_log_is_imported_once_and_what_is_added_later_too() {
    let bench = Bench::new();
    bench.clock.set_now_ms(START + 100 * MINUTE);
    write_log(&*bench.disk);
    let before = bench.foreign_files();
    let db = bench.open();
    assert_eq!(count(&db, TimeRange::ALL), (300, vec![]));
    assert_eq!(bench.heard("300 samples of 3 series, 0 of them late, 0 damaged"), 1);
    db.close().unwrap();
    drop(db);
    assert_eq!(bench.foreign_files(), before);

    let db = bench.open();
    assert_eq!((count(&db, TimeRange::ALL).0, bench.heard("log of Prometheus imported")), (300, 1));
    db.close().unwrap();
    drop(db);

    // A later Prometheus took what it found, and wrote a segment of its own.
    let restart = [vec![series(&[(13, labels(3))])], scrapes(100..110)].concat();
    write(&*bench.disk, "wal/00000007", &segment(&restart));
    bench.clock.set_now_ms(START + 110 * MINUTE);
    let db = bench.open();
    assert_eq!(
        (count(&db, TimeRange::ALL).0, bench.heard("30 samples of 3 series, 0 of")),
        (330, 1)
    );
    drop(db);

    // It went on, and a checkpoint took the place of what we know.
    let checkpoint = [vec![known()], scrapes(60..112)].concat();
    write(&*bench.disk, "wal/checkpoint.00000008/00000000", &segment(&checkpoint));
    for number in 4..8 {
        bench.disk.remove_file(&Path::new(DATA).join(format!("wal/{number:08}"))).unwrap();
    }
    write(&*bench.disk, "wal/00000009", &segment(&scrapes(112..115)));
    bench.clock.set_now_ms(START + 115 * MINUTE);
    assert_eq!(count(&bench.open(), TimeRange::ALL).0, 345);
}

#[test]
fn a_log_that_was_replaced_is_read_anew() {
    let bench = Bench::new();
    bench.clock.set_now_ms(START + 200 * MINUTE);
    write(&*bench.disk, "wal/00000000", &segment(&[vec![known()], scrapes(0..30)].concat()));
    drop(bench.open());
    write(&*bench.disk, "wal/00000000", &segment(&[vec![known()], scrapes(60..110)].concat()));
    assert_eq!(count(&bench.open(), TimeRange::ALL).0, 240);
}

#[test]
fn late_samples_and_head_chunks_are_found_too() {
    let bench = Bench::new();
    bench.clock.set_now_ms(START + 100 * MINUTE);
    write(&*bench.disk, "wal/00000000", &segment(&[vec![known()], scrapes(60..100)].concat()));
    // Late ones come by a log of their own, with series that the other has.
    write(&*bench.disk, "wbl/00000000", &segment(&scrapes(10..20)));
    let times = |minutes: std::ops::Range<i64>| -> (Vec<i64>, Vec<f64>) {
        let times: Vec<i64> = minutes.map(|minute| START + minute * MINUTE).collect();
        let values = times.iter().map(|&t_ms| value(t_ms, 1)).collect();
        (times, values)
    };
    let (early, late) = (times(40..61), times(5..10));
    let chunks = [(11, false, early.0, early.1), (11, true, late.0, late.1)];
    write(&*bench.disk, "chunks_head/000001", &head_chunks(&chunks));
    let db = bench.open();
    assert_eq!(count(&db, TimeRange::ALL).0, 120 + 30 + 20 + 5);
    assert_eq!(bench.heard("55 of them late"), 1);
    drop(db);
    assert_eq!(count(&bench.open(), TimeRange::ALL).0, 175);
}

#[test]
fn exemplars_come_along_where_some_are_kept() {
    let bench = Bench::new();
    bench.clock.set_now_ms(START + 100 * MINUTE);
    let exemplars = [exemplar(11, START, 0.5, "a"), exemplar(12, START + MINUTE, 1.5, "b")];
    let records = [vec![known()], scrapes(0..10), exemplars.to_vec()].concat();
    write(&*bench.disk, "wal/00000000", &segment(&records));
    let db = bench.open();
    assert_eq!((count(&db, TimeRange::ALL).0, db.exemplar_stats().kept), (30, 0));
    drop(db);
    let mut bench = Bench { disk: Arc::new(SimulatedDisk::new(6)), ..bench };
    bench.options.exemplars_max = 10;
    write(&*bench.disk, "wal/00000000", &segment(&records));
    for _ in 0..2 {
        let db = bench.open();
        let found = db.inner.shared.head.exemplars(&[vec![]], TimeRange::ALL);
        let first =
            |e: &SeriesExemplars| (e.series.clone(), e.exemplars[0].t_ms, e.exemplars[0].value);
        let found: Vec<_> = found.iter().map(first).collect();
        assert_eq!(found, [(labels(1), START, 0.5), (labels(2), START + MINUTE, 1.5)]);
        assert_eq!(db.exemplar_stats().kept, 2);
    }
}

#[test]
fn deletions_of_the_log_hide_what_came_before_them() {
    let bench = Bench::new();
    bench.clock.set_now_ms(START + 100 * MINUTE);
    let range = TimeRange { min_ms: START, max_ms: START + 5 * MINUTE };
    let records =
        [vec![known()], scrapes(0..10), vec![tombstone(11, range)], scrapes(10..20)].concat();
    write(&*bench.disk, "wal/00000000", &segment(&records));
    let db = bench.open();
    assert_eq!(count(&db, TimeRange::ALL).0, 60 - 6);
    db.close().unwrap();
    drop(db);
    assert_eq!(count(&bench.open(), TimeRange::ALL).0, 60 - 6);
}

#[test]
fn damage_is_told_and_costs_what_it_touches() {
    let bench = Bench::new();
    bench.clock.set_now_ms(START + 700 * MINUTE);
    let bytes = segment(&[vec![known()], scrapes(0..700)].concat());
    assert!(bytes.len() > PAGE_BYTES);
    for at in [3000, bytes.len() - 5] {
        let bench = Bench::new();
        bench.clock.set_now_ms(START + 700 * MINUTE);
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        write(&*bench.disk, "wal/00000000", &damaged);
        let before = bench.foreign_files();
        let db = bench.open();
        let found = count(&db, TimeRange::ALL).0;
        assert!((10..2100).contains(&found), "{found}");
        assert_eq!(bench.heard("part of the log of Prometheus is left out"), 1);
        drop(db);
        assert_eq!(bench.foreign_files(), before);
    }
}

const PAGE_BYTES: usize = 32 << 10;

/// Whatever fails on the way, the next start goes on, and every sample is there once.
#[test]
fn an_import_that_breaks_off_goes_on() {
    for n in 1.. {
        let mut bench = Bench::new();
        let disk = SimulatedDisk::new(n);
        bench.disk = Arc::new(disk.clone());
        bench.disk.create_dir_all(Path::new(DATA)).unwrap();
        bench.clock.set_now_ms(START + 100 * MINUTE);
        write_log(&*bench.disk);
        let late = samples(&[(10, START - HOUR, value(START - HOUR, 0))]);
        write(&*bench.disk, "wbl/00000000", &segment(&[late]));
        let calls = disk.calls();
        disk.fail_nth(n, Fault::Lasting);
        drop(bench.try_open());
        let was_hit = disk.calls() - calls >= n;
        disk.heal();
        let disk = if n % 2 == 0 { disk.kill() } else { disk.crash(Crash::Strict) };
        bench.disk = Arc::new(disk);
        assert_eq!(count(&bench.open(), TimeRange::ALL), (301, vec![]), "call {n}");
        if !was_hit {
            assert!(n > 50);
            return;
        }
    }
}
