//! The positional line cache: what the last page of a target taught about the next one.
//!
//! A [`Walk`] goes through a page line by line beside the lines of the page before. Where the
//! prefix is the expected one, a line costs one comparison and one number. Where it is not, the
//! next few expected lines are tried (lines went away), then the line is parsed in full and
//! looked up by the hash of its prefix (lines moved), and only what is not found is new.
//!
//! The cache keeps one payload of the caller for each sample line. It changes in
//! [`Walk::finish`] only, so a page that fails half-way leaves it as it was.
//!
//! INVARIANT: `payloads.len() == shape.keys.len()`; comment lines have the default payload.

use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::HashTable;

use super::MetricType;
use super::float::{parse_fast_prefix, parse_value};
use super::shape::{
    FamilyMetadata, LineKey, LineKind, Shape, ShapePool, collect_metadata, collect_text, is_sample,
};
use super::text::{Entry, LINE_BYTES_MAX, LabelText, ParseError, TextParser};
use crate::model::LabelsBuilder;

/// How many expected lines are looked at before a line is parsed in full.
const LOOK_AHEAD: usize = 8;

/// One sample line of a page.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Line {
    /// Names the line in calls to the walk.
    pub slot: usize,
    /// Whether the line was there before.
    pub step: WalkStep,
    /// The value; every NaN is the ordinary one.
    pub value: f64,
    /// The time that the page states, in milliseconds.
    pub timestamp_ms: Option<i64>,
}

/// What the cache knows about a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WalkStep {
    /// The line was on the last page; its payload is what the caller left there.
    Known,
    /// The line is new; its labels are [`Walk::labels_builder`], its payload is the default.
    New,
    /// The same line stood further up on this page; `slot` is that one's.
    Repeat,
}

/// The cache of one target.
#[derive(Debug)]
pub struct LineCache<P> {
    pool: ShapePool,
    shape: Arc<Shape>,
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

