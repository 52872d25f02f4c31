//! How well a name fits what is searched for.
//!
//! COMPAT: which names are found and the bits of their scores are Prometheus 3.14's: sums and
//! products are in its order. How long a comparison takes goes by the product of lengths, so it is
//! asked meanwhile whether anybody waits ([`Patience`]).

use crate::select::{Cancellation, Stopped};

/// What no match but a whole one or a prefix reaches.
const INEXACT: f64 = 0.999;
/// What each character of a common prefix of up to four is worth.
const PREFIX_BOOST: f64 = 0.1;

/// Characters that are looked at between two looks at whether anybody still waits.
const CHARACTERS_PER_LOOK: usize = 1 << 20;

/// Work that ends when nobody waits for it.
#[derive(Debug)]
pub(super) struct Patience<'a> {
    cancellation: &'a Cancellation,
    left: usize,
}

impl<'a> Patience<'a> {
    /// It is looked at once in the beginning.
    pub(super) fn new(cancellation: &'a Cancellation) -> Self {
        Self { cancellation, left: 0 }
    }

    /// So many characters will be looked at.
    pub(super) fn spend(&mut self, characters: usize) -> Result<(), Stopped> {
        if let Some(left) = self.left.checked_sub(characters) {
            self.left = left;
            return Ok(());
        }
        self.left = CHARACTERS_PER_LOOK;
        self.cancellation.check()
    }
}

/// How names are compared with terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    /// A term's characters stand in the name, in order.
    Subsequence,
    /// A term stands in the name, or is like it.
    JaroWinkler,
}

/// What is searched for: any of some terms.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    terms: Vec<String>,
    algorithm: Algorithm,
    /// 0 to 1.
    threshold: f64,
    folds_case: bool,
}

impl Wanted {
    /// Empty terms ask for nothing.
    pub(super) fn new<'a>(
        terms: impl Iterator<Item = &'a str>,
        algorithm: Algorithm,
        threshold: f64,
        folds_case: bool,
    ) -> Self {
        let terms = terms.filter(|term| !term.is_empty());
        let terms = terms.map(|term| if folds_case { lower(term) } else { term.to_owned() });
        Self { terms: terms.collect(), algorithm, threshold, folds_case }
    }

    /// The best score of a name, from 0 to 1; `None`: it is not wanted. Without terms every name
    /// is wanted.
    pub(super) fn score(
        &self,
        name: &str,
        patience: &mut Patience<'_>,
    ) -> Result<Option<f64>, Stopped> {
        patience.spend(name.len() + 1)?;
        if self.terms.is_empty() {
            return Ok(Some(1.0));
        }
        let folded = self.folds_case.then(|| lower(name));
        let name = folded.as_deref().unwrap_or(name);
        let mut best: Option<f64> = None;
        for term in &self.terms {
            let Some(score) = self.score_of(term, name, patience)? else { continue };
            best = Some(best.map_or(score, |best| best.max(score)));
            if score >= 1.0 {
                break;
            }
        }
        Ok(best)
    }

    fn score_of(
        &self,
        term: &str,
        name: &str,
        patience: &mut Patience<'_>,
    ) -> Result<Option<f64>, Stopped> {
        let is_near = |score: f64| score >= self.threshold;
        Ok(match self.algorithm {
            Algorithm::Subsequence => {
                if name.starts_with(term) {
                    return Ok(Some(1.0));
                }
                let score = by_characters(term, name, subsequence, patience)?;
                (score > 0.0 && is_near(score)).then_some(score)
            }
            Algorithm::JaroWinkler => {
                if let Some(score) = within(term, name) {
                    return Ok(Some(score));
                }
                let score = by_characters(term, name, jaro_winkler, patience)?;
                (self.threshold > 0.0 && is_near(score)).then_some(score)
            }
        })
    }
}

