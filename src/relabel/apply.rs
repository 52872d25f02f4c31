//! The eleven actions.

use std::borrow::Cow;

use md5::{Digest, Md5};

use super::{Action, Rule};
use crate::model::LabelsBuilder;

/// Applies `rules` in order. Returns false as soon as one of them drops the set; what the labels
/// are then is of no use.
#[must_use]
pub fn apply(rules: &[Rule], labels: &mut LabelsBuilder) -> bool {
    rules.iter().all(|rule| apply_one(rule, labels))
}

fn apply_one(rule: &Rule, labels: &mut LabelsBuilder) -> bool {
    let target = rule.target_label.as_str();
    match rule.action {
        Action::Keep => return rule.regex.is_match(&joined(rule, labels)),
        Action::Drop => return !rule.regex.is_match(&joined(rule, labels)),
        Action::KeepEqual => return labels.get(target).unwrap_or("") == joined(rule, labels),
        Action::DropEqual => return labels.get(target).unwrap_or("") != joined(rule, labels),
        Action::Replace => replace(rule, labels),
        Action::HashMod => {
            let value = hash(&joined(rule, labels)) % rule.modulus;
            labels.set(target, &value.to_string());
        }
        Action::Lowercase => {
            let value: String = joined(rule, labels).chars().map(lower_case).collect();
            labels.set(target, &value);
        }
        Action::Uppercase => {
            let value: String = joined(rule, labels).chars().map(upper_case).collect();
            labels.set(target, &value);
        }
        Action::LabelMap => map_names(rule, labels),
        Action::LabelDrop => remove_names(rule, labels, true),
        Action::LabelKeep => remove_names(rule, labels, false),
    }
    true
}

/// The values of the source labels with the separator between them.
fn joined<'a>(rule: &Rule, labels: &'a LabelsBuilder) -> Cow<'a, str> {
    let names = rule.source_labels.as_deref().unwrap_or(&[]);
    let value_of = |name: &String| labels.get(name).unwrap_or("");
    match names {
        [] => Cow::Borrowed(""),
        [only] => Cow::Borrowed(value_of(only)),
        _ => Cow::Owned(names.iter().map(value_of).collect::<Vec<_>>().join(&rule.separator)),
    }
}

fn replace(rule: &Rule, labels: &mut LabelsBuilder) {
    let value = joined(rule, labels);
    let Some(target) = rule.regex.expand(&value, &rule.target_label) else { return };
    if !rule.name_scheme.is_label_name(&target) {
        return;
    }
    let Some(result) = rule.regex.expand(&value, &rule.replacement) else { return };
    // An empty result removes the label.
    labels.set(&target, &result);
}

fn map_names(rule: &Rule, labels: &mut LabelsBuilder) {
    let mapped = |(name, value): (&str, &str)| {
        let new_name = rule.regex.expand(name, &rule.replacement)?;
        Some((new_name, value.to_owned()))
    };
    // Of names that map to one, the last in the order of names wins, whichever came in first.
    let mut present: Vec<(&str, &str)> = labels.iter().filter(|(_, v)| !v.is_empty()).collect();
    present.sort_unstable();
    let copies: Vec<(String, String)> = present.into_iter().filter_map(mapped).collect();
    for (name, value) in copies {
        labels.set(&name, &value);
    }
}

fn remove_names(rule: &Rule, labels: &mut LabelsBuilder, matching: bool) {
    let is_removed = |name: &&str| rule.regex.is_match(name) == matching;
    let removed: Vec<String> =
        labels.iter().map(|(name, _)| name).filter(is_removed).map(str::to_owned).collect();
    for name in removed {
        labels.remove(&name);
    }
}

/// COMPAT: the last eight bytes of the MD5, big-endian.
fn hash(value: &str) -> u64 {
    let digest = Md5::digest(value.as_bytes());
    digest.iter().skip(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

/// One character for one, as Go maps them; the standard library's mapping may give several.
fn lower_case(c: char) -> char {
    let mut mapped = c.to_lowercase();
    match (mapped.next(), mapped.next()) {
        (Some(only), None) => only,
        // The one letter with a longer lower case: a dotted capital I.
        (Some(first), Some(_)) => first,
        (None, _) => c,
    }
}

fn upper_case(c: char) -> char {
    let mut mapped = c.to_uppercase();
    match (mapped.next(), mapped.next()) {
        (Some(only), None) => only,
        _ => match c {
            // Greek vowels with an iota below have a capital of their own.
            '\u{1f80}'..='\u{1f87}' | '\u{1f90}'..='\u{1f97}' | '\u{1fa0}'..='\u{1fa7}' => {
                char::from_u32(u32::from(c) + 8).unwrap_or(c)
            }
            '\u{1fb3}' | '\u{1fc3}' | '\u{1ff3}' => char::from_u32(u32::from(c) + 9).unwrap_or(c),
            _ => c,
        },
    }
}

#[cfg(test)]
mod tests;
