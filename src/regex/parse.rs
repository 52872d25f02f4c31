//! Go's regular-expression grammar, read into the HIR of `regex-syntax`.
//!
//! COMPAT: the language is that of Go's `regexp/syntax` with the flags `Perl | DotNL`, which is
//! how Prometheus reads matchers and relabelling rules; error texts are Go's. The parser keeps an
//! explicit stack of open groups, so nesting costs no call depth. Sizes and heights are counted as
//! Go counts them, so that what Go refuses as too large or too deep is refused here too.

use regex_syntax::hir::{
    Capture, Class, ClassUnicode, ClassUnicodeRange, Dot, Hir, Look, Repetition,
};

use super::{RegexError, class};

/// Go's limit on repeat counts, nested ones multiplied.
const REPEAT_MAX: u64 = 1000;
/// Go's limit on the height of the syntax tree.
const HEIGHT_MAX: u32 = 1000;
/// Go's limit on instructions: 128 MiB of 40 bytes each.
const SIZE_MAX: u64 = (128 << 20) / 40;

/// A parsed pattern.
pub(super) struct Parsed {
    pub(super) hir: Hir,
    /// Names of the capture groups; group `i + 1` stands at `i`, "" where it has none.
    pub(super) group_names: Vec<String>,
}

/// Reads `pattern`; `dot_newline`: a dot matches a line feed too.
pub(super) fn parse(pattern: &str, dot_newline: bool) -> Result<Parsed, RegexError> {
    let mut parser = Parser {
        whole: pattern,
        flags: Flags { fold: false, dot_newline, one_line: true, lazy: false },
        group_names: Vec::new(),
        open: vec![Group::new(None, Flags::default())],
    };
    parser.run()?;
    let Some(group) = parser.open.pop().filter(|_| parser.open.is_empty()) else {
        return Err(error("missing closing )", pattern));
    };
    let item = parser.checked(group.finish())?;
    Ok(Parsed { hir: item.hir, group_names: parser.group_names })
}

fn error(what: &str, fragment: &str) -> RegexError {
    RegexError(format!("error parsing regexp: {what}: `{fragment}`"))
}

#[derive(Clone, Copy, Default)]
struct Flags {
    fold: bool,
    dot_newline: bool,
    one_line: bool,
    lazy: bool,
}

/// A finished subexpression with the figures that limits are checked on.
struct Item {
    hir: Hir,
    /// The largest product of nested `{n,m}` counts within.
    repeats: u64,
    height: u32,
    /// Instructions Go would compile it to.
    size: u64,
}

impl Item {
    fn leaf(hir: Hir) -> Self {
        Self { hir, repeats: 0, height: 1, size: 1 }
    }

    fn join(items: Vec<Self>, extra_size: u64, make: fn(Vec<Hir>) -> Hir) -> Self {
        let mut joined = Self { hir: Hir::empty(), repeats: 0, height: 0, size: extra_size };
        let several = u32::from(items.len() > 1);
        let mut hirs = Vec::with_capacity(items.len());
        for item in items {
            joined.repeats = joined.repeats.max(item.repeats);
            joined.height = joined.height.max(item.height);
            joined.size = joined.size.saturating_add(item.size);
            hirs.push(item.hir);
        }
        joined.height += several;
        joined.size = joined.size.max(1);
        joined.hir = make(hirs);
        joined
    }
}

/// An open parenthesis: the alternatives before the last bar, and the one being read.
struct Group {
    capture: Option<u32>,
    flags_outside: Flags,
    alternatives: Vec<Item>,
    current: Vec<Item>,
}

impl Group {
    fn new(capture: Option<u32>, flags_outside: Flags) -> Self {
        Self { capture, flags_outside, alternatives: Vec::new(), current: Vec::new() }
    }

    fn end_alternative(&mut self) {
        let current = std::mem::take(&mut self.current);
        self.alternatives.push(Item::join(current, 0, Hir::concat));
    }

    fn finish(mut self) -> Item {
        self.end_alternative();
        let bars = self.alternatives.len() as u64 - 1;
        let mut item = Item::join(self.alternatives, bars, Hir::alternation);
        if let Some(index) = self.capture {
            item.hir = Hir::capture(Capture { index, name: None, sub: Box::new(item.hir) });
            item.height += 1;
            item.size = item.size.saturating_add(2);
        }
        item
    }
}