/// COMPAT: each character by itself, and into one.
fn lower(text: &str) -> String {
    text.chars().map(|c| c.to_lowercase().next().unwrap_or(c)).collect()
}

/// Compares bytes where those are characters.
fn by_characters(
    a: &str,
    b: &str,
    compare: Compare,
    patience: &mut Patience<'_>,
) -> Result<f64, Stopped> {
    if a.is_ascii() && b.is_ascii() {
        let wide = |text: &str| text.bytes().map(u32::from).collect::<Vec<u32>>();
        return compare(&wide(a), &wide(b), patience);
    }
    let wide = |text: &str| text.chars().map(u32::from).collect::<Vec<u32>>();
    compare(&wide(a), &wide(b), patience)
}

type Compare = fn(&[u32], &[u32], &mut Patience<'_>) -> Result<f64, Stopped>;

/// The earlier a term stands in a name, the better.
fn within(term: &str, name: &str) -> Option<f64> {
    let at = name.find(term)?;
    let characters = |text: &str| text.chars().count();
    let (before, last) = (characters(&name[..at]), characters(name) - characters(term));
    if before == 0 || last == 0 {
        return Some(1.0);
    }
    Some(1.0 - 0.9 * before as f64 / last as f64)
}

/// Runs count by the square of their length; gaps, what stands before and, by half, what stands
/// behind count against the match.
fn subsequence(term: &[u32], name: &[u32], patience: &mut Patience<'_>) -> Result<f64, Stopped> {
    let Some(last_start) = name.len().checked_sub(term.len()) else { return Ok(0.0) };
    let mut best = -1.0_f64;
    for start in 0..=last_start {
        if name[start] != term[0] {
            continue;
        }
        patience.spend(name.len() - start)?;
        match score_from(term, name, start) {
            // What cannot be found from here cannot be found from further on.
            None => break,
            Some(score) => best = best.max(score),
        }
    }
    if best < 0.0 {
        return Ok(0.0);
    }
    Ok(best / (term.len() * term.len()) as f64 * INEXACT)
}

fn score_from(term: &[u32], name: &[u32], start: usize) -> Option<f64> {
    let unit = 1.0 / name.len() as f64;
    let (mut at, mut taken, mut free_from, mut score) = (start, 0, 0, 0.0);
    while taken < term.len() {
        at += name[at..].iter().position(|c| *c == term[taken])?;
        let from = at;
        while taken < term.len() && at < name.len() && name[at] == term[taken] {
            (at, taken) = (at + 1, taken + 1);
        }
        if from > free_from {
            score -= (from - free_from) as f64 * unit;
        }
        score += ((at - from) * (at - from)) as f64;
        free_from = at;
    }
    let behind = name.len() - free_from;
    if behind > 0 {
        score -= behind as f64 * unit * 0.5;
    }
    Some(score)
}

/// Source: M. A. Jaro, 1989; W. E. Winkler, 1990.
fn jaro_winkler(a: &[u32], b: &[u32], patience: &mut Patience<'_>) -> Result<f64, Stopped> {
    if a == b {
        return Ok(1.0);
    }
    let (short, long) = if a.len() > b.len() { (b, a) } else { (a, b) };
    if short.is_empty() {
        return Ok(0.0);
    }
    let reach = (long.len() / 2).saturating_sub(1);
    let mut in_short = vec![false; short.len()];
    let mut in_long = vec![false; long.len()];
    let mut count = 0_usize;
    for (i, c) in short.iter().enumerate() {
        let near = i.saturating_sub(reach)..(i + reach + 1).min(long.len());
        patience.spend(near.len())?;
        if let Some(j) = near.into_iter().find(|&j| !in_long[j] && long[j] == *c) {
            (in_short[i], in_long[j]) = (true, true);
            count += 1;
        }
    }
    if count == 0 {
        return Ok(0.0);
    }
    let matched = |text: &[u32], is_in: &[bool]| -> Vec<u32> {
        text.iter().zip(is_in).filter(|(_, is_in)| **is_in).map(|(c, _)| *c).collect()
    };
    let pairs = matched(short, &in_short).into_iter().zip(matched(long, &in_long));
    let (matches, moved) = (count as f64, pairs.filter(|(a, b)| a != b).count() as f64);
    let (per_short, per_long) = (1.0 / short.len() as f64, 1.0 / long.len() as f64);
    let jaro = (matches * per_short + matches * per_long + (matches - moved * 0.5) / matches) / 3.0;
    let prefix = short.iter().zip(long).take(4).take_while(|(a, b)| a == b).count();
    Ok(jaro + prefix as f64 * PREFIX_BOOST * (1.0 - jaro))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn score(algorithm: Algorithm, threshold: f64, terms: &[&str], name: &str) -> Option<f64> {
        score_of(&Wanted::new(terms.iter().copied(), algorithm, threshold, false), name)
    }

    fn score_of(wanted: &Wanted, name: &str) -> Option<f64> {
        wanted.score(name, &mut Patience::new(&Cancellation::new())).unwrap()
    }

    #[test]
    fn one_comparison_ends_too_when_nobody_waits() {
        let name = "a".repeat(1 << 20) + "b";
        for (algorithm, term) in
            [(Algorithm::Subsequence, "ab".to_owned()), (Algorithm::JaroWinkler, "c".repeat(4000))]
        {
            let cancellation = Cancellation::at(Instant::now() + Duration::from_millis(50));
            let wanted = Wanted::new([term.as_str()].into_iter(), algorithm, 0.1, false);
            let patience = &mut Patience::new(&cancellation);
            // Without it the first takes half a million million steps.
            while wanted.score(&name, patience).is_ok() {}
        }
    }

    #[test]
    fn subsequences_are_found_and_runs_are_worth_more() {
        let score = |term, name| score(Algorithm::Subsequence, 0.0, &[term], name);
        assert_eq!(score("http", "http_requests"), Some(1.0));
        assert_eq!(score("htp", "http"), Some((4.0 - 0.25 + 1.0) / 9.0 * 0.999));
        assert_eq!(score("x", "http"), None);
        assert_eq!(score("ptth", "http"), None);
        assert!(score("requests", "http_requests") > score("hrequests", "http_requests"));
        assert_eq!(score("ä", "für"), None);
        assert!(score("ü", "für").is_some() && score("fr", "für").is_some());
    }

    #[test]
    fn likeness_counts_where_a_threshold_asks_for_it() {
        let like = Algorithm::JaroWinkler;
        assert_eq!(score(like, 0.0, &["martha"], "marhta"), None);
        let found = score(like, 0.5, &["martha"], "marhta").unwrap();
        assert!((found - 0.961).abs() < 1e-3);
        assert_eq!(score(like, 0.99, &["martha"], "marhta"), None);
        // A term that stands in the name is scored by where.
        assert_eq!(score(like, 0.9, &["b"], "ab"), Some(1.0 - 0.9));
        assert_eq!(score(like, 0.9, &["ß"], "aß"), Some(1.0 - 0.9));
        assert_eq!(score(like, 0.0, &["ab"], "ab"), Some(1.0));
        assert_eq!(score(like, 0.1, &["x"], ""), None);
    }

    #[test]
    fn the_best_of_several_terms_counts_and_case_may_be_folded() {
        let found = score(Algorithm::JaroWinkler, 0.0, &["c", "b"], "abc");
        assert_eq!(found, Some(1.0 - 0.9 * 1.0 / 2.0));
        assert_eq!(score(Algorithm::Subsequence, 0.0, &["", ""], "anything"), Some(1.0));
        let wanted = Wanted::new(["ΣÄ"].into_iter(), Algorithm::Subsequence, 0.0, true);
        assert_eq!(score_of(&wanted, "σä_x"), Some(1.0));
        assert_eq!(lower("İΣ"), "iσ");
    }
}
