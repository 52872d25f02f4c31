//! The text format, entry by entry.
//!
//! INVARIANT: after an error the parser is spent; callers reject the page as a whole.
//! Differences from Prometheus, both on purpose: white space before a metric name is not part of
//! the name, and a series text longer than [`LINE_BYTES_MAX`] is an error.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use super::MetricType;
use super::error::ParseError;
use super::family::add_type_and_unit;
use super::float::{format_openmetrics, parse_value};
use super::lexer::{Lexer, Token};
use super::quote::quote_bytes;
use crate::model::{Histogram, LabelsBuilder, METRIC_NAME, parse_float};

/// Longest text of one series (name and labels as written) in bytes.
pub const LINE_BYTES_MAX: usize = 1 << 20;

/// One entry of a page; texts borrow from the page.
#[derive(Debug, Clone, PartialEq)]
pub enum Entry<'a> {
    /// A sample; its labels come from [`TextParser::labels`].
    Series {
        /// Name and labels as written: the key under which the series is known again.
        text: &'a [u8],
        /// The value; every NaN is the ordinary one.
        value: f64,
        /// The time that the page states, in milliseconds.
        timestamp_ms: Option<i64>,
    },
    /// A native histogram; its labels as those of a series.
    Histogram {
        /// What it counts.
        histogram: Arc<Histogram>,
        /// The time that the page states, in milliseconds.
        timestamp_ms: Option<i64>,
    },
    /// `# HELP`
    Help {
        /// Name of the family.
        name: Cow<'a, str>,
        /// The text, unescaped.
        text: Cow<'a, str>,
    },
    /// `# TYPE`
    Type {
        /// Name of the family.
        name: Cow<'a, str>,
        /// Its type.
        metric_type: MetricType,
    },
    /// `# UNIT`
    Unit {
        /// Name of the family.
        name: Cow<'a, str>,
        /// What it is measured in.
        unit: Cow<'a, str>,
    },
    /// Any other comment, from its `#` on.
    Comment(&'a [u8]),
}

/// Name and value of a label, unescaped.
pub type LabelText<'a> = (Cow<'a, str>, Cow<'a, str>);

/// Reads a page from front to back.
#[derive(Debug)]
pub struct TextParser<'a> {
    lexer: Lexer<'a>,
    metric_type: MetricType,
    entry_start: usize,
    name: Option<Range<usize>>,
    /// Name and value of each label of the current series, as written.
    labels: Vec<(Range<usize>, Range<usize>)>,
    /// Whether the type is a label.
    is_typed: bool,
}

impl<'a> TextParser<'a> {
    /// A parser of the whole page.
    pub fn new(page: &'a [u8]) -> Self {
        Self::at(page, 0, MetricType::Unknown)
    }

    /// A parser that starts at byte `position`, the beginning of a line, where the last `# TYPE`
    /// line before said `metric_type`.
    pub fn at(page: &'a [u8], position: usize, metric_type: MetricType) -> Self {
        Self {
            lexer: Lexer::new(page, position),
            metric_type,
            entry_start: position,
            name: None,
            labels: Vec::new(),
            is_typed: false,
        }
    }

    /// The same, with types as labels `__type__` of the series, or without.
    #[must_use]
    pub fn typed(mut self, is_typed: bool) -> Self {
        self.is_typed = is_typed;
        self
    }

    /// Where the next entry begins, or at most one byte past the end of the page.
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

