//! As much of JSON as descriptions of blocks have: objects, arrays, integers, strings.
//!
//! Members that a reader does not know are skipped, whatever their kind; nesting is bounded. What
//! is taken out are strings without escapes and 64-bit integers. An error says at which byte.

/// Why a text does not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonError {
    /// At which byte.
    pub at: usize,
    /// What is wrong there.
    pub what: String,
}

impl JsonError {
    /// Says what is wrong, and where.
    pub fn new(at: usize, what: impl Into<String>) -> Self {
        Self { at, what: what.into() }
    }
}

impl std::fmt::Display for JsonError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at byte {}", self.what, self.at)
    }
}

impl std::error::Error for JsonError {}

/// Levels of values that are skipped.
const DEPTH_MAX: usize = 32;

/// Walks over a text from front to back.
#[derive(Debug)]
pub struct Json<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Json<'a> {
    /// A walk that begins with the text.
    pub fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// The whole text.
    pub fn text(&self) -> &'a str {
        self.text
    }

    /// The byte that is read next.
    pub fn at(&self) -> usize {
        self.at
    }

    fn peek(&mut self) -> Option<u8> {
        let rest = &self.text.as_bytes()[self.at..];
        self.at += rest.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        self.text.as_bytes().get(self.at).copied()
    }

    fn is_next(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    fn expect(&mut self, byte: u8) -> Result<(), JsonError> {
        if self.is_next(byte) {
            return Ok(());
        }
        Err(JsonError::new(self.at, format!("expected `{}`", char::from(byte))))
    }

    /// Nothing but blanks may follow.
    pub fn end(&mut self) -> Result<(), JsonError> {
        self.peek().map_or(Ok(()), |_| Err(JsonError::new(self.at, "text behind the end")))
    }

    /// A string without escapes.
    pub fn string(&mut self) -> Result<&'a str, JsonError> {
        let at = self.at;
        let raw = self.raw_string()?;
        if raw.contains(['\\', '\n']) {
            return Err(JsonError::new(at, "a string with an escape"));
        }
        Ok(raw)
    }

    /// What stands between the quotes, escapes as they are written.
    fn raw_string(&mut self) -> Result<&'a str, JsonError> {
        self.expect(b'"')?;
        let (start, bytes) = (self.at, self.text.as_bytes());
        let mut end = start;
        while bytes.get(end).is_some_and(|&byte| byte != b'"') {
            end += if bytes[end] == b'\\' { 2 } else { 1 };
        }
        if end >= bytes.len() {
            return Err(JsonError::new(start, "a string does not end"));
        }
        self.at = end + 1;
        Ok(&self.text[start..end])
    }

    /// A signed integer of 64 bits.
    pub fn integer(&mut self) -> Result<i64, JsonError> {
        self.peek();
        let rest = &self.text[self.at..];
        let is_part = |c: char| c == '-' || c.is_ascii_digit();
        let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        let value = rest[..end].parse();
        let value = value.map_err(|_| JsonError::new(self.at, "not an integer"))?;
        self.at += end;
        Ok(value)
    }

    /// An integer of a smaller kind.
    pub fn count<T: TryFrom<i64>>(&mut self) -> Result<T, JsonError> {
        let at = self.at;
        let value = self.integer()?;
        T::try_from(value).map_err(|_| JsonError::new(at, "not a count"))
    }

    /// An array; `item` reads each element.
    pub fn array<E: From<JsonError>>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        self.expect(b'[')?;
        if self.is_next(b']') {
            return Ok(());
        }
        loop {
            item(self)?;
            if !self.is_next(b',') {
                return Ok(self.expect(b']')?);
            }
        }
    }

    /// An object; `member` takes each name and where it stands, and reads the value.
    pub fn object<E: From<JsonError>>(
        &mut self,
        mut member: impl FnMut(&mut Self, &'a str, usize) -> Result<(), E>,
    ) -> Result<(), E> {
        self.expect(b'{')?;
        if self.is_next(b'}') {
            return Ok(());
        }
        loop {
            self.peek();
            let at = self.at;
            let name = self.raw_string()?;
            self.expect(b':')?;
            self.peek();
            member(self, name, at)?;
            if !self.is_next(b',') {
                return Ok(self.expect(b'}')?);
            }
        }
    }

    /// Skips a value of any kind.
    pub fn skip(&mut self) -> Result<(), JsonError> {
        self.skip_at(DEPTH_MAX)
    }

    fn skip_at(&mut self, depth: usize) -> Result<(), JsonError> {
        if depth == 0 {
            return Err(JsonError::new(self.at, "too deep"));
        }
        match self.peek() {
            Some(b'{') => self.object(|json, _, _| json.skip_at(depth - 1)),
            Some(b'[') => self.array(|json| json.skip_at(depth - 1)),
            Some(b'"') => self.raw_string().map(drop),
            _ => self.skip_word(),
        }
    }

    /// A number, `true`, `false` or `null`.
    fn skip_word(&mut self) -> Result<(), JsonError> {
        let rest = &self.text[self.at..];
        let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '.');
        let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        let word = &rest[..end];
        let is_number = word.starts_with(|c: char| c == '-' || c.is_ascii_digit())
            && word.parse::<f64>().is_ok();
        if !is_number && !matches!(word, "true" | "false" | "null") {
            return Err(JsonError::new(self.at, "not a value"));
        }
        self.at += end;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn unknown_members_of_any_kind_are_skipped() {
        let text = r#"{"a": [1.5e3, true, null, "\"}", {"é": {}}], "b": 7, "c": ""}"#;
        let (mut json, mut found) = (Json::new(text), None);
        json.object(|json, name, _| {
            if name == "b" {
                found = Some(json.integer()?);
                return Ok(());
            }
            json.skip()
        })
        .unwrap();
        json.end().unwrap();
        assert_eq!(found, Some(7));
        for bad in ["[1", "\"", "\"\\", "nul", "{\"a\" 1}", "--", "", "1e"] {
            assert!(Json::new(bad).skip().is_err(), "{bad}");
        }
        assert!(Json::new(&"[".repeat(1000)).skip().is_err());
    }

    proptest! {
        #[test]
        fn any_text_ends_in_an_answer(text in "[{}\\[\\]\",: 0-9a-zé\\\\-]{0,60}") {
            let _ = Json::new(&text).skip();
        }
    }
}
