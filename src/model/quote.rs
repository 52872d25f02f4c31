//! Text in double quotes, as Go's `%q` writes it: error texts and label sets show it.

use std::fmt::Write as _;

/// `text` in double quotes with Go's escapes.
pub fn go_quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{b}' => quoted.push_str("\\v"),
            ' '..='~' => quoted.push(c),
            '\0'..='\u{7f}' => push_escape(&mut quoted, "\\x", 2, c),
            _ if is_printable(c) => quoted.push(c),
            '\u{80}'..='\u{ffff}' => push_escape(&mut quoted, "\\u", 4, c),
            _ => push_escape(&mut quoted, "\\U", 8, c),
        }
    }
    quoted.push('"');
    quoted
}

fn push_escape(out: &mut String, prefix: &str, width: usize, c: char) {
    write!(out, "{prefix}{:0width$x}", u32::from(c)).expect("BUG: a String takes all text");
}

/// Whether a character beyond ASCII is a letter, mark, number, punctuation or symbol.
fn is_printable(c: char) -> bool {
    // The standard library escapes what is none of these; a mark it escapes only where it has
    // nothing to stand on.
    let mut pair = [0; 8];
    pair[0] = b'a';
    let length = 1 + c.encode_utf8(&mut pair[1..]).len();
    let text = std::str::from_utf8(&pair[..length]).expect("BUG: a letter and a character");
    text.escape_debug().nth(1) == Some(c)
}

#[cfg(test)]
mod tests {
    use super::go_quote;

    /// Right sides printed by Go's `%q`.
    #[test]
    fn quoted_as_go_does() {
        let table = [
            ("", r#""""#),
            ("plain 'x'", r#""plain 'x'""#),
            ("a\"b\\c", r#""a\"b\\c""#),
            ("\n\r\t\u{7}\u{8}\u{b}\u{c}", r#""\n\r\t\a\b\v\f""#),
            ("\0\u{1f}\u{7f}", r#""\x00\x1f\x7f""#),
            ("é花😀", "\"é花😀\""),
            ("e\u{301}", "\"e\u{301}\""),
            ("\u{301}", "\"\u{301}\""),
            ("\u{a0}\u{ad}\u{feff}\u{e0001}", r#""\u00a0\u00ad\ufeff\U000e0001""#),
        ];
        for (text, quoted) in table {
            assert_eq!(go_quote(text), quoted);
        }
    }
}
