//! Deletions from data of Prometheus, which is never written.
//!
//! What a deletion hides of a block stands in `narthex/tombstones/<ULID>.prometheus.tomb`. The
//! deletion itself is remembered too, because a Prometheus that is started on its directory again
//! knows nothing of it: what it merges, and what it writes of its log, comes back as a block of
//! another name. INVARIANT: a block is served only with every deletion that concerns it:
//!
//! - one of its own name that was made before the block was last looked at is in its tombstones;
//!   one that was made while it was not served is made up for when it is;
//! - a block that is new, and was made of others that were there (its `sources` tell), takes
//!   theirs over;
//! - of any other new block that is hidden which was imported from the log before the deletion.
//!
//! Bytes: `storage-format.md`, section 11.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;

use super::state::State;
use super::{HEAD_DIRS, Takeover, lock};
use crate::block::Ulid;
use crate::db::Event;
use crate::disk::StorageError;
use crate::model::{Labels, MatchOp, Matcher, TimeRange};
use crate::prometheus::{Block, BlockMeta};

/// A deletion, as it is remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::db) struct Deletion {
    /// Ascending in the order in which they were made, from 1.
    pub(super) number: u64,
    pub(super) range: TimeRange,
    /// The part of it that was imported from the log.
    pub(super) in_log: Option<TimeRange>,
    /// Blocks that were there, and those that they were made of.
    pub(super) sources: BTreeSet<Ulid>,
    /// Matchers as [`write_matcher`] writes them.
    pub(super) matchers: Vec<String>,
}

/// Characters that stand for themselves in the text of a matcher.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_.:/-".contains(&byte)
}

fn write_escaped(out: &mut String, text: &str) {
    for &byte in text.as_bytes() {
        if is_plain(byte) {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02x}").expect("BUG: writing to memory succeeds");
        }
    }
}

fn read_escaped(text: &str) -> Option<String> {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let mut digit = || char::from(bytes.next()?).to_digit(16);
            out.push((digit()? * 16 + digit()?) as u8);
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok()
}

fn write_matcher(matcher: &Matcher) -> String {
    let mut out = String::new();
    write_escaped(&mut out, &matcher.name);
    out.push_str(match matcher.op {
        MatchOp::Equal => "=",
        MatchOp::NotEqual => "!=",
        MatchOp::Regex => "=~",
        MatchOp::NotRegex => "!~",
    });
    write_escaped(&mut out, &matcher.value);
    out
}

fn read_matcher(text: &str) -> Option<Matcher> {
    let (name, rest) = text.split_at(text.find(['=', '!'])?);
    let (op, value) = [
        ("!=", MatchOp::NotEqual),
        ("=~", MatchOp::Regex),
        ("!~", MatchOp::NotRegex),
        ("=", MatchOp::Equal),
    ]
    .into_iter()
    .find_map(|(sign, op)| Some((op, rest.strip_prefix(sign)?)))?;
    Matcher::new(read_escaped(name)?, op, read_escaped(value)?).ok()
}

fn read_range(text: &str) -> Option<TimeRange> {
    let (min_ms, max_ms) = text.split_once("..")?;
    Some(TimeRange { min_ms: min_ms.parse().ok()?, max_ms: max_ms.parse().ok()? })
}

impl Deletion {
    /// The line behind its first word.
    pub(super) fn to_line(&self) -> String {
        let TimeRange { min_ms, max_ms } = self.range;
        let in_log = self.in_log.map_or("-".to_owned(), |r| format!("{}..{}", r.min_ms, r.max_ms));
        let sources: Vec<String> = self.sources.iter().map(ToString::to_string).collect();
        let sources = if sources.is_empty() { "-".to_owned() } else { sources.join(",") };
        let mut line = format!("{} {min_ms}..{max_ms} {in_log} {sources}", self.number);
        for matcher in &self.matchers {
            line.push(' ');
            line.push_str(matcher);
        }
        line
    }

