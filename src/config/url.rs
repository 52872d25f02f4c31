//! As much of a URL as the configuration's checks and its printed form need.

use crate::model::go_quote;

/// The parts of `scheme://user:password@host/…`; what is not there is empty.
pub(super) struct Parts<'a> {
    pub(super) scheme: &'a str,
    pub(super) user_info: &'a str,
    pub(super) host: &'a str,
}

pub(super) fn parts(url: &str) -> Parts<'_> {
    let scheme_end = url.find(|c: char| !(c.is_ascii_alphanumeric() || "+-.".contains(c)));
    let (scheme, rest) = match scheme_end {
        Some(at) if at > 0 && url[at..].starts_with(':') => (&url[..at], &url[at + 1..]),
        _ => ("", url),
    };
    let authority = rest
        .strip_prefix("//")
        .map_or("", |rest| &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())]);
    let (user_info, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    Parts { scheme, user_info, host }
}

/// Refuses what Go's parser refuses; the texts are Go's.
pub(super) fn check(url: &str) -> Result<(), String> {
    let refuse = |why: &str| Err(format!("parse {}: {why}", go_quote(url)));
    if url.bytes().any(|b| b < 0x20 || b == 0x7f) {
        return refuse("net/url: invalid control character in URL");
    }
    if url.starts_with(':') {
        return refuse("missing protocol scheme");
    }
    let parts = parts(url);
    if parts.scheme.is_empty() {
        let first = url.split('/').next().unwrap_or("");
        if first.contains(':') {
            return refuse("first path segment in URL cannot contain colon");
        }
    } else if !parts.scheme.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return refuse("first path segment in URL cannot contain colon");
    }
    if parts.host.contains(' ') {
        return refuse("invalid character \" \" in host name");
    }
    let after_address = parts.host.rsplit_once(']').map_or(parts.host, |(_, rest)| rest);
    if let Some((_, port)) = after_address.rsplit_once(':')
        && !port.bytes().all(|b| b.is_ascii_digit())
    {
        let why = format!("invalid port {} after host", go_quote(&format!(":{port}")));
        return refuse(&why);
    }
    let mut rest = url;
    while let Some(at) = rest.find('%') {
        let escape = rest[at..].get(..3).unwrap_or(&rest[at..]);
        if escape.len() < 3 || !escape.bytes().skip(1).all(|b| b.is_ascii_hexdigit()) {
            return refuse(&format!("invalid URL escape {}", go_quote(escape)));
        }
        rest = &rest[at + 3..];
    }
    Ok(())
}

/// The text with its password, if it has one, overwritten.
pub(super) fn redacted(url: &str) -> String {
    let user_info = parts(url).user_info;
    match user_info.split_once(':') {
        Some((user, _)) => url.replacen(user_info, &format!("{user}:xxxxx"), 1),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_overwritten() {
        assert_eq!(redacted("http://u:p@h:1/x"), "http://u:xxxxx@h:1/x");
        assert_eq!(redacted("http://h:1/x@y:z"), "http://h:1/x@y:z");
    }

    #[test]
    fn what_go_refuses_is_refused() {
        for url in ["http://a/b", "a/b", "//h", "", "http://[::1]:80/", "http://h:/", "mailto:x"] {
            assert_eq!(check(url), Ok(()), "{url}");
        }
        for url in [":x", "a:b/c\n", "1a://x", "http://h:x/", "http://h/%zz", "h:1\u{7f}"] {
            assert!(check(url).is_err(), "{url}");
        }
    }
}
