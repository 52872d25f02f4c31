//! The tokens of OpenMetrics text.
//!
//! As with the other text format, start conditions and longest-match rules are those of
//! Prometheus's lexer state by state: its error texts quote what had been read when the rules ran
//! out. Unlike there, white space is one space exactly, and the page ends where it ends.
//!
//! INVARIANT: `start <= pos <= page.len()`.

/// What the lexer found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    Invalid,
    Eof,
    EofWord,
    Linebreak,
    Help,
    Type,
    Unit,
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
            Self::EofWord => "EOFWORD",
            Self::Linebreak => "LINEBREAK",
            Self::Help => "HELP",
            Self::Type => "TYPE",
            Self::Unit => "UNIT",
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

/// Where in a line the lexer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Line,
    Comment,
    MetaName,
    MetaText,
    Labels,
    LabelValue,
    Value,
    Timestamp,
    Exemplar,
    /// After `=` or `}` of an exemplar: a label's value or the exemplar's.
    ExemplarValue,
    ExemplarTimestamp,
}

#[derive(Debug, Clone)]
pub(super) struct Lexer<'a> {
    pub(super) page: &'a [u8],
    /// First byte of the current token.
    pub(super) start: usize,
    /// First byte after the current token.
    pub(super) pos: usize,
    state: State,
}

/// How strings of a state treat a newline that no backslash precedes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Newline {
    Taken,
    Refused,
}

fn starts_label_name(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_'
}

fn starts_metric_name(byte: u8) -> bool {
    starts_label_name(byte) || byte == b':'
}

fn is_word(byte: u8) -> bool {
    !matches!(byte, b' ' | b'\n' | 0)
}

impl<'a> Lexer<'a> {
    /// Starts at byte `pos`, in that state.
    pub(super) fn new(page: &'a [u8], pos: usize, state: State) -> Self {
        Self { page, start: pos, pos, state }
    }

