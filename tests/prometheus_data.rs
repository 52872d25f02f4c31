//! Data of a Prometheus under the built program: taken over, copied, exported, dropped.
//!
//! The data is made by the library's own writer of such blocks, and by the log below.
#![cfg(feature = "server")]

mod program;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use narthex::block::Ulid;
use narthex::disk::{Disk, PosixDisk};
use narthex::model::{Labels, Samples, TimeRange};
use narthex::prometheus::BlockWriter;
use narthex::prometheus::castagnoli::crc32c;

use program::{Server, outcome};

/// A multiple of two hours, in milliseconds.
const START: i64 = 1_699_999_200_000;
const TWO_HOURS: i64 = 7_200_000;
const MINUTE: i64 = 60_000;

fn labels() -> Labels {
    Labels::from_pairs([("__name__", "up"), ("instance", "i"), ("job", "j")])
}

/// Two hours with a sample a minute, whose value is the minute.
fn write_block(data: &Path, number: i64) -> PathBuf {
    let disk: Arc<dyn Disk> = Arc::new(PosixDisk);
    let min_ms = START + number * TWO_HOURS;
    let range = TimeRange { min_ms, max_ms: min_ms + TWO_HOURS - 1 };
    let ulid = Ulid::new(min_ms + TWO_HOURS, None);
    let mut samples = Samples::default();
    for minute in 0..120 {
        samples.push(min_ms + minute * MINUTE, (number * 120 + minute) as f64);
    }
    let mut writer = BlockWriter::create(&disk, data, ulid, range).expect("it is created");
    writer.add(&labels(), &samples).expect("it is added");
    writer.finish().expect("it is written").expect("it holds something");
    data.join(ulid.to_string())
}

/// A log with the half hour behind two blocks.
fn write_log(data: &Path) {
    let mut records = Vec::new();
    let mut series = vec![1, 0, 0, 0, 0, 0, 0, 0, 5, 3];
    for (name, value) in &labels() {
        for text in [name, value] {
            series.push(text.len() as u8);
            series.extend_from_slice(text.as_bytes());
        }
    }
    records.push(series);
    for minute in 240..270 {
        let t_ms = START + minute * MINUTE;
        let mut record = vec![2, 0, 0, 0, 0, 0, 0, 0, 5];
        record.extend_from_slice(&t_ms.to_be_bytes());
        record.extend_from_slice(&[0, 0]);
        record.extend_from_slice(&(minute as f64).to_be_bytes());
        records.push(record);
    }
    let mut bytes = Vec::new();
    for record in records {
        bytes.push(1);
        bytes.extend_from_slice(&(record.len() as u16).to_be_bytes());
        bytes.extend_from_slice(&crc32c(&record).to_be_bytes());
        bytes.extend_from_slice(&record);
    }
    fs::create_dir_all(data.join("wal")).expect("a directory");
    fs::write(data.join("wal/00000000"), bytes).expect("a file");
}

/// All files that are not the program's own, with their bytes. A server writes
/// `queries.active` anew, as Prometheus does.
fn foreign_files(data: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let (mut files, mut dirs) = (BTreeMap::new(), vec![data.to_owned()]);
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).expect("it lists") {
            let path = entry.expect("an entry").path();
            if path.ends_with("narthex") || path.ends_with("queries.active") {
                continue;
            }
            if path.is_dir() {
                dirs.push(path);
            } else {
                let bytes = fs::read(&path).expect("it reads");
                files.insert(path, bytes);
            }
        }
    }
    files
}

fn path_text(path: &Path) -> &str {
    path.to_str().expect("a path is text here")
}

/// What a server answers about all samples: how many, and their sum.
fn count_and_sum(folder: &Path, data: &Path) -> (String, String) {
    let flag = format!("--storage.tsdb.path={}", path_text(data));
    let server = Server::start(folder, &[&flag, "--config.file=empty.yml"]);
    let at = (START + 270 * MINUTE) / 1000;
    let ask = |function: &str| {
        let path = format!("/api/v1/query?query={function}(up%5B1d%5D)&time={at}");
        let answer = server.request("GET", &path);
        let (_, value) = answer.split_once(&format!("[{at},\"")).expect("one value");
        value.split('"').next().expect("a value").to_owned()
    };
    let found = (ask("count_over_time"), ask("sum_over_time"));
    server.signal("-TERM");
    assert_eq!(server.exit_code(), Some(0));
    found
}

/// Of minutes 0 to 269.
fn whole() -> (String, String) {
    ("270".to_owned(), "36315".to_owned())
}

fn folder_with_data() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("empty.yml"), "").expect("a file");
    let data = folder.path().join("old");
    fs::create_dir_all(&data).expect("a directory");
    write_block(&data, 0);
    write_block(&data, 1);
    write_log(&data);
    (folder, data)
}

#[test]
fn a_directory_is_taken_over_and_stays_as_it_was() {
    let (folder, data) = folder_with_data();
    let before = foreign_files(&data);
    assert_eq!(count_and_sum(folder.path(), &data), whole());
    assert_eq!(foreign_files(&data), before);
    assert_eq!(count_and_sum(folder.path(), &data), whole());
    assert_eq!(foreign_files(&data), before);
}

