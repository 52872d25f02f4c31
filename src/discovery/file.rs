//! Targets listed in files (`file_sd_configs`).
//!
//! The directories of the files are watched, and the files are read again at each interval as
//! well, because a watch may miss changes or never come about. A file that cannot be read or
//! parsed keeps the groups it last gave; a file that went away loses them.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use notify::event::{AccessKind, AccessMode, MetadataKind, ModifyKind};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use serde::Deserialize;
use tokio::sync::Notify;

use super::provider::{Mechanism, Running, Updates};
use super::{Metrics, TargetGroup};
use crate::config::FileDiscovery;
use crate::model::{Labels, NameScheme};

/// Label that tells which file a target comes from.
const FILE_PATH: &str = "__meta_filepath";

/// Bytes of one file.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// A writer is given this long to finish after the first sign of a change.
const SETTLE: Duration = Duration::from_millis(100);

/// Why a file gives no groups.
#[derive(Debug)]
#[non_exhaustive]
pub enum FileDiscoveryError {
    /// The system refused to read it.
    Read(std::io::Error),
    /// It is longer than a list of targets may be.
    TooLarge,
    /// It is not the list of groups that it should be.
    Syntax(String),
    /// A label name that is none.
    LabelName(String),
    /// The list holds an empty item.
    NullGroup,
}

impl fmt::Display for FileDiscoveryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(error) => write!(f, "{error}"),
            Self::TooLarge => write!(f, "file exceeds the limit of {FILE_BYTES_MAX} bytes"),
            Self::Syntax(error) => f.write_str(error),
            Self::LabelName(name) => write!(f, "{name:?} is not a valid label name"),
            Self::NullGroup => f.write_str("nil target group item found"),
        }
    }
}

impl std::error::Error for FileDiscoveryError {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenGroup {
    #[serde(default)]
    targets: Option<Vec<String>>,
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
}

/// The groups that the text of the file `path` lists; its extension says JSON or YAML.
pub fn parse_groups(path: &Path, text: &str) -> Result<Vec<TargetGroup>, FileDiscoveryError> {
    let syntax = |error: &dyn fmt::Display| FileDiscoveryError::Syntax(error.to_string());
    let is_json = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("json"));
    let written: Option<Vec<Option<WrittenGroup>>> = if is_json {
        serde_json::from_str(text).map_err(|error| syntax(&error))?
    } else if text.trim().is_empty() {
        None
    } else {
        serde_saphyr::from_str(text).map_err(|error| syntax(&error))?
    };
    let file = path.to_string_lossy();
    let mut groups = Vec::new();
    for (at, group) in written.unwrap_or_default().into_iter().enumerate() {
        let group = group.ok_or(FileDiscoveryError::NullGroup)?;
        let mut labels = group.labels.unwrap_or_default();
        if let Some(name) = labels.keys().find(|name| !NameScheme::Utf8.is_label_name(name)) {
            return Err(FileDiscoveryError::LabelName(name.clone()));
        }
        labels.insert(FILE_PATH.to_owned(), file.clone().into_owned());
        let source = format!("{file}:{at}");
        let targets = group.targets.unwrap_or_default();
        groups.push(TargetGroup::of_addresses(source, targets, Labels::from_pairs(labels)));
    }
    Ok(groups)
}

/// The groups of a file, and when it was last changed.
fn read_groups(path: &Path) -> Result<(Vec<TargetGroup>, SystemTime), FileDiscoveryError> {
    let file = std::fs::File::open(path).map_err(FileDiscoveryError::Read)?;
    let changed = file.metadata().and_then(|metadata| metadata.modified());
    let changed = changed.map_err(FileDiscoveryError::Read)?;
    let mut text = String::new();
    let read = file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text);
    if read.map_err(FileDiscoveryError::Read)? as u64 > FILE_BYTES_MAX {
        return Err(FileDiscoveryError::TooLarge);
    }
    Ok((parse_groups(path, &text)?, changed))
}

/// The files that a pattern names: as it is, or with one `*` in its last component.
fn matching_files(pattern: &str) -> Vec<PathBuf> {
    let path = Path::new(pattern);
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    let Some((prefix, suffix)) = name.split_once('*') else {
        return if path.exists() { vec![path.to_owned()] } else { Vec::new() };
    };
    let directory = directory_of(pattern);
    let Ok(entries) = std::fs::read_dir(&directory) else { return Vec::new() };
    let is_match = |file: &str| {
        file.len() >= prefix.len() + suffix.len()
            && file.starts_with(prefix)
            && file.ends_with(suffix)
    };
    let mut files: Vec<_> = entries
        .flatten()
        .filter(|entry| is_match(&entry.file_name().to_string_lossy()))
        .map(|entry| path.with_file_name(entry.file_name()))
        .collect();
    files.sort();
    files
}

