//! Copies from Prometheus, exports for it, and making room.

use super::fixture::{samples, segment, series, write};
use super::*;
use crate::db::{Freed, PrometheusImport};
use crate::disk::{Crash, Fault};
use crate::prometheus::{Block, BlockMeta};

const DAY: i64 = 24 * HOUR;

/// Moves what lies at the data path to another.
fn move_away(disk: &dyn Disk) -> PathBuf {
    let old = PathBuf::from("/old");
    disk.rename(Path::new(DATA), &old).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    old
}

fn import(db: &Database, source: &Path) -> PrometheusImport {
    db.import_prometheus(source, &mut |_| {}).unwrap()
}

fn write_log(disk: &dyn Disk) {
    let t_ms = START + 4 * HOUR + 5;
    let records = [series(&[(1, labels(2))]), samples(&[(1, t_ms, value(t_ms, 2))])];
    write(disk, "wal/00000000", &segment(&records));
}

#[test]
fn a_directory_is_copied_once() {
    let bench = Bench::new();
    bench.clock.set_now_ms(START + 5 * HOUR);
    bench.block(Ulid::new(1, None), START);
    bench.block(Ulid::new(2, None), START + 2 * HOUR);
    write_log(&*bench.disk);
    let old = move_away(&*bench.disk);
    bench.disk.create_dir_all(Path::new(DATA)).unwrap();
    let db = bench.open();
    let done = import(&db, &old);
    assert_eq!((done.blocks, done.samples, done.log.samples, done.damages), (2, 720, 1, 0));
    assert_eq!(count(&db, TimeRange::ALL), (721, vec![]));
    let again = import(&db, &old);
    assert_eq!((again.blocks, again.known, again.log.samples), (0, 2, 0));
    db.compact_all().unwrap();
    db.close().unwrap();
    drop(db);
    let db = bench.open();
    assert_eq!(import(&db, &old).blocks, 0);
    assert_eq!(count(&db, TimeRange::ALL), (721, vec![]));
}

#[test]
fn a_copy_in_place_takes_the_place_of_the_original() {
    let bench = Bench::new();
    bench.block(Ulid::new(1, None), START);
    write(&*bench.disk, &format!("{}/x", Ulid::new(9, None)), b"no block");
    let before = bench.foreign_files();
    let db = bench.open();
    assert_eq!(import(&db, Path::new(DATA)).blocks, 1);
    assert_eq!((db.stats().blocks.len(), count(&db, TimeRange::ALL).0), (1, 360));
    db.close().unwrap();
    drop(db);
    assert_eq!(bench.foreign_files(), before);
    let db = bench.open();
    assert_eq!((db.stats().blocks.len(), count(&db, TimeRange::ALL).0), (1, 360));
    // The original can go now.
    let what = Freed::Expired { retention_ms: 0 };
    let parts = db.drop_prometheus(what, true).unwrap();
    assert!(parts.len() == 1 && parts[0].is_copied && parts[0].bytes > 500);
    assert_eq!(db.drop_prometheus(what, false).unwrap(), parts);
    assert_eq!(count(&db, TimeRange::ALL).0, 360);
    db.close().unwrap();
    drop(db);
    assert_eq!(bench.foreign_files().len(), 1);
    assert_eq!(count(&bench.open(), TimeRange::ALL).0, 360);
}

#[test]
fn a_long_block_becomes_several() {
    let bench = Bench::new();
    let range = TimeRange { min_ms: START, max_ms: START + 80 * DAY };
    let ulid = Ulid::new(1, None);
    let mut writer = BlockWriter::create(&bench.disk, Path::new(DATA), ulid, range).unwrap();
    let mut samples = Samples::default();
    for hour in 0..80 * 24 {
        samples.push(START + hour * HOUR, value(START + hour * HOUR, 1));
    }
    writer.add(&labels(1), &samples).unwrap();
    writer.finish().unwrap().unwrap();
    let db = bench.open();
    import(&db, Path::new(DATA));
    assert_eq!((db.stats().blocks.len(), count(&db, TimeRange::ALL).0), (3, 80 * 24));
}

