//! The query's text to tokens, one at a time as the parser asks for them.
//!
//! COMPAT: what is a token depends on what was read before (braces, brackets), as in Prometheus;
//! so do the error texts. Comments and blanks are skipped.

mod literal;
#[cfg(test)]
mod tests;

pub use literal::{duration, number, string_length, unquote, unquote_bytes};

use nom::branch::alt;
use nom::bytes::complete::{tag, take_till, take_while, take_while1};
use nom::character::complete::char as one_char;
use nom::combinator::{recognize, value};
use nom::multi::many0_count;
use nom::{IResult, Parser};

use super::ast::{AggregateOp, BinaryOp, Span};
use super::quote::{quote, quote_char, quote_prefix};

/// Kinds of token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// End of the text.
    Eof,
    /// `,`
    Comma,
    /// `:` within brackets.
    Colon,
    /// `=`
    Equal,
    /// `=~`
    EqualRegex,
    /// `!~`
    NotEqualRegex,
    /// `(`
    LeftParen,
    /// `)`
    RightParen,
    /// `{`
    LeftBrace,
    /// `}`
    RightBrace,
    /// `[`
    LeftBracket,
    /// `]`
    RightBracket,
    /// `@`
    At,
    /// A number, `Inf` and `NaN` too.
    Number,
    /// A number with units of time.
    Duration,
    /// A string with its quotes.
    String,
    /// A name without colon that is no keyword.
    Identifier,
    /// A name with a colon.
    MetricIdentifier,
    /// A binary operator; `!=` between a label and a value too.
    Binary(BinaryOp),
    /// The name of an aggregation.
    Aggregate(AggregateOp),
    /// A word with a meaning of its own.
    Keyword(Keyword),
    /// A word that is a function here and a modifier there.
    Preprocessor(Preprocessor),
}

/// Words of the clauses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // Each is the word it is called.
pub enum Keyword {
    Offset,
    Smoothed,
    Anchored,
    By,
    Without,
    On,
    Ignoring,
    GroupLeft,
    GroupRight,
    Fill,
    FillLeft,
    FillRight,
    Bool,
}

/// Words that stand in `@` and in durations, and are functions elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Preprocessor {
    Start,
    End,
    Step,
    Range,
    MaxOf,
    MinOf,
}

/// A token and where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token<'a> {
    /// What it is.
    pub kind: Kind,
    /// First byte.
    pub start: u32,
    /// As it was written.
    pub text: &'a str,
}

impl Token<'_> {
    /// One past the last byte.
    pub fn end(&self) -> u32 {
        self.start + self.text.len() as u32
    }

    /// Its bytes.
    pub fn span(&self) -> Span {
        Span { start: self.start, end: self.end() }
    }

    /// How messages speak of it.
    pub fn description(&self) -> String {
        let text = self.text;
        let shown = || {
            if text.len() > 10 { format!("{}...", quote_prefix(text, 10)) } else { quote(text) }
        };
        match self.kind {
            Kind::Eof => "end of input".to_owned(),
            Kind::Identifier => format!("identifier {}", quote(text)),
            Kind::MetricIdentifier => format!("metric identifier {}", quote(text)),
            Kind::String => format!("string {}", shown()),
            Kind::Number => format!("number {}", shown()),
            Kind::Duration => format!("duration {}", shown()),
            Kind::Keyword(_) => format!("<{text}>"),
            Kind::Aggregate(_) => format!("<aggr:{text}>"),
            Kind::Binary(_) | Kind::At | Kind::EqualRegex | Kind::NotEqualRegex => {
                format!("<op:{text}>")
            }
            _ => shown(),
        }
    }
}

/// Text that is no token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LexError {
    /// From where.
    pub start: u32,
    /// What is wrong.
    pub message: String,
}

type Lexed<'a> = Result<Token<'a>, LexError>;

/// What the next token stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Open,
    Braces,
    /// Behind `[`, before the first number: names and strings are no tokens there.
    BracketsStart,
    /// Behind that number.
    Brackets,
}

/// Reads tokens from a text.
#[derive(Debug)]
pub struct Lexer<'a> {
    text: &'a str,
    at: usize,
    paren_depth: i64,
    place: Place,
    seen_colon: bool,
    // COMPAT: not forgotten at the next `[`, so that `a[1m] + b[:1m]` fails in the parser.
    seen_duration: bool,
}

