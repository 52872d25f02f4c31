//! The part of URLs that scraping needs, escaped as Go's `net/url` escapes them.

use std::fmt;
use std::fmt::Write as _;

/// An absolute `http` URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    /// Host and port as written; the `Host` header.
    authority: String,
    /// Path and query, escaped; begins with `/`.
    target: String,
}

/// Text that is no URL this client can fetch: what is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UrlError(pub String);

impl fmt::Display for UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UrlError {}

impl Url {
    /// Reads an absolute URL.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let (scheme, rest) = text
            .split_once("://")
            .ok_or_else(|| UrlError(format!("unsupported protocol scheme in {text:?}")))?;
        if scheme.eq_ignore_ascii_case("https") {
            return Err(UrlError("https is not supported yet".to_owned()));
        }
        if !scheme.eq_ignore_ascii_case("http") {
            return Err(UrlError(format!("unsupported protocol scheme {scheme:?}")));
        }
        let rest = rest.split('#').next().unwrap_or_default();
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        if authority.is_empty() {
            return Err(UrlError("no Host in request URL".to_owned()));
        }
        if authority.contains('@') {
            return Err(UrlError("user information in a URL is not supported".to_owned()));
        }
        let separator = if target.starts_with('/') { "" } else { "/" };
        let target = format!("{separator}{target}");
        let url = Self { authority: authority.to_owned(), target };
        url.host_and_port()?;
        if url.to_string().bytes().any(|b| b <= b' ' || b == 0x7f) {
            return Err(UrlError("invalid control character in URL".to_owned()));
        }
        Ok(url)
    }

    /// The URL that `location` names on a page of this one.
    pub fn join(&self, location: &str) -> Result<Self, UrlError> {
        if location.contains("://") {
            return Self::parse(location);
        }
        if let Some(rest) = location.strip_prefix("//") {
            return Self::parse(&format!("http://{rest}"));
        }
        let path = self.target.split('?').next().unwrap_or_default();
        let target = match location.as_bytes().first() {
            Some(b'/') => location.to_owned(),
            Some(b'?') => format!("{path}{location}"),
            Some(b'#') | None => self.target.clone(),
            Some(_) => {
                let parent = &path[..=path.rfind('/').unwrap_or(0)];
                format!("{parent}{location}")
            }
        };
        Self::parse(&format!("http://{}{target}", self.authority))
    }

    /// Host and port as written.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Path and query.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// The host without brackets, and the port (80 where none is written).
    pub fn host_and_port(&self) -> Result<(&str, u16), UrlError> {
        let authority = self.authority.as_str();
        let invalid = || UrlError(format!("invalid host {authority:?}"));
        let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
            let (host, tail) = rest.split_once(']').ok_or_else(invalid)?;
            (host, tail)
        } else {
            authority.split_at(authority.find(':').unwrap_or(authority.len()))
        };
        if host.is_empty() || host.contains(['[', ']', '/', '\\']) {
            return Err(invalid());
        }
        match port.strip_prefix(':') {
            None if port.is_empty() => Ok((host, 80)),
            Some("") => Ok((host, 80)),
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
                let port = digits.parse();
                Ok((host, port.map_err(|_| UrlError(format!("invalid port {digits:?}")))?))
            }
            _ => Err(invalid()),
        }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority, self.target)
    }
}

/// A path with everything escaped that Go escapes in one; it begins with `/`.
pub fn escape_path(path: &str) -> String {
    let mut out = String::with_capacity(path.len() + 1);
    if !path.starts_with('/') {
        out.push('/');
    }
    escape(path, b"$&+,/:;=@", &mut out);
    out
}

/// `name=value` pairs, sorted by name (values keep their order), escaped as a form.
pub fn encode_query(parameters: &[(String, Vec<String>)]) -> String {
    let mut sorted: Vec<_> = parameters.iter().collect();
    sorted.sort_by(|a, b| a.0.cmp(&b.0));
    let mut out = String::new();
    for (name, values) in sorted {
        for value in values {
            if !out.is_empty() {
                out.push('&');
            }
            escape(name, b" ", &mut out);
            out.push('=');
            escape(value, b" ", &mut out);
        }
    }
    out
}

/// Appends `text`; of the ASCII marks those in `kept` stay, a kept blank becomes `+`.
fn escape(text: &str, kept: &[u8], out: &mut String) {
    for byte in text.bytes() {
        match byte {
            b' ' if kept.contains(&b' ') => out.push('+'),
            _ if byte.is_ascii_alphanumeric()
                || b"-_.~".contains(&byte)
                || kept.contains(&byte) =>
            {
                out.push(byte as char);
            }
            _ => write!(out, "%{byte:02X}").expect("BUG: a String takes all text"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        for (text, host, port, target) in [
            ("http://a", "a", 80, "/"),
            ("http://a:9100/metrics", "a", 9100, "/metrics"),
            ("HTTP://[::1]:9090/m?x=1#f", "::1", 9090, "/m?x=1"),
            ("http://a?x", "a", 80, "/?x"),
        ] {
            let url = Url::parse(text).unwrap();
            assert_eq!(url.host_and_port(), Ok((host, port)), "{text}");
            assert_eq!(url.target(), target, "{text}");
        }
        for text in [
            "a:80",
            "https://a/",
            "ftp://a/",
            "http:///x",
            "http://u:p@a/",
            "http://a:b/",
            "http://a:99999/",
            "http://[::1/",
            "http://a/ b",
        ] {
            assert!(Url::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn locations_are_resolved() {
        let url = Url::parse("http://a:1/x/y?q=1").unwrap();
        for (location, expected) in [
            ("/z", "http://a:1/z"),
            ("z?r", "http://a:1/x/z?r"),
            ("?r", "http://a:1/x/y?r"),
            ("//b/z", "http://b/z"),
            ("http://c/d", "http://c/d"),
            ("", "http://a:1/x/y?q=1"),
        ] {
            assert_eq!(url.join(location).unwrap().to_string(), expected);
        }
        assert!(url.join("https://a/").is_err());
    }

    #[test]
    fn escapes_are_those_of_go() {
        assert_eq!(escape_path("m/ü?x=(1)!"), "/m/%C3%BC%3Fx=%281%29%21");
        let pairs = [
            ("match[]".to_owned(), vec!["a b".to_owned(), "c~&".to_owned()]),
            ("a".to_owned(), vec![String::new()]),
        ];
        assert_eq!(encode_query(&pairs), "a=&match%5B%5D=a+b&match%5B%5D=c~%26");
    }
}
