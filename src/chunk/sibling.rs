//! Chunks as differences to a chunk that lies before them: buckets of one histogram, counters
//! that go in step.
//!
//! The difference is one of integers, those that a payload of decimals is made of: so a chain of
//! siblings is walked in integers, and only its end becomes floats. Where the sibling lies is said
//! by how many bytes before this payload it ends, and by its length, so whoever has the bytes of
//! both finds it; a sibling always lies before, so no chain runs in a circle. This module neither
//! follows chains nor limits them: that is for whoever holds the bytes.

use std::ops::Range;

use super::decode::{check_high_bits, patch, read_exponent, skip_exceptions};
use super::encode::{Decimals, write_decimal_head};
use super::ints::{self, Stream};
use super::{ChunkError, Coder, check_count, kind};
use crate::encoding::cursor::Cursor;
use crate::encoding::decimal;
use crate::encoding::varint::write_uvarint;

/// Where the sibling of a chunk lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sibling {
    /// Bytes between its end and the start of the chunk that depends on it.
    pub gap: u64,
    /// Its length in bytes.
    pub len: u32,
}

/// Whether `payload` may depend on a sibling, as far as its first byte tells.
pub fn may_depend(payload: &[u8]) -> bool {
    payload.first().is_some_and(|first| matches!(first & kind::MASK, kind::BESIDE | kind::EXCEPT))
}

impl Sibling {
    /// The sibling that `payload` depends on, if it does; the chunk has `n` values.
    pub fn of(payload: &[u8], n: usize) -> Result<Option<Self>, ChunkError> {
        // Most payloads are of other kinds, and are not looked into.
        if !may_depend(payload) {
            return Ok(None);
        }
        check_count(n)?;
        Ok(Integers::begin(payload, n)?.and_then(|integers| integers.sibling))
    }
}

impl Decimals {
    /// Appends the payload of the values as differences to the integers `base` of a sibling, of
    /// which there are as many.
    pub fn write_beside(&self, base: &[i64], sibling: Sibling, coder: Coder, out: &mut Vec<u8>) {
        assert_eq!(base.len(), self.ints.len(), "BUG: siblings have as many values");
        if self.exceptions.values() > 0 {
            out.push(kind::EXCEPT);
            self.exceptions.write(out);
        }
        write_decimal_head(kind::BESIDE, self.exponent, out);
        write_uvarint(out, sibling.gap);
        write_uvarint(out, u64::from(sibling.len));
        let differences: Vec<i64> =
            self.ints.iter().zip(base).map(|(own, base)| own.wrapping_sub(*base)).collect();
        ints::encode(&differences, coder, out);
    }
}

/// Appends the first `until` integers of `payload`, a chunk of `n` decimals, to `out`. `base` are
/// as many or more of its sibling's, where it has one. After an error `out` is as before.
///
/// # Panics
/// If `until` is above `n`: the caller's bug.
pub fn read_integers(
    payload: &[u8],
    n: usize,
    until: usize,
    base: &[i64],
    out: &mut Vec<i64>,
) -> Result<(), ChunkError> {
    check_count(n)?;
    assert!(until <= n, "BUG: more integers than the chunk has");
    let Some(mut integers) = Integers::begin(payload, n)? else {
        return Err(ChunkError::Corrupt("a sibling that holds no integers"));
    };
    if integers.sibling.is_some() && base.len() < until {
        return Err(ChunkError::Corrupt("a difference without its sibling"));
    }
    let before = out.len();
    let result = integers.read(until, base, out);
    if result.is_err() {
        out.truncate(before);
    }
    result
}

