//! What is wrong with a configuration, and where.

use std::fmt;

/// A refused configuration. Lines and columns count from 1; 0 where the whole file is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// Path of the file as it was given.
    pub file: String,
    /// Line of the offending text.
    pub line: usize,
    /// Column of the offending text.
    pub column: usize,
    /// What is wrong; validation texts are Prometheus's.
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 {
            return write!(f, "{}: {}", self.file, self.message);
        }
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)
    }
}

impl std::error::Error for ConfigError {}

/// A complaint about one place, before the file's name is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Complaint {
    pub(super) line: usize,
    pub(super) column: usize,
    pub(super) message: String,
}

impl Complaint {
    pub(super) fn new(line: usize, column: usize, message: impl Into<String>) -> Self {
        Self { line, column, message: message.into() }
    }

    pub(super) fn in_file(self, file: &str) -> ConfigError {
        let Self { line, column, message } = self;
        ConfigError { file: file.to_owned(), line, column, message }
    }
}
