//! The names that a certificate speaks for: the extension `subjectAltName` of RFC 5280, read from
//! its DER.
//!
//! COMPAT: names are printed as Go prints them, so that `client_allowed_sans` matches alike.
//! Only what is needed on the way is looked at; whether the certificate is any good has been
//! checked by who verifies it.

use std::net::{Ipv4Addr, Ipv6Addr};

const SEQUENCE: u8 = 0x30;
const OCTET_STRING: u8 = 0x04;
const OBJECT_ID: u8 = 0x06;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
/// 2.5.29.17
const SUBJECT_ALT_NAME: [u8; 3] = [0x55, 0x1d, 0x11];
/// Fields of a certificate between its version and its extensions that are always there: serial
/// number, algorithm, issuer, validity, subject, public key.
const FIELDS_BEFORE: usize = 6;

/// Values of DER, one after the other.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// The next tag and content; `None` at the end and where the length is none.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (len, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81..=0x84 => {
                let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                (digits.iter().fold(0, |len, digit| len << 8 | usize::from(*digit)), rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(len)?;
        self.0 = rest;
        Some((tag, content))
    }

    /// The content of the next value, if it has this tag.
    fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next().filter(|(found, _)| *found == tag).map(|(_, content)| content)
    }
}

/// DNS names, mail addresses, IP addresses and URIs of a certificate in DER; `None` where that
/// is no certificate.
pub fn subject_names(certificate: &[u8]) -> Option<Vec<String>> {
    let mut outer = Reader(Reader(certificate).expect(SEQUENCE)?);
    let mut fields = Reader(outer.expect(SEQUENCE)?);
    if fields.0.first() == Some(&VERSION) {
        fields.next()?;
    }
    for _ in 0..FIELDS_BEFORE {
        fields.next()?;
    }
    while let Some((tag, content)) = fields.next() {
        if tag != EXTENSIONS {
            continue;
        }
        let mut extensions = Reader(Reader(content).expect(SEQUENCE)?);
        while let Some(extension) = extensions.expect(SEQUENCE) {
            let mut parts = Reader(extension);
            if parts.expect(OBJECT_ID)? != SUBJECT_ALT_NAME {
                continue;
            }
            let (mut tag, mut value) = parts.next()?;
            if tag != OCTET_STRING {
                // Whether it is critical stands first.
                (tag, value) = parts.next()?;
            }
            return (tag == OCTET_STRING).then(|| names(value)).flatten();
        }
    }
    Some(Vec::new())
}

fn names(value: &[u8]) -> Option<Vec<String>> {
    let mut names = Vec::new();
    let mut general = Reader(Reader(value).expect(SEQUENCE)?);
    while let Some((tag, content)) = general.next() {
        match tag {
            // Mail address, DNS name, URI.
            0x81 | 0x82 | 0x86 => names.extend(std::str::from_utf8(content).map(str::to_owned)),
            0x87 => names.extend(address(content)),
            _ => {}
        }
    }
    Some(names)
}

fn address(content: &[u8]) -> Option<String> {
    if let Ok(octets) = <[u8; 4]>::try_from(content) {
        return Some(Ipv4Addr::from(octets).to_string());
    }
    let octets = <[u8; 16]>::try_from(content).ok()?;
    Some(Ipv6Addr::from(octets).to_canonical().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let content = parts.concat();
        let len = content.len();
        let head = match u8::try_from(len) {
            Ok(len @ 0..=0x7f) => vec![tag, len],
            Ok(len) => vec![tag, 0x81, len],
            Err(_) => vec![tag, 0x82, (len >> 8) as u8, len as u8],
        };
        [head, content].concat()
    }

    fn certificate(names: &[Vec<u8>]) -> Vec<u8> {
        let names: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
        let list = value(SEQUENCE, &names);
        let critical: &[u8] = &[1, 1, 0xff];
        let (other, wanted) =
            (value(OBJECT_ID, &[&[1, 2]]), value(OBJECT_ID, &[&SUBJECT_ALT_NAME]));
        let first = value(SEQUENCE, &[&other, &value(OCTET_STRING, &[&[0; 200]])]);
        let second = value(SEQUENCE, &[&wanted, critical, &value(OCTET_STRING, &[&list])]);
        let extensions = value(EXTENSIONS, &[&value(SEQUENCE, &[&first, &second])]);
        let field: &[u8] = &[2, 1, 0];
        let version = value(VERSION, &[field]);
        let body =
            value(SEQUENCE, &[&version, field, field, field, field, field, field, &extensions]);
        value(SEQUENCE, &[&body, field])
    }

    #[test]
    fn names_are_found_behind_other_extensions() {
        let names = [
            value(0x82, &[b"a.example"]),
            value(0x81, &[b"m@a.example"]),
            value(0x86, &[b"spiffe://a/b"]),
            value(0x87, &[&[10, 0, 0, 1]]),
            value(0x87, &[&[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]]),
            value(0xa0, &[b"other"]),
        ];
        let der = certificate(&names);
        let expected = ["a.example", "m@a.example", "spiffe://a/b", "10.0.0.1", "2001:db8::1"];
        assert_eq!(subject_names(&der).unwrap(), expected);
        for len in 0..der.len() {
            // Cut anywhere, it is none or has fewer names; nothing breaks.
            assert!(subject_names(&der[..len]).is_none_or(|names| names.len() < 5));
        }
        assert_eq!(subject_names(b"no certificate"), None);
    }
}
