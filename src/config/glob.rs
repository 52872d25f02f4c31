//! Patterns of file names, as `rule_files` and its kin take them.
//!
//! COMPAT: Go's `path/filepath.Glob`. `*` and `?` stand for anything but a slash, `[a-z]` and
//! `[^a-z]` for one of some characters, a backslash takes the next character as it is. Names of
//! one folder come in their order. What cannot be read names nothing.

use std::fmt;
use std::path::{Path, PathBuf};

/// A pattern that is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadPattern;

impl fmt::Display for BadPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("syntax error in pattern")
    }
}

impl std::error::Error for BadPattern {}

/// Files that `pattern` names.
pub fn glob(pattern: &str) -> Result<Vec<PathBuf>, BadPattern> {
    // A pattern is wrong whether or not there is a file to try it on.
    matches(pattern, "")?;
    let mut parts: Vec<&str> = pattern.split('/').collect();
    let mut found = vec![PathBuf::new()];
    if pattern.starts_with('/') {
        found = vec![PathBuf::from("/")];
        parts.remove(0);
    }
    for part in parts.into_iter().filter(|part| !part.is_empty()) {
        let mut next = Vec::new();
        for folder in &found {
            if has_magic(part) {
                next.extend(names(folder, part)?.into_iter().map(|name| folder.join(name)));
            } else {
                let path = folder.join(part);
                if path.symlink_metadata().is_ok() {
                    next.push(path);
                }
            }
        }
        found = next;
    }
    Ok(found.into_iter().filter(|path| !path.as_os_str().is_empty()).collect())
}

/// As [`glob`]; a pattern that is none names nothing.
pub fn matching_files(pattern: &str) -> Vec<PathBuf> {
    glob(pattern).unwrap_or_default()
}

fn has_magic(part: &str) -> bool {
    part.contains(['*', '?', '[', '\\'])
}

fn names(folder: &Path, pattern: &str) -> Result<Vec<String>, BadPattern> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(Vec::new()) };
    let mut names = Vec::new();
    for entry in entries.filter_map(Result::ok) {
        let name = entry.file_name().to_string_lossy().into_owned();
        if matches(pattern, &name)? {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Whether `name` is one that `pattern` stands for; both whole.
fn matches(pattern: &str, name: &str) -> Result<bool, BadPattern> {
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    check(&pattern)?;
    // Where to go on when a star has to take one character more.
    let mut retry: Option<(usize, usize)> = None;
    let (mut p, mut n) = (0, 0);
    loop {
        if pattern.get(p) == Some(&'*') {
            retry = Some((p, n));
            p += 1;
            continue;
        }
        if p == pattern.len() && n == name.len() {
            return Ok(true);
        }
        let taken = name.get(n).and_then(|c| one(&pattern[p..], *c));
        if let Some(width) = taken {
            p += width;
            n += 1;
            continue;
        }
        match retry {
            Some((star, from)) if from < name.len() && name[from] != '/' => {
                retry = Some((star, from + 1));
                p = star + 1;
                n = from + 1;
            }
            _ => return Ok(false),
        }
    }
}

/// How much of `pattern` the character `c` uses up; `None`: it does not fit.
fn one(pattern: &[char], c: char) -> Option<usize> {
    match *pattern.first()? {
        '?' => (c != '/').then_some(1),
        '\\' => (*pattern.get(1)? == c).then_some(2),
        '[' => {
            let (fits, width) = class(pattern, c).ok()?;
            (fits && c != '/').then_some(width)
        }
        other => (other == c).then_some(1),
    }
}

/// Reads `[…]` at the start of `pattern`: whether `c` is in it, and its width.
fn class(pattern: &[char], c: char) -> Result<(bool, usize), BadPattern> {
    let mut at = 1;
    let is_negated = pattern.get(at) == Some(&'^');
    at += usize::from(is_negated);
    let (mut fits, mut ranges) = (false, 0);
    loop {
        if pattern.get(at) == Some(&']') && ranges > 0 {
            return Ok((fits != is_negated, at + 1));
        }
        let low = bound(pattern, &mut at)?;
        let mut high = low;
        if pattern.get(at) == Some(&'-') {
            at += 1;
            high = bound(pattern, &mut at)?;
        }
        fits |= low <= c && c <= high;
        ranges += 1;
    }
}

fn bound(pattern: &[char], at: &mut usize) -> Result<char, BadPattern> {
    let mut c = *pattern.get(*at).ok_or(BadPattern)?;
    if c == '-' || c == ']' {
        return Err(BadPattern);
    }
    if c == '\\' {
        *at += 1;
        c = *pattern.get(*at).ok_or(BadPattern)?;
    }
    *at += 1;
    Ok(c)
}

fn check(pattern: &[char]) -> Result<(), BadPattern> {
    let mut at = 0;
    while let Some(c) = pattern.get(at) {
        at += match c {
            '\\' if at + 1 == pattern.len() => return Err(BadPattern),
            '\\' => 2,
            '[' => class(&pattern[at..], '\0')?.1,
            _ => 1,
        };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers of Go's `path.Match`.
    #[test]
    fn patterns_and_names() {
        let table = [
            ("abc", "abc", Ok(true)),
            ("*", "abc", Ok(true)),
            ("*c", "abc", Ok(true)),
            ("a*", "a", Ok(true)),
            ("a*", "ab/c", Ok(false)),
            ("a*b*c*d*e*", "axbxcxdxe", Ok(true)),
            ("a*b?c*x", "abxbbxdbxebxczzx", Ok(true)),
            ("a*b?c*x", "abxbbxdbxebxczzy", Ok(false)),
            ("ab[c]", "abc", Ok(true)),
            ("ab[b-d]", "abc", Ok(true)),
            ("ab[e-g]", "abc", Ok(false)),
            ("ab[^c]", "abc", Ok(false)),
            ("ab[^e-g]", "abc", Ok(true)),
            ("a\\*b", "a*b", Ok(true)),
            ("a\\*b", "ab", Ok(false)),
            ("a?b", "a☺b", Ok(true)),
            ("a???b", "a☺b", Ok(false)),
            ("[\\]a]", "]", Ok(true)),
            ("[\\-x]", "-", Ok(true)),
            ("[]a]", "]", Err(BadPattern)),
            ("[-]", "-", Err(BadPattern)),
            ("[x-]", "x", Err(BadPattern)),
            ("[", "a", Err(BadPattern)),
            ("a[", "a", Err(BadPattern)),
            ("\\", "a", Err(BadPattern)),
            ("*x", "xxx", Ok(true)),
        ];
        for (pattern, name, expected) in table {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn files_are_found_in_their_order() {
        let folder = tempfile::tempdir().unwrap();
        for file in ["b.rules", "a.rules", "c.yml", "sub1/x.rules", "sub2/y.rules"] {
            let path = folder.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let found = |pattern: &str| -> Vec<String> {
            let root = format!("{}/", folder.path().display());
            let paths = glob(&format!("{root}{pattern}")).unwrap();
            paths.iter().map(|p| p.display().to_string().replace(&root, "")).collect()
        };
        assert_eq!(found("*.rules"), ["a.rules", "b.rules"]);
        assert_eq!(found("[bc].*"), ["b.rules", "c.yml"]);
        assert_eq!(found("sub?/*.rules"), ["sub1/x.rules", "sub2/y.rules"]);
        assert_eq!(found("c.yml"), ["c.yml"]);
        assert!(found("d.yml").is_empty() && found("no/*").is_empty());
        assert_eq!(glob("[").unwrap_err(), BadPattern);
    }
}
