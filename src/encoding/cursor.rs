//! A checked little-endian reader over a byte slice.
//!
//! Every storage reader goes through it: nothing is read past the end, no length found in the
//! bytes is believed before that many bytes are there, and an error says at which byte it
//! happened. After an error the cursor stands where the failed item begins.

use std::fmt;

use super::varint::{VarintError, read_uvarint, unzigzag};

/// What a [`Cursor`] could not read. Offsets count from the start of the slice it was made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CursorError {
    /// The bytes end before the item does.
    UnexpectedEnd {
        /// Where the item begins.
        offset: usize,
    },
    /// A varint has more than 64 bits, or more than its place allows.
    NumberTooLarge {
        /// Where the number begins.
        offset: usize,
    },
    /// A string is not UTF-8.
    NotUtf8 {
        /// Where the string's length begins.
        offset: usize,
    },
    /// Bytes are left where none may be.
    TrailingBytes {
        /// Where they begin.
        offset: usize,
    },
}

impl CursorError {
    /// The byte at which reading failed.
    pub fn offset(&self) -> usize {
        match *self {
            Self::UnexpectedEnd { offset }
            | Self::NumberTooLarge { offset }
            | Self::NotUtf8 { offset }
            | Self::TrailingBytes { offset } => offset,
        }
    }

    /// What is wrong, without the place.
    pub fn what(&self) -> &'static str {
        match self {
            Self::UnexpectedEnd { .. } => "the bytes end early",
            Self::NumberTooLarge { .. } => "a number is too large",
            Self::NotUtf8 { .. } => "a string is not UTF-8",
            Self::TrailingBytes { .. } => "bytes are left over",
        }
    }
}

impl fmt::Display for CursorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.what(), self.offset())
    }
}

impl std::error::Error for CursorError {}

/// Reads items one after the other.
#[derive(Debug, Clone)]
pub struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

