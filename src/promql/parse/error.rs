//! Why a query was refused, and where.

use std::fmt;

use crate::promql::ast::Span;

/// A query that Prometheus would refuse, or that is beyond a limit of [`super::ParseOptions`].
///
/// COMPAT: `Display` gives the text that Prometheus's API shows: `1:5: parse error: …`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// The part of the text that is at fault.
    pub span: Span,
    /// Where it starts; `None` for an empty query.
    pub position: Option<Position>,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.position {
            Some(position) => write!(f, "{position}: parse error: {}", self.message),
            None => write!(f, "unknown position: parse error: {}", self.message),
        }
    }
}

impl std::error::Error for ParseError {}

/// A place in a query's text, as messages and annotations show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The line, from 1.
    pub line: usize,
    /// The byte within the line, from 1.
    pub column: usize,
}

impl Position {
    /// The place of byte `offset` of `text`; `None` for an empty text.
    pub fn of(text: &str, offset: u32) -> Option<Self> {
        if text.is_empty() {
            return None;
        }
        let before = &text.as_bytes()[..text.len().min(offset as usize)];
        let line_start = before.iter().rposition(|&b| b == b'\n').map_or(0, |at| at + 1);
        let line = before.split(|&b| b == b'\n').count();
        Some(Self { line, column: before.len() - line_start + 1 })
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}
