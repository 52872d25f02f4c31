//! A page read beside the lines of the page before.
//!
//! Where the prefix of a line is the expected one, a line costs one comparison and one number.
//! Where it is not, the next few expected lines are tried (lines went away), then the line is
//! parsed in full and looked up by the hash of its prefix (lines moved), and only what is not
//! found is new. Formats that are not lines of text, and pages whose histograms are converted, are
//! parsed entry by entry; what is known of them are their labels.

use std::hash::BuildHasher;
use std::sync::Arc;

use super::MetricType;
use super::cache::{LineCache, Track};
use super::error::ParseError;
use super::family::About;
use super::float::{parse_fast_prefix, parse_value};
use super::openmetrics::{OpenMetricsParser, PageExemplar};
use super::page::{Format, PageParser, ParseOptions};
use super::shape::{LineKey, LineKind, collect_metadata, collect_text};
use super::text::{Entry, LINE_BYTES_MAX, LabelText, TextParser};
use crate::model::{Histogram, LabelsBuilder};

/// How many expected lines are looked at before a line is parsed in full.
const LOOK_AHEAD: usize = 8;

/// One sample line of a page.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Line {
    /// Names the line in calls to the walk.
    pub slot: usize,
    /// Whether the line was there before.
    pub step: WalkStep,
    /// The value; every NaN is the ordinary one. Of a histogram the sum.
    pub value: f64,
    /// The time that the page states, in milliseconds.
    pub timestamp_ms: Option<i64>,
    /// Whether it is a native histogram: [`Walk::take_histogram`].
    pub is_histogram: bool,
    /// Whether there are exemplars: [`Walk::exemplars`].
    pub has_exemplars: bool,
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

impl<P: Copy + Default> LineCache<P> {
    /// Starts on a page of that format.
    pub fn walk<'a>(
        &'a mut self,
        page: &'a [u8],
        format: Format,
        options: ParseOptions,
    ) -> Walk<'a, P> {
        let is_lines = match format {
            Format::Text => !options.convert_classic,
            Format::OpenMetrics => !options.convert_classic && !options.reads_starts,
            Format::Protobuf => false,
        };
        let entries = (!is_lines).then(|| PageParser::new(page, format, options));
        let needs_units = is_lines && options.type_and_unit_labels && format != Format::Text;
        Walk {
            page,
            source: (format, options),
            position: 0,
            track: self.track(),
            metric_type: MetricType::Unknown,
            line_start: 0,
            parser: entries,
            behind: None,
            fault: None,
            is_lines,
            histogram: None,
            about: needs_units.then(About::default),
        }
    }
}

/// A walk along one page.
#[derive(Debug)]
pub struct Walk<'a, P> {
    page: &'a [u8],
    source: (Format, ParseOptions),
    position: usize,
    track: Track<'a, P>,
    metric_type: MetricType,
    /// Where the last sample line began.
    line_start: usize,
    /// Reads all entries, or has read the last line that was parsed in full.
    parser: Option<PageParser<'a>>,
    /// Has read the exemplar of the last sample line, where that was known.
    behind: Option<OpenMetricsParser<'a>>,
    /// What the next line is instead.
    fault: Option<ParseError>,
    is_lines: bool,
    histogram: Option<Arc<Histogram>>,
    /// What the page said last of a family, where that is asked for or needed.
    about: Option<About<'a>>,
}

