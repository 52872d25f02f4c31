//! The house rules that neither the compiler nor clippy holds.
//!
//! Sizes (file, function, line), a description at the head of each file, names that say nothing,
//! words that must not stand outside tests, the fence around `unsafe`, files that no `mod` names.

mod source;

use std::collections::BTreeSet;

use source::{Source, closing_brace, read_all, words};

const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 70;
const COLUMNS_MAX: usize = 100;
const FOLDERS: [&str; 5] = ["src", "tests", "benches", "examples", "fuzz/fuzz_targets"];

/// Names under which anything could stand.
const EMPTY_NAMES: [&str; 9] =
    ["util", "utils", "common", "helper", "helpers", "misc", "shared", "base", "types"];

/// The only file that may hold `unsafe`.
const UNSAFE_FILE: &str = "src/disk/mapped.rs";

fn sizes(source: &Source) -> Vec<String> {
    let path = &source.path;
    let mut found = Vec::new();
    let lines = source.text.lines().count();
    if lines > FILE_LINES_MAX {
        found.push(format!("{path}: {lines} lines, at most {FILE_LINES_MAX}"));
    }
    for (i, line) in source.text.lines().enumerate() {
        let columns = line.chars().count();
        if columns > COLUMNS_MAX {
            found.push(format!("{path}:{}: {columns} columns, at most {COLUMNS_MAX}", i + 1));
        }
    }
    if !source.text.starts_with("//! ") {
        found.push(format!("{path}:1: the first line is not a `//!` description"));
    }
    found
}

