//! Variable-length integers: LEB128, and zigzag for signed ones.
//!
//! A uvarint holds seven bits a byte, lowest first; the top bit says that more follow. At most
//! [`UVARINT_BYTES_MAX`] bytes, and the tenth may only be 0 or 1. Readers accept a longer spelling
//! of a small number; writers always give the shortest.

/// Bytes of the longest uvarint.
pub const UVARINT_BYTES_MAX: usize = 10;

/// Why a varint does not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VarintError {
    /// The bytes end before the number does.
    UnexpectedEnd,
    /// The number has more than 64 bits.
    TooLong,
}

/// Maps signed to unsigned so that numbers near zero stay small: 0, -1, 1, -2 … to 0, 1, 2, 3 …
#[inline]
pub const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// Undoes [`zigzag`].
#[inline]
pub const fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// Appends a uvarint.
#[inline]
pub fn write_uvarint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a varint: the zigzag form of `value` as a uvarint.
#[inline]
pub fn write_varint(out: &mut Vec<u8>, value: i64) {
    write_uvarint(out, zigzag(value));
}

/// Appends `text` as its length in bytes (uvarint) and the bytes.
#[inline]
pub fn write_str(out: &mut Vec<u8>, text: &str) {
    write_bytes(out, text.as_bytes());
}

/// Appends `bytes` as their number (uvarint) and themselves.
#[inline]
pub fn write_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    write_uvarint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Number of bytes that [`write_uvarint`] takes for `value`.
#[inline]
pub const fn uvarint_len(value: u64) -> usize {
    let bits = 64 - (value | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

/// Reads a uvarint at the start of `bytes`: the number, and how many bytes it took.
#[inline]
pub fn read_uvarint(bytes: &[u8]) -> Result<(u64, usize), VarintError> {
    match bytes.first() {
        Some(&byte) if byte < 0x80 => Ok((u64::from(byte), 1)),
        _ => read_uvarint_long(bytes),
    }
}

fn read_uvarint_long(bytes: &[u8]) -> Result<(u64, usize), VarintError> {
    let mut value = 0_u64;
    for (i, &byte) in bytes.iter().take(UVARINT_BYTES_MAX).enumerate() {
        if i == UVARINT_BYTES_MAX - 1 && byte > 1 {
            return Err(VarintError::TooLong);
        }
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte < 0x80 {
            return Ok((value, i + 1));
        }
    }
    Err(VarintError::UnexpectedEnd)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn limits_are_kept() {
        let mut out = Vec::new();
        write_uvarint(&mut out, u64::MAX);
        assert_eq!(out.len(), UVARINT_BYTES_MAX);
        assert_eq!(read_uvarint(&out), Ok((u64::MAX, 10)));
        assert_eq!(read_uvarint(&out[..9]), Err(VarintError::UnexpectedEnd));
        assert_eq!(read_uvarint(&[]), Err(VarintError::UnexpectedEnd));
        out[9] = 2;
        assert_eq!(read_uvarint(&out), Err(VarintError::TooLong));
        assert_eq!(read_uvarint(&[0xff; 20]), Err(VarintError::TooLong));
        assert_eq!(read_uvarint(&[0x85, 0x00, 7]), Ok((5, 2)));
    }

    #[test]
    fn zigzag_keeps_small_numbers_small() {
        let pairs = [(0, 0), (-1, 1), (1, 2), (-2, 3), (i64::MAX, u64::MAX - 1)];
        for (signed, unsigned) in pairs {
            assert_eq!(zigzag(signed), unsigned);
            assert_eq!(unzigzag(unsigned), signed);
        }
        assert_eq!(zigzag(i64::MIN), u64::MAX);
    }

    proptest! {
        #[test]
        fn every_number_comes_back(value: u64, shift in 0_u32..64) {
            let value = value >> shift;
            let mut out = vec![];
            write_uvarint(&mut out, value);
            prop_assert_eq!(out.len(), uvarint_len(value));
            prop_assert_eq!(read_uvarint(&out), Ok((value, out.len())));
            prop_assert_eq!(zigzag(unzigzag(value)), value);
        }

        #[test]
        fn wild_bytes_do_not_panic(bytes: Vec<u8>) {
            if let Ok((_, len)) = read_uvarint(&bytes) {
                prop_assert!(len >= 1 && len <= bytes.len());
            }
        }
    }
}
