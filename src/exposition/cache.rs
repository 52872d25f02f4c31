//! What the last page of a target taught about the next one, and the place on it.
//!
//! The cache keeps one payload of the caller for each sample line. A [`Track`] goes along the
//! lines of the page before: what is met there in order costs nothing, what is not is looked for
//! by the hash of its line. The cache changes in [`Track::finish`] only, so a page that fails
//! half-way leaves it as it was.
//!
//! INVARIANT: `payloads.len() == shape.keys.len()`; comment lines have the default payload.

use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::lines::WalkStep;
use super::shape::{FamilyMetadata, LineKey, LineKind, Shape, ShapePool, is_sample};

/// The cache of one target.
#[derive(Debug)]
pub struct LineCache<P> {
    pool: ShapePool,
    pub(super) shape: Arc<Shape>,
    payloads: Vec<P>,
    /// Pages of another order to bear before the next reordering, and how many it was last time:
    /// a target that shuffles its lines would otherwise have us rebuild the shape every time.
    reorder_wait: u32,
    reorder_wait_last: u32,
}

impl<P: Copy + Default> LineCache<P> {
    /// An empty cache that shares line texts with the other caches of `pool`.
    pub fn new(pool: &ShapePool) -> Self {
        Self {
            pool: pool.clone(),
            shape: Arc::default(),
            payloads: Vec::new(),
            reorder_wait: 0,
            reorder_wait_last: 0,
        }
    }

    pub(super) fn track(&mut self) -> Track<'_, P> {
        Track {
            shape: Arc::clone(&self.shape),
            cache: self,
            cursor: 0,
            run_start: 0,
            pieces: Vec::new(),
            new_lines: Vec::new(),
            met: None,
            index: None,
        }
    }

    /// The payloads of all lines, those of comments (the default) included.
    pub fn payloads_mut(&mut self) -> impl Iterator<Item = &mut P> {
        self.payloads.iter_mut()
    }

    /// Forgets all payloads but not the lines: each comes as its default next time.
    pub fn reset_payloads(&mut self) {
        self.payloads.fill(P::default());
    }

    /// HELP and TYPE of the families of the last page that was finished.
    pub fn metadata(&self) -> Arc<[FamilyMetadata]> {
        Arc::clone(&self.shape.metadata)
    }

    /// Number of lines on the last page that was finished, comments included.
    pub fn lines(&self) -> usize {
        self.payloads.len()
    }

    /// Bytes on the heap that belong to this cache alone.
    pub fn own_bytes(&self) -> usize {
        self.payloads.capacity() * size_of::<P>()
    }
}

/// A stretch of the page in terms of the expected lines.
#[derive(Debug, Clone, Copy)]
enum Piece {
    Known { from: usize, to: usize },
    New(usize),
}

#[derive(Debug)]
struct NewLine<P> {
    key: LineKey,
    payload: P,
}

/// Line hash to place; built when a page first departs from the expected order.
#[derive(Debug, Default)]
struct Index {
    known: HashTable<u32>,
    new: HashTable<u32>,
}

/// The way along one page.
#[derive(Debug)]
pub(super) struct Track<'c, P> {
    pub(super) shape: Arc<Shape>,
    cache: &'c mut LineCache<P>,
    /// The expected line; `run_start..cursor` were met in this order.
    pub(super) cursor: usize,
    run_start: usize,
    pieces: Vec<Piece>,
    new_lines: Vec<NewLine<P>>,
    /// Which expected lines were met; `None` as long as that is `..cursor`.
    met: Option<Vec<bool>>,
    index: Option<Index>,
}

