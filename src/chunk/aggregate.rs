//! What the values of a chunk come to, so that long windows need not decode them.
//!
//! Only chunks of finite floats that are not all equal have an entry of their own; what a constant
//! comes to is told by its payload. Numbers are kept as integers of the chunk's decimals, so a
//! sum is exact and few bytes long. Bytes: `storage-format.md`, section 8.7.

use super::ChunkError;
use super::encode::Decimals;
use crate::encoding::cursor::Cursor;
use crate::encoding::decimal::{self, EXPONENT_MAX, INT_BOUND};
use crate::encoding::varint::{write_uvarint, write_varint};

const NONE: u8 = 0;
const DECIMAL: u8 = 1;
const FLOAT: u8 = 2;
const KIND_MASK: u8 = 3;
const RISES: u8 = 1 << 2;
const ENDS_SERIES: u8 = 1 << 3;
const EXPONENT_SHIFT: u8 = 4;
const EXPONENT_APART: u8 = 15;

/// What finite values in the order of time come to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Aggregate {
    /// Number of values, at least 1.
    pub count: u32,
    /// The first value.
    pub first: f64,
    /// The last value.
    pub last: f64,
    /// The least value; of equal ones (the two zeros) the first.
    pub min: f64,
    /// The greatest value; likewise.
    pub max: f64,
    /// How many values are below the one before.
    pub resets: u32,
    /// The sum of the values before each of these; `None` where adding them one after the other
    /// might round.
    pub correction: Option<f64>,
    /// The sum of all values; `None` where they are no decimals.
    pub sum: Option<DecimalSum>,
}

/// The number `int / 10^exponent`, exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecimalSum {
    /// The digits.
    pub int: i128,
    /// How many of them stand behind the point: 0 to 22.
    pub exponent: u8,
}

impl Aggregate {
    /// The sum as it comes of adding the values in any order: `None` where some order might round.
    pub fn unrounded_sum(&self) -> Option<f64> {
        let sum = self.sum.filter(|sum| sum.exponent == 0)?;
        let greatest = self.min.abs().max(self.max.abs());
        (greatest * f64::from(self.count) < INT_BOUND as f64).then_some(sum.int as f64)
    }

    /// What `count` values come to that are all `value`; `None` where it is not finite.
    pub fn of_constant(value: f64, count: u32) -> Option<Self> {
        let sum = decimal::shortest(value).map(|(int, exponent)| DecimalSum {
            int: i128::from(int) * i128::from(count),
            exponent,
        });
        value.is_finite().then_some(Self {
            count,
            first: value,
            last: value,
            min: value,
            max: value,
            resets: 0,
            correction: Some(0.0),
            sum,
        })
    }
}

/// Appends what `values` come to, the values of one chunk, or that it is not kept. `decimals` are
/// theirs, where they have them.
pub fn write_aggregate(values: &[f64], decimals: Option<&Decimals>, out: &mut Vec<u8>) {
    let is_constant = values.windows(2).all(|w| w[0].to_bits() == w[1].to_bits());
    let start = out.len();
    let is_kept = !is_constant
        && match decimals {
            Some(decimals) if decimals.exceptions.values() == 0 => {
                write_decimals(&decimals.ints, decimals.exponent, out).is_some()
            }
            _ if values.iter().all(|value| value.is_finite()) => {
                write_floats(values, out);
                true
            }
            _ => false,
        };
    if !is_kept {
        out.truncate(start);
        out.push(NONE);
    }
}

/// Says of the entry that begins with `flags` that it is the last one of its series.
pub fn end_series(flags: &mut u8) {
    *flags |= ENDS_SERIES;
}

/// Values as they are met.
struct Walk<T> {
    min: T,
    max: T,
    resets: u32,
}

impl<T: Copy + PartialOrd> Walk<T> {
    fn over(values: &[T], mut reset: impl FnMut(T)) -> Self {
        let mut walk = Self { min: values[0], max: values[0], resets: 0 };
        for pair in values.windows(2) {
            let (before, value) = (pair[0], pair[1]);
            if value < before {
                walk.resets += 1;
                reset(before);
            }
            walk.min = if value < walk.min { value } else { walk.min };
            walk.max = if value > walk.max { value } else { walk.max };
        }
        walk
    }
}

