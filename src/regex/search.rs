//! Patterns that are looked for within a text, as templates do: Go's `regexp.Compile`.
//!
//! The same grammar as [`super::Regex`], without anchors, and a dot matches no line feed.

use std::fmt;

use regex_automata::meta;
use regex_automata::util::captures::Captures;
use regex_automata::{Input, Span};

use super::{AUTOMATON_BYTES_MAX, PATTERN_BYTES_MAX, RegexError, expand, parse};

/// A compiled pattern that may match anywhere.
pub struct Search {
    automaton: meta::Regex,
    group_names: Vec<String>,
}

impl fmt::Debug for Search {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Search").finish_non_exhaustive()
    }
}

impl Search {
    /// Compiles `pattern` as Go would.
    pub fn new(pattern: &str) -> Result<Self, RegexError> {
        if pattern.len() > PATTERN_BYTES_MAX {
            let length = pattern.len();
            return Err(RegexError(format!(
                "regular expression is {length} bytes long, limit {PATTERN_BYTES_MAX}"
            )));
        }
        let parse::Parsed { hir, group_names } = parse::parse(pattern, false)?;
        let config = meta::Config::new().nfa_size_limit(Some(AUTOMATON_BYTES_MAX));
        let built = meta::Builder::new().configure(config).build_from_hir(&hir);
        let automaton = built.map_err(|_| {
            RegexError(format!("error parsing regexp: expression too large: `{pattern}`"))
        })?;
        Ok(Self { automaton, group_names })
    }

    /// Whether some part of the text matches.
    pub fn is_found_in(&self, text: &str) -> bool {
        self.automaton.is_match(text)
    }

    /// The text with every match replaced by `template`, filled in as [`super::Regex::expand`]
    /// does it; `None` where the result would be longer than `bytes_max`.
    pub fn replace_all(&self, text: &str, template: &str, bytes_max: usize) -> Option<String> {
        let mut captures = self.automaton.create_captures();
        let mut out = String::with_capacity(text.len());
        let mut search_at = 0;
        let mut copied_to = 0;
        while search_at <= text.len() {
            let input = Input::new(text).span(search_at..text.len());
            self.automaton.captures(input, &mut captures);
            let Some(found) = captures.get_match().map(|found| found.span()) else { break };
            out.push_str(&text[copied_to..found.start]);
            // An empty match right behind another one counts for nothing.
            if found.end > copied_to || found.start == 0 {
                out.push_str(&self.filled(text, template, &captures));
            }
            if out.len() > bytes_max {
                return None;
            }
            copied_to = found.end;
            search_at = next_search(text, search_at, found);
        }
        out.push_str(&text[copied_to..]);
        (out.len() <= bytes_max).then_some(out)
    }

    fn filled(&self, text: &str, template: &str, captures: &Captures) -> String {
        if !template.contains('$') {
            return template.to_owned();
        }
        let group = |index: usize| captures.get_group(index).map(|span| &text[span.range()]);
        expand::expand(template, &self.group_names, group)
    }
}

/// Where to look after a match: behind it, and at least one character on.
fn next_search(text: &str, search_at: usize, found: Span) -> usize {
    let width = text[search_at..].chars().next().map_or(1, char::len_utf8);
    found.end.max(search_at + width)
}

#[cfg(test)]
mod tests {
    use super::Search;

    /// Right sides printed by Go.
    #[test]
    fn matches_are_replaced_as_go_does() {
        let table = [
            ("a+", "baaac", "x", "bxc"),
            ("", "abc", "-", "-a-b-c-"),
            ("b*", "abc", "-", "-a-c-"),
            ("(.)(?P<n>.)", "abcd", "$n$1", "badc"),
            ("a.b", "a\nb", "x", "a\nb"),
            ("^a", "aa", "x", "xa"),
            ("é", "éé", "$0!", "é!é!"),
        ];
        for (pattern, text, template, result) in table {
            let search = Search::new(pattern).unwrap();
            let replaced = search.replace_all(text, template, 100);
            assert_eq!(replaced.as_deref(), Some(result), "{pattern}");
        }
        assert!(Search::new("a.b").unwrap().is_found_in("xa-bx"));
        assert_eq!(Search::new("").unwrap().replace_all("abcd", "longer", 20), None);
        let error = Search::new("(").unwrap_err().to_string();
        assert_eq!(error, "error parsing regexp: missing closing ): `(`");
    }
}