struct Parser<'p> {
    whole: &'p str,
    flags: Flags,
    group_names: Vec<String>,
    /// Never empty while running; the first one is the whole expression.
    open: Vec<Group>,
}

impl<'p> Parser<'p> {
    fn run(&mut self) -> Result<(), RegexError> {
        let mut rest = self.whole;
        let mut last_repeat: Option<&'p str> = None;
        while let Some(c) = rest.chars().next() {
            let before = rest;
            let mut repeated = false;
            rest = match c {
                '(' if before[1..].starts_with('?') => self.group_flags(before)?,
                '(' => {
                    self.open_group(Some(String::new()));
                    &before[1..]
                }
                '|' => {
                    self.top().end_alternative();
                    &before[1..]
                }
                ')' => self.close_group(before)?,
                '*' | '+' | '?' => {
                    repeated = true;
                    let (min, max) =
                        [(0, None), (1, None), (0, Some(1))]["*+?".find(c).unwrap_or(0)];
                    self.repeat((min, max, false), before, &before[1..], last_repeat)?
                }
                '{' => match braces(before) {
                    Some((min, max, after)) => {
                        repeated = true;
                        if min.is_none_or(|min| min > REPEAT_MAX)
                            || max.is_some_and(|max| max > REPEAT_MAX || Some(max) < min)
                        {
                            return Err(error("invalid repeat count", cut(before, after)));
                        }
                        let min = min.unwrap_or(0) as u32;
                        let max = max.map(|max| max as u32);
                        self.repeat((min, max, true), before, after, last_repeat)?
                    }
                    None => self.literal('{', &before[1..]),
                },
                '[' => self.class(before)?,
                '\\' => self.escape(before)?,
                _ => self.single(c, &before[c.len_utf8()..]),
            };
            last_repeat = repeated.then_some(before);
        }
        Ok(())
    }

    fn top(&mut self) -> &mut Group {
        self.open.last_mut().expect("BUG: the outermost group is never closed while parsing")
    }

    fn push(&mut self, hir: Hir) {
        self.top().current.push(Item::leaf(hir));
    }