    /// Starts on a page.
    pub fn walk<'a>(&'a mut self, page: &'a [u8]) -> Walk<'a, P> {
        Walk {
            page,
            position: 0,
            shape: Arc::clone(&self.shape),
            cache: self,
            cursor: 0,
            run_start: 0,
            pieces: Vec::new(),
            new_lines: Vec::new(),
            met: None,
            index: None,
            metric_type: MetricType::Unknown,
            line_start: 0,
            parser: None,
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

/// A walk along one page.
#[derive(Debug)]
pub struct Walk<'a, P> {
    page: &'a [u8],
    position: usize,
    shape: Arc<Shape>,
    cache: &'a mut LineCache<P>,
    /// The expected line; `run_start..cursor` were met in this order.
    cursor: usize,
    run_start: usize,
    pieces: Vec<Piece>,
    new_lines: Vec<NewLine<P>>,
    /// Which expected lines were met; `None` as long as that is `..cursor`.
    met: Option<Vec<bool>>,
    index: Option<Index>,
    metric_type: MetricType,
    /// Where the last sample line began.
    line_start: usize,
    parser: Option<TextParser<'a>>,
}

impl<'a, P: Copy + Default> Walk<'a, P> {
    /// The next sample line; `None` at the end of the page. An error rejects the page: drop the
    /// walk.
    #[inline]
    pub fn next_line(&mut self) -> Result<Option<Line>, ParseError> {
        loop {
            if let Some((line, is_sample)) = self.expected_line(self.cursor) {
                if !is_sample {
                    continue;
                }
                return Ok(Some(line));
            }
            match self.other_line()? {
                Met::Sample(line) => return Ok(Some(line)),
                Met::Comment => {}
                Met::End => return Ok(None),
            }
        }
    }

    /// Takes the line at the current position if it is the expected line `at`.
    #[inline]
    fn expected_line(&mut self, at: usize) -> Option<(Line, bool)> {
        let key = *self.shape.keys.get(at)?;
        if self.met.as_ref().is_some_and(|met| met[at]) {
            return None;
        }
        let end = self.position + key.len();
        let candidate = self.page.get(self.position..end)?;
        if !self.shape.is_prefix(&key, candidate, self.cache.pool.hasher()) {
            return None;
        }
        let mut line = Line { slot: at, step: WalkStep::Known, value: 0.0, timestamp_ms: None };
        let is_sample = match key.kind() {
            LineKind::Sample => {
                // A bare name could be the beginning of a longer one.
                if !matches!(self.page.get(end), Some(b' ' | b'\t'))
                    && candidate.last() != Some(&b'}')
                {
                    return None;
                }
                let rest = rest_of_line(self.page, end)?;
                self.line_start = self.position;
                (line.value, line.timestamp_ms, self.position) = rest;
                true
            }
            // Whether the first of the two is there decides: the way by the index finds out.
            LineKind::Repeat => return None,
            kind => {
                if candidate.last() != Some(&b'\n') && end != self.page.len() {
                    return None;
                }
                if let LineKind::Type(metric_type) = kind {
                    self.metric_type = metric_type;
                }
                self.position = end;
                false
            }
        };
        self.take(at);
        Some((line, is_sample))
    }

    /// Notes that the expected line `at` is the one that was met.
    #[inline]
    fn take(&mut self, at: usize) {
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

    #[cold]
    fn other_line(&mut self) -> Result<Met, ParseError> {
        while self.page.get(self.position) == Some(&b'\n') {
            self.position += 1;
        }
        if self.position >= self.page.len() {
            return Ok(Met::End);
        }
        // From the cursor again: blank lines may have stood before the expected one.
        for at in self.cursor..self.cursor + LOOK_AHEAD {
            if let Some((line, is_sample)) = self.expected_line(at) {
                return Ok(if is_sample { Met::Sample(line) } else { Met::Comment });
            }
        }
        let mut parser = TextParser::at(self.page, self.position, self.metric_type);
        let Some(entry) = parser.next_entry()? else {
            self.position = self.page.len();
            return Ok(Met::End);
        };
        self.position = parser.position().min(self.page.len());
        self.metric_type = parser.metric_type();
        let start = parser.entry_start();
        let (kind, end) = match &entry {
            Entry::Series { text, .. } => (LineKind::Sample, start + text.len()),
            Entry::Type { metric_type, .. } => (LineKind::Type(*metric_type), self.position),
            Entry::Help { .. } | Entry::Comment(_) => (LineKind::Comment, self.position),
        };
        let prefix = &self.page[start..end];
        if prefix.len() > LINE_BYTES_MAX {
            return Err(ParseError::LineTooLong(prefix.len()));
        }
        let key = LineKey::new(self.cache.pool.hasher().hash_one(prefix), prefix.len(), kind);
        let Entry::Series { value, timestamp_ms, .. } = entry else {
            self.place_comment(key);
            return Ok(Met::Comment);
        };
        self.line_start = start;
        self.parser = Some(parser);
        let (slot, step) = self.place_sample(key);
        Ok(Met::Sample(Line { slot, step, value, timestamp_ms }))
    }

    fn place_comment(&mut self, key: LineKey) {
        match self.find_known(key) {
            Some(at) if at >= self.cursor => self.take(at),
            _ => self.push_new(key),
        }
    }

    /// Where the sample line with this key belongs.
    fn place_sample(&mut self, key: LineKey) -> (usize, WalkStep) {
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

    /// The labels of the line that came last, as [`TextParser::labels`] gives them. A known line
    /// is parsed again for it.
    pub fn labels(&self) -> Result<Vec<LabelText<'a>>, ParseError> {
        self.with_parser(TextParser::labels)
    }

    /// The labels of the line that came last; see [`TextParser::labels_builder`].
    pub fn labels_builder(&self) -> Result<LabelsBuilder, ParseError> {
        self.with_parser(TextParser::labels_builder)
    }

    fn with_parser<T>(
        &self,
        use_it: impl FnOnce(&TextParser<'a>) -> Result<T, ParseError>,
    ) -> Result<T, ParseError> {
        match &self.parser {
            Some(parser) if parser.entry_start() == self.line_start => use_it(parser),
            _ => {
                let mut parser = TextParser::at(self.page, self.line_start, self.metric_type);
                parser.next_entry()?;
                use_it(&parser)
            }
        }
    }

    /// The payload of a line of this walk.
    #[inline]
    pub fn payload(&self, slot: usize) -> P {
        match self.cache.payloads.get(slot) {
            Some(payload) => *payload,
            None => self.new_lines[slot - self.cache.payloads.len()].payload,
        }
    }

    /// Replaces the payload of a line of this walk. That of a known line changes at once, that of
    /// a new one comes into the cache with [`Walk::finish`].
    #[inline]
    pub fn set_payload(&mut self, slot: usize, payload: P) {
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
    pub fn gone(&self) -> Vec<P> {
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
    pub fn met_payloads(&self) -> impl Iterator<Item = P> {
        let met = self.met();
        let known = self.cache.payloads.iter().zip(met).filter(|(_, met)| *met).map(|(p, _)| *p);
        known.chain(self.new_lines.iter().map(|line| line.payload))
    }

    fn met(&self) -> Vec<bool> {
        self.met
            .clone()
            .unwrap_or_else(|| (0..self.shape.keys.len()).map(|at| at < self.cursor).collect())
    }

    /// Makes this page, walked to its end, the expected one.
    pub fn finish(mut self) {
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
        let metadata = if has_other_comments {
            collect_metadata(self.page)
        } else {
            Arc::clone(&self.shape.metadata)
        };
        let pool = &self.cache.pool;
        let text = |keys: &[LineKey]| collect_text(self.page, keys, pool.hasher());
        self.cache.shape = pool.intern(keys, metadata, text);
        self.cache.payloads = payloads;
    }
}

enum Met {
    Sample(Line),
    Comment,
    End,
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

/// Value, timestamp and the beginning of the next line, for what follows a prefix that ends at
/// `at`; `None` where the full parser has to decide.
#[inline]
fn rest_of_line(page: &[u8], at: usize) -> Option<(f64, Option<i64>, usize)> {
    let at = skip_blanks(page, at);
    let (value, end) = match parse_fast_prefix(&page[at..]) {
        Some((value, used)) => (value, at + used),
        None => slow_value(page, at)?,
    };
    match page.get(end) {
        Some(b'\n') => return Some((value, None, end + 1)),
        None => return Some((value, None, end)),
        Some(b' ' | b'\t') => {}
        Some(_) => return None,
    }
    let start = skip_blanks(page, end);
    let mut timestamp_ms = 0_i64;
    let mut at = start;
    while let Some(digit) = page.get(at).map(|b| b.wrapping_sub(b'0')).filter(|d| *d < 10) {
        timestamp_ms = timestamp_ms.wrapping_mul(10).wrapping_add(i64::from(digit));
        at += 1;
    }
    if at - start > 18 {
        return None;
    }
    let timestamp_ms = (at > start).then_some(timestamp_ms);
    match page.get(at) {
        Some(b'\n') => Some((value, timestamp_ms, at + 1)),
        None => Some((value, timestamp_ms, at)),
        Some(_) => None,
    }
}

fn skip_blanks(page: &[u8], mut at: usize) -> usize {
    while matches!(page.get(at), Some(b' ' | b'\t')) {
        at += 1;
    }
    at
}

/// `NaN`, `+Inf` and long numbers.
fn slow_value(page: &[u8], at: usize) -> Option<(f64, usize)> {
    let len = page[at..].iter().position(|b| matches!(b, b' ' | b'\t' | b'\n' | b'{' | 0));
    let end = len.map_or(page.len(), |len| at + len);
    Some((parse_value(&page[at..end]).ok()?, end))
}

#[cfg(test)]
mod tests;
