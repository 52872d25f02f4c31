//! From the text of a template to tokens.
//!
//! Positions are bytes into the whole text, lines count from 1. An error is a token too: the
//! parser tells where it was met.
//!
//! COMPAT: tokens and error texts are those of Go's `text/template/parse`.

use std::fmt;

use crate::model::go_quote;
use crate::promql::quote::code_point;

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Error,
    Bool,
    Char,
    CharConstant,
    Complex,
    Assign,
    Declare,
    End,
    Field,
    Identifier,
    LeftDelim,
    LeftParen,
    Number,
    Pipe,
    RawString,
    RightDelim,
    RightParen,
    Space,
    Text,
    Quoted,
    Variable,
    Keyword(Keyword),
}

/// Words with a meaning of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keyword {
    Block,
    Break,
    Continue,
    Dot,
    Define,
    Else,
    End,
    If,
    Nil,
    Range,
    Template,
    With,
}

/// A token and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Token<'t> {
    pub(super) kind: Kind,
    pub(super) at: usize,
    pub(super) line: usize,
    pub(super) text: std::borrow::Cow<'t, str>,
}

impl fmt::Display for Token<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::End => f.write_str("EOF"),
            Kind::Error => f.write_str(&self.text),
            Kind::Keyword(_) => write!(f, "<{}>", self.text),
            _ if self.text.len() > 10 => {
                let begin: String = self.text.chars().take(10).collect();
                write!(f, "{}...", go_quote(&begin))
            }
            _ => f.write_str(&go_quote(&self.text)),
        }
    }
}

const LEFT: &str = "{{";
const RIGHT: &str = "}}";
const SPACES: [char; 4] = [' ', '\t', '\r', '\n'];

/// Reads tokens one by one.
#[derive(Debug)]
pub(super) struct Lexer<'t> {
    text: &'t str,
    at: usize,
    /// Line of `at`.
    line: usize,
    is_in_action: bool,
    open_parens: usize,
}

