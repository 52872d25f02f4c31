//! Output and exit status, beside what promtool 3.14 prints for the same files.

use std::ffi::OsString;
use std::path::Path;

use super::*;

/// Exit status, standard output and standard error; the folder's name is left out.
fn check(folder: &Path, words: &[&str], input: &str) -> (u8, String, String) {
    let root = format!("{}/", folder.display());
    let line = ["narthex", "check"]
        .iter()
        .chain(words)
        .map(|word| OsString::from(word.replace('@', &root)));
    let line: Vec<OsString> = line.collect();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut streams = Streams { out: &mut out, err: &mut err };
    let code = run_with(&line, &mut input.as_bytes(), &mut streams).unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().replace(&root, "");
    (code, text(out), text(err))
}

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

const GOOD: &str = "groups: [{name: a, rules: [{record: x, expr: up}, {alert: y, expr: up}]}]\n";
const TWICE: &str = "groups: [{name: a, rules: [{record: x, expr: 1}, {record: x, expr: 2}, \
                     {alert: z, expr: 2, labels: {a: b}}, {alert: z, expr: 3, labels: {a: b}}]}]\n";
const BAD: &str = "groups: [{name: a, rules: [{record: x, expr: sum(}]}]\n";

#[test]
fn rules_are_judged() {
    let folder = folder(&[("good.yml", GOOD), ("twice.yml", TWICE), ("bad.yml", BAD)]);
    let run = |words: &[&str]| check(folder.path(), words, "");
    let (code, out, err) = run(&["rules", "@good.yml"]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(out, "Checking good.yml\n  SUCCESS: 2 rules found\n\n");
    let (code, out, err) = run(&["rules", "@twice.yml", "@good.yml"]);
    assert_eq!(code, 0);
    assert_eq!(out, "Checking twice.yml\n\nChecking good.yml\n  SUCCESS: 2 rules found\n\n");
    let lint = "  FAILED:\nlint error 2 duplicate rule(s) found.\nMetric: x\nLabel(s):\nMetric: \
                z\nLabel(s):\n\ta: b\nMight cause inconsistency while recording expressions\n";
    assert_eq!(err, lint);
    assert_eq!(run(&["rules", "--lint-fatal", "@twice.yml"]).0, 3);
    let (code, out, err) = run(&["rules", "--lint=none", "--lint-fatal", "@twice.yml"]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(out, "Checking twice.yml\n  SUCCESS: 4 rules found\n\n");
    let (code, _, err) = run(&["rules", "--lint=foo", "@twice.yml"]);
    assert_eq!((code, err.as_str()), (0, "WARNING: unknown lint option: \"foo\"\n"));
    let (code, out, err) = run(&["rules", "@bad.yml", "@good.yml"]);
    assert_eq!(code, 1);
    assert_eq!(out, "Checking bad.yml\nChecking good.yml\n  SUCCESS: 2 rules found\n\n");
    assert_eq!(
        err,
        "  FAILED:\nbad.yml: 1:46: group \"a\", rule 1, \"x\": could not parse expression: 1:5: \
         parse error: unclosed left parenthesis\n"
    );
    assert_eq!(run(&["rules", "@missing.yml"]).0, 1);
}

#[test]
fn rules_may_come_by_standard_input() {
    let folder = folder(&[]);
    let (code, out, err) = check(folder.path(), &["rules"], GOOD);
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(out, "Checking standard input\n  SUCCESS: 2 rules found\n\n");
    let (code, _, err) = check(folder.path(), &["rules"], BAD);
    assert!(code == 1 && err.starts_with("  FAILED:\n1:46: group \"a\""), "{err}");
    let unknown = "groups: [{name: a, foo: 1}]\n";
    assert_eq!(check(folder.path(), &["rules"], unknown).0, 1);
    assert_eq!(check(folder.path(), &["rules", "--ignore-unknown-fields"], unknown).0, 0);
}

#[test]
fn configurations_are_judged_with_what_they_name() {
    let files = [
        ("good.yml", GOOD),
        ("twice.yml", TWICE),
        (
            "a.yml",
            "global: {scrape_interval: 10m}\nrule_files: [good.yml, \"tw*.yml\"]\nscrape_configs: \
             [{job_name: a, file_sd_configs: [{files: [\"x*.json\"]}]}]\n",
        ),
        ("b.yml", "rule_files: [nope.yml]\n"),
        ("c.yml", "globl: {}\n"),
        ("d.yml", "scrape_configs: [{job_name: a, authorization: {credentials_file: no}}]\n"),
        ("e.yml", "scrape_configs: [{job_name: a, file_sd_configs: [{files: [sd.json]}]}]\n"),
        ("sd.json", "[{\"targets\": 5}]"),
    ];
    let folder = folder(&files);
    let run = |words: &[&str]| check(folder.path(), words, "");
    let (code, out, err) = run(&["config", "--lint=all", "@a.yml"]);
    assert_eq!(code, 0);
    assert_eq!(
        out,
        "Checking a.yml\n  WARNING: file \"x*.json\" for file_sd in scrape job \"a\" does not \
         exist\n  SUCCESS: 2 rule files found\n SUCCESS: a.yml is valid prometheus config file \
         syntax\n\nChecking good.yml\n  SUCCESS: 2 rules found\n\nChecking twice.yml\n\n"
    );
    let long = "  FAILED: too long scrape interval found, data point will be marked as stale - \
                job: a, interval: 10m\n  FAILED:\nlint error 2 duplicate rule(s) found.\n";
    assert!(err.starts_with(long), "{err}");
    assert_eq!(run(&["config", "--lint=all", "--lint-fatal", "@a.yml"]).0, 3);
    let (code, out, err) = run(&["config", "@b.yml"]);
    assert_eq!((code, out.as_str()), (1, "Checking b.yml\n\n"));
    assert_eq!(err, "  FAILED: \"nope.yml\" does not point to an existing file\n");
    let (code, out, _) = run(&["config", "--syntax-only", "@b.yml"]);
    assert_eq!(code, 0);
    assert_eq!(out, "Checking b.yml\n SUCCESS: b.yml is valid prometheus config file syntax\n\n");
    let (code, _, err) = run(&["config", "@c.yml"]);
    assert!(code == 1 && err.contains("c.yml:1:1: field globl not found"), "{err}");
    let (code, _, err) = run(&["config", "@d.yml"]);
    let missing = "error checking authorization credentials or bearer token file \"no\": stat no: \
                   no such file or directory";
    assert!(code == 1 && err.contains(missing), "{err}");
    let (code, _, err) = run(&["config", "@e.yml"]);
    assert!(code == 1 && err.contains("checking SD file \"sd.json\""), "{err}");
    let (code, _, err) = run(&["config", "--agent", "@a.yml"]);
    assert_eq!(code, 1);
    assert!(err.contains("field rule_files is not allowed in agent mode"), "{err}");
    assert_eq!(run(&["config"]).0, 1);
}

#[test]
fn web_configurations_are_judged() {
    let good = "http_server_config: {http2: false}\n";
    let files = [
        ("good.yml", good),
        ("bad.yml", "foo: 1\n"),
        ("half.yml", "tls_server_config: {cert_file: a}\n"),
    ];
    let folder = folder(&files);
    let run = |words: &[&str]| check(folder.path(), words, "");
    let (code, out, err) = run(&["web-config", "@good.yml"]);
    assert_eq!((code, out.as_str(), err.as_str()), (0, "", "good.yml SUCCESS\n"));
    let (code, _, err) = run(&["web-config", "@bad.yml", "@good.yml", "@half.yml"]);
    let lines: Vec<&str> = err.lines().collect();
    assert_eq!((code, lines.len()), (1, 3), "{err}");
    assert!(lines[0].starts_with("bad.yml FAILED: bad.yml:1:1: "), "{err}");
    assert_eq!(lines[1], "good.yml SUCCESS");
    assert!(lines[2].contains("missing one of key or key_file"), "{err}");
}
