//! Go regular expressions, matched exactly as Prometheus matches them.
//!
//! Prometheus compiles `^(?s:pattern)$` with Go's RE2 syntax. That language differs from the one
//! of the `regex` crates in what it accepts and in what classes mean, so the pattern is parsed
//! here (`parse.rs`: Go's grammar, Go's error texts) and handed to `regex-automata` as a HIR. The
//! automaton is built at the first search that needs one; what is a list of strings never does.

mod class;
mod expand;
mod parse;
mod search;
mod seek;
mod shortcut;

use std::fmt;
use std::sync::{Arc, OnceLock};

use regex_automata::hybrid::dfa::DFA;
use regex_automata::meta;
use regex_automata::{Anchored, Input};
use regex_syntax::hir::{Hir, Look};

pub use search::Search;
pub use seek::{Seeker, Seeking};

/// Bytes that the automaton of one pattern may take.
const AUTOMATON_BYTES_MAX: usize = 32 << 20;

/// Greatest length of a pattern that is more than a list of strings: automata of longer ones
/// would take a second to build, and hundreds of megabytes.
const PATTERN_BYTES_MAX: usize = 128 << 10;

/// A pattern that Go would refuse; the text is Go's (`error parsing regexp: …`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegexError(pub String);

impl fmt::Display for RegexError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for RegexError {}

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

/// A compiled, fully anchored pattern in which `.` matches a line feed. Cloning shares it.
#[derive(Clone)]
pub struct Regex(Arc<Inner>);

struct Inner {
    pattern: String,
    shortcut: Shortcut,
    /// `literal.*`: the prefix alone decides.
    prefix_decides: bool,
    group_names: Vec<String>,
    /// The pattern between the anchors.
    hir: Hir,
    automaton: OnceLock<meta::Regex>,
    /// For walks over sorted values; `None`: there is none.
    walked: OnceLock<Option<DFA>>,
}

impl Regex {
    /// Compiles `pattern` as Go would, anchored at both ends.
    pub fn new(pattern: &str) -> Result<Self, RegexError> {
        let parse::Parsed { hir, group_names } = parse::parse(pattern, true)?;
        let shortcut = shortcut::analyse(&hir);
        let prefix_decides = shortcut::is_prefix_and_anything(&hir);
        let anchored = Hir::concat(vec![Hir::look(Look::Start), hir, Hir::look(Look::End)]);
        let inner = Inner {
            pattern: pattern.to_owned(),
            prefix_decides,
            group_names,
            hir: anchored,
            automaton: OnceLock::new(),
            walked: OnceLock::new(),
            shortcut,
        };
        if matches!(inner.shortcut, Shortcut::Prefix(_) | Shortcut::None) && !prefix_decides {
            if pattern.len() > PATTERN_BYTES_MAX {
                let len = pattern.len();
                return Err(RegexError(format!(
                    "regular expression is {len} bytes long, limit {PATTERN_BYTES_MAX} unless it \
                     lists plain strings"
                )));
            }
            let automaton = inner.build()?;
            // Nobody else has seen the value, so the cell is empty.
            let _ = inner.automaton.set(automaton);
        }
        Ok(Self(Arc::new(inner)))
    }

    /// The pattern as it was written.
    pub fn pattern(&self) -> &str {
        &self.0.pattern
    }

    /// Whether the whole of `subject` matches.
    pub fn is_match(&self, subject: &str) -> bool {
        match &self.0.shortcut {
            Shortcut::Everything => true,
            Shortcut::NotEmpty => !subject.is_empty(),
            Shortcut::AnyOf(strings) => {
                strings.binary_search_by(|probe| probe.as_str().cmp(subject)).is_ok()
            }
            Shortcut::Prefix(prefix) if !subject.starts_with(prefix.as_str()) => false,
            Shortcut::Prefix(_) if self.0.prefix_decides => true,
            Shortcut::Prefix(_) | Shortcut::None => self.0.search_is_match(subject),
        }
    }

    /// See [`Shortcut`].
    pub fn shortcut(&self) -> &Shortcut {
        &self.0.shortcut
    }

    /// Walks over sorted values; `None` where there is no automaton for it, or no need of one.
    pub fn seeker(&self) -> Option<Seeker<'_>> {
        if self.0.prefix_decides {
            return None;
        }
        let walked = self.0.walked.get_or_init(|| seek::build(&self.0.hir));
        walked.as_ref().map(Seeker::new)
    }

    /// Where the whole of `subject` matches, `template` with `$1`, `${1}`, `$name`, `${name}` and
    /// `$$` filled in as Go's `Regexp.Expand` does; `None` where it does not match.
    pub fn expand(&self, subject: &str, template: &str) -> Option<String> {
        if !self.is_match(subject) {
            return None;
        }
        if !template.contains('$') {
            return Some(template.to_owned());
        }
        let automaton = self.0.automaton();
        let mut captures = automaton.create_captures();
        automaton.captures(Input::new(subject).anchored(Anchored::Yes), &mut captures);
        let group = |index: usize| captures.get_group(index).map(|span| &subject[span.range()]);
        Some(expand::expand(template, &self.0.group_names, group))
    }
}

impl Inner {
    fn build(&self) -> Result<meta::Regex, RegexError> {
        let config = meta::Config::new().nfa_size_limit(Some(AUTOMATON_BYTES_MAX));
        meta::Builder::new().configure(config).build_from_hir(&self.hir).map_err(|_| {
            RegexError(format!("error parsing regexp: expression too large: `{}`", self.pattern))
        })
    }

    /// Patterns without an automaton of their own after `new` are lists of strings and runs of
    /// any characters, which never exceed the limit.
    fn automaton(&self) -> &meta::Regex {
        self.automaton.get_or_init(|| {
            self.build().unwrap_or_else(|_| {
                meta::Regex::builder()
                    .build_from_hir(&self.hir)
                    .expect("BUG: a list of strings compiles")
            })
        })
    }

    fn search_is_match(&self, subject: &str) -> bool {
        self.automaton().is_match(Input::new(subject).anchored(Anchored::Yes))
    }
}

impl fmt::Debug for Regex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Regex({:?})", self.0.pattern)
    }
}

#[cfg(test)]
mod tests;