impl<'a> Lexer<'a> {
    /// Starts at the front of `text`.
    pub fn new(text: &'a str) -> Self {
        Self {
            text,
            at: 0,
            paren_depth: 0,
            place: Place::Open,
            seen_colon: false,
            seen_duration: false,
        }
    }

    /// The next token; [`Kind::Eof`] at the end.
    pub fn next_token(&mut self) -> Lexed<'a> {
        self.skip_blanks();
        match self.place {
            Place::Braces => self.in_braces_token(),
            Place::BracketsStart => self.duration_token(),
            Place::Open | Place::Brackets => self.statement_token(),
        }
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn skip_blanks(&mut self) {
        let rest = self.rest();
        let blanks = take_while::<_, _, ()>(is_blank);
        let skipped = if self.place == Place::BracketsStart {
            recognize(blanks).parse(rest)
        } else {
            let comment = recognize((one_char('#'), take_till(|c| c == '\n' || c == '\r')));
            let blanks = take_while1(is_blank);
            recognize(many0_count(alt((blanks, comment)))).parse(rest)
        };
        if let Ok((_, skipped)) = skipped {
            self.at += skipped.len();
        }
    }

    /// Hands out the next `length` bytes as a token.
    fn emit(&mut self, kind: Kind, length: usize) -> Token<'a> {
        let start = self.at;
        self.at += length;
        Token { kind, start: start as u32, text: &self.text[start..self.at] }
    }

    fn fail<T>(&self, message: String) -> Result<T, LexError> {
        Err(LexError { start: self.at as u32, message })
    }

    fn statement_token(&mut self) -> Lexed<'a> {
        let rest = self.rest();
        let mut chars = rest.chars();
        let Some(first) = chars.next() else {
            return match () {
                () if self.paren_depth != 0 => self.fail("unclosed left parenthesis".to_owned()),
                () if self.place == Place::Brackets => {
                    self.fail("unclosed left bracket".to_owned())
                }
                () => Ok(self.emit(Kind::Eof, 0)),
            };
        };
        let second = chars.next();
        match first {
            '=' if second == Some('~') => {
                self.fail("unexpected character after '=': '~'".to_owned())
            }
            '!' if second != Some('=') => {
                let found = quote_char(second.unwrap_or(char::REPLACEMENT_CHARACTER));
                self.fail(format!("unexpected character after '!': {found}"))
            }
            '0'..='9' => self.number_or_duration(),
            '.' if second.is_some_and(|c| c.is_ascii_digit()) => self.number_or_duration(),
            '"' | '\'' | '`' => self.string(),
            _ if is_name_start(first) || first == ':' => self.word(first),
            '(' | ')' => self.paren(first),
            '{' => {
                self.place = Place::Braces;
                Ok(self.emit(Kind::LeftBrace, 1))
            }
            '[' if self.place == Place::Brackets => {
                self.fail("unexpected left bracket '['".to_owned())
            }
            '[' => {
                self.place = Place::BracketsStart;
                self.seen_colon = false;
                Ok(self.emit(Kind::LeftBracket, 1))
            }
            ']' if self.place != Place::Brackets => {
                self.fail("unexpected right bracket ']'".to_owned())
            }
            ']' => {
                self.place = Place::Open;
                Ok(self.emit(Kind::RightBracket, 1))
            }
            _ => match operator(rest) {
                Ok((after, kind)) => Ok(self.emit(kind, rest.len() - after.len())),
                Err(_) => self.fail(format!("unexpected character: {}", quote_char(first))),
            },
        }
    }

    fn paren(&mut self, paren: char) -> Lexed<'a> {
        if paren == '(' {
            self.paren_depth += 1;
            return Ok(self.emit(Kind::LeftParen, 1));
        }
        self.paren_depth -= 1;
        let token = self.emit(Kind::RightParen, 1);
        if self.paren_depth < 0 {
            return self.fail("unexpected right parenthesis ')'".to_owned());
        }
        Ok(token)
    }

    fn word(&mut self, first: char) -> Lexed<'a> {
        if self.place != Place::Brackets {
            let length = prefix_length(self.rest(), |c| is_name(c) || c == ':');
            let text = &self.rest()[..length];
            let kind = match keyword(text) {
                Some(Kind::Keyword(Keyword::Fill | Keyword::FillLeft | Keyword::FillRight))
                    if !self.rest()[length..].trim_start_matches(is_blank).starts_with('(') =>
                {
                    Kind::Identifier
                }
                Some(kind) => kind,
                None if text.contains(':') => Kind::MetricIdentifier,
                None => Kind::Identifier,
            };
            return Ok(self.emit(kind, length));
        }
        if first == ':' {
            if self.seen_colon {
                return self.fail("unexpected colon ':'".to_owned());
            }
            self.seen_colon = true;
            return Ok(self.emit(Kind::Colon, 1));
        }
        match self.duration_word() {
            Some(token) => Ok(token),
            None => self.fail(format!("unexpected character: {}, expected ':'", quote_char(first))),
        }
    }

    fn duration_word(&mut self) -> Option<Token<'a>> {
        let length = prefix_length(self.rest(), is_name_start);
        match keyword(&self.rest()[..length]) {
            Some(kind @ Kind::Preprocessor(preprocessor))
                if !matches!(preprocessor, Preprocessor::Start | Preprocessor::End) =>
            {
                Some(self.emit(kind, length))
            }
            _ => None,
        }
    }

    fn duration_token(&mut self) -> Lexed<'a> {
        let rest = self.rest();
        let mut chars = rest.chars();
        let Some(first) = chars.next() else {
            return self.fail("unexpected end of input in duration expression".to_owned());
        };
        match first {
            ']' => {
                self.place = Place::Open;
                self.seen_colon = false;
                Ok(self.emit(Kind::RightBracket, 1))
            }
            ':' => {
                let token = self.emit(Kind::Colon, 1);
                if !self.seen_duration {
                    let message = "unexpected colon before duration in duration expression";
                    return self.fail(message.to_owned());
                }
                if self.seen_colon {
                    let message = "unexpected repeated colon in duration expression";
                    return self.fail(message.to_owned());
                }
                self.seen_colon = true;
                Ok(token)
            }
            '(' | ')' => self.paren(first),
            '+' | '-' | '*' | '/' | '%' | '^' | ',' => match operator(rest) {
                Ok((_, kind)) => Ok(self.emit(kind, 1)),
                Err(_) => unreachable!("BUG: each of these is an operator"),
            },
            _ if first.is_ascii_digit()
                || (first == '.' && chars.next().is_some_and(|c| c.is_ascii_digit())) =>
            {
                self.seen_duration = true;
                self.place = Place::Brackets;
                self.number_or_duration()
            }
            _ => match self.duration_word() {
                Some(token) => Ok(token),
                None => self.fail(format!(
                    "unexpected character in duration expression: {}",
                    quote_char(first)
                )),
            },
        }
    }

    fn in_braces_token(&mut self) -> Lexed<'a> {
        let rest = self.rest();
        let mut chars = rest.chars();
        let Some(first) = chars.next() else {
            return self.fail("unexpected end of input inside braces".to_owned());
        };
        let second = chars.next();
        match first {
            _ if is_name_start(first) => {
                let length = prefix_length(rest, is_name);
                Ok(self.emit(Kind::Identifier, length))
            }
            ',' => Ok(self.emit(Kind::Comma, 1)),
            '"' | '\'' | '`' => self.string(),
            '=' if second == Some('~') => Ok(self.emit(Kind::EqualRegex, 2)),
            '=' => Ok(self.emit(Kind::Equal, 1)),
            '!' => match second {
                Some('~') => Ok(self.emit(Kind::NotEqualRegex, 2)),
                Some('=') => Ok(self.emit(Kind::Binary(BinaryOp::Neq), 2)),
                _ => {
                    let found = quote_char(second.unwrap_or(char::REPLACEMENT_CHARACTER));
                    self.fail(format!("unexpected character after '!' inside braces: {found}"))
                }
            },
            '{' => self.fail("unexpected left brace '{'".to_owned()),
            '}' => {
                self.place = Place::Open;
                Ok(self.emit(Kind::RightBrace, 1))
            }
            _ => self.fail(format!("unexpected character inside braces: {}", quote_char(first))),
        }
    }

    fn number_or_duration(&mut self) -> Lexed<'a> {
        match literal::number_or_duration(self.rest()) {
            Ok((kind, length)) => Ok(self.emit(kind, length)),
            Err(length) => {
                let text = quote(&self.rest()[..length]);
                self.fail(format!("bad number or duration syntax: {text}"))
            }
        }
    }

    fn string(&mut self) -> Lexed<'a> {
        match literal::string_length(self.rest()) {
            Ok(length) => Ok(self.emit(Kind::String, length)),
            Err(message) => self.fail(message),
        }
    }
}

