//! The first pass over the log: tables are applied, the rest is sorted into parts.
//!
//! A part has all records of groups that have to do with one another: those of one source, those
//! between which a series moved, those that one deletion concerns. Parts can be replayed in any
//! order and at the same time; within one the order of the log stands.
//!
//! Series that only the log gives a home get a provisional one, with the slot [`PENDING`], so that
//! a query knows which group to wait for.

use hashbrown::HashMap;

use super::Recovery;
use super::rows::Tail;
use crate::disk::StorageError;
use crate::encoding::cursor::Cursor;
use crate::head::register::{HOMELESS, Home};
use crate::head::tile::HeadFile;
use crate::head::{GroupKey, NO_TIME};
use crate::wal::record::{RecordError, kind, read_deletion, read_rows_header, read_shape};
use crate::wal::{Item, Position, Replay, Reread};

/// The slot of a series whose place in its group is not known yet.
pub(super) const PENDING: u32 = u32::MAX;

/// A record that waits for its part.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pending {
    pub position: Position,
    pub kind: u8,
    pub len: u32,
}

/// Groups that are replayed together.
#[derive(Debug, Default)]
pub(super) struct Part {
    pub groups: Vec<u32>,
    /// In the order of the log.
    pub records: Vec<Pending>,
    pub tails: HashMap<u32, Tail>,
    /// File and tile, as indexes; in the order of files.
    pub tiles: Vec<(usize, u32)>,
    /// Series with a provisional home.
    pub provisional: Vec<u32>,
}

/// Which groups belong together.
#[derive(Debug, Default)]
pub(super) struct Ties(HashMap<u32, u32>);

impl Ties {
    /// The group that stands for all that `group` is tied to.
    fn find(&mut self, group: u32) -> u32 {
        let mut at = group;
        while let Some(&up) = self.0.get(&at) {
            at = up;
        }
        // So that the way is short the next time.
        let mut from = group;
        while from != at {
            let Some(up) = self.0.insert(from, at) else { break };
            from = up;
        }
        at
    }

    fn tie(&mut self, a: u32, b: u32) {
        let (a, b) = (self.find(a), self.find(b));
        if a != b {
            self.0.insert(a.max(b), a.min(b));
        }
    }
}

/// What the first pass gathers.
#[derive(Debug, Default)]
pub(super) struct Scan {
    pub ties: Ties,
    /// By group.
    pub records: HashMap<u32, Vec<Pending>>,
    pub provisional: Vec<u32>,
}

