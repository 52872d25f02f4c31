//! Each action on label sets; the expected sides were worked out with Prometheus.

use super::*;
use crate::model::{Labels, NameScheme};
use crate::regex::Regex;

fn rule(action: Action, sources: &[&str], pattern: &str, target: &str, replacement: &str) -> Rule {
    let rule = Rule {
        source_labels: Some(sources.iter().map(|name| (*name).to_owned()).collect()),
        regex: Regex::new(pattern).unwrap(),
        target_label: target.to_owned(),
        replacement: replacement.to_owned(),
        modulus: if action == Action::HashMod { 1000 } else { 0 },
        action,
        ..Rule::default()
    };
    let without_sources = Rule { source_labels: None, ..rule.clone() };
    if matches!(action, Action::LabelDrop | Action::LabelKeep) { without_sources } else { rule }
}

/// `a=foo,b=bar` after the rules, or "dropped".
fn run(text: &str, rules: &[Rule]) -> String {
    for rule in rules {
        assert_eq!(rule.validate(), Ok(()));
    }
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    let mut labels = LabelsBuilder::from_labels(&Labels::from_pairs(pairs));
    if !apply(rules, &mut labels) {
        return "dropped".to_owned();
    }
    let built = labels.build();
    built.iter().map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>().join(",")
}

#[test]
fn replace_sets_expands_and_removes() {
    use Action::Replace;
    let table = [
        (rule(Replace, &["a"], "f(.*)", "d", "ch${1}-ch${1}"), "a=foo,b=bar,d=choo-choo"),
        (rule(Replace, &["a"], "no-match", "d", "x"), "a=foo,b=bar"),
        (rule(Replace, &["a", "b"], "(f).*(;)(.*)", "d", "$1$2$3"), "a=foo,b=bar,d=f;bar"),
        (rule(Replace, &["a"], "foo", "b", ""), "a=foo"),
        (rule(Replace, &["a"], "(f)(o+)", "$1_$2", "$2"), "a=foo,b=bar,oo=oo"),
        (rule(Replace, &["a"], "(f)(o+)", "${1}_$2", "$2"), "a=foo,b=bar,f_oo=oo"),
        (rule(Replace, &["a"], "(.*)", "${9}", "x"), "a=foo,b=bar"),
        (rule(Replace, &["missing"], "(.*)", "d", "set"), "a=foo,b=bar,d=set"),
        (rule(Replace, &[], "(.*)", "d", "$1"), "a=foo,b=bar"),
        (rule(Replace, &["a"], "(?P<first>f).*", "d", "${first}!$$"), "a=foo,b=bar,d=f!$"),
    ];
    for (rule, expected) in table {
        assert_eq!(run("a=foo,b=bar", std::slice::from_ref(&rule)), expected, "{rule:?}");
    }
}

#[test]
fn replace_produces_only_names_of_the_scheme() {
    let mut replace = rule(Action::Replace, &["a"], "(.*)", "${1}", "x");
    assert_eq!(run("a=b-c", std::slice::from_ref(&replace)), "a=b-c,b-c=x");
    replace.name_scheme = NameScheme::Legacy;
    assert_eq!(run("a=b-c", &[replace]), "a=b-c");
}

#[test]
fn keep_and_drop() {
    use Action::{Drop, DropEqual, Keep, KeepEqual};
    let all = "a=foo,b=bar,c=foo";
    let table = [
        (rule(Keep, &["a"], "fo", "", "$1"), "dropped"),
        (rule(Keep, &["a"], "f.*", "", "$1"), all),
        (rule(Drop, &["a"], ".*o.*", "", "$1"), "dropped"),
        (rule(Drop, &["a"], "o", "", "$1"), all),
        (rule(Drop, &["missing"], "", "", "$1"), "dropped"),
        (rule(KeepEqual, &["a"], "(.*)", "c", "$1"), all),
        (rule(KeepEqual, &["a"], "(.*)", "b", "$1"), "dropped"),
        (rule(DropEqual, &["a"], "(.*)", "c", "$1"), "dropped"),
        (rule(DropEqual, &["a"], "(.*)", "missing", "$1"), all),
        (rule(KeepEqual, &["missing"], "(.*)", "gone", "$1"), all),
    ];
    for (rule, expected) in table {
        assert_eq!(run(all, std::slice::from_ref(&rule)), expected, "{rule:?}");
    }
}

#[test]
fn rules_after_a_drop_are_not_reached() {
    let rules = [
        rule(Action::Replace, &["a"], "(.*)", "b", "$1"),
        rule(Action::Drop, &["b"], "foo", "", "$1"),
        rule(Action::Replace, &["a"], "(.*)", "c", "$1"),
    ];
    assert_eq!(run("a=foo", &rules), "dropped");
    assert_eq!(run("a=bar", &rules), "a=bar,b=bar,c=bar");
}

#[test]
fn hashmod_is_the_one_of_prometheus() {
    let hash = rule(Action::HashMod, &["c"], "(.*)", "d", "$1");
    assert_eq!(run("a=foo,b=bar,c=baz", std::slice::from_ref(&hash)), "a=foo,b=bar,c=baz,d=976");
    assert_eq!(run("a=foo\nbar", &[rule(Action::HashMod, &["a"], "(.*)", "b", "$1")]), {
        "a=foo\nbar,b=734"
    });
}

#[test]
fn names_are_mapped_dropped_and_kept() {
    use Action::{LabelDrop, LabelKeep, LabelMap};
    let text = "a=foo,b1=bar,b2=baz";
    let table = [
        (rule(LabelMap, &[], "(b.*)", "", "bar_${1}"), "a=foo,b1=bar,b2=baz,bar_b1=bar,bar_b2=baz"),
        (rule(LabelMap, &[], "b(\\d)", "", "a"), "a=baz,b1=bar,b2=baz"),
        (rule(LabelDrop, &[], "b.*", "", "$1"), "a=foo"),
        (rule(LabelKeep, &[], "b.*", "", "$1"), "b1=bar,b2=baz"),
        (rule(LabelDrop, &[], "b", "", "$1"), text),
    ];
    for (rule, expected) in table {
        assert_eq!(run(text, std::slice::from_ref(&rule)), expected, "{rule:?}");
    }
}

#[test]
fn a_removed_label_is_not_mapped() {
    let rules = [
        rule(Action::Replace, &["a"], "(.*)", "a", ""),
        rule(Action::LabelMap, &[], "(.*)", "", "x_$1"),
    ];
    assert_eq!(run("a=foo,b=bar", &rules), "b=bar,x_b=bar");
}

#[test]
fn letter_case_is_mapped_one_to_one() {
    let lower = rule(Action::Lowercase, &["a", "b"], "(.*)", "d", "$1");
    assert_eq!(run("a=fOo,b=ΣΑΣ", &[lower]), "a=fOo,b=ΣΑΣ,d=foo;σασ");
    let upper = rule(Action::Uppercase, &["a"], "(.*)", "d", "$1");
    assert_eq!(run("a=straßeᾳﬁ", &[upper]), "a=straßeᾳﬁ,d=STRAßEᾼﬁ");
    assert_eq!(lower_case('\u{130}'), 'i');
}