macro_rules! fixed_width {
    ($(#[$doc:meta])* $name:ident, $int:ty) => {
        $(#[$doc])*
        #[inline]
        pub fn $name(&mut self) -> Result<$int, CursorError> {
            Ok(<$int>::from_le_bytes(self.array()?))
        }
    };
}

impl<'a> Cursor<'a> {
    /// A cursor at the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// A cursor at `offset`; beyond the end is an error.
    pub fn at(bytes: &'a [u8], offset: usize) -> Result<Self, CursorError> {
        if offset > bytes.len() {
            return Err(CursorError::UnexpectedEnd { offset });
        }
        Ok(Self { bytes, at: offset })
    }

    /// How many bytes were read, and so where the next item begins.
    #[inline]
    pub fn offset(&self) -> usize {
        self.at
    }

    /// The bytes not yet read.
    #[inline]
    pub fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    /// Number of bytes not yet read.
    #[inline]
    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// Whether all bytes were read.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.remaining() == 0
    }

    /// Says no where bytes are left: the end of a record that must be read to its last byte.
    pub fn finish(&self) -> Result<(), CursorError> {
        if self.is_empty() { Ok(()) } else { Err(CursorError::TrailingBytes { offset: self.at }) }
    }

    /// The next `n` bytes.
    #[inline]
    pub fn bytes(&mut self, n: usize) -> Result<&'a [u8], CursorError> {
        let Some(taken) = self.rest().get(..n) else {
            return Err(CursorError::UnexpectedEnd { offset: self.at });
        };
        self.at += n;
        Ok(taken)
    }

    /// Moves on by `n` bytes.
    #[inline]
    pub fn skip(&mut self, n: usize) -> Result<(), CursorError> {
        self.bytes(n).map(drop)
    }

    /// The next `N` bytes by value.
    #[inline]
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], CursorError> {
        let Some(taken) = self.rest().first_chunk::<N>() else {
            return Err(CursorError::UnexpectedEnd { offset: self.at });
        };
        self.at += N;
        Ok(*taken)
    }

    fixed_width! {
        /// One byte.
        u8, u8
    }
    fixed_width! {
        /// Two bytes, little-endian.
        u16, u16
    }
    fixed_width! {
        /// Four bytes, little-endian.
        u32, u32
    }
    fixed_width! {
        /// Eight bytes, little-endian.
        u64, u64
    }
    fixed_width! {
        /// Eight bytes, little-endian, two's complement.
        i64, i64
    }

    /// Eight bytes: the bits of a float, every one of which is kept.
    #[inline]
    pub fn f64(&mut self) -> Result<f64, CursorError> {
        Ok(f64::from_bits(self.u64()?))
    }

    /// A LEB128 number.
    #[inline]
    pub fn uvarint(&mut self) -> Result<u64, CursorError> {
        match read_uvarint(self.rest()) {
            Ok((value, len)) => {
                self.at += len;
                Ok(value)
            }
            Err(VarintError::UnexpectedEnd) => Err(CursorError::UnexpectedEnd { offset: self.at }),
            Err(VarintError::TooLong) => Err(CursorError::NumberTooLarge { offset: self.at }),
        }
    }

    /// A LEB128 number of at most 32 bits.
    #[inline]
    pub fn uvarint_u32(&mut self) -> Result<u32, CursorError> {
        let offset = self.at;
        u32::try_from(self.uvarint()?).map_err(|_| {
            self.at = offset;
            CursorError::NumberTooLarge { offset }
        })
    }

    /// A LEB128 number that must be at most `max`: counts and lengths, before anything believes
    /// them.
    #[inline]
    pub fn uvarint_max(&mut self, max: usize) -> Result<usize, CursorError> {
        let offset = self.at;
        match usize::try_from(self.uvarint()?) {
            Ok(value) if value <= max => Ok(value),
            _ => {
                self.at = offset;
                Err(CursorError::NumberTooLarge { offset })
            }
        }
    }

    /// A zigzag LEB128 number.
    #[inline]
    pub fn varint(&mut self) -> Result<i64, CursorError> {
        self.uvarint().map(unzigzag)
    }

    /// A uvarint length and as many bytes.
    #[inline]
    pub fn sized_bytes(&mut self) -> Result<&'a [u8], CursorError> {
        let offset = self.at;
        let len = usize::try_from(self.uvarint()?).unwrap_or(usize::MAX);
        self.bytes(len).map_err(|_| {
            self.at = offset;
            CursorError::UnexpectedEnd { offset }
        })
    }

    /// A uvarint length and as many bytes of UTF-8.
    #[inline]
    pub fn str(&mut self) -> Result<&'a str, CursorError> {
        let offset = self.at;
        std::str::from_utf8(self.sized_bytes()?).map_err(|_| {
            self.at = offset;
            CursorError::NotUtf8 { offset }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::varint::{write_str, write_uvarint, write_varint};
    use proptest::prelude::*;

    #[test]
    fn items_come_back_in_order() {
        let mut out = vec![7, 0x34, 0x12];
        out.extend_from_slice(&0xdead_beef_u32.to_le_bytes());
        out.extend_from_slice(&u64::MAX.to_le_bytes());
        out.extend_from_slice(&(-5_i64).to_le_bytes());
        out.extend_from_slice(&0x7ff0_0000_0000_0002_u64.to_le_bytes());
        write_uvarint(&mut out, 300);
        write_varint(&mut out, -300);
        write_str(&mut out, "größe");
        let mut cursor = Cursor::new(&out);
        assert_eq!(cursor.u8(), Ok(7));
        assert_eq!(cursor.u16(), Ok(0x1234));
        assert_eq!(cursor.u32(), Ok(0xdead_beef));
        assert_eq!(cursor.u64(), Ok(u64::MAX));
        assert_eq!(cursor.i64(), Ok(-5));
        assert_eq!(cursor.f64().map(f64::to_bits), Ok(0x7ff0_0000_0000_0002));
        assert_eq!(cursor.uvarint(), Ok(300));
        assert_eq!(cursor.varint(), Ok(-300));
        assert_eq!(cursor.finish(), Err(CursorError::TrailingBytes { offset: 35 }));
        assert_eq!(cursor.str(), Ok("größe"));
        assert_eq!(cursor.finish(), Ok(()));
        assert_eq!(cursor.u8(), Err(CursorError::UnexpectedEnd { offset: out.len() }));
    }

    #[test]
    fn a_failed_item_leaves_the_cursor_before_it() {
        let bytes = [1, 200, 1, b'x', 2, 0xff, 0xfe];
        let mut cursor = Cursor::new(&bytes);
        assert_eq!(cursor.u8(), Ok(1));
        assert_eq!(cursor.sized_bytes(), Err(CursorError::UnexpectedEnd { offset: 1 }));
        assert_eq!(cursor.str(), Err(CursorError::UnexpectedEnd { offset: 1 }));
        assert_eq!(cursor.uvarint_max(199), Err(CursorError::NumberTooLarge { offset: 1 }));
        assert_eq!(cursor.u64(), Err(CursorError::UnexpectedEnd { offset: 1 }));
        assert_eq!(cursor.uvarint_max(200), Ok(200));
        assert_eq!(cursor.skip(1), Ok(()));
        assert_eq!(cursor.str(), Err(CursorError::NotUtf8 { offset: 4 }));
        assert_eq!(cursor.str().unwrap_err().to_string(), "a string is not UTF-8 at byte 4");
        assert!(Cursor::at(&bytes, 7).is_ok_and(|c| c.is_empty()));
        assert!(Cursor::at(&bytes, 8).is_err());
        let mut huge = vec![];
        write_uvarint(&mut huge, u64::MAX);
        assert!(Cursor::new(&huge).sized_bytes().is_err());
        assert!(Cursor::new(&huge).uvarint_u32().is_err());
        assert!(Cursor::new(&[0xff; 12]).uvarint().is_err_and(|e| e.offset() == 0));
    }

    proptest! {
        #[test]
        fn wild_bytes_do_not_panic(bytes: Vec<u8>, choices: Vec<u8>) {
            let mut cursor = Cursor::new(&bytes);
            for choice in choices {
                let before = cursor.offset();
                let failed = match choice % 9 {
                    0 => cursor.u8().is_err(),
                    1 => cursor.u16().is_err(),
                    2 => cursor.u64().is_err(),
                    3 => cursor.uvarint().is_err(),
                    4 => cursor.str().is_err(),
                    5 => cursor.bytes(usize::from(choice)).is_err(),
                    6 => cursor.uvarint_max(10).is_err(),
                    7 => cursor.uvarint_u32().is_err(),
                    _ => cursor.bytes(usize::MAX).is_err(),
                };
                prop_assert!(cursor.offset() <= bytes.len());
                prop_assert!(!failed || cursor.offset() == before);
            }
        }
    }
}
