//! The fields of a protobuf message, one after the other.
//!
//! Source: the protobuf encoding, wire types 0 (varint), 1 (64 bit), 2 (length-delimited) and
//! 5 (32 bit); groups (3, 4) are refused, as the messages here never had any.

use std::fmt;

use crate::encoding::cursor::{Cursor, CursorError};

/// Bytes that are no message of the expected kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WireError(pub String);

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for WireError {}

impl From<CursorError> for WireError {
    fn from(error: CursorError) -> Self {
        Self(error.to_string())
    }
}

/// A field's content.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// Wire type 0.
    Varint(u64),
    /// Wire type 1.
    Fixed64(u64),
    /// Wire type 2.
    Bytes(&'a [u8]),
    /// Wire type 5.
    Fixed32(u32),
}

impl<'a> Value<'a> {
    /// The bytes of a string, message or packed field.
    #[inline]
    pub fn bytes(self) -> Result<&'a [u8], WireError> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            other => Err(WireError(format!("expected a length-delimited field, found {other:?}"))),
        }
    }

    /// A `double`.
    #[inline]
    pub fn double(self) -> Result<f64, WireError> {
        match self {
            Self::Fixed64(bits) => Ok(f64::from_bits(bits)),
            other => Err(WireError(format!("expected a double, found {other:?}"))),
        }
    }

    /// An `int64`, two's complement in a varint.
    #[inline]
    pub fn int64(self) -> Result<i64, WireError> {
        match self {
            Self::Varint(value) => Ok(value as i64),
            other => Err(WireError(format!("expected a varint, found {other:?}"))),
        }
    }
}

/// Iterator over (field number, content) of one message.
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    cursor: Cursor<'a>,
}

impl<'a> Fields<'a> {
    /// The fields of `message`.
    #[inline]
    pub fn new(message: &'a [u8]) -> Self {
        Self { cursor: Cursor::new(message) }
    }

    #[inline]
    fn read(&mut self) -> Result<(u32, Value<'a>), WireError> {
        let key = self.cursor.uvarint()?;
        let number = u32::try_from(key >> 3)
            .ok()
            .filter(|&number| number > 0)
            .ok_or_else(|| WireError(format!("field number {} is out of range", key >> 3)))?;
        let value = match key & 7 {
            0 => Value::Varint(self.cursor.uvarint()?),
            1 => Value::Fixed64(self.cursor.u64()?),
            2 => {
                let length = self.cursor.uvarint()?;
                let length = usize::try_from(length)
                    .map_err(|_| WireError(format!("length {length} of field {number}")))?;
                Value::Bytes(self.cursor.bytes(length)?)
            }
            5 => Value::Fixed32(self.cursor.u32()?),
            wire_type => {
                return Err(WireError(format!("field {number} has wire type {wire_type}")));
            }
        };
        Ok((number, value))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Value<'a>), WireError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.cursor.is_empty() {
            return None;
        }
        let field = self.read();
        if field.is_err() {
            // An error ends the message: what follows cannot be told apart any more.
            self.cursor = Cursor::new(&[]);
        }
        Some(field)
    }
}

/// Writes a field key and a length-delimited content; for tests and clients.
pub fn write_bytes(number: u32, content: &[u8], out: &mut Vec<u8>) {
    write_varint(u64::from(number) << 3 | 2, out);
    write_varint(content.len() as u64, out);
    out.extend_from_slice(content);
}

/// Writes a `double` field.
pub fn write_double(number: u32, value: f64, out: &mut Vec<u8>) {
    write_varint(u64::from(number) << 3 | 1, out);
    out.extend_from_slice(&value.to_bits().to_le_bytes());
}

/// Writes a `fixed64` field.
pub fn write_fixed64(number: u32, value: u64, out: &mut Vec<u8>) {
    write_varint(u64::from(number) << 3 | 1, out);
    out.extend_from_slice(&value.to_le_bytes());
}

/// Writes a `fixed32` field.
pub fn write_fixed32(number: u32, value: u32, out: &mut Vec<u8>) {
    write_varint(u64::from(number) << 3 | 5, out);
    out.extend_from_slice(&value.to_le_bytes());
}

/// Writes an `int64` field.
pub fn write_int64(number: u32, value: i64, out: &mut Vec<u8>) {
    write_varint(u64::from(number) << 3, out);
    write_varint(value as u64, out);
}

/// Writes a bare varint, as packed fields hold them.
pub fn write_varint(value: u64, out: &mut Vec<u8>) {
    crate::encoding::varint::write_uvarint(out, value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_back_and_damage_is_an_error() {
        let mut message = Vec::new();
        write_bytes(1, b"abc", &mut message);
        write_double(2, 1.5, &mut message);
        write_int64(3, -7, &mut message);
        let fields: Vec<_> = Fields::new(&message).collect::<Result<_, _>>().expect("fields");
        assert_eq!(fields[0], (1, Value::Bytes(b"abc")));
        assert_eq!(fields[1].1.double(), Ok(1.5));
        assert_eq!(fields[2].1.int64(), Ok(-7));
        for cut in 1..message.len() {
            let fields: Vec<_> = Fields::new(&message[..cut]).collect();
            assert!(fields.len() <= 3, "an error ends the message");
        }
        // A length of 2^60 behind three bytes.
        assert!(
            Fields::new(&[0x0a, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10])
                .next()
                .is_some_and(|field| field.is_err())
        );
        assert!(Fields::new(&[0x0b]).next().is_some_and(|field| field.is_err()));
        assert!(Fields::new(&[0x00, 0x00]).next().is_some_and(|field| field.is_err()));
    }
}
