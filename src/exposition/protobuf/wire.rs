//! Fields of the client data model's protobuf messages.
//!
//! Source: the protobuf encoding, wire types 0 (varint), 1 (64 bit), 2 (length-delimited) and
//! 5 (32 bit). Groups are refused, as these messages never had any.

use crate::encoding::cursor::Cursor;
use crate::exposition::ParseError;

/// A field's content.
#[derive(Debug, Clone, Copy)]
pub(super) enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32,
}

pub(super) fn error(text: impl Into<String>) -> ParseError {
    ParseError::Message(text.into())
}

fn cut_short() -> ParseError {
    error("unexpected EOF")
}

impl<'a> Value<'a> {
    fn wrong(self, field: &str) -> ParseError {
        let wire_type = match self {
            Self::Varint(_) => 0,
            Self::Fixed64(_) => 1,
            Self::Bytes(_) => 2,
            Self::Fixed32 => 5,
        };
        error(format!("proto: wrong wireType = {wire_type} for field {field}"))
    }

    pub(super) fn bytes(self, field: &str) -> Result<&'a [u8], ParseError> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            other => Err(other.wrong(field)),
        }
    }

    pub(super) fn double(self, field: &str) -> Result<f64, ParseError> {
        match self {
            Self::Fixed64(bits) => Ok(f64::from_bits(bits)),
            other => Err(other.wrong(field)),
        }
    }

    pub(super) fn varint(self, field: &str) -> Result<u64, ParseError> {
        match self {
            Self::Varint(value) => Ok(value),
            other => Err(other.wrong(field)),
        }
    }

    /// Each number of a field that may be packed.
    pub(super) fn varints(self, field: &str, mut each: impl FnMut(u64)) -> Result<(), ParseError> {
        match self {
            Self::Varint(value) => each(value),
            Self::Bytes(packed) => {
                let mut packed = Cursor::new(packed);
                while !packed.is_empty() {
                    each(packed.uvarint().map_err(|_| cut_short())?);
                }
            }
            other => return Err(other.wrong(field)),
        }
        Ok(())
    }

    /// Each number of a field that may be packed.
    pub(super) fn doubles(self, field: &str, out: &mut Vec<f64>) -> Result<(), ParseError> {
        match self {
            Self::Fixed64(bits) => out.push(f64::from_bits(bits)),
            Self::Bytes(packed) => {
                let mut packed = Cursor::new(packed);
                while !packed.is_empty() {
                    out.push(packed.f64().map_err(|_| cut_short())?);
                }
            }
            other => return Err(other.wrong(field)),
        }
        Ok(())
    }
}

/// The fields of a message, one after the other: number and content.
#[derive(Debug)]
pub(super) struct Fields<'a>(Cursor<'a>);

impl<'a> Fields<'a> {
    pub(super) fn new(message: &'a [u8]) -> Self {
        Self(Cursor::new(message))
    }

    /// The next one; `None` at the end.
    #[inline]
    pub(super) fn next(&mut self) -> Result<Option<(u32, Value<'a>)>, ParseError> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let key = self.0.uvarint().map_err(|_| cut_short())?;
        let number = u32::try_from(key >> 3).ok().filter(|&number| number > 0);
        let Some(number) = number else {
            let (tag, wire_type) = (key >> 3, key & 7);
            return Err(error(format!("proto: illegal tag {tag} (wire type {wire_type})")));
        };
        let value = match key & 7 {
            0 => Value::Varint(self.0.uvarint().map_err(|_| cut_short())?),
            1 => Value::Fixed64(self.0.u64().map_err(|_| cut_short())?),
            2 => {
                let len = self.0.uvarint().map_err(|_| cut_short())?;
                let len = usize::try_from(len).map_err(|_| cut_short())?;
                Value::Bytes(self.0.bytes(len).map_err(|_| cut_short())?)
            }
            5 => {
                self.0.u32().map_err(|_| cut_short())?;
                Value::Fixed32
            }
            wire_type => return Err(error(format!("proto: illegal wireType {wire_type}"))),
        };
        Ok(Some((number, value)))
    }
}
