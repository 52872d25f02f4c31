//! Go's answers to patterns and subjects, kept in `testdata/regex/go.tsv`, and the shortcuts.

use super::*;

/// Lines of (pattern, then either an error or the subjects that match), tab-separated, strings in
/// the escapes of [`unescape`].
const GO_ANSWERS: &str = include_str!("../../testdata/regex/go.tsv");

fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => out.push('\n'),
            Some('t') => out.push('\t'),
            Some('v') => out.push('\x0b'),
            Some('e') => {}
            Some(other) => out.push(other),
            None => panic!("bad escape in {text:?}"),
        }
    }
    out
}

#[test]
fn answers_are_those_of_go() {
    let mut lines = GO_ANSWERS.lines();
    let subjects: Vec<String> =
        lines.next().expect("a first line of subjects").split('\t').map(unescape).collect();
    let mut cases = 0;
    let mut wrong = Vec::new();
    for line in lines {
        let mut fields = line.split('\t');
        let pattern = unescape(fields.next().expect("a pattern"));
        let verdict = unescape(fields.next().expect("a verdict"));
        cases += 1;
        let ours = match Regex::new(&pattern) {
            Err(error) => error.to_string(),
            Ok(regex) => subjects
                .iter()
                .map(|subject| if regex.is_match(subject) { '1' } else { '0' })
                .collect(),
        };
        if ours != verdict {
            wrong.push(format!("{pattern:?}\n  Go:   {verdict}\n  ours: {ours}"));
        }
    }
    println!("{cases} patterns against {} subjects", subjects.len());
    assert!(cases > 150, "the table is incomplete: {cases} patterns");
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn shortcuts() {
    let shortcut = |pattern: &str| Regex::new(pattern).expect(pattern).shortcut().clone();
    let any_of = |strings: &[&str]| Shortcut::AnyOf(strings.iter().map(|s| (*s).into()).collect());
    assert_eq!(shortcut("b|a|(c|d)e"), any_of(&["a", "b", "ce", "de"]));
    assert_eq!(shortcut("ab[12]?"), any_of(&["ab", "ab1", "ab2"]));
    assert_eq!(shortcut(""), any_of(&[""]));
    assert_eq!(shortcut(".*"), Shortcut::Everything);
    assert_eq!(shortcut("(.+)"), Shortcut::NotEmpty);
    assert_eq!(shortcut("node_.*"), Shortcut::Prefix("node_".into()));
    assert_eq!(shortcut("a(bc|bd)?x+"), Shortcut::Prefix("a".into()));
    assert_eq!(shortcut("[a-z]+"), Shortcut::None);
    assert_eq!(shortcut("(?i)[a-z]{4}"), Shortcut::None);
}

#[test]
fn templates_expand_as_in_go() {
    let regex = Regex::new("(?P<first>[a-z]+)-(.*)").expect("compiles");
    for (template, expected) in [
        ("$1", "ab"),
        ("${2}!", "cd"),
        ("$first.$2", "ab.cd"),
        ("$1x", ""),
        ("${1}x", "abx"),
        ("$$1", "$1"),
        ("$", "$"),
        ("a$-b", "a$-b"),
        ("${1", "${1"),
        ("$01", ""),
        ("$9", ""),
        ("$0", "ab-cd"),
    ] {
        let expected = if template == "${2}!" { "cd!" } else { expected };
        assert_eq!(regex.expand("ab-cd", template).as_deref(), Some(expected), "{template}");
    }
    assert_eq!(regex.expand("ab", "$1"), None);
    assert_eq!(Regex::new("a|b").expect("compiles").expand("b", "<$0>").as_deref(), Some("<b>"));
}

#[test]
fn deep_and_large_patterns_are_refused_not_overflowed() {
    let deep = format!("{}a{}", "(".repeat(100_000), ")".repeat(100_000));
    assert!(Regex::new(&deep).is_err_and(|e| e.0.contains("nests too deeply")));
    assert!(Regex::new("((a{100}){100}){100}").is_err_and(|e| e.0.contains("repeat count")));
    assert!(Regex::new(&"(".repeat(100_000)).is_err_and(|e| e.0.contains("missing closing )")));
    assert!(Regex::new(&format!("({})", r"\pL{1000}".repeat(200))).is_err());
}

#[test]
fn seekers_agree_with_searches_and_are_right_about_beginnings() {
    let alphabet = ["a", "b", "-", "\u{e9}", "\n"];
    let mut values = vec![String::new()];
    for _ in 0..4 {
        let longer = values.iter().flat_map(|v| alphabet.iter().map(move |c| format!("{v}{c}")));
        let longer: Vec<String> = longer.collect();
        values.extend(longer);
    }
    values.sort_unstable();
    values.dedup();
    for pattern in ["(a|b)-.*", "[^a].*b", ".?b", "a+|b{2,}", "(?i)A.*", r"\ba.*", "a.*b|", "é.+"]
    {
        let regex = Regex::new(pattern).unwrap();
        let mut seeker = regex.seeker().unwrap();
        let mut dead = 0;
        for value in &values {
            let sought = seeker.seek(value);
            match sought {
                Seeking::Match => assert!(regex.is_match(value), "{pattern} {value:?}"),
                Seeking::NoMatch => assert!(!regex.is_match(value), "{pattern} {value:?}"),
                Seeking::Dead(len) => {
                    dead += 1;
                    let begins = |v: &&String| v.as_bytes().starts_with(&value.as_bytes()[..len]);
                    let lost = values.iter().filter(begins).find(|v| regex.is_match(v));
                    assert_eq!(lost, None, "{pattern} {value:?} {len}");
                }
                Seeking::Unknown => {}
            }
        }
        assert!(dead > 0, "{pattern} rules beginnings out");
    }
}

#[test]
fn generated_lists_are_lists_and_other_long_patterns_are_refused() {
    let names: Vec<_> = (0..50_000).map(|i| format!("pod-{i}")).collect();
    for pattern in [names.join("|"), format!("ns/({})/(a)(b)", names.join("|"))] {
        let regex = Regex::new(&pattern).unwrap();
        let Shortcut::AnyOf(strings) = regex.shortcut() else { panic!("a list") };
        assert_eq!(strings.len(), 50_000);
    }
    // Many strings that each end in very much would take very much.
    let long = format!("[a-z][a-z]{}", "(xxxxxxxx)".repeat(12_000));
    assert!(matches!(Regex::new(&long).unwrap().shortcut(), Shortcut::None));
    let error = Regex::new(&"(a|b)?".repeat(100_000)).unwrap_err().to_string();
    assert!(error.starts_with("regular expression is 600000 bytes long, limit 131072"), "{error}");
}