impl<'a, P: Copy + Default> Walk<'a, P> {
    /// The next sample line; `None` at the end of the page. An error rejects the page: drop the
    /// walk.
    #[inline]
    pub fn next_line(&mut self) -> Result<Option<Line>, ParseError> {
        if !self.is_lines {
            return self.next_parsed();
        }
        loop {
            if let Some((line, is_sample)) = self.expected_line(self.track.cursor) {
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
        let key = self.track.expected(at)?;
        let end = self.position + key.len();
        let candidate = self.page.get(self.position..end)?;
        if !self.track.shape.is_prefix(&key, candidate, self.track.hasher()) {
            return None;
        }
        let mut line = Line {
            slot: at,
            step: WalkStep::Known,
            value: 0.0,
            timestamp_ms: None,
            is_histogram: false,
            has_exemplars: false,
        };
        let is_sample = match key.kind() {
            LineKind::Sample => {
                let rest = if self.source.0 == Format::Text {
                    // A bare name could be the beginning of a longer one.
                    if !matches!(self.page.get(end), Some(b' ' | b'\t'))
                        && candidate.last() != Some(&b'}')
                    {
                        return None;
                    }
                    rest_of_line(self.page, end)?
                } else if let Some(rest) = rest_of_openmetrics_line(self.page, end) {
                    rest
                } else {
                    line.has_exemplars = true;
                    self.line_with_exemplar(end)?
                };
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
                if self.about.is_some() {
                    self.note_known(self.position);
                }
                self.position = end;
                false
            }
        };
        self.track.take(at);
        Some((line, is_sample))
    }

    /// The rest of a line of OpenMetrics, from `end` on, that has an exemplar; `None` where the
    /// full parser has to decide.
    fn line_with_exemplar(&mut self, end: usize) -> Option<(f64, Option<i64>, usize)> {
        let places = (self.position, end);
        let read = OpenMetricsParser::behind_labels(self.page, places, self.metric_type);
        let (mut parser, value, timestamp_ms) = read.ok()?;
        if parser.take_fault().is_some() {
            return None;
        }
        let position = parser.position();
        self.behind = Some(parser);
        Some((value, timestamp_ms, position))
    }

    fn text_at(&self, position: usize) -> TextParser<'a> {
        let parser = TextParser::at(self.page, position, self.metric_type);
        parser.typed(self.source.1.type_and_unit_labels)
    }

    fn openmetrics_at(&self, position: usize) -> OpenMetricsParser<'a> {
        let parser = OpenMetricsParser::at(self.page, position, self.metric_type);
        let is_typed = self.source.1.type_and_unit_labels;
        parser.typed(self.about.clone().filter(|_| is_typed))
    }

    /// Has [`Walk::about`] tell what the page says of families.
    pub fn keep_families(&mut self) {
        self.about.get_or_insert_default();
    }

