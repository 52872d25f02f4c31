//! Strings as Go quotes them, for messages and for printed queries.
//!
//! COMPAT: Go's `strconv.Quote` and `QuoteRune`, which Prometheus's texts go through.

use std::fmt::Write;

/// `text` in double quotes, with Go's escapes.
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        push_escaped(&mut out, c, '"');
    }
    out.push('"');
    out
}

/// Bytes in double quotes, with Go's escapes; what is no UTF-8 byte by byte.
pub fn quote_bytes(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() + 2);
    out.push('"');
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            push_escaped(&mut out, c, '"');
        }
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out.push('"');
    out
}

/// At most `chars_max` characters of `text`, quoted (Go's `%.10q`).
pub fn quote_prefix(text: &str, chars_max: usize) -> String {
    let end = text.char_indices().nth(chars_max).map_or(text.len(), |(at, _)| at);
    quote(&text[..end])
}

/// `c` in single quotes.
pub fn quote_char(c: char) -> String {
    let mut out = String::from('\'');
    push_escaped(&mut out, c, '\'');
    out.push('\'');
    out
}

/// `U+0041 'A'`, the character left out where it cannot be shown (Go's `%#U`).
pub fn code_point(c: char) -> String {
    let mut out = format!("U+{:04X}", u32::from(c));
    if is_printable(c) {
        let _ = write!(out, " '{c}'");
    }
    out
}

fn push_escaped(out: &mut String, c: char, delimiter: char) {
    let code = u32::from(c);
    let _ = match c {
        '\\' => out.write_str("\\\\"),
        _ if c == delimiter => write!(out, "\\{c}"),
        _ if is_printable(c) => out.write_char(c),
        '\x07' => out.write_str("\\a"),
        '\x08' => out.write_str("\\b"),
        '\x0c' => out.write_str("\\f"),
        '\n' => out.write_str("\\n"),
        '\r' => out.write_str("\\r"),
        '\t' => out.write_str("\\t"),
        '\x0b' => out.write_str("\\v"),
        _ if code < 0x80 => write!(out, "\\x{code:02x}"),
        _ if code < 0x1_0000 => write!(out, "\\u{code:04x}"),
        _ => write!(out, "\\U{code:08x}"),
    };
}

fn is_printable(c: char) -> bool {
    if c.is_ascii() {
        return (' '..='~').contains(&c);
    }
    // The standard library tells "printable" only through its escapes, and escapes a combining
    // mark at the start of a string although Go shows it: so the mark must not stand first.
    let mut pair = String::from('a');
    pair.push(c);
    pair.escape_debug().nth(1) == Some(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_as_go_does() {
        assert_eq!(quote("a\"b'\\"), r#""a\"b'\\""#);
        assert_eq!(quote("\0\x07\n\x7f"), r#""\x00\a\n\x7f""#);
        assert_eq!(quote("é\u{301}\u{a0}\u{200b}\u{e000}"), "\"é\u{301}\\u00a0\\u200b\\ue000\"");
        assert_eq!(quote("\u{1f600}\u{f0000}"), "\"\u{1f600}\\U000f0000\"");
        assert_eq!(quote("\u{fffd}"), "\"\u{fffd}\"");
        assert_eq!(quote_bytes(b"a\xc5\n\xe2\x82z\""), r#""a\xc5\n\xe2\x82z\"""#);
        assert_eq!(quote_prefix("äbcdefghijkl", 10), "\"äbcdefghij\"");
        assert_eq!(quote_char('\''), r"'\''");
        assert_eq!(quote_char('"'), "'\"'");
        assert_eq!(code_point('c'), "U+0063 'c'");
        assert_eq!(code_point('\n'), "U+000A");
    }
}
