//! The one-way street: a module uses only modules that stand before it in [`ORDER`].
//!
//! Looks at `crate::x`, at `use crate::{…}` and at `super` chains that leave a module, in every
//! file under `src`. Comments and strings may name what they like.

mod source;

use source::{Source, closing_brace, read_all, words};

/// Leftmost first; everything up to `db` is the embedded library.
const ORDER: [&str; 29] = [
    "regex",
    "model",
    "encoding",
    "disk",
    "exposition",
    "chunk",
    "wal",
    "index",
    "head",
    "block",
    "prometheus",
    "select",
    "promql",
    "compact",
    "db",
    "protowire",
    "relabel",
    "config",
    "telemetry",
    "http_client",
    "discovery",
    "scrape",
    "remote",
    "template",
    "rules",
    "notifier",
    "thanos",
    "http",
    "cli",
];

fn rank(module: &str) -> Option<usize> {
    ORDER.iter().position(|name| *name == module)
}

/// The module at the top level that a path under `src` belongs to; none for lib.rs and main.rs.
fn module_of(path: &str) -> Option<&str> {
    let below = path.strip_prefix("src/")?;
    match below.split_once('/') {
        Some((module, _)) => Some(module),
        None => below.strip_suffix(".rs").filter(|name| !matches!(*name, "lib" | "main")),
    }
}

/// First path segments of a group `{a::b, c::{d, e}, f}` whose brace stands at `open`.
fn group_heads(code: &str, open: usize) -> Vec<(usize, &str)> {
    let group = &code[open..closing_brace(code, open)];
    let mut heads = Vec::new();
    for (at, word) in words(group) {
        let before = &group[..at];
        let depth = before.matches('{').count() - before.matches('}').count();
        let begins = before.trim_end().ends_with(['{', ',']);
        if depth == 1 && begins && word != "self" {
            heads.push((open + at, word));
        }
    }
    heads
}

/// What follows `crate` or a chain of `super` that reached the root, at byte `at`.
fn targets(code: &str, at: usize) -> Vec<(usize, &str)> {
    let Some(rest) = code[at..].trim_start().strip_prefix("::") else { return Vec::new() };
    let begin = code.len() - rest.trim_start().len();
    if code[begin..].starts_with('{') {
        return group_heads(code, begin);
    }
    words(&code[begin..]).next().map(|(i, word)| vec![(begin + i, word)]).unwrap_or_default()
}

/// How many modules lie between the root and the text at `at`: folders, file, inline modules.
fn depth_at(source: &Source, at: usize) -> usize {
    let below = source.path.trim_start_matches("src/");
    let folders = below.matches('/').count();
    let own_file = usize::from(!below.ends_with("/mod.rs"));
    let code = &source.code;
    let inline = words(&code[..at]).filter(|(_, word)| *word == "mod").filter(|(i, _)| {
        code[*i..].find(['{', ';']).is_some_and(|n| {
            code.as_bytes()[i + n] == b'{' && closing_brace(code, i + n) > at && i + n < at
        })
    });
    folders + own_file + inline.count()
}

/// Uses that leave their own module, each as (byte, module at the top level).
fn uses(source: &Source) -> Vec<(usize, &str)> {
    let code = &source.code;
    let mut found = Vec::new();
    let mut supers = 0;
    let mut chain_end = 0;
    for (at, word) in words(code) {
        let end = at + word.len();
        match word {
            "crate" => found.extend(targets(code, end)),
            "super" => {
                let joined = supers > 0 && code[chain_end..at].trim() == "::";
                supers = if joined { supers + 1 } else { 1 };
                chain_end = end;
                if supers == depth_at(source, at) {
                    found.extend(targets(code, end).into_iter().filter(|(_, w)| *w != "super"));
                }
            }
            _ => supers = 0,
        }
    }
    found
}

fn violations(source: &Source) -> Vec<String> {
    let path = &source.path;
    let Some(module) = module_of(path) else { return Vec::new() };
    let Some(own) = rank(module) else {
        return vec![format!("{path}: module `{module}` is not in the order")];
    };
    let mut found = Vec::new();
    for (at, used) in uses(source) {
        if rank(used).is_some_and(|other| other > own) {
            let line = source.line_of(at);
            found.push(format!("{path}:{line}: `{module}` must not use `{used}`"));
        }
    }
    found
}

#[test]
fn modules_use_only_what_stands_before_them() {
    let sources = read_all(&["src"]);
    assert!(sources.len() > 10, "the walk found the source");
    let found: Vec<String> = sources.iter().flat_map(violations).collect();
    assert!(found.is_empty(), "imports against the order:\n{}", found.join("\n"));
}

#[test]
fn a_forbidden_pair_is_named_with_file_and_line() {
    let check = |path: &str, text: &str| violations(&Source::new(path, text));
    assert_eq!(
        check("src/model/x.rs", "//! Doc.\nuse crate::head::Head;\n"),
        ["src/model/x.rs:2: `model` must not use `head`"]
    );
    assert_eq!(
        check("src/chunk/mod.rs", "use crate::{\n    model::{Labels, head},\n    wal::Record,\n};"),
        ["src/chunk/mod.rs:3: `chunk` must not use `wal`"]
    );
    assert_eq!(
        check("src/wal/mod.rs", "fn f() { crate::db::open() }"),
        ["src/wal/mod.rs:1: `wal` must not use `db`"]
    );
    assert_eq!(
        check("src/wal/record.rs", "use super::super::db;"),
        ["src/wal/record.rs:1: `wal` must not use `db`"]
    );
    assert_eq!(
        check("src/wal/mod.rs", "mod tests {\n use super::super::db;\n}"),
        ["src/wal/mod.rs:2: `wal` must not use `db`"]
    );
    assert_eq!(check("src/odd/mod.rs", ""), ["src/odd/mod.rs: module `odd` is not in the order"]);
}

#[test]
fn uses_along_the_order_pass() {
    let check = |path: &str, text: &str| violations(&Source::new(path, text));
    let none: [String; 0] = [];
    assert_eq!(check("src/head/mod.rs", "//! crate::db\nuse crate::{wal, model::x};"), none);
    assert_eq!(check("src/head/a.rs", "use super::db; const S: &str = \"crate::db\";"), none);
    assert_eq!(check("src/head/mod.rs", "mod tests { use super::db; }"), none);
    assert_eq!(check("src/lib.rs", "pub use crate::db;"), none);
}