#[test]
fn deletions_hold_over_a_restart_and_leave_the_directory_as_it_was() {
    let (folder, data) = folder_with_data();
    let before = foreign_files(&data);
    let flag = format!("--storage.tsdb.path={}", path_text(&data));
    let flags = [&flag, "--config.file=empty.yml", "--web.enable-admin-api"];
    let server = Server::start(folder.path(), &flags);
    let post = |path: &str| server.request("POST", &format!("/api/v1/admin/tsdb/{path}"));
    let nothing = post("clean_tombstones");
    assert!(nothing.starts_with("HTTP/1.1 204 "), "{nothing}");
    // Minutes 100 to 249: parts of both blocks and of the log.
    let (start, end) = (START / 1000 + 100 * 60, START / 1000 + 250 * 60 - 1);
    let answer = post(&format!("delete_series?match[]=up&start={start}&end={end}"));
    assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
    let answer = post("clean_tombstones");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let begin = "{\"status\":\"success\",\"warnings\":[\"2 blocks of Prometheus still have";
    assert!(body.starts_with(begin) && body.ends_with("]}"), "{body}");
    server.signal("-TERM");
    assert_eq!(server.exit_code(), Some(0));
    let sum: i64 = (0..100).chain(250..270).sum();
    assert_eq!(count_and_sum(folder.path(), &data), ("120".to_owned(), sum.to_string()));
    assert_eq!(foreign_files(&data), before);
}

#[test]
fn import_export_and_drop() {
    let (folder, old) = folder_with_data();
    let folder = folder.path();
    let before = foreign_files(&old);
    let run = |words: &[&str]| outcome(folder, &[&["tool", "tsdb"], words].concat());
    let import = ["import", path_text(&old), "--storage.tsdb.path=new"];
    let (code, text) = run(&import);
    assert!(code == 0 && text.contains("2 blocks with 240 samples copied"), "{text}");
    assert!(text.contains("30 samples of 1 series from the log"), "{text}");
    let (code, text) = run(&import);
    assert!(code == 0 && text.contains("0 blocks with 0 samples copied (2 were"), "{text}");
    assert_eq!(foreign_files(&old), before);
    assert_eq!(count_and_sum(folder, &folder.join("new")), whole());

    // Out again, and that taken over: the same.
    let (code, text) = run(&["export", "out", "--storage.tsdb.path=new"]);
    assert!(code == 0 && text.lines().count() == 3, "{text}");
    assert_eq!(count_and_sum(folder, &folder.join("out")), whole());
    let part = ["export", "part", "--storage.tsdb.path=new", "--max-time=1700006399.999"];
    let (code, text) = run(&part);
    assert!(code == 0 && text.contains("1 series, 120 samples"), "{text}");

    // In place, then without the originals.
    let path = format!("--storage.tsdb.path={}", path_text(&old));
    let (code, text) = run(&["drop-prometheus", &path, "--dry-run"]);
    assert!(code == 0 && text.contains("0 bytes would be removed"), "{text}");
    assert_eq!(run(&["import", path_text(&old), &path]).0, 0);
    let (code, text) = run(&["drop-prometheus", &path]);
    assert!(code == 0 && text.matches("imported, removed").count() == 2, "{text}");
    assert_eq!(count_and_sum(folder, &old), whole());
    assert_eq!(run(&["drop-prometheus", &path, "--all"]).0, 0);
    assert_eq!(foreign_files(&old).len(), 0);
    assert_eq!(count_and_sum(folder, &old), whole());
}

#[test]
fn mistakes_and_damage_have_a_status() {
    let (folder, old) = folder_with_data();
    let folder = folder.path();
    let run = |words: &[&str]| outcome(folder, &[&["tool"], words].concat());
    assert_eq!(run(&["tsdb", "import"]).0, 2);
    assert_eq!(run(&["tsdb", "nothing"]).0, 2);
    assert_eq!(run(&["tsdb", "--help"]).0, 0);
    assert_eq!(run(&["tsdb", "import", "no-such-directory"]).0, 2);
    assert_eq!(run(&["tsdb", "export", "out", "--min-time=later"]).0, 2);
    assert_eq!(run(&["tsdb", "drop-prometheus", "--storage.tsdb.path=missing"]).0, 2);

    let lock = PosixDisk.lock(&old.join("lock")).expect("nobody has it");
    let (code, text) = run(&["tsdb", "import", path_text(&old)]);
    assert!(code == 1 && text.contains("another process"), "{text}");
    drop(lock);

    let block = write_block(&old, 7);
    let index = block.join("index");
    let mut bytes = fs::read(&index).expect("it reads");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&index, bytes).expect("it writes");
    let (code, text) = run(&["tsdb", "import", path_text(&old)]);
    assert!(code == 1 && text.contains("1 blocks do not read"), "{text}");
    assert!(text.contains(path_text(&index)), "{text}");
    assert_eq!(count_and_sum(folder, &folder.join("data")), whole());
}
