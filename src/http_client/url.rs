//! The part of URLs that HTTP requests need, escaped as Go's `net/url` escapes them.

use std::fmt;
use std::fmt::Write as _;

use crate::config::Secret;

/// An absolute `http` or `https` URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    is_https: bool,
    /// Host and port as written; the `Host` header.
    authority: Box<str>,
    /// Path and query, escaped; begins with `/`.
    target: Box<str>,
    /// `user:password`, still escaped. It is never printed.
    user_info: Option<Secret>,
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
        let is_https = scheme.eq_ignore_ascii_case("https");
        if !is_https && !scheme.eq_ignore_ascii_case("http") {
            return Err(UrlError(format!("unsupported protocol scheme {scheme:?}")));
        }
        let rest = rest.split('#').next().unwrap_or_default();
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        let (user_info, authority) = match authority.rsplit_once('@') {
            Some((user_info, authority)) => (Some(Secret::new(user_info)), authority),
            None => (None, authority),
        };
        if authority.is_empty() {
            return Err(UrlError("no Host in request URL".to_owned()));
        }
        let separator = if target.starts_with('/') { "" } else { "/" };
        let target = format!("{separator}{target}");
        let url = Self { is_https, authority: authority.into(), target: target.into(), user_info };
        url.host_and_port()?;
        if url.to_string().bytes().any(|b| b <= b' ' || b == 0x7f) {
            return Err(UrlError("invalid control character in URL".to_owned()));
        }
        Ok(url)
    }

    /// The URL that `location` names on a page of this one.
    pub fn join(&self, location: &str) -> Result<Self, UrlError> {
        let has_scheme = location.split(['/', '?', '#']).next().is_some_and(|s| s.contains(':'));
        if has_scheme {
            return Self::parse(location);
        }
        if let Some(rest) = location.strip_prefix("//") {
            return Self::parse(&format!("{}://{rest}", self.scheme()));
        }
        let path = self.target.split('?').next().unwrap_or_default();
        let target = match location.as_bytes().first() {
            Some(b'/') => location.to_owned(),
            Some(b'?') => format!("{path}{location}"),
            Some(b'#') | None => self.target.to_string(),
            Some(_) => {
                let parent = &path[..=path.rfind('/').unwrap_or(0)];
                format!("{parent}{location}")
            }
        };
        let joined = Self::parse(&format!("{}://{}{target}", self.scheme(), self.authority))?;
        Ok(Self { user_info: self.user_info.clone(), ..joined })
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> &'static str {
        if self.is_https { "https" } else { "http" }
    }

    /// Whether the connection is to be encrypted.
    pub fn is_https(&self) -> bool {
        self.is_https
    }

    /// Host and port as written.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Path and query.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// `user:password` as a pair, unescaped.
    pub fn user_info(&self) -> Option<(Secret, Secret)> {
        let user_info = self.user_info.as_ref()?.reveal();
        let (user, password) = user_info.split_once(':').unwrap_or((user_info, ""));
        let plain = |text: &str| {
            Secret::new(percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned())
        };
        Some((plain(user), plain(password)))
    }

    /// The host without brackets, and the port (the scheme's where none is written).
    pub fn host_and_port(&self) -> Result<(&str, u16), UrlError> {
        let authority = &*self.authority;
        let invalid = || UrlError(format!("invalid host {authority:?}"));
        let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
            let (host, tail) = rest.split_once(']').ok_or_else(invalid)?;
            (host, tail)
        } else {
            authority.split_at(authority.find(':').unwrap_or(authority.len()))
        };
        if host.is_empty() || host.contains(['[', ']', '/', '\\', '@']) {
            return Err(invalid());
        }
        let default = if self.is_https { 443 } else { 80 };
        match port.strip_prefix(':') {
            None if port.is_empty() => Ok((host, default)),
            Some("") => Ok((host, default)),
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
                let port = digits.parse();
                Ok((host, port.map_err(|_| UrlError(format!("invalid port {digits:?}")))?))
            }
            _ => Err(invalid()),
        }
    }

    /// The host without brackets.
    pub fn host(&self) -> &str {
        self.host_and_port().map_or("", |(host, _)| host)
    }

    /// Host and port, the port always written.
    pub fn full_authority(&self) -> String {
        let (host, port) = self.host_and_port().unwrap_or(("", 0));
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme(), self.authority, self.target)
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
            ("https://a/", "a", 443, "/"),
            ("http://u:p@a/", "a", 80, "/"),
        ] {
            let url = Url::parse(text).unwrap();
            assert_eq!(url.host_and_port(), Ok((host, port)), "{text}");
            assert_eq!(url.target(), target, "{text}");
        }
        for text in [
            "a:80",
            "ftp://a/",
            "http:///x",
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
            ("https://a/", "https://a/"),
            ("/z?u=http://b/", "http://a:1/z?u=http://b/"),
        ] {
            assert_eq!(url.join(location).unwrap().to_string(), expected);
        }
        assert!(url.join("ftp://a/").is_err());
    }

    #[test]
    fn passwords_are_kept_and_not_printed() {
        let url = Url::parse("https://u%40x:p%3A@a:1/b").unwrap();
        let (user, password) = url.user_info().unwrap();
        assert_eq!((user.reveal(), password.reveal()), ("u@x", "p:"));
        assert_eq!(url.to_string(), "https://a:1/b");
        assert!(!format!("{url:?}").contains("p%3A"), "{url:?}");
        assert!(url.join("/c").unwrap().user_info().is_some());
        assert_eq!(url.join("https://b/c").unwrap().user_info(), None);
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