/// Appends the values of `range` to `out`, made of the integers of `payload`, of which `integers`
/// has those up to the range's end or more. After an error `out` is as before.
///
/// # Panics
/// If `range` is none of the integers: the caller's bug.
pub fn integers_to_values(
    payload: &[u8],
    n: usize,
    integers: &[i64],
    range: Range<usize>,
    out: &mut Vec<f64>,
) -> Result<(), ChunkError> {
    check_count(n)?;
    let Some(head) = Integers::begin(payload, n)? else {
        return Err(ChunkError::Corrupt("a chunk that holds no integers"));
    };
    let before = out.len();
    let integers = &integers[range.clone()];
    match head.exponent {
        0 => out.extend(integers.iter().map(|int| *int as f64)),
        exponent => {
            let power = decimal::power(exponent);
            out.extend(integers.iter().map(|int| *int as f64 / power));
        }
    }
    match head.exceptions {
        Some(list) => patch(list, n, &range, &mut out[before..]),
        None => Ok(()),
    }
}

/// A payload whose integers can be read.
struct Integers<'a> {
    /// Stands at the stream.
    cursor: Cursor<'a>,
    n: usize,
    exponent: u8,
    exceptions: Option<Cursor<'a>>,
    sibling: Option<Sibling>,
}

impl<'a> Integers<'a> {
    /// `None` where the payload is of a kind that is not made of integers at one exponent.
    fn begin(payload: &'a [u8], n: usize) -> Result<Option<Self>, ChunkError> {
        let mut cursor = Cursor::new(payload);
        let mut first = cursor.u8()?;
        check_high_bits(first)?;
        let mut exceptions = None;
        if first & kind::MASK == kind::EXCEPT {
            exceptions = Some(skip_exceptions(&mut cursor, n)?);
            first = cursor.u8()?;
            check_high_bits(first)?;
        }
        let kind = first & kind::MASK;
        if !matches!(kind, kind::DECIMAL | kind::DECIMAL_EXCEPT | kind::BESIDE) {
            return Ok(None);
        }
        let exponent = read_exponent(first, &mut cursor)?;
        if kind == kind::DECIMAL_EXCEPT {
            if exceptions.is_some() {
                return Err(ChunkError::NeedsNewerReader(first));
            }
            exceptions = Some(skip_exceptions(&mut cursor, n)?);
        }
        let sibling = if kind == kind::BESIDE {
            Some(Sibling { gap: cursor.uvarint()?, len: cursor.uvarint_u32()? })
        } else {
            None
        };
        Ok(Some(Self { cursor, n, exponent, exceptions, sibling }))
    }

