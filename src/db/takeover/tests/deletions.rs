//! What is deleted stays deleted, whatever a later Prometheus makes of its data.

use super::fixture::{samples, segment, series, write};
use super::*;
use crate::db::Cleaned;
use crate::disk::{Crash, Fault};

const FIRST: TimeRange = TimeRange { min_ms: START, max_ms: START + HOUR - 1 };

fn only(i: u8) -> [Matcher; 1] {
    [Matcher::equal("i", i.to_string())]
}

impl Bench {
    /// Replaces a file as a whole.
    fn rewrite(&self, path: &Path, change: impl FnOnce(Vec<u8>) -> Vec<u8>) {
        let bytes = change(self.disk.map(path).unwrap().bytes().to_vec());
        self.disk.remove_file(path).unwrap();
        self.disk.create(path).unwrap().append(&bytes).unwrap();
    }

    /// A later Prometheus merges two blocks into one of four hours.
    fn merge(&self, ulid: Ulid, sources: &[Ulid]) {
        let range = TimeRange { min_ms: START, max_ms: START + 4 * HOUR - 1 };
        let mut writer = BlockWriter::create(&self.disk, Path::new(DATA), ulid, range).unwrap();
        for i in 0..3 {
            let mut samples = Samples::default();
            for minute in 0..240 {
                samples.push(START + minute * 60_000, value(START + minute * 60_000, i));
            }
            writer.add(&labels(i), &samples).unwrap();
        }
        writer.finish().unwrap().unwrap();
        let dir = Path::new(DATA).join(ulid.to_string());
        self.rewrite(&dir.join("meta.json"), |bytes| {
            let text = String::from_utf8(bytes).unwrap();
            let begin = text.find("\"sources\": [").unwrap();
            let end = begin + text[begin..].find(']').unwrap();
            let names: Vec<String> = sources.iter().map(|s| format!("\"{s}\"")).collect();
            let sources = format!("\"sources\": [{}", names.join(", "));
            [&text[..begin], &sources, &text[end..]].concat().into_bytes()
        });
        for source in sources {
            let dir = Path::new(DATA).join(source.to_string());
            if self.disk.exists(&dir) {
                self.disk.remove_dir_all(&dir).unwrap();
            }
        }
    }

    fn remove_block(&self, ulid: Ulid) {
        self.disk.remove_dir_all(&Path::new(DATA).join(ulid.to_string())).unwrap();
    }

    fn files_in(&self, dir: &str) -> Vec<String> {
        let entries = self.disk.read_dir(&Path::new(DATA).join(dir)).unwrap_or_default();
        entries.into_iter().map(|entry| entry.name).collect()
    }
}

#[test]
fn deletions_are_kept_beside_and_not_in_the_block() {
    let bench = Bench::new();
    let ulid = Ulid::new(1, None);
    let dir = bench.block(ulid, START);
    let before = bench.foreign_files();
    let db = bench.open();
    assert_eq!(db.clean_tombstones().unwrap(), Cleaned::default());
    db.delete(&only(1), FIRST).unwrap();
    assert_eq!(count(&db, TimeRange::ALL).0, 300);
    // What stays on the disk is told.
    let cleaned = db.clean_tombstones().unwrap();
    assert_eq!(cleaned, Cleaned { blocks: 0, left: vec![dir] });
    assert_eq!(bench.heard("1 blocks of Prometheus still have on the disk"), 1);
    db.close().unwrap();
    drop(db);
    assert_eq!(bench.foreign_files(), before);
    assert_eq!(bench.files_in("narthex/tombstones"), [format!("{ulid}.prometheus.tomb")]);
    assert_eq!(count(&bench.open(), TimeRange::ALL).0, 300);
    // What is deleted from a block that is gone is forgotten.
    bench.remove_block(ulid);
    drop(bench.open());
    assert!(bench.files_in("narthex/tombstones").is_empty());
    let state = Path::new(DATA).join("narthex/prometheus");
    assert!(!String::from_utf8_lossy(bench.disk.map(&state).unwrap().bytes()).contains("deletion"));
}

