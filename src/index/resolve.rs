//! Matchers to series, the same way for the head's live index and for the index file of a block.
//!
//! Semantics are Prometheus's: a label that a series lacks has the empty string as its value, so
//! a matcher that the empty string satisfies also takes the series without that label. Such
//! matchers only ever subtract; the others are intersected, cheapest first, so that most queries
//! end at the postings of one pair.

use roaring::{MultiOps, RoaringBitmap};

use super::LabelIndex;
use crate::model::{MatchOp, Matcher};
use crate::regex::Shortcut;

/// The series that satisfy all matchers; all series where there is none.
pub fn resolve(index: &impl LabelIndex, matchers: &[Matcher]) -> RoaringBitmap {
    let (mut narrowing, subtracting): (Vec<&Matcher>, Vec<&Matcher>) =
        matchers.iter().partition(|matcher| !matcher.matches_empty());
    narrowing.sort_by_cached_key(|matcher| cost(index, matcher));
    let mut result: Option<RoaringBitmap> = None;
    for matcher in narrowing {
        let series = carriers(index, matcher);
        match &mut result {
            Some(result) => *result &= series,
            None => result = Some(series),
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
        subtract(index, matcher, &mut result);
    }
    result
}

/// Names of all labels of the series that satisfy `matchers`, sorted.
pub fn label_names(index: &impl LabelIndex, matchers: &[Matcher]) -> Vec<String> {
    let mut names = Vec::new();
    index.visit_names(&mut |name| names.push(name.to_owned()));
    if !matchers.is_empty() {
        let series = resolve(index, matchers);
        names.retain(|name| !series.is_empty() && is_carried(index, name, &series));
    }
    names.sort_unstable();
    names.dedup();
    names
}

/// Values of label `name` among the series that satisfy `matchers`, sorted.
pub fn label_values(index: &impl LabelIndex, name: &str, matchers: &[Matcher]) -> Vec<String> {
    let mut values = Vec::new();
    let series = (!matchers.is_empty()).then(|| resolve(index, matchers));
    if series.as_ref().is_some_and(RoaringBitmap::is_empty) {
        return values;
    }
    index.visit_values(name, "", &mut |value| {
        let is_wanted =
            series.as_ref().is_none_or(|series| !series.is_disjoint(&index.postings(name, value)));
        if is_wanted {
            values.push(value.to_owned());
        }
        true
    });
    values.sort_unstable();
    values.dedup();
    values
}

/// Whether one of `series` has a label `name`.
fn is_carried(index: &impl LabelIndex, name: &str, series: &RoaringBitmap) -> bool {
    let mut found = false;
    index.visit_values(name, "", &mut |value| {
        found = !series.is_disjoint(&index.postings(name, value));
        !found
    });
    found
}

/// A figure to order matchers by: about the number of series to touch, and for what has to look
/// at a dictionary, more than any look-up.
fn cost(index: &impl LabelIndex, matcher: &Matcher) -> u64 {
    const DICTIONARY: u64 = 1 << 40;
    match (matcher.op, matcher.regex().map(crate::regex::Regex::shortcut)) {
        (MatchOp::Equal, _) => index.postings_len(&matcher.name, &matcher.value),
        (MatchOp::Regex, Some(Shortcut::AnyOf(values))) => {
            values.iter().map(|value| index.postings_len(&matcher.name, value)).sum()
        }
        (MatchOp::Regex, Some(Shortcut::Prefix(_))) => DICTIONARY,
        (MatchOp::Regex, Some(Shortcut::NotEmpty)) | (MatchOp::NotEqual, _) => DICTIONARY + 2,
        _ => DICTIONARY + 1,
    }
}

/// Series with a value that satisfies `matcher`, which the empty string does not satisfy.
fn carriers(index: &impl LabelIndex, matcher: &Matcher) -> RoaringBitmap {
    let name = matcher.name.as_str();
    match (matcher.op, matcher.regex().map(crate::regex::Regex::shortcut)) {
        (MatchOp::Equal, _) => index.postings(name, &matcher.value),
        (MatchOp::Regex, Some(Shortcut::AnyOf(values))) => {
            values.iter().map(|value| index.postings(name, value)).union()
        }
        (MatchOp::Regex, Some(Shortcut::Prefix(prefix))) => {
            with_value(index, name, prefix, |value| matcher.matches(value))
        }
        _ => with_value(index, name, "", |value| matcher.matches(value)),
    }
}

/// Takes away the series whose value does not satisfy `matcher`, which the empty string does
/// satisfy.
fn subtract(index: &impl LabelIndex, matcher: &Matcher, result: &mut RoaringBitmap) {
    let name = matcher.name.as_str();
    match (matcher.op, matcher.regex().map(crate::regex::Regex::shortcut)) {
        (MatchOp::NotEqual, _) => *result -= index.postings(name, &matcher.value),
        (MatchOp::Regex, Some(Shortcut::Everything)) => {}
        (MatchOp::NotRegex, Some(Shortcut::AnyOf(values))) => {
            for value in values {
                *result -= index.postings(name, value);
            }
        }
        (MatchOp::NotRegex, Some(Shortcut::Prefix(prefix))) => {
            *result -= with_value(index, name, prefix, |value| !matcher.matches(value));
        }
        _ => *result -= with_value(index, name, "", |value| !matcher.matches(value)),
    }
}

/// Union of the postings of the values of `name` that begin with `prefix` and pass `is_wanted`.
fn with_value(
    index: &impl LabelIndex,
    name: &str,
    prefix: &str,
    is_wanted: impl Fn(&str) -> bool,
) -> RoaringBitmap {
    /// Lists held at once before they are united.
    const LISTS_MAX: usize = 256;
    let mut union = RoaringBitmap::new();
    let mut lists = Vec::new();
    index.visit_values(name, prefix, &mut |value| {
        if is_wanted(value) {
            lists.push(index.postings(name, value));
            if lists.len() == LISTS_MAX {
                union |= lists.drain(..).union();
            }
        }
        true
    });
    union | lists.union()
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

        fn visit_values(&self, name: &str, prefix: &str, visit: &mut dyn FnMut(&str) -> bool) {
            let mut values: Vec<&str> = self.0.iter().filter_map(|l| l.get(name)).collect();
            values.sort_unstable();
            values.dedup();
            for value in values.into_iter().filter(|v| v.starts_with(prefix)) {
                if !visit(value) {
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
            prop_assert_eq!(resolve(&index, &matchers).iter().collect::<Vec<_>>(), hits.clone());
            let hits = || hits.iter().map(|&i| &index.0[i as usize]);
            let mut names: Vec<&str> = hits().flatten().map(|(name, _)| name).collect();
            names.sort_unstable();
            names.dedup();
            prop_assert_eq!(label_names(&index, &matchers), names);
            let mut values: Vec<&str> = hits().filter_map(|l| l.get("a")).collect();
            values.sort_unstable();
            values.dedup();
            prop_assert_eq!(label_values(&index, "a", &matchers), values);
        }
    }
}