/// One operator or mark at the front of `text`, the longest first.
fn operator(text: &str) -> IResult<&str, Kind, ()> {
    let op = Kind::Binary;
    alt((
        alt((
            value(op(BinaryOp::Eql), tag("==")),
            value(op(BinaryOp::Neq), tag("!=")),
            value(op(BinaryOp::Lte), tag("<=")),
            value(op(BinaryOp::TrimUpper), tag("</")),
            value(op(BinaryOp::Lss), tag("<")),
            value(op(BinaryOp::Gte), tag(">=")),
            value(op(BinaryOp::TrimLower), tag(">/")),
            value(op(BinaryOp::Gtr), tag(">")),
        )),
        value(op(BinaryOp::Add), tag("+")),
        value(op(BinaryOp::Sub), tag("-")),
        value(op(BinaryOp::Mul), tag("*")),
        value(op(BinaryOp::Div), tag("/")),
        value(op(BinaryOp::Mod), tag("%")),
        value(op(BinaryOp::Pow), tag("^")),
        value(Kind::Equal, tag("=")),
        value(Kind::Comma, tag(",")),
        value(Kind::At, tag("@")),
    ))
    .parse(text)
}

/// The keyword that `word` is in any case of letters.
fn keyword(word: &str) -> Option<Kind> {
    const LENGTH_MAX: usize = "count_values".len();
    if word.len() > LENGTH_MAX {
        return None;
    }
    Some(match word.to_ascii_lowercase().as_str() {
        "and" => Kind::Binary(BinaryOp::And),
        "or" => Kind::Binary(BinaryOp::Or),
        "unless" => Kind::Binary(BinaryOp::Unless),
        "atan2" => Kind::Binary(BinaryOp::Atan2),
        "offset" => Kind::Keyword(Keyword::Offset),
        "smoothed" => Kind::Keyword(Keyword::Smoothed),
        "anchored" => Kind::Keyword(Keyword::Anchored),
        "by" => Kind::Keyword(Keyword::By),
        "without" => Kind::Keyword(Keyword::Without),
        "on" => Kind::Keyword(Keyword::On),
        "ignoring" => Kind::Keyword(Keyword::Ignoring),
        "group_left" => Kind::Keyword(Keyword::GroupLeft),
        "group_right" => Kind::Keyword(Keyword::GroupRight),
        "fill" => Kind::Keyword(Keyword::Fill),
        "fill_left" => Kind::Keyword(Keyword::FillLeft),
        "fill_right" => Kind::Keyword(Keyword::FillRight),
        "bool" => Kind::Keyword(Keyword::Bool),
        "start" => Kind::Preprocessor(Preprocessor::Start),
        "end" => Kind::Preprocessor(Preprocessor::End),
        "step" => Kind::Preprocessor(Preprocessor::Step),
        "range" => Kind::Preprocessor(Preprocessor::Range),
        "max_of" => Kind::Preprocessor(Preprocessor::MaxOf),
        "min_of" => Kind::Preprocessor(Preprocessor::MinOf),
        "inf" | "nan" => Kind::Number,
        lower => Kind::Aggregate(AggregateOp::from_name(lower)?),
    })
}

fn prefix_length(text: &str, belongs: impl Fn(char) -> bool) -> usize {
    text.find(|c| !belongs(c)).unwrap_or(text.len())
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r')
}

fn is_name_start(c: char) -> bool {
    c == '_' || c.is_ascii_alphabetic()
}

fn is_name(c: char) -> bool {
    c == '_' || c.is_ascii_alphanumeric()
}
