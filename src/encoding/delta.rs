//! One value against the previous value of its series, byte-aligned and without state.
//!
//! The log writes its rows so: a reader that knows the series' previous value (or that there is
//! none) gets the value back in every bit. Mostly one to three bytes.
//!
//! | first byte | value |
//! |---|---|
//! | `0x00–0x7f` | integer delta, zigzag form 0–127 |
//! | `0x80–0xbf` | integer delta, zigzag form minus 128 in 14 bits: the low six bits, then a byte |
//! | `0xc0–0xd6` | exponent 0–22, then a uvarint: the zigzag delta of decimals at that exponent |
//! | `0xe0–0xe8` | 0–8 bytes follow: the zigzag delta of ordered bits, little-endian |
//! | `0xf0` | the staleness marker |
//! | `0xf1` | the ordinary NaN |
//!
//! A delta of integers or decimals counts from the previous value's decimal at the same exponent,
//! or from 0 where it has none there; a delta of ordered bits from the previous value's ordered
//! bits, or from those of `0.0`. Deltas wrap.

use super::cursor::{Cursor, CursorError};
use super::decimal::{self, EXPONENT_MAX};
use super::varint::{unzigzag, write_uvarint, zigzag};
use crate::model::{NORMAL_NAN_BITS, STALE_NAN_BITS};

const LONG: u8 = 0x80;
const DECIMAL: u8 = 0xc0;
const BITS: u8 = 0xe0;
const STALE: u8 = 0xf0;
const NAN: u8 = 0xf1;
/// Zigzag forms from here on do not fit the two-byte form.
const LONG_END: u64 = 128 + (1 << 14);

/// A delta that does not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeltaError {
    /// The bytes end early, or a number in them is too large.
    Bytes(CursorError),
    /// A first byte that stands for nothing, at this offset.
    UnknownToken {
        /// The byte.
        token: u8,
        /// Where it stands.
        offset: usize,
    },
}

impl From<CursorError> for DeltaError {
    fn from(error: CursorError) -> Self {
        Self::Bytes(error)
    }
}

impl std::fmt::Display for DeltaError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bytes(error) => error.fmt(f),
            Self::UnknownToken { token, offset } => {
                write!(f, "no value begins with byte {token:#04x}, which stands at {offset}")
            }
        }
    }
}

impl std::error::Error for DeltaError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Bytes(error) => Some(error),
            Self::UnknownToken { .. } => None,
        }
    }
}

/// The bits of a float as an integer that orders like the float (`-0.0` below `0.0`, NaN at the
/// ends), so that near values are near integers. An involution on bit patterns.
#[inline]
pub fn ordered_bits(value: f64) -> i64 {
    fold(value.to_bits() as i64)
}

/// Undoes [`ordered_bits`].
#[inline]
pub fn from_ordered_bits(ordered: i64) -> f64 {
    f64::from_bits(fold(ordered) as u64)
}

/// Flips all bits but the sign where the sign is set.
#[inline]
fn fold(bits: i64) -> i64 {
    bits ^ ((bits >> 63) & i64::MAX)
}

/// Bytes needed for `value` without leading zeros: 0 to 8.
#[inline]
pub fn byte_len(value: u64) -> usize {
    8 - value.leading_zeros() as usize / 8
}

/// Appends `value`; `previous` is what the reader will know.
pub fn write_value(previous: Option<f64>, value: f64, out: &mut Vec<u8>) {
    if let Some(int) = decimal::int_at(value, 0) {
        let zigzagged = zigzag(int.wrapping_sub(base_at(previous, 0)));
        if zigzagged < u64::from(LONG) {
            out.push(zigzagged as u8);
        } else if zigzagged < LONG_END {
            let rest = zigzagged - u64::from(LONG);
            out.extend_from_slice(&[LONG | (rest & 0x3f) as u8, (rest >> 6) as u8]);
        } else {
            out.push(DECIMAL);
            write_uvarint(out, zigzagged);
        }
    } else if let Some((int, exponent)) = decimal::shortest(value) {
        // A previous value of more digits gives the smaller delta at its own exponent, but finding
        // that costs more than the byte is worth.
        out.push(DECIMAL + exponent);
        write_uvarint(out, zigzag(int.wrapping_sub(base_at(previous, exponent))));
    } else {
        write_bits(previous, value, out);
    }
}

#[cold]
fn write_bits(previous: Option<f64>, value: f64, out: &mut Vec<u8>) {
    match value.to_bits() {
        STALE_NAN_BITS => out.push(STALE),
        NORMAL_NAN_BITS => out.push(NAN),
        _ => {
            let base = ordered_bits(previous.unwrap_or(0.0));
            let delta = zigzag(ordered_bits(value).wrapping_sub(base));
            let len = byte_len(delta);
            out.push(BITS + len as u8);
            out.extend_from_slice(&delta.to_le_bytes()[..len]);
        }
    }
}