    /// What the page last said of a family before the last line, after [`Walk::keep_families`].
    pub fn about(&self) -> Option<&About<'a>> {
        self.about.as_ref()
    }

    /// Takes note of a comment, at `position`, that was recognised and not read.
    fn note_known(&mut self, position: usize) {
        let entry = if self.source.0 == Format::Text {
            self.text_at(position).next_entry()
        } else {
            OpenMetricsParser::at(self.page, position, self.metric_type).next_entry()
        };
        if let (Some(about), Ok(Some(entry))) = (&mut self.about, &entry) {
            about.note(entry);
        }
    }

    #[cold]
    fn other_line(&mut self) -> Result<Met, ParseError> {
        if let Some(fault) = self.fault.take() {
            return Err(fault);
        }
        let is_text = self.source.0 == Format::Text;
        while is_text && self.page.get(self.position) == Some(&b'\n') {
            self.position += 1;
        }
        if is_text && self.position >= self.page.len() {
            return Ok(Met::End);
        }
        // From the cursor again: blank lines may have stood before the expected one.
        for at in self.track.cursor..self.track.cursor + LOOK_AHEAD {
            if let Some((line, is_sample)) = self.expected_line(at) {
                return Ok(if is_sample { Met::Sample(line) } else { Met::Comment });
            }
        }
        let (entry, start, line) = if is_text {
            let mut parser = self.text_at(self.position);
            let Some(entry) = parser.next_entry()? else {
                self.position = self.page.len();
                return Ok(Met::End);
            };
            self.position = parser.position().min(self.page.len());
            (entry, parser.entry_start(), PageParser::Text(parser))
        } else {
            let mut parser = self.openmetrics_at(self.position);
            let Some(entry) = parser.next_entry()? else { return Ok(Met::End) };
            self.position = parser.position();
            self.fault = parser.take_fault();
            if self.fault.is_some() {
                self.position = self.page.len();
            }
            (entry, parser.entry_start(), PageParser::OpenMetrics(parser))
        };
        self.metric_type = line.metric_type();
        if let Some(about) = &mut self.about {
            about.note(&entry);
        }
        let (kind, end) = match &entry {
            Entry::Series { text, .. } => (LineKind::Sample, start + text.len()),
            Entry::Type { metric_type, .. } => (LineKind::Type(*metric_type), self.position),
            _ => (LineKind::Comment, self.position),
        };
        let prefix = &self.page[start..end];
        if prefix.len() > LINE_BYTES_MAX {
            return Err(ParseError::LineTooLong(prefix.len()));
        }
        let key = LineKey::new(self.track.hasher().hash_one(prefix), prefix.len(), kind);
        let Entry::Series { value, timestamp_ms, .. } = entry else {
            self.track.place_comment(key);
            return Ok(Met::Comment);
        };
        self.line_start = start;
        let has_exemplars = line.has_exemplars();
        self.behind = None;
        self.parser = Some(line);
        let (slot, step) = self.track.place_sample(key);
        let is_histogram = false;
        Ok(Met::Sample(Line { slot, step, value, timestamp_ms, is_histogram, has_exemplars }))
    }

    /// The next sample of a page that is parsed entry by entry.
    fn next_parsed(&mut self) -> Result<Option<Line>, ParseError> {
        loop {
            let parser = self.parser.as_mut().expect("BUG: entries come from a parser");
            let Some(entry) = parser.next_entry()? else { return Ok(None) };
            if let Some(about) = &mut self.about {
                about.note(&entry);
            }
            let hasher = self.track.hasher();
            let (value, timestamp_ms, histogram) = match &entry {
                Entry::Series { value, timestamp_ms, .. } => (*value, *timestamp_ms, None),
                Entry::Histogram { histogram, timestamp_ms } => {
                    (histogram.sum(), *timestamp_ms, Some(Arc::clone(histogram)))
                }
                Entry::Help { name, text } | Entry::Unit { name, unit: text } => {
                    let tag = matches!(entry, Entry::Help { .. });
                    let hash = hasher.hash_one((tag, name, text));
                    self.track.place_comment(LineKey::new(hash, 0, LineKind::Comment));
                    continue;
                }
                Entry::Type { name, metric_type } => {
                    let key = LineKey::new(hasher.hash_one(name), 0, LineKind::Type(*metric_type));
                    self.track.place_comment(key);
                    continue;
                }
                Entry::Comment(text) => {
                    let hash = hasher.hash_one(text);
                    self.track.place_comment(LineKey::new(hash, 0, LineKind::Comment));
                    continue;
                }
            };
            let (hash, len) = parser.key(&entry, hasher);
            let has_exemplars = parser.has_exemplars();
            let key = LineKey::new(hash, len.min(LINE_BYTES_MAX), LineKind::Sample);
            let (slot, step) = self.track.place_sample(key);
            let is_histogram = histogram.is_some();
            self.histogram = histogram;
            let line = Line { slot, step, value, timestamp_ms, is_histogram, has_exemplars };
            return Ok(Some(line));
        }
    }

    /// The histogram that the last line is; once.
    pub fn take_histogram(&mut self) -> Option<Arc<Histogram>> {
        self.histogram.take()
    }

    /// The exemplars of the last line, if it has any.
    pub fn exemplars(&mut self) -> Result<Vec<PageExemplar>, ParseError> {
        if self.is_lines
            && let Some(behind) = &self.behind
        {
            return Ok(behind.exemplar().into_iter().collect());
        }
        match &mut self.parser {
            Some(parser) => parser.exemplars(),
            None => Ok(Vec::new()),
        }
    }

    /// When the series of the last line began to count, in milliseconds; 0: not known, or not
    /// asked for.
    pub fn start_ms(&mut self) -> i64 {
        match &mut self.parser {
            Some(parser) if !self.is_lines && self.source.1.reads_starts => parser.start_ms(),
            _ => 0,
        }
    }

    /// The labels of the line that came last, as [`PageParser::labels`] gives them. A known line
    /// is parsed again for it.
    pub fn labels(&mut self) -> Result<Vec<LabelText<'a>>, ParseError> {
        if !self.is_lines {
            let parser = self.parser.as_mut().expect("BUG: entries come from a parser");
            return parser.labels();
        }
        let parsed = match &self.parser {
            Some(PageParser::Text(parser)) => Some(parser.entry_start()),
            Some(PageParser::OpenMetrics(parser)) => Some(parser.entry_start()),
            _ => None,
        };
        if parsed != Some(self.line_start) {
            self.parser = Some(if self.source.0 == Format::Text {
                let mut parser = self.text_at(self.line_start);
                parser.next_entry()?;
                PageParser::Text(parser)
            } else {
                let mut parser = self.openmetrics_at(self.line_start);
                parser.next_entry()?;
                PageParser::OpenMetrics(parser)
            });
        }
        self.parser.as_mut().expect("BUG: it was set just now").labels()
    }

    /// The labels of the line that came last; see [`TextParser::labels_builder`].
    pub fn labels_builder(&mut self) -> Result<LabelsBuilder, ParseError> {
        super::text::build_labels(self.labels()?)
    }

    /// The payload of a line of this walk.
    #[inline]
    pub fn payload(&self, slot: usize) -> P {
        self.track.payload(slot)
    }

    /// Replaces the payload of a line of this walk. That of a known line changes at once, that of
    /// a new one comes into the cache with [`Walk::finish`].
    #[inline]
    pub fn set_payload(&mut self, slot: usize, payload: P) {
        self.track.set_payload(slot, payload);
    }

    /// Once the page was walked to its end: payloads of the sample lines that it lacks.
    pub fn gone(&self) -> Vec<P> {
        self.track.gone()
    }

    /// Once the page was walked to its end and it lacks lines: the payloads of those it has.
    pub fn met_payloads(&self) -> impl Iterator<Item = P> {
        self.track.met_payloads()
    }

    /// Makes this page, walked to its end, the expected one.
    pub fn finish(self) {
        let Self { page, source, is_lines, track, .. } = self;
        track.finish(
            || collect_metadata(PageParser::new(page, source.0, source.1)),
            |keys, hasher| is_lines.then(|| collect_text(page, keys, hasher)).flatten(),
        );
    }
}

enum Met {
    Sample(Line),
    Comment,
    End,
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

/// The same for OpenMetrics; `None` also where there is an exemplar.
#[inline]
fn rest_of_openmetrics_line(page: &[u8], at: usize) -> Option<(f64, Option<i64>, usize)> {
    if page.get(at) != Some(&b' ') {
        return None;
    }
    let is_end = |at: usize| matches!(page.get(at), Some(b' ' | b'\n'));
    let number = |at: usize| match parse_fast_prefix(page.get(at..)?) {
        Some((value, used)) if is_end(at + used) => Some((value, at + used)),
        _ => {
            let len = page[at..].iter().position(|b| matches!(b, b' ' | b'\n' | 0))?;
            Some((parse_value(&page[at..at + len]).ok()?, at + len))
        }
    };
    let (value, end) = number(at + 1)?;
    match page.get(end)? {
        b'\n' => return Some((value, None, end + 1)),
        b' ' if page.get(end + 1) != Some(&b'#') => {}
        _ => return None,
    }
    let (seconds, end) = number(end + 1)?;
    if !seconds.is_finite() || page.get(end) != Some(&b'\n') {
        return None;
    }
    Some((value, Some((seconds * 1000.0) as i64), end + 1))
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
