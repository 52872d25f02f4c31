//! What a simulated disk holds: inodes with live and durable contents, and changes in between.
//!
//! INVARIANT: applying all pending changes, in order, to the durable contents gives the live
//! ones, except for bytes that a failed sync dropped.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, ErrorKind};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::Crash;
use super::faults::{Faults, missing};
use crate::disk::Entry;

const ROOT: u64 = 0;
const SECTOR: usize = 512;

/// A change to a file that is not synced.
#[derive(Debug, Clone)]
struct Write {
    /// Its place in the order of all changes to the disk.
    order: u64,
    change: Change,
}

#[derive(Debug, Clone)]
enum Change {
    Append { offset: usize, bytes: Arc<[u8]> },
    Truncate(usize),
}

#[derive(Debug, Clone, Default)]
struct FileData {
    live: Arc<Vec<u8>>,
    durable: Arc<Vec<u8>>,
    pending: Vec<Write>,
}

#[derive(Debug, Clone, Default)]
struct DirData {
    live: BTreeMap<String, u64>,
    durable: BTreeMap<String, u64>,
}

#[derive(Debug, Clone)]
enum Inode {
    File(FileData),
    Dir(DirData),
}

/// A change of names that is not synced: a name that goes, a name that comes, or both at once.
#[derive(Debug, Clone)]
struct NameChange {
    order: u64,
    gone: Option<(u64, String)>,
    come: Option<(u64, String, u64)>,
}

impl NameChange {
    fn touches(&self, dir: u64) -> bool {
        self.gone.as_ref().is_some_and(|(d, _)| *d == dir)
            || self.come.as_ref().is_some_and(|(d, _, _)| *d == dir)
    }
}

#[derive(Debug, Clone)]
pub(super) struct State {
    /// Number of the process that runs now.
    pub(super) life: u64,
    pub(super) faults: Faults,
    pub(super) capacity: Option<u64>,
    /// The disk before each change since someone wanted to know.
    pub(super) moments: Option<Vec<State>>,
    random: u64,
    inodes: HashMap<u64, Inode>,
    next_inode: u64,
    next_order: u64,
    names: Vec<NameChange>,
    locks: BTreeSet<PathBuf>,
}

