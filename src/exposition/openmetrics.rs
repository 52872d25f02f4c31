//! OpenMetrics text, versions 0.0.1 and 1.0.0, entry by entry.
//!
//! What is taken and refused is what Prometheus 3.14 takes and refuses, which is less strict than
//! the specification: families may be mixed, types and suffixes need not fit. The page has to end
//! with `# EOF`.
//!
//! INVARIANT: after an error the parser is spent; callers reject the page as a whole.

mod lexer;
mod start;

use std::borrow::Cow;
use std::ops::Range;

use self::lexer::{Lexer, State, Token};
use self::start::Starts;
use super::MetricType;
use super::error::ParseError;
use super::family::{About, add_type_and_unit};
use super::float::parse_value;
use super::quote::quote_bytes;
use super::text::{Entry, LINE_BYTES_MAX, LabelText, build_labels, series_labels, unescape};
use crate::model::{Exemplar, FloatStyle, Labels, LabelsBuilder, float_text};

/// Where name and value of a label stand.
type LabelRanges = (Range<usize>, Range<usize>);

/// What a name ends with whose value is the time at which a series began to count.
const CREATED_SUFFIX: &[u8] = b"_created";

/// An exemplar on a page, whose time may be that of its sample.
#[derive(Debug, Clone, PartialEq)]
pub struct PageExemplar {
    /// Labels of its own.
    pub labels: Labels,
    /// The value observed.
    pub value: f64,
    /// Milliseconds, where the page says.
    pub t_ms: Option<i64>,
}

impl PageExemplar {
    /// The exemplar of a sample at that time.
    pub fn at(self, sample_t_ms: i64) -> Exemplar {
        let Self { labels, value, t_ms } = self;
        let is_timed = t_ms.is_some();
        Exemplar { labels, value, t_ms: t_ms.unwrap_or(sample_t_ms), is_timed }
    }
}

/// An exemplar as places on the page.
#[derive(Debug, Clone)]
struct Found {
    labels: Vec<(Range<usize>, Range<usize>)>,
    value: f64,
    t_ms: Option<i64>,
}

/// Reads a page from front to back.
#[derive(Debug, Clone)]
pub struct OpenMetricsParser<'a> {
    lexer: Lexer<'a>,
    metric_type: MetricType,
    entry_start: usize,
    /// Bytes of the family's name in the last metadata line.
    family_len: usize,
    name: Option<Range<usize>>,
    /// Name and value of each label of the current series, as written.
    labels: Vec<(Range<usize>, Range<usize>)>,
    exemplar: Option<Found>,
    /// What is wrong behind the current series; the next entry is this error.
    fault: Option<ParseError>,
    /// Whether lines of the form `_created` are start timestamps and no series.
    reads_starts: bool,
    starts: Starts,
    /// Where type and unit are labels: what the page said last.
    about: Option<About<'a>>,
}

impl<'a> OpenMetricsParser<'a> {
    /// A parser of the whole page to which lines ending in `_created` are series.
    pub fn new(page: &'a [u8]) -> Self {
        Self::at(page, 0, MetricType::Unknown)
    }

    /// A parser of the whole page that gives `_created` lines of counters, summaries and
    /// histograms as start timestamps ([`OpenMetricsParser::start_ms`]) and not as series.
    pub fn with_starts(page: &'a [u8]) -> Self {
        Self { reads_starts: true, ..Self::new(page) }
    }

    /// A parser that starts at byte `position`, the beginning of a line, where the last `# TYPE`
    /// line before said `metric_type`.
    pub fn at(page: &'a [u8], position: usize, metric_type: MetricType) -> Self {
        Self {
            lexer: Lexer::new(page, position, State::Line),
            metric_type,
            entry_start: position,
            family_len: 0,
            name: None,
            labels: Vec::new(),
            exemplar: None,
            fault: None,
            reads_starts: false,
            starts: Starts::default(),
            about: None,
        }
    }

    /// The same, with types and units as labels of the series where `about` says what the page
    /// said last before the parser's position.
    #[must_use]
    pub fn typed(mut self, about: Option<About<'a>>) -> Self {
        self.about = about;
        self
    }

