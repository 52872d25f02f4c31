//! Matchers to series, the same way for the head's live index and for the index file of a block.
//!
//! Semantics are Prometheus's: a label that a series lacks has the empty string as its value, so
//! a matcher that the empty string satisfies also takes the series without that label. Such
//! matchers only ever subtract; the others are intersected. The cheapest go first, so that most
//! queries end at the postings of one pair. Where few series are left, their own values are
//! looked at instead of a long list of values. An expression looks at the part of a dictionary
//! that begins as its matches do, and past values that begin as no match does.

use std::collections::BTreeSet;

use roaring::{MultiOps, RoaringBitmap};

use super::watch::Watched;
use super::{Judged, LabelIndex, Visit};
use crate::model::{MatchOp, Matcher};
use crate::regex::{Regex, Seeking, Shortcut};

/// The series that satisfy all matchers; all series where there is none. `check` is called every
/// few hundred values that are looked at; its error ends the work.
pub fn resolve<E>(
    index: &impl LabelIndex,
    matchers: &[Matcher],
    check: &dyn Fn() -> Result<(), E>,
) -> Result<RoaringBitmap, E> {
    let watched = Watched::new(index, check);
    let series = satisfying(&watched, matchers);
    watched.finish(series)
}

fn satisfying(index: &impl LabelIndex, matchers: &[Matcher]) -> RoaringBitmap {
    let (mut narrowing, mut subtracting): (Vec<&Matcher>, Vec<&Matcher>) =
        matchers.iter().partition(|matcher| !matcher.matches_empty());
    narrowing.sort_by_cached_key(|matcher| cost(index, matcher));
    subtracting.sort_by_cached_key(|matcher| cost(index, matcher));
    let mut result: Option<RoaringBitmap> = None;
    for matcher in narrowing {
        match &mut result {
            Some(result) if is_cheaper_by_rows(index, matcher, result) => {
                filter(index, matcher, result);
            }
            Some(result) => *result &= carriers(index, matcher),
            None => result = Some(carriers(index, matcher)),
        }
        if result.as_ref().is_some_and(RoaringBitmap::is_empty) {
            return RoaringBitmap::new();
        }
    }
    let mut result = result.unwrap_or_else(|| index.all());
    for matcher in subtracting {
        if result.is_empty() {
            break;
        }
        if is_cheaper_by_rows(index, matcher, &result) {
            filter(index, matcher, &mut result);
        } else {
            subtract(index, matcher, &mut result);
        }
    }
    result
}

/// Names of all labels of the series that satisfy `matchers`, sorted; `check` as in [`resolve`].
pub fn label_names<E>(
    index: &impl LabelIndex,
    matchers: &[Matcher],
    check: &dyn Fn() -> Result<(), E>,
) -> Result<Vec<String>, E> {
    let watched = Watched::new(index, check);
    let names = names(&watched, matchers);
    watched.finish(names)
}

fn names(index: &impl LabelIndex, matchers: &[Matcher]) -> Vec<String> {
    let mut names = Vec::new();
    if matchers.is_empty() {
        index.visit_names(&mut |name| names.push(name.to_owned()));
    } else {
        let series = satisfying(index, matchers);
        if !series.is_empty() {
            names = index.names_of(&series);
        }
    }
    names.sort_unstable();
    names.dedup();
    names
}

/// Values of label `name` among the series that satisfy `matchers`, sorted; `check` as in
/// [`resolve`].
pub fn label_values<E>(
    index: &impl LabelIndex,
    name: &str,
    matchers: &[Matcher],
    check: &dyn Fn() -> Result<(), E>,
) -> Result<Vec<String>, E> {
    let watched = Watched::new(index, check);
    let values = values(&watched, name, matchers);
    watched.finish(values)
}

fn values(index: &impl LabelIndex, name: &str, matchers: &[Matcher]) -> Vec<String> {
    let mut values = Vec::new();
    if matchers.is_empty() {
        index.visit_values(name, "", &mut |value| {
            values.push(value.to_owned());
            Visit::Next
        });
        values.sort_unstable();
        values.dedup();
        return values;
    }
    let series = satisfying(index, matchers);
    if series.is_empty() {
        return values;
    }
    if index.rows_cost(series.len()) < index.values_len(name).saturating_mul(LIST_COST) {
        let mut found = BTreeSet::new();
        index.visit_rows(&series, name, &mut |_, value| {
            if !value.is_empty() && !found.contains(value) {
                found.insert(value.to_owned());
            }
        });
        return found.into_iter().collect();
    }
    index.visit_values(name, "", &mut |value| {
        if !series.is_disjoint(&index.postings(name, value)) {
            values.push(value.to_owned());
        }
        Visit::Next
    });
    values.sort_unstable();
    values.dedup();
    values
}

/// What a look at a list costs, measured in values visited and judged.
const LIST_COST: u64 = 2;

/// More than any look-up.
const DICTIONARY: u64 = 1 << 40;

