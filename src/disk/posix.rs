//! The real file system and the real clock.
//!
//! Durability as POSIX gives it: `fdatasync` for a file's bytes and length, `fsync` of the
//! directory for names. What is assumed beyond that stands in `storage-format.md`, section 9.

use std::fs::{self, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::{Clock, Disk, Entry, File, LockGuard, Mapped, mapped};

/// The file systems of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct PosixDisk;

impl Disk for PosixDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let file = OpenOptions::new().read(true).append(true).create_new(true).open(path)?;
        Ok(Box::new(PosixFile(file)))
    }

    fn allocate(&self, path: &Path, bytes: u64) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
        match rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes) {
            Ok(()) => {}
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {
                let zeros = vec![0; 1 << 20];
                let mut left = bytes;
                while left > 0 {
                    let part = left.min(zeros.len() as u64);
                    file.write_all(&zeros[..part as usize])?;
                    left -= part;
                }
            }
            Err(error) => return Err(error.into()),
        }
        file.sync_all()?;
        path.parent().map_or(Ok(()), |parent| self.sync_dir(parent))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        match OpenOptions::new().read(true).append(true).open(path) {
            Ok(file) => Ok(Box::new(PosixFile(file))),
            // A directory that is taken over may forbid writing; reading it must still work.
            Err(e)
                if matches!(
                    e.kind(),
                    ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem
                ) =>
            {
                Ok(Box::new(PosixFile(fs::File::open(path)?)))
            }
            Err(e) => Err(e),
        }
    }

    fn map(&self, path: &Path) -> io::Result<Mapped> {
        mapped::map(path)
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            // A name that is not UTF-8 is none of ours.
            let Ok(name) = entry.file_name().into_string() else { continue };
            // Follows links, as opening would; an entry that went away meanwhile is left out.
            let metadata = match fs::metadata(entry.path()) {
                Ok(metadata) => metadata,
                Err(e) if e.kind() == ErrorKind::NotFound => continue,
                Err(e) => return Err(e),
            };
            let is_dir = metadata.is_dir();
            entries.push(Entry { name, is_dir, len: if is_dir { 0 } else { metadata.len() } });
        }
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        if path.is_dir() {
            return Ok(());
        }
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        self.create_dir_all(parent)?;
        match fs::create_dir(path) {
            Ok(()) => {}
            Err(e) if e.kind() == ErrorKind::AlreadyExists && path.is_dir() => {}
            Err(e) => return Err(e),
        }
        self.sync_dir(parent)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir_all(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        fs::File::open(path)?.sync_all()
    }

    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }

    fn free_space(&self, path: &Path) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(path)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn total_space(&self, path: &Path) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(path)?;
        Ok(stat.f_blocks.saturating_mul(stat.f_frsize))
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn LockGuard>> {
        let file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Box::new(PosixLock(file))),
            Err(TryLockError::WouldBlock) => Err(ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(e)) => Err(e),
        }
    }
}

/// The system gives the lock up when the file is closed, however the process ends.
#[derive(Debug)]
struct PosixLock(#[expect(dead_code, reason = "held, not read")] fs::File);

impl LockGuard for PosixLock {}

#[derive(Debug)]
struct PosixFile(fs::File);

impl File for PosixFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }

    fn sync(&self) -> io::Result<()> {
        // fdatasync covers the length too: data could not be found without it.
        self.0.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        // The file is open for appending, so the next write goes to the new end.
        self.0.set_len(len)
    }

    fn try_clone(&self) -> io::Result<Box<dyn File>> {
        Ok(Box::new(PosixFile(self.0.try_clone()?)))
    }
}

/// The clock of this machine.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// A clock whose monotonic time starts now.
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now_ms(&self) -> i64 {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |ms| -ms),
        }
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_append_read_truncate_and_map() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/file");
        PosixDisk.create_dir_all(path.parent().unwrap()).unwrap();
        let mut file = PosixDisk.create(&path).unwrap();
        assert_eq!(PosixDisk.create(&path).unwrap_err().kind(), ErrorKind::AlreadyExists);
        file.append(b"hello world").unwrap();
        file.truncate(5).unwrap();
        file.append(b"!").unwrap();
        file.try_clone().unwrap().sync().unwrap();
        let mut buffer = [0; 6];
        file.read_at(0, &mut buffer).unwrap();
        assert_eq!(&buffer, b"hello!");
        assert_eq!(file.read_at(1, &mut buffer).unwrap_err().kind(), ErrorKind::UnexpectedEof);
        assert_eq!(PosixDisk.map(&path).unwrap().bytes(), b"hello!");
        PosixDisk.open(&path).unwrap().append(b"?").unwrap();
        assert_eq!(file.len().unwrap(), 7);
    }

    #[test]
    fn room_is_taken_before_it_is_used() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("room");
        PosixDisk.allocate(&path, 3 << 20).unwrap();
        assert_eq!(PosixDisk.open(&path).unwrap().len().unwrap(), 3 << 20);
        let blocks = std::os::unix::fs::MetadataExt::blocks(&fs::metadata(&path).unwrap());
        assert!(blocks * 512 >= 3 << 20, "{blocks}");
        let again = PosixDisk.allocate(&path, 1).unwrap_err();
        assert_eq!(again.kind(), ErrorKind::AlreadyExists);
    }

    #[test]
    fn an_empty_file_maps_to_no_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("empty");
        assert!(PosixDisk.create(&path).unwrap().is_empty().unwrap());
        assert_eq!(PosixDisk.map(&path).unwrap().bytes(), b"");
    }

    #[test]
    fn directories_list_sorted_and_names_move() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b", "a"] {
            PosixDisk.create(&dir.path().join(name)).unwrap().append(name.as_bytes()).unwrap();
        }
        PosixDisk.create_dir_all(&dir.path().join("c")).unwrap();
        PosixDisk.rename(&dir.path().join("a"), &dir.path().join("b")).unwrap();
        PosixDisk.sync_dir(dir.path()).unwrap();
        let entry = |name: &str, is_dir, len| Entry { name: name.to_owned(), is_dir, len };
        assert_eq!(
            PosixDisk.read_dir(dir.path()).unwrap(),
            [entry("b", false, 1), entry("c", true, 0)]
        );
        PosixDisk.remove_dir_all(&dir.path().join("c")).unwrap();
        PosixDisk.remove_file(&dir.path().join("b")).unwrap();
        assert!(!PosixDisk.exists(&dir.path().join("b")));
        assert!(PosixDisk.free_space(dir.path()).unwrap() > 0);
    }

    #[test]
    fn a_lock_has_one_holder_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let guard = PosixDisk.lock(&path).unwrap();
        assert_eq!(PosixDisk.lock(&path).unwrap_err().kind(), ErrorKind::WouldBlock);
        drop(guard);
        PosixDisk.lock(&path).unwrap();
    }
}