    /// The next entry; `None` at the end of the page.
    pub fn next_entry(&mut self) -> Result<Option<Entry<'a>>, ParseError> {
        loop {
            self.name = None;
            self.labels.clear();
            let token = self.lexer.next();
            self.entry_start = self.lexer.start;
            return match token {
                Token::Eof => Ok(None),
                Token::Linebreak => continue,
                Token::Help | Token::Type => self.metadata(token).map(Some),
                Token::Comment => {
                    let comment = &self.lexer.page[self.lexer.start..self.lexer.pos];
                    self.expect_linebreak("linebreak expected after comment")?;
                    Ok(Some(Entry::Comment(comment)))
                }
                Token::BraceOpen => {
                    self.label_pairs()?;
                    self.series(false).map(Some)
                }
                Token::MetricName => {
                    self.name = Some(self.lexer.start..self.lexer.pos);
                    self.series(true).map(Some)
                }
                other => Err(self.unexpected("expected a valid start token", other)),
            };
        }
    }

    fn metadata(&mut self, line: Token) -> Result<Entry<'a>, ParseError> {
        match self.lexer.next() {
            Token::MetricName => {}
            other => {
                let expected = match line {
                    Token::Help => "expected metric name after HELP",
                    _ => "expected metric name after TYPE",
                };
                return Err(self.unexpected(expected, other));
            }
        }
        let page = self.lexer.page;
        let mut name = &page[self.lexer.start..self.lexer.pos];
        if let [b'"', inner @ .., b'"'] = name {
            name = inner;
        }
        match self.lexer.next() {
            Token::Text => {}
            other => return Err(ParseError::MetadataText(line.as_str(), other.as_str())),
        }
        // The first byte of the text is the blank before it.
        let text = page.get(self.lexer.start + 1..self.lexer.pos).unwrap_or_default();
        let name = String::from_utf8_lossy(name);
        let entry = if line == Token::Type {
            let metric_type = MetricType::from_text_format(text)
                .ok_or_else(|| ParseError::MetricType(quote_bytes(text)))?;
            self.metric_type = metric_type;
            Entry::Type { name, metric_type }
        } else {
            let text =
                std::str::from_utf8(text).map_err(|_| ParseError::Help(quote_bytes(text)))?;
            Entry::Help { name, text: unescape(text, false) }
        };
        self.expect_linebreak("linebreak expected after metadata")?;
        Ok(entry)
    }

    /// The rest of a sample after its bare name, or after its braces.
    fn series(&mut self, takes_braces: bool) -> Result<Entry<'a>, ParseError> {
        let mut end = self.lexer.pos;
        let mut token = self.lexer.next();
        if token == Token::BraceOpen && takes_braces {
            self.label_pairs()?;
            end = self.lexer.pos;
            token = self.lexer.next();
        }
        if self.name.is_none() {
            return Err(ParseError::NameNotSet(self.entry_so_far()));
        }
        if end - self.entry_start > LINE_BYTES_MAX {
            return Err(ParseError::LineTooLong(end - self.entry_start));
        }
        if token != Token::Value {
            return Err(self.unexpected("expected value after metric", token));
        }
        let page = self.lexer.page;
        let value = parse_value(&page[self.lexer.start..self.lexer.pos])
            .map_err(|error| ParseError::Value(error, self.entry_so_far()))?;
        let timestamp_ms = self.timestamp()?;
        Ok(Entry::Series { text: &page[self.entry_start..end], value, timestamp_ms })
    }

    fn timestamp(&mut self) -> Result<Option<i64>, ParseError> {
        match self.lexer.next() {
            Token::Linebreak => Ok(None),
            Token::Timestamp => {
                let digits = &self.lexer.page[self.lexer.start..self.lexer.pos];
                let timestamp_ms = std::str::from_utf8(digits)
                    .ok()
                    .and_then(|text| text.parse().ok())
                    .ok_or_else(|| {
                        ParseError::Timestamp(quote_bytes(digits), self.entry_so_far())
                    })?;
                self.expect_linebreak("expected next entry after timestamp")?;
                Ok(Some(timestamp_ms))
            }
            other => Err(self.unexpected("expected timestamp or new record", other)),
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
            let quotes = usize::from(is_quoted);
            let name = self.lexer.start + quotes..self.lexer.pos - quotes;
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
            if token != Token::Equal {
                return Err(self.unexpected("expected equal", token));
            }
            let token_of_value = self.lexer.next();
            if token_of_value != Token::LabelValue {
                return Err(self.unexpected("expected label value", token_of_value));
            }
            let quoted = &self.lexer.page[self.lexer.start..self.lexer.pos];
            if std::str::from_utf8(quoted).is_err() {
                return Err(ParseError::LabelValue(quote_bytes(quoted)));
            }
            self.labels.push((name, self.lexer.start + 1..self.lexer.pos - 1));
            token = self.lexer.next();
            if token == Token::Comma {
                token = self.lexer.next();
            }
        }
    }

    /// The labels of the series that [`TextParser::next_entry`] gave last, its name as
    /// `__name__`, in the order of the page; values may be empty. `le` and `quantile` of
    /// histograms and summaries come in OpenMetrics style.
    pub fn labels(&self) -> Result<Vec<LabelText<'a>>, ParseError> {
        let (page, metric_type) = (self.lexer.page, self.metric_type);
        let mut labels = series_labels(page, self.name.as_ref(), &self.labels, metric_type)?;
        if self.is_typed {
            // This format has no units.
            add_type_and_unit(&mut labels, metric_type, Cow::Borrowed(""));
        }
        Ok(labels)
    }

    /// [`TextParser::labels`] as a builder; an error where a label that is not empty stands twice.
    pub fn labels_builder(&self) -> Result<LabelsBuilder, ParseError> {
        build_labels(self.labels()?)
    }

    fn expect_linebreak(&mut self, expected: &'static str) -> Result<(), ParseError> {
        match self.lexer.next() {
            Token::Linebreak => Ok(()),
            other => Err(self.unexpected(expected, other)),
        }
    }

    fn unexpected(&self, expected: &'static str, token: Token) -> ParseError {
        let end = (self.lexer.pos + 1).min(self.lexer.end());
        ParseError::Unexpected {
            expected,
            got: quote_bytes(&self.lexer.bytes(self.lexer.start.min(end), end)),
            token: token.as_str(),
            entry: quote_bytes(&self.lexer.bytes(self.entry_start.min(end), end)),
        }
    }

    fn entry_so_far(&self) -> String {
        quote_bytes(&self.lexer.bytes(self.entry_start, self.lexer.pos))
    }
}

