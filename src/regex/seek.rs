//! A pattern against the values of a sorted dictionary, one after the other.
//!
//! The automaton is walked byte by byte. Where it dies after the first `n` bytes of a value, no
//! value that begins with these bytes matches, and whoever reads a sorted list goes on behind
//! all of them.

use regex_automata::hybrid::LazyStateID;
use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::nfa::thompson;
use regex_automata::{Anchored, Input, MatchKind};
use regex_syntax::hir::Hir;

use super::AUTOMATON_BYTES_MAX;

/// Bytes that the states of one walk may take before they are made anew.
const STATES_BYTES_MAX: usize = 2 << 20;

/// What a pattern says of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seeking {
    /// It matches.
    Match,
    /// It does not match.
    NoMatch,
    /// It does not match, nor does anything that begins with so many bytes of it.
    Dead(usize),
    /// The automaton gave up; [`super::Regex::is_match`] knows.
    Unknown,
}

/// Walks a pattern's automaton over values; not shared between threads.
#[derive(Debug)]
pub struct Seeker<'a> {
    automaton: &'a DFA,
    states: Cache,
}

impl<'a> Seeker<'a> {
    pub(super) fn new(automaton: &'a DFA) -> Self {
        Self { automaton, states: automaton.create_cache() }
    }

    /// What the pattern says of `value`.
    pub fn seek(&mut self, value: &str) -> Seeking {
        self.walk(value).unwrap_or(Seeking::Unknown)
    }

    fn walk(&mut self, value: &str) -> Option<Seeking> {
        let input = Input::new(value).anchored(Anchored::Yes);
        let start = self.automaton.start_state_forward(&mut self.states, &input);
        let mut state: LazyStateID = start.ok()?;
        for (at, &byte) in value.as_bytes().iter().enumerate() {
            state = self.automaton.next_state(&mut self.states, state, byte).ok()?;
            if state.is_dead() {
                return Some(Seeking::Dead(at + 1));
            }
            if state.is_quit() {
                return None;
            }
        }
        let end = self.automaton.next_eoi_state(&mut self.states, state).ok()?;
        Some(if end.is_match() { Seeking::Match } else { Seeking::NoMatch })
    }
}

/// The automaton of an anchored expression; `None` where it would be too large.
pub(super) fn build(hir: &Hir) -> Option<DFA> {
    let config = thompson::Config::new().nfa_size_limit(Some(AUTOMATON_BYTES_MAX));
    let nfa = thompson::Compiler::new().configure(config).build_from_hir(hir).ok()?;
    let config = DFA::config()
        .match_kind(MatchKind::LeftmostFirst)
        .cache_capacity(STATES_BYTES_MAX)
        .skip_cache_capacity_check(true);
    DFA::builder().configure(config).build_from_nfa(nfa).ok()
}