impl State {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            life: 0,
            faults: Faults::default(),
            capacity: None,
            moments: None,
            random: seed,
            inodes: HashMap::from([(ROOT, Inode::Dir(DirData::default()))]),
            next_inode: ROOT + 1,
            next_order: 0,
            names: Vec::new(),
            locks: BTreeSet::new(),
        }
    }

    pub(super) fn reseed(&mut self, seed: u64) {
        self.random = seed;
    }

    pub(super) fn begin_life(&mut self) {
        self.life += 1;
        self.faults.clear();
        self.locks.clear();
    }

    /// Keeps the disk as it is now, where that is wanted.
    pub(super) fn keep_moment(&mut self) {
        if let Some(mut moments) = self.moments.take() {
            moments.push(self.clone());
            self.moments = Some(moments);
        }
    }

    /// Splitmix64 (Steele, Lea, Flood 2014).
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`.
    pub(super) fn chance_below(&mut self, n: u64) -> u64 {
        self.random() % n.max(1)
    }

    fn order(&mut self) -> u64 {
        self.next_order += 1;
        self.next_order
    }

    // --- names -----------------------------------------------------------------------------

    fn parts(path: &Path) -> Vec<String> {
        let mut parts = Vec::new();
        for component in path.components() {
            match component {
                Component::Normal(name) => parts.push(name.to_string_lossy().into_owned()),
                Component::ParentDir => {
                    parts.pop();
                }
                Component::Prefix(_) | Component::RootDir | Component::CurDir => {}
            }
        }
        parts
    }

    fn dir(&self, inode: u64) -> io::Result<&DirData> {
        match self.inodes.get(&inode) {
            Some(Inode::Dir(dir)) => Ok(dir),
            Some(Inode::File(_)) => Err(ErrorKind::NotADirectory.into()),
            None => Err(missing()),
        }
    }

    fn dir_mut(&mut self, inode: u64) -> &mut DirData {
        match self.inodes.get_mut(&inode) {
            Some(Inode::Dir(dir)) => dir,
            _ => unreachable!("BUG: inode {inode} is not a directory"),
        }
    }

    fn file_data(&mut self, inode: u64) -> &mut FileData {
        match self.inodes.get_mut(&inode) {
            Some(Inode::File(file)) => file,
            _ => unreachable!("BUG: inode {inode} is not a file"),
        }
    }

    fn walk(&self, parts: &[String]) -> io::Result<u64> {
        parts.iter().try_fold(ROOT, |inode, name| {
            self.dir(inode)?.live.get(name).copied().ok_or_else(missing)
        })
    }

    /// The directory that holds the last name of `path`, and that name.
    fn parent(&self, path: &Path) -> io::Result<(u64, String)> {
        let mut parts = Self::parts(path);
        let name = parts.pop().ok_or(ErrorKind::InvalidInput)?;
        let dir = self.walk(&parts)?;
        self.dir(dir)?;
        Ok((dir, name))
    }

    pub(super) fn exists(&self, path: &Path) -> bool {
        self.walk(&Self::parts(path)).is_ok()
    }

    pub(super) fn file_at(&self, path: &Path) -> io::Result<u64> {
        let inode = self.walk(&Self::parts(path))?;
        match self.inodes.get(&inode) {
            Some(Inode::File(_)) => Ok(inode),
            _ => Err(ErrorKind::IsADirectory.into()),
        }
    }

    pub(super) fn entries(&self, path: &Path) -> io::Result<Vec<Entry>> {
        let dir = self.dir(self.walk(&Self::parts(path))?)?;
        let entry = |(name, inode): (&String, &u64)| {
            let (is_dir, len) = match &self.inodes[inode] {
                Inode::File(file) => (false, file.live.len() as u64),
                Inode::Dir(_) => (true, 0),
            };
            Entry { name: name.clone(), is_dir, len }
        };
        Ok(dir.live.iter().map(entry).collect())
    }

    fn add_inode(&mut self, inode: Inode) -> u64 {
        let number = self.next_inode;
        self.next_inode += 1;
        self.inodes.insert(number, inode);
        number
    }

    fn change_names(&mut self, gone: Option<(u64, String)>, come: Option<(u64, String, u64)>) {
        if let Some((dir, name)) = &gone {
            self.dir_mut(*dir).live.remove(name);
        }
        if let Some((dir, name, inode)) = &come {
            self.dir_mut(*dir).live.insert(name.clone(), *inode);
        }
        let order = self.order();
        self.names.push(NameChange { order, gone, come });
    }

    fn make_durable(&mut self, change: NameChange) {
        if let Some((dir, name)) = change.gone {
            self.dir_mut(dir).durable.remove(&name);
        }
        if let Some((dir, name, inode)) = change.come {
            self.dir_mut(dir).durable.insert(name, inode);
        }
    }

    pub(super) fn create_file(&mut self, path: &Path) -> io::Result<u64> {
        let (dir, name) = self.parent(path)?;
        if self.dir(dir)?.live.contains_key(&name) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let inode = self.add_inode(Inode::File(FileData::default()));
        self.change_names(None, Some((dir, name, inode)));
        Ok(inode)
    }

    pub(super) fn create_dir_all(&mut self, path: &Path) -> io::Result<u64> {
        let mut inode = ROOT;
        for name in Self::parts(path) {
            let found = self.dir(inode)?.live.get(&name).copied();
            inode = found.unwrap_or_else(|| {
                let made = self.add_inode(Inode::Dir(DirData::default()));
                self.dir_mut(inode).live.insert(name, made);
                made
            });
        }
        // The contract: every name on the way is durable on return.
        let mut dir = ROOT;
        for name in Self::parts(path) {
            let next = self.dir(dir)?.live[&name];
            self.dir_mut(dir).durable.insert(name, next);
            dir = next;
        }
        self.dir(inode)?;
        Ok(inode)
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let (from_dir, from_name) = self.parent(from)?;
        let (to_dir, to_name) = self.parent(to)?;
        let inode = *self.dir(from_dir)?.live.get(&from_name).ok_or_else(missing)?;
        let is_dir = |inode: &u64| matches!(self.inodes[inode], Inode::Dir(_));
        match self.dir(to_dir)?.live.get(&to_name) {
            Some(&target) if target == inode => return Ok(()),
            Some(target) if is_dir(target) && !self.dir(*target)?.live.is_empty() => {
                return Err(ErrorKind::DirectoryNotEmpty.into());
            }
            Some(target) if is_dir(target) => {}
            Some(_) if is_dir(&inode) => return Err(ErrorKind::NotADirectory.into()),
            _ => {}
        }
        self.change_names(Some((from_dir, from_name)), Some((to_dir, to_name, inode)));
        Ok(())
    }

    pub(super) fn hard_link(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.file_at(from)?;
        let (from_dir, from_name) = self.parent(from)?;
        let inode = *self.dir(from_dir)?.live.get(&from_name).ok_or_else(missing)?;
        let (to_dir, to_name) = self.parent(to)?;
        if self.dir(to_dir)?.live.contains_key(&to_name) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        self.change_names(None, Some((to_dir, to_name, inode)));
        Ok(())
    }

    pub(super) fn remove_file(&mut self, path: &Path) -> io::Result<()> {
        self.file_at(path)?;
        let (dir, name) = self.parent(path)?;
        self.change_names(Some((dir, name)), None);
        Ok(())
    }

    /// One change for each name, deepest first, so that a crash can leave any part.
    pub(super) fn remove_dir_all(&mut self, path: &Path) -> io::Result<()> {
        let (dir, name) = self.parent(path)?;
        let inode = *self.dir(dir)?.live.get(&name).ok_or_else(missing)?;
        self.dir(inode)?;
        let mut pending = vec![inode];
        let mut names = Vec::new();
        while let Some(at) = pending.pop() {
            for (child_name, &child) in &self.dir(at)?.live {
                names.push((at, child_name.clone()));
                if matches!(self.inodes[&child], Inode::Dir(_)) {
                    pending.push(child);
                }
            }
        }
        for gone in names.into_iter().rev().chain([(dir, name)]) {
            self.change_names(Some(gone), None);
        }
        Ok(())
    }

    pub(super) fn sync_dir(&mut self, path: &Path) -> io::Result<()> {
        let inode = self.walk(&Self::parts(path))?;
        self.dir(inode)?;
        let (now, later) =
            std::mem::take(&mut self.names).into_iter().partition(|c| c.touches(inode));
        self.names = later;
        for change in now {
            self.make_durable(change);
        }
        Ok(())
    }

    pub(super) fn plant(&mut self, path: &Path, bytes: Vec<u8>) -> io::Result<()> {
        let dir = self.create_dir_all(path.parent().unwrap_or(Path::new("")))?;
        let (_, name) = self.parent(path)?;
        let inode = match self.dir(dir)?.live.get(&name) {
            Some(&found) => found,
            None => self.add_inode(Inode::File(FileData::default())),
        };
        let entries = self.dir_mut(dir);
        entries.live.insert(name.clone(), inode);
        entries.durable.insert(name, inode);
        let live = Arc::new(bytes);
        let durable = Arc::clone(&live);
        *self.file_data(inode) = FileData { live, durable, pending: Vec::new() };
        Ok(())
    }

    pub(super) fn take_lock(&mut self, path: &Path) -> io::Result<()> {
        if !self.exists(path) {
            self.create_file(path)?;
        }
        let key = Self::parts(path).iter().collect();
        if self.locks.insert(key) { Ok(()) } else { Err(ErrorKind::WouldBlock.into()) }
    }

    pub(super) fn release_lock(&mut self, path: &Path) {
        let key: PathBuf = Self::parts(path).iter().collect();
        self.locks.remove(&key);
    }

    // --- bytes -----------------------------------------------------------------------------

    pub(super) fn live(&self, inode: u64) -> &Arc<Vec<u8>> {
        match self.inodes.get(&inode) {
            Some(Inode::File(file)) => &file.live,
            _ => unreachable!("BUG: inode {inode} is not a file"),
        }
    }

    /// Bytes of all files that have a name.
    pub(super) fn used(&self) -> u64 {
        let mut pending = vec![ROOT];
        let mut used = 0;
        while let Some(inode) = pending.pop() {
            match &self.inodes[&inode] {
                Inode::File(file) => used += file.live.len() as u64,
                Inode::Dir(dir) => pending.extend(dir.live.values()),
            }
        }
        used
    }

    pub(super) fn append(&mut self, inode: u64, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let order = self.order();
        let file = self.file_data(inode);
        let change = Change::Append { offset: file.live.len(), bytes: bytes.into() };
        Arc::make_mut(&mut file.live).extend_from_slice(bytes);
        file.pending.push(Write { order, change });
    }

    pub(super) fn truncate(&mut self, inode: u64, len: usize) {
        let order = self.order();
        let file = self.file_data(inode);
        Arc::make_mut(&mut file.live).resize(len, 0);
        file.pending.push(Write { order, change: Change::Truncate(len) });
    }

    /// Makes the pending changes of a file durable; where `fails`, each by chance, and the
    /// others never.
    pub(super) fn sync_file(&mut self, inode: u64, fails: bool) {
        for write in std::mem::take(&mut self.file_data(inode).pending) {
            if !fails || self.chance_below(2) == 0 {
                apply(&mut self.file_data(inode).durable, &write.change);
            }
        }
    }

    // --- loss of power -----------------------------------------------------------------------

    pub(super) fn lose_power(&mut self, mode: Crash) {
        // Changes up to this one survive whole; the one after it may be torn.
        let whole = match mode {
            Crash::Strict | Crash::Random => 0,
            Crash::Prefix | Crash::Torn => self.chance_order(),
        };
        for change in std::mem::take(&mut self.names) {
            let by_chance = mode == Crash::Random && self.chance_below(2) == 0;
            if change.order <= whole || by_chance {
                self.make_durable(change);
            }
        }
        let mut numbers: Vec<u64> = self.inodes.keys().copied().collect();
        numbers.sort_unstable();
        for number in numbers {
            match self.inodes.get_mut(&number) {
                Some(Inode::Dir(dir)) => dir.live.clone_from(&dir.durable),
                Some(Inode::File(file)) => {
                    let pending = std::mem::take(&mut file.pending);
                    self.survive(number, pending, mode, whole);
                    let file = self.file_data(number);
                    file.live = Arc::clone(&file.durable);
                }
                None => {}
            }
        }
        self.forget_nameless();
    }

    /// A moment among the pending changes, or before the first of them.
    fn chance_order(&mut self) -> u64 {
        let mut orders: Vec<u64> = self.names.iter().map(|change| change.order).collect();
        for inode in self.inodes.values() {
            if let Inode::File(file) = inode {
                orders.extend(file.pending.iter().map(|write| write.order));
            }
        }
        orders.push(0);
        orders.sort_unstable();
        let at = self.chance_below(orders.len() as u64);
        orders[at as usize]
    }

    /// Applies what survives of a file's pending changes to its durable bytes.
    fn survive(&mut self, inode: u64, pending: Vec<Write>, mode: Crash, whole: u64) {
        // One chance for the whole file: sometimes nearly all survives, sometimes hardly any.
        let permille = self.chance_below(1001);
        for write in pending {
            match (mode, &write.change) {
                (_, change) if write.order <= whole => {
                    apply(&mut self.file_data(inode).durable, change);
                }
                (Crash::Torn, Change::Append { offset, bytes }) => {
                    let kept = self.chance_below(bytes.len() as u64) as usize;
                    let part = Change::Append { offset: *offset, bytes: bytes[..kept].into() };
                    apply(&mut self.file_data(inode).durable, &part);
                    // Only the first one is torn; those after it are lost.
                    return;
                }
                (Crash::Random, Change::Append { offset, bytes }) => {
                    self.survive_by_sector(inode, *offset, bytes, permille);
                }
                (Crash::Random, change @ Change::Truncate(_))
                    if self.chance_below(1000) < permille =>
                {
                    apply(&mut self.file_data(inode).durable, change);
                }
                _ => {}
            }
        }
    }

    fn survive_by_sector(&mut self, inode: u64, offset: usize, bytes: &[u8], permille: u64) {
        let mut start = 0;
        while start < bytes.len() {
            let end = ((offset + start) / SECTOR * SECTOR + SECTOR - offset).min(bytes.len());
            if self.chance_below(1000) < permille {
                let change =
                    Change::Append { offset: offset + start, bytes: bytes[start..end].into() };
                apply(&mut self.file_data(inode).durable, &change);
            }
            start = end;
        }
    }

    fn forget_nameless(&mut self) {
        let mut named = BTreeSet::new();
        let mut pending = vec![ROOT];
        while let Some(inode) = pending.pop() {
            if named.insert(inode)
                && let Inode::Dir(dir) = &self.inodes[&inode]
            {
                pending.extend(dir.live.values());
            }
        }
        self.inodes.retain(|inode, _| named.contains(inode));
    }
}

/// Applies a change; a gap that an unsynced change left reads as zeros.
fn apply(durable: &mut Arc<Vec<u8>>, change: &Change) {
    let durable = Arc::make_mut(durable);
    match change {
        Change::Append { offset, bytes } => {
            let end = offset + bytes.len();
            if durable.len() < end {
                durable.resize(end, 0);
            }
            durable[*offset..end].copy_from_slice(bytes);
        }
        Change::Truncate(len) => durable.resize(*len, 0),
    }
}