    /// `^`, `$`, `.` and plain characters.
    fn single(&mut self, c: char, rest: &'p str) -> &'p str {
        let hir = match (c, self.flags.one_line) {
            ('^', true) => Hir::look(Look::Start),
            ('^', false) => Hir::look(Look::StartLF),
            ('$', true) => Hir::look(Look::End),
            ('$', false) => Hir::look(Look::EndLF),
            ('.', _) if self.flags.dot_newline => Hir::dot(Dot::AnyChar),
            ('.', _) => Hir::dot(Dot::AnyCharExceptLF),
            _ => return self.literal(c, rest),
        };
        self.push(hir);
        rest
    }

    fn literal(&mut self, c: char, rest: &'p str) -> &'p str {
        let hir = if self.flags.fold {
            let mut class = ClassUnicode::new([ClassUnicodeRange::new(c, c)]);
            class.case_fold_simple();
            Hir::class(Class::Unicode(class))
        } else {
            Hir::literal(c.encode_utf8(&mut [0; 4]).as_bytes())
        };
        self.push(hir);
        rest
    }

    fn open_group(&mut self, name: Option<String>) {
        let capture = name.map(|name| {
            self.group_names.push(name);
            self.group_names.len() as u32
        });
        let group = Group::new(capture, self.flags);
        self.open.push(group);
    }

    fn close_group(&mut self, before: &'p str) -> Result<&'p str, RegexError> {
        if self.open.len() < 2 {
            return Err(error("unexpected )", self.whole));
        }
        if let Some(group) = self.open.pop() {
            self.flags = group.flags_outside;
            let item = self.checked(group.finish())?;
            self.top().current.push(item);
        }
        Ok(&before[1..])
    }

    /// `(?P<name>`, `(?<name>`, `(?flags)` and `(?flags:`.
    fn group_flags(&mut self, before: &'p str) -> Result<&'p str, RegexError> {
        let named = if before.len() > 4 && before.starts_with("(?P<") {
            Some(4)
        } else {
            (before.len() > 3 && before.starts_with("(?<")).then_some(3)
        };
        if let Some(name_start) = named {
            let Some(end) = before.find('>') else {
                return Err(error("invalid named capture", before));
            };
            let name = &before[name_start..end];
            if name.is_empty() || !name.bytes().all(|b| b == b'_' || b.is_ascii_alphanumeric()) {
                return Err(error("invalid named capture", &before[..=end]));
            }
            self.open_group(Some(name.to_owned()));
            return Ok(&before[end + 1..]);
        }
        let mut flags = self.flags;
        let (mut on, mut flag_seen) = (true, false);
        let mut read = 2;
        for c in before[2..].chars() {
            read += c.len_utf8();
            match c {
                'i' => flags.fold = on,
                'm' => flags.one_line = !on,
                's' => flags.dot_newline = on,
                'U' => flags.lazy = on,
                '-' if on => {
                    (on, flag_seen) = (false, false);
                    continue;
                }
                ':' | ')' if on || flag_seen => {
                    if c == ':' {
                        self.open_group(None);
                    }
                    self.flags = flags;
                    return Ok(&before[read..]);
                }
                _ => break,
            }
            flag_seen = true;
        }
        Err(error("invalid or unsupported Perl syntax", &before[..read]))
    }

    /// Applies a repetition to the last item; `counted` is `{n,m}` rather than `*`, `+`, `?`.
    fn repeat(
        &mut self,
        (min, max, counted): (u32, Option<u32>, bool),
        before: &'p str,
        mut after: &'p str,
        last_repeat: Option<&'p str>,
    ) -> Result<&'p str, RegexError> {
        let mut greedy = !self.flags.lazy;
        if let Some(rest) = after.strip_prefix('?') {
            after = rest;
            greedy = !greedy;
        }
        if let Some(last) = last_repeat {
            return Err(error("invalid nested repetition operator", cut(last, after)));
        }
        let Some(item) = self.top().current.pop() else {
            return Err(error("missing argument to repetition operator", cut(before, after)));
        };
        let count = u64::from(max.unwrap_or(min));
        let repeats = if counted { count * item.repeats.max(1) } else { item.repeats };
        if counted && count >= 2 && repeats > REPEAT_MAX {
            return Err(error("invalid repeat count", cut(before, after)));
        }
        let size = match (counted, max) {
            (false, Some(_)) => item.size.saturating_add(1),
            (_, None) if min <= 1 => item.size.saturating_add(2),
            (_, None) => item.size.saturating_mul(u64::from(min)).saturating_add(1),
            (_, Some(max)) => {
                item.size.saturating_mul(u64::from(max)).saturating_add(u64::from(max - min))
            }
        };
        let hir = Hir::repetition(Repetition { min, max, greedy, sub: Box::new(item.hir) });
        let item =
            self.checked(Item { hir, repeats, height: item.height + 1, size: size.max(1) })?;
        self.top().current.push(item);
        Ok(after)
    }

    fn checked(&self, item: Item) -> Result<Item, RegexError> {
        if item.size > SIZE_MAX {
            return Err(error("expression too large", self.whole));
        }
        if item.height > HEIGHT_MAX {
            return Err(error("expression nests too deeply", self.whole));
        }
        Ok(item)
    }

    /// Whatever begins with a backslash outside of brackets.
    fn escape(&mut self, before: &'p str) -> Result<&'p str, RegexError> {
        let look = match before[1..].chars().next() {
            Some('A') => Some(Look::Start),
            Some('z') => Some(Look::End),
            Some('b') => Some(Look::WordAscii),
            Some('B') => Some(Look::WordAsciiNegate),
            Some('C') => return Err(error("invalid escape sequence", &before[..2])),
            Some('Q') => {
                let quoted = &before[2..];
                let (literal, rest) = quoted.split_once("\\E").unwrap_or((quoted, ""));
                for c in literal.chars() {
                    self.literal(c, rest);
                }
                return Ok(rest);
            }
            _ => None,
        };
        if let Some(look) = look {
            self.push(Hir::look(look));
            return Ok(&before[2..]);
        }
        if let Some((class, rest)) = self.class_escape(before)? {
            self.push(Hir::class(Class::Unicode(class)));
            return Ok(rest);
        }
        let (c, rest) = escaped_char(before)?;
        if let Some(c) = c {
            return Ok(self.literal(c, rest));
        }
        self.push(Hir::fail());
        Ok(rest)
    }

    /// `\d`, `\pL`, `\p{Greek}` and their negations; `None` for any other escape.
    fn class_escape(&self, before: &'p str) -> Result<Option<(ClassUnicode, &'p str)>, RegexError> {
        let Some(letter) = before.strip_prefix('\\').and_then(|rest| rest.chars().next()) else {
            return Ok(None);
        };
        let mut negate = letter.is_ascii_uppercase();
        let (mut class, rest) = if let 'p' | 'P' = letter {
            let (mut name, rest) = unicode_name(before)?;
            if let Some(inner) = name.strip_prefix('^') {
                (name, negate) = (inner, !negate);
            }
            let Some(class) = class::unicode(name) else {
                return Err(error("invalid character class range", cut(before, rest)));
            };
            (class, rest)
        } else {
            match class::perl(letter.to_ascii_lowercase()) {
                Some(class) => (class, &before[2..]),
                None => return Ok(None),
            }
        };
        if self.flags.fold {
            class.case_fold_simple();
        }
        if negate {
            class.negate();
        }
        Ok(Some((class, rest)))
    }

    /// `[…]`.
    fn class(&mut self, before: &'p str) -> Result<&'p str, RegexError> {
        let mut rest = &before[1..];
        let negate = rest.starts_with('^');
        rest = &rest[usize::from(negate)..];
        let mut class = ClassUnicode::empty();
        let mut first = true;
        while first || !rest.starts_with(']') {
            first = false;
            if let Some((named, after)) = self.posix_class(rest)? {
                class.union(&named);
                rest = after;
                continue;
            }
            if let Some((escaped, after)) = self.class_escape(rest)? {
                class.union(&escaped);
                rest = after;
                continue;
            }
            let start = rest;
            let (low, after) = class_char(rest, before)?;
            rest = after;
            let mut high = low;
            if rest.len() >= 2 && rest.starts_with('-') && !rest.starts_with("-]") {
                (high, rest) = class_char(&rest[1..], before)?;
                if high < low {
                    return Err(error("invalid character class range", cut(start, rest)));
                }
            }
            push_range(&mut class, low, high, self.flags.fold);
        }
        if negate {
            class.negate();
        }
        self.push(Hir::class(Class::Unicode(class)));
        Ok(&rest[1..])
    }

    /// `[:alpha:]` and `[:^alpha:]` within brackets.
    fn posix_class(&self, before: &'p str) -> Result<Option<(ClassUnicode, &'p str)>, RegexError> {
        let Some(inner) = before.strip_prefix("[:") else { return Ok(None) };
        let Some(end) = inner.find(":]") else { return Ok(None) };
        let rest = &inner[end + 2..];
        let name = &inner[..end];
        let (name, negate) =
            name.strip_prefix('^').map_or((name, false), |positive| (positive, true));
        let Some(mut class) = class::posix(name) else {
            return Err(error("invalid character class range", cut(before, rest)));
        };
        if self.flags.fold {
            class.case_fold_simple();
        }
        if negate {
            class.negate();
        }
        Ok(Some((class, rest)))
    }
}

/// The part of `from` in front of its suffix `rest`.
fn cut<'p>(from: &'p str, rest: &str) -> &'p str {
    &from[..from.len() - rest.len()]
}

/// The name in `\pN` or `\p{Name}`, and what follows.
fn unicode_name(before: &str) -> Result<(&str, &str), RegexError> {
    let mut chars = before[2..].chars();
    match chars.next() {
        Some('{') => match before.find('}') {
            Some(end) => Ok((&before[3..end], &before[end + 1..])),
            None => Err(error("invalid character class range", before)),
        },
        Some(_) => Ok((cut(&before[2..], chars.as_str()), chars.as_str())),
        None => Err(error("invalid character class range", before)),
    }
}

/// Code points from `low` to `high`, surrogates left out because no text holds them.
fn push_range(class: &mut ClassUnicode, low: u32, high: u32, fold: bool) {
    let mut part = ClassUnicode::empty();
    for (from, to) in [(low, high.min(0xd7ff)), (low.max(0xe000), high)] {
        if let (Some(from), Some(to)) = (char::from_u32(from), char::from_u32(to))
            && from <= to
        {
            part.push(ClassUnicodeRange::new(from, to));
        }
    }
    if fold {
        part.case_fold_simple();
    }
    class.union(&part);
}

/// One character within brackets, as a code point (surrogates can be spelled as escapes).
fn class_char<'p>(before: &'p str, whole: &str) -> Result<(u32, &'p str), RegexError> {
    match before.chars().next() {
        None => Err(error("missing closing ]", whole)),
        Some('\\') => escaped_code(before),
        Some(c) => Ok((u32::from(c), &before[c.len_utf8()..])),
    }
}

/// An escaped character; `None` for a code point that no text can hold.
fn escaped_char(before: &str) -> Result<(Option<char>, &str), RegexError> {
    escaped_code(before).map(|(code, rest)| (char::from_u32(code), rest))
}

fn escaped_code(before: &str) -> Result<(u32, &str), RegexError> {
    let mut chars = before[1..].chars();
    let Some(c) = chars.next() else {
        return Err(error("trailing backslash at end of expression", ""));
    };
    let code = match c {
        '0' => Some(octal(0, &mut chars)),
        '1'..='7' if chars.as_str().starts_with(|d: char| matches!(d, '0'..='7')) => {
            Some(octal(u32::from(c) - u32::from('0'), &mut chars))
        }
        'x' => hex(&mut chars),
        'a' => Some(0x07),
        'f' => Some(0x0c),
        'n' => Some(0x0a),
        'r' => Some(0x0d),
        't' => Some(0x09),
        'v' => Some(0x0b),
        _ if c.is_ascii() && !c.is_ascii_alphanumeric() => Some(u32::from(c)),
        _ => None,
    };
    match code {
        Some(code) => Ok((code, chars.as_str())),
        None => Err(error("invalid escape sequence", cut(before, chars.as_str()))),
    }
}

/// Up to two more octal digits.
fn octal(first: u32, chars: &mut std::str::Chars<'_>) -> u32 {
    let mut code = first;
    for _ in 0..2 {
        let Some(digit) = chars.as_str().chars().next().and_then(|c| c.to_digit(8)) else { break };
        code = code * 8 + digit;
        chars.next();
    }
    code
}

/// `\x41` and `\x{10ffff}`, the `x` read already.
fn hex(chars: &mut std::str::Chars<'_>) -> Option<u32> {
    let first = chars.next()?;
    if first != '{' {
        let second = chars.next()?;
        return Some(first.to_digit(16)? * 16 + second.to_digit(16)?);
    }
    let mut code = None;
    loop {
        let c = chars.next()?;
        if c == '}' {
            return code;
        }
        let next = code.unwrap_or(0) * 16 + c.to_digit(16)?;
        if next > u32::from(char::MAX) {
            return None;
        }
        code = Some(next);
    }
}

/// Reads `{n}`, `{n,}`, `{n,m}`. A count too large for a number is `None` in `min`; text that is
/// none of these is no repetition at all.
#[allow(clippy::type_complexity, reason = "the three parts of one repetition")]
fn braces(before: &str) -> Option<(Option<u64>, Option<u64>, &str)> {
    let (min, rest) = integer(&before[1..])?;
    let mut low = Some(min);
    let (max, rest) = match rest.strip_prefix(',') {
        None => (Some(min), rest),
        Some(rest) if rest.starts_with('}') => (None, rest),
        Some(rest) => {
            let (max, rest) = integer(rest)?;
            (Some(max), rest)
        }
    };
    if min == u64::MAX || max == Some(u64::MAX) {
        low = None;
    }
    Some((low, max, rest.strip_prefix('}')?))
}

/// Decimal digits without leading zero; `u64::MAX` stands for "too large".
fn integer(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let digits = &text[..end];
    if digits.is_empty() || (digits.len() > 1 && digits.starts_with('0')) {
        return None;
    }
    let value = if digits.len() > 9 { u64::MAX } else { digits.parse().ok()? };
    Some((value, &text[end..]))
}
