//! Messages of the domain name system (RFC 1035, 2782, 3596, 6891): questions written, answers
//! read.
//!
//! Answers come from outside: each length is checked against what is there, a name follows at
//! most [`JUMPS_MAX`] pointers and has at most [`NAME_BYTES_MAX`] bytes.

use std::fmt;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::config::DnsRecordType;

/// Pointers that are followed within one name.
const JUMPS_MAX: usize = 32;

/// Bytes of a name as text.
const NAME_BYTES_MAX: usize = 1024;

/// Bytes of an answer by UDP that we take.
pub(super) const UDP_BYTES_MAX: usize = 4096;

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The number of the question.
    pub id: u16,
    /// 0: the name exists; 3: it does not; others: the server cannot say.
    pub code: u8,
    /// There is more than fits; ask by TCP.
    pub is_truncated: bool,
    /// Name and type of the question, the name in lower case.
    pub question: Option<(String, u16)>,
    /// The records that answer.
    pub answers: Vec<Record>,
}

/// A record's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// An address of version 4.
    A(Ipv4Addr),
    /// An address of version 6.
    Aaaa(Ipv6Addr),
    /// A mail server.
    Mx(String),
    /// A name server.
    Ns(String),
    /// Host and port of a service.
    Srv(String, u16),
    /// Anything else: the type.
    Other(u16),
}

/// Bytes that are no answer: what is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum MessageError {
    /// They end too early.
    Short,
    /// A question instead of an answer.
    Question,
    /// A name that is none.
    Name,
    /// A record whose content is not what its type says.
    Content,
}

impl fmt::Display for MessageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Short => "the answer ends too early",
            Self::Question => "the answer is a question",
            Self::Name => "a name in the answer is malformed",
            Self::Content => "a record in the answer is malformed",
        })
    }
}

impl std::error::Error for MessageError {}

/// The number of a type.
pub(super) fn type_number(record_type: DnsRecordType) -> u16 {
    match record_type {
        DnsRecordType::A => 1,
        DnsRecordType::Ns => 2,
        DnsRecordType::Mx => 15,
        DnsRecordType::Aaaa => 28,
        DnsRecordType::Srv => 33,
    }
}

/// A question for the records of that type at `name`; `None` where that is no name. `is_large`
/// allows answers of [`UDP_BYTES_MAX`] bytes by UDP.
pub(super) fn write_question(
    id: u16,
    name: &str,
    record_type: DnsRecordType,
    is_large: bool,
) -> Option<Vec<u8>> {
    let mut out = id.to_be_bytes().to_vec();
    // Recursion is desired; one question; one additional record.
    out.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(is_large)]);
    let name = name.strip_suffix('.').unwrap_or(name);
    for label in name.split('.').filter(|_| !name.is_empty()) {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length))?;
        out.push(length);
        out.extend_from_slice(label.as_bytes());
    }
    if out.len() > 12 + 254 {
        return None;
    }
    out.push(0);
    out.extend_from_slice(&type_number(record_type).to_be_bytes());
    out.extend_from_slice(&[0, 1]);
    if is_large {
        let [high, low] = (UDP_BYTES_MAX as u16).to_be_bytes();
        out.extend_from_slice(&[0, 0, 41, high, low, 0, 0, 0, 0, 0, 0]);
    }
    Some(out)
}

/// Reads an answer.
pub fn parse_message(bytes: &[u8]) -> Result<Message, MessageError> {
    let mut reader = Reader { bytes, at: 0 };
    let id = reader.u16()?;
    let flags = reader.u16()?;
    if flags & 0x8000 == 0 {
        return Err(MessageError::Question);
    }
    let (questions, answers) = (reader.u16()?, reader.u16()?);
    reader.take(4)?;
    let mut question = None;
    for _ in 0..questions {
        let name = reader.name()?.to_ascii_lowercase();
        let kind = reader.u16()?;
        reader.take(2)?;
        question.get_or_insert((name, kind));
    }
    let mut message = Message {
        id,
        code: (flags & 0xf) as u8,
        is_truncated: flags & 0x0200 != 0,
        question,
        answers: Vec::new(),
    };
    for _ in 0..answers {
        match reader.record() {
            Ok(record) => message.answers.push(record),
            // A truncated answer may end anywhere.
            Err(_) if message.is_truncated => break,
            Err(error) => return Err(error),
        }
    }
    Ok(message)
}

