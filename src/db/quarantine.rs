//! How much may lie in `quarantine/`: a medium that goes on rotting must not fill the disk with
//! what it spoilt. The oldest goes first.

use std::path::{Path, PathBuf};

use crate::block::Ulid;
use crate::disk::{Disk, Entry, StorageError};

/// Directory below the database's.
pub(super) const DIR: &str = "quarantine";

/// Something that was put aside.
#[derive(Debug)]
struct Aside {
    /// Milliseconds; 0 where the name does not tell.
    at_ms: u64,
    path: PathBuf,
    is_dir: bool,
    bytes: u64,
}

/// Bytes of all that was put aside below `root`.
pub(super) fn bytes(disk: &dyn Disk, root: &Path) -> Result<u64, StorageError> {
    Ok(list(disk, root)?.iter().map(|aside| aside.bytes).sum())
}

/// Removes the oldest of what was put aside until at most `bytes_max` are left; 0 keeps it all.
/// Returns what was removed.
pub(super) fn trim(
    disk: &dyn Disk,
    root: &Path,
    bytes_max: u64,
) -> Result<Vec<PathBuf>, StorageError> {
    let mut found = list(disk, root)?;
    found.sort_by(|a, b| (a.at_ms, &a.path).cmp(&(b.at_ms, &b.path)));
    let mut total: u64 = found.iter().map(|aside| aside.bytes).sum();
    let mut removed = Vec::new();
    for Aside { path, is_dir, bytes, .. } in found {
        if bytes_max == 0 || total <= bytes_max {
            break;
        }
        let gone = if is_dir { disk.remove_dir_all(&path) } else { disk.remove_file(&path) };
        gone.map_err(|e| StorageError::io("remove", &path, e))?;
        total -= bytes;
        removed.push(path);
    }
    Ok(removed)
}

fn list(disk: &dyn Disk, root: &Path) -> Result<Vec<Aside>, StorageError> {
    let dir = root.join(DIR);
    if !disk.exists(&dir) {
        return Ok(Vec::new());
    }
    let entries = disk.read_dir(&dir).map_err(|e| StorageError::io("list", &dir, e))?;
    let aside = |Entry { name, is_dir, len }: Entry| {
        let path = dir.join(&name);
        let bytes = if is_dir { bytes_of_dir(disk, &path)? } else { len };
        Ok(Aside { at_ms: time_of(&name), path, is_dir, bytes })
    };
    entries.into_iter().map(aside).collect()
}

fn bytes_of_dir(disk: &dyn Disk, dir: &Path) -> Result<u64, StorageError> {
    let entries = disk.read_dir(dir).map_err(|e| StorageError::io("list", dir, e))?;
    entries.iter().try_fold(0, |sum, entry| {
        let inside = if entry.is_dir { bytes_of_dir(disk, &dir.join(&entry.name))? } else { 0 };
        Ok(sum + entry.len + inside)
    })
}

/// Files have the time as their ending; blocks keep their names, which begin with the time at
/// which they were written.
fn time_of(name: &str) -> u64 {
    let (stem, ending) = name.rsplit_once('.').unwrap_or((name, ""));
    let in_block = || Ulid::parse(name).or_else(|| Ulid::parse(stem)).map(Ulid::time_ms);
    match ending.parse() {
        Ok(at_ms) if at_ms > 1_000_000_000_000 => at_ms,
        _ => in_block().unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::SimulatedDisk;

    #[test]
    fn the_oldest_goes_until_the_rest_fits() {
        let disk = SimulatedDisk::new(1);
        let root = Path::new("/data/narthex");
        assert_eq!(bytes(&disk, root).unwrap(), 0);
        let block = Ulid::new(1_700_000_005_000, None).to_string();
        for (name, len) in [
            ("00000001.head.1700000009000".to_owned(), 100),
            ("00000002.ckpt.1700000001000".to_owned(), 50),
            (format!("{block}.1/index"), 30),
            (format!("{block}.1/chunks"), 40),
            ("strange".to_owned(), 7),
        ] {
            let path = root.join(DIR).join(name);
            disk.set_file_bytes(&path, vec![0; len]).unwrap();
        }
        let left = |bytes_max| {
            let removed = trim(&disk, root, bytes_max).unwrap();
            let names = removed.iter().filter_map(|path| path.file_name()?.to_str());
            (names.map(str::to_owned).collect::<Vec<_>>(), bytes(&disk, root).unwrap())
        };
        assert_eq!(left(0), (vec![], 227));
        assert_eq!(left(227), (vec![], 227));
        let gone = ["strange", "00000002.ckpt.1700000001000"].map(str::to_owned).to_vec();
        assert_eq!(left(170), (gone, 170));
        assert_eq!(left(169), (vec![format!("{block}.1")], 100));
        assert_eq!(left(1), (vec!["00000001.head.1700000009000".to_owned()], 0));
    }
}