/// Whatever fails, nothing is half there, and the next try goes on.
#[test]
fn an_import_that_breaks_off_goes_on() {
    for n in (1..).step_by(3) {
        let mut bench = Bench::new();
        let disk = SimulatedDisk::new(n);
        bench.disk = Arc::new(disk.clone());
        bench.disk.create_dir_all(Path::new(DATA)).unwrap();
        bench.clock.set_now_ms(START + 5 * HOUR);
        bench.block(Ulid::new(1, None), START);
        bench.block(Ulid::new(2, None), START + 2 * HOUR);
        write_log(&*bench.disk);
        let old = move_away(&*bench.disk);
        bench.disk.create_dir_all(Path::new(DATA)).unwrap();
        let db = bench.open();
        let calls = disk.calls();
        disk.fail_nth(n, Fault::Lasting);
        let failed = db.import_prometheus(&old, &mut |_| {}).is_err();
        let was_hit = disk.calls() - calls >= n;
        // The last calls only tidy up.
        assert!(was_hit || !failed, "call {n}");
        disk.heal();
        drop(db);
        let disk = if n % 2 == 0 { disk.kill() } else { disk.crash(Crash::Strict) };
        bench.disk = Arc::new(disk);
        let db = bench.open();
        import(&db, &old);
        assert_eq!(count(&db, TimeRange::ALL), (721, vec![]), "call {n}");
        if !was_hit {
            assert!(n > 50);
            return;
        }
    }
}

#[test]
fn exports_are_what_was_there() {
    let bench = Bench::new();
    bench.block(Ulid::new(1, None), START);
    let db = bench.open();
    for minute in 0..150 {
        let t_ms = START + 2 * HOUR + minute * 60_000;
        bench.clock.set_now_ms(t_ms);
        let mut appender = db.appender(GroupKey::Embedded("a".to_owned())).unwrap();
        for i in 0..3 {
            let series = appender.series(&labels(i)).unwrap();
            appender.append(series, t_ms, value(t_ms, i));
        }
        appender.commit().unwrap();
    }
    let out = Path::new("/out");
    let metas = db.export_prometheus(out, TimeRange::ALL, &mut |_, _| {}).unwrap();
    let starts: Vec<i64> = metas.iter().map(|meta| meta.range.min_ms).collect();
    assert_eq!(starts, [START, START + 2 * HOUR, START + 4 * HOUR]);
    let samples: u64 = metas.iter().map(|meta| meta.samples).sum();
    assert_eq!(samples, 360 + 450);
    db.close().unwrap();
    drop(db);
    bench.disk.remove_dir_all(Path::new(DATA)).unwrap();
    bench.disk.rename(out, Path::new(DATA)).unwrap();
    assert_eq!(count(&bench.open(), TimeRange::ALL), (810, vec![]));
}

/// Blocks at the data path, by name.
fn blocks_at(bench: &Bench) -> Vec<BlockMeta> {
    let entries = bench.disk.read_dir(Path::new(DATA)).unwrap();
    let names = entries.iter().filter(|entry| Ulid::parse(&entry.name).is_some());
    let open = |name: &str| Block::open(&*bench.disk, &Path::new(DATA).join(name)).unwrap();
    names.map(|entry| open(&entry.name).meta().clone()).collect()
}

