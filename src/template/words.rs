//! Texts taken apart and put together: addresses, URLs, titles.

use std::fmt::Write as _;

/// Host and port of `host:port`, the host's brackets taken off; `None` where it is no such text.
/// COMPAT: Go's `net.SplitHostPort`.
pub(super) fn split_host_port(address: &str) -> Option<(&str, &str)> {
    let colon = address.rfind(':')?;
    let port = &address[colon + 1..];
    let host = if let Some(inner) = address.strip_prefix('[') {
        let end = inner.find(']')?;
        if end + 2 != colon || inner[..end].contains('[') {
            return None;
        }
        &inner[..end]
    } else {
        let host = &address[..colon];
        if host.contains([':', '[', ']']) {
            return None;
        }
        host
    };
    (!port.contains(['[', ']'])).then_some((host, port))
}

/// Text for the query of a URL. COMPAT: Go's `url.QueryEscape`.
pub(super) fn url_query_escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(byte));
            }
            b' ' => out.push('+'),
            _ => push_percent(&mut out, byte),
        }
    }
    out
}

/// The byte as `%41`.
pub(super) fn push_percent(out: &mut String, byte: u8) {
    write!(out, "%{byte:02X}").expect("BUG: a String takes all text");
}

/// The path of a URL, percent signs resolved.
pub(super) fn url_path(url: &str) -> String {
    let behind = url.find("://").map_or(url, |at| &url[at + 3..]);
    let path = behind.find('/').map_or("", |at| &behind[at..]);
    let path = path.split(['?', '#']).next().unwrap_or_default();
    percent_encoding::percent_decode_str(path).decode_utf8_lossy().into_owned()
}

/// The text with the first letter of each word in upper case. Words end at spaces and
/// punctuation; an apostrophe, colon or full stop between letters does not end one.
/// COMPAT: `cases.Title` of Go's text library, which leaves other letters alone.
pub(super) fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut is_in_word = false;
    let mut was_middle = false;
    for c in text.chars() {
        let is_middle = matches!(
            c,
            '\'' | '.' | ':' | '\u{b7}' | '\u{2018}' | '\u{2019}' | '\u{2024}' | '\u{2027}'
        );
        if was_middle && is_middle {
            is_in_word = false;
        }
        if c.is_lowercase() || c.is_uppercase() {
            if is_in_word {
                out.push(c);
            } else {
                push_title(&mut out, c);
            }
            is_in_word = true;
        } else {
            out.push(c);
            let is_mark = ('\u{300}'..='\u{36f}').contains(&c);
            if !is_middle && !is_mark && !c.is_alphanumeric() && c != '_' {
                is_in_word = false;
            }
        }
        was_middle = is_middle;
    }
    out
}

/// The letter as the first one of a title: of letters that are several, the others stay small.
fn push_title(out: &mut String, c: char) {
    match c {
        '\u{1c4}'..='\u{1c6}' => out.push('\u{1c5}'),
        '\u{1c7}'..='\u{1c9}' => out.push('\u{1c8}'),
        '\u{1ca}'..='\u{1cc}' => out.push('\u{1cb}'),
        '\u{1f1}'..='\u{1f3}' => out.push('\u{1f2}'),
        '\u{149}' => out.push_str("\u{2bc}N"),
        _ => {
            let mut upper = c.to_uppercase();
            out.extend(upper.next());
            upper.for_each(|rest| out.extend(rest.to_lowercase()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_split() {
        assert_eq!(split_host_port("a.b:80"), Some(("a.b", "80")));
        assert_eq!(split_host_port("[::1]:80"), Some(("::1", "80")));
        assert_eq!(split_host_port(":80"), Some(("", "80")));
        for text in ["", "a", "a:b:c", "[::1]", "[::1", "[a]b:80", "a[:80", "a:8]"] {
            assert_eq!(split_host_port(text), None, "{text}");
        }
    }

    #[test]
    fn urls_have_paths() {
        assert_eq!(url_path("http://h:90/a%20b/c?x#y"), "/a b/c");
        assert_eq!(url_path("http://h"), "");
        assert_eq!(url_query_escape("a b&é~"), "a+b%26%C3%A9~");
    }
}
