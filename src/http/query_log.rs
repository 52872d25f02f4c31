//! Queries on disk: those that run, and a log of those that ran.
//!
//! COMPAT: `queries.active` in the data folder has a place of 1,000 bytes for each query that may
//! run at a time, so that after a crash one sees what was running; a line of the query log is an
//! object with the keys of Prometheus's log.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;

use super::json;

/// Size of one place in the file of running queries.
const PLACE_BYTES: usize = 1000;
const ACTIVE_FILE: &str = "queries.active";

/// Who asked for a query.
#[derive(Debug, Clone, Default)]
pub(super) struct Origin {
    /// The method of the request.
    pub method: String,
    /// Its path.
    pub path: String,
    /// The address it came from, without the port.
    pub client_ip: String,
}

/// The file of running queries.
#[derive(Debug)]
pub struct ActiveQueries {
    file: File,
    free: Mutex<Vec<usize>>,
}

impl ActiveQueries {
    /// Makes the file anew with `queries_max` places. Gives what was in it besides: queries that
    /// a process that died was running, as JSON; empty where there were none.
    pub fn open(folder: &Path, queries_max: usize) -> io::Result<(Self, String)> {
        let path = folder.join(ACTIVE_FILE);
        let bytes = 1 + queries_max * PLACE_BYTES;
        let mut left = Vec::new();
        if let Ok(file) = File::open(&path) {
            file.take(bytes as u64).read_to_end(&mut left)?;
        }
        let file = OpenOptions::new().create(true).write(true).truncate(true).open(&path)?;
        file.set_len(bytes as u64)?;
        file.write_all_at(b"[", 0)?;
        let free = (0..queries_max).rev().collect();
        Ok((Self { file, free: Mutex::new(free) }, unfinished(&left)))
    }

    /// Notes that `query` runs until what is returned is dropped. A file that cannot be written
    /// keeps no query from running.
    pub(super) fn begin(self: &Arc<Self>, query: &str) -> Option<ActiveQuery> {
        let place = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
        let mut entry = entry(query);
        entry.resize(PLACE_BYTES - 1, 0);
        entry.push(b',');
        let _ = self.file.write_all_at(&entry, offset(place));
        Some(ActiveQuery { queries: Arc::clone(self), place })
    }
}

fn offset(place: usize) -> u64 {
    (1 + place * PLACE_BYTES) as u64
}

/// The object of a query, cut so that it fits into its place.
fn entry(query: &str) -> Vec<u8> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let print = |query: &str| {
        let mut out = b"{\"query\":".to_vec();
        json::push_str(&mut out, query);
        out.extend_from_slice(format!(",\"timestamp_sec\":{}}}", since.as_secs()).as_bytes());
        out
    };
    let mut shown = &query[..query.floor_char_boundary(PLACE_BYTES)];
    loop {
        let entry = print(shown);
        if entry.len() < PLACE_BYTES {
            return entry;
        }
        let too_many = entry.len() + 1 - PLACE_BYTES;
        // An escape is six bytes at most.
        let kept = shown.len() - too_many.div_ceil(6).min(shown.len());
        shown = &shown[..shown.floor_char_boundary(kept)];
    }
}

/// What a file of running queries says was running.
fn unfinished(bytes: &[u8]) -> String {
    let text: Vec<u8> = bytes.iter().copied().filter(|&byte| byte != 0).collect();
    match String::from_utf8_lossy(&text).strip_suffix(',') {
        Some(entries) => format!("{entries}]"),
        None => String::new(),
    }
}

/// A query that runs.
#[derive(Debug)]
pub(super) struct ActiveQuery {
    queries: Arc<ActiveQueries>,
    place: usize,
}

impl Drop for ActiveQuery {
    fn drop(&mut self) {
        let _ = self.queries.file.write_all_at(&[0; PLACE_BYTES], offset(self.place));
        self.queries.free.lock().unwrap_or_else(PoisonError::into_inner).push(self.place);
    }
}

/// The log of queries that ran.
#[derive(Debug)]
pub struct QueryLog {
    file: Mutex<File>,
}

/// A query that ran.
pub(super) struct Entry<'a> {
    pub query: &'a str,
    pub start_ms: i64,
    pub end_ms: i64,
    /// Zero for a query of one time.
    pub step_ms: i64,
    pub error: Option<&'a str>,
    /// Statistics as JSON.
    pub stats: &'a str,
    pub origin: &'a Origin,
}

impl QueryLog {
    /// Opens the log, which goes on behind what is in it.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Self { file: Mutex::new(file) })
    }

    /// Writes one line.
    pub(super) fn write(&self, entry: &Entry<'_>) -> io::Result<()> {
        self.write_line(&line(entry, Timestamp::now()))
    }

    /// Writes one line for a query of a group of rules; the origin of `entry` does not count.
    pub(super) fn write_of_rules(
        &self,
        entry: &Entry<'_>,
        (file, group): (&str, &str),
    ) -> io::Result<()> {
        self.write_line(&line_of_rules(entry, (file, group), Timestamp::now()))
    }

    fn write_line(&self, line: &[u8]) -> io::Result<()> {
        // One write, so that lines of several queries never mix.
        self.file.lock().unwrap_or_else(PoisonError::into_inner).write_all(line)
    }
}