#[test]
fn a_block_that_prometheus_made_of_others_takes_their_deletions_over() {
    let bench = Bench::new();
    let (a, b) = (Ulid::new(1, None), Ulid::new(2, None));
    bench.block(a, START);
    bench.block(b, START + 2 * HOUR);
    let db = bench.open();
    db.delete(&only(1), FIRST).unwrap();
    db.delete(&only(2), TimeRange { min_ms: START + 3 * HOUR, max_ms: i64::MAX }).unwrap();
    assert_eq!(count(&db, TimeRange::ALL).0, 720 - 120);
    db.close().unwrap();
    drop(db);
    let (merged, backfilled) = (Ulid::new(4, None), Ulid::new(5, None));
    bench.merge(merged, &[a, b]);
    // Others put the samples of that time there again, on purpose.
    let before = bench.foreign_files();
    let db = bench.open();
    assert_eq!(count(&db, TimeRange::ALL), (720 - 120, vec![]));
    bench.block(backfilled, START);
    db.maintain().unwrap();
    assert_eq!(count(&db, TimeRange::ALL), (720 - 60, vec![]));
    db.close().unwrap();
    drop(db);
    assert!(before.keys().all(|path| bench.foreign_files().get(path) == before.get(path)));
    let db = bench.open();
    assert_eq!(count(&db, TimeRange::ALL), (720 - 60, vec![]));
    // It is merged while we look.
    bench.remove_block(backfilled);
    bench.remove_block(merged);
    bench.merge(Ulid::new(6, None), &[a, b]);
    db.maintain().unwrap();
    assert_eq!(count(&db, TimeRange::ALL), (720 - 120, vec![]));
}

#[test]
fn what_was_imported_and_deleted_does_not_come_back_as_a_block_or_by_the_log() {
    let bench = Bench::new();
    bench.clock.set_now_ms(START + 2 * HOUR);
    let mut records = vec![series(&[(7, labels(0)), (8, labels(1)), (9, labels(2))])];
    for minute in 0..90 {
        let t_ms = START + minute * 60_000;
        let row: Vec<_> = (0..3).map(|i| (7 + u64::from(i), t_ms, value(t_ms, i))).collect();
        records.push(samples(&row));
    }
    write(&*bench.disk, "wal/00000000", &segment(&records));
    let db = bench.open();
    assert_eq!(count(&db, TimeRange::ALL).0, 270);
    db.delete(&only(1), TimeRange::ALL).unwrap();
    assert_eq!(count(&db, TimeRange::ALL).0, 180);
    db.close().unwrap();
    drop(db);
    // A later Prometheus goes on to the end of the window and writes it as a block.
    let later = Ulid::new(1, None);
    bench.block(later, START);
    assert_eq!(count(&bench.open(), TimeRange::ALL).0, 360 - 90);
    // The log is read once more, because nobody knows that it was read.
    let state = Path::new(DATA).join("narthex/prometheus");
    bench.rewrite(&state, |bytes| {
        let text = String::from_utf8(bytes).unwrap();
        let kept = text.lines().filter(|l| !l.starts_with("position") && !l.starts_with("crc"));
        let text: Vec<u8> = kept.flat_map(|line| [line.as_bytes(), b"\n"].concat()).collect();
        let crc = crc32fast::hash(&text);
        [text, format!("crc {crc}\n").into_bytes()].concat()
    });
    bench.remove_block(later);
    assert_eq!(count(&bench.open(), TimeRange::ALL).0, 180);
}

/// A copy has the name of the original, and other numbers of series.
#[test]
fn a_copy_lacks_what_was_deleted_and_nothing_else() {
    let bench = Bench::new();
    let (a, b) = (Ulid::new(1, None), Ulid::new(2, None));
    bench.block(a, START);
    bench.block(b, START + 2 * HOUR);
    let db = bench.open();
    db.delete(&only(0), TimeRange::ALL).unwrap();
    db.delete(&only(1), FIRST).unwrap();
    let expected = 720 - 240 - 60;
    assert_eq!(count(&db, TimeRange::ALL).0, expected);
    db.import_prometheus(Path::new(DATA), &mut |_| {}).unwrap();
    assert_eq!(count(&db, TimeRange::ALL).0, expected);
    assert!(db.clean_tombstones().unwrap().left.is_empty());
    db.close().unwrap();
    drop(db);
    let db = bench.open();
    assert_eq!(count(&db, TimeRange::ALL).0, expected);
    // From the copy more can be deleted.
    db.delete(&only(2), FIRST).unwrap();
    drop(db);
    let db = bench.open();
    assert_eq!(count(&db, TimeRange::ALL).0, expected - 60);
    drop(db);
    // What Prometheus makes of the originals shows nothing of it, the later deletion included.
    bench.merge(Ulid::new(3, None), &[a, b]);
    assert_eq!(count(&bench.open(), TimeRange::ALL).0, expected - 60);
}

