//! The groups, by number and by source.

use std::sync::Arc;

use hashbrown::HashMap;

use super::GroupKey;
use super::group::Group;
use crate::encoding::cursor::{Cursor, CursorError};
use crate::encoding::varint::{write_bytes, write_str};

const TARGET: u8 = 1;
const RULES: u8 = 2;
const PUSH: u8 = 3;
const EMBEDDED: u8 = 4;

impl GroupKey {
    /// Appends the key as the log and the table of groups hold it.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Target { job, labels } => {
                out.push(TARGET);
                write_str(out, job);
                write_bytes(out, labels);
            }
            Self::Rules { file, name } => {
                out.push(RULES);
                write_str(out, file);
                write_str(out, name);
            }
            Self::Push { job, instance } => {
                out.push(PUSH);
                write_str(out, job);
                write_str(out, instance);
            }
            Self::Embedded(name) => {
                out.push(EMBEDDED);
                write_str(out, name);
            }
        }
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }

    /// Reads what [`GroupKey::write`] wrote; `None` for a kind of source that is not known.
    pub(super) fn read(bytes: &[u8]) -> Result<Option<Self>, CursorError> {
        let mut cursor = Cursor::new(bytes);
        let key = match cursor.u8()? {
            TARGET => Self::Target {
                job: cursor.str()?.to_owned(),
                labels: cursor.sized_bytes()?.to_vec(),
            },
            RULES => Self::Rules { file: cursor.str()?.to_owned(), name: cursor.str()?.to_owned() },
            PUSH => {
                Self::Push { job: cursor.str()?.to_owned(), instance: cursor.str()?.to_owned() }
            }
            EMBEDDED => Self::Embedded(cursor.str()?.to_owned()),
            _ => return Ok(None),
        };
        cursor.finish()?;
        Ok(Some(key))
    }
}

/// Every group of the head. Numbers are never used again.
#[derive(Debug, Default)]
pub(super) struct GroupTable {
    groups: Vec<Option<Arc<Group>>>,
    /// No group ever had a number from here on, nor from the length of `groups` on.
    numbers_end: u32,
    /// Groups of a source, the root first.
    by_source: HashMap<Vec<u8>, Vec<u32>>,
}

impl GroupTable {
    pub(super) fn by_id(&self, id: u32) -> Option<&Arc<Group>> {
        self.groups.get(id as usize)?.as_ref()
    }

    /// Groups of the source with these key bytes, the root first.
    pub(super) fn of_source(&self, key: &[u8]) -> &[u32] {
        self.by_source.get(key).map_or(&[], Vec::as_slice)
    }

    /// A further group of the source; the first becomes its root.
    pub(super) fn add(&mut self, key: &GroupKey) -> Arc<Group> {
        let id = self.numbers_end();
        self.groups.resize(id as usize, None);
        let siblings = self.by_source.entry(key.to_bytes()).or_default();
        siblings.push(id);
        let group = Group::new(id, siblings[0], key.clone());
        self.groups.push(Some(Arc::clone(&group)));
        group
    }

    /// The number of the next group.
    pub(super) fn numbers_end(&self) -> u32 {
        self.numbers_end.max(self.groups.len() as u32)
    }

    /// Numbers below `end` were given to groups that are gone.
    pub(super) fn skip_numbers(&mut self, end: u32) {
        self.numbers_end = self.numbers_end.max(end);
    }

    /// Puts a group where the log or a checkpoint says it was; the one there stays.
    pub(super) fn restore(&mut self, id: u32, root: u32, key: &GroupKey) -> Arc<Group> {
        if let Some(group) = self.by_id(id) {
            return Arc::clone(group);
        }
        if self.groups.len() <= id as usize {
            self.groups.resize(id as usize + 1, None);
        }
        let siblings = self.by_source.entry(key.to_bytes()).or_default();
        if id == root {
            siblings.insert(0, id);
        } else {
            siblings.push(id);
        }
        let group = Group::new(id, root, key.clone());
        self.groups[id as usize] = Some(Arc::clone(&group));
        group
    }

    pub(super) fn remove(&mut self, group: &Group) {
        if let Some(place) = self.groups.get_mut(group.id as usize) {
            *place = None;
        }
        let key = group.key.to_bytes();
        if let Some(siblings) = self.by_source.get_mut(&key) {
            siblings.retain(|&id| id != group.id);
            if siblings.is_empty() {
                self.by_source.remove(&key);
            }
        }
    }

    pub(super) fn all(&self) -> Vec<Arc<Group>> {
        self.groups.iter().flatten().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_back() {
        let keys = [
            GroupKey::Target { job: "node".to_owned(), labels: vec![1, 2, 3] },
            GroupKey::Rules { file: "a.yml".to_owned(), name: String::new() },
            GroupKey::Push { job: "j".to_owned(), instance: "i".to_owned() },
            GroupKey::Embedded("x".to_owned()),
        ];
        for key in keys {
            let bytes = key.to_bytes();
            assert_eq!(GroupKey::read(&bytes), Ok(Some(key)));
            assert!(GroupKey::read(&bytes[..bytes.len() - 1]).is_err());
        }
        assert_eq!(GroupKey::read(&[9]), Ok(None));
    }
}
