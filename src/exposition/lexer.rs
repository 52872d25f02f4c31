//! The tokens of the text format.
//!
//! The lexer follows the start conditions and longest-match rules of Prometheus's lexer state by
//! state, because its error texts quote what had been read when the rules ran out. The page is
//! read as if one more newline followed it.
//!
//! INVARIANT: `start <= pos <= page.len() + 1`.

/// What the lexer found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    Invalid,
    Eof,
    Linebreak,
    Whitespace,
    Help,
    Type,
    Text,
    Comment,
    MetricName,
    QuotedString,
    BraceOpen,
    BraceClose,
    LabelName,
    LabelValue,
    Comma,
    Equal,
    Timestamp,
    Value,
}

impl Token {
    /// The name in error texts.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "INVALID",
            Self::Eof => "EOF",
            Self::Linebreak => "LINEBREAK",
            Self::Whitespace => "WHITESPACE",
            Self::Help => "HELP",
            Self::Type => "TYPE",
            Self::Text => "TEXT",
            Self::Comment => "COMMENT",
            Self::MetricName => "MNAME",
            Self::QuotedString => "QSTRING",
            Self::BraceOpen => "BOPEN",
            Self::BraceClose => "BCLOSE",
            Self::LabelName => "LNAME",
            Self::LabelValue => "LVALUE",
            Self::Comma => "COMMA",
            Self::Equal => "EQUAL",
            Self::Timestamp => "TIMESTAMP",
            Self::Value => "VALUE",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Line,
    Comment,
    MetaName,
    MetaText,
    Labels,
    LabelValue,
    Value,
    Timestamp,
}

#[derive(Debug)]
pub(super) struct Lexer<'a> {
    pub(super) page: &'a [u8],
    /// First byte of the current token.
    pub(super) start: usize,
    /// First byte after the current token.
    pub(super) pos: usize,
    state: State,
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

fn starts_label_name(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_'
}

fn starts_metric_name(byte: u8) -> bool {
    starts_label_name(byte) || byte == b':'
}

impl<'a> Lexer<'a> {
    /// Starts at byte `pos`, which must be the beginning of a line.
    pub(super) fn new(page: &'a [u8], pos: usize) -> Self {
        Self { page, start: pos, pos, state: State::Line }
    }

    /// Bytes of the page and of the newline thought after it.
    pub(super) fn end(&self) -> usize {
        self.page.len() + 1
    }