    /// A parser that stands behind the labels of a series whose line begins at `line_start`, at
    /// `position`, and has read the rest of that line: the value and the time. Its labels are not
    /// known.
    pub fn behind_labels(
        page: &'a [u8],
        (line_start, position): (usize, usize),
        metric_type: MetricType,
    ) -> Result<(Self, f64, Option<i64>), ParseError> {
        let mut parser = Self::at(page, position, metric_type);
        parser.entry_start = line_start;
        parser.lexer = Lexer::new(page, position, State::Value);
        let token = parser.lexer.next();
        let (value, timestamp_ms) = parser.end_of_line(token)?;
        Ok((parser, value, timestamp_ms))
    }

    /// Where the next entry begins.
    pub fn position(&self) -> usize {
        self.lexer.pos
    }

    /// Where the last entry began.
    pub fn entry_start(&self) -> usize {
        self.entry_start
    }

    /// The type that the last `# TYPE` line declared, for whatever family.
    pub fn metric_type(&self) -> MetricType {
        self.metric_type
    }

    /// Takes out what is wrong behind the current series: the page is to be rejected although the
    /// series itself is in order.
    pub(super) fn take_fault(&mut self) -> Option<ParseError> {
        self.fault.take()
    }

    /// The next entry; `None` at the end marker.
    pub fn next_entry(&mut self) -> Result<Option<Entry<'a>>, ParseError> {
        if let Some(fault) = self.fault.take() {
            return Err(fault);
        }
        loop {
            let entry = self.any_entry()?;
            if let (Some(about), Some(entry)) = (&mut self.about, &entry) {
                about.note(entry);
            }
            if self.reads_starts && matches!(entry, Some(Entry::Series { .. })) && self.is_created()
            {
                if let Some(fault) = self.fault.take() {
                    return Err(fault);
                }
                continue;
            }
            return Ok(entry);
        }
    }

    fn any_entry(&mut self) -> Result<Option<Entry<'a>>, ParseError> {
        self.name = None;
        self.labels.clear();
        self.exemplar = None;
        self.entry_start = self.lexer.pos;
        match self.lexer.next() {
            Token::EofWord if self.lexer.next() == Token::Eof => Ok(None),
            Token::EofWord => Err(ParseError::DataAfterEnd),
            Token::Eof => Err(ParseError::NoEnd),
            token @ (Token::Help | Token::Type | Token::Unit) => self.metadata(token).map(Some),
            Token::BraceOpen => {
                self.label_pairs()?;
                let end = self.lexer.pos;
                let token = self.lexer.next();
                self.series(end, token).map(Some)
            }
            Token::MetricName => {
                self.name = Some(self.lexer.start..self.lexer.pos);
                let mut end = self.lexer.pos;
                let mut token = self.lexer.next();
                if token == Token::BraceOpen {
                    self.label_pairs()?;
                    end = self.lexer.pos;
                    token = self.lexer.next();
                }
                self.series(end, token).map(Some)
            }
            other => Err(self.unexpected("expected a valid start token", other)),
        }
    }

    fn metadata(&mut self, line: Token) -> Result<Entry<'a>, ParseError> {
        match self.lexer.next() {
            Token::MetricName => {}
            other => {
                let expected = match line {
                    Token::Help => "expected metric name after HELP",
                    Token::Type => "expected metric name after TYPE",
                    _ => "expected metric name after UNIT",
                };
                return Err(self.unexpected(expected, other));
            }
        }
        let mut name = self.lexer.token();
        if let [b'"', inner @ .., b'"'] = name {
            name = inner;
        }
        self.family_len = name.len();
        if self.lexer.next() != Token::Text {
            return Err(ParseError::NoMetadataText(line.as_str()));
        }
        // The token has the space before the text and the newline after it.
        let text = match self.lexer.token() {
            [_, text @ .., _] => text,
            _ => &[],
        };
        let family = String::from_utf8_lossy(name);
        match line {
            Token::Type => {
                let metric_type = MetricType::from_openmetrics(text)
                    .ok_or_else(|| ParseError::MetricType(quote_bytes(text)))?;
                self.metric_type = metric_type;
                Ok(Entry::Type { name: family, metric_type })
            }
            Token::Help => {
                let text =
                    std::str::from_utf8(text).map_err(|_| ParseError::Help(quote_bytes(text)))?;
                Ok(Entry::Help { name: family, text: unescape(text, true) })
            }
            _ => {
                let is_suffix = name.strip_suffix(text).is_some_and(|stem| stem.ends_with(b"_"));
                if !text.is_empty() && !is_suffix {
                    return Err(ParseError::Unit(quote_bytes(text), quote_bytes(name)));
                }
                Ok(Entry::Unit { name: family, unit: String::from_utf8_lossy(text) })
            }
        }
    }

    /// The rest of a sample whose name and labels end at `end`, from `token` on.
    fn series(&mut self, end: usize, token: Token) -> Result<Entry<'a>, ParseError> {
        if self.name.is_none() {
            return Err(ParseError::NameNotSet(self.entry_so_far()));
        }
        if end - self.entry_start > LINE_BYTES_MAX {
            return Err(ParseError::LineTooLong(end - self.entry_start));
        }
        let (value, timestamp_ms) = self.end_of_line(token)?;
        Ok(Entry::Series { text: &self.lexer.page[self.entry_start..end], value, timestamp_ms })
    }

    fn end_of_line(&mut self, token: Token) -> Result<(f64, Option<i64>), ParseError> {
        let value = self.number(token, "expected value after metric")?;
        match self.lexer.next() {
            Token::Eof => Err(ParseError::NoEnd),
            Token::Linebreak => Ok((value, None)),
            Token::Comment => {
                self.read_exemplar()?;
                Ok((value, None))
            }
            Token::Timestamp => {
                let timestamp_ms = self.timestamp("timestamp")?;
                match self.lexer.next() {
                    Token::Linebreak => {}
                    Token::Comment => self.read_exemplar()?,
                    other => {
                        return Err(self.unexpected("expected next entry after timestamp", other));
                    }
                }
                Ok((value, Some(timestamp_ms)))
            }
            _ => {
                // COMPAT: the sample counts as read, and what comes next is the error.
                self.fault = Some(self.fault_behind());
                Ok((value, None))
            }
        }
    }

    /// The error that an entry which begins here is.
    fn fault_behind(&self) -> ParseError {
        let mut behind = self.clone();
        behind.entry_start = behind.lexer.pos;
        match behind.lexer.next() {
            Token::Eof => ParseError::NoEnd,
            other => behind.unexpected("expected a valid start token", other),
        }
    }

    fn number(&self, token: Token, expected: &'static str) -> Result<f64, ParseError> {
        if token != Token::Value {
            return Err(self.unexpected(expected, token));
        }
        parse_value(&self.lexer.token()[1..])
            .map_err(|error| ParseError::Value(error, self.entry_so_far()))
    }

    /// Milliseconds, from a token in seconds.
    fn timestamp(&self, what: &'static str) -> Result<i64, ParseError> {
        let seconds = parse_value(&self.lexer.token()[1..])
            .map_err(|error| ParseError::Value(error, self.entry_so_far()))?;
        if !seconds.is_finite() {
            let text = float_text(seconds, FloatStyle::General);
            return Err(ParseError::TimestampNotFinite(what, text));
        }
        Ok((seconds * 1000.0) as i64)
    }

    fn read_exemplar(&mut self) -> Result<(), ParseError> {
        let labels = self.exemplar_labels()?;
        let token = self.lexer.next();
        let value = self.number(token, "expected value after exemplar labels")?;
        let t_ms = match self.lexer.next() {
            Token::Eof => return Err(ParseError::NoEnd),
            Token::Linebreak => None,
            Token::Timestamp => {
                let t_ms = self.timestamp("exemplar timestamp")?;
                match self.lexer.next() {
                    Token::Linebreak => Some(t_ms),
                    other => {
                        let expected = "expected next entry after exemplar timestamp";
                        return Err(self.unexpected(expected, other));
                    }
                }
            }
            other => return Err(self.unexpected("expected timestamp or comment", other)),
        };
        self.exemplar = Some(Found { labels, value, t_ms });
        Ok(())
    }

    fn exemplar_labels(&mut self) -> Result<Vec<LabelRanges>, ParseError> {
        let mut labels = Vec::new();
        let mut token = self.lexer.next();
        loop {
            let is_quoted = match token {
                Token::BraceClose => return Ok(labels),
                Token::LabelName => false,
                Token::QuotedString => true,
                other => return Err(self.unexpected("expected label name", other)),
            };
            let name = self.name_in_token();
            token = self.lexer.next();
            if is_quoted && matches!(token, Token::Comma | Token::BraceClose) {
                return Err(self.unexpected("expected label name", token));
            }
            let value = self.label_value(token)?;
            labels.push((name, value));
            token = self.behind_label()?;
        }
    }

    /// What stands between the braces, up to the closing one.
    fn label_pairs(&mut self) -> Result<(), ParseError> {
        let mut token = self.lexer.next();
        loop {
            let is_quoted = match token {
                Token::BraceClose => return Ok(()),
                Token::LabelName => false,
                Token::QuotedString => true,
                other => return Err(self.unexpected("expected label name", other)),
            };
            let name = self.name_in_token();
            token = self.lexer.next();
            if is_quoted && matches!(token, Token::Comma | Token::BraceClose) {
                if self.name.is_some() {
                    return Err(ParseError::NameSetTwice(self.entry_so_far()));
                }
                self.name = Some(name);
                if token == Token::BraceClose {
                    return Ok(());
                }
                token = self.lexer.next();
                continue;
            }
            let value = self.label_value(token)?;
            self.labels.push((name, value));
            token = self.behind_label()?;
        }
    }

    /// The name in the current token, without its quotes.
    fn name_in_token(&self) -> Range<usize> {
        let quotes = usize::from(self.lexer.page[self.lexer.start] == b'"');
        self.lexer.start + quotes..self.lexer.pos - quotes
    }

    /// A label's value after `token`, which should be the equal sign.
    fn label_value(&mut self, token: Token) -> Result<Range<usize>, ParseError> {
        if token != Token::Equal {
            return Err(self.unexpected("expected equal", token));
        }
        match self.lexer.next() {
            Token::LabelValue => {}
            other => return Err(self.unexpected("expected label value", other)),
        }
        // NUL bytes after the closing quote belong to the token.
        let quoted = self.lexer.token();
        if std::str::from_utf8(quoted).is_err() {
            return Err(ParseError::LabelValue(quote_bytes(quoted)));
        }
        Ok(self.lexer.start + 1..self.lexer.pos - 1)
    }

    /// The token after a label: a comma is passed over.
    fn behind_label(&mut self) -> Result<Token, ParseError> {
        match self.lexer.next() {
            Token::Comma => Ok(self.lexer.next()),
            Token::BraceClose => Ok(Token::BraceClose),
            other => Err(self.unexpected("expected comma or brace close", other)),
        }
    }

    /// The labels of the series that came last; see [`super::TextParser::labels`].
    pub fn labels(&self) -> Result<Vec<LabelText<'a>>, ParseError> {
        let (page, metric_type) = (self.lexer.page, self.metric_type);
        let mut labels = series_labels(page, self.name.as_ref(), &self.labels, metric_type)?;
        if let Some(about) = &self.about {
            add_type_and_unit(&mut labels, metric_type, about.unit.clone());
        }
        Ok(labels)
    }

    /// [`OpenMetricsParser::labels`] as a builder; an error where a label that is not empty stands
    /// twice.
    pub fn labels_builder(&self) -> Result<LabelsBuilder, ParseError> {
        build_labels(self.labels()?)
    }

    /// The exemplar of the series that came last.
    ///
    /// COMPAT: its labels as written, escapes included.
    pub fn exemplar(&self) -> Option<PageExemplar> {
        let found = self.exemplar.as_ref()?;
        let text = |range: &Range<usize>| -> Cow<'a, str> {
            String::from_utf8_lossy(&self.lexer.page[range.clone()])
        };
        let labels = found.labels.iter().map(|(name, value)| (text(name), text(value)));
        let labels = Labels::from_pairs(labels);
        Some(PageExemplar { labels, value: found.value, t_ms: found.t_ms })
    }

    /// Whether the series that came last has an exemplar.
    pub fn has_exemplar(&self) -> bool {
        self.exemplar.is_some()
    }

    /// Whether the series that came last is a start timestamp by its name and type.
    fn is_created(&self) -> bool {
        let name = self.name.clone().map_or(&[][..], |name| &self.lexer.page[name]);
        self.metric_type.has_start() && name.ends_with(CREATED_SUFFIX)
    }

    fn unexpected(&self, expected: &'static str, token: Token) -> ParseError {
        let end = (self.lexer.pos + 1).min(self.lexer.page.len());
        ParseError::Unexpected {
            expected,
            got: quote_bytes(&self.lexer.page[self.lexer.start.min(end)..end]),
            token: token.as_str(),
            entry: quote_bytes(&self.lexer.page[self.entry_start.min(end)..end]),
        }
    }

    fn entry_so_far(&self) -> String {
        quote_bytes(&self.lexer.page[self.entry_start..self.lexer.pos])
    }
}

#[cfg(test)]
mod tests;