impl<P: Copy + Default> Track<'_, P> {
    pub(super) fn hasher(&self) -> &DefaultHashBuilder {
        self.cache.pool.hasher()
    }

    /// The key of the expected line `at`, if there is one and it was not met already.
    #[inline]
    pub(super) fn expected(&self, at: usize) -> Option<LineKey> {
        let key = *self.shape.keys.get(at)?;
        (!self.met.as_ref().is_some_and(|met| met[at])).then_some(key)
    }

    /// Notes that the expected line `at` is the one that was met.
    #[inline]
    pub(super) fn take(&mut self, at: usize) {
        if at != self.cursor {
            self.end_run();
            self.run_start = at;
        }
        self.cursor = at + 1;
        if let Some(met) = &mut self.met {
            met[at] = true;
        }
    }

    /// Ends a stretch of expected lines in their order.
    fn end_run(&mut self) {
        if self.met.is_none() {
            self.met = Some(self.met());
        }
        if self.run_start < self.cursor {
            self.pieces.push(Piece::Known { from: self.run_start, to: self.cursor });
        }
        self.run_start = self.cursor;
    }

    /// Notes a line that is no sample.
    pub(super) fn place_comment(&mut self, key: LineKey) {
        match self.find_known(key) {
            Some(at) if at >= self.cursor => self.take(at),
            _ => self.push_new(key),
        }
    }

    /// Where the sample line with this key belongs.
    pub(super) fn place_sample(&mut self, key: LineKey) -> (usize, WalkStep) {
        let known = self.find_known(key);
        if let Some(at) = known
            && !self.is_met(at)
        {
            self.take(at);
            return (at, WalkStep::Known);
        }
        let first = known.or_else(|| self.find_new(key));
        if let Some(slot) = first {
            let is_expected = self.shape.keys.get(self.cursor).is_some_and(|expected| {
                expected.hash == key.hash && expected.kind() == LineKind::Repeat
            });
            if is_expected {
                self.take(self.cursor);
            } else {
                self.push_new(LineKey::new(key.hash, key.len(), LineKind::Repeat));
            }
            return (slot, WalkStep::Repeat);
        }
        self.push_new(key);
        (self.shape.keys.len() + self.new_lines.len() - 1, WalkStep::New)
    }

    fn push_new(&mut self, key: LineKey) {
        self.end_run();
        let at = self.new_lines.len();
        self.pieces.push(Piece::New(at));
        self.new_lines.push(NewLine { key, payload: P::default() });
        if key.kind() == LineKind::Sample {
            let new_lines = &self.new_lines;
            self.index.get_or_insert_with(|| Index::of(&self.shape)).new.insert_unique(
                key.hash,
                at as u32,
                |i| new_lines[*i as usize].key.hash,
            );
        }
    }

    /// The expected line with this key, repeats left out; the one at the cursor before others.
    fn find_known(&mut self, key: LineKey) -> Option<usize> {
        let keys = &self.shape.keys;
        let is_same = |at: usize| {
            let known = keys[at];
            known.hash == key.hash && known.len() == key.len() && known.kind() == key.kind()
        };
        if self.cursor < keys.len() && is_same(self.cursor) {
            return Some(self.cursor);
        }
        if keys.is_empty() {
            return None;
        }
        let index = self.index.get_or_insert_with(|| Index::of(&self.shape));
        index.known.find(key.hash, |at| is_same(*at as usize)).map(|at| *at as usize)
    }

    fn find_new(&self, key: LineKey) -> Option<usize> {
        let at = self.index.as_ref()?.new.find(key.hash, |at| {
            let new = self.new_lines[*at as usize].key;
            new.hash == key.hash && new.len() == key.len()
        })?;
        Some(self.shape.keys.len() + *at as usize)
    }

    fn is_met(&self, at: usize) -> bool {
        self.met.as_ref().map_or(at < self.cursor, |met| met[at])
    }

    /// The payload of a line of this walk.
    #[inline]
    pub(super) fn payload(&self, slot: usize) -> P {
        match self.cache.payloads.get(slot) {
            Some(payload) => *payload,
            None => self.new_lines[slot - self.cache.payloads.len()].payload,
        }
    }

    /// Replaces the payload of a line of this walk. That of a known line changes at once, that of
    /// a new one comes into the cache with [`Walk::finish`].
    #[inline]
    pub(super) fn set_payload(&mut self, slot: usize, payload: P) {
        let known = self.cache.payloads.len();
        match self.cache.payloads.get_mut(slot) {
            Some(place) => *place = payload,
            None => self.new_lines[slot - known].payload = payload,
        }
    }

    /// Whether the page so far has the lines of the last page, in their order, and no others.
    fn is_unchanged(&self) -> bool {
        self.met.is_none() && self.cursor == self.shape.keys.len()
    }

    /// Once the page was walked to its end: payloads of the sample lines that it lacks.
    pub(super) fn gone(&self) -> Vec<P> {
        if self.is_unchanged() {
            return Vec::new();
        }
        let met = self.met();
        let keys = self.shape.keys.iter().zip(&self.cache.payloads).zip(met);
        keys.filter(|((key, _), met)| !met && key.kind() == LineKind::Sample)
            .map(|((_, payload), _)| *payload)
            .collect()
    }

    /// Once the page was walked to its end and it lacks lines: the payloads of those it has.
    pub(super) fn met_payloads(&self) -> impl Iterator<Item = P> {
        let met = self.met();
        let known = self.cache.payloads.iter().zip(met).filter(|(_, met)| *met).map(|(p, _)| *p);
        known.chain(self.new_lines.iter().map(|line| line.payload))
    }

    fn met(&self) -> Vec<bool> {
        self.met
            .clone()
            .unwrap_or_else(|| (0..self.shape.keys.len()).map(|at| at < self.cursor).collect())
    }

    /// Makes this page, walked to its end, the expected one. `metadata` gives what its families
    /// say, `text` the prefixes of its lines.
    pub(super) fn finish(
        mut self,
        metadata: impl FnOnce() -> Arc<[FamilyMetadata]>,
        text: impl FnOnce(&[LineKey], &DefaultHashBuilder) -> Option<Box<[u8]>>,
    ) {
        if self.is_unchanged() {
            self.cache.reorder_wait_last = self.cache.reorder_wait_last.saturating_sub(1);
            return;
        }
        self.end_run();
        let met = self.met();
        let has_other_comments = self.new_lines.iter().any(|line| !is_sample(line.key))
            || self.shape.keys.iter().zip(&met).any(|(key, met)| !met && !is_sample(*key));
        if self.new_lines.is_empty() && met.iter().all(|met| *met) {
            if self.cache.reorder_wait > 0 {
                self.cache.reorder_wait -= 1;
                return;
            }
            self.cache.reorder_wait_last = (self.cache.reorder_wait_last * 2 + 1).min(63);
            self.cache.reorder_wait = self.cache.reorder_wait_last;
        }
        let mut keys = Vec::with_capacity(self.shape.keys.len() + self.new_lines.len());
        let mut payloads = Vec::with_capacity(keys.capacity());
        for piece in &self.pieces {
            match piece {
                Piece::Known { from, to } => {
                    keys.extend_from_slice(&self.shape.keys[*from..*to]);
                    payloads.extend_from_slice(&self.cache.payloads[*from..*to]);
                }
                Piece::New(at) => {
                    keys.push(self.new_lines[*at].key);
                    payloads.push(self.new_lines[*at].payload);
                }
            }
        }
        let mut offset = 0_u32;
        for key in &mut keys {
            *key = key.at_offset(offset);
            // A page beyond 4 GiB is not remembered; it is read line by line each time.
            let Some(next) = offset.checked_add(key.len() as u32) else { return };
            offset = next;
        }
        payloads.shrink_to_fit();
        let metadata =
            if has_other_comments { metadata() } else { Arc::clone(&self.shape.metadata) };
        let pool = &self.cache.pool;
        let text = |keys: &[LineKey]| text(keys, pool.hasher());
        self.cache.shape = pool.intern(keys, metadata, text);
        self.cache.payloads = payloads;
    }
}

impl Index {
    fn of(shape: &Shape) -> Self {
        let mut known = HashTable::with_capacity(shape.keys.len());
        for (at, key) in shape.keys.iter().enumerate() {
            if key.kind() != LineKind::Repeat {
                known.insert_unique(key.hash, at as u32, |i: &u32| shape.keys[*i as usize].hash);
            }
        }
        Self { known, new: HashTable::new() }
    }
}
