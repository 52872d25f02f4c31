//! Text made safe within HTML and JavaScript, as the functions `html` and `js` do it.
//!
//! COMPAT: Go's `HTMLEscapeString` and `JSEscapeString`.

use std::fmt::Write as _;

use crate::promql::quote::code_point;

pub(super) fn escape_html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\0' => out.push('\u{fffd}'),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            _ => out.push(c),
        }
    }
    out
}

pub(super) fn escape_js(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\'' => out.push_str("\\'"),
            '"' => out.push_str("\\\""),
            '<' => out.push_str("\\u003C"),
            '>' => out.push_str("\\u003E"),
            '&' => out.push_str("\\u0026"),
            '=' => out.push_str("\\u003D"),
            '\0'..' ' => {
                write!(out, "\\u{:04X}", u32::from(c)).expect("BUG: a String takes all text");
            }
            '\u{80}'.. if !code_point(c).ends_with('\'') => {
                write!(out, "\\u{:04X}", u32::from(c)).expect("BUG: a String takes all text");
            }
            _ => out.push(c),
        }
    }
    out
}
