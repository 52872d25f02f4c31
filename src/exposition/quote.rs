//! Bytes from outside in error texts.

use std::fmt::Write as _;

use crate::model::go_quote;

/// Longest piece of outside text that an error repeats, in bytes.
const QUOTED_BYTES_MAX: usize = 1024;

/// `bytes` in double quotes as Go's `%q` writes them, what is not UTF-8 as `\xNN`. Of long text
/// only the first KiB, followed by `…`: an unclosed quote must not carry a whole page into a log
/// line.
pub fn quote_bytes(bytes: &[u8]) -> String {
    let mut end = bytes.len();
    if end > QUOTED_BYTES_MAX {
        end = QUOTED_BYTES_MAX;
        while end > QUOTED_BYTES_MAX - 4 && bytes[end] & 0xc0 == 0x80 {
            end -= 1;
        }
    }
    let mut out = "\"".to_owned();
    for chunk in bytes[..end].utf8_chunks() {
        let quoted = go_quote(chunk.valid());
        out.push_str(&quoted[1..quoted.len() - 1]);
        for byte in chunk.invalid() {
            write!(out, "\\x{byte:02x}").expect("BUG: a String takes all text");
        }
    }
    out.push('"');
    if end < bytes.len() {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_text_are_told() {
        assert_eq!(quote_bytes(b"a\"\n\xff\xe2\x82b\xc3\xa9"), "\"a\\\"\\n\\xff\\xe2\\x82bé\"");
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        let text = "é".repeat(2000);
        let quoted = quote_bytes(text.as_bytes());
        assert_eq!(quoted.chars().filter(|c| *c == 'é').count(), 512);
        assert!(quoted.ends_with("\"…"));
    }
}