impl Recovery<'_> {
    /// Reads the log from `from` on. Gives what is to be read again, and the reader for it; none
    /// where no salt is known, and therefore no record.
    pub(super) fn scan(&mut self, from: Position) -> Result<(Scan, Option<Reread>), StorageError> {
        let options = &self.head.options;
        let dir = options.log_dir();
        let mut replay = Replay::open(std::sync::Arc::clone(&options.disk), &dir, from)?;
        let mut scan = Scan::default();
        while let Some(item) = replay.next_item() {
            match item {
                Item::Record { position, kind, payload } => {
                    self.records += 1;
                    if let Err(what) = self.scan_record(position, kind, payload, &mut scan) {
                        let what = format!("record {}: {what}", position.sequence);
                        self.head.tell(&dir, &what);
                    }
                }
                Item::Damage(damage) => self.head.tell(&damage.path, &damage.what()),
            }
        }
        let log = self.head.log.stats();
        if let Some(cut) = log.cut {
            self.head.tell(&cut.path, &cut.to_string());
        }
        let missing = log.missing_records;
        if missing > 0 {
            let what = format!(
                "the log ends {missing} records before the place where the checkpoint goes on; \
                 what was not sealed is missing"
            );
            self.head.tell(&dir, &what);
        }
        Ok((scan, replay.reread()))
    }

    fn scan_record(
        &mut self,
        position: Position,
        kind: u8,
        payload: &[u8],
        scan: &mut Scan,
    ) -> Result<(), RecordError> {
        let pending = Pending { position, kind, len: payload.len() as u32 };
        let cursor = &mut Cursor::new(payload);
        match kind {
            kind::SHAPE => {
                let shape = read_shape(cursor)?;
                self.check_group(shape.group, "slots of a group that is not known")?;
                self.scan_shape(shape.group, &shape.series, scan);
                scan.records.entry(shape.group).or_default().push(pending);
            }
            kind::ROWS => {
                let group = read_rows_header(cursor)?.group;
                self.check_group(group, "rows of a group that is not known")?;
                // Where several rows stand together the others follow when they are replayed.
                if let (Ok(_), Ok(t_ms)) = (cursor.u8(), cursor.varint())
                    && t_ms != NO_TIME
                {
                    self.state.newest_ms = self.state.newest_ms.max(t_ms);
                }
                scan.records.entry(group).or_default().push(pending);
            }
            kind::DELETION => {
                let mut first = None;
                while let Some(entry) = read_deletion(cursor)? {
                    for group in self.head.note_deletion(entry) {
                        let first = *first.get_or_insert(group);
                        scan.ties.tie(first, group);
                    }
                }
                if let Some(group) = first {
                    scan.records.entry(group).or_default().push(pending);
                }
            }
            _ => self.apply(position, kind, payload)?,
        }
        Ok(())
    }

    fn check_group(&self, group: u32, what: &'static str) -> Result<(), RecordError> {
        match self.head.group(group) {
            Some(_) => Ok(()),
            None => Err(RecordError { offset: 0, what }),
        }
    }

    fn scan_shape(&self, group: u32, series: &[u32], scan: &mut Scan) {
        let mut register = self.head.register_write();
        for &id in series {
            match register.home_of(id) {
                Some(home) if home.group == HOMELESS => {
                    register.set_home(id, Home { group, slot: PENDING });
                    scan.provisional.push(id);
                }
                Some(home) => scan.ties.tie(home.group, group),
                None => {}
            }
        }
    }

    /// Cuts everything into parts. Groups that only tiles know of are made first: the log lost
    /// them, their samples are still of their series.
    pub(super) fn parts(
        &mut self,
        mut scan: Scan,
        files: &[std::sync::Arc<HeadFile>],
    ) -> Vec<Part> {
        self.tie_tiles(files, &mut scan.ties);
        let groups = self.head.groups_read().all();
        for group in &groups {
            scan.ties.tie(group.root, group.id);
        }
        let mut parts: Vec<Part> = Vec::new();
        let mut by_group: HashMap<u32, usize> = HashMap::new();
        for group in &groups {
            let first = scan.ties.find(group.id);
            let part = *by_group.entry(first).or_insert(parts.len());
            if part == parts.len() {
                parts.push(Part::default());
            }
            by_group.insert(group.id, part);
            parts[part].groups.push(group.id);
            if let Some(tail) = self.tails.remove(&group.id) {
                parts[part].tails.insert(group.id, tail);
            }
            parts[part].records.extend(scan.records.remove(&group.id).into_iter().flatten());
        }
        for part in &mut parts {
            part.records.sort_unstable_by_key(|record| record.position.sequence);
        }
        for (n, file) in files.iter().enumerate() {
            for (index, tile) in (0..).zip(file.tiles()) {
                if let Some(&part) = by_group.get(&tile.group) {
                    parts[part].tiles.push((n, index));
                }
            }
        }
        let register = self.head.register_read();
        for id in scan.provisional {
            let home = register.home_of(id).filter(|home| home.slot == PENDING);
            if let Some(&part) = home.and_then(|home| by_group.get(&home.group)) {
                parts[part].provisional.push(id);
            }
        }
        parts
    }

    /// A tile that no checkpoint knows tells the newest samples of its series, wherever they live
    /// now.
    fn tie_tiles(&self, files: &[std::sync::Arc<HeadFile>], ties: &mut Ties) {
        for file in files {
            let is_new = file.number >= self.state.next_file;
            for (index, tile) in (0..).zip(file.tiles()) {
                let is_known = self.head.group(tile.group).is_some();
                if !is_known {
                    let key = GroupKey::Embedded(format!("recovered group {}", tile.group));
                    self.head.groups_write().restore(tile.group, tile.group, &key);
                }
                if is_known && !is_new {
                    continue;
                }
                let register = self.head.register_read();
                for n in 0..tile.entries {
                    let home = register.home_of(file.entry(index, n).series);
                    if let Some(home) = home.filter(|home| home.group != HOMELESS) {
                        ties.tie(home.group, tile.group);
                    }
                }
            }
        }
    }
}