/// A figure to order matchers by: about the number of series to touch, and for what has to look
/// at a dictionary, the number of its values above every look-up.
fn cost(index: &impl LabelIndex, matcher: &Matcher) -> u64 {
    let name = matcher.name.as_str();
    match (matcher.op, matcher.regex().map(Regex::shortcut)) {
        (MatchOp::Equal | MatchOp::NotEqual, _) if matcher.value.is_empty() => DICTIONARY,
        (MatchOp::Equal | MatchOp::NotEqual, _) => index.postings_len(name, &matcher.value),
        (MatchOp::Regex | MatchOp::NotRegex, Some(Shortcut::AnyOf(values))) => {
            values.iter().map(|value| index.postings_len(name, value)).sum()
        }
        (_, Some(Shortcut::NotEmpty | Shortcut::Everything)) => DICTIONARY,
        // A part of the dictionary; nobody knows which.
        (_, Some(Shortcut::Prefix(_))) => DICTIONARY + index.values_len(name) / 8,
        _ => DICTIONARY + index.values_len(name),
    }
}

/// Whether it costs less to look at the values of the series that are left.
fn is_cheaper_by_rows(index: &impl LabelIndex, matcher: &Matcher, left: &RoaringBitmap) -> bool {
    let cost = cost(index, matcher);
    cost > DICTIONARY && index.rows_cost(left.len()) < cost - DICTIONARY
}

/// Keeps the series whose own value satisfies `matcher`.
fn filter(index: &impl LabelIndex, matcher: &Matcher, left: &mut RoaringBitmap) {
    let mut kept = RoaringBitmap::new();
    let mut last: Option<(String, bool)> = None;
    index.visit_rows(left, &matcher.name, &mut |id, value| {
        // Neighbours often have the same value.
        let is_match = match &last {
            Some((text, is_match)) if text == value => *is_match,
            _ => {
                let is_match = matcher.matches(value);
                last = Some((value.to_owned(), is_match));
                is_match
            }
        };
        if is_match {
            kept.insert(id);
        }
    });
    *left = kept;
}

/// Series with a value that satisfies `matcher`, which the empty string does not satisfy.
fn carriers(index: &impl LabelIndex, matcher: &Matcher) -> RoaringBitmap {
    let name = matcher.name.as_str();
    match (matcher.op, matcher.regex().map(Regex::shortcut)) {
        (MatchOp::Equal, _) => index.postings(name, &matcher.value),
        (MatchOp::NotEqual, _) | (MatchOp::Regex, Some(Shortcut::NotEmpty)) => index.carriers(name),
        (MatchOp::Regex, Some(Shortcut::AnyOf(values))) => {
            values.iter().map(|value| index.postings(name, value)).union()
        }
        (MatchOp::Regex, Some(Shortcut::Prefix(prefix))) => {
            with_value(index, matcher, prefix, true)
        }
        _ => with_value(index, matcher, "", true),
    }
}

/// Takes away the series whose value does not satisfy `matcher`, which the empty string does
/// satisfy.
fn subtract(index: &impl LabelIndex, matcher: &Matcher, result: &mut RoaringBitmap) {
    let name = matcher.name.as_str();
    match (matcher.op, matcher.regex().map(Regex::shortcut)) {
        (MatchOp::NotEqual, _) => *result -= index.postings(name, &matcher.value),
        // The value is empty, or the empty string would not satisfy it.
        (MatchOp::Equal, _) | (MatchOp::NotRegex, Some(Shortcut::NotEmpty)) => {
            *result -= index.carriers(name);
        }
        (MatchOp::Regex, Some(Shortcut::Everything)) => {}
        (MatchOp::Regex, Some(Shortcut::AnyOf(values))) => {
            let wanted = values.iter().map(|value| index.postings(name, value)).union();
            *result -= index.carriers(name) - wanted;
        }
        (MatchOp::NotRegex, Some(Shortcut::AnyOf(values))) => {
            for value in values {
                *result -= index.postings(name, value);
            }
        }
        (MatchOp::NotRegex, Some(Shortcut::Prefix(prefix))) => {
            *result -= with_value(index, matcher, prefix, false);
        }
        _ => *result -= with_value(index, matcher, "", false),
    }
}