impl<'t> Lexer<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, at: 0, line: 1, is_in_action: false, open_parens: 0 }
    }

    /// The next token; after the last one, [`Kind::End`] again and again.
    pub(super) fn next(&mut self) -> Token<'t> {
        if self.is_in_action { self.inside_action() } else { self.outside_action() }
    }

    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    /// The text up to `end` as a token.
    fn take(&mut self, kind: Kind, end: usize) -> Token<'t> {
        let text = &self.text[self.at..end];
        let token = Token { kind, at: self.at, line: self.line, text: text.into() };
        self.skip_to(end);
        token
    }

    fn take_bytes(&mut self, kind: Kind, length: usize) -> Token<'t> {
        self.take(kind, self.at + length)
    }

    fn skip_to(&mut self, end: usize) {
        self.line += self.text[self.at..end].matches('\n').count();
        self.at = end;
    }

    /// An error; nothing is read after it.
    fn refuse(&mut self, message: impl Into<String>) -> Token<'t> {
        let token =
            Token { kind: Kind::Error, at: self.at, line: self.line, text: message.into().into() };
        self.at = self.text.len();
        self.is_in_action = false;
        token
    }

    fn outside_action(&mut self) -> Token<'t> {
        loop {
            let rest = self.rest();
            let Some(length) = rest.find(LEFT) else {
                let kind = if rest.is_empty() { Kind::End } else { Kind::Text };
                return self.take(kind, self.text.len());
            };
            if length > 0 {
                let delim_at = self.at + length;
                let before = &rest[..length];
                let trims = begins_trim_left(&rest[length + LEFT.len()..]);
                let kept = if trims { before.trim_end_matches(SPACES) } else { before };
                if !kept.is_empty() {
                    let token = self.take_bytes(Kind::Text, kept.len());
                    self.skip_to(delim_at);
                    return token;
                }
                self.skip_to(delim_at);
            }
            if let Some(token) = self.left_delim() {
                return token;
            }
        }
    }

    /// The left delimiter; `None` where it begins a comment, which is skipped.
    fn left_delim(&mut self) -> Option<Token<'t>> {
        let behind = &self.rest()[LEFT.len()..];
        let marker = if begins_trim_left(behind) { 2 } else { 0 };
        if behind[marker..].starts_with("/*") {
            let begin = self.at + LEFT.len() + marker;
            self.skip_to(begin);
            return self.comment();
        }
        let token = self.take_bytes(Kind::LeftDelim, LEFT.len());
        self.skip_to(self.at + marker);
        self.is_in_action = true;
        self.open_parens = 0;
        Some(token)
    }

    fn comment(&mut self) -> Option<Token<'t>> {
        let Some(length) = self.rest()[2..].find("*/") else {
            return Some(self.refuse("unclosed comment"));
        };
        let end = self.at + 2 + length + 2;
        let behind = &self.text[end..];
        if ends_trim_right(behind) {
            self.skip_to(end + 2 + RIGHT.len());
            self.skip_spaces();
        } else if behind.starts_with(RIGHT) {
            self.skip_to(end + RIGHT.len());
        } else {
            return Some(self.refuse("comment ends before closing delimiter"));
        }
        None
    }

    fn skip_spaces(&mut self) {
        let rest = self.rest();
        self.skip_to(self.at + rest.len() - rest.trim_start_matches(SPACES).len());
    }

    fn right_delim(&mut self, trims: bool) -> Token<'t> {
        if trims {
            self.skip_to(self.at + 2);
        }
        let token = self.take_bytes(Kind::RightDelim, RIGHT.len());
        if trims {
            self.skip_spaces();
        }
        self.is_in_action = false;
        token
    }

    fn inside_action(&mut self) -> Token<'t> {
        let rest = self.rest();
        let trims = ends_trim_right(rest);
        if trims || rest.starts_with(RIGHT) {
            if self.open_parens > 0 {
                return self.refuse("unclosed left paren");
            }
            return self.right_delim(trims);
        }
        let Some(c) = rest.chars().next() else { return self.refuse("unclosed action") };
        match c {
            _ if SPACES.contains(&c) => self.spaces(),
            '=' => self.take_bytes(Kind::Assign, 1),
            ':' if rest.starts_with(":=") => self.take_bytes(Kind::Declare, 2),
            ':' => self.refuse("expected :="),
            '|' => self.take_bytes(Kind::Pipe, 1),
            '"' => self.quoted('"', Kind::Quoted, "unterminated quoted string"),
            '\'' => self.quoted('\'', Kind::CharConstant, "unterminated character constant"),
            '`' => match rest[1..].find('`') {
                Some(length) => self.take_bytes(Kind::RawString, length + 2),
                None => self.refuse("unterminated raw quoted string"),
            },
            '$' => self.field_or_variable(Kind::Variable),
            '.' if !rest[1..].starts_with(|c: char| c.is_ascii_digit()) && rest.len() > 1 => {
                self.field_or_variable(Kind::Field)
            }
            '.' | '+' | '-' | '0'..='9' => self.number(),
            _ if is_alphanumeric(c) => self.identifier(),
            '(' => {
                self.open_parens += 1;
                self.take_bytes(Kind::LeftParen, 1)
            }
            ')' => match self.open_parens.checked_sub(1) {
                Some(open) => {
                    self.open_parens = open;
                    self.take_bytes(Kind::RightParen, 1)
                }
                None => self.refuse("unexpected right paren"),
            },
            '!'..='~' => self.take_bytes(Kind::Char, 1),
            _ => self.refuse(format!("unrecognized character in action: {}", code_point(c))),
        }
    }

    fn spaces(&mut self) -> Token<'t> {
        let rest = self.rest();
        let length = rest.len() - rest.trim_start_matches(SPACES).len();
        // The last space may belong to the right delimiter.
        if ends_trim_right(&rest[length - 1..]) {
            if length == 1 {
                return self.right_delim(true);
            }
            return self.take_bytes(Kind::Space, length - 1);
        }
        self.take_bytes(Kind::Space, length)
    }

    fn quoted(&mut self, quote: char, kind: Kind, unterminated: &str) -> Token<'t> {
        let rest = self.rest();
        let mut chars = rest.char_indices().skip(1);
        while let Some((i, c)) = chars.next() {
            match c {
                '\\' if chars.next().is_none_or(|(_, escaped)| escaped == '\n') => break,
                '\n' => break,
                '\\' => {}
                _ if c == quote => return self.take_bytes(kind, i + 1),
                _ => {}
            }
        }
        self.refuse(unterminated)
    }

    /// A name with the `.` or `$` before it.
    fn field_or_variable(&mut self, kind: Kind) -> Token<'t> {
        let name = &self.rest()[1..];
        if ends_word(name) {
            let kind = if kind == Kind::Field { Kind::Keyword(Keyword::Dot) } else { kind };
            return self.take_bytes(kind, 1);
        }
        let length = 1 + word_length(name);
        if let Some(error) = self.bad_character(length) {
            return error;
        }
        self.take_bytes(kind, length)
    }

    fn identifier(&mut self) -> Token<'t> {
        let length = word_length(self.rest());
        let word = &self.rest()[..length];
        if let Some(error) = self.bad_character(length) {
            return error;
        }
        let kind = match word {
            "block" => Kind::Keyword(Keyword::Block),
            "break" => Kind::Keyword(Keyword::Break),
            "continue" => Kind::Keyword(Keyword::Continue),
            "define" => Kind::Keyword(Keyword::Define),
            "else" => Kind::Keyword(Keyword::Else),
            "end" => Kind::Keyword(Keyword::End),
            "if" => Kind::Keyword(Keyword::If),
            "nil" => Kind::Keyword(Keyword::Nil),
            "range" => Kind::Keyword(Keyword::Range),
            "template" => Kind::Keyword(Keyword::Template),
            "with" => Kind::Keyword(Keyword::With),
            "true" | "false" => Kind::Bool,
            _ => Kind::Identifier,
        };
        self.take_bytes(kind, length)
    }

    /// The error where the word of `length` bytes is not followed by what may follow one.
    fn bad_character(&mut self, length: usize) -> Option<Token<'t>> {
        let behind = &self.rest()[length..];
        if ends_word(behind) {
            return None;
        }
        let c = behind.chars().next()?;
        Some(self.refuse(format!("bad character {}", code_point(c))))
    }

    fn number(&mut self) -> Token<'t> {
        let rest = self.rest();
        let (length, is_good) = number_length(rest);
        if !is_good {
            let text = go_quote(&rest[..length]);
            return self.refuse(format!("bad number syntax: {text}"));
        }
        if !rest[length..].starts_with(['+', '-']) {
            return self.take_bytes(Kind::Number, length);
        }
        let (imaginary, is_good) = number_length(&rest[length..]);
        let length = length + imaginary;
        if !is_good || !rest[..length].ends_with('i') {
            let text = go_quote(&rest[..length]);
            return self.refuse(format!("bad number syntax: {text}"));
        }
        self.take_bytes(Kind::Complex, length)
    }
}