    /// Reads [`Deletion::to_line`].
    pub(super) fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split(' ');
        let number = fields.next()?.parse().ok()?;
        let range = read_range(fields.next()?)?;
        let in_log = match fields.next()? {
            "-" => None,
            text => Some(read_range(text)?),
        };
        let sources = match fields.next()? {
            "-" => BTreeSet::new(),
            text => text.split(',').map(Ulid::parse).collect::<Option<_>>()?,
        };
        let matchers: Vec<String> = fields.map(str::to_owned).collect();
        matchers.iter().all(|text| read_matcher(text).is_some()).then_some(Self {
            number,
            range,
            in_log,
            sources,
            matchers,
        })
    }

    fn matchers(&self) -> Vec<Matcher> {
        let read = |text: &String| read_matcher(text).expect("BUG: it was read or made here");
        self.matchers.iter().map(read).collect()
    }

    /// What it hides of a block that had the deletions up to `known`; `None`: of a new one.
    fn concerns(&self, meta: &BlockMeta, known: Option<u64>) -> Option<TimeRange> {
        let is_descendant = || ancestors(meta).any(|source| self.sources.contains(&source));
        match known {
            Some(number) => (number < self.number).then_some(self.range),
            None if is_descendant() => Some(self.range),
            None => self.in_log,
        }
        .filter(|range| meta.range.overlaps(*range))
    }
}

/// A block's name, and the names of those it was made of.
pub(super) fn ancestors(meta: &BlockMeta) -> impl Iterator<Item = Ulid> {
    let others = meta.sources.iter().chain(&meta.parents).copied();
    std::iter::once(meta.ulid).chain(others)
}

impl State {
    /// What deletions hide, of all that is imported from the log, of the series `labels`.
    pub(super) fn hidden_in_log(&self, labels: &Labels) -> Vec<TimeRange> {
        let hides = |deletion: &&Deletion| {
            deletion.in_log.is_some()
                && deletion
                    .matchers()
                    .iter()
                    .all(|m| m.matches(labels.get(&m.name).unwrap_or_default()))
        };
        self.deletions.iter().filter(hides).filter_map(|deletion| deletion.in_log).collect()
    }

    /// Number of the last deletion, of those too that are forgotten.
    fn last_deletion(&self) -> u64 {
        let numbers = self.deletions.iter().map(|deletion| deletion.number);
        numbers.chain(self.known.values().copied()).max().unwrap_or(0)
    }
}

