//! Character classes as Go defines them: Perl (`\d`), POSIX (`[:alpha:]`), Unicode (`\p{Greek}`).
//!
//! Perl and POSIX classes are ASCII in Go. Names of Unicode classes are general categories and
//! scripts, compared without case, `_`, `-` and spaces; the tables themselves come from
//! `regex-syntax`.

use regex_syntax::hir::{Class, ClassUnicode, ClassUnicodeRange, HirKind};

/// The ranges of `\d`, `\s`, `\w`; the letter is lower-case. Go's `\s` lacks the vertical tab.
pub(super) fn perl(letter: char) -> Option<ClassUnicode> {
    match letter {
        'd' => Some(class(&[('0', '9')])),
        's' => Some(class(&[('\t', '\n'), ('\x0c', '\r'), (' ', ' ')])),
        'w' => Some(class(&[('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')])),
        _ => None,
    }
}

/// The class of `[:name:]`.
pub(super) fn posix(name: &str) -> Option<ClassUnicode> {
    let ranges: &[(char, char)] = match name {
        "alnum" => &[('0', '9'), ('A', 'Z'), ('a', 'z')],
        "alpha" => &[('A', 'Z'), ('a', 'z')],
        "ascii" => &[('\0', '\x7f')],
        "blank" => &[('\t', '\t'), (' ', ' ')],
        "cntrl" => &[('\0', '\x1f'), ('\x7f', '\x7f')],
        "digit" => &[('0', '9')],
        "graph" => &[('!', '~')],
        "lower" => &[('a', 'z')],
        "print" => &[(' ', '~')],
        "punct" => &[('!', '/'), (':', '@'), ('[', '`'), ('{', '~')],
        "space" => &[('\t', '\r'), (' ', ' ')],
        "upper" => &[('A', 'Z')],
        "word" => &[('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')],
        "xdigit" => &[('0', '9'), ('A', 'F'), ('a', 'f')],
        _ => return None,
    };
    Some(class(ranges))
}

/// The class of `\p{name}`.
pub(super) fn unicode(name: &str) -> Option<ClassUnicode> {
    if !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b' ')) {
        return None;
    }
    let canonical: String =
        name.chars().filter(|c| !matches!(c, '_' | '-' | ' ')).collect::<String>().to_lowercase();
    if canonical.is_empty() || canonical == "cs" || canonical == "surrogate" {
        // Surrogates are a category in Go, and no text holds one.
        return (!canonical.is_empty()).then(ClassUnicode::empty);
    }
    lookup(&format!(r"\p{{gc={canonical}}}")).or_else(|| {
        is_script_name(&canonical).then(|| lookup(&format!(r"\p{{sc={canonical}}}"))).flatten()
    })
}

/// Go knows scripts by their long names only; all four-letter names that are long ones.
fn is_script_name(canonical: &str) -> bool {
    const FOUR_LETTERS: [&str; 9] =
        ["ahom", "cham", "kawi", "lisu", "miao", "modi", "newa", "thai", "toto"];
    canonical.len() != 4 || FOUR_LETTERS.contains(&canonical)
}

fn lookup(pattern: &str) -> Option<ClassUnicode> {
    let hir = regex_syntax::parse(pattern).ok()?;
    match hir.into_kind() {
        HirKind::Class(Class::Unicode(class)) => Some(class),
        // A class of one character comes back as a literal; no category or script is that small.
        _ => None,
    }
}

fn class(ranges: &[(char, char)]) -> ClassUnicode {
    ClassUnicode::new(ranges.iter().map(|&(lo, hi)| ClassUnicodeRange::new(lo, hi)))
}