/// `None` where the sum takes more than 64 bits.
fn write_decimals(ints: &[i64], exponent: u8, out: &mut Vec<u8>) -> Option<()> {
    let (first, last) = (ints[0], *ints.last()?);
    let mut correction = 0_i128;
    let walk = Walk::over(ints, |before| correction += i128::from(before));
    let sum: i128 = ints.iter().map(|int| i128::from(int - first)).sum();
    let sum = i64::try_from(sum).ok()?;
    let rises = if walk.resets == 0 { RISES } else { 0 };
    let nibble = exponent.min(EXPONENT_APART);
    out.push(DECIMAL | rises | nibble << EXPONENT_SHIFT);
    if nibble == EXPONENT_APART {
        out.push(exponent);
    }
    write_varint(out, first);
    write_varint(out, last - first);
    write_varint(out, sum);
    if rises == 0 {
        write_uvarint(out, (first.min(last) - walk.min) as u64);
        write_uvarint(out, (walk.max - first.max(last)) as u64);
        write_uvarint(out, u64::from(walk.resets));
        if is_unrounded(exponent, walk.resets) {
            write_varint(out, i64::try_from(correction).ok()?);
        }
    }
    Some(())
}

/// Whether a correction is the same number however it is added up.
fn is_unrounded(exponent: u8, resets: u32) -> bool {
    exponent == 0 || resets == 1
}

fn write_floats(values: &[f64], out: &mut Vec<u8>) {
    let mut correction = 0.0;
    let walk = Walk::over(values, |before| correction = before);
    let rises = if walk.resets == 0 { RISES } else { 0 };
    out.push(FLOAT | rises);
    let mut put = |value: f64| out.extend_from_slice(&value.to_le_bytes());
    put(values[0]);
    put(values[values.len() - 1]);
    if rises == 0 {
        put(walk.min);
        put(walk.max);
        write_uvarint(out, u64::from(walk.resets));
        if walk.resets == 1 {
            out.extend_from_slice(&f64::to_le_bytes(correction));
        }
    }
}

/// Reads an entry for a chunk of `count` values: what they come to, where that is kept, and
/// whether the entry is the last one of its series.
pub fn read_aggregate(
    cursor: &mut Cursor<'_>,
    count: u32,
) -> Result<(Option<Aggregate>, bool), ChunkError> {
    let flags = cursor.u8()?;
    let rises = flags & RISES != 0;
    let aggregate = match flags & KIND_MASK {
        NONE if flags & !ENDS_SERIES == 0 => None,
        DECIMAL => Some(read_decimals(cursor, flags >> EXPONENT_SHIFT, rises, count)?),
        FLOAT if flags >> EXPONENT_SHIFT == 0 => Some(read_floats(cursor, rises, count)?),
        _ => return Err(ChunkError::NeedsNewerReader(flags)),
    };
    Ok((aggregate, flags & ENDS_SERIES != 0))
}

fn read_decimals(
    cursor: &mut Cursor<'_>,
    nibble: u8,
    rises: bool,
    count: u32,
) -> Result<Aggregate, ChunkError> {
    let exponent = if nibble == EXPONENT_APART { cursor.u8()? } else { nibble };
    if exponent > EXPONENT_MAX {
        return Err(ChunkError::Corrupt("an exponent is above 22"));
    }
    let value = |int: i64| decimal::to_f64(int, exponent);
    let first = cursor.varint()?;
    let last = first.wrapping_add(cursor.varint()?);
    let sum = i128::from(cursor.varint()?) + i128::from(first) * i128::from(count);
    let (mut min, mut max, mut resets) = (first, last, 0);
    let mut correction = Some(0.0);
    if !rises {
        min = first.min(last).wrapping_sub(cursor.uvarint()? as i64);
        max = first.max(last).wrapping_add(cursor.uvarint()? as i64);
        resets = cursor.uvarint_u32()?;
        correction = None;
        if is_unrounded(exponent, resets) {
            let int = cursor.varint()?;
            correction = (int.unsigned_abs() < INT_BOUND as u64).then(|| value(int));
        }
    }
    Ok(Aggregate {
        count,
        first: value(first),
        last: value(last),
        min: value(min),
        max: value(max),
        resets,
        correction,
        sum: Some(DecimalSum { int: sum, exponent }),
    })
}

