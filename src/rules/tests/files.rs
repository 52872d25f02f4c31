//! What is wrong with files of rules.

use super::super::{RuleKind, Source, load, load_text};

fn errors(text: &str) -> Vec<String> {
    let errors = load_text(text, "f.yml", &Source::default()).unwrap_err();
    errors.iter().map(ToString::to_string).collect()
}

/// Texts of promtool 3.14, with places where it shows 0:0.
#[test]
fn each_fault_is_told_with_its_place() {
    let text = "groups:
  - name: a
    rules:
      - record: x
        alert: y
        expr: 1
      - expr: 1
      - record: x
      - record: x
        expr: sum(
      - record: 'x{}'
        expr: 1
        for: 5m
        keep_firing_for: 5m
        annotations: {a: b}
        labels: {__name__: x}
      - alert: q
        expr: up
        annotations: {'': c}
  - name: a
  - rules: []
";
    assert_eq!(
        errors(text),
        [
            "f.yml: 4:17: 5:16: group \"a\", rule 1, \"y\": only one of 'record' and 'alert' must \
             be set",
            "f.yml: 7:9: group \"a\", rule 2, \"\": one of 'record' or 'alert' must be set",
            "f.yml: 8:9: group \"a\", rule 3, \"x\": field 'expr' must be set in rule",
            "f.yml: 10:15: group \"a\", rule 4, \"x\": could not parse expression: 1:5: parse \
             error: unclosed left parenthesis",
            "f.yml: 11:17: group \"a\", rule 5, \"x{}\": invalid field 'annotations' in recording \
             rule",
            "f.yml: 11:17: group \"a\", rule 5, \"x{}\": invalid field 'for' in recording rule",
            "f.yml: 11:17: group \"a\", rule 5, \"x{}\": invalid field 'keep_firing_for' in \
             recording rule",
            "f.yml: 11:17: group \"a\", rule 5, \"x{}\": braces present in the recording rule \
             name; should it be in expr?: x{}",
            "f.yml: group \"a\", rule 5, \"x{}\": invalid label name: __name__",
            "f.yml: group \"a\", rule 6, \"q\": invalid annotation name: ",
            "f.yml: 20:5: groupname: \"a\" is repeated in the same file",
            "f.yml: 21:5: Groupname must not be empty",
        ]
    );
}

#[test]
fn a_group_gives_its_labels_to_its_rules() {
    let text = "groups: [{name: a, labels: {team: x, sev: low}, rules: [\
                {record: r, expr: 1, labels: {sev: high}}, \
                {alert: b, expr: 'up  ==  0', for: 5m, keep_firing_for: 1h}]}]";
    let groups = load_text(text, "f.yml", &Source::default()).unwrap();
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(groups[0].rules[0].labels, [pair("sev", "high"), pair("team", "x")]);
    let alert = &groups[0].rules[1];
    assert_eq!(alert.expr, "up == 0");
    assert_eq!(
        alert.kind,
        RuleKind::Alerting {
            for_ms: 300_000,
            keep_firing_for_ms: 3_600_000,
            annotations: Vec::new()
        }
    );
}

#[test]
fn patterns_name_files_and_each_counts_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    for name in ["a.yml", "b.yml"] {
        std::fs::write(path(name), format!("groups: [{{name: {name}}}]")).unwrap();
    }
    let names = |patterns: &[String]| -> Vec<String> {
        let groups = load(patterns, &Source::default()).unwrap();
        groups.into_iter().map(|group| group.name).collect()
    };
    assert_eq!(names(&[path("*.yml"), path("a.yml"), path("c*.yml")]), ["a.yml", "b.yml"]);
    assert!(names(&[path("missing.yml")]).is_empty());
    std::fs::write(path("c.yml"), "groups: [{name: c, rules: [{record: x}]}, {}]").unwrap();
    std::fs::write(path("d.yml"), "groups: [").unwrap();
    let errors = load(&[path("*.yml"), "[".to_owned()], &Source::default()).unwrap_err();
    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(texts.len(), 4, "{texts:?}");
    assert!(texts[0].starts_with(&path("c.yml")) && texts[2].starts_with(&path("d.yml")));
    assert_eq!(texts[3], "failed retrieving rule files for \"[\": syntax error in pattern");
}