    /// The bytes of the current token.
    pub(super) fn token(&self) -> &'a [u8] {
        &self.page[self.start..self.pos]
    }

    /// The byte at `at`; 0 past the end.
    fn at(&self, at: usize) -> u8 {
        self.page.get(at).copied().unwrap_or(0)
    }

    fn advance(&mut self) -> u8 {
        self.pos = (self.pos + 1).min(self.page.len());
        // NUL bytes belong to metadata lines and label values; elsewhere they are errors.
        if matches!(self.state, State::LabelValue | State::MetaText | State::Comment) {
            while self.pos < self.page.len() && self.page[self.pos] == 0 {
                self.pos += 1;
            }
        }
        self.at(self.pos)
    }

    fn advance_while(&mut self, matches: impl Fn(u8) -> bool) -> u8 {
        loop {
            let byte = self.advance();
            if !matches(byte) {
                return byte;
            }
        }
    }

    /// The next token.
    pub(super) fn next(&mut self) -> Token {
        if self.pos >= self.page.len() {
            return Token::Eof;
        }
        self.start = self.pos;
        let byte = self.at(self.pos);
        match self.state {
            State::Line => self.lex_line(byte),
            State::Comment => self.lex_comment(byte),
            State::MetaName => self.lex_meta_name(byte),
            State::MetaText => self.lex_meta_text(byte),
            State::Labels => self.lex_labels(byte, State::Value, State::LabelValue),
            State::LabelValue => self.lex_string(byte, State::Labels),
            State::Value => self.lex_value(byte),
            State::Timestamp => self.lex_timestamp(byte),
            State::Exemplar => self.lex_labels(byte, State::ExemplarValue, State::ExemplarValue),
            State::ExemplarValue if byte == b' ' => {
                self.lex_word(State::ExemplarTimestamp, Token::Value)
            }
            State::ExemplarValue => self.lex_string(byte, State::Exemplar),
            State::ExemplarTimestamp => match byte {
                b'\n' => self.single(State::Line, Token::Linebreak),
                b' ' => self.lex_word(State::ExemplarTimestamp, Token::Timestamp),
                _ => Token::Invalid,
            },
        }
    }

    fn single(&mut self, state: State, token: Token) -> Token {
        self.advance();
        self.state = state;
        token
    }

    fn lex_line(&mut self, byte: u8) -> Token {
        match byte {
            b'{' => self.single(State::Labels, Token::BraceOpen),
            b'#' => {
                if self.advance() != b' ' {
                    return Token::Invalid;
                }
                let byte = self.advance();
                self.state = State::Comment;
                self.lex_comment(byte)
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
            b'E' => (b"EOF", Token::EofWord),
            b'H' => (b"HELP ", Token::Help),
            b'T' => (b"TYPE ", Token::Type),
            b'U' => (b"UNIT ", Token::Unit),
            _ => return Token::Invalid,
        };
        let mut byte = byte;
        for expected in word {
            if byte != *expected {
                return Token::Invalid;
            }
            byte = self.advance();
        }
        if token == Token::EofWord {
            if byte == b'\n' {
                self.advance();
            }
            self.state = State::Line;
        } else {
            self.state = State::MetaName;
        }
        token
    }

    fn lex_meta_name(&mut self, byte: u8) -> Token {
        if byte == b'"' {
            if !self.skip_quoted(Newline::Taken) {
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
        if byte != b' ' || self.advance_while(|b| !matches!(b, b'\n' | 0)) != b'\n' {
            return Token::Invalid;
        }
        self.single(State::Line, Token::Text)
    }

    /// Between braces. `closed` and `equal` are the states after `}` and `=`.
    fn lex_labels(&mut self, byte: u8, closed: State, equal: State) -> Token {
        let newline = if self.state == State::Labels { Newline::Taken } else { Newline::Refused };
        match byte {
            b'}' => self.single(closed, Token::BraceClose),
            b'=' => self.single(equal, Token::Equal),
            b',' => self.single(self.state, Token::Comma),
            b'"' if self.skip_quoted(newline) => Token::QuotedString,
            _ if starts_label_name(byte) => {
                self.advance_while(|b| starts_label_name(b) || b.is_ascii_digit());
                Token::LabelName
            }
            _ => Token::Invalid,
        }
    }

    fn lex_string(&mut self, byte: u8, state: State) -> Token {
        if byte == b'"' && self.skip_quoted(Newline::Refused) {
            self.state = state;
            return Token::LabelValue;
        }
        Token::Invalid
    }

    /// A space and what follows it up to the next one.
    fn lex_word(&mut self, state: State, token: Token) -> Token {
        if !is_word(self.advance()) {
            return Token::Invalid;
        }
        self.advance_while(is_word);
        self.state = state;
        token
    }

    fn lex_value(&mut self, byte: u8) -> Token {
        match byte {
            b'{' => self.single(State::Labels, Token::BraceOpen),
            b' ' => self.lex_word(State::Timestamp, Token::Value),
            _ => Token::Invalid,
        }
    }

    fn lex_timestamp(&mut self, byte: u8) -> Token {
        if byte == b'\n' {
            return self.single(State::Line, Token::Linebreak);
        }
        if byte != b' ' {
            return Token::Invalid;
        }
        let mut byte = self.advance();
        if byte == b'#' {
            byte = self.advance();
            if byte == b' ' {
                if self.advance() != b'{' {
                    return Token::Invalid;
                }
                return self.single(State::Exemplar, Token::Comment);
            }
            // A word that begins with `#`.
        } else if !is_word(byte) {
            return Token::Invalid;
        }
        while is_word(byte) {
            byte = self.advance();
        }
        Token::Timestamp
    }

    /// Moves behind the string that begins at `pos`; stops where it turns out to be none. None may
    /// have a newline after a backslash.
    fn skip_quoted(&mut self, newline: Newline) -> bool {
        loop {
            match self.advance() {
                b'"' => {
                    self.advance();
                    return true;
                }
                b'\\' if matches!(self.advance(), 0 | b'\n') => return false,
                0 => return false,
                b'\n' if newline == Newline::Refused => return false,
                _ => {}
            }
        }
    }
}