fn read_floats(cursor: &mut Cursor<'_>, rises: bool, count: u32) -> Result<Aggregate, ChunkError> {
    let (first, last) = (cursor.f64()?, cursor.f64()?);
    let (mut min, mut max, mut resets) = (first, last, 0);
    let mut correction = Some(0.0);
    if !rises {
        (min, max) = (cursor.f64()?, cursor.f64()?);
        resets = cursor.uvarint_u32()?;
        correction = if resets == 1 { Some(cursor.f64()?) } else { None };
    }
    Ok(Aggregate { count, first, last, min, max, resets, correction, sum: None })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What is read back of what is written for `values`.
    fn round_trip(values: &[f64]) -> (Option<Aggregate>, usize) {
        let mut out = vec![];
        write_aggregate(values, Decimals::of(values).as_ref(), &mut out);
        end_series(&mut out[0]);
        let mut cursor = Cursor::new(&out);
        let (aggregate, ends) = read_aggregate(&mut cursor, values.len() as u32).unwrap();
        assert!(ends && cursor.is_empty());
        (aggregate, out.len())
    }

    fn check(values: &[f64]) {
        let Some(found) = round_trip(values).0 else {
            let is_constant = values.iter().all(|v| v.to_bits() == values[0].to_bits());
            assert!(is_constant || values.iter().any(|v| !v.is_finite() || v.abs() > 1e14));
            return;
        };
        let bits = |value: f64| value.to_bits();
        assert_eq!(found.count as usize, values.len());
        assert_eq!(bits(found.first), bits(values[0]));
        assert_eq!(bits(found.last), bits(values[values.len() - 1]));
        let least = values.iter().copied().reduce(|a, b| if b < a { b } else { a });
        let greatest = values.iter().copied().reduce(|a, b| if b > a { b } else { a });
        assert_eq!(bits(found.min), bits(least.unwrap()));
        assert_eq!(bits(found.max), bits(greatest.unwrap()));
        let drops: Vec<f64> = values.windows(2).filter(|w| w[1] < w[0]).map(|w| w[0]).collect();
        assert_eq!(found.resets as usize, drops.len());
        if let Some(correction) = found.correction {
            assert_eq!(correction, drops.iter().sum::<f64>());
        } else {
            assert!(drops.len() > 1);
        }
        if let Some(sum) = found.unrounded_sum() {
            assert_eq!(bits(sum), bits(values.iter().sum::<f64>()));
            assert_eq!(bits(sum), bits(values.iter().rev().sum::<f64>()));
        }
        if let Some(sum) = found.sum {
            let nearly = sum.int as f64 / decimal::power(sum.exponent);
            let plain: f64 = values.iter().sum();
            assert!((nearly - plain).abs() <= 1e-9 * values.iter().map(|v| v.abs()).sum::<f64>());
        }
    }

    #[test]
    fn rising_counters_take_few_bytes() {
        let counter: Vec<f64> = (0..1440).map(|i| 1e6 + f64::from(i * 7 + i % 3)).collect();
        let (aggregate, len) = round_trip(&counter);
        assert!(len <= 11, "{len} bytes");
        let aggregate = aggregate.unwrap();
        assert_eq!((aggregate.resets, aggregate.correction), (0, Some(0.0)));
        assert!(aggregate.unrounded_sum().is_some());
        check(&counter);
        assert_eq!(round_trip(&[5.0; 100]), (None, 1));
        assert_eq!(round_trip(&[5.0, f64::NAN]), (None, 1));
        check(&[0.0, -0.0, 0.0]);
        check(&[-0.0, 0.0, 1.0 / 3.0]);
    }

    #[test]
    fn constants_come_to_what_their_values_do() {
        let aggregate = Aggregate::of_constant(0.25, 100).unwrap();
        assert_eq!(aggregate.sum, Some(DecimalSum { int: 2500, exponent: 2 }));
        assert_eq!(aggregate.unrounded_sum(), None);
        assert_eq!(Aggregate::of_constant(3.0, 100).unwrap().unrounded_sum(), Some(300.0));
        assert_eq!(Aggregate::of_constant(f64::NAN, 1), None);
    }

    proptest! {
        #[test]
        fn every_chunk_comes_to_what_its_values_do(
            ints in prop::collection::vec(any::<i32>(), 2..200), shift in 0_u32..31, e in 0_i32..4,
            stray in prop::option::of(any::<u64>()), sorted: bool,
        ) {
            let mut ints = ints;
            if sorted {
                ints.sort_unstable();
            }
            let mut values: Vec<f64> =
                ints.iter().map(|int| f64::from(int >> shift) / 10_f64.powi(e)).collect();
            if let Some(bits) = stray {
                values[1] = f64::from_bits(bits);
            }
            check(&values);
        }

        #[test]
        fn wild_bytes_give_an_aggregate_or_an_error(bytes: Vec<u8>, count: u32) {
            let mut cursor = Cursor::new(&bytes);
            while read_aggregate(&mut cursor, count).is_ok() {}
        }
    }
}