/// The labels of a series of either text format, unescaped: its name, and its labels as places on
/// the page.
pub(super) fn series_labels<'a>(
    page: &'a [u8],
    name: Option<&Range<usize>>,
    labels: &[(Range<usize>, Range<usize>)],
    metric_type: MetricType,
) -> Result<Vec<LabelText<'a>>, ParseError> {
    let text = |range: &Range<usize>| {
        let bytes = &page[range.clone()];
        std::str::from_utf8(bytes).map_err(|_| ParseError::Name(quote_bytes(bytes)))
    };
    let name = name.expect("BUG: labels asked for without a series");
    let mut found = Vec::with_capacity(labels.len() + 1);
    found.push((Cow::Borrowed(METRIC_NAME), unescape(text(name)?, true)));
    for (name, value) in labels {
        let name = unescape(text(name)?, true);
        let mut value = unescape(text(value)?, true);
        let is_bound = match metric_type {
            MetricType::Histogram => name == "le",
            MetricType::Summary => name == "quantile",
            _ => false,
        };
        if is_bound && let Some(bound) = parse_float(&value) {
            value = Cow::Owned(format_openmetrics(bound));
        }
        found.push((name, value));
    }
    Ok(found)
}

/// Labels as a builder; an error where one that is not empty stands twice.
pub(super) fn build_labels(labels: Vec<LabelText<'_>>) -> Result<LabelsBuilder, ParseError> {
    let mut builder = LabelsBuilder::new();
    for (name, value) in labels {
        if value.is_empty() {
            continue;
        }
        if builder.get(&name).is_some() {
            return Err(ParseError::DuplicateLabel(quote_bytes(name.as_bytes())));
        }
        builder.set(&name, &value);
    }
    Ok(builder)
}

/// Resolves `\\`, `\n` and, in label values and quoted names, `\"`; any other backslash stays.
pub(super) fn unescape(text: &str, with_quotes: bool) -> Cow<'_, str> {
    let Some(first) = text.find('\\') else {
        return Cow::Borrowed(text);
    };
    let (head, mut rest) = text.split_at(first);
    let mut out = String::with_capacity(text.len());
    out.push_str(head);
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let (resolved, used) = match rest.as_bytes().get(at + 1) {
            Some(b'\\') => ('\\', 2),
            Some(b'n') => ('\n', 2),
            Some(b'"') if with_quotes => ('"', 2),
            _ => ('\\', 1),
        };
        out.push(resolved);
        rest = &rest[at + used..];
    }
    out.push_str(rest);
    Cow::Owned(out)
}

#[cfg(test)]
mod tests;