    fn read(&mut self, until: usize, base: &[i64], out: &mut Vec<i64>) -> Result<(), ChunkError> {
        out.reserve(until);
        let stream = Stream::read(&mut self.cursor)?;
        if self.sibling.is_none() {
            stream.values(&mut self.cursor, until, self.n, |ints| out.extend_from_slice(ints))?;
        } else {
            let mut rest = &base[..until];
            stream.values(&mut self.cursor, until, self.n, |ints| {
                let (now, later) = rest.split_at(ints.len());
                out.extend(ints.iter().zip(now).map(|(own, base)| own.wrapping_add(*base)));
                rest = later;
            })?;
        }
        if until == self.n { Ok(self.cursor.finish()?) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::{decode_values, decode_values_range, encode_values};
    use crate::model::STALE_NAN_BITS;
    use proptest::prelude::*;

    fn bits(values: &[f64]) -> Vec<u64> {
        values.iter().map(|value| value.to_bits()).collect()
    }

    /// Writes `values` beside `base`, which is decimals too, and reads every range back.
    fn round_trip(values: &[f64], base: &[f64], coder: Coder) -> Vec<u8> {
        let n = values.len();
        let own = Decimals::of(values).unwrap();
        let base = Decimals::of(base).unwrap();
        let place = Sibling { gap: 300, len: 77 };
        let mut payload = vec![];
        own.write_beside(base.ints(), place, coder, &mut payload);
        assert_eq!(Sibling::of(&payload, n), Ok(Some(place)));
        for range in [0..n, n / 3..n / 2, n - 1..n, 0..1] {
            let mut ints = vec![];
            let base = &base.ints()[..range.end];
            read_integers(&payload, n, range.end, base, &mut ints).unwrap();
            let mut read = vec![1.0];
            integers_to_values(&payload, n, &ints, range.clone(), &mut read).unwrap();
            assert_eq!(bits(&read[1..]), bits(&values[range]));
        }
        payload
    }

    fn counter(n: u64, scale: f64) -> Vec<f64> {
        let mut sum = 0;
        let step = |i: u64| i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 59;
        (0..n)
            .map(|i| {
                sum += step(i);
                sum as f64 * scale
            })
            .collect()
    }

    #[test]
    fn what_goes_in_step_takes_a_few_bytes() {
        let base = counter(480, 1.0);
        let shifted: Vec<f64> = base.iter().map(|v| v + 1e9).collect();
        assert!(round_trip(&shifted, &base, Coder::Dense).len() <= 10);
        let mut stale = shifted.clone();
        stale[479] = f64::from_bits(STALE_NAN_BITS);
        assert!(round_trip(&stale, &base, Coder::Dense).len() <= 30);
        assert!(round_trip(&base, &stale, Coder::Fast).len() <= 30);
    }

    #[test]
    fn other_kinds_have_no_sibling_and_no_integers() {
        let n = 480;
        let random: Vec<f64> = counter(n, 1.0).iter().map(|v| v.sqrt()).collect();
        for values in [random, vec![0.1 + 0.2; n as usize]] {
            let mut payload = vec![];
            encode_values(&values, Coder::Dense, &mut payload);
            assert_eq!(Sibling::of(&payload, n as usize), Ok(None));
            assert!(read_integers(&payload, n as usize, 1, &[], &mut vec![]).is_err());
        }
    }

    #[test]
    fn a_chunk_without_its_sibling_is_refused() {
        let base = counter(480, 1.0);
        let payload = round_trip(&counter(480, 3.0), &base, Coder::Dense);
        assert!(decode_values(&payload, 480, &mut vec![]).is_err());
        assert!(decode_values_range(&payload, 480, 0..0, &mut vec![]).is_err());
        let mut ints = vec![];
        assert!(read_integers(&payload, 480, 480, &[0; 479], &mut ints).is_err());
        assert!(
            read_integers(&payload[..payload.len() - 1], 480, 480, &[0; 480], &mut ints).is_err()
        );
        assert!(ints.is_empty());
    }

    proptest! {
        #[test]
        fn every_pair_comes_back(
            pairs in prop::collection::vec((any::<i32>(), any::<i32>()), 1..300),
            shift in 0_u32..31, exponents in (0_i32..4, 0_i32..4), dense: bool,
            stray in prop::option::of((any::<prop::sample::Index>(), any::<u64>())),
        ) {
            let coder = if dense { Coder::Dense } else { Coder::Fast };
            let value = |int: i32, e: i32| f64::from(int >> shift) / 10_f64.powi(e);
            let (mut own, base): (Vec<f64>, Vec<f64>) = pairs
                .iter()
                .map(|(a, b)| (value(*a, exponents.0), value(*b, exponents.1)))
                .unzip();
            if let (Some((at, bits)), true) = (stray, own.len() >= 24) {
                let n = own.len();
                own[at.index(n)] = f64::from_bits(bits);
            }
            round_trip(&own, &base, coder);
        }

        #[test]
        fn wild_bytes_give_integers_or_an_error(
            first in 0_u8..0x40, bytes: Vec<u8>, n in 1_usize..300, base in 0_usize..300,
        ) {
            let mut payload = vec![first];
            payload.extend(bytes);
            let _ = Sibling::of(&payload, n);
            let mut ints = vec![];
            if read_integers(&payload, n, n, &vec![5; base], &mut ints).is_ok() {
                prop_assert_eq!(ints.len(), n);
                let mut values = vec![];
                prop_assert!(integers_to_values(&payload, n, &ints, 0..n, &mut values).is_ok());
                prop_assert_eq!(values.len(), n);
            } else {
                prop_assert!(ints.is_empty());
            }
        }
    }
}