/// Union of the postings of those values that begin with `prefix` for which `matcher` says
/// `wanted`.
fn with_value(
    index: &impl LabelIndex,
    matcher: &Matcher,
    prefix: &str,
    wanted: bool,
) -> RoaringBitmap {
    // Where values that the expression matches are wanted, others can be skipped by their
    // beginnings.
    let matched = wanted == matches!(matcher.op, MatchOp::Regex | MatchOp::Equal);
    index.remembered(matcher, &mut || {
        let mut seeker = matcher.regex().filter(|_| matched).and_then(Regex::seeker);
        Some(index.union(&matcher.name, prefix, &mut |value| {
            let sought = seeker.as_mut().map_or(Seeking::Unknown, |seeker| seeker.seek(value));
            match sought {
                Seeking::Dead(len) => Judged::RefusedPrefix(len),
                Seeking::Match => Judged::Taken,
                Seeking::Unknown if matcher.matches(value) == wanted => Judged::Taken,
                Seeking::NoMatch | Seeking::Unknown => Judged::Refused,
            }
        }))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::Labels;

    /// Answers by looking at every series.
    struct Naive(Vec<Labels>);

    impl Naive {
        fn having(&self, name: &str, value: &str) -> impl Iterator<Item = u32> {
            let has = |labels: &Labels| labels.get(name) == Some(value);
            let hits: Vec<u32> = (0..).zip(&self.0).filter(|(_, l)| has(l)).map(|p| p.0).collect();
            hits.into_iter()
        }
    }

    impl LabelIndex for Naive {
        fn all(&self) -> RoaringBitmap {
            (0..self.0.len() as u32).collect()
        }

        fn postings(&self, name: &str, value: &str) -> RoaringBitmap {
            self.having(name, value).collect()
        }

        fn postings_len(&self, name: &str, value: &str) -> u64 {
            self.having(name, value).count() as u64
        }

        fn values_len(&self, name: &str) -> u64 {
            self.0.iter().filter(|labels| labels.get(name).is_some()).count() as u64
        }

        fn visit_values(&self, name: &str, prefix: &str, visit: &mut dyn FnMut(&str) -> Visit) {
            let mut values: Vec<&str> = self.0.iter().filter_map(|l| l.get(name)).collect();
            values.sort_unstable();
            values.dedup();
            for value in values.into_iter().filter(|v| v.starts_with(prefix)) {
                if visit(value) == Visit::Stop {
                    return;
                }
            }
        }

        fn visit_names(&self, visit: &mut dyn FnMut(&str)) {
            for (name, _) in self.0.iter().flatten() {
                visit(name);
            }
        }
    }

    #[expect(clippy::unnecessary_wraps, reason = "a check may fail")]
    fn never() -> Result<(), ()> {
        Ok(())
    }

    #[test]
    fn work_on_many_values_is_broken_off() {
        let many = |i: u32| Labels::from_pairs([("a", format!("v{i}"))]);
        let index = Naive((0..2000).map(many).collect());
        let calls = std::cell::Cell::new(0);
        let second_time = || {
            calls.set(calls.get() + 1);
            if calls.get() == 2 { Err("enough") } else { Ok(()) }
        };
        for text in ["v.*[13579]", "(v1|v2).*|v3"] {
            let matcher = Matcher::new("a", MatchOp::Regex, text).unwrap();
            calls.set(0);
            assert_eq!(resolve(&index, &[matcher], &second_time), Err("enough"), "{text}");
            assert_eq!(calls.get(), 2);
        }
        calls.set(0);
        assert_eq!(label_values(&index, "a", &[], &second_time), Err("enough"));
    }

    fn satisfies(labels: &Labels, matchers: &[Matcher]) -> bool {
        matchers.iter().all(|m| m.matches(labels.get(&m.name).unwrap_or("")))
    }

    fn arbitrary_labels() -> impl Strategy<Value = Labels> {
        proptest::collection::vec(("[abc]", "[xy]{0,2}"), 0..4).prop_map(Labels::from_pairs)
    }

    fn arbitrary_matcher() -> impl Strategy<Value = Matcher> {
        let op = prop_oneof![
            Just(MatchOp::Equal),
            Just(MatchOp::NotEqual),
            Just(MatchOp::Regex),
            Just(MatchOp::NotRegex)
        ];
        let value = proptest::sample::select(vec![
            "", "x", "xy", "x|y", "x.*", ".*", ".+", "|x", "(x|yy)?", "[xy]", "x.+|y", "nope",
            ".?y", "(x|y).+", "x?.", "[^x].*",
        ]);
        ("[abcd]", op, value).prop_map(|(name, op, value)| Matcher::new(name, op, value).unwrap())
    }

    proptest! {
        #[test]
        fn agrees_with_looking_at_every_series(
            series in proptest::collection::vec(arbitrary_labels(), 0..40),
            matchers in proptest::collection::vec(arbitrary_matcher(), 0..4),
        ) {
            let index = Naive(series);
            let hits: Vec<u32> = (0..)
                .zip(&index.0)
                .filter(|(_, labels)| satisfies(labels, &matchers))
                .map(|(i, _)| i)
                .collect();
            let found = resolve(&index, &matchers, &never).unwrap();
            prop_assert_eq!(found.iter().collect::<Vec<_>>(), hits.clone());
            let hits = || hits.iter().map(|&i| &index.0[i as usize]);
            let mut names: Vec<&str> = hits().flatten().map(|(name, _)| name).collect();
            names.sort_unstable();
            names.dedup();
            prop_assert_eq!(label_names(&index, &matchers, &never).unwrap(), names);
            let mut values: Vec<&str> = hits().filter_map(|l| l.get("a")).collect();
            values.sort_unstable();
            values.dedup();
            prop_assert_eq!(label_values(&index, "a", &matchers, &never).unwrap(), values);
        }
    }
}