impl Takeover {
    /// Hides `range` of the series that satisfy `matchers` in every block, and remembers it;
    /// durable on return. After an error a part may be hidden. The caller sees to it that there
    /// is one call at a time.
    pub(in crate::db) fn delete(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<(), StorageError> {
        let list = self.list();
        let in_log = lock(&self.state).log_range.filter(|log| log.overlaps(range));
        let in_log = in_log.map(|log| TimeRange {
            min_ms: log.min_ms.max(range.min_ms),
            max_ms: log.max_ms.min(range.max_ms),
        });
        let sources = self.sources();
        if sources.is_empty() && in_log.is_none() {
            return Ok(());
        }
        let mut result = Ok(());
        let mut hidden = Vec::new();
        for block in list.iter() {
            let done = if block.meta().range.overlaps(range) {
                self.hide(block, matchers, range)
            } else {
                Ok(())
            };
            hidden.extend(done.is_ok().then_some(block.meta().ulid));
            result = result.and(done);
        }
        let matchers = matchers.iter().map(write_matcher).collect();
        let remembered = self.remember(|state| {
            let number = state.last_deletion() + 1;
            // One that failed on a block is made up for when the block is opened again.
            for ulid in hidden {
                if let Some(known) = state.known.get_mut(&ulid).filter(|k| **k == number - 1) {
                    *known = number;
                }
            }
            state.deletions.push(Deletion { number, range, in_log, sources, matchers });
        });
        result.and(remembered)
    }

    /// Names of all blocks that are there or were copied, and of those they were made of.
    fn sources(&self) -> BTreeSet<Ulid> {
        let mut sources: BTreeSet<Ulid> =
            self.list().iter().flat_map(|block| ancestors(block.meta())).collect();
        sources.extend(lock(&self.shelved).values().flat_map(|shelf| &shelf.sources));
        let imported = lock(&self.state).imported.clone();
        for ulid in imported {
            sources.insert(ulid);
            if let Ok(meta) = BlockMeta::read(&*self.disk, &self.data.join(ulid.to_string())) {
                sources.extend(ancestors(&meta));
            }
        }
        sources
    }

    fn hide(
        &self,
        block: &Arc<Block>,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<(), StorageError> {
        let series = block.numbers(matchers, range)?;
        let own = block.meta().range;
        let range = TimeRange {
            min_ms: range.min_ms.max(own.min_ms),
            max_ms: range.max_ms.min(own.max_ms),
        };
        block.set_tombstones(self.tombstones.hide(block.meta().ulid, &series, range)?);
        Ok(())
    }

    /// Makes a block that was just opened ready to be served: with its tombstones, and with the
    /// deletions that it missed.
    pub(super) fn hide_missed(&self, block: &Arc<Block>) {
        let ulid = block.meta().ulid;
        block.set_tombstones(self.tombstones.of(ulid));
        let (deletions, known, last) = {
            let state = lock(&self.state);
            (state.deletions.clone(), state.known.get(&ulid).copied(), state.last_deletion())
        };
        for deletion in &deletions {
            let Some(range) = deletion.concerns(block.meta(), known) else { continue };
            if let Err(error) = self.hide(block, &deletion.matchers(), range) {
                let text = format!("deleted samples of a block of Prometheus may show: {error}");
                self.observer.event(&Event::Warning(text));
                return;
            }
        }
        lock(&self.state).known.insert(ulid, last);
    }

    /// Forgets what concerns blocks that are nowhere any more, and keeps the rest. Called when
    /// the blocks were looked at.
    pub(super) fn settle_deletions(&self, names: &BTreeSet<Ulid>) -> Result<(), StorageError> {
        for ulid in self.tombstones.blocks() {
            if !names.contains(&ulid) {
                self.tombstones.remove(ulid)?;
            }
        }
        let has_all = lock(&self.troubles).is_empty();
        let has_log = HEAD_DIRS.iter().any(|dir| self.disk.exists(&self.data.join(dir)));
        let sources = self.sources();
        let is_due = {
            let mut state = lock(&self.state);
            let before = state.deletions.len();
            state.known.retain(|ulid, _| names.contains(ulid));
            if has_all {
                state.deletions.retain(|deletion| {
                    let concerns_log = has_log && deletion.in_log.is_some();
                    concerns_log || !deletion.sources.is_disjoint(&sources)
                });
            }
            // Without deletions there is nothing that a block could have missed.
            before > 0
        };
        if is_due { self.remember(|_| {}) } else { Ok(()) }
    }

    /// Blocks of which something is hidden that stays in their files.
    pub(in crate::db) fn marked(&self) -> Vec<Arc<Block>> {
        let list = self.list();
        list.iter().filter(|block| !block.tombstones().is_empty()).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let matchers = [
            Matcher::equal("__name__", "a b=c!d~e%f\n,"),
            Matcher::new("é", MatchOp::NotEqual, "").unwrap(),
            Matcher::new("x", MatchOp::Regex, "a|b.*").unwrap(),
            Matcher::new("y", MatchOp::NotRegex, "~").unwrap(),
        ];
        for matcher in &matchers {
            let read = read_matcher(&write_matcher(matcher)).unwrap();
            assert_eq!(
                (read.name, read.op, read.value),
                (matcher.name.clone(), matcher.op, matcher.value.clone())
            );
        }
        let mut deletion = Deletion {
            number: 3,
            range: TimeRange::ALL,
            in_log: None,
            sources: BTreeSet::new(),
            matchers: Vec::new(),
        };
        assert_eq!(Deletion::parse(&deletion.to_line()), Some(deletion.clone()));
        deletion.in_log = Some(TimeRange { min_ms: -5, max_ms: 7 });
        deletion.sources = [Ulid::new(1, None), Ulid::new(2, None)].into();
        deletion.matchers = matchers.iter().map(write_matcher).collect();
        let line = deletion.to_line();
        assert_eq!(line.lines().count(), 1);
        assert_eq!(Deletion::parse(&line), Some(deletion));
        for broken in
            ["", "x", "1 2", "1 2..3 - -x", "1 2..3 - - x", "1 2..3 - - x=~(", "1 2..3 - - x=%2"]
        {
            assert_eq!(Deletion::parse(broken), None, "{broken}");
        }
    }
}