/// The byte at which the body of the function whose `fn` stands at `at` begins.
fn body_of(code: &str, at: usize) -> Option<usize> {
    let mut depth = 0_i32;
    for (i, byte) in code.bytes().enumerate().skip(at) {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth -= 1,
            b'{' if depth == 0 => return Some(i),
            b';' if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

fn functions(source: &Source) -> Vec<String> {
    let code = &source.code;
    let mut found = Vec::new();
    for (at, _) in words(code).filter(|(_, word)| *word == "fn") {
        // `fn(` is a type.
        let rest = code[at + 2..].trim_start();
        if rest.starts_with('(') {
            continue;
        }
        let Some(open) = body_of(code, at) else { continue };
        let first = source.line_of(at);
        let lines = source.line_of(closing_brace(code, open) - 1) + 1 - first;
        if lines > FUNCTION_LINES_MAX {
            let name = words(rest).next().map_or("", |(_, name)| name);
            let path = &source.path;
            found.push(format!(
                "{path}:{first}: `{name}` has {lines} lines, at most {FUNCTION_LINES_MAX}"
            ));
        }
    }
    found
}

/// The module that a `mod` at `at` names, and whether its body follows at once.
fn module_at(code: &str, at: usize) -> Option<(&str, bool)> {
    let (i, name) = words(&code[at + 3..]).next()?;
    let rest = code[at + 3 + i + name.len()..].trim_start();
    if rest.starts_with('{') {
        Some((name, true))
    } else {
        rest.starts_with(';').then_some((name, false))
    }
}

fn names(source: &Source) -> Vec<String> {
    let path = &source.path;
    let mut found = Vec::new();
    for part in path.trim_end_matches(".rs").split('/') {
        if EMPTY_NAMES.contains(&part) {
            found.push(format!("{path}: `{part}` says nothing about what is in it"));
        }
    }
    for (at, _) in words(&source.code).filter(|(_, word)| *word == "mod") {
        if let Some((name, _)) = module_at(&source.code, at)
            && EMPTY_NAMES.contains(&name)
        {
            let line = source.line_of(at);
            found.push(format!("{path}:{line}: `{name}` says nothing about what is in it"));
        }
    }
    found
}

/// Byte ranges of items behind `#[cfg(test)]`.
fn test_ranges(code: &str) -> Vec<(usize, usize)> {
    let begins = code.match_indices("#[cfg(test)]").map(|(i, _)| i);
    let range = |begin: usize| {
        let stop = code[begin..].find(['{', ';']).map_or(code.len(), |i| begin + i);
        let is_block = code.as_bytes().get(stop) == Some(&b'{');
        (begin, if is_block { closing_brace(code, stop) } else { stop })
    };
    begins.map(range).collect()
}

fn forbidden_words(source: &Source, is_test: bool) -> Vec<String> {
    let code = &source.code;
    let path = &source.path;
    let tests = test_ranges(code);
    let mut found = Vec::new();
    for (at, word) in words(code) {
        let rest = code[at + word.len()..].trim_start();
        let in_test = is_test || tests.iter().any(|(begin, end)| (*begin..*end).contains(&at));
        let what = match word {
            "todo" | "dbg" | "unimplemented" if rest.starts_with('!') => format!("`{word}!`"),
            "unwrap" if rest.starts_with("()") && code[..at].ends_with('.') && !in_test => {
                "`unwrap()` outside tests".to_owned()
            }
            "unsafe" if *path != UNSAFE_FILE => format!("`unsafe` outside {UNSAFE_FILE}"),
            "unsafe" if !has_safety_note(source, at) => {
                "`unsafe` without a SAFETY note above it".to_owned()
            }
            _ => continue,
        };
        found.push(format!("{path}:{}: {what}", source.line_of(at)));
    }
    found
}

/// Whether the comment that ends right above the statement at `at` holds `SAFETY:`.
fn has_safety_note(source: &Source, at: usize) -> bool {
    let above: Vec<&str> = source.text.lines().take(source.line_of(at) - 1).collect();
    let comment = above.iter().rev().take_while(|line| {
        let line = line.trim_start();
        line.starts_with("//") || line.starts_with("#[")
    });
    comment.into_iter().any(|line| line.contains("SAFETY:"))
}

/// Files that `mod name;` in this file stands for, with whether the module is test code.
fn children(source: &Source, is_root: bool) -> Vec<(String, bool)> {
    let code = &source.code;
    let (folder, file) = source.path.rsplit_once('/').unwrap_or(("", &source.path));
    let stem = file.trim_end_matches(".rs");
    let own = if is_root || stem == "mod" { folder.to_owned() } else { format!("{folder}/{stem}") };
    let tests = test_ranges(code);
    let mut found = Vec::new();
    for (at, _) in words(code).filter(|(_, word)| *word == "mod") {
        if let Some((name, false)) = module_at(code, at) {
            let is_test = tests.iter().any(|(begin, end)| (*begin..*end).contains(&at));
            found.push((format!("{own}/{name}.rs"), is_test));
            found.push((format!("{own}/{name}/mod.rs"), is_test));
        }
    }
    found
}

fn is_root(path: &str) -> bool {
    matches!(path, "src/lib.rs" | "src/main.rs")
        || ["tests/", "benches/", "examples/", "fuzz/fuzz_targets/"]
            .iter()
            .any(|folder| path.strip_prefix(folder).is_some_and(|rest| !rest.contains('/')))
}

/// The files that a root reaches, and those among them that are compiled for tests only.
fn reached(sources: &[Source]) -> (BTreeSet<String>, BTreeSet<String>) {
    let mut all = BTreeSet::new();
    let mut tests = BTreeSet::new();
    let roots = sources.iter().filter(|s| is_root(&s.path));
    let mut queue: Vec<(String, bool)> =
        roots.map(|s| (s.path.clone(), !s.path.starts_with("src/"))).collect();
    while let Some((path, is_test)) = queue.pop() {
        let Some(source) = sources.iter().find(|s| s.path == path) else { continue };
        if !all.insert(path.clone()) {
            continue;
        }
        if is_test {
            tests.insert(path.clone());
        }
        let below = children(source, is_root(&path));
        queue.extend(below.into_iter().map(|(child, test)| (child, test || is_test)));
    }
    (all, tests)
}

fn findings(sources: &[Source]) -> Vec<String> {
    let (all, tests) = reached(sources);
    let mut found = Vec::new();
    for source in sources {
        found.extend(sizes(source));
        found.extend(functions(source));
        found.extend(names(source));
        found.extend(forbidden_words(source, tests.contains(&source.path)));
        if !all.contains(&source.path) {
            found.push(format!("{}: no `mod` names this file", source.path));
        }
    }
    found
}

#[test]
fn house_rules_hold() {
    let sources = read_all(&FOLDERS);
    assert!(sources.len() > 10, "the walk found the source");
    let found = findings(&sources);
    assert!(found.is_empty(), "house rules:\n{}", found.join("\n"));
}

fn findings_in(files: &[(&str, &str)]) -> Vec<String> {
    findings(&files.iter().map(|(path, text)| Source::new(path, text)).collect::<Vec<_>>())
}

#[test]
fn sizes_and_heads_are_reported() {
    let long_line = format!("//! {}\n", "x".repeat(97));
    assert_eq!(
        findings_in(&[("src/lib.rs", &long_line)]),
        ["src/lib.rs:1: 101 columns, at most 100"]
    );
    let many = format!("//! D.\n{}", "\n".repeat(600));
    assert_eq!(findings_in(&[("src/lib.rs", &many)]), ["src/lib.rs: 601 lines, at most 600"]);
    assert_eq!(
        findings_in(&[("src/lib.rs", "use x;\n")]),
        ["src/lib.rs:1: the first line is not a `//!` description"]
    );
    let body = "    x();\n".repeat(69);
    let text = format!("//! D.\nfn f(a: [u8; 2]) -> (u8, [u8; 1]) {{\n{body}}}\nfn g();\n");
    assert_eq!(
        findings_in(&[("src/lib.rs", &text)]),
        ["src/lib.rs:2: `f` has 71 lines, at most 70"]
    );
}

#[test]
fn words_and_names_are_reported() {
    let text = "//! D.\nfn f() { todo!(); a.unwrap(); }\n#[cfg(test)]\nmod tests { fn g() \
                { a.unwrap(); dbg!(1); } }\n";
    assert_eq!(
        findings_in(&[("src/lib.rs", text)]),
        ["src/lib.rs:2: `todo!`", "src/lib.rs:2: `unwrap()` outside tests", "src/lib.rs:4: `dbg!`",]
    );
    let files = [
        ("src/lib.rs", "//! D.\nmod util;\n#[cfg(test)]\nmod proof;\n"),
        ("src/util.rs", "//! D.\n"),
        ("src/proof.rs", "//! D.\nfn f() { a.unwrap() }\n"),
        ("src/lost.rs", "//! D. todo!() \"\n"),
    ];
    assert_eq!(
        findings_in(&files),
        [
            "src/lib.rs:2: `util` says nothing about what is in it",
            "src/util.rs: `util` says nothing about what is in it",
            "src/lost.rs: no `mod` names this file",
        ]
    );
}

#[test]
fn unsafe_is_fenced() {
    let lib = ("src/lib.rs", "//! D.\nmod disk;\nunsafe fn f() {}\n");
    let disk = ("src/disk/mod.rs", "//! D.\nmod mapped;\n");
    let text = "//! D.\n// SAFETY: so.\nlet a = unsafe { f() };\nlet b = unsafe { f() };\n";
    let mapped = ("src/disk/mapped.rs", text);
    assert_eq!(
        findings_in(&[lib, disk, mapped]),
        [
            "src/lib.rs:3: `unsafe` outside src/disk/mapped.rs",
            "src/disk/mapped.rs:4: `unsafe` without a SAFETY note above it",
        ]
    );
}

#[test]
fn literals_and_comments_are_not_code() {
    let text = "//! D.\n/* unsafe /* x */ todo!() */\nconst A: &str = \"unsafe \\\" todo!()\";\n\
                const B: &str = r#\"unsafe \" \"#;\nfn f<'a>(x: &'a str) -> char { '\"' }\n";
    assert!(findings_in(&[("src/lib.rs", text)]).is_empty());
}