#[test]
fn what_is_deleted_while_a_block_is_copied_is_not_in_the_copy() {
    let bench = Bench::new();
    bench.block(Ulid::new(1, None), START);
    let db = bench.open();
    let mut is_first = true;
    let import = db.import_prometheus(Path::new(DATA), &mut |_| {
        if std::mem::take(&mut is_first) {
            db.delete(&only(2), TimeRange::ALL).unwrap();
        }
    });
    assert_eq!(import.unwrap().samples, 240);
    assert_eq!(count(&db, TimeRange::ALL).0, 240);
    drop(db);
    assert_eq!(count(&bench.open(), TimeRange::ALL).0, 240);
}

#[test]
fn a_block_that_is_not_served_takes_its_deletions_when_it_is() {
    let mut bench = Bench::new();
    bench.options.retention_ms = 2 * HOUR;
    bench.block(Ulid::new(1, None), START);
    bench.block(Ulid::new(2, None), START + 4 * HOUR);
    let db = bench.open();
    db.maintain().unwrap();
    assert_eq!(count(&db, TimeRange::ALL).0, 360);
    db.delete(&only(1), FIRST).unwrap();
    drop(db);
    bench.options.retention_ms = 0;
    assert_eq!(count(&bench.open(), TimeRange::ALL).0, 720 - 60);
    assert_eq!(count(&bench.open(), TimeRange::ALL).0, 720 - 60);
}

#[test]
fn damaged_records_are_made_up_for() {
    let damage = |bench: &Bench, name: &str| {
        let path = Path::new(DATA).join("narthex").join(name);
        bench.rewrite(&path, |mut bytes| {
            let at = bytes.len() / 2;
            bytes[at] ^= 0x40;
            bytes
        });
    };
    let bench = Bench::new();
    let ulid = Ulid::new(1, None);
    bench.block(ulid, START);
    let db = bench.open();
    db.delete(&only(1), FIRST).unwrap();
    drop(db);
    damage(&bench, &format!("tombstones/{ulid}.prometheus.tomb"));
    assert_eq!(count(&bench.open(), TimeRange::ALL), (300, vec![]));
    assert_eq!(bench.heard("was put aside"), 1);
    damage(&bench, "prometheus");
    assert_eq!(count(&bench.open(), TimeRange::ALL), (300, vec![]));
    assert_eq!(bench.heard("was put aside"), 2);
    assert_eq!(count(&bench.open(), TimeRange::ALL), (300, vec![]));
}

/// Whatever fails: what was answered holds, what failed may be tried again.
#[test]
fn a_deletion_is_durable_when_it_is_answered() {
    for n in 1.. {
        let mut bench = Bench::new();
        let disk = SimulatedDisk::new(n);
        bench.disk = Arc::new(disk.clone());
        bench.disk.create_dir_all(Path::new(DATA)).unwrap();
        bench.disk.sync_dir(Path::new("/")).unwrap();
        let (a, b) = (Ulid::new(1, None), Ulid::new(2, None));
        bench.block(a, START);
        bench.block(b, START + 2 * HOUR);
        let db = bench.open();
        let calls = disk.calls();
        disk.fail_nth(n, if n % 3 == 0 { Fault::Lasting } else { Fault::Once });
        let all = TimeRange { min_ms: START + HOUR, max_ms: START + 3 * HOUR - 1 };
        let is_answered = db.delete(&only(1), all).is_ok();
        let was_hit = disk.calls() - calls >= n;
        disk.heal();
        drop(db);
        let disk = if n % 2 == 0 { disk.kill() } else { disk.crash(Crash::Strict) };
        bench.disk = Arc::new(disk);
        let db = bench.open();
        let found = count(&db, TimeRange::ALL).0;
        assert!(found == 600 || !is_answered && found <= 720, "call {n}: {found}");
        db.delete(&only(1), all).unwrap();
        assert_eq!(count(&db, TimeRange::ALL).0, 600, "call {n}");
        drop(db);
        bench.merge(Ulid::new(3, None), &[a, b]);
        assert_eq!(count(&bench.open(), TimeRange::ALL).0, 600, "call {n}");
        if !was_hit {
            assert!(n > 10);
            return;
        }
    }
}