fn line(entry: &Entry<'_>, now: Timestamp) -> Vec<u8> {
    let mut out = without_origin(entry, now);
    out.extend_from_slice(b",\"httpRequest\":");
    let Origin { method, path, client_ip } = entry.origin;
    json::push_object(&mut out, [("clientIP", &**client_ip), ("method", method), ("path", path)]);
    out.extend_from_slice(b"}\n");
    out
}

fn line_of_rules(entry: &Entry<'_>, (file, group): (&str, &str), now: Timestamp) -> Vec<u8> {
    let mut out = without_origin(entry, now);
    out.extend_from_slice(b",\"ruleGroup\":");
    json::push_object(&mut out, [("file", file), ("name", group)]);
    out.extend_from_slice(b"}\n");
    out
}

fn without_origin(entry: &Entry<'_>, now: Timestamp) -> Vec<u8> {
    let mut out = Vec::with_capacity(512 + entry.query.len());
    let time = |t_ms: i64| {
        let time = Timestamp::from_millisecond(t_ms).unwrap_or_default();
        format!("{time:.3}")
    };
    out.extend_from_slice(format!("{{\"time\":\"{now:.9}\",\"level\":\"INFO\",").as_bytes());
    out.extend_from_slice(b"\"msg\":\"promql query logged\",\"params\":{\"end\":");
    json::push_str(&mut out, &time(entry.end_ms));
    out.extend_from_slice(b",\"query\":");
    json::push_str(&mut out, entry.query);
    out.extend_from_slice(b",\"start\":");
    json::push_str(&mut out, &time(entry.start_ms));
    out.extend_from_slice(format!(",\"step\":{}}}", entry.step_ms / 1000).as_bytes());
    if let Some(error) = entry.error {
        out.extend_from_slice(b",\"error\":");
        json::push_str(&mut out, error);
    }
    out.extend_from_slice(format!(",\"stats\":{}", entry.stats).as_bytes());
    let (span, trace) = ("0".repeat(16), "0".repeat(32));
    out.extend_from_slice(format!(",\"spanID\":\"{span}\",\"traceID\":\"{trace}\"").as_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_running_is_found_after_a_crash() {
        let folder = tempfile::tempdir().unwrap();
        let (queries, left) = ActiveQueries::open(folder.path(), 2).unwrap();
        assert_eq!(left, "");
        let queries = Arc::new(queries);
        let ended = queries.begin("up");
        let running = queries.begin("rate(\"\u{e9}\n[5m])").unwrap();
        drop(ended);
        assert!(queries.begin("a").is_some());
        let (_, left) = ActiveQueries::open(folder.path(), 2).unwrap();
        assert!(left.starts_with("[{\"query\":\"rate(\\\"\u{e9}\\n[5m])\",\"timestamp_sec\":"));
        assert!(left.ends_with("}]"), "{left}");
        drop(running);
        let bytes = std::fs::metadata(folder.path().join(ACTIVE_FILE)).unwrap().len();
        assert_eq!(bytes, 2001);
    }

    #[test]
    fn a_long_query_is_cut_to_its_place() {
        for query in ["x".repeat(5000), "\u{1}".repeat(5000), "\u{1f600}".repeat(5000)] {
            let entry = entry(&query);
            assert!(entry.len() < PLACE_BYTES && entry.len() > PLACE_BYTES - 20);
            assert!(String::from_utf8(entry).is_ok());
        }
    }

    #[test]
    fn a_query_of_rules_names_their_group() {
        let origin = Origin::default();
        let entry = Entry {
            query: "up",
            start_ms: 1000,
            end_ms: 1000,
            step_ms: 0,
            error: None,
            stats: "{}",
            origin: &origin,
        };
        let line = line_of_rules(&entry, ("r.yml", "g"), Timestamp::UNIX_EPOCH);
        let line = String::from_utf8(line).unwrap();
        assert!(line.ends_with("\"ruleGroup\":{\"file\":\"r.yml\",\"name\":\"g\"}}\n"), "{line}");
        assert!(!line.contains("httpRequest"), "{line}");
    }

    #[test]
    fn a_line_has_the_keys_of_prometheus() {
        let origin = Origin {
            method: "GET".to_owned(),
            path: "/api/v1/query".to_owned(),
            client_ip: "127.0.0.1".to_owned(),
        };
        let entry = Entry {
            query: "a\"",
            start_ms: 1000,
            end_ms: 100_500,
            step_ms: 5000,
            error: Some("no"),
            stats: "{}",
            origin: &origin,
        };
        let line = line(&entry, Timestamp::from_millisecond(1_700_000_000_123).unwrap());
        assert_eq!(
            String::from_utf8(line).unwrap(),
            "{\"time\":\"2023-11-14T22:13:20.123000000Z\",\"level\":\"INFO\",\
             \"msg\":\"promql query logged\",\"params\":{\"end\":\"1970-01-01T00:01:40.500Z\",\
             \"query\":\"a\\\"\",\"start\":\"1970-01-01T00:00:01.000Z\",\"step\":5},\
             \"error\":\"no\",\"stats\":{},\"spanID\":\"0000000000000000\",\
             \"traceID\":\"00000000000000000000000000000000\",\"httpRequest\":\
             {\"clientIP\":\"127.0.0.1\",\"method\":\"GET\",\"path\":\"/api/v1/query\"}}\n"
        );
    }
}