#[derive(Debug, Clone, Copy)]
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], MessageError> {
        let taken = self.bytes.get(self.at..self.at.saturating_add(len));
        self.at = self.at.saturating_add(len);
        taken.ok_or(MessageError::Short)
    }

    fn u8(&mut self) -> Result<u8, MessageError> {
        Ok(self.take(1)?[0])
    }

    fn u16(&mut self) -> Result<u16, MessageError> {
        Ok(u16::from_be_bytes([self.u8()?, self.u8()?]))
    }

    /// A name as text, with its final dot.
    fn name(&mut self) -> Result<String, MessageError> {
        let mut out = String::new();
        let mut reader = *self;
        let mut jumps = 0;
        loop {
            let length = reader.u8()?;
            match length >> 6 {
                0 if length == 0 => break,
                0 => {
                    for &byte in reader.take(usize::from(length))? {
                        push_escaped(byte, &mut out);
                    }
                    out.push('.');
                    if out.len() > NAME_BYTES_MAX {
                        return Err(MessageError::Name);
                    }
                }
                3 => {
                    let low = reader.u8()?;
                    if jumps == 0 {
                        self.at = reader.at;
                    }
                    jumps += 1;
                    if jumps > JUMPS_MAX {
                        return Err(MessageError::Name);
                    }
                    reader.at = usize::from(length & 0x3f) << 8 | usize::from(low);
                }
                _ => return Err(MessageError::Name),
            }
        }
        if jumps == 0 {
            self.at = reader.at;
        }
        if out.is_empty() {
            out.push('.');
        }
        Ok(out)
    }

    fn record(&mut self) -> Result<Record, MessageError> {
        self.name()?;
        let kind = self.u16()?;
        self.take(6)?;
        let length = usize::from(self.u16()?);
        let mut content = *self;
        let bytes = self.take(length)?;
        let record = match kind {
            1 => Record::A(<[u8; 4]>::try_from(bytes).map_err(|_| MessageError::Content)?.into()),
            28 => {
                Record::Aaaa(<[u8; 16]>::try_from(bytes).map_err(|_| MessageError::Content)?.into())
            }
            2 => Record::Ns(content.name()?),
            15 => {
                content.take(2)?;
                Record::Mx(content.name()?)
            }
            33 => {
                content.take(4)?;
                let port = content.u16()?;
                Record::Srv(content.name()?, port)
            }
            other => return Ok(Record::Other(other)),
        };
        let has_name = matches!(kind, 2 | 15 | 33);
        if has_name && content.at != self.at {
            return Err(MessageError::Content);
        }
        Ok(record)
    }
}

/// As names are written in zone files.
fn push_escaped(byte: u8, out: &mut String) {
    match byte {
        b'.' | b'\\' | b'"' | b'(' | b')' | b';' | b' ' | b'@' | b'\'' => {
            out.push('\\');
            out.push(byte as char);
        }
        0x21..=0x7e => out.push(byte as char),
        _ => write!(out, "\\{byte:03}").expect("BUG: a String takes all text"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_point_back_and_not_in_circles() {
        let mut bytes = write_question(7, "a.bc", DnsRecordType::Srv, false).unwrap();
        bytes[2] = 0x81;
        bytes[7] = 1;
        bytes.extend_from_slice(&[0xc0, 12, 0, 33, 0, 1, 0, 0, 0, 9, 0, 10]);
        bytes.extend_from_slice(&[0, 1, 0, 2, 0x1f, 0x90, 1, b'x', 0xc0, 14]);
        let message = parse_message(&bytes).unwrap();
        assert_eq!(message.question, Some(("a.bc.".to_owned(), 33)));
        assert_eq!(message.answers, [Record::Srv("x.bc.".to_owned(), 8080)]);
        let circle = bytes.len() - 2;
        bytes[circle + 1] = circle as u8;
        assert_eq!(parse_message(&bytes), Err(MessageError::Name));
        for len in 0..bytes.len() {
            assert!(parse_message(&bytes[..len]).is_err(), "{len}");
        }
    }

    #[test]
    fn a_question_has_a_name() {
        assert!(write_question(1, "a..b", DnsRecordType::A, true).is_none());
        assert!(write_question(1, &"a".repeat(64), DnsRecordType::A, true).is_none());
        assert!(write_question(1, &"abcdefg.".repeat(40), DnsRecordType::A, true).is_none());
        let question = write_question(1, "a.", DnsRecordType::A, true).unwrap();
        assert_eq!(&question[..17], b"\0\x01\x01\0\0\x01\0\0\0\0\0\x01\x01a\0\0\x01");
        assert_eq!(parse_message(&question), Err(MessageError::Question));
    }
}
