//! Quoting as Go's `%q` does it: error texts that clients compare are written with it.

use std::fmt::Write as _;

/// Longest piece of outside text that an error repeats, in bytes.
const QUOTED_BYTES_MAX: usize = 1024;

/// `bytes` in double quotes with Go's escapes; bytes that are not UTF-8 become `\xNN`.
pub fn go_quote(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() + 2);
    out.push('"');
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            push_char(&mut out, c);
        }
        for byte in chunk.invalid() {
            push_formatted(&mut out, format_args!("\\x{byte:02x}"));
        }
    }
    out.push('"');
    out
}

/// Like [`go_quote`], but of long text only the first KiB, followed by `…`: an unclosed quote
/// must not carry a whole page into a log line.
pub fn go_quote_bounded(bytes: &[u8]) -> String {
    if bytes.len() <= QUOTED_BYTES_MAX {
        return go_quote(bytes);
    }
    let mut end = QUOTED_BYTES_MAX;
    while end > QUOTED_BYTES_MAX - 4 && bytes[end] & 0xc0 == 0x80 {
        end -= 1;
    }
    let mut out = go_quote(&bytes[..end]);
    out.push('…');
    out
}

fn push_char(out: &mut String, c: char) {
    match c {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        '\x07' => out.push_str("\\a"),
        '\x08' => out.push_str("\\b"),
        '\x0c' => out.push_str("\\f"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\x0b' => out.push_str("\\v"),
        ' '..='~' => out.push(c),
        '\0'..='\x1f' | '\x7f' => push_formatted(out, format_args!("\\x{:02x}", c as u32)),
        // The standard library escapes what is not printable; quotes were handled above.
        _ if c == '\u{fffd}'
            || c.escape_debug().len() == 1
            || !c.is_control() && c.is_alphanumeric() =>
        {
            out.push(c);
        }
        _ if (c as u32) < 0x1_0000 => push_formatted(out, format_args!("\\u{:04x}", c as u32)),
        _ => push_formatted(out, format_args!("\\U{:08x}", c as u32)),
    }
}

fn push_formatted(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("BUG: writing to a String cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_those_of_go() {
        assert_eq!(go_quote(b"a\"b\\\n\t\x00\x7f"), r#""a\"b\\\n\t\x00\x7f""#);
        assert_eq!(go_quote("grüße €".as_bytes()), "\"grüße €\"");
        assert_eq!(go_quote(b"\xffa"), r#""\xffa""#);
        assert_eq!(go_quote("\u{200b}\u{85}".as_bytes()), r#""\u200b\u0085""#);
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        let text = "é".repeat(2000);
        let quoted = go_quote_bounded(text.as_bytes());
        assert_eq!(quoted.chars().filter(|c| *c == 'é').count(), 512);
        assert!(quoted.ends_with("\"…"));
    }
}
