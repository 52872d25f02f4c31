//! Files in which failed scrapes are logged, a line of JSON each.
//!
//! A file is opened when it is first written to and again after each reload, so that it can be
//! moved away. One that cannot be opened or written is told once in the log of the server; scrapes
//! go on.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;

/// All files, by path.
#[derive(Debug, Default)]
pub(super) struct FailureLogs {
    /// `None`: it could not be opened or written since the last reload.
    files: Mutex<BTreeMap<String, Option<File>>>,
}

impl FailureLogs {
    /// Closes all files.
    pub(super) fn reopen(&self) {
        self.files.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Logs a failed scrape; does nothing where the job names no file.
    pub(super) fn write(&self, path: &str, job: &str, target: &str, error: &str) {
        if path.is_empty() {
            return;
        }
        let line = line(Timestamp::now(), job, target, error);
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let told = |error: &io::Error| {
            tracing::error!(file = %path, err = %error, "Failed scrapes cannot be logged");
        };
        let file = files.entry(path.to_owned()).or_insert_with(|| {
            let opened = OpenOptions::new().append(true).create(true).open(path);
            opened.inspect_err(told).ok()
        });
        if let Some(open) = file
            && let Err(error) = open.write_all(line.as_bytes())
        {
            told(&error);
            *file = None;
        }
    }
}

/// COMPAT: the fields of Prometheus's log, but the place in its source.
fn line(time: Timestamp, job: &str, target: &str, error: &str) -> String {
    let text = |text: &str| serde_json::Value::from(text).to_string();
    format!(
        "{{\"time\":\"{time}\",\"level\":\"ERROR\",\"msg\":{},\"job_name\":{},\"target\":{}}}\n",
        text(error),
        text(job),
        text(target)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_json_and_files_are_opened_again() {
        assert_eq!(
            line(Timestamp::UNIX_EPOCH, "j", "http://h/", "a \"b\"\n"),
            "{\"time\":\"1970-01-01T00:00:00Z\",\"level\":\"ERROR\",\"msg\":\"a \\\"b\\\"\\n\",\
             \"job_name\":\"j\",\"target\":\"http://h/\"}\n"
        );
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("failures.json");
        let text = path.to_str().unwrap();
        let logs = FailureLogs::default();
        logs.write("", "j", "t", "ignored");
        logs.write(text, "j", "t", "one");
        std::fs::rename(&path, dir.path().join("old.json")).unwrap();
        logs.write(text, "j", "t", "two");
        logs.reopen();
        logs.write(text, "j", "t", "three");
        let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
        assert_eq!(read("old.json").lines().count(), 2);
        assert!(read("failures.json").contains("three"));
        let missing = dir.path().join("none/x");
        logs.write(missing.to_str().unwrap(), "j", "t", "nowhere");
    }
}