/// Reads what [`write_value`] wrote with the same `previous`. After an error the cursor may stand
/// within the value.
pub fn read_value(previous: Option<f64>, cursor: &mut Cursor<'_>) -> Result<f64, DeltaError> {
    let offset = cursor.offset();
    let token = cursor.u8()?;
    let (zigzagged, exponent) = match token {
        ..LONG => (u64::from(token), 0),
        LONG..DECIMAL => {
            let high = u64::from(cursor.u8()?);
            (u64::from(LONG) + (high << 6 | u64::from(token & 0x3f)), 0)
        }
        _ if token - DECIMAL <= EXPONENT_MAX => (cursor.uvarint()?, token - DECIMAL),
        STALE => return Ok(f64::from_bits(STALE_NAN_BITS)),
        NAN => return Ok(f64::from_bits(NORMAL_NAN_BITS)),
        BITS..=0xe8 => {
            let delta = read_le(cursor.bytes(usize::from(token - BITS))?);
            let base = ordered_bits(previous.unwrap_or(0.0));
            return Ok(from_ordered_bits(base.wrapping_add(unzigzag(delta))));
        }
        _ => return Err(DeltaError::UnknownToken { token, offset }),
    };
    let int = base_at(previous, exponent).wrapping_add(unzigzag(zigzagged));
    Ok(decimal::to_f64(int, exponent))
}

/// A number of at most eight little-endian bytes.
#[inline]
pub fn read_le(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(word)
}

fn base_at(previous: Option<f64>, exponent: u8) -> i64 {
    previous.and_then(|value| decimal::int_at(value, exponent)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn round_trip(previous: Option<f64>, value: f64) -> usize {
        let mut out = vec![];
        write_value(previous, value, &mut out);
        let mut cursor = Cursor::new(&out);
        let read = read_value(previous, &mut cursor).unwrap();
        assert_eq!(read.to_bits(), value.to_bits(), "{previous:?} {value:?}");
        assert!(cursor.is_empty());
        out.len()
    }

    #[test]
    fn common_values_are_short() {
        assert_eq!(round_trip(Some(5.0), 5.0), 1);
        assert_eq!(round_trip(None, 63.0), 1);
        assert_eq!(round_trip(Some(1e9), 1e9 + 8000.0), 2);
        assert_eq!(round_trip(Some(1.5), 1.7), 2);
        assert_eq!(round_trip(Some(1.0), f64::from_bits(STALE_NAN_BITS)), 1);
        assert_eq!(round_trip(Some(1.0), f64::from_bits(NORMAL_NAN_BITS)), 1);
        let sum = 0.1 + 0.2;
        assert_eq!(round_trip(Some(sum), sum), 1);
        assert!(round_trip(Some(sum), sum * 1.001) <= 7);
    }

    #[test]
    fn unknown_tokens_are_refused() {
        for token in (0..=255).filter(|t| (0xd7..0xe0).contains(t) || *t == 0xe9 || *t > 0xf1) {
            let read = read_value(None, &mut Cursor::new(&[token, 0, 0, 0, 0, 0, 0, 0, 0, 0]));
            assert_eq!(read, Err(DeltaError::UnknownToken { token, offset: 0 }));
        }
    }

    fn any_value() -> impl Strategy<Value = f64> {
        prop_oneof![
            any::<u64>().prop_map(f64::from_bits),
            (any::<i64>(), 0_u32..63).prop_map(|(i, shift)| (i >> shift) as f64),
            (any::<i32>(), 0_u8..10).prop_map(|(i, e)| decimal::to_f64(i64::from(i), e)),
            Just(-0.0),
            Just(f64::INFINITY),
            Just(f64::from_bits(STALE_NAN_BITS)),
        ]
    }

    proptest! {
        #[test]
        fn every_value_comes_back(previous in prop::option::of(any_value()), value in any_value()) {
            prop_assert!(round_trip(previous, value) <= 10);
        }

        #[test]
        fn ordered_bits_order(a in any_value(), b in any_value()) {
            prop_assert_eq!(from_ordered_bits(ordered_bits(a)).to_bits(), a.to_bits());
            prop_assert_eq!(ordered_bits(a).cmp(&ordered_bits(b)), a.total_cmp(&b));
        }

        #[test]
        fn wild_bytes_do_not_panic(previous: Option<f64>, bytes: Vec<u8>) {
            let mut cursor = Cursor::new(&bytes);
            while read_value(previous, &mut cursor).is_ok() {}
        }
    }
}