#[test]
fn closed_windows_are_exported_once_and_expire() {
    let mut bench = Bench::new();
    bench.options.export_windows = true;
    bench.options.block_duration_max_ms = Some(2 * HOUR);
    bench.options.out_of_order_window_ms = HOUR;
    bench.options.retention_ms = 6 * HOUR;
    let mut db = bench.open();
    let mut exported = Vec::new();
    for minute in 0..15 * 60 {
        let t_ms = START + minute * 60_000;
        bench.clock.set_now_ms(t_ms);
        let mut appender = db.appender(GroupKey::Embedded("a".to_owned())).unwrap();
        for i in 0..3 {
            let series = appender.series(&labels(i)).unwrap();
            // Some come late by half an hour.
            let t_ms = if i == 2 { t_ms - HOUR / 2 } else { t_ms };
            appender.append(series, t_ms, value(t_ms, i));
        }
        assert!(appender.commit().unwrap().rejected.is_empty());
        if minute % 20 == 0 {
            db.maintain().unwrap();
            for meta in blocks_at(&bench) {
                if !exported.contains(&meta) {
                    assert!(meta.range.max_ms <= t_ms - HOUR, "late samples may still come");
                    exported.push(meta);
                }
            }
        }
        if minute == 600 {
            drop(db);
            db = bench.open();
        }
    }
    // Seven windows are past the last late sample; the first has what the half hour before had.
    let whole: Vec<u64> = exported.iter().map(|meta| meta.samples).collect();
    assert!(whole.len() >= 6 && whole[1..].iter().all(|&samples| samples == 360), "{whole:?}");
    let starts: Vec<i64> = exported.iter().map(|meta| meta.range.min_ms).collect();
    assert!(starts.windows(2).all(|pair| pair[1] - pair[0] == 2 * HOUR), "{starts:?}");
    let left = blocks_at(&bench);
    assert!(left.len() < exported.len() && left.len() >= 2, "those past retention are gone");
    // None of them is read back.
    db.close().unwrap();
    drop(db);
    let db = bench.open();
    assert!(
        db.stats().blocks.iter().all(|block| left.iter().all(|l| l.ulid.to_string() != block.name))
    );
    db.maintain().unwrap();
    assert_eq!(blocks_at(&bench), left);
}

/// What was exported counts in the retention by size, goes oldest first, and is not exported
/// again.
#[test]
fn exports_go_when_all_takes_too_much() {
    let mut bench = Bench::new();
    bench.options.export_windows = true;
    bench.options.block_duration_max_ms = Some(2 * HOUR);
    let db = bench.open();
    for minute in 0..13 * 60 {
        let t_ms = START + minute * 60_000;
        bench.clock.set_now_ms(t_ms);
        let mut appender = db.appender(GroupKey::Embedded("a".to_owned())).unwrap();
        for i in 0..3 {
            let series = appender.series(&labels(i)).unwrap();
            appender.append(series, t_ms, value(t_ms, i));
        }
        appender.commit().unwrap();
    }
    db.maintain().unwrap();
    db.maintain().unwrap();
    let before = blocks_at(&bench);
    assert_eq!(before.len(), 5);
    let used = db.stats().stored_bytes;
    let exports: u64 = db.inner.shared.export_candidates().iter().map(|c| c.bytes).sum();
    let own: u64 = db.inner.shared.blocks.list().iter().map(|block| block.bytes()).sum();
    assert!(exports > 5 * 500 && used >= exports + own, "{used} {exports} {own}");
    // One byte too much: the oldest export, and nothing that can be queried.
    let keep = |bytes| db.set_retention(crate::db::Retention { bytes, ..Default::default() });
    keep(used - 1);
    db.maintain().unwrap();
    let ulids = |metas: &[BlockMeta]| metas.iter().map(|meta| meta.ulid).collect::<Vec<_>>();
    let after = blocks_at(&bench);
    assert!(db.stats().stored_bytes < used);
    assert_eq!(ulids(&after), ulids(&before[1..]));
    assert_eq!(count(&db, TimeRange::ALL).0, 13 * 60 * 3);
    // The window is not exported again, at the next start neither.
    db.maintain().unwrap();
    db.close().unwrap();
    drop(db);
    let db = bench.open();
    db.maintain().unwrap();
    assert_eq!(ulids(&blocks_at(&bench)), ulids(&after));
    // In the end both go.
    db.set_retention(crate::db::Retention { bytes: 1, ..Default::default() });
    db.maintain().unwrap();
    assert!(blocks_at(&bench).is_empty() && db.stats().blocks.is_empty());
    db.maintain().unwrap();
    assert!(blocks_at(&bench).is_empty());
}