    /// The bytes from `from` to `to`, the newline after the page included where they reach it.
    pub(super) fn bytes(&self, from: usize, to: usize) -> std::borrow::Cow<'a, [u8]> {
        if to <= self.page.len() {
            return self.page[from..to].into();
        }
        let mut bytes = self.page[from.min(self.page.len())..].to_vec();
        bytes.push(b'\n');
        bytes.into()
    }

    /// The byte at `at`; 0 past the end.
    fn at(&self, at: usize) -> u8 {
        match self.page.get(at) {
            Some(&byte) => byte,
            None if at == self.page.len() => b'\n',
            None => 0,
        }
    }

    fn advance(&mut self) -> u8 {
        self.pos = (self.pos + 1).min(self.end());
        // NUL bytes belong to help texts, comments and label values; elsewhere they are errors.
        if matches!(self.state, State::LabelValue | State::MetaText | State::Comment) {
            while self.pos < self.page.len() && self.page[self.pos] == 0 {
                self.pos += 1;
            }
        }
        self.at(self.pos)
    }

    fn advance_while(&mut self, matches: impl Fn(u8) -> bool) {
        while matches(self.advance()) {}
    }

    /// The next token that is not white space.
    pub(super) fn next(&mut self) -> Token {
        loop {
            let token = self.lex();
            if token != Token::Whitespace {
                return token;
            }
        }
    }

    fn lex(&mut self) -> Token {
        if self.pos >= self.end() {
            // As after the last newline: the token is empty.
            self.start = self.start.min(self.pos);
            return Token::Eof;
        }
        self.start = self.pos;
        let byte = self.at(self.pos);
        if is_blank(byte) && self.state != State::MetaText {
            self.advance_while(is_blank);
            return Token::Whitespace;
        }
        match self.state {
            State::Line => self.lex_line(byte),
            State::Comment => self.lex_comment(byte),
            State::MetaName => self.lex_meta_name(byte),
            State::MetaText => self.lex_meta_text(byte),
            State::Labels => self.lex_labels(byte),
            State::LabelValue => self.lex_label_value(byte),
            State::Value => self.lex_value(byte),
            State::Timestamp => self.lex_timestamp(byte),
        }
    }

    fn single(&mut self, state: State, token: Token) -> Token {
        self.advance();
        self.state = state;
        token
    }

    fn lex_line(&mut self, byte: u8) -> Token {
        match byte {
            0 => self.single(State::Line, Token::Eof),
            b'\n' => self.single(State::Line, Token::Linebreak),
            b'{' => self.single(State::Labels, Token::BraceOpen),
            b'#' => {
                if !is_blank(self.advance()) {
                    return self.skip_comment();
                }
                self.advance_while(is_blank);
                self.state = State::Comment;
                self.lex_comment(self.at(self.pos))
            }
            _ if starts_metric_name(byte) => {
                self.advance_while(|b| starts_metric_name(b) || b.is_ascii_digit());
                self.state = State::Value;
                Token::MetricName
            }
            _ => Token::Invalid,
        }
    }

    fn lex_comment(&mut self, byte: u8) -> Token {
        let (word, token): (&[u8], _) = match byte {
            b'H' => (b"HELP", Token::Help),
            b'T' => (b"TYPE", Token::Type),
            _ => return self.skip_comment(),
        };
        let mut byte = byte;
        for expected in word {
            if byte != *expected {
                return self.skip_comment();
            }
            byte = self.advance();
        }
        if !is_blank(byte) {
            return self.skip_comment();
        }
        self.advance_while(is_blank);
        self.state = State::MetaName;
        token
    }

    fn skip_comment(&mut self) -> Token {
        let mut byte = self.at(self.pos);
        loop {
            match byte {
                0 => return Token::Eof,
                b'\n' => {
                    self.state = State::Line;
                    return Token::Comment;
                }
                _ => byte = self.advance(),
            }
        }
    }

    fn lex_meta_name(&mut self, byte: u8) -> Token {
        if byte == b'"' {
            if !self.skip_quoted() {
                return Token::Invalid;
            }
        } else if starts_metric_name(byte) {
            self.advance_while(|b| starts_metric_name(b) || b.is_ascii_digit());
        } else {
            return Token::Invalid;
        }
        self.state = State::MetaText;
        Token::MetricName
    }

    fn lex_meta_text(&mut self, byte: u8) -> Token {
        let mut byte = byte;
        if is_blank(byte) {
            while is_blank(byte) {
                byte = self.advance();
            }
            if matches!(byte, b'\n' | 0) {
                return Token::Whitespace;
            }
        }
        while !matches!(byte, b'\n' | 0) {
            byte = self.advance();
        }
        self.state = State::Line;
        Token::Text
    }

    fn lex_labels(&mut self, byte: u8) -> Token {
        match byte {
            b'}' => self.single(State::Value, Token::BraceClose),
            b'=' => self.single(State::LabelValue, Token::Equal),
            b',' => self.single(State::Labels, Token::Comma),
            b'"' if self.skip_quoted() => Token::QuotedString,
            _ if starts_label_name(byte) => {
                self.advance_while(|b| starts_label_name(b) || b.is_ascii_digit());
                Token::LabelName
            }
            _ => Token::Invalid,
        }
    }

    fn lex_label_value(&mut self, byte: u8) -> Token {
        if byte == b'"' && self.skip_quoted() {
            self.state = State::Labels;
            return Token::LabelValue;
        }
        Token::Invalid
    }

    fn lex_value(&mut self, byte: u8) -> Token {
        match byte {
            b'{' => self.single(State::Labels, Token::BraceOpen),
            b'\n' | 0 => Token::Invalid,
            _ => {
                self.advance_while(|b| !matches!(b, b'{' | b' ' | b'\t' | b'\n' | 0));
                self.state = State::Timestamp;
                Token::Value
            }
        }
    }

    fn lex_timestamp(&mut self, byte: u8) -> Token {
        match byte {
            b'\n' => self.single(State::Line, Token::Linebreak),
            b'0'..=b'9' => {
                self.advance_while(|b| b.is_ascii_digit());
                Token::Timestamp
            }
            _ => Token::Invalid,
        }
    }

    /// Moves behind the string that begins at `pos`; stops where it turns out to be none.
    /// A string may hold newlines, but none after a backslash.
    fn skip_quoted(&mut self) -> bool {
        loop {
            match self.advance() {
                b'"' => {
                    self.pos += 1;
                    return true;
                }
                b'\\' if matches!(self.advance(), 0 | b'\n') => return false,
                0 => return false,
                _ => {}
            }
        }
    }
}
