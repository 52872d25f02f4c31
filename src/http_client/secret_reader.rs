//! Secrets as they are now: a file is read again once what was read is a second old, so that a
//! rotated token or password is used without a reload, and so that ten thousand targets of one
//! job do not read it ten thousand times.

use std::io::Read;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::error::{ClientError, system_text};
use crate::config::{Secret, SecretSource};

/// How long what was read is used.
const FRESH: Duration = Duration::from_secs(1);

/// Bytes of a file with a secret.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// One secret.
#[derive(Debug)]
pub(super) struct SecretReader {
    source: SecretSource,
    read: Mutex<Option<(Instant, Secret)>>,
}

impl SecretReader {
    /// A secret of this source. This server has no manager of secrets that a reference could
    /// name.
    pub(super) fn new(source: &SecretSource) -> Result<Self, ClientError> {
        if matches!(source, SecretSource::Reference(_)) {
            return Err(ClientError("cannot use secret ref without manager".to_owned()));
        }
        Ok(Self { source: source.clone(), read: Mutex::default() })
    }

    /// The secret; empty where none is set.
    pub(super) fn read(&self) -> Result<Secret, String> {
        let path = match &self.source {
            SecretSource::Inline(secret) => return Ok(secret.clone()),
            SecretSource::File(path) => path,
            SecretSource::Unset | SecretSource::Reference(_) => return Ok(Secret::default()),
        };
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, secret)) = &*read
            && at.elapsed() < FRESH
        {
            return Ok(secret.clone());
        }
        let secret = read_file(path)?;
        *read = Some((Instant::now(), secret.clone()));
        Ok(secret)
    }

    /// What error texts call the source.
    pub(super) fn describe(&self) -> String {
        match &self.source {
            SecretSource::File(path) => format!("file {path}"),
            _ => "inline".to_owned(),
        }
    }
}

fn read_file(path: &str) -> Result<Secret, String> {
    let refuse = |why: String| format!("unable to read file {path}: {why}");
    let mut text = String::new();
    let file = std::fs::File::open(path)
        .map_err(|error| refuse(format!("open {path}: {}", system_text(&error))))?;
    file.take(FILE_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .map_err(|error| refuse(system_text(&error)))?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(refuse(format!("it exceeds {FILE_BYTES_MAX} bytes")));
    }
    Ok(Secret::new(text.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_again_and_missing_ones_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token").display().to_string();
        let reader = SecretReader::new(&SecretSource::File(path.clone())).unwrap();
        let error = reader.read().unwrap_err();
        let expected =
            format!("unable to read file {path}: open {path}: no such file or directory");
        assert_eq!(error, expected);
        std::fs::write(&path, " one\n").unwrap();
        assert_eq!(reader.read().unwrap().reveal(), "one");
        std::fs::write(&path, "two").unwrap();
        assert_eq!(reader.read().unwrap().reveal(), "one");
        reader.read.lock().unwrap().as_mut().unwrap().0 -= FRESH;
        assert_eq!(reader.read().unwrap().reveal(), "two");
        assert!(SecretReader::new(&SecretSource::Reference("x".to_owned())).is_err());
    }
}
