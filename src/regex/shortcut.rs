//! What a pattern amounts to where that is simpler than running an automaton.
//!
//! Most expressions on dashboards are lists of names or a name and `.*`. Seeing that lets an index
//! look values up instead of testing each one.

use regex_syntax::hir::{Class, Hir, HirKind};

use super::Shortcut;

/// More strings than this are left to the automaton.
const STRINGS_MAX: usize = 4096;
/// The same for strings that the pattern spells out one by one, as generated ones do.
const LISTED_MAX: usize = 1 << 17;
/// Bytes of heads, middles and tails of such strings.
const BYTES_MAX: usize = 4 << 20;

/// Analyses an expression that is anchored at both ends from outside.
pub(super) fn analyse(hir: &Hir) -> Shortcut {
    if let Some(strings) = strings(hir) {
        let mut strings: Vec<String> =
            strings.into_iter().filter_map(|bytes| String::from_utf8(bytes).ok()).collect();
        strings.sort_unstable();
        strings.dedup();
        return Shortcut::AnyOf(strings);
    }
    match any_run(hir) {
        Some(0) => return Shortcut::Everything,
        Some(1) => return Shortcut::NotEmpty,
        _ => {}
    }
    let prefix = prefix(hir);
    match String::from_utf8(prefix) {
        Ok(prefix) if !prefix.is_empty() => Shortcut::Prefix(prefix),
        _ => Shortcut::None,
    }
}

/// Whether `hir` is a literal prefix followed by nothing but `.*`.
pub(super) fn is_prefix_and_anything(hir: &Hir) -> bool {
    match hir.kind() {
        HirKind::Concat(subs) => match subs.as_slice() {
            [first, second] => {
                matches!(first.kind(), HirKind::Literal(_)) && any_run(second) == Some(0)
            }
            _ => false,
        },
        HirKind::Capture(capture) => is_prefix_and_anything(&capture.sub),
        _ => false,
    }
}

/// The least length of a run of any characters: 0 for `.*`, 1 for `.+`.
fn any_run(hir: &Hir) -> Option<u32> {
    match hir.kind() {
        HirKind::Repetition(repetition)
            if repetition.max.is_none() && is_any_char(&repetition.sub) =>
        {
            Some(repetition.min)
        }
        HirKind::Capture(capture) => any_run(&capture.sub),
        _ => None,
    }
}

fn is_any_char(hir: &Hir) -> bool {
    match hir.kind() {
        HirKind::Class(Class::Unicode(class)) => {
            matches!(class.ranges(), [range] if range.start() == '\0' && range.end() == char::MAX)
        }
        _ => false,
    }
}

/// Every head with every tail, `middle` between them, if they are few.
fn join(heads: &[Vec<u8>], middle: &[u8], tails: &[Vec<u8>]) -> Option<Vec<Vec<u8>>> {
    // A list with something in front or behind is still a list.
    let is_list = heads.len() == 1 || tails.len() == 1;
    let count_max = if is_list { LISTED_MAX } else { STRINGS_MAX };
    let count = heads.len().checked_mul(tails.len()).filter(|count| *count <= count_max)?;
    let bytes = |texts: &[Vec<u8>]| texts.iter().map(Vec::len).sum::<usize>();
    let all = [
        bytes(heads).checked_mul(tails.len())?,
        middle.len().checked_mul(count)?,
        bytes(tails).checked_mul(heads.len())?,
    ];
    if all.iter().any(|bytes| *bytes > BYTES_MAX) {
        return None;
    }
    let with = |head: &'_ Vec<u8>, tail: &Vec<u8>| [head.as_slice(), middle, tail].concat();
    Some(heads.iter().flat_map(|head| tails.iter().map(move |tail| with(head, tail))).collect())
}

/// All strings of a finite expression, if they are few.
fn strings(hir: &Hir) -> Option<Vec<Vec<u8>>> {
    match hir.kind() {
        HirKind::Empty => Some(vec![Vec::new()]),
        HirKind::Literal(literal) => Some(vec![literal.0.to_vec()]),
        HirKind::Class(Class::Unicode(class)) => {
            let count: usize =
                class.ranges().iter().map(regex_syntax::hir::ClassUnicodeRange::len).sum();
            if count > STRINGS_MAX {
                return None;
            }
            let chars = class.ranges().iter().flat_map(|range| range.start()..=range.end());
            Some(chars.map(|c| c.to_string().into_bytes()).collect())
        }
        HirKind::Class(Class::Bytes(class)) => class.ranges().is_empty().then(Vec::new),
        HirKind::Look(_) => None,
        HirKind::Repetition(repetition) => match (repetition.min, repetition.max) {
            (0, Some(1)) => {
                let mut strings = strings(&repetition.sub)?;
                strings.push(Vec::new());
                Some(strings)
            }
            _ => None,
        },
        HirKind::Capture(capture) => strings(&capture.sub),
        HirKind::Concat(subs) => {
            let mut product = vec![Vec::new()];
            // What all of them end in; appended once, however many pieces it comes in.
            let mut end = Vec::new();
            for sub in subs {
                match strings(sub)?.as_mut_slice() {
                    [only] => end.append(only),
                    tails => {
                        product = join(&product, &end, tails)?;
                        end.clear();
                    }
                }
            }
            join(&product, &end, &[Vec::new()])
        }
        HirKind::Alternation(subs) => {
            let mut union = Vec::new();
            for sub in subs {
                union.append(&mut strings(sub)?);
                if union.len() > LISTED_MAX {
                    return None;
                }
            }
            Some(union)
        }
    }
}

/// The bytes that every match begins with.
fn prefix(hir: &Hir) -> Vec<u8> {
    match hir.kind() {
        HirKind::Literal(literal) => literal.0.to_vec(),
        HirKind::Capture(capture) => prefix(&capture.sub),
        HirKind::Concat(subs) => {
            let mut bytes = Vec::new();
            for sub in subs {
                bytes.extend(prefix(sub));
                if !matches!(sub.kind(), HirKind::Literal(_)) {
                    break;
                }
            }
            bytes
        }
        _ => Vec::new(),
    }
}