/// How long the number is that the text begins with, and whether what follows may follow it.
fn number_length(text: &str) -> (usize, bool) {
    let bytes = text.as_bytes();
    let mut at = 0;
    let is = |at: usize, set: &[u8]| bytes.get(at).is_some_and(|byte| set.contains(byte));
    at += usize::from(is(at, b"+-"));
    let mut digits: &[u8] = b"0123456789_";
    if is(at, b"0") {
        at += 1;
        let hexadecimal: &[u8] = b"0123456789abcdefABCDEF_";
        let radixes: [(&[u8], &[u8]); 3] =
            [(b"xX", hexadecimal), (b"oO", b"01234567_"), (b"bB", b"01_")];
        if let Some((_, of_radix)) = radixes.into_iter().find(|(letters, _)| is(at, letters)) {
            at += 1;
            digits = of_radix;
        }
    }
    let run = |mut at: usize, set: &[u8]| {
        while is(at, set) {
            at += 1;
        }
        at
    };
    at = run(at, digits);
    if is(at, b".") {
        at = run(at + 1, digits);
    }
    let exponent: &[u8] = match digits.len() {
        11 => b"eE",
        23 => b"pP",
        _ => b"",
    };
    if is(at, exponent) {
        at += 1;
        at += usize::from(is(at, b"+-"));
        at = run(at, b"0123456789_");
    }
    at += usize::from(is(at, b"i"));
    match text[at..].chars().next() {
        Some(c) if is_alphanumeric(c) => (at + c.len_utf8(), false),
        _ => (at, true),
    }
}

fn begins_trim_left(text: &str) -> bool {
    text.strip_prefix('-').is_some_and(|rest| rest.starts_with(SPACES))
}

fn ends_trim_right(text: &str) -> bool {
    let marker = text.strip_prefix(SPACES).and_then(|rest| rest.strip_prefix('-'));
    marker.is_some_and(|rest| rest.starts_with(RIGHT))
}

/// Whether a word may end before this text.
fn ends_word(text: &str) -> bool {
    text.is_empty()
        || text.starts_with(SPACES)
        || text.starts_with(['.', ',', '|', ':', ')', '('])
        || text.starts_with(RIGHT)
}

fn word_length(text: &str) -> usize {
    text.find(|c: char| !is_alphanumeric(c)).unwrap_or(text.len())
}

fn is_alphanumeric(c: char) -> bool {
    c == '_' || c.is_alphabetic() || c.is_numeric()
}