/// Where the files of a pattern lie.
fn directory_of(pattern: &str) -> PathBuf {
    match Path::new(pattern).parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// What the files said last.
#[derive(Debug, Default)]
struct Files {
    groups: BTreeMap<PathBuf, Vec<Arc<TargetGroup>>>,
    metrics: Metrics,
}

impl Files {
    /// Reads everything again; false where nothing is different.
    fn refresh(&mut self, patterns: &[String]) -> bool {
        let began = Instant::now();
        let mut read = BTreeMap::new();
        for path in patterns.iter().flat_map(|pattern| matching_files(pattern)) {
            let groups = match read_groups(&path) {
                Ok((groups, changed)) => {
                    let since_epoch = changed.duration_since(UNIX_EPOCH).unwrap_or_default();
                    let file = path.to_string_lossy();
                    let mtime = self.metrics.file_mtime_seconds.with(&[&file]);
                    mtime.set(since_epoch.as_secs_f64());
                    groups.into_iter().map(Arc::new).collect()
                }
                Err(error) => {
                    self.metrics.file_read_errors.inc();
                    tracing::error!(
                        path = %path.display(), %error, "Reading a file of targets failed"
                    );
                    self.groups.get(&path).cloned().unwrap_or_default()
                }
            };
            read.insert(path, groups);
        }
        for path in self.groups.keys().filter(|path| !read.contains_key(*path)) {
            self.metrics.file_mtime_seconds.remove(&[&path.to_string_lossy()]);
        }
        self.metrics.file_scan_seconds.observe_duration(began.elapsed());
        let is_changed = read != self.groups;
        self.groups = read;
        is_changed
    }
}

/// The mechanism.
#[derive(Debug)]
pub(super) struct FileMechanism(FileDiscovery);

pub(super) fn new(config: &FileDiscovery) -> FileMechanism {
    FileMechanism(config.clone())
}

impl Mechanism for FileMechanism {
    fn run(self: Box<Self>, updates: Updates) -> Running {
        let metrics = updates.metrics().clone();
        Box::pin(run(self.0, metrics, move |groups| updates.replace_shared(groups)))
    }
}

/// Watches and reads the files of `config` until it is dropped, and hands their groups to
/// `publish` first and whenever they change.
async fn run(
    config: FileDiscovery,
    metrics: Metrics,
    publish: impl Fn(Vec<Arc<TargetGroup>>) + Send,
) {
    let changed = Arc::new(Notify::new());
    let mut watcher = new_watcher(&changed);
    if watcher.is_none() {
        metrics.file_watcher_errors.inc();
    }
    let mut files = Files { metrics, ..Files::default() };
    let mut is_first = true;
    let interval_ms = u64::try_from(config.refresh_interval_ms).unwrap_or(0).max(1);
    loop {
        watch_directories(watcher.as_mut(), &config.files);
        let patterns = config.files.clone();
        let read = tokio::task::spawn_blocking(move || {
            let is_changed = files.refresh(&patterns);
            (files, is_changed)
        });
        let Ok((read, is_changed)) = read.await else { return };
        files = read;
        if is_changed || is_first {
            publish(files.groups.values().flatten().cloned().collect());
            is_first = false;
        }
        let waited = tokio::time::timeout(Duration::from_millis(interval_ms), changed.notified());
        if waited.await.is_ok() {
            tokio::time::sleep(SETTLE).await;
        }
    }
}

fn new_watcher(changed: &Arc<Notify>) -> Option<RecommendedWatcher> {
    let changed = Arc::clone(changed);
    let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        if event.is_ok_and(|event| is_change(event.kind)) {
            changed.notify_one();
        }
    });
    watcher
        .inspect_err(|error| {
            tracing::error!(%error, "Watching files of targets failed; they are read at intervals");
        })
        .ok()
}

/// Whether an event can mean other contents. Reading the files causes events too.
fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(access) => access == AccessKind::Close(AccessMode::Write),
        EventKind::Modify(ModifyKind::Metadata(what)) => what == MetadataKind::WriteTime,
        EventKind::Create(_) | EventKind::Modify(_) | EventKind::Remove(_) => true,
        EventKind::Any | EventKind::Other => false,
    }
}

/// Watches the directories again and again: one that is missing now may come, and one that was
/// replaced is watched by no one.
fn watch_directories(watcher: Option<&mut RecommendedWatcher>, patterns: &[String]) {
    let Some(watcher) = watcher else { return };
    let mut directories: Vec<_> = patterns.iter().map(|pattern| directory_of(pattern)).collect();
    directories.sort();
    directories.dedup();
    for directory in directories {
        if let Err(error) = watcher.watch(&directory, RecursiveMode::NonRecursive) {
            let path = directory.display();
            tracing::warn!(%path, %error, "Watching a directory of target files failed");
        }
    }
}

#[cfg(test)]
mod tests;
